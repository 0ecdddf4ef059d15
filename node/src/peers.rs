//! The other nodes: Raft messages out, and the questions that nodes ask each other.

use crate::runtime::{Event, is_snapshot};
use crate::tls::{NodeTls, dial};
use raft::eraftpb::Message;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::SyncSender;
use std::time::Duration;
use tokio::sync::mpsc;
use tonic::transport::{Channel, Endpoint};
use vermilion_consensus::{NodeId, Transport};
use vermilion_proto::peer_client::PeerClient;
use vermilion_proto::{
    CatchUpRecord, CatchUpRequest, CheckContentReply, CosignReply, CosignRequest, DiscloseRequest, GenesisNode, RaftFrame, Submission,
    SubmitReply, SubmitRequest, UseReply,
};

/// Frames that wait for a slow peer: beyond, they are dropped and Raft is told.
const OUTBOX: usize = 256;
/// How long a connection may take to come up.
const CONNECT: Duration = Duration::from_secs(2);
/// How long a question to a peer may take.
const QUESTION: Duration = Duration::from_secs(10);
/// Bytes at which a frame of Raft messages is full; one larger message goes alone.
const FRAME_BYTES: usize = 4 << 20;
/// The largest message between nodes, in bytes: a block and what Raft adds, with room.
pub const MAX_PEER_MESSAGE: usize = 32 << 20;

struct Peer {
    node: GenesisNode,
    channel: Channel,
    outbox: mpsc::Sender<Vec<Message>>,
    forward: tokio::sync::Mutex<Option<Forwarder>>,
}

/// The other nodes of the group. Cheap to clone.
#[derive(Clone)]
pub struct Peers {
    peers: Arc<BTreeMap<NodeId, Peer>>,
    events: SyncSender<Event>,
}

/// Submissions on their way to the leader, over one stream.
#[derive(Clone)]
struct Forwarder {
    requests: mpsc::Sender<SubmitRequest>,
    waiting: Arc<std::sync::Mutex<std::collections::HashMap<u64, tokio::sync::oneshot::Sender<SubmitReply>>>>,
    next: Arc<std::sync::atomic::AtomicU64>,
}

impl Peers {
    /// Connects, lazily, to every node of the genesis but this one. `addresses` override those of
    /// the genesis, by name. With `tls`, each must show the certificate of the node that it should be.
    pub fn new(
        id: NodeId,
        ledger_id: [u8; 32],
        nodes: &[GenesisNode],
        addresses: &BTreeMap<String, String>,
        events: SyncSender<Event>,
        tls: Option<&NodeTls>,
    ) -> Result<(Self, Vec<impl Future<Output = ()> + use<>>), String> {
        let mut peers = BTreeMap::new();
        let mut senders = Vec::new();
        for node in nodes.iter().filter(|n| n.raft_id != id) {
            let address = addresses.get(&node.name).unwrap_or(&node.peer_address);
            let endpoint = Endpoint::from_shared(format!("http://{address}"))
                .map_err(|e| format!("the address of node {}: {e}", node.name))?
                .connect_timeout(CONNECT)
                .tcp_nodelay(true)
                .http2_keep_alive_interval(Duration::from_secs(5))
                .keep_alive_while_idle(true)
                .initial_stream_window_size(8 << 20)
                .initial_connection_window_size(16 << 20);
            let channel = match tls {
                None => endpoint.connect_lazy(),
                Some(tls) => dial(&endpoint, tls.towards(node.raft_id).map_err(|e| e.to_string())?),
            };
            let (outbox, frames) = mpsc::channel(OUTBOX);
            senders.push(send_loop(id, node.raft_id, ledger_id, channel.clone(), frames, events.clone()));
            peers.insert(node.raft_id, Peer { node: node.clone(), channel, outbox, forward: tokio::sync::Mutex::default() });
        }
        Ok((Self { peers: Arc::new(peers), events }, senders))
    }

    /// Their ids, in order.
    #[must_use]
    pub fn ids(&self) -> Vec<NodeId> {
        self.peers.keys().copied().collect()
    }

    /// Their descriptions in the genesis.
    pub fn nodes(&self) -> impl Iterator<Item = &GenesisNode> {
        self.peers.values().map(|p| &p.node)
    }

    fn client(&self, id: NodeId) -> Result<PeerClient<Channel>, tonic::Status> {
        let peer = self.peers.get(&id).ok_or_else(|| tonic::Status::not_found("no such node"))?;
        Ok(PeerClient::new(peer.channel.clone()).max_decoding_message_size(MAX_PEER_MESSAGE).max_encoding_message_size(MAX_PEER_MESSAGE))
    }

    /// A client of the public service of another node, for what any node may ask another.
    pub fn ledger_client(&self, id: NodeId) -> Result<vermilion_proto::ledger_client::LedgerClient<Channel>, tonic::Status> {
        let peer = self.peers.get(&id).ok_or_else(|| tonic::Status::not_found("no such node"))?;
        Ok(vermilion_proto::ledger_client::LedgerClient::new(peer.channel.clone()).max_decoding_message_size(MAX_PEER_MESSAGE))
    }

    /// Sends a submission to the leader, one hop, and waits for its answer.
    pub async fn forward(&self, to: NodeId, submission: Submission) -> Result<SubmitReply, tonic::Status> {
        let peer = self.peers.get(&to).ok_or_else(|| tonic::Status::not_found("no such node"))?;
        let open = async {
            let mut slot = peer.forward.lock().await;
            let forwarder = match slot.as_ref().filter(|f| !f.requests.is_closed()) {
                Some(forwarder) => forwarder.clone(),
                None => {
                    let forwarder = Forwarder::open(self.client(to)?).await?;
                    *slot = Some(forwarder.clone());
                    forwarder
                }
            };
            Ok::<_, tonic::Status>(forwarder)
        };
        let forwarder = tokio::time::timeout(CONNECT + CONNECT, open).await;
        forwarder.map_err(|_| tonic::Status::unavailable("the leader cannot be reached"))??.send(submission).await
    }

    /// Has a node that holds the vault key open and check a submission's content.
    pub async fn check_content(&self, id: NodeId, submission: Submission) -> Result<CheckContentReply, tonic::Status> {
        let mut request = tonic::Request::new(submission);
        request.set_timeout(QUESTION);
        Ok(self.client(id)?.check_content(request).await?.into_inner())
    }

    /// Has a node that holds the vault key serve a use.
    pub async fn disclose(&self, id: NodeId, command_id: Vec<u8>) -> Result<UseReply, tonic::Status> {
        let mut request = tonic::Request::new(DiscloseRequest { command_id });
        request.set_timeout(QUESTION);
        Ok(self.client(id)?.disclose(request).await?.into_inner())
    }

    /// Shows a checkpoint with our cosignature, and hears theirs.
    pub async fn cosign(&self, id: NodeId, request: CosignRequest) -> Result<CosignReply, tonic::Status> {
        let mut request = tonic::Request::new(request);
        request.set_timeout(QUESTION);
        Ok(self.client(id)?.cosign(request).await?.into_inner())
    }

    /// Records with their ciphertexts.
    pub async fn catch_up(&self, id: NodeId, request: CatchUpRequest) -> Result<Vec<CatchUpRecord>, tonic::Status> {
        let mut request = tonic::Request::new(request);
        request.set_timeout(QUESTION * 6);
        let mut stream = self.client(id)?.catch_up(request).await?.into_inner();
        let mut records = Vec::new();
        while let Some(record) = stream.message().await? {
            records.push(record);
        }
        Ok(records)
    }
}

impl Transport for Peers {
    fn send(&mut self, to: NodeId, messages: Vec<Message>) {
        let Some(peer) = self.peers.get(&to) else { return };
        let snapshot = messages.iter().any(is_snapshot);
        let sent = peer.outbox.try_send(messages).is_ok();
        // Never waits: when the driver's queue is full as well, Raft's own timeouts do the same.
        if !sent {
            let _ = self.events.try_send(Event::Unreachable(to));
        }
        if snapshot {
            let _ = self.events.try_send(Event::SnapshotSent(to, sent));
        }
    }
}

/// Keeps one stream of frames open to a peer; what cannot be sent is dropped, and Raft is told.
async fn send_loop(
    me: NodeId,
    to: NodeId,
    ledger_id: [u8; 32],
    channel: Channel,
    mut frames: mpsc::Receiver<Vec<Message>>,
    events: SyncSender<Event>,
) {
    let mut client = PeerClient::new(channel).max_encoding_message_size(MAX_PEER_MESSAGE);
    loop {
        let Some(first) = frames.recv().await else { return };
        let (out, outgoing) = mpsc::channel::<RaftFrame>(8);
        let frame = |messages: Vec<Vec<u8>>| RaftFrame { from: me, messages, ledger_id: ledger_id.to_vec() };
        let call = client.raft(tokio_stream::wrappers::ReceiverStream::new(outgoing));
        tokio::pin!(call);
        let pump = async {
            let mut next = Some(first);
            while let Some(messages) = next {
                let (mut packed, mut bytes) = (Vec::new(), 0);
                let mut gathered = Some(messages);
                // What gathered meanwhile goes into one frame, as far as it fits.
                while let Some(messages) = gathered {
                    for message in &messages {
                        let encoded = vermilion_consensus::encode(message);
                        if bytes + encoded.len() > FRAME_BYTES && !packed.is_empty() {
                            if out.send(frame(std::mem::take(&mut packed))).await.is_err() {
                                return;
                            }
                            bytes = 0;
                        }
                        bytes += encoded.len();
                        packed.push(encoded);
                    }
                    gathered = if bytes < FRAME_BYTES { frames.try_recv().ok() } else { None };
                }
                if out.send(frame(packed)).await.is_err() {
                    return;
                }
                next = frames.recv().await;
            }
        };
        tokio::select! {
            ended = &mut call => {
                if let Err(status) = ended {
                    tracing::debug!(to, %status, "the connection to a peer ended");
                }
            }
            () = pump => {}
        }
        if frames.is_closed() {
            return;
        }
        let _ = events.try_send(Event::Unreachable(to));
        // What waited is stale by now; a peer that is down is asked again, not flooded.
        while frames.try_recv().is_ok() {}
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

impl Forwarder {
    async fn open(mut client: PeerClient<Channel>) -> Result<Self, tonic::Status> {
        let (requests, outgoing) = mpsc::channel::<SubmitRequest>(1024);
        let waiting: Arc<std::sync::Mutex<std::collections::HashMap<u64, tokio::sync::oneshot::Sender<SubmitReply>>>> = Arc::default();
        let theirs = Arc::clone(&waiting);
        let mut replies = client.forward(tokio_stream::wrappers::ReceiverStream::new(outgoing)).await?.into_inner();
        let closing = requests.downgrade();
        tokio::spawn(async move {
            while let Ok(Some(reply)) = replies.message().await {
                let sender = theirs.lock().unwrap_or_else(std::sync::PoisonError::into_inner).remove(&reply.tag);
                if let Some(sender) = sender {
                    let _ = sender.send(reply);
                }
            }
            // Whoever still waits hears that the connection is gone.
            theirs.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clear();
            drop(closing);
        });
        Ok(Self { requests, waiting, next: Arc::default() })
    }

    async fn send(&self, submission: Submission) -> Result<SubmitReply, tonic::Status> {
        let tag = self.next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let (sender, receiver) = tokio::sync::oneshot::channel();
        self.waiting.lock().unwrap_or_else(std::sync::PoisonError::into_inner).insert(tag, sender);
        let gone = || tonic::Status::unavailable("the connection to the leader ended: the outcome is unknown");
        self.requests.send(SubmitRequest { tag, submission: Some(submission) }).await.map_err(|_| gone())?;
        let reply = tokio::time::timeout(QUESTION * 2, receiver).await;
        self.waiting.lock().unwrap_or_else(std::sync::PoisonError::into_inner).remove(&tag);
        reply.map_err(|_| gone())?.map_err(|_| gone())
    }
}
