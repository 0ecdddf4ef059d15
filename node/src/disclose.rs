//! Serving a use: after its record is applied, what it was granted, sealed to its recipient's key.
//! Content leaves a node in no other way.

use crate::answers::internal;
use crate::node::Node;
use vermilion_crypto::{SeededRng, VaultPublicKey, seal_to};
use vermilion_proto::{CommandState, DisclosedContent, LicenceState, Message as _, SealedContent, SubmitReply, Use, UseReply, body::Of};
use vermilion_registry::reason::{Reason, Refusal};
use vermilion_registry::sharing::has_rule;
use vermilion_registry::submission::open_recorded;
use vermilion_registry::{Kv, Named, query, stored};
use zeroize::Zeroizing;

/// Binds sealed content to its use.
#[must_use]
pub fn seal_info(command_id: &[u8]) -> Vec<u8> {
    [b"vermilion use v1 ".as_slice(), command_id].concat()
}

/// How long after its record a use is served, in milliseconds: a recorded use is no key for later.
const SERVE_FOR_MS: u64 = 600_000;
/// The most licences that one search serves when policy does not say.
const MAX_FOUND: usize = 100;

/// A recorded use that is served.
struct RecordedUse {
    seq: u64,
    unit: String,
    of: Use,
    granted: Vec<String>,
}

impl Node {
    /// Serves a use that is recorded and applied here.
    pub async fn serve_use(&self, reply: SubmitReply) -> UseReply {
        if reply.state() != CommandState::Committed || reply.outcome.as_ref().is_none_or(|o| o.code != 0) {
            return UseReply { reply: Some(reply), ..UseReply::default() };
        }
        match tokio::task::block_in_place(|| self.contents(&reply.command_id)) {
            Ok(served) => {
                self.metrics.disclosed.inc();
                UseReply { reply: Some(reply), ..served }
            }
            Err(refusal) if matches!(refusal.reason, Reason::NoVaultKey | Reason::NotHereYet) => self.serve_elsewhere(reply).await,
            Err(refusal) => UseReply {
                reply: Some(SubmitReply { code: refusal.reason.number(), detail: refusal.detail, ..reply }),
                ..UseReply::default()
            },
        }
    }

    async fn serve_elsewhere(&self, reply: SubmitReply) -> UseReply {
        for node in self.peers.nodes() {
            match self.peers.disclose(node.raft_id, reply.command_id.clone()).await {
                Ok(served) if !served.contents.is_empty() => return UseReply { reply: Some(reply), ..served },
                Ok(_) => {}
                Err(status) => tracing::warn!(node = node.name, %status, "a node did not serve a use"),
            }
        }
        let reason = Reason::NoVaultKey;
        let reply = SubmitReply { code: reason.number(), detail: reason.english().into(), ..reply };
        UseReply { reply: Some(reply), ..UseReply::default() }
    }

    /// A recorded use that is still served. None if it was refused, or its type closed to it: then it
    /// gives nothing away, the status included.
    fn recorded_use(&self, kv: &dyn Kv, command_id: &[u8]) -> Result<Option<RecordedUse>, Refusal> {
        let id = command_id.try_into().map_err(|_| Refusal::new(Reason::Malformed, "a command id has 32 bytes"))?;
        let seq = query::command(kv, &id).map_err(|e| internal(&e))?.ok_or(Reason::Unknown)?;
        let record = self.record(seq)?;
        let open = stored::open_record(&record).map_err(|e| internal(&e))?;
        let (_, checked) = open_recorded(open.record.envelope, record.items)?;
        let unit = checked.command.head.map(|h| h.unit).unwrap_or_default();
        let Some(Of::Use(of)) = checked.command.body.and_then(|b| b.of) else {
            return Err(Refusal::new(Reason::NotAuthorised, "the command is no use"));
        };
        if self.time() > open.record.time_ms.saturating_add(SERVE_FOR_MS) {
            return Err(Refusal::new(Reason::Expired, "a use is served for ten minutes after its record: make another"));
        }
        let outcome = open.record.outcome.unwrap_or_default();
        let closed = outcome.granted.is_empty() && !outcome.withheld.is_empty();
        Ok((outcome.code == 0 && !closed).then_some(RecordedUse { seq, unit, of, granted: outcome.granted }))
    }

    /// Whether a unit's recorded use opens a licence's status to it, for as long as the use is served.
    pub fn use_opens(&self, kv: &dyn Kv, command_id: &[u8], unit: &str, named: &Named) -> Result<bool, Refusal> {
        let Some(used) = self.recorded_use(kv, command_id)? else { return Ok(false) };
        Ok(used.unit == unit && self.licences_of(kv, used.seq, unit, &used.of)?.0.iter().any(|(_, of)| of == named))
    }

    /// What the recorded use was granted; its submission's answer is the caller's to put in.
    pub fn contents(&self, command_id: &[u8]) -> Result<UseReply, Refusal> {
        let kv = self.store.state_snapshot();
        let Some(RecordedUse { seq, unit, of, granted }) = self.recorded_use(&kv, command_id)? else { return Ok(UseReply::default()) };
        if of.recipient_key.is_empty() {
            return Ok(UseReply::default());
        }
        let recipient = VaultPublicKey::from_slice(&of.recipient_key).map_err(|_| Refusal::from(Reason::RecipientKey))?;
        let mut rng = SeededRng::from_system().map_err(|e| internal(&e))?;
        let mut contents = Vec::new();
        let (licences, more) = self.licences_of(&kv, seq, &unit, &of)?;
        for (identifier, named) in licences {
            let Some(found) = query::licence(&kv, &named).map_err(|e| internal(&e))? else { continue };
            let content = self.disclosed(&kv, identifier.clone(), &named, &found, &granted)?;
            let plain = Zeroizing::new(content.encode_to_vec());
            let sealed = seal_to(&recipient, &seal_info(command_id), &plain, &mut rng).map_err(|e| internal(&e))?;
            contents.push(SealedContent { identifier, encapsulated: sealed.encapsulated, ciphertext: sealed.ciphertext });
        }
        Ok(UseReply { reply: None, contents, more })
    }

    /// The licences that a use names or finds, and whether it finds more than may be listed.
    fn licences_of(&self, kv: &dyn Kv, seq: u64, unit: &str, of: &Use) -> Result<(Vec<(String, Named)>, bool), Refusal> {
        let (mut out, mut more) = (Vec::new(), false);
        for reference in &of.licences {
            let named = if reference.tag.is_empty() {
                self.named(kv, &reference.identifier)?
            } else {
                let tag = reference.tag.as_slice().try_into().map_err(|_| Refusal::new(Reason::Malformed, "a tag has 32 bytes"))?;
                query::of_tag(kv, &tag).map_err(|e| internal(&e))?.ok_or(Reason::UnknownLicence)?
            };
            out.push((reference.identifier.clone(), named));
        }
        if !of.holder_tag.is_empty() {
            let unit = query::unit(kv, unit).map_err(|e| internal(&e))?.and_then(|u| u.unit).ok_or(Reason::UnknownUnit)?;
            let limit = query::policy_at(kv, "use.search.max", self.time()).map_err(|e| internal(&e))?;
            let limit = limit.and_then(|entry| entry.value.parse().ok()).unwrap_or(MAX_FOUND);
            let found = query::search(kv, &unit, of, seq, limit).map_err(|e| internal(&e))?;
            more = found.more;
            for (series, current) in found.licences {
                let version = u16::try_from(current.version).unwrap_or(0);
                let identifier = series.identifier(version).map(|i| i.as_str().to_owned()).unwrap_or_default();
                out.push((identifier, Named { series, version }));
            }
        }
        Ok((out, more))
    }

    fn disclosed(
        &self,
        kv: &dyn Kv,
        identifier: String,
        named: &Named,
        found: &LicenceState,
        granted: &[String],
    ) -> Result<DisclosedContent, Refusal> {
        let status = query::status(kv, named, self.time()).map_err(|e| internal(&e))?;
        let mut disclosures = Vec::new();
        // A use may have been recorded just before an erasure that waits: what is kept for that alone is not served.
        if !granted.is_empty() && !found.erased && found.erasure_waits_seq == 0 {
            let content = self.open_licence(found)?;
            let fields = vermilion_registry::content::disclosures(&content)?;
            let of_type = query::licence_type(kv, &found.type_code, None).map_err(|e| internal(&e))?.and_then(|state| state.r#type);
            // A field was granted over all licences of the use: of each goes out what its own type has a rule for.
            let shown = |name: &str| granted.iter().any(|g| g == name) && of_type.as_ref().is_some_and(|of| has_rule(of, name));
            disclosures.extend(fields.iter().filter(|d| shown(d.name())).map(|d| d.encoded().to_owned()));
        }
        let record = self.record(found.seq)?;
        let item = record.items.into_iter().nth(found.position as usize).unwrap_or_default();
        Ok(DisclosedContent { identifier, disclosures, status: Some(status), item: item.to_vec() })
    }

    /// Opens a licence's content from the vault.
    pub fn open_licence(&self, found: &LicenceState) -> Result<Zeroizing<Vec<u8>>, Refusal> {
        if found.erased {
            return Err(Reason::ContentErased.into());
        }
        if found.erasure_waits_seq != 0 {
            return Err(Reason::ContentRestricted.into());
        }
        // What the state has and this node's vault does not is another node's to serve: it came of a catch-up, for which a
        // peer was believed.
        let elsewhere = |why: Refusal| {
            if why.reason != Reason::NoVaultKey {
                tracing::error!(record = found.seq, position = found.position, %why, "vault content is missing here, or does not open");
            }
            Refusal::from(Reason::NoVaultKey)
        };
        let missing = || elsewhere(Refusal::new(Reason::Internal, "no such row"));
        let record = self.record(found.seq)?;
        let open = stored::open_record(&record).map_err(|e| internal(&e))?;
        let opened = vermilion_identity::open(&open.record.envelope).map_err(|e| internal(&e))?;
        let nonce = opened.command.head.map(|h| h.nonce).unwrap_or_default();
        let wraps = self.store.wraps(found.seq).map_err(|e| internal(&e))?.ok_or_else(missing)?;
        let wraps = vermilion_proto::VaultWraps::decode(wraps.as_slice()).map_err(|e| internal(&e))?;
        let ciphertext = self.store.ciphertext(found.seq, found.position).map_err(|e| internal(&e))?.ok_or_else(missing)?;
        self.opener.open(&nonce, &wraps, found.position, &ciphertext).map_err(elsewhere)
    }
}
