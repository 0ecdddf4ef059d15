//! Answers from the state: a licence's status, and who may ask.

use crate::node::Node;
use vermilion_proto::{
    LicenceState, LicenceStatusReply, LicenceStatusRequest, LicenceType, OperatorState, PublicStatus, StatusAnswer, StoredRecord,
};
use vermilion_registry::codes::identifier::Identifier;
use vermilion_registry::content::{self, challenge};
use vermilion_registry::reason::{Reason, Refusal};
use vermilion_registry::{Kv, query, status};
use vermilion_registry::{Named, Series};

/// A state that cannot be read is the node's fault, never the caller's to see in detail.
pub fn internal(error: &dyn std::fmt::Display) -> Refusal {
    tracing::error!(%error, "a question could not be answered");
    Reason::Internal.into()
}

/// How far ahead of this node's clock an asker's may be, in milliseconds: as a leader's.
const CLOCKS_APART_MS: u64 = 5_000;

/// A moment that is asked about: what will be, no record says.
pub fn past(name: &str, ms: u64, now_ms: u64) -> Result<u64, Refusal> {
    let is_past = ms <= now_ms.saturating_add(CLOCKS_APART_MS);
    if is_past { Ok(ms) } else { Err(Refusal::new(Reason::FieldForm, format!("{name} lies in the future"))) }
}

impl Node {
    /// A record that the state names.
    pub fn record(&self, seq: u64) -> Result<StoredRecord, Refusal> {
        match self.store.record(seq).map_err(|e| internal(&e))? {
            Some(record) => Ok(record),
            None if seq < self.store.history_from().map_err(|e| internal(&e))? => Err(Reason::NotHereYet.into()),
            // It may have come between the two looks.
            None => self.store.record(seq).map_err(|e| internal(&e))?.ok_or_else(|| internal(&format!("record {seq} is missing"))),
        }
    }

    /// The licence that an identifier names; for types whose identifiers are personal, by keyed tag.
    pub fn named(&self, kv: &dyn Kv, identifier: &str) -> Result<Named, Refusal> {
        let identifier = Identifier::parse(identifier)?;
        let state = query::licence_type(kv, identifier.type_code(), None).map_err(|e| internal(&e))?;
        let of = state.and_then(|s| s.r#type).ok_or(Reason::UnknownType)?;
        let series = if of.identifier_class == i32::from(vermilion_proto::IdentifierClass::Personal) {
            Series::of_tag(&self.opener.lookup().tag("series", "", identifier.series()))
        } else {
            Series::of(&identifier)
        };
        Ok(Named { series, version: identifier.version() })
    }

    /// Answers a status question, if the type's public status or the asker's place allows it
    /// (regulation 002 article 5: closed unless both have agreed to open it).
    pub async fn licence_status(&self, request: LicenceStatusRequest, asker: Option<&OperatorState>) -> LicenceStatusReply {
        if !request.local
            && let Err(refusal) = self.read_barrier().await
        {
            return LicenceStatusReply { code: refusal.reason.number(), status: None };
        }
        match self.licence_status_now(&request, asker) {
            Ok(status) => LicenceStatusReply { code: 0, status: Some(status) },
            Err(refusal) => {
                let status = (refusal.reason == Reason::UnknownLicence)
                    .then(|| StatusAnswer { verify_code: status::VERIFY_NO_RECORD, ..Default::default() });
                LicenceStatusReply { code: refusal.reason.number(), status }
            }
        }
    }

    fn licence_status_now(&self, request: &LicenceStatusRequest, asker: Option<&OperatorState>) -> Result<StatusAnswer, Refusal> {
        let kv = self.store.state_snapshot();
        let (named, _) = self.askable(&kv, request, asker)?;
        let now = self.time();
        let (at, known) = (past("at", request.at_ms, now)?, past("known", request.known_ms, now)?);
        let answer = query::status_at(&kv, &named, at, known, now).map_err(|e| internal(&e))?;
        Ok(if asker.is_some() { answer } else { query::public(answer) })
    }

    /// The licence whose status is asked for, if the asker may know it: by its type's public status, as its issuing unit, or
    /// by a use of it that is recorded and still served. Who may know what holds may know what held.
    pub fn askable(
        &self,
        kv: &dyn Kv,
        request: &LicenceStatusRequest,
        asker: Option<&OperatorState>,
    ) -> Result<(Named, LicenceState), Refusal> {
        let named = self.named(kv, &request.identifier)?;
        // Whether there is a licence is nobody's business but those who may ask: what is not there is answered as what is
        // there and not to be told. The authority in an identifier is the unit that issued it, or the
        // division for which the unit did.
        let identifier = Identifier::parse(&request.identifier)?;
        let of = query::licence_type(kv, identifier.type_code(), None).map_err(|e| internal(&e))?.and_then(|s| s.r#type);
        let unit = asker.and_then(|o| o.operator.as_ref()).map(|o| o.unit.as_str());
        let found = query::licence(kv, &named).map_err(|e| internal(&e))?;
        let is_issuer = unit.is_some_and(|unit| unit == identifier.authority() || found.as_ref().is_some_and(|found| found.unit == unit));
        let of = of.ok_or(Reason::UnknownType)?;
        if !request.use_command.is_empty() {
            return match self.use_opens(kv, &request.use_command, unit.unwrap_or_default(), &named)? {
                true => Ok((named, found.ok_or(Reason::UnknownLicence)?)),
                false => Err(Refusal::new(Reason::NotAuthorised, "the use is not of the unit that asks, or does not open this licence")),
            };
        }
        let open = match of.public_status() {
            PublicStatus::Open => true,
            _ if is_issuer => true,
            PublicStatus::Challenge => false,
            PublicStatus::Closed => return Err(Reason::StatusClosed.into()),
        };
        if !open {
            self.challenge(&of, &identifier, found.as_ref(), request)?;
        }
        Ok((named, found.ok_or(Reason::UnknownLicence)?))
    }

    /// A challenge type answers those who already know a field of the licence. What is no challenge is refused as a
    /// wrong value is, before the licence is looked at: neither the answer nor its time says anything of it.
    fn challenge(
        &self,
        of: &LicenceType,
        identifier: &Identifier,
        found: Option<&LicenceState>,
        request: &LicenceStatusRequest,
    ) -> Result<(), Refusal> {
        let (field, value) = (request.challenge_field.as_str(), request.challenge_value.as_str());
        if field.is_empty() || value.is_empty() {
            return Err(Refusal::new(Reason::StatusClosed, "name a field of the licence and its value"));
        }
        if !challenge::may_be(of, identifier, field, value) {
            return Err(Reason::ChallengeFailed.into());
        }
        let found = found.ok_or(Reason::ChallengeFailed)?;
        let plain = match self.open_licence(found) {
            Err(refusal) if matches!(refusal.reason, Reason::ContentErased | Reason::ContentRestricted) => {
                return Err(Reason::ChallengeFailed.into());
            }
            plain => plain?,
        };
        let is_met = challenge::is_met(&content::disclosures(&plain)?, field, value);
        if is_met { Ok(()) } else { Err(Reason::ChallengeFailed.into()) }
    }

    /// Waits until this node's state is as new as the moment of asking.
    pub async fn read_barrier(&self) -> Result<(), Refusal> {
        let (done, wait) = tokio::sync::oneshot::channel();
        if self.events.try_send(crate::runtime::Event::Read(done)).is_err() {
            return Err(Reason::Busy.into());
        }
        match tokio::time::timeout(std::time::Duration::from_secs(5), wait).await {
            Ok(Ok(())) => Ok(()),
            // The driver let the question go: too many wait.
            Ok(Err(_)) => Err(Reason::Busy.into()),
            Err(_) => Err(Reason::NoLeader.into()),
        }
    }
}
