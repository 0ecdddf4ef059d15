//! The log as outsiders see it: checkpoint, tiles, leaves and consistency over HTTP, from every node.

use base64::prelude::{BASE64_STANDARD, Engine as _};
use vermilion_ledger::{Checkpoint, Digest, SignedNote, TILE_WIDTH, Tree, bundle_entries, check_consistency, leaf_hash, tile_path, verify};
use vermilion_tests::http::Answer;
use vermilion_tests::{Ledger, http, inspection, until};

async fn checkpoint(address: &str) -> (Checkpoint, Vec<u8>) {
    let answer = http::get(address, "/checkpoint").await;
    assert_eq!((answer.code, answer.header("content-type")), (200, Some("text/plain; charset=utf-8")));
    assert_eq!(answer.header("cache-control"), Some("no-cache"));
    (Checkpoint::parse(SignedNote::parse(&answer.body).unwrap().body()).unwrap(), answer.body)
}

/// A tile that must be there, with the headers of the specification.
async fn tile(address: &str, path: &str) -> Vec<u8> {
    let answer = http::get(address, &format!("/{path}")).await;
    assert_eq!((answer.code, answer.header("content-type")), (200, Some("application/octet-stream")), "{path}");
    assert_eq!(answer.header("cache-control"), Some("public, max-age=31536000, immutable"), "{path}");
    answer.body
}

async fn absent(address: &str, path: &str) -> Answer {
    let answer = http::get(address, &format!("/{path}")).await;
    assert_eq!((answer.code, answer.header("cache-control")), (404, Some("no-store")), "{path}");
    answer
}

/// Reads the whole log below a checkpoint, leaves and every tile of every level, and compares it with
/// the signed root and with itself. Returns the tree.
async fn read_whole(address: &str, of: &Checkpoint) -> Tree {
    let (mut tree, mut full) = (Tree::new(), Vec::new());
    let mut hashes: Vec<u8> = Vec::new();
    while tree.size() < of.size {
        let index = tree.size() / TILE_WIDTH as u64;
        let width = (of.size - tree.size()).min(TILE_WIDTH as u64) as usize;
        let name = tile_path(0, index, width);
        let bundle = tile(address, &name.replacen("tile/0/", "tile/entries/", 1)).await;
        let entries = bundle_entries(&bundle).unwrap();
        assert_eq!(entries.len(), width);
        let level_0 = tile(address, &name).await;
        for (entry, hash) in entries.iter().zip(level_0.as_chunks::<32>().0) {
            assert!([84, 148].contains(&entry.len()) && leaf_hash(entry) == *hash);
            full.extend(tree.append(*hash));
        }
        hashes.extend(level_0);
    }
    assert_eq!((tree.root(), hashes.len() as u64), (of.root, of.size * 32));
    for stored in full.iter().filter(|tile| tile.level > 0) {
        assert_eq!(tile(address, &tile_path(stored.level, stored.index, 256)).await, stored.bytes);
    }
    for level in 0..8 {
        if let Some((index, bytes)) = tree.partial_tile(level) {
            assert_eq!(tile(address, &tile_path(level, index, bytes.len() / 32)).await, bytes);
        }
    }
    tree
}

async fn grow(ledger: &Ledger, records: usize) {
    let city = ledger.client.managing_unit().to_owned();
    let unit = ledger.sample.unit_with_role("using-unit").unwrap().uscc.clone();
    for _ in 0..records / 2 {
        for suspended in [true, false] {
            ledger.client.change_unit(&city, &unit, suspended, &inspection()).await.unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_node_serves_the_whole_log_and_nothing_beyond_it() {
    let mut ledger = Ledger::start().await;
    grow(&ledger, 40).await;
    ledger.settled().await;
    let address = ledger.nodes()[0].http.clone();
    let (first, first_note) = checkpoint(&address).await;
    assert!(first.size < 256, "the sample ledger has grown: {}", first.size);
    let early = read_whole(&address, &first).await;
    absent(&address, "tile/0/000").await;
    absent(&address, "tile/1/000.p/1").await;

    // Beyond a full tile of level 0: readers meanwhile find every checkpoint whole.
    let reader = {
        let address = ledger.nodes()[1].http.clone();
        tokio::spawn(async move {
            let mut seen: Vec<u64> = Vec::new();
            while seen.last().is_none_or(|size| *size < 256) {
                let (of, _) = checkpoint(&address).await;
                // A partial tile goes when its full one comes: then a newer checkpoint is there too.
                let width = (of.size % 256) as usize;
                let partial = tile_path(0, of.size / 256, width);
                if width > 0 && http::get(&address, &format!("/{partial}")).await.code == 404 {
                    let (newer, _) = checkpoint(&address).await;
                    assert!(newer.size / 256 > of.size / 256, "{partial} is gone at {}", newer.size);
                    tile(&address, &tile_path(0, of.size / 256, 256)).await;
                }
                seen.push(of.size);
                // Paced, so that the ledger grows meanwhile.
                tokio::time::sleep(std::time::Duration::from_millis(10)).await;
            }
            assert!(seen.is_sorted());
        })
    };
    grow(&ledger, 320 - first.size as usize).await;
    reader.await.unwrap();
    let size = ledger.settled().await;
    assert!((257..2 * 256).contains(&size), "{size}");
    for node in ledger.nodes() {
        let published = until("the newest checkpoint", async || {
            let (of, note) = checkpoint(&node.http).await;
            (of.size == size).then_some((of, note))
        })
        .await;
        let trust = ledger.trust();
        verify(&published.1, &trust).unwrap().check_quorum(&trust).unwrap();
        let tree = read_whole(&node.http, &published.0).await;
        // Of a tile that is full there is only the full one; nothing is empty and nothing beyond the end.
        for gone in ["tile/0/000.p/255", "tile/0/000.p/1", "tile/entries/000.p/7"] {
            absent(&node.http, gone).await;
        }
        let width = size as usize % 256;
        for beyond in [
            tile_path(0, 1, width + 1),
            tile_path(0, 1, 256),
            tile_path(0, 2, 1),
            tile_path(1, 0, 2),
            tile_path(1, 0, 256),
            tile_path(2, 0, 1),
            tile_path(63, 0, 256),
            "tile/0/x001/000".into(),
            format!("tile/entries/001.p/{}", width + 1),
            "tile/entries/001".into(),
        ] {
            absent(&node.http, &beyond).await;
        }
        for other in
            ["tile/0/0", "tile/00/000", "tile/0/x000/000", "tile/0/000/", "tile/0/%30%30%30", "tile/8/0/000", "tile/64/000", "tile/"]
        {
            assert_eq!(http::get(&node.http, &format!("/{other}")).await.code, 404, "{other}");
        }
        // An earlier width of the tile that is still growing stays.
        assert_eq!(tile(&node.http, &tile_path(0, 1, 1)).await, leaf_at(&tree, 256));

        let answer = http::get(&node.http, &format!("/v1/consistency?from={}&to={size}", first.size)).await;
        let proof: Vec<Digest> = hashes(&answer.json()["proof"]);
        check_consistency(first.size, &first.root, size, &published.0.root, &proof).unwrap();
        assert_eq!(early.root(), first.root);
        let told = SignedNote::parse(answer.json()["from_checkpoint"].as_str().unwrap().as_bytes()).unwrap();
        assert_eq!(told.body(), SignedNote::parse(&first_note).unwrap().body());
        for (from, to) in [(size, first.size), (first.size, size + 1), (first.size + 1, size), (0, size)] {
            let answer = http::get(&node.http, &format!("/v1/consistency?from={from}&to={to}")).await;
            // There may be a checkpoint one record later; no proof of it is asked for here.
            assert!(answer.code == 404 || from == first.size + 1, "{from} to {to}: {}", answer.text());
        }
        // A number has one form.
        for sizes in [format!("from=0{}&to={size}", first.size), format!("from={}&to=%2B{size}", first.size), "from=&to=1".to_owned()] {
            assert_eq!(http::get(&node.http, &format!("/v1/consistency?{sizes}")).await.code, 400, "{sizes}");
        }
    }

    // The same after a crash of all: the checkpoint stands before the log is applied again, its tiles follow.
    for name in ledger.names() {
        ledger.kill(&name);
    }
    ledger.start_all().await;
    for node in ledger.nodes() {
        let (of, _) = checkpoint(&node.http).await;
        assert!(of.size >= size);
        until("the tiles of the published checkpoint", async || {
            let answer = http::get(&node.http, &format!("/{}", tile_path(0, of.size / 256, of.size as usize % 256))).await;
            assert!([200, 503].contains(&answer.code));
            (answer.code == 200).then_some(())
        })
        .await;
        read_whole(&node.http, &of).await;
    }
}

fn hashes(list: &serde_json::Value) -> Vec<Digest> {
    list.as_array().unwrap().iter().map(|h| BASE64_STANDARD.decode(h.as_str().unwrap()).unwrap().try_into().unwrap()).collect()
}

/// The first hash of a tree's partial tile of level 0.
fn leaf_at(tree: &Tree, at: u64) -> Vec<u8> {
    let (index, bytes) = tree.partial_tile(0).unwrap();
    assert_eq!(index * 256, at);
    bytes[..32].to_vec()
}
