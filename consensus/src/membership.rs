//! Who belongs to the group, and what may change it.
//!
//! A change is an entry of the log like any other, made by the leader, naming its proposer under its signature. What decides
//! is not the leader but the state machine as of that entry: every node asks it, and a change that it does not approve of
//! changes nothing anywhere. Changes are single ones, one after the other, so that any two configurations in use at one
//! moment have a node of both majorities in common.

use raft::eraftpb::{ConfChangeSingle, ConfChangeTransition, ConfChangeType, ConfChangeV2, ConfState, Entry, EntryType};
use raft_prost::Message as _;

use crate::{BoxError, DecodeError, NodeId};

/// One change of membership.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Change {
    /// A node that is not in the group begins to follow, without a vote.
    AddLearner(NodeId),
    /// A learner gets its vote.
    Promote(NodeId),
    /// A learner or voter leaves.
    Remove(NodeId),
}

/// What the state machine says of a node.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Standing {
    /// Not admitted, or not yet.
    #[default]
    Unknown,
    /// Follows, and votes as soon as it has caught up.
    Voter,
    /// Stays what it is in the group: it is neither let in nor promoted now, nor removed.
    Kept,
    /// Banned or retired: must leave, and its id never comes back.
    Out,
}

/// The state machine's word on membership.
///
/// To ensure correctness: the answer is a pure function of the entries applied, the same on every node; an id that was once
/// [`Standing::Out`] stays so for ever; and one that was let in is never [`Standing::Unknown`] again.
pub trait MembershipRule {
    /// What is true of a node once everything before the entry in question is applied. An error stops the node.
    fn standing(&self, node: NodeId) -> Result<Standing, BoxError>;
}

/// Why a change has no effect. The same on every node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChangeRefusal {
    /// The state machine does not let the node in, or no longer.
    #[error("node {0} is not admitted")]
    NotAdmitted(NodeId),
    /// The state machine does not want the node to vote.
    #[error("node {0} may not vote")]
    MayNotVote(NodeId),
    /// The state machine does not want the node to leave.
    #[error("node {0} is neither banned nor retired")]
    NotOut(NodeId),
    /// The node is in the group already.
    #[error("node {0} is in the group already")]
    AlreadyIn(NodeId),
    /// Only a learner can be promoted.
    #[error("node {0} is no learner")]
    NoLearner(NodeId),
    /// The node is not in the group.
    #[error("node {0} is not in the group")]
    NotIn(NodeId),
    /// A group without voters would never decide anything again.
    #[error("node {0} is the last voter")]
    LastVoter(NodeId),
    /// No single changes lead to such a configuration.
    #[error("a configuration without voters, with a node 0, or between two others")]
    Impossible,
}

impl Change {
    /// The node concerned.
    pub fn node(self) -> NodeId {
        match self {
            Self::AddLearner(node) | Self::Promote(node) | Self::Remove(node) => node,
        }
    }

    /// The configuration after this change, if a state machine that says `standing` of the node approves of it.
    pub fn judge(self, standing: Standing, conf: &ConfState) -> Result<ConfState, ChangeRefusal> {
        match (self, standing) {
            (Self::AddLearner(_) | Self::Promote(_), Standing::Voter) | (Self::Remove(_), Standing::Out) => self.next(conf),
            (Self::AddLearner(node), _) => Err(ChangeRefusal::NotAdmitted(node)),
            (Self::Promote(node), _) => Err(ChangeRefusal::MayNotVote(node)),
            (Self::Remove(node), _) => Err(ChangeRefusal::NotOut(node)),
        }
    }

    /// The configuration after this change, whoever approves of it. Its lists are in order.
    pub(crate) fn next(self, conf: &ConfState) -> Result<ConfState, ChangeRefusal> {
        let node = self.node();
        let (votes, learns) = (conf.voters.contains(&node), conf.learners.contains(&node));
        let mut next = conf.clone();
        match self {
            // To raft this means nobody.
            _ if node == 0 => return Err(ChangeRefusal::Impossible),
            Self::AddLearner(_) if votes || learns => return Err(ChangeRefusal::AlreadyIn(node)),
            Self::AddLearner(_) => next.learners.push(node),
            Self::Promote(_) if !learns => return Err(ChangeRefusal::NoLearner(node)),
            Self::Promote(_) => next.voters.push(node),
            Self::Remove(_) if !votes && !learns => return Err(ChangeRefusal::NotIn(node)),
            Self::Remove(_) if votes && conf.voters.len() == 1 => return Err(ChangeRefusal::LastVoter(node)),
            Self::Remove(_) => next.voters.retain(|id| *id != node),
        }
        if !matches!(self, Self::AddLearner(_)) {
            next.learners.retain(|id| *id != node);
        }
        next.voters.sort_unstable();
        next.learners.sort_unstable();
        Ok(next)
    }

    /// As raft knows it, with the seal of who proposes it.
    pub(crate) fn raft(self, seal: Vec<u8>) -> ConfChangeV2 {
        let kind = match self {
            Self::AddLearner(_) => ConfChangeType::AddLearnerNode,
            Self::Promote(_) => ConfChangeType::AddNode,
            Self::Remove(_) => ConfChangeType::RemoveNode,
        };
        let single = ConfChangeSingle { node_id: self.node(), change_type: kind as i32 };
        ConfChangeV2 { transition: ConfChangeTransition::Auto as i32, changes: vec![single], context: seal }
    }
}

/// The change that an entry carries and the seal of its proposer; `None` if it is no such entry.
///
/// Only what a driver proposes is known here: single changes, in the one encoding that this crate gives them. Everything
/// else that raft would take (joint changes, the older form) is an error.
pub fn change_of(entry: &Entry) -> Result<Option<(Change, Vec<u8>)>, DecodeError> {
    let error = |what: &str| DecodeError(what.to_owned());
    match EntryType::from_i32(entry.entry_type) {
        Some(EntryType::EntryNormal) => return Ok(None),
        Some(EntryType::EntryConfChangeV2) => {}
        Some(EntryType::EntryConfChange) => return Err(error("a membership change of the older form")),
        None => return Err(DecodeError(format!("unknown entry type {}", entry.entry_type))),
    }
    let decoded = ConfChangeV2::decode(entry.data.as_slice()).map_err(|e| DecodeError(e.to_string()))?;
    let [single] = decoded.changes.as_slice() else { return Err(error("not one membership change")) };
    let change = match ConfChangeType::from_i32(single.change_type) {
        Some(ConfChangeType::AddLearnerNode) => Change::AddLearner(single.node_id),
        Some(ConfChangeType::AddNode) => Change::Promote(single.node_id),
        Some(ConfChangeType::RemoveNode) => Change::Remove(single.node_id),
        None => return Err(DecodeError(format!("unknown change type {}", single.change_type))),
    };
    if single.node_id == 0 {
        return Err(error("a membership change of node 0"));
    }
    // A transition asked for, an unknown field, another order: bytes that no driver makes.
    if change.raft(decoded.context.clone()).encode_to_vec() != entry.data {
        return Err(error("a membership change in another encoding"));
    }
    Ok(Some((change, decoded.context)))
}

/// Whether a group configured as `before` can have become `after` by changes that the state machine approved of, given what
/// it says now. What a snapshot says of the group is its sender's word; this is what a node can hold against it.
pub fn reachable(before: &ConfState, after: &ConfState, rule: &impl MembershipRule) -> Result<Result<(), ChangeRefusal>, BoxError> {
    let joint = !after.voters_outgoing.is_empty() || !after.learners_next.is_empty() || after.auto_leave;
    if joint || after.voters.is_empty() {
        return Ok(Err(ChangeRefusal::Impossible));
    }
    for node in before.voters.iter().chain(&before.learners) {
        let kept = after.voters.contains(node) || after.learners.contains(node);
        if !kept && rule.standing(*node)? != Standing::Out {
            return Ok(Err(ChangeRefusal::NotOut(*node)));
        }
    }
    for node in &after.voters {
        // Out: it was a voter until it was banned, and its removal comes later.
        if !before.voters.contains(node) && !matches!(rule.standing(*node)?, Standing::Voter | Standing::Kept | Standing::Out) {
            return Ok(Err(ChangeRefusal::MayNotVote(*node)));
        }
    }
    for node in &after.learners {
        if before.voters.contains(node) || !before.learners.contains(node) && rule.standing(*node)? == Standing::Unknown {
            return Ok(Err(ChangeRefusal::NotAdmitted(*node)));
        }
    }
    Ok(Ok(()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::collections::BTreeMap;

    fn conf(voters: &[NodeId], learners: &[NodeId]) -> ConfState {
        ConfState { voters: voters.to_vec(), learners: learners.to_vec(), ..ConfState::default() }
    }

    fn entry(change: &ConfChangeV2) -> Entry {
        let mut entry = Entry { data: change.encode_to_vec(), ..Entry::default() };
        entry.set_entry_type(EntryType::EntryConfChangeV2);
        entry
    }

    struct Table(BTreeMap<NodeId, Standing>);

    impl MembershipRule for Table {
        fn standing(&self, node: NodeId) -> Result<Standing, BoxError> {
            Ok(self.0.get(&node).copied().unwrap_or_default())
        }
    }

    #[test]
    fn only_what_the_state_approves_of_changes_anything() {
        use Standing::{Kept, Out, Unknown, Voter};
        let now = conf(&[1, 2, 3], &[4]);
        // Every change by every standing: what comes of it.
        for (change, allowed) in [
            (Change::AddLearner(5), [false, true, false, false]),
            (Change::Promote(4), [false, true, false, false]),
            (Change::Remove(3), [false, false, false, true]),
        ] {
            for (standing, allowed) in [Unknown, Voter, Kept, Out].into_iter().zip(allowed) {
                assert_eq!(change.judge(standing, &now).is_ok(), allowed, "{change:?} {standing:?}");
            }
        }
        assert_eq!(Change::AddLearner(5).judge(Voter, &now), Ok(conf(&[1, 2, 3], &[4, 5])));
        assert_eq!(Change::Promote(4).judge(Voter, &now), Ok(conf(&[1, 2, 3, 4], &[])));
        assert_eq!(Change::Remove(4).judge(Out, &now), Ok(conf(&[1, 2, 3], &[])));
        assert_eq!(Change::Remove(2).judge(Out, &now), Ok(conf(&[1, 3], &[4])));
    }

    #[test]
    fn what_does_not_fit_the_configuration_is_refused() {
        use Standing::{Out, Voter};
        let now = conf(&[1], &[4]);
        assert_eq!(Change::AddLearner(4).judge(Voter, &now), Err(ChangeRefusal::AlreadyIn(4)));
        assert_eq!(Change::AddLearner(1).judge(Voter, &now), Err(ChangeRefusal::AlreadyIn(1)));
        assert_eq!(Change::Promote(5).judge(Voter, &now), Err(ChangeRefusal::NoLearner(5)));
        assert_eq!(Change::Promote(1).judge(Voter, &now), Err(ChangeRefusal::NoLearner(1)));
        assert_eq!(Change::Remove(5).judge(Out, &now), Err(ChangeRefusal::NotIn(5)));
        assert_eq!(Change::Remove(1).judge(Out, &now), Err(ChangeRefusal::LastVoter(1)));
        assert_eq!(Change::AddLearner(0).judge(Voter, &now), Err(ChangeRefusal::Impossible));
    }

    #[test]
    fn entries_have_one_encoding() {
        for change in [Change::AddLearner(7), Change::Promote(7), Change::Remove(7)] {
            assert_eq!(change_of(&entry(&change.raft(vec![9]))).unwrap(), Some((change, vec![9])));
        }
        assert_eq!(change_of(&Entry::default()).unwrap(), None);
        let good = Change::Remove(7).raft(vec![9]);
        let single = good.changes[0].clone();
        let joint = ConfChangeV2 { transition: ConfChangeTransition::Explicit as i32, ..good.clone() };
        let two = ConfChangeV2 { changes: vec![single.clone(), single.clone()], ..good.clone() };
        let unknown = ConfChangeV2 { changes: vec![ConfChangeSingle { change_type: 9, ..single.clone() }], ..good.clone() };
        let nobody = ConfChangeV2 { changes: vec![ConfChangeSingle { node_id: 0, ..single }], ..good.clone() };
        for wrong in [joint, two, unknown, nobody, ConfChangeV2::default()] {
            assert!(change_of(&entry(&wrong)).is_err(), "{wrong:?}");
        }
        let mut longer = entry(&good);
        longer.data.extend([0x28, 1]);
        assert!(change_of(&longer).is_err(), "an unknown field");
        let mut older = entry(&good);
        older.set_entry_type(EntryType::EntryConfChange);
        assert!(change_of(&older).is_err());
        assert!(change_of(&Entry { entry_type: 7, ..Entry::default() }).is_err());
    }

    #[test]
    fn a_snapshots_configuration_must_be_reachable() {
        use Standing::{Kept, Out, Voter};
        let rule = Table([(1, Voter), (2, Kept), (3, Out), (4, Kept), (5, Kept), (6, Out)].into());
        let before = conf(&[1, 2, 3], &[]);
        let check = |after: &ConfState| reachable(&before, after, &rule).unwrap();
        for fine in [&[1, 2, 3][..], &[1, 2], &[1, 2, 4], &[1, 2, 3, 6]] {
            assert_eq!(check(&conf(fine, &[5])), Ok(()), "{fine:?}");
        }
        assert_eq!(check(&conf(&[1], &[])), Err(ChangeRefusal::NotOut(2)));
        assert_eq!(check(&conf(&[1, 2, 7], &[])), Err(ChangeRefusal::MayNotVote(7)));
        assert_eq!(check(&conf(&[1, 2], &[7])), Err(ChangeRefusal::NotAdmitted(7)));
        assert_eq!(check(&conf(&[1], &[2])), Err(ChangeRefusal::NotAdmitted(2)));
        assert_eq!(check(&conf(&[], &[1, 2])), Err(ChangeRefusal::Impossible));
        assert_eq!(check(&ConfState { voters_outgoing: vec![1], ..conf(&[1, 2], &[]) }), Err(ChangeRefusal::Impossible));
    }
}
