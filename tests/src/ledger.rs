//! A whole ledger: three `vermiliond` on this machine, with the sample city in it.

use crate::http;
use crate::rows::Rows;
use crate::wait::{PATIENCE, until, within};
use serde_json::Value;
use std::collections::BTreeMap;
use std::io::Read;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU16, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tonic::transport::{Channel, Endpoint};
use vermilion_client::audit::{Directory, Options, ReadError, Source, TrustFile, Unopened, audit};
use vermilion_client::issue::{IssueOptions, RowReport, Summary, issue_file};
use vermilion_client::{Client, Prepared};
use vermilion_ledger::Trust;
use vermilion_proto::ledger_client::LedgerClient;
use vermilion_proto::{Bytes, ClusterRequest, CommandStatusRequest, GenesisNode, NodeStatus, SubmitReply, SubmitRequest};
use vermilion_registry::submission::open_submission;
use vermilion_testnet::authority::Term;
use vermilion_testnet::cluster::{self, Up};
use vermilion_testnet::description::{TestNode, Testnet};
use vermilion_testnet::layout;
use vermilion_testnet::processes;
use vermilion_testnet::sample::Sample;

/// Nodes of a ledger.
const NODES: usize = 3;
/// Where ports are looked for: below those that the system gives to outgoing connections, one of
/// which might otherwise take a node's port while the node is down.
const PORTS: std::ops::Range<u16> = 10_000..32_000;
/// How long one question to one node may take.
const QUESTION: Duration = Duration::from_secs(5);
/// How long a program may run that comes to an end: far longer than any does, for slow machines.
const PROGRAM: Duration = Duration::from_secs(600);

/// A running ledger. Its processes end and its folder goes when it is dropped; after a failure the
/// folder stays, and the ends of the nodes' logs are printed.
pub struct Ledger {
    folder: Option<TempDir>,
    testnet: Testnet,
    /// A client with every operator's key.
    pub client: Client,
    /// The sample city.
    pub sample: Sample,
    /// A way to each process that was asked for its status. A new one for each look would fill its node's trail, which takes so
    /// many lines a second and leaves out what comes beyond.
    ways: Mutex<BTreeMap<(String, i32), LedgerClient<Channel>>>,
}

/// What `vermilion audit` said.
#[derive(Debug)]
pub struct Audit {
    /// Its exit code.
    pub code: i32,
    /// Its report.
    pub report: Value,
}

impl Audit {
    /// Panics with the findings unless there are none.
    pub fn assert_clean(&self) {
        assert!(self.code == 0 && self.report["clean"] == true, "exit code {}: {:#}", self.code, self.report);
    }
}

/// The first of `count` free ports that follow one another.
pub fn free_ports(count: u16) -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let span = PORTS.len() as u16;
    // Other test programs start elsewhere.
    let start = (std::process::id() % 700) as u16 * 30;
    loop {
        let base = PORTS.start + (start.wrapping_add(NEXT.fetch_add(count, Ordering::Relaxed))) % (span - count);
        let held: Vec<_> = (base..base + count).filter_map(|port| TcpListener::bind(("127.0.0.1", port)).ok()).collect();
        if held.len() == usize::from(count) {
            return base;
        }
    }
}

/// Runs one of our programs in a folder, its words as they are typed: exit code, output, errors.
#[must_use]
pub fn run(folder: &Path, line: &str) -> (i32, String, String) {
    let mut words = line.split_whitespace();
    let program = processes::vermiliond().unwrap().with_file_name(words.next().unwrap());
    output(Command::new(program).args(words).current_dir(folder))
}

/// What a program says and how it ends. Panics over one that does not end.
fn output(command: &mut Command) -> (i32, String, String) {
    fn read(mut from: impl Read + Send + 'static) -> JoinHandle<String> {
        std::thread::spawn(move || {
            let mut text = String::new();
            from.read_to_string(&mut text).unwrap();
            text
        })
    }
    let spawned = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child = spawned.unwrap_or_else(|e| panic!("{command:?}: {e}"));
    let (out, err) = (read(child.stdout.take().unwrap()), read(child.stderr.take().unwrap()));
    let end = Instant::now() + PROGRAM;
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if Instant::now() > end {
            let _ = child.kill();
            panic!("{command:?} did not end within {PROGRAM:?}");
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    (status.code().unwrap_or(-1), out.join().unwrap(), err.join().unwrap())
}

fn end(nodes: &mut [TestNode]) {
    for node in nodes {
        let _ = processes::kill(node);
    }
}

impl Ledger {
    /// Starts one with the sample units, their operators and the catalogue.
    pub async fn start() -> Self {
        Self::start_over(Some(Term::USUAL)).await
    }

    /// The same, with certificates of such a time.
    pub async fn start_certified(certificates: Term) -> Self {
        Self::start_over(Some(certificates)).await
    }

    /// The same without TLS.
    pub async fn start_plain() -> Self {
        Self::start_over(None).await
    }

    async fn start_over(tls: Option<Term>) -> Self {
        let folder = TempDir::with_prefix("vermilion-test-").unwrap();
        let up = Up { nodes: NODES, base_port: Some(free_ports(2 * NODES as u16 + 1)), tls, empty: false };
        let testnet = match cluster::up(folder.path(), &up, &mut |_| {}).await {
            Ok(testnet) => testnet,
            Err(error) => {
                if let Ok(mut testnet) = Testnet::load(folder.path()) {
                    end(&mut testnet.nodes);
                }
                panic!("the ledger does not start: {error}");
            }
        };
        let mut client = Client::open(&testnet.client).unwrap();
        // On a slow machine a leader may be a long time coming.
        (client.connection.ask_patience, client.connection.submit_patience) = (PATIENCE, PATIENCE);
        for node in &testnet.nodes {
            http::know(&node.http, client.connection.dialer());
        }
        Self { folder: Some(folder), testnet, client, sample: Sample::load().unwrap(), ways: Mutex::default() }
    }

    /// The same, its nodes' configurations ending with `more`.
    pub async fn start_with(more: &str) -> Self {
        Self::start_with_each(|_| more.to_owned()).await
    }

    /// The same, each node's configuration ending with what is said of its name.
    pub async fn start_with_each(more: impl Fn(&str) -> String) -> Self {
        let mut ledger = Self::start().await;
        // With its first checkpoint published.
        ledger.settled().await;
        ledger.stop_all();
        for node in &ledger.testnet.nodes {
            let path = ledger.node_dir(&node.name).join("node.toml");
            let text = std::fs::read_to_string(&path).unwrap();
            std::fs::write(path, format!("{text}\n{}\n", more(&node.name))).unwrap();
        }
        ledger.start_all().await;
        ledger
    }

    /// The folder of everything.
    #[must_use]
    pub fn dir(&self) -> &Path {
        self.folder.as_ref().unwrap().path()
    }

    /// The folder of a node's configuration, log and data.
    #[must_use]
    pub fn node_dir(&self, name: &str) -> PathBuf {
        Testnet::node_dir(self.dir(), name)
    }

    /// The nodes' names, in the order of the client's configuration.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        self.testnet.nodes.iter().map(|n| n.name.clone()).collect()
    }

    /// A node.
    #[must_use]
    pub fn node(&self, name: &str) -> &TestNode {
        self.testnet.nodes.iter().find(|n| n.name == name).unwrap()
    }

    /// The nodes.
    #[must_use]
    pub fn nodes(&self) -> &[TestNode] {
        &self.testnet.nodes
    }

    fn node_mut(&mut self, name: &str) -> &mut TestNode {
        self.testnet.nodes.iter_mut().find(|n| n.name == name).unwrap()
    }

    /// The nodes' data directories.
    #[must_use]
    pub fn data_dirs(&self) -> Vec<PathBuf> {
        self.testnet.nodes.iter().map(|n| n.data_dir.clone()).collect()
    }

    /// A node's log so far.
    #[must_use]
    pub fn log(&self, name: &str) -> String {
        String::from_utf8_lossy(&std::fs::read(self.node_dir(name).join("log")).unwrap()).into_owned()
    }

    /// A node's trail so far: who connected, was refused, was cut off.
    #[must_use]
    pub fn trail(&self, name: &str) -> String {
        let files = std::fs::read_dir(self.node(name).data_dir.join("trail")).unwrap();
        files.map(|file| std::fs::read_to_string(file.unwrap().path()).unwrap()).collect()
    }

    /// What is trusted of this ledger.
    #[must_use]
    pub fn trust(&self) -> Trust {
        TrustFile::load(&self.dir().join("trust.json")).unwrap()
    }

    /// `kill -9`: the process ends where it stands.
    pub fn kill(&mut self, name: &str) {
        let node = self.node_mut(name);
        assert!(processes::runs(node), "{name} was to be killed and does not run");
        let pid = node.pid;
        processes::kill(node).unwrap();
        // A killed process looks dead while threads of its still hold the database's lock.
        let end = Instant::now() + Duration::from_secs(20);
        while std::fs::read_dir(format!("/proc/{pid}/task")).is_ok_and(|threads| threads.count() > 1) {
            assert!(Instant::now() < end, "threads of {name} do not end");
            std::thread::yield_now();
        }
    }

    /// Starts a node again; it may take a while until it is ready.
    pub fn launch(&mut self, name: &str) {
        let dir = self.dir().to_owned();
        processes::start(&dir, self.node_mut(name)).unwrap();
    }

    /// Starts a node whose output goes into pipes that nobody reads any more.
    pub fn launch_unread(&mut self, name: &str) -> Child {
        let config = self.node_dir(name).join("node.toml");
        let mut command = Command::new(processes::vermiliond().unwrap());
        command.arg("run").arg("--config").arg(config).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        drop((child.stdout.take(), child.stderr.take()));
        self.node_mut(name).pid = i32::try_from(child.id()).unwrap();
        child
    }

    /// Makes the folder of a node that is to join, and starts its process: it waits until the ledger has connected it.
    pub fn join(&mut self, raft_id: u64, name: &str, district: &str) -> GenesisNode {
        let dir = self.dir().to_owned();
        let node = layout::newcomer(&dir, &mut self.testnet, (raft_id, name, district), Some(free_ports(2))).unwrap();
        http::know(&self.node(name).http, self.client.connection.dialer());
        self.go_on_joining(name);
        node
    }

    /// Hands a node that joins its token: it begins anew with that.
    pub fn hand_token(&mut self, name: &str, token: &str) {
        std::fs::write(self.node_dir(name).join("token"), token).unwrap();
        self.kill(name);
        self.go_on_joining(name);
    }

    /// Starts a node again that was killed while it joined.
    pub fn go_on_joining(&mut self, name: &str) {
        let dir = self.dir().to_owned();
        processes::join(&dir, self.node_mut(name)).unwrap();
    }

    /// Starts every node that is down, and waits until all are ready.
    pub async fn start_all(&mut self) {
        for name in self.names() {
            self.launch(&name);
        }
        processes::wait_ready(self.dir(), &self.testnet.nodes, processes::READY).await.unwrap();
    }

    /// Stops every node cleanly.
    pub fn stop_all(&mut self) {
        self.testnet.save(self.dir()).unwrap();
        cluster::down(self.dir()).unwrap();
        let running: Vec<_> = self.testnet.nodes.iter().filter(|n| n.pid != 0).map(|n| n.name.clone()).collect();
        self.testnet = Testnet::load(self.dir()).unwrap();
        for name in running {
            assert!(self.has_stopped(&name), "{name} did not stop cleanly; its log ends: {}", tail(&self.log(&name)));
        }
    }

    /// Whether a node that ran has stopped cleanly. Its word for that need not be its last: tasks of its end later.
    #[must_use]
    pub fn has_stopped(&self, name: &str) -> bool {
        let log = self.log(name);
        log[log.rfind("the node runs").unwrap_or_default()..].lines().any(|line| line.ends_with("stopped"))
    }

    /// What a node says of itself; none if it does not answer.
    pub async fn status_of(&self, name: &str) -> Option<NodeStatus> {
        let node = self.node(name);
        let dial = || self.client.connection.dialer().client_at(&node.grpc).unwrap();
        let mut way = self.ways.lock().unwrap().entry((node.grpc.clone(), node.pid)).or_insert_with(dial).clone();
        let asked = tokio::time::timeout(QUESTION, way.cluster(ClusterRequest { only_this: true })).await;
        asked.ok()?.ok()?.into_inner().nodes.into_iter().next()
    }

    /// What every running node says of itself; none while one does not answer.
    pub async fn statuses(&self) -> Option<Vec<NodeStatus>> {
        let mut out = Vec::new();
        for node in self.testnet.nodes.iter().filter(|n| n.pid != 0) {
            out.push(self.status_of(&node.name).await?);
        }
        Some(out)
    }

    /// The leader on which all running nodes agree.
    pub async fn leader(&self) -> String {
        until("a leader of all running nodes", async || {
            let all = self.statuses().await?;
            let leader = all.iter().find(|s| s.role == "leader")?;
            all.iter().all(|s| s.leader == leader.id && s.term == leader.term).then(|| leader.name.clone())
        })
        .await
    }

    /// Some follower that runs.
    pub async fn follower(&self) -> String {
        let leader = self.leader().await;
        self.testnet.nodes.iter().find(|n| n.pid != 0 && n.name != leader).unwrap().name.clone()
    }

    /// Waits until all running nodes hold the same records, all under a checkpoint, which carries the
    /// quorum if all nodes run. Then nothing more comes by itself. Returns how many records there are.
    pub async fn settled(&self) -> u64 {
        let mut last = None;
        let settled = within(Duration::from_secs(60), async || {
            let all = self.statuses().await?;
            last = Some(all.iter().map(|s| (s.name.clone(), s.size, s.checkpoint_size, s.term)).collect::<Vec<_>>());
            let first = all.first()?;
            let same = all.iter().all(|s| (s.size, &s.chain, s.checkpoint_size) == (first.size, &first.chain, first.size));
            (same && (all.len() < NODES || self.all_cosigned(first.size).await)).then_some(first.size)
        })
        .await;
        settled.unwrap_or_else(|| panic!("the nodes do not come to the same records and checkpoint: {last:?}"))
    }

    async fn all_cosigned(&self, size: u64) -> bool {
        let trust = self.trust();
        for at in 0..NODES {
            let mut node = self.client.connection.client_of(at).unwrap();
            let request = vermilion_proto::CheckpointRequest { commit_now: false, at_size: size };
            let Ok(Ok(reply)) = tokio::time::timeout(QUESTION, node.get_checkpoint(request)).await else { return false };
            let note = reply.into_inner().note;
            if !vermilion_ledger::verify(&note, &trust).is_ok_and(|v| v.check_quorum(&trust).is_ok()) {
                return false;
            }
        }
        true
    }

    /// Issues a file of rows: the reports, in the file's order, and what they came to.
    pub async fn issue(&self, rows: &Rows) -> (Vec<RowReport>, Summary) {
        let (options, mut reports) = (IssueOptions::default(), Vec::new());
        let mut report = |report: &RowReport, _| {
            reports.push(report.clone());
            Ok(())
        };
        let summary = issue_file(&self.client, &rows.path, &options, &mut report).await.unwrap();
        (reports, summary)
    }

    /// Issues rows that must all be accepted.
    pub async fn issue_all(&self, rows: &Rows) {
        let (_, summary) = self.issue(rows).await;
        assert_eq!((summary.accepted, summary.rejected), (rows.rows.len() as u64, 0), "{summary:?}");
    }

    /// Sends bytes to one node as they are, once.
    pub async fn send(&self, node: usize, submission: Bytes) -> SubmitReply {
        let mut client = self.client_for(node, &submission);
        client.submit(SubmitRequest { tag: 7, submission }).await.unwrap().into_inner()
    }

    /// A client of one node with a certificate of the unit that a submission names, if it names one.
    pub fn client_for(&self, node: usize, submission: &Bytes) -> LedgerClient<Channel> {
        let unit = open_submission(submission).ok().and_then(|s| s.checked.command.head).map(|head| head.unit);
        let known = unit.filter(|unit| self.client.keyring().certified(Some(unit)).next().is_some());
        known.map_or_else(|| self.client.connection.client_of(node), |unit| self.client.connection.client_for(node, &unit)).unwrap()
    }

    /// A client of one node that knows no bounds.
    pub async fn unbounded(&self, node: usize) -> LedgerClient<Channel> {
        let endpoint = Endpoint::from_shared(format!("http://{}", self.testnet.nodes[node].grpc)).unwrap();
        let channel = self.client.connection.dialer().channel(&endpoint, None, None).unwrap();
        LedgerClient::new(channel).max_encoding_message_size(usize::MAX).max_decoding_message_size(usize::MAX)
    }

    /// What one node knows of a command.
    pub async fn known(&self, node: usize, prepared: &Prepared) -> SubmitReply {
        let mut client = self.client.connection.client_of(node).unwrap();
        let request = CommandStatusRequest { command_id: prepared.id.to_vec(), not_after_ms: prepared.not_after_ms };
        client.command_status(request).await.unwrap().into_inner()
    }

    /// `vermilion audit` over data directories of stopped nodes, with this ledger's trust and genesis.
    #[must_use]
    pub fn audit(&self, data_dirs: &[PathBuf]) -> Audit {
        let mut args = vec!["audit".into(), "--json".into()];
        for dir in data_dirs {
            args.extend(["--data-dir".into(), dir.clone().into_os_string()]);
        }
        args.extend(["--trust".into(), self.dir().join("trust.json").into_os_string()]);
        args.extend(["--genesis".into(), self.dir().join("genesis.bin").into_os_string()]);
        let (code, report, errors) = self.vermilion(&args);
        let report = serde_json::from_str(&report).unwrap_or_else(|_| panic!("exit code {code}: {report}{errors}"));
        Audit { code, report }
    }

    /// Runs the command `vermilion`: exit code, output, errors.
    #[must_use]
    pub fn vermilion<A: AsRef<std::ffi::OsStr>>(&self, args: &[A]) -> (i32, String, String) {
        let mut command = Command::new(processes::vermiliond().unwrap().with_file_name("vermilion"));
        output(command.args(args))
    }

    /// What a node's folder needs to run elsewhere, copied to `to`: the node's folder there.
    #[must_use]
    pub fn copy_node(&self, name: &str, to: &Path) -> PathBuf {
        let home = to.join("nodes").join(name);
        crate::disk::copy(&self.node_dir(name), &home);
        std::fs::copy(self.dir().join("genesis.bin"), to.join("genesis.bin")).unwrap();
        home
    }
}

impl Drop for Ledger {
    fn drop(&mut self) {
        end(&mut self.testnet.nodes);
        if std::thread::panicking()
            && let Some(folder) = self.folder.take()
        {
            for node in &self.testnet.nodes {
                let log = std::fs::read(Testnet::node_dir(folder.path(), &node.name).join("log")).unwrap_or_default();
                eprintln!("--- the log of {} ends:\n{}", node.name, tail(&String::from_utf8_lossy(&log)));
            }
            eprintln!("--- kept: {}", folder.keep().display());
        }
    }
}

fn tail(log: &str) -> String {
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(6)..].join("\n")
}

/// The codes of what an audit finds in data directories, within this process.
pub fn findings(data_dirs: &[&Path], trust: &Trust) -> Result<Vec<&'static str>, String> {
    let open = |dir: &&Path| -> Result<Box<dyn Source>, String> {
        match Directory::open(dir) {
            Ok(directory) => Ok(Box::new(directory)),
            Err(ReadError::Damaged(why)) => Ok(Box::new(Unopened::new(dir.display().to_string(), why))),
            Err(ReadError::Unreachable(why) | ReadError::Interrupted(why)) => Err(why),
        }
    };
    let sources = data_dirs.iter().map(open).collect::<Result<Vec<_>, _>>()?;
    let sources: Vec<&dyn Source> = sources.iter().map(AsRef::as_ref).collect();
    let options = Options { trust: Some(trust.clone()), ..Options::default() };
    let report = audit(&sources, &options, &|_, _, _, _| {}).map_err(|e| e.to_string())?;
    Ok(report.counts.into_iter().map(|(code, _)| code).collect())
}

/// How a node ran by itself.
#[derive(Debug)]
pub enum LoneRun {
    /// It served, and was killed then.
    Served,
    /// It ended by itself.
    Ended {
        /// Its exit code.
        code: i32,
        /// What it wrote.
        said: String,
    },
}

/// Runs the node of a folder by itself, until it serves or ends.
pub async fn run_alone(home: &Path) -> LoneRun {
    let toml = std::fs::read_to_string(home.join("node.toml")).unwrap();
    let address = toml.lines().find_map(|line| line.strip_prefix("http = \"")?.strip_suffix('"')).unwrap().to_owned();
    let output = home.join("alone.log");
    let log = std::fs::File::create(&output).unwrap();
    let mut command = Command::new(processes::vermiliond().unwrap());
    command.arg("run").arg("--config").arg(home.join("node.toml")).stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
    let mut child = Lone(command.spawn().unwrap());
    until("a node that serves or ends", async || {
        if let Some(status) = child.0.try_wait().unwrap() {
            return Some(LoneRun::Ended { code: status.code().unwrap_or(-1), said: std::fs::read_to_string(&output).unwrap() });
        }
        // It may listen, and find what ends it before it answers.
        (http::try_get(&address, "/v1/health").await?.code == 200).then_some(LoneRun::Served)
    })
    .await
}

/// A process that does not outlive its test.
struct Lone(Child);

impl Drop for Lone {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
