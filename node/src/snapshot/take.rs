//! Taking a state: nothing of it comes in before all of it was checked.

use super::tail_from;
use crate::apply::{Applier, ApplyError};
use crate::catchup::{CatchUp, Received, open_received};
use crate::membership::Roster;
use raft::eraftpb::{ConfState, Snapshot, SnapshotMetadata};
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use tokio::time::Instant;
use tonic::{Code, Streaming};
use vermilion_consensus::{NodeId, reachable};
use vermilion_ledger::{Digest, TILE_WIDTH, TileStore, Tree, Trust, chain_next, check_inclusion, digests, verify};
use vermilion_proto::{
    CatchUpRecord, LedgerHead, Message as _, StateBasis, StatePart, StateRequest, StateRow, StateTile, canonical, state_part::Of,
};
use vermilion_registry::endorsement::extend;
use vermilion_registry::kv::Memory;
use vermilion_registry::state_sum::StateSum;
use vermilion_registry::{keys, value};
use vermilion_storage::{Commit, IncomingState, Store};

/// The most tiles that come with a state: every tile of the right edge of a tree as large as one can be.
const MAX_TILES: usize = 8 * TILE_WIDTH;
/// The most bytes of the records that come with a state.
const MAX_TAIL: usize = 512 << 20;
/// How long to wait for one part: the first comes once there is a commitment with its quorum.
const PART: Duration = Duration::from_secs(45);
/// How often peers are asked that give their state to another node, and the pause between: ten minutes.
const ROUNDS: u32 = 120;
const ROUND: Duration = Duration::from_secs(5);
/// Beyond every index and term that a log comes to.
const MAX_PLACE: u64 = 1 << 56;
/// How long what comes before the rows may take, all of it.
const EDGE: Duration = Duration::from_secs(600);
/// The rows that stand alone, and how the others begin ([`vermilion_registry::keys`]). One that is none of these is refused:
/// what a later version of the program keeps, this one could not read.
const ALONE: [&[u8]; 3] = [keys::HEAD, keys::SUM, keys::GENESIS];
const KINDS: [&[u8]; 21] = [
    b"n/", b"m/", b"a/", b"e/", b"x/", b"xh/", b"xr/", b"f/", b"k/", b"u/", b"o/", b"t/", b"p/", b"c/", b"d/", b"l/", b"lv/", b"lh/",
    b"i/", b"w/", b"s/",
];
/// The most bytes that are held of the rows that say who the nodes are.
const MAX_FEW: usize = 64 << 20;
/// Bytes of rows that may come for each licence and each record of the state: on average several times what there are.
const ROW_BYTES: u64 = 2 << 10;
/// And besides, for what a ledger begins with: types, policy, authority.
const FIRST_BYTES: u64 = 256 << 20;
/// Bytes of rows that must come in a second, on average, from [`GRACE`] after the first on. A slower line takes the records.
const RATE: u64 = 512 << 10;
/// How long the rows may be behind that.
const GRACE: Duration = Duration::from_secs(60);
/// Rows between two lines of the log that say how far it is.
const TELL: u64 = 1_000_000;

fn refuse(why: impl Into<String>) -> ApplyError {
    ApplyError::Peer(why.into())
}

/// A state that another node offers: what is known of it before its rows are seen.
#[derive(Debug)]
pub struct Offer {
    note: Vec<u8>,
    root: Digest,
    head: LedgerHead,
    /// That the last record is the tree's last leaf.
    inclusion: Vec<Digest>,
    place: SnapshotMetadata,
}

/// What must come out of the rows, and what comes in beside them.
struct Due {
    state_digest: Digest,
    command_id: Digest,
    seq: u64,
    beside: Commit,
}

/// Tiles as they came, and which of them were asked for.
struct Given(BTreeMap<(u8, u64), Vec<u8>>, RefCell<BTreeSet<(u8, u64)>>);

impl TileStore for Given {
    type Error = std::convert::Infallible;
    fn tile(&self, level: u8, index: u64) -> Result<Option<Vec<u8>>, Self::Error> {
        self.1.borrow_mut().insert((level, index));
        Ok(self.0.get(&(level, index)).cloned())
    }
}

impl Offer {
    /// Opens what is said of a state: its checkpoint must carry the quorum's cosignatures.
    pub fn open(basis: StateBasis, trust: &Trust) -> Result<Self, ApplyError> {
        let head: LedgerHead = canonical(&basis.head).map_err(|e| refuse(format!("the head of a state does not decode: {e}")))?;
        let mut members = BTreeSet::new();
        let apart = basis.voters.iter().chain(&basis.learners).all(|id| *id != 0 && members.insert(*id));
        let numbers = (1..MAX_PLACE).contains(&basis.index) && (1..MAX_PLACE).contains(&basis.term);
        if !apart || !numbers || basis.voters.is_empty() || head.block.len() != 32 {
            return Err(refuse("a state whose place in the log cannot be one"));
        }
        // The newcomer knows the genesis's ledger key. Later ones come endorsed.
        let trust = &extend(trust, &basis.endorsements).map_err(|e| refuse(format!("a ledger key that nobody endorsed: {e}")))?;
        let verified = verify(&basis.checkpoint, trust).map_err(|e| refuse(format!("the state's checkpoint does not hold: {e}")))?;
        verified.check_quorum(trust).map_err(|e| refuse(format!("a state that nobody vouched for: {e}")))?;
        if verified.size != head.size || head.size < 2 {
            return Err(refuse(format!("the state counts {} records, its checkpoint {}", head.size, verified.size)));
        }
        let group = ConfState { voters: basis.voters, learners: basis.learners, ..ConfState::default() };
        let mut place = SnapshotMetadata { index: basis.index, term: basis.term, ..SnapshotMetadata::default() };
        place.set_conf_state(group);
        let inclusion = digests(&basis.inclusion).map_err(|e| refuse(e.to_string()))?;
        Ok(Self { note: basis.checkpoint, root: verified.root, head, inclusion, place })
    }

    fn snapshot(&self, head: &[u8]) -> Snapshot {
        let mut snapshot = Snapshot { data: head.to_vec(), ..Snapshot::default() };
        snapshot.set_metadata(self.place.clone());
        snapshot
    }

    /// Holds the last records and the tree's edge against the checkpoint.
    fn check_edge(&self, records: Vec<CatchUpRecord>, tiles: Vec<StateTile>) -> Result<Due, ApplyError> {
        let (size, from) = (self.head.size, tail_from(self.head.size));
        let received = open_received(records)?;
        if received.len() as u64 != size - from {
            return Err(refuse(format!("{} records came with the state, and {} belong to it", received.len(), size - from)));
        }
        let mut leaves = Vec::new();
        let mut before: Option<Digest> = None;
        for (seq, record) in (from..).zip(&received) {
            if record.leaf.seq != seq || before.is_some_and(|before| chain_next(&before, &record.hash) != record.leaf.chain_hash) {
                return Err(refuse(format!("the chain breaks at record {seq}")));
            }
            before = Some(record.leaf.chain_hash);
            if seq >= size - size % TILE_WIDTH as u64 {
                leaves.push(record.leaf.hash());
            }
        }
        let came = tiles.len();
        let given = Given(tiles.into_iter().map(|tile| ((tile.level as u8, tile.index), tile.hashes)).collect(), RefCell::default());
        let tree =
            Tree::rebuild(size, &given, &leaves).map_err(|e| refuse(format!("the tree's edge does not come with the state: {e}")))?;
        if tree.root() != self.root {
            return Err(refuse(format!(
                "the records and tiles that came with the state are not those under the checkpoint of {size} records"
            )));
        }
        // Of others nothing would be known.
        if given.0.len() != came || !given.0.keys().eq(given.1.borrow().iter()) {
            return Err(refuse("other tiles came with the state than its tree's edge needs"));
        }
        let last = received.last().ok_or_else(|| refuse("no record came with the state"))?;
        // Behind a full tile it is no leaf of the edge above.
        check_inclusion(&self.root, size, size - 1, &last.leaf.hash(), &self.inclusion)
            .map_err(|_| refuse("the last record is not the one under the checkpoint"))?;
        let commitment = last.leaf.commitment.ok_or_else(|| refuse("a state that is not as of a commitment record"))?;
        let due = LedgerHead {
            size: last.leaf.seq + 1,
            chain: last.leaf.chain_hash.to_vec(),
            time_ms: last.leaf.time_ms,
            licences: last.licence_count,
            epoch: last.epoch,
            block: self.head.block.clone(),
        };
        if self.head != due {
            return Err(refuse("the state's head is not that of its commitment record"));
        }
        let beside = Commit {
            records: received.iter().map(Received::row).collect(),
            vault: received.iter().filter_map(Received::content).collect(),
            tiles: given.0.into_iter().map(|((level, index), hashes)| (level, index, hashes)).collect(),
            ..Commit::default()
        };
        let (command_id, seq) = (last.checked.id, last.leaf.seq);
        Ok(Due { state_digest: commitment.state_digest, command_id, seq, beside })
    }
}

/// What rows may come, and how slowly: as many bytes as the cosigned head's licences and records can have, at a rate below
/// which nobody waits.
struct Allowance {
    begun: Instant,
    most: u64,
    came: u64,
}

impl Allowance {
    fn new(head: &LedgerHead, begun: Instant) -> Self {
        let most = head.licences.saturating_add(head.size).saturating_mul(ROW_BYTES).saturating_add(FIRST_BYTES);
        Self { begun, most, came: 0 }
    }

    fn take(&mut self, bytes: usize) -> Result<(), ApplyError> {
        self.came = self.came.saturating_add(bytes as u64);
        if self.came > self.most {
            return Err(refuse(format!("more rows than {} bytes, which is more than a state of its size has", self.most)));
        }
        Ok(())
    }

    /// By when the next part must be there.
    fn until(&self) -> Instant {
        self.begun + GRACE + Duration::from_secs(self.came / RATE)
    }
}

/// The rows as they come.
struct Rows<'a> {
    genesis: &'a [u8],
    into: IncomingState<'a>,
    allowed: Allowance,
    sum: StateSum,
    count: u64,
    head: Option<Vec<u8>>,
    kept_sum: Option<Vec<u8>>,
    is_ours: bool,
    /// The rows that say who the nodes are.
    few: Memory,
    few_bytes: usize,
}

impl<'a> Rows<'a> {
    fn new(genesis: &'a [u8], into: IncomingState<'a>, allowed: Allowance) -> Self {
        let (sum, few) = (StateSum::default(), Memory::new());
        Self { genesis, into, allowed, sum, count: 0, head: None, kept_sum: None, is_ours: false, few, few_bytes: 0 }
    }

    fn take(&mut self, rows: Vec<StateRow>) -> Result<(), ApplyError> {
        for StateRow { key, value } in rows {
            if !ALONE.contains(&key.as_slice()) && !KINDS.iter().any(|kind| key.starts_with(kind)) {
                return Err(refuse("a row of a kind that no state has"));
            }
            self.allowed.take(key.len() + value.len())?;
            self.sum.add(&key, &value);
            if !self.into.put(&key, &value)? {
                return Err(refuse("rows of a state that are not in order"));
            }
            match key.as_slice() {
                keys::HEAD => self.head = Some(value.clone()),
                keys::SUM => self.kept_sum = Some(value.clone()),
                keys::GENESIS => self.is_ours = value == value::plain(self.genesis),
                _ => {}
            }
            if Roster::concerns(&key) {
                self.few_bytes += key.len() + value.len();
                if self.few_bytes > MAX_FEW {
                    return Err(refuse("more nodes than a ledger has"));
                }
                self.few.write(vec![(key, Some(value))]);
            }
            self.count += 1;
            if self.count.is_multiple_of(TELL) {
                tracing::info!(rows = self.count, "taking a state");
            }
        }
        Ok(())
    }

    /// Holds the rows, all of them, against what the quorum cosigned.
    fn finish(self, offer: &Offer, due: &Due, own: &ConfState) -> Result<u64, ApplyError> {
        let digest = self.sum.digest_before(&due.command_id, due.seq);
        if digest != due.state_digest {
            return Err(refuse(format!(
                "the state's digest is {}, and the one cosigned as of record {} is {}",
                hex::encode(digest),
                due.seq,
                hex::encode(due.state_digest)
            )));
        }
        if self.head.as_deref() != Some(value::encode(&offer.head).as_slice()) {
            return Err(refuse("the head among the state's rows is not the one that was said"));
        }
        if self.kept_sum.as_deref() != Some(self.sum.value().as_slice()) {
            return Err(refuse("the sum among the state's rows is not theirs"));
        }
        if !self.is_ours {
            return Err(refuse("the state is of another ledger"));
        }
        // Where in the log it stands is not vouched for; that the group can have come about is seen.
        let roster = Roster::read(&self.few).map_err(|e| refuse(e.to_string()))?;
        let group = offer.place.get_conf_state();
        let reached = reachable(own, group, &roster).map_err(|e| refuse(e.to_string()))?;
        reached.map_err(|why| refuse(format!("the state comes with a group that nobody approved: {why}")))?;
        self.into.finish()?;
        Ok(self.count)
    }
}

impl CatchUp {
    /// Takes the state from a peer, where this node has nothing but the genesis and the ledger has at least
    /// so many records. What is not vouched for, or is not what was vouched for, is refused; with none from
    /// any peer the node replays the records, as it would without.
    pub fn take_state(&self, applier: &mut Applier, store: &Store, genesis: &[u8], at_least: u64) -> Result<Option<u64>, ApplyError> {
        let mut asked: Vec<NodeId> = self.peers.ids();
        for _ in 0..ROUNDS {
            let mut busy = Vec::new();
            for peer in asked {
                match self.runtime.block_on(self.take_from(peer, store, applier.group(), genesis, at_least)) {
                    Ok((offer, rows)) => {
                        applier.reload()?;
                        (self.follow)(applier.roster(), applier.group());
                        let records = offer.head.size;
                        tracing::info!(peer, records, rows, "took the state that the quorum vouches for; its history follows");
                        return Ok(Some(records));
                    }
                    Err(ApplyError::Peer(why)) => {
                        tracing::error!(peer, why, "a peer's state was refused");
                        store.clear_incoming()?;
                    }
                    Err(ApplyError::Unreached(why)) => {
                        tracing::info!(peer, why, "no state came from a peer");
                        store.clear_incoming()?;
                    }
                    Err(ApplyError::Busy) => {
                        tracing::info!(peer, "a peer gives its state to another node; it is asked again");
                        busy.push(peer);
                    }
                    Err(error) => return Err(error),
                }
            }
            if busy.is_empty() {
                break;
            }
            asked = busy;
            std::thread::sleep(ROUND);
        }
        tracing::info!("no peer gave a state: the records are replayed");
        Ok(None)
    }

    async fn take_from(
        &self,
        peer: NodeId,
        store: &Store,
        own: &ConfState,
        genesis: &[u8],
        at_least: u64,
    ) -> Result<(Offer, u64), ApplyError> {
        let unreached = |status: tonic::Status| ApplyError::Unreached(status.message().to_owned());
        let mut parts = match self.peers.state(peer, StateRequest { at_least }).await {
            Err(status) if status.code() == Code::ResourceExhausted => return Err(ApplyError::Busy),
            parts => parts.map_err(unreached)?,
        };
        let next = async |parts: &mut Streaming<StatePart>, until: Instant| -> Result<Option<Of>, ApplyError> {
            let part = tokio::time::timeout_at(until.min(Instant::now() + PART), parts.message()).await;
            let part = part.map_err(|_| ApplyError::Unreached("the parts of a state stopped, or came too slowly".into()))?;
            Ok(part.map_err(unreached)?.and_then(|part| part.of))
        };
        let until = Instant::now() + EDGE;
        let basis = next(&mut parts, until).await?;
        let Some(Of::Basis(basis)) = basis else { return Err(refuse("a state that does not begin with its basis")) };
        let offer = Offer::open(basis, &(self.trust)())?;
        let (mut records, mut tiles, mut bytes) = (Vec::new(), Vec::new(), 0);
        let mut rows = loop {
            match next(&mut parts, until).await? {
                Some(Of::Record(record)) if records.len() < TILE_WIDTH && bytes < MAX_TAIL => {
                    bytes += record.encoded_len();
                    records.push(record);
                }
                Some(Of::Tile(tile)) if tiles.len() < MAX_TILES && tile.level < 8 && tile.hashes.len() == TILE_WIDTH * 32 => {
                    tiles.push(tile);
                }
                Some(Of::Rows(rows)) => break Some(rows),
                _ => return Err(refuse("a state whose parts are not in order")),
            }
        };
        let due = offer.check_edge(records, tiles)?;
        let options = store.incoming_options();
        let mut taken = Rows::new(genesis, store.gather(&options)?, Allowance::new(&offer.head, Instant::now()));
        while let Some(part) = rows.take() {
            let more = !part.rows.is_empty();
            taken.take(part.rows)?;
            rows = match next(&mut parts, taken.allowed.until()).await? {
                // Only the last may be empty, and none comes behind it.
                Some(Of::Rows(part)) if more => Some(part),
                Some(_) => return Err(refuse("a state whose parts are not in order")),
                None => None,
            };
        }
        let count = taken.finish(&offer, &due, own)?;
        let head = offer.head.encode_to_vec();
        store.adopt(&offer.snapshot(&head), tail_from(offer.head.size), &due.beside)?;
        store.put_checkpoint(offer.head.size, &offer.note)?;
        Ok((offer, count))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests {
    use super::*;
    use vermilion_crypto::SigningKey;
    use vermilion_ledger::{Checkpoint, TrustSettings, Witness, cosign, make_checkpoint};
    use vermilion_storage::Mode;

    const ORIGIN: &str = "city.example/ledger";

    fn key(n: u8) -> SigningKey {
        SigningKey::from_seed(&[n; 32])
    }

    fn trust() -> Trust {
        let witnesses = (2..=4).map(|n| Witness { name: format!("{ORIGIN}/n{n}"), key: key(n).public() }).collect();
        let ledger_key = key(1).public();
        let settings =
            TrustSettings { origin: ORIGIN.into(), ledger_id: [5; 32], ledger_key, witnesses, quorum: 3, require_ledger_key: true };
        Trust::new(settings).unwrap()
    }

    /// A state of ten records, its checkpoint signed by these witnesses.
    fn basis(witnesses: &[u8]) -> StateBasis {
        let checkpoint = Checkpoint { origin: ORIGIN.into(), size: 10, root: [9; 32] };
        let mut note = make_checkpoint(&checkpoint, &key(1)).unwrap();
        for n in witnesses {
            note.add(cosign(&checkpoint.body(), &format!("{ORIGIN}/n{n}"), &key(*n), 1_000).unwrap()).unwrap();
        }
        let head = LedgerHead { size: 10, block: vec![1; 32], ..LedgerHead::default() }.encode_to_vec();
        StateBasis { checkpoint: note.to_bytes(), head, index: 20, term: 3, voters: vec![1, 2, 3], ..StateBasis::default() }
    }

    fn refused(basis: StateBasis) -> String {
        match Offer::open(basis, &trust()).unwrap_err() {
            ApplyError::Peer(why) => why,
            other => panic!("{other}"),
        }
    }

    #[test]
    fn a_state_that_nobody_vouched_for_is_refused() {
        assert!(Offer::open(basis(&[2, 3, 4]), &trust()).is_ok());
        for too_few in [&[][..], &[2], &[2, 4]] {
            assert!(refused(basis(too_few)).contains("nobody vouched for"), "{too_few:?}");
        }
        // The quorum's cosignatures, of another tree.
        let mut other = basis(&[2, 3, 4]);
        other.head = LedgerHead { size: 11, block: vec![1; 32], ..LedgerHead::default() }.encode_to_vec();
        assert!(refused(other).contains("counts 11 records"));
        let whole = basis(&[2, 3, 4]).checkpoint;
        for at in 0..whole.len() {
            let mut note = whole.clone();
            note[at] ^= 1;
            assert!(Offer::open(StateBasis { checkpoint: note, ..basis(&[]) }, &trust()).is_err(), "byte {at}");
        }
    }

    #[test]
    fn what_comes_beside_must_be_under_the_checkpoint() {
        let offer = Offer::open(basis(&[2, 3, 4]), &trust()).unwrap();
        let why = |records, tiles| match offer.check_edge(records, tiles) {
            Err(ApplyError::Peer(why)) => why,
            other => panic!("{:?}", other.map(|_| ())),
        };
        assert!(why(vec![], vec![]).contains("0 records came with the state, and 10 belong to it"));
    }

    #[test]
    fn rows_are_bounded_by_what_was_cosigned() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path(), Mode::Node).unwrap();
        let options = store.incoming_options();
        let allowed = Allowance { begun: Instant::now(), most: 100, came: 0 };
        let mut rows = Rows::new(b"genesis", store.gather(&options).unwrap(), allowed);
        let row = |key: &[u8], bytes: usize| vec![StateRow { key: key.to_vec(), value: vec![0; bytes] }];
        let why = |taken: Result<(), ApplyError>| match taken.unwrap_err() {
            ApplyError::Peer(why) => why,
            other => panic!("{other}"),
        };
        rows.take(row(b"d/1", 40)).unwrap();
        rows.take(row(b"m/1", 40)).unwrap();
        assert_eq!((rows.few_bytes, rows.allowed.came), (43, 86));
        assert!(why(rows.take(row(b"z/1", 1))).contains("of a kind that no state has"));
        assert!(why(rows.take(row(b"w/1", 40))).contains("more rows than 100 bytes"));
    }

    #[test]
    fn whoever_sends_too_slowly_is_left() {
        let begun = Instant::now();
        let head = LedgerHead { size: 1000, licences: 2000, ..LedgerHead::default() };
        let mut allowed = Allowance::new(&head, begun);
        assert_eq!(allowed.most, 3000 * ROW_BYTES + FIRST_BYTES);
        assert_eq!(allowed.until(), begun + GRACE);
        allowed.take(10 * RATE as usize).unwrap();
        assert_eq!(allowed.until(), begun + GRACE + Duration::from_secs(10));
    }
}
