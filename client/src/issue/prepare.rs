//! From a chunk of rows to a signed command, the same every time.
//!
//! | derived | from the unit's secret and |
//! |---|---|
//! | salts | file digest, row, field (`vermilion_registry`) |
//! | licence keys | file digest, row, the content itself |
//! | nonce | file digest, chunk, not-after, every item |
//! | command key, wrapping | the nonce before it is cut to size, the vault keys |
//!
//! Content and items enter so that no key or nonce ever serves two contents, whatever a later
//! version of this program makes of the same file.

use crate::command::{Draft, ItemDraft, Prepared};
use crate::error::ClientError;
use crate::issue::chunk::{Chunk, Member};
use crate::signer::Signatory;
use crate::types::Types;
use vermilion_crypto::hash::{Context, Hasher, kdf};
use vermilion_crypto::{ContentKey, Digest, SeededRng, Tag, VaultPublicKey, sha256};
use vermilion_proto::{IssueLicences, LicenceItem, Message as _, body::Of};
use vermilion_registry::content::{CheckedRow, Row, RowSecrets, RowTags, TagInput, build_item, check_row, tag_inputs};
use vermilion_registry::reason::{Reason, Refusal};
use vermilion_registry::vault::Session;
use zeroize::Zeroizing;

static CTX_ITEMS: Context = Context::new("vermilion 2026-11 import items v1");
static CTX_NONCE: Context = Context::new("vermilion 2026-11 import nonce v1");
static CTX_LICENCE_KEY: Context = Context::new("vermilion 2026-11 import licence key v1");
static CTX_COMMAND_KEY: Context = Context::new("vermilion 2026-11 import command key v1");
static CTX_WRAP: Context = Context::new("vermilion 2026-11 import wrap seed v1");

/// What a unit needs to issue.
pub struct IssuingUnit {
    /// USCC.
    pub uscc: String,
    /// Who signs.
    pub signers: Vec<Signatory>,
    /// The unit's secret.
    pub secret: Zeroizing<[u8; 32]>,
    /// To whom contents are wrapped.
    pub vault_keys: Vec<VaultPublicKey>,
}

/// A row that passed every check that needs no state.
#[derive(Clone)]
pub struct Sound {
    /// Its place in the chunk.
    pub at: usize,
    /// What the checks read. Its warnings the unit confirms.
    pub checked: CheckedRow,
    /// The tags that its item needs.
    pub inputs: Vec<TagInput>,
}

/// Checks a row by itself and by its type. A type that the ledger does not know is refused here:
/// nobody could tell whether its identifiers are personal and may stand on the chain.
pub fn check(row: &Row, at: usize, types: &Types) -> Result<Sound, Refusal> {
    // First without rules: a malformed identifier says nothing of an unknown type.
    let rules = match types.rules(&row.type_code) {
        Ok(rules) => rules,
        Err(refusal) => {
            check_row(row, None)?;
            return Err(refusal);
        }
    };
    let checked = check_row(row, Some(&rules))?;
    let inputs = tag_inputs(row, &rules)?;
    Ok(Sound { at, checked, inputs })
}

/// Checks every row of a chunk.
#[must_use]
pub fn check_chunk(chunk: &Chunk, types: &Types) -> Vec<Result<Sound, Refusal>> {
    chunk.members.iter().enumerate().map(|(at, member)| check(&member.row, at, types)).collect()
}

/// A row that goes into a command.
pub struct Ready<'a> {
    /// The row with its number.
    pub member: &'a Member,
    /// What its checks read.
    pub checked: &'a CheckedRow,
    /// Its tags, as [`Sound::inputs`] asked for them.
    pub tags: &'a [Tag],
}

/// What the commands of one file have in common for one unit.
pub struct Maker<'a> {
    /// The ledger.
    pub ledger_id: &'a Digest,
    /// The file.
    pub file: &'a Digest,
    /// The unit.
    pub unit: &'a IssuingUnit,
    /// The types by which items are made.
    pub types: &'a Types,
}

impl Maker<'_> {
    /// One row's item, content and key.
    pub fn item(&self, ready: &Ready<'_>) -> Result<ItemDraft, Refusal> {
        let Ready { member: Member { number, row }, checked, tags } = ready;
        let rules = self.types.rules(&row.type_code)?;
        let tags = RowTags::from_answers(row, &rules, tags).ok_or(Reason::Internal)?;
        let secrets = RowSecrets { unit_secret: &self.unit.secret, file_digest: self.file, row_number: *number };
        let (item, plaintext) = build_item(row, checked, &rules, &tags, &secrets)?;
        let key = kdf(&CTX_LICENCE_KEY, &self.unit.secret, &[self.file, &number.to_be_bytes(), &sha256(&plaintext)]);
        Ok(ItemDraft { item, plaintext, key: ContentKey(*key) })
    }

    /// An issue command of these rows: the same rows give the same bytes.
    pub fn issue(&self, first: u64, not_after_ms: u64, items: Vec<ItemDraft>) -> Result<Prepared, ClientError> {
        let draft = self.draft(first, not_after_ms, items)?;
        let (items_root, items_count) = draft.items_root();
        draft.sign(self.ledger_id, Of::IssueLicences(IssueLicences { items_root, items_count }), &self.unit.signers)
    }

    /// A draft with sealed items, its nonce and keys derived.
    pub fn draft(&self, first: u64, not_after_ms: u64, items: Vec<ItemDraft>) -> Result<Draft, ClientError> {
        let secret = &self.unit.secret;
        let seed = kdf(
            &CTX_NONCE,
            secret,
            &[self.file, &first.to_be_bytes(), &not_after_ms.to_be_bytes(), &digest_of_items(items.iter().map(|i| &i.item))],
        );
        let mut nonce = [0; 16];
        nonce.copy_from_slice(&seed[..16]);
        let command_key = ContentKey(*kdf(&CTX_COMMAND_KEY, secret, &[&seed[..]]));
        let vault: Vec<&[u8]> = std::iter::once(&seed[..]).chain(self.unit.vault_keys.iter().map(|k| k.0.as_slice())).collect();
        let session = Session::new(command_key, &self.unit.vault_keys, &mut SeededRng::new(&kdf(&CTX_WRAP, secret, &vault)))?;
        let mut draft = Draft { unit: self.unit.uscc.clone(), nonce, not_after_ms, ..Draft::default() };
        draft.seal_items(&session, items)?;
        Ok(draft)
    }
}

fn digest_of_items<'a>(items: impl Iterator<Item = &'a LicenceItem>) -> Digest {
    let mut hasher = Hasher::new(&CTX_ITEMS);
    for item in items {
        hasher.field(&item.encode_to_vec());
    }
    hasher.finish()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
pub(crate) mod tests {
    use super::*;
    use crate::issue::chunk::tests::{ROWS, chunks};
    use vermilion_crypto::{LookupKey, SigningKey, VaultSecretKey};
    use vermilion_proto::{TypeState, VaultWraps};
    use vermilion_registry::content::{check_content, types_from_catalogue};
    use vermilion_registry::submission::{MAX_SUBMISSION, open_submission};
    use vermilion_registry::vault;

    const CATALOGUE: &str = include_str!("../../../testnet/fixtures/catalogue.json");

    pub fn types() -> Types {
        let state = |e: vermilion_registry::content::CatalogueEntry| TypeState {
            implementations: e.issuers,
            r#type: Some(e.licence_type),
            published_seq: 1,
        };
        Types::new(types_from_catalogue(CATALOGUE).unwrap().into_iter().map(state).collect())
    }

    fn unit(uscc: &str) -> IssuingUnit {
        let signer = |n: u8, post: &str| Signatory::new(uscc, post, SigningKey::from_seed(&[n; 32]));
        IssuingUnit {
            uscc: uscc.into(),
            signers: vec![signer(1, "maker"), signer(2, "checker")],
            secret: Zeroizing::new([3; 32]),
            vault_keys: vec![vault_key().public(), VaultSecretKey::from_bytes([8; 32]).public()],
        }
    }

    fn vault_key() -> VaultSecretKey {
        VaultSecretKey::from_bytes([7; 32])
    }

    fn lookup() -> LookupKey {
        LookupKey::from_bytes([9; 32])
    }

    pub fn command(chunk: &Chunk, types: &Types, not_after_ms: u64, skip: usize) -> Prepared {
        let (file, unit) = (crate::issue::read::digest_of(ROWS.as_bytes()), unit(&chunk.unit));
        let maker = Maker { ledger_id: &[1; 32], file: &file, unit: &unit, types };
        let items = check_chunk(chunk, types).into_iter().skip(skip).map(|sound| {
            let sound = sound.unwrap();
            let tags: Vec<Tag> = sound.inputs.iter().map(|i| lookup().tag(i.kind, &i.code_type, &i.value)).collect();
            maker.item(&Ready { member: &chunk.members[sound.at], checked: &sound.checked, tags: &tags }).unwrap()
        });
        maker.issue(chunk.first(), not_after_ms, items.collect()).unwrap()
    }

    #[test]
    fn the_same_file_twice_gives_the_same_bytes() {
        let types = types();
        let make = || chunks(ROWS).iter().map(|c| command(c, &types, 1_000, 0)).collect::<Vec<_>>();
        let first = make();
        assert_eq!(first, make());
        for prepared in &first {
            assert!(prepared.submission.len() < MAX_SUBMISSION);
        }
    }

    #[test]
    fn another_set_of_rows_or_not_after_has_another_nonce() {
        let types = types();
        let chunk = &chunks(ROWS)[0];
        let nonce = |p: &Prepared| {
            let opened = open_submission(&p.submission).unwrap();
            opened.checked.command.head.unwrap().nonce
        };
        let all = [command(chunk, &types, 1, 0), command(chunk, &types, 2, 0), command(chunk, &types, 1, 1)];
        let nonces: std::collections::BTreeSet<_> = all.iter().map(nonce).collect();
        assert_eq!(nonces.len(), 3);
    }

    #[test]
    fn the_door_takes_what_is_made() {
        let types = types();
        for chunk in chunks(ROWS) {
            let prepared = command(&chunk, &types, 1_000, 0);
            let submitted = open_submission(&prepared.submission).unwrap();
            submitted.signed.verify().unwrap();
            let wraps: VaultWraps = submitted.sealed.wraps().unwrap();
            let key = vault::open_command_key(&wraps, &[vault_key()]).unwrap();
            let nonce = submitted.checked.command.head.unwrap().nonce;
            for (position, (_, item)) in submitted.checked.items.iter().enumerate().step_by(37) {
                let content = vault::open(&key, &nonce, &wraps, position as u32, &submitted.sealed.ciphertexts[position]).unwrap();
                let rules = types.rules(&item.type_code).unwrap();
                check_content(item, &content, Some(&rules), &lookup()).unwrap();
            }
        }
    }

    #[test]
    fn an_unknown_type_is_refused_before_anything_is_sent() {
        let chunk = &chunks(ROWS)[0];
        let refusal = check(&chunk.members[0].row, 0, &Types::default()).err().unwrap();
        assert_eq!(refusal.reason, Reason::UnknownType);
    }
}
