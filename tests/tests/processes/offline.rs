//! The offline answer: status proofs as of a checkpoint, every form of a receipt, QR codes, ages.

use serde_json::Value;
use std::path::{Path, PathBuf};
use std::time::Duration;
use vermilion_client::change::Grounds;
use vermilion_client::clock::now_ms;
use vermilion_client::receipt::Document;
use vermilion_proto::{Message as _, StatusEvidence};
use vermilion_registry::codes::identifier::Identifier;
use vermilion_tests::{Ledger, Rows, until};

/// Runs `vermilion` with the ledger's configuration, for JSON.
fn run(ledger: &Ledger, args: &[&str]) -> (i32, Value) {
    let config = ledger.dir().join("client.toml").display().to_string();
    let (code, out, errors) = ledger.vermilion(&[&["--config", &config, "--json"], args].concat());
    (code, serde_json::from_str(&out).unwrap_or_else(|_| Value::String(format!("exit code {code}: {out}{errors}"))))
}

fn get(ledger: &Ledger, identifier: &str, name: &str, more: &[&str]) -> PathBuf {
    let file = ledger.dir().join(name);
    let (code, said) = run(ledger, &[&["receipt", "get", identifier, "--out", &file.display().to_string()], more].concat());
    assert_eq!(code, 0, "{said}");
    file
}

/// `receipt check` without a configuration: files and trust alone.
fn check(ledger: &Ledger, files: &[&Path], more: &[&str]) -> (i32, Value) {
    let trust = ledger.dir().join("trust.json").display().to_string();
    let files: Vec<String> = files.iter().map(|f| f.display().to_string()).collect();
    let files: Vec<&str> = files.iter().map(String::as_str).collect();
    let (code, out, errors) = ledger.vermilion(&[&["--json", "receipt", "check"], &files[..], &["--trust", &trust], more].concat());
    (code, serde_json::from_str(&out).unwrap_or_else(|_| panic!("exit code {code}: {out}{errors}")))
}

fn identifier(row: &Value) -> String {
    row["certificateIdentifier"].as_str().unwrap().to_owned()
}

async fn revoke(ledger: &Ledger, identifier: &str) {
    let grounds = Grounds { reason: "penalty".into(), legal_basis: vec!["002-7".into()], ..Grounds::default() };
    ledger.client.change_status(identifier, "revoked", now_ms() - 1_000, &grounds).await.unwrap();
}

/// Bytes of a receipt, were its ledger one of ten million records and as many licences: with the hashes
/// that the proofs would then have.
fn bytes_at_ten_million(file: &Path) -> usize {
    let document = Document::read(file).unwrap();
    let evidence = StatusEvidence::decode(document.receipt.status_proof.as_slice()).unwrap();
    let (plain, chunk_and_path) = (evidence.proof.first() == Some(&1), evidence.proof.len());
    let chunk = if plain { 257 } else { 2 + 2 * usize::from(evidence.proof[1]) };
    let now = 34 * document.receipt.inclusion.len() + evidence.inclusion.len() + (chunk_and_path - chunk);
    // 10,000,000 is 2^23 and seven smaller powers of two, the smallest 2^7; 19,532 chunks.
    let then = 34 * 24 + 32 * (7 + 7) + 32 * 15;
    std::fs::read(file).unwrap().len() - now + then
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receipt_holds_the_whole_answer_in_every_form_and_only_for_its_time() {
    let mut ledger = Ledger::start().await;
    let rows = Rows::fresh(ledger.dir(), &ledger.sample, 60);
    ledger.issue_all(&rows).await;
    let of = identifier(rows.one("营业执照"));
    let forms = [("licence.vmr", "binary"), ("licence.json", "json"), ("licence.tlog-proof", "tlog-proof"), ("licence.cose", "cose")];
    let before: Vec<PathBuf> = forms.iter().map(|(name, form)| get(&ledger, &of, name, &["--form", form])).collect();
    for (file, (_, form)) in before.iter().zip(forms) {
        let (code, said) = check(&ledger, &[file], &["--max-age", "1h", "--need-status"]);
        assert_eq!(code, 0, "{form}: {said:#}");
        assert_eq!(
            (&said["status"]["shown"], &said["status"]["shown_zh"], &said["fresh"]),
            (&"valid".into(), &"有效".into(), &true.into())
        );
        assert_eq!(said["licence"]["identifier"], of.as_str());
        let mut bytes = std::fs::read(file).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        let changed = ledger.dir().join("changed");
        std::fs::write(&changed, bytes).unwrap();
        let (code, said) = check(&ledger, &[&changed], &[]);
        assert_eq!((code, &said["ok"]), (1, &Value::Bool(false)), "{form}");
    }
    let large = bytes_at_ten_million(&before[0]);
    assert!(large <= 4096, "the receipt would have {large} bytes at ten million records");

    revoke(&ledger, &of).await;
    ledger.settled().await;
    let after = get(&ledger, &of, "revoked.vmr", &["--fresh"]);
    let (code, said) = check(&ledger, &[&after], &["--max-age", "1h"]);
    assert_eq!((code, &said["status"]["shown"], &said["status"]["shown_zh"]), (6, &"revoked".into(), &"吊销".into()), "{said:#}");
    assert_eq!((&said["holds"], &said["status"]["valid"]), (&true.into(), &false.into()), "it is genuine, and not valid");
    assert_eq!(said["ok"], false);
    let old = said["status"]["as_of_seq"].as_u64().unwrap();

    // After a restart the nodes still prove the status, though no record came since.
    ledger.stop_all();
    ledger.start_all().await;
    let again = get(&ledger, &of, "again.vmr", &[]);
    let (code, said) = check(&ledger, &[&again], &[]);
    assert_eq!((code, &said["status"]["shown"]), (6, &"revoked".into()), "{said:#}");
    assert!(said["status"]["as_of_seq"].as_u64().unwrap() >= old);

    // Nobody is left to ask, and time passes.
    ledger.stop_all();
    tokio::time::sleep(Duration::from_millis(2_100)).await;
    assert_eq!(check(&ledger, &[&before[0]], &["--max-age", "1h"]).0, 0, "what it says of then still holds");
    let (code, said) = check(&ledger, &[&before[0]], &["--max-age", "1s"]);
    assert_eq!((code, &said["ok"], &said["holds"], &said["fresh"]), (5, &false.into(), &true.into(), &false.into()));
    let all: Vec<&Path> = before.iter().map(PathBuf::as_path).chain([after.as_path()]).collect();
    let (code, said) = check(&ledger, &all, &["--max-age", "1h"]);
    assert_eq!((code, said["receipts"].as_array().map(Vec::len)), (6, Some(5)));
    assert_eq!(check(&ledger, &all, &["--max-age", "1s"]).0, 5);
    assert_eq!(check(&ledger, &[&before[0], &ledger.dir().join("changed")], &["--max-age", "1s"]).0, 1);
    // One that is not there takes nothing from the answers about the others.
    let (code, said) = check(&ledger, &[&before[0], &ledger.dir().join("none"), &after], &[]);
    let exits: Vec<_> = said["receipts"].as_array().unwrap().iter().map(|of| of["exit"].as_u64().unwrap()).collect();
    assert_eq!((code, exits), (2, vec![0, 2, 6]), "{said:#}");
    // Of another licence: it holds, and is not what was asked for.
    let (code, said) = check(&ledger, &[&before[0]], &["--licence", &identifier(rows.one("食品经营许可证"))]);
    assert_eq!((code, &said["ok"], &said["exit"], &said["holds"]), (1, &false.into(), &1.into(), &true.into()), "{said:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fresh_receipt_says_what_was_acknowledged_before_every_time() {
    let ledger = Ledger::start().await;
    let rows = Rows::fresh(ledger.dir(), &ledger.sample, 60);
    ledger.issue_all(&rows).await;
    let of = identifier(rows.one("营业执照"));
    let grounds = Grounds { reason: "inspection".into(), legal_basis: vec!["002-7".into()], ..Grounds::default() };
    for turn in 0..20 {
        let to = ["frozen", "valid"][turn % 2];
        let recorded = ledger.client.change_status(&of, to, 0, &grounds).await.unwrap();
        let form = ["binary", "json", "tlog-proof", "cose"][turn / 2 % 4];
        let file = get(&ledger, &of, "fresh", &["--fresh", "--form", form]);
        let (_, said) = check(&ledger, &[&file], &[]);
        assert_eq!((&said["holds"], &said["status"]["state"]), (&true.into(), &to.into()), "turn {turn}, {form}: {said:#}");
        assert!(said["status"]["as_of_seq"].as_u64().unwrap() > recorded.seq, "turn {turn}, {form}: {said:#}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receipt_that_lacks_cosignatures_says_so_and_a_fresh_one_is_not_given() {
    let mut ledger = Ledger::start().await;
    ledger.settled().await;
    // Three of three must cosign.
    let away = ledger.follower().await;
    ledger.kill(&away);
    let rows = Rows::fresh(ledger.dir(), &ledger.sample, 60);
    ledger.issue_all(&rows).await;
    ledger.settled().await;
    let of = identifier(rows.one("营业执照"));
    let path = |name: &str| ledger.dir().join(name);
    let impatient = |name: &str, more: &[&str]| {
        let begun = now_ms();
        let got = run(&ledger, &[&["--patience", "2", "receipt", "get", &of, "--out", &path(name).display().to_string()], more].concat());
        let took = now_ms() - begun;
        assert!(took < 9_000, "a node waited for longer than it was asked to: {took} ms");
        got
    };
    for form in ["binary", "cose"] {
        let (code, said) = impatient(form, &["--form", form]);
        assert_eq!((code, &said["covered"], &said["cosigned"], &said["needed"]), (3, &false.into(), &2.into(), &3.into()), "{said:#}");
        assert_eq!(check(&ledger, &[&path(form)], &[]).0, 1, "it is written, and does not hold");
    }
    let (code, said) = impatient("fresh", &["--fresh"]);
    assert!(code == 3 && said.as_str().is_some_and(|said| said.contains("not-cosigned")), "{said:#}");
    assert!(!path("fresh").exists(), "nothing older is given in its place");

    ledger.launch(&away);
    let file = ledger.dir().join("fresh");
    let got = until("a receipt with the quorum", async || {
        let (code, said) = run(&ledger, &["receipt", "get", &of, "--fresh", "--out", &file.display().to_string()]);
        (code == 0).then_some(said)
    })
    .await;
    assert_eq!((&got["covered"], &got["cosigned"]), (&true.into(), &3.into()), "{got:#}");
    assert_eq!(check(&ledger, &[&file], &["--need-status"]).1["holds"], true);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_closed_status_is_in_the_receipt_of_those_who_used_the_licence_with_their_fields() {
    let ledger = Ledger::start().await;
    let rows = Rows::fresh(ledger.dir(), &ledger.sample, 60);
    ledger.issue_all(&rows).await;
    let closed: Vec<String> = rows.of_type("道路运输经营许可证").into_iter().map(identifier).collect();
    let issuer = Identifier::parse(&closed[0]).unwrap().authority().to_owned();
    let using = ledger.sample.unit_with_role("using-unit").unwrap().uscc.clone();

    let without = get(&ledger, &closed[0], "without.vmr", &["--unit", &using]);
    let (code, said) = check(&ledger, &[&without], &[]);
    assert_eq!((code, &said["status"]["proven"]), (0, &false.into()), "a closed status is not given away: {said:#}");
    assert_eq!(check(&ledger, &[&without], &["--need-status"]).0, 6);
    let own = get(&ledger, &closed[0], "own.vmr", &[]);
    assert_eq!(check(&ledger, &[&own], &["--need-status"]).0, 0, "the issuing unit may know");

    let (code, used) = run(
        &ledger,
        &["use", &closed[0], "--unit", &using, "--case", "2026-17", "--purpose", "核验", "--item", "i", "--fields", "scope,vehicles"],
    );
    assert_eq!(code, 0, "{used}");
    let command = used["record"]["command"].as_str().unwrap();
    let file = ledger.dir().join("use.json");
    std::fs::write(&file, used.to_string()).unwrap();
    let fields = file.display().to_string();
    let with = get(&ledger, &closed[0], "with.vmr", &["--unit", &using, "--use", command, "--disclosures", &fields]);
    let (code, said) = check(&ledger, &[&with], &["--need-status"]);
    assert_eq!((code, &said["status"]["shown"]), (0, &"valid".into()), "{said:#}");
    assert_eq!(said["fields"].as_object().map(|of| of.contains_key("scope") && of.contains_key("vehicles")), Some(true), "{said:#}");
    // Of another licence, or another unit's.
    let out = ledger.dir().join("none.vmr").display().to_string();
    let (code, said) = run(&ledger, &["receipt", "get", &closed[1], "--unit", &using, "--use", command, "--out", &out]);
    assert_eq!(code, 4, "{said}");
    let (code, said) = run(&ledger, &["receipt", "get", &closed[0], "--unit", &issuer, "--use", command, "--out", &out]);
    assert_eq!(code, 4, "{said}");
    // Both commands take the same unit by themselves.
    let (_, used) = run(&ledger, &["use", &closed[0], "--case", "2026-18", "--purpose", "核验", "--item", "i"]);
    let command = used["record"]["command"].as_str().unwrap_or_else(|| panic!("{used}"));
    let with = get(&ledger, &closed[0], "by_itself.vmr", &["--use", command]);
    assert_eq!(check(&ledger, &[&with], &["--need-status"]).0, 0);

    // Fields are added later too, one by one.
    let shown = ledger.dir().join("shown.vmr");
    let (from, to) = (own.display().to_string(), shown.display().to_string());
    let (code, said) = run(&ledger, &["receipt", "disclose", &from, "--from", &fields, "--fields", "scope", "--out", &to]);
    assert_eq!(code, 0, "{said}");
    let (code, said) = check(&ledger, &[&shown], &[]);
    assert_eq!((code, said["fields"].as_object().map(serde_json::Map::len)), (0, Some(1)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_qr_code_is_a_nodes_word_for_who_may_ask() {
    let ledger = Ledger::start().await;
    let rows = Rows::fresh(ledger.dir(), &ledger.sample, 60);
    ledger.issue_all(&rows).await;
    let of = identifier(rows.one("营业执照"));
    let picture = ledger.dir().join("q.png").display().to_string();
    let trust = ledger.dir().join("trust.json").display().to_string();
    let (code, made) = run(&ledger, &["qr", "make", &of, "--out", &picture]);
    assert_eq!(code, 0, "{made}");
    assert!(made["bytes"].as_u64().unwrap() <= 1200);
    let checked = |code: &str, more: &[&str]| {
        let (exit, out, errors) = ledger.vermilion(&[&["--json", "qr", "check", code, "--trust", &trust], more].concat());
        (exit, serde_json::from_str::<Value>(&out).unwrap_or_else(|_| panic!("{out}{errors}")))
    };
    for form in [picture.as_str(), made["text"].as_str().unwrap()] {
        let (exit, said) = checked(form, &["--max-age", "1h"]);
        assert_eq!((exit, &said["identifier"], &said["shown"]), (0, &of.as_str().into(), &"valid".into()), "{said:#}");
        assert!(ledger.names().iter().any(|name| said["signed_by"].as_str().unwrap().ends_with(name)));
    }
    let text = made["text"].as_str().unwrap();
    // One code in 64 ends with an A already.
    let other = if text.ends_with('A') { 'Q' } else { 'A' };
    assert_eq!(checked(&format!("{}{other}", &text[..text.len() - 1]), &[]).0, 1);
    // What is neither a file nor begins as a code does is no answer about a licence.
    let (exit, out, errors) = ledger.vermilion(&["qr", "check", "missing.png", "--trust", &trust]);
    assert!(exit == 2 && out.is_empty() && errors.contains("missing.png"), "{exit}: {out}{errors}");

    revoke(&ledger, &of).await;
    let (_, made) = run(&ledger, &["qr", "make", &of]);
    let (exit, said) = checked(made["text"].as_str().unwrap(), &[]);
    assert_eq!((exit, &said["shown_zh"]), (6, &"吊销".into()));
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    assert_eq!(checked(&picture, &["--max-age", "1s"]).0, 5);

    // A closed type: its own unit is asked for by the client's key; another's key is not taken.
    let closed = identifier(rows.one("道路运输经营许可证"));
    let asker = ledger.client.asker(Some(&ledger.sample.unit_with_role("using-unit").unwrap().uscc)).unwrap();
    let request = vermilion_proto::LicenceStatusRequest { identifier: closed.clone(), ..Default::default() };
    for asker in [None, Some(&asker)] {
        let reply = ledger.client.connection.sign_status(&request, asker).await.unwrap();
        assert_eq!((reply.code, reply.signed), (vermilion_registry::reason::Reason::StatusClosed.number(), None));
    }
    assert_eq!(run(&ledger, &["qr", "make", &closed]).0, 0);
}
