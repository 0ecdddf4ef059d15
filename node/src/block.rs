//! Blocks as this node packs and signs them.

use vermilion_consensus::{BoxError, Change, Millis, Packer, Tip};
use vermilion_crypto::{Digest, SigningKey, dsse};
use vermilion_proto::{BLOCK_TYPE, Block, BlockBody, Body, Bytes, Message as _, body::Of};
use vermilion_registry::sealed_block::{VERSION, block_hash};
use vermilion_registry::submission::open_submission;

/// A commitment without a time-stamp token is not as long as this.
const MAX_COMMITMENT: usize = 1024;

fn is_commitment(submission: &Bytes) -> bool {
    submission.len() < MAX_COMMITMENT
        && open_submission(submission).is_ok_and(|opened| matches!(opened.checked.command.body, Some(Body { of: Some(Of::Commitment(_)) })))
}

/// Packs commands into blocks signed with the node's key.
pub struct BlockPacker {
    /// This node's Raft id.
    pub id: u64,
    /// Its key.
    pub key: SigningKey,
    /// The ledger.
    pub ledger_id: Digest,
}

impl Packer for BlockPacker {
    fn tip(&self, block: &[u8]) -> Result<Tip, BoxError> {
        let block = Block::decode(block)?;
        let body = BlockBody::decode(block.body.clone())?;
        Ok(Tip { link: block_hash(&block.body), time: Millis(body.time_ms) })
    }

    fn pack(&mut self, prev: Tip, now: Millis, commands: &[Bytes]) -> Result<(Vec<u8>, Tip), BoxError> {
        // A commitment comes last: the state after the block is then the one that it speaks of, and can be
        // given to a node that joins.
        let (last, first): (Vec<Bytes>, Vec<Bytes>) = commands.iter().cloned().partition(is_commitment);
        let body = BlockBody {
            format_version: VERSION,
            previous: prev.link.to_vec(),
            proposer: self.id,
            time_ms: now.0,
            submissions: [first, last].concat(),
        };
        let body = Bytes::from(body.encode_to_vec());
        // Over its hash: Ed25519 would go through megabytes twice, with a slower hash.
        let tip = Tip { link: block_hash(&body), time: now };
        let signature = self.key.sign(&dsse::pae(BLOCK_TYPE, &tip.link)).to_vec();
        Ok((Block { body, public_key: self.key.public().0.to_vec(), signature }.encode_to_vec(), tip))
    }

    fn seal(&mut self, change: Change, term: u64, index: u64) -> Result<Vec<u8>, BoxError> {
        Ok(crate::membership::seal(&self.ledger_id, self.id, &self.key, change, term, index))
    }
}
