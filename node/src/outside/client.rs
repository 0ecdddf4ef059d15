//! The question to one witness over HTTP, in the clear or over TLS, bounded in time and bytes.

use super::protocol::{Answer, AskError, MAX_PROOF, request, response};
use crate::config::ConfigError;
use crate::tls::Outward;
use axum::body::Bytes;
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::pki_types::ServerName;
use std::error::Error;
use std::path::Path;
use std::time::Duration;
use vermilion_ledger::{Digest, SignatureLine, SignedNote, Witness};

/// Bytes of an answer: several lines, each of the largest signature that there is (5 kB), with room.
const MAX_ANSWER: usize = 64 << 10;
/// Questions about one checkpoint: the first, and after each 409 another.
const ROUNDS: usize = 3;

/// A client of one witness. Keeps its connection open.
pub struct WitnessClient {
    address: axum::http::Uri,
    witness: Witness,
    http: Client<Outward, Full<Bytes>>,
    timeout: Duration,
}

impl WitnessClient {
    /// For the witness with this submission prefix, `http[s]://host[:port][/path]`. Over https the authorities in the PEM file
    /// `ca` vouch for the host's name, and nobody else. `timeout` bounds each question, connection and answer together.
    pub fn new(prefix: &str, ca: Option<&Path>, witness: Witness, timeout: Duration) -> Result<Self, ConfigError> {
        let not_so = || unusable("witness.url", "must be http://host[:port][/path], or https");
        let address: axum::http::Uri = format!("{}/add-checkpoint", prefix.trim_end_matches('/')).parse().map_err(|_| not_so())?;
        let host = address.host().filter(|_| address.query().is_none()).ok_or_else(not_so)?;
        let connector = match (address.scheme_str(), ca) {
            (Some("http"), None) => Outward::plain(timeout),
            (Some("http"), Some(_)) => return Err(unusable("witness.ca", "is for a url with https: nobody shows a certificate over http")),
            (Some("https"), Some(file)) => over_tls(host, file, timeout)?,
            (Some("https"), None) => return Err(unusable("witness.ca", "must name the authorities (PEM) that are believed over https")),
            _ => return Err(not_so()),
        };
        // One task asks; more connections would only wait.
        let http = Client::builder(TokioExecutor::new()).pool_timer(TokioTimer::new()).pool_max_idle_per_host(1).build(connector);
        Ok(Self { address, witness, http, timeout })
    }

    /// The witness.
    #[must_use]
    pub fn witness(&self) -> &Witness {
        &self.witness
    }

    /// One question: that the tree of `old` records continues to that of the note.
    async fn ask(&self, old: u64, proof: &[Digest], note: &SignedNote, now_s: u64) -> Result<Answer, AskError> {
        let body = Full::new(Bytes::from(request(old, proof, &note.to_bytes())));
        let question = axum::http::Request::post(self.address.clone()).body(body).map_err(|e| AskError::Local(e.to_string()))?;
        let asked = async {
            let answer = self.http.request(question).await.map_err(|e| AskError::Unreachable(told(&e)))?;
            let (head, body) = answer.into_parts();
            let body = Limited::new(body, MAX_ANSWER)
                .collect()
                .await
                .map_err(|e| if e.is::<LengthLimitError>() { AskError::TooLong } else { AskError::Unreachable(e.to_string()) })?;
            Ok((head, body.to_bytes()))
        };
        let (head, body) = tokio::time::timeout(self.timeout, asked).await.map_err(|_| AskError::TimedOut)??;
        let content_type = head.headers.get(axum::http::header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
        response(head.status.as_u16(), content_type, &body, note.body(), &self.witness, now_s)
    }

    /// Has the witness cosign a checkpoint of `size` records: its line, verified.
    ///
    /// `at` is the size that it is thought to have cosigned last, and is what it says when it says
    /// otherwise. `prove` makes the consistency proof from a size of 1 to `size`.
    pub async fn cosign(
        &self,
        at: &mut u64,
        size: u64,
        note: &SignedNote,
        now_s: u64,
        prove: impl Fn(u64) -> Result<Vec<Digest>, String>,
    ) -> Result<SignatureLine, AskError> {
        let mut old = (*at).min(size);
        for _ in 0..ROUNDS {
            let proof = if old == 0 { Vec::new() } else { prove(old).map_err(AskError::Local)? };
            if proof.len() > MAX_PROOF {
                return Err(AskError::Local("the proof has more hashes than a request may carry".into()));
            }
            match self.ask(old, &proof, note, now_s).await? {
                Answer::Cosigned(line, _) => {
                    *at = size;
                    return Ok(line);
                }
                Answer::At(same) if same == old => return Err(AskError::Contradicts),
                Answer::At(larger) if larger > size => {
                    *at = larger;
                    return Err(AskError::Ahead(larger));
                }
                Answer::At(other) => {
                    old = other;
                    *at = other;
                }
            }
        }
        Err(AskError::Unsettled)
    }
}

fn unusable(key: &'static str, why: impl Into<String>) -> ConfigError {
    ConfigError::Value { key, why: why.into() }
}

fn over_tls(host: &str, ca: &Path, timeout: Duration) -> Result<Outward, ConfigError> {
    // An IPv6 address stands in brackets there, and only there.
    let name = ServerName::try_from(host.trim_matches(['[', ']']).to_owned());
    let name = name.map_err(|_| unusable("witness.url", format!("{host} is no name that a certificate can bear")))?;
    let because = |why: String| unusable("witness.ca", format!("{}: {why}", ca.display()));
    let pem = std::fs::read(ca).map_err(|e| because(e.to_string()))?;
    Outward::over_tls(name, &pem, timeout).map_err(|e| because(e.to_string()))
}

/// An error with its causes: that a client could not connect says nothing by itself.
fn told(error: &dyn Error) -> String {
    error.source().map_or_else(|| error.to_string(), |cause| format!("{error}: {}", told(cause)))
}

#[cfg(test)]
#[path = "client_tests.rs"]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests;
