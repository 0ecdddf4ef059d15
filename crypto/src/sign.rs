use crate::{CryptoError, hash, random};
use ed25519_dalek::Signer as _;

/// Bytes of an Ed25519 signature.
pub const SIGNATURE_LEN: usize = 64;

/// A signature's bytes.
pub type Signature = [u8; SIGNATURE_LEN];

/// The first 16 bytes of BLAKE3 over suite and public key: names a key in commands and state.
pub type KeyId = [u8; 16];

/// An Ed25519 public key as it travels: 32 bytes, not yet known to be a point.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct PublicKey(pub [u8; 32]);

impl PublicKey {
    /// From a slice; an error unless it has 32 bytes.
    pub fn from_slice(bytes: &[u8]) -> Result<Self, CryptoError> {
        Ok(Self(bytes.try_into().map_err(|_| CryptoError::BadKey)?))
    }

    /// The key's id.
    #[must_use]
    pub fn id(&self) -> KeyId {
        let digest = hash::derive(&hash::CTX_KEY_ID, &[&crate::SUITE_1.to_be_bytes(), &self.0]);
        let mut id = [0; 16];
        id.copy_from_slice(&digest[..16]);
        id
    }

    /// Checks one signature under ZIP-215.
    pub fn verify(&self, message: &[u8], signature: &[u8]) -> Result<(), CryptoError> {
        let signature: Signature = signature.try_into().map_err(|_| CryptoError::BadSignature)?;
        let key = ed25519_zebra::VerificationKey::try_from(self.0).map_err(|_| CryptoError::BadKey)?;
        key.verify(&signature.into(), message).map_err(|_| CryptoError::BadSignature)
    }
}

/// Whether a key may be registered: canonical encoding, on the curve, torsion-free, not the
/// identity. ZIP-215 alone would take small-order keys, under which anything verifies.
pub fn check_registrable(key: &[u8]) -> Result<PublicKey, CryptoError> {
    let key = PublicKey::from_slice(key)?;
    let point = curve25519_dalek::edwards::CompressedEdwardsY(key.0).decompress().ok_or(CryptoError::BadKey)?;
    if point.compress().0 != key.0 || point.is_small_order() || !point.is_torsion_free() {
        return Err(CryptoError::BadKey);
    }
    Ok(key)
}

/// A secret signing key; wiped from memory when dropped.
#[derive(Clone)]
pub struct SigningKey(ed25519_dalek::SigningKey);

impl SigningKey {
    /// A new key from the operating system's randomness.
    pub fn generate() -> Result<Self, CryptoError> {
        Ok(Self::from_seed(&random()?))
    }

    /// The key of a 32-byte seed.
    #[must_use]
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        Self(ed25519_dalek::SigningKey::from_bytes(seed))
    }

    /// The seed, to be written to a key file.
    #[must_use]
    pub fn seed(&self) -> zeroize::Zeroizing<[u8; 32]> {
        zeroize::Zeroizing::new(self.0.to_bytes())
    }

    /// The public half.
    #[must_use]
    pub fn public(&self) -> PublicKey {
        PublicKey(self.0.verifying_key().to_bytes())
    }

    /// Signs.
    #[must_use]
    pub fn sign(&self, message: &[u8]) -> Signature {
        self.0.sign(message).to_bytes()
    }
}

impl std::fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SigningKey(of {})", hex::encode(self.public().0))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// Small-order points, one of them in a non-canonical encoding.
    const SMALL_ORDER: [&str; 4] = [
        "0100000000000000000000000000000000000000000000000000000000000000",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "0000000000000000000000000000000000000000000000000000000000000000",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
    ];

    #[test]
    fn small_order_keys_are_not_registered() {
        for key in SMALL_ORDER {
            assert!(check_registrable(&hex::decode(key).unwrap()).is_err(), "{key}");
        }
        assert!(check_registrable(&SigningKey::from_seed(&[7; 32]).public().0).is_ok());
    }

    #[test]
    fn a_key_with_a_torsion_part_is_not_registered() {
        use curve25519_dalek::{constants, traits::Identity as _};
        let honest = curve25519_dalek::edwards::CompressedEdwardsY(SigningKey::from_seed(&[7; 32]).public().0);
        let mixed = honest.decompress().unwrap() + constants::EIGHT_TORSION[1];
        assert_ne!(mixed, curve25519_dalek::EdwardsPoint::identity());
        assert!(check_registrable(&mixed.compress().0).is_err());
    }

    #[test]
    fn single_and_batch_agree_on_crafted_signatures() {
        // A small-order key with R = identity and s = 0 verifies under ZIP-215 for any message:
        // both checks must say so alike (registration keeps such keys out of the registry).
        let mut signature = [0u8; 64];
        signature[0] = 1;
        for key in SMALL_ORDER {
            let key = PublicKey::from_slice(&hex::decode(key).unwrap()).unwrap();
            for message in [&b"a"[..], b"b", b""] {
                let single = key.verify(message, &signature).is_ok();
                let mut batch = crate::batch::Batch::new();
                batch.add(key, signature, message);
                let good = SigningKey::from_seed(&[1; 32]);
                batch.add(good.public(), good.sign(b"x"), b"x");
                assert_eq!(single, batch.verify().is_ok());
            }
        }
    }
}
