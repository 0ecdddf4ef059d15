//! Keys of the ledger on their way to one node, sealed to a key that the node made for that way alone.

use vermilion_crypto::{CryptoError, Digest, SeededRng, VaultPublicKey, VaultSecretKey, open_sealed, seal_to};
use vermilion_proto::SealedKey;
use zeroize::Zeroizing;

/// The use of the key of keyed tags.
pub const LOOKUP: &str = "lookup";
/// The use of a key that signs checkpoints.
pub const LEDGER: &str = "ledger";
/// The use of a key that opens content.
pub const VAULT: &str = "vault";
/// The use of the key that issues certificates.
pub const ISSUING: &str = "issuing";

/// 32 bytes that are wiped.
pub type Secret = Zeroizing<[u8; 32]>;

/// To which node: what is sealed for one opens as no other's.
#[derive(Debug, Clone, Copy)]
pub struct Addressee<'a> {
    /// The ledger.
    pub ledger_id: &'a Digest,
    /// The node's Raft id.
    pub raft_id: u64,
}

impl Addressee<'_> {
    fn info(&self, key_use: &str) -> Vec<u8> {
        [b"vermilion keys v1 ".as_slice(), self.ledger_id, &self.raft_id.to_be_bytes(), key_use.as_bytes()].concat()
    }

    /// Seals a key of this use.
    pub fn seal(&self, key_use: &str, secret: &Secret, to: &VaultPublicKey, rng: &mut SeededRng) -> Result<SealedKey, CryptoError> {
        let sealed = seal_to(to, &self.info(key_use), secret.as_slice(), rng)?;
        Ok(SealedKey { r#use: key_use.to_owned(), encapsulated: sealed.encapsulated, ciphertext: sealed.ciphertext })
    }

    /// Opens one. Fails if it was sealed to another key, for another node or ledger, or as of another use.
    pub fn open(&self, key: &SealedKey, own: &VaultSecretKey) -> Result<Secret, CryptoError> {
        let opened = open_sealed(own, &self.info(&key.r#use), &key.encapsulated, &key.ciphertext)?;
        let mut secret = Zeroizing::new([0; 32]);
        if opened.len() != secret.len() {
            return Err(CryptoError::DoesNotOpen);
        }
        secret.copy_from_slice(&opened);
        Ok(secret)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn nobody_else_opens_what_was_sealed() {
        let (own, other) = (VaultSecretKey::generate().unwrap(), VaultSecretKey::generate().unwrap());
        let to = |raft_id| Addressee { ledger_id: &[9; 32], raft_id };
        let mut rng = SeededRng::new(&[3; 32]);
        let sealed = to(7).seal(VAULT, &Zeroizing::new([4; 32]), &own.public(), &mut rng).unwrap();
        assert_eq!(*to(7).open(&sealed, &own).unwrap(), [4; 32]);
        assert!(to(7).open(&sealed, &other).is_err() && to(8).open(&sealed, &own).is_err());
        assert!(Addressee { ledger_id: &[8; 32], raft_id: 7 }.open(&sealed, &own).is_err());
        assert!(to(7).open(&SealedKey { r#use: LOOKUP.into(), ..sealed }, &own).is_err());
    }
}
