/// Why bytes, a proof, a note or a setting is refused. Every variant is deterministic: a function
/// of the input alone.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LedgerError {
    /// A leaf's length is not the one of its kind.
    #[error("a leaf of kind {kind} is not {len} bytes long")]
    LeafLength {
        /// The kind byte.
        kind: u8,
        /// The length found.
        len: usize,
    },
    /// A leaf is too short to have a kind, or carries a version that this build does not honour.
    #[error("leaf version {0} is not honoured")]
    LeafVersion(u8),
    /// A leaf's kind is neither record nor commitment.
    #[error("leaf kind {0} is not honoured")]
    LeafKind(u8),
    /// A leaf's suite is not honoured.
    #[error("leaf suite {0} is not honoured")]
    LeafSuite(u16),
    /// A position lies beyond the tree, or an old size beyond the new one.
    #[error("position or size {index} is not within a tree of {size}")]
    OutOfRange {
        /// The position or the old size asked for.
        index: u64,
        /// The tree's size.
        size: u64,
    },
    /// A hash in a list is not 32 bytes long.
    #[error("a hash is {0} bytes long, not 32")]
    HashLength(usize),
    /// A proof has not the number of hashes that its sizes call for.
    #[error("the proof has {0} hashes, which does not fit its sizes")]
    ProofLength(usize),
    /// A proof leads to another root.
    #[error("the proof does not lead to this root")]
    ProofFails,
    /// Bytes are not a signed note, as C2SP signed-note has it.
    #[error("not a well-formed signed note")]
    BadNote,
    /// A note's body is not a checkpoint, as C2SP tlog-checkpoint has it.
    #[error("not a well-formed checkpoint: {0}")]
    BadCheckpoint(&'static str),
    /// A key name is empty, or holds a space, a plus or a control character.
    #[error("the key name is empty or holds a space, a plus or a control character")]
    BadKeyName,
    /// A verifier key's text does not parse, or its id is not that of its key.
    #[error("not a well-formed verifier key")]
    BadVerifierKey,
    /// A cosignature's time is beyond 2^63 - 1 seconds.
    #[error("the cosignature's time is out of range")]
    BadTime,
    /// A checkpoint is of another ledger.
    #[error("the checkpoint's origin is not this ledger's")]
    WrongOrigin,
    /// A known key's signature does not hold: the whole note is refused.
    #[error("the signature of {0} does not hold")]
    BadSignature(String),
    /// No key that is trusted has signed.
    #[error("no trusted key has signed the checkpoint")]
    UnknownSigners,
    /// The ledger key, which this trust requires, has not signed.
    #[error("the ledger key has not signed the checkpoint")]
    NoLedgerSignature,
    /// Too few witnesses have cosigned.
    #[error("{have} witnesses have cosigned, {need} are needed")]
    Quorum {
        /// Distinct witnesses that cosigned.
        have: usize,
        /// The quorum k.
        need: usize,
    },
    /// None of the city's nodes, of which the trust requires one, has cosigned.
    #[error("no node of the city has cosigned the checkpoint")]
    NoCityNode,
    /// Too few outside witnesses have cosigned.
    #[error("{have} outside witnesses have cosigned, {need} are needed")]
    OutsideQuorum {
        /// Distinct outside witnesses that cosigned.
        have: usize,
        /// How many the trust requires.
        need: usize,
    },
    /// Two notes to be merged have different bodies.
    #[error("the notes are not over the same checkpoint")]
    BodiesDiffer,
    /// Settings of trust contradict themselves.
    #[error("the trust settings do not hold together: {0}")]
    BadTrust(&'static str),
    /// A licence's index is not in the status vector.
    #[error("status index {index} is not within {count} licences")]
    StatusIndex {
        /// The index asked for.
        index: u64,
        /// Licences in the vector.
        count: u64,
    },
    /// A state is above 15, which four bits cannot hold.
    #[error("status {0} does not fit into four bits")]
    StatusValue(u8),
    /// Stored chunks do not make a status vector of the given count.
    #[error("the status chunks do not fit the count: {0}")]
    BadChunks(&'static str),
    /// Bytes are not a status proof.
    #[error("not a well-formed status proof")]
    BadStatusProof,
    /// Text is not a proof as C2SP tlog-proof has it.
    #[error("not a well-formed tlog-proof: {0}")]
    BadTlogProof(&'static str),
    /// Bytes are not a COSE receipt as RFC 9942 has it for this kind of tree.
    #[error("not a COSE receipt of this kind: {0}")]
    BadCose(&'static str),
    /// A status proof's chunk shows another state.
    #[error("the proof shows status {0}")]
    StatusDiffers(u8),
}

/// Why the tree could not be read, rebuilt or proved from. [`TreeError::Store`],
/// [`TreeError::MissingTile`] and [`TreeError::BadTile`] say that what is stored does not hold
/// together: a node stops on them, naming the tile.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TreeError<E: std::error::Error + 'static> {
    /// The tile store failed: the one error that is not a function of the input.
    #[error("the tile store failed")]
    Store(#[source] E),
    /// A full tile that the size calls for is not stored.
    #[error("tile {level}/{index} is missing")]
    MissingTile {
        /// Tile level, from 0 at the leaves.
        level: u8,
        /// Index within the level, from 0.
        index: u64,
    },
    /// A stored tile is not 8,192 bytes long.
    #[error("tile {level}/{index} is not {} bytes long", crate::TILE_LEN)]
    BadTile {
        /// Tile level.
        level: u8,
        /// Index within the level.
        index: u64,
    },
    /// A position or size lies beyond the tree.
    #[error("position or size {index} is not within a tree of {size}")]
    OutOfRange {
        /// The position or size asked for.
        index: u64,
        /// The tree's size, or the bound of sizes.
        size: u64,
    },
    /// An edge or tail has not the number of hashes that the size calls for.
    #[error("the edge has not the hashes that size {0} calls for")]
    BadEdge(u64),
}
