use crate::{
    KeyKind, LedgerError, VerifierKey, key_id,
    note::{SignatureLine, check_name},
};
use vermilion_crypto::{Digest, KeyId, PublicKey, check_registrable};

/// The least quorum k of n witnesses under which f stolen ones cannot show two histories:
/// ⌈(n + f + 1) / 2⌉.
///
/// Two quorums of k share at least 2k − n witnesses. If that is above f, an honest one is among
/// them, and an honest witness never cosigns two roots for one size. So 3 of 3 holds against two
/// stolen witnesses, 3 of 4 against one, 4 of 5 against two. A smaller k does not prevent two
/// histories; it only lets whoever sees both prove it ([`crate::Conflict`]).
///
/// The price is patience: with 3 of 3 no checkpoint is accepted while one node is away, with 3 of 4
/// or 4 of 5 one may be.
#[must_use]
pub const fn quorum_for(witnesses: usize, stolen: usize) -> usize {
    (witnesses + stolen + 1).div_ceil(2)
}

/// A node's cosigning key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Witness {
    /// Its key name.
    pub name: String,
    /// Its public key.
    pub key: PublicKey,
}

/// What goes into a [`Trust`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TrustSettings {
    /// The ledger's name: first line of every checkpoint, and name of the ledger key.
    pub origin: String,
    /// The hash of the ledger's genesis, from which its chain starts.
    pub ledger_id: Digest,
    /// The ledger key, which lives on the city's nodes alone.
    pub ledger_key: PublicKey,
    /// The nodes' cosigning keys, n of them.
    pub witnesses: Vec<Witness>,
    /// How many of them must have cosigned: k, 1 to n.
    pub quorum: usize,
    /// Whether the ledger key must have signed too.
    pub require_ledger_key: bool,
}

/// What a verifier pins: the ledger, its key, its witnesses and how many of them it wants.
///
/// Invariants: names are well-formed and no two are alike; keys are canonical points without a
/// small-order part and no two are alike, the ledger key included. (A cosignature's bytes do not
/// commit to the witness's name, so a key under two names would count twice.) The quorum is between
/// 1 and n.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Trust {
    settings: TrustSettings,
    ledger_key_id: u32,
    witness_ids: Vec<u32>,
}

/// Whose key a signature line names.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Known {
    Ledger,
    /// The witness at this position.
    Witness(usize),
}

impl Trust {
    /// Checks the settings and takes them.
    pub fn new(settings: TrustSettings) -> Result<Self, LedgerError> {
        let witnesses = &settings.witnesses;
        let names = || std::iter::once(&settings.origin).chain(witnesses.iter().map(|witness| &witness.name));
        let keys = || std::iter::once(&settings.ledger_key).chain(witnesses.iter().map(|witness| &witness.key));
        for name in names() {
            check_name(name)?;
        }
        for key in keys() {
            check_registrable(&key.0).map_err(|_| LedgerError::BadTrust("a key is malformed or not sound"))?;
        }
        if names().enumerate().any(|(n, name)| names().skip(n + 1).any(|other| other == name)) {
            return Err(LedgerError::BadTrust("two keys have the same name"));
        }
        if keys().enumerate().any(|(n, key)| keys().skip(n + 1).any(|other| other == key)) {
            return Err(LedgerError::BadTrust("two names have the same key"));
        }
        if settings.quorum == 0 || settings.quorum > witnesses.len() {
            return Err(LedgerError::BadTrust("the quorum is not between 1 and the number of witnesses"));
        }
        Ok(Self {
            ledger_key_id: key_id(&settings.origin, KeyKind::Note, &settings.ledger_key),
            witness_ids: witnesses.iter().map(|witness| key_id(&witness.name, KeyKind::Cosignature, &witness.key)).collect(),
            settings,
        })
    }

    /// The same from verifier keys as people write them down: the ledger's (kind 0x01, its name is
    /// the origin) and the witnesses' (kind 0x04).
    pub fn from_verifier_keys(
        ledger_id: Digest,
        ledger: &str,
        witnesses: &[&str],
        quorum: usize,
        require_ledger_key: bool,
    ) -> Result<Self, LedgerError> {
        let read = |text: &str, kind: KeyKind| {
            let key = VerifierKey::parse(text)?;
            if key.kind == kind { Ok(key) } else { Err(LedgerError::BadTrust("a verifier key is of the wrong kind")) }
        };
        let ledger = read(ledger, KeyKind::Note)?;
        let witness = |text: &&str| read(text, KeyKind::Cosignature).map(|key| Witness { name: key.name, key: key.key });
        Self::new(TrustSettings {
            origin: ledger.name,
            ledger_id,
            ledger_key: ledger.key,
            witnesses: witnesses.iter().map(witness).collect::<Result<_, _>>()?,
            quorum,
            require_ledger_key,
        })
    }

    /// The settings, as they were given.
    #[must_use]
    pub fn settings(&self) -> &TrustSettings {
        &self.settings
    }

    /// The most stolen witnesses under which nobody can show two histories to those who hold this
    /// trust: 2k − n − 1. `None` when two quorums need not share a witness at all.
    #[must_use]
    pub fn holds_against(&self) -> Option<usize> {
        (2 * self.settings.quorum).checked_sub(self.settings.witnesses.len() + 1)
    }

    /// The trusted key of this id with its name: the ledger key's, or a witness's.
    #[must_use]
    pub fn key_of(&self, id: &KeyId) -> Option<(&str, &PublicKey)> {
        let ledger = (self.settings.origin.as_str(), &self.settings.ledger_key);
        let witnesses = self.settings.witnesses.iter().map(|witness| (witness.name.as_str(), &witness.key));
        std::iter::once(ledger).chain(witnesses).find(|(_, key)| key.id() == *id)
    }

    /// Whose signature this line claims to be. Name and key id must both fit.
    pub(crate) fn known(&self, line: &SignatureLine) -> Option<Known> {
        if line.name() == self.settings.origin && line.id() == self.ledger_key_id {
            return Some(Known::Ledger);
        }
        let mut witnesses = self.settings.witnesses.iter().zip(&self.witness_ids);
        witnesses.position(|(witness, id)| line.name() == witness.name && line.id() == *id).map(Known::Witness)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use vermilion_crypto::SigningKey;

    fn settings() -> TrustSettings {
        let key = |n: u8| SigningKey::from_seed(&[n; 32]).public();
        TrustSettings {
            origin: "city.example/ledger".into(),
            ledger_id: [1; 32],
            ledger_key: key(0),
            witnesses: (1..=3).map(|n| Witness { name: format!("city.example/node{n}"), key: key(n) }).collect(),
            quorum: 3,
            require_ledger_key: true,
        }
    }

    #[test]
    fn quorums_of_the_design() {
        assert_eq!([quorum_for(3, 1), quorum_for(4, 1), quorum_for(5, 1)], [3, 3, 4]);
        assert_eq!([quorum_for(3, 2), quorum_for(4, 2), quorum_for(5, 2), quorum_for(1, 0)], [3, 4, 4, 1]);
        for n in 1..=20usize {
            for f in 0..n {
                let k = quorum_for(n, f);
                assert!(k <= n && 2 * k > n + f, "two quorums share an honest witness");
                assert!(2 * (k - 1) <= n + f, "and no smaller k gives that");
            }
        }
        let against = |n: u8, quorum| {
            let key = |n: u8| SigningKey::from_seed(&[n; 32]).public();
            let witnesses = (1..=n).map(|n| Witness { name: n.to_string(), key: key(n) }).collect();
            Trust::new(TrustSettings { witnesses, quorum, ..settings() }).unwrap().holds_against()
        };
        assert_eq!([against(3, 3), against(4, 3), against(5, 4), against(4, 2), against(3, 2)], [Some(2), Some(1), Some(2), None, Some(0)]);
    }

    #[test]
    fn settings_that_contradict_themselves_are_refused() {
        assert!(Trust::new(settings()).is_ok());
        let refused = |change: fn(&mut TrustSettings)| {
            let mut settings = settings();
            change(&mut settings);
            Trust::new(settings).unwrap_err()
        };
        assert_eq!(refused(|s| s.origin = "a b".into()), LedgerError::BadKeyName);
        assert_eq!(refused(|s| s.witnesses[0].name = "a+b".into()), LedgerError::BadKeyName);
        for change in [
            (|s| s.quorum = 0) as fn(&mut TrustSettings),
            |s| s.quorum = 4,
            |s| s.witnesses[1].name = s.witnesses[0].name.clone(),
            |s| s.witnesses[1].name = s.origin.clone(),
            |s| s.witnesses[1].key = s.witnesses[0].key,
            |s| s.witnesses[1].key = s.ledger_key,
            |s| s.ledger_key = PublicKey([0; 32]),
            |s| s.witnesses[0].key = PublicKey([0xff; 32]),
        ] {
            assert!(matches!(refused(change), LedgerError::BadTrust(_)));
        }
    }

    #[test]
    fn verifier_keys_make_the_same_trust() {
        let settings = settings();
        let text = |name: &str, kind, key| VerifierKey { name: name.into(), kind, key }.to_string();
        let ledger = text(&settings.origin, KeyKind::Note, settings.ledger_key);
        let witnesses: Vec<String> = settings.witnesses.iter().map(|w| text(&w.name, KeyKind::Cosignature, w.key)).collect();
        let witnesses: Vec<&str> = witnesses.iter().map(String::as_str).collect();
        let trust = Trust::from_verifier_keys([1; 32], &ledger, &witnesses, 3, true).unwrap();
        assert_eq!(trust, Trust::new(settings).unwrap());
        assert!(Trust::from_verifier_keys([1; 32], witnesses[0], &witnesses, 3, true).is_err());
        assert!(Trust::from_verifier_keys([1; 32], &ledger, &[&ledger], 1, true).is_err());
    }
}
