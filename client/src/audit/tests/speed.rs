//! How fast an audit is: not a test, run by hand.

use super::sample::{Memoried, Sample, open};
use crate::audit::room::parse_bytes;
use crate::audit::{MEMORY, Options, Source, audit, opened, signature_limit};
use vermilion_proto::{Message as _, StoredRecord};

/// Processor time of this process so far, in seconds.
fn cpu() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    (fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap()) / 100.0
}

/// `cargo test --release -p vermilion-client audit_speed -- --ignored --nocapture`
///
/// `RECORDS` says how many; `DIR` names a directory that is made once and used again; `ONLY` picks
/// one of the measurements; `MEMORY` is as `--memory` of the command.
#[test]
#[ignore = "a measurement, some half a minute"]
fn audit_speed() {
    let count: usize = std::env::var("RECORDS").ok().and_then(|n| n.parse().ok()).unwrap_or(100_000);
    let temporary = tempfile::tempdir().unwrap();
    let dir = std::env::var("DIR").map_or_else(|_| temporary.path().to_owned(), std::path::PathBuf::from);
    if !dir.join("db").exists() {
        let mut sample = Sample::new();
        // As in a node under load, where a block holds some dozens of commands.
        sample.commands_a_second = 64;
        for n in 0..count {
            sample.issue(&[&format!("S{n}")]);
            if n % 2_000 == 1_999 {
                sample.commit();
            }
        }
        sample.write(&dir);
    }
    let directory = open(&dir);
    let mut memoried = Memoried { name: "memory".into(), ..Default::default() };
    directory.records(0, &mut |seq, record| memoried.records.insert(seq, StoredRecord::decode(record).unwrap()).is_none()).unwrap();
    let mut keep = |size, note| {
        memoried.checkpoints.insert(size, note);
        true
    };
    directory.checkpoints(&[], &mut keep).unwrap();
    memoried.size = memoried.records.len() as u64;
    let some: Vec<_> = memoried.records.values().take(20_000).map(StoredRecord::encode_to_vec).collect();
    let memory = std::env::var("MEMORY").map_or(MEMORY, |text| parse_bytes(&text).unwrap());
    let both = Options { signatures: false, replay: false, ..Options::default() };
    for (what, source, options) in [
        ("directory", &directory as &dyn Source, Options { memory, ..Options::default() }),
        ("without signatures", &directory, Options { signatures: false, memory, ..Options::default() }),
        ("without replay", &directory, Options { replay: false, ..Options::default() }),
        ("without both", &directory, both.clone()),
        ("records alone", &memoried, Options::default()),
        ("records alone without both", &memoried, both),
    ] {
        if std::env::var("ONLY").is_ok_and(|only| only != what) {
            continue;
        }
        // Others may be using the machine: the limit is measured before and after.
        let limit = |_| signature_limit(&opened(&some)).unwrap().rate;
        let (first, before) = (limit(()), cpu());
        let report = audit(&[source], &options, &|_, _, _, _| {}).unwrap();
        let (spent, limit) = (cpu() - before, (first + limit(())) / 2.0);
        assert!(report.clean, "{}", report.to_text());
        println!(
            "{what}: {:.2} s ({spent:.2} s of processor), {} records/s, {} signatures/s, {:.2} of the limit of {limit:.0}",
            report.seconds,
            report.records_per_second(),
            report.signatures_per_second(),
            report.signatures as f64 / report.seconds / limit
        );
    }
}
