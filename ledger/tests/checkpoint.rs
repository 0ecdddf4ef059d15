//! Checkpoints, cosignatures, merging and conflicts.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use base64::prelude::{BASE64_STANDARD, Engine as _};
use proptest::prelude::*;
use vermilion_crypto::SigningKey;
use vermilion_ledger::*;

const ORIGIN: &str = "city.example/ledger";
const TIME: u64 = 1_790_000_000;

fn key(n: u8) -> SigningKey {
    SigningKey::from_seed(&[n; 32])
}

fn node(n: u8) -> String {
    format!("city.example/node{n}")
}

fn trust(quorum: usize) -> Trust {
    Trust::new(TrustSettings {
        origin: ORIGIN.into(),
        ledger_id: [1; 32],
        ledger_key: key(0).public(),
        witnesses: (1..=4).map(|n| Witness { name: node(n), key: key(n).public() }).collect(),
        quorum,
        require_ledger_key: true,
    })
    .unwrap()
}

fn checkpoint(size: u64, root: u8) -> Checkpoint {
    Checkpoint { origin: ORIGIN.into(), size, root: [root; 32] }
}

/// A checkpoint, signed under the ledger key and by these nodes at `TIME` plus their number.
fn note(size: u64, root: u8, nodes: &[u8]) -> SignedNote {
    let mut note = make_checkpoint(&checkpoint(size, root), &key(0)).unwrap();
    for n in nodes {
        let line = cosign(note.body(), &node(*n), &key(*n), TIME + u64::from(*n)).unwrap();
        note.add(line).unwrap();
    }
    note
}

fn names(verified: &Verified) -> Vec<&str> {
    verified.cosigners.iter().map(|cosigner| cosigner.name.as_str()).collect()
}

#[test]
fn the_example_of_c2sp_tlog_checkpoint_reads() {
    let body = "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n";
    let text = format!(
        "{body}\n— example.com/behind-the-sofa Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=\n\
         — witness.example.com/w1 jWbPPwAAAABkGFDLEZMHwSRaJNiIDoe9DYn/zXcrtPHeolMI5OWXEhZCB9dlrDJsX3b2oyin1nPZqhf5nNo0xUe+mbIUBkBIfZ+qnA==\n"
    );
    let note = SignedNote::parse(text.as_bytes()).unwrap();
    assert_eq!(note.body(), body);
    assert_eq!(note.to_bytes(), text.as_bytes());
    let checkpoint = Checkpoint::parse(body).unwrap();
    assert_eq!((checkpoint.origin.as_str(), checkpoint.size), ("example.com/behind-the-sofa", 20_852_163));
    // The specification gives no keys, but the time that its cosigned message shows.
    let cosignature = note.lines()[1].signature();
    assert_eq!(cosignature.len(), 72);
    assert_eq!(u64::from_be_bytes(cosignature[..8].try_into().unwrap()), 1_679_315_147);
}

/// The first example of C2SP signed-note: its text has an empty line of its own. Its key is not published.
#[test]
fn the_poem_of_c2sp_signed_note_reads() {
    let text = "Ognuno sta solo sul cuor della terra\ntrafitto da un raggio di sole:\n\ned è subito sera.\n";
    let line =
        "— quasimodo.example/salvatore NnugSzTjtVAewIS+Z/iJhUPeFDkO/5QQ2i5ddnGITLlC+EhfLW9oJKONrMouFSQU0xMcXxj99ihAQwaqP3ZekRwNtIc=\n";
    let note = SignedNote::parse(format!("{text}\n{line}").as_bytes()).unwrap();
    assert_eq!((note.body(), note.lines()[0].name(), note.lines()[0].id()), (text, "quasimodo.example/salvatore", 0x367b_a04b));
    assert_eq!(note.lines()[0].signature().len(), 64);
    assert!(Checkpoint::parse(note.body()).is_err());
}

#[test]
fn a_cosignature_is_built_as_the_specification_says() {
    let note = note(7, 9, &[1]);
    let root = BASE64_STANDARD.encode([9; 32]);
    assert_eq!(note.body(), format!("{ORIGIN}\n7\n{root}\n"));
    let [ledger, witness] = note.lines() else { panic!("two lines") };
    let id = |name: &str, kind: u8, key: &SigningKey| {
        let hash = vermilion_crypto::sha256(&[name.as_bytes(), b"\n", &[kind], &key.public().0].concat());
        u32::from_be_bytes(hash[..4].try_into().unwrap())
    };
    assert_eq!((ledger.name(), ledger.id()), (ORIGIN, id(ORIGIN, 1, &key(0))));
    assert_eq!((witness.name(), witness.id()), (node(1).as_str(), id(&node(1), 4, &key(1))));
    key(0).public().verify(note.body().as_bytes(), ledger.signature()).unwrap();
    let message = format!("cosignature/v1\ntime {}\n{ORIGIN}\n7\n{root}\n", TIME + 1);
    key(1).public().verify(message.as_bytes(), &witness.signature()[8..]).unwrap();
    assert_eq!(witness.signature()[..8], (TIME + 1).to_be_bytes());
    assert_eq!(verify_cosignature(note.body(), &key(1).public(), witness.signature()), Some(TIME + 1));
    // The published implementation takes the ledger key's line.
    let vkey = VerifierKey { name: ORIGIN.into(), kind: KeyKind::Note, key: key(0).public() }.to_string();
    let theirs = signed_note::VerifierList::new(vec![Box::new(signed_note::StandardVerifier::new(&vkey).unwrap())]);
    let (verified, unverified) = signed_note::Note::from_bytes(&note.to_bytes()).unwrap().verify(&theirs).unwrap();
    assert_eq!((verified.len(), unverified.len()), (1, 1));
}

#[test]
fn witnesses_count_once_and_unknown_ones_not() {
    let trust = trust(3);
    let mut two = note(7, 9, &[2, 1]);
    let verified = verify(&two.to_bytes(), &trust).unwrap();
    assert_eq!((verified.size, verified.root, verified.signed_by_ledger), (7, [9; 32], true));
    assert_eq!(names(&verified), [node(1), node(2)], "in the trust's order");
    assert_eq!(verified.check_quorum(&trust), Err(LedgerError::Quorum { have: 2, need: 3 }));

    // The same witness again, later; an unknown key under a known name; a known key under another name.
    let again = cosign(two.body(), &node(1), &key(1), TIME + 500).unwrap();
    let stranger = cosign(two.body(), &node(3), &key(9), TIME).unwrap();
    let renamed = cosign(two.body(), "elsewhere.example", &key(3), TIME).unwrap();
    let lines: Vec<_> = two.lines().iter().cloned().chain([again, stranger, renamed]).collect();
    let crowded = SignedNote::new(two.body(), lines).unwrap();
    let verified = verify(&crowded.to_bytes(), &trust).unwrap();
    assert_eq!(names(&verified), [node(1), node(2)]);
    assert_eq!(verified.cosigners[0].time_s, TIME + 500, "the latest time");
    assert!(verified.check_quorum(&trust).is_err());

    two.add(cosign(two.body(), &node(4), &key(4), TIME + 4).unwrap()).unwrap();
    let verified = verify(&two.to_bytes(), &trust).unwrap();
    assert_eq!(verified.check_quorum(&trust), Ok(()));
}

#[test]
fn bad_signatures_and_strangers_are_refused() {
    let trust = trust(1);
    let good = note(7, 9, &[1, 2]);
    let with = |n: usize, change: &dyn Fn(&mut Vec<u8>)| {
        let mut lines = good.lines().to_vec();
        let mut bytes = lines[n].signature().to_vec();
        change(&mut bytes);
        lines[n] = SignatureLine::new(lines[n].name().to_owned(), lines[n].id(), bytes).unwrap();
        verify(&SignedNote::new(good.body(), lines).unwrap().to_bytes(), &trust)
    };
    for (n, name) in [(0, ORIGIN.to_owned()), (1, node(1)), (2, node(2))] {
        let bad = Err(LedgerError::BadSignature(name));
        assert_eq!(with(n, &|bytes| bytes[0] ^= 1), bad, "first byte: the time's, for a witness");
        assert_eq!(with(n, &|bytes| bytes[30] ^= 1), bad);
        assert_eq!(with(n, &|bytes| bytes.push(0)), bad);
        assert_eq!(with(n, &|bytes| bytes.truncate(7)), bad);
    }
    // Beside a good line of the same witness a bad one still refuses the note.
    let mut lines = good.lines().to_vec();
    lines.push(SignatureLine::new(node(1), lines[1].id(), vec![0; 72]).unwrap());
    let doubled = SignedNote::new(good.body(), lines).unwrap();
    assert_eq!(verify(&doubled.to_bytes(), &trust), Err(LedgerError::BadSignature(node(1))));

    let stranger = SignedNote::new(good.body(), vec![cosign(good.body(), &node(1), &key(9), 1).unwrap()]).unwrap();
    assert_eq!(verify(&stranger.to_bytes(), &trust), Err(LedgerError::UnknownSigners));
    let elsewhere = make_checkpoint(&Checkpoint { origin: "other.example".into(), ..checkpoint(7, 9) }, &key(0)).unwrap();
    assert_eq!(verify(&elsewhere.to_bytes(), &trust), Err(LedgerError::WrongOrigin));
    // A witness's plain signature of the body is no cosignature, nor the ledger's key a witness's.
    let unsigned = SignedNote::new(good.body(), good.lines()[1..].to_vec()).unwrap();
    let verified = verify(&unsigned.to_bytes(), &trust).unwrap();
    assert_eq!(verified.check_quorum(&trust), Err(LedgerError::NoLedgerSignature));
    let lenient = Trust::new(TrustSettings { require_ledger_key: false, ..trust.settings().clone() }).unwrap();
    assert_eq!(verified.check_quorum(&lenient), Ok(()));
}

#[test]
fn only_checkpoints_are_signed() {
    for body in ["", "a\n1\n", "cosignature/v1\ntime 1\na\n1\nAAAA\n"] {
        assert!(matches!(cosign(body, "node", &key(1), 1), Err(LedgerError::BadCheckpoint(_))));
    }
    let body = checkpoint(1, 1).body();
    assert_eq!(cosign(&body, "no de", &key(1), 1), Err(LedgerError::BadKeyName));
    assert_eq!(cosign(&body, "node", &key(1), MAX_COSIGNATURE_TIME + 1), Err(LedgerError::BadTime));
    assert!(cosign(&body, "node", &key(1), MAX_COSIGNATURE_TIME).is_ok());
    for origin in ["", "a b", "a+b", "a\nb"] {
        assert!(make_checkpoint(&Checkpoint { origin: origin.into(), ..checkpoint(1, 1) }, &key(0)).is_err());
    }
}

#[test]
fn bodies_that_are_not_canonical_are_refused() {
    let root = BASE64_STANDARD.encode([1; 32]);
    assert!(Checkpoint::parse(&format!("o\n0\n{root}\n")).is_ok());
    assert!(Checkpoint::parse(&format!("o\n{}\n{root}\n", u64::MAX)).is_ok());
    for bad in [
        format!("o\n0\n{root}"),
        format!("o\n0\n{root}\n\n"),
        format!("o\n0\n{root}\nextension\n"),
        format!("\n0\n{root}\n"),
        format!("o\n\n{root}\n"),
        format!("o\n00\n{root}\n"),
        format!("o\n+1\n{root}\n"),
        format!("o\n-1\n{root}\n"),
        format!("o\n1 \n{root}\n"),
        format!("o\n18446744073709551616\n{root}\n"),
        format!("o\n1\n{}\n", root.trim_end_matches('=')),
        format!("o\n1\n{}\n", root.replace("E=", "F=")),
        format!("o\n1\n{}\n", BASE64_STANDARD.encode([1; 31])),
        format!("o\n1\n{}\n", BASE64_STANDARD.encode([1; 33])),
        "o\n1\n\n".to_owned(),
        "o\n1\n".to_owned(),
        "\n".to_owned(),
    ] {
        assert!(matches!(Checkpoint::parse(&bad), Err(LedgerError::BadCheckpoint(_))), "{bad:?}");
    }
}

#[test]
fn merging_gathers_in_any_order() {
    let trust = trust(3);
    let parts = [note(7, 9, &[1]), note(7, 9, &[4, 2]), note(7, 9, &[3, 1])];
    let merged = |order: [usize; 3]| {
        let bytes = |n: usize| parts[n].to_bytes();
        let first = merge(&bytes(order[0]), &bytes(order[1]), &trust).unwrap();
        merge(&first.to_bytes(), &bytes(order[2]), &trust).unwrap()
    };
    let all = merged([0, 1, 2]);
    for order in [[0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
        assert_eq!(merged(order), all);
    }
    let verified = verify(&all.to_bytes(), &trust).unwrap();
    assert_eq!(names(&verified), [node(1), node(2), node(3), node(4)]);
    assert_eq!(merge(&all.to_bytes(), &all.to_bytes(), &trust).unwrap(), all);

    let stranger = cosign(all.body(), "stranger.example", &key(9), 1).unwrap();
    let mut crowded = all.clone();
    crowded.add(stranger).unwrap();
    assert_eq!(merge(&crowded.to_bytes(), &all.to_bytes(), &trust).unwrap(), all, "strangers are dropped");
    assert_eq!(merge(&all.to_bytes(), &note(8, 9, &[1]).to_bytes(), &trust), Err(LedgerError::BodiesDiffer));
}

#[test]
fn two_histories_are_proved() {
    let trust = trust(3);
    let detect = |a: &SignedNote, b: &SignedNote| Conflict::detect(&a.to_bytes(), &b.to_bytes(), &trust);
    let (left, right) = (note(7, 9, &[1, 2, 3]), note(7, 8, &[4, 3, 2]));
    let conflict = detect(&left, &right).unwrap().unwrap();
    assert_eq!((conflict.origin.as_str(), conflict.size), (ORIGIN, 7));
    assert_eq!(conflict.notes, [left.clone(), right]);
    assert_eq!(conflict.signed_both, [ORIGIN.to_owned(), node(2), node(3)]);
    assert_eq!(detect(&left, &note(7, 9, &[4])), Ok(None), "the same root");
    assert_eq!(detect(&left, &note(8, 8, &[4])), Ok(None), "another size");
    let forged = SignedNote::new(&checkpoint(7, 8).body(), left.lines().to_vec()).unwrap();
    assert_eq!(detect(&left, &forged), Err(LedgerError::BadSignature(ORIGIN.into())), "no evidence without signatures");
}

proptest! {
    #[test]
    fn arbitrary_bodies_never_panic(body in "[\\x00-\u{ff}]{0,60}", lines in prop::collection::vec("[a-z0-9+=/ ]{0,50}", 0..5)) {
        for body in [body, lines.join("\n") + "\n"] {
            if let Ok(checkpoint) = Checkpoint::parse(&body) {
                prop_assert_eq!(checkpoint.body(), body);
            }
        }
    }

    #[test]
    fn checkpoints_round_trip(origin in "[a-z./\u{4e00}-\u{4eff}]{1,20}", size: u64, root: [u8; 32]) {
        let checkpoint = Checkpoint { origin, size, root };
        prop_assert_eq!(Checkpoint::parse(&checkpoint.body()), Ok(checkpoint));
    }

    #[test]
    fn no_altered_note_passes_as_another(at: prop::sample::Index, byte: u8) {
        let good = note(7, 9, &[1, 2, 3]).to_bytes();
        let mut bytes = good.clone();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        if let Ok(verified) = verify(&bytes, &trust(3)) {
            prop_assert_eq!((verified.size, verified.root), (7, [9; 32]), "what was signed");
            prop_assert!(bytes == good || verified.cosigners.len() + usize::from(verified.signed_by_ledger) < 4, "one signer fell away");
        }
    }
}

/// A trust of one of node 1 (the city's) and two of the three others, and one of two outside witnesses.
fn strict() -> Trust {
    let outside = [7, 8].map(|n| Witness { name: format!("witness{n}.example"), key: key(n).public() }).to_vec();
    trust(3).with_policy(Policy { city: vec![node(1)], outside, outside_need: 1, ..Policy::default() }).unwrap()
}

fn outside(note: &mut SignedNote, n: u8, time: u64) {
    let line = cosign(note.body(), &format!("witness{n}.example"), &key(n), time).unwrap();
    note.add(line).unwrap();
}

#[test]
fn one_of_the_city_and_k_districts_and_an_outside_witness() {
    let (trust, simple) = (strict(), trust(3));
    let enough = |note: &SignedNote| verify(&note.to_bytes(), &trust).unwrap().check_quorum(&trust);
    let with_outside = |nodes: &[u8]| {
        let mut note = note(7, 9, nodes);
        outside(&mut note, 8, TIME);
        note
    };
    assert_eq!(enough(&with_outside(&[1, 2, 3])), Ok(()));
    assert_eq!(enough(&with_outside(&[1, 2, 3, 4])), Ok(()));
    assert_eq!(enough(&with_outside(&[2, 3, 4])), Err(LedgerError::NoCityNode));
    assert_eq!(enough(&with_outside(&[1, 4])), Err(LedgerError::Quorum { have: 2, need: 3 }));
    assert_eq!(enough(&note(7, 9, &[1, 2, 3])), Err(LedgerError::OutsideQuorum { have: 0, need: 1 }));
    // A second city node stands for no district.
    let two = trust.clone().with_policy(Policy { city: vec![node(1), node(2)], ..Policy::default() }).unwrap();
    let verified = verify(&note(7, 9, &[1, 2, 3]).to_bytes(), &two).unwrap();
    assert_eq!(verified.check_quorum(&two), Err(LedgerError::Quorum { have: 2, need: 3 }));

    // An outside witness' word alone is of no checkpoint of this ledger.
    let mut alone = with_outside(&[]);
    alone = SignedNote::new(alone.body(), alone.lines()[1..].to_vec()).unwrap();
    assert_eq!(verify(&alone.to_bytes(), &trust), Err(LedgerError::UnknownSigners));
    // Whoever does not name outside witnesses passes over their lines.
    let plain = verify(&with_outside(&[1, 2, 3]).to_bytes(), &simple).unwrap();
    assert!(plain.outside.is_empty() && plain.check_quorum(&simple).is_ok());
}

#[test]
fn outside_cosignatures_are_merged_kept_and_checked() {
    let trust = strict();
    let (mut a, mut b) = (note(7, 9, &[1]), note(7, 9, &[2, 3]));
    outside(&mut a, 7, TIME);
    outside(&mut b, 7, TIME + 9);
    outside(&mut b, 8, TIME + 1);
    let merged = merge(&a.to_bytes(), &b.to_bytes(), &trust).unwrap();
    assert_eq!(merged, merge(&b.to_bytes(), &a.to_bytes(), &trust).unwrap());
    let order: Vec<&str> = merged.lines().iter().map(SignatureLine::name).collect();
    assert_eq!(order, [ORIGIN, &node(1), &node(2), &node(3), "witness7.example", "witness8.example"]);
    let verified = verify(&merged.to_bytes(), &trust).unwrap();
    let times: Vec<_> = verified.outside.iter().map(|one| (one.name.as_str(), one.time_s)).collect();
    assert_eq!(times, [("witness7.example", TIME + 9), ("witness8.example", TIME + 1)]);
    // A bad line of a known outside witness refuses the note, as any known key's does.
    let mut lines = merged.lines().to_vec();
    lines[5] = SignatureLine::new(lines[5].name().into(), lines[5].id(), vec![0; 72]).unwrap();
    let bad = SignedNote::new(merged.body(), lines).unwrap();
    assert_eq!(verify(&bad.to_bytes(), &trust), Err(LedgerError::BadSignature("witness8.example".into())));
}

#[test]
fn as_of_is_when_enough_said_so() {
    let plain = trust(3);
    let verified = verify(&note(7, 9, &[1, 2, 3, 4]).to_bytes(), &plain).unwrap();
    assert_eq!(verified.as_of(&plain), Some(TIME + 2));
    // One of the city: node 1 is the earliest, and without it there is nothing.
    let city = plain.with_policy(Policy { city: vec![node(1)], ..Policy::default() }).unwrap();
    assert_eq!(verified.as_of(&city), Some(TIME + 1));
    assert_eq!(verify(&note(7, 9, &[2, 3, 4]).to_bytes(), &city).unwrap().as_of(&city), None);
    // A stolen witness that signs again later does not make it fresher.
    let mut again = note(7, 9, &[1, 2, 3, 4]);
    again.add(cosign(again.body(), &node(4), &key(4), TIME + 100_000).unwrap()).unwrap();
    assert_eq!(verify(&again.to_bytes(), &city).unwrap().as_of(&city), Some(TIME + 1));
}

#[test]
fn a_divergence_is_proved_and_nothing_else_is() {
    let trust = trust(1);
    let mut tree = Tree::new();
    let mut roots = vec![tree.root()];
    for n in 0u8..20 {
        tree.append(leaf_hash(&[n]));
        roots.push(tree.root());
    }
    struct None_;
    impl TileStore for None_ {
        type Error = std::io::Error;
        fn tile(&self, _: u8, _: u64) -> Result<Option<Vec<u8>>, std::io::Error> {
            Ok(None)
        }
    }
    let proof = tree.consistency(&None_, 7, 20).unwrap();
    let signed = |size: u64, root: [u8; 32]| {
        let mut note = make_checkpoint(&Checkpoint { root, ..checkpoint(size, 0) }, &key(0)).unwrap();
        note.add(cosign(note.body(), &node(2), &key(2), TIME).unwrap()).unwrap();
        note.to_bytes()
    };
    let (honest, large, liar) = (signed(7, roots[7]), signed(20, roots[20]), signed(7, [5; 32]));
    assert_eq!(Divergence::detect(&honest, &large, roots[7], &proof, &trust), Ok(None));
    let found = Divergence::detect(&liar, &large, roots[7], &proof, &trust).unwrap().unwrap();
    assert_eq!((found.sizes, found.root), ([7, 20], roots[7]));
    // Whoever reads the file finds both notes and what to check them with.
    let text = String::from_utf8(found.to_text()).unwrap();
    let parts: Vec<&str> = text.split("\n\n").collect();
    assert_eq!(parts.len(), 5);
    assert_eq!(format!("{}\n\n{}\n", parts[0], parts[1]).as_bytes(), liar);
    assert_eq!(format!("{}\n\n{}\n", parts[2], parts[3]).as_bytes(), large);
    let lines: Vec<&str> = parts[4].lines().collect();
    assert_eq!((lines[0], lines.len()), ("consistency 7 20", 2 + proof.len()));
    let hashes: Vec<[u8; 32]> = lines[1..].iter().map(|l| BASE64_STANDARD.decode(l).unwrap().try_into().unwrap()).collect();
    check_consistency(7, &hashes[0], 20, &roots[20], &hashes[1..]).unwrap();
    // Nobody can be accused by a proof that does not hold.
    assert_eq!(Divergence::detect(&honest, &large, [5; 32], &proof, &trust), Err(LedgerError::ProofFails));
    assert!(Divergence::detect(&liar, &large, roots[7], &proof[1..], &trust).is_err());
    assert!(Divergence::detect(&large, &liar, roots[7], &proof, &trust).is_err());
}

/// A checkpoint of this size whose ledger keys are `ledger`, with every witness's cosignature.
fn signed_by(size: u64, ledger: &[u8]) -> Vec<u8> {
    let checkpoint = Checkpoint { origin: ORIGIN.into(), size, root: [size as u8; 32] };
    let mut lines: Vec<SignatureLine> =
        ledger.iter().flat_map(|n| make_checkpoint(&checkpoint, &key(*n)).unwrap().lines().to_vec()).collect();
    lines.extend(trust(3).settings().witnesses.iter().zip(1u8..).map(|(of, n)| cosign(&checkpoint.body(), &of.name, &key(n), 7).unwrap()));
    SignedNote::new(&checkpoint.body(), lines).unwrap().to_bytes()
}

#[test]
fn a_newer_ledger_key_serves_from_its_record_on_and_the_old_one_only_beside_it() {
    let newer = NewerKey { from: 10, key: key(60).public() };
    let (old, new) = (trust(3), trust(3).with_newer_keys(vec![newer]).unwrap());
    // Size, whose ledger keys; whether the ledger has signed by the old trust and by the new; out of turn by the new.
    for (size, signers, by_old, by_new, out_of_turn) in [
        (10, &[0][..], true, true, false),
        (10, &[60], false, false, true),
        (11, &[0], true, false, true),
        (11, &[60], false, true, false),
        (11, &[60, 0], true, true, false),
        (11, &[], false, false, false),
    ] {
        let note = signed_by(size, signers);
        let signed = |trust: &Trust| {
            let verified = verify(&note, trust).unwrap();
            assert_eq!(verified.check_quorum(trust).is_ok(), verified.signed_by_ledger);
            verified.signed_by_ledger
        };
        assert_eq!((signed(&old), signed(&new)), (by_old, by_new), "{size} {signers:?}");
        assert_eq!(signed_out_of_turn(&note, &new), out_of_turn, "{size} {signers:?}");
        assert!(!signed_out_of_turn(&note, &old));
    }
    // Both lines outlive a merge, in one order; each trust drops what it does not know.
    let (one, both) = (signed_by(11, &[0]), signed_by(11, &[60, 0]));
    assert_eq!(merge(&one, &signed_by(11, &[60]), &new).unwrap().to_bytes(), both);
    assert_eq!(merge(&signed_by(11, &[0, 60]), &both, &new).unwrap().to_bytes(), both);
    assert_eq!(merge(&both, &both, &old).unwrap().to_bytes(), one);
    // A line of the old key that does not hold refuses the note, as any known key's.
    let other = String::from_utf8(signed_by(12, &[0])).unwrap();
    let forged = other.lines().nth(4).unwrap();
    let swapped: Vec<String> = String::from_utf8(both)
        .unwrap()
        .lines()
        .map(|l| if l == String::from_utf8(one.clone()).unwrap().lines().nth(4).unwrap() { forged.into() } else { l.to_owned() })
        .collect();
    assert!(matches!(verify((swapped.join("\n") + "\n").as_bytes(), &new), Err(LedgerError::BadSignature(_))));
}
