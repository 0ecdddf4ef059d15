//! Copies of the data directory, made while the node runs, when an operator asks for one.

use crate::node::Node;
use crate::runtime::now_ms;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use tonic::Status;
use vermilion_storage::{UNFINISHED, is_backup};

/// Copies that may lie in the folder at once: whoever may ask cannot fill the disk.
const MAX_BACKUPS: usize = 16;

/// Makes the folder ready: what a broken copy left goes. Answers how many copies lie there.
fn tidy(folder: &Path) -> std::io::Result<usize> {
    std::fs::create_dir_all(folder)?;
    let mut whole = 0;
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if is_backup(&path) && path.extension().is_none() {
            whole += 1;
        } else if path.extension().is_some_and(|end| end == UNFINISHED) {
            std::fs::remove_dir_all(&path)?;
        }
    }
    Ok(whole)
}

/// Whether two folders lie on one file system: files are linked there, and copied elsewhere, for as long as that takes.
fn are_together(one: &Path, other: &Path) -> std::io::Result<bool> {
    Ok(std::fs::metadata(one)?.dev() == std::fs::metadata(other)?.dev())
}

impl Node {
    /// Makes a copy in the folder that the configuration names, and says which. One at a time.
    pub async fn back_up(&self) -> Result<PathBuf, Status> {
        let folder = self
            .backups
            .as_deref()
            .ok_or_else(|| Status::failed_precondition("this node's configuration names no folder for backups: backups = DIR"))?;
        let _one = self.backing_up.try_acquire().map_err(|_| Status::failed_precondition("a backup is being made"))?;
        tokio::task::block_in_place(|| self.copy_into(folder))
    }

    fn copy_into(&self, folder: &Path) -> Result<PathBuf, Status> {
        let failed = |error: &dyn std::fmt::Display| {
            tracing::error!(%error, "a backup was not made");
            Status::failed_precondition(format!("the backup was not made: {error}"))
        };
        let whole = tidy(folder).map_err(|e| failed(&e))?;
        if !are_together(folder, self.store.dir()).map_err(|e| failed(&e))? {
            let why = format!("{} lies on another file system than the data: copying would hold the ledger up", folder.display());
            return Err(Status::failed_precondition(format!("{why}. Name a folder beside the data, and take the copies elsewhere")));
        }
        if whole >= MAX_BACKUPS {
            return Err(Status::failed_precondition(format!("{MAX_BACKUPS} backups lie in {}: take the oldest away", folder.display())));
        }
        let head = self.head().map_err(|e| failed(&e))?;
        let to = folder.join(format!("{}-{:010}-{}", self.me.name, head.size, now_ms()));
        self.store.backup(&to).map_err(|e| failed(&e))?;
        let to = to.canonicalize().unwrap_or(to);
        tracing::info!(folder = %to.display(), records = head.size, "a backup was made");
        Ok(to)
    }
}
