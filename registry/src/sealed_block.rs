//! A block as it stands in the log, taken apart: by the gate, by the state machine, and by whoever audits a log.

use crate::reason::{Reason, Refusal};
use vermilion_crypto::batch::Batch;
use vermilion_crypto::{Digest, PublicKey, dsse, hash};
use vermilion_proto::{BLOCK_TYPE, Block, BlockBody, Bytes, whole};

/// The format version of blocks.
pub const VERSION: u32 = 1;

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
    use Reason::{FormatVersion, Malformed};
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
    pub fn queue(&self, batch: &mut Batch) {
        batch.add(self.key, self.signature, &self.signed);
    }
}
