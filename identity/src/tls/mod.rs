//! TLS 1.3 between nodes and whoever reaches them, with certificates on both sides (mTLS).
//!
//! Whether a peer is accepted is [`judge`]d: the ledger's own authority, the profile, the dates, and
//! what the ledger's state says of the serial number ([`Standing`]). No public authority is trusted,
//! no host name compared: a node is known by what its certificate names. Sessions are never resumed,
//! so every connection is judged anew. TLS 1.2 is not compiled in.
//!
//! Who is outside the ledger (a witness, tiles of others, a webhook) is believed under authorities that
//! somebody named, for its host's name ([`outside_config`]). None is built in.
//!
//! This module makes configurations; sockets are the caller's.

mod config;
mod credential;
mod judge;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
mod verifier;

pub use config::{ClientAuth, TlsError, client_config, no_name, outside_config, server_config};
pub use credential::{Credential, CredentialSlot};
pub use judge::{Expected, Pinned, Refusal, Standing, in_time, judge};
