//! What can go wrong on the client's side, and the exit code that scripts see.

use std::path::{Path, PathBuf};
use tonic::{Code, Status};
use vermilion_crypto::{CryptoError, Digest};
use vermilion_identity::TokenError;
use vermilion_registry::authorisation::{KEY_NOT_IN_FORCE, KEY_NOT_REGISTERED};
use vermilion_registry::reason::{Reason, Refusal};

/// How the command ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Exit {
    /// Done, and the answer is yes.
    Yes = 0,
    /// Done, and the answer is no: rows rejected, licence not valid, receipt or audit with findings.
    No = 1,
    /// Usage or configuration.
    Usage = 2,
    /// No node could be reached, the outcome is not known, or the quorum has not cosigned yet: the same call may be
    /// made again.
    Unreachable = 3,
    /// The ledger refused the whole.
    Refused = 4,
    /// A receipt or QR code holds, and is older than asked for.
    TooOld = 5,
    /// A receipt or QR code holds, and does not show the licence as valid.
    NotValid = 6,
    /// Ctrl-C, as shells have it.
    Interrupted = 130,
}

/// Why a call did not come to its answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// A value of the configuration that cannot work.
    #[error("{key}: {why}")]
    Config {
        /// The key.
        key: String,
        /// Why not.
        why: String,
    },
    /// A file that cannot be read or written.
    #[error("{path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// What was asked makes no sense.
    #[error("{0}")]
    Usage(String),
    /// No node answered.
    #[error("no node answers: {0}")]
    Unreachable(String),
    /// The command was sent and its outcome is not known. It may yet be recorded: the same bytes
    /// may be sent again, another command for the same purpose may not.
    #[error("the outcome of command {id} is not known yet ({why}): send the same again, or ask `vermilion command status {id}`", id = hex::encode(.id))]
    Unknown {
        /// The command.
        id: Digest,
        /// What happened last.
        why: String,
    },
    /// The ledger refused.
    #[error("{} {} ({}){}", .0.reason.name(), .0.reason.chinese(), .0.reason.english(), detail(.0))]
    Refused(Refusal),
    /// The ledger refused, and a record says so for ever.
    #[error("{} {} ({}){}: record {seq}, command {id}", .refusal.reason.name(), .refusal.reason.chinese(), .refusal.reason.english(), detail(.refusal), id = hex::encode(.id))]
    RefusedInRecord {
        /// Why.
        refusal: Refusal,
        /// The command.
        id: Digest,
        /// Its record's number.
        seq: u64,
    },
    /// What was asked for failed, after the command that it goes with was recorded and taken: that stands.
    #[error("{why}; on record all the same: record {seq}, command {id}", id = hex::encode(.id))]
    OnRecord {
        /// What failed.
        why: Box<ClientError>,
        /// The command.
        id: Digest,
        /// Its record's number.
        seq: u64,
    },
    /// A node answered something that does not hold together.
    #[error("a node's answer does not hold: {0}")]
    BadAnswer(String),
    /// Standard output did not take the answer, as on a full disk.
    #[error("the answer could not be written: what was asked may be done all the same; ask again")]
    Unwritten,
    /// Whoever asked does not wait for the end.
    #[error("interrupted: the same command carries on where it stopped 已中断，重新执行同一命令即可继续")]
    Interrupted,
    /// A local operation of cryptography failed.
    #[error(transparent)]
    Crypto(#[from] CryptoError),
}

/// The detail, where it says more than the reason.
fn detail(refusal: &Refusal) -> String {
    if refusal.detail.is_empty() || refusal.detail == refusal.reason.english() { String::new() } else { format!(": {}", refusal.detail) }
}

impl From<Refusal> for ClientError {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<Reason> for ClientError {
    fn from(reason: Reason) -> Self {
        Self::Refused(reason.into())
    }
}

impl ClientError {
    /// An error about a configuration key.
    pub fn config(key: impl Into<String>, why: impl Into<String>) -> Self {
        Self::Config { key: key.into(), why: why.into() }
    }

    /// An error about a file.
    pub fn file(path: &Path, source: std::io::Error) -> Self {
        Self::File { path: path.into(), source }
    }

    /// The ledger's refusal, if it is one: at the door or in a record.
    #[must_use]
    pub fn refusal(&self) -> Option<&Refusal> {
        match self {
            Self::Refused(refusal) | Self::RefusedInRecord { refusal, .. } => Some(refusal),
            Self::OnRecord { why, .. } => why.refusal(),
            _ => None,
        }
    }

    /// The same, with the record of the command that it came after.
    #[must_use]
    pub fn on_record(self, id: Digest, seq: u64) -> Self {
        Self::OnRecord { why: Box::new(self), id, seq }
    }

    /// The same, a refusal with what it is about before its detail.
    #[must_use]
    pub fn about(mut self, what: &str) -> Self {
        if let Self::Refused(refusal) | Self::RefusedInRecord { refusal, .. } = &mut self {
            refusal.detail = format!("{what}{}", detail(refusal));
        }
        self
    }

    /// Whether it is the key alone that may not ask: another of the same unit and post may.
    #[must_use]
    pub fn is_of_the_key(&self) -> bool {
        let of_the_key = |detail: &str| [KEY_NOT_IN_FORCE, KEY_NOT_REGISTERED].contains(&detail);
        matches!(self, Self::Refused(refusal) if refusal.reason == Reason::NotAuthorised && of_the_key(&refusal.detail))
    }

    /// The command that it is about, where that is known.
    #[must_use]
    pub fn command(&self) -> Option<&Digest> {
        match self {
            Self::Unknown { id, .. } | Self::RefusedInRecord { id, .. } | Self::OnRecord { id, .. } => Some(id),
            _ => None,
        }
    }

    /// The number of the record that says so, if one does.
    #[must_use]
    pub fn seq(&self) -> Option<u64> {
        match self {
            Self::RefusedInRecord { seq, .. } | Self::OnRecord { seq, .. } => Some(*seq),
            _ => None,
        }
    }

    /// The exit code.
    #[must_use]
    pub fn exit(&self) -> Exit {
        match self {
            // What passes by itself is no refusal: the same may be asked again.
            Self::Refused(refusal) if refusal.reason.is_passing() => Exit::Unreachable,
            Self::OnRecord { why, .. } => why.exit(),
            other => other.kind().map_or(Exit::Refused, |(_, exit)| exit),
        }
    }

    /// A code for scripts: the reason's name, or the kind of error.
    #[must_use]
    pub fn code(&self) -> &'static str {
        self.kind().map(|(code, _)| code).or(self.refusal().map(|refusal| refusal.reason.name())).unwrap_or_default()
    }
}

/// The kinds of errors beside refusals, in one list: with an error that is left out it does not compile.
macro_rules! kinds {
    ($($kind:pat => ($code:literal, $exit:ident),)*) => {
        /// Every code for scripts that is no reason's name, and how the command ends with it.
        pub const KINDS: &[(&str, Exit)] = &[$(($code, Exit::$exit)),*];

        impl ClientError {
            /// Code and exit code; none of a refusal, which has its reason's.
            fn kind(&self) -> Option<(&'static str, Exit)> {
                match self {
                    $($kind => Some(($code, Exit::$exit)),)*
                    ClientError::OnRecord { why, .. } => why.kind(),
                    ClientError::Refused(_) | ClientError::RefusedInRecord { .. } => None,
                }
            }
        }
    };
}

kinds! {
    ClientError::Usage(_) => ("usage", Usage),
    ClientError::Config { .. } => ("configuration", Usage),
    ClientError::File { .. } => ("file", Usage),
    ClientError::Crypto(_) => ("crypto", Usage),
    ClientError::Unreachable(_) => ("unreachable", Unreachable),
    ClientError::Unknown { .. } => ("unknown", Unreachable),
    ClientError::BadAnswer(_) => ("bad-answer", Unreachable),
    ClientError::Unwritten => ("unwritten", Unreachable),
    ClientError::Interrupted => ("interrupted", Interrupted),
}

/// The reason of a stable name.
#[must_use]
pub fn reason_of_name(name: &str) -> Option<Reason> {
    Reason::ALL.iter().copied().find(|r| r.name() == name)
}

/// What a gRPC status means: a node's refusal carries its reason's name in front of the message.
#[must_use]
pub fn refusal_of(status: &Status) -> Option<Refusal> {
    let (name, detail) = status.message().split_once(": ")?;
    reason_of_name(name).map(|reason| Refusal::new(reason, detail))
}

/// Whether a node found the request token's time wrong, by its own clock: another one's may be right.
#[must_use]
pub fn is_of_the_clock(status: &Status) -> bool {
    refusal_of(status).is_some_and(|refusal| refusal.reason == Reason::NotAuthorised && refusal.detail == TokenError::Stale.to_string())
}

/// Whether another node, or the same a moment later, may well answer.
#[must_use]
pub fn is_passing(status: &Status) -> bool {
    match refusal_of(status) {
        // "Unknown" as a status says that there is no such command.
        Some(refusal) => refusal.reason.is_passing() && refusal.reason != Reason::Unknown,
        None => matches!(
            status.code(),
            Code::Unavailable | Code::Unknown | Code::Cancelled | Code::DeadlineExceeded | Code::Internal | Code::Aborted
        ),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_nodes_refusal_is_read_back() {
        let status = Status::permission_denied("not-authorised: the key is not registered");
        assert_eq!(refusal_of(&status), Some(Refusal::new(Reason::NotAuthorised, "the key is not registered")));
        assert!(!is_passing(&status));
        assert!(is_passing(&Status::unavailable("no-leader: wait")));
        assert!(is_passing(&Status::unavailable("tcp connect error")));
        assert!(!is_passing(&Status::invalid_argument("a command id has 32 bytes")));
    }

    #[test]
    fn the_page_lists_every_kind_of_error() {
        let page = std::fs::read_to_string("../docs/formats.md").unwrap();
        for (code, exit) in KINDS {
            let line = format!("\n| `{code}` | {} |", *exit as u8);
            assert!(page.contains(&line), "docs/formats.md lacks:{line}");
        }
    }

    #[test]
    fn what_a_node_says_of_a_key_is_told_from_what_it_says_of_the_question() {
        let said = |detail: &str| ClientError::from(Refusal::new(Reason::NotAuthorised, detail));
        assert!(said(KEY_NOT_IN_FORCE).is_of_the_key() && said(KEY_NOT_REGISTERED).is_of_the_key());
        assert!(!said("issuers see their own").is_of_the_key() && !ClientError::from(Reason::NotAuthorised).is_of_the_key());
        let status = Status::permission_denied(format!("not-authorised: {KEY_NOT_IN_FORCE}"));
        assert!(refusal_of(&status).is_some_and(|refusal| ClientError::from(refusal).is_of_the_key()));
    }

    #[test]
    fn refusals_are_shown_in_both_languages_and_once() {
        let error = ClientError::from(Reason::UnitSuspended);
        assert_eq!(error.to_string(), "unit-suspended 单位已暂停 (The unit is suspended.)");
        assert_eq!(error.exit(), Exit::Refused);
        assert_eq!(ClientError::from(Reason::NoLeader).exit(), Exit::Unreachable);
        let error = ClientError::from(Refusal::new(Reason::Schema, "data"));
        assert!(error.to_string().ends_with(": data"));
        assert!(error.about("type T").to_string().ends_with(": type T: data"));
        let error = ClientError::RefusedInRecord { refusal: Reason::UnitSuspended.into(), id: [7; 32], seq: 12 };
        let said = format!("unit-suspended 单位已暂停 (The unit is suspended.): record 12, command {}", "07".repeat(32));
        assert_eq!((error.to_string(), error.exit(), error.code()), (said, Exit::Refused, "unit-suspended"));
        assert_eq!(
            (error.command(), error.seq(), error.refusal().map(|r| r.reason)),
            (Some(&[7; 32]), Some(12), Some(Reason::UnitSuspended))
        );
    }
}
