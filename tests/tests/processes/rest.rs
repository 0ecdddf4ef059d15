//! What the public and monitoring may ask.

use serde_json::{Value, json};
use vermilion_client::change::Grounds;
use vermilion_client::clock::{now_ms, show_ms};
use vermilion_crypto::SigningKey;
use vermilion_identity::RequestToken;
use vermilion_ledger::verify;
use vermilion_proto::LicenceStatusRequest;
use vermilion_tests::{Ledger, Rows, http, inspection};

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
        let failed = (403, "challenge-failed".to_owned());
        assert_eq!(http::get(&node.http, &path(challenge)).await.problem(), (403, "status-closed".into()));
        assert_eq!(http::get(&node.http, &asked("legalRepresentative", "somebody else")).await.problem(), failed);
        assert_eq!(http::get(&node.http, &asked("nothing", "at all")).await.problem(), failed);
        // What identifier and catalogue say shows that the asker knows nothing, and what is public neither.
        for field in ["certificateIdentifier", "certificateTypeCode", "certificateIssuingAuthorityCode", "certificateNumber"] {
            assert_eq!(http::get(&node.http, &asked(field, text(challenge, field))).await.problem(), failed, "{field}");
        }
        assert_eq!(http::get(&node.http, &asked("origin", text(challenge, "origin"))).await.problem(), failed);
        assert_eq!(http::get(&node.http, &asked("premises", challenge["data"]["premises"].as_str().unwrap())).await.problem(), failed);
        let who = challenge["data"]["legalRepresentative"].as_str().unwrap();
        let right = http::get(&node.http, &asked("legalRepresentative", who)).await;
        assert_eq!((right.code, &right.json()["state"]), (200, &"valid".into()), "{}", right.text());
        // In a body, which stands in no log of addresses; a holder's name will do.
        let body = json!({ "field": "certificateHolder", "value": challenge["certificateHolder"][0]["name"] });
        let right = http::post(&node.http, &path(challenge), body.to_string().as_bytes()).await;
        assert_eq!((right.code, &right.json()["state"]), (200, &"valid".into()), "{}", right.text());
        let wrong = json!({ "field": "certificateHolder", "value": "somebody else" });
        assert_eq!(http::post(&node.http, &path(challenge), wrong.to_string().as_bytes()).await.problem(), failed);
        assert_eq!(http::post(&node.http, &path(challenge), b"{\"feild\":\"x\"}").await.problem(), (400, "field-form".into()));

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

    // A change shows on every node at once: reads are linearizable. What was before is asked for by its time.
    let grounds = Grounds { reason: "penalty".into(), legal_basis: vec!["002-7".into()], ..Grounds::default() };
    let before = now_ms();
    ledger.client.change_status(text(open, "certificateIdentifier"), "revoked", before - 3_600_000, &grounds).await.unwrap();
    for node in ledger.nodes() {
        let at = |query: &str| format!("{}{query}", path(open));
        let status = http::get(&node.http, &path(open)).await.json();
        assert_eq!((&status["state"], &status["shown_zh"], &status["national_code"]), (&"revoked".into(), &"吊销".into(), &"07".into()));
        let told = |ms: u64| http::encoded(&show_ms(ms));
        let then = http::get(&node.http, &at(&format!("?at={}", told(before - 7_200_000)))).await.json();
        assert_eq!((&then["shown"], &then["verify_code"]), (&"valid".into(), &0.into()), "{then}");
        assert_eq!(then["at_ms"], (before - 7_200_000) / 1000 * 1000);
        let meanwhile = http::get(&node.http, &at(&format!("?at={}", told(before - 1_800_000)))).await.json();
        assert_eq!((&meanwhile["shown"], &meanwhile["verify_code"]), (&"revoked".into(), &3.into()), "{meanwhile}");
        // Before it was issued here, the ledger knew of no such licence.
        let unknown = http::get(&node.http, &at("?known=2020-01-01")).await.json();
        assert_eq!((&unknown["verify_code"], &unknown["shown"], &unknown["national_code"]), (&5.into(), &"".into(), &Value::Null));
        for wrong in ["?at=yesterday", "?at=2999-01-01", "?known=2025-02-30", "?att=2025-01-01"] {
            assert_eq!(http::get(&node.http, &at(wrong)).await.problem(), (400, "field-form".into()), "{wrong}");
        }
        assert_eq!(http::get(&node.http, &format!("{}?at=2020-01-01", path(closed))).await.problem(), (403, "status-closed".into()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expired_licence_is_nowhere_called_valid() {
    let ledger = Ledger::start().await;
    // Stock may be over when it comes.
    let mut row = Rows::fresh(ledger.dir(), &ledger.sample, 300).one("食品经营许可证").clone();
    row["origin"] = "stock".into();
    for (name, day) in [("Issued", "2015-03-01"), ("Effective", "2015-03-01"), ("Expiring", "2020-02-29")] {
        row[format!("certificate{name}Date")] = day.into();
    }
    let rows = Rows::write(ledger.dir().join("expired"), [row.to_string()]);
    ledger.issue_all(&rows).await;
    let identifier = text(&row, "certificateIdentifier");
    let grounds = Grounds { reason: "inspection".into(), legal_basis: vec!["002-7".into()], ..Grounds::default() };
    ledger.client.change_status(identifier, "+inspection-due", 0, &grounds).await.unwrap();
    let status = http::get(&ledger.nodes()[0].http, &format!("/v1/licences/{identifier}/status")).await;
    let said = status.json();
    assert_eq!((&said["verify_code"], &said["shown"], &said["shown_zh"]), (&3.into(), &"expired".into(), &"已过期".into()), "{said}");
    assert_eq!((&said["state"], &said["national_code"]), (&"valid".into(), &"05".into()));
    assert_eq!((&said["flags"], &said["flags_zh"]), (&json!(["inspection-due"]), &json!(["待年检"])));
    assert!(!status.text().contains("有效"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_directory_is_open_to_everybody() {
    let ledger = Ledger::start().await;
    let catalogue = ledger.sample.catalogue().unwrap();
    for node in ledger.nodes() {
        let list = http::get(&node.http, "/v1/types").await.json();
        assert_eq!(list.as_array().map(Vec::len), Some(catalogue.len()), "{list}");
        for entry in &catalogue {
            let of = &entry.licence_type;
            let said = http::get(&node.http, &format!("/v1/types/{}", of.code)).await.json();
            assert_eq!(
                (&said["name_zh"], &said["issuers"][0]["unit"]),
                (&of.name_zh.as_str().into(), &entry.issuers[0].unit.as_str().into())
            );
            assert_eq!(said["application_scope"], of.application_scope);
            assert_eq!(said["fields"].as_array().map(Vec::len), Some(of.base_fields.len() + of.fields.len()));
        }
        assert_eq!(http::get(&node.http, "/v1/types/11440300MB0X00019K999").await.problem(), (404, "unknown-type".into()));
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
    let recorded = ledger.client.change_unit(&city, &unit, true, &inspection()).await.unwrap();
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
            "/v1/types",
            "/v1/types/{code}",
            "/v1/records/{command_id}",
            "/v1/receipts/{command_id}",
            "/v1/checkpoint",
            "/v1/health",
            "/v1/ready",
            "/metrics",
        ] {
            assert!(api["paths"][path]["get"]["responses"].is_object(), "{path} is not described");
        }
        assert!(api["paths"]["/v1/licences/{identifier}/status"]["post"]["requestBody"].is_object());
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
