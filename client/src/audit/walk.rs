//! One source from its first record to its last, in order: links and replay.
//!
//! Records of one time are replayed together and linked after that: what the replay gives back byte
//! for byte need not be hashed a second time.

use super::content::Lacking;
use super::examine::{Examined, Examiner, Place, Readable};
use super::finding::{Code, Findings};
use super::link::{Links, Root};
use super::pipeline::{self, Chunk, Depth, Taken};
use super::replay::Replay;
use super::resume::{Bound, Keep};
use super::room::Room;
use super::saved::Progress;
use super::signatures::{BATCH, Checking, Job, Signatures};
use super::source::{ReadError, Source};
use super::state::{self, Uncompared};
use super::{Advance, Stage};
use std::ops::Range;
use vermilion_crypto::Digest;
use vermilion_ledger::TILE_WIDTH;
use vermilion_proto::body::Of;
use vermilion_proto::view::{EnvelopeView, RecordView};
use vermilion_registry::{Checked, ledger_id};
use vermilion_storage::Store;

/// What a walk does beyond what every walk does.
#[derive(Default)]
pub struct Plan<'a> {
    /// Check signatures.
    pub signatures: bool,
    /// Open commands: envelopes, items, what lies in the vault.
    pub commands: bool,
    /// Replay the registry.
    pub replay: bool,
    /// The marks of a walk through another source ([`Links::marks`]): records under the same need
    /// neither signatures nor replay.
    pub known: Option<&'a [Digest]>,
    /// Directories whose state is to be compared with the replay's, each at its own size.
    pub states: Vec<StateAt<'a>>,
    /// Sizes beside commitments at which the root is wanted, ascending.
    pub wanted: Vec<u64>,
    /// Where to keep how far the walk is, and what that is bound to.
    pub keep: Option<(&'a Keep, &'a Bound)>,
    /// The place at which the walk ends though the source has more.
    pub until: Option<u64>,
    /// What ends a walk before its end of which nothing is kept.
    pub stop: Option<&'a Keep>,
    /// How much memory the replay may take.
    pub room: Room,
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

/// What was found in a directory's state.
#[derive(Clone, Debug)]
pub struct StateFound {
    /// Position among the sources.
    pub source: usize,
    /// Records that the directory said to have.
    pub size: u64,
    /// What was found.
    pub findings: Findings,
}

/// What a walk yields.
pub struct Walked {
    /// Roots of the tree at each commitment record and where they were wanted.
    pub roots: Vec<Root>,
    /// The stored chain after every 256th record.
    pub marks: Vec<Digest>,
    /// Records read.
    pub records: u64,
    /// The place after the last record.
    pub next: u64,
    /// Whether it was compared with known records, so that signatures and outcomes are those of the
    /// walk that they come from.
    pub compared: bool,
    /// Whether all records, and with commands the vault, were read to the end.
    pub whole: bool,
    /// Whether the directory's state was read to its end, in whichever walk.
    pub state_read: bool,
    /// Signatures checked.
    pub signatures: u64,
    /// Licences that the replay counts.
    pub licences: u64,
    /// The replay, if there was one and it came to the end.
    pub replay: Option<Replay>,
    /// What the vault lacks, in a directory.
    pub lacking: Lacking,
    /// Where this source departs from the known one: the first of up to 256 records that are not all
    /// the same.
    pub departs: Option<u64>,
    /// What was found in this source.
    pub findings: Findings,
    /// What was found in states.
    pub states: Vec<StateFound>,
    /// Directories whose states were not compared, by position among the sources: they end before the place from
    /// which the walk went on, and did not end there when it passed.
    pub passed: Vec<usize>,
}

struct Walk<'a> {
    plan: Plan<'a>,
    next: u64,
    /// In a directory, the first record behind the genesis that it says to have.
    history: u64,
    links: Links<'a>,
    replay: Option<Replay>,
    /// Signatures that wait for enough others.
    signatures: Signatures,
    /// Those that are being checked.
    checking: &'a Checking,
    out: Walked,
    /// Why the walk ends before its end, if it was told to or must.
    broken_off: Option<ReadError>,
}

/// Walks a source that says to have `size` records.
pub fn walk(source: &dyn Source, size: u64, plan: Plan<'_>, advance: &Advance<'_>) -> Result<Walked, ReadError> {
    let examiner = Examiner {
        source: source.name(),
        signatures: plan.signatures,
        commands: plan.commands,
        links: !plan.replay,
        store: source.store(),
    };
    let stage = if plan.known.is_some() { Stage::Comparing } else { Stage::Records };
    let until = plan.until.unwrap_or(u64::MAX);
    let size = size.min(until);
    let checking = Checking::default();
    let mut walk = Walk::new(source, plan, &checking)?;
    let from = walk.next;
    let read = pipeline::run(
        from,
        if examiner.commands { Depth::Opened } else { Depth::Hashed },
        |give| source.records(from, &mut |place, row| place < until && give(place, row)),
        || examiner.worker(),
        |vault, chunk| examiner.chunk(vault.as_mut(), chunk),
        |chunk, examined| {
            let go_on = walk.take(chunk, examined);
            advance(stage, source.name(), walk.next, size);
            Taken { go_on: go_on && (chunk.last || walk.keep()), beside: walk.batch() }
        },
        |job: Job<'_>| job.run(source.name()),
    );
    if let Some(why) = walk.broken_off.take() {
        return Err(why);
    }
    std::mem::take(&mut walk.signatures).check_wide(source.name(), &mut walk.out.findings);
    walk.out.findings.extend(checking.wait().unwrap_or_default());
    walk.end(size, read)
}

impl<'a> Walk<'a> {
    fn new(source: &'a dyn Source, mut plan: Plan<'a>, checking: &'a Checking) -> Result<Self, ReadError> {
        let out = Walked {
            roots: Vec::new(),
            marks: Vec::new(),
            records: 0,
            next: 0,
            compared: plan.known.is_some(),
            whole: false,
            state_read: false,
            signatures: 0,
            licences: 0,
            replay: None,
            lacking: Lacking::default(),
            departs: None,
            findings: Findings::of(source.name()),
            states: Vec::new(),
            passed: Vec::new(),
        };
        let links = Links::new(source.store(), std::mem::take(&mut plan.wanted));
        let kept =
            plan.keep.as_ref().map(|(keep, bound)| keep.begin(bound, &plan.room)).transpose().map_err(ReadError::Unreachable)?.flatten();
        let history = source.store().map_or(Ok(1), Store::history_from)?;
        let signatures = Signatures::default();
        let mut walk = Self { plan, next: 0, history, links, replay: None, signatures, checking, out, broken_off: None };
        if let Some((progress, replay)) = kept {
            walk.next = progress.next;
            (walk.out.records, walk.out.signatures) = (progress.records, progress.signatures);
            walk.out.lacking = progress.lacking;
            walk.out.findings.extend(progress.findings);
            walk.links.restore(progress.links).map_err(ReadError::Unreachable)?;
            walk.replay = replay;
            walk.resume_states(progress.states);
        }
        Ok(walk)
    }

    /// Takes over what was found in states. A directory may have another size since, and so another state: that is
    /// compared where it ends now, if the walk did not pass there.
    fn resume_states(&mut self, mut found: Vec<StateFound>) {
        found.retain(|found| self.plan.states.iter().any(|state| (state.source, state.size) == (found.source, found.size)));
        if self.replay.is_some() {
            let passed = self.plan.states.iter().filter(|state| state.size < self.next).map(|state| state.source);
            self.out.passed = passed.filter(|source| !found.iter().any(|found| found.source == *source)).collect();
        }
        self.out.states = found;
        self.compare_states();
    }

    /// Ends the walk before its end, since it must. The first reason stands.
    fn break_off(&mut self, why: String) {
        self.broken_off.get_or_insert(ReadError::Unreachable(why));
    }

    /// Keeps how far the walk is, when it is time; answers whether to go on.
    fn keep(&mut self) -> bool {
        if let Some(keep) = self.plan.stop.filter(|keep| keep.is_stopped()) {
            self.broken_off.get_or_insert(ReadError::Interrupted(keep.broken_off()));
            return false;
        }
        let Some((keep, bound)) = self.plan.keep.filter(|(keep, _)| keep.is_due()) else { return true };
        // What is kept is checked: nobody will look at these records again.
        std::mem::take(&mut self.signatures).check(&mut self.out.findings);
        let Some(checked) = self.checking.wait() else {
            self.broken_off = Some(ReadError::Unreachable("signatures could not be checked".into()));
            return false;
        };
        self.out.findings.extend(checked);
        let progress = Progress {
            next: self.next,
            records: self.out.records,
            signatures: self.out.signatures,
            links: self.links.state(),
            lacking: self.out.lacking.clone(),
            findings: self.out.findings.clone(),
            states: self.out.states.clone(),
        };
        let replay = self.replay.as_ref().filter(|replay| replay.is_going());
        self.broken_off = match keep.save(bound, &progress, replay) {
            Err(why) => Some(ReadError::Unreachable(format!("how far the audit is cannot be kept: {why}"))),
            Ok(()) if keep.is_stopped() => Some(ReadError::Interrupted(format!(
                "broken off after {} records; the same call goes on from there 已中断，重新执行同一命令即可继续",
                self.next
            ))),
            Ok(()) => None,
        };
        self.broken_off.is_none()
    }

    /// The signatures that wait, once they are enough to be checked together.
    fn batch(&mut self) -> Option<Job<'a>> {
        (self.signatures.len() >= BATCH).then(|| self.checking.begin(std::mem::take(&mut self.signatures)))
    }

    /// Takes a chunk; answers whether to go on.
    fn take(&mut self, chunk: &Chunk, examined: Examined) -> bool {
        let Examined { places, commands, signatures, lacking, findings } = examined;
        self.out.signatures += signatures.len() as u64;
        self.signatures.append(signatures);
        self.out.findings.extend(findings);
        self.out.lacking.extend(&lacking);
        let mut run = Run { chunk, places: &places, commands: &commands, waiting: 0..0, opened: 0..0 };
        for (at, Place { seq, record }) in places.iter().enumerate() {
            self.out.records += 1;
            if *seq > self.next {
                self.settle(&mut run);
                self.gap(*seq);
            }
            self.next = seq.saturating_add(1);
            match record {
                Some(record) => self.add(&mut run, at, *seq, record),
                None => {
                    self.settle(&mut run);
                    self.lose(*seq, "the record cannot be read");
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
            if self.broken_off.is_some() {
                return false;
            }
        }
        self.settle(&mut run);
        self.broken_off.is_none()
    }

    /// Puts a record to those that are replayed together, or takes it by itself.
    fn add(&mut self, run: &mut Run<'_>, at: usize, seq: u64, record: &Readable) {
        if seq == 0 {
            self.begin(run, record);
        } else if !self.replay.as_ref().is_some_and(Replay::is_going) {
            self.link(seq, record, None);
        } else if record.has_command {
            if !run.takes(record) || run.erases() {
                self.settle(run);
            }
            run.add(at);
            return;
        } else {
            self.settle(run);
            if let Some(replay) = &mut self.replay {
                replay.stop(seq, "its command cannot be read", &mut self.out.findings);
            }
            self.link(seq, record, None);
        }
        run.pass(at, record.has_command);
    }

    /// The first record.
    fn begin(&mut self, run: &Run<'_>, record: &Readable) {
        let bytes = record.bytes(run.chunk);
        if let Some(id) = genesis_id(bytes) {
            self.links.begin(&id);
        }
        if self.plan.replay && record.has_command {
            let command = run.commands.get(run.opened.end);
            let begun = command.map(|command| Replay::begin(bytes, command, &self.plan.room, &mut self.out.findings));
            match begun.transpose() {
                Ok(replay) => self.replay = replay.flatten(),
                Err(why) => self.break_off(why),
            }
        }
        self.link(0, record, None);
    }

    /// Replays what waits, and links it.
    fn settle(&mut self, run: &mut Run<'_>) {
        let places = run.places.get(run.waiting.clone()).unwrap_or_default();
        let commands = run.commands.get(run.opened.clone()).unwrap_or_default();
        (run.waiting, run.opened) = (run.waiting.end..run.waiting.end, run.opened.end..run.opened.end);
        let confirmed = match &mut self.replay {
            Some(replay) => replay.run(run.chunk, places, commands, &mut self.out.findings),
            None => Vec::new(),
        };
        if let Some(why) = self.replay.as_ref().and_then(Replay::failed).map(str::to_owned) {
            return self.break_off(why);
        }
        for (n, Place { seq, record }) in places.iter().enumerate() {
            if let Some(record) = record {
                self.link(*seq, record, confirmed.get(n).and_then(Option::as_ref));
            }
        }
    }

    fn link(&mut self, seq: u64, record: &Readable, confirmed: Option<&super::link::Confirmed>) {
        self.links.link(seq, record, confirmed, &mut self.out.findings);
        let Some(known) = self.plan.known else { return };
        let marks = self.links.marks.len();
        let last = marks.checked_sub(1).filter(|_| (seq + 1).is_multiple_of(TILE_WIDTH as u64));
        if let Some(last) = last
            && let Some(theirs) = known.get(last)
            && self.links.marks.last() != Some(theirs)
        {
            self.out.departs.get_or_insert(last as u64 * TILE_WIDTH as u64);
        }
    }

    fn gap(&mut self, found: u64) {
        let (first, last) = (self.next, found - 1);
        if (first, found) == (1, self.history) {
            self.out.findings.add(
                Code::HistoryIncomplete,
                Some(first),
                format!("Records 1 to {last} are not here yet: the node took a state and is still fetching what came before. Let it run until vermilion_history_missing_records is 0, stop it, and audit again."),
                format!("第1至{last}号记录尚未补齐：该节点以状态快照加入，仍在补取历史记录。请待指标vermilion_history_missing_records为0后停止该节点再行审计。"),
            );
            return self.lose(first, "the record is not here yet");
        }
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
        let (Some(replay), Some(chain)) = (&mut self.replay, self.links.chain()) else { return };
        if !replay.is_going() {
            return;
        }
        for at in self.plan.states.iter().filter(|state| state.size == self.next) {
            if self.out.states.iter().any(|found| found.source == at.source) {
                // Before a break.
                continue;
            }
            let mut findings = Findings::of(at.name);
            match state::compare(at.store, replay.state_mut(), chain, &mut findings) {
                Ok(()) => {}
                Err(Uncompared::Directory(why)) => {
                    findings.add(Code::StorageDamaged, None, format!("The state cannot be read: {why}."), "读取状态时数据库出错。");
                }
                Err(Uncompared::Replayed(error)) => {
                    self.break_off(error.to_string());
                    return;
                }
            }
            self.out.states.push(StateFound { source: at.source, size: at.size, findings });
        }
    }

    fn end(mut self, size: u64, read: Result<(), ReadError>) -> Result<Walked, ReadError> {
        self.out.whole = read.is_ok() && self.out.departs.is_none();
        match read {
            Err(error @ (ReadError::Unreachable(_) | ReadError::Interrupted(_))) => return Err(error),
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
        (self.out.roots, self.out.marks) = (self.links.roots, self.links.marks);
        self.out.licences = self.replay.as_ref().map_or(0, Replay::licences);
        self.out.replay = self.replay.take().filter(Replay::is_going);
        // The disk's space is wanted by nobody any more. What is in memory alone is given back while nobody waits.
        if let Some(replay) = self.out.replay.as_mut().filter(|replay| replay.state().has_aside()) {
            replay.state_mut().release();
        }
        Ok(self.out)
    }
}

/// The ledger id of a genesis record.
fn genesis_id(record: &[u8]) -> Option<Digest> {
    let record = RecordView::parse(record).ok()?;
    Some(ledger_id(EnvelopeView::parse(record.envelope).ok()?.payload))
}

/// Records of one chunk, one time and one version of the rules that are replayed together.
struct Run<'a> {
    chunk: &'a Chunk,
    places: &'a [Place],
    commands: &'a [Checked],
    /// Which of the places wait, and which of the commands are theirs.
    waiting: Range<usize>,
    opened: Range<usize>,
}

impl Run<'_> {
    fn takes(&self, record: &Readable) -> bool {
        let first = self.places.get(self.waiting.clone()).and_then(<[_]>::first).and_then(|place| place.record.as_ref());
        first.is_none_or(|first| (first.time_ms, first.rules) == (record.time_ms, record.rules))
    }

    /// Whether the next command erases: it begins a run of its own.
    fn erases(&self) -> bool {
        let body = self.commands.get(self.opened.end).and_then(|next| next.command.body.as_ref());
        body.is_some_and(|body| matches!(body.of, Some(Of::EraseContent(_))))
    }

    /// Adds the place `at`, which has a command.
    fn add(&mut self, at: usize) {
        if self.waiting.is_empty() {
            self.waiting.start = at;
        }
        self.waiting.end = at + 1;
        self.opened.end += 1;
    }

    /// Passes over the place `at`; nothing waits.
    fn pass(&mut self, at: usize, has_command: bool) {
        let opened = self.opened.end + usize::from(has_command);
        (self.waiting, self.opened) = (at + 1..at + 1, opened..opened);
    }
}
