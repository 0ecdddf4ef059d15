//! The steps: each a command, each moving one admission from a state to the next.

use super::membership::keeps_majority;
use super::nodes;
use super::{GRADES, State};
use crate::authority::{ASSESSOR, MANAGING_CITY, check_seen, has_role, may_manage};
use crate::certificates;
use crate::codes::uscc;
use crate::command::Kind;
use crate::custody::SECURITY_ADMIN;
use crate::decision::{Change, Decision, View};
use crate::fatal::{Fatal, Stop, refuse};
use crate::keys;
use crate::posts;
use crate::reason::Reason;
use vermilion_proto::{
    AdmissionState, ApplyAdmission, ApproveAdmission, BanSystem, ConnectSystem, Head, NotifyChange, RemedySystem, ReportTest, RetireSystem,
    Unit, UnitState,
};

/// RFC 5280: the holder has ceased to operate.
const CESSATION: u32 = 5;
/// RFC 5280: a privilege was withdrawn.
const PRIVILEGE_WITHDRAWN: u32 = 9;

/// Whether a name is one DNS label.
pub(crate) fn is_dns_label(text: &str) -> bool {
    (1..=63).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        && !text.starts_with('-')
        && !text.ends_with('-')
}

fn digest(bytes: &[u8], field: &str) -> Result<(), Stop> {
    if bytes.len() == 32 { Ok(()) } else { refuse(Reason::FieldForm, format!("{field} is no SHA-256 digest")) }
}

/// Applies for a connection (004-17; a third party's by 004-21).
pub(crate) fn apply(view: &View<'_>, acting: &Unit, body: &ApplyAdmission) -> Result<Decision, Stop> {
    let Some(UnitState { unit: Some(unit), suspended, .. }) = view.directory.unit(&body.unit) else {
        return refuse(Reason::UnknownUnit, "unit");
    };
    if *suspended {
        return refuse(Reason::UnitSuspended, "unit");
    }
    if acting.uscc != unit.uscc {
        may_manage(acting, unit)?;
    }
    match (body.subject.split('/').collect::<Vec<_>>().as_slice(), &body.node) {
        (["node", name], Some(node)) if is_dns_label(name) => {
            // Who runs a node of the ledger manages: the city, or the node's district (002-6).
            crate::authority::require_role(unit, &[MANAGING_CITY, crate::authority::MANAGING_DISTRICT])?;
            if view.directory.nodes.values().any(|n| n.name == *name) {
                return refuse(Reason::AlreadyExists, "subject");
            }
            nodes::check(view, acting, &body.subject, node)?;
        }
        (["unit-system", of, name], None) if is_dns_label(name) && uscc::is_valid(of) && *of == body.unit => {}
        _ => return refuse(Reason::FieldForm, "subject"),
    }
    if view.directory.admission(&body.subject).is_some() {
        return refuse(Reason::AlreadyExists, "subject");
    }
    for (field, bytes) in [("plan_digest", &body.plan_digest), ("capability_digest", &body.capability_digest)] {
        match (bytes.is_empty(), body.third_party) {
            (true, true) => return refuse(Reason::PlanMissing, field),
            (true, false) => {}
            (false, _) => digest(bytes, field)?,
        }
    }
    Ok(Decision::of(vec![Change::Admission(Box::new(AdmissionState {
        subject: body.subject.clone(),
        state: State::Applied.number(),
        unit: body.unit.clone(),
        node: body.node.clone(),
        third_party: body.third_party,
        plan_digest: body.plan_digest.clone(),
        capability_digest: body.capability_digest.clone(),
        applied_seq: view.seq,
        changed_seq: view.seq,
        changed_ms: view.now_ms,
        ..AdmissionState::default()
    }))]))
}

/// What a step finds: the admission and the unit that answers for it.
fn find<'a>(view: &View<'a>, head: &Head, subject: &str) -> Result<(AdmissionState, &'a Unit), Stop> {
    let Some(state) = view.directory.admission(subject) else { return refuse(Reason::UnknownSystem, "subject") };
    let Some(UnitState { unit: Some(unit), .. }) = view.directory.unit(&state.unit) else {
        return refuse(Reason::UnknownUnit, "the unit that answers for it");
    };
    check_seen(view, head, &keys::admission(subject))?;
    Ok((state, unit))
}

/// The admission in its next state, if policy lets it get there.
fn moved(view: &View<'_>, head: &Head, old: AdmissionState, to: State) -> Result<AdmissionState, Stop> {
    let Some(from) = State::from_number(old.state) else {
        return Err(Fatal::Broken(format!("admission state {} is unknown", old.state)).into());
    };
    let Some(rule) = view.policy.admission(from, to) else {
        return refuse(Reason::AdmissionNotAllowed, format!("from {} to {}", from.name(), to.name()));
    };
    if !rule.reasons.is_empty() && !rule.reasons.contains(&head.reason) {
        return refuse(Reason::AdmissionNotAllowed, format!("from {} to {} only for: {}", from.name(), to.name(), rule.reasons.join(", ")));
    }
    crate::change_status::check_posts(rule, head)?;
    Ok(AdmissionState { state: to.number(), changed_seq: view.seq, changed_ms: view.now_ms, ..old })
}

/// The unit itself, or who manages it. What is said for another unit takes its access or names its keys: for
/// that security administration signs, or those who would let it in.
fn own_or_manager(view: &View<'_>, acting: &Unit, head: &Head, unit: &Unit) -> Result<(), Stop> {
    if acting.uscc == unit.uscc {
        return Ok(());
    }
    may_manage(acting, unit)?;
    if head.signers.iter().any(|s| s.post == SECURITY_ADMIN) || let_in(view, head) {
        return Ok(());
    }
    refuse(Reason::PostMissing, "for another unit's, security administration signs, or by policy posts.approve-admission")
}

/// Files a report: by the assessor, or by who manages the applicant's unit (004-17; 004-19; 004-20).
pub(crate) fn report(view: &View<'_>, acting: &Unit, head: &Head, body: &ReportTest) -> Result<Decision, Stop> {
    let (old, unit) = find(view, head, &body.subject)?;
    let Some(report) = &body.report else { return refuse(Reason::FieldForm, "report") };
    digest(&report.digest, "report.digest")?;
    let assessor = view.directory.unit(&report.assessor).filter(|s| !s.suspended).and_then(|s| s.unit.as_ref());
    if !assessor.is_some_and(|a| has_role(a, ASSESSOR) && a.uscc != unit.uscc) {
        return refuse(Reason::Assessor, "report.assessor");
    }
    if acting.uscc != report.assessor {
        may_manage(acting, unit)?;
    }
    if !report.passed {
        return refuse(Reason::TestNotPassed, "report.passed");
    }
    let oldest = view.today.saturating_sub(view.policy.report_max_days);
    let to = match State::from_number(old.state) {
        Some(State::Applied | State::Tested | State::Approved) => State::Tested,
        _ => State::Retested,
    };
    // A report of before the change or the remedy proves nothing of what came after.
    let before = to == State::Retested && report.tested_on < crate::days::of(old.changed_ms);
    if report.tested_on > view.today || report.tested_on < oldest || before {
        return refuse(Reason::ReportDate, "report.tested_on");
    }
    let next = AdmissionState { report: Some(report.clone()), ..moved(view, head, old, to)? };
    Ok(Decision::of(vec![Change::Admission(Box::new(next))]))
}

/// Approves (004-17): the city, by posts of three different people.
pub(crate) fn approve(view: &View<'_>, head: &Head, body: &ApproveAdmission) -> Result<Decision, Stop> {
    let (old, _) = find(view, head, &body.subject)?;
    let first = matches!(State::from_number(old.state), Some(State::Applied | State::Tested | State::Approved));
    let to = if first { State::Approved } else { State::Reapproved };
    Ok(Decision::of(vec![Change::Admission(Box::new(moved(view, head, old, to)?))]))
}

/// Connects.
pub(crate) fn connect(view: &View<'_>, head: &Head, body: &ConnectSystem) -> Result<Decision, Stop> {
    let (old, _) = find(view, head, &body.subject)?;
    let next = AdmissionState { access: true, ..moved(view, head, old, State::Connected)? };
    let node = next.node.clone().filter(|n| view.directory.nodes.get(&n.raft_id) != Some(n));
    Ok(Decision::of([Change::Admission(Box::new(next))].into_iter().chain(node.map(Change::Node)).collect()))
}

/// Notifies of a major change (004-19): the unit itself, or who manages it, as security administration or by three.
pub(crate) fn notify(view: &View<'_>, acting: &Unit, head: &Head, body: &NotifyChange) -> Result<Decision, Stop> {
    let (old, unit) = find(view, head, &body.subject)?;
    own_or_manager(view, acting, head, unit)?;
    digest(&body.change_digest, "change_digest")?;
    let access = old.access && old.node.is_some();
    let next = AdmissionState { access, change_digest: body.change_digest.clone(), ..moved(view, head, old, State::ChangeNotified)? };
    Ok(Decision::of(vec![Change::Admission(Box::new(next))]))
}

/// Bans or disconnects (004-20). What the certificates of the system allowed ends with the record. One
/// person cuts off a node, and not the ledger's majority.
pub(crate) fn ban(view: &View<'_>, head: &Head, body: &BanSystem) -> Result<Decision, Stop> {
    let (old, _) = find(view, head, &body.subject)?;
    if !GRADES.contains(&body.risk_grade.as_str()) {
        return refuse(Reason::RiskGrade, "risk_grade");
    }
    let to = if view.policy.ban_grades.contains(&body.risk_grade) { State::Banned } else { State::Disconnected };
    let next = AdmissionState { risk_grade: body.risk_grade.clone(), ..moved(view, head, old, to)? };
    cut(view, head, next, PRIVILEGE_WITHDRAWN)
}

/// The problem is remedied (004-20): the unit itself says so, or who manages it. A node names the
/// id and the keys with which it comes back.
pub(crate) fn remedy(view: &View<'_>, acting: &Unit, head: &Head, body: &RemedySystem) -> Result<Decision, Stop> {
    let (old, unit) = find(view, head, &body.subject)?;
    own_or_manager(view, acting, head, unit)?;
    digest(&body.remedy_digest, "remedy_digest")?;
    match (&old.node, &body.node) {
        (Some(_), Some(node)) => nodes::check(view, acting, &body.subject, node)?,
        (None, None) => {}
        _ => return refuse(Reason::FieldForm, "a node, and only a node, names what it comes back with"),
    }
    let mut next = moved(view, head, old, State::Remedied)?;
    next.change_digest.clone_from(&body.remedy_digest);
    if let Some(node) = &body.node {
        next.former_ids.extend(next.node.replace(node.clone()).map(|n| n.raft_id));
    }
    Ok(Decision::of(vec![Change::Admission(Box::new(next))]))
}

/// Ends a connection for good: a unit that of its own system, by the posts of the command alone; who manages
/// it, and of a node anybody, by those besides who would let it in (004-11).
pub(crate) fn retire(view: &View<'_>, acting: &Unit, head: &Head, body: &RetireSystem) -> Result<Decision, Stop> {
    let (old, unit) = find(view, head, &body.subject)?;
    if acting.uscc != unit.uscc {
        may_manage(acting, unit)?;
    }
    if (acting.uscc != unit.uscc || old.node.is_some()) && !let_in(view, head) {
        return refuse(Reason::PostMissing, "policy posts.approve-admission is not met: it ends a node's place, or another unit's system");
    }
    let next = moved(view, head, old, State::Retired)?;
    cut(view, head, next, CESSATION)
}

/// Whether those sign who let nodes and systems in: the posts that approve an admission.
fn let_in(view: &View<'_>, head: &Head) -> bool {
    view.policy.posts(Kind::ApproveAdmission).is_some_and(|rule| rule.is_met(&posts::signed(head)))
}

/// Takes the access, and revokes the certificates that were issued for it. The city keeps a node, and the ledger
/// its majority.
fn cut(view: &View<'_>, head: &Head, state: AdmissionState, reason: u32) -> Result<Decision, Stop> {
    if let Some(node) = state.node.as_ref().filter(|_| state.access) {
        if node.city && !view.directory.active_nodes().any(|n| n.city && n.raft_id != node.raft_id) {
            return refuse(Reason::LastCityNode, "subject");
        }
        if !keeps_majority(view.directory, node.raft_id) && !let_in(view, head) {
            return refuse(Reason::NodeMajority, "subject");
        }
    }
    let holder = state.node.as_ref().map_or_else(|| state.subject.clone(), |n| certificates::node_holder(n.raft_id));
    let mut decision = certificates::revoke_all(view, &[holder], reason)?;
    decision.changes.push(Change::Admission(Box::new(AdmissionState { access: false, ..state })));
    Ok(decision)
}
