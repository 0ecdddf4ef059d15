//! How content is sealed to the vault's keys, and opened again.
//!
//! A command key is wrapped to the vault keys by HPKE, once for each. Under it stands one key for
//! each licence (and one for the command's texts), so that one licence can be erased alone: its
//! wrapped key goes first. A client may use one wrapped command key for several commands in a row
//! ([`Session`]): the keys under it are bound to the command's nonce and the position, so none is
//! used twice.

use crate::reason::{Reason, Refusal};
use crate::submission::Sealed;
use vermilion_crypto::hash::{Context, kdf};
use vermilion_crypto::{
    ContentKey, CryptoError, SUITE_1, SeededRng, VaultPublicKey, VaultSecretKey, open_content, seal_content, sha256, unwrap_key, wrap_key,
};
use vermilion_proto::{Message as _, VaultWraps, Wrap};
use zeroize::Zeroizing;

static WRAP_CONTEXT: Context = Context::new("vermilion 2026-11 licence key wrap v1");
const KEY_CONTEXT: &[u8] = b"vermilion licence key v1";
const CONTENT_CONTEXT: &[u8] = b"vermilion content v1";

/// The position of a command's texts among its keys.
pub const TEXT_POSITION: u32 = u32::MAX;

/// A command key with its wraps.
pub struct Session {
    key: ContentKey,
    wraps: Vec<Wrap>,
}

/// One piece of content with its own key.
pub struct Plain<'a> {
    /// Its key, used for this content only.
    pub key: ContentKey,
    /// The content.
    pub content: &'a [u8],
}

fn under(command_key: &ContentKey, nonce: &[u8], position: u32) -> ContentKey {
    ContentKey(*kdf(&WRAP_CONTEXT, &command_key.0, &[nonce, &position.to_be_bytes()]))
}

impl Session {
    /// Wraps `key` to each vault key. The stream makes the wraps repeatable where they must be.
    pub fn new(key: ContentKey, vault_keys: &[VaultPublicKey], rng: &mut SeededRng) -> Result<Self, CryptoError> {
        let mut wraps = Vec::with_capacity(vault_keys.len());
        for vault_key in vault_keys {
            let wrapped = wrap_key(vault_key, &key, rng)?;
            wraps.push(Wrap { vault_key_id: vault_key.id().to_vec(), encapsulated: wrapped.encapsulated, ciphertext: wrapped.ciphertext });
        }
        Ok(Self { key, wraps })
    }

    /// Seals the contents of one command, of this `nonce`, and its texts. Returns what travels
    /// beside the command; the digests that the command signs are of exactly these bytes.
    pub fn seal(&self, nonce: &[u8], items: &[Plain<'_>], text: Option<Plain<'_>>) -> Result<Sealed, CryptoError> {
        let mut sealed = Sealed::default();
        let mut wraps = VaultWraps { suite: SUITE_1, wraps: self.wraps.clone(), ..Default::default() };
        for (position, plain) in (0u32..).zip(items) {
            sealed.ciphertexts.push(seal_content(&plain.key, CONTENT_CONTEXT, plain.content)?.into());
            wraps.licence_keys.push(seal_content(&under(&self.key, nonce, position), KEY_CONTEXT, &plain.key.0)?);
        }
        if let Some(plain) = text {
            sealed.text = seal_content(&plain.key, CONTENT_CONTEXT, plain.content)?.into();
            wraps.text_key = seal_content(&under(&self.key, nonce, TEXT_POSITION), KEY_CONTEXT, &plain.key.0)?;
        }
        sealed.wraps = wraps.encode_to_vec().into();
        Ok(sealed)
    }
}

impl Sealed {
    /// Digest of the wraps, for the head; empty when there are none.
    #[must_use]
    pub fn wraps_digest(&self) -> Vec<u8> {
        if self.wraps.is_empty() { Vec::new() } else { sha256(&self.wraps).to_vec() }
    }

    /// Digest of the texts' ciphertext, for the head; empty when there are none.
    #[must_use]
    pub fn text_digest(&self) -> Vec<u8> {
        if self.text.is_empty() { Vec::new() } else { sha256(&self.text).to_vec() }
    }
}

/// Opens the command key with whichever of `keys` it is wrapped to.
pub fn open_command_key(wraps: &VaultWraps, keys: &[VaultSecretKey]) -> Result<ContentKey, Refusal> {
    for key in keys {
        let id = key.public().id();
        if let Some(wrap) = wraps.wraps.iter().find(|w| w.vault_key_id == id) {
            return unwrap_key(key, &wrap.encapsulated, &wrap.ciphertext)
                .map_err(|_| Refusal::new(Reason::ContentDoesNotOpen, "the command key does not open with the vault key that it names"));
        }
    }
    Err(Reason::NoVaultKey.into())
}

/// Opens one licence's content, or the texts at [`TEXT_POSITION`].
pub fn open(
    command_key: &ContentKey,
    nonce: &[u8],
    wraps: &VaultWraps,
    position: u32,
    ciphertext: &[u8],
) -> Result<Zeroizing<Vec<u8>>, Refusal> {
    let wrapped = match position {
        TEXT_POSITION => Some(&wraps.text_key),
        position => wraps.licence_keys.get(position as usize),
    };
    let wrapped = wrapped.ok_or_else(|| Refusal::new(Reason::BesideMismatch, format!("there is no key for item {position}")))?;
    if wrapped.is_empty() {
        return Err(Reason::ContentErased.into());
    }
    let fails = |_| Refusal::new(Reason::ContentDoesNotOpen, format!("the content at position {position} does not open"));
    let key = open_content(&under(command_key, nonce, position), KEY_CONTEXT, wrapped).map_err(fails)?;
    let key = ContentKey(key.as_slice().try_into().map_err(|_| fails(CryptoError::DoesNotOpen))?);
    open_content(&key, CONTENT_CONTEXT, ciphertext).map_err(fails)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn each_piece_opens_by_itself_and_in_its_place() {
        let vault = VaultSecretKey::from_bytes([1; 32]);
        let session = Session::new(ContentKey([2; 32]), &[vault.public()], &mut SeededRng::new(&[3; 32])).unwrap();
        let items = [Plain { key: ContentKey([4; 32]), content: b"one" }, Plain { key: ContentKey([5; 32]), content: b"two" }];
        let sealed = session.seal(b"nonce", &items, Some(Plain { key: ContentKey([6; 32]), content: b"text" })).unwrap();
        let mut wraps = sealed.wraps().unwrap();
        let key = open_command_key(&wraps, &[VaultSecretKey::from_bytes([9; 32]), vault]).unwrap();
        assert_eq!(open(&key, b"nonce", &wraps, 1, &sealed.ciphertexts[1]).unwrap().as_slice(), b"two");
        assert_eq!(open(&key, b"nonce", &wraps, TEXT_POSITION, &sealed.text).unwrap().as_slice(), b"text");
        assert!(open(&key, b"nonce", &wraps, 0, &sealed.ciphertexts[1]).is_err());
        assert!(open(&key, b"other", &wraps, 1, &sealed.ciphertexts[1]).is_err());
        wraps.licence_keys[1].clear();
        assert_eq!(open(&key, b"nonce", &wraps, 1, &sealed.ciphertexts[1]).unwrap_err().reason, Reason::ContentErased);
        assert_eq!(open_command_key(&wraps, &[VaultSecretKey::from_bytes([9; 32])]).err().unwrap().reason, Reason::NoVaultKey);
    }
}
