//! Lines for whoever reads. One that is gone, or a disk that is full, is no error of ours and stops nothing.

use std::io::Write as _;

/// A line of the answer, on standard output.
pub fn line(text: &str) {
    let mut out = std::io::stdout();
    let _ = writeln!(out, "{text}").and_then(|()| out.flush());
}

/// What is being done, or is wrong, on standard error.
pub fn aside(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}
