//! Rows of the sample city.

use serde_json::Value;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use vermilion_client::clock::{now_ms, show_ms};
use vermilion_crypto::random;
use vermilion_proto::{FieldClass, FieldRule, IdentifierClass};
use vermilion_registry::content::{CatalogueEntry, Row, parse_row};
use vermilion_testnet::sample::Sample;

/// A file of rows, with what it says.
pub struct Rows {
    /// The file.
    pub path: PathBuf,
    /// Its rows.
    pub rows: Vec<Value>,
}

impl Rows {
    /// Writes rows into a file.
    #[must_use]
    pub fn write(path: PathBuf, lines: impl IntoIterator<Item = String>) -> Self {
        let lines: Vec<String> = lines.into_iter().collect();
        std::fs::write(&path, lines.join("\n") + "\n").unwrap();
        Self::of(path, &lines)
    }

    /// `count` rows of a seed that nobody has seen before; it is printed, so that a failure can be
    /// had again.
    #[must_use]
    pub fn fresh(folder: &Path, sample: &Sample, count: u64) -> Self {
        let types: BTreeSet<String> = sample.catalogue().unwrap().into_iter().map(|of| of.licence_type.name_zh).collect();
        loop {
            let seed = u64::from_be_bytes(random().unwrap());
            let lines = sample.licences(seed, count).map(|line| in_our_years(&line));
            let rows = Self::write(folder.join(format!("rows-{seed}.jsonl")), lines);
            // Of each type two: tests look for a row of a type and another of the same, and few rows may lack them.
            if types.iter().all(|name| rows.of_type(name).len() >= 2) {
                println!("{count} rows of seed {seed}");
                return rows;
            }
        }
    }

    /// Reads a file.
    #[must_use]
    pub fn read(path: &Path) -> Self {
        let text = std::fs::read_to_string(path).unwrap();
        Self::of(path.into(), &text.lines().map(str::to_owned).collect::<Vec<_>>())
    }

    fn of(path: PathBuf, lines: &[String]) -> Self {
        Self { path, rows: lines.iter().map(|line| serde_json::from_str(line).unwrap()).collect() }
    }

    /// The rows of a type, by its Chinese name.
    #[must_use]
    pub fn of_type(&self, name: &str) -> Vec<&Value> {
        self.rows.iter().filter(|row| row["certificateName"] == name).collect()
    }

    /// The first row of a type.
    #[must_use]
    pub fn one(&self, name: &str) -> &Value {
        self.of_type(name).first().copied().unwrap_or_else(|| panic!("no row is a {name}"))
    }

    /// Parsed rows of one issuing unit.
    #[must_use]
    pub fn of_unit(&self, uscc: &str) -> Vec<Row> {
        let own = self.rows.iter().filter(|row| row["certificateIssuingAuthorityCode"] == uscc);
        own.map(|row| parse_row(&row.to_string()).unwrap()).collect()
    }
}

/// A sample row, which is of 2023 to 2025, moved by whole years, so that in any year the same is in term as in 2026.
fn in_our_years(line: &str) -> String {
    let mut row: Value = serde_json::from_str(line).unwrap();
    let year = |date: &str| date.get(..4).and_then(|year| year.parse::<u32>().ok());
    let later = year(&show_ms(now_ms())).unwrap().saturating_sub(2026);
    for name in ["certificateIssuedDate", "certificateEffectiveDate", "certificateExpiringDate"] {
        let date = row[name].as_str().unwrap();
        if let Some(year) = year(date) {
            row[name] = format!("{}{}", year + later, &date[4..]).into();
        }
    }
    row.to_string()
}

/// What rows say that is nobody's business: names and codes of holders, fields of the classes personal
/// and sensitive, numbers and identifiers that are a person's own.
#[must_use]
pub fn personal_values(rows: &[Value], catalogue: &[CatalogueEntry]) -> Vec<String> {
    let mut out = Vec::new();
    for row in rows {
        let mut add = |value: &Value| match value {
            Value::Null => {}
            Value::String(text) => out.push(text.clone()),
            other => out.push(other.to_string()),
        };
        for holder in row["certificateHolder"].as_array().into_iter().flatten() {
            add(&holder["name"]);
            add(&holder["code"]);
        }
        let Some(of) = catalogue.iter().map(|entry| &entry.licence_type).find(|of| row["certificateTypeCode"] == of.code) else { continue };
        let personal = |rule: &&FieldRule| matches!(rule.class(), FieldClass::Personal | FieldClass::Sensitive);
        of.fields.iter().filter(personal).for_each(|rule| add(&row["data"][&rule.name]));
        of.base_fields.iter().filter(personal).filter(|rule| rule.name != "certificateHolder").for_each(|rule| add(&row[&rule.name]));
        if of.identifier_class() == IdentifierClass::Personal {
            add(&row["certificateIdentifier"]);
            add(&row["certificateNumber"]);
        }
    }
    out
}

/// The identifiers that may stand in the clear, with whatever numbers are part of them.
#[must_use]
pub fn public_identifiers(rows: &[Value], catalogue: &[CatalogueEntry]) -> String {
    let public = |row: &&Value| {
        let of = catalogue.iter().map(|entry| &entry.licence_type).find(|of| row["certificateTypeCode"] == of.code);
        of.is_some_and(|of| of.identifier_class() == IdentifierClass::Public)
    };
    rows.iter().filter(public).filter_map(|row| row["certificateIdentifier"].as_str()).collect::<Vec<_>>().join("\n")
}
