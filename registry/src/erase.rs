//! Erasing content from the vault. Two acts: erasure (删除), a person's right, and destruction
//! (销毁) after retention, against the archive's receipt (002-12, 002-21). Chain, digests and
//! status stay; the record says that it was done, why, and on what basis.
//!
//! Whoever keeps a licence by law keeps it for as long as the law says, whatever its holder wants:
//! until then its content is stored and protected and no more (个人信息保护法第四十七条第二款). So an
//! erasure on a person's own ground waits: it is recorded, the licence's versions name the record, and
//! no use of their content is granted from there on. Once the retention has passed the same is asked for
//! again, and erases. Until then it can be withdrawn (撤回). What was never lawfully taken in has
//! no such retention, and a court's or an authority's decision stands above it: [`GROUNDS`]. Whether a paper
//! proves that is nothing that a state machine can tell; so the content goes on the word of the city's managing
//! unit (`posts.erase-at-once`), and on the issuing unit's it waits for that, and is not used meanwhile.

use crate::authorisation::require;
use crate::authority::{MANAGING_CITY, check_seen_seq, has_role, require_role};
use crate::block::Erase;
use crate::codes::dates;
use crate::command::Kind;
use crate::days;
use crate::decision::{Change, Decision, View};
use crate::fatal::{Fatal, Stop, refuse};
use crate::grounds::{self, COURT, check_rests};
use crate::history;
use crate::keys;
use crate::kv::Kv;
use crate::licence::{self, Found, Named, Series};
use crate::posts;
use crate::reason::Reason;
use crate::status::{Flag, Shown, State, shown};
use crate::value;
use vermilion_proto::{EraseContent, Head, ItemWarning, LicenceState, TypeState, Unit};

/// A ground for an erasure.
#[derive(Clone, Copy, Debug)]
pub struct Ground {
    /// Its code, as `head.reason` names it.
    pub code: &'static str,
    /// The article.
    pub citation: &'static str,
    /// Whether it is of a licence that is over, and waits until its retention has passed. If not, it waits for
    /// nothing but the word of the city's managing unit.
    pub waits: bool,
    /// Whether it is of natural persons alone.
    pub of_persons: bool,
}

/// The grounds for an erasure. A court's decision may be about anybody's content.
///
/// A person's request stands in the opening words of the article: who processes without having erased by
/// himself is asked to.
pub const GROUNDS: [Ground; 6] = [
    Ground { code: "purpose-over", citation: "个人信息保护法第四十七条第一款第一项", waits: true, of_persons: true },
    Ground { code: "person-request", citation: "个人信息保护法第四十七条第一款", waits: true, of_persons: true },
    Ground { code: "retention-over", citation: "个人信息保护法第四十七条第一款第二项", waits: true, of_persons: true },
    Ground { code: "consent-withdrawn", citation: "个人信息保护法第四十七条第一款第三项", waits: true, of_persons: true },
    Ground {
        code: "unlawful-processing", citation: "个人信息保护法第四十七条第一款第四项", waits: false, of_persons: true
    },
    Ground { code: COURT, citation: "个人信息保护法第四十七条第一款第五项", waits: false, of_persons: false },
];

/// What is asked for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Act {
    Erasure,
    Destruction,
    /// Of an erasure that waits.
    Withdrawal,
}

/// The versions of a licence that a command is about: those whose content is there.
type Versions = Vec<(Named, LicenceState)>;

/// Decides an erasure, a destruction, or the withdrawal of an erasure that waits: of all versions of the
/// licence that is named.
pub(crate) fn erase(view: &View<'_>, acting: &Unit, head: &Head, body: &EraseContent) -> Result<Decision, Stop> {
    let act = match body.kind.as_str() {
        "erasure" => Act::Erasure,
        "destruction" => Act::Destruction,
        "withdrawal" => Act::Withdrawal,
        _ => return refuse(Reason::FieldForm, "kind"),
    };
    require(Kind::Erase, acting)?;
    if act == Act::Destruction {
        require_role(acting, &[MANAGING_CITY])?;
    }
    let Found { named, state, .. } = licence::find(view.kv, &body.licence, &body.licence_tag)?;
    let Some(current) = licence::current(view.kv, &named.series)? else {
        return Err(Fatal::Broken("a licence found has no current version".into()).into());
    };
    if act != Act::Destruction && state.unit != acting.uscc {
        require_role(acting, &[MANAGING_CITY])?;
    }
    check_seen_seq(head.expected_seq, current.changed_seq)?;
    grounds::check(head)?;
    let ground = if act == Act::Erasure { Some(check_ground(head)?) } else { None };
    let mut versions = versions_before(view.kv, &named.series)?;
    versions.insert(0, (name(&named.series, &current), current.clone()));
    // A version that was erased before was superseded since: its effects do not come twice.
    versions.retain(|(_, version)| !version.erased);
    if versions.is_empty() {
        return refuse(Reason::NothingToChange, "the content is erased already");
    }
    if act == Act::Withdrawal {
        return withdraw(view, head, versions, &current);
    }
    if ground.is_some_and(|ground| ground.of_persons) && !versions.iter().all(|(_, version)| version.of_persons) {
        return refuse(Reason::ErasureNotPersons, "a holder is no natural person");
    }
    let waits_already = versions.iter().all(|(_, version)| version.erasure_waits_seq != 0);
    if ground.is_some_and(|ground| !ground.waits) && !is_confirmed(view, acting, head) {
        return match waits_already {
            false => Ok(wait(view, versions, &current, Reason::ErasureUnconfirmed)),
            true => refuse(Reason::ErasureUnconfirmed, "policy posts.erase-at-once"),
        };
    }
    if ground.is_none_or(|ground| ground.waits) {
        check_over(view, &current)?;
        if let Some(years) = kept_for(view, &versions)? {
            return match ground {
                Some(_) if !waits_already => Ok(wait(view, versions, &current, Reason::Retention)),
                _ => refuse(Reason::Retention, format!("{years} years from its end")),
            };
        }
    }
    // What waits destroys no evidence.
    check_undisputed(&current, ground)?;
    if act == Act::Destruction && body.archive_receipt.len() != 32 {
        return refuse(Reason::ArchiveReceiptMissing, "archive_receipt");
    }
    let mut decision = Decision::default();
    for (name, version) in versions {
        decision.erase.push(Erase { seq: version.seq, position: version.position });
        decision.changes.push(put(view, name, LicenceState { erased: true, erasure_waits_seq: 0, ..version }, &current));
    }
    Ok(decision)
}

/// The change that keeps a version's new state, which whoever saw it before has not seen.
fn put(view: &View<'_>, name: Named, version: LicenceState, current: &LicenceState) -> Change {
    let version = LicenceState { changed_seq: view.seq, ..version };
    if version.version == current.version { Change::Licence(name.series, version) } else { Change::Earlier(name, version) }
}

/// Records an erasure that waits: from here on the content is kept and not used. The warning says so to
/// whoever asked for more, and for what it waits.
fn wait(view: &View<'_>, versions: Versions, current: &LicenceState, what_for: Reason) -> Decision {
    let mut decision = Decision::default();
    decision.outcome.warnings.push(ItemWarning { position: 0, code: what_for.number() });
    for (name, version) in versions {
        let since = if version.erasure_waits_seq == 0 { view.seq } else { version.erasure_waits_seq };
        decision.changes.push(put(view, name, LicenceState { erasure_waits_seq: since, ..version }, current));
    }
    decision
}

/// Takes back an erasure that waits: the person asks for it no more, or it should not have been recorded.
fn withdraw(view: &View<'_>, head: &Head, mut versions: Versions, current: &LicenceState) -> Result<Decision, Stop> {
    check_rests(head)?;
    versions.retain(|(_, version)| version.erasure_waits_seq != 0);
    if versions.is_empty() {
        return refuse(Reason::NothingToChange, "no erasure of it waits");
    }
    let back = |(name, version)| put(view, name, LicenceState { erasure_waits_seq: 0, ..version }, current);
    Ok(Decision::of(versions.into_iter().map(back).collect()))
}

/// Whether the city's managing unit says it, by those who may have content erased at once.
fn is_confirmed(view: &View<'_>, acting: &Unit, head: &Head) -> bool {
    has_role(acting, MANAGING_CITY) && view.policy.erase_at_once.is_met(&posts::signed(head))
}

/// An erasure states one of the grounds, and rests on evidence of it or on an earlier command: the
/// person's request, the decision.
fn check_ground(head: &Head) -> Result<&'static Ground, Stop> {
    let Some(ground) = GROUNDS.iter().find(|ground| ground.code == head.reason) else {
        return refuse(Reason::ReasonMissing, format!("head.reason is none of: {}", GROUNDS.map(|ground| ground.code).join(", ")));
    };
    check_rests(head)?;
    Ok(ground)
}

/// What is frozen by a court or under objection is evidence: only a court's or an authority's decision
/// has it go. Marks follow the licence from version to version, so the current one says them.
fn check_undisputed(current: &LicenceState, ground: Option<&Ground>) -> Result<(), Stop> {
    if ground.is_some_and(|ground| ground.code == COURT) {
        return Ok(());
    }
    match Flag::in_set(current.flags).find(|flag| matches!(flag, Flag::JudicialFreeze | Flag::UnderObjection)) {
        Some(flag) => refuse(Reason::TransitionNotAllowed, format!("the licence is marked {}", flag.name())),
        None => Ok(()),
    }
}

/// The licence must be over: expired, or ended by its state. What is in force, what may come back
/// into force and what has yet to begin is no closed file.
fn check_over(view: &View<'_>, current: &LicenceState) -> Result<(), Stop> {
    let Some(state) = State::from_number(current.state) else {
        return Err(Fatal::Broken(format!("licence state {} is unknown", current.state)).into());
    };
    if is_over(state, current, view.today) {
        return Ok(());
    }
    let shown = shown(state, current.effective_from, current.expires_on, view.today);
    refuse(Reason::TransitionNotAllowed, format!("the licence is {}", shown.name()))
}

/// Whether a change of the licence ends an erasure that waits: what was over is in force again, and is used
/// again. One that waits for the city's managing unit, of what is in force, goes on waiting.
pub(crate) fn is_revived(before: (State, &LicenceState), after: (State, &LicenceState), today: u32) -> bool {
    is_over(before.0, before.1, today) && !is_over(after.0, after.1, today)
}

/// The changes that take an erasure back from a licence's earlier versions: it was of all of them. Those recorded up to
/// `since` are others.
pub(crate) fn no_longer_waiting(view: &View<'_>, series: &Series, since: u64) -> Result<Vec<Change>, Fatal> {
    let earlier = versions_before(view.kv, series)?.into_iter();
    let waiting = earlier.filter(|(_, version)| version.erasure_waits_seq > since);
    let back = |version| LicenceState { erasure_waits_seq: 0, changed_seq: view.seq, ..version };
    Ok(waiting.map(|(name, version)| Change::Earlier(name, back(version))).collect())
}

/// A licence's earlier versions.
fn versions_before(kv: &dyn Kv, series: &Series) -> Result<Versions, Fatal> {
    let mut out = Vec::new();
    value::scan(kv, &keys::earlier_versions(series), |_, earlier: LicenceState| {
        out.push((name(series, &earlier), earlier));
        true
    })?;
    Ok(out)
}

fn name(series: &Series, of: &LicenceState) -> Named {
    Named { series: series.clone(), version: u16::try_from(of.version).unwrap_or_default() }
}

/// Whether a licence in this state is over on a day.
fn is_over(state: State, of: &LicenceState, today: u32) -> bool {
    match shown(state, of.effective_from, of.expires_on, today) {
        Shown::Expired => true,
        Shown::State(state) => state != State::Valid && !state.is_suspended(),
        Shown::NotYetEffective => false,
    }
}

/// For how many years from its end the first of the versions is kept whose retention has not passed.
fn kept_for(view: &View<'_>, versions: &[(Named, LicenceState)]) -> Result<Option<u32>, Fatal> {
    for (name, version) in versions {
        let kept = retention(view, name, version)?;
        if kept.is_some() {
            return Ok(kept);
        }
    }
    Ok(None)
}

/// The years of a version's retention, unless they have passed: the longest that applies, of that of the
/// type as it is now, that of the version under which the licence was issued, and the least that policy
/// allows (002-21). It counts from the day of the last record of its issue or status, for that is the end of what a
/// state ended; of what its term ends, from the last day of the term if that comes later: stock was issued long
/// before it was recorded.
fn retention(view: &View<'_>, name: &Named, state: &LicenceState) -> Result<Option<u32>, Fatal> {
    let years = |t: Option<&TypeState>| t.and_then(|t| t.r#type.as_ref()).map_or(0, |t| t.retention_years);
    let issued_under: Option<TypeState> = value::get(view.kv, &keys::type_version(&state.type_code, state.type_version))?;
    let now = years(view.directory.licence_type(&state.type_code));
    let years = view.policy.retention_years_min.max(now).max(years(issued_under.as_ref()));
    let recorded = history::of(view.kv, name, state)?.iter().map(|change| days::of(change.recorded_ms)).max().unwrap_or_default();
    let ended_by_state = State::from_number(state.state).is_some_and(|of| !of.is_in_force());
    let end = if ended_by_state { recorded } else { recorded.max(state.expires_on) };
    let start = state.issued_on.max(end);
    let end = dates::from_day(start).and_then(|d| dates::add_years(d, years)).and_then(dates::to_day);
    Ok(end.is_none_or(|end| view.today <= end).then_some(years))
}
