//! A small honest outside witness (C2SP tlog-witness), for ledgers of test: in the clear, or over TLS with a certificate
//! that the `openssl` program made.

use crate::over_tls::{OverTls, certified};
use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use base64::prelude::{BASE64_STANDARD, Engine as _};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use tempfile::TempDir;
use tokio::net::TcpListener;
use vermilion_crypto::{PublicKey, SigningKey};
use vermilion_ledger::{Checkpoint, Digest, KeyKind, SignedNote, VerifierKey, check_consistency, cosign, empty_root, key_id};

const NAME: &str = "witness.example/w1";

struct Log {
    ledger: PublicKey,
    key: SigningKey,
    seen: (u64, Digest),
    asked: Vec<u64>,
}

/// A witness of one ledger, which listens and does not answer before it is opened.
pub struct HonestWitness {
    listener: Option<TcpListener>,
    address: SocketAddr,
    /// Its certificate, and the authority's, if it speaks TLS.
    certified: Option<TempDir>,
    key: SigningKey,
    log: Arc<Mutex<Option<Log>>>,
}

impl HonestWitness {
    /// Takes a port.
    pub async fn bind() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        Self { listener: Some(listener), address, certified: None, key: SigningKey::generate().unwrap(), log: Arc::default() }
    }

    /// The same, to be asked over https.
    pub async fn bind_over_tls() -> Self {
        Self { certified: Some(certified("IP:127.0.0.1")), ..Self::bind().await }
    }

    /// The table of a node's configuration that names it.
    #[must_use]
    pub fn table(&self, otherwise: &str) -> String {
        let (address, key) = (self.address, self.verifier_key());
        let asked = self.certified.as_ref().map_or_else(
            || format!("url = \"http://{address}\""),
            |dir| format!("url = \"https://{address}\"\nca = \"{}\"", dir.path().join("ca.pem").display()),
        );
        format!("[[witness]]\nkey = \"{key}\"\n{asked}\ntimeout_ms = 500\n\n[witnesses]\nneed = 1\notherwise = \"{otherwise}\"\n")
    }

    /// Its verifier key.
    #[must_use]
    pub fn verifier_key(&self) -> String {
        VerifierKey { name: NAME.into(), kind: KeyKind::Cosignature, key: self.key.public() }.to_string()
    }

    /// Answers from now on, for the ledger with this key.
    pub fn open(&mut self, ledger: PublicKey) {
        *self.log.lock().unwrap() = Some(Log { ledger, key: self.key.clone(), seen: (0, empty_root()), asked: Vec::new() });
        let router = Router::new().route("/add-checkpoint", post(add_checkpoint)).with_state(Arc::clone(&self.log));
        let tcp = self.listener.take().expect("it is open already");
        match self.certified.as_ref() {
            None => tokio::spawn(async move { axum::serve(tcp, router).await.unwrap() }),
            Some(dir) => {
                let listener = OverTls::new(tcp, dir.path());
                tokio::spawn(async move { axum::serve(listener, router).await.unwrap() })
            }
        };
    }

    /// The size that it cosigned last.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.log.lock().unwrap().as_ref().map_or(0, |log| log.seen.0)
    }

    /// The old sizes of all requests so far.
    #[must_use]
    pub fn asked(&self) -> Vec<u64> {
        self.log.lock().unwrap().as_ref().map_or_else(Vec::new, |log| log.asked.clone())
    }
}

async fn add_checkpoint(State(log): State<Arc<Mutex<Option<Log>>>>, body: String) -> Response {
    let mut log = log.lock().unwrap();
    let log = log.as_mut().unwrap();
    let (head, note) = body.split_once("\n\n").unwrap();
    let mut lines = head.lines();
    let old: u64 = lines.next().unwrap().strip_prefix("old ").unwrap().parse().unwrap();
    let proof: Vec<Digest> = lines.map(|l| BASE64_STANDARD.decode(l).unwrap().try_into().unwrap()).collect();
    log.asked.push(old);
    let note = SignedNote::parse(note.as_bytes()).unwrap();
    let checkpoint = Checkpoint::parse(note.body()).unwrap();
    let id = key_id(&checkpoint.origin, KeyKind::Note, &log.ledger);
    let signed = note.lines().iter().find(|l| l.id() == id);
    if signed.is_none_or(|l| log.ledger.verify(note.body().as_bytes(), l.signature()).is_err()) {
        return StatusCode::FORBIDDEN.into_response();
    }
    if old > checkpoint.size {
        return StatusCode::BAD_REQUEST.into_response();
    }
    if old != log.seen.0 {
        return (StatusCode::CONFLICT, [("content-type", "text/x.tlog.size")], format!("{}\n", log.seen.0)).into_response();
    }
    if check_consistency(old, &log.seen.1, checkpoint.size, &checkpoint.root, &proof).is_err() {
        return StatusCode::UNPROCESSABLE_ENTITY.into_response();
    }
    log.seen = (checkpoint.size, checkpoint.root);
    cosign(note.body(), NAME, &log.key, vermilion_client::clock::now_ms() / 1000).unwrap().to_bytes().into_response()
}
