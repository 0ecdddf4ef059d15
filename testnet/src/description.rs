//! `testnet.json`: where the nodes of a test ledger are, for scripts and for whoever starts it again.

use crate::error::TestnetError;
use crate::staging::Staging;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// One node, for scripts.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
pub struct TestNode {
    /// Its name.
    pub name: String,
    /// Address of its gRPC listener.
    pub grpc: String,
    /// Address of its REST listener.
    pub http: String,
    /// Its process; 0 when it is down.
    pub pid: i32,
    /// Its data directory.
    pub data_dir: PathBuf,
}

/// `testnet.json`.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
pub struct Testnet {
    /// The nodes.
    pub nodes: Vec<TestNode>,
    /// Path of the client's configuration.
    pub client: PathBuf,
    /// Where certificates are asked for; none of a ledger without TLS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enrolment: Option<String>,
    /// Whether the sample units, operators and catalogue are registered, all of them: an `up` that was broken off before goes on
    /// with them. A file that does not say is of a time when nobody asked.
    #[serde(default = "yes")]
    pub populated: bool,
    /// Whether nothing of them is to be registered, as was asked when the ledger was founded.
    #[serde(default)]
    pub empty: bool,
}

fn yes() -> bool {
    true
}

impl Testnet {
    /// Whether there is a ledger in a folder.
    #[must_use]
    pub fn is_there(dir: &Path) -> bool {
        dir.join("testnet.json").exists()
    }

    /// Reads `testnet.json` of a folder.
    pub fn load(dir: &Path) -> Result<Self, TestnetError> {
        if !Self::is_there(dir) {
            return Err(TestnetError::Usage(format!("{}: there is no test ledger", dir.display())));
        }
        Self::read(dir, dir)
    }

    /// Reads the description that lies in `from`, of a ledger in `dir`: one that was moved or copied still names its old place.
    fn read(from: &Path, dir: &Path) -> Result<Self, TestnetError> {
        let path = from.join("testnet.json");
        let text = std::fs::read_to_string(&path).map_err(|e| TestnetError::File(path.clone(), e))?;
        let read: Self = serde_json::from_str(&text).map_err(|e| TestnetError::Setup(format!("{}: {e}", path.display())))?;
        let dir = &std::path::absolute(dir).map_err(|e| TestnetError::File(dir.into(), e))?;
        let here = |node: TestNode| {
            let data = node.data_dir.file_name().unwrap_or("data".as_ref());
            TestNode { data_dir: Self::node_dir(dir, &node.name).join(data), ..node }
        };
        Ok(Self { client: dir.join("client.toml"), nodes: read.nodes.into_iter().map(here).collect(), ..read })
    }

    /// The ledger that is made in a folder, though it may not stand there yet: what is asked for anew goes on with it.
    pub fn made(dir: &Path) -> Result<Option<Self>, TestnetError> {
        Staging::described(dir).map(|from| Self::read(&from, dir)).transpose()
    }

    /// Whether a listener of its nodes has a port.
    #[must_use]
    pub fn has_port(&self, port: u16) -> bool {
        let end = format!(":{port}");
        self.nodes.iter().any(|node| node.grpc.ends_with(&end) || node.http.ends_with(&end))
    }

    /// Writes it, whole or not at all.
    pub fn save(&self, dir: &Path) -> Result<(), TestnetError> {
        let text = serde_json::to_string_pretty(self).map_err(|e| TestnetError::Setup(e.to_string()))?;
        let (path, new) = (dir.join("testnet.json"), dir.join("testnet.json.new"));
        std::fs::write(&new, text).and_then(|()| std::fs::rename(&new, &path)).map_err(|e| TestnetError::File(path, e))
    }

    /// The folder of a node's configuration and log.
    #[must_use]
    pub fn node_dir(dir: &Path, name: &str) -> PathBuf {
        dir.join("nodes").join(name)
    }
}

/// Why a ledger that is there is not started under other ports.
#[must_use]
pub fn other_ports(dir: &Path) -> TestnetError {
    TestnetError::Usage(format!("{} is a ledger that keeps its ports: leave --base-port out, or name another folder", dir.display()))
}

/// Why a ledger that is there is not taken for the one that was asked for.
#[must_use]
pub fn other_ledger(dir: &Path, testnet: &Testnet) -> TestnetError {
    let nodes = testnet.nodes.len();
    TestnetError::Usage(format!("{} is a ledger of {nodes} nodes: leave --nodes out, or name another folder", dir.display()))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::cluster::Up;
    use crate::layout::found;
    use crate::sample::Sample;

    #[test]
    fn a_description_of_before_counts_as_populated() {
        let old = r#"{"nodes":[],"client":"/t/client.toml"}"#;
        let read: Testnet = serde_json::from_str(old).unwrap();
        assert!(read.populated && !read.empty);
    }

    #[test]
    fn a_ledger_that_was_moved_is_described_where_it_is() {
        let (folder, sample) = (tempfile::tempdir().unwrap(), Sample::load().unwrap());
        let (old, new) = (folder.path().join("old"), folder.path().join("new"));
        let made = found(&old, &Up { nodes: 1, base_port: None, tls: None, empty: false }, sample.units()).unwrap().testnet;
        std::fs::rename(&old, &new).unwrap();
        assert_eq!(Testnet::load(&old).unwrap_err().exit(), 2, "there is none any more");
        let moved = Testnet::load(&new).unwrap();
        assert_eq!((&moved.client, &moved.nodes[0].data_dir), (&new.join("client.toml"), &new.join("nodes/city/data")));
        assert_eq!((moved.nodes[0].grpc == made.nodes[0].grpc, moved.has_port(1)), (true, false));
    }
}
