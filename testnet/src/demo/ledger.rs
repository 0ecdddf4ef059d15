//! Looking at the ledger itself: its size, its records, whether all nodes are the same.

use super::deviation;
use crate::error::TestnetError;
use std::time::{Duration, Instant};
use vermilion_client::client::Client;
use vermilion_proto::{NodeStatus, RecordsRequest, StoredRecord};
use vermilion_registry::stored::{OpenRecord, open_record};

/// How long nodes may take to be the same once nothing more comes.
const SETTLE: Duration = Duration::from_secs(15);

/// How many records the leader has.
pub async fn size(client: &Client) -> Result<u64, TestnetError> {
    Ok(client.connection.cluster().await?.nodes.iter().map(|n| n.size).max().unwrap_or(0))
}

/// The records from `from` to before `to`, as the leader has them.
pub async fn records(client: &Client, from: u64, to: u64) -> Result<Vec<(StoredRecord, OpenRecord)>, TestnetError> {
    if from >= to {
        return Ok(Vec::new());
    }
    let leader = client.connection.cluster().await?.leader;
    let at = client.connection.names().position(|name| name == leader).unwrap_or(0);
    let mut node = client.connection.client_of(at)?;
    let request = client.connection.signed(&client.asker(None)?, "records", RecordsRequest { from, to })?;
    let failed = |why: &str| deviation(format!("{leader} does not give records: {why}"));
    let mut stream = node.records(request).await.map_err(|s| failed(s.message()))?.into_inner();
    let mut found = Vec::new();
    while let Some(stored) = stream.message().await.map_err(|s| failed(s.message()))? {
        let open = open_record(&stored).map_err(|e| deviation(format!("a record does not read: {e}")))?;
        found.push((stored, open));
    }
    if found.len() as u64 != to - from {
        return Err(deviation(format!("{leader} gave {} records instead of {}", found.len(), to - from)));
    }
    Ok(found)
}

/// One record.
pub async fn record(client: &Client, seq: u64) -> Result<(StoredRecord, OpenRecord), TestnetError> {
    records(client, seq, seq + 1).await?.pop().ok_or_else(|| deviation(format!("record {seq} is not there")))
}

/// Waits until every node has the same records and a checkpoint covers them all.
pub async fn settled(client: &Client, nodes: usize) -> Result<Vec<NodeStatus>, TestnetError> {
    client.connection.checkpoint(0, Some(&client.asker(None)?)).await?;
    let until = Instant::now() + SETTLE;
    loop {
        let found = client.connection.cluster().await?.nodes;
        let same = found.len() == nodes && found.windows(2).all(|w| matches!(w, [a, b] if a.size == b.size && a.chain == b.chain));
        if same && found.iter().all(|n| n.checkpoint_size == n.size) {
            return Ok(found);
        }
        if Instant::now() > until {
            let seen: Vec<String> = found.iter().map(|n| format!("{} {} of {}", n.name, n.checkpoint_size, n.size)).collect();
            return Err(deviation(format!("the nodes do not come to the same records under a checkpoint: {}", seen.join(", "))));
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
