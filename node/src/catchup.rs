//! Catching up when the Raft log no longer reaches back far enough.
//!
//! A snapshot message says only how far the ledger goes. The records themselves come from peers,
//! and each is checked like a command that is new: every signature, then its outcome by replaying
//! it. So a snapshot needs no trust, and takes as long as the records that are missing.

use crate::apply::{Applier, ApplyError};
use crate::peers::Peers;
use raft::eraftpb::Snapshot;
use vermilion_consensus::Applied;
use vermilion_crypto::batch::Batch;
use vermilion_proto::{CatchUpRecord, CatchUpRequest, LedgerHead, Message as _};
use vermilion_registry::submission::{Sealed, open_recorded};
use vermilion_storage::Store;

/// Records asked for at once.
const CHUNK: u64 = 512;
/// Rounds over all peers without any progress before the node gives up and stops.
const PATIENCE: u32 = 120;

/// Fetches missing records.
#[derive(Clone)]
pub struct CatchUp {
    /// The data directory.
    pub store: Store,
    /// The other nodes.
    pub peers: Peers,
    /// Where the requests run.
    pub runtime: tokio::runtime::Handle,
}

fn broken(why: impl Into<String>) -> ApplyError {
    ApplyError::Broken(why.into())
}

impl CatchUp {
    /// Brings the state machine to where the snapshot says. A crash on the way is finished at the
    /// next start ([`CatchUp::finish`]).
    pub fn install(&self, applier: &mut Applier, snapshot: &Snapshot) -> Result<Applied, ApplyError> {
        let manifest = LedgerHead::decode(snapshot.data.as_slice()).map_err(|e| broken(format!("the snapshot's manifest does not decode: {e}")))?;
        self.store.set_installing(Some(&snapshot.data))?;
        tracing::info!(from = applier.head().size, to = manifest.size, "behind the log: fetching records from peers");
        self.fetch(applier, &manifest)?;
        let tip = applier.finish_catch_up(&manifest)?;
        Ok(Applied { index: snapshot.get_metadata().index, tip })
    }

    /// At start: finishes a catch-up that was cut off. The log still ends before it, so the leader
    /// will send a snapshot again; records that are there by then are not fetched twice.
    pub fn finish(&self, applier: &mut Applier) -> Result<(), ApplyError> {
        let Some(bytes) = self.store.installing()? else { return Ok(()) };
        let manifest = LedgerHead::decode(bytes.as_slice()).map_err(|e| broken(format!("the noted manifest does not decode: {e}")))?;
        if applier.head().size < manifest.size {
            self.fetch(applier, &manifest)?;
        }
        applier.finish_catch_up(&manifest).map(|_| ())
    }

    fn fetch(&self, applier: &mut Applier, manifest: &LedgerHead) -> Result<(), ApplyError> {
        let mut idle = 0;
        while applier.head().size < manifest.size {
            let from = applier.head().size;
            let to = manifest.size.min(from + CHUNK);
            let mut got = 0;
            for peer in self.peers.ids() {
                match self.runtime.block_on(self.peers.catch_up(peer, CatchUpRequest { from, to })) {
                    Ok(records) if !records.is_empty() => {
                        got = records.len();
                        self.replay(applier, records)?;
                        break;
                    }
                    Ok(_) => {}
                    Err(error) => tracing::warn!(peer, %error, "records could not be fetched"),
                }
            }
            if got > 0 {
                idle = 0;
                if applier.head().size % (CHUNK * 8) == 0 {
                    tracing::info!(at = applier.head().size, of = manifest.size, "catching up");
                }
                continue;
            }
            idle += 1;
            if idle > PATIENCE {
                return Err(broken(format!("no peer gives the records from {from} on: start this node again when one can be reached")));
            }
            std::thread::sleep(std::time::Duration::from_millis(500));
        }
        Ok(())
    }

    fn replay(&self, applier: &mut Applier, records: Vec<CatchUpRecord>) -> Result<(), ApplyError> {
        let mut batch = Batch::new();
        let mut opened = Vec::with_capacity(records.len());
        for received in records {
            let stored = received.record.ok_or_else(|| broken("a peer sent a record without its bytes"))?;
            let open = vermilion_registry::stored::open_record(&stored).map_err(|e| broken(e.to_string()))?;
            let (envelope, checked) = open_recorded(&open.record.envelope, &stored.items).map_err(|e| broken(e.to_string()))?;
            envelope.queue(&mut batch);
            let sealed = Sealed { ciphertexts: received.ciphertexts, wraps: received.wraps, text: received.text };
            opened.push((stored, checked, sealed));
        }
        batch.verify().map_err(|_| broken("a peer sent a record with a signature that does not hold"))?;
        for (stored, checked, sealed) in opened {
            applier.replay(&stored, checked, sealed)?;
        }
        Ok(())
    }
}
