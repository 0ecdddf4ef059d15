//! A node that was away for longer than the others' Raft logs reach back.

use crate::lines::reach_over_lines;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use vermilion_client::SingleIssuer;
use vermilion_storage::{Mode, Store};
use vermilion_tests::{Ledger, Rows, until};

/// The shortest tail that a configuration may ask for.
const TAIL: &str = "[log_tail]\nentries = 1000";
/// More than that, and the 256 by which the log is cut at once.
const COMMANDS: usize = 1_400;
/// Bytes a second: each of three stretches of records takes longer than a second.
const SLOW: usize = 1_000_000;

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_that_was_down_for_longer_than_the_log_reaches_back_catches_up_from_the_records() {
    let mut ledger = Ledger::start_with(TAIL).await;
    let unit = ledger.sample.unit_with_role("issuing-unit").unwrap().uscc.clone();
    let rows = Rows::fresh(ledger.dir(), &ledger.sample, 12_000).of_unit(&unit);
    assert!(rows.len() >= COMMANDS, "{} rows are of the unit", rows.len());
    ledger.settled().await;
    let away = ledger.follower().await;
    let applied = ledger.status_of(&away).await.unwrap().applied;
    ledger.kill(&away);

    let issuer = SingleIssuer::new(&ledger.client, &unit).await.unwrap();
    for row in &rows[..COMMANDS] {
        let tags = issuer.tags(&ledger.client, row).await.unwrap();
        // One after the other, so that each is a Raft entry of its own.
        ledger.client.connection.submit(&issuer.prepare(row, &tags).unwrap()).await.unwrap().accepted().unwrap();
    }
    let size = ledger.settled().await;
    // It is killed in the middle of it, which lasts, and goes on with what it began.
    let rate = Arc::new(AtomicUsize::new(SLOW));
    reach_over_lines(&ledger, &away, &rate).await;
    ledger.launch(&away);
    until("that it fetches records", async || ledger.log(&away).contains("the first of them are here").then_some(())).await;
    ledger.kill(&away);
    let begun = Store::open(&ledger.node(&away).data_dir, Mode::ReadOnly).unwrap().installing().unwrap();
    assert!(begun.is_some(), "{away} had all records before it could be killed");
    rate.store(0, Ordering::Relaxed);
    ledger.launch(&away);
    until("the records that it lacks", async || (ledger.status_of(&away).await?.size == size).then_some(())).await;
    // Nothing new comes: is it a witness of what it has now all the same?
    until("its cosignature of what it caught up with", async || (ledger.status_of(&away).await?.checkpoint_size == size).then_some(()))
        .await;
    assert!(ledger.log(&away).contains("behind the log: fetching records"), "it did not need the records: {}", ledger.log(&away));

    // It takes part again: commands go through with it and one other.
    let other = ledger.names().into_iter().find(|n| *n != away).unwrap();
    ledger.kill(&other);
    let row = &rows[COMMANDS];
    let tags = issuer.tags(&ledger.client, row).await.unwrap();
    ledger.client.connection.submit(&issuer.prepare(row, &tags).unwrap()).await.unwrap().accepted().unwrap();
    ledger.launch(&other);
    ledger.settled().await;
    ledger.stop_all();
    for name in ledger.names().iter().filter(|n| **n != away) {
        let first = Store::open(&ledger.node(name).data_dir, Mode::ReadOnly).unwrap().log_range().0;
        assert!(first > applied + 1, "the log of {name} begins at {first}: it still holds what {away} lacked after {applied}");
    }
    let alone = ledger.audit(&[ledger.node(&away).data_dir.clone()]);
    alone.assert_clean();
    assert_eq!(alone.report["licences"], COMMANDS + 1);
    ledger.audit(&ledger.data_dirs()).assert_clean();
    let left = Store::open(&ledger.node(&away).data_dir, Mode::ReadOnly).unwrap().installing().unwrap();
    assert!(left.is_none(), "{away} still takes itself for one that catches up");
}
