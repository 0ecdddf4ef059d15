//! Connections to peers.

use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, pki_types::ServerName};
use std::{io, net::IpAddr, sync::Arc};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tonic::transport::{Channel, Endpoint, Uri};

/// A channel that connects when it is used, over TLS. The endpoint's address stays `http://`: what
/// makes the connection safe is done here, below HTTP.
pub fn dial(endpoint: &Endpoint, config: ClientConfig) -> Channel {
    let connector = TlsConnector::from(Arc::new(config));
    endpoint.connect_with_connector_lazy(tower::service_fn(move |uri: Uri| {
        let connector = connector.clone();
        async move {
            let address = uri.authority().ok_or_else(|| io::Error::other("the address has no host"))?.as_str().to_owned();
            let stream = TcpStream::connect(&address).await?;
            stream.set_nodelay(true)?;
            // Not sent and not compared: a node is known by its certificate.
            let name = ServerName::IpAddress(IpAddr::from([0, 0, 0, 0]).into());
            Ok::<_, io::Error>(TokioIo::new(connector.connect(name, stream).await?))
        }
    }))
}
