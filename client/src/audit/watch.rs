//! `vermilion audit --watch`: stays, asks several nodes for their newest checkpoint again and again, and
//! has each one proved to continue the one before, from the tiles that the nodes serve. Nothing is
//! taken on a node's word: a checkpoint counts when trusted keys signed it, and it continues another
//! when the hashes say so.
//!
//! Only a checkpoint with the trust's whole quorum becomes the newest, which the others are held against:
//! else one stolen key could sign a size that no honest node ever reaches, and so end every comparison.
//! One below the quorum is compared like any other, and nothing is compared with it but its own size.
//!
//! Each node's own tiles must prove what it shows. That others' tiles have proved the same is no word of its own: who shows a
//! good checkpoint may serve another tree beside it, or none. Full tiles never change, so those that it served and that were
//! proved are not asked of it again. A node that says that it is not ready to serve them (503) is given the same time as one
//! that stays behind; then it is said what it says.
//!
//! In memory, and kept on disk for the next start: the newest checkpoint that was proved, and the last
//! one of each node; besides, in memory alone, the newest [`KNOWN`] sizes with their checkpoints, and of each node's tiles
//! the right edge ([`OwnTiles`]). Of each checkpoint only the signature lines of trusted keys: anybody can add others.

use super::alarm::{Alarm, Kind, Standing, write_whole};
use super::proved::{Continues, OwnTiles};
use super::web::{MAX_ANSWER, Web};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;
use vermilion_crypto::{Digest, sha256};
use vermilion_ledger::{Trust, merge, verify};

/// Sizes whose checkpoints are remembered, so that another for the same size is noticed.
const KNOWN: usize = 4096;
/// The largest note that is read from the folder, in bytes: the largest that is taken from a place, so that none is kept
/// which the next start refuses.
const MAX_NOTE: u64 = MAX_ANSWER as u64;
/// The newest checkpoint with the quorum that was proved, in the folder.
const NEWEST: &str = "newest.note";

/// What an alarm says, in English and Chinese, and the two notes that prove it.
type Said = (String, String, Option<[Vec<u8>; 2]>);

/// A checkpoint whose signatures hold.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Point {
    size: u64,
    root: Digest,
    note: Vec<u8>,
    /// Whether all signed it that the trust asks for.
    quorum: bool,
    /// Whether it is the newest one, or was proved to be a beginning of it. One that is larger is not:
    /// the newest may come to go another way.
    settled: bool,
}

impl Point {
    /// With the signature lines of trusted keys alone: at most one a key, in an order of their own.
    fn of(note: &[u8], trust: &Trust) -> Result<Self, String> {
        let verified = verify(note, trust).map_err(|error| error.to_string())?;
        let quorum = verified.check_quorum(trust).is_ok();
        let note = merge(note, note, trust).map_err(|error| error.to_string())?.to_bytes();
        Ok(Self { size: verified.size, root: verified.root, note, quorum, settled: false })
    }

    fn tree(&self) -> (u64, Digest) {
        (self.size, self.root)
    }
}

/// A node that is followed.
struct Node {
    name: String,
    tiles: OwnTiles,
    last: Option<Point>,
    /// The largest size that the tiles which it serves itself have proved, since this start; 0 before the first.
    proved: u64,
    /// The size below the quorum, beyond the newest, that it showed first, and when: until the newest
    /// comes to that size.
    ahead: Option<(u64, u64)>,
    /// Since when it has shown the newest checkpoint, or could be asked, last.
    well_ms: u64,
    up: bool,
    standing: BTreeSet<Kind>,
}

/// A watch over several nodes of one ledger.
pub struct Watch {
    trust: Trust,
    nodes: Vec<Node>,
    newest: Option<Point>,
    /// When the newest one moved last; 0 while it has not.
    moved_ms: u64,
    known: BTreeMap<u64, Point>,
    stall_ms: u64,
    folder: PathBuf,
}

impl Watch {
    /// Over these nodes, by name and place; goes on from what stands in `folder`. A file there that is
    /// not a checkpoint of this ledger is refused: what was seen before is what a rollback is known by.
    pub fn open(nodes: Vec<(String, Web)>, trust: Trust, folder: &Path, stall: Duration, now_ms: u64) -> Result<Self, String> {
        std::fs::create_dir_all(folder).map_err(|e| format!("{}: {e}", folder.display()))?;
        // One without the quorum is of another trust, or of a version that took it for the newest.
        let newest = kept(&folder.join(NEWEST), &trust)?.filter(|point| point.quorum).map(|point| Point { settled: true, ..point });
        let mut known = BTreeMap::new();
        let mut followed = Vec::with_capacity(nodes.len());
        for (name, web) in nodes {
            let last = kept(&folder.join(file_of(&name)), &trust)?;
            known.extend(last.iter().map(|point| (point.size, point.clone())));
            let tiles = OwnTiles::new(web);
            followed.push(Node { name, tiles, last, proved: 0, ahead: None, well_ms: now_ms, up: false, standing: BTreeSet::new() });
        }
        known.extend(newest.iter().map(|point| (point.size, point.clone())));
        let stall_ms = u64::try_from(stall.as_millis()).unwrap_or(u64::MAX);
        Ok(Self { trust, nodes: followed, newest, moved_ms: 0, known, stall_ms, folder: folder.to_owned() })
    }

    /// How the nodes stand.
    #[must_use]
    pub fn standing(&self) -> BTreeMap<String, Standing> {
        let standing = |node: &Node| Standing {
            up: node.up,
            size: node.last.as_ref().map_or(0, |point| point.size),
            alarms: node.standing.iter().copied().collect(),
        };
        self.nodes.iter().map(|node| (node.name.clone(), standing(node))).collect()
    }

    /// Records under the newest checkpoint with the quorum that was proved.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.newest.as_ref().map_or(0, |point| point.size)
    }

    /// Asks every node once. An alarm that stands already is not raised again until it was gone. An
    /// error is this machine's: nothing could be kept.
    pub async fn round(&mut self, now_ms: u64) -> Result<Vec<Alarm>, String> {
        let asked: Vec<_> = self
            .nodes
            .iter()
            .map(|node| {
                let web = node.tiles.web().clone();
                tokio::spawn(async move { web.get("checkpoint").await.map_err(String::from) })
            })
            .collect();
        let mut alarms = Vec::new();
        for (at, answer) in asked.into_iter().enumerate() {
            let answer = answer.await.unwrap_or_else(|e| Err(e.to_string()));
            let found = match answer {
                Ok(Some(note)) => self.shown(at, note, now_ms).await?,
                Ok(None) => Shown::Nothing("it serves no checkpoint".into()),
                Err(why) => Shown::Nothing(why),
            };
            self.judge(at, found, now_ms, &mut alarms);
        }
        for alarm in &mut alarms {
            alarm.keep(&self.folder)?;
        }
        Ok(alarms)
    }

    /// What a node's checkpoint says beside all that is known.
    async fn shown(&mut self, at: usize, note: Vec<u8>, now_ms: u64) -> Result<Shown, String> {
        let newest = self.size();
        let Some(node) = self.nodes.get_mut(at) else { return Ok(Shown::Well) };
        let mut point = match Point::of(&note, &self.trust) {
            Ok(point) => point,
            Err(why) => return Ok(Shown::NotSigned(why)),
        };
        node.ahead = match node.ahead {
            _ if point.quorum || point.size <= newest => None,
            Some((size, since)) if size > newest && size <= point.size => Some((size, since)),
            _ => Some((point.size, now_ms)),
        };
        let other = self.known.get(&point.size).filter(|known| known.root != point.root).cloned();
        // What the quorum signed stands, whoever else signed what else for that size before.
        if let Some(other) = other.as_ref().filter(|other| other.quorum || !point.quorum) {
            return Ok(Shown::Fork(other.clone(), point));
        }
        let against = self.against(at, &mut point).await;
        if against.is_none() {
            self.take(at, &point, now_ms)?;
        }
        Ok(match other {
            Some(other) => Shown::Fork(other, point),
            None => against.unwrap_or(Shown::Well),
        })
    }

    /// What speaks against a checkpoint; nothing if it fits the node's last one and the newest of all, and the node's own tiles
    /// prove it.
    async fn against(&self, at: usize, point: &mut Point) -> Option<Shown> {
        let node = self.nodes.get(at)?;
        if let Some(last) = node.last.as_ref().filter(|last| last.size > point.size) {
            return Some(Shown::Rollback(last.clone(), point.clone()));
        }
        let Some(newest) = &self.newest else {
            // There is nothing that it could continue yet: the first one with the quorum is where the proofs begin.
            point.settled = point.quorum;
            return if point.quorum { self.by_own_tiles(node, point).await } else { None };
        };
        if self.known.get(&point.size).is_some_and(|known| known.settled && known.root == point.root) {
            point.settled = true;
            return self.by_own_tiles(node, point).await;
        }
        let longer = newest.size < point.size;
        let found = if longer { node.tiles.continue_to(newest.tree(), point.tree()).await } else { self.is_beginning(point, newest).await };
        match found {
            Continues::Yes => {
                point.settled = point.quorum || !longer;
                if longer { None } else { self.by_own_tiles(node, point).await }
            }
            Continues::No if longer => Some(Shown::Fork(newest.clone(), point.clone())),
            Continues::No => Some(Shown::Fork(point.clone(), newest.clone())),
            Continues::OtherTiles => Some(Shown::OtherTiles(point.clone())),
            Continues::NotYet(why) => Some(Shown::NotYet(why)),
            Continues::Unknown(why) => Some(Shown::Nothing(why)),
        }
    }

    /// What the node's own tiles say against a checkpoint that needs no other proof: that they do not give its root, or not
    /// from the last settled one before it.
    async fn by_own_tiles(&self, node: &Node, point: &Point) -> Option<Shown> {
        if node.proved >= point.size {
            return None;
        }
        let before = self.known.range(..point.size).rev().map(|(_, known)| known).find(|known| known.settled).unwrap_or(point);
        match node.tiles.continue_to(before.tree(), point.tree()).await {
            Continues::Yes => None,
            Continues::No => Some(Shown::Fork(before.clone(), point.clone())),
            Continues::OtherTiles => Some(Shown::OtherTiles(point.clone())),
            Continues::NotYet(why) => Some(Shown::NotYet(why)),
            Continues::Unknown(why) => Some(Shown::Nothing(why)),
        }
    }

    /// Whether a checkpoint is a beginning of the newest one. A node's own tiles reach as far as its own
    /// checkpoint: others must have the rest. What one of them does not show, another may.
    async fn is_beginning(&self, point: &Point, newest: &Point) -> Continues {
        let mut found = Continues::Unknown("no node serves the newer tree".into());
        for other in self.nodes.iter().filter(|other| other.last.as_ref().is_some_and(|last| last.size >= newest.size)) {
            match other.tiles.continue_to(point.tree(), newest.tree()).await {
                proved @ (Continues::Yes | Continues::No) => return proved,
                // That speaks against the one that serves them, not against this checkpoint.
                Continues::OtherTiles => found = Continues::Unknown(format!("the tiles of {} do not give the newer tree", other.name)),
                Continues::NotYet(why) | Continues::Unknown(why) => found = Continues::Unknown(why),
            }
        }
        found
    }

    /// Keeps a checkpoint that fits all that is known.
    fn take(&mut self, at: usize, point: &Point, now_ms: u64) -> Result<(), String> {
        let Some(node) = self.nodes.get_mut(at) else { return Ok(()) };
        // Only before there is anything to continue is one taken unproved, if it has not the quorum either.
        if point.quorum || self.newest.is_some() {
            node.proved = point.size;
        }
        if node.last.as_ref().is_none_or(|last| last.note != point.note) {
            write_whole(&self.folder.join(file_of(&node.name)), &point.note)?;
        }
        node.last = Some(point.clone());
        if point.quorum && self.newest.as_ref().is_none_or(|newest| newest.size < point.size) {
            write_whole(&self.folder.join(NEWEST), &point.note)?;
            (self.newest, self.moved_ms) = (Some(point.clone()), now_ms);
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

    /// Turns what a node showed into alarms that do not stand yet.
    fn judge(&mut self, at: usize, shown: Shown, now_ms: u64, alarms: &mut Vec<Alarm>) {
        let newest = self.newest.as_ref().map_or(0, |point| point.size);
        let Some(node) = self.nodes.get_mut(at) else { return };
        node.up = !matches!(shown, Shown::Nothing(_));
        let shown_size = node.last.as_ref().map_or(0, |point| point.size);
        if matches!(shown, Shown::Well) && shown_size >= newest {
            node.well_ms = now_ms;
        }
        let mut now: BTreeMap<Kind, Said> = BTreeMap::new();
        let late = now_ms.saturating_sub(node.well_ms) >= self.stall_ms;
        // The quorum went on after the time was over, and still has not come to what this node showed.
        let passed = node.ahead.filter(|(size, since)| *size > newest && self.moved_ms >= since.saturating_add(self.stall_ms));
        match shown {
            Shown::Well | Shown::NotYet(_) | Shown::Nothing(_) if passed.is_some() => {
                let size = passed.map_or(0, |(size, _)| size);
                let (en, zh) = (
                    format!("The node shows {size} records without the quorum, which went on to {newest} and did not come there in time."),
                    format!("节点所示{size}条记录的检查点未达联署数；达到联署数的检查点已至{newest}条，逾时仍未及此。"),
                );
                now.insert(Kind::Divergence, (en, zh, None));
            }
            Shown::Well if late => {
                let (en, zh) = (
                    format!("The node stays at {shown_size} records while {newest} are signed elsewhere."),
                    format!("节点停留在{shown_size}条记录，而别处已签署{newest}条。"),
                );
                now.insert(Kind::Stalled, (en, zh, None));
            }
            Shown::Nothing(why) if late => {
                let en = format!("The node cannot be asked, or what it shows cannot be proved: {why}.");
                now.insert(Kind::Stalled, (en, "节点无法应答，或其所示无法证明。".into(), None));
            }
            Shown::NotYet(why) if late => {
                let (en, zh) = (
                    format!("The node answers, and says that it is not ready yet; nothing that it shows can be proved so far: {why}."),
                    "节点有应答，但自称尚未就绪（正在补齐历史或执行日志），其所示至今无法证明。".into(),
                );
                now.insert(Kind::NotReady, (en, zh, None));
            }
            Shown::Well | Shown::NotYet(_) | Shown::Nothing(_) => {}
            Shown::NotSigned(why) => {
                let en = format!("The node shows a checkpoint that is not one of this ledger's: {why}.");
                now.insert(Kind::Divergence, (en, "节点所示检查点并非本账本有效签署的检查点。".into(), None));
            }
            Shown::OtherTiles(point) => {
                let (en, zh) = (
                    format!("The tiles that the node serves do not give the root that it shows for {} records.", point.size),
                    format!("节点所提供的瓦片与其对{}条记录所示的树根不符。", point.size),
                );
                now.insert(Kind::Divergence, (en, zh, None));
            }
            Shown::Rollback(last, point) => {
                let (en, zh) = (
                    format!("The node shows {} records; it showed {} before.", point.size, last.size),
                    format!("节点现示{}条记录，此前曾示{}条。", point.size, last.size),
                );
                now.insert(Kind::Rollback, (en, zh, Some([last.note, point.note])));
            }
            Shown::Fork(one, other) => {
                let (en, zh) = (
                    format!("Signed checkpoints of {} and {} records are not of one history.", one.size, other.size),
                    format!("对{}条与{}条记录签署的检查点不属于同一历史。", one.size, other.size),
                );
                now.insert(Kind::Fork, (en, zh, Some([one.note, other.note])));
            }
        }
        let before = std::mem::replace(&mut node.standing, now.keys().copied().collect());
        for (kind, (en, zh, evidence)) in now.into_iter().filter(|(kind, _)| !before.contains(kind)) {
            alarms.push(Alarm { kind, node: node.name.clone(), at_ms: now_ms, en, zh, evidence, files: Vec::new() });
        }
    }
}

/// What a node showed.
enum Shown {
    Well,
    /// It says itself that it cannot serve what would prove its checkpoint.
    NotYet(String),
    Nothing(String),
    NotSigned(String),
    OtherTiles(Point),
    Rollback(Point, Point),
    Fork(Point, Point),
}

/// The file of a node's last checkpoint.
fn file_of(name: &str) -> String {
    format!("last-{}.note", hex::encode(sha256(name.as_bytes()).get(..8).unwrap_or_default()))
}

/// A checkpoint that was kept, if there is one.
fn kept(path: &Path, trust: &Trust) -> Result<Option<Point>, String> {
    let say = |why: String| format!("{}: {why}; move it away only if you know why it is so", path.display());
    match std::fs::metadata(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(say(error.to_string())),
        Ok(metadata) if metadata.len() > MAX_NOTE => return Err(say("it is too large for a checkpoint".into())),
        Ok(_) => {}
    }
    let note = std::fs::read(path).map_err(|e| say(e.to_string()))?;
    Point::of(&note, trust).map(Some).map_err(say)
}
