//! What the replicated state says of a certificate.

use crate::{metrics::Metrics, peers::Left};
use std::{
    collections::BTreeMap,
    sync::{Arc, OnceLock},
};
use vermilion_crypto::{Digest, KeyId};
use vermilion_identity::{
    AuthorityCertificate, Certificate, Kind, Serial,
    tls::{Refusal, Standing},
};
use vermilion_registry::{founding::Founding, query};
use vermilion_storage::Store;

/// Asks the state as of this node's last applied record, at every handshake and at every look at the
/// open connections. It remembers nothing.
pub struct StateStanding {
    store: Store,
    metrics: Arc<Metrics>,
    issuing: AuthorityCertificate,
    known: BTreeMap<Serial, Digest>,
    left: OnceLock<Left>,
}

impl std::fmt::Debug for StateStanding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "StateStanding({} certificates)", self.known.len())
    }
}

impl StateStanding {
    /// Over a node's state, with what its genesis says.
    #[must_use]
    pub fn new(store: Store, metrics: Arc<Metrics>, founding: &Founding) -> Self {
        let known = founding.certificates.iter().map(|c| (c.serial.clone(), c.fingerprint)).collect();
        Self { store, metrics, issuing: founding.issuing.clone(), known, left: OnceLock::new() }
    }

    /// From now on it knows which nodes have left the group as well. The first answer to that stays.
    pub(crate) fn follow(&self, left: Left) {
        self.left.get_or_init(|| left);
    }

    /// Why the holder may not connect now, in words; none if it may.
    fn hindrance(&self, leaf: &Certificate) -> Result<Option<&'static str>, vermilion_registry::Fatal> {
        let state = self.store.state();
        match leaf.subject.kind {
            Kind::Node { raft_id } => {
                let known = query::nodes(&state)?.iter().any(|n| n.raft_id == raft_id);
                if !known {
                    return Ok(Some("it is no node of this ledger"));
                }
                // A banned node is heard until its removal from the group is applied: without its voice the others may be
                // unable to decide that it leaves.
                let left = self.left.get().is_some_and(|left| left.has(raft_id));
                return Ok(left.then_some("it was banned or retired, and has left the group"));
            }
            Kind::Operator | Kind::Auditor => {
                let id: KeyId = leaf.key.id();
                let Some(operator) = query::operator(&state, &id)? else { return Ok(Some("its key is not registered")) };
                if operator.revoked {
                    return Ok(Some("its key has been revoked"));
                }
                if operator.operator.is_none_or(|o| o.unit != leaf.subject.unit) {
                    return Ok(Some("its key is another unit's"));
                }
            }
            Kind::UnitSystem => {}
        }
        Ok(match query::unit(&state, &leaf.subject.unit)? {
            None => Some("its unit is not registered"),
            // A suspended unit may ask; what it may not do, the rules refuse with their reason.
            Some(_) => None,
        })
    }
}

impl Standing for StateStanding {
    fn issuing(&self, leaf: &Certificate, _: Option<&AuthorityCertificate>) -> Option<AuthorityCertificate> {
        (leaf.authority_key == self.issuing.key_identifier()).then(|| self.issuing.clone())
    }

    fn check(&self, leaf: &Certificate) -> Result<(), Refusal> {
        let serial = leaf.serial.to_string();
        if self.known.get(&leaf.serial) != Some(&leaf.fingerprint) {
            return Err(Refusal::UnknownSerial(serial));
        }
        match self.hindrance(leaf) {
            Ok(None) => Ok(()),
            Ok(Some(why)) => Err(Refusal::MayNotConnect(serial, why.into())),
            // Who cannot be judged is not let in.
            Err(error) => {
                tracing::error!(%error, "a certificate could not be judged");
                Err(Refusal::MayNotConnect(serial, "the node could not read its state".into()))
            }
        }
    }

    fn refused(&self, leaf: Option<&Certificate>, refusal: &Refusal) {
        self.metrics.connections_refused.inc();
        match leaf {
            Some(leaf) => tracing::warn!(serial = %leaf.serial, holder = leaf.subject.uri(), %refusal, "a connection was refused"),
            None => tracing::info!(%refusal, "a connection was refused"),
        }
    }
}
