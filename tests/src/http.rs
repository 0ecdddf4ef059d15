//! Questions to a node's REST side, by hand: HTTP/1.0, one question a connection.

use crate::wait::PATIENCE;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io;
use std::sync::Mutex;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use vermilion_client::tls::Dialer;

/// Which ledger listens where: a question goes to an address, and who answers must be that ledger's node. Elsewhere questions
/// are plain.
static LEDGERS: Mutex<BTreeMap<String, Dialer>> = Mutex::new(BTreeMap::new());

/// Notes that a ledger's node listens at an address.
pub fn know(address: &str, dialer: &Dialer) {
    LEDGERS.lock().unwrap().insert(address.to_owned(), dialer.clone());
}

/// An answer.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status code.
    pub code: u16,
    /// The status line and the headers.
    pub head: String,
    /// The body.
    pub body: Vec<u8>,
}

impl Answer {
    /// A header's value.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        let named = |line: &'_ str| line.split_once(": ").is_some_and(|(found, _)| found.eq_ignore_ascii_case(name));
        Some(self.head.lines().find(|line| named(line))?.split_once(": ")?.1)
    }

    /// The body as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8(self.body.clone()).expect("the body is not text")
    }

    /// The body as JSON.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("{e}: {}", String::from_utf8_lossy(&self.body)))
    }

    /// Code and reason of a problem.
    #[must_use]
    pub fn problem(&self) -> (u16, String) {
        (self.code, self.json()["reason"].as_str().unwrap_or_default().to_owned())
    }
}

/// Asks for a path.
pub async fn get(address: &str, path: &str) -> Answer {
    get_with(address, path, None).await
}

/// The same; nothing where nobody listens, or who listens ends before the answer is whole.
pub async fn try_get(address: &str, path: &str) -> Option<Answer> {
    exchange_in_time(address, &head_of(address, path, ""), &[]).await.ok()
}

/// Asks for a path with a request token.
pub async fn get_with(address: &str, path: &str, token: Option<&str>) -> Answer {
    let token = token.map_or(String::new(), |t| format!("Authorization: {t}\r\n"));
    exchange(address, &head_of(address, path, &token), &[]).await
}

fn head_of(address: &str, path: &str, more: &str) -> String {
    format!("GET {path} HTTP/1.0\r\nHost: {address}\r\n{more}\r\n")
}

/// Sends a body to a path.
pub async fn post(address: &str, path: &str, body: &[u8]) -> Answer {
    exchange(address, &format!("POST {path} HTTP/1.0\r\nHost: {address}\r\nContent-Length: {}\r\n\r\n", body.len()), body).await
}

async fn exchange(address: &str, head: &str, body: &[u8]) -> Answer {
    let asked = || head.lines().next().unwrap_or_default();
    exchange_in_time(address, head, body).await.unwrap_or_else(|error| panic!("{address}, asked for {:?}: {error}", asked()))
}

async fn exchange_in_time(address: &str, head: &str, body: &[u8]) -> io::Result<Answer> {
    let late = |_| Err(io::Error::other(format!("no answer within {PATIENCE:?}")));
    tokio::time::timeout(PATIENCE, exchange_whole(address, head, body)).await.unwrap_or_else(late)
}

async fn exchange_whole(address: &str, head: &str, body: &[u8]) -> io::Result<Answer> {
    let dialer = LEDGERS.lock().unwrap().get(address).cloned();
    let mut stream = match dialer {
        Some(dialer) => dialer.public(address).await.map_err(io::Error::other)?,
        None => Box::new(TcpStream::connect(address).await?),
    };
    stream.write_all(&[head.as_bytes(), body].concat()).await?;
    let mut whole = Vec::new();
    // A server that ends without TLS's own goodbye has said what its HTTP says.
    if let Err(error) = stream.read_to_end(&mut whole).await
        && error.kind() != io::ErrorKind::UnexpectedEof
    {
        return Err(error);
    }
    let end = whole.windows(4).position(|w| w == b"\r\n\r\n").ok_or_else(|| io::Error::other("the answer has no head"))?;
    let head = std::str::from_utf8(&whole[..end]).unwrap();
    let code = head.split(' ').nth(1).and_then(|c| c.parse().ok()).unwrap_or_else(|| panic!("no status in {head:?}"));
    Ok(Answer { code, head: head.to_owned(), body: whole[end + 4..].to_vec() })
}

/// A value as it stands in a query.
#[must_use]
pub fn encoded(value: &str) -> String {
    value.bytes().fold(String::new(), |mut out, byte| {
        if byte.is_ascii_alphanumeric() {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
        out
    })
}
