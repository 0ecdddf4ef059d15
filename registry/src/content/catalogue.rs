//! Reads a catalogue file: the licence types of regulation 002 article 9, with the units that may
//! issue each, under the element names of GB/T 36902-2018.

use super::words::Word;
use crate::catalogue::{MAX_CODE, MAX_LIST, MAX_TEXT};
use crate::reason::{Reason, Refusal};
use crate::text::is_unclear;
use serde::Deserialize;
use serde_json::{Map, Value};
use vermilion_proto::{FieldClass, FieldRule, IdentifierClass, Implementation, LicenceType, PublicStatus, Sharing, SharingDecision};

/// A type of a catalogue file.
#[derive(Clone, Debug, PartialEq)]
pub struct CatalogueEntry {
    /// The type, in version 1.
    pub licence_type: LicenceType,
    /// The units that may issue it, with what the file says of each: what it leaves out is empty.
    pub issuers: Vec<Implementation>,
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
    issuers: Vec<IssuerEntry>,
    holder_code_types: Vec<String>,
    #[serde(default)]
    holder_categories: Vec<String>,
    #[serde(default)]
    application_scope: String,
    #[serde(default)]
    face_template: String,
    #[serde(default)]
    service_items: Vec<String>,
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

/// An issuer: its USCC alone, or with its implementation of the directory (目录实施).
#[derive(Deserialize)]
#[serde(untagged)]
enum IssuerEntry {
    Unit(String),
    Implementation(ImplementationEntry),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ImplementationEntry {
    unit: String,
    #[serde(default)]
    area: String,
    #[serde(default)]
    own_code: String,
    #[serde(default)]
    seal_id: String,
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
        sharing: of_word::<Sharing>("sharing", &entry.sharing)?.into(),
        legal_basis: entry.sharing_basis.unwrap_or_default(),
        scope: entry.sharing_scope,
        modes: entry.sharing_modes,
    };
    // A slip of the pen would be a type without term.
    if entry.validity_years == Some(0) {
        return Err(invalid("validityYears is 0: a type without term has null"));
    }
    text("applicationScope", &entry.application_scope, MAX_TEXT)?;
    text("faceTemplate", &entry.face_template, MAX_TEXT)?;
    list("serviceItems", &entry.service_items)?;
    list("holderCategories", &entry.holder_categories)?;
    let licence_type = LicenceType {
        code: entry.certificate_type_code,
        version: entry.version,
        name_zh: entry.certificate_type_name,
        name_en: entry.certificate_type_name_english,
        kind: entry.kind,
        defining_authority: entry.certificate_define_authority_code,
        defining_level: entry.certificate_define_authority_level,
        holder_code_types: entry.holder_code_types,
        holder_categories: entry.holder_categories,
        application_scope: entry.application_scope,
        face_template: entry.face_template,
        service_items: entry.service_items,
        identifier_class: of_word::<IdentifierClass>("identifierClass", &entry.identifier_class)?.into(),
        content_schema: entry.data_schema.to_string(),
        fields,
        base_fields,
        validity_years: entry.validity_years.unwrap_or(0),
        retention_years: entry.retention_years,
        public_status: of_word::<PublicStatus>("publicStatus", &entry.public_status)?.into(),
        sharing: Some(sharing),
    };
    let issuers = entry.issuers.into_iter().map(issuer).collect::<Result<_, _>>()?;
    Ok(CatalogueEntry { licence_type, issuers })
}

fn issuer(entry: IssuerEntry) -> Result<Implementation, Refusal> {
    let of = match entry {
        IssuerEntry::Unit(unit) => return Ok(Implementation { unit, ..Implementation::default() }),
        IssuerEntry::Implementation(of) => of,
    };
    for (name, said) in [("area", &of.area), ("ownCode", &of.own_code), ("sealId", &of.seal_id)] {
        text(&format!("an issuer's {name}"), said, MAX_CODE)?;
    }
    Ok(Implementation { unit: of.unit, area: of.area, own_code: of.own_code, seal_id: of.seal_id })
}

/// The bounds are the ledger's own ([`crate::catalogue`]); that nothing in it hides is asked here.
fn text(name: &str, text: &str, max: usize) -> Result<(), Refusal> {
    let good = text.len() <= max && !is_unclear(text);
    if good { Ok(()) } else { Err(invalid(format!("{name} is longer than {max} bytes, or holds a control or hidden character"))) }
}

fn list(name: &str, list: &[String]) -> Result<(), Refusal> {
    let twice = list.iter().enumerate().any(|(n, entry)| list[..n].contains(entry));
    if list.len() > MAX_LIST || twice || list.iter().any(String::is_empty) {
        return Err(invalid(format!("{name} has more than {MAX_LIST} entries, one twice or an empty one")));
    }
    list.iter().try_for_each(|entry| text(name, entry, MAX_CODE))
}

fn rules(
    classes: &Map<String, Value>,
    masks: &Map<String, Value>,
    disclosed: impl Fn(&str, FieldClass) -> bool,
) -> Result<Vec<FieldRule>, Refusal> {
    let rule = |(name, class): (&String, &Value)| {
        let class = of_word::<FieldClass>("a field's class", class.as_str().unwrap_or_default())?;
        let mask = masks.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        Ok(FieldRule { name: name.clone(), class: class.into(), disclosed_by_default: disclosed(name, class), mask })
    };
    classes.iter().map(rule).collect()
}

/// What a word of the file stands for; the refusal names those that there are.
fn of_word<T: Word>(what: &str, word: &str) -> Result<T, Refusal> {
    let known = || T::WORDS.iter().map(|(known, _)| *known).collect::<Vec<_>>().join(", ");
    T::of_word(word).ok_or_else(|| invalid(format!("{what} is none of {}", known())))
}

fn invalid(detail: impl Into<String>) -> Refusal {
    Refusal::new(Reason::TypeInvalid, detail)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests {
    use super::*;
    use crate::content::{TypeRules, fixtures};
    use serde_json::json;

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
        let licence = &entries[0].licence_type;
        assert!(licence.application_scope.contains("市场主体") && licence.service_items == ["440300-qydj-01"]);
        let id = estate.fields.iter().find(|f| f.name == "ownerId").unwrap();
        assert_eq!((id.class(), id.disclosed_by_default), (FieldClass::Sensitive, false));
    }

    /// The first type of the fixtures with other members.
    fn first_with(members: Value) -> Result<CatalogueEntry, Refusal> {
        let mut types: Vec<Map<String, Value>> = serde_json::from_str(fixtures::CATALOGUE).unwrap();
        types.truncate(1);
        types[0].extend(members.as_object().unwrap().clone());
        types_from_catalogue(&serde_json::to_string(&types).unwrap()).map(|entries| entries[0].clone())
    }

    #[test]
    fn an_entry_may_say_what_002_3_asks_of_a_directory() {
        let entry = first_with(json!({
            "applicationScope": "全国", "faceTemplate": "GB/T 36905-01", "serviceItems": ["a", "b"], "holderCategories": ["法人"],
            "issuers": ["11440300MB0X010112", { "unit": "11440305MB0X01046W", "area": "440305", "ownCode": "K1", "sealId": "S1" }],
        }))
        .unwrap();
        let of = &entry.licence_type;
        assert_eq!((of.application_scope.as_str(), of.face_template.as_str()), ("全国", "GB/T 36905-01"));
        assert_eq!((of.service_items.len(), of.holder_categories.as_slice()), (2, &["法人".to_owned()][..]));
        let [bare, whole] = &entry.issuers[..] else { panic!("{:?}", entry.issuers) };
        assert_eq!(*bare, Implementation { unit: "11440300MB0X010112".into(), ..Implementation::default() });
        assert_eq!([&whole.unit, &whole.area, &whole.own_code, &whole.seal_id], ["11440305MB0X01046W", "440305", "K1", "S1"]);
        let none = json!({ "applicationScope": "", "faceTemplate": "", "serviceItems": [], "holderCategories": [] });
        assert!(first_with(none).is_ok(), "none is required");
    }

    #[test]
    fn what_an_entry_says_is_bounded_and_hides_nothing() {
        for (what, members) in [
            ("long", json!({ "applicationScope": "x".repeat(4097) })),
            ("hidden", json!({ "faceTemplate": "a\u{202e}b" })),
            ("twice", json!({ "serviceItems": ["a", "a"] })),
            ("empty", json!({ "serviceItems": [""] })),
            ("many", json!({ "holderCategories": (0..257).map(|n| n.to_string()).collect::<Vec<_>>() })),
            ("no list", json!({ "holderCategories": "法人" })),
            ("no term by a slip", json!({ "validityYears": 0 })),
            ("unit alone", json!({ "issuers": [{ "area": "440305" }] })),
            ("another member", json!({ "issuers": [{ "unit": "11440305MB0X01046W", "seal": "S1" }] })),
            ("a long seal", json!({ "issuers": [{ "unit": "11440305MB0X01046W", "sealId": "x".repeat(201) }] })),
        ] {
            assert_eq!(first_with(members).err().map(|refusal| refusal.reason), Some(Reason::TypeInvalid), "{what}");
        }
        assert!(first_with(json!({ "applicationScope": "x".repeat(4096) })).is_ok());
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
