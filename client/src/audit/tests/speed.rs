//! How fast an audit is: not a test, run by hand.

use super::sample::{Sample, open};
use crate::audit::{Options, Source, audit, signature_limit};

/// Processor time of this process so far, in seconds.
fn cpu() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    (fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap()) / 100.0
}

/// `cargo test --release -p vermilion-client audit_speed -- --ignored --nocapture`
#[test]
#[ignore = "a measurement, some half a minute"]
fn audit_speed() {
    let count: usize = std::env::var("RECORDS").ok().and_then(|n| n.parse().ok()).unwrap_or(100_000);
    let mut sample = Sample::new();
    for n in 0..count {
        sample.issue(&[&format!("S{n}")]);
        if n % 2_000 == 1_999 {
            sample.commit();
        }
    }
    let dir = tempfile::tempdir().unwrap();
    sample.write(dir.path());
    let limit = signature_limit(&sample.records[..20_000.min(sample.records.len())]).unwrap();
    println!("limit {:.0} signatures/s at {} envelopes a batch", limit.rate, limit.batch);
    let directory = open(dir.path());
    let source = sample.source("memory");
    for (what, source, options) in [
        ("directory", &directory as &dyn Source, Options::default()),
        ("without signatures", &directory, Options { signatures: false, ..Options::default() }),
        ("without replay", &directory, Options { replay: false, ..Options::default() }),
        ("without both", &directory, Options { signatures: false, replay: false, ..Options::default() }),
        ("records alone", &source, Options::default()),
        ("records alone without both", &source, Options { signatures: false, replay: false, ..Options::default() }),
    ] {
        if std::env::var("ONLY").is_ok_and(|only| only != what) {
            continue;
        }
        let before = cpu();
        let report = audit(&[source], &options, &|_, _, _, _| {}).unwrap();
        assert!(report.clean, "{}", report.to_text());
        println!(
            "{what}: {:.2} s ({:.2} s of processor), {} records/s, {} signatures/s, {:.2} of the limit",
            report.seconds,
            cpu() - before,
            report.records_per_second(),
            report.signatures_per_second(),
            report.signatures as f64 / report.seconds / limit.rate
        );
    }
}
