//! Whether who asks may ask: the table of rights ([`vermilion_registry::authorisation`]), on the state
//! as of this node's last record.
//!
//! Who asks is known by a request token, which an operator's key signed for this very question, or else
//! by the certificate of the connection. A ledger without TLS knows nobody by a certificate: there the
//! table is asked of tokens alone, and what was never secret is answered without.

use crate::answers::internal;
use crate::node::Node;
use crate::runtime::now_ms;
use crate::trail::{What, Whom};
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use vermilion_identity::tls::Standing as _;
use vermilion_identity::{Certificate, RequestToken};
use vermilion_proto::{CertificateState, OperatorState};
use vermilion_registry::authorisation::{About, Action, Credential, KEY_NOT_IN_FORCE, KEY_NOT_REGISTERED, Question, Reach, may, reach};
use vermilion_registry::certificates::Standing as Recorded;
use vermilion_registry::policy::Policy;
use vermilion_registry::reason::{Reason, Refusal};
use vermilion_registry::{Directory, Fatal, query};

/// The directory of the state, read again after a record that changed it.
#[derive(Default)]
pub struct Rights {
    changes: AtomicU64,
    read: Mutex<Option<(u64, Arc<Directory>)>>,
}

impl Rights {
    /// How often they have changed since the start.
    pub(crate) fn changes(&self) -> u64 {
        self.changes.load(Ordering::Acquire)
    }

    /// Records that changed rights were applied.
    pub fn changed(&self) {
        self.changes.fetch_add(1, Ordering::AcqRel);
    }
}

/// Who asks, and what the table has for it.
pub struct Asker {
    directory: Arc<Directory>,
    who: Credential,
    operator: Option<OperatorState>,
    whom: Option<Whom>,
    /// When it asks, Unix milliseconds.
    at_ms: u64,
}

impl Asker {
    /// The operator whose token came with the question.
    #[must_use]
    pub fn operator(&self) -> Option<&OperatorState> {
        self.operator.as_ref()
    }

    fn policy(&self) -> Result<Policy, Refusal> {
        Policy::read(self.directory.policy(), self.at_ms).map_err(|e| internal(&e))
    }

    /// Whether it may ask a question that is about no unit in particular.
    fn may(&self, question: Question) -> Result<(), Refusal> {
        may(&self.policy()?, &self.who, Action::Ask(question), None)
    }

    /// Whether it may ask about what is this unit's.
    fn may_about(&self, question: Question, unit: &str) -> Result<(), Refusal> {
        let area = self.area(unit);
        may(&self.policy()?, &self.who, Action::Ask(question), Some(About { unit, area: &area }))
    }

    /// Which units' part of a list it may see: asked of each entry.
    fn sees(&self, question: Question) -> Result<impl Fn(&str) -> bool, Refusal> {
        let reach = reach(&self.policy()?, &self.who, Action::Ask(question))?;
        let own = self.who.unit.clone();
        Ok(move |unit: &str| match (&own, reach) {
            (_, Reach::All) => true,
            (None, _) => false,
            (Some(own), Reach::Own) => own.uscc == unit,
            (Some(own), Reach::District) => own.uscc == unit || own.area == self.area(unit),
        })
    }

    fn area(&self, unit: &str) -> String {
        self.directory.unit(unit).and_then(|s| s.unit.as_ref()).map(|u| u.area.clone()).unwrap_or_default()
    }
}

/// What is answered where nobody is known: nothing of it is secret.
const IN_THE_CLEAR: [Question; 11] = [
    Question::LicenceStatus,
    Question::Types,
    Question::Genesis,
    Question::Checkpoint,
    Question::CommandReceipt,
    Question::Health,
    Question::Units,
    Question::Policy,
    Question::CommandStatus,
    Question::Cluster,
    Question::Metrics,
];

/// What a node that was banned or retired still answers: how it is.
const OF_ITSELF: [Question; 3] = [Question::Health, Question::Cluster, Question::Metrics];

/// What a node that was banned or retired answers: the ledger goes on without it, and it knows nothing new.
pub fn out() -> Refusal {
    Refusal::new(
        Reason::NoLeader,
        "this node was banned or retired, and answers no more: ask another, and take it out of the configuration",
    )
}

const FOR_OPERATORS: &str = "this question is for registered operators: send a request token";

impl Node {
    /// Whether this may be asked, about a unit or about none in particular. What a known credential is
    /// denied goes on the trail.
    pub fn allow(&self, asker: &Asker, question: Question, about: Option<&str>) -> Result<(), Refusal> {
        self.allowed(asker, question, about).inspect_err(|refusal| self.denied(asker, question, refusal))
    }

    fn denied(&self, asker: &Asker, question: Question, refusal: &Refusal) {
        if let Some(whom) = &asker.whom {
            self.trail.note(now_ms(), What::Denied, whom, &format!("{}: {}", question.name(), refusal.reason.name()));
        }
    }

    fn allowed(&self, asker: &Asker, question: Question, about: Option<&str>) -> Result<(), Refusal> {
        if self.is_out() && !OF_ITSELF.contains(&question) {
            return Err(out());
        }
        if self.tls.is_none() && asker.operator.is_none() {
            let open = IN_THE_CLEAR.contains(&question);
            return if open { Ok(()) } else { Err(Refusal::new(Reason::NotAuthorised, FOR_OPERATORS)) };
        }
        match about {
            None => asker.may(question),
            Some(unit) => asker.may_about(question, unit),
        }
    }

    /// Which units' part of a list may be seen.
    pub fn sees<'a>(&self, asker: &'a Asker, question: Question) -> Result<impl Fn(&str) -> bool + use<'a>, Refusal> {
        if self.is_out() {
            return Err(out());
        }
        if self.tls.is_none() && asker.operator.is_none() {
            return Err(Refusal::new(Reason::NotAuthorised, FOR_OPERATORS));
        }
        asker.sees(question).inspect_err(|refusal| self.denied(asker, question, refusal))
    }

    /// The directory (units, operators, nodes, admissions, policy and more) as of the last record that changed any.
    pub(crate) fn directory(&self) -> Result<Arc<Directory>, Refusal> {
        let changes = self.rights.changes();
        let mut read = self.rights.read.lock().unwrap_or_else(PoisonError::into_inner);
        match &*read {
            Some((at, directory)) if *at == changes => Ok(Arc::clone(directory)),
            _ => {
                let directory = Arc::new(Directory::load(&self.store.state_snapshot()).map_err(|e| internal(&e))?);
                *read = Some((changes, Arc::clone(&directory)));
                Ok(directory)
            }
        }
    }

    fn accepts_expired_until(&self) -> u64 {
        self.tls.as_ref().map_or(0, |tls| tls.standing.accepts_expired_until())
    }

    /// What holds of a key's certificates holds of its tokens: if it has some and none is good, it asks
    /// nothing; else in the posts of those that are.
    fn narrow(&self, who: &mut Credential, key_id: &[u8], now_ms: u64) -> Result<(), Fatal> {
        let Some(unit) = who.unit.as_ref().filter(|_| self.tls.is_some()) else { return Ok(()) };
        let state = self.store.state();
        let mut held = Vec::new();
        for kind in ["operator", "auditor"] {
            held.extend(query::certificates_of(&state, &format!("{kind}/{}/{}", unit.uscc, hex::encode(key_id)))?);
        }
        if held.is_empty() {
            return Ok(());
        }
        let in_time = |c: &CertificateState| now_ms <= c.not_after_ms || now_ms < self.accepts_expired_until();
        let good = |c: &&CertificateState| Recorded::from_number(c.standing) == Some(Recorded::Good) && in_time(c);
        let posts: BTreeSet<&String> = held.iter().filter(good).filter_map(|c| c.holder.as_ref()).flat_map(|h| &h.posts).collect();
        if !held.iter().any(|c| good(&c)) {
            who.refused = Some(Reason::CertificateRevoked.into());
        }
        who.posts.retain(|post| posts.contains(post));
        Ok(())
    }

    /// Who asks a question by this name: by its token, else by its certificate, else the public.
    pub fn asker(&self, token: Option<&str>, what: &str, certificate: Option<&Certificate>) -> Result<Asker, Refusal> {
        let directory = self.directory()?;
        let now = self.time();
        if let Some(token) = token {
            let refused = |why: &str| Refusal::new(Reason::NotAuthorised, why);
            let token = RequestToken::check(token, &self.ledger_id, what, now).map_err(|e| refused(&e.to_string()))?;
            let mut who = Credential::of_key(&directory, &token.key.id(), now);
            self.narrow(&mut who, &token.key.id(), now).map_err(|e| internal(&e))?;
            let state = directory.operator(&token.key.id()).cloned().ok_or_else(|| refused(KEY_NOT_REGISTERED))?;
            let own_key = state.operator.as_ref().is_some_and(|o| o.public_key == token.key.0);
            if who.refused.is_some() || who.unit_suspended || !own_key {
                self.trail.note(now_ms(), What::Denied, &Whom::key(&token.key.id()), &format!("{what}: {KEY_NOT_IN_FORCE}"));
                return Err(refused(KEY_NOT_IN_FORCE));
            }
            return Ok(Asker { directory, who, operator: Some(state), whom: Some(Whom::key(&token.key.id())), at_ms: now });
        }
        let who = match certificate {
            None => Credential::public(),
            Some(certificate) => {
                // Of one whose time is over, and which was taken all the same, as of its last moment.
                let at = if now < self.accepts_expired_until() { now.min(certificate.validity.not_after_ms) } else { now };
                let found = Credential::of_certificate(&self.store.state(), &directory, certificate.serial.as_bytes(), at);
                found.map_err(|e| internal(&e))?.ok_or(Reason::UnknownCertificate)?
            }
        };
        Ok(Asker { directory, who, operator: None, whom: certificate.map(Whom::certificate), at_ms: now })
    }
}
