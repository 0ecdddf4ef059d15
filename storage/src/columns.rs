//! Column families and their keys. Numbers in keys are big-endian, so that order is numeric.

/// Raft log entries: index → entry ([`crate::entry`]).
pub const LOG: &str = "log";
/// Small things: hard state, membership, applied index, formats.
pub const META: &str = "meta";
/// Records: sequence number → `StoredRecord`.
pub const RECORDS: &str = "records";
/// Full tiles of the Merkle tree: level, index → 256 hashes.
pub const TILES: &str = "tiles";
/// Full entry bundles: index → 256 leaves.
pub const ENTRIES: &str = "entries";
/// The registry's state.
pub const STATE: &str = "state";
/// Ciphertexts: sequence number, position → ciphertext. Position [`TEXT`] is the command's texts.
pub const VAULT: &str = "vault";
/// Wrapped keys, apart from the ciphertexts: sequence number → `VaultWraps`.
pub const WRAPS: &str = "wraps";
/// Checkpoints: tree size → signed note.
pub const CHECKPOINTS: &str = "checkpoints";

/// How each checkpoint continues the one before: tree size → its size, and the consistency proof.
pub const CONSISTENCY: &str = "consistency";

pub const ALL: [&str; 10] = [LOG, META, RECORDS, TILES, ENTRIES, STATE, VAULT, WRAPS, CHECKPOINTS, CONSISTENCY];

/// The vault position of a command's texts.
pub const TEXT: u32 = u32::MAX;

pub const META_FORMAT: &[u8] = b"format";
pub const META_HARD_STATE: &[u8] = b"hard-state";
pub const META_CONF_STATE: &[u8] = b"conf-state";
/// Index and term of the last entry that the log no longer holds.
pub const META_TRUNCATED: &[u8] = b"truncated";
/// Index and term through which the state machine has applied.
pub const META_APPLIED: &[u8] = b"applied";
pub const META_NODE: &[u8] = b"node";
/// Size of the newest published checkpoint.
pub const META_PUBLISHED: &[u8] = b"published";
/// Before an outside witness' key: the size that it cosigned last.
pub const META_OUTSIDE: &[u8] = b"outside/";
/// The snapshot whose records are being fetched, from before the first of them is replayed until log and state agree again.
pub const META_INSTALLING: &[u8] = b"installing";

/// A state that is coming in: the number of the first of the records that come with it.
pub const META_ADOPTING: &[u8] = b"adopting";
/// The number of the first record behind the genesis that is here, while older ones are missing.
pub const META_HISTORY: &[u8] = b"history";

/// There while nothing has borne out where in the log a state stands that was taken.
pub const META_UNSURE: &[u8] = b"unsure";

pub fn seq(n: u64) -> [u8; 8] {
    n.to_be_bytes()
}

pub fn vault(seq: u64, position: u32) -> [u8; 12] {
    let mut key = [0; 12];
    key[..8].copy_from_slice(&seq.to_be_bytes());
    key[8..].copy_from_slice(&position.to_be_bytes());
    key
}

pub fn tile(level: u8, index: u64) -> [u8; 9] {
    let mut key = [0; 9];
    key[0] = level;
    key[1..].copy_from_slice(&index.to_be_bytes());
    key
}

/// Reads a big-endian number from the front of a key.
pub fn number(key: &[u8]) -> Option<u64> {
    Some(u64::from_be_bytes(key.get(..8)?.try_into().ok()?))
}
