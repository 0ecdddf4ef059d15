//! Whoever reads the output of our programs goes away, or its disk is full: that stops nobody.

use std::process::{Command, Stdio};
use std::time::Duration;
use vermilion_testnet::processes;
use vermilion_tests::{Ledger, until};

#[tokio::test(flavor = "multi_thread")]
async fn nodes_whose_log_nobody_reads_change_their_leader_and_stop_cleanly() {
    let mut ledger = Ledger::start().await;
    ledger.stop_all();
    let mut children: Vec<_> = ledger.names().iter().map(|name| ledger.launch_unread(name)).collect();
    let leader = ledger.leader().await;
    let heir = ledger.nodes().iter().position(|node| node.name != leader).unwrap();
    let (name, id) = (ledger.names().swap_remove(heir), ledger.client.genesis().nodes[heir].raft_id);
    let asker = ledger.client.controller().unwrap();
    // Each of them has something to log now.
    until("another leader", async || {
        let _ = ledger.client.connection.control(&asker, "transfer", id).await;
        (ledger.leader().await == name).then_some(())
    })
    .await;
    for child in &children {
        let pid = child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    }
    for (child, name) in children.iter_mut().zip(ledger.names()) {
        let code = until("a node that has stopped", async || {
            tokio::time::sleep(Duration::from_millis(20)).await;
            child.try_wait().unwrap()
        })
        .await
        .code();
        assert_eq!(code, Some(0), "{name}");
    }
}

#[test]
fn a_full_disk_below_the_output_is_no_panic() {
    let full = || Stdio::from(std::fs::File::options().write(true).open("/dev/full").unwrap());
    for (program, args, code) in
        [("vermiliond", &["check", "--config", "nowhere.toml"][..], 78), ("vermilion-testnet", &["down", "--dir", "nowhere"], 2)]
    {
        let path = processes::vermiliond().unwrap().with_file_name(program);
        let ended = Command::new(path).args(args).stdin(Stdio::null()).stdout(full()).stderr(full()).status().unwrap();
        assert_eq!(ended.code(), Some(code), "{program}");
    }
}
