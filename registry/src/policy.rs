//! Policy: numbers and tables of the domain that stand in the ledger, each with the article that
//! it rests on, or `of this design` where none says it, and the moment from which it holds.
//!
//! An entry is in force from its `effective_from`, but never before the block that recorded it: a
//! policy changes nothing that was decided before. Of the entries of a key that are in force, the
//! one with the latest beginning holds. The genesis writes every default into the ledger, so that a
//! reader needs no program to know them.
//!
//! | key | value | default |
//! |---|---|---|
//! | `posts.defined` | the posts that there are, separated by spaces | see [`TABLE`] |
//! | `posts.<command>` | which posts must sign ([`crate::posts::PostRule`]) | see [`TABLE`] |
//! | `posts.erase-at-once` | which posts of the city's managing unit have content erased at once | `approve+operate+verify` |
//! | `command.lifetime.max` | days from block time to a command's not-after, at most | 400 |
//! | `issue.items.max` | licences in one command, at most | 1000 |
//! | `issue.ahead.max` | days by which a date of decision or issue may lie ahead | 1 |
//! | `holders.max` | holders of one licence, at most | 10 |
//! | `use.licences.max` | licences in one use, at most | 10 |
//! | `use.search.max` | licences that a search by holder lists, at most | 100 |
//! | `retention.years.min` | years from the licence's end before content may be destroyed, at least | 20 |
//! | `transition.<from>.<to>` | whether one state may follow another ([`crate::transition`]) | see there |
//!
//! In a ledger with an authority of its own, besides ([`IDENTITY`]):
//!
//! | key | value | default |
//! |---|---|---|
//! | `enrolment.hours.max` | hours from the grant of an enrolment to its end, at most | 24 |
//! | `certificate.days.<kind>` | days for which a certificate is issued, at most | see there |
//! | `admission.report.days` | days by which a security test may lie back | 365 |
//! | `admission.ban.grades` | grades of risk for which a system is banned; for the others it is disconnected | `critical high` |
//! | `admission.<from>.<to>` | whether one state of an admission may follow another ([`crate::admission`]) | see there |
//!
//! A ledger without one does not know these keys, as it does not know the commands: its old records
//! are decided as they were.

use crate::admission;
use crate::command::Kind;
use crate::custody::{self, SECOND_KEY};
use crate::fatal::Fatal;
use crate::posts::{self, PostRule};
use crate::status::State;
use crate::transition::{self, Transition};
use std::collections::{BTreeMap, BTreeSet};
use vermilion_identity::MAX_SIGNERS;
use vermilion_proto::PolicyEntry;

/// The profile under which the defaults are written.
pub const PROFILE: &str = "深府办函〔2018〕77号";

/// One row of the table of known keys.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// The key.
    pub key: &'static str,
    /// Its default value.
    pub default: &'static str,
    /// The article that the default rests on.
    pub citation: &'static str,
    /// Smallest and largest value, of a number.
    range: Option<(u64, u64)>,
}

const fn number(key: &'static str, default: &'static str, range: (u64, u64), citation: &'static str) -> Row {
    Row { key, default, citation, range: Some(range) }
}

const fn text(key: &'static str, default: &'static str, citation: &'static str) -> Row {
    Row { key, default, citation, range: None }
}

const DUTIES: &str = "002-6;002-25";
const REVIEWED: &str = "002-7;002-11;002-25";
const REVIEWED_OR_KEPT: &str = "002-6;002-7;002-11;002-19;002-25";
/// Cited where no article says it.
pub(crate) const DESIGN: &str = "of this design";

const THREE: &str = "approve+operate+verify";

/// Every known key but the transitions, whose defaults are [`transition::DEFAULTS`].
pub const TABLE: &[Row] = &[
    text(DEFINED, "approve auditor checker issuer maker operate user verify", "002-25"),
    text("posts.register-unit", "approve+operate+verify", DUTIES),
    text("posts.change-unit", "approve+operate+verify", DUTIES),
    text("posts.add-operator", "approve+operate+verify", "002-21;002-25"),
    text("posts.revoke-operator", "approve+operate+verify", "002-21;002-25"),
    text("posts.publish-type", "approve+operate+verify", "002-9;002-25"),
    text("posts.publish-implementation", "approve+operate+verify", "002-9;002-25"),
    text("posts.set-policy", "approve+operate+verify", DUTIES),
    text("posts.issue", "maker+checker", REVIEWED),
    text("posts.change-status", "maker+checker|approve+operate+verify", REVIEWED_OR_KEPT),
    text("posts.supersede", "maker+checker", REVIEWED),
    text("posts.erase", "maker+checker|approve+operate+verify", "002-12;002-21;个人信息保护法第四十七条"),
    text(ERASE_AT_ONCE, THREE, "002-21;002-25;个人信息保护法第四十七条"),
    text("posts.use", "user", "002-14;002-15;002-25"),
    number("command.lifetime.max", "400", (1, 36_500), DESIGN),
    number("issue.items.max", "1000", (1, 1000), "002-10"),
    number("issue.ahead.max", "1", (0, 366), "002-10;002-11"),
    number("holders.max", "10", (1, 100), "GB/T 36903"),
    number("use.licences.max", "10", (1, 100), "002-14"),
    number("use.search.max", "100", (1, 10_000), "002-14"),
    number("retention.years.min", "20", (20, 1000), "002-21"),
];

const ISSUED: &str = "001-13;001-18";

/// The keys that a ledger with an authority knows besides, apart from the steps of admission, whose
/// defaults are [`admission::DEFAULTS`].
pub const IDENTITY: &[Row] = &[
    text("posts.apply-admission", "maker|operate|system-admin|user", "004-17;004-21"),
    text("posts.report-test", "operate|tester", "004-17;004-19;004-20"),
    text("posts.approve-admission", THREE, "004-11;004-17"),
    text("posts.connect-system", "system-admin", "004-11;004-17"),
    text("posts.notify-change", "maker|operate|security-admin|system-admin|user", "004-19"),
    text("posts.ban-system", "security-admin", "004-20"),
    text("posts.remedy-system", "maker|operate|security-admin|system-admin|user", "004-20"),
    text("posts.retire-system", "approve+operate+verify|system-admin", "004-6;004-22"),
    text("posts.grant-enrolment", THREE, ISSUED),
    text("posts.replace-authority", "approve+operate+verify+security-admin", "001-13;004-11"),
    text("posts.rotate-key", "approve+operate+verify+security-admin", "004-11;004-14"),
    text("posts.revoke-certificate", THREE, ISSUED),
    text(
        "posts.revoke-lost-key",
        "approve|audit-admin|auditor|checker|issuer|maker|operate|security-admin|system-admin|tester|user|verify",
        "001-23",
    ),
    text("posts.suspend-certificate", THREE, "001-13"),
    text("posts.restore-certificate", THREE, "001-13"),
    number("enrolment.hours.max", "24", (1, 24), "001-18"),
    number("certificate.days.node", "90", (1, 1_200), "001-13"),
    number("certificate.days.unit-system", "180", (1, 1_200), "001-13"),
    number("certificate.days.operator", "400", (1, 1_200), "001-13"),
    number("certificate.days.auditor", "400", (1, 1_200), "001-13"),
    number("admission.report.days", "365", (1, 3_650), "004-12;004-17"),
    text(BAN_GRADES, "critical high", "004-20"),
];

/// The key of the posts that there are.
pub(crate) const DEFINED: &str = "posts.defined";
/// The key of the posts of the city's managing unit on whose word content goes at once.
const ERASE_AT_ONCE: &str = "posts.erase-at-once";
const BAN_GRADES: &str = "admission.ban.grades";
/// The posts of a ledger with an authority: the others, and those of administration and of testing.
const IDENTITY_POSTS: &str =
    "approve audit-admin auditor checker issuer maker operate second-key security-admin system-admin tester user verify";

/// Whether there is a policy of this key, in a ledger with or without an authority.
#[must_use]
pub fn is_known(key: &str, has_authority: bool) -> bool {
    let core = TABLE.iter().any(|r| r.key == key) || transition::pair(key).is_some();
    core || (has_authority && (IDENTITY.iter().any(|r| r.key == key) || admission::pair(key).is_some()))
}

/// Every row of both tables.
pub fn rows() -> impl Iterator<Item = &'static Row> {
    TABLE.iter().chain(IDENTITY)
}

fn row(key: &str) -> Option<&'static Row> {
    rows().find(|r| r.key == key)
}

fn grades(value: &str) -> Option<BTreeSet<String>> {
    posts::parse_list(value).filter(|set| set.iter().all(|g| admission::GRADES.contains(&g.as_str())))
}

/// Whether a known key may have this value, with the posts that are defined.
#[must_use]
pub fn is_valid(key: &str, value: &str, defined: &BTreeSet<String>, has_authority: bool) -> bool {
    let most = if has_authority { usize::MAX } else { 8 };
    // A second key signs beside a post, never in one.
    let may_name = |post: &str| defined.contains(post) && !(has_authority && post == SECOND_KEY);
    // Or no envelope could carry what it asks for.
    let can_sign = |rule: &PostRule| !has_authority || rule.most_signatures(custody::is_admin) <= MAX_SIGNERS;
    let known = |rule: &PostRule| rule.alternatives() <= most && rule.posts().all(may_name) && can_sign(rule);
    if admission::pair(key).is_some() {
        return Transition::parse(value).is_some_and(|t| t.posts.as_ref().is_none_or(known));
    }
    if let Some((from, to)) = transition::pair(key) {
        return Transition::parse(value).is_some_and(|t| {
            // What has been superseded stays so: its successor has the licence's place. What is over comes back
            // by the pair to valid, whichever state it had before.
            t.posts.as_ref().is_none_or(known)
                && (!t.allowed || from != State::Superseded)
                && (!t.allowed || from.is_in_force() || !to.is_suspended())
                && (to != State::Superseded || t.reasons.is_empty())
        });
    }
    match row(key) {
        Some(Row { range: Some((low, high)), .. }) => parse_number(value).is_some_and(|n| (*low..=*high).contains(&n)),
        Some(Row { key: BAN_GRADES, .. }) => grades(value).is_some(),
        Some(Row { key: DEFINED, .. }) => posts::parse_list(value).is_some_and(|set| set.is_superset(&required_posts(has_authority))),
        Some(_) => PostRule::parse(value).is_some_and(|rule| known(&rule)),
        None => false,
    }
}

/// A number in its one spelling.
fn parse_number(value: &str) -> Option<u64> {
    let number: u64 = value.parse().ok()?;
    (number.to_string() == value).then_some(number)
}

/// Posts that cannot be struck from the list, because defaults or rules name them.
fn required_posts(has_authority: bool) -> BTreeSet<String> {
    let core = row("posts.defined").map(|r| r.default);
    core.filter(|_| !has_authority).or(Some(IDENTITY_POSTS)).and_then(posts::parse_list).unwrap_or_default()
}

/// The posts that an entry names as those who must sign.
fn named_posts(entry: &PolicyEntry) -> BTreeSet<String> {
    let rule = if transition::pair(&entry.key).is_some() || admission::pair(&entry.key).is_some() {
        Transition::parse(&entry.value).and_then(|t| t.posts)
    } else if entry.key.starts_with("posts.") && entry.key != DEFINED {
        PostRule::parse(&entry.value)
    } else {
        None
    };
    rule.iter().flat_map(PostRule::posts).map(str::to_owned).collect()
}

/// The entries that the genesis writes, with or without an authority: every default, in order of keys.
#[must_use]
pub fn defaults(has_authority: bool) -> Vec<PolicyEntry> {
    let entry = |key: String, value: &str, citation: &str| PolicyEntry {
        key,
        value: value.to_owned(),
        citation: citation.to_owned(),
        profile: PROFILE.to_owned(),
        effective_from_ms: 0,
    };
    let mut out: Vec<PolicyEntry> = TABLE.iter().map(|r| entry(r.key.to_owned(), r.default, r.citation)).collect();
    out.extend(transition::DEFAULTS.iter().map(|(from, to, value, citation)| entry(transition::key(*from, *to), value, citation)));
    if has_authority {
        out.iter_mut().filter(|e| e.key == DEFINED).for_each(|e| IDENTITY_POSTS.clone_into(&mut e.value));
        out.extend(IDENTITY.iter().map(|r| entry(r.key.to_owned(), r.default, r.citation)));
        out.extend(admission::DEFAULTS.iter().map(|(from, to, value, citation)| entry(admission::key(*from, *to), value, citation)));
    }
    out.sort_by(|a, b| a.key.cmp(&b.key));
    out
}

/// All entries of all keys: by key, then by the moment from which they are in force.
#[derive(Clone, Default, Debug)]
pub struct Entries {
    by_key: BTreeMap<String, BTreeMap<u64, PolicyEntry>>,
}

impl Entries {
    /// Adds an entry; one of the same key and moment gives way.
    pub fn insert(&mut self, entry: PolicyEntry) {
        self.by_key.entry(entry.key.clone()).or_default().insert(entry.effective_from_ms, entry);
    }

    /// The entry of a key that holds at a moment.
    #[must_use]
    pub fn at(&self, key: &str, time_ms: u64) -> Option<&PolicyEntry> {
        self.by_key.get(key)?.range(..=time_ms).next_back().map(|(_, entry)| entry)
    }

    /// Every entry, by key and moment.
    pub fn iter(&self) -> impl Iterator<Item = &PolicyEntry> {
        self.by_key.values().flat_map(BTreeMap::values)
    }

    /// Every entry that holds at a moment or will.
    fn holding(&self, time_ms: u64) -> impl Iterator<Item = &PolicyEntry> {
        let current = move |of: &BTreeMap<u64, PolicyEntry>| of.range(..=time_ms).next_back().map_or(0, |(from, _)| *from);
        self.by_key.values().flat_map(move |of| of.range(current(of)..).map(|(_, entry)| entry))
    }

    /// The lists of posts for a kind of command that hold at a moment or will, each with when it is first asked.
    pub(crate) fn rules(&self, kind: Kind, time_ms: u64) -> impl Iterator<Item = (u64, PostRule)> {
        let key = format!("posts.{}", kind.name());
        let read = move |e: &PolicyEntry| Some((e.effective_from_ms.max(time_ms), PostRule::parse(&e.value)?));
        self.holding(time_ms).filter(move |e| e.key == key).filter_map(read)
    }

    /// A post, and the key of an entry that names it, which `posts.defined` lacks or will lack while the
    /// entry holds or is still to hold: what it asks for could never be signed.
    pub(crate) fn undefined_post(&self, time_ms: u64) -> Option<(String, String)> {
        let lists = || self.holding(time_ms).filter(|e| e.key == DEFINED).filter_map(|e| posts::parse_list(&e.value));
        self.holding(time_ms)
            .flat_map(|entry| named_posts(entry).into_iter().map(|post| (post, entry.key.clone())))
            .find(|(post, _)| lists().any(|defined| !defined.contains(post)))
    }

    /// The first moment after `time_ms` at which some entry begins to hold.
    fn next_change(&self, time_ms: u64) -> u64 {
        let after = time_ms.saturating_add(1);
        self.by_key.values().filter_map(|m| m.range(after..).next().map(|(from, _)| *from)).min().unwrap_or(u64::MAX)
    }
}

/// The policy in force at a moment, read into types.
#[derive(Clone, Debug)]
pub struct Policy {
    /// From when it must be read anew.
    pub(crate) until_ms: u64,
    posts: BTreeMap<Kind, PostRule>,
    /// The posts that there are.
    pub defined_posts: BTreeSet<String>,
    /// Longest way from block time to not-after.
    pub lifetime_max_ms: u64,
    /// Licences in one command, at most.
    pub items_max: u64,
    /// Days by which a date of decision or issue may lie ahead.
    pub ahead_max_days: u32,
    /// Holders of one licence, at most.
    pub holders_max: u64,
    /// Licences in one use, at most.
    pub use_licences_max: u64,
    /// Years from the licence's end before content may be destroyed, at least.
    pub retention_years_min: u32,
    /// Which posts of the city's managing unit must be among those who sign for content to go at once.
    pub(crate) erase_at_once: PostRule,
    transitions: BTreeMap<(State, State), Transition>,
    /// From grant to its end, at most.
    pub enrolment_max_ms: u64,
    /// Days by which a security test may lie back.
    pub report_max_days: u32,
    /// Grades of risk that ban.
    pub ban_grades: BTreeSet<String>,
    certificates: BTreeMap<&'static str, u64>,
    admissions: BTreeMap<(admission::State, admission::State), Transition>,
}

/// What may follow what at a moment: the defaults of a table, and what entries say of its pairs.
fn table<S: Copy + Ord>(
    entries: &Entries,
    time_ms: u64,
    defaults: &[(S, S, &str, &str)],
    pair: impl Fn(&str) -> Option<(S, S)>,
) -> Result<BTreeMap<(S, S), Transition>, Fatal> {
    let mut out = BTreeMap::new();
    for (from, to, default, _) in defaults {
        out.insert((*from, *to), Transition::parse(default).ok_or_else(|| broken(default))?);
    }
    for key in entries.by_key.keys() {
        if let (Some(pair), Some(entry)) = (pair(key), entries.at(key, time_ms)) {
            out.insert(pair, Transition::parse(&entry.value).ok_or_else(|| broken(key))?);
        }
    }
    Ok(out)
}

/// The kinds of holder that `certificate.days.<kind>` names.
const HOLDERS: [&str; 4] = ["node", "unit-system", "operator", "auditor"];

impl Policy {
    /// Reads what holds at a moment. A value that its own rules refuse is a broken invariant: none
    /// such is ever recorded.
    pub fn read(entries: &Entries, time_ms: u64) -> Result<Self, Fatal> {
        let value = |key: &str| match entries.at(key, time_ms) {
            Some(entry) => Ok(entry.value.clone()),
            None => row(key).map(|r| r.default.to_owned()).ok_or_else(|| broken(key)),
        };
        let number = |key: &str| value(key).and_then(|v| parse_number(&v).ok_or_else(|| broken(key)));
        let small = |key: &str| number(key).and_then(|n| u32::try_from(n).map_err(|_| broken(key)));
        let mut posts = BTreeMap::new();
        for kind in Kind::SIGNED_BY_POSTS {
            let key = format!("posts.{}", kind.name());
            posts.insert(kind, PostRule::parse(&value(&key)?).ok_or_else(|| broken(&key))?);
        }
        let transitions = table(entries, time_ms, transition::DEFAULTS, transition::pair)?;
        let admissions = table(entries, time_ms, admission::DEFAULTS, admission::pair)?;
        let mut certificates = BTreeMap::new();
        for kind in HOLDERS {
            certificates.insert(kind, number(&format!("certificate.days.{kind}"))? * crate::days::DAY_MS);
        }
        Ok(Self {
            enrolment_max_ms: number("enrolment.hours.max")? * 3_600_000,
            report_max_days: small("admission.report.days")?,
            ban_grades: grades(&value(BAN_GRADES)?).ok_or_else(|| broken(BAN_GRADES))?,
            certificates,
            admissions,
            until_ms: entries.next_change(time_ms),
            posts,
            defined_posts: posts::parse_list(&value(DEFINED)?).ok_or_else(|| broken(DEFINED))?,
            lifetime_max_ms: number("command.lifetime.max")? * crate::days::DAY_MS,
            items_max: number("issue.items.max")?,
            ahead_max_days: small("issue.ahead.max")?,
            holders_max: number("holders.max")?,
            use_licences_max: number("use.licences.max")?,
            retention_years_min: small("retention.years.min")?,
            erase_at_once: PostRule::parse(&value(ERASE_AT_ONCE)?).ok_or_else(|| broken(ERASE_AT_ONCE))?,
            transitions,
        })
    }

    /// Which posts must sign a kind of command; none for those that no post signs.
    #[must_use]
    pub fn posts(&self, kind: Kind) -> Option<&PostRule> {
        self.posts.get(&kind)
    }

    /// For how long a certificate of a kind of holder is issued, at most; 0 of an unknown kind.
    #[must_use]
    pub fn certificate_max_ms(&self, kind: &str) -> u64 {
        self.certificates.get(kind).copied().unwrap_or_default()
    }

    /// What policy says of one state of an admission following another; `None` is refused.
    #[must_use]
    pub fn admission(&self, from: admission::State, to: admission::State) -> Option<&Transition> {
        self.admissions.get(&(from, to)).filter(|t| t.allowed)
    }

    /// What policy says of one state following another; `None` is refused.
    #[must_use]
    pub fn transition(&self, from: State, to: State) -> Option<&Transition> {
        self.transitions.get(&(from, to)).filter(|t| t.allowed)
    }
}

fn broken(key: &str) -> Fatal {
    Fatal::Broken(format!("the policy {key} in the ledger is not one that its rules take"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn every_default_is_valid_and_cited() {
        let defined = required_posts(false);
        let mut keys = BTreeSet::new();
        for entry in defaults(false) {
            assert!(is_known(&entry.key, false) && is_valid(&entry.key, &entry.value, &defined, false), "{}", entry.key);
        }
        let defined = required_posts(true);
        assert!(defined.is_superset(&required_posts(false)) && defined.len() == 13);
        for entry in defaults(true) {
            assert!(is_known(&entry.key, true) && is_valid(&entry.key, &entry.value, &defined, true), "{}", entry.key);
            assert!(!entry.citation.is_empty() && keys.insert(entry.key));
        }
        for kind in Kind::SIGNED_BY_POSTS {
            assert!(keys.contains(&format!("posts.{}", kind.name())));
        }
    }

    #[test]
    fn the_latest_beginning_holds() {
        let mut entries = Entries::default();
        for (from, value) in [(0, "400"), (1_000, "30"), (2_000, "7")] {
            entries.insert(PolicyEntry {
                key: "command.lifetime.max".into(),
                value: value.into(),
                effective_from_ms: from,
                ..Default::default()
            });
        }
        let days = |t| Policy::read(&entries, t).map(|p| (p.lifetime_max_ms / crate::days::DAY_MS, p.until_ms)).unwrap();
        assert_eq!(days(999), (400, 1_000));
        assert_eq!(days(1_000), (30, 2_000));
        assert_eq!(days(9_999), (7, u64::MAX));
    }

    #[test]
    fn values_beyond_their_bounds_are_refused() {
        let defined = required_posts(true);
        for (key, value) in [
            ("command.lifetime.max", "0"),
            ("command.lifetime.max", "040"),
            ("command.lifetime.max", "+40"),
            ("retention.years.min", "19"),
            ("posts.issue", "clerk"),
            ("posts.issue", ""),
            ("posts.issue", "approve+operate+verify+auditor+checker+issuer+security-admin+system-admin"),
            ("posts.defined", "maker"),
            ("posts.defined", "approve auditor checker issuer maker operate user verify"),
            ("transition.valid.frozen", "perhaps"),
            ("transition.valid.frozen", "allowed posts=clerk"),
            ("transition.superseded.valid", "allowed"),
            ("transition.revoked.frozen", "allowed"),
            ("unheard-of", "1"),
            ("admission.ban.grades", "terrible"),
            ("admission.applied.tested", "perhaps"),
        ] {
            assert!(!is_valid(key, value, &defined, true), "{key} {value}");
        }
        let whole = "approve+operate+verify+auditor+security-admin+system-admin|maker";
        assert!(is_valid("posts.issue", whole, &defined, true), "eight signatures, two of them of second keys");
        assert!(is_valid("transition.cancelled.valid", "allowed reasons=court-decision", &defined, false));
        assert!(!is_known("transition.valid.valid", true) && !is_known("posts.genesis", true));
    }

    #[test]
    fn a_post_that_an_entry_names_stays_defined_as_long_as_the_entry_may_hold() {
        let core = "approve auditor checker issuer maker operate user verify";
        let with = format!("registrar {core}");
        let undefined = |at: u64, set: &[(&str, &str, u64)]| {
            let mut entries = Entries::default();
            for (key, value, from) in [(DEFINED, with.as_str(), 0), (DEFINED, core, 3_000)].iter().chain(set) {
                let (key, value) = ((*key).to_owned(), (*value).to_owned());
                entries.insert(PolicyEntry { key, value, effective_from_ms: *from, ..Default::default() });
            }
            entries.undefined_post(at).map(|(post, key)| format!("{post} {key}"))
        };
        assert_eq!(undefined(0, &[]), None, "nobody names it");
        for (key, names, names_not) in [
            ("posts.issue", "maker+registrar", "maker"),
            ("transition.valid.frozen", "allowed posts=registrar", "allowed"),
            ("admission.applied.tested", "allowed posts=registrar", "refused"),
        ] {
            let found = Some(format!("registrar {key}"));
            assert_eq!(undefined(0, &[(key, names, 1_000)]), found, "to come");
            assert_eq!(undefined(2_000, &[(key, names, 1_000)]), found, "in force");
            assert_eq!(undefined(0, &[(key, names, 1_000), (key, names_not, 2_000)]), found);
            assert_eq!(undefined(2_000, &[(key, names, 1_000), (key, names_not, 2_000)]), None, "over");
        }
    }

    #[test]
    fn without_an_authority_a_ledger_knows_what_it_always_knew() {
        let defined = required_posts(false);
        assert_eq!(defaults(false).len(), TABLE.len() + transition::DEFAULTS.len());
        for row in IDENTITY {
            assert!(is_known(row.key, true) && !is_known(row.key, false), "{}", row.key);
        }
        assert!(is_known("admission.applied.tested", true) && !is_known("admission.applied.tested", false));
        let nine = ["maker"; 9].join("|");
        assert!(is_valid("posts.issue", &nine, &defined, true) && !is_valid("posts.issue", &nine, &defined, false));
    }
}
