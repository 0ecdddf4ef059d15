//! A row: one licence as a unit hands it in, a line of JSON with the element names of
//! GB/T 36903-2018.

use super::json;
use crate::reason::{Reason, Refusal};
use serde::Serialize;
use serde_json::Value;
use vermilion_proto::Origin;

/// The longest row, in bytes.
pub const MAX_ROW: usize = 64 * 1024;

/// Names of the base fields: what every licence has, whatever its type.
pub mod base {
    /// Identifier, GB/T 36904.
    pub const IDENTIFIER: &str = "certificateIdentifier";
    /// Code of the type.
    pub const TYPE_CODE: &str = "certificateTypeCode";
    /// The licence's name.
    pub const NAME: &str = "certificateName";
    /// The licence's number.
    pub const NUMBER: &str = "certificateNumber";
    /// The holders.
    pub const HOLDER: &str = "certificateHolder";
    /// Name of the issuing authority.
    pub const AUTHORITY_NAME: &str = "certificateIssuingAuthorityName";
    /// Code of the issuing authority.
    pub const AUTHORITY_CODE: &str = "certificateIssuingAuthorityCode";
    /// Issued on.
    pub const ISSUED: &str = "certificateIssuedDate";
    /// Effective from.
    pub const EFFECTIVE: &str = "certificateEffectiveDate";
    /// Expires on, or 长期.
    pub const EXPIRING: &str = "certificateExpiringDate";
    /// The area that has charge of it.
    pub const AREA: &str = "certificateAreaCode";
    /// New, stock or from paper.
    pub const ORIGIN: &str = "origin";
}

/// The base fields, in the order in which their disclosures stand.
pub const BASE_FIELDS: [&str; 12] = [
    base::IDENTIFIER,
    base::TYPE_CODE,
    base::NAME,
    base::NUMBER,
    base::HOLDER,
    base::AUTHORITY_NAME,
    base::AUTHORITY_CODE,
    base::ISSUED,
    base::EFFECTIVE,
    base::EXPIRING,
    base::AREA,
    base::ORIGIN,
];

/// Classifications that are no state secret: open, internal, and not secret in two words.
const OPEN_CLASSIFICATIONS: [&str; 4] = ["公开", "内部", "非密", "非涉密"];
const CLASSIFICATION: &str = "classification";
const DATA: &str = "data";

/// Where a licence comes from (regulation 002 articles 10 and 11).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum RowOrigin {
    /// Issued now: starts at version 001.
    New,
    /// Stock (存量): issued before, may start at any version.
    Stock,
    /// Made from a paper licence.
    Paper,
}

impl RowOrigin {
    /// The word of the row.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Stock => "stock",
            Self::Paper => "paper",
        }
    }

    /// The number of the item.
    #[must_use]
    pub fn number(self) -> Origin {
        match self {
            Self::New => Origin::New,
            Self::Stock => Origin::Stock,
            Self::Paper => Origin::Paper,
        }
    }

    fn read(text: &str) -> Option<Self> {
        [Self::New, Self::Stock, Self::Paper].into_iter().find(|o| o.as_str() == text)
    }
}

/// A holder (持证主体).
#[derive(Clone, PartialEq, Eq, Serialize)]
pub struct Holder {
    /// Name.
    pub name: String,
    /// Code, of the type that follows.
    pub code: String,
    /// Code type, GB/T 36903 Annex A.
    #[serde(rename = "codeType")]
    pub code_type: String,
}

/// A row that has the right members. Whether what they say holds is [`super::check_row`]'s.
#[derive(Clone, PartialEq, Serialize)]
pub struct Row {
    /// New, stock or from paper.
    pub origin: RowOrigin,
    /// Identifier.
    #[serde(rename = "certificateIdentifier")]
    pub identifier: String,
    /// Code of the type.
    #[serde(rename = "certificateTypeCode")]
    pub type_code: String,
    /// The licence's name.
    #[serde(rename = "certificateName")]
    pub name: String,
    /// The licence's number.
    #[serde(rename = "certificateNumber")]
    pub number: String,
    /// The holders.
    #[serde(rename = "certificateHolder")]
    pub holders: Vec<Holder>,
    /// Name of the issuing authority.
    #[serde(rename = "certificateIssuingAuthorityName")]
    pub authority_name: String,
    /// Code of the issuing authority.
    #[serde(rename = "certificateIssuingAuthorityCode")]
    pub authority_code: String,
    /// Issued on.
    #[serde(rename = "certificateIssuedDate")]
    pub issued: String,
    /// Effective from.
    #[serde(rename = "certificateEffectiveDate")]
    pub effective: String,
    /// Expires on, or 长期.
    #[serde(rename = "certificateExpiringDate")]
    pub expiring: String,
    /// Area code.
    #[serde(rename = "certificateAreaCode")]
    pub area: String,
    /// What the type adds: an object.
    pub data: Value,
}

/// The code type alone: holders do not reach logs.
impl std::fmt::Debug for Holder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Holder({})", self.code_type)
    }
}

/// The type alone: rows do not reach logs.
impl std::fmt::Debug for Row {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Row({})", self.type_code)
    }
}

/// Reads a line. A row that is marked with a classification other than 公开, 内部, 非密 or 非涉密 is
/// refused as a state secret before anything else is looked at (regulation 002 article 3, 004 article 5):
/// a word that nobody knows may mean one. Anything else that is wrong with its form is [`Reason::Schema`].
pub fn parse_row(line: &str) -> Result<Row, Refusal> {
    if line.len() > MAX_ROW {
        return Err(schema("the row is longer than 64 KiB"));
    }
    let Value::Object(mut members) = json::parse(line)? else { return Err(schema("the row is not an object")) };
    match members.remove(CLASSIFICATION) {
        None | Some(Value::Null) => {}
        Some(Value::String(mark)) if OPEN_CLASSIFICATIONS.contains(&mark.as_str()) => {}
        Some(Value::String(_)) => {
            return Err(Refusal::new(
                Reason::StateSecret,
                format!("the row's classification is none of {}", OPEN_CLASSIFICATIONS.join(", ")),
            ));
        }
        Some(_) => return Err(schema("classification is not text")),
    }
    let (mut base, mut data, mut unknown) = (Base::default(), None, None);
    for (name, value) in members {
        match base.slot(&name) {
            Some(slot) => *slot = Some(value),
            None if name == DATA => data = Some(value),
            None => unknown = unknown.or(Some(name)),
        }
    }
    let data = data.filter(Value::is_object).ok_or_else(|| schema("data is missing or not an object"))?;
    let row = Row::new(base, data)?;
    match unknown {
        None => Ok(row),
        // A name is echoed only if it can be no one's name or number.
        Some(name) if name.len() <= 40 && name.bytes().all(|b| b.is_ascii_alphabetic()) => {
            Err(schema(format!("the row has an unknown member {name}")))
        }
        Some(_) => Err(schema("the row has an unknown member")),
    }
}

/// The values of the base fields, in their order.
#[derive(Default)]
pub(super) struct Base([Option<Value>; BASE_FIELDS.len()]);

impl Base {
    /// The place of a field's value; none if this is no base field.
    pub fn slot(&mut self, name: &str) -> Option<&mut Option<Value>> {
        let at = BASE_FIELDS.iter().position(|field| *field == name)?;
        self.0.get_mut(at)
    }

    fn take(&mut self, name: &str) -> Option<Value> {
        self.slot(name)?.take()
    }

    fn text(&mut self, name: &str) -> Result<String, Refusal> {
        text(self.take(name), name)
    }
}

impl Row {
    /// A row from its values; one missing, or of the wrong kind, is refused. `data` is an object.
    pub(super) fn new(mut base: Base, data: Value) -> Result<Self, Refusal> {
        let origin = base.text(base::ORIGIN)?;
        Ok(Self {
            origin: RowOrigin::read(&origin).ok_or_else(|| schema("origin is not new, stock or paper"))?,
            identifier: base.text(base::IDENTIFIER)?,
            type_code: base.text(base::TYPE_CODE)?,
            name: base.text(base::NAME)?,
            number: base.text(base::NUMBER)?,
            holders: holders(base.take(base::HOLDER))?,
            authority_name: base.text(base::AUTHORITY_NAME)?,
            authority_code: base.text(base::AUTHORITY_CODE)?,
            issued: base.text(base::ISSUED)?,
            effective: base.text(base::EFFECTIVE)?,
            expiring: base.text(base::EXPIRING)?,
            area: base.text(base::AREA)?,
            data,
        })
    }

    /// The data's members; empty if data is no object, which [`parse_row`] never leaves.
    pub(super) fn data_members(&self) -> impl Iterator<Item = (&String, &Value)> {
        self.data.as_object().into_iter().flatten()
    }

    /// The value of a base field as it is disclosed.
    pub(super) fn base_value(&self, name: &str) -> Option<BaseValue<'_>> {
        let text = match name {
            base::IDENTIFIER => &self.identifier,
            base::TYPE_CODE => &self.type_code,
            base::NAME => &self.name,
            base::NUMBER => &self.number,
            base::AUTHORITY_NAME => &self.authority_name,
            base::AUTHORITY_CODE => &self.authority_code,
            base::ISSUED => &self.issued,
            base::EFFECTIVE => &self.effective,
            base::EXPIRING => &self.expiring,
            base::AREA => &self.area,
            base::ORIGIN => self.origin.as_str(),
            base::HOLDER => return Some(BaseValue::Holders(&self.holders)),
            _ => return None,
        };
        Some(BaseValue::Text(text))
    }
}

/// The value of a base field.
#[derive(Serialize)]
#[serde(untagged)]
pub(super) enum BaseValue<'a> {
    Text(&'a str),
    Holders(&'a [Holder]),
}

fn holders(value: Option<Value>) -> Result<Vec<Holder>, Refusal> {
    let Some(Value::Array(list)) = value else {
        return Err(schema("certificateHolder is missing or not a list"));
    };
    let one = |value| {
        let Value::Object(mut members) = value else { return Err(schema("a holder is not an object")) };
        let mut member = |name| text(members.remove(name), name);
        let holder = Holder { name: member("name")?, code: member("code")?, code_type: member("codeType")? };
        if members.is_empty() { Ok(holder) } else { Err(schema("a holder has an unknown member")) }
    };
    list.into_iter().map(one).collect()
}

fn text(value: Option<Value>, name: &str) -> Result<String, Refusal> {
    match value {
        Some(Value::String(text)) => Ok(text),
        Some(_) => Err(schema(format!("{name} is not text"))),
        None => Err(schema(format!("{name} is missing"))),
    }
}

fn schema(detail: impl Into<String>) -> Refusal {
    Refusal::new(Reason::Schema, detail)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::content::fixtures;
    use proptest::prelude::*;

    fn reason(value: &Value) -> Option<Reason> {
        parse_row(&value.to_string()).err().map(|r| r.reason)
    }

    #[test]
    fn a_row_comes_back() {
        for line in fixtures::lines().take(50) {
            let row = parse_row(line).unwrap();
            assert_eq!(serde_json::to_value(&row).unwrap(), serde_json::from_str::<Value>(line).unwrap());
            for name in BASE_FIELDS {
                let value = row.base_value(name).map(|value| serde_json::to_value(value).unwrap());
                assert_eq!(value, serde_json::to_value(&row).unwrap().get(name).cloned(), "{name}");
            }
        }
    }

    #[test]
    fn each_member_is_needed_and_no_other_taken() {
        let good: Value = serde_json::from_str(fixtures::lines().next().unwrap()).unwrap();
        assert_eq!(reason(&good), None);
        for name in BASE_FIELDS.into_iter().chain([DATA]) {
            let mut bad = good.clone();
            bad.as_object_mut().unwrap().remove(name);
            assert_eq!(reason(&bad), Some(Reason::Schema), "without {name}");
            bad = good.clone();
            bad[name] = Value::from(1);
            assert_eq!(reason(&bad), Some(Reason::Schema), "{name} = 1");
        }
        let mut bad = good.clone();
        bad["样例人"] = Value::Null;
        assert!(!parse_row(&bad.to_string()).unwrap_err().detail.contains("样例人"));
        let mut bad = good.clone();
        bad[base::HOLDER][0]["phone"] = Value::from("1");
        assert_eq!(reason(&bad), Some(Reason::Schema));
    }

    #[test]
    fn state_secrets_come_before_everything() {
        for mark in ["国家秘密", "绝密", "机密", "秘密", "一般", "公开 ", "top secret", ""] {
            assert_eq!(reason(&serde_json::json!({"classification": mark, "nothing": "else"})), Some(Reason::StateSecret), "{mark}");
        }
        for no_text in [serde_json::json!(["公开"]), Value::from(1), Value::from(false)] {
            assert_eq!(reason(&serde_json::json!({"classification": no_text})), Some(Reason::Schema));
        }
        let mut good: Value = serde_json::from_str(fixtures::lines().next().unwrap()).unwrap();
        for mark in OPEN_CLASSIFICATIONS.map(Value::from).into_iter().chain([Value::Null]) {
            good[CLASSIFICATION] = mark;
            assert_eq!(reason(&good), None);
        }
    }

    #[test]
    fn long_rows_are_not_read() {
        assert_eq!(parse_row(&" ".repeat(MAX_ROW + 1)).unwrap_err().reason, Reason::Schema);
    }

    proptest! {
        #[test]
        fn never_panics(text in "\\PC{0,80}") {
            let _ = parse_row(&text);
        }
    }
}
