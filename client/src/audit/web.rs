//! Small questions over HTTP, for what others serve as C2SP tlog-tiles, and for webhooks. Over TLS a place is
//! believed under an authority that was named, or, a node of the ledger, under the ledger's own.

use crate::tls::Stream;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::{ClientConfig, pki_types::ServerName, time_provider::DefaultTimeProvider};
use std::error::Error;
use std::io;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tonic::codegen::http::{Request, Uri, header};
use vermilion_identity::tls::{no_name, outside_config};
use vermilion_proto::Bytes;

/// Within which an answer must be there, connection and body together.
const ANSWER: Duration = Duration::from_secs(20);
/// The largest answer, in bytes: a bundle of 256 leaves has 38 KiB, a note with signatures less.
pub const MAX_ANSWER: usize = 256 << 10;
/// How often a node that answers "too many questions" is asked the same again.
const BUSY_TRIES: u32 = 20;
/// How long after, as its answer says (RFC 9110 section 10.2.3).
const BUSY_PAUSE: Duration = Duration::from_secs(1);
/// What the HTTP client says of an answer that begins otherwise: TLS ends what is no handshake with an alert.
const NO_HTTP: &str = "invalid HTTP version";
const TRY_TLS: &str = "the listener may speak TLS, try https://";

/// Why a question over HTTP has no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unanswered {
    /// The place says that it cannot answer yet, and may later (503).
    #[error("{0}: status 503")]
    NotYet(String),
    /// It could not be asked, or what it answers is none.
    #[error("{0}")]
    Failed(String),
}

impl From<Unanswered> for String {
    fn from(why: Unanswered) -> Self {
        why.to_string()
    }
}

/// Under whose certificates a place is believed.
#[derive(Clone, Debug)]
pub struct Believed {
    config: Arc<ClientConfig>,
    /// Whether the certificate must be for the host that was asked.
    by_name: bool,
}

impl Believed {
    /// Under the authorities in a PEM file, and the host's name. A system's whole bundle will do.
    pub fn of_file(file: &Path) -> Result<Self, String> {
        let say = |why: String| format!("{}: {why}", file.display());
        let pem = std::fs::read(file).map_err(|e| say(e.to_string()))?;
        Self::of_pem(&pem).map_err(say)
    }

    fn of_pem(pem: &[u8]) -> Result<Self, String> {
        let config = outside_config(pem, &[b"http/1.1"], Arc::new(DefaultTimeProvider)).map_err(|e| e.to_string())?;
        Ok(Self { config: Arc::new(config), by_name: true })
    }

    /// As any node of a ledger, by its own authority: nodes are known by their certificates and not by names.
    #[must_use]
    pub fn of_nodes(config: Arc<ClientConfig>) -> Self {
        Self { config, by_name: false }
    }
}

/// A place that is asked: `http://host[:port][/path]`, or https.
#[derive(Clone)]
pub struct Web {
    base: String,
    http: Client<Dial, Full<Bytes>>,
}

impl Web {
    /// For paths below `base`, over plain HTTP. An error if it is no such place.
    pub fn new(base: &str) -> Result<Self, String> {
        Self::over(base, None)
    }

    /// The same; where `base` says https, over TLS.
    pub fn over(base: &str, believed: Option<Believed>) -> Result<Self, String> {
        let base = base.trim_end_matches('/').to_owned();
        let uri: Uri = base.parse().map_err(|e| format!("{base}: {e}"))?;
        let tls = match (uri.scheme_str(), believed) {
            _ if uri.host().is_none() || uri.query().is_some() => {
                return Err(format!("{base} is not of the form http[s]://host[:port][/path]"));
            }
            (Some("http"), _) => None,
            (Some("https"), Some(believed)) => Some(believed),
            (Some("https"), None) => return Err(format!("{base}: name the authority whose certificates are believed there (--ca)")),
            _ => return Err(format!("{base} is neither http nor https")),
        };
        let http = Client::builder(TokioExecutor::new()).pool_timer(TokioTimer::new()).build(Dial(tls));
        Ok(Self { base, http })
    }

    /// The place.
    #[must_use]
    pub fn base(&self) -> &str {
        &self.base
    }

    /// What stands at a path; `None` if nothing does (404).
    pub async fn get(&self, path: &str) -> Result<Option<Vec<u8>>, Unanswered> {
        let uri = format!("{}/{path}", self.base);
        let failed = |why: String| Unanswered::Failed(format!("{uri}: {why}"));
        let mut patience = BUSY_TRIES;
        loop {
            let request = Request::get(&uri).body(Full::default()).map_err(|e| failed(e.to_string()))?;
            match self.ask(request).await.map_err(failed)? {
                (200, body) => return Ok(Some(body)),
                (404, _) => return Ok(None),
                // A node answers strangers so many questions a second: a tree of many tiles takes longer, and is no fault.
                (429, _) if patience > 0 => patience -= 1,
                (503, _) => return Err(Unanswered::NotYet(uri)),
                (status, _) => return Err(failed(format!("status {status}"))),
            }
            tokio::time::sleep(BUSY_PAUSE).await;
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
        let plain = request.uri().scheme_str() == Some("http");
        let failed = |why: String| if plain && why.contains(NO_HTTP) { format!("{why}: {TRY_TLS}") } else { why };
        let asked = async {
            let (head, body) = self.http.request(request).await.map_err(|e| failed(told(&e)))?.into_parts();
            let body = Limited::new(body, MAX_ANSWER).collect().await.map_err(|e| e.to_string())?;
            Ok((head.status.as_u16(), body.to_bytes().to_vec()))
        };
        tokio::time::timeout(ANSWER, asked).await.map_err(|_| "no answer in time".to_owned())?
    }
}

/// An error with its causes: that a client could not connect says nothing by itself.
fn told(error: &dyn Error) -> String {
    error.source().map_or_else(|| error.to_string(), |cause| format!("{error}: {}", told(cause)))
}

/// Connects to a place, over TLS if it is believed under certificates.
#[derive(Clone)]
struct Dial(Option<Believed>);

impl tower::Service<Uri> for Dial {
    type Response = TokioIo<Wire>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<TokioIo<Wire>>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let tls = self.0.clone();
        Box::pin(async move { Ok(TokioIo::new(Wire(connect(&uri, tls).await?))) })
    }
}

async fn connect(uri: &Uri, tls: Option<Believed>) -> io::Result<Stream> {
    // An IPv6 address stands in brackets there, and only there.
    let host = uri.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
    let port = uri.port_u16().unwrap_or(if tls.is_some() { 443 } else { 80 });
    let stream = TcpStream::connect((host, port)).await?;
    stream.set_nodelay(true)?;
    let Some(Believed { config, by_name }) = tls else { return Ok(Box::new(stream)) };
    let name = if by_name {
        ServerName::try_from(host.to_owned()).map_err(|_| io::Error::other("the host is no name that a certificate can bear"))?
    } else {
        no_name()
    };
    Ok(Box::new(TlsConnector::from(config).connect(name, stream).await?))
}

/// A connection as the HTTP client takes it.
struct Wire(Stream);

impl Connection for Wire {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

impl AsyncRead for Wire {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl AsyncWrite for Wire {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;
    use tokio_rustls::TlsAcceptor;
    use vermilion_crypto::SigningKey;
    use vermilion_identity::tls::{ClientAuth, Credential, CredentialSlot, Expected, Pinned, client_config, server_config};
    use vermilion_identity::{AuthorityCertificate, AuthorityName, Kind, Serial, Subject, Validity, authority};

    const DAY: u64 = 86_400_000;
    const UNIT: &str = "11440300MB0X00019K";

    fn clock() -> Arc<DefaultTimeProvider> {
        Arc::new(DefaultTimeProvider)
    }

    /// A ledger's authority, and the credential of one of its nodes.
    fn ledger(seed: u8) -> (AuthorityCertificate, Arc<CredentialSlot>) {
        // Certificates know seconds.
        let now = crate::clock::now_ms() / 1000 * 1000;
        let validity = Validity { not_before_ms: now - DAY, not_after_ms: now + DAY };
        let key = |n: u8| SigningKey::from_seed(&[seed + n; 32]);
        let serial = |n: u8| Serial::new(&[n; 16]).unwrap();
        let name = |name: &str| AuthorityName { trust_domain: "web.example".into(), unit: UNIT.into(), name: name.into() };
        let root = authority::make_root(&key(0), &name("Root"), &serial(1), validity).unwrap();
        let issuing = authority::make_issuing(&key(0), &root, key(1).public(), &name("Issuing"), &serial(2), validity).unwrap();
        let subject = Subject {
            kind: Kind::Node { raft_id: 1 },
            trust_domain: "web.example".into(),
            unit: UNIT.into(),
            district: "440300".into(),
            posts: Vec::new(),
            name: "node-1".into(),
        };
        let (der, _) = authority::issue(&key(1), &issuing, &subject, key(2).public(), &serial(3), validity).unwrap();
        (root, CredentialSlot::new(Credential::new(&der, &issuing, Arc::new(key(2))).unwrap()))
    }

    fn nodes_under(root: &AuthorityCertificate) -> Believed {
        let pins = Arc::new(Pinned { root: root.clone(), accepts_expired_until_ms: 0 });
        Believed::of_nodes(Arc::new(client_config(None, pins, Expected::Node, &[b"http/1.1"], clock()).unwrap()))
    }

    /// Answers every connection once, over TLS; says where.
    async fn serve(credential: Arc<CredentialSlot>) -> String {
        let config = server_config(credential, ClientAuth::None, &[b"http/1.1"], clock()).unwrap();
        let (acceptor, listener) = (TlsAcceptor::from(Arc::new(config)), TcpListener::bind("127.0.0.1:0").await.unwrap());
        let base = format!("https://{}", listener.local_addr().unwrap());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                // A client that does not believe the certificate goes away.
                let Ok(mut stream) = acceptor.accept(stream).await else { continue };
                let _ = stream.read(&mut [0; 4096]).await;
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nhi").await;
                let _ = stream.shutdown().await;
            }
        });
        base
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn over_tls_a_node_is_believed_under_its_ledgers_authority_alone() {
        let ((root, credential), (other, _)) = (ledger(10), ledger(20));
        let base = serve(credential).await;
        let asked = async |believed: Believed| Web::over(&base, Some(believed)).unwrap().get("checkpoint").await;
        assert_eq!(asked(nodes_under(&root)).await.unwrap().unwrap(), b"hi");
        assert!(asked(nodes_under(&other)).await.is_err());
        assert!(Web::new(&base).is_err_and(|why| why.contains("--ca")));
        // In the clear nobody is understood there, and what to do is said.
        let why = Web::new(&base.replace("https", "http")).unwrap().get("checkpoint").await.unwrap_err();
        assert!(why.to_string().contains(TRY_TLS), "{why}");
    }

    #[test]
    fn a_file_of_authorities_names_some() {
        for bad in [&b""[..], b"no certificate", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
            assert!(Believed::of_pem(bad).is_err());
        }
        assert!(Believed::of_file(Path::new("/nonexistent")).is_err());
    }

    #[test]
    fn only_plain_places_are_taken() {
        assert_eq!(Web::new("http://127.0.0.1:1/log/").unwrap().base(), "http://127.0.0.1:1/log");
        for other in ["https://a", "a:1", "http://", "http://a/?q=1", "ftp://a", ""] {
            assert!(Web::new(other).is_err(), "{other}");
        }
    }
}
