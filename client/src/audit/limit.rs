//! The machine's own limit: how many signatures of a ledger it can check in a second, doing nothing
//! else.

use rayon::prelude::*;
use std::time::Instant;
use vermilion_crypto::batch::Batch;
use vermilion_identity::Opened;
use vermilion_proto::view::{RecordView, StoredView};

/// Batch sizes tried, in envelopes.
const SIZES: [usize; 9] = [16, 32, 64, 128, 256, 512, 1024, 2048, 4096];

/// The best rate found.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Limit {
    /// Signatures a second, all cores.
    pub rate: f64,
    /// The size of a batch at that rate: envelopes, or whatever was counted.
    pub batch: usize,
}

/// The envelopes of these encoded `StoredRecord`s, opened.
#[must_use]
pub fn opened(records: &[Vec<u8>]) -> Vec<Opened> {
    let open = |stored: &Vec<u8>| {
        let record = RecordView::parse(StoredView::parse(stored).ok()?.record).ok()?;
        vermilion_identity::open(record.envelope).ok()
    };
    records.par_iter().filter_map(open).collect()
}

/// The best rate at which so many signatures are checked in batches of these sizes. None if there is none, or one that does
/// not hold.
pub fn best_limit(signatures: usize, sizes: &[usize], hold: impl Fn(usize) -> bool) -> Option<Limit> {
    let mut best: Option<Limit> = None;
    for batch in sizes {
        let begun = Instant::now();
        if signatures == 0 || !hold(*batch) {
            return None;
        }
        let rate = signatures as f64 / begun.elapsed().as_secs_f64().max(f64::MIN_POSITIVE);
        if best.is_none_or(|best| rate > best.rate) {
            best = Some(Limit { rate, batch: *batch });
        }
    }
    best
}

/// Measures batch checks of the signatures of these envelopes at several batch sizes on all cores. None if they hold no
/// signature, or one that does not hold.
#[must_use]
pub fn signature_limit(opened: &[Opened]) -> Option<Limit> {
    let signatures = opened.iter().map(|o| o.signed.keys.len()).sum();
    best_limit(signatures, &SIZES, |size| {
        opened.par_chunks(size).all(|envelopes| {
            let mut batch = Batch::new();
            envelopes.iter().for_each(|envelope| envelope.signed.queue(&mut batch));
            batch.verify().is_ok()
        })
    })
}
