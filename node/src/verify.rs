//! Signature checks at the door, many at once: what waits is checked in one batch.

use crate::runtime::{FatalStop, spawn};
use std::sync::mpsc::{Receiver, Sender, channel};
use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::oneshot;
use vermilion_crypto::batch::Batch;
use vermilion_identity::{EnvelopeError, Signed};

/// Envelopes checked in one batch at most; larger batches gain little more.
const BATCH: usize = 256;

struct Job {
    signed: Signed,
    done: oneshot::Sender<(Signed, Result<(), EnvelopeError>)>,
}

/// Hands envelopes to the checking thread.
#[derive(Clone)]
pub struct Verifier(Sender<Job>);

impl Verifier {
    /// Starts the thread.
    pub fn start(fatal: &UnboundedSender<FatalStop>) -> Result<Self, String> {
        let (jobs, queue) = channel();
        spawn("verifier", fatal, move || run(&queue))?;
        Ok(Self(jobs))
    }

    /// Checks an envelope's signatures. Callers are bounded by the door's own bound.
    pub async fn verify(&self, signed: Signed) -> Option<(Signed, Result<(), EnvelopeError>)> {
        let (done, wait) = oneshot::channel();
        self.0.send(Job { signed, done }).ok()?;
        wait.await.ok()
    }
}

fn run(queue: &Receiver<Job>) {
    while let Ok(first) = queue.recv() {
        let mut jobs = vec![first];
        while jobs.len() < BATCH {
            let Ok(job) = queue.try_recv() else { break };
            jobs.push(job);
        }
        let mut batch = Batch::new();
        for job in &jobs {
            job.signed.queue(&mut batch);
        }
        let good = batch.verify().is_ok();
        for job in jobs {
            // A batch that fails holds a bad one: each is then checked by itself, and named.
            let result = if good { Ok(()) } else { job.signed.verify() };
            let _ = job.done.send((job.signed, result));
        }
    }
}
