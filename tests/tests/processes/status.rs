//! The four states of a command: unknown, pending, committed, invalid.

use std::time::Duration;
use vermilion_client::clock::now_ms;
use vermilion_client::{Draft, Prepared};
use vermilion_proto::{ChangeUnit, CommandState, body::Of};
use vermilion_registry::Kind;
use vermilion_registry::reason::Reason;
use vermilion_tests::{Ledger, until};

/// Suspends or restores the using unit: a command that is easily made, and fresh each time.
async fn command(ledger: &Ledger, action: &str, not_after_ms: u64) -> Prepared {
    let city = ledger.client.managing_unit().to_owned();
    let draft =
        Draft { not_after_ms, reason: "inspection".into(), legal_basis: vec!["002-6".into()], ..Draft::new(&city, now_ms()).unwrap() };
    let uscc = ledger.sample.unit_with_role("using-unit").unwrap().uscc.clone();
    ledger.client.prepare(Kind::ChangeUnit, draft, Of::ChangeUnit(ChangeUnit { uscc, action: action.into() })).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_is_unknown_then_committed_for_ever_or_invalid_for_ever() {
    let ledger = Ledger::start().await;
    let soon = now_ms() + 60_000;
    let sent = command(&ledger, "suspend", soon).await;
    for node in 0..3 {
        assert_eq!(ledger.known(node, &sent).await.state(), CommandState::Unknown, "it was never sent");
    }

    let reply = ledger.send(1, sent.submission.clone()).await;
    assert_eq!((reply.state(), reply.outcome.as_ref().map(|o| o.code)), (CommandState::Committed, Some(0)));
    ledger.settled().await;
    for node in 0..3 {
        let known = ledger.known(node, &sent).await;
        assert_eq!((known.state(), known.seq, &known.record_hash), (CommandState::Committed, reply.seq, &reply.record_hash));
    }

    // Refused is committed too: suspended already.
    let refused = command(&ledger, "suspend", soon).await;
    let reply = ledger.send(0, refused.submission.clone()).await;
    assert_eq!((reply.state(), reply.outcome.map(|o| o.code)), (CommandState::Committed, Some(Reason::NothingToChange.number())));
    ledger.settled().await;
    assert_eq!(ledger.known(0, &refused).await.seq, reply.seq);

    // Its not-after passes by the ledger's time, which only a block moves on.
    let size = ledger.settled().await;
    let withheld = command(&ledger, "restore", now_ms() + 300).await;
    assert_eq!(ledger.known(0, &withheld).await.state(), CommandState::Unknown);
    until("the moment after the withheld command's not-after", async || (now_ms() > withheld.not_after_ms).then_some(())).await;
    assert_eq!(ledger.known(0, &withheld).await.state(), CommandState::Unknown, "a block of an earlier time may yet take it");
    // Sent late it is answered by such a block, and leaves no record.
    for node in 0..3 {
        let reply = ledger.send(node, withheld.submission.clone()).await;
        assert_eq!((reply.state(), reply.code), (CommandState::Invalid, Reason::Expired.number()));
        assert_eq!(ledger.known(node, &withheld).await.state(), CommandState::Invalid);
    }
    assert_eq!(ledger.settled().await, size);
    let other = command(&ledger, "restore", soon).await;
    assert!(ledger.send(0, other.submission).await.time_ms > withheld.not_after_ms);
    assert_eq!(ledger.known(0, &withheld).await.state(), CommandState::Invalid);
    // A record, and the commitment over it.
    assert_eq!(ledger.settled().await, size + 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_anywhere_is_known_everywhere_at_once() {
    let ledger = Ledger::start().await;
    for n in 0..200 {
        let prepared = command(&ledger, if n % 2 == 0 { "suspend" } else { "restore" }, now_ms() + 60_000).await;
        let reply = ledger.send(n % 3, prepared.submission.clone()).await;
        assert_eq!(reply.state(), CommandState::Committed);
        for node in 0..3 {
            let known = ledger.known(node, &prepared).await;
            assert_eq!((known.state(), known.seq), (CommandState::Committed, reply.seq), "node {node}, command {n}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_is_pending_while_there_is_no_majority_and_committed_once_there_is() {
    let mut ledger = Ledger::start().await;
    let prepared = command(&ledger, "suspend", now_ms() + 600_000).await;
    ledger.settled().await;
    let leader = ledger.leader().await;
    let at = ledger.names().iter().position(|n| *n == leader).unwrap();
    let followers: Vec<String> = ledger.names().into_iter().filter(|n| *n != leader).collect();
    followers.iter().for_each(|name| ledger.kill(name));

    let mut node = ledger.client_for(at, &prepared.submission);
    let request = vermilion_proto::SubmitRequest { tag: 0, submission: prepared.submission.clone() };
    let waiting = tokio::spawn(async move { node.submit(request).await });
    until("a pending command", async || (ledger.known(at, &prepared).await.state() == CommandState::Pending).then_some(())).await;

    followers.iter().for_each(|name| ledger.launch(name));
    // Whether the leader's entry or the same bytes sent again: the id has one record.
    let recorded = ledger.client.connection.submit_within(&prepared, Duration::from_secs(60)).await.unwrap().accepted().unwrap();
    let size = ledger.settled().await;
    for node in 0..3 {
        let known = ledger.known(node, &prepared).await;
        assert_eq!((known.state(), known.seq), (CommandState::Committed, recorded.seq));
    }
    let first = waiting.await.unwrap().unwrap().into_inner();
    match first.state() {
        CommandState::Committed => assert_eq!(first.seq, recorded.seq),
        CommandState::Unknown | CommandState::Busy => {}
        other => panic!("{other:?}: {first:?}"),
    }
    assert_eq!(ledger.client.connection.submit(&prepared).await.unwrap().accepted().unwrap(), recorded);
    assert_eq!(ledger.settled().await, size);
}
