//! Imports that are sent again: broken off, under another policy, from another state folder.

use std::collections::BTreeMap;
use std::path::Path;
use vermilion_client::issue::{IssueOptions, RowReport, issue_file};
use vermilion_client::{Client, Config};
use vermilion_proto::RecordsRequest;
use vermilion_registry::reason::Reason;
use vermilion_tests::{Ledger, Rows};

/// Licences that a command may have: when the file is sent first, and when it goes on.
const MORE: usize = 50;
const LESS: usize = 20;
/// Rows of each of the two units: a command that is larger than what is allowed in the end, and one that is not.
const EACH: usize = MORE + 10;

fn allow(ledger: &Ledger, most: usize) {
    let (config, most) = (ledger.dir().join("client.toml").display().to_string(), most.to_string());
    let (code, out, err) = ledger.vermilion(&["--config", &config, "policy", "set", "issue.items.max", &most, "--citation", "002-10"]);
    assert_eq!(code, 0, "{out}{err}");
}

/// Issues a file as whoever has this configuration, under the policy of now.
async fn issued(config: &Path, rows: &Rows) -> Vec<RowReport> {
    let (client, mut reports) = (Client::open(config).unwrap(), Vec::new());
    let mut report = |report: &RowReport, _| {
        reports.push(report.clone());
        Ok(())
    };
    issue_file(&client, &rows.path, &IssueOptions::default(), &mut report).await.unwrap();
    reports
}

#[tokio::test(flavor = "multi_thread")]
async fn an_import_goes_on_where_policy_allows_less_and_no_row_is_lost() {
    let mut ledger = Ledger::start().await;
    let all = Rows::fresh(ledger.dir(), &ledger.sample, 1_000);
    let mut units: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for row in &all.rows {
        units.entry(row["certificateIssuingAuthorityCode"].as_str().unwrap()).or_default().push(row.to_string());
    }
    let mut units = units.into_iter().filter(|(_, rows)| rows.len() >= EACH);
    let ((_, first), (late, second)) = (units.next().unwrap(), units.next().unwrap());
    let lines = [&first[..EACH], &second[..EACH]].concat();
    let rows = Rows::write(ledger.dir().join("two.jsonl"), lines.clone());

    // Of the second unit nobody's key is there yet: its rows are not sent.
    let whole = ledger.dir().join("client.toml");
    let part = ledger.dir().join("part.toml");
    let mut config = Config::parse(&std::fs::read_to_string(&whole).unwrap(), ledger.dir()).unwrap();
    config.operators.retain(|operator| operator.unit != late);
    std::fs::write(&part, config.to_toml().unwrap()).unwrap();
    allow(&ledger, MORE);
    let before = issued(&part, &rows).await;
    assert!(before[..EACH].iter().all(|row| row.accepted) && before[EACH..].iter().all(|row| row.seq.is_none()), "{before:?}");

    // What was taken stands; what no longer goes as it was cut is told as that, and the rest goes.
    allow(&ledger, LESS);
    let after = issued(&whole, &rows).await;
    assert_eq!(after[..EACH], before[..EACH]);
    let refused = |row: &RowReport| (row.accepted, row.reason, row.seq) == (false, Some(Reason::TooLarge), None);
    assert!(after[EACH..EACH + MORE].iter().all(refused), "{after:?}");
    assert!(after[EACH + MORE..].iter().all(|row| row.accepted), "{after:?}");

    // In a file of their own they go too.
    let rest = Rows::write(ledger.dir().join("rest.jsonl"), lines[EACH..EACH + MORE].to_vec());
    let sent = issued(&whole, &rest).await;
    assert!(sent.len() == MORE && sent.iter().all(|row| row.accepted), "{sent:?}");
    ledger.settled().await;
    ledger.stop_all();
    let audit = ledger.audit(&ledger.data_dirs());
    audit.assert_clean();
    assert_eq!(audit.report["licences"], 2 * EACH);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_sent_from_another_state_folder_is_answered_by_the_records_that_issued_it() {
    let mut ledger = Ledger::start().await;
    let fresh = Rows::fresh(ledger.dir(), &ledger.sample, 300);
    let mut lines: Vec<String> = fresh.rows.iter().map(ToString::to_string).collect();
    // One of them twice: the second stays what it is, whoever sends it from where.
    lines.push(lines[0].clone());
    let rows = Rows::write(ledger.dir().join("twice.jsonl"), lines.clone());
    let whole = ledger.dir().join("client.toml");
    let duplicate = |row: &RowReport| !row.accepted && row.reason == Some(Reason::DuplicateIdentifier);
    let first = issued(&whole, &rows).await;
    assert!(first[..300].iter().all(|row| row.accepted) && duplicate(&first[300]), "{first:?}");

    let elsewhere = ledger.dir().join("elsewhere.toml");
    let mut config = Config::parse(&std::fs::read_to_string(&whole).unwrap(), ledger.dir()).unwrap();
    config.state_dir = Some(ledger.dir().join("elsewhere"));
    std::fs::write(&elsewhere, config.to_toml().unwrap()).unwrap();
    let again = issued(&elsewhere, &rows).await;
    assert_eq!(again[..300], first[..300]);
    assert!(duplicate(&again[300]), "{:?}", again[300]);
    // From either folder, as often as it is sent.
    assert_eq!(issued(&elsewhere, &rows).await, again);
    assert_eq!(issued(&whole, &rows).await, first);

    // Another file's rows are not these, though they say the same.
    let other = Rows::write(ledger.dir().join("other.jsonl"), lines[..300].iter().rev().cloned());
    let refused = issued(&elsewhere, &other).await;
    assert!(refused.iter().all(duplicate), "{refused:?}");

    // A record is its unit's to read, others' are not, nor is a stretch of them.
    let asker = ledger.client.asker(fresh.rows[0]["certificateIssuingAuthorityCode"].as_str()).unwrap();
    let seq = first[0].seq.unwrap();
    for (from, to, may) in [(seq, seq + 1, true), (seq, seq + 2, false), (seq, 0, false), (0, 1, false)] {
        let request = ledger.client.connection.signed(&asker, "records", RecordsRequest { from, to }).unwrap();
        let mut node = ledger.client.connection.client_of(0).unwrap();
        assert_eq!(node.records(request).await.is_ok(), may, "records {from} to {to}");
    }
    ledger.settled().await;
    ledger.stop_all();
    let audit = ledger.audit(&ledger.data_dirs());
    audit.assert_clean();
    assert_eq!(audit.report["licences"], 300);
}
