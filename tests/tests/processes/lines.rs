//! Slow lines between the nodes, and a leader that is stopped.

use crate::join::parts;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use vermilion_tests::{Ledger, inspection, until};

/// Bytes a second and direction of a slow line.
const SLOW: usize = 600_000;
/// How long a line takes.
const DELAY: Duration = Duration::from_millis(10);
/// Takes some election time-outs over such a line.
const ROWS: usize = 3_000;

/// Carries what comes from one side to the other, so many bytes a second: 0 is as many as there are.
async fn carry(mut from: tokio::net::tcp::OwnedReadHalf, mut to: tokio::net::tcp::OwnedWriteHalf, rate: Arc<AtomicUsize>) {
    let mut buffer = vec![0; 16 << 10];
    while let Ok(count @ 1..) = from.read(&mut buffer).await {
        if to.write_all(&buffer[..count]).await.is_err() {
            return;
        }
        let rate = rate.load(Ordering::Relaxed);
        if rate > 0 {
            tokio::time::sleep(Duration::from_secs_f64(count as f64 / rate as f64).max(DELAY)).await;
        }
    }
}

/// A line to an address, each connection over it as fast as `rate` says. Its own address.
async fn line(to: String, rate: Arc<AtomicUsize>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        while let Ok((near, _)) = listener.accept().await {
            let Ok(far) = TcpStream::connect(&to).await else { continue };
            let ((near_in, near_out), (far_in, far_out)) = (near.into_split(), far.into_split());
            tokio::spawn(carry(near_in, far_out, Arc::clone(&rate)));
            tokio::spawn(carry(far_in, near_out, Arc::clone(&rate)));
        }
    });
    address
}

/// Has a node reach the others over lines as fast as `rate` says, from its next start on.
pub async fn reach_over_lines(ledger: &Ledger, name: &str, rate: &Arc<AtomicUsize>) {
    let mut peers = "[peers]\n".to_owned();
    for other in ledger.nodes().iter().filter(|other| other.name != name) {
        peers += &format!("{} = \"{}\"\n", other.name, line(other.grpc.clone(), Arc::clone(rate)).await);
    }
    let path = ledger.node_dir(name).join("node.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(path, format!("{text}\n{peers}")).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_import_over_slow_lines_unseats_nobody() {
    let mut ledger = Ledger::start().await;
    ledger.settled().await;
    ledger.stop_all();
    let rate = Arc::new(AtomicUsize::new(0));
    for name in ledger.names() {
        reach_over_lines(&ledger, &name, &rate).await;
    }
    ledger.start_all().await;
    ledger.settled().await;
    let mut calm = false;
    // A machine that stands still for a second has another elected too, but not each time.
    for rows in parts(&ledger, [ROWS; 3]) {
        let leader = ledger.leader().await;
        let term = ledger.status_of(&leader).await.unwrap().term;
        rate.store(SLOW, Ordering::Relaxed);
        ledger.issue_all(&rows).await;
        let after = ledger.status_of(&leader).await.unwrap();
        rate.store(0, Ordering::Relaxed);
        calm = (after.role.as_str(), after.term) == ("leader", term);
        if calm {
            break;
        }
    }
    assert!(calm, "another was elected, each time");
    ledger.settled().await;
    ledger.stop_all();
    ledger.audit(&ledger.data_dirs()).assert_clean();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_is_stopped_hands_over_first() {
    let mut ledger = Ledger::start().await;
    ledger.settled().await;
    let leader = ledger.leader().await;
    let pid = ledger.node(&leader).pid.to_string();
    assert!(std::process::Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    until("its end", async || ledger.has_stopped(&leader).then_some(())).await;
    assert!(ledger.log(&leader).contains("leadership is handed over"), "{}", ledger.log(&leader));
    // Nobody waited for an election: who hears no leader asks for votes first, and who is handed the lead does not.
    for name in ledger.names().iter().filter(|name| **name != leader) {
        let log = ledger.log(name);
        let since = log.rfind("role=Follower").unwrap_or(0);
        assert!(!log[since..].contains("role=PreCandidate"), "{log}");
    }
    // The two others go on, and stop: the last has nobody to hand over to, and ends by itself all the same.
    let city = ledger.client.managing_unit().to_owned();
    let unit = ledger.sample.unit_with_role("using-unit").unwrap().uscc.clone();
    ledger.client.change_unit(&city, &unit, true, &inspection()).await.unwrap();
    ledger.stop_all();
    ledger.audit(&ledger.data_dirs()).assert_clean();
}
