//! A record's command for the replay: envelope and items opened, nothing copied that need not be.

use vermilion_identity::{EnvelopeError, Opened};
use vermilion_proto::body::Of;
use vermilion_proto::{Command, LicenceItem, canonical};
use vermilion_registry::Checked;
use vermilion_registry::submission::{MAX_ITEM, MAX_ITEMS, beside_digest};

/// Why a recorded command does not open.
pub enum Unopened {
    /// The envelope does not.
    Envelope(EnvelopeError),
    /// The items beside it are not those that were signed.
    Items(String),
}

/// Opens a recorded command, as the gate did, but for what the vault holds. `take` is shown the
/// opened envelope, whose signatures are not verified yet.
pub fn open(envelope: Vec<u8>, items: Vec<Vec<u8>>, take: impl FnOnce(&Opened)) -> Result<Checked, Unopened> {
    let opened = vermilion_identity::open(&envelope).map_err(Unopened::Envelope)?;
    let items = open_items(&opened.command, items).map_err(Unopened::Items)?;
    let beside_digest = beside_digest(&opened.command).map_err(|refusal| Unopened::Items(refusal.to_string()))?;
    take(&opened);
    let signer_keys = opened.command.head.iter().flat_map(|head| &head.signers).filter_map(|s| s.key_id.as_slice().try_into().ok());
    Ok(Checked {
        id: opened.id,
        envelope,
        signer_keys: signer_keys.collect(),
        items,
        beside_digest,
        has_vault: false,
        command: opened.command,
    })
}

fn signed_root(command: &Command) -> Option<(&[u8], u32)> {
    match command.body.as_ref()?.of.as_ref()? {
        Of::IssueLicences(issue) => Some((&issue.items_root, issue.items_count)),
        Of::SupersedeLicence(supersede) => Some((&supersede.items_root, supersede.items_count)),
        _ => None,
    }
}

/// The items, if they are those whose root and number are signed.
fn open_items(command: &Command, items: Vec<Vec<u8>>) -> Result<Vec<(Vec<u8>, LicenceItem)>, String> {
    let Some((root, count)) = signed_root(command) else {
        return if items.is_empty() { Ok(Vec::new()) } else { Err("this command carries no items".into()) };
    };
    if !(1..=MAX_ITEMS).contains(&items.len()) || items.len() != count as usize {
        return Err("their number is not the one signed".into());
    }
    if vermilion_ledger::items_root(&items) != *root {
        return Err("their root is not the one signed".into());
    }
    let mut out = Vec::with_capacity(items.len());
    for (n, bytes) in items.into_iter().enumerate() {
        if bytes.len() > MAX_ITEM {
            return Err(format!("item {n} is too large"));
        }
        let item: LicenceItem = canonical(&bytes).map_err(|error| format!("item {n}: {error}"))?;
        if item.format_version != 1 {
            return Err(format!("item {n} has format version {}", item.format_version));
        }
        out.push((bytes, item));
    }
    Ok(out)
}
