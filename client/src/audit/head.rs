//! The block that a directory's head names, and its time, against the Raft log: records say nothing of
//! blocks. The log keeps some entries behind what was applied, so the last block is mostly there.

use super::finding::{Code, Findings};
use super::source::{Directory, ReadError};
use vermilion_crypto::{Digest, hash};
use vermilion_proto::{Block, BlockBody, Bytes, LedgerHead, whole};
use vermilion_storage::{Column, Store, seq_place};

/// Blocks that are looked at. One alone would do, were it not for blocks that were passed over.
const BLOCKS: usize = 16;

/// A block of the log.
struct Logged {
    hash: Digest,
    key: Vec<u8>,
    body: BlockBody,
}

/// Compares a directory's head with the last blocks of those applied that its log holds. Answers whether
/// there was one to compare with.
pub fn compare(store: &Store, findings: &mut Findings) -> Result<bool, ReadError> {
    if store.installing()?.is_some() {
        // Records were being replayed: the state is ahead of the log.
        return Ok(false);
    }
    let (head, applied, first) = (Directory::head(store)?, store.applied()?.0, store.log_range().0);
    let blocks = blocks(first, applied, |index| {
        let rows = store.rows_from(Column::LOG, index)?;
        Ok(rows.current()?.filter(|(key, _)| seq_place(key) == Some(index)).map(|(_, row)| row.to_vec()))
    })?;
    // What is wrong with the rest of the state is told elsewhere.
    let nodes = vermilion_registry::Directory::load(&store.state()).ok();
    let is_node =
        |block: &Logged| nodes.as_ref().is_none_or(|nodes| nodes.node(block.body.proposer).is_some_and(|node| node.node_key == block.key));
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

/// The newest blocks of the entries `first..=applied`, newest first. `entry` reads one as it is stored.
fn blocks(first: u64, applied: u64, mut entry: impl FnMut(u64) -> Result<Option<Vec<u8>>, ReadError>) -> Result<Vec<Logged>, ReadError> {
    let mut out = Vec::new();
    for index in (first..=applied).rev() {
        let Some(row) = entry(index)? else { break };
        if let Some(data) = block_data(&row) {
            out.push(open(data).ok_or_else(|| ReadError::Damaged(format!("entry {index} of the Raft log holds no block")))?);
        }
        if out.len() == BLOCKS {
            break;
        }
    }
    Ok(out)
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

fn open(data: &[u8]) -> Option<Logged> {
    let block: Block = whole(&Bytes::copy_from_slice(data)).ok()?;
    let body: BlockBody = whole(&block.body).ok()?;
    Some(Logged { hash: hash::derive(&hash::CTX_BLOCK, &[&block.body[..]]), key: block.public_key, body })
}

/// Whether a head is the one to which blocks lead, newest first. A void block leaves its hash in the head
/// and nothing else, so the time may be that of one before it.
fn fits(head: &LedgerHead, blocks: &[Logged], is_node: impl Fn(&Logged) -> bool) -> bool {
    if blocks.first().is_some_and(|last| head.block != last.hash) {
        return false;
    }
    for (n, block) in blocks.iter().enumerate() {
        if block.body.time_ms == head.time_ms {
            return true;
        }
        let follows = blocks.get(n + 1).is_none_or(|before| block.body.previous == before.hash);
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
    use vermilion_proto::Message as _;

    fn entry(kind: u8, data: &[u8]) -> Vec<u8> {
        [&[1, kind][..], &[0; 16], &2u32.to_be_bytes(), b"cc", data].concat()
    }

    fn block(previous: Digest, time_ms: u64) -> (Digest, Vec<u8>) {
        let body =
            BlockBody { format_version: 1, previous: previous.to_vec(), proposer: 2, time_ms, submissions: Vec::new() }.encode_to_vec();
        let hash = hash::derive(&hash::CTX_BLOCK, &[&body]);
        (hash, Block { body: body.into(), public_key: vec![5; 32], signature: vec![6; 64] }.encode_to_vec())
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
            fits(&head, &blocks(1, log.len() as u64, |index| Ok(log.get(&index).cloned())).unwrap(), |_| is_node)
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
        assert!(blocks(1, 1, |_| Ok(Some(entry(0, b"no block")))).is_err());
    }
}
