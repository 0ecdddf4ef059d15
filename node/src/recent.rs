//! What a status is proved from: the status vector as of recent commitments.
//!
//! The applier puts in, questions read. Nothing here is on disk: after a start it holds what the last
//! commitment left, if no licence changed since, and else waits for the next one.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use vermilion_ledger::StatusView;

/// The most commitments whose status vectors are kept, beside the newest one under the quorum. A view
/// shares all with the vector but what changed since: at most one more vector each, in practice some
/// 2 KiB for each changed licence.
pub const VIEWS: usize = 16;

/// Recent commitments.
#[derive(Default)]
pub struct Recent {
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    views: BTreeMap<u64, StatusView>,
    /// The newest sizes whose checkpoints are known to carry the quorum. After a crash their views come later, when the
    /// log is applied again.
    quorate: BTreeSet<u64>,
}

impl Recent {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes in the status vector after the commitment record with which the tree got this size; the
    /// record must be in the store by now.
    pub fn publish(&self, size: u64, statuses: StatusView) {
        let mut inner = self.lock();
        inner.views.insert(size, statuses);
        while inner.views.len() > VIEWS {
            let newest_quorate = inner.quorate.iter().rev().copied().find(|size| inner.views.contains_key(size));
            let Some(oldest) = inner.views.keys().copied().find(|size| Some(*size) != newest_quorate) else { return };
            inner.views.remove(&oldest);
        }
    }

    /// The status vector as of the commitment with which the tree had this size.
    #[must_use]
    pub fn statuses(&self, size: u64) -> Option<StatusView> {
        self.lock().views.get(&size).cloned()
    }

    /// Sizes of the trees whose status vectors are here, newest first, each with whether its checkpoint
    /// is known to carry the quorum.
    #[must_use]
    pub fn sizes(&self) -> Vec<(u64, bool)> {
        let inner = self.lock();
        inner.views.keys().rev().map(|size| (*size, inner.quorate.contains(size))).collect()
    }

    /// Notes that the checkpoint of this size carries the quorum: when that is so, not when somebody asks.
    pub fn note_quorum(&self, size: u64) {
        let mut inner = self.lock();
        inner.quorate.insert(size);
        while inner.quorate.len() > VIEWS {
            inner.quorate.pop_first();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use vermilion_ledger::StatusTree;

    #[test]
    fn the_newest_commitments_stay_and_the_newest_with_the_quorum() {
        let mut statuses = StatusTree::new();
        let recent = Recent::default();
        assert!(recent.sizes().is_empty());
        for size in 1..=40 {
            recent.publish(size, statuses.view());
            if [3, 5].contains(&size) {
                recent.note_quorum(size);
            }
        }
        recent.note_quorum(2);
        let sizes = recent.sizes();
        assert_eq!(sizes.len(), VIEWS);
        assert_eq!((sizes[0], sizes[VIEWS - 2], sizes[VIEWS - 1]), ((40, false), (26, false), (5, true)));
        assert!(recent.statuses(5).is_some() && recent.statuses(3).is_none() && recent.statuses(25).is_none());
        recent.note_quorum(40);
        recent.publish(41, statuses.view());
        assert!(recent.statuses(5).is_none(), "a newer one has the quorum");
    }

    #[test]
    fn one_with_the_quorum_stays_though_its_view_came_later() {
        let mut statuses = StatusTree::new();
        let recent = Recent::default();
        recent.note_quorum(7);
        for size in 5..=60 {
            recent.publish(size, statuses.view());
        }
        assert_eq!(recent.sizes().last(), Some(&(7, true)));
        assert_eq!(recent.sizes().len(), VIEWS);
    }
}
