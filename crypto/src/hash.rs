//! Hashes. BLAKE3 always runs under a context string of its own for each use, so that a value made
//! for one place is never valid in another.

use sha2::Digest as _;

/// A 32-byte digest.
pub type Digest = [u8; 32];

/// Context of the ledger id: hash of the genesis payload.
pub const CTX_LEDGER_ID: &str = "vermilion 2026-11 ledger id v1";
/// Context of a command's id: hash of its payload.
pub const CTX_COMMAND_ID: &str = "vermilion 2026-11 command id v1";
/// Context of the digest of a submission's bytes, for a node's cache of what it has checked.
pub const CTX_ENVELOPE: &str = "vermilion 2026-11 envelope v1";
/// Context of a record's hash.
pub const CTX_RECORD: &str = "vermilion 2026-11 record v1";
/// Context of the chain.
pub const CTX_CHAIN: &str = "vermilion 2026-11 chain v1";
/// Context of a block's hash.
pub const CTX_BLOCK: &str = "vermilion 2026-11 block v1";
/// Context of the digest of what travelled beside an envelope.
pub const CTX_BESIDE: &str = "vermilion 2026-11 beside v1";
/// Context of the digest of a record's effects on the state.
pub const CTX_EFFECTS: &str = "vermilion 2026-11 effects v1";
/// Context of the state digest.
pub const CTX_STATE: &str = "vermilion 2026-11 state v1";
/// Context of key ids.
pub const CTX_KEY_ID: &str = "vermilion 2026-11 key id v1";
/// Context of what is kept of an enrolment token.
pub const CTX_ENROLMENT: &str = "vermilion 2026-11 enrolment token v1";
/// Context of nodes of the status tree.
pub const CTX_STATUS: &str = "vermilion 2026-11 status tree v1";

/// BLAKE3 in derive-key mode over the concatenation of `parts`. Callers see to it that parts are
/// of fixed size, or carry their length.
#[must_use]
pub fn derive(context: &str, parts: &[&[u8]]) -> Digest {
    let mut hasher = blake3::Hasher::new_derive_key(context);
    for part in parts {
        hasher.update(part);
    }
    *hasher.finalize().as_bytes()
}

/// A streaming [`derive`].
pub struct Hasher(blake3::Hasher);

impl Hasher {
    /// Starts a hash under `context`.
    #[must_use]
    pub fn new(context: &str) -> Self {
        Self(blake3::Hasher::new_derive_key(context))
    }

    /// Adds bytes.
    pub fn update(&mut self, bytes: &[u8]) -> &mut Self {
        self.0.update(bytes);
        self
    }

    /// Adds bytes after their length (8 bytes, big-endian), so that neighbours cannot run together.
    pub fn field(&mut self, bytes: &[u8]) -> &mut Self {
        self.0.update(&(bytes.len() as u64).to_be_bytes());
        self.0.update(bytes);
        self
    }

    /// The digest so far.
    #[must_use]
    pub fn finish(&self) -> Digest {
        *self.0.finalize().as_bytes()
    }
}

/// SHA-256, for what others' verifiers recompute: the Merkle tree, salted disclosures, documents.
#[must_use]
pub fn sha256(bytes: &[u8]) -> Digest {
    sha2::Sha256::digest(bytes).into()
}

/// SHA-1, where RFC 6960 names an authority by it. No security rests on it.
#[must_use]
pub fn sha1(bytes: &[u8]) -> [u8; 20] {
    use sha1::Digest as _;
    sha1::Sha1::digest(bytes).into()
}

/// SHA-256 over the concatenation of `parts`.
#[must_use]
pub fn sha256_parts(parts: &[&[u8]]) -> Digest {
    let mut hasher = sha2::Sha256::new();
    for part in parts {
        hasher.update(part);
    }
    hasher.finalize().into()
}

/// Key derivation from a secret, under a context, with `parts` each after its length.
#[must_use]
pub fn kdf(context: &str, secret: &[u8; 32], parts: &[&[u8]]) -> zeroize::Zeroizing<Digest> {
    let key = zeroize::Zeroizing::new(derive(context, &[secret]));
    let mut hasher = blake3::Hasher::new_keyed(&key);
    for part in parts {
        hasher.update(&(part.len() as u64).to_be_bytes());
        hasher.update(part);
    }
    zeroize::Zeroizing::new(*hasher.finalize().as_bytes())
}
