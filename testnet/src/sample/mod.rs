//! Sample data: a city's units, its catalogue, and licences without end.
//!
//! Units and catalogue are those of `testnet/fixtures`; rows are made from a seed, in the shape of
//! `fixtures/licences.jsonl`, one at a time, so that a million cost no memory. Everything is
//! synthetic: codes are made up and check-correct, and persons were born in the 19th century, so
//! that no row is of a living person. Equal seeds give equal rows.

mod bad;
mod catalogue;
mod rng;
mod rows;
mod units;

pub use bad::BadRow;
pub use catalogue::english_name;
pub use rows::Licences;
pub use units::SampleUnit;

use serde_json::Value;
use vermilion_registry::content::CatalogueEntry;

/// The sample data is embedded; if it does not read, the build is wrong.
#[derive(Debug, thiserror::Error)]
#[error("the embedded sample data does not read: {0}")]
pub struct SampleError(String);

/// The sample city.
#[derive(Clone, Debug)]
pub struct Sample {
    units: Vec<SampleUnit>,
    types: Vec<catalogue::SampleType>,
}

impl Sample {
    /// Reads the embedded data.
    pub fn load() -> Result<Self, SampleError> {
        let units = units::load()?;
        let types = catalogue::load(&units)?;
        Ok(Self { units, types })
    }

    /// The managing units of the city and its districts, the issuing and the using units.
    #[must_use]
    pub fn units(&self) -> &[SampleUnit] {
        &self.units
    }

    /// The first unit with a role, such as `using-unit`.
    #[must_use]
    pub fn unit_with_role(&self, role: &str) -> Option<&SampleUnit> {
        self.units.iter().find(|u| u.roles.iter().any(|r| r == role))
    }

    /// The catalogue's ten types with their issuers, English names added.
    pub fn catalogue(&self) -> Result<Vec<CatalogueEntry>, SampleError> {
        catalogue::entries()
    }

    /// `count` rows, each a line of JSON without its line end. No two have the same identifier.
    #[must_use]
    pub fn licences(&self, seed: u64, count: u64) -> Licences<'_> {
        self.licences_from(seed, rows::FIRST_SERIAL, count)
    }

    /// The same, with serials from `first_serial` on: rows of two seeds and one serial may have the same identifier.
    #[must_use]
    pub fn licences_from(&self, seed: u64, first_serial: u64, count: u64) -> Licences<'_> {
        Licences::new(self, seed, first_serial, count)
    }

    /// Rows that must be refused, or taken with a warning, with what each must answer when it is
    /// submitted after `good`. Two of them are made from good ones and are left out where `good`
    /// has none that serves.
    #[must_use]
    pub fn bad_rows(&self, seed: u64, good: &[String]) -> Vec<BadRow> {
        let good: Vec<Value> = good.iter().filter_map(|line| serde_json::from_str(line).ok()).collect();
        bad::rows(self, seed, &good)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
