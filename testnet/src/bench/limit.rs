//! What others' code makes of an audit's signatures: the batch check of `ed25519-dalek`, which signs ours.
//! It does not join the signatures of one key, as our own verifier does, so it is the lower limit.

use ed25519_dalek::{Signature, VerifyingKey, verify_batch};
use rayon::prelude::*;
use vermilion_client::audit::{Limit, best_limit};
use vermilion_identity::Opened;

/// Batch sizes tried, in signatures.
const SIZES: [usize; 8] = [64, 128, 256, 512, 1024, 2048, 4096, 8192];

/// The best rate at which `ed25519-dalek` checks the signatures of these envelopes, on all cores. None if they hold no
/// signature, or one that does not hold.
pub fn dalek_limit(opened: &[Opened]) -> Option<Limit> {
    let each = opened.iter().flat_map(|opened| opened.signed.signatures().map(|(key, signature)| (key, signature, opened.signed.bytes())));
    let (mut keys, mut signatures, mut messages) = (Vec::new(), Vec::new(), Vec::new());
    for (key, signature, message) in each {
        keys.push(VerifyingKey::from_bytes(&key.0).ok()?);
        signatures.push(Signature::from_bytes(signature));
        messages.push(message);
    }
    best_limit(keys.len(), &SIZES, |size| {
        let parts = (messages.par_chunks(size), signatures.par_chunks(size), keys.par_chunks(size));
        parts.into_par_iter().all(|(messages, signatures, keys)| verify_batch(messages, signatures, keys).is_ok())
    })
}
