//! Opens content with the vault keys that this node may use: to check it at the door, and to serve uses.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use vermilion_crypto::{ContentKey, Digest, LookupKey, VaultSecretKey};
use vermilion_proto::{ItemRefusal, Message as _, VaultWraps, body::Of};
use vermilion_registry::codes::identifier::Identifier;
use vermilion_registry::content::{TypeRules, check_content, check_texts};
use vermilion_registry::reason::{Reason, Refusal};
use vermilion_registry::submission::Submitted;
use vermilion_registry::text::is_blank;
use vermilion_registry::{Kv, check_codes, check_words, keys, query, vault};
use zeroize::Zeroizing;

/// Command keys remembered: a client may use one wrapped key for many commands.
const REMEMBERED_KEYS: usize = 256;

/// What the door's check of the content found.
#[derive(Debug, Default)]
pub struct ContentReport {
    /// Items refused, by position.
    pub refused: Vec<ItemRefusal>,
    /// What exactly, for the first of them.
    pub detail: String,
}

/// The identifiers by which a command names licences that are there already: what is no tag.
fn named_in_clear(submitted: &Submitted) -> Vec<&str> {
    let mut out: Vec<&str> = match submitted.checked.command.body.as_ref().and_then(|b| b.of.as_ref()) {
        Some(Of::Use(of)) => of.licences.iter().map(|licence| licence.identifier.as_str()).collect(),
        Some(Of::ChangeStatus(of)) => vec![&of.licence],
        Some(Of::EraseContent(of)) => vec![&of.licence],
        _ => Vec::new(),
    };
    let is_tag = |text: &str| hex::decode_to_slice(text, &mut [0; 32]).is_ok();
    out.extend(submitted.checked.items.iter().map(|(_, item)| item.previous.as_str()).filter(|previous| !is_tag(previous)));
    out.retain(|name| !name.is_empty());
    out
}

/// The vault's secret side on this node.
pub struct Opener {
    keys: Vec<VaultSecretKey>,
    lookup: LookupKey,
    remembered: Mutex<(HashMap<Digest, ContentKey>, VecDeque<Digest>)>,
    types: Mutex<HashMap<String, (u64, Arc<TypeRules>)>>,
}

impl Opener {
    /// With these keys.
    #[must_use]
    pub fn new(keys: Vec<VaultSecretKey>, lookup: LookupKey) -> Self {
        Self { keys, lookup, remembered: Mutex::default(), types: Mutex::default() }
    }

    /// The key of keyed tags.
    #[must_use]
    pub fn lookup(&self) -> &LookupKey {
        &self.lookup
    }

    /// Whether this node holds the vault key of this id.
    #[must_use]
    pub fn holds(&self, key_id: &[u8]) -> bool {
        self.keys.iter().any(|key| key.public().id()[..] == *key_id)
    }

    /// Whether this node holds a key that the content is wrapped to.
    #[must_use]
    pub fn may_open(&self, wraps: &VaultWraps) -> bool {
        self.keys.iter().any(|key| {
            let id = key.public().id();
            wraps.wraps.iter().any(|w| w.vault_key_id == id)
        })
    }

    fn remembered(&self) -> MutexGuard<'_, (HashMap<Digest, ContentKey>, VecDeque<Digest>)> {
        self.remembered.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The command key of these wraps.
    pub fn command_key(&self, wraps: &VaultWraps) -> Result<ContentKey, Refusal> {
        // With the ids of the vault keys: the same bytes under another id open nowhere.
        let wrapped = VaultWraps { suite: wraps.suite, wraps: wraps.wraps.clone(), ..VaultWraps::default() };
        let name = vermilion_crypto::sha256(&wrapped.encode_to_vec());
        if let Some(key) = self.remembered().0.get(&name) {
            return Ok(key.clone());
        }
        let key = vault::open_command_key(wraps, &self.keys)?;
        let mut remembered = self.remembered();
        let (keys, order) = &mut *remembered;
        if keys.insert(name, key.clone()).is_none() {
            order.push_back(name);
        }
        if order.len() > REMEMBERED_KEYS
            && let Some(oldest) = order.pop_front()
        {
            keys.remove(&oldest);
        }
        Ok(key)
    }

    /// The compiled rules of a type's current version; `None` when it is not published here.
    pub fn rules(&self, kv: &dyn Kv, code: &str) -> Result<Option<Arc<TypeRules>>, Refusal> {
        let internal = |e: String| Refusal::new(Reason::Internal, e);
        let failed = |e: vermilion_registry::Fatal| internal(e.to_string());
        // A type's state is kilobytes to read; which record changed it last, some bytes.
        let Some(changed) = query::changed_seq(kv, &keys::licence_type(code)).map_err(failed)? else { return Ok(None) };
        if let Some((known, rules)) = self.types.lock().unwrap_or_else(PoisonError::into_inner).get(code)
            && *known == changed
        {
            return Ok(Some(Arc::clone(rules)));
        }
        let Some(state) = query::licence_type(kv, code, None).map_err(failed)? else { return Ok(None) };
        let of = state.r#type.as_ref().ok_or_else(|| internal("a published type has no definition".into()))?;
        let rules = Arc::new(TypeRules::new(of)?);
        self.types.lock().unwrap_or_else(PoisonError::into_inner).insert(code.to_owned(), (changed, Arc::clone(&rules)));
        Ok(Some(rules))
    }

    /// Opens and checks everything that travels sealed beside a command: each licence against the
    /// digests and the schema, the texts against theirs. What the plaintext shows to be wrong is
    /// refused here and leaves no record.
    pub fn check(&self, kv: &dyn Kv, submitted: &Submitted) -> Result<ContentReport, Refusal> {
        let mut report = ContentReport::default();
        let command = &submitted.checked.command;
        let Some(head) = &command.head else { return Err(Reason::Malformed.into()) };
        check_codes(head)?;
        if let Some(Of::PublishType(of)) = command.body.as_ref().and_then(|b| b.of.as_ref()) {
            // Apply knows no JSON Schema: its answer would depend on a library's version.
            TypeRules::new(of.r#type.as_ref().ok_or(Reason::TypeInvalid)?)?;
        }
        let used = match command.body.as_ref().and_then(|b| b.of.as_ref()) {
            Some(Of::Use(of)) => Some(of),
            _ => None,
        };
        used.map_or(Ok(()), check_words)?;
        // Used for duties alone, and each use says for which: refused by the rules it would stand in a record.
        if let Some(of) = used
            && (is_blank(&of.service_item)
                || head.text_digests.len() != 2
                || head.text_digests[0] != of.case_digest
                || head.text_digests[1] != of.purpose_digest)
        {
            return Err(Reason::PurposeMissing.into());
        }
        if submitted.sealed.wraps.is_empty() && !head.text_digests.is_empty() {
            return Err(Refusal::new(Reason::BesideMismatch, "the texts are missing"));
        }
        for identifier in named_in_clear(submitted) {
            self.check_name(kv, identifier)?;
        }
        if submitted.sealed.wraps.is_empty() {
            return Ok(report);
        }
        let wraps = submitted.sealed.wraps()?;
        let key = self.command_key(&wraps)?;
        if !submitted.sealed.text.is_empty() || !head.text_digests.is_empty() {
            let text = vault::open(&key, &head.nonce, &wraps, vault::TEXT_POSITION, &submitted.sealed.text)?;
            let texts = check_texts(
                &text,
                &vermilion_ledger::digests(&head.text_digests)
                    .map_err(|_| Refusal::new(Reason::FieldDigests, "a text's digest has 32 bytes"))?,
            )?;
            // Case number and purpose.
            let says_nothing = |name: &str| texts.get(name).is_none_or(is_blank);
            if used.is_some() && texts.names().any(says_nothing) {
                return Err(Reason::PurposeMissing.into());
            }
        }
        // The licences of a command are of few types.
        let mut types: BTreeMap<&str, Arc<TypeRules>> = BTreeMap::new();
        for (position, ((_, item), ciphertext)) in (0u32..).zip(submitted.checked.items.iter().zip(&submitted.sealed.ciphertexts)) {
            let checked = vault::open(&key, &head.nonce, &wraps, position, ciphertext).and_then(|content| {
                let rules = match types.entry(&item.type_code) {
                    Entry::Occupied(known) => known.into_mut(),
                    // Of an unknown type nobody can tell whether its identifiers are personal: such an item
                    // must not reach the chain, refused or not.
                    Entry::Vacant(new) => new.insert(self.rules(kv, &item.type_code)?.ok_or(Reason::UnknownType)?),
                };
                check_content(item, &content, Some(rules), &self.lookup)
            });
            if let Err(refusal) = checked {
                if report.refused.is_empty() {
                    report.detail = format!("item {position}: {}", refusal.detail);
                }
                report.refused.push(ItemRefusal { position, code: refusal.reason.number() });
            }
        }
        Ok(report)
    }

    /// Refuses an identifier in the clear whose type keeps identifiers as tags: refused later, it would stand in a record.
    fn check_name(&self, kv: &dyn Kv, identifier: &str) -> Result<(), Refusal> {
        let parsed = Identifier::parse(identifier)?;
        // Of an unknown type nobody can tell.
        let rules = self.rules(kv, parsed.type_code())?.ok_or(Reason::UnknownType)?;
        if rules.personal_identifier() { Err(Refusal::new(Reason::PersonalIdentifier, "name the licence by its tag")) } else { Ok(()) }
    }

    /// Opens one licence's content.
    pub fn open(&self, nonce: &[u8], wraps: &VaultWraps, position: u32, ciphertext: &[u8]) -> Result<Zeroizing<Vec<u8>>, Refusal> {
        vault::open(&self.command_key(wraps)?, nonce, wraps, position, ciphertext)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use vermilion_crypto::SeededRng;
    use vermilion_registry::vault::Session;

    #[test]
    fn a_command_key_is_remembered_by_the_vault_key_that_it_is_wrapped_to() {
        let [city, district] = [[1; 32], [2; 32]].map(VaultSecretKey::from_bytes);
        let other = district.public().id().to_vec();
        let session = Session::new(ContentKey([3; 32]), &[city.public()], &mut SeededRng::new(&[4; 32])).unwrap();
        let opener = Opener::new(vec![city, district], LookupKey::from_bytes([5; 32]));
        let mut wraps = session.seal(b"nonce", &[], None).unwrap().wraps().unwrap();
        assert!(opener.command_key(&wraps).is_ok());
        // The same bytes, said to be for a key that does not open them.
        wraps.wraps[0].vault_key_id = other;
        assert_eq!(opener.command_key(&wraps).err().unwrap().reason, Reason::ContentDoesNotOpen);
    }
}
