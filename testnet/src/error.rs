//! What can go wrong with a test ledger.

use std::path::PathBuf;

/// What can go wrong with a test ledger.
#[derive(Debug, thiserror::Error)]
pub enum TestnetError {
    /// A file cannot be read or written.
    #[error("{0}: {1}")]
    File(PathBuf, std::io::Error),
    /// What was asked makes no sense.
    #[error("{0}")]
    Usage(String),
    /// The ledger cannot be set up or reached.
    #[error("{0}")]
    Setup(String),
    /// The demonstration did not go as it should.
    #[error("this is not as it should be: {0}")]
    Deviation(String),
    /// The client failed.
    #[error(transparent)]
    Client(#[from] vermilion_client::error::ClientError),
    /// The embedded sample data does not read.
    #[error(transparent)]
    Sample(#[from] crate::sample::SampleError),
}

impl TestnetError {
    /// The exit code: as of every command of ours, 2 for what makes no sense.
    #[must_use]
    pub fn exit(&self) -> u8 {
        if matches!(self, Self::Usage(_)) { 2 } else { 1 }
    }
}
