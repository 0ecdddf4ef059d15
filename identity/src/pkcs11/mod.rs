//! Keys that stay on a device, reached through PKCS#11.
//!
//! A [`Pkcs11Uri`] names the device's library, the token and the key; a [`Pin`] opens the token; a
//! [`Pkcs11Signer`] is the key as a [`Signer`](crate::Signer). Only Ed25519 (CKM_EDDSA).
//!
//! Caveats. The library is loaded into this process and can do whatever this process can: name it as
//! carefully as a program. It stays loaded until the process ends. A session that the device ended is
//! not opened again here, because a retry with a PIN that was changed meanwhile can lock a token:
//! every later signature is an error, until the caller opens another signer. Keys that want the PIN
//! before each signature (CKA_ALWAYS_AUTHENTICATE) and PIN pads are not served.

mod pin;
mod signer;
mod source;
mod uri;

use std::path::PathBuf;

pub use pin::{PIN_VARIABLE, Pin};
pub use signer::Pkcs11Signer;
pub use source::KeySource;
pub use uri::{MAX_URI, Pkcs11Uri, SCHEME, UriError};

/// Why a key on a device cannot be used. No message holds a PIN.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Pkcs11Error {
    /// The URI that should name the key.
    #[error(transparent)]
    Uri(#[from] UriError),
    /// The file that should hold the PIN.
    #[error("the PIN's file {path} cannot be read: {why}", path = .path.display())]
    PinFile {
        /// The file.
        path: PathBuf,
        /// What the system said.
        why: String,
    },
    /// Neither the URI nor the environment says where the PIN is.
    #[error("there is no PIN: name its file as pin-source in the URI, or set {PIN_VARIABLE}")]
    NoPin,
    /// The file or the variable is empty. It is not tried: a token counts wrong PINs.
    #[error("the PIN is empty")]
    EmptyPin,
    /// The device's library is not there.
    #[error("there is no PKCS#11 module {path}", path = .0.display())]
    NoModule(PathBuf),
    /// The device's library does not load or does not start.
    #[error("{path} does not work as a PKCS#11 module: {why}", path = .path.display())]
    Module {
        /// The library.
        path: PathBuf,
        /// What the loader or the library said.
        why: String,
    },
    /// No token, plugged in and initialised, is the one that was named.
    #[error("the module knows no token with {0}")]
    NoToken(String),
    /// More than one is.
    #[error("{count} tokens have {wanted}: name the serial too")]
    ManyTokens {
        /// How they were named.
        wanted: String,
        /// How many there are.
        count: usize,
    },
    /// The token refuses the PIN.
    #[error("the token refuses the PIN")]
    WrongPin,
    /// The token takes no PIN any more, not even the right one, until its security officer resets it.
    #[error("the token's PIN is locked or has expired")]
    PinLocked,
    /// No private key on the token is the one that was named.
    #[error("the token holds no private key with {0}")]
    NoKey(String),
    /// More than one is.
    #[error("{count} private keys on the token have {wanted}: name object and id both")]
    ManyKeys {
        /// How they were named.
        wanted: String,
        /// How many there are.
        count: usize,
    },
    /// The private key has no public key beside it, with the same id, or label where it has no id.
    #[error("the token holds {0} public keys beside the private key instead of one")]
    PublicKeys(usize),
    /// The key is of another kind, or its public point is none that could be registered.
    #[error("the key is not an Ed25519 key: {0}")]
    NotEd25519(String),
    /// What the device signs does not hold under the public key beside it.
    #[error("what the device signs does not hold under the public key beside the private key")]
    BadSignature,
    /// The device, or the session with it, failed.
    #[error("the device failed to {doing}: {why}")]
    Device {
        /// What was asked of it.
        doing: &'static str,
        /// What it said.
        why: String,
    },
}
