//! `vermilion-testnet up`: broken off, asked for what cannot be, failing, and without a node that was banned.

use serde_json::Value;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Stdio};
use tempfile::TempDir;
use vermilion_testnet::description::Testnet;
use vermilion_testnet::processes;
use vermilion_testnet::sample::Sample;
use vermilion_tests::{free_ports, run, until};

/// A folder whose nodes end with it.
struct Folder(TempDir);

impl Folder {
    fn new() -> Self {
        Self(TempDir::with_prefix("vermilion-up-").unwrap())
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn testnet(&self) -> Testnet {
        Testnet::load(&self.path().join("t")).unwrap()
    }

    fn up(&self, more: &str) -> (i32, String, String) {
        run(self.path(), &format!("vermilion-testnet up --dir t {more}"))
    }

    /// What the ledger lists of something.
    fn listed(&self, what: &str) -> usize {
        let (code, out, err) = run(self.path(), &format!("vermilion --config t/client.toml {what} list --json"));
        assert_eq!(code, 0, "{out}{err}");
        serde_json::from_str::<Value>(&out).unwrap().as_array().unwrap().len()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let Ok(testnet) = Testnet::load(&self.path().join("t")) else { return };
        for mut node in testnet.nodes {
            let _ = processes::kill(&mut node);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_up_that_was_broken_off_is_gone_on_with_wherever_it_was() {
    let (folder, sample) = (Folder::new(), Sample::load().unwrap());
    let program = processes::vermiliond().unwrap().with_file_name("vermilion-testnet");
    let dir = folder.path().join("t");
    let base = free_ports(3);
    // Once as soon as the folder is there, once when something is registered.
    for registered in [false, true] {
        let mut up = Command::new(&program)
            .args(["up", "--dir", "t", "--nodes", "1"])
            .args(if registered { vec![] } else { vec!["--base-port".to_owned(), base.to_string()] })
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        until("the ledger's folder", async || Testnet::is_there(&dir).then_some(())).await;
        if registered {
            until("some units", async || {
                let (code, out, _) = run(folder.path(), "vermilion --config t/client.toml --patience 1 unit list --json");
                let units = serde_json::from_str::<Value>(&out).ok().filter(|_| code == 0)?;
                (units.as_array()?.len() > 1).then_some(())
            })
            .await;
        }
        up.kill().unwrap();
        up.wait().unwrap();
    }
    let (code, out, err) = folder.up("");
    assert!(code == 0 && out.contains("1 nodes are ready"), "{out}{err}");
    assert_eq!((folder.listed("unit"), folder.listed("type")), (sample.units().len(), sample.catalogue().unwrap().len()));
    assert!(folder.testnet().populated && !folder.path().join("t/.founding").exists());
    let operators = folder.listed("operator");
    // Once more it finds everything done.
    let (code, out, err) = folder.up("--nodes 1");
    assert_eq!((code, folder.listed("operator")), (0, operators), "{out}{err}");
    let (code, _, err) = folder.up("--nodes 2");
    assert!(code == 2 && err.contains("a ledger of 1 nodes"), "exit code {code}: {err}");
    let (code, _, err) = folder.up("--base-port 1");
    assert!(code == 2 && err.contains("keeps its ports"), "exit code {code}: {err}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ledger_that_was_to_be_empty_stays_so() {
    let folder = Folder::new();
    for more in ["--nodes 1 --empty", ""] {
        let (code, out, err) = folder.up(more);
        assert_eq!((code, folder.listed("unit")), (0, 1), "{out}{err}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_is_told_and_a_failure_leaves_no_node_running() {
    let folder = Folder::new();
    for more in ["--nodes 0", "--nodes 11", "--base-port 0", "--base-port 65533", "--base-port 65535 --nodes 1"] {
        let (code, out, err) = folder.up(more);
        assert!(code == 2 && out.is_empty(), "{more}: exit code {code}: {out}{err}");
        assert!(!folder.path().join("t").exists(), "{more}");
    }
    // The second node's listener is somebody else's.
    let base = free_ports(7);
    let taken = TcpListener::bind(("127.0.0.1", base + 2)).unwrap();
    let (code, _, err) = folder.up(&format!("--base-port {base}"));
    assert!(code == 2 && err.contains(&format!("port {} is taken", base + 2)), "exit code {code}: {err}");
    assert!(!folder.path().join("t").exists());
    drop(taken);
    let (code, _, err) = folder.up(&format!("--base-port {base} --empty"));
    assert_eq!(code, 0, "{err}");
    processes::stop_all(folder.testnet().nodes.iter_mut());
    let taken = TcpListener::bind(("127.0.0.1", base + 2)).unwrap();
    let (code, _, err) = folder.up("");
    assert!(code == 1 && err.contains("ended"), "exit code {code}: {err}");
    let left: Vec<_> = folder.testnet().nodes.into_iter().filter(|node| node.pid != 0 || processes::runs(node)).collect();
    assert!(left.is_empty(), "{left:?}");
    // Once the port is free the same call goes on.
    drop(taken);
    let (code, _, err) = folder.up("");
    assert_eq!(code, 0, "{err}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_was_banned_is_named_and_left_out() {
    let folder = Folder::new();
    let (code, _, err) = folder.up(&format!("--base-port {}", free_ports(7)));
    assert_eq!(code, 0, "{err}");
    let (code, _, err) = run(folder.path(), "vermilion --config t/client.toml admission ban node/nanshan --grade critical");
    assert_eq!(code, 0, "{err}");
    // Once where it runs still and answers nobody, once where it ends as soon as it starts.
    for stopped in [false, true] {
        if stopped {
            let (code, _, err) = run(folder.path(), "vermilion-testnet down --dir t");
            assert_eq!(code, 0, "{err}");
        }
        let (code, out, err) = folder.up("");
        assert!(code == 0 && err.contains("leaving out nanshan: its admission is banned"), "exit code {code}: {out}{err}");
        assert!(out.contains("2 nodes are ready"), "{out}");
        let nodes = folder.testnet().nodes;
        let run: Vec<_> = nodes.iter().map(|node| (node.name.as_str(), node.pid != 0 && processes::runs(node))).collect();
        assert_eq!(run, [("city", true), ("futian", true), ("nanshan", false)]);
    }
}
