//! The door: where a submission comes in. It is opened, its signatures and content are checked, and
//! it goes to the leader, one hop. What the door refuses leaves no record.

use crate::caller::may_submit;
use crate::gate::VerifiedCache;
use crate::node::Node;
use crate::runtime::{Event, now_ms};
use crate::trail::{What, Whom};
use crate::waiters::{Fate, committed};
use std::time::Duration;
use tokio::sync::oneshot;
use vermilion_consensus::SubmitError;
use vermilion_crypto::Digest;
use vermilion_identity::Certificate;
use vermilion_proto::{Bytes, CommandState, SubmitReply, body::Of};
use vermilion_registry::reason::{Reason, Refusal};
use vermilion_registry::submission::{Submitted, open_submission, submission_digest};
use vermilion_registry::{pinned, query, stored};

/// How long the door waits for a command to be applied before it answers "unknown".
const WAIT: Duration = Duration::from_secs(15);
/// What a busy or leaderless node tells clients to wait, in milliseconds.
const RETRY_AFTER_MS: u32 = 200;
/// What is larger is opened and checked beside others: some dozens of licences.
const LARGE_BYTES: usize = 64 << 10;
/// Submissions under way at one door: beyond, the answer is busy.
pub const MAX_UNDER_WAY: usize = 8192;
/// Their bytes together: beyond, the answer is busy too.
pub const MAX_UNDER_WAY_BYTES: usize = 96 << 20;

fn refused(id: &[u8], refusal: &Refusal) -> SubmitReply {
    SubmitReply {
        state: CommandState::RefusedAtDoor.into(),
        command_id: id.to_vec(),
        code: refusal.reason.number(),
        detail: refusal.detail.clone(),
        ..Default::default()
    }
}

/// Its not-after has passed by the blocks' time, without a record: there never will be one.
fn invalid(id: &[u8]) -> SubmitReply {
    SubmitReply { state: CommandState::Invalid.into(), ..refused(id, &Reason::Expired.into()) }
}

/// Runs work that grows with `bytes`: where it takes milliseconds, not on a thread that others wait
/// for. Moving them to another thread costs more than small work does.
pub fn beside_others<T>(bytes: usize, work: impl FnOnce() -> T) -> T {
    if bytes > LARGE_BYTES { tokio::task::block_in_place(work) } else { work() }
}

/// Says who leads, unless that is just what was not so.
fn hinting(reply: SubmitReply, leader: u64) -> SubmitReply {
    let leads = reply.state() != CommandState::Busy || reply.code != Reason::NoLeader.number();
    SubmitReply { leader_hint: if leads { leader } else { 0 }, ..reply }
}

fn busy(id: &[u8], reason: Reason) -> SubmitReply {
    SubmitReply {
        state: CommandState::Busy.into(),
        command_id: id.to_vec(),
        code: reason.number(),
        detail: reason.english().into(),
        retry_after_ms: RETRY_AFTER_MS,
        ..Default::default()
    }
}

fn unknown(id: &[u8]) -> SubmitReply {
    SubmitReply {
        state: CommandState::Unknown.into(),
        command_id: id.to_vec(),
        code: Reason::Unknown.number(),
        detail: Reason::Unknown.english().into(),
        ..Default::default()
    }
}

/// Whether a submission came from a client or was forwarded by a node that checked it at its door.
#[derive(Clone, Copy)]
pub enum From<'a> {
    /// A client, over a connection with this certificate: every check.
    Client(Option<&'a Certificate>),
    /// A node of the group: signatures are checked again, content is not.
    Node,
    /// This node's own: a commitment, a certificate.
    Own,
}

impl Node {
    /// Takes a submission in and answers when it is applied, refused, or not known.
    pub async fn submit(&self, submission: Bytes, from: From<'_>) -> SubmitReply {
        if matches!(from, From::Own) {
            // A full door must not keep the ledger from being committed to.
            return self.take_in(submission, from).await;
        }
        let size = u32::try_from(submission.len()).unwrap_or(u32::MAX);
        let (Ok(_permit), Ok(_room)) = (self.under_way.try_acquire(), self.under_way_bytes.try_acquire_many(size)) else {
            self.metrics.busy.inc();
            return busy(&[], Reason::Busy);
        };
        let started = std::time::Instant::now();
        let reply = self.take_in(submission, from).await;
        self.metrics.submitted(reply.state, started.elapsed());
        reply
    }

    async fn take_in(&self, bytes: Bytes, from: From<'_>) -> SubmitReply {
        let digest = submission_digest(&bytes);
        let submitted = match beside_others(bytes.len(), || open_submission(&bytes)) {
            Ok(submitted) => submitted,
            Err(refusal) => return refused(&[], &refusal),
        };
        let id = submitted.checked.id;
        if let Err(reply) = self.screen(&submitted, from) {
            return *reply;
        }
        let submitted = match self.check(submitted, &bytes, from).await {
            Ok(submitted) => submitted,
            Err(reply) => return *reply,
        };
        let cached = bytes.len();
        self.cache.put(digest, submitted, cached);
        let reply = self.route(id, bytes, from).await;
        if reply.state() != CommandState::Committed {
            release(&self.cache, &digest);
        }
        reply
    }

    /// What can be told before any signature is checked.
    fn screen(&self, submitted: &Submitted, from: From<'_>) -> Result<(), Box<SubmitReply>> {
        let id = submitted.checked.id;
        if matches!(from, From::Client(_)) && self.is_out() {
            // Nobody takes anything from it any more, least of all its word on who leads.
            return Err(Box::new(busy(&id, Reason::NoLeader)));
        }
        let command = &submitted.checked.command;
        let Some(head) = &command.head else { return Err(Box::new(refused(&id, &Reason::Malformed.into()))) };
        if head.ledger_id != self.ledger_id {
            return Err(Box::new(refused(&id, &Reason::WrongLedger.into())));
        }
        match command.body.as_ref().and_then(|b| b.of.as_ref()) {
            Some(Of::Genesis(_)) => return Err(Box::new(refused(&id, &Refusal::new(Reason::NotAuthorised, "a ledger has one genesis")))),
            Some(Of::Commitment(_)) if matches!(from, From::Client(_)) => {
                return Err(Box::new(refused(&id, &Refusal::new(Reason::NotAuthorised, "only a leading node commits"))));
            }
            _ => {}
        }
        if let From::Client(Some(certificate)) = from
            && let Err(refusal) = may_submit(certificate, head)
        {
            self.trail.note(now_ms(), What::Denied, &Whom::certificate(certificate), &format!("command: {}", refusal.reason.name()));
            return Err(Box::new(refused(&id, &refusal)));
        }
        // Read before the record is looked for, so that none can slip in between.
        let past = self.head().is_ok_and(|h| h.time_ms > head.not_after_ms);
        match self.recorded(&id) {
            Ok(Some(reply)) => return Err(Box::new(reply)),
            Ok(None) => {}
            Err(refusal) => return Err(Box::new(refused(&id, &refusal))),
        }
        // For ever, because blocks' times never go back. By a clock nothing is: the command may lie in some node's log, in a
        // block of an earlier time. One that is late by this node's clock goes on, and the time of the next block answers it.
        if past {
            return Err(Box::new(invalid(&id)));
        }
        let state = self.store.state();
        let unknown = |key: &[u8]| query::operator(&state, key).is_ok_and(|o| o.is_none());
        if matches!(from, From::Client(_)) && head.signers.iter().all(|s| unknown(&s.key_id)) {
            // Strangers leave no records: what a registered key signs in vain is one.
            return Err(Box::new(refused(&id, &Reason::UnknownSigner.into())));
        }
        Ok(())
    }

    /// Signatures, then content.
    async fn check(&self, submitted: Submitted, submission: &Bytes, from: From<'_>) -> Result<Submitted, Box<SubmitReply>> {
        let Submitted { signed, checked, sealed } = submitted;
        let id = checked.id;
        let Some((signed, verdict)) = self.verifier.verify(signed).await else {
            return Err(Box::new(refused(&id, &Reason::Internal.into())));
        };
        verdict.map_err(|e| Box::new(refused(&id, &e.into())))?;
        let submitted = Submitted { signed, checked, sealed };
        // A node whose state is older, or that lies, may have let content pass that is sealed to a key whose place another has
        // taken.
        if matches!(from, From::Node) && !submitted.sealed.wraps.is_empty() {
            let checked = submitted.sealed.wraps().and_then(|wraps| self.check_vault_keys(&wraps));
            checked.map_err(|refusal| Box::new(refused(&id, &refusal)))?;
        }
        if !matches!(from, From::Client(_)) {
            return Ok(submitted);
        }
        let report = match self.check_content(&submitted, submission).await {
            Ok(report) => report,
            Err(refusal) if refusal.reason == Reason::NoVaultKey => return Err(Box::new(busy(&id, Reason::NoVaultKey))),
            Err(refusal) => return Err(Box::new(refused(&id, &refusal))),
        };
        if let Some(first) = report.refused.first() {
            let reason = Reason::from_number(first.code).unwrap_or(Reason::ContentDigest);
            let mut reply = refused(&id, &Refusal::new(reason, report.detail));
            reply.door_refused = report.refused;
            return Err(Box::new(reply));
        }
        Ok(submitted)
    }

    async fn check_content(&self, submitted: &Submitted, submission: &Bytes) -> Result<crate::opener::ContentReport, Refusal> {
        let wraps = if submitted.sealed.wraps.is_empty() { None } else { Some(submitted.sealed.wraps()?) };
        if let Some(wraps) = &wraps {
            self.check_vault_keys(wraps)?;
        }
        let here = wraps.is_none_or(|wraps| self.opener.may_open(&wraps));
        if here {
            return beside_others(submission.len(), || self.opener.check(&self.store.state_snapshot(), submitted));
        }
        // Another node may: the city's first.
        let mut nodes: Vec<_> = self.peers.nodes().iter().map(|n| (!n.city, n.raft_id)).collect();
        nodes.sort_unstable();
        for (_, id) in nodes {
            match self.peers.check_content(id, submission.clone()).await {
                Ok(reply) if reply.code == Reason::NoVaultKey.number() => {}
                Ok(reply) if reply.code == 0 => return Ok(crate::opener::ContentReport { refused: reply.refused, detail: reply.detail }),
                Ok(reply) => {
                    let reason = Reason::from_number(reply.code).unwrap_or(Reason::Internal);
                    return Err(Refusal::new(reason, reply.detail));
                }
                Err(status) => tracing::warn!(node = id, %status, "a node did not check content"),
            }
        }
        Err(Reason::NoVaultKey.into())
    }

    /// Whether content is sealed to keys of this ledger, and to none whose place another has taken. A key
    /// serves until its successor is endorsed by the quorum: no client takes that one before.
    fn check_vault_keys(&self, wraps: &vermilion_proto::VaultWraps) -> Result<(), Refusal> {
        let known = self.rotated.keys();
        let area = |id: &[u8]| pinned::vault_area(&self.genesis, &known, id);
        // Content that no key of this ledger opens could never be checked nor served.
        if !wraps.wraps.iter().any(|w| area(&w.vault_key_id).is_some()) {
            return Err(Reason::WrapMissing.into());
        }
        if known.is_empty() {
            return Ok(());
        }
        let mut serve = pinned::vault_keys(&self.genesis, &self.rotated.proved());
        serve.extend(pinned::vault_keys(&self.genesis, &known));
        let replaced = |id: &[u8]| area(id).is_some() && serve.iter().all(|key| key.key_id != id);
        if wraps.wraps.iter().any(|w| replaced(&w.vault_key_id)) {
            return Err(Reason::VaultKeyReplaced.into());
        }
        Ok(())
    }

    /// To the leader, here or one hop away.
    async fn route(&self, id: Digest, bytes: Bytes, from: From<'_>) -> SubmitReply {
        let leader = self.status().leader;
        match leader {
            Some(leader) if leader == self.id => self.propose(id, bytes).await,
            Some(leader) if !matches!(from, From::Node) => match self.peers.forward(leader, bytes).await {
                Ok(reply) => hinting(reply, leader),
                Err(status) => {
                    tracing::debug!(%status, "forwarding failed");
                    unknown(&id)
                }
            },
            _ => busy(&id, Reason::NoLeader),
        }
    }

    async fn propose(&self, id: Digest, bytes: Bytes) -> SubmitReply {
        // Dropped last, whatever ends the wait: whoever gave up is forgotten.
        let _forget = Forget { waiters: &self.waiters, id };
        let fate = self.waiters.wait(id);
        let (verdict, not_taken) = oneshot::channel();
        // The same command may be under way already, or may have been lost with its leader: apply takes
        // it once. Does not wait: what the driver has no room for is told to come back.
        if self.events.try_send(Event::Submit { command: bytes, verdict }).is_err() {
            return busy(&id, Reason::Busy);
        }
        let not_taken = async {
            match not_taken.await {
                Ok(error) => error,
                // Taken, or somebody else's: only the fate tells.
                Err(_) => std::future::pending().await,
            }
        };
        let reply = tokio::select! {
            fate = fate => match fate {
                Ok(Fate::Committed { seq, hash, time_ms, outcome, detail }) => {
                    SubmitReply { detail, ..committed(&id, seq, hash, time_ms, outcome) }
                }
                Ok(Fate::Existing { .. }) => match self.recorded(&id) {
                    Ok(Some(reply)) => reply,
                    _ => unknown(&id),
                },
                Ok(Fate::NotTaken) => busy(&id, Reason::NoLeader),
                Ok(Fate::Expired) => invalid(&id),
                Err(_) => unknown(&id),
            },
            error = not_taken => match error {
                SubmitError::Busy => busy(&id, Reason::Busy),
                SubmitError::NotLeader { .. } => busy(&id, Reason::NoLeader),
                SubmitError::TooLarge { .. } => refused(&id, &Reason::TooLarge.into()),
            },
            () = tokio::time::sleep(WAIT) => unknown(&id),
        };
        hinting(reply, self.id)
    }

    /// The reply for a command that is recorded here already.
    pub fn recorded(&self, id: &Digest) -> Result<Option<SubmitReply>, Refusal> {
        let internal = |e: &dyn std::fmt::Display| {
            tracing::error!(error = %e, "a record could not be read");
            Refusal::from(Reason::Internal)
        };
        let Some(seq) = query::command(&self.store.state(), id).map_err(|e| internal(&e))? else { return Ok(None) };
        let record = self.record(seq)?;
        let open = stored::open_record(&record).map_err(|e| internal(&e))?;
        Ok(Some(committed(id, seq, open.hash, open.record.time_ms, open.record.outcome.unwrap_or_default())))
    }

    /// The four states of a command (design, invariant 4).
    pub fn command_status(&self, id: &Digest, not_after_ms: u64) -> SubmitReply {
        // Block times never go back: once the ledger is past a command's not-after, no block takes it.
        // Read before the record is looked for, so that none can slip in between.
        let past = not_after_ms != 0 && self.head().is_ok_and(|h| h.time_ms > not_after_ms);
        match self.recorded(id) {
            Ok(None) if past => SubmitReply { state: CommandState::Invalid.into(), command_id: id.to_vec(), ..Default::default() },
            Ok(Some(reply)) => reply,
            Ok(None) if self.waiters.pending(id) => {
                SubmitReply { state: CommandState::Pending.into(), command_id: id.to_vec(), ..Default::default() }
            }
            Ok(None) => SubmitReply { state: CommandState::Unknown.into(), command_id: id.to_vec(), ..Default::default() },
            Err(refusal) => refused(id, &refusal),
        }
    }
}

/// Forgets a waiter when the wait ends, or is given up.
struct Forget<'a> {
    waiters: &'a crate::waiters::Waiters,
    id: Digest,
}

impl Drop for Forget<'_> {
    fn drop(&mut self) {
        self.waiters.forget(&self.id);
    }
}

/// A submission that did not go in need not be kept.
fn release(cache: &VerifiedCache, digest: &Digest) {
    let _ = cache.take(digest);
}
