//! Where answers go: JSON for scripts, tables for people, errors aside.

use crate::clock::show_ms;
use crate::connection::Recorded;
use crate::error::{ClientError, Exit};
use crate::visible::{json_line, one_line, visible};
use serde_json::{Value, json};
use std::borrow::Cow;
use std::io::Write as _;
use std::sync::atomic::{AtomicBool, Ordering};
use vermilion_proto::StatusAnswer;
use vermilion_registry::reason::Reason;
use vermilion_registry::status::{Flag, Shown};

/// Set once a part of an answer could not be written.
static LOST: AtomicBool = AtomicBool::new(false);

/// How answers are shown.
#[derive(Clone, Copy, Debug)]
pub struct Out {
    /// JSON alone.
    pub json: bool,
    /// No progress.
    pub quiet: bool,
}

impl Out {
    /// One answer: the object for scripts, or the text for people. A reader that went away is no
    /// error of ours.
    pub fn answer(self, value: &Value, text: impl FnOnce() -> String) {
        if self.json { self.line(&value.to_string()) } else { self.line(text().trim_end()) }
    }

    /// A line on standard output. What would not be seen as what it is, is written out.
    pub fn line(self, text: &str) {
        let written = writeln!(std::io::stdout().lock(), "{}", visible(text, self.json));
        if written.is_err_and(|error| error.kind() != std::io::ErrorKind::BrokenPipe) {
            Self::lose();
        }
    }

    /// Notes that a part of the answer could not be written.
    pub fn lose() {
        LOST.store(true, Ordering::Relaxed);
    }

    /// Whether a part of the answer could not be written, as to a full disk. A reader that went away is none.
    #[must_use]
    pub fn was_lost() -> bool {
        LOST.load(Ordering::Relaxed)
    }

    /// An error.
    pub fn error(self, error: &ClientError) {
        let mut err = std::io::stderr().lock();
        let _ =
            if self.json { writeln!(err, "{}", json_line(&error_json(error))) } else { writeln!(err, "vermilion: {}", error_text(error)) };
    }

    /// Something worth knowing beside the answer; not for scripts.
    pub fn note(self, text: &str) {
        if !self.json && !self.quiet {
            let _ = writeln!(std::io::stderr().lock(), "vermilion: {}", one_line(text));
        }
    }

    /// A command that was recorded and taken.
    pub fn recorded(self, what: &str, recorded: &Recorded) -> Exit {
        self.answer(&recorded_json(recorded), || {
            format!("{what}: record {} of {}, command {}", recorded.seq, show_ms(recorded.time_ms), hex::encode(recorded.id))
        });
        Exit::Yes
    }
}

/// An error for people. That of a configuration shows the place in lines of its own; others may be in a node's words.
fn error_text(error: &ClientError) -> String {
    let text = error.to_string();
    match error {
        ClientError::Config { .. } => visible(&text, false).into_owned(),
        _ => one_line(&text).into_owned(),
    }
}

/// An error for scripts, with command and record where they are known.
fn error_json(error: &ClientError) -> Value {
    let mut value = json!({ "error": error.code(), "message": error.to_string() });
    if let Some(members) = value.as_object_mut() {
        members.extend(error.command().map(|id| ("command".to_owned(), hex::encode(id).into())));
        members.extend(error.seq().map(|seq| ("seq".to_owned(), seq.into())));
    }
    value
}

/// A record for scripts, with the reasons of its warnings if it has any.
pub fn recorded_json(recorded: &Recorded) -> Value {
    let mut value = json!({
        "command": hex::encode(recorded.id),
        "seq": recorded.seq,
        "time": show_ms(recorded.time_ms),
        "record_hash": hex::encode(&recorded.record_hash),
    });
    let warnings = &recorded.outcome.warnings;
    if let Some(members) = value.as_object_mut().filter(|_| !warnings.is_empty()) {
        let names = warnings.iter().map(|warning| Reason::from_number(warning.code).map_or("unknown", Reason::name));
        members.insert("warnings".to_owned(), names.collect());
    }
    value
}

/// Lines of columns, each as wide as its widest cell. Chinese characters take two places. A cell stays in its line, whatever
/// it says.
pub fn table(head: &[&str], rows: &[Vec<String>]) -> String {
    let width = |text: &str| text.chars().map(|c| if (c as u32) < 0x1100 { 1 } else { 2 }).sum::<usize>();
    let rows: Vec<Vec<Cow<'_, str>>> = rows.iter().map(|row| row.iter().map(|cell| one_line(cell)).collect()).collect();
    let mut widths: Vec<usize> = head.iter().map(|h| width(h)).collect();
    for row in &rows {
        for (at, cell) in widths.iter_mut().zip(row) {
            *at = (*at).max(width(cell));
        }
    }
    let line = |cells: &mut dyn Iterator<Item = &str>| {
        let padded = cells.zip(&widths).map(|(cell, wide)| format!("{cell}{}", " ".repeat(wide - width(cell)))).collect::<Vec<_>>();
        padded.join("  ").trim_end().to_owned()
    };
    let mut out = vec![line(&mut head.iter().copied())];
    out.extend(rows.iter().map(|row| line(&mut row.iter().map(|cell| &**cell))));
    out.join("\n")
}

/// What a shown status is called in Chinese.
pub fn shown_chinese(name: &str) -> &'static str {
    Shown::from_name(name).map_or("", Shown::chinese)
}

/// The verify-information result of GB/T 36906, in both languages.
pub fn verify_result(code: u32) -> (&'static str, &'static str) {
    match code {
        0 => ("信息正确且证照有效", "correct, and the licence is valid"),
        1 => ("证照未生效", "the licence is not yet effective"),
        2 => ("证照暂时失效", "the licence is temporarily invalid"),
        3 => ("证照已失效", "the licence is no longer valid"),
        4 => ("核验信息不完整", "what was asked with is incomplete"),
        5 => ("无此证照记录", "there is no such licence"),
        6 => ("核验信息错误", "what was asked with is wrong"),
        7 => ("核验信息部分错误", "what was asked with is partly wrong"),
        _ => ("未知结果", "a result of a later version"),
    }
}

/// A status for scripts.
pub fn status_json(identifier: &str, status: &StatusAnswer) -> Value {
    let (zh, en) = verify_result(status.verify_code);
    json!({
        "identifier": identifier,
        "valid": status.verify_code == 0,
        "verify_code": status.verify_code,
        "verify_zh": zh,
        "verify_en": en,
        "state": status.state,
        "status": status.shown,
        "status_zh": shown_chinese(&status.shown),
        "national_code": Shown::from_name(&status.shown).map(Shown::national_code),
        "flags": status.flags,
        "type": status.type_code,
        "unit": status.unit,
        "version": status.version,
        "superseded_by": status.superseded_by,
        "issued_seq": status.issued_seq,
        "changed_seq": status.changed_seq,
        "as_of_seq": status.as_of_seq,
        "as_of": show_ms(status.as_of_ms),
        "at": (status.at_ms != 0).then(|| show_ms(status.at_ms)),
        "known": (status.known_ms != 0).then(|| show_ms(status.known_ms)),
    })
}

/// A status for people. What it says is a node's word.
pub fn status_text(identifier: &str, status: &StatusAnswer) -> String {
    let (zh, en) = verify_result(status.verify_code);
    let mut out = format!("{}\n", one_line(identifier));
    if status.at_ms != 0 {
        out += &format!("  所问时刻 at       {}\n", show_ms(status.at_ms));
    }
    if status.known_ms != 0 {
        out += &format!("  当时所知 known    {}\n", show_ms(status.known_ms));
    }
    out += &format!("  核验结果 result   {} {zh} / {en}\n", status.verify_code);
    if !status.shown.is_empty() {
        out += &format!("  状态 status       {} / {}\n", shown_chinese(&status.shown), one_line(&status.shown));
    }
    if !status.flags.is_empty() {
        let flag = |f: &String| format!("{} / {}", Flag::from_name(f).map_or("", Flag::chinese), one_line(f));
        out += &format!("  标记 flags        {}\n", status.flags.iter().map(flag).collect::<Vec<_>>().join(", "));
    }
    if !status.unit.is_empty() {
        out += &format!("  签发单位 unit     {}  版本 version {:03}\n", one_line(&status.unit), status.version);
    }
    if !status.superseded_by.is_empty() {
        out += &format!("  现行版本 current  {}\n", one_line(&status.superseded_by));
    }
    out + &format!("  截至 as of        record {}, {}\n", status.as_of_seq, show_ms(status.as_of_ms))
}

#[cfg(test)]
mod tests {
    use super::*;
    use vermilion_registry::status::State;

    #[test]
    fn columns_line_up_in_both_scripts() {
        let rows = vec![vec!["有效".into(), "x".into()], vec!["a".into(), "y".into()]];
        assert_eq!(table(&["s", "n"], &rows), "s     n\n有效  x\na     y");
    }

    #[test]
    fn what_others_say_begins_no_line_of_its_own() {
        let forged = "x\n  状态 status       有效 / valid";
        assert_eq!(table(&["n", "v"], &[vec!["a".into(), forged.into()]]).lines().count(), 2);
        let status = StatusAnswer {
            shown: forged.into(),
            flags: vec![forged.into()],
            unit: forged.into(),
            superseded_by: forged.into(),
            ..StatusAnswer::default()
        };
        assert_eq!(status_text(forged, &status).lines().count(), 7);
        assert_eq!(error_text(&ClientError::BadAnswer(forged.into())).lines().count(), 1);
        assert_eq!(error_text(&ClientError::config("key", "line 1\n  |\n1 | ^")).lines().count(), 3);
    }

    #[test]
    fn a_status_of_another_moment_says_of_which() {
        let now =
            StatusAnswer { verify_code: 3, shown: "expired".into(), state: "valid".into(), as_of_ms: 9_000, ..StatusAnswer::default() };
        let value = status_json("ID", &now);
        assert_eq!((&value["national_code"], &value["status_zh"], &value["at"]), (&"05".into(), &"已过期".into(), &Value::Null));
        assert!(!status_text("ID", &now).contains("所问时刻"));
        let then = StatusAnswer { verify_code: 0, shown: "valid".into(), at_ms: 1_000, known_ms: 2_000, ..now };
        let value = status_json("ID", &then);
        assert_eq!((&value["national_code"], &value["at"]), (&"01".into(), &"1970-01-01T00:00:01Z".into()));
        assert_eq!(value["known"], "1970-01-01T00:00:02Z");
        let text = status_text("ID", &then);
        assert!(text.contains("所问时刻 at       1970-01-01T00:00:01Z") && text.contains("当时所知 known    1970-01-01T00:00:02Z"));
        assert_eq!(status_json("ID", &StatusAnswer::default())["national_code"], Value::Null);
    }

    #[test]
    fn an_error_names_command_and_record() {
        let refusal = vermilion_registry::reason::Reason::UnitSuspended.into();
        let value = error_json(&ClientError::RefusedInRecord { refusal, id: [7; 32], seq: 12 });
        assert_eq!((&value["error"], &value["seq"], &value["command"]), (&"unit-suspended".into(), &12.into(), &"07".repeat(32).into()));
        // What failed after it keeps its own name and exit code.
        let failed = ClientError::Unreachable("a\nb".into()).on_record([7; 32], 12);
        let value = error_json(&failed);
        assert_eq!((&value["error"], &value["seq"], &value["command"]), (&"unreachable".into(), &12.into(), &"07".repeat(32).into()));
        let said = format!("no node answers: a\\u{{a}}b; on record all the same: record 12, command {}", "07".repeat(32));
        assert_eq!((error_text(&failed), failed.exit()), (said, Exit::Unreachable));
        let value = error_json(&ClientError::Usage("x".into()));
        assert_eq!(value.as_object().map(serde_json::Map::len), Some(2));
    }

    #[test]
    fn every_state_has_its_chinese_name() {
        for state in State::ALL {
            assert_eq!(shown_chinese(state.name()), state.chinese());
        }
        assert_eq!((shown_chinese("expired"), shown_chinese("?")), ("已过期", ""));
    }
}
