//! Streams of records. Each takes a thread and keeps a moment of the database alive while it is read, so there are so many and
//! no more, and none for a reader that has stopped reading.

use crate::node::Node;
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

/// Streams of records that one node answers at once, of clients and of nodes each.
pub const MAX_READERS: usize = 64;
/// How long a reader may take for one record.
const SLOW: Duration = Duration::from_secs(60);

/// Where a thread puts what is read.
pub(crate) struct Out<T> {
    to: mpsc::Sender<Result<T, Status>>,
    _place: OwnedSemaphorePermit,
}

impl<T: Send> Out<T> {
    /// Blocks until there is room. False if nobody reads any more.
    pub(crate) fn send(&self, item: Result<T, Status>) -> bool {
        let sending = tokio::time::timeout(SLOW, self.to.send(item));
        Handle::current().block_on(sending).is_ok_and(|sent| sent.is_ok())
    }
}

/// What a reader is sent.
type Answers<T> = ReceiverStream<Result<T, Status>>;

impl Node {
    /// A place to read from, if there is one: what goes in comes out at the other end, `ahead` of it at most waiting.
    /// Nodes have places of their own.
    pub(crate) fn reader<T>(&self, of: &Arc<Semaphore>, ahead: usize) -> Result<(Out<T>, Answers<T>), Status> {
        let place = Arc::clone(of).try_acquire_owned();
        let place = place.map_err(|_| Status::unavailable("busy: too many read records here: ask another node, or again"))?;
        let (to, out) = mpsc::channel(ahead);
        Ok((Out { to, _place: place }, ReceiverStream::new(out)))
    }
}
