//! A trust of three witnesses and notes that satisfy it, for the tests of this crate.
#![allow(clippy::unwrap_used)]

use crate::{Checkpoint, Trust, TrustSettings, Witness, cosign, make_checkpoint};
use vermilion_crypto::{Digest, SigningKey};

pub(crate) const ORIGIN: &str = "city.example/ledger";

pub(crate) fn key(n: u8) -> SigningKey {
    SigningKey::from_seed(&[n; 32])
}

pub(crate) fn trust() -> Trust {
    Trust::new(TrustSettings {
        origin: ORIGIN.into(),
        ledger_id: [5; 32],
        ledger_key: key(1).public(),
        witnesses: (2..=4).map(|n| Witness { name: format!("{ORIGIN}/n{n}"), key: key(n).public() }).collect(),
        quorum: 3,
        require_ledger_key: true,
    })
    .unwrap()
}

/// A checkpoint that the ledger key and all witnesses have signed.
pub(crate) fn note_over(size: u64, root: Digest) -> Vec<u8> {
    let checkpoint = Checkpoint { origin: ORIGIN.into(), size, root };
    let mut note = make_checkpoint(&checkpoint, &key(1)).unwrap();
    for n in 2..=4u8 {
        note.add(cosign(&checkpoint.body(), &format!("{ORIGIN}/n{n}"), &key(n), 1_000).unwrap()).unwrap();
    }
    note.to_bytes()
}
