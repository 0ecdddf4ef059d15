//! What tests of whole ledgers share: a [`Ledger`] of real processes, what lies on its disks
//! ([`disk`]), its REST side ([`http`]), an outside witness ([`witness`], [`over_tls`]), and a search for many values
//! at once ([`needles`]).
//!
//! The tests themselves are in `tests/processes`. They run the `vermiliond` and `vermilion` that lie
//! beside them in the target directory: `cargo build --release --workspace --bins` comes first, since
//! `cargo test` builds no binary of another package.
//!
//! Nothing here waits for a length of time: what is waited for is a condition ([`until`]). Of the tests, those wait that are about
//! an age, and those that want to see nothing happen.

#![allow(clippy::disallowed_methods, reason = "it measures, or waits for processes")]
// A test's failed expectation is its result.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

pub mod disk;
pub mod http;
mod ledger;
pub mod needles;
pub mod over_tls;
mod rows;
mod wait;
pub mod witness;

use vermilion_client::change::Grounds;

/// Grounds for what a test does to units and credentials.
#[must_use]
pub fn inspection() -> Grounds {
    Grounds { reason: "inspection".into(), legal_basis: vec!["002-6".into()], ..Grounds::default() }
}

pub use ledger::{Audit, Ledger, LoneRun, findings, free_ports, run, run_alone};
pub use rows::{Rows, personal_values, public_identifiers};
pub use wait::{until, within};
