//! A credential as the state sees it at a moment: whose it is, and whether it still stands.

use super::Bearer;
use crate::certificates::Standing;
use crate::custody::SECOND_KEY;
use crate::directory::Directory;
use crate::fatal::Fatal;
use crate::keys;
use crate::kv::Kv;
use crate::reason::{Reason, Refusal};
use crate::value;
use vermilion_proto::{CertificateState, OperatorState, Unit, UnitState};

/// Who asks.
#[derive(Clone, Debug)]
pub struct Credential {
    /// The kind.
    pub bearer: Bearer,
    /// The unit for which it stands; none of the public.
    pub unit: Option<Unit>,
    /// Whether that unit is suspended.
    pub unit_suspended: bool,
    /// Of a person: the posts held now, within those of the certificate.
    pub posts: Vec<String>,
    /// Of a node: its Raft id.
    pub node: Option<u64>,
    /// Of a person: the id of the key by which it signs, 16 bytes.
    pub key_id: Option<Vec<u8>>,
    /// Why it is good for nothing, if so.
    pub refused: Option<Refusal>,
}

impl Credential {
    /// Nobody in particular.
    #[must_use]
    pub fn public() -> Self {
        Self { bearer: Bearer::Public, unit: None, unit_suspended: false, posts: Vec::new(), node: None, key_id: None, refused: None }
    }

    /// The credential of a certificate, by its serial number; none if the state does not know it.
    /// `now_ms` is the asking node's time, for the certificate's and the operator's dates.
    pub fn of_certificate(kv: &dyn Kv, directory: &Directory, serial: &[u8], now_ms: u64) -> Result<Option<Self>, Fatal> {
        let Some(state) = value::get::<CertificateState>(kv, &keys::certificate(serial))? else { return Ok(None) };
        let holder = state.holder.clone().unwrap_or_default();
        let mut out = match holder.kind.as_str() {
            "node" => Self::of_node(directory, holder.raft_id, &holder.unit),
            "unit-system" => Self::of_system(directory, &crate::certificates::holder(&holder), &holder.unit),
            kind => {
                let bearer = if kind == "auditor" { Bearer::Auditor } else { Bearer::Operator };
                let mut of = Self::of_key(directory, &hex::decode(&holder.name).unwrap_or_default(), now_ms);
                of.bearer = bearer;
                of.posts.retain(|p| holder.posts.contains(p));
                of
            }
        };
        let stands = match Standing::from_number(state.standing) {
            Some(Standing::Good) if state.not_before_ms <= now_ms && now_ms < state.not_after_ms.saturating_add(1000) => None,
            Some(Standing::Good) => Some(Reason::CertificateExpired),
            Some(Standing::Suspended) => Some(Reason::CertificateSuspended),
            Some(Standing::Revoked) => Some(Reason::CertificateRevoked),
            None => return Err(Fatal::Broken(format!("certificate standing {} is unknown", state.standing))),
        };
        out.refused = stands.map(Refusal::from).or(out.refused);
        Ok(Some(out))
    }

    /// The credential of an operator's registered key.
    #[must_use]
    pub fn of_key(directory: &Directory, key_id: &[u8], now_ms: u64) -> Self {
        let mut out = Self { bearer: Bearer::Operator, key_id: Some(key_id.to_vec()), ..Self::public() };
        let Some(OperatorState { operator: Some(operator), revoked, suspended, .. }) = directory.operator(key_id) else {
            out.refused = Some(Reason::UnknownSigner.into());
            return out;
        };
        out.in_unit(directory, &operator.unit);
        out.posts.clone_from(&operator.posts);
        let in_dates = operator.from_ms <= now_ms && (operator.until_ms == 0 || now_ms < operator.until_ms);
        if *revoked {
            out.refused = Some(Reason::SignerRevoked.into());
        } else if *suspended {
            out.refused = Some(Reason::CertificateSuspended.into());
        } else if !in_dates {
            out.refused = Some(Reason::SignerNotInForce.into());
        } else if directory.has_authority() && operator.posts.iter().any(|post| post == SECOND_KEY) {
            // It signs commands beside another key and does nothing alone: it asks nothing either.
            out.refused = Some(Refusal::new(Reason::NotAuthorised, "a second key asks nothing"));
        }
        out
    }

    /// The credential of a node.
    #[must_use]
    pub fn of_node(directory: &Directory, raft_id: u64, unit: &str) -> Self {
        let mut out = Self { bearer: Bearer::Node, node: Some(raft_id), ..Self::public() };
        out.in_unit(directory, unit);
        if directory.node(raft_id).is_none() {
            out.refused = Some(Refusal::new(Reason::NotAdmitted, format!("node {raft_id} is not connected")));
        }
        out
    }

    fn of_system(directory: &Directory, subject: &str, unit: &str) -> Self {
        let mut out = Self { bearer: Bearer::System, ..Self::public() };
        out.in_unit(directory, unit);
        if !directory.admission(subject).is_some_and(|a| a.access) {
            out.refused = Some(Refusal::new(Reason::NotAdmitted, "the system is not connected"));
        }
        out
    }

    fn in_unit(&mut self, directory: &Directory, uscc: &str) {
        match directory.unit(uscc) {
            Some(UnitState { unit: Some(unit), suspended, .. }) => {
                (self.unit, self.unit_suspended) = (Some(unit.clone()), *suspended);
            }
            _ => self.refused = Some(Reason::UnknownUnit.into()),
        }
    }
}
