//! `vermilion certificate …` and `vermilion enrolment …`

use super::Context;
use super::output::{recorded_json, table};
use super::why::Why;
use crate::change::Grounds;
use crate::clock::{now_ms, show_ms};
use crate::error::{ClientError, Exit};
use crate::identity::Standing as To;
use clap::Subcommand;
use serde_json::{Value, json};
use vermilion_identity::Serial;
use vermilion_proto::CertificateState;
use vermilion_registry::certificates::{REVOCATION_REASONS, Standing, holder};
use vermilion_registry::reason::Reason;

/// Milliseconds of an hour.
const HOUR_MS: u64 = 3_600_000;

#[derive(Subcommand, Debug)]
pub enum CertificateVerb {
    /// List certificates
    #[command(after_help = "Example:\n  vermilion certificate list --unit 11440304MB0X010624 --json")]
    List {
        /// Of this unit's holders alone
        #[arg(long, value_name = "USCC", default_value = "")]
        unit: String,
    },
    /// Show one certificate
    #[command(after_help = "Example:\n  vermilion certificate show 4f0c…9a")]
    Show {
        /// Its serial number, in hex
        serial: String,
    },
    /// Revoke a certificate 注销: for ever
    #[command(after_help = "Examples:\n  \
        vermilion certificate revoke 4f0c…9a --reason cessationOfOperation\n  \
        vermilion certificate revoke 4f0c…9a --reason keyCompromise\n\n\
        keyCompromise takes one signature, of the holder's own unit or of security\n\
        administration, and an operator's key goes with it for good: it signs nothing\n\
        more. Every other reason takes the three of the managing unit.")]
    Revoke {
        /// Its serial number, in hex
        serial: String,
        /// The reason, as RFC 5280 names it
        #[arg(long, value_parser = reasons())]
        reason: String,
        /// The unit that acts; the first whose keys are here if not given
        #[arg(long, value_name = "USCC")]
        by: Option<String>,
    },
    /// Suspend a certificate 暂停
    #[command(after_help = "Example:\n  vermilion certificate suspend 4f0c…9a --reason absence --basis 001-13")]
    Suspend(Named),
    /// Renew this configuration's certificates 更新 whose time is two thirds over
    #[command(after_help = "Example:\n  \
        vermilion --config client.toml certificate renew\n\n\
        Other commands do this too, for the certificates that they show.")]
    Renew,
    /// Restore a suspended certificate 解锁
    #[command(after_help = "Example:\n  vermilion certificate restore 4f0c…9a --reason returned --basis 001-13\n\n\
        What the city suspended, the city restores.")]
    Restore(Named),
}

#[derive(clap::Args, Debug)]
pub struct Named {
    /// Its serial number, in hex
    serial: String,
    #[command(flatten)]
    why: Why,
    /// The unit that acts; the first whose keys are here if not given
    #[arg(long, value_name = "USCC")]
    by: Option<String>,
}

#[derive(Subcommand, Debug)]
pub enum EnrolmentVerb {
    /// Grant one certificate to one applicant: prints the token, once
    #[command(after_help = "Examples:\n  \
        vermilion enrolment grant node/nanshan\n  \
        vermilion enrolment grant unit-system/11440304MB0X010624/desk --hours 4\n  \
        vermilion enrolment grant operator/9f21…e1 --posts maker\n\n\
        The applicant must stand in the ledger: a node or system approved, an operator\n\
        registered. Hand the token over by another way than the network; the ledger\n\
        keeps its hash alone.")]
    Grant {
        /// node/NAME, unit-system/USCC/NAME, operator/KEYID or auditor/KEYID
        applicant: String,
        /// Of a person: only these of the posts held
        #[arg(long, value_delimiter = ',')]
        posts: Vec<String>,
        /// For how many hours the token serves
        #[arg(long, default_value_t = 24)]
        hours: u64,
        /// The managing unit that acts; the first whose keys are here if not given
        #[arg(long, value_name = "USCC")]
        by: Option<String>,
    },
}

fn reasons() -> Vec<&'static str> {
    REVOCATION_REASONS.iter().map(|(_, name)| *name).collect()
}

/// A serial number from the command line.
fn serial(text: &str) -> Result<Serial, ClientError> {
    text.parse().map_err(|_| ClientError::Usage(format!("{text} is no serial number: write it in lower-case hex")))
}

pub async fn run(context: &Context, verb: CertificateVerb) -> Result<Exit, ClientError> {
    let client = context.client()?;
    match verb {
        CertificateVerb::List { unit } => {
            let states = client.certificates(&unit).await?;
            context.out.answer(&Value::Array(states.iter().map(certificate_json).collect()), || certificates_table(&states));
            Ok(Exit::Yes)
        }
        CertificateVerb::Show { serial: text } => {
            let state = client.certificate(&serial(&text)?.to_string()).await?.ok_or(Reason::UnknownCertificate)?;
            context.out.answer(&certificate_json(&state), || certificates_table(std::slice::from_ref(&state)));
            Ok(if is_good(&state) { Exit::Yes } else { Exit::No })
        }
        CertificateVerb::Revoke { serial: text, reason, by } => {
            let number = REVOCATION_REASONS.iter().find(|(_, name)| *name == reason).map(|(number, _)| *number);
            let number = number.ok_or_else(|| ClientError::Usage(format!("{reason} is no reason for revoking")))?;
            let recorded =
                client.change_certificate(by.as_deref(), serial(&text)?.as_bytes(), To::Revoked(number), &Grounds::default()).await?;
            Ok(context.out.recorded("已注销 revoked", &recorded))
        }
        CertificateVerb::Renew => {
            let renewed = client.renew_due(true).await?;
            let all = renewed.iter().all(|(_, renewed)| renewed.is_ok());
            let line = |(holder, renewed): &(String, Result<u64, ClientError>)| match renewed {
                Ok(until) => json!({ "holder": holder, "until": show_ms(*until) }),
                Err(error) => json!({ "holder": holder, "error": error.to_string() }),
            };
            let rows = |(holder, renewed): &(String, Result<u64, ClientError>)| {
                vec![holder.clone(), renewed.as_ref().map_or_else(ToString::to_string, |until| show_ms(*until))]
            };
            context.out.answer(&Value::Array(renewed.iter().map(line).collect()), || {
                table(&["持有人 holder", "有效至 until"], &renewed.iter().map(rows).collect::<Vec<_>>())
            });
            Ok(if all { Exit::Yes } else { Exit::No })
        }
        CertificateVerb::Suspend(named) => {
            let recorded = client
                .change_certificate(named.by.as_deref(), serial(&named.serial)?.as_bytes(), To::Suspended, &named.why.grounds()?)
                .await?;
            Ok(context.out.recorded("已暂停 suspended", &recorded))
        }
        CertificateVerb::Restore(named) => {
            let recorded = client
                .change_certificate(named.by.as_deref(), serial(&named.serial)?.as_bytes(), To::Restored, &named.why.grounds()?)
                .await?;
            Ok(context.out.recorded("已解锁 restored", &recorded))
        }
    }
}

pub async fn run_enrolment(context: &Context, verb: EnrolmentVerb) -> Result<Exit, ClientError> {
    let EnrolmentVerb::Grant { applicant, posts, hours, by } = verb;
    let client = context.client()?;
    let applicant = client.applicant(&applicant, &posts).await?;
    let until_ms = now_ms().saturating_add(hours.saturating_mul(HOUR_MS));
    let name = holder(&applicant);
    let (token, recorded) = client.grant_enrolment(by.as_deref(), applicant, until_ms).await?;
    let text = token.text();
    let answer = json!({ "token": *text, "for": name, "until": show_ms(until_ms), "record": recorded_json(&recorded) });
    // The token alone, as it goes into a file.
    context.out.answer(&answer, || text.to_string());
    context.out.note(&format!("申请人 for {name}, 有效期至 until {}, 记录 record {}", show_ms(until_ms), recorded.seq));
    Ok(Exit::Yes)
}

fn is_good(state: &CertificateState) -> bool {
    state.standing == Standing::Good.number() && now_ms() < state.not_after_ms
}

fn certificate_json(state: &CertificateState) -> Value {
    let of = state.holder.clone().unwrap_or_default();
    let standing = Standing::from_number(state.standing).map_or("unknown", Standing::name);
    let reason = REVOCATION_REASONS.iter().find(|(n, _)| *n == state.reason).map_or("certificateHold", |(_, name)| *name);
    json!({
        "serial": hex::encode(&state.serial), "kind": of.kind, "holder": holder(&of), "unit": of.unit, "name": of.name, "posts": of.posts,
        "standing": standing, "reason": (standing != "good").then_some(reason), "good": is_good(state),
        "suspended_by": (!state.suspended_by.is_empty()).then_some(&state.suspended_by),
        "not_before": show_ms(state.not_before_ms), "not_after": show_ms(state.not_after_ms), "issuer": hex::encode(&state.issuer),
        "issued_seq": state.issued_seq, "changed_seq": state.changed_seq, "renews": hex::encode(&state.renews),
        "renewed_by": hex::encode(&state.renewed_by),
    })
}

fn certificates_table(states: &[CertificateState]) -> String {
    let row = |s: &CertificateState| {
        let of = s.holder.clone().unwrap_or_default();
        let standing = match Standing::from_number(s.standing) {
            Some(Standing::Good) if now_ms() >= s.not_after_ms => "已过期 expired".to_owned(),
            Some(standing) => format!("{} {}", standing.chinese(), standing.name()),
            None => s.standing.to_string(),
        };
        vec![hex::encode(&s.serial), holder(&of), of.posts.join(","), show_ms(s.not_after_ms), standing]
    };
    table(&["序列号 serial", "持有人 holder", "岗位 posts", "至 until", "状态 state"], &states.iter().map(row).collect::<Vec<_>>())
}
