//! Receipts, checked when there is no ledger left to ask.

use std::path::Path;
use vermilion_client::audit::TrustFile;
use vermilion_client::receipt::Document;
use vermilion_proto::ReceiptRequest;
use vermilion_testnet::layout;
use vermilion_tests::{Ledger, Rows};

/// A ledger that was stopped after it gave the receipts of a licence and of a command.
async fn with_receipts() -> (Ledger, [std::path::PathBuf; 2]) {
    let mut ledger = Ledger::start().await;
    let rows = Rows::fresh(ledger.dir(), &ledger.sample, 60);
    ledger.issue_all(&rows).await;
    let identifier = rows.one("营业执照")["certificateIdentifier"].as_str().unwrap().to_owned();
    let unit = ledger.sample.unit_with_role("using-unit").unwrap().uscc.clone();
    let city = ledger.client.managing_unit().to_owned();
    let recorded = ledger.client.change_unit(&city, &unit, true).await.unwrap();
    let (licence, command) = (ledger.dir().join("licence.vmr"), ledger.dir().join("command.vmr"));
    let config = ledger.dir().join("client.toml").display().to_string();
    for args in [
        vec!["--config", &config, "receipt", "get", &identifier, "--out", &licence.display().to_string()],
        vec!["--config", &config, "receipt", "get", "--command", &hex::encode(recorded.id), "--out", &command.display().to_string()],
    ] {
        let (code, out, errors) = ledger.vermilion(&args);
        assert_eq!(code, 0, "{out}{errors}");
    }
    let asker = ledger.client.asker(None).unwrap();
    let by_library = ledger.client.connection.receipt(&ReceiptRequest { identifier, ..Default::default() }, Some(&asker)).await.unwrap();
    assert_eq!(by_library.item, Document::read(&licence).unwrap().receipt.item);
    ledger.stop_all();
    (ledger, [licence, command])
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
    let (ledger, [licence, _]) = with_receipts().await;
    let elsewhere = ledger.dir().join("elsewhere");
    layout::found(&elsewhere, 3, None, None, ledger.sample.units()).unwrap();
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
        assert_eq!(said["ok"], false);
    }
    // Who asks for fewer witnesses is content with them.
    let fewer = TrustFile { witnesses: own.witnesses[..2].to_vec(), quorum: 2, ..own };
    std::fs::write(ledger.dir().join("fewer.json"), serde_json::to_string(&fewer).unwrap()).unwrap();
    assert_eq!(check(&ledger, &licence, &ledger.dir().join("fewer.json")).0, 0);
}
