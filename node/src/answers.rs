//! Answers from the state: a licence's status, and who may ask.

use crate::node::Node;
use crate::runtime::now_ms;
use vermilion_proto::{LicenceState, LicenceStatusReply, LicenceStatusRequest, OperatorState, PublicStatus, StatusAnswer, StoredRecord};
use vermilion_registry::codes::identifier::Identifier;
use vermilion_registry::reason::{Reason, Refusal};
use vermilion_registry::{Kv, query, status};
use vermilion_registry::{Named, Series};

/// A state that cannot be read is the node's fault, never the caller's to see in detail.
pub fn internal(error: &dyn std::fmt::Display) -> Refusal {
    tracing::error!(%error, "a question could not be answered");
    Reason::Internal.into()
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
        let now = now_ms();
        let answer = if asker.is_some() { query::status(&kv, &named, now) } else { query::public_status(&kv, &named, now) };
        answer.map_err(|e| internal(&e))
    }

    /// The licence whose status is asked for, if the asker may know it.
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
        let open = match of.map_or(PublicStatus::Closed, |of| of.public_status()) {
            PublicStatus::Open => true,
            _ if is_issuer => true,
            PublicStatus::Challenge => false,
            PublicStatus::Closed => return Err(Reason::StatusClosed.into()),
        };
        if !open {
            self.challenge(found.as_ref(), request)?;
        }
        Ok((named, found.ok_or(Reason::UnknownLicence)?))
    }

    /// A challenge type answers those who already know a field of the licence.
    fn challenge(&self, found: Option<&LicenceState>, request: &LicenceStatusRequest) -> Result<(), Refusal> {
        if request.challenge_field.is_empty() || request.challenge_value.is_empty() {
            return Err(Refusal::new(Reason::StatusClosed, "name a field of the licence and its value"));
        }
        let found = found.ok_or(Reason::ChallengeFailed)?;
        let content = match self.open_licence(found) {
            Err(refusal) if matches!(refusal.reason, Reason::ContentErased | Reason::ContentRestricted) => {
                return Err(Reason::ChallengeFailed.into());
            }
            content => content?,
        };
        for disclosure in vermilion_registry::content::disclosures(&content)? {
            if disclosure.name() == request.challenge_field {
                let value = disclosure.value();
                let shown = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                let equal = vermilion_crypto::equal_secret(shown.as_bytes(), request.challenge_value.as_bytes());
                return if equal { Ok(()) } else { Err(Reason::ChallengeFailed.into()) };
            }
        }
        Err(Reason::ChallengeFailed.into())
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
