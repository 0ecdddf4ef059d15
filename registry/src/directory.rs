//! Units, operators, types, nodes, policy, admissions and the authority, decoded and in memory. There are few of them, every
//! command asks for several, and only records change them; so the registry keeps them whole, as of
//! the last record decided.

use crate::admission;
use crate::fatal::Fatal;
use crate::keepers::Keepers;
use crate::keys;
use crate::kv::Kv;
use crate::policy::Entries;
use crate::value;
use std::collections::{BTreeMap, BTreeSet};
use vermilion_crypto::{KeyId, PublicKey};
use vermilion_proto::{AdmissionState, AuthorityState, GenesisNode, OperatorState, PolicyEntry, TypeState, Unit, UnitState};

/// Who and what there is, besides licences.
#[derive(Clone, Default, Debug)]
pub struct Directory {
    pub(crate) units: BTreeMap<String, UnitState>,
    pub(crate) operators: BTreeMap<KeyId, OperatorState>,
    pub(crate) types: BTreeMap<String, TypeState>,
    pub(crate) nodes: BTreeMap<u64, GenesisNode>,
    pub(crate) policy: Entries,
    /// By subject. Nodes of the genesis have none until a record changes that.
    pub(crate) admissions: BTreeMap<String, AdmissionState>,
    pub(crate) root: Option<AuthorityState>,
    /// By age; the last one issues.
    pub(crate) issuing: Vec<AuthorityState>,
}

impl Directory {
    /// Reads everything from the state.
    pub fn load(kv: &dyn Kv) -> Result<Self, Fatal> {
        let mut out = Self::default();
        value::scan(kv, keys::NODES, |_, node: GenesisNode| {
            out.nodes.insert(node.raft_id, node);
            true
        })?;
        value::scan(kv, keys::UNITS, |_, unit: UnitState| {
            out.units.insert(unit_of(&unit), unit);
            true
        })?;
        let mut misplaced = None;
        value::scan(kv, keys::OPERATORS, |key, operator: OperatorState| {
            match key_id(&operator) {
                Some(id) => {
                    out.operators.insert(id, operator);
                }
                None => misplaced = Some(keys::shown(key)),
            }
            true
        })?;
        value::scan(kv, keys::TYPES, |key, state: TypeState| {
            let code = code_of(&state);
            // Earlier versions stand under longer keys; they are read when they are asked for.
            if key == keys::licence_type(&code) {
                out.types.insert(code, state);
            }
            true
        })?;
        value::scan(kv, keys::POLICY, |_, entry: PolicyEntry| {
            out.policy.insert(entry);
            true
        })?;
        value::scan(kv, keys::ADMISSIONS, |_, state: AdmissionState| {
            out.admissions.insert(state.subject.clone(), state);
            true
        })?;
        value::scan(kv, keys::AUTHORITY, |key, state: AuthorityState| {
            if key == keys::root() {
                out.root = Some(state);
            } else {
                out.issuing.push(state);
            }
            true
        })?;
        match misplaced {
            Some(key) => Err(Fatal::Undecodable { key, why: "the operator has no key id".into() }),
            None => Ok(out),
        }
    }

    /// A unit, by USCC.
    #[must_use]
    pub fn unit(&self, uscc: &str) -> Option<&UnitState> {
        self.units.get(uscc)
    }

    /// The city's managing unit: the one that the genesis registers. There is no other.
    pub(crate) fn city(&self) -> Option<&Unit> {
        self.units.values().find(|u| u.registered_seq == 0).and_then(|u| u.unit.as_ref())
    }

    /// Those of these keys' people on whom all else rests.
    pub(crate) fn keepers<'a>(&self, keys: impl Iterator<Item = &'a OperatorState>) -> Keepers<'a> {
        Keepers::of(self.city().map_or("", |city| city.uscc.as_str()), keys, self.has_authority())
    }

    /// An operator, by key id.
    #[must_use]
    pub fn operator(&self, key_id: &[u8]) -> Option<&OperatorState> {
        self.operators.get(&KeyId::try_from(key_id).ok()?)
    }

    /// A type's current version, by code.
    #[must_use]
    pub fn licence_type(&self, code: &str) -> Option<&TypeState> {
        self.types.get(code)
    }

    /// A node that is connected, by Raft id: its blocks count, and its cosignatures.
    #[must_use]
    pub fn node(&self, raft_id: u64) -> Option<&GenesisNode> {
        self.nodes.get(&raft_id).filter(|n| self.is_connected(n))
    }

    /// A node that is connected, by the id of its node key.
    #[must_use]
    pub fn node_of_key(&self, key_id: &[u8]) -> Option<&GenesisNode> {
        self.active_nodes().find(|n| PublicKey::from_slice(&n.node_key).is_ok_and(|k| k.id() == key_id))
    }

    /// Every node that is connected, by Raft id. There is always one: the city's last is never cut off.
    pub fn active_nodes(&self) -> impl Iterator<Item = &GenesisNode> {
        self.nodes.values().filter(|n| self.is_connected(n))
    }

    fn is_connected(&self, node: &GenesisNode) -> bool {
        let admission = self.admissions.get(&admission::node_subject(&node.name));
        admission.is_none_or(|a| a.access && a.node.as_ref().is_some_and(|n| n.raft_id == node.raft_id))
    }

    /// How a node's or a system's admission stands. A node of the genesis is connected, run by the
    /// city's managing unit, until a record says otherwise.
    #[must_use]
    pub fn admission(&self, subject: &str) -> Option<AdmissionState> {
        if let Some(state) = self.admissions.get(subject) {
            return Some(state.clone());
        }
        let node = self.nodes.values().find(|n| admission::node_subject(&n.name) == subject)?;
        let city = self.city()?;
        Some(AdmissionState {
            subject: subject.to_owned(),
            state: admission::State::Connected.number(),
            unit: city.uscc.clone(),
            node: Some(node.clone()),
            access: true,
            ..AdmissionState::default()
        })
    }

    /// The admission of a node, by the Raft id that it has now or asks for.
    #[must_use]
    pub fn admission_of_node(&self, raft_id: u64) -> Option<AdmissionState> {
        let asks = |a: &&AdmissionState| a.node.as_ref().is_some_and(|n| n.raft_id == raft_id);
        if let Some(state) = self.admissions.values().find(asks) {
            return Some(state.clone());
        }
        let node = self.nodes.get(&raft_id)?;
        self.admission(&admission::node_subject(&node.name)).filter(|a| asks(&a))
    }

    /// Every admission, by subject; the nodes of the genesis are among them.
    #[must_use]
    pub fn all_admissions(&self) -> Vec<AdmissionState> {
        let founding = self.nodes.values().map(|n| admission::node_subject(&n.name));
        let subjects: BTreeSet<String> = self.admissions.keys().cloned().chain(founding).collect();
        subjects.iter().filter_map(|s| self.admission(s)).collect()
    }

    /// Whether the ledger has a certificate authority of its own.
    #[must_use]
    pub fn has_authority(&self) -> bool {
        self.root.is_some()
    }

    /// The authority's certificates: the root, and the issuing ones by age, of which the last issues.
    #[must_use]
    pub fn authority(&self) -> Option<(&AuthorityState, &[AuthorityState])> {
        self.root.as_ref().map(|root| (root, self.issuing.as_slice()))
    }

    /// Every policy entry.
    #[must_use]
    pub fn policy(&self) -> &Entries {
        &self.policy
    }
}

pub(crate) fn unit_of(state: &UnitState) -> String {
    state.unit.as_ref().map(|u| u.uscc.clone()).unwrap_or_default()
}

pub(crate) fn code_of(state: &TypeState) -> String {
    state.r#type.as_ref().map(|t| t.code.clone()).unwrap_or_default()
}

pub(crate) fn key_id(state: &OperatorState) -> Option<KeyId> {
    KeyId::try_from(state.operator.as_ref()?.key_id.as_slice()).ok()
}
