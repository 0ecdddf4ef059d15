//! The bytes of C2SP tlog-witness `add-checkpoint`, version 1.1: what is sent and what comes back.

use base64::prelude::{BASE64_STANDARD, Engine as _};
use vermilion_ledger::{Digest, KeyKind, SignatureLine, SignedNote, Witness, key_id, verify_cosignature};

/// The most hashes that a request may carry.
pub const MAX_PROOF: usize = 63;
/// How far a cosignature's time may lie ahead of this node's clock, in seconds. Of two cosignatures the
/// later is kept; one from the far future would stand for ever.
pub const MAX_AHEAD_S: u64 = 300;

/// Why a witness did not cosign, each with a code that does not change.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AskError {
    /// No connection, or it broke.
    #[error("the witness cannot be reached: {0}")]
    Unreachable(String),
    /// No whole answer in time.
    #[error("the witness did not answer in time")]
    TimedOut,
    /// The answer is longer than any answer is.
    #[error("the witness' answer is too long")]
    TooLong,
    /// A status that the specification does not give, or a failure of the witness' own.
    #[error("the witness answered {0}")]
    Status(u16),
    /// 400: the request is malformed to the witness.
    #[error("the witness cannot read the request")]
    BadRequest,
    /// 403: the witness does not trust the ledger's key.
    #[error("the witness does not trust the ledger's key")]
    UntrustedKey,
    /// 404: the witness does not know the ledger.
    #[error("the witness does not know this ledger")]
    UnknownLog,
    /// 422: to the witness the tree does not continue the one that it cosigned, or has another root.
    #[error("the witness holds another history: to it this tree does not continue the one that it cosigned")]
    BadProof,
    /// 409, naming the very size that was sent.
    #[error("the witness contradicts itself: it names the size that was sent as not its own")]
    Contradicts,
    /// 409 again and again, with other sizes.
    #[error("the witness names another size each time")]
    Unsettled,
    /// The witness has cosigned a larger tree than this node has.
    #[error("the witness has cosigned a tree of {0} records, which this node does not have")]
    Ahead(u64),
    /// The answer is not what the specification says.
    #[error("the witness' answer cannot be read: {0}")]
    Malformed(&'static str),
    /// There is no line of the key that is configured.
    #[error("the answer has no cosignature of the witness' key")]
    NoCosignature,
    /// Its line does not verify.
    #[error("the witness' cosignature does not hold")]
    BadCosignature,
    /// Its time is 0, or beyond [`MAX_AHEAD_S`].
    #[error("the witness' cosignature is of time {0}")]
    BadTime(u64),
    /// This node could not make the request: its log is still being applied, or its store failed.
    #[error("the request could not be made: {0}")]
    Local(String),
}

impl AskError {
    /// A word for metrics and logs.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Unreachable(_) => "unreachable",
            Self::TimedOut => "timed-out",
            Self::TooLong => "too-long",
            Self::Status(_) => "unexpected-status",
            Self::BadRequest => "bad-request",
            Self::UntrustedKey => "untrusted-key",
            Self::UnknownLog => "unknown-log",
            Self::BadProof => "bad-proof",
            Self::Contradicts => "contradicts-itself",
            Self::Unsettled => "unsettled",
            Self::Ahead(_) => "ahead",
            Self::Malformed(_) => "malformed",
            Self::NoCosignature => "no-cosignature",
            Self::BadCosignature => "bad-cosignature",
            Self::BadTime(_) => "bad-time",
            Self::Local(_) => "not-made",
        }
    }

    /// Whether it may pass by itself soon. Of the rest somebody must mend the witness, what it knows of this ledger, or what
    /// lies between. None is final: on a ledger that rests no newer checkpoint comes to be shown in this one's place.
    #[must_use]
    pub const fn may_pass(&self) -> bool {
        matches!(self, Self::Unreachable(_) | Self::TimedOut | Self::Status(_) | Self::Unsettled | Self::Ahead(_) | Self::Local(_))
    }
}

/// What a witness answers, if it answers what the specification says.
#[derive(Debug, Clone, PartialEq)]
pub enum Answer {
    /// 200: its cosignature, verified, and its time in seconds.
    Cosigned(SignatureLine, u64),
    /// 409: the size that it cosigned last.
    At(u64),
}

/// The body of a request: the old size, the proof from it to the checkpoint's, the checkpoint.
#[must_use]
pub fn request(old: u64, proof: &[Digest], note: &[u8]) -> Vec<u8> {
    let mut body = format!("old {old}\n");
    for hash in proof {
        body.push_str(&BASE64_STANDARD.encode(hash));
        body.push('\n');
    }
    body.push('\n');
    [body.as_bytes(), note].concat()
}

/// Reads a response to a request about the checkpoint with this body. Lines of other keys are passed
/// over; a line of the witness' key that does not verify refuses the whole answer.
pub fn response(status: u16, content_type: &str, body: &[u8], checkpoint: &str, witness: &Witness, now_s: u64) -> Result<Answer, AskError> {
    match status {
        200 => cosignature(body, checkpoint, witness, now_s),
        400 => Err(AskError::BadRequest),
        403 => Err(AskError::UntrustedKey),
        404 => Err(AskError::UnknownLog),
        409 if is_size(content_type) => size(body).map(Answer::At).ok_or(AskError::Malformed("409 without a size")),
        // Version 1.0 answered so where the same size has another root.
        409 => Err(AskError::BadProof),
        422 => Err(AskError::BadProof),
        other => Err(AskError::Status(other)),
    }
}

/// Whether an answer's media type says that it is a size. Servers add parameters, such as the character set.
fn is_size(content_type: &str) -> bool {
    content_type.split(';').next().is_some_and(|media| media.trim().eq_ignore_ascii_case("text/x.tlog.size"))
}

fn size(body: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(body).ok()?.strip_suffix('\n')?;
    text.parse().ok().filter(|size: &u64| size.to_string() == text)
}

fn cosignature(body: &[u8], checkpoint: &str, witness: &Witness, now_s: u64) -> Result<Answer, AskError> {
    let note = [checkpoint.as_bytes(), b"\n", body].concat();
    let note = SignedNote::parse(&note).map_err(|_| AskError::Malformed("not signature lines"))?;
    if note.body() != checkpoint {
        return Err(AskError::Malformed("not signature lines alone"));
    }
    let id = key_id(&witness.name, KeyKind::Cosignature, &witness.key);
    let mut best: Option<(SignatureLine, u64)> = None;
    for line in note.lines().iter().filter(|line| line.name() == witness.name && line.id() == id) {
        let time = verify_cosignature(checkpoint, &witness.key, line.signature()).ok_or(AskError::BadCosignature)?;
        if time == 0 || time > now_s.saturating_add(MAX_AHEAD_S) {
            return Err(AskError::BadTime(time));
        }
        if best.as_ref().is_none_or(|(_, before)| *before < time) {
            best = Some((line.clone(), time));
        }
    }
    best.map(|(line, time)| Answer::Cosigned(line, time)).ok_or(AskError::NoCosignature)
}

#[cfg(test)]
#[path = "protocol_tests.rs"]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests;
