//! The folder for what does not fit in memory: no other audit's, and gone with the one that made it. What a kill
//! left of one goes when the next audit begins: a lock tells whether its audit still runs.

use std::fs::{DirBuilder, File};
use std::io::{Error, ErrorKind};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use vermilion_storage::ScratchError;

/// The file that is locked while the audit runs.
const LOCK: &str = "lock";
/// The folder of the rows.
const ROWS: &str = "rows";
/// How a folder's name begins in the system's temporary folder.
const NAMED: &str = "vermilion-audit-";

/// Why a folder cannot be had that another audit has, or is looking at.
const TAKEN: [ErrorKind; 3] = [ErrorKind::AlreadyExists, ErrorKind::WouldBlock, ErrorKind::NotFound];

/// A folder for one audit's rows.
pub struct Folder {
    path: PathBuf,
    _lock: File,
}

impl Folder {
    /// Makes one at a place, or in the system's temporary folder.
    pub fn make(at: Option<&Path>) -> Result<Self, ScratchError> {
        if let Some(path) = at {
            take_away(path);
            return Self::at(path).map_err(|error| failed(path, &error));
        }
        let temporary = std::env::temp_dir();
        let mut number = 0u32;
        loop {
            let path = temporary.join(format!("{NAMED}{}-{number}", std::process::id()));
            match Self::at(&path) {
                Ok(folder) => return Ok(folder),
                // Another's, or one that another took for left over while it was made.
                Err(error) if TAKEN.contains(&error.kind()) && temporary.is_dir() => number += 1,
                Err(error) => return Err(failed(&path, &error)),
            }
        }
    }

    fn at(path: &Path) -> Result<Self, Error> {
        // The state is nobody else's to read.
        DirBuilder::new().mode(0o700).create(path)?;
        let file = path.join(LOCK);
        let lock = File::create_new(&file)?;
        lock.try_lock()?;
        let (ours, there) = (lock.metadata()?, std::fs::metadata(&file)?);
        if (ours.dev(), ours.ino()) != (there.dev(), there.ino()) {
            return Err(ErrorKind::AlreadyExists.into());
        }
        Ok(Self { path: path.to_owned(), _lock: lock })
    }

    /// Where the rows belong.
    pub fn rows(&self) -> PathBuf {
        self.path.join(ROWS)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        remove(&self.path);
    }
}

/// Takes away what audits that were killed left at a place and in the system's temporary folder.
pub fn sweep(at: Option<&Path>) {
    at.into_iter().for_each(take_away);
    let entries = std::fs::read_dir(std::env::temp_dir()).into_iter().flatten().flatten();
    entries
        .filter(|entry| entry.file_name().to_str().is_some_and(|name| name.starts_with(NAMED)))
        .for_each(|entry| take_away(&entry.path()));
}

/// Takes a folder away, if it is one of ours whose audit runs no more.
fn take_away(path: &Path) {
    let ours = |of: &std::fs::Metadata| of.is_dir() && of.uid() == rustix::process::geteuid().as_raw();
    if !std::fs::symlink_metadata(path).is_ok_and(|of| ours(&of)) {
        return;
    }
    match File::open(path.join(LOCK)) {
        Ok(lock) if lock.try_lock().is_ok() => remove(path),
        // Cut short while it was made, and so empty.
        Err(error) if error.kind() == ErrorKind::NotFound => _ = std::fs::remove_dir(path),
        _ => {}
    }
}

/// Removes what is known to lie in it, and the folder if that was all. What stays is tried again by the next audit.
fn remove(path: &Path) {
    let _ = std::fs::remove_dir_all(path.join(ROWS));
    let _ = std::fs::remove_file(path.join(LOCK));
    let _ = std::fs::remove_dir(path);
}

fn failed(path: &Path, error: &Error) -> ScratchError {
    ScratchError { dir: path.display().to_string(), why: error.to_string() }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn it_goes_with_its_audit_and_what_is_left_of_others_goes_too() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("audit.state.scratch");
        let folder = Folder::make(Some(&path)).unwrap();
        std::fs::create_dir(folder.rows()).unwrap();
        std::fs::write(folder.rows().join("some"), "rows").unwrap();
        take_away(&path);
        assert!(folder.rows().join("some").exists(), "its audit runs");
        assert!(Folder::make(Some(&path)).is_err());
        drop(folder);
        assert!(!path.exists());

        // A kill leaves everything but the lock.
        for files in [&[][..], &["lock"], &["lock", "rows/some"]] {
            std::fs::create_dir(&path).unwrap();
            std::fs::create_dir(path.join("rows")).unwrap();
            files.iter().for_each(|file| std::fs::write(path.join(file), "").unwrap());
            if files.is_empty() {
                std::fs::remove_dir(path.join("rows")).unwrap();
            }
            sweep(Some(&path));
            assert!(!path.exists(), "{files:?}");
        }
        // What somebody else keeps there stays.
        std::fs::create_dir(&path).unwrap();
        std::fs::write(path.join("letter"), "").unwrap();
        assert!(Folder::make(Some(&path)).err().unwrap().to_string().contains("audit.state.scratch"));
        assert!(path.join("letter").exists());
    }

    #[test]
    fn each_audit_has_one_of_its_own() {
        let (one, other) = (Folder::make(None).unwrap(), Folder::make(None).unwrap());
        assert_ne!(one.path, other.path);
        let (path, left) = (one.path.clone(), other.path.clone());
        drop(one);
        assert!(!path.exists() && left.exists());
    }
}
