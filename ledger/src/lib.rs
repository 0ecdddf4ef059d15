//! What stands in the ledger and how it is proved: record hashes and their chain, the leaf that
//! each record leaves in a Merkle tree, the tree itself, checkpoints that nodes cosign, receipts
//! that prove a record or one licence offline, and the status vector.
//!
//! Life of a leaf: a record's exact bytes are hashed ([`record_hash`]) and chained
//! ([`chain_next`]); both hashes go with sequence number and time into a fixed-size [`Leaf`]; the
//! leaf's hash is appended to the [`Tree`], which hands out every tile that fills up; at a
//! commitment record the tree's root becomes a [`Checkpoint`], signed under the ledger key and
//! cosigned by every node; [`check_receipt`] walks the same way back.
//!
//! What it does not know: licences, units, rules, protobuf messages (it takes their bytes), disks,
//! sockets, clocks and randomness. Times are parameters, tiles come through [`TileStore`]. It names
//! no algorithm: hashes and signatures are `vermilion-crypto`'s.
//!
//! Every error of this crate but [`TreeError::Store`] is a deterministic function of the input: the
//! same bytes give the same refusal on every node, today and in twenty years.

mod checkpoint;
mod conflict;
mod cose;
mod error;
mod items;
mod leaf;
mod merkle;
mod note;
mod proof;
mod receipt;
mod receipt_status;
mod record;
mod status;
mod status_proof;
#[cfg(test)]
mod test_trust;
mod tile;
mod tlog_proof;
mod tree;
mod trust;

pub use checkpoint::{
    Checkpoint, Cosigner, MAX_COSIGNATURE_TIME, Verified, cosign, make_checkpoint, merge, signed_out_of_turn, verify, verify_cosignature,
};
pub use conflict::{Conflict, Divergence};
pub use cose::{CoseReceipt, MAX_COSE_LEN};
pub use error::{LedgerError, TreeError};
pub use items::{ItemTree, check_item, items_path, items_root};
pub use leaf::{
    COMMITMENT_LEAF_LEN, Commitment, FIRST_SEQ, LEAF_SUITE, LEAF_VERSION, Leaf, RECORD_LEAF_LEN, UNKNOWN_STATE, leaf_hash, leaf_index,
};
pub use note::{KeyKind, MAX_NOTE_LEN, MAX_NOTE_SIGNATURES, SignatureLine, SignedNote, VerifierKey, key_id};
pub use proof::{check_consistency, check_inclusion, digests};
pub use receipt::{Checked, ItemParts, LeafClaim, ReceiptError, ReceiptParts, RecordParts, check_receipt, check_record};
pub use receipt_status::{StatusAsOf, StatusParts, check_receipt_status};
pub use record::{chain_next, chain_start, record_hash, record_hashes};
pub use status::{CHUNK_LEN, LICENCES_A_CHUNK, MAX_STATUS, StatusTree, StatusView};
pub use status_proof::{StatusProof, check_status_proof, proven_status};
pub use tile::{
    EntryBundle, FullTile, Shelf, TILE_HEIGHT, TILE_LEN, TILE_WIDTH, TileName, TileStore, bundle_entries, bundle_part, tile_path, tile_root,
};
pub use tlog_proof::{MAX_TLOG_PROOF_LEN, TlogProof};
pub use tree::{MAX_TREE_SIZE, Tree, empty_root};
pub use trust::{MAX_NEWER_KEYS, NewerKey, Policy, Trust, TrustSettings, Witness, quorum_for};

pub use vermilion_crypto::Digest;
