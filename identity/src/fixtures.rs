//! An authority for tests.

use crate::{
    authority,
    authority_certificate::{AuthorityCertificate, AuthorityName},
    certificate::Certificate,
    serial::Serial,
    subject::{Kind, Subject},
    x509::Validity,
};
use vermilion_crypto::SigningKey;

pub(crate) const DAY: u64 = 86_400_000;
/// 2026-11-21.
pub(crate) const NOW: u64 = 1_795_219_200_000;
pub(crate) const UNIT: &str = "11440300MB0X00019K";

pub(crate) struct TestAuthority {
    pub(crate) root: AuthorityCertificate,
    pub(crate) issuing: AuthorityCertificate,
    pub(crate) root_key: SigningKey,
    pub(crate) issuing_key: SigningKey,
}

pub(crate) fn serial(n: u8) -> Serial {
    Serial::new(&[n]).unwrap()
}

pub(crate) fn days(from: u64, to: u64) -> Validity {
    Validity { not_before_ms: NOW + from * DAY, not_after_ms: NOW + to * DAY }
}

pub(crate) fn authority_of(seed: u8) -> TestAuthority {
    let (root_key, issuing_key) = (SigningKey::from_seed(&[seed; 32]), SigningKey::from_seed(&[seed + 1; 32]));
    let name = |name: &str| AuthorityName { trust_domain: "vermilion.example".into(), unit: UNIT.into(), name: name.into() };
    let root = authority::make_root(&root_key, &name("朱印根"), &serial(1), days(0, 3650)).unwrap();
    let issuing = authority::make_issuing(&root_key, &root, issuing_key.public(), &name("朱印签发"), &serial(2), days(0, 1825)).unwrap();
    TestAuthority { root, issuing, root_key, issuing_key }
}

pub(crate) fn subject(kind: Kind, key: &SigningKey) -> Subject {
    Subject {
        kind,
        trust_domain: "vermilion.example".into(),
        unit: UNIT.into(),
        district: "440305".into(),
        posts: if kind.is_person() { vec!["checker".into(), "maker".into()] } else { Vec::new() },
        name: if kind.is_person() { hex::encode(key.public().id()) } else { "nanshan".into() },
    }
}

pub(crate) fn leaf(authority: &TestAuthority, kind: Kind, key: &SigningKey, number: u8) -> (Vec<u8>, Certificate) {
    let subject = subject(kind, key);
    authority::issue(&authority.issuing_key, &authority.issuing, &subject, key.public(), &serial(number), days(0, 365)).unwrap()
}

pub(crate) const KINDS: [Kind; 4] = [Kind::Node { raft_id: 3 }, Kind::UnitSystem, Kind::Operator, Kind::Auditor];
