//! What a place's own tiles prove of two checkpoints.
//!
//! The root of a larger tree is made of the full tiles along its right edge, up to 255 of each level. Full tiles never change:
//! those of which a signed root was made are kept, and of the next, larger tree only those are asked for that are new. So are
//! those that came before a deadline cut the rest off: a slow place gets on from round to round. At most the edges of two
//! trees, 16 MiB for 2³² leaves.

use super::tiles::hashes;
use super::web::{Unanswered, Web};
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::task::{JoinSet, spawn_blocking};
use vermilion_crypto::Digest;
use vermilion_ledger::{TILE_HEIGHT, TILE_LEN, TILE_WIDTH, TileStore, Tree, TreeError, check_consistency, tile_path};
use vermilion_proto::Bytes;

/// Tiles that one place is asked for at once.
const AT_ONCE: usize = 16;

/// What the hashes say of an older and a newer checkpoint.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Continues {
    Yes,
    /// The tiles prove that the newer tree began with another root.
    No,
    /// The tiles that are served do not give the newer root, or prove nothing of it.
    OtherTiles,
    /// Who serves them says that it cannot yet.
    NotYet(String),
    /// It could not be found out.
    Unknown(String),
}

impl From<Unanswered> for Continues {
    fn from(why: Unanswered) -> Self {
        match why {
            Unanswered::NotYet(_) => Self::NotYet(why.to_string()),
            Unanswered::Failed(_) => Self::Unknown(why.to_string()),
        }
    }
}

/// A tile's level and index.
type At = (u8, u64);
/// Full tiles.
type Tiles = BTreeMap<At, Bytes>;

/// The indices of the full tiles of a level of which a tree's root is made.
fn edge(size: u64, level: u8) -> Range<u64> {
    let full = size.checked_shr(u32::from(TILE_HEIGHT) * (u32::from(level) + 1)).unwrap_or(0);
    full - full % TILE_WIDTH as u64..full
}

/// The tiles that one place serves.
pub struct OwnTiles {
    web: Web,
    kept: Mutex<Tiles>,
}

impl OwnTiles {
    /// Those of a place.
    pub fn new(web: Web) -> Self {
        Self { web, kept: Mutex::default() }
    }

    /// The place.
    pub fn web(&self) -> &Web {
        &self.web
    }

    fn kept(&self) -> MutexGuard<'_, Tiles> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether an older tree (size and root) is the beginning of a newer one that the place serves. Tiles are anybody's word,
    /// and not all of them are read to make the newer root. So they must first prove which root the newer tree had at the older
    /// size: there is only one for which a proof holds. If it does not hold, the tiles are wrong, whatever the older
    /// checkpoint says. It may be broken off at any time.
    pub async fn continue_to(&self, old: (u64, Digest), new: (u64, Digest)) -> Continues {
        self.compare(old, new).await.unwrap_or_else(Continues::from)
    }

    async fn compare(&self, old: (u64, Digest), new: (u64, Digest)) -> Result<Continues, Unanswered> {
        let width = usize::try_from(new.0 % TILE_WIDTH as u64).unwrap_or_default();
        let tail = match width {
            0 => Some(Vec::new()),
            width => hashes(&self.web, 0, new.0 / TILE_WIDTH as u64, width).await?,
        };
        let Some(tail) = tail else { return Ok(Continues::Unknown("the last tile is not served".into())) };
        let mut tiles = {
            let mut kept = self.kept();
            kept.retain(|(level, index), _| [old.0, new.0].iter().any(|size| edge(*size, *level).contains(index)));
            kept.clone()
        };
        let mut fresh = tiles.is_empty();
        loop {
            let found = self.prove(&mut tiles, &tail, old, new).await?;
            if !matches!(found, Continues::No | Continues::OtherTiles) {
                return Ok(found);
            }
            // What was kept is of a root that some trusted key signed, and one may be stolen: nobody is judged by it.
            tiles.clear();
            self.kept().clear();
            if std::mem::replace(&mut fresh, true) {
                return Ok(found);
            }
        }
    }

    /// What the tiles say, those that are at hand and those that the place serves beside them.
    async fn prove(&self, tiles: &mut Tiles, tail: &[Digest], old: (u64, Digest), new: (u64, Digest)) -> Result<Continues, Unanswered> {
        let wanted = (0..8).flat_map(|level| edge(new.0, level).map(move |index| (level, index)));
        let wanted: Vec<At> = wanted.filter(|at| !tiles.contains_key(at)).collect();
        self.fetch(wanted, tiles).await?;
        let (held, tail) = (tiles.clone(), tail.to_vec());
        // Some 65,000 hashes a level.
        let tree = match spawn_blocking(move || Tree::rebuild(new.0, &Held(&held), &tail)).await {
            Ok(Ok(tree)) => tree,
            Ok(Err(error)) => return Ok(Continues::Unknown(error.to_string())),
            Err(error) => return Ok(Continues::Unknown(error.to_string())),
        };
        if tree.root() != new.1 {
            return Ok(Continues::OtherTiles);
        }
        // A few more lead to the older tree's edge: one or two a level.
        let (begun, proof) = loop {
            let store = Held(tiles);
            match tree.root_at(&store, old.0).and_then(|begun| Ok((begun, tree.consistency(&store, old.0, new.0)?))) {
                Ok(found) => break found,
                Err(TreeError::Store(Wanted(level, index))) => self.fetch(vec![(level, index)], tiles).await?,
                Err(other) => return Ok(Continues::Unknown(other.to_string())),
            }
        };
        self.kept().retain(|(level, index), _| edge(new.0, *level).contains(index));
        Ok(match check_consistency(old.0, &begun, new.0, &new.1, &proof) {
            Err(_) => Continues::OtherTiles,
            Ok(()) if begun == old.1 => Continues::Yes,
            Ok(()) => Continues::No,
        })
    }

    /// Asks for tiles, a few at a time. What came is kept, whatever becomes of the rest.
    async fn fetch(&self, wanted: Vec<At>, tiles: &mut Tiles) -> Result<(), Unanswered> {
        let (mut wanted, mut asked) = (wanted.into_iter(), JoinSet::new());
        loop {
            for (level, index) in wanted.by_ref().take(AT_ONCE.saturating_sub(asked.len())) {
                let web = self.web.clone();
                asked.spawn(async move { (level, index, web.get(&tile_path(level, index, TILE_WIDTH)).await) });
            }
            let Some(answer) = asked.join_next().await else { return Ok(()) };
            let (level, index, tile) = answer.map_err(|error| Unanswered::Failed(error.to_string()))?;
            let Some(tile) = tile?.filter(|tile| tile.len() == TILE_LEN).map(Bytes::from) else {
                return Err(Unanswered::Failed(Wanted(level, index).to_string()));
            };
            self.kept().insert((level, index), tile.clone());
            tiles.insert((level, index), tile);
        }
    }
}

/// A tile that is not at hand: of which level, and its index.
#[derive(Debug, thiserror::Error)]
#[error("tile {1} of level {0} is not served")]
struct Wanted(u8, u64);

/// The tiles at hand.
struct Held<'a>(&'a Tiles);

impl TileStore for Held<'_> {
    type Error = Wanted;
    fn tile(&self, level: u8, index: u64) -> Result<Option<Vec<u8>>, Wanted> {
        self.0.get(&(level, index)).map(|tile| Some(tile.to_vec())).ok_or(Wanted(level, index))
    }
}
