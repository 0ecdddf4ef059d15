//! The JSON Schema of a type's content: which schemas are taken, and how they are compiled.
//!
//! A schema comes from a signed command, and yet it is code that others run: so nothing is
//! fetched, nothing recurses, patterns run in linear time, and sizes are bounded.
//!
//! Besides the draft's formats it may name those of [`FORMATS`], for codes whose check digits a pattern
//! cannot hold. Whoever does not know them takes them for a remark, as the draft says of any format.

use crate::catalogue::{MAX_FIELDS, MAX_SCHEMA};
use crate::codes::{citizen_id, food_permit, person_id, uscc};
use crate::reason::{Reason, Refusal};
use jsonschema::{Draft, PatternOptions, Validator};
use serde_json::{Map, Value};

/// How deep a schema may nest.
const MAX_DEPTH: usize = 20;
/// The largest compiled pattern, in bytes.
const MAX_PATTERN: usize = 256 * 1024;
/// The only dialect.
const DIALECT: &str = "https://json-schema.org/draft/2020-12/schema";
/// Keywords that name or find other schemas, beyond a plain reference into `$defs`.
const REFUSED: [&str; 7] = ["$id", "$anchor", "$dynamicRef", "$dynamicAnchor", "$recursiveRef", "$recursiveAnchor", "$vocabulary"];

/// The formats of persons' numbers: of citizens alone, and of whoever lives here for good.
const CITIZEN_ID: &str = "citizen-id";
const PERSON_ID: &str = "person-id";

/// A format's name, and what passes it.
type Format = (&'static str, fn(&str) -> bool);

/// Formats beyond those of the draft. A name means the same for ever: types say it to whoever reads them.
const FORMATS: [Format; 4] =
    [(CITIZEN_ID, citizen_id::is_valid), (PERSON_ID, person_id::is_valid), ("food-permit", food_permit::is_valid), ("uscc", is_uscc)];

/// A lawful code that fails the published check passes: beside a field there is no place to confirm it.
fn is_uscc(code: &str) -> bool {
    uscc::check(code) != uscc::UsccAnswer::Invalid
}

/// A compiled schema and the names of the fields that it allows.
pub struct Compiled {
    pub validator: Validator,
    pub fields: Vec<String>,
    /// Those of the fields that say of themselves that they are persons' numbers.
    pub person_ids: Vec<String>,
}

/// Compiles a schema of draft 2020-12, formats checked. Its root is an object with named
/// properties and no others; references point to `$defs`, and nothing in `$defs` refers on.
pub fn compile(text: &str) -> Result<Compiled, Refusal> {
    if text.len() > MAX_SCHEMA {
        return Err(invalid("the schema is longer than 64 KiB"));
    }
    let schema: Value = serde_json::from_str(text).map_err(|e| invalid(format!("the schema is not JSON: {e}")))?;
    let root = schema.as_object().ok_or_else(|| invalid("the schema is not an object"))?;
    check_root(root)?;
    let properties = properties(root)?;
    let fields = properties.keys().cloned().collect();
    let is_person_id = |(_, of): &(&String, &Value)| of.get("format").is_some_and(|format| format == CITIZEN_ID || format == PERSON_ID);
    let person_ids = properties.iter().filter(is_person_id).map(|(name, _)| name.clone()).collect();
    for (keyword, value) in root {
        check_keyword(keyword, value, keyword == "$defs", MAX_DEPTH)?;
    }
    let validator = FORMATS
        .into_iter()
        .fold(jsonschema::options(), |options, (name, passes)| options.with_format(name, passes))
        .with_draft(Draft::Draft202012)
        .offline()
        .should_validate_formats(true)
        .should_ignore_unknown_formats(false)
        .with_pattern_options(PatternOptions::regex().size_limit(MAX_PATTERN).dfa_size_limit(MAX_PATTERN))
        .build(&schema)
        .map_err(|e| invalid(format!("the schema does not compile: {e}")))?;
    Ok(Compiled { validator, fields, person_ids })
}

fn check_root(root: &Map<String, Value>) -> Result<(), Refusal> {
    if root.get("$schema").is_some_and(|dialect| dialect != DIALECT) {
        return Err(invalid("the schema is not of JSON Schema draft 2020-12"));
    }
    if root.get("type").is_none_or(|t| t != "object") || root.get("additionalProperties") != Some(&Value::Bool(false)) {
        return Err(invalid("the schema's root is not an object without additional properties"));
    }
    if root.contains_key("$ref") || root.contains_key("patternProperties") {
        return Err(invalid("the schema's root names fields otherwise than by properties"));
    }
    Ok(())
}

fn properties(root: &Map<String, Value>) -> Result<&Map<String, Value>, Refusal> {
    let properties = root.get("properties").and_then(Value::as_object).ok_or_else(|| invalid("the schema has no properties"))?;
    if properties.len() > MAX_FIELDS {
        return Err(invalid("the schema has more than 64 fields"));
    }
    Ok(properties)
}

/// Walks everything, also what is no schema (an enum's values): a refused keyword is refused
/// wherever it stands.
fn check_keyword(keyword: &str, value: &Value, in_defs: bool, depth: usize) -> Result<(), Refusal> {
    if REFUSED.contains(&keyword) {
        return Err(invalid(format!("the schema uses {keyword}")));
    }
    if keyword == "$schema" && depth != MAX_DEPTH {
        return Err(invalid("the schema uses $schema below its root"));
    }
    if keyword == "$ref" && (in_defs || !value.as_str().is_some_and(|to| to.starts_with("#/$defs/"))) {
        return Err(invalid("a reference does not point to $defs, or stands in $defs"));
    }
    check_value(value, in_defs, depth)
}

fn check_value(value: &Value, in_defs: bool, depth: usize) -> Result<(), Refusal> {
    let below = depth.checked_sub(1).ok_or_else(|| invalid("the schema is nested too deep"))?;
    match value {
        Value::Array(list) => list.iter().try_for_each(|v| check_value(v, in_defs, below)),
        Value::Object(map) => map.iter().try_for_each(|(k, v)| check_keyword(k, v, in_defs, below)),
        _ => Ok(()),
    }
}

fn invalid(detail: impl Into<String>) -> Refusal {
    Refusal::new(Reason::TypeInvalid, detail)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use serde_json::json;

    fn of(mut schema: Value) -> Result<Compiled, Refusal> {
        for (name, value) in [("type", json!("object")), ("additionalProperties", json!(false))] {
            schema.as_object_mut().unwrap().entry(name).or_insert(value);
        }
        compile(&schema.to_string())
    }

    #[test]
    fn what_is_taken() {
        assert_eq!(of(json!({"properties": {"a": {"type": "string", "format": "date"}}})).unwrap().fields, ["a"]);
        let compiled =
            of(json!({"$schema": DIALECT, "$defs": {"d": {"type": "integer"}}, "properties": {"a": {"$ref": "#/$defs/d"}}})).unwrap();
        assert!(compiled.validator.is_valid(&json!({"a": 1})));
        assert!(!compiled.validator.is_valid(&json!({"a": "1"})));
        let compiled = of(json!({"properties": {"a": {"format": "date"}}})).unwrap();
        assert!(!compiled.validator.is_valid(&json!({"a": "2025-02-30"})));
    }

    #[test]
    fn codes_with_check_digits_have_formats() {
        let compiled = of(json!({"properties": {
            "permit": {"format": "food-permit"},
            "citizen": {"type": "string", "format": "citizen-id"},
            "person": {"type": "string", "format": "person-id"},
            "unit": {"format": "uscc"},
            "date": {"format": "date"},
        }}))
        .unwrap();
        assert_eq!(compiled.person_ids, ["citizen", "person"]);
        for (field, code, passes) in [
            ("permit", "JY14403030012013", true),
            ("permit", "JY14403050041826", false),
            ("citizen", "11010519491231002X", true),
            ("citizen", "944840188506150010", false),
            ("citizen", "340524198001010013", false),
            ("person", "11010519491231002X", true),
            ("person", "944840188506150010", true),
            ("person", "944840188506150011", false),
            ("person", "340524198001010013", false),
            ("unit", "91350100M000100Y43", true),
            ("unit", "91350100M0001TGQXM", true),
            ("unit", "91110000600037342L", false),
        ] {
            assert_eq!(compiled.validator.is_valid(&json!({ field: code })), passes, "{field} {code}");
        }
    }

    #[test]
    fn what_is_refused() {
        let mut deep = json!({});
        for _ in 0..30 {
            deep = json!({ "not": deep });
        }
        for schema in [
            json!({}),
            json!({"properties": {}, "type": "array"}),
            json!({"properties": {}, "additionalProperties": true}),
            json!({"properties": {}, "patternProperties": {"^x": {}}}),
            json!({"properties": {}, "$schema": "http://json-schema.org/draft-07/schema#"}),
            json!({"properties": {"a": {"$schema": DIALECT}}}),
            json!({"properties": {"a": {"$ref": "https://example.com/s.json"}}}),
            json!({"properties": {"a": {"$ref": "file:///etc/passwd"}}}),
            json!({"properties": {"a": {"$ref": "#"}}}),
            json!({"properties": {"a": {"$ref": "#/$defs/none"}}}),
            json!({"properties": {"a": {"$ref": "#/$defs/b"}}, "$defs": {"b": {"$ref": "#/$defs/b"}}}),
            json!({"properties": {"a": {"$id": "x"}}}),
            json!({"properties": {"a": {"$dynamicRef": "#x"}}}),
            json!({"properties": {"a": {"type": "strin"}}}),
            json!({"properties": {"a": {"format": "no such format"}}}),
            json!({"properties": {"a": {"pattern": "(?=x)"}}}),
            json!({"properties": {"a": {"pattern": "(((a{100}){100}){100}){100}"}}}),
            json!({"properties": {"a": deep}}),
        ] {
            assert_eq!(of(schema.clone()).err().map(|r| r.reason), Some(Reason::TypeInvalid), "{schema}");
        }
        assert!(compile("{").is_err());
        assert!(compile(&" ".repeat(MAX_SCHEMA + 1)).is_err());
    }
}
