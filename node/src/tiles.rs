//! C2SP tlog-tiles over HTTP: the newest published checkpoint, the tree's tiles and the leaves, for
//! whoever verifies with tools of their own. Leaves are hashes, numbers and times, so all is public.
//!
//! What one request may cost: a look at the edge in memory, or one row of at most 38 KiB; for a bundle
//! that an older version of the program did not keep, 256 records read, by one request at a time.

use crate::answers::internal;
use crate::edge::bundle_from_records;
use crate::node::Node;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderName, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use std::sync::Arc;
use vermilion_ledger::{Shelf, TILE_WIDTH, TileName, TileStore as _, bundle_part};
use vermilion_storage::StorageError;

/// A tile's bytes never change: a year, the longest that caches heed.
const FOR_EVER: (HeaderName, &str) = (header::CACHE_CONTROL, "public, max-age=31536000, immutable");
/// What is not there may come: no cache may remember that it was missing.
const NOT_KEPT: (HeaderName, &str) = (header::CACHE_CONTROL, "no-store");

/// Why there are no bytes.
enum Missing {
    /// No such path, beyond what is published, or a partial tile whose full one is there.
    NotThere,
    /// After a crash, until the log is applied again as far as the published checkpoint; of a node that
    /// took a state from another, until its history is whole.
    NotYet,
    /// The store.
    Failed(String),
}

impl From<StorageError> for Missing {
    fn from(error: StorageError) -> Self {
        Self::Failed(error.to_string())
    }
}

/// The newest published checkpoint: a C2SP signed note with cosignatures.
#[utoipa::path(get, path = "/checkpoint", operation_id = "note", responses((status = 200, content_type = "text/plain; charset=utf-8"), (status = 404)))]
pub async fn checkpoint(State(node): State<Arc<Node>>) -> Response {
    match node.witness.published() {
        Ok(Some((_, note))) => {
            let fresh = (header::CACHE_CONTROL, "no-cache");
            ([(header::CONTENT_TYPE, "text/plain; charset=utf-8"), fresh], note).into_response()
        }
        Ok(None) => (StatusCode::NOT_FOUND, [NOT_KEPT], "there is no published checkpoint yet\n").into_response(),
        Err(error) => failed(&error),
    }
}

/// A tile `/tile/<L>/<N>[.p/<W>]` or an entry bundle `/tile/entries/<N>[.p/<W>]`, as C2SP tlog-tiles
/// has them: what the newest published checkpoint covers, and of a tile that is full only the full one.
#[utoipa::path(get, path = "/tile/{path}", params(("path" = String, Path, description = "level and index, as tlog-tiles writes them")),
    responses((status = 200, content_type = "application/octet-stream"), (status = 404), (status = 503)))]
pub async fn tile(State(node): State<Arc<Node>>, uri: Uri) -> Response {
    // The path as it was sent: a tile has one, without escapes.
    let read = match uri.path().strip_prefix('/').and_then(TileName::parse) {
        Some(name) => read(&node, name).await,
        None => Err(Missing::NotThere),
    };
    match read {
        Ok(bytes) => ([(header::CONTENT_TYPE, "application/octet-stream"), FOR_EVER], bytes).into_response(),
        Err(Missing::NotThere) => (StatusCode::NOT_FOUND, [NOT_KEPT], "there is no such tile\n").into_response(),
        Err(Missing::NotYet) => {
            let headers = [NOT_KEPT, (header::RETRY_AFTER, "1")];
            (StatusCode::SERVICE_UNAVAILABLE, headers, "the node is still applying its log or fetching its history: ask again\n")
                .into_response()
        }
        Err(Missing::Failed(error)) => failed(&error),
    }
}

fn failed(error: &dyn std::fmt::Display) -> Response {
    let refusal = internal(error);
    (StatusCode::INTERNAL_SERVER_ERROR, [NOT_KEPT], format!("{}\n", refusal.reason.english())).into_response()
}

async fn read(node: &Node, name: TileName) -> Result<Bytes, Missing> {
    let published = node.witness.published_size().ok_or(Missing::NotThere)?;
    let covered = |name: TileName| name.tree_size().is_some_and(|size| size <= published);
    if !covered(name) || name.width < TILE_WIDTH && covered(name.full()) {
        return Err(Missing::NotThere);
    }
    if node.edge.size() < published {
        return Err(Missing::NotYet);
    }
    // Of the history that is still being fetched.
    let first = node.store.history_from()?;
    let missing_yet = |name: TileName| TileName { width: 1, ..name }.tree_size().is_some_and(|size| first > 1 && size <= first);
    // The edge first: what is no longer there by the time that it is looked at is in the store.
    let missing = || Missing::Failed(format!("{name} is not stored"));
    match name.shelf {
        Shelf::Hashes(level) => {
            if let Some(bytes) = node.edge.hashes(level, name.index, name.width) {
                return Ok(bytes.into());
            }
            let Some(mut bytes) = node.store.tile(level, name.index)? else {
                return Err(if missing_yet(name) { Missing::NotYet } else { missing() });
            };
            bytes.truncate(name.width * 32);
            Ok(bytes.into())
        }
        Shelf::Entries => {
            if let Some(bytes) = node.edge.entries(name.index, name.width) {
                return Ok(bytes.into());
            }
            let bytes = match node.store.entries(name.index)? {
                Some(bytes) => bytes,
                None if missing_yet(name) => return Err(Missing::NotYet),
                None => from_records(node, name.index).await?.ok_or_else(missing)?,
            };
            let damaged = || Missing::Failed(format!("{name} is stored, but is no bundle of so many leaves"));
            Ok(bundle_part(&bytes, name.width).ok_or_else(damaged)?.to_vec().into())
        }
    }
}

async fn from_records(node: &Node, index: u64) -> Result<Option<Vec<u8>>, Missing> {
    // The semaphore is never closed.
    let _one = node.bundling.acquire().await.map_err(|e| Missing::Failed(e.to_string()))?;
    let made = tokio::task::block_in_place(|| bundle_from_records(&node.store, index)).map_err(|e| Missing::Failed(e.to_string()))?;
    if let Some(bundle) = &made {
        node.store.put_entries(index, bundle)?;
    }
    Ok(made)
}
