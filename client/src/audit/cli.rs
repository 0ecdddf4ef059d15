//! `vermilion audit`: from arguments to a summary and an exit code.

use super::directory::is_in_use;
use super::node::MakeToken;
use super::room::parse_bytes;
use super::web::{Believed, Web};
use super::{
    Advance, CannotRead, Directory, Keep, MEMORY, NodeSource, Options, ReadError, Report, Source, Stage, TrustFile, Unopened, WatchArgs,
    audit, audit_tiles, read_genesis_file, watching,
};
use crate::visible::{json_line, one_line};
use clap::Args;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::signal::unix::{SignalKind, signal};
use vermilion_ledger::Trust;

/// Exit code: nothing was found.
pub const CLEAN: u8 = 0;
/// Exit code: there are findings.
pub const FOUND: u8 = 1;
/// Exit code: the arguments make no sense.
pub const USAGE: u8 = 2;
/// Exit code: something cannot be read, so nothing is said.
pub const CANNOT_READ: u8 = 3;
/// Exit code: Ctrl-C broke it off.
pub const INTERRUPTED: u8 = 130;

/// Recompute a ledger's whole history and check what nodes hold and signed.
#[derive(Args, Clone, Debug, Default)]
pub struct AuditArgs {
    /// The data directory of a stopped node; may be given several times
    #[arg(long = "data-dir", value_name = "DIR")]
    pub data_dirs: Vec<PathBuf>,
    /// A running node's address (host:port) or its name in the configuration; alone: every node of the configuration
    #[arg(long = "node", value_name = "ADDR", num_args = 0.., action = clap::ArgAction::Append)]
    pub nodes: Option<Vec<String>>,
    /// Where tiles are served (http[s]://host[:port]): alone, they show the tree's consistency and no more
    #[arg(long = "tiles", value_name = "URL")]
    pub tiles: Vec<String>,
    /// Authorities (PEM) that vouch for https places, for tiles and webhook; else a place of tiles must be a node of the configuration's ledger
    #[arg(long, value_name = "FILE")]
    pub ca: Option<PathBuf>,
    /// Whom to trust, as a JSON file; else the configuration's; else the ledger's own genesis says
    #[arg(long, value_name = "FILE")]
    pub trust: Option<PathBuf>,
    /// The genesis that the ledger must begin with
    #[arg(long, value_name = "FILE")]
    pub genesis: Option<PathBuf>,
    /// Keep here how far the audit is, and go on from it: after Ctrl-C (twice: at once; exit code 130) or a crash the same call goes on; one audit at a time
    #[arg(long, value_name = "FILE")]
    pub state: Option<PathBuf>,
    /// Memory for what the replay holds of each command, licence and holder (2GiB if not given); the rest goes to disk, into FILE.scratch beside --state's FILE, else under TMPDIR, and is removed at the end
    #[arg(long, value_name = "BYTES", value_parser = parse_bytes)]
    pub memory: Option<u64>,
    /// Leave the units' signatures out
    #[arg(long)]
    pub no_signatures: bool,
    /// Leave the replay out: outcomes, effects and state are then not checked
    #[arg(long)]
    pub no_replay: bool,
    /// What a watch is told.
    #[command(flatten)]
    pub watch: WatchArgs,
}

/// What the client's configuration gives an audit.
#[derive(Clone, Default)]
pub struct Access {
    /// Names and addresses of the nodes.
    pub nodes: Vec<(String, String)>,
    /// Names and REST addresses of the nodes that have one.
    pub http: Vec<(String, String)>,
    /// The file of what is trusted.
    pub trust: Option<PathBuf>,
    /// Where a watch keeps what it saw.
    pub state_dir: Option<PathBuf>,
    /// The genesis payload's file: what is audited must begin with it.
    pub genesis: Option<PathBuf>,
    /// Makes request tokens of registered operators.
    pub token: Option<Arc<MakeToken>>,
    /// Makes the connections.
    pub dialer: Option<crate::tls::Dialer>,
}

/// Runs the command; the summary, or with `json` one object, goes to standard output, errors to standard
/// error.
pub async fn run(args: AuditArgs, json: bool, access: Option<Access>) -> u8 {
    run_to(args, json, access, &mut io::stdout()).await
}

/// The same with what goes to standard output written to `out`.
pub(super) async fn run_to(args: AuditArgs, json: bool, access: Option<Access>, out: &mut (dyn Write + Send)) -> u8 {
    let access = access.unwrap_or_default();
    if args.watch.watch {
        return watching::run(&args, json, &access, out).await;
    }
    if !args.tiles.is_empty() {
        return tiles(&args, json, &access, out).await;
    }
    let prepared = match prepare(&args, &access).await {
        Ok(prepared) => prepared,
        Err((code, why)) => return fail(json, code, &why),
    };
    let (sources, options) = prepared;
    let keep = options.keep.clone();
    tokio::spawn(async move {
        let why = interrupted(keep, json).await;
        // A node that hangs keeps it from breaking off. The file is whole at any time. Were the runtime ended first, a thread that
        // waits for a node would panic.
        std::process::exit(fail(json, INTERRUPTED, &why).into())
    });
    let audited = tokio::task::spawn_blocking(move || {
        let sources: Vec<&dyn Source> = sources.iter().map(AsRef::as_ref).collect();
        let bar = Bar::new(json);
        let advance: &Advance<'_> = &|stage, source, done, total| bar.show(stage, source, done, total);
        let report = audit(&sources, &options, advance);
        bar.bar.finish_and_clear();
        report
    });
    match audited.await {
        Ok(Ok(report)) => tell(&report, json, out),
        Ok(Err(error)) => cannot(json, &error),
        Err(error) => fail(json, CANNOT_READ, &format!("the audit broke off: {error}")),
    }
}

/// Waits for Ctrl-C where it is kept how far the audit is: the first has it break off, with the second this ends and says how
/// to go on. Where nothing is kept a signal ends the process.
async fn interrupted(keep: Option<Keep>, json: bool) -> String {
    // One listener for both: the second may come before anybody waits for it.
    let (Some(keep), Ok(mut signals)) = (keep, signal(SignalKind::interrupt())) else { return std::future::pending().await };
    signals.recv().await;
    keep.stop().store(true, Ordering::Relaxed);
    if !json {
        let _ = writeln!(io::stderr().lock(), "audit: breaking off; Ctrl-C again ends it at once 正在中断，再按 Ctrl-C 立即结束");
    }
    signals.recv().await;
    format!("{}: {}", keep.name(), keep.broken_off())
}

/// Says why there is no report.
fn cannot(json: bool, error: &CannotRead) -> u8 {
    fail(json, if error.interrupted { INTERRUPTED } else { CANNOT_READ }, &error.to_string())
}

/// Tiles alone.
async fn tiles(args: &AuditArgs, json: bool, access: &Access, out: &mut (dyn Write + Send)) -> u8 {
    let ([url], true, None) = (args.tiles.as_slice(), args.data_dirs.is_empty(), &args.nodes) else {
        return fail(json, USAGE, "one place of tiles is audited at a time, and by itself");
    };
    let trust = match trusted(args, access) {
        Ok(Some(trust)) => trust,
        Ok(None) => return fail(json, USAGE, "tiles say nothing of whom to trust: give --trust, or a configuration that names one"),
        Err(why) => return fail(json, USAGE, &why),
    };
    let web = match vouched(args, access).and_then(|vouched| Web::over(url, vouched.for_tiles())) {
        Ok(web) => web,
        Err(why) => return fail(json, USAGE, &why),
    };
    let bar = Bar::new(json);
    let stop = async {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    };
    let audited = audit_tiles(&web, &trust, stop, &|stage, source, done, total| bar.show(stage, source, done, total)).await;
    bar.bar.finish_and_clear();
    match audited {
        Ok(report) => tell(&report, json, out),
        Err(error) => cannot(json, &error),
    }
}

/// What is trusted: as the arguments say, else as the configuration does.
pub(super) fn trusted(args: &AuditArgs, access: &Access) -> Result<Option<Trust>, String> {
    args.trust.as_deref().or(access.trust.as_deref()).map(TrustFile::load).transpose()
}

/// Who vouches for places that are asked over TLS.
pub(super) struct Vouched {
    /// The authorities that the arguments name.
    pub(super) named: Option<Believed>,
    /// The ledger's own, for its nodes, if it connects over TLS.
    pub(super) ledger: Option<Believed>,
}

impl Vouched {
    /// For a place that may be a node's or anybody's.
    pub(super) fn for_tiles(&self) -> Option<Believed> {
        self.named.clone().or_else(|| self.ledger.clone())
    }
}

/// Who vouches, as the arguments and the configuration say.
pub(super) fn vouched(args: &AuditArgs, access: &Access) -> Result<Vouched, String> {
    let named = args.ca.as_deref().map(Believed::of_file).transpose()?;
    let ledger = access.dialer.as_ref().map(|dialer| dialer.public_config(None)).transpose().map_err(|e| e.to_string())?;
    Ok(Vouched { named, ledger: ledger.flatten().map(Believed::of_nodes) })
}

type Sources = Vec<Box<dyn Source>>;

async fn prepare(args: &AuditArgs, access: &Access) -> Result<(Sources, Options), (u8, String)> {
    let usage = |why: String| (USAGE, why);
    let trust = trusted(args, access).map_err(usage)?;
    let genesis = args.genesis.as_deref().or(access.genesis.as_deref()).map(read_genesis_file).transpose().map_err(usage)?;
    let addresses = addresses(args, access).map_err(usage)?;
    if args.data_dirs.is_empty() && addresses.is_empty() {
        return Err(usage("name a data directory (--data-dir) or a node (--node)".into()));
    }
    if let Some(address) = said_twice(&addresses) {
        return Err(usage(format!("{address}: this node is named twice: it would agree with itself")));
    }
    if let Some(dir) = named_twice(&args.data_dirs) {
        return Err(usage(format!("{}: this directory is named twice: it would agree with itself", dir.display())));
    }
    let mut sources: Sources = Vec::new();
    for dir in &args.data_dirs {
        // Read beside the node it would look like that of one that was killed.
        if is_in_use(dir) {
            return Err((CANNOT_READ, format!("{}: a node is running on this directory: stop it, or use --node", dir.display())));
        }
        match Directory::open(dir) {
            Ok(directory) => sources.push(Box::new(directory)),
            Err(ReadError::Damaged(why)) => sources.push(Box::new(Unopened::new(dir.display().to_string(), why))),
            Err(ReadError::Unreachable(why) | ReadError::Interrupted(why)) => {
                return Err((CANNOT_READ, format!("{}: {why}", dir.display())));
            }
        }
    }
    let mut met: BTreeMap<u64, String> = BTreeMap::new();
    for address in addresses {
        let token = access.token.clone().map(|token| -> MakeToken { Box::new(move |id, what, key| token(id, what, key)) });
        let node = NodeSource::connect(&address, access.dialer.as_ref(), token)
            .await
            .map_err(|error| (CANNOT_READ, format!("{address}: {error}{}", without(args))))?;
        if let Some(before) = met.insert(node.raft_id(), address.clone()) {
            return Err(usage(format!("{before} and {address} are both node {}: it would agree with itself", node.name())));
        }
        sources.push(Box::new(node));
    }
    Ok((
        sources,
        Options {
            signatures: !args.no_signatures,
            replay: !args.no_replay,
            trust,
            genesis,
            keep: args.state.as_deref().map(Keep::new),
            memory: args.memory.unwrap_or(MEMORY),
        },
    ))
}

/// How to go without a node that does not answer, where all of the configuration are asked.
fn without(args: &AuditArgs) -> &'static str {
    match args.nodes.as_deref() {
        Some([]) => "; take a node that was banned or retired out of the configuration, or name those to audit: --node ADDR",
        _ => "",
    }
}

/// The first directory that was named before, under whatever path. One that is not there is told when it is opened.
fn named_twice(dirs: &[PathBuf]) -> Option<&Path> {
    let mut seen = BTreeSet::new();
    let again = |dir: &&PathBuf| std::fs::metadata(dir).is_ok_and(|of| !seen.insert((of.dev(), of.ino())));
    dirs.iter().find(again).map(PathBuf::as_path)
}

/// The first that was said before.
pub(super) fn said_twice(said: &[String]) -> Option<&String> {
    said.iter().enumerate().find(|(n, again)| said.iter().take(*n).any(|before| before == *again)).map(|(_, again)| again)
}

/// The nodes' addresses: those given, or, given none, those of the configuration.
fn addresses(args: &AuditArgs, access: &Access) -> Result<Vec<String>, String> {
    let Some(asked) = &args.nodes else { return Ok(Vec::new()) };
    if asked.is_empty() {
        if access.nodes.is_empty() {
            return Err("--node without an address needs a configuration that names the nodes".into());
        }
        return Ok(access.nodes.iter().map(|(_, address)| address.clone()).collect());
    }
    let address =
        |asked: &String| access.nodes.iter().find(|(name, _)| name == asked).map_or_else(|| asked.clone(), |(_, address)| address.clone());
    Ok(asked.iter().map(address).collect())
}

fn tell(report: &Report, json: bool, out: &mut (dyn Write + Send)) -> u8 {
    let text = if json { json_line(&report.to_json()) } else { report.to_text() };
    match line(out, &text) {
        Err(error) => unwritten(json, &error),
        Ok(()) if report.clean => CLEAN,
        Ok(()) => FOUND,
    }
}

/// Writes a text as lines of its own. It does not panic where `println!` does: whoever reads may be gone.
pub(super) fn line(out: &mut (dyn Write + Send), text: &str) -> io::Result<()> {
    writeln!(out, "{}", text.trim_end_matches('\n'))?;
    out.flush()
}

/// Standard output takes no more: an answer that nobody got is none.
pub(super) fn unwritten(json: bool, error: &io::Error) -> u8 {
    complain(json, "unwritten", &format!("standard output cannot be written: {error}"));
    CANNOT_READ
}

pub(super) fn fail(json: bool, code: u8, why: &str) -> u8 {
    let name = match code {
        USAGE => "usage",
        INTERRUPTED => "interrupted",
        _ => "cannot-read",
    };
    complain(json, name, why);
    code
}

/// Says on standard error what is amiss, with `json` as one object. Nobody need be there to read it.
pub(super) fn complain(json: bool, code: &str, why: &str) {
    let _ = writeln!(io::stderr().lock(), "{}", complaint(json, code, why));
}

pub(super) fn complaint(json: bool, code: &str, why: &str) -> String {
    if json { json_line(&json!({"error": code, "message": why})) } else { format!("audit: {}", one_line(why)) }
}

/// A bar on standard error, hidden when that is no terminal.
/// Then a line tells now and then, with rate and time left as the bar does. For scripts there is neither:
/// they read errors there.
struct Bar {
    bar: ProgressBar,
    silent: bool,
    on: Mutex<Option<(Stage, String)>>,
    told: Mutex<(Instant, u64)>,
}

/// How often a line tells.
const TELL: Duration = Duration::from_secs(10);

impl Bar {
    fn new(silent: bool) -> Self {
        let target = if silent { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr_with_hz(8) };
        let bar = ProgressBar::with_draw_target(Some(0), target);
        Self { bar, silent, on: Mutex::new(None), told: Mutex::new((Instant::now(), 0)) }
    }

    fn show(&self, stage: Stage, source: &str, done: u64, total: u64) {
        // The scan of databases runs beside the records, which are what takes long.
        if self.silent || stage == Stage::Database {
            return;
        }
        if self.bar.is_hidden() {
            return self.tell(source, done, total);
        }
        let mut on = self.on.lock().unwrap_or_else(PoisonError::into_inner);
        if on.as_ref().is_none_or(|(s, name)| (*s, name.as_str()) != (stage, source)) {
            let what = match stage {
                Stage::Records | Stage::Database => "records 记录",
                Stage::Comparing => "compare 比对",
                Stage::Checkpoints => "checkpoints 检查点",
            };
            let template = "{msg} [{bar:24}] {human_pos}/{human_len} {per_sec} {eta} left";
            self.bar.set_style(ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()));
            self.bar.reset();
            self.bar.set_message(format!("{what} {}", one_line(source)));
            *on = Some((stage, source.to_owned()));
        }
        self.bar.set_length(total.max(done));
        self.bar.set_position(done);
    }

    fn tell(&self, source: &str, done: u64, total: u64) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let since = told.0.elapsed();
        if since < TELL {
            return;
        }
        let rate = done.saturating_sub(told.1) as f64 / since.as_secs_f64();
        let left = if rate > 0.0 { format!(", {:.0} s left", total.saturating_sub(done) as f64 / rate) } else { String::new() };
        let _ = writeln!(io::stderr().lock(), "audit: {}: {done} of {total}, {rate:.0} a second{left}", one_line(source));
        *told = (Instant::now(), done);
    }
}
