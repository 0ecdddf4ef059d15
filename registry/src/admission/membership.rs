//! What admission says of the Raft group. The group itself is no state of the registry: what it may make of each answer
//! is said once, by `Change::judge` of `vermilion-consensus`.

use super::State;
use crate::directory::Directory;
use std::collections::BTreeSet;

/// What the state says of a node, by Raft id.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum Standing {
    /// Not admitted, or not yet.
    Unknown,
    /// Connected: it follows, and may vote.
    Connected,
    /// It has access, but is not connected anew: it stays what it is in the group.
    Kept,
    /// It lost its access: it must leave, and its id never comes back.
    Out,
}

/// What the state says of a node. An id that was once [`Standing::Out`] stays so, and one that was
/// connected is never [`Standing::Unknown`] again.
#[must_use]
pub fn standing(directory: &Directory, id: u64) -> Standing {
    let admission = directory.admission_of_node(id);
    let state = admission.as_ref().and_then(|a| State::from_number(a.state));
    match (state, admission.is_some_and(|a| a.access)) {
        (Some(State::Connected), true) => Standing::Connected,
        (Some(_), true) => Standing::Kept,
        (Some(State::Disconnected | State::Banned | State::Retired), false) => Standing::Out,
        _ if directory.nodes.contains_key(&id) || directory.admissions.values().any(|a| a.former_ids.contains(&id)) => Standing::Out,
        _ => Standing::Unknown,
    }
}

/// Whether more than half of the ledger's nodes stay connected without this one. All that were ever
/// connected are the ledger's, by name, until they are retired: those that are banned may come back,
/// and whoever bans one after the other does not come further than with all at once.
#[must_use]
pub fn keeps_majority(directory: &Directory, without: u64) -> bool {
    let retired = |name: &str| {
        let admission = directory.admissions.get(&super::node_subject(name));
        admission.is_some_and(|a| a.state == State::Retired.number())
    };
    let all: BTreeSet<&str> = directory.nodes.values().map(|n| n.name.as_str()).filter(|name| !retired(name)).collect();
    directory.active_nodes().filter(|n| n.raft_id != without).count() * 2 > all.len()
}
