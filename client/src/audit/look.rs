//! One look at a node: its checkpoint, held against all that is known, with what the tiles prove.

use super::proved::{Continues, OwnTiles};
use super::seen::{Held, Point, Proved, Seen};
use super::web::Web;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::task::JoinSet;
use vermilion_ledger::Trust;

/// What a node showed.
pub enum Shown {
    Well,
    /// It says itself that it cannot serve what would prove its checkpoint.
    NotYet(String),
    Nothing(String),
    NotSigned(String),
    OtherTiles(Point),
    Rollback(Point, Point),
    Fork(Point, Point),
}

impl Shown {
    /// What the tiles say of an older and a newer checkpoint, one of which is `point`, that the node shows.
    fn of(found: Continues, older: Point, newer: Point, point: Point) -> Self {
        match found {
            Continues::Yes => Self::Well,
            Continues::No => Self::Fork(older, newer),
            Continues::OtherTiles => Self::OtherTiles(point),
            Continues::NotYet(why) => Self::NotYet(why),
            Continues::Unknown(why) => Self::Nothing(why),
        }
    }
}

/// What came of a look.
pub struct Look {
    /// At which of the nodes.
    pub(super) at: usize,
    pub(super) shown: Shown,
    /// The size that it shows, and whether it has the quorum, if it shows a checkpoint.
    pub(super) size: Option<(u64, bool)>,
}

/// The nodes that are followed, and what was seen of them.
pub struct Followed {
    trust: Trust,
    tiles: Vec<OwnTiles>,
    seen: Mutex<Seen>,
}

impl Followed {
    /// By name and place; see [`Seen::open`].
    pub fn open(nodes: &[(String, Web)], trust: Trust, folder: &Path) -> Result<Self, String> {
        let seen = Seen::open(nodes.iter().map(|(name, _)| name.as_str()), &trust, folder)?;
        let tiles = nodes.iter().map(|(_, web)| OwnTiles::new(web.clone())).collect();
        Ok(Self { trust, tiles, seen: Mutex::new(seen) })
    }

    /// What was seen. Not to be held while anybody is waited for.
    pub fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks at a node, for so long. An error is this machine's: nothing could be kept.
    pub async fn look(self: Arc<Self>, at: usize, patience: Duration) -> Result<Look, String> {
        let mut size = None;
        let shown = match tokio::time::timeout(patience, self.shown(at, &mut size)).await {
            Ok(shown) => shown?,
            Err(_) => Shown::Nothing(format!("it was not done within {} s", patience.as_secs())),
        };
        Ok(Look { at, shown, size })
    }

    async fn shown(self: &Arc<Self>, at: usize, size: &mut Option<(u64, bool)>) -> Result<Shown, String> {
        let Some(own) = self.tiles.get(at) else { return Ok(Shown::Well) };
        let note = match own.web().get("checkpoint").await {
            Ok(Some(note)) => note,
            Ok(None) => return Ok(Shown::Nothing("it serves no checkpoint".into())),
            Err(why) => return Ok(Shown::Nothing(why.into())),
        };
        let point = match Point::of(&note, &self.trust) {
            Ok(point) => point,
            Err(why) => return Ok(Shown::NotSigned(why)),
        };
        *size = Some((point.size, point.quorum));
        let mut proved = Proved::default();
        // Others are looked at meanwhile: what remains to be proved is asked anew each time.
        loop {
            let held = self.seen().hold(at, point.clone(), &proved)?;
            match held {
                Held::Said(shown) => return Ok(shown),
                Held::Own(before) => match own.continue_to(before.tree(), point.tree()).await {
                    Continues::Yes => proved.own = Some(before.tree()),
                    found => return Ok(Shown::of(found, before, point.clone(), point)),
                },
                Held::Beginning(newest) => match self.is_beginning(&point, &newest).await {
                    Continues::Yes => proved.begins = true,
                    found => return Ok(Shown::of(found, point.clone(), newest, point)),
                },
            }
        }
    }

    /// Whether a checkpoint is a beginning of the newest one. A node's own tiles reach as far as its own
    /// checkpoint: others must have the rest. What one of them does not show, another may; so all are asked at once.
    async fn is_beginning(self: &Arc<Self>, point: &Point, newest: &Point) -> Continues {
        let (old, new, mut asked) = (point.tree(), newest.tree(), JoinSet::new());
        for other in self.seen().with(newest.size) {
            let followed = Arc::clone(self);
            asked.spawn(async move {
                let Some(tiles) = followed.tiles.get(other) else { return Continues::Unknown("there is no such node".into()) };
                match tiles.continue_to(old, new).await {
                    // That speaks against the one that serves them, not against this checkpoint.
                    Continues::OtherTiles => Continues::Unknown(format!("the tiles of {} do not give the newer tree", tiles.web().base())),
                    Continues::NotYet(why) => Continues::Unknown(why),
                    found => found,
                }
            });
        }
        let mut found = Continues::Unknown("no node serves the newer tree".into());
        while let Some(answer) = asked.join_next().await {
            match answer {
                Ok(proved @ (Continues::Yes | Continues::No)) => return proved,
                Ok(other) => found = other,
                Err(error) => found = Continues::Unknown(error.to_string()),
            }
        }
        found
    }
}
