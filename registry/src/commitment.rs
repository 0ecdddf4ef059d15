//! The leader's empty command: its record carries the root over all licences' states, computed by
//! every node, and its leaf goes under a checkpoint that the nodes cosign.

use crate::authority::LEADER_POST;
use crate::command::Checked;
use crate::decision::{Decision, View};
use crate::fatal::{Stop, refuse};
use crate::reason::Reason;
use vermilion_proto::{Commitment, Head, SignerKind};

/// A time-stamp token (RFC 3161) with its certificates.
const MAX_TOKEN: usize = 64 * 1024;

/// Decides a commitment: one node that is connected has signed, in the post of leader. Whether it
/// leads is Raft's to know; a commitment of another node says nothing false.
pub(crate) fn commit(view: &View<'_>, checked: &Checked, head: &Head, body: &Commitment) -> Result<Decision, Stop> {
    let [signer] = head.signers.as_slice() else { return refuse(Reason::SignerKind, "a commitment has one signer, the leader") };
    if signer.kind != SignerKind::Node as i32 || signer.post != LEADER_POST || !signer.unit.is_empty() || !head.unit.is_empty() {
        return refuse(Reason::SignerKind, "a commitment is signed by a node, in the post of leader, for no unit");
    }
    if checked.signer_keys.iter().all(|id| id != signer.key_id.as_slice()) {
        return refuse(Reason::Incomplete, "a signer named has not signed");
    }
    if view.directory.node_of_key(&signer.key_id).is_none() {
        return refuse(Reason::UnknownSigner, "signer.key_id is no node that is connected");
    }
    if body.timestamp_token.len() > MAX_TOKEN {
        return refuse(Reason::TooLarge, "timestamp_token");
    }
    Ok(Decision { commitment: Some(body.timestamp_token.clone()), ..Decision::default() })
}
