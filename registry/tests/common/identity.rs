//! Admission, enrolment and certificates in the language of the transcripts.
//!
//! Who a certificate is for is written `node/<name>`, `unit-system/<unit>/<name>`, `operator/<person>` or
//! `auditor/<person>`; serial numbers and tokens are small words of the script's own.

use super::script::{Answer, Asked, Script, list, told_reason};
use super::*;
use goldenscript::ArgumentConsumer;
use std::error::Error;
use std::fmt::Write as _;
use vermilion_identity::authority::{issue, make_issuing, make_root};
use vermilion_identity::{AuthorityCertificate, AuthorityName, Kind as Holder, Serial, Subject, Validity};
use vermilion_proto::{
    ApplyAdmission, ApproveAdmission, BanSystem, ConnectSystem, GrantEnrolment, IssueCertificate, NotifyChange, RemedySystem,
    ReplaceAuthority, ReportTest, RestoreCertificate, RetireSystem, RevokeCertificate, RotateKey, SuspendCertificate, TestReport,
};
use vermilion_registry::admission::State;
use vermilion_registry::admission::membership;
use vermilion_registry::authorisation::{About, Action, Credential, may};
use vermilion_registry::certificates::{Standing, applicant_of, holder};
use vermilion_registry::{days, query};

pub const DOMAIN: &str = "vermilion.example";
const CITY_POSTS: &[&str] = &["ann", "oli", "vera"];

fn name(of: &str) -> AuthorityName {
    AuthorityName { trust_domain: DOMAIN.into(), unit: CITY.into(), name: of.into() }
}

pub fn days_from(start: u64, days: u64) -> Validity {
    Validity { not_before_ms: start, not_after_ms: start + days * DAY }
}

pub fn root(who: &str) -> AuthorityCertificate {
    let validity = days_from(START - 40 * DAY, 3650);
    make_root(&key(&format!("root {who}")), &name("朱印根"), &Serial::new(&[1]).unwrap(), validity).unwrap()
}

/// The issuing certificate of a number, of the ledger's own root or another's.
pub fn issuing(who: &str, number: u8, from: u64, days: u64) -> AuthorityCertificate {
    let public = key(&format!("issuing {who} {number}")).public();
    let serial = Serial::new(&[number + 1]).unwrap();
    make_issuing(&key(&format!("root {who}")), &root(who), public, &name("朱印签发"), &serial, days_from(from, days)).unwrap()
}

/// The genesis of the small world, with an authority of its own.
pub fn genesis_with_authority() -> Genesis {
    let mut out = genesis();
    out.root_certificate = root("own").der().to_vec();
    out.issuing_certificate = issuing("own", 1, START - 30 * DAY, 1825).der().to_vec();
    out
}

pub fn serial(text: &str) -> Vec<u8> {
    [b"s", text.as_bytes()].concat()
}

pub fn token(text: &str) -> Vec<u8> {
    sha256(format!("token {text}").as_bytes()).to_vec()
}

pub fn new_node(name: &str, id: u64, district: &str, city: bool) -> GenesisNode {
    let mut node = GenesisNode {
        raft_id: id,
        name: name.into(),
        node_key: node_key(id).public().0.to_vec(),
        cosigning_key: key(&format!("cosigner {id}")).public().0.to_vec(),
        district: district.into(),
        city,
        ..Default::default()
    };
    node.peer_address = format!("{name}.example:7000");
    node
}

/// Commands of this module.
pub fn body(script: &mut Script, name: &str, args: &mut ArgumentConsumer<'_>) -> Result<Asked, Box<dyn Error>> {
    let first = args.next_pos().unwrap_or_default().to_owned();
    let subject = script.subject(&first);
    let digest = |args: &mut ArgumentConsumer<'_>, key: &str| if args.take_key(key) == Some("none") { vec![] } else { vec![6; 32] };
    let (of, sign): (Of, &'static [&'static str]) = match name {
        "apply" => {
            let unit = script.unit(args.take_key("in-unit").unwrap_or("city"));
            let third_party = args.take_key("third-party") == Some("yes");
            let node = node_of(args, &first)?;
            let [plan_digest, capability_digest] = ["plan", "capability"].map(|k| if third_party { digest(args, k) } else { vec![] });
            (Of::ApplyAdmission(ApplyAdmission { subject, unit, node, third_party, plan_digest, capability_digest }), &["oli"])
        }
        "test" => {
            let report = TestReport {
                digest: digest(args, "digest"),
                assessor: script.unit(args.take_key("by").unwrap_or("lab")),
                tested_on: days::of(script.world.now).saturating_add_signed(args.take_key("days").map_or(Ok(0), str::parse)?),
                passed: args.take_key("passed") != Some("no"),
            };
            (Of::ReportTest(ReportTest { subject, report: Some(report) }), &["lea"])
        }
        "approve" => (Of::ApproveAdmission(ApproveAdmission { subject }), CITY_POSTS),
        "connect" => (Of::ConnectSystem(ConnectSystem { subject }), &["sid"]),
        "notify" => (Of::NotifyChange(NotifyChange { subject, change_digest: digest(args, "digest") }), &["oli"]),
        "ban" => {
            let risk_grade = args.take_key("grade").unwrap_or("high").into();
            (Of::BanSystem(BanSystem { subject, risk_grade }), &["sue"])
        }
        "remedy" => {
            let node = node_of(args, &first)?;
            (Of::RemedySystem(RemedySystem { subject, remedy_digest: digest(args, "digest"), node }), &["oli"])
        }
        "retire" => (Of::RetireSystem(RetireSystem { subject }), CITY_POSTS),
        "grant" => {
            let applicant = applicant_of(&script.holder(args)?);
            let hours: u64 = args.take_key("hours").map_or(Ok(24), str::parse)?;
            let token_hash = if args.take_key("hash") == Some("short") { vec![1] } else { token(&first) };
            let until_ms = script.world.now + hours * 3_600_000;
            (Of::GrantEnrolment(GrantEnrolment { token_hash, applicant: Some(applicant), until_ms }), CITY_POSTS)
        }
        "certify" => (Of::IssueCertificate(certificate(script, &first, args)?), &["node 1"]),
        "revoke-certificate" => {
            let reason = args.take_key("why").map_or(Ok(4), str::parse)?;
            (Of::RevokeCertificate(RevokeCertificate { serial: serial(&first), reason }), CITY_POSTS)
        }
        "suspend-certificate" => (Of::SuspendCertificate(SuspendCertificate { serial: serial(&first) }), CITY_POSTS),
        "restore-certificate" => (Of::RestoreCertificate(RestoreCertificate { serial: serial(&first) }), CITY_POSTS),
        "replace-authority" => {
            let number = first.parse()?;
            let start = script.world.now + args.take_key("from-day").map_or(Ok(0), str::parse::<u64>)? * DAY;
            let der = match args.take_key("of") {
                Some("root") => root("own").der().to_vec(),
                who => issuing(who.unwrap_or("own"), number, start / 1000 * 1000, 1000).der().to_vec(),
            };
            (Of::ReplaceAuthority(ReplaceAuthority { certificate: der }), &["ann", "oli", "vera", "sue"])
        }
        "rotate" => {
            let public_key = match args.take_key("key") {
                Some("zero") => vec![0; 32],
                Some("of-node") => node_key(1).public().0.to_vec(),
                Some("of-ann") => key("ann").public().0.to_vec(),
                Some("of-ledger") => key("ledger").public().0.to_vec(),
                name => key(name.unwrap_or("new")).public().0.to_vec(),
            };
            let suite = args.take_key("suite").map_or(Ok(1), str::parse)?;
            let area = args.take_key("area").unwrap_or_default().into();
            (Of::RotateKey(RotateKey { r#use: first.clone(), area, suite, public_key }), &["ann", "oli", "vera", "sue"])
        }
        other => return Err(format!("no command {other}").into()),
    };
    Ok((of, vec![], sign))
}

fn node_of(args: &mut ArgumentConsumer<'_>, subject: &str) -> Result<Option<GenesisNode>, Box<dyn Error>> {
    let Some(id) = args.take_key("id") else { return Ok(None) };
    let district = args.take_key("district").unwrap_or("440305").to_owned();
    let city = args.take_key("city") == Some("yes");
    let mut node = new_node(subject.rsplit('/').next().unwrap_or_default(), id.parse()?, &district, city);
    match args.take_key("bad") {
        Some("name") => node.name.push('x'),
        Some("address") => node.peer_address.clear(),
        Some("port") => node.peer_address = "second.example".into(),
        Some("key") => node.node_key = vec![1; 32],
        Some("old-key") => node.node_key = node_key(1).public().0.to_vec(),
        Some("same-key") => node.cosigning_key.clone_from(&node.node_key),
        Some("operators-key") => node.node_key = key("ann").public().0.to_vec(),
        Some("authority-key") => node.node_key = key("issuing own 1").public().0.to_vec(),
        Some("ledger-key") => node.cosigning_key = key("ledger").public().0.to_vec(),
        _ => {}
    }
    Ok(Some(node))
}

/// The certificate that a node shows: as the line says, by default from now for 30 days.
fn certificate(script: &Script, first: &str, args: &mut ArgumentConsumer<'_>) -> Result<IssueCertificate, Box<dyn Error>> {
    let subject = script.holder(args)?;
    let start: i64 = args.take_key("from-day").map_or(Ok(0), str::parse)?;
    let days: u64 = args.take_key("days").map_or(Ok(30), str::parse)?;
    let issuer = args.take_key("issuer").unwrap_or("own");
    let number: u8 = args.take_key("issuing").map_or(Ok(1), str::parse)?;
    let of_key = args.take_key("tls-key").map_or_else(|| format!("tls {}", holder(&applicant_of(&subject))), str::to_owned);
    let mut public = key(&of_key).public();
    if let (Some((who, _)), true) =
        (script.world.people.iter().find(|(_, p)| hex::encode(p.key_id) == subject.name), subject.kind.is_person())
    {
        public = key(who).public();
    }
    let not_before_ms = script.world.now.saturating_add_signed(start * DAY as i64) / 1000 * 1000;
    let validity = Validity { not_before_ms, not_after_ms: not_before_ms + days * DAY };
    let issuing = match number {
        1 => issuing(issuer, 1, START - 30 * DAY, 1825),
        n => AuthorityCertificate::parse(
            &script.world.registry.directory().authority().and_then(|(_, all)| all.get(usize::from(n) - 1)).ok_or("issuing")?.certificate,
        )?,
    };
    let signer = key(&format!("issuing {issuer} {number}"));
    let (mut der, _) = issue(&signer, &issuing, &subject, public, &Serial::new(&serial(first))?, validity)?;
    if args.take_key("der") == Some("broken") {
        der.pop();
    }
    Ok(IssueCertificate {
        certificate: der,
        token_hash: args.take_key("token").map(token).unwrap_or_default(),
        renews: args.take_key("renews").map(serial).unwrap_or_default(),
    })
}

/// Questions of this module.
pub fn ask(script: &mut Script, name: &str, args: &mut ArgumentConsumer<'_>) -> Option<Answer> {
    Some(match name {
        "certificate" => show_certificate(script, args),
        "admission" => show_admission(script, args),
        "group" => group(script, args),
        "keys" => show_keys(script),
        "may" => ask_may(script, args),
        _ => return None,
    })
}

fn show_certificate(script: &Script, args: &mut ArgumentConsumer<'_>) -> Answer {
    let number = serial(args.next_pos().ok_or("which certificate?")?);
    let kv = &script.world.kv;
    let Some(state) = query::certificate(kv, &number)? else { return Ok("no such certificate".into()) };
    let standing = Standing::from_number(state.standing).ok_or("standing")?;
    let credential = Credential::of_certificate(kv, script.world.registry.directory(), &number, script.world.now)?.ok_or("credential")?;
    let mut out = format!("{} {}", standing.name(), standing.chinese());
    if standing != Standing::Good {
        write!(out, ", reason {}", state.reason)?;
    }
    if !state.renewed_by.is_empty() {
        out.push_str(", renewed");
    }
    let listed = query::revoked_certificates(kv)?.iter().any(|c| c.serial == number);
    out.push_str(if listed { ", on the list" } else { "" });
    match credential.refused {
        None => write!(out, "; connects as {}", credential.bearer.name())?,
        Some(refusal) => write!(out, "; does not connect: {}", told_reason(refusal.reason.number()))?,
    }
    Ok(out)
}

fn show_keys(script: &Script) -> Answer {
    let keys = query::rotated_keys(&script.world.kv)?;
    let line = |k: &vermilion_proto::KeyState| {
        let of = k.key.clone().unwrap_or_default();
        format!("{} {} from record {}: {}…\n", of.r#use, of.area, k.from_seq, hex::encode(&of.public_key[..4]))
    };
    Ok(keys.iter().map(line).collect())
}

fn show_admission(script: &Script, args: &mut ArgumentConsumer<'_>) -> Answer {
    let subject = script.subject(args.next_pos().ok_or("whose admission?")?);
    let Some(state) = script.world.registry.directory().admission(&subject) else { return Ok("unknown".into()) };
    let at = State::from_number(state.state).ok_or("state")?;
    let mut out = format!("{} {}, {}", at.name(), at.chinese(), if state.access { "has access" } else { "no access" });
    if let Some(node) = &state.node {
        write!(out, ", node {}", node.raft_id)?;
    }
    if !state.former_ids.is_empty() {
        write!(out, ", was {:?}", state.former_ids)?;
    }
    Ok(out)
}

/// `group ID`: what the state says of a node of the group. Alone: who is connected, and who must leave.
fn group(script: &Script, args: &mut ArgumentConsumer<'_>) -> Answer {
    let directory = script.world.registry.directory();
    if let Some(id) = args.next_pos() {
        return Ok(format!("{:?}", membership::standing(directory, id.parse()?)).to_lowercase());
    }
    let connected: Vec<u64> = directory.active_nodes().map(|n| n.raft_id).collect();
    let mut out: Vec<u64> = query::nodes(&script.world.kv)?.iter().map(|n| n.raft_id).collect();
    out.retain(|id| membership::standing(directory, *id) == membership::Standing::Out);
    Ok(format!("connected {connected:?}, must leave {out:?}"))
}

/// `may SERIAL ACTION [about=UNIT]`; `public` instead of a serial number asks for nobody in particular,
/// `key/NAME` by a token that this operator's key signed.
fn ask_may(script: &Script, args: &mut ArgumentConsumer<'_>) -> Answer {
    let (who, what) = (args.next_pos().ok_or("who?")?.to_owned(), args.next_pos().ok_or("what?")?.to_owned());
    let directory = script.world.registry.directory();
    let who = match who.as_str() {
        "public" => Credential::public(),
        who if who.starts_with("key/") => {
            Credential::of_key(directory, &key(who.trim_start_matches("key/")).public().id(), script.world.now)
        }
        number => match Credential::of_certificate(&script.world.kv, directory, &serial(number), script.world.now)? {
            Some(who) => who,
            None => return Ok("no such certificate".into()),
        },
    };
    let action = Action::all().find(|a| a.name() == what).ok_or("no such action")?;
    let unit = args.take_key("about").map(|u| script.unit(u));
    let area = unit.as_ref().and_then(|u| directory.unit(u)).and_then(|s| s.unit.as_ref()).map(|u| u.area.clone()).unwrap_or_default();
    let about = unit.as_ref().map(|unit| About { unit, area: &area });
    Ok(match may(script.world.registry.policy(), &who, action, about) {
        Ok(()) => "yes".into(),
        Err(refusal) => format!("no: {}", told_reason(refusal.reason.number())),
    })
}

impl Script {
    /// A subject with its unit's code in place of the script's word for it.
    fn subject(&self, text: &str) -> String {
        match text.split('/').collect::<Vec<_>>().as_slice() {
            ["unit-system", unit, name] => format!("unit-system/{}/{name}", self.unit(unit)),
            _ => text.to_owned(),
        }
    }

    /// Whom a certificate is for: the next word, bent by the keys that follow.
    fn holder(&self, args: &mut ArgumentConsumer<'_>) -> Result<Subject, Box<dyn Error>> {
        let text = args.next_pos().ok_or("for whom?")?.to_owned();
        let parts: Vec<&str> = text.split('/').collect();
        let (kind, name) = (parts[0], *parts.last().unwrap_or(&""));
        let directory = self.world.registry.directory();
        let mut subject = Subject {
            kind: Holder::UnitSystem,
            trust_domain: DOMAIN.into(),
            unit: CITY.into(),
            district: "440300".into(),
            posts: Vec::new(),
            name: name.into(),
        };
        match kind {
            "node" => {
                let admission = directory.admission(&text);
                let node = admission.as_ref().and_then(|a| a.node.clone()).unwrap_or_default();
                let id: u64 = args.take_key("id").map_or(Ok(node.raft_id), str::parse)?;
                subject.kind = Holder::Node { raft_id: id };
                subject.unit = admission.map_or_else(|| CITY.into(), |a| a.unit);
                subject.district = if node.district.is_empty() { "440305".into() } else { node.district };
            }
            "unit-system" => subject.unit = self.unit(parts[1]),
            person => {
                subject.kind = if person == "auditor" { Holder::Auditor } else { Holder::Operator };
                let known = self.world.people.get(name).cloned().unwrap_or_else(|| super::person(name, CITY, "maker"));
                let operator = directory.operator(&known.key_id).and_then(|o| o.operator.clone()).unwrap_or_default();
                subject.unit = known.unit;
                subject.name = hex::encode(known.key_id);
                subject.posts = if operator.posts.is_empty() { vec![known.post] } else { operator.posts };
            }
        }
        if kind != "node"
            && let Some(unit) = directory.unit(&subject.unit).and_then(|s| s.unit.as_ref())
        {
            subject.district = unit.area.clone();
        }
        if let Some(unit) = args.take_key("in-unit") {
            subject.unit = self.unit(unit);
        }
        if let Some(district) = args.take_key("district") {
            subject.district = district.into();
        }
        if let Some(posts) = args.take_key("posts") {
            subject.posts = list(Some(posts));
        }
        subject.posts.sort();
        Ok(subject)
    }
}
