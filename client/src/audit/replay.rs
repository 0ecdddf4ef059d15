//! The registry over again, from the genesis: every record must come out byte for byte.

use super::examine::{Place, Readable, reason_name};
use super::finding::{Code, Findings};
use super::link::Confirmed;
use super::memory::ReplayState;
use super::pipeline::Chunk;
use super::room::Room;
use std::collections::BTreeMap;
use vermilion_crypto::Digest;
use vermilion_ledger::leaf_hash;
use vermilion_proto::{Envelope, Record, canonical};
use vermilion_registry::{BlockEffects, BlockInput, Checked, CommandResult, Fatal, RULES_VERSION, Registry};
use vermilion_storage::ScratchError;

/// Vault content that was erased, by record and position, with the number of the record that ordered it first.
pub type Erased = BTreeMap<(u64, u32), u64>;

/// A replay under way. Its state is what the records read so far give.
pub struct Replay {
    state: ReplayState,
    /// None once the replay has stopped.
    registry: Option<Registry>,
    rules: u32,
    erased: Erased,
    /// Why the state cannot be kept or read any more, which says nothing about the ledger.
    failed: Option<String>,
}

/// Why there is no replay, or no more of one.
enum Stop {
    /// The records give none.
    Records(String),
    /// The state cannot be kept or read: what is in memory cannot fail, what is put aside can.
    State(String),
}

impl From<Fatal> for Stop {
    fn from(fatal: Fatal) -> Self {
        match fatal {
            Fatal::Kv(error) => Self::State(error.0),
            other => Self::Records(other.to_string()),
        }
    }
}

impl From<ScratchError> for Stop {
    fn from(error: ScratchError) -> Self {
        Self::State(error.to_string())
    }
}

impl Replay {
    /// Begins with the first record. None if it gives no registry; then that is noted. An error says nothing about the ledger.
    pub fn begin(first: &[u8], command: &Checked, room: &Room, findings: &mut Findings) -> Result<Option<Self>, String> {
        match Self::genesis(first, command, room, findings) {
            Ok(replay) => Ok(Some(replay)),
            Err(Stop::State(why)) => Err(why),
            Err(Stop::Records(why)) => {
                stopped(findings, 0, &why);
                Ok(None)
            }
        }
    }

    fn genesis(first: &[u8], command: &Checked, room: &Room, findings: &mut Findings) -> Result<Self, Stop> {
        let payload = canonical::<Envelope>(&command.envelope).map_err(|e| Stop::Records(e.to_string()))?.payload;
        let mut state = ReplayState::new(room);
        let effects = Registry::genesis(&payload, &state)?;
        if let Some(new) = effects.records.first() {
            compare(first, 0, &new.bytes, findings);
        }
        state.write(effects.writes)?;
        let registry = Registry::open(&state)?;
        // An opened registry has this build's rules.
        Ok(Self { state, registry: Some(registry), rules: RULES_VERSION, erased: Erased::new(), failed: None })
    }

    /// Goes on from a state that was kept.
    pub fn restore(state: ReplayState, rules: u32, erased: Erased) -> Result<Self, String> {
        let fatal = |error: Fatal| error.to_string();
        let registry = Registry::open(&state).and_then(|registry| registry.with_rules(rules)).map_err(fatal)?;
        Ok(Self { state, registry: Some(registry), rules, erased, failed: None })
    }

    /// Why the audit cannot go on, if it cannot: the state cannot be kept or read.
    pub fn failed(&self) -> Option<&str> {
        self.failed.as_deref()
    }

    /// The version of the rules under which it replays.
    pub fn rules(&self) -> u32 {
        self.rules
    }

    /// The state so far.
    pub fn state(&self) -> &ReplayState {
        &self.state
    }

    /// The state so far, to be compared or given back.
    pub fn state_mut(&mut self) -> &mut ReplayState {
        &mut self.state
    }

    /// What was erased so far.
    pub fn erased(&self) -> &Erased {
        &self.erased
    }

    /// Whether it has not stopped.
    pub fn is_going(&self) -> bool {
        self.registry.is_some()
    }

    /// Licences so far.
    pub fn licences(&self) -> u64 {
        self.registry.as_ref().map_or(0, |r| r.head().licences)
    }

    /// Ends the replay at a record that cannot be replayed.
    pub fn stop(&mut self, seq: u64, why: &str, findings: &mut Findings) {
        if self.registry.take().is_some() {
            stopped(findings, seq, why);
        }
    }

    /// Replays a run of a chunk's records, of one time and one version of the rules, whose commands are
    /// `commands`. Blocks are not kept; how the records of one time were divided into blocks decides
    /// nothing about them. An erasure must be the first of its run: what a run erases is noted under its
    /// first record. Answers, for each record, what it is by the replay, if that gives the same bytes.
    pub fn run(&mut self, chunk: &Chunk, run: &[Place], commands: &[Checked], findings: &mut Findings) -> Vec<Option<Confirmed>> {
        let mut confirmed = Vec::with_capacity(run.len());
        self.go(chunk, run, commands, findings, &mut confirmed);
        confirmed
    }

    fn go(&mut self, chunk: &Chunk, run: &[Place], commands: &[Checked], findings: &mut Findings, confirmed: &mut Vec<Option<Confirmed>>) {
        let Some(Place { seq: first, record: Some(head) }) = run.first() else { return };
        // Whatever goes wrong below, the registry is not put back: the replay has stopped.
        let Some(registry) = self.registry.take() else { return };
        let expected: Vec<_> =
            run.iter().filter_map(|place| place.record.as_ref()).map(|record| (record.bytes(chunk), record.hash)).collect();
        let (registry, effects) = match self.apply(registry, head, commands, &expected) {
            Ok(applied) => applied,
            Err(error) => return self.stop_for(error.into(), *first, findings),
        };
        if let Some(void) = effects.void {
            return stopped(findings, *first, &void.to_string());
        }
        for ((Place { seq, .. }, (found, _)), result) in run.iter().zip(expected).zip(&effects.results) {
            let CommandResult::Recorded { index } = result else {
                not_due(findings, *seq, result);
                return stopped(findings, *seq, "the numbers of all later records hang on it");
            };
            let Some(new) = effects.records.get(*index) else { return stopped(findings, *seq, "the registry names no record") };
            let same = new.bytes == found;
            confirmed.push(same.then(|| Confirmed { chain: new.chain, leaf_hash: leaf_hash(&new.leaf) }));
            if !same {
                compare(found, *seq, &new.bytes, findings);
            }
        }
        for erase in effects.erase {
            // A later erasure of the licence orders it again: a directory may end between the two.
            self.erased.entry((erase.seq, erase.position)).or_insert(*first);
        }
        match self.state.write(effects.writes) {
            Ok(()) => self.registry = Some(registry),
            Err(error) => self.stop_for(error.into(), *first, findings),
        }
    }

    fn stop_for(&mut self, stop: Stop, seq: u64, findings: &mut Findings) {
        match stop {
            Stop::Records(why) => stopped(findings, seq, &why),
            Stop::State(why) => self.failed = Some(why),
        }
    }

    fn apply(
        &mut self,
        mut registry: Registry,
        head: &Readable,
        commands: &[Checked],
        expected: &[(&[u8], Digest)],
    ) -> Result<(Registry, BlockEffects), Fatal> {
        if head.rules != self.rules {
            registry = registry.with_rules(head.rules)?;
            self.rules = head.rules;
        }
        let previous = registry.head().block.as_slice().try_into().map_err(|_| Fatal::Broken("the head names no block".into()))?;
        let may_propose = registry.any_proposer().ok_or_else(|| Fatal::Broken("no node is connected".into()))?;
        let (proposer, proposer_key) = may_propose;
        let input = BlockInput { hash: previous, previous, proposer_key, proposer, time_ms: head.time_ms, commands, expected };
        let effects = registry.apply_block(&self.state, &input)?;
        Ok((registry, effects))
    }
}

/// Compares a record with what the replay gives, and says in what they differ.
fn compare(found: &[u8], seq: u64, due: &[u8], findings: &mut Findings) {
    if found == due {
        return;
    }
    let (Ok(record), Ok(due)) = (canonical::<Record>(found), canonical::<Record>(due)) else { return };
    let (record, mut told) = (&record, false);
    if record.outcome != due.outcome {
        told = true;
        let code = |r: &Record| reason_name(r.outcome.as_ref().map_or(0, |o| o.code));
        findings.add(
            Code::OutcomeWrong,
            Some(seq),
            format!("Record {seq} states the outcome \"{}\"; under the rules it differs (\"{}\").", code(record), code(&due)),
            format!("第{seq}号记录所载结果“{}”与按规则重算的结果（“{}”）不符。", code(record), code(&due)),
        );
    }
    if record.effects_digest != due.effects_digest {
        told = true;
        findings.add(
            Code::EffectsWrong,
            Some(seq),
            format!("Record {seq} states a digest of its effects on the state that replaying it does not give."),
            format!("第{seq}号记录所载的状态变更摘要与重放结果不符。"),
        );
    }
    if record.commitment != due.commitment {
        told = true;
        findings.add(
            Code::CommitmentWrong,
            Some(seq),
            format!("Commitment record {seq} states another status root or licence count than replaying gives."),
            format!("第{seq}号承诺记录所载的状态根或证照数量与重放结果不符。"),
        );
    }
    // What travelled beside is compared with the signed payload, in every audit.
    let rest = |r: &Record| (r.format_version, r.seq, r.epoch, r.time_ms, r.rules_version);
    if !told && (rest(record) != rest(&due) || record.beside_digest == due.beside_digest) {
        findings.add(
            Code::ReplayDiffers,
            Some(seq),
            format!("Record {seq} differs from what replaying its command gives."),
            format!("第{seq}号记录与重放其指令所得的记录不同。"),
        );
    }
}

fn not_due(findings: &mut Findings, seq: u64, result: &CommandResult) {
    let (en, zh) = match result {
        CommandResult::Existing { seq: first } => {
            (format!("repeats the command of record {first}"), format!("重复了第{first}号记录的指令"))
        }
        CommandResult::Expired => ("was written after its command's not-after".to_owned(), "在其指令失效之后写入".to_owned()),
        CommandResult::WrongLedger | CommandResult::Recorded { .. } => {
            ("holds a command of another ledger".to_owned(), "所载指令属于另一账本".to_owned())
        }
    };
    findings.add(
        Code::RecordNotDue,
        Some(seq),
        format!("Record {seq} {en}: the rules leave no such record."),
        format!("第{seq}号记录{zh}，按规则不应存在。"),
    );
}

fn stopped(findings: &mut Findings, seq: u64, why: &str) {
    findings.add(
        Code::ReplayStopped,
        Some(seq),
        format!("The replay stops at record {seq}: {why}. Outcomes and state from there on are not checked."),
        format!("重放止于第{seq}号记录，其后的结果与状态未予核对。"),
    );
}
