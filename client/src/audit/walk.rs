//! One source from its first record to its last, in order: links and replay.
//!
//! Records of one time are replayed together and linked after that: what the replay gives back byte
//! for byte need not be hashed a second time.

use super::content::Lacking;
use super::examine::{Examined, Examiner, Place, Readable, unreadable};
use super::finding::{Code, Findings};
use super::link::{Confirmed, Links};
use super::pipeline;
use super::replay::Replay;
use super::source::{ReadError, Source};
use super::{Advance, Stage, state};
use vermilion_crypto::Digest;
use vermilion_registry::{Checked, ledger_id};
use vermilion_storage::Store;

/// What a walk does beyond what every walk does.
pub struct Plan<'a> {
    /// Check signatures.
    pub signatures: bool,
    /// Replay the registry.
    pub replay: bool,
    /// Leaves of records that were checked before: those that are the same need neither.
    pub known: Option<&'a [Digest]>,
    /// Directories whose state is to be compared with the replay's, each at its own size.
    pub states: Vec<StateAt<'a>>,
}

/// A directory's state, and where in the replay it belongs.
pub struct StateAt<'a> {
    /// Position among the sources.
    pub source: usize,
    /// The source's name.
    pub name: &'a str,
    /// Records that the directory says to have.
    pub size: u64,
    /// The directory.
    pub store: &'a Store,
}

/// What a walk yields.
pub struct Walked {
    /// Leaf hashes of all records, as far as the sequence is whole.
    pub leaves: Vec<Digest>,
    /// Size and root of the tree at each commitment record.
    pub roots: Vec<(u64, Digest)>,
    /// Records read.
    pub records: u64,
    /// The place after the last record.
    pub next: u64,
    /// Whether it was compared with known leaves, so that signatures and outcomes are those of the
    /// walk that they come from.
    pub compared: bool,
    /// Signatures checked.
    pub signatures: u64,
    /// Licences that the replay counts.
    pub licences: u64,
    /// The replay, if there was one and it came to the end.
    pub replay: Option<Replay>,
    /// What the vault lacks, in a directory.
    pub lacking: Lacking,
    /// The first record that is not the known one.
    pub departs: Option<u64>,
    /// What was found in this source.
    pub findings: Findings,
    /// What was found in states, by position among the sources.
    pub states: Vec<(usize, Findings)>,
}

struct Walk<'a> {
    plan: Plan<'a>,
    next: u64,
    links: Links<'a>,
    replay: Option<Replay>,
    out: Walked,
}

/// Walks a source that says to have `size` records.
pub fn walk(source: &dyn Source, size: u64, plan: Plan<'_>, advance: &Advance<'_>) -> Result<Walked, ReadError> {
    let examiner = Examiner { source: source.name(), signatures: plan.signatures, hashes: !plan.replay, store: source.store() };
    let stage = if plan.known.is_some() { Stage::Comparing } else { Stage::Records };
    let mut walk = Walk::new(source, plan);
    let read = pipeline::run(
        |give| source.records(0, give),
        |chunk| examiner.chunk(chunk),
        |examined| {
            let go_on = walk.take(examined);
            advance(stage, source.name(), walk.next, size);
            go_on
        },
    );
    walk.end(size, read)
}

impl<'a> Walk<'a> {
    fn new(source: &'a dyn Source, plan: Plan<'a>) -> Self {
        let out = Walked {
            leaves: Vec::new(),
            roots: Vec::new(),
            records: 0,
            next: 0,
            compared: plan.known.is_some(),
            signatures: 0,
            licences: 0,
            replay: None,
            lacking: Lacking::default(),
            departs: None,
            findings: Findings::of(source.name()),
            states: Vec::new(),
        };
        Self { plan, next: 0, links: Links::new(source.store()), replay: None, out }
    }

    /// Takes a chunk; answers whether to go on.
    fn take(&mut self, examined: Examined) -> bool {
        self.out.signatures += examined.signatures;
        self.out.findings.extend(examined.findings);
        let mut run = Run::default();
        for Place { seq, record } in examined.records {
            self.out.records += 1;
            if seq > self.next {
                self.settle(&mut run);
                self.gap(seq);
            }
            self.next = seq.saturating_add(1);
            match record {
                Some(record) => self.add(&mut run, seq, record),
                None => {
                    self.settle(&mut run);
                    self.lose(seq, "the record cannot be read");
                }
            }
            if self.out.departs.is_some() {
                // From here on this source needs an audit of its own.
                return false;
            }
            if self.plan.states.iter().any(|state| state.size == self.next) {
                self.settle(&mut run);
                self.compare_states();
            }
        }
        self.settle(&mut run);
        true
    }

    /// Puts a record to those that are replayed together, or takes it by itself.
    fn add(&mut self, run: &mut Run, seq: u64, mut record: Readable) {
        self.out.lacking.add(seq, std::mem::take(&mut record.content));
        let command = record.command.take();
        if seq == 0 {
            return self.begin(&record, command.as_ref());
        }
        if !self.replay.as_ref().is_some_and(Replay::is_going) {
            return self.link(seq, &record, None);
        }
        match command {
            Some(command) => {
                if !run.takes(&record) {
                    self.settle(run);
                }
                run.add(seq, record, command);
            }
            None => {
                self.settle(run);
                if let Some(replay) = &mut self.replay {
                    replay.stop(seq, "its command cannot be read", &mut self.out.findings);
                }
                self.link(seq, &record, None);
            }
        }
    }

    /// The first record.
    fn begin(&mut self, record: &Readable, command: Option<&Checked>) {
        if let Some(id) = command.and_then(genesis_id) {
            self.links.begin(&id);
        }
        if self.plan.replay {
            self.replay = command.and_then(|command| Replay::begin(record, command, &mut self.out.findings));
        }
        self.link(0, record, None);
    }

    /// Replays what waits, and links it.
    fn settle(&mut self, run: &mut Run) {
        let Run { first, records, commands } = std::mem::take(run);
        let confirmed = match &mut self.replay {
            Some(replay) => replay.run(first, &records, &commands, &mut self.out.findings),
            None => Vec::new(),
        };
        for (n, (seq, record)) in (first..).zip(&records).enumerate() {
            self.link(seq, record, confirmed.get(n).and_then(Option::as_ref));
        }
    }

    fn link(&mut self, seq: u64, record: &Readable, confirmed: Option<&Confirmed>) {
        match self.links.link(seq, record, confirmed, &mut self.out.findings) {
            Ok(leaf) => {
                let at = usize::try_from(seq).ok();
                if self.plan.known.is_some_and(|known| at.and_then(|at| known.get(at)) != Some(&leaf)) {
                    self.out.departs.get_or_insert(seq);
                }
            }
            Err(error) => {
                unreadable(&mut self.out.findings, seq, &error.to_string());
                self.lose(seq, "the record cannot be read");
            }
        }
    }

    fn gap(&mut self, found: u64) {
        let (first, last) = (self.next, found - 1);
        let (en, zh) = if first == last {
            (format!("Record {first} is missing."), format!("第{first}号记录缺失。"))
        } else {
            (format!("Records {first} to {last} are missing."), format!("第{first}至{last}号记录缺失。"))
        };
        self.out.findings.add(Code::RecordMissing, Some(first), en, zh);
        self.lose(first, "the record is missing");
    }

    /// Without a record neither chain, tree nor state can be computed further.
    fn lose(&mut self, seq: u64, why: &str) {
        self.links.lose();
        self.out.departs = self.out.departs.or(self.plan.known.map(|_| seq));
        if let Some(replay) = &mut self.replay {
            replay.stop(seq, why, &mut self.out.findings);
        }
    }

    /// Compares the states of the directories that end here.
    fn compare_states(&mut self) {
        let (Some(replay), Some(chain)) = (&self.replay, self.links.chain()) else { return };
        if !replay.is_going() {
            return;
        }
        for at in self.plan.states.iter().filter(|state| state.size == self.next) {
            let mut findings = Findings::of(at.name);
            if let Err(error) = state::compare(at.store, replay.state(), chain, &mut findings) {
                findings.add(Code::StorageDamaged, None, format!("The state cannot be read: {error}."), "读取状态时数据库出错。");
            }
            self.out.states.push((at.source, findings));
        }
    }

    fn end(mut self, size: u64, read: Result<(), ReadError>) -> Result<Walked, ReadError> {
        match read {
            Err(error @ ReadError::Unreachable(_)) => return Err(error),
            Err(ReadError::Damaged(why)) => self.out.findings.add(
                Code::StorageDamaged,
                Some(self.next),
                format!("The records cannot be read beyond place {}: {why}.", self.next),
                format!("第{}号位置之后的记录无法读取。", self.next),
            ),
            Ok(()) if self.next < size && self.out.departs.is_none() => self.out.findings.add(
                Code::RecordsCut,
                Some(self.next),
                format!("The source says that there are {size} records, but they end before number {}.", self.next),
                format!("来源声称有{size}条记录，实际止于第{}号之前。", self.next),
            ),
            Ok(()) if self.next > size => self.out.findings.add(
                Code::RecordsBeyondHead,
                Some(size),
                format!("There are records from number {size} on, beyond what the source's head counts."),
                format!("存在第{size}号及其后的记录，超出账本头所计。"),
            ),
            Ok(()) => {}
        }
        self.out.next = self.next;
        (self.out.leaves, self.out.roots) = (self.links.leaves, self.links.roots);
        self.out.licences = self.replay.as_ref().map_or(0, Replay::licences);
        self.out.replay = self.replay.take().filter(Replay::is_going);
        Ok(self.out)
    }
}

/// The ledger id of a genesis command.
fn genesis_id(command: &Checked) -> Option<Digest> {
    let envelope = vermilion_proto::canonical::<vermilion_proto::Envelope>(&command.envelope).ok()?;
    Some(ledger_id(&envelope.payload))
}

/// Records of one time and version of the rules that are replayed together.
#[derive(Default)]
struct Run {
    first: u64,
    records: Vec<Readable>,
    commands: Vec<Checked>,
}

impl Run {
    fn takes(&self, record: &Readable) -> bool {
        let of = |r: &Readable| (r.time_ms, r.rules);
        self.records.first().is_none_or(|first| of(first) == of(record))
    }

    fn add(&mut self, seq: u64, record: Readable, command: Checked) {
        if self.records.is_empty() {
            self.first = seq;
        }
        self.records.push(record);
        self.commands.push(command);
    }
}
