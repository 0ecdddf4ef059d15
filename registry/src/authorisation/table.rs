//! The table itself. `docs/authorisation.md` is generated from it, and a test holds every cell
//! against that page.

use super::{Action, Bearer, Credential, Question, Reach};
use crate::authority::{ASSESSOR, AUDITOR, ISSUING, MANAGING_CITY, MANAGING_DISTRICT, USING};
use crate::command::Kind;
use crate::custody::{AUDIT_ADMIN, SECURITY_ADMIN, SYSTEM_ADMIN};
use crate::policy::Policy;
use std::fmt::Write as _;

/// One right: a kind of credential, a role of its unit (none: whatever it is), and how far it reaches.
#[derive(Clone, Copy, Debug)]
pub struct Grant {
    /// The kind of credential.
    pub bearer: Bearer,
    /// The role that the unit must have.
    pub role: Option<&'static str>,
    /// How far.
    pub reach: Reach,
}

/// Which post an operator must hold. Other kinds of credential have none, or are not asked.
#[derive(Clone, Copy, Debug)]
pub enum Posts {
    /// Any.
    Any,
    /// One that the policy `posts.<command>` names.
    Policy,
    /// One of these.
    OneOf(&'static [&'static str]),
}

impl Posts {
    pub(super) fn is_met(self, policy: &Policy, action: Action, who: &Credential) -> bool {
        let holds = |post: &str| who.posts.iter().any(|held| held == post);
        match (self, action) {
            (Self::Any, _) => true,
            _ if who.bearer != Bearer::Operator => true,
            (Self::Policy, Action::Command(kind)) => policy.posts(kind).is_some_and(|rule| rule.posts().any(holds)),
            (Self::Policy, Action::Ask(_)) => false,
            (Self::OneOf(posts), _) => posts.iter().any(|p| holds(p)),
        }
    }
}

/// The rights to one action.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// Who.
    pub grants: &'static [Grant],
    /// In which post.
    pub posts: Posts,
}

const fn of(bearer: Bearer, role: &'static str, reach: Reach) -> Grant {
    Grant { bearer, role: Some(role), reach }
}

const fn any(bearer: Bearer) -> Grant {
    Grant { bearer, role: None, reach: Reach::All }
}

const fn operator(role: &'static str, reach: Reach) -> Grant {
    of(Bearer::Operator, role, reach)
}

/// The posts, of the city's managing unit, that hand leadership over and distrust nodes.
pub const CONTROL_POSTS: &[&str] = &[SYSTEM_ADMIN, SECURITY_ADMIN, "operate"];

/// The post, of the city's managing unit, that reads the nodes' trails.
pub const TRAIL_POSTS: &[&str] = &[AUDIT_ADMIN];

const CITY: &[Grant] = &[operator(MANAGING_CITY, Reach::All)];
const MANAGERS: &[Grant] = &[operator(MANAGING_CITY, Reach::All), operator(MANAGING_DISTRICT, Reach::District)];
const ISSUERS: &[Grant] = &[operator(ISSUING, Reach::Own)];
/// A licence is its issuing unit's; the city's managing unit looks after it where the rules say so.
const KEEPERS: &[Grant] = &[operator(ISSUING, Reach::Own), operator(MANAGING_CITY, Reach::All)];
const TESTERS: &[Grant] =
    &[operator(ASSESSOR, Reach::All), operator(MANAGING_CITY, Reach::All), operator(MANAGING_DISTRICT, Reach::District)];
const USERS: &[Grant] = &[
    operator(USING, Reach::All),
    operator(ISSUING, Reach::All),
    operator(MANAGING_CITY, Reach::All),
    operator(MANAGING_DISTRICT, Reach::All),
];
const EVERY_UNIT: &[Grant] = &[
    operator(MANAGING_CITY, Reach::All),
    operator(MANAGING_DISTRICT, Reach::District),
    operator(ISSUING, Reach::Own),
    operator(USING, Reach::Own),
    operator(AUDITOR, Reach::Own),
    operator(ASSESSOR, Reach::Own),
];
const NODES: &[Grant] = &[any(Bearer::Node)];
const PUBLIC: &[Grant] = &[any(Bearer::Public)];
const EVERY_CREDENTIAL: &[Grant] = &[any(Bearer::Operator), any(Bearer::Auditor), any(Bearer::System), any(Bearer::Node)];
/// What stands in the register about units: each its own, managers what they manage, auditors all.
const REGISTER: &[Grant] = &[
    operator(MANAGING_CITY, Reach::All),
    operator(MANAGING_DISTRICT, Reach::District),
    operator(ISSUING, Reach::Own),
    operator(USING, Reach::Own),
    operator(AUDITOR, Reach::All),
    operator(ASSESSOR, Reach::Own),
    of(Bearer::Auditor, AUDITOR, Reach::All),
    any(Bearer::Node),
];
/// A licence's receipt is for who may use licences: whom one is shown to, keeps the proof.
const RECEIPTS: &[Grant] = &[
    operator(MANAGING_CITY, Reach::All),
    operator(MANAGING_DISTRICT, Reach::All),
    operator(ISSUING, Reach::All),
    operator(USING, Reach::All),
    operator(AUDITOR, Reach::All),
    of(Bearer::System, ISSUING, Reach::All),
    of(Bearer::System, USING, Reach::All),
    of(Bearer::Auditor, AUDITOR, Reach::All),
    any(Bearer::Node),
];
/// Records: each unit those of its own commands, managers of what they manage, auditors all.
const EVIDENCE: &[Grant] = &[
    operator(MANAGING_CITY, Reach::All),
    operator(MANAGING_DISTRICT, Reach::District),
    operator(ISSUING, Reach::Own),
    operator(USING, Reach::Own),
    operator(AUDITOR, Reach::All),
    of(Bearer::System, ISSUING, Reach::Own),
    of(Bearer::System, USING, Reach::Own),
    of(Bearer::Auditor, AUDITOR, Reach::All),
    any(Bearer::Node),
];
const LICENCES: &[Grant] = &[
    operator(MANAGING_CITY, Reach::All),
    operator(MANAGING_DISTRICT, Reach::District),
    operator(ISSUING, Reach::Own),
    operator(AUDITOR, Reach::All),
    of(Bearer::System, ISSUING, Reach::Own),
    of(Bearer::Auditor, AUDITOR, Reach::All),
];
const TAGGERS: &[Grant] = &[
    operator(MANAGING_CITY, Reach::All),
    operator(MANAGING_DISTRICT, Reach::All),
    operator(ISSUING, Reach::All),
    operator(USING, Reach::All),
    of(Bearer::System, ISSUING, Reach::All),
    of(Bearer::System, USING, Reach::All),
];
const WATCHERS: &[Grant] = &[
    operator(MANAGING_CITY, Reach::All),
    operator(MANAGING_DISTRICT, Reach::All),
    of(Bearer::System, MANAGING_CITY, Reach::All),
    of(Bearer::System, MANAGING_DISTRICT, Reach::All),
];
const TRAIL: &[Grant] = &[operator(MANAGING_CITY, Reach::All), of(Bearer::Auditor, AUDITOR, Reach::All)];

/// The row of an action.
#[must_use]
pub fn row(action: Action) -> Row {
    let (grants, posts) = match action {
        Action::Command(kind) => match kind {
            Kind::Genesis => (&[][..], Posts::Any),
            Kind::Commitment | Kind::IssueCertificate => (NODES, Posts::Any),
            Kind::RegisterUnit | Kind::ChangeUnit | Kind::AddOperator | Kind::RevokeOperator | Kind::PublishImplementation => {
                (MANAGERS, Posts::Policy)
            }
            Kind::PublishType | Kind::SetPolicy => (CITY, Posts::Policy),
            Kind::Issue | Kind::Supersede => (ISSUERS, Posts::Policy),
            Kind::Use => (USERS, Posts::Policy),
            Kind::ChangeStatus | Kind::Erase => (KEEPERS, Posts::Policy),
            Kind::ApplyAdmission | Kind::NotifyChange | Kind::RemedySystem | Kind::RetireSystem | Kind::RevokeLostKey => {
                (EVERY_UNIT, Posts::Policy)
            }
            Kind::ReportTest => (TESTERS, Posts::Policy),
            Kind::ApproveAdmission | Kind::ConnectSystem | Kind::BanSystem | Kind::ReplaceAuthority | Kind::RotateKey => {
                (CITY, Posts::Policy)
            }
            Kind::GrantEnrolment | Kind::RevokeCertificate | Kind::SuspendCertificate | Kind::RestoreCertificate => {
                (MANAGERS, Posts::Policy)
            }
        },
        Action::Ask(question) => match question {
            Question::LicenceStatus
            | Question::Types
            | Question::Genesis
            | Question::Checkpoint
            | Question::CommandReceipt
            | Question::CertificateStatus
            | Question::Health => (PUBLIC, Posts::Any),
            Question::Units | Question::Policy | Question::CommandStatus | Question::Cluster | Question::CheckpointNow => {
                (EVERY_CREDENTIAL, Posts::Any)
            }
            Question::Receipt => (RECEIPTS, Posts::Any),
            Question::Licence => (LICENCES, Posts::Any),
            Question::Records => (EVIDENCE, Posts::Any),
            Question::Operators | Question::Certificates | Question::Admissions => (REGISTER, Posts::Any),
            Question::Tags => (TAGGERS, Posts::Any),
            Question::AuditTrail => (TRAIL, Posts::OneOf(TRAIL_POSTS)),
            Question::Metrics => (WATCHERS, Posts::OneOf(&[SYSTEM_ADMIN, SECURITY_ADMIN, AUDIT_ADMIN, "operate"])),
            Question::Control => (CITY, Posts::OneOf(CONTROL_POSTS)),
            Question::Peer => (NODES, Posts::Any),
        },
    };
    Row { grants, posts }
}

/// The table as the lines of a Markdown table.
#[must_use]
pub fn markdown() -> String {
    let mut out = "| action | who (kind of credential: role of its unit → reach) | post |\n|---|---|---|\n".to_owned();
    for action in Action::all() {
        let row = row(action);
        let who: Vec<String> =
            row.grants.iter().map(|g| format!("{}: {} → {}", g.bearer.name(), g.role.unwrap_or("any"), g.reach.name())).collect();
        let posts = match row.posts {
            Posts::Any => "–".to_owned(),
            Posts::Policy => format!("`posts.{}`", action.name()),
            Posts::OneOf(posts) => posts.join(", "),
        };
        let kind = if matches!(action, Action::Command(_)) { "command" } else { "question" };
        let who = if who.is_empty() { "nobody".to_owned() } else { who.join("; ") };
        // Writing to a string does not fail.
        let _ = writeln!(out, "| {kind} {} | {who} | {posts} |", action.name());
    }
    out
}
