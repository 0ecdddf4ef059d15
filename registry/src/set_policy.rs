//! Setting policy: by the city's managing unit, with the article that each entry rests on.

use crate::authorisation::require;
use crate::authority::check_seen;
use crate::command::Kind;
use crate::decision::{Change, Decision, View};
use crate::fatal::{Stop, refuse};
use crate::keys;
use crate::policy::{self, Entries};
use crate::reason::Reason;
use crate::text::{is_blank, is_unclear};
use std::collections::BTreeSet;
use vermilion_proto::{Head, PolicyEntry, SetPolicy, Unit};

const MAX_ENTRIES: usize = 256;
const MAX_TEXT: usize = 4096;

/// Decides new policy entries. An entry without a beginning, or with one that has passed, holds
/// from the block on.
pub(crate) fn set(view: &View<'_>, acting: &Unit, head: &Head, body: &SetPolicy) -> Result<Decision, Stop> {
    require(Kind::SetPolicy, acting)?;
    if body.entries.is_empty() {
        return refuse(Reason::NothingToChange, "entries");
    }
    if body.entries.len() > MAX_ENTRIES {
        return refuse(Reason::TooLarge, "entries");
    }
    let mut keys_set = BTreeSet::new();
    let mut after = view.directory.policy().clone();
    let mut changes = Vec::with_capacity(body.entries.len());
    for entry in &body.entries {
        check(entry, &view.policy.defined_posts, view.directory.has_authority())?;
        check_seen(view, head, &keys::policy_entries(&entry.key))?;
        let entry = PolicyEntry { effective_from_ms: entry.effective_from_ms.max(view.now_ms), ..entry.clone() };
        if !keys_set.insert((entry.key.clone(), entry.effective_from_ms)) {
            return refuse(Reason::PolicyValue, "a key is set twice for one moment");
        }
        after.insert(entry.clone());
        changes.push(Change::Policy(entry));
    }
    check_defined(&after, view.now_ms)?;
    view.directory.keepers(view.directory.operators.values()).check(&after, view.now_ms)?;
    Ok(Decision::of(changes))
}

/// Every post that an entry in force or to come names stays defined, now and later.
pub(crate) fn check_defined(entries: &Entries, now_ms: u64) -> Result<(), Stop> {
    match entries.undefined_post(now_ms) {
        Some((post, key)) => refuse(Reason::PolicyValue, format!("{} without {post}, which {key} names", policy::DEFINED)),
        None => Ok(()),
    }
}

/// Checks an entry by itself, for a ledger with or without an authority.
pub(crate) fn check(entry: &PolicyEntry, defined_posts: &BTreeSet<String>, has_authority: bool) -> Result<(), Stop> {
    if !policy::is_known(&entry.key, has_authority) {
        return refuse(Reason::UnknownPolicy, "entry.key");
    }
    if is_blank(&entry.citation) {
        return refuse(Reason::CitationMissing, format!("the citation of {}", entry.key));
    }
    if [&entry.value, &entry.citation, &entry.profile].into_iter().any(|t| t.len() > MAX_TEXT) {
        return refuse(Reason::TooLarge, entry.key.clone());
    }
    if is_unclear(&entry.citation) || is_unclear(&entry.profile) {
        return refuse(Reason::FieldForm, format!("the citation or profile of {}", entry.key));
    }
    if !policy::is_valid(&entry.key, &entry.value, defined_posts, has_authority) {
        return refuse(Reason::PolicyValue, entry.key.clone());
    }
    Ok(())
}
