//! Whole ledgers: three `vermiliond` over real sockets and disks, killed, tampered with and lied to.
//!
//! The binaries must be current: `cargo build --release --workspace --bins` first, as `make test` does.

// A test's failed expectation is its result.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod audits;
mod connections;
mod damage;
mod device;
mod door;
mod enrolment;
mod fixtures;
mod forged;
mod founding;
mod glass;
mod imports;
mod join;
mod kill;
mod left_behind;
mod liars;
mod lines;
mod offline;
mod outside;
mod privacy;
mod receipts;
mod rest;
mod rotation;
mod state;
mod status;
mod tamper;
mod testnets;
mod tiles;
mod unread;
mod uses;
