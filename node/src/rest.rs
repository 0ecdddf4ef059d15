//! REST under `/v1`, described by OpenAPI: what the public and monitoring may ask. Beside it the
//! log's own paths, as C2SP tlog-tiles wants them ([`crate::tiles`]).

use crate::answers::past;
use crate::node::Node;
use crate::tls::Caller;
use axum::body::Bytes;
use axum::extract::rejection::QueryRejection;
use axum::extract::{ConnectInfo, DefaultBodyLimit, Path, Query, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Extension, Json, Router};
use base64::prelude::{BASE64_STANDARD, Engine as _};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use utoipa::ToSchema;
use vermilion_identity::Certificate;
use vermilion_proto::{Command, Envelope, LicenceStatusRequest, Message as _, ReceiptRequest, StatusAnswer};
use vermilion_registry::authorisation::Question;
use vermilion_registry::codes::dates;
use vermilion_registry::reason::{Reason, Refusal};
use vermilion_registry::status::{Flag, Shown};
use vermilion_registry::{query, stored};

/// The largest body of a question, in bytes: an OCSP request.
const MAX_BODY: usize = 16 << 10;

/// Why something was not answered.
#[derive(Serialize, ToSchema)]
pub struct Problem {
    /// The stable reason code: a name of the ledger's table, or `unknown-checkpoint`.
    reason: String,
    /// In English.
    message: String,
    /// In Chinese.
    message_zh: String,
    /// What exactly; never anything personal.
    detail: String,
}

/// A licence's status, now or at the moment asked about.
#[derive(Serialize, ToSchema)]
pub struct Status {
    /// GB/T 36906 verify-information result, 0 to 7.
    verify_code: u32,
    /// What holds, with what follows from the dates: `expired`, `not-yet-effective`, or the state. Empty if there was no
    /// record of the licence at the moment asked about.
    shown: String,
    /// The same in Chinese.
    shown_zh: String,
    /// The status code of the national collection, 01 to 07; 99 is 其他, described by `shown_zh`. None without a record.
    national_code: Option<String>,
    /// The state as records set it, without what follows from the dates: a `valid` one may have expired. `shown` is what holds.
    state: String,
    /// Flags beside the state: `inspection-due`, `issuer-outage`. Objections and judicial freezes are told to
    /// units alone.
    flags: Vec<String>,
    /// The flags in Chinese.
    flags_zh: Vec<String>,
    /// The next version's identifier, if this one is superseded and the type's identifiers are public.
    superseded_by: Option<String>,
    /// The moment asked about, Unix milliseconds; none: now.
    at_ms: Option<u64>,
    /// As far as the ledger knew then, Unix milliseconds; none: now.
    known_ms: Option<u64>,
    /// The last record that the answer takes into account.
    as_of_record: u64,
    /// Its time, Unix milliseconds.
    as_of_ms: u64,
    /// The licence's version.
    version: u32,
    /// The type's code.
    type_code: String,
    /// USCC of the issuing unit.
    unit: String,
}

impl From<StatusAnswer> for Status {
    fn from(answer: StatusAnswer) -> Self {
        let shown = Shown::from_name(&answer.shown);
        let flags: Vec<Flag> = answer.flags.iter().filter_map(|f| Flag::from_name(f)).collect();
        let given = |ms: u64| (ms != 0).then_some(ms);
        Self {
            verify_code: answer.verify_code,
            shown_zh: shown.map_or("", Shown::chinese).into(),
            national_code: shown.map(|shown| shown.national_code().into()),
            shown: answer.shown,
            state: answer.state,
            flags_zh: flags.iter().map(|f| f.chinese().into()).collect(),
            flags: flags.iter().map(|f| f.name().into()).collect(),
            superseded_by: (!answer.superseded_by.is_empty()).then_some(answer.superseded_by),
            at_ms: given(answer.at_ms),
            known_ms: given(answer.known_ms),
            as_of_record: answer.as_of_seq,
            as_of_ms: answer.as_of_ms,
            version: answer.version,
            type_code: answer.type_code,
            unit: answer.unit,
        }
    }
}

/// A record, for known clients.
#[derive(Serialize, ToSchema)]
pub struct Record {
    /// Sequence number.
    seq: u64,
    /// Unix milliseconds.
    time_ms: u64,
    /// Hash of the record, hex.
    hash: String,
    /// The chain after it, hex.
    chain: String,
    /// The outcome: `accepted` or a reason code.
    outcome: String,
    /// The record's exact bytes, hex.
    record: String,
}

/// Whether the node is well.
#[derive(Serialize, ToSchema)]
pub struct Health {
    /// `ok`; `waiting` without a leader; `clock` if the majority's clocks contradict this node's.
    status: String,
    /// The node's name.
    node: String,
    /// Records that it holds.
    records: u64,
    /// The leader's Raft id, 0 when there is none.
    leader: u64,
}

pub(crate) fn problem(refusal: &Refusal) -> Response {
    let code = match refusal.reason {
        Reason::NotAuthorised | Reason::StatusClosed | Reason::ChallengeFailed => StatusCode::FORBIDDEN,
        Reason::UnknownLicence | Reason::UnknownType | Reason::Unknown => StatusCode::NOT_FOUND,
        Reason::NoLeader | Reason::Busy | Reason::NotCosigned => StatusCode::SERVICE_UNAVAILABLE,
        Reason::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        _ => StatusCode::BAD_REQUEST,
    };
    let body = Problem {
        reason: refusal.reason.name().into(),
        message: refusal.reason.english().into(),
        message_zh: refusal.reason.chinese().into(),
        detail: refusal.detail.clone(),
    };
    (code, Json(body)).into_response()
}

/// What is asked about a licence's status. Each member may be left out.
#[derive(Default, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct StatusQuestion {
    /// A field that the asker knows, for challenge types.
    field: String,
    /// Its value.
    value: String,
    /// Answer as of this node's last record.
    local: bool,
    /// What it was then: a date, whose first moment in China is meant, or RFC 3339.
    at: String,
    /// As far as the ledger knew then: a date or RFC 3339.
    known: String,
}

/// The public status of a licence, where its type allows it: without objections and judicial freezes, which
/// are told to units alone. What a challenge asks for is better sent in a body (POST): addresses are logged on the way.
#[utoipa::path(get, path = "/v1/licences/{identifier}/status",
    params(("identifier" = String, Path, description = "GB/T 36904 identifier"),
        ("field" = Option<String>, Query, description = "a field that the asker knows, for challenge types"),
        ("value" = Option<String>, Query, description = "its value"),
        ("at" = Option<String>, Query, description = "what it was then: 2026-03-01 or 2026-03-01T09:00:00%2B08:00"),
        ("known" = Option<String>, Query, description = "as far as the ledger knew then"),
        ("local" = Option<bool>, Query, description = "answer as of this node's last record")),
    responses((status = 200, body = Status), (status = 400, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem),
        (status = 503, body = Problem)))]
pub(crate) async fn licence_status(
    State(node): State<Arc<Node>>,
    Path(identifier): Path<String>,
    asked: Result<Query<StatusQuestion>, QueryRejection>,
) -> Response {
    match asked {
        Ok(Query(asked)) => status_of(&node, identifier, &asked).await,
        Err(_) => problem(&Refusal::new(Reason::FieldForm, "a status is asked for with field, value, at, known and local")),
    }
}

/// The same question in a body of JSON, whose values stand in no log of addresses.
#[utoipa::path(post, path = "/v1/licences/{identifier}/status", params(("identifier" = String, Path, description = "GB/T 36904 identifier")),
    request_body = StatusQuestion,
    responses((status = 200, body = Status), (status = 400, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem),
        (status = 503, body = Problem)))]
pub(crate) async fn licence_status_asked(State(node): State<Arc<Node>>, Path(identifier): Path<String>, body: Bytes) -> Response {
    match serde_json::from_slice::<StatusQuestion>(&body) {
        Ok(asked) => status_of(&node, identifier, &asked).await,
        // Not the reader's own words: they may repeat what was sent.
        Err(_) => problem(&Refusal::new(Reason::FieldForm, "the body is JSON with field, value, at, known and local")),
    }
}

async fn status_of(node: &Node, identifier: String, asked: &StatusQuestion) -> Response {
    let now = node.time();
    let moments = moment("at", &asked.at, now).and_then(|at| Ok((at, moment("known", &asked.known, now)?)));
    let (at_ms, known_ms) = match moments {
        Ok(moments) => moments,
        Err(refusal) => return problem(&refusal),
    };
    let request = LicenceStatusRequest {
        identifier,
        local: asked.local,
        challenge_field: asked.field.clone(),
        challenge_value: asked.value.clone(),
        at_ms,
        known_ms,
        ..LicenceStatusRequest::default()
    };
    let reply = node.licence_status(request, None).await;
    match (Reason::from_number(reply.code), reply.status) {
        (None, Some(status)) => Json(Status::from(status)).into_response(),
        (reason, _) => problem(&reason.unwrap_or(Reason::Internal).into()),
    }
}

/// A moment of a question; 0 if it is not given.
fn moment(name: &str, text: &str, now_ms: u64) -> Result<u64, Refusal> {
    if text.is_empty() {
        return Ok(0);
    }
    let form =
        || Refusal::new(Reason::FieldForm, format!("{name} is no moment since 1970: write 2026-03-01 or 2026-03-01T09:00:00%2B08:00"));
    // The first millisecond of 1970 is not "now".
    past(name, dates::moment_ms(text).ok_or_else(form)?.max(1), now_ms)
}

fn command_id(text: &str) -> Result<[u8; 32], Refusal> {
    let mut id = [0; 32];
    hex::decode_to_slice(text, &mut id).map_err(|_| Refusal::new(Reason::Malformed, "a command id is 64 hexadecimal digits"))?;
    Ok(id)
}

/// A command's record; for known clients, who send a request token for `record`.
#[utoipa::path(get, path = "/v1/records/{command_id}", params(("command_id" = String, Path, description = "64 hexadecimal digits")),
    responses((status = 200, body = Record), (status = 400, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem)))]
pub(crate) async fn record(
    State(node): State<Arc<Node>>,
    Path(id): Path<String>,
    caller: Option<Extension<ConnectInfo<Caller>>>,
    headers: HeaderMap,
) -> Response {
    let token = headers.get(header::AUTHORIZATION).and_then(|v| v.to_str().ok());
    let found = node.asker(token, "record", certificate(caller).as_deref()).and_then(|asker| {
        // Nobody learns whether a record is there who may see none.
        node.sees(&asker, Question::Records).map(drop)?;
        let (unit, record) = find_record(&node, &id)?;
        node.allow(&asker, Question::Records, Some(&unit))?;
        Ok(record)
    });
    match found {
        Ok(record) => Json(record).into_response(),
        Err(refusal) => problem(&refusal),
    }
}

/// The certificate of the connection, if it has one.
pub(crate) fn certificate(caller: Option<Extension<ConnectInfo<Caller>>>) -> Option<Arc<Certificate>> {
    caller.and_then(|Extension(ConnectInfo(caller))| caller.certificate)
}

/// The unit for which a record's command acts; empty for the nodes' own.
pub(crate) fn unit_of(record: &vermilion_proto::Record) -> Option<String> {
    let envelope = Envelope::decode(&record.envelope[..]).ok()?;
    Some(Command::decode(envelope.payload.as_slice()).ok()?.head?.unit)
}

fn find_record(node: &Node, id: &str) -> Result<(String, Record), Refusal> {
    let internal = crate::answers::internal;
    let id = command_id(id)?;
    let seq = query::command(&node.store.state_snapshot(), &id).map_err(|e| internal(&e))?.ok_or(Reason::Unknown)?;
    let found = node.record(seq)?;
    let open = stored::open_record(&found).map_err(|e| internal(&e))?;
    let code = open.record.outcome.as_ref().map_or(0, |o| o.code);
    let unit = unit_of(&open.record).ok_or_else(|| internal(&"a record's command does not read"))?;
    let record = Record {
        seq,
        time_ms: open.record.time_ms,
        hash: hex::encode(open.hash),
        chain: hex::encode(open.chain),
        outcome: Reason::from_number(code).map_or("accepted", Reason::name).into(),
        record: hex::encode(&found.record),
    };
    Ok((unit, record))
}

/// A command's receipt: a file for `vermilion receipt check`.
#[utoipa::path(get, path = "/v1/receipts/{command_id}", params(("command_id" = String, Path, description = "64 hexadecimal digits")),
    responses((status = 200, content_type = "application/octet-stream"), (status = 400, body = Problem), (status = 404, body = Problem), (status = 503, body = Problem)))]
pub(crate) async fn receipt(State(node): State<Arc<Node>>, Path(id): Path<String>) -> Response {
    let id = match command_id(&id) {
        Ok(id) => id,
        Err(refusal) => return problem(&refusal),
    };
    match node.receipt(&ReceiptRequest { command_id: id.to_vec(), ..Default::default() }, None).await {
        Ok(receipt) => ([(header::CONTENT_TYPE, "application/octet-stream")], stored::receipt_file(&receipt)).into_response(),
        Err(refusal) => problem(&refusal),
    }
}

/// The newest published checkpoint: a C2SP signed note with cosignatures. The same as `/checkpoint`.
#[utoipa::path(get, path = "/v1/checkpoint", responses((status = 200, content_type = "text/plain"), (status = 404, body = Problem)))]
pub(crate) async fn checkpoint(State(node): State<Arc<Node>>) -> Response {
    match node.witness.published() {
        Ok(Some((_, note))) => {
            ([(header::CONTENT_TYPE, "text/plain; charset=utf-8"), (header::CACHE_CONTROL, "no-cache")], note).into_response()
        }
        Ok(None) => problem(&Refusal::new(Reason::Unknown, "there is no published checkpoint yet")),
        Err(error) => problem(&crate::answers::internal(&error)),
    }
}

/// That one published checkpoint continues another.
#[derive(Serialize, ToSchema)]
pub struct Consistency {
    /// Records in the older tree.
    from: u64,
    /// Records in the newer tree.
    to: u64,
    /// The older checkpoint, a signed note.
    from_checkpoint: String,
    /// The newer one.
    to_checkpoint: String,
    /// The consistency proof of RFC 6962 section 2.1.2, each hash in base64.
    proof: Vec<String>,
}

#[derive(Deserialize)]
pub(crate) struct Sizes {
    #[serde(deserialize_with = "plain")]
    from: u64,
    #[serde(deserialize_with = "plain")]
    to: u64,
}

/// A number in plain decimal, so that each has one form: without sign and leading zeros.
fn plain<'de, D: serde::Deserializer<'de>>(from: D) -> Result<u64, D::Error> {
    let text = String::deserialize(from)?;
    let plain = text.parse().ok().filter(|number: &u64| number.to_string() == text);
    plain.ok_or_else(|| serde::de::Error::custom("not a number in plain decimal"))
}

/// The proof that the tree of one published checkpoint begins with that of another.
#[utoipa::path(get, path = "/v1/consistency",
    params(("from" = u64, Query, description = "records of the older checkpoint"), ("to" = u64, Query, description = "of the newer")),
    responses((status = 200, body = Consistency), (status = 400, body = Problem),
        (status = 404, body = Problem, description = "`unknown-checkpoint`: these are not the sizes of two published checkpoints, the older first")))]
pub(crate) async fn consistency(State(node): State<Arc<Node>>, sizes: Result<Query<Sizes>, QueryRejection>) -> Response {
    let Ok(Query(Sizes { from, to })) = sizes else {
        return problem(&Refusal::new(Reason::FieldForm, "name two sizes, the older first: ?from=…&to=…"));
    };
    // Two rows, and at most one tile for each level and size.
    match tokio::task::block_in_place(|| node.witness.consistency(from, to)) {
        Ok(Some(found)) => {
            let [from_checkpoint, to_checkpoint] = found.notes.map(|note| String::from_utf8_lossy(&note).into_owned());
            let proof = found.proof.iter().map(|hash| BASE64_STANDARD.encode(hash)).collect();
            Json(Consistency { from, to, from_checkpoint, to_checkpoint, proof }).into_response()
        }
        Ok(None) => {
            let body = Problem {
                reason: "unknown-checkpoint".into(),
                message: "These are not the sizes of two published checkpoints, the older first.".into(),
                message_zh: "所给的不是两个已公布检查点的记录数(先旧后新)".into(),
                detail: String::new(),
            };
            (StatusCode::NOT_FOUND, Json(body)).into_response()
        }
        Err(error) => problem(&crate::answers::internal(&error)),
    }
}

fn health_of(node: &Node) -> Health {
    let leader = node.status().leader.unwrap_or(0);
    Health {
        status: match leader {
            _ if node.status().lost.is_some() => "log-lost",
            0 => "waiting",
            _ if node.clocks.is_apart() => "clock",
            _ => "ok",
        }
        .into(),
        node: node.me.name.clone(),
        records: node.head().map_or(0, |h| h.size),
        leader,
    }
}

/// Whether the process lives.
#[utoipa::path(get, path = "/v1/health", responses((status = 200, body = Health)))]
pub(crate) async fn health(State(node): State<Arc<Node>>) -> Response {
    Json(health_of(&node)).into_response()
}

/// Whether reads come through. A node that is busy serves.
fn reads(barrier: Result<(), Refusal>) -> bool {
    barrier.map_or_else(|refusal| refusal.reason == Reason::Busy, |()| true)
}

/// Whether the node can serve: a read as new as now comes through, and its clock is not apart from the majority's.
#[utoipa::path(get, path = "/v1/ready", responses((status = 200, body = Health), (status = 503, body = Health)))]
pub(crate) async fn ready(State(node): State<Arc<Node>>) -> Response {
    let health = health_of(&node);
    let may = health.leader != 0 && !node.is_out() && node.catching_up().is_none() && !node.clocks.is_apart();
    let serves = may && reads(node.read_barrier().await);
    let code = if serves { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (code, Json(health)).into_response()
}

/// A node that was banned or retired tells the public nothing any more but how it is.
async fn unless_out(State(node): State<Arc<Node>>, request: Request, next: Next) -> Response {
    match node.is_out() && !OF_ITSELF.contains(&request.uri().path()) {
        true => problem(&crate::rights::out()),
        false => next.run(request).await,
    }
}

const OF_ITSELF: [&str; 4] = ["/v1/health", "/v1/ready", "/v1/openapi.json", "/metrics"];

/// Metrics for Prometheus: for certificates that may, or for everybody where the configuration says so.
#[utoipa::path(get, path = "/metrics", responses((status = 200, content_type = "text/plain"), (status = 403, body = Problem)))]
pub(crate) async fn metrics(State(node): State<Arc<Node>>, caller: Option<Extension<ConnectInfo<Caller>>>) -> Response {
    let allowed = || node.allow(&node.asker(None, "metrics", certificate(caller).as_deref())?, Question::Metrics, None);
    if !node.open_metrics
        && let Err(refusal) = allowed()
    {
        return problem(&refusal);
    }
    match node.metrics.render(&node.status(), node.witness.published_size().unwrap_or(0)) {
        Ok(text) => ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], text).into_response(),
        Err(error) => problem(&crate::answers::internal(&error)),
    }
}

/// The routes.
pub fn router(node: Arc<Node>) -> Router {
    Router::new()
        .route("/v1/licences/{identifier}/status", get(licence_status).post(licence_status_asked))
        .route("/v1/types", get(crate::catalogue::types))
        .route("/v1/types/{code}", get(crate::catalogue::one_type))
        .route("/v1/records/{command_id}", get(record))
        .route("/v1/receipts/{command_id}", get(receipt))
        .route("/v1/checkpoint", get(checkpoint))
        .route("/v1/authority/revoked.crl", get(crate::revoked::crl))
        .route("/v1/authority/ocsp", axum::routing::post(crate::revoked::ocsp_answer))
        .route("/v1/consistency", get(consistency))
        .route("/checkpoint", get(crate::tiles::checkpoint))
        .route("/tile/{*path}", get(crate::tiles::tile))
        .route("/v1/health", get(health))
        .route("/v1/ready", get(ready))
        .route("/v1/openapi.json", get(async || Json(crate::openapi::description())))
        .route("/metrics", get(metrics))
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .layer(axum::middleware::from_fn_with_state(Arc::clone(&node), unless_out))
        .with_state(node)
}
