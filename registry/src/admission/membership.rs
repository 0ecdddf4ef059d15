//! What admission says of the Raft group. The group itself is no state of the registry: a change of
//! it takes effect only if the state at that point approves, and this is the question to ask.

use super::State;
use crate::directory::Directory;
use crate::reason::{Reason, Refusal};
use std::collections::BTreeSet;

/// A proposed change of the Raft group, by Raft id.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum MembershipChange {
    /// A new node, without a vote.
    AddLearner(u64),
    /// A learner becomes a voter.
    Promote(u64),
    /// Voter or learner, out of the group for ever.
    Remove(u64),
}

impl MembershipChange {
    /// The node that it is about.
    #[must_use]
    pub fn node(self) -> u64 {
        match self {
            Self::AddLearner(id) | Self::Promote(id) | Self::Remove(id) => id,
        }
    }
}

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

/// Whether the state approves a change: only a node that is connected joins or gets a vote, and only
/// one that has lost its access is removed.
///
/// Whether the change makes sense in Raft (has the learner caught up, is it in the group at all) is
/// not asked here.
pub fn approves(directory: &Directory, change: MembershipChange) -> Result<(), Refusal> {
    let id = change.node();
    let refused = |reason, why: &str| Err(Refusal::new(reason, format!("node {id} {why}")));
    match (change, standing(directory, id)) {
        (MembershipChange::AddLearner(_) | MembershipChange::Promote(_), Standing::Connected)
        | (MembershipChange::Remove(_), Standing::Out) => Ok(()),
        (MembershipChange::Remove(_), Standing::Unknown) => refused(Reason::UnknownSystem, "is not one that the ledger admitted"),
        (MembershipChange::Remove(_), _) => refused(Reason::AdmissionNotAllowed, "has access: ban, disconnect or retire it first"),
        (_, Standing::Kept) => refused(Reason::NotAdmitted, "is not connected anew after a change"),
        (_, Standing::Out) => refused(Reason::NotAdmitted, "lost its access"),
        (_, Standing::Unknown) => refused(Reason::NotAdmitted, "is not connected yet"),
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

/// Ids of the nodes that must be out of the group: what lost its access, by what stands in the state.
#[must_use]
pub fn must_leave(directory: &Directory) -> Vec<u64> {
    directory.nodes.keys().copied().filter(|id| directory.node(*id).is_none()).collect()
}
