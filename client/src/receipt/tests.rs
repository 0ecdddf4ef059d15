//! Receipts of small ledgers made here: a record with two licences, and the commitment after it.

mod as_json;
pub(crate) mod registered;
pub(crate) mod rotated;

use super::*;
use proptest::prelude::*;
use vermilion_crypto::{PublicKey, SigningKey, sha256};
use vermilion_ledger::{
    Checkpoint, Commitment, CoseReceipt, Policy, StatusTree, Tree, TrustSettings, Witness, chain_next, chain_start, cosign, items_path,
    items_root, make_checkpoint, record_hash,
};
use vermilion_proto::{Body, Head, IssueLicences, ItemRefusal, Message as _, Outcome, Registration, Signer, SignerKind};
use vermilion_registry::content::Disclosure;
use vermilion_registry::stored::receipt_index;

pub(crate) const LEDGER: Digest = [
    0xfe, 0x14, 0x01, 0x0b, 0x4f, 0xe8, 0x33, 0x03, 0x85, 0x2f, 0x04, 0x67, 0xc9, 0x19, 0xef, 0x9a, 0x7c, 0xa0, 0x89, 0xb9, 0x1e, 0x96,
    0xe3, 0xaa, 0xd7, 0xd4, 0x26, 0xdd, 0x87, 0x07, 0x92, 0x97,
];

pub(crate) fn key(n: u8) -> SigningKey {
    SigningKey::from_seed(&[n; 32])
}

pub(crate) fn trust() -> Trust {
    let public = |n: u8| -> PublicKey { key(n).public() };
    Trust::new(TrustSettings {
        origin: "city.example/ledger".into(),
        ledger_id: LEDGER,
        ledger_key: public(1),
        witnesses: (2..=4).map(|n| Witness { name: format!("city.example/ledger/n{n}"), key: public(n) }).collect(),
        quorum: 3,
        require_ledger_key: true,
    })
    .unwrap()
}

fn field() -> Disclosure {
    Disclosure::new(&[9; 16], "area", serde_json::json!("12")).unwrap()
}

/// A digest that looks like one: what is deflated must not be shorter than it would be.
fn some(what: &str) -> Vec<u8> {
    sha256(what.as_bytes()).to_vec()
}

/// An item of `fields` fields.
fn item(n: usize, fields: u8) -> Vec<u8> {
    let mut digests: Vec<Digest> = (1..fields).map(|n| sha256(&[b'f', n])).chain([*field().digest()]).collect();
    digests.sort_unstable();
    LicenceItem {
        format_version: 1,
        identifier: format!("1.2.156.3005.2.11440300MB0X00019K003.11440305MB0X01046W.{n:010}.001.Y"),
        type_code: "11440300MB0X00019K003".into(),
        type_version: 1,
        issuing_authority: "11440305MB0X01046W".into(),
        area: "440305".into(),
        version: 1,
        effective_from: 40_000,
        expires_on: 60_000,
        holders: vec![vermilion_proto::HolderTag { tag: some("tag"), code_type: "001".into() }],
        field_digests: digests.concat(),
        field_classes: vec![2; usize::from(fields)],
        ciphertext_digest: some("ciphertext"),
        ..Default::default()
    }
    .encode_to_vec()
}

/// A command that issues items, and its record.
fn record(items: &[Vec<u8>], outcome: Outcome, seq: u64, ledger: Digest) -> Vec<u8> {
    let (maker, checker) = (key(10), key(11));
    let unit = "11440305MB0X01046W";
    let signer = |k: &SigningKey, post: &str| Signer {
        key_id: k.public().id().to_vec(),
        unit: unit.into(),
        post: post.into(),
        kind: SignerKind::Operator.into(),
        authentication: None,
    };
    let head = Head {
        format_version: 1,
        suite: 1,
        ledger_id: ledger.to_vec(),
        nonce: some("nonce")[..16].to_vec(),
        not_after_ms: 1_800_000_600_000,
        unit: unit.into(),
        signers: vec![signer(&maker, "maker"), signer(&checker, "checker")],
        wraps_digest: some("wraps"),
        ..Default::default()
    };
    let body = Of::IssueLicences(IssueLicences { items_root: items_root(items).to_vec(), items_count: items.len() as u32 });
    let (_, envelope) = vermilion_identity::seal(&Command { head: Some(head), body: Some(Body { of: Some(body) }) }, &[&maker, &checker]);
    Record {
        format_version: 1,
        seq,
        time_ms: 1_800_000_000_000,
        rules_version: 1,
        envelope: envelope.into(),
        beside_digest: some("beside"),
        outcome: Some(outcome),
        effects_digest: some("effects"),
        ..Default::default()
    }
    .encode_to_vec()
}

/// A note of the ledger key and three witnesses.
fn note(size: u64, root: Digest) -> Vec<u8> {
    let checkpoint = Checkpoint { origin: "city.example/ledger".into(), size, root };
    let mut note = make_checkpoint(&checkpoint, &key(1)).unwrap();
    for n in 2..=4u8 {
        note.add(cosign(&checkpoint.body(), &format!("city.example/ledger/n{n}"), &key(n), 1_800_000_000 + u64::from(n)).unwrap()).unwrap();
    }
    note.to_bytes()
}

struct NoTiles;
impl vermilion_ledger::TileStore for NoTiles {
    type Error = std::convert::Infallible;
    fn tile(&self, _: u8, _: u64) -> Result<Option<Vec<u8>>, Self::Error> {
        Ok(None)
    }
}

pub(crate) fn taken() -> Outcome {
    Outcome { first_status_index: Some(700), ..Default::default() }
}

fn receipt_with(outcome: Outcome, ledger: Digest, state: State) -> Receipt {
    receipt_behind(&[], outcome, ledger, state)
}

/// The receipt of the second licence of the record behind these, which it carries as registrations, under the
/// checkpoint at the commitment record after it, in a vector of 1,000 licences in which the second licence
/// has this state.
fn receipt_behind(before: &[Vec<u8>], outcome: Outcome, ledger: Digest, state: State) -> Receipt {
    receipt_of(&[item(1, 3), item(2, 3)], before, outcome, ledger, state)
}

/// The same of these two licences.
fn receipt_of(items: &[Vec<u8>], before: &[Vec<u8>], outcome: Outcome, ledger: Digest, state: State) -> Receipt {
    let seq = before.len() as u64;
    let bytes = record(items, outcome, seq, ledger);
    let (mut tree, mut chain, mut chains) = (Tree::new(), chain_start(&LEDGER), Vec::new());
    for bytes in before.iter().chain([&bytes]) {
        let open = open_behind(bytes, &chain).unwrap();
        chains.push(chain.to_vec());
        tree.append(open.leaf.hash());
        chain = open.chain;
    }
    let mut statuses = StatusTree::new();
    for n in 0..1000u64 {
        statuses.push(if n == 701 { state.number() } else { 1 }).unwrap();
    }
    let commitment = Some(Commitment { status_root: statuses.root(), state_digest: [0; 32] });
    let committed = Leaf { seq: seq + 1, time_ms: 1_800_000_001_000, record_hash: [1; 32], chain_hash: [2; 32], commitment };
    tree.append(committed.hash());
    let size = seq + 2;
    let inclusion = |at: u64| -> Vec<Vec<u8>> { tree.inclusion(&NoTiles, size, at).unwrap().iter().map(|h| h.to_vec()).collect() };
    let evidence = StatusEvidence {
        format_version: 1,
        leaf: committed.encode(),
        inclusion: inclusion(seq + 1).concat(),
        licence_count: 1000,
        proof: statuses.proof(701).unwrap().encode(),
    };
    let registration =
        |at: usize| Registration { record: before[at].clone(), chain_before: chains[at].clone(), inclusion: inclusion(at as u64) };
    Receipt {
        format_version: 1,
        record: bytes,
        chain_before: chains[before.len()].clone(),
        tree_size: size,
        inclusion: inclusion(seq),
        checkpoint: note(size, tree.root()),
        item: items[1].clone(),
        item_position: 1,
        item_path: items_path(items, 1).unwrap().iter().map(|h| h.to_vec()).collect(),
        disclosures: vec![field().encoded().to_owned()],
        status_proof: evidence.encode_to_vec(),
        registrations: (0..before.len()).map(registration).collect(),
        ..Default::default()
    }
}

pub(crate) fn receipt(outcome: Outcome, ledger: Digest) -> Receipt {
    receipt_with(outcome, ledger, State::Valid)
}

/// The same as a COSE receipt that a key signs.
fn cose(receipt: &Receipt, signer: u8) -> Vec<u8> {
    let root = check(receipt, &trust()).checkpoint.unwrap().root;
    let path = digests(&receipt.inclusion).unwrap();
    let rest = Receipt { tree_size: 0, inclusion: Vec::new(), ..receipt.clone() };
    CoseReceipt::make(&root, receipt.tree_size, receipt_index(receipt).unwrap(), &path, &rest.encode_to_vec(), &key(signer)).unwrap()
}

const NOW: u64 = 1_800_000_062_000;

#[test]
fn a_good_receipt_says_everything() {
    let found = check(&receipt(taken(), LEDGER), &trust());
    assert!(found.holds(), "{found:?}");
    assert_eq!((found.issuer.as_str(), found.posts.len(), found.as_of_ms()), ("11440305MB0X01046W", 2, Some(1_800_000_002_000)));
    assert_eq!(found.fields[0].value, "12");
    assert_eq!(found.status, StatusVerdict::Proven(ProvenStatus { state: State::Valid, seq: 1, time_ms: 1_800_000_001_000 }));
    let json = found.json(NOW);
    assert_eq!(json["ok"], true);
    assert_eq!(json["as_of"]["size"], 2);
    assert_eq!(json["cosigned_by"].as_array().unwrap().len(), 3);
    assert!(json["licence"]["identifier"].as_str().unwrap().contains("0000000002"));
    assert_eq!((&json["status"]["valid"], &json["status"]["shown_zh"], &json["age_s"]), (&true.into(), &"有效".into(), &60.into()));
    assert_eq!(json["leaf"].as_str().unwrap().len(), 2 * 84);
}

#[test]
fn each_status_is_told_in_both_languages_and_dates_count() {
    for state in State::ALL {
        let found = check(&receipt_with(taken(), LEDGER, state), &trust());
        let shown = found.shown(NOW).unwrap();
        assert!(found.holds());
        assert_eq!((shown.name(), shown.chinese(), shown.verify_code() == 0), (state.name(), state.chinese(), state == State::Valid));
    }
    let found = check(&receipt(taken(), LEDGER), &trust());
    // 60,000 days after 1900: in 2064.
    assert_eq!(found.shown(3_000_000_000_000).unwrap().name(), "expired");
    assert_eq!(found.json(3_000_000_000_000)["status"]["valid"], false);
}

#[test]
fn age_is_the_quorums_and_has_a_bound() {
    let found = check(&receipt(taken(), LEDGER), &trust());
    let at = |now, most| found.freshness(now, most);
    assert_eq!(at(NOW, Some(60_000)), Freshness::Fresh);
    assert_eq!(at(NOW + 1, Some(60_000)), Freshness::TooOld);
    assert_eq!(at(NOW + 1, None), Freshness::Fresh);
    assert_eq!(at(1_800_000_002_000 - AHEAD_MS, Some(0)), Freshness::Fresh);
    for most in [Some(60_000), None] {
        assert_eq!(at(1_800_000_002_000 - AHEAD_MS - 1, most), Freshness::Ahead, "with no age asked for too");
    }
    assert_eq!(at(1_800_000_002_000 - AHEAD_MS, None), Freshness::Fresh);
    let mut none = found.clone();
    none.checkpoint = None;
    assert_eq!((none.freshness(NOW, Some(1)), none.freshness(NOW, None)), (Freshness::Unknown, Freshness::Fresh));
}

#[test]
fn a_unit_whose_keys_are_pinned_needs_no_nodes_word() {
    let unit = "11440305MB0X01046W";
    let under = |of: &str, keys: &[u8]| {
        let units = [(of.to_owned(), keys.iter().map(|n| key(*n).public()).collect())].into();
        check(&receipt(taken(), LEDGER), &trust().with_policy(Policy { units, ..Policy::default() }).unwrap())
    };
    let pinned = under(unit, &[10, 11, 12]);
    assert!(pinned.holds() && pinned.unit_pinned);
    assert_eq!(pinned.signers, [key(10).public().0, key(11).public().0]);
    // Made under all the nodes' keys by somebody who lacks one of the unit's.
    let made_up = under(unit, &[10, 12]);
    assert!(made_up.genuine.is_ok() && made_up.issued.unwrap_err().contains(&hex::encode(key(11).public().0)));
    let other = under("11440304MB0X010624", &[12]);
    assert!(other.holds() && !other.unit_pinned);
    assert_eq!(other.json(NOW)["issued_by"]["pinned"], false);
}

#[test]
fn age_heeds_outside_witnesses_that_are_asked_for() {
    let outside = Witness { name: "w.example".into(), key: key(9).public() };
    let policy = Policy { outside: vec![outside], outside_need: 1, ..Policy::default() };
    let trust = trust().with_policy(policy).unwrap();
    let mut shown = receipt(taken(), LEDGER);
    let root = check(&shown, &trust).checkpoint.unwrap().root;
    let body = Checkpoint { origin: "city.example/ledger".into(), size: 2, root }.body();
    // The nodes say that they saw it now; the outside witness saw it a month ago.
    let mut note = vermilion_ledger::SignedNote::parse(&shown.checkpoint).unwrap();
    note.add(cosign(&body, "w.example", &key(9), 1_797_000_000).unwrap()).unwrap();
    shown.checkpoint = note.to_bytes();
    let found = check(&shown, &trust);
    assert!(found.holds(), "{found:?}");
    assert_eq!(found.as_of_ms(), Some(1_797_000_000_000));
    assert_eq!(found.json(NOW)["cosigned_by"].as_array().unwrap().len(), 4);
}

#[test]
fn each_answer_is_by_itself() {
    let trust = trust();
    let verdicts = |r: &Receipt| {
        let found = check(r, &trust);
        (found.genuine.is_ok(), found.issued.is_ok(), found.unaltered.is_ok())
    };
    let good = receipt(taken(), LEDGER);
    let mut altered = good.clone();
    altered.item[20] ^= 1;
    assert_eq!(verdicts(&altered), (true, false, false));
    let mut field = good.clone();
    field.disclosures = vec![Disclosure::new(&[9; 16], "area", serde_json::json!("13")).unwrap().encoded().to_owned()];
    assert!(!verdicts(&field).2);
    let mut tree = good.clone();
    tree.tree_size = 3;
    assert_eq!(verdicts(&tree), (false, true, true));
    assert!(matches!(check(&tree, &trust).status, StatusVerdict::Refused(_)), "no status without its record's place");
    let mut record = good.clone();
    let last = record.record.len() - 1;
    record.record[last] ^= 1;
    assert!(!verdicts(&record).0);
    assert_eq!(verdicts(&receipt(Outcome { code: 45, ..Default::default() }, LEDGER)), (true, false, true));
    let refused = Outcome { refused: vec![ItemRefusal { position: 1, code: 43 }], ..taken() };
    assert_eq!(verdicts(&receipt(refused, LEDGER)), (true, false, true));
    for format_version in [0, 2] {
        let other = LicenceItem { format_version, ..canonical(&good.item).unwrap() }.encode_to_vec();
        let found = check(&receipt_of(&[item(1, 3), other], &[], taken(), LEDGER, State::Valid), &trust);
        assert!(found.genuine.is_ok() && found.unaltered.unwrap_err().contains("format version"));
    }
    let other = Outcome { refused: vec![ItemRefusal { position: 0, code: 43 }], first_status_index: Some(701), ..Default::default() };
    assert_eq!(verdicts(&receipt(other.clone(), LEDGER)), (true, true, true));
    assert!(check(&receipt(other, LEDGER), &trust).holds(), "a licence's index skips those refused before it");
    let elsewhere = receipt(taken(), [6; 32]);
    assert_eq!(verdicts(&elsewhere), (false, false, true));
    let found = check(&elsewhere, &trust);
    assert!(found.genuine.unwrap_err().contains("another ledger") && matches!(found.status, StatusVerdict::Refused(_)));
    let mut alone = good.clone();
    (alone.item, alone.item_path, alone.disclosures) = Default::default();
    assert_eq!(verdicts(&alone), (true, true, false), "a place without its licence");
    (alone.item_position, alone.item_path) = (0, good.item_path.clone());
    assert_eq!(verdicts(&alone), (true, true, false), "a path without its licence");
    alone.item_path = Vec::new();
    assert_eq!(verdicts(&alone), (true, true, true));
    assert!(!check(&alone, &trust).holds(), "a status without its licence");
    alone.status_proof = Vec::new();
    assert!(check(&alone, &trust).holds());
    alone.disclosures = good.disclosures.clone();
    assert_eq!(verdicts(&alone), (true, true, false));
    assert_eq!(verdicts(&Receipt::default()), (false, false, false));
    let mut older = good;
    older.status_proof = Vec::new();
    let found = check(&older, &trust);
    assert!(found.holds() && found.status == StatusVerdict::Absent && found.shown(NOW).is_none());
    assert_eq!(found.json(NOW)["status"]["proven"], false);
}

/// A change, and what it changes.
type Change = (&'static str, Box<dyn Fn(&mut Receipt)>);

/// Every field of a receipt, changed, within an encoding that is whole again.
#[test]
fn every_field_changed_is_refused_in_every_form() {
    let good = registered::licence();
    let flip = |bytes: &mut Vec<u8>| *bytes.last_mut().unwrap() ^= 1;
    let evidence = |r: &mut Receipt, change: fn(&mut StatusEvidence)| {
        let mut of: StatusEvidence = canonical(&r.status_proof).unwrap();
        change(&mut of);
        r.status_proof = of.encode_to_vec();
    };
    let changes: Vec<Change> = vec![
        ("format_version", Box::new(|r| r.format_version = 2)),
        ("record", Box::new(move |r| flip(&mut r.record))),
        ("chain_before", Box::new(move |r| flip(&mut r.chain_before))),
        ("chain_before's length", Box::new(|r| r.chain_before.push(0))),
        ("tree_size", Box::new(|r| r.tree_size = 7)),
        ("inclusion", Box::new(move |r| flip(&mut r.inclusion[0]))),
        ("inclusion's length", Box::new(|r| r.inclusion.push(vec![0; 32]))),
        ("checkpoint", Box::new(move |r| flip(&mut r.checkpoint))),
        ("item", Box::new(move |r| flip(&mut r.item))),
        ("item_position", Box::new(|r| r.item_position = 0)),
        ("item_path", Box::new(move |r| flip(&mut r.item_path[0]))),
        ("item_path's length", Box::new(|r| r.item_path.clear())),
        ("disclosures", Box::new(|r| r.disclosures[0].push('A'))),
        ("status_proof", Box::new(move |r| flip(&mut r.status_proof))),
        ("endorsements", Box::new(|r| r.endorsements = vec![vec![1]])),
        ("registration's record", Box::new(move |r| flip(&mut r.registrations[0].record))),
        ("registration's chain_before", Box::new(move |r| flip(&mut r.registrations[0].chain_before))),
        ("registration's chain_before's length", Box::new(|r| r.registrations[1].chain_before.push(0))),
        ("registration's inclusion", Box::new(move |r| flip(&mut r.registrations[1].inclusion[0]))),
        ("registration's inclusion's length", Box::new(|r| r.registrations[1].inclusion.push(vec![0; 32]))),
        ("one registration", Box::new(|r| drop(r.registrations.pop()))),
        ("registrations' order", Box::new(|r| r.registrations.swap(0, 1))),
        ("a registration twice", Box::new(|r| r.registrations[1] = r.registrations[0].clone())),
        ("a registration more", Box::new(|r| r.registrations.push(Registration::default()))),
        ("evidence version", Box::new(move |r| evidence(r, |e| e.format_version = 2))),
        ("evidence leaf", Box::new(move |r| evidence(r, |e| e.leaf[90] ^= 1))),
        ("evidence leaf's time", Box::new(move |r| evidence(r, |e| e.leaf[19] ^= 1))),
        ("evidence inclusion", Box::new(move |r| evidence(r, |e| e.inclusion[0] ^= 1))),
        ("evidence count", Box::new(move |r| evidence(r, |e| e.licence_count += 1))),
        ("evidence chunk", Box::new(move |r| evidence(r, |e| e.proof[3] ^= 0x10))),
        ("evidence path", Box::new(move |r| evidence(r, |e| *e.proof.last_mut().unwrap() ^= 1))),
    ];
    let trust = trust();
    let cosed = Document::parse(&cose(&good, 1)).unwrap();
    assert!(cosed.check(&trust).holds());
    for (what, change) in changes {
        let mut changed = good.clone();
        change(&mut changed);
        assert_ne!(changed, good, "{what}");
        let holds = |bytes: Result<Vec<u8>, String>| bytes.and_then(|b| Document::parse(&b)).is_ok_and(|d| d.check(&trust).holds());
        for form in [Form::Binary, Form::Json, Form::TlogProof] {
            // A size in another number than the note's does not stand in a tlog-proof at all.
            if (form, what) != (Form::TlogProof, "tree_size") {
                assert!(!holds(Document::new(changed.clone()).encode(form)), "{what} as {form:?}");
            }
        }
        // As COSE, with the signature made again by a node over the true root: the rest is what was changed.
        let root = check(&good, &trust).checkpoint.unwrap().root;
        let path = digests(&changed.inclusion).unwrap();
        let rest = Receipt { tree_size: 0, inclusion: Vec::new(), ..changed.clone() };
        let again = CoseReceipt::make(&root, changed.tree_size, 2, &path, &rest.encode_to_vec(), &key(1)).map_err(|e| e.to_string());
        assert!(!holds(again), "{what} as COSE");
    }
}

#[test]
fn no_byte_of_any_form_may_change() {
    let (good, trust) = (registered::licence(), trust());
    let document = Document::new(good.clone());
    for form in [Form::Binary, Form::TlogProof, Form::Cose] {
        let whole = if form == Form::Cose { cose(&good, 3) } else { document.encode(form).unwrap() };
        let holds = |bytes: &[u8]| Document::parse(bytes).is_ok_and(|d| d.check(&trust).holds());
        let read = Document::parse(&whole).unwrap();
        assert_eq!((read.form, &read.receipt), (form, &good));
        assert!(holds(&whole));
        let survivors: Vec<usize> = (0..whole.len())
            .filter(|at| {
                let mut bytes = whole.clone();
                bytes[*at] ^= 1 << (at % 8);
                holds(&bytes)
            })
            .collect();
        assert_eq!(survivors, Vec::<usize>::new(), "{form:?}");
        assert!((0..whole.len()).step_by(7).all(|cut| !holds(&whole[..cut])), "{form:?}");
        assert!(!holds(&[&whole[..], &[0]].concat()), "{form:?}");
        assert!(!holds(&[&whole[..], b"\n"].concat()), "{form:?}");
    }
}

#[test]
fn forms_come_back_and_others_are_told() {
    let folder = tempfile::tempdir().unwrap();
    let good = receipt(taken(), LEDGER);
    for good in [&good, &registered::licence()] {
        for form in [Form::Binary, Form::Json, Form::TlogProof] {
            let path = folder.path().join("r");
            let bytes = Document::new(good.clone()).encode(form).unwrap();
            crate::files::write_file(&path, &bytes).unwrap();
            let read = Document::read(&path).unwrap();
            assert_eq!((read.form, &read.receipt), (form, good));
            assert_eq!(read.encode(form).unwrap(), bytes);
        }
    }
    // White space is free in JSON, and nowhere else.
    let encoded = |form| Document::new(good.clone()).encode(form).unwrap();
    for before in ["\u{feff}", "\r\n\t ", "\u{feff}\n"] {
        let read = Document::parse(&[before.as_bytes(), &encoded(Form::Json)].concat()).unwrap();
        assert_eq!((read.form, &read.receipt), (Form::Json, &good));
        assert!(Document::parse(&[before.as_bytes(), &encoded(Form::Binary)].concat()).is_err());
        assert!(Document::parse(&[before.as_bytes(), &encoded(Form::TlogProof)].concat()).is_err());
    }
    assert!(Document::new(good.clone()).encode(Form::Cose).is_err());
    let first = [b"VMRCPT1\n".as_slice(), &good.encode_to_vec()].concat();
    assert_eq!(Document::parse(&first).unwrap().receipt, good);
    for bad in
        [b"VMRCPT2\n".as_slice(), b"", b"{}", b"{\"format\":\"x\"}", b"\xd2\x84", b"c2sp.org/tlog-proof@v1\n", b"VMRCPT1\n\xf8\x07\x01"]
    {
        assert!(Document::parse(bad).is_err());
    }
    // A COSE receipt of a key that is not trusted, and one of another index.
    let strange = Document::parse(&cose(&good, 9)).unwrap().check(&trust());
    assert!(strange.genuine.unwrap_err().contains("trust"));
    let root = check(&good, &trust()).checkpoint.unwrap().root;
    let rest = Receipt { tree_size: 0, inclusion: Vec::new(), ..good.clone() }.encode_to_vec();
    assert!(Document::parse(&CoseReceipt::make(&root, 2, 1, &digests(&good.inclusion).unwrap(), &rest, &key(1)).unwrap()).is_err());
    let twice = good.encode_to_vec();
    assert!(Document::parse(&CoseReceipt::make(&root, 2, 0, &digests(&good.inclusion).unwrap(), &twice, &key(1)).unwrap()).is_err());
}

/// A licence's receipt in a ledger of `size` records, each with one licence, its leaf first and the
/// commitment's last. Only what the two proofs need is made of the tree: the first perfect tree's path
/// and the last one's, and a root for each between.
fn large(size: u64, statuses: &mut StatusTree, commitment_seq: u64, fields: u8, items: usize) -> Receipt {
    let items: Vec<Vec<u8>> = (0..items).map(|n| item(n, fields)).collect();
    let bytes = record(&items, Outcome { first_status_index: Some(1), ..Default::default() }, 0, LEDGER);
    let chain_before = chain_start(&LEDGER);
    let hash = record_hash(&bytes);
    let leaf =
        Leaf { seq: 0, time_ms: 1_800_000_000_000, record_hash: hash, chain_hash: chain_next(&chain_before, &hash), commitment: None };
    let commitment = Some(Commitment { status_root: statuses.root(), state_digest: sha256(b"state") });
    let committed =
        Leaf { seq: commitment_seq, time_ms: 1_800_000_001_000, record_hash: sha256(b"record"), chain_hash: sha256(b"chain"), commitment };
    let join = |a: &Digest, b: &Digest| vermilion_crypto::hash::sha256_parts(&[&[1], a, b]);
    let heights: Vec<u32> = (0..64).rev().filter(|bit| size >> bit & 1 == 1).collect();
    let (first, last) = (heights[0], *heights.last().unwrap());
    let (mut path, mut left) = (Vec::new(), leaf.hash());
    for n in 0..first {
        path.push(sha256(&[n as u8]));
        left = join(&left, &sha256(&[n as u8]));
    }
    let (mut end, mut right) = (Vec::new(), committed.hash());
    for n in 0..last {
        end.push(sha256(&[0x40 | n as u8]));
        right = join(&sha256(&[0x40 | n as u8]), &right);
    }
    let between: Vec<Digest> = heights[1..heights.len() - 1].iter().map(|height| sha256(&[0x80 | *height as u8])).collect();
    let rest = between.iter().rev().fold(right, |right, peak| join(peak, &right));
    path.push(rest);
    end.extend(between.iter().rev().chain([&left]));
    let evidence = StatusEvidence {
        format_version: 1,
        leaf: committed.encode(),
        inclusion: end.concat(),
        licence_count: statuses.count(),
        proof: statuses.proof(1).unwrap().encode(),
    };
    Receipt {
        format_version: 1,
        record: bytes,
        chain_before: chain_before.to_vec(),
        tree_size: size,
        inclusion: path.iter().map(|h| h.to_vec()).collect(),
        checkpoint: note(size, join(&left, &rest)),
        item: items[0].clone(),
        item_position: 0,
        item_path: items_path(&items, 0).unwrap().iter().map(|h| h.to_vec()).collect(),
        status_proof: evidence.encode_to_vec(),
        ..Default::default()
    }
}

#[test]
fn a_receipt_in_a_ledger_of_ten_million_records_is_four_kilobytes() {
    const SIZE: u64 = 10_000_000;
    let mut statuses = StatusTree::new();
    for n in 0..SIZE {
        // One licence in fifty is not valid: as many runs as such a chunk has.
        statuses.push(if n % 50 == 7 { 8 } else { 1 }).unwrap();
    }
    // The path of one licence among 1,000 of a command is ten hashes more.
    for (fields, items) in [(18, 1), (14, 1000), (18, 1000)] {
        let receipt = large(SIZE, &mut statuses, SIZE - 1, fields, items);
        assert!(check(&receipt, &trust()).holds());
        let bytes = Document::new(receipt.clone()).encode(Form::Binary).unwrap();
        println!("{fields} fields, {items} licences in the command: {} bytes", bytes.len());
        assert!(bytes.len() <= 4096, "{} bytes with {fields} fields and {items} licences in the command", bytes.len());
        let whole = Receipt { registrations: registered::large(), ..receipt.clone() };
        let bytes = Document::new(whole).encode(Form::Binary).unwrap();
        println!("with the registrations of two keys: {} bytes", bytes.len());
        assert!(bytes.len() <= 8192, "{} bytes with the registrations of two keys", bytes.len());
        let tlog = Document::new(receipt).encode(Form::TlogProof).unwrap();
        assert!(Document::parse(&tlog).unwrap().check(&trust()).holds());
    }
}

#[test]
#[ignore = "prints timings"]
#[allow(clippy::disallowed_methods, reason = "it measures")]
fn timings() {
    let mut statuses = StatusTree::new();
    for _ in 0..1_000_000u64 {
        statuses.push(1).unwrap();
    }
    let receipt = large(10_000_000, &mut statuses, 9_999_999, 18, 1000);
    let (bytes, trust) = (Document::new(receipt).encode(Form::Binary).unwrap(), trust());
    let start = std::time::Instant::now();
    for _ in 0..1000 {
        assert!(Document::parse(&bytes).unwrap().check(&trust).holds());
    }
    println!("receipt read and checked: {:?}", start.elapsed() / 1000);
}

proptest! {
    #[test]
    fn any_bytes_are_told_or_checked(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = Document::parse(&bytes);
        for magic in [b"VMRCPT1\n".as_slice(), b"{", b"\xd2\x84", b"c2sp.org/tlog-proof@v1\n"] {
            if let Ok(document) = Document::parse(&[magic, &bytes].concat()) {
                prop_assert!(!document.check(&trust()).holds());
            }
        }
    }

    /// Any one field of the message, whatever its number, replaced by any bytes.
    #[test]
    fn any_replaced_field_is_refused(number in 2u32..15, with in prop::collection::vec(any::<u8>(), 0..40)) {
        let (good, mut changed) = (registered::licence(), registered::licence());
        let text = String::from_utf8_lossy(&with).into_owned();
        match number {
            2 => changed.record = with,
            3 => changed.chain_before = with,
            4 => changed.tree_size = with.len() as u64,
            5 => changed.inclusion = vec![with],
            6 => changed.checkpoint = with,
            7 => changed.item = with,
            8 => changed.item_position = with.len() as u32,
            9 => changed.item_path = vec![with],
            10 => changed.disclosures = vec![text],
            11 => changed.status_proof = with,
            12 => changed.registrations[0].record = with,
            13 => changed.registrations[1].chain_before = with,
            _ => changed.registrations[0].inclusion = vec![with],
        }
        if changed != good && !(number == 11 && changed.status_proof.is_empty()) {
            let document = Document::parse(&Document::new(changed).encode(Form::Binary).unwrap()).unwrap();
            prop_assert!(!document.check(&trust()).holds());
        }
    }
}
