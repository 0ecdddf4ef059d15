//! Those on whom all else rests: the people of the city's managing unit who together can admit operators
//! and set policy. Whatever goes wrong otherwise they can mend. Without them nobody can, and the ledger
//! would have to be founded anew: no list of posts takes effect that they could not fill on its day, and
//! the last keys with which they admit others stay.
//!
//! Not looked after: keys that end by their dates.

use crate::command::Kind;
use crate::custody;
use crate::fatal::{Stop, refuse};
use crate::policy::Entries;
use crate::posts::PostRule;
use crate::reason::Reason;
use std::collections::{BTreeMap, BTreeSet};
use vermilion_proto::{Operator, OperatorState};

/// The commands that they must be able to sign.
const KINDS: [Kind; 2] = [Kind::AddOperator, Kind::SetPolicy];

/// The keys of a unit's people, in a ledger with or without an authority.
pub(crate) struct Keepers<'a> {
    keys: Vec<&'a OperatorState>,
    has_authority: bool,
}

impl<'a> Keepers<'a> {
    /// Of these keys, those of the unit.
    pub(crate) fn of(unit: &str, keys: impl Iterator<Item = &'a OperatorState>, has_authority: bool) -> Self {
        let own = |state: &&OperatorState| state.operator.as_ref().is_some_and(|o| o.unit == unit);
        Self { keys: keys.filter(own).collect(), has_authority }
    }

    /// Whether different people, by keys in force at a moment, can fill the rule.
    pub(crate) fn can_fill(&self, rule: &PostRule, at_ms: u64) -> bool {
        let mut people: BTreeMap<&[u8], BTreeSet<&str>> = BTreeMap::new();
        for operator in self.keys.iter().filter_map(|state| in_force(state, at_ms)) {
            people.entry(operator.person_tag.as_slice()).or_default().extend(operator.posts.iter().map(String::as_str));
        }
        let mut people: Vec<_> = people.into_values().collect();
        if self.has_authority {
            custody::strike_without_second(&mut people);
        }
        rule.can_be_filled(&people)
    }

    /// Refuses unless they can fill what these entries ask for of whoever admits operators and sets policy, now
    /// and on the day on which each list that is to come takes effect.
    pub(crate) fn check(&self, entries: &Entries, now_ms: u64) -> Result<(), Stop> {
        for kind in KINDS {
            if entries.rules(kind, now_ms).any(|(at_ms, rule)| !self.can_fill(&rule, at_ms)) {
                let why = format!("the city's managing unit has no people with keys in force who could fill posts.{}", kind.name());
                return refuse(Reason::LastOperators, why);
            }
        }
        Ok(())
    }
}

/// The operator of a key that signs at a moment: one that ends by itself does until then.
fn in_force(state: &OperatorState, at_ms: u64) -> Option<&Operator> {
    let in_dates = |o: &&Operator| o.from_ms <= at_ms && (o.until_ms == 0 || at_ms < o.until_ms);
    state.operator.as_ref().filter(in_dates).filter(|_| !state.revoked && !state.suspended)
}
