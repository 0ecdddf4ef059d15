//! `kill -9` in the middle of an import.

use std::collections::BTreeSet;
use vermilion_client::issue::{IssueOptions, RowReport, issue_file};
use vermilion_tests::{Ledger, Rows, until};

const ROWS: u64 = 20_000;

/// Does something async in the middle of a report, which is told in between.
fn now<T>(what: impl Future<Output = T>) -> T {
    tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(what))
}

/// Imports rows, and calls `at` with the number of rows reported so far.
async fn import(ledger: &mut Ledger, rows: &Rows, mut at: impl FnMut(&mut Ledger, u64) + Send) -> Vec<RowReport> {
    let (client, options, mut reports) = (ledger.client.clone(), IssueOptions::default(), Vec::new());
    let mut report = |report: &RowReport, _| {
        reports.push(report.clone());
        at(ledger, reports.len() as u64);
        Ok(())
    };
    let summary = issue_file(&client, &rows.path, &options, &mut report).await.expect("the import does not finish");
    assert_eq!((summary.rows, summary.accepted, summary.warned), (ROWS, ROWS, 0), "{:?}", summary.reasons);
    reports
}

/// Reports are one for each row, in order, each accepted by a record.
fn assert_each_row_once(rows: &Rows, reports: &[RowReport]) {
    let mut seen = BTreeSet::new();
    for (n, (row, report)) in rows.rows.iter().zip(reports).enumerate() {
        assert_eq!((report.row, report.accepted, report.seq.is_some()), (n as u64 + 1, true, true), "{report:?}");
        assert_eq!(report.identifier.as_deref(), row["certificateIdentifier"].as_str());
        assert!(seen.insert(report.identifier.as_ref()), "{report:?}");
    }
    assert_eq!(reports.len(), rows.rows.len());
}

/// All nodes agree, the same file again changes nothing, and the audit of all three is clean and
/// counts each licence once.
async fn assert_whole(ledger: &mut Ledger, rows: &Rows, reports: &[RowReport]) {
    assert_each_row_once(rows, reports);
    let size = ledger.settled().await;
    let (again, _) = ledger.issue(rows).await;
    assert_eq!(again, reports, "the same file is answered otherwise the second time");
    assert_eq!(ledger.settled().await, size, "the same file adds records the second time");
    ledger.stop_all();
    let audit = ledger.audit(&ledger.data_dirs());
    audit.assert_clean();
    assert_eq!(audit.report["licences"], ROWS);
    assert_eq!((&audit.report["records"], &audit.report["covered"]), (&size.into(), &size.into()));
    let sizes: Vec<_> = audit.report["sources"].as_array().unwrap().iter().map(|s| s["records"].clone()).collect();
    assert_eq!(sizes, [size, size, size]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_import_survives_the_kill_of_the_leader_and_then_of_a_follower() {
    let mut ledger = Ledger::start().await;
    let rows = Rows::fresh(ledger.dir(), &ledger.sample, ROWS);
    let mut killed = Vec::new();
    let reports = import(&mut ledger, &rows, |ledger, reported| match reported * 100 / ROWS {
        30 if killed.is_empty() => {
            let leader = now(ledger.leader());
            ledger.kill(&leader);
            ledger.launch(&leader);
            killed.push(leader);
        }
        60 if killed.len() == 1 => {
            let follower = now(ledger.follower());
            ledger.kill(&follower);
            ledger.launch(&follower);
            killed.push(follower);
        }
        _ => {}
    })
    .await;
    assert_eq!(killed.len(), 2);
    for name in &killed {
        // It may have been both: the leader that was killed, and then the follower.
        let kills = killed.iter().filter(|other| *other == name).count();
        let starts = async || (ledger.log(name).matches("the node runs").count() == 1 + kills).then_some(());
        until(&format!("the start of {name} after each of {kills} kills"), starts).await;
    }
    assert_whole(&mut ledger, &rows, &reports).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_import_survives_a_leader_that_stays_down_until_it_is_over() {
    let mut ledger = Ledger::start().await;
    let rows = Rows::fresh(ledger.dir(), &ledger.sample, ROWS);
    let mut killed = None;
    let reports = import(&mut ledger, &rows, |ledger, reported| {
        if reported * 100 / ROWS == 30 && killed.is_none() {
            let leader = now(ledger.leader());
            ledger.kill(&leader);
            killed = Some(leader);
        }
    })
    .await;
    let killed = killed.unwrap();
    let leader = ledger.leader().await;
    assert_ne!(leader, killed);
    let before = ledger.settled().await;
    ledger.launch(&killed);
    assert!(ledger.settled().await >= before);
    assert_whole(&mut ledger, &rows, &reports).await;
}
