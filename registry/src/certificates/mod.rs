//! Certificates of the ledger's own authority (001-13: 颁发、更新、注销、解锁), as the state knows them.
//!
//! The authority's root stands in the genesis; under it issuing certificates follow each other by
//! records. A leaf is issued by a node of the city that holds the issuing key, and its record is
//! what makes it good: on the strength of a grant, once, or as the renewal of one that stands. The
//! record carries the DER; every field of it must agree with the register. Whether a certificate is
//! good *now* is [`Standing`] and what its holder's entry says ([`crate::authorisation`]), not its dates
//! alone.
//!
//! A person's certificates are on the key by which he signs. What is said of them is said of the key:
//! while they are suspended it signs nothing, and lost, it is revoked with them.
//!
//! A suspension is of a certificate and of what would take its place, and outlives it: revoked or over, it still says by whom it
//! was suspended, until that is lifted. A certificate that is revoked meanwhile nobody restores; the next one for the same holder,
//! or the next key for the same person, then lifts the suspension, if it is by who may undo it. What the holder has beside it, a
//! spare key or a second certificate, is not suspended with it.
//!
//! | standing | becomes |
//! |---|---|
//! | good | suspended, revoked |
//! | suspended (RFC 5280 certificateHold) | good, revoked |
//! | revoked | – |
//!
//! A ledger whose genesis names no root takes none of these commands.

mod authority;
pub mod figures;
mod grant;
mod issue;
mod stand;

pub(crate) use authority::{genesis_changes, replace};
pub(crate) use grant::grant;
pub(crate) use issue::issue;
pub(crate) use stand::{lifted, restore, revoke, revoke_all, suspend, suspended_of};

use crate::reason::Reason;
use vermilion_identity::{Kind as HolderKind, Subject};
use vermilion_proto::Applicant;

/// RFC 5280 CRLReason: the key is lost, or no longer its holder's alone.
pub const KEY_COMPROMISE: u32 = 1;
/// RFC 5280 CRLReason: suspended.
pub const CERTIFICATE_HOLD: u32 = 6;

/// How a certificate stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum Standing {
    /// As issued.
    Good = 1,
    /// Not to be used until it is restored.
    Suspended = 2,
    /// Never to be used again.
    Revoked = 3,
}

impl Standing {
    /// The number in the state.
    #[must_use]
    pub fn number(self) -> u32 {
        self as u32
    }

    /// The standing of a number.
    #[must_use]
    pub fn from_number(number: u32) -> Option<Self> {
        [Self::Good, Self::Suspended, Self::Revoked].into_iter().find(|s| s.number() == number)
    }

    /// The name for reports and scripts.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Suspended => "suspended",
            Self::Revoked => "revoked",
        }
    }

    /// The name in Chinese.
    #[must_use]
    pub fn chinese(self) -> &'static str {
        match self {
            Self::Good => "有效",
            Self::Suspended => "已暂停",
            Self::Revoked => "已注销",
        }
    }
}

/// The reasons for revoking that RFC 5280 names, by number. Its 6 is a suspension and 8 belongs to
/// delta lists: neither revokes.
pub const REVOCATION_REASONS: [(u32, &str); 8] = [
    (0, "unspecified"),
    (1, "keyCompromise"),
    (2, "cACompromise"),
    (3, "affiliationChanged"),
    (4, "superseded"),
    (5, "cessationOfOperation"),
    (9, "privilegeWithdrawn"),
    (10, "aACompromise"),
];

/// Whom a certificate names, in the state's words.
#[must_use]
pub fn applicant_of(subject: &Subject) -> Applicant {
    Applicant {
        kind: subject.kind.word().to_owned(),
        unit: subject.unit.clone(),
        name: subject.name.clone(),
        posts: subject.posts.clone(),
        raft_id: match subject.kind {
            HolderKind::Node { raft_id } => raft_id,
            HolderKind::UnitSystem | HolderKind::Operator | HolderKind::Auditor => 0,
        },
    }
}

/// Whether a refusal to issue says more of the moment, or of the node that was asked, than of the
/// applicant: another node, or the same a moment later, may well issue.
#[must_use]
pub fn is_for_now(reason: Reason) -> bool {
    reason.is_passing() || matches!(reason, Reason::Expired | Reason::NoAuthority)
}

/// Under which name a holder's certificates are found: the path of the certificate's SPIFFE id.
#[must_use]
pub fn holder(of: &Applicant) -> String {
    match of.kind.as_str() {
        "node" => node_holder(of.raft_id),
        kind => format!("{kind}/{}/{}", of.unit, of.name),
    }
}

/// Whether it is a person, not a node or a system.
pub(crate) fn is_person(of: &Applicant) -> bool {
    matches!(of.kind.as_str(), "operator" | "auditor")
}

/// Under which names a person's certificates are found: whether he is named as an operator or as an
/// auditor, they are on one key, his, whose id is their name.
pub(crate) fn holders_of(unit: &str, key_id: &str) -> [String; 2] {
    ["operator", "auditor"].map(|kind| format!("{kind}/{unit}/{key_id}"))
}

/// The same of a node.
#[must_use]
pub fn node_holder(raft_id: u64) -> String {
    format!("node/{raft_id}")
}
