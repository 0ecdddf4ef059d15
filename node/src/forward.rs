//! Submissions on their way from this node's door to the leader: many over one stream, each with its reply.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;
use tonic::transport::Channel;
use vermilion_proto::peer_client::PeerClient;
use vermilion_proto::{Bytes, SubmitReply, SubmitRequest};

/// Submissions that wait to be sent to the leader: beyond, their doors wait, not longer than [`FORWARD`].
const FORWARDED: usize = 1024;
/// How long a submission may take to the leader and back.
const FORWARD: Duration = Duration::from_secs(20);

/// Submissions on their way to the leader, over one stream.
#[derive(Clone)]
pub(crate) struct Forwarder {
    requests: mpsc::Sender<SubmitRequest>,
    waiting: Waiting,
    next: Arc<AtomicU64>,
}

/// By the tag of the submission.
type Replies = HashMap<u64, oneshot::Sender<SubmitReply>>;

/// Who waits for the reply with which tag. Cheap to clone.
#[derive(Clone)]
struct Waiting(Arc<Mutex<Option<Replies>>>);

impl Waiting {
    fn new() -> Self {
        Self(Arc::new(Mutex::new(Some(Replies::new()))))
    }

    /// None once no more replies come.
    fn lock(&self) -> MutexGuard<'_, Option<Replies>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self, tag: u64) -> Option<oneshot::Sender<SubmitReply>> {
        self.lock().as_mut()?.remove(&tag)
    }
}

/// Takes whoever waits out of the table, however the wait ends.
struct Entry<'a> {
    table: &'a Waiting,
    tag: u64,
}

impl Drop for Entry<'_> {
    fn drop(&mut self) {
        self.table.take(self.tag);
    }
}

impl Forwarder {
    /// Opens the stream.
    pub(crate) async fn open(mut client: PeerClient<Channel>) -> Result<Self, Status> {
        let (requests, outgoing) = mpsc::channel::<SubmitRequest>(FORWARDED);
        let waiting = Waiting::new();
        let theirs = waiting.clone();
        let mut replies = client.forward(ReceiverStream::new(outgoing)).await?.into_inner();
        tokio::spawn(async move {
            while let Ok(Some(reply)) = replies.message().await {
                if let Some(sender) = theirs.take(reply.tag) {
                    let _ = sender.send(reply);
                }
            }
            // Whoever still waits hears that the connection is gone, and nobody begins to: what ended may be the replies alone,
            // while submissions could be sent for ever.
            *theirs.lock() = None;
        });
        Ok(Self { requests, waiting, next: Arc::default() })
    }

    /// Whether it can still be sent over.
    pub(crate) fn is_open(&self) -> bool {
        !self.requests.is_closed() && self.waiting.lock().is_some()
    }

    /// Sends a submission and waits for the reply.
    pub(crate) async fn send(&self, submission: Bytes) -> Result<SubmitReply, Status> {
        self.send_within(submission, FORWARD).await
    }

    /// Sends a submission and waits for the reply, so long in all: a leader that reads no more must not keep the place that
    /// the submission has at this node's door.
    async fn send_within(&self, submission: Bytes, limit: Duration) -> Result<SubmitReply, Status> {
        let tag = self.next.fetch_add(1, Ordering::Relaxed);
        let (sender, mut receiver) = oneshot::channel();
        // Where the replies have ended the sender goes at once, and the wait with it.
        let _ = self.waiting.lock().as_mut().map(|waiting| waiting.insert(tag, sender));
        let _entry = Entry { table: &self.waiting, tag };
        let answered = async {
            tokio::select! {
                biased;
                gone = &mut receiver => return gone.ok(),
                sent = self.requests.send(SubmitRequest { tag, submission }) => sent.ok()?,
            }
            receiver.await.ok()
        };
        let reply = tokio::time::timeout(limit, answered).await.ok().flatten();
        reply.ok_or_else(|| Status::unavailable("the connection to the leader ended: the outcome is unknown"))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::peers::tests::silent_behind;
    use std::time::Instant;
    use tonic::Code;
    use tonic::transport::Endpoint;

    #[tokio::test]
    async fn a_leader_that_reads_no_more_keeps_nobody_waiting() {
        let (requests, mut outgoing) = mpsc::channel(1);
        let forwarder = Forwarder { requests, waiting: Waiting::new(), next: Arc::default() };
        let is_empty = |forwarder: &Forwarder| forwarder.waiting.lock().as_ref().is_some_and(Replies::is_empty);
        let limit = Duration::from_millis(50);
        // The first is sent and not answered, the second not even sent.
        for _ in 0..2 {
            assert_eq!(forwarder.send_within(Bytes::new(), limit).await.unwrap_err().code(), Code::Unavailable);
            assert!(is_empty(&forwarder));
        }
        assert!(outgoing.recv().await.is_some());
        drop(outgoing);
        assert_eq!(forwarder.send_within(Bytes::new(), limit).await.unwrap_err().code(), Code::Unavailable);
        assert!(is_empty(&forwarder));
    }

    #[tokio::test]
    async fn a_leader_whose_replies_cannot_be_read_is_sent_no_more() {
        // A frame of one byte that is no message, on a stream that stays open.
        let address = silent_behind(&[0, 0, 0, 0, 1, 0xff]).await;
        let channel = Endpoint::from_shared(format!("http://{address}")).unwrap().connect_lazy();
        let forwarder = Forwarder::open(PeerClient::new(channel)).await.unwrap();
        let started = Instant::now();
        while forwarder.is_open() && started.elapsed() < FORWARD {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert_eq!(forwarder.send(Bytes::new()).await.unwrap_err().code(), Code::Unavailable);
        assert!(started.elapsed() < FORWARD / 2, "{:?}", started.elapsed());
    }
}
