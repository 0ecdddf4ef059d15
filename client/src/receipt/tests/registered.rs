//! Receipts with the registrations of the keys that signed: of a ledger in memory under all the rules, and of
//! made-up ones, each wrong in one thing.

use super::*;
use crate::audit::tests::sample::{CITY, Sample, key as named, operator};
use vermilion_proto::{AddOperator, Operator};

const UNIT: &str = "11440305MB0X01046W";
/// When the issue is recorded, in milliseconds.
const ISSUED: u64 = 1_800_000_000_000;

/// The operator of a key, in a post of the unit that issues.
fn of_key(n: u8, post: &str) -> Operator {
    Operator {
        key_id: key(n).public().id().to_vec(),
        suite: 1,
        public_key: key(n).public().0.to_vec(),
        person_tag: some(&format!("person {n}")),
        unit: UNIT.into(),
        posts: vec![post.into()],
        name_digest: some(&format!("name {n}")),
        ..Default::default()
    }
}

/// The record that registers an operator, signed by three posts of the managing unit.
fn adding(seq: u64, operator: Operator) -> Record {
    let keys = [key(30), key(31), key(32)];
    let signer = |(key, post): (&SigningKey, &str)| Signer {
        key_id: key.public().id().to_vec(),
        unit: CITY.into(),
        post: post.into(),
        kind: SignerKind::Operator.into(),
        authentication: None,
    };
    let head = Head {
        format_version: 1,
        suite: 1,
        ledger_id: LEDGER.to_vec(),
        nonce: some(&format!("nonce {seq}"))[..16].to_vec(),
        not_after_ms: ISSUED,
        unit: CITY.into(),
        signers: keys.iter().zip(["approve", "operate", "verify"]).map(signer).collect(),
        text_digests: vec![some(&format!("text {seq}"))],
        text_ciphertext_digest: some(&format!("text's ciphertext {seq}")),
        wraps_digest: some(&format!("wraps {seq}")),
        ..Default::default()
    };
    let body = Of::AddOperator(AddOperator { operator: Some(operator) });
    let (_, envelope) =
        vermilion_identity::seal(&Command { head: Some(head), body: Some(Body { of: Some(body) }) }, &[&keys[0], &keys[1], &keys[2]]);
    Record {
        format_version: 1,
        seq,
        time_ms: ISSUED - 1_000_000 + seq,
        rules_version: 1,
        envelope: envelope.into(),
        beside_digest: some(&format!("beside {seq}")),
        outcome: Some(Outcome::default()),
        effects_digest: some(&format!("effects {seq}")),
        ..Default::default()
    }
}

/// The receipt of a licence behind the registrations of these operators, its records changed so.
fn behind(operators: [Operator; 2], change: impl Fn(&mut Record)) -> Receipt {
    let records: Vec<Vec<u8>> = (0..)
        .zip(operators)
        .map(|(seq, operator)| {
            let mut record = adding(seq, operator);
            change(&mut record);
            record.encode_to_vec()
        })
        .collect();
    receipt_behind(&records, taken(), LEDGER, State::Valid)
}

/// The receipt of a licence with the registrations of both keys that signed.
pub(crate) fn licence() -> Receipt {
    behind([of_key(10, "maker"), of_key(11, "checker")], |_| {})
}

/// Registrations as long as they are in a ledger of ten million records: no hash of their paths is the receipt's.
pub(super) fn large() -> Vec<Registration> {
    let made = |(n, post): (u8, &str)| Registration {
        record: adding(u64::from(n), of_key(n, post)).encode_to_vec(),
        chain_before: some(&format!("chain {n}")),
        inclusion: (0..24).map(|level| some(&format!("path {n} {level}"))).collect(),
    };
    [(10, "maker"), (11, "checker")].map(made).to_vec()
}

/// Why a receipt's registrations are refused, by its code.
fn why(receipt: &Receipt, trust: &Trust) -> String {
    let found = check(receipt, trust);
    assert!(found.genuine.is_ok() && found.registered.is_empty(), "{found:?}");
    let why = found.issued.unwrap_err();
    let code = why.split(['(', ')']).nth(1).unwrap_or_default();
    assert!(code.starts_with("registration."), "{why}");
    code.to_owned()
}

/// A record of the ledger in memory with records as its registrations, under its last checkpoint.
fn of_sample(sample: &Sample, seq: u64, registrations: &[u64]) -> Receipt {
    let mut tree = Tree::new();
    for stored in &sample.records {
        tree.append(vermilion_registry::stored::open_record(stored).unwrap().leaf.hash());
    }
    let (size, note) = sample.checkpoints.last_key_value().unwrap();
    let made = |seq: u64| Registration {
        record: sample.records[seq as usize].record.to_vec(),
        chain_before: match seq {
            0 => chain_start(&sample.trust.settings().ledger_id).to_vec(),
            _ => sample.records[seq as usize - 1].chain.clone(),
        },
        inclusion: tree.inclusion(&NoTiles, *size, seq).unwrap().iter().map(|h| h.to_vec()).collect(),
    };
    let Registration { record, chain_before, inclusion } = made(seq);
    Receipt {
        format_version: 1,
        record,
        chain_before,
        tree_size: *size,
        inclusion,
        checkpoint: note.clone(),
        registrations: registrations.iter().map(|seq| made(*seq)).collect(),
        ..Default::default()
    }
}

/// Of the genesis, a unit, its maker and checker, a type; then an issue, another operator and a commitment.
fn sample() -> Sample {
    let mut sample = Sample::new();
    sample.issue(&["A1", "A2"]);
    let issuer = sample.issuer.clone();
    sample.managed(Of::AddOperator(operator("late", &issuer, "maker")));
    sample.commit();
    sample
}

fn pinning(trust: &Trust, units: &[(&str, &[&str])]) -> Trust {
    let keys = |names: &[&str]| -> Vec<PublicKey> { names.iter().map(|name| named(name).public()).collect() };
    let units = units.iter().map(|(unit, names)| ((*unit).to_owned(), keys(names))).collect();
    trust.clone().with_policy(Policy { units, ..Policy::default() }).unwrap()
}

#[test]
fn keys_that_the_ledger_registered_are_the_units_by_its_records() {
    let sample = sample();
    let found = check(&of_sample(&sample, 5, &[2, 3]), &sample.trust);
    assert!(found.holds(), "{found:?}");
    assert_eq!((found.rests_on(), found.registered.len()), (RestsOn::Registered, 2));
    assert_eq!(
        found.registered.iter().map(|of| (of.seq, of.keys.clone())).collect::<Vec<_>>(),
        [(2, vec![named("mia").public().0]), (3, vec![named("carl").public().0])]
    );
    let by = found.registered[1].by.as_ref().unwrap();
    let signers: Vec<_> = by.signers.iter().map(|(post, key)| (post.as_str(), *key)).collect();
    let managers = [("approve", "ann"), ("operate", "oli"), ("verify", "vera")].map(|(post, name)| (post, named(name).public().0));
    assert_eq!((by.unit.as_str(), signers, by.pinned), (CITY, managers.to_vec(), false));
    let said = &found.json(NOW)["issued_by"];
    assert_eq!((&said["rests_on"], &said["pinned"]), (&"registered".into(), &false.into()));
    let first = &said["registrations"][0];
    assert_eq!((&first["seq"], &first["genesis"], &first["unit"]), (&2.into(), &false.into(), &CITY.into()));
    assert_eq!(first["keys"][0], hex::encode(named("mia").public().0));
    assert_eq!(first["signed_by"][2]["post"], "verify");

    // Without them it holds as it did, and says what it rests on.
    let found = check(&of_sample(&sample, 5, &[]), &sample.trust);
    assert!(found.holds());
    assert_eq!((found.rests_on(), &found.json(NOW)["issued_by"]["rests_on"]), (RestsOn::Nodes, &"nodes".into()));
}

#[test]
fn founders_keys_stand_in_the_genesis_whose_hash_is_pinned() {
    let sample = sample();
    let found = check(&of_sample(&sample, 1, &[0]), &sample.trust);
    assert!(found.holds(), "{found:?}");
    assert_eq!((found.rests_on(), found.registered[0].keys.len(), &found.registered[0].by), (RestsOn::Registered, 3, &None));
    let said = &found.json(NOW)["issued_by"]["registrations"][0];
    assert_eq!((&said["genesis"], &said["pinned"], &said["unit"]), (&true.into(), &true.into(), &serde_json::Value::Null));
    // The registration of an operator, too, rests on the genesis; a receipt of it says so.
    assert!(check(&of_sample(&sample, 2, &[0]), &sample.trust).holds());
}

#[test]
fn a_record_is_genuine_in_the_ledger_that_is_pinned_alone() {
    let sample = sample();
    // The genesis names no ledger: its hash is the ledger's id. Nobody signs it.
    let found = check(&of_sample(&sample, 0, &[]), &sample.trust);
    assert!(found.genuine.is_ok() && found.issued.as_ref().unwrap_err().contains("genesis"), "{found:?}");
    // The same keys, pinned with the id of another ledger.
    let other = Trust::new(TrustSettings { ledger_id: [6; 32], ..sample.trust.settings().clone() }).unwrap();
    for seq in [0, 1, 5] {
        let found = check(&of_sample(&sample, seq, &[]), &other);
        assert!(found.genuine.is_err() && found.issued.is_err(), "record {seq}: {found:?}");
    }
}

#[test]
fn keys_that_are_pinned_are_asked_for_one_level_up_too() {
    let sample = sample();
    let receipt = of_sample(&sample, 5, &[2, 3]);
    let own = check(&receipt, &pinning(&sample.trust, &[(&sample.issuer, &["mia", "carl"])]));
    assert!(own.holds(), "{own:?}");
    assert_eq!((own.rests_on(), own.registered.len()), (RestsOn::Pinned, 2));
    // Whoever pins the managing unit's keys needs to pin no other's.
    let managers = check(&receipt, &pinning(&sample.trust, &[(CITY, &["ann", "oli", "vera"])]));
    assert!(managers.holds() && managers.registered.iter().all(Registered::is_pinned), "{managers:?}");
    assert_eq!(managers.rests_on(), RestsOn::Registered);
    assert_eq!(why(&receipt, &pinning(&sample.trust, &[(CITY, &["ann", "oli"])])), "registration.foreign_key");
}

#[test]
fn records_that_do_not_register_the_keys_before_the_command_are_refused_by_name() {
    let sample = sample();
    for (seq, registrations, code) in [
        (5, &[2][..], "registration.missing"),
        (5, &[3, 2], "registration.order"),
        (5, &[2, 2], "registration.order"),
        (5, &[0, 2, 3], "registration.too_many"),
        (5, &[1, 2], "registration.no_operator"),
        (5, &[0, 2], "registration.other_key"),
        (5, &[2, 6], "registration.later"),
        (5, &[5, 6], "registration.later"),
        (2, &[1], "registration.no_operator"),
        // A node's key is no operator's.
        (7, &[0], "registration.other_key"),
    ] {
        assert_eq!(why(&of_sample(&sample, seq, registrations), &sample.trust), code, "{seq} {registrations:?}");
    }
    // Under the checkpoint of a smaller tree, or another ledger's.
    let mut early = Sample::new();
    early.commit();
    early.issue(&["A1", "A2"]);
    let old = of_sample(&early, 4, &[2, 3]).registrations;
    early.commit();
    let receipt = of_sample(&early, 6, &[2, 3]);
    assert!(check(&receipt, &early.trust).holds());
    assert_eq!(why(&Receipt { registrations: old, ..receipt.clone() }, &early.trust), "registration.not_in_ledger");
    let other = licence().registrations;
    assert_eq!(why(&Receipt { registrations: other, ..receipt.clone() }, &early.trust), "registration.not_in_ledger");
    for unreadable in [Registration::default(), Registration { record: vec![1], chain_before: vec![0; 32], inclusion: Vec::new() }] {
        assert_eq!(why(&Receipt { registrations: vec![unreadable], ..receipt.clone() }, &early.trust), "registration.form");
    }
}

#[test]
fn registrations_that_do_not_fit_are_refused_by_name_even_under_the_checkpoint() {
    let whole = || [of_key(10, "maker"), of_key(11, "checker")];
    assert!(check(&licence(), &trust()).holds());
    let with = |change: &dyn Fn(&mut Operator)| {
        let mut operators = whole();
        change(&mut operators[1]);
        behind(operators, |_| {})
    };
    for (code, receipt) in [
        ("other_key", with(&|o| *o = of_key(12, "checker"))),
        // Another key under the id of the one that signed.
        ("other_key", with(&|o| o.public_key = key(12).public().0.to_vec())),
        ("other_key", with(&|o| *o = of_key(10, "maker"))),
        ("other_unit", with(&|o| o.unit = CITY.into())),
        ("post", with(&|o| o.posts = vec!["maker".into()])),
        ("term", with(&|o| o.from_ms = ISSUED + 1)),
        ("term", with(&|o| o.until_ms = ISSUED)),
        ("refused", behind(whole(), |r| r.outcome = Some(Outcome { code: 45, ..Default::default() }))),
        ("signatures", behind(whole(), |r| r.envelope = [&r.envelope[..r.envelope.len() - 1], &[0xff]].concat().into())),
        ("signatures", behind(whole(), |r| r.envelope.clear())),
        ("wrong_ledger", behind(whole(), of_another_ledger)),
    ] {
        assert_eq!(why(&receipt, &trust()), format!("registration.{code}"));
    }
    let in_force = with(&|o| (o.from_ms, o.until_ms) = (ISSUED, ISSUED + 1));
    assert!(check(&in_force, &trust()).holds());
}

/// The same record with its command signed for another ledger.
fn of_another_ledger(record: &mut Record) {
    let mut command = vermilion_identity::open(&record.envelope).unwrap().command;
    command.head.as_mut().unwrap().ledger_id = vec![6; 32];
    let keys = [key(30), key(31), key(32)];
    record.envelope = vermilion_identity::seal(&command, &[&keys[0], &keys[1], &keys[2]]).1.into();
}

#[test]
fn a_genesis_of_another_ledger_registers_nobody_here() {
    let genesis = vermilion_registry::stored::open_record(&Sample::new().records[0]).unwrap().record;
    let receipt = behind([of_key(10, "maker"), of_key(11, "checker")], |record| {
        if record.seq == 1 {
            *record = Record { seq: 1, ..genesis.clone() };
        }
    });
    assert_eq!(why(&receipt, &trust()), "registration.wrong_ledger");
}

#[test]
fn a_record_that_is_not_proved_proves_no_registration() {
    let mut receipt = licence();
    receipt.tree_size += 1;
    let found = check(&receipt, &trust());
    assert!(found.genuine.is_err() && found.issued.is_err() && found.registered.is_empty());
    assert_eq!(found.rests_on(), RestsOn::Nodes);
}

#[test]
fn no_byte_of_a_registration_may_change() {
    let (good, trust) = (licence(), trust());
    for (n, registration) in good.registrations.iter().enumerate() {
        let encoded = registration.encode_to_vec();
        for at in 0..encoded.len() {
            let mut bytes = encoded.clone();
            bytes[at] ^= 1 << (at % 8);
            let Ok(changed) = canonical::<Registration>(&bytes) else { continue };
            let mut receipt = good.clone();
            receipt.registrations[n] = changed;
            assert!(!check(&receipt, &trust).holds(), "byte {at} of registration {n}");
        }
    }
}

proptest! {
    #[test]
    fn any_bytes_as_registrations_are_refused(
        record in prop::collection::vec(any::<u8>(), 0..200), chain in prop::collection::vec(any::<u8>(), 30..34),
        hashes in prop::collection::vec(prop::collection::vec(any::<u8>(), 31..34), 0..4), more in any::<bool>(),
    ) {
        let (mut receipt, made) = (licence(), Registration { record, chain_before: chain, inclusion: hashes });
        if more { receipt.registrations[1] = made } else { receipt.registrations = vec![made] }
        let found = check(&receipt, &trust());
        prop_assert!(found.genuine.is_ok() && found.issued.is_err() && found.registered.is_empty());
    }
}
