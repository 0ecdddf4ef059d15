use crate::{CryptoError, random, sha256};
use hmac::{Hmac, KeyInit as _, Mac as _};
use zeroize::{Zeroize, ZeroizeOnDrop};

/// Bytes of a keyed tag.
pub const TAG_LEN: usize = 32;

/// A keyed tag: stands for a personal identifier on the chain. Equal identifiers have equal tags;
/// without the ledger's lookup key nobody can try identifiers out.
pub type Tag = [u8; TAG_LEN];

/// The ledger's lookup key. Nodes hold it; clients ask a node for tags.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct LookupKey([u8; 32]);

impl LookupKey {
    /// A new key from the operating system's randomness.
    pub fn generate() -> Result<Self, CryptoError> {
        Ok(Self(random()?))
    }

    /// From its 32 bytes.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Its bytes, to be written to a key file.
    #[must_use]
    pub fn bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Commits to the key in the genesis.
    #[must_use]
    pub fn commitment(&self) -> [u8; 32] {
        sha256(&[b"vermilion lookup key v1".as_slice(), &self.0].concat())
    }

    /// HMAC-SHA-256 over `kind`, `code_type` and `value`, each after its length (4 bytes, big-endian).
    #[must_use]
    pub fn tag(&self, kind: &str, code_type: &str, value: &str) -> Tag {
        // A 32-byte key is a valid HMAC key: `new` cannot fail for it.
        let mut mac = Hmac::<sha2::Sha256>::new(&self.0.into_block());
        for part in [kind, code_type, value] {
            mac.update(&(part.len() as u32).to_be_bytes());
            mac.update(part.as_bytes());
        }
        mac.finalize().into_bytes().into()
    }
}

/// HMAC pads a short key with zeros to the hash's block: done here, so that nothing can fail.
trait IntoBlock {
    fn into_block(self) -> hmac::digest::Key<Hmac<sha2::Sha256>>;
}

impl IntoBlock for &[u8; 32] {
    fn into_block(self) -> hmac::digest::Key<Hmac<sha2::Sha256>> {
        let mut block = [0u8; 64];
        block[..32].copy_from_slice(self);
        block.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_hmac_sha256_of_the_padded_key() {
        // RFC 4231-style cross-check: recompute HMAC by its definition.
        let key = LookupKey::from_bytes([0x0b; 32]);
        let mut message = Vec::new();
        for part in ["holder", "111", "x"] {
            message.extend_from_slice(&(part.len() as u32).to_be_bytes());
            message.extend_from_slice(part.as_bytes());
        }
        let mut inner = [0x36u8; 64];
        let mut outer = [0x5cu8; 64];
        for n in 0..32 {
            inner[n] ^= 0x0b;
            outer[n] ^= 0x0b;
        }
        let expected = sha256(&[&outer[..], &sha256(&[&inner[..], &message].concat())].concat());
        assert_eq!(key.tag("holder", "111", "x"), expected);
        assert_ne!(key.tag("holder", "1111", ""), key.tag("holder", "111", "1"));
    }
}
