use crate::{Checkpoint, LedgerError, SignedNote, Trust, Verified, check_consistency, verify};
use base64::prelude::{BASE64_STANDARD, Engine as _};
use vermilion_crypto::Digest;

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

    /// As text, for a file: the two notes, each with an empty line behind it.
    #[must_use]
    pub fn to_text(&self) -> Vec<u8> {
        self.notes.iter().flat_map(|note| [note.to_bytes(), b"\n".to_vec()].concat()).collect()
    }
}

/// Proof that two histories were shown at two sizes: a note of the smaller size whose root is not
/// the one with which the tree of the larger begins. Both are signed by trusted keys; that the larger
/// tree begins otherwise, a consistency proof shows.
#[derive(Clone, PartialEq, Debug)]
pub struct Divergence {
    /// The note of the smaller size, then that of the larger.
    pub notes: [SignedNote; 2],
    /// Their sizes.
    pub sizes: [u64; 2],
    /// The root that the larger tree has at the smaller size: not the smaller note's.
    pub root: Digest,
    /// The consistency proof from `root` to the larger note's root.
    pub proof: Vec<Digest>,
}

impl Divergence {
    /// Checks that the tree of `large` begins with `root` at the size of `small`. `None` if that is
    /// the root of `small` too, so that nothing contradicts; an error if the proof does not hold, or
    /// either note is not a checkpoint of this ledger, well signed by at least one trusted key.
    pub fn detect(small: &[u8], large: &[u8], root: Digest, proof: &[Digest], trust: &Trust) -> Result<Option<Self>, LedgerError> {
        let [old, new] = [verify(small, trust)?, verify(large, trust)?];
        check_consistency(old.size, &root, new.size, &new.root, proof)?;
        if old.root == root {
            return Ok(None);
        }
        let notes = [SignedNote::parse(small)?, SignedNote::parse(large)?];
        Ok(Some(Self { notes, sizes: [old.size, new.size], root, proof: proof.to_vec() }))
    }

    /// As text, for a file: the two notes, each with an empty line behind it; then the line
    /// `consistency <small> <large>`, the root and the proof's hashes in base64, one a line.
    #[must_use]
    pub fn to_text(&self) -> Vec<u8> {
        let mut out = Vec::new();
        for note in &self.notes {
            out.extend_from_slice(&note.to_bytes());
            out.push(b'\n');
        }
        let mut lines = format!("consistency {} {}\n", self.sizes[0], self.sizes[1]);
        for hash in std::iter::once(&self.root).chain(&self.proof) {
            lines.push_str(&BASE64_STANDARD.encode(hash));
            lines.push('\n');
        }
        out.extend_from_slice(lines.as_bytes());
        out
    }
}
