//! A running node as a source: its records, streamed, and its checkpoints, asked for one by one.

use super::source::{ReadError, Source};
use crate::tls::Dialer;
use std::time::Duration;
use tokio::runtime::Handle;
use tonic::metadata::AsciiMetadataValue;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};
use vermilion_proto::ledger_client::LedgerClient;
use vermilion_proto::{CheckpointRequest, ClusterRequest, Message as _, Record, RecordsRequest};

/// A record with a thousand licences, with room to spare.
const MAX_MESSAGE: usize = 64 << 20;
const CONNECT: Duration = Duration::from_secs(5);
/// Within which a node must answer a small question.
const ANSWER: Duration = Duration::from_secs(30);
/// Times that a broken stream of records is taken up again where it ended.
const RETRIES: u32 = 5;

/// Makes the token with which a registered operator asks for records, from the ledger id and the
/// name of the request.
pub type MakeToken = Box<dyn Fn(&[u8], &str) -> Option<String> + Send + Sync>;

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
    ledger_id: Vec<u8>,
    size: u64,
}

fn unreachable(status: &Status) -> ReadError {
    ReadError::Unreachable(format!("{}: {}", status.code(), status.message()))
}

impl NodeSource {
    /// Connects to `host:port` or a URL and asks how far the node is: over TLS by the dialer of a
    /// configuration, without TLS if there is none. Over TLS it then speaks to who it says it is alone: its
    /// certificate must be that node's.
    pub async fn connect(address: &str, dialer: Option<&Dialer>, token: Option<MakeToken>) -> Result<Self, ReadError> {
        let fail = |error: tonic::transport::Error| ReadError::Unreachable(format!("cannot connect: {error}"));
        let url = if address.contains("://") { address.to_owned() } else { format!("http://{address}") };
        let endpoint = Endpoint::from_shared(url).map_err(fail)?.connect_timeout(CONNECT);
        let Some(dialer) = dialer else { return Self::over(address, endpoint.connect().await.map_err(fail)?, token).await };
        let dialled = |expected| dialer.channel(&endpoint, None, expected).map_err(|e| ReadError::Unreachable(e.to_string()));
        let mut source = Self::over(address, dialled(None)?, token).await?;
        source.client = LedgerClient::new(dialled(Some(source.raft_id))?).max_decoding_message_size(MAX_MESSAGE);
        Ok(source)
    }

    /// The node's Raft id: what it says of itself, and over TLS its certificate.
    #[must_use]
    pub fn raft_id(&self) -> u64 {
        self.raft_id
    }

    /// The same over a channel that is there already.
    pub async fn over(name: &str, channel: Channel, token: Option<MakeToken>) -> Result<Self, ReadError> {
        let mut client = LedgerClient::new(channel).max_decoding_message_size(MAX_MESSAGE);
        let mut request = Request::new(ClusterRequest { only_this: true });
        request.set_timeout(ANSWER);
        let reply = client.cluster(request).await.map_err(|status| unreachable(&status))?.into_inner();
        let Some(status) = reply.nodes.into_iter().next() else {
            return Err(ReadError::Unreachable("the node says nothing of itself".into()));
        };
        let name = if status.name.is_empty() { name.to_owned() } else { status.name };
        Ok(Self { name, raft_id: status.id, handle: Handle::current(), client, token, ledger_id: reply.ledger_id, size: status.size })
    }

    /// A request with this asker's token.
    fn request<T>(&self, message: T, what: &str) -> Result<Request<T>, ReadError> {
        let mut request = Request::new(message);
        if let Some(token) = self.token.as_ref().and_then(|make| make(&self.ledger_id, what)) {
            let value =
                AsciiMetadataValue::try_from(token).map_err(|_| ReadError::Unreachable("the request token is not plain text".into()))?;
            request.metadata_mut().insert("authorization", value);
        }
        Ok(request)
    }

    /// Reads until the end or until the stream breaks; counts what came.
    async fn stream(&self, from: u64, visit: &mut dyn FnMut(u64, &[u8]) -> bool) -> Result<(), (u64, ReadError)> {
        let request = self.request(RecordsRequest { from, to: self.size }, "records").map_err(|e| (0, e))?;
        let mut stream = self.client.clone().records(request).await.map_err(|status| (0, unreachable(&status)))?.into_inner();
        let (mut next, mut count) = (from, 0);
        loop {
            match stream.message().await {
                Ok(None) => return Ok(()),
                Ok(Some(record)) => {
                    // A node sends no places. A record stands where its own number says, so that a gap
                    // is seen; one whose number cannot be, behind the one before.
                    let number = Record::decode(&record.record[..]).map_or(0, |record| record.seq);
                    let place = if (next..self.size).contains(&number) { number } else { next };
                    next = place + 1;
                    count += 1;
                    if !visit(place, &record.encode_to_vec()) {
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
        let mut request = self.request(CheckpointRequest { commit_now: false, at_size: size }, "checkpoint")?;
        request.set_timeout(ANSWER);
        match self.handle.block_on(self.client.clone().get_checkpoint(request)) {
            Ok(reply) => Ok(Some(reply.into_inner().note)),
            Err(status) if status.code() == Code::NotFound => Ok(None),
            Err(status) => Err(unreachable(&status)),
        }
    }
}
