//! Reading a file of rows: its digest, and line after line with bounded memory.

use crate::error::ClientError;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use vermilion_crypto::Digest;
use vermilion_crypto::hash::{Context, Hasher};
use vermilion_registry::content::MAX_ROW;

/// Context of a file's digest.
static CTX_FILE: Context = Context::new("vermilion 2026-11 import file v1");
const BUFFER: usize = 1 << 20;

/// What a first pass over a file finds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FileFacts {
    /// The digest of the whole file.
    pub digest: Digest,
    /// Lines, the empty ones counted.
    pub lines: u64,
}

/// Reads a file once for its digest and its number of lines.
pub fn examine(path: &Path) -> Result<FileFacts, ClientError> {
    let failed = |e| ClientError::file(path, e);
    let mut file = File::open(path).map_err(failed)?;
    if !file.metadata().map_err(failed)?.is_file() {
        return Err(ClientError::Usage(format!("{} is not a regular file, and rows are read twice: write them into one", path.display())));
    }
    let mut counter = Counter::new();
    let mut buffer = vec![0; BUFFER];
    loop {
        match file.read(&mut buffer).map_err(failed)? {
            0 => return Ok(counter.facts()),
            n => counter.add(buffer.get(..n).unwrap_or_default()),
        }
    }
}

/// Digest and number of lines so far.
struct Counter {
    hasher: Hasher,
    lines: u64,
    open_line: bool,
}

impl Counter {
    fn new() -> Self {
        Self { hasher: Hasher::new(&CTX_FILE), lines: 0, open_line: false }
    }

    fn add(&mut self, bytes: &[u8]) {
        self.hasher.update(bytes);
        self.lines += bytes.iter().filter(|b| **b == b'\n').count() as u64;
        self.open_line = bytes.last().map_or(self.open_line, |b| *b != b'\n');
    }

    fn facts(&self) -> FileFacts {
        FileFacts { digest: self.hasher.finish(), lines: self.lines + u64::from(self.open_line) }
    }
}

/// The digest of a text, as [`examine`] has it of a file.
#[must_use]
pub fn digest_of(bytes: &[u8]) -> Digest {
    Hasher::new(&CTX_FILE).update(bytes).finish()
}

/// A line of the file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Line {
    /// Its text, without line end.
    Text(String),
    /// Blank: nothing, or spaces, tabs and carriage returns alone.
    Empty,
    /// Longer than a row may be, or not UTF-8.
    Unreadable(&'static str),
}

/// The lines of a file, one after the other.
pub struct Lines {
    path: PathBuf,
    reader: BufReader<File>,
    counter: Counter,
    first: bool,
}

impl Lines {
    /// Opens a file.
    pub fn open(path: &Path) -> Result<Self, ClientError> {
        let file = File::open(path).map_err(|e| ClientError::file(path, e))?;
        Ok(Self { path: path.into(), reader: BufReader::with_capacity(BUFFER, file), counter: Counter::new(), first: true })
    }

    /// The next line; `None` at the end.
    pub fn next_line(&mut self) -> Result<Option<Line>, ClientError> {
        let mut bytes = Vec::new();
        let mut too_long = false;
        let mut any = false;
        loop {
            let buffer = self.reader.fill_buf().map_err(|e| ClientError::file(&self.path, e))?;
            if buffer.is_empty() {
                break;
            }
            any = true;
            let end = buffer.iter().position(|b| *b == b'\n');
            let taken = buffer.get(..end.map_or(buffer.len(), |e| e + 1)).unwrap_or_default();
            self.counter.add(taken);
            if bytes.len() + taken.len() <= MAX_ROW + 8 {
                bytes.extend_from_slice(taken)
            } else {
                too_long = true
            }
            let length = taken.len();
            self.reader.consume(length);
            if end.is_some() {
                break;
            }
        }
        if !any {
            return Ok(None);
        }
        let first = std::mem::replace(&mut self.first, false);
        if too_long {
            return Ok(Some(Line::Unreadable("the row is longer than 64 KiB")));
        }
        let Ok(text) = std::str::from_utf8(&bytes) else { return Ok(Some(Line::Unreadable("the row is not UTF-8"))) };
        // Some editors begin a file with a byte order mark.
        let text = if first { text.strip_prefix('\u{feff}').unwrap_or(text) } else { text };
        let text = text.trim_end_matches(['\n', '\r']);
        Ok(Some(if is_blank(text) { Line::Empty } else { Line::Text(text.to_owned()) }))
    }

    /// What was read so far; at the end it must be what [`examine`] found.
    #[must_use]
    pub fn facts(&self) -> FileFacts {
        self.counter.facts()
    }
}

/// Whether a line holds nothing but the blanks of JSON. Whatever else stands on it, somebody's row may be meant, and has its
/// answer.
fn is_blank(text: &str) -> bool {
    text.bytes().all(|byte| matches!(byte, b' ' | b'\t' | b'\r'))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn lines_and_digest_agree_with_the_first_pass() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rows");
        let long = "x".repeat(3 * MAX_ROW);
        for (content, lines) in [
            (Vec::new(), vec![]),
            (b"\xef\xbb\xbf{}\r\n\n {}".to_vec(), vec![Line::Text("{}".into()), Line::Empty, Line::Text(" {}".into())]),
            (
                format!("a\n{long}\nb\n").into_bytes(),
                vec![Line::Text("a".into()), Line::Unreadable("the row is longer than 64 KiB"), Line::Text("b".into())],
            ),
            (b"\xff\n".to_vec(), vec![Line::Unreadable("the row is not UTF-8")]),
            (
                // An ideographic space, a no-break space and a vertical tab are no blanks: whoever typed them gets an answer.
                " \t \r\n\u{3000}\n\u{a0}\n\u{b}\n\t\n".as_bytes().to_vec(),
                vec![Line::Empty, Line::Text("\u{3000}".into()), Line::Text("\u{a0}".into()), Line::Text("\u{b}".into()), Line::Empty],
            ),
        ] {
            std::fs::write(&path, &content).unwrap();
            let mut reader = Lines::open(&path).unwrap();
            let mut found = Vec::new();
            while let Some(line) = reader.next_line().unwrap() {
                found.push(line);
            }
            assert_eq!(found, lines);
            let facts = examine(&path).unwrap();
            assert_eq!(facts, reader.facts());
            assert_eq!((facts.lines, facts.digest), (lines.len() as u64, digest_of(&content)));
        }
        assert!(examine(folder.path()).is_err());
    }
}
