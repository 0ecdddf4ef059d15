//! The ledger from its tiles alone, as C2SP tlog-tiles serves them: checkpoint, leaves, tree.
//!
//! Leaves hold hashes, numbers and times. So this proves that the leaves served are those of the signed
//! tree, in order, and that the tiles are; nothing about signatures of units, outcomes or contents.
//!
//! In memory stay the tree's right edge and [`AHEAD`] bundles under way, of at most 38 KiB each.

use super::finding::{Code, Findings};
use super::web::{Unanswered, Web};
use super::{Advance, CannotRead, Report, Stage};
use std::collections::VecDeque;
use std::time::Instant;
use tokio::task::JoinHandle;
use vermilion_crypto::Digest;
use vermilion_ledger::{FullTile, Leaf, TILE_WIDTH, Tree, Trust, leaf_hash, tile_path, verify};

/// A bundle that was asked for, under way: `None` if the server has none.
type Answer = JoinHandle<Result<Option<(Vec<u8>, usize)>, Unanswered>>;

/// Bundles that are asked for ahead.
const AHEAD: u64 = 32;

const WIDTH: u64 = TILE_WIDTH as u64;

/// The path of a bundle of `width` leaves: as a tile's of the lowest level, in its own folder.
fn bundle_path(index: u64, width: usize) -> String {
    tile_path(0, index, width).replacen("tile/0/", "tile/entries/", 1)
}

/// The leaves of a bundle: each behind its length in two bytes, big-endian. `None` if they are not
/// exactly so many.
fn leaves(mut bundle: &[u8], count: usize) -> Option<Vec<&[u8]>> {
    let mut out = Vec::with_capacity(count);
    while out.len() < count {
        let (len, rest) = bundle.split_first_chunk::<2>()?;
        let (leaf, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes(*len)))?;
        out.push(leaf);
        bundle = rest;
    }
    bundle.is_empty().then_some(out)
}

/// Asks for the part of a tile or bundle that holds `width` entries. Once the full one is there, a
/// server need not have the partial one any longer: beside the bytes stands how many entries what was served
/// has by its path, no more and no less; what is beyond `width` is the caller's to cut off.
async fn part(web: &Web, partial: String, full: String, width: usize) -> Result<Option<(Vec<u8>, usize)>, Unanswered> {
    if width < TILE_WIDTH
        && let Some(bytes) = web.get(&partial).await?
    {
        return Ok(Some((bytes, width)));
    }
    Ok(web.get(&full).await?.map(|bytes| (bytes, TILE_WIDTH)))
}

/// The first `width` hashes of a tile; `None` if it is not served, or does not hold as many as its path says.
pub async fn hashes(web: &Web, level: u8, index: u64, width: usize) -> Result<Option<Vec<Digest>>, Unanswered> {
    let tile = part(web, tile_path(level, index, width), tile_path(level, index, TILE_WIDTH), width).await?;
    let whole = tile.filter(|(bytes, entries)| bytes.len() == entries * size_of::<Digest>());
    Ok(whole.and_then(|(bytes, _)| Some(bytes.as_chunks().0.get(..width)?.to_vec())))
}

struct Walk<'a> {
    web: &'a Web,
    tree: Tree,
    time_ms: u64,
    commitments: u64,
    findings: Findings,
}

/// Audits the tiles under a checkpoint that the same place serves. `trust` says whose signatures count: below its quorum
/// nothing is read, or one stolen key would set the length of the way. If `stop` comes first, what was found so far is told.
pub async fn audit_tiles(web: &Web, trust: &Trust, stop: impl Future<Output = ()>, advance: &Advance<'_>) -> Result<Report, CannotRead> {
    let begun = Instant::now();
    let url = web.base();
    let cannot = |why: String| CannotRead { source_name: url.to_owned(), why, interrupted: false };
    let note = web.get("checkpoint").await.map_err(|e| cannot(e.into()))?.ok_or_else(|| cannot("there is no checkpoint".into()))?;
    let mut walk = Walk { web, tree: Tree::new(), time_ms: 0, commitments: 0, findings: Findings::of(url) };
    let mut report = Report { trust_given: true, ledger_id: hex::encode(trust.settings().ledger_id), ..Report::default() };
    match verify(&note, trust) {
        Err(error) => walk.findings.add(
            Code::CheckpointInvalid,
            None,
            format!("The checkpoint served is not valid: {error}."),
            "所提供的检查点无效。",
        ),
        Ok(checkpoint) if checkpoint.check_quorum(trust).is_err() => {
            (report.checkpoints, report.sources) = (1, vec![(url.to_owned(), checkpoint.size)]);
            let need = trust.settings().quorum;
            walk.findings.add(
                Code::QuorumMissing,
                None,
                format!("The checkpoint does not carry the {need} cosignatures that are required: nothing under it was read."),
                format!("检查点未达到所需的{need}个联署，其下内容未予读取。"),
            );
        }
        Ok(checkpoint) => {
            (report.checkpoints, report.sources) = (1, vec![(url.to_owned(), checkpoint.size)]);
            let whole = tokio::select! {
                whole = walk.entries(checkpoint.size, advance) => Some(whole.map_err(cannot)?),
                () = stop => None,
            };
            if whole == Some(true) && walk.tree.root() != checkpoint.root {
                walk.findings.add(
                    Code::CheckpointRoot,
                    checkpoint.size.checked_sub(1),
                    format!("The root signed for {} records is not that of the leaves served.", checkpoint.size),
                    format!("对{}条记录签署的树根与所提供叶子重算的树根不符。", checkpoint.size),
                );
            } else if whole == Some(true) {
                report.covered = checkpoint.size;
            } else if whole.is_none() {
                let read = walk.tree.size();
                if walk.findings.is_empty() {
                    let why = format!(
                        "broken off after {read} of {} records; nothing was found in them 已中断，所读部分未发现问题",
                        checkpoint.size
                    );
                    return Err(CannotRead { interrupted: true, ..cannot(why) });
                }
                report.left_out =
                    vec![(format!("the records from {read} on: the audit was broken off"), format!("第{read}号起的记录：审计被中断"))];
            }
        }
    }
    Ok(Report {
        records: walk.tree.size(),
        commitments: walk.commitments,
        clean: walk.findings.is_empty(),
        counts: walk.findings.counts().into_iter().map(|(code, count)| (code.name(), count)).collect(),
        findings: walk.findings.sorted(),
        tiles_alone: true,
        seconds: begun.elapsed().as_secs_f64(),
        ..report
    })
}

impl Walk<'_> {
    /// Goes through the leaves of a tree of `size`; answers whether all could be taken.
    async fn entries(&mut self, size: u64, advance: &Advance<'_>) -> Result<bool, String> {
        let bundles = size.div_ceil(WIDTH);
        let mut ahead: VecDeque<(u64, usize, Answer)> = VecDeque::new();
        let mut asked = 0;
        let mut whole = true;
        while whole && (asked < bundles || !ahead.is_empty()) {
            while asked < bundles && (ahead.len() as u64) < AHEAD {
                let width = usize::try_from(WIDTH.min(size - asked * WIDTH)).unwrap_or(TILE_WIDTH);
                let (web, index) = (self.web.clone(), asked);
                let ask = async move { part(&web, bundle_path(index, width), bundle_path(index, TILE_WIDTH), width).await };
                ahead.push_back((asked, width, tokio::spawn(ask)));
                asked += 1;
            }
            let Some((index, width, answer)) = ahead.pop_front() else { break };
            let bundle = answer.await.map_err(|e| e.to_string())??;
            whole = self.bundle(index, width, bundle).await?;
            advance(Stage::Records, self.web.base(), self.tree.size(), size);
        }
        ahead.into_iter().for_each(|(_, _, answer)| answer.abort());
        if whole {
            self.edge().await?;
        }
        Ok(whole)
    }

    async fn bundle(&mut self, index: u64, width: usize, bundle: Option<(Vec<u8>, usize)>) -> Result<bool, String> {
        let first = index * WIDTH;
        let Some((bundle, entries)) = bundle else {
            self.findings.add(
                Code::RecordMissing,
                Some(first),
                format!("The leaves from number {first} on are not served."),
                format!("未提供第{first}号起的叶子。"),
            );
            return Ok(false);
        };
        // A full bundle in place of a partial one holds leaves that the checkpoint does not cover.
        let Some(found) = leaves(&bundle, entries) else {
            self.unreadable(first, "the bundle does not hold so many leaves");
            return Ok(false);
        };
        for (seq, bytes) in (first..).zip(found.into_iter().take(width)) {
            match Leaf::decode(bytes) {
                Ok(leaf) => self.leaf(seq, &leaf),
                Err(error) => self.unreadable(seq, &error.to_string()),
            }
            for tile in self.tree.append(leaf_hash(bytes)) {
                self.tile(&tile).await?;
            }
        }
        Ok(true)
    }

    fn unreadable(&mut self, seq: u64, why: &str) {
        self.findings.add(
            Code::RecordUnreadable,
            Some(seq),
            format!("What is served at place {seq} is not a leaf of this format: {why}."),
            format!("第{seq}号位置上提供的内容不是本格式的叶子。"),
        );
    }

    fn leaf(&mut self, seq: u64, leaf: &Leaf) {
        self.commitments += u64::from(leaf.commitment.is_some());
        if leaf.seq != seq {
            self.findings.add(
                Code::RecordMisplaced,
                Some(seq),
                format!("The leaf at place {seq} bears the number {}.", leaf.seq),
                format!("第{seq}号位置上的叶子自称第{}号。", leaf.seq),
            );
        }
        if leaf.time_ms < self.time_ms {
            self.findings.add(
                Code::TimeBack,
                Some(seq),
                format!("The time of leaf {seq} lies before that of the leaf before it."),
                format!("第{seq}号叶子的时间早于前一叶子。"),
            );
        }
        self.time_ms = leaf.time_ms;
    }

    async fn tile(&mut self, tile: &FullTile) -> Result<(), String> {
        let served = self.web.get(&tile_path(tile.level, tile.index, TILE_WIDTH)).await?;
        self.compare(tile.level, tile.index, served.as_deref(), &tile.bytes);
        Ok(())
    }

    /// The partial tiles at the right end.
    async fn edge(&mut self) -> Result<(), String> {
        for level in 0..=7u8 {
            let Some((index, due)) = self.tree.partial_tile(level) else { continue };
            let width = due.len() / 32;
            let served = hashes(self.web, level, index, width).await?;
            self.compare(level, index, served.map(|hashes| hashes.concat()).as_deref(), &due);
        }
        Ok(())
    }

    fn compare(&mut self, level: u8, index: u64, served: Option<&[u8]>, due: &[u8]) {
        match served {
            Some(served) if served == due => {}
            Some(_) => self.findings.add(
                Code::TileDiffers,
                None,
                format!("The tile {index} of level {level} served is not the one that the leaves give."),
                format!("所提供的第{level}层第{index}号瓦片与叶子重算的结果不符。"),
            ),
            None => self.findings.add(
                Code::TileMissing,
                None,
                format!("Tile {index} of level {level} of the tree is not served, or is not as long as its path says."),
                format!("未提供默克尔树第{level}层第{index}号瓦片，或其长度与路径所示不符。"),
            ),
        }
    }
}
