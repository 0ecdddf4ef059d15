//! What became of each row, in the file's order.

use crate::visible::one_line;
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, VecDeque};
use vermilion_registry::reason::Reason;

/// What became of one row.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RowReport {
    /// The line's number, from 1.
    pub row: u64,
    /// The licence's identifier; none where the line does not read.
    pub identifier: Option<String>,
    /// Whether the licence stands in the ledger.
    pub accepted: bool,
    /// Why not, or with what warning.
    pub reason: Option<Reason>,
    /// What exactly: names a field or rule, never a value.
    pub detail: String,
    /// The record that says so; none if the row never came so far.
    pub seq: Option<u64>,
}

impl RowReport {
    /// The detail, where it says more than the reason.
    fn said(&self) -> Option<&str> {
        Some(self.detail.as_str()).filter(|detail| !detail.is_empty() && self.reason.is_none_or(|reason| *detail != reason.english()))
    }

    /// The line for scripts.
    #[must_use]
    pub fn json(&self) -> Value {
        json!({
            "row": self.row,
            "identifier": self.identifier,
            "outcome": if self.accepted { "accepted" } else { "rejected" },
            "reason": self.reason.map(Reason::name),
            "detail": self.said(),
            "seq": self.seq,
        })
    }

    /// The line for people.
    #[must_use]
    pub fn text(&self) -> String {
        let outcome = if self.accepted { "accepted 已签发" } else { "rejected 退回  " };
        // The file may say what it likes, and so may a node.
        let identifier = one_line(self.identifier.as_deref().unwrap_or("—"));
        match self.reason {
            None => format!("{:>8}  {outcome}  {identifier}", self.row),
            Some(reason) => {
                let detail = self.said().map(|detail| format!(" [{}]", one_line(detail))).unwrap_or_default();
                format!("{:>8}  {outcome}  {identifier}  {reason} {} / {}{detail}", self.row, reason.chinese(), reason.english())
            }
        }
    }
}

/// What became of a file.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Summary {
    /// Rows reported: lines that are not empty.
    pub rows: u64,
    /// Rows accepted.
    pub accepted: u64,
    /// Rows rejected.
    pub rejected: u64,
    /// Rows accepted with a warning.
    pub warned: u64,
    /// How often each reason was given.
    pub reasons: BTreeMap<&'static str, u64>,
}

impl Summary {
    /// Counts a report.
    pub fn count(&mut self, report: &RowReport) {
        self.rows += 1;
        match report.accepted {
            true => self.accepted += 1,
            false => self.rejected += 1,
        }
        if let Some(reason) = report.reason {
            *self.reasons.entry(reason.name()).or_default() += 1;
            self.warned += u64::from(report.accepted);
        }
    }

    /// For scripts.
    #[must_use]
    pub fn json(&self) -> Value {
        let reasons: Map<String, Value> = self.reasons.iter().map(|(name, n)| ((*name).to_owned(), json!(n))).collect();
        json!({ "rows": self.rows, "accepted": self.accepted, "rejected": self.rejected, "warned": self.warned, "reasons": reasons })
    }
}

enum Slot {
    Waiting,
    Empty,
    Done(RowReport),
}

/// Reports that wait for those of earlier rows.
///
/// Invariant: slot `n` is of row `base + n`; slots before the first waiting one have been taken.
#[derive(Default)]
pub struct InOrder {
    slots: VecDeque<Slot>,
    /// Rows whose slots are gone.
    base: u64,
}

impl InOrder {
    /// The next row of the file, whose report will come.
    pub fn expect(&mut self) {
        self.slots.push_back(Slot::Waiting);
    }

    /// The next line of the file, which is empty.
    pub fn skip(&mut self) {
        self.slots.push_back(Slot::Empty);
    }

    /// A report of a row that was expected.
    pub fn put(&mut self, report: RowReport) {
        let at = report.row.checked_sub(self.base + 1).and_then(|n| usize::try_from(n).ok());
        if let Some(slot) = at.and_then(|n| self.slots.get_mut(n)) {
            *slot = Slot::Done(report);
        }
    }

    /// The next report in the file's order, if it is there.
    pub fn take(&mut self) -> Option<RowReport> {
        loop {
            match self.slots.front()? {
                Slot::Waiting => return None,
                Slot::Empty | Slot::Done(_) => {
                    self.base += 1;
                    if let Some(Slot::Done(report)) = self.slots.pop_front() {
                        return Some(report);
                    }
                }
            }
        }
    }

    /// Rows that wait, or whose earlier ones do.
    #[must_use]
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// Whether none waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn report(row: u64, reason: Option<Reason>) -> RowReport {
        RowReport { row, identifier: Some("id".into()), accepted: reason.is_none(), reason, detail: String::new(), seq: Some(9) }
    }

    #[test]
    fn reports_come_in_the_files_order() {
        let mut order = InOrder::default();
        order.expect();
        order.skip();
        order.expect();
        order.expect();
        order.put(report(4, None));
        order.put(report(3, None));
        assert_eq!(order.take(), None);
        order.put(report(1, None));
        assert_eq!(std::iter::from_fn(|| order.take()).map(|r| r.row).collect::<Vec<_>>(), [1, 3, 4]);
        order.expect();
        order.put(report(5, None));
        assert_eq!(order.take().unwrap().row, 5);
        order.put(report(2, None));
        assert!(order.is_empty());
    }

    #[test]
    fn a_line_for_scripts() {
        let line = report(3, Some(Reason::IdentifierCheck)).json().to_string();
        assert_eq!(line, r#"{"row":3,"identifier":"id","outcome":"rejected","reason":"identifier-check","detail":null,"seq":9}"#);
        let detailed = RowReport { detail: "data does not satisfy /required".into(), ..report(3, Some(Reason::Schema)) };
        assert_eq!(detailed.json()["detail"], "data does not satisfy /required");
        let repeated = RowReport { detail: Reason::Schema.english().into(), ..detailed };
        assert!(repeated.json()["detail"].is_null());
        let none = RowReport { identifier: None, seq: None, ..report(1, None) };
        assert_eq!(none.json().to_string(), r#"{"row":1,"identifier":null,"outcome":"accepted","reason":null,"detail":null,"seq":null}"#);
    }

    #[test]
    fn a_row_is_one_line_for_people() {
        let forged = RowReport {
            identifier: Some("x\n       2  accepted 已签发  y".into()),
            detail: "d\u{1b}[2K\nrest".into(),
            ..report(1, Some(Reason::Schema))
        };
        let text = forged.text();
        assert!(text.lines().count() == 1 && !text.contains('\u{1b}'), "{text}");
    }

    #[test]
    fn a_warning_counts_as_accepted() {
        let mut summary = Summary::default();
        let warned = RowReport { accepted: true, ..report(1, Some(Reason::HolderCodeUnusual)) };
        for r in [warned, report(2, None), report(3, Some(Reason::Schema))] {
            summary.count(&r);
        }
        assert_eq!((summary.rows, summary.accepted, summary.rejected, summary.warned), (3, 2, 1, 1));
        assert_eq!(summary.json()["reasons"]["schema"], 1);
    }
}
