//! Connections to all nodes: one channel and one submit stream each, and for each unit its own where
//! nodes ask for certificates.
//!
//! A request to any node works; the leader is preferred once it is known, because it saves the hop.
//! A node that does not answer is left alone for a moment and the next one is asked. What was sent
//! and not answered is *unknown*, never failed: the same bytes go out again under the same id until
//! there is an answer or patience ends.

use crate::answer::{Hearing, NoAnswer, Settled, Turn};
use crate::clock::{now_ms, until};
use crate::command::Prepared;
use crate::config::NodeEntry;
use crate::error::{ClientError, is_of_the_clock, is_passing, refusal_of};
use crate::stream::SubmitLine;
use crate::tls::Dialer;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::future::Future;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Response, Status};
use vermilion_crypto::{Digest, SigningKey, random};
use vermilion_identity::RequestToken;
use vermilion_proto::ledger_client::LedgerClient;
use vermilion_proto::{Genesis, SubmitReply};

pub use crate::answer::{Answer, Recorded, refusal_of_number};

/// The largest message either way: a submission of 8 MiB and its frame.
const MAX_MESSAGE: usize = 9 << 20;
/// How long one exchange may take: a door answers "unknown" after 15 seconds.
const EXCHANGE: Duration = Duration::from_secs(20);
/// How long a node that did not answer is left alone.
const REST_MS: u64 = 2_000;
/// The longest pause between two attempts.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// How long a request token is used again: well within its minute.
const TOKEN_AGE_MS: u64 = 20_000;

struct Link {
    name: String,
    raft_id: u64,
    endpoint: Endpoint,
    rests_until_ms: AtomicU64,
}

/// The way to one node for one unit.
struct Wire {
    channel: Channel,
    line: RwLock<Option<Arc<SubmitLine>>>,
    opening: tokio::sync::Mutex<()>,
}

struct Inner {
    links: Vec<Link>,
    /// By unit and link, once used. Empty is the unit of questions, and of everything where nodes ask
    /// for no certificates.
    wires: Mutex<BTreeMap<(String, usize), Arc<Wire>>>,
    dialer: Dialer,
    preferred: AtomicUsize,
    ledger_id: Digest,
    tokens: Mutex<Tokens>,
    /// Whether a command went out.
    sent: AtomicBool,
}

/// Request tokens with the moments when they were made, by public key and question.
type Tokens = HashMap<([u8; 32], String), (u64, MetadataValue<Ascii>)>;

/// Connections to all nodes. Cheap to clone; clones share everything.
#[derive(Clone)]
pub struct Connection {
    inner: Arc<Inner>,
    /// How long a question is asked again before it counts as unanswered.
    pub ask_patience: Duration,
    /// How long a command is sent again before its outcome counts as unknown.
    pub submit_patience: Duration,
}

impl Connection {
    /// For these nodes of a ledger. Connects when first used, within a Tokio runtime.
    pub fn new(nodes: &[NodeEntry], ledger_id: Digest, genesis: &Genesis, dialer: Dialer) -> Result<Self, ClientError> {
        let link = |(n, node): (usize, &NodeEntry)| {
            let address = if node.grpc.contains("://") { node.grpc.clone() } else { format!("http://{}", node.grpc) };
            let endpoint = Endpoint::from_shared(address).map_err(|e| ClientError::config(format!("nodes[{n}].grpc"), e.to_string()))?;
            let endpoint = endpoint
                .connect_timeout(Duration::from_secs(3))
                .tcp_nodelay(true)
                .http2_keep_alive_interval(Duration::from_secs(5))
                .keep_alive_timeout(Duration::from_secs(5))
                .initial_stream_window_size(4 << 20)
                .initial_connection_window_size(16 << 20);
            Ok(Link {
                name: node.name.clone(),
                raft_id: genesis.nodes.iter().find(|g| g.name == node.name).map_or(0, |g| g.raft_id),
                endpoint,
                rests_until_ms: AtomicU64::new(0),
            })
        };
        let links = nodes.iter().enumerate().map(link).collect::<Result<Vec<_>, ClientError>>()?;
        if links.is_empty() {
            return Err(ClientError::config("nodes", "there is no node"));
        }
        let (wires, preferred, tokens) = (Mutex::default(), AtomicUsize::new(0), Mutex::default());
        let inner = Inner { links, wires, dialer, preferred, ledger_id, tokens, sent: AtomicBool::new(false) };
        Ok(Self { inner: Arc::new(inner), ask_patience: Duration::from_secs(10), submit_patience: Duration::from_secs(30) })
    }

    /// The ledger's id.
    #[must_use]
    pub fn ledger_id(&self) -> &Digest {
        &self.inner.ledger_id
    }

    /// Whether a command was sent over these connections, or tried to be.
    #[must_use]
    pub fn has_sent(&self) -> bool {
        self.inner.sent.load(Ordering::Relaxed)
    }

    /// The nodes' names, in the configuration's order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.inner.links.iter().map(|l| l.name.as_str())
    }

    /// Prefers this node from now on; a leader that makes itself known is preferred in its turn.
    pub fn prefer(&self, name: &str) -> bool {
        let found = self.inner.links.iter().position(|l| l.name == name);
        found.inspect(|at| self.inner.preferred.store(*at, Ordering::Relaxed)).is_some()
    }

    /// A client of one node, by its place in the configuration. It fails before anything is asked, as by a key that does not open.
    pub fn client_of(&self, node: usize) -> Result<LedgerClient<Channel>, ClientError> {
        self.wire(node, None).map(|wire| client(&wire))
    }

    /// A client of one node over the connection of a unit.
    pub fn client_for(&self, node: usize, unit: &str) -> Result<LedgerClient<Channel>, ClientError> {
        self.wire(node, self.inner.dialer.is_tls().then_some(unit)).map(|wire| client(&wire))
    }

    /// What makes the connections.
    #[must_use]
    pub fn dialer(&self) -> &Dialer {
        &self.inner.dialer
    }

    /// The way to a node: for a command the unit's own, where nodes ask for certificates.
    fn wire(&self, at: usize, unit: Option<&str>) -> Result<Arc<Wire>, ClientError> {
        let name = (unit.unwrap_or_default().to_owned(), at);
        let mut wires = self.inner.wires.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = wires.get(&name) {
            return Ok(Arc::clone(known));
        }
        let link = self.inner.links.get(at).ok_or_else(|| ClientError::Unreachable("there is no such node".into()))?;
        let expected = Some(link.raft_id).filter(|id| *id != 0);
        let channel = self.inner.dialer.channel(&link.endpoint, unit, expected)?;
        let made = Arc::new(Wire { channel, line: RwLock::new(None), opening: tokio::sync::Mutex::new(()) });
        wires.insert(name, Arc::clone(&made));
        Ok(made)
    }

    /// Where a node refused the certificate that a connection shows, and another of the unit is here, that one is shown from now
    /// on, to every node.
    fn pass_over(&self, wire: &Arc<Wire>, unit: Option<&str>, why: &str) -> bool {
        if !self.inner.dialer.is_refused(why) {
            return false;
        }
        let name = unit.unwrap_or_default();
        let mut wires = self.inner.wires.lock().unwrap_or_else(PoisonError::into_inner);
        // Somebody else's attempt was told so before, and another one is shown already.
        if !wires.values().any(|known| Arc::ptr_eq(known, wire)) {
            return true;
        }
        let another = self.inner.dialer.pass_over(unit);
        wires.retain(|(of, _), _| of != name);
        another
    }

    /// Sends a command until it is answered, with the patience that is set.
    pub async fn submit(&self, prepared: &Prepared) -> Result<Answer, ClientError> {
        self.submit_within(prepared, self.submit_patience).await
    }

    /// Sends a command until it is answered or `patience` ends. Always the same bytes: whatever
    /// became of an earlier sending, the answer is the one outcome of this id. A refusal at a door is one only if no attempt
    /// before it may have come through: of attempts before this call the caller knows.
    pub async fn submit_within(&self, prepared: &Prepared, patience: Duration) -> Result<Answer, ClientError> {
        let mut attempts = Attempts::new(patience);
        let mut hearing = Hearing::default();
        let unit = self.inner.dialer.is_tls().then_some(prepared.unit.as_str());
        loop {
            let at = self.pick();
            let wire = self.wire(at, unit)?;
            self.inner.sent.store(true, Ordering::Relaxed);
            let answer = exchange(&wire, prepared).await;
            if let Ok(reply) = &answer {
                self.note_leader(reply.leader_hint);
            }
            let (why, after) = match hearing.settle(prepared.id, answer) {
                Settled::Done(answer) => return Ok(answer),
                Settled::Again { why, after, turn } => {
                    match turn {
                        Turn::Stay => {}
                        Turn::Elsewhere => self.turn_away(at),
                        Turn::Rest => {
                            self.pass_over(&wire, unit, &why);
                            self.let_rest(at);
                        }
                    }
                    (why, after)
                }
            };
            if !attempts.pause_at_least(after).await {
                return Err(ClientError::Unknown { id: prepared.id, why });
            }
        }
    }

    /// Asks one node after the other until one answers. Refusals that will not pass are the answer; that a request token is
    /// stale is one once no node is left that might say otherwise, because a node's clock may be wrong.
    pub async fn ask<T, F, Fut>(&self, call: F) -> Result<T, ClientError>
    where
        F: Fn(LedgerClient<Channel>) -> Fut,
        Fut: Future<Output = Result<Response<T>, Status>>,
    {
        // A question may be asked twice.
        self.ask_over(None, &mut Hearing::default(), call).await
    }

    /// Asks one node alone, and shows another certificate where it refuses one.
    pub(crate) async fn ask_one<T, F, Fut>(&self, at: usize, within: Duration, call: F) -> Result<Result<T, Status>, ClientError>
    where
        F: Fn(LedgerClient<Channel>) -> Fut,
        Fut: Future<Output = Result<Response<T>, Status>>,
    {
        loop {
            let wire = self.wire(at, None)?;
            let status = match tokio::time::timeout(within, call(client(&wire))).await {
                Ok(Ok(reply)) => return Ok(Ok(reply.into_inner())),
                Ok(Err(status)) => status,
                Err(_) => Status::deadline_exceeded("no answer in time"),
            };
            if !self.pass_over(&wire, None, &whole_message(&status)) {
                return Ok(Err(status));
            }
        }
    }

    /// The same for a prepared command, over its unit's connection. What it notes of attempts without an answer, `hearing`
    /// keeps.
    pub(crate) async fn ask_with<T, F, Fut>(&self, prepared: &Prepared, hearing: &mut Hearing, call: F) -> Result<T, ClientError>
    where
        F: Fn(LedgerClient<Channel>) -> Fut,
        Fut: Future<Output = Result<Response<T>, Status>>,
    {
        let unit = self.inner.dialer.is_tls().then_some(prepared.unit.as_str());
        self.ask_over(unit, hearing, call).await
    }

    async fn ask_over<T, F, Fut>(&self, unit: Option<&str>, hearing: &mut Hearing, call: F) -> Result<T, ClientError>
    where
        F: Fn(LedgerClient<Channel>) -> Fut,
        Fut: Future<Output = Result<Response<T>, Status>>,
    {
        let mut attempts = Attempts::new(self.ask_patience);
        // Who said that the token is stale, and in what words.
        let (mut stale, mut said) = (BTreeSet::new(), None);
        loop {
            let at = self.pick_but(&stale);
            let Some(link) = self.inner.links.get(at) else { return Err(ClientError::Unreachable("there is no node".into())) };
            let wire = self.wire(at, unit)?;
            let status = match tokio::time::timeout(EXCHANGE, call(client(&wire))).await {
                Ok(Ok(reply)) => return Ok(reply.into_inner()),
                Ok(Err(status)) => status,
                Err(_) => Status::deadline_exceeded("no answer in time"),
            };
            if is_of_the_clock(&status) {
                stale.insert(at);
                said = refusal_of(&status);
                self.turn_away(at);
                if self.is_left(&stale) {
                    continue;
                }
            }
            if !is_passing(&status) {
                return Err(refusal_of(&status).map_or_else(|| ClientError::BadAnswer(status.message().to_owned()), ClientError::Refused));
            }
            if !never_left(&status) {
                hearing.lost();
            }
            if refusal_of(&status).is_some() {
                self.turn_away(at);
            } else {
                self.pass_over(&wire, unit, &whole_message(&status));
                self.let_rest(at);
            }
            if let Some(said) = said.take_if(|_| !self.is_left(&stale)) {
                return Err(said.into());
            }
            if !attempts.pause().await {
                return Err(match refusal_of(&status) {
                    Some(refusal) => refusal.into(),
                    None => ClientError::Unreachable(format!("{}: {}", link.name, whole_message(&status))),
                });
            }
        }
    }

    /// A request with the token by which the holder of `key` asks `what`.
    pub fn signed<T>(&self, key: &SigningKey, what: &str, message: T) -> Result<Request<T>, ClientError> {
        let mut request = Request::new(message);
        request.metadata_mut().insert("authorization", self.token(key, what)?);
        Ok(request)
    }

    fn token(&self, key: &SigningKey, what: &str) -> Result<MetadataValue<Ascii>, ClientError> {
        let now = now_ms();
        let name = (key.public().0, what.to_owned());
        let mut tokens = self.inner.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((made, token)) = tokens.get(&name)
            && now.abs_diff(*made) < TOKEN_AGE_MS
        {
            return Ok(token.clone());
        }
        let text = RequestToken::make(key, &self.inner.ledger_id, what, now);
        let token = MetadataValue::try_from(text).map_err(|e| ClientError::BadAnswer(e.to_string()))?;
        tokens.retain(|_, (made, _)| now.abs_diff(*made) < TOKEN_AGE_MS);
        tokens.insert(name, (now, token.clone()));
        Ok(token)
    }

    /// The node to ask next: the preferred one unless it rests, else the next that does not.
    fn pick(&self) -> usize {
        self.pick_but(&BTreeSet::new())
    }

    fn rests(&self, at: usize) -> bool {
        self.inner.links.get(at).is_none_or(|l| l.rests_until_ms.load(Ordering::Relaxed) > now_ms())
    }

    /// Whether there is a node beside these that does not rest.
    fn is_left(&self, beside: &BTreeSet<usize>) -> bool {
        (0..self.inner.links.len()).any(|at| !beside.contains(&at) && !self.rests(at))
    }

    /// The same, of all nodes but these.
    fn pick_but(&self, these: &BTreeSet<usize>) -> usize {
        let (links, preferred) = (&self.inner.links, self.inner.preferred.load(Ordering::Relaxed));
        let rests = |at: &usize| self.rests(*at);
        let in_turn = || (0..links.len()).map(|n| (preferred + n) % links.len()).filter(|at| !these.contains(at));
        // If all rest, the one that will be back first.
        in_turn()
            .find(|at| !rests(at))
            .or_else(|| in_turn().min_by_key(|at| links.get(*at).map(|l| l.rests_until_ms.load(Ordering::Relaxed))))
            .unwrap_or(0)
    }

    fn note_leader(&self, raft_id: u64) {
        let Some(at) = self.inner.links.iter().position(|l| raft_id != 0 && l.raft_id == raft_id) else { return };
        if self.inner.links.get(at).is_some_and(|l| l.rests_until_ms.load(Ordering::Relaxed) <= now_ms()) {
            self.inner.preferred.store(at, Ordering::Relaxed);
        }
    }

    /// The node answers, but not what is wanted: the next time another is asked.
    fn turn_away(&self, at: usize) {
        let next = (at + 1) % self.inner.links.len().max(1);
        // Only if nobody else has found a better one meanwhile.
        let _ = self.inner.preferred.compare_exchange(at, next, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// The next time another node is asked than would be now.
    pub(crate) fn ask_elsewhere(&self) {
        self.turn_away(self.pick());
    }

    /// The node does not answer.
    fn let_rest(&self, at: usize) {
        if let Some(link) = self.inner.links.get(at) {
            link.rests_until_ms.store(now_ms().saturating_add(REST_MS), Ordering::Relaxed);
        }
        self.turn_away(at);
    }
}

/// A status with what lies behind it: that a node refused the certificate stands in the last source.
#[must_use]
pub fn whole_message(status: &Status) -> String {
    let mut message = status.message().to_owned();
    let mut source = std::error::Error::source(status);
    while let Some(error) = source {
        let said = error.to_string();
        // Many errors repeat what lies behind them.
        if !message.contains(&said) {
            message = format!("{message}: {said}");
        }
        source = error.source();
    }
    message
}

/// Whether the connection did not come up, so that nothing was sent over it.
fn never_left(status: &Status) -> bool {
    let mut source = std::error::Error::source(status);
    while let Some(error) = source {
        if error.is::<tonic::ConnectError>() {
            return true;
        }
        source = error.source();
    }
    false
}

/// One exchange; the error says in words why there was no answer.
async fn exchange(wire: &Wire, prepared: &Prepared) -> Result<SubmitReply, NoAnswer> {
    let line = line(wire).await.map_err(|status| NoAnswer { why: whole_message(&status), sent: false })?;
    line.exchange(prepared.submission.clone(), EXCHANGE).await.map_err(|lost| NoAnswer { why: lost.to_string(), sent: true })
}

/// The open stream to a node, opened once for all who want it.
async fn line(wire: &Wire) -> Result<Arc<SubmitLine>, Status> {
    let open = || wire.line.read().unwrap_or_else(PoisonError::into_inner).clone().filter(|l| l.is_open());
    if let Some(line) = open() {
        return Ok(line);
    }
    let _opening = wire.opening.lock().await;
    if let Some(line) = open() {
        return Ok(line);
    }
    let opened = tokio::time::timeout(EXCHANGE, SubmitLine::open(client(wire))).await;
    let line = Arc::new(opened.map_err(|_| Status::deadline_exceeded("no connection in time"))??);
    *wire.line.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&line));
    Ok(line)
}

fn client(wire: &Wire) -> LedgerClient<Channel> {
    LedgerClient::new(wire.channel.clone()).max_decoding_message_size(MAX_MESSAGE).max_encoding_message_size(MAX_MESSAGE)
}

/// Growing pauses until patience ends.
struct Attempts {
    until: Instant,
    pause: Duration,
}

impl Attempts {
    fn new(patience: Duration) -> Self {
        Self { until: until(patience), pause: Duration::from_millis(25) }
    }

    async fn pause(&mut self) -> bool {
        self.pause_at_least(Duration::ZERO).await
    }

    /// Waits, a little more each time and never all clients alike. False when patience has ended.
    async fn pause_at_least(&mut self, least: Duration) -> bool {
        let jitter = random::<1>().map_or(128, |[b]| u32::from(b));
        let pause = self.pause.max(least);
        let pause = pause.mul_f64(0.75 + f64::from(jitter) / 512.0);
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
        if Instant::now() + pause >= self.until {
            return false;
        }
        tokio::time::sleep(pause).await;
        true
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests {
    use super::*;
    use vermilion_registry::reason::Reason;

    fn connection(names: &[&str]) -> Connection {
        let node = |n: &&str| NodeEntry { name: (*n).into(), grpc: "127.0.0.1:1".into(), http: String::new() };
        let nodes: Vec<_> = names.iter().map(node).collect();
        let genesis = Genesis {
            nodes: (1u64..)
                .zip(names)
                .map(|(raft_id, n)| vermilion_proto::GenesisNode { raft_id, name: (*n).into(), ..Default::default() })
                .collect(),
            ..Default::default()
        };
        Connection::new(&nodes, [1; 32], &genesis, Dialer::new(&genesis, None).unwrap()).unwrap()
    }

    #[tokio::test]
    async fn the_leader_is_preferred_and_who_is_silent_rests() {
        let c = connection(&["a", "b", "c"]);
        assert_eq!(c.pick(), 0);
        c.note_leader(3);
        assert_eq!(c.pick(), 2);
        c.let_rest(2);
        assert_eq!(c.pick(), 0);
        c.note_leader(3);
        assert_eq!(c.pick(), 0, "a leader that does not answer us is not preferred");
        c.turn_away(0);
        assert_eq!(c.pick(), 1);
        c.note_leader(9);
        assert_eq!(c.pick(), 1);
        c.let_rest(0);
        c.let_rest(1);
        assert_eq!(c.pick(), 2, "when all rest, the one that has rested longest");
    }

    #[tokio::test]
    async fn nobody_there_is_unknown_for_a_command_and_unreachable_for_a_question() {
        let mut c = connection(&["a", "b"]);
        c.ask_patience = Duration::from_millis(100);
        let prepared = Prepared { id: [7; 32], unit: String::new(), not_after_ms: 0, submission: Default::default() };
        assert!(
            matches!(c.submit_within(&prepared, Duration::from_millis(100)).await, Err(ClientError::Unknown { id, .. }) if id == [7; 32])
        );
        let asked = c.ask(|mut node| async move { node.cluster(vermilion_proto::ClusterRequest::default()).await }).await;
        assert!(matches!(asked, Err(ClientError::Unreachable(_))));
        let status = c.client_of(0).unwrap().cluster(vermilion_proto::ClusterRequest::default()).await.unwrap_err();
        assert!(never_left(&status) && !never_left(&Status::unavailable("no-leader: wait")), "{status:?}");
    }

    #[test]
    fn no_patience_is_too_long_to_begin_with() {
        let longest = Duration::from_secs(crate::clock::LONGEST_WAIT_S);
        for patience in [longest, Duration::from_secs(u64::MAX), Duration::MAX] {
            assert!(Attempts::new(patience).until > Instant::now() + longest / 2);
        }
    }

    #[test]
    fn a_cause_is_told_once() {
        let cause = std::io::Error::other(std::io::Error::other("received fatal alert"));
        let said = whole_message(&Status::from_error(Box::new(cause)));
        assert_eq!(said.matches("received fatal alert").count(), 1, "{said}");
    }

    #[tokio::test]
    async fn that_a_token_is_stale_is_one_nodes_word() {
        let stale = || Status::permission_denied(format!("not-authorised: {}", vermilion_identity::TokenError::Stale));
        // What the first and the second to be asked say, and how often nodes are asked.
        let ask = async |nodes: &[&str], answers: &[Result<u32, Status>]| {
            let (c, calls) = (connection(nodes), AtomicUsize::new(0));
            let answer = |n: usize| answers.get(n).or(answers.last()).cloned().unwrap().map(Response::new);
            let answered = c.ask(|_| std::future::ready(answer(calls.fetch_add(1, Ordering::Relaxed)))).await;
            (answered, calls.into_inner())
        };
        assert!(matches!(ask(&["a", "b", "c"], &[Err(stale()), Ok(7)]).await, (Ok(7), 2)));
        let is_stale = |answered| matches!(answered, Err(ClientError::Refused(refusal)) if refusal.reason == Reason::NotAuthorised);
        let (answered, calls) = ask(&["a", "b", "c"], &[Err(stale())]).await;
        assert!(is_stale(answered) && calls == 3, "{calls}");
        let (answered, calls) = ask(&["a", "b"], &[Err(stale()), Err(Status::unavailable("tcp connect error"))]).await;
        assert!(is_stale(answered) && calls == 2, "who answers says so: {calls}");
        let (answered, calls) = ask(&["a"], &[Err(stale())]).await;
        assert!(is_stale(answered) && calls == 1, "{calls}");
        let (answered, calls) = ask(&["a", "b"], &[Err(Status::permission_denied("not-authorised: its own"))]).await;
        assert!(is_stale(answered) && calls == 1, "{calls}");
    }

    #[tokio::test]
    async fn tokens_are_used_again_for_a_while() {
        let c = connection(&["a"]);
        let key = SigningKey::from_seed(&[1; 32]);
        assert_eq!(c.token(&key, "tags").unwrap(), c.token(&key, "tags").unwrap());
        assert_ne!(c.token(&key, "tags").unwrap(), c.token(&key, "query").unwrap());
    }
}
