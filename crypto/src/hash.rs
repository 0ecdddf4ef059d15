//! Hashes. BLAKE3 always runs under a context string of its own for each use, so that a value made
//! for one place is never valid in another.

use blake3::hazmat::{ContextKey, HasherExt as _, hash_derive_key_context};
use blake3::platform::{Platform, le_bytes_from_words_32, words_from_le_bytes_32};
use blake3::{BLOCK_LEN, CHUNK_LEN, IncrementCounter};
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

    fn key(&self) -> &ContextKey {
        self.key.get_or_init(|| hash_derive_key_context(self.name))
    }

    fn hasher(&self) -> blake3::Hasher {
        blake3::Hasher::new_from_context_key(self.key())
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
/// Context of a row of the state, in the sum that the state digest is of.
pub static CTX_STATE_ROW: Context = Context::new("vermilion 2026-11 state row v1");
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
    if parts.iter().map(|part| part.len()).sum::<usize>() <= CHUNK_LEN {
        let mut chunk = OneChunk::new(Platform::detect(), words_from_le_bytes_32(context.key()));
        parts.iter().for_each(|part| chunk.update(part));
        return chunk.finish();
    }
    let mut hasher = context.hasher();
    for part in parts {
        hasher.update(part);
    }
    *hasher.finalize().as_bytes()
}

/// BLAKE3 in derive-key mode over the concatenation of `parts`, as many bytes of it as `out` holds.
pub(crate) fn stretch(context: &Context, parts: &[&[u8]], out: &mut [u8]) {
    let mut hasher = context.hasher();
    for part in parts {
        hasher.update(part);
    }
    hasher.finalize_xof().fill(out);
}

// Flags of a block, section 2.2 of the BLAKE3 specification.
const CHUNK_START: u8 = 1 << 0;
const CHUNK_END: u8 = 1 << 1;
const ROOT: u8 = 1 << 3;
const KEYED_HASH: u8 = 1 << 4;
const DERIVE_KEY_MATERIAL: u8 = 1 << 6;

/// A hash of one chunk at most, as nearly all of ours are: without what a [`blake3::Hasher`] keeps for
/// longer input, which is a third of the work of a short one.
struct OneChunk {
    platform: Platform,
    value: [u32; 8],
    block: [u8; BLOCK_LEN],
    filled: usize,
    /// The flag of every block.
    mode: u8,
    /// Those of the next one.
    flags: u8,
}

impl OneChunk {
    fn new(platform: Platform, key: [u32; 8]) -> Self {
        Self::of(DERIVE_KEY_MATERIAL, platform, key)
    }

    fn of(mode: u8, platform: Platform, key: [u32; 8]) -> Self {
        Self { platform, value: key, block: [0; BLOCK_LEN], filled: 0, mode, flags: mode | CHUNK_START }
    }

    /// One whose first blocks are compressed.
    fn after(platform: Platform, value: &[u8; 32]) -> Self {
        Self { flags: DERIVE_KEY_MATERIAL, ..Self::new(platform, words_from_le_bytes_32(value)) }
    }

    fn update(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            if self.filled == BLOCK_LEN {
                self.platform.compress_in_place(&mut self.value, &self.block, BLOCK_LEN as u8, 0, self.flags);
                (self.flags, self.filled) = (self.mode, 0);
            }
            let (now, later) = bytes.split_at(bytes.len().min(BLOCK_LEN - self.filled));
            self.block[self.filled..self.filled + now.len()].copy_from_slice(now);
            self.filled += now.len();
            bytes = later;
        }
    }

    fn finish(mut self) -> Digest {
        self.block[self.filled..].fill(0);
        self.platform.compress_in_place(&mut self.value, &self.block, self.filled as u8, 0, self.flags | CHUNK_END | ROOT);
        le_bytes_from_words_32(&self.value)
    }

    /// As many bytes as `out` holds; whole blocks.
    fn stretch(mut self, out: &mut [u8]) {
        self.block[self.filled..].fill(0);
        self.platform.xof_many(&self.value, &self.block, self.filled as u8, 0, self.flags | CHUNK_END | ROOT, out);
    }
}

/// The first `N` bytes of each of `inputs`, whole blocks of one chunk, compressed into `values`.
fn compress_first<const N: usize>(platform: Platform, key: &[u32; 8], inputs: &[&[u8]], values: &mut [u8]) {
    let firsts: Vec<&[u8; N]> = inputs.iter().filter_map(|input| input.first_chunk()).collect();
    platform.hash_many(&firsts, key, 0, IncrementCounter::No, DERIVE_KEY_MATERIAL, CHUNK_START, 0, values);
}

type CompressFirst = fn(Platform, &[u32; 8], &[&[u8]], &mut [u8]);

/// [`compress_first`] of one block, two, and so on.
const COMPRESS: [CompressFirst; 15] = [
    compress_first::<64>,
    compress_first::<128>,
    compress_first::<192>,
    compress_first::<256>,
    compress_first::<320>,
    compress_first::<384>,
    compress_first::<448>,
    compress_first::<512>,
    compress_first::<576>,
    compress_first::<640>,
    compress_first::<704>,
    compress_first::<768>,
    compress_first::<832>,
    compress_first::<896>,
    compress_first::<960>,
];

/// Each of `inputs`, all of its blocks but the last compressed; none of one that is longer than a chunk. As
/// many of one length in blocks as the processor's registers hold are done side by side: by itself such
/// a short input is done a block at a time.
fn begin_each(context: &Context, inputs: &[&[u8]]) -> Vec<Option<OneChunk>> {
    let (platform, key) = (Platform::detect(), words_from_le_bytes_32(context.key()));
    // Blocks before the last one.
    let blocks = |input: &[u8]| input.len().saturating_sub(1) / BLOCK_LEN;
    let mut order: Vec<usize> = (0..inputs.len()).filter(|at| inputs.get(*at).is_some_and(|input| input.len() <= CHUNK_LEN)).collect();
    order.sort_by_key(|at| inputs.get(*at).map_or(0, |input| blocks(input)));
    let ordered: Vec<&[u8]> = order.iter().filter_map(|at| inputs.get(*at).copied()).collect();
    let mut out: Vec<Option<OneChunk>> = inputs.iter().map(|_| None).collect();
    let mut places = order.iter();
    for alike in ordered.chunk_by(|a, b| blocks(a) == blocks(b)) {
        let before = alike.first().map_or(0, |input| blocks(input));
        let compress = before.checked_sub(1).and_then(|at| COMPRESS.get(at));
        let mut values = vec![0; alike.len() * 32];
        if let Some(compress) = compress {
            compress(platform, &key, alike, &mut values);
        }
        for ((input, value), place) in alike.iter().zip(values.as_chunks::<32>().0).zip(&mut places) {
            let mut chunk = if compress.is_some() { OneChunk::after(platform, value) } else { OneChunk::new(platform, key) };
            chunk.update(input.get(before * BLOCK_LEN..).unwrap_or_default());
            if let Some(out) = out.get_mut(*place) {
                *out = Some(chunk);
            }
        }
    }
    out
}

/// [`derive`] of each of `inputs`, those of one chunk side by side.
#[must_use]
pub fn derive_each(context: &Context, inputs: &[&[u8]]) -> Vec<Digest> {
    let begun = begin_each(context, inputs).into_iter().zip(inputs);
    begun.map(|(begun, input)| begun.map_or_else(|| derive(context, &[input]), OneChunk::finish)).collect()
}

/// [`stretch`] of each of `inputs` to `N` bytes, those of one chunk side by side; they are handed over in order.
pub(crate) fn stretch_each<const N: usize>(context: &Context, inputs: &[&[u8]], mut take: impl FnMut(&[u8; N])) {
    let mut out = [0; N];
    for (begun, input) in begin_each(context, inputs).into_iter().zip(inputs) {
        match begun {
            Some(chunk) => chunk.stretch(&mut out),
            None => stretch(context, &[input], &mut out),
        }
        take(&out);
    }
}

/// A streaming [`derive`].
pub struct Hasher {
    context: &'static Context,
    /// What was added last. Many small pieces are hashed as one: long input several chunks at a time.
    buffer: Vec<u8>,
    /// What was added before, once that is more than fits.
    before: Option<blake3::Hasher>,
}

/// As much as the widest registers hash at once.
const BUFFER: usize = 16 * CHUNK_LEN;

impl Hasher {
    /// Starts a hash under `context`.
    #[must_use]
    pub fn new(context: &'static Context) -> Self {
        Self { context, buffer: Vec::with_capacity(CHUNK_LEN), before: None }
    }

    /// Adds bytes.
    pub fn update(&mut self, bytes: &[u8]) -> &mut Self {
        if self.buffer.len() + bytes.len() > BUFFER {
            let hasher = self.before.get_or_insert_with(|| self.context.hasher());
            hasher.update(&self.buffer).update(bytes);
            self.buffer.clear();
        } else {
            self.buffer.extend_from_slice(bytes);
        }
        self
    }

    /// Adds bytes after their length (8 bytes, big-endian), so that neighbours cannot run together.
    pub fn field(&mut self, bytes: &[u8]) -> &mut Self {
        self.update(&(bytes.len() as u64).to_be_bytes()).update(bytes)
    }

    /// What was added, if one chunk holds it: to be hashed beside others by [`derive_each`]. Else its digest.
    pub fn close(self) -> Result<Digest, Vec<u8>> {
        if self.before.is_none() && self.buffer.len() <= CHUNK_LEN { Err(self.buffer) } else { Ok(self.finish()) }
    }

    /// The digest so far.
    #[must_use]
    pub fn finish(&self) -> Digest {
        match &self.before {
            Some(before) => *before.clone().update(&self.buffer).finalize().as_bytes(),
            None => derive(self.context, &[&self.buffer]),
        }
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
    if parts.iter().map(|part| 8 + part.len()).sum::<usize>() <= CHUNK_LEN {
        let mut chunk = OneChunk::of(KEYED_HASH, Platform::detect(), words_from_le_bytes_32(&key));
        for part in parts {
            chunk.update(&(part.len() as u64).to_be_bytes());
            chunk.update(part);
        }
        return zeroize::Zeroizing::new(chunk.finish());
    }
    let mut hasher = blake3::Hasher::new_keyed(&key);
    for part in parts {
        hasher.update(&(part.len() as u64).to_be_bytes());
        hasher.update(part);
    }
    zeroize::Zeroizing::new(*hasher.finalize().as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_chunk_or_more_in_any_parts_is_what_blake3_says() {
        let bytes: Vec<u8> = (0..3 * BUFFER).map(|at| (at * at / 7) as u8).collect();
        for length in (0..2 * CHUNK_LEN).chain([BUFFER - 1, BUFFER, BUFFER + 1, 3 * BUFFER]) {
            let input = &bytes[..length];
            let whole = blake3::derive_key(CTX_RECORD.name, input);
            assert_eq!(derive(&CTX_RECORD, &[input]), whole);
            for part in [1, 63, 64, 65, 1000, BUFFER] {
                assert_eq!(derive(&CTX_RECORD, &input.chunks(part).collect::<Vec<_>>()), whole);
                let mut hasher = Hasher::new(&CTX_RECORD);
                input.chunks(part).for_each(|part| {
                    hasher.update(part);
                });
                assert_eq!(hasher.finish(), whole);
                match hasher.close() {
                    Ok(digest) => assert_eq!((digest, length > CHUNK_LEN), (whole, true)),
                    Err(added) => assert_eq!((added.as_slice(), length > CHUNK_LEN), (input, false)),
                }
            }
        }
    }

    #[test]
    fn a_derived_key_is_a_keyed_hash_of_parts_and_their_lengths() {
        let bytes: Vec<u8> = (0..2 * CHUNK_LEN).map(|at| (at * at / 7) as u8).collect();
        let key = blake3::derive_key(CTX_RECORD.name, &[7; 32]);
        for length in 0..bytes.len() {
            let (one, other) = bytes[..length].split_at(length / 3);
            let mut plain = blake3::Hasher::new_keyed(&key);
            for part in [one, other] {
                plain.update(&(part.len() as u64).to_be_bytes()).update(part);
            }
            assert_eq!(*kdf(&CTX_RECORD, &[7; 32], &[one, other]), *plain.finalize().as_bytes(), "{length}");
        }
    }

    #[test]
    fn side_by_side_or_alone_is_the_same() {
        let bytes: Vec<u8> = (0..4096usize).map(|at| (at * at / 7) as u8).collect();
        // Every length up to beyond a chunk, in many mixtures.
        for step in [1, 7, 61, 64, 127] {
            for count in [0, 1, 2, 17, 40, 1100 / step] {
                let inputs: Vec<&[u8]> = (0..count).map(|n| &bytes[n..n + (n * step) % 1100]).collect();
                let alone: Vec<Digest> = inputs.iter().map(|input| derive(&CTX_RECORD, &[input])).collect();
                assert_eq!(derive_each(&CTX_RECORD, &inputs), alone);
                let mut stretched = Vec::new();
                stretch_each(&CTX_RECORD, &inputs, |out: &[u8; 192]| stretched.push(*out));
                assert_eq!(stretched.len(), inputs.len());
                for (input, found) in inputs.iter().zip(stretched) {
                    let mut out = [0; 192];
                    stretch(&CTX_RECORD, &[input], &mut out);
                    assert_eq!(found, out);
                }
            }
        }
    }
}
