//! The hashes of the records that a node lacks, known before the records are: a record's time and its place are signed by
//! nobody, so whoever sends records could send true commands at other times or in another order. The chain leads over every
//! record's hash; a list of hashes that leads from the chain here to the end that is due is the ledger's, whoever sent it.

use crate::apply::ApplyError;
use std::fs::File;
use std::io::Write as _;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::time::{Duration, Instant};
use tonic::{Code, Status};
use vermilion_ledger::{Digest, Leaf, TILE_WIDTH, bundle_entries, chain_next, record_hash};
use vermilion_proto::LedgerHead;
use vermilion_storage::{StorageError, Store};

/// Hashes of one answer.
pub(crate) const MAX_HASHES: u64 = 32 << 10;
/// The most records that one list has: 8 GiB of hashes.
const MAX_RECORDS: u64 = 1 << 28;
/// How long a list may take, and how many hashes of it must come in a second beyond that.
const LIST: Duration = Duration::from_secs(60);
const RATE: u64 = 10_000;
/// The list while it is written; it loses its name at once, so that a kill leaves nothing.
const FILE: &str = "hashes.tmp";
const WIDTH: u64 = TILE_WIDTH as u64;

/// The hashes of the records from number `from` on, before `to`: at most [`MAX_HASHES`], and fewer where the records
/// themselves must be read.
pub(crate) fn read(store: &Store, from: u64, to: u64) -> Result<Vec<u8>, ApplyError> {
    let to = to.min(from.saturating_add(MAX_HASHES));
    let mut out = Vec::new();
    let mut seq = from;
    while seq < to {
        let index = seq / WIDTH;
        let end = to.min((index + 1).saturating_mul(WIDTH));
        let Some(bundle) = store.entries(index)? else {
            // The last tile is not full, and an older version of the program kept no bundles.
            store.records(seq, &mut |at, record| {
                let due = at == seq && seq < end;
                if due {
                    out.extend_from_slice(&record_hash(&record.record));
                    seq += 1;
                }
                due
            })?;
            break;
        };
        let damaged = || ApplyError::Broken(format!("entry bundle {index} is stored, but is none"));
        let leaves = bundle_entries(&bundle).filter(|leaves| leaves.len() == TILE_WIDTH).ok_or_else(damaged)?;
        for leaf in &leaves[(seq % WIDTH) as usize..(end - index * WIDTH) as usize] {
            out.extend_from_slice(&Leaf::decode(leaf).map_err(|_| damaged())?.record_hash);
        }
        seq = end;
    }
    Ok(out)
}

/// A list of hashes that leads from the chain here to the end that is due, in a file: 32 bytes a record.
pub(crate) struct Hashes {
    file: File,
    from: u64,
}

fn refuse(why: impl Into<String>) -> ApplyError {
    ApplyError::Peer(why.into())
}

fn failed(source: std::io::Error) -> ApplyError {
    StorageError::Io { path: FILE.into(), source }.into()
}

fn chain_of(head: &LedgerHead) -> Result<Digest, ApplyError> {
    head.chain.as_slice().try_into().map_err(|_| ApplyError::Broken("a head without a chain".into()))
}

impl Hashes {
    /// Gathers a list, all of it from one peer: `more` asks it for the hashes from one number on, before another.
    pub(crate) fn gather(
        dir: &Path,
        head: &LedgerHead,
        end: &LedgerHead,
        more: impl Fn(u64, u64) -> Result<Vec<Digest>, Status>,
    ) -> Result<Self, ApplyError> {
        let missing = end.size.saturating_sub(head.size);
        if missing > MAX_RECORDS {
            return Err(ApplyError::Broken(format!("{missing} records are missing, which are too many to fetch")));
        }
        let until = Instant::now() + LIST + Duration::from_secs(missing / RATE);
        let path = dir.join(FILE);
        let mut file = File::options().read(true).write(true).create(true).truncate(true).open(&path).map_err(failed)?;
        std::fs::remove_file(&path).map_err(failed)?;
        let (mut chain, mut next) = (chain_of(head)?, head.size);
        while next < end.size {
            let hashes = more(next, end.size).map_err(|status| match status.code() {
                Code::ResourceExhausted => ApplyError::Busy,
                _ => ApplyError::Unreached(status.message().to_owned()),
            })?;
            if hashes.is_empty() {
                return Err(ApplyError::Unreached("the peer does not have all of these records".into()));
            }
            if hashes.len() as u64 > end.size - next {
                return Err(refuse("a list of more records than were asked for"));
            }
            if Instant::now() > until {
                return Err(ApplyError::Unreached("a list of records comes too slowly".into()));
            }
            chain = hashes.iter().fold(chain, |chain, hash| chain_next(&chain, hash));
            file.write_all(hashes.as_flattened()).map_err(failed)?;
            next += hashes.len() as u64;
        }
        if chain[..] != end.chain {
            return Err(refuse("a list of records that does not lead to the ledger's end"));
        }
        Ok(Self { file, from: head.size })
    }

    /// Whether these are the leaves of the records that follow the head.
    pub(crate) fn check<'a>(&self, head: &LedgerHead, leaves: impl Iterator<Item = &'a Leaf>) -> Result<(), ApplyError> {
        let mut chain = chain_of(head)?;
        for (seq, leaf) in (head.size..).zip(leaves) {
            let mut due: Digest = [0; 32];
            self.file.read_exact_at(&mut due, seq.saturating_sub(self.from) * 32).map_err(failed)?;
            chain = chain_next(&chain, &due);
            if (leaf.seq, leaf.record_hash, leaf.chain_hash) != (seq, due, chain) {
                return Err(refuse(format!("another record {seq} than the ledger has")));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests {
    use super::*;

    /// A ledger of a thousand records, of which ten are here: the two heads, and the leaves of the others.
    fn ledger() -> (LedgerHead, LedgerHead, Vec<Leaf>) {
        let mut chain: Digest = [7; 32];
        let head = LedgerHead { size: 10, chain: chain.to_vec(), ..LedgerHead::default() };
        let leaf = |seq: u64| {
            let hash = record_hash(&seq.to_be_bytes());
            chain = chain_next(&chain, &hash);
            Leaf { seq, time_ms: 0, record_hash: hash, chain_hash: chain, commitment: None }
        };
        let leaves: Vec<_> = (10..1000).map(leaf).collect();
        let end = LedgerHead { size: 1000, chain: leaves[989].chain_hash.to_vec(), ..LedgerHead::default() };
        (head, end, leaves)
    }

    /// What a peer with these records answers, three hundred at a time.
    fn of(leaves: &[Leaf]) -> impl Fn(u64, u64) -> Result<Vec<Digest>, Status> {
        move |from, to| {
            let to = to.min(from + 300) as usize - 10;
            Ok(leaves[from as usize - 10..to.min(leaves.len())].iter().map(|leaf| leaf.record_hash).collect())
        }
    }

    #[test]
    fn only_the_records_that_lead_to_the_end_are_taken() {
        let folder = tempfile::tempdir().unwrap();
        let (head, end, leaves) = ledger();
        let hashes = Hashes::gather(folder.path(), &head, &end, of(&leaves)).unwrap();
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
        hashes.check(&head, leaves[..512].iter()).unwrap();
        let later = LedgerHead { size: 522, chain: leaves[511].chain_hash.to_vec(), ..LedgerHead::default() };
        hashes.check(&later, leaves[512..].iter()).unwrap();
        let refused = |leaves: &[Leaf]| matches!(hashes.check(&head, leaves.iter()), Err(ApplyError::Peer(_)));
        assert!(refused(&[leaves[1].clone()]) && refused(&[leaves[0].clone(), leaves[2].clone()]));
        // With the chain hash that its own time gives.
        let record = record_hash(b"the same command at another time");
        assert!(refused(&[Leaf { record_hash: record, chain_hash: chain_next(&[7; 32], &record), ..leaves[0].clone() }]));
    }

    #[test]
    fn a_list_that_leads_elsewhere_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let (head, end, leaves) = ledger();
        let gather = |leaves: &[Leaf]| Hashes::gather(folder.path(), &head, &end, of(leaves)).err();
        let mut other = leaves.clone();
        other.swap(500, 501);
        assert!(matches!(gather(&other), Some(ApplyError::Peer(_))));
        assert!(matches!(gather(&leaves[..500]), Some(ApplyError::Unreached(_))));
        let busy = Hashes::gather(folder.path(), &head, &end, |_, _| Err(Status::resource_exhausted("busy")));
        assert!(matches!(busy, Err(ApplyError::Busy)));
    }
}
