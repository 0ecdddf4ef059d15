//! The rules of one licence item, in an issue as in a superseding: what it may say by itself and
//! under its type. Whether its identifier and version are free is asked by the two commands.

use crate::authority::{ISSUING, has_role};
use crate::codes::dates;
use crate::codes::identifier::Identifier;
use crate::codes::{division, holder_code};
use crate::decision::View;
use crate::licence::{Named, Series};
use crate::reason::{Reason, Refusal};
use crate::submission::ITEM_FORMAT;
use crate::text::{is_blank, is_unclear};
use vermilion_crypto::Tag;
use vermilion_proto::{FieldClass, IdentifierClass, Implementation, LicenceItem, LicenceState, LicenceType, Origin, TypeState, Unit};

const MAX_FIELDS: usize = 1024;
const MAX_FILES: usize = 64;
const MAX_SEALS: usize = 16;
const MAX_TEXT: usize = 256;

/// An item that holds by itself: which licence it is, and under which identifier tag, if its
/// identifier is personal.
pub(crate) struct Sound {
    pub named: Named,
    pub tag: Option<Tag>,
    pub origin: Origin,
    /// USCC of the unit that issues it, once the catalogue was asked.
    pub unit: String,
}

/// What the items of one command share, so that it is looked up once.
pub(crate) struct Intake<'a> {
    view: &'a View<'a>,
    unit: &'a Unit,
    is_issuer: bool,
    last: Option<(&'a LicenceType, Option<&'a Implementation>)>,
}

impl<'a> Intake<'a> {
    pub fn new(view: &'a View<'a>, unit: &'a Unit) -> Self {
        Self { view, unit, is_issuer: has_role(unit, ISSUING), last: None }
    }

    /// Checks an item. The order is fixed, for the first thing wrong is what the record says:
    /// format, identifier, type, authority, area, dates, holders, content.
    pub fn check(&mut self, item: &LicenceItem) -> Result<Sound, Refusal> {
        if item.format_version != ITEM_FORMAT {
            return Err(Reason::FormatVersion.into());
        }
        let sound = identify(item)?;
        let (definition, implementation) = self.type_of(&item.type_code)?;
        check_class(item, definition)?;
        if item.type_version != definition.version {
            return Err(Reason::TypeVersion.into());
        }
        // Whoever provides answers for it (002-11): the authority that the licence names is the
        // unit that acts, an issuing unit, or the division for which it issues, and the catalogue
        // says that it issues the type.
        let names_unit = |i: &&Implementation| item.issuing_authority == self.unit.uscc || item.issuing_authority == own_area(i, self.unit);
        let Some(implementation) = implementation.filter(|_| self.is_issuer).filter(names_unit) else {
            return Err(Reason::IssuerNotAuthorised.into());
        };
        if !covers(implementation, self.unit, &item.area) {
            return Err(Refusal::new(Reason::Area, "area"));
        }
        self.check_dates(item, sound.origin, definition)?;
        self.check_holders(item, definition)?;
        check_fields(item)?;
        check_attachments(item)?;
        Ok(Sound { unit: self.unit.uscc.clone(), ..sound })
    }

    fn type_of(&mut self, code: &str) -> Result<(&'a LicenceType, Option<&'a Implementation>), Refusal> {
        if let Some(last) = self.last.filter(|(t, _)| t.code == code) {
            return Ok(last);
        }
        let Some(TypeState { r#type: Some(definition), implementations, .. }) = self.view.directory.licence_type(code) else {
            return Err(Reason::UnknownType.into());
        };
        let found = (definition, implementations.iter().find(|i| i.unit == self.unit.uscc));
        self.last = Some(found);
        Ok(found)
    }

    /// Dates must exist and follow each other; the term must fit the type's. Decided and issued may
    /// lie ahead of the block by as much as policy allows for clocks; effective may lie ahead. What is
    /// issued now is issued for a term that is not over by then, and so is what takes another's place; stock and
    /// paper were issued before, and what a correction sets right may be over.
    fn check_dates(&self, item: &LicenceItem, origin: Origin, definition: &LicenceType) -> Result<(), Refusal> {
        let exists = |day: u32| dates::from_day(day).ok_or_else(|| Refusal::from(Reason::Validity));
        let latest = self.view.today.saturating_add(self.view.policy.ahead_max_days);
        exists(item.issued_on)?;
        if item.issued_on > latest || item.decided_on > item.issued_on {
            return Err(Refusal::new(Reason::Validity, "issued_on, decided_on"));
        }
        let effective = exists(effective_from(item))?;
        if item.no_term != (item.expires_on == 0) {
            return Err(Refusal::new(Reason::Validity, "expires_on, no_term"));
        }
        if !item.no_term && (exists(item.expires_on).is_err() || item.expires_on < effective_from(item)) {
            return Err(Refusal::new(Reason::Validity, "expires_on"));
        }
        let may_be_over = match item.superseded_because.as_str() {
            "" => origin != Origin::New,
            because => because == "correction",
        };
        if !may_be_over && !item.no_term && item.expires_on < item.issued_on {
            return Err(Refusal::new(Reason::Validity, "the term ended before the day of issue"));
        }
        if definition.validity_years != 0 {
            let end = dates::add_years(effective, definition.validity_years).and_then(dates::to_day);
            if item.no_term || end.is_none_or(|end| item.expires_on > end) {
                return Err(Refusal::new(Reason::Validity, "the term is longer than the type's"));
            }
        }
        Ok(())
    }

    fn check_holders(&self, item: &LicenceItem, definition: &LicenceType) -> Result<(), Refusal> {
        if item.holders.is_empty() || item.holders.len() as u64 > self.view.policy.holders_max {
            return Err(Refusal::new(Reason::HolderCode, "holders"));
        }
        for (n, holder) in item.holders.iter().enumerate() {
            if holder.tag.len() != 32 || item.holders[..n].iter().any(|h| h.tag == holder.tag) {
                return Err(Refusal::new(Reason::HolderCode, "holders.tag"));
            }
            if !definition.holder_code_types.contains(&holder.code_type) {
                return Err(Reason::HolderType.into());
            }
        }
        Ok(())
    }
}

/// The area for which a unit issues a type: the one that the catalogue states of it, or else its own.
fn own_area<'a>(implementation: &'a Implementation, unit: &'a Unit) -> &'a str {
    if implementation.area.is_empty() { &unit.area } else { &implementation.area }
}

/// Whether a unit that issues a type does so for an area. A unit of the city whose area is the city's
/// issues for any area of the city.
fn covers(implementation: &Implementation, unit: &Unit, area: &str) -> bool {
    let own = own_area(implementation, unit);
    area == own || (unit.level == "city" && own == unit.area && division::is_district_of(area, own))
}

/// The first day on which the licence is effective: that of issue, if it says nothing.
fn effective_from(item: &LicenceItem) -> u32 {
    if item.effective_from == 0 { item.issued_on } else { item.effective_from }
}

/// Which licence the item is. An identifier in the clear is read and held against what the item
/// says beside it; keyed tags are taken as they are.
fn identify(item: &LicenceItem) -> Result<Sound, Refusal> {
    let version = u16::try_from(item.version).ok().filter(|v| (1..=999).contains(v));
    let origin = match item.provenance.as_ref().map(|p| Origin::try_from(p.origin)) {
        Some(Ok(origin)) if origin != Origin::Unspecified => origin,
        _ => return Err(Refusal::new(Reason::FieldForm, "provenance.origin")),
    };
    if item.identifier_tag.is_empty() && item.series_tag.is_empty() && item.identifier_digest.is_empty() {
        let identifier = Identifier::parse(&item.identifier)?;
        if identifier.type_code() != item.type_code
            || identifier.authority() != item.issuing_authority
            || Some(identifier.version()) != version
        {
            return Err(Reason::IdentifierMismatch.into());
        }
        let named = Named { series: Series::of(&identifier), version: identifier.version() };
        return Ok(Sound { named, tag: None, origin, unit: String::new() });
    }
    let personal = || Refusal::from(Reason::PersonalIdentifier);
    let tag = Tag::try_from(item.identifier_tag.as_slice()).map_err(|_| personal())?;
    let series = Tag::try_from(item.series_tag.as_slice()).map_err(|_| personal())?;
    if !item.identifier.is_empty() || item.identifier_digest.len() != 32 {
        return Err(personal());
    }
    let version = version.ok_or_else(|| Refusal::from(Reason::VersionGap))?;
    Ok(Sound { named: Named { series: Series::of_tag(&series), version }, tag: Some(tag), origin, unit: String::new() })
}

/// Which version of which licence an item of the ledger is; none of one that was never accepted.
pub(crate) fn named(item: &LicenceItem) -> Option<Named> {
    identify(item).ok().map(|sound| sound.named)
}

/// An identifier stands in the clear if its type says that it is public, and only then.
fn check_class(item: &LicenceItem, definition: &LicenceType) -> Result<(), Refusal> {
    let personal = definition.identifier_class == IdentifierClass::Personal as i32;
    match (personal, item.identifier.is_empty()) {
        (true, false) => Err(Reason::PersonalIdentifier.into()),
        (false, true) => Err(Refusal::new(Reason::IdentifierFormat, "the type's identifiers are public")),
        (true, true) => check_other_numbers(item),
        _ => Ok(()),
    }
}

/// Where the identifier is personal, so are the numbers that the paper or an older system gave the
/// licence: they stand in no item.
pub(crate) fn check_other_numbers(item: &LicenceItem) -> Result<(), Refusal> {
    let named = item.provenance.as_ref().is_some_and(|p| !p.legacy_code.is_empty() || !p.physical_serial.is_empty());
    if named { Err(Refusal::new(Reason::PersonalIdentifier, "provenance.legacy_code, provenance.physical_serial")) } else { Ok(()) }
}

fn check_fields(item: &LicenceItem) -> Result<(), Refusal> {
    let (digests, rest) = item.field_digests.as_chunks::<32>();
    let ascending = digests.iter().zip(digests.iter().skip(1)).all(|(a, b)| a < b);
    let classes = item.field_classes.iter().all(|c| (FieldClass::Public as u8..=FieldClass::Sensitive as u8).contains(c));
    let counted = rest.is_empty() && (1..=MAX_FIELDS).contains(&digests.len()) && item.field_classes.len() == digests.len();
    if counted && ascending && classes { Ok(()) } else { Err(Reason::FieldDigests.into()) }
}

/// Files, seals and provenance are kept as the unit states them, and must be of the right form.
fn check_attachments(item: &LicenceItem) -> Result<(), Refusal> {
    let ill_formed = |what: &str| Err(Refusal::new(Reason::FieldForm, what));
    if item.files.len() > MAX_FILES || item.seals.len() > MAX_SEALS {
        return Err(Refusal::new(Reason::TooLarge, "files, seals"));
    }
    let role = |r: &str| matches!(r, "original" | "duplicate" | "copy");
    if !item
        .files
        .iter()
        .all(|f| role(&f.role) && f.digest.len() == 32 && f.media_type.len() <= MAX_TEXT && f.face_template.len() <= MAX_TEXT)
    {
        return ill_formed("files");
    }
    let optional = |d: &[u8]| matches!(d.len(), 0 | 32);
    if !item.seals.iter().all(|s| {
        !is_blank(&s.seal_id)
            && !is_unclear(&s.seal_id)
            && s.seal_id.len() <= MAX_TEXT
            && s.signature_digest.len() == 32
            && optional(&s.certificate_digest)
            && optional(&s.timestamp_token_digest)
    }) {
        return ill_formed("seals");
    }
    if !optional(&item.ciphertext_digest) {
        return ill_formed("ciphertext_digest");
    }
    item.provenance.as_ref().map_or(Ok(()), |p| {
        let texts = [&p.source_system, &p.trust_grade, &p.service_item, &p.physical_serial, &p.physical_issued_on, &p.legacy_code];
        if optional(&p.source_row_digest) && texts.into_iter().all(|t| t.len() <= MAX_TEXT) { Ok(()) } else { ill_formed("provenance") }
    })
}

/// The state that a licence of this unit begins with. Its issue takes effect by its own dates.
pub(crate) fn begin(
    view: &View<'_>,
    unit: String,
    item: &LicenceItem,
    position: u32,
    status_index: u64,
    state: crate::status::State,
) -> LicenceState {
    LicenceState {
        version: item.version,
        state: u32::from(state.number()),
        flags: 0,
        status_index,
        seq: view.seq,
        position,
        type_code: item.type_code.clone(),
        type_version: item.type_version,
        unit,
        effective_from: effective_from(item),
        expires_on: item.expires_on,
        holders: item.holders.iter().map(|h| h.tag.clone()).collect(),
        changed_seq: view.seq,
        changed_effective_ms: view.now_ms,
        erased: false,
        area: item.area.clone(),
        state_before: 0,
        issued_on: item.issued_on,
        of_persons: item.holders.iter().all(|h| holder_code::find(&h.code_type).is_some_and(|t| t.natural_person)),
        erasure_waits_seq: 0,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use serde_json::Value;

    const UNITS: &str = include_str!("../../testnet/fixtures/units.json");
    const ROWS: &str = include_str!("../../testnet/fixtures/licences.jsonl");

    #[test]
    fn every_sample_row_is_of_an_area_of_its_unit() {
        let units: Vec<Value> = serde_json::from_str(UNITS).unwrap();
        for row in ROWS.lines() {
            let row: Value = serde_json::from_str(row).unwrap();
            let unit = units.iter().find(|u| u["uscc"] == row["certificateIssuingAuthorityCode"]).unwrap();
            let area = unit["district"].as_str().unwrap().to_owned();
            let level = if area == "440300" { "city" } else { "district" }.to_owned();
            let unit = Unit { area, level, ..Unit::default() };
            assert!(covers(&Implementation::default(), &unit, row["certificateAreaCode"].as_str().unwrap()), "{row}");
        }
    }
}
