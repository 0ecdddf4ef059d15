//! Witnesses outside the ledger's own nodes (C2SP tlog-witness): each is shown every newest checkpoint
//! with the proof that it continues what the witness saw before, and answers with its cosignature.
//!
//! [`protocol`] is the bytes, [`client`] the question over HTTP or HTTPS, [`feeder`] the task that keeps one
//! witness fed. Nothing here can stop the node or hold up a block: a witness that is down, slow or
//! lying costs its cosignature, and where the configuration says `closed`, publication.

pub mod client;
pub mod feeder;
pub mod protocol;

use crate::config::{Config, ConfigError};
use crate::edge::Edge;
use crate::metrics::Metrics;
use crate::peers::Peers;
use crate::witness::WitnessOffice;
use client::WitnessClient;
use feeder::Feeder;
use std::sync::Arc;
use std::time::Duration;
use vermilion_storage::Store;

/// One task for each witness of the configuration that has an address. An error if one cannot be asked as configured.
pub fn feeders(
    config: &Config,
    office: &Arc<WitnessOffice>,
    peers: &Peers,
    id: u64,
    store: &Store,
    edge: &Arc<Edge>,
    metrics: &Arc<Metrics>,
) -> Result<Vec<Feeder>, ConfigError> {
    let trust = office.trust();
    let asked = config.witness.iter().zip(&trust.policy().outside);
    asked
        .filter_map(|(entry, witness)| Some((entry, entry.url.as_deref()?, witness)))
        .map(|(entry, url, witness)| {
            let timeout = Duration::from_millis(entry.timeout_ms);
            Ok(Feeder {
                client: WitnessClient::new(url, entry.ca.as_deref(), witness.clone(), timeout)?,
                key: entry.key.clone(),
                office: Arc::clone(office),
                peers: peers.clone(),
                id,
                store: store.clone(),
                edge: Arc::clone(edge),
                metrics: Arc::clone(metrics),
            })
        })
        .collect()
}
