//! A listener that hands on only connections whose handshake is done.

use crate::tls::connections::{Connections, Place, Room, Side};
use crate::tls::io::{Caller, Io};
use rustls::ServerConfig;
use socket2::{SockRef, TcpKeepalive};
use std::{io, net::SocketAddr, sync::Arc, time::Duration};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::mpsc,
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::either::Either;

/// How long a handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(5);
/// Connections that wait to be served, handshakes done: beyond, new ones wait in the system's queue.
const BACKLOG: usize = 64;
/// Pause after the system refused a connection, as it does when there are no more descriptors.
const PAUSE: Duration = Duration::from_millis(50);

/// The system asks a connection on which nothing came for so long whether it is still there,
const SILENT: Duration = Duration::from_secs(60);
/// again after so long,
const ASKS: Duration = Duration::from_secs(15);
/// and ends it when as many questions were not answered.
const TIMES: u32 = 4;

/// The first byte of a TLS connection: the content type of a handshake record (RFC 8446, 5.1). No HTTP
/// request begins with it.
const TLS_HANDSHAKE: u8 = 22;

/// A connection that others made, after its handshake, or in the clear.
pub type TlsIo = Io<Either<TlsStream<TcpStream>, TcpStream>>;

/// Has the system ask whether the other end is still there: power that fails, or a firewall that forgets, ends no connection.
fn keep_alive(stream: &TcpStream) -> io::Result<()> {
    let asks = TcpKeepalive::new().with_time(SILENT).with_interval(ASKS).with_retries(TIMES);
    SockRef::from(stream).set_tcp_keepalive(&asks)
}

impl TlsIo {
    async fn accept(door: Door, stream: TcpStream, address: SocketAddr, place: Place) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        keep_alive(&stream)?;
        let Door { acceptor, table, side, plain } = door;
        if plain {
            let mut first = [0];
            tokio::time::timeout(HANDSHAKE, stream.peek(&mut first)).await.map_err(|_| io::ErrorKind::TimedOut)??;
            if first != [TLS_HANDSHAKE] {
                return Ok(Self::of_stranger(Either::Right(stream), address, place));
            }
        }
        let stream = tokio::time::timeout(HANDSHAKE, acceptor.accept(stream)).await.map_err(|_| io::ErrorKind::TimedOut)??;
        let (tcp, session) = stream.get_ref();
        match session.peer_certificates().and_then(<[_]>::first) {
            None => Ok(Self::of_stranger(Either::Left(stream), address, place)),
            Some(leaf) => {
                let (certificate, entry) = table.enter(side, leaf, tcp)?;
                Ok(Self::of_known(Either::Left(stream), Caller { address, certificate: Some(certificate) }, Some(entry), Some(place)))
            }
        }
    }
}

/// What a listener hands every connection.
#[derive(Clone)]
struct Door {
    acceptor: TlsAcceptor,
    table: Arc<Connections>,
    side: Side,
    plain: bool,
}

/// A bound listener with its TLS.
pub struct TlsListener {
    ready: mpsc::Receiver<TlsIo>,
}

impl TlsListener {
    /// Binds and begins to accept. Each handshake runs by itself, so that a slow one holds nobody up. If
    /// `plain`, who does not speak TLS is let in as the public.
    pub async fn bind(address: &str, config: ServerConfig, (table, side): (Arc<Connections>, Side), plain: bool) -> Result<Self, String> {
        let listener = TcpListener::bind(address).await.map_err(|e| format!("{address}: {e}"))?;
        let door = Door { acceptor: TlsAcceptor::from(Arc::new(config)), table, side, plain };
        let (done, ready) = mpsc::channel(BACKLOG);
        tokio::spawn(accept_all(listener, door, done));
        Ok(Self { ready })
    }

    /// The connections, for whoever serves them.
    pub fn into_stream(self) -> impl tokio_stream::Stream<Item = io::Result<TlsIo>> {
        tokio_stream::StreamExt::map(ReceiverStream::new(self.ready), Ok)
    }
}

async fn accept_all(listener: TcpListener, door: Door, done: mpsc::Sender<TlsIo>) {
    let room = Room::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = done.closed() => return,
        };
        let (stream, address) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "a connection was not accepted");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        let Some(place) = room.place(address.ip()) else {
            tracing::debug!(%address, "there are too many connections: one was closed");
            continue;
        };
        let (door, done) = (door.clone(), done.clone());
        tokio::spawn(async move {
            match TlsIo::accept(door, stream, address, place).await {
                // A listener that ended serves nobody.
                Ok(io) => drop(done.send(io).await),
                Err(error) => tracing::debug!(%address, %error, "a handshake failed"),
            }
        });
    }
}

impl tonic::transport::server::Connected for TlsIo {
    type ConnectInfo = Caller;

    fn connect_info(&self) -> Caller {
        self.caller().clone()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_system_asks_whether_the_other_end_is_there() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let _client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (accepted, _) = listener.accept().await.unwrap();
        assert!(!SockRef::from(&accepted).keepalive().unwrap());
        keep_alive(&accepted).unwrap();
        let socket = SockRef::from(&accepted);
        assert!(socket.keepalive().unwrap());
        assert_eq!((socket.tcp_keepalive_time().unwrap(), socket.tcp_keepalive_retries().unwrap()), (SILENT, TIMES));
    }
}
