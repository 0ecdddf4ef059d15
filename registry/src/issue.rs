//! Issuing licences (002-7, 002-10, 002-11): up to a thousand in one command. An item that the
//! rules refuse is refused alone, by position and reason, and the others stand. If all are refused
//! the command is accepted all the same (code 0) and has no effect but its record.

use crate::command::Checked;
use crate::decision::{Change, Decision, View};
use crate::fatal::{Fatal, Stop, refuse};
use crate::item::{self, Intake, Sound};
use crate::keys;
use crate::kv::Kv;
use crate::licence;
use crate::reason::{Reason, Refusal};
use crate::status::State;
use std::collections::{BTreeMap, BTreeSet};
use vermilion_crypto::Tag;
use vermilion_proto::{IssueLicences, ItemRefusal, ItemWarning, LicenceItem, Origin, Unit};

/// Decides an issue.
pub(crate) fn issue(view: &View<'_>, acting: &Unit, checked: &Checked, body: &IssueLicences) -> Result<Decision, Stop> {
    if body.items_count as usize != checked.items.len() || body.items_root.len() != 32 {
        return refuse(Reason::BesideMismatch, "items_count, items_root");
    }
    if checked.items.is_empty() {
        return refuse(Reason::FieldForm, "the command has no items");
    }
    if checked.items.len() as u64 > view.policy.items_max {
        return refuse(Reason::TooLarge, "more items than policy issue.items.max");
    }
    let mut intake = Intake::new(view, acting);
    let mut begun = Begun::default();
    let mut decision = Decision::default();
    // A status, a licence, and a row for each holder and for a personal identifier.
    decision.changes.reserve(checked.items.len() * 4);
    for (position, (_, item)) in (0u32..).zip(&checked.items) {
        match one(view.kv, &mut intake, &mut begun, item)? {
            Ok(sound) => {
                let index = view.next_index + decision.kept.len() as u64;
                decision.outcome.first_status_index.get_or_insert(index);
                if item.holder_code_unusual {
                    decision.outcome.warnings.push(ItemWarning { position, code: Reason::HolderCodeUnusual.number() });
                }
                decision.kept.push(position);
                begin(view, item, position, index, State::Valid, sound, &mut decision.changes);
            }
            Err(refusal) => decision.outcome.refused.push(ItemRefusal { position, code: refusal.reason.number() }),
        }
    }
    Ok(decision)
}

/// The changes that a new licence or version makes.
pub(crate) fn begin(view: &View<'_>, item: &LicenceItem, position: u32, index: u64, state: State, sound: Sound, changes: &mut Vec<Change>) {
    changes.push(Change::Status(index, state));
    for holder in &item.holders {
        changes.push(Change::Held(holder.tag.clone(), sound.named.series.clone()));
    }
    if let Some(tag) = sound.tag {
        changes.push(Change::Tag(tag, sound.named.clone()));
    }
    changes.push(Change::Licence(sound.named.series, item::begin(view, sound.unit, item, position, index, state)));
}

/// The series, with version, and tags that this very command has begun: it does not see its own
/// changes yet.
#[derive(Default)]
struct Begun {
    series: BTreeMap<Vec<u8>, u32>,
    tags: BTreeSet<Tag>,
}

/// One item: the outer error stops the node, the inner one refuses the item.
fn one(kv: &dyn Kv, intake: &mut Intake<'_>, begun: &mut Begun, item: &LicenceItem) -> Result<Result<Sound, Refusal>, Fatal> {
    let sound = match intake.check(item) {
        Ok(sound) => sound,
        Err(refusal) => return Ok(Err(refusal)),
    };
    if !item.previous.is_empty() || !item.superseded_because.is_empty() || !item.objection.is_empty() {
        return Ok(Err(Refusal::new(Reason::PreviousMismatch, "an issue has no version before it")));
    }
    let key = keys::licence(&sound.named.series);
    if let Some(version) = begun.series.get(&key) {
        return Ok(Err(if *version == item.version { Reason::DuplicateIdentifier } else { Reason::VersionGap }.into()));
    }
    if let Some(current) = licence::current(kv, &sound.named.series)? {
        // The version exists already, or it should come as the next one of its licence.
        let known = current.version == item.version || licence::at_version(kv, &sound.named)?.is_some();
        return Ok(Err(if known { Reason::DuplicateIdentifier } else { Reason::VersionGap }.into()));
    }
    // New licences start at 001; stock may start at any version (002-10).
    if sound.origin == Origin::New && item.version != 1 {
        return Ok(Err(Reason::VersionGap.into()));
    }
    if let Some(tag) = &sound.tag {
        if begun.tags.contains(tag) || kv.get(&keys::identifier_tag(tag))?.is_some() {
            return Ok(Err(Reason::DuplicateIdentifier.into()));
        }
        begun.tags.insert(*tag);
    }
    begun.series.insert(key, item.version);
    Ok(Ok(sound))
}
