/// What stops a node. None of these is a deterministic outcome of a command.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    /// RocksDB failed, for none of the reasons below.
    #[error("the database failed: {0}")]
    Database(String),
    /// The processor is not one that the program was compiled for.
    #[error("the database cannot be opened here: {0}")]
    Processor(&'static str),
    /// The disk is full, or the quota used up. Nothing is damaged: what was promised is there.
    #[error("there is no space left on the disk of the data directory: free some, and start again what has stopped; nothing is lost ({0})")]
    Full(String),
    /// Another process has the database's lock.
    #[error("a node is running on {0}: stop it first")]
    InUse(String),
    /// A copy for auditors, on which no node may run: it does not know what it promised since.
    #[error("{0} is a backup, and no node may run on it: a node whose disk was lost comes back under a new id (`vermiliond join`)")]
    Backup(String),
    /// What is stored does not fit together. Names what, and what to do.
    #[error("the data directory is damaged: {what}. {advice}")]
    Damaged {
        /// What does not fit.
        what: String,
        /// What to do next.
        advice: &'static str,
    },
    /// The directory was written by a version that this one does not read.
    #[error("the data directory has format {found}; this version reads format {read}")]
    Format {
        /// The format found.
        found: u32,
        /// The format that this version reads.
        read: u32,
    },
    /// A file beside the database could not be read or written.
    #[error("{path}: {source}{}", next_step(.source))]
    Io {
        /// The file's name within the data directory.
        path: String,
        /// The cause.
        source: std::io::Error,
    },
}

/// The advice that goes with damage on a node of a group.
pub const REBUILD: &str = "Keep this directory as evidence, then rebuild the node from its peers under a new id; do not let it vote";

/// What the system says of a disk that does not read or write (POSIX).
const EIO: i32 = 5;

/// What to do about a file that could not be written, where that can be said.
fn next_step(cause: &std::io::Error) -> &'static str {
    use std::io::ErrorKind::{QuotaExceeded, StorageFull};
    if matches!(cause.kind(), StorageFull | QuotaExceeded) {
        ": free space on that disk, and start again what has stopped; nothing is lost"
    } else if cause.raw_os_error() == Some(EIO) {
        ": the disk of the data directory fails; look at it, then start again: nothing was changed"
    } else {
        ""
    }
}

/// How RocksDB words that there is no space: the system's own words, for it has no kind of error for them.
const NO_SPACE: [&str; 2] = ["No space left on device", "Disk quota exceeded"];

/// Whether RocksDB says that there is no space.
pub(crate) fn is_full(told: &str) -> bool {
    NO_SPACE.iter().any(|words| told.contains(words))
}

impl StorageError {
    pub(crate) fn damaged(what: impl Into<String>) -> Self {
        Self::Damaged { what: what.into(), advice: REBUILD }
    }
}

impl From<rocksdb::Error> for StorageError {
    fn from(error: rocksdb::Error) -> Self {
        of_database(error.kind(), error.into_string())
    }
}

fn of_database(kind: rocksdb::ErrorKind, told: String) -> StorageError {
    match kind {
        rocksdb::ErrorKind::Corruption => StorageError::damaged(told),
        _ if is_full(&told) => StorageError::Full(told),
        _ => StorageError::Database(told),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::ErrorKind;

    #[test]
    fn a_full_disk_is_told_with_what_to_do() {
        let full = "IO error: No space left on device: While appending to file: /srv/node/db/000012.log: No space left on device";
        let told = of_database(rocksdb::ErrorKind::IOError, full.into()).to_string();
        assert!(told.contains("free some, and start again") && told.contains("/srv/node/db"), "{told}");
        let other = "IO error: Permission denied: While open a file for appending: /srv/node/db/000012.log";
        assert!(matches!(of_database(rocksdb::ErrorKind::IOError, other.into()), StorageError::Database(_)));
        assert!(matches!(of_database(rocksdb::ErrorKind::Corruption, full.into()), StorageError::Damaged { .. }));
        let beside = |kind: ErrorKind| StorageError::Io { path: "synced".into(), source: kind.into() }.to_string();
        assert!(beside(ErrorKind::StorageFull).contains("free space on that disk"));
        assert!(!beside(ErrorKind::PermissionDenied).contains("free"));
        let failing = StorageError::Io { path: "synced".into(), source: std::io::Error::from_raw_os_error(EIO) };
        assert!(failing.to_string().contains("the disk of the data directory fails"), "{failing}");
    }
}
