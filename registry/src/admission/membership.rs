//! What admission says of the Raft group. The group itself is no state of the registry: a change of
//! it takes effect only if the state at that point approves, and this is the question to ask.

use super::State;
use crate::directory::Directory;
use crate::fatal::Fatal;
use crate::kv::Kv;
use crate::reason::{Reason, Refusal};

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

/// Whether the state approves a change: only a node that is connected joins or gets a vote, and only
/// one that has lost its access, or that the ledger never knew, is removed.
///
/// Whether the change makes sense in Raft (has the learner caught up, is it in the group at all) is
/// not asked here.
pub fn approves(directory: &Directory, change: MembershipChange) -> Result<(), Refusal> {
    let id = change.node();
    let admission = directory.admission_of_node(id);
    let refused = |reason, why: String| Err(Refusal::new(reason, format!("node {id} {why}")));
    match change {
        MembershipChange::AddLearner(_) | MembershipChange::Promote(_) => {
            let Some(admission) = admission else { return refused(Reason::NotAdmitted, "is not one that the ledger admitted".into()) };
            match State::from_number(admission.state) {
                Some(State::Connected) if admission.access => Ok(()),
                state => refused(Reason::NotAdmitted, format!("is {}", state.map_or("unknown", State::name))),
            }
        }
        MembershipChange::Remove(_) => match admission {
            Some(admission) if admission.access => {
                refused(Reason::AdmissionNotAllowed, "is connected: ban, disconnect or retire it first".into())
            }
            _ => Ok(()),
        },
    }
}

/// Ids of the nodes that must be out of the group: what lost its access, by what stands in the state.
#[must_use]
pub fn must_leave(directory: &Directory) -> Vec<u64> {
    directory.nodes.keys().copied().filter(|id| directory.node(*id).is_none()).collect()
}

/// [`approves`] for who holds a state and no registry.
pub fn approves_in(kv: &dyn Kv, change: MembershipChange) -> Result<Result<(), Refusal>, Fatal> {
    Ok(approves(&Directory::load(kv)?, change))
}
