//! A record's hash and the chain. Both are BLAKE3 in derive-key mode, each under a context of its
//! own, so that neither can be taken for the other or for anything else.

use vermilion_crypto::{
    Digest,
    hash::{CTX_CHAIN, CTX_RECORD, derive, derive_each},
};

/// The hash of a record: BLAKE3 under the record context over the record's exact encoded bytes.
/// One pass, any length.
#[must_use]
pub fn record_hash(record: &[u8]) -> Digest {
    derive(&CTX_RECORD, &[record])
}

/// [`record_hash`] of each of several records, in less time than one by one.
#[must_use]
pub fn record_hashes(records: &[&[u8]]) -> Vec<Digest> {
    derive_each(&CTX_RECORD, records)
}

/// The chain before the first record: BLAKE3 under the chain context over the 32-byte ledger id.
/// It binds every later chain hash to the genesis. A start hashes 32 bytes and a link 64, so one is
/// never the other.
#[must_use]
pub fn chain_start(ledger_id: &Digest) -> Digest {
    derive(&CTX_CHAIN, &[ledger_id])
}

/// The chain after a record: BLAKE3 under the chain context over the 32 bytes of the chain before
/// and the 32 bytes of the record's hash.
#[must_use]
pub fn chain_next(chain: &Digest, record_hash: &Digest) -> Digest {
    derive(&CTX_CHAIN, &[chain, record_hash])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_hash_has_a_place_of_its_own() {
        let id = [7; 32];
        let start = chain_start(&id);
        let hash = record_hash(&id);
        let next = chain_next(&start, &hash);
        assert!(start != hash && start != next && hash != next);
        assert_ne!(chain_next(&hash, &start), next, "order matters");
        assert_ne!(chain_next(&chain_start(&[8; 32]), &hash), next, "the ledger id stays in the chain");
    }

    #[test]
    fn the_hashes_do_not_drift() {
        // Values of format version 1: a change here breaks every ledger that exists.
        assert_eq!(hex::encode(record_hash(b"record")), "cfc8563bdb2dbc0edcaf6c0a1a9d79894d0885e2e51314e091e0ff33910a608a");
        assert_eq!(hex::encode(chain_start(&[0; 32])), "10bc7c9a79e6abd924a21ca02d69af77da6240798571301736b884894a9f538b");
        assert_eq!(hex::encode(chain_next(&[0; 32], &[1; 32])), "fbbfc8dcea5669439364316eb34de8a9d0a7e7135a0a9771e1fdb4bb3f315ac5");
    }
}
