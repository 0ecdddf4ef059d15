//! That each tree begins with the ones before it: shown before a checkpoint is cosigned, and to whoever asks.

use super::WitnessOffice;
use crate::apply::CommitmentPoint;
use vermilion_ledger::{Checkpoint, Digest, SignedNote, check_consistency};

impl WitnessOffice {
    /// Proves that the tree at a point begins with the one that was cosigned before, and keeps the proof.
    pub(super) fn prove_continuity(&self, point: &CommitmentPoint) -> Result<(), String> {
        let before = self.store.checkpoint_before(point.size).map_err(|e| e.to_string())?;
        let Some((size, note)) = before else { return Ok(()) };
        let root = root_of(&note)?;
        let proof = self.edge.tree().consistency(&self.store, size, point.size).map_err(|e| e.to_string())?;
        check_consistency(size, &root, point.size, &point.root, &proof)
            .map_err(|_| format!("the tree does not begin with the one of {size} records that was cosigned before"))?;
        self.store.put_consistency(point.size, size, &proof).map_err(|e| e.to_string())
    }

    /// That the tree of `to` records begins with that of `from`: the kept proof, or one made now.
    /// Both sizes are those of checkpoints that may be shown; `None` otherwise.
    pub fn consistency(&self, from: u64, to: u64) -> Result<Option<Continuity>, String> {
        let tree = self.edge.tree();
        if from > to || to > self.published_size().unwrap_or(0).min(tree.size()) {
            return Ok(None);
        }
        let (Some(old), Some(new)) = (self.shown(from)?, self.shown(to)?) else { return Ok(None) };
        let proof = match self.store.consistency(to).map_err(|e| e.to_string())? {
            Some((previous, proof)) if previous == from => proof,
            _ => tree.consistency(&self.store, from, to).map_err(|e| e.to_string())?,
        };
        Ok(Some(Continuity { notes: [old, new], proof }))
    }
}

/// Two checkpoints, the older first, and the proof that the newer's tree begins with the older's.
pub struct Continuity {
    /// The notes.
    pub notes: [Vec<u8>; 2],
    /// The consistency proof of RFC 6962.
    pub proof: Vec<Digest>,
}

pub(super) fn root_of(note: &[u8]) -> Result<Digest, String> {
    let note = SignedNote::parse(note).map_err(|e| e.to_string())?;
    Ok(Checkpoint::parse(note.body()).map_err(|e| e.to_string())?.root)
}
