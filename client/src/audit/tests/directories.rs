//! Data directories: state, tiles, vault and database.

use super::sample::{Sample, found, open};
use crate::audit::walk::{Plan, walk};
use crate::audit::{Options, ReadError, Source, Unopened};
use std::path::Path;
use vermilion_ledger::{EntryBundle, Tree};
use vermilion_proto::{Bytes, Message as _, StoredRecord, VaultWraps};
use vermilion_registry::stored::open_record;
use vermilion_storage::{Commit, Mode, Store, VaultPut};

fn audit(dir: &Path) -> Vec<(&'static str, Option<u64>)> {
    let directory = open(dir);
    found(&[&directory as &dyn Source], &Options::default()).1
}

fn change(dir: &Path, commit: &Commit) {
    let store = Store::open(dir, Mode::Node).unwrap();
    store.commit(commit).unwrap();
    store.flush().unwrap();
}

fn written(sample: &Sample) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    sample.write(dir.path());
    dir
}

#[test]
fn a_nodes_directory_is_clean() {
    let mut sample = Sample::busy();
    for n in 0..300 {
        sample.issue(&[&format!("N{n}")]);
    }
    sample.commit();
    let dir = written(&sample);
    let directory = open(dir.path());
    let (report, codes) = found(&[&directory, &sample.source("node")], &Options::default());
    assert_eq!(codes, []);
    assert_eq!((report.records, report.erased, report.licences), (311, Some(1), 303));
}

#[test]
fn a_state_that_the_records_do_not_give() {
    let dir = written(&Sample::busy());
    let mut state = vec![(b"l/iforged.forged.forged".to_vec(), Some(vec![1]))];
    Store::open(dir.path(), Mode::Node).unwrap().records(0, &mut |_, _| true).unwrap();
    {
        let store = Store::open(dir.path(), Mode::Node).unwrap();
        let mut licences = Vec::new();
        vermilion_registry::Kv::scan(&store.state(), b"l/", &mut |key, value| {
            licences.push((key.to_vec(), value.to_vec()));
            true
        })
        .unwrap();
        let (key, mut value) = licences.remove(0);
        value.push(0);
        state.push((key, Some(value)));
        state.push((licences.remove(0).0, None));
    }
    change(dir.path(), &Commit { state, ..Default::default() });
    let codes = audit(dir.path());
    assert_eq!(codes, [("state-missing", None), ("state-extra", None), ("state-differs", None)]);
}

#[test]
fn a_head_and_tiles_that_were_changed() {
    let mut sample = Sample::busy();
    for n in 0..260 {
        sample.issue(&[&format!("N{n}")]);
    }
    let dir = written(&sample);
    change(dir.path(), &Commit { tiles: vec![(0, 0, vec![7; 8192])], ..Default::default() });
    assert_eq!(audit(dir.path()), [("tile-differs", None)]);

    let dir = written(&sample);
    let store = Store::open(dir.path(), Mode::Node).unwrap();
    let mut head = vermilion_registry::query::head(&store.state()).unwrap().unwrap();
    head.licences += 1;
    drop(store);
    change(dir.path(), &Commit { state: vec![(b"h".to_vec(), Some(vermilion_registry::value::encode(&head)))], ..Default::default() });
    assert_eq!(audit(dir.path()), [("head-differs", None)]);
}

/// The leaves of the first 256 records, as a node keeps them.
fn bundle(sample: &Sample) -> Vec<u8> {
    let mut bundle = EntryBundle::default();
    sample.records.iter().find_map(|record| bundle.push(&open_record(record).unwrap().leaf.encode()).unwrap()).unwrap()
}

#[test]
fn entry_bundles_that_were_changed() {
    let mut sample = Sample::busy();
    for n in 0..260 {
        sample.issue(&[&format!("N{n}")]);
    }
    let dir = written(&sample);
    let audit_with = |bundle: Vec<u8>| {
        change(dir.path(), &Commit { entries: vec![(0, bundle)], ..Default::default() });
        audit(dir.path())
    };
    let right = bundle(&sample);
    assert_eq!(audit_with(right.clone()), []);
    let mut flipped = right.clone();
    // Behind length, version, kind, suite, number and time of the first leaf: the record's hash.
    flipped[2 + 20] ^= 1;
    assert_eq!(audit_with(flipped), [("entries-differ", None)]);
    assert_eq!(audit_with([&right[..], &[0]].concat()), [("entries-differ", None)], "no bundle at all");
    assert_eq!(audit_with(Vec::new()), [("entries-differ", None)]);
}

#[test]
fn tiles_and_bundles_beyond_the_tree() {
    let mut sample = Sample::busy();
    for n in 0..260 {
        sample.issue(&[&format!("N{n}")]);
    }
    let dir = written(&sample);
    let tile = || vec![7; 8192];
    change(dir.path(), &Commit { tiles: vec![(0, 1, tile()), (0, 2, tile()), (1, 0, tile()), (9, 0, tile())], ..Default::default() });
    assert_eq!(audit(dir.path()), [("tile-extra", None); 4]);
    let dir = written(&sample);
    change(dir.path(), &Commit { entries: vec![(1, bundle(&sample))], ..Default::default() });
    assert_eq!(audit(dir.path()), [("tile-extra", None)]);
    // Hashes alone show as much.
    let directory = open(dir.path());
    let links = Options { signatures: false, replay: false, ..Options::default() };
    assert_eq!(found(&[&directory as &dyn Source], &links).1, [("tile-extra", None)]);
}

#[test]
fn a_proof_between_checkpoints_that_does_not_hold() {
    let sample = Sample::busy();
    let dir = written(&sample);
    let audit_with = |change: &dyn Fn(&mut Vec<[u8; 32]>)| {
        let store = Store::open(dir.path(), Mode::Node).unwrap();
        let mut tree = Tree::new();
        for record in &sample.records {
            tree.append(open_record(record).unwrap().leaf.hash());
        }
        let mut proof = tree.consistency(&store, 7, 10).unwrap();
        change(&mut proof);
        store.put_consistency(10, 7, &proof).unwrap();
        store.flush().unwrap();
        drop(store);
        audit(dir.path())
    };
    assert_eq!(audit_with(&|_| {}), []);
    assert_eq!(audit_with(&|proof| proof[0][0] ^= 1), [("consistency-differs", Some(9))]);
    assert_eq!(audit_with(&|proof| proof.clear()), [("consistency-differs", Some(9))]);
}

#[test]
fn commitments_behind_the_newest_checkpoint_that_is_kept() {
    let mut sample = Sample::busy();
    sample.commit();
    let kept = *sample.checkpoints.last_key_value().unwrap().0;
    for n in 1..=33 {
        sample.issue(&[&format!("N{n}")]);
        sample.commit();
        sample.checkpoints.pop_last();
        // The newest alone a kill or a backup may have left without.
        let code = match n {
            1 => None,
            2 | 32 => Some("checkpoint-missing"),
            33 => Some("checkpoints-cut"),
            _ => continue,
        };
        assert_eq!(audit(written(&sample).path()), code.map(|code| (code, Some(kept))).into_iter().collect::<Vec<_>>(), "{n}");
    }
    // Of running nodes it is asked which they have.
    assert_eq!(found(&[&sample.source("node")], &Options::default()).1, []);
}

#[test]
fn a_record_rewritten_in_the_database() {
    let sample = Sample::busy();
    let dir = written(&sample);
    let mut source = sample.source("a");
    source.rewrite(7, |record| record.outcome.as_mut().unwrap().refused.clear());
    let records = source.records.iter().map(|(seq, r): (&u64, &StoredRecord)| (*seq, r.encode_to_vec())).collect();
    change(dir.path(), &Commit { records, ..Default::default() });
    let codes = audit(dir.path());
    for code in ["outcome-wrong", "checkpoint-root", "head-differs"] {
        assert!(codes.iter().any(|(c, _)| *c == code), "{code} in {codes:?}");
    }
}

#[test]
fn content_that_was_swapped_lost_or_not_erased() {
    let sample = Sample::busy();
    let dir = written(&sample);
    let put = |ciphertext: Option<u32>, wraps: Vec<u8>| {
        let ciphertexts = ciphertext.map(|position| (position, vec![1, 2, 3].into())).into_iter().collect();
        Commit { vault: vec![VaultPut { seq: 5, ciphertexts, wraps: wraps.into(), text: Bytes::new() }], ..Default::default() }
    };
    change(dir.path(), &put(Some(0), vec![]));
    assert_eq!(audit(dir.path()), [("content-differs", Some(5))]);

    let dir = written(&sample);
    change(dir.path(), &Commit { erase: vec![(5, 0)], ..Default::default() });
    assert_eq!(audit(dir.path()), [("content-missing", Some(5))]);

    // Item 1 of record 5 was erased by record 8.
    let dir = written(&sample);
    change(dir.path(), &put(Some(1), vec![]));
    let codes = audit(dir.path());
    assert!(codes.contains(&("content-not-erased", Some(5))), "{codes:?}");

    let dir = written(&sample);
    let wraps = VaultWraps { suite: 1, wraps: vec![], licence_keys: vec![vec![1], vec![2]], text_key: vec![] };
    change(dir.path(), &put(None, wraps.encode_to_vec()));
    let codes = audit(dir.path());
    assert!(codes.contains(&("content-differs", Some(5))) && codes.contains(&("content-not-erased", Some(5))), "{codes:?}");

    // Item 0 of record 7 was refused.
    let dir = written(&sample);
    let put = VaultPut { seq: 7, ciphertexts: vec![(0, vec![1].into())], wraps: Bytes::new(), text: Bytes::new() };
    change(dir.path(), &Commit { vault: vec![put], ..Default::default() });
    assert_eq!(audit(dir.path()), [("content-extra", Some(7))]);
}

/// Record 5 issued A1 and A2, and record 8 erased A2: the digest of its wrapped keys says nothing any more.
#[test]
fn what_an_erasure_left_of_wrapped_keys_is_compared_and_told_to_be_unchecked() {
    let sample = Sample::busy();
    let (dir, other) = (written(&sample), written(&sample));
    let both = || {
        let (one, two) = (open(dir.path()), open(other.path()));
        found(&[&one, &two], &Options::default())
    };
    let (report, codes) = both();
    assert_eq!(codes, []);
    let unchecked = report.unchecked();
    assert!(unchecked[0].0.contains("wrapped keys") && unchecked[0].0.ends_with("(1)"), "{unchecked:?}");
    // These directories have no Raft log to hold their heads against.
    assert!(unchecked.len() == 3 && unchecked[1..].iter().all(|(en, _)| en.contains("in the head of")), "{unchecked:?}");
    assert_eq!(report.to_json()["not_checked"].as_array().unwrap().len(), 3);
    assert!(report.to_text().contains("NOT CHECKED the wrapped keys"));

    let mut wraps = {
        let store = Store::open(other.path(), Mode::Node).unwrap();
        VaultWraps::decode(store.wraps(5).unwrap().unwrap().as_slice()).unwrap()
    };
    wraps.licence_keys[0][0] ^= 1;
    let put = VaultPut { seq: 5, ciphertexts: vec![], wraps: wraps.encode_to_vec().into(), text: Bytes::new() };
    change(other.path(), &Commit { vault: vec![put], ..Default::default() });
    assert_eq!(audit(other.path()), [], "by itself it cannot be told");
    assert_eq!(both().1, [("content-differs", Some(5))]);
}

#[test]
fn without_erasures_nothing_of_the_vault_is_left_unchecked() {
    let mut sample = Sample::new();
    sample.issue(&["A1", "A2"]);
    sample.commit();
    let dir = written(&sample);
    let directory = open(dir.path());
    let (report, codes) = found(&[&directory as &dyn Source], &Options::default());
    let unchecked = report.unchecked();
    assert!(codes.is_empty() && unchecked.len() == 1 && unchecked[0].0.contains("in the head of"), "{codes:?} {unchecked:?}");
}

#[test]
fn a_copy_of_a_directory_is_as_good() {
    let sample = Sample::busy();
    let (dir, copy) = (written(&sample), tempfile::tempdir().unwrap());
    std::fs::create_dir(copy.path().join("db")).unwrap();
    for entry in std::fs::read_dir(dir.path().join("db")).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), copy.path().join("db").join(entry.file_name())).unwrap();
    }
    assert_eq!(audit(copy.path()), [("storage-check", None)], "without what says how much of the log was synced");
    std::fs::copy(dir.path().join("synced"), copy.path().join("synced")).unwrap();
    drop(dir);
    assert_eq!(audit(copy.path()), []);
}

#[test]
fn a_database_that_lost_what_names_its_files_is_damaged_and_one_that_never_was_cannot_be_read() {
    let sample = Sample::busy();
    let dir = written(&sample);
    let db = dir.path().join("db");
    let manifest = std::fs::read_to_string(db.join("CURRENT")).unwrap();
    for name in ["CURRENT", manifest.trim_end()] {
        let file = db.join(name);
        let bytes = std::fs::read(&file).unwrap();
        std::fs::remove_file(&file).unwrap();
        let why = match crate::audit::Directory::open(dir.path()) {
            Err(ReadError::Damaged(why)) => why,
            other => panic!("without {name}: {:?}", other.err()),
        };
        let unopened = Unopened::new("node".into(), why);
        assert_eq!(found(&[&unopened, &sample.source("a")], &Options::default()).1, [("storage-damaged", None)]);
        std::fs::write(&file, bytes).unwrap();
    }
    assert_eq!(audit(dir.path()), []);
    let said = |dir: &Path| match crate::audit::Directory::open(dir) {
        Err(ReadError::Unreachable(why)) => why,
        other => panic!("{:?}", other.err()),
    };
    let empty = tempfile::tempdir().unwrap();
    assert_eq!(said(empty.path()), "it is no node's data directory (data_dir in node.toml)");
    // Cut short while it was made.
    std::fs::create_dir(empty.path().join("db")).unwrap();
    assert!(said(empty.path()).starts_with("it is no node's data directory"));
    let home = tempfile::tempdir().unwrap();
    sample.write(&home.path().join("data"));
    assert!(said(home.path()).ends_with(&format!("; {} is one", home.path().join("data").display())));
}

#[test]
fn content_of_records_that_are_not_there() {
    let sample = Sample::busy();
    let dir = written(&sample);
    let put = |seq| VaultPut { seq, ciphertexts: vec![(0, vec![1].into())], wraps: vec![1].into(), text: Bytes::new() };
    // 8 is the erasure, which has none; the records end with 9.
    change(dir.path(), &Commit { vault: vec![put(8), put(70)], ..Default::default() });
    let codes = audit(dir.path());
    assert!(codes.contains(&("content-extra", Some(8))) && codes.contains(&("content-extra", Some(70))), "{codes:?}");
}

#[test]
fn a_running_node_shows_records_and_checkpoints_alone() {
    let sample = Sample::busy();
    let source = sample.source("a");
    let (report, _) = found(&[&source as &dyn Source], &Options::default());
    assert!(report.unchecked().iter().any(|(en, _)| en.contains("running nodes")), "{:?}", report.unchecked());
    assert!(report.to_json()["erased"].is_null());
}

#[test]
fn hashes_chain_and_tree_alone() {
    let mut sample = Sample::busy();
    for n in 0..300 {
        sample.issue(&[&format!("N{n}")]);
    }
    sample.commit();
    let dir = written(&sample);
    let links = Options { signatures: false, replay: false, ..Options::default() };
    let directory = open(dir.path());
    let (report, codes) = found(&[&directory as &dyn Source], &links);
    assert_eq!((codes, report.records, report.covered, report.signatures), (vec![], 311, 311, 0));
    assert_eq!(report.unchecked().len(), 6);
    drop(directory);
    // A signature is not looked at, the hash of the record that holds it is.
    let mut source = sample.source("a");
    source.records.get_mut(&7).unwrap().record = source.records[&8].record.clone();
    let codes = found(&[&source as &dyn Source], &links).1;
    assert!(codes.contains(&("chain-broken", Some(7))) && codes.contains(&("record-misplaced", Some(7))), "{codes:?}");
    assert!(codes.iter().any(|(code, _)| *code == "checkpoint-root"), "{codes:?}");
}

#[test]
fn evidence_of_a_conflict() {
    let dir = written(&Sample::busy());
    std::fs::write(dir.path().join("conflict-7.txt"), "two notes").unwrap();
    assert_eq!(audit(dir.path()), [("conflict-evidence", None)]);
}

#[test]
fn two_directories_of_different_length() {
    let mut sample = Sample::busy();
    let short = written(&sample);
    sample.issue(&["Z1"]);
    sample.erase("A1");
    let long = written(&sample);
    let (short, long) = (open(short.path()), open(long.path()));
    let (report, codes) = found(&[&short, &long], &Options::default());
    assert_eq!((codes, report.records, report.erased), (vec![], 12, Some(2)));
}

/// The second erasure of a licence is of all its versions: the first one's content went with the first.
#[test]
fn a_directory_that_ends_between_two_erasures_of_one_licence() {
    let mut sample = Sample::new();
    sample.issue(&["A1", "A2"]);
    sample.commit();
    sample.erase("A1");
    let short = written(&sample);
    sample.supersede("A1");
    sample.erase("A1");
    let long = written(&sample);
    assert_eq!(audit(short.path()), []);
    let (short, long) = (open(short.path()), open(long.path()));
    let (report, codes) = found(&[&long, &short], &Options::default());
    assert_eq!((codes, report.records, report.erased), (vec![], 10, Some(2)));
}

#[test]
fn an_erasure_is_known_by_its_own_record_among_many_of_one_time() {
    let mut sample = Sample::new();
    sample.commands_a_second = 64;
    sample.issue(&["A1", "A2"]);
    sample.issue(&["A3"]);
    sample.erase("A2");
    sample.erase("A3");
    let source = sample.source("a");
    let plan = Plan { commands: true, replay: true, ..Plan::default() };
    let walked = walk(&source, source.size, plan, &|_, _, _, _| {}).unwrap();
    let erased: Vec<_> = walked.replay.unwrap().erased().iter().map(|(at, by)| (*at, *by)).collect();
    assert_eq!(erased, [((5, 1), 7), ((6, 0), 8)]);
}

#[test]
fn a_directory_that_does_not_open_is_a_finding_or_cannot_be_read() {
    let sample = Sample::busy();
    let broken = Unopened::new("broken".into(), "checksum mismatch".into());
    let (report, codes) = found(&[&broken, &sample.source("a")], &Options::default());
    assert_eq!((codes, report.records), (vec![("storage-damaged", None)], 10));
    assert!(matches!(crate::audit::Directory::open(Path::new("/nonexistent")), Err(ReadError::Unreachable(_))));
}

/// Flips some bytes, one at a time, in every table. RocksDB does not read every byte of a table (a
/// block of statistics, say), so some may go unnoticed: nothing live lies there.
#[test]
fn a_flipped_byte_in_any_table_is_found() {
    let mut sample = Sample::busy();
    for n in 0..40 {
        sample.issue(&[&format!("N{n}")]);
    }
    let dir = written(&sample);
    // Opening again turns the write-ahead log into tables.
    drop(Store::open(dir.path(), Mode::Node).unwrap());
    let tables: Vec<_> = std::fs::read_dir(dir.path().join("db"))
        .unwrap()
        .map(|e| e.unwrap().path())
        .filter(|p| p.extension().is_some_and(|e| e == "sst"))
        .collect();
    let (mut flips, mut noticed) = (0, 0);
    for table in tables {
        let whole = std::fs::read(&table).unwrap();
        for at in (0..whole.len()).step_by(whole.len() / 12 + 1) {
            let mut bytes = whole.clone();
            bytes[at] ^= 0x10;
            std::fs::write(&table, &bytes).unwrap();
            let found = match crate::audit::Directory::open(dir.path()) {
                Err(_) => true,
                Ok(directory) => !found(&[&directory as &dyn Source], &Options::default()).1.is_empty(),
            };
            flips += 1;
            noticed += usize::from(found);
        }
        std::fs::write(&table, &whole).unwrap();
    }
    assert!(flips > 30 && noticed * 10 >= flips * 9, "{noticed} of {flips}");
    assert_eq!(audit(dir.path()), []);
}
