//! What must be the same when a file is sent again and is no function of the file: the not-after of
//! its commands, the types' definitions by which its items were made, how many licences a command may
//! have, and which rows the door refused. One small JSON file for each file that was sent, named by ledger and file digest,
//! written and synced before anything is sent.
//!
//! It holds no personal data. If it is lost, a second sending makes other commands, and the ledger
//! answers that the licences exist already; that they are these rows', the records tell ([`super::again`]).

use crate::clock::DAY_MS;
use crate::error::ClientError;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use vermilion_crypto::Digest;
use vermilion_proto::{Message as _, TypeState};
use vermilion_registry::submission::MAX_ITEMS;

/// How long commands of a file may wait, from when it was first seen.
pub const LIFETIME_MS: u64 = 7 * DAY_MS;
/// A generation this close to its end is not begun with.
const MARGIN_MS: u64 = DAY_MS / 24;
const FORMAT: u32 = 1;

/// One span in which a file's commands are valid.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Generation {
    /// The not-after of its commands.
    pub not_after_ms: u64,
}

#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    format: u32,
    ledger: String,
    file: String,
    generations: Vec<Generation>,
    /// Encoded `TypeState` in hex, by code.
    types: BTreeMap<String, String>,
    /// `issue.items.max` as it was. Journals from before it was asked cut at the most that there can be.
    #[serde(default = "most_items")]
    items_max: usize,
    /// Reason numbers of rows that the door refused, by row.
    refused_at_door: BTreeMap<u64, u32>,
    /// What exactly the door said of some of them: names a field or rule, never a value.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    details: BTreeMap<u64, String>,
}

const fn most_items() -> usize {
    MAX_ITEMS
}

/// The journal of one file.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    stored: Stored,
    /// How many of the generations stood here already when it was opened.
    earlier: usize,
}

impl Journal {
    /// Opens the journal of a file, or begins it with these types and so many licences to a command. If the
    /// last generation has ended, another begins: a command of an ended one is either recorded or never will be.
    pub fn open(
        state_dir: &Path,
        ledger: &Digest,
        file: &Digest,
        now_ms: u64,
        types: &[TypeState],
        items_max: usize,
    ) -> Result<Self, ClientError> {
        let folder = state_dir.join("imports");
        std::fs::create_dir_all(&folder).map_err(|e| ClientError::file(&folder, e))?;
        let ledger_part = hex::encode(ledger.get(..8).unwrap_or_default());
        let path = folder.join(format!("{ledger_part}-{}.json", hex::encode(file)));
        let first = Generation { not_after_ms: now_ms.saturating_add(LIFETIME_MS) };
        let named = |s: &TypeState| s.r#type.as_ref().map(|t| (t.code.clone(), hex::encode(s.encode_to_vec())));
        let fresh = Stored {
            format: FORMAT,
            ledger: hex::encode(ledger),
            file: hex::encode(file),
            generations: vec![first],
            types: types.iter().filter_map(named).collect(),
            items_max,
            refused_at_door: BTreeMap::new(),
            details: BTreeMap::new(),
        };
        let (stored, begun) = begin_or_read(&path, &fresh)?;
        let mut journal = Self { path, earlier: if begun { 0 } else { stored.generations.len() }, stored };
        journal.check(&fresh)?;
        let last = journal.stored.generations.last().map_or(0, |g| g.not_after_ms);
        if last < now_ms.saturating_add(MARGIN_MS) {
            journal.stored.generations.push(first);
            journal.save()?;
        }
        Ok(journal)
    }

    fn check(&self, fresh: &Stored) -> Result<(), ClientError> {
        if self.stored.format != FORMAT
            || self.stored.ledger != fresh.ledger
            || self.stored.file != fresh.file
            || self.stored.generations.is_empty()
        {
            return Err(bad(&self.path, "it is another file's, or of another version"));
        }
        Ok(())
    }

    /// The generations, the first first: a chunk is sent in the first that is not ended for it.
    #[must_use]
    pub fn generations(&self) -> &[Generation] {
        &self.stored.generations
    }

    /// Whether a command of this generation may have been sent before the journal was opened: then a door's refusal does not say
    /// that it is recorded nowhere.
    #[must_use]
    pub fn sent_before(&self, generation: usize) -> bool {
        generation < self.earlier
    }

    /// The types by which the file's items are made.
    pub fn types(&self) -> Result<Vec<TypeState>, ClientError> {
        let read = |text: &String| hex::decode(text).ok().and_then(|bytes| TypeState::decode(bytes.as_slice()).ok());
        let types = self.stored.types.values().map(read).collect::<Option<_>>();
        types.ok_or_else(|| bad(&self.path, "a type in it does not read"))
    }

    /// How many licences a command of the file has at most: as it was when the file was first seen, so that it is cut the same
    /// when a policy changes on the way.
    #[must_use]
    pub fn items_max(&self) -> usize {
        self.stored.items_max.min(MAX_ITEMS)
    }

    /// The number of the reason for which the door refused a row when it was sent before, and what exactly it said.
    #[must_use]
    pub fn refused_at_door(&self, row: u64) -> Option<(u32, &str)> {
        let code = *self.stored.refused_at_door.get(&row)?;
        Some((code, self.stored.details.get(&row).map_or("", String::as_str)))
    }

    /// Keeps that the door refused rows, before their chunk is sent without them.
    pub fn note_refused(&mut self, rows: impl IntoIterator<Item = (u64, u32, String)>) -> Result<(), ClientError> {
        for (row, code, detail) in rows {
            self.stored.refused_at_door.insert(row, code);
            if !detail.is_empty() {
                self.stored.details.insert(row, detail);
            }
        }
        self.save()
    }

    /// Forgets the file: sent again, it makes another command. For one whose command a record refused for ever.
    pub fn forget(self) -> Result<(), ClientError> {
        match std::fs::remove_file(&self.path) {
            // Somebody else was told the same.
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(()),
            removed => removed.and_then(|()| sync_folder(&self.path)).map_err(|e| ClientError::file(&self.path, e)),
        }
    }

    fn save(&self) -> Result<(), ClientError> {
        let new = write_beside(&self.path, &self.stored)?;
        std::fs::rename(&new, &self.path).and_then(|()| sync_folder(&self.path)).map_err(|e| ClientError::file(&self.path, e))
    }
}

/// Begins a journal, unless there is one: of two clients that begin at once, one begins and both
/// use what it wrote. Says whether this one began it.
fn begin_or_read(path: &Path, fresh: &Stored) -> Result<(Stored, bool), ClientError> {
    if !path.exists() {
        let new = write_beside(path, fresh)?;
        let linked = std::fs::hard_link(&new, path).and_then(|()| sync_folder(path));
        let _ = std::fs::remove_file(&new);
        match linked {
            Ok(()) => return Ok((fresh.clone(), true)),
            Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(e) => return Err(ClientError::file(path, e)),
        }
    }
    let text = std::fs::read_to_string(path).map_err(|e| ClientError::file(path, e))?;
    serde_json::from_str(&text).map(|stored| (stored, false)).map_err(|e| bad(path, &e.to_string()))
}

/// Writes a journal under a name of its own and syncs it.
fn write_beside(path: &Path, stored: &Stored) -> Result<PathBuf, ClientError> {
    let new = path.with_extension(format!("{}.new", std::process::id()));
    let text = serde_json::to_string_pretty(stored).map_err(|e| bad(path, &e.to_string()))?;
    let write = || {
        let mut file = std::fs::File::create(&new)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()
    };
    write().map_err(|e| {
        let _ = std::fs::remove_file(&new);
        ClientError::file(&new, e)
    })?;
    Ok(new)
}

fn sync_folder(path: &Path) -> std::io::Result<()> {
    std::fs::File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all()
}

fn bad(path: &Path, why: &str) -> ClientError {
    ClientError::config(format!("state_dir: the journal {}", path.display()), why)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use vermilion_proto::LicenceType;

    fn types(version: u32) -> Vec<TypeState> {
        let of = LicenceType { code: "t".into(), version, ..Default::default() };
        vec![TypeState { r#type: Some(of), ..Default::default() }]
    }

    #[test]
    fn the_first_time_counts() {
        let folder = tempfile::tempdir().unwrap();
        let open = |now, version| Journal::open(folder.path(), &[1; 32], &[2; 32], now, &types(version), 100 * version as usize).unwrap();
        let mut first = open(1_000, 1);
        first.note_refused([(7, 45, "a field".to_owned()), (9, 46, String::new())]).unwrap();
        let again = open(5_000, 2);
        assert_eq!(again.generations(), first.generations());
        assert_eq!((again.types().unwrap(), again.items_max()), (types(1), 100));
        assert_eq!([7, 8, 9].map(|row| again.refused_at_door(row)), [Some((45, "a field")), None, Some((46, ""))]);
    }

    #[test]
    fn a_file_that_was_forgotten_is_new() {
        let folder = tempfile::tempdir().unwrap();
        let open = |now, version| Journal::open(folder.path(), &[1; 32], &[2; 32], now, &types(version), 1).unwrap();
        let first = open(1_000, 1).generations().to_vec();
        assert_eq!(open(1_001, 1).generations(), first);
        let other = open(1_001, 1);
        open(1_001, 1).forget().unwrap();
        other.forget().unwrap();
        let again = open(1_002, 2);
        assert_ne!(again.generations(), first);
        assert_eq!(again.types().unwrap(), types(2));
    }

    #[test]
    fn an_ended_generation_is_followed_by_another() {
        let folder = tempfile::tempdir().unwrap();
        let open = |now| Journal::open(folder.path(), &[1; 32], &[2; 32], now, &[], MAX_ITEMS).unwrap().generations().to_vec();
        assert_eq!(open(1_000).len(), 1);
        assert_eq!(open(LIFETIME_MS - 2 * MARGIN_MS).len(), 1);
        let two = open(LIFETIME_MS);
        assert_eq!((two.len(), two[1].not_after_ms), (2, 2 * LIFETIME_MS));
        assert_eq!(open(LIFETIME_MS + 1), two);
    }

    #[test]
    fn what_an_earlier_call_may_have_sent_is_known() {
        let folder = tempfile::tempdir().unwrap();
        let sent = |now, generation| Journal::open(folder.path(), &[1; 32], &[2; 32], now, &[], MAX_ITEMS).unwrap().sent_before(generation);
        assert!(!sent(1_000, 0));
        assert!(sent(1_001, 0));
        // The generation that a call begins is new, those before it are not.
        assert!(!sent(LIFETIME_MS, 1));
        assert!(sent(LIFETIME_MS + 1, 0) && sent(LIFETIME_MS + 1, 1));
    }

    #[test]
    fn files_and_ledgers_have_journals_of_their_own_and_damage_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let open = |ledger: u8, file: u8| Journal::open(folder.path(), &[ledger; 32], &[file; 32], 1, &[], MAX_ITEMS);
        let paths = [open(1, 1).unwrap().path, open(1, 2).unwrap().path, open(2, 1).unwrap().path];
        assert_eq!(std::fs::read_dir(folder.path().join("imports")).unwrap().count(), 3);
        std::fs::write(&paths[0], "{").unwrap();
        assert!(open(1, 1).unwrap_err().to_string().contains("journal"));
    }

    #[test]
    fn a_journal_from_before_the_policy_was_asked_is_cut_as_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let open = || Journal::open(folder.path(), &[1; 32], &[2; 32], 1, &[], 5).unwrap();
        let path = open().path;
        let mut old: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
        assert!(old.as_object_mut().unwrap().remove("items_max").is_some());
        std::fs::write(&path, old.to_string()).unwrap();
        assert_eq!(open().items_max(), MAX_ITEMS);
    }
}
