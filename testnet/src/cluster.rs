//! A running test ledger: up, populated, down.

use crate::authority::Term;
use crate::error::TestnetError;
use crate::layout::{self, Founding, SampleOperator, Testnet, sample_person, unit_message};
use crate::processes;
use crate::sample::Sample;
use std::path::Path;
use vermilion_client::client::Client;
use vermilion_client::manage::NewOperator;

/// What `up` is told.
#[derive(Clone, Debug)]
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

/// Starts a ledger in `dir`: a new one, or the one that is there. `say` hears what is being done.
pub async fn up(dir: &Path, options: &Up, say: &mut dyn FnMut(&str)) -> Result<Testnet, TestnetError> {
    if dir.join("testnet.json").exists() {
        let mut testnet = Testnet::load(dir)?;
        say("starting the nodes that are there");
        start(dir, &mut testnet).await?;
        return Ok(testnet);
    }
    let sample = Sample::load()?;
    let Founding { testnet, operators } = create(dir, options, &sample, say).await?;
    if !options.empty {
        populate(&testnet, &sample, operators, say).await?;
    }
    Ok(testnet)
}

/// Founds a new ledger in `dir` and starts its nodes; nothing is registered yet.
pub async fn create(dir: &Path, options: &Up, sample: &Sample, say: &mut dyn FnMut(&str)) -> Result<Founding, TestnetError> {
    say("making keys, genesis and configurations");
    let mut founding = layout::found(dir, options.nodes, options.base_port, options.tls, sample.units())?;
    say("starting the nodes");
    start(dir, &mut founding.testnet).await?;
    Ok(founding)
}

async fn start(dir: &Path, testnet: &mut Testnet) -> Result<(), TestnetError> {
    for at in 0..testnet.nodes.len() {
        if let Some(node) = testnet.nodes.get_mut(at) {
            processes::start(dir, node)?;
        }
        // After each: whoever cleans up finds every process that runs.
        testnet.save(dir)?;
    }
    processes::wait_ready(dir, &testnet.nodes).await
}

/// Stops the nodes cleanly; the data stays.
pub fn down(dir: &Path) -> Result<(), TestnetError> {
    let mut testnet = Testnet::load(dir)?;
    let stopped: Vec<_> = testnet.nodes.iter_mut().map(processes::stop).collect();
    testnet.save(dir)?;
    stopped.into_iter().collect()
}

/// Registers the sample units, their operators and the catalogue, each by the posts that must sign.
pub async fn populate(
    testnet: &Testnet,
    sample: &Sample,
    operators: Vec<SampleOperator>,
    say: &mut dyn FnMut(&str),
) -> Result<(), TestnetError> {
    let client = Client::open(&testnet.client)?;
    let city = client.managing_unit().to_owned();
    say("registering units");
    for unit in sample.units().iter().filter(|u| u.uscc != city) {
        client.register_unit(&city, unit_message(unit), None).await?;
    }
    say("registering operators");
    let asker = client.asker(Some(&city))?;
    for operator in operators {
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
        client.add_operator(&city, &new).await?;
    }
    say("publishing the catalogue");
    for entry in sample.catalogue()? {
        client.publish(&city, &entry).await?;
    }
    Ok(())
}
