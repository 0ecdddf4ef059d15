//! Every cell of the table of rights, against the page that documents it: what the page does not
//! allow is denied. `UPDATE_GOLDENFILES=1` writes the page anew.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod common;

use common::identity::genesis_with_authority;
use common::{CITY, World, city_unit};
use std::collections::BTreeMap;
use vermilion_proto::{
    AddOperator, ApplyAdmission, ApproveAdmission, BanSystem, ChangeStatus, ChangeUnit, ConnectSystem, EraseContent, GrantEnrolment,
    NotifyChange, PublishImplementation, PublishType, RegisterUnit, RemedySystem, ReplaceAuthority, ReportTest, RestoreCertificate,
    RetireSystem, RevokeCertificate, RevokeOperator, RotateKey, SetPolicy, SuspendCertificate, Unit, Use, body::Of,
};
use vermilion_registry::authorisation::{About, Action, Bearer, Credential, may, table};
use vermilion_registry::{Kind, Reason, Refusal, query};

const PAGE: &str = "../docs/authorisation.md";
const BEGIN: &str = "<!-- the table: generated -->\n";
const ROLES: [&str; 6] = ["managing-unit-city", "managing-unit-district", "issuing-unit", "using-unit", "auditor", "assessor"];
const POSTS: [&str; 12] = [
    "approve",
    "audit-admin",
    "auditor",
    "checker",
    "issuer",
    "maker",
    "operate",
    "security-admin",
    "system-admin",
    "tester",
    "user",
    "verify",
];

/// One row of the page: who, with role and reach, and the posts.
struct Row {
    grants: Vec<(String, String, String)>,
    posts: String,
}

fn page() -> BTreeMap<String, Row> {
    let text = std::fs::read_to_string(PAGE).unwrap();
    let (before, old) = text.split_once(BEGIN).expect("the page has its table");
    let new = table::markdown();
    if std::env::var("UPDATE_GOLDENFILES").is_ok() {
        std::fs::write(PAGE, format!("{before}{BEGIN}{new}")).unwrap();
    } else {
        assert_eq!(old, new, "docs/authorisation.md is not what the table says");
    }
    new.lines()
        .skip(2)
        .map(|line| {
            let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
            let grants = cells[1].split("; ").filter(|g| *g != "nobody").map(|g| {
                let (bearer, rest) = g.split_once(": ").unwrap();
                let (role, reach) = rest.split_once(" → ").unwrap();
                (bearer.to_owned(), role.to_owned(), reach.to_owned())
            });
            (cells[0].to_owned(), Row { grants: grants.collect(), posts: cells[2].to_owned() })
        })
        .collect()
}

/// What the page says of a cell, read as a person would.
fn expected(row: &Row, rule: &str, who: &Credential, role: Option<&str>, about: &str) -> bool {
    let post_held = |list: &str, by: &[char]| list.split(by).any(|p| who.posts.iter().any(|held| held == p.trim()));
    let in_post = match row.posts.as_str() {
        "–" => true,
        _ if who.bearer != Bearer::Operator => true,
        posts if posts.starts_with('`') => post_held(rule, &['+', '|']),
        posts => post_held(posts, &[',']),
    };
    let stopped = who.unit_suspended && role != Some("managing-unit-city") && who.bearer != Bearer::Node;
    let reaches = |reach: &str| match reach {
        "all" => true,
        "district" => matches!(about, "own" | "near"),
        _ => about == "own",
    };
    who.refused.is_none()
        && row.grants.iter().any(|(bearer, needs, reach)| {
            let fits = bearer == who.bearer.name() && (needs == "any" || Some(needs.as_str()) == role) && in_post && !stopped;
            (bearer == "public" || fits) && reaches(reach)
        })
}

#[test]
fn every_cell_that_the_page_does_not_allow_is_denied() {
    let page = page();
    let world = World::with(genesis_with_authority());
    let policy = world.registry.policy();
    let mut cells = [0usize; 2];
    for action in Action::all() {
        let row = &page[&format!("{} {}", if matches!(action, Action::Command(_)) { "command" } else { "question" }, action.name())];
        let rule = query::policy_at(&world.kv, &format!("posts.{}", action.name()), u64::MAX).unwrap().map(|e| e.value).unwrap_or_default();
        for bearer in Bearer::ALL {
            for role in ROLES.into_iter().map(Some).chain([None]) {
                for (post, suspended, refused) in
                    POSTS.into_iter().flat_map(|p| [(p, false, false), (p, true, false), (p, false, true), (p, true, true)])
                {
                    let unit = role.map(|role| Unit {
                        uscc: "own".into(),
                        area: "440305".into(),
                        level: if role == "managing-unit-city" { "city" } else { "district" }.into(),
                        roles: vec![role.into()],
                        ..Default::default()
                    });
                    let who = Credential {
                        bearer,
                        unit,
                        unit_suspended: suspended,
                        posts: vec![post.into()],
                        refused: refused.then(|| Refusal::from(Reason::CertificateRevoked)),
                        ..Credential::public()
                    };
                    for about in ["own", "near", "far", "none"] {
                        let target = match about {
                            "own" => Some(About { unit: "own", area: "440305" }),
                            "near" => Some(About { unit: "other", area: "440305" }),
                            "far" => Some(About { unit: "other", area: "440304" }),
                            _ => None,
                        };
                        // A unit that nobody has can be nobody's own.
                        let about = if role.is_none() && about != "none" { "far" } else { about };
                        let answer = may(policy, &who, action, target);
                        let allowed = expected(row, &rule, &who, role, about);
                        let cell = format!("{} {bearer:?} {role:?} {post} {suspended} {refused} {about}", action.name());
                        assert_eq!(answer.is_ok(), allowed, "{cell}: {answer:?}");
                        cells[usize::from(allowed)] += 1;
                    }
                }
            }
        }
    }
    assert!(cells[0] > cells[1] && cells[1] > 1_000, "{cells:?}");
}

/// A body that reaches the question of roles, and no further.
fn body(kind: Kind, uscc: &str) -> Of {
    let unit = Unit { uscc: CITY.into(), level: "city".into(), roles: vec!["using-unit".into()], ..city_unit() };
    match kind {
        Kind::RegisterUnit => Of::RegisterUnit(RegisterUnit { unit: Some(unit) }),
        Kind::ChangeUnit => Of::ChangeUnit(ChangeUnit { uscc: uscc.into(), action: "suspend".into() }),
        Kind::AddOperator => {
            Of::AddOperator(AddOperator { operator: Some(vermilion_proto::Operator { unit: uscc.into(), ..Default::default() }) })
        }
        Kind::RevokeOperator => {
            Of::RevokeOperator(RevokeOperator { key_id: common::person("target", CITY, "").key_id.to_vec(), posts: vec![] })
        }
        Kind::PublishType => Of::PublishType(PublishType::default()),
        Kind::PublishImplementation => Of::PublishImplementation(PublishImplementation::default()),
        Kind::ChangeStatus => Of::ChangeStatus(ChangeStatus::default()),
        Kind::Use => Of::Use(Use::default()),
        Kind::Erase => Of::EraseContent(EraseContent { kind: "erasure".into(), ..Default::default() }),
        Kind::SetPolicy => Of::SetPolicy(SetPolicy::default()),
        Kind::ApplyAdmission => Of::ApplyAdmission(ApplyAdmission::default()),
        Kind::ReportTest => Of::ReportTest(ReportTest::default()),
        Kind::ApproveAdmission => Of::ApproveAdmission(ApproveAdmission::default()),
        Kind::ConnectSystem => Of::ConnectSystem(ConnectSystem::default()),
        Kind::NotifyChange => Of::NotifyChange(NotifyChange::default()),
        Kind::BanSystem => Of::BanSystem(BanSystem::default()),
        Kind::RemedySystem => Of::RemedySystem(RemedySystem::default()),
        Kind::RetireSystem => Of::RetireSystem(RetireSystem::default()),
        Kind::GrantEnrolment => Of::GrantEnrolment(GrantEnrolment::default()),
        Kind::ReplaceAuthority => Of::ReplaceAuthority(ReplaceAuthority::default()),
        Kind::RevokeCertificate => Of::RevokeCertificate(RevokeCertificate { serial: vec![1], reason: 4 }),
        Kind::RevokeLostKey => Of::RevokeCertificate(RevokeCertificate { serial: vec![1], reason: 1 }),
        Kind::SuspendCertificate => Of::SuspendCertificate(SuspendCertificate::default()),
        Kind::RestoreCertificate => Of::RestoreCertificate(RestoreCertificate::default()),
        Kind::RotateKey => Of::RotateKey(RotateKey::default()),
        Kind::Genesis | Kind::Commitment | Kind::IssueCertificate | Kind::Issue | Kind::Supersede => panic!("{kind:?}"),
    }
}

/// A command signed as policy asks is refused for the unit's role exactly where the table has no row
/// for the role. Issuing is by implementation, item by item: `scripts/issue` shows it.
#[test]
fn apply_asks_the_same_table() {
    let mut world = World::with(genesis_with_authority());
    for role in ROLES.into_iter().skip(1) {
        let area = if role == "assessor" { "440300" } else { "440305" };
        world.add_unit(role, area, &[role]);
    }
    let target = world.units["using-unit"].clone();
    world.add_operator("target", &target, &["user"]);
    for role in ROLES {
        let uscc = if role == "managing-unit-city" { CITY.to_owned() } else { world.units[role].clone() };
        for post in POSTS {
            let name = format!("{role} {post}");
            world.add_operator(&name, &uscc, &[post]);
            if post.ends_with("-admin") {
                world.add_second_key(&name, &uscc);
            }
        }
        for kind in Kind::SIGNED_BY_POSTS.into_iter().filter(|k| !matches!(k, Kind::Issue | Kind::Supersede)) {
            let rule = world.registry.policy().posts(kind).unwrap().to_string();
            let posts = rule.split('|').next().unwrap().split('+');
            let names: Vec<String> = posts.map(|post| format!("{role} {post}")).collect();
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            let mut head = world.head(&uscc, &names);
            world.second_keys(&mut head, &names);
            let about = if kind == Kind::ChangeUnit { CITY } else { &uscc };
            let refused = world.reason(head, body(kind, about), vec![]);
            let listed = table::row(Action::Command(kind)).grants.iter().any(|g| g.role == Some(role));
            // Nobody suspends the city, whoever asks: that refusal has the same name.
            if !(kind == Kind::ChangeUnit && listed) {
                assert_eq!(refused == Some(Reason::UnitRole), !listed, "{} by {role}: {refused:?}", kind.name());
            }
        }
    }
}

/// Whoever stole an administrator's second key alone has nothing: it asks nothing, whatever its unit may.
#[test]
fn a_second_key_asks_nothing() {
    let mut world = World::with(genesis_with_authority());
    world.add_operator("alf", CITY, &["audit-admin"]);
    world.add_second_key("alf", CITY);
    let directory = world.registry.directory();
    let refused = |name: &str| Credential::of_key(directory, &common::key(name).public().id(), world.now).refused.map(|r| r.reason);
    assert_eq!(refused("alf"), None);
    assert_eq!(refused("alf-second"), Some(Reason::NotAuthorised));
}
