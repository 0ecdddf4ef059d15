//! How the demonstration speaks: numbered headings, short lines, one bar, a summary.

use crate::say;
use indicatif::{ProgressBar, ProgressStyle};
use std::time::Instant;

/// Places that a label takes.
const LABEL: usize = 20;

/// Prints lines, counts steps and takes their time.
pub struct Show {
    begun: Instant,
    done: Vec<(String, f64)>,
    current: Option<(String, Instant)>,
}

impl Show {
    /// Starts the clock.
    #[must_use]
    pub fn new() -> Self {
        Self { begun: Instant::now(), done: Vec::new(), current: None }
    }

    /// Begins the next step.
    pub fn step(&mut self, chinese: &str, english: &str) {
        self.end_step();
        self.line(&format!("\n{:>2}  {chinese}  {english}", self.done.len() + 1));
        self.current = Some((format!("{chinese}  {english}"), Instant::now()));
    }

    fn end_step(&mut self) {
        if let Some((name, since)) = self.current.take() {
            self.done.push((name, since.elapsed().as_secs_f64()));
        }
    }

    /// A line as it is.
    pub fn line(&self, text: &str) {
        say::line(text);
    }

    /// A line of a step.
    pub fn note(&self, text: &str) {
        self.line(&format!("    {text}"));
    }

    /// A line of a step with a label in front.
    pub fn fact(&self, label: &str, text: &str) {
        self.note(&format!("{}{text}", padded(label, LABEL)));
    }

    /// Lines of columns, within a step.
    pub fn table(&self, rows: &[Vec<String>]) {
        for line in columns(rows) {
            self.note(&line);
        }
    }

    /// Each step with its seconds, and how long all took.
    pub fn times(&mut self) -> (Vec<(String, f64)>, f64) {
        self.end_step();
        (self.done.clone(), self.begun.elapsed().as_secs_f64())
    }
}

impl Default for Show {
    fn default() -> Self {
        Self::new()
    }
}

/// A bar on standard error, hidden where that is no terminal.
#[must_use]
pub fn bar(label: &str, length: u64) -> ProgressBar {
    let bar = ProgressBar::new(length);
    let style = ProgressStyle::with_template("    {msg} [{bar:32}] {human_pos}/{human_len} {per_sec}");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar.set_message(label.to_owned());
    bar
}

/// How many places a text takes on a terminal: Chinese characters take two.
fn width(text: &str) -> usize {
    text.chars().map(|c| if matches!(c as u32, 0x2e80..=0xffef) { 2 } else { 1 }).sum()
}

fn padded(text: &str, to: usize) -> String {
    format!("{text}{}", " ".repeat(to.saturating_sub(width(text)).max(1)))
}

/// Lines of columns, each as wide as its widest cell.
#[must_use]
pub fn columns(rows: &[Vec<String>]) -> Vec<String> {
    let mut widths: Vec<usize> = Vec::new();
    for row in rows {
        widths.resize(widths.len().max(row.len()), 0);
        for (at, cell) in widths.iter_mut().zip(row) {
            *at = (*at).max(width(cell));
        }
    }
    let line =
        |row: &Vec<String>| row.iter().zip(&widths).map(|(cell, wide)| padded(cell, wide + 2)).collect::<String>().trim_end().to_owned();
    rows.iter().map(line).collect()
}

/// A number with its thousands apart.
#[must_use]
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (n, digit) in digits.chars().enumerate() {
        if n > 0 && (digits.len() - n).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_in_both_scripts() {
        let rows = vec![vec!["有效".into(), "x".into()], vec!["a".into(), "y".into()]];
        assert_eq!(columns(&rows), ["有效  x", "a     y"]);
    }

    #[test]
    fn thousands_stand_apart() {
        assert_eq!([0, 999, 2000, 1_234_567].map(grouped), ["0", "999", "2,000", "1,234,567"]);
    }
}
