//! A licence's next version, from one row. As an import of one row it is the same command however
//! often it is sent, until a record refuses it: then the next call makes another.

use crate::change::Grounds;
use crate::client::Client;
use crate::clock::now_ms;
use crate::connection::{Answer, Recorded};
use crate::error::ClientError;
use crate::issue::chunk::Member;
use crate::issue::journal::Journal;
use crate::issue::prepare::{Maker, Ready, check};
use crate::issue::read::digest_of;
use crate::issue::run::issuing_unit;
use crate::types::Types;
use vermilion_crypto::Digest;
use vermilion_proto::{SupersedeLicence, body::Of};
use vermilion_registry::codes::identifier::Identifier;
use vermilion_registry::content::{TagInput, parse_row};
use vermilion_registry::reason::{Reason, Refusal};
use vermilion_registry::{Kind, SUPERSEDE_REASONS};

impl Client {
    /// Supersedes a licence by the row of its next version, because of a change, a renewal, a
    /// correction (which may name the objection that it answers) or a replacement. Of the grounds, reason
    /// and legal basis go with it.
    pub async fn supersede(
        &self,
        line: &str,
        because: &str,
        objection: Option<&Digest>,
        grounds: &Grounds,
    ) -> Result<Recorded, ClientError> {
        if !SUPERSEDE_REASONS.contains(&because) {
            return Err(ClientError::Usage(format!("a licence is superseded because of one of: {}", SUPERSEDE_REASONS.join(", "))));
        }
        let row = parse_row(line.trim())?;
        let current: Vec<_> = self.types().await?.states().cloned().collect();
        // What the command says besides the row is part of what names it.
        let objected = objection.map(|d| d.to_vec()).unwrap_or_default();
        let said = [grounds.reason.clone(), grounds.legal_basis.join("\n")].join("\n");
        let shown: Vec<u8> = grounds.evidence.iter().flat_map(|evidence| evidence.digest.iter().copied()).collect();
        let parts: [&[u8]; 8] = [line.trim().as_bytes(), b"\n", because.as_bytes(), b"\n", &objected, b"\n", said.as_bytes(), &shown];
        let file = digest_of(&parts.concat());
        let journal = Journal::open(self.config().state_dir(), self.ledger_id(), &file, now_ms(), &current, 1)?;
        let types = Types::new(journal.types()?);
        let sound = check(&row, 0, &types)?;
        let rule = self.post_rule(Kind::Supersede).await?;
        let missing = || ClientError::config("operators", format!("there are no keys of unit {} that may supersede", row.authority_code));
        let unit = issuing_unit(self, &row.authority_code, &rule).await?.ok_or_else(missing)?;
        let asker = unit.signers.first().map(|s| s.key.clone()).ok_or_else(missing)?;

        let identifier = Identifier::parse(&row.identifier)?;
        let before = identifier.version().checked_sub(1).filter(|v| *v > 0);
        let before = before.ok_or_else(|| Refusal::new(Reason::VersionGap, "version 001 supersedes nothing"))?;
        let previous = identifier.with_version(before)?;
        let mut inputs = sound.inputs.clone();
        let personal = types.rules(&row.type_code)?.personal_identifier();
        if personal {
            inputs.push(TagInput { kind: "identifier", code_type: String::new(), value: previous.as_str().to_owned() });
        }
        let mut tags = self.tags(&asker, inputs).await.map_err(|error| self.asked_with(&asker, error))?;
        let previous = if personal { tags.pop().map(hex::encode).unwrap_or_default() } else { previous.as_str().to_owned() };

        let member = Member { number: 1, row };
        let maker = Maker { ledger_id: self.ledger_id(), file: &file, unit: &unit, types: &types };
        let generations = journal.generations().to_vec();
        for (n, generation) in generations.iter().enumerate() {
            let mut item = maker.item(&Ready { member: &member, checked: &sound.checked, tags: &tags })?;
            item.item.previous.clone_from(&previous);
            item.item.superseded_because = because.to_owned();
            item.item.objection.clone_from(&objected);
            let mut draft = maker.draft(1, generation.not_after_ms, vec![item])?;
            draft.reason.clone_from(&grounds.reason);
            draft.evidence.clone_from(&grounds.evidence);
            draft.legal_basis.clone_from(&grounds.legal_basis);
            let (items_root, items_count) = draft.items_root();
            let body = Of::SupersedeLicence(SupersedeLicence { items_root, items_count });
            let prepared = draft.sign(self.ledger_id(), body, &unit.signers)?;
            match self.connection.submit(&prepared).await? {
                Answer::Invalid if n + 1 < journal.generations().len() => {}
                Answer::RefusedAtDoor { refusal, .. } if journal.sent_before(n) => {
                    return Err(ClientError::Unknown { id: prepared.id, why: refusal.to_string() });
                }
                answer => {
                    // What a door refused was never sent on, and what a record refused stays so, and may be right later: the version
                    // before it may come.
                    let at_door = matches!(answer, Answer::RefusedAtDoor { .. });
                    let accepted = answer.accepted();
                    if at_door || matches!(accepted, Err(ClientError::RefusedInRecord { .. })) {
                        journal.forget()?;
                    }
                    return accepted;
                }
            }
        }
        Err(Reason::Expired.into())
    }
}
