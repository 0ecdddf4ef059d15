//! A node that joins takes the state that a quorum vouches for, and the history behind it; what a peer
//! made of either is refused by name.

use crate::join::{City, NAME, step, told};
use vermilion_client::change::Grounds;
use vermilion_client::config::NodeEntry;
use vermilion_client::{Config, SingleIssuer};
use vermilion_ledger::TILE_WIDTH;
use vermilion_proto::{Evidence, Message as _, Record, StoredRecord};
use vermilion_tests::disk::{Raw, dump};
use vermilion_tests::{Ledger, Rows, inspection, run, until};

/// More than two full tiles of them.
const SINGLE: usize = 560;

/// A ledger with a history: licences issued one by one, one of them erased.
async fn with_history() -> Ledger {
    let ledger = Ledger::start().await;
    let unit = issuing_unit(&ledger);
    let rows = Rows::write(ledger.dir().join("rows"), ledger.sample.licences(5, 12 * SINGLE as u64)).of_unit(&unit);
    let issuer = SingleIssuer::new(&ledger.client, &unit).await.unwrap();
    let mut under_way = tokio::task::JoinSet::new();
    for row in &rows[..SINGLE] {
        let tags = issuer.tags(&ledger.client, row).await.unwrap();
        let prepared = issuer.prepare(row, &tags).unwrap();
        let client = ledger.client.clone();
        under_way.spawn(async move {
            client.connection.submit(&prepared).await.unwrap().recorded().unwrap();
        });
    }
    under_way.join_all().await;
    let evidence = vec![Evidence { kind: "judgment".into(), digest: vec![1; 32], ..Evidence::default() }];
    let grounds = Grounds { reason: "court-decision".into(), legal_basis: vec!["PIPL-47".into()], evidence, ..Grounds::default() };
    ledger.client.erase(&rows[7].identifier, None, &grounds).await.unwrap();
    ledger
}

/// Changes what a stopped node keeps of a licence that nothing will happen to, and records of long ago, some of every
/// stretch that is asked for: whoever is slower is not asked for all.
fn lie(raw: &Raw) {
    let rows = raw.dump();
    let (key, mut licence) = rows["state"].iter().find(|(key, _)| key.starts_with(b"l/")).unwrap().clone();
    *licence.last_mut().unwrap() ^= 1;
    raw.put("state", &key, &licence);
    // Those behind the last full tile it reads itself when it starts.
    let full = rows["records"].len() / TILE_WIDTH * TILE_WIDTH;
    for (key, bytes) in rows["records"].iter().take(full).skip(5).step_by(5) {
        let mut stored = StoredRecord::decode(bytes.as_slice()).unwrap();
        let mut record = Record::decode(stored.record).unwrap();
        record.time_ms += 1;
        stored.record = record.encode_to_vec().into();
        raw.put("records", key, &stored.encode_to_vec());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_takes_the_state_that_a_quorum_vouches_for_and_refuses_what_one_peer_made_of_it() {
    let mut ledger = with_history().await;
    let city = City::of(&ledger).await;
    ledger.settled().await;
    // The first to be asked.
    let liar = ledger.names()[0].clone();
    ledger.stop_all();
    lie(&Raw::open(&ledger.node(&liar).data_dir));
    ledger.start_all().await;

    city.admit(&mut ledger, 4).await;
    told(&ledger, &step("took-state")).await;
    assert!(ledger.log(NAME).contains("the state's digest is "), "the liar was asked, and its state refused");
    // Killed while it fetches its history, again and again: it goes on where it was.
    for _ in 0..3 {
        ledger.kill(NAME);
        ledger.go_on_joining(NAME);
        told(&ledger, &step("started")).await;
    }
    told(&ledger, "the ledger's history is whole").await;
    let log = ledger.log(NAME);
    let mut refused = log.lines().filter(|line| line.contains("a peer's history was refused"));
    assert!(refused.any(|line| line.contains("the chain does not go back to record")), "the liar's records were asked for, and refused");
    told(&ledger, &step("voter")).await;

    // A receipt that it gives of a record of before it came holds for whoever pinned the founders.
    receipt_from(&ledger, NAME).await;

    // What it has is what the honest have, to the byte: records, tiles, bundles, state, vault.
    let unit = ledger.sample.unit_with_role("using-unit").unwrap().uscc.clone();
    for suspended in [true, false] {
        ledger.client.change_unit(ledger.client.managing_unit(), &unit, suspended, &inspection()).await.unwrap();
    }
    ledger.settled().await;
    ledger.stop_all();
    let honest = ledger.names()[1].clone();
    let theirs = dump(&ledger.node(&honest).data_dir).unwrap();
    let ours = dump(&ledger.node(NAME).data_dir).unwrap();
    for column in ["records", "tiles", "entries", "state", "vault", "wraps"] {
        assert!(ours[column] == theirs[column], "{column}: {} rows and {}", ours[column].len(), theirs[column].len());
    }
    ledger.audit(&[ledger.node(&honest).data_dir.clone(), ledger.node(NAME).data_dir.clone()]).assert_clean();
}

/// Takes a receipt of the first licence from this node alone, and checks it without a network.
async fn receipt_from(ledger: &Ledger, name: &str) {
    let folder = ledger.dir();
    let mut config = Config::parse(&std::fs::read_to_string(folder.join("client.toml")).unwrap(), folder).unwrap();
    let node = ledger.node(name);
    config.nodes = vec![NodeEntry { name: node.name.clone(), grpc: node.grpc.clone(), http: node.http.clone() }];
    std::fs::write(folder.join("newcomer.toml"), config.to_toml().unwrap()).unwrap();
    let identifier = Rows::read(&folder.join("rows")).of_unit(&issuing_unit(ledger))[0].identifier.clone();
    let got = format!("vermilion --config newcomer.toml receipt get {identifier} --out newcomer.vmr");
    until("a receipt from the newcomer", async || (run(folder, &got).0 == 0).then_some(())).await;
    let check = format!("vermilion receipt check newcomer.vmr --trust trust.json --need-status --licence {identifier}");
    let (code, said, error) = run(folder, &check);
    // Its dates may be over; everything in it holds.
    assert!(code == 0 || code == 6, "{said}{error}");
}

fn issuing_unit(ledger: &Ledger) -> String {
    ledger.sample.unit_with_role("issuing-unit").unwrap().uscc.clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_quorum_there_is_no_state_to_take_and_the_records_are_replayed() {
    let mut ledger = with_history().await;
    let city = City::of(&ledger).await;
    ledger.settled().await;
    // Three of three must have cosigned. Without one of them no newer checkpoint has the quorum.
    let third = ledger.names()[2].clone();
    ledger.kill(&third);
    city.admit(&mut ledger, 4).await;
    told(&ledger, "the records are replayed").await;
    assert!(ledger.log(NAME).contains("has not the quorum's cosignatures"));
    ledger.launch(&third);
    told(&ledger, &step("voter")).await;
    until("the same ledger everywhere", async || (ledger.settled().await > SINGLE as u64).then_some(())).await;
    ledger.stop_all();
    ledger.audit(&ledger.data_dirs()).assert_clean();
}
