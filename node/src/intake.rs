//! What is on its way in: messages of which a part is here.
//!
//! tonic makes room for a message as soon as its length is said, keeps what has come of it, and hands it on when it is whole. Who
//! calls and may, is asked then. So what callers begin and don't end is bounded here, before tonic sees it: a length that the
//! method has no use for is refused; for a message that does not come in one piece its whole length is reserved, of the
//! sender's room and of everybody's, and given back with it; and a message that has begun must be whole in time. What is whole
//! is bounded by the door ([`crate::door`]).
//!
//! Where there is no room a request is refused, and a stream waits: streams have rooms of their own. Requests that waited would
//! keep what was sent of them in their connection's window, and those whose room they wait for could not go on.

use crate::grpc::status;
use crate::peers::MAX_PEER_MESSAGE;
use crate::rate::network;
use crate::sending::MAX_WORDS;
use crate::tls::Caller;
use axum::http::Request;
use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use std::collections::HashMap;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, Sleep};
use tonic::Status;
use tonic::body::Body;
use tonic::server::NamedService;
use tonic::transport::server::TcpConnectInfo;
use tower::Service;
use vermilion_identity::Kind;
use vermilion_registry::reason::Reason;

/// The largest request that carries a submission, in bytes: the submission and its framing.
pub const MAX_REQUEST: usize = 9 << 20;
/// The largest request for tags: as many as one may ask for, each as long as it may be.
const MAX_TAGS: usize = 5 << 18;
/// The largest question of a node. A checkpoint's note and a place in the log are the longest.
const MAX_OF_NODE: usize = 1 << 20;
/// The largest of all other requests.
const MAX_QUESTION: usize = 64 << 10;
/// How long a message may take that has begun, and a request that is one message.
const WHOLE: Duration = Duration::from_secs(20);
/// The same of Raft's appends: a block of 8 MiB comes over a slow line between districts too.
const WHOLE_BLOCK: Duration = Duration::from_secs(180);
/// Senders that are remembered before those are forgotten who send nothing.
const SENDERS: usize = 256;
/// What stands before each message: whether it is compressed, and its length.
const PREFIX: usize = 5;

/// Room for Raft's small messages that are not whole yet, in bytes: of one node and of all. It is their own, so that they wait for
/// no block's.
const ROOM_OF_WORDS: (usize, usize) = (1 << 20, 16 << 20);

/// The stream of Raft's small messages.
const WORDS: &str = "/vermilion.v1.Peer/Raft";
/// The stream of blocks.
const APPENDS: &str = "/vermilion.v1.Peer/Appends";

/// The longest message of a method, and whether it takes one after the other for as long as the caller likes.
fn of_method(path: &str) -> (usize, bool) {
    match path {
        "/vermilion.v1.Ledger/Submit" | "/vermilion.v1.Ledger/Use" | "/vermilion.v1.Peer/CheckContent" => (MAX_REQUEST, false),
        "/vermilion.v1.Ledger/SubmitStream" | "/vermilion.v1.Peer/Forward" => (MAX_REQUEST, true),
        "/vermilion.v1.Ledger/Tags" => (MAX_TAGS, false),
        WORDS => (MAX_WORDS, true),
        APPENDS => (MAX_PEER_MESSAGE, true),
        _ if path.starts_with("/vermilion.v1.Peer/") => (MAX_OF_NODE, false),
        _ => (MAX_QUESTION, false),
    }
}

/// Whose messages are counted together: a node's, a unit's, or those from one address where nobody shows a certificate.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
enum Sender {
    Node(u64),
    Unit(String),
    At(Option<IpAddr>),
}

impl Sender {
    fn of<T>(request: &Request<T>) -> Self {
        let caller = request.extensions().get::<Caller>();
        if let Some(certificate) = caller.and_then(|caller| caller.certificate.as_ref()) {
            return match certificate.subject.kind {
                Kind::Node { raft_id } => Self::Node(raft_id),
                Kind::Operator | Kind::UnitSystem | Kind::Auditor => Self::Unit(certificate.subject.unit.clone()),
            };
        }
        let plain = || request.extensions().get::<TcpConnectInfo>().and_then(TcpConnectInfo::remote_addr);
        Self::At(caller.map(|caller| caller.address).or_else(plain).map(|address| network(address.ip())))
    }
}

/// Room for messages that are not whole yet, in bytes.
#[derive(Debug)]
struct Rooms {
    all: Arc<Semaphore>,
    of_one: usize,
    senders: Mutex<HashMap<Sender, Arc<Semaphore>>>,
}

impl Rooms {
    fn of(&self, sender: Sender) -> Arc<Semaphore> {
        let mut senders = self.senders.lock().unwrap_or_else(PoisonError::into_inner);
        if senders.len() >= SENDERS {
            // Of those that are kept somebody has a request under way, and connections are bounded.
            senders.retain(|_, room| Arc::strong_count(room) > 1);
        }
        Arc::clone(senders.entry(sender).or_insert_with(|| Arc::new(Semaphore::new(self.of_one))))
    }
}

/// A service whose requests come in within bounds.
#[derive(Clone, Debug)]
pub struct Intake<S> {
    inner: S,
    requests: Arc<Rooms>,
    streams: Arc<Rooms>,
    words: Arc<Rooms>,
}

impl<S> Intake<S> {
    /// With room for so many bytes of one sender and of all together, in requests and in streams each.
    pub fn new(inner: S, of_one: usize, of_all: usize) -> Self {
        let rooms = |(of_one, of_all)| Arc::new(Rooms { all: Arc::new(Semaphore::new(of_all)), of_one, senders: Mutex::default() });
        Self { inner, requests: rooms((of_one, of_all)), streams: rooms((of_one, of_all)), words: rooms(ROOM_OF_WORDS) }
    }
}

impl<S: NamedService> NamedService for Intake<S> {
    const NAME: &'static str = S::NAME;
}

impl<S: Service<Request<Body>>> Service<Request<Body>> for Intake<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> S::Future {
        let path = request.uri().path();
        let (most, streams) = of_method(path);
        let within = if path == APPENDS { WHOLE_BLOCK } else { WHOLE };
        let rooms = match streams {
            true if path == WORDS => &self.words,
            true => &self.streams,
            false => &self.requests,
        };
        let (room, all) = (rooms.of(Sender::of(&request)), Arc::clone(&rooms.all));
        self.inner.call(request.map(|body| Body::new(Metered::new(body, Limits { most, streams, within, room, all }))))
    }
}

/// What holds for one request, or stream.
struct Limits {
    most: usize,
    streams: bool,
    within: Duration,
    room: Arc<Semaphore>,
    all: Arc<Semaphore>,
}

type Room = (OwnedSemaphorePermit, OwnedSemaphorePermit);
type Waiting = Pin<Box<dyn Future<Output = Option<Room>> + Send>>;

/// A request's body, counted as it comes.
struct Metered {
    body: Body,
    limits: Limits,
    messages: Messages,
    /// What has come and waits for room.
    held: Option<(Frame<Bytes>, Waiting)>,
    /// Held while a message is not whole; of a request that is one message, until its end.
    room: Option<Room>,
    /// Since when what has begun is under way, and the alarm for it.
    since: Option<Instant>,
    alarm: Option<Pin<Box<Sleep>>>,
}

impl Metered {
    fn new(body: Body, limits: Limits) -> Self {
        let since = (!limits.streams).then(Instant::now);
        Self { body, limits, messages: Messages::default(), held: None, room: None, since, alarm: None }
    }

    /// Counts what has come, and says for how many bytes room must be made before it is handed on.
    fn count(&mut self, data: &[u8]) -> Result<Option<u32>, Status> {
        let begun = self.messages.take(data, self.limits.most)?;
        if self.limits.streams {
            if !self.messages.is_between() && (begun.is_some() || self.since.is_none()) {
                (self.since, self.alarm) = (Some(Instant::now()), None);
            } else if self.messages.is_between() {
                (self.since, self.alarm, self.room) = (None, None, None);
            }
        }
        if begun.is_some() {
            self.room = None;
        }
        Ok(begun)
    }

    /// Room for a message of a stream that is not whole: of the sender's first, so that who waits for everybody's holds only its
    /// own.
    fn wait_for_room(&self, bytes: u32) -> Waiting {
        let (room, all) = (Arc::clone(&self.limits.room), Arc::clone(&self.limits.all));
        Box::pin(async move { Some((room.acquire_many_owned(bytes).await.ok()?, all.acquire_many_owned(bytes).await.ok()?)) })
    }

    /// The same for a request, now or not at all.
    fn room_now(&self, bytes: u32) -> Result<Room, Status> {
        let of = |room: &Arc<Semaphore>| Arc::clone(room).try_acquire_many_owned(bytes).map_err(|_| busy());
        Ok((of(&self.limits.room)?, of(&self.limits.all)?))
    }

    /// Whether what has begun has taken too long; if not, this task is woken when it has.
    fn is_late(&mut self, cx: &mut Context<'_>) -> bool {
        let Some(since) = self.since else { return false };
        let late = since + self.limits.within;
        self.alarm.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(late))).as_mut().poll(cx).is_ready()
    }
}

impl HttpBody for Metered {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = &mut *self;
        if this.held.is_none() {
            let Poll::Ready(next) = Pin::new(&mut this.body).poll_frame(cx) else {
                return match this.is_late(cx) {
                    true => Poll::Ready(Some(Err(Status::deadline_exceeded("a message that has begun is not whole in time")))),
                    false => Poll::Pending,
                };
            };
            let frame = match next {
                Some(Ok(frame)) => frame,
                other => return Poll::Ready(other),
            };
            match frame.data_ref().map(|data| this.count(data)).transpose()?.flatten() {
                None => return Poll::Ready(Some(Ok(frame))),
                Some(bytes) if this.limits.streams => this.held = Some((frame, this.wait_for_room(bytes))),
                Some(bytes) => {
                    this.room = Some(this.room_now(bytes)?);
                    return Poll::Ready(Some(Ok(frame)));
                }
            }
        }
        let made = match &mut this.held {
            Some((_, waiting)) => waiting.as_mut().poll(cx),
            None => Poll::Ready(None),
        };
        if made.is_pending() && this.is_late(cx) {
            this.held = None;
            return Poll::Ready(Some(Err(busy())));
        }
        this.room = ready!(made);
        Poll::Ready(this.held.take().map(|(frame, _)| Ok(frame)))
    }

    fn is_end_stream(&self) -> bool {
        self.held.is_none() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

fn busy() -> Status {
    status(&Reason::Busy.into())
}

/// Where in a stream of messages a reader is.
#[derive(Debug, Default)]
struct Messages {
    prefix: [u8; PREFIX],
    /// How much of the prefix is here.
    known: usize,
    /// What is still to come of the message.
    left: u32,
}

impl Messages {
    /// Reads on. The length of the last message that began in `data`, if it goes on beyond.
    fn take(&mut self, mut data: &[u8], most: usize) -> Result<Option<u32>, Status> {
        let mut last = None;
        loop {
            let part = self.left.min(u32::try_from(data.len()).unwrap_or(u32::MAX));
            self.left -= part;
            data = data.get(part as usize..).unwrap_or_default();
            if self.left == 0 {
                last = None;
            }
            let Some((first, rest)) = data.split_first() else { return Ok(last) };
            data = rest;
            if let Some(byte) = self.prefix.get_mut(self.known) {
                *byte = *first;
            }
            self.known += 1;
            if self.known == PREFIX {
                let [_, length @ ..] = self.prefix;
                let length = u32::from_be_bytes(length);
                if length as usize > most {
                    return Err(Status::out_of_range(format!("the message is too large: {length} bytes, of {most} at most")));
                }
                (self.known, self.left, last) = (0, length, Some(length));
            }
        }
    }

    /// Whether one message is whole and the next has not begun.
    fn is_between(&self) -> bool {
        self.known == 0 && self.left == 0
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use http_body_util::{BodyExt as _, StreamBody};
    use tokio::sync::mpsc;
    use tokio_stream::wrappers::ReceiverStream;

    fn message(length: usize) -> Vec<u8> {
        [&[0][..], &u32::try_from(length).unwrap().to_be_bytes(), &vec![7; length]].concat()
    }

    /// A body into which a test puts what it likes.
    fn metered(limits: Limits) -> (mpsc::Sender<Vec<u8>>, Metered) {
        let (put, parts) = mpsc::channel::<Vec<u8>>(16);
        let frames = tokio_stream::StreamExt::map(ReceiverStream::new(parts), |part| Ok::<_, Status>(Frame::data(Bytes::from(part))));
        (put, Metered::new(Body::new(StreamBody::new(frames)), limits))
    }

    const SOON: Duration = Duration::from_millis(50);
    /// Longer than any test here takes.
    const LATER: Duration = Duration::from_secs(60);

    fn limits(streams: bool, room: usize, within: Duration) -> Limits {
        Limits { most: 1000, streams, within, room: Arc::new(Semaphore::new(room)), all: Arc::new(Semaphore::new(room)) }
    }

    #[test]
    fn messages_are_told_apart_however_they_are_cut() {
        let lengths = [0, 1, 300, 0, 70];
        let bytes = lengths.map(message).concat();
        for cut in 1..bytes.len() {
            let mut messages = Messages::default();
            for part in bytes.chunks(cut) {
                let begun = messages.take(part, 1000).unwrap();
                assert!(begun.is_none_or(|length| lengths.contains(&(length as usize)) && messages.left > 0), "{cut}: {begun:?}");
            }
            assert!(messages.is_between(), "{cut}");
        }
        let mut messages = Messages::default();
        assert_eq!(messages.take(&message(300)[..9], 1000).unwrap(), Some(300));
        assert!(!messages.is_between());
        assert_eq!(messages.take(&message(300)[9..], 1000).unwrap(), None);
        assert!(Messages::default().take(&message(1001)[..PREFIX], 1000).is_err());
    }

    #[tokio::test]
    async fn what_comes_whole_needs_no_room_and_what_does_not_gives_it_back() {
        for streams in [true, false] {
            let limits = limits(streams, 400, LATER);
            let room = Arc::clone(&limits.room);
            let (put, mut body) = metered(limits);
            put.send([message(900), message(20)].concat()).await.unwrap();
            assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap().len(), 930);
            assert_eq!(room.available_permits(), 400);
            put.send(message(300)[..100].to_vec()).await.unwrap();
            assert!(body.frame().await.unwrap().is_ok());
            assert_eq!(room.available_permits(), 100, "all that was announced");
            put.send(message(300)[100..].to_vec()).await.unwrap();
            assert!(body.frame().await.unwrap().is_ok());
            assert_eq!(room.available_permits(), if streams { 400 } else { 100 }, "of one message it is kept to the end");
            drop(body);
            assert_eq!(room.available_permits(), 400);
        }
    }

    #[tokio::test]
    async fn a_request_that_finds_no_room_is_told_to_come_back_and_a_stream_waits() {
        let of = |streams, within| limits(streams, 400, within);
        let limits = of(false, LATER);
        let room = Arc::clone(&limits.room);
        let held = Arc::clone(&limits.all).acquire_many_owned(200).await.unwrap();
        let (put, mut body) = metered(limits);
        put.send(message(300)[..10].to_vec()).await.unwrap();
        let refusal = tokio::time::timeout(LATER / 2, body.frame()).await.unwrap().unwrap().unwrap_err();
        assert!(refusal.message().starts_with("busy"), "{refusal:?}");
        assert_eq!(room.available_permits(), 400);
        drop(held);

        let limits = of(true, SOON);
        let (room, all) = (Arc::clone(&limits.room), Arc::clone(&limits.all));
        let held = Arc::clone(&all).acquire_many_owned(200).await.unwrap();
        let (put, mut body) = metered(limits);
        put.send(message(300)[..10].to_vec()).await.unwrap();
        let begun = Instant::now();
        let refusal = body.frame().await.unwrap().unwrap_err();
        assert!(refusal.message().starts_with("busy") && begun.elapsed() >= SOON, "{refusal:?}");
        assert_eq!((room.available_permits(), all.available_permits()), (400, 200));

        let again = Limits { most: 1000, streams: true, within: LATER, room, all };
        let (put, mut body) = metered(again);
        put.send(message(300)[..10].to_vec()).await.unwrap();
        assert!(tokio::time::timeout(SOON, body.frame()).await.is_err(), "it waits");
        drop(held);
        assert!(body.frame().await.unwrap().is_ok());
    }

    #[tokio::test]
    async fn what_has_begun_must_end_in_time() {
        for streams in [true, false] {
            let (put, mut body) = metered(limits(streams, 400, SOON));
            put.send(message(300)[..100].to_vec()).await.unwrap();
            assert!(body.frame().await.unwrap().is_ok());
            let refusal = body.frame().await.unwrap().unwrap_err();
            assert_eq!(refusal.code(), tonic::Code::DeadlineExceeded);
        }
        // A stream may rest between messages for as long as it likes, a request of one message may not.
        for streams in [true, false] {
            let (put, mut body) = metered(limits(streams, 400, SOON));
            put.send(message(300)).await.unwrap();
            assert!(body.frame().await.unwrap().is_ok());
            let more = tokio::time::timeout(10 * SOON, body.frame()).await;
            assert_eq!(more.is_err(), streams, "{more:?}");
        }
    }

    #[test]
    fn each_method_has_its_bound() {
        let submits = ["Ledger/Submit", "Ledger/SubmitStream", "Ledger/Use", "Peer/Forward", "Peer/CheckContent"];
        for method in submits {
            assert_eq!(of_method(&format!("/vermilion.v1.{method}")).0, MAX_REQUEST, "{method}");
        }
        assert_eq!(of_method(APPENDS), (MAX_PEER_MESSAGE, true));
        assert_eq!(of_method(WORDS), (MAX_WORDS, true));
        assert_eq!(of_method("/vermilion.v1.Ledger/Query"), (MAX_QUESTION, false));
        assert_eq!(of_method("/vermilion.v1.Peer/Place"), (MAX_OF_NODE, false));
    }
}
