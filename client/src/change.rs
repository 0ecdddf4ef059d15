//! What issuing units do to licences that are there: changes of status, erasure.

use crate::client::Client;
use crate::clock::now_ms;
use crate::command::Draft;
use crate::connection::Recorded;
use crate::error::ClientError;
use vermilion_crypto::Digest;
use vermilion_proto::{ChangeStatus, EraseContent, Evidence, body::Of};
use vermilion_registry::codes::identifier::Identifier;
use vermilion_registry::reason::Reason;
use vermilion_registry::{ERASURE_GROUNDS, Kind};

/// Why something is done to a licence, a unit or a credential, and to a licence by whom.
#[derive(Clone, Debug, Default)]
pub struct Grounds {
    /// The acting unit, of what is done to a licence; if empty the one that the identifier names, or the city's managing unit for a
    /// destruction, and where content is to go at once and its keys are here.
    pub unit: String,
    /// The reason's code.
    pub reason: String,
    /// Codes of the legal basis.
    pub legal_basis: Vec<String>,
    /// Documents that it rests on; an erasure needs one, and so does whatever a court or a review decided.
    pub evidence: Vec<Evidence>,
    /// Only if it did not change after this record.
    pub expected_seq: Option<u64>,
}

impl Grounds {
    /// The same, by this unit if none is named.
    fn or_by(&self, unit: &str) -> Self {
        let unit = if self.unit.is_empty() { unit } else { &self.unit };
        Self { unit: unit.to_owned(), ..self.clone() }
    }

    /// A draft on these grounds, by a unit.
    pub(crate) fn draft(&self, by: &str) -> Result<Draft, ClientError> {
        Ok(Draft {
            reason: self.reason.clone(),
            legal_basis: self.legal_basis.clone(),
            evidence: self.evidence.clone(),
            expected_seq: self.expected_seq,
            ..Draft::new(by, now_ms())?
        })
    }
}

/// What an erasure that was recorded waits for, if it does: its retention, or the word of the city's managing unit
/// ([`Reason::ErasureUnconfirmed`]). The content is kept, and not used any more.
#[must_use]
pub fn waits(erasure: &Recorded) -> Option<Reason> {
    let waits_for = |reason: &Reason| matches!(reason, Reason::Retention | Reason::ErasureUnconfirmed);
    erasure.outcome.warnings.iter().filter_map(|warning| Reason::from_number(warning.code)).find(waits_for)
}

impl Client {
    /// Changes a licence's state (`revoked`), or a flag (`+under-objection`).
    pub async fn change_status(&self, identifier: &str, to: &str, effective_ms: u64, grounds: &Grounds) -> Result<Recorded, ClientError> {
        let draft = self.licence_draft(identifier, grounds)?;
        let named = self.asking(Some(&draft.unit), |key| async move { self.name_licence(&key, identifier).await }).await?;
        let body = ChangeStatus { licence: named.identifier, licence_tag: named.tag, to: to.to_owned(), effective_ms };
        self.carry_out(Kind::ChangeStatus, draft, Of::ChangeStatus(body)).await
    }

    /// Erases a licence's content from the vault: an erasure on one of
    /// [`ERASURE_GROUNDS`], with evidence, or with the digest of
    /// the archive's receipt destruction after retention. One that [`waits`] erases nothing yet. On a ground that waits
    /// for no retention content goes by the city's managing unit alone: without a unit it signs, if its keys are here. So it does
    /// for a destruction, which is its alone.
    pub async fn erase(&self, identifier: &str, archive_receipt: Option<&Digest>, grounds: &Grounds) -> Result<Recorded, ClientError> {
        let at_once = ERASURE_GROUNDS.iter().any(|ground| ground.code == grounds.reason && !ground.waits);
        if at_once && archive_receipt.is_none() && (grounds.unit.is_empty() || grounds.unit == self.managing_unit()) {
            let grounds = Grounds { unit: self.managing_unit().to_owned(), ..grounds.clone() };
            if let Some(signers) = self.erasers_at_once().await? {
                let (draft, body) = self.erasing(identifier, "erasure", None, &grounds).await?;
                return self.connection.submit(&draft.sign(self.ledger_id(), body, &signers)?).await?.accepted();
            }
        }
        let kind = if archive_receipt.is_some() { "destruction" } else { "erasure" };
        let grounds = if archive_receipt.is_some() { &grounds.or_by(self.managing_unit()) } else { grounds };
        let (draft, body) = self.erasing(identifier, kind, archive_receipt, grounds).await?;
        self.carry_out(Kind::Erase, draft, body).await
    }

    /// Takes back an erasure that waits.
    pub async fn withdraw_erasure(&self, identifier: &str, grounds: &Grounds) -> Result<Recorded, ClientError> {
        let (draft, body) = self.erasing(identifier, "withdrawal", None, grounds).await?;
        self.carry_out(Kind::Erase, draft, body).await
    }

    async fn erasing(
        &self,
        identifier: &str,
        kind: &str,
        archive_receipt: Option<&Digest>,
        grounds: &Grounds,
    ) -> Result<(Draft, Of), ClientError> {
        let draft = self.licence_draft(identifier, grounds)?;
        let named = self.asking(Some(&draft.unit), |key| async move { self.name_licence(&key, identifier).await }).await?;
        let body = EraseContent {
            licence: named.identifier,
            licence_tag: named.tag,
            kind: kind.to_owned(),
            archive_receipt: archive_receipt.map(|d| d.to_vec()).unwrap_or_default(),
        };
        Ok((draft, Of::EraseContent(body)))
    }

    fn licence_draft(&self, identifier: &str, grounds: &Grounds) -> Result<Draft, ClientError> {
        let authority = Identifier::parse(identifier)?;
        grounds.draft(if grounds.unit.is_empty() { authority.authority() } else { &grounds.unit })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grounds_without_a_unit_are_anothers() {
        let named = Grounds { unit: "A".into(), ..Grounds::default() };
        assert_eq!((named.or_by("B").unit, Grounds::default().or_by("B").unit), ("A".to_owned(), "B".to_owned()));
    }
}
