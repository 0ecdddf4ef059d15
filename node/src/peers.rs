//! The other nodes: who they are, how they are reached, and the questions that nodes ask each other. How Raft's messages go
//! out is in [`crate::sending`].

use crate::forward::Forwarder;
use crate::membership::Roster;
use crate::peer_service::MAX_CATCH_UP_BYTES;
use crate::runtime::Event;
use crate::sending::{Lanes, Sender};
use crate::tls::{NodeTls, dial};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard, Weak};
use std::time::Duration;
use tokio::task::JoinSet;
use tonic::transport::{Channel, Endpoint};
use vermilion_consensus::{ConfState, NodeId, Standing};
use vermilion_crypto::Digest;
use vermilion_proto::peer_client::PeerClient;
use vermilion_proto::{
    Bytes, CatchUpRecord, CatchUpRequest, CheckContentReply, CosignReply, CosignRequest, DiscloseRequest, EndorsementReply,
    EndorsementRequest, GenesisNode, Message as _, PlaceRequest, RecordHashesRequest, StatePart, StateRequest, SubmitReply, SubmitRequest,
    UseReply,
};

/// Nodes that are spoken to on their own word, because the state does not know them yet.
const STRANGERS: usize = 16;
/// How long a connection may be silent that blocks go over: what asks whether it lives waits behind them.
pub const BEHIND_BLOCKS: Duration = Duration::from_secs(60);
/// How long a connection may take to come up.
const CONNECT: Duration = Duration::from_secs(2);
/// How long a question to a peer may take.
const QUESTION: Duration = Duration::from_secs(10);
/// How long records may take that are asked for at once.
const RECORDS: Duration = Duration::from_secs(30);
/// How long a question may take on which a message of Raft waits.
const CONFIRM: Duration = Duration::from_secs(2);
/// The largest message between nodes, in bytes: a block and what Raft adds, with room.
pub const MAX_PEER_MESSAGE: usize = 32 << 20;

pub(crate) struct Peer {
    node: GenesisNode,
    /// For blocks, submissions and whatever else may be large.
    channel: Channel,
    /// For what is small: it waits behind nothing large.
    words: Channel,
    /// Raft's messages to it.
    pub(crate) lanes: Lanes,
    forward: tokio::sync::Mutex<Option<Forwarder>>,
}

/// The other nodes, as the state knows them. Cheap to clone.
#[derive(Clone)]
pub struct Peers(Arc<Inner>);

/// Where a node is, as the state and the group say.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Whereabouts {
    /// The state does not know it yet.
    Unknown,
    /// It has access.
    Present,
    /// It lost its access, and its removal from the group is not applied yet: it is still heard, because
    /// without its voice the others may be unable to decide that it leaves.
    Leaving,
    /// It lost its access and has left the group.
    Left,
}

/// The question for a node's whereabouts, kept without keeping the table alive: the connections in it hold whoever asks.
pub(crate) struct Whereabout(Weak<Inner>);

impl Whereabout {
    /// Where a node is.
    pub(crate) fn of(&self, id: NodeId) -> Whereabouts {
        self.0.upgrade().map_or(Whereabouts::Unknown, |inner| Peers(inner).whereabouts(id))
    }
}

struct Inner {
    me: NodeId,
    ledger_id: [u8; 32],
    /// Where this node is reached, for those who do not know it yet.
    address: String,
    /// Addresses by name that go before those of the state.
    addresses: BTreeMap<String, String>,
    events: SyncSender<Event>,
    runtime: tokio::runtime::Handle,
    tls: Option<Arc<NodeTls>>,
    table: RwLock<Table>,
}

#[derive(Default)]
struct Table {
    peers: BTreeMap<NodeId, Arc<Peer>>,
    roster: Arc<Roster>,
    /// Voters and learners, as of what was applied.
    group: BTreeSet<NodeId>,
}

impl Peers {
    /// Knows nobody yet: see [`Peers::follow`]. `addresses` override those of the state, by name. With `tls`, each must show the
    /// certificate of the node that it should be.
    #[must_use]
    pub fn new(
        me: &GenesisNode,
        ledger_id: [u8; 32],
        addresses: BTreeMap<String, String>,
        events: SyncSender<Event>,
        runtime: tokio::runtime::Handle,
        tls: Option<Arc<NodeTls>>,
    ) -> Self {
        let (me, address) = (me.raft_id, me.peer_address.clone());
        Self(Arc::new(Inner { me, ledger_id, address, addresses, events, runtime, tls, table: RwLock::default() }))
    }

    fn table(&self) -> RwLockReadGuard<'_, Table> {
        self.0.table.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write_table(&self) -> RwLockWriteGuard<'_, Table> {
        self.0.table.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Connects, lazily, to the nodes of a roster but this one, and ends the connections to those that are neither present
    /// nor in the group any more. A banned node is spoken to until its removal is applied: without its voice the others
    /// may be unable to decide that it leaves.
    pub fn follow(&self, roster: Arc<Roster>, group: &ConfState) {
        let group: BTreeSet<NodeId> = group.voters.iter().chain(&group.learners).copied().collect();
        let mut wanted: BTreeMap<NodeId, GenesisNode> = roster.present().map(|n| (n.raft_id, n.clone())).collect();
        wanted.extend(roster.nodes.iter().filter(|(id, _)| group.contains(id)).map(|(id, n)| (*id, n.clone())));
        wanted.remove(&self.0.me);
        let mut table = self.write_table();
        // One that only its own frames spoke of stays until the state knows better.
        table.peers.retain(|id, peer| match roster.nodes.contains_key(id) {
            true => wanted.get(id) == Some(&peer.node),
            false => true,
        });
        for (id, node) in wanted {
            if !table.peers.contains_key(&id)
                && let Some(peer) = self.connect(node)
            {
                table.peers.insert(id, Arc::new(peer));
            }
        }
        (table.roster, table.group) = (roster, group);
    }

    /// A node that this one's state does not know yet sent a frame and says where it is reached: a node that joins must be
    /// able to answer whoever leads. What it sends passes the gate like anybody's.
    pub fn heard(&self, from: NodeId, address: &str) {
        let strange = |table: &Table| from != self.0.me && !table.peers.contains_key(&from) && !table.roster.nodes.contains_key(&from);
        if address.is_empty() || !strange(&self.table()) {
            return;
        }
        let mut table = self.write_table();
        let strangers = table.peers.keys().filter(|id| !table.roster.nodes.contains_key(id)).count();
        if !strange(&table) || strangers >= STRANGERS {
            return;
        }
        let node = GenesisNode { raft_id: from, name: format!("node-{from}"), peer_address: address.to_owned(), ..Default::default() };
        if let Some(peer) = self.connect(node) {
            table.peers.insert(from, Arc::new(peer));
        }
    }

    /// Whether a node was banned or retired, and has left the group: nothing is taken from it.
    #[must_use]
    pub fn has_left(&self, id: NodeId) -> bool {
        self.whereabouts(id) == Whereabouts::Left
    }

    pub(crate) fn whereabouts(&self, id: NodeId) -> Whereabouts {
        let table = self.table();
        match table.roster.standings.get(&id) {
            None | Some(Standing::Unknown) => Whereabouts::Unknown,
            Some(Standing::Voter | Standing::Kept) => Whereabouts::Present,
            Some(Standing::Out) if id == self.0.me || table.group.contains(&id) => Whereabouts::Leaving,
            Some(Standing::Out) => Whereabouts::Left,
        }
    }

    /// The question for a node's whereabouts, to keep.
    pub(crate) fn whereabout(&self) -> Whereabout {
        Whereabout(Arc::downgrade(&self.0))
    }

    /// What the state says of the nodes.
    #[must_use]
    pub fn roster(&self) -> Arc<Roster> {
        Arc::clone(&self.table().roster)
    }

    fn connect(&self, node: GenesisNode) -> Option<Peer> {
        // A connection that is made later needs the runtime it was made in, and this may be the applier's thread.
        let _inside = self.0.runtime.enter();
        let address = self.0.addresses.get(&node.name).unwrap_or(&node.peer_address);
        let endpoint = match Endpoint::from_shared(format!("http://{address}")) {
            Ok(endpoint) => endpoint,
            Err(error) => {
                tracing::error!(node = node.name, address, %error, "a node cannot be reached at such an address");
                return None;
            }
        };
        let endpoint = endpoint
            .connect_timeout(CONNECT)
            .tcp_nodelay(true)
            .http2_keep_alive_interval(Duration::from_secs(5))
            .keep_alive_while_idle(true)
            .initial_stream_window_size(8 << 20)
            .initial_connection_window_size(16 << 20);
        // A connection each. On one, a small message would wait behind a block wherever bytes lie in order: in the sockets, and
        // on the line.
        let open = |endpoint: Endpoint| match self.0.tls.as_ref().map(|tls| (tls.towards(node.raft_id), Arc::clone(&tls.connections))) {
            None => Some(endpoint.connect_lazy()),
            Some((Ok(config), table)) => Some(dial(&endpoint, config, Some(table))),
            Some((Err(error), _)) => {
                tracing::error!(node = node.name, %error, "a node cannot be reached over TLS");
                None
            }
        };
        let channel = open(endpoint.clone().keep_alive_timeout(BEHIND_BLOCKS))?;
        let words = open(endpoint)?;
        let Inner { me, ledger_id, address, events, runtime, .. } = &*self.0;
        let sender = Sender { me: *me, to: node.raft_id, ledger_id: *ledger_id, address: address.clone(), events: events.clone() };
        let lanes = Lanes::open(sender, channel.clone(), words.clone(), runtime);
        Some(Peer { node, channel, words, lanes, forward: tokio::sync::Mutex::default() })
    }

    /// Whom Raft's messages to a node go to, and where it is told what came of them.
    pub(crate) fn towards(&self, id: NodeId) -> (Option<Arc<Peer>>, &SyncSender<Event>) {
        (self.table().peers.get(&id).cloned(), &self.0.events)
    }

    fn peer(&self, id: NodeId) -> Result<Arc<Peer>, tonic::Status> {
        self.table().peers.get(&id).cloned().ok_or_else(|| tonic::Status::not_found("no such node"))
    }

    /// Their ids, in order.
    #[must_use]
    pub fn ids(&self) -> Vec<NodeId> {
        self.table().peers.keys().copied().collect()
    }

    /// What is known of each, in order of id.
    #[must_use]
    pub fn nodes(&self) -> Vec<GenesisNode> {
        self.table().peers.values().map(|p| p.node.clone()).collect()
    }

    fn client(&self, id: NodeId) -> Result<PeerClient<Channel>, tonic::Status> {
        let peer = self.peer(id)?;
        Ok(PeerClient::new(peer.channel.clone()).max_decoding_message_size(MAX_PEER_MESSAGE).max_encoding_message_size(MAX_PEER_MESSAGE))
    }

    /// For questions and answers that are small.
    fn words(&self, id: NodeId) -> Result<PeerClient<Channel>, tonic::Status> {
        Ok(PeerClient::new(self.peer(id)?.words.clone()))
    }

    /// A client of the public service of another node, for what any node may ask another.
    pub fn ledger_client(&self, id: NodeId) -> Result<vermilion_proto::ledger_client::LedgerClient<Channel>, tonic::Status> {
        let peer = self.peer(id)?;
        Ok(vermilion_proto::ledger_client::LedgerClient::new(peer.channel.clone()).max_decoding_message_size(MAX_PEER_MESSAGE))
    }

    /// Sends a submission to the leader, one hop, and waits for its answer.
    pub async fn forward(&self, to: NodeId, submission: Bytes) -> Result<SubmitReply, tonic::Status> {
        let peer = self.peer(to)?;
        let open = async {
            let mut slot = peer.forward.lock().await;
            let forwarder = match slot.as_ref().filter(|f| f.is_open()) {
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
    pub async fn check_content(&self, id: NodeId, submission: Bytes) -> Result<CheckContentReply, tonic::Status> {
        let mut client = self.client(id)?;
        whole(QUESTION, client.check_content(limited(QUESTION, SubmitRequest { tag: 0, submission }))).await
    }

    /// Has a node that holds the vault key serve a use.
    pub async fn disclose(&self, id: NodeId, command_id: Vec<u8>) -> Result<UseReply, tonic::Status> {
        let mut client = self.client(id)?;
        whole(QUESTION, client.disclose(limited(QUESTION, DiscloseRequest { command_id }))).await
    }

    /// Shows a checkpoint with our cosignature, and hears theirs.
    pub async fn cosign(&self, id: NodeId, request: CosignRequest) -> Result<CosignReply, tonic::Status> {
        let mut client = self.words(id)?;
        whole(QUESTION, client.cosign(limited(QUESTION, request))).await
    }

    /// What endorses a key, as another node has it.
    pub async fn endorsement(&self, id: NodeId, request: EndorsementRequest) -> Result<EndorsementReply, tonic::Status> {
        let mut client = self.words(id)?;
        whole(QUESTION, client.endorsement(limited(QUESTION, request))).await
    }

    /// What another node says of a place in the Raft log, as [`crate::place::Word`] numbers it.
    pub async fn place(&self, id: NodeId, request: PlaceRequest) -> Result<u32, tonic::Status> {
        let mut client = self.words(id)?;
        Ok(whole(CONFIRM, client.place(limited(CONFIRM, request))).await?.word)
    }

    /// Asks all other nodes but one for a place in the Raft log, at once: what they say is there as they answer, and all of
    /// it when one question's time is over. Who drops the answers asks no further.
    pub fn places(&self, but: NodeId, request: &PlaceRequest) -> JoinSet<(GenesisNode, Result<u32, tonic::Status>)> {
        let mut asked = JoinSet::new();
        for node in self.nodes().into_iter().filter(|node| node.raft_id != but) {
            let (peers, request) = (self.clone(), request.clone());
            asked.spawn(async move {
                let word = peers.place(node.raft_id, request).await;
                (node, word)
            });
        }
        asked
    }

    /// Records with their ciphertexts: those asked for, or as many of them from the first on as come within half a minute.
    pub async fn catch_up(&self, id: NodeId, request: CatchUpRequest) -> Result<Vec<CatchUpRecord>, tonic::Status> {
        let most = request.to.saturating_sub(request.from);
        let (mut records, mut bytes) = (Vec::new(), 0);
        let mut client = self.client(id)?;
        let reading = async {
            let mut stream = client.catch_up(request).await?.into_inner();
            while let Some(record) = stream.message().await? {
                // A peer ends behind the record that goes beyond the bytes of an answer.
                if records.len() as u64 >= most || bytes > MAX_CATCH_UP_BYTES {
                    return Err(tonic::Status::out_of_range("a peer sends more records than it was asked for"));
                }
                bytes += record.encoded_len();
                records.push(record);
            }
            Ok(())
        };
        let read = tokio::time::timeout(RECORDS, reading).await;
        match read {
            Ok(read) => read?,
            // What came on a slow line is as good.
            Err(_) if records.is_empty() => return Err(tonic::Status::deadline_exceeded("a peer gave no record in time")),
            Err(_) => {}
        }
        Ok(records)
    }

    /// The hashes of records, from the first asked for on; as many as the peer gives at once.
    pub async fn record_hashes(&self, id: NodeId, request: RecordHashesRequest) -> Result<Vec<Digest>, tonic::Status> {
        let mut client = self.client(id)?;
        let reply = whole(RECORDS, client.record_hashes(limited(RECORDS, request))).await?;
        match reply.hashes.as_chunks::<32>() {
            (hashes, []) => Ok(hashes.to_vec()),
            _ => Err(tonic::Status::out_of_range("a peer's hashes are not of 32 bytes each")),
        }
    }

    /// The state as of a commitment record, in parts, each of which the caller waits for.
    pub async fn state(&self, id: NodeId, request: StateRequest) -> Result<tonic::Streaming<StatePart>, tonic::Status> {
        let mut client = self.client(id)?;
        whole(QUESTION, client.state(request)).await
    }
}

/// A question that the other node need not answer after this time.
pub(crate) fn limited<T>(limit: Duration, question: T) -> tonic::Request<T> {
    let mut request = tonic::Request::new(question);
    request.set_timeout(limit);
    request
}

/// Waits for a whole answer, so long and no longer. A request's own limit ends with the head of the answer: a node that sends
/// nothing behind it would be waited for without end.
pub(crate) async fn whole<T>(
    limit: Duration,
    call: impl Future<Output = Result<tonic::Response<T>, tonic::Status>>,
) -> Result<T, tonic::Status> {
    let slow = |_| tonic::Status::deadline_exceeded("a node gave no whole answer in time");
    Ok(tokio::time::timeout(limit, call).await.map_err(slow)??.into_inner())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
pub(crate) mod tests {
    use super::*;
    use axum::body::Body;
    use axum::http;
    use raft::eraftpb::Message;
    use std::convert::Infallible;
    use std::future::{Ready, ready};
    use std::task::{Context, Poll};
    use std::time::Instant;
    use tokio_stream::StreamExt as _;
    use tonic::Code;
    use vermilion_consensus::Transport as _;

    /// A node that answers every question with the head of an answer and these bytes, and then nothing.
    #[derive(Clone)]
    struct Silent(&'static [u8]);

    impl tonic::server::NamedService for Silent {
        const NAME: &'static str = "vermilion.v1.Peer";
    }

    impl tower::Service<http::Request<tonic::body::Body>> for Silent {
        type Response = http::Response<Body>;
        type Error = Infallible;
        type Future = Ready<Result<Self::Response, Infallible>>;

        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
            Poll::Ready(Ok(()))
        }

        fn call(&mut self, _: http::Request<tonic::body::Body>) -> Self::Future {
            let said = tokio_stream::once(Ok::<_, Infallible>(Bytes::from_static(self.0)));
            let body = Body::from_stream(said.chain(tokio_stream::pending()));
            ready(Ok(http::Response::builder().header("content-type", "application/grpc").body(body).unwrap()))
        }
    }

    /// Where such a node answers.
    pub(crate) async fn silent_behind(said: &'static [u8]) -> String {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let incoming = tokio_stream::wrappers::TcpListenerStream::new(listener);
        tokio::spawn(tonic::transport::Server::builder().add_service(Silent(said)).serve_with_incoming(incoming));
        address
    }

    /// The table of node 1, which knows nobody yet, with these addresses in its configuration.
    fn table(addresses: BTreeMap<String, String>) -> Peers {
        let (events, _) = std::sync::mpsc::sync_channel(1);
        let me = GenesisNode { raft_id: 1, ..Default::default() };
        Peers::new(&me, [0; 32], addresses, events, tokio::runtime::Handle::current(), None)
    }

    /// The table of node 1, whose peers of these ids all answer with nothing behind the head.
    async fn peers_of(silent: &[NodeId]) -> Peers {
        let (address, peers) = (silent_behind(b"").await, table(BTreeMap::new()));
        let node =
            |id: &NodeId| (*id, GenesisNode { raft_id: *id, name: format!("n{id}"), peer_address: address.clone(), ..Default::default() });
        let roster = Roster { nodes: silent.iter().map(node).collect(), ..Roster::default() };
        peers.follow(Arc::new(roster), &ConfState::default());
        peers
    }

    #[tokio::test]
    async fn what_came_of_a_snapshot_is_told_where_there_is_nobody_to_send_it_to() {
        let (events, told) = std::sync::mpsc::sync_channel(1);
        let me = GenesisNode { raft_id: 1, ..Default::default() };
        let mut peers = Peers::new(&me, [0; 32], BTreeMap::new(), events, tokio::runtime::Handle::current(), None);
        let snapshot = Message { msg_type: raft::eraftpb::MessageType::MsgSnapshot as i32, ..Message::default() };
        peers.send(9, vec![snapshot]);
        assert!(matches!(told.try_recv(), Ok(Event::SnapshotSent(9, false))));
    }

    #[tokio::test]
    async fn who_left_is_the_states_word_and_no_address() {
        let nowhere = ["n2", "n3", "n4"].map(|name| (name.to_owned(), "node futian:7100".to_owned()));
        let peers = table(BTreeMap::from(nowhere));
        let node = |id| (id, GenesisNode { raft_id: id, name: format!("n{id}"), peer_address: "127.0.0.1:1".into(), ..Default::default() });
        let roster = Roster {
            nodes: BTreeMap::from([2, 3, 4].map(node)),
            standings: BTreeMap::from([(2, Standing::Voter), (3, Standing::Out), (4, Standing::Out)]),
        };
        // The removal of the banned node 4 is not applied yet.
        peers.follow(Arc::new(roster), &ConfState { voters: vec![1, 2, 4], ..ConfState::default() });
        assert!(peers.ids().is_empty(), "nobody is reached at such an address");
        assert_eq!([1, 2, 3, 4, 5].map(|id| peers.has_left(id)), [false, false, true, false, false]);
        assert_eq!(peers.whereabouts(4), Whereabouts::Leaving);
    }

    #[tokio::test]
    async fn an_answer_that_ends_with_its_head_is_not_waited_for() {
        let peers = peers_of(&[2]).await;
        let started = Instant::now();
        assert_eq!(peers.place(2, PlaceRequest::default()).await.unwrap_err().code(), Code::DeadlineExceeded);
        assert!(started.elapsed() < 2 * CONFIRM);
    }

    #[tokio::test]
    async fn all_are_asked_for_a_place_at_once() {
        let peers = peers_of(&[2, 3, 4, 5]).await;
        let started = Instant::now();
        let answers = peers.places(3, &PlaceRequest::default()).join_all().await;
        assert!(answers.len() == 3 && answers.iter().all(|(node, word)| node.raft_id != 3 && word.is_err()));
        assert!(started.elapsed() < 2 * CONFIRM);
    }
}
