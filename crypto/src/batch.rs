//! Many signatures at once. Under ZIP-215 a batch holds exactly when every single one does, so a
//! node may check blocks in batches and an auditor one by one, and they agree.

use crate::{CryptoError, PublicKey, SeededRng, Signature};
use ed25519_zebra::batch::{Item, Verifier};

/// Signatures waiting to be checked together.
#[derive(Default)]
pub struct Batch {
    items: Vec<Item>,
}

impl Batch {
    /// An empty batch.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds one signature; the message is hashed now and not kept.
    pub fn add(&mut self, key: PublicKey, signature: Signature, message: &[u8]) {
        self.items.push(Item::from((key.0.into(), signature.into(), message)));
    }

    /// How many wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Whether none waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Takes over the signatures of another, behind its own.
    pub fn append(&mut self, mut other: Self) {
        self.items.append(&mut other.items);
    }

    /// Takes out the signatures from a position on.
    #[must_use]
    pub fn split_off(&mut self, at: usize) -> Self {
        Self { items: self.items.split_off(at.min(self.items.len())) }
    }

    /// Checks all of them: an error if any does not hold.
    pub fn verify(&self) -> Result<(), CryptoError> {
        if self.items.is_empty() {
            return Ok(());
        }
        let mut verifier = Verifier::new();
        for item in &self.items {
            verifier.queue(item.clone());
        }
        verifier.verify(SeededRng::from_system()?).map_err(|_| CryptoError::BadSignature)
    }

    /// Checks all of them and names the positions that do not hold.
    #[must_use]
    pub fn failures(&self) -> Vec<usize> {
        if self.verify().is_ok() {
            return Vec::new();
        }
        self.items.iter().enumerate().filter(|(_, item)| (*item).clone().verify_single().is_err()).map(|(n, _)| n).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SigningKey;

    #[test]
    fn the_bad_one_is_named() {
        let mut batch = Batch::new();
        for n in 0..20u8 {
            let key = SigningKey::from_seed(&[n; 32]);
            let mut signature = key.sign(&[n]);
            if n == 13 {
                signature[40] ^= 1;
            }
            batch.add(key.public(), signature, &[n]);
        }
        assert_eq!(batch.failures(), [13]);
        let rest = batch.split_off(10);
        assert_eq!((batch.failures(), rest.failures()), (vec![], vec![3]));
        batch.append(rest);
        assert_eq!((batch.len(), batch.failures()), (20, vec![13]));
    }
}
