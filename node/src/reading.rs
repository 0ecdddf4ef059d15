//! Streams of records. Each takes a thread and keeps a moment of the database alive while it is read, so there are so many and
//! no more, and none for a reader that has stopped reading.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

/// Streams of records that one node answers at once, of clients and of nodes each.
pub const MAX_READERS: usize = 64;
/// Of those for nodes, the streams of one node: none keeps the others from catching up.
pub const MAX_OF_NODE: usize = 4;
/// How long a reader may take for one record.
const SLOW: Duration = Duration::from_secs(60);
/// How long a node may take for a whole stream; it asks again from where it was.
const WHOLE: Duration = Duration::from_secs(120);

/// Which node reads: by its certificate, or without TLS by the address that it connects from.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Reader {
    /// The node of this Raft id.
    Node(u64),
    /// Whoever is at this address; none where the connection has no address.
    At(Option<IpAddr>),
}

/// Places for nodes that read records.
#[derive(Clone)]
pub(crate) struct NodePlaces {
    all: Arc<Semaphore>,
    held: Arc<Mutex<BTreeMap<Reader, usize>>>,
}

impl NodePlaces {
    /// All of them free.
    pub(crate) fn new() -> Self {
        Self { all: Arc::new(Semaphore::new(MAX_READERS)), held: Arc::default() }
    }

    /// A place for a node, if there is one and the node has not as many as one may have.
    fn take(&self, reader: Reader) -> Option<NodePlace> {
        let permit = Arc::clone(&self.all).try_acquire_owned().ok()?;
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let count = held.entry(reader).or_default();
        if *count >= MAX_OF_NODE {
            return None;
        }
        *count += 1;
        drop(held);
        Some(NodePlace { of: self.clone(), reader, _permit: permit })
    }

    /// A place for a node, held while it is answered.
    pub(crate) fn place(&self, reader: Reader) -> Result<NodePlace, Status> {
        // Another code than that of a node that is not there: who is told so need not despair.
        let busy = || Status::resource_exhausted("busy: too many nodes read records here: ask another node, or again");
        self.take(reader).ok_or_else(busy)
    }

    /// A place for a node to read from: what goes in comes out at the other end, `ahead` of it at most waiting.
    pub(crate) fn reader<T>(&self, reader: Reader, ahead: usize) -> Result<(Out<T>, Answers<T>), Status> {
        let place = self.place(reader)?;
        let (to, out) = mpsc::channel(ahead);
        Ok((Out { to, until: Some(Instant::now() + WHOLE), _place: Place::Node(place) }, ReceiverStream::new(out)))
    }
}

/// One node's place; given back when dropped.
pub(crate) struct NodePlace {
    of: NodePlaces,
    reader: Reader,
    _permit: OwnedSemaphorePermit,
}

impl Drop for NodePlace {
    fn drop(&mut self) {
        let mut held = self.of.held.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = held.get_mut(&self.reader) {
            *count -= 1;
            if *count == 0 {
                held.remove(&self.reader);
            }
        }
    }
}

/// What is held while a stream is read.
#[allow(dead_code, reason = "held, not read")]
enum Place {
    Client(OwnedSemaphorePermit),
    Node(NodePlace),
}

/// Where a thread puts what is read.
pub(crate) struct Out<T> {
    to: mpsc::Sender<Result<T, Status>>,
    /// When the stream ends, whatever is still to come.
    until: Option<Instant>,
    _place: Place,
}

impl<T: Send> Out<T> {
    /// Blocks until there is room. False if nobody reads any more, or the stream's time is over.
    pub(crate) fn send(&self, item: Result<T, Status>) -> bool {
        let now = Instant::now();
        let slow = now + SLOW;
        let until = self.until.map_or(slow, |until| until.min(slow));
        now < until && Handle::current().block_on(tokio::time::timeout_at(until, self.to.send(item))).is_ok_and(|sent| sent.is_ok())
    }
}

/// What a reader is sent.
pub(crate) type Answers<T> = ReceiverStream<Result<T, Status>>;

/// A place for a client to read from, of these, as [`NodePlaces::reader`] gives one to a node.
pub(crate) fn client<T>(of: &Arc<Semaphore>, ahead: usize) -> Result<(Out<T>, Answers<T>), Status> {
    let place = Arc::clone(of).try_acquire_owned();
    let place = place.map_err(|_| Status::unavailable("busy: too many read records here: ask another node, or again"))?;
    let (to, out) = mpsc::channel(ahead);
    Ok((Out { to, until: None, _place: Place::Client(place) }, ReceiverStream::new(out)))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn one_node_does_not_take_all_places() {
        let places = NodePlaces::new();
        let one: Vec<_> = (0..MAX_OF_NODE).map(|_| places.take(Reader::Node(1)).unwrap()).collect();
        assert!(places.take(Reader::Node(1)).is_none());
        assert_eq!(places.reader::<()>(Reader::Node(1), 1).err().unwrap().code(), tonic::Code::ResourceExhausted);
        let other = places.take(Reader::At(None)).unwrap();
        drop(one);
        assert!(places.take(Reader::Node(1)).is_some());
        drop(other);
        assert!(places.held.lock().unwrap().is_empty());
        assert_eq!(places.all.available_permits(), MAX_READERS);
        let _all: Vec<_> = (0..MAX_READERS as u64).map(|n| places.take(Reader::Node(n)).unwrap()).collect();
        assert!(places.take(Reader::Node(99)).is_none());
    }

    #[tokio::test]
    async fn a_stream_ends_when_its_time_is_over() {
        let (mut out, mut answers) = NodePlaces::new().reader::<u8>(Reader::Node(1), 1).unwrap();
        out.until = Some(Instant::now() + Duration::from_millis(50));
        // Nobody reads the second.
        let sent = tokio::task::spawn_blocking(move || (out.send(Ok(1)), out.send(Ok(2)), out.send(Ok(3)))).await.unwrap();
        assert_eq!(sent, (true, false, false));
        assert_eq!(tokio_stream::StreamExt::next(&mut answers).await.unwrap().unwrap(), 1);
        assert!(tokio_stream::StreamExt::next(&mut answers).await.is_none());
    }
}
