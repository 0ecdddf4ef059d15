//! Connections to peers.

use crate::tls::connections::{Connections, Entry};
use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, pki_types::ServerName};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::{io, net::IpAddr, sync::Arc};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, client::TlsStream};
use tonic::transport::{Channel, Endpoint, Uri};
use vermilion_identity::Certificate;

/// A channel that connects when it is used, over TLS. The endpoint's address stays `http://`: what
/// makes the connection safe is done here, below HTTP.
///
/// With a table the connection is judged for as long as it is open, like those that others make here.
pub fn dial(endpoint: &Endpoint, config: ClientConfig, table: Option<Arc<Connections>>) -> Channel {
    let connector = TlsConnector::from(Arc::new(config));
    endpoint.connect_with_connector_lazy(tower::service_fn(move |uri: Uri| {
        let (connector, table) = (connector.clone(), table.clone());
        async move {
            let address = uri.authority().ok_or_else(|| io::Error::other("the address has no host"))?.as_str().to_owned();
            let stream = TcpStream::connect(&address).await?;
            stream.set_nodelay(true)?;
            // Not sent and not compared: a node is known by its certificate.
            let name = ServerName::IpAddress(IpAddr::from([0, 0, 0, 0]).into());
            Ok::<_, io::Error>(TokioIo::new(Dialled::new(connector.connect(name, stream).await?, table)?))
        }
    }))
}

/// A connection that this node made, in the table as long as it is open.
struct Dialled {
    stream: TlsStream<TcpStream>,
    _entry: Option<Entry>,
}

impl Dialled {
    fn new(stream: TlsStream<TcpStream>, table: Option<Arc<Connections>>) -> io::Result<Self> {
        let (tcp, session) = stream.get_ref();
        let entry = match (table, session.peer_certificates().and_then(<[_]>::first)) {
            (Some(table), Some(leaf)) => {
                let certificate = Certificate::parse(leaf).map_err(io::Error::other)?;
                Some(table.enter(Arc::new(certificate), tcp)?)
            }
            _ => None,
        };
        Ok(Self { stream, _entry: entry })
    }
}

impl AsyncRead for Dialled {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Dialled {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bufs: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
