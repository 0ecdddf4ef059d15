//! Three etcd nodes on this machine, as a measure: everybody knows how fast etcd is.

use super::gauge::{Measured, closed_loop};
use crate::error::TestnetError;
use etcd_client::{Client, Txn, TxnOp};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Connections that the clients share.
const CONNECTIONS: usize = 16;

/// Puts in a transaction: as many as etcd takes with its defaults.
pub const PUTS: usize = 128;

/// A cluster of etcd processes; killed when dropped.
pub struct Cluster {
    processes: Vec<Child>,
    clients: Vec<Client>,
    keys: Arc<AtomicU64>,
    _dir: tempfile::TempDir,
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for process in &mut self.processes {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

fn failed(e: impl std::fmt::Display) -> TestnetError {
    TestnetError::Setup(format!("etcd: {e}"))
}

impl Cluster {
    /// Starts three nodes with their defaults, on free ports, and finds their leader. Their files lie in `dir`, the ledger's: on
    /// another disk they would be a measure of that.
    pub async fn start(dir: &Path) -> Result<Self, TestnetError> {
        let dir = tempfile::Builder::new().prefix("etcd-").tempdir_in(dir).map_err(failed)?;
        let listeners: Result<Vec<TcpListener>, _> = (0..6).map(|_| TcpListener::bind("127.0.0.1:0")).collect();
        let ports: Result<Vec<u16>, std::io::Error> = listeners.map_err(failed)?.iter().map(|l| Ok(l.local_addr()?.port())).collect();
        let ports = ports.map_err(failed)?;
        let url = |n: usize| format!("http://127.0.0.1:{}", ports[n]);
        let cluster: Vec<String> = (0..3).map(|n| format!("e{n}={}", url(n + 3))).collect();
        let mut processes = Vec::new();
        for n in 0..3 {
            let log = std::fs::File::create(dir.path().join(format!("e{n}.log"))).map_err(failed)?;
            let child = Command::new("etcd")
                .args(["--name", &format!("e{n}"), "--data-dir"])
                .arg(dir.path().join(format!("e{n}")))
                .args(["--listen-client-urls", &url(n), "--advertise-client-urls", &url(n)])
                .args(["--listen-peer-urls", &url(n + 3), "--initial-advertise-peer-urls", &url(n + 3)])
                .args(["--initial-cluster", &cluster.join(","), "--initial-cluster-state", "new", "--log-level", "error"])
                .stdin(Stdio::null())
                .stdout(log.try_clone().map_err(failed)?)
                .stderr(log)
                .spawn()
                .map_err(|e| failed(format!("{e}; install it with: apt-get install etcd-server")))?;
            processes.push(child);
        }
        let mut started = Self { processes, clients: Vec::new(), keys: Arc::default(), _dir: dir };
        let leader = started.find_leader(&url).await?;
        for _ in 0..CONNECTIONS {
            started.clients.push(Client::connect([url(leader)], None).await.map_err(failed)?);
        }
        Ok(started)
    }

    async fn find_leader(&self, url: &impl Fn(usize) -> String) -> Result<usize, TestnetError> {
        for _ in 0..100 {
            for n in 0..3 {
                if let Ok(mut client) = Client::connect([url(n)], None).await
                    && let Ok(status) = client.status().await
                    && status.leader() != 0
                    && status.header().is_some_and(|h| h.member_id() == status.leader())
                {
                    return Ok(n);
                }
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Err(failed("no leader within 10 s"))
    }

    fn client(&self, n: usize) -> Client {
        self.clients[n % self.clients.len()].clone()
    }

    /// Puts of values of `size` bytes under new keys.
    pub async fn puts(&self, clients: usize, length: Duration, size: usize) -> Result<Measured, TestnetError> {
        let value = vec![b'v'; size];
        Ok(closed_loop(clients, length, |n| {
            let (client, keys, value) = (self.client(n), Arc::clone(&self.keys), value.clone());
            move || {
                let (mut client, value) = (client.clone(), value.clone());
                let key = format!("licence/{:012}", keys.fetch_add(1, Ordering::Relaxed));
                async move { client.put(key, value, None).await.map(|_| ()) }
            }
        })
        .await)
    }

    /// Transactions of [`PUTS`] puts each, of values of `size` bytes under new keys: what etcd makes of a batch. Counted are transactions.
    pub async fn transactions(&self, clients: usize, length: Duration, size: usize) -> Result<Measured, TestnetError> {
        let value = vec![b'v'; size];
        Ok(closed_loop(clients, length, |n| {
            let (client, keys, value) = (self.client(n), Arc::clone(&self.keys), value.clone());
            move || {
                let mut client = client.clone();
                let first = keys.fetch_add(PUTS as u64, Ordering::Relaxed);
                let put = |n| TxnOp::put(format!("licence/{:012}", first + n), value.clone(), None);
                let puts: Vec<TxnOp> = (0..PUTS as u64).map(put).collect();
                async move { client.txn(Txn::new().and_then(puts)).await.map(|_| ()) }
            }
        })
        .await)
    }

    /// One put, for what is read later.
    pub async fn put_one(&self, key: &str, size: usize) -> Result<(), TestnetError> {
        self.client(0).put(key, vec![b'v'; size], None).await.map(|_| ()).map_err(failed)
    }

    /// Linearizable gets of one key.
    pub async fn gets(&self, clients: usize, length: Duration, key: &'static str) -> Result<Measured, TestnetError> {
        Ok(closed_loop(clients, length, |n| {
            let client = self.client(n);
            move || {
                let mut client = client.clone();
                async move { client.get(key, None).await.map(|_| ()) }
            }
        })
        .await)
    }
}
