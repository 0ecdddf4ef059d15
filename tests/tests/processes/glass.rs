//! All certificates have expired: nobody connects, and nobody can be given a new one, until the glass is broken.

use std::path::Path;
use std::time::Duration;
use vermilion_client::clock::now_ms;
use vermilion_client::error::ClientError;
use vermilion_client::{Client, Config};
use vermilion_testnet::authority::Term;
use vermilion_testnet::cluster::Up;
use vermilion_testnet::description::{TestNode, Testnet};
use vermilion_testnet::layout;
use vermilion_testnet::processes;
use vermilion_testnet::sample::Sample;
use vermilion_tests::{free_ports, run, until, within};

const HOUR_MS: u64 = 3_600_000;
/// A day later than every test.
const SOMEDAY: &str = "2100-01-01";

struct Nodes(Vec<TestNode>);

impl Drop for Nodes {
    fn drop(&mut self) {
        for node in &mut self.0 {
            let _ = processes::kill(node);
        }
    }
}

impl Nodes {
    fn restart(&mut self, dir: &Path) {
        for node in &mut self.0 {
            processes::stop(node).unwrap();
            processes::start(dir, node).unwrap();
        }
    }

    /// The certificate's table of each node's configuration, changed.
    fn configure(&self, dir: &Path, change: impl Fn(&str) -> String) {
        for node in &self.0 {
            let path = Testnet::node_dir(dir, &node.name).join("node.toml");
            let text = std::fs::read_to_string(&path).unwrap();
            std::fs::write(&path, change(&text)).unwrap();
        }
    }
}

/// The client's configuration, with its glass broken or not.
fn client(dir: &Path, broken: bool) -> Client {
    let path = dir.join("client.toml");
    let mut config: Config = Config::parse(&std::fs::read_to_string(&path).unwrap(), Path::new("")).unwrap();
    config.accept_expired_until_ms = if broken { u64::MAX / 2 } else { 0 };
    config.state_dir = None;
    std::fs::write(&path, config.to_toml().unwrap()).unwrap();
    Client::open(&path).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn when_all_certificates_have_expired_new_ones_are_issued_behind_broken_glass() {
    let folder = tempfile::TempDir::with_prefix("vermilion-glass-").unwrap();
    let dir = folder.path();
    let sample = Sample::load().unwrap();
    // Over as soon as the ledger is founded.
    let term = Term { before: Duration::from_secs(3600), after: Duration::from_secs(2) };
    let up = Up { nodes: 3, base_port: Some(free_ports(7)), tls: Some(term), empty: true };
    let founded = layout::found(dir, &up, sample.units()).unwrap();
    let mut nodes = Nodes(founded.testnet.nodes.clone());
    // The last second counts as a whole.
    until("the end of the certificates' time", async || (now_ms() > end_of(dir) + 1000).then_some(())).await;
    nodes.restart(dir);
    let mut shut = client(dir, false);
    shut.connection.ask_patience = Duration::from_secs(2);
    let asked = within(Duration::from_secs(4), async || shut.connection.cluster().await.ok()).await;
    assert!(asked.is_none(), "somebody connected with a certificate whose time is over");
    let refused = |name: &str| std::fs::read_to_string(Testnet::node_dir(dir, name).join("log")).unwrap().contains("has expired");
    until("the nodes' words for it", async || refused("city").then_some(())).await;

    nodes.configure(dir, |text| format!("{text}accept_expired_until = \"{SOMEDAY}\"\n"));
    nodes.restart(dir);
    let open = client(dir, true);
    until("the nodes behind broken glass", async || {
        open.connection.cluster().await.ok().filter(|all| all.nodes.iter().any(|n| n.role == "leader"))
    })
    .await;

    // Three people of the city grant each node and each of themselves a token. Nothing else is special.
    let unit = open.managing_unit().to_owned();
    let grant = async |applicant: String| {
        let applicant = open.applicant(&applicant, &[]).await.unwrap();
        let (token, _) = open.grant_enrolment(Some(&unit), applicant, now_ms() + HOUR_MS).await.unwrap();
        std::fs::write(dir.join("token"), &*token.text()).unwrap();
    };
    for node in &nodes.0 {
        grant(format!("node/{}", node.name)).await;
        let key = Testnet::node_dir(dir, &node.name).join("tls-key.pem");
        let before = std::fs::read(&key).unwrap();
        // One of them for another key, as after a theft.
        let anew = node.name == "nanshan";
        let more = if anew { "--new-key " } else { "" };
        let line = format!("vermiliond enrol --config nodes/{}/node.toml --token-file token {more}--json", node.name);
        let (code, said, error) = run(dir, &line);
        assert!(code == 0 && said.contains("certified"), "{said}{error}");
        assert_eq!(std::fs::read(&key).unwrap() != before, anew);
    }
    for post in ["approve", "operate", "verify"] {
        let key = crate::connections::key_of(&dir.join(format!("keys/{unit}-{post}.pem")));
        grant(format!("operator/{}", hex::encode(key.public().id()))).await;
        let (code, _, error) = run(
            dir,
            &format!(
                "vermilion --config client.toml enrol operator --unit {unit} --district 440300 --posts {post} --token-file token \
                 --key keys/{unit}-{post}.pem --out keys/{unit}-{post}.cert.pem"
            ),
        );
        assert_eq!(code, 0, "{error}");
    }
    // The token was used up; and a token of nobody is refused for good.
    let (code, _, error) = run(dir, "vermiliond enrol --config nodes/futian/node.toml --token-file token");
    assert!(code != 0 && error.contains("grant"), "{error}");

    // The glass is whole again, and everything goes on.
    nodes.configure(dir, |text| text.replace(&format!("accept_expired_until = \"{SOMEDAY}\"\n"), ""));
    nodes.restart(dir);
    let whole = client(dir, false);
    until("the nodes with their new certificates", async || {
        whole
            .connection
            .cluster()
            .await
            .ok()
            .filter(|all| all.nodes.len() == 3 && all.nodes.iter().all(|n| n.certificate_not_after_ms > now_ms()))
    })
    .await;
    let using = sample.unit_with_role("using-unit").unwrap();
    whole.register_unit(&unit, layout::unit_message(using), None).await.unwrap();
    // The others' are still over: the glass let nobody in for longer.
    let theirs = tempfile::TempDir::new().unwrap();
    let mut config: Config = Config::parse(&std::fs::read_to_string(dir.join("client.toml")).unwrap(), dir).unwrap();
    config.operators.retain(|operator| operator.posts == ["maker"] && operator.unit == unit);
    std::fs::write(theirs.path().join("client.toml"), config.to_toml().unwrap()).unwrap();
    let mut late = Client::open(&theirs.path().join("client.toml")).unwrap();
    late.connection.ask_patience = Duration::from_secs(1);
    let error = late.connection.cluster().await.unwrap_err();
    assert!(matches!(error, ClientError::Unreachable(_)), "{error}");
}

/// When the founders' certificates end, in Unix milliseconds.
fn end_of(dir: &Path) -> u64 {
    let pem = std::fs::read_to_string(dir.join("nodes/city/tls.pem")).unwrap();
    let der = vermilion_identity::x509::from_pem(&pem).unwrap();
    vermilion_identity::Certificate::parse(&der).unwrap().validity.not_after_ms
}
