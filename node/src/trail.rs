//! The trail: who connected here, and who was refused what (002-21: 日志留存). What strangers try is counted
//! and not written down; what a known credential does is.
//!
//! Lines of JSON in `trail/` of the data directory, each chained to the one before:
//! `chain = SHA-256(previous chain ‖ everything of the line before ,"chain":)`, from 32 zero bytes on. So
//! nothing can be taken out of the middle or changed without a trace. It is this node's own record and no
//! part of the ledger: commands and their refusals are records there.
//!
//! Nothing that was written whole is ever cut away. What a crash or a full disk tore off is; a line that
//! cannot be read stays, and the next file begins with a line `break`.

use crate::runtime::now_ms;
use serde_json::{Map, Value};
use std::fs::File;
use std::io::{BufRead as _, BufReader, ErrorKind, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use vermilion_crypto::{Digest, sha256};
use vermilion_identity::Certificate;

/// Bytes of a file: then the next one begins.
const FILE_BYTES: u64 = 32 << 20;
/// Files that are kept; the oldest goes.
const FILES: usize = 32;
/// Lines a second: what comes beyond is counted in a line of its own, so that nobody can push the past out.
const LINES_A_SECOND: u32 = 50;
/// Lines of one answer.
pub const MAX_LINES: usize = 1000;
/// A part of a file that is read through, not searched.
const NEAR: u64 = 64 << 10;
/// What stands between a line's content and its chain.
const CHAIN: &str = ",\"chain\":\"";

/// What happened.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum What {
    /// A credential connected: a login.
    Connected,
    /// A credential of this ledger's authority was refused at the handshake.
    Refused,
    /// An open connection was cut: its credential had fallen.
    Cut,
    /// A question or a command was denied.
    Denied,
}

impl What {
    fn word(self) -> &'static str {
        match self {
            Self::Connected => "connected",
            Self::Refused => "refused",
            Self::Cut => "cut",
            Self::Denied => "denied",
        }
    }
}

/// Whom a line is about.
#[derive(Clone, Debug, Default)]
pub struct Whom {
    serial: String,
    holder: String,
    key: String,
}

impl Whom {
    /// The holder of a certificate.
    #[must_use]
    pub fn certificate(of: &Certificate) -> Self {
        Self { serial: of.serial.to_string(), holder: of.subject.uri(), key: String::new() }
    }

    /// The holder of an operator's key, by its id.
    #[must_use]
    pub fn key(id: &[u8]) -> Self {
        Self { key: hex::encode(id), ..Self::default() }
    }
}

struct Writer {
    file: File,
    number: u64,
    bytes: u64,
    next: u64,
    chain: Digest,
    /// A write failed, and a part of its line may be there.
    torn: bool,
    /// The second that is counted, its lines, and how many were left out.
    second: (u64, u32, u64),
}

/// The trail of one node.
pub struct Trail {
    dir: PathBuf,
    writer: Mutex<Writer>,
}

impl std::fmt::Debug for Trail {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Trail({})", self.dir.display())
    }
}

/// The numbers of the files that are there, ascending.
fn numbers(dir: &Path) -> std::io::Result<Vec<u64>> {
    let mut out = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let name = entry?.file_name();
        out.extend(name.to_str().and_then(|name| name.strip_suffix(".jsonl")?.parse::<u64>().ok()));
    }
    out.sort_unstable();
    Ok(out)
}

fn path(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("{number:08}.jsonl"))
}

/// A whole line's content, number and chain.
fn read_line(line: &str) -> Option<(u64, Digest)> {
    let (content, chain) = line.trim_end().rsplit_once(CHAIN)?;
    let mut digest = [0; 32];
    hex::decode_to_slice(chain.strip_suffix("\"}")?, &mut digest).ok()?;
    let value: Value = serde_json::from_str(&format!("{content}}}")).ok()?;
    Some((value.get("n")?.as_u64()?, digest))
}

/// What stands in a file's whole lines.
#[derive(Default)]
struct Found {
    bytes: u64,
    /// Number and chain of the last line that can be read.
    last: Option<(u64, Digest)>,
    /// Whether there is one that cannot.
    broken: bool,
}

impl Found {
    fn read(file: &File) -> std::io::Result<Self> {
        let mut found = Self::default();
        let mut reader = BufReader::new(file);
        let mut line = Vec::new();
        while reader.read_until(b'\n', &mut line)? > 0 && line.ends_with(b"\n") {
            found.bytes += line.len() as u64;
            match std::str::from_utf8(&line).ok().and_then(read_line) {
                Some(last) => found.last = Some(last),
                None => found.broken = true,
            }
            line.clear();
        }
        Ok(found)
    }
}

impl Writer {
    /// Goes on behind the last line; what a crash tore off behind it is cut away.
    fn open(dir: &Path, now_ms: u64) -> std::io::Result<Self> {
        std::fs::create_dir_all(dir)?;
        let mut all = numbers(dir)?;
        let number = all.pop().unwrap_or(0);
        let file = File::options().create(true).truncate(false).read(true).append(true).open(path(dir, number))?;
        let Found { bytes, mut last, mut broken } = Found::read(&file)?;
        file.set_len(bytes)?;
        // A file that was just begun has no line yet.
        while last.is_none()
            && let Some(before) = all.pop()
        {
            let found = Found::read(&File::open(path(dir, before))?)?;
            (last, broken) = (found.last, broken || found.broken);
        }
        let (next, chain) = last.map_or((0, [0; 32]), |(n, chain)| (n.saturating_add(1), chain));
        let mut writer = Self { file, number, bytes, next, chain, torn: false, second: (0, 0, 0) };
        if broken && let Err(error) = writer.note_break(dir, now_ms) {
            tracing::error!(%error, "the trail has a line that cannot be read, which cannot be noted");
        }
        Ok(writer)
    }

    /// Leaves a file with a line that cannot be read as it is, and says so in the next one.
    fn note_break(&mut self, dir: &Path, now_ms: u64) -> std::io::Result<()> {
        if self.bytes > 0 {
            self.begin(dir)?;
        }
        let mut content: Map<String, Value> = Map::new();
        content.insert("time_ms".into(), now_ms.into());
        content.insert("what".into(), "break".into());
        self.write(dir, content)
    }

    /// Begins the next file; the oldest goes.
    fn begin(&mut self, dir: &Path) -> std::io::Result<()> {
        self.file.sync_all()?;
        let number = self.number + 1;
        self.file = File::options().create_new(true).append(true).open(path(dir, number))?;
        (self.number, self.bytes) = (number, 0);
        let all = numbers(dir)?;
        for old in all.iter().take(all.len().saturating_sub(FILES)) {
            std::fs::remove_file(path(dir, *old))?;
        }
        Ok(())
    }

    /// Takes away what a write that failed left behind: the next line must not be glued to it.
    fn mend(&mut self) -> std::io::Result<()> {
        if self.torn {
            self.file.set_len(self.bytes)?;
            self.torn = false;
        }
        Ok(())
    }

    fn write(&mut self, dir: &Path, mut content: Map<String, Value>) -> std::io::Result<()> {
        self.mend()?;
        if self.bytes >= FILE_BYTES {
            self.begin(dir)?;
        }
        content.insert("n".into(), self.next.into());
        let text = Value::Object(content).to_string();
        let content = text.strip_suffix('}').unwrap_or(&text);
        let chain = sha256(&[&self.chain, content.as_bytes()].concat());
        let line = format!("{content}{CHAIN}{}\"}}\n", hex::encode(chain));
        if let Err(error) = self.file.write_all(line.as_bytes()) {
            self.torn = true;
            // If it cannot be mended now, it is before the next line.
            let _ = self.mend();
            return Err(error);
        }
        (self.bytes, self.next, self.chain) = (self.bytes + line.len() as u64, self.next + 1, chain);
        Ok(())
    }
}

impl Trail {
    /// The trail in a data directory.
    pub fn open(data_dir: &Path) -> std::io::Result<Self> {
        let dir = data_dir.join("trail");
        Ok(Self { writer: Mutex::new(Writer::open(&dir, now_ms())?), dir })
    }

    /// Writes a line, at a time in Unix milliseconds. What cannot be written is logged: the node goes on.
    pub fn note(&self, now_ms: u64, what: What, whom: &Whom, why: &str) {
        let mut writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let second = now_ms / 1000;
        if writer.second.0 != second {
            let left_out = writer.second.2;
            writer.second = (second, 0, 0);
            if left_out > 0 {
                let mut content: Map<String, Value> = Map::new();
                content.insert("time_ms".into(), now_ms.into());
                content.insert("what".into(), "left-out".into());
                content.insert("lines".into(), left_out.into());
                self.put(&mut writer, content);
            }
        }
        if writer.second.1 >= LINES_A_SECOND {
            writer.second.2 += 1;
            return;
        }
        writer.second.1 += 1;
        let mut content: Map<String, Value> = Map::new();
        content.insert("time_ms".into(), now_ms.into());
        content.insert("what".into(), what.word().into());
        for (name, text) in [("serial", &*whom.serial), ("holder", &whom.holder), ("key", &whom.key), ("why", why)] {
            if !text.is_empty() {
                content.insert(name.into(), text.into());
            }
        }
        self.put(&mut writer, content);
    }

    fn put(&self, writer: &mut Writer, content: Map<String, Value>) {
        if let Err(error) = writer.write(&self.dir, content) {
            tracing::error!(%error, "the trail cannot be written");
        }
    }

    /// Up to [`MAX_LINES`] lines from number `from` on.
    pub fn lines(&self, from: u64) -> std::io::Result<Vec<String>> {
        let mut files = Vec::new();
        // From the newest file back, to the one in which the line is.
        for number in numbers(&self.dir)?.into_iter().rev() {
            let mut lines = match File::open(path(&self.dir, number)) {
                Ok(file) => Lines::of(file),
                // The oldest goes when another is begun.
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            };
            let is_before = lines.next()?.is_some_and(|line| line.n <= from);
            files.push(lines);
            if is_before {
                break;
            }
        }
        let mut out = Vec::new();
        for lines in files.iter_mut().rev() {
            lines.seek(from)?;
            while let Some(line) = lines.next()? {
                if line.n >= from {
                    out.push(line.text);
                }
                if out.len() >= MAX_LINES {
                    return Ok(out);
                }
            }
        }
        Ok(out)
    }
}

/// A line that can be read: its number, where it begins, and what it says.
struct Line {
    n: u64,
    at: u64,
    text: String,
}

/// The lines of a file. Their numbers ascend.
struct Lines {
    reader: BufReader<File>,
    at: u64,
}

impl Lines {
    fn of(file: File) -> Self {
        Self { reader: BufReader::new(file), at: 0 }
    }

    /// The next line that can be read.
    fn next(&mut self) -> std::io::Result<Option<Line>> {
        let mut bytes = Vec::new();
        loop {
            bytes.clear();
            let at = self.at;
            self.at += self.reader.read_until(b'\n', &mut bytes)? as u64;
            if self.at == at {
                return Ok(None);
            }
            if let Ok(text) = std::str::from_utf8(&bytes)
                && let Some((n, _)) = read_line(text)
            {
                return Ok(Some(Line { n, at, text: text.trim_end().to_owned() }));
            }
        }
    }

    fn set(&mut self, at: u64) -> std::io::Result<()> {
        self.at = self.reader.seek(SeekFrom::Start(at))?;
        Ok(())
    }

    /// Goes to a line some way before number `from`, or to the first.
    fn seek(&mut self, from: u64) -> std::io::Result<()> {
        let (mut low, mut high) = (0, self.reader.get_ref().metadata()?.len());
        while high - low > NEAR {
            let middle = low + (high - low) / 2;
            self.set(middle)?;
            // The rest of a line that begins before.
            self.at += self.reader.skip_until(b'\n')? as u64;
            match self.next()? {
                Some(line) if line.n <= from && line.at < high => low = line.at,
                _ => high = middle,
            }
        }
        self.set(low)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// As anybody would check it.
    fn holds(lines: &[String]) -> bool {
        let mut chain = [0; 32];
        lines.iter().enumerate().all(|(at, line)| {
            let (content, _) = line.rsplit_once(CHAIN).unwrap();
            chain = sha256(&[&chain, content.as_bytes()].concat());
            read_line(line) == Some((at as u64, chain))
        })
    }

    #[test]
    fn lines_are_chained_across_starts_and_torn_ones_are_cut_away() {
        let folder = tempfile::tempdir().unwrap();
        let whom = Whom::key(&[7; 16]);
        Trail::open(folder.path()).unwrap().note(1000, What::Connected, &whom, "");
        let file = path(&folder.path().join("trail"), 0);
        File::options().append(true).open(&file).unwrap().write_all(b"{\"n\":1,\"torn").unwrap();
        let trail = Trail::open(folder.path()).unwrap();
        trail.note(2000, What::Denied, &whom, "records: \"quoted\" and 中文");
        let lines = trail.lines(0).unwrap();
        assert!(lines.len() == 2 && holds(&lines), "{lines:?}");
        assert_eq!(trail.lines(1).unwrap(), lines[1..]);
        let changed = vec![lines[0].replace("connected", "refused"), lines[1].clone()];
        assert!(!holds(&changed));
    }

    #[test]
    fn a_flood_is_counted_and_not_written() {
        let folder = tempfile::tempdir().unwrap();
        let trail = Trail::open(folder.path()).unwrap();
        for _ in 0..LINES_A_SECOND + 30 {
            trail.note(5000, What::Refused, &Whom::default(), "again");
        }
        trail.note(6000, What::Cut, &Whom::default(), "");
        let lines = trail.lines(0).unwrap();
        assert_eq!(lines.len(), LINES_A_SECOND as usize + 2);
        assert!(lines[LINES_A_SECOND as usize].contains("\"lines\":30") && holds(&lines));
    }

    #[test]
    fn a_line_that_was_not_written_whole_leaves_nothing_behind() {
        let folder = tempfile::tempdir().unwrap();
        let trail = Trail::open(folder.path()).unwrap();
        trail.note(1000, What::Connected, &Whom::default(), "");
        let file = path(&folder.path().join("trail"), 0);
        // The disk is full: nothing can be written, nor the length set back, and a part of the line is there.
        let good = std::mem::replace(&mut trail.writer.lock().unwrap().file, File::open(&file).unwrap());
        trail.note(2000, What::Denied, &Whom::default(), "lost");
        assert!(trail.writer.lock().unwrap().torn);
        File::options().append(true).open(&file).unwrap().write_all(b"{\"time_ms\":2000,\"wh").unwrap();
        trail.writer.lock().unwrap().file = good;
        trail.note(3000, What::Cut, &Whom::default(), "");
        let lines = trail.lines(0).unwrap();
        assert!(lines.len() == 2 && holds(&lines), "{lines:?}");
        assert_eq!(std::fs::read_to_string(&file).unwrap().lines().count(), 2);
    }

    #[test]
    fn what_cannot_be_read_stays_and_is_noted() {
        let folder = tempfile::tempdir().unwrap();
        let trail = Trail::open(folder.path()).unwrap();
        trail.note(1000, What::Connected, &Whom::default(), "");
        let dir = folder.path().join("trail");
        File::options().append(true).open(path(&dir, 0)).unwrap().write_all(b"{\"n\":1,\xffglued\n").unwrap();
        trail.note(2000, What::Cut, &Whom::default(), "");
        let before = std::fs::read(path(&dir, 0)).unwrap();
        for _ in 0..2 {
            let trail = Trail::open(folder.path()).unwrap();
            assert_eq!(std::fs::read(path(&dir, 0)).unwrap(), before);
            let lines = trail.lines(0).unwrap();
            assert!(lines.len() == 3 && holds(&lines), "{lines:?}");
            assert!(lines[2].contains("\"what\":\"break\""));
        }
        assert_eq!(numbers(&dir).unwrap(), [0, 1]);
    }

    #[test]
    fn a_page_begins_at_its_line_in_whichever_file_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let trail = Trail::open(folder.path()).unwrap();
        let dir = folder.path().join("trail");
        let whole = 3 * MAX_LINES as u64;
        for n in 0..whole {
            if n.is_multiple_of(MAX_LINES as u64) && n > 0 {
                trail.writer.lock().unwrap().begin(&dir).unwrap();
            }
            trail.note(n * 1000, What::Denied, &Whom::key(&[7; 16]), &"why ".repeat(40));
        }
        // One that cannot be read, in the midst of the second file.
        let mut bytes = std::fs::read(path(&dir, 1)).unwrap();
        let at = bytes.len() / 2;
        bytes[at] = 0xff;
        std::fs::write(path(&dir, 1), bytes).unwrap();
        let numbers = |from| trail.lines(from).unwrap().iter().map(|line| read_line(line).unwrap().0).collect::<Vec<_>>();
        let all: Vec<u64> =
            (0..whole).step_by(MAX_LINES).flat_map(numbers).collect::<std::collections::BTreeSet<_>>().into_iter().collect();
        assert_eq!(all.len() as u64, whole - 1);
        for from in (0..whole + 2).step_by(7) {
            let due: Vec<u64> = all.iter().copied().filter(|n| *n >= from).take(MAX_LINES).collect();
            assert_eq!(numbers(from), due, "from {from}");
        }
        // The oldest goes while somebody reads.
        std::fs::remove_file(path(&dir, 0)).unwrap();
        assert_eq!(numbers(0).first(), Some(&(MAX_LINES as u64)));
    }

    #[test]
    fn an_empty_file_goes_on_from_the_one_before() {
        let folder = tempfile::tempdir().unwrap();
        Trail::open(folder.path()).unwrap().note(1000, What::Connected, &Whom::default(), "");
        let dir = folder.path().join("trail");
        // Begun and killed.
        File::create(path(&dir, 1)).unwrap();
        let trail = Trail::open(folder.path()).unwrap();
        trail.note(2000, What::Cut, &Whom::default(), "");
        let lines = trail.lines(0).unwrap();
        assert!(lines.len() == 2 && holds(&lines), "{lines:?}");
        assert_eq!(std::fs::read_to_string(path(&dir, 1)).unwrap().trim_end(), lines[1]);
    }
}
