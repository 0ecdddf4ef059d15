//! A licence's status over time, told twice: what was recorded when, and from when it takes
//! effect. So "was it valid when the case was decided?" has an answer, and so has "what did the
//! ledger say then?" (002-17, 002-21).
//!
//! Under `lh/` stand all changes of a version but none for a licence that was never changed: its
//! [`LicenceState`] says the same. The first change writes the issue's entry too.

use crate::fatal::Fatal;
use crate::keys;
use crate::kv::Kv;
use crate::licence::Named;
use crate::status::State;
use crate::value;
use vermilion_proto::{LicenceState, StatusChange};

/// The entry of the issue itself, of a licence that was not changed since.
fn issue_entry(state: &LicenceState) -> StatusChange {
    StatusChange {
        state: state.state,
        flags: state.flags,
        seq: state.seq,
        recorded_ms: state.changed_effective_ms,
        effective_ms: state.changed_effective_ms,
        reason: String::new(),
    }
}

/// Every change of a version's status in the order recorded, its issue first. One alone is the issue's, which
/// is not kept: an erasure changes the licence and not its status.
pub fn of(kv: &dyn Kv, named: &Named, state: &LicenceState) -> Result<Vec<StatusChange>, Fatal> {
    let mut out = Vec::new();
    value::scan(kv, &keys::history(&named.series, named.version), |_, change: StatusChange| {
        out.push(change);
        true
    })?;
    if out.is_empty() {
        out.push(issue_entry(state));
    }
    Ok(out)
}

/// The last change of what `of` tells of an entry; none if that is as it was at the issue.
pub(crate) fn last_change<T: PartialEq>(changes: &[StatusChange], of: impl Fn(&StatusChange) -> T) -> Option<&StatusChange> {
    changes.iter().zip(changes.iter().skip(1)).filter(|(before, change)| of(before) != of(change)).map(|(_, change)| change).last()
}

/// The change that decides the state at `at_ms`, as far as the ledger knew at `known_ms`: of those
/// recorded by then that had taken effect, the one recorded last. An annulment (撤销) takes effect
/// from the start. An entry of a flag decides nothing: the state that it repeats is the one of the day
/// when it was recorded, not of the day from which the flag holds. `None` before the issue was recorded.
#[must_use]
pub fn deciding(changes: &[StatusChange], at_ms: u64, known_ms: u64) -> Option<&StatusChange> {
    let annulled = u32::from(State::Annulled.number());
    let before = std::iter::once(None).chain(changes.iter().map(Some));
    let of_state = || changes.iter().zip(before.clone()).filter(|(c, before)| before.is_none_or(|b| b.state != c.state)).map(|(c, _)| c);
    let known = || of_state().filter(|c| c.recorded_ms <= known_ms);
    let in_effect = |c: &&StatusChange| c.effective_ms <= at_ms || c.state == annulled;
    // The issue takes effect by the licence's own dates, which [`crate::query::status_at`] applies.
    known().filter(in_effect).last().or_else(|| known().next())
}

/// The flags that stood beside the state at `at_ms`, as far as the ledger knew at `known_ms`: each as the change
/// says that set it or took it back, recorded by then and in effect, and recorded last; else as at the issue. A
/// change of state carries the flags of the day when it was recorded, and sets none.
#[must_use]
pub fn flags_at(changes: &[StatusChange], at_ms: u64, known_ms: u64) -> u32 {
    let Some(first) = changes.first() else { return 0 };
    let in_effect = |c: &StatusChange| c.recorded_ms <= known_ms && c.effective_ms <= at_ms;
    changes.windows(2).fold(first.flags, |flags, pair| match pair {
        [before, change] if in_effect(change) => {
            let set = change.flags & !before.flags;
            let taken_back = before.flags & !change.flags;
            (flags | set) & !taken_back
        }
        _ => flags,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::days;
    use crate::status::shown;

    const DAY: u64 = 86_400_000;

    fn change(state: State, recorded: u64, effective: u64) -> StatusChange {
        StatusChange { state: u32::from(state.number()), recorded_ms: recorded * DAY, effective_ms: effective * DAY, ..Default::default() }
    }

    fn at(changes: &[StatusChange], at: u64, known: u64) -> Option<&'static str> {
        let change = deciding(changes, at * DAY, known * DAY)?;
        let state = State::from_number(change.state)?;
        Some(shown(state, days::of(3 * DAY), days::of(99 * DAY), days::of(at * DAY)).name())
    }

    #[test]
    fn recorded_and_effective_times_are_kept_apart() {
        let changes = [change(State::Valid, 10, 10), change(State::Frozen, 20, 15), change(State::Valid, 30, 25)];
        assert_eq!(at(&changes, 12, 40), Some("valid"));
        assert_eq!(at(&changes, 17, 40), Some("frozen"));
        assert_eq!(at(&changes, 17, 19), Some("valid"), "the ledger did not know yet");
        assert_eq!(at(&changes, 26, 40), Some("valid"));
        assert_eq!(at(&changes, 26, 29), Some("frozen"));
        assert_eq!(at(&changes, 200, 200), Some("expired"));
        assert_eq!(at(&changes, 5, 40), Some("valid"), "its own dates say so, though issued into the ledger later");
        assert_eq!(at(&changes, 1, 40), Some("not-yet-effective"));
        assert_eq!(at(&changes, 12, 9), None);
    }

    #[test]
    fn a_flag_decides_nothing_however_far_back_it_reaches() {
        let flag = |state, recorded, effective| StatusChange { flags: 1, ..change(state, recorded, effective) };
        let changes = [
            change(State::Valid, 10, 10),
            change(State::Revoked, 30, 25),
            flag(State::Revoked, 40, 12),
            change(State::Valid, 50, 45),
            flag(State::Valid, 60, 11),
        ];
        assert_eq!(at(&changes, 15, 70), Some("valid"), "revoked from day 25 on, not from the flag's");
        assert_eq!(at(&changes, 15, 45), Some("valid"));
        assert_eq!(at(&changes, 30, 70), Some("revoked"), "valid again from day 45 on, not from the flag's");
        assert_eq!(at(&changes, 46, 70), Some("valid"));
        assert_eq!(at(&changes, 26, 29), Some("valid"));
        // Beside a stay that was recorded late, too.
        let changes = [change(State::Valid, 10, 10), flag(State::Valid, 20, 20), change(State::Frozen, 30, 15), flag(State::Frozen, 31, 5)];
        assert_eq!(at(&changes, 12, 40), Some("valid"));
        assert_eq!(at(&changes, 22, 40), Some("frozen"));
    }

    #[test]
    fn an_annulment_reaches_back_to_the_start_and_what_undoes_it_as_far_as_it_says() {
        let changes = [change(State::Valid, 10, 10), change(State::Annulled, 20, 18), change(State::Valid, 30, 28)];
        assert_eq!(at(&changes, 12, 25), Some("annulled"));
        assert_eq!(at(&changes, 12, 19), Some("valid"));
        assert_eq!(at(&changes, 29, 40), Some("valid"));
        assert_eq!(at(&changes, 12, 40), Some("annulled"));
    }
    #[test]
    fn a_flag_stands_from_when_its_own_change_says() {
        let with = |state, flags, recorded, effective| StatusChange { flags, ..change(state, recorded, effective) };
        let changes = [
            change(State::Valid, 10, 10),
            with(State::Valid, 2, 20, 15),
            with(State::Frozen, 2, 30, 12),
            with(State::Frozen, 3, 40, 40),
            with(State::Frozen, 1, 50, 45),
        ];
        let at = |at: u64, known: u64| flags_at(&changes, at * DAY, known * DAY);
        assert_eq!((at(16, 60), at(16, 19)), (2, 0), "nobody knew on day 19");
        assert_eq!((at(13, 60), at(13, 35)), (0, 0), "the freeze reaches back to day 12, the flag beside it does not");
        assert_eq!((at(41, 60), at(46, 60), at(46, 49)), (3, 1, 3));
        assert_eq!(flags_at(&[with(State::Valid, 4, 10, 10)], 5 * DAY, 60 * DAY), 4, "as at the issue");
        assert_eq!(flags_at(&[], 1, 1), 0);
    }
}
