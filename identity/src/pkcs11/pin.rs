//! What opens a token.

use super::{Pkcs11Error, Pkcs11Uri};
use cryptoki::types::AuthPin;
use zeroize::Zeroizing;

/// The environment variable that may hold a PIN, for a URI without `pin-source`.
pub const PIN_VARIABLE: &str = "VERMILION_PIN";

/// A PIN; wiped from memory when dropped, and shown to nobody.
pub struct Pin(AuthPin);

impl Pin {
    /// This PIN. An empty one is refused.
    pub fn new(text: &str) -> Result<Self, Pkcs11Error> {
        if text.is_empty() {
            return Err(Pkcs11Error::EmptyPin);
        }
        // From the slice at its length: a `String` would be copied, and the copy not wiped.
        Ok(Self(AuthPin::new(text.into())))
    }

    /// The first line of the file that the URI names as `pin-source`, else [`PIN_VARIABLE`].
    pub fn find(uri: &Pkcs11Uri) -> Result<Self, Pkcs11Error> {
        let Some(path) = uri.pin_source() else {
            let text = Zeroizing::new(std::env::var(PIN_VARIABLE).map_err(|_| Pkcs11Error::NoPin)?);
            return Self::new(&text);
        };
        let read = std::fs::read_to_string(path);
        let text = Zeroizing::new(read.map_err(|e| Pkcs11Error::PinFile { path: path.into(), why: e.to_string() })?);
        Self::new(text.lines().next().unwrap_or_default())
    }

    pub(super) fn secret(&self) -> &AuthPin {
        &self.0
    }
}

impl std::fmt::Debug for Pin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Pin(…)")
    }
}
