//! Start-up checks (design, invariant 6): does what the directory holds fit together?

use crate::{StorageError, Store};

/// What a start found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StartReport {
    /// The log's first and last index.
    pub log: (u64, u64),
    /// Through which index the state machine had applied.
    pub applied: u64,
    /// Entries beyond what is known to have been synced: normal after a power cut or kill.
    pub beyond_watermark: u64,
    /// Whether there was a watermark at all (a copied directory may lack it).
    pub watermark: bool,
}

impl Store {
    /// Checks that log, hard state, applied index and watermark fit together. An error names what
    /// does not: the node must not vote then. Ledger, chain and tree are checked by the node, which
    /// knows how they hang together.
    pub fn check(&self) -> Result<StartReport, StorageError> {
        let (first, last) = self.log.range();
        let (applied, applied_term) = self.applied()?;
        let hard = self.log.hard_state();
        if applied + 1 < first || applied > last {
            return Err(StorageError::damaged(format!("the state is applied through {applied}, but the Raft log holds {first} to {last}")));
        }
        if let Some(term) = self.log.term(applied)?
            && term != applied_term
        {
            return Err(StorageError::damaged(format!(
                "entry {applied} was applied in term {applied_term}, but the log holds it in term {term}"
            )));
        }
        if hard.commit > last {
            return Err(StorageError::damaged(format!("the hard state commits {}, but the Raft log ends at {last}", hard.commit)));
        }
        let Some(mark) = self.watermark else {
            return Ok(StartReport { log: (first, last), applied, beyond_watermark: 0, watermark: false });
        };
        if last < mark.last_index {
            return Err(StorageError::damaged(format!(
                "the Raft log was synced through {} but ends at {last}: entries that may have been acknowledged are gone",
                mark.last_index
            )));
        }
        if hard.term < mark.term || hard.term == mark.term && mark.vote != 0 && hard.vote != mark.vote {
            return Err(StorageError::damaged(format!(
                "the hard state of term {} was synced, but that of term {} is found: a vote may be forgotten",
                mark.term, hard.term
            )));
        }
        Ok(StartReport { log: (first, last), applied, beyond_watermark: last - mark.last_index, watermark: true })
    }
}
