//! Using licences (002-14 to 002-17): a using unit says for which service item, case and purpose,
//! on what authority, which licences and which fields; the record of it comes before anything is
//! disclosed, and says field by field what is granted or why not.
//!
//! A use changes no state. A use by holder tag is a search: its record grants no field; the node
//! answers with the licences that [`crate::query::search`] lists, and a further use opens them.
//! A use whose act is to verify (核验) and that names no field asks for the status alone.
//!
//! A use stands on the chain in the clear, so it says nothing of persons: case number and purpose are
//! digests, and the rest has the form of codes and names ([`check_words`]).
//!
//! Not yet honoured: delivery of an archive copy, `copy_id`, `watermark_digest` (002-16).

use crate::authorisation::require;
use crate::authority::check_seen_seq;
use crate::codes::person_id;
use crate::command::Kind;
use crate::decision::{Decision, View};
use crate::fatal::{Stop, refuse};
use crate::licence;
use crate::reason::{Reason, Refusal};
use crate::sharing::{self, Asked, Grants};
use crate::text::{is_blank, is_field_name, is_unclear};
use std::collections::BTreeSet;
use vermilion_proto::{Act, Authority, Delivery, Head, Mode, TypeState, Unit, Use};

const MAX_FIELDS: usize = 256;
const MAX_CODE: usize = 256;

/// Decides a use.
pub(crate) fn decide(view: &View<'_>, acting: &Unit, head: &Head, body: &Use) -> Result<Decision, Stop> {
    require(Kind::Use, acting)?;
    check_shape(view, body)?;
    if body.licences.is_empty() && head.expected_seq.is_some() {
        return refuse(Reason::NotYetHonoured, "head.expected_seq for a search");
    }
    let asks_status_alone = body.act == Act::Verify as i32 && body.fields.is_empty();
    let mut asked = Vec::with_capacity(body.licences.len());
    for reference in &body.licences {
        let found = licence::find(view.kv, &reference.identifier, &reference.tag)?;
        check_seen_seq(head.expected_seq, found.state.changed_seq)?;
        // Gone, or kept and protected until its retention has passed and no more; its status is no content.
        let state = &found.state;
        if (state.erased || state.erasure_waits_seq != 0) && !asks_status_alone {
            return refuse(if state.erased { Reason::ContentErased } else { Reason::ContentRestricted }, "licences");
        }
        // Sharing follows the type's current definition, whichever version the licence is of.
        let Some(TypeState { r#type: Some(definition), .. }) = view.directory.licence_type(&found.state.type_code) else {
            return refuse(Reason::UnknownType, "the licence's type");
        };
        asked.push((definition, found.state.unit));
    }
    let asked: Vec<Asked<'_>> = asked.iter().map(|(definition, unit)| Asked { definition, issuer: unit }).collect();
    let closed = sharing::first_closed(acting, body, &asked);
    let grants = if asks_status_alone { Grants::default() } else { sharing::grants(body, &asked, closed) };
    // Without a field the refusal of each has no place in the outcome: the use itself is refused.
    if let Some(reason) = closed.filter(|_| grants.is_empty()) {
        return refuse(reason, "the type's sharing decision");
    }
    let mut decision = Decision::default();
    decision.outcome.granted = grants.granted;
    decision.outcome.withheld = grants.withheld;
    Ok(decision)
}

fn check_shape(view: &View<'_>, body: &Use) -> Result<(), Stop> {
    let act = Act::try_from(body.act).unwrap_or(Act::Unspecified);
    let authority = Authority::try_from(body.authority).unwrap_or(Authority::Unspecified);
    if act == Act::Unspecified
        || authority == Authority::Unspecified
        || !matches!(Mode::try_from(body.mode), Ok(Mode::Manual | Mode::Interface))
    {
        return refuse(Reason::FieldForm, "act, mode or authority");
    }
    match Delivery::try_from(body.delivery) {
        Ok(Delivery::Unspecified | Delivery::Data | Delivery::View) => {}
        Ok(Delivery::ArchiveCopy) => return refuse(Reason::NotYetHonoured, "delivery"),
        Err(_) => return refuse(Reason::FieldForm, "delivery"),
    }
    if !body.copy_id.is_empty() || !body.watermark_digest.is_empty() {
        return refuse(Reason::NotYetHonoured, "copy_id, watermark_digest");
    }
    match (body.licences.is_empty(), body.holder_tag.len()) {
        (true, 0) => return refuse(Reason::NothingNamed, "licences, holder_tag"),
        (false, 0) | (true, 32) => {}
        _ => return refuse(Reason::FieldForm, "licences and a holder tag together, or no tag"),
    }
    if body.licences.len() as u64 > view.policy.use_licences_max || body.fields.len() > MAX_FIELDS {
        return refuse(Reason::TooLarge, "licences, fields");
    }
    check_words(body)?;
    let mut named = BTreeSet::new();
    if !body.licences.iter().all(|r| named.insert((&r.identifier, &r.tag))) {
        return refuse(Reason::FieldForm, "a licence is named twice");
    }
    // Used for duties alone, and each use says for which (002-14).
    if is_blank(&body.service_item) || body.case_digest.len() != 32 || body.purpose_digest.len() != 32 {
        return refuse(Reason::PurposeMissing, "service_item, case_digest, purpose_digest");
    }
    if authority != Authority::ByFunction && body.consent_id.is_empty() {
        return refuse(Reason::ConsentMissing, "consent_id");
    }
    let no_key_needed = act == Act::Verify && body.recipient_key.is_empty();
    if !no_key_needed && (body.recipient_key.len() != 32 || body.recipient_key.iter().all(|b| *b == 0)) {
        return refuse(Reason::RecipientKey, "recipient_key");
    }
    Ok(())
}

/// What a use says in the clear: for which service item, under which consent, which fields. Asked at the
/// door too, so that no record says what is refused here.
///
/// A service item has at most 256 bytes and no control or hidden character: units write codes and names
/// there. A consent is at most 256 printable characters of ASCII without spaces, a field has the form of
/// a field's name. In none stands a person's number ([`person_id::stands_in`]). A name nobody can tell.
pub fn check_words(body: &Use) -> Result<(), Refusal> {
    let refused = |what: &str| Err(Refusal::new(Reason::FieldForm, what));
    if body.service_item.len() > MAX_CODE || is_unclear(&body.service_item) || person_id::stands_in(&body.service_item) {
        return refused("service_item");
    }
    let code = body.consent_id.len() <= MAX_CODE && body.consent_id.bytes().all(|b| b.is_ascii_graphic());
    if !code || person_id::stands_in(&body.consent_id) {
        return refused("consent_id");
    }
    if !body.fields.iter().all(|field| is_field_name(field) && !person_id::stands_in(field)) {
        return refused("fields");
    }
    Ok(())
}
