//! Applies committed entries: blocks become records, tiles, state and vault content, in one batch.

use crate::edge::{self, Edge, RightEdge};
use crate::gate::VerifiedCache;
use crate::membership::{self, Proposal, Roster};
use crate::recent::Recent;
use crate::rights::Rights;
use crate::rotation::Rotated;
use crate::waiters::{Fate, Waiters};
use raft::eraftpb::Entry;
use std::sync::Arc;
use vermilion_consensus::{Applied, Change, ConfState, Millis, Tip, reachable};
use vermilion_crypto::Digest;
use vermilion_proto::{LedgerHead, Message as _, StoredRecord};
use vermilion_registry::Checked;
use vermilion_registry::sealed_block::{OpenBlock, open_block};
use vermilion_registry::submission::{Sealed, open_submission, submission_digest};
use vermilion_registry::{BlockEffects, BlockInput, CommandResult, VoidReason};
use vermilion_registry::{Registry, keys, query, stored, value};
use vermilion_storage::{Commit, Store, VaultPut};

/// The tree's state at a commitment record: what a checkpoint says.
#[derive(Clone, Copy, Debug)]
pub struct CommitmentPoint {
    /// Records in the tree.
    pub size: u64,
    /// Its root.
    pub root: [u8; 32],
    /// The record's time.
    pub time_ms: u64,
}

/// Why applying stopped: never a deterministic outcome of a command. The node stops.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// The store failed or is damaged.
    #[error(transparent)]
    Storage(#[from] vermilion_storage::StorageError),
    /// The registry met a broken invariant.
    #[error("the registry stopped: {0}")]
    Registry(#[from] vermilion_registry::Fatal),
    /// What a peer sent is not the ledger's; nothing of it was kept. Another peer may do better.
    #[error("a peer's records do not belong: {0}")]
    Peer(String),
    /// A peer could not be reached, or has not what was asked for.
    #[error("a peer gave nothing: {0}")]
    Unreached(String),
    /// A peer does for another node what was asked of it, and may be asked again.
    #[error("a peer is busy with another node")]
    Busy,
    /// Ledger, chain, tree and state do not agree.
    #[error("the ledger does not fit together: {0}. Keep the directory as evidence and rebuild the node from its peers")]
    Broken(String),
}

/// The state machine of a node.
pub struct Applier {
    store: Store,
    registry: Registry,
    /// Tree and last leaves; what is full goes into the batch.
    right: RightEdge,
    /// Where the others see it.
    edge: Arc<Edge>,
    head: LedgerHead,
    ledger_id: Digest,
    /// The Raft group as of what was applied.
    group: ConfState,
    /// What the state says of the nodes.
    roster: Arc<Roster>,
    rights: Arc<Rights>,
    rotated: Arc<Rotated>,
    cache: Arc<VerifiedCache>,
    waiters: Arc<Waiters>,
    points: tokio::sync::mpsc::UnboundedSender<CommitmentPoint>,
    recent: Arc<Recent>,
    /// The newest commitment among records that were fetched.
    late: Option<CommitmentPoint>,
    /// Whether a state was taken, and no block came behind it yet.
    unsure: bool,
}

/// What applying entries brought, for the runtime.
pub struct Progress {
    /// How far it is.
    pub applied: Applied,
    /// Records applied.
    pub records: u64,
    /// Membership changes that took effect: index and change.
    pub changes: Vec<(u64, Change)>,
    /// Whether group or roster are others than before.
    pub group_changed: bool,
}

impl Applier {
    /// Opens the state machine of a directory that has its genesis, and checks that head, last
    /// record, chain and tree agree.
    pub fn open(
        store: Store,
        ledger_id: Digest,
        cache: Arc<VerifiedCache>,
        waiters: Arc<Waiters>,
        points: tokio::sync::mpsc::UnboundedSender<CommitmentPoint>,
    ) -> Result<Self, ApplyError> {
        let state = store.state();
        let mut registry = Registry::open(&state)?;
        let head = query::head(&state)?.ok_or_else(|| ApplyError::Broken("the state has no head".into()))?;
        let right = edge::rebuild(&store, &head)?;
        let edge = Arc::new(Edge::new(right.clone()));
        let recent = Arc::new(Recent::default());
        if let Some(size) = unchanged_since(&store, &head, &mut registry)? {
            recent.publish(size, registry.statuses().view());
        }
        let roster = Arc::new(Roster::read(&state)?);
        let rotated = Arc::new(Rotated::read(&state)?);
        let unsure = store.place_is_unsure()?;
        let group = store.conf_state();
        Ok(Self {
            store,
            registry,
            right,
            edge,
            head,
            ledger_id,
            group,
            roster,
            rights: Arc::default(),
            rotated,
            cache,
            waiters,
            points,
            recent,
            late: None,
            unsure,
        })
    }

    /// Reads everything from the store again: a state came in from another node.
    pub fn reload(&mut self) -> Result<(), ApplyError> {
        let state = self.store.state();
        self.registry = Registry::open(&state)?;
        self.head = query::head(&state)?.ok_or_else(|| ApplyError::Broken("the state has no head".into()))?;
        self.right = edge::rebuild(&self.store, &self.head)?;
        self.edge.show(&self.right);
        self.recent.publish(self.head.size, self.registry.statuses().view());
        self.roster = Arc::new(Roster::read(&state)?);
        self.rotated.renew(&state)?;
        self.unsure = self.store.place_is_unsure()?;
        self.rights.changed();
        Ok(())
    }

    /// Shows the witness the newest commitment that was applied, if no checkpoint of it is kept: a kill came between the two.
    pub fn show_newest_commitment(&self) -> Result<(), ApplyError> {
        // A node that took a state came with its checkpoint, and has not all tiles yet.
        if self.store.history_from()? > 1 {
            return Ok(());
        }
        let kept = self.store.latest_checkpoint()?.map_or(0, |(size, _)| size);
        for size in (kept + 1..=self.head.size).rev().take(LOOK_BACK as usize) {
            let missing = || ApplyError::Broken(format!("record {} is missing", size - 1));
            let record = self.store.record(size - 1)?.ok_or_else(missing)?;
            let record = stored::open_record(&record).map_err(|e| ApplyError::Broken(e.to_string()))?.record;
            if record.commitment.is_some() {
                let root = self.right.tree.root_at(&self.store, size).map_err(|e| ApplyError::Broken(e.to_string()))?;
                // The receiver ends only when the node stops.
                let _ = self.points.send(CommitmentPoint { size, root, time_ms: record.time_ms });
                return Ok(());
            }
        }
        Ok(())
    }

    /// The status vectors that receipts are proved from.
    #[must_use]
    pub fn recent(&self) -> Arc<Recent> {
        Arc::clone(&self.recent)
    }

    /// The tree's right edge after everything applied, for readers beside the applier.
    #[must_use]
    pub fn edge(&self) -> Arc<Edge> {
        Arc::clone(&self.edge)
    }

    /// The keys that took others' places, as of what was applied.
    #[must_use]
    pub fn rotated(&self) -> Arc<Rotated> {
        Arc::clone(&self.rotated)
    }

    /// What hears of records that change rights.
    #[must_use]
    pub fn rights(&self) -> Arc<Rights> {
        Arc::clone(&self.rights)
    }

    /// What the state says of the nodes, as of what was applied.
    #[must_use]
    pub fn roster(&self) -> &Arc<Roster> {
        &self.roster
    }

    /// The Raft group, as of what was applied.
    #[must_use]
    pub fn group(&self) -> &ConfState {
        &self.group
    }

    /// The head after everything applied.
    #[must_use]
    pub fn head(&self) -> &LedgerHead {
        &self.head
    }

    /// The tip of the chain of blocks, for the driver.
    pub fn tip(&self) -> Result<Tip, ApplyError> {
        let link = self.head.block.as_slice().try_into().map_err(|_| ApplyError::Broken("the head names no block".into()))?;
        Ok(Tip { link, time: Millis(self.head.time_ms) })
    }

    /// Applies entries in order.
    pub fn apply(&mut self, entries: Vec<Entry>) -> Result<Progress, ApplyError> {
        let before = (self.head.size, Arc::clone(&self.roster));
        let mut index = 0;
        let mut changes = Vec::new();
        for mut entry in entries {
            index = entry.index;
            let at = Some((entry.index, entry.term));
            // The gate lets no entry into the log that does not open: this version cannot read what others could.
            let unread = |why: String| ApplyError::Broken(format!("the committed entry {index} cannot be read: {why}"));
            if let Some(proposal) = membership::open(&entry, &self.ledger_id).map_err(unread)? {
                if self.change_group(at, &proposal)? {
                    changes.push((index, proposal.change));
                }
            } else if entry.data.is_empty() {
                self.store.commit(&Commit { applied: at, manifest: self.head.encode_to_vec(), ..Default::default() })?;
            } else {
                let block = open_block(&std::mem::take(&mut entry.data).into()).map_err(|refusal| unread(refusal.to_string()))?;
                self.apply_block(at, block)?;
            }
        }
        let group_changed = !changes.is_empty() || !Arc::ptr_eq(&before.1, &self.roster);
        Ok(Progress { applied: Applied { index, tip: self.tip()? }, records: self.head.size - before.0, changes, group_changed })
    }

    /// Lets a membership change take effect, if the state approves of it: group and applied index become durable together.
    fn change_group(&mut self, at: Option<(u64, u64)>, proposal: &Proposal) -> Result<bool, ApplyError> {
        let judged = self.roster.judge(proposal, &self.group);
        let (proposer, change) = (self.roster.name(proposal.proposer), proposal.change);
        let conf_state = judged.as_ref().ok().cloned();
        self.store.commit(&Commit { applied: at, conf_state, manifest: self.head.encode_to_vec(), ..Default::default() })?;
        match judged {
            Ok(group) => {
                tracing::info!(proposer, ?change, voters = ?group.voters, learners = ?group.learners, "the group changed");
                self.group = group;
                Ok(true)
            }
            Err(why) => {
                tracing::error!(proposer, ?change, why, "a membership change that nobody approved: nothing changes");
                Ok(false)
            }
        }
    }

    fn apply_block(&mut self, at: Option<(u64, u64)>, block: OpenBlock) -> Result<(), ApplyError> {
        let mut commands = Vec::with_capacity(block.body.submissions.len());
        let mut sealed = Vec::with_capacity(block.body.submissions.len());
        for bytes in &block.body.submissions {
            let submitted = match self.cache.take(&submission_digest(bytes)) {
                Some(submitted) => submitted,
                // From this node's own log after a restart: it passed the gate when it was written.
                None => open_submission(bytes).map_err(|e| ApplyError::Broken(format!("a command in the log does not open: {e}")))?,
            };
            commands.push(submitted.checked);
            sealed.push(submitted.sealed);
        }
        let input = BlockInput {
            hash: block.hash,
            previous: block.previous,
            proposer_key: block.key.0,
            proposer: block.body.proposer,
            time_ms: block.body.time_ms,
            commands: &commands,
            expected: &[],
        };
        self.take(at, &input, commands.as_slice(), sealed, None)
    }

    /// Replays one record that another node sent, its signatures already verified: the outcome must
    /// be the same. Used to catch up with a snapshot.
    pub fn replay(&mut self, stored_record: &StoredRecord, checked: Checked, sealed: Sealed) -> Result<(), ApplyError> {
        let open = stored::open_record(stored_record).map_err(|e| ApplyError::Broken(e.to_string()))?;
        let previous = self.tip()?.link;
        let (proposer, proposer_key) = self.registry.any_proposer().ok_or_else(|| ApplyError::Broken("no node is connected".into()))?;
        let commands = [checked];
        let input = BlockInput {
            hash: previous,
            previous,
            proposer_key,
            proposer,
            time_ms: open.record.time_ms,
            commands: &commands,
            expected: &[],
        };
        self.take(None, &input, &commands, vec![sealed], Some(&stored_record.chain))
    }

    /// Ends a catch-up: the head names the block that the snapshot names, and the group is the one that it names, if that can
    /// have come of the one known here by changes that the state approves of.
    pub fn finish_catch_up(&mut self, manifest: &LedgerHead, group: &ConfState) -> Result<Tip, ApplyError> {
        let reached = reachable(&self.group, group, &*self.roster).map_err(|e| ApplyError::Broken(e.to_string()))?;
        reached.map_err(|why| ApplyError::Broken(format!("the snapshot names a group that nobody approved: {why}")))?;
        // The chain says which records there are, and they the rest.
        if (self.head.size, &self.head.chain) != (manifest.size, &manifest.chain) || manifest.time_ms < self.head.time_ms {
            return Err(ApplyError::Broken("the records fetched do not end where the snapshot says".into()));
        }
        self.head = LedgerHead { block: manifest.block.clone(), time_ms: manifest.time_ms, ..self.head.clone() };
        let head = (keys::HEAD.to_vec(), Some(value::encode(&self.head)));
        self.store.commit(&Commit { state: vec![head], manifest: self.head.encode_to_vec(), ..Default::default() })?;
        // Its caches name the last record's stand-in for a block.
        self.registry = Registry::open(&self.store.state())?;
        self.group = group.clone();
        if let Some(point) = self.late.take() {
            let _ = self.points.send(point);
        }
        self.tip()
    }

    fn take(
        &mut self,
        at: Option<(u64, u64)>,
        input: &BlockInput<'_>,
        commands: &[Checked],
        mut sealed: Vec<Sealed>,
        expected: Option<&[u8]>,
    ) -> Result<(), ApplyError> {
        let mut effects = self.registry.apply_block(&self.store.state(), input)?;
        if at.is_some() && self.unsure {
            // A log that is whole goes on where the state ends. To pass this block over would make another
            // ledger of this node's, which the others could not tell from a lie.
            if let Some(reason @ (VoidReason::WrongPrevious | VoidReason::TimeGoesBack)) = &effects.void {
                return Err(ApplyError::Broken(format!(
                    "the block behind the state that was taken does not fit ({reason}): whoever gave the state named a wrong place in the log"
                )));
            }
            self.store.place_is_sure()?;
            self.unsure = false;
        }
        if expected.is_some_and(|chain| effects.head.size != self.head.size + 1 || effects.head.chain != chain) {
            // Nothing is written yet; the registry's caches are ahead of the store and made again.
            self.registry = Registry::open(&self.store.state())?;
            return Err(ApplyError::Peer(format!("replaying record {} does not give what was sent", self.head.size)));
        }
        if let Some(reason) = &effects.void {
            tracing::error!(proposer = input.proposer, time_ms = input.time_ms, %reason, "a committed block is void: passed over");
            commands.iter().for_each(|command| self.waiters.tell(&command.id, || Fate::NotTaken));
        }
        let mut commit = Commit { applied: at, manifest: effects.head.encode_to_vec(), ..Default::default() };
        let mut points = Vec::new();
        let mut commitments = Vec::new();
        for record in &mut effects.records {
            let command = &commands[record.command_index];
            let stored = StoredRecord {
                format_version: 1,
                record: std::mem::take(&mut record.bytes).into(),
                items: command.items.iter().map(|(bytes, _)| bytes.clone()).collect(),
                chain: record.chain.to_vec(),
            };
            commit.records.push((record.seq, stored.encode_to_vec()));
            let RightEdge { tree, bundle } = &mut self.right;
            if let Some(full) = bundle.push(&record.leaf).map_err(|e| ApplyError::Broken(e.to_string()))? {
                commit.entries.push((tree.size() / vermilion_ledger::TILE_WIDTH as u64, full));
            }
            for tile in tree.append(vermilion_ledger::leaf_hash(&record.leaf)) {
                commit.tiles.push((tile.level, tile.index, tile.bytes));
            }
            if record.leaf.len() == vermilion_ledger::COMMITMENT_LEAF_LEN {
                points.push(CommitmentPoint { size: tree.size(), root: tree.root(), time_ms: record.time_ms });
                commitments.extend(record.statuses.clone().map(|statuses| (tree.size(), statuses)));
            }
            if record.accepted {
                let sealed = std::mem::take(&mut sealed[record.command_index]);
                let keep = |n: &u32| record.kept_positions.binary_search(n).is_ok();
                commit.vault.push(VaultPut {
                    seq: record.seq,
                    ciphertexts: (0u32..).zip(sealed.ciphertexts).filter(|(n, c)| keep(n) && !c.is_empty()).collect(),
                    wraps: sealed.wraps,
                    text: sealed.text,
                });
            }
        }
        commit.erase = effects.erase.iter().map(|e| (e.seq, e.position)).collect();
        let changes_rights = effects.changes_rights();
        let BlockEffects { records, results, writes, head, .. } = effects;
        commit.state = writes;
        let size = self.right.tree.size();
        if head.size != size {
            return Err(ApplyError::Broken(format!("the head counts {} records, the tree {size}", head.size)));
        }
        self.store.commit(&commit)?;
        if changes_rights {
            self.rights.changed();
        }
        self.head = head;
        // After the batch and before anybody hears of a commitment in it.
        if !records.is_empty() {
            self.edge.show(&self.right);
        }
        for (size, statuses) in commitments {
            self.recent.publish(size, statuses);
        }
        if commit.state.iter().any(|(key, _)| Rotated::concerns(key)) {
            self.rotated.renew(&self.store.state())?;
        }
        if commit.state.iter().any(|(key, _)| Roster::concerns(key)) {
            self.roster = Arc::new(Roster::read(&self.store.state())?);
        }
        // A node that catches up has not seen these trees as the newest ones: it cosigns the last alone,
        // when it is there.
        if at.is_none() {
            self.late = points.pop().or(self.late);
            points.clear();
        }
        for point in points {
            // The receiver ends only when the node stops.
            let _ = self.points.send(point);
        }
        for (command, result) in commands.iter().zip(results) {
            self.waiters.tell(&command.id, || match result {
                CommandResult::Recorded { index } => {
                    let record = &records[index];
                    Fate::Committed {
                        seq: record.seq,
                        hash: record.hash,
                        time_ms: record.time_ms,
                        outcome: record.outcome.clone(),
                        detail: record.refusal.as_ref().map_or_else(String::new, |refusal| refusal.detail.clone()),
                    }
                }
                CommandResult::Existing { seq } => Fate::Existing { seq },
                CommandResult::Expired | CommandResult::WrongLedger => Fate::Expired,
            });
        }
        Ok(())
    }
}

/// How many sizes back from the head a start looks for the last commitment.
const LOOK_BACK: u64 = 4096;

/// The size of the newest checkpoint's tree, if no licence has changed since its commitment record:
/// the status vector of today is then that record's.
fn unchanged_since(store: &Store, head: &LedgerHead, registry: &mut Registry) -> Result<Option<u64>, ApplyError> {
    let mut newest = None;
    store.checkpoints(head.size.saturating_sub(LOOK_BACK).max(1), &mut |size, _| {
        newest = Some(size).filter(|size| *size <= head.size).or(newest);
        size < head.size
    })?;
    let Some(size) = newest else { return Ok(None) };
    let record = store.record(size - 1)?.ok_or_else(|| ApplyError::Broken(format!("record {} is missing", size - 1)))?;
    let open = stored::open_record(&record).map_err(|e| ApplyError::Broken(e.to_string()))?;
    let same = open.record.commitment.is_some_and(|c| c.licence_count == head.licences && c.status_root == registry.statuses().root());
    Ok(same.then_some(size))
}
