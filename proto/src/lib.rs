//! The wire and what is signed: the `.proto` files under `proto/` and the types made from them.
//!
//! This crate knows no rule and no cryptography. What each message means is said in its `.proto`
//! file and in `docs/formats.md`; canonical encoding is checked in [`canonical`].

#[allow(missing_docs, clippy::all)]
mod generated {
    tonic::include_proto!("vermilion.v1");
}
#[cfg(test)]
mod changed;
pub mod reading;
pub mod view;

pub use generated::*;
pub use prost::bytes::Bytes;
pub use prost::{DecodeError, Message};

/// The payload type of a command's envelope, part of what is signed.
pub const COMMAND_TYPE: &str = "application/vnd.vermilion.command.v1+protobuf";
/// The payload type of a block's hash, part of what its proposer signs.
pub const BLOCK_TYPE: &str = "application/vnd.vermilion.block.v1+protobuf";
/// The payload type of a membership change, part of what its proposer signs.
pub const CHANGE_TYPE: &str = "application/vnd.vermilion.membership-change.v1+protobuf";

/// The payload type of what a founder says of itself, part of what its keys sign.
pub const FOUNDING_TYPE: &str = "application/vnd.vermilion.founding.v1+protobuf";

/// The payload type of a status for a QR code, part of what the node signs.
pub const QR_TYPE: &str = "application/vnd.vermilion.qr-status.v1+protobuf";

/// Why bytes are not an acceptable message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CanonicalError {
    /// They do not decode: truncated, wrong wire type, non-UTF-8 text.
    Malformed(String),
    /// They decode but hold an unknown field, a default value written out, or fields out of order.
    NotCanonical,
}

impl std::fmt::Display for CanonicalError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Malformed(why) => write!(f, "the message does not decode: {why}"),
            Self::NotCanonical => f.write_str("the message has an unknown field or is not in canonical encoding"),
        }
    }
}

impl std::error::Error for CanonicalError {}

/// Decodes `bytes` and refuses whatever would not be encoded back to the same bytes: an unknown
/// field is never skipped, and one message has one encoding.
pub fn canonical<M: Message + Default>(bytes: &[u8]) -> Result<M, CanonicalError> {
    let message = M::decode(bytes).map_err(|e| CanonicalError::Malformed(e.to_string()))?;
    if message.encode_to_vec() == bytes { Ok(message) } else { Err(CanonicalError::NotCanonical) }
}

/// Decodes `bytes` and refuses unknown fields, defaults written out and repeated single fields, all of
/// which make them longer than their message. For wrappers of megabytes whose parts are checked by
/// [`canonical`] themselves: it saves encoding everything once more.
///
/// Fields that are `Bytes` are slices of the buffer given: nothing of them is copied.
pub fn whole<M: Message + Default>(bytes: &Bytes) -> Result<M, CanonicalError> {
    let message = M::decode(bytes.clone()).map_err(|e| CanonicalError::Malformed(e.to_string()))?;
    if message.encoded_len() == bytes.len() { Ok(message) } else { Err(CanonicalError::NotCanonical) }
}
