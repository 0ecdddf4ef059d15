//! Endorsements of a ledger made here: records 0 to 3, of which some endorse a key, each followed by the
//! checkpoint over it.

use super::*;
use proptest::prelude::*;
use vermilion_crypto::SigningKey;
use vermilion_ledger::{
    Checkpoint, Leaf, TileStore, Tree, TrustSettings, Witness, chain_next, chain_start, cosign, make_checkpoint, record_hash,
};
use vermilion_proto::{Body, Command, Head, Outcome, Record, Signer, SignerKind};

const LEDGER_ID: Digest = [5; 32];
const ORIGIN: &str = "city.example/ledger";

fn key(n: u8) -> SigningKey {
    SigningKey::from_seed(&[n; 32])
}

/// Pins ledger key 1 and three of three witnesses.
fn trust() -> Trust {
    Trust::new(TrustSettings {
        origin: ORIGIN.into(),
        ledger_id: LEDGER_ID,
        ledger_key: key(1).public(),
        witnesses: (2..=4).map(|n| Witness { name: format!("{ORIGIN}/n{n}"), key: key(n).public() }).collect(),
        quorum: 3,
        require_ledger_key: true,
    })
    .unwrap()
}

struct NoTiles;
impl TileStore for NoTiles {
    type Error = std::convert::Infallible;
    fn tile(&self, _: u8, _: u64) -> Result<Option<Vec<u8>>, Self::Error> {
        Ok(None)
    }
}

fn rotation(of: &str, n: u8) -> Of {
    let area = if of == VAULT { "440300" } else { "" };
    Of::RotateKey(RotateKey { r#use: of.into(), area: area.into(), suite: SUITE_1, public_key: key(n).public().0.to_vec() })
}

/// A ledger of these commands: each one's receipt, under a checkpoint over all of them that these keys
/// signed: ledger keys, and witnesses.
struct Made {
    receipts: Vec<Receipt>,
}

impl Made {
    fn of(commands: &[(Of, u32, Digest)], ledger: &[u8], witnesses: &[u8]) -> Self {
        let mut tree = Tree::new();
        let mut chain = chain_start(&LEDGER_ID);
        let mut receipts = Vec::new();
        for (seq, (of, code, ledger_id)) in (0u64..).zip(commands) {
            let signer = Signer { key_id: key(9).public().id().to_vec(), kind: SignerKind::Operator.into(), ..Default::default() };
            let head = Head {
                format_version: 1,
                suite: SUITE_1,
                ledger_id: ledger_id.to_vec(),
                nonce: vec![seq as u8; 16],
                signers: vec![signer],
                ..Default::default()
            };
            let command = Command { head: Some(head), body: Some(Body { of: Some(of.clone()) }) };
            let (_, envelope) = vermilion_identity::seal(&command, &[&key(9)]);
            let outcome = Some(Outcome { code: *code, ..Default::default() });
            let record = Record { format_version: 1, seq, time_ms: 1000 + seq, envelope: envelope.into(), outcome, ..Default::default() };
            let record = record.encode_to_vec();
            let hash = record_hash(&record);
            let chain_before = chain.to_vec();
            chain = chain_next(&chain, &hash);
            tree.append(Leaf { seq, time_ms: 1000 + seq, record_hash: hash, chain_hash: chain, commitment: None }.hash());
            receipts.push(Receipt { format_version: 1, record, chain_before, ..Default::default() });
        }
        let checkpoint = Checkpoint { origin: ORIGIN.into(), size: tree.size(), root: tree.root() };
        let lines = ledger.iter().flat_map(|n| make_checkpoint(&checkpoint, &key(*n)).unwrap().lines().to_vec());
        let cosigned = witnesses.iter().map(|n| cosign(&checkpoint.body(), &format!("{ORIGIN}/n{n}"), &key(*n), 7).unwrap());
        let note = vermilion_ledger::SignedNote::new(&checkpoint.body(), lines.chain(cosigned).collect()).unwrap().to_bytes();
        for (seq, receipt) in (0u64..).zip(&mut receipts) {
            receipt.tree_size = tree.size();
            receipt.inclusion = tree.inclusion(&NoTiles, tree.size(), seq).unwrap().iter().map(|h| h.to_vec()).collect();
            receipt.checkpoint.clone_from(&note);
        }
        Self { receipts }
    }

    fn endorsement(&self, seq: usize) -> Vec<u8> {
        self.receipts[seq].encode_to_vec()
    }
}

fn plain(of: Of) -> (Of, u32, Digest) {
    (of, 0, LEDGER_ID)
}

/// Ledger keys 20 and then 21, each endorsed under the one before and all witnesses.
fn chain() -> Vec<Vec<u8>> {
    let both = [plain(rotation(LEDGER, 20)), plain(rotation(LEDGER, 21))];
    vec![Made::of(&both[..1], &[1], &[2, 3, 4]).endorsement(0), Made::of(&both, &[20], &[2, 3, 4]).endorsement(1)]
}

fn code(endorsements: &[Vec<u8>]) -> &'static str {
    extend(&trust(), endorsements).map_or_else(|e| e.code(), |_| "holds")
}

#[test]
fn a_chain_of_endorsements_extends_the_trust_and_again() {
    let chain = chain();
    let extended = extend(&trust(), &chain).unwrap();
    let keys: Vec<_> = extended.newer_keys().iter().map(|k| (k.from, k.key)).collect();
    assert_eq!(keys, [(0, key(20).public()), (1, key(21).public())]);
    // Whoever knows some of them, or all, comes to the same.
    assert_eq!(extend(&extended, &chain).unwrap(), extended);
    assert_eq!(extend(&extended, &chain[..1]).unwrap(), extended);
    assert_eq!(extend(&extend(&trust(), &chain[..1]).unwrap(), &chain[1..]).unwrap(), extended);
    assert_eq!(extend(&extended, &[]).unwrap(), extended);
}

#[test]
fn each_way_to_be_wrong_has_its_name() {
    let ledger = |ledger: &[u8], witnesses: &[u8]| vec![Made::of(&[plain(rotation(LEDGER, 20))], ledger, witnesses).endorsement(0)];
    assert_eq!(code(&ledger(&[1], &[2, 3, 4])), "holds");
    assert_eq!(code(&ledger(&[20, 1], &[2, 3, 4])), "holds");
    // By the old key alone, or nearly.
    assert_eq!(code(&ledger(&[1], &[])), "endorsement.quorum");
    assert_eq!(code(&ledger(&[1], &[2, 3])), "endorsement.quorum");
    // By the quorum alone, or under the key that it is to endorse.
    assert_eq!(code(&ledger(&[], &[2, 3, 4])), "endorsement.old_key");
    assert_eq!(code(&ledger(&[20], &[2, 3, 4])), "endorsement.old_key");
    let of = |command| vec![Made::of(&[command], &[1], &[2, 3, 4]).endorsement(0)];
    assert_eq!(code(&of((rotation(LEDGER, 20), 22, LEDGER_ID))), "endorsement.no_key");
    assert_eq!(code(&of((rotation(LEDGER, 20), 0, [6; 32]))), "endorsement.wrong_ledger");
    assert_eq!(code(&of(plain(rotation(VAULT, 20)))), "endorsement.no_key");
    assert_eq!(code(&of(plain(rotation(LEDGER, 2)))), "endorsement.key", "a witness's key is no ledger key");
    assert_eq!(code(&[vec![1]]), "endorsement.form");
    let chain = chain();
    assert_eq!(code(&[chain[1].clone()]), "endorsement.old_key", "a link is missing");
    assert_eq!(code(&[chain[0].clone(), chain[0].clone()]), "endorsement.order");
    assert_eq!(code(&[chain[1].clone(), chain[0].clone()]), "endorsement.old_key");
    assert_eq!(code(&vec![chain[0].clone(); MAX_NEWER_KEYS + 1]), "endorsement.too_many");
    // Two histories, each with its quorum: whoever knows one key does not take another in its place.
    let other = Made::of(&[plain(rotation(LEDGER, 30))], &[1], &[2, 3, 4]).endorsement(0);
    let known = extend(&trust(), &chain).unwrap();
    assert_eq!(extend(&known, &[other]).unwrap_err().code(), "endorsement.contradicts");
}

#[test]
fn the_quorum_alone_endorses_no_key_where_the_ledger_key_need_not_sign_either() {
    let settings = TrustSettings { require_ledger_key: false, ..trust().settings().clone() };
    let without = Trust::new(settings).unwrap();
    for of in [LEDGER, VAULT] {
        let made = |ledger: &[u8]| Made::of(&[plain(rotation(of, 20))], ledger, &[2, 3, 4]).endorsement(0);
        assert_eq!(check(&made(&[]), &without).unwrap_err().code(), "endorsement.old_key");
        assert_eq!(check(&made(&[20]), &without).unwrap_err().code(), "endorsement.old_key");
        assert!(check(&made(&[1]), &without).is_ok());
    }
    assert_eq!(
        extend(&without, &[Made::of(&[plain(rotation(LEDGER, 20))], &[], &[2, 3, 4]).endorsement(0)]).unwrap_err().code(),
        "endorsement.old_key"
    );
    assert_eq!(extend(&without, &chain()).unwrap().newer_keys().len(), 2);
}

#[test]
fn a_vault_key_is_endorsed_too_and_no_more_than_a_record_travels() {
    let made = Made::of(&[plain(rotation(VAULT, 20))], &[1], &[2, 3, 4]);
    let state = check(&made.endorsement(0), &trust()).unwrap();
    assert_eq!((state.from_seq, state.from_ms, state.key.unwrap().area), (0, 1000, "440300".to_owned()));
    let full = Made::of(&[plain(rotation(LEDGER, 20))], &[20, 1], &[2, 3, 4]).receipts.remove(0);
    let short = make(full.clone(), &trust()).unwrap();
    assert!(short.len() < full.encoded_len());
    assert_eq!(check(&short, &trust()).unwrap(), check(&full.encode_to_vec(), &trust()).unwrap());
    for more in [
        Receipt { item: vec![1], ..full.clone() },
        Receipt { item_position: 1, ..full.clone() },
        Receipt { disclosures: vec!["x".into()], ..full.clone() },
        Receipt { status_proof: vec![1], ..full.clone() },
        Receipt { endorsements: vec![short.clone()], ..full.clone() },
        Receipt { format_version: 2, ..full },
    ] {
        assert_eq!(check(&more.encode_to_vec(), &trust()), Err(EndorsementError::Form));
    }
}

#[test]
fn no_byte_of_an_endorsement_may_change() {
    let chain = chain();
    for (n, endorsement) in chain.iter().enumerate() {
        for at in 0..endorsement.len() {
            let mut changed = chain.clone();
            changed[n][at] ^= 1;
            assert!(extend(&trust(), &changed).is_err(), "byte {at} of endorsement {n}");
        }
    }
}

proptest! {
    #[test]
    fn any_bytes_are_refused_or_read(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        prop_assert!(extend(&trust(), &[bytes]).is_err());
    }

    #[test]
    fn any_change_is_refused(n in 0usize..2, at in any::<prop::sample::Index>(), bit in 0u8..8, cut in any::<bool>()) {
        let mut changed = chain();
        let at = at.index(changed[n].len());
        if cut { changed[n].truncate(at) } else { changed[n][at] ^= 1 << bit }
        prop_assert!(extend(&trust(), &changed).is_err());
    }
}
