//! What the replicated state says of a certificate.

use crate::metrics::Metrics;
use crate::peers::{Whereabout, Whereabouts};
use crate::runtime::now_ms;
use crate::trail::{Trail, What, Whom};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use vermilion_crypto::{KeyId, sha256};
use vermilion_identity::{
    AuthorityCertificate, Certificate, Kind,
    tls::{Refusal, Standing},
};
use vermilion_registry::certificates::{KEY_COMPROMISE, Standing as Recorded, applicant_of, holder};
use vermilion_registry::{Fatal, query};
use vermilion_storage::Store;

/// Asks the state as of this node's last applied record, at every handshake and at every look at the
/// open connections. It remembers no answer.
pub struct StateStanding {
    store: Store,
    metrics: Arc<Metrics>,
    trail: Arc<Trail>,
    accepts_expired_until_ms: u64,
    whereabout: OnceLock<Whereabout>,
    /// Whether this node has applied what its leader had committed when it last looked.
    caught_up: AtomicBool,
}

impl std::fmt::Debug for StateStanding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("StateStanding")
    }
}

impl StateStanding {
    /// Over a node's state.
    #[must_use]
    pub fn new(store: Store, metrics: Arc<Metrics>, trail: Arc<Trail>, accepts_expired_until_ms: u64) -> Self {
        Self { store, metrics, trail, accepts_expired_until_ms, whereabout: OnceLock::new(), caught_up: AtomicBool::new(false) }
    }

    /// From now on it knows which nodes are where. The first answer to that stays.
    pub(crate) fn follow(&self, whereabout: Whereabout) {
        self.whereabout.get_or_init(|| whereabout);
    }

    /// Says whether this node is up to date. One that is not takes other nodes' certificates on the
    /// authority's word where its state does not know them yet: it could not catch up otherwise. Once it
    /// is, open connections are judged again.
    pub(crate) fn set_caught_up(&self, is: bool) {
        self.caught_up.store(is, Ordering::Relaxed);
    }

    fn is_behind(&self) -> bool {
        !self.caught_up.load(Ordering::Relaxed)
    }

    fn node_is(&self, raft_id: u64) -> Whereabouts {
        self.whereabout.get().map_or(Whereabouts::Unknown, |whereabout| whereabout.of(raft_id))
    }

    /// Why the holder may not connect now, in words; none if it may.
    fn hindrance(&self, leaf: &Certificate) -> Result<Option<&'static str>, Fatal> {
        let state = self.store.state();
        match leaf.subject.kind {
            Kind::Node { raft_id } => {
                return Ok(match self.node_is(raft_id) {
                    Whereabouts::Present | Whereabouts::Leaving => None,
                    Whereabouts::Unknown if self.is_behind() => None,
                    Whereabouts::Unknown => Some("the node is not connected to this ledger"),
                    Whereabouts::Left => Some("the node was banned or retired, and has left the group"),
                });
            }
            Kind::UnitSystem => {
                let admission = query::admission(&state, &holder(&applicant_of(&leaf.subject)))?;
                if !admission.is_some_and(|a| a.access) {
                    return Ok(Some("the system is not connected"));
                }
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
        }
        // A suspended unit may ask; what it may not do, the rules refuse with their reason.
        Ok(query::unit(&state, &leaf.subject.unit)?.is_none().then_some("its unit is not registered"))
    }

    fn judged(&self, leaf: &Certificate) -> Result<Result<(), Refusal>, Fatal> {
        let serial = leaf.serial.to_string();
        let node = match leaf.subject.kind {
            Kind::Node { raft_id } => Some(raft_id),
            _ => None,
        };
        let found = query::certificate(&self.store.state(), leaf.serial.as_bytes())?;
        let standing = match &found {
            Some(found) if sha256(&found.certificate) == leaf.fingerprint => Recorded::from_number(found.standing),
            Some(_) => return Ok(Err(Refusal::UnknownSerial(serial))),
            None if node.is_some() && self.is_behind() => Some(Recorded::Good),
            None => return Ok(Err(Refusal::UnknownSerial(serial))),
        };
        // A ban revokes the node's certificate in the same record, before its removal is applied.
        let leaves = || {
            let lost = found.as_ref().is_some_and(|c| c.reason == KEY_COMPROMISE);
            !lost && node.is_some_and(|id| self.node_is(id) == Whereabouts::Leaving)
        };
        Ok(match standing {
            Some(Recorded::Good) => match self.hindrance(leaf)? {
                None => Ok(()),
                Some(why) => Err(Refusal::MayNotConnect(serial, why.into())),
            },
            // It may have been restored by a record that this node does not have yet.
            Some(Recorded::Suspended) if node.is_some() && self.is_behind() => Ok(()),
            Some(Recorded::Revoked) if leaves() => Ok(()),
            Some(Recorded::Suspended) => Err(Refusal::Suspended(serial)),
            Some(Recorded::Revoked) | None => Err(Refusal::Revoked(serial)),
        })
    }
}

impl Standing for StateStanding {
    fn issuing(&self, leaf: &Certificate, presented: Option<&AuthorityCertificate>) -> Option<AuthorityCertificate> {
        let known = query::authority(&self.store.state()).ok()?;
        let parsed: Vec<_> = known.iter().filter_map(|state| AuthorityCertificate::parse(&state.certificate).ok()).collect();
        let recorded = parsed.iter().find(|authority| authority.key_identifier() == leaf.authority_key).cloned();
        // An issuing certificate that this node's state does not know yet is the root's, or nobody's.
        let newer =
            || presented.filter(|p| self.is_behind() && parsed.first().is_some_and(|root| p.verify_issued_by(root).is_ok())).cloned();
        recorded.or_else(newer)
    }

    fn check(&self, leaf: &Certificate) -> Result<(), Refusal> {
        // Who cannot be judged is not let in.
        self.judged(leaf).unwrap_or_else(|error| {
            tracing::error!(%error, "a certificate could not be judged");
            Err(Refusal::MayNotConnect(leaf.serial.to_string(), "the node could not read its state".into()))
        })
    }

    fn accepts_expired_until(&self) -> u64 {
        self.accepts_expired_until_ms
    }

    fn refused(&self, leaf: Option<&Certificate>, refusal: &Refusal) {
        self.metrics.connections_refused.inc();
        match leaf {
            Some(leaf) => {
                self.trail.note(now_ms(), What::Refused, &Whom::certificate(leaf), &refusal.to_string());
                tracing::warn!(serial = %leaf.serial, holder = leaf.subject.uri(), %refusal, "a connection was refused");
            }
            None => tracing::info!(%refusal, "a connection was refused"),
        }
    }
}
