//! `vermiliond`: runs one node.

#![allow(clippy::disallowed_methods, reason = "this crate has the clock")]
#![deny(clippy::print_stdout, clippy::print_stderr, reason = "they panic where nobody reads any more")]

use clap::{Parser, Subcommand};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::service::interceptor::InterceptedService;
use vermilion_node::caller;
use vermilion_node::config::{Config, DEFAULT_REST_RATE, Log, Tls};
use vermilion_node::enrolment::EnrolmentService;
use vermilion_node::enrolment::applicant::Applicant;
use vermilion_node::founding::{self, Addresses};
use vermilion_node::grpc::LedgerService;
use vermilion_node::intake::{Intake, MAX_REQUEST};
use vermilion_node::join::{self, Step};
use vermilion_node::keys::{NodeKeys, TlsKeys};
use vermilion_node::node::{Node, Start, Started};
use vermilion_node::peer_service::PeerService;
use vermilion_node::peers::{BEHIND_BLOCKS, MAX_PEER_MESSAGE};
use vermilion_node::rate::RateLimit;
use vermilion_node::serving;
use vermilion_node::start::{self, read_genesis};
use vermilion_node::tls::{Side, TlsListener};
use vermilion_proto::enrolment_server::EnrolmentServer;
use vermilion_proto::ledger_server::LedgerServer;
use vermilion_proto::peer_server::PeerServer;
use zeroize::Zeroizing;

/// Blocks and submissions are many small pieces of memory: a tenth of the time went into glibc's allocator.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// The largest request of an applicant, in bytes.
const MAX_APPLICATION: usize = 64 << 10;
/// Applications of one connection under way at once.
const MAX_APPLICATIONS: u32 = 8;
/// The longest frame of HTTP/2 that is taken: with its head two whole records of TLS.
const FRAME: u32 = (32 << 10) - 9;
/// How often a connection of gRPC is asked whether its other end is still there.
const KEEPALIVE: Duration = Duration::from_secs(10);
/// How old an applicant's connection becomes: an application has its answer, or none, within 40 s.
const APPLICANTS_AGE: Duration = Duration::from_secs(60);
/// Requests of one connection under way at once, streams of submissions counting as one: tonic has no bound of its own.
const MAX_REQUESTS: u32 = 256;
/// Room for messages that are not whole yet, in bytes: of one unit, or of one address where nobody is known, and of all. Streams
/// have as much again.
const ROOM: (usize, usize) = (32 << 20, 256 << 20);
/// The same of one node, whose largest message has 32 MiB, and of all nodes.
const ROOM_OF_NODES: (usize, usize) = (64 << 20, 256 << 20);
/// The same of applicants.
const ROOM_OF_APPLICANTS: (usize, usize) = (1 << 20, 16 << 20);
/// Open files that a node wants: two for each connection of three listeners, and the database's.
const OPEN_FILES: u64 = 16_384;
/// How long a stop waits for requests under way.
const DRAIN: Duration = Duration::from_secs(5);
/// The exit code when the node stopped itself: sysexits' EX_SOFTWARE.
const STOPPED_ITSELF: u8 = 70;
/// The exit code of a configuration that cannot work: sysexits' EX_CONFIG.
const BAD_CONFIG: u8 = 78;

#[derive(Parser)]
#[command(name = "vermiliond", version, about = "A node of a Vermilion ledger (朱印).")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run a node until SIGTERM or SIGINT.
    #[command(after_help = "Example:\n  vermiliond run --config /etc/vermilion/node.toml")]
    Run {
        /// The node's configuration.
        #[arg(long)]
        config: PathBuf,
    },
    /// Join a ledger: wait until it has connected this node, catch up, get a vote, and go on as a node.
    ///
    /// Begins with an empty directory, and can be killed and started again at any point.
    #[command(after_help = "Example:\n  vermiliond join --config /etc/vermilion/node.toml --token-file token")]
    Join {
        /// The node's configuration, with the raft_id it was applied for under, and peers that can be asked.
        #[arg(long)]
        config: PathBuf,
        /// A file with the enrolment token, where the ledger connects over TLS: needed until the node has its certificate.
        #[arg(long, value_name = "FILE")]
        token_file: Option<PathBuf>,
        /// Progress as JSON lines.
        #[arg(long)]
        json: bool,
    },
    /// Get a new certificate with a token, for a node of the ledger whose certificate is over or was revoked.
    ///
    /// The node may run meanwhile; it shows the new one when it is started again.
    #[command(after_help = "Example:\n  \
        vermiliond enrol --config /etc/vermilion/node.toml --token-file token \\\n      \
        --new-key")]
    Enrol {
        /// The node's configuration.
        #[arg(long)]
        config: PathBuf,
        /// A file with the enrolment token of `vermilion enrolment grant node/NAME`.
        #[arg(long, value_name = "FILE")]
        token_file: PathBuf,
        /// For a key made now, as after a theft.
        #[arg(long)]
        new_key: bool,
        /// Progress as JSON lines.
        #[arg(long)]
        json: bool,
    },
    /// Ask to stand in the genesis of a ledger that is to be founded: makes this node's keys, and the file for the table.
    ///
    /// The keys stay here. Compare the fingerprint that it prints with the one that the table shows.
    #[command(after_help = "Example:\n  \
        vermiliond request --config /etc/vermilion/node.toml --district 440304 \\\n      \
        --address node.futian.example:7100 --rest node.futian.example:7101 \\\n      \
        --out futian.request")]
    Request {
        /// The node's configuration, with keys.received and [tls]; a node of the city that issues certificates has
        /// tls.issuing_key and tls.enrolment too.
        #[arg(long)]
        config: PathBuf,
        /// The district's code; the city's own for a node of the city.
        #[arg(long, value_name = "CODE")]
        district: String,
        /// Where nodes and clients reach this node; `grpc` of the configuration if not given.
        #[arg(long, value_name = "HOST:PORT")]
        address: Option<String>,
        /// Where its REST side is reached; `http` of the configuration if not given.
        #[arg(long, value_name = "HOST:PORT")]
        rest: Option<String>,
        /// Where applicants reach it; `tls.enrolment` of the configuration if not given.
        #[arg(long, value_name = "HOST:PORT")]
        enrolment: Option<String>,
        /// The file to write.
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
    },
    /// Take home what the founders' table made for this node: genesis, certificate and keys.
    #[command(after_help = "Example:\n  \
        vermiliond receive --config /etc/vermilion/node.toml \\\n      \
        --package futian.package --ledger 9f…e1")]
    Receive {
        /// The node's configuration.
        #[arg(long)]
        config: PathBuf,
        /// The file that the table made for this node.
        #[arg(long, value_name = "FILE")]
        package: PathBuf,
        /// The ledger id, in hex, as it was read out at the table.
        #[arg(long, value_name = "HEX")]
        ledger: String,
    },
    /// Check a configuration and its key files against the genesis, and say what is wrong.
    #[command(after_help = "Example:\n  vermiliond check --config /etc/vermilion/node.toml")]
    Check {
        /// The node's configuration.
        #[arg(long)]
        config: PathBuf,
    },
}

/// What is asked for.
#[derive(Clone, PartialEq, Eq)]
enum How {
    Run,
    Join { token_file: Option<PathBuf>, json: bool },
    Check,
}

fn main() -> ExitCode {
    leave_no_core();
    let (path, how) = match Cli::parse().command {
        Command::Request { config, district, address, rest, enrolment, out } => {
            return said(ask_to_found(&config, &district, [address, rest, enrolment], &out));
        }
        Command::Enrol { config, token_file, new_key, json } => return said(enrol(&config, &token_file, new_key, json)),
        Command::Receive { config, package, ledger } => return said(take_home(&config, &package, &ledger)),
        Command::Run { config } => (config, How::Run),
        Command::Join { config, token_file, json } => (config, How::Join { token_file, json }),
        Command::Check { config } => (config, How::Check),
    };
    let loaded = Config::load(&path).and_then(|config| NodeKeys::load(&config).map(|keys| (config, keys)));
    let (config, mut keys) = match loaded {
        Ok(loaded) => loaded,
        Err(error) => {
            complain(&error.to_string());
            return ExitCode::from(BAD_CONFIG);
        }
    };
    if matches!(how, How::Join { .. })
        && let Err(why) = vermilion_node::keys::can_write(&config)
    {
        complain(&why.to_string());
        return ExitCode::from(BAD_CONFIG);
    }
    if !matches!(how, How::Join { .. })
        && let Err(why) = load_tls(&config, &mut keys)
    {
        complain(&why);
        return ExitCode::from(BAD_CONFIG);
    }
    // Before anything is asked, made or opened.
    if let Err(why) = start::check(&config, &keys) {
        complain(&why.to_string());
        return ExitCode::from(BAD_CONFIG);
    }
    if how == How::Check {
        return said(Ok(format!("{} is a usable configuration of node {}", path.display(), config.name)));
    }
    start_logging(&config.log);
    raise_open_files();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            complain(&format!("cannot start threads: {error}"));
            return ExitCode::from(STOPPED_ITSELF);
        }
    };
    if let How::Join { token_file, json } = &how
        && let Err(why) =
            runtime.block_on(wait_to_join(&config, &keys, token_file.as_deref(), *json)).and_then(|()| load_again(&config, &mut keys))
    {
        complain(&why);
        return ExitCode::from(BAD_CONFIG);
    }
    let started = {
        let _inside = runtime.enter();
        let begins = if how == How::Run { Start::Run } else { Start::Join };
        Node::start(&config, keys, runtime.handle(), begins)
    };
    let started = match started {
        Ok(started) => started,
        Err(why) => {
            tracing::error!(why, "the node does not start");
            complain(&why);
            return ExitCode::from(STOPPED_ITSELF);
        }
    };
    if let How::Join { json, .. } = how {
        let name = config.name.clone();
        runtime.spawn(join::watch(Arc::clone(&started.node), move |step| tell(&name, json, &step)));
    }
    let code = runtime.block_on(serve(config, started));
    end(runtime, code)
}

/// Ends the process: with this code, or at once where there is none.
fn end(runtime: tokio::runtime::Runtime, code: Option<ExitCode>) -> ExitCode {
    let Some(code) = code else {
        // The runtime stays as it is: a request under way that met it half shut down would panic, and the last lines of the log
        // would be about that.
        std::process::exit(i32::from(STOPPED_ITSELF));
    };
    // Whoever still holds the database must let go before the process ends, but a thread that waits for
    // a peer must not keep it.
    runtime.shutdown_timeout(DRAIN);
    code
}

/// A line on standard output. Whoever reads it may be gone, or the disk full: that stops nobody.
fn print(line: &str) {
    use std::io::Write as _;
    let mut out = std::io::stdout();
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}

/// What is wrong, on standard error; as [`print`].
fn complain(why: &str) {
    use std::io::Write as _;
    let _ = writeln!(std::io::stderr(), "vermiliond: {why}");
}

/// Ends with what there is to say, or with what is wrong.
fn said(done: Result<String, String>) -> ExitCode {
    match done {
        Ok(text) => {
            print(&text);
            ExitCode::SUCCESS
        }
        Err(why) => {
            complain(&why);
            ExitCode::from(BAD_CONFIG)
        }
    }
}

fn ask_to_found(path: &Path, district: &str, [address, rest, enrolment]: [Option<String>; 3], out: &Path) -> Result<String, String> {
    let config = Config::load(path).map_err(|e| e.to_string())?;
    let listens = config.tls.as_ref().and_then(|tls| tls.enrolment.clone());
    let addresses = Addresses {
        peer: address.unwrap_or_else(|| config.grpc.clone()),
        rest: rest.unwrap_or_else(|| config.http.clone()),
        enrolment: enrolment.or(listens).unwrap_or_default(),
    };
    let (made, founder) = founding::request(&config, district, addresses).map_err(|e| e.to_string())?;
    std::fs::write(out, made).map_err(|e| format!("cannot write {}: {e}", out.display()))?;
    Ok(format!("{}\n  node         {}, {district}\n  fingerprint  {}", out.display(), config.name, founder.fingerprint()))
}

fn take_home(path: &Path, package: &Path, ledger: &str) -> Result<String, String> {
    let config = Config::load(path).map_err(|e| e.to_string())?;
    let mut id = [0; 32];
    hex::decode_to_slice(ledger, &mut id).map_err(|_| "--ledger is not 64 hex digits".to_owned())?;
    let bytes = std::fs::read(package).map_err(|e| format!("cannot read {}: {e}", package.display()))?;
    let received = founding::receive(&config, &bytes, &id).map_err(|e| e.to_string())?;
    let keys = received.uses.join(", ");
    let before = if received.before { " (received before: this package was not opened)" } else { "" };
    Ok(format!(
        "{} is node {} of ledger {ledger}\n  keys  {keys}{before}\n  next  vermiliond run --config {}",
        config.name,
        received.raft_id,
        path.display()
    ))
}

/// Keys and opened content lie in memory: no image of it is to lie on a disk, whatever crashes.
fn leave_no_core() {
    use rustix::process::{Resource, Rlimit, setrlimit};
    // Less is always granted.
    let _ = setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) });
}

/// Connections and the database's files share one limit, which is often set for a desktop: up to what is allowed.
fn raise_open_files() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let wanted = maximum.map_or(OPEN_FILES, |maximum| maximum.min(OPEN_FILES));
    if current.is_some_and(|current| current < wanted) {
        let raised = setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum });
        tracing::info!(from = current, to = wanted, done = raised.is_ok(), "the limit of open files");
    }
    if wanted < OPEN_FILES {
        tracing::warn!(limit = wanted, wanted = OPEN_FILES, "there may be too few open files: raise the hard limit");
    }
}

fn load_tls(config: &Config, keys: &mut NodeKeys) -> Result<(), String> {
    keys.tls = TlsKeys::load(config).map_err(|e| e.to_string())?;
    Ok(())
}

/// With what a join has brought.
fn load_again(config: &Config, keys: &mut NodeKeys) -> Result<(), String> {
    *keys = NodeKeys::load(config).map_err(|e| e.to_string())?;
    load_tls(config, keys)
}

fn enrol(path: &Path, token_file: &Path, new_key: bool, json: bool) -> Result<String, String> {
    let config = Config::load(path).map_err(|e| e.to_string())?;
    let (payload, genesis) = read_genesis(&config).map_err(|e| e.to_string())?;
    let applicant = Applicant::new(&config, &genesis, vermilion_registry::ledger_id(&payload))?;
    let token = read_token(token_file)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|e| e.to_string())?;
    runtime.block_on(join::enrol(&config, &applicant, &token, new_key, |step| tell(&config.name, json, &step)))?;
    let next = "start the node again, so that it shows it";
    Ok(if json { serde_json::json!({ "node": config.name, "next": next }).to_string() } else { format!("{}: {next}", config.name) })
}

fn read_token(path: &Path) -> Result<Zeroizing<String>, String> {
    std::fs::read_to_string(path).map(Zeroizing::new).map_err(|e| format!("--token-file: {}: {e}", path.display()))
}

/// Waits until the ledger has connected this node, or SIGTERM or SIGINT ends the process.
async fn wait_to_join(config: &Config, keys: &NodeKeys, token_file: Option<&Path>, json: bool) -> Result<(), String> {
    let (payload, genesis) = read_genesis(config).map_err(|e| e.to_string())?;
    let applicant = Applicant::new(config, &genesis, vermilion_registry::ledger_id(&payload))?;
    let token = token_file.map(read_token).transpose()?;
    let tell = |step| tell(&config.name, json, &step);
    join::wait_until_admitted(config, keys, &applicant, token.as_ref().map(|t| t.as_str()), tell).await
}

/// A line of a join's progress.
fn tell(node: &str, json: bool, step: &Step) {
    print(&step.line(node, json));
}

fn start_logging(log: &Log) {
    let filter = tracing_subscriber::EnvFilter::try_new(&log.level).unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info"));
    // A line that cannot be written is lost: told of on the same standard error, it would be a panic.
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).log_internal_errors(false);
    if log.json {
        builder.json().init();
    } else {
        builder.with_ansi(false).init();
    }
}

/// Runs until something ends it. Without an exit code the node stopped itself, and nothing of it is to go on.
async fn serve(config: Config, started: Started) -> Option<ExitCode> {
    let Started { node, runtime, mut fatal } = started;
    let (stop, stopping) = tokio::sync::watch::channel(false);
    let wait = |mut stopping: tokio::sync::watch::Receiver<bool>| async move {
        let _ = stopping.wait_for(|stop| *stop).await;
    };
    let grpc = tokio::spawn(serve_grpc(config.grpc.clone(), Arc::clone(&node), wait(stopping.clone())));
    let rest = tokio::spawn(serve_rest(config.clone(), Arc::clone(&node), wait(stopping.clone())));
    let enrolment = tokio::spawn(serve_enrolment(config.clone(), Arc::clone(&node), wait(stopping)));
    tracing::info!(node = config.name, grpc = config.grpc, http = config.http, ledger = hex::encode(node.ledger_id), "the node runs");
    let mut grpc = std::pin::pin!(grpc);
    let mut rest = std::pin::pin!(rest);
    let mut enrolment = std::pin::pin!(enrolment);
    let code = tokio::select! {
        Some(stopped) = fatal.recv() => {
            tracing::error!(why = stopped.0, "the node stops");
            complain(&format!("the node stops: {}", stopped.0));
            // Nothing is drained: the node can no longer vouch for its answers.
            return None;
        }
        ended = &mut grpc => listener_ended("gRPC", ended),
        ended = &mut rest => listener_ended("REST", ended),
        ended = &mut enrolment => listener_ended("enrolment", ended),
        () = signalled() => ExitCode::SUCCESS,
    };
    tracing::info!("stopping: requests under way are finished");
    // While its doors are open: what waits here goes to the next leader.
    node.leave_office(config.tick_ms).await;
    let _ = stop.send(true);
    let _ = tokio::time::timeout(DRAIN, async {
        while node.under_way.available_permits() < vermilion_node::door::MAX_UNDER_WAY {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    let store = node.store.clone();
    let stopped = tokio::task::spawn_blocking(move || runtime.stop());
    // With the checkpoint of the last commitment: an audit of the directory asks for it.
    let _ = tokio::time::timeout(DRAIN, async { (stopped.await, node.witness.ended().await) }).await;
    if let Ok(stopped) = fatal.try_recv() {
        tracing::error!(why = stopped.0, "the node could not end as it should");
        return Some(ExitCode::from(STOPPED_ITSELF));
    }
    if let Err(error) = store.flush() {
        tracing::error!(%error, "the store was not flushed");
        return Some(ExitCode::from(STOPPED_ITSELF));
    }
    tracing::info!("stopped");
    Some(code)
}

fn listener_ended(which: &str, ended: Result<Result<(), String>, tokio::task::JoinError>) -> ExitCode {
    let why = match ended {
        Ok(Ok(())) => "it ended".to_owned(),
        Ok(Err(why)) => why,
        Err(error) => error.to_string(),
    };
    tracing::error!(which, why, "a listener failed");
    complain(&format!("the {which} listener failed: {why}"));
    ExitCode::from(STOPPED_ITSELF)
}

async fn serve_grpc(address: String, node: Arc<Node>, stop: impl Future<Output = ()> + Send + 'static) -> Result<(), String> {
    let clients = LedgerServer::new(LedgerService(Arc::clone(&node)));
    let clients = clients.max_decoding_message_size(MAX_REQUEST).max_encoding_message_size(MAX_REQUEST);
    let peers = PeerServer::new(PeerService(Arc::clone(&node)));
    let peers = peers.max_decoding_message_size(MAX_PEER_MESSAGE).max_encoding_message_size(MAX_PEER_MESSAGE);
    // Who is no node is refused before anything that it sends is read.
    let known = Arc::clone(&node);
    let for_nodes = move |request: tonic::Request<()>| caller::peer(&known, &request).map(|_| request);
    let peers = InterceptedService::new(peers, for_nodes);
    let server = tonic::transport::Server::builder()
        .tcp_nodelay(true)
        // What of a connection is not read yet lies in memory: so much and no more.
        .initial_stream_window_size(2 << 20)
        .initial_connection_window_size(4 << 20)
        .max_frame_size(FRAME)
        .max_concurrent_streams(MAX_REQUESTS)
        .http2_keepalive_interval(Some(KEEPALIVE))
        .http2_keepalive_timeout(Some(BEHIND_BLOCKS))
        .add_service(Intake::new(clients, ROOM.0, ROOM.1))
        .add_service(Intake::new(peers, ROOM_OF_NODES.0, ROOM_OF_NODES.1));
    let served = match &node.tls {
        None => {
            let limit = RateLimit::new(DEFAULT_REST_RATE, Arc::clone(&node));
            let server = server.add_service(enrolment(Arc::clone(&node), limit));
            server.serve_with_shutdown(address.parse().map_err(|e| format!("grpc: {e}"))?, stop).await
        }
        Some(tls) => {
            let config = tls.grpc().map_err(|e| e.to_string())?;
            let listener = TlsListener::bind(&address, config, (Arc::clone(&tls.connections), Side::Grpc), false).await?;
            server.serve_with_incoming_shutdown(listener.into_stream(), stop).await
        }
    };
    served.map_err(|e| e.to_string())
}

async fn serve_rest(config: Config, node: Arc<Node>, stop: impl Future<Output = ()> + Send + 'static) -> Result<(), String> {
    let address = &config.http;
    let routes = vermilion_node::rest::router(Arc::clone(&node));
    match (&node.tls, &config.tls) {
        (None, _) | (_, None) => {
            let listener = tokio::net::TcpListener::bind(address).await.map_err(|e| format!("http: {address}: {e}"))?;
            serving::serve(TcpListenerStream::new(listener), |_| None, routes, stop).await;
        }
        (Some(tls), Some(Tls { rest_rate, rest_plain, .. })) => {
            let server = tls.rest().map_err(|e| e.to_string())?;
            let listener = TlsListener::bind(address, server, (Arc::clone(&tls.connections), Side::Rest), *rest_plain).await?;
            let limit = RateLimit::new(*rest_rate, Arc::clone(&node));
            let routes = routes.layer(axum::middleware::from_fn_with_state(limit, vermilion_node::rate::limit));
            serving::serve(listener.into_stream(), |stream| Some(stream.caller().clone()), routes, stop).await;
        }
    }
    Ok(())
}

/// What applicants ask.
fn enrolment(node: Arc<Node>, limit: RateLimit) -> Intake<EnrolmentServer<EnrolmentService>> {
    let service = EnrolmentServer::new(EnrolmentService { node, limit }).max_decoding_message_size(MAX_APPLICATION);
    Intake::new(service, ROOM_OF_APPLICANTS.0, ROOM_OF_APPLICANTS.1)
}

/// The listener for applicants, where the configuration has one. Without it there is nothing to wait for.
async fn serve_enrolment(config: Config, node: Arc<Node>, stop: impl Future<Output = ()> + Send + 'static) -> Result<(), String> {
    let (Some(tls), Some(Tls { enrolment: Some(address), rest_rate, .. })) = (&node.tls, &config.tls) else {
        stop.await;
        return Ok(());
    };
    let server = tls.enrolment().map_err(|e| e.to_string())?;
    let listener = TlsListener::bind(address, server, (Arc::clone(&tls.connections), Side::Enrolment), false).await?;
    let limit = RateLimit::new(*rest_rate, Arc::clone(&node));
    let service = enrolment(Arc::clone(&node), limit);
    let server = tonic::transport::Server::builder()
        .max_concurrent_streams(MAX_APPLICATIONS)
        .http2_keepalive_interval(Some(KEEPALIVE))
        // Cut, whatever is under way: who applies asks again.
        .max_connection_age(APPLICANTS_AGE)
        .max_connection_age_grace(Duration::ZERO)
        .add_service(service);
    server.serve_with_incoming_shutdown(listener.into_stream(), stop).await.map_err(|e| e.to_string())
}

/// SIGTERM or SIGINT.
async fn signalled() {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut term), Ok(mut int)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt())) else {
        // Without handlers the default action of the signals ends the process.
        return std::future::pending().await;
    };
    tokio::select! { _ = term.recv() => {}, _ = int.recv() => {} }
}

/// One file for the help of all three commands.
#[cfg(test)]
#[path = "../../client/src/cli/examples.rs"]
mod examples;

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// Requests under way as they are when a node stops itself: each waits on a thread, then by the clock.
    #[test]
    #[ignore = "it ends the process: the next test runs it in one of its own"]
    fn a_node_stops_itself_under_load() {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        for n in 0..200 {
            runtime.spawn(async move {
                loop {
                    tokio::task::block_in_place(|| std::thread::sleep(Duration::from_millis(n % 7)));
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            });
        }
        std::thread::sleep(Duration::from_millis(100));
        end(runtime, None);
    }

    #[test]
    fn a_node_that_stops_itself_panics_over_nothing_else() {
        let it = ["--ignored", "--exact", "--nocapture", "tests::a_node_stops_itself_under_load"];
        let ended = std::process::Command::new(std::env::current_exe().unwrap()).args(it).output().unwrap();
        let said = String::from_utf8_lossy(&ended.stderr);
        assert!(ended.status.code() == Some(i32::from(STOPPED_ITSELF)) && !said.contains("panicked"), "{:?}: {said}", ended.status);
    }
}
