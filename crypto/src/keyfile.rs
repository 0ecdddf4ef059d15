use crate::CryptoError;
use pkcs8::{
    AlgorithmIdentifierRef, ObjectIdentifier, PrivateKeyInfoRef,
    der::{Decode as _, Encode as _, asn1::OctetStringRef, pem::LineEnding},
};
use zeroize::Zeroizing;

/// RFC 8410: Ed25519. Key files hold a 32-byte seed under this identifier, or under X25519's.
const ED25519: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");
const PLAIN: &str = "PRIVATE KEY";
const ENCRYPTED: &str = "ENCRYPTED PRIVATE KEY";

/// A 32-byte secret as PKCS#8 in PEM (RFC 5958, RFC 8410), encrypted with PBES2 (scrypt and
/// AES-256-CBC) when there is a passphrase.
pub fn encode_secret(secret: &[u8; 32], passphrase: Option<&[u8]>) -> Result<Zeroizing<String>, CryptoError> {
    let mut inner = Zeroizing::new([0u8; 34]);
    inner[..2].copy_from_slice(&[0x04, 0x20]);
    inner[2..].copy_from_slice(secret);
    let octets = OctetStringRef::new(&inner[..]).map_err(|_| CryptoError::BadKeyFile)?;
    let info = PrivateKeyInfoRef::new(AlgorithmIdentifierRef { oid: ED25519, parameters: None }, octets);
    let document = match passphrase {
        None => {
            let der = Zeroizing::new(info.to_der().map_err(|_| CryptoError::BadKeyFile)?);
            return pem(PLAIN, &der);
        }
        Some(passphrase) => info.encrypt(passphrase).map_err(|_| CryptoError::BadKeyFile)?,
    };
    pem(ENCRYPTED, document.as_bytes())
}

/// Reads what [`encode_secret`] wrote. An encrypted file without a passphrase, and a wrong
/// passphrase, are [`CryptoError::BadKeyFile`].
pub fn decode_secret(text: &str, passphrase: Option<&[u8]>) -> Result<Zeroizing<[u8; 32]>, CryptoError> {
    let (label, der) = pkcs8::SecretDocument::from_pem(text).map_err(|_| CryptoError::BadKeyFile)?;
    match label {
        PLAIN => seed_of(der.as_bytes()),
        ENCRYPTED => {
            let passphrase = passphrase.ok_or(CryptoError::BadKeyFile)?;
            let info = pkcs8::EncryptedPrivateKeyInfoRef::from_der(der.as_bytes()).map_err(|_| CryptoError::BadKeyFile)?;
            let opened = info.decrypt(passphrase).map_err(|_| CryptoError::BadKeyFile)?;
            seed_of(opened.as_bytes())
        }
        _ => Err(CryptoError::BadKeyFile),
    }
}

fn pem(label: &'static str, der: &[u8]) -> Result<Zeroizing<String>, CryptoError> {
    let document = pkcs8::SecretDocument::try_from(der).map_err(|_| CryptoError::BadKeyFile)?;
    document.to_pem(label, LineEnding::LF).map_err(|_| CryptoError::BadKeyFile)
}

fn seed_of(der: &[u8]) -> Result<Zeroizing<[u8; 32]>, CryptoError> {
    let info = PrivateKeyInfoRef::from_der(der).map_err(|_| CryptoError::BadKeyFile)?;
    match info.private_key.as_bytes() {
        [0x04, 0x20, seed @ ..] if seed.len() == 32 => {
            let mut out = Zeroizing::new([0; 32]);
            out.copy_from_slice(seed);
            Ok(out)
        }
        _ => Err(CryptoError::BadKeyFile),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn round_trip_plain_and_encrypted() {
        let secret = [42; 32];
        let plain = encode_secret(&secret, None).unwrap();
        assert!(plain.starts_with("-----BEGIN PRIVATE KEY-----"));
        assert_eq!(*decode_secret(&plain, None).unwrap(), secret);
        let locked = encode_secret(&secret, Some(b"pass")).unwrap();
        assert!(locked.starts_with("-----BEGIN ENCRYPTED PRIVATE KEY-----"));
        assert_eq!(*decode_secret(&locked, Some(b"pass")).unwrap(), secret);
        assert!(decode_secret(&locked, Some(b"word")).is_err());
        assert!(decode_secret(&locked, None).is_err());
        assert!(decode_secret("not a key", None).is_err());
    }
}
