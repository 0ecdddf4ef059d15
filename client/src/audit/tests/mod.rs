#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod directories;
mod exposed;
mod following;
mod resumed;
mod rotated;
pub(crate) mod sample;
mod served;
mod speed;
mod tampered;
mod tiles;
