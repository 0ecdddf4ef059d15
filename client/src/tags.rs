//! Keyed tags: asked of a node, because only nodes hold the lookup key, and remembered.

use crate::client::Client;
use crate::error::ClientError;
use crate::person::person_code;
use std::collections::{BTreeSet, HashMap};
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

fn name(input: &TagInput) -> Name {
    (input.kind, input.code_type.clone(), input.value.clone())
}

impl Client {
    /// The keyed tags of these inputs, in their order, asked by the holder of `key`.
    pub async fn tags(&self, key: &SigningKey, inputs: &[TagInput]) -> Result<Vec<Tag>, ClientError> {
        let cache = self.tag_cache();
        let names: Vec<Name> = inputs.iter().map(name).collect();
        let mut found: HashMap<&Name, Tag> = HashMap::with_capacity(names.len());
        let mut missing: BTreeSet<&Name> = BTreeSet::new();
        {
            let known = cache.known();
            for name in &names {
                match known.get(name) {
                    Some(tag) => _ = found.insert(name, *tag),
                    None => _ = missing.insert(name),
                }
            }
        }
        let missing: Vec<&Name> = missing.into_iter().collect();
        for batch in missing.chunks(BATCH) {
            let one = |n: &&Name| TagRequest { kind: n.0.into(), code_type: n.1.clone(), value: n.2.clone() };
            let request = TagsRequest { requests: batch.iter().map(one).collect() };
            let ask = |mut node: vermilion_proto::ledger_client::LedgerClient<tonic::transport::Channel>| {
                let request = self.connection.signed(key, "tags", request.clone());
                async move { node.tags(request.map_err(|e| tonic::Status::invalid_argument(e.to_string()))?).await }
            };
            let reply = self.connection.ask(ask).await?;
            if reply.tags.len() != batch.len() {
                return Err(ClientError::BadAnswer("there is not one tag for each question".into()));
            }
            let mut known = cache.known();
            if known.len() + batch.len() > REMEMBERED {
                known.clear();
            }
            for (name, tag) in batch.iter().zip(reply.tags) {
                let tag = Tag::try_from(tag.as_slice()).map_err(|_| ClientError::BadAnswer("a tag is not 32 bytes".into()))?;
                known.insert((*name).clone(), tag);
                found.insert(name, tag);
            }
        }
        let complete = names.iter().map(|n| found.get(n).copied());
        complete.collect::<Option<Vec<Tag>>>().ok_or_else(|| ClientError::BadAnswer("a tag is missing".into()))
    }

    /// The tag of one person, by which an operator's keys are tied together: of the number as [`person_code`] has it.
    pub async fn person_tag(&self, key: &SigningKey, code_type: &str, code: &str) -> Result<Tag, ClientError> {
        let value = person_code(code_type, code)?.to_string();
        let input = TagInput { kind: "person", code_type: code_type.to_owned(), value };
        self.tags(key, &[input]).await?.first().copied().ok_or_else(|| ClientError::BadAnswer("there is no tag".into()))
    }
}
