//! A listener over TLS, with a certificate that the `openssl` program made, for whoever is asked from outside the ledger. The
//! tests of `vermiliond` take this file in, too.

use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};
use rustls::{ServerConfig, crypto::ring, version::TLS13};
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use tempfile::TempDir;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

/// A folder with an authority (`ca.pem`), and a certificate for these names under it (`witness.pem`, `key.pem`).
#[must_use]
pub fn certified(names: &str) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let openssl = |more: &str| {
        let arguments = format!("req -x509 -nodes -days 2 -newkey ec -pkeyopt ec_paramgen_curve:P-256 {more}");
        let made = Command::new("openssl").args(arguments.split(' ')).current_dir(dir.path()).output().unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    };
    openssl("-subj /CN=authority -keyout ca-key.pem -out ca.pem");
    let signed = "-subj /CN=witness -CA ca.pem -CAkey ca-key.pem -addext basicConstraints=CA:FALSE";
    openssl(&format!("{signed} -addext subjectAltName={names} -keyout key.pem -out witness.pem"));
    dir
}

/// A listener whose clients speak TLS.
pub struct OverTls {
    tcp: TcpListener,
    tls: TlsAcceptor,
}

impl OverTls {
    /// With the certificate in this folder.
    #[must_use]
    pub fn new(tcp: TcpListener, certified: &Path) -> Self {
        let read = |name: &str| std::fs::read(certified.join(name)).unwrap();
        let chain = CertificateDer::pem_slice_iter(&read("witness.pem")).collect::<Result<Vec<_>, _>>().unwrap();
        let key = PrivateKeyDer::from_pem_slice(&read("key.pem")).unwrap();
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider())).with_protocol_versions(&[&TLS13]).unwrap();
        let config = config.with_no_client_auth().with_single_cert(chain, key).unwrap();
        Self { tcp, tls: TlsAcceptor::from(Arc::new(config)) }
    }
}

impl axum::serve::Listener for OverTls {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, SocketAddr) {
        loop {
            let (stream, address) = self.tcp.accept().await.unwrap();
            // Some do not believe the certificate and go away, or went before anybody listened.
            if let Ok(stream) = self.tls.accept(stream).await {
                return (stream, address);
            }
        }
    }

    fn local_addr(&self) -> std::io::Result<SocketAddr> {
        self.tcp.local_addr()
    }
}
