//! Keyed tags: asked of a node, because only nodes hold the lookup key, and remembered.

use crate::client::Client;
use crate::error::ClientError;
use crate::person::person_code;
use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use vermilion_crypto::{SigningKey, Tag};
use vermilion_proto::{TagRequest, TagsRequest};
use vermilion_registry::content::TagInput;

/// Tags of one request.
const BATCH: usize = 2048;
/// Tags remembered; beyond, all are forgotten and asked again.
const REMEMBERED: usize = 100_000;

type Name = (&'static str, String, String);

/// Tags that were asked before, by what they stand for. In memory alone: the names are personal.
#[derive(Default)]
pub(crate) struct TagCache(Mutex<HashMap<Name, Tag>>);

impl TagCache {
    fn known(&self) -> MutexGuard<'_, HashMap<Name, Tag>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Client {
    /// The keyed tags of these inputs, in their order, asked by the holder of `key`.
    pub async fn tags(&self, key: &SigningKey, inputs: Vec<TagInput>) -> Result<Vec<Tag>, ClientError> {
        let cache = self.tag_cache();
        let names: Vec<Name> = inputs.into_iter().map(|TagInput { kind, code_type, value }| (kind, code_type, value)).collect();
        let mut tags: Vec<Option<Tag>> = {
            let known = cache.known();
            names.iter().map(|name| known.get(name).copied()).collect()
        };
        // Each is asked for once, however often it stands here.
        let mut missing: Vec<usize> = tags.iter().enumerate().filter(|(_, tag)| tag.is_none()).map(|(at, _)| at).collect();
        missing.sort_by_key(|at| names.get(*at));
        let same: Vec<&[usize]> = missing.chunk_by(|a, b| names.get(*a) == names.get(*b)).collect();
        for batch in same.chunks(BATCH) {
            let asked: Vec<&Name> = batch.iter().filter_map(|of| names.get(*of.first()?)).collect();
            let ask = |mut node: vermilion_proto::ledger_client::LedgerClient<tonic::transport::Channel>| {
                let one = |n: &&Name| TagRequest { kind: n.0.into(), code_type: n.1.clone(), value: n.2.clone() };
                let request = self.connection.signed(key, "tags", TagsRequest { requests: asked.iter().map(one).collect() });
                async move { node.tags(request.map_err(|e| tonic::Status::invalid_argument(e.to_string()))?).await }
            };
            let reply = self.connection.ask(ask).await?;
            if reply.tags.len() != asked.len() {
                return Err(ClientError::BadAnswer("there is not one tag for each question".into()));
            }
            let mut known = cache.known();
            if known.len() + asked.len() > REMEMBERED {
                known.clear();
            }
            for ((name, places), tag) in asked.into_iter().zip(batch).zip(reply.tags) {
                let tag = Tag::try_from(tag.as_slice()).map_err(|_| ClientError::BadAnswer("a tag is not 32 bytes".into()))?;
                known.insert(name.clone(), tag);
                for place in *places {
                    if let Some(place) = tags.get_mut(*place) {
                        *place = Some(tag);
                    }
                }
            }
        }
        tags.into_iter().collect::<Option<_>>().ok_or_else(|| ClientError::BadAnswer("a tag is missing".into()))
    }

    /// The tag of one person, by which an operator's keys are tied together: of the number as [`person_code`] has it.
    pub async fn person_tag(&self, key: &SigningKey, code_type: &str, code: &str) -> Result<Tag, ClientError> {
        let value = person_code(code_type, code)?.to_string();
        let input = TagInput { kind: "person", code_type: code_type.to_owned(), value };
        self.tags(key, vec![input]).await?.first().copied().ok_or_else(|| ClientError::BadAnswer("there is no tag".into()))
    }
}
