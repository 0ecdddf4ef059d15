//! What the public and monitoring may ask.

use serde_json::{Value, json};
use vermilion_client::change::Grounds;
use vermilion_client::clock::now_ms;
use vermilion_crypto::SigningKey;
use vermilion_identity::RequestToken;
use vermilion_ledger::verify;
use vermilion_proto::LicenceStatusRequest;
use vermilion_tests::{Ledger, Rows, http};

fn text<'a>(row: &'a Value, name: &str) -> &'a str {
    row[name].as_str().unwrap()
}

async fn ledger_with_rows() -> (Ledger, Rows) {
    let ledger = Ledger::start().await;
    let rows = Rows::fresh(ledger.dir(), &ledger.sample, 300);
    ledger.issue_all(&rows).await;
    (ledger, rows)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_status_is_told_as_far_as_the_type_allows() {
    let (ledger, rows) = ledger_with_rows().await;
    let (open, challenge, closed) = (rows.one("营业执照"), rows.one("公共场所卫生许可证"), rows.one("不动产权证书"));
    let path = |row: &Value| format!("/v1/licences/{}/status", text(row, "certificateIdentifier"));
    for node in ledger.nodes() {
        let answer = http::get(&node.http, &path(open)).await;
        assert_eq!((answer.code, &answer.json()["state"]), (200, &"valid".into()), "{}", answer.text());
        assert_eq!(answer.json()["unit"], open["certificateIssuingAuthorityCode"]);

        let asked = |field: &str, value: &str| format!("{}?field={field}&value={}", path(challenge), http::encoded(value));
        assert_eq!(http::get(&node.http, &path(challenge)).await.problem(), (403, "status-closed".into()));
        assert_eq!(http::get(&node.http, &asked("premises", "somewhere else")).await.problem(), (403, "challenge-failed".into()));
        assert_eq!(http::get(&node.http, &asked("nothing", "at all")).await.problem(), (403, "challenge-failed".into()));
        let right = http::get(&node.http, &asked("premises", challenge["data"]["premises"].as_str().unwrap())).await;
        assert_eq!((right.code, &right.json()["state"]), (200, &"valid".into()), "{}", right.text());

        let known = format!("{}?field=location&value={}", path(closed), http::encoded(closed["data"]["location"].as_str().unwrap()));
        for path in [path(closed), known] {
            assert_eq!(http::get(&node.http, &path).await.problem(), (403, "status-closed".into()));
        }
        let unissued = text(open, "certificateIdentifier").replacen("1.2.156", "1.2.157", 1);
        assert_eq!(http::get(&node.http, &format!("/v1/licences/{unissued}/status")).await.problem(), (400, "identifier-format".into()));
    }

    // Objections and judicial freezes are told to units alone.
    let flagged = text(open, "certificateIdentifier");
    for flag in ["+judicial-freeze", "+under-objection", "+inspection-due"] {
        let grounds = Grounds { reason: "notice".into(), legal_basis: vec!["002-18".into()], ..Grounds::default() };
        ledger.client.change_status(flagged, flag, 0, &grounds).await.unwrap();
    }
    let issuer = ledger.client.asker(Some(text(open, "certificateIssuingAuthorityCode"))).unwrap();
    let request = LicenceStatusRequest { identifier: flagged.to_owned(), ..LicenceStatusRequest::default() };
    for (asker, flags) in [(None, vec!["inspection-due"]), (Some(&issuer), vec!["under-objection", "judicial-freeze", "inspection-due"])] {
        let answer = ledger.client.connection.licence_status(&request, asker).await.unwrap();
        assert_eq!(answer.status.unwrap().flags, flags);
    }
    for node in ledger.nodes() {
        assert_eq!(http::get(&node.http, &path(open)).await.json()["flags"], json!(["inspection-due"]), "{}", node.name);
    }

    // A change shows on every node at once: reads are linearizable.
    let grounds = Grounds { reason: "penalty".into(), legal_basis: vec!["002-7".into()], ..Grounds::default() };
    ledger.client.change_status(text(open, "certificateIdentifier"), "revoked", now_ms() - 1_000, &grounds).await.unwrap();
    for node in ledger.nodes() {
        assert_eq!(http::get(&node.http, &path(open)).await.json()["state"], "revoked", "{}", node.name);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unissued_licence_is_not_found_and_an_unread_question_is_refused() {
    let (ledger, rows) = ledger_with_rows().await;
    let other = Rows::write(ledger.dir().join("other"), ledger.sample.licences(99, 100));
    let issued: Vec<_> = rows.rows.iter().map(|r| text(r, "certificateIdentifier")).collect();
    let unissued = other.of_type("营业执照").into_iter().map(|r| text(r, "certificateIdentifier")).find(|id| !issued.contains(id)).unwrap();
    let node = &ledger.nodes()[2];
    assert_eq!(http::get(&node.http, &format!("/v1/licences/{unissued}/status")).await.problem(), (404, "unknown-licence".into()));
    assert_eq!(http::get(&node.http, "/v1/licences/x/status").await.problem(), (400, "identifier-format".into()));
    assert_eq!(http::get(&node.http, "/v1/receipts/x").await.problem(), (400, "malformed".into()));
    assert_eq!(http::get(&node.http, &format!("/v1/receipts/{}", "0".repeat(64))).await.problem(), (404, "unknown".into()));
    assert_eq!(http::get(&node.http, "/v1/nothing").await.code, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn records_are_for_registered_operators_and_receipts_and_checkpoints_for_whoever_knows_what_to_ask_for() {
    let (ledger, _) = ledger_with_rows().await;
    let city = ledger.client.managing_unit().to_owned();
    let unit = ledger.sample.unit_with_role("using-unit").unwrap().uscc.clone();
    let recorded = ledger.client.change_unit(&city, &unit, true).await.unwrap();
    ledger.settled().await;
    let id = hex::encode(recorded.id);
    let token = |key: &SigningKey, what| RequestToken::make(key, ledger.client.ledger_id(), what, now_ms());
    let known = ledger.client.asker(Some(&city)).unwrap();
    for node in ledger.nodes() {
        let path = format!("/v1/records/{id}");
        for wrong in
            [None, Some("v1.x".to_owned()), Some(token(&SigningKey::generate().unwrap(), "record")), Some(token(&known, "receipt"))]
        {
            let answer = http::get_with(&node.http, &path, wrong.as_deref()).await;
            assert_eq!(answer.problem(), (403, "not-authorised".into()), "{wrong:?}");
        }
        let answer = http::get_with(&node.http, &path, Some(&token(&known, "record"))).await;
        assert_eq!((answer.code, &answer.json()["seq"], &answer.json()["outcome"]), (200, &recorded.seq.into(), &"accepted".into()));
        assert_eq!(answer.json()["hash"], hex::encode(&recorded.record_hash));

        let receipt = http::get(&node.http, &format!("/v1/receipts/{id}")).await;
        assert_eq!(receipt.code, 200);
        let receipt = vermilion_client::receipt::Document::parse(&receipt.body).unwrap().receipt;
        assert!(vermilion_client::receipt::check(&receipt, &ledger.trust()).holds());

        let note = http::get(&node.http, "/v1/checkpoint").await;
        let trust = ledger.trust();
        verify(&note.body, &trust).unwrap().check_quorum(&trust).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn monitoring_is_answered_and_the_interface_describes_itself() {
    let mut ledger = Ledger::start().await;
    for node in ledger.nodes() {
        let health = http::get(&node.http, "/v1/health").await;
        assert_eq!((health.code, &health.json()["status"], &health.json()["node"]), (200, &"ok".into(), &node.name.as_str().into()));
        assert_eq!(http::get(&node.http, "/v1/ready").await.code, 200);
        let metrics = http::get(&node.http, "/metrics").await.text();
        for name in ["vermilion_submit_seconds_count", "vermilion_ledger_records", "vermilion_raft_term", "vermilion_raft_applied_index"] {
            assert!(metrics.lines().any(|line| line.starts_with(name)), "{name} is not in {metrics}");
        }
        let api = http::get(&node.http, "/v1/openapi.json").await.json();
        assert!(api["openapi"].as_str().is_some_and(|v| v.starts_with("3.")));
        for path in [
            "/v1/licences/{identifier}/status",
            "/v1/records/{command_id}",
            "/v1/receipts/{command_id}",
            "/v1/checkpoint",
            "/v1/health",
            "/v1/ready",
            "/metrics",
        ] {
            assert!(api["paths"][path]["get"]["responses"].is_object(), "{path} is not described");
        }
    }
    // Without a leader a node lives, and is not ready.
    let left = ledger.names()[0].clone();
    for name in ledger.names().into_iter().skip(1) {
        ledger.kill(&name);
    }
    let address = ledger.node(&left).http.clone();
    vermilion_tests::until("a node that is not ready", async || (http::get(&address, "/v1/ready").await.code == 503).then_some(())).await;
    assert_eq!(http::get(&address, "/v1/health").await.json()["status"], "waiting");
}
