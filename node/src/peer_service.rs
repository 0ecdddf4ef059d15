//! The gRPC service for nodes: with TLS for their certificates alone, and for each under its own id.
//! Without TLS the listener belongs on a network of the nodes' own.

use crate::answers::internal;
use crate::caller;
use crate::door::beside_others;
use crate::gate::NodeGate;
use crate::grpc::{Door, status, submit_all};
use crate::hashes;
use crate::node::Node;
use crate::outbox::is_bulk;
use crate::runtime::{Event, is_snapshot};
use crate::snapshot::give;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, TrySendError};
use std::time::Instant;
use tokio::sync::mpsc;
use tokio_stream::{Stream, wrappers::ReceiverStream};
use tonic::{Request, Response, Status, Streaming};
use vermilion_consensus::{Gate as _, Millis, Refusal as GateRefusal};
use vermilion_identity::Certificate;
use vermilion_proto::peer_server::Peer;
use vermilion_proto::{
    CatchUpRecord, CatchUpRequest, CheckContentReply, CosignReply, CosignRequest, DiscloseRequest, EndorsementReply, EndorsementRequest,
    Message as _, PlaceReply, PlaceRequest, RaftAck, RaftFrame, RecordHashesReply, RecordHashesRequest, StatePart, StateRequest,
    StoredRecord, SubmitReply, SubmitRequest, UseReply, VaultWraps, canonical,
};
use vermilion_registry::reason::Reason;
use vermilion_registry::submission::open_submission;
use vermilion_storage::{StorageError, Store};

/// Records of one catch-up request.
const MAX_CATCH_UP: u64 = 1024;
/// Bytes after which a catch-up answer ends.
pub(crate) const MAX_CATCH_UP_BYTES: usize = 16 << 20;

/// The service.
#[derive(Clone)]
pub struct PeerService(pub Arc<Node>);

type ReplyStream<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

impl PeerService {
    /// Refuses a node that was banned or retired and has left the group.
    fn present(&self, from: u64) -> Result<(), Status> {
        match self.0.peers.has_left(from) {
            true => Err(Status::permission_denied("this node is banned or retired, and has left the group")),
            false => Ok(()),
        }
    }

    /// Refuses records that this node, which took a state, does not have yet.
    fn has_history(&self, from: u64) -> Result<(), Status> {
        let first = self.0.store.history_from().map_err(|e| status(&internal(&e)))?;
        if from > 0 && from < first { Err(status(&Reason::NotHereYet.into())) } else { Ok(()) }
    }

    fn gate(&self) -> NodeGate {
        NodeGate::new(Arc::clone(&self.0.cache), self.0.ledger_id, self.0.peers.clone(), self.0.store.clone())
    }

    /// Looks who sends a frame and where from, and what the time is there.
    fn hear(&self, peer: Option<&Certificate>, frame: &RaftFrame) -> Result<(), Status> {
        if frame.ledger_id != self.0.ledger_id {
            return Err(Status::failed_precondition("the nodes are of different ledgers"));
        }
        caller::check_from(&self.0, peer, frame.from)?;
        self.present(frame.from)?;
        self.0.peers.heard(frame.from, &frame.address);
        self.0.clocks.hear(frame.from, frame.sent_ms, Instant::now());
        Ok(())
    }

    /// Passes one frame's messages through the gate and hands the good ones on, in order. Of appends and snapshots, or of the
    /// others.
    async fn take(&self, gate: &NodeGate, frame: RaftFrame, bulk: bool) -> Result<(), Status> {
        let node = &self.0;
        let mut passed = Vec::with_capacity(frame.messages.len());
        let mut refused = None;
        for bytes in &frame.messages {
            let message = vermilion_consensus::decode(bytes).map_err(|e| Status::invalid_argument(e.to_string()))?;
            if message.from != frame.from || message.to != node.id {
                return Err(Status::invalid_argument("a message of another node, or for another"));
            }
            if is_bulk(&message) != bulk {
                return Err(Status::invalid_argument("appends and snapshots come in a stream of their own"));
            }
            let verdict = if is_snapshot(&message) {
                node.held_against(&message).await
            } else {
                let admit = || gate.admit(&message, Millis(node.steady_time()));
                beside_others(message.entries.iter().map(|entry| entry.data.len()).sum(), admit)
            };
            match verdict {
                Ok(()) => passed.push(message),
                Err(GateRefusal::Early(why)) => tracing::warn!(from = frame.from, why, "a message was dropped"),
                Err(GateRefusal::Forged(why)) => {
                    node.metrics.gate_refused.inc();
                    tracing::error!(from = frame.from, term = message.term, why, "the gate refused a leader's message");
                    refused = Some(message.term);
                    break;
                }
            }
        }
        let steps = (!passed.is_empty()).then_some(Event::Step(passed));
        let refusal = refused.map(|term| Event::Refused { from: frame.from, term });
        steps.into_iter().chain(refusal).try_for_each(|event| hand_over(&node.events, event))
    }
}

/// Gives the driver an event. When its queue is full this peer waits, on a thread of its own.
fn hand_over(events: &SyncSender<Event>, event: Event) -> Result<(), Status> {
    let stopping = || Status::unavailable("the node is stopping");
    match events.try_send(event) {
        Ok(()) => Ok(()),
        Err(TrySendError::Full(event)) => tokio::task::block_in_place(|| events.send(event)).map_err(|_| stopping()),
        Err(TrySendError::Disconnected(_)) => Err(stopping()),
    }
}

/// A record with what the vault holds of it.
pub fn with_content(store: &Store, seq: u64, record: StoredRecord) -> Result<CatchUpRecord, StorageError> {
    let (items, text) = store.ciphertexts(seq)?;
    let wraps = store.wraps(seq)?.unwrap_or_default();
    let mut ciphertexts = vec![Vec::new(); record.items.len()];
    for (position, ciphertext) in items {
        if let Some(slot) = ciphertexts.get_mut(position as usize) {
            *slot = ciphertext;
        }
    }
    // Read after them: an erasure between has emptied a key already whose ciphertext is here still.
    let keys = VaultWraps::decode(wraps.as_slice()).map(|wraps| wraps.licence_keys).unwrap_or_default();
    ciphertexts.iter_mut().zip(keys).filter(|(_, key)| key.is_empty()).for_each(|(ciphertext, _)| ciphertext.clear());
    Ok(CatchUpRecord { record: Some(record), ciphertexts, wraps, text })
}

#[tonic::async_trait]
impl Peer for PeerService {
    async fn raft(&self, request: Request<Streaming<RaftFrame>>) -> Result<Response<RaftAck>, Status> {
        let peer = caller::peer(&self.0, &request)?;
        let (mut frames, gate) = (request.into_inner(), self.gate());
        while let Some(frame) = frames.message().await? {
            self.hear(peer.as_deref(), &frame)?;
            self.take(&gate, frame, false).await?;
        }
        Ok(Response::new(RaftAck {}))
    }

    type AppendsStream = ReplyStream<RaftAck>;

    async fn appends(&self, request: Request<Streaming<RaftFrame>>) -> Result<Response<Self::AppendsStream>, Status> {
        let peer = caller::peer(&self.0, &request)?;
        let (mut frames, gate, service) = (request.into_inner(), self.gate(), self.clone());
        // Who does not read its acknowledgements is not read.
        let (acks, out) = mpsc::channel(8);
        tokio::spawn(async move {
            let took = async {
                while let Some(frame) = frames.message().await? {
                    service.hear(peer.as_deref(), &frame)?;
                    // The next may come while this one's signatures are checked.
                    if acks.send(Ok(RaftAck {})).await.is_err() {
                        break;
                    }
                    service.take(&gate, frame, true).await?;
                }
                Ok(())
            };
            if let Err(status) = took.await {
                let _ = acks.send(Err(status)).await;
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(out))))
    }

    type ForwardStream = ReplyStream<SubmitReply>;

    async fn forward(&self, request: Request<Streaming<SubmitRequest>>) -> Result<Response<Self::ForwardStream>, Status> {
        caller::reader(&self.0, &request)?;
        Ok(Response::new(submit_all(Arc::clone(&self.0), request.into_inner(), Door::Node)))
    }

    async fn check_content(&self, request: Request<SubmitRequest>) -> Result<Response<CheckContentReply>, Status> {
        caller::reader(&self.0, &request)?;
        let bytes = request.into_inner().submission;
        let node = &self.0;
        let report = tokio::task::block_in_place(|| {
            let submitted = open_submission(&bytes)?;
            node.opener.check(&node.store.state_snapshot(), &submitted)
        });
        Ok(Response::new(match report {
            Ok(report) => CheckContentReply { code: 0, detail: report.detail, refused: report.refused, token: Vec::new() },
            Err(refusal) => CheckContentReply { code: refusal.reason.number(), detail: refusal.detail, ..Default::default() },
        }))
    }

    async fn disclose(&self, request: Request<DiscloseRequest>) -> Result<Response<UseReply>, Status> {
        caller::reader(&self.0, &request)?;
        let id = request.into_inner().command_id;
        self.0.read_barrier().await.map_err(|r| status(&r))?;
        tokio::task::block_in_place(|| self.0.contents(&id)).map(Response::new).map_err(|r| status(&r))
    }

    async fn cosign(&self, request: Request<CosignRequest>) -> Result<Response<CosignReply>, Status> {
        caller::check_from(&self.0, caller::peer(&self.0, &request)?.as_deref(), request.get_ref().from)?;
        let CosignRequest { from, note } = request.into_inner();
        self.present(from)?;
        let note = self.0.witness.take_in(note).await.map_err(Status::invalid_argument)?;
        Ok(Response::new(CosignReply { note }))
    }

    type StateStream = ReplyStream<StatePart>;

    async fn state(&self, request: Request<StateRequest>) -> Result<Response<Self::StateStream>, Status> {
        caller::reader(&self.0, &request)?;
        // Each keeps a moment of the database alive.
        let Ok(one) = Arc::clone(&self.0.giving).try_acquire_owned() else {
            return Err(Status::resource_exhausted("a state is being given to another node: ask again"));
        };
        let (sender, out) = mpsc::channel(4);
        let (node, StateRequest { at_least }) = (Arc::clone(&self.0), request.into_inner());
        tokio::task::spawn_blocking(move || {
            give(&node, at_least, &sender);
            drop(one);
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(out))))
    }

    async fn endorsement(&self, request: Request<EndorsementRequest>) -> Result<Response<EndorsementReply>, Status> {
        caller::reader(&self.0, &request)?;
        let seq = request.into_inner().seq;
        let made = tokio::task::block_in_place(|| self.0.witness.endorsement(seq)).map_err(|e| status(&internal(&e)))?;
        Ok(Response::new(EndorsementReply { endorsement: made.unwrap_or_default() }))
    }

    async fn place(&self, request: Request<PlaceRequest>) -> Result<Response<PlaceReply>, Status> {
        caller::reader(&self.0, &request)?;
        let _place = self.0.node_readers.place(caller::which(&request))?;
        let PlaceRequest { index, term, head, voters, learners } = request.into_inner();
        let head = canonical(&head).map_err(|e| Status::invalid_argument(e.to_string()))?;
        let word = tokio::task::block_in_place(|| self.0.word_on(index, term, &head, (&voters, &learners)));
        Ok(Response::new(PlaceReply { word: word.map_err(|e| status(&internal(&e)))? as u32 }))
    }

    async fn record_hashes(&self, request: Request<RecordHashesRequest>) -> Result<Response<RecordHashesReply>, Status> {
        caller::reader(&self.0, &request)?;
        let _place = self.0.node_readers.place(caller::which(&request))?;
        let RecordHashesRequest { from, to } = request.into_inner();
        self.has_history(from)?;
        let hashes = tokio::task::block_in_place(|| hashes::read(&self.0.store, from, to)).map_err(|e| status(&internal(&e)))?;
        Ok(Response::new(RecordHashesReply { hashes }))
    }

    type CatchUpStream = ReplyStream<CatchUpRecord>;

    async fn catch_up(&self, request: Request<CatchUpRequest>) -> Result<Response<Self::CatchUpStream>, Status> {
        caller::reader(&self.0, &request)?;
        let reader = caller::which(&request);
        let CatchUpRequest { from, to } = request.into_inner();
        let to = to.min(from.saturating_add(MAX_CATCH_UP));
        let store = self.0.store.clone();
        self.has_history(from)?;
        let (to_reader, out) = self.0.node_readers.reader(reader, 16)?;
        let mut sent = 0;
        tokio::task::spawn_blocking(move || {
            let result = store.records(from, &mut |seq, record| {
                // One always; more as far as a message's worth of bytes goes.
                if seq >= to || sent > MAX_CATCH_UP_BYTES {
                    return false;
                }
                let answer = with_content(&store, seq, record).map_err(|e| status(&internal(&e)));
                sent += answer.as_ref().map_or(0, |a| a.encoded_len());
                to_reader.send(answer)
            });
            if let Err(error) = result {
                to_reader.send(Err(status(&internal(&error))));
            }
        });
        Ok(Response::new(Box::pin(out)))
    }
}
