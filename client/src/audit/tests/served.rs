//! A place that serves tiles, in this process: it answers what it was given, and notes what was posted.

use super::sample::Sample;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use vermilion_ledger::{Tree, leaf_hash, tile_path};
use vermilion_registry::stored::open_record;

#[derive(Clone, Default)]
pub struct Served {
    pub base: String,
    pub files: Arc<Mutex<BTreeMap<String, Vec<u8>>>>,
    pub posted: Arc<Mutex<Vec<String>>>,
    /// Paths of which it says that it cannot serve them yet.
    pub not_yet: Arc<Mutex<BTreeSet<String>>>,
    /// How long answers of some paths take.
    pub slow: Arc<Mutex<BTreeMap<String, Duration>>>,
    /// What was asked for.
    pub asked: Arc<Mutex<Vec<String>>>,
}

impl Served {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let served = Self { base: format!("http://{}", listener.local_addr().unwrap()), ..Self::default() };
        let serving = served.clone();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let serving = serving.clone();
                tokio::spawn(async move {
                    let mut asked = Vec::new();
                    let mut part = [0; 4096];
                    let (head, body) = loop {
                        let read = stream.read(&mut part).await.unwrap_or(0);
                        asked.extend_from_slice(&part[..read]);
                        let text = String::from_utf8_lossy(&asked).into_owned();
                        if let Some((head, body)) = text.split_once("\r\n\r\n") {
                            let length =
                                head.lines().find_map(|l| l.to_lowercase().strip_prefix("content-length: ")?.parse::<usize>().ok());
                            if body.len() >= length.unwrap_or(0) {
                                break (head.to_owned(), body.to_owned());
                            }
                        }
                        if read == 0 {
                            return;
                        }
                    };
                    let path = head.split(' ').nth(1).unwrap_or_default().trim_start_matches('/').to_owned();
                    let found = if head.starts_with("POST") {
                        serving.posted.lock().unwrap().push(body);
                        Some(Vec::new())
                    } else {
                        serving.files.lock().unwrap().get(&path).cloned()
                    };
                    let status = match found {
                        _ if serving.not_yet.lock().unwrap().contains(&path) => "503 Service Unavailable",
                        Some(_) => "200 OK",
                        None => "404 Not Found",
                    };
                    let slow = serving.slow.lock().unwrap().get(&path).copied().unwrap_or_default();
                    serving.asked.lock().unwrap().push(path);
                    tokio::time::sleep(slow).await;
                    let body = found.unwrap_or_default();
                    let head = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
                    let _ = stream.write_all(&[head.as_bytes(), &body].concat()).await;
                });
            }
        });
        served
    }

    pub fn put(&self, path: &str, bytes: Vec<u8>) {
        self.files.lock().unwrap().insert(path.into(), bytes);
    }

    /// Serves everything up to a checkpoint of the sample.
    pub fn publish(&self, sample: &Sample, size: u64) {
        let leaves: Vec<Vec<u8>> = sample.records[..size as usize].iter().map(|r| open_record(r).unwrap().leaf.encode()).collect();
        let bundle = |leaves: &[Vec<u8>]| leaves.iter().flat_map(|leaf| [&(leaf.len() as u16).to_be_bytes()[..], leaf].concat()).collect();
        let mut tree = Tree::new();
        for (n, chunk) in leaves.chunks(256).enumerate() {
            self.put(&tile_path(0, n as u64, chunk.len()).replacen("tile/0/", "tile/entries/", 1), bundle(chunk));
            for leaf in chunk {
                for tile in tree.append(leaf_hash(leaf)) {
                    self.put(&tile_path(tile.level, tile.index, 256), tile.bytes);
                }
            }
        }
        for level in 0..3 {
            if let Some((index, bytes)) = tree.partial_tile(level) {
                self.put(&tile_path(level, index, bytes.len() / 32), bytes);
            }
        }
        self.put("checkpoint", sample.checkpoints[&size].clone());
    }
}
