//! What an audit keeps beside itself, so that one that was broken off goes on where it was.
//!
//! The file holds how far the walk through the first source came and all that it found and computed,
//! the replayed state included: with a replay it is about as large as the ledger's state. It is bound
//! to ledger, source and options, and ends in a hash over all of it; one that is damaged or of another
//! audit is refused, never passed over. What was checked before is not read again, so the file must
//! lie where whoever is audited cannot write: the hash keeps nobody from making another.
//!
//! It is written once before anything is read: who cannot write it learns so then, and not when the work of hours is to be kept.
//! One that says that nothing was read yet is of any audit. While an audit uses it, a lock on the file beside it
//! (`<FILE>.lock`) keeps a second one away: they would write over each other's progress.
//!
//! | bytes | what |
//! |---|---|
//! | 8 | `VMAUDIT1` |
//! | 8 | length of the head, big-endian |
//! | | the head: [`Saved`] in protobuf |
//! | | state entries, each: length of key (4), of value (4), key, value |
//! | 32 | BLAKE3 over all before, under a context of its own |

use super::alarm::write_whole;
use super::content::Lacking;
use super::finding::{Code, Finding, Findings};
use super::link::{LinkState, Root};
use super::replay::Replay;
use super::walk::StateFound;
use super::{Options, TrustFile};
use prost::Message as _;
use std::collections::BTreeSet;
use std::fs::{File, TryLockError};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use vermilion_crypto::Digest;
use vermilion_crypto::hash::{self, Context, Hasher};

const MAGIC: &[u8; 8] = b"VMAUDIT1";
/// Context of the hash that ends the file.
static CTX_FILE: Context = Context::new("vermilion 2026-11 audit state v1");
/// Context of what the file is bound to.
static CTX_BOUND: Context = Context::new("vermilion 2026-11 audit binding v1");
/// The least time between two writes; and no more than a twentieth of the time goes into writing.
const EVERY: Duration = Duration::from_secs(60);

/// Where an audit keeps how far it is, and how it is told to break off.
#[derive(Clone, Debug)]
pub struct Keep {
    path: PathBuf,
    stop: Arc<AtomicBool>,
    clock: Arc<Mutex<(Instant, Duration)>>,
}

impl Keep {
    /// In this file.
    #[must_use]
    pub fn new(path: &Path) -> Self {
        let clock = Arc::new(Mutex::new((Instant::now(), Duration::ZERO)));
        Self { path: path.to_owned(), stop: Arc::default(), clock }
    }

    /// The file's name, for messages.
    #[must_use]
    pub fn name(&self) -> String {
        self.path.display().to_string()
    }

    /// What tells the audit to keep how far it is, and to break off.
    #[must_use]
    pub fn stop(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.stop)
    }

    /// Whether it is to break off.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Whether it is time to write.
    pub fn is_due(&self) -> bool {
        let (last, took) = *self.clock.lock().unwrap_or_else(PoisonError::into_inner);
        self.is_stopped() || last.elapsed() >= EVERY.max(took * 20)
    }

    /// Keeps others from the file until the lock is dropped.
    pub fn lock(&self) -> Result<Lock, String> {
        let path = beside(&self.path, ".lock");
        let failed = |error: std::io::Error| format!("{}: {error}", path.display());
        loop {
            let file = File::options().write(true).create(true).truncate(false).open(&path).map_err(failed)?;
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => {
                    return Err("another audit keeps here how far it is: wait until it ends, or name another file with --state".into());
                }
                Err(TryLockError::Error(error)) => return Err(failed(error)),
            }
            // Whoever had it before may have taken the file away after it was opened here: then this lock holds nobody back.
            let held = file.metadata().map_err(failed)?;
            if std::fs::metadata(&path).is_ok_and(|there| (there.dev(), there.ino()) == (held.dev(), held.ino())) {
                return Ok(Lock { path, _file: file });
            }
        }
    }

    /// Reads the file, if there is one, and writes it once, so that it is known that it can be: whether there is something to
    /// go on from.
    pub fn begin(&self, bound: &Digest) -> Result<Option<(Progress, Option<Replay>)>, String> {
        let say = |why: String| format!("{}: {why}", self.path.display());
        let (bytes, found) = match std::fs::read(&self.path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => (encode(bound, &Progress::default(), None), None),
            Err(error) => return Err(say(error.to_string())),
            Ok(bytes) => {
                let found = decode(&bytes, bound).map_err(say)?;
                (if found.is_some() { bytes } else { encode(bound, &Progress::default(), None) }, found)
            }
        };
        self.write(&bytes).map_err(|why| format!("how far the audit is cannot be kept: {why}"))?;
        Ok(found)
    }

    /// Writes the file.
    pub fn save(&self, bound: &Digest, progress: &Progress, replay: Option<&Replay>) -> Result<(), String> {
        let begun = Instant::now();
        self.write(&encode(bound, progress, replay))?;
        *self.clock.lock().unwrap_or_else(PoisonError::into_inner) = (Instant::now(), begun.elapsed());
        Ok(())
    }

    fn write(&self, bytes: &[u8]) -> Result<(), String> {
        write_whole(&self.path, bytes)
    }

    /// Takes the file away once the audit came to its end.
    pub fn done(&self) {
        // One that is left over is of a walk that ended: going on from it reads nothing again.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// What keeps other audits from the file. The file of the lock goes with it; one that a kill left behind is nobody's.
#[derive(Debug)]
pub struct Lock {
    path: PathBuf,
    _file: File,
}

impl Drop for Lock {
    fn drop(&mut self) {
        // While it is still held: whoever opens it meanwhile finds it gone and tries again.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// The path of a file beside another, its name with more behind it.
fn beside(path: &Path, more: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(more);
    name.into()
}

/// What a file is bound to: the ledger, the sources in their order, and what is checked against what.
#[must_use]
pub fn bound(ledger_id: &str, sources: &[String], options: &Options) -> Digest {
    let trust = options.trust.as_ref().and_then(|trust| serde_json::to_vec(&TrustFile::of(trust)).ok()).unwrap_or_default();
    let mut hasher = Hasher::new(&CTX_BOUND);
    hasher.field(ledger_id.as_bytes()).update(&[u8::from(options.signatures), u8::from(options.replay)]);
    hasher.update(&(sources.len() as u64).to_be_bytes());
    for source in sources {
        hasher.field(source.as_bytes());
    }
    hasher.field(&trust).field(options.genesis.as_deref().unwrap_or_default());
    hasher.finish()
}

/// How far a walk is.
#[derive(Clone, Debug, Default)]
pub struct Progress {
    /// The place after the last record.
    pub next: u64,
    /// Records read.
    pub records: u64,
    /// Signatures checked.
    pub signatures: u64,
    /// What hangs together.
    pub links: LinkState,
    /// What the vault lacks.
    pub lacking: Lacking,
    /// What was found.
    pub findings: Findings,
    /// What was found in states.
    pub states: Vec<StateFound>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Saved {
    #[prost(uint32, tag = "1")]
    format_version: u32,
    #[prost(bytes = "vec", tag = "2")]
    bound: Vec<u8>,
    #[prost(uint64, tag = "3")]
    next: u64,
    #[prost(uint64, tag = "4")]
    records: u64,
    #[prost(uint64, tag = "5")]
    signatures: u64,
    #[prost(uint64, tag = "6")]
    time_ms: u64,
    #[prost(bytes = "vec", optional, tag = "7")]
    chain: Option<Vec<u8>>,
    #[prost(bytes = "vec", optional, tag = "8")]
    stored: Option<Vec<u8>>,
    #[prost(bool, tag = "9")]
    confirmed: bool,
    #[prost(uint64, optional, tag = "10")]
    tree_size: Option<u64>,
    #[prost(bytes = "vec", repeated, tag = "11")]
    tree_edge: Vec<Vec<u8>>,
    #[prost(message, repeated, tag = "12")]
    roots: Vec<SavedRoot>,
    #[prost(bytes = "vec", tag = "13")]
    marks: Vec<u8>,
    #[prost(message, repeated, tag = "14")]
    absent: Vec<SavedPlace>,
    #[prost(message, repeated, tag = "15")]
    struck: Vec<SavedPlace>,
    #[prost(message, optional, tag = "16")]
    findings: Option<SavedFindings>,
    #[prost(message, repeated, tag = "17")]
    states: Vec<SavedFindings>,
    #[prost(message, optional, tag = "18")]
    replay: Option<SavedReplay>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct SavedRoot {
    #[prost(uint64, tag = "1")]
    size: u64,
    #[prost(bytes = "vec", tag = "2")]
    root: Vec<u8>,
    #[prost(bool, tag = "3")]
    committed: bool,
}

#[derive(Clone, Copy, PartialEq, prost::Message)]
struct SavedPlace {
    #[prost(uint64, tag = "1")]
    seq: u64,
    #[prost(uint32, tag = "2")]
    position: u32,
    #[prost(uint64, tag = "3")]
    by: u64,
}

#[derive(Clone, PartialEq, prost::Message)]
struct SavedFindings {
    #[prost(uint64, tag = "1")]
    source: u64,
    #[prost(message, repeated, tag = "2")]
    list: Vec<SavedFinding>,
    #[prost(message, repeated, tag = "3")]
    counts: Vec<SavedFinding>,
    /// Of a state, the number of records that its directory said to have.
    #[prost(uint64, tag = "4")]
    size: u64,
}

/// A finding, or how many there are of its code and source.
#[derive(Clone, PartialEq, prost::Message)]
struct SavedFinding {
    #[prost(string, tag = "1")]
    code: String,
    #[prost(string, tag = "2")]
    source: String,
    #[prost(uint64, optional, tag = "3")]
    seq: Option<u64>,
    #[prost(string, tag = "4")]
    en: String,
    #[prost(string, tag = "5")]
    zh: String,
    #[prost(uint64, tag = "6")]
    count: u64,
}

#[derive(Clone, PartialEq, prost::Message)]
struct SavedReplay {
    #[prost(uint32, tag = "1")]
    rules: u32,
    #[prost(message, repeated, tag = "2")]
    erased: Vec<SavedPlace>,
}

fn save_findings(source: u64, size: u64, findings: &Findings) -> SavedFindings {
    let one = |f: &Finding| SavedFinding {
        code: f.code.name().into(),
        source: f.source.clone(),
        seq: f.seq,
        en: f.en.clone(),
        zh: f.zh.clone(),
        count: 0,
    };
    let count = |(source, code, count): (&str, Code, u64)| SavedFinding {
        code: code.name().into(),
        source: source.into(),
        count,
        ..SavedFinding::default()
    };
    let (list, counts) = (findings.listed().iter().map(one).collect(), findings.all_counts().map(count).collect());
    SavedFindings { source, list, counts, size }
}

fn load_findings(saved: SavedFindings) -> Option<Findings> {
    let list =
        saved.list.into_iter().map(|f| Some(Finding { code: Code::from_name(&f.code)?, source: f.source, seq: f.seq, en: f.en, zh: f.zh }));
    let counts = saved.counts.into_iter().map(|f| Some((f.source, Code::from_name(&f.code)?, f.count)));
    Some(Findings::from_parts(list.collect::<Option<_>>()?, counts.collect::<Option<Vec<_>>>()?))
}

fn places(of: &BTreeSet<(u64, u32)>) -> Vec<SavedPlace> {
    of.iter().map(|(seq, position)| SavedPlace { seq: *seq, position: *position, by: 0 }).collect()
}

fn encode(bound: &Digest, progress: &Progress, replay: Option<&Replay>) -> Vec<u8> {
    let links = &progress.links;
    let root = |root: &Root| SavedRoot { size: root.size, root: root.root.to_vec(), committed: root.committed };
    let erased = |replay: &Replay| {
        replay.erased().iter().map(|((seq, position), by)| SavedPlace { seq: *seq, position: *position, by: *by }).collect()
    };
    let head = Saved {
        format_version: 1,
        bound: bound.to_vec(),
        next: progress.next,
        records: progress.records,
        signatures: progress.signatures,
        time_ms: links.time_ms,
        chain: links.chain.map(|chain| chain.to_vec()),
        stored: links.stored.map(|stored| stored.to_vec()),
        confirmed: links.confirmed,
        tree_size: links.tree.as_ref().map(|(size, _)| *size),
        tree_edge: links.tree.iter().flat_map(|(_, edge)| edge).map(|level| level.concat()).collect(),
        roots: links.roots.iter().map(root).collect(),
        marks: links.marks.concat(),
        absent: places(&progress.lacking.absent),
        struck: places(&progress.lacking.struck),
        findings: Some(save_findings(0, 0, &progress.findings)),
        states: progress.states.iter().map(|found| save_findings(found.source as u64, found.size, &found.findings)).collect(),
        replay: replay.map(|replay| SavedReplay { rules: replay.rules(), erased: erased(replay) }),
    }
    .encode_to_vec();
    let mut out = [&MAGIC[..], &(head.len() as u64).to_be_bytes(), &head].concat();
    if let Some(replay) = replay {
        replay.state().for_each(&mut |key, value| {
            for len in [key.len(), value.len()] {
                // Keys and values of the state are far below 4 GiB.
                out.extend_from_slice(&(len as u32).to_be_bytes());
            }
            out.extend_from_slice(key);
            out.extend_from_slice(value);
        });
    }
    let hash = hash::derive(&CTX_FILE, &[&out]);
    out.extend_from_slice(&hash);
    out
}

/// What a file holds; nothing of one that was written before anything was read.
fn decode(bytes: &[u8], bound: &Digest) -> Result<Option<(Progress, Option<Replay>)>, String> {
    let damaged = || "the file is not an audit's, or damaged".to_owned();
    let (content, hash) = bytes.split_last_chunk::<32>().ok_or_else(damaged)?;
    let rest = content.strip_prefix(MAGIC).ok_or_else(damaged)?;
    if hash::derive(&CTX_FILE, &[content]) != *hash {
        return Err(damaged());
    }
    let (len, rest) = rest.split_first_chunk::<8>().ok_or_else(damaged)?;
    let len = usize::try_from(u64::from_be_bytes(*len)).map_err(|_| damaged())?;
    let (head, entries) = rest.split_at_checked(len).ok_or_else(damaged)?;
    let saved = Saved::decode(head).map_err(|_| damaged())?;
    if saved.format_version != 1 {
        return Err(format!("format version {} is not read by this version", saved.format_version));
    }
    if saved.next == 0 {
        return Ok(None);
    }
    if saved.bound != bound {
        return Err("the file is of another ledger, source or set of options".into());
    }
    let replay = match &saved.replay {
        None => None,
        Some(replay) => {
            let erased = replay.erased.iter().map(|place| ((place.seq, place.position), place.by)).collect();
            Some(Replay::restore(state_entries(entries).ok_or_else(damaged)?, replay.rules, erased)?)
        }
    };
    Ok(Some((progress(saved).ok_or_else(damaged)?, replay)))
}

/// Key and value of each entry.
fn state_entries(mut bytes: &[u8]) -> Option<Vec<vermilion_registry::kv::Write>> {
    let mut out = Vec::new();
    while !bytes.is_empty() {
        let (key_len, rest) = bytes.split_first_chunk::<4>()?;
        let (value_len, rest) = rest.split_first_chunk::<4>()?;
        let (key, rest) = rest.split_at_checked(u32::from_be_bytes(*key_len) as usize)?;
        let (value, rest) = rest.split_at_checked(u32::from_be_bytes(*value_len) as usize)?;
        out.push((key.to_vec(), Some(value.to_vec())));
        bytes = rest;
    }
    Some(out)
}

fn progress(saved: Saved) -> Option<Progress> {
    let digest = |bytes: Option<Vec<u8>>| match bytes {
        None => Some(None),
        Some(bytes) => Digest::try_from(bytes.as_slice()).ok().map(Some),
    };
    let digests = |bytes: &[u8]| {
        let (digests, rest) = bytes.as_chunks::<32>();
        rest.is_empty().then(|| digests.to_vec())
    };
    let root = |root: SavedRoot| Some(Root { size: root.size, root: root.root.as_slice().try_into().ok()?, committed: root.committed });
    let tree = match saved.tree_size {
        None => None,
        Some(size) => Some((size, saved.tree_edge.iter().map(|level| digests(level)).collect::<Option<Vec<_>>>()?)),
    };
    let places = |places: &[SavedPlace]| places.iter().map(|place| (place.seq, place.position)).collect();
    let state = |saved: SavedFindings| {
        let (source, size) = (usize::try_from(saved.source).ok()?, saved.size);
        Some(StateFound { source, size, findings: load_findings(saved)? })
    };
    Some(Progress {
        next: saved.next,
        records: saved.records,
        signatures: saved.signatures,
        links: LinkState {
            time_ms: saved.time_ms,
            chain: digest(saved.chain)?,
            stored: digest(saved.stored)?,
            confirmed: saved.confirmed,
            tree,
            roots: saved.roots.into_iter().map(root).collect::<Option<_>>()?,
            marks: digests(&saved.marks)?,
        },
        lacking: Lacking { absent: places(&saved.absent), struck: places(&saved.struck) },
        findings: load_findings(saved.findings?)?,
        states: saved.states.into_iter().map(state).collect::<Option<_>>()?,
    })
}
