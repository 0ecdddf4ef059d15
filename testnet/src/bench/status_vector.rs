//! The status vector by itself, on generated licences and without a ledger: what it costs to build, to
//! change, to keep and to prove from.

use crate::error::TestnetError;
use serde_json::{Value, json};
use std::time::{Duration, Instant};
use vermilion_ledger::{StatusTree, check_status_proof};

/// Changes in a measurement of one commitment with many.
const MANY: u64 = 10_000;
/// Rounds of what takes microseconds.
const ROUNDS: u64 = 2_000;
/// Commitments whose views are kept at once, as a node keeps them.
const VIEWS: usize = 16;

/// Places spread over the vector: no two neighbours in one chunk.
struct Places {
    at: u64,
    licences: u64,
}

impl Places {
    fn next(&mut self) -> u64 {
        // An odd step of about a golden part of 2^64 comes everywhere.
        self.at = self.at.wrapping_add(0x9e37_79b9_7f4a_7c15);
        self.at % self.licences
    }
}

fn failed(error: impl std::fmt::Display) -> TestnetError {
    TestnetError::Setup(format!("the status vector: {error}"))
}

fn micros(took: Duration, rounds: u64) -> f64 {
    (took.as_secs_f64() * 1e6 / rounds as f64 * 100.0).round() / 100.0
}

/// Memory of this process in MiB.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap_or_default();
    line.split_whitespace().nth(1).and_then(|kib| kib.parse::<u64>().ok()).unwrap_or(0) / 1024
}

/// Measures a vector of this many licences; one line of JSON.
pub fn measure(licences: u64, say: &mut dyn FnMut(&str)) -> Result<Value, TestnetError> {
    if licences == 0 {
        return Err(failed("there must be a licence"));
    }
    say(&format!("a status vector of {licences} licences"));
    let before = resident();
    let mut tree = StatusTree::new();
    let start = Instant::now();
    for n in 0..licences {
        tree.push(if n % 50 == 7 { 8 } else { 1 }).map_err(failed)?;
    }
    let filled = start.elapsed();
    let start = Instant::now();
    tree.root();
    let hashed = start.elapsed();
    let memory = resident().saturating_sub(before);

    say("changes");
    let mut places = Places { at: 1, licences };
    let start = Instant::now();
    for n in 0..ROUNDS {
        tree.set(places.next(), (n % 11 + 1) as u8).map_err(failed)?;
        tree.root();
    }
    let one = start.elapsed();
    let start = Instant::now();
    for n in 0..MANY {
        tree.set(places.next(), (n % 11 + 1) as u8).map_err(failed)?;
    }
    tree.root();
    let many = start.elapsed();
    let start = Instant::now();
    for _ in 0..ROUNDS {
        tree.push(1).map_err(failed)?;
        tree.root();
    }
    let added = start.elapsed();

    say("proofs as of a commitment, while the vector goes on");
    let before = resident();
    let mut views = Vec::new();
    let start = Instant::now();
    for n in 0..VIEWS as u64 {
        views.push(tree.view());
        for m in 0..MANY {
            tree.set(places.next(), ((n + m) % 11 + 1) as u8).map_err(failed)?;
        }
    }
    tree.root();
    let kept = start.elapsed();
    let views_memory = resident().saturating_sub(before);
    let view = views.first().ok_or_else(|| failed("there is no view"))?;
    let (mut proofs, mut largest) = (Vec::new(), 0);
    let start = Instant::now();
    for _ in 0..ROUNDS {
        let at = places.next();
        proofs.push((at, view.proof(at).map_err(failed)?));
    }
    let proved = start.elapsed();
    let start = Instant::now();
    for (at, proof) in &proofs {
        let status = view.get(*at).unwrap_or_default();
        check_status_proof(&view.root(), view.count(), *at, status, proof).map_err(failed)?;
    }
    let checked = start.elapsed();
    let mut total = 0;
    for (_, proof) in &proofs {
        let bytes = proof.encode().len();
        total += bytes;
        largest = largest.max(bytes);
    }
    Ok(json!({
        "workload": "status-vector",
        "licences": licences,
        "build_s": (filled + hashed).as_secs_f64(),
        "build_fill_s": filled.as_secs_f64(),
        "build_hash_s": hashed.as_secs_f64(),
        "memory_mib": memory,
        "states_mib": licences / 2 / (1 << 20),
        "change_us": micros(one, ROUNDS),
        "change_of_10000_us": micros(many, MANY),
        "add_us": micros(added, ROUNDS),
        "views": VIEWS,
        "views_of_10000_changes_mib": views_memory,
        "change_beside_views_us": micros(kept, VIEWS as u64 * MANY),
        "prove_us": micros(proved, ROUNDS),
        "check_us": micros(checked, ROUNDS),
        "proof_bytes_mean": total / proofs.len().max(1),
        "proof_bytes_most": largest,
    }))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    #[test]
    fn a_small_vector_is_measured() {
        let line = super::measure(3_000, &mut |_| {}).unwrap();
        // Six chunks: three hashes.
        assert!(line["proof_bytes_most"].as_u64().unwrap() <= 257 + 32 * 4);
        assert_eq!(line["licences"], 3_000);
        assert!(super::measure(0, &mut |_| {}).is_err());
    }
}
