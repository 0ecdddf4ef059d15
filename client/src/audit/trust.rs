//! What an auditor brings along: whom to trust, from files.

use serde::{Deserialize, Serialize};
use std::path::Path;
use vermilion_crypto::Digest;
use vermilion_ledger::{KeyKind, Trust, VerifierKey};
use vermilion_registry::pinned;

/// The file of what is trusted, in JSON. Keys are verifier keys as C2SP signed-note writes them.
///
/// ```json
/// {"ledger_id": "…64 hex digits…", "ledger_key": "city.example/ledger+…", "witnesses": ["city.example/ledger/city+…"],
///  "quorum": 3, "require_ledger_key": true}
/// ```
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrustFile {
    /// Hash of the genesis, in hex.
    pub ledger_id: String,
    /// The ledger key; its name is the ledger's origin.
    pub ledger_key: String,
    /// The nodes' cosigning keys.
    pub witnesses: Vec<String>,
    /// How many of them must have cosigned.
    pub quorum: usize,
    /// Whether the ledger key must have signed too.
    #[serde(default = "yes")]
    pub require_ledger_key: bool,
}

fn yes() -> bool {
    true
}

impl TrustFile {
    /// Reads a file and checks it.
    pub fn load(path: &Path) -> Result<Trust, String> {
        let say = |why: String| format!("{}: {why}", path.display());
        let text = std::fs::read_to_string(path).map_err(|e| say(e.to_string()))?;
        let file: Self = serde_json::from_str(&text).map_err(|e| say(e.to_string()))?;
        file.trust().map_err(say)
    }

    /// The trust that it stands for.
    pub fn trust(&self) -> Result<Trust, String> {
        let mut id = Digest::default();
        hex::decode_to_slice(&self.ledger_id, &mut id).map_err(|_| "ledger_id is not 64 hex digits".to_owned())?;
        let witnesses: Vec<&str> = self.witnesses.iter().map(String::as_str).collect();
        Trust::from_verifier_keys(id, &self.ledger_key, &witnesses, self.quorum, self.require_ledger_key).map_err(|e| e.to_string())
    }

    /// The file that stands for a trust.
    #[must_use]
    pub fn of(trust: &Trust) -> Self {
        let settings = trust.settings();
        let text = |name: &str, kind, key| VerifierKey { name: name.to_owned(), kind, key }.to_string();
        Self {
            ledger_id: hex::encode(settings.ledger_id),
            ledger_key: text(&settings.origin, KeyKind::Note, settings.ledger_key),
            witnesses: settings.witnesses.iter().map(|w| text(&w.name, KeyKind::Cosignature, w.key)).collect(),
            quorum: settings.quorum,
            require_ledger_key: settings.require_ledger_key,
        }
    }
}

/// Reads a genesis payload's exact bytes from a file.
pub fn read_genesis_file(path: &Path) -> Result<Vec<u8>, String> {
    let payload = std::fs::read(path).map_err(|e| format!("{}: {e}", path.display()))?;
    match pinned::read_genesis(&payload) {
        Some(_) => Ok(payload),
        None => Err(format!("{} is no genesis", path.display())),
    }
}
