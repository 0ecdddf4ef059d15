//! What no longer stands, told over REST to others' software: the revocation list and OCSP answers,
//! from the replicated state, by nodes that hold the issuing key.

use crate::node::Node;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use std::sync::Arc;
use vermilion_crypto::SigningKey;
use vermilion_identity::ocsp::{self, AnswerTimes, CertificateStatus};
use vermilion_identity::revocation::{RevocationReason, Revoked, revocation_list};
use vermilion_identity::{AuthorityCertificate, Serial};
use vermilion_proto::CertificateState;
use vermilion_registry::certificates::Standing;
use vermilion_registry::{Fatal, query};

/// For how long a list or an answer may be used, in milliseconds.
const LIFETIME_MS: u64 = 3_600_000;

/// The reason in the state, as RFC 5280 numbers it.
fn reason(state: &CertificateState) -> RevocationReason {
    match state.reason {
        1 => RevocationReason::KeyCompromise,
        3 => RevocationReason::AffiliationChanged,
        4 => RevocationReason::Superseded,
        5 => RevocationReason::CessationOfOperation,
        6 => RevocationReason::Hold,
        9 => RevocationReason::PrivilegeWithdrawn,
        _ => RevocationReason::Unspecified,
    }
}

/// Why there is no answer.
enum NoAnswer {
    /// This node holds no issuing key, or not the one that issues now.
    NotHere,
    /// The state could not be read, or the key did not sign.
    Failed(String),
}

impl From<Fatal> for NoAnswer {
    fn from(error: Fatal) -> Self {
        Self::Failed(error.to_string())
    }
}

impl From<vermilion_identity::CertificateError> for NoAnswer {
    fn from(error: vermilion_identity::CertificateError) -> Self {
        Self::Failed(error.to_string())
    }
}

impl IntoResponse for NoAnswer {
    fn into_response(self) -> Response {
        match self {
            Self::NotHere => (StatusCode::NOT_FOUND, "this node does not hold the issuing key: ask a node of the city").into_response(),
            Self::Failed(why) => {
                tracing::error!(why, "no list of revoked certificates");
                StatusCode::INTERNAL_SERVER_ERROR.into_response()
            }
        }
    }
}

fn issuing(node: &Node) -> Result<(AuthorityCertificate, SigningKey), NoAnswer> {
    node.authority_here().map_err(NoAnswer::Failed)?.ok_or(NoAnswer::NotHere)
}

fn list(node: &Node) -> Result<Vec<u8>, NoAnswer> {
    let (issuing, key) = issuing(node)?;
    let kv = node.store.state_snapshot();
    let size = query::head(&kv)?.map_or(0, |head| head.size);
    let mut revoked = Vec::new();
    // What another issuing certificate issued stands in that one's lists.
    for state in query::revoked_certificates(&kv)?.into_iter().filter(|c| c.issuer == issuing.fingerprint) {
        revoked.push(Revoked { serial: Serial::new(&state.serial)?, at_ms: state.changed_ms, reason: reason(&state) });
    }
    let now = node.time();
    Ok(revocation_list(&key, &issuing, size, now, now + LIFETIME_MS, &revoked)?)
}

fn status(node: &Node, issuing: &AuthorityCertificate, serial: &Serial) -> CertificateStatus {
    let found = query::certificate(&node.store.state(), serial.as_bytes()).ok().flatten();
    match found.filter(|c| c.issuer == issuing.fingerprint) {
        None => CertificateStatus::Unknown,
        Some(state) if Standing::from_number(state.standing) == Some(Standing::Good) => CertificateStatus::Good,
        Some(state) => CertificateStatus::Revoked { at_ms: state.changed_ms, reason: reason(&state) },
    }
}

/// The revocation list (RFC 5280), DER.
#[utoipa::path(get, path = "/v1/authority/revoked.crl", responses((status = 200, description = "The list", content_type = "application/pkix-crl"), (status = 404, description = "This node does not hold the issuing key")))]
pub async fn crl(State(node): State<Arc<Node>>) -> Response {
    // It grows with what was revoked.
    match tokio::task::block_in_place(|| list(&node)) {
        Ok(der) => ([(header::CONTENT_TYPE, "application/pkix-crl")], der).into_response(),
        Err(error) => error.into_response(),
    }
}

/// An OCSP answer (RFC 6960) to a request in DER.
#[utoipa::path(post, path = "/v1/authority/ocsp", request_body(content = Vec<u8>, content_type = "application/ocsp-request"), responses((status = 200, description = "The answer", content_type = "application/ocsp-response"), (status = 404, description = "This node does not hold the issuing key")))]
pub async fn ocsp_answer(State(node): State<Arc<Node>>, request: Bytes) -> Response {
    let answered = issuing(&node).and_then(|(issuing, key)| {
        let now = node.time();
        let times = AnswerTimes { produced_ms: now, next_update_ms: now + LIFETIME_MS };
        Ok(ocsp::answer(&request, &key, &issuing, times, &|serial| status(&node, &issuing, serial))?)
    });
    match answered {
        Ok(der) => ([(header::CONTENT_TYPE, "application/ocsp-response")], der).into_response(),
        Err(error) => error.into_response(),
    }
}
