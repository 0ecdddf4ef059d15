//! The plan of a founding: a TOML file, whose paths are relative to its own folder. Its form stands in docs/formats.md §33.

use crate::error::ClientError;
use serde::Deserialize;
use std::path::{Path, PathBuf};

/// The file as it stands, its paths made absolute.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// The ledger's name, in every checkpoint.
    pub origin: String,
    /// The root certificate's file.
    pub root: PathBuf,
    /// The folder of the issuing certificate and its key.
    pub issuing: PathBuf,
    /// For how long the first certificates are good, in days.
    #[serde(default = "a_year")]
    pub certificate_days: u64,
    /// The city's managing unit, which runs the authority.
    pub managing_unit: PlannedUnit,
    /// The first nodes; their Raft ids are 1, 2, … in this order.
    pub nodes: Vec<PlannedNode>,
    /// The managing unit's first operators.
    pub operators: Vec<PlannedOperator>,
    /// Working days.
    #[serde(default)]
    pub calendar: Vec<PlannedYear>,
    /// What differs from the default policy.
    #[serde(default)]
    pub policy: Vec<PlannedPolicy>,
}

/// The city's managing unit.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlannedUnit {
    /// Its USCC (GB 32100).
    pub uscc: String,
    /// Its name.
    pub name: String,
    /// Its name in English.
    #[serde(default)]
    pub name_en: String,
    /// The city's code.
    pub area: String,
    /// What it is besides the city's managing unit.
    #[serde(default)]
    pub roles: Vec<String>,
}

/// A node.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlannedNode {
    /// The file of its request.
    pub request: PathBuf,
}

/// An operator.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlannedOperator {
    /// A word for its files; never the person's name.
    pub name: String,
    /// The file of its request.
    pub request: PathBuf,
    /// A file whose first line is the person's identity number.
    pub person: PathBuf,
    /// The identity number's code type (GB/T 36903 annex A).
    #[serde(default = "resident")]
    pub person_code_type: String,
}

/// A year's working days.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlannedYear {
    /// The year.
    pub year: u32,
    /// Weekdays that are not worked, ISO dates.
    #[serde(default)]
    pub holidays: Vec<String>,
    /// Days of weekends that are worked, ISO dates.
    #[serde(default)]
    pub worked_weekends: Vec<String>,
}

/// A policy that differs from the default.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlannedPolicy {
    /// Its key.
    pub key: String,
    /// Its value.
    pub value: String,
    /// The rule that it carries out.
    #[serde(default)]
    pub citation: String,
}

fn a_year() -> u64 {
    365
}

fn resident() -> String {
    "111".into()
}

impl Plan {
    /// Reads a file and makes its paths absolute.
    pub fn load(path: &Path) -> Result<Self, ClientError> {
        let text = std::fs::read_to_string(path).map_err(|e| ClientError::file(path, e))?;
        let mut plan: Self = toml::from_str(&text).map_err(|e| ClientError::config(path.display().to_string(), e.to_string()))?;
        let folder = path.parent().unwrap_or(Path::new("."));
        let requests = plan.nodes.iter_mut().map(|node| &mut node.request);
        let operators = plan.operators.iter_mut().flat_map(|operator| [&mut operator.request, &mut operator.person]);
        for file in requests.chain(operators).chain([&mut plan.root, &mut plan.issuing]) {
            *file = folder.join(&*file);
        }
        let word = |name: &str| !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        if let Some(n) = plan.operators.iter().position(|operator| !word(&operator.name)) {
            return Err(ClientError::config(format!("operators[{n}].name"), "letters, digits and hyphens"));
        }
        let names = |n: usize| plan.operators[..n].iter().map(|operator| &operator.name);
        if let Some(n) = (0..plan.operators.len()).find(|n| names(*n).any(|name| *name == plan.operators[*n].name)) {
            return Err(ClientError::config(format!("operators[{n}].name"), "another operator has the same"));
        }
        if plan.certificate_days == 0 || plan.certificate_days > 3650 {
            return Err(ClientError::config("certificate_days", "must lie between 1 and 3650"));
        }
        Ok(plan)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_plan_that_the_documents_show_can_be_read() {
        let formats = std::fs::read_to_string("../docs/formats.md").unwrap();
        let (_, chapter) = formats.split_once("\n## 33. Founding\n").unwrap();
        let shown = chapter.split("```").nth(1).and_then(|block| block.strip_prefix("toml\n")).unwrap();
        let plan: Plan = toml::from_str(shown).unwrap();
        assert_eq!((plan.managing_unit.area.as_str(), plan.nodes.len(), plan.policy.len()), ("440300", 1, 1));
    }
}
