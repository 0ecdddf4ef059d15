//! Blocks: how this node packs and signs them, and how it takes apart what others packed.

use vermilion_consensus::{BoxError, Change, Millis, Packer, Tip};
use vermilion_crypto::{Digest, PublicKey, SigningKey, dsse, hash};
use vermilion_proto::{BLOCK_TYPE, Block, BlockBody, Body, Bytes, Message as _, body::Of, whole};
use vermilion_registry::reason::Refusal;
use vermilion_registry::submission::open_submission;

/// The format version of blocks.
const VERSION: u32 = 1;

/// The hash by which the next block names a block of this body.
#[must_use]
pub fn block_hash(body: &[u8]) -> Digest {
    hash::derive(&hash::CTX_BLOCK, &[body])
}

/// A block taken apart. Its signature is not yet verified.
pub struct OpenBlock {
    /// Its hash.
    pub hash: Digest,
    /// Its body.
    pub body: BlockBody,
    /// The hash of the block before.
    pub previous: Digest,
    /// The key under which it is signed.
    pub key: PublicKey,
    signature: [u8; 64],
    signed: Vec<u8>,
}

/// Takes a block apart: canonical, of our version, every part of the right size.
pub fn open_block(bytes: &Bytes) -> Result<OpenBlock, Refusal> {
    use vermilion_registry::reason::Reason::{FormatVersion, Malformed};
    let block: Block = whole(bytes)?;
    let body: BlockBody = whole(&block.body)?;
    if body.format_version != VERSION {
        return Err(Refusal::new(FormatVersion, format!("block format {}", body.format_version)));
    }
    let bad = |_| Refusal::new(Malformed, "a part of the block has the wrong size");
    let hash = block_hash(&block.body);
    Ok(OpenBlock {
        hash,
        previous: body.previous.as_slice().try_into().map_err(bad)?,
        key: PublicKey::from_slice(&block.public_key).map_err(|_| Refusal::new(Malformed, "the proposer's key has the wrong size"))?,
        signature: block.signature.as_slice().try_into().map_err(bad)?,
        signed: dsse::pae(BLOCK_TYPE, &hash),
        body,
    })
}

impl OpenBlock {
    /// Adds the proposer's signature to a batch.
    pub fn queue(&self, batch: &mut vermilion_crypto::batch::Batch) {
        batch.add(self.key, self.signature, &self.signed);
    }
}

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
