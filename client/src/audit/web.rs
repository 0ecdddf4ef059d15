//! Small questions over HTTP, for what others serve as C2SP tlog-tiles, and for webhooks.

use http_body_util::{BodyExt as _, Full, Limited};
use hyper_util::client::legacy::{Client, connect::HttpConnector};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use std::time::Duration;
use tonic::codegen::http::{Request, Uri, header};
use vermilion_proto::Bytes;

/// Within which an answer must be there, connection and body together.
const ANSWER: Duration = Duration::from_secs(20);
/// The largest answer, in bytes: a bundle of 256 leaves has 38 KiB, a note with signatures less.
const MAX_ANSWER: usize = 256 << 10;

/// A place that is asked: `http://host[:port][/path]`.
#[derive(Clone)]
pub struct Web {
    base: String,
    http: Client<HttpConnector, Full<Bytes>>,
}

impl Web {
    /// For paths below `base`. An error if it is no such place; TLS is not spoken here.
    pub fn new(base: &str) -> Result<Self, String> {
        let base = base.trim_end_matches('/').to_owned();
        let uri: Uri = base.parse().map_err(|e| format!("{base}: {e}"))?;
        if uri.scheme_str() != Some("http") || uri.host().is_none() || uri.query().is_some() {
            return Err(format!("{base} is not of the form http://host[:port][/path]"));
        }
        let mut connector = HttpConnector::new();
        connector.set_connect_timeout(Some(ANSWER));
        connector.set_nodelay(true);
        let http = Client::builder(TokioExecutor::new()).pool_timer(TokioTimer::new()).build(connector);
        Ok(Self { base, http })
    }

    /// The place.
    #[must_use]
    pub fn base(&self) -> &str {
        &self.base
    }

    /// What stands at a path; `None` if nothing does (404).
    pub async fn get(&self, path: &str) -> Result<Option<Vec<u8>>, String> {
        let uri = format!("{}/{path}", self.base);
        let request = Request::get(&uri).body(Full::default()).map_err(|e| e.to_string())?;
        match self.ask(request).await.map_err(|why| format!("{uri}: {why}"))? {
            (200, body) => Ok(Some(body)),
            (404, _) => Ok(None),
            (status, _) => Err(format!("{uri}: status {status}")),
        }
    }

    /// Posts JSON to the place itself; any status from 200 to 299 will do.
    pub async fn post_json(&self, json: String) -> Result<(), String> {
        let request = Request::post(&self.base).header(header::CONTENT_TYPE, "application/json").body(Full::from(json));
        match self.ask(request.map_err(|e| e.to_string())?).await.map_err(|why| format!("{}: {why}", self.base))? {
            (200..=299, _) => Ok(()),
            (status, _) => Err(format!("{}: status {status}", self.base)),
        }
    }

    async fn ask(&self, request: Request<Full<Bytes>>) -> Result<(u16, Vec<u8>), String> {
        let asked = async {
            let (head, body) = self.http.request(request).await.map_err(|e| e.to_string())?.into_parts();
            let body = Limited::new(body, MAX_ANSWER).collect().await.map_err(|e| e.to_string())?;
            Ok((head.status.as_u16(), body.to_bytes().to_vec()))
        };
        tokio::time::timeout(ANSWER, asked).await.map_err(|_| "no answer in time".to_owned())?
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_places_are_taken() {
        assert_eq!(Web::new("http://127.0.0.1:1/log/").unwrap().base(), "http://127.0.0.1:1/log");
        for other in ["https://a", "a:1", "http://", "http://a/?q=1", "ftp://a", ""] {
            assert!(Web::new(other).is_err(), "{other}");
        }
    }
}
