//! Certificates by token, once, in time, for one applicant; and certificates that renew themselves.

use crate::connections::{answered, channel, credential, key_of};
use std::time::Duration;
use vermilion_client::clock::now_ms;
use vermilion_client::enrol::Enroller;
use vermilion_client::error::ClientError;
use vermilion_crypto::SigningKey;
use vermilion_identity::enrolment::EnrolmentToken;
use vermilion_identity::{Kind, Subject};
use vermilion_registry::reason::Reason;
use vermilion_testnet::authority::{TRUST_DOMAIN, Term};
use vermilion_tests::{Ledger, until};

const HOUR_MS: u64 = 3_600_000;

/// An operator of a using unit as a certificate names it, its key, and a token for it.
async fn applicant(ledger: &Ledger, hours: u64) -> (Subject, SigningKey, EnrolmentToken) {
    let unit = ledger.sample.unit_with_role("using-unit").unwrap();
    let key = key_of(&ledger.dir().join(format!("keys/{}-user.pem", unit.uscc)));
    let name = hex::encode(key.public().id());
    let subject = Subject {
        kind: Kind::Operator,
        trust_domain: TRUST_DOMAIN.into(),
        unit: unit.uscc.clone(),
        district: unit.district.clone(),
        posts: vec!["user".into()],
        name: name.clone(),
    };
    let applicant = ledger.client.applicant(&format!("operator/{name}"), &[]).await.unwrap();
    let until_ms = now_ms() + hours * HOUR_MS + 5_000;
    let (token, _) = ledger.client.grant_enrolment(Some(ledger.client.managing_unit()), applicant, until_ms).await.unwrap();
    (subject, key, token)
}

fn reason(error: &ClientError) -> Option<Reason> {
    error.refusal().map(|refusal| refusal.reason)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_gives_one_certificate_to_one_applicant_in_time() {
    let ledger = Ledger::start().await;
    let config = ledger.client.config();
    let enroller = Enroller::new(ledger.client.genesis(), ledger.client.ledger_id(), &config.enrolment).unwrap();
    let (subject, key, token) = applicant(&ledger, 1).await;
    // Its time is over by the end.
    let (_, _, short) = applicant(&ledger, 0).await;
    let refused =
        async |token: &EnrolmentToken, subject: &Subject, key: &SigningKey| reason(&enroller.enrol(token, subject, key).await.unwrap_err());

    // Another applicant, and a token that nobody granted: nothing is given, and the grant is not used up.
    let more = Subject { posts: vec!["checker".into(), "user".into()], ..subject.clone() };
    assert_eq!(refused(&token, &more, &key).await, Some(Reason::GrantApplicant));
    let nobodys = EnrolmentToken::new(token.authority, token.not_after_ms).unwrap();
    assert_eq!(refused(&nobodys, &subject, &key).await, Some(Reason::UnknownGrant));

    // Once, by the command as people type it.
    let (text, certificate) = (ledger.dir().join("token"), ledger.dir().join("new.cert.pem"));
    std::fs::write(&text, &*token.text()).unwrap();
    let key_path = ledger.dir().join(format!("keys/{}-user.pem", subject.unit));
    let place = |path: &std::path::Path| path.display().to_string();
    let config_file = place(&ledger.dir().join("client.toml"));
    let mut args =
        vec!["--config", &config_file, "enrol", "operator", "--unit", &subject.unit, "--district", &subject.district, "--posts", "user"];
    let (text, out, key_file) = (place(&text), place(&certificate), place(&key_path));
    args.extend(["--token-file", &text, "--key", &key_file, "--out", &out, "--json"]);
    let (code, answer, error) = ledger.vermilion(&args);
    assert_eq!(code, 0, "{error}");
    let answer: serde_json::Value = serde_json::from_str(&answer).unwrap();
    assert_eq!(answer["holder"], subject.uri());
    let shown = credential(&ledger, &certificate, &key_path);
    for node in 0..3 {
        until("the record at every node", async || answered(channel(&ledger, node, Some(shown.clone()))).await.ok()).await;
    }

    // The same key gets the same answer; no other key gets any.
    let again = enroller.enrol(&token, &subject, &key).await.unwrap();
    assert_eq!(again.certificate.serial.to_string(), answer["serial"].as_str().unwrap());
    let other = SigningKey::generate().unwrap();
    let stolen = Subject { name: hex::encode(other.public().id()), ..subject.clone() };
    assert_eq!(refused(&token, &stolen, &other).await, Some(Reason::GrantUsed));

    // Asked twice at once, as by who tries a second address while the first has not answered: one certificate for both.
    let (_, _, twice) = applicant(&ledger, 1).await;
    let (one, another) = tokio::join!(enroller.enrol(&twice, &subject, &key), enroller.enrol(&twice, &subject, &key));
    assert_eq!(one.unwrap().certificate.serial.to_string(), another.unwrap().certificate.serial.to_string());

    // Too late; of another authority.
    until("the grant's end", async || (now_ms() > short.not_after_ms).then_some(())).await;
    assert_eq!(refused(&short, &subject, &key).await, Some(Reason::GrantExpired));
    let foreign = EnrolmentToken::new([9; 32], short.not_after_ms).unwrap();
    assert!(matches!(enroller.enrol(&foreign, &subject, &key).await, Err(ClientError::Usage(_))));
    // Of a key that is registered each refusal stands on the trail, in which no stranger leaves a line.
    let (trail, own) = (ledger.trail("city"), hex::encode(key.public().id()));
    for reason in ["grant-applicant", "unknown-grant", "grant-expired"] {
        let told = |line: &str| line.contains("\"denied\"") && line.contains(&own) && line.contains(&format!("enrol: {reason}"));
        assert!(trail.lines().any(told), "{reason}: {trail}");
    }
    assert!(!trail.contains(&hex::encode(other.public().id())), "{trail}");
    // The listener does nothing else.
    let dialer = ledger.client.connection.dialer();
    let endpoint = tonic::transport::Endpoint::from_shared(format!("http://{}", config.enrolment[0])).unwrap();
    let mut elsewhere = vermilion_proto::ledger_client::LedgerClient::new(dialer.channel(&endpoint, None, None).unwrap());
    let status = elsewhere.cluster(vermilion_proto::ClusterRequest::default()).await.unwrap_err();
    assert_eq!(status.code(), tonic::Code::Unimplemented, "{status}");
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_renew_themselves_at_two_thirds_of_their_time() {
    // More than two thirds are over when the ledger is founded, and there is time enough for the test.
    let founding = Term { before: Duration::from_secs(1200), after: Duration::from_secs(500) };
    let ledger = Ledger::start_certified(founding).await;
    let soon = now_ms() + 600_000;
    let shown = until("renewed certificates of all nodes", async || {
        let all = ledger.statuses().await?;
        all.iter().all(|s| s.certificate_not_after_ms > soon).then_some(all)
    })
    .await;
    assert_eq!(shown.len(), 3);
    // What is shown is what lies there: a node that is started again has it.
    let mut ledger = ledger;
    ledger.kill("city");
    ledger.launch("city");
    until("the city's node", async || ledger.status_of("city").await.filter(|s| s.certificate_not_after_ms > soon)).await;
    // Commands renew what they show, and tell people so.
    let config = ledger.dir().join("client.toml").display().to_string();
    let run = |args: &[&str]| ledger.vermilion(&[&["--config", &config], args].concat());
    let (code, _, said) = run(&["cluster", "status"]);
    assert!(code == 0 && said.contains("was renewed until"), "{said}");
    let (code, _, said) = run(&["cluster", "status"]);
    assert!(code == 0 && !said.contains("renewed"), "{said}");
    let (code, renewed, error) = run(&["certificate", "renew", "--json"]);
    assert_eq!(code, 0, "{error}");
    let renewed: Vec<serde_json::Value> = serde_json::from_str(&renewed).unwrap();
    assert!(renewed.len() > 10 && renewed.iter().all(|line| line["until"].is_string()), "{renewed:?}");
    let (_, again, _) = run(&["certificate", "renew", "--json"]);
    assert_eq!(again.trim(), "[]");
    // The figures know them all.
    let month = vermilion_client::clock::show_ms(now_ms())[..7].to_owned();
    let (code, figures, error) = run(&["report", "certificates", "--month", &month, "--json"]);
    assert_eq!(code, 0, "{error}");
    assert!(figures.contains("renewed"), "{figures}");
    ledger.settled().await;
    ledger.stop_all();
    ledger.audit(&ledger.data_dirs()).assert_clean();
}
