//! The auditor as a command: what it trusts, what it says it left out, what it goes on from.

use serde_json::Value;
use tempfile::TempDir;
use vermilion_client::Config;
use vermilion_tests::{Ledger, Rows, inspection, run, until};

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_is_audited_under_the_configurations_trust() {
    let mut ledger = Ledger::start().await;
    let rows = Rows::fresh(ledger.dir(), &ledger.sample, 300);
    ledger.issue_all(&rows).await;
    ledger.settled().await;
    ledger.stop_all();
    let name = ledger.names().remove(0);
    std::fs::create_dir(ledger.dir().join("backup")).unwrap();
    let backup = ledger.copy_node(&name, &ledger.dir().join("backup")).join("data");
    let state = ledger.dir().join("audit.state");
    let config = ledger.dir().join("client.toml");
    let audit = |more: &[&str]| {
        let named = ["--config", config.to_str().unwrap(), "audit", "--data-dir", backup.to_str().unwrap()];
        ledger.vermilion(&[&named[..], more].concat())
    };
    let kept = state.to_str().unwrap();

    let (code, out, err) = audit(&["--json", "--state", kept]);
    assert_eq!(code, 0, "{out}{err}");
    let report: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((report["clean"].as_bool(), report["trust"].as_str(), report["licences"].as_u64()), (Some(true), Some("given"), Some(300)));
    assert_eq!(report["not_checked"], Value::Array(Vec::new()));
    assert!(!state.exists(), "an audit that came to its end left its state");

    let (code, out, err) = audit(&["--no-signatures", "--no-replay"]);
    assert_eq!(code, 0, "{out}{err}");
    assert!(out.contains("NOT CHECKED the units' signatures") && out.contains("NOT CHECKED outcomes"), "{out}");

    std::fs::write(&state, b"VMAUDIT1 and nothing else").unwrap();
    let (code, _, err) = audit(&["--state", kept]);
    assert_eq!(code, 3, "{err}");
    assert!(err.contains("damaged"), "{err}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_of_a_node_that_goes_on_is_whole() {
    let mut ledger = Ledger::start().await;
    let all = Rows::fresh(ledger.dir(), &ledger.sample, 400);
    let lines: Vec<String> = all.rows.iter().map(ToString::to_string).collect();
    let part = |n: usize| Rows::write(ledger.dir().join(format!("part-{n}.jsonl")), lines[n * 200..(n + 1) * 200].to_vec());
    let (first, second) = (part(0), part(1));
    ledger.issue_all(&first).await;
    let config = ledger.dir().join("client.toml").display().to_string();
    let backup = |name: &str| {
        let (code, out, err) = ledger.vermilion(&["--config", &config, "cluster", "backup", name, "--json"]);
        assert_eq!(code, 0, "{out}{err}");
        serde_json::from_str::<Value>(&out).unwrap()["folder"].as_str().unwrap().to_owned()
    };
    // While licences are issued, of every node.
    let names = ledger.names();
    let (mut copies, ()) = tokio::join!(
        async {
            let mut copies = Vec::new();
            for name in &names {
                copies.push(tokio::task::block_in_place(|| backup(name)));
            }
            copies
        },
        ledger.issue_all(&second)
    );
    ledger.settled().await;
    copies.push(backup(&names[0]));
    let audit = |ledger: &Ledger, dirs: &[String]| {
        let named: Vec<&str> = dirs.iter().flat_map(|dir| ["--data-dir", dir.as_str()]).collect();
        ledger.vermilion(&[&["--config", &config, "audit", "--json"], &named[..]].concat())
    };
    for copy in &copies {
        let (code, out, err) = audit(&ledger, std::slice::from_ref(copy));
        assert_eq!(code, 0, "{copy}: {out}{err}");
    }
    // Together, and with the directories themselves, once the nodes are stopped.
    let last = serde_json::from_str::<Value>(&audit(&ledger, &copies[3..]).1).unwrap();
    assert_eq!(last["licences"].as_u64(), Some(400), "{last}");
    ledger.stop_all();
    copies.extend(ledger.data_dirs().iter().map(|dir| dir.display().to_string()));
    let (code, out, err) = audit(&ledger, &copies);
    assert_eq!(code, 0, "{out}{err}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_to_another_file_system_is_refused_and_leaves_nothing() {
    let mut ledger = Ledger::start().await;
    ledger.stop_all();
    // In memory: never where the data lie.
    let elsewhere = TempDir::with_prefix_in("vermilion-test-", "/dev/shm").unwrap();
    let (name, folder) = (ledger.names().remove(0), elsewhere.path().join("backups"));
    let path = ledger.node_dir(&name).join("node.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    let other = text.replace("backups = \"backups\"", &format!("backups = \"{}\"", folder.display()));
    assert_ne!(other, text);
    std::fs::write(&path, other).unwrap();
    ledger.start_all().await;
    let config = ledger.dir().join("client.toml").display().to_string();
    let (code, out, err) = ledger.vermilion(&["--config", &config, "cluster", "backup", &name]);
    assert!(code == 2 && out.is_empty() && err.contains("lies on another file system than the data"), "exit code {code}: {out}{err}");
    assert!(!err.contains("no node answers"), "{err}");
    assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn tiles_of_running_nodes_show_the_trees_consistency_and_no_more() {
    let ledger = Ledger::start().await;
    let rows = Rows::fresh(ledger.dir(), &ledger.sample, 100);
    ledger.issue_all(&rows).await;
    ledger.settled().await;
    let config = ledger.dir().join("client.toml");
    for node in ledger.nodes() {
        let (code, out, err) =
            ledger.vermilion(&["--config", config.to_str().unwrap(), "audit", "--tiles", &format!("http://{}", node.http)]);
        assert_eq!(code, 0, "{out}{err}");
        // Said, and not left to be known: what such an audit does not show.
        assert!(out.contains("NOT CHECKED"), "{out}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_stays_over_a_ledger_that_grows_and_ends_at_a_node_that_went_back() {
    let mut ledger = Ledger::start().await;
    let rows = Rows::fresh(ledger.dir(), &ledger.sample, 100);
    ledger.issue_all(&rows).await;
    ledger.settled().await;
    let config = ledger.dir().join("client.toml");
    let (kept, figures) = (ledger.dir().join("watch"), ledger.dir().join("watch.prom"));
    let watch = ["--config", config.to_str().unwrap(), "audit", "--watch", "--interval", "1", "--keep", kept.to_str().unwrap()];
    let watch = [&watch[..], &["--metrics", figures.to_str().unwrap(), "--rounds", "2"]].concat();
    let (code, out, err) = ledger.vermilion(&watch);
    assert_eq!(code, 0, "{out}{err}");

    // An old copy of a node, from before the ledger went on.
    let name = ledger.names().remove(2);
    ledger.stop_all();
    let old = ledger.copy_node(&name, &ledger.dir().join("old"));
    ledger.start_all().await;
    let unit = ledger.sample.unit_with_role("using-unit").unwrap().uscc.clone();
    for suspended in [true, false] {
        ledger.client.change_unit(ledger.client.managing_unit(), &unit, suspended, &inspection()).await.unwrap();
    }
    ledger.settled().await;
    let (code, out, err) = ledger.vermilion(&watch);
    assert_eq!(code, 0, "{out}{err}");

    // It comes back in that node's place; with nobody there it cannot catch up.
    ledger.stop_all();
    let data = ledger.node(&name).data_dir.clone();
    std::fs::remove_dir_all(&data).unwrap();
    vermilion_tests::disk::copy(&old.join("data"), &data);
    ledger.launch(&name);
    let alarm = until("the alarm", async || {
        let (code, out, err) = ledger.vermilion(&watch);
        (code == 1).then_some(out + &err)
    })
    .await;
    assert!(alarm.contains("rollback"), "{alarm}");
    let evidence = std::fs::read_dir(&kept).unwrap().count();
    assert!(evidence >= 2 && std::fs::read_to_string(&figures).unwrap().contains("vermilion"), "{evidence} files");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_takes_no_founder_for_another_and_an_audit_no_node_for_two() {
    let ledger = Ledger::start().await;
    ledger.settled().await;
    let address = ledger.node(&ledger.names()[0]).grpc.clone();
    let alias = address.replace("127.0.0.1", "localhost");
    let (code, out, err) = run(ledger.dir(), &format!("vermilion --config client.toml audit --node {address} {alias}"));
    assert!(code == 2 && err.contains("agree with itself"), "{code} {out}{err}");
    // Two of them stand in each other's place. What they show is the ledger's, and none of it is their own.
    let folder = ledger.dir();
    let mut config = Config::parse(&std::fs::read_to_string(folder.join("client.toml")).unwrap(), folder).unwrap();
    let [own, one, other] = config.nodes.as_mut_slice() else { panic!("three founders") };
    std::mem::swap(&mut one.http, &mut other.http);
    let (own, mut strange) = (own.name.clone(), vec![one.name.clone(), other.name.clone()]);
    std::fs::write(folder.join("swapped.toml"), config.to_toml().unwrap()).unwrap();
    let watch = "vermilion --config swapped.toml audit --watch --interval 1 --stall 1 --rounds 3 --keep swapped --json";
    let (code, out, err) = run(folder, watch);
    assert_eq!(code, 1, "{out}{err}");
    let alarms: Vec<Value> = out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let said = |alarm: &Value| alarm["alarm"] == "stalled" && alarm["message"].as_str().is_some_and(|why| why.contains("certificate"));
    assert!(alarms.iter().all(said), "{out}");
    let mut named: Vec<String> = alarms.iter().map(|alarm| alarm["node"].as_str().unwrap().to_owned()).collect();
    named.sort();
    strange.sort();
    assert_eq!(named, strange, "{own} is where it should be");
}
