//! One node, wired together.

use crate::apply::Applier;
use crate::block::BlockPacker;
use crate::catchup::CatchUp;
use crate::config::Config;
use crate::door::{From, MAX_UNDER_WAY, MAX_UNDER_WAY_BYTES};
use crate::gate::VerifiedCache;
use crate::keys::NodeKeys;
use crate::metrics::Metrics;
use crate::opener::Opener;
use crate::peers::Peers;
use crate::runtime::{Event, FatalStop, Parts, Runtime, now_ms};
use crate::tls::{NodeTls, StateStanding};
use crate::verify::Verifier;
use crate::waiters::Waiters;
use crate::witness::WitnessOffice;
use std::sync::Arc;
use std::sync::mpsc::SyncSender;
use std::time::Duration;
use tokio::sync::{Semaphore, mpsc, watch};
use vermilion_consensus::{Role, Status};
use vermilion_crypto::Digest;
use vermilion_proto::{
    Body, Command, Commitment, Genesis, GenesisNode, Head, LedgerHead, Message as _, Signer, SignerKind, Submission, body::Of,
};
use vermilion_registry::{Registry, founding::Founding, pinned, query};
use vermilion_storage::{Commit, Mode, Store, Truncation};

/// How often the node looks whether the state has changed, and with it who may stay connected.
const JUDGE: Duration = Duration::from_millis(200);
/// After this many milliseconds it looks anyway: certificates expire without a record.
const LOOK_ANYWAY_MS: u64 = 1000;
/// How long a commitment may wait for its block.
const COMMITMENT_LIFETIME_MS: u64 = 30_000;

/// A running node.
pub struct Node {
    /// Its Raft id.
    pub id: u64,
    /// Its entry in the genesis.
    pub me: GenesisNode,
    /// The ledger.
    pub ledger_id: Digest,
    /// The genesis.
    pub genesis: Genesis,
    /// The genesis payload, exact bytes.
    pub genesis_payload: Vec<u8>,
    /// The data directory.
    pub store: Store,
    /// The other nodes.
    pub peers: Peers,
    /// Opens content.
    pub opener: Opener,
    /// What was verified here and not yet applied.
    pub cache: Arc<VerifiedCache>,
    /// Who waits for which command.
    pub waiters: Arc<Waiters>,
    /// Checks signatures.
    pub verifier: Verifier,
    /// Checkpoints.
    pub witness: Arc<WitnessOffice>,
    /// Counts.
    pub metrics: Arc<Metrics>,
    /// To the driver.
    pub events: SyncSender<Event>,
    /// TLS, where the configuration has it.
    pub tls: Option<Arc<NodeTls>>,
    /// Bounds what is under way at the door.
    pub under_way: Semaphore,
    /// Bounds its bytes.
    pub under_way_bytes: Semaphore,
    status: watch::Receiver<Status>,
    node_key: vermilion_crypto::SigningKey,
    checkpoint_ms: u64,
}

/// What a start needs beside the node itself.
pub struct Started {
    /// The node.
    pub node: Arc<Node>,
    /// Its threads.
    pub runtime: Runtime,
    /// Fatal errors: the first one stops the process.
    pub fatal: mpsc::UnboundedReceiver<FatalStop>,
}

impl Node {
    /// Opens the directory, checks it, and starts the threads.
    pub fn start(config: &Config, keys: NodeKeys, handle: &tokio::runtime::Handle) -> Result<Started, String> {
        let payload = std::fs::read(&config.genesis).map_err(|e| format!("cannot read the genesis {}: {e}", config.genesis.display()))?;
        let genesis = pinned::read_genesis(&payload).ok_or_else(|| format!("{} is no genesis", config.genesis.display()))?;
        let ledger_id = vermilion_registry::ledger_id(&payload);
        let me = genesis
            .nodes
            .iter()
            .find(|n| n.name == config.name)
            .cloned()
            .ok_or_else(|| format!("name: the genesis knows no node {:?}", config.name))?;
        check_keys(&keys, &me, &genesis)?;
        if let Some(evidence) = conflict_in(&config.data_dir) {
            return Err(format!("{evidence} shows two histories of one ledger: find out which nodes lied, then move the file away"));
        }
        let store = Store::open(&config.data_dir, Mode::Node).map_err(|e| e.to_string())?;
        initialise(&store, &payload, &genesis, &me)?;
        let report = store.check().map_err(|e| e.to_string())?;
        tracing::info!(
            log_first = report.log.0,
            log_last = report.log.1,
            applied = report.applied,
            beyond_watermark = report.beyond_watermark,
            "the data directory fits together"
        );
        let stored = query::genesis_payload(&store.state()).map_err(|e| e.to_string())?;
        if stored.as_ref() != Some(&payload) {
            return Err(format!("the directory {} is of another ledger than {}", config.data_dir.display(), config.genesis.display()));
        }
        let (fatal_in, fatal) = mpsc::unbounded_channel();
        let (points_in, points) = mpsc::unbounded_channel();
        let cache: Arc<VerifiedCache> = Arc::default();
        let waiters: Arc<Waiters> = Arc::default();
        let applier = Applier::open(store.clone(), Arc::clone(&cache), Arc::clone(&waiters), points_in).map_err(|e| e.to_string())?;
        let metrics = Arc::new(Metrics::new().map_err(|e| e.to_string())?);
        // Peers need the driver's channel and the catch-up needs peers, before the driver starts: a relay.
        let (relay, relayed) = std::sync::mpsc::sync_channel(1024);
        let tls = start_tls(&keys, &genesis, &store, &metrics, &me)?;
        let (peers, senders) = Peers::new(me.raft_id, ledger_id, &genesis.nodes, &config.peers, relay, tls.as_deref())?;
        let catch_up = CatchUp { peers: peers.clone(), runtime: handle.clone() };
        let trust = pinned::trust_of(&genesis, ledger_id, None, true).map_err(|e| e.to_string())?;
        let name = pinned::witness_name(&genesis.origin, &me.name);
        let witness = Arc::new(WitnessOffice::new(store.clone(), trust, name, &keys, fatal_in.clone())?);
        let runtime = Runtime::start(Parts {
            id: me.raft_id,
            store: store.clone(),
            applier,
            packer: BlockPacker { id: me.raft_id, key: keys.node.clone() },
            transport: peers.clone(),
            catch_up,
            metrics: Arc::clone(&metrics),
            tick_ms: config.tick_ms,
            truncation: Truncation { keep_entries: config.log_tail.entries, keep_bytes: config.log_tail.bytes, step: 256 },
            tail_seconds: config.log_tail.seconds,
            fatal: fatal_in,
        })?;
        let to_driver = runtime.events.clone();
        std::thread::Builder::new()
            .name("relay".into())
            .spawn(move || relayed.into_iter().try_for_each(|event| to_driver.send(event)).unwrap_or(()))
            .map_err(|e| e.to_string())?;
        for sender in senders {
            handle.spawn(sender);
        }
        handle.spawn(Arc::clone(&witness).run(me.raft_id, peers.clone(), points));
        let node = Arc::new(Self {
            id: me.raft_id,
            me,
            ledger_id,
            genesis,
            genesis_payload: payload,
            store,
            peers,
            opener: Opener::new(keys.vault, keys.lookup),
            cache,
            waiters,
            verifier: Verifier::start()?,
            witness,
            metrics,
            events: runtime.events.clone(),
            tls,
            under_way: Semaphore::new(MAX_UNDER_WAY),
            under_way_bytes: Semaphore::new(MAX_UNDER_WAY_BYTES),
            status: runtime.status.clone(),
            node_key: keys.node,
            checkpoint_ms: config.checkpoint_ms,
        });
        handle.spawn(Arc::clone(&node).commit_on_schedule());
        handle.spawn(Arc::clone(&node).judge_connections());
        Ok(Started { node, runtime, fatal })
    }

    /// Where the driver stands.
    #[must_use]
    pub fn status(&self) -> Status {
        self.status.borrow().clone()
    }

    /// The ledger's head here.
    pub fn head(&self) -> Result<LedgerHead, String> {
        query::head(&self.store.state()).map_err(|e| e.to_string())?.ok_or_else(|| "the state has no head".into())
    }

    /// Proposes a commitment record now, if this node leads.
    pub async fn commit_now(&self) -> Result<u64, String> {
        let nonce: [u8; 16] = vermilion_crypto::random().map_err(|e| e.to_string())?;
        let key = &self.node_key;
        let head = Head {
            format_version: 1,
            suite: vermilion_crypto::SUITE_1,
            ledger_id: self.ledger_id.to_vec(),
            nonce: nonce.to_vec(),
            not_after_ms: now_ms() + COMMITMENT_LIFETIME_MS,
            signers: vec![Signer {
                key_id: key.public().id().to_vec(),
                post: "leader".into(),
                kind: SignerKind::Node.into(),
                ..Default::default()
            }],
            ..Default::default()
        };
        let command = Command { head: Some(head), body: Some(Body { of: Some(Of::Commitment(Commitment::default())) }) };
        let (_, envelope) = vermilion_identity::seal(&command, &[key]);
        let reply = self.submit(Submission { envelope, beside: None }, From::Own).await;
        match (reply.state(), reply.outcome) {
            (vermilion_proto::CommandState::Committed, Some(outcome)) if outcome.code == 0 => Ok(reply.seq + 1),
            (state, outcome) => Err(format!("no commitment: {state:?}, {outcome:?} {}", reply.detail)),
        }
    }

    /// Looks at the open connections after every change of the state, and once a second for the dates.
    async fn judge_connections(self: Arc<Self>) {
        let Some(tls) = self.tls.clone() else { return };
        let mut every = tokio::time::interval(JUDGE);
        every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let (mut seen, mut looked_ms) = (0, 0);
        loop {
            every.tick().await;
            let (size, now) = (self.head().map_or(0, |h| h.size), now_ms());
            let left = tls.certificate().validity.not_after_ms.saturating_sub(now) / 1000;
            self.metrics.certificate_seconds.set(i64::try_from(left).unwrap_or(i64::MAX));
            if size == seen && now.abs_diff(looked_ms) < LOOK_ANYWAY_MS {
                continue;
            }
            (seen, looked_ms) = (size, now);
            let cut = tokio::task::block_in_place(|| tls.connections.judge_all(&tls.standing, now));
            self.metrics.connections_cut.inc_by(cut as u64);
        }
    }

    /// While this node leads: a commitment whenever there are records that none covers.
    async fn commit_on_schedule(self: Arc<Self>) {
        let mut every = tokio::time::interval(Duration::from_millis(self.checkpoint_ms));
        every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut covered = 0;
        loop {
            every.tick().await;
            let (leads, size) = (self.status().role == Role::Leader, self.head().map_or(0, |h| h.size));
            if !leads || size <= covered.max(*self.witness.watch().borrow()) {
                continue;
            }
            match self.commit_now().await {
                Ok(size) => covered = size,
                Err(why) => tracing::debug!(why, "no commitment this time"),
            }
        }
    }
}

/// TLS with the certificate that the configuration names, under the authority of the genesis.
fn start_tls(
    keys: &NodeKeys,
    genesis: &Genesis,
    store: &Store,
    metrics: &Arc<Metrics>,
    me: &GenesisNode,
) -> Result<Option<Arc<NodeTls>>, String> {
    let Some((key, leaf)) = &keys.tls else {
        tracing::warn!("there is no [tls]: nothing is encrypted, and nobody who connects is known");
        return Ok(None);
    };
    let founding = Founding::read(genesis).map_err(|e| e.to_string())?;
    let founding = founding.ok_or("tls: the genesis names no authority")?;
    let standing = StateStanding::new(store.clone(), Arc::clone(metrics), &founding);
    NodeTls::new(leaf, key.clone(), &founding.issuing, standing, me).map(|tls| Some(Arc::new(tls)))
}

/// Evidence of a conflict, on which the node stopped before.
fn conflict_in(dir: &std::path::Path) -> Option<String> {
    let names = std::fs::read_dir(dir).ok()?.flatten().map(|entry| entry.path());
    names.into_iter().find(|p| p.file_name().is_some_and(|n| n.to_string_lossy().starts_with("conflict-"))).map(|p| p.display().to_string())
}

fn check_keys(keys: &NodeKeys, me: &GenesisNode, genesis: &Genesis) -> Result<(), String> {
    if keys.node.public().0[..] != me.node_key {
        return Err("keys.node: not the key that the genesis names for this node".into());
    }
    if keys.cosigning.public().0[..] != me.cosigning_key {
        return Err("keys.cosigning: not the key that the genesis names for this node".into());
    }
    if keys.lookup.commitment()[..] != genesis.lookup_key_digest {
        return Err("keys.lookup: not the key that the genesis commits to".into());
    }
    match &keys.ledger {
        Some(key) if key.public().0[..] != genesis.ledger_key => Err("keys.ledger: not the ledger's key".into()),
        Some(_) if !me.city => Err("keys.ledger: the ledger key belongs on the city's nodes alone".into()),
        _ => Ok(()),
    }
}

/// Writes the genesis record into a new directory.
fn initialise(store: &Store, payload: &[u8], genesis: &Genesis, me: &GenesisNode) -> Result<(), String> {
    match store.node().map_err(|e| e.to_string())? {
        Some(id) if id == me.raft_id => return Ok(()),
        Some(id) => return Err(format!("the directory belongs to node {id}, not to {} ({})", me.raft_id, me.name)),
        None => {}
    }
    let voters: Vec<u64> = genesis.nodes.iter().map(|n| n.raft_id).collect();
    // A start that was cut off after the genesis was written and before the node was named.
    if query::head(&store.state()).map_err(|e| e.to_string())?.is_some() {
        return store.init(me.raft_id, &voters, &Commit::default()).map_err(|e| e.to_string());
    }
    let effects = Registry::genesis(payload, &store.state()).map_err(|e| e.to_string())?;
    let mut commit = Commit { state: effects.writes, applied: Some((0, 0)), manifest: effects.head.encode_to_vec(), ..Default::default() };
    for record in effects.records {
        let stored =
            vermilion_proto::StoredRecord { format_version: 1, record: record.bytes, items: Vec::new(), chain: record.chain.to_vec() };
        commit.records.push((record.seq, stored.encode_to_vec()));
    }
    store.init(me.raft_id, &voters, &commit).map_err(|e| e.to_string())
}
