//! The block that a directory's head names, and its time, against the Raft log: records say nothing of
//! blocks. The log keeps some entries behind what was applied, so the last block is mostly there.

use super::finding::{Code, Findings};
use super::source::{Directory, ReadError};
use vermilion_crypto::batch::Batch;
use vermilion_proto::{Bytes, LedgerHead};
use vermilion_registry::sealed_block::{OpenBlock, open_block};
use vermilion_storage::{Column, Store, seq_place};

/// Blocks that are looked at. One alone would do, were it not for blocks that were passed over. Those before them are
/// another node's to refuse, should it ever be given them.
const BLOCKS: usize = 16;

/// Compares a directory's head with the last blocks of those applied that its log holds. Answers whether
/// there was one to compare with.
pub fn compare(store: &Store, findings: &mut Findings) -> Result<bool, ReadError> {
    if store.installing()?.is_some() {
        // Records were being replayed: the state is ahead of the log.
        return Ok(false);
    }
    let (head, applied, first) = (Directory::head(store)?, store.applied()?.0, store.log_range().0);
    let (blocks, bad) = blocks(first, applied, |index| {
        let rows = store.rows_from(Column::LOG, index)?;
        Ok(rows.current()?.filter(|(key, _)| seq_place(key) == Some(index)).map(|(_, row)| row.to_vec()))
    })?;
    for index in &bad {
        findings.add(
            Code::StorageCheck,
            None,
            format!("Entry {index} of the Raft log holds no block that anybody signed."),
            format!("Raft日志第{index}条所载并非经签署的块。"),
        );
    }
    // What is wrong with the rest of the state is told elsewhere.
    let nodes = vermilion_registry::Directory::load(&store.state()).ok();
    let is_node = |block: &OpenBlock| {
        nodes.as_ref().is_none_or(|nodes| nodes.node(block.body.proposer).is_some_and(|node| node.node_key[..] == block.key.0))
    };
    if !fits(&head, &blocks, is_node) {
        findings.add(
            Code::HeadDiffers,
            None,
            "The directory's head does not name the last block applied that its Raft log holds, or not that block's time.",
            "目录账本头所载的末块或其时间，与其Raft日志中最后应用的块不符。",
        );
    }
    Ok(!blocks.is_empty())
}

/// The newest blocks of the entries `first..=applied`, newest first; and the places of those entries that should hold a block
/// and hold none that is signed. `entry` reads one as it is stored.
fn blocks(
    first: u64,
    applied: u64,
    mut entry: impl FnMut(u64) -> Result<Option<Vec<u8>>, ReadError>,
) -> Result<(Vec<OpenBlock>, Vec<u64>), ReadError> {
    let (mut newest, mut bad) = (Vec::new(), Vec::new());
    for index in (first..=applied).rev() {
        let Some(row) = entry(index)? else { break };
        let Some(data) = block_data(&row) else { continue };
        match open_block(&Bytes::copy_from_slice(data)) {
            Ok(block) if holds(&block) => newest.push(block),
            _ => bad.push(index),
        }
        if newest.len() + bad.len() == BLOCKS {
            break;
        }
    }
    Ok((newest, bad))
}

/// Whether it is signed under the key that it names.
fn holds(block: &OpenBlock) -> bool {
    let mut batch = Batch::new();
    block.queue(&mut batch);
    batch.verify().is_ok()
}

/// What a stored entry (docs/formats.md §19) carries, if it is a block: others are of another type, or
/// empty.
fn block_data(row: &[u8]) -> Option<&[u8]> {
    // Version, type, term and index; then the context behind its length.
    let ([1, 0, ..], rest) = row.split_first_chunk::<18>()? else { return None };
    let (length, rest) = rest.split_first_chunk::<4>()?;
    let (_, data) = rest.split_at_checked(u32::from_be_bytes(*length) as usize)?;
    Some(data).filter(|data| !data.is_empty())
}

/// Whether a head is the one to which blocks lead, newest first. A void block leaves its hash in the head
/// and nothing else, so the time may be that of one before it.
fn fits(head: &LedgerHead, blocks: &[OpenBlock], is_node: impl Fn(&OpenBlock) -> bool) -> bool {
    if blocks.first().is_some_and(|last| head.block != last.hash) {
        return false;
    }
    for (n, block) in blocks.iter().enumerate() {
        if block.body.time_ms == head.time_ms {
            return true;
        }
        let follows = blocks.get(n + 1).is_none_or(|before| block.previous == before.hash);
        let is_void = !follows || block.body.time_ms < head.time_ms || !is_node(block);
        if !is_void {
            return false;
        }
    }
    blocks.is_empty()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;
    use vermilion_crypto::{Digest, SigningKey, dsse};
    use vermilion_proto::{BLOCK_TYPE, Block, BlockBody, Message as _};
    use vermilion_registry::sealed_block::block_hash;

    fn entry(kind: u8, data: &[u8]) -> Vec<u8> {
        [&[1, kind][..], &[0; 16], &2u32.to_be_bytes(), b"cc", data].concat()
    }

    fn block(previous: Digest, time_ms: u64) -> (Digest, Vec<u8>) {
        let body =
            BlockBody { format_version: 1, previous: previous.to_vec(), proposer: 2, time_ms, submissions: Vec::new() }.encode_to_vec();
        let (hash, key) = (block_hash(&body), SigningKey::from_seed(&[5; 32]));
        let signature = key.sign(&dsse::pae(BLOCK_TYPE, &hash)).to_vec();
        (hash, Block { body: body.into(), public_key: key.public().0.to_vec(), signature }.encode_to_vec())
    }

    #[test]
    fn a_head_is_that_of_the_last_block_in_the_log() {
        let first = block([1; 32], 10);
        let second = block(first.0, 20);
        let log = |more: &[Vec<u8>]| {
            // A leader's empty entry, two blocks, a change of the group.
            let rows = [entry(0, &[]), entry(0, &first.1), entry(0, &second.1), entry(2, b"change")];
            (1..).zip(rows.into_iter().chain(more.iter().cloned())).collect::<BTreeMap<u64, Vec<u8>>>()
        };
        let fits_with = |log: &BTreeMap<u64, Vec<u8>>, block: Digest, time_ms: u64, is_node: bool| {
            let head = LedgerHead { block: block.to_vec(), time_ms, ..LedgerHead::default() };
            let (blocks, bad) = blocks(1, log.len() as u64, |index| Ok(log.get(&index).cloned())).unwrap();
            assert!(bad.is_empty());
            fits(&head, &blocks, |_| is_node)
        };
        let plain = log(&[entry(0, &[])]);
        assert!(fits_with(&plain, second.0, 20, true) && fits_with(&plain, second.0, 20, false));
        for (block, time_ms) in [(first.0, 20), (first.0, 10), ([7; 32], 20), (second.0, 10), (second.0, 19), (second.0, 21), (second.0, 0)]
        {
            assert!(!fits_with(&plain, block, time_ms, true), "{time_ms}");
        }
        // Blocks that were passed over: one that follows nothing, one whose time goes back, one of a stranger.
        let (loose, back, strange) = (block([9; 32], 30), block(second.0, 15), block(second.0, 30));
        for (void, is_node) in [(loose, true), (back, true), (strange, false)] {
            let log = log(&[entry(0, &void.1)]);
            assert!(fits_with(&log, void.0, 20, is_node));
            assert!(!fits_with(&log, second.0, 20, is_node) && !fits_with(&log, void.0, 40, is_node));
        }
        let nothing = LedgerHead { block: vec![3; 32], ..LedgerHead::default() };
        assert!(fits(&nothing, &[], |_| true), "nothing to compare with");
        // One that nobody signed is named.
        let mut forged = second.1.clone();
        *forged.last_mut().unwrap() ^= 1;
        for what in [b"no block".to_vec(), forged] {
            let log = |index| Ok(if index == 2 { Some(entry(0, &what)) } else { plain.get(&index).cloned() });
            let (newest, bad) = blocks(1, plain.len() as u64, log).unwrap();
            assert_eq!((newest.len(), bad), (1, vec![2]));
        }
    }
}
