//! `vermilion`: everything but running a node.

#![allow(clippy::disallowed_methods, reason = "this crate has the clock")]

use rustix::process::{Resource, Rlimit, setrlimit};
use std::process::ExitCode;

/// Blocks and submissions are many small pieces of memory: a tenth of the time went into glibc's allocator.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    // Keys and what is sealed lie open in memory: no image of it is to lie on a disk.
    let _ = setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) });
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("vermilion: the runtime does not start: {error}");
            return ExitCode::from(vermilion_client::Exit::Usage as u8);
        }
    };
    let exit = runtime.block_on(vermilion_client::cli::main());
    // Connections still open do not hold up the end.
    runtime.shutdown_background();
    ExitCode::from(exit as u8)
}
