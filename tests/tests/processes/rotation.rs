//! The ledger's signing key and the city's vault key are changed while the ledger runs; whoever pinned the
//! first keys checks everything from before and after, without a network.

use crate::join::{City, step, told};
use crate::uses::request;
use serde_json::Value;
use std::path::{Path, PathBuf};
use vermilion_client::UseRequest;
use vermilion_client::audit::TrustFile;
use vermilion_client::receipt::Document;
use vermilion_client::use_licence::UseDesk;
use vermilion_client::{ClientError, UseAnswer};
use vermilion_ledger::{SignedNote, Trust, signed_out_of_turn, verify};
use vermilion_proto::{Authority, CheckpointRequest, LicenceRef, Message as _, Receipt};
use vermilion_registry::reason::Reason;
use vermilion_tests::{Ledger, Rows, inspection, until};

/// Runs `vermilion` with the ledger's configuration, for JSON; it must say yes.
fn run(ledger: &Ledger, args: &[&str]) -> Value {
    let config = ledger.dir().join("client.toml").display().to_string();
    let (code, out, errors) = ledger.vermilion(&[&["--config", &config, "--json"], args].concat());
    assert_eq!(code, 0, "{args:?}: {out}{errors}");
    serde_json::from_str(&out).unwrap_or_else(|_| panic!("{out}{errors}"))
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

/// Rows in three files, to be issued one after the other, of each type as many in each.
fn parts(ledger: &Ledger) -> [Rows; 3] {
    let all = Rows::fresh(ledger.dir(), &ledger.sample, 180);
    let mut rows: Vec<&Value> = all.rows.iter().collect();
    rows.sort_by_key(|row| row["certificateName"].as_str());
    [0, 1, 2].map(|n| {
        let lines: Vec<String> = rows.iter().skip(n).step_by(3).map(ToString::to_string).collect();
        Rows::write(ledger.dir().join(format!("part-{n}.jsonl")), lines)
    })
}

/// Receipts of a licence in every form.
fn receipts(ledger: &Ledger, identifier: &str, name: &str) -> Vec<PathBuf> {
    let get = |form: &str| {
        let file = ledger.dir().join(format!("{name}.{form}"));
        run(ledger, &["receipt", "get", identifier, "--form", form, "--out", &text(&file)]);
        file
    };
    ["binary", "json", "tlog-proof", "cose"].map(get).to_vec()
}

/// Checks receipts with files alone: whether all hold.
fn hold(ledger: &Ledger, files: &[PathBuf], trust: &Path) -> bool {
    files.iter().all(|file| ledger.vermilion(&["receipt", "check", &text(file), "--trust", &text(trust)]).0 == 0)
}

/// Makes a key file in the city's folder and says its public key.
fn make(ledger: &Ledger, of: &str, file: &str) -> String {
    let out = ledger.node_dir("city").join(file);
    let made = run(ledger, &["key", "make", of, "--out", &text(&out), "--plain"]);
    made["public"].as_str().unwrap().to_owned()
}

/// Has the nodes' configurations name other files: `from` becomes `to`.
fn reconfigure(ledger: &Ledger, name: &str, from: &str, to: &str) {
    let path = ledger.node_dir(name).join("node.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(text.contains(from), "{text}");
    std::fs::write(&path, text.replace(from, to)).unwrap();
}

/// Endorses a key, waits until its endorsement is there, and takes it into the ledger's trust.json.
async fn endorse(ledger: &Ledger, args: &[&str], public: &str) {
    run(ledger, &[&["key", "endorse"], args, &["--public", public]].concat());
    until("the endorsement of the key", async || {
        let keys = run(ledger, &["key", "list"]);
        keys.as_array().unwrap().iter().any(|k| k["public"] == public && k["state"] == "serves").then_some(())
    })
    .await;
    run(ledger, &["trust", "update"]);
}

/// The newest checkpoint that a node shows, which has the quorum.
async fn newest(ledger: &Ledger, size: u64) -> Vec<u8> {
    let mut node = ledger.client.connection.client_of(0).unwrap();
    node.get_checkpoint(CheckpointRequest { commit_now: false, at_size: size }).await.unwrap().into_inner().note
}

/// Whether the ledger signed a note by the keys of a trust.
fn signed(note: &[u8], trust: &Trust) -> bool {
    verify(note, trust).is_ok_and(|v| v.signed_by_ledger && v.check_quorum(trust).is_ok())
}

fn identifier(row: &Value) -> String {
    row["certificateIdentifier"].as_str().unwrap().to_owned()
}

fn asked() -> UseRequest {
    request(Authority::ByFunction, "", &[])
}

async fn used(ledger: &Ledger, row: &Value) -> UseAnswer {
    let unit = ledger.sample.unit_with_role("using-unit").unwrap().uscc.clone();
    ledger.client.use_licences(&unit, &[identifier(row)], asked()).await.unwrap()
}

/// The receipt with another endorsement in the place of its first.
fn with_endorsement(receipt: &Receipt, change: impl FnOnce(&mut Receipt)) -> Receipt {
    let mut endorsement = Receipt::decode(receipt.endorsements[0].as_slice()).unwrap();
    change(&mut endorsement);
    let endorsements = std::iter::once(endorsement.encode_to_vec()).chain(receipt.endorsements.iter().skip(1).cloned()).collect();
    Receipt { endorsements, ..receipt.clone() }
}

/// Keeps the first signature lines of a note.
fn only(lines: usize) -> impl FnOnce(&mut Receipt) {
    move |receipt| {
        let note = SignedNote::parse(&receipt.checkpoint).unwrap();
        receipt.checkpoint = SignedNote::new(note.body(), note.lines()[..lines].to_vec()).unwrap().to_bytes();
    }
}

fn why(receipt: Receipt, trust: &Trust) -> String {
    Document::new(receipt).check(trust).genuine.unwrap_err()
}

fn tampered_is_refused(file: &Path, old: &Trust) {
    let receipt = Document::read(file).unwrap().receipt;
    assert!(Document::new(receipt.clone()).check(old).holds());
    // What a thief of the old key can make: its signature, and not the quorum's.
    assert!(why(with_endorsement(&receipt, only(1)), old).contains("endorsement.quorum"));
    assert!(why(with_endorsement(&receipt, only(2)), old).contains("endorsement.quorum"));
    let by_quorum_alone = |endorsement: &mut Receipt| {
        let note = SignedNote::parse(&endorsement.checkpoint).unwrap();
        endorsement.checkpoint = SignedNote::new(note.body(), note.lines()[1..].to_vec()).unwrap().to_bytes();
    };
    assert!(why(with_endorsement(&receipt, by_quorum_alone), old).contains("endorsement.old_key"));
    assert!(why(Receipt { endorsements: Vec::new(), ..receipt.clone() }, old).contains("ledger key"));
    let length = receipt.endorsements[0].len();
    for at in (0..length).step_by(length / 400 + 1).chain(length - 64..length) {
        let mut changed = receipt.clone();
        changed.endorsements[0][at] ^= 1;
        assert!(!Document::new(changed).check(old).holds(), "byte {at}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_rotated_and_every_receipt_stays_checkable() {
    let mut ledger = Ledger::start().await;
    let [first, rows, more] = parts(&ledger);
    ledger.issue_all(&first).await;
    ledger.settled().await;
    let of = identifier(first.one("营业执照"));
    let before = receipts(&ledger, &of, "before");
    let (old_file, new_file) = (ledger.dir().join("trust-old.json"), ledger.dir().join("trust.json"));
    std::fs::copy(&new_file, &old_file).unwrap();
    let old = TrustFile::load(&old_file).unwrap();
    assert!(Document::read(&before[0]).unwrap().receipt.endorsements.is_empty());
    assert_eq!(run(&ledger, &["trust", "update"])["added"], 0);
    assert_eq!(std::fs::read_to_string(&new_file).unwrap().trim(), std::fs::read_to_string(&old_file).unwrap().trim());

    // The files first, on every node that is to hold them but one, and a restart.
    let [second, third] = ["ledger-2.pem", "ledger-3.pem"].map(|file| make(&ledger, "ledger", file));
    let vault = make(&ledger, "vault", "vault-2.pem");
    reconfigure(&ledger, "city", "\"ledger.pem\"", "[\"ledger.pem\", \"ledger-2.pem\", \"ledger-3.pem\"]");
    let names = ledger.names();
    for name in &names[..2] {
        let file = ledger.node_dir(name).join("vault-2.pem");
        if name != "city" {
            std::fs::copy(ledger.node_dir("city").join("vault-2.pem"), &file).unwrap();
        }
        reconfigure(&ledger, name, "\"vault-city.pem\"", "\"vault-city.pem\", \"vault-2.pem\"");
    }
    ledger.stop_all();
    ledger.start_all().await;
    ledger.settled().await;
    let unit = ledger.sample.unit_with_role("using-unit").unwrap().uscc.clone();
    // With the vault key of before.
    let desk = UseDesk::new(&ledger.client, &unit).await.unwrap();

    endorse(&ledger, &["vault", "--area", "440300"], &vault).await;
    endorse(&ledger, &["ledger"], &second).await;
    ledger.issue_all(&rows).await;
    let size = ledger.settled().await;

    // The new key signs, the old one does not.
    let updated = ledger.trust();
    assert_eq!(updated.newer_keys().len(), 1);
    let note = newest(&ledger, size).await;
    assert!(signed(&note, &updated) && !signed(&note, &old), "{}", String::from_utf8_lossy(&note));
    assert!(hex::encode(updated.ledger_key_at(size).0) == second);

    // What was sealed before and after is opened for uses; what is sealed to the old key is taken no more.
    for row in [first.one("食品经营许可证"), rows.one("食品经营许可证")] {
        assert!(!used(&ledger, row).await.licences[0].fields.is_empty());
    }
    let stale = UseRequest { licences: vec![LicenceRef { identifier: of.clone(), ..Default::default() }], ..asked() };
    let sent = desk.send(&ledger.client, &desk.prepare(&stale).unwrap()).await;
    let reason = sent.as_ref().err().and_then(ClientError::refusal).map(|refusal| refusal.reason);
    assert_eq!(reason, Some(Reason::VaultKeyReplaced), "{sent:?}");

    // After a restart of all nodes.
    ledger.stop_all();
    ledger.start_all().await;
    let after = receipts(&ledger, &identifier(rows.one("营业执照")), "after");
    let again = receipts(&ledger, &of, "again");
    assert_eq!(Document::read(&after[0]).unwrap().receipt.endorsements.len(), 1);

    // One more key, endorsed under the second.
    endorse(&ledger, &["ledger"], &third).await;
    ledger.issue_all(&more).await;
    let size = ledger.settled().await;
    let last = receipts(&ledger, &identifier(more.one("营业执照")), "last");
    assert_eq!(Document::read(&last[0]).unwrap().receipt.endorsements.len(), 2);
    let latest = ledger.trust();
    let note = newest(&ledger, size).await;
    assert!(signed(&note, &latest) && !signed(&note, &updated) && !signed(&note, &old));

    // A city's node without the key signs as a node alone, and says what it lacks.
    ledger.stop_all();
    reconfigure(&ledger, "city", ", \"ledger-3.pem\"]", "]");
    ledger.start_all().await;
    assert_eq!(ledger.status_of("city").await.unwrap().lacks, ["ledger"]);
    let city = ledger.client.managing_unit().to_owned();
    ledger.client.change_unit(&city, &unit, true, &inspection()).await.unwrap();
    let unsigned = until("a checkpoint without the ledger's signature", async || {
        let all = ledger.statuses().await?;
        let newest_size = all.iter().map(|s| s.checkpoint_size).min().filter(|newest| *newest > size)?;
        Some(newest(&ledger, newest_size).await)
    })
    .await;
    for trust in [&old, &updated, &latest] {
        assert!(verify(&unsigned, trust).is_ok_and(|v| !v.signed_by_ledger) && !signed_out_of_turn(&unsigned, trust));
    }
    assert!(ledger.log("city").contains("not signed as the ledger"));
    ledger.stop_all();
    reconfigure(&ledger, "city", "\"ledger-2.pem\"]", "\"ledger-2.pem\", \"ledger-3.pem\"]");
    ledger.start_all().await;
    ledger.client.change_unit(&city, &unit, false, &inspection()).await.unwrap();
    let size = ledger.settled().await;
    until("a checkpoint by the ledger again", async || {
        let all = ledger.statuses().await?;
        all.iter().all(|s| s.checkpoint_size >= size).then_some(())
    })
    .await;
    ledger.stop_all();

    // Nobody is left to ask.
    for (name, trust) in [("old", &old_file), ("new", &new_file)] {
        for files in [&before, &after, &again, &last] {
            assert!(hold(&ledger, files, trust), "{files:?} under the {name} trust");
        }
    }
    tampered_is_refused(&after[0], &old);
    tampered_is_refused(&last[0], &old);
    let by_file = ledger.dir().join("trust-3.json");
    let taken = ["trust", "update", "--trust", &text(&old_file), "--receipt", &text(&last[0]), "--out", &text(&by_file)];
    assert_eq!(ledger.vermilion(&taken).0, 0);
    assert_eq!(TrustFile::load(&by_file).unwrap(), latest);
    ledger.audit(&ledger.data_dirs()).assert_clean();
    std::fs::copy(&old_file, &new_file).unwrap();
    ledger.audit(&ledger.data_dirs()).assert_clean();
}

#[tokio::test(flavor = "multi_thread")]
async fn while_a_node_is_away_both_ledger_keys_sign_until_the_quorum_is_there() {
    let mut ledger = Ledger::start().await;
    let [first, rows, _] = parts(&ledger);
    ledger.issue_all(&first).await;
    let second = make(&ledger, "ledger", "ledger-2.pem");
    reconfigure(&ledger, "city", "\"ledger.pem\"", "[\"ledger.pem\", \"ledger-2.pem\"]");
    ledger.settled().await;
    ledger.stop_all();
    ledger.start_all().await;
    let old = ledger.trust();
    let away = ledger.names().pop().unwrap();
    ledger.kill(&away);
    run(&ledger, &["key", "endorse", "ledger", "--public", &second]);
    ledger.issue_all(&rows).await;
    let of_key = |keys: &Value| keys.as_array().unwrap().iter().find(|k| k["public"] == second.as_str()).cloned();
    let key = of_key(&run(&ledger, &["key", "list"])).unwrap();
    assert_eq!(key["state"], "not-proved");
    let newer = vermilion_ledger::NewerKey {
        from: key["from"].as_u64().unwrap(),
        key: vermilion_crypto::PublicKey(hex::decode(&second).unwrap().try_into().unwrap()),
    };
    let updated = old.clone().with_newer_keys(vec![newer]).unwrap();
    let by_ledger = |note: &[u8], trust: &Trust| verify(note, trust).unwrap().signed_by_ledger;
    let last = until("a checkpoint over the record", async || {
        let size = ledger.status_of("city").await?.checkpoint_size;
        Some(newest(&ledger, Some(size).filter(|size| *size > newer.from + 2)?).await)
    })
    .await;
    assert!(by_ledger(&last, &old) && by_ledger(&last, &updated), "{}", String::from_utf8_lossy(&last));

    ledger.launch(&away);
    // It takes a checkpoint that all cosign: the next one.
    let unit = ledger.sample.unit_with_role("using-unit").unwrap().uscc.clone();
    let city = ledger.client.managing_unit().to_owned();
    until("the node's return", async || ledger.status_of(&away).await).await;
    ledger.client.change_unit(&city, &unit, true, &inspection()).await.unwrap();
    until("the endorsement of the key", async || (of_key(&run(&ledger, &["key", "list"]))?["state"] == "serves").then_some(())).await;
    run(&ledger, &["trust", "update"]);
    assert_eq!(ledger.trust(), updated);
    ledger.client.change_unit(&city, &unit, false, &inspection()).await.unwrap();
    let size = ledger.settled().await;
    let last = newest(&ledger, size).await;
    assert!(!by_ledger(&last, &old) && by_ledger(&last, &updated), "the old key signs no more");
    let file = receipts(&ledger, &identifier(rows.one("营业执照")), "after").remove(0);
    assert!(Document::read(&file).unwrap().check(&old).holds());

    // A newcomer knows the genesis's key alone. It takes the state under the later one, by its endorsement.
    let city = City::of(&ledger).await;
    city.admit(&mut ledger, 4).await;
    told(&ledger, &step("took-state")).await;
    told(&ledger, &step("voter")).await;
    ledger.settled().await;
    ledger.stop_all();
    ledger.audit(&ledger.data_dirs()).assert_clean();
}
