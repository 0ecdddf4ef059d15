//! A running node as a source: its records, streamed, and its checkpoints, asked for one by one.

use super::source::{ReadError, Source};
use crate::connection::whole_message;
use crate::error::{ClientError, refusal_of};
use crate::tls::Dialer;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::runtime::Handle;
use tonic::metadata::AsciiMetadataValue;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};
use vermilion_proto::ledger_client::LedgerClient;
use vermilion_proto::{CheckpointRequest, ClusterReply, ClusterRequest, Message as _, Record, RecordsRequest};

/// A record with a thousand licences, with room to spare.
const MAX_MESSAGE: usize = 64 << 20;
const CONNECT: Duration = Duration::from_secs(5);
/// Within which a node must answer a small question, and go on with an answer of many parts.
const ANSWER: Duration = Duration::from_secs(30);
/// Times that a broken stream of records is taken up again where it ended.
const RETRIES: u32 = 5;

/// Makes the token with which a registered operator asks for records, from the ledger id and the name of the request: with
/// the key of this place among those that may ask, from 0; none behind the last.
pub type MakeToken = Box<dyn Fn(&[u8], &str, usize) -> Option<String> + Send + Sync>;

/// One running node.
///
/// It blocks on a Tokio runtime and must therefore be used from threads outside of it, as
/// [`super::audit`] does. How far it goes is fixed when it connects; the node may grow meanwhile.
pub struct NodeSource {
    name: String,
    raft_id: u64,
    handle: Handle,
    client: LedgerClient<Channel>,
    token: Option<MakeToken>,
    /// The place of the key that asks: those before it are not in force.
    key: AtomicUsize,
    ledger_id: Vec<u8>,
    size: u64,
}

fn unreachable(status: &Status) -> ReadError {
    // A refusal says by itself what it is, and gRPC's word for it says something else.
    ReadError::Unreachable(match refusal_of(status) {
        Some(refusal) => ClientError::from(refusal).to_string(),
        None => format!("{}: {}", status.code(), whole_message(status)),
    })
}

/// What a node says of itself.
async fn cluster(channel: &Channel) -> Result<ClusterReply, Status> {
    let mut request = Request::new(ClusterRequest { only_this: true });
    request.set_timeout(ANSWER);
    Ok(LedgerClient::new(channel.clone()).cluster(request).await?.into_inner())
}

impl NodeSource {
    /// Connects to `host:port` or a URL and asks how far the node is: over TLS by the dialer of a
    /// configuration, without TLS if there is none. Over TLS it then speaks to who it says it is alone: its
    /// certificate must be that node's.
    pub async fn connect(address: &str, dialer: Option<&Dialer>, token: Option<MakeToken>) -> Result<Self, ReadError> {
        let fail = |error: tonic::transport::Error| ReadError::Unreachable(format!("cannot connect: {error}"));
        let url = if address.contains("://") { address.to_owned() } else { format!("http://{address}") };
        let endpoint = Endpoint::from_shared(url).map_err(fail)?.connect_timeout(CONNECT);
        let Some(dialer) = dialer else {
            let channel = endpoint.connect().await.map_err(fail)?;
            let reply = cluster(&channel).await.map_err(|status| unreachable(&status))?;
            return Self::of(address, &channel, reply, token);
        };
        let dialled = |expected| dialer.channel(&endpoint, None, expected).map_err(|e| ReadError::Unreachable(e.to_string()));
        let reply = loop {
            match cluster(&dialled(None)?).await {
                Ok(reply) => break reply,
                Err(status) if dialer.is_refused(&whole_message(&status)) && dialer.pass_over(None) => {}
                Err(status) => return Err(unreachable(&status)),
            }
        };
        let id = reply.nodes.first().map(|node| node.id);
        Self::of(address, &dialled(id)?, reply, token)
    }

    /// The node's Raft id: what it says of itself, and over TLS its certificate.
    #[must_use]
    pub fn raft_id(&self) -> u64 {
        self.raft_id
    }

    fn of(name: &str, channel: &Channel, reply: ClusterReply, token: Option<MakeToken>) -> Result<Self, ReadError> {
        let Some(status) = reply.nodes.into_iter().next() else {
            return Err(ReadError::Unreachable("the node says nothing of itself".into()));
        };
        Ok(Self {
            name: if status.name.is_empty() { name.to_owned() } else { status.name },
            raft_id: status.id,
            handle: Handle::current(),
            client: LedgerClient::new(channel.clone()).max_decoding_message_size(MAX_MESSAGE),
            token,
            key: AtomicUsize::new(0),
            ledger_id: reply.ledger_id,
            size: status.size,
        })
    }

    /// Whether the node says that the key is not in force, and another is here: that one asks from now on.
    fn asks_with_another(&self, status: &Status, what: &str) -> bool {
        let next = self.key.load(Ordering::Relaxed) + 1;
        let of_the_key = refusal_of(status).is_some_and(|refusal| ClientError::from(refusal).is_of_the_key());
        let another = of_the_key && self.token.as_ref().is_some_and(|make| make(&self.ledger_id, what, next).is_some());
        if another {
            self.key.store(next, Ordering::Relaxed);
        }
        another
    }

    /// A request with this asker's token.
    fn request<T>(&self, message: T, what: &str) -> Result<Request<T>, ReadError> {
        let mut request = Request::new(message);
        if let Some(token) = self.token.as_ref().and_then(|make| make(&self.ledger_id, what, self.key.load(Ordering::Relaxed))) {
            let value =
                AsciiMetadataValue::try_from(token).map_err(|_| ReadError::Unreachable("the request token is not plain text".into()))?;
            request.metadata_mut().insert("authorization", value);
        }
        Ok(request)
    }

    /// Reads until the end or until the stream breaks; counts what came.
    async fn stream(&self, from: u64, visit: &mut dyn FnMut(u64, &[u8]) -> bool) -> Result<(), (u64, ReadError)> {
        let mut stream = loop {
            let request = self.request(RecordsRequest { from, to: self.size }, "records").map_err(|e| (0, e))?;
            match self.client.clone().records(request).await {
                Ok(stream) => break stream.into_inner(),
                Err(status) if self.asks_with_another(&status, "records") => {}
                Err(status) => return Err((0, unreachable(&status))),
            }
        };
        let (mut next, mut count) = (from, 0);
        loop {
            let message = match tokio::time::timeout(ANSWER, stream.message()).await {
                Ok(message) => message,
                // It need not close what is complete.
                Err(_) if next >= self.size => return Ok(()),
                Err(_) => Err(Status::deadline_exceeded("the node sends nothing more")),
            };
            match message {
                // A node gives up whoever reads nothing for a while: asked again, one that has no more gives none.
                Ok(None) if count > 0 && next < self.size => return Err((count, ReadError::Unreachable("the node ended early".into()))),
                Ok(None) => return Ok(()),
                Ok(Some(record)) => {
                    // A node sends no places. A record stands where its own number says, so that a gap
                    // is seen; one whose number cannot be, behind the one before.
                    let number = Record::decode(&record.record[..]).map_or(0, |record| record.seq);
                    let place = if (next..self.size).contains(&number) { number } else { next };
                    next = place + 1;
                    count += 1;
                    // One record beyond what the node said it has is enough to tell of; it may send them without end.
                    if !visit(place, &record.encode_to_vec()) || place >= self.size {
                        return Ok(());
                    }
                }
                Err(status) => return Err((count, unreachable(&status))),
            }
        }
    }
}

impl Source for NodeSource {
    fn name(&self) -> &str {
        &self.name
    }

    fn size(&self) -> Result<u64, ReadError> {
        Ok(self.size)
    }

    fn records(&self, from: u64, visit: &mut dyn FnMut(u64, &[u8]) -> bool) -> Result<(), ReadError> {
        let mut next = from;
        let mut failures = 0;
        loop {
            let mut seen = next;
            let read = self.handle.block_on(self.stream(next, &mut |seq, record| {
                seen = seq + 1;
                visit(seq, record)
            }));
            match read {
                Ok(()) => return Ok(()),
                Err((0, error)) if failures >= RETRIES || next == from => return Err(error),
                Err((got, _)) => {
                    failures = if got > 0 { 0 } else { failures + 1 };
                    next = seen;
                    std::thread::sleep(Duration::from_millis(500));
                }
            }
        }
    }

    fn checkpoint(&self, size: u64) -> Result<Option<Vec<u8>>, ReadError> {
        loop {
            let mut request = self.request(CheckpointRequest { commit_now: false, at_size: size }, "checkpoint")?;
            request.set_timeout(ANSWER);
            return match self.handle.block_on(self.client.clone().get_checkpoint(request)) {
                Ok(reply) => Ok(Some(reply.into_inner().note)),
                Err(status) if status.code() == Code::NotFound => Ok(None),
                Err(status) if self.asks_with_another(&status, "checkpoint") => continue,
                Err(status) => Err(unreachable(&status)),
            };
        }
    }
}
