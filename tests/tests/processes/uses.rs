//! Using licences: recorded first, then disclosed, to one key alone.

use serde_json::Value;
use std::collections::BTreeMap;
use std::time::Duration;
use vermilion_client::change::{Grounds, waits};
use vermilion_client::clock::{now_ms, show_ms};
use vermilion_client::questions::StatusQuestion;
use vermilion_client::use_licence::check_fields;
use vermilion_client::{ClientError, Draft, Prepared, UseAnswer, UseRequest};
use vermilion_crypto::{VaultSecretKey, open_sealed};
use vermilion_proto::{
    Act, Authority, CommandState, Delivery, DisclosedContent, Evidence, LicenceItem, LicenceRef, Message as _, Mode, SealedContent,
    SubmitRequest, Use, UseReply, VaultWraps, body::Of,
};
use vermilion_registry::Kind;
use vermilion_registry::reason::Reason;
use vermilion_registry::status::VERIFY_NO_RECORD;
use vermilion_tests::disk::Raw;
use vermilion_tests::{Ledger, Rows, inspection};

/// What is asked for, on what authority.
pub fn request(authority: Authority, consent: &str, fields: &[&str]) -> UseRequest {
    UseRequest {
        authority,
        consent_id: consent.into(),
        fields: fields.iter().map(|f| (*f).into()).collect(),
        service_item: "440300-kaihu-01".into(),
        case: "2026-第0017号".into(),
        purpose: "核对开户资料".into(),
        ..UseRequest::default()
    }
}

fn by_function(fields: &[&str]) -> UseRequest {
    request(Authority::ByFunction, "", fields)
}

fn with_consent(fields: &[&str]) -> UseRequest {
    request(Authority::HolderPresent, "consent-4711", fields)
}

fn identifier(row: &Value) -> String {
    row["certificateIdentifier"].as_str().unwrap().to_owned()
}

fn using_unit(ledger: &Ledger) -> String {
    ledger.sample.unit_with_role("using-unit").unwrap().uscc.clone()
}

async fn ledger_with_rows() -> (Ledger, Rows) {
    let ledger = Ledger::start().await;
    let rows = Rows::fresh(ledger.dir(), &ledger.sample, 300);
    ledger.issue_all(&rows).await;
    (ledger, rows)
}

async fn used(ledger: &Ledger, row: &Value, request: UseRequest) -> Result<UseAnswer, ClientError> {
    ledger.client.use_licences(&using_unit(ledger), &[identifier(row)], request).await
}

fn fields(answer: &UseAnswer) -> BTreeMap<&str, &Value> {
    answer.licences.iter().flat_map(|l| &l.fields).map(|f| (f.name.as_str(), &f.value)).collect()
}

fn withheld(answer: &UseAnswer) -> BTreeMap<&str, &str> {
    answer.withheld().map(|(field, reason)| (field, reason.map_or("?", |r| r.name()))).collect()
}

fn refused(answer: Result<UseAnswer, ClientError>) -> Reason {
    let reason = answer.as_ref().err().and_then(ClientError::refusal).map(|refusal| refusal.reason);
    reason.unwrap_or_else(|| panic!("it was not refused: {answer:?}"))
}

/// A use that the test signed itself, so that it holds the recipient's key.
struct OwnUse {
    prepared: Prepared,
    recipient: VaultSecretKey,
}

async fn own_use(ledger: &Ledger, row: &Value) -> OwnUse {
    own_use_for(ledger, row, ["item", "一号案", "核验"]).await
}

/// A use for a service item, a case and a purpose, whatever these are: the client asks no more of them.
async fn own_use_for(ledger: &Ledger, row: &Value, [item, case, purpose]: [&str; 3]) -> OwnUse {
    let (unit, recipient) = (using_unit(ledger), VaultSecretKey::generate().unwrap());
    let mut draft = Draft::new(&unit, now_ms()).unwrap();
    draft.seal_texts(&ledger.client.session(&unit).await.unwrap(), &[("case", case), ("purpose", purpose)]).unwrap();
    let body = Use {
        act: Act::Use.into(),
        mode: Mode::Manual.into(),
        authority: Authority::ByFunction.into(),
        licences: vec![LicenceRef { identifier: identifier(row), tag: Vec::new() }],
        service_item: item.into(),
        case_digest: draft.text_digests[0].to_vec(),
        purpose_digest: draft.text_digests[1].to_vec(),
        recipient_key: recipient.public().0.to_vec(),
        delivery: Delivery::Data.into(),
        ..Use::default()
    };
    OwnUse { prepared: ledger.client.prepare(Kind::Use, draft, Of::Use(body)).await.unwrap(), recipient }
}

async fn send(ledger: &Ledger, node: usize, own: &OwnUse) -> Result<UseReply, tonic::Status> {
    let mut client = ledger.client_for(node, &own.prepared.submission);
    let request = SubmitRequest { tag: 0, submission: own.prepared.submission.clone() };
    Ok(client.r#use(request).await?.into_inner())
}

fn open(own: &OwnUse, key: &VaultSecretKey, id: &[u8], sealed: &SealedContent) -> Option<DisclosedContent> {
    assert_eq!(own.prepared.id.len(), id.len());
    let info = [b"vermilion use v1 ".as_slice(), id].concat();
    let plain = open_sealed(key, &info, &sealed.encapsulated, &sealed.ciphertext).ok()?;
    DisclosedContent::decode(plain.as_slice()).ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn content_comes_from_every_node_after_its_record_and_for_the_recipient_alone() {
    let (ledger, rows) = ledger_with_rows().await;
    let row = rows.one("营业执照");
    let address = row["data"]["address"].as_str().unwrap();
    for node in 0..3 {
        let own = own_use(&ledger, row).await;
        let reply = send(&ledger, node, &own).await.unwrap();
        let (submitted, [sealed]) = (reply.reply.clone().unwrap(), &reply.contents[..]) else { panic!("{reply:?}") };
        assert_eq!(submitted.state(), CommandState::Committed);
        let record = ledger.known(node, &own.prepared).await;
        assert_eq!((record.state(), record.seq, record.outcome), (CommandState::Committed, submitted.seq, submitted.outcome.clone()));

        let bytes = reply.encode_to_vec();
        assert!(!bytes.windows(address.len()).any(|w| w == address.as_bytes()), "the content travels in the clear");
        let content = open(&own, &own.recipient, &own.prepared.id, sealed).expect("the recipient cannot open it");
        let item = LicenceItem::decode(content.item.as_slice()).unwrap();
        let shown = check_fields(&item, &content.disclosures).unwrap();
        assert!(shown.iter().any(|f| f.name == "address" && f.value == address));
        assert!(open(&own, &VaultSecretKey::generate().unwrap(), &own.prepared.id, sealed).is_none(), "another key opens it");
        assert!(open(&own, &own.recipient, &[0; 32], sealed).is_none(), "it opens as another use's");

        // The same bytes again: the same record, content for the same key, nothing new in the ledger.
        let size = ledger.settled().await;
        let again = send(&ledger, (node + 1) % 3, &own).await.unwrap();
        assert_eq!(again.reply.map(|r| (r.seq, r.record_hash)), Some((submitted.seq, submitted.record_hash)));
        assert!(open(&own, &own.recipient, &own.prepared.id, &again.contents[0]).is_some());
        assert_eq!(ledger.settled().await, size);
    }
}

/// As a catch-up from a lying peer leaves it: every licence's key emptied, as if it were erased.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_nodes_vault_calls_erased_and_the_state_does_not_another_node_serves() {
    let (mut ledger, rows) = ledger_with_rows().await;
    let node = ledger.names()[0].clone();
    ledger.stop_all();
    let raw = Raw::open(&ledger.node(&node).data_dir);
    for (key, row) in &raw.dump()["wraps"] {
        let mut wraps = VaultWraps::decode(row.as_slice()).unwrap();
        wraps.licence_keys.iter_mut().for_each(Vec::clear);
        raw.put("wraps", key, &wraps.encode_to_vec());
    }
    drop(raw);
    ledger.start_all().await;
    let own = own_use(&ledger, rows.one("营业执照")).await;
    let reply = send(&ledger, 0, &own).await.unwrap();
    let [sealed] = &reply.contents[..] else { panic!("{reply:?}") };
    let content = open(&own, &own.recipient, &own.prepared.id, sealed).expect("the recipient cannot open it");
    assert!(!content.disclosures.is_empty(), "{reply:?}");
    assert!(ledger.log(&node).contains("vault content is missing here, or does not open"));
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_majority_no_record_and_so_no_content() {
    let (mut ledger, rows) = ledger_with_rows().await;
    let own = own_use(&ledger, rows.one("营业执照")).await;
    ledger.settled().await;
    let leader = ledger.leader().await;
    for name in ledger.names() {
        if name != leader {
            ledger.kill(&name);
        }
    }
    let at = ledger.names().iter().position(|n| *n == leader).unwrap();
    let answer = tokio::time::timeout(Duration::from_secs(40), send(&ledger, at, &own)).await.expect("no answer at all");
    if let Ok(reply) = answer {
        assert_ne!(reply.reply.unwrap().state(), CommandState::Committed);
        assert_eq!(reply.contents.len(), 0);
    }
    assert_ne!(ledger.known(at, &own.prepared).await.state(), CommandState::Committed);
    // Once there is a majority again the same use is recorded and served.
    ledger.start_all().await;
    ledger.leader().await;
    vermilion_tests::until("the use's content", async || {
        let reply = send(&ledger, at, &own).await.ok()?;
        let sealed = reply.contents.first()?;
        open(&own, &own.recipient, &own.prepared.id, sealed)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_open_type_gives_its_default_fields_and_sensitive_ones_only_by_name_and_consent() {
    let (ledger, rows) = ledger_with_rows().await;
    let row = rows.one("营业执照");
    let answer = used(&ledger, row, by_function(&[])).await.unwrap();
    for field in ["enterpriseType", "businessScope", "address", "legalRepresentative"] {
        assert_eq!(fields(&answer).get(field), Some(&&row["data"][field]), "{field}");
    }
    assert!(!fields(&answer).contains_key("legalRepresentativeId"));
    assert_eq!(answer.licences[0].status.state, "valid");

    let named = used(&ledger, row, by_function(&["legalRepresentativeId", "address", "noSuchField"])).await.unwrap();
    assert_eq!(fields(&named).keys().copied().collect::<Vec<_>>(), ["address"]);
    assert_eq!(withheld(&named), BTreeMap::from([("legalRepresentativeId", "field-not-granted"), ("noSuchField", "unknown-field")]));

    let consented = used(&ledger, row, with_consent(&["legalRepresentativeId"])).await.unwrap();
    assert_eq!(fields(&consented), BTreeMap::from([("legalRepresentativeId", &row["data"]["legalRepresentativeId"])]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_conditional_type_is_withheld_without_consent() {
    let (ledger, rows) = ledger_with_rows().await;
    for (name, field) in [("结婚证", "registeredOn"), ("不动产权证书", "rightType")] {
        let row = rows.one(name);
        let closed = used(&ledger, row, by_function(&[])).await.unwrap();
        assert_eq!(fields(&closed), BTreeMap::new(), "{name}");
        assert_eq!(withheld(&closed).get(field), Some(&"outside-scope"), "{name}: {:?}", withheld(&closed));
        let named = used(&ledger, row, by_function(&[field])).await.unwrap();
        assert_eq!((fields(&named), withheld(&named)), (BTreeMap::new(), BTreeMap::from([(field, "outside-scope")])), "{name}");
        // An authority that rests on consent, without naming it.
        assert_eq!(refused(used(&ledger, row, request(Authority::HolderPresent, "", &[])).await), Reason::ConsentMissing);
        let open = used(&ledger, row, with_consent(&[])).await.unwrap();
        assert_eq!(fields(&open).get(field), Some(&&row["data"][field]), "{name}");
    }
    // By name and consent even what is sensitive.
    let row = rows.one("不动产权证书");
    let answer = used(&ledger, row, with_consent(&["ownerId"])).await.unwrap();
    assert_eq!(fields(&answer), BTreeMap::from([("ownerId", &row["data"]["ownerId"])]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_licence_with_a_personal_identifier_is_used_by_its_tag() {
    let (ledger, rows) = ledger_with_rows().await;
    let row = rows.one("机动车驾驶证");
    let unit = using_unit(&ledger);
    let named = ledger.client.name_licence(&ledger.client.asker(Some(&unit)).unwrap(), &identifier(row)).await.unwrap();
    assert_eq!((named.identifier.as_str(), named.tag.len()), ("", 32));
    let answer = used(&ledger, row, with_consent(&[])).await.unwrap();
    assert_eq!(fields(&answer).get("vehicleClass"), Some(&&row["data"]["vehicleClass"]));
    assert_eq!(answer.licences[0].identifier, identifier(row));
    let number = row["certificateNumber"].as_str().unwrap();
    assert!(!answer.licences[0].item.windows(number.len()).any(|w| w == number.as_bytes()), "the item shows the number");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_holders_licences_are_found_by_a_use_that_is_on_record() {
    let (ledger, rows) = ledger_with_rows().await;
    let unit = using_unit(&ledger);
    let row = rows.one("营业执照");
    let (code, code_type) = (&row["certificateHolder"][0]["code"], &row["certificateHolder"][0]["codeType"]);
    let search = async |code: &str, request| ledger.client.search_holder(&unit, code_type.as_str().unwrap(), code, request).await;
    let answer = search(code.as_str().unwrap(), by_function(&[])).await.unwrap();
    let found = answer.licences.iter().find(|l| l.identifier == identifier(row)).expect("the holder's licence");
    // It says which there are, and how they stand; fields are opened by naming a licence.
    assert_eq!((found.status.state.as_str(), found.fields.len()), ("valid", 0));
    assert!(answer.recorded.seq > 0 && !answer.more);
    // Of one who holds none the search stands on record all the same.
    let other = "91350100M000100Y43";
    let nobody = search(other, by_function(&[])).await.unwrap();
    assert!(nobody.licences.is_empty() && nobody.recorded.seq > answer.recorded.seq);
    assert_eq!(
        refused(search(code.as_str().unwrap(), UseRequest { purpose: " ".into(), ..by_function(&[]) }).await),
        Reason::PurposeMissing
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn erased_content_cannot_be_used_any_more() {
    let (ledger, rows) = ledger_with_rows().await;
    let row = rows.one("场地使用证明");
    let before = own_use(&ledger, row).await;
    assert_eq!(send(&ledger, 0, &before).await.unwrap().contents.len(), 1);
    let evidence = vec![Evidence { kind: "judgment".into(), digest: vec![1; 32], ..Evidence::default() }];
    let grounds = Grounds { reason: "court-decision".into(), legal_basis: vec!["PIPL-47".into()], evidence, ..Grounds::default() };
    ledger.client.erase(&identifier(row), None, &grounds).await.unwrap();

    assert_eq!(refused(used(&ledger, row, by_function(&[])).await), Reason::ContentErased);
    for node in 0..3 {
        // A use from before the erasure, sent again, gives its record and no fields.
        let again = send(&ledger, node, &before).await.unwrap();
        assert_eq!(again.reply.as_ref().map(|r| r.state()), Some(CommandState::Committed));
        for sealed in &again.contents {
            assert_eq!(open(&before, &before.recipient, &before.prepared.id, sealed).unwrap().disclosures, Vec::<String>::new());
        }
    }
    // Others are not touched.
    let other = rows.of_type("场地使用证明")[1];
    assert_eq!(fields(&used(&ledger, other, by_function(&[])).await.unwrap()).get("site"), Some(&&other["data"]["site"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn content_goes_at_once_on_the_word_of_the_managing_unit_alone() {
    let (ledger, rows) = ledger_with_rows().await;
    let row = rows.one("场地使用证明");
    let evidence = vec![Evidence { kind: "judgment".into(), digest: vec![1; 32], ..Evidence::default() }];
    let by = |unit: &str| Grounds {
        unit: unit.into(),
        reason: "court-decision".into(),
        legal_basis: vec!["PIPL-47".into()],
        evidence: evidence.clone(),
        ..Grounds::default()
    };
    let issuer = row["certificateIssuingAuthorityCode"].as_str().unwrap();
    let recorded = ledger.client.erase(&identifier(row), None, &by(issuer)).await.unwrap();
    assert_eq!(waits(&recorded), Some(Reason::ErasureUnconfirmed));
    assert_eq!(refused(used(&ledger, row, by_function(&[])).await), Reason::ContentRestricted);
    let recorded = ledger.client.erase(&identifier(row), None, &by("")).await.unwrap();
    assert_eq!(waits(&recorded), None);
    assert_eq!(refused(used(&ledger, row, by_function(&[])).await), Reason::ContentErased);
    // Its status is no content: it is told, whether the row's term has passed or not.
    let verified = UseRequest { act: Act::Verify, ..by_function(&[]) };
    let told = used(&ledger, row, verified).await.unwrap().licences[0].status.verify_code;
    assert_ne!(told, VERIFY_NO_RECORD);
}

#[tokio::test(flavor = "multi_thread")]
async fn content_is_not_used_while_its_erasure_waits_for_its_retention() {
    let (ledger, rows) = ledger_with_rows().await;
    let row = rows.one("安全生产考核合格证书");
    let before = own_use(&ledger, row).await;
    assert_eq!(send(&ledger, 0, &before).await.unwrap().contents.len(), 1);
    let grounds = |reason: &str| {
        let evidence = vec![Evidence { kind: "request".into(), digest: vec![1; 32], ..Evidence::default() }];
        Grounds { reason: reason.into(), legal_basis: vec!["PIPL-47".into()], evidence, ..Grounds::default() }
    };
    ledger.client.change_status(&identifier(row), "cancelled", 0, &grounds("ended")).await.unwrap();
    let recorded = ledger.client.erase(&identifier(row), None, &grounds("person-request")).await.unwrap();
    assert_eq!(waits(&recorded), Some(Reason::Retention), "{:?}", recorded.outcome);

    assert_eq!(refused(used(&ledger, row, by_function(&[])).await), Reason::ContentRestricted);
    for node in 0..3 {
        // A use from before it, sent again, gives its record and no fields.
        let again = send(&ledger, node, &before).await.unwrap();
        assert_eq!(again.reply.as_ref().map(|r| r.state()), Some(CommandState::Committed));
        for sealed in &again.contents {
            assert_eq!(open(&before, &before.recipient, &before.prepared.id, sealed).unwrap().disclosures, Vec::<String>::new());
        }
    }
    ledger.client.withdraw_erasure(&identifier(row), &grounds("request-withdrawn")).await.unwrap();
    let answer = used(&ledger, row, by_function(&[])).await.unwrap();
    assert_eq!(fields(&answer).get("employer"), Some(&&row["data"]["employer"]));
}

/// A moment to the millisecond, as the command line takes it.
fn moment(ms: u64) -> String {
    format!("{}.{:03}Z", show_ms(ms).trim_end_matches('Z'), ms % 1000)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_licence_is_verified_as_of_the_day_of_the_case() {
    const HOUR: u64 = 3_600_000;
    let (ledger, rows) = ledger_with_rows().await;
    // Of a closed type, in its term: who may verify what holds may verify what held.
    let (today, closed) = (show_ms(now_ms())[..10].to_owned(), ["道路运输经营许可证", "安全生产考核合格证书"]);
    let in_term = |row: &&&Value| row["certificateExpiringDate"].as_str().unwrap() > today.as_str();
    let row = *closed.iter().flat_map(|name| rows.of_type(name)).collect::<Vec<_>>().iter().find(in_term).unwrap();
    let config = ledger.dir().join("client.toml").display().to_string();
    let verify = |more: &[&str]| {
        let identifier = identifier(row);
        let (config, identifier) = (config.as_str(), identifier.as_str());
        let asked = ["--config", config, "--json", "verify", identifier, "--case", "2026-17", "--purpose", "核验", "--item", "00044A"];
        let (code, out, errors) = ledger.vermilion(&[&asked[..], more].concat());
        (code, serde_json::from_str::<Value>(&out).unwrap_or_else(|_| Value::String(format!("exit code {code}: {out}{errors}"))))
    };
    let (code, said) = verify(&[]);
    assert_eq!((code, &said["status"], &said["national_code"]), (0, &"valid".into(), &"01".into()), "{said:#}");
    let known = now_ms();
    let frozen = known - 10 * HOUR;
    let grounds = Grounds { reason: "court-order".into(), legal_basis: vec!["002-7".into()], ..Grounds::default() };
    ledger.client.change_status(&identifier(row), "frozen", frozen, &grounds).await.unwrap();

    let (code, said) = verify(&[]);
    assert_eq!((code, &said["status"], &said["national_code"]), (1, &"frozen".into(), &"99".into()), "{said:#}");
    let (before, after, known) = (moment(frozen - HOUR), moment(frozen + HOUR), moment(known));
    let (code, said) = verify(&["--at", &before]);
    assert_eq!((code, &said["status"], &said["verify_code"]), (0, &"valid".into(), &0.into()), "{said:#}");
    assert!(said["record"]["seq"].is_u64() && said["at"].is_string(), "the question is on record: {said:#}");
    let (code, said) = verify(&["--at", &after]);
    assert_eq!((code, &said["status"], &said["status_zh"]), (1, &"frozen".into(), &"冻结".into()), "{said:#}");
    let (code, said) = verify(&["--at", &after, "--known", &known]);
    assert_eq!((code, &said["status"]), (0, &"valid".into()), "the freeze was recorded later: {said:#}");
    let (code, said) = verify(&["--known", "2020-01-01"]);
    assert_eq!((code, &said["verify_code"]), (1, &5.into()), "the ledger knew of no such licence: {said:#}");
    assert_eq!(verify(&["--at", "2999-01-01"]).0, 2);

    // A use opens it to the unit that made it alone.
    let used = used(&ledger, row, by_function(&[])).await.unwrap();
    let city = ledger.client.managing_unit().to_owned();
    let asked = StatusQuestion { at_ms: frozen - HOUR, ..StatusQuestion::default() };
    let by = async |unit: &str| ledger.client.status_by_use(unit, &identifier(row), &used.recorded.id, &asked).await;
    assert_eq!(by(&using_unit(&ledger)).await.unwrap().state, "valid");
    assert_eq!(by(&city).await.unwrap_err().refusal().map(|r| r.reason), Some(Reason::NotAuthorised));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_erasure_that_waits_is_withdrawn_at_the_command_line() {
    let (ledger, rows) = ledger_with_rows().await;
    let row = rows.one("安全生产考核合格证书");
    let id = identifier(row);
    let request = ledger.dir().join("request.txt");
    std::fs::write(&request, "样例申请").unwrap();
    let (config, request) = (ledger.dir().join("client.toml").display().to_string(), request.display().to_string());
    let licence = |verb: &str, more: &[&str]| {
        let first = ["--config", &config, "--json", "licence", verb, &id, "--basis", "个人信息保护法第四十七条"];
        let (code, out, errors) = ledger.vermilion(&[&first, more].concat());
        (code, serde_json::from_str(&out).unwrap_or_else(|_| Value::String(out + &errors)))
    };
    let evidence = ["--evidence", request.as_str()];
    let withdraw = [&["--withdraw", "--reason", "request-withdrawn"], &evidence[..]].concat();
    let ask = [&["--reason", "person-request"], &evidence[..]].concat();

    let (code, said) = licence("change", &["--to", "cancelled", "--reason", "ended"]);
    assert_eq!(code, 0, "{said}");
    let (code, said) = licence("erase", &withdraw);
    assert_eq!(code, 4, "nothing waits: {said}");
    let (code, said) = licence("erase", &ask);
    assert_eq!((code, &said["warnings"]), (0, &serde_json::json!(["retention"])), "{said}");
    assert_eq!(refused(used(&ledger, row, by_function(&[])).await), Reason::ContentRestricted);

    // A destruction is the managing unit's, whose keys are here: it is refused for what it is.
    let (code, said) = licence("erase", &["--archive-receipt", &"05".repeat(32), "--reason", "ended"]);
    assert!(code == 4 && said.as_str().is_some_and(|said| said.contains("\"retention\"")), "{said}");

    // Without evidence, or as a destruction too, it is no command at all.
    assert_eq!(licence("erase", &["--withdraw", "--reason", "request-withdrawn"]).0, 2);
    assert_eq!(licence("erase", &[&withdraw[..], &["--archive-receipt", &"05".repeat(32)]].concat()).0, 2);
    assert_eq!(refused(used(&ledger, row, by_function(&[])).await), Reason::ContentRestricted);

    let (code, said) = licence("erase", &withdraw);
    assert_eq!((code, said.get("warnings")), (0, None), "{said}");
    let answer = used(&ledger, row, by_function(&[])).await.unwrap();
    assert_eq!(fields(&answer).get("employer"), Some(&&row["data"]["employer"]));
    assert_eq!(licence("erase", &withdraw).0, 4, "nothing waits any more");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_use_says_for_what_and_by_whom() {
    let (ledger, rows) = ledger_with_rows().await;
    let row = rows.one("营业执照");
    let without = |change: fn(&mut UseRequest)| {
        let mut request = by_function(&[]);
        change(&mut request);
        request
    };
    assert_eq!(refused(used(&ledger, row, without(|r| r.case.clear())).await), Reason::PurposeMissing);
    assert_eq!(refused(used(&ledger, row, without(|r| r.purpose = "  ".into())).await), Reason::PurposeMissing);
    assert_eq!(refused(used(&ledger, row, without(|r| r.service_item.clear())).await), Reason::PurposeMissing);
    assert_eq!(refused(used(&ledger, row, without(|r| r.purpose = "\u{3164}".into())).await), Reason::PurposeMissing);
    assert_eq!(refused(used(&ledger, row, without(|r| r.delivery = Delivery::ArchiveCopy)).await), Reason::NotYetHonoured);
    // The door says the same of whoever has another client, and before there is a record.
    let size = ledger.settled().await;
    for blank in ["", " ", "\u{3000}", "\u{2800}", "\u{3164}", "\u{fe00}"] {
        for said in [[blank, "一号案", "核验"], ["item", blank, "核验"], ["item", "一号案", blank]] {
            let reply = send(&ledger, 0, &own_use_for(&ledger, row, said).await).await.unwrap().reply.unwrap();
            assert_eq!(Reason::from_number(reply.code), Some(Reason::PurposeMissing), "{said:?}: {reply:?}");
        }
    }
    assert_eq!(ledger.settled().await, size);
    let city = ledger.client.managing_unit().to_owned();
    ledger.client.change_unit(&city, &using_unit(&ledger), true, &inspection()).await.unwrap();
    let reason = refused(used(&ledger, row, by_function(&[])).await);
    assert!([Reason::UnitSuspended, Reason::NotAuthorised].contains(&reason), "{reason:?}");
}
