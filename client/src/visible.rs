//! What is printed of others' texts cannot hide what is printed: it neither moves the cursor, nor turns the direction of
//! writing, nor begins a line of its own.

use serde_json::Value;
use std::borrow::Cow;

/// Control characters, and those that turn the direction of writing or end a line.
fn hides(c: char) -> bool {
    c.is_control() || matches!(c, '\u{200e}' | '\u{200f}' | '\u{061c}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Lines with what hides made visible: a file that says what it likes must not move the cursor or hide the verdict. In JSON as
/// JSON writes it. Line feeds stay: what others say goes into the lines by way of [`one_line`].
pub(crate) fn visible(lines: &str, json: bool) -> Cow<'_, str> {
    shown(lines, json, |c| c != '\n' && hides(c))
}

/// JSON on one line, what hides written as JSON writes it.
pub(crate) fn json_line(value: &Value) -> String {
    visible(&value.to_string(), true).into_owned()
}

/// A text of others that stands within a line, for people: it cannot begin a line that would pass for one of ours.
pub(crate) fn one_line(text: &str) -> Cow<'_, str> {
    shown(text, false, hides)
}

fn shown(text: &str, json: bool, hides: impl Fn(char) -> bool) -> Cow<'_, str> {
    if !text.chars().any(&hides) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match (hides(c), json) {
            (false, _) => out.push(c),
            (true, true) => out += &format!("\\u{:04x}", c as u32),
            (true, false) => out += &format!("\\u{{{:x}}}", c as u32),
        }
    }
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn nothing_that_is_shown_can_hide_what_is_shown() {
        assert_eq!(visible("有效\nvalid", false), "有效\nvalid");
        assert_eq!(visible("a\u{1b}[2Jb\u{9b}c\u{202e}d", false), "a\\u{1b}[2Jb\\u{9b}c\\u{202e}d");
        let value = json!({ "a": "\u{9b}\u{2066}\n" });
        let text = value.to_string();
        let shown = visible(&text, true);
        assert!(!shown.contains('\u{9b}') && serde_json::from_str::<Value>(&shown).is_ok_and(|read| read == value));
    }

    #[test]
    fn a_text_of_others_stays_in_its_line() {
        assert_eq!(one_line("深圳市南山区"), "深圳市南山区");
        assert_eq!(one_line("a\n  状态 status  有效\r\u{2028}b"), "a\\u{a}  状态 status  有效\\u{d}\\u{2028}b");
    }
}
