//! Why: the arguments that say on which grounds something is done.

use crate::change::Grounds;
use crate::error::ClientError;
use clap::Args;
use std::path::PathBuf;
use vermilion_crypto::sha256;
use vermilion_proto::Evidence;

/// Reason, legal basis and evidence.
#[derive(Args, Debug)]
pub struct Why {
    /// The reason's code
    #[arg(long)]
    pub reason: String,
    /// The legal basis; may be given several times
    #[arg(long, required = true)]
    pub basis: Vec<String>,
    /// A document that it rests on, of which the digest is recorded; may be given several times. For court-decision and
    /// administrative-review, and for an erasure, there must be one
    #[arg(long, value_name = "FILE")]
    pub evidence: Vec<PathBuf>,
}

impl Why {
    /// The grounds, by whichever unit.
    pub fn grounds(&self) -> Result<Grounds, ClientError> {
        let evidence = documents(&self.evidence)?;
        Ok(Grounds { reason: self.reason.clone(), legal_basis: self.basis.clone(), evidence, ..Grounds::default() })
    }
}

/// Files as evidence: their digests.
pub fn documents(files: &[PathBuf]) -> Result<Vec<Evidence>, ClientError> {
    let document = |file: &PathBuf| {
        let bytes = std::fs::read(file).map_err(|e| ClientError::file(file, e))?;
        Ok(Evidence { kind: "document".into(), digest: sha256(&bytes).to_vec(), ..Evidence::default() })
    };
    files.iter().map(document).collect()
}
