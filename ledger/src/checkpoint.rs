//! Checkpoints (C2SP tlog-checkpoint), signed under the ledger key and cosigned by witnesses (C2SP
//! tlog-cosignature, `cosignature/v1`).

use crate::{
    KeyKind, LedgerError, SignatureLine, SignedNote, Trust, Witness,
    note::{check_name, key_id, line},
    trust::Known,
};
use base64::prelude::{BASE64_STANDARD, Engine as _};
use std::collections::BTreeMap;
use vermilion_crypto::{Digest, PublicKey, SigningKey};

/// The latest time that a cosignature may carry, in seconds: tlog-cosignature's bound.
pub const MAX_COSIGNATURE_TIME: u64 = i64::MAX as u64;

/// The tree's size and root under the ledger's name: what is signed.
///
/// Its text, the note's body, is three lines: origin, size in decimal, root in base64. Extension
/// lines, which tlog-checkpoint allows and advises against, are refused: nobody who checks a receipt
/// could tell what they say.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Checkpoint {
    /// The ledger's name.
    pub origin: String,
    /// Leaves in the tree.
    pub size: u64,
    /// The tree's root.
    pub root: Digest,
}

impl Checkpoint {
    /// The note's body, with its final newline.
    #[must_use]
    pub fn body(&self) -> String {
        format!("{}\n{}\n{}\n", self.origin, self.size, BASE64_STANDARD.encode(self.root))
    }

    /// Reads a note's body. Strict: what it takes, [`Checkpoint::body`] gives back. The origin must
    /// be a key name (no space, plus or control character), since the ledger key bears it.
    pub fn parse(body: &str) -> Result<Self, LedgerError> {
        let bad = |what| LedgerError::BadCheckpoint(what);
        let mut lines = body.strip_suffix('\n').ok_or(bad("it does not end in a newline"))?.split('\n');
        let mut next = || lines.next().ok_or(bad("it has fewer than three lines"));
        let (origin, size, root) = (next()?, next()?, next()?);
        if lines.next().is_some() {
            return Err(bad("it has extension lines"));
        }
        check_name(origin).map_err(|_| bad("the origin is no key name"))?;
        let root = BASE64_STANDARD
            .decode(root)
            .ok()
            .and_then(|root| Digest::try_from(root).ok())
            .ok_or(bad("the root is not 32 bytes in base64"))?;
        let checkpoint = Self { origin: origin.to_owned(), size: size.parse().map_err(|_| bad("the size is no number"))?, root };
        if checkpoint.body() == body { Ok(checkpoint) } else { Err(bad("the size is not in plain decimal")) }
    }
}

/// Signs a checkpoint under the ledger key: Ed25519 over the body (signature type 0x01), the key's
/// name being the origin.
pub fn make_checkpoint(checkpoint: &Checkpoint, key: &SigningKey) -> Result<SignedNote, LedgerError> {
    let body = checkpoint.body();
    Checkpoint::parse(&body)?;
    let signature = key.sign(body.as_bytes()).to_vec();
    SignedNote::new(&body, vec![line(&checkpoint.origin, KeyKind::Note, &key.public(), signature)?])
}

/// A witness's signature line over a checkpoint's body, `cosignature/v1`: the time in eight bytes,
/// big-endian, and Ed25519 over the line `cosignature/v1`, the line `time <seconds>` and the body.
///
/// It says that at this time (seconds since 1970-01-01 UTC, at most [`MAX_COSIGNATURE_TIME`]) this
/// was the largest tree that the witness had seen, and that it continues every earlier one. The
/// caller sees to that: it cosigns only what it computed itself, never a smaller tree after a larger
/// one, and never two roots for one size.
pub fn cosign(body: &str, name: &str, key: &SigningKey, time_s: u64) -> Result<SignatureLine, LedgerError> {
    Checkpoint::parse(body)?;
    if time_s > MAX_COSIGNATURE_TIME {
        return Err(LedgerError::BadTime);
    }
    let mut bytes = time_s.to_be_bytes().to_vec();
    bytes.extend_from_slice(&key.sign(&cosigned_message(body, time_s)));
    line(name, KeyKind::Cosignature, &key.public(), bytes)
}

/// What a cosignature is over: the line `cosignature/v1`, the line `time <seconds>`, and the body.
fn cosigned_message(body: &str, time_s: u64) -> Vec<u8> {
    format!("cosignature/v1\ntime {time_s}\n{body}").into_bytes()
}

/// Checks the bytes of one cosignature (72 of them) over a checkpoint's body, and returns its time
/// in seconds.
pub fn verify_cosignature(body: &str, key: &PublicKey, signature: &[u8]) -> Option<u64> {
    let (time, signature) = signature.split_first_chunk::<8>()?;
    let time_s = u64::from_be_bytes(*time);
    if time_s > MAX_COSIGNATURE_TIME {
        return None;
    }
    key.verify(&cosigned_message(body, time_s), signature).ok()?;
    Some(time_s)
}

/// A witness whose cosignature holds.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Cosigner {
    /// The witness's name.
    pub name: String,
    /// When it cosigned, in seconds since 1970-01-01 UTC, by its own word.
    pub time_s: u64,
}

/// A checkpoint and who of those trusted has signed it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Verified {
    /// Leaves in the tree.
    pub size: u64,
    /// The tree's root.
    pub root: Digest,
    /// Whether the ledger key has signed.
    pub signed_by_ledger: bool,
    /// The nodes that have cosigned, each once with its latest time, in the trust's order.
    pub cosigners: Vec<Cosigner>,
    /// The outside witnesses that have cosigned, likewise.
    pub outside: Vec<Cosigner>,
}

impl Verified {
    /// Whether this is enough for the trust: the ledger key if required, k nodes (one of the city
    /// among them, if the policy says so), and the outside witnesses that the policy asks for.
    pub fn check_quorum(&self, trust: &Trust) -> Result<(), LedgerError> {
        if trust.settings().require_ledger_key && !self.signed_by_ledger {
            return Err(LedgerError::NoLedgerSignature);
        }
        self.enough_since(trust, 0)
    }

    /// Whether those that cosigned at or after a time are enough.
    fn enough_since(&self, trust: &Trust, time_s: u64) -> Result<(), LedgerError> {
        let since = |cosigners: &'_ [Cosigner]| cosigners.iter().filter(|one| one.time_s >= time_s).cloned().collect::<Vec<_>>();
        let (nodes, outside) = (since(&self.cosigners), since(&self.outside));
        trust.enough(nodes.iter().map(|one| one.name.as_str()), outside.iter().map(|one| one.name.as_str()))
    }

    /// The latest time, in seconds, at or after which cosigners that are enough for the trust say to
    /// have seen this checkpoint as the newest. "At most T old" compares this with the verifier's
    /// clock. `None` if those that cosigned are not enough.
    #[must_use]
    pub fn as_of(&self, trust: &Trust) -> Option<u64> {
        let times = self.cosigners.iter().chain(&self.outside).map(|one| one.time_s);
        times.filter(|time_s| self.enough_since(trust, *time_s).is_ok()).max()
    }
}

/// Reads a note and checks every signature of the keys that the trust names. A witness that occurs
/// twice counts once; unknown keys are passed over, as signed-note demands; a known key's signature
/// that does not hold refuses the whole note, and so does a note without any known key.
///
/// It does not ask for a quorum: [`Verified::check_quorum`] does.
pub fn verify(note: &[u8], trust: &Trust) -> Result<Verified, LedgerError> {
    let note = SignedNote::parse(note)?;
    let (checkpoint, signers) = verify_lines(&note, trust)?;
    Ok(Verified {
        size: checkpoint.size,
        root: checkpoint.root,
        signed_by_ledger: signers.ledger.is_some(),
        cosigners: cosigners(&signers.witnesses, &trust.settings().witnesses),
        outside: cosigners(&signers.outside, &trust.policy().outside),
    })
}

fn cosigners(best: &[Latest], witnesses: &[Witness]) -> Vec<Cosigner> {
    let named = best.iter().zip(witnesses);
    named.filter_map(|(best, of)| best.as_ref().map(|(time_s, _)| Cosigner { name: of.name.clone(), time_s: *time_s })).collect()
}

/// A witness's latest line with its time, if it has cosigned.
type Latest = Option<(u64, SignatureLine)>;

/// The signature lines that are kept: the ledger key's, those of earlier ones, and each witness's latest.
struct Signers {
    ledger: Option<SignatureLine>,
    /// Lines of earlier ledger keys, by their age.
    former: BTreeMap<usize, SignatureLine>,
    witnesses: Vec<Latest>,
    outside: Vec<Latest>,
}

fn verify_lines(note: &SignedNote, trust: &Trust) -> Result<(Checkpoint, Signers), LedgerError> {
    let settings = trust.settings();
    let checkpoint = Checkpoint::parse(note.body())?;
    if checkpoint.origin != settings.origin {
        return Err(LedgerError::WrongOrigin);
    }
    let policy = trust.policy();
    let mut signers = Signers {
        ledger: None,
        former: BTreeMap::new(),
        witnesses: vec![None; settings.witnesses.len()],
        outside: vec![None; policy.outside.len()],
    };
    for line in note.lines() {
        let bad = || LedgerError::BadSignature(line.name().to_owned());
        match trust.known(line, checkpoint.size) {
            None => {}
            Some(Known::Ledger) => {
                trust.ledger_key_at(checkpoint.size).verify(note.body().as_bytes(), line.signature()).map_err(|_| bad())?;
                signers.ledger = Some(line.clone());
            }
            Some(Known::Former(age)) => {
                let key = trust.ledger_key(age).ok_or_else(bad)?;
                key.verify(note.body().as_bytes(), line.signature()).map_err(|_| bad())?;
                signers.former.insert(age, line.clone());
            }
            Some(known @ (Known::Witness(n) | Known::Outside(n))) => {
                let (witnesses, best) = match known {
                    Known::Outside(_) => (&policy.outside, &mut signers.outside),
                    _ => (&settings.witnesses, &mut signers.witnesses),
                };
                let (Some(witness), Some(best)) = (witnesses.get(n), best.get_mut(n)) else { continue };
                let time_s = verify_cosignature(note.body(), &witness.key, line.signature()).ok_or_else(bad)?;
                if best.as_ref().is_none_or(|(time, _)| *time < time_s) {
                    *best = Some((time_s, line.clone()));
                }
            }
        }
    }
    // An outside witness signs what the ledger signed: by itself it says nothing of this ledger.
    if signers.ledger.is_none() && signers.witnesses.iter().all(Option::is_none) {
        return Err(LedgerError::UnknownSigners);
    }
    Ok((checkpoint, signers))
}

/// Whether a ledger key has signed the note that does not serve at its size, and the one that serves has
/// not. Of a note that [`verify`] refuses it says nothing more.
#[must_use]
pub fn signed_out_of_turn(note: &[u8], trust: &Trust) -> bool {
    let Ok(note) = SignedNote::parse(note) else { return false };
    let Ok(checkpoint) = Checkpoint::parse(note.body()) else { return false };
    let signed = |key: &PublicKey| {
        let id = key_id(&checkpoint.origin, KeyKind::Note, key);
        let mut lines = note.lines().iter().filter(|line| line.name() == checkpoint.origin && line.id() == id);
        lines.any(|line| key.verify(note.body().as_bytes(), line.signature()).is_ok())
    };
    let serving = trust.ledger_key_at(checkpoint.size);
    let others = (0..=trust.newer_keys().len()).filter_map(|age| trust.ledger_key(age)).filter(|key| *key != serving);
    checkpoint.origin == trust.settings().origin && !signed(serving) && others.into_iter().any(signed)
}

/// Joins the signatures of two notes over the same body into one note, so that nodes can gather
/// cosignatures in any order and end up with the same bytes: the ledger key's line, then those of keys
/// before it, which endorse it with them, then each node's latest in the trust's order, then each outside witness's. Both notes are checked as [`verify`] does; lines of
/// unknown keys are dropped, so that nobody can fill a note up with them.
pub fn merge(a: &[u8], b: &[u8], trust: &Trust) -> Result<SignedNote, LedgerError> {
    let (a, b) = (SignedNote::parse(a)?, SignedNote::parse(b)?);
    if a.body() != b.body() {
        return Err(LedgerError::BodiesDiffer);
    }
    let (_, left) = verify_lines(&a, trust)?;
    let (_, right) = verify_lines(&b, trust)?;
    // Of two equally late lines either would do; the greater bytes win, so that order is no matter.
    let latest = |left: Latest, right: Latest| {
        [left, right].into_iter().flatten().max_by(|(a, one), (b, other)| a.cmp(b).then_with(|| one.signature().cmp(other.signature())))
    };
    let ledger = latest(left.ledger.map(|line| (0, line)), right.ledger.map(|line| (0, line)));
    let former = left.former.into_iter().chain(right.former).fold(BTreeMap::new(), |mut of, (age, line)| {
        let known = of.remove(&age).map(|line| (0, line));
        of.extend(latest(known, Some((0, line))).map(|(_, line)| (age, line)));
        of
    });
    let former = former.into_values().map(|line| Some((0, line)));
    let left = left.witnesses.into_iter().chain(left.outside);
    let witnesses = left.zip(right.witnesses.into_iter().chain(right.outside)).map(|(left, right)| latest(left, right));
    SignedNote::new(a.body(), std::iter::once(ledger).chain(former).chain(witnesses).flatten().map(|(_, line)| line).collect())
}
