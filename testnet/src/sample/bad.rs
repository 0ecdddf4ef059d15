//! Rows that must be refused, or taken with a warning.

use super::Sample;
use super::rows::Maker;
use serde_json::{Value, json};
use vermilion_registry::codes::{check, identifier::Identifier};

const IDENTIFIER: &str = "certificateIdentifier";
const HOLDER: &str = "certificateHolder";

/// A row with what it must answer.
#[derive(Clone, Debug)]
pub struct BadRow {
    /// `rejected`, or `accepted` with the reason as a warning.
    pub outcome: &'static str,
    /// The reason's name.
    pub reason: &'static str,
    /// The row.
    pub row: Value,
}

impl BadRow {
    /// The line of a `licences-bad.jsonl`.
    #[must_use]
    pub fn line(&self) -> String {
        json!({"expect": {"outcome": self.outcome, "reason": self.reason}, "row": self.row}).to_string()
    }
}

/// Makes one case out of a good row; `None` if it cannot be made.
type Change = fn(&Sample, &mut Value) -> Option<()>;

const CASES: [(&str, Change); 24] = [
    ("identifier-check", |_, r| {
        edit(r, |id| {
            let last = if id.ends_with('0') { "1" } else { "0" };
            format!("{}{last}", &id[..id.len() - 1])
        })
    }),
    ("identifier-check", |_, r| edit(r, |id| id.replacen(".B", ".C", 1))),
    ("identifier-format", |_, r| edit(r, |id| id.replacen(".001.", ".1.", 1))),
    ("identifier-format", |_, r| edit(r, str::to_lowercase)),
    ("identifier-format", |_, r| edit(r, |id| id.replacen("1.2.156.3005.2.", "1.2.156.3005.3.", 1))),
    ("identifier-format", |_, r| edit(r, |_| String::new())),
    ("identifier-mismatch", |s, r| reseal(r, Some(&unknown_type(s)?), None, None, None)),
    ("identifier-mismatch", |s, r| reseal(r, None, Some(&foreign(s)?), None, None)),
    ("version-gap", |_, r| reseal(r, None, None, None, Some(3))),
    ("schema", |_, r| set(r, "origin", json!("found"))),
    ("unknown-type", |s, r| {
        let code = unknown_type(s)?;
        set(r, "certificateTypeCode", json!(code))?;
        reseal(r, Some(&code), None, None, None)
    }),
    ("issuer-not-authorised", |s, r| {
        let code = foreign(s)?;
        set(r, "certificateIssuingAuthorityCode", json!(code))?;
        reseal(r, None, Some(&code), None, None)
    }),
    ("validity", |_, r| {
        set(r, "certificateEffectiveDate", json!("2025-06-01"))?;
        set(r, "certificateExpiringDate", json!("2024-06-01"))
    }),
    ("validity", |_, r| set(r, "certificateIssuedDate", json!("2025-02-30"))),
    ("validity", |_, r| set(r, "certificateExpiringDate", json!("soon"))),
    ("schema", |_, r| {
        let first = first_field(r)?;
        r["data"].as_object_mut()?.remove(&first).map(|_| ())
    }),
    ("schema", |_, r| set(r.get_mut("data")?, "unknownField", json!("x"))),
    ("schema", |_, r| {
        let first = first_field(r)?;
        set(r.get_mut("data")?, &first, json!({"nested": true}))
    }),
    ("schema", |_, r| r.as_object_mut()?.remove("certificateName").map(|_| ())),
    ("schema", |_, r| set(r, HOLDER, json!([]))),
    ("schema", |_, r| set(r, "certificateName", json!("名".repeat(5000)))),
    ("holder-code", |_, r| set(r, HOLDER, json!([{"name": "样例人", "code": "440303188001010012", "codeType": "111"}]))),
    ("holder-code", |_, r| {
        // Its check holds; 1900 was no leap year.
        let body = "44030319000229001";
        let code = format!("{body}{}", check::mod11_2(body)?);
        set(r, HOLDER, json!([{"name": "样例人", "code": code, "codeType": "111"}]))
    }),
    ("state-secret", |_, r| set(r, "classification", json!("国家秘密"))),
];

pub(super) fn rows(sample: &Sample, seed: u64, good: &[Value]) -> Vec<BadRow> {
    let mut maker = Maker::new(sample, seed);
    let mut out: Vec<BadRow> = Vec::new();
    for (reason, change) in CASES {
        let mut row = public_row(&mut maker, out.len());
        if let Some(row) = row.as_mut()
            && change(sample, row).is_some()
        {
            out.push(BadRow { outcome: "rejected", reason, row: row.clone() });
        }
    }
    if let Some(first) = good.first() {
        out.push(BadRow { outcome: "rejected", reason: "duplicate-identifier", row: first.clone() });
    }
    let unusual = good.iter().find(|r| r[HOLDER][0]["codeType"] == "001" && r["origin"] == "new").cloned();
    if let Some(row) = unusual.and_then(unusual_holder) {
        out.push(BadRow { outcome: "accepted", reason: "holder-code-unusual", row });
    }
    out
}

/// A row whose identifier stands in the clear, new, its serial marked as a bad row's.
fn public_row(maker: &mut Maker<'_>, n: usize) -> Option<Value> {
    let sample = maker.sample;
    let personal = |code: &Value| sample.types.iter().any(|t| t.personal_identifier && *code == t.code);
    loop {
        let row = maker.row(n as u64, &format!("B{n:09}"), false)?;
        if !personal(&row["certificateTypeCode"]) {
            return Some(row);
        }
    }
}

/// A lawful early code that fails the published check: taken, with a warning.
fn unusual_holder(mut row: Value) -> Option<Value> {
    set(row.get_mut(HOLDER)?.get_mut(0)?, "code", json!("91350100M0001TGQXM"))?;
    let serial = "W000000001";
    set(&mut row, "certificateNumber", json!(serial))?;
    reseal(&mut row, None, None, Some(serial), None)?;
    Some(row)
}

fn set(object: &mut Value, name: &str, value: Value) -> Option<()> {
    object.as_object_mut()?.insert(name.to_owned(), value);
    Some(())
}

fn edit(row: &mut Value, change: impl FnOnce(&str) -> String) -> Option<()> {
    let changed = change(row[IDENTIFIER].as_str()?);
    set(row, IDENTIFIER, Value::from(changed))
}

/// The identifier with some parts changed and its check right.
fn reseal(row: &mut Value, type_code: Option<&str>, authority: Option<&str>, serial: Option<&str>, version: Option<u16>) -> Option<()> {
    let old = Identifier::parse(row[IDENTIFIER].as_str()?).ok()?;
    let new = Identifier::build(
        type_code.unwrap_or(old.type_code()),
        authority.unwrap_or(old.authority()),
        serial.unwrap_or(old.serial()),
        version.unwrap_or(old.version()),
    );
    set(row, IDENTIFIER, Value::from(new.ok()?.as_str()))
}

fn first_field(row: &Value) -> Option<String> {
    row["data"].as_object()?.keys().next().cloned()
}

/// A type that the managing unit could define and has not.
fn unknown_type(sample: &Sample) -> Option<String> {
    Some(format!("{}999", sample.unit_with_role("managing-unit-city")?.uscc))
}

/// A unit that issues nothing.
fn foreign(sample: &Sample) -> Option<String> {
    Some(sample.unit_with_role("using-unit")?.uscc.clone())
}
