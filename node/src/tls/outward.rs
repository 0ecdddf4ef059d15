//! Connections to one place outside the ledger, for HTTP: in the clear, or over TLS, where authorities that the
//! configuration names vouch for the host's name.

use crate::tls::io::{Caller, Io};
use crate::tls::{HTTP1, NodeTls};
use hyper_util::client::legacy::connect::{Connected, Connection, HttpConnector};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, client::TlsStream};
use tokio_util::either::Either;
use tonic::transport::Uri;
use tower::Service;
use vermilion_identity::tls::{TlsError, outside_config};

/// A connection to such a place.
pub type OutwardIo = Io<Either<TlsStream<TcpStream>, TcpStream>>;

/// Connects to one place.
#[derive(Clone)]
pub struct Outward {
    tcp: HttpConnector,
    tls: Option<(TlsConnector, ServerName<'static>)>,
}

impl Outward {
    /// In the clear, and to `http://` alone.
    #[must_use]
    pub fn plain(timeout: Duration) -> Self {
        let mut tcp = HttpConnector::new();
        tcp.set_connect_timeout(Some(timeout));
        tcp.set_nodelay(true);
        Self { tcp, tls: None }
    }

    /// Over TLS: one of the authorities in this PEM must have vouched for the name.
    pub fn over_tls(name: ServerName<'static>, authorities: &[u8], timeout: Duration) -> Result<Self, TlsError> {
        let config = outside_config(authorities, &[HTTP1], NodeTls::clock())?;
        let Self { mut tcp, .. } = Self::plain(timeout);
        tcp.enforce_http(false);
        Ok(Self { tcp, tls: Some((TlsConnector::from(Arc::new(config)), name)) })
    }
}

impl Service<Uri> for Outward {
    type Response = TokioIo<OutwardIo>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<TokioIo<OutwardIo>>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.tcp.poll_ready(cx).map_err(io::Error::other)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let (tls, connecting) = (self.tls.clone(), self.tcp.call(uri));
        Box::pin(async move {
            let stream = connecting.await.map_err(io::Error::other)?.into_inner();
            let caller = Caller { address: stream.peer_addr()?, certificate: None };
            let stream = match tls {
                Some((connector, name)) => Either::Left(connector.connect(name, stream).await?),
                None => Either::Right(stream),
            };
            Ok(TokioIo::new(Io::of_known(stream, caller, None, None)))
        })
    }
}

impl<S> Connection for Io<S> {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}
