//! The rules of a licence type, made once from the catalogue and used for every row.

use super::row::{BASE_FIELDS, base};
use super::schema;
use crate::catalogue::MAX_VALIDITY_YEARS;
use crate::codes::{holder_code, identifier, person_id};
use crate::reason::{Reason, Refusal};
use serde_json::Value;
use std::collections::BTreeMap;
use time::Date;
use vermilion_proto::{FieldClass, FieldRule, IdentifierClass, LicenceType};

/// A type's rules for content: its schema, compiled, and a class for every field.
#[derive(Debug)]
pub struct TypeRules {
    code: String,
    name: String,
    version: u32,
    personal_identifier: bool,
    holder_code_types: Vec<String>,
    validity_years: Option<u32>,
    /// Of the base fields, in their order.
    base: [FieldClass; BASE_FIELDS.len()],
    /// Of the data's.
    data: BTreeMap<String, FieldClass>,
    person_ids: Vec<String>,
    validator: jsonschema::Validator,
}

impl TypeRules {
    /// Compiles a type. What does not hold together is [`Reason::TypeInvalid`].
    ///
    /// Every property of the schema has exactly one rule in `fields`. A base field without a rule
    /// in `base_fields` is public, except that identifier and number of a type with personal
    /// identifiers are sensitive, and that holders are personal if they may be natural persons.
    pub fn new(of: &LicenceType) -> Result<Self, Refusal> {
        if !identifier::is_type_code(&of.code) {
            return Err(invalid("the code is not a USCC and three digits"));
        }
        if of.version == 0 {
            return Err(invalid("the version is 0"));
        }
        let personal_identifier = match of.identifier_class() {
            IdentifierClass::Public => false,
            IdentifierClass::Personal => true,
            IdentifierClass::Unspecified => return Err(invalid("the identifier class is missing")),
        };
        if of.holder_code_types.is_empty() || of.holder_code_types.iter().any(|t| holder_code::find(t).is_none()) {
            return Err(invalid("holder code types are missing or not of GB/T 36903 Annex A"));
        }
        if of.validity_years > MAX_VALIDITY_YEARS {
            return Err(invalid("the term is longer than 100 years"));
        }
        let compiled = schema::compile(&of.content_schema)?;
        let mut classes = base_classes(of)?;
        // Every base field has a class.
        let base = BASE_FIELDS.map(|name| classes.get(name).copied().unwrap_or_default());
        data_classes(&of.fields, &compiled.fields, &mut classes)?;
        classes.retain(|name, _| !BASE_FIELDS.contains(&name.as_str()));
        Ok(Self {
            code: of.code.clone(),
            name: of.name_zh.clone(),
            version: of.version,
            personal_identifier,
            holder_code_types: of.holder_code_types.clone(),
            validity_years: (of.validity_years > 0).then_some(of.validity_years),
            base,
            data: classes,
            person_ids: compiled.person_ids,
            validator: compiled.validator,
        })
    }

    /// The type's code.
    #[must_use]
    pub fn code(&self) -> &str {
        &self.code
    }

    /// The type's name, as licences of it are called.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The type's version.
    #[must_use]
    pub fn version(&self) -> u32 {
        self.version
    }

    /// Whether identifiers of this type are personal: on the chain as keyed tags alone.
    #[must_use]
    pub fn personal_identifier(&self) -> bool {
        self.personal_identifier
    }

    /// The longest term, in years.
    #[must_use]
    pub fn validity_years(&self) -> Option<u32> {
        self.validity_years
    }

    /// Whether holders may have codes of this type.
    #[must_use]
    pub fn takes_holder(&self, code_type: &str) -> bool {
        self.holder_code_types.iter().any(|t| t == code_type)
    }

    /// A field's class; `None` if the type has no such field.
    #[must_use]
    pub fn class(&self, field: &str) -> Option<FieldClass> {
        match BASE_FIELDS.iter().position(|base| *base == field) {
            Some(at) => self.base.get(at).copied(),
            None => self.data.get(field).copied(),
        }
    }

    /// Checks a row's data against the schema, and that nobody whose number is in it was born after the
    /// day of issue, which no schema can say. The refusal names the rule, not the value.
    pub fn check_data(&self, data: &Value, issued: Date) -> Result<(), Refusal> {
        self.validator.validate(data).map_err(|error| {
            // The path within the schema: published words, unlike the names in the data.
            Refusal::new(Reason::Schema, format!("data does not satisfy {}", error.schema_path()))
        })?;
        let unborn = |field: &&String| {
            let number = data.get(field.as_str()).and_then(Value::as_str);
            number.is_some_and(|number| !person_id::is_born_by(number, issued))
        };
        match self.person_ids.iter().find(unborn) {
            Some(field) => Err(Refusal::new(Reason::Schema, format!("{field} is of somebody born after certificateIssuedDate"))),
            None => Ok(()),
        }
    }
}

/// The classes of the base fields, by their rules or by default. No schema is asked: apply may.
pub(crate) fn base_classes(of: &LicenceType) -> Result<BTreeMap<String, FieldClass>, Refusal> {
    let personal_identifier = of.identifier_class() == IdentifierClass::Personal;
    let natural = of.holder_code_types.iter().filter_map(|t| holder_code::find(t)).any(|t| t.natural_person);
    let default = |name: &str| match name {
        base::IDENTIFIER | base::NUMBER if personal_identifier => FieldClass::Sensitive,
        base::HOLDER if natural => FieldClass::Personal,
        _ => FieldClass::Public,
    };
    let mut classes: BTreeMap<String, FieldClass> = BASE_FIELDS.iter().map(|name| ((*name).to_owned(), default(name))).collect();
    for (n, rule) in of.base_fields.iter().enumerate() {
        if of.base_fields[..n].iter().any(|earlier| earlier.name == rule.name) {
            return Err(invalid("a base field has two rules"));
        }
        let class = class_of(rule)?;
        *classes.get_mut(&rule.name).ok_or_else(|| invalid("a rule names no base field"))? = class;
    }
    let is_personal = |name| matches!(classes.get(name), Some(FieldClass::Personal | FieldClass::Sensitive));
    if personal_identifier && !(is_personal(base::IDENTIFIER) && is_personal(base::NUMBER)) {
        return Err(invalid("identifiers are personal, but identifier or number is classed otherwise"));
    }
    Ok(classes)
}

fn data_classes(rules: &[FieldRule], fields: &[String], classes: &mut BTreeMap<String, FieldClass>) -> Result<(), Refusal> {
    for rule in rules {
        if !fields.contains(&rule.name) {
            return Err(invalid("a rule names a field that the schema does not have"));
        }
        if classes.insert(rule.name.clone(), class_of(rule)?).is_some() {
            return Err(invalid("a field has two rules, or a base field's name"));
        }
    }
    if fields.iter().any(|field| !rules.iter().any(|rule| rule.name == *field)) {
        return Err(invalid("a field of the schema has no rule"));
    }
    if fields.iter().any(|field| field.is_empty() || field.len() > 64 || field.starts_with("_sd") || field == "...") {
        return Err(invalid("a field's name is empty, too long or reserved"));
    }
    Ok(())
}

fn class_of(rule: &FieldRule) -> Result<FieldClass, Refusal> {
    match FieldClass::try_from(rule.class) {
        Ok(FieldClass::Unspecified) | Err(_) => Err(invalid("a field has no class")),
        Ok(class) => Ok(class),
    }
}

fn invalid(detail: &str) -> Refusal {
    Refusal::new(Reason::TypeInvalid, detail)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::content::fixtures;

    fn driving_licence() -> LicenceType {
        fixtures::types().into_iter().find(|t| t.code.ends_with("009")).unwrap()
    }

    #[test]
    fn defaults_of_base_fields() {
        let mut of = driving_licence();
        of.base_fields.clear();
        let rules = TypeRules::new(&of).unwrap();
        assert!(rules.personal_identifier());
        for (field, class) in [
            (base::IDENTIFIER, FieldClass::Sensitive),
            (base::NUMBER, FieldClass::Sensitive),
            (base::HOLDER, FieldClass::Personal),
            (base::NAME, FieldClass::Public),
            ("vehicleClass", FieldClass::Government),
            ("address", FieldClass::Personal),
        ] {
            assert_eq!(rules.class(field), Some(class), "{field}");
        }
        assert_eq!(rules.class("nothing"), None);
        assert_eq!(rules.data.len(), 3);
        for (name, class) in base_classes(&of).unwrap() {
            assert_eq!(rules.class(&name), Some(class), "{name}");
        }
    }

    #[test]
    fn what_does_not_hold_together() {
        let changes: [fn(&mut LicenceType); 12] = [
            |t| t.code.truncate(20),
            |t| t.version = 0,
            |t| t.identifier_class = 0,
            |t| t.holder_code_types.clear(),
            |t| t.holder_code_types.push("777".into()),
            |t| t.validity_years = 101,
            |t| t.fields.truncate(2),
            |t| t.fields.push(FieldRule { name: "more".into(), class: 1, ..Default::default() }),
            |t| t.fields[0].class = 9,
            |t| t.base_fields.push(FieldRule { name: "more".into(), class: 1, ..Default::default() }),
            |t| t.base_fields.push(t.base_fields[0].clone()),
            |t| t.base_fields.iter_mut().for_each(|f| f.class = 1),
        ];
        for (n, change) in changes.into_iter().enumerate() {
            let mut of = driving_licence();
            change(&mut of);
            assert_eq!(TypeRules::new(&of).unwrap_err().reason, Reason::TypeInvalid, "change {n}");
        }
    }
}
