//! A running test ledger: up, populated, down.

use crate::authority::Term;
use crate::description::Testnet;
use crate::error::TestnetError;
use crate::layout::{self, Founding, SampleOperator, sample_person, unit_message};
use crate::processes::{self, READY};
use crate::sample::Sample;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::{Duration, Instant};
use vermilion_client::client::Client;
use vermilion_client::manage::{NewOperator, Unlisted};
use vermilion_client::{ClientError, Recorded};
use vermilion_registry::admission::State;
use vermilion_registry::reason::Reason;

/// How long nodes may take to become ready before the ledger is asked whether it lets all of them in.
const SOON: Duration = Duration::from_secs(10);

/// What `up` is told of a new ledger.
#[derive(Clone, Copy, Debug)]
pub struct Up {
    /// How many nodes.
    pub nodes: usize,
    /// The first of the ports, two for each node and one for enrolment; free ones otherwise.
    pub base_port: Option<u16>,
    /// Have nodes and clients connect over TLS, with certificates of this time.
    pub tls: Option<Term>,
    /// Leave the ledger without units and catalogue.
    pub empty: bool,
}

/// Starts a ledger in `dir`: a new one, or the one that is there, and registers what it is to begin with, as far as that was not
/// done. `say` hears what is being done. If it fails, the nodes that it started are stopped.
pub async fn up(dir: &Path, options: &Up, say: &mut dyn FnMut(&str)) -> Result<Testnet, TestnetError> {
    let sample = Sample::load()?;
    let mut testnet = if Testnet::is_there(dir) {
        say("starting the nodes that are there");
        load(dir)?
    } else {
        found(dir, options, &sample, say)?.testnet
    };
    let stood = running(&testnet);
    let brought = bring_up(dir, &mut testnet, &sample, say).await;
    leave_as_it_was(dir, &mut testnet, &stood, &brought);
    brought.map(|()| testnet)
}

/// The ledger in `dir`, with the processes that are its nodes': what was noted may be another program's by now.
pub fn load(dir: &Path) -> Result<Testnet, TestnetError> {
    let mut testnet = Testnet::load(dir)?;
    processes::adopt(dir, &mut testnet.nodes);
    Ok(testnet)
}

/// Founds a new ledger in `dir` and starts its nodes; nothing is registered yet.
pub async fn create(dir: &Path, options: &Up, sample: &Sample, say: &mut dyn FnMut(&str)) -> Result<Founding, TestnetError> {
    let mut founding = found(dir, options, sample, say)?;
    let started = start(dir, &mut founding.testnet, say).await;
    leave_as_it_was(dir, &mut founding.testnet, &BTreeSet::new(), &started);
    started.map(|()| founding)
}

fn found(dir: &Path, options: &Up, sample: &Sample, say: &mut dyn FnMut(&str)) -> Result<Founding, TestnetError> {
    say("making keys, genesis and configurations");
    let founding = layout::found(dir, options, sample.units())?;
    say("starting the nodes");
    Ok(founding)
}

async fn bring_up(dir: &Path, testnet: &mut Testnet, sample: &Sample, say: &mut dyn FnMut(&str)) -> Result<(), TestnetError> {
    start(dir, testnet, say).await?;
    if testnet.populated || testnet.empty {
        return Ok(());
    }
    populate(testnet, sample, layout::operators(dir, sample.units())?, say).await?;
    testnet.populated = true;
    testnet.save(dir)
}

/// The names of the nodes that run.
fn running(testnet: &Testnet) -> BTreeSet<String> {
    testnet.nodes.iter().filter(|node| processes::runs(node)).map(|node| node.name.clone()).collect()
}

/// After a failure stops every node but those that stood before.
fn leave_as_it_was(dir: &Path, testnet: &mut Testnet, stood: &BTreeSet<String>, result: &Result<(), TestnetError>) {
    if result.is_err() {
        processes::stop_all(testnet.nodes.iter_mut().filter(|node| !stood.contains(&node.name)));
        // Whoever looks for them sees that they do not run.
        let _ = testnet.save(dir);
    }
}

/// Starts every node that does not run, and waits until all are ready. One that the ledger has banned, or let in no longer, is left
/// out: it ends as soon as it starts, or answers nobody, and the others go on without it.
pub(crate) async fn start(dir: &Path, testnet: &mut Testnet, say: &mut dyn FnMut(&str)) -> Result<(), TestnetError> {
    for at in 0..testnet.nodes.len() {
        if let Some(node) = testnet.nodes.get_mut(at) {
            processes::start(dir, node)?;
        }
        // After each: whoever cleans up finds every process that runs.
        testnet.save(dir)?;
    }
    let end = Instant::now() + READY;
    let mut waited_for = testnet.nodes.clone();
    loop {
        let Err(late) = processes::wait_ready(dir, &waited_for, SOON).await else { return Ok(()) };
        let out = match shut_out(testnet).await {
            Ok(out) => out,
            // While no node leads, nobody is asked.
            Err(_) if Instant::now() < end && running(testnet).len() * 2 > testnet.nodes.len() => {
                tokio::time::sleep(Duration::from_secs(1)).await;
                continue;
            }
            Err(_) => return Err(late),
        };
        let before = waited_for.len();
        waited_for.retain(|node| !out.contains_key(&node.name));
        for node in testnet.nodes.iter_mut().filter(|node| out.contains_key(&node.name)) {
            say(&format!("leaving out {}: its admission is {}", node.name, out.get(&node.name).copied().unwrap_or_default()));
            processes::stop(node)?;
        }
        testnet.save(dir)?;
        if waited_for.len() == before {
            return processes::wait_ready(dir, &waited_for, end.saturating_duration_since(Instant::now())).await;
        }
    }
}

/// The nodes that the ledger let in and does no longer, each with where its admission stands.
async fn shut_out(testnet: &Testnet) -> Result<BTreeMap<String, &'static str>, ClientError> {
    let known = Client::open(&testnet.client)?.admissions("").await?;
    let out = known.iter().filter_map(|admission| {
        let state = State::from_number(admission.state)?;
        let is_out = matches!(state, State::Disconnected | State::Banned | State::Remedied | State::Retired);
        let name = admission.subject.strip_prefix("node/")?;
        is_out.then(|| (name.to_owned(), state.name()))
    });
    Ok(out.collect())
}

/// Stops the nodes cleanly; the data stays.
pub fn down(dir: &Path) -> Result<(), TestnetError> {
    let mut testnet = load(dir)?;
    let stopped: Vec<_> = testnet.nodes.iter_mut().map(processes::stop).collect();
    testnet.save(dir)?;
    stopped.into_iter().collect()
}

/// Registers the sample units, their operators and the catalogue, each by the posts that must sign. What is there already stays
/// as it is.
pub async fn populate(
    testnet: &Testnet,
    sample: &Sample,
    operators: Vec<SampleOperator>,
    say: &mut dyn FnMut(&str),
) -> Result<(), TestnetError> {
    let client = Client::open(&testnet.client)?;
    let city = client.managing_unit().to_owned();
    say("registering units");
    let known: BTreeSet<String> = client.units().await?.into_iter().filter_map(|state| state.unit).map(|unit| unit.uscc).collect();
    for unit in sample.units().iter().filter(|unit| !known.contains(&unit.uscc)) {
        there(client.register_unit(&city, unit_message(unit), None).await)?;
    }
    say("registering operators");
    let asker = client.asker(Some(&city))?;
    let states = client.connection.query("operators", "", Some(&asker)).await?.operators;
    let known: BTreeSet<Vec<u8>> = states.into_iter().filter_map(|state| state.operator).map(|operator| operator.public_key).collect();
    for operator in operators.into_iter().filter(|operator| !known.contains(&operator.key.public().0[..])) {
        let person = client.person_tag(&asker, "999", &sample_person(&operator.unit, operator.person)).await?;
        let new = NewOperator {
            unit: operator.unit,
            key: operator.key.public(),
            posts: vec![operator.post.into()],
            person,
            name: None,
            from_ms: 0,
            until_ms: 0,
        };
        there(client.add_operator(&city, &new).await)?;
    }
    say("publishing the catalogue");
    for entry in sample.catalogue()? {
        client.publish(&city, &entry, Unlisted::Stay).await?;
    }
    Ok(())
}

/// That something is registered already, as by a command whose answer nobody waited for, is as good as registering it.
fn there(registered: Result<Recorded, ClientError>) -> Result<(), ClientError> {
    match registered {
        Err(error) if error.refusal().is_some_and(|refusal| refusal.reason == Reason::AlreadyExists) => Ok(()),
        other => other.map(drop),
    }
}
