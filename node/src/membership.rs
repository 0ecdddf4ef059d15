//! Membership changes of the Raft group: sealed by the node that proposes them, judged by what the state says of the node
//! that they are about.

use std::collections::BTreeMap;
use vermilion_consensus::{BoxError, Change, ConfState, Entry, MembershipRule, NodeId, Standing, change_of};
use vermilion_crypto::{Digest, PublicKey, SigningKey, batch::Batch, dsse};
use vermilion_proto::{CHANGE_TYPE, ChangeBody, ChangeSeal, GenesisNode, Message as _, canonical};
use vermilion_registry::admission::membership;
use vermilion_registry::{Directory, Fatal, Kv, keys, query};

/// The format version of seals.
const VERSION: u32 = 1;

/// A membership change as an entry carries it. The seal's signature holds.
#[derive(Clone, Copy, Debug)]
pub struct Proposal {
    /// What is proposed.
    pub change: Change,
    /// Raft id of the node that names itself as the proposer.
    pub proposer: NodeId,
    /// The key under which the seal is signed.
    pub key: PublicKey,
}

fn number(change: Change) -> u32 {
    match change {
        Change::AddLearner(_) => 1,
        Change::Promote(_) => 2,
        Change::Remove(_) => 3,
    }
}

fn body(ledger_id: &Digest, proposer: NodeId, change: Change, term: u64, index: u64) -> Vec<u8> {
    let (change, node) = (number(change), change.node());
    ChangeBody { format_version: VERSION, ledger_id: ledger_id.to_vec(), proposer, term, index, change, node }.encode_to_vec()
}

/// Seals a change for one place of the log, as this node's.
#[must_use]
pub fn seal(ledger_id: &Digest, proposer: NodeId, key: &SigningKey, change: Change, term: u64, index: u64) -> Vec<u8> {
    let body = body(ledger_id, proposer, change, term, index);
    let signature = key.sign(&dsse::pae(CHANGE_TYPE, &body)).to_vec();
    ChangeSeal { body, public_key: key.public().0.to_vec(), signature }.encode_to_vec()
}

/// Takes an entry's change apart; `None` if it is no such entry. An error says what is wrong with it: another encoding,
/// another place, another ledger, a signature that does not hold.
///
/// Whether the proposer is a node of the ledger under that key is the state's to say.
pub fn open(entry: &Entry, ledger_id: &Digest) -> Result<Option<Proposal>, String> {
    let Some((change, bytes)) = change_of(entry).map_err(|e| e.to_string())? else { return Ok(None) };
    let seal: ChangeSeal = canonical(&bytes).map_err(|e| format!("the seal of a membership change: {e}"))?;
    let named: ChangeBody = canonical(&seal.body).map_err(|e| format!("the seal of a membership change: {e}"))?;
    if seal.body != body(ledger_id, named.proposer, change, entry.term, entry.index) {
        return Err("the seal of a membership change is for another change, place or ledger".into());
    }
    let wrong = || "a part of a membership change's seal has the wrong size".to_owned();
    let key = PublicKey::from_slice(&seal.public_key).map_err(|_| wrong())?;
    let signature = seal.signature.as_slice().try_into().map_err(|_| wrong())?;
    let mut batch = Batch::new();
    batch.add(key, signature, &dsse::pae(CHANGE_TYPE, &seal.body));
    batch.verify().map_err(|_| "the signature of a membership change does not hold".to_owned())?;
    Ok(Some(Proposal { change, proposer: named.proposer, key }))
}

/// What the state says of the nodes: whom it knows, and what may become of each.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Roster {
    /// Every node that was ever connected, as it was admitted.
    pub nodes: BTreeMap<NodeId, GenesisNode>,
    /// What is true of each.
    pub standings: BTreeMap<NodeId, Standing>,
}

impl Roster {
    /// Reads it from a state.
    pub fn read(kv: &dyn Kv) -> Result<Self, Fatal> {
        let directory = Directory::load(kv)?;
        let nodes: BTreeMap<NodeId, GenesisNode> = query::nodes(kv)?.into_iter().map(|n| (n.raft_id, n)).collect();
        let standing = |id: NodeId| match membership::standing(&directory, id) {
            membership::Standing::Unknown => Standing::Unknown,
            membership::Standing::Connected => Standing::Voter,
            // A change was notified: it keeps its access and its place, and gets no more of either.
            membership::Standing::Kept => Standing::Kept,
            membership::Standing::Out => Standing::Out,
        };
        let standings = nodes.keys().map(|id| (*id, standing(*id))).collect();
        Ok(Self { nodes, standings })
    }

    /// The node's name, or its id in words.
    #[must_use]
    pub fn name(&self, id: NodeId) -> String {
        self.nodes.get(&id).map_or_else(|| format!("node {id}"), |n| n.name.clone())
    }

    /// Nodes that have not been banned or retired.
    pub fn present(&self) -> impl Iterator<Item = &GenesisNode> {
        self.nodes.values().filter(|n| self.standings.get(&n.raft_id) != Some(&Standing::Out))
    }

    /// Whether a write of the state can have changed what [`Roster::read`] finds.
    #[must_use]
    pub fn concerns(key: &[u8]) -> bool {
        key.starts_with(keys::NODES) || key.starts_with(keys::ADMISSIONS)
    }

    /// The configuration that a proposal gives, or why it has no effect. The same on every node.
    pub fn judge(&self, proposal: &Proposal, conf: &ConfState) -> Result<ConfState, String> {
        let proposer = self.nodes.get(&proposal.proposer);
        if proposer.is_none_or(|n| n.node_key[..] != proposal.key.0) {
            return Err("its proposer is no node of this ledger".into());
        }
        let node = proposal.change.node();
        let standing = self.standings.get(&node).copied().unwrap_or_default();
        proposal.change.judge(standing, conf).map_err(|refusal| refusal.to_string())
    }
}

impl MembershipRule for Roster {
    fn standing(&self, node: NodeId) -> Result<Standing, BoxError> {
        Ok(self.standings.get(&node).copied().unwrap_or_default())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use vermilion_consensus::EntryType;

    const LEDGER: Digest = [7; 32];

    fn key(n: u8) -> SigningKey {
        SigningKey::from_seed(&[n; 32])
    }

    /// An entry as a driver makes it, around any seal.
    fn entry(change: u8, node: u8, seal: &[u8], term: u64, index: u64) -> Entry {
        let mut single = if change == 0 { Vec::new() } else { vec![0x08, change] };
        single.extend([0x10, node]);
        let mut data = vec![0x12, u8::try_from(single.len()).unwrap()];
        data.extend(single);
        data.push(0x1a);
        data.extend([0x80 | (seal.len() & 0x7f) as u8, (seal.len() >> 7) as u8]);
        data.extend(seal);
        let mut entry = Entry { term, index, data, ..Entry::default() };
        entry.set_entry_type(EntryType::EntryConfChangeV2);
        entry
    }

    #[test]
    fn a_seal_is_for_one_change_at_one_place() {
        let sealed = seal(&LEDGER, 2, &key(2), Change::Remove(3), 5, 90);
        let opened = open(&entry(1, 3, &sealed, 5, 90), &LEDGER).unwrap().unwrap();
        assert_eq!((opened.change, opened.proposer, opened.key), (Change::Remove(3), 2, key(2).public()));
        assert!(open(&Entry::default(), &LEDGER).unwrap().is_none());
        let mut forged = sealed.clone();
        *forged.last_mut().unwrap() ^= 1;
        for (wrong, ledger) in [
            (entry(1, 3, &sealed, 6, 90), LEDGER),
            (entry(1, 3, &sealed, 5, 91), LEDGER),
            (entry(1, 4, &sealed, 5, 90), LEDGER),
            (entry(2, 3, &sealed, 5, 90), LEDGER),
            (entry(1, 3, &sealed, 5, 90), [8; 32]),
            (entry(1, 3, &forged, 5, 90), LEDGER),
        ] {
            assert!(open(&wrong, &ledger).is_err());
        }
        let mut older = entry(1, 3, &sealed, 5, 90);
        older.set_entry_type(EntryType::EntryConfChange);
        assert!(open(&older, &LEDGER).is_err());
    }

    #[test]
    fn only_nodes_of_the_ledger_propose_and_only_the_state_approves() {
        let node = |id: u8| GenesisNode { raft_id: id.into(), node_key: key(id).public().0.to_vec(), ..Default::default() };
        let nodes: BTreeMap<_, _> = (1..=4).map(|id| (u64::from(id), node(id))).collect();
        let mut standings: BTreeMap<_, _> = nodes.keys().map(|id| (*id, Standing::Voter)).collect();
        standings.insert(3, Standing::Out);
        let roster = Roster { nodes, standings };
        let conf = ConfState { voters: vec![1, 2, 3], ..ConfState::default() };
        let judged = |change, proposer, signer: u8| roster.judge(&Proposal { change, proposer, key: key(signer).public() }, &conf);
        assert_eq!(judged(Change::Remove(3), 2, 2).unwrap().voters, [1, 2]);
        assert_eq!(judged(Change::AddLearner(4), 1, 1).unwrap().learners, [4]);
        for refused in [
            judged(Change::Remove(3), 2, 1),
            judged(Change::Remove(3), 9, 9),
            judged(Change::Remove(2), 1, 1),
            judged(Change::AddLearner(5), 1, 1),
            judged(Change::Promote(4), 1, 1),
        ] {
            assert!(refused.is_err());
        }
        assert_eq!(roster.present().map(|n| n.raft_id).collect::<Vec<_>>(), [1, 2, 4]);
    }
}
