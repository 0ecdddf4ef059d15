use crate::{ContentKey, CryptoError, KeyId, SeededRng, hash, random};
use hpke::{Deserializable as _, OpModeR, OpModeS, Serializable as _};
use zeroize::{Zeroize, ZeroizeOnDrop};

type Kem = hpke::kem::X25519HkdfSha256;
type Kdf = hpke::kdf::HkdfSha256;
type Aead = hpke::aead::AesGcm256;

/// A vault's or recipient's public key (X25519).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct VaultPublicKey(pub [u8; 32]);

impl VaultPublicKey {
    /// From a slice; an error unless it has 32 bytes.
    pub fn from_slice(bytes: &[u8]) -> Result<Self, CryptoError> {
        Ok(Self(bytes.try_into().map_err(|_| CryptoError::BadKey)?))
    }

    /// The key's id.
    #[must_use]
    pub fn id(&self) -> KeyId {
        let digest = hash::derive(&hash::CTX_KEY_ID, &[b"x25519", &self.0]);
        let mut id = [0; 16];
        id.copy_from_slice(&digest[..16]);
        id
    }
}

/// The secret half of a vault's or recipient's key.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct VaultSecretKey {
    secret: [u8; 32],
    /// Kept: computing it costs more than opening what a key seals.
    #[zeroize(skip)]
    public: VaultPublicKey,
}

impl VaultSecretKey {
    /// A new key from the operating system's randomness.
    pub fn generate() -> Result<Self, CryptoError> {
        Ok(Self::from_bytes(random()?))
    }

    /// From its 32 bytes.
    #[must_use]
    pub fn from_bytes(secret: [u8; 32]) -> Self {
        let public = x25519_dalek::PublicKey::from(&x25519_dalek::StaticSecret::from(secret));
        Self { secret, public: VaultPublicKey(public.to_bytes()) }
    }

    /// Its bytes, to be written to a key file.
    #[must_use]
    pub fn bytes(&self) -> &[u8; 32] {
        &self.secret
    }

    /// The public half.
    #[must_use]
    pub fn public(&self) -> VaultPublicKey {
        self.public
    }

    fn private(&self) -> Result<<Kem as hpke::Kem>::PrivateKey, CryptoError> {
        <Kem as hpke::Kem>::PrivateKey::from_bytes(&self.secret).map_err(|_| CryptoError::BadKey)
    }
}

/// Something sealed to a public key (RFC 9180 base mode).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Wrapped {
    /// The encapsulated key, 32 bytes.
    pub encapsulated: Vec<u8>,
    /// The ciphertext with its tag.
    pub ciphertext: Vec<u8>,
}

/// Seals `plaintext` to `to`. `info` names the use and is bound in.
pub fn seal_to(to: &VaultPublicKey, info: &[u8], plaintext: &[u8], rng: &mut SeededRng) -> Result<Wrapped, CryptoError> {
    let key = <Kem as hpke::Kem>::PublicKey::from_bytes(&to.0).map_err(|_| CryptoError::BadKey)?;
    let (encapsulated, mut context) =
        hpke::setup_sender_with_rng::<Aead, Kdf, Kem>(&OpModeS::Base, &key, info, rng).map_err(|_| CryptoError::CannotSeal)?;
    let ciphertext = context.seal(plaintext, b"").map_err(|_| CryptoError::CannotSeal)?;
    Ok(Wrapped { encapsulated: encapsulated.to_bytes().to_vec(), ciphertext })
}

/// Opens what [`seal_to`] sealed.
pub fn open_sealed(
    key: &VaultSecretKey,
    info: &[u8],
    encapsulated: &[u8],
    ciphertext: &[u8],
) -> Result<zeroize::Zeroizing<Vec<u8>>, CryptoError> {
    let encapsulated = <Kem as hpke::Kem>::EncappedKey::from_bytes(encapsulated).map_err(|_| CryptoError::DoesNotOpen)?;
    let mut context = hpke::setup_receiver::<Aead, Kdf, Kem>(&OpModeR::Base, &key.private()?, &encapsulated, info)
        .map_err(|_| CryptoError::DoesNotOpen)?;
    context.open(ciphertext, b"").map(zeroize::Zeroizing::new).map_err(|_| CryptoError::DoesNotOpen)
}

const WRAP_INFO: &[u8] = b"vermilion vault wrap v1";

/// Wraps a command's content key to a vault key.
pub fn wrap_key(to: &VaultPublicKey, key: &ContentKey, rng: &mut SeededRng) -> Result<Wrapped, CryptoError> {
    seal_to(to, WRAP_INFO, &key.0, rng)
}

/// Opens what [`wrap_key`] wrapped.
pub fn unwrap_key(key: &VaultSecretKey, encapsulated: &[u8], ciphertext: &[u8]) -> Result<ContentKey, CryptoError> {
    let opened = open_sealed(key, WRAP_INFO, encapsulated, ciphertext)?;
    Ok(ContentKey(opened.as_slice().try_into().map_err(|_| CryptoError::DoesNotOpen)?))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use hpke::Kem as _;

    #[test]
    fn wraps_for_one_key_alone() {
        let (a, b) = (VaultSecretKey::from_bytes([1; 32]), VaultSecretKey::from_bytes([2; 32]));
        let wrapped = wrap_key(&a.public(), &ContentKey([9; 32]), &mut SeededRng::new(&[5; 32])).unwrap();
        assert_eq!(unwrap_key(&a, &wrapped.encapsulated, &wrapped.ciphertext).unwrap().0, [9; 32]);
        assert!(unwrap_key(&b, &wrapped.encapsulated, &wrapped.ciphertext).is_err());
        let again = wrap_key(&a.public(), &ContentKey([9; 32]), &mut SeededRng::new(&[5; 32])).unwrap();
        assert_eq!(wrapped, again, "a seeded wrap is repeatable");
        let (derived, public) = Kem::derive_keypair(&[7; 32]);
        assert_eq!(VaultSecretKey::from_bytes(derived.to_bytes().into()).public().0.as_slice(), public.to_bytes().as_slice());
    }
}
