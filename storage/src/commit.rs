use crate::{
    StorageError, Store, Truncation, columns, entry,
    log::{ROW_ROOM, SnapshotBase},
};
use raft::eraftpb::{ConfState, HardState, Snapshot};
use rocksdb::{WriteBatch, WriteOptions};
use std::collections::BTreeMap;
use std::sync::PoisonError;
use vermilion_consensus::LogBatch;
use vermilion_ledger::Digest;
use vermilion_proto::{Bytes, Message as _, VaultWraps};

/// What a record leaves in the vault.
#[derive(Debug, Clone)]
pub struct VaultPut {
    /// The record.
    pub seq: u64,
    /// Ciphertexts by item position; refused items have none.
    pub ciphertexts: Vec<(u32, Bytes)>,
    /// The command's wrapped keys, encoded `VaultWraps`.
    pub wraps: Bytes,
    /// Ciphertext of the command's texts, or empty.
    pub text: Bytes,
}

/// Everything that applying entries writes: one batch.
#[derive(Debug, Default)]
pub struct Commit {
    /// Index and term of the last entry applied; `None` while catching up with a snapshot.
    pub applied: Option<(u64, u64)>,
    /// Records by sequence number, encoded `StoredRecord`.
    pub records: Vec<(u64, Vec<u8>)>,
    /// Tiles that became full: level, index, hashes.
    pub tiles: Vec<(u8, u64, Vec<u8>)>,
    /// Entry bundles that became full: index, 256 leaves.
    pub entries: Vec<(u64, Vec<u8>)>,
    /// Writes of the state; `None` deletes.
    pub state: Vec<(Vec<u8>, Option<Vec<u8>>)>,
    /// New content.
    pub vault: Vec<VaultPut>,
    /// Content to erase: record and position.
    pub erase: Vec<(u64, u32)>,
    /// Membership, when it changed.
    pub conf_state: Option<ConfState>,
    /// The extent of the ledger after this commit, for snapshot messages.
    pub manifest: Vec<u8>,
}

impl Commit {
    /// About the bytes of its batch: one that grows is copied each time.
    fn room(&self) -> usize {
        let rows = self.records.iter().map(|(_, bytes)| bytes.len());
        let rows = rows.chain(self.state.iter().map(|(key, value)| key.len() + value.as_ref().map_or(0, Vec::len)));
        let rows = rows.chain(self.vault.iter().flat_map(|put| put.ciphertexts.iter().map(|(_, bytes)| bytes.len())));
        let rows = rows.chain(self.vault.iter().map(|put| put.wraps.len() + put.text.len()));
        let rows =
            rows.chain(self.tiles.iter().map(|(_, _, hashes)| hashes.len())).chain(self.entries.iter().map(|(_, bundle)| bundle.len()));
        ROW_ROOM + rows.map(|bytes| bytes + ROW_ROOM).sum::<usize>()
    }
}

impl Store {
    /// Writes what applying entries brought, in one batch, to memory. It reaches the disk with the next
    /// flush; after a crash the entries since then are applied again from the log, which is synced and
    /// not truncated beyond what is flushed.
    pub fn commit(&self, commit: &Commit) -> Result<(), StorageError> {
        let _one = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let writes = self.batch(commit)?;
        // Not in the write-ahead log: twice the bytes for what the Raft log holds already. Everything
        // written so since the last flush is lost in a crash, as a whole, and applied again.
        let mut unlogged = WriteOptions::default();
        unlogged.disable_wal(true);
        self.db.write_opt(writes, &unlogged)?;
        let base = commit.applied.map(|(index, term)| SnapshotBase { index, term, manifest: commit.manifest.clone() });
        self.log.set_applied(base, commit.conf_state.clone());
        Ok(())
    }

    /// The batch that a commit is.
    pub(crate) fn batch(&self, commit: &Commit) -> Result<WriteBatch, StorageError> {
        let mut writes = WriteBatch::with_capacity_bytes(commit.room());
        let records = self.column(columns::RECORDS)?;
        for (seq, bytes) in &commit.records {
            writes.put_cf(records, columns::seq(*seq), bytes);
        }
        let tiles = self.column(columns::TILES)?;
        for (level, index, hashes) in &commit.tiles {
            writes.put_cf(tiles, columns::tile(*level, *index), hashes);
        }
        let entries = self.column(columns::ENTRIES)?;
        for (index, bundle) in &commit.entries {
            writes.put_cf(entries, columns::seq(*index), bundle);
        }
        let state = self.column(columns::STATE)?;
        for (key, value) in &commit.state {
            match value {
                Some(value) => writes.put_cf(state, key, value),
                None => writes.delete_cf(state, key),
            }
        }
        let vault = self.column(columns::VAULT)?;
        let wraps = self.column(columns::WRAPS)?;
        for put in &commit.vault {
            for (position, ciphertext) in &put.ciphertexts {
                writes.put_cf(vault, columns::vault(put.seq, *position), ciphertext);
            }
            if !put.text.is_empty() {
                writes.put_cf(vault, columns::vault(put.seq, columns::TEXT), &put.text);
            }
            if !put.wraps.is_empty() {
                writes.put_cf(wraps, columns::seq(put.seq), &put.wraps);
            }
        }
        // One row for all licences of a record, however many of them are erased here.
        let mut rows: BTreeMap<u64, VaultWraps> = BTreeMap::new();
        for (seq, position) in &commit.erase {
            writes.delete_cf(vault, columns::vault(*seq, *position));
            if !rows.contains_key(seq) {
                // The content might lie in the same commit; then its row is not in the database yet.
                let row = match commit.vault.iter().find(|put| put.seq == *seq) {
                    Some(put) => Some(put.wraps.clone()),
                    None => self.db.get_cf(wraps, columns::seq(*seq))?.map(Bytes::from),
                };
                let Some(row) = row else { continue };
                let row = VaultWraps::decode(row);
                rows.insert(*seq, row.map_err(|_| StorageError::damaged(format!("the wrapped keys of record {seq} do not decode")))?);
            }
            if let Some(key) = rows.get_mut(seq).and_then(|row| row.licence_keys.get_mut(*position as usize)) {
                key.clear();
            }
        }
        for (seq, row) in rows {
            writes.put_cf(wraps, columns::seq(seq), row.encode_to_vec());
        }
        let meta = self.column(columns::META)?;
        if let Some(conf) = &commit.conf_state {
            writes.put_cf(meta, columns::META_CONF_STATE, entry::encode_conf_state(conf));
        }
        if let Some((index, term)) = commit.applied {
            writes.put_cf(meta, columns::META_APPLIED, entry::encode_numbers(&[index, term]));
        }
        Ok(writes)
    }

    /// Notes, synced, that the records which this snapshot stands for are about to be replayed. From here on the state may
    /// be ahead of the log, and entries of the log must not be applied to it: a start that finds the note
    /// ([`Store::installing`]) goes on with the records.
    pub fn begin_install(&self, snapshot: &Snapshot) -> Result<(), StorageError> {
        self.db.put_cf(self.column(columns::META)?, columns::META_INSTALLING, entry::encode_snapshot(snapshot))?;
        Ok(self.db.flush_wal(true)?)
    }

    /// The snapshot whose records were being replayed when the node stopped.
    pub fn installing(&self) -> Result<Option<Snapshot>, StorageError> {
        self.meta(columns::META_INSTALLING)?.map(|bytes| entry::decode_snapshot(&bytes)).transpose()
    }

    /// Sets the log to where the snapshot is, once its records are replayed: for a start that finishes what was cut off.
    /// The term is raised to the snapshot's, as it would have been; a vote of an earlier term goes.
    pub fn finish_install(&self, snapshot: &Snapshot) -> Result<(), StorageError> {
        let (index, term) = (snapshot.get_metadata().index, snapshot.get_metadata().term);
        let mut hard = self.log.hard_state();
        if hard.term < term {
            hard = HardState { term, vote: 0, ..hard };
        }
        hard.commit = index;
        self.log.write_batch(LogBatch { snapshot: Some(snapshot.clone()), hard_state: Some(hard), ..LogBatch::default() })
    }

    /// Writes the first state of a new directory: the genesis record, the node's name and the
    /// founding membership, synced.
    pub fn init(&self, node: u64, voters: &[u64], commit: &Commit) -> Result<(), StorageError> {
        let conf = ConfState { voters: voters.to_vec(), ..Default::default() };
        let meta = self.column(columns::META)?;
        self.commit(commit)?;
        self.db.put_cf(meta, columns::META_CONF_STATE, entry::encode_conf_state(&conf))?;
        self.log.set_conf_state(conf);
        // Last: a directory that names its node is whole.
        self.log.flush_all()?;
        self.db.put_cf(meta, columns::META_NODE, entry::encode_numbers(&[node]))?;
        Ok(self.db.flush_wal(true)?)
    }

    /// Drops log entries behind the applied index, as far as `policy` allows; says up to which.
    pub fn truncate_log(&self, applied: u64, policy: Truncation) -> Result<Option<u64>, StorageError> {
        self.log.truncate(applied, policy)
    }

    /// Keeps a checkpoint with the cosignatures that it has so far.
    pub fn put_checkpoint(&self, size: u64, note: &[u8]) -> Result<(), StorageError> {
        Ok(self.db.put_cf(self.column(columns::CHECKPOINTS)?, columns::seq(size), note)?)
    }

    /// Keeps a checkpoint that this node has just cosigned: on the disk when this returns, so that no later
    /// start forgets it (C2SP tlog-witness: what is cosigned is persisted first).
    pub fn put_cosigned(&self, size: u64, note: &[u8]) -> Result<(), StorageError> {
        let mut synced = WriteOptions::default();
        synced.set_sync(true);
        Ok(self.db.put_cf_opt(self.column(columns::CHECKPOINTS)?, columns::seq(size), note, &synced)?)
    }

    /// Keeps an entry bundle that was made from records: of a directory from before bundles were kept.
    pub fn put_entries(&self, index: u64, bundle: &[u8]) -> Result<(), StorageError> {
        Ok(self.db.put_cf(self.column(columns::ENTRIES)?, columns::seq(index), bundle)?)
    }

    /// Keeps how the checkpoint of `size` continues that of `previous`.
    pub fn put_consistency(&self, size: u64, previous: u64, proof: &[Digest]) -> Result<(), StorageError> {
        let row = [previous.to_be_bytes().as_slice(), proof.as_flattened()].concat();
        Ok(self.db.put_cf(self.column(columns::CONSISTENCY)?, columns::seq(size), row)?)
    }

    /// Notes the newest published checkpoint.
    pub fn put_published(&self, size: u64) -> Result<(), StorageError> {
        Ok(self.db.put_cf(self.column(columns::META)?, columns::META_PUBLISHED, entry::encode_numbers(&[size]))?)
    }

    /// Notes which size an outside witness cosigned last; `witness` is its verifier key.
    pub fn put_outside(&self, witness: &str, size: u64) -> Result<(), StorageError> {
        let key = [columns::META_OUTSIDE, witness.as_bytes()].concat();
        Ok(self.db.put_cf(self.column(columns::META)?, key, entry::encode_numbers(&[size]))?)
    }

    /// Writes everything that is in memory to stable storage: before a clean stop.
    pub fn flush(&self) -> Result<(), StorageError> {
        self.db.flush_wal(true)?;
        self.log.flush_all()
    }
}
