//! Questions to the nodes. Answers are linearizable: as new as the moment of asking.

use crate::client::Client;
use crate::clock;
use crate::connection::{Answer, Connection, Recorded, refusal_of_number, whole_message};
use crate::error::{ClientError, is_passing, refusal_of};
use crate::types::Types;
use std::time::{Duration, Instant};
use tonic::transport::Channel;
use tonic::{Code, Status};
use vermilion_crypto::{Digest, SigningKey};
use vermilion_proto::ledger_client::LedgerClient;
use vermilion_proto::{
    CheckpointReply, CheckpointRequest, ClusterReply, ClusterRequest, CommandState, CommandStatusRequest, ControlRequest, LicenceRef,
    LicenceState, LicenceStatusReply, LicenceStatusRequest, OperatorState, PolicyEntry, QueryReply, QueryRequest, Receipt, ReceiptRequest,
    SignStatusReply, SignedQr, StatusAnswer, StatusChange, TrailRequest, TypeState, UnitState,
};
use vermilion_registry::codes::identifier::Identifier;
use vermilion_registry::content::TagInput;
use vermilion_registry::reason::Reason;

fn bad_request(error: &ClientError) -> Status {
    Status::invalid_argument(error.to_string())
}

/// What is known of a command.
#[derive(Clone, Debug, PartialEq)]
pub enum CommandKnown {
    /// Recorded, for ever.
    Recorded(Box<Recorded>),
    /// On its way.
    Pending,
    /// Nothing is known of it; it may yet come.
    Unknown,
    /// Its not-after passed without a record: it never will be recorded.
    Invalid,
}

/// Why a node does not answer, or does not do what it was asked for, as an error.
fn refused(status: &Status) -> ClientError {
    match refusal_of(status) {
        Some(refusal) => refusal.into(),
        // It answers, and says why it cannot.
        None if status.code() == Code::FailedPrecondition => ClientError::Usage(status.message().to_owned()),
        None => ClientError::Unreachable(whole_message(status)),
    }
}

impl Connection {
    /// A query; with a key, signed by it.
    pub async fn query(&self, kind: &str, key: &str, asker: Option<&SigningKey>) -> Result<QueryReply, ClientError> {
        let query = QueryRequest { kind: kind.to_owned(), key: key.to_owned(), local: false };
        let reply = self
            .ask(|mut node| {
                let request = match asker {
                    Some(asker) => self.signed(asker, "query", query.clone()),
                    None => Ok(tonic::Request::new(query.clone())),
                };
                async move { node.query(request.map_err(|e| bad_request(&e))?).await }
            })
            .await?;
        match reply.code {
            0 => Ok(reply),
            code => Err(refusal_of_number(code, String::new()).into()),
        }
    }

    /// A licence's status, signed by the node that answers.
    pub async fn sign_status(&self, request: &LicenceStatusRequest, asker: Option<&SigningKey>) -> Result<SignStatusReply, ClientError> {
        self.ask(|mut node| {
            let request = match asker {
                Some(asker) => self.signed(asker, "licence-status", request.clone()),
                None => Ok(tonic::Request::new(request.clone())),
            };
            async move { node.sign_status(request.map_err(|e| bad_request(&e))?).await }
        })
        .await
    }

    /// A licence's status: the answer, or why there is none.
    pub async fn licence_status(
        &self,
        request: &LicenceStatusRequest,
        asker: Option<&SigningKey>,
    ) -> Result<LicenceStatusReply, ClientError> {
        let until = clock::until(self.ask_patience);
        loop {
            let reply = self
                .ask(|mut node| {
                    let request = match asker {
                        Some(asker) => self.signed(asker, "licence-status", request.clone()),
                        None => Ok(tonic::Request::new(request.clone())),
                    };
                    async move { node.licence_status(request.map_err(|e| bad_request(&e))?).await }
                })
                .await?;
            let passing = reply.code == Reason::NoLeader.number() || reply.code == Reason::Internal.number();
            if !passing || Instant::now() > until {
                return Ok(reply);
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    /// What is known of a command. With its not-after, "never" can be told from "not yet".
    pub async fn command_status(&self, id: &Digest, not_after_ms: u64) -> Result<CommandKnown, ClientError> {
        let request = CommandStatusRequest { command_id: id.to_vec(), not_after_ms };
        let reply = self
            .ask(|mut node| {
                let request = request.clone();
                async move { node.command_status(request).await }
            })
            .await?;
        Ok(match reply.state() {
            CommandState::Committed => CommandKnown::Recorded(Box::new(Recorded::of(*id, reply))),
            CommandState::Pending => CommandKnown::Pending,
            CommandState::Invalid => CommandKnown::Invalid,
            CommandState::RefusedAtDoor => return Err(refusal_of_number(reply.code, reply.detail).into()),
            CommandState::Unknown | CommandState::Busy => CommandKnown::Unknown,
        })
    }

    /// The nodes and who leads. Of several views the first that knows a leader.
    pub async fn cluster(&self) -> Result<ClusterReply, ClientError> {
        let mut leaderless = None;
        let mut last = Status::unavailable("there is no node");
        for at in 0..self.names().count() {
            let ask = |mut node: LedgerClient<Channel>| async move { node.cluster(ClusterRequest::default()).await };
            match self.ask_one(at, Duration::from_secs(10), ask).await? {
                Ok(reply) if !reply.leader.is_empty() => return Ok(reply),
                Ok(reply) => _ = leaderless.get_or_insert(reply),
                Err(status) => last = status,
            }
        }
        leaderless.ok_or_else(|| ClientError::Unreachable(whole_message(&last)))
    }

    /// Asks the leader to do something to the group: `transfer`, `distrust`, `trust`.
    pub async fn control(&self, asker: &SigningKey, action: &str, raft_id: u64) -> Result<(), ClientError> {
        let leader = self.cluster().await?.leader;
        if leader.is_empty() {
            return Err(Reason::NoLeader.into());
        }
        self.prefer(&leader);
        let control = ControlRequest { action: action.to_owned(), node: raft_id };
        self.ask(|mut node| {
            let request = self.signed(asker, &format!("control {action} {raft_id}"), control.clone());
            async move { node.control(request.map_err(|e| bad_request(&e))?).await }
        })
        .await
        .map(|_| ())
    }

    /// Tells every node of the configuration to distrust a node, or to trust it again: who is distrusted
    /// leads nobody. Returns the names of those who heard it.
    pub async fn distrust(&self, asker: &SigningKey, raft_id: u64, distrusted: bool) -> Result<Vec<String>, ClientError> {
        let action = if distrusted { "distrust" } else { "trust" };
        let mut heard = Vec::new();
        for (at, name) in self.names().enumerate() {
            let control = ControlRequest { action: action.to_owned(), node: raft_id };
            let asked = self.ask_one(at, self.ask_patience, |mut node| {
                let request = self.signed(asker, &format!("control {action} {raft_id}"), control.clone());
                async move { node.control(request.map_err(|e| bad_request(&e))?).await }
            });
            match asked.await? {
                Ok(_) => heard.push(name.to_owned()),
                Err(status) if !is_passing(&status) => return Err(refused(&status)),
                Err(_) => {}
            }
        }
        Ok(heard)
    }

    /// Has a node of the configuration copy its data directory into its folder for backups; where the copy lies there.
    pub async fn backup(&self, asker: &SigningKey, node: usize, raft_id: u64) -> Result<String, ClientError> {
        let control = ControlRequest { action: "backup".into(), node: raft_id };
        // It takes as long as the node needs to put on the disk what it has in memory.
        let asked = self.ask_one(node, Duration::from_secs(clock::LONGEST_WAIT_S), |mut node| {
            let request = self.signed(asker, &format!("control backup {raft_id}"), control.clone());
            async move { node.control(request.map_err(|e| bad_request(&e))?).await }
        });
        asked.await?.map(|reply| reply.folder).map_err(|status| refused(&status))
    }

    /// The lines of a node's trail from a number on; the node by its place in the configuration.
    pub async fn trail(&self, asker: &SigningKey, node: usize, from: u64) -> Result<Vec<String>, ClientError> {
        let asked = self.ask_one(node, self.ask_patience, |mut node| {
            let request = self.signed(asker, "trail", TrailRequest { from });
            async move { node.trail(request.map_err(|e| bad_request(&e))?).await }
        });
        asked.await?.map(|reply| reply.lines).map_err(|status| refused(&status))
    }

    /// How a receipt is asked for now: a node may wait for what is left of patience, and of what the request lets it.
    fn patient(&self, request: &ReceiptRequest) -> impl Fn() -> ReceiptRequest {
        let most = match request.wait_ms {
            0 => self.ask_patience,
            wait_ms => self.ask_patience.min(Duration::from_millis(wait_ms.into())),
        };
        let (until, request) = (clock::until(most), request.clone());
        move || {
            let left = until.saturating_duration_since(Instant::now()).as_millis();
            // Not 0: that stands for as long as the node likes.
            ReceiptRequest { wait_ms: u32::try_from(left).unwrap_or(u32::MAX).max(1), ..request.clone() }
        }
    }

    /// A receipt, of a command's record or of one licence. The node waits for the checkpoint that
    /// covers it, as long as patience lasts and the request lets it. Where that names no size at least, what comes in
    /// the end may lack the quorum.
    pub async fn receipt(&self, request: &ReceiptRequest, asker: Option<&SigningKey>) -> Result<Receipt, ClientError> {
        let asked = self.patient(request);
        self.ask(|mut node| {
            let request = match asker {
                Some(asker) => self.signed(asker, "receipt", asked()),
                None => Ok(tonic::Request::new(asked())),
            };
            async move { node.get_receipt(request.map_err(|e| bad_request(&e))?).await }
        })
        .await
    }

    /// The same proof as a COSE receipt, signed by the node that answers.
    pub async fn cose_receipt(&self, request: &ReceiptRequest, asker: Option<&SigningKey>) -> Result<Vec<u8>, ClientError> {
        let asked = self.patient(request);
        let reply = self
            .ask(|mut node| {
                let request = match asker {
                    Some(asker) => self.signed(asker, "receipt", asked()),
                    None => Ok(tonic::Request::new(asked())),
                };
                async move { node.get_cose_receipt(request.map_err(|e| bad_request(&e))?).await }
            })
            .await?;
        Ok(reply.receipt)
    }

    /// Has the leader make a commitment record now, and says the size of the tree with it: a receipt under a
    /// checkpoint of this size or more is as of this moment.
    pub async fn commit_at_leader(&self, asker: &SigningKey) -> Result<u64, ClientError> {
        let leader = self.cluster().await?.leader;
        if leader.is_empty() {
            return Err(Reason::NoLeader.into());
        }
        self.prefer(&leader);
        match self.checkpoint(0, Some(asker)).await?.committed {
            0 => Err(ClientError::BadAnswer("it does not say what it committed".into())),
            size => Ok(size),
        }
    }

    /// A checkpoint: the latest, or that of a size. With a key a commitment is asked for first.
    pub async fn checkpoint(&self, at_size: u64, commit_now: Option<&SigningKey>) -> Result<CheckpointReply, ClientError> {
        let request = CheckpointRequest { commit_now: commit_now.is_some(), at_size };
        self.ask(|mut node| {
            let request = match commit_now {
                Some(asker) => self.signed(asker, "checkpoint", request),
                None => Ok(tonic::Request::new(request)),
            };
            async move { node.get_checkpoint(request.map_err(|e| bad_request(&e))?).await }
        })
        .await
    }
}

/// What of a licence's status is asked for, beside its identifier: by default what holds now. It is not shown: a challenge
/// is somebody's data.
#[derive(Clone, Default)]
pub struct StatusQuestion<'a> {
    /// A field that the asker knows and its value, for types whose status is a challenge.
    pub challenge: Option<(&'a str, &'a str)>,
    /// What it was then, in Unix milliseconds; 0: now.
    pub at_ms: u64,
    /// As far as the ledger knew then; 0: now.
    pub known_ms: u64,
}

impl StatusQuestion<'_> {
    fn request(&self, identifier: &str) -> LicenceStatusRequest {
        let (field, value) = self.challenge.unwrap_or_default();
        LicenceStatusRequest {
            identifier: identifier.to_owned(),
            challenge_field: field.to_owned(),
            challenge_value: value.to_owned(),
            at_ms: self.at_ms,
            known_ms: self.known_ms,
            ..LicenceStatusRequest::default()
        }
    }

    /// A node of before this question would answer about now.
    fn answered(&self, reply: LicenceStatusReply) -> Result<StatusAnswer, ClientError> {
        let status = status_or_refusal(reply.code, reply.status)?;
        match (status.at_ms, status.known_ms) == (self.at_ms, self.known_ms) {
            true => Ok(status),
            false => Err(ClientError::BadAnswer("the status is not of the moment that was asked about".into())),
        }
    }
}

fn status_or_refusal<T>(code: u32, status: Option<T>) -> Result<T, ClientError> {
    match (code, status) {
        (0, Some(status)) => Ok(status),
        (0, None) => Err(ClientError::BadAnswer("a status without its status".into())),
        (code, _) => Err(refusal_of_number(code, String::new()).into()),
    }
}

impl Client {
    /// A query for registered operators.
    pub(crate) async fn query_as_operator(&self, kind: &str, key: &str) -> Result<QueryReply, ClientError> {
        self.asking(None, |asker| async move { self.connection.query(kind, key, Some(&asker)).await }).await
    }

    /// One unit.
    pub async fn unit(&self, uscc: &str) -> Result<Option<UnitState>, ClientError> {
        Ok(self.connection.query("unit", uscc, None).await?.units.into_iter().next())
    }

    /// Every unit.
    pub async fn units(&self) -> Result<Vec<UnitState>, ClientError> {
        Ok(self.connection.query("units", "", None).await?.units)
    }

    /// The operators of a unit, or all.
    pub async fn operators(&self, unit: &str) -> Result<Vec<OperatorState>, ClientError> {
        Ok(self.query_as_operator("operators", unit).await?.operators)
    }

    /// One type.
    pub async fn licence_type(&self, code: &str) -> Result<Option<TypeState>, ClientError> {
        Ok(self.connection.query("type", code, None).await?.types.into_iter().next())
    }

    /// The catalogue.
    pub async fn types(&self) -> Result<Types, ClientError> {
        Ok(Types::new(self.connection.query("types", "", None).await?.types))
    }

    /// Every policy entry.
    pub async fn policy(&self) -> Result<Vec<PolicyEntry>, ClientError> {
        Ok(self.connection.query("policy", "", None).await?.policy)
    }

    /// A licence's state with its history, for registered operators.
    pub async fn licence(&self, identifier: &str) -> Result<(LicenceState, Vec<StatusChange>), ClientError> {
        let reply = self.query_as_operator("licence", identifier).await?;
        let state = reply.licences.into_iter().next().ok_or(Reason::UnknownLicence)?;
        Ok((state, reply.changes))
    }

    /// A licence's status: asked openly, and if it is closed, as its issuing unit when a key of that
    /// unit is here.
    pub async fn licence_status(&self, identifier: &str, question: &StatusQuestion<'_>) -> Result<StatusAnswer, ClientError> {
        let request = question.request(identifier);
        let (mut reply, asked) = (self.connection.licence_status(&request, None).await?, &request);
        if let Some(issuer) = self.issuer_if_closed(reply.code, identifier) {
            let ask = |asker: SigningKey| async move { self.connection.licence_status(asked, Some(&asker)).await };
            reply = self.asking(Some(&issuer), ask).await?;
        }
        question.answered(reply)
    }

    /// A licence's status at another moment, for the unit whose use of it is recorded and still served.
    pub async fn status_by_use(
        &self,
        unit: &str,
        identifier: &str,
        use_command: &Digest,
        asked: &StatusQuestion<'_>,
    ) -> Result<StatusAnswer, ClientError> {
        let request = LicenceStatusRequest { use_command: use_command.to_vec(), ..asked.request(identifier) };
        let request = &request;
        let ask = |asker: SigningKey| async move { self.connection.licence_status(request, Some(&asker)).await };
        asked.answered(self.asking(Some(unit), ask).await?)
    }

    /// A licence's status under a node's signature, for a QR code: asked in the same way.
    pub async fn signed_status(&self, identifier: &str, challenge: Option<(&str, &str)>) -> Result<SignedQr, ClientError> {
        let request = StatusQuestion { challenge, ..StatusQuestion::default() }.request(identifier);
        let (mut reply, asked) = (self.connection.sign_status(&request, None).await?, &request);
        if let Some(issuer) = self.issuer_if_closed(reply.code, identifier) {
            let ask = |asker: SigningKey| async move { self.connection.sign_status(asked, Some(&asker)).await };
            reply = self.asking(Some(&issuer), ask).await?;
        }
        status_or_refusal(reply.code, reply.signed)
    }

    /// Where a status is closed: the licence's issuing unit, if a key of it is here.
    fn issuer_if_closed(&self, code: u32, identifier: &str) -> Option<String> {
        let unit = Identifier::parse(identifier).ok().filter(|_| code == Reason::StatusClosed.number())?.authority().to_owned();
        self.has_key_of(&unit).then_some(unit)
    }

    /// How commands name a licence: by its identifier, or by the keyed tag of a personal one.
    pub async fn name_licence(&self, asker: &SigningKey, identifier: &str) -> Result<LicenceRef, ClientError> {
        let parsed = Identifier::parse(identifier)?;
        let state = self.licence_type(parsed.type_code()).await?;
        let of = state.and_then(|s| s.r#type).ok_or(Reason::UnknownType)?;
        if of.identifier_class() == vermilion_proto::IdentifierClass::Personal {
            let input = TagInput { kind: "identifier", code_type: String::new(), value: parsed.as_str().to_owned() };
            let tag = self.tags(asker, vec![input]).await?.first().map(|t| t.to_vec()).unwrap_or_default();
            return Ok(LicenceRef { identifier: String::new(), tag });
        }
        Ok(LicenceRef { identifier: parsed.as_str().to_owned(), tag: Vec::new() })
    }

    /// Whether a command that a node calls invalid is so everywhere: a node that lags may not know
    /// its record yet.
    pub(crate) async fn is_really_invalid(&self, prepared: &crate::command::Prepared) -> Result<Option<Answer>, ClientError> {
        let request = CommandStatusRequest { command_id: prepared.id.to_vec(), not_after_ms: 0 };
        for at in 0..self.connection.names().count() {
            let ask = |mut node: LedgerClient<Channel>| {
                let request = request.clone();
                async move { node.command_status(request).await }
            };
            let Ok(reply) = self.connection.ask_one(at, Duration::from_secs(5), ask).await? else { continue };
            if reply.state() == CommandState::Committed {
                return self.connection.submit(prepared).await.map(Some);
            }
        }
        Ok(None)
    }
}
