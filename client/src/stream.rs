//! One submit stream to one node, shared by everybody: requests carry tags, replies come in any
//! order. When the stream ends, everyone who waits on it learns that the connection is lost.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;
use tonic::transport::Channel;
use vermilion_proto::ledger_client::LedgerClient;
use vermilion_proto::{Bytes, SubmitReply, SubmitRequest};

/// Requests on their way into the stream. When it is full, senders wait.
const QUEUE: usize = 256;

/// Those who wait, by tag; `None` once the stream has ended.
type Waiting = Mutex<Option<HashMap<u64, oneshot::Sender<SubmitReply>>>>;

/// Why no reply came. What was sent may be recorded all the same.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Lost {
    #[error("the connection is lost")]
    Connection,
    #[error("no answer in time")]
    Time,
}

/// An open stream.
pub(crate) struct SubmitLine {
    requests: mpsc::Sender<SubmitRequest>,
    waiting: Arc<Waiting>,
    next_tag: AtomicU64,
}

impl SubmitLine {
    pub async fn open(mut client: LedgerClient<Channel>) -> Result<Self, Status> {
        let (requests, outgoing) = mpsc::channel(QUEUE);
        let mut replies = client.submit_stream(ReceiverStream::new(outgoing)).await?.into_inner();
        let waiting: Arc<Waiting> = Arc::new(Mutex::new(Some(HashMap::new())));
        let at = Arc::clone(&waiting);
        tokio::spawn(async move {
            while let Ok(Some(reply)) = replies.message().await {
                let waiter = at.lock().unwrap_or_else(PoisonError::into_inner).as_mut().and_then(|w| w.remove(&reply.tag));
                if let Some(waiter) = waiter {
                    // One who has given up does not mind.
                    let _ = waiter.send(reply);
                }
            }
            // Dropping the senders tells everyone who waits.
            *at.lock().unwrap_or_else(PoisonError::into_inner) = None;
        });
        Ok(Self { requests, waiting, next_tag: AtomicU64::new(1) })
    }

    /// Whether it still takes requests.
    pub fn is_open(&self) -> bool {
        !self.requests.is_closed() && self.waiting.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    /// Sends one submission and waits for its reply.
    pub async fn exchange(&self, submission: Bytes, within: Duration) -> Result<SubmitReply, Lost> {
        let tag = self.next_tag.fetch_add(1, Ordering::Relaxed);
        let (sender, reply) = oneshot::channel();
        match self.waiting.lock().unwrap_or_else(PoisonError::into_inner).as_mut() {
            Some(waiting) => waiting.insert(tag, sender),
            None => return Err(Lost::Connection),
        };
        let exchange = async {
            self.requests.send(SubmitRequest { tag, submission }).await.map_err(|_| Lost::Connection)?;
            reply.await.map_err(|_| Lost::Connection)
        };
        let result = tokio::time::timeout(within, exchange).await.unwrap_or(Err(Lost::Time));
        if result.is_err()
            && let Some(waiting) = self.waiting.lock().unwrap_or_else(PoisonError::into_inner).as_mut()
        {
            waiting.remove(&tag);
        }
        result
    }
}
