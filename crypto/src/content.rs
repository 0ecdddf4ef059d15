use crate::{CryptoError, Digest};
use aes_gcm::{
    Aes256Gcm, KeyInit,
    aead::{Aead, Payload},
};
use zeroize::{Zeroize, ZeroizeOnDrop};

/// A key for one piece of content. It seals once: the nonce is fixed, so a second plaintext under
/// the same key would be a break. Licence keys are made afresh (or derived) for each licence.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct ContentKey(pub Digest);

const NONCE: [u8; 12] = *b"vermilion-v1";

/// AES-256-GCM under a key used once. `context` is authenticated, not encrypted.
pub fn seal_content(key: &ContentKey, context: &[u8], plaintext: &[u8]) -> Result<Vec<u8>, CryptoError> {
    Aes256Gcm::new(&key.0.into()).encrypt(&NONCE.into(), Payload { msg: plaintext, aad: context }).map_err(|_| CryptoError::CannotSeal)
}

/// Opens what [`seal_content`] sealed.
pub fn open_content(key: &ContentKey, context: &[u8], sealed: &[u8]) -> Result<zeroize::Zeroizing<Vec<u8>>, CryptoError> {
    Aes256Gcm::new(&key.0.into())
        .decrypt(&NONCE.into(), Payload { msg: sealed, aad: context })
        .map(zeroize::Zeroizing::new)
        .map_err(|_| CryptoError::DoesNotOpen)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn opens_only_whole_and_in_its_context() {
        let key = ContentKey([3; 32]);
        let sealed = seal_content(&key, b"licence", "内容".as_bytes()).unwrap();
        assert_eq!(open_content(&key, b"licence", &sealed).unwrap().as_slice(), "内容".as_bytes());
        assert!(open_content(&key, b"text", &sealed).is_err());
        assert!(open_content(&ContentKey([4; 32]), b"licence", &sealed).is_err());
        for n in 0..sealed.len() {
            let mut altered = sealed.clone();
            altered[n] ^= 1;
            assert!(open_content(&key, b"licence", &altered).is_err());
        }
    }
}
