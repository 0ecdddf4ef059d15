//! Proofs as text: C2SP tlog-proof, version 1.

use crate::{LedgerError, Trust, Verified, check_inclusion, digests, leaf_hash, verify};
use base64::prelude::{BASE64_STANDARD, Engine as _};
use vermilion_crypto::Digest;

/// The first line.
const HEADER: &str = "c2sp.org/tlog-proof@v1";
/// The most hashes of an inclusion proof.
const MAX_HASHES: usize = 64;
/// The most bytes of a proof: those of a receipt in base64, and the lines around it.
pub const MAX_TLOG_PROOF_LEN: usize = 6 << 20;

/// A proof that a leaf stands in the tree of a checkpoint.
///
/// Text, each line ending in a line feed: the name of the format; `extra ` and base64, if there is
/// extra data; `index ` and the leaf's index in decimal; the inclusion proof, a hash a line in
/// base64, from the leaf's sibling to the root's child; an empty line; the checkpoint as it is. The
/// extra data is authenticated by nothing here: whoever uses it checks it himself.
///
/// One proof has one text, and each text that [`TlogProof::parse`] takes comes back from
/// [`TlogProof::encode`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TlogProof {
    /// Opaque data; empty if there is none.
    pub extra: Vec<u8>,
    /// The leaf's index, from 0.
    pub index: u64,
    /// The inclusion proof.
    pub hashes: Vec<Digest>,
    /// The checkpoint: a signed note.
    pub checkpoint: Vec<u8>,
}

impl TlogProof {
    /// The text.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = format!("{HEADER}\n");
        if !self.extra.is_empty() {
            out += &format!("extra {}\n", BASE64_STANDARD.encode(&self.extra));
        }
        out += &format!("index {}\n", self.index);
        for hash in &self.hashes {
            out += &format!("{}\n", BASE64_STANDARD.encode(hash));
        }
        out.push('\n');
        [out.as_bytes(), &self.checkpoint].concat()
    }

    /// Whether bytes begin as this format does.
    #[must_use]
    pub fn begins(bytes: &[u8]) -> bool {
        bytes.starts_with(HEADER.as_bytes())
    }

    /// Reads a text. That it reads says nothing of its truth.
    pub fn parse(bytes: &[u8]) -> Result<Self, LedgerError> {
        if bytes.len() > MAX_TLOG_PROOF_LEN {
            return Err(LedgerError::BadTlogProof("it is too long"));
        }
        let text = std::str::from_utf8(bytes).map_err(|_| LedgerError::BadTlogProof("it is no text"))?;
        let (head, checkpoint) = text.split_once("\n\n").ok_or(LedgerError::BadTlogProof("no empty line stands before a checkpoint"))?;
        let mut lines = head.split('\n');
        if lines.next() != Some(HEADER) {
            return Err(LedgerError::BadTlogProof("the first line is another"));
        }
        let mut next = lines.next();
        let mut extra = Vec::new();
        if let Some(encoded) = next.and_then(|line| line.strip_prefix("extra ")) {
            extra = BASE64_STANDARD.decode(encoded).map_err(|_| LedgerError::BadTlogProof("the extra data is not base64"))?;
            next = lines.next();
        }
        let index = next.and_then(|line| line.strip_prefix("index ")).and_then(|n| n.parse().ok());
        let index = index.ok_or(LedgerError::BadTlogProof("there is no index"))?;
        let hashes: Vec<Vec<u8>> = lines
            .take(MAX_HASHES + 1)
            .map(|line| BASE64_STANDARD.decode(line).map_err(|_| LedgerError::BadTlogProof("a hash is not base64")))
            .collect::<Result<_, _>>()?;
        let hashes = digests(&hashes).map_err(|_| LedgerError::BadTlogProof("a hash is not 32 bytes long"))?;
        let proof = Self { extra, index, hashes, checkpoint: checkpoint.as_bytes().to_vec() };
        // What else could be written differently: an index with zeros in front, an extra line without data.
        if proof.encode() == bytes { Ok(proof) } else { Err(LedgerError::BadTlogProof("it is not written as the format has it")) }
    }

    /// Checks the proof for a leaf's bytes: the checkpoint's signatures with the quorum, and the
    /// leaf's place.
    pub fn check(&self, leaf: &[u8], trust: &Trust) -> Result<Verified, LedgerError> {
        let checkpoint = verify(&self.checkpoint, trust)?;
        checkpoint.check_quorum(trust)?;
        check_inclusion(&checkpoint.root, checkpoint.size, self.index, &leaf_hash(leaf), &self.hashes)?;
        Ok(checkpoint)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::test_trust::{note_over, trust};
    use proptest::prelude::*;

    fn proof(extra: &[u8]) -> TlogProof {
        let leaves: Vec<Digest> = [b"a".as_slice(), b"b", b"c"].map(leaf_hash).to_vec();
        let join = crate::merkle::sha256_join;
        let root = crate::merkle::naive::root(join, &leaves);
        TlogProof { extra: extra.to_vec(), index: 1, hashes: crate::merkle::naive::path(join, 1, &leaves), checkpoint: note_over(3, root) }
    }

    #[test]
    fn the_text_is_the_specifications() {
        let with =
            TlogProof { extra: b"extra information".to_vec(), index: 10, hashes: vec![[0; 32]], checkpoint: b"checkpoint data\n".to_vec() };
        let zeros = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
        let text = format!("c2sp.org/tlog-proof@v1\nextra ZXh0cmEgaW5mb3JtYXRpb24=\nindex 10\n{zeros}\n\ncheckpoint data\n");
        assert_eq!(String::from_utf8(with.encode()).unwrap(), text);
        let without = TlogProof { extra: Vec::new(), index: 0, hashes: Vec::new(), checkpoint: b"checkpoint\n".to_vec() };
        assert_eq!(without.encode(), b"c2sp.org/tlog-proof@v1\nindex 0\n\ncheckpoint\n");
        for proof in [with, without] {
            assert_eq!(TlogProof::parse(&proof.encode()), Ok(proof));
        }
        for bad in [
            "c2sp.org/tlog-proof@v2\nindex 0\n\nc\n",
            "c2sp.org/tlog-proof@v1\nindex 00\n\nc\n",
            "c2sp.org/tlog-proof@v1\nindex +1\n\nc\n",
            "c2sp.org/tlog-proof@v1\nextra \nindex 1\n\nc\n",
            "c2sp.org/tlog-proof@v1\nindex 1\nextra AAAA\n\nc\n",
            "c2sp.org/tlog-proof@v1\nindex 1\nAAAA\n\nc\n",
            "c2sp.org/tlog-proof@v1\nindex 1\n",
            "c2sp.org/tlog-proof@v1\r\nindex 1\r\n\r\nc\n",
            "",
        ] {
            assert!(TlogProof::parse(bad.as_bytes()).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn it_proves_its_leaf_and_no_byte_but_the_extra_may_change() {
        let good = proof(b"");
        assert_eq!(good.check(b"b", &trust()).unwrap().size, 3);
        assert!(good.check(b"c", &trust()).is_err());
        let text = good.encode();
        for at in 0..text.len() {
            let mut changed = text.clone();
            changed[at] ^= 1;
            assert!(TlogProof::parse(&changed).and_then(|p| p.check(b"b", &trust())).is_err(), "byte {at}");
        }
        assert_eq!(TlogProof::parse(&proof(b"x").encode()).unwrap().extra, b"x");
    }

    proptest! {
        #[test]
        fn what_is_read_is_written_alike(extra in prop::collection::vec(any::<u8>(), 0..40), index: u64, hashes in prop::collection::vec(any::<[u8; 32]>(), 0..65)) {
            let proof = TlogProof { extra, index, hashes, checkpoint: b"o\n1\nr\n\n".to_vec() };
            prop_assert_eq!(TlogProof::parse(&proof.encode()), Ok(proof));
        }

        #[test]
        fn any_text_is_read_or_refused(text in "(c2sp.org/tlog-proof@v1\n)?(extra [A-Z=]{0,8}\n)?(index [0-9]{0,22}\n)?([A-Za-z=\n ]{0,90})") {
            if let Ok(proof) = TlogProof::parse(text.as_bytes()) {
                prop_assert_eq!(proof.encode(), text.as_bytes());
            }
        }
    }
}
