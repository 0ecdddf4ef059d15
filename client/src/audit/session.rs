//! One audit: which source is walked how, and what is put together at the end.

use super::checkpoints::{self, Checkpoints, History};
use super::finding::{Code, Findings};
use super::places::Places;
use super::room::Room;
use super::source::{ReadError, Source};
use super::walk::{Plan, StateAt, Walked, walk};
use super::{Advance, CannotRead, Keep, Options, Report, Stage, content, directory, folder, head, resume};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::panic::resume_unwind;
use std::time::Instant;
use vermilion_ledger::TILE_WIDTH;
use vermilion_ledger::Trust;
use vermilion_proto::view::{EnvelopeView, RecordView, StoredView};
use vermilion_registry::{ledger_id, pinned, query};
use vermilion_storage::Column;

/// Audits. Blocks: call it from a thread of its own.
pub fn audit(sources: &[&dyn Source], options: &Options, advance: &Advance<'_>) -> Result<Report, CannotRead> {
    let begun = Instant::now();
    let lock =
        options.keep.as_ref().map(|keep| keep.lock().map_err(|why| CannotRead { source_name: keep.name(), why, interrupted: false }));
    let _lock = lock.transpose()?;
    folder::sweep(Room::of(options).folder.as_deref());
    let mut session = Session { held: Vec::new(), options, findings: Findings::default(), report: Report::default() };
    session.held(sources)?;
    if !session.held.is_empty() {
        session.ledger(advance)?;
        // Where nothing could be read nobody has looked what the file is.
        options.keep.iter().for_each(Keep::done);
    }
    Ok(session.finish(begun))
}

/// A source that can be read, and how many records it says to have.
pub struct Held<'a> {
    /// The source.
    pub source: &'a dyn Source,
    /// Its number of records, by its own word.
    pub size: u64,
}

impl<'a> Held<'a> {
    fn state(&self, position: usize) -> Option<StateAt<'a>> {
        Some(StateAt { source: position, name: self.source.name(), size: self.size, store: self.source.store()? })
    }

    /// How far it is read if it became longer than the first while the audit was broken off. A directory is read to its
    /// end, by itself; a running node has more at any time.
    fn until(&self, first: &Self) -> Option<u64> {
        (self.source.store().is_none() && self.size > first.size).then_some(first.size)
    }

    fn walk(&self, plan: Plan<'_>, advance: &Advance<'_>) -> Result<Walked, CannotRead> {
        walk(self.source, self.size, plan, advance).or_else(|error| self.cannot(&error))
    }

    fn cannot<T>(&self, error: &ReadError) -> Result<T, CannotRead> {
        let interrupted = matches!(error, ReadError::Interrupted(_));
        Err(CannotRead { source_name: self.source.name().to_owned(), why: error.to_string(), interrupted })
    }
}

struct Session<'a> {
    /// First the longest, or the one whose walk goes on; the others by name.
    held: Vec<Held<'a>>,
    options: &'a Options,
    findings: Findings,
    report: Report,
}

impl<'a> Session<'a> {
    /// Finds out which sources can be read, and how long they are.
    fn held(&mut self, sources: &[&'a dyn Source]) -> Result<(), CannotRead> {
        for source in sources {
            let held = |size| Held { source: *source, size };
            match source.size() {
                Ok(size) => self.held.push(held(size)),
                Err(ReadError::Damaged(why)) => {
                    let mut findings = Findings::of(source.name());
                    findings.add(Code::StorageDamaged, None, format!("The data directory cannot be used: {why}."), "数据目录无法使用。");
                    self.findings.extend(findings);
                }
                Err(error) => return held(0).cannot(&error),
            }
        }
        self.report.sources = self.held.iter().map(|held| (held.source.name().to_owned(), held.size)).collect();
        self.report.running_nodes = self.held.iter().any(|held| held.source.store().is_none());
        self.held.sort_by_key(|held| std::cmp::Reverse(held.size));
        let Some(keep) = &self.options.keep else { return Ok(()) };
        let named = |name: &String| self.held.iter().position(|held| held.source.name() == name);
        let walked = keep.walked().as_ref().and_then(named).unwrap_or(0);
        if let Some(before) = self.held.get_mut(..=walked) {
            before.rotate_right(1);
        }
        // While the audit was broken off one may have become longer than another.
        if let Some((_, others)) = self.held.split_first_mut() {
            others.sort_by(|one, other| one.source.name().cmp(other.source.name()));
        }
        let mut names = BTreeSet::new();
        match self.held.iter().find(|held| !names.insert(held.source.name())) {
            Some(again) => again.cannot(&ReadError::Unreachable("two sources have this name: the file cannot tell them apart".into())),
            None => Ok(()),
        }
    }

    fn ledger(&mut self, advance: &Advance<'_>) -> Result<(), CannotRead> {
        let trust = self.trust()?;
        // Columns that no walk reads are read beside the walks.
        let (options, deep) = (self.options, self.options.is_deep());
        let (walks, scans) = std::thread::scope(|scope| {
            let stores: Vec<_> = self.held.iter().filter_map(|held| Some((held.source.name(), held.source.store()?))).collect();
            let columns = if deep { directory::beside() } else { Vec::new() };
            let examine = move |(name, store): (&str, &_)| {
                let mut findings = directory::examine(store, name);
                findings.extend(directory::scan(store, name, &columns, options, advance));
                findings
            };
            let scan = scope.spawn(move || stores.into_iter().map(examine).collect::<Vec<_>>());
            let walks = self.walks(advance);
            (walks, scan.join().unwrap_or_else(|panic| resume_unwind(panic)))
        });
        scans.into_iter().for_each(|findings| self.findings.extend(findings));
        let mut walks = walks?;
        self.go_on()?;
        self.heads();
        self.passed(&walks);
        if deep {
            self.rest(&walks, advance);
        }
        self.trees(&walks);
        self.go_on()?;
        self.vaults(&walks);
        self.wraps(&walks);
        self.go_on()?;
        if let Some(trust) = trust {
            let trust = self.ledger_keys(trust, walks.first());
            self.checkpoints(&trust, &walks, advance)?;
        }
        if let Some(walked) = walks.first() {
            self.report.records = walked.records;
            self.report.licences = walked.licences;
            self.report.commitments = commitments(walked);
        }
        for walked in &mut walks {
            self.report.signatures += walked.signatures;
            self.findings.extend(std::mem::take(&mut walked.findings));
        }
        // The replayed state is millions of pieces: nobody waits until the last is given back.
        std::thread::spawn(move || drop(walks));
        Ok(())
    }

    /// Whether to go on. Behind the walk of which it is kept how far it is, nothing is kept.
    fn go_on(&self) -> Result<(), CannotRead> {
        match self.options.keep.as_ref().filter(|keep| keep.is_stopped()) {
            Some(keep) => Err(CannotRead { source_name: keep.name(), why: keep.broken_off(), interrupted: true }),
            None => Ok(()),
        }
    }

    /// What is trusted: as the options say, else as the genesis does. None if there is no genesis.
    fn trust(&mut self) -> Result<Option<Trust>, CannotRead> {
        let Some(first) = self.held.first() else { return Ok(None) };
        let mut found = None;
        let read = first.source.records(0, &mut |seq, record| {
            found = Some(record.to_vec()).filter(|_| seq == 0);
            false
        });
        if let Err(error @ ReadError::Unreachable(_)) = read {
            return first.cannot(&error);
        }
        let mut findings = Findings::of(first.source.name());
        let given = self.options.genesis.as_ref();
        let payload = found.as_deref().and_then(genesis_payload);
        let id = payload.as_ref().map(|payload| ledger_id(payload));
        let other = self.options.trust.as_ref().is_some_and(|trust| Some(trust.settings().ledger_id) != id);
        if payload.as_ref().and_then(|payload| pinned::read_genesis(payload)).is_none() {
            findings.add(Code::GenesisDiffers, Some(0), "The first record is not a genesis.", "第0号记录不是创世记录。");
        } else if other || given.is_some_and(|given| Some(given) != payload.as_ref()) {
            findings.add(
                Code::GenesisDiffers,
                Some(0),
                "The ledger does not begin with the genesis that is trusted: it is another ledger.",
                "账本的创世记录不是所信任的创世：这是另一个账本。",
            );
        }
        self.report.ledger_id = id.map(hex::encode).unwrap_or_default();
        self.report.trust_given = self.options.trust.is_some() || given.is_some();
        let trust = self.options.trust.clone().map(Ok).or_else(|| {
            let payload = given.or(payload.as_ref())?;
            Some(pinned::trust_of(&pinned::read_genesis(payload)?, ledger_id(payload), None, true))
        });
        let trust = trust.transpose().unwrap_or_else(|error| {
            findings.add(
                Code::GenesisDiffers,
                Some(0),
                format!("The genesis names no sound set of keys: {error}."),
                "创世记录所载密钥不可用。",
            );
            None
        });
        self.findings.extend(findings);
        Ok(trust)
    }

    /// What is trusted, with the ledger keys that the replayed records endorse. Without a replay it is taken
    /// as it was given.
    fn ledger_keys(&mut self, trust: Trust, walked: Option<&Walked>) -> Trust {
        let Some(rotated) = walked.and_then(|w| w.replay.as_ref()).and_then(|replay| query::rotated_keys(replay.state()).ok()) else {
            return trust;
        };
        let (endorsed, given) = (pinned::newer_keys(&rotated), trust.newer_keys());
        // A source may end before a key that is known from elsewhere.
        let reached = walked.map_or(0, |walked| walked.next);
        let given: Vec<_> = given.iter().filter(|key| key.from < reached).cloned().collect();
        if !endorsed.starts_with(&given) {
            let mut findings = Findings::of(self.held.first().map_or("", |held| held.source.name()));
            findings.add(
                Code::LedgerKeysDiffer,
                None,
                "The ledger keys that are trusted are not those that the records endorse.",
                "所信任的账本密钥与记录中背书的不符。",
            );
            self.findings.extend(findings);
            return trust;
        }
        // Keys that the rules took make a sound trust; if a damaged state's do not, the given one stands.
        trust.clone().with_newer_keys(endorsed).unwrap_or(trust)
    }

    /// Reads the columns that the walks did not come to the end of, or did not read at all.
    fn rest(&mut self, walks: &[Walked], advance: &Advance<'_>) {
        for (held, walked) in self.held.iter().zip(walks) {
            let Some(store) = held.source.store() else { continue };
            let mut columns = Vec::new();
            if !walked.whole {
                columns.extend([Column::RECORDS, Column::VAULT, Column::WRAPS]);
            }
            if !walked.state_read {
                columns.push(Column::STATE);
            }
            self.findings.extend(directory::scan(store, held.source.name(), &columns, self.options, advance));
        }
    }

    /// Walks every source: the first whole, another as far as it holds the same records. The walks
    /// come in the order of the sources.
    fn walks(&self, advance: &Advance<'_>) -> Result<Vec<Walked>, CannotRead> {
        let mut walks: Vec<Walked> = Vec::with_capacity(self.held.len());
        let (signatures, replay, room) = (self.options.signatures, self.options.replay, Room::of(self.options));
        for (position, held) in self.held.iter().enumerate() {
            let (commands, stop) = (self.options.is_deep(), self.options.keep.as_ref());
            let base = || Plan { commands, wanted: checkpoints::sizes(held.source), stop, ..Plan::default() };
            let plan = |states| Plan { signatures, replay, states, room: room.clone(), ..base() };
            let Some((reference, first)) = walks.first().zip(self.held.first()) else {
                let states = self.held.iter().enumerate().filter_map(|(n, held)| held.state(n)).collect();
                let names: Vec<String> = self.held.iter().map(|held| held.source.name().to_owned()).collect();
                let bound = resume::bound(&self.report.ledger_id, &names, self.options);
                walks.push(held.walk(Plan { keep: stop.map(|keep| (keep, &bound)), stop: None, ..plan(states) }, advance)?);
                continue;
            };
            let until = held.until(first);
            let compared = held.walk(Plan { known: Some(&reference.marks), until, ..base() }, advance)?;
            // Marks name full tiles; the records behind the last one are compared by themselves.
            let width = TILE_WIDTH as u64;
            let end = compared.next.min(reference.next);
            let window = compared.departs.map_or(end - end % width..end, |from| from..end.min(from.saturating_add(width)));
            let found = first_difference(first.source, held.source, window).or_else(|error| held.cannot(&error))?;
            let differs = found.or(compared.departs);
            if differs.is_none() && (until.is_some() || held.size <= first.size) {
                walks.push(compared);
                continue;
            }
            // Another history, or a longer one: nothing of the first one's walk says anything about it, or about its end. There
            // is room for one state.
            walks.iter_mut().filter_map(|walked| walked.replay.as_mut()).for_each(|replay| replay.state_mut().release());
            let mut walked = held.walk(plan(held.state(position).into_iter().collect()), advance)?;
            if let Some(seq) = differs {
                let mut findings = Findings::of(held.source.name());
                findings.add(
                    Code::SourcesDiffer,
                    Some(seq),
                    format!("From record {seq} on, this source does not hold the same records as {}.", first.source.name()),
                    format!("自第{seq}号记录起，本来源的记录与{}不同。", first.source.name()),
                );
                walked.findings.extend(findings);
            }
            walks.push(walked);
        }
        share_states(&mut walks);
        Ok(walks)
    }

    /// The blocks that the directories' heads name, as far as their logs still hold them.
    fn heads(&mut self) {
        for held in &self.held {
            let Some(store) = held.source.store() else { continue };
            let name = held.source.name();
            let mut findings = Findings::of(name);
            match head::compare(store, &mut findings) {
                Ok(true) => {}
                Ok(false) => self.report.left_out.push((
                    format!("the last block, and its time, in the head of {name}: its Raft log no longer holds one"),
                    format!("{name}账本头所载的末块及其时间（其Raft日志中已无该块）"),
                )),
                Err(error) => {
                    findings.add(
                        Code::StorageDamaged,
                        None,
                        format!("The Raft log cannot be read: {error}."),
                        "读取Raft日志时数据库出错。",
                    );
                }
            }
            self.findings.extend(findings);
        }
    }

    /// What nothing was compared with, because it changed while the audit was broken off: directories' states, and the ends
    /// of running nodes.
    fn passed(&mut self, walks: &[Walked]) {
        let Some(first) = self.held.first() else { return };
        let compared = self.held.iter().zip(walks).filter(|(_, walked)| walked.compared);
        for (name, until) in compared.filter_map(|(held, _)| Some((held.source.name(), held.until(first)?))) {
            let first = first.source.name();
            self.report.left_out.push((
                format!("records from number {until} on of {name}: the audit goes on with {first}, which has no more"),
                format!("{name}自第{until}号起的记录（审计沿{first}续行，其记录止于此）"),
            ));
        }
        let passed = walks.first().map_or(&[][..], |walked| &walked.passed);
        // One that holds another history was walked by itself, to its own end.
        let passed = passed.iter().filter(|source| **source == 0 || walks.get(**source).is_some_and(|walked| walked.compared));
        for held in passed.filter_map(|source| self.held.get(*source)) {
            let name = held.source.name();
            self.report.left_out.push((
                format!("the state of {name}: it changed while the audit was broken off, and ends before where that went on"),
                format!("{name}的状态（审计中断期间有变化，且止于续审位置之前）"),
            ));
        }
    }

    /// What directories keep of the tree beside what a walk compares. Records that the head counts and that
    /// are not there are a finding already: their tiles are not one more.
    fn trees(&mut self, walks: &[Walked]) {
        for (held, walked) in self.held.iter().zip(walks) {
            let Some(store) = held.source.store() else { continue };
            self.findings.extend(directory::tree(store, held.source.name(), walked.next.max(held.size), &walked.roots));
        }
    }

    /// Wrapped keys of commands with an erased licence: the digest that was signed says nothing of what is
    /// left of them, so directories of one history are held against each other, and how many such
    /// commands there are is told.
    fn wraps(&mut self, walks: &[Walked]) {
        let alike = self.held.iter().zip(walks).enumerate().filter(|(n, (_, walked))| *n == 0 || walked.compared);
        let mut stores = alike.filter_map(|(_, (held, walked))| Some((held.source.name(), held.source.store()?, &walked.lacking.struck)));
        if let Some((name, store, struck)) = stores.next() {
            for (other_name, other, other_struck) in stores {
                let mut findings = Findings::of(other_name);
                if let Err(error) = content::compare_wraps((name, store), other, records(struck.union(other_struck)), &mut findings) {
                    findings.add(Code::StorageDamaged, None, format!("The vault cannot be read: {error}."), "读取保管库时数据库出错。");
                }
                self.findings.extend(findings);
            }
        }
        let cut = walks.iter().fold(Places::default(), |cut, walked| cut.union(&walked.lacking.struck).collect());
        self.report.cut_wraps = records(cut.iter()).count() as u64;
    }

    /// Vaults against what was erased. Without a replay nobody knows what that is.
    fn vaults(&mut self, walks: &[Walked]) {
        let reference = walks.first().and_then(|walked| walked.replay.as_ref());
        for (held, walked) in self.held.iter().zip(walks) {
            let replay = if walked.compared { reference } else { walked.replay.as_ref() };
            let (Some(store), Some(replay)) = (held.source.store(), replay) else { continue };
            let mut findings = Findings::of(held.source.name());
            match walked.lacking.compare(store, replay.erased(), walked.records, &mut findings) {
                Ok(erased) => _ = self.report.erased.get_or_insert(erased),
                Err(error) => {
                    findings.add(Code::StorageDamaged, None, format!("The vault cannot be read: {error}."), "读取保管库时数据库出错。")
                }
            }
            self.findings.extend(findings);
        }
    }

    fn checkpoints(&mut self, trust: &Trust, walks: &[Walked], advance: &Advance<'_>) -> Result<(), CannotRead> {
        let mut all = Checkpoints::new(trust);
        for (n, (held, walked)) in self.held.iter().zip(walks).enumerate() {
            advance(Stage::Checkpoints, held.source.name(), n as u64, walks.len() as u64);
            let log_ahead =
                held.source.store().is_some_and(|store| store.applied().is_ok_and(|(applied, _)| applied < store.log_range().1));
            let catching_up = held.source.store().is_some_and(|store| store.installing().is_ok_and(|snapshot| snapshot.is_some()));
            let history = History { roots: &walked.roots, size: walked.next, log_ahead, catching_up };
            let mut findings = Findings::of(held.source.name());
            all.check(&self.held, n, &history, self.options, &mut findings).or_else(|error| held.cannot(&error))?;
            self.go_on()?;
            if n == 0 {
                self.report.commitments = commitments(walked);
            }
            self.findings.extend(findings);
        }
        let mut findings = Findings::of(self.held.first().map_or("", |held| held.source.name()));
        all.check_quorum(self.report.commitments, &mut findings);
        self.findings.extend(findings);
        (self.report.covered, self.report.checkpoints) = (all.covered, all.count);
        Ok(())
    }

    fn finish(self, begun: Instant) -> Report {
        Report {
            clean: self.findings.is_empty(),
            counts: self.findings.counts().into_iter().map(|(code, count)| (code.name(), count)).collect(),
            findings: self.findings.sorted(),
            with_signatures: self.options.signatures,
            with_replay: self.options.replay,
            seconds: begun.elapsed().as_secs_f64(),
            ..self.report
        }
    }
}

/// Hands what the walks found in states to the walks of the sources concerned. What the first walk
/// found in the state of a source that turned out to hold another history says nothing.
fn share_states(walks: &mut [Walked]) {
    for walk in 0..walks.len() {
        let states = walks.get_mut(walk).map(|walked| std::mem::take(&mut walked.states)).unwrap_or_default();
        for found in states {
            if let Some(walked) = walks.get_mut(found.source).filter(|walked| walk == found.source || walked.compared) {
                walked.findings.extend(found.findings);
                walked.state_read = true;
            }
        }
    }
}

fn commitments(walked: &Walked) -> u64 {
    walked.roots.iter().filter(|root| root.committed).count() as u64
}

/// The records of places, each once.
fn records(places: impl Iterator<Item = (u64, u32)>) -> impl Iterator<Item = u64> {
    let mut last = None;
    places.filter_map(move |(seq, _)| (last.replace(seq) != Some(seq)).then_some(seq))
}

/// The first of at most 256 places that do not hold the same record with the same chain.
fn first_difference(one: &dyn Source, other: &dyn Source, places: Range<u64>) -> Result<Option<u64>, ReadError> {
    let read = |source: &dyn Source| -> Result<BTreeMap<u64, Vec<u8>>, ReadError> {
        let mut rows = BTreeMap::new();
        if !places.is_empty() {
            source.records(places.start, &mut |place, row| {
                if place < places.end {
                    rows.insert(place, row.to_vec());
                }
                place + 1 < places.end
            })?;
        }
        Ok(rows)
    };
    let (one, other) = (read(one)?, read(other)?);
    let parts = |row: Option<&Vec<u8>>| {
        let view = StoredView::parse(row?).ok()?;
        Some((view.record.to_vec(), view.chain.to_vec()))
    };
    Ok(places.clone().find(|place| parts(one.get(place)) != parts(other.get(place))))
}

fn genesis_payload(first: &[u8]) -> Option<Vec<u8>> {
    let record = RecordView::parse(StoredView::parse(first).ok()?.record).ok()?;
    Some(EnvelopeView::parse(record.envelope).ok()?.payload.to_vec())
}
