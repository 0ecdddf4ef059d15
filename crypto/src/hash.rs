//! Hashes. BLAKE3 always runs under a context string of its own for each use, so that a value made
//! for one place is never valid in another.

use blake3::hazmat::{ContextKey, HasherExt as _, hash_derive_key_context};
use sha2::Digest as _;
use std::sync::OnceLock;

/// A 32-byte digest.
pub type Digest = [u8; 32];

/// What a BLAKE3 hash is for: the context string of its derive-key mode.
pub struct Context {
    name: &'static str,
    /// The context's own hash: it would be half the work of every short hash.
    key: OnceLock<ContextKey>,
}

impl Context {
    /// A context. Its string is the program's name, the month it was made in, and its use: never data.
    #[must_use]
    pub const fn new(name: &'static str) -> Self {
        Self { name, key: OnceLock::new() }
    }

    fn hasher(&self) -> blake3::Hasher {
        blake3::Hasher::new_from_context_key(self.key.get_or_init(|| hash_derive_key_context(self.name)))
    }
}

/// Context of the ledger id: hash of the genesis payload.
pub static CTX_LEDGER_ID: Context = Context::new("vermilion 2026-11 ledger id v1");
/// Context of a command's id: hash of its payload.
pub static CTX_COMMAND_ID: Context = Context::new("vermilion 2026-11 command id v1");
/// Context of the digest of a submission's bytes, for a node's cache of what it has checked.
pub static CTX_ENVELOPE: Context = Context::new("vermilion 2026-11 envelope v1");
/// Context of a record's hash.
pub static CTX_RECORD: Context = Context::new("vermilion 2026-11 record v1");
/// Context of the chain.
pub static CTX_CHAIN: Context = Context::new("vermilion 2026-11 chain v1");
/// Context of a block's hash.
pub static CTX_BLOCK: Context = Context::new("vermilion 2026-11 block v1");
/// Context of the digest of what travelled beside an envelope.
pub static CTX_BESIDE: Context = Context::new("vermilion 2026-11 beside v1");
/// Context of the digest of a record's effects on the state.
pub static CTX_EFFECTS: Context = Context::new("vermilion 2026-11 effects v1");
/// Context of the state digest.
pub static CTX_STATE: Context = Context::new("vermilion 2026-11 state v1");
/// Context of key ids.
pub static CTX_KEY_ID: Context = Context::new("vermilion 2026-11 key id v1");
/// Context of what is kept of an enrolment token.
pub static CTX_ENROLMENT: Context = Context::new("vermilion 2026-11 enrolment token v1");
/// Context of nodes of the status tree.
pub static CTX_STATUS: Context = Context::new("vermilion 2026-11 status tree v1");

/// BLAKE3 in derive-key mode over the concatenation of `parts`. Callers see to it that parts are
/// of fixed size, or carry their length.
#[must_use]
pub fn derive(context: &Context, parts: &[&[u8]]) -> Digest {
    let mut hasher = context.hasher();
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
    pub fn new(context: &Context) -> Self {
        Self(context.hasher())
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
pub fn kdf(context: &Context, secret: &[u8; 32], parts: &[&[u8]]) -> zeroize::Zeroizing<Digest> {
    let key = zeroize::Zeroizing::new(derive(context, &[secret]));
    let mut hasher = blake3::Hasher::new_keyed(&key);
    for part in parts {
        hasher.update(&(part.len() as u64).to_be_bytes());
        hasher.update(part);
    }
    zeroize::Zeroizing::new(*hasher.finalize().as_bytes())
}
