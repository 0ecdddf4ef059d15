//! Witnesses outside the ledger's nodes: what is published with them, and without.

use vermilion_client::audit::TrustFile;
use vermilion_ledger::{Checkpoint, Digest, SignedNote, verify};
use vermilion_proto::{Receipt, ReceiptRequest};
use vermilion_tests::witness::HonestWitness;
use vermilion_tests::{Ledger, http, inspection, until};

async fn published(ledger: &Ledger, node: usize) -> Option<(u64, Vec<u8>)> {
    let answer = http::get(&ledger.nodes()[node].http, "/checkpoint").await;
    let size = |note: &[u8]| Checkpoint::parse(SignedNote::parse(note).unwrap().body()).unwrap().size;
    (answer.code == 200).then(|| (size(&answer.body), answer.body))
}

async fn metric(ledger: &Ledger, node: usize, name: &str) -> f64 {
    let text = http::get(&ledger.nodes()[node].http, "/metrics").await.text();
    text.lines().filter(|l| l.starts_with(name)).map(|l| l.rsplit(' ').next().unwrap().parse::<f64>().unwrap()).sum()
}

async fn record(ledger: &Ledger, suspended: bool) -> u64 {
    let unit = ledger.sample.unit_with_role("using-unit").unwrap().uscc.clone();
    let city = ledger.client.managing_unit().to_owned();
    ledger.client.change_unit(&city, &unit, suspended, &inspection()).await.unwrap().seq
}

#[tokio::test(flavor = "multi_thread")]
async fn a_closed_ledger_publishes_only_what_the_outside_witness_cosigned() {
    let mut witness = HonestWitness::bind_over_tls().await;
    let mut ledger = Ledger::start_with(&witness.table("closed")).await;
    let key = ledger.trust().settings().ledger_key;
    // What was published before the configuration changed stays.
    let before = published(&ledger, 0).await.unwrap().0;
    let seq = record(&ledger, true).await;
    // Commands are taken and applied, and every node cosigns; nothing is published.
    until("a checkpoint of all nodes", async || {
        let all = [ledger.status_of("city").await?, ledger.status_of("futian").await?, ledger.status_of("nanshan").await?];
        all.iter().all(|s| s.checkpoint_size > seq).then_some(())
    })
    .await;
    until("a question that failed", async || (metric(&ledger, 0, "vermilion_outside_witness_failures_total").await > 0.0).then_some(()))
        .await;
    for node in 0..3 {
        assert_eq!(published(&ledger, node).await.unwrap().0, before);
        let beyond = format!("/v1/consistency?from={before}&to={}", seq + 2);
        assert_eq!(http::get(&ledger.nodes()[node].http, &beyond).await.code, 404);
    }

    witness.open(key);
    let trust = {
        let file = TrustFile { outside: vec![witness.verifier_key()], outside_need: 1, ..TrustFile::of(&ledger.trust()) };
        file.trust().unwrap()
    };
    for node in 0..3 {
        let note = until("a published checkpoint", async || published(&ledger, node).await.filter(|(size, _)| *size > seq)).await.1;
        let verified = verify(&note, &trust).unwrap();
        assert_eq!((verified.outside.len(), verified.outside[0].name.as_str()), (1, "witness.example/w1"));
        // Whoever does not know the witness passes over its line.
        assert!(verify(&note, &ledger.trust()).unwrap().outside.is_empty());
    }
    let size = ledger.settled().await;
    until("the newest checkpoint's cosignature", async || (witness.size() == size).then_some(())).await;
    // Every node asks for itself, and keeps what it was answered.
    for node in 0..3 {
        until("the metric", async || (metric(&ledger, node, "vermilion_outside_witness_records").await as u64 == size).then_some(())).await;
    }
    verify(&published(&ledger, 1).await.unwrap().1, &trust).unwrap().check_quorum(&trust).unwrap();

    // After a restart nobody asks from the beginning: what the witness saw is known.
    ledger.stop_all();
    let asked = witness.asked().len();
    ledger.start_all().await;
    let seq = record(&ledger, false).await;
    until("what is published after a restart", async || published(&ledger, 2).await.filter(|(size, _)| *size > seq)).await;
    let since = witness.asked().split_off(asked);
    assert!(!since.is_empty() && !since.contains(&0), "{since:?}");
    ledger.stop_all();
    ledger.audit(&ledger.data_dirs()).assert_clean();
}

/// What a node gives of a command within a moment, or why it gives nothing.
async fn receipt(ledger: &Ledger, node: usize, id: &Digest) -> Result<Receipt, String> {
    let request = ReceiptRequest { command_id: id.to_vec(), wait_ms: 300, ..Default::default() };
    let answer = ledger.client.connection.client_of(node).unwrap().get_receipt(request).await;
    answer.map(|receipt| receipt.into_inner()).map_err(|status| status.message().to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_closed_ledger_gives_no_receipt_before_its_witness_and_shows_it_after_a_kill_what_waited() {
    let mut witness = HonestWitness::bind().await;
    let asks = witness.table("closed");
    // The city's node asks, the districts' keep what they hear.
    let hears: String = asks.lines().filter(|line| !line.starts_with("url")).map(|line| format!("{line}\n")).collect();
    let mut ledger = Ledger::start_with_each(|name| if name == "city" { asks.clone() } else { hears.clone() }).await;
    let key = ledger.trust().settings().ledger_key;
    let trust = TrustFile { outside: vec![witness.verifier_key()], outside_need: 1, ..TrustFile::of(&ledger.trust()) }.trust().unwrap();
    let unit = ledger.sample.unit_with_role("using-unit").unwrap().uscc.clone();
    let recorded = ledger.client.change_unit(ledger.client.managing_unit(), &unit, true, &inspection()).await.unwrap();
    until("a checkpoint of all nodes", async || {
        ledger.statuses().await?.iter().all(|status| status.checkpoint_size > recorded.seq).then_some(())
    })
    .await;
    for node in 0..3 {
        let refused = receipt(&ledger, node, &recorded.id).await.unwrap_err();
        assert!(refused.starts_with("not-cosigned"), "{refused}");
    }
    // Over REST nobody says how long to wait.
    let over_rest = http::get(&ledger.nodes()[1].http, &format!("/v1/receipts/{}", hex::encode(recorded.id))).await;
    assert_eq!(over_rest.problem(), (503, "not-cosigned".to_owned()));

    // No record comes any more: the city's node asks for what it had when it was killed, and all publish that.
    ledger.kill("city");
    witness.open(key);
    ledger.start_all().await;
    for node in 0..3 {
        until("the published checkpoint", async || published(&ledger, node).await.filter(|(size, _)| *size > recorded.seq)).await;
        let given = until("the receipt", async || receipt(&ledger, node, &recorded.id).await.ok()).await;
        let verified = verify(&given.checkpoint, &trust).unwrap();
        assert_eq!(verified.outside.len(), 1);
        verified.check_quorum(&trust).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_open_ledger_publishes_without_its_witness_and_says_so() {
    let mut witness = HonestWitness::bind().await;
    let ledger = Ledger::start_with(&witness.table("open")).await;
    record(&ledger, true).await;
    let size = ledger.settled().await;
    until("the published checkpoint", async || published(&ledger, 0).await.filter(|(found, _)| *found == size)).await;
    until("failures", async || (metric(&ledger, 0, "vermilion_outside_witness_failures_total").await > 0.0).then_some(())).await;
    until("the word for it", async || ledger.log("city").contains("an outside witness did not cosign").then_some(())).await;
    // When it comes back, the newest is cosigned after all.
    witness.open(ledger.trust().settings().ledger_key);
    until("the cosignature", async || (witness.size() >= size).then_some(())).await;
}
