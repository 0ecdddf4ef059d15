//! Nodes that lie, with the keys of real ones, and who catches them. The table of `docs/proofs.md`
//! says which lie is caught by what; each line of it is a test here or is named there.

use crate::connections::{channel, nodes};
use base64::prelude::{BASE64_STANDARD, Engine as _};
use std::path::Path;
use vermilion_client::receipt;
use vermilion_crypto::{SigningKey, decode_secret};
use vermilion_ledger::{
    Checkpoint, Conflict, Digest, Divergence, SignedNote, TileStore, Tree, Trust, bundle_entries, check_consistency, cosign, items_path,
    items_root, leaf_hash, make_checkpoint, tile_path, verify,
};
use vermilion_proto::peer_client::PeerClient;
use vermilion_proto::{Command, CosignRequest, Envelope, LicenceItem, Message as _, Receipt, ReceiptRequest, Record, body::Of};
use vermilion_registry::stored;
use vermilion_testnet::layout::ORIGIN;
use vermilion_testnet::processes;
use vermilion_tests::{Ledger, Rows, http, inspection, until};

/// Keys that were stolen from nodes' disks.
struct Thief {
    ledger: SigningKey,
    cosigning: Vec<(String, SigningKey)>,
}

fn stolen(ledger: &Ledger, nodes: usize) -> Thief {
    let read = |path: &Path| SigningKey::from_seed(&decode_secret(&std::fs::read_to_string(path).unwrap(), None).unwrap());
    let cosigning = |name: &String| (format!("{ORIGIN}/{name}"), read(&ledger.node_dir(name).join("cosigning.pem")));
    let names = ledger.names();
    Thief { ledger: read(&ledger.node_dir("city").join("ledger.pem")), cosigning: names.iter().take(nodes).map(cosigning).collect() }
}

impl Thief {
    fn sign(&self, size: u64, root: Digest, time_s: u64) -> Vec<u8> {
        let mut note = make_checkpoint(&Checkpoint { origin: ORIGIN.into(), size, root }, &self.ledger).unwrap();
        for (name, key) in &self.cosigning {
            note.add(cosign(note.body(), name, key, time_s).unwrap()).unwrap();
        }
        note.to_bytes()
    }
}

fn now_s() -> u64 {
    vermilion_client::clock::now_ms() / 1000
}

async fn newest(address: &str) -> (Checkpoint, Vec<u8>) {
    let note = http::get(address, "/checkpoint").await.body;
    (Checkpoint::parse(SignedNote::parse(&note).unwrap().body()).unwrap(), note)
}

/// Shows a note to a node, as another node would.
/// As the third node, whose machine the thief has. A node that stops may be gone before its answer is.
async fn show(ledger: &Ledger, node: usize, note: Vec<u8>) -> Result<Vec<u8>, String> {
    let mut peer = PeerClient::new(channel(ledger, node, Some(nodes(ledger, &ledger.names()[2]))));
    peer.cosign(CosignRequest { from: 3, note }).await.map(|reply| reply.into_inner().note).map_err(|s| s.message().to_owned())
}

/// Waits until a node has stopped itself, and reads the evidence that it kept.
async fn evidence(ledger: &Ledger, name: &str, size: u64) -> String {
    let node = ledger.node(name);
    until("a node that stops", async || (!processes::runs(node)).then_some(())).await;
    let log = ledger.log(name);
    assert!(log.contains("two different histories") && log.contains("Do not restart"), "{log}");
    std::fs::read_to_string(node.data_dir.join(format!("conflict-{size}.txt"))).unwrap()
}

/// The two notes of an evidence file, each as it was signed, and what follows them.
fn read_evidence(text: &str) -> ([String; 2], String) {
    let parts: Vec<&str> = text.split("\n\n").collect();
    let note = |n: usize| format!("{}\n\n{}\n", parts[n], parts[n + 1]);
    ([note(0), note(2)], parts[4..].join("\n\n"))
}

async fn one_record(ledger: &Ledger, suspended: bool) {
    let unit = ledger.sample.unit_with_role("using-unit").unwrap().uscc.clone();
    let city = ledger.client.managing_unit().to_owned();
    ledger.client.change_unit(&city, &unit, suspended, &inspection()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_conflicting_cosignature_stops_a_node_with_evidence_that_others_can_check() {
    let ledger = Ledger::start().await;
    let size = ledger.settled().await;
    let trust = ledger.trust();
    let liar = Thief { cosigning: stolen(&ledger, 3).cosigning.split_off(2), ..stolen(&ledger, 0) };
    let names = ledger.names();
    // The liar's own cosignature alone: it holds no ledger key.
    let forged = Checkpoint { origin: ORIGIN.into(), size, root: [7; 32] };
    let (name, key) = &liar.cosigning[0];
    let forged = SignedNote::new(&forged.body(), vec![cosign(&forged.body(), name, key, now_s()).unwrap()]).unwrap().to_bytes();

    // What nobody of the ledger signed stops nobody.
    let stranger = SigningKey::generate().unwrap();
    let body = Checkpoint { origin: ORIGIN.into(), size, root: [7; 32] }.body();
    let unsigned = SignedNote::new(&body, vec![cosign(&body, name, &stranger, now_s()).unwrap()]).unwrap().to_bytes();
    show(&ledger, 0, unsigned).await.unwrap_err();
    one_record(&ledger, true).await;
    ledger.settled().await;

    let victim = names[0].clone();
    show(&ledger, 0, forged).await.unwrap_err();
    let text = evidence(&ledger, &victim, size).await;
    let ([one, other], rest) = read_evidence(&text);
    assert!(rest.trim().is_empty(), "{rest}");
    let conflict = Conflict::detect(one.as_bytes(), other.as_bytes(), &trust).unwrap().unwrap();
    assert_eq!((conflict.size, conflict.signed_both), (size, vec![name.clone()]), "the evidence names who signed both");

    // It does not start again by itself, and an audit of its directory reports the evidence.
    let run = vermilion_tests::run_alone(&ledger.node_dir(&victim)).await;
    assert!(matches!(&run, vermilion_tests::LoneRun::Ended { code: 70, said } if said.contains("shows two histories")), "{run:?}");
    let audit = ledger.audit(&[ledger.node(&victim).data_dir.clone()]);
    assert_eq!((audit.code, audit.report["counts"]["conflict-evidence"].as_u64()), (1, Some(1)), "{:#}", audit.report);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_history_signed_at_a_size_that_others_passed_is_found_against_their_tree() {
    let ledger = Ledger::start().await;
    one_record(&ledger, true).await;
    let size = ledger.settled().await;
    let (of, own) = newest(&ledger.nodes()[0].http).await;
    assert_eq!(of.size, size);
    // Just before the commitment record: a size at which no honest node makes a checkpoint.
    let small = size - 1;
    let leaves = leaves(&ledger.nodes()[0].http, size).await;
    let tree = tree_of(&leaves[..small as usize]);
    let thief = Thief { cosigning: stolen(&ledger, 3).cosigning.split_off(2), ..stolen(&ledger, 0) };
    let names = ledger.names();
    // What is true is no conflict, whoever says it and where.
    show(&ledger, 1, thief.sign(small, tree.root(), now_s())).await.unwrap();
    // A history that another continued from there.
    show(&ledger, 1, thief.sign(small, [9; 32], now_s())).await.unwrap_err();
    let text = evidence(&ledger, &names[1], small).await;
    let ([old, new], rest) = read_evidence(&text);
    let mut lines = rest.lines();
    assert_eq!(lines.next(), Some(format!("consistency {small} {size}").as_str()));
    let hashes: Vec<Digest> = lines.map(|l| BASE64_STANDARD.decode(l).unwrap().try_into().unwrap()).collect();
    // By the evidence alone: the larger tree, cosigned by others, begins otherwise than the liar signed.
    let trust = ledger.trust();
    let proved = Divergence::detect(old.as_bytes(), new.as_bytes(), hashes[0], &hashes[1..], &trust).unwrap().unwrap();
    assert_eq!(proved.root, tree.root());
    assert_eq!(SignedNote::parse(new.as_bytes()).unwrap().body(), SignedNote::parse(&own).unwrap().body());
}

/// Every leaf below a size, as the public may read them.
async fn leaves(address: &str, size: u64) -> Vec<Vec<u8>> {
    let mut leaves = Vec::new();
    while (leaves.len() as u64) < size {
        let width = (size - leaves.len() as u64).min(256) as usize;
        let path = tile_path(0, leaves.len() as u64 / 256, width).replacen("tile/0/", "/tile/entries/", 1);
        let bundle = http::get(address, &path).await.body;
        leaves.extend(bundle_entries(&bundle).unwrap().into_iter().map(<[u8]>::to_vec));
    }
    leaves
}

fn tree_of(leaves: &[Vec<u8>]) -> Tree {
    let mut tree = Tree::new();
    leaves.iter().for_each(|leaf| drop(tree.append(leaf_hash(leaf))));
    tree
}

/// The sample ledgers of these tests are of fewer than 256 records.
struct NoTiles;

impl TileStore for NoTiles {
    type Error = std::io::Error;
    fn tile(&self, _: u8, _: u64) -> Result<Option<Vec<u8>>, std::io::Error> {
        Ok(None)
    }
}

/// A true receipt and the leaves of its ledger: what a thief of keys works with.
struct Scene {
    ledger: Ledger,
    receipt: Receipt,
    leaves: Vec<Vec<u8>>,
    honest: (Checkpoint, Vec<u8>),
}

async fn scene() -> Scene {
    let ledger = Ledger::start().await;
    let rows = Rows::fresh(ledger.dir(), &ledger.sample, 60);
    ledger.issue_all(&rows).await;
    let size = ledger.settled().await;
    let identifier = rows.one("营业执照")["certificateIdentifier"].as_str().unwrap().to_owned();
    let asker = ledger.client.asker(None).unwrap();
    let receipt = ledger.client.connection.receipt(&ReceiptRequest { identifier, ..Default::default() }, Some(&asker)).await.unwrap();
    let address = ledger.nodes()[0].http.clone();
    let (leaves, honest) = (leaves(&address, size).await, newest(&address).await);
    assert_eq!((honest.0.size, honest.0.root, size < 256), (size, tree_of(&leaves).root(), true));
    Scene { ledger, receipt, leaves, honest }
}

impl Scene {
    /// The receipt with another record, in a tree of the same size whose checkpoint the thief signs.
    /// Also the thief's tree.
    fn forge(&self, record: &Record, thief: &Thief) -> (Receipt, Tree) {
        let bytes = record.encode_to_vec();
        let before: Digest = self.receipt.chain_before.as_slice().try_into().unwrap();
        let mut leaves = self.leaves.clone();
        leaves[record.seq as usize] = stored::open_behind(&bytes, &before).unwrap().leaf.encode();
        let tree = tree_of(&leaves);
        let inclusion = tree.inclusion(&NoTiles, tree.size(), record.seq).unwrap();
        let receipt = Receipt {
            record: bytes,
            tree_size: tree.size(),
            inclusion: inclusion.iter().map(|h| h.to_vec()).collect(),
            checkpoint: thief.sign(tree.size(), tree.root(), now_s()),
            ..self.receipt.clone()
        };
        (receipt, tree)
    }

    fn trust(&self, quorum: usize) -> Trust {
        let settings = vermilion_ledger::TrustSettings { quorum, ..self.ledger.trust().settings().clone() };
        Trust::new(settings).unwrap()
    }
}

/// Which of genuine, issued and unaltered a check grants.
fn verdict(receipt: &Receipt, trust: &Trust) -> [bool; 3] {
    let checked = receipt::check(receipt, trust);
    [checked.genuine.is_ok(), checked.issued.is_ok(), checked.unaltered.is_ok()]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_licence_that_no_unit_signed_is_refused_even_under_all_the_nodes_keys() {
    let scene = scene().await;
    assert_eq!(verdict(&scene.receipt, &scene.trust(3)), [true; 3]);
    let mut record = Record::decode(scene.receipt.record.as_slice()).unwrap();
    let mut envelope = Envelope::decode(record.envelope.clone()).unwrap();
    let mut command = Command::decode(envelope.payload.as_slice()).unwrap();
    let mut item = LicenceItem::decode(scene.receipt.item.as_slice()).unwrap();
    item.effective_from -= 3650;
    let items = [item.encode_to_vec()];
    let Some(Of::IssueLicences(of)) = &mut command.body.as_mut().unwrap().of else { panic!("another command") };
    (of.items_root, of.items_count) = (items_root(&items).to_vec(), 1);
    envelope.payload = command.encode_to_vec();
    record.envelope = envelope.encode_to_vec().into();
    record.outcome = Some(vermilion_proto::Outcome { refused: vec![], ..record.outcome.unwrap() });
    let with_item = |receipt: Receipt| Receipt {
        item: items[0].clone(),
        item_position: 0,
        item_path: items_path(&items, 0).unwrap().iter().map(|h| h.to_vec()).collect(),
        ..receipt
    };
    for (thieves, genuine) in [(1, false), (2, false), (3, true)] {
        let (forged, _) = scene.forge(&record, &stolen(&scene.ledger, thieves));
        // Three stolen nodes of three sign any tree; the unit's signature they do not have.
        assert_eq!(verdict(&with_item(forged), &scene.trust(3)), [genuine, false, true], "{thieves} nodes' keys");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_record_fails_its_quorum_or_whoever_compares_two_checkpoints() {
    let scene = scene().await;
    let mut record = Record::decode(scene.receipt.record.as_slice()).unwrap();
    // A year earlier: nothing of this is the unit's to sign.
    record.time_ms -= 31_536_000_000;
    let (old, old_note) = &scene.honest;
    for (thieves, quorum, holds) in [(1, 3, false), (2, 3, false), (2, 2, true), (3, 3, true)] {
        let trust = scene.trust(quorum);
        let (forged, tree) = scene.forge(&record, &stolen(&scene.ledger, thieves));
        assert_eq!(verdict(&forged, &trust), [holds, true, true], "{thieves} of 3 nodes' keys, quorum {quorum}");
        assert_eq!(holds, trust.holds_against().is_none_or(|against| thieves > against));
        // Whoever holds an honest checkpoint too has proof, which names the thieves.
        let conflict = Conflict::detect(old_note, &forged.checkpoint, &trust).unwrap().unwrap();
        assert_eq!(conflict.signed_both.len(), 1 + thieves, "{:?}", conflict.signed_both);
        // Nor does the forged history grow out of the honest one, whatever proof it is shown with.
        let mut later = tree.clone();
        later.append(leaf_hash(b"another record"));
        let proof = later.consistency(&NoTiles, old.size, later.size()).unwrap();
        check_consistency(tree.size(), &tree.root(), later.size(), &later.root(), &proof).unwrap();
        assert!(check_consistency(old.size, &old.root, later.size(), &later.root(), &proof).is_err());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rolled_back_history_does_not_continue_what_a_client_saw() {
    let scene = scene().await;
    let (old, old_note) = &scene.honest;
    // All nodes are the thief's: the last ten records never were, and the history goes on without them.
    let mut leaves = scene.leaves[..scene.leaves.len() - 10].to_vec();
    leaves.extend((0..30).map(|n| vec![n; 84]));
    let (tree, trust) = (tree_of(&leaves), scene.trust(3));
    let note = stolen(&scene.ledger, 3).sign(tree.size(), tree.root(), now_s());
    verify(&note, &trust).unwrap().check_quorum(&trust).unwrap();
    assert_eq!(Conflict::detect(old_note, &note, &trust).unwrap(), None, "of two sizes a proof decides");
    let proof = tree.consistency(&NoTiles, old.size, tree.size()).unwrap();
    assert!(check_consistency(old.size, &old.root, tree.size(), &tree.root(), &proof).is_err());
    // The honest nodes prove theirs.
    one_record(&scene.ledger, true).await;
    let size = scene.ledger.settled().await;
    let (address, path) = (&scene.ledger.nodes()[2].http, format!("/v1/consistency?from={}&to={size}", old.size));
    // A node holds a checkpoint a moment before it publishes it.
    let answer = until("the proof", async || Some(http::get(address, &path).await).filter(|answer| answer.code == 200)).await.json();
    let proof: Vec<Digest> = answer["proof"]
        .as_array()
        .unwrap()
        .iter()
        .map(|h| BASE64_STANDARD.decode(h.as_str().unwrap()).unwrap().try_into().unwrap())
        .collect();
    let new = Checkpoint::parse(SignedNote::parse(answer["to_checkpoint"].as_str().unwrap().as_bytes()).unwrap().body()).unwrap();
    check_consistency(old.size, &old.root, new.size, &new.root, &proof).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_checkpoint_signed_again_is_no_fresher_than_its_quorum() {
    let scene = scene().await;
    let (old, old_note) = &scene.honest;
    let trust = scene.trust(3);
    let honest = verify(old_note, &trust).unwrap().as_of(&trust).unwrap();
    let tomorrow = now_s() + 86_400;
    let again = |thieves: usize| {
        let fresh = stolen(&scene.ledger, thieves).sign(old.size, old.root, tomorrow);
        vermilion_ledger::merge(old_note, &fresh, &trust).unwrap().to_bytes()
    };
    for thieves in [1, 2] {
        let verified = verify(&again(thieves), &trust).unwrap();
        verified.check_quorum(&trust).unwrap();
        assert_eq!(verified.as_of(&trust), Some(honest), "{thieves} nodes' keys");
    }
    assert_eq!(verify(&again(3), &trust).unwrap().as_of(&trust), Some(tomorrow));
    // An honest node does not sign an old checkpoint again, whoever shows it to it.
    one_record(&scene.ledger, true).await;
    scene.ledger.settled().await;
    let told = show(&scene.ledger, 1, again(1)).await.unwrap();
    let times = verify(&told, &trust).unwrap().cosigners;
    assert_eq!(times.iter().filter(|c| c.time_s == tomorrow).count(), 1, "{times:?}");
}
