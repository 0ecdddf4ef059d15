//! Keeps one outside witness fed: each newest checkpoint that the ledger key has signed is shown to
//! it, one question at a time. Checkpoints that were overtaken meanwhile are left out.

use super::client::WitnessClient;
use super::protocol::AskError;
use crate::edge::Edge;
use crate::metrics::Metrics;
use crate::peers::Peers;
use crate::runtime::now_ms;
use crate::witness::WitnessOffice;
use std::sync::Arc;
use std::time::Duration;
use vermilion_ledger::SignedNote;
use vermilion_storage::Store;

/// The pause after the first failure that may pass; it doubles with each further one.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// The longest pause, and the one after an answer that somebody must mend. Then the newest is shown again, though no newer
/// one has come: under `closed` nothing else publishes it.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// The task of one witness.
pub struct Feeder {
    /// Asks it.
    pub client: WitnessClient,
    /// Its verifier key as configured: the name of its row in the store.
    pub key: String,
    /// Where checkpoints come from and cosignatures go.
    pub office: Arc<WitnessOffice>,
    /// Who hears of cosignatures.
    pub peers: Peers,
    /// This node's Raft id.
    pub id: u64,
    /// Keeps what the witness cosigned last.
    pub store: Store,
    /// Proves.
    pub edge: Arc<Edge>,
    /// Counts.
    pub metrics: Arc<Metrics>,
}

impl Feeder {
    /// Runs until the node stops.
    pub async fn run(self) {
        let name = self.client.witness().name.clone();
        let mut at = match self.store.outside(&self.key) {
            Ok(at) => at,
            Err(error) => {
                // Not fatal: the witness itself says where it is.
                tracing::warn!(witness = name, %error, "what the witness cosigned last is not known");
                0
            }
        };
        let mut news = self.office.watch_signed();
        let (mut done, mut pause) = (0, FIRST_PAUSE);
        loop {
            let size = *news.borrow_and_update();
            if size <= done {
                if news.changed().await.is_err() {
                    return;
                }
                continue;
            }
            match self.feed(&mut at, size).await {
                Ok(()) => {
                    self.metrics.outside_cosigned(&name, size);
                    (done, pause) = (size, FIRST_PAUSE);
                }
                Err(error) => {
                    self.metrics.outside_failed(&name, error.code());
                    if error.may_pass() {
                        tracing::warn!(witness = name, size, code = error.code(), %error, "an outside witness did not cosign");
                    } else {
                        tracing::error!(witness = name, size, code = error.code(), %error, "an outside witness refuses the checkpoint");
                        // Once somebody has mended it, what passes by itself is asked again soon.
                        pause = FIRST_PAUSE;
                    }
                    tokio::time::sleep(if error.may_pass() { pause } else { LONGEST_PAUSE }).await;
                    if error.may_pass() {
                        pause = (pause * 2).min(LONGEST_PAUSE);
                    }
                }
            }
        }
    }

    async fn feed(&self, at: &mut u64, size: u64) -> Result<(), AskError> {
        let local = |why: &dyn std::fmt::Display| AskError::Local(why.to_string());
        let note = self.store.checkpoint(size).map_err(|e| local(&e))?.ok_or_else(|| local(&"the checkpoint is not kept"))?;
        let note = SignedNote::parse(&note).map_err(|e| local(&e))?;
        let tree = self.edge.tree();
        if tree.size() < size {
            return Err(local(&"the node is still applying its log"));
        }
        let prove = |old: u64| tree.consistency(&self.store, old, size).map_err(|e| e.to_string());
        let line = self.client.cosign(at, size, &note, now_ms() / 1000, prove).await?;
        let whole = self.office.add_outside(size, line).await.map_err(|e| local(&e))?;
        self.store.put_outside(&self.key, size).map_err(|e| local(&e))?;
        self.office.show(self.id, &self.peers, &whole);
        Ok(())
    }
}
