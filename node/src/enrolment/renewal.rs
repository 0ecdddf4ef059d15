//! A node renews its own certificate, at two thirds of its lifetime, while everything goes on.

use super::applicant::{Applicant, Given, keep};
use crate::node::Node;
use crate::runtime::now_ms;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use vermilion_identity::tls::Credential;
use vermilion_identity::{AuthorityCertificate, Certificate, CertificateRequest, Signer};

/// How often it looks whether it is time, and tries again.
const LOOK: Duration = Duration::from_secs(1);
/// After a failure it waits this long.
const AGAIN: Duration = Duration::from_secs(5);

/// What a renewal is made with.
pub(crate) struct Renewal {
    /// Where the certificate lies.
    pub(crate) path: PathBuf,
    /// The key that it certifies: it stays the same.
    pub(crate) key: Arc<dyn Signer>,
    /// Where to ask.
    pub(crate) applicant: Applicant,
}

impl Node {
    /// Watches over the node's certificate as long as the node runs.
    pub(crate) async fn renew_by_itself(self: Arc<Self>, renewal: Renewal) {
        let Some(tls) = self.tls.clone() else { return };
        loop {
            tokio::time::sleep(LOOK).await;
            if !tls.certificate().validity.is_due(now_ms()) {
                continue;
            }
            match self.renewed(&renewal).await {
                Ok(until_ms) => tracing::info!(until_ms, "the node's certificate was renewed"),
                Err(why) => {
                    tracing::warn!(why, "the node's certificate was not renewed; it is tried again");
                    tokio::time::sleep(AGAIN).await;
                }
            }
        }
    }

    async fn renewed(&self, renewal: &Renewal) -> Result<u64, String> {
        let tls = self.tls.as_ref().ok_or("there is no TLS")?;
        let given = if self.authority_here()?.is_some() {
            let old = tls.certificate();
            let request = CertificateRequest { subject: old.subject.clone(), key: renewal.key.public() };
            let issued = self.renew(&old, &request).await.map_err(|e| e.to_string())?;
            let certificate = Certificate::parse(&issued.certificate).map_err(|e| e.to_string())?;
            let issuing = AuthorityCertificate::parse(&issued.issuing).map_err(|e| e.to_string())?;
            Given { der: issued.certificate, certificate, issuing }
        } else {
            renewal.applicant.renew(&tls.credential, renewal.key.as_ref()).await.map_err(|e| e.to_string())?
        };
        // First kept, then shown: after a crash the node has what its peers have seen.
        keep(&renewal.path, &given.der, given.issuing.der()).map_err(|e| e.to_string())?;
        let credential = Credential::new(&given.der, &given.issuing, Arc::clone(&renewal.key)).map_err(|e| e.to_string())?;
        tls.credential.replace(credential);
        Ok(given.certificate.validity.not_after_ms)
    }
}
