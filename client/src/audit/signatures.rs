//! The signatures of a walk. They are gathered over many chunks: checked by the thousands they cost half
//! of what they cost one by one, whereas a chunk should be small enough to lie in a core's own cache.

use super::examine::envelope_finding;
use super::finding::Findings;
use rayon::prelude::*;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use vermilion_crypto::batch::Batch;
use vermilion_identity::{EnvelopeError, Signed};

/// As many as are checked together.
pub const BATCH: usize = 8192;

/// Signatures waiting to be checked.
#[derive(Default)]
pub struct Signatures {
    batch: Batch,
    /// The record of each, and which of its signers'.
    whose: Vec<(u64, usize)>,
}

impl Signatures {
    /// Adds those of a record.
    pub fn queue(&mut self, seq: u64, signed: &Signed) {
        signed.queue(&mut self.batch);
        self.whose.extend((0..signed.keys.len()).map(|n| (seq, n)));
    }

    /// Takes over those of another.
    pub fn append(&mut self, mut other: Self) {
        self.batch.append(other.batch);
        self.whose.append(&mut other.whose);
    }

    /// How many wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.whose.len()
    }

    /// Checks them, and names those that do not hold.
    pub fn check(&self, findings: &mut Findings) {
        for (seq, n) in self.batch.failures().into_iter().filter_map(|at| self.whose.get(at)) {
            envelope_finding(findings, *seq, &EnvelopeError::BadSignature(*n));
        }
    }

    /// Checks them on every core.
    pub fn check_wide(mut self, source: &str, findings: &mut Findings) {
        let part = self.len().div_ceil(rayon::current_num_threads()).max(1);
        let mut parts = Vec::new();
        while self.len() > part {
            let at = self.len() - part;
            parts.push(Self { batch: self.batch.split_off(at), whose: self.whose.split_off(at) });
        }
        parts.push(self);
        let checked = |part: &Self| {
            let mut found = Findings::of(source);
            part.check(&mut found);
            found
        };
        let found: Vec<Findings> = parts.par_iter().map(checked).collect();
        found.into_iter().for_each(|found| findings.extend(found));
    }
}

/// Batches that are checked beside the walk, by whoever has the time.
#[derive(Default)]
pub struct Checking {
    checked: Mutex<Checked>,
    done: Condvar,
}

#[derive(Default)]
struct Checked {
    under_way: usize,
    /// Whether somebody fell over a batch, so that it was not checked.
    lost: bool,
    findings: Findings,
}

impl Checking {
    fn lock(&self) -> MutexGuard<'_, Checked> {
        self.checked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hands out a batch to be checked.
    pub fn begin(&self, signatures: Signatures) -> Job<'_> {
        self.lock().under_way += 1;
        Job { checking: self, signatures, done: false }
    }

    /// Waits until every batch handed out is checked, and answers what was found since the last time; none if a
    /// batch was not checked to its end.
    pub fn wait(&self) -> Option<Findings> {
        let checked = self.lock();
        let mut checked = self.done.wait_while(checked, |checked| checked.under_way > 0).unwrap_or_else(PoisonError::into_inner);
        let findings = std::mem::take(&mut checked.findings);
        (!checked.lost).then_some(findings)
    }
}

/// A batch that was handed out.
pub struct Job<'a> {
    checking: &'a Checking,
    signatures: Signatures,
    done: bool,
}

impl Job<'_> {
    /// Checks it.
    pub fn run(mut self, source: &str) {
        let mut found = Findings::of(source);
        self.signatures.check(&mut found);
        self.checking.lock().findings.extend(found);
        self.done = true;
    }
}

impl Drop for Job<'_> {
    /// Whatever became of it: nobody waits for ever.
    fn drop(&mut self) {
        let mut checked = self.checking.lock();
        checked.under_way -= 1;
        checked.lost |= !self.done;
        drop(checked);
        self.checking.done.notify_all();
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use vermilion_crypto::SigningKey;
    use vermilion_identity::{open, seal};
    use vermilion_proto::{Body, Command, Commitment, Head, Signer, body::Of};

    fn signed(seq: u64, forged: bool) -> Signed {
        let keys = [1, 2].map(|n| SigningKey::from_seed(&[n; 32]));
        let signers = keys.iter().map(|key| Signer { key_id: key.public().id().to_vec(), ..Signer::default() }).collect();
        let head =
            Head { format_version: 1, suite: vermilion_crypto::SUITE_1, nonce: seq.to_be_bytes().to_vec(), signers, ..Head::default() };
        let command = Command { head: Some(head), body: Some(Body { of: Some(Of::Commitment(Commitment::default())) }) };
        let (_, mut envelope) = seal(&command, &[&keys[0], &keys[1]]);
        if forged {
            // The last byte is one of the second signer's signature.
            *envelope.last_mut().unwrap() ^= 1;
        }
        open(&envelope).unwrap().signed
    }

    #[test]
    fn whoever_checks_a_batch_the_forged_one_is_named() {
        let mut all = Signatures::default();
        for seq in 0..9 {
            let mut one = Signatures::default();
            one.queue(seq, &signed(seq, seq == 5));
            all.append(one);
        }
        assert_eq!(all.len(), 18);
        let named = |findings: Findings| findings.listed().iter().map(|f| (f.seq, f.en.contains("signer 2"))).collect::<Vec<_>>();
        let mut found = Findings::of("a");
        all.check(&mut found);
        assert_eq!(named(found), [(Some(5), true)]);
        let checking = Checking::default();
        std::thread::scope(|scope| {
            let mut some = Signatures::default();
            some.queue(7, &signed(7, true));
            let job = checking.begin(some);
            scope.spawn(move || job.run("a"));
            assert_eq!(named(checking.wait().unwrap()), [(Some(7), true)]);
        });
        assert!(checking.wait().unwrap().is_empty());
        // One that nobody ran is not passed over.
        drop(checking.begin(Signatures::default()));
        assert!(checking.wait().is_none());
        let mut found = Findings::of("a");
        all.check_wide("a", &mut found);
        assert_eq!(named(found), [(Some(5), true)]);
    }
}
