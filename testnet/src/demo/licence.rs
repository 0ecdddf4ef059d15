//! A licence's use, verification and revocation.

use super::show::{Show, columns};
use super::{deviation, ledger};
use crate::error::TestnetError;
use crate::sample::SampleUnit;
use vermilion_client::change::Grounds;
use vermilion_client::client::Client;
use vermilion_client::clock::show_ms;
use vermilion_client::connection::Recorded;
use vermilion_client::use_licence::{UseAnswer, UseRequest};
use vermilion_proto::{Act, Authority, Head, Mode, Use, body::Of};
use vermilion_registry::content::Row;
use vermilion_registry::reason::Reason;
use vermilion_registry::status::{Shown, State};
use vermilion_registry::submission::open_recorded;

/// Item, case number and purpose of the sample uses. The last two must not stand on the ledger.
const ITEM: &str = "00044A-公积金账户设立";
const CASE: &str = "SAMPLE-CASE-2026-000017";
const PURPOSE: &str = "单位开立账户时核对主体资格";
/// What is asked for, and what each must answer: granted, or the reason.
const FIELDS: [(&str, Option<Reason>); 6] = [
    ("enterpriseType", None),
    ("legalRepresentative", None),
    ("businessScope", None),
    ("address", None),
    ("legalRepresentativeId", Some(Reason::FieldNotGranted)),
    ("bankAccount", Some(Reason::UnknownField)),
];
/// The state to which the licence is brought, and on what legal basis.
const BASIS: &str = "行政处罚法第九条第三项";

fn request(act: Act) -> UseRequest {
    UseRequest {
        act,
        service_item: ITEM.into(),
        case: CASE.into(),
        purpose: PURPOSE.into(),
        fields: if act == Act::Verify { Vec::new() } else { FIELDS.iter().map(|(f, _)| (*f).to_owned()).collect() },
        ..UseRequest::default()
    }
}

/// Uses the licence, shows what was granted, and the record of it.
pub async fn use_it(client: &Client, unit: &SampleUnit, row: &Row, show: &Show) -> Result<(), TestnetError> {
    let answer = client.use_licences(&unit.uscc, std::slice::from_ref(&row.identifier), request(Act::Use)).await?;
    show.fact("单位 unit", &format!("{} {}", unit.name, unit.uscc));
    show.fact("证照 licence", &format!("{} {}", row.name, row.identifier));
    granted(&answer, row, show)?;
    record_of_use(client, &answer.recorded, show).await
}

fn granted(answer: &UseAnswer, row: &Row, show: &Show) -> Result<(), TestnetError> {
    let fields = answer.licences.first().map(|l| l.fields.as_slice()).unwrap_or_default();
    let withheld: Vec<(&str, Option<Reason>)> = answer.withheld().collect();
    let (mut labels, mut rows) = (Vec::new(), Vec::new());
    for (name, refused) in FIELDS {
        let found = fields.iter().find(|f| f.name == name);
        match (refused, found) {
            (None, Some(field)) if row.data.get(name) == Some(&field.value) => {
                labels.push("提供 granted");
                rows.push(vec![name.to_owned(), field.value.as_str().map_or_else(|| field.value.to_string(), str::to_owned)]);
            }
            (Some(reason), None) if withheld.contains(&(name, Some(reason))) => {
                labels.push("不予提供 withheld");
                rows.push(vec![name.to_owned(), format!("{reason} {} {}", reason.chinese(), reason.english())]);
            }
            _ => return Err(deviation(format!("the use answered otherwise of the field {name}"))),
        }
    }
    if fields.len() + withheld.len() != FIELDS.len() {
        return Err(deviation("the use answered of other fields than it asked for"));
    }
    for (label, line) in labels.into_iter().zip(columns(&rows)) {
        show.fact(label, &line);
    }
    Ok(())
}

/// Reads the record back from the ledger and shows what stands in it.
async fn record_of_use(client: &Client, recorded: &Recorded, show: &Show) -> Result<(), TestnetError> {
    let (stored, open) = ledger::record(client, recorded.seq).await?;
    if open.hash.as_slice() != recorded.record_hash {
        return Err(deviation(format!("record {} is not the one that the node answered with", recorded.seq)));
    }
    let (_, opened) = open_recorded(open.record.envelope, stored.items).map_err(|r| deviation(r.to_string()))?;
    let (Some(head), Some(Of::Use(body))) = (opened.command.head, opened.command.body.and_then(|b| b.of)) else {
        return Err(deviation(format!("record {} is of no use", recorded.seq)));
    };
    show.fact("用证记录 record", &format!("{}, {}", recorded.seq, show_ms(open.record.time_ms)));
    show.fact("  hash", &hex::encode(open.hash));
    show.fact("  谁 who", &who(&head));
    show.fact("  方式 mode", &how(&body));
    show.fact("  案件号 case", &format!("digest {}", hex::encode(&body.case_digest)));
    show.fact("  用途 purpose", &format!("digest {}", hex::encode(&body.purpose_digest)));
    for secret in [CASE, PURPOSE] {
        if stored.record.windows(secret.len()).any(|w| w == secret.as_bytes()) {
            return Err(deviation("case number or purpose stand in the record"));
        }
    }
    show.note("  案件号与用途原文不在账上  Case number and purpose are on the ledger as salted digests alone.");
    Ok(())
}

/// Who signed, in which posts.
fn who(head: &Head) -> String {
    let signers: Vec<String> = head.signers.iter().map(|s| format!("{} (key {})", s.post, hex::encode(&s.key_id))).collect();
    format!("{} {}", head.unit, signers.join(", "))
}

fn how(body: &Use) -> String {
    let mode = match body.mode() {
        Mode::Manual => "人工 manual",
        Mode::Interface => "接口 interface",
        Mode::Unspecified => "?",
    };
    let authority = match body.authority() {
        Authority::ByFunction => "依职权 by function",
        Authority::HolderPresent => "持证人在场 holder present",
        Authority::Entrusted => "受委托 entrusted",
        Authority::Unspecified => "?",
    };
    format!("{mode}, {authority}, 事项 item {}", body.service_item)
}

/// Verifies the licence: a use that asks for its status alone. It must answer as expected.
pub async fn verify(client: &Client, unit: &SampleUnit, row: &Row, expected: State, show: &Show) -> Result<(), TestnetError> {
    let answer = client.use_licences(&unit.uscc, std::slice::from_ref(&row.identifier), request(Act::Verify)).await?;
    let status = answer.licences.first().map(|l| l.status.clone()).ok_or_else(|| deviation("the verification has no answer"))?;
    let code = Shown::State(expected).verify_code();
    let (chinese, english) = if code == 0 {
        ("信息正确且证照有效", "correct, and the licence is valid")
    } else {
        ("证照已失效", "the licence is no longer valid")
    };
    if status.verify_code != code || status.shown != expected.name() {
        return Err(deviation(format!("the licence verifies as {} {} instead of {code} {expected}", status.verify_code, status.shown)));
    }
    show.fact(
        "核验 verify",
        &format!("{} / {expected}; GB/T 36906 {code} {chinese} / {english} (record {})", expected.chinese(), answer.recorded.seq),
    );
    Ok(())
}

/// Revokes the licence, by its issuing unit's maker and checker.
pub async fn revoke(client: &Client, row: &Row, show: &Show) -> Result<Recorded, TestnetError> {
    let grounds = Grounds { reason: "penalty".into(), legal_basis: vec![BASIS.into()], ..Grounds::default() };
    let recorded = client.change_status(&row.identifier, State::Revoked.name(), 0, &grounds).await?;
    let (stored, open) = ledger::record(client, recorded.seq).await?;
    let (_, opened) = open_recorded(open.record.envelope, stored.items).map_err(|r| deviation(r.to_string()))?;
    let head = opened.command.head.unwrap_or_default();
    let posts: Vec<&str> = head.signers.iter().map(|s| s.post.as_str()).collect();
    if !posts.contains(&"maker") || !posts.contains(&"checker") || head.legal_basis != [BASIS] {
        return Err(deviation("the revocation was not recorded as it was made"));
    }
    show.fact("吊销 revoke", &format!("record {}, by {} ({})", recorded.seq, row.authority_name, posts.join(" + ")));
    show.fact("  依据 basis", &format!("{BASIS}; reason {}", head.reason));
    Ok(recorded)
}
