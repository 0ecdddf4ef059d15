//! What a commitment costs those who issue meanwhile: single issues with one commitment a second and
//! without any, in turn, in a ledger that holds many licences already.

use super::gauge::Measured;
use super::workloads::{Singles, bulk, fresh_rows};
use crate::cluster;
use crate::description::Testnet;
use crate::error::TestnetError;
use crate::sample::Sample;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use vermilion_client::client::Client;

/// Clients that issue.
const CLIENTS: usize = 64;
/// Turns of each kind: what the machine does besides falls on both alike.
const TURNS: usize = 4;
/// Licences of one bulk file: more would only make a larger temporary file.
const FILE: usize = 100_000;
/// An interval at which no commitment comes by itself within any run.
const NEVER: &str = "checkpoint_ms = 86400000\n";

/// Fills the ledger up to `licences`, and measures.
pub async fn run(dir: &Path, licences: usize, length: Duration, say: &mut dyn FnMut(&str)) -> Result<Value, TestnetError> {
    let testnet = Testnet::load(dir)?;
    let client = Client::open(&testnet.client)?;
    let sample = Sample::load()?;
    let mut rows = fresh_rows(&sample, licences);
    let mut filled = 0;
    while filled < licences {
        say(&format!("filling the ledger: {filled} of {licences} licences"));
        let part = FILE.min(licences - filled);
        let done = bulk(&client, rows.by_ref().take(part)).await?;
        if done.errors > 0 {
            return Err(TestnetError::Setup(format!("{} licences were refused", done.errors)));
        }
        filled += part;
    }
    drop(client);
    let kept = without_schedule(dir, &testnet)?;
    cluster::down(dir)?;
    let again = cluster::Up { nodes: testnet.nodes.len(), base_port: None, tls: None, empty: false };
    cluster::up(dir, &again, say).await?;
    let measured = measure(dir, length, say).await;
    kept.put_back()?;
    cluster::down(dir)?;
    cluster::up(dir, &again, say).await?;
    let (quiet, busy, commitments) = measured?;
    let figures = |m: &Measured| {
        json!({ "issues": m.count, "rate": m.rate().round(), "p50_us": m.percentile(50.0), "p99_us": m.percentile(99.0),
            "p999_us": m.percentile(99.9), "max_us": m.percentile(100.0), "errors": m.errors })
    };
    Ok(json!({
        "workload": "commitments",
        "clients": CLIENTS,
        "licences": licences,
        "without": figures(&quiet),
        "with": figures(&busy),
        "commitments": commitments,
        "p99_ratio": busy.percentile(99.0).zip(quiet.percentile(99.0)).map(|(busy, quiet)| (f64::from(busy) / f64::from(quiet.max(1)) * 100.0).round() / 100.0),
    }))
}

/// What was in the nodes' configurations. They are as they were, for whoever goes on with this ledger, when it is dropped at the
/// latest: somebody may interrupt.
struct Kept(Vec<(PathBuf, String)>);

impl Kept {
    fn put_back(mut self) -> Result<(), TestnetError> {
        self.write()?;
        self.0.clear();
        Ok(())
    }

    /// Writes all that can be written; the first that cannot is the error.
    fn write(&self) -> Result<(), TestnetError> {
        let mut first = Ok(());
        for (path, text) in &self.0 {
            first = first.and(std::fs::write(path, text).map_err(|e| TestnetError::File(path.clone(), e)));
        }
        first
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        let _ = self.write();
    }
}

/// Takes the schedule out of the nodes' configurations; returns what was in them.
fn without_schedule(dir: &Path, testnet: &Testnet) -> Result<Kept, TestnetError> {
    let mut kept = Kept(Vec::new());
    for node in &testnet.nodes {
        let path = Testnet::node_dir(dir, &node.name).join("node.toml");
        let text = std::fs::read_to_string(&path).map_err(|e| TestnetError::File(path.clone(), e))?;
        let others = text.lines().filter(|line| !line.starts_with("checkpoint_ms")).collect::<Vec<_>>().join("\n");
        kept.0.push((path.clone(), text));
        std::fs::write(&path, format!("{NEVER}{others}\n")).map_err(|e| TestnetError::File(path, e))?;
    }
    Ok(kept)
}

async fn measure(dir: &Path, length: Duration, say: &mut dyn FnMut(&str)) -> Result<(Measured, Measured, u64), TestnetError> {
    let client = Client::open(&Testnet::load(dir)?.client)?;
    let bench = Singles::new(&client).await?;
    // Once for nothing: connections and caches.
    bench.run(CLIENTS, Duration::from_secs(1)).await?;
    let (mut quiet, mut busy, made) = (Measured::default(), Measured::default(), Arc::new(AtomicU64::new(0)));
    for turn in 0..TURNS {
        say(&format!("single issues, {CLIENTS} clients, turn {} of {TURNS}", turn + 1));
        quiet.join(bench.run(CLIENTS, length).await?);
        let stop = Arc::new(AtomicBool::new(false));
        let committing = tokio::spawn(commit_every_second(client.clone(), Arc::clone(&stop), Arc::clone(&made)));
        let measured = bench.run(CLIENTS, length).await;
        stop.store(true, Ordering::Relaxed);
        committing.await.map_err(|e| TestnetError::Setup(e.to_string()))??;
        busy.join(measured?);
    }
    Ok((quiet, busy, made.load(Ordering::Relaxed)))
}

async fn commit_every_second(client: Client, stop: Arc<AtomicBool>, made: Arc<AtomicU64>) -> Result<(), TestnetError> {
    let asker = client.asker(None)?;
    let mut every = tokio::time::interval(Duration::from_secs(1));
    while !stop.load(Ordering::Relaxed) {
        every.tick().await;
        client.connection.checkpoint(0, Some(&asker)).await?;
        made.fetch_add(1, Ordering::Relaxed);
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn one_configuration_that_cannot_be_put_back_keeps_no_other_from_it() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let kept = Kept(["first", "gone/second", "third"].map(|name| (at(name), name.to_owned())).to_vec());
        assert!(kept.put_back().unwrap_err().to_string().contains("second"));
        for name in ["first", "third"] {
            assert_eq!(std::fs::read_to_string(at(name)).unwrap(), name);
        }
    }
}
