//! Serves REST: each connection by itself, with an end to what it may wait for.
//!
//! Who sends a byte now and then, or nothing, holds a place that others want. So a request's head must be whole within a time,
//! counted from the connection's beginning or the last answer, not from the last byte; and a stranger's connection has an age,
//! which ends what a head's limit does not: bodies that never end, answers that nobody reads.

use crate::tls::Caller;
use axum::Router;
use axum::body::{Body, Bytes, HttpBody};
use axum::extract::ConnectInfo;
use axum::http::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use std::convert::Infallible;
use std::io;
use std::pin::pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;
use tokio_stream::{Stream, StreamExt as _};
use tower::{BoxError, Service};

/// Pause after the system gave no connection, as it does when there are no more descriptors.
const PAUSE: Duration = Duration::from_millis(50);

/// What one connection may wait for.
#[derive(Clone, Copy)]
struct Limits {
    /// From its beginning, or the last answer, to the next request's head.
    head: Duration,
    /// From its beginning until it takes no further request.
    age: Option<Duration>,
    /// From then until it is cut.
    last: Duration,
}

/// Who shows no certificate.
const STRANGER: Limits = Limits { head: Duration::from_secs(30), age: Some(Duration::from_secs(300)), last: Duration::from_secs(10) };
/// Who shows one may hold its connection as long as it uses it. One that vanished without a word, as behind a firewall that
/// forgot it, must not count for its unit for ever.
const KNOWN: Limits = Limits { head: Duration::from_secs(120), age: None, last: Duration::from_secs(10) };

impl Limits {
    fn of(caller: Option<&Caller>) -> Self {
        if caller.is_some_and(|caller| caller.certificate.is_some()) { KNOWN } else { STRANGER }
    }
}

/// Serves these connections until `stop`, and then until what is under way is answered. `who` says who is at the other end,
/// where that is known.
pub async fn serve<S>(
    incoming: impl Stream<Item = io::Result<S>>,
    who: impl Fn(&S) -> Option<Caller>,
    routes: Router,
    stop: impl Future<Output = ()>,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (ending, ends) = watch::channel(false);
    let (mut incoming, mut stop) = (pin!(incoming), pin!(stop));
    loop {
        let stream = tokio::select! {
            () = &mut stop => break,
            next = incoming.next() => match next {
                None => break,
                Some(Ok(stream)) => stream,
                Some(Err(error)) => {
                    tracing::warn!(%error, "a connection was not accepted");
                    tokio::time::sleep(PAUSE).await;
                    continue;
                }
            },
        };
        let caller = who(&stream);
        let limits = Limits::of(caller.as_ref());
        tokio::spawn(serve_one(stream, Told { routes: routes.clone(), caller }, limits, ends.clone()));
    }
    drop(ends);
    ending.send_replace(true);
    ending.closed().await;
}

async fn serve_one<S>(stream: S, service: Told, limits: Limits, mut ends: watch::Receiver<bool>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut server = Builder::new(TokioExecutor::new()).http1_only();
    server.http1().timer(TokioTimer::new()).header_read_timeout(limits.head);
    let mut connection = pin!(server.serve_connection(TokioIo::new(stream), TowerToHyperService::new(service)));
    let age = async {
        match limits.age {
            Some(age) => tokio::time::sleep(age).await,
            None => std::future::pending().await,
        }
    };
    let ended = tokio::select! {
        ended = connection.as_mut() => Some(ended),
        () = age => None,
        _ = ends.wait_for(|ends| *ends) => None,
    };
    let ended = match ended {
        Some(ended) => ended,
        None => {
            connection.as_mut().graceful_shutdown();
            tokio::time::timeout(limits.last, connection).await.unwrap_or(Ok(()))
        }
    };
    if let Err(error) = ended {
        tracing::debug!(error, "a connection ended");
    }
}

/// The routes, which are told who is at the other end.
#[derive(Clone)]
struct Told {
    routes: Router,
    caller: Option<Caller>,
}

impl<B> Service<Request<B>> for Told
where
    B: HttpBody<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = <Router as Service<Request<B>>>::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        <Router as Service<Request<B>>>::poll_ready(&mut self.routes, cx)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        if let Some(caller) = &self.caller {
            request.extensions_mut().insert(ConnectInfo(caller.clone()));
        }
        self.routes.call(request)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use axum::routing::{get, post};
    use std::time::Instant;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};

    const SHORT: Duration = Duration::from_millis(200);
    /// Longer than any of these connections may last.
    const LONG: Duration = Duration::from_secs(20);
    const WHOLE: &[u8] = b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n";

    /// A connection with such limits, and what stops the server.
    fn connect(limits: Limits) -> (DuplexStream, watch::Sender<bool>) {
        let routes = Router::new().route("/health", get(|| async { "ok" })).route("/body", post(|body: Bytes| async move { body }));
        let ((here, there), (ending, ends)) = (tokio::io::duplex(1 << 16), watch::channel(false));
        tokio::spawn(serve_one(there, Told { routes, caller: None }, limits, ends));
        (here, ending)
    }

    /// How long a connection lasts on which these bytes are sent, one every few milliseconds, over and over.
    async fn lasts(limits: Limits, bytes: &[u8], first: &[u8]) -> Duration {
        let (mut here, _ending) = connect(limits);
        let began = Instant::now();
        here.write_all(first).await.unwrap();
        let mut answers = [0; 4096];
        for byte in bytes.iter().cycle() {
            if began.elapsed() > LONG || here.write_all(&[*byte]).await.is_err() {
                break;
            }
            let read = tokio::time::timeout(Duration::from_millis(5), here.read(&mut answers)).await;
            if matches!(read, Ok(Ok(0) | Err(_))) {
                break;
            }
        }
        began.elapsed()
    }

    #[tokio::test]
    async fn a_request_that_is_never_whole_holds_no_place() {
        let limits = Limits { head: SHORT, age: None, last: SHORT };
        let lasted = lasts(limits, b"G", b"").await;
        assert!(lasted >= SHORT && lasted < LONG, "{lasted:?}");
        // Nor one that follows a whole one.
        let lasted = lasts(limits, b"G", WHOLE).await;
        assert!(lasted >= SHORT && lasted < LONG, "{lasted:?}");
    }

    #[tokio::test]
    async fn a_strangers_connection_has_an_age() {
        let limits = Limits { head: LONG, age: Some(SHORT), last: SHORT };
        let lasted = lasts(limits, b"x", b"POST /body HTTP/1.1\r\nHost: x\r\nContent-Length: 16000\r\n\r\n").await;
        assert!(lasted >= 2 * SHORT && lasted < LONG, "a body without end is cut: {lasted:?}");
        assert!(lasts(limits, WHOLE, b"").await < LONG, "whoever asks on and on connects again");
    }

    #[tokio::test]
    async fn who_asks_is_answered_and_one_who_is_silent_is_not_waited_for() {
        let (mut here, ending) = connect(Limits { head: LONG, age: None, last: SHORT });
        here.write_all(WHOLE).await.unwrap();
        let mut answer = vec![0; 15];
        here.read_exact(&mut answer).await.unwrap();
        assert_eq!(answer, b"HTTP/1.1 200 OK");
        let began = Instant::now();
        ending.send_replace(true);
        here.read_to_end(&mut answer).await.unwrap();
        assert!(answer.ends_with(b"ok") && began.elapsed() < LONG);
    }

    #[test]
    fn who_is_known_has_longer() {
        let stranger = Caller { address: ([127, 0, 0, 1], 1).into(), certificate: None };
        assert!(Limits::of(None).age.is_some() && Limits::of(Some(&stranger)).age.is_some() && KNOWN.age.is_none());
    }
}
