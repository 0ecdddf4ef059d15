//! Receipts, checked when there is no ledger left to ask.

use std::path::Path;
use vermilion_client::audit::TrustFile;
use vermilion_client::receipt::{self, Document};
use vermilion_proto::{Receipt, ReceiptRequest, Registration};
use vermilion_testnet::cluster::Up;
use vermilion_testnet::layout;
use vermilion_tests::{Ledger, Rows, inspection};

/// A ledger that was stopped after it gave the receipts of a licence and of a command, and both with the
/// registrations of the keys that signed.
async fn with_receipts() -> (Ledger, [std::path::PathBuf; 4]) {
    let mut ledger = Ledger::start().await;
    let rows = Rows::fresh(ledger.dir(), &ledger.sample, 60);
    ledger.issue_all(&rows).await;
    let identifier = rows.one("营业执照")["certificateIdentifier"].as_str().unwrap().to_owned();
    let unit = ledger.sample.unit_with_role("using-unit").unwrap().uscc.clone();
    let city = ledger.client.managing_unit().to_owned();
    let recorded = ledger.client.change_unit(&city, &unit, true, &inspection()).await.unwrap();
    let files = ["licence.vmr", "command.vmr", "licence-registered.vmr", "command-registered.vmr"].map(|name| ledger.dir().join(name));
    let config = ledger.dir().join("client.toml").display().to_string();
    let command = hex::encode(recorded.id);
    let (of_licence, of_command) = ([identifier.as_str()], ["--command", command.as_str()]);
    let asked: [(&[&str], &[&str]); 4] =
        [(&of_licence, &[]), (&of_command, &[]), (&of_licence, &["--registrations"]), (&of_command, &["--registrations"])];
    for ((of, more), file) in asked.into_iter().zip(&files) {
        let file = file.display().to_string();
        let (code, out, errors) = ledger.vermilion(&[&["--config", &config, "receipt", "get", "--out", &file], of, more].concat());
        assert_eq!(code, 0, "{out}{errors}");
    }
    let asker = ledger.client.asker(None).unwrap();
    let by_library = ledger.client.connection.receipt(&ReceiptRequest { identifier, ..Default::default() }, Some(&asker)).await.unwrap();
    assert_eq!(by_library.item, Document::read(&files[0]).unwrap().receipt.item);
    assert!(by_library.registrations.is_empty(), "nobody asked for them");
    ledger.stop_all();
    (ledger, files)
}

fn check(ledger: &Ledger, file: &Path, trust: &Path) -> (i32, String) {
    let (code, out, errors) =
        ledger.vermilion(&["--json", "receipt", "check", &file.display().to_string(), "--trust", &trust.display().to_string()]);
    (code, out + &errors)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receipt_holds_offline_and_no_byte_of_it_may_change() {
    let (ledger, files) = with_receipts().await;
    let trust = ledger.trust();
    for file in files {
        let (code, said) = check(&ledger, &file, &ledger.dir().join("trust.json"));
        assert_eq!(code, 0, "{said}");
        let said: serde_json::Value = serde_json::from_str(&said).unwrap();
        for answer in ["genuine", "issued_by", "unaltered"] {
            assert_eq!(said[answer]["ok"], true, "{said:#}");
        }
        assert_eq!(said["cosigned_by"].as_array().map(Vec::len), Some(3));
        assert!(said["as_of"]["time"].is_string());
        let rests_on = if file.display().to_string().contains("registered") { "registered" } else { "nodes" };
        assert_eq!(said["issued_by"]["rests_on"], rests_on, "{said:#}");

        let whole = std::fs::read(&file).unwrap();
        let holds = |bytes: &[u8]| Document::parse(bytes).is_ok_and(|d| d.check(&trust).holds());
        assert!(holds(&whole));
        // Every byte of the first and last part, and a sample of what lies between.
        let step = whole.len() / 1_500 + 1;
        let mut offsets: Vec<usize> = (0..whole.len()).step_by(step).chain(0..64).chain(whole.len() - 400..whole.len()).collect();
        offsets.sort_unstable();
        offsets.dedup();
        let survivors: Vec<usize> = offsets
            .iter()
            .copied()
            .filter(|at| {
                let mut bytes = whole.clone();
                bytes[*at] ^= 1 << (at % 8);
                holds(&bytes)
            })
            .collect();
        assert_eq!(survivors, Vec::<usize>::new(), "of {} bytes {} were flipped", whole.len(), offsets.len());
        for cut in [0, 1, 8, 9, whole.len() / 2, whole.len() - 1] {
            assert!(!holds(&whole[..cut]), "the first {cut} bytes hold");
        }
        assert!(!holds(&[&whole[..], &[0]].concat()));

        let changed = ledger.dir().join("changed.vmr");
        let mut bytes = whole.clone();
        bytes[whole.len() / 2] ^= 1;
        std::fs::write(&changed, bytes).unwrap();
        let (code, said) = check(&ledger, &changed, &ledger.dir().join("trust.json"));
        assert!([1, 2].contains(&code), "exit code {code}: {said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receipt_does_not_hold_for_whoever_trusts_another_ledger_or_asks_for_more() {
    let (ledger, [licence, ..]) = with_receipts().await;
    let elsewhere = ledger.dir().join("elsewhere");
    let up = Up { nodes: 3, base_port: None, tls: None, empty: true };
    layout::found(&elsewhere, &up, ledger.sample.units()).unwrap();
    let own: TrustFile = serde_json::from_str(&std::fs::read_to_string(ledger.dir().join("trust.json")).unwrap()).unwrap();
    let other: TrustFile = serde_json::from_str(&std::fs::read_to_string(elsewhere.join("trust.json")).unwrap()).unwrap();
    let cases = [
        ("all of it", other.clone()),
        ("the ledger id", TrustFile { ledger_id: other.ledger_id.clone(), ..own.clone() }),
        ("the ledger key", TrustFile { ledger_key: other.ledger_key.clone(), ..own.clone() }),
        (
            "a witness",
            TrustFile { witnesses: vec![own.witnesses[0].clone(), own.witnesses[1].clone(), other.witnesses[2].clone()], ..own.clone() },
        ),
    ];
    for (what, trust) in cases {
        let file = ledger.dir().join("wrong.json");
        std::fs::write(&file, serde_json::to_string(&trust).unwrap()).unwrap();
        let (code, said) = check(&ledger, &licence, &file);
        assert_eq!(code, 1, "{what} is another's: {said}");
        let said: serde_json::Value = serde_json::from_str(&said).unwrap();
        assert_eq!((&said["ok"], &said["genuine"]["ok"]), (&false.into(), &false.into()), "{what} is another's: {said:#}");
    }
    // Who asks for fewer witnesses is content with them.
    let fewer = TrustFile { witnesses: own.witnesses[..2].to_vec(), quorum: 2, ..own };
    std::fs::write(ledger.dir().join("fewer.json"), serde_json::to_string(&fewer).unwrap()).unwrap();
    assert_eq!(check(&ledger, &licence, &ledger.dir().join("fewer.json")).0, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receipt_shows_by_which_records_the_keys_that_signed_are_the_units() {
    let (ledger, [.., licence, command]) = with_receipts().await;
    let (trust, file) = (ledger.trust(), ledger.dir().join("trust.json"));
    let city = ledger.client.managing_unit();
    let said = |of: &Path| -> serde_json::Value { serde_json::from_str(&check(&ledger, of, &file).1).unwrap() };
    // The unit's maker and checker were registered by the city, each by a record; its own people founded the ledger.
    let issued = said(&licence);
    let records = issued["issued_by"]["registrations"].as_array().unwrap();
    assert_eq!(records.len(), 2, "{issued:#}");
    for record in records {
        assert_eq!((&record["genesis"], &record["unit"], &record["pinned"]), (&false.into(), &city.into(), &false.into()), "{record:#}");
        assert!(record["seq"].as_u64() < issued["seq"].as_u64() && record["signed_by"].as_array().is_some_and(|of| of.len() == 3));
    }
    let founders = &said(&command)["issued_by"]["registrations"];
    assert_eq!((&founders[0]["seq"], &founders[0]["genesis"], &founders[1]), (&0.into(), &true.into(), &serde_json::Value::Null));
    assert_eq!(founders[0]["keys"].as_array().map(Vec::len), Some(3));

    // Another's, one too few, and none: what is left then rests on the nodes' word again, and says so.
    let (whole, other) = (Document::read(&licence).unwrap().receipt, Document::read(&command).unwrap().receipt);
    let refused = |registrations: Vec<Registration>| {
        let found = receipt::check(&Receipt { registrations, ..whole.clone() }, &trust);
        assert!(found.genuine.is_ok() && !found.holds());
        found.issued.unwrap_err()
    };
    assert!(refused(whole.registrations[..1].to_vec()).contains("registration.missing"));
    assert!(refused(other.registrations).contains("registration."));
    let stripped = receipt::check(&Receipt { registrations: Vec::new(), ..whole.clone() }, &trust);
    assert!(stripped.holds() && stripped.rests_on() == receipt::RestsOn::Nodes);
}
