//! A ledger as a city founds it: every key made where it lives, one table, and everything typed as people type it.

use serde_json::Value;
use std::path::{Path, PathBuf};
use vermilion_client::Client;
use vermilion_registry::codes::identifier::Identifier;
use vermilion_testnet::description::{TestNode, Testnet};
use vermilion_testnet::processes;
use vermilion_testnet::sample::Sample;
use vermilion_tests::{Rows, free_ports, run, until};

/// The city's managing unit.
pub const CITY_UNIT: &str = "11440300MB0X00019K";
/// Nanshan's, which issues food and health permits.
const ISSUER: &str = "11440305MB0X01046W";
/// Name and district.
pub const NODES: [(&str, &str); 3] = [("city", "440300"), ("futian", "440304"), ("nanshan", "440305")];
const POSTS: [&str; 5] = ["approve", "operate", "verify", "system-admin", "security-admin"];
/// Whose second keys are files.
const ADMINS: [&str; 2] = ["system-admin", "security-admin"];

/// The folder in which all of them do their part; the nodes end with it.
pub struct Table {
    dir: tempfile::TempDir,
    /// Its nodes.
    pub testnet: Testnet,
}

impl Drop for Table {
    fn drop(&mut self) {
        for node in &mut self.testnet.nodes {
            let _ = processes::kill(node);
        }
    }
}

impl Table {
    pub fn new() -> Self {
        let dir = tempfile::TempDir::with_prefix("vermilion-founding-").unwrap();
        let base = free_ports(2 * NODES.len() as u16 + 1);
        let enrolment = format!("127.0.0.1:{}", base + 6);
        let mut nodes = Vec::new();
        for (n, (name, _)) in (0..).zip(NODES) {
            let home = Testnet::node_dir(dir.path(), name);
            std::fs::create_dir_all(&home).unwrap();
            std::fs::write(home.join("passphrase"), format!("only {name} knows\n")).unwrap();
            let (grpc, http) = (format!("127.0.0.1:{}", base + 2 * n), format!("127.0.0.1:{}", base + 2 * n + 1));
            let issues =
                if name == "city" { format!("issuing_key = \"issuing-key.pem\"\nenrolment = \"{enrolment}\"\n") } else { String::new() };
            let toml = format!(
                "name = \"{name}\"\ndata_dir = \"data\"\ngenesis = \"genesis.bin\"\ngrpc = \"{grpc}\"\nhttp = \"{http}\"\n\
                 [keys]\nnode = \"node.pem\"\ncosigning = \"cosigning.pem\"\nreceived = \"received\"\npassphrase_file = \"passphrase\"\n\
                 [tls]\ncertificate = \"tls.pem\"\nkey = \"tls-key.pem\"\nauthority = [\"{enrolment}\"]\nrest_plain = true\n{issues}"
            );
            std::fs::write(home.join("node.toml"), toml).unwrap();
            nodes.push(TestNode { name: name.into(), grpc, http, pid: 0, data_dir: home.join("data") });
        }
        std::fs::write(dir.path().join("phrase"), "of the table\n").unwrap();
        std::fs::write(dir.path().join("safe-phrase"), "of the safe\n").unwrap();
        let testnet =
            Testnet { nodes, client: dir.path().join("ledger/client.toml"), enrolment: Some(enrolment), populated: true, empty: false };
        Self { dir, testnet }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).unwrap();
    }

    /// Runs a command in the folder, its words as they are typed: exit code, output, errors.
    pub fn run(&self, line: &str) -> (i32, String, String) {
        run(self.dir.path(), line)
    }

    pub fn yes(&self, line: &str) -> String {
        let (code, out, error) = self.run(line);
        assert_eq!(code, 0, "{line}: {error}");
        out
    }

    pub fn json(&self, line: &str) -> Value {
        let out = self.yes(&format!("{line} --json"));
        serde_json::from_str(&out).unwrap_or_else(|e| panic!("{line}: {e}: {out}"))
    }

    pub fn no(&self, line: &str, why: &str) {
        let (code, _, error) = self.run(line);
        assert!(code != 0 && error.contains(why), "{line}: {code}: {error}");
    }

    /// Everybody's requests, and the plan.
    pub fn gather(&self) {
        self.yes(&format!(
            "vermilion authority root --trust-domain city.example --unit {CITY_UNIT} --name Root --out root --passphrase-file phrase"
        ));
        self.yes("vermilion authority issuing --root root --name Issuing --out issuing --passphrase-file phrase");
        let mut plan = format!(
            "origin = \"city.example/ledger\"\nroot = \"root/root.pem\"\nissuing = \"issuing\"\n[managing_unit]\nuscc = \"{CITY_UNIT}\"\n\
             name = \"样例市电子证照管理单位\"\narea = \"440300\"\n[[calendar]]\nyear = 2027\nholidays = [\"2027-01-01\"]\n"
        );
        for (name, district) in NODES {
            self.yes(&format!("vermiliond request --config nodes/{name}/node.toml --district {district} --out {name}.request"));
            plan += &format!("[[nodes]]\nrequest = \"{name}.request\"\n");
        }
        for post in POSTS {
            self.yes(&format!(
                "vermilion founding operator --unit {CITY_UNIT} --posts {post} --key {post}.pem --passphrase-file phrase --out {post}.request"
            ));
            self.write(&format!("{post}.person"), &format!("sample-person-{post}\n"));
            plan += &format!(
                "[[operators]]\nname = \"{post}\"\nrequest = \"{post}.request\"\nperson = \"{post}.person\"\nperson_code_type = \"999\"\n"
            );
        }
        for post in ADMINS {
            self.second_key(post, &format!("{post}-second.pem"), &mut plan);
        }
        self.write("plan.toml", &plan);
    }

    /// An administrator's second key asks too, for the same person.
    fn second_key(&self, post: &str, key: &str, plan: &mut String) {
        self.yes(&format!(
            "vermilion founding operator --unit {CITY_UNIT} --posts second-key --key {key} --passphrase-file phrase --out {post}-second.request"
        ));
        *plan += &format!(
            "[[operators]]\nname = \"{post}-second\"\nrequest = \"{post}-second.request\"\nperson = \"{post}.person\"\n\
             person_code_type = \"999\"\n"
        );
    }

    /// Makes the ledger, and returns its id.
    pub fn make(&self) -> String {
        let made = self.json(&format!("{MAKE} --out ledger"));
        assert_eq!((made["nodes"].as_u64(), made["operators"].as_u64()), (Some(3), Some((POSTS.len() + ADMINS.len()) as u64)));
        made["ledger_id"].as_str().unwrap().to_owned()
    }

    /// Starts every node, and waits until all are ready.
    pub async fn start(&mut self) {
        let dir = self.dir.path();
        for node in &mut self.testnet.nodes {
            processes::start(dir, node).unwrap();
        }
        std::fs::copy(self.path("ledger/genesis.bin"), self.path("genesis.bin")).unwrap();
        processes::wait_ready(self.dir.path(), &self.testnet.nodes, processes::READY).await.unwrap();
    }

    /// Stops a node and starts it again.
    pub fn restart(&mut self, name: &str) {
        let dir = self.dir.path();
        let node = self.testnet.nodes.iter_mut().find(|node| node.name == name).unwrap();
        processes::stop(node).unwrap();
        processes::start(dir, node).unwrap();
    }

    /// The city's configuration with the keys of its operators.
    pub fn city_config(&self) {
        let mut text = std::fs::read_to_string(self.path("ledger/client.toml")).unwrap();
        text = format!("passphrase_file = \"../phrase\"\n{text}");
        for post in POSTS {
            let second = if ADMINS.contains(&post) { format!("second_key = \"../{post}-second.pem\"\n") } else { String::new() };
            text += &format!(
                "[[operators]]\nunit = \"{CITY_UNIT}\"\nposts = [\"{post}\"]\nkey = \"../{post}.pem\"\ncertificate = \"operators/{post}.cert.pem\"\n{second}"
            );
        }
        std::fs::write(self.path("ledger/city.toml"), text).unwrap();
    }
}

const MAKE: &str = "vermilion founding make --plan plan.toml --passphrase-file phrase --safe-passphrase-file safe-phrase";

fn files(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[tokio::test(flavor = "multi_thread")]
async fn a_city_founds_its_ledger_and_issues() {
    let mut table = Table::new();
    table.gather();
    // What was printed where a request was made is what the table sees.
    let again = table.yes("vermiliond request --config nodes/futian/node.toml --district 440304 --out futian.request");
    let shown = table.json("vermilion founding show futian.request");
    assert!(again.contains(shown[0]["fingerprint"].as_str().unwrap()), "{again} {shown}");
    let id = table.make();
    for (name, _) in NODES {
        let said =
            table.yes(&format!("vermiliond receive --config nodes/{name}/node.toml --package ledger/nodes/{name}.package --ledger {id}"));
        assert!(said.contains(&id), "{said}");
    }
    // Each holds what it is to hold, under its own passphrase, and nothing that it is not.
    let received = |name: &str| files(&table.path(&format!("nodes/{name}/received")));
    let of = |files: &[String], what: &str| files.iter().filter(|f| f.starts_with(what)).count();
    for (name, ledger, vault) in [("city", 1, 3), ("futian", 0, 1), ("nanshan", 0, 1)] {
        let files = received(name);
        assert_eq!((of(&files, "ledger-"), of(&files, "vault-"), files.len()), (ledger, vault, ledger + vault + 1), "{name}: {files:?}");
        for file in files {
            let text = std::fs::read_to_string(table.path(&format!("nodes/{name}/received/{file}"))).unwrap();
            assert!(text.contains("ENCRYPTED"), "{name}/{file}");
        }
    }
    assert_ne!(received("futian")[1], received("nanshan")[1]);
    assert_eq!(files(&table.path("ledger/safe")).len(), 2 + 3);

    table.start().await;
    table.city_config();
    // A unit, its people, their certificates, a type, a licence: with the city's first operators alone.
    let city = "vermilion --config ledger/city.toml";
    table.yes(&format!(
        "{city} unit register --uscc {ISSUER} --name 样例区卫生健康局(南山) --area 440305 --level district --role issuing-unit"
    ));
    let mut unit = format!("passphrase_file = \"../phrase\"\n{}", std::fs::read_to_string(table.path("ledger/client.toml")).unwrap());
    table.yes("vermilion operator keygen --out unit-secret.pem --passphrase-file phrase");
    unit += &format!("[[units]]\nuscc = \"{ISSUER}\"\nsecret = \"../unit-secret.pem\"\n");
    let maker = enlist(&table, "maker", "maker", &mut unit);
    enlist(&table, "checker", "checker", &mut unit);
    std::fs::write(table.path("ledger/unit.toml"), unit).unwrap();
    let sample = Sample::load().unwrap();
    let types: Vec<Value> = serde_json::from_str(include_str!("../../../testnet/fixtures/catalogue.json")).unwrap();
    let types: Vec<&Value> = types.iter().filter(|of| of["issuers"][0] == ISSUER).collect();
    table.write("types.json", &serde_json::to_string(&types).unwrap());
    table.yes(&format!("{city} type publish --file types.json"));
    another_unit_issues_too(&table, types[0]["certificateTypeCode"].as_str().unwrap());
    let own = issues(&table, &sample, &[], "own.jsonl");
    // Stock may begin at any version.
    supersedings_come_in_any_order(&table, own.rows.iter().rfind(|row| row["origin"] == "new").unwrap());
    // A receipt under the trust that the table wrote.
    let licence = own.rows[0]["certificateIdentifier"].as_str().unwrap();
    until("a receipt", async || {
        (table.run(&format!("vermilion --config ledger/unit.toml receipt get {licence} --out own.vmr")).0 == 0).then_some(())
    })
    .await;
    // Its dates may be over; that the keys are the unit's is the nodes' word until they are pinned.
    let check = |more: &str| {
        let (code, said, error) = table.run(&format!("vermilion receipt check own.vmr --need-status --licence {licence} --trust {more}"));
        assert!(code == 0 || code == 6 || code == 1, "{error}");
        (code != 1, said)
    };
    let (holds, said) = check("ledger/trust.json");
    assert!(holds && said.contains("on the nodes' word"), "{said}");
    table.yes(&format!("vermilion --config ledger/unit.toml trust units {ISSUER} --trust ledger/trust.json --out pinned.json"));
    let (holds, said) = check("pinned.json");
    assert!(holds && said.contains("pinned") && !said.contains("on the nodes' word"), "{said}");
    // Under another unit's keys it is nobody's.
    let pinned = std::fs::read_to_string(table.path("pinned.json")).unwrap();
    let mut wrong: Value = serde_json::from_str(&pinned).unwrap();
    wrong["units"][ISSUER] = serde_json::json!(["ab".repeat(32)]);
    table.write("wrong.json", &wrong.to_string());
    assert!(!check("wrong.json").0);
    a_revoked_key_is_no_hindrance(&table, &sample, &maker, licence);
    // All of it stands up to an audit, under the ledger id that was read out.
    let client = Client::open(&table.path("ledger/city.toml")).unwrap();
    assert_eq!(hex::encode(client.ledger_id()), id);
    for node in &mut table.testnet.nodes {
        processes::stop(node).unwrap();
    }
    let dirs: String = NODES.iter().map(|(name, _)| format!(" --data-dir nodes/{name}/data")).collect();
    table.yes(&format!("vermilion audit --trust ledger/trust.json --genesis ledger/genesis.bin{dirs}"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_takes_nothing_that_does_not_fit() {
    let table = Table::new();
    table.gather();
    // What stays in the genesis for good is looked at where it is said, before a key is made.
    let request = "vermiliond request --config nodes/futian/node.toml --out bad.request";
    table.no(&format!("{request} --district 440304 --address nonsense"), "--address");
    table.no(&format!("{request} --district 44030x"), "--district");
    let operator = "vermilion founding operator --key bad.pem --passphrase-file phrase --out bad.request";
    table.no(&format!("{operator} --unit 11440300MB0X00019L --posts approve"), "--unit");
    table.no(&format!("{operator} --unit {CITY_UNIT} --posts Approve"), "--posts");
    assert!(!table.path("bad.request").exists() && !table.path("bad.pem").exists());
    // A request that was changed on the way; one that is not of the kind.
    let mut bytes = std::fs::read(table.path("futian.request")).unwrap();
    let whole = bytes.clone();
    let at = bytes.windows(6).position(|w| w == b"440304").unwrap();
    bytes[at + 5] = b'5';
    std::fs::write(table.path("futian.request"), &bytes).unwrap();
    table.no(&format!("{MAKE} --out ledger"), "signature");
    std::fs::write(table.path("futian.request"), std::fs::read(table.path("approve.request")).unwrap()).unwrap();
    table.no(&format!("{MAKE} --out ledger"), "operator's request");
    std::fs::write(table.path("futian.request"), whole).unwrap();
    // One person in two of the three posts of administration; too few to admit others; a passphrase that is none.
    table.write("security-admin.person", "sample-person-system-admin\n");
    table.no(&format!("{MAKE} --out ledger"), "posts-incompatible");
    table.write("security-admin.person", "sample-person-security-admin\n");
    let plan = std::fs::read_to_string(table.path("plan.toml")).unwrap();
    let (before, after) = plan.split_once("[[operators]]\nname = \"verify\"").unwrap();
    let after = after.split_once("[[operators]]").unwrap().1;
    table.write("few.toml", &format!("{before}[[operators]]{after}"));
    table.no(&format!("{} --out ledger", MAKE.replace("plan.toml", "few.toml")), "last-operators");
    table.no(&format!("{} --out ledger", MAKE.replace("--passphrase-file phrase ", "--passphrase-file safe-phrase ")), "passphrase");
    assert!(!table.path("ledger").exists(), "nothing is half made");

    let id = table.make();
    table.no(&format!("{MAKE} --out ledger"), "ledger");
    let receive = |name: &str, package: &str, id: &str| {
        format!("vermiliond receive --config nodes/{name}/node.toml --package ledger/nodes/{package}.package --ledger {id}")
    };
    // Another's package, another ledger, a package that was cut short; nothing is kept of them.
    table.no(&receive("futian", "nanshan", &id), "does not open");
    table.no(&receive("futian", "futian", &"ab".repeat(32)), "not of");
    let package = std::fs::read(table.path("ledger/nodes/futian.package")).unwrap();
    std::fs::write(table.path("ledger/nodes/short.package"), &package[..package.len() - 1]).unwrap();
    table.no(&receive("futian", "short", &id), "package");
    assert_eq!(files(&table.path("nodes/futian/received")), ["recipient.pem"]);
    table.no("vermiliond check --config nodes/futian/node.toml", "tls.certificate: cannot read");
    // Its own, twice; then it asks for no other ledger.
    table.yes(&receive("futian", "futian", &id));
    let again = table.yes(&receive("futian", "futian", &id));
    assert!(again.contains("lookup, vault (received before"), "{again}");
    // What only the city's node was given is not said to be here.
    table.no(&receive("futian", "city", &id), "another node's");
    table.yes("vermiliond check --config nodes/futian/node.toml");
    a_configuration_of_another_is_told(&table);
    table.no("vermiliond request --config nodes/futian/node.toml --district 440304 --out again.request", "has its ledger");
    // A key that is to take the ledger key's place lies beside those that were received, under the node's own passphrase.
    table.yes(&receive("city", "city", &id));
    table.yes("vermilion key make ledger --out nodes/city/ledger-2.pem --passphrase-file nodes/city/passphrase");
    let toml = std::fs::read_to_string(table.path("nodes/city/node.toml")).unwrap();
    table.write("nodes/city/node.toml", &toml.replace("[keys]\n", "[keys]\nledger = \"ledger-2.pem\"\n"));
    table.yes("vermiliond check --config nodes/city/node.toml");
    // The key that the node made is needed: without it the package is bytes.
    std::fs::remove_file(table.path("nodes/nanshan/received/recipient.pem")).unwrap();
    table.no(&receive("nanshan", "nanshan", &id), "recipient.pem");
}

/// The city registers an operator of the issuing unit and grants a certificate, whose serial number is returned; `unit` is the
/// unit's configuration.
fn enlist(table: &Table, name: &str, post: &str, unit: &mut String) -> String {
    let city = "vermilion --config ledger/city.toml";
    let made = table.json(&format!("vermilion operator keygen --out {name}.pem --passphrase-file phrase"));
    table.write(&format!("{name}.person"), &format!("sample-person-{name}\n"));
    let public = made["public"].as_str().unwrap();
    table.yes(&format!(
        "{city} operator add --unit {ISSUER} --public {public} --posts {post} --person {name}.person --person-code-type 999"
    ));
    // As a shell keeps it: the token is all that is on standard output.
    let granted = table.yes(&format!("{city} enrolment grant operator/{}", made["key_id"].as_str().unwrap()));
    assert_eq!(granted.lines().count(), 1, "{granted}");
    table.write("token", &granted);
    let enrolled = table.json(&format!(
        "{city} enrol operator --unit {ISSUER} --district 440305 --posts {post} --token-file token --key {name}.pem --out {name}.cert.pem"
    ));
    *unit += &format!(
        "[[operators]]\nunit = \"{ISSUER}\"\nposts = [\"{post}\"]\nkey = \"../{name}.pem\"\ncertificate = \"../{name}.cert.pem\"\n"
    );
    enrolled["serial"].as_str().unwrap().to_owned()
}

/// A unit that is added issues a type until it is taken out by name, or by a catalogue that says so.
fn another_unit_issues_too(table: &Table, code: &str) {
    const OTHER: &str = "11440304MB0X010624";
    let city = "vermilion --config ledger/city.toml";
    let issuers = |of: Value| of["implementations"].as_array().unwrap().iter().filter(|i| i["unit"] == OTHER).cloned().collect::<Vec<_>>();
    let shown = || issuers(table.json(&format!("{city} type show {code}")));
    let version = table.json(&format!("{city} type show {code}"))["version"].clone();
    table.no(&format!("{city} type issuers {code} --add {OTHER}"), "unknown-unit");
    table.yes(&format!("{city} unit register --uscc {OTHER} --name 样例区民政局 --area 440304 --level district --role issuing-unit"));
    let add = format!("{city} type issuers {code} --add {OTHER}:440304");
    assert!(table.json(&add)["record"]["seq"].is_u64());
    assert_eq!((shown()[0]["area"].as_str(), table.json(&add)["record"].clone()), (Some("440304"), Value::Null));
    // The file does not name it, and nothing is new.
    assert_eq!(table.json(&format!("{city} type publish --file types.json --only {code}"))[0]["record"], Value::Null);
    assert_eq!((shown().len(), table.json(&format!("{city} type show {code}"))["version"].clone()), (1, version));
    assert!(table.json(&format!("{city} type publish --file types.json --only {code} --only-these"))[0]["record"]["seq"].is_u64());
    assert_eq!(shown().len(), 0);
    table.yes(&add);
    table.yes(&format!("{city} type issuers {code} --remove {OTHER}"));
    assert_eq!(shown().len(), 0);
}

/// The issuing unit issues rows of its own, all of which are taken: two seeds may have licences of one series, so those of
/// `before` are left out.
fn issues(table: &Table, sample: &Sample, before: &[Value], file: &str) -> Rows {
    let series = |row: &Value| Identifier::parse(row["certificateIdentifier"].as_str().unwrap()).unwrap().series().to_owned();
    let rows = Rows::fresh(table.dir.path(), sample, 60);
    let is_new = |row: &&Value| !before.iter().any(|of| series(of) == series(row));
    let own = rows.rows.iter().filter(|row| row["certificateIssuingAuthorityCode"] == ISSUER).filter(is_new).map(ToString::to_string);
    let own = Rows::write(table.path(file), own);
    let issued = table.yes(&format!("vermilion --config ledger/unit.toml licence issue --file {file} --json"));
    let accepted = issued.lines().filter(|line| line.contains("\"accepted\"")).count();
    assert_eq!(accepted, own.rows.len(), "{issued}");
    own
}

/// A maker's stolen key is revoked and stays in the unit's configuration, first of all; another maker's is added behind it.
fn a_revoked_key_is_no_hindrance(table: &Table, sample: &Sample, serial: &str, licence: &str) {
    let own = "vermilion --config ledger/unit.toml";
    table.yes(&format!("{own} certificate revoke {serial} --reason keyCompromise"));
    // Without another, whose key it is that is wanted.
    table.no(&format!("{own} licence issue --file own.jsonl"), "maker.pem");
    let mut unit = std::fs::read_to_string(table.path("ledger/unit.toml")).unwrap();
    enlist(table, "second", "maker", &mut unit);
    table.write("ledger/unit.toml", &unit);
    let before = Rows::read(&table.path("own.jsonl"));
    issues(table, sample, &before.rows, "more.jsonl");
    for line in [format!("licence status {licence}"), format!("receipt get {licence} --fresh --out fresh.vmr")] {
        let (code, _, error) = table.run(&format!("{own} {line}"));
        assert!(code < 2, "{line}: {code}: {error}");
    }
}

/// A version that is sent before the one before it is refused, and taken when that is there: the next call is another
/// command. What was taken is answered alike ever after.
fn supersedings_come_in_any_order(table: &Table, row: &Value) {
    let identifier = Identifier::parse(row["certificateIdentifier"].as_str().unwrap()).unwrap();
    let supersede = |version: u16| {
        let mut next = row.clone();
        next["certificateIdentifier"] = identifier.with_version(version).unwrap().as_str().into();
        table.write(&format!("{version}.json"), &next.to_string());
        format!("vermilion --config ledger/unit.toml licence supersede --file {version}.json --because renewal")
    };
    let (second, third) = (supersede(2), supersede(3));
    table.no(&third, "version-gap");
    table.yes(&second);
    let taken = table.json(&third);
    assert_eq!(table.json(&third), taken);
}

/// What is not this node's or not of this ledger is a fault of its configuration, told by its key before anything starts.
fn a_configuration_of_another_is_told(table: &Table) {
    let good = std::fs::read_to_string(table.path("nodes/futian/node.toml")).unwrap();
    table.yes(&format!("{MAKE} --out other"));
    let told = |verb: &str, names: &str| {
        let (code, _, error) = table.run(&format!("vermiliond {verb} --config nodes/futian/node.toml"));
        assert!(code == 78 && error.contains(names), "{verb}: {code}: {error}");
    };
    for (from, to, names) in [
        ("node = \"node.pem\"", "node = \"cosigning.pem\"", "keys.node: not the key"),
        ("\"genesis.bin\"", "\"../../other/genesis.bin\"", "keys.lookup: not the key"),
        ("\"passphrase\"", "\"away\"", "keys.passphrase_file: cannot read"),
        ("\"futian\"", "\"nobody\"", "name: the genesis knows no node"),
    ] {
        let changed = good.replace(from, to);
        assert_ne!(changed, good);
        table.write("nodes/futian/node.toml", &changed);
        told("check", names);
    }
    // One that joins says its raft_id before it asks for anything.
    told("run", "raft_id");
    told("join", "raft_id");
    table.write("nodes/futian/node.toml", &good);
}
