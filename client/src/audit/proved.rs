//! What a place's own tiles prove of two checkpoints.
//!
//! The root of a larger tree is made of the full tiles along its right edge, up to 255 of each level. Full tiles never change:
//! those of which a signed root was made are kept, and of the next, larger tree only those are asked for that are new. At most
//! 8 MiB for 2³² leaves.

use super::tiles::hashes;
use super::web::{Unanswered, Web};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use tokio::runtime::Handle;
use vermilion_crypto::Digest;
use vermilion_ledger::{TILE_LEN, TILE_WIDTH, TileStore, Tree, TreeError, check_consistency, tile_path};

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

impl Continues {
    fn no_tiles(error: TreeError<Unanswered>) -> Self {
        match error {
            TreeError::Store(why) => why.into(),
            other => Self::Unknown(other.to_string()),
        }
    }
}

impl From<Unanswered> for Continues {
    fn from(why: Unanswered) -> Self {
        match why {
            Unanswered::NotYet(_) => Self::NotYet(why.to_string()),
            Unanswered::Failed(_) => Self::Unknown(why.to_string()),
        }
    }
}

/// Full tiles, by level and index.
type Tiles = BTreeMap<(u8, u64), Vec<u8>>;

/// The tiles that one place serves.
pub struct OwnTiles {
    web: Web,
    /// Those of which the last root that they gave was made.
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

    /// Whether an older tree (size and root) is the beginning of a newer one that the place serves. Tiles are anybody's word,
    /// and not all of them are read to make the newer root. So they must first prove which root the newer tree had at the older
    /// size: there is only one for which a proof holds. If it does not hold, the tiles are wrong, whatever the older
    /// checkpoint says.
    pub async fn continue_to(&self, old: (u64, Digest), new: (u64, Digest)) -> Continues {
        let width = usize::try_from(new.0 % TILE_WIDTH as u64).unwrap_or_default();
        let tail = match width {
            0 => Ok(Some(Vec::new())),
            width => hashes(&self.web, 0, new.0 / TILE_WIDTH as u64, width).await,
        };
        let tail = match tail {
            Ok(Some(tail)) => tail,
            Ok(None) => return Continues::Unknown("the last tile is not served".into()),
            Err(why) => return why.into(),
        };
        loop {
            let kept = std::mem::take(&mut *self.kept.lock().unwrap_or_else(PoisonError::into_inner));
            let (web, handle, tail) = (self.web.clone(), Handle::current(), tail.clone());
            let proved = tokio::task::spawn_blocking(move || {
                let asked = Asked { web, handle, kept, read: RefCell::default(), used: Cell::new(false) };
                let (found, kept) = prove(&asked, &tail, old, new);
                (found, kept.unwrap_or(asked.kept), asked.used.get())
            });
            let (found, kept, used) = match proved.await {
                Ok(proved) => proved,
                Err(error) => return Continues::Unknown(error.to_string()),
            };
            // What was kept is of a root that some trusted key signed, and one may be stolen: nobody is judged by it.
            if used && matches!(found, Continues::No | Continues::OtherTiles) {
                continue;
            }
            *self.kept.lock().unwrap_or_else(PoisonError::into_inner) = kept;
            return found;
        }
    }
}

/// What the tiles say, and, once the newer root was made of them, those that made it.
fn prove(asked: &Asked, tail: &[Digest], old: (u64, Digest), new: (u64, Digest)) -> (Continues, Option<Tiles>) {
    let tree = match Tree::rebuild(new.0, asked, tail) {
        Ok(tree) => tree,
        Err(error) => return (Continues::no_tiles(error), None),
    };
    if tree.root() != new.1 {
        return (Continues::OtherTiles, None);
    }
    let edge = asked.read.borrow().clone();
    let begun = tree.root_at(asked, old.0).and_then(|begun| Ok((begun, tree.consistency(asked, old.0, new.0)?)));
    let found = match begun {
        Err(error) => Continues::no_tiles(error),
        Ok((begun, proof)) => match check_consistency(old.0, &begun, new.0, &new.1, &proof) {
            Err(_) => Continues::OtherTiles,
            Ok(()) if begun == old.1 => Continues::Yes,
            Ok(()) => Continues::No,
        },
    };
    (found, Some(edge))
}

/// Full tiles, asked for one by one; from threads outside of the runtime.
struct Asked {
    web: Web,
    handle: Handle,
    kept: Tiles,
    read: RefCell<Tiles>,
    /// Whether one of those kept was read.
    used: Cell<bool>,
}

impl TileStore for Asked {
    type Error = Unanswered;
    fn tile(&self, level: u8, index: u64) -> Result<Option<Vec<u8>>, Unanswered> {
        if let Some(bytes) = self.read.borrow().get(&(level, index)) {
            return Ok(Some(bytes.clone()));
        }
        let bytes = match self.kept.get(&(level, index)) {
            Some(bytes) => {
                self.used.set(true);
                bytes.clone()
            }
            None => match self.handle.block_on(self.web.get(&tile_path(level, index, TILE_WIDTH)))? {
                Some(bytes) if bytes.len() == TILE_LEN => bytes,
                _ => return Ok(None),
            },
        };
        self.read.borrow_mut().insert((level, index), bytes.clone());
        Ok(Some(bytes))
    }
}
