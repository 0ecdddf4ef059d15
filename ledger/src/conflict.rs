use crate::{Checkpoint, LedgerError, SignedNote, Trust, Verified, verify};

/// Proof that two histories were shown: two notes for the same origin and size with different roots,
/// each signed by a key that is trusted. It convinces whoever holds the keys, without trust in who
/// found it.
///
/// A node that finds one keeps it and stops. Who signed both sides is named; a node whose key did is
/// stolen, broken, or was restored from an old copy.
#[derive(Clone, PartialEq, Debug)]
pub struct Conflict {
    /// The ledger's name.
    pub origin: String,
    /// The size that both notes are for.
    pub size: u64,
    /// The two notes, whole.
    pub notes: [SignedNote; 2],
    /// What each note says, and who signed it.
    pub verified: [Verified; 2],
    /// Names of the keys that signed both, the origin standing for the ledger key.
    pub signed_both: Vec<String>,
}

impl Conflict {
    /// Compares two notes. `None` if they do not contradict each other by themselves: same root, or
    /// different sizes (for which a consistency proof decides, [`crate::check_consistency`]). An
    /// error if either is not a checkpoint of this ledger, well signed by at least one trusted key.
    pub fn detect(a: &[u8], b: &[u8], trust: &Trust) -> Result<Option<Self>, LedgerError> {
        let verified = [verify(a, trust)?, verify(b, trust)?];
        let [left, right] = &verified;
        if left.size != right.size || left.root == right.root {
            return Ok(None);
        }
        let notes = [SignedNote::parse(a)?, SignedNote::parse(b)?];
        let origin = Checkpoint::parse(notes[0].body())?.origin;
        let ledger = (left.signed_by_ledger && right.signed_by_ledger).then(|| origin.clone());
        let both = left.cosigners.iter().filter(|one| right.cosigners.iter().any(|other| one.name == other.name));
        let signed_both = ledger.into_iter().chain(both.map(|cosigner| cosigner.name.clone())).collect();
        Ok(Some(Self { origin, size: left.size, notes, signed_both, verified }))
    }
}
