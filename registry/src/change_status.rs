//! Changing a licence's state or flags (002-7 注销; 002-18; 002-19).
//!
//! The change names its legal basis and its reason as codes, and takes effect now or in the past
//! (`effective_ms`, 0 for now), not before the licence was there nor before the change that it ends: what was
//! recorded when and from when it holds are kept apart.

use crate::authorisation::require;
use crate::authority::{MANAGING_CITY, check_seen_seq, has_role};
use crate::command::Kind;
use crate::days;
use crate::decision::{Change, Decision, View};
use crate::erase;
use crate::fatal::{Fatal, Stop, refuse};
use crate::grounds;
use crate::history;
use crate::keys;
use crate::licence::{self, Found};
use crate::posts;
use crate::reason::Reason;
use crate::status::{Flag, State};
use crate::transition::Transition;
use vermilion_proto::{ChangeStatus, Head, LicenceState, StatusChange, Unit};

/// Decides a change of status: by the licence's own issuing unit (002-7), or in its place ([`check_in_place`]).
pub(crate) fn change(view: &View<'_>, acting: &Unit, head: &Head, body: &ChangeStatus) -> Result<Decision, Stop> {
    require(Kind::ChangeStatus, acting)?;
    let Found { named, state: old, is_current } = licence::find(view.kv, &body.licence, &body.licence_tag)?;
    let Some(before) = State::from_number(old.state) else {
        return Err(Fatal::Broken(format!("licence state {} is unknown", old.state)).into());
    };
    if old.unit != acting.uscc {
        check_in_place(view, acting, head, before, &old.unit, &body.to)?;
    }
    check_seen_seq(head.expected_seq, old.changed_seq)?;
    grounds::check(head)?;
    if body.effective_ms > view.now_ms {
        return refuse(Reason::EffectiveInFuture, "effective_ms");
    }
    let earlier = history::of(view.kv, &named, &old)?;
    // Stock may begin with any version.
    let followed = named.version > 1 && view.kv.get(&keys::earlier_version(&named.series, named.version - 1))?.is_some();
    if is_before_it_was(body, &old, &earlier, followed) || is_before_what_it_ends(head, body, &earlier) {
        return refuse(Reason::EffectiveTooEarly, "effective_ms");
    }
    if !is_current {
        return refuse(Reason::TransitionNotAllowed, "a superseded version does not change");
    }
    let effective_ms = if body.effective_ms == 0 { view.now_ms } else { body.effective_ms };
    let mut next = LicenceState { changed_seq: view.seq, changed_effective_ms: effective_ms, ..old.clone() };
    let mut changes = Vec::with_capacity(4);
    match body.to.as_bytes().first() {
        Some(b'+' | b'-') => next.flags = changed_flags(&body.to, old.flags)?,
        _ => {
            let to = check_transition(view, head, before, &old, &body.to)?;
            // What is withdrawn, struck off or declared void while it is in force can be issued anew, to somebody else.
            let is_ended = matches!(to, State::Withdrawn | State::Cancelled | State::Void);
            if to == State::TransferredOut || (before.is_in_force() && is_ended) {
                grounds::check_not_frozen_by_court(head, &old, "transferred, or ended")?;
            }
            next.state = u32::from(to.number());
            next.state_before = match (before.is_in_force(), to.is_in_force()) {
                (true, false) => old.state,
                (false, false) => old.state_before,
                (_, true) => 0,
            };
            if erase::is_revived((before, &old), (to, &next), view.today) {
                // What was to be erased once it was over; not what waits since before that, for another reason.
                let in_force = |c: &StatusChange| State::from_number(c.state).is_some_and(State::is_in_force);
                let ended_seq = history::last_change(&earlier, in_force).map_or(0, |ended| ended.seq);
                if next.erasure_waits_seq > ended_seq {
                    next.erasure_waits_seq = 0;
                }
                changes.extend(erase::no_longer_waiting(view, &named.series, ended_seq)?);
            }
            changes.push(Change::Status(old.status_index, to));
        }
    }
    if let [issue] = earlier.as_slice() {
        changes.push(Change::History(named.clone(), issue.clone()));
    }
    let entry = StatusChange {
        state: next.state,
        flags: next.flags,
        seq: view.seq,
        recorded_ms: view.now_ms,
        effective_ms,
        reason: head.reason.clone(),
    };
    changes.push(Change::History(named.clone(), entry));
    changes.push(Change::Licence(named.series, next));
    Ok(Decision::of(changes))
}

/// Nothing holds of a licence before the days on which it was issued and began: that it never was is an
/// annulment's to say (撤销, 行政许可法第六十九条). Of a licence whose day of issue is unknown nobody can tell. The days of a
/// version that followed another are not the licence's, which held before; but it has no say about the time before it took
/// that one's place: the version before answers for that, and does not change any more.
fn is_before_it_was(body: &ChangeStatus, of: &LicenceState, changes: &[StatusChange], followed: bool) -> bool {
    if body.effective_ms == 0 || body.to == State::Annulled.name() {
        return false;
    }
    match followed {
        false => days::of(body.effective_ms) < of.issued_on.min(of.effective_from),
        true => changes.first().is_some_and(|issue| body.effective_ms < issue.effective_ms),
    }
}

/// A change ends the one before it, of the state or of the same flag, and not before that took effect: a
/// penalty that was served was a penalty until then. An annulment says that there was nothing to penalise; a
/// court or a review may say that there never was a reason.
fn is_before_what_it_ends(head: &Head, body: &ChangeStatus, changes: &[StatusChange]) -> bool {
    if body.effective_ms == 0 || body.to == State::Annulled.name() || grounds::is_decided(head) {
        return false;
    }
    let ended = match body.to.strip_prefix(['+', '-']).map(Flag::from_name) {
        Some(flag) => history::last_change(changes, |c| flag.is_some_and(|flag| c.flags & flag as u32 != 0)),
        None => history::last_change(changes, |c| c.state),
    };
    ended.is_some_and(|ended| body.effective_ms < ended.effective_ms)
}

/// A unit is suspended because it is not to be relied on, and just then nobody else could keep from use what it
/// issued (002-6, 002-19): the city's managing unit does, and carries out what a court or a review decides. What
/// says more about the licence is the unit's own, when it acts again.
fn check_in_place(view: &View<'_>, acting: &Unit, head: &Head, before: State, unit: &str, to: &str) -> Result<(), Stop> {
    if !has_role(acting, MANAGING_CITY) {
        return refuse(Reason::IssuerNotAuthorised, "the licence is another unit's");
    }
    if !view.directory.unit(unit).is_some_and(|of| of.suspended) {
        return refuse(Reason::IssuerNotAuthorised, "the licence is another unit's, which is not suspended");
    }
    let is_flag = to.starts_with(['+', '-']);
    let keeps = match State::from_name(to) {
        Some(State::Frozen | State::Revoked) => true,
        Some(State::Valid) => before == State::Frozen,
        _ => is_flag,
    };
    if keeps || grounds::is_decided(head) {
        return Ok(());
    }
    refuse(
        Reason::IssuerNotAuthorised,
        "in a suspended unit's place only: frozen and back, revoked, a flag, or what a court or a review decided",
    )
}

fn changed_flags(to: &str, flags: u32) -> Result<u32, Stop> {
    let (sign, name) = to.split_at(1);
    let Some(flag) = Flag::from_name(name) else { return refuse(Reason::TransitionNotAllowed, "there is no such flag") };
    let bit = flag as u32;
    let next = if sign == "+" { flags | bit } else { flags & !bit };
    if next == flags { refuse(Reason::NothingToChange, "the flag is so already") } else { Ok(next) }
}

/// Of what is over, a change to a state in force undoes what ended it: it goes by the policy for its coming
/// back to valid, and goes to the state that it had before and to no other. A freeze that was on it is on it again.
fn check_transition(view: &View<'_>, head: &Head, before: State, of: &LicenceState, to: &str) -> Result<State, Stop> {
    let Some(to) = State::from_name(to) else { return refuse(Reason::TransitionNotAllowed, "there is no such state") };
    if to == before {
        return refuse(Reason::NothingToChange, "the licence is in this state already");
    }
    let undoes = !before.is_in_force() && to.is_in_force();
    let back = State::from_number(of.state_before).unwrap_or(State::Valid);
    if undoes && to != back {
        return refuse(Reason::TransitionNotAllowed, format!("from {before} back to {back}, which it was before"));
    }
    // A version is superseded by its successor, which is another command.
    let rule = view.policy.transition(before, if undoes { State::Valid } else { to }).filter(|_| to != State::Superseded);
    let Some(rule) = rule else { return refuse(Reason::TransitionNotAllowed, format!("from {before} to {to}")) };
    if !rule.reasons.is_empty() && !rule.reasons.contains(&head.reason) {
        return refuse(Reason::TransitionNotAllowed, format!("from {before} to {to} only for: {}", rule.reasons.join(", ")));
    }
    check_posts(rule, head)?;
    Ok(to)
}

/// Posts that the transition asks for besides what every such command needs.
pub(crate) fn check_posts(rule: &Transition, head: &Head) -> Result<(), Stop> {
    let Some(rule) = &rule.posts else { return Ok(()) };
    if rule.is_met(&posts::signed(head)) { Ok(()) } else { refuse(Reason::PostMissing, format!("the transition needs {rule}")) }
}
