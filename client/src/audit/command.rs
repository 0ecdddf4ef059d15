//! A record's command for the replay, as the gate opened it.

use vermilion_identity::{EnvelopeError, Opened};
use vermilion_proto::Bytes;
use vermilion_registry::Checked;
use vermilion_registry::submission::recorded;

/// Why a recorded command does not open.
pub enum Unopened {
    /// The envelope does not.
    Envelope(EnvelopeError),
    /// The items beside it are not those that were signed.
    Items(String),
}

/// Opens a recorded command, as the gate did, but for what the vault holds. `take` is shown the
/// opened envelope, whose signatures are not verified yet.
pub fn open(envelope: Bytes, items: Vec<Bytes>, take: impl FnOnce(&Opened)) -> Result<Checked, Unopened> {
    let opened = vermilion_identity::open(&envelope).map_err(Unopened::Envelope)?;
    take(&opened);
    let (_, checked) = recorded(opened, envelope, items).map_err(|refusal| Unopened::Items(refusal.to_string()))?;
    Ok(checked)
}
