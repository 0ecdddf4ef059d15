//! Reads a catalogue file: the licence types of regulation 002 article 9, with the units that may
//! issue each, under the element names of GB/T 36902-2018.

use crate::reason::{Reason, Refusal};
use serde::Deserialize;
use serde_json::{Map, Value};
use vermilion_proto::{FieldClass, FieldRule, IdentifierClass, LicenceType, PublicStatus, Sharing, SharingDecision};

/// A type of a catalogue file.
#[derive(Clone, Debug, PartialEq)]
pub struct CatalogueEntry {
    /// The type, in version 1.
    pub licence_type: LicenceType,
    /// USCCs of the units that may issue it.
    pub issuers: Vec<String>,
}

/// An entry as it stands in the file.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Entry {
    certificate_type_code: String,
    certificate_type_name: String,
    #[serde(default)]
    certificate_type_name_english: String,
    #[serde(default = "one")]
    version: u32,
    kind: String,
    certificate_define_authority_code: String,
    #[serde(default)]
    certificate_define_authority_level: String,
    issuers: Vec<String>,
    holder_code_types: Vec<String>,
    validity_years: Option<u32>,
    sharing: String,
    sharing_basis: Option<String>,
    #[serde(default)]
    sharing_scope: Vec<String>,
    #[serde(default)]
    sharing_modes: Vec<String>,
    identifier_class: String,
    public_status: String,
    retention_years: u32,
    data_schema: Value,
    field_class: Map<String, Value>,
    base_field_class: Map<String, Value>,
    disclosed_by_default: Vec<String>,
    #[serde(default)]
    mask: Map<String, Value>,
}

fn one() -> u32 {
    1
}

/// Reads a catalogue file, a JSON list of types. What cannot be read is [`Reason::TypeInvalid`];
/// whether a type holds together is [`super::TypeRules::new`]'s to say.
///
/// Base fields are disclosed by default unless they are personal or sensitive.
pub fn types_from_catalogue(json: &str) -> Result<Vec<CatalogueEntry>, Refusal> {
    let entries: Vec<Entry> = serde_json::from_str(json).map_err(|e| invalid(format!("the catalogue does not read: {e}")))?;
    entries.into_iter().map(convert).collect()
}

fn convert(entry: Entry) -> Result<CatalogueEntry, Refusal> {
    let fields = rules(&entry.field_class, &entry.mask, |name, _| entry.disclosed_by_default.iter().any(|d| d == name))?;
    let open = |_: &str, class| !matches!(class, FieldClass::Personal | FieldClass::Sensitive);
    let base_fields = rules(&entry.base_field_class, &entry.mask, open)?;
    if entry.disclosed_by_default.iter().any(|name| !entry.field_class.contains_key(name)) {
        return Err(invalid("disclosedByDefault names a field without a class"));
    }
    let sharing = SharingDecision {
        sharing: sharing(&entry.sharing)?.into(),
        legal_basis: entry.sharing_basis.unwrap_or_default(),
        scope: entry.sharing_scope,
        modes: entry.sharing_modes,
    };
    let licence_type = LicenceType {
        code: entry.certificate_type_code,
        version: entry.version,
        name_zh: entry.certificate_type_name,
        name_en: entry.certificate_type_name_english,
        kind: entry.kind,
        defining_authority: entry.certificate_define_authority_code,
        defining_level: entry.certificate_define_authority_level,
        holder_code_types: entry.holder_code_types,
        identifier_class: identifier_class(&entry.identifier_class)?.into(),
        content_schema: entry.data_schema.to_string(),
        fields,
        base_fields,
        validity_years: entry.validity_years.unwrap_or(0),
        retention_years: entry.retention_years,
        public_status: public_status(&entry.public_status)?.into(),
        sharing: Some(sharing),
        ..LicenceType::default()
    };
    Ok(CatalogueEntry { licence_type, issuers: entry.issuers })
}

fn rules(
    classes: &Map<String, Value>,
    masks: &Map<String, Value>,
    disclosed: impl Fn(&str, FieldClass) -> bool,
) -> Result<Vec<FieldRule>, Refusal> {
    let rule = |(name, class): (&String, &Value)| {
        let class = field_class(class.as_str().unwrap_or_default())?;
        let mask = masks.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        Ok(FieldRule { name: name.clone(), class: class.into(), disclosed_by_default: disclosed(name, class), mask })
    };
    classes.iter().map(rule).collect()
}

fn field_class(word: &str) -> Result<FieldClass, Refusal> {
    Ok(match word {
        "public" => FieldClass::Public,
        "government" => FieldClass::Government,
        "commercial" => FieldClass::Commercial,
        "personal" => FieldClass::Personal,
        "sensitive" => FieldClass::Sensitive,
        _ => return Err(invalid("a field's class is not known")),
    })
}

fn identifier_class(word: &str) -> Result<IdentifierClass, Refusal> {
    Ok(match word {
        "public" => IdentifierClass::Public,
        "personal" => IdentifierClass::Personal,
        _ => return Err(invalid("identifierClass is not public or personal")),
    })
}

fn public_status(word: &str) -> Result<PublicStatus, Refusal> {
    Ok(match word {
        "closed" => PublicStatus::Closed,
        "challenge" => PublicStatus::Challenge,
        "open" => PublicStatus::Open,
        _ => return Err(invalid("publicStatus is not closed, challenge or open")),
    })
}

fn sharing(word: &str) -> Result<Sharing, Refusal> {
    Ok(match word {
        "unconditional" => Sharing::Unconditional,
        "conditional" => Sharing::Conditional,
        "none" => Sharing::None,
        _ => return Err(invalid("sharing is not unconditional, conditional or none")),
    })
}

fn invalid(detail: impl Into<String>) -> Refusal {
    Refusal::new(Reason::TypeInvalid, detail)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::content::{TypeRules, fixtures};

    #[test]
    fn the_ten_types_hold_together() {
        let entries = types_from_catalogue(fixtures::CATALOGUE).unwrap();
        assert_eq!(entries.len(), 10);
        for entry in &entries {
            TypeRules::new(&entry.licence_type).unwrap();
            assert_eq!(entry.issuers.len(), 1);
        }
        let estate = &entries[5].licence_type;
        assert_eq!(estate.name_zh, "不动产权证书");
        assert_eq!(estate.sharing.as_ref().unwrap().sharing(), Sharing::Conditional);
        assert!(!estate.sharing.as_ref().unwrap().legal_basis.is_empty());
        let id = estate.fields.iter().find(|f| f.name == "ownerId").unwrap();
        assert_eq!((id.class(), id.disclosed_by_default), (FieldClass::Sensitive, false));
    }

    #[test]
    fn unknown_words_and_members_are_refused() {
        for (from, to) in [
            ("\"unconditional\"", "\"sometimes\""),
            ("\"personal\"", "\"private\""),
            ("\"closed\"", "\"shut\""),
            ("\"retentionYears\"", "\"retentionDays\""),
        ] {
            assert!(fixtures::CATALOGUE.contains(from));
            let reason = types_from_catalogue(&fixtures::CATALOGUE.replace(from, to)).unwrap_err().reason;
            assert_eq!(reason, Reason::TypeInvalid, "{to}");
        }
        assert!(types_from_catalogue("[{}]").is_err());
    }
}
