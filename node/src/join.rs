//! `vermiliond join`: from an empty directory to a voter, told step by step.
//!
//! Nothing here decides anything. The node asks where its admission stands, comes up when the ledger has connected it, and
//! is then a node like any other: the leader lets it follow, sends it the log or has it fetch the records, and gives it its
//! vote when it has caught up. What it shows is read off its own state. It can be killed at any point and started again.

use crate::config::{Config, KeySource};
use crate::enrolment::applicant::{Applicant, EnrolError, keep, subject};
use crate::keys::{NodeKeys, TlsKeys};
use crate::node::Node;
use crate::runtime::now_ms;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use vermilion_identity::enrolment::EnrolmentToken;
use vermilion_identity::{Certificate, Signer, Subject};
use vermilion_proto::AdmissionReply;
use vermilion_registry::admission::State;
use vermilion_registry::reason::Reason;

/// How often the admission is asked for, and progress looked at.
const LOOK: Duration = Duration::from_millis(500);

/// Where a join is. Each is told once, when it is reached; catching up whenever it has come further.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Step {
    /// No node answers.
    NobodyAnswers,
    /// The admission is in this state; the node waits for it to be connected.
    Waiting(String),
    /// It asks for its certificate, and was put off or refused: why.
    NoCertificate(String),
    /// It has its certificate.
    Certified,
    /// It asks for the keys that it is to hold, and was put off: why.
    NoKeys(String),
    /// The ledger has connected the node; it starts.
    Admitted,
    /// It runs, and waits to be let into the group.
    Started,
    /// It took the state as of so many records, which a quorum vouches for.
    TookState(u64),
    /// It fetches records.
    CatchingUp {
        /// Records here.
        at: u64,
        /// Records in the ledger.
        of: u64,
    },
    /// It follows, without a vote.
    Learner,
    /// It has its vote: the join is done.
    Voter,
}

impl Step {
    /// The word for programs.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::NobodyAnswers => "nobody-answers",
            Self::Waiting(_) => "waiting",
            Self::NoCertificate(_) => "no-certificate",
            Self::Certified => "certified",
            Self::NoKeys(_) => "no-keys",
            Self::Admitted => "admitted",
            Self::Started => "started",
            Self::TookState(_) => "took-state",
            Self::CatchingUp { .. } => "catching-up",
            Self::Learner => "learner",
            Self::Voter => "voter",
        }
    }

    /// One line: for people, or as JSON.
    #[must_use]
    pub fn line(&self, node: &str, json: bool) -> String {
        if json {
            let mut object = serde_json::json!({ "node": node, "step": self.word() });
            match self {
                Self::Waiting(state) => object["admission"] = state.as_str().into(),
                Self::NoCertificate(why) | Self::NoKeys(why) => object["why"] = why.as_str().into(),
                Self::TookState(records) => object["records"] = (*records).into(),
                Self::CatchingUp { at, of } => {
                    object["records"] = (*at).into();
                    object["of"] = (*of).into();
                }
                _ => {}
            }
            return object.to_string();
        }
        match self {
            Self::NobodyAnswers => format!("{node}: no node of the ledger answers; asking again"),
            Self::Waiting(state) if state == "unknown" => format!("{node}: nobody has applied for this node yet; waiting"),
            Self::Waiting(state) => format!("{node}: the admission is {state}; waiting for it to be connected"),
            Self::NoCertificate(why) => format!("{node}: no certificate yet ({why}); asking again"),
            Self::NoKeys(why) => format!("{node}: no keys yet ({why}); asking again"),
            Self::Certified => format!("{node}: this node has its certificate"),
            Self::Admitted => format!("{node}: the ledger has connected this node"),
            Self::Started => format!("{node}: running; waiting for the leader to let it into the group"),
            Self::TookState(records) => {
                format!("{node}: took the state as of {records} records, which a quorum vouches for; older records follow")
            }
            Self::CatchingUp { at, of } => format!("{node}: catching up, {at} of {of} records"),
            Self::Learner => format!("{node}: in the group as a learner, receiving the log"),
            Self::Voter => format!("{node}: caught up, and has its vote: the join is done"),
        }
    }
}

/// Gets the keys that this node is to hold, where they are received; why not, if they did not come.
async fn receive(config: &Config, applicant: &Applicant) -> Option<String> {
    let (Some(dir), Some(_)) = (&config.keys.received, applicant.root()) else { return None };
    // Written last of all that every node gets: then the others are there.
    if dir.join("lookup.pem").exists() {
        return None;
    }
    applicant.receive_keys(config, dir, config.raft_id.unwrap_or_default()).await.err()
}

/// Whether the entry that the ledger approved or connected is the one that this node is configured as. The answer is another node's
/// word; a later start compares with what this node's own state says.
fn is_ours(config: &Config, keys: &NodeKeys, reply: &AdmissionReply) -> Result<(), String> {
    let node = reply.node.as_ref().ok_or("the answer names no node")?;
    if Some(node.raft_id) != config.raft_id {
        return Err(format!("raft_id: the node was admitted under {0}: write raft_id = {0} into its configuration", node.raft_id));
    }
    if node.node_key != keys.node.public().0 {
        return Err("keys.node: not the key with which the node was applied for".into());
    }
    if node.cosigning_key != keys.cosigning.public().0 {
        return Err("keys.cosigning: not the key with which the node was applied for".into());
    }
    // It has voted, perhaps, and would vote again. A learner has not: it may begin anew.
    if reply.voter {
        return Err(format!(
            "raft_id: node {} has its vote already, and this directory is empty: a node whose disk was lost comes back under a new id",
            node.raft_id
        ));
    }
    Ok(())
}

/// How this node's admission stands: of the addresses that answer, whoever knows most is believed, since one node may lag
/// behind another.
async fn standing(applicant: &Applicant, name: &str) -> Option<AdmissionReply> {
    let mut best: Option<AdmissionReply> = None;
    for address in applicant.addresses() {
        match applicant.admission(address, name).await {
            Ok(reply) if reply.admitted => return Some(reply),
            Ok(reply) if best.as_ref().is_none_or(|_| reply.state != "unknown") => best = Some(reply),
            Ok(_) => {}
            Err(why) => tracing::debug!(address, why, "a node did not answer"),
        }
    }
    best
}

/// Whether TLS, if there is any, has a certificate in its dates that fits its key. One that was away for so long that its
/// certificate's time is over needs a token again.
fn has_certificate(config: &Config) -> bool {
    match TlsKeys::load(config) {
        Ok(None) => true,
        Ok(Some(keys)) => Certificate::parse(&keys.leaf).is_ok_and(|c| c.key == keys.key.public() && c.check_dates(now_ms()).is_ok()),
        Err(_) => false,
    }
}

/// Gets the node its certificate, where the ledger connects over TLS and there is none yet: the key is made here, and the
/// token, which the operator was handed, pays for the certificate as soon as the admission is approved. A token that is
/// refused for good is an error.
async fn certify(
    config: &Config,
    applicant: &Applicant,
    reply: &AdmissionReply,
    token: Option<&str>,
    tell: &mut impl FnMut(Step),
) -> Result<bool, String> {
    let (Some(tls), Some(_)) = (&config.tls, applicant.root()) else { return Ok(true) };
    if has_certificate(config) {
        return Ok(true);
    }
    let Some(subject) = approved(applicant, reply, tell)? else { return Ok(false) };
    let Some(token) = token else {
        tell(Step::NoCertificate("start again with --token-file and the token of `vermilion enrolment grant`".into()));
        return Ok(false);
    };
    let key = TlsKeys::key_for(config, &tls.key).map_err(|e| e.to_string())?;
    ask(&tls.certificate, applicant, &subject, token, key.as_ref(), tell).await
}

fn may_be_certified(reply: &AdmissionReply) -> bool {
    State::from_name(&reply.state).is_some_and(State::may_be_certified)
}

/// The subject of the node's certificate, once its admission is approved: before that nobody may grant it one.
fn approved(applicant: &Applicant, reply: &AdmissionReply, tell: &mut impl FnMut(Step)) -> Result<Option<Subject>, String> {
    let root = applicant.root().ok_or("the genesis names no authority")?;
    let subject = subject(root, reply).filter(|_| may_be_certified(reply));
    if subject.is_none() {
        tell(Step::Waiting(reply.state.clone()));
    }
    Ok(subject)
}

/// Asks for the certificate of a key and keeps it in this file. False while a later record may change the answer.
async fn ask(
    certificate: &Path,
    applicant: &Applicant,
    subject: &Subject,
    token: &str,
    key: &dyn Signer,
    tell: &mut impl FnMut(Step),
) -> Result<bool, String> {
    let root = applicant.root().ok_or("the genesis names no authority")?;
    let token = EnrolmentToken::parse(token).map_err(|error| format!("--token-file: {error}"))?;
    if token.authority != root.fingerprint {
        return Err("--token-file: the token is of another ledger's authority".into());
    }
    match applicant.enrol(&token.text(), subject, key).await {
        Ok(given) => {
            keep(certificate, &given.der, given.issuing.der()).map_err(|e| e.to_string())?;
            tell(Step::Certified);
            Ok(true)
        }
        // What a later record may change is waited for.
        Err(error @ (EnrolError::Nobody(_) | EnrolError::Refused(Some(Reason::UnknownGrant | Reason::NotAdmitted), _))) => {
            tell(Step::NoCertificate(error.to_string()));
            Ok(false)
        }
        Err(error) => Err(format!("--token-file: {error}")),
    }
}

/// Tells a step when it is another than the last one.
fn once(mut tell: impl FnMut(Step)) -> impl FnMut(Step) {
    let mut told = None;
    move |step: Step| {
        if told.as_ref() != Some(&step) {
            tell(step.clone());
            told = Some(step);
        }
    }
}

/// A new certificate for a node that is in the ledger, on the strength of a token, whatever certificate it has: its time is
/// over, or it was revoked. The node itself may run meanwhile; it shows the new one when it is started again. With `new_key`
/// for a key made now, which takes the old one's place when its certificate is here; broken off, the same call goes on.
pub async fn enrol(config: &Config, applicant: &Applicant, token: &str, new_key: bool, tell: impl FnMut(Step)) -> Result<(), String> {
    let tls = config.tls.as_ref().ok_or("there is no [tls] in the configuration")?;
    let (source, replaces) = match &tls.key {
        key if !new_key => (key.clone(), None),
        KeySource::File(path) => {
            let new = path.with_extension("next.pem");
            (KeySource::File(new.clone()), Some((new, path)))
        }
        KeySource::Token(_) => return Err("tls.key: make the new key on the device, name it there, and leave --new-key away".into()),
    };
    let key = TlsKeys::key_for(config, &source).map_err(|e| e.to_string())?;
    let mut tell_once = once(tell);
    loop {
        match standing(applicant, &config.name).await {
            None => tell_once(Step::NobodyAnswers),
            Some(reply) => {
                if let Some(subject) = approved(applicant, &reply, &mut tell_once)?
                    && ask(&tls.certificate, applicant, &subject, token, key.as_ref(), &mut tell_once).await?
                {
                    break;
                }
            }
        }
        tokio::time::sleep(LOOK).await;
    }
    let Some((new, path)) = replaces else { return Ok(()) };
    std::fs::rename(&new, path).map_err(|e| format!("{}: {e}", path.display()))
}

/// Waits until the ledger has connected this node and, over TLS, given it a certificate, unless its directory shows that it
/// has begun before. An error names what of the configuration is not what was applied for.
pub async fn wait_until_admitted(
    config: &Config,
    keys: &NodeKeys,
    applicant: &Applicant,
    token: Option<&str>,
    tell: impl FnMut(Step),
) -> Result<(), String> {
    // It was admitted when it began.
    let began = config.data_dir.join("db").exists();
    if began && has_certificate(config) {
        return Ok(());
    }
    let mut tell_once = once(tell);
    loop {
        match standing(applicant, &config.name).await {
            None => tell_once(Step::NobodyAnswers),
            Some(reply) => {
                // Before the token is spent.
                if !began && may_be_certified(&reply) {
                    is_ours(config, keys, &reply)?;
                }
                let certified = certify(config, applicant, &reply, token, &mut tell_once).await?;
                if reply.admitted && certified {
                    if let Some(why) = receive(config, applicant).await {
                        tell_once(Step::NoKeys(why));
                        tokio::time::sleep(LOOK).await;
                        continue;
                    }
                    tell_once(Step::Admitted);
                    return Ok(());
                }
                if certified {
                    tell_once(Step::Waiting(reply.state));
                }
            }
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Tells how a started node comes to its vote.
pub async fn watch(node: Arc<Node>, mut tell: impl FnMut(Step)) {
    let mut told = Step::Started;
    tell(told.clone());
    if let Some(records) = node.took {
        tell(Step::TookState(records));
    }
    while told != Step::Voter {
        let status = node.status();
        let step = match node.catching_up() {
            Some(progress) => Step::CatchingUp { at: progress.at, of: progress.of },
            // Its own view of the group is that of what it applied: before that it knows the founders alone.
            None if status.voters.contains(&node.id) => Step::Voter,
            None if status.learners.contains(&node.id) => Step::Learner,
            None => Step::Started,
        };
        if step != told {
            tell(step.clone());
            told = step;
        }
        tokio::time::sleep(LOOK).await;
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use vermilion_crypto::SigningKey;
    use vermilion_proto::GenesisNode;

    #[test]
    fn what_was_applied_for_is_held_against_the_configuration() {
        let key = |n: u8| SigningKey::from_seed(&[n; 32]);
        let (node, cosigning) = (key(1), key(2));
        let entry = GenesisNode {
            raft_id: 4,
            node_key: node.public().0.to_vec(),
            cosigning_key: cosigning.public().0.to_vec(),
            ..GenesisNode::default()
        };
        let mut keys = NodeKeys { node, cosigning, ledger: Vec::new(), lookup: None, vault: Vec::new(), tls: None, issuing: None };
        let config = |id: u64| -> Config {
            let rest = "data_dir = 'd'\ngenesis = 'g'\ngrpc = 'a'\nhttp = 'b'\n[keys]\nnode = 'n'\ncosigning = 'c'\n";
            toml::from_str(&format!("name = 'nanshan'\nraft_id = {id}\n{rest}")).unwrap()
        };
        let reply = |voter| AdmissionReply { state: "approved".into(), node: Some(entry.clone()), voter, ..AdmissionReply::default() };
        assert_eq!(is_ours(&config(4), &keys, &reply(false)), Ok(()));
        assert!(is_ours(&config(5), &keys, &reply(false)).unwrap_err().contains("write raft_id = 4"));
        // An empty directory for an id that may have voted.
        assert!(is_ours(&config(4), &keys, &reply(true)).unwrap_err().contains("new id"));
        keys.cosigning = key(3);
        assert!(is_ours(&config(4), &keys, &reply(false)).unwrap_err().starts_with("keys.cosigning"));
        assert!(may_be_certified(&reply(false)) && !may_be_certified(&AdmissionReply::default()));
    }
}
