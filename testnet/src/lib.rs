//! Real local ledgers for tests, demonstrations and benchmarks: processes, sockets, disks.
//!
//! Nothing here is for real licences: keys lie in the clear and one hand holds every post.

#![deny(clippy::print_stdout, clippy::print_stderr, reason = "they panic where nobody reads any more")]
#![allow(clippy::disallowed_methods, reason = "this crate has the clock")]

pub mod authority;
pub mod bench;
pub mod cluster;
pub mod demo;
pub mod description;
pub mod error;
pub mod layout;
pub mod processes;
pub mod sample;
pub mod say;
pub mod staging;
