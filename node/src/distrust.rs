//! Whom the operators distrust as a leader: kept in the data directory, so that a restart does not bring it back.

use crate::keys::write_whole;
use crate::runtime::Event;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::mpsc::SyncSender;
use std::sync::{Mutex, PoisonError};

const NAME: &str = "distrusted.json";
/// Nodes that are distrusted at once.
const MAX_DISTRUSTED: usize = 64;

/// The distrusted nodes' Raft ids.
pub struct Distrusted {
    path: PathBuf,
    ids: Mutex<BTreeSet<u64>>,
}

impl Distrusted {
    /// What stands in the data directory.
    pub fn open(data_dir: &Path) -> Result<Self, String> {
        let path = data_dir.join(NAME);
        let ids = match std::fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(|e| format!("{}: {e}", path.display()))?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => BTreeSet::new(),
            Err(error) => return Err(format!("{}: {error}", path.display())),
        };
        Ok(Self { path, ids: Mutex::new(ids) })
    }

    /// Tells the driver of all of them: it begins with none.
    pub fn tell(&self, driver: &SyncSender<Event>) {
        for id in &*self.ids.lock().unwrap_or_else(PoisonError::into_inner) {
            tracing::warn!(node = id, "distrusted as a leader, until an operator trusts it again");
            let _ = driver.send(Event::Distrust(*id, true));
        }
    }

    /// Keeps that a node is distrusted, or is no more.
    pub fn set(&self, id: u64, on: bool) -> Result<(), String> {
        let mut ids = self.ids.lock().unwrap_or_else(PoisonError::into_inner);
        let mut next = ids.clone();
        match on {
            true if next.len() >= MAX_DISTRUSTED => return Err("too many nodes are distrusted".into()),
            true => next.insert(id),
            false => next.remove(&id),
        };
        let text = serde_json::to_vec(&next).map_err(|e| e.to_string())?;
        write_whole(&self.path, &text).map_err(|e| e.to_string())?;
        *ids = next;
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_restart_remembers_whom_the_operators_distrust() {
        let dir = tempfile::tempdir().unwrap();
        let told = || {
            let (driver, events) = std::sync::mpsc::sync_channel(8);
            Distrusted::open(dir.path()).unwrap().tell(&driver);
            drop(driver);
            events.into_iter().map(|event| matches!(event, Event::Distrust(3, true))).collect::<Vec<_>>()
        };
        assert!(told().is_empty());
        let distrusted = Distrusted::open(dir.path()).unwrap();
        distrusted.set(3, true).unwrap();
        assert_eq!(told(), [true]);
        distrusted.set(3, false).unwrap();
        assert!(told().is_empty());
        std::fs::write(dir.path().join(NAME), "3").unwrap();
        assert!(Distrusted::open(dir.path()).is_err());
    }
}
