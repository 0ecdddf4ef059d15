//! `vermilion licence …`

use super::Context;
use super::challenge::Challenge;
use super::issue::{IssueArgs, issue};
use super::operators::{moment, unhex};
use super::output::{shown_chinese, status_json, status_text, table};
use super::uses::Past;
use super::why::{Why, documents};
use crate::change::{Grounds, waits};
use crate::clock::{now_ms, show_day, show_ms};
use crate::error::{ClientError, Exit};
use crate::questions::StatusQuestion;
use crate::visible::one_line;
use clap::{Args, Subcommand};
use serde_json::{Value, json};
use std::path::PathBuf;
use vermilion_proto::{LicenceState, StatusChange};
use vermilion_registry::codes::identifier::Identifier;
use vermilion_registry::reason::Reason;
use vermilion_registry::status::{Flag, Shown, State, shown};
use vermilion_registry::{ERASURE_GROUNDS, days};

#[derive(Subcommand, Debug)]
pub enum LicenceVerb {
    /// Issue every row of a JSON Lines file; the same file may be sent again and changes nothing
    #[command(after_help = "Example:\n  \
        vermilion --config client.toml licence issue --file rows.jsonl --json\n\n\
        With --json one line for each row, in the file's order: row, identifier,\n\
        outcome, reason, detail, seq. Exit code 0 if every row was accepted, 1 if some\n\
        were rejected. After an interruption the same command carries on. An answer of\n\
        the ledger is for ever: a rejected row is sent again in another file.")]
    Issue(IssueArgs),
    /// Show what the ledger has of a licence, with its history
    #[command(after_help = "Example:\n  vermilion licence show ID --json")]
    Show {
        /// The licence's identifier
        identifier: String,
    },
    /// Ask a licence's status, where it is public; else make a `verify`. Exit 0 if it is valid, 1 if not. Asked openly it is told
    /// without objections and judicial freezes: `show` has them
    #[command(after_help = "Examples:\n  \
        vermilion licence status ID\n  \
        vermilion licence status ID \\\n      \
        --challenge certificateHolder=样例企业74607有限公司\n  \
        vermilion licence status ID --challenge-file challenge.txt")]
    Status {
        /// The licence's identifier
        identifier: String,
        #[command(flatten)]
        challenge: Challenge,
        #[command(flatten)]
        past: Past,
    },
    /// Change a licence's state, or a flag with + or -
    #[command(after_help = "Examples:\n  \
        vermilion licence change ID --to revoked --reason penalty \\\n      \
        --basis 行政处罚法第九条 --effective 2026-03-01\n  \
        vermilion licence change ID --to +judicial-freeze --reason court-order \\\n      \
        --basis 民事诉讼法第一百零三条\n  \
        vermilion licence change ID --to valid --reason court-decision \\\n      \
        --basis 行政诉讼法第七十条 --evidence judgment.pdf\n\n\
        States:\n  \
        valid frozen withheld lost revoked annulled withdrawn cancelled void\n  \
        transferred-out\n\
        Flags, with - instead of + to take them back:\n  \
        +under-objection +judicial-freeze +inspection-due +issuer-outage")]
    Change(Change),
    /// Issue a licence's next version from a file with its row
    #[command(after_help = "Example:\n  vermilion licence supersede --file row.json --because renewal")]
    Supersede {
        /// A file with one row, its version the next
        #[arg(long, value_name = "FILE")]
        file: PathBuf,
        /// Why
        #[arg(long, value_parser = ["change", "renewal", "correction", "replacement"])]
        because: String,
        /// A correction's objection: the id of its command, in hex
        #[arg(long, value_name = "HEX")]
        objection: Option<String>,
        /// The reason's code: court-decision, for other holders of what a court has frozen
        #[arg(long, default_value = "")]
        reason: String,
        /// The legal basis; may be given several times
        #[arg(long)]
        basis: Vec<String>,
        /// A document that it rests on, as the court's decision; may be given several times
        #[arg(long, value_name = "FILE")]
        evidence: Vec<PathBuf>,
    },
    /// Erase a licence's content from the vault; digests and status stay
    #[command(after_help = "Example:\n  \
        vermilion licence erase ID --reason court-decision \\\n      \
        --basis 个人信息保护法第四十七条 --evidence judgment.pdf\n\n\
        Without --archive-receipt it is an erasure, which needs evidence and one of\n\
        these reasons:\n  \
        purpose-over person-request retention-over consent-withdrawn\n      \
        natural persons' licences that are over; until their retention has\n      \
        passed it waits: the content is kept and not used; erase again then\n  \
        unlawful-processing\n      \
        natural persons' licences, at once\n  \
        court-decision\n      \
        at once\n\
        At once content goes by the city's managing unit, which signs if its keys are\n\
        here. By the issuing unit it is not used any more, and goes when the managing\n\
        unit says the same.\n\
        With --archive-receipt it is destruction, by the city's managing unit,\n\
        of a licence that is over and whose retention has passed.")]
    Erase {
        #[command(flatten)]
        grounds: GroundsArgs,
        /// SHA-256 of the archive's receipt, in hex
        #[arg(long, value_name = "HEX")]
        archive_receipt: Option<String>,
        /// Take back an erasure that waits for its retention, under any reason, with evidence
        #[arg(long, conflicts_with = "archive_receipt")]
        withdraw: bool,
    },
}

#[derive(Args, Debug)]
pub struct GroundsArgs {
    /// The licence's identifier
    identifier: String,
    #[command(flatten)]
    why: Why,
    /// The acting unit; the one that the identifier names if not given, or for a destruction the city's managing unit
    #[arg(long, value_name = "USCC", default_value = "")]
    unit: String,
    /// Only if the licence did not change after this record
    #[arg(long, value_name = "SEQ")]
    seen: Option<u64>,
}

#[derive(Args, Debug)]
pub struct Change {
    #[command(flatten)]
    grounds: GroundsArgs,
    /// The new state, or a flag with + or -
    #[arg(long, allow_hyphen_values = true)]
    to: String,
    /// From when it holds, in the past; now if not given
    #[arg(long, value_name = "TIME")]
    effective: Option<String>,
}

impl GroundsArgs {
    fn grounds(&self) -> Result<Grounds, ClientError> {
        Ok(Grounds { unit: self.unit.clone(), expected_seq: self.seen, ..self.why.grounds()? })
    }
}

pub async fn run(context: &Context, verb: LicenceVerb) -> Result<Exit, ClientError> {
    match verb {
        LicenceVerb::Issue(args) => issue(context, args).await,
        LicenceVerb::Show { identifier } => show(context, &identifier).await,
        LicenceVerb::Status { identifier, challenge, past } => {
            let challenge = challenge.read()?;
            let challenge = challenge.as_ref().map(|(field, value)| (field.as_str(), value.as_str()));
            let asked = StatusQuestion { challenge, ..past.question()? };
            let status = context.client()?.licence_status(&identifier, &asked).await?;
            context.out.answer(&status_json(&identifier, &status), || status_text(&identifier, &status));
            Ok(if status.verify_code == 0 { Exit::Yes } else { Exit::No })
        }
        LicenceVerb::Change(args) => {
            known_target(&args.to)?;
            let effective = moment(args.effective.as_deref())?;
            let grounds = args.grounds.grounds()?;
            let recorded = context.client()?.change_status(&args.grounds.identifier, &args.to, effective, &grounds).await?;
            Ok(context.out.recorded("已变更 changed", &recorded))
        }
        LicenceVerb::Supersede { file, because, objection, reason, basis, evidence } => {
            let line = std::fs::read_to_string(&file).map_err(|e| ClientError::file(&file, e))?;
            let objection = objection.map(|o| unhex::<32>(&o, "the objection's id")).transpose()?;
            // Some editors begin a file with a byte order mark.
            let line = line.trim_start_matches('\u{feff}');
            let grounds = Grounds { reason, legal_basis: basis, evidence: documents(&evidence)?, ..Grounds::default() };
            let recorded = context.client()?.supersede(line, &because, objection.as_ref(), &grounds).await?;
            Ok(context.out.recorded("已更新 superseded", &recorded))
        }
        LicenceVerb::Erase { grounds: args, archive_receipt, withdraw } => {
            let receipt = archive_receipt.map(|r| unhex::<32>(&r, "the archive's receipt")).transpose()?;
            if receipt.is_none() {
                erasable(&args.why.reason, &args.why.evidence, withdraw)?;
            }
            let grounds = args.grounds()?;
            let client = context.client()?;
            if withdraw {
                let recorded = client.withdraw_erasure(&args.identifier, &grounds).await?;
                return Ok(context.out.recorded("已撤回 withdrawn", &recorded));
            }
            let recorded = client.erase(&args.identifier, receipt.as_ref(), &grounds).await?;
            let done = match waits(&recorded) {
                Some(Reason::ErasureUnconfirmed) => {
                    "已停止使用,待市级管理单位以同一事由删除 is not used any more, and goes when the city's managing unit erases it too"
                }
                Some(_) => "保管期限未满,已停止使用,期满后请再次删除 waits for its retention and is not used any more: erase again then",
                None => "已删除 erased",
            };
            Ok(context.out.recorded(done, &recorded))
        }
    }
}

/// A state or flag that there is, so that a misspelling leaves no record.
fn known_target(to: &str) -> Result<(), ClientError> {
    let known = match to.split_at_checked(1) {
        Some(("+" | "-", flag)) => Flag::from_name(flag).is_some(),
        _ => State::from_name(to).is_some(),
    };
    let states = State::ALL.map(State::name).join(", ");
    let flags = Flag::ALL.map(Flag::name).join(", ");
    if known { Ok(()) } else { Err(ClientError::Usage(format!("{to} is no state ({states}) and no flag ({flags}, with + or -)"))) }
}

/// A ground for an erasure that there is, and evidence: without, only a refusal would be recorded.
fn erasable(reason: &str, evidence: &[PathBuf], withdraw: bool) -> Result<(), ClientError> {
    if !withdraw && !ERASURE_GROUNDS.iter().any(|ground| ground.code == reason) {
        let codes = ERASURE_GROUNDS.map(|ground| ground.code).join(", ");
        return Err(ClientError::Usage(format!("{reason} is no reason for an erasure: {codes}")));
    }
    if evidence.is_empty() { Err(ClientError::Usage("an erasure needs --evidence, and so does its withdrawal".into())) } else { Ok(()) }
}

async fn show(context: &Context, identifier: &str) -> Result<Exit, ClientError> {
    Identifier::parse(identifier)?;
    let (state, changes) = context.client()?.licence(identifier).await?;
    let shown = shown_today(&state);
    let value = json!({
        "identifier": identifier, "state": state_name(state.state), "status": shown.map(Shown::name), "status_zh": shown.map(Shown::chinese),
        "national_code": shown.map(Shown::national_code), "flags": flags(state.flags), "version": state.version,
        "type": state.type_code, "type_version": state.type_version, "unit": state.unit, "area": state.area,
        "issued_on": show_day(state.issued_on), "effective_from": show_day(state.effective_from), "expires_on": show_day(state.expires_on),
        "seq": state.seq, "position": state.position, "changed_seq": state.changed_seq, "erased": state.erased,
        "erasure_waits_seq": (state.erasure_waits_seq != 0).then_some(state.erasure_waits_seq),
        "changes": changes.iter().map(change_json).collect::<Vec<_>>(),
    });
    context.out.answer(&value, || text(identifier, &state, &changes));
    Ok(Exit::Yes)
}

/// What holds today, by this machine's clock.
fn shown_today(state: &LicenceState) -> Option<Shown> {
    Some(shown(State::from_number(state.state)?, state.effective_from, state.expires_on, days::of(now_ms())))
}

fn text(identifier: &str, state: &LicenceState, changes: &[StatusChange]) -> String {
    let shown = shown_today(state);
    let name = shown.map_or("unknown", Shown::name);
    let expires = if state.expires_on == 0 { "长期 no term".to_owned() } else { show_day(state.expires_on) };
    let head = format!(
        "{identifier}\n  状态 state     {} / {name} {}\n  类型 type      {} v{}\n  单位 unit      {}\n  期限 term      {} – {expires}\n  \
         记录 record    {} (position {})\n",
        shown.map_or("", Shown::chinese),
        flags(state.flags).join(" "),
        one_line(&state.type_code),
        state.type_version,
        one_line(&state.unit),
        show_day(state.effective_from),
        state.seq,
        state.position,
    );
    let row = |c: &StatusChange| {
        let name = state_name(c.state);
        vec![
            c.seq.to_string(),
            format!("{} / {name}", shown_chinese(name)),
            flags(c.flags).join(" "),
            show_ms(c.effective_ms),
            show_ms(c.recorded_ms),
            c.reason.clone(),
        ]
    };
    let erased = match state.erasure_waits_seq {
        _ if state.erased => "  内容 content   已删除 erased: digests and status alone are left\n".to_owned(),
        0 => String::new(),
        seq => format!("  内容 content   待删除,停止使用 kept and not used: an erasure waits (record {seq})\n"),
    };
    if changes.is_empty() {
        return head + &erased;
    }
    head + &erased
        + &table(
            &["seq", "状态 state", "标记 flags", "生效 effective", "记录 recorded", "事由 reason"],
            &changes.iter().map(row).collect::<Vec<_>>(),
        )
}

fn state_name(number: u32) -> &'static str {
    State::from_number(number).map_or("unknown", State::name)
}

fn flags(set: u32) -> Vec<&'static str> {
    Flag::in_set(set).map(Flag::name).collect()
}

fn change_json(change: &StatusChange) -> Value {
    json!({
        "state": state_name(change.state), "flags": flags(change.flags), "seq": change.seq, "recorded": show_ms(change.recorded_ms),
        "effective": show_ms(change.effective_ms), "reason": change.reason,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_expired_licence_is_not_called_valid() {
        let valid = LicenceState { state: State::Valid.number().into(), effective_from: 1, ..LicenceState::default() };
        let expired = LicenceState { expires_on: 2, ..valid.clone() };
        assert_eq!([&valid, &expired].map(|state| shown_today(state).map(Shown::national_code)), [Some("01"), Some("05")]);
        assert!(text("ID", &valid, &[]).contains("有效 / valid") && text("ID", &expired, &[]).contains("已过期 / expired"));
        assert_eq!(shown_today(&LicenceState::default()), None);
    }

    #[test]
    fn an_erased_licence_says_so() {
        let shown = |erased| text("ID", &LicenceState { erased, ..LicenceState::default() }, &[]);
        assert!(shown(true).contains("已删除 erased") && !shown(false).contains("erased"));
        let waits = text("ID", &LicenceState { erasure_waits_seq: 7, ..LicenceState::default() }, &[]);
        assert!(waits.contains("(record 7)") && !waits.contains("erased"));
    }

    #[test]
    fn misspelt_states_are_told_before_anything_is_sent() {
        for good in ["revoked", "+under-objection", "-judicial-freeze"] {
            assert!(known_target(good).is_ok());
        }
        for bad in ["revokt", "", "+", "under-objection", "+revoked"] {
            assert!(known_target(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn an_erasure_without_ground_or_evidence_is_told_before_anything_is_sent() {
        let evidence = [PathBuf::from("judgment.pdf")];
        assert!(erasable("court-decision", &evidence, false).is_ok());
        assert!(erasable("court-decision", &[], false).is_err() && erasable("right-to-erasure", &evidence, false).is_err());
        assert!(erasable("request-withdrawn", &evidence, true).is_ok() && erasable("request-withdrawn", &[], true).is_err());
    }
}
