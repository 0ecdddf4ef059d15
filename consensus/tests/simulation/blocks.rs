//! The simplest blocks that can be linked, forged and told apart.
//!
//! link of the predecessor (32), time (8), then each command as id (8), length (4) and padding; a checksum (8) stands for
//! the proposer's and the units' signatures.

use bytes::Bytes;
use vermilion_consensus::{BoxError, Entry, EntryType, Gate, Message, MessageType, Millis, Packer, Refusal, Tip};

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

#[derive(Clone, Copy)]
pub struct Blocks;

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
}

impl Gate for Blocks {
    fn admit(&self, message: &Message, now: Millis) -> Result<(), Refusal> {
        // Other messages' entries hold read contexts, not blocks.
        if message.msg_type != MessageType::MsgAppend as i32 {
            return Ok(());
        }
        let block = |e: &&Entry| e.entry_type == EntryType::EntryNormal as i32 && !e.data.is_empty();
        for entry in message.entries.iter().filter(block) {
            let block = parse(&entry.data).map_err(Refusal::Forged)?;
            if block.time.0 > now.0 + MAX_AHEAD {
                return Err(Refusal::Early("a block from the future".into()));
            }
        }
        Ok(())
    }
}
