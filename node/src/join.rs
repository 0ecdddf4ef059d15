//! `vermiliond join`: from an empty directory to a voter, told step by step.
//!
//! Nothing here decides anything. The node asks where its admission stands, comes up when the ledger has connected it, and
//! is then a node like any other: the leader lets it follow, sends it the log or has it fetch the records, and gives it its
//! vote when it has caught up. What it shows is read off its own state. It can be killed at any point and started again.

use crate::config::Config;
use crate::keys::NodeKeys;
use crate::node::Node;
use crate::peers::MAX_PEER_MESSAGE;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tonic::transport::Endpoint;
use vermilion_crypto::Digest;
use vermilion_proto::peer_client::PeerClient;
use vermilion_proto::{AdmissionReply, AdmissionRequest, Genesis};

/// How often the admission is asked for, and progress looked at.
const LOOK: Duration = Duration::from_millis(500);
/// How long an answer may take.
const ANSWER: Duration = Duration::from_secs(3);

/// Where a join is. Each is told once, when it is reached; catching up whenever it has come further.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Step {
    /// No node answers.
    NobodyAnswers,
    /// The admission is in this state; the node waits for it to be connected.
    Waiting(String),
    /// The ledger has connected the node; it starts.
    Admitted,
    /// It runs, and waits to be let into the group.
    Started,
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
            Self::Admitted => "admitted",
            Self::Started => "started",
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
            Self::Admitted => format!("{node}: the ledger has connected this node"),
            Self::Started => format!("{node}: running; waiting for the leader to let it into the group"),
            Self::CatchingUp { at, of } => format!("{node}: catching up, {at} of {of} records"),
            Self::Learner => format!("{node}: in the group as a learner, receiving the log"),
            Self::Voter => format!("{node}: caught up, and has its vote: the join is done"),
        }
    }
}

/// Whom to ask: the nodes of the genesis, where the configuration says or else where the genesis says, and whoever else the
/// configuration names.
fn addresses(config: &Config, genesis: &Genesis) -> BTreeSet<String> {
    let founders = genesis.nodes.iter().filter(|n| !config.peers.contains_key(&n.name)).map(|n| n.peer_address.clone());
    founders.chain(config.peers.values().cloned()).collect()
}

async fn ask(address: &str, ledger_id: &Digest, name: &str) -> Result<AdmissionReply, String> {
    let endpoint = Endpoint::from_shared(format!("http://{address}")).map_err(|e| format!("{address}: {e}"))?;
    let asked = async {
        let channel = endpoint.connect().await.map_err(|e| e.to_string())?;
        let mut client = PeerClient::new(channel).max_decoding_message_size(MAX_PEER_MESSAGE);
        let request = AdmissionRequest { ledger_id: ledger_id.to_vec(), name: name.into() };
        Ok::<_, String>(client.admission(request).await.map_err(|status| status.to_string())?.into_inner())
    };
    tokio::time::timeout(ANSWER, asked).await.map_err(|_| format!("{address}: no answer"))?.map_err(|e| format!("{address}: {e}"))
}

/// Whether the entry that the ledger connected is the one that this node is configured as. The answer is another node's
/// word; a later start compares with what this node's own state says.
fn is_ours(config: &Config, keys: &NodeKeys, reply: &AdmissionReply) -> Result<(), String> {
    let node = reply.node.as_ref().ok_or("the answer names no node")?;
    if Some(node.raft_id) != config.raft_id {
        return Err(format!("raft_id: the node was admitted under {}", node.raft_id));
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

/// Waits until the ledger has connected this node, unless its directory shows that it has begun before. An error names what
/// of the configuration is not what was applied for.
pub async fn wait_until_admitted(
    config: &Config,
    keys: &NodeKeys,
    genesis: &Genesis,
    ledger_id: &Digest,
    mut tell: impl FnMut(Step),
) -> Result<(), String> {
    // It was admitted when it began.
    if config.data_dir.join("db").exists() {
        return Ok(());
    }
    let addresses = addresses(config, genesis);
    let mut told = None;
    loop {
        let mut step = Step::NobodyAnswers;
        for address in &addresses {
            match ask(address, ledger_id, &config.name).await {
                Ok(reply) if reply.admitted => {
                    is_ours(config, keys, &reply)?;
                    tell(Step::Admitted);
                    return Ok(());
                }
                // One node may lag behind another: whoever knows most is believed.
                Ok(reply) if step == Step::NobodyAnswers || reply.state != "unknown" => step = Step::Waiting(reply.state),
                Ok(_) => {}
                Err(why) => tracing::debug!(address, why, "a node did not answer"),
            }
        }
        if told.as_ref() != Some(&step) {
            tell(step.clone());
            told = Some(step);
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Tells how a started node comes to its vote.
pub async fn watch(node: Arc<Node>, mut tell: impl FnMut(Step)) {
    let mut told = Step::Started;
    tell(told.clone());
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
