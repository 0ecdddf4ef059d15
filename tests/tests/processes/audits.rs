//! The auditor as a command: what it trusts, what it says it left out, what it goes on from.

use serde_json::Value;
use vermilion_tests::{Ledger, Rows};

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_is_audited_under_the_configurations_trust() {
    let mut ledger = Ledger::start().await;
    let rows = Rows::fresh(ledger.dir(), &ledger.sample, 300);
    ledger.issue_all(&rows).await;
    ledger.settled().await;
    ledger.stop_all();
    let name = ledger.names().remove(0);
    std::fs::create_dir(ledger.dir().join("backup")).unwrap();
    let backup = ledger.copy_node(&name, &ledger.dir().join("backup")).join("data");
    let state = ledger.dir().join("audit.state");
    let config = ledger.dir().join("client.toml");
    let audit = |more: &[&str]| {
        let named = ["--config", config.to_str().unwrap(), "audit", "--data-dir", backup.to_str().unwrap()];
        ledger.vermilion(&[&named[..], more].concat())
    };
    let kept = state.to_str().unwrap();

    let (code, out, err) = audit(&["--json", "--state", kept]);
    assert_eq!(code, 0, "{out}{err}");
    let report: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((report["clean"].as_bool(), report["trust"].as_str(), report["licences"].as_u64()), (Some(true), Some("given"), Some(300)));
    assert_eq!(report["not_checked"], Value::Array(Vec::new()));
    assert!(!state.exists(), "an audit that came to its end left its state");

    let (code, out, err) = audit(&["--no-signatures", "--no-replay"]);
    assert_eq!(code, 0, "{out}{err}");
    assert!(out.contains("NOT CHECKED the units' signatures") && out.contains("NOT CHECKED outcomes"), "{out}");

    std::fs::write(&state, b"VMAUDIT1 and nothing else").unwrap();
    let (code, _, err) = audit(&["--state", kept]);
    assert_eq!(code, 3, "{err}");
    assert!(err.contains("damaged"), "{err}");
}
