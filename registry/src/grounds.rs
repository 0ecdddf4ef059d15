//! What a command about a licence, a unit or a credential rests on: its legal basis, its reason, its evidence.

use crate::fatal::{Stop, refuse};
use crate::reason::Reason;
use crate::status::{Flag, State};
use crate::text::is_blank;
use vermilion_proto::{Head, LicenceState};

/// The reason that stands above a court's freeze and, in an erasure, above retention and dispute: a court's
/// or an authority's decision.
pub(crate) const COURT: &str = "court-decision";
/// The decision of a review (行政复议).
const REVIEW: &str = "administrative-review";

/// Whether a command states that a court, an authority or a review decided it.
pub(crate) fn is_decided(head: &Head) -> bool {
    head.reason == COURT || head.reason == REVIEW
}

/// A legal basis and a reason; and where the reason is a decision, what shows it: such a reason opens what
/// is closed to others.
pub(crate) fn check(head: &Head) -> Result<(), Stop> {
    if head.legal_basis.is_empty() || head.legal_basis.iter().any(|basis| is_blank(basis)) {
        return refuse(Reason::LegalBasisMissing, "head.legal_basis");
    }
    if head.reason.is_empty() {
        return refuse(Reason::ReasonMissing, "head.reason");
    }
    if is_decided(head) { check_rests(head) } else { Ok(()) }
}

/// Evidence, or an earlier command.
pub(crate) fn check_rests(head: &Head) -> Result<(), Stop> {
    if head.evidence.is_empty() && head.relates_to.is_empty() {
        return refuse(Reason::FieldForm, "head.evidence, head.relates_to");
    }
    Ok(())
}

/// What a court has frozen, by the flag or by the state, stays where it is and with whom it is, until the
/// freeze is lifted: only a court's or an authority's decision moves it.
pub(crate) fn check_not_frozen_by_court(head: &Head, of: &LicenceState, what: &str) -> Result<(), Stop> {
    let marked = Flag::in_set(of.flags).any(|flag| flag == Flag::JudicialFreeze);
    let by = match marked {
        true => format!("marked {}", Flag::JudicialFreeze.name()),
        false if of.state == u32::from(State::Frozen.number()) => State::Frozen.to_string(),
        false => return Ok(()),
    };
    if head.reason == COURT {
        return Ok(());
    }
    refuse(Reason::TransitionNotAllowed, format!("the licence is {by}: {what} only for: {COURT}"))
}
