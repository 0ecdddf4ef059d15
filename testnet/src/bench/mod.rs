//! The benchmarks: closed loops of many clients against a ledger of real processes, and etcd beside
//! it in the same run, so that what counts is a ratio.

mod commitments;
mod etcd;
mod gauge;
mod limit;
mod status_vector;
mod workloads;

use crate::cluster::{self, Up};
use crate::demo::told_to_stop;
use crate::description::Testnet;
use crate::error::TestnetError;
use crate::processes;
use crate::sample::Sample;
use clap::ValueEnum;
use gauge::Measured;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::time::Duration;
use vermilion_client::client::Client;

/// Client counts of the single-issue and status workloads.
const CLIENTS: [usize; 4] = [1, 64, 256, 1000];

/// How often a bulk issue beside etcd, and an audit beside the limit of signatures, is measured in turn with it. The best of
/// each counts: what else the machine did meanwhile is no property of either.
const ROUNDS: usize = 3;

/// What `bench` is told.
#[derive(Clone, Debug)]
pub struct Options {
    /// The ledger's folder; a new one in a temporary folder otherwise.
    pub dir: Option<PathBuf>,
    /// Run etcd in turn, and add ratios.
    pub etcd: bool,
    /// Length of each measurement.
    pub seconds: f64,
    /// Licences of the bulk workload; beside etcd it has three rounds of as many.
    pub bulk: usize,
    /// Single-issue records that the audit wants at least.
    pub audit_records: u64,
    /// Licences of the generated status vector, or that the ledger holds before commitments are measured.
    pub licences: u64,
    /// Only these workloads; when empty, all that want a ledger but commitments.
    pub only: Vec<Workload>,
}

/// What can be measured.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum, Debug)]
pub enum Workload {
    /// Licences issued one by one.
    SingleIssue,
    /// Linearizable reads of a licence's status.
    StatusRead,
    /// Recorded uses of a licence.
    Use,
    /// A file of licences, a thousand a command.
    BulkIssue,
    /// The audit of a stopped node's directory.
    Audit,
    /// Single issues with commitments and without; only if it is named: a million licences take minutes.
    Commitments,
    /// A generated status vector, for which there is no ledger; only if it is named.
    StatusVector,
}

impl Options {
    fn wants(&self, workload: Workload) -> bool {
        self.only.is_empty() || self.only.contains(&workload)
    }

    fn length(&self) -> Duration {
        Duration::from_secs_f64(self.seconds)
    }
}

/// Runs the workloads and prints one line of JSON for each. `say` hears what is being done. A signal to stop ends it; what it
/// started stops, and what ran before runs.
pub async fn run(options: &Options, say: &mut dyn FnMut(&str)) -> Result<(), TestnetError> {
    if options.only.contains(&Workload::StatusVector) {
        print(status_vector::measure(options.licences, say)?);
        if options.only.iter().all(|only| *only == Workload::StatusVector) {
            return Ok(());
        }
    }
    let temporary = match &options.dir {
        Some(_) => None,
        None => Some(tempfile::tempdir().map_err(|e| TestnetError::Setup(e.to_string()))?),
    };
    let dir = options.dir.clone().or_else(|| temporary.as_ref().map(|t| t.path().join("ledger"))).unwrap_or_default();
    let running = cluster::load(&dir).is_ok_and(|testnet| testnet.nodes.iter().all(processes::runs));
    let up = Up { nodes: 3, base_port: None, tls: None, empty: false };
    let measuring = async {
        // Also where all of them run: that notes which processes they are.
        cluster::up(&dir, &up, say).await?;
        measure(&dir, options, say).await
    };
    // Whichever ends first: the other is dropped, and with it etcd.
    let (result, interrupted) = tokio::select! {
        biased;
        why = told_to_stop() => (Err(why.map_or_else(|error| error, |why| TestnetError::Setup(why.into()))), true),
        result = measuring => (result, false),
    };
    if running && interrupted {
        // What was being measured may have stopped them.
        cluster::up(&dir, &up, say).await?;
    } else if !running && Testnet::is_there(&dir) {
        cluster::down(&dir)?;
    }
    result
}

async fn measure(dir: &Path, options: &Options, say: &mut dyn FnMut(&str)) -> Result<(), TestnetError> {
    let testnet = Testnet::load(dir)?;
    let client = Client::open(&testnet.client)?;
    let disk = file_system(dir);
    say(&format!("the files lie on {disk}"));
    let etcd = match options.etcd {
        true => {
            say("starting three etcd nodes");
            Some(etcd::Cluster::start(dir).await?)
        }
        false => None,
    };
    let line = |workload, clients, ours: &Measured, beside: Option<&Measured>, more| line(workload, clients, ours, beside, (&disk, more));
    let length = options.length();
    let bench = workloads::Singles::new(&client).await?;
    // What etcd is given to keep: the bytes of one issued licence as it is submitted.
    let value_size = bench.value_size();
    if options.wants(Workload::SingleIssue) {
        for clients in CLIENTS {
            say(&format!("single issues, {clients} clients"));
            let beside = match &etcd {
                Some(etcd) => Some(etcd.puts(clients, length, value_size).await?),
                None => None,
            };
            let before = data_bytes(&testnet);
            let ours = bench.run(clients, length).await?;
            let grown = data_bytes(&testnet).saturating_sub(before) / ours.count.max(1);
            print(line("single-issue", clients, &ours, beside.as_ref(), json!({ "bytes_per_record": grown })));
        }
    }
    if options.wants(Workload::StatusRead) {
        let identifier = workloads::open_licence(&client).await?;
        if let Some(etcd) = &etcd {
            etcd.put_one("status", value_size).await?;
        }
        for clients in CLIENTS {
            say(&format!("linearizable status reads, {clients} clients"));
            let beside = match &etcd {
                Some(etcd) => Some(etcd.gets(clients, length, "status").await?),
                None => None,
            };
            let ours = workloads::status_reads(&client, &identifier, clients, length).await?;
            print(line("status-read", clients, &ours, beside.as_ref(), json!({})));
        }
    }
    if options.wants(Workload::Use) {
        let identifier = workloads::open_licence(&client).await?;
        for clients in [1, 64, 256] {
            say(&format!("uses, {clients} clients"));
            let ours = workloads::uses(&client, &identifier, clients, length).await?;
            print(line("use", clients, &ours, None, json!({})));
        }
    }
    if options.wants(Workload::BulkIssue) {
        let before = data_bytes(&testnet);
        let (ours, beside) = bulk(&client, etcd.as_ref(), options, value_size, say).await?;
        let grown = data_bytes(&testnet).saturating_sub(before) / ours.issued.max(1);
        let mut more = json!({ "bytes_per_record": grown, "unit": "licences" });
        if let Some(beside) = &beside {
            let batched = beside.transactions.rate() * etcd::PUTS as f64;
            more["etcd_batched_rate"] = json!(batched.round());
            more["ratio_to_batched"] = json!(hundredths(ours.best.rate() / batched.max(1.0)));
        }
        print(line("bulk-issue", 1, &ours.best, beside.as_ref().map(|beside| &beside.puts), more));
    }
    drop(etcd);
    let peak = memory(dir)?;
    if options.only.contains(&Workload::Commitments) {
        print(commitments::run(dir, usize::try_from(options.licences).unwrap_or(usize::MAX), length, say).await?);
    }
    if options.wants(Workload::Audit) {
        workloads::enough_singles(&client, options.audit_records, say).await?;
        say("audit of a stopped node's directory");
        print(workloads::audit(dir, say).await?);
    }
    print(json!({ "workload": "memory", "nodes": peak }));
    Ok(())
}

/// The best of our bulk runs, and what all of them issued.
struct Bulk {
    best: Measured,
    issued: u64,
}

/// The best that etcd made of puts, and of transactions of many.
struct Beside {
    puts: Measured,
    transactions: Measured,
}

/// Bulk issue, with etcd beside it in [`ROUNDS`] rounds.
async fn bulk(
    client: &Client,
    etcd: Option<&etcd::Cluster>,
    options: &Options,
    value_size: usize,
    say: &mut dyn FnMut(&str),
) -> Result<(Bulk, Option<Beside>), TestnetError> {
    let (sample, length) = (Sample::load()?, options.length());
    let mut ours = Bulk { best: Measured::default(), issued: 0 };
    let mut beside = etcd.map(|_| Beside { puts: Measured::default(), transactions: Measured::default() });
    for round in 1..=if etcd.is_some() { ROUNDS } else { 1 } {
        say(&format!("bulk issue, 1,000 a command, round {round}"));
        if let Some((etcd, beside)) = etcd.zip(beside.as_mut()) {
            for clients in [256, 1000] {
                beside.puts.keep_faster(etcd.puts(clients, length, value_size).await?);
            }
            for clients in [4, 16] {
                beside.transactions.keep_faster(etcd.transactions(clients, length, value_size).await?);
            }
        }
        let run = workloads::bulk(client, workloads::fresh_rows(&sample, options.bulk)).await?;
        ours.issued += run.count;
        ours.best.keep_faster(run);
    }
    Ok((ours, beside))
}

fn print(line: Value) {
    crate::say::line(&line.to_string());
}

fn line(workload: &str, clients: usize, ours: &Measured, beside: Option<&Measured>, (disk, more): (&str, Value)) -> Value {
    let mut line = json!({
        "workload": workload,
        "clients": clients,
        "rate": ours.rate().round(),
        "p50_us": ours.percentile(50.0),
        "p99_us": ours.percentile(99.0),
        "errors": ours.errors,
        "file_system": disk,
    });
    if let Some(of) = line.as_object_mut() {
        if let Some(beside) = beside {
            of.insert("etcd_rate".into(), json!(beside.rate().round()));
            of.insert("etcd_p50_us".into(), json!(beside.percentile(50.0)));
            of.insert("etcd_p99_us".into(), json!(beside.percentile(99.0)));
            of.insert("etcd_errors".into(), json!(beside.errors));
            of.insert("ratio".into(), json!(hundredths(ours.rate() / beside.rate().max(1.0))));
        }
        of.extend(more.as_object().cloned().unwrap_or_default());
    }
    line
}

fn hundredths(ratio: f64) -> f64 {
    (ratio * 100.0).round() / 100.0
}

/// The kind of file system that a folder is on, as the kernel calls it: in memory (`tmpfs`) nothing waits for a disk.
fn file_system(dir: &Path) -> String {
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let dir = dir.canonicalize().unwrap_or(dir.into());
    // The place is the fifth word, the kind the first behind a dash; the last of those mounted in one place is the one that is seen.
    let mount = |line: &str| {
        let (before, after) = line.split_once(" - ")?;
        let at = before.split(' ').nth(4)?.replace("\\040", " ");
        dir.starts_with(&at).then(|| (at.len(), after.split(' ').next().unwrap_or_default().to_owned()))
    };
    mounts.lines().filter_map(mount).max_by_key(|(length, _)| *length).map_or("unknown".into(), |(_, kind)| kind)
}

/// Bytes in the first node's data directory.
fn data_bytes(testnet: &Testnet) -> u64 {
    fn of(dir: &Path) -> u64 {
        let Ok(entries) = std::fs::read_dir(dir) else { return 0 };
        entries
            .flatten()
            .map(|entry| match entry.metadata() {
                Ok(m) if m.is_dir() => of(&entry.path()),
                Ok(m) => m.len(),
                Err(_) => 0,
            })
            .sum()
    }
    testnet.nodes.first().map_or(0, |n| of(&n.data_dir))
}

/// The most memory that each node's process ever held.
fn memory(dir: &Path) -> Result<Value, TestnetError> {
    let testnet = Testnet::load(dir)?;
    let peak = |pid: i32| {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let line = status.lines().find(|l| l.starts_with("VmHWM:"))?;
        Some(line.split_whitespace().nth(1)?.parse::<u64>().ok()? / 1024)
    };
    Ok(testnet.nodes.iter().map(|n| json!({ "name": n.name, "peak_mib": peak(n.pid) })).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_system_of_a_folder_is_found() {
        assert_eq!(file_system(Path::new("/proc/self")), "proc");
        assert_eq!(file_system(Path::new("/proc/self/../..")), file_system(Path::new("/")));
    }
}
