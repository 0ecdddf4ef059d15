//! The office of one of three nodes, with an outside witness beside them.

use super::*;
use crate::edge::RightEdge;
use tempfile::TempDir;
use vermilion_crypto::SigningKey;
use vermilion_ledger::{StatusTree, Witness, leaf_hash, make_checkpoint};
use vermilion_proto::GenesisNode;
use vermilion_storage::Mode;

const ORIGIN: &str = "city.example/ledger";
const OUTSIDE: &str = "witness.example";

fn key(n: u8) -> SigningKey {
    SigningKey::from_seed(&[n; 32])
}

fn genesis() -> Genesis {
    let node =
        |n: u8| GenesisNode { raft_id: n.into(), name: format!("n{n}"), cosigning_key: key(n).public().0.to_vec(), ..Default::default() };
    Genesis { origin: ORIGIN.into(), ledger_key: key(9).public().0.to_vec(), nodes: (1..=3).map(node).collect(), ..Default::default() }
}

fn store() -> (TempDir, Store) {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path(), Mode::Node).unwrap();
    (folder, store)
}

/// The office after a start, where so many outside witnesses must cosign.
fn office(store: &Store, outside_need: usize) -> (WitnessOffice, Arc<Recent>) {
    let outside = vec![Witness { name: OUTSIDE.into(), key: key(20).public() }];
    let policy = Policy { outside, outside_need, ..Policy::default() };
    let keys =
        NodeKeys { node: key(1), cosigning: key(1), ledger: vec![key(9)], lookup: None, vault: Vec::new(), tls: None, issuing: None };
    let recent: Arc<Recent> = Arc::default();
    let mut right = RightEdge::default();
    for n in 0..400u64 {
        let _ = right.tree.append(leaf_hash(&n.to_be_bytes()));
    }
    let shown = (Arc::new(Edge::new(right)), Arc::default(), Arc::clone(&recent));
    let (fatal, _) = mpsc::unbounded_channel();
    let office = WitnessOffice::new(store.clone(), (&genesis(), [7; 32]), policy, shown, "n1", &keys, fatal).unwrap();
    office.begin().unwrap();
    (office, recent)
}

fn checkpoint(size: u64) -> Checkpoint {
    Checkpoint { origin: ORIGIN.into(), size, root: vermilion_crypto::sha256(&size.to_be_bytes()) }
}

fn line(size: u64, name: &str, n: u8) -> SignatureLine {
    cosign(&checkpoint(size).body(), name, &key(n), 1_800_000_000).unwrap()
}

/// A checkpoint that the ledger key and these nodes signed.
fn note(size: u64, nodes: &[u8]) -> Vec<u8> {
    let mut note = make_checkpoint(&checkpoint(size), &key(9)).unwrap();
    nodes.iter().for_each(|n| note.add(line(size, &format!("{ORIGIN}/n{n}"), *n)).unwrap());
    note.to_bytes()
}

fn signed(office: &WitnessOffice) -> u64 {
    *office.watch_signed().borrow()
}

#[tokio::test]
async fn what_waits_for_its_outside_witness_waits_for_it_after_a_start_too() {
    let (_folder, store) = store();
    store.put_checkpoint(10, &note(10, &[1, 2, 3])).unwrap();
    store.put_published(10).unwrap();
    for size in [12, 14] {
        store.put_checkpoint(size, &note(size, &[1, 2, 3])).unwrap();
    }
    // The ledger key's signature of the last has not come yet.
    let unsigned = SignedNote::new(&checkpoint(16).body(), vec![line(16, &format!("{ORIGIN}/n1"), 1)]).unwrap();
    store.put_checkpoint(16, &unsigned.to_bytes()).unwrap();
    let closed = Arc::new(office(&store, 1).0);
    assert_eq!((signed(&closed), closed.published_size(), *closed.watch().borrow()), (14, Some(10), 16));
    assert!(closed.shown(14).unwrap().is_none() && closed.newest_quorate(11).unwrap().is_none());
    assert_eq!(closed.newest().unwrap().map(|(size, _)| size), Some(10));
    closed.add_outside(14, line(14, OUTSIDE, 20)).await.unwrap();
    assert_eq!(closed.published_size(), Some(14));
    assert_eq!((closed.shown(14).unwrap().is_some(), closed.newest_quorate(11).unwrap().map(|(size, _)| size)), (true, Some(14)));

    // Nor does it take a new record to publish it where the configuration no longer asks for the witness.
    store.put_checkpoint(18, &note(18, &[1, 2, 3])).unwrap();
    let (closed, _) = office(&store, 1);
    assert_eq!((signed(&closed), closed.published_size()), (18, Some(14)));
    let (open, _) = office(&store, 0);
    assert_eq!((signed(&open), open.published_size()), (18, Some(18)));
}

#[test]
fn the_newest_with_the_quorum_is_known_though_nobody_asked_and_many_without_it_followed() {
    let (_folder, store) = store();
    let (first, recent) = office(&store, 0);
    let mut statuses = StatusTree::new();
    for size in 1..=300 {
        recent.publish(size, statuses.view());
        store.put_checkpoint(size, &note(size, &[1])).unwrap();
        // The third node goes away after the hundredth.
        first.take(&note(size, if size <= 100 { &[2, 3] } else { &[2] })).unwrap();
    }
    assert_eq!(recent.sizes().last(), Some(&(100, true)));
    let newest = |office: &WitnessOffice, at_least| office.newest_quorate(at_least).unwrap().map(|(size, _)| size);
    assert_eq!([1, 100, 101].map(|at_least| newest(&first, at_least)), [Some(100), Some(100), None]);
    // It is found again after a start.
    let (again, recent) = office(&store, 0);
    assert_eq!([1, 100, 101].map(|at_least| newest(&again, at_least)), [Some(100), Some(100), None]);
    recent.publish(100, statuses.view());
    assert_eq!(recent.sizes(), [(100, true)]);
    // Where too many lie before it, there is still the first that will do.
    for size in 301..=400 {
        store.put_checkpoint(size, &note(size, &[1])).unwrap();
    }
    let (late, _) = office(&store, 0);
    assert_eq!([50, 101].map(|at_least| newest(&late, at_least)), [Some(50), None]);
    // What is not applied again yet proves nothing.
    again.edge.show(&RightEdge::default());
    assert_eq!(newest(&again, 1), None);
}

#[tokio::test]
async fn who_takes_a_note_in_keeps_no_task_from_its_turn_while_the_disk_is_waited_for() {
    let (_folder, store) = store();
    store.put_checkpoint(10, &note(10, &[1])).unwrap();
    let office = Arc::new(office(&store, 1).0);
    let (held, waits) = (Arc::clone(&office), Arc::new(std::sync::Barrier::new(2)));
    let (begun, released) = (Arc::clone(&waits), Arc::new(std::sync::atomic::AtomicBool::new(false)));
    let done = Arc::clone(&released);
    let (release, until_then) = std::sync::mpsc::channel::<()>();
    // As while this node's own cosignature is synced, which lasts until this task has had its turn, or far too long.
    let syncing = std::thread::spawn(move || {
        let _one = held.merging.lock().unwrap();
        begun.wait();
        let _ = until_then.recv_timeout(std::time::Duration::from_secs(20));
        done.store(true, Ordering::SeqCst);
    });
    waits.wait();
    let of_a_peer = tokio::spawn({
        let office = Arc::clone(&office);
        async move { office.take_in(note(10, &[2])).await }
    });
    let of_outside = tokio::spawn({
        let office = Arc::clone(&office);
        async move { office.add_outside(10, line(10, OUTSIDE, 20)).await }
    });
    tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    assert!(!released.load(Ordering::SeqCst), "this task had its turn while the others waited");
    release.send(()).unwrap();
    let (peer, outside) = (of_a_peer.await.unwrap().unwrap(), of_outside.await.unwrap().unwrap());
    syncing.join().unwrap();
    let whole = store.checkpoint(10).unwrap().unwrap();
    assert!(whole == peer || whole == outside, "neither lost the other's line");
    let verified = verify(&whole, &office.trust()).unwrap();
    assert_eq!((verified.cosigners.len(), verified.outside.len()), (2, 1));
}
