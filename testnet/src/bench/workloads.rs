//! What is measured.

use super::gauge::{Measured, closed_loop};
use super::limit::dalek_limit;
use crate::cluster;
use crate::error::TestnetError;
use crate::processes;
use crate::sample::Sample;
use serde_json::{Value, json};
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use vermilion_client::audit::{self, Directory, Limit, Report, signature_limit};
use vermilion_client::client::Client;
use vermilion_client::issue::{IssueOptions, issue_file};
use vermilion_client::questions::StatusQuestion;
use vermilion_client::single::SingleIssuer;
use vermilion_client::use_licence::{UseDesk, UseRequest};
use vermilion_crypto::Tag;
use vermilion_registry::codes::identifier::Identifier;
use vermilion_registry::content::{Row, parse_row};

/// The type that is issued and asked for: 食品经营许可证, whose status is open.
const TYPE: &str = "002";
/// Rows on which single issues are modelled.
const MODELS: usize = 64;

fn setup(e: impl std::fmt::Display) -> TestnetError {
    TestnetError::Setup(e.to_string())
}

/// A number no other run of the benchmark uses: serials must be new.
fn run_number() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |d| d.as_micros() as u64)
}

/// Licences issued one by one, each with two signatures.
#[derive(Clone)]
pub struct Singles {
    client: Client,
    issuer: Arc<SingleIssuer>,
    models: Arc<Vec<(Row, Vec<Tag>)>>,
    serial: Arc<AtomicU64>,
    value_size: usize,
}

impl Singles {
    /// Prepares the models and their tags.
    pub async fn new(client: &Client) -> Result<Self, TestnetError> {
        let sample = Sample::load()?;
        let mut models = Vec::new();
        let mut issuer = None;
        for line in sample.licences(run_number(), MODELS as u64 * 100) {
            let row = parse_row(&line).map_err(setup)?;
            if !row.type_code.ends_with(TYPE) || models.len() == MODELS {
                continue;
            }
            if issuer.is_none() {
                issuer = Some(SingleIssuer::new(client, &row.authority_code).await?);
            }
            if let Some(issuer) = &issuer {
                let tags = issuer.tags(client, &row).await?;
                models.push((row, tags));
            }
        }
        let issuer = issuer.ok_or_else(|| setup("the sample data has no licence of the benchmark's type"))?;
        let mut bench = Self {
            client: client.clone(),
            issuer: Arc::new(issuer),
            models: Arc::new(models),
            serial: Arc::new(AtomicU64::new(run_number() * 1000)),
            value_size: 0,
        };
        bench.value_size = bench.prepare()?.submission.len();
        Ok(bench)
    }

    /// Bytes of one issued licence as it is submitted: what etcd is given to put.
    #[must_use]
    pub fn value_size(&self) -> usize {
        self.value_size
    }

    fn prepare(&self) -> Result<vermilion_client::Prepared, TestnetError> {
        let n = self.serial.fetch_add(1, Ordering::Relaxed);
        let (model, tags) = &self.models[(n as usize) % self.models.len()];
        let mut row = model.clone();
        let serial = format!("BM{n}");
        row.identifier = Identifier::build(&row.type_code, &row.authority_code, &serial, 1).map_err(setup)?.as_str().to_owned();
        row.number = serial;
        row.origin = vermilion_registry::content::RowOrigin::New;
        Ok(self.issuer.prepare(&row, tags)?)
    }

    /// Issues for `length`; salting, sealing and signing are counted in.
    pub async fn run(&self, clients: usize, length: Duration) -> Result<Measured, TestnetError> {
        Ok(closed_loop(clients, length, |_| {
            let bench = self.clone();
            move || {
                let bench = bench.clone();
                async move {
                    let prepared = bench.prepare()?;
                    bench.client.connection.submit(&prepared).await?.accepted()?;
                    Ok::<_, TestnetError>(())
                }
            }
        })
        .await)
    }
}

/// The identifier of a licence of the open type, issued for this run.
pub async fn open_licence(client: &Client) -> Result<String, TestnetError> {
    let bench = Singles::new(client).await?;
    let (model, tags) = &bench.models[0];
    let mut row = model.clone();
    let serial = format!("ST{}", run_number());
    row.identifier = Identifier::build(&row.type_code, &row.authority_code, &serial, 1).map_err(setup)?.as_str().to_owned();
    row.number = serial;
    row.origin = vermilion_registry::content::RowOrigin::New;
    client.connection.submit(&bench.issuer.prepare(&row, tags)?).await?.accepted()?;
    Ok(row.identifier)
}

/// Linearizable reads of one licence's status.
pub async fn status_reads(client: &Client, identifier: &str, clients: usize, length: Duration) -> Result<Measured, TestnetError> {
    Ok(closed_loop(clients, length, |_| {
        let (client, identifier) = (client.clone(), identifier.to_owned());
        move || {
            let (client, identifier) = (client.clone(), identifier.clone());
            async move { client.licence_status(&identifier, &StatusQuestion::default()).await.map(|_| ()) }
        }
    })
    .await)
}

/// Uses: recorded, then the content opened, sealed and opened again by the user.
pub async fn uses(client: &Client, identifier: &str, clients: usize, length: Duration) -> Result<Measured, TestnetError> {
    let sample = Sample::load()?;
    let unit = sample.unit_with_role("using-unit").ok_or_else(|| setup("the sample data has no using unit"))?;
    let desk = Arc::new(UseDesk::new(client, &unit.uscc).await?);
    let reference = client.name_licence(desk.asker()?, identifier).await?;
    Ok(closed_loop(clients, length, |_| {
        let (client, desk, reference) = (client.clone(), Arc::clone(&desk), reference.clone());
        move || {
            let (client, desk, reference) = (client.clone(), Arc::clone(&desk), reference.clone());
            async move {
                let request = UseRequest {
                    licences: vec![reference],
                    service_item: "bench".into(),
                    case: "BENCH-1".into(),
                    purpose: "benchmark".into(),
                    ..UseRequest::default()
                };
                desk.send(&client, &desk.prepare(&request)?).await.map(|_| ())
            }
        }
    })
    .await)
}

/// Rows that no ledger has: no two make the same identifier, of this run or of an earlier one (persons' numbers too, but for one
/// run in some hundreds that happens on another's persons).
pub fn fresh_rows(sample: &Sample, licences: usize) -> impl Iterator<Item = String> {
    let run = run_number();
    // A row takes longer to make than a microsecond, by which runs are counted.
    sample.licences_from(run, run, licences as u64)
}

/// A file of licences, issued 1,000 a command: reading, checking, salting, sealing, signing, vault
/// and all counted in. There is a rate and no latency: rows are reported in the file's order, many at once.
pub async fn bulk(client: &Client, rows: impl Iterator<Item = String>) -> Result<Measured, TestnetError> {
    let mut file = tempfile::NamedTempFile::new().map_err(setup)?;
    for line in rows {
        writeln!(file, "{line}").map_err(setup)?;
    }
    file.flush().map_err(setup)?;
    let begun = Instant::now();
    let summary = issue_file(client, file.path(), &IssueOptions::default(), &mut |_, _| Ok(())).await?;
    Ok(Measured::of(summary.accepted, summary.rejected, begun.elapsed()))
}

/// Issues one by one until the ledger holds enough records for the audit.
pub async fn enough_singles(client: &Client, wanted: u64, say: &mut dyn FnMut(&str)) -> Result<(), TestnetError> {
    let size = || async { Ok::<_, TestnetError>(client.connection.cluster().await?.nodes.iter().map(|n| n.size).max().unwrap_or(0)) };
    if size().await? >= wanted {
        return Ok(());
    }
    say("issuing one by one, for the audit");
    let bench = Singles::new(client).await?;
    while size().await? < wanted {
        bench.run(256, Duration::from_secs(2)).await?;
    }
    Ok(())
}

/// An audit and its limits, each at its best.
struct Audited {
    whole: Report,
    unsigned: Report,
    links: Report,
    limit: Limit,
    dalek: Limit,
}

impl Audited {
    fn measure(data: &Path) -> Result<Self, TestnetError> {
        let directory = Directory::open(data).map_err(setup)?;
        let audit = |signatures, replay| {
            let options = audit::Options { signatures, replay, ..Default::default() };
            audit::audit(&[&directory], &options, &|_, _, _, _| {}).map_err(setup)
        };
        let round = || {
            let whole = audit(true, true)?;
            let mut records = Vec::new();
            let from = whole.records.saturating_sub(50_000);
            audit::Source::records(&directory, from, &mut |_, record| {
                records.push(record.to_vec());
                true
            })
            .map_err(setup)?;
            let opened = audit::opened(&records);
            let (limit, dalek) = signature_limit(&opened).zip(dalek_limit(&opened)).ok_or_else(|| setup("no signatures to measure"))?;
            Ok(Self { whole, unsigned: audit(false, true)?, links: audit(false, false)?, limit, dalek })
        };
        let rounds = std::iter::repeat_with(round).take(super::ROUNDS).collect::<Result<Vec<Self>, TestnetError>>()?;
        rounds.into_iter().reduce(Self::better).ok_or_else(|| setup("nothing was measured"))
    }

    fn better(self, other: Self) -> Self {
        let report = |a: Report, b: Report| if b.records_per_second() > a.records_per_second() { b } else { a };
        let limit = |a: Limit, b: Limit| if b.rate > a.rate { b } else { a };
        Self {
            whole: report(self.whole, other.whole),
            unsigned: report(self.unsigned, other.unsigned),
            links: report(self.links, other.links),
            limit: limit(self.limit, other.limit),
            dalek: limit(self.dalek, other.dalek),
        }
    }
}

/// Audits a node's directory with every node stopped, and measures the machine's own limit on the same records.
pub async fn audit(dir: &Path, say: &mut dyn FnMut(&str)) -> Result<Value, TestnetError> {
    // Now: what was measured before may have started the nodes again.
    let mut testnet = cluster::load(dir)?;
    testnet.nodes.iter_mut().try_for_each(processes::stop)?;
    let Some(data) = testnet.nodes.last().map(|node| node.data_dir.clone()) else { return Err(setup("there is no node")) };
    say("measuring, in turn, the audit and the machine's limit for signatures");
    let (tell, told) = tokio::sync::oneshot::channel();
    // A thread of its own: whoever interrupts does not wait for it.
    std::thread::spawn(move || {
        let _ = tell.send(Audited::measure(&data));
    });
    let measured = told.await.map_err(setup)?;
    cluster::start(dir, &mut testnet, say).await?;
    let Audited { whole, unsigned, links, limit, dalek } = measured?;
    let ratio = |limit: &audit::Limit| (whole.signatures_per_second() / limit.rate.max(1.0) * 100.0).round() / 100.0;
    Ok(json!({
        "workload": "audit",
        "clients": 1,
        "records": whole.records,
        "clean": whole.clean,
        "rate": whole.records_per_second(),
        "signatures_per_second": whole.signatures_per_second(),
        "signature_limit": limit.rate.round(),
        "limit_batch": limit.batch,
        "ratio": ratio(&limit),
        "dalek_limit": dalek.rate.round(),
        "dalek_limit_batch": dalek.batch,
        "ratio_to_dalek": ratio(&dalek),
        "rate_without_signatures": unsigned.records_per_second(),
        "rate_hashes_chain_tree": links.records_per_second(),
    }))
}
