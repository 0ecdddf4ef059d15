//! What an audit finds: each finding with a stable code, a place, and one sentence in English and
//! in Chinese.

use std::collections::BTreeMap;

/// Findings of one code that are listed for one source; further ones are counted.
pub const LISTED: u64 = 20;

/// How bad a finding is. Neither leaves an audit clean.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Severity {
    /// Nothing is shown to be false, but something that should be there is not.
    Warning,
    /// The ledger, its evidence or its directory is not what it should be.
    Error,
}

impl Severity {
    /// The stable name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

macro_rules! codes {
    ($($(#[doc = $doc:literal])+ $variant:ident = $name:literal, $severity:ident;)+) => {
        /// What kinds of finding there are. The names are stable: scripts may rely on them.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash)]
        pub enum Code { $($(#[doc = $doc])+ $variant,)+ }

        impl Code {
            /// Every code.
            pub const ALL: &'static [Code] = &[$(Code::$variant),+];

            /// The stable name.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)+ }
            }

            /// The code of a stable name.
            #[must_use]
            pub fn from_name(name: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|code| code.name() == name)
            }

            /// How bad it is.
            #[must_use]
            pub fn severity(self) -> Severity {
                match self { $(Self::$variant => Severity::$severity,)+ }
            }
        }
    };
}

codes! {
    /// A record's bytes are not a canonical record of a version that is read.
    RecordUnreadable = "record-unreadable", Error;
    /// A place in the sequence is empty.
    RecordMissing = "record-missing", Error;
    /// A node that took a state from another has not fetched all records before it yet.
    HistoryIncomplete = "history-incomplete", Error;
    /// A record's number is not that of its place.
    RecordMisplaced = "record-misplaced", Error;
    /// The records end before the number that the source itself states.
    RecordsCut = "records-cut", Error;
    /// There are records beyond the number that the source itself states.
    RecordsBeyondHead = "records-beyond-head", Error;
    /// A record's time lies before that of the record before.
    TimeBack = "time-back", Error;
    /// A chain hash does not follow from the one before and the record.
    ChainBroken = "chain-broken", Error;
    /// The first record is not a genesis, or not the one that is trusted.
    GenesisDiffers = "genesis-differs", Error;
    /// An envelope does not open: not canonical, of another type or suite, malformed.
    EnvelopeBroken = "envelope-broken", Error;
    /// A named signer has not signed, or nobody has.
    SignerMissing = "signer-missing", Error;
    /// A signature does not hold.
    SignatureBad = "signature-bad", Error;
    /// The items beside a record are not those whose root is signed.
    ItemsDiffer = "items-differ", Error;
    /// The digest of what travelled beside is not what follows from the signed payload.
    BesideDiffers = "beside-differs", Error;
    /// Replaying a command gives another outcome than the record states.
    OutcomeWrong = "outcome-wrong", Error;
    /// Replaying a command gives other effects than those whose digest the record states.
    EffectsWrong = "effects-wrong", Error;
    /// A commitment record states another status root or licence count than the replay gives.
    CommitmentWrong = "commitment-wrong", Error;
    /// Replaying a command gives a record that differs elsewhere (epoch, rules, number).
    ReplayDiffers = "replay-differs", Error;
    /// The rules leave no record of this command: a repetition, past its not-after, of another ledger.
    RecordNotDue = "record-not-due", Error;
    /// The replay could not go on from here.
    ReplayStopped = "replay-stopped", Error;
    /// A full tile of the tree is not stored.
    TileMissing = "tile-missing", Error;
    /// A stored tile is not the one recomputed.
    TileDiffers = "tile-differs", Error;
    /// Tiles or entry bundles are stored that the tree of the records does not have.
    TileExtra = "tile-extra", Error;
    /// A stored entry bundle does not hold the leaves recomputed.
    EntriesDiffer = "entries-differ", Error;
    /// A stored consistency proof does not lead from one recomputed root to the other.
    ConsistencyDiffers = "consistency-differs", Error;
    /// A stored checkpoint is not a note that trusted keys signed, or a signature does not hold.
    CheckpointInvalid = "checkpoint-invalid", Error;
    /// A ledger key signed a checkpoint at whose size another one serves, and that one did not.
    CheckpointOutOfTurn = "checkpoint-out-of-turn", Error;
    /// The ledger keys that are trusted are not those that the records endorse.
    LedgerKeysDiffer = "ledger-keys-differ", Error;
    /// A checkpoint is kept under another size than it is for.
    CheckpointMisplaced = "checkpoint-misplaced", Error;
    /// A signed root is not that of the recomputed tree.
    CheckpointRoot = "checkpoint-root", Error;
    /// A signed checkpoint covers more records than there are.
    CheckpointBeyond = "checkpoint-beyond", Error;
    /// A signed checkpoint covers more records than a killed node had applied; its log holds more.
    LogAhead = "log-ahead", Warning;
    /// A checkpoint was made where there is no commitment record.
    CheckpointStray = "checkpoint-stray", Warning;
    /// Behind the newest checkpoint that a directory keeps stand a few commitment records, as a kill may leave them.
    CheckpointMissing = "checkpoint-missing", Warning;
    /// Behind the newest checkpoint that a directory keeps stand more commitment records than a kill usually leaves.
    CheckpointsCut = "checkpoints-cut", Warning;
    /// There are commitment records but no checkpoint that carries the quorum.
    QuorumMissing = "quorum-missing", Warning;
    /// Two signed checkpoints of one size have different roots.
    CheckpointsConflict = "checkpoints-conflict", Error;
    /// Two sources hold different records at one place.
    SourcesDiffer = "sources-differ", Error;
    /// The directory's head is not that of the records, or of the last block in its log.
    HeadDiffers = "head-differs", Error;
    /// State entries that the replay gives are not in the directory.
    StateMissing = "state-missing", Error;
    /// The directory has state entries that the replay does not give.
    StateExtra = "state-extra", Error;
    /// State entries have another value than the replay gives.
    StateDiffers = "state-differs", Error;
    /// The directory's start checks fail.
    StorageCheck = "storage-check", Error;
    /// The database is damaged: a block's checksum does not hold, or a row does not decode.
    StorageDamaged = "storage-damaged", Error;
    /// The node kept evidence that two histories were signed.
    ConflictEvidence = "conflict-evidence", Error;
    /// A ciphertext or wrapped key is not the one whose digest is signed.
    ContentDiffers = "content-differs", Error;
    /// Content is gone though nobody erased it.
    ContentMissing = "content-missing", Error;
    /// Content or its key is still there though it was erased.
    ContentNotErased = "content-not-erased", Error;
    /// Content is kept of an item or command that was refused.
    ContentExtra = "content-extra", Warning;
}

/// One thing that is not as it should be. Never holds a value of the state, a key or content.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Finding {
    /// What kind.
    pub code: Code,
    /// In which source.
    pub source: String,
    /// At which record, if at one.
    pub seq: Option<u64>,
    /// In English.
    pub en: String,
    /// In Chinese.
    pub zh: String,
}

/// Findings as they come in: the first [`LISTED`] of each code and source, and how many there were.
#[derive(Clone, Debug, Default)]
pub struct Findings {
    source: String,
    list: Vec<Finding>,
    counts: BTreeMap<(String, Code), Count>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Count {
    all: u64,
    listed: u64,
}

impl Findings {
    /// For one source.
    #[must_use]
    pub fn of(source: &str) -> Self {
        Self { source: source.to_owned(), ..Self::default() }
    }

    /// Notes a finding, at a record or elsewhere.
    pub fn add(&mut self, code: Code, seq: Option<u64>, en: impl Into<String>, zh: impl Into<String>) {
        self.push(Finding { code, source: self.source.clone(), seq, en: en.into(), zh: zh.into() });
    }

    fn push(&mut self, finding: Finding) {
        self.counts.entry((finding.source.clone(), finding.code)).or_default().all += 1;
        self.list_one(finding);
    }

    fn list_one(&mut self, finding: Finding) {
        let count = self.counts.entry((finding.source.clone(), finding.code)).or_default();
        if count.listed < LISTED {
            count.listed += 1;
            self.list.push(finding);
        }
    }

    /// Takes over those of another.
    pub fn extend(&mut self, other: Findings) {
        for (key, count) in other.counts {
            self.counts.entry(key).or_default().all += count.all;
        }
        other.list.into_iter().for_each(|finding| self.list_one(finding));
    }

    /// Those listed so far, as they came.
    #[must_use]
    pub fn listed(&self) -> &[Finding] {
        &self.list
    }

    /// How many there are of each source and code.
    pub fn all_counts(&self) -> impl Iterator<Item = (&str, Code, u64)> {
        self.counts.iter().map(|((source, code), count)| (source.as_str(), *code, count.all))
    }

    /// Puts together what was taken apart by the two above.
    #[must_use]
    pub fn from_parts(list: Vec<Finding>, counts: Vec<(String, Code, u64)>) -> Self {
        let mut out = Self::default();
        for (source, code, all) in counts {
            out.counts.entry((source, code)).or_default().all += all;
        }
        list.into_iter().for_each(|finding| out.list_one(finding));
        out
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.counts.is_empty()
    }

    /// Those listed: the gravest first, then in order of records.
    #[must_use]
    pub fn sorted(mut self) -> Vec<Finding> {
        self.list.sort_by(|a, b| {
            let key = |f: &Finding| (std::cmp::Reverse(f.code.severity()), f.seq.unwrap_or(u64::MAX), f.code);
            key(a).cmp(&key(b)).then_with(|| a.source.cmp(&b.source))
        });
        self.list
    }

    /// How many there are of each code, over all sources.
    #[must_use]
    pub fn counts(&self) -> BTreeMap<Code, u64> {
        let mut out = BTreeMap::new();
        for ((_, code), count) in &self.counts {
            *out.entry(*code).or_default() += count.all;
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_distinct_and_kebab() {
        let names: std::collections::BTreeSet<_> = Code::ALL.iter().map(|c| c.name()).collect();
        assert_eq!(names.len(), Code::ALL.len());
        assert!(Code::ALL.iter().all(|code| Code::from_name(code.name()) == Some(*code)));
        assert!(names.iter().all(|n| n.bytes().all(|b| b.is_ascii_lowercase() || b == b'-')));
    }

    #[test]
    fn many_of_a_kind_are_counted_not_listed() {
        let mut some = Findings::of("a");
        for seq in 0..50 {
            some.add(Code::SignatureBad, Some(seq), "", "");
        }
        let mut all = Findings::of("b");
        all.add(Code::SignatureBad, Some(1), "", "");
        all.extend(some);
        assert_eq!(all.counts()[&Code::SignatureBad], 51);
        let counts = all.all_counts().map(|(source, code, count)| (source.to_owned(), code, count)).collect();
        let again = Findings::from_parts(all.listed().to_vec(), counts);
        assert_eq!((again.listed(), again.counts()), (all.listed(), all.counts()));
        assert_eq!(all.sorted().len(), 21);
    }
}
