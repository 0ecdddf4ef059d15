//! `vermilion report …`: figures that the ledger counts.

use super::Context;
use super::output::table;
use crate::clock::show_ms;
use crate::error::{ClientError, Exit};
use clap::Subcommand;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use vermilion_identity::AuthorityCertificate;
use vermilion_proto::{AuthorityState, CertificateFigures};
use vermilion_registry::certificates::figures::parse_month;

#[derive(Subcommand, Debug)]
pub enum ReportVerb {
    /// Certificates issued, renewed, revoked, suspended and restored in a month, by unit and authority
    #[command(after_help = "Example:\n  \
        vermilion report certificates --month 2026-10 --json\n\n\
        The figures are counted by the records themselves and checked by every audit;\n\
        nobody types them in.")]
    Certificates {
        /// The month, as YYYY-MM
        #[arg(long, value_name = "MONTH")]
        month: String,
    },
}

pub async fn run(context: &Context, verb: ReportVerb) -> Result<Exit, ClientError> {
    let ReportVerb::Certificates { month } = verb;
    if parse_month(&month).is_none() {
        return Err(ClientError::Usage(format!("{month} is no month: write 2026-10")));
    }
    let client = context.client()?;
    let (figures, as_of_seq, as_of_ms) = client.certificate_figures(&month).await?;
    let names = names(&client.authority().await?);
    let total = total(&figures);
    let answer = json!({
        "month": month, "as_of_seq": as_of_seq, "as_of": show_ms(as_of_ms),
        "figures": figures.iter().map(|f| figures_json(f, &names)).collect::<Vec<_>>(),
        "total": counts(&total),
    });
    context.out.answer(&answer, || {
        let mut rows: Vec<Vec<String>> = figures.iter().map(|f| row(f, &f.unit, name(f, &names))).collect();
        rows.push(row(&total, "合计 total", ""));
        let head = ["单位 unit", "签发机构 authority", "颁发 issued", "更新 renewed", "注销 revoked", "暂停 suspended", "解锁 restored"];
        format!("{month}\n{}\n截至 as of record {as_of_seq}, {}", table(&head, &rows), show_ms(as_of_ms))
    });
    Ok(Exit::Yes)
}

/// What the issuing certificates are called, by their SHA-256.
fn names(authority: &[AuthorityState]) -> BTreeMap<Vec<u8>, String> {
    let parsed = authority.iter().filter_map(|a| AuthorityCertificate::parse(&a.certificate).ok());
    parsed.map(|c| (c.fingerprint.to_vec(), c.name.name)).collect()
}

fn name<'a>(of: &CertificateFigures, names: &'a BTreeMap<Vec<u8>, String>) -> &'a str {
    names.get(&of.authority).map_or("", String::as_str)
}

fn total(figures: &[CertificateFigures]) -> CertificateFigures {
    figures.iter().fold(CertificateFigures::default(), |sum, f| CertificateFigures {
        issued: sum.issued + f.issued,
        renewed: sum.renewed + f.renewed,
        revoked: sum.revoked + f.revoked,
        suspended: sum.suspended + f.suspended,
        restored: sum.restored + f.restored,
        ..sum
    })
}

fn counts(f: &CertificateFigures) -> Value {
    json!({ "issued": f.issued, "renewed": f.renewed, "revoked": f.revoked, "suspended": f.suspended, "restored": f.restored })
}

fn figures_json(f: &CertificateFigures, names: &BTreeMap<Vec<u8>, String>) -> Value {
    let mut out = counts(f);
    if let Some(members) = out.as_object_mut() {
        members.insert("unit".into(), json!(f.unit));
        members.insert("authority".into(), json!(name(f, names)));
        members.insert("authority_sha256".into(), json!(hex::encode(&f.authority)));
    }
    out
}

fn row(f: &CertificateFigures, unit: &str, authority: &str) -> Vec<String> {
    let numbers = [f.issued, f.renewed, f.revoked, f.suspended, f.restored].map(|n| n.to_string());
    [unit.to_owned(), authority.to_owned()].into_iter().chain(numbers).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn totals_add_up() {
        let one = CertificateFigures { issued: 2, renewed: 1, revoked: 3, unit: "a".into(), ..Default::default() };
        let sum = total(&[one.clone(), one]);
        assert_eq!((sum.issued, sum.renewed, sum.revoked, sum.suspended), (4, 2, 6, 0));
    }
}
