//! Whatever happens to the demonstration, its nodes do not outlive it.

use crate::description::Testnet;
use crate::processes;
use std::path::{Path, PathBuf};

/// Stops the nodes of a folder when it is dropped, unless they were let go.
///
/// Nodes run in process groups of their own, so that a Ctrl-C does not reach them: this does. What
/// it cannot help against is being killed itself; `vermilion-testnet down` finds the nodes then.
pub struct Guard {
    dir: Option<PathBuf>,
}

impl Guard {
    /// Watches over the folder's nodes, from before the first is started.
    #[must_use]
    pub fn new(dir: &Path) -> Self {
        Self { dir: Some(dir.into()) }
    }

    /// Lets the nodes live on.
    pub fn let_go(&mut self) {
        self.dir = None;
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        let Some(dir) = self.dir.take() else { return };
        if let Ok(mut testnet) = Testnet::load(&dir) {
            processes::stop_all(testnet.nodes.iter_mut());
            let _ = testnet.save(&dir);
        }
    }
}
