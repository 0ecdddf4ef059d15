//! Copies of the data directory, made while the node runs, when an operator asks for one.

use crate::node::Node;
use crate::runtime::now_ms;
use std::path::{Path, PathBuf};
use vermilion_registry::reason::{Reason, Refusal};

/// Copies that may lie in the folder at once: whoever may ask cannot fill the disk.
const MAX_BACKUPS: usize = 16;

fn refuse(why: impl Into<String>) -> Refusal {
    Refusal::new(Reason::NotAuthorised, why)
}

/// How many copies lie there.
fn count(folder: &Path) -> std::io::Result<usize> {
    match std::fs::read_dir(folder) {
        Ok(entries) => Ok(entries.count()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(0),
        Err(error) => Err(error),
    }
}

impl Node {
    /// Makes a copy in the folder that the configuration names, and says which. One at a time.
    pub async fn back_up(&self) -> Result<PathBuf, Refusal> {
        let folder =
            self.backups.as_deref().ok_or_else(|| refuse("this node's configuration names no folder for backups: backups = DIR"))?;
        let _one = self.backing_up.try_acquire().map_err(|_| Refusal::new(Reason::Busy, "a backup is being made"))?;
        let internal = |error: &dyn std::fmt::Display| {
            tracing::error!(%error, "a backup was not made");
            Refusal::new(Reason::Internal, format!("the backup was not made: {error}"))
        };
        if count(folder).map_err(|e| internal(&e))? >= MAX_BACKUPS {
            return Err(refuse(format!("{MAX_BACKUPS} backups lie in {}: take the oldest away", folder.display())));
        }
        let head = self.head().map_err(|e| internal(&e))?;
        let to = folder.join(format!("{}-{:010}-{}", self.me.name, head.size, now_ms()));
        tokio::task::block_in_place(|| self.store.backup(&to)).map_err(|e| internal(&e))?;
        tracing::info!(folder = %to.display(), records = head.size, "a backup was made");
        Ok(to)
    }
}
