use crate::{
    KeyKind, LedgerError, VerifierKey, key_id,
    note::{SignatureLine, check_name},
};
use std::collections::BTreeMap;
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

/// A node's cosigning key, or an outside witness'.
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

/// The most ledger keys after the pinned one: as many as a ledger that takes a new one each year has in
/// sixty-four years. It bounds what a receipt's endorsements may cost to check.
pub const MAX_NEWER_KEYS: usize = 64;

/// A ledger key that took the place of the one before it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NewerKey {
    /// Sequence number of the record that endorses it. It signs every tree that holds this record; the key
    /// before it signs those that do not.
    pub from: u64,
    /// The key.
    pub key: PublicKey,
}

/// What a verifier may want beside k of the n nodes. The default wants nothing.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Policy {
    /// Names of the city's nodes among the witnesses. If there are any, a quorum of k is one of
    /// these and k − 1 of the others, the districts'; cosignatures beyond that replace nothing.
    pub city: Vec<String>,
    /// Witnesses outside the ledger's own nodes (C2SP tlog-witness).
    pub outside: Vec<Witness>,
    /// How many of those must have cosigned too; 0 if theirs are shown and not asked for.
    pub outside_need: usize,
    /// By USCC, the keys with which a unit signs, where the verifier has them from elsewhere than the nodes. Of a unit that is
    /// not among them, that its signers are its own is the nodes' word alone.
    pub units: BTreeMap<String, Vec<PublicKey>>,
}

/// What a verifier pins: the ledger, its key, its witnesses and how many of them it wants.
///
/// Invariants: names are well-formed and no two are alike; keys are canonical points without a
/// small-order part and no two are alike, the ledger key and outside witnesses included. (A
/// cosignature's bytes do not commit to the witness's name, so a key under two names would count
/// twice.) The quorum is between 1 and n. If the policy names city nodes, they are among the
/// witnesses, and there are k − 1 others. It asks for no more outside witnesses than it names. Newer
/// ledger keys follow each other.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Trust {
    settings: TrustSettings,
    policy: Policy,
    newer: Vec<NewerKey>,
    /// Of the pinned ledger key, then of the newer ones.
    ledger_key_ids: Vec<u32>,
    witness_ids: Vec<u32>,
    outside_ids: Vec<u32>,
}

/// Whose key a signature line names.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Known {
    Ledger,
    /// A ledger key in whose place another serves at this size, by its age.
    Former(usize),
    /// The node at this position.
    Witness(usize),
    /// The outside witness at this position.
    Outside(usize),
}

impl Trust {
    /// Checks the settings and takes them: k of n nodes.
    pub fn new(settings: TrustSettings) -> Result<Self, LedgerError> {
        Self::checked(settings, Policy::default(), Vec::new())
    }

    /// The same trust under another policy, checked.
    pub fn with_policy(self, policy: Policy) -> Result<Self, LedgerError> {
        Self::checked(self.settings, policy, self.newer)
    }

    /// The same trust with these ledger keys after the pinned one, the oldest first, in the place of those
    /// that it had. Whether they are endorsed is the caller's to know.
    pub fn with_newer_keys(self, newer: Vec<NewerKey>) -> Result<Self, LedgerError> {
        Self::checked(self.settings, self.policy, newer)
    }

    /// The trust as it was before a record: without the ledger keys that this or a later one endorses.
    #[must_use]
    pub fn before(&self, seq: u64) -> Self {
        let mut earlier = self.clone();
        earlier.newer.retain(|newer| newer.from < seq);
        earlier.ledger_key_ids.truncate(earlier.newer.len() + 1);
        earlier
    }

    fn checked(settings: TrustSettings, policy: Policy, newer: Vec<NewerKey>) -> Result<Self, LedgerError> {
        let witnesses = || settings.witnesses.iter().chain(&policy.outside);
        let names = || std::iter::once(&settings.origin).chain(witnesses().map(|witness| &witness.name));
        let ledger_keys = || std::iter::once(&settings.ledger_key).chain(newer.iter().map(|newer| &newer.key));
        let keys = || ledger_keys().chain(witnesses().map(|witness| &witness.key));
        if newer.len() > MAX_NEWER_KEYS {
            return Err(LedgerError::BadTrust("there are more ledger keys than are read"));
        }
        if newer.windows(2).any(|pair| pair[0].from >= pair[1].from) {
            return Err(LedgerError::BadTrust("the ledger keys are not in the order of the records that endorse them"));
        }
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
        if settings.quorum == 0 || settings.quorum > settings.witnesses.len() {
            return Err(LedgerError::BadTrust("the quorum is not between 1 and the number of witnesses"));
        }
        let city = &policy.city;
        if city.iter().enumerate().any(|(n, name)| city[n + 1..].contains(name)) {
            return Err(LedgerError::BadTrust("a node of the city is named twice"));
        }
        if city.iter().any(|name| settings.witnesses.iter().all(|witness| witness.name != *name)) {
            return Err(LedgerError::BadTrust("a node of the city is not among the witnesses"));
        }
        if !city.is_empty() && settings.quorum - 1 > settings.witnesses.len() - city.len() {
            return Err(LedgerError::BadTrust("the quorum asks for more district nodes than there are"));
        }
        if policy.outside_need > policy.outside.len() {
            return Err(LedgerError::BadTrust("more outside witnesses are asked for than are named"));
        }
        let ids = |witnesses: &[Witness]| witnesses.iter().map(|one| key_id(&one.name, KeyKind::Cosignature, &one.key)).collect();
        Ok(Self {
            ledger_key_ids: ledger_keys().map(|key| key_id(&settings.origin, KeyKind::Note, key)).collect(),
            witness_ids: ids(&settings.witnesses),
            outside_ids: ids(&policy.outside),
            settings,
            policy,
            newer,
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

    /// The ledger keys after the pinned one, the oldest first.
    #[must_use]
    pub fn newer_keys(&self) -> &[NewerKey] {
        &self.newer
    }

    /// The ledger key that signs a tree of this size.
    #[must_use]
    pub fn ledger_key_at(&self, size: u64) -> &PublicKey {
        self.newer.iter().rev().find(|newer| newer.from < size).map_or(&self.settings.ledger_key, |newer| &newer.key)
    }

    /// A ledger key by its age: 0 is the pinned one.
    pub(crate) fn ledger_key(&self, age: usize) -> Option<&PublicKey> {
        match age.checked_sub(1) {
            None => Some(&self.settings.ledger_key),
            Some(newer) => self.newer.get(newer).map(|newer| &newer.key),
        }
    }

    /// What is wanted beside k of n.
    #[must_use]
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// The most stolen witnesses, whichever they are, under which nobody can show two histories to
    /// those who hold this trust: one less than any two quorums must share. `None` when two quorums
    /// need not share a witness at all.
    ///
    /// Two quorums of k of n share 2k − n. With one of c city nodes and k − 1 of d districts' they
    /// share 2(k − 1) − d of the districts', and the city's node if there is only one: with two,
    /// each history can have its own. Outside witnesses, i of o, add 2i − o. Nothing is below 0.
    ///
    /// It counts cosignatures alone. The ledger key, where it is required, stands in the way besides:
    /// without a node that holds it there is no second history at all.
    #[must_use]
    pub fn holds_against(&self) -> Option<usize> {
        let shared = |need: usize, of: usize| (2 * need).saturating_sub(of);
        let (k, n, c) = (self.settings.quorum, self.settings.witnesses.len(), self.policy.city.len());
        let nodes = if c == 0 { shared(k, n) } else { shared(k - 1, n - c) + shared(1, c) };
        (nodes + shared(self.policy.outside_need, self.policy.outside.len())).checked_sub(1)
    }

    /// Whether these are enough: names of nodes and of outside witnesses that have cosigned, each once.
    pub(crate) fn enough<'a>(
        &self,
        nodes: impl Iterator<Item = &'a str> + Clone,
        outside: impl Iterator<Item = &'a str>,
    ) -> Result<(), LedgerError> {
        let (k, city) = (self.settings.quorum, &self.policy.city);
        let of_city = nodes.clone().filter(|name| city.iter().any(|one| one == name)).count();
        if !city.is_empty() && of_city == 0 {
            return Err(LedgerError::NoCityNode);
        }
        let have = nodes.count() - of_city.saturating_sub(1);
        if have < k {
            return Err(LedgerError::Quorum { have, need: k });
        }
        let (have, need) = (outside.count(), self.policy.outside_need);
        if have < need { Err(LedgerError::OutsideQuorum { have, need }) } else { Ok(()) }
    }

    /// The trusted key of this id with its name: that of the ledger key which signs a tree of this size, or
    /// a witness's.
    #[must_use]
    pub fn key_of(&self, id: &KeyId, size: u64) -> Option<(&str, &PublicKey)> {
        let ledger = (self.settings.origin.as_str(), self.ledger_key_at(size));
        let witnesses = self.settings.witnesses.iter().map(|witness| (witness.name.as_str(), &witness.key));
        std::iter::once(ledger).chain(witnesses).find(|(_, key)| key.id() == *id)
    }

    /// Whose signature this line, over a tree of this size, claims to be. Name and key id must both fit. A
    /// ledger key that does not serve yet at this size is unknown.
    pub(crate) fn known(&self, line: &SignatureLine, size: u64) -> Option<Known> {
        if line.name() == self.settings.origin {
            let serving = self.newer.iter().take_while(|newer| newer.from < size).count();
            let age = self.ledger_key_ids.iter().take(serving + 1).rposition(|id| line.id() == *id);
            if let Some(age) = age {
                return Some(if age == serving { Known::Ledger } else { Known::Former(age) });
            }
        }
        let among = |witnesses: &[Witness], ids: &[u32]| {
            witnesses.iter().zip(ids).position(|(witness, id)| line.name() == witness.name && line.id() == *id)
        };
        let node = among(&self.settings.witnesses, &self.witness_ids).map(Known::Witness);
        node.or_else(|| among(&self.policy.outside, &self.outside_ids).map(Known::Outside))
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
    fn each_ledger_key_signs_the_trees_without_the_next_ones_record() {
        let key = |n: u8| SigningKey::from_seed(&[n; 32]).public();
        let newer = vec![NewerKey { from: 10, key: key(50) }, NewerKey { from: 20, key: key(51) }];
        let trust = Trust::new(settings()).unwrap().with_newer_keys(newer.clone()).unwrap();
        let own = settings().ledger_key;
        for (size, due) in [(1, own), (10, own), (11, key(50)), (20, key(50)), (21, key(51)), (u64::MAX, key(51))] {
            assert_eq!(*trust.ledger_key_at(size), due, "{size}");
            assert!(trust.key_of(&due.id(), size).is_some());
        }
        assert!(trust.key_of(&own.id(), 11).is_none() && trust.key_of(&key(51).id(), 20).is_none());
        assert_eq!(trust.before(20).newer_keys(), &newer[..1]);
        assert_eq!(trust.before(10), Trust::new(settings()).unwrap());
        for bad in [
            vec![newer[1], newer[0]],
            vec![newer[0], NewerKey { from: 10, key: key(51) }],
            vec![newer[0], NewerKey { from: 11, key: key(50) }],
            vec![NewerKey { from: 10, key: own }],
            vec![NewerKey { from: 10, key: PublicKey([0; 32]) }],
            (0..=MAX_NEWER_KEYS as u64).map(|n| NewerKey { from: n, key: key(100 + n as u8) }).collect(),
        ] {
            assert!(Trust::new(settings()).unwrap().with_newer_keys(bad).is_err());
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

    fn key(n: u8) -> PublicKey {
        SigningKey::from_seed(&[n; 32]).public()
    }

    /// Of c city nodes, d district nodes and o outside witnesses: one of the city, k districts', i outside.
    fn mixed(c: u8, d: u8, k: usize, o: u8, i: usize) -> Result<Trust, LedgerError> {
        let node = |n: u8| Witness { name: format!("node{n}"), key: key(n) };
        let witnesses: Vec<_> = (1..=c + d).map(node).collect();
        let city = witnesses[..usize::from(c)].iter().map(|w| w.name.clone()).collect();
        let outside = (100..100 + o).map(node).collect();
        let policy = Policy { city, outside, outside_need: i, ..Policy::default() };
        Trust::new(TrustSettings { witnesses, quorum: k + 1, ..settings() })?.with_policy(policy)
    }

    /// What two quorums must share, by trying all pairs of sets of cosigners that are enough.
    fn shared_by_search(trust: &Trust) -> u32 {
        let (nodes, outside) = (&trust.settings.witnesses, &trust.policy.outside);
        let all = nodes.len() + outside.len();
        let enough = |set: u32| {
            let there = |n: usize| set >> n & 1 == 1;
            let nodes = nodes.iter().enumerate().filter(|(n, _)| there(*n)).map(|(_, w)| w.name.as_str());
            let outside = outside.iter().enumerate().filter(|(n, _)| there(nodes_len(trust) + n)).map(|(_, w)| w.name.as_str());
            trust.enough(nodes, outside).is_ok()
        };
        let quorums: Vec<u32> = (0..1u32 << all).filter(|set| enough(*set)).collect();
        quorums.iter().flat_map(|a| quorums.iter().map(move |b| (a & b).count_ones())).min().unwrap()
    }

    fn nodes_len(trust: &Trust) -> usize {
        trust.settings.witnesses.len()
    }

    #[test]
    fn what_a_policy_holds_against_is_what_all_its_quorums_share() {
        let mut tried = 0;
        for (c, d, o) in [(0u8, 3u8, 0u8), (0, 4, 2), (1, 2, 0), (1, 3, 1), (1, 4, 0), (2, 2, 0), (2, 3, 3), (3, 2, 1)] {
            for k in 0..=usize::from(d) {
                for i in 0..=usize::from(o) {
                    // Without city nodes a quorum of k + 1 needs so many.
                    let Ok(trust) = mixed(c, d, k, o, i) else {
                        assert!(c == 0 && k == usize::from(d));
                        continue;
                    };
                    let shared = shared_by_search(&trust) as usize;
                    assert_eq!(trust.holds_against(), shared.checked_sub(1), "{c} city, {k} of {d}, {i} of {o}");
                    tried += 1;
                }
            }
        }
        assert_eq!(tried, 56);
        // One of one city node and two of two districts is three of three; with a second city node it is less.
        assert_eq!(mixed(1, 2, 2, 0, 0).unwrap().holds_against(), Some(2));
        assert_eq!(mixed(2, 2, 2, 0, 0).unwrap().holds_against(), Some(1));
        assert_eq!(mixed(2, 3, 1, 0, 0).unwrap().holds_against(), None);
    }

    #[test]
    fn a_policy_that_cannot_be_is_refused() {
        let trust = Trust::new(settings()).unwrap();
        let node = |n: usize| settings().witnesses[n].name.clone();
        let outside = |name: &str, n: u8| Witness { name: name.into(), key: key(n) };
        let refused = |policy: Policy| trust.clone().with_policy(policy).unwrap_err();
        for policy in [
            Policy { city: vec!["city.example/else".into()], ..Policy::default() },
            Policy { city: vec![node(0), node(0)], ..Policy::default() },
            // A quorum of three needs two districts' nodes.
            Policy { city: vec![node(0), node(1)], ..Policy::default() },
            Policy { outside_need: 1, ..Policy::default() },
            Policy { outside: vec![outside(&node(0), 9)], ..Policy::default() },
            Policy { outside: vec![outside("w.example", 1)], ..Policy::default() },
            Policy { outside: vec![outside("w.example", 0)], ..Policy::default() },
            Policy { outside: vec![outside("w.example", 9), outside("v.example", 9)], ..Policy::default() },
        ] {
            assert!(matches!(refused(policy.clone()), LedgerError::BadTrust(_)), "{policy:?}");
        }
        assert_eq!(refused(Policy { outside: vec![outside("a b", 9)], ..Policy::default() }), LedgerError::BadKeyName);
        let good = Policy { city: vec![node(1)], outside: vec![outside("w.example", 9)], outside_need: 1, ..Policy::default() };
        assert_eq!(trust.clone().with_policy(good.clone()).unwrap().policy(), &good);
        assert_eq!(trust.clone().with_policy(Policy::default()).unwrap(), trust);
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
