//! Connections to peers.

use crate::tls::connections::{Connections, Side};
use crate::tls::io::{Caller, Io};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use socket2::SockRef;
use std::time::Duration;
use std::{io, sync::Arc};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tonic::transport::{Channel, Endpoint, Uri};
use vermilion_identity::tls::no_name;

/// How long the other end may acknowledge nothing of what lies on the line: a slow one does, one that was cut does not, and
/// is dialled anew.
const UNACKNOWLEDGED: Duration = Duration::from_secs(20);

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
            SockRef::from(&stream).set_tcp_user_timeout(Some(UNACKNOWLEDGED))?;
            let address = stream.peer_addr()?;
            let stream = connector.connect(no_name(), stream).await?;
            let (tcp, session) = stream.get_ref();
            let (certificate, entry) = match (table, session.peer_certificates().and_then(<[_]>::first)) {
                (Some(table), Some(leaf)) => {
                    table.enter(Side::Grpc, leaf, tcp).map(|(certificate, entry)| (Some(certificate), Some(entry)))?
                }
                _ => (None, None),
            };
            Ok::<_, io::Error>(TokioIo::new(Io::of_known(stream, Caller { address, certificate }, entry, None)))
        }
    }))
}
