//! Node processes: started, watched, stopped.

use crate::description::{TestNode, Testnet};
use crate::error::TestnetError;
use rustix::process::{Pid, Signal, WaitOptions, kill_process, test_kill_process, waitpid};
use std::fs::File;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use vermilion_client::tls::Dialer;
use vermilion_registry::pinned::read_genesis;

/// How long a cluster may take to become ready.
pub const READY: Duration = Duration::from_secs(60);
/// How long a node may take to stop after SIGTERM.
const STOP: Duration = Duration::from_secs(20);

/// The `vermiliond` beside this program, or the one that `VERMILIOND` names.
pub fn vermiliond() -> Result<PathBuf, TestnetError> {
    if let Some(path) = std::env::var_os("VERMILIOND") {
        return Ok(path.into());
    }
    let me = std::env::current_exe().map_err(|e| TestnetError::Setup(e.to_string()))?;
    // Tests run from `deps`, one folder further down.
    let found = me.ancestors().skip(1).take(2).map(|dir| dir.join("vermiliond")).find(|path| path.is_file());
    found.ok_or_else(|| {
        TestnetError::Setup(format!("there is no vermiliond beside {}: build the workspace, or set VERMILIOND", me.display()))
    })
}

fn pid(node: &TestNode) -> Option<Pid> {
    Pid::from_raw(node.pid)
}

/// Whether a node's process runs. A dead process that nobody has reaped does not.
#[must_use]
pub fn runs(node: &TestNode) -> bool {
    let Some(pid) = pid(node) else { return false };
    let zombie = std::fs::read_to_string(format!("/proc/{}/stat", node.pid))
        .is_ok_and(|stat| stat.rsplit(')').next().is_some_and(|s| s.starts_with(" Z")));
    // The first thread can be dead while others still hold the directory's lock.
    let threads = std::fs::read_dir(format!("/proc/{}/task", node.pid)).map_or(0, Iterator::count);
    test_kill_process(pid).is_ok() && (!zombie || threads > 1)
}

/// Finds the processes of nodes that run though nobody noted so: whoever started them was broken off in between.
pub fn adopt(dir: &Path, nodes: &mut [TestNode]) {
    let Ok(dir) = std::path::absolute(dir) else { return };
    for node in nodes.iter_mut() {
        let line = std::fs::read(format!("/proc/{}/cmdline", node.pid)).unwrap_or_default();
        // Nothing to read: a zombie whose threads may still hold the directory.
        if !line.is_empty() && words(&line).is_none() {
            node.pid = 0;
        }
    }
    for node in nodes.iter_mut().filter(|node| !runs(node)) {
        if let Some(pid) = process_of(&configuration(&dir, &node.name)) {
            node.pid = pid;
        }
    }
}

fn configuration(dir: &Path, name: &str) -> PathBuf {
    Testnet::node_dir(dir, name).join("node.toml")
}

/// The process that was started with a configuration, as [`launch`] starts it.
fn process_of(configuration: &Path) -> Option<i32> {
    std::fs::read_dir("/proc").ok()?.flatten().find_map(|entry| {
        let pid = entry.file_name().to_str()?.parse().ok()?;
        let line = std::fs::read(entry.path().join("cmdline")).ok()?;
        serves(&line, configuration).then_some(pid)
    })
}

/// Whether a command line is that of a node under a configuration.
fn serves(line: &[u8], configuration: &Path) -> bool {
    words(line).is_some_and(|mut words| words.any(|word| word == configuration.as_os_str().as_bytes()))
}

/// The words of a node's command line behind its verb; none of another program's: the number of a node that ended may
/// be anybody's by now.
fn words(line: &[u8]) -> Option<impl Iterator<Item = &[u8]>> {
    let mut words = line.split(|byte| *byte == 0);
    words.next().filter(|program| program.ends_with(b"vermiliond"))?;
    words.next().filter(|verb| [&b"run"[..], b"join"].contains(verb))?;
    Some(words)
}

/// Starts one node's process; its output goes to `log` in its folder.
pub fn start(dir: &Path, node: &mut TestNode) -> Result<(), TestnetError> {
    launch(dir, node, &["run"], None)
}

/// Starts the process of a node that is to join; its progress goes to `log` too, as JSON lines. If its folder has a
/// `token`, it enrols with that.
pub fn join(dir: &Path, node: &mut TestNode) -> Result<(), TestnetError> {
    let token = Testnet::node_dir(dir, &node.name).join("token");
    launch(dir, node, &["join", "--json"], Some(token).filter(|path| path.exists()))
}

fn launch(dir: &Path, node: &mut TestNode, how: &[&str], token: Option<PathBuf>) -> Result<(), TestnetError> {
    if runs(node) {
        return Ok(());
    }
    let dir = &std::path::absolute(dir).map_err(|e| TestnetError::File(dir.into(), e))?;
    let log_path = Testnet::node_dir(dir, &node.name).join("log");
    let log = File::options().create(true).append(true).open(&log_path).map_err(|e| TestnetError::File(log_path.clone(), e))?;
    let error_log = log.try_clone().map_err(|e| TestnetError::File(log_path, e))?;
    let program = vermiliond()?;
    let mut command = Command::new(&program);
    command
        .args(how)
        .args(token.iter().flat_map(|path| ["--token-file".as_ref(), path.as_os_str()]))
        .arg("--config")
        .arg(configuration(dir, &node.name))
        .stdin(Stdio::null())
        .stdout(log)
        .stderr(error_log);
    // Its own group: a Ctrl-C at the terminal is for the one who typed it.
    command.process_group(0);
    let child = command.spawn().map_err(|e| TestnetError::File(program, e))?;
    node.pid = i32::try_from(child.id()).unwrap_or(0);
    Ok(())
}

/// Sends SIGTERM and waits; the data stays.
pub fn stop(node: &mut TestNode) -> Result<(), TestnetError> {
    signal(node, Signal::TERM)?;
    wait_gone(node, STOP)
}

/// Kills a node at once, as a power cut of the process would.
pub fn kill(node: &mut TestNode) -> Result<(), TestnetError> {
    signal(node, Signal::KILL)?;
    wait_gone(node, STOP)
}

/// Stops all nodes at once, by force those that do not go by themselves; for cleaning up.
pub fn stop_all<'a>(nodes: impl Iterator<Item = &'a mut TestNode>) {
    let nodes: Vec<&mut TestNode> = nodes.collect();
    for node in &nodes {
        let _ = signal(node, Signal::TERM);
    }
    for node in nodes {
        if wait_gone(node, STOP).is_err() {
            let _ = kill(node);
        }
    }
}

fn signal(node: &TestNode, signal: Signal) -> Result<(), TestnetError> {
    match pid(node).filter(|_| runs(node)) {
        Some(pid) => kill_process(pid, signal).map_err(|e| TestnetError::Setup(format!("node {}: {e}", node.name))),
        None => Ok(()),
    }
}

fn wait_gone(node: &mut TestNode, patience: Duration) -> Result<(), TestnetError> {
    let until = Instant::now() + patience;
    while runs(node) {
        if Instant::now() > until {
            return Err(TestnetError::Setup(format!("node {} (process {}) does not stop", node.name, node.pid)));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    // A child of this process is a zombie until it is reaped; another's is not ours to reap.
    let _ = pid(node).map(|pid| waitpid(Some(pid), WaitOptions::NOHANG));
    node.pid = 0;
    Ok(())
}

/// Waits until every node answers and knows a leader, for [`READY`] or less.
pub async fn wait_ready(dir: &Path, nodes: &[TestNode], patience: Duration) -> Result<(), TestnetError> {
    let until = Instant::now() + patience;
    let genesis_path = dir.join("genesis.bin");
    let payload = std::fs::read(&genesis_path).map_err(|e| TestnetError::File(genesis_path, e))?;
    let genesis = read_genesis(&payload).ok_or_else(|| TestnetError::Setup("genesis.bin is no genesis".into()))?;
    let dialer = Dialer::new(&genesis, None)?;
    for node in nodes {
        while !ready(&dialer, &node.http).await {
            if !runs(node) || Instant::now() > until {
                let log = std::fs::read_to_string(Testnet::node_dir(dir, &node.name).join("log")).unwrap_or_default();
                let tail: Vec<&str> = log.lines().rev().take(5).collect();
                let state = if runs(node) { "does not become ready" } else { "ended" };
                return Err(TestnetError::Setup(format!(
                    "node {} {state}; its log ends:\n{}",
                    node.name,
                    tail.into_iter().rev().collect::<Vec<_>>().join("\n")
                )));
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
    Ok(())
}

/// One question to `/v1/ready`, by hand: a client library for one line would be a waste.
async fn ready(dialer: &Dialer, address: &str) -> bool {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let ask = async {
        let mut stream = dialer.public(address).await.map_err(std::io::Error::other)?;
        stream.write_all(format!("GET /v1/ready HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").as_bytes()).await?;
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).await?;
        Ok::<_, std::io::Error>(answer)
    };
    matches!(tokio::time::timeout(Duration::from_secs(2), ask).await, Ok(Ok(answer)) if answer.ends_with(b" 200"))
}
