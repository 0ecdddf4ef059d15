//! A node of a Vermilion ledger: it wires Raft, registry, storage and listeners together. The only
//! crate with sockets, threads, configuration and the clock.
//!
//! A submission's way: [`door`] (checks, routes) → [`runtime`] (blocks, Raft, log) → [`apply`]
//! (registry, store) → [`waiters`] (answer). What comes from peers passes [`gate`] first.

#![deny(clippy::print_stdout, clippy::print_stderr, reason = "they panic where nobody reads any more")]
#![allow(clippy::disallowed_methods, reason = "this crate has the clock")]

pub mod answers;
pub mod apply;
mod aside;
pub mod backups;
pub mod block;
pub mod caller;
pub mod catalogue;
pub mod catchup;
pub mod clock;
pub mod config;
pub mod disclose;
pub mod distrust;
pub mod door;
pub mod edge;
pub mod enrolment;
mod forward;
pub mod founding;
pub mod gate;
pub mod grpc;
mod hashes;
pub mod intake;
pub mod join;
pub mod keys;
pub mod membership;
pub mod metrics;
pub mod node;
mod openapi;
pub mod opener;
mod outbox;
pub mod outside;
mod pace;
pub mod peer_service;
pub mod peers;
pub mod place;
pub mod rate;
pub mod reading;
pub mod receipts;
pub mod recent;
pub mod rest;
pub mod revoked;
pub mod rights;
pub mod rotation;
pub mod runtime;
mod sending;
pub mod serving;
pub mod snapshot;
pub mod start;
pub mod tiles;
pub mod tls;
pub mod trail;
pub mod verify;
pub mod vouch;
pub mod waiters;
pub mod witness;
