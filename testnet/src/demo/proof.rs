//! Proofs for others: receipts, checked with no node running, and the audit of everything.

use super::deviation;
use super::show::{Show, bar, grouped};
use crate::description::Testnet;
use crate::error::TestnetError;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use vermilion_client::audit::{self, Directory, MakeToken, NodeSource, Report, Source, Stage, TrustFile, read_genesis_file};
use vermilion_client::client::Client;
use vermilion_client::clock::now_ms;
use vermilion_client::clock::show_ms;
use vermilion_client::files::write_file;
use vermilion_client::receipt::{self, Document, Form, ReceiptCheck, StatusVerdict, Verdict};
use vermilion_proto::ReceiptRequest;

/// How long a checkpoint with the quorum may take.
const COVERED: Duration = Duration::from_secs(30);

/// A receipt in its file.
pub struct Kept {
    /// Of what it is.
    pub what: &'static str,
    /// The file.
    pub path: PathBuf,
    /// The licence, if it is of one.
    pub identifier: String,
}

/// Takes a receipt once a checkpoint with the quorum covers it, and keeps it in a file.
pub async fn take(
    client: &Client,
    dir: &Path,
    what: &'static str,
    name: &str,
    request: ReceiptRequest,
    show: &Show,
) -> Result<Kept, TestnetError> {
    let trust = TrustFile::load(&dir.join("trust.json")).map_err(deviation)?;
    let asker = client.asker(None)?;
    let until = Instant::now() + COVERED;
    let receipt = loop {
        let receipt = client.connection.receipt(&request, Some(&asker)).await?;
        let checked = receipt::check(&receipt, &trust);
        if checked.genuine.is_ok() {
            break receipt;
        }
        if Instant::now() > until {
            return Err(deviation(format!(
                "no checkpoint with the quorum covers the receipt: {}",
                checked.genuine.err().unwrap_or_default()
            )));
        }
    };
    let folder = dir.join("receipts");
    std::fs::create_dir_all(&folder).map_err(|e| TestnetError::File(folder.clone(), e))?;
    let path = folder.join(name);
    let (size, file) = (receipt.tree_size, Document::new(receipt).encode(Form::Binary).map_err(deviation)?);
    write_file(&path, &file)?;
    show.fact("凭证 receipt", &format!("{name}: {what}, {} bytes, under checkpoint {size}", grouped(file.len() as u64)));
    Ok(Kept { what, path, identifier: request.identifier })
}

/// Checks the receipts against the pinned trust, with files alone.
pub fn check_all(dir: &Path, kept: &[Kept], show: &Show) -> Result<(), TestnetError> {
    let trust = TrustFile::load(&dir.join("trust.json")).map_err(deviation)?;
    for receipt in kept {
        let checked = Document::read(&receipt.path)?.check(&trust);
        show.note(&format!("{}  {}", file_name(&receipt.path), receipt.what));
        verdicts(&checked, show);
        if !checked.holds() {
            return Err(deviation(format!("the receipt of {} does not hold", receipt.what)));
        }
        let names = checked.item.as_ref().map_or("", |i| i.identifier.as_str());
        if names != receipt.identifier {
            return Err(deviation(format!("the receipt of {} is of another licence", receipt.what)));
        }
    }
    Ok(())
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

fn verdicts(checked: &ReceiptCheck, show: &Show) {
    let line = |label: &str, verdict: &Verdict, more: String| match verdict {
        Ok(()) => show.fact(&format!("  ✓ {label}"), &more),
        Err(why) => show.fact(&format!("  ✗ {label}"), why),
    };
    let record = checked.record.map(|(seq, time)| format!("record {seq}, {}", show_ms(time))).unwrap_or_default();
    line("真实 genuine", &checked.genuine, record);
    line("签发 issued by", &checked.issued, format!("{} ({})", checked.issuer, checked.posts.join(" + ")));
    let of = checked.item.as_ref().map_or("the record whole", |i| i.identifier.as_str());
    line("未改 unaltered", &checked.unaltered, of.to_owned());
    match (&checked.status, checked.shown(now_ms())) {
        (StatusVerdict::Proven(status), Some(shown)) => {
            show.fact("  ✓ 状态 status", &format!("{} / {}, as of record {}", shown.chinese(), shown.name(), status.seq));
        }
        (StatusVerdict::Refused(why), _) => show.fact("  ✗ 状态 status", why),
        _ => {}
    }
    if let Some(checkpoint) = checked.checkpoint.as_ref().filter(|_| checked.holds()) {
        show.fact("    截至 as of", &format!("checkpoint {}, {}", checkpoint.size, checked.as_of_ms().map(show_ms).unwrap_or_default()));
        let names: Vec<&str> = checkpoint.cosigners.iter().map(|c| c.name.rsplit('/').next().unwrap_or(&c.name)).collect();
        show.fact("    见证 cosigned", &format!("{} (quorum {})", names.join(", "), checked.quorum));
    }
}

/// Changes one byte in a copy of a receipt: it must be refused.
pub fn tamper(dir: &Path, receipt: &Kept, show: &Show) -> Result<(), TestnetError> {
    let trust = TrustFile::load(&dir.join("trust.json")).map_err(deviation)?;
    let mut bytes = std::fs::read(&receipt.path).map_err(|e| TestnetError::File(receipt.path.clone(), e))?;
    // A digit of the licence's number, where it stands in the clear; else whatever lies in the middle.
    let wanted = receipt.identifier.as_bytes();
    let found = (!wanted.is_empty()).then(|| bytes.windows(wanted.len()).position(|w| w == wanted)).flatten();
    let at = found.map_or(bytes.len() / 2, |at| at + wanted.len().saturating_sub(7));
    let Some(byte) = bytes.get_mut(at) else { return Err(deviation("the receipt is empty")) };
    *byte ^= 1;
    let path = receipt.path.with_file_name("altered.vmr");
    std::fs::write(&path, bytes).map_err(|e| TestnetError::File(path.clone(), e))?;
    show.note(&format!("altered.vmr  a copy of {} with byte {at} changed", file_name(&receipt.path)));
    match Document::read(&path) {
        Ok(read) => {
            let checked = read.check(&trust);
            verdicts(&checked, show);
            if checked.holds() {
                return Err(deviation("a receipt with a changed byte holds"));
            }
        }
        Err(error) => show.fact("  ✗ 未改 unaltered", &error.to_string()),
    }
    show.fact("  退回 refused", "被改动的凭证不予认可  The altered receipt is refused.");
    Ok(())
}

/// Audits the directories of the stopped nodes.
pub async fn audit_directories(dir: &Path, testnet: &Testnet, show: &Show) -> Result<Report, TestnetError> {
    let mut sources: Vec<Box<dyn Source>> = Vec::new();
    for node in &testnet.nodes {
        sources.push(Box::new(Directory::open(&node.data_dir).map_err(|e| deviation(format!("{}: {e}", node.name)))?));
    }
    audit(dir, testnet, sources, show).await
}

/// Audits the running nodes, over their sockets.
pub async fn audit_nodes(dir: &Path, client: &Client, testnet: &Testnet, show: &Show) -> Result<Report, TestnetError> {
    let mut sources: Vec<Box<dyn Source>> = Vec::new();
    for node in &testnet.nodes {
        let source = NodeSource::connect(&node.grpc, Some(client.connection.dialer()), Some(token(client))).await;
        sources.push(Box::new(source.map_err(|e| deviation(format!("{}: {e}", node.name)))?));
    }
    audit(dir, testnet, sources, show).await
}

/// Makes the tokens with which the sample city's operator asks for records.
fn token(client: &Client) -> MakeToken {
    let client = client.clone();
    Box::new(move |_, what, key| {
        let what = ["records", "checkpoint"].into_iter().find(|known| key == 0 && *known == what)?;
        let request = client.connection.signed(&client.asker(None).ok()?, what, ()).ok()?;
        Some(request.metadata().get("authorization")?.to_str().ok()?.to_owned())
    })
}

async fn audit(dir: &Path, testnet: &Testnet, sources: Vec<Box<dyn Source>>, show: &Show) -> Result<Report, TestnetError> {
    let trust = TrustFile::load(&dir.join("trust.json")).map_err(deviation)?;
    let genesis = read_genesis_file(&dir.join("genesis.bin")).map_err(deviation)?;
    let options = audit::Options { trust: Some(trust), genesis: Some(genesis), ..Default::default() };
    let bar = bar("审计", 0);
    let moving = bar.clone();
    let audited = tokio::task::spawn_blocking(move || {
        let sources: Vec<&dyn Source> = sources.iter().map(AsRef::as_ref).collect();
        audit::audit(&sources, &options, &|stage, _, done, total| {
            if stage != Stage::Database {
                moving.set_length(total.max(done));
                moving.set_position(done);
            }
        })
    })
    .await;
    bar.finish_and_clear();
    let report = audited.map_err(|e| deviation(format!("the audit broke off: {e}")))?.map_err(|e| deviation(e.to_string()))?;
    if !report.clean || report.sources.len() != testnet.nodes.len() {
        show.line(&report.to_text());
        return Err(deviation("the audit is not clean"));
    }
    let names: Vec<&str> = testnet.nodes.iter().map(|n| n.name.as_str()).collect();
    show.fact("来源 sources", &format!("{}: {} records each", names.join(", "), grouped(report.records)));
    show.fact(
        "重算 recomputed",
        &format!("{} signatures, {} licences, outcomes, effects, chain, tree", grouped(report.signatures), grouped(report.licences)),
    );
    show.fact(
        "检查点 checkpoints",
        &format!(
            "{} checked; {} records under the quorum, {} not yet",
            grouped(report.checkpoints),
            grouped(report.covered),
            report.not_yet_covered()
        ),
    );
    show.fact("用时 time", &format!("{:.2} s, {} signatures/s", report.seconds, grouped(report.signatures_per_second() as u64)));
    show.fact("结论 result", "CLEAN 无异常");
    Ok(report)
}
