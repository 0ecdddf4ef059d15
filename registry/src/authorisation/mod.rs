//! Who may do and ask what: one table ([`table::row`]), for commands in apply and for everything
//! that a node is asked at its listeners (003-10; 004-11: 严格的权限管理).
//!
//! What is not in the table is denied. A row names the kinds of credential and the roles of the
//! credential's unit, each with its reach: own unit, own district, everything. So the right of an
//! operator never exceeds the unit's; it may be less, by the post that a row or policy asks for.
//! Before any row is read, the credential itself must stand: certificate good and in its dates, key in
//! force, node or system connected ([`Credential::refused`]).
//!
//! In apply the table says which roles a command is for ([`require`]); how far the role reaches and
//! what else a command needs, its own rules decide, on what it names. The node asks [`may`] before it
//! answers or passes on: there a denial leaves no record.

mod credential;
pub mod table;

pub use credential::Credential;

use crate::authority::{MANAGING_CITY, has_role};
use crate::command::Kind;
use crate::fatal::{Stop, refuse};
use crate::policy::Policy;
use crate::reason::{Reason, Refusal};
use vermilion_proto::Unit;

/// What a node says to a request token of a key that is revoked, suspended or not in its dates, beside `not-authorised`: the
/// same question may be asked with another key.
pub const KEY_NOT_IN_FORCE: &str = "the key is not in force";
/// The same of a key that nobody registered.
pub const KEY_NOT_REGISTERED: &str = "the key is not registered";

/// The kinds of credential.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash)]
pub enum Bearer {
    /// None at all.
    Public,
    /// A person in posts of a unit.
    Operator,
    /// A person or system of an auditing unit, who reads and never acts.
    Auditor,
    /// A unit's system.
    System,
    /// A node of the ledger.
    Node,
}

impl Bearer {
    /// Every kind.
    pub const ALL: [Bearer; 5] = [Self::Public, Self::Operator, Self::Auditor, Self::System, Self::Node];

    /// The name in documents.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Public => "public",
            Self::Operator => "operator",
            Self::Auditor => "auditor",
            Self::System => "unit-system",
            Self::Node => "node",
        }
    }
}

/// How far a right reaches.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash)]
pub enum Reach {
    /// What is the own unit's.
    Own,
    /// What is of units of the own district, and the own unit's.
    District,
    /// Everything.
    All,
}

impl Reach {
    /// The name in documents.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Own => "own",
            Self::District => "district",
            Self::All => "all",
        }
    }
}

/// What can be asked of a node, besides commands.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash)]
pub enum Question {
    /// A licence's status, as far as its type's public status goes.
    LicenceStatus,
    /// The catalogue of types (002-14 ¶2).
    Types,
    /// The genesis.
    Genesis,
    /// Checkpoints with their cosignatures.
    Checkpoint,
    /// A checkpoint at once, before the schedule's.
    CheckpointNow,
    /// The authority's certificates, revocation lists and OCSP (001-13).
    CertificateStatus,
    /// Whether the node is up.
    Health,
    /// Units.
    Units,
    /// Policy.
    Policy,
    /// What became of a command whose id one knows.
    CommandStatus,
    /// The nodes, and how far each is.
    Cluster,
    /// Receipts of licences.
    Receipt,
    /// The receipt of a command whose id one knows.
    CommandReceipt,
    /// A licence's state and history.
    Licence,
    /// Records as they are.
    Records,
    /// Operators and their posts.
    Operators,
    /// Keyed tags of identity numbers.
    Tags,
    /// Certificates.
    Certificates,
    /// Admissions of nodes and systems.
    Admissions,
    /// Logins and refusals (002-21).
    AuditTrail,
    /// Measurements.
    Metrics,
    /// Handing leadership over, distrusting a node.
    Control,
    /// What nodes say to each other.
    Peer,
}

impl Question {
    /// Every question.
    pub const ALL: [Question; 23] = [
        Self::LicenceStatus,
        Self::Types,
        Self::Genesis,
        Self::Checkpoint,
        Self::CheckpointNow,
        Self::CertificateStatus,
        Self::Health,
        Self::Units,
        Self::Policy,
        Self::CommandStatus,
        Self::Cluster,
        Self::Receipt,
        Self::CommandReceipt,
        Self::Licence,
        Self::Records,
        Self::Operators,
        Self::Tags,
        Self::Certificates,
        Self::Admissions,
        Self::AuditTrail,
        Self::Metrics,
        Self::Control,
        Self::Peer,
    ];

    /// The stable name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::LicenceStatus => "licence-status",
            Self::Types => "types",
            Self::Genesis => "genesis",
            Self::Checkpoint => "checkpoint",
            Self::CheckpointNow => "checkpoint-now",
            Self::CertificateStatus => "certificate-status",
            Self::Health => "health",
            Self::Units => "units",
            Self::Policy => "policy",
            Self::CommandStatus => "command-status",
            Self::Cluster => "cluster",
            Self::Receipt => "receipt",
            Self::CommandReceipt => "command-receipt",
            Self::Licence => "licence",
            Self::Records => "records",
            Self::Operators => "operators",
            Self::Tags => "tags",
            Self::Certificates => "certificates",
            Self::Admissions => "admissions",
            Self::AuditTrail => "audit-trail",
            Self::Metrics => "metrics",
            Self::Control => "control",
            Self::Peer => "peer",
        }
    }
}

/// What somebody wants.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash)]
pub enum Action {
    /// To have a command recorded.
    Command(Kind),
    /// An answer.
    Ask(Question),
}

impl Action {
    /// Every action.
    pub fn all() -> impl Iterator<Item = Action> {
        let nodes = [Kind::Genesis, Kind::Commitment, Kind::IssueCertificate];
        Kind::SIGNED_BY_POSTS.into_iter().chain(nodes).map(Action::Command).chain(Question::ALL.into_iter().map(Action::Ask))
    }

    /// The stable name: of the command or of the question.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Command(kind) => kind.name(),
            Self::Ask(question) => question.name(),
        }
    }
}

/// Whose something is.
#[derive(Clone, Copy, Debug)]
pub struct About<'a> {
    /// USCC of the unit.
    pub unit: &'a str,
    /// Its area.
    pub area: &'a str,
}

/// How far a credential's right to an action reaches, or why it has none.
pub fn reach(policy: &Policy, who: &Credential, action: Action) -> Result<Reach, Refusal> {
    if let Some(refusal) = &who.refused {
        return Err(refusal.clone());
    }
    let row = table::row(action);
    let mut denied = Refusal::new(Reason::NotAuthorised, action.name());
    let mut best = None;
    for grant in row.grants.iter().filter(|g| g.bearer == who.bearer || g.bearer == Bearer::Public) {
        let as_public = grant.bearer == Bearer::Public;
        if !as_public && grant.role.is_some_and(|role| !who.unit.as_ref().is_some_and(|u| has_role(u, role))) {
            continue;
        }
        if !as_public && !row.posts.is_met(policy, action, who) {
            denied = Refusal::new(Reason::PostNotHeld, action.name());
            continue;
        }
        // What the public may ask, a suspended unit may. The city's managing unit is never suspended, and a node
        // is the ledger's as long as it is connected.
        let is_bound = !as_public && who.bearer != Bearer::Node;
        if is_bound && who.unit_suspended && !who.unit.as_ref().is_some_and(|u| has_role(u, MANAGING_CITY)) {
            denied = Reason::UnitSuspended.into();
            continue;
        }
        best = best.max(Some(grant.reach));
    }
    best.ok_or(denied)
}

/// Whether a credential may do or ask something about a unit; about none, only who may all.
pub fn may(policy: &Policy, who: &Credential, action: Action, about: Option<About<'_>>) -> Result<(), Refusal> {
    let reach = reach(policy, who, action)?;
    let own = |a: About<'_>| who.unit.as_ref().is_some_and(|u| u.uscc == a.unit);
    let near = |a: About<'_>| who.unit.as_ref().is_some_and(|u| !u.area.is_empty() && u.area == a.area);
    match (reach, about) {
        (Reach::All, _) => Ok(()),
        (Reach::District | Reach::Own, Some(about)) if own(about) => Ok(()),
        (Reach::District, Some(about)) if near(about) => Ok(()),
        (Reach::District, Some(_)) => Err(Reason::OutsideDistrict.into()),
        _ => Err(Refusal::new(Reason::NotAuthorised, action.name())),
    }
}

/// Refuses unless the acting unit has a role for which the table has the command.
pub(crate) fn require(kind: Kind, acting: &Unit) -> Result<(), Stop> {
    let roles: Vec<&str> = table::row(Action::Command(kind)).grants.iter().filter_map(|g| g.role).collect();
    if roles.iter().any(|role| has_role(acting, role)) {
        Ok(())
    } else {
        refuse(Reason::UnitRole, format!("needs one of: {}", roles.join(", ")))
    }
}
