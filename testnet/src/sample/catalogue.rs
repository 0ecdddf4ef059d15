//! The sample catalogue: ten licence types.

use super::{SampleError, SampleUnit};
use serde_json::{Map, Value};
use vermilion_registry::content::{CatalogueEntry, types_from_catalogue};

const JSON: &str = include_str!("../../fixtures/catalogue.json");

/// What the ten types are called in English, by the last three digits of their code.
const ENGLISH: [(&str, &str); 10] = [
    ("001", "Business licence"),
    ("002", "Food operation permit"),
    ("003", "Hygiene permit for public places"),
    ("004", "Road transport operation permit"),
    ("005", "Work safety assessment certificate"),
    ("006", "Certificate of real estate ownership"),
    ("007", "Construction permit"),
    ("008", "Marriage certificate"),
    ("009", "Driving licence"),
    ("010", "Certificate of premises use"),
];

/// The English name of a sample type, by its code.
#[must_use]
pub fn english_name(type_code: &str) -> Option<&'static str> {
    ENGLISH.iter().find(|(no, _)| type_code.ends_with(no)).map(|(_, name)| *name)
}

/// What the generator needs of a type.
#[derive(Clone, Debug)]
pub(super) struct SampleType {
    pub code: String,
    pub name: String,
    pub issuer: SampleUnit,
    pub holder_code_type: String,
    pub holders: usize,
    pub validity_years: Option<u64>,
    pub personal_identifier: bool,
    /// Name and schema of each field, and whether it is required.
    pub fields: Vec<(String, Map<String, Value>, bool)>,
}

pub(super) fn entries() -> Result<Vec<CatalogueEntry>, SampleError> {
    let mut entries = types_from_catalogue(JSON).map_err(|e| SampleError(format!("catalogue.json: {e}")))?;
    for entry in &mut entries {
        entry.licence_type.name_en = english_name(&entry.licence_type.code).unwrap_or_default().to_owned();
    }
    Ok(entries)
}

pub(super) fn load(units: &[SampleUnit]) -> Result<Vec<SampleType>, SampleError> {
    entries()?.into_iter().map(|entry| sample_type(entry, units)).collect()
}

fn sample_type(entry: CatalogueEntry, units: &[SampleUnit]) -> Result<SampleType, SampleError> {
    let broken = |what: &str| SampleError(format!("catalogue.json: {what}"));
    let of = entry.licence_type;
    let schema: Value = serde_json::from_str(&of.content_schema).map_err(|e| broken(&e.to_string()))?;
    let required: Vec<&str> = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let properties = schema["properties"].as_object().ok_or_else(|| broken("a type has no properties"))?;
    let field = |(name, spec): (&String, &Value)| {
        let spec = spec.as_object().cloned().ok_or_else(|| broken("a property is no object"))?;
        Ok((name.clone(), spec, required.contains(&name.as_str())))
    };
    let issuer = entry.issuers.first().and_then(|of| units.iter().find(|u| u.uscc == of.unit));
    Ok(SampleType {
        // A marriage certificate has two holders.
        holders: if of.code.ends_with("008") { 2 } else { 1 },
        fields: properties.iter().map(field).collect::<Result<_, SampleError>>()?,
        issuer: issuer.cloned().ok_or_else(|| broken("a type's issuer is not among the units"))?,
        holder_code_type: of.holder_code_types.first().cloned().ok_or_else(|| broken("a type has no holder code type"))?,
        validity_years: (of.validity_years > 0).then_some(u64::from(of.validity_years)),
        personal_identifier: of.identifier_class() == vermilion_proto::IdentifierClass::Personal,
        code: of.code,
        name: of.name_zh,
    })
}
