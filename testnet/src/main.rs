//! `vermilion-testnet`: test ledgers, the demonstration, the benchmarks.

#![deny(clippy::print_stdout, clippy::print_stderr, reason = "they panic where nobody reads any more")]
#![allow(clippy::disallowed_methods, reason = "this crate has the clock")]

use clap::{Parser, Subcommand};
use std::path::PathBuf;
use std::process::ExitCode;
use vermilion_testnet::authority::Term;
use vermilion_testnet::bench;
use vermilion_testnet::cluster::{self, Up};
use vermilion_testnet::demo;
use vermilion_testnet::description::{Testnet, other_ledger, other_ports};
use vermilion_testnet::error::TestnetError;
use vermilion_testnet::say;

/// The longest measurement, in seconds: a day.
const MOST_SECONDS: f64 = 86_400.0;

/// Blocks and submissions are many small pieces of memory: a tenth of the time went into glibc's allocator.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

#[derive(Parser)]
#[command(name = "vermilion-testnet", version, about = "Test ledgers of real processes, the demonstration, the benchmarks.")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Start a ledger and return when it is ready, with the sample units and catalogue registered. Broken off, the same call goes on.
    #[command(after_help = "Example:\n  \
        vermilion-testnet up --dir /tmp/t --nodes 3\n  \
        vermilion --config /tmp/t/client.toml cluster status")]
    Up {
        /// Folder for everything; a ledger that is there is started again.
        #[arg(long)]
        dir: PathBuf,
        /// Nodes of a new ledger: one of the city, the others of districts; if not given 3, or as many as it was begun with.
        #[arg(long)]
        nodes: Option<usize>,
        /// First of two ports for each node of a new ledger, and one more for enrolment; free ones otherwise.
        #[arg(long)]
        base_port: Option<u16>,
        /// Without TLS: nothing is encrypted, and nobody who connects is known.
        #[arg(long)]
        plain: bool,
        /// Register nothing, now or when it is started again.
        #[arg(long)]
        empty: bool,
    },
    /// Run the benchmarks: one line of JSON for each workload.
    #[command(after_help = "Examples:\n  \
        vermilion-testnet bench --etcd --seconds 5\n  \
        vermilion-testnet bench --only audit --audit-records 100000\n  \
        vermilion-testnet bench --only commitments --licences 100000\n  \
        vermilion-testnet bench --only status-vector --licences 200000000")]
    Bench {
        /// A ledger that runs, or where to make one; a temporary folder otherwise.
        #[arg(long)]
        dir: Option<PathBuf>,
        /// Run three etcd nodes in turn, and add the ratios.
        #[arg(long)]
        etcd: bool,
        /// Length of each measurement, at most a day.
        #[arg(long, default_value_t = 5.0, value_parser = seconds)]
        seconds: f64,
        /// Licences of the bulk workload; beside etcd it has three rounds of as many.
        #[arg(long, default_value_t = 50_000)]
        bulk: usize,
        /// Records that the audit wants at least.
        #[arg(long, default_value_t = 100_000)]
        audit_records: u64,
        /// Licences in the ledger before commitments are measured, issued first; or of the status vector that
        /// `--only status-vector` generates.
        #[arg(long, default_value_t = 1_000_000)]
        licences: u64,
        /// Only this workload. May be given more than once; the last two run only if they are named.
        #[arg(long, value_enum)]
        only: Vec<bench::Workload>,
    },
    /// Show everything once: start, issue, refuse, use, verify, revoke, receipts, audit.
    #[command(after_help = "Examples:\n  \
        vermilion-testnet demo\n  \
        vermilion-testnet demo --dir /tmp/demo --keep\n\n\
        Exit code 0 if everything went as it should, else 1 with what did not.")]
    Demo {
        /// An empty or new folder, which stays; a temporary one otherwise.
        #[arg(long)]
        dir: Option<PathBuf>,
        /// Leave the cluster up, and say how to talk to it.
        #[arg(long)]
        keep: bool,
    },
    /// Stop a ledger cleanly; its data stays.
    #[command(after_help = "Example:\n  vermilion-testnet down --dir /tmp/t")]
    Down {
        /// The folder given to `up`.
        #[arg(long)]
        dir: PathBuf,
    },
}

/// A length of time that a measurement can take.
fn seconds(text: &str) -> Result<f64, String> {
    let seconds: f64 = text.parse().map_err(|_| "it is no number".to_owned())?;
    if seconds > 0.0 && seconds <= MOST_SECONDS { Ok(seconds) } else { Err(format!("it is not above 0 and at most {MOST_SECONDS}")) }
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(Cli::parse().command).await {
        Ok(code) => code,
        Err(error) => {
            say::aside(&format!("vermilion-testnet: {error}"));
            ExitCode::from(error.exit())
        }
    }
}

async fn run(command: Command) -> Result<ExitCode, TestnetError> {
    let mut say = |what: &str| say::aside(&format!("{what} …"));
    match command {
        Command::Up { dir, nodes, base_port, plain, empty } => {
            let nodes = match (nodes, Testnet::made(&dir)?) {
                (Some(asked), Some(made)) if made.nodes.len() != asked => return Err(other_ledger(&dir, &made)),
                (_, Some(made)) if base_port.is_some_and(|port| !made.has_port(port)) => return Err(other_ports(&dir)),
                (None, Some(made)) => made.nodes.len(),
                (asked, _) => asked.unwrap_or(3),
            };
            let testnet = cluster::up(&dir, &Up { nodes, base_port, tls: (!plain).then_some(Term::USUAL), empty }, &mut say).await?;
            let ready = testnet.nodes.iter().filter(|node| node.pid != 0).count();
            say::line(&format!("{ready} nodes are ready; the client's configuration is {}", testnet.client.display()));
        }
        Command::Bench { dir, etcd, seconds, bulk, audit_records, licences, only } => {
            bench::run(&bench::Options { dir, etcd, seconds, bulk, audit_records, licences, only }, &mut say).await?;
        }
        Command::Demo { dir, keep } => demo::run(&demo::Options { dir, keep }).await?,
        Command::Down { dir } => cluster::down(&dir)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// One file for the help of all three commands.
#[cfg(test)]
#[path = "../../client/src/cli/examples.rs"]
mod examples;
