//! What is asked of identity and admission: enrolments, certificates, nodes and systems that connect.

use crate::change::Grounds;
use crate::client::Client;
use crate::clock::now_ms;
use crate::command::Draft;
use crate::connection::Recorded;
use crate::error::ClientError;
use crate::signer;
use vermilion_identity::AuthorityCertificate;
use vermilion_identity::enrolment::EnrolmentToken;
use vermilion_proto::{
    AdmissionState, Applicant, ApplyAdmission, ApproveAdmission, AuthorityState, BanSystem, CertificateFigures, CertificateState,
    ConnectSystem, GenesisNode, GrantEnrolment, NotifyChange, RemedySystem, ReportTest, RestoreCertificate, RetireSystem,
    RevokeCertificate, SuspendCertificate, TestReport, UnitState, body::Of,
};
use vermilion_registry::Kind;
use vermilion_registry::authority::{MANAGING_CITY, MANAGING_DISTRICT, has_role};
use vermilion_registry::certificates::KEY_COMPROMISE;
use vermilion_registry::custody::SECURITY_ADMIN;
use vermilion_registry::reason::Reason;

/// What a step of an admission brings with it.
#[derive(Clone, Debug)]
pub enum Step {
    /// A new subject, with the unit that answers for it.
    Apply(ApplyAdmission),
    /// A test that was passed.
    Test(TestReport),
    /// Approval.
    Approve,
    /// Connection.
    Connect,
    /// A major change: SHA-256 of what describes it.
    Notify([u8; 32]),
    /// Ban or disconnection.
    Ban {
        /// The grade of the risk.
        grade: String,
        /// Whether those who approve admissions sign too: without them more than half of the nodes stay.
        approved: bool,
    },
    /// A remedy: SHA-256 of what describes it; of a node, what it comes back with.
    Remedy([u8; 32], Option<GenesisNode>),
    /// The end.
    Retire,
}

impl Step {
    fn kind(&self) -> Kind {
        match self {
            Self::Apply(_) => Kind::ApplyAdmission,
            Self::Test(_) => Kind::ReportTest,
            Self::Approve => Kind::ApproveAdmission,
            Self::Connect => Kind::ConnectSystem,
            Self::Notify(_) => Kind::NotifyChange,
            Self::Ban { .. } => Kind::BanSystem,
            Self::Remedy(..) => Kind::RemedySystem,
            Self::Retire => Kind::RetireSystem,
        }
    }

    /// Whether the unit that answers for the subject takes this step itself, if its keys are here.
    fn is_own(&self) -> bool {
        matches!(self, Self::Apply(_) | Self::Notify(_) | Self::Remedy(..) | Self::Retire)
    }

    /// The posts that sign besides those of the command, `approvers` being those who let nodes and systems in;
    /// `is_own` if the unit that answers for the subject acts.
    fn besides(&self, subject: &str, is_own: bool, approvers: &str) -> Option<String> {
        match self {
            Self::Ban { approved: true, .. } => Some(approvers.to_owned()),
            Self::Retire if !is_own || subject.starts_with("node/") => Some(approvers.to_owned()),
            Self::Notify(_) | Self::Remedy(..) if !is_own => Some(format!("{SECURITY_ADMIN}|{approvers}")),
            _ => None,
        }
    }

    fn body(self, subject: String) -> Of {
        match self {
            Self::Apply(body) => Of::ApplyAdmission(ApplyAdmission { subject, ..body }),
            Self::Test(report) => Of::ReportTest(ReportTest { subject, report: Some(report) }),
            Self::Approve => Of::ApproveAdmission(ApproveAdmission { subject }),
            Self::Connect => Of::ConnectSystem(ConnectSystem { subject }),
            Self::Notify(digest) => Of::NotifyChange(NotifyChange { subject, change_digest: digest.to_vec() }),
            Self::Ban { grade, .. } => Of::BanSystem(BanSystem { subject, risk_grade: grade }),
            Self::Remedy(digest, node) => Of::RemedySystem(RemedySystem { subject, remedy_digest: digest.to_vec(), node }),
            Self::Retire => Of::RetireSystem(RetireSystem { subject }),
        }
    }
}

/// What becomes of a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Never to be used again, for a reason of RFC 5280.
    Revoked(u32),
    /// Not to be used until it is restored.
    Suspended,
    /// Good again.
    Restored,
}

impl Client {
    /// The unit that acts: the one named, else the first of `preferred`, of the managing units and of
    /// all units here whose keys fill the posts that the command takes.
    async fn actor(&self, kind: Kind, by: Option<&str>, preferred: &[&str]) -> Result<String, ClientError> {
        let rule = self.post_rule(kind).await?;
        self.actor_by(by, preferred, |_| rule.clone())
    }

    /// The same where the posts depend on the unit.
    fn actor_by(&self, by: Option<&str>, preferred: &[&str], rule_of: impl Fn(&str) -> String) -> Result<String, ClientError> {
        if let Some(by) = by {
            return Ok(by.to_owned());
        }
        let keyring = self.keyring();
        let others = keyring.operators().iter().map(|o| o.unit.as_str());
        let mut units = preferred.iter().copied().chain([self.managing_unit()]).chain(others);
        let missing = || ClientError::config("operators", format!("no unit's keys here fill the posts {}", rule_of(self.managing_unit())));
        units.find(|unit| signer::can_sign(keyring, unit, &rule_of(unit))).map(str::to_owned).ok_or_else(missing)
    }

    /// Takes a step of an admission.
    pub async fn admit(&self, by: Option<&str>, subject: &str, step: Step) -> Result<Recorded, ClientError> {
        let kind = step.kind();
        let preferred = match &step {
            Step::Apply(body) => Some(body.unit.clone()),
            Step::Test(report) => Some(report.assessor.clone()),
            step if step.is_own() => self.admission(subject).await?.map(|a| a.unit),
            _ => None,
        };
        let rule = self.post_rule(kind).await?;
        let approvers = self.post_rule(Kind::ApproveAdmission).await?;
        let rule_of = |unit: &str| match step.besides(subject, preferred.as_deref() == Some(unit), &approvers) {
            Some(besides) => signer::joined(&rule, &besides),
            None => rule.clone(),
        };
        let by = self.actor_by(by, &preferred.iter().map(String::as_str).collect::<Vec<_>>(), rule_of)?;
        let rule = rule_of(&by);
        let runs = match &step {
            Step::Apply(ApplyAdmission { unit, node: Some(_), .. }) => Some(unit.clone()),
            _ => None,
        };
        match self.carry_out_by(&rule, Draft::new(&by, now_ms())?, step.body(subject.to_owned())).await {
            Err(error) if error.refusal().is_some_and(|refusal| refusal.reason == Reason::NodeMajority) => {
                Err(error.about("with --with-approval they sign"))
            }
            Err(error) if error.refusal().is_some_and(|refusal| refusal.reason == Reason::UnitRole) => {
                Err(error.about(&self.without_role(&by, runs).await))
            }
            done => done,
        }
    }

    /// Whose role a step lacks: of the unit that is to run a node, if it does not manage (002-6), else of who acts. A record
    /// has the reason alone.
    async fn without_role(&self, by: &str, runs: Option<String>) -> String {
        if let Some(uscc) = runs
            && let Ok(Some(UnitState { unit: Some(unit), .. })) = self.unit(&uscc).await
            && ![MANAGING_CITY, MANAGING_DISTRICT].iter().any(|role| has_role(&unit, role))
        {
            return format!("unit {uscc} is to run a node and is neither {MANAGING_CITY} nor {MANAGING_DISTRICT}");
        }
        format!("unit {by}, which acts")
    }

    /// Grants an enrolment. The token is for the applicant alone: it is not kept here, and the ledger
    /// has its hash.
    pub async fn grant_enrolment(
        &self,
        by: Option<&str>,
        applicant: Applicant,
        until_ms: u64,
    ) -> Result<(EnrolmentToken, Recorded), ClientError> {
        let root = AuthorityCertificate::parse(&self.genesis().root_certificate).map_err(|_| Reason::NoAuthority)?;
        let token = EnrolmentToken::new(root.fingerprint, until_ms)?;
        let by = self.actor(Kind::GrantEnrolment, by, &[]).await?;
        let grant = GrantEnrolment { token_hash: token.hash().to_vec(), applicant: Some(applicant), until_ms };
        let recorded = self.carry_out(Kind::GrantEnrolment, Draft::new(&by, now_ms())?, Of::GrantEnrolment(grant)).await?;
        Ok((token, recorded))
    }

    /// Whom a certificate may be for, as the ledger knows them: `node/<name>`,
    /// `unit-system/<USCC>/<name>`, `operator/<key id>` or `auditor/<key id>`. A person's posts are all
    /// that the key holds, or those named.
    pub async fn applicant(&self, text: &str, posts: &[String]) -> Result<Applicant, ClientError> {
        let parts: Vec<&str> = text.split('/').collect();
        match parts.as_slice() {
            ["node", name] => {
                let admission = self.admission(text).await?.ok_or(Reason::UnknownSystem)?;
                let raft_id = admission.node.map_or(0, |n| n.raft_id);
                Ok(Applicant { kind: "node".into(), unit: admission.unit, name: (*name).to_owned(), raft_id, ..Applicant::default() })
            }
            ["unit-system", unit, name] => {
                Ok(Applicant { kind: "unit-system".into(), unit: (*unit).to_owned(), name: (*name).to_owned(), ..Applicant::default() })
            }
            [kind @ ("operator" | "auditor"), key_id] => {
                let all = self.operators("").await?;
                let found = all.into_iter().filter_map(|s| s.operator).find(|o| hex::encode(&o.key_id) == *key_id);
                let operator = found.ok_or(Reason::UnknownOperator)?;
                let mut posts = if posts.is_empty() { operator.posts } else { posts.to_vec() };
                posts.sort();
                Ok(Applicant { kind: (*kind).to_owned(), unit: operator.unit, name: (*key_id).to_owned(), posts, raft_id: 0 })
            }
            _ => Err(ClientError::Usage(format!(
                "{text} is no applicant: write node/NAME, unit-system/USCC/NAME, operator/KEYID or auditor/KEYID"
            ))),
        }
    }

    /// Changes how a certificate stands; a suspension and its end name their grounds. A lost key (reason 1) is revoked by one signature of the
    /// holder's own unit, if a key of it is here.
    pub async fn change_certificate(
        &self,
        by: Option<&str>,
        serial: &[u8],
        to: Standing,
        grounds: &Grounds,
    ) -> Result<Recorded, ClientError> {
        let serial = serial.to_vec();
        let (kind, body) = match to {
            Standing::Revoked(reason) => {
                let kind = if reason == KEY_COMPROMISE { Kind::RevokeLostKey } else { Kind::RevokeCertificate };
                (kind, Of::RevokeCertificate(RevokeCertificate { serial: serial.clone(), reason }))
            }
            Standing::Suspended => (Kind::SuspendCertificate, Of::SuspendCertificate(SuspendCertificate { serial: serial.clone() })),
            Standing::Restored => (Kind::RestoreCertificate, Of::RestoreCertificate(RestoreCertificate { serial: serial.clone() })),
        };
        let own = match (kind, by) {
            (Kind::RevokeLostKey, None) => self.certificate(&hex::encode(&serial)).await?.and_then(|c| c.holder).map(|h| h.unit),
            _ => None,
        };
        let by = self.actor(kind, by, &own.iter().map(String::as_str).collect::<Vec<_>>()).await?;
        self.carry_out(kind, grounds.draft(&by)?, body).await
    }

    /// A certificate, by its serial number in hexadecimal.
    pub async fn certificate(&self, serial: &str) -> Result<Option<CertificateState>, ClientError> {
        Ok(self.query_as_operator("certificate", serial).await?.certificates.into_iter().next())
    }

    /// The certificates of a unit's holders, or all.
    pub async fn certificates(&self, unit: &str) -> Result<Vec<CertificateState>, ClientError> {
        Ok(self.query_as_operator("certificates", unit).await?.certificates)
    }

    /// The admission of a subject.
    pub async fn admission(&self, subject: &str) -> Result<Option<AdmissionState>, ClientError> {
        Ok(self.query_as_operator("admission", subject).await?.admissions.into_iter().next())
    }

    /// The admissions for which a unit answers, or all.
    pub async fn admissions(&self, unit: &str) -> Result<Vec<AdmissionState>, ClientError> {
        Ok(self.query_as_operator("admissions", unit).await?.admissions)
    }

    /// The authority's certificates: the root, then the issuing ones by age.
    pub async fn authority(&self) -> Result<Vec<AuthorityState>, ClientError> {
        Ok(self.query_as_operator("authority", "").await?.authority)
    }

    /// The figures of a month, such as `2026-10`, by authority and unit; with the record and the time as
    /// of which they are.
    pub async fn certificate_figures(&self, month: &str) -> Result<(Vec<CertificateFigures>, u64, u64), ClientError> {
        let reply = self.query_as_operator("certificate-figures", month).await?;
        Ok((reply.figures, reply.as_of_seq, reply.as_of_ms))
    }
}
