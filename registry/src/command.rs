//! A command as it comes from the gate, and the kinds of command there are.

use crate::certificates::KEY_COMPROMISE;
use vermilion_crypto::KeyId;
use vermilion_proto::{Command, LicenceItem, body::Of};

/// A command that passed the gate. Whoever makes one has checked, as a pure function of the bytes:
/// envelope, payload and items are canonical; every signature holds; every signer that the head
/// names has signed, and nobody else; the items' root and count are what the payload signs.
#[derive(Clone, Debug)]
pub struct Checked {
    /// The command's id: BLAKE3 over the payload, under its context.
    pub id: [u8; 32],
    /// The exact bytes of the envelope; the record keeps them.
    pub envelope: Vec<u8>,
    /// The decoded payload.
    pub command: Command,
    /// Ids of the keys that signed, in the order of `Head.signers`.
    pub signer_keys: Vec<KeyId>,
    /// The items that travelled beside, each with its exact bytes.
    pub items: Vec<(Vec<u8>, LicenceItem)>,
    /// Digest of what travelled beside; empty when nothing did.
    pub beside_digest: Vec<u8>,
    /// Whether ciphertexts travelled beside. It decides nothing: a replay without the vault gives
    /// the same records.
    pub has_vault: bool,
}

/// The kinds of command. The name stands in policy keys: `posts.<name>`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash)]
pub enum Kind {
    /// The first record.
    Genesis,
    /// Admits a unit (002-6).
    RegisterUnit,
    /// Suspends or restores a unit (002-6).
    ChangeUnit,
    /// Registers an operator's key with its posts (002-21, 002-25).
    AddOperator,
    /// Takes a key or posts back (002-21).
    RevokeOperator,
    /// Publishes a licence type's next version (002-9).
    PublishType,
    /// Says which units issue a type (002-9).
    PublishImplementation,
    /// Issues licences (002-7, 002-10).
    Issue,
    /// Changes a licence's state or flags (002-7).
    ChangeStatus,
    /// Issues a licence's next version (002-7).
    Supersede,
    /// Uses, consults or verifies licences (002-15).
    Use,
    /// Erases content from the vault (002-12, 002-21).
    Erase,
    /// Sets policy (002-6).
    SetPolicy,
    /// The leader's empty command.
    Commitment,
    /// Applies for a node's or a system's connection (004-17).
    ApplyAdmission,
    /// Files the report of a security test (004-17).
    ReportTest,
    /// Approves the connection (004-17).
    ApproveAdmission,
    /// Connects what is approved (004-17).
    ConnectSystem,
    /// Notifies of a major change (004-19).
    NotifyChange,
    /// Bans or disconnects, by the risk's grade (004-20).
    BanSystem,
    /// Says that the security problem is remedied (004-20).
    RemedySystem,
    /// Ends a connection for good.
    RetireSystem,
    /// Grants one certificate to one applicant (001-18).
    GrantEnrolment,
    /// Replaces the issuing certificate.
    ReplaceAuthority,
    /// Revokes a certificate (001-13).
    RevokeCertificate,
    /// Revokes, at once, a certificate whose key is lost or no longer secret (001-23).
    RevokeLostKey,
    /// Suspends a certificate (001-13).
    SuspendCertificate,
    /// Restores a suspended certificate (001-13: 解锁).
    RestoreCertificate,
    /// Records a certificate that the authority issued; signed by a node (001-13).
    IssueCertificate,
}

impl Kind {
    /// Every kind that posts of operators sign.
    pub const SIGNED_BY_POSTS: [Kind; 26] = [
        Kind::RegisterUnit,
        Kind::ChangeUnit,
        Kind::AddOperator,
        Kind::RevokeOperator,
        Kind::PublishType,
        Kind::PublishImplementation,
        Kind::Issue,
        Kind::ChangeStatus,
        Kind::Supersede,
        Kind::Use,
        Kind::Erase,
        Kind::SetPolicy,
        Kind::ApplyAdmission,
        Kind::ReportTest,
        Kind::ApproveAdmission,
        Kind::ConnectSystem,
        Kind::NotifyChange,
        Kind::BanSystem,
        Kind::RemedySystem,
        Kind::RetireSystem,
        Kind::GrantEnrolment,
        Kind::ReplaceAuthority,
        Kind::RevokeCertificate,
        Kind::RevokeLostKey,
        Kind::SuspendCertificate,
        Kind::RestoreCertificate,
    ];

    /// Whether it belongs to identity and admission: only a ledger whose genesis names an authority
    /// takes such commands.
    #[must_use]
    pub fn is_of_identity(self) -> bool {
        self >= Self::ApplyAdmission
    }

    /// The kind of a body.
    #[must_use]
    pub fn of(body: &Of) -> Self {
        match body {
            Of::Genesis(_) => Self::Genesis,
            Of::RegisterUnit(_) => Self::RegisterUnit,
            Of::ChangeUnit(_) => Self::ChangeUnit,
            Of::AddOperator(_) => Self::AddOperator,
            Of::RevokeOperator(_) => Self::RevokeOperator,
            Of::PublishType(_) => Self::PublishType,
            Of::PublishImplementation(_) => Self::PublishImplementation,
            Of::IssueLicences(_) => Self::Issue,
            Of::ChangeStatus(_) => Self::ChangeStatus,
            Of::SupersedeLicence(_) => Self::Supersede,
            Of::Use(_) => Self::Use,
            Of::EraseContent(_) => Self::Erase,
            Of::SetPolicy(_) => Self::SetPolicy,
            Of::Commitment(_) => Self::Commitment,
            Of::ApplyAdmission(_) => Self::ApplyAdmission,
            Of::ReportTest(_) => Self::ReportTest,
            Of::ApproveAdmission(_) => Self::ApproveAdmission,
            Of::ConnectSystem(_) => Self::ConnectSystem,
            Of::NotifyChange(_) => Self::NotifyChange,
            Of::BanSystem(_) => Self::BanSystem,
            Of::RemedySystem(_) => Self::RemedySystem,
            Of::RetireSystem(_) => Self::RetireSystem,
            Of::GrantEnrolment(_) => Self::GrantEnrolment,
            Of::ReplaceAuthority(_) => Self::ReplaceAuthority,
            Of::IssueCertificate(_) => Self::IssueCertificate,
            // Who loses a key must not have to find three people first.
            Of::RevokeCertificate(body) if body.reason == KEY_COMPROMISE => Self::RevokeLostKey,
            Of::RevokeCertificate(_) => Self::RevokeCertificate,
            Of::SuspendCertificate(_) => Self::SuspendCertificate,
            Of::RestoreCertificate(_) => Self::RestoreCertificate,
        }
    }

    /// The stable name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Genesis => "genesis",
            Self::RegisterUnit => "register-unit",
            Self::ChangeUnit => "change-unit",
            Self::AddOperator => "add-operator",
            Self::RevokeOperator => "revoke-operator",
            Self::PublishType => "publish-type",
            Self::PublishImplementation => "publish-implementation",
            Self::Issue => "issue",
            Self::ChangeStatus => "change-status",
            Self::Supersede => "supersede",
            Self::Use => "use",
            Self::Erase => "erase",
            Self::SetPolicy => "set-policy",
            Self::Commitment => "commitment",
            Self::ApplyAdmission => "apply-admission",
            Self::ReportTest => "report-test",
            Self::ApproveAdmission => "approve-admission",
            Self::ConnectSystem => "connect-system",
            Self::NotifyChange => "notify-change",
            Self::BanSystem => "ban-system",
            Self::RemedySystem => "remedy-system",
            Self::RetireSystem => "retire-system",
            Self::GrantEnrolment => "grant-enrolment",
            Self::ReplaceAuthority => "replace-authority",
            Self::RevokeCertificate => "revoke-certificate",
            Self::RevokeLostKey => "revoke-lost-key",
            Self::SuspendCertificate => "suspend-certificate",
            Self::RestoreCertificate => "restore-certificate",
            Self::IssueCertificate => "issue-certificate",
        }
    }
}
