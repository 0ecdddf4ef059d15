//! The sample city's units.

use super::SampleError;
use serde::Deserialize;

const JSON: &str = include_str!("../../fixtures/units.json");

/// A unit of the sample city.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SampleUnit {
    /// Unified social credit code.
    pub uscc: String,
    /// Name in Chinese.
    pub name: String,
    /// GB/T 2260 code: the city's, or a district's.
    pub district: String,
    /// `managing-unit-city`, `managing-unit-district`, `issuing-unit`, `using-unit`.
    pub roles: Vec<String>,
}

pub(super) fn load() -> Result<Vec<SampleUnit>, SampleError> {
    serde_json::from_str(JSON).map_err(|e| SampleError(format!("units.json: {e}")))
}
