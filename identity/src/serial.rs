//! Serial numbers of certificates.

use crate::certificate::CertificateError;
use vermilion_crypto::CryptoError;

/// The most bytes of a serial number (RFC 5280 §4.1.2.2), its sign counted in.
pub const MAX_SERIAL: usize = 20;

/// A certificate's serial number: positive, big-endian, without leading zeros, 1 to 20 bytes as DER
/// writes it. One authority never gives a number twice, so it names a credential.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Serial(Vec<u8>);

impl Serial {
    /// From the number's bytes. Leading zeros, zero itself and numbers that DER would write in more
    /// than 20 bytes are refused: one number has one form.
    pub fn new(bytes: &[u8]) -> Result<Self, CertificateError> {
        match bytes {
            [] | [0, ..] => Err(CertificateError::Serial),
            [first, ..] if bytes.len() + usize::from(*first >= 0x80) > MAX_SERIAL => Err(CertificateError::Serial),
            _ => Ok(Self(bytes.to_vec())),
        }
    }

    /// A new number of 126 random bits, 16 bytes: nobody can guess the next one, and two never meet.
    pub fn random() -> Result<Self, CryptoError> {
        let mut bytes: [u8; 16] = vermilion_crypto::random()?;
        // The second highest bit set, the highest clear: always 16 bytes, never a sign byte.
        bytes[0] = bytes[0] & 0x7f | 0x40;
        Ok(Self(bytes.to_vec()))
    }

    /// The number's bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl std::fmt::Display for Serial {
    /// Lower-case hexadecimal.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&hex::encode(&self.0))
    }
}

impl std::fmt::Debug for Serial {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Serial({self})")
    }
}

impl std::str::FromStr for Serial {
    type Err = CertificateError;

    /// Reads what `Display` wrote; other hexadecimal forms of the number are refused.
    fn from_str(text: &str) -> Result<Self, CertificateError> {
        let serial = Self::new(&hex::decode(text).map_err(|_| CertificateError::Serial)?)?;
        if serial.to_string() == text { Ok(serial) } else { Err(CertificateError::Serial) }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn one_number_has_one_form() {
        for bad in [&[][..], &[0], &[0, 1], &[1; 21], &[0x80; 20]] {
            assert_eq!(Serial::new(bad), Err(CertificateError::Serial));
        }
        for good in [&[1][..], &[0x80], &[0x7f; 20], &[0xff; 19]] {
            let serial = Serial::new(good).unwrap();
            assert_eq!(serial.to_string().parse::<Serial>(), Ok(serial));
        }
        assert!("0A".parse::<Serial>().is_err());
        assert_ne!(Serial::random().unwrap(), Serial::random().unwrap());
        assert_eq!(Serial::random().unwrap().as_bytes().len(), 16);
    }
}
