//! Where a key lies: in a file, or on a device.

use super::Pkcs11Uri;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use std::str::FromStr;

/// Where a key lies, as configurations and commands name it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum KeySource {
    /// In a PKCS#8 file.
    File(PathBuf),
    /// On a PKCS#11 token (RFC 7512).
    Token(Box<Pkcs11Uri>),
}

impl TryFrom<String> for KeySource {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        if !Pkcs11Uri::is_meant(&text) {
            return Ok(Self::File(text.into()));
        }
        Pkcs11Uri::parse(&text).map(|uri| Self::Token(Box::new(uri))).map_err(|e| e.to_string())
    }
}

impl FromStr for KeySource {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::try_from(text.to_owned())
    }
}

impl From<KeySource> for String {
    fn from(source: KeySource) -> Self {
        match source {
            KeySource::File(path) => path.display().to_string(),
            KeySource::Token(uri) => uri.to_string(),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_uri_is_a_token_and_everything_else_a_file() {
        let uri = "pkcs11:token=desk;object=second?module-path=/usr/lib/softhsm/libsofthsm2.so";
        for (text, is_token) in [(uri, true), ("keys/maker.pem", false), ("/abs/pkcs11.pem", false)] {
            let source: KeySource = text.parse().unwrap();
            assert_eq!(matches!(source, KeySource::Token(_)), is_token, "{text}");
            assert_eq!(String::from(source.clone()).parse::<KeySource>().unwrap(), source);
        }
        assert!("pkcs11:colour=red".parse::<KeySource>().is_err());
    }
}
