//! What units, auditors and holders do with the ledger, as a library and as the command `vermilion`.
//!
//! A command's life here: a [`Draft`] gets its sealed texts or licences, its body, and the
//! signatures of its posts ([`signer`]); the [`Prepared`] bytes then go out through the
//! [`Connection`] until there is an answer. No answer means *unknown*: the same bytes may be sent
//! again, and have one outcome however often they are.
//!
//! | module | what it does |
//! |---|---|
//! | [`client`] | configuration, keys and connections of one ledger together |
//! | [`manage`], [`change`] | units, operators, catalogue, policy; status and erasure of licences |
//! | [`identity`] | enrolments, certificates, admission |
//! | [`issue`] | files of rows, resumable and idempotent |
//! | [`single`] | one licence at a time |
//! | [`use_licence`] | uses, and opening what they are granted |
//! | [`questions`], [`tags`], [`types`] | what nodes answer |
//! | [`person`] | an operator's identity number, in one form |
//! | [`receipt`] | receipts, checked without a network |
//! | [`audit`] | recomputing everything |
//! | [`founding`] | a new ledger, made at one table |
//! | [`cli`] | the command |
//!
//! What it does not know: Raft, disks but its own small files, and the lookup key (but for the one that a founding makes), of
//! which it asks nodes for tags. Personal data and secrets reach neither logs nor error messages; rows and their
//! identifiers are shown to whoever handed them in.

#![allow(clippy::disallowed_methods, reason = "this crate has the clock")]

mod answer;
pub mod audit;
pub mod change;
pub mod cli;
pub mod client;
pub mod clock;
pub mod command;
pub mod config;
pub mod connection;
pub mod enrol;
pub mod error;
pub mod files;
pub mod founding;
pub mod identity;
pub mod issue;
pub mod keyring;
pub mod keys;
pub mod manage;
pub mod person;
pub mod qr;
pub mod questions;
pub mod receipt;
pub mod signer;
pub mod single;
mod stream;
pub mod tags;
pub mod tls;
pub mod types;
pub mod use_licence;
pub mod vault;
mod visible;

pub use client::Client;
pub use command::{Draft, Prepared};
pub use config::Config;
pub use connection::{Answer, Connection, Recorded};
pub use error::{ClientError, Exit};
pub use issue::{IssueOptions, RowReport, Summary, issue_file};
pub use manage::{NewOperator, Published, Unlisted};
pub use single::SingleIssuer;
pub use use_licence::{UseAnswer, UseDesk, UseRequest};
