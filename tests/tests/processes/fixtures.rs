//! The 2,000 good rows and the 26 bad ones.

use serde_json::Value;
use std::path::Path;
use vermilion_client::issue::RowReport;
use vermilion_tests::{Ledger, Rows};

const FIXTURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../testnet/fixtures");

/// The sample's good rows.
pub fn good() -> Rows {
    Rows::read(&Path::new(FIXTURES).join("licences.jsonl"))
}

/// The sample's bad rows, each with what it must answer.
pub fn bad(folder: &Path) -> (Rows, Vec<(String, String)>) {
    let cases = Rows::read(&Path::new(FIXTURES).join("licences-bad.jsonl")).rows;
    let word = |case: &Value, name: &str| case["expect"][name].as_str().unwrap().to_owned();
    let expected = cases.iter().map(|case| (word(case, "outcome"), word(case, "reason"))).collect();
    (Rows::write(folder.join("bad.jsonl"), cases.iter().map(|case| case["row"].to_string())), expected)
}

fn answers(reports: &[RowReport]) -> Vec<(String, String)> {
    let outcome = |r: &RowReport| if r.accepted { "accepted" } else { "rejected" }.to_owned();
    reports.iter().map(|r| (outcome(r), r.reason.map_or("", |reason| reason.name()).to_owned())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn good_rows_are_accepted_bad_ones_answer_as_expected_and_again_the_same() {
    let mut ledger = Ledger::start().await;
    let (good, (bad, expected)) = (good(), bad(ledger.dir()));
    assert_eq!((good.rows.len(), bad.rows.len()), (2_000, 26));
    let (first_good, summary) = ledger.issue(&good).await;
    assert_eq!((summary.accepted, summary.rejected, summary.warned), (2_000, 0, 0), "{summary:?}");
    let (first_bad, _) = ledger.issue(&bad).await;
    assert_eq!(answers(&first_bad), expected);
    let size = ledger.settled().await;

    let (again_good, _) = ledger.issue(&good).await;
    let (again_bad, _) = ledger.issue(&bad).await;
    assert_eq!((again_good, again_bad), (first_good, first_bad), "what was sent again is answered otherwise");
    assert_eq!(ledger.settled().await, size, "what was sent again left records");

    let accepted_bad = expected.iter().filter(|(outcome, _)| outcome == "accepted").count();
    ledger.stop_all();
    let audit = ledger.audit(&ledger.data_dirs());
    audit.assert_clean();
    assert_eq!(audit.report["licences"], 2_000 + accepted_bad);
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_of_another_seed_answer_as_they_say_too() {
    let ledger = Ledger::start().await;
    let good = Rows::fresh(ledger.dir(), &ledger.sample, 500);
    ledger.issue_all(&good).await;
    let lines: Vec<String> = good.rows.iter().map(Value::to_string).collect();
    let cases = ledger.sample.bad_rows(11, &lines);
    assert_eq!(cases.len(), 26);
    let bad = Rows::write(ledger.dir().join("bad.jsonl"), cases.iter().map(|case| case.row.to_string()));
    let (reports, _) = ledger.issue(&bad).await;
    let expected: Vec<_> = cases.iter().map(|case| (case.outcome.to_owned(), case.reason.to_owned())).collect();
    assert_eq!(answers(&reports), expected);
}
