//! The second factor of the administrating posts: time-based one-time passwords (RFC 6238).

use totp_rs::{Algorithm, Builder, Totp};
use vermilion_crypto::{CryptoError, random};

/// Digits of a code.
const DIGITS: u8 = 6;
/// Seconds for which a code stands.
const STEP: u64 = 30;
/// Steps by which the clocks may differ, either way (RFC 6238 §5.2).
const SKEW: u16 = 1;

/// Why a code is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SecondFactorError {
    /// The secret is shorter than 16 bytes or the names hold a colon.
    #[error("the second factor cannot be set up with this secret and these names")]
    Unusable,
    /// Not the code of this time.
    #[error("the code of the second factor is wrong, or the clocks differ")]
    Wrong,
    /// A code is good once (RFC 6238 §5.2).
    #[error("this code of the second factor has been used: wait for the next one")]
    Used,
    /// The operating system gave no randomness.
    #[error(transparent)]
    Crypto(#[from] CryptoError),
}

/// A secret shared by a person's device and the node that checks. HMAC-SHA-1, six digits, 30
/// seconds: what every authenticator understands.
pub struct SecondFactor(Totp);

impl SecondFactor {
    /// From the secret's bytes. Issuer and account are what the device shows; the account is a key
    /// id or a number, never a person's name.
    pub fn new(secret: &[u8], issuer: &str, account: &str) -> Result<Self, SecondFactorError> {
        Builder::new()
            .with_algorithm(Algorithm::SHA1)
            .with_digits(DIGITS)
            .with_skew(SKEW)
            .with_step_duration(STEP)
            .with_secret(secret.to_vec())
            .with_issuer(Some(issuer))
            .with_account_name(account)
            .build()
            .map(Self)
            .map_err(|_| SecondFactorError::Unusable)
    }

    /// A new secret of 160 bits.
    pub fn generate(issuer: &str, account: &str) -> Result<Self, SecondFactorError> {
        Self::new(&random::<20>()?, issuer, account)
    }

    /// The `otpauth://` address that a device scans. It holds the secret.
    pub fn enrolment_uri(&self) -> Result<zeroize::Zeroizing<String>, SecondFactorError> {
        self.0.to_url().map(zeroize::Zeroizing::new).map_err(|_| SecondFactorError::Unusable)
    }

    /// The code at a time, in Unix milliseconds.
    #[must_use]
    pub fn code(&self, now_ms: u64) -> String {
        self.0.generate(now_ms / 1000).to_string()
    }

    /// Checks a code at a time, in Unix milliseconds. `last` is the step that was accepted last;
    /// the answer is the step to be kept in its place, so that no code is good twice.
    pub fn check(&self, code: &str, now_ms: u64, last: Option<u64>) -> Result<u64, SecondFactorError> {
        let step = self.0.check(code, now_ms / 1000).ok_or(SecondFactorError::Wrong)?;
        if last.is_some_and(|last| step <= last) { Err(SecondFactorError::Used) } else { Ok(step) }
    }
}

impl std::fmt::Debug for SecondFactor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SecondFactor(…)")
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn codes_of_rfc_6238() {
        let factor = SecondFactor::new(b"12345678901234567890", "Vermilion", "1").unwrap();
        // Appendix B, last six of the eight digits.
        for (seconds, code) in [(59, "287082"), (1_111_111_109, "081804"), (20_000_000_000, "353130")] {
            assert_eq!(factor.code(seconds * 1000), code);
            assert_eq!(factor.check(code, seconds * 1000, None), Ok(seconds / 30));
        }
    }

    #[test]
    fn one_step_either_way_and_only_once() {
        let factor = SecondFactor::new(b"12345678901234567890", "Vermilion", "1").unwrap();
        let code = factor.code(300_000);
        assert_eq!(factor.check(&code, 330_000, None), Ok(10));
        assert_eq!(factor.check(&code, 270_000, Some(9)), Ok(10));
        assert_eq!(factor.check(&code, 360_000, None), Err(SecondFactorError::Wrong));
        assert_eq!(factor.check(&code, 300_000, Some(10)), Err(SecondFactorError::Used));
        assert_eq!(factor.check("", 300_000, None), Err(SecondFactorError::Wrong));
    }

    #[test]
    fn short_secrets_are_refused_and_none_is_shown() {
        assert_eq!(SecondFactor::new(&[1; 15], "Vermilion", "1").map(|_| ()), Err(SecondFactorError::Unusable));
        let factor = SecondFactor::generate("Vermilion", "1").unwrap();
        assert_eq!(format!("{factor:?}"), "SecondFactor(…)");
        assert!(factor.enrolment_uri().unwrap().starts_with("otpauth://totp/Vermilion:1?secret="));
    }
}
