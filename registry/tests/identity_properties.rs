//! Whatever people do with admissions, grants and certificates: apply answers, what must hold of the
//! state holds, and a replay gives the same.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod common;

use common::identity::{DOMAIN, days_from, genesis_with_authority, issuing, new_node, serial, token};
use common::{CITY, DAY, START, World, key};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use vermilion_identity::authority::issue;
use vermilion_identity::{Kind as Holder, Serial, Subject};
use vermilion_proto::{
    ApplyAdmission, ApproveAdmission, BanSystem, ConnectSystem, GrantEnrolment, IssueCertificate, NotifyChange, RemedySystem, ReportTest,
    RestoreCertificate, RetireSystem, RevokeCertificate, Signer, SignerKind, SuspendCertificate, TestReport, body::Of,
};
use vermilion_registry::admission::State;
use vermilion_registry::admission::membership::{Standing, standing};
use vermilion_registry::authorisation::Credential;
use vermilion_registry::certificates::{self, applicant_of};
use vermilion_registry::{days, query};

/// One act: which, on which of two nodes, with which small number.
type Act = (u8, bool, u8);

fn world() -> World {
    let mut world = World::with(genesis_with_authority());
    world.add_unit("health", "440305", &["issuing-unit"]);
    let lab = world.add_unit("lab", "440300", &["assessor"]);
    world.add_operator("lea", &lab, &["tester"]);
    world.add_operator("sid", CITY, &["system-admin"]);
    world.add_operator("sue", CITY, &["security-admin"]);
    world.add_second_key("sid", CITY);
    world.add_second_key("sue", CITY);
    world
}

fn act(world: &mut World, (what, second, number): Act) {
    let name = if second { "east" } else { "west" };
    let subject = format!("node/{name}");
    let now_id = world.registry.directory().admission(&subject).and_then(|a| a.node).map_or(0, |n| n.raft_id);
    let node = new_node(name, 4 + u64::from(number % 8), "440305", false);
    let number_bytes = serial(&number.to_string());
    let holder = Subject {
        kind: Holder::Node { raft_id: now_id.max(1) },
        trust_domain: DOMAIN.into(),
        unit: CITY.into(),
        district: "440305".into(),
        posts: Vec::new(),
        name: name.into(),
    };
    let three: &[&str] = &["ann", "oli", "vera"];
    let (of, sign): (Of, &[&str]) = match what {
        0 => (Of::ApplyAdmission(ApplyAdmission { subject, unit: CITY.into(), node: Some(node), ..Default::default() }), &["oli"]),
        1 | 2 => {
            let assessor = world.units["lab"].clone();
            let report = TestReport { digest: vec![1; 32], assessor, tested_on: days::of(world.now), passed: true };
            (Of::ReportTest(ReportTest { subject, report: Some(report) }), &["lea"])
        }
        3 | 4 => (Of::ApproveAdmission(ApproveAdmission { subject }), three),
        5 | 6 => (Of::ConnectSystem(ConnectSystem { subject }), &["sid"]),
        7 => (Of::NotifyChange(NotifyChange { subject, change_digest: vec![1; 32] }), &["oli"]),
        8 => {
            let risk_grade = if number % 2 == 0 { "low" } else { "high" }.into();
            (Of::BanSystem(BanSystem { subject, risk_grade }), &["sue"])
        }
        9 | 10 => (Of::RemedySystem(RemedySystem { subject, remedy_digest: vec![1; 32], node: Some(node) }), &["oli"]),
        11 if number < 8 => (Of::RetireSystem(RetireSystem { subject }), three),
        11 | 12 => {
            let until_ms = world.now + 3_600_000;
            let grant = GrantEnrolment { token_hash: token(&number.to_string()), applicant: Some(applicant_of(&holder)), until_ms };
            (Of::GrantEnrolment(grant), three)
        }
        13 | 14 => {
            let validity = days_from(world.now / 1000 * 1000, 30);
            let public = key(&format!("tls {name} {number}")).public();
            let by = issuing("own", 1, START - 30 * DAY, 1825);
            let serial = Serial::new(&number_bytes).unwrap();
            let (der, _) = issue(&key("issuing own 1"), &by, &holder, public, &serial, validity).unwrap();
            let (token_hash, renews) =
                if what == 13 { (token(&number.to_string()), vec![]) } else { (vec![], self::serial(&(number / 2).to_string())) };
            (Of::IssueCertificate(IssueCertificate { certificate: der, token_hash, renews }), &[])
        }
        15 => (
            Of::RevokeCertificate(RevokeCertificate { serial: number_bytes, reason: u32::from(number % 3) }),
            &["ann", "oli", "vera", "sue"],
        ),
        16 => (Of::SuspendCertificate(SuspendCertificate { serial: number_bytes }), three),
        _ => (Of::RestoreCertificate(RestoreCertificate { serial: number_bytes }), three),
    };
    let unit = if sign == ["lea"] { world.units["lab"].clone() } else { CITY.to_owned() };
    let mut head = world.head(&unit, sign);
    world.second_keys(&mut head, sign);
    common::ground(&mut head);
    if matches!(of, Of::IssueCertificate(_)) {
        let key_id = common::node_key(1).public().id().to_vec();
        head.signers = vec![Signer { key_id, post: "authority".into(), kind: SignerKind::Node as i32, ..Default::default() }];
        head.unit.clear();
    }
    let (_, record) = world.apply(head, of, vec![]);
    assert!(record.is_some(), "apply answers with a record");
}

/// What holds after every record.
fn check(world: &World, standings: &mut BTreeMap<u64, Standing>) {
    let directory = world.registry.directory();
    for id in 1..16 {
        let now = standing(directory, id);
        let before = standings.insert(id, now);
        assert!(before != Some(Standing::Out) || now == Standing::Out, "node {id} came back");
        assert!(!matches!(before, Some(Standing::Connected | Standing::Kept)) || now != Standing::Unknown, "node {id} was forgotten");
    }
    let mut ids = BTreeSet::new();
    for admission in directory.all_admissions() {
        let node = admission.node.as_ref().unwrap();
        let state = State::from_number(admission.state).unwrap();
        assert!(ids.insert(node.raft_id) && admission.former_ids.iter().all(|id| ids.insert(*id)), "an id is given twice");
        let cut = matches!(state, State::Disconnected | State::Banned | State::Remedied | State::Retired);
        assert!(!cut || !admission.access, "{state:?} has access");
        assert!(state != State::Connected || admission.access);
        assert_eq!(directory.node(node.raft_id).is_some(), admission.access);
        for id in &admission.former_ids {
            assert!(directory.node(*id).is_none() && standing(directory, *id) == Standing::Out);
        }
        assert_eq!(matches!(standing(directory, node.raft_id), Standing::Connected | Standing::Kept), admission.access);
    }
    for id in 1..16 {
        let active = directory.active_nodes().any(|node| node.raft_id == id);
        assert_eq!(active, matches!(standing(directory, id), Standing::Connected | Standing::Kept));
    }
    let revoked: Vec<_> = query::revoked_certificates(&world.kv).unwrap().into_iter().map(|c| c.serial).collect();
    let mut totals = [0u64; 3];
    for certificate in query::certificates(&world.kv).unwrap() {
        let standing = certificates::Standing::from_number(certificate.standing).unwrap();
        assert_eq!(standing != certificates::Standing::Good, revoked.contains(&certificate.serial));
        let credential = Credential::of_certificate(&world.kv, directory, &certificate.serial, world.now).unwrap().unwrap();
        let id = certificate.holder.as_ref().unwrap().raft_id;
        assert_eq!(credential.refused.is_none(), standing == certificates::Standing::Good && directory.node(id).is_some());
        totals[usize::from(!certificate.renews.is_empty())] += 1;
        totals[2] += u64::from(standing == certificates::Standing::Revoked);
    }
    let figures = query::certificate_figures(&world.kv, 202_611).unwrap();
    let sum = |of: fn(&vermilion_proto::CertificateFigures) -> u64| figures.iter().map(of).sum::<u64>();
    assert_eq!([sum(|f| f.issued), sum(|f| f.renewed), sum(|f| f.revoked)], totals);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn any_order_of_steps_leaves_a_state_that_holds(acts in prop::collection::vec((0u8..18, any::<bool>(), 0u8..12), 1..80)) {
        let (mut world, mut standings) = (world(), BTreeMap::new());
        for one in acts {
            act(&mut world, one);
            check(&world, &mut standings);
        }
        let (kv, records) = common::replay(&world, 5);
        prop_assert!(kv == world.kv);
        prop_assert!(records.iter().eq(world.records.iter().map(|r| &r.bytes)));
    }
}
