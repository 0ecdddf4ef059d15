//! Request tokens: how a known client proves, on a read that is not for everyone, which key it
//! holds. With certificates on every connection they fall away.

use vermilion_crypto::{PublicKey, SIGNATURE_LEN, SigningKey, dsse};

const TOKEN_TYPE: &str = "application/vnd.vermilion.request.v1";
/// How far a token's time may lie from the node's clock, either way, in milliseconds.
pub const TOKEN_LIFETIME_MS: u64 = 60_000;

/// Why a token is not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Not of the form `v1.<key>.<time>.<signature>`.
    #[error("the request token is malformed")]
    Malformed,
    /// Made too long ago, or the clocks differ by more than a minute.
    #[error("the request token is stale: check the clock")]
    Stale,
    /// The signature does not hold for this request and ledger.
    #[error("the request token's signature does not hold for this request")]
    BadSignature,
}

/// A signed statement: the holder of this key asks this, of this ledger, now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RequestToken {
    /// The key that signed.
    pub key: PublicKey,
    /// When, in Unix milliseconds.
    pub time_ms: u64,
}

fn signed(ledger_id: &[u8], request: &str, time_ms: u64) -> Vec<u8> {
    let payload = [ledger_id, &time_ms.to_be_bytes(), request.as_bytes()].concat();
    dsse::pae(TOKEN_TYPE, &payload)
}

impl RequestToken {
    /// The text form: `v1.<key hex>.<time>.<signature hex>`.
    #[must_use]
    pub fn make(key: &SigningKey, ledger_id: &[u8], request: &str, time_ms: u64) -> String {
        let signature = key.sign(&signed(ledger_id, request, time_ms));
        format!("v1.{}.{time_ms}.{}", hex::encode(key.public().0), hex::encode(signature))
    }

    /// Checks a token for `request` at the time `now_ms`. Whether the key may ask is decided from
    /// replicated state by the caller.
    pub fn check(text: &str, ledger_id: &[u8], request: &str, now_ms: u64) -> Result<Self, TokenError> {
        let mut parts = text.split('.');
        let (Some("v1"), Some(key), Some(time), Some(signature), None) =
            (parts.next(), parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(TokenError::Malformed);
        };
        let mut key_bytes = [0; 32];
        hex::decode_to_slice(key, &mut key_bytes).map_err(|_| TokenError::Malformed)?;
        let mut signature_bytes = [0; SIGNATURE_LEN];
        hex::decode_to_slice(signature, &mut signature_bytes).map_err(|_| TokenError::Malformed)?;
        let time_ms: u64 = time.parse().map_err(|_| TokenError::Malformed)?;
        if time_ms.abs_diff(now_ms) > TOKEN_LIFETIME_MS {
            return Err(TokenError::Stale);
        }
        let key = PublicKey(key_bytes);
        key.verify(&signed(ledger_id, request, time_ms), &signature_bytes).map_err(|_| TokenError::BadSignature)?;
        Ok(Self { key, time_ms })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holds_for_one_request_ledger_and_minute() {
        let key = SigningKey::from_seed(&[3; 32]);
        let token = RequestToken::make(&key, &[7; 32], "records", 1_000_000);
        assert_eq!(RequestToken::check(&token, &[7; 32], "records", 1_000_500).map(|t| t.key), Ok(key.public()));
        assert_eq!(RequestToken::check(&token, &[7; 32], "tags", 1_000_500), Err(TokenError::BadSignature));
        assert_eq!(RequestToken::check(&token, &[8; 32], "records", 1_000_500), Err(TokenError::BadSignature));
        assert_eq!(RequestToken::check(&token, &[7; 32], "records", 1_060_001), Err(TokenError::Stale));
        assert_eq!(RequestToken::check("v1.x", &[7; 32], "records", 0), Err(TokenError::Malformed));
    }
}
