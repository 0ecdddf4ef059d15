//! The question to one witness over HTTP, bounded in time and bytes.

use super::protocol::{Answer, AskError, MAX_PROOF, request, response};
use axum::body::Bytes;
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper_util::client::legacy::{Client, connect::HttpConnector};
use hyper_util::rt::{TokioExecutor, TokioTimer};
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
    http: Client<HttpConnector, Full<Bytes>>,
    timeout: Duration,
}

impl WitnessClient {
    /// For the witness with this submission prefix, `http://host[:port][/path]`; `None` if it is no such
    /// prefix. `timeout` bounds each question, connection and answer together.
    #[must_use]
    pub fn new(prefix: &str, witness: Witness, timeout: Duration) -> Option<Self> {
        let address: axum::http::Uri = format!("{}/add-checkpoint", prefix.trim_end_matches('/')).parse().ok()?;
        if address.scheme_str() != Some("http") || address.host().is_none() || address.query().is_some() {
            return None;
        }
        let mut connector = HttpConnector::new();
        connector.set_connect_timeout(Some(timeout));
        connector.set_nodelay(true);
        // One task asks; more connections would only wait.
        let http = Client::builder(TokioExecutor::new()).pool_timer(TokioTimer::new()).pool_max_idle_per_host(1).build(connector);
        Some(Self { address, witness, http, timeout })
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
            let answer = self.http.request(question).await.map_err(|e| AskError::Unreachable(e.to_string()))?;
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

#[cfg(test)]
#[path = "client_tests.rs"]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests;
