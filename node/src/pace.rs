//! Which peer is asked first for records: the one that was fastest. A slow one, stolen or far away, would else hold up every
//! request, if its id comes first.

use std::collections::BTreeMap;
use std::time::Duration;
use vermilion_consensus::NodeId;

/// How long each peer took for a record when it was asked last. One that gave none is asked after all others; one that was
/// never asked, before them.
#[derive(Default)]
pub(crate) struct Pace(BTreeMap<NodeId, Duration>);

impl Pace {
    /// The peers, the fastest first.
    pub(crate) fn order(&self, mut peers: Vec<NodeId>) -> Vec<NodeId> {
        peers.sort_by_key(|peer| self.0.get(peer).copied().unwrap_or_default());
        peers
    }

    /// A peer gave so many records in this time.
    pub(crate) fn took(&mut self, peer: NodeId, time: Duration, records: u64) {
        let each = u32::try_from(records).ok().and_then(|records| time.checked_div(records)).unwrap_or(Duration::MAX);
        self.0.insert(peer, each);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fastest_is_asked_first_and_who_gives_nothing_last() {
        let mut pace = Pace::default();
        assert_eq!(pace.order(vec![1, 2, 3, 4]), [1, 2, 3, 4]);
        pace.took(1, Duration::from_secs(30), 5);
        pace.took(2, Duration::from_secs(1), 0);
        pace.took(3, Duration::from_secs(1), 512);
        assert_eq!(pace.order(vec![1, 2, 3, 4]), [4, 3, 1, 2]);
        pace.took(4, Duration::from_secs(2), 512);
        assert_eq!(pace.order(vec![1, 2, 3, 4]), [3, 4, 1, 2]);
    }
}
