/// What stops a node. None of these is a deterministic outcome of a command.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    /// RocksDB failed: a full disk, a checksum that does not hold, a lock held by another process.
    #[error("the database failed: {0}")]
    Database(String),
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
    #[error("{path}: {source}")]
    Io {
        /// The file's name within the data directory.
        path: String,
        /// The cause.
        source: std::io::Error,
    },
}

/// The advice that goes with damage on a node of a group.
pub const REBUILD: &str = "Keep this directory as evidence, then rebuild the node from its peers under a new id; do not let it vote";

impl StorageError {
    pub(crate) fn damaged(what: impl Into<String>) -> Self {
        Self::Damaged { what: what.into(), advice: REBUILD }
    }
}

impl From<rocksdb::Error> for StorageError {
    fn from(error: rocksdb::Error) -> Self {
        match error.kind() {
            rocksdb::ErrorKind::Corruption => Self::damaged(error.into_string()),
            _ => Self::Database(error.into_string()),
        }
    }
}
