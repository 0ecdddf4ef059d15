//! A fourth node: admitted step by step, joined under kills, promoted, made leader, banned, and back under a new id.

use crate::connections::{answered, channel, credential, operators};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use vermilion_client::clock::now_ms;
use vermilion_client::keyring::HeldKey;
use vermilion_client::manage::NewOperator;
use vermilion_client::signer::Signatory;
use vermilion_crypto::SigningKey;
use vermilion_proto::body::Of;
use vermilion_proto::ledger_client::LedgerClient;
use vermilion_proto::{
    ApplyAdmission, ApproveAdmission, BanSystem, Body, CheckpointRequest, ClusterRequest, Command, CommandState, ConnectSystem,
    GenesisNode, Head, LicenceStatusRequest, RemedySystem, ReportTest, RetireSystem, TagsRequest, TestReport, Unit,
};
use vermilion_registry::Kind;
use vermilion_registry::codes::uscc;
use vermilion_registry::submission::{Sealed, encode_submission};
use vermilion_tests::{Ledger, Rows, http, inspection, until};

pub const NAME: &str = "luohu";
pub const DISTRICT: &str = "440303";
const SUBJECT: &str = "node/luohu";

/// The code of a made-up testing laboratory.
fn lab() -> String {
    uscc::build("91", "440300", "MALAB001").unwrap()
}

/// The city's managing unit, with those of its people who admit and ban.
pub struct City {
    unit: String,
    admins: BTreeMap<&'static str, Signatory>,
}

impl City {
    pub async fn of(ledger: &Ledger) -> Self {
        let unit = ledger.client.managing_unit().to_owned();
        let lab = Unit {
            uscc: lab(),
            name_zh: "检测实验室".into(),
            area: "440300".into(),
            level: "city".into(),
            roles: vec!["assessor".into()],
            ..Unit::default()
        };
        ledger.client.register_unit(&unit, lab, None).await.unwrap();
        let asker = ledger.client.asker(Some(&unit)).unwrap();
        let mut admins = BTreeMap::new();
        for post in ["system-admin", "security-admin"] {
            let person = ledger.client.person_tag(&asker, "999", &format!("sample-person-{post}")).await.unwrap();
            let keys = [post, "second-key"].map(|post| (post, SigningKey::generate().unwrap()));
            for (post, key) in &keys {
                let operator = NewOperator {
                    unit: unit.clone(),
                    key: key.public(),
                    posts: vec![(*post).into()],
                    person,
                    name: None,
                    from_ms: 0,
                    until_ms: 0,
                };
                ledger.client.add_operator(&unit, &operator).await.unwrap();
            }
            let [(_, key), (_, second)] = keys;
            admins.insert(post, Signatory { second: Some(HeldKey::of_file(second)), ..Signatory::new(&unit, post, key) });
        }
        Self { unit, admins }
    }

    fn admin(&self, post: &str) -> Vec<Signatory> {
        vec![self.admins[post].clone()]
    }

    /// Signs a command and sends it until it is recorded. It must be accepted.
    async fn command(&self, ledger: &Ledger, of: Of, signers: &[Signatory]) {
        let head = Head {
            format_version: 1,
            suite: vermilion_crypto::SUITE_1,
            ledger_id: ledger.client.ledger_id().to_vec(),
            nonce: vermilion_crypto::random::<16>().unwrap().to_vec(),
            signers: signers.iter().flat_map(Signatory::head_lines).collect(),
            not_after_ms: now_ms() + 60_000,
            unit: self.unit.clone(),
            ..Head::default()
        };
        let command = Command { head: Some(head), body: Some(Body { of: Some(of) }) };
        let keys: Vec<_> = signers.iter().flat_map(Signatory::keys).collect();
        let (_, envelope) = vermilion_identity::seal_with(&command, &keys).unwrap();
        let submission = encode_submission(envelope.into(), Vec::new(), Sealed::default());
        let reply = until("a record of the command", async || {
            let reply = ledger.send(0, submission.clone()).await;
            assert_ne!(reply.state(), CommandState::RefusedAtDoor, "{reply:?}");
            (reply.state() == CommandState::Committed).then_some(reply)
        })
        .await;
        assert_eq!(reply.outcome.as_ref().map(|o| o.code), Some(0), "{reply:?}");
    }

    /// As the posts that a kind of command takes sign it.
    async fn by_posts(&self, ledger: &Ledger, kind: Kind, of: Of) {
        let signers = ledger.client.signers(&self.unit, kind).await.unwrap();
        self.command(ledger, of, &signers).await;
    }

    async fn apply(&self, ledger: &Ledger, node: &GenesisNode) {
        let body = ApplyAdmission { subject: SUBJECT.into(), unit: self.unit.clone(), node: Some(node.clone()), ..Default::default() };
        self.by_posts(ledger, Kind::ApplyAdmission, Of::ApplyAdmission(body)).await;
    }

    /// Tested and approved.
    async fn approve(&self, ledger: &Ledger) {
        let report = TestReport { digest: vec![6; 32], assessor: lab(), tested_on: vermilion_registry::days::of(now_ms()), passed: true };
        let body = ReportTest { subject: SUBJECT.into(), report: Some(report) };
        self.by_posts(ledger, Kind::ReportTest, Of::ReportTest(body)).await;
        self.by_posts(ledger, Kind::ApproveAdmission, Of::ApproveAdmission(ApproveAdmission { subject: SUBJECT.into() })).await;
    }

    /// Grants the node its certificate: the token, as it is handed over.
    async fn token(&self, ledger: &Ledger) -> String {
        let applicant = ledger.client.applicant(SUBJECT, &[]).await.unwrap();
        let granted = ledger.client.grant_enrolment(Some(&self.unit), applicant, now_ms() + 3_600_000).await.unwrap();
        granted.0.text().to_string()
    }

    /// Has it apply, be tested and approved, and hands it its token: it joins.
    pub async fn admit(&self, ledger: &mut Ledger, raft_id: u64) {
        let node = ledger.join(raft_id, NAME, DISTRICT);
        self.apply(ledger, &node).await;
        self.approve(ledger).await;
        ledger.hand_token(NAME, &self.token(ledger).await);
        self.connect(ledger).await;
    }

    async fn connect(&self, ledger: &Ledger) {
        let body = Of::ConnectSystem(ConnectSystem { subject: SUBJECT.into() });
        self.command(ledger, body, &self.admin("system-admin")).await;
    }

    async fn ban(&self, ledger: &Ledger) {
        let body = Of::BanSystem(BanSystem { subject: SUBJECT.into(), risk_grade: "critical".into() });
        self.command(ledger, body, &self.admin("security-admin")).await;
    }

    async fn remedy(&self, ledger: &Ledger, node: &GenesisNode) {
        let body = RemedySystem { subject: SUBJECT.into(), remedy_digest: vec![7; 32], node: Some(node.clone()) };
        self.by_posts(ledger, Kind::RemedySystem, Of::RemedySystem(body)).await;
    }

    async fn retire(&self, ledger: &Ledger) {
        // A node's place is ended by those who would let it in.
        self.by_posts(ledger, Kind::ApproveAdmission, Of::RetireSystem(RetireSystem { subject: SUBJECT.into() })).await;
    }
}

/// As many commands as a load has at least, however soon what it goes beside is over.
const LEAST: u32 = 12;

/// Commands one after the other, for as long as it takes: none may fail, whatever the nodes go through.
struct Load {
    stop: Arc<AtomicBool>,
    sent: tokio::task::JoinHandle<()>,
}

impl Load {
    fn begin(ledger: &Ledger) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (client, told) = (ledger.client.clone(), Arc::clone(&stop));
        let unit = ledger.sample.unit_with_role("using-unit").unwrap().uscc.clone();
        let sent = tokio::spawn(async move {
            let city = client.managing_unit().to_owned();
            let mut sent = 0;
            while !told.load(Ordering::Relaxed) || sent % 2 == 1 || sent < LEAST {
                client.change_unit(&city, &unit, sent % 2 == 0, &inspection()).await.unwrap();
                sent += 1;
            }
        });
        Self { stop, sent }
    }

    async fn end(self) {
        self.stop.store(true, Ordering::Relaxed);
        self.sent.await.unwrap();
    }
}

pub async fn told(ledger: &Ledger, what: &str) {
    until(what, async || ledger.log(NAME).contains(what).then_some(())).await;
}

/// Rows in parts: of one seed, since two seeds may make the same identifier.
pub fn parts<const N: usize>(ledger: &Ledger, sizes: [usize; N]) -> [Rows; N] {
    let all = Rows::fresh(ledger.dir(), &ledger.sample, sizes.iter().sum::<usize>() as u64);
    let text = std::fs::read_to_string(&all.path).unwrap();
    let mut lines = text.lines().map(str::to_owned);
    let mut part = 0;
    sizes.map(|size| {
        part += 1;
        Rows::write(ledger.dir().join(format!("part-{part}.jsonl")), lines.by_ref().take(size).collect::<Vec<_>>())
    })
}

pub fn step(word: &str) -> String {
    format!("\"step\":\"{word}\"")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_joins_leads_is_banned_and_comes_back_under_a_new_id() {
    let mut ledger = Ledger::start().await;
    let city = City::of(&ledger).await;
    let rows = parts(&ledger, [300, 100, 100, 100]);
    ledger.issue_all(&rows[0]).await;

    // Applied for, it gets nothing; connected, it joins. It is killed on the way, at whatever it is doing.
    let node = ledger.join(4, NAME, DISTRICT);
    told(&ledger, "\"admission\":\"unknown\"").await;
    city.apply(&ledger, &node).await;
    told(&ledger, "\"admission\":\"applied\"").await;
    assert!(!ledger.node(NAME).data_dir.exists(), "it has nothing before it is connected");
    city.approve(&ledger).await;
    told(&ledger, &step("no-certificate")).await;
    ledger.hand_token(NAME, &city.token(&ledger).await);
    told(&ledger, &step("certified")).await;
    ledger.kill(NAME);
    ledger.go_on_joining(NAME);
    told(&ledger, "\"admission\":\"approved\"").await;
    assert!(!ledger.node(NAME).data_dir.exists(), "it has a certificate, and nothing else before it is connected");
    let load = Load::begin(&ledger);
    city.connect(&ledger).await;
    for word in ["admitted", "started"] {
        told(&ledger, &step(word)).await;
        ledger.kill(NAME);
        // The other side as well: whoever leads, and would let it in.
        let leader = ledger.leader().await;
        ledger.kill(&leader);
        ledger.go_on_joining(NAME);
        ledger.launch(&leader);
    }
    told(&ledger, &step("voter")).await;
    load.end().await;
    // It was handed what a district's node is to hold, and no more: this ledger has a vault key of the city alone.
    let received = std::fs::read_dir(ledger.node_dir(NAME).join("received-4")).unwrap();
    let received: Vec<_> = received.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    assert_eq!(received, ["lookup.pem"]);
    let size = ledger.settled().await;
    assert!(size > 1, "{size}");

    // It can lead. Others apply what it orders.
    let load = Load::begin(&ledger);
    let asker = ledger.client.controller().unwrap();
    until("the newcomer's lead", async || {
        let _ = ledger.client.connection.control(&asker, "transfer", 4).await;
        (ledger.leader().await == NAME).then_some(())
    })
    .await;
    ledger.issue_all(&rows[1]).await;

    let founders: Vec<String> = ledger.names().into_iter().filter(|n| n != NAME).collect();
    // Somebody asks it something, and stays connected.
    let asking = operators(&ledger, ledger.client.managing_unit(), "approve").0;
    let mut asked = LedgerClient::new(channel(&ledger, founders.len(), Some(asking)));
    until("an answer", async || asked.get_checkpoint(CheckpointRequest::default()).await.ok()).await;

    // Banned while it leads: another leads, it is out of the group, and nothing is taken from it any more.
    city.ban(&ledger).await;
    for name in &founders {
        until("a group without the banned node", async || ledger.log(name).contains("change=Remove(4)").then_some(())).await;
    }
    until("another leader", async || {
        let leader = ledger.status_of(&founders[0]).await?.leader;
        (leader != 0 && leader != 4).then_some(())
    })
    .await;
    // Its certificate went with it: no founder lets it in again.
    let home = ledger.node_dir(NAME);
    let banned = credential(&ledger, &home.join("tls-4.pem"), &home.join("tls-key-4.pem"));
    for node in 0..founders.len() {
        let said = answered(channel(&ledger, node, Some(banned.clone()))).await.unwrap_err();
        assert!(said.contains("CertificateRevoked"), "{said}");
    }
    // The connections that it had are cut, which stands on the founders' trails; and it answers nobody any more.
    for name in &founders {
        let cut = |line: &str| line.contains("\"cut\"") && line.contains("node/4");
        until("a cut connection", async || ledger.trail(name).lines().any(cut).then_some(())).await;
    }
    let its = ledger.node(NAME).http.clone();
    for path in ["/v1/ready", "/checkpoint", "/v1/checkpoint", "/tile/0/000"] {
        until(path, async || (http::get(&its, path).await.code == 503).then_some(())).await;
    }
    assert_eq!(http::get(&its, "/v1/health").await.code, 200);
    let refused = [
        asked.get_checkpoint(CheckpointRequest::default()).await.err(),
        asked.licence_status(LicenceStatusRequest::default()).await.err(),
        asked.sign_status(LicenceStatusRequest::default()).await.err(),
        asked.tags(TagsRequest::default()).await.err(),
    ];
    assert!(refused.iter().all(|said| said.as_ref().is_some_and(|said| said.message().contains("banned or retired"))), "{refused:?}");
    asked.cluster(ClusterRequest { only_this: true }).await.unwrap();
    ledger.kill(NAME);
    load.end().await;
    ledger.issue_all(&rows[2]).await;
    ledger.settled().await;

    // Its id is spent; under a new one, with new keys and an empty directory, it comes back.
    let node = ledger.join(5, NAME, DISTRICT);
    told(&ledger, "\"admission\":\"banned\"").await;
    city.remedy(&ledger, &node).await;
    told(&ledger, "\"admission\":\"remedied\"").await;
    city.approve(&ledger).await;
    ledger.hand_token(NAME, &city.token(&ledger).await);
    let load = Load::begin(&ledger);
    city.connect(&ledger).await;
    until("its vote", async || {
        let status = ledger.status_of(NAME).await?;
        (status.id == 5 && status.role == "follower").then_some(())
    })
    .await;
    load.end().await;
    ledger.issue_all(&rows[3]).await;
    ledger.settled().await;
    for name in ledger.names() {
        assert!(!ledger.log(&name).contains("nobody approved"), "{name} refused a change that somebody proposed");
    }
    ledger.stop_all();
    ledger.audit(&ledger.data_dirs()).assert_clean();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_join_is_given_up_and_leaves_the_group_as_it_was() {
    let mut ledger = Ledger::start().await;
    let city = City::of(&ledger).await;
    let rows = parts(&ledger, [200, 60, 60, 60]);
    ledger.issue_all(&rows[0]).await;
    let founders: Vec<String> = ledger.names();
    // Let into the group, and killed before it has its vote.
    city.admit(&mut ledger, 4).await;
    told(&ledger, &step("started")).await;
    until("a place in the group", async || ledger.log(&founders[0]).contains("change=AddLearner(4)").then_some(())).await;
    ledger.kill(NAME);
    ledger.issue_all(&rows[1]).await;
    city.retire(&ledger).await;
    for name in &founders {
        until("the group as it was", async || ledger.log(name).contains("change=Remove(4)").then_some(())).await;
    }
    // Nor is it let in again, and the others go on.
    let before = ledger.log(NAME).matches("the node runs").count();
    ledger.go_on_joining(NAME);
    let home = ledger.node_dir(NAME);
    let retired = credential(&ledger, &home.join("tls-4.pem"), &home.join("tls-key-4.pem"));
    for node in 0..founders.len() {
        let said = answered(channel(&ledger, node, Some(retired.clone()))).await.unwrap_err();
        assert!(said.contains("CertificateRevoked"), "{said}");
    }
    until("it to run", async || (ledger.log(NAME).matches("the node runs").count() > before).then_some(())).await;
    // It listens a moment later.
    let its = ledger.node(NAME).http.clone();
    let ready = until("an answer of its REST side", async || http::try_get(&its, "/v1/ready").await).await;
    assert_eq!(ready.code, 503);
    ledger.kill(NAME);
    ledger.issue_all(&rows[2]).await;
    ledger.stop_all();
    let dirs: Vec<_> = founders.iter().map(|name| ledger.node(name).data_dir.clone()).collect();
    ledger.audit(&dirs).assert_clean();
}
