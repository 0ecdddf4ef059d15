//! The state machine: blocks in, records and state writes out.

use crate::block::{BlockEffects, BlockInput, CommandResult, NewRecord, VoidReason};
use crate::command::Checked;
use crate::days;
use crate::decision::{self, Change, Decision, View};
use crate::directory::Directory;
use crate::fatal::{Fatal, Stop};
use crate::genesis;
use crate::keys;
use crate::kv::{Kv, Overlay, Write};
use crate::policy::Policy;
use crate::query;
use crate::reason::Refusal;
use crate::rules::{self, RULES_VERSION};
use crate::state_sum::StateSum;
use crate::status::State;
use crate::value;
use std::collections::BTreeSet;
use vermilion_crypto::{Digest, hash};
use vermilion_ledger::{CHUNK_LEN, LICENCES_A_CHUNK, Leaf, StatusTree, StatusView, chain_next, chain_start, record_hashes};
use vermilion_proto::{COMMAND_TYPE, Command, CommitmentData, Envelope, LedgerHead, Message, Outcome, Record};

/// The registry: what is held in memory beside the state, all of it rebuilt from there.
///
/// Invariants: everything held is as of the last block applied, so a registry and the [`Kv`] that
/// it is given belong together, and the caller writes each block's effects before it applies the
/// next. The status vector has as many entries as the head says licences. After a [`Fatal`] the
/// registry may have gone ahead of the state: it is dropped, never used again.
pub struct Registry {
    ledger_id: Digest,
    rules: u32,
    head: LedgerHead,
    directory: Directory,
    policy: Policy,
    statuses: StatusTree,
    sum: StateSum,
}

impl Registry {
    /// Reads what it holds from the state.
    pub fn open(kv: &dyn Kv) -> Result<Self, Fatal> {
        let head = query::head(kv)?.ok_or(Fatal::NoGenesis)?;
        let payload = query::genesis_payload(kv)?.ok_or(Fatal::NoGenesis)?;
        let directory = Directory::load(kv)?;
        let policy = Policy::read(directory.policy(), head.time_ms)?;
        let mut chunks = Vec::new();
        let mut gap = None;
        kv.scan(keys::CHUNKS, &mut |key, stored| {
            if key != keys::chunk(chunks.len() as u64) {
                gap = Some(value::undecodable(key, "status chunks are not numbered in order"));
                return false;
            }
            match value::open(key, stored) {
                Ok(chunk) => chunks.push(chunk.to_vec()),
                Err(fatal) => gap = Some(fatal),
            }
            gap.is_none()
        })?;
        if let Some(fatal) = gap {
            return Err(fatal);
        }
        let statuses = StatusTree::from_chunks(head.licences, chunks).map_err(|e| Fatal::Broken(e.to_string()))?;
        let sum = StateSum::open(kv)?;
        Ok(Self { ledger_id: ledger_id(&payload), rules: RULES_VERSION, head, directory, policy, statuses, sum })
    }

    /// The same under another version of the rules, to replay old records.
    pub fn with_rules(mut self, version: u32) -> Result<Self, Fatal> {
        if version == 0 || version > RULES_VERSION {
            return Err(Fatal::Rules(version));
        }
        self.rules = version;
        Ok(self)
    }

    /// Record 0 of a ledger, from its genesis payload, over an empty state. The envelope of the
    /// record carries no signature.
    pub fn genesis(payload: &[u8], kv: &dyn Kv) -> Result<BlockEffects, Fatal> {
        if query::head(kv)?.is_some() {
            return Err(Fatal::Genesis("the state has one already".into()));
        }
        let refused = |refusal: Refusal| Fatal::Genesis(refusal.to_string());
        let genesis = genesis::read(payload).map_err(refused)?;
        let changes = genesis::changes(payload, &genesis).map_err(|stop| match stop {
            Stop::Refused(refusal) => refused(refusal),
            Stop::Fatal(fatal) => fatal,
        })?;
        let id = ledger_id(payload);
        let directory = Directory::default();
        let mut registry = Self {
            ledger_id: id,
            rules: RULES_VERSION,
            head: LedgerHead { chain: chain_start(&id).to_vec(), ..LedgerHead::default() },
            policy: Policy::read(directory.policy(), genesis.time_ms)?,
            directory,
            statuses: StatusTree::new(),
            sum: StateSum::default(),
        };
        let envelope = Envelope { payload_type: COMMAND_TYPE.to_owned(), payload: payload.to_vec(), signatures: Vec::new() };
        let checked = Checked {
            id: hash::derive(&hash::CTX_COMMAND_ID, &[payload]),
            envelope: envelope.encode_to_vec().into(),
            command: Command::default(),
            signer_keys: Vec::new(),
            items: Vec::new(),
            beside_digest: Vec::new(),
            has_vault: false,
        };
        let mut block = Building::new(kv, genesis.time_ms, 1, &[]);
        registry.record(&mut block, 0, &checked, Ok(Decision::of(changes)))?;
        registry.finish(block, id)
    }

    /// Applies a committed block: the only way in which the state changes. Deterministic: the same
    /// state and block give the same effects on every node. The caller writes the effects in one
    /// batch before the next call.
    pub fn apply_block(&mut self, kv: &dyn Kv, block: &BlockInput<'_>) -> Result<BlockEffects, Fatal> {
        if let Some(reason) = self.void(block) {
            // Blocks chain in the order of the log, void ones too: what the next leader packs follows
            // this one, and must not be void for that.
            self.head.block = block.hash.to_vec();
            return Ok(BlockEffects {
                void: Some(reason),
                records: Vec::new(),
                results: Vec::new(),
                writes: vec![(keys::HEAD.to_vec(), Some(value::encode(&self.head)))],
                erase: Vec::new(),
                head: self.head.clone(),
            });
        }
        let mut building = Building::new(kv, block.time_ms, block.commands.len(), block.expected);
        for (index, checked) in block.commands.iter().enumerate() {
            let result = self.command(&mut building, index, checked)?;
            building.results.push(result);
        }
        self.finish(building, block.hash)
    }

    fn void(&self, block: &BlockInput<'_>) -> Option<VoidReason> {
        if self.head.block != block.previous {
            return Some(VoidReason::WrongPrevious);
        }
        if block.time_ms < self.head.time_ms {
            return Some(VoidReason::TimeGoesBack);
        }
        let known = self.directory.node(block.proposer).is_some_and(|n| n.node_key == block.proposer_key);
        (!known).then_some(VoidReason::UnknownProposer)
    }

    fn command(&mut self, block: &mut Building<'_>, index: usize, checked: &Checked) -> Result<CommandResult, Fatal> {
        if let Some(seq) = value::get_seq(&block.overlay, &keys::command(&checked.id))? {
            return Ok(CommandResult::Existing { seq });
        }
        let Some(head) = checked.command.head.as_ref().filter(|h| h.ledger_id == self.ledger_id) else {
            return Ok(CommandResult::WrongLedger);
        };
        if head.not_after_ms < block.time_ms {
            return Ok(CommandResult::Expired);
        }
        if block.time_ms >= self.policy.until_ms {
            self.policy = Policy::read(self.directory.policy(), block.time_ms)?;
        }
        let view = View {
            kv: &block.overlay,
            directory: &self.directory,
            policy: &self.policy,
            now_ms: block.time_ms,
            today: block.today,
            seq: self.head.size,
            next_index: self.head.licences,
        };
        let decided = match rules::decide(self.rules, &view, checked, head) {
            Ok(decision) => Ok(decision),
            Err(Stop::Refused(refusal)) => Err(refusal),
            Err(Stop::Fatal(fatal)) => return Err(fatal),
        };
        self.record(block, index, checked, decided)?;
        Ok(CommandResult::Recorded { index: block.recorded.len() - 1 })
    }

    /// Leaves the record of a decision or refusal, and does what was decided.
    fn record(
        &mut self,
        block: &mut Building<'_>,
        index: usize,
        checked: &Checked,
        decided: Result<Decision, Refusal>,
    ) -> Result<(), Fatal> {
        let seq = self.head.size;
        let (decision, refusal) = match decided {
            Ok(decision) => (decision, None),
            Err(refusal) => {
                let outcome = Outcome { code: refusal.reason.number(), ..Outcome::default() };
                (Decision { outcome, ..Decision::default() }, Some(refusal))
            }
        };
        let Decision { changes, outcome, erase, kept, commitment } = decision;
        let effects = self.effect(block, seq, changes)?;
        let statuses = commitment.is_some().then(|| self.statuses.view());
        let committed = match &commitment {
            Some(_) => Some(vermilion_ledger::Commitment {
                status_root: self.statuses.root(),
                state_digest: self.sum.digest_within(&block.overlay)?,
            }),
            None => None,
        };
        let commitment = commitment.zip(committed.as_ref()).map(|(timestamp_token, said)| CommitmentData {
            status_root: said.status_root.to_vec(),
            licence_count: self.head.licences,
            timestamp_token,
            state_digest: said.state_digest.to_vec(),
            state_digest_seq: seq,
        });
        let record = Record {
            format_version: 1,
            seq,
            epoch: self.head.epoch,
            time_ms: block.time_ms,
            rules_version: self.rules,
            envelope: checked.envelope.clone(),
            beside_digest: checked.beside_digest.clone(),
            outcome: Some(outcome),
            effects_digest: Vec::new(),
            commitment,
        };
        self.head.size = seq + 1;
        block.overlay.put(keys::command(&checked.id), Some(value::plain(&seq.to_be_bytes())));
        block.erase.extend(erase);
        let accepted = checked.has_vault && refusal.is_none() && (checked.items.is_empty() || !kept.is_empty());
        block.recorded.push(Recorded {
            id: checked.id,
            record,
            effects,
            refusal,
            command_index: index,
            accepted,
            kept,
            committed,
            statuses,
        });
        Ok(())
    }

    /// Hashes what a block has recorded, its records side by side, and links them to the chain.
    fn link(&mut self, mut recorded: Vec<Recorded>, expected: &[(&[u8], Digest)]) -> Result<Vec<NewRecord>, Fatal> {
        let short: Vec<&[u8]> = recorded.iter().map(|r| r.effects.as_ref().map_or_else(Vec::as_slice, |_| &[])).collect();
        let digests = hash::derive_each(&hash::CTX_EFFECTS, &short);
        let mut encoded = Vec::with_capacity(recorded.len());
        for (of, digest) in recorded.iter_mut().zip(digests) {
            of.record.effects_digest = of.effects.as_ref().map_or(digest, |known| *known).to_vec();
            encoded.push(of.record.encode_to_vec());
        }
        let known: Vec<Option<Digest>> = recorded
            .iter()
            .zip(&encoded)
            .map(|(of, bytes)| expected.get(of.command_index).filter(|(expected, _)| expected == bytes).map(|(_, hash)| *hash))
            .collect();
        let unknown: Vec<&[u8]> =
            known.iter().zip(&encoded).filter(|(known, _)| known.is_none()).map(|(_, bytes)| bytes.as_slice()).collect();
        let mut hashes = record_hashes(&unknown).into_iter();
        let mut chain = digest(&self.head.chain)?;
        let mut records = Vec::with_capacity(recorded.len());
        for ((of, bytes), known) in recorded.into_iter().zip(encoded).zip(known) {
            let Some(hash) = known.or_else(|| hashes.next()) else { return Err(Fatal::Broken("a record has no hash".into())) };
            chain = chain_next(&chain, &hash);
            let Record { seq, time_ms, outcome, .. } = of.record;
            let leaf = Leaf { seq, time_ms, record_hash: hash, chain_hash: chain, commitment: of.committed }.encode();
            records.push(NewRecord {
                seq,
                id: of.id,
                bytes,
                hash,
                chain,
                leaf,
                time_ms,
                outcome: outcome.unwrap_or_default(),
                refusal: of.refusal,
                command_index: of.command_index,
                accepted: of.accepted,
                kept_positions: of.kept,
                statuses: of.statuses,
            });
        }
        self.head.chain = chain.to_vec();
        Ok(records)
    }

    /// Does the changes of one record and returns the digest of its state writes, or what is to be hashed: each
    /// in order of keys, the key behind its length, then 1 and the value behind its length, or 0 for a deletion.
    fn effect(&mut self, block: &mut Building<'_>, seq: u64, changes: Vec<Change>) -> Result<Result<Digest, Vec<u8>>, Fatal> {
        let mut writes: Vec<Write> = Vec::with_capacity(changes.len());
        let mut chunks = BTreeSet::new();
        let mut policy_changed = false;
        for change in changes {
            match change {
                Change::Status(index, state) => {
                    self.set_status(index, state)?;
                    chunks.insert(index / LICENCES_A_CHUNK);
                }
                change => {
                    policy_changed |= matches!(change, Change::Policy(_));
                    decision::write(change, seq, &mut self.directory, &mut writes)?;
                }
            }
        }
        for chunk in chunks {
            let bytes = self.statuses.chunk(chunk).filter(|b| b.len() == CHUNK_LEN);
            let bytes = bytes.ok_or_else(|| Fatal::Broken(format!("there is no status chunk {chunk}")))?;
            writes.push((keys::chunk(chunk), Some(value::plain(bytes))));
        }
        if policy_changed {
            self.policy = Policy::read(self.directory.policy(), block.time_ms)?;
        }
        // Of two writes of one key the later stands.
        writes.sort_by(|a, b| a.0.cmp(&b.0));
        writes.dedup_by(|later, earlier| {
            let same = later.0 == earlier.0;
            if same {
                earlier.1 = later.1.take();
            }
            same
        });
        let mut hasher = hash::Hasher::new(&hash::CTX_EFFECTS);
        for (key, value) in writes {
            hasher.field(&key);
            match &value {
                Some(value) => hasher.update(&[1]).field(value),
                None => hasher.update(&[0]),
            };
            block.overlay.put(key, value);
        }
        Ok(hasher.close())
    }

    fn set_status(&mut self, index: u64, state: State) -> Result<(), Fatal> {
        let broken = |e: vermilion_ledger::LedgerError| Fatal::Broken(e.to_string());
        if index == self.head.licences {
            self.head.licences = self.statuses.push(state.number()).map_err(broken)? + 1;
        } else {
            self.statuses.set(index, state.number()).map_err(broken)?;
        }
        if self.statuses.count() == self.head.licences {
            Ok(())
        } else {
            Err(Fatal::Broken("the status vector and the head disagree".into()))
        }
    }

    fn finish(&mut self, mut block: Building<'_>, hash: Digest) -> Result<BlockEffects, Fatal> {
        let (key, sum) = self.sum.end_of_block(&block.overlay)?;
        block.overlay.put(key, sum);
        let records = self.link(std::mem::take(&mut block.recorded), block.expected)?;
        self.head.time_ms = block.time_ms;
        self.head.block = hash.to_vec();
        block.overlay.put(keys::HEAD.to_vec(), Some(value::encode(&self.head)));
        block.erase.sort();
        Ok(BlockEffects {
            void: None,
            records,
            results: block.results,
            writes: block.overlay.into_writes(),
            erase: block.erase,
            head: self.head.clone(),
        })
    }

    /// The ledger id.
    #[must_use]
    pub fn ledger_id(&self) -> &Digest {
        &self.ledger_id
    }

    /// The head after the last block.
    #[must_use]
    pub fn head(&self) -> &LedgerHead {
        &self.head
    }

    /// Units, operators, types, nodes, policy, admissions and the authority after the last block.
    #[must_use]
    pub fn directory(&self) -> &Directory {
        &self.directory
    }

    /// A node whose blocks count as things stand, with its key: for a replay of records, which do not
    /// say who proposed them. The rules ask that such a node did; which one leaves no trace.
    #[must_use]
    pub fn any_proposer(&self) -> Option<(u64, Digest)> {
        self.directory.active_nodes().find_map(|n| Some((n.raft_id, n.node_key.as_slice().try_into().ok()?)))
    }

    /// The policy in force at the time of the last command.
    #[must_use]
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// The status vector after the last block; a root or a proof needs it mutable, to hash what
    /// changed.
    pub fn statuses(&mut self) -> &mut StatusTree {
        &mut self.statuses
    }
}

/// A block in the making.
struct Building<'a> {
    overlay: Overlay<'a>,
    time_ms: u64,
    today: u32,
    recorded: Vec<Recorded>,
    results: Vec<CommandResult>,
    erase: Vec<crate::block::Erase>,
    expected: &'a [(&'a [u8], Digest)],
}

/// A record but for its hashes: those of a block are computed together, at its end.
struct Recorded {
    id: Digest,
    /// Without the digest of its effects.
    record: Record,
    /// That digest, or what is to be hashed.
    effects: Result<Digest, Vec<u8>>,
    refusal: Option<Refusal>,
    command_index: usize,
    accepted: bool,
    kept: Vec<u32>,
    committed: Option<vermilion_ledger::Commitment>,
    statuses: Option<StatusView>,
}

impl<'a> Building<'a> {
    fn new(kv: &'a dyn Kv, time_ms: u64, commands: usize, expected: &'a [(&'a [u8], Digest)]) -> Self {
        Self {
            overlay: Overlay::new(kv),
            time_ms,
            today: days::of(time_ms),
            recorded: Vec::with_capacity(commands),
            results: Vec::with_capacity(commands),
            erase: Vec::new(),
            expected,
        }
    }
}

/// The ledger id of a genesis payload.
#[must_use]
pub fn ledger_id(genesis_payload: &[u8]) -> Digest {
    hash::derive(&hash::CTX_LEDGER_ID, &[genesis_payload])
}

fn digest(bytes: &[u8]) -> Result<Digest, Fatal> {
    bytes.try_into().map_err(|_| Fatal::Broken("a digest is not 32 bytes".into()))
}
