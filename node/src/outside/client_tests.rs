//! Against witnesses over real sockets: an honest one, as small as the specification allows, and
//! several that are not. The certificates of those that speak TLS are made by the `openssl` program.

#[path = "../../../tests/src/over_tls.rs"]
mod over_tls;

use super::*;
use axum::extract::State;
use axum::response::{IntoResponse as _, Redirect, Response};
use axum::routing::post;
use axum::{Router, http::StatusCode};
use base64::prelude::{BASE64_STANDARD, Engine as _};
use over_tls::{OverTls, certified};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use tempfile::TempDir;
use tokio::net::TcpListener;
use vermilion_crypto::SigningKey;
use vermilion_ledger::{Checkpoint, KeyKind, TileStore, Tree, check_consistency, cosign, empty_root, key_id, leaf_hash, make_checkpoint};

const ORIGIN: &str = "city.example/ledger";
const NOW: u64 = 1_790_000_000;
/// How long a witness is waited for that answers, and one that does not.
const PATIENCE: Duration = Duration::from_secs(20);
const SOON: Duration = Duration::from_millis(500);

/// A witness' one log: the size and root that it cosigned last, and how often it was asked.
struct Honest {
    key: SigningKey,
    seen: Mutex<(u64, Digest)>,
    asked: Mutex<Vec<u64>>,
}

fn ledger_key() -> SigningKey {
    SigningKey::from_seed(&[1; 32])
}

fn witness_key() -> SigningKey {
    SigningKey::from_seed(&[2; 32])
}

fn witness() -> Witness {
    Witness { name: "witness.example".into(), key: witness_key().public() }
}

fn size_is(size: u64) -> Response {
    (StatusCode::CONFLICT, [("content-type", "text/x.tlog.size")], format!("{size}\n")).into_response()
}

/// `add-checkpoint` in the order of the specification.
async fn add_checkpoint(State(me): State<Arc<Honest>>, body: String) -> Response {
    let (head, note) = body.split_once("\n\n").unwrap();
    let mut lines = head.lines();
    let old: u64 = lines.next().unwrap().strip_prefix("old ").unwrap().parse().unwrap();
    let proof: Vec<Digest> = lines.map(|l| BASE64_STANDARD.decode(l).unwrap().try_into().unwrap()).collect();
    me.asked.lock().unwrap().push(old);
    let note = SignedNote::parse(note.as_bytes()).unwrap();
    let checkpoint = Checkpoint::parse(note.body()).unwrap();
    if checkpoint.origin != ORIGIN {
        return StatusCode::NOT_FOUND.into_response();
    }
    let id = key_id(ORIGIN, KeyKind::Note, &ledger_key().public());
    let signed = |l: &SignatureLine| {
        l.name() == ORIGIN && l.id() == id && ledger_key().public().verify(note.body().as_bytes(), l.signature()).is_ok()
    };
    if !note.lines().iter().any(signed) {
        return StatusCode::FORBIDDEN.into_response();
    }
    if old > checkpoint.size {
        return StatusCode::BAD_REQUEST.into_response();
    }
    let mut seen = me.seen.lock().unwrap();
    if old != seen.0 {
        return size_is(seen.0);
    }
    if check_consistency(old, &seen.1, checkpoint.size, &checkpoint.root, &proof).is_err() {
        return StatusCode::UNPROCESSABLE_ENTITY.into_response();
    }
    *seen = (checkpoint.size, checkpoint.root);
    cosign(note.body(), "witness.example", &me.key, NOW).unwrap().to_bytes().into_response()
}

/// Serves a router on a port of its own; the server ends with the test.
async fn serve(router: Router) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    format!("http://{address}/w1/")
}

fn honest_router() -> (Arc<Honest>, Router) {
    let me = Arc::new(Honest { key: witness_key(), seen: Mutex::new((0, empty_root())), asked: Mutex::default() });
    let router = Router::new().route("/w1/add-checkpoint", post(add_checkpoint)).with_state(Arc::clone(&me));
    (me, router)
}

async fn honest() -> (Arc<Honest>, String) {
    let (me, router) = honest_router();
    (me, serve(router).await)
}

/// Serves a router at 127.0.0.1 over TLS, with the certificate in this folder.
async fn serve_over_tls(router: Router, certified: &TempDir) -> String {
    let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = tcp.local_addr().unwrap();
    let listener = OverTls::new(tcp, certified.path());
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    format!("https://{address}/w1/")
}

/// A witness that answers every question with this.
async fn answering(answer: impl Fn() -> Response + Clone + Send + Sync + 'static) -> String {
    serve(Router::new().route("/w1/add-checkpoint", post(move || async move { answer() }))).await
}

struct NoTiles;

impl TileStore for NoTiles {
    type Error = std::io::Error;
    fn tile(&self, _: u8, _: u64) -> Result<Option<Vec<u8>>, std::io::Error> {
        Ok(None)
    }
}

/// A ledger of fewer than 256 records, and its newest checkpoint.
struct Log {
    tree: Tree,
    at: u64,
    /// Under whose authority a witness is believed.
    ca: Option<PathBuf>,
    patience: Duration,
}

impl Log {
    fn new() -> Self {
        Self { tree: Tree::new(), at: 0, ca: None, patience: PATIENCE }
    }

    fn grow(&mut self, leaves: std::ops::Range<u8>) {
        for n in leaves {
            self.tree.append(leaf_hash(&[n]));
        }
    }

    fn note(&self, key: &SigningKey) -> SignedNote {
        make_checkpoint(&Checkpoint { origin: ORIGIN.into(), size: self.tree.size(), root: self.tree.root() }, key).unwrap()
    }

    async fn ask(&mut self, prefix: &str) -> Result<SignatureLine, AskError> {
        self.ask_for(prefix, &self.note(&ledger_key())).await
    }

    async fn ask_for(&mut self, prefix: &str, note: &SignedNote) -> Result<SignatureLine, AskError> {
        let client = WitnessClient::new(prefix, self.ca.as_deref(), witness(), self.patience).unwrap();
        let (tree, size) = (self.tree.clone(), self.tree.size());
        client.cosign(&mut self.at, size, note, NOW, |old| tree.consistency(&NoTiles, old, size).map_err(|e| e.to_string())).await
    }
}

#[tokio::test]
async fn an_honest_witness_cosigns_what_continues_and_is_found_again_after_a_loss() {
    let (witness_server, prefix) = honest().await;
    let mut log = Log::new();
    log.grow(0..9);
    let line = log.ask(&prefix).await.unwrap();
    let body = log.note(&ledger_key()).body().to_owned();
    assert_eq!(vermilion_ledger::verify_cosignature(&body, &witness().key, line.signature()), Some(NOW));
    log.grow(9..40);
    log.ask(&prefix).await.unwrap();
    // Again about the same checkpoint: no proof is needed.
    log.ask(&prefix).await.unwrap();
    assert_eq!(*witness_server.asked.lock().unwrap(), [0, 9, 40]);
    // A node that lost what it knew of the witness asks from 0, is told, and goes on from there.
    log.at = 0;
    log.grow(40..41);
    log.ask(&prefix).await.unwrap();
    assert_eq!(*witness_server.asked.lock().unwrap(), [0, 9, 40, 0, 40]);
    assert_eq!((log.at, witness_server.seen.lock().unwrap().0), (41, 41));
}

#[tokio::test]
async fn an_honest_witness_refuses_and_the_refusal_is_named() {
    let (_, prefix) = honest().await;
    let mut log = Log::new();
    log.grow(0..20);
    log.ask(&prefix).await.unwrap();

    let stranger = log.note(&SigningKey::from_seed(&[9; 32]));
    assert_eq!(log.ask_for(&prefix, &stranger).await, Err(AskError::UntrustedKey));
    let elsewhere = Checkpoint { origin: "other.example".into(), size: 20, root: log.tree.root() };
    assert_eq!(log.ask_for(&prefix, &make_checkpoint(&elsewhere, &ledger_key()).unwrap()).await, Err(AskError::UnknownLog));
    // A ledger that was rolled back is behind what the witness saw.
    let mut shorter = Log::new();
    shorter.grow(0..12);
    assert_eq!(shorter.ask(&prefix).await, Err(AskError::Ahead(20)));
    assert_eq!(shorter.at, 20);
    // And one that grew again otherwise does not continue it.
    shorter.grow(100..120);
    assert_eq!(shorter.ask(&prefix).await, Err(AskError::BadProof));
    // Nor does one of the same size.
    let mut other = Log::new();
    other.grow(50..70);
    assert_eq!(other.ask(&prefix).await, Err(AskError::BadProof));
    // The true one is cosigned still.
    log.grow(20..21);
    log.ask(&prefix).await.unwrap();
}

#[tokio::test]
async fn a_witness_that_lies_costs_its_cosignature_and_no_more() {
    let mut log = Log::new();
    log.grow(0..20);
    let body = log.note(&ledger_key()).body().to_owned();
    let other = Checkpoint { origin: ORIGIN.into(), size: 20, root: [7; 32] }.body();
    let line =
        |body: &str, name: &str, key: u8, time: u64| cosign(body, name, &SigningKey::from_seed(&[key; 32]), time).unwrap().to_bytes();
    let name = "witness.example";
    let ok = |bytes: Vec<u8>| move || bytes.clone().into_response();
    let cases = [
        ("another checkpoint", answering(ok(line(&other, name, 2, NOW))).await, AskError::BadCosignature),
        ("another key", answering(ok(line(&body, name, 3, NOW))).await, AskError::NoCosignature),
        ("another name", answering(ok(line(&body, "else.example", 2, NOW))).await, AskError::NoCosignature),
        ("from the future", answering(ok(line(&body, name, 2, NOW + 86_400))).await, AskError::BadTime(NOW + 86_400)),
        ("nothing", answering(ok(Vec::new())).await, AskError::Malformed("not signature lines")),
        ("without end", answering(ok(vec![b'x'; 1 << 20])).await, AskError::TooLong),
        ("a size that is ours", answering(|| size_is(0)).await, AskError::Contradicts),
        ("a size that cannot be", answering(|| size_is(u64::MAX)).await, AskError::Ahead(u64::MAX)),
        ("no size", answering(|| StatusCode::CONFLICT.into_response()).await, AskError::BadProof),
        ("elsewhere", answering(|| Redirect::temporary("http://127.0.0.1:1/").into_response()).await, AskError::Status(307)),
        ("broken", answering(|| StatusCode::INTERNAL_SERVER_ERROR.into_response()).await, AskError::Status(500)),
    ];
    for (what, prefix, error) in cases {
        log.at = 0;
        assert_eq!(log.ask(&prefix).await, Err(error), "{what}");
    }
    // One that names another size each time is asked three times.
    let asked = Arc::new(Mutex::new(0));
    let count = Arc::clone(&asked);
    let wandering = answering(move || {
        *count.lock().unwrap() += 1;
        size_is(*count.lock().unwrap())
    })
    .await;
    log.at = 0;
    assert_eq!((log.ask(&wandering).await, *asked.lock().unwrap()), (Err(AskError::Unsettled), 3));
}

#[tokio::test]
async fn a_witness_that_is_silent_or_away_is_not_waited_for() {
    let mut log = Log { patience: SOON, ..Log::new() };
    log.grow(0..3);
    let silent = serve(Router::new().route("/w1/add-checkpoint", post(std::future::pending::<StatusCode>))).await;
    assert_eq!(log.ask(&silent).await, Err(AskError::TimedOut));
    // An answer that begins and does not end.
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let slow = format!("http://{}/w1", listener.local_addr().unwrap());
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        // Before there is a question an answer would be no answer.
        tokio::io::AsyncReadExt::read(&mut stream, &mut [0; 1024]).await.unwrap();
        tokio::io::AsyncWriteExt::write_all(&mut stream, b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n").await.unwrap();
        std::future::pending::<()>().await;
    });
    assert_eq!(log.ask(&slow).await, Err(AskError::TimedOut));
    // A port that nobody is given.
    assert!(matches!(log.ask("http://127.0.0.1:1/").await, Err(AskError::Unreachable(_))));
    // A handshake that does not begin.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (mute, certified) = (format!("https://{}/", listener.local_addr().unwrap()), certified("IP:127.0.0.1"));
    log.ca = Some(certified.path().join("ca.pem"));
    assert_eq!(log.ask(&mute).await, Err(AskError::TimedOut));
    assert_eq!(log.at, 0);
}

#[tokio::test]
async fn over_tls_a_witness_is_believed_under_the_authority_that_is_named_and_its_own_name() {
    let (good, other, elsewhere) = (certified("IP:127.0.0.1"), certified("IP:127.0.0.1"), certified("DNS:witness.example"));
    let (witness_server, router) = honest_router();
    let prefix = serve_over_tls(router.clone(), &good).await;
    let mut log = Log::new();
    log.grow(0..9);
    for (authority, prefix, why) in [
        (&other, prefix.clone(), "invalid peer certificate"),
        (&elsewhere, serve_over_tls(router.clone(), &elsewhere).await, "not valid for name"),
        // A witness that speaks no TLS.
        (&good, serve(router).await.replace("http://", "https://"), "client error"),
    ] {
        log.ca = Some(authority.path().join("ca.pem"));
        let answer = log.ask(&prefix).await;
        assert!(matches!(&answer, Err(AskError::Unreachable(said)) if said.contains(why)), "{why}: {answer:?}");
    }
    assert!(witness_server.asked.lock().unwrap().is_empty());
    log.ca = Some(good.path().join("ca.pem"));
    log.ask(&prefix).await.unwrap();
    log.grow(9..40);
    log.ask(&prefix).await.unwrap();
    assert_eq!(*witness_server.asked.lock().unwrap(), [0, 9]);
}

#[tokio::test]
async fn over_tls_a_witness_that_lies_costs_no_more_either() {
    let certified = certified("IP:127.0.0.1");
    let mut log = Log::new();
    log.grow(0..20);
    log.ca = Some(certified.path().join("ca.pem"));
    let elsewhere = || async { Redirect::temporary("https://127.0.0.1:1/") };
    let endless = || async { vec![b'x'; 1 << 20] };
    let silent = std::future::pending::<StatusCode>;
    for (router, error) in
        [(post(elsewhere), AskError::Status(307)), (post(endless), AskError::TooLong), (post(silent), AskError::TimedOut)]
    {
        let prefix = serve_over_tls(Router::new().route("/w1/add-checkpoint", router), &certified).await;
        log.patience = if error == AskError::TimedOut { SOON } else { PATIENCE };
        assert_eq!(log.ask(&prefix).await, Err(error));
    }
}

#[test]
fn only_prefixes_are_taken_that_can_be_asked() {
    let certified = certified("IP:127.0.0.1");
    let (ca, key) = (certified.path().join("ca.pem"), certified.path().join("key.pem"));
    let refused = |prefix: &str, ca: Option<&Path>| {
        WitnessClient::new(prefix, ca, witness(), Duration::from_secs(1))
            .err()
            .map(|why| why.to_string().split(':').next().unwrap().to_owned())
    };
    for good in ["http://127.0.0.1:1", "http://w.example/a/b/"] {
        assert_eq!(refused(good, None), None);
    }
    for good in ["https://127.0.0.1:1", "https://[::1]/", "https://w.example/a/b/"] {
        assert_eq!(refused(good, Some(ca.as_path())), None);
    }
    for bad in ["ftp://w.example/", "w.example", "", "http://", "https://", "http://w.example/?a=", "https://w.example/?a="] {
        assert_eq!(refused(bad, None).as_deref(), Some("witness.url"), "{bad}");
    }
    assert_eq!(refused("https://w..example/", Some(ca.as_path())).as_deref(), Some("witness.url"));
    for (prefix, ca) in [("https://w.example/", None), ("https://w.example/", Some(&*key)), ("http://w.example/", Some(&*ca))] {
        assert_eq!(refused(prefix, ca).as_deref(), Some("witness.ca"), "{prefix}");
    }
}
