//! One node, wired together.

use crate::apply::Applier;
use crate::block::BlockPacker;
use crate::catchup::{CatchUp, Follow, Progress};
use crate::clock::Clocks;
use crate::config::Config;
use crate::distrust::Distrusted;
use crate::door::{From, MAX_UNDER_WAY, MAX_UNDER_WAY_BYTES};
use crate::edge::Edge;
use crate::enrolment::Renewal;
use crate::enrolment::applicant::Applicant;
use crate::enrolment::handout::Handout;
use crate::gate::VerifiedCache;
use crate::keys::NodeKeys;
use crate::metrics::Metrics;
use crate::opener::Opener;
use crate::outside;
use crate::peers::{Peers, Whereabouts};
use crate::reading::{MAX_READERS, NodePlaces};
use crate::recent::Recent;
use crate::rights::Rights;
use crate::rotation::Rotated;
use crate::runtime::{Event, FatalStop, Parts, Runtime, now_ms, spawn, watch_over};
use crate::snapshot::Backfill;
use crate::start::{check_keys, initialise, own_entry, read_genesis};
use crate::tls::{NodeTls, StateStanding};
use crate::trail::Trail;
use crate::verify::Verifier;
use crate::waiters::Waiters;
use crate::witness::WitnessOffice;
use std::sync::Arc;
use std::sync::mpsc::SyncSender;
use std::time::{Duration, Instant};
use tokio::sync::{Semaphore, mpsc, watch};
use vermilion_consensus::{ELECTION_TICKS, Role, Status};
use vermilion_crypto::Digest;
use vermilion_proto::{Body, Command, Commitment, Genesis, GenesisNode, Head, LedgerHead, Signer, SignerKind, body::Of};
use vermilion_registry::reason::Reason;
use vermilion_registry::submission::{Sealed, encode_submission};
use vermilion_registry::{founding::Founding, query};
use vermilion_storage::{Mode, Store, Truncation};

/// How often the node looks whether records have changed who may stay connected.
const JUDGE: Duration = Duration::from_millis(200);
/// How often it finds out whether it is up to date.
const CAUGHT_UP: Duration = Duration::from_secs(1);
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
    /// What receipts are proved from.
    pub recent: Arc<Recent>,
    /// The tree's right edge.
    pub edge: Arc<Edge>,
    /// Who may ask what.
    pub(crate) rights: Arc<Rights>,
    /// The keys that took others' places.
    pub(crate) rotated: Arc<Rotated>,
    /// What it hands to nodes that join, where it issues certificates.
    pub(crate) handout: Option<Handout>,
    /// Who connected, and who was refused what.
    pub trail: Arc<Trail>,
    /// Whether everybody is shown the metrics.
    pub(crate) open_metrics: bool,
    /// One state at a time is given to another node.
    pub giving: Arc<Semaphore>,
    /// Places for those who read records.
    pub(crate) readers: Arc<Semaphore>,
    /// Places for nodes that do.
    pub(crate) node_readers: NodePlaces,
    /// Records of the ledger whose state this node took from another when it started.
    pub took: Option<u64>,
    /// One entry bundle at a time is made from records.
    pub bundling: Semaphore,
    /// Counts.
    pub metrics: Arc<Metrics>,
    /// To the driver.
    pub events: SyncSender<Event>,
    /// TLS, where the configuration has it.
    pub tls: Option<Arc<NodeTls>>,
    /// The authority's issuing key, where this node holds it.
    pub issuing_key: Option<vermilion_crypto::SigningKey>,
    /// Where copies of the data directory go.
    pub(crate) backups: Option<std::path::PathBuf>,
    /// One copy at a time.
    pub(crate) backing_up: Semaphore,
    /// Whom the operators distrust as a leader.
    pub(crate) distrusted: Distrusted,
    /// What the other nodes' clocks read.
    pub(crate) clocks: Arc<Clocks>,
    /// Bounds what is under way at the door.
    pub under_way: Semaphore,
    /// Bounds its bytes.
    pub under_way_bytes: Semaphore,
    status: watch::Receiver<Status>,
    catching_up: watch::Receiver<Option<Progress>>,
    pub(crate) node_key: vermilion_crypto::SigningKey,
    checkpoint_ms: u64,
}

/// How a node comes up.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Start {
    /// A founder, or a node whose directory is there.
    Run,
    /// A node that was admitted later: its directory may be empty.
    Join,
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
    pub fn start(config: &Config, keys: NodeKeys, handle: &tokio::runtime::Handle, how: Start) -> Result<Started, String> {
        let (payload, genesis) = read_genesis(config).map_err(|e| e.to_string())?;
        let ledger_id = vermilion_registry::ledger_id(&payload);
        if let Some(evidence) = conflict_in(&config.data_dir) {
            return Err(format!("{evidence} shows two histories of one ledger: find out which nodes lied, then move the file away"));
        }
        let store = Store::open(&config.data_dir, Mode::Node).map_err(|e| e.to_string())?;
        let me = own_entry(config, &keys, &genesis, &store)?;
        check_keys(&keys, &me, &genesis).map_err(|e| e.to_string())?;
        initialise(&store, &payload, &genesis, &me, how)?;
        let records = query::head(&store.state()).map_err(|e| e.to_string())?.map_or(0, |head| head.size);
        store.settle_adoption(records).map_err(|e| e.to_string())?;
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
        // Every thread and task of the node takes it down if it dies.
        let guard = fatal_in.clone();
        let (points_in, points) = mpsc::unbounded_channel();
        let cache: Arc<VerifiedCache> = Arc::default();
        let waiters: Arc<Waiters> = Arc::default();
        let mut applier =
            Applier::open(store.clone(), ledger_id, Arc::clone(&cache), Arc::clone(&waiters), points_in).map_err(|e| e.to_string())?;
        let (recent, edge, rights, rotated) = (applier.recent(), applier.edge(), applier.rights(), applier.rotated());
        let metrics = Arc::new(Metrics::new().map_err(|e| e.to_string())?);
        // Peers need the driver's channel and the catch-up needs peers, before the driver starts: a relay.
        let (relay, relayed) = std::sync::mpsc::sync_channel(1024);
        let trail = Arc::new(Trail::open(&config.data_dir).map_err(|e| format!("{}: the trail: {e}", config.data_dir.display()))?);
        let tls = start_tls(&keys, &genesis, &store, (&metrics, &trail), config.accepts_expired_until_ms(), &me)?;
        let peers = Peers::new(&me, ledger_id, config.peers.clone(), relay, handle.clone(), tls.clone());
        if let Some(tls) = &tls {
            tls.standing.follow(peers.whereabout());
        }
        let policy = config.outside_policy();
        let shown = (Arc::clone(&edge), Arc::clone(&rotated), Arc::clone(&recent));
        let office = WitnessOffice::new(store.clone(), (&genesis, ledger_id), policy, shown, &me.name, &keys, fatal_in.clone())?;
        let witness = Arc::new(office);
        let follow: Follow = {
            let (peers, witness, rights) = (peers.clone(), Arc::clone(&witness), Arc::clone(&rights));
            Arc::new(move |roster, group| {
                peers.follow(Arc::clone(roster), group);
                witness.follow(roster);
                // Who left the group may not stay connected.
                rights.changed();
            })
        };
        follow(applier.roster(), applier.group());
        let (progress, catching_up) = watch::channel(None);
        let trust = {
            let witness = Arc::clone(&witness);
            Arc::new(move || witness.trust())
        };
        let catch_up = CatchUp { peers: peers.clone(), runtime: handle.clone(), follow: Arc::clone(&follow), trust, progress };
        let took = match how {
            Start::Join if applier.head().size == 1 && store.installing().map_err(|e| e.to_string())?.is_none() => {
                catch_up.take_state(&mut applier, &store, &payload, config.state_from_records).map_err(|e| e.to_string())?
            }
            _ => None,
        };
        catch_up.resume(&mut applier, &store).map_err(|e| e.to_string())?;
        witness.begin()?;
        applier.show_newest_commitment().map_err(|e| e.to_string())?;
        let backfill = Backfill { store: store.clone(), peers: peers.clone(), metrics: Arc::clone(&metrics), fatal: fatal_in.clone() };
        let clocks: Arc<Clocks> = Arc::default();
        let runtime = Runtime::start(Parts {
            id: me.raft_id,
            clocks: Arc::clone(&clocks),
            store: store.clone(),
            applier,
            packer: BlockPacker { id: me.raft_id, key: keys.node.clone(), ledger_id },
            transport: peers.clone(),
            catch_up,
            metrics: Arc::clone(&metrics),
            tick_ms: config.tick_ms,
            truncation: Truncation { keep_entries: config.log_tail.entries, keep_bytes: config.log_tail.bytes, step: 256 },
            tail_seconds: config.log_tail.seconds,
            fatal: fatal_in,
        })?;
        let distrusted = Distrusted::open(&config.data_dir)?;
        distrusted.tell(&runtime.events);
        let to_driver = runtime.events.clone();
        spawn("relay", &guard, move || relayed.into_iter().try_for_each(|event| to_driver.send(event)).unwrap_or(()))?;
        watch_over(handle, "witness", &guard, Arc::clone(&witness).run(me.raft_id, peers.clone(), points));
        watch_over(handle, "backfill", &guard, backfill.run());
        let feeders = outside::feeders(config, &witness, &peers, me.raft_id, &store, &edge, &metrics).map_err(|e| e.to_string())?;
        for feeder in feeders {
            watch_over(handle, "feeder", &guard, feeder.run());
        }
        let handout = keys.issuing.as_ref().and_then(|_| Handout::of(&keys));
        let lookup = keys.lookup.ok_or("keys.lookup: this node has not received it: `vermiliond join`")?;
        let node = Arc::new(Self {
            id: me.raft_id,
            me,
            ledger_id,
            genesis,
            genesis_payload: payload,
            store,
            peers,
            opener: Opener::new(keys.vault, lookup),
            rotated,
            handout,
            cache,
            waiters,
            verifier: Verifier::start(&guard)?,
            witness,
            recent,
            edge,
            rights,
            trail,
            open_metrics: config.tls.as_ref().is_none_or(|tls| tls.open_metrics),
            giving: Arc::new(Semaphore::new(1)),
            readers: Arc::new(Semaphore::new(MAX_READERS)),
            node_readers: NodePlaces::new(),
            took,
            bundling: Semaphore::new(1),
            metrics,
            events: runtime.events.clone(),
            tls,
            issuing_key: keys.issuing,
            backups: config.backups.clone(),
            backing_up: Semaphore::new(1),
            distrusted,
            clocks,
            under_way: Semaphore::new(MAX_UNDER_WAY),
            under_way_bytes: Semaphore::new(MAX_UNDER_WAY_BYTES),
            status: runtime.status.clone(),
            catching_up,
            node_key: keys.node,
            checkpoint_ms: config.checkpoint_ms,
        });
        watch_over(handle, "commitment schedule", &guard, Arc::clone(&node).commit_on_schedule());
        watch_over(handle, "judge of connections", &guard, Arc::clone(&node).judge_connections());
        watch_over(handle, "look whether it has caught up", &guard, Arc::clone(&node).look_whether_caught_up());
        watch_over(handle, "look after keys", &guard, Arc::clone(&node).look_after_keys());
        if let (Some(tls), Some(mine)) = (&config.tls, keys.tls) {
            let applicant = Applicant::new(config, &node.genesis, ledger_id)?;
            let renewal = Renewal { path: tls.certificate.clone(), key: mine.key, applicant };
            watch_over(handle, "renewal", &guard, Arc::clone(&node).renew_by_itself(renewal));
        }
        Ok(Started { node, runtime, fatal })
    }

    /// Where the driver stands.
    #[must_use]
    pub fn status(&self) -> Status {
        self.status.borrow().clone()
    }

    /// Has another node lead, if this one does: nobody then waits for an election when it stops. Takes two election time-outs at
    /// most, and no time where nobody else can lead.
    pub async fn leave_office(&self, tick_ms: u64) {
        let mut status = self.status.clone();
        for _ in 0..2 {
            let (heard, heir) = tokio::sync::oneshot::channel();
            if status.borrow_and_update().role != Role::Leader || self.events.try_send(Event::HandOver(heard)).is_err() {
                return;
            }
            let Ok(Some(heir)) = heir.await else { return };
            let follows = status.wait_for(|status| status.role != Role::Leader && status.leader.is_some_and(|id| id != self.id));
            // Raft gives it up after the shortest election time-out; by then it may be known whether the heir is there.
            if let Ok(Ok(_)) = tokio::time::timeout(Duration::from_millis(tick_ms * (ELECTION_TICKS as u64 + 1)), follows).await {
                tracing::info!(to = heir, "leadership is handed over");
                return;
            }
        }
        tracing::warn!("leadership could not be handed over: the others elect a leader without this node");
    }

    /// How far this node has caught up, while it fetches records.
    #[must_use]
    pub fn catching_up(&self) -> Option<Progress> {
        *self.catching_up.borrow()
    }

    /// Whether this node was banned or retired, as far as it knows: it answers nothing then, but how it is.
    #[must_use]
    pub fn is_out(&self) -> bool {
        matches!(self.peers.whereabouts(self.id), Whereabouts::Leaving | Whereabouts::Left)
    }

    /// The ledger's head here.
    pub fn head(&self) -> Result<LedgerHead, String> {
        query::head(&self.store.state()).map_err(|e| e.to_string())?.ok_or_else(|| "the state has no head".into())
    }

    /// The time by which this node judges what it is asked: its clock's, or the majority's where they contradict it.
    pub(crate) fn time(&self) -> u64 {
        self.clocks.time(self.id, now_ms(), &self.status.borrow().voters, Instant::now())
    }

    /// The time by which others' blocks are judged: this node's clock's, or the majority's where that is later, and never set
    /// back. What a majority read counts on when it is no longer heard: its blocks are in the log.
    pub(crate) fn steady_time(&self) -> u64 {
        self.clocks.steady(now_ms().max(self.time()), Instant::now())
    }

    /// The time by which it judges, or the last record's where that lies ahead: by the ledger's time a command's own is judged.
    pub(crate) fn ledger_time(&self) -> u64 {
        self.time().max(self.head().map_or(0, |head| head.time_ms))
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
            not_after_ms: self.ledger_time() + COMMITMENT_LIFETIME_MS,
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
        let reply = self.submit(encode_submission(envelope.into(), Vec::new(), Sealed::default()), From::Own).await;
        match (reply.state(), reply.outcome) {
            (vermilion_proto::CommandState::Committed, Some(outcome)) if outcome.code == 0 => Ok(reply.seq + 1),
            (state, outcome) => Err(format!("no commitment: {state:?}, {outcome:?} {}", reply.detail)),
        }
    }

    /// Finds out, again and again, whether this node is up to date: whether a read, which is the leader's
    /// answer as of now, comes through. Silence says that it is not.
    async fn look_whether_caught_up(self: Arc<Self>) {
        let Some(tls) = self.tls.clone() else { return };
        loop {
            let may = self.catching_up().is_none() && self.status().leader.is_some();
            let came = if may { self.read_barrier().await } else { Err(Reason::NoLeader.into()) };
            // A busy node has not heard: whoever loads it with questions must not make it one that is behind.
            if !came.as_ref().is_err_and(|refusal| refusal.reason == Reason::Busy) {
                tls.standing.set_caught_up(came.is_ok());
            }
            tokio::time::sleep(CAUGHT_UP).await;
        }
    }

    /// Looks at the open connections after every record that changes rights, and once a second for the dates.
    async fn judge_connections(self: Arc<Self>) {
        let Some(tls) = self.tls.clone() else { return };
        let mut every = tokio::time::interval(JUDGE);
        every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let (mut seen, mut looked_ms) = (0, 0);
        loop {
            every.tick().await;
            let (changes, now) = (self.rights.changes(), now_ms());
            let left = tls.certificate().validity.not_after_ms.saturating_sub(now) / 1000;
            self.metrics.certificate_seconds.set(i64::try_from(left).unwrap_or(i64::MAX));
            if changes == seen && now.abs_diff(looked_ms) < LOOK_ANYWAY_MS {
                continue;
            }
            (seen, looked_ms) = (changes, now);
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
    (metrics, trail): (&Arc<Metrics>, &Arc<Trail>),
    accepts_expired_until_ms: u64,
    me: &GenesisNode,
) -> Result<Option<Arc<NodeTls>>, String> {
    let Some(mine) = &keys.tls else {
        tracing::warn!("there is no [tls]: nothing is encrypted, and nobody who connects is known");
        return Ok(None);
    };
    let founding = Founding::read(genesis).map_err(|e| e.to_string())?;
    let founding = founding.ok_or("tls: the genesis names no authority")?;
    let standing = StateStanding::new(store.clone(), Arc::clone(metrics), Arc::clone(trail), accepts_expired_until_ms);
    if accepts_expired_until_ms > now_ms() {
        tracing::warn!(until_ms = accepts_expired_until_ms, "tls.accept_expired_until: certificates whose time is over are accepted");
    }
    NodeTls::new(mine, &founding.issuing, standing, Arc::clone(trail), me).map(|tls| Some(Arc::new(tls)))
}

/// Evidence of a conflict, on which the node stopped before.
fn conflict_in(dir: &std::path::Path) -> Option<String> {
    let names = std::fs::read_dir(dir).ok()?.flatten().map(|entry| entry.path());
    names.into_iter().find(|p| p.file_name().is_some_and(|n| n.to_string_lossy().starts_with("conflict-"))).map(|p| p.display().to_string())
}
