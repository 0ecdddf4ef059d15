//! How far an audit is, as its state file says it in its head.

use super::content::Lacking;
use super::finding::{Code, Finding, Findings};
use super::link::{LinkState, Root};
use super::places::Places;
use super::replay::{Erased, Replay};
use super::resume::Bound;
use super::walk::StateFound;
use prost::Message as _;
use vermilion_crypto::Digest;

/// The version of the head that is written, and the one that is read.
const FORMAT: u32 = 2;

/// What is said of a file that is none, or not whole.
pub const DAMAGED: &str = "the file is not an audit's, or damaged";

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

/// The head.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Saved {
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
    #[prost(bytes = "vec", tag = "14")]
    absent: Vec<u8>,
    #[prost(bytes = "vec", tag = "15")]
    struck: Vec<u8>,
    #[prost(message, optional, tag = "16")]
    findings: Option<SavedFindings>,
    #[prost(message, repeated, tag = "17")]
    states: Vec<SavedFindings>,
    #[prost(message, optional, tag = "18")]
    replay: Option<SavedReplay>,
    #[prost(string, tag = "19")]
    walked: String,
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

impl Saved {
    /// The head, encoded.
    pub fn encode(bound: &Bound, progress: &Progress, replay: Option<&Replay>) -> Vec<u8> {
        let links = &progress.links;
        let root = |root: &Root| SavedRoot { size: root.size, root: root.root.to_vec(), committed: root.committed };
        let erased = |replay: &Replay| {
            replay.erased().iter().map(|((seq, position), by)| SavedPlace { seq: *seq, position: *position, by: *by }).collect()
        };
        let saved = Self {
            format_version: FORMAT,
            bound: bound.digest.to_vec(),
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
            absent: progress.lacking.absent.as_bytes().to_vec(),
            struck: progress.lacking.struck.as_bytes().to_vec(),
            findings: Some(save_findings(0, 0, &progress.findings)),
            states: progress.states.iter().map(|found| save_findings(found.source as u64, found.size, &found.findings)).collect(),
            replay: replay.map(|replay| SavedReplay { rules: replay.rules(), erased: erased(replay) }),
            walked: bound.walked.clone(),
        };
        saved.encode_to_vec()
    }

    /// Reads it; `None` if it is of before the first record, and so of any audit.
    pub fn read(head: &[u8], bound: &Bound) -> Result<Option<Self>, String> {
        let saved = Self::decode(head).map_err(|_| DAMAGED.to_owned())?;
        if saved.format_version != FORMAT {
            return Err(format!("format version {} is not read by this version", saved.format_version));
        }
        if saved.next == 0 {
            return Ok(None);
        }
        if saved.bound != bound.digest {
            return Err("the file is of another ledger, source or set of options".into());
        }
        Ok(Some(saved))
    }

    /// The name of the source whose walk it is of, if it is of any.
    pub fn walked(head: &[u8]) -> Option<String> {
        let saved = Self::decode(head).ok()?;
        (saved.next > 0).then_some(saved.walked)
    }

    /// The replay's version of the rules, and what it had erased, if there was one.
    pub fn replay(&mut self) -> Option<(u32, Erased)> {
        let replay = self.replay.take()?;
        Some((replay.rules, replay.erased.iter().map(|place| ((place.seq, place.position), place.by)).collect()))
    }

    /// How far the audit was.
    pub fn progress(self) -> Result<Progress, String> {
        progress(self).ok_or_else(|| DAMAGED.to_owned())
    }
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
        lacking: Lacking { absent: Places::from_bytes(saved.absent), struck: Places::from_bytes(saved.struck) },
        findings: load_findings(saved.findings?)?,
        states: saved.states.into_iter().map(state).collect::<Option<_>>()?,
    })
}
