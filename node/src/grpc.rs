//! The gRPC service for clients. What is not public asks for a request token of a registered key.

use crate::answers::internal;
use crate::caller;
use crate::door::From;
use crate::node::Node;
use crate::peers::{limited, whole};
use crate::reading;
use crate::rest::unit_of;
use crate::rights::Asker;
use crate::runtime::Event;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_stream::{Stream, wrappers::ReceiverStream};
use tonic::metadata::{MetadataMap, MetadataValue};
use tonic::{Request, Response, Status, Streaming};
use vermilion_consensus::Role;
use vermilion_identity::Certificate;
use vermilion_proto::ledger_server::Ledger;
use vermilion_proto::{
    CheckpointReply, CheckpointRequest, ClusterReply, ClusterRequest, CommandStatusRequest, ControlReply, ControlRequest, CoseReceiptReply,
    LicenceStatusReply, LicenceStatusRequest, NodeStatus, QueryReply, QueryRequest, Receipt, ReceiptRequest, RecordsRequest,
    SignStatusReply, StoredRecord, SubmitReply, SubmitRequest, TagsReply, TagsRequest, TrailReply, TrailRequest, UseReply,
};
use vermilion_registry::authorisation::Question;
use vermilion_registry::certificates::figures::parse_month;
use vermilion_registry::reason::{Reason, Refusal};
use vermilion_registry::{query, stored};

/// Submissions of one stream under way at once; beyond, the stream is read more slowly.
const STREAM_UNDER_WAY: usize = 1024;
/// Records or units in one answer's queue.
const ANSWERS: usize = 64;
/// Tags of one request.
const MAX_TAGS: usize = 4096;
/// Said to a unit that asks for the whole history.
const WHOSE_RECORDS: &str = "all records are for auditors and the city's managing unit; a unit may ask for its own, one by one";
/// How long another node may take for its line in the cluster's status.
const LINE: Duration = Duration::from_secs(2);
/// How long the leader may take for what another node passes on to it.
const LEADER: Duration = Duration::from_secs(10);
/// The name of the mark on what a node passes on to the leader.
const HOP: &str = "vermilion-hop";
/// Longest value of which a tag is made, in bytes.
const MAX_TAG_VALUE: usize = 256;

/// The service.
#[derive(Clone)]
pub struct LedgerService(pub Arc<Node>);

/// A refusal as a gRPC status: the code's name leads the message.
pub fn status(refusal: &Refusal) -> Status {
    let message = format!("{}: {}", refusal.reason.name(), refusal.detail);
    match refusal.reason {
        Reason::NotAuthorised => Status::permission_denied(message),
        Reason::Busy | Reason::NoLeader | Reason::NoVaultKey | Reason::NotCosigned => Status::unavailable(message),
        Reason::Internal => Status::internal(message),
        Reason::UnknownLicence | Reason::UnknownType | Reason::Unknown => Status::not_found(message),
        _ => Status::invalid_argument(message),
    }
}

impl LedgerService {
    /// Who asks, by token or certificate.
    fn asker<T>(&self, request: &Request<T>, what: &str) -> Result<Asker, Status> {
        let token = match request.metadata().get("authorization") {
            None => None,
            Some(value) => Some(value.to_str().map_err(|_| Status::unauthenticated("the authorization is not text"))?),
        };
        self.0.asker(token, what, caller::certificate(request).as_deref()).map_err(|r| status(&r))
    }

    /// What the public may ask is asked of nobody's rights: but a node that was banned or retired answers nothing.
    fn answers(&self) -> Result<(), Status> {
        if self.0.is_out() { Err(status(&crate::rights::out())) } else { Ok(()) }
    }

    /// Who asks, if it may ask this about no unit in particular.
    fn allowed<T>(&self, request: &Request<T>, what: &str, question: Question) -> Result<Asker, Status> {
        let asker = self.asker(request, what)?;
        self.0.allow(&asker, question, None).map_err(|r| status(&r))?;
        Ok(asker)
    }

    /// A licence's receipt is for who may use licences; a command's is for whoever knows its id, but for the
    /// registrations: they tell who works in which post, by tags, and are not for everybody.
    fn receipt_asker(&self, request: &Request<ReceiptRequest>) -> Result<Asker, Status> {
        let asked = request.get_ref();
        let of_command = asked.identifier.is_empty() && !asked.registrations;
        let question = if of_command { Question::CommandReceipt } else { Question::Receipt };
        self.allowed(request, "receipt", question)
    }
}

/// By which service a submission came.
#[derive(Clone)]
pub enum Door {
    /// The clients', over a connection with this certificate.
    Client(Option<Arc<Certificate>>),
    /// The nodes'.
    Node,
}

impl Door {
    fn from(&self) -> From<'_> {
        match self {
            Self::Client(certificate) => From::Client(certificate.as_deref()),
            Self::Node => From::Node,
        }
    }
}

type ReplyStream<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// Runs every submission of a stream, in no particular order, a bounded number at once.
pub fn submit_all(node: Arc<Node>, mut requests: Streaming<SubmitRequest>, from: Door) -> ReplyStream<SubmitReply> {
    let (replies, out) = mpsc::channel(STREAM_UNDER_WAY);
    let room = Arc::new(tokio::sync::Semaphore::new(STREAM_UNDER_WAY));
    tokio::spawn(async move {
        while let Ok(Some(request)) = requests.message().await {
            let Ok(permit) = Arc::clone(&room).acquire_owned().await else { return };
            let (node, replies, from) = (Arc::clone(&node), replies.clone(), from.clone());
            tokio::spawn(async move {
                let reply = node.submit(request.submission, from.from()).await;
                // A client that went away does not wait.
                let _ = replies.send(Ok(SubmitReply { tag: request.tag, ..reply })).await;
                drop(permit);
            });
        }
    });
    Box::pin(ReceiverStream::new(out))
}

#[tonic::async_trait]
impl Ledger for LedgerService {
    async fn submit(&self, request: Request<SubmitRequest>) -> Result<Response<SubmitReply>, Status> {
        let certificate = caller::certificate(&request);
        let request = request.into_inner();
        let reply = self.0.submit(request.submission, From::Client(certificate.as_deref())).await;
        Ok(Response::new(SubmitReply { tag: request.tag, ..reply }))
    }

    type SubmitStreamStream = ReplyStream<SubmitReply>;

    async fn submit_stream(&self, request: Request<Streaming<SubmitRequest>>) -> Result<Response<Self::SubmitStreamStream>, Status> {
        let from = Door::Client(caller::certificate(&request));
        Ok(Response::new(submit_all(Arc::clone(&self.0), request.into_inner(), from)))
    }

    async fn command_status(&self, request: Request<CommandStatusRequest>) -> Result<Response<SubmitReply>, Status> {
        self.allowed(&request, "command-status", Question::CommandStatus)?;
        let request = request.into_inner();
        let id = request.command_id.as_slice().try_into().map_err(|_| Status::invalid_argument("a command id has 32 bytes"))?;
        // Committed is for ever. Anything else is told as of now, if there is a leader to ask.
        if self.0.recorded(&id).is_ok_and(|r| r.is_none())
            && let Err(refusal) = self.0.read_barrier().await
        {
            tracing::debug!(%refusal, "a command's status is told as of this node's last record");
        }
        Ok(Response::new(self.0.command_status(&id, request.not_after_ms)))
    }

    async fn r#use(&self, request: Request<SubmitRequest>) -> Result<Response<UseReply>, Status> {
        let certificate = caller::certificate(&request);
        let reply = self.0.submit(request.into_inner().submission, From::Client(certificate.as_deref())).await;
        // The record may have been applied by the leader alone so far.
        if reply.state() == vermilion_proto::CommandState::Committed {
            self.0.read_barrier().await.map_err(|r| status(&r))?;
        }
        Ok(Response::new(self.0.serve_use(reply).await))
    }

    async fn licence_status(&self, request: Request<LicenceStatusRequest>) -> Result<Response<LicenceStatusReply>, Status> {
        self.answers()?;
        let asker = self.asker(&request, "licence-status")?;
        Ok(Response::new(self.0.licence_status(request.into_inner(), asker.operator()).await))
    }

    async fn tags(&self, request: Request<TagsRequest>) -> Result<Response<TagsReply>, Status> {
        self.allowed(&request, "tags", Question::Tags)?;
        let requests = request.into_inner().requests;
        if requests.len() > MAX_TAGS || requests.iter().any(|r| r.value.len() > MAX_TAG_VALUE || r.code_type.len() > 16) {
            return Err(status(&Refusal::new(Reason::TooLarge, "too many tags, or too long a value")));
        }
        let lookup = self.0.opener.lookup();
        let mut tags = Vec::with_capacity(requests.len());
        for r in requests {
            if !["holder", "identifier", "series", "person"].contains(&r.kind.as_str()) {
                return Err(status(&Refusal::new(Reason::Malformed, "there are tags of holder, identifier, series and person")));
            }
            // One person, however the number is written: two tags would make two of the four eyes.
            let value = if r.kind == "person" { r.value.to_ascii_uppercase() } else { r.value };
            tags.push(lookup.tag(&r.kind, &r.code_type, &value).to_vec());
        }
        Ok(Response::new(TagsReply { tags }))
    }

    type RecordsStream = ReplyStream<StoredRecord>;

    async fn records(&self, request: Request<RecordsRequest>) -> Result<Response<Self::RecordsStream>, Status> {
        let asker = self.asker(&request, "records")?;
        let RecordsRequest { from, to } = request.into_inner();
        let one = from.checked_add(1) == Some(to);
        let allowed = if one { self.0.allow_record(&asker, from) } else { self.0.allow(&asker, Question::Records, None) };
        let named = |refusal: Refusal| match refusal.reason {
            Reason::NotAuthorised if refusal.detail == Question::Records.name() => Refusal::new(refusal.reason, WHOSE_RECORDS),
            _ => refusal,
        };
        allowed.map_err(|r| status(&named(r)))?;
        let first = self.0.store.history_from().map_err(|e| status(&internal(&e)))?;
        if first > 1 && from < first {
            return Err(status(&Reason::NotHereYet.into()));
        }
        let (to_reader, out) = reading::client(&self.0.readers, ANSWERS)?;
        let store = self.0.store.clone();
        tokio::task::spawn_blocking(move || {
            let result = store.records(from, &mut |seq, record| (to == 0 || seq < to) && to_reader.send(Ok(record)));
            if let Err(error) = result {
                to_reader.send(Err(status(&internal(&error))));
            }
        });
        Ok(Response::new(Box::pin(out)))
    }

    async fn get_receipt(&self, request: Request<ReceiptRequest>) -> Result<Response<Receipt>, Status> {
        let asker = self.receipt_asker(&request)?;
        self.0.receipt(&request.into_inner(), asker.operator()).await.map(Response::new).map_err(|r| status(&r))
    }

    async fn get_cose_receipt(&self, request: Request<ReceiptRequest>) -> Result<Response<CoseReceiptReply>, Status> {
        let asker = self.receipt_asker(&request)?;
        let receipt = self.0.cose_receipt(&request.into_inner(), asker.operator()).await.map_err(|r| status(&r))?;
        Ok(Response::new(CoseReceiptReply { receipt }))
    }

    async fn sign_status(&self, request: Request<LicenceStatusRequest>) -> Result<Response<SignStatusReply>, Status> {
        self.answers()?;
        let asker = self.asker(&request, "licence-status")?;
        Ok(Response::new(self.0.sign_status(request.into_inner(), asker.operator()).await))
    }

    async fn get_checkpoint(&self, request: Request<CheckpointRequest>) -> Result<Response<CheckpointReply>, Status> {
        self.answers()?;
        let committed = if request.get_ref().commit_now {
            self.allowed(&request, "checkpoint", Question::CheckpointNow)?;
            self.0.commit_anywhere(&request).await.map_err(Status::unavailable)?
        } else {
            0
        };
        let at = request.into_inner().at_size;
        let found = match at {
            0 => self.0.witness.newest(),
            size => self.0.witness.shown(size).map(|note| note.map(|note| (size, note))),
        };
        let (size, note) = found.map_err(|e| status(&internal(&e)))?.ok_or_else(|| Status::not_found("there is no such checkpoint"))?;
        Ok(Response::new(CheckpointReply { note, size, genesis: self.0.genesis_payload.clone(), committed }))
    }

    async fn cluster(&self, request: Request<ClusterRequest>) -> Result<Response<ClusterReply>, Status> {
        self.allowed(&request, "cluster", Question::Cluster)?;
        let mut nodes = vec![self.0.node_status().map_err(Status::internal)?];
        if !request.into_inner().only_this {
            let peers = self.0.peers.nodes();
            let asked = peers.iter().map(|peer| async {
                let ask = async {
                    let mut client = self.0.peers.ledger_client(peer.raft_id)?;
                    whole(LINE, client.cluster(limited(LINE, ClusterRequest { only_this: true }))).await
                };
                match ask.await {
                    Ok(reply) => reply.nodes.into_iter().next(),
                    Err(_) => None,
                }
                .unwrap_or_else(|| NodeStatus {
                    id: peer.raft_id,
                    name: peer.name.clone(),
                    role: "unreachable".into(),
                    grpc: peer.peer_address.clone(),
                    ..Default::default()
                })
            });
            for one in asked {
                nodes.push(one.await);
            }
            nodes.sort_by_key(|n| n.id);
        }
        let leader = self.0.status().leader.map(|id| self.0.peers.roster().name(id));
        Ok(Response::new(ClusterReply { leader: leader.unwrap_or_default(), nodes, ledger_id: self.0.ledger_id.to_vec() }))
    }

    async fn query(&self, request: Request<QueryRequest>) -> Result<Response<QueryReply>, Status> {
        let asker = self.asker(&request, "query")?;
        let request = request.into_inner();
        if !request.local {
            self.0.read_barrier().await.map_err(|r| status(&r))?;
        }
        self.0.query(&request, &asker).map(Response::new).map_err(|r| status(&r))
    }

    async fn trail(&self, request: Request<TrailRequest>) -> Result<Response<TrailReply>, Status> {
        self.allowed(&request, "trail", Question::AuditTrail)?;
        let lines = tokio::task::block_in_place(|| self.0.trail.lines(request.into_inner().from));
        lines.map(|lines| Response::new(TrailReply { lines })).map_err(|e| status(&internal(&e)))
    }

    async fn control(&self, mut request: Request<ControlRequest>) -> Result<Response<ControlReply>, Status> {
        // A token for one of these acts is good for no other.
        let ControlRequest { action, node } = request.get_ref();
        self.allowed(&request, &format!("control {action} {node}"), Question::Control)?;
        // Leadership is the leader's to hand over: one hop, with the asker's own token.
        let leader = self.0.status().leader.filter(|leader| *leader != self.0.id);
        if request.get_ref().action == "transfer"
            && let Some(leader) = leader
        {
            mark_hop(request.metadata_mut()).map_err(|r| status(&r))?;
            let mut client = self.0.peers.ledger_client(leader)?;
            return whole(LEADER, client.control(request)).await.map(Response::new);
        }
        let request = request.into_inner();
        if request.action == "backup" {
            if request.node != self.0.id {
                return Err(Status::failed_precondition(format!("this is node {}", self.0.id)));
            }
            let folder = self.0.back_up().await?;
            return Ok(Response::new(ControlReply { done: request.action, folder: folder.display().to_string() }));
        }
        if request.action == "transfer" && !self.0.status().voters.contains(&request.node) {
            return Err(Status::failed_precondition("leadership goes to a voter only"));
        }
        let event = match request.action.as_str() {
            "transfer" => Event::Transfer(request.node),
            "distrust" => Event::Distrust(request.node, true),
            "trust" => Event::Distrust(request.node, false),
            _ => return Err(Status::invalid_argument("there are the actions transfer, distrust, trust and backup")),
        };
        if let Event::Distrust(node, on) = &event {
            // Kept before it holds: a restart must not bring the node back.
            self.0.distrusted.set(*node, *on).map_err(|e| status(&internal(&e)))?;
        }
        self.0.events.try_send(event).map_err(|_| status(&Reason::Busy.into()))?;
        Ok(Response::new(ControlReply { done: request.action, folder: String::new() }))
    }
}

/// Marks what this node passes on to the leader. What another node passed on goes no further: two nodes that take each other
/// for the leader would pass it back and forth.
fn mark_hop(metadata: &mut MetadataMap) -> Result<(), Refusal> {
    match metadata.insert(HOP, MetadataValue::from_static("1")) {
        None => Ok(()),
        Some(_) => Err(Reason::NoLeader.into()),
    }
}

/// A certificate's serial number, from its hexadecimal digits.
fn serial(text: &str) -> Result<Vec<u8>, Refusal> {
    let serial: vermilion_identity::Serial = text.parse().map_err(|_| Refusal::new(Reason::Malformed, "the key is no serial number"))?;
    Ok(serial.as_bytes().to_vec())
}

impl Node {
    /// A commitment now: here if this node leads, else at the leader, with the asker's own token. Waits
    /// until this node has cosigned it, and says the size of the tree with it.
    pub async fn commit_anywhere(&self, asked: &Request<CheckpointRequest>) -> Result<u64, String> {
        let target = if self.status().role == Role::Leader {
            self.commit_now().await?
        } else {
            let leader = self.status().leader.ok_or("there is no leader")?;
            let mut request = Request::new(CheckpointRequest { commit_now: true, at_size: 0 });
            *request.metadata_mut() = asked.metadata().clone();
            mark_hop(request.metadata_mut()).map_err(|r| r.reason.english())?;
            request.set_timeout(LEADER);
            let mut client = self.peers.ledger_client(leader).map_err(|e| e.to_string())?;
            // Not the size of the note that comes with it: where outside witnesses are waited for, that is an earlier one.
            match whole(LEADER, client.get_checkpoint(request)).await.map_err(|e| e.message().to_owned())?.committed {
                0 => return Err("the leader does not say what it committed".into()),
                size => size,
            }
        };
        let mut watch = self.witness.watch();
        let wait = async { watch.wait_for(|size| *size >= target).await.map(|_| ()) };
        match tokio::time::timeout(LEADER, wait).await {
            Ok(Ok(())) => Ok(target),
            _ => Err("no checkpoint came within 10 s".into()),
        }
    }

    /// This node's line in the cluster's status.
    pub fn node_status(&self) -> Result<NodeStatus, String> {
        let status = self.status();
        let head = self.head()?;
        let id = self.id;
        let role = match status.role {
            _ if status.learners.contains(&id) => "learner",
            _ if !status.voters.contains(&id) => "outside",
            Role::Leader => "leader",
            Role::Follower => "follower",
            Role::Candidate | Role::PreCandidate => "candidate",
        };
        let (applied, _) = self.store.applied().map_err(|e| e.to_string())?;
        Ok(NodeStatus {
            id: self.id,
            name: self.me.name.clone(),
            role: role.into(),
            term: status.term,
            // One is as of the last tick, the other as of now.
            commit: status.commit.max(applied),
            applied,
            size: head.size,
            chain: head.chain,
            checkpoint_size: *self.witness.watch().borrow(),
            pending: self.waiters.count() as u64,
            leader: status.leader.unwrap_or(0),
            grpc: self.me.peer_address.clone(),
            version: env!("CARGO_PKG_VERSION").into(),
            time_ms: head.time_ms,
            certificate_not_after_ms: self.tls.as_ref().map_or(0, |tls| tls.certificate().validity.not_after_ms),
            lacks: self.lacks(),
        })
    }

    /// Whether one record may be read: by who may read all, and by those of the unit whose command it is.
    fn allow_record(&self, asker: &Asker, seq: u64) -> Result<(), Refusal> {
        // Nobody learns whether a record is there who may see none.
        self.sees(asker, Question::Records).map(drop)?;
        let Some(found) = self.store.record(seq).map_err(|e| internal(&e))? else { return Ok(()) };
        let record = stored::open_record(&found).map_err(|e| internal(&e))?.record;
        let unit = unit_of(&record).ok_or_else(|| internal(&"a record's command does not read"))?;
        self.allow(asker, Question::Records, Some(&unit))
    }

    fn query(&self, request: &QueryRequest, asker: &Asker) -> Result<QueryReply, Refusal> {
        let kv = self.store.state_snapshot();
        let fail = |e: vermilion_registry::Fatal| internal(&e);
        let allow = |question| self.allow(asker, question, None);
        let head = query::head(&kv).map_err(fail)?.ok_or(Reason::Internal)?;
        let mut reply = QueryReply { as_of_seq: head.size.saturating_sub(1), as_of_ms: head.time_ms, ..Default::default() };
        // Of a list, the part of one unit or of all; what lies beyond the asker's reach is left out.
        let wanted = |unit: &str| request.key.is_empty() || request.key == unit;
        match request.kind.as_str() {
            "unit" => {
                allow(Question::Units)?;
                reply.units.extend(query::unit(&kv, &request.key).map_err(fail)?);
            }
            "units" => {
                allow(Question::Units)?;
                reply.units = query::units(&kv).map_err(fail)?;
            }
            "operators" => {
                let sees = self.sees(asker, Question::Operators)?;
                reply.operators = query::operators(&kv).map_err(fail)?;
                reply.operators.retain(|o| o.operator.as_ref().is_some_and(|o| wanted(&o.unit) && sees(&o.unit)));
            }
            "type" => {
                allow(Question::Types)?;
                reply.types.extend(query::licence_type(&kv, &request.key, None).map_err(fail)?);
            }
            "types" => {
                allow(Question::Types)?;
                reply.types = query::types(&kv).map_err(fail)?;
            }
            "policy" => {
                allow(Question::Policy)?;
                reply.policy = query::policy(&kv).map_err(fail)?.iter().cloned().collect();
            }
            "genesis" => {
                allow(Question::Genesis)?;
                reply.genesis = self.genesis_payload.clone();
            }
            "keys" => {
                allow(Question::Genesis)?;
                for state in self.rotated.keys().iter() {
                    reply.endorsements.push(self.witness.endorsement(state.from_seq).map_err(|e| internal(&e))?.unwrap_or_default());
                    reply.keys.push(state.clone());
                }
            }
            "authority" => {
                allow(Question::CertificateStatus)?;
                reply.authority = query::authority(&kv).map_err(fail)?;
            }
            "certificate" => {
                let sees = self.sees(asker, Question::Certificates)?;
                reply.certificates.extend(query::certificate(&kv, &serial(&request.key)?).map_err(fail)?);
                reply.certificates.retain(|c| c.holder.as_ref().is_some_and(|h| sees(&h.unit)));
            }
            "certificates" => {
                let sees = self.sees(asker, Question::Certificates)?;
                reply.certificates = query::certificates(&kv).map_err(fail)?;
                reply.certificates.retain(|c| c.holder.as_ref().is_some_and(|h| wanted(&h.unit) && sees(&h.unit)));
            }
            "admission" => {
                let sees = self.sees(asker, Question::Admissions)?;
                let directory = self.directory()?;
                reply.admissions.extend(directory.admission(&request.key).filter(|a| sees(&a.unit)));
            }
            "admissions" => {
                let sees = self.sees(asker, Question::Admissions)?;
                let directory = self.directory()?;
                reply.admissions = directory.all_admissions();
                reply.admissions.retain(|a| wanted(&a.unit) && sees(&a.unit));
            }
            "certificate-figures" => {
                let sees = self.sees(asker, Question::Certificates)?;
                let month = parse_month(&request.key).ok_or_else(|| Refusal::new(Reason::Malformed, "the key is no month"))?;
                reply.figures = query::certificate_figures(&kv, month).map_err(fail)?;
                reply.figures.retain(|f| sees(&f.unit));
            }
            "licence" => {
                let named = self.named(&kv, &request.key)?;
                let found = query::licence(&kv, &named).map_err(fail)?;
                // Whether there is one is told to those alone who may ask.
                self.allow(asker, Question::Licence, found.as_ref().map(|state| state.unit.as_str()))?;
                let state = found.ok_or(Reason::UnknownLicence)?;
                reply.changes = query::history(&kv, &named).map_err(fail)?;
                reply.licences.push(state);
            }
            other => return Err(Refusal::new(Reason::Malformed, format!("there is no query {other:?}"))),
        }
        Ok(reply)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn what_was_passed_on_goes_no_further() {
        let mut request = Request::new(());
        mark_hop(request.metadata_mut()).unwrap();
        assert_eq!(mark_hop(request.metadata_mut()).unwrap_err().reason, Reason::NoLeader);
    }
}
