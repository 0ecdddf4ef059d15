//! Units, operators, types, nodes and policy, decoded and in memory. There are few of them, every
//! command asks for several, and only records change them; so the registry keeps them whole, as of
//! the last record decided.

use crate::fatal::Fatal;
use crate::keys;
use crate::kv::Kv;
use crate::policy::Entries;
use crate::value;
use std::collections::BTreeMap;
use vermilion_crypto::{KeyId, PublicKey};
use vermilion_proto::{GenesisNode, OperatorState, PolicyEntry, TypeState, UnitState};

/// Who and what there is, besides licences.
#[derive(Clone, Default, Debug)]
pub struct Directory {
    pub(crate) units: BTreeMap<String, UnitState>,
    pub(crate) operators: BTreeMap<KeyId, OperatorState>,
    pub(crate) types: BTreeMap<String, TypeState>,
    pub(crate) nodes: BTreeMap<u64, GenesisNode>,
    pub(crate) policy: Entries,
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

    /// A node of the genesis, by Raft id.
    #[must_use]
    pub fn node(&self, raft_id: u64) -> Option<&GenesisNode> {
        self.nodes.get(&raft_id)
    }

    /// A node of the genesis, by the id of its node key.
    #[must_use]
    pub fn node_of_key(&self, key_id: &[u8]) -> Option<&GenesisNode> {
        self.nodes.values().find(|n| PublicKey::from_slice(&n.node_key).is_ok_and(|k| k.id() == key_id))
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
