//! Envelopes and who signed them.
//!
//! An envelope is a command's exact bytes with its signatures ([`open`], [`seal`]). Whether the
//! signers may act is not known here: that is the registry's, from replicated state. Certificates
//! and the authority that issues them will join this crate with the identity module; until then a
//! credential is a key in a file, registered by a record.
//!
//! No sockets, no files, no clock.

mod envelope;
mod token;

pub use envelope::{EnvelopeError, MAX_ENVELOPE, MAX_SIGNERS, Opened, Signed, command_id, open, seal};
pub use token::{RequestToken, TOKEN_LIFETIME_MS, TokenError};
