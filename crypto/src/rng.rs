use crate::CryptoError;
use hpke::rand_core::{Infallible, TryCryptoRng, TryRng};

/// `N` bytes from the operating system.
pub fn random<const N: usize>() -> Result<[u8; N], CryptoError> {
    let mut out = [0; N];
    getrandom::fill(&mut out).map_err(|_| CryptoError::NoRandomness)?;
    Ok(out)
}

/// A stream of bytes from a 32-byte seed (BLAKE3's extendable output). Seeded from the operating
/// system it saves a system call for each draw; seeded from a secret it makes a seal repeatable,
/// which the resumable import needs (one command for one chunk of one file).
pub struct SeededRng(blake3::OutputReader);

impl SeededRng {
    /// A stream that is a function of `seed`, which must be secret and never used for another message.
    #[must_use]
    pub fn new(seed: &[u8; 32]) -> Self {
        Self(blake3::Hasher::new_keyed(seed).finalize_xof())
    }

    /// A stream seeded by the operating system.
    pub fn from_system() -> Result<Self, CryptoError> {
        Ok(Self::new(&random()?))
    }
}

impl TryRng for SeededRng {
    type Error = Infallible;
    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        let mut b = [0; 4];
        self.0.fill(&mut b);
        Ok(u32::from_le_bytes(b))
    }
    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        let mut b = [0; 8];
        self.0.fill(&mut b);
        Ok(u64::from_le_bytes(b))
    }
    fn try_fill_bytes(&mut self, dst: &mut [u8]) -> Result<(), Infallible> {
        self.0.fill(dst);
        Ok(())
    }
}

impl TryCryptoRng for SeededRng {}
