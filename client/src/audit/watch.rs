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
//! Each node is looked at in a task of its own, and judged when that is done or its time is over: a slow one holds up
//! nothing that is found at another, and a round for no longer than that time.

use super::alarm::{Alarm, Base, Kind, Standing};
use super::look::{Followed, Look, Shown};
use super::web::Web;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;
use vermilion_ledger::Trust;

/// What an alarm says, in English and Chinese, and the two notes that prove it.
type Said = (String, String, Option<[Vec<u8>; 2]>);

/// A node that is followed.
struct Node {
    name: String,
    /// The size below the quorum, beyond the newest, that it showed first, and when: until the newest
    /// comes to that size.
    ahead: Option<(u64, u64)>,
    /// Since when it has shown the newest checkpoint, or could be asked, last.
    well_ms: u64,
    up: bool,
    standing: BTreeSet<Kind>,
}

/// How long is waited.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// For a node that stays behind, or cannot be asked, before there is an alarm.
    pub stall: Duration,
    /// For one look at a node: its checkpoint and all that proves it.
    pub look: Duration,
}

/// A watch over several nodes of one ledger.
pub struct Watch {
    followed: Arc<Followed>,
    nodes: Vec<Node>,
    /// Size of the newest one when a node was judged last, and when it moved; 0 while it has not.
    newest: u64,
    moved_ms: u64,
    patience: Patience,
    folder: PathBuf,
}

/// A round under way: every node is looked at once. Dropped, it ends.
pub struct Round(JoinSet<Result<Look, String>>);

impl Round {
    /// The next node that was looked at; none when all were.
    pub async fn next(&mut self) -> Option<Result<Look, String>> {
        Some(self.0.join_next().await?.unwrap_or_else(|error| Err(error.to_string())))
    }
}

impl Watch {
    /// Over these nodes, by name and place; goes on from what stands in `folder`. A file there that is
    /// not a checkpoint of this ledger is refused: what was seen before is what a rollback is known by.
    pub fn open(nodes: Vec<(String, Web)>, trust: Trust, folder: &Path, patience: Patience, now_ms: u64) -> Result<Self, String> {
        let followed = Arc::new(Followed::open(&nodes, trust, folder)?);
        let node = |(name, _)| Node { name, ahead: None, well_ms: now_ms, up: false, standing: BTreeSet::new() };
        let nodes = nodes.into_iter().map(node).collect();
        let newest = base(&followed).size;
        Ok(Self { followed, nodes, newest, moved_ms: 0, patience, folder: folder.to_owned() })
    }

    /// How the nodes stand.
    #[must_use]
    pub fn standing(&self) -> BTreeMap<String, Standing> {
        let seen = self.followed.seen();
        let standing =
            |(at, node): (usize, &Node)| Standing { up: node.up, size: seen.size_at(at), alarms: node.standing.iter().copied().collect() };
        self.nodes.iter().enumerate().map(|node| (node.1.name.clone(), standing(node))).collect()
    }

    /// The newest checkpoint with the quorum that was proved.
    #[must_use]
    pub fn base(&self) -> Base {
        base(&self.followed)
    }

    /// Looks at every node, all at once.
    #[must_use]
    pub fn look(&self) -> Round {
        Round((0..self.nodes.len()).map(|at| Arc::clone(&self.followed).look(at, self.patience.look)).collect())
    }

    /// Turns what a look has shown into alarms that do not stand yet, their evidence kept. An alarm that stands already is not
    /// raised again until it was gone. An error is this machine's: nothing could be kept.
    pub fn judge(&mut self, look: Result<Look, String>, now_ms: u64) -> Result<Vec<Alarm>, String> {
        let Look { at, shown, size } = look?;
        let (newest, shown_size) = (self.base().size, self.followed.seen().size_at(at));
        if std::mem::replace(&mut self.newest, newest) != newest {
            self.moved_ms = now_ms;
        }
        let stall_ms = u64::try_from(self.patience.stall.as_millis()).unwrap_or(u64::MAX);
        let Some(node) = self.nodes.get_mut(at) else { return Ok(Vec::new()) };
        node.up = !matches!(shown, Shown::Nothing(_));
        node.ahead = match (size, node.ahead) {
            (None, ahead) => ahead,
            (Some((size, quorum)), _) if quorum || size <= newest => None,
            (Some((size, _)), Some((first, since))) if first > newest && first <= size => Some((first, since)),
            (Some((size, _)), _) => Some((size, now_ms)),
        };
        if matches!(shown, Shown::Well) && shown_size >= newest {
            node.well_ms = now_ms;
        }
        let mut now: BTreeMap<Kind, Said> = BTreeMap::new();
        let late = now_ms.saturating_sub(node.well_ms) >= stall_ms;
        // The quorum went on after the time was over, and still has not come to what this node showed.
        let passed = node.ahead.filter(|(size, since)| *size > newest && self.moved_ms >= since.saturating_add(stall_ms));
        // It was proved, and nobody vouches for what is beyond the newest: that one has not moved for as long.
        let alone = node.ahead.filter(|(size, since)| *size > newest && now_ms.saturating_sub(self.moved_ms.max(*since)) >= stall_ms);
        match shown {
            Shown::Well | Shown::NotYet(_) | Shown::Nothing(_) if passed.is_some() => {
                let size = passed.map_or(0, |(size, _)| size);
                let (en, zh) = (
                    format!("The node shows {size} records without the quorum, which went on to {newest} and did not come there in time."),
                    format!("节点所示{size}条记录的检查点未达联署数；达到联署数的检查点已至{newest}条，逾时仍未及此。"),
                );
                now.insert(Kind::Divergence, (en, zh, None));
            }
            Shown::Well if alone.is_some() => {
                let (en, zh) = (
                    format!("The node shows {shown_size} records, and the quorum has signed no more than {newest} all the time since."),
                    format!("节点所示已至{shown_size}条记录，而达到联署数的检查点一直停留在{newest}条。"),
                );
                now.insert(Kind::NoQuorum, (en, zh, None));
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
        let mut alarms = Vec::new();
        for (kind, (en, zh, evidence)) in now.into_iter().filter(|(kind, _)| !before.contains(kind)) {
            let mut alarm = Alarm { kind, node: node.name.clone(), at_ms: now_ms, en, zh, evidence, files: Vec::new() };
            alarm.keep(&self.folder)?;
            alarms.push(alarm);
        }
        Ok(alarms)
    }
}

fn base(followed: &Followed) -> Base {
    followed.seen().newest().map_or(Base::default(), |point| Base { size: point.size, as_of_s: point.as_of_s })
}
