//! Catching up when the Raft log no longer reaches back far enough.
//!
//! A snapshot message says only how far the ledger goes, and the chain's last hash. First a list of the missing records'
//! hashes comes from a peer, which must lead there (`hashes.rs`). The records themselves come from all peers, and each
//! must be the next one on the list, and is checked like a command that is new: every signature, then its outcome by
//! replaying it. So no peer can bring in what the snapshot does not name; which signed commands that names, in which order
//! and at which times, is the leader's word, which the other nodes are asked about ([`crate::place`]).

use crate::apply::{Applier, ApplyError};
use crate::hashes::Hashes;
use crate::membership::Roster;
use crate::pace::Pace;
use crate::peers::Peers;
use raft::eraftpb::Snapshot;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tonic::Code;
use vermilion_consensus::{Applied, ConfState};
use vermilion_crypto::batch::Batch;
use vermilion_crypto::sha256;
use vermilion_ledger::{Digest, Leaf, Trust};
use vermilion_proto::{
    CatchUpRecord, CatchUpRequest, LedgerHead, Message as _, Outcome, Record, RecordHashesRequest, StoredRecord, VaultWraps, canonical,
};
use vermilion_registry::Checked;
use vermilion_registry::submission::{Sealed, check_form, open_recorded};
use vermilion_storage::{Store, VaultPut};

/// Records asked for at once.
const CHUNK: u64 = 512;
/// Records after which what was replayed is put on the disk, and progress is logged.
const KEEP: u64 = 8 * CHUNK;
/// Rounds over all peers without any progress before the node gives up and stops. Those in which one is busy do not count: it
/// gives to others what it will give to this node.
const PATIENCE: u32 = 120;
/// The pause between two rounds.
const ROUND: Duration = Duration::from_millis(500);

/// Whoever goes by who the nodes are: connections, witnesses.
pub type Follow = Arc<dyn Fn(&Arc<Roster>, &ConfState) + Send + Sync>;

/// Fetches missing records.
#[derive(Clone)]
pub struct CatchUp {
    /// The other nodes.
    pub peers: Peers,
    /// Where the requests run.
    pub runtime: tokio::runtime::Handle,
    /// Told who the nodes are, whenever that may have changed.
    pub follow: Follow,
    /// Whose cosignatures make a quorum, as far as this node knows.
    pub trust: Arc<dyn Fn() -> Arc<Trust> + Send + Sync>,
    /// Told how far it is, for whoever shows it.
    pub progress: watch::Sender<Option<Progress>>,
}

/// How far a catch-up is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Progress {
    /// Records here.
    pub at: u64,
    /// Records in the ledger, as the snapshot says.
    pub of: u64,
}

fn broken(why: impl Into<String>) -> ApplyError {
    ApplyError::Broken(why.into())
}

fn bad(why: impl Into<String>) -> ApplyError {
    ApplyError::Peer(why.into())
}

/// What a peer keeps sealed must be all that the units signed, except refused and erased licences. Of an erased licence neither
/// key nor content is there; of the keys beside an emptied one only the form can still be held against anything, and that as the
/// door holds it: what came through there once must come through here.
fn check_sealed(checked: &Checked, outcome: Option<&Outcome>, sealed: &Sealed) -> Result<(), ApplyError> {
    let Some(head) = &checked.command.head else { return Err(bad("a command without its head")) };
    let refused = |position: u32| outcome.is_some_and(|o| o.refused.iter().any(|r| r.position == position));
    let kept = (0u32..).zip(&checked.items).filter(|(n, _)| !refused(*n)).count() > 0 || checked.items.is_empty();
    let nothing = sealed.wraps.is_empty() && sealed.text.is_empty() && sealed.ciphertexts.iter().all(|c| c.is_empty());
    if head.wraps_digest.is_empty() && !nothing {
        return Err(bad("content beside a command that has none"));
    }
    if sealed.ciphertexts.len() > checked.items.len() || head.text_ciphertext_digest.is_empty() && !sealed.text.is_empty() {
        return Err(bad("more content than was signed"));
    }
    if outcome.is_none_or(|o| o.code != 0) || head.wraps_digest.is_empty() || !kept {
        return Ok(());
    }
    let wraps: VaultWraps = canonical(&sealed.wraps).map_err(|e| bad(format!("wrapped keys: {e}")))?;
    check_form(&wraps, checked.items.len(), !sealed.text.is_empty()).map_err(|e| bad(format!("wrapped keys: {}", e.detail)))?;
    if !wraps.licence_keys.iter().any(Vec::is_empty) && sha256(&sealed.wraps)[..] != head.wraps_digest {
        return Err(bad("wrapped keys that are not those signed"));
    }
    for ((position, (_, item)), key) in (0u32..).zip(&checked.items).zip(&wraps.licence_keys) {
        let ciphertext = sealed.ciphertexts.get(position as usize).map(|c| &c[..]).unwrap_or_default();
        let fits = match (ciphertext.is_empty(), key.is_empty()) {
            (true, erased) => erased || refused(position),
            (false, erased) => !erased && sha256(ciphertext)[..] == item.ciphertext_digest,
        };
        if !fits {
            return Err(bad(format!("content of item {position} that is missing or not what was signed")));
        }
    }
    if !head.text_ciphertext_digest.is_empty() && sha256(&sealed.text)[..] != head.text_ciphertext_digest {
        return Err(bad("texts that are not those signed"));
    }
    Ok(())
}

impl CatchUp {
    /// Brings the state machine to where the snapshot says. A crash on the way leaves a note of it, and what was replayed
    /// so far; the next start goes on before it does anything else ([`CatchUp::resume`]).
    pub fn install(&self, applier: &mut Applier, store: &Store, snapshot: &Snapshot) -> Result<Applied, ApplyError> {
        let manifest: LedgerHead =
            canonical(&snapshot.data).map_err(|e| broken(format!("the snapshot's manifest does not decode: {e}")))?;
        tracing::info!(from = applier.head().size, to = manifest.size, "behind the log: fetching records from peers");
        let fetched = self.fetch(applier, store, &manifest, snapshot);
        self.progress.send_replace(None);
        fetched?;
        if store.installing()?.is_none() {
            store.begin_install(snapshot)?;
        }
        let tip = applier.finish_catch_up(&manifest, snapshot.get_metadata().get_conf_state())?;
        (self.follow)(applier.roster(), applier.group());
        Ok(Applied { index: snapshot.get_metadata().index, tip })
    }

    /// Finishes an installation that was cut off, before Raft starts: the state may be ahead of the log, whose entries must
    /// not be applied to it.
    pub fn resume(&self, applier: &mut Applier, store: &Store) -> Result<(), ApplyError> {
        let Some(snapshot) = store.installing()? else { return Ok(()) };
        self.install(applier, store, &snapshot)?;
        Ok(store.finish_install(&snapshot)?)
    }

    fn fetch(&self, applier: &mut Applier, store: &Store, manifest: &LedgerHead, snapshot: &Snapshot) -> Result<(), ApplyError> {
        if applier.head().size >= manifest.size {
            return Ok(());
        }
        self.progress.send_replace(Some(Progress { at: applier.head().size, of: manifest.size }));
        let hashes = self.hashes(applier.head(), manifest, store)?;
        let (mut idle, mut pace) = (0, Pace::default());
        let mut noted = store.installing()?.is_some();
        while applier.head().size < manifest.size {
            let from = applier.head().size;
            self.progress.send_replace(Some(Progress { at: from, of: manifest.size }));
            let to = manifest.size.min(from + CHUNK);
            let (mut got, mut busy) = (0u64, false);
            for peer in pace.order(self.peers.ids()) {
                let asked = Instant::now();
                let answer = self.runtime.block_on(self.peers.catch_up(peer, CatchUpRequest { from, to }));
                let took = asked.elapsed();
                // Until its records are in, it has given none.
                pace.took(peer, took, 0);
                match answer {
                    Ok(records) if !records.is_empty() => {
                        let opened = match follow_on(applier.head(), &hashes, records) {
                            Ok(opened) => opened,
                            Err(ApplyError::Peer(why)) => {
                                tracing::error!(peer, why, "a peer's records were refused");
                                continue;
                            }
                            Err(error) => return Err(error),
                        };
                        // A note for the next start, before the state goes ahead of the log; and not before there is a record
                        // that follows, or a snapshot of nothing would hold up every start.
                        if !noted {
                            store.begin_install(snapshot)?;
                            tracing::info!(peer, "the first of them are here");
                            noted = true;
                        }
                        match replay(applier, opened) {
                            Ok(()) => {}
                            // What came before the bad record is good and stays.
                            Err(ApplyError::Peer(why)) => tracing::error!(peer, why, "a peer's records were refused"),
                            Err(error) => return Err(error),
                        }
                        got = applier.head().size - from;
                        if got > 0 {
                            pace.took(peer, took, got);
                            break;
                        }
                    }
                    Ok(_) => {}
                    Err(error) => {
                        busy |= error.code() == Code::ResourceExhausted;
                        tracing::warn!(peer, %error, "records could not be fetched");
                    }
                }
            }
            if got > 0 {
                idle = 0;
                // Nodes that were admitted in what was just replayed may help from here on.
                (self.follow)(applier.roster(), applier.group());
                if applier.head().size / KEEP > from / KEEP {
                    // What is there stays, whenever the node is killed.
                    store.flush()?;
                    tracing::info!(at = applier.head().size, of = manifest.size, "catching up");
                }
                continue;
            }
            wait(&mut idle, busy, from)?;
        }
        Ok(())
    }

    /// The hashes of all records that are missing, from whichever peer's list leads to where the manifest says.
    fn hashes(&self, head: &LedgerHead, manifest: &LedgerHead, store: &Store) -> Result<Hashes, ApplyError> {
        let mut idle = 0;
        loop {
            let mut busy = false;
            for peer in self.peers.ids() {
                let more = |from, to| self.runtime.block_on(self.peers.record_hashes(peer, RecordHashesRequest { from, to }));
                match Hashes::gather(store.dir(), head, manifest, more) {
                    Ok(hashes) => return Ok(hashes),
                    Err(ApplyError::Peer(why)) => tracing::error!(peer, why, "a peer's list of records was refused"),
                    Err(ApplyError::Unreached(why)) => tracing::warn!(peer, why, "a list of records could not be fetched"),
                    Err(ApplyError::Busy) => busy = true,
                    Err(error) => return Err(error),
                }
            }
            wait(&mut idle, busy, head.size)?;
        }
    }
}

/// Waits for the next round, unless too many brought nothing.
fn wait(idle: &mut u32, busy: bool, from: u64) -> Result<(), ApplyError> {
    *idle += u32::from(!busy);
    if *idle > PATIENCE {
        return Err(broken(format!("no peer gives the records from {from} on: start this node again when one can be reached")));
    }
    std::thread::sleep(ROUND);
    Ok(())
}

/// Opens records, which must be the next ones on the list.
fn follow_on(head: &LedgerHead, hashes: &Hashes, records: Vec<CatchUpRecord>) -> Result<Vec<Received>, ApplyError> {
    let opened = open_received(records)?;
    hashes.check(head, opened.iter().map(|received| &received.leaf))?;
    Ok(opened)
}

fn replay(applier: &mut Applier, records: Vec<Received>) -> Result<(), ApplyError> {
    for received in records {
        applier.replay(&received.stored, received.checked, received.sealed)?;
    }
    Ok(())
}

/// A record from another node, opened: every signature holds, and what travelled beside it is what was
/// signed. Whether it belongs to the ledger is not said yet.
pub struct Received {
    stored: StoredRecord,
    outcome: Option<Outcome>,
    sealed: Sealed,
    /// Its hash.
    pub hash: Digest,
    /// The leaf that it leaves.
    pub leaf: Leaf,
    /// The epoch that it says.
    pub epoch: u64,
    /// Of a commitment, the licences that it says there are.
    pub licence_count: u64,
    /// Its command.
    pub checked: Checked,
}

impl Received {
    /// Its row in the store.
    pub fn row(&self) -> (u64, Vec<u8>) {
        (self.leaf.seq, self.stored.encode_to_vec())
    }

    /// The positions of the licences whose keys came emptied, as an erasure leaves them.
    pub fn emptied(&self) -> Vec<u32> {
        let wraps = VaultWraps::decode(self.sealed.wraps.clone()).unwrap_or_default();
        let keys = (0u32..).zip(&wraps.licence_keys).filter(|(_, key)| key.is_empty());
        keys.map(|(position, _)| position).collect()
    }

    /// What it leaves in the vault: nothing of what was refused.
    pub fn content(&self) -> Option<VaultPut> {
        let outcome = self.outcome.as_ref().filter(|outcome| outcome.code == 0)?;
        if self.sealed.wraps.is_empty() {
            return None;
        }
        let refused = |position: u32| outcome.refused.iter().any(|r| r.position == position);
        let kept = (0u32..).zip(&self.sealed.ciphertexts).filter(|(n, c)| !refused(*n) && !c.is_empty());
        Some(VaultPut {
            seq: self.leaf.seq,
            ciphertexts: kept.map(|(n, c)| (n, c.clone())).collect(),
            wraps: self.sealed.wraps.clone(),
            text: self.sealed.text.clone(),
        })
    }
}

/// Opens records from another node, and verifies every signature in them.
pub fn open_received(records: Vec<CatchUpRecord>) -> Result<Vec<Received>, ApplyError> {
    let mut batch = Batch::new();
    let mut opened = Vec::with_capacity(records.len());
    for received in records {
        let stored = received.record.ok_or_else(|| bad("a record without its bytes"))?;
        let open = vermilion_registry::stored::open_record(&stored).map_err(|e| bad(e.to_string()))?;
        let sealed = Sealed {
            ciphertexts: received.ciphertexts.into_iter().map(Into::into).collect(),
            wraps: received.wraps.into(),
            text: received.text.into(),
        };
        let Record { envelope, outcome, epoch, commitment, .. } = open.record;
        let (envelope, checked) = open_recorded(envelope, stored.items.clone()).map_err(|e| bad(e.to_string()))?;
        envelope.queue(&mut batch);
        let checked = Checked { has_vault: !sealed.wraps.is_empty(), ..checked };
        check_sealed(&checked, outcome.as_ref(), &sealed)?;
        let licence_count = commitment.map_or(0, |c| c.licence_count);
        opened.push(Received { stored, outcome, sealed, hash: open.hash, leaf: open.leaf, epoch, licence_count, checked });
    }
    batch.verify().map_err(|_| bad("a record with a signature that does not hold"))?;
    Ok(opened)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use vermilion_crypto::{ContentKey, SeededRng, VaultSecretKey};
    use vermilion_proto::{Bytes, Command, Head, LicenceItem};
    use vermilion_registry::vault::{Plain, Session};

    /// A command of two licences and a text, and what lies sealed beside it.
    fn command() -> (Checked, Sealed) {
        let plain = |key, content| Plain { key: ContentKey([key; 32]), content };
        let vault = VaultSecretKey::from_bytes([1; 32]).public();
        let session = Session::new(ContentKey([2; 32]), &[vault], &mut SeededRng::new(&[3; 32])).unwrap();
        let sealed = session.seal(b"nonce", &[plain(4, b"one"), plain(5, b"two")], Some(plain(6, b"text"))).unwrap();
        let item = |of: &Bytes| (Bytes::new(), LicenceItem { ciphertext_digest: sha256(of).to_vec(), ..LicenceItem::default() });
        let head = Head { wraps_digest: sealed.wraps_digest(), text_ciphertext_digest: sealed.text_digest(), ..Head::default() };
        let checked = Checked {
            id: [0; 32],
            envelope: Bytes::new(),
            command: Command { head: Some(head), body: None },
            signer_keys: Vec::new(),
            items: sealed.ciphertexts.iter().map(item).collect(),
            beside_digest: Vec::new(),
            has_vault: true,
        };
        (checked, sealed)
    }

    /// Whether it is taken from a peer with its wrapped keys so changed, and without the ciphertexts at these positions.
    fn is_taken(missing: &[usize], change: impl Fn(&mut VaultWraps)) -> bool {
        let (checked, mut sealed) = command();
        let mut wraps = sealed.wraps().unwrap();
        change(&mut wraps);
        sealed.wraps = wraps.encode_to_vec().into();
        missing.iter().for_each(|position| sealed.ciphertexts[*position] = Bytes::new());
        check_sealed(&checked, Some(&Outcome::default()), &sealed).is_ok()
    }

    #[test]
    fn a_peer_says_of_single_licences_that_they_are_erased_and_of_nothing_else() {
        let erase = |wraps: &mut VaultWraps| wraps.licence_keys[0].clear();
        assert!(is_taken(&[], |_| {}) && is_taken(&[0], erase));
        assert!(is_taken(&[0, 1], |wraps| wraps.licence_keys.iter_mut().for_each(Vec::clear)));
        assert!(!is_taken(&[0], |_| {}) && !is_taken(&[0, 1], erase), "content is missing whose key is there");
        assert!(!is_taken(&[], erase), "content without its key");
        let changes: [fn(&mut VaultWraps); 6] = [
            |wraps| wraps.licence_keys.truncate(1),
            |wraps| wraps.licence_keys.push(vec![7; 48]),
            |wraps| wraps.licence_keys[1].truncate(47),
            |wraps| wraps.text_key.clear(),
            |wraps| wraps.wraps[0].ciphertext.clear(),
            |wraps| wraps.suite += 1,
        ];
        for (n, change) in changes.iter().enumerate() {
            let beside_an_erased_one = |wraps: &mut VaultWraps| {
                erase(wraps);
                change(wraps);
            };
            assert!(!is_taken(&[0], beside_an_erased_one) && !is_taken(&[], change), "{n}");
        }
    }
}
