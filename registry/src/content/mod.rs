//! What a licence says: rows as units hand them in, the rules of their types, salted disclosures,
//! and the check at the door that content and item agree.
//!
//! The chain carries digests, the vault ciphertext; what is in between lives here. A unit's client
//! goes from a [`Row`] through [`check_row`] and [`build_item`] to an item and its plaintext; the
//! node at the door goes back with [`check_content`]. Both run the same rules.
//!
//! This module knows no state: whether an identifier exists already, whether the type is
//! published and who may issue it is decided in apply. JSON Schema is evaluated here and never in
//! apply, so that no later version of a library can give an old record another answer. Refusals
//! name a field or a rule, never a value.

mod catalogue;
pub mod challenge;
mod check;
mod disclosure;
mod door;
mod item;
mod json;
mod row;
mod schema;
mod texts;
mod type_rules;
mod words;

pub use catalogue::{CatalogueEntry, types_from_catalogue};
pub use check::{CheckedRow, check_row};
pub use disclosure::{Disclosure, SALT_LEN, Salt, disclosures};
pub use door::{Content, MAX_PLAINTEXT, check_content};
pub use item::{RowSecrets, RowTags, TagInput, build_item, tag_inputs};
pub use row::{BASE_FIELDS, Holder, MAX_ROW, Row, RowOrigin, base, parse_row};
pub use texts::{Texts, build_texts, check_texts};
pub use type_rules::TypeRules;
pub(crate) use type_rules::base_classes;
pub use words::Word;

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod fixtures;
