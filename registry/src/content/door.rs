//! The check at the door: what a node does with content that its vault key opens, before it lets
//! the command towards the leader.
//!
//! After it, item and content say the same: every digest is of a disclosure and every disclosure
//! has its digest; every clear field and every tag of the item is what the content says; and the
//! content is one that [`super::check_row`] takes.

use super::check::{self, CheckedRow};
use super::disclosure::{self, Field};
use super::item::class_byte;
use super::row::{BASE_FIELDS, Base, Row, base};
use super::type_rules::TypeRules;
use crate::catalogue;
use crate::codes::identifier::Identifier;
use crate::reason::{Reason, Refusal};
use crate::submission::ITEM_FORMAT;
use serde_json::{Map, Value};
use vermilion_crypto::{Digest, LookupKey};
use vermilion_proto::LicenceItem;

/// The longest plaintext, in bytes: the longest row, with salts and names.
pub const MAX_PLAINTEXT: usize = 100 * 1024;
/// The most disclosures: the base fields and 64 of the type's.
const MAX_FIELDS: usize = BASE_FIELDS.len() + catalogue::MAX_FIELDS;

/// Content that was checked against its item.
pub struct Content {
    /// The row that the content was made from.
    pub row: Row,
    /// With what warnings the content is taken.
    pub warnings: Vec<Reason>,
}

/// The warnings alone: content does not reach logs.
impl std::fmt::Debug for Content {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Content").field("warnings", &self.warnings).finish_non_exhaustive()
    }
}

/// Checks content against its item, by the type's rules and the ledger's lookup key.
///
/// Without rules (the type is not known here) classes, the schema and the holders' types are left
/// unchecked and the registry answers [`Reason::UnknownType`]; the caller may rather refuse such
/// an item at the door, since nobody here can tell whether its identifier is personal.
///
/// Not checked, being no part of the content: previous version, files, seals, provenance (but the
/// origin, and that no number there is a holder's), and the digest of the ciphertext, which whoever opened it has checked.
pub fn check_content(item: &LicenceItem, plaintext: &[u8], rules: Option<&TypeRules>, lookup: &LookupKey) -> Result<Content, Refusal> {
    if plaintext.len() > MAX_PLAINTEXT {
        return Err(Refusal::new(Reason::TooLarge, "the content is longer than 100 KiB"));
    }
    check_shape(item)?;
    if let Some(rules) = rules {
        check_type(item, rules)?;
    }
    let fields = disclosure::fields(plaintext, MAX_FIELDS)?;
    check_digests(item, &fields, rules)?;
    let identifier = fields.iter().find(|field| field.name == base::IDENTIFIER).map(|field| field.digest);
    let row = rebuild(fields)?;
    let checked = check::check_row(&row, rules)?;
    check_clear_fields(item, &row, &checked)?;
    check_identifier(item, &checked.identifier, identifier, rules, lookup)?;
    check_other_numbers(item, &row)?;
    check_holders(item, &row, lookup)?;
    Ok(Content { row, warnings: checked.warnings })
}

fn check_shape(item: &LicenceItem) -> Result<(), Refusal> {
    if item.format_version != ITEM_FORMAT {
        return Err(Reason::FormatVersion.into());
    }
    let (digests, rest) = item.field_digests.as_chunks::<32>();
    if !rest.is_empty() || digests.len() != item.field_classes.len() || !digests.is_sorted_by(|a, b| a < b) {
        return Err(Reason::FieldDigests.into());
    }
    Ok(())
}

fn check_type(item: &LicenceItem, rules: &TypeRules) -> Result<(), Refusal> {
    if item.type_code != rules.code() {
        return Err(Refusal::new(Reason::UnknownType, "these are another type's rules"));
    }
    if item.type_version != rules.version() || item.schema_version != rules.version() {
        return Err(Reason::TypeVersion.into());
    }
    Ok(())
}

/// The digests of item and content are the same set, and each has its field's class.
fn check_digests(item: &LicenceItem, fields: &[Field<'_>], rules: Option<&TypeRules>) -> Result<(), Refusal> {
    let (digests, _) = item.field_digests.as_chunks::<32>();
    if digests.len() != fields.len() {
        return Err(Refusal::new(Reason::ContentDigest, "the item has another number of fields than the content"));
    }
    // Equal numbers, the item's digests all different, no two of the content's alike, and each of
    // the content's among the item's: the sets are equal.
    let mut seen = [false; MAX_FIELDS];
    for field in fields {
        let at =
            digests.binary_search(&field.digest).map_err(|_| Refusal::new(Reason::ContentDigest, "a field has no digest in the item"))?;
        if std::mem::replace(&mut seen[at], true) {
            return Err(Refusal::new(Reason::ContentDigest, "a field stands twice in the content"));
        }
        let Some(rules) = rules else { continue };
        let class = rules.class(&field.name).ok_or_else(|| Refusal::new(Reason::Schema, "the type has no such field"))?;
        if item.field_classes[at] != class_byte(class) {
            return Err(Refusal::new(Reason::FieldDigests, "a field's class is not the type's"));
        }
    }
    Ok(())
}

/// The row that the fields were made from. A name that stands twice is refused.
fn rebuild(fields: Vec<Field<'_>>) -> Result<Row, Refusal> {
    let (mut base, mut data) = (Base::default(), Map::with_capacity(fields.len()));
    for Field { name, value, .. } in fields {
        let before = match base.slot(&name) {
            Some(slot) => slot.replace(value),
            None => data.insert(name.into_owned(), value),
        };
        if before.is_some() {
            return Err(Refusal::new(Reason::ContentDigest, "a field stands twice in the content"));
        }
    }
    Row::new(base, Value::Object(data))
}

fn check_clear_fields(item: &LicenceItem, row: &Row, checked: &CheckedRow) -> Result<(), Refusal> {
    let origin = item.provenance.as_ref().map_or(0, |p| p.origin);
    let agree = [
        ("type_code", item.type_code == row.type_code),
        ("issuing_authority", item.issuing_authority == row.authority_code),
        ("area", item.area == row.area),
        ("version", item.version == u32::from(checked.identifier.version())),
        ("issued_on", item.issued_on == checked.issued_on),
        ("effective_from", item.effective_from == checked.effective_from),
        ("expires_on", item.expires_on == checked.expires_on.unwrap_or(0)),
        ("no_term", item.no_term == checked.expires_on.is_none()),
        ("provenance.origin", origin == i32::from(row.origin.number())),
    ];
    if let Some((field, _)) = agree.iter().find(|(_, agrees)| !agrees) {
        return Err(Refusal::new(Reason::ContentDigest, format!("{field} is not what the content says")));
    }
    match (checked.warnings.contains(&Reason::HolderCodeUnusual), item.holder_code_unusual) {
        (true, false) => Err(Refusal::new(Reason::HolderCodeUnusual, "the issuing unit has not confirmed the holder's code")),
        (false, true) => Err(Refusal::new(Reason::ContentDigest, "holder_code_unusual is not what the content says")),
        _ => Ok(()),
    }
}

/// In the clear when the type says so, else as tags and the digest of the disclosure.
fn check_identifier(
    item: &LicenceItem,
    identifier: &Identifier,
    disclosed: Option<Digest>,
    rules: Option<&TypeRules>,
    lookup: &LookupKey,
) -> Result<(), Refusal> {
    let personal = rules.map_or(item.identifier.is_empty(), TypeRules::personal_identifier);
    if !personal {
        let tagged = !item.identifier_tag.is_empty() || !item.identifier_digest.is_empty() || !item.series_tag.is_empty();
        if item.identifier != identifier.as_str() || tagged {
            return Err(Refusal::new(Reason::ContentDigest, "identifier is not what the content says"));
        }
        return Ok(());
    }
    if !item.identifier.is_empty() {
        return Err(Reason::PersonalIdentifier.into());
    }
    crate::item::check_other_numbers(item)?;
    if disclosed.is_none_or(|digest| item.identifier_digest != digest) {
        return Err(Refusal::new(Reason::ContentDigest, "identifier_digest is not of the content's identifier"));
    }
    if item.identifier_tag != lookup.tag("identifier", "", identifier.as_str())
        || item.series_tag != lookup.tag("series", "", identifier.series())
    {
        return Err(Refusal::new(Reason::ContentDigest, "a tag is not of the content's identifier"));
    }
    Ok(())
}

/// The numbers that the paper or an older system gave the licence stand in the clear, too.
fn check_other_numbers(item: &LicenceItem, row: &Row) -> Result<(), Refusal> {
    let Some(provenance) = &item.provenance else { return Ok(()) };
    check::check_names_nobody("provenance.physical_serial", &provenance.physical_serial, &row.holders)?;
    check::check_names_nobody("provenance.legacy_code", &provenance.legacy_code, &row.holders)
}

fn check_holders(item: &LicenceItem, row: &Row, lookup: &LookupKey) -> Result<(), Refusal> {
    let same = item.holders.len() == row.holders.len()
        && item
            .holders
            .iter()
            .zip(&row.holders)
            .all(|(tag, holder)| tag.code_type == holder.code_type && tag.tag == lookup.tag("holder", &holder.code_type, &holder.code));
    if same { Ok(()) } else { Err(Refusal::new(Reason::ContentDigest, "the holders' tags are not of the content's holders")) }
}
