//! Nobody's data where they must not be: not in records, leaves, state, tiles, checkpoints, the vault's
//! rows, the files as they lie on disk, logs or metrics; not in the clear and not as an unsalted hash.
//!
//! The tables of records, state, checkpoints and meta are LZ4: of what was deleted or written over there before a compaction, only
//! that is found which was not torn by a match. What stands in them, and went through the write-ahead log, is searched whole.

use crate::fixtures;
use crate::uses::request;
use std::collections::BTreeSet;
use vermilion_client::change::Grounds;
use vermilion_client::clock::now_ms;
use vermilion_client::issue::{IssueOptions, issue_file};
use vermilion_client::manage::NewOperator;
use vermilion_client::use_licence::UseRequest;
use vermilion_crypto::{SigningKey, sha256};
use vermilion_proto::{Authority, Evidence, Message as _, StoredRecord, Unit};
use vermilion_registry::Reason;
use vermilion_registry::codes::uscc;
use vermilion_registry::stored::open_record;
use vermilion_testnet::layout::sample_person;
use vermilion_tests::needles::{Form, Found, Needles};
use vermilion_tests::{Ledger, disk, http, personal_values, public_identifiers};

/// What people wrote and whose names they are, beside the rows.
const LEADER: &str = "负责人样例欧阳某某";
const OPERATOR: &str = "经办员样例诸葛某某";
const OPERATOR_CODE: &str = "440305189003078818";
const CASES: [&str; 4] = ["2026-深-保密-第00917号", "2026-深-保密-第00918号", "2026-深-保密-第00919号", "2026-深-保密-第00920号"];
const PURPOSES: [&str; 4] = ["核对婚姻状况以办理购房资格", "核验驾驶资格与违法记录", "查询企业法定代表人情况", "不动产继承公证资料核对"];

/// Everything that the nodes of this workspace can be brought to say.
const TALKATIVE: &str = "[log]\nlevel = \"info,vermiliond=trace,vermilion_node=trace,vermilion_consensus=trace,vermilion_storage=trace,vermilion_registry=trace\"";

/// Lets everything happen that knows somebody's data, and says what those were beside the rows'.
async fn live(ledger: &Ledger) -> Vec<String> {
    let client = &ledger.client;
    let city = client.managing_unit().to_owned();
    let user = ledger.sample.unit_with_role("using-unit").unwrap().uscc.clone();
    let mut said: Vec<String> = [LEADER, OPERATOR, OPERATOR_CODE].into_iter().chain(CASES).chain(PURPOSES).map(str::to_owned).collect();

    // People.
    let code = uscc::build("11", "440300", "MB0X0999").unwrap();
    let unit = Unit {
        uscc: code,
        name_zh: "样例新单位".into(),
        area: "440300".into(),
        level: "city".into(),
        roles: vec!["using-unit".into()],
        ..Unit::default()
    };
    client.register_unit(&city, unit, Some(LEADER)).await.unwrap();
    let asker = client.asker(Some(&city)).unwrap();
    let person = client.person_tag(&asker, "111", OPERATOR_CODE).await.unwrap();
    let key = SigningKey::generate().unwrap().public();
    let name = Some(OPERATOR.to_owned());
    let new = NewOperator { unit: user.clone(), key, posts: vec!["user".into()], person, name, from_ms: 0, until_ms: 0 };
    client.add_operator(&city, &new).await.unwrap();
    for unit in ledger.sample.units() {
        said.extend(["maker", "checker", "user", "approve", "operate", "verify"].map(|post| sample_person(&unit.uscc, post)));
    }

    // Uses, granted and refused, and verifications.
    let good = fixtures::good();
    let pick = |name: &str, n: usize| good.of_type(name)[n]["certificateIdentifier"].as_str().unwrap().to_owned();
    for (n, name) in ["结婚证", "机动车驾驶证", "营业执照", "不动产权证书"].into_iter().enumerate() {
        for (authority, consent) in [(Authority::HolderPresent, "consent-0815"), (Authority::ByFunction, "")] {
            let mut asked = request(authority, consent, &[]);
            (asked.case, asked.purpose) = (CASES[n].into(), PURPOSES[n].into());
            for identifier in [pick(name, n), pick(name, n + 1)] {
                client.use_licences(&user, &[identifier], asked.clone()).await.unwrap();
            }
        }
    }
    // What a use says in the clear takes nobody's number, and what was refused is nowhere either.
    let numbered = |service_item: &str, consent: &str, fields: &[&str]| {
        let asked = request(Authority::HolderPresent, consent, fields);
        UseRequest { service_item: service_item.into(), ..asked }
    };
    for asked in [
        numbered(&format!("为{OPERATOR_CODE}办理"), "consent-0815", &[]),
        numbered("item", OPERATOR_CODE, &[]),
        numbered("item", "consent-0815", &[OPERATOR_CODE]),
    ] {
        let refused = client.use_licences(&user, &[pick("营业执照", 0)], asked).await.err().unwrap();
        assert_eq!(refused.refusal().map(|r| r.reason), Some(Reason::FieldForm));
    }
    let grounds = Grounds { reason: "penalty".into(), legal_basis: vec!["002-7".into()], ..Grounds::default() };
    client.change_status(&pick("机动车驾驶证", 3), "withheld", now_ms() - 1, &grounds).await.unwrap();
    let evidence = vec![Evidence { kind: "complaint".into(), digest: vec![1; 32], ..Evidence::default() }];
    let grounds = Grounds { reason: "unlawful-processing".into(), evidence, ..grounds };
    client.erase(&pick("结婚证", 4), None, &grounds).await.unwrap();

    // Questions that carry what they ask about, right, wrong and senseless.
    let challenged = good.of_type("公共场所卫生许可证")[0];
    let identifier = challenged["certificateIdentifier"].as_str().unwrap();
    let personal = pick("机动车驾驶证", 0);
    let number = personal.split('.').nth(7).unwrap().to_owned();
    for node in ledger.nodes() {
        for value in [challenged["data"]["legalRepresentative"].as_str().unwrap(), OPERATOR] {
            let path = format!("/v1/licences/{identifier}/status?field=legalRepresentative&value={}", http::encoded(value));
            http::get(&node.http, &path).await;
        }
        http::get(&node.http, &format!("/v1/licences/{personal}/status")).await;
        http::get(&node.http, &format!("/v1/licences/{number}/status?field={number}&value={number}")).await;
        http::get(&node.http, &format!("/v1/records/{number}")).await;
        http::get(&node.http, &format!("/{number}")).await;
    }
    for (kind, key) in [("licence", personal.as_str()), ("licence", &number), (number.as_str(), "x"), ("unit", &number)] {
        let _ = client.connection.query(kind, key, Some(&asker)).await;
    }
    said
}

#[tokio::test(flavor = "multi_thread")]
async fn no_personal_data_in_the_clear_or_as_an_unsalted_hash() {
    let mut ledger = Ledger::start_with(TALKATIVE).await;
    let (good, (bad, _)) = (fixtures::good(), fixtures::bad(ledger.dir()));
    for rows in [&good, &bad] {
        issue_file(&ledger.client, &rows.path, &IssueOptions::default(), &mut |_, _| Ok(())).await.unwrap();
    }
    let said = live(&ledger).await;
    ledger.settled().await;
    let catalogue = ledger.sample.catalogue().unwrap();
    let rows = [good.rows, bad.rows].concat();
    let all = Needles::new(personal_values(&rows, &catalogue).into_iter().chain(said));
    // A public identifier contains its number, whoever else may have that number.
    let public: BTreeSet<String> = all
        .find("public", public_identifiers(&rows, &catalogue).as_bytes())
        .into_iter()
        .filter(|f| f.form == Form::Clear)
        .map(|f| f.value)
        .collect();
    assert!(public.len() < 10, "{} values are part of public identifiers", public.len());
    let needles = Needles::new(all.values().iter().filter(|v| !public.contains(*v)).cloned());
    assert!(needles.values().len() > 4_000, "{} values", needles.values().len());

    let mut found: BTreeSet<Found> = BTreeSet::new();
    let mut bytes = 0;
    let mut look = |place: &str, haystack: &[u8]| {
        bytes += haystack.len();
        found.extend(needles.find(place, haystack));
    };
    for node in ledger.nodes() {
        look(&format!("metrics of {}", node.name), &http::get(&node.http, "/metrics").await.body);
    }
    ledger.stop_all();
    let mut columns = BTreeSet::new();
    for node in ledger.nodes() {
        for (column, rows) in disk::dump(&node.data_dir).unwrap() {
            let place = format!("column {column} of {}", node.name);
            for (key, value) in &rows {
                look(&place, &[key.as_slice(), value].concat());
            }
            if !rows.is_empty() {
                columns.insert(column);
            }
            if column == "records" {
                for (_, value) in &rows {
                    let stored = StoredRecord::decode(value.as_slice()).unwrap();
                    let open = open_record(&stored).unwrap();
                    look(&format!("leaves of {}", node.name), &open.leaf.encode());
                    // Encoded text by text, in case that an encoding tears one apart.
                    look(&format!("records of {}", node.name), format!("{:?}{:?}", open.record, stored.items).as_bytes());
                }
            }
        }
        let log = ledger.log(&node.name);
        assert!(log.contains("role="), "the log of {} says nothing", node.name);
        // Without the moments at which the lines were written: dates are personal in some licences.
        let lines: Vec<&str> = log.lines().map(|line| line.split_once(' ').map_or(line, |(_, rest)| rest)).collect();
        look(&format!("log of {}", node.name), lines.join("\n").as_bytes());
        for file in disk::files(&node.data_dir) {
            // RocksDB's own log is full of dates too.
            if !file.file_name().unwrap().to_string_lossy().starts_with("LOG") {
                look(&format!("{}", file.strip_prefix(ledger.dir()).unwrap().display()), &std::fs::read(&file).unwrap());
            }
        }
    }
    // Tiles are hashes of leaves and bundles leaves themselves; there are none of fewer than 256 records.
    // Consistency proofs are hashes too; before the second checkpoint there is none.
    columns.extend(["tiles", "entries", "consistency"]);
    assert_eq!(columns, disk::COLUMNS.into_iter().collect(), "some column held nothing to look into");
    assert!(bytes > 10 << 20, "only {bytes} bytes were looked into");
    println!("{} values in {} MB", needles.values().len(), bytes >> 20);
    assert!(found.is_empty(), "{} found, among them {:#?}", found.len(), found.iter().take(20).collect::<Vec<_>>());

    // The same search does find what lies in a place where it should not: in a real record, a real
    // log, as each of the forms.
    let holder = good_holder(&rows);
    let record = disk::dump(&ledger.nodes()[0].data_dir).unwrap()["records"].last().unwrap().1.clone();
    let planted = |form: &[u8]| [&record[..record.len() / 2], form, &record[record.len() / 2..]].concat();
    for (form, bytes) in [
        (Form::Clear, holder.as_bytes().to_vec()),
        (Form::Raw, sha256(holder.as_bytes()).to_vec()),
        (Form::Raw, blake3::hash(holder.as_bytes()).as_bytes().to_vec()),
        (Form::Hex, hex::encode(sha256(holder.as_bytes())).into_bytes()),
    ] {
        let expected = Found { value: holder.clone(), form, place: "planted".into() };
        assert_eq!(needles.find("planted", &planted(&bytes)), BTreeSet::from([expected]));
    }
    for text in [OPERATOR, LEADER, CASES[0], PURPOSES[3], OPERATOR_CODE] {
        let line = format!("{} INFO something happened to {text}", ledger.log("city").lines().next().unwrap());
        assert_eq!(needles.find("log", line.as_bytes()).len(), 1, "{text}");
    }
}

fn good_holder(rows: &[serde_json::Value]) -> String {
    rows[0]["certificateHolder"][0]["name"].as_str().unwrap().to_owned()
}
