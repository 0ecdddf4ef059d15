//! A fourth node: admitted step by step, joined, banned, and back under a new id (regulation 004, articles 17 to 20).

use super::deviation;
use super::show::Show;
use crate::description::{TestNode, Testnet};
use crate::error::TestnetError;
use crate::layout;
use crate::processes;
use std::path::Path;
use std::time::{Duration, Instant};
use vermilion_client::client::Client;
use vermilion_client::clock::now_ms;
use vermilion_client::connection::whole_message;
use vermilion_client::identity::Step;
use vermilion_client::keyring::{Passphrase, read_secret};
use vermilion_client::tls::Dialer;
use vermilion_crypto::SigningKey;
use vermilion_proto::{ApplyAdmission, LicenceStatusRequest, NodeStatus, TestReport, Unit};
use vermilion_registry::codes::uscc;

const NAME: &str = "luohu";
const DISTRICT: &str = "440303";
const SUBJECT: &str = "node/luohu";
/// The id under which it comes first, and the one under which it comes back.
const IDS: (u64, u64) = (4, 5);
/// How long each step of a join may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long its token serves, in milliseconds.
const TOKEN_MS: u64 = 600_000;

/// The whole of it. The node is in the folder's list afterwards, and runs.
pub async fn go_through(client: &Client, dir: &Path, testnet: &mut Testnet, identifier: &str, show: &Show) -> Result<(), TestnetError> {
    let lab = laboratory(client).await?;
    let node = layout::newcomer(dir, testnet, (IDS.0, NAME, DISTRICT), None)?;
    let applied = ApplyAdmission { unit: client.managing_unit().to_owned(), node: Some(node), ..ApplyAdmission::default() };
    step(client, Step::Apply(applied), "已申请 applied", "its keys are made on its own machine", show).await?;
    admit(client, dir, testnet, &lab, show).await?;
    let seen = until("its vote", || voter(client, IDS.0)).await?;
    show.fact("已入组 promoted", &format!("node {}: learner, caught up with {} records, voter", seen.id, seen.size));

    step(
        client,
        Step::Ban { grade: "critical".into(), approved: false },
        "已封禁 banned",
        "its certificate is revoked in the same record",
        show,
    )
    .await?;
    until("its removal", || gone(client, IDS.0)).await?;
    let node = place(testnet)?;
    let ours = client.connection.dialer();
    if ask(ours, &node.grpc, identifier).await.is_ok() {
        return Err(deviation("a banned node still answers for the ledger"));
    }
    let banned = as_banned(client, dir)?;
    for founder in testnet.nodes.iter().filter(|n| n.name != NAME) {
        // Once this founder has applied the removal too.
        let shut = || async { ask(&banned, &founder.grpc, identifier).await.err().filter(|why| why.contains("CertificateRevoked")) };
        until("refused connections", shut).await?;
        ask(ours, &founder.grpc, identifier).await.map_err(|why| deviation(format!("{} does not go on: {why}", founder.name)))?;
    }
    show.fact("已隔离 out", "out of the group, no connection accepted, reads refused; the others go on");
    processes::stop(place(testnet)?)?;

    let node = layout::newcomer(dir, testnet, (IDS.1, NAME, DISTRICT), None)?;
    let remedy = Step::Remedy([7; 32], Some(node));
    step(client, remedy, "已整改 remedied", "new keys, a new id, an empty directory", show).await?;
    admit(client, dir, testnet, &lab, show).await?;
    let seen = until("its vote", || voter(client, IDS.1)).await?;
    show.fact("已恢复 returned", &format!("node {}: voter, {} records", seen.id, seen.size));
    Ok(())
}

/// Registers a made-up testing laboratory; its code.
async fn laboratory(client: &Client) -> Result<String, TestnetError> {
    let code = uscc::build("91", "440300", "MALAB001").ok_or_else(|| deviation("the laboratory has no code"))?;
    let lab = Unit {
        uscc: code.clone(),
        name_zh: "检测实验室".into(),
        area: "440300".into(),
        level: "city".into(),
        roles: vec!["assessor".into()],
        ..Unit::default()
    };
    client.register_unit(client.managing_unit(), lab, None).await?;
    Ok(code)
}

async fn step(client: &Client, step: Step, label: &str, text: &str, show: &Show) -> Result<(), TestnetError> {
    let recorded = client.admit(Some(client.managing_unit()), SUBJECT, step).await?;
    show.fact(label, &format!("record {}: {text}", recorded.seq));
    Ok(())
}

/// Tested, approved, given its certificate, connected; its process joins.
async fn admit(client: &Client, dir: &Path, testnet: &mut Testnet, lab: &str, show: &Show) -> Result<(), TestnetError> {
    let tested_on = vermilion_registry::days::of(now_ms());
    let report = TestReport { digest: vec![6; 32], assessor: lab.to_owned(), tested_on, passed: true };
    step(client, Step::Test(report), "已检测 tested", "by a laboratory; the report's hash is recorded", show).await?;
    step(client, Step::Approve, "已批准 approved", "approve, operate, verify: three people", show).await?;
    let applicant = client.applicant(SUBJECT, &[]).await?;
    let (token, granted) = client.grant_enrolment(Some(client.managing_unit()), applicant, now_ms() + TOKEN_MS).await?;
    let path = Testnet::node_dir(dir, NAME).join("token");
    std::fs::write(&path, &*token.text()).map_err(|e| TestnetError::File(path, e))?;
    show.fact("已授权 granted", &format!("record {}: a token for one certificate", granted.seq));
    processes::join(dir, place(testnet)?)?;
    testnet.save(dir)?;
    until("its certificate", || certified(dir)).await?;
    step(client, Step::Connect, "已接入 connected", "it may join", show).await
}

fn place(testnet: &mut Testnet) -> Result<&mut TestNode, TestnetError> {
    testnet.nodes.iter_mut().find(|n| n.name == NAME).ok_or_else(|| deviation("the fourth node has no folder"))
}

/// Asks again until there is an answer.
async fn until<T, F: Future<Output = Option<T>>>(what: &str, mut ask: impl FnMut() -> F) -> Result<T, TestnetError> {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = ask().await {
            return Ok(found);
        }
        if Instant::now() > end {
            return Err(deviation(format!("the fourth node waits in vain for {what}")));
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn voter(client: &Client, id: u64) -> Option<NodeStatus> {
    let nodes = client.connection.cluster().await.ok()?.nodes;
    nodes.into_iter().find(|n| n.id == id && (n.role == "follower" || n.role == "leader"))
}

async fn gone(client: &Client, id: u64) -> Option<()> {
    let nodes = client.connection.cluster().await.ok()?.nodes;
    (!nodes.iter().any(|n| n.id == id)).then_some(())
}

async fn certified(dir: &Path) -> Option<()> {
    std::fs::read_to_string(Testnet::node_dir(dir, NAME).join("log")).ok()?.contains("\"certified\"").then_some(())
}

/// Connections as the banned node would make them, with what it still has.
fn as_banned(client: &Client, dir: &Path) -> Result<Dialer, TestnetError> {
    let home = Testnet::node_dir(dir, NAME);
    let key = read_secret(&home.join(format!("tls-key-{}.pem", IDS.0)), &Passphrase::default())?;
    let certificate = home.join(format!("tls-{}.pem", IDS.0));
    Ok(Dialer::showing_file(client.genesis(), &certificate, SigningKey::from_seed(&key))?)
}

/// A question that only a node in the group can answer.
async fn ask(dialer: &Dialer, address: &str, identifier: &str) -> Result<(), String> {
    let mut node = dialer.client_at(address).map_err(|e| e.to_string())?;
    let request = LicenceStatusRequest { identifier: identifier.to_owned(), ..LicenceStatusRequest::default() };
    let reply = node.licence_status(request).await.map_err(|s| whole_message(&s))?.into_inner();
    if reply.code == 0 { Ok(()) } else { Err(format!("code {}", reply.code)) }
}
