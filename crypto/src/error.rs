/// What can go wrong. Messages never hold key material or plaintext.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CryptoError {
    /// A key is not 32 bytes, not a point, not canonical, or has a small-order part.
    #[error("the key is malformed, not canonical, or not torsion-free")]
    BadKey,
    /// A signature is not 64 bytes or does not hold.
    #[error("the signature does not hold")]
    BadSignature,
    /// Sealed bytes do not open: altered, or sealed to another key.
    #[error("the sealed content does not open with this key")]
    DoesNotOpen,
    /// Encryption failed: the plaintext is beyond the algorithm's bound.
    #[error("the content cannot be sealed")]
    CannotSeal,
    /// A key file does not decode, or the passphrase is wrong.
    #[error("the key file does not open: wrong passphrase or not an encrypted PKCS#8 file")]
    BadKeyFile,
    /// The operating system gave no randomness.
    #[error("the operating system gave no randomness")]
    NoRandomness,
}
