//! Bad input at the door, as bytes, to every node: each answered with its reason.

use serde_json::Value;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use vermilion_client::clock::now_ms;
use vermilion_client::signer::Signatory;
use vermilion_client::{Draft, Prepared, SingleIssuer};
use vermilion_crypto::{ContentKey, PublicKey, SUITE_1, SeededRng, SigningKey, VaultSecretKey, dsse, random};
use vermilion_identity::{command_id, seal};
use vermilion_proto::{
    Act, AddOperator, Authority, Body, Bytes, COMMAND_TYPE, ChangeStatus, ChangeUnit, Command, CommandState, Commitment, Envelope,
    EraseContent, Genesis, Head, LicenceItem, LicenceRef, Message as _, Mode, Operator, SetPolicy, Signature, Signer, SignerKind,
    Submission, SubmitReply, Use, VaultWraps, body::Of,
};
use vermilion_registry::Kind;
use vermilion_registry::content::Row;
use vermilion_registry::reason::Reason;
use vermilion_registry::vault::Session;
use vermilion_tests::{Ledger, Rows, http};

/// What a bad input must come to.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Comes {
    /// The door refuses it; nothing is recorded.
    Refused(Reason),
    /// Its not-after has passed; nothing is recorded.
    Invalid,
    /// The rules refuse it, and the record says so.
    Recorded(Reason),
}

fn came(reply: &SubmitReply) -> Option<Comes> {
    let reason = Reason::from_number(reply.code);
    match reply.state() {
        CommandState::RefusedAtDoor => reason.map(Comes::Refused),
        CommandState::Invalid if reason == Some(Reason::Expired) => Some(Comes::Invalid),
        CommandState::Committed => Reason::from_number(reply.outcome.as_ref()?.code).map(Comes::Recorded),
        _ => None,
    }
}

/// A ledger and what it takes to write commands for it by hand.
struct Desk {
    ledger: Ledger,
    city: String,
    unit: String,
    rows: Vec<Row>,
    issuer: SingleIssuer,
    managers: Vec<Signatory>,
    makers: Vec<Signatory>,
}

impl Desk {
    async fn open() -> Self {
        let ledger = Ledger::start().await;
        let city = ledger.client.managing_unit().to_owned();
        let unit = ledger.sample.unit_with_role("issuing-unit").unwrap().uscc.clone();
        let rows = Rows::fresh(ledger.dir(), &ledger.sample, 400).of_unit(&unit);
        let issuer = SingleIssuer::new(&ledger.client, &unit).await.unwrap();
        let managers = ledger.client.signers(&city, Kind::ChangeUnit).await.unwrap();
        let makers = ledger.client.signers(&unit, Kind::Issue).await.unwrap();
        Self { ledger, city, unit, rows, issuer, managers, makers }
    }

    fn head(&self, unit: &str, signers: &[Signatory]) -> Head {
        Head {
            format_version: 1,
            suite: SUITE_1,
            ledger_id: self.ledger.client.ledger_id().to_vec(),
            nonce: random::<16>().unwrap().to_vec(),
            signers: signers.iter().flat_map(Signatory::head_lines).collect(),
            not_after_ms: now_ms() + 60_000,
            unit: unit.into(),
            ..Head::default()
        }
    }

    /// A good command of the city's managing unit, in its parts.
    fn managed(&self, of: Of) -> Command {
        Command { head: Some(self.head(&self.city, &self.managers)), body: Some(Body { of: Some(of) }) }
    }

    /// One that is good whatever the state is: it is refused by the rules at most.
    fn plain(&self) -> Command {
        self.managed(Of::ChangeUnit(ChangeUnit { uscc: self.unit.clone(), action: "restore".into() }))
    }

    fn sealed(&self, command: &Command) -> Envelope {
        let keys: Vec<&SigningKey> = self.managers.iter().map(|s| &s.key).collect();
        Envelope::decode(seal(command, &keys).1.as_slice()).unwrap()
    }

    /// A good issue of row `n` alone.
    async fn issue(&self, n: usize) -> Prepared {
        let tags = self.issuer.tags(&self.ledger.client, &self.rows[n]).await.unwrap();
        self.issuer.prepare(&self.rows[n], &tags).unwrap()
    }

    /// A good issue's parts, changed and signed again by maker and checker.
    fn signed_again(&self, of: &Prepared, change: impl FnOnce(&mut Command, &mut vermilion_proto::Beside)) -> Submission {
        let sent = parts(of);
        let envelope = Envelope::decode(sent.envelope).unwrap();
        let mut command = Command::decode(envelope.payload.as_slice()).unwrap();
        let mut beside = sent.beside.unwrap();
        change(&mut command, &mut beside);
        let keys: Vec<&SigningKey> = self.makers.iter().map(|s| &s.key).collect();
        Submission { envelope: seal(&command, &keys).1.into(), beside: Some(beside) }
    }

    /// Sends it to every node, twice: each time the same must come, and no record more than one that
    /// says so.
    async fn expect(&self, what: &str, submission: &Submission, expected: Comes) {
        self.expect_bytes(what, &submission.encode_to_vec().into(), expected).await;
    }

    async fn expect_bytes(&self, what: &str, submission: &Bytes, expected: Comes) {
        let before = self.ledger.settled().await;
        let mut records = Vec::new();
        for node in [0, 1, 2, 0, 1, 2] {
            let reply = self.ledger.send(node, submission.clone()).await;
            assert_eq!(came(&reply), Some(expected), "{what}, at node {node}: {reply:?}");
            assert_eq!(reply.tag, 7);
            match expected {
                Comes::Recorded(_) => records.push((reply.seq, reply.record_hash)),
                _ => assert!(!reply.detail.is_empty() && reply.seq == 0 && reply.record_hash.is_empty(), "{what}: {reply:?}"),
            }
        }
        records.dedup();
        let more = self.ledger.settled().await - before;
        match expected {
            // Its record, and the commitment over it.
            Comes::Recorded(_) => assert_eq!((records.len(), more), (1, 2), "{what}"),
            _ => assert_eq!(more, 0, "{what} left records"),
        }
    }
}

fn bare(envelope: Vec<u8>) -> Submission {
    Submission { envelope: envelope.into(), beside: None }
}

/// A payload signed as it is, whatever is in it.
fn envelope_of(payload: Vec<u8>, signers: &[Signatory]) -> Submission {
    let signed = dsse::pae(COMMAND_TYPE, &payload);
    let signature = |s: &Signatory| Signature {
        suite: SUITE_1,
        key_id: s.key.public().id().to_vec(),
        public_key: s.key.public().0.to_vec(),
        signature: s.key.sign(&signed).to_vec(),
    };
    bare(Envelope { payload_type: COMMAND_TYPE.into(), payload, signatures: signers.iter().map(signature).collect() }.encode_to_vec())
}

/// The parts of what a client sends.
fn parts(of: &Prepared) -> Submission {
    Submission::decode(of.submission.clone()).unwrap()
}

/// One bit of one byte changed.
fn flipped(bytes: &[u8], at: usize) -> Bytes {
    let mut bytes = bytes.to_vec();
    bytes[at] ^= 1;
    bytes.into()
}

/// A field of bytes, of this number below 16.
fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
    let mut out = vec![number << 3 | 2];
    varint(bytes.len(), &mut out);
    out.extend(bytes);
    out
}

/// A length as a varint.
fn varint(mut length: usize, out: &mut Vec<u8>) {
    while length > 0x7f {
        out.push((length & 0x7f) as u8 | 0x80);
        length >>= 7;
    }
    out.push(length as u8);
}

/// An unknown field, number 31, of one byte.
const UNKNOWN_FIELD: [u8; 4] = [0xfa, 0x01, 0x01, 0x00];

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_read_is_refused_with_its_reason() {
    let desk = Desk::open().await;
    let good = desk.sealed(&desk.plain()).encode_to_vec();
    let changed = |change: fn(&mut Head)| {
        let mut command = desk.plain();
        change(command.head.as_mut().unwrap());
        bare(desk.sealed(&command).encode_to_vec())
    };
    let payload = desk.plain().encode_to_vec();
    let mut no_text = payload.clone();
    let at = no_text.windows(desk.city.len()).position(|w| w == desk.city.as_bytes()).unwrap();
    no_text[at + 3] = 0xff;
    let mut headless = desk.plain();
    headless.head = None;
    let mut bodiless = desk.plain();
    bodiless.body = None;
    let mut other_type = desk.sealed(&desk.plain());
    other_type.payload_type = "application/json".into();
    let swapped_order = {
        // The body before the head: the same message, in another encoding.
        let head = Command { body: None, ..desk.plain() }.encode_to_vec();
        let body = Command { head: None, ..desk.plain() }.encode_to_vec();
        [body, head].concat()
    };
    let cases = [
        ("nothing", bare(Vec::new()), Reason::PayloadType),
        ("garbage", bare(random::<400>().unwrap().to_vec()), Reason::Malformed),
        ("half of a command", bare(good[..good.len() / 2].to_vec()), Reason::Malformed),
        ("a command without its last byte", bare(good[..good.len() - 1].to_vec()), Reason::Malformed),
        ("an unknown field in the envelope", bare([good.clone(), UNKNOWN_FIELD.to_vec()].concat()), Reason::NotCanonical),
        (
            "an unknown field that is signed",
            envelope_of([payload.clone(), UNKNOWN_FIELD.to_vec()].concat(), &desk.managers),
            Reason::NotCanonical,
        ),
        ("fields out of order", envelope_of(swapped_order, &desk.managers), Reason::NotCanonical),
        ("text that is not UTF-8", envelope_of(no_text, &desk.managers), Reason::Malformed),
        ("no head", bare(desk.sealed(&headless).encode_to_vec()), Reason::Malformed),
        ("no body", bare(desk.sealed(&bodiless).encode_to_vec()), Reason::Malformed),
        ("another format version", changed(|h| h.format_version = 2), Reason::FormatVersion),
        ("no format version", changed(|h| h.format_version = 0), Reason::FormatVersion),
        ("another suite", changed(|h| h.suite = 2), Reason::Suite),
        ("another payload type", bare(other_type.encode_to_vec()), Reason::PayloadType),
        ("another ledger's", changed(|h| h.ledger_id = vec![1; 32]), Reason::WrongLedger),
        ("no ledger's", changed(|h| h.ledger_id.clear()), Reason::WrongLedger),
        ("an envelope of more than 256 KiB", bare(vec![b'x'; (256 << 10) + 1]), Reason::TooLarge),
        ("more than 8 MiB", bare(vec![b'x'; (8 << 20) + 1]), Reason::TooLarge),
    ];
    for (what, submission, reason) in cases {
        desk.expect(what, &submission, Comes::Refused(reason)).await;
    }
    // Invalid for ever once the ledger's time is past it: where it is not yet, the next block's is.
    desk.expect("a command long past its not-after", &changed(|h| h.not_after_ms = 1), Comes::Invalid).await;
    desk.expect("a command without a not-after", &changed(|h| h.not_after_ms = 0), Comes::Invalid).await;
    desk.expect("a command just past its not-after", &changed(|h| h.not_after_ms = now_ms() - 1), Comes::Invalid).await;
    desk.expect("a command that may wait for ever", &changed(|h| h.not_after_ms = u64::MAX), Comes::Recorded(Reason::LifetimeTooLong))
        .await;

    // Beyond what a message may be the connection itself refuses.
    let oversized = vermilion_proto::SubmitRequest { tag: 1, submission: vec![b'x'; 10 << 20].into() };
    let status = desk.ledger.unbounded(0).await.submit(oversized).await.unwrap_err();
    assert!(status.code() == tonic::Code::OutOfRange && status.message().contains("too large"), "{status:?}");
    // After all that the same ledger takes a good command.
    let recorded = desk.ledger.client.connection.submit(&desk.issue(0).await).await.unwrap();
    recorded.accepted().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn signatures_that_do_not_hold_are_refused_and_the_right_ones_of_nobody_are_recorded() {
    let desk = Desk::open().await;
    let forged = |change: fn(&mut Vec<Signature>)| {
        let mut envelope = desk.sealed(&desk.plain());
        change(&mut envelope.signatures);
        bare(envelope.encode_to_vec())
    };
    let cases = [
        ("a stripped signature", forged(|s| drop(s.pop())), Reason::Incomplete),
        ("no signatures", forged(Vec::clear), Reason::Incomplete),
        ("signatures in another order", forged(|s| s.swap(0, 1)), Reason::Incomplete),
        (
            "signatures under each other's keys",
            forged(|s| {
                let first = s[0].signature.clone();
                s[0].signature = std::mem::replace(&mut s[1].signature, first);
            }),
            Reason::BadSignature,
        ),
        ("a signature of zeros", forged(|s| s[2].signature = vec![0; 64]), Reason::BadSignature),
        ("a signature cut short", forged(|s| s[2].signature.truncate(63)), Reason::BadSignature),
        ("a key cut short", forged(|s| s[2].public_key.truncate(31)), Reason::BadSignature),
        ("a signature of another suite", forged(|s| s[0].suite = 2), Reason::Suite),
        ("a signature too many", forged(|s| s.push(s[0].clone())), Reason::Malformed),
        ("a malleable signature: s + L", forged(|s| s[1].signature = plus_order(&s[1].signature)), Reason::BadSignature),
    ];
    for (what, submission, reason) in cases {
        desk.expect(what, &submission, Comes::Refused(reason)).await;
    }
    let mut altered = desk.sealed(&desk.plain());
    let at = altered.payload.windows(7).position(|w| w == b"restore").unwrap();
    altered.payload[at] = b'R';
    desk.expect("a payload that was altered", &bare(altered.encode_to_vec()), Comes::Refused(Reason::BadSignature)).await;

    // Good signatures of keys that nobody registered.
    let stranger = Signatory::new(&desk.city, "approve", SigningKey::generate().unwrap());
    let mut command = desk.plain();
    command.head.as_mut().unwrap().signers[0] = stranger.head_lines().next().unwrap();
    let keys = [&stranger.key, &desk.managers[1].key, &desk.managers[2].key];
    desk.expect("a stranger among the signers", &bare(seal(&command, &keys).1), Comes::Recorded(Reason::UnknownSigner)).await;

    // Strangers alone leave no records: anybody could fill the ledger.
    let mut command = desk.plain();
    command.head.as_mut().unwrap().signers = stranger.head_lines().collect();
    desk.expect("a stranger alone", &bare(seal(&command, &[&stranger.key]).1), Comes::Refused(Reason::UnknownSigner)).await;

    // Under ZIP-215 the identity as key, R = identity and s = 0 hold for any message: nobody's key.
    let nobody = small_order();
    let mut command = desk.plain();
    command.head.as_mut().unwrap().signers = vec![Signer {
        key_id: nobody.id().to_vec(),
        unit: desk.city.clone(),
        post: "approve".into(),
        kind: SignerKind::Operator.into(),
        authentication: None,
    }];
    let universal = [nobody.0.as_slice(), &[0; 32]].concat();
    let signature = Signature { suite: SUITE_1, key_id: nobody.id().to_vec(), public_key: nobody.0.to_vec(), signature: universal };
    let envelope = Envelope { payload_type: COMMAND_TYPE.into(), payload: command.encode_to_vec(), signatures: vec![signature] };
    desk.expect("a key that signs everything", &bare(envelope.encode_to_vec()), Comes::Refused(Reason::UnknownSigner)).await;

    // Nor can such keys be registered.
    let mut not_canonical = [0xff; 32];
    not_canonical[0] = 0xee; // p + 1: the identity once more, written otherwise
    not_canonical[31] = 0x7f;
    let mut order_eight = hex::decode("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05").unwrap();
    for (what, key) in [
        ("the identity", nobody.0.to_vec()),
        ("a point of order 2", [&[0xec][..], &[0xff; 30], &[0x7f]].concat()),
        ("a point of order 4", vec![0; 32]),
        ("a point of order 8", std::mem::take(&mut order_eight)),
        ("a key that is not canonical", not_canonical.to_vec()),
        ("no point at all", [&[2][..], &[0; 31]].concat()),
    ] {
        let public = PublicKey::from_slice(&key).unwrap();
        let operator = Operator {
            key_id: public.id().to_vec(),
            suite: SUITE_1,
            public_key: key,
            person_tag: vec![5; 32],
            unit: desk.city.clone(),
            posts: vec!["approve".into()],
            ..Operator::default()
        };
        let command = desk.managed(Of::AddOperator(AddOperator { operator: Some(operator) }));
        desk.expect(what, &bare(desk.sealed(&command).encode_to_vec()), Comes::Recorded(Reason::BadKey)).await;
    }
}

fn small_order() -> PublicKey {
    let mut identity = [0; 32];
    identity[0] = 1;
    PublicKey(identity)
}

/// The same signature with the group's order added to its scalar.
fn plus_order(signature: &[u8]) -> Vec<u8> {
    let order = hex::decode("edd3f55c1a631258d69cf7a2def9de1400000000000000000000000000000010").unwrap();
    let (mut out, mut carry) = (signature.to_vec(), 0u16);
    for (byte, order) in out[32..].iter_mut().zip(order) {
        let sum = u16::from(*byte) + u16::from(order) + carry;
        (*byte, carry) = ((sum & 0xff) as u8, sum >> 8);
    }
    assert_eq!(carry, 0);
    out
}

#[tokio::test(flavor = "multi_thread")]
async fn what_travels_beside_must_be_what_was_signed() {
    let desk = Desk::open().await;
    let (one, two) = (desk.issue(0).await, desk.issue(1).await);
    let beside = |of: &Prepared| parts(of).beside.unwrap();
    let with = |change: &dyn Fn(&mut vermilion_proto::Beside)| {
        let mut own = beside(&one);
        change(&mut own);
        Submission { envelope: parts(&one).envelope, beside: Some(own) }
    };
    let other = beside(&two);
    let rebuilt = |command: &mut Command, beside: &vermilion_proto::Beside| {
        let Some(Of::IssueLicences(issue)) = command.body.as_mut().and_then(|b| b.of.as_mut()) else { panic!("no issue") };
        issue.items_root = vermilion_ledger::items_root(&beside.items).to_vec();
        issue.items_count = beside.items.len() as u32;
    };
    let item_changed = |change: &dyn Fn(&mut LicenceItem)| {
        desk.signed_again(&one, |command, beside| {
            let mut item = LicenceItem::decode(beside.items[0].clone()).unwrap();
            change(&mut item);
            beside.items[0] = item.encode_to_vec().into();
            rebuilt(command, beside);
        })
    };
    let cases = [
        ("another licence", with(&|b| b.items.clone_from(&other.items)), Reason::BesideMismatch),
        ("another ciphertext", with(&|b| b.ciphertexts.clone_from(&other.ciphertexts)), Reason::BesideMismatch),
        ("a flipped bit in the ciphertext", with(&|b| b.ciphertexts[0] = flipped(&b.ciphertexts[0], 20)), Reason::BesideMismatch),
        ("other wrapped keys", with(&|b| b.wraps = [&other.wraps[..], &[0]].concat().into()), Reason::BesideMismatch),
        ("a licence more than is signed", with(&|b| b.items.push(other.items[0].clone())), Reason::BesideMismatch),
        ("no licence", with(&|b| b.items.clear()), Reason::BesideMismatch),
        ("no ciphertext", with(&|b| b.ciphertexts.clear()), Reason::BesideMismatch),
        ("texts that nobody signed", with(&|b| b.text = vec![1, 2, 3].into()), Reason::BesideMismatch),
        ("nothing beside", Submission { beside: None, ..parts(&one) }, Reason::BesideMismatch),
        (
            "an unknown field in a licence, signed",
            desk.signed_again(&one, |command, beside| {
                beside.items[0] = [&beside.items[0][..], &UNKNOWN_FIELD].concat().into();
                rebuilt(command, beside);
            }),
            Reason::NotCanonical,
        ),
        ("a licence of another format version, signed", item_changed(&|item| item.format_version = 2), Reason::FormatVersion),
        ("another licence's digests, signed", item_changed(&|item| item.field_digests[5] ^= 1), Reason::ContentDigest),
        ("a licence beyond 32 KiB, signed", item_changed(&|item| item.previous = "x".repeat(33 << 10)), Reason::TooLarge),
        (
            "another command's content under this one's nonce, signed",
            desk.signed_again(&one, |command, beside| {
                let mut item = LicenceItem::decode(beside.items[0].clone()).unwrap();
                beside.ciphertexts.clone_from(&other.ciphertexts);
                beside.wraps.clone_from(&other.wraps);
                item.ciphertext_digest = vermilion_crypto::sha256(&beside.ciphertexts[0]).to_vec();
                command.head.as_mut().unwrap().wraps_digest = vermilion_crypto::sha256(&beside.wraps).to_vec();
                beside.items[0] = item.encode_to_vec().into();
                rebuilt(command, beside);
            }),
            Reason::ContentDoesNotOpen,
        ),
    ];
    for (what, submission, reason) in cases {
        desk.expect(what, &submission, Comes::Refused(reason)).await;
    }
    // A field that nobody knows is no part of what is signed, but would be kept.
    let strange = [&one.submission[..], &UNKNOWN_FIELD].concat();
    desk.expect_bytes("an unknown field beside envelope and beside", &strange.into(), Comes::Refused(Reason::NotCanonical)).await;
    let beside_strange = [&beside(&one).encode_to_vec()[..], &UNKNOWN_FIELD].concat();
    let strange = [&Submission { beside: None, ..parts(&one) }.encode_to_vec()[..], &field(2, &beside_strange)].concat();
    desk.expect_bytes("an unknown field within beside", &strange.into(), Comes::Refused(Reason::NotCanonical)).await;
    // Unchanged it is good, and sent again it has the same answer.
    let first = desk.ledger.send(0, one.submission.clone()).await;
    assert_eq!((first.state(), first.outcome.as_ref().map(|o| (o.code, o.refused.len()))), (CommandState::Committed, Some((0, 0))));
    let size = desk.ledger.settled().await;
    for node in [1, 2, 0] {
        let again = desk.ledger.send(node, one.submission.clone()).await;
        assert_eq!(
            (again.state(), again.seq, &again.record_hash, &again.outcome),
            (first.state(), first.seq, &first.record_hash, &first.outcome)
        );
    }
    assert_eq!(desk.ledger.settled().await, size);
}

#[tokio::test(flavor = "multi_thread")]
async fn content_for_keys_that_no_node_holds_is_refused_for_good() {
    let desk = Desk::open().await;
    let stranger = VaultSecretKey::generate().unwrap();
    let session = Session::new(ContentKey(random().unwrap()), &[stranger.public()], &mut SeededRng::from_system().unwrap()).unwrap();
    let mut draft = Draft::new(&desk.city, now_ms()).unwrap();
    draft.seal_texts(&session, &[("purpose", "x")]).unwrap();
    let of = Of::ChangeUnit(ChangeUnit { uscc: desk.unit.clone(), action: "restore".into() });
    let prepared = desk.ledger.client.prepare(Kind::ChangeUnit, draft, of).await.unwrap();
    assert_eq!(
        vermilion_registry::vault::open_command_key(&VaultWraps::decode(parts(&prepared).beside.unwrap().wraps).unwrap(), &[stranger])
            .map(|_| ()),
        Ok(())
    );
    desk.expect_bytes("content wrapped to a stranger", &prepared.submission, Comes::Refused(Reason::WrapMissing)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_a_clients_to_send_or_lacks_its_purpose_is_refused() {
    let desk = Desk::open().await;
    let genesis = Command {
        head: Some(Head { signers: Vec::new(), ..desk.head("", &[]) }),
        body: Some(Body { of: Some(Of::Genesis(Genesis { format_version: 1, suite: 1, ..Genesis::default() })) }),
    };
    desk.expect("a genesis", &bare(seal(&genesis, &[]).1), Comes::Refused(Reason::NotAuthorised)).await;
    let original = std::fs::read(desk.ledger.dir().join("genesis.bin")).unwrap();
    let again = Envelope { payload_type: COMMAND_TYPE.into(), payload: original, signatures: Vec::new() };
    desk.expect("this ledger's own genesis", &bare(again.encode_to_vec()), Comes::Refused(Reason::WrongLedger)).await;
    let commitment = desk.managed(Of::Commitment(Commitment::default()));
    desk.expect("a commitment", &bare(desk.sealed(&commitment).encode_to_vec()), Comes::Refused(Reason::NotAuthorised)).await;

    let user = desk.ledger.sample.unit_with_role("using-unit").unwrap().uscc.clone();
    let users = desk.ledger.client.signers(&user, Kind::Use).await.unwrap();
    let of = Use {
        act: Act::Use.into(),
        mode: Mode::Manual.into(),
        authority: Authority::ByFunction.into(),
        licences: vec![LicenceRef { identifier: "1.2.156.3005.2.x".into(), tag: Vec::new() }],
        service_item: "item".into(),
        recipient_key: VaultSecretKey::generate().unwrap().public().0.to_vec(),
        ..Use::default()
    };
    let a_use = |of: Use, change: fn(&mut Head)| {
        let mut head = desk.head(&user, &users);
        change(&mut head);
        let keys: Vec<&SigningKey> = users.iter().map(|s| &s.key).collect();
        bare(seal(&Command { head: Some(head), body: Some(Body { of: Some(Of::Use(of)) }) }, &keys).1)
    };
    desk.expect("a use without a purpose", &a_use(of.clone(), |_| {}), Comes::Refused(Reason::PurposeMissing)).await;
    let digests = Use { case_digest: vec![1; 32], purpose_digest: vec![2; 32], ..of.clone() };
    desk.expect(
        "digests of a purpose that the head does not name",
        &a_use(digests.clone(), |_| {}),
        Comes::Refused(Reason::PurposeMissing),
    )
    .await;
    let texts: fn(&mut Head) = |head| head.text_digests = vec![vec![1; 32], vec![2; 32]];
    for item in ["", " "] {
        let of = Use { service_item: item.into(), ..digests.clone() };
        desk.expect("a use for no service item", &a_use(of, texts), Comes::Refused(Reason::PurposeMissing)).await;
    }
    // A person's number in what a use says in the clear would stay in the record even of a refusal.
    for of in [
        Use { service_item: "为440303188001010011办理".into(), ..digests.clone() },
        Use { consent_id: "440303-18800101-0011".into(), ..digests.clone() },
        Use { fields: vec!["owner".into(), "440303188001010011".into()], ..digests.clone() },
        Use { fields: vec!["张三".into()], ..digests.clone() },
    ] {
        desk.expect("a person in a use", &a_use(of, texts), Comes::Refused(Reason::FieldForm)).await;
    }
    for (case, purpose) in [(" ", "核验"), ("一号案", "")] {
        let mut draft = Draft::new(&user, now_ms()).unwrap();
        draft.seal_texts(&desk.ledger.client.session(&user).await.unwrap(), &[("case", case), ("purpose", purpose)]).unwrap();
        let (case_digest, purpose_digest) = (draft.text_digests[0].to_vec(), draft.text_digests[1].to_vec());
        let of = Of::Use(Use { case_digest, purpose_digest, licences: Vec::new(), holder_tag: vec![1; 32], ..of.clone() });
        let prepared = desk.ledger.client.prepare(Kind::Use, draft, of).await.unwrap();
        desk.expect_bytes("a use whose texts say nothing", &prepared.submission, Comes::Refused(Reason::PurposeMissing)).await;
    }
    let named = a_use(digests, |head| head.text_digests = vec![vec![1; 32], vec![2; 32]]);
    desk.expect("a purpose that does not travel", &named, Comes::Refused(Reason::BesideMismatch)).await;

    // A citizen's number in a name would stay in the record even of a refusal.
    let rows: Vec<Value> = desk.ledger.sample.licences(3, 200).map(|row| serde_json::from_str(&row).unwrap()).collect();
    let personal = rows.iter().find(|row| row["certificateName"] == "机动车驾驶证").unwrap();
    let licence = personal["certificateIdentifier"].as_str().unwrap().to_owned();
    let keys: Vec<&SigningKey> = users.iter().map(|s| &s.key).collect();
    for of in [
        Of::ChangeStatus(ChangeStatus { licence: licence.clone(), to: "revoked".into(), ..ChangeStatus::default() }),
        Of::EraseContent(EraseContent { licence, ..EraseContent::default() }),
    ] {
        let command = Command { head: Some(desk.head(&user, &users)), body: Some(Body { of: Some(of) }) };
        desk.expect("a personal identifier in the clear", &bare(seal(&command, &keys).1), Comes::Refused(Reason::PersonalIdentifier)).await;
    }

    // Who may sign a policy, with nothing to sign it for.
    let reply = desk
        .ledger
        .send(1, bare(desk.sealed(&desk.managed(Of::SetPolicy(SetPolicy::default()))).encode_to_vec()).encode_to_vec().into())
        .await;
    assert!(matches!(came(&reply), Some(Comes::Recorded(_))), "{reply:?}");

    // A request without a submission, and one that is no request.
    let mut client = desk.ledger.client.connection.client_of(0).unwrap();
    let reply = client.submit(vermilion_proto::SubmitRequest::default()).await.unwrap().into_inner();
    assert_eq!(came(&reply), Some(Comes::Refused(Reason::PayloadType)));
    for node in desk.ledger.nodes() {
        for address in [&node.grpc, &node.http] {
            let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
            stream.write_all(&random::<4096>().unwrap()).await.unwrap();
            stream.shutdown().await.unwrap();
            let mut answer = Vec::new();
            // It may be cut off at any moment; what matters is that it ends.
            let _ =
                tokio::time::timeout(Duration::from_secs(20), stream.read_to_end(&mut answer)).await.expect("the connection stays open");
        }
        assert_eq!(http::get(&node.http, "/v1/ready").await.code, 200);
    }
    desk.ledger.client.connection.submit(&desk.issue(0).await).await.unwrap().accepted().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_id_has_one_outcome_whatever_is_sent_under_it() {
    let desk = Desk::open().await;
    let mut envelope = desk.sealed(&desk.plain());
    let id = command_id(&envelope.payload);
    let first = desk.ledger.send(0, bare(envelope.encode_to_vec()).encode_to_vec().into()).await;
    assert_eq!((first.state(), &first.command_id[..]), (CommandState::Committed, &id[..]));
    let size = desk.ledger.settled().await;
    // The record is there: what comes under its id with worse signatures changes nothing.
    envelope.signatures[0].signature = vec![0; 64];
    for node in 0..3 {
        let again = desk.ledger.send(node, bare(envelope.encode_to_vec()).encode_to_vec().into()).await;
        assert!(
            again.state() == CommandState::RefusedAtDoor || (again.seq, &again.record_hash) == (first.seq, &first.record_hash),
            "{again:?}"
        );
    }
    // A hundred at once, to all nodes, of one new command: one record.
    let one = desk.issue(2).await;
    let sent: Vec<_> = (0..99)
        .map(|n| {
            let mut client = desk.ledger.client_for(n % 3, &one.submission);
            let request = vermilion_proto::SubmitRequest { tag: n as u64, submission: one.submission.clone() };
            tokio::spawn(async move { client.submit(request).await.unwrap().into_inner() })
        })
        .collect();
    let mut seqs = Vec::new();
    for reply in sent {
        let reply = reply.await.unwrap();
        assert_eq!((reply.state(), reply.outcome.map(|o| o.code)), (CommandState::Committed, Some(0)));
        seqs.push(reply.seq);
    }
    seqs.dedup();
    assert_eq!((seqs.len(), desk.ledger.settled().await), (1, size + 2));
}
