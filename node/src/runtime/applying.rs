//! The thread that applies: committed entries and snapshots in, and behind them the log's tail within its bounds.

use super::{Event, FatalStop};
use crate::apply::{Applier, ApplyError};
use crate::catchup::CatchUp;
use crate::membership::Roster;
use crate::metrics::Metrics;
use raft::eraftpb::{Entry, Snapshot};
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender};
use std::time::{Duration, Instant};
use tokio::sync::mpsc::UnboundedSender;
use vermilion_consensus::Applied;
use vermilion_storage::{Store, Truncation};

/// How often an idle node looks whether log entries have grown too old.
const TRIM: Duration = Duration::from_secs(60);

/// What the applier is handed.
pub(super) enum ApplierTask {
    Entries(Vec<Entry>),
    Install(Snapshot, Sender<Result<(Applied, Arc<Roster>), ApplyError>>),
}

/// Keeps the log's tail within its bounds.
pub(super) struct Tail {
    store: Store,
    policy: Truncation,
    seconds: u64,
    /// Through here the driver's Raft reads the log no more: what it has yet to hear of as applied stays.
    cuttable: Arc<AtomicU64>,
    /// The steady clock counts: the other one may jump, and then nothing would grow old for as long.
    since: Instant,
    /// That index by seconds since then, oldest first, one for each minute.
    marks: VecDeque<(u64, u64)>,
}

impl Tail {
    pub fn new(store: Store, policy: Truncation, seconds: u64, cuttable: Arc<AtomicU64>) -> Self {
        Self { store, policy, seconds, cuttable, since: Instant::now(), marks: VecDeque::new() }
    }

    fn trim(&mut self) -> Result<(), ApplyError> {
        let applied = self.cuttable.load(Ordering::Acquire);
        let now_s = self.since.elapsed().as_secs();
        if self.marks.back().is_none_or(|(time, _)| now_s >= time + 60) {
            self.marks.push_back((now_s, applied));
        }
        let mut policy = self.policy;
        while let Some((time, index)) = self.marks.front() {
            if now_s < time + self.seconds {
                break;
            }
            policy = Truncation { keep_entries: policy.keep_entries.min(applied - index), step: 1, ..policy };
            self.marks.pop_front();
        }
        self.store.truncate_log(applied, policy)?;
        Ok(())
    }
}

/// Applies what is committed until the node stops, and trims the log behind it.
pub(super) fn run(
    mut applier: Applier,
    queue: Receiver<ApplierTask>,
    events: SyncSender<Event>,
    mut tail: Tail,
    catch_up: CatchUp,
    metrics: Arc<Metrics>,
    fatal: UnboundedSender<FatalStop>,
) {
    loop {
        let task = match queue.recv_timeout(TRIM) {
            Ok(task) => task,
            // Entries grow old on an idle node too.
            Err(RecvTimeoutError::Timeout) => {
                if let Err(error) = tail.trim() {
                    let _ = fatal.send(FatalStop(error.to_string()));
                    return;
                }
                continue;
            }
            Err(RecvTimeoutError::Disconnected) => return,
        };
        match task {
            ApplierTask::Entries(entries) => {
                let started = Instant::now();
                match applier.apply(entries) {
                    Ok(progress) => {
                        metrics.applied(progress.records, started.elapsed(), applier.head().size);
                        let roster = progress.group_changed.then(|| Arc::clone(applier.roster()));
                        if let Some(roster) = &roster {
                            (catch_up.follow)(roster, applier.group());
                        }
                        if events.send(Event::Applied { applied: progress.applied, changes: progress.changes, roster }).is_err() {
                            return;
                        }
                        if let Err(error) = tail.trim() {
                            let _ = fatal.send(FatalStop(error.to_string()));
                            return;
                        }
                    }
                    Err(error) => {
                        let _ = fatal.send(FatalStop(error.to_string()));
                        return;
                    }
                }
            }
            ApplierTask::Install(snapshot, done) => {
                let installed = catch_up.install(&mut applier, &tail.store, &snapshot);
                let result = installed.map(|applied| (applied, Arc::clone(applier.roster())));
                if done.send(result).is_err() {
                    return;
                }
            }
        }
    }
}
