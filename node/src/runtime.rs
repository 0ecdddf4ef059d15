//! The threads of a node: one drives Raft, one writes the log, one applies. They share nothing but
//! channels; the clock enters here.
//!
//! ```text
//!  peers ─gate─▶ ┌────────┐ write  ┌────────┐ after fsync ─▶ peers
//!  door ───────▶ │ driver │──────▶ │ writer │
//!  ticks ──────▶ │        │ apply  ├────────┤
//!                │        │──────▶ │applier │ ─▶ waiters, checkpoints
//!                └────────┘ ◀───── └────────┘ persisted, applied
//! ```

mod applying;
mod writing;

use crate::apply::Applier;
use crate::aside::{Apart, Aside};
use crate::block::BlockPacker;
use crate::catchup::CatchUp;
use crate::clock::{Clocks, SAY_EVERY, Verdict};
use crate::membership::Roster;
use crate::metrics::Metrics;
use applying::{ApplierTask, Tail};
use raft::eraftpb::Message;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, channel, sync_channel};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::sync::{oneshot, watch};
use vermilion_consensus::{Applied, Change, Driver, Millis, Status, SubmitError, Transport, Write};
use vermilion_storage::{LogStore, Store, Truncation};
pub use writing::is_snapshot;
use writing::{send, writer};

/// Events that wait for the driver: beyond, connections wait, which slows their peers down.
const EVENTS: usize = 8192;

/// A write of the log that takes so many milliseconds is told in the node's log.
const SLOW_WRITE_MS: u64 = 1000;

/// The wall clock, in Unix milliseconds.
#[must_use]
pub fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| u64::try_from(d.as_millis()).unwrap_or(u64::MAX))
}

/// What the driver's thread is told.
pub enum Event {
    /// Messages of one peer, past the gate, in order.
    Step(Vec<Message>),
    /// The gate refused something of this leader in this term.
    Refused {
        /// The leader.
        from: u64,
        /// Its term.
        term: u64,
    },
    /// A command for the next block; the sender hears only if it was not taken.
    Submit {
        /// The encoded submission.
        command: bytes::Bytes,
        /// Hears why not.
        verdict: oneshot::Sender<SubmitError>,
    },
    /// A linearizable read: answered when the state is as new as now.
    Read(oneshot::Sender<()>),
    /// A write is durable.
    Persisted(u64),
    /// Applied through here.
    Applied {
        /// How far.
        applied: Applied,
        /// Membership changes that took effect on the way.
        changes: Vec<(u64, Change)>,
        /// What the state says of the nodes, if that changed.
        roster: Option<Arc<Roster>>,
    },
    /// A peer cannot be reached.
    Unreachable(u64),
    /// A snapshot message to this peer was sent, or not.
    SnapshotSent(u64, bool),
    /// Hand leadership over.
    Transfer(u64),
    /// Hand leadership over to whoever follows best; hears to whom, if this node leads and there is somebody.
    HandOver(oneshot::Sender<Option<u64>>),
    /// The operator distrusts a node, or trusts it again.
    Distrust(u64, bool),
    /// Stop after what is under way.
    Stop,
}

/// Something that stops the node.
#[derive(Debug)]
pub struct FatalStop(pub String);

/// The handles of the running threads.
pub struct Runtime {
    /// To the driver.
    pub events: SyncSender<Event>,
    /// Where the driver stands.
    pub status: watch::Receiver<Status>,
    threads: Vec<std::thread::JoinHandle<()>>,
}

/// What the runtime is made of.
pub struct Parts<T: Transport + Clone + Send + 'static> {
    /// The node's Raft id.
    pub id: u64,
    /// What the other nodes' clocks read.
    pub clocks: Arc<Clocks>,
    /// The data directory.
    pub store: Store,
    /// The state machine.
    pub applier: Applier,
    /// Packs blocks.
    pub packer: BlockPacker,
    /// Sends messages.
    pub transport: T,
    /// Fetches records when this node has fallen behind the log.
    pub catch_up: CatchUp,
    /// Counts.
    pub metrics: Arc<Metrics>,
    /// Raft's tick.
    pub tick_ms: u64,
    /// What stays of the log.
    pub truncation: Truncation,
    /// No entry stays longer than this after it was applied.
    pub tail_seconds: u64,
    /// Where a fatal error goes.
    pub fatal: tokio::sync::mpsc::UnboundedSender<FatalStop>,
}

impl Runtime {
    /// Starts the threads.
    pub fn start<T: Transport + Clone + Send + 'static>(parts: Parts<T>) -> Result<Self, String> {
        let seed = u64::from_be_bytes(vermilion_crypto::random().map_err(|e| e.to_string())?);
        let mut config = vermilion_consensus::DriverConfig::new(parts.id, seed);
        config.tick_ms = parts.tick_ms;
        let (applied, _) = parts.store.applied().map_err(|e| e.to_string())?;
        let tip = parts.applier.tip().map_err(|e| e.to_string())?;
        let logger = slog::Logger::root(slog::Discard, slog::o!());
        let standings = parts.applier.roster().standings.clone();
        let mut driver = Driver::new(config, parts.store.log_store(), parts.packer, Applied { index: applied, tip }, &logger)
            .map_err(|e| e.to_string())?;
        driver.set_standings(standings);
        let (events, inbox) = sync_channel(EVENTS);
        let (status_in, status) = watch::channel(driver.status());
        // What is handed out is bounded by the driver (appends in flight, bytes to apply). These channels
        // are not, so that the driver never waits for a thread that waits for the driver.
        let (writes, write_queue) = channel::<Write>();
        let (tasks, task_queue) = channel::<ApplierTask>();
        let mut threads = Vec::new();
        let fatal = parts.fatal.clone();
        let (log, back, transport, to_applier, fatal_w) =
            (parts.store.log_handle(), events.clone(), parts.transport.clone(), tasks.clone(), fatal.clone());
        threads.push(spawn("log-writer", &parts.fatal, move || writer(log, write_queue, back, transport, to_applier, fatal_w))?);
        let cuttable = Arc::new(AtomicU64::new(driver.cuttable()));
        let tail = Tail::new(parts.store, parts.truncation, parts.tail_seconds, Arc::clone(&cuttable));
        let (applier, back, fatal_a) = (parts.applier, events.clone(), fatal.clone());
        let (catch_up, metrics) = (parts.catch_up, Arc::clone(&parts.metrics));
        threads.push(spawn("applier", &parts.fatal, move || {
            applying::run(applier, task_queue, back, tail, catch_up, metrics, fatal_a);
        })?);
        let mut looped = Loop {
            id: parts.id,
            clocks: parts.clocks,
            driver,
            inbox,
            writes,
            tasks,
            transport: parts.transport,
            status: status_in,
            submitted: HashMap::new(),
            reading: HashMap::new(),
            ready_reads: Vec::new(),
            applied,
            cuttable,
            next_token: 0,
            tick: Duration::from_millis(parts.tick_ms),
            disk_hangs: false,
            lost: None,
            aside: Aside::default(),
            apart: Apart::default(),
            is_clock_unheard: false,
            said_time: None,
        };
        let alarm = fatal.clone();
        threads.push(spawn("driver", &alarm, move || {
            if let Err(why) = looped.run() {
                let _ = fatal.send(FatalStop(why));
            }
        })?);
        Ok(Self { events, status, threads })
    }

    /// Stops the threads and waits for them.
    pub fn stop(self) {
        let _ = self.events.send(Event::Stop);
        for thread in self.threads {
            let _ = thread.join();
        }
    }
}

/// A thread or task that dies takes the node with it: a node without its driver must not look alive.
struct Alarm(&'static str, tokio::sync::mpsc::UnboundedSender<FatalStop>);

impl Drop for Alarm {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let _ = self.1.send(FatalStop(format!("the {} broke an invariant: see the message before", self.0)));
        }
    }
}

/// Runs a task that nothing waits for: if it panics, the node stops as it does for a thread.
pub(crate) fn watch_over(
    handle: &tokio::runtime::Handle,
    name: &'static str,
    fatal: &tokio::sync::mpsc::UnboundedSender<FatalStop>,
    task: impl Future<Output = ()> + Send + 'static,
) {
    let alarm = Alarm(name, fatal.clone());
    handle.spawn(async move {
        let _alarm = alarm;
        task.await;
    });
}

/// Starts a thread that takes the node with it if it dies.
pub(crate) fn spawn(
    name: &'static str,
    fatal: &tokio::sync::mpsc::UnboundedSender<FatalStop>,
    run: impl FnOnce() + Send + 'static,
) -> Result<std::thread::JoinHandle<()>, String> {
    let alarm = Alarm(name, fatal.clone());
    let guarded = move || {
        let _alarm = alarm;
        run();
    };
    std::thread::Builder::new().name(name.into()).spawn(guarded).map_err(|e| format!("cannot start the {name} thread: {e}"))
}

struct Loop<T: Transport> {
    id: u64,
    clocks: Arc<Clocks>,
    driver: Driver<LogStore, BlockPacker>,
    inbox: Receiver<Event>,
    writes: Sender<Write>,
    tasks: Sender<ApplierTask>,
    transport: T,
    status: watch::Sender<Status>,
    submitted: HashMap<u64, oneshot::Sender<SubmitError>>,
    reading: HashMap<u64, oneshot::Sender<()>>,
    /// Reads that wait for the state machine: index, sender.
    ready_reads: Vec<(u64, oneshot::Sender<()>)>,
    applied: u64,
    /// Told to who cuts the log's tail.
    cuttable: Arc<AtomicU64>,
    next_token: u64,
    tick: Duration,
    disk_hangs: bool,
    /// What the driver says of entries that were acknowledged and are not there.
    lost: Option<u64>,
    aside: Aside,
    apart: Apart,
    /// Whether it was said that too few are heard to say whether this node's clock, once apart, still is.
    is_clock_unheard: bool,
    /// When this node last said the time to the others.
    said_time: Option<Instant>,
}

impl<T: Transport> Loop<T> {
    fn run(&mut self) -> Result<(), String> {
        let mut next_tick = Instant::now() + self.tick;
        loop {
            let wait = next_tick.saturating_duration_since(Instant::now());
            match self.inbox.recv_timeout(wait) {
                Ok(event) => {
                    if !self.take(event)? {
                        return Ok(());
                    }
                    // What else is there now goes into the same poll: batching comes from here.
                    for _ in 0..1024 {
                        match self.inbox.try_recv() {
                            Ok(event) => {
                                if !self.take(event)? {
                                    return Ok(());
                                }
                            }
                            Err(_) => break,
                        }
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Ok(()),
            }
            if Instant::now() >= next_tick {
                self.give_way();
                self.look_at_clock();
                self.driver.tick();
                // Late rather than twice.
                next_tick = Instant::now() + self.tick;
                self.forget_the_gone();
                let status = self.driver.status();
                self.tell_of_disk(status.write_ms);
                self.tell_of_loss(status.lost, status.last_index);
                self.status.send_replace(status);
                self.say_time();
            }
            self.poll()?;
            self.cuttable.store(self.driver.cuttable(), Ordering::Release);
        }
    }

    /// Says once that the disk hangs, and once that it does no more. What is done about it the driver knows.
    fn tell_of_disk(&mut self, write_ms: u64) {
        let hangs = write_ms >= SLOW_WRITE_MS;
        match (std::mem::replace(&mut self.disk_hangs, hangs), hangs) {
            (false, true) => tracing::warn!(write_ms, "the disk hangs on a write of the Raft log: no vote, no acknowledgement"),
            (true, false) => tracing::info!("the disk completed the write that it hung on"),
            _ => {}
        }
    }

    /// Says once that this node's log lacks what it acknowledged: nothing else would tell why it stands still.
    fn tell_of_loss(&mut self, lost: Option<u64>, last_index: u64) {
        if let (None, Some(acknowledged)) = (std::mem::replace(&mut self.lost, lost), lost) {
            tracing::error!(
                acknowledged,
                last_index,
                "this node's log ends before what the leader heard it acknowledge: its directory is an older copy, or was emptied, or the leader lies. Stop it, and let a new node join in its place, under another id (`vermiliond join --help`)"
            );
        }
    }

    fn take(&mut self, event: Event) -> Result<bool, String> {
        match event {
            Event::Step(messages) => {
                for message in messages {
                    let (from, kind) = (message.from, message.msg_type);
                    if let Err(error) = self.driver.step(message) {
                        tracing::debug!(from, kind, %error, "message dropped");
                    }
                }
            }
            Event::Refused { from, term } => self.driver.refuse(from, term),
            Event::Submit { command, verdict } => {
                self.next_token += 1;
                match self.driver.submit(self.next_token, command) {
                    Ok(()) => {
                        self.submitted.insert(self.next_token, verdict);
                    }
                    Err(error) => {
                        let _ = verdict.send(error);
                    }
                }
            }
            Event::Read(done) => {
                self.next_token += 1;
                // When too many wait, dropping the sender tells the reader that the node is busy.
                if self.driver.read(self.next_token).is_ok() {
                    self.reading.insert(self.next_token, done);
                }
            }
            Event::Persisted(number) => self.driver.persisted(number),
            Event::Applied { applied, changes, roster } => {
                for (index, change) in changes {
                    self.driver.apply_change(index, change).map_err(|e| e.to_string())?;
                }
                if let Some(roster) = roster {
                    self.driver.set_standings(roster.standings.clone());
                }
                self.driver.applied(applied);
                self.applied = self.applied.max(applied.index);
                let reached = self.applied;
                for (_, done) in self.ready_reads.extract_if(.., |(index, _)| *index <= reached) {
                    let _ = done.send(());
                }
            }
            Event::Unreachable(id) => self.driver.unreachable(id),
            Event::SnapshotSent(id, ok) => self.driver.snapshot_sent(id, ok),
            Event::Transfer(to) => {
                if let Err(error) = self.driver.transfer_leader(to) {
                    tracing::warn!(%error, to, "leadership was not handed over");
                }
            }
            Event::HandOver(heir) => {
                let _ = heir.send(self.driver.hand_over(|_| true));
            }
            Event::Distrust(id, on) => self.driver.distrust(id, on),
            Event::Stop => return Ok(false),
        }
        Ok(true)
    }

    fn poll(&mut self) -> Result<(), String> {
        loop {
            let time = self.clocks.block_time(self.id, now_ms(), &self.status.borrow().voters, Instant::now());
            let output = self.driver.poll(Millis(time)).map_err(|e| e.to_string())?;
            send(&mut self.transport, output.messages);
            if let Some(write) = output.write {
                self.writes.send(write).map_err(|_| "the log writer stopped".to_owned())?;
            }
            if !output.apply.is_empty() {
                self.tasks.send(ApplierTask::Entries(output.apply)).map_err(|_| "the applier stopped".to_owned())?;
            }
            for (token, index) in output.reads {
                if let Some(done) = self.reading.remove(&token) {
                    if index <= self.applied {
                        let _ = done.send(());
                    } else {
                        self.ready_reads.push((index, done));
                    }
                }
            }
            for (token, error) in output.rejected {
                if let Some(verdict) = self.submitted.remove(&token) {
                    let _ = verdict.send(error);
                }
            }
            if let Some(role) = output.role {
                tracing::info!(role = ?role.role, term = role.term, leader = ?role.leader, "role");
                self.status.send_replace(self.driver.status());
            }
            if !output.more {
                return Ok(());
            }
        }
    }

    /// Leaves the lead to others, before a tick, if they drop what this node has yet to commit.
    fn give_way(&mut self) {
        let waits = self.driver.uncommitted_time();
        let status = self.status.borrow();
        let is_refused = waits.is_some_and(|time| self.clocks.is_refused(time.0, self.id, &status.voters, Instant::now()));
        let (leader, commit) = (status.leader, status.commit);
        drop(status);
        if self.aside.tick(self.id, leader, commit, is_refused) {
            if is_refused {
                tracing::error!("this node's blocks lie ahead of the others' clocks, and are dropped: others shall lead. Check the clocks");
            }
            self.driver.stand_aside();
        }
    }

    /// Says when the majority's clocks contradict this node's, and leaves the lead to a node whose clock they bear out.
    fn look_at_clock(&mut self) {
        let (own_ms, now) = (now_ms(), Instant::now());
        let verdict = self.clocks.verdict(self.id, own_ms, &self.status.borrow().voters, now);
        let (is_apart, hands_over) = self.apart.tick(verdict);
        let (is_news, is_unheard) = (self.clocks.note_apart(is_apart), is_apart && verdict == Verdict::Unheard);
        match verdict {
            Verdict::Against(majority_ms) if is_news => tracing::error!(
                apart_ms = own_ms.abs_diff(majority_ms),
                behind = own_ms < majority_ms,
                "this node's clock is apart from the majority's: set it right. Until then their time counts here, and others shall lead"
            ),
            Verdict::With if is_news => tracing::info!("this node's clock is with the majority's again"),
            Verdict::Unheard if is_unheard && !self.is_clock_unheard => {
                tracing::warn!("this node's clock was apart from the majority's, and too few are heard to say whether it still is");
            }
            _ => {}
        }
        self.is_clock_unheard = is_unheard;
        if let Verdict::Against(majority_ms) = verdict
            && hands_over
            && let Some(to) = self.driver.hand_over(|node| self.clocks.is_near(node, majority_ms, now))
        {
            tracing::warn!(to, "leadership is handed over to a node whose clock is right");
        }
    }

    /// Says the time to all others: a frame without messages. Followers send each other nothing else.
    fn say_time(&mut self) {
        if self.said_time.is_some_and(|at| at.elapsed() < SAY_EVERY) {
            return;
        }
        self.said_time = Some(Instant::now());
        let status = self.status.borrow();
        let others: Vec<u64> = status.voters.iter().chain(&status.learners).copied().filter(|id| *id != self.id).collect();
        drop(status);
        for id in others {
            self.transport.send(id, Vec::new());
        }
    }

    /// Those who gave up on a command or read are forgotten, at each tick.
    fn forget_the_gone(&mut self) {
        self.submitted.retain(|_, verdict| !verdict.is_closed());
        let gone = self.reading.extract_if(|_, done| done.is_closed()).map(|(token, _)| token).collect();
        self.driver.reads_expired(&gone);
        self.ready_reads.retain(|(_, done)| !done.is_closed());
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests {
    use super::*;
    use tokio::sync::mpsc::unbounded_channel;

    const WHY: &str = "the example broke an invariant: see the message before";

    #[test]
    fn a_thread_that_dies_stops_the_node() {
        let (fatal, mut stops) = unbounded_channel();
        spawn("example", &fatal, || {}).unwrap().join().unwrap();
        assert!(stops.try_recv().is_err(), "one that ends by itself stops nothing");
        assert!(spawn("example", &fatal, || panic!("as planned")).unwrap().join().is_err());
        assert_eq!(stops.try_recv().unwrap().0, WHY);
    }

    #[tokio::test]
    async fn a_task_that_dies_stops_the_node() {
        let (fatal, mut stops) = unbounded_channel();
        let handle = tokio::runtime::Handle::current();
        watch_over(&handle, "task that ends by itself", &fatal, async {});
        watch_over(&handle, "example", &fatal, async {
            tokio::task::yield_now().await;
            panic!("as planned");
        });
        drop(fatal);
        assert_eq!(stops.recv().await.unwrap().0, WHY);
        assert!(stops.recv().await.is_none());
    }
}
