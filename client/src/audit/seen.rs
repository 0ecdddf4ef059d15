//! What a watch has seen, and what a checkpoint must be proved to be beside it.
//!
//! In memory, and kept on disk for the next start: the newest checkpoint that was proved, and the last one of each node;
//! besides, in memory alone, the newest [`KNOWN`] sizes with their checkpoints. Of each only the signature lines of trusted
//! keys: anybody can add others.

use super::alarm::write_whole;
use super::look::Shown;
use super::web::MAX_ANSWER;
use crate::files::read_at_most;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use vermilion_crypto::{Digest, sha256};
use vermilion_ledger::{Trust, merge, verify};

/// Sizes whose checkpoints are remembered, so that another for the same size is noticed.
const KNOWN: usize = 4096;
/// The largest note that is read from the folder, in bytes: the largest that is taken from a place, so that none is kept
/// which the next start refuses.
const MAX_NOTE: u64 = MAX_ANSWER as u64;
/// The newest checkpoint with the quorum that was proved, in the folder.
const NEWEST: &str = "newest.note";

/// A checkpoint whose signatures hold.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Point {
    pub size: u64,
    pub root: Digest,
    pub note: Vec<u8>,
    /// Whether all signed it that the trust asks for.
    pub quorum: bool,
    /// As of when they did, in Unix seconds; 0 without the quorum.
    pub as_of_s: u64,
    /// Whether it is the newest one, or was proved to be a beginning of it. One that is larger is not:
    /// the newest may come to go another way.
    settled: bool,
}

impl Point {
    /// With the signature lines of trusted keys alone: at most one a key, in an order of their own.
    pub fn of(note: &[u8], trust: &Trust) -> Result<Self, String> {
        let verified = verify(note, trust).map_err(|error| error.to_string())?;
        let quorum = verified.check_quorum(trust).is_ok();
        let as_of_s = verified.as_of(trust).unwrap_or_default();
        let note = merge(note, note, trust).map_err(|error| error.to_string())?.to_bytes();
        Ok(Self { size: verified.size, root: verified.root, note, quorum, as_of_s, settled: false })
    }

    /// Its tree: size and root.
    pub fn tree(&self) -> (u64, Digest) {
        (self.size, self.root)
    }
}

/// What was seen of a node.
struct OfNode {
    file: PathBuf,
    last: Option<Point>,
    /// The largest size that the tiles which it serves itself have proved, since this start; 0 before the first.
    proved: u64,
}

/// What was proved of a checkpoint while it is looked at.
#[derive(Default)]
pub struct Proved {
    /// The tree from which the node's own tiles continue to it.
    pub own: Option<(u64, Digest)>,
    /// That it is a beginning of one that was the newest.
    pub begins: bool,
}

/// What comes of a checkpoint beside what was seen.
pub enum Held {
    /// It was taken, or something speaks against it.
    Said(Shown),
    /// The node's own tiles must prove it, from this one on.
    Own(Point),
    /// It must be a beginning of this one.
    Beginning(Point),
}

/// What a watch has seen.
pub struct Seen {
    newest: Option<Point>,
    known: BTreeMap<u64, Point>,
    nodes: Vec<OfNode>,
    folder: PathBuf,
}

impl Seen {
    /// Of nodes by their names; goes on from what stands in `folder`. A file there that is not a checkpoint of this ledger is
    /// refused: what was seen before is what a rollback is known by.
    pub fn open<'a>(names: impl Iterator<Item = &'a str>, trust: &Trust, folder: &Path) -> Result<Self, String> {
        std::fs::create_dir_all(folder).map_err(|e| format!("{}: {e}", folder.display()))?;
        // One without the quorum is of another trust, or of a version that took it for the newest.
        let newest = kept(&folder.join(NEWEST), trust)?.filter(|point| point.quorum).map(|point| Point { settled: true, ..point });
        let (mut known, mut nodes) = (BTreeMap::new(), Vec::new());
        for name in names {
            let file = folder.join(file_of(name));
            let last = kept(&file, trust)?;
            known.extend(last.iter().map(|point| (point.size, point.clone())));
            nodes.push(OfNode { file, last, proved: 0 });
        }
        known.extend(newest.iter().map(|point| (point.size, point.clone())));
        Ok(Self { newest, known, nodes, folder: folder.to_owned() })
    }

    /// The newest checkpoint with the quorum that was proved.
    pub fn newest(&self) -> Option<&Point> {
        self.newest.as_ref()
    }

    /// Records under the last checkpoint of a node that was taken.
    pub fn size_at(&self, at: usize) -> u64 {
        self.nodes.get(at).and_then(|node| node.last.as_ref()).map_or(0, |point| point.size)
    }

    /// The nodes that showed at least this size.
    pub fn with(&self, size: u64) -> Vec<usize> {
        (0..self.nodes.len()).filter(|at| self.size_at(*at) >= size).collect()
    }

    /// Holds a checkpoint that a node shows against all that is known, and takes it if nothing speaks against it and nothing
    /// remains to be proved. An error is this machine's: it could not be kept.
    pub fn hold(&mut self, at: usize, mut point: Point, proved: &Proved) -> Result<Held, String> {
        let other = self.known.get(&point.size).filter(|known| known.root != point.root).cloned();
        // What the quorum signed stands, whoever else signed what else for that size before.
        if let Some(other) = other.as_ref().filter(|other| other.quorum || !point.quorum) {
            return Ok(Held::Said(Shown::Fork(other.clone(), point)));
        }
        let Some(node) = self.nodes.get(at) else { return Ok(Held::Said(Shown::Well)) };
        if let Some(last) = node.last.as_ref().filter(|last| last.size > point.size) {
            return Ok(Held::Said(Shown::Rollback(last.clone(), point)));
        }
        let own = proved.own.is_some() || node.proved >= point.size;
        // Its own tiles must give it, and from the last settled one before it.
        let before = || self.known.range(..point.size).rev().map(|(_, known)| known).find(|known| known.settled).unwrap_or(&point).clone();
        point.settled = match &self.newest {
            // There is nothing that it could continue yet: the first one with the quorum is where the proofs begin.
            None if point.quorum && !own => return Ok(Held::Own(before())),
            None => point.quorum,
            // The newest may have moved while it was proved.
            Some(newest) if newest.size < point.size && proved.own != Some(newest.tree()) => return Ok(Held::Own(newest.clone())),
            Some(newest) if newest.size < point.size => point.quorum,
            Some(newest) => {
                let settled = self.known.get(&point.size).is_some_and(|known| known.settled && known.root == point.root);
                if !settled && !proved.begins {
                    return Ok(Held::Beginning(newest.clone()));
                }
                if !own {
                    return Ok(Held::Own(before()));
                }
                true
            }
        };
        self.take(at, &point)?;
        Ok(Held::Said(other.map_or(Shown::Well, |other| Shown::Fork(other, point))))
    }

    /// Keeps a checkpoint that fits all that is known.
    fn take(&mut self, at: usize, point: &Point) -> Result<(), String> {
        let Some(node) = self.nodes.get_mut(at) else { return Ok(()) };
        // Only before there is anything to continue is one taken unproved, if it has not the quorum either.
        if point.quorum || self.newest.is_some() {
            node.proved = point.size;
        }
        if node.last.as_ref().is_none_or(|last| last.note != point.note) {
            write_whole(&node.file, &point.note)?;
        }
        node.last = Some(point.clone());
        if point.quorum && self.newest.as_ref().is_none_or(|newest| newest.size < point.size) {
            write_whole(&self.folder.join(NEWEST), &point.note)?;
            self.newest = Some(point.clone());
        }
        if self.known.get(&point.size).is_none_or(|known| point.quorum || !known.quorum) {
            self.known.insert(point.size, point.clone());
        }
        while self.known.len() > KNOWN {
            // Those that a stolen key may have made go first.
            let loose = self.known.iter().rev().find(|(_, known)| !known.settled).map(|(size, _)| *size);
            match loose {
                Some(size) => drop(self.known.remove(&size)),
                None => drop(self.known.pop_first()),
            }
        }
        Ok(())
    }
}

/// The file of a node's last checkpoint.
fn file_of(name: &str) -> String {
    format!("last-{}.note", hex::encode(sha256(name.as_bytes()).get(..8).unwrap_or_default()))
}

/// A checkpoint that was kept, if there is one.
fn kept(path: &Path, trust: &Trust) -> Result<Option<Point>, String> {
    let say = |why: String| format!("{}: {why}; move it away only if you know why it is so", path.display());
    let note = match read_at_most(path, MAX_NOTE) {
        Ok(note) => note.ok_or_else(|| say("it is too large for a checkpoint".into()))?,
        Err(_) if matches!(path.try_exists(), Ok(false)) => return Ok(None),
        Err(error) => return Err(say(error.to_string())),
    };
    Point::of(&note, trust).map(Some).map_err(say)
}
