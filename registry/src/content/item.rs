//! From a checked row to the item that is signed and the plaintext that is sealed.

use super::check::CheckedRow;
use super::disclosure::{SALT_LEN, Salt, Writer};
use super::row::{BASE_FIELDS, Row, base};
use super::type_rules::TypeRules;
use crate::reason::{Reason, Refusal};
use crate::submission::ITEM_FORMAT;
use vermilion_crypto::Digest;
use vermilion_crypto::hash::{self, Context};
use vermilion_proto::{FieldClass, HolderTag, LicenceItem, Provenance};
use zeroize::Zeroizing;

/// Context of a row's key: function of the unit's secret, the file and the row.
static CTX_ROW: Context = Context::new("vermilion 2026-11 disclosure row key v1");
/// Context of salts: function of the row's key and the field.
static CTX_SALT: Context = Context::new("vermilion 2026-11 disclosure salt v1");

/// Names the inputs of a keyed tag: what a client asks a node for. It has no `Debug`: the value is
/// personal.
#[derive(Clone, PartialEq, Eq)]
pub struct TagInput {
    /// `holder`, `identifier` or `series`.
    pub kind: &'static str,
    /// The holder's code type; empty otherwise.
    pub code_type: String,
    /// The code or identifier. Personal.
    pub value: String,
}

/// The keyed tags that a row's item carries.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct RowTags {
    /// One for each holder, in the row's order.
    pub holders: Vec<[u8; 32]>,
    /// Of the identifier, when it is personal.
    pub identifier: Option<[u8; 32]>,
    /// Of the identifier less version and check, when it is personal.
    pub series: Option<[u8; 32]>,
}

/// The tags that the row's item needs: its holders' in order, then, if the type's identifiers are
/// personal, the identifier's and the series'. Ask a node for them in this order and give the
/// answers to [`RowTags::from_answers`].
pub fn tag_inputs(row: &Row, rules: &TypeRules) -> Result<Vec<TagInput>, Refusal> {
    let holder = |h: &super::Holder| TagInput { kind: "holder", code_type: h.code_type.clone(), value: h.code.clone() };
    let mut inputs: Vec<TagInput> = row.holders.iter().map(holder).collect();
    if rules.personal_identifier() {
        let identifier = crate::codes::identifier::Identifier::parse(&row.identifier)?;
        let input = |kind, value: &str| TagInput { kind, code_type: String::new(), value: value.to_owned() };
        inputs.push(input("identifier", identifier.as_str()));
        inputs.push(input("series", identifier.series()));
    }
    Ok(inputs)
}

impl RowTags {
    /// Takes the answers to [`tag_inputs`], in its order. `None` if there are too few or too many.
    #[must_use]
    pub fn from_answers(row: &Row, rules: &TypeRules, answers: &[[u8; 32]]) -> Option<Self> {
        let (holders, rest) = answers.split_at_checked(row.holders.len())?;
        let (identifier, series) = match (rules.personal_identifier(), rest) {
            (false, []) => (None, None),
            (true, [identifier, series]) => (Some(*identifier), Some(*series)),
            _ => return None,
        };
        Some(Self { holders: holders.to_vec(), identifier, series })
    }
}

/// What a row's salts are derived from (no `Debug`: it holds a secret), so that importing a file again makes the same items. The
/// file's digest binds the salts to the content: one salt never serves two values.
#[derive(Clone, Copy)]
pub struct RowSecrets<'a> {
    /// The issuing unit's own secret, never shared.
    pub unit_secret: &'a [u8; 32],
    /// SHA-256 of the whole file.
    pub file_digest: &'a Digest,
    /// The row's number in the file.
    pub row_number: u64,
}

impl RowSecrets<'_> {
    /// The salt of a field.
    #[must_use]
    pub fn salt(&self, field: &str) -> Salt {
        salt(&self.row_key(), field)
    }

    fn row_key(&self) -> Zeroizing<Digest> {
        hash::kdf(&CTX_ROW, self.unit_secret, &[self.file_digest, &self.row_number.to_be_bytes()])
    }
}

fn salt(row_key: &Digest, field: &str) -> Salt {
    // The key is of fixed size, so that key and name cannot run together.
    let derived = Zeroizing::new(hash::derive(&CTX_SALT, &[row_key, field.as_bytes()]));
    let mut salt = [0; SALT_LEN];
    salt.copy_from_slice(&derived[..SALT_LEN]);
    salt
}

/// Builds a row's item and the plaintext of its content, by what [`super::check_row`] made of it: whoever hands that on
/// confirms, for the issuing unit, the warnings that it raised.
///
/// What a row doesn't say is left empty for the caller: `ciphertext_digest`, previous version and
/// reason, files, seals, and all of the provenance but the origin.
pub fn build_item(
    row: &Row,
    checked: &CheckedRow,
    rules: &TypeRules,
    tags: &RowTags,
    secrets: &RowSecrets<'_>,
) -> Result<(LicenceItem, Zeroizing<Vec<u8>>), Refusal> {
    let of_these = rules.code() == row.type_code && checked.type_version == Some(rules.version());
    if checked.identifier.as_str() != row.identifier || !of_these {
        return Err(Refusal::new(Reason::Internal, "the row was not checked by these rules"));
    }
    let personal = rules.personal_identifier();
    if tags.holders.len() != row.holders.len() || tags.identifier.is_some() != personal || tags.series.is_some() != personal {
        return Err(Refusal::new(Reason::Internal, "the tags are not those that the row needs"));
    }
    let Disclosed { plaintext, mut fields, identifier } = disclose(row, rules, secrets)?;
    // In ascending order, so that their order says nothing.
    fields.sort_unstable();
    let tag = |tag: Option<[u8; 32]>| tag.map(Vec::from).unwrap_or_default();
    let item = LicenceItem {
        format_version: ITEM_FORMAT,
        identifier: if personal { String::new() } else { row.identifier.clone() },
        identifier_tag: tag(tags.identifier),
        identifier_digest: if personal { identifier.to_vec() } else { Vec::new() },
        series_tag: tag(tags.series),
        type_code: row.type_code.clone(),
        type_version: rules.version(),
        issuing_authority: row.authority_code.clone(),
        area: row.area.clone(),
        version: u32::from(checked.identifier.version()),
        issued_on: checked.issued_on,
        effective_from: checked.effective_from,
        expires_on: checked.expires_on.unwrap_or(0),
        no_term: checked.expires_on.is_none(),
        holders: row
            .holders
            .iter()
            .zip(&tags.holders)
            .map(|(h, tag)| HolderTag { tag: tag.to_vec(), code_type: h.code_type.clone() })
            .collect(),
        schema_version: rules.version(),
        field_digests: fields.iter().map(|(digest, _)| *digest).collect::<Vec<_>>().into_flattened(),
        field_classes: fields.iter().map(|(_, class)| *class).collect(),
        provenance: Some(Provenance { origin: row.origin.number().into(), ..Provenance::default() }),
        holder_code_unusual: checked.warnings.contains(&Reason::HolderCodeUnusual),
        ..LicenceItem::default()
    };
    Ok((item, plaintext))
}

/// A row's disclosures: the plaintext, the digest of each with its field's class, and the digest of the identifier's.
struct Disclosed {
    plaintext: Zeroizing<Vec<u8>>,
    fields: Vec<(Digest, u8)>,
    identifier: Digest,
}

/// One disclosure for each base field, then one for each member of the data.
fn disclose(row: &Row, rules: &TypeRules, secrets: &RowSecrets<'_>) -> Result<Disclosed, Refusal> {
    let (row_key, mut writer) = (secrets.row_key(), Writer::default());
    let (mut fields, mut identifier) = (Vec::with_capacity(BASE_FIELDS.len() + 16), [0; 32]);
    let class = |name: &str| rules.class(name).map(class_byte).ok_or_else(|| Refusal::new(Reason::Schema, "the type has no such field"));
    for name in BASE_FIELDS {
        let value = row.base_value(name).ok_or_else(|| Refusal::new(Reason::Internal, "a base field has no value"))?;
        let digest = writer.write(&salt(&row_key, name), name, &value)?;
        if name == base::IDENTIFIER {
            identifier = digest;
        }
        fields.push((digest, class(name)?));
    }
    for (name, value) in row.data_members() {
        fields.push((writer.write(&salt(&row_key, name), name, value)?, class(name)?));
    }
    Ok(Disclosed { plaintext: writer.finish(), fields, identifier })
}

/// The byte that stands for a class in an item: its number in `command.proto`.
pub(super) fn class_byte(class: FieldClass) -> u8 {
    match class {
        FieldClass::Unspecified => 0,
        FieldClass::Public => 1,
        FieldClass::Government => 2,
        FieldClass::Commercial => 3,
        FieldClass::Personal => 4,
        FieldClass::Sensitive => 5,
    }
}
