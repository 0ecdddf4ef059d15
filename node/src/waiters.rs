//! Who waits for which command. Keyed by the command's id: whichever block it comes in.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::sync::oneshot;
use vermilion_crypto::Digest;
use vermilion_proto::{CommandState, Outcome, SubmitReply};

/// What became of a command, for those who wait.
#[derive(Clone, Debug)]
pub enum Fate {
    /// It is recorded, refused or not.
    Committed {
        /// Sequence number.
        seq: u64,
        /// The record's hash.
        hash: Digest,
        /// The record's time.
        time_ms: u64,
        /// Its outcome.
        outcome: Outcome,
        /// For people, where it was refused: what exactly was wrong. The record keeps the code alone.
        detail: String,
    },
    /// It was recorded before; the record tells the rest.
    Existing {
        /// Sequence number.
        seq: u64,
    },
    /// Its block was void: nothing happened, and it may be sent again.
    NotTaken,
    /// Its not-after passed: no record, ever.
    Expired,
}

/// The waiting.
#[derive(Default)]
pub struct Waiters(Mutex<HashMap<Digest, Vec<oneshot::Sender<Fate>>>>);

impl Waiters {
    fn lock(&self) -> MutexGuard<'_, HashMap<Digest, Vec<oneshot::Sender<Fate>>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for a command.
    pub fn wait(&self, id: Digest) -> oneshot::Receiver<Fate> {
        let (sender, receiver) = oneshot::channel();
        self.lock().entry(id).or_default().push(sender);
        receiver
    }

    /// Tells everyone who waits for this command.
    pub fn tell(&self, id: &Digest, fate: impl FnOnce() -> Fate) {
        let Some(senders) = self.lock().remove(id) else { return };
        let fate = fate();
        for sender in senders {
            // Whoever gave up does not hear it.
            let _ = sender.send(fate.clone());
        }
    }

    /// Forgets those who gave up; called by whoever gives up.
    pub fn forget(&self, id: &Digest) {
        let mut waiting = self.lock();
        if let Some(senders) = waiting.get_mut(id) {
            senders.retain(|s| !s.is_closed());
            if senders.is_empty() {
                waiting.remove(id);
            }
        }
    }

    /// Whether anyone waits for this command: it is pending here.
    pub fn pending(&self, id: &Digest) -> bool {
        self.lock().contains_key(id)
    }

    /// How many commands are waited for.
    pub fn count(&self) -> usize {
        self.lock().len()
    }
}

/// The reply that tells of a committed command.
#[must_use]
pub fn committed(id: &Digest, seq: u64, hash: Digest, time_ms: u64, outcome: Outcome) -> SubmitReply {
    SubmitReply {
        state: CommandState::Committed.into(),
        command_id: id.to_vec(),
        seq,
        record_hash: hash.to_vec(),
        time_ms,
        outcome: Some(outcome),
        ..Default::default()
    }
}
