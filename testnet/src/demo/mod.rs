//! The demonstration: everything that a newcomer wants to see once, with real processes, sockets and
//! disks. A step that does not go as it should ends it with an error that says what.
//!
//! The steps: start ([`crate::cluster`]), register, issue ([`issuing`]), use, verify and revoke
//! ([`licence`]), a fourth node joins, is banned and comes back ([`admission`]), take receipts ([`proof`]), compare the nodes ([`ledger`]), stop them, check the
//! receipts with files alone, audit. However it ends, no node stays behind ([`guard`]), unless it
//! was asked to keep the cluster and all went well.

mod admission;
mod farewell;
mod guard;
mod issuing;
mod ledger;
mod licence;
mod proof;
mod show;

use crate::authority::Term;
use crate::cluster::{self, Up};
use crate::description::Testnet;
use crate::error::TestnetError;
use crate::processes;
use crate::sample::Sample;
use crate::say;
use guard::Guard;
use show::{Show, grouped};
use std::path::{Path, PathBuf};
use tokio::signal::unix::{SignalKind, signal};
use vermilion_client::audit::Report;
use vermilion_client::client::Client;
use vermilion_client::clock::show_ms;
use vermilion_proto::ReceiptRequest;
use vermilion_registry::content::{Row, RowOrigin, parse_row};
use vermilion_registry::status::State;

/// One node of the city and two of districts.
const NODES: usize = 3;

/// What `demo` is told.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where everything lies, and stays; a temporary folder otherwise.
    pub dir: Option<PathBuf>,
    /// Leave the cluster up.
    pub keep: bool,
}

/// Something that did not go as it should.
fn deviation(what: impl Into<String>) -> TestnetError {
    TestnetError::Deviation(what.into())
}

/// Runs the demonstration. A signal to stop ends it, and its nodes.
pub async fn run(options: &Options) -> Result<(), TestnetError> {
    let temporary = match &options.dir {
        Some(dir) => {
            let used = std::fs::read_dir(dir).is_ok_and(|mut entries| entries.next().is_some());
            if used {
                return Err(TestnetError::Setup(format!("{} is not empty: the demonstration wants a new folder", dir.display())));
            }
            None
        }
        None => Some(tempfile::Builder::new().prefix("vermilion-demo-").tempdir().map_err(|e| TestnetError::Setup(e.to_string()))?),
    };
    let dir = options.dir.clone().or_else(|| temporary.as_ref().map(|t| t.path().into())).unwrap_or_default();
    let dir = std::path::absolute(&dir).map_err(|e| TestnetError::File(dir, e))?;
    let mut guard = Guard::new(&dir);
    // Whichever ends first: the other is dropped, and nothing runs on.
    let result = tokio::select! {
        result = show_all(&dir, options.keep) => result,
        why = told_to_stop() => Err(TestnetError::Setup(why?.into())),
    };
    match &result {
        Ok(()) if options.keep => guard.let_go(),
        Ok(()) => {}
        Err(_) => say::aside("\nstopping the nodes …"),
    }
    drop(guard);
    // What went wrong is worth looking at; what is kept running needs its folder.
    if let Some(temporary) = temporary
        && (options.keep || matches!(result, Err(TestnetError::Deviation(_) | TestnetError::Client(_))))
    {
        let kept = temporary.keep();
        if result.is_err() {
            say::aside(&format!("the folder stays for a look: {}", kept.display()));
        }
    }
    result
}

/// Waits for Ctrl-C and its like.
pub(crate) async fn told_to_stop() -> Result<&'static str, TestnetError> {
    let listen = |kind| signal(kind).map_err(|e| TestnetError::Setup(e.to_string()));
    let (mut interrupt, mut terminate, mut hangup) =
        (listen(SignalKind::interrupt())?, listen(SignalKind::terminate())?, listen(SignalKind::hangup())?);
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
        _ = hangup.recv() => {}
    }
    Ok("interrupted")
}

/// The first good row of a type, its number's last digits, that was issued as new.
fn sample_row(type_code: &str) -> Result<Row, TestnetError> {
    let mut rows = issuing::good_rows().filter_map(|line| parse_row(line).ok());
    let found = rows.find(|row| row.type_code.ends_with(type_code) && row.origin == RowOrigin::New);
    found.ok_or_else(|| deviation(format!("the sample has no licence of type {type_code}")))
}

async fn show_all(dir: &Path, keep: bool) -> Result<(), TestnetError> {
    let sample = Sample::load()?;
    let using = sample.unit_with_role("using-unit").ok_or_else(|| deviation("the sample has no using unit"))?;
    // 营业执照 is used and revoked; 食品经营许可证 is proved.
    let (used, proved) = (sample_row("001")?, sample_row("002")?);
    let mut show = Show::new();
    show.line("Vermilion 朱印: 电子证照账本演示  The ledger under a city's e-licences, from end to end");
    show.line(&format!("    {}", dir.display()));

    show.step("启动节点", "Start a city node and two district nodes");
    let up = Up { nodes: NODES, base_port: None, tls: Some(Term::USUAL), empty: true };
    let founding = cluster::create(dir, &up, &sample, &mut |_| {}).await?;
    let (mut testnet, operators) = (founding.testnet, founding.operators);
    let client = Client::open(&testnet.client)?;
    for node in &testnet.nodes {
        show.fact(&node.name, &format!("process {}, gRPC {}, REST {}", node.pid, node.grpc, node.http));
    }
    show.fact("账本 ledger", &hex::encode(client.ledger_id()));

    show.step("登记", "Register units and operators, publish the catalogue");
    let count = operators.len();
    cluster::populate(&testnet, &sample, operators, &mut |_| {}).await?;
    let (units, types) = (client.units().await?.len(), client.types().await?.states().count());
    if units != sample.units().len() || types != sample.catalogue()?.len() {
        return Err(deviation(format!("{units} units and {types} types are registered")));
    }
    show.fact("已登记 registered", &format!("{units} units, {count} operators' keys, {types} licence types"));

    show.step("签发", "Issue the 2,000 sample licences");
    let files = issuing::Files::write(dir)?;
    let good = issuing::good(&client, &files, &show).await?;

    show.step("退回", "Submit the 26 bad rows");
    let bad = issuing::bad(&client, &files, &show).await?;

    show.step("重发", "Send both files again");
    issuing::again(&client, &files, [&good, &bad], &show).await?;

    show.step("用证", "A using unit uses a licence");
    licence::use_it(&client, using, &used, &show).await?;

    show.step("核验与吊销", "Verify, revoke, verify again");
    licence::verify(&client, using, &used, State::Valid, &show).await?;
    let revoked = licence::revoke(&client, &used, &show).await?;
    licence::verify(&client, using, &used, State::Revoked, &show).await?;

    show.step("接入第四个节点", "A fourth district node is admitted, joins, is banned, and returns under a new id");
    admission::go_through(&client, dir, &mut testnet, &proved.identifier, &show).await?;

    show.step("存证凭证", "Take receipts, under a checkpoint with the quorum");
    let of = |row: &Row| ReceiptRequest { identifier: row.identifier.clone(), ..ReceiptRequest::default() };
    let record = ReceiptRequest { command_id: revoked.id.to_vec(), ..ReceiptRequest::default() };
    let kept = [
        proof::take(&client, dir, "食品经营许可证 a food permit", "food-permit.vmr", of(&proved), &show).await?,
        proof::take(&client, dir, "营业执照(已吊销) the revoked licence", "revoked-licence.vmr", of(&used), &show).await?,
        proof::take(&client, dir, "吊销记录 the revocation's record", "revocation.vmr", record, &show).await?,
    ];

    show.step("节点一致", "Compare the nodes");
    let nodes = ledger::settled(&client, testnet.nodes.len()).await?;
    let mut rows =
        vec![["节点 node", "角色 role", "记录 records", "检查点 checkpoint", "链 chain", "时间 time"].map(str::to_owned).to_vec()];
    rows.extend(nodes.iter().map(|n| {
        let chain = hex::encode(&n.chain);
        vec![
            n.name.clone(),
            n.role.clone(),
            n.size.to_string(),
            n.checkpoint_size.to_string(),
            chain.get(..16).unwrap_or_default().to_owned(),
            show_ms(n.time_ms),
        ]
    }));
    show.table(&rows);

    if !keep {
        show.step("停机", "Stop the cluster");
        cluster::down(dir)?;
        testnet = Testnet::load(dir)?;
        if testnet.nodes.iter().any(processes::runs) {
            return Err(deviation("a node still runs"));
        }
        show.fact("已停 stopped", &format!("{} nodes, cleanly; their data stays", testnet.nodes.len()));
    }

    show.step("离线核验凭证", "Check the receipts with no network: files and trust.json");
    proof::check_all(dir, &kept, &show)?;
    if let Some(receipt) = kept.first() {
        proof::tamper(dir, receipt, &show)?;
    }

    let report = if keep {
        show.step("审计", "Audit the running nodes");
        proof::audit_nodes(dir, &client, &testnet, &show).await?
    } else {
        show.step("审计", "Audit the nodes' data");
        proof::audit_directories(dir, &testnet, &show).await?
    };
    let issued = good.summary.accepted + bad.summary.accepted;
    if report.licences != issued {
        return Err(deviation(format!("the audit finds {} licences, and {issued} were accepted", report.licences)));
    }
    summary(&mut show, issued, bad.summary.rejected, &report, kept.len());
    if keep {
        farewell::say(&show, dir, &testnet, &client, &proved.identifier, &revoked.id);
    }
    Ok(())
}

/// What there was, and how long each step took.
fn summary(show: &mut Show, issued: u64, refused: u64, report: &Report, receipts: usize) {
    let (steps, total) = show.times();
    show.line("\n小结  Summary");
    let fact = |label: &str, value: String| vec![label.to_owned(), value];
    show.table(&[
        fact("签发证照 licences issued", grouped(issued)),
        fact("退回 rows refused", format!("{refused}, each for the expected reason")),
        fact("记录 records", format!("{}, of them {} commitments", grouped(report.records), report.commitments)),
        fact("检查点 checkpoints", format!("{} checked at {} nodes", report.checkpoints, report.sources.len())),
        fact("凭证 receipts", format!("{receipts} hold, 1 altered copy refused")),
        fact("审计 audit", "CLEAN 无异常".to_owned()),
    ]);
    show.line("");
    let mut rows: Vec<Vec<String>> =
        steps.iter().enumerate().map(|(n, (name, s))| vec![format!("{:>2}", n + 1), format!("{s:>6.2} s"), name.clone()]).collect();
    rows.push(vec![String::new(), format!("{total:>6.2} s"), "合计  All".to_owned()]);
    show.table(&rows);
}
