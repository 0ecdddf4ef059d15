//! Whoever signs without showing the key.

use vermilion_crypto::{PublicKey, Signature, SigningKey};

/// Why a key did not sign: a device that is away, or a session with it that has ended.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the key did not sign: {0}")]
pub struct SignerError(pub String);

/// An Ed25519 key that signs. A key in memory is one; a key on a device
/// ([`Pkcs11Signer`](crate::pkcs11::Pkcs11Signer)) is another, since nothing here asks for the secret.
pub trait Signer: Send + Sync + std::fmt::Debug {
    /// The public half.
    fn public(&self) -> PublicKey;

    /// Signs `message` with plain Ed25519 (RFC 8032). A device may fail, and may block meanwhile.
    fn sign(&self, message: &[u8]) -> Result<Signature, SignerError>;
}

impl Signer for SigningKey {
    fn public(&self) -> PublicKey {
        SigningKey::public(self)
    }

    fn sign(&self, message: &[u8]) -> Result<Signature, SignerError> {
        Ok(SigningKey::sign(self, message))
    }
}
