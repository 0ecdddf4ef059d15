//! The simplest blocks that can be linked, forged and told apart.
//!
//! link of the predecessor (32), time (8), then each command as id (8), length (4) and padding; a checksum (8) stands for
//! the proposer's and the units' signatures. A seal is proposer (8), term (8), index (8), kind of change (1) and node (8),
//! with a checksum likewise.

use bytes::Bytes;
use vermilion_consensus::{BoxError, Change, Entry, Gate, Message, MessageType, Millis, NodeId, Packer, Refusal, Tip, change_of};

use crate::rng::fnv;

/// How far a block's time may be ahead of a follower's clock.
const MAX_AHEAD: u64 = 5_000;

pub struct Block {
    pub prev: [u8; 32],
    pub time: Millis,
    pub ids: Vec<u64>,
}

pub fn command(id: u64, padding: usize) -> Bytes {
    let mut bytes = id.to_be_bytes().to_vec();
    bytes.resize(8 + padding, 0xcc);
    bytes.into()
}

fn number<const N: usize>(bytes: &mut &[u8]) -> Result<[u8; N], String> {
    let (head, rest) = bytes.split_first_chunk::<N>().ok_or("a block ends early")?;
    *bytes = rest;
    Ok(*head)
}

pub fn parse(block: &[u8]) -> Result<Block, String> {
    let (mut body, check) = block.split_last_chunk::<8>().ok_or("a block ends early")?;
    if fnv(0, body) != u64::from_be_bytes(*check) {
        return Err("a block's checksum is wrong".into());
    }
    let prev = number::<32>(&mut body)?;
    let time = Millis(u64::from_be_bytes(number(&mut body)?));
    let mut ids = Vec::new();
    while !body.is_empty() {
        let length = u32::from_be_bytes(number(&mut body)?) as usize;
        let (mut command, rest) = body.split_at_checked(length).ok_or("a command ends early")?;
        body = rest;
        ids.push(u64::from_be_bytes(number(&mut command)?));
    }
    Ok(Block { prev, time, ids })
}

fn sealed(proposer: NodeId, change: Change, term: u64, index: u64) -> Vec<u8> {
    let kind = match change {
        Change::AddLearner(_) => 0,
        Change::Promote(_) => 1,
        Change::Remove(_) => 2,
    };
    let mut seal: Vec<u8> = [proposer, term, index].iter().flat_map(|n| n.to_be_bytes()).collect();
    seal.push(kind);
    seal.extend(change.node().to_be_bytes());
    let check = fnv(1, &seal);
    seal.extend(check.to_be_bytes());
    seal
}

/// The change that an entry carries, with its proposer; a seal that is not for this place is an error.
pub fn proposal(entry: &Entry) -> Result<Option<(Change, NodeId)>, String> {
    let Some((change, seal)) = change_of(entry).map_err(|e| e.to_string())? else { return Ok(None) };
    let proposer = u64::from_be_bytes(number(&mut seal.as_slice())?);
    if seal != sealed(proposer, change, entry.term, entry.index) {
        return Err("a seal that does not hold".into());
    }
    Ok(Some((change, proposer)))
}

/// A node's packer; as a gate it is no one's.
#[derive(Clone, Copy)]
pub struct Blocks(pub NodeId);

impl Packer for Blocks {
    fn tip(&self, block: &[u8]) -> Result<Tip, BoxError> {
        let time = parse(block)?.time;
        let mut link = [0; 32];
        for (seed, part) in link.chunks_exact_mut(8).enumerate() {
            part.copy_from_slice(&fnv(seed as u64 + 1, block).to_be_bytes());
        }
        Ok(Tip { link, time })
    }

    fn pack(&mut self, prev: Tip, now: Millis, commands: &[Bytes]) -> Result<(Vec<u8>, Tip), BoxError> {
        let mut block = prev.link.to_vec();
        block.extend(now.0.to_be_bytes());
        for command in commands {
            block.extend((command.len() as u32).to_be_bytes());
            block.extend(command.iter());
        }
        let check = fnv(0, &block);
        block.extend(check.to_be_bytes());
        let tip = self.tip(&block)?;
        Ok((block, tip))
    }

    fn seal(&mut self, change: Change, term: u64, index: u64) -> Result<Vec<u8>, BoxError> {
        Ok(sealed(self.0, change, term, index))
    }
}

impl Gate for Blocks {
    fn admit(&self, message: &Message, now: Millis) -> Result<(), Refusal> {
        // Other messages' entries hold read contexts, not blocks.
        if message.msg_type != MessageType::MsgAppend as i32 {
            return Ok(());
        }
        for entry in message.entries.iter().filter(|e| !e.data.is_empty()) {
            if proposal(entry).map_err(Refusal::Forged)?.is_some() {
                continue;
            }
            let block = parse(&entry.data).map_err(Refusal::Forged)?;
            if block.time.0 > now.0 + MAX_AHEAD {
                return Err(Refusal::Early("a block from the future".into()));
            }
        }
        Ok(())
    }
}
