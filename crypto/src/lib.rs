//! The only place that names an algorithm: hashing, signing and encryption under a *suite*.
//!
//! Suite 1 is Ed25519 (signed by `ed25519-dalek`, checked under ZIP-215 by `ed25519-zebra`),
//! BLAKE3, SHA-256, HMAC-SHA-256, AES-256-GCM and X25519 HPKE (RFC 9180). Suite 2 is reserved for
//! SM2, SM3 and SM4. Everything that is kept carries its suite's number.
//!
//! This crate does no I/O, knows no licence and no message. Randomness enters only where a key or
//! a seal is made ([`random`], [`SigningKey::generate`], [`batch`] blinding).

pub mod batch;
mod content;
pub mod dsse;
mod error;
pub mod hash;
mod keyfile;
mod multiset;
mod rng;
mod sign;
mod tag;
mod wrap;

pub use content::{ContentKey, open_content, seal_content};
pub use error::CryptoError;
pub use hash::{Digest, sha256};
pub use keyfile::{decode_secret, encode_secret};
pub use multiset::{RowSum, SUM_LEN};
pub use rng::{SeededRng, random};
pub use sign::{KeyId, PublicKey, SIGNATURE_LEN, Signature, SigningKey, check_registrable};
pub use tag::{LookupKey, TAG_LEN, Tag};
pub use wrap::{VaultPublicKey, VaultSecretKey, Wrapped, open_sealed, seal_to, unwrap_key, wrap_key};

/// International suite: Ed25519, BLAKE3, SHA-256, AES-256-GCM, X25519 HPKE.
pub const SUITE_1: u32 = 1;

/// Compares two byte strings in time that does not depend on their content.
#[must_use]
pub fn equal_secret(a: &[u8], b: &[u8]) -> bool {
    subtle::ConstantTimeEq::ct_eq(a, b).into()
}
