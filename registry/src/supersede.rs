//! The next version of a licence (002-7 更新): change, renewal, correction or replacement.
//!
//! The version before becomes superseded and stays readable. A licence that is frozen or withheld
//! stays so in its next version, and flags go on to it too and leave the version before: a stay follows
//! the licence, not its paper. One reported lost is valid again in the version that replaces it.
//!
//! Renewal (延续) and replacement (补发) are for whoever holds it: a licence goes to somebody else by
//! law alone (行政许可法第九条、第四十九条、第五十条), which is a change.

use crate::authority::check_seen_seq;
use crate::change_status;
use crate::command::Checked;
use crate::decision::{Change, Decision, View};
use crate::erase;
use crate::fatal::{Fatal, Stop, refuse};
use crate::grounds;
use crate::history;
use crate::issue;
use crate::item::{Intake, Sound};
use crate::keys;
use crate::licence::{self, Named};
use crate::reason::Reason;
use crate::status::State;
use std::collections::BTreeSet;
use vermilion_proto::{Head, ItemWarning, LicenceItem, LicenceState, StatusChange, SupersedeLicence, Unit};

/// Why a licence may be superseded.
pub const REASONS: [&str; 4] = ["change", "renewal", "correction", "replacement"];

/// Those of the reasons for which the holders stay.
const SAME_HOLDERS: [&str; 2] = ["renewal", "replacement"];

/// Decides a superseding. Its one item is refused with the command.
pub(crate) fn supersede(view: &View<'_>, acting: &Unit, head: &Head, checked: &Checked, body: &SupersedeLicence) -> Result<Decision, Stop> {
    let [(_, item)] = checked.items.as_slice() else { return refuse(Reason::BesideMismatch, "a superseding has one item") };
    if body.items_count != 1 || body.items_root.len() != 32 {
        return refuse(Reason::BesideMismatch, "items_count, items_root");
    }
    let sound = Intake::new(view, acting).check(item)?;
    let Some(old) = licence::current(view.kv, &sound.named.series)? else {
        return refuse(Reason::UnknownLicence, "no licence of this series");
    };
    check_seen_seq(head.expected_seq, old.changed_seq)?;
    let old_name = check_follows(view, acting, item, &sound, &old)?;
    if !REASONS.contains(&item.superseded_because.as_str()) {
        return refuse(Reason::ReasonMissing, "superseded_because");
    }
    if grounds::is_decided(head) {
        grounds::check(head)?;
    }
    let answers_objection = item.superseded_because == "correction" && item.objection.len() == 32;
    if !item.objection.is_empty() && !answers_objection {
        return refuse(Reason::FieldForm, "objection");
    }
    let Some(state) = State::from_number(old.state) else {
        return Err(Fatal::Broken(format!("licence state {} is unknown", old.state)).into());
    };
    let Some(rule) = view.policy.transition(state, State::Superseded) else {
        return refuse(Reason::TransitionNotAllowed, format!("from {state} to superseded"));
    };
    change_status::check_posts(rule, head)?;
    if tags(item.holders.iter().map(|h| &h.tag)) != tags(&old.holders) {
        grounds::check_not_frozen_by_court(head, &old, "other holders")?;
        if SAME_HOLDERS.contains(&item.superseded_because.as_str()) {
            return refuse(Reason::HolderChanged, "holders");
        }
    }
    let earlier = history::of(view.kv, &old_name, &old)?;
    Ok(decide(view, item, sound, (old, &earlier), old_name, state))
}

/// Who holds it, in whatever order they stand.
fn tags<'a>(holders: impl IntoIterator<Item = &'a Vec<u8>>) -> BTreeSet<&'a [u8]> {
    holders.into_iter().map(Vec::as_slice).collect()
}

/// The item must be the next version of the licence, name the current one as its previous, be of
/// its type and come from its own issuing unit.
fn check_follows(view: &View<'_>, acting: &Unit, item: &LicenceItem, sound: &Sound, old: &LicenceState) -> Result<Named, Stop> {
    let Some(version) = u16::try_from(old.version).ok() else {
        return Err(Fatal::Broken("a licence's version is beyond 999".into()).into());
    };
    if old.type_code != item.type_code {
        return refuse(Reason::IdentifierMismatch, "type_code");
    }
    if old.unit != acting.uscc {
        return refuse(Reason::IssuerNotAuthorised, "the licence is another unit's");
    }
    if u32::from(sound.named.version) != old.version + 1 {
        let reason = if u32::from(sound.named.version) == old.version { Reason::DuplicateIdentifier } else { Reason::VersionGap };
        return refuse(reason, "version");
    }
    let old_name = Named { series: sound.named.series.clone(), version };
    let named_by_tag = || -> Result<Option<Named>, Fatal> {
        let mut tag = [0; 32];
        if hex::decode_to_slice(&item.previous, &mut tag).is_err() { Ok(None) } else { licence::of_tag(view.kv, &tag) }
    };
    let fits = match &sound.tag {
        None => old_name.series.identifier(version).is_some_and(|id| id.as_str() == item.previous),
        Some(tag) => {
            if view.kv.get(&keys::identifier_tag(tag))?.is_some() {
                return refuse(Reason::DuplicateIdentifier, "identifier_tag");
            }
            named_by_tag()?.as_ref() == Some(&old_name)
        }
    };
    if fits { Ok(old_name) } else { refuse(Reason::PreviousMismatch, "previous") }
}

fn decide(
    view: &View<'_>,
    item: &LicenceItem,
    sound: Sound,
    (old, earlier): (LicenceState, &[StatusChange]),
    old_name: Named,
    state: State,
) -> Decision {
    let mut decision = Decision { kept: vec![0], ..Decision::default() };
    decision.outcome.first_status_index = Some(view.next_index);
    if item.holder_code_unusual {
        decision.outcome.warnings.push(ItemWarning { position: 0, code: Reason::HolderCodeUnusual.number() });
    }
    let superseded = u32::from(State::Superseded.number());
    if let [issue] = earlier {
        decision.changes.push(Change::History(old_name.clone(), issue.clone()));
    }
    decision.changes.push(Change::History(
        old_name.clone(),
        StatusChange {
            state: superseded,
            flags: 0,
            seq: view.seq,
            recorded_ms: view.now_ms,
            effective_ms: view.now_ms,
            reason: item.superseded_because.clone(),
        },
    ));
    decision.changes.push(Change::Status(old.status_index, State::Superseded));
    // Those who no longer hold it are no longer found by it; the earlier version keeps their tags.
    for tag in old.holders.iter().filter(|tag| !item.holders.iter().any(|h| h.tag == **tag)) {
        decision.changes.push(Change::NoLongerHeld(tag.clone(), old_name.series.clone()));
    }
    let next_state = if matches!(state, State::Frozen | State::Withheld) { state } else { State::Valid };
    issue::begin(view, item, 0, view.next_index, next_state, sound, &mut decision.changes);
    if let Some(Change::Licence(_, next)) = decision.changes.last_mut() {
        next.flags = old.flags;
        // A correction of what is over frees nothing.
        if !erase::is_revived((state, &old), (next_state, next), view.today) {
            next.erasure_waits_seq = old.erasure_waits_seq;
        }
    }
    decision.changes.push(Change::Earlier(
        old_name,
        LicenceState { state: superseded, flags: 0, changed_seq: view.seq, changed_effective_ms: view.now_ms, ..old },
    ));
    decision
}
