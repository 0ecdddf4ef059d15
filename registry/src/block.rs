//! What goes into applying a block, and what comes out.

use crate::command::Checked;
use crate::keys;
use crate::kv::Write;
use crate::reason::Refusal;
use vermilion_crypto::Digest;
use vermilion_ledger::StatusView;
use vermilion_proto::{LedgerHead, Outcome};

/// A committed block, its commands past the gate.
#[derive(Clone, Copy, Debug)]
pub struct BlockInput<'a> {
    /// The block's hash.
    pub hash: Digest,
    /// Hash of the block before; the ledger id in the first one.
    pub previous: Digest,
    /// The node key under which the block's signature holds.
    pub proposer_key: [u8; 32],
    /// Raft id of the proposer.
    pub proposer: u64,
    /// The proposer's time, Unix milliseconds: the time of every record of the block.
    pub time_ms: u64,
    /// The commands, in order.
    pub commands: &'a [Checked],
    /// The records that are expected of the commands, in their order, each with its hash: one that comes
    /// out byte for byte is not hashed again. Empty where nothing is expected.
    pub expected: &'a [(&'a [u8], Digest)],
}

/// Why a block was not taken at all. It leaves no record, and nothing in the state but its hash in the
/// head, so that the next block can follow it: every node passes it over alike.
/// An honest leader makes none, so a node logs one loudly.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum VoidReason {
    /// It does not follow the block before.
    #[error("the block does not follow the last one")]
    WrongPrevious,
    /// Its time lies before that of the block before.
    #[error("the block's time goes back")]
    TimeGoesBack,
    /// Its proposer is no node that is connected, or not under that key.
    #[error("the block's proposer is not a node of this ledger")]
    UnknownProposer,
}

/// What became of one command of a block.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CommandResult {
    /// It left the record at this place in [`BlockEffects::records`], refused or not.
    Recorded {
        /// The place.
        index: usize,
    },
    /// A command of the same id was recorded before, in an earlier block or earlier in this one.
    Existing {
        /// Sequence number of its record.
        seq: u64,
    },
    /// Its not-after had passed: no record.
    Expired,
    /// It names another ledger: no record.
    WrongLedger,
}

/// Vault content to delete for good.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Erase {
    /// The record beside which the content came.
    pub seq: u64,
    /// The item's position in it.
    pub position: u32,
}

/// A record that a block left.
#[derive(Clone, PartialEq, Debug)]
pub struct NewRecord {
    /// Sequence number.
    pub seq: u64,
    /// The command's id.
    pub id: [u8; 32],
    /// The encoded `Record`, exact bytes.
    pub bytes: Vec<u8>,
    /// Hash of the record.
    pub hash: Digest,
    /// The chain after the record.
    pub chain: Digest,
    /// The encoded ledger leaf.
    pub leaf: Vec<u8>,
    /// Time of the block.
    pub time_ms: u64,
    /// What became of the command.
    pub outcome: Outcome,
    /// For people: why it was refused. Not kept; the code in the outcome is.
    pub refusal: Option<Refusal>,
    /// Place of the command in the block.
    pub command_index: usize,
    /// Whether vault content that came beside is to be kept: the command was accepted and, if it
    /// carries items, at least one of them was.
    pub accepted: bool,
    /// Positions of the items that were accepted, ascending. Ciphertexts of others are not kept.
    pub kept_positions: Vec<u32>,
    /// The status vector as of this record, in a commitment's.
    pub statuses: Option<StatusView>,
}

/// Everything that a block does. The node writes it in one batch.
#[derive(Clone, PartialEq, Debug)]
pub struct BlockEffects {
    /// Why the block was passed over; there is then nothing else but the head with its hash.
    pub void: Option<VoidReason>,
    /// The records, by sequence number.
    pub records: Vec<NewRecord>,
    /// What became of each command, in order.
    pub results: Vec<CommandResult>,
    /// State writes in order of keys, one a key: the values after the block.
    pub writes: Vec<Write>,
    /// Vault contents to delete, ascending.
    pub erase: Vec<Erase>,
    /// The head after the block.
    pub head: LedgerHead,
}

/// Prefixes of the state on which rights rest: nodes, admissions, units, operators, policy, the authority and
/// certificates. Figures and grants give nobody a right.
const RIGHTS: [&[u8]; 7] = [keys::NODES, keys::ADMISSIONS, keys::UNITS, keys::OPERATORS, keys::POLICY, keys::AUTHORITY, keys::CERTIFICATES];

impl BlockEffects {
    /// Whether the block may have changed what some credential allows: a node then judges its open
    /// connections again.
    #[must_use]
    pub fn changes_rights(&self) -> bool {
        self.writes.iter().any(|(key, _)| RIGHTS.iter().any(|prefix| key.starts_with(prefix)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rights_change_with_what_they_rest_on_alone() {
        let effects = |key: Vec<u8>| BlockEffects {
            void: None,
            records: Vec::new(),
            results: Vec::new(),
            writes: vec![(keys::HEAD.to_vec(), None), (key, None)],
            erase: Vec::new(),
            head: LedgerHead::default(),
        };
        for key in
            [keys::node(1), keys::unit("u"), keys::operator(&[1; 16]), keys::certificate(&[1]), keys::admission("node/a"), keys::root()]
        {
            assert!(effects(key).changes_rights());
        }
        for key in [keys::command(&[1; 32]), keys::chunk(0), keys::enrolment(&[1; 32]), keys::figures(202_611, &[1; 32], "u")] {
            assert!(!effects(key).changes_rights());
        }
    }
}
