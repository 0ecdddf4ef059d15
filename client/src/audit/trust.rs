//! What an auditor brings along: whom to trust, from files.

use crate::files::{read_at_most, without_mark};
use serde::de::{Deserializer, Error as _, MapAccess, Visitor};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt;
use std::path::Path;
use vermilion_crypto::{Digest, PublicKey};
use vermilion_ledger::{KeyKind, NewerKey, Policy, Trust, VerifierKey, Witness};
use vermilion_registry::codes::uscc;
use vermilion_registry::pinned;

/// The largest file of what is trusted that is read: the keys of some ten thousand units.
const MAX_TRUST: u64 = 16 << 20;

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
    /// Names of the city's nodes among them, if a quorum is to be one of these and quorum − 1 of the others.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub city: Vec<String>,
    /// Cosigning keys of witnesses outside the ledger's own nodes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub outside: Vec<String>,
    /// How many of those must have cosigned too.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub outside_need: usize,
    /// By USCC, the public keys with which a unit signs, in hex: a receipt of a unit that is here is held against them.
    #[serde(default, deserialize_with = "each_once", skip_serializing_if = "BTreeMap::is_empty")]
    pub units: BTreeMap<String, Vec<String>>,
    /// Whether the ledger key must have signed too.
    #[serde(default = "yes")]
    pub require_ledger_key: bool,
    /// Ledger keys after the first, the oldest first, whose endorsements were checked.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub newer_ledger_keys: Vec<NewerKeyEntry>,
}

/// A ledger key that took the place of the one before it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewerKeyEntry {
    /// Number of the record that endorses it: it signs every tree that holds this record.
    pub from: u64,
    /// The key; its name is the ledger's origin.
    pub key: String,
}

impl NewerKeyEntry {
    fn read(&self, origin: &str) -> Result<NewerKey, String> {
        let key = VerifierKey::parse(&self.key).ok().filter(|key| key.kind == KeyKind::Note && key.name == origin);
        let key = key.ok_or_else(|| "newer_ledger_keys: not a ledger key of this origin".to_owned())?;
        Ok(NewerKey { from: self.from, key: key.key })
    }
}

/// Units and their keys, each unit once: of two lists for one the last would count, and whoever reads the file might see the
/// first.
fn each_once<'de, D: Deserializer<'de>>(from: D) -> Result<BTreeMap<String, Vec<String>>, D::Error> {
    struct Units;
    impl<'de> Visitor<'de> for Units {
        type Value = BTreeMap<String, Vec<String>>;
        fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
            out.write_str("an object of units, each with a list of its keys")
        }
        fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Self::Value, A::Error> {
            let mut units = BTreeMap::new();
            while let Some((unit, keys)) = members.next_entry::<String, Vec<String>>()? {
                match units.entry(unit) {
                    Entry::Vacant(place) => {
                        place.insert(keys);
                    }
                    Entry::Occupied(there) => return Err(A::Error::custom(format!("units: {} stands there twice", there.key()))),
                }
            }
            Ok(units)
        }
    }
    from.deserialize_map(Units)
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(n: &usize) -> bool {
    *n == 0
}

fn yes() -> bool {
    true
}

impl TrustFile {
    /// Reads a file and checks it.
    pub fn load(path: &Path) -> Result<Trust, String> {
        let say = |why: String| format!("{}: {why}", path.display());
        let bytes = read_at_most(path, MAX_TRUST).map_err(|e| e.to_string())?;
        let bytes = bytes.ok_or_else(|| say("it is larger than what is trusted can be".into()))?;
        let file: Self = serde_json::from_slice(without_mark(&bytes)).map_err(|e| say(e.to_string()))?;
        file.trust().map_err(say)
    }

    /// The trust that it stands for.
    pub fn trust(&self) -> Result<Trust, String> {
        let mut id = Digest::default();
        hex::decode_to_slice(&self.ledger_id, &mut id).map_err(|_| "ledger_id is not 64 hex digits".to_owned())?;
        let witnesses: Vec<&str> = self.witnesses.iter().map(String::as_str).collect();
        let outside = self.outside.iter().map(|text| {
            let key = VerifierKey::parse(text).ok().filter(|key| key.kind == KeyKind::Cosignature);
            key.map(|key| Witness { name: key.name, key: key.key }).ok_or_else(|| "outside: not a cosigning key".to_owned())
        });
        let (city, outside) = (self.city.clone(), outside.collect::<Result<_, _>>()?);
        let policy = Policy { city, outside, outside_need: self.outside_need, units: self.units()? };
        Trust::from_verifier_keys(id, &self.ledger_key, &witnesses, self.quorum, self.require_ledger_key)
            .and_then(|trust| trust.with_policy(policy))
            .map_err(|e| e.to_string())
            .and_then(|trust| {
                let newer = self.newer_ledger_keys.iter().map(|newer| newer.read(&trust.settings().origin));
                let newer = newer.collect::<Result<_, _>>()?;
                trust.with_newer_keys(newer).map_err(|e| e.to_string())
            })
    }

    fn units(&self) -> Result<BTreeMap<String, Vec<PublicKey>>, String> {
        let key = |text: &String| {
            let mut key = [0; 32];
            hex::decode_to_slice(text, &mut key).map_err(|_| "units: a key is not 64 hex digits".to_owned())?;
            Ok::<_, String>(PublicKey(key))
        };
        let pin = |(unit, keys): (&String, &Vec<String>)| {
            // A command names its unit by this code, and no unit is registered under another: other names would pin nothing.
            if !uscc::is_valid(unit) {
                return Err(format!("units: {unit:?} is no unified social credit code, or its check character is wrong"));
            }
            if keys.is_empty() {
                return Err(format!("units: {unit} is there without a key"));
            }
            Ok((unit.clone(), keys.iter().map(key).collect::<Result<Vec<_>, _>>()?))
        };
        self.units.iter().map(pin).collect()
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
            city: trust.policy().city.clone(),
            outside: trust.policy().outside.iter().map(|w| text(&w.name, KeyKind::Cosignature, w.key)).collect(),
            outside_need: trust.policy().outside_need,
            units: trust
                .policy()
                .units
                .iter()
                .map(|(unit, keys)| (unit.clone(), keys.iter().map(|key| hex::encode(key.0)).collect()))
                .collect(),
            require_ledger_key: settings.require_ledger_key,
            newer_ledger_keys: trust
                .newer_keys()
                .iter()
                .map(|newer| NewerKeyEntry { from: newer.from, key: text(&settings.origin, KeyKind::Note, newer.key) })
                .collect(),
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

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use vermilion_crypto::SigningKey;

    fn file() -> TrustFile {
        let key = |name: &str, kind, n: u8| {
            VerifierKey { name: name.to_owned(), kind, key: SigningKey::from_seed(&[n; 32]).public() }.to_string()
        };
        TrustFile {
            ledger_id: "01".repeat(32),
            ledger_key: key("city.example", KeyKind::Note, 1),
            witnesses: [("a", 2), ("b", 3), ("c", 4)].map(|(name, n)| key(name, KeyKind::Cosignature, n)).to_vec(),
            quorum: 2,
            city: vec!["b".into()],
            outside: vec![key("w", KeyKind::Cosignature, 9)],
            outside_need: 1,
            units: BTreeMap::new(),
            require_ledger_key: true,
            newer_ledger_keys: vec![
                NewerKeyEntry { from: 12, key: key("city.example", KeyKind::Note, 20) },
                NewerKeyEntry { from: 90, key: key("city.example", KeyKind::Note, 21) },
            ],
        }
    }

    #[test]
    fn a_policy_is_read_and_written() {
        let trust = file().trust().unwrap();
        assert_eq!(TrustFile::of(&trust), file());
        // One of one city node, one of two districts', one of one outside witness: two quorums share two.
        assert_eq!(trust.holds_against(), Some(1));
        let plain = TrustFile { city: vec![], outside: vec![], outside_need: 0, newer_ledger_keys: vec![], ..file() };
        let text = serde_json::to_string(&plain).unwrap();
        assert!(!text.contains("city\"") && !text.contains("outside") && !text.contains("newer"), "{text}");
        assert_eq!(serde_json::from_str::<TrustFile>(&text).unwrap(), plain);
        for wrong in [
            TrustFile { city: vec!["d".into()], ..file() },
            TrustFile { outside_need: 2, ..file() },
            TrustFile { outside: vec![file().ledger_key], ..file() },
            TrustFile { outside: vec![file().witnesses[0].clone()], ..file() },
            TrustFile { newer_ledger_keys: file().newer_ledger_keys.into_iter().rev().collect(), ..file() },
            TrustFile { newer_ledger_keys: vec![NewerKeyEntry { from: 1, key: file().witnesses[0].clone() }], ..file() },
            TrustFile { newer_ledger_keys: vec![NewerKeyEntry { from: 1, key: file().ledger_key }], ..file() },
        ] {
            assert!(wrong.trust().is_err(), "{wrong:?}");
        }
        assert!(serde_json::from_str::<TrustFile>(&text.replace("quorum", "quorom")).is_err());
    }

    #[test]
    fn keys_are_pinned_for_units_that_there_can_be_alone() {
        let pinning = |unit: &str, keys: &[String]| TrustFile { units: [(unit.to_owned(), keys.to_vec())].into(), ..file() };
        let (unit, key) = ("11440304MB0X010624", "ab".repeat(32));
        let trust = pinning(unit, std::slice::from_ref(&key)).trust().unwrap();
        assert_eq!(trust.policy().units.keys().collect::<Vec<_>>(), [unit]);
        // A slip of the pen, a division, small letters, a blank, nothing.
        for wrong in ["11440304MB0X010634", "440304", "11440304mb0x010624", " 11440304MB0X010624", ""] {
            let why = pinning(wrong, std::slice::from_ref(&key)).trust().unwrap_err();
            assert!(why.contains("units") && why.contains(wrong), "{why}");
        }
        let text = serde_json::to_string(&pinning(unit, std::slice::from_ref(&key))).unwrap();
        assert_eq!(serde_json::from_str::<TrustFile>(&text).unwrap().units.len(), 1);
        let twice = text.replace("\"units\":{", &format!("\"units\":{{\"{unit}\":[],"));
        let why = serde_json::from_str::<TrustFile>(&twice).unwrap_err().to_string();
        assert!(why.contains(unit) && why.contains("twice"), "{why}");
        assert!(pinning(unit, &[]).trust().unwrap_err().contains(unit));
        assert!(pinning(unit, &[key[1..].to_owned()]).trust().is_err());
    }

    #[test]
    fn a_file_may_begin_with_a_mark_and_has_an_end() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("trust.json");
        let text = serde_json::to_string(&file()).unwrap();
        std::fs::write(&path, format!("\u{feff}{text}")).unwrap();
        assert_eq!(TrustFile::load(&path).unwrap(), file().trust().unwrap());
        std::fs::write(&path, format!("\u{feff}\u{feff}{text}")).unwrap();
        assert!(TrustFile::load(&path).unwrap_err().contains("trust.json"));
        assert!(TrustFile::load(Path::new("/dev/zero")).unwrap_err().contains("larger"));
        assert!(TrustFile::load(&folder.path().join("none")).unwrap_err().contains("none"));
    }
}
