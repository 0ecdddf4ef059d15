//! The rules: a deterministic state machine that every node runs on every committed block. And what door, client and
//! auditor share about the same things: contents and their forms ([`content`], [`vault`], [`submission`]), endorsements
//! and keys that are pinned ([`endorsement`], [`pinned`]), files of receipts, questions to the state ([`query`]).
//!
//! Of the rules, from [`Registry::apply_block`] on:
//!
//! A block's commands come in past the gate ([`Checked`]); records, state writes and vault deletions
//! come out ([`BlockEffects`]). What the rules refuse is a record with a reason code and no other
//! effect; any other failure is a [`Fatal`] and stops the node.
//!
//! Life of a command: dedup by id, ledger, not-after ([`Registry::apply_block`]) → head, signers,
//! acting unit ([`authority`]) → the command's own rules (a module each), which read the state and
//! yield changes → effects digest, record, chain, leaf.
//!
//! What they do not know: signatures (the gate has checked them) and contents (they lie encrypted in
//! the vault; fields are digests here). Time is the block's, and no number is a float. What nothing in
//! this crate knows: sockets, disks, clocks, randomness, Raft. Nothing iterates over a hash map.
//!
//! Absent, and refused by name where a field stands for it: entrusted organisations
//! (`on_behalf_of`), signing by unit systems, seals, holders and agents, external certificates,
//! successors and mergers of units, archive copies. Objections, deadlines in working days, rate
//! limits and the two consents to publication (002-5) have no command yet.

pub mod address;
pub mod admission;
pub mod authorisation;
pub mod authority;
mod block;
mod catalogue;
pub mod certificates;
mod change_status;
pub mod codes;
mod command;
mod commitment;
pub mod content;
pub mod custody;
pub mod days;
mod decision;
mod directory;
pub mod endorsement;
mod erase;
mod fatal;
pub mod founding;
mod genesis;
mod grounds;
pub mod history;
mod issue;
mod item;
mod keepers;
pub mod keys;
pub mod kv;
mod licence;
mod operators;
pub mod pinned;
pub mod policy;
pub mod posts;
pub mod query;
pub mod reason;
mod receipt_file;
mod registry;
mod rotation;
mod rules;
pub mod sealed_block;
mod set_policy;
pub mod sharing;
pub mod state_sum;
pub mod status;
pub mod stored;
pub mod submission;
mod supersede;
mod taken;
pub mod text;
pub mod transition;
mod units;
mod use_licences;
pub mod value;
pub mod vault;

pub use authority::check_codes;
pub use block::{BlockEffects, BlockInput, CommandResult, Erase, NewRecord, VoidReason};
pub use catalogue::KINDS;
pub use command::{Checked, Kind};
pub use directory::Directory;
pub use erase::{GROUNDS as ERASURE_GROUNDS, Ground};
pub use fatal::Fatal;
pub use kv::{Kv, KvError};
pub use licence::{Named, Series};
pub use reason::{Reason, Refusal};
pub use registry::{Registry, ledger_id};
pub use rules::RULES_VERSION;
pub use supersede::REASONS as SUPERSEDE_REASONS;
pub use use_licences::check_words;
