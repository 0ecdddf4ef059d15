//! Every stored checkpoint: do its signatures hold, is its root that of the recomputed tree, and how
//! far do checkpoints with the quorum reach?

use super::Options;
use super::finding::{Code, Findings};
use super::link::Root;
use super::session::Held;
use super::source::{ReadError, Source};
use rayon::prelude::*;
use std::collections::{BTreeMap, BTreeSet, btree_map::Entry};
use vermilion_crypto::Digest;
use vermilion_ledger::{Conflict, Cosigner, LedgerError, Trust, Verified, signed_out_of_turn, verify};

/// Notes checked at once.
const BATCH: usize = 512;

/// Commitment records without a checkpoint that a kill usually leaves at most behind the newest one kept: a witness passes over all
/// but the last 16 that wait for it, and seldom are as many applied while it writes. Behind a disk that hangs there may be more.
const BEHIND: usize = 32;

/// The recomputed history that a source's checkpoints are held against.
pub struct History<'a> {
    /// The roots at commitment records and at every size that a checkpoint is for, ascending.
    pub roots: &'a [Root],
    /// The place after the source's last record.
    pub size: u64,
    /// Whether the source is a directory whose Raft log goes beyond what was applied, as that of a
    /// node that was killed.
    pub log_ahead: bool,
    /// Whether the source is a directory whose node was fetching records: it cosigns the last commitment alone, when it is there.
    pub catching_up: bool,
}

impl History<'_> {
    /// The root at a size, and whether a commitment record stands there.
    fn root(&self, size: u64) -> Option<(Digest, bool)> {
        let at = self.roots.binary_search_by_key(&size, |root| root.size).ok()?;
        self.roots.get(at).map(|root| (root.root, root.committed))
    }
}

/// The sizes for which a source lists checkpoints, by their place and by their own word, ascending: where
/// a walk through its records must keep the root. Running nodes list none; they are asked for those of
/// commitments.
pub fn sizes(source: &dyn Source) -> Vec<u64> {
    let mut sizes = BTreeSet::new();
    // What cannot be read here cannot be read later either, and is a finding then.
    let _ = source.checkpoints(&[], &mut |size, note| {
        sizes.insert(size);
        sizes.extend(std::str::from_utf8(&note).ok().and_then(|note| note.lines().nth(1)?.parse::<u64>().ok()));
        true
    });
    sizes.into_iter().collect()
}

/// Checkpoints of all sources so far.
pub struct Checkpoints<'a> {
    trust: &'a Trust,
    /// The root that was signed first for each size, and by whose source.
    signed: BTreeMap<u64, (Digest, usize)>,
    /// Who signed what is not yet known to carry the quorum, by size and root.
    gathering: BTreeMap<(u64, Digest), Verified>,
    /// The largest size whose root is right and carries the quorum.
    pub covered: u64,
    /// Checkpoints read.
    pub count: u64,
    /// Of the source at hand, those for records that its log alone has: how many, and the size of the largest.
    ahead: (u64, u64),
    /// Of the source at hand, the largest size up to its records' that a well-signed checkpoint is for.
    newest: u64,
}

impl<'a> Checkpoints<'a> {
    /// None yet.
    #[must_use]
    pub fn new(trust: &'a Trust) -> Self {
        Self { trust, signed: BTreeMap::new(), gathering: BTreeMap::new(), covered: 0, count: 0, ahead: (0, 0), newest: 0 }
    }

    /// Checks all checkpoints of one of the sources, if the audit is not to break off meanwhile.
    pub fn check(
        &mut self,
        held: &[Held<'_>],
        position: usize,
        history: &History<'_>,
        options: &Options,
        findings: &mut Findings,
    ) -> Result<(), ReadError> {
        let Some(source) = held.get(position).map(|held| held.source) else { return Ok(()) };
        let sizes: Vec<u64> = history.roots.iter().filter(|root| root.committed).map(|root| root.size).collect();
        let mut waiting = Vec::with_capacity(BATCH);
        (self.ahead, self.newest) = ((0, 0), 0);
        let read = source.checkpoints(&sizes, &mut |size, note| {
            waiting.push((size, note));
            if waiting.len() == BATCH {
                self.batch(held, position, &mut waiting, history, findings);
            }
            !options.is_stopped()
        });
        self.batch(held, position, &mut waiting, history, findings);
        if self.ahead.0 > 0 {
            log_ahead(self.ahead, history.size, findings);
        }
        if source.store().is_some() && read.is_ok() {
            self.missing(history, findings);
        }
        match read {
            Err(ReadError::Damaged(why)) => {
                findings.add(Code::StorageDamaged, None, format!("The checkpoints cannot be read: {why}."), "读取检查点时数据库出错。");
                Ok(())
            }
            other => other,
        }
    }

    /// Commitments of a directory behind the newest checkpoint that it keeps. Its node cosigned each that it applied.
    fn missing(&self, history: &History<'_>, findings: &mut Findings) {
        let count = history.roots.iter().filter(|root| root.committed && root.size > self.newest).count();
        // The newest alone may lack its own: a kill or a backup can come between the two writes.
        if count <= 1 {
            return;
        }
        let (code, few, few_zh) = if count <= BEHIND || history.catching_up {
            (Code::CheckpointMissing, "A kill can leave a few so", "节点被强制终止可能留下少数此类记录")
        } else {
            (
                Code::CheckpointsCut,
                "That is more than a kill usually leaves: behind a disk that hung it can leave as many so",
                "其数量多于强制终止通常所留：仅当磁盘曾停滞时，强制终止才可能留下如此之多",
            )
        };
        findings.add(
            code,
            Some(self.newest),
            format!("Behind the newest checkpoint kept here stand {count} commitment records: from record {} on nothing that nodes signed protects the records of this directory. {few} until the node is started and stopped cleanly, and a node that is no witness (not admitted yet, or banned) more; else compare with another node.", self.newest),
            format!("此处所存最新检查点之后另有{count}条承诺记录：自第{}号记录起，本目录的记录不受任何节点签名保护。{few_zh}，请启动并正常停止该节点后再次审计；不是见证节点（尚未接入或已被封禁）的可能更多；否则请与其他节点的数据比对。", self.newest),
        );
    }

    fn batch(
        &mut self,
        held: &[Held<'_>],
        position: usize,
        notes: &mut Vec<(u64, Vec<u8>)>,
        history: &History<'_>,
        findings: &mut Findings,
    ) {
        let checked: Vec<_> = notes.par_drain(..).map(|(size, note)| (size, verify(&note, self.trust), note)).collect();
        for (size, verified, note) in checked {
            self.count += 1;
            if signed_out_of_turn(&note, self.trust) {
                findings.add(
                    Code::CheckpointOutOfTurn,
                    size.checked_sub(1),
                    format!("The checkpoint kept for {size} records is signed by a ledger key that does not serve there, and not by the one that does."),
                    format!("保存在{size}条记录处的检查点由当时并不使用的账本密钥签名，而应签名的账本密钥并未签名。"),
                );
            }
            match verified {
                Ok(verified) => {
                    if verified.size <= history.size {
                        self.newest = self.newest.max(verified.size);
                    }
                    let right = self.one(size, &verified, history, findings);
                    self.conflict(held, position, &verified, &note, findings);
                    if right {
                        self.gather(verified);
                    }
                }
                Err(error) => invalid(size, &error, findings),
            }
        }
    }

    /// Holds a well-signed checkpoint against the history; answers whether it is right.
    fn one(&mut self, kept: u64, verified: &Verified, history: &History<'_>, findings: &mut Findings) -> bool {
        let size = verified.size;
        if size != kept {
            findings.add(
                Code::CheckpointMisplaced,
                None,
                format!("The checkpoint kept for {kept} records is for {size}."),
                format!("保存在{kept}条记录处的检查点实为{size}条记录的检查点。"),
            );
        }
        if size > history.size && history.log_ahead {
            self.ahead = (self.ahead.0 + 1, self.ahead.1.max(size));
            return false;
        }
        if size > history.size {
            beyond(size, history.size, findings);
            return false;
        }
        // Where a record is missing the tree could not be computed: that is a finding already.
        let Some((root, committed)) = history.root(size) else { return false };
        if root != verified.root {
            findings.add(
                Code::CheckpointRoot,
                size.checked_sub(1),
                format!("The root signed for {size} records is not that of the records: one of them was changed after it was signed, or other records were signed."),
                format!("对{size}条记录签署的树根与现有记录重算的树根不符：有记录在签署后被改动，或当时签署的是另一批记录。"),
            );
            return false;
        }
        if !committed {
            findings.add(
                Code::CheckpointStray,
                size.checked_sub(1),
                format!("A checkpoint was signed for {size} records, where there is no commitment record."),
                format!("对{size}条记录签署了检查点，但该处没有承诺记录。"),
            );
        }
        true
    }

    /// Adds who signed; cosignatures count wherever they are kept. What is enough the trust says, its policy
    /// included.
    fn gather(&mut self, verified: Verified) {
        let size = verified.size;
        if size <= self.covered {
            return;
        }
        let gathered = match self.gathering.entry((size, verified.root)) {
            Entry::Vacant(none) => none.insert(verified),
            Entry::Occupied(some) => {
                let gathered = some.into_mut();
                gathered.signed_by_ledger |= verified.signed_by_ledger;
                add(&mut gathered.cosigners, verified.cosigners);
                add(&mut gathered.outside, verified.outside);
                gathered
            }
        };
        if gathered.check_quorum(self.trust).is_ok() {
            self.covered = size;
            self.gathering.retain(|(size, _), _| *size > self.covered);
        }
    }

    fn conflict(&mut self, held: &[Held<'_>], position: usize, verified: &Verified, note: &[u8], findings: &mut Findings) {
        let (root, first) = *self.signed.entry(verified.size).or_insert((verified.root, position));
        if root == verified.root {
            return;
        }
        let source = held.get(first).map(|held| held.source);
        let other = source.and_then(|source| Some((source.name(), source.checkpoint(verified.size).ok()??)));
        let conflict = other.as_ref().and_then(|(_, other)| Conflict::detect(other, note, self.trust).ok()?);
        let (name, who) = (other.map_or("another source", |(name, _)| name), conflict.map(|c| c.signed_both).unwrap_or_default());
        let both = if who.is_empty() { "nobody".to_owned() } else { who.join(", ") };
        findings.add(
            Code::CheckpointsConflict,
            verified.size.checked_sub(1),
            format!("Two different histories of {} records were signed, here and in {name}; both were signed by {both}.", verified.size),
            format!("此处与{name}对{}条记录签署了两种不同的历史；两者均签署的密钥：{both}。", verified.size),
        );
    }

    /// Whether any checkpoint is there at all that should have the quorum, and none has it.
    pub fn check_quorum(&self, commitments: u64, findings: &mut Findings) {
        if commitments > 0 && self.covered == 0 {
            let need = self.trust.settings().quorum;
            findings.add(
                Code::QuorumMissing,
                None,
                format!(
                    "No checkpoint carries the {need} cosignatures that are required, from those whom the trust asks for: nothing but the units' own signatures protects the records."
                ),
                format!("没有任何检查点达到信任配置所要求的{need}个联署：记录仅受各单位自身签名保护。"),
            );
        }
    }
}

/// Adds those that are not among them: each counts once.
fn add(cosigners: &mut Vec<Cosigner>, more: Vec<Cosigner>) {
    for one in more {
        if cosigners.iter().all(|known| known.name != one.name) {
            cosigners.push(one);
        }
    }
}

/// A checkpoint for records that are not there.
fn beyond(size: u64, there: u64, findings: &mut Findings) {
    findings.add(
        Code::CheckpointBeyond,
        None,
        format!("A signed checkpoint covers {size} records, but there are only {there}: the end has been cut off."),
        format!("已签名的检查点覆盖{size}条记录，而现有记录仅{there}条：账本尾部被截去。"),
    );
}

/// The checkpoints for records that the log alone has: how many, and the size of the largest.
fn log_ahead((count, size): (u64, u64), there: u64, findings: &mut Findings) {
    findings.add(
        Code::LogAhead,
        None,
        format!(
            "Signed checkpoints ({count}) cover up to {size} records, the directory has {there} and unapplied entries in its log: the node was killed. Start it, stop it cleanly, and audit again."
        ),
        format!("有{count}个已签名的检查点覆盖至{size}条记录，而目录中仅有{there}条，日志中尚有未应用的条目：节点曾被强制终止。请启动并正常停止该节点后再次审计。"),
    );
}

fn invalid(size: u64, error: &LedgerError, findings: &mut Findings) {
    findings.add(
        Code::CheckpointInvalid,
        size.checked_sub(1),
        format!("The checkpoint kept for {size} records is not valid: {error}."),
        format!("保存在{size}条记录处的检查点无效。"),
    );
}
