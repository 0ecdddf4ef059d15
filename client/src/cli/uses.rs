//! `vermilion use` and `vermilion verify`

use super::Context;
use super::operators::moment;
use super::output::{recorded_json, status_json, status_text, table};
use crate::client::Client;
use crate::clock::now_ms;
use crate::error::{ClientError, Exit};
use crate::files::first_line;
use crate::keyring::OperatorKey;
use crate::questions::StatusQuestion;
use crate::signer;
use crate::use_licence::{UseAnswer, UseRequest, UsedLicence};
use crate::visible::one_line;
use clap::{ArgGroup, Args, ValueEnum};
use serde_json::{Map, Value, json};
use std::path::PathBuf;
use vermilion_proto::{Act, Authority, Delivery, Mode, StatusAnswer};
use vermilion_registry::Kind;
use vermilion_registry::codes::identifier::Identifier;
use vermilion_registry::reason::Reason;
use vermilion_registry::status::{VERIFY_NO_RECORD, VERIFY_WRONG};

#[derive(Clone, Copy, Debug, ValueEnum)]
enum ActArg {
    Use,
    Consult,
    Verify,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum ModeArg {
    Manual,
    Interface,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum AuthorityArg {
    ByFunction,
    HolderPresent,
    Entrusted,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum DeliveryArg {
    Data,
    View,
}

/// For what licences are used: goes with every use, and stands in its record.
#[derive(Args, Debug)]
pub struct Purpose {
    /// The case number (sealed; its digest is recorded)
    #[arg(long, value_name = "NUMBER")]
    case: String,
    /// The purpose (sealed; its digest is recorded)
    #[arg(long, value_name = "TEXT")]
    purpose: String,
    /// The service item's code
    #[arg(long, value_name = "CODE")]
    item: String,
    /// The using unit; the first with a user's key here if not given
    #[arg(long, value_name = "USCC")]
    unit: Option<String>,
    /// By hand, or by a system
    #[arg(long, value_enum, default_value = "manual")]
    mode: ModeArg,
    /// On what authority
    #[arg(long, value_enum, default_value = "by-function")]
    authority: AuthorityArg,
    /// Consent or use code (用证码): with the holder present, or entrusted
    #[arg(long, value_name = "ID", default_value = "")]
    consent: String,
}

#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  \
    vermilion use ID --case 2026-17 --purpose 开立账户 --item 00044A \\\n      \
    --fields legalRepresentative,address\n  \
    vermilion use --holder number.txt --case 2026-17 --purpose 开立账户 \\\n      \
    --item 00044A\n\n\
    With --holder it says which licences the holder has, of the types that are open\n\
    to this use, and their status; it is on record like any use. Fields are opened\n\
    by naming a licence.\n\
    Exit code 1 if no field is granted; each withheld field is shown with its\n\
    reason. With --holder it is 0 also where nobody is found.")]
#[command(group = ArgGroup::new("of").args(["identifiers", "holder"]).required(true))]
pub struct UseArgs {
    /// Identifiers of the licences
    #[arg(value_name = "ID")]
    identifiers: Vec<String>,
    /// A file whose first line is the holder's identity number or code (`-`: standard input): searches for that holder's licences
    #[arg(long, value_name = "FILE", conflicts_with = "fields")]
    holder: Option<PathBuf>,
    /// The code's type (GB/T 36903 annex A): 111 a citizen's identity number, 001 a unified social credit code
    #[arg(long, value_name = "TYPE", default_value = "111", requires = "holder")]
    holder_code_type: String,
    #[command(flatten)]
    purpose: Purpose,
    /// Fields wanted; the type's default disclosure if not given
    #[arg(long, value_delimiter = ',')]
    fields: Vec<String>,
    /// The act
    #[arg(long, value_enum, default_value = "use")]
    act: ActArg,
    /// As data or as a view
    #[arg(long, value_enum, default_value = "data")]
    delivery: DeliveryArg,
    /// Years for which the result is kept
    #[arg(long, default_value_t = 0, value_name = "YEARS")]
    keep: u32,
}

#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  \
    vermilion verify ID --case 2026-17 --purpose 核验 --item 00044A\n  \
    vermilion verify ID --case 2026-17 --purpose 核验 --item 00044A \\\n      \
    --at 2025-11-03\n\n\
    Prints the verify-information result of GB/T 36906 (0 to 7). Exit code 0 if the\n\
    licence is valid, 1 if not; with --at if it was.")]
pub struct VerifyArgs {
    /// The licence's identifier
    #[arg(value_name = "ID")]
    identifier: String,
    #[command(flatten)]
    purpose: Purpose,
    #[command(flatten)]
    past: Past,
}

/// Of which moment a status is asked for.
#[derive(Args, Debug, Default)]
pub struct Past {
    /// What it was then: 2026-03-01 (its first moment in China) or 2026-03-01T09:00:00+08:00; now if not given
    #[arg(long, value_name = "TIME")]
    at: Option<String>,
    /// As far as the ledger knew then, in the same forms; what was recorded later is left out
    #[arg(long, value_name = "TIME")]
    known: Option<String>,
}

impl Past {
    /// The question about that moment; what lies ahead no record says.
    pub fn question(&self) -> Result<StatusQuestion<'static>, ClientError> {
        let read = |name: &str, text: Option<&str>| {
            // The first millisecond of 1970 is not "now".
            let ms = moment(text)?.max(u64::from(text.is_some()));
            if ms > now_ms() { Err(ClientError::Usage(format!("--{name} lies in the future"))) } else { Ok(ms) }
        };
        let (at_ms, known_ms) = (read("at", self.at.as_deref())?, read("known", self.known.as_deref())?);
        Ok(StatusQuestion { at_ms, known_ms, ..StatusQuestion::default() })
    }
}

impl Purpose {
    fn request(&self, act: Act) -> UseRequest {
        UseRequest {
            act,
            mode: match self.mode {
                ModeArg::Manual => Mode::Manual,
                ModeArg::Interface => Mode::Interface,
            },
            authority: match self.authority {
                AuthorityArg::ByFunction => Authority::ByFunction,
                AuthorityArg::HolderPresent => Authority::HolderPresent,
                AuthorityArg::Entrusted => Authority::Entrusted,
            },
            service_item: self.item.clone(),
            case: self.case.clone(),
            purpose: self.purpose.clone(),
            consent_id: self.consent.clone(),
            ..UseRequest::default()
        }
    }

    /// The unit that uses: named, else the first whose keys here may.
    async fn unit(&self, client: &Client) -> Result<String, ClientError> {
        if let Some(unit) = &self.unit {
            return Ok(unit.clone());
        }
        let rule = client.post_rule(Kind::Use).await?;
        using_unit(client, &rule).ok_or_else(|| ClientError::config("operators", format!("no keys here fill the posts {rule} of a use")))
    }
}

/// The first unit whose keys here fill the posts of a use.
pub fn using_unit(client: &Client, rule: &str) -> Option<String> {
    let may = |o: &&OperatorKey| signer::can_sign(client.keyring(), &o.unit, rule);
    client.keyring().operators().iter().find(may).map(|o| o.unit.clone())
}

pub async fn run_use(context: &Context, args: UseArgs) -> Result<Exit, ClientError> {
    let client = context.client()?;
    let act = match args.act {
        ActArg::Use => Act::Use,
        ActArg::Consult => Act::Consult,
        ActArg::Verify => Act::Verify,
    };
    let delivery = match args.delivery {
        DeliveryArg::Data => Delivery::Data,
        DeliveryArg::View => Delivery::View,
    };
    let request = UseRequest { fields: args.fields, delivery, retention_years: args.keep, ..args.purpose.request(act) };
    let unit = args.purpose.unit(&client).await?;
    let answer = match &args.holder {
        Some(file) => client.search_holder(&unit, &args.holder_code_type, &first_line(file)?, request).await?,
        None => client.use_licences(&unit, &args.identifiers, request).await?,
    };
    context.out.answer(&answer_json(&unit, &answer), || answer_text(&unit, &answer));
    // The use stands, but it was given nothing of what it asked for.
    let nothing = answer.recorded.outcome.granted.is_empty() && !answer.recorded.outcome.withheld.is_empty();
    Ok(if nothing { Exit::No } else { Exit::Yes })
}

fn answer_json(unit: &str, answer: &UseAnswer) -> Value {
    let withheld: Map<String, Value> =
        answer.withheld().map(|(field, reason)| (field.to_owned(), json!(reason.map(Reason::name)))).collect();
    let licence = |l: &UsedLicence| {
        let fields: Map<String, Value> = l.fields.iter().map(|f| (f.name.clone(), f.value.clone())).collect();
        let disclosures: Vec<&String> = l.fields.iter().map(|f| &f.disclosure).collect();
        json!({ "identifier": l.identifier, "status": status_json(&l.identifier, &l.status), "fields": fields, "disclosures": disclosures, "item": hex::encode(&l.item) })
    };
    json!({
        "unit": unit,
        "record": recorded_json(&answer.recorded),
        "granted": answer.recorded.outcome.granted,
        "withheld": withheld,
        "licences": answer.licences.iter().map(licence).collect::<Vec<_>>(),
        "more": answer.more,
    })
}

fn answer_text(unit: &str, answer: &UseAnswer) -> String {
    let recorded = &answer.recorded;
    let mut out = format!("用证记录 usage record {} by {unit}, command {}\n", recorded.seq, hex::encode(recorded.id));
    for licence in &answer.licences {
        out += &status_text(&licence.identifier, &licence.status);
        let shown = |v: &Value| v.as_str().map_or_else(|| v.to_string(), str::to_owned);
        let rows: Vec<Vec<String>> = licence.fields.iter().map(|f| vec![format!("  {}", f.name), shown(&f.value)]).collect();
        if !rows.is_empty() {
            out += &format!("{}\n", table(&["  字段 field", "值 value"], &rows));
        }
    }
    if answer.licences.is_empty() && answer.recorded.outcome.withheld.is_empty() {
        out += "  没有可提供的证照 no licence is there, or none is open to this use\n";
    }
    if answer.more {
        out += "  还有更多未列出 there are more than one search may list\n";
    }
    for (field, reason) in answer.withheld() {
        let (field, name) = (one_line(field), reason.map_or("?", Reason::name));
        out += &format!("  不予提供 withheld  {field}  {name} {}\n", reason.map_or("", Reason::chinese));
    }
    out
}

pub async fn run_verify(context: &Context, args: VerifyArgs) -> Result<Exit, ClientError> {
    let identifier = args.identifier.as_str();
    let asked = args.past.question()?;
    let answered = |code: u32| StatusAnswer { verify_code: code, ..StatusAnswer::default() };
    // What is no identifier is answered as the standard has it, and leaves no record.
    if Identifier::parse(identifier).is_err() {
        return Ok(verified(context, identifier, &answered(VERIFY_WRONG), None));
    }
    let client = context.client()?;
    let unit = args.purpose.unit(&client).await?;
    match client.use_licences(&unit, &[identifier.to_owned()], args.purpose.request(Act::Verify)).await {
        Ok(answer) => {
            let mut status = answer.licences.first().map_or_else(|| answered(VERIFY_NO_RECORD), |l| l.status.clone());
            // The use is on record and opens the status: of the moment asked about, too.
            if !answer.licences.is_empty() && (asked.at_ms, asked.known_ms) != (0, 0) {
                let recorded = &answer.recorded;
                let then = client.status_by_use(&unit, identifier, &recorded.id, &asked).await;
                status = then.map_err(|error| error.on_record(recorded.id, recorded.seq))?;
            }
            Ok(verified(context, identifier, &status, Some(recorded_json(&answer.recorded))))
        }
        Err(error) => match error.refusal().map(|refusal| refusal.reason) {
            // What is refused in a record was asked on record.
            Some(Reason::UnknownLicence | Reason::UnknownType) => {
                let record = error.command().zip(error.seq()).map(|(id, seq)| json!({ "command": hex::encode(id), "seq": seq }));
                Ok(verified(context, identifier, &answered(VERIFY_NO_RECORD), record))
            }
            _ => Err(error),
        },
    }
}

fn verified(context: &Context, identifier: &str, status: &StatusAnswer, record: Option<Value>) -> Exit {
    let seq = record.as_ref().and_then(|record| record["seq"].as_u64());
    let mut value = status_json(identifier, status);
    if let (Some(members), Some(record)) = (value.as_object_mut(), record) {
        members.insert("record".into(), record);
    }
    context.out.answer(&value, || {
        let record = seq.map(|seq| format!("  用证记录 usage record {seq}\n")).unwrap_or_default();
        if status.as_of_ms == 0 {
            let (zh, en) = super::output::verify_result(status.verify_code);
            return format!("{identifier}\n  核验结果 result   {} {zh} / {en}\n{record}", status.verify_code);
        }
        status_text(identifier, status) + &record
    });
    if status.verify_code == 0 { Exit::Yes } else { Exit::No }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_read_as_that_of_a_change_and_lies_behind_us() {
        let past = |at: Option<&str>, known: Option<&str>| Past { at: at.map(str::to_owned), known: known.map(str::to_owned) };
        let asked = past(Some("2025-11-03"), Some("2025-11-03T09:00:00+08:00")).question().unwrap();
        assert_eq!(asked.known_ms - asked.at_ms, 9 * 3_600_000);
        let asked = past(None, None).question().unwrap();
        assert_eq!((asked.at_ms, asked.known_ms), (0, 0));
        assert_eq!(past(Some("1970-01-01T00:00:00Z"), None).question().unwrap().at_ms, 1);
        for wrong in ["yesterday", "2025-02-30", "1969-12-31", "9999-01-01"] {
            assert!(past(Some(wrong), None).question().is_err() && past(None, Some(wrong)).question().is_err(), "{wrong}");
        }
    }
}
