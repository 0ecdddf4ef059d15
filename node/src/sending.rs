//! How Raft's messages go out: to each peer over two connections.
//!
//! A leader is known to live by its heartbeats, and they go out every 100 ms; a block of some megabytes takes seconds on the
//! line of a district. On one stream heartbeats, votes and their answers would come behind it, a follower would miss its leader
//! while the leader's block comes in, and the next leader would begin to send the same block. So appends go over one
//! connection, within what [`crate::outbox`] lets on its way, and all small messages over the other.
//!
//! Between the two there is no order, and Raft needs none: a heartbeat commits no more than the follower acknowledged, and
//! leadership is handed only to whoever acknowledged everything. Among appends order is kept.

use crate::outbox::{AHEAD, Outbox, is_bulk};
use crate::peers::{MAX_PEER_MESSAGE, Peers};
use crate::runtime::{Event, is_snapshot, now_ms};
use raft::eraftpb::{Message, MessageType};
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{Notify, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use vermilion_consensus::{NodeId, Transport};
use vermilion_proto::peer_client::PeerClient;
use vermilion_proto::{Bytes, RaftFrame};

/// Batches of small messages that wait for a slow peer: beyond, they are dropped and Raft is told.
const WORDS: usize = 256;
/// Bytes at which a frame of small messages is full.
const WORDS_BYTES: usize = 16 << 10;
/// The largest frame of small messages: none of them has a kilobyte.
pub const MAX_WORDS: usize = 64 << 10;
/// How long the stream of appends may take to come up.
const OPENS: Duration = Duration::from_secs(10);
/// How long a peer is left alone whose connection was lost.
const REST: Duration = Duration::from_millis(100);

/// What a sender says of this node, and to whom.
#[derive(Clone)]
pub(crate) struct Sender {
    pub me: NodeId,
    pub to: NodeId,
    pub ledger_id: [u8; 32],
    pub address: String,
    pub events: SyncSender<Event>,
}

impl Sender {
    /// A frame that says the time, if it is one that waits behind nothing.
    fn frame(&self, messages: Vec<Bytes>, says_time: bool) -> RaftFrame {
        let sent_ms = if says_time { now_ms() } else { 0 };
        RaftFrame { from: self.me, messages, ledger_id: self.ledger_id.to_vec(), address: self.address.clone(), sent_ms }
    }

    fn unreachable(&self) {
        // Never waits: when the relay is full as well, Raft's own time-outs do the same.
        let _ = self.events.try_send(Event::Unreachable(self.to));
    }
}

/// The appends for one peer, and who sends them.
#[derive(Default)]
struct Bulk {
    /// None once the peer is gone.
    outbox: Mutex<Option<Outbox>>,
    more: Notify,
}

impl Bulk {
    fn lock(&self) -> MutexGuard<'_, Option<Outbox>> {
        self.outbox.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The two ways to one peer. They end with it.
pub(crate) struct Lanes {
    words: mpsc::Sender<Vec<Message>>,
    bulk: Arc<Bulk>,
}

impl Drop for Lanes {
    fn drop(&mut self) {
        *self.bulk.lock() = None;
        self.bulk.more.notify_one();
    }
}

impl Lanes {
    /// Over one connection for blocks and one for small messages, each opened when it is needed.
    pub(crate) fn open(sender: Sender, blocks: Channel, small: Channel, runtime: &tokio::runtime::Handle) -> Self {
        let bulk = Arc::new(Bulk { outbox: Mutex::new(Some(Outbox::default())), more: Notify::new() });
        let (words, waiting) = mpsc::channel(WORDS);
        runtime.spawn(send_appends(sender.clone(), blocks, Arc::clone(&bulk)));
        runtime.spawn(send_words(sender, small, waiting));
        Self { words, bulk }
    }

    /// Takes messages; false if something was dropped.
    fn send(&self, messages: Vec<Message>) -> bool {
        if messages.is_empty() {
            // It says the time.
            return self.words.try_send(messages).is_ok();
        }
        let (appends, words): (Vec<_>, Vec<_>) = messages.into_iter().partition(is_bulk);
        let (mut all, now) = (true, Instant::now());
        if let Some(outbox) = self.bulk.lock().as_mut() {
            // A pre-vote names a term that may never be.
            let asks = [MessageType::MsgRequestPreVote as i32, MessageType::MsgRequestPreVoteResponse as i32];
            outbox.retire(words.iter().filter(|m| !asks.contains(&m.msg_type)).map(|m| m.term).max().unwrap_or(0));
            for message in appends {
                all &= outbox.put(message, now);
            }
            self.bulk.more.notify_one();
        }
        all & (words.is_empty() || self.words.try_send(words).is_ok())
    }
}

impl Transport for Peers {
    fn send(&mut self, to: NodeId, messages: Vec<Message>) {
        let snapshot = messages.iter().any(is_snapshot);
        // A node that has left, or to whose address nothing leads, has no lanes, whatever Raft still wants to tell it.
        let (peer, events) = self.towards(to);
        let sent = peer.as_ref().is_some_and(|peer| peer.lanes.send(messages));
        // Never waits: when the relay is full as well, Raft's own time-outs do the same, and the driver's for a snapshot.
        if !sent && peer.is_some() {
            let _ = events.try_send(Event::Unreachable(to));
        }
        if snapshot {
            let _ = events.try_send(Event::SnapshotSent(to, sent));
        }
    }
}

/// Keeps the stream of appends open to a peer, until the peer is dropped.
async fn send_appends(sender: Sender, channel: Channel, bulk: Arc<Bulk>) {
    let mut client = PeerClient::new(channel).max_encoding_message_size(MAX_PEER_MESSAGE);
    loop {
        let Some(idle) = bulk.lock().as_ref().map(Outbox::is_empty) else { return };
        if idle {
            bulk.more.notified().await;
            continue;
        }
        let why = pump(&sender, &mut client, &bulk).await;
        match bulk.lock().as_mut() {
            None => return,
            Some(outbox) => outbox.lose(),
        }
        tracing::debug!(to = sender.to, why, "the connection for appends to a peer ended");
        sender.unreachable();
        tokio::time::sleep(REST).await;
    }
}

/// Sends appends over one stream and takes its acknowledgements, until it ends. Why it did.
async fn pump(sender: &Sender, client: &mut PeerClient<Channel>, bulk: &Bulk) -> String {
    // As many as may be unacknowledged: there is always room.
    let (out, outgoing) = mpsc::channel::<RaftFrame>(AHEAD);
    let mut acks = match tokio::time::timeout(OPENS, client.appends(ReceiverStream::new(outgoing))).await {
        Ok(Ok(answer)) => answer.into_inner(),
        Ok(Err(status)) => return status.to_string(),
        Err(_) => return "it does not come up".to_owned(),
    };
    loop {
        loop {
            let Some(messages) = bulk.lock().as_mut().map(Outbox::frame) else { return String::new() };
            let Some(messages) = messages else { break };
            let encoded = messages.iter().map(vermilion_consensus::encode).collect();
            if out.try_send(sender.frame(encoded, false)).is_err() {
                return "its frames are not taken".to_owned();
            }
        }
        tokio::select! {
            ack = acks.message() => match ack {
                Ok(Some(_)) => {
                    let expected = bulk.lock().as_mut().is_none_or(|outbox| outbox.acknowledged(Instant::now()));
                    if !expected {
                        return "the peer acknowledges what it was not sent".to_owned();
                    }
                }
                Ok(None) => return "the peer ended it".to_owned(),
                Err(status) => return status.to_string(),
            },
            () = bulk.more.notified() => {}
        }
    }
}

/// Keeps one stream of small messages open to a peer, until the peer is dropped; what cannot be sent is dropped, and Raft is
/// told.
async fn send_words(sender: Sender, channel: Channel, mut waiting: mpsc::Receiver<Vec<Message>>) {
    let mut client = PeerClient::new(channel).max_encoding_message_size(MAX_WORDS);
    loop {
        let Some(first) = waiting.recv().await else { return };
        let (out, outgoing) = mpsc::channel::<RaftFrame>(8);
        let call = client.raft(ReceiverStream::new(outgoing));
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
                        if bytes + encoded.len() > WORDS_BYTES && !packed.is_empty() {
                            if out.send(sender.frame(std::mem::take(&mut packed), true)).await.is_err() {
                                return;
                            }
                            bytes = 0;
                        }
                        bytes += encoded.len();
                        packed.push(encoded);
                    }
                    gathered = if bytes < WORDS_BYTES { waiting.try_recv().ok() } else { None };
                }
                if out.send(sender.frame(packed, true)).await.is_err() {
                    return;
                }
                next = waiting.recv().await;
            }
        };
        tokio::select! {
            ended = &mut call => {
                if let Err(status) = ended {
                    tracing::debug!(to = sender.to, %status, "the connection to a peer ended");
                }
            }
            () = pump => {}
        }
        if waiting.is_closed() {
            return;
        }
        sender.unreachable();
        // What waited is stale by now; a peer that is down is asked again, not flooded.
        while waiting.try_recv().is_ok() {}
        tokio::time::sleep(REST).await;
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::membership::Roster;
    use axum::{body::Body, http};
    use http_body_util::BodyExt as _;
    use raft::eraftpb::Entry;
    use std::collections::BTreeMap;
    use std::convert::Infallible;
    use std::future::{Ready, ready};
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::{Context, Poll};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::{TcpListener, TcpStream};
    use vermilion_consensus::ConfState;
    use vermilion_proto::{Bytes, GenesisNode};

    const BLOCK: usize = 2 << 20;
    /// Bytes a second: the block takes two seconds.
    const RATE: usize = 1 << 20;

    /// A peer that counts what comes, and acknowledges appends of one block each.
    #[derive(Clone, Default)]
    struct Counting {
        words: Arc<AtomicUsize>,
        blocks: Arc<AtomicUsize>,
    }

    impl tonic::server::NamedService for Counting {
        const NAME: &'static str = "vermilion.v1.Peer";
    }

    impl tower::Service<http::Request<tonic::body::Body>> for Counting {
        type Response = http::Response<Body>;
        type Error = Infallible;
        type Future = Ready<Result<Self::Response, Infallible>>;

        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
            Poll::Ready(Ok(()))
        }

        fn call(&mut self, request: http::Request<tonic::body::Body>) -> Self::Future {
            let bulk = request.uri().path().ends_with("/Appends");
            let (acks, out) = mpsc::channel::<Result<Bytes, Infallible>>(64);
            let (count, mut body) = (if bulk { self.blocks.clone() } else { self.words.clone() }, request.into_body());
            tokio::spawn(async move {
                while let Some(Ok(frame)) = body.frame().await {
                    let bytes = frame.data_ref().map_or(0, Bytes::len);
                    let before = count.fetch_add(if bulk { bytes } else { 1 }, Ordering::Relaxed);
                    if bulk && before / BLOCK < (before + bytes) / BLOCK {
                        acks.send(Ok(Bytes::from_static(&[0; 5]))).await.unwrap();
                    }
                }
                drop(acks);
            });
            let head = http::Response::builder().header("content-type", "application/grpc");
            ready(Ok(head.body(Body::from_stream(ReceiverStream::new(out))).unwrap()))
        }
    }

    /// The address of a line to another one, over which each connection gets so many bytes a second.
    async fn slow_line(to: std::net::SocketAddr) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        tokio::spawn(async move {
            loop {
                let (near, _) = listener.accept().await.unwrap();
                let far = TcpStream::connect(to).await.unwrap();
                let ((mut near_in, mut near_out), (mut far_in, mut far_out)) = (near.into_split(), far.into_split());
                tokio::spawn(async move { tokio::io::copy(&mut far_in, &mut near_out).await });
                tokio::spawn(async move {
                    let mut buffer = vec![0; 16 << 10];
                    while let Ok(count @ 1..) = near_in.read(&mut buffer).await {
                        far_out.write_all(&buffer[..count]).await.unwrap();
                        tokio::time::sleep(Duration::from_secs_f64(count as f64 / RATE as f64)).await;
                    }
                });
            }
        });
        address
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn over_a_slow_line_heartbeats_do_not_wait_for_a_block_and_it_is_sent_once() {
        let (counting, listener) = (Counting::default(), TcpListener::bind("127.0.0.1:0").await.unwrap());
        let address = slow_line(listener.local_addr().unwrap()).await;
        let incoming = tokio_stream::wrappers::TcpListenerStream::new(listener);
        tokio::spawn(tonic::transport::Server::builder().add_service(counting.clone()).serve_with_incoming(incoming));
        let (events, told) = std::sync::mpsc::sync_channel(100);
        let me = GenesisNode { raft_id: 1, ..Default::default() };
        let mut peers = Peers::new(&me, [0; 32], BTreeMap::new(), events, tokio::runtime::Handle::current(), None);
        let node = GenesisNode { raft_id: 2, name: "n2".into(), peer_address: address, ..Default::default() };
        peers.follow(Arc::new(Roster { nodes: BTreeMap::from([(2, node)]), ..Roster::default() }), &ConfState::default());

        // As Raft does it: a heartbeat at each tick, and at each answer to one the block again.
        let of = |kind: MessageType| Message { msg_type: kind as i32, from: 1, to: 2, term: 3, ..Message::default() };
        let entry = Entry { index: 8, term: 3, data: vec![7; BLOCK], ..Entry::default() };
        let block = Message { index: 7, log_term: 3, entries: vec![entry], ..of(MessageType::MsgAppend) };
        peers.send(2, vec![of(MessageType::MsgHeartbeat), block.clone()]);
        // How often this test looked and none had come: in looks, since a machine that stands still delays both.
        let (mut most, mut silent, mut late) = (0, 0, 0);
        while counting.blocks.load(Ordering::Relaxed) < BLOCK {
            tokio::time::sleep(Duration::from_millis(50)).await;
            peers.send(2, vec![of(MessageType::MsgHeartbeat), block.clone()]);
            let words = counting.words.load(Ordering::Relaxed);
            silent = if words > most { 0 } else { silent + 1 };
            (most, late) = (words, late.max(silent));
        }
        assert!(most >= 10 && late < 20, "{most} heartbeats before the block was over, the slowest after {late} looks");
        tokio::time::sleep(Duration::from_millis(500)).await;
        let bytes = counting.blocks.load(Ordering::Relaxed);
        assert!(bytes < BLOCK + BLOCK / 2, "{bytes} bytes of appends");
        assert!(told.try_recv().is_err(), "nothing was dropped");
    }
}
