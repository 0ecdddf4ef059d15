//! Keys that were made in a SoftHSM2 token and never leave it: a node's TLS key, with which it founds, runs, and is met by the
//! others; and an administrator's second key, which signs beside his first.

use crate::founding::{CITY_UNIT, NODES, Table};
use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::mechanism::Mechanism;
use cryptoki::object::Attribute;
use cryptoki::session::UserType;
use cryptoki::types::AuthPin;
use std::path::{Path, PathBuf};
use std::process::Command;
use vermilion_client::Client;
use vermilion_testnet::processes;
use vermilion_tests::until;

/// Where Debian has it.
const MODULE: &str = "/usr/lib/softhsm/libsofthsm2.so";
/// Names a module that lies elsewhere.
const MODULE_VARIABLE: &str = "SOFTHSM2_MODULE";
/// Set in the test that runs inside, to the token's folder. SoftHSM finds its tokens by an environment variable, which a
/// process had better not change in itself.
const INSIDE: &str = "VERMILION_TEST_TOKEN";
const PIN: &str = "5081-6643";
/// The node's key, and the administrator's second one.
const LABELS: [&str; 2] = ["futian tls", "second"];

fn module() -> PathBuf {
    std::env::var_os(MODULE_VARIABLE).map_or_else(|| MODULE.into(), PathBuf::from)
}

/// As `pkcs11-tool --keypairgen` would make it.
fn generate() {
    let pkcs11 = Pkcs11::new(module()).unwrap();
    pkcs11.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)).unwrap();
    let slot = pkcs11.get_slots_with_initialized_token().unwrap()[0];
    let session = pkcs11.open_rw_session(slot).unwrap();
    session.login(UserType::User, Some(&AuthPin::new(PIN.into()))).unwrap();
    for (id, label) in (7..).zip(LABELS) {
        let names = [Attribute::Token(true), Attribute::Label(label.into()), Attribute::Id(vec![id])];
        // Ed25519's object identifier.
        let curve = vec![0x06, 0x03, 0x2b, 0x65, 0x70];
        let public = [&names[..], &[Attribute::EcParams(curve), Attribute::Verify(true)]].concat();
        let kept = [Attribute::Private(true), Attribute::Sensitive(true), Attribute::Extractable(false), Attribute::Sign(true)];
        session.generate_key_pair(&Mechanism::EccEdwardsKeyPairGen, &public, &[&names[..], &kept].concat()).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_nodes_key_never_leaves_its_device() {
    match std::env::var_os(INSIDE) {
        Some(folder) => with_token(Path::new(&folder)).await,
        None => make_token(),
    }
}

/// Makes a token, and runs this test once more with it.
fn make_token() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    std::fs::create_dir(path("tokens")).unwrap();
    std::fs::write(path("pin"), PIN).unwrap();
    std::fs::write(path("conf"), format!("directories.tokendir = {}\nlog.level = ERROR\n", path("tokens").display())).unwrap();
    let run = |command: &mut Command| {
        let ran = command.env("SOFTHSM2_CONF", path("conf")).env(INSIDE, folder.path()).output();
        let ran = ran.unwrap_or_else(|e| panic!("{command:?}: {e}; is Debian's softhsm2 installed?"));
        let text = format!("{}{}", String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
        assert!(ran.status.success(), "{command:?}: {}\n{text}", ran.status);
        text
    };
    let made = ["--init-token", "--free", "--label", "vermilion", "--so-pin", "so-pin", "--pin", PIN, "--module"];
    run(Command::new("softhsm2-util").args(made).arg(module()));
    let this = "device::a_nodes_key_never_leaves_its_device";
    let text = run(Command::new(std::env::current_exe().unwrap()).args([this, "--exact", "--nocapture"]));
    assert!(text.contains("1 passed"), "{this} is not the name of this test: {text}");
}

async fn with_token(folder: &Path) {
    generate();
    let mut table = Table::new();
    let uri = |object: &str| {
        format!(
            "pkcs11:token=vermilion;object={object}?module-path={}&pin-source=file:{}",
            module().display(),
            folder.join("pin").display()
        )
    };
    let config = table.path("nodes/futian/node.toml");
    let text = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, text.replace("key = \"tls-key.pem\"", &format!("key = \"{}\"", uri("futian%20tls")))).unwrap();
    table.gather();
    // The security administrator's second key asks from the token.
    let shown = table.json(&format!("vermilion operator public {}", uri("second")));
    table.yes(&format!(
        "vermilion founding operator --unit {CITY_UNIT} --posts second-key --key {} --out security-admin-second.request",
        uri("second")
    ));
    assert!(!shown["public"].as_str().unwrap().is_empty());
    let id = table.make();
    for (name, _) in NODES {
        table.yes(&format!("vermiliond receive --config nodes/{name}/node.toml --package ledger/nodes/{name}.package --ledger {id}"));
    }
    table.start().await;
    assert!(!table.path("nodes/futian/tls-key.pem").exists());
    // Started again it opens the device again; then it leads, and every connection of the others is to its certificate.
    table.restart("futian");
    table.city_config();
    let client = Client::open(&table.path("ledger/city.toml")).unwrap();
    let leads = async |name: &str| {
        let all = client.connection.cluster().await.ok()?.nodes;
        (all.len() == NODES.len() && all.iter().any(|n| n.role == "leader" && n.name == name)).then_some(())
    };
    until("the node as a leader", async || {
        if leads("futian").await.is_none() {
            table.run("vermilion --config ledger/city.toml cluster transfer --to futian");
        }
        leads("futian").await
    })
    .await;
    let city = "vermilion --config ledger/city.toml";
    table.yes(&format!(
        "{city} unit register --uscc 11440304MB0X010624 --name 样例区民政局(福田) --area 440304 --level district --role issuing-unit"
    ));

    // What security administration does wants both keys: the one in the file and the one on the token.
    let ban = format!("{city} admission ban node/nanshan --grade critical");
    let line = "second_key = \"../security-admin-second.pem\"\n";
    let with = |second: &str| {
        let text = std::fs::read_to_string(table.path("ledger/city.toml")).unwrap();
        assert!(text.contains(line));
        text.replace(line, second)
    };
    let (without, on_token) = (with(""), with(&format!("second_key = \"{}\"\n", uri("second"))));
    table.no(&ban, "unknown-signer");
    std::fs::write(table.path("ledger/city.toml"), without).unwrap();
    table.no(&ban, "second key");
    std::fs::write(table.path("ledger/city.toml"), on_token).unwrap();
    table.yes(&ban);
    for node in &mut table.testnet.nodes {
        processes::stop(node).unwrap();
    }
}
