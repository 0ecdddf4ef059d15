//! Licence types as the ledger has them, compiled when they are first needed.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use vermilion_proto::TypeState;
use vermilion_registry::content::TypeRules;
use vermilion_registry::reason::{Reason, Refusal};

struct Entry {
    state: TypeState,
    rules: OnceLock<Result<Arc<TypeRules>, Refusal>>,
}

/// Published types by code.
#[derive(Default)]
pub struct Types {
    entries: BTreeMap<String, Entry>,
}

impl Types {
    /// From the answers of a node.
    #[must_use]
    pub fn new(states: Vec<TypeState>) -> Self {
        let named =
            |state: TypeState| state.r#type.as_ref().map(|t| t.code.clone()).map(|code| (code, Entry { state, rules: OnceLock::new() }));
        Self { entries: states.into_iter().filter_map(named).collect() }
    }

    /// Every type, by code.
    pub fn states(&self) -> impl Iterator<Item = &TypeState> {
        self.entries.values().map(|e| &e.state)
    }

    /// One type.
    #[must_use]
    pub fn state(&self, code: &str) -> Option<&TypeState> {
        self.entries.get(code).map(|e| &e.state)
    }

    /// The rules of a type. One that is not published, or does not compile here, is a refusal.
    pub fn rules(&self, code: &str) -> Result<Arc<TypeRules>, Refusal> {
        let entry = self.entries.get(code).ok_or(Reason::UnknownType)?;
        let of = entry.state.r#type.as_ref().ok_or(Reason::UnknownType)?;
        entry.rules.get_or_init(|| TypeRules::new(of).map(Arc::new)).clone()
    }

    /// Whether the catalogue says that a unit issues a type.
    #[must_use]
    pub fn issues(&self, code: &str, unit: &str) -> bool {
        self.state(code).is_some_and(|s| s.implementations.iter().any(|i| i.unit == unit))
    }
}
