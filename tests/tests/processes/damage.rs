//! Bits that flip and files that are cut short: a node's start or the audit finds them, unless nothing
//! live lay there.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use vermilion_client::SingleIssuer;
use vermilion_proto::ClusterRequest;
use vermilion_tests::disk::{Dump, copy, dump, files};
use vermilion_tests::{Ledger, LoneRun, Rows, findings, run_alone};

/// A node that does not run any more.
struct Stopped {
    ledger: Ledger,
    name: String,
    /// Whether it was killed, and not stopped cleanly.
    killed: bool,
    /// What the audit finds in its directory as it is.
    codes: Vec<&'static str>,
}

impl Stopped {
    /// One that was stopped cleanly: everything is in tables.
    async fn cleanly() -> Self {
        let mut ledger = Self::running().await;
        ledger.stop_all();
        Self::of(ledger, false)
    }

    /// One that was killed: what came last is in the write-ahead log.
    async fn killed() -> Self {
        let mut ledger = Self::running().await;
        for name in ledger.names() {
            ledger.kill(&name);
        }
        Self::of(ledger, true)
    }

    async fn running() -> Ledger {
        let ledger = Ledger::start().await;
        let rows = Rows::fresh(ledger.dir(), &ledger.sample, 300);
        ledger.issue_all(&rows).await;
        let unit = ledger.sample.unit_with_role("issuing-unit").unwrap().uscc.clone();
        let more = Rows::write(ledger.dir().join("more"), ledger.sample.licences(5, 300)).of_unit(&unit);
        let issuer = SingleIssuer::new(&ledger.client, &unit).await.unwrap();
        for row in &more[..40] {
            let tags = issuer.tags(&ledger.client, row).await.unwrap();
            ledger.client.connection.submit(&issuer.prepare(row, &tags).unwrap()).await.unwrap().recorded().unwrap();
        }
        ledger.settled().await;
        ledger
    }

    fn of(ledger: Ledger, killed: bool) -> Self {
        let name = ledger.names()[1].clone();
        let codes = findings(&[&ledger.node(&name).data_dir], &ledger.trust()).unwrap();
        Self { ledger, name, killed, codes }
    }

    /// A copy of the node's folder, for changes.
    fn copy(&self, to: &str) -> PathBuf {
        self.ledger.copy_node(&self.name, &self.ledger.dir().join(to))
    }
}

/// What a file is to RocksDB, or to the node.
fn kind(path: &Path) -> Option<&'static str> {
    let name = path.file_name()?.to_str()?;
    match name {
        "CURRENT" => Some("CURRENT"),
        "IDENTITY" => Some("IDENTITY"),
        "synced" => Some("synced"),
        _ if name.starts_with("MANIFEST-") => Some("MANIFEST"),
        _ if name.starts_with("OPTIONS-") => Some("OPTIONS"),
        _ if name.ends_with(".sst") => Some("table"),
        _ if name.ends_with(".log") => Some("write-ahead log"),
        // The trail: chained by itself, and no part of the ledger.
        _ if name.ends_with(".jsonl") => None,
        // Messages for people and the lock: nothing is read back from them.
        _ if name.starts_with("LOG") || name == "LOCK" => None,
        _ => panic!("what is {name}?"),
    }
}

/// How many bytes are flipped in a file of a kind.
fn flips(kind: &str) -> usize {
    match kind {
        "write-ahead log" => 60,
        "table" => 14,
        "MANIFEST" => 24,
        "synced" | "CURRENT" => 16,
        _ => 4,
    }
}

#[derive(Debug)]
enum Fate {
    /// Everything reads as before.
    NothingLive,
    /// Only the last checkpoints are gone, which were never promised: the peers have them.
    NotPromised,
    /// The audit has findings.
    Found,
    /// The node does not start, and says why.
    Refused,
    /// RocksDB itself reads on for ever, as it does for a few flips of its manifest: nothing starts.
    NeverOpens,
    /// Something else is read, and nobody notices.
    Silent(String),
}

fn difference(before: &Dump, after: &Dump) -> String {
    let column = |name: &&str| {
        let (a, b) = (&before[name], &after[name]);
        let lost = a.iter().filter(|row| !b.contains(row)).count();
        let new = b.iter().filter(|row| !a.contains(row)).count();
        (lost + new > 0).then(|| format!("{name}: {lost} rows lost or changed, {new} new or changed"))
    };
    before.keys().filter_map(column).collect::<Vec<_>>().join("; ")
}

/// The rows of a column without those that are written unsynced and made again: checkpoints, proofs
/// between them, and which of them is published.
fn promised<'a>(column: &str, rows: &'a [(Vec<u8>, Vec<u8>)]) -> Vec<&'a (Vec<u8>, Vec<u8>)> {
    let unsynced = |key: &[u8]| matches!(column, "checkpoints" | "consistency") || column == "meta" && key == b"published";
    rows.iter().filter(|(key, _)| !unsynced(key)).collect()
}

/// What a directory holds; `None` if opening it does not end. The thread that reads on ends with the test.
fn dump_in_time(data: &Path) -> Option<Result<Dump, String>> {
    let (done, wait) = std::sync::mpsc::channel();
    let data = data.to_path_buf();
    #[allow(clippy::disallowed_methods)] // A runtime would wait for it at its end.
    std::thread::spawn(move || done.send(dump(&data)));
    wait.recv_timeout(std::time::Duration::from_secs(30)).ok()
}

async fn fate(stopped: &Stopped, home: &Path, whole: &Dump) -> Fate {
    let data = home.join("data");
    let Some(read) = dump_in_time(&data) else { return Fate::NeverOpens };
    if read.as_ref() == Ok(whole) {
        return Fate::NothingLive;
    }
    if let Ok(codes) = findings(&[&data], &stopped.ledger.trust())
        && codes.iter().any(|code| !stopped.codes.contains(code))
    {
        return Fate::Found;
    }
    // A start writes: on a copy.
    let to = stopped.ledger.dir().join("start");
    let _ = std::fs::remove_dir_all(&to);
    let start = to.join("nodes").join(&stopped.name);
    copy(home, &start);
    std::fs::copy(stopped.ledger.dir().join("genesis.bin"), to.join("genesis.bin")).unwrap();
    // A tail that was not synced cannot be told from one that was torn off. It holds no log entries
    // (the watermark would miss them) and no records (they are made again from the log).
    if let Ok(read) = &read
        && whole.keys().all(|column| promised(column, &whole[column]) == promised(column, &read[column]))
        && stopped.killed
    {
        return Fate::NotPromised;
    }
    match run_alone(&start).await {
        LoneRun::Ended { code: 70, said } if said.contains("vermiliond: ") => Fate::Refused,
        LoneRun::Ended { code, said } => Fate::Silent(format!("exit code {code}: {said}")),
        LoneRun::Served => match read {
            Ok(read) => Fate::Silent(difference(whole, &read)),
            Err(why) => Fate::Silent(format!("unreadable ({why}), and yet it started")),
        },
    }
}

/// Flips bytes in every file, one at a time: how often what came of it, by kind of file, and what
/// nobody noticed.
async fn flip_everywhere(stopped: &Stopped) -> (BTreeMap<&'static str, [usize; 3]>, Vec<String>) {
    let home = stopped.copy("flipped");
    let whole = dump(&home.join("data")).unwrap();
    let (mut tally, mut silent) = (BTreeMap::<_, [usize; 3]>::new(), Vec::new());
    for path in files(&home.join("data")) {
        let Some(kind) = kind(&path) else { continue };
        let bytes = std::fs::read(&path).unwrap();
        let count = flips(kind).min(bytes.len());
        for n in 0..count {
            // Spread over the file, with both its ends.
            let at = if count > 1 { n * (bytes.len() - 1) / (count - 1) } else { 0 };
            let mut flipped = bytes.clone();
            flipped[at] ^= 1 << (n % 8);
            std::fs::write(&path, &flipped).unwrap();
            let tally = tally.entry(kind).or_default();
            match fate(stopped, &home, &whole).await {
                Fate::NothingLive | Fate::NotPromised => tally[0] += 1,
                Fate::Found => tally[1] += 1,
                Fate::Refused | Fate::NeverOpens => tally[2] += 1,
                Fate::Silent(what) => silent.push(format!("{kind}, byte {at} of {}: {what}", bytes.len())),
            }
        }
        std::fs::write(&path, &bytes).unwrap();
    }
    for (kind, [nothing, found, refused]) in &tally {
        println!("{kind}: {nothing} nothing live, {found} found by the audit, {refused} refused at start");
    }
    assert_eq!(dump(&home.join("data")).as_ref(), Ok(&whole), "the test did not put back what it changed");
    (tally, silent)
}

fn assert_noticed((tally, silent): (BTreeMap<&'static str, [usize; 3]>, Vec<String>), kinds: &[&str]) {
    for kind in kinds {
        assert!(tally[kind][1] + tally[kind][2] > 0, "no flip in a {kind} hit anything: the test shows nothing");
    }
    assert!(silent.is_empty(), "{} flips go unnoticed:\n{}", silent.len(), silent.join("\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flipped_byte_in_a_stopped_nodes_files_is_found_by_start_or_audit_unless_nothing_live_lay_there() {
    let stopped = Stopped::cleanly().await;
    assert_eq!(stopped.codes, Vec::<&str>::new());
    assert_noticed(flip_everywhere(&stopped).await, &["table", "MANIFEST", "CURRENT"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flipped_byte_in_a_killed_nodes_files_is_found_by_start_or_audit_unless_nothing_live_lay_there() {
    assert_noticed(flip_everywhere(&Stopped::killed().await).await, &["write-ahead log", "MANIFEST", "CURRENT"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_nodes_directory_has_its_log_ahead_of_its_records_and_nothing_worse() {
    let mut stopped = Stopped::killed().await;
    assert!(stopped.codes.iter().all(|code| *code == "log-ahead"), "{:?}", stopped.codes);
    // A start applies the log, and a clean stop leaves nothing to be said.
    stopped.ledger.start_all().await;
    stopped.ledger.settled().await;
    stopped.ledger.stop_all();
    stopped.ledger.audit(&stopped.ledger.data_dirs()).assert_clean();
}

fn write_ahead_log(home: &Path) -> PathBuf {
    let logs = files(&home.join("data")).into_iter().filter(|p| kind(p) == Some("write-ahead log"));
    logs.max_by_key(|p| std::fs::metadata(p).unwrap().len()).unwrap()
}

/// Every file of a node's database, if there is one, with what is in it.
fn database(home: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let db = home.join("data").join("db");
    let paths = if db.exists() { files(&db) } else { Vec::new() };
    paths.into_iter().map(|path| (path.clone(), std::fs::read(path).unwrap())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_does_not_vote_without_what_it_had_promised() {
    let stopped = Stopped::killed().await;
    let cut = |to: &str, change: &dyn Fn(Vec<u8>) -> Vec<u8>| {
        let home = stopped.copy(to);
        let log = write_ahead_log(&home);
        std::fs::write(&log, change(std::fs::read(&log).unwrap())).unwrap();
        home
    };
    let middle = cut("middle", &|bytes| bytes[..bytes.len() / 2].to_vec());
    let empty = cut("empty", &|_| Vec::new());
    let torn = cut("torn", &|mut bytes| {
        let at = bytes.len() / 2;
        bytes[at..].fill(0);
        bytes
    });
    let flipped = cut("flipped", &|mut bytes| {
        let at = bytes.len() / 2;
        bytes[at..at + 4].iter_mut().for_each(|byte| *byte = !*byte);
        bytes
    });
    let gone = stopped.copy("gone");
    std::fs::remove_file(write_ahead_log(&gone)).unwrap();
    let lost = |to: &str, lost: &str| {
        let home = stopped.copy(to);
        let file = files(&home.join("data")).into_iter().find(|path| kind(path) == Some(lost)).unwrap();
        std::fs::remove_file(file).unwrap();
        home
    };
    let no_database = stopped.copy("no-database");
    std::fs::remove_dir_all(no_database.join("data").join("db")).unwrap();
    let no_word = stopped.copy("no-word");
    std::fs::write(no_word.join("data").join("synced"), "").unwrap();
    // Without a database there is nothing to audit; what an audit says of the watermark, storage tests.
    for (what, home, is_audited) in [
        ("its write-ahead log cut in the middle", middle, true),
        ("its write-ahead log empty", empty, true),
        ("half zeros for its write-ahead log", torn, true),
        ("flipped bytes in its write-ahead log", flipped, true),
        ("no write-ahead log", gone, true),
        ("no CURRENT", lost("current", "CURRENT"), true),
        ("no manifest", lost("manifest", "MANIFEST"), true),
        ("no database", no_database, false),
        ("an empty watermark", no_word, false),
    ] {
        let before = database(&home);
        match run_alone(&home).await {
            LoneRun::Ended { code: 70, said } => {
                assert!(said.contains("damaged") && said.contains("rebuild"), "with {what}: {said}");
            }
            other => panic!("with {what} the node: {other:?}"),
        }
        assert!(database(&home) == before, "with {what} the start wrote over what is left");
        if !is_audited {
            continue;
        }
        let codes = findings(&[&home.join("data")], &stopped.ledger.trust());
        assert!(codes.is_ok_and(|codes| codes.contains(&"storage-check") || codes.contains(&"storage-damaged")), "with {what}");
    }
    // The same copy without any damage does start.
    assert!(matches!(run_alone(&stopped.copy("whole")).await, LoneRun::Served));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_kill_tears_off_is_made_again_from_the_log_and_the_peers() {
    let mut ledger = Ledger::start().await;
    let rows = Rows::fresh(ledger.dir(), &ledger.sample, 200);
    ledger.issue_all(&rows).await;
    let size = ledger.settled().await;
    // All at once, as a power cut would, with nothing flushed.
    for name in ledger.names() {
        ledger.kill(&name);
    }
    ledger.start_all().await;
    assert!(ledger.settled().await >= size);
    let (again, _) = ledger.issue(&rows).await;
    assert!(again.iter().all(|r| r.accepted));
    let mut node = ledger.client.connection.client_of(0).unwrap();
    assert_eq!(node.cluster(ClusterRequest { only_this: false }).await.unwrap().into_inner().nodes.len(), 3);
    ledger.stop_all();
    let audit = ledger.audit(&ledger.data_dirs());
    audit.assert_clean();
    assert_eq!(audit.report["licences"], 200);
}
