//! Ledgers rewritten on disk, by somebody who knows every format and holds none of the keys.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use vermilion_client::change::Grounds;
use vermilion_client::clock::now_ms;
use vermilion_ledger::{Digest, Tree, chain_next, chain_start};
use vermilion_proto::{Bytes, Envelope, LedgerHead, LicenceItem, Message as _, Record, StoredRecord};
use vermilion_registry::{stored, value};
use vermilion_tests::disk::Raw;
use vermilion_tests::{Ledger, LoneRun, Rows, disk, findings, inspection, run_alone, until};

/// A stopped ledger with licences, one of them revoked, and a refused command.
async fn stopped() -> Ledger {
    let mut ledger = Ledger::start().await;
    let rows = Rows::fresh(ledger.dir(), &ledger.sample, 400);
    ledger.issue_all(&rows).await;
    let identifier = rows.one("营业执照")["certificateIdentifier"].as_str().unwrap().to_owned();
    let grounds = Grounds { reason: "penalty".into(), legal_basis: vec!["002-7".into()], ..Grounds::default() };
    ledger.client.change_status(&identifier, "revoked", now_ms() - 1_000, &grounds).await.unwrap();
    ledger.client.change_status(&identifier, "frozen", now_ms() - 1_000, &grounds).await.unwrap_err();
    // Enough records for a full tile.
    let user = ledger.sample.unit_with_role("using-unit").unwrap().uscc.clone();
    let city = ledger.client.managing_unit().to_owned();
    for n in 0..150 {
        ledger.client.change_unit(&city, &user, n % 2 == 0, &inspection()).await.unwrap();
    }
    assert!(ledger.settled().await > 256);
    ledger.stop_all();
    ledger.audit(&ledger.data_dirs()).assert_clean();
    ledger
}

/// A copy of a node's data directory, to be changed.
fn copy(ledger: &Ledger, name: &str, to: &str) -> PathBuf {
    ledger.copy_node(name, &ledger.dir().join(to)).join("data")
}

/// The records of a directory, taken apart.
struct History {
    raw: Raw,
    ledger_id: Digest,
    records: Vec<(Record, Vec<Bytes>)>,
}

impl History {
    fn read(ledger: &Ledger, data_dir: &Path) -> Self {
        let raw = Raw::open(data_dir);
        let dump = raw.dump();
        let records = dump["records"].iter().map(|(_, bytes)| {
            let stored = StoredRecord::decode(bytes.as_slice()).unwrap();
            (Record::decode(stored.record).unwrap(), stored.items)
        });
        let records = records.collect();
        Self { raw, records, ledger_id: *ledger.client.ledger_id() }
    }

    /// The first record of an accepted command with licences.
    fn issue(&self) -> usize {
        self.records.iter().position(|(record, items)| !items.is_empty() && record.outcome.as_ref().is_some_and(|o| o.code == 0)).unwrap()
    }

    /// The record of the command that was refused.
    fn refused(&self) -> usize {
        self.records.iter().position(|(record, _)| record.outcome.as_ref().is_some_and(|o| o.code != 0)).unwrap()
    }

    /// Writes everything that follows from the records: hashes, chain, tiles, head.
    fn write(self) {
        let dump = self.raw.dump();
        for (column, rows) in &dump {
            if ["records", "tiles"].contains(column) {
                rows.iter().for_each(|(key, _)| self.raw.delete(column, key));
            }
        }
        let (mut chain, mut tree) = (chain_start(&self.ledger_id), Tree::new());
        for (seq, (record, items)) in (0u64..).zip(&self.records) {
            let record = Record { seq, ..record.clone() }.encode_to_vec();
            chain = chain_next(&chain, &vermilion_ledger::record_hash(&record));
            let stored = StoredRecord { format_version: 1, record: record.into(), items: items.clone(), chain: chain.to_vec() };
            let leaf = stored::open_record(&stored).unwrap().leaf;
            for tile in tree.append(leaf.hash()) {
                self.raw.put("tiles", &[&[tile.level][..], &tile.index.to_be_bytes()].concat(), &tile.bytes);
            }
            self.raw.put("records", &seq.to_be_bytes(), &stored.encode_to_vec());
        }
        let old = &dump["state"].iter().find(|(key, _)| key == b"h").unwrap().1;
        let head: LedgerHead = value::decode(b"h", old).unwrap();
        let head = LedgerHead { size: self.records.len() as u64, chain: chain.to_vec(), ..head };
        self.raw.put("state", b"h", &value::encode(&head));
    }
}

/// Does something to the copies of all nodes alike, as whoever owns all the machines could.
fn rewrite(ledger: &Ledger, to: &str, change: impl Fn(&mut History)) -> Vec<PathBuf> {
    let names = ledger.names();
    let dirs: Vec<_> = names.iter().map(|name| copy(ledger, name, to)).collect();
    for dir in &dirs {
        let mut history = History::read(ledger, dir);
        change(&mut history);
        history.write();
    }
    dirs
}

fn found(dirs: &[PathBuf], ledger: &Ledger) -> BTreeSet<&'static str> {
    let dirs: Vec<&Path> = dirs.iter().map(PathBuf::as_path).collect();
    findings(&dirs, &ledger.trust()).unwrap().into_iter().collect()
}

fn assert_has(found: &BTreeSet<&str>, codes: &[&str]) {
    for code in codes {
        assert!(found.contains(code), "{code} is not among {found:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_rewritten_on_every_node_with_all_that_follows_from_it_is_found() {
    let ledger = stopped().await;

    let untouched = rewrite(&ledger, "untouched", |_| {});
    assert_eq!(found(&untouched, &ledger), BTreeSet::new(), "the forger's own formats are not those of the ledger");

    // A licence altered, its signed root left: the simplest forgery.
    let dirs = rewrite(&ledger, "item", |history| {
        let at = history.issue();
        let mut item = LicenceItem::decode(history.records[at].1[0].clone()).unwrap();
        item.issued_on += 1;
        history.records[at].1[0] = item.encode_to_vec().into();
    });
    assert_has(&found(&dirs, &ledger), &["items-differ"]);

    // The signed payload altered, its id with it: a signature gives it away, and a signed root.
    let dirs = rewrite(&ledger, "command", |history| {
        let at = history.issue();
        let mut envelope = Envelope::decode(history.records[at].0.envelope.clone()).unwrap();
        let nonce = vermilion_proto::Command::decode(envelope.payload.as_slice()).unwrap().head.unwrap().nonce;
        let place = envelope.payload.windows(16).position(|w| w == nonce).unwrap();
        envelope.payload[place] ^= 1;
        history.records[at].0.envelope = envelope.encode_to_vec().into();
    });
    assert_has(&found(&dirs, &ledger), &["signature-bad", "checkpoint-root"]);

    // A refusal made into an acceptance, and an acceptance into a refusal.
    let dirs = rewrite(&ledger, "accepted", |history| {
        let at = history.refused();
        history.records[at].0.outcome = None;
    });
    assert_has(&found(&dirs, &ledger), &["outcome-wrong", "checkpoint-root"]);
    let dirs = rewrite(&ledger, "refused", |history| {
        let at = history.issue();
        history.records[at].0.outcome.as_mut().unwrap().code = 43;
    });
    assert_has(&found(&dirs, &ledger), &["outcome-wrong", "checkpoint-root"]);

    // Effects and times.
    let dirs = rewrite(&ledger, "effects", |history| {
        let at = history.issue();
        history.records[at].0.effects_digest[7] ^= 1;
    });
    assert_has(&found(&dirs, &ledger), &["effects-wrong", "checkpoint-root"]);
    let dirs = rewrite(&ledger, "time", |history| {
        let at = history.refused();
        history.records[at].0.time_ms += 1;
    });
    assert_has(&found(&dirs, &ledger), &["checkpoint-root"]);

    // A record taken out, and those after it moved up.
    let dirs = rewrite(&ledger, "gone", |history| {
        let at = history.refused();
        history.records.remove(at);
    });
    let codes = found(&dirs, &ledger);
    assert!(codes.contains("checkpoint-root") || codes.contains("checkpoint-beyond"), "{codes:?}");
    assert_has(&codes, &["effects-wrong"]);
    // The last records taken off.
    let dirs = rewrite(&ledger, "cut", |history| {
        history.records.truncate(history.records.len() - 40);
    });
    assert_has(&found(&dirs, &ledger), &["checkpoint-beyond"]);

    // Without the checkpoints, which the forger cannot make, only less is left to lie about.
    let dirs = rewrite(&ledger, "no-checkpoints", |history| {
        let at = history.issue();
        history.records[at].0.outcome.as_mut().unwrap().code = 43;
        for (key, _) in &history.raw.dump()["checkpoints"] {
            history.raw.delete("checkpoints", key);
        }
    });
    assert_has(&found(&dirs, &ledger), &["outcome-wrong", "quorum-missing"]);

    // The command's exit code says so too.
    let audit = ledger.audit(&dirs);
    assert_eq!((audit.code, &audit.report["clean"]), (1, &false.into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_changed_on_one_node_is_found_there_and_by_comparing() {
    let ledger = stopped().await;
    let name = &ledger.names()[1];
    let change = |to: &str, change: &dyn Fn(&Raw)| {
        let dir = copy(&ledger, name, to);
        change(&Raw::open(&dir));
        dir
    };
    let row = |raw: &Raw, column: &str, at: usize| raw.dump()[column][at].clone();
    let alone = |dir: &PathBuf| found(std::slice::from_ref(dir), &ledger);

    let deleted = change("deleted", &|raw| raw.delete("records", &row(raw, "records", 40).0));
    assert_has(&alone(&deleted), &["record-missing"]);

    let fetching = change("fetching", &|raw| {
        raw.dump()["records"][1..30].iter().for_each(|(key, _)| raw.delete("records", key));
        raw.put("meta", b"history", &[&[1][..], &30u64.to_be_bytes()].concat());
    });
    assert_has(&alone(&fetching), &["history-incomplete"]);

    let outcome = change("outcome", &|raw| {
        let (key, bytes) = row(raw, "records", 40);
        let mut stored = StoredRecord::decode(bytes.as_slice()).unwrap();
        let mut record = Record::decode(stored.record).unwrap();
        record.outcome.get_or_insert_default().code = 43;
        stored.record = record.encode_to_vec().into();
        raw.put("records", &key, &stored.encode_to_vec());
    });
    assert_has(&alone(&outcome), &["outcome-wrong"]);
    assert_has(&found(&[ledger.node(&ledger.names()[0]).data_dir.clone(), outcome], &ledger), &["chain-broken"]);

    for (column, code) in [("tiles", "tile-differs"), ("checkpoints", "checkpoint-invalid"), ("vault", "content-differs")] {
        let dir = change(column, &|raw| {
            let (key, mut bytes) = row(raw, column, 0);
            // Past the body of a note: a signature of it.
            let at = bytes.len() - 4;
            bytes[at] ^= 1;
            raw.put(column, &key, &bytes);
        });
        assert_has(&alone(&dir), &[code]);
    }
    let gone = change("checkpoints-gone", &|raw| raw.dump()["checkpoints"].iter().for_each(|(key, _)| raw.delete("checkpoints", key)));
    assert_has(&alone(&gone), &["storage-check"]);
    let licence = |raw: &Raw| raw.dump()["state"].iter().find(|(key, _)| key.starts_with(b"l/")).unwrap().clone();
    let state = change("state", &|raw| {
        let (key, value) = licence(raw);
        let mut of: vermilion_proto::LicenceState = value::decode(&key, &value).unwrap();
        of.holders.clear();
        raw.put("state", &key, &value::encode(&of));
    });
    assert_has(&alone(&state), &["state-differs"]);
    assert_has(&alone(&change("state-gone", &|raw| raw.delete("state", &licence(raw).0))), &["state-missing"]);
    assert_has(&alone(&change("content-gone", &|raw| raw.delete("vault", &row(raw, "vault", 0).0))), &["content-missing"]);

    // A group that no record led to: this node alone, which would then agree with itself; or with a stranger.
    let group = |voters: &[u64]| {
        let numbers = [&[voters.len() as u64][..], voters, &[0, 0, 0, 0]].concat();
        [1].into_iter().chain(numbers.into_iter().flat_map(u64::to_be_bytes)).collect::<Vec<u8>>()
    };
    for (voters, word) in [(&[2][..], "has no vote in the Raft group"), (&[1, 2, 3, 9], "no record admits it")] {
        let home = ledger.copy_node(name, &ledger.dir().join(word));
        let raw = Raw::open(&home.join("data"));
        assert!(raw.dump()["meta"].contains(&(b"conf-state".to_vec(), group(&[1, 2, 3]))));
        raw.put("meta", b"conf-state", &group(voters));
        drop(raw);
        assert_has(&alone(&home.join("data")), &["storage-check"]);
        assert_refused(run_alone(&home).await, word);
    }

    // Two nodes' ledgers exchanged: neither is the other, whoever's records they hold.
    let (mine, other) =
        (ledger.copy_node(name, &ledger.dir().join("mine")), ledger.copy_node(&ledger.names()[2], &ledger.dir().join("other")));
    std::fs::remove_dir_all(mine.join("data")).unwrap();
    disk::copy(&other.join("data"), &mine.join("data"));
    assert_refused(run_alone(&mine).await, "belongs to node");
}

fn assert_refused(ran: LoneRun, word: &str) {
    match ran {
        LoneRun::Ended { code: 70, said } => assert!(said.contains(word), "it does not say {word:?}: {said}"),
        other => panic!("it should not have started: {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_does_not_start_on_another_ledgers_directory() {
    let (mut one, mut two) = (Ledger::start().await, Ledger::start().await);
    one.stop_all();
    two.stop_all();
    let name = &one.names()[0];
    let home = one.copy_node(name, &one.dir().join("copy"));
    std::fs::remove_dir_all(home.join("data")).unwrap();
    disk::copy(&two.node(name).data_dir, &home.join("data"));
    assert_refused(run_alone(&home).await, "another ledger");
    // Nor is it taken for this ledger's by the audit, alone or beside the real one.
    let stranger = two.node(name).data_dir.clone();
    assert_has(&found(std::slice::from_ref(&stranger), &one), &["genesis-differs"]);
    assert_has(&found(&[one.node(name).data_dir.clone(), stranger], &one), &["sources-differ"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_was_stopped_has_a_checkpoint_of_its_newest_commitment_and_a_start_makes_what_is_lacking() {
    let mut ledger = Ledger::start().await;
    let name = ledger.names().swap_remove(1);
    let data = ledger.node(&name).data_dir.clone();
    let city = ledger.client.managing_unit().to_owned();
    let user = ledger.sample.unit_with_role("using-unit").unwrap().uscc.clone();
    // Two commitments that are lost, and one with the quorum that stays.
    for n in 0..3 {
        ledger.client.change_unit(&city, &user, n % 2 == 0, &inspection()).await.unwrap();
        ledger.settled().await;
    }
    ledger.stop_all();
    {
        let raw = Raw::open(&data);
        let newest: Vec<Vec<u8>> = raw.dump()["checkpoints"].iter().rev().take(2).map(|(size, _)| size.clone()).collect();
        for size in newest {
            raw.delete("checkpoints", &size);
            raw.delete("consistency", &size);
        }
        raw.delete("meta", b"published");
    }
    let is_missing = |ledger: &Ledger| found(std::slice::from_ref(&data), ledger).contains("checkpoint-missing");
    assert!(is_missing(&ledger));
    // Alone: there is no leader, and so no newer commitment.
    ledger.launch(&name);
    until("an answer", async || ledger.status_of(&name).await).await;
    ledger.stop_all();
    assert!(!is_missing(&ledger));
}
