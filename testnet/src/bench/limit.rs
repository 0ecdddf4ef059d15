//! What others' code makes of an audit's signatures: the batch check of `ed25519-dalek`, which signs ours.
//! It does not join the signatures of one key, as our own verifier does, so it is the lower limit.

use ed25519_dalek::{Signature, VerifyingKey, verify_batch};
use rayon::prelude::*;
use std::time::Instant;
use vermilion_client::audit::Limit;
use vermilion_identity::Opened;
use vermilion_proto::view::{RecordView, StoredView};

/// Batch sizes tried, in signatures.
const SIZES: [usize; 8] = [64, 128, 256, 512, 1024, 2048, 4096, 8192];

/// The best rate at which `ed25519-dalek` checks the signatures of these encoded `StoredRecord`s, on all cores. None if they
/// hold no signature, or one that does not hold.
pub fn dalek_limit(records: &[Vec<u8>]) -> Option<Limit> {
    let open = |stored: &Vec<u8>| {
        let record = RecordView::parse(StoredView::parse(stored).ok()?.record).ok()?;
        vermilion_identity::open(record.envelope).ok()
    };
    let opened: Vec<Opened> = records.par_iter().filter_map(open).collect();
    let each = opened.iter().flat_map(|opened| opened.signed.signatures().map(|(key, signature)| (key, signature, opened.signed.bytes())));
    let (mut keys, mut signatures, mut messages) = (Vec::new(), Vec::new(), Vec::new());
    for (key, signature, message) in each {
        keys.push(VerifyingKey::from_bytes(&key.0).ok()?);
        signatures.push(Signature::from_bytes(signature));
        messages.push(message);
    }
    let mut best: Option<Limit> = None;
    for batch in SIZES {
        let begun = Instant::now();
        let parts = (messages.par_chunks(batch), signatures.par_chunks(batch), keys.par_chunks(batch));
        if keys.is_empty() || !parts.into_par_iter().all(|(messages, signatures, keys)| verify_batch(messages, signatures, keys).is_ok()) {
            return None;
        }
        let rate = keys.len() as f64 / begun.elapsed().as_secs_f64().max(f64::MIN_POSITIVE);
        if best.is_none_or(|best| rate > best.rate) {
            best = Some(Limit { rate, batch });
        }
    }
    best
}
