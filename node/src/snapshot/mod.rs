//! A state from another node instead of all its records: for a node that joins a ledger with a long
//! history. It is taken as of a commitment record alone, and only if its digest is the one in that
//! record's leaf, under a checkpoint that the quorum cosigned. The records before it follow in the
//! background, checked backwards along the chain.
//!
//! What the quorum does not vouch for is where in the Raft log the state stands: index, term and the
//! block that the next one names are the giving node's word, as they are the leader's when records are
//! replayed. A wrong one shows at the next block, which does not fit.

mod backfill;
mod give;
mod take;

pub use backfill::Backfill;
pub use give::give;
pub use take::Offer;

/// Bytes of rows in one part.
const PART_BYTES: usize = 256 << 10;
/// Records, from the newest back, that come with a state: those after the last full tile, and the last.
fn tail_from(size: u64) -> u64 {
    (size - size % vermilion_ledger::TILE_WIDTH as u64).min(size.saturating_sub(1))
}
