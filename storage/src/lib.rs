//! What a node keeps on disk: one RocksDB with the Raft log, the ledger, the state and the vault. And rows that an audit
//! puts aside for as long as it runs ([`Scratch`]).
//!
//! It knows columns, keys, batches and what must hold between them; it does not know why a record
//! was accepted (the registry) or when to write (the node).
//!
//! Two orders of writing keep it whole:
//! * a Raft write (entries and hard state) is one synced batch ([`LogStore`]);
//! * a block's application is one batch of records, tiles, state, vault and applied index
//!   ([`Store::commit`]), kept in memory until all columns are flushed together: what a crash loses of
//!   it is made again from the log, which is truncated only behind a flush.
//!
//! [`watermark`] remembers outside RocksDB how far the log was synced, so that a start can tell a
//! torn unsynced tail (nothing was promised) from damage (something that was promised is gone), before
//! anything is written (`promise`). `framing` looks, before RocksDB does, for bytes at which it would stay for ever.

mod backup;
mod check;
mod columns;
mod commit;
mod entry;
mod error;
mod framing;
mod log;
mod open;
mod processor;
mod promise;
mod read;
mod rows;
mod scratch;
mod snapshot;
pub mod watermark;

pub use backup::{UNFINISHED, is_backup};
pub use check::StartReport;
pub use commit::{Commit, VaultPut};
pub use error::StorageError;
pub use log::{LogHandle, LogStore, Truncation};
pub use open::{Mode, Store};
pub use read::{StateSnapshot, StateView};
pub use rows::{Column, Row, Rows, scan_column, seq_place, vault_place};
pub use scratch::{Scratch, ScratchError, ScratchRows, ScratchWriter};
pub use snapshot::{IncomingOptions, IncomingState, Place};
