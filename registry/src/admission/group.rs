//! Whether the Raft group that a directory keeps can be this ledger's. The group is no state of the registry: a node
//! that takes it from its disk must not take one that no record ever led to.

use super::membership::{Standing, standing};
use crate::directory::Directory;
use crate::query;
use crate::{Fatal, Kv};

/// A group as a directory keeps it, by Raft id.
#[derive(Clone, Copy, Debug)]
pub struct Group<'a> {
    /// Those who vote.
    pub voters: &'a [u64],
    /// Those who follow without a vote.
    pub learners: &'a [u64],
}

/// Why a group cannot be the one at this state; none if it can. There is nothing to say before the genesis.
///
/// Somebody in it whom the state never let in; or a founder that is not out and has no vote, since founders begin with one
/// and only who is out loses it. That a node which joined later had its vote already, the state does not say.
pub fn misfit(state: &dyn Kv, group: Group<'_>) -> Result<Option<String>, Fatal> {
    let Some(genesis) = query::genesis(state)? else { return Ok(None) };
    let directory = Directory::load(state)?;
    let stranger = group.voters.iter().chain(group.learners).find(|id| standing(&directory, **id) == Standing::Unknown);
    if let Some(id) = stranger {
        return Ok(Some(format!("node {id} is in the Raft group, and no record admits it")));
    }
    let founders = genesis.nodes.iter().map(|node| node.raft_id);
    let left = founders.into_iter().find(|id| standing(&directory, *id) != Standing::Out && !group.voters.contains(id));
    Ok(left.map(|id| format!("node {id} has no vote in the Raft group, and no record takes it out")))
}
