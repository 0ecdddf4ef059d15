#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod directories;
mod sample;
mod speed;
mod tampered;
