//! Issuing one licence at a time, as a counter does: fresh salts and keys, one wrapped command key
//! for many commands.

use crate::client::Client;
use crate::clock::now_ms;
use crate::command::{Draft, ItemDraft, Prepared};
use crate::error::ClientError;
use crate::signer::Signatory;
use crate::types::Types;
use crate::vault::VaultSession;
use std::sync::atomic::{AtomicU64, Ordering};
use vermilion_crypto::{ContentKey, Digest, Tag, random};
use vermilion_proto::{IssueLicences, body::Of};
use vermilion_registry::Kind;
use vermilion_registry::content::{Row, RowSecrets, RowTags, build_item, check_row, tag_inputs};
use vermilion_registry::reason::Reason;

/// Makes and signs commands of one licence each for one unit. Shared by many tasks.
pub struct SingleIssuer {
    ledger_id: Digest,
    unit: String,
    signers: Vec<Signatory>,
    session: VaultSession,
    types: Types,
    /// Salts come from here: fresh for each issuer, and each licence has another number.
    secret: [u8; 32],
    run: Digest,
    count: AtomicU64,
}

impl SingleIssuer {
    /// For a unit whose maker and checker are in the configuration. Asks a node for the types.
    pub async fn new(client: &Client, unit: &str) -> Result<Self, ClientError> {
        Ok(Self {
            ledger_id: *client.ledger_id(),
            unit: unit.to_owned(),
            signers: client.signers(unit, Kind::Issue).await?,
            session: client.vault_session(unit).await?,
            types: client.types().await?,
            secret: random()?,
            run: random()?,
            count: AtomicU64::new(0),
        })
    }

    /// The keyed tags that a row's item needs, for [`SingleIssuer::prepare`].
    pub async fn tags(&self, client: &Client, row: &Row) -> Result<Vec<Tag>, ClientError> {
        let rules = self.types.rules(&row.type_code)?;
        let asker = self.signers.first().ok_or_else(|| ClientError::config("operators", "nobody signs an issue"))?;
        client.tags(&asker.key, tag_inputs(row, &rules)?).await
    }

    /// Checks, salts, seals and signs one licence. Each call makes another command.
    pub fn prepare(&self, row: &Row, tags: &[Tag]) -> Result<Prepared, ClientError> {
        let rules = self.types.rules(&row.type_code)?;
        let checked = check_row(row, Some(&rules))?;
        let tags = RowTags::from_answers(row, &rules, tags).ok_or(Reason::Internal)?;
        let row_number = self.count.fetch_add(1, Ordering::Relaxed);
        let secrets = RowSecrets { unit_secret: &self.secret, file_digest: &self.run, row_number };
        let (item, plaintext) = build_item(row, &checked, &rules, &tags, &secrets)?;
        let mut draft = Draft::new(&self.unit, now_ms())?;
        draft.seal_items(&*self.session.next()?, vec![ItemDraft { item, plaintext, key: ContentKey(random()?) }])?;
        let (items_root, items_count) = draft.items_root();
        draft.sign(&self.ledger_id, Of::IssueLicences(IssueLicences { items_root, items_count }), &self.signers)
    }
}

impl Drop for SingleIssuer {
    fn drop(&mut self) {
        zeroize::Zeroize::zeroize(&mut self.secret);
    }
}
