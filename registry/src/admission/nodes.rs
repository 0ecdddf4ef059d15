//! What is particular to nodes: names, ids and keys that are nobody else's, now or ever.

use crate::address;
use crate::authority::{MANAGING_CITY, has_role};
use crate::codes::division;
use crate::decision::View;
use crate::directory::Directory;
use crate::fatal::{Stop, refuse};
use crate::reason::Reason;
use crate::taken;
use vermilion_crypto::check_registrable;
use vermilion_proto::{GenesisNode, Unit};

/// The subject under which a node is admitted.
#[must_use]
pub fn subject_of(name: &str) -> String {
    format!("node/{name}")
}

/// Checks a node that applies, or comes back: its form, its place, and that its id and keys are new.
pub(super) fn check(view: &View<'_>, acting: &Unit, subject: &str, node: &GenesisNode) -> Result<(), Stop> {
    if subject != subject_of(&node.name) {
        return refuse(Reason::FieldForm, "node.name is not that of the subject");
    }
    if node.raft_id == 0 || address::check(&node.peer_address).is_err() {
        return refuse(Reason::FieldForm, "node.raft_id or node.peer_address");
    }
    if division::area(&node.district).is_none() {
        return refuse(Reason::Area, "node.district");
    }
    // A district brings nodes of its own, and none that would be given the city's keys.
    if !has_role(acting, MANAGING_CITY) && (node.city || node.district != acting.area) {
        return refuse(Reason::OutsideDistrict, "a district applies for nodes of its own district alone");
    }
    if ids(view.directory).any(|id| id == node.raft_id) {
        return refuse(Reason::RaftIdUsed, "node.raft_id");
    }
    for (field, key) in [("node.node_key", &node.node_key), ("node.cosigning_key", &node.cosigning_key)] {
        if check_registrable(key).is_err() {
            return refuse(Reason::BadKey, field);
        }
        if let Some(whose) = taken::whose(view, key)? {
            return refuse(Reason::AlreadyExists, format!("{field} is {whose}"));
        }
    }
    if node.node_key == node.cosigning_key {
        return refuse(Reason::AlreadyExists, "node.cosigning_key is the node key");
    }
    Ok(())
}

/// Every Raft id that was ever given or asked for.
fn ids(directory: &Directory) -> impl Iterator<Item = u64> {
    let asked = directory.admissions.values().flat_map(|a| a.node.iter().map(|n| n.raft_id).chain(a.former_ids.iter().copied()));
    directory.nodes.keys().copied().chain(asked)
}
