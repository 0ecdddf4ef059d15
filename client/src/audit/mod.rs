//! Checks years of history without trusting whoever runs the servers.
//!
//! An audit takes records from data directories of stopped nodes or from running nodes, and computes
//! everything again: form and hash of each record, chain, tree and tiles, every signature, and, by
//! replaying the registry from the genesis, every outcome and every effect on the state. What the
//! nodes signed (checkpoints) and what they keep beside (state, vault, database) is held against
//! that. What is not as it should be is a [`Finding`] with a stable code.
//!
//! The way of a record: a thread reads ([`Source`]), every core examines chunks of records by
//! themselves, signatures in batches, and takes each, when its turn has come, through chain, tree and
//! replay. What is kept in memory: four chunks for each core of at most 2,048 records and 1 MiB (or one
//! larger record), the right edge of the tree, 48 bytes a commitment and 32 for every 256 records; and,
//! if the registry is replayed, its state up to [`Options::memory`], the statuses of all licences, and
//! what was erased: docs/architecture.md has the figures.
//!
//! Of several sources the longest is audited whole. Another that holds the same records shares what
//! was found of signatures and outcomes, and is checked for what is its own (items, tiles,
//! checkpoints, state, vault, database); one that differs is a finding, and is audited whole too.
//!
//! What an audit cannot tell: whether the content of a licence is true; whether records after the
//! last checkpoint with the quorum were the only ones (they are counted as not yet covered); and,
//! when no trust is given, whether this is the ledger that it says it is.

mod alarm;
mod aside;
mod checkpoints;
mod cli;
mod content;
mod directory;
mod examine;
mod finding;
mod folder;
mod group;
mod head;
mod limit;
mod link;
mod look;
mod memory;
mod node;
mod pipeline;
mod places;
mod proved;
mod replay;
mod report;
mod resume;
mod room;
mod saved;
mod seen;
mod session;
mod signatures;
mod source;
mod state;
#[cfg(test)]
pub(crate) mod tests;
mod tiles;
mod trust;
mod walk;
mod watch;
mod watching;
mod web;

pub use alarm::{Alarm, Base, Kind, Standing, metrics};
pub use cli::{Access, AuditArgs, CANNOT_READ, CLEAN, FOUND, INTERRUPTED, USAGE, run};
pub use finding::{Code, Finding, LISTED, Severity};
pub use limit::{Limit, best_limit, opened, signature_limit};
pub use look::Look;
pub use node::{MakeToken, NodeSource};
pub use report::Report;
pub use resume::Keep;
pub use room::MEMORY;
pub use session::audit;
pub use source::{Directory, ReadError, Source, Unopened};
pub use tiles::audit_tiles;
pub use trust::{NewerKeyEntry, TrustFile, read_genesis_file};
pub use watch::{Patience, Round, Watch};
pub use watching::WatchArgs;
pub use web::{Believed, Web};

use vermilion_ledger::Trust;

/// What to check, and against what.
#[derive(Clone, Debug)]
pub struct Options {
    /// Check signatures.
    pub signatures: bool,
    /// Replay the registry.
    pub replay: bool,
    /// What is trusted; else what the ledger's genesis gives rise to.
    pub trust: Option<Trust>,
    /// The genesis payload that is trusted.
    pub genesis: Option<Vec<u8>>,
    /// Where to keep how far the audit is, and to go on from. Of several sources that is the walk through
    /// the longest when it began; the others are compared anew.
    pub keep: Option<Keep>,
    /// Bytes of memory for what the replay holds of each command, licence and holder. What does not fit is put aside on
    /// disk: beside [`Options::keep`]'s file, else in the system's temporary folder.
    pub memory: u64,
}

impl Options {
    /// Whether commands are opened at all. If not, records are hashed, and nothing else of them or of
    /// what a directory keeps beside them is looked at but tiles and checkpoints.
    #[must_use]
    pub fn is_deep(&self) -> bool {
        self.signatures || self.replay
    }

    /// Whether the audit is to break off.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.keep.as_ref().is_some_and(Keep::is_stopped)
    }
}

impl Default for Options {
    fn default() -> Self {
        Self { signatures: true, replay: true, trust: None, genesis: None, keep: None, memory: MEMORY }
    }
}

/// What an audit is doing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stage {
    /// Going through a source's records.
    Records,
    /// Comparing another source's records.
    Comparing,
    /// Reading every row of a database.
    Database,
    /// Checking checkpoints.
    Checkpoints,
}

/// Told what is being done, with which source, how far it is and, if known, of how much.
pub type Advance<'a> = dyn Fn(Stage, &str, u64, u64) + Sync + 'a;

/// Why an audit could not be made: says nothing about the ledger.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{source_name}: {why}")]
pub struct CannotRead {
    /// The source.
    pub source_name: String,
    /// Why.
    pub why: String,
    /// Whether it was only told to break off.
    pub interrupted: bool,
}
