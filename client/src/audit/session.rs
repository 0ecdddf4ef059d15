//! One audit: which source is walked how, and what is put together at the end.

use super::checkpoints::{Checkpoints, History};
use super::finding::{Code, Findings};
use super::source::{ReadError, Source};
use super::walk::{Plan, StateAt, Walked, walk};
use super::{Advance, CannotRead, Options, Report, Stage, directory};
use std::panic::resume_unwind;
use std::time::Instant;
use vermilion_ledger::Trust;
use vermilion_proto::{Envelope, StoredRecord, canonical};
use vermilion_registry::{ledger_id, pinned, stored};

/// Audits. Blocks: call it from a thread of its own.
pub fn audit(sources: &[&dyn Source], options: &Options, advance: &Advance<'_>) -> Result<Report, CannotRead> {
    let begun = Instant::now();
    let mut session = Session { held: Vec::new(), options, findings: Findings::default(), report: Report::default() };
    session.held(sources)?;
    if !session.held.is_empty() {
        session.ledger(advance)?;
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

    fn cannot<T>(&self, error: &ReadError) -> Result<T, CannotRead> {
        Err(CannotRead { source_name: self.source.name().to_owned(), why: error.to_string() })
    }
}

struct Session<'a> {
    /// The longest first.
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
        self.held.sort_by_key(|held| std::cmp::Reverse(held.size));
        Ok(())
    }

    fn ledger(&mut self, advance: &Advance<'_>) -> Result<(), CannotRead> {
        let trust = self.trust()?;
        // The databases are scanned beside everything else.
        let (walks, scans) = std::thread::scope(|scope| {
            let stores: Vec<_> = self.held.iter().filter_map(|held| Some((held.source.name(), held.source.store()?))).collect();
            let scan =
                scope.spawn(move || stores.into_iter().map(|(name, store)| directory::examine(store, name, advance)).collect::<Vec<_>>());
            let walks = self.walks(advance);
            (walks, scan.join().unwrap_or_else(|panic| resume_unwind(panic)))
        });
        scans.into_iter().for_each(|findings| self.findings.extend(findings));
        let mut walks = walks?;
        self.vaults(&walks);
        if let Some(trust) = trust {
            self.checkpoints(&trust, &walks, advance)?;
        }
        if let Some(walked) = walks.first() {
            self.report.records = walked.records;
            self.report.licences = walked.licences;
            self.report.commitments = walked.roots.len() as u64;
        }
        for walked in &mut walks {
            self.report.signatures += walked.signatures;
            self.findings.extend(std::mem::take(&mut walked.findings));
        }
        Ok(())
    }

    /// What is trusted: as the options say, else as the genesis does. None if there is no genesis.
    fn trust(&mut self) -> Result<Option<Trust>, CannotRead> {
        let Some(first) = self.held.first() else { return Ok(None) };
        let mut found = None;
        let read = first.source.records(0, &mut |seq, record| {
            found = Some(record).filter(|_| seq == 0);
            false
        });
        if let Err(error @ ReadError::Unreachable(_)) = read {
            return first.cannot(&error);
        }
        let mut findings = Findings::of(first.source.name());
        let given = self.options.genesis.as_ref();
        let payload = found.as_ref().and_then(genesis_payload);
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

    /// Walks every source: the longest whole, another as far as it holds the same records. The walks
    /// come in the order of the sources.
    fn walks(&self, advance: &Advance<'_>) -> Result<Vec<Walked>, CannotRead> {
        let mut walks: Vec<Walked> = Vec::with_capacity(self.held.len());
        for (position, held) in self.held.iter().enumerate() {
            let plan = |states| Plan { signatures: self.options.signatures, replay: self.options.replay, known: None, states };
            let walk = |plan| walk(held.source, held.size, plan, advance).or_else(|error| held.cannot(&error));
            let Some(reference) = walks.first() else {
                let states = self.held.iter().enumerate().filter_map(|(n, held)| held.state(n)).collect();
                walks.push(walk(plan(states))?);
                continue;
            };
            let compared = walk(Plan { signatures: false, replay: false, known: Some(&reference.leaves), states: Vec::new() })?;
            let Some(seq) = compared.departs else {
                walks.push(compared);
                continue;
            };
            // Another history: nothing of the first one's walk says anything about it.
            let mut walked = walk(plan(held.state(position).into_iter().collect()))?;
            let other = self.held.first().map_or("", |held| held.source.name());
            let mut findings = Findings::of(held.source.name());
            findings.add(
                Code::SourcesDiffer,
                Some(seq),
                format!("From record {seq} on, this source does not hold the same records as {other}."),
                format!("自第{seq}号记录起，本来源的记录与{other}不同。"),
            );
            walked.findings.extend(findings);
            walks.push(walked);
        }
        share_states(&mut walks);
        Ok(walks)
    }

    /// Vaults against what was erased. Without a replay nobody knows what that is.
    fn vaults(&mut self, walks: &[Walked]) {
        let reference = walks.first().and_then(|walked| walked.replay.as_ref());
        for (n, (held, walked)) in self.held.iter().zip(walks).enumerate() {
            let replay = if walked.compared { reference } else { walked.replay.as_ref() };
            let (Some(store), Some(replay)) = (held.source.store(), replay) else { continue };
            let mut findings = Findings::of(held.source.name());
            match walked.lacking.compare(store, replay.erased(), walked.records, &mut findings) {
                Ok(erased) if n == 0 => self.report.erased = erased,
                Ok(_) => {}
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
            let history = History { leaves: &walked.leaves, roots: &walked.roots, size: walked.next, log_ahead };
            let mut findings = Findings::of(held.source.name());
            all.check(&self.held, n, &history, &mut findings).or_else(|error| held.cannot(&error))?;
            if n == 0 {
                self.report.commitments = walked.roots.len() as u64;
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
        for (position, findings) in states {
            if let Some(walked) = walks.get_mut(position).filter(|walked| walk == position || walked.compared) {
                walked.findings.extend(findings);
            }
        }
    }
}

fn genesis_payload(first: &StoredRecord) -> Option<Vec<u8>> {
    let open = stored::open_record(first).ok()?;
    Some(canonical::<Envelope>(&open.record.envelope).ok()?.payload)
}
