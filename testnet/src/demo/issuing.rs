//! Issuing the sample files: the good one, the bad one, and both again.

use super::show::{Show, bar, grouped};
use super::{deviation, ledger};
use crate::error::TestnetError;
use serde_json::Value;
use std::path::{Path, PathBuf};
use vermilion_client::client::Client;
use vermilion_client::issue::{IssueOptions, RowReport, Summary, issue_file};
use vermilion_registry::reason::Reason;

const GOOD: &str = include_str!("../../fixtures/licences.jsonl");
const BAD: &str = include_str!("../../fixtures/licences-bad.jsonl");

/// What a bad row must answer.
struct Expected {
    outcome: String,
    reason: String,
}

/// The sample files in the demonstration's folder.
pub struct Files {
    good: PathBuf,
    bad: PathBuf,
    expected: Vec<Expected>,
}

/// What became of a file.
pub struct Sent {
    reports: Vec<RowReport>,
    /// How many of each.
    pub summary: Summary,
}

/// The good rows.
pub fn good_rows() -> impl Iterator<Item = &'static str> {
    GOOD.lines()
}

impl Files {
    /// Writes them.
    pub fn write(dir: &Path) -> Result<Self, TestnetError> {
        let read = |line: &str| {
            let broken = || deviation("a line of licences-bad.jsonl does not read");
            let mut value: Value = serde_json::from_str(line).map_err(|_| broken())?;
            let text = |name: &str| value["expect"][name].as_str().map(str::to_owned).ok_or_else(broken);
            let expected = Expected { outcome: text("outcome")?, reason: text("reason")? };
            Ok::<_, TestnetError>((expected, value["row"].take().to_string() + "\n"))
        };
        let (expected, rows): (Vec<Expected>, String) = BAD.lines().map(read).collect::<Result<Vec<_>, _>>()?.into_iter().unzip();
        let files = Self { good: dir.join("licences.jsonl"), bad: dir.join("licences-bad.jsonl"), expected };
        let write = |path: &PathBuf, text: &str| std::fs::write(path, text).map_err(|e| TestnetError::File(path.clone(), e));
        write(&files.good, GOOD)?;
        write(&files.bad, &rows)?;
        Ok(files)
    }
}

async fn send(client: &Client, path: &Path, label: &str) -> Result<Sent, TestnetError> {
    let bar = bar(label, 0);
    let mut reports = Vec::new();
    let sent = issue_file(client, path, &IssueOptions::default(), &mut |row, of| {
        bar.set_length(of);
        bar.set_position(row.row);
        reports.push(row.clone());
        Ok(())
    })
    .await;
    bar.finish_and_clear();
    Ok(Sent { summary: sent?, reports })
}

/// Issues the good file: every row must be accepted.
pub async fn good(client: &Client, files: &Files, show: &Show) -> Result<Sent, TestnetError> {
    let sent = send(client, &files.good, "签发").await?;
    if let Some(refused) = sent.reports.iter().find(|r| !r.accepted) {
        return Err(deviation(format!("row {} of the good file was refused: {}", refused.row, refused.text().trim())));
    }
    let rows = good_rows().count() as u64;
    if sent.summary.accepted != rows {
        return Err(deviation(format!("{} of {rows} good rows were answered", sent.summary.accepted)));
    }
    show.fact(
        "已签发 issued",
        &format!(
            "{} of {} rows, each as the unit that it names, signed by maker and checker",
            grouped(sent.summary.accepted),
            grouped(rows)
        ),
    );
    Ok(sent)
}

/// Issues the bad file and shows each row: all must answer as expected.
pub async fn bad(client: &Client, files: &Files, show: &Show) -> Result<Sent, TestnetError> {
    let sent = send(client, &files.bad, "退回").await?;
    if sent.reports.len() != files.expected.len() {
        return Err(deviation(format!("{} of {} bad rows were answered", sent.reports.len(), files.expected.len())));
    }
    let mut unlike = Vec::new();
    let mut rows = Vec::new();
    for (report, expected) in sent.reports.iter().zip(&files.expected) {
        let outcome = if report.accepted { "accepted" } else { "rejected" };
        let reason = report.reason.map_or("", Reason::name);
        let right = outcome == expected.outcome && reason == expected.reason;
        if !right {
            unlike.push(format!("row {} answered {outcome} {reason} instead of {} {}", report.row, expected.outcome, expected.reason));
        }
        rows.push(vec![
            format!("{} {:>2}", if right { "✓" } else { "✗" }, report.row),
            if report.accepted { "已签发" } else { "退回" }.to_owned(),
            reason.to_owned(),
            sentence(report),
        ]);
    }
    show.table(&rows);
    if !unlike.is_empty() {
        return Err(deviation(unlike.join("; ")));
    }
    let recorded = sent.reports.iter().filter(|r| r.seq.is_some()).count();
    show.fact("退回 refused", &format!("{}, accepted with a warning {}; each as expected", sent.summary.rejected, sent.summary.accepted));
    show.fact("入账 recorded", &format!("{recorded} rows in records, {} stopped before the ledger", sent.reports.len() - recorded));
    Ok(sent)
}

/// Why, in both languages, and what exactly where that says more.
fn sentence(report: &RowReport) -> String {
    let Some(reason) = report.reason else { return String::new() };
    let detail =
        if report.detail.is_empty() || report.detail == reason.english() { String::new() } else { format!(" [{}]", report.detail) };
    format!("{} {}{detail}", reason.chinese(), reason.english())
}

/// Sends both files again: same answers, and nothing new on the ledger but commitments.
pub async fn again(client: &Client, files: &Files, first: [&Sent; 2], show: &Show) -> Result<(), TestnetError> {
    let before = ledger::size(client).await?;
    for (path, first) in [&files.good, &files.bad].into_iter().zip(first) {
        let second = send(client, path, "重发").await?;
        if let Some((old, new)) = first.reports.iter().zip(&second.reports).find(|(old, new)| old != new) {
            return Err(deviation(format!("sent again, a row answers otherwise: {} / {}", old.text().trim(), new.text().trim())));
        }
        if second.reports.len() != first.reports.len() {
            return Err(deviation("sent again, another number of rows was answered"));
        }
    }
    let after = ledger::size(client).await?;
    let new = ledger::records(client, before, after).await?;
    if let Some((_, other)) = new.iter().find(|(_, open)| open.record.commitment.is_none()) {
        return Err(deviation(format!("sending the files again left record {}", other.record.seq)));
    }
    let rows: usize = first.iter().map(|s| s.reports.len()).sum();
    show.fact("答复 answers", &format!("{} rows, every answer the same", grouped(rows as u64)));
    let commitments = if new.is_empty() { "none".to_owned() } else { format!("{} commitment(s) alone", new.len()) };
    show.fact("账本 ledger", &format!("{} records before; new since: {commitments}", grouped(before)));
    Ok(())
}
