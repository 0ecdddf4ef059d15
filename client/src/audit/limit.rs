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
    /// Envelopes in a batch at that rate.
    pub batch: usize,
}

/// Measures batch checks of the signatures of these encoded `StoredRecord`s at several batch sizes on all cores. Opening
/// the envelopes is not counted. None if they hold no signature, or one that does not hold.
#[must_use]
pub fn signature_limit(records: &[Vec<u8>]) -> Option<Limit> {
    let open = |stored: &Vec<u8>| {
        let record = RecordView::parse(StoredView::parse(stored).ok()?.record).ok()?;
        vermilion_identity::open(record.envelope).ok()
    };
    let opened: Vec<Opened> = records.par_iter().filter_map(open).collect();
    let signatures: usize = opened.iter().map(|o| o.signed.keys.len()).sum();
    if signatures == 0 {
        return None;
    }
    let mut best: Option<Limit> = None;
    for batch in SIZES {
        let begun = Instant::now();
        let hold = opened.par_chunks(batch).all(|envelopes| {
            let mut batch = Batch::new();
            envelopes.iter().for_each(|envelope| envelope.signed.queue(&mut batch));
            batch.verify().is_ok()
        });
        let rate = signatures as f64 / begun.elapsed().as_secs_f64().max(f64::MIN_POSITIVE);
        if !hold {
            return None;
        }
        if best.is_none_or(|best| rate > best.rate) {
            best = Some(Limit { rate, batch });
        }
    }
    best
}
