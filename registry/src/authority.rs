//! Who may do what: the checks that every command passes before its own rules are asked.
//!
//! Responsibility goes down to posts (002-25), identities are checked and separated (002-21): all
//! who sign are registered operators of the acting unit, in force, each in a post that he holds,
//! all of them different people, and together they fill the posts that policy asks for. The right
//! of operators never exceeds that of their unit, and a unit's follows from its roles (002-3,
//! 002-6): [`may_manage`], [`require_role`].
//!
//! Not yet honoured, and refused by name: `on_behalf_of`; signers that are unit systems, seals,
//! holders or agents; `expected_seq` on commands that change nothing which existed before, and on searches; and
//! what the single commands say of themselves.

use crate::command::{Checked, Kind};
use crate::custody;
use crate::decision::View;
use crate::directory::Directory;
use crate::fatal::{Stop, refuse};
use crate::keys;
use crate::reason::{Reason, Refusal};
use crate::text::is_unclear;
use crate::value;
use std::collections::BTreeSet;
use vermilion_proto::{Evidence, Head, Signer, SignerKind, Unit, UnitState};

/// The city's managing unit (002-6 ¶1). There is one, that of the genesis.
pub const MANAGING_CITY: &str = "managing-unit-city";
/// A district's managing unit (002-6 ¶2).
pub const MANAGING_DISTRICT: &str = "managing-unit-district";
/// An issuing unit (002-7).
pub const ISSUING: &str = "issuing-unit";
/// A using unit (002-8).
pub const USING: &str = "using-unit";
/// An auditor (002-21, 002-26).
pub const AUDITOR: &str = "auditor";
/// A unit that tests nodes and systems before they are connected (004-17). Only where the ledger has
/// an authority of its own.
pub const ASSESSOR: &str = "assessor";
/// The roles that every ledger knows.
pub const ROLES: [&str; 5] = [MANAGING_CITY, MANAGING_DISTRICT, ISSUING, USING, AUDITOR];

/// The post under which a node signs a commitment.
pub const LEADER_POST: &str = "leader";
/// The post under which a node records a certificate that it issued.
pub const AUTHORITY_POST: &str = "authority";

const MAX_LIST: usize = 64;
const MAX_CODE: usize = 256;
const MAX_REASON: usize = 64;
/// As many digits in a row as the shortest number that names a person: that of the first identity cards.
const PERSONAL_DIGITS: usize = 11;
const MAX_MEDIA_TYPE: usize = 128;

/// Whether a unit has a role.
#[must_use]
pub fn has_role(unit: &Unit, role: &str) -> bool {
    unit.roles.iter().any(|r| r == role)
}

/// Checks the head's shape and refuses what is not yet honoured. Ledger and not-after are checked
/// before: they leave no record.
pub(crate) fn check_head(view: &View<'_>, head: &Head, kind: Kind) -> Result<(), Stop> {
    if head.format_version != 1 {
        return refuse(Reason::FormatVersion, "head.format_version");
    }
    if head.suite != vermilion_crypto::SUITE_1 {
        return refuse(Reason::Suite, "head.suite");
    }
    if head.nonce.len() != 16 {
        return refuse(Reason::FieldForm, "head.nonce is not 16 bytes");
    }
    if !head.on_behalf_of.is_empty() {
        return refuse(Reason::NotYetHonoured, "head.on_behalf_of");
    }
    if head.expected_seq.is_some() && !names_what_existed(kind) {
        return refuse(Reason::NotYetHonoured, "head.expected_seq for this command");
    }
    if head.not_after_ms.saturating_sub(view.now_ms) > view.policy.lifetime_max_ms {
        return refuse(Reason::LifetimeTooLong, "head.not_after_ms");
    }
    let digests = [&head.text_ciphertext_digest, &head.wraps_digest];
    if digests.iter().any(|d| !matches!(d.len(), 0 | 32)) || !head.relates_to.iter().chain(&head.text_digests).all(|d| d.len() == 32) {
        return refuse(Reason::FieldForm, "a digest or id of the head is not 32 bytes");
    }
    if !head.evidence.iter().all(|e| e.digest.len() == 32 && !e.kind.is_empty()) {
        return refuse(Reason::FieldForm, "head.evidence");
    }
    check_codes(head)?;
    let lists = [head.relates_to.len(), head.text_digests.len(), head.evidence.len(), head.legal_basis.len()];
    if head.signers.len() > vermilion_identity::MAX_SIGNERS || lists.into_iter().any(|n| n > MAX_LIST) {
        return refuse(Reason::TooLarge, "a list of the head is too long");
    }
    Ok(())
}

/// Reason, legal basis and what evidence is are codes and stand on the chain in the clear: text about
/// people belongs into the sealed texts. Asked at the door too, so that no record says what is refused
/// here.
///
/// A reason, and a kind of evidence, is of 1 to 64 lower-case letters, digits and hyphens; a media type
/// of at most 128 characters without spaces (RFC 6838). A legal basis is the name of an article, in any
/// script, without control or hidden characters. None has as many digits as a person's number or telephone has,
/// however they are spaced. A name in a legal basis nobody can tell.
pub fn check_codes(head: &Head) -> Result<(), Refusal> {
    if head.legal_basis.iter().any(|code| code.len() > MAX_CODE) {
        return Err(Refusal::new(Reason::TooLarge, "an entry of head.legal_basis is too long"));
    }
    let code = |text: &str| text.len() <= MAX_REASON && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    let media_type = |text: &str| text.len() <= MAX_MEDIA_TYPE && text.bytes().all(|b| b.is_ascii_graphic());
    if !code(&head.reason) || is_numbered(&head.reason) {
        return Err(Refusal::new(Reason::FieldForm, "head.reason"));
    }
    if head.legal_basis.iter().any(|basis| is_unclear(basis) || is_numbered(basis)) {
        return Err(Refusal::new(Reason::FieldForm, "head.legal_basis"));
    }
    let told = |evidence: &Evidence| {
        let texts = [&evidence.kind, &evidence.media_type];
        code(&evidence.kind) && media_type(&evidence.media_type) && !texts.iter().any(|text| is_numbered(text))
    };
    if !head.evidence.iter().all(told) {
        return Err(Refusal::new(Reason::FieldForm, "head.evidence"));
    }
    Ok(())
}

/// Whether a text has a row of digits as long as a person's number, written together or in groups.
/// Digits are those of ASCII and their wide forms, whatever a later Unicode calls a digit: apply asks.
fn is_numbered(text: &str) -> bool {
    let mut row = 0;
    for c in text.chars() {
        row = match c {
            '0'..='9' | '０'..='９' => row + 1,
            ' ' | '-' | '.' | '\u{3000}' | '_' | '/' => row,
            _ => 0,
        };
        if row >= PERSONAL_DIGITS {
            return true;
        }
    }
    false
}

/// Commands that change or use something which must have existed: for these `expected_seq` says
/// what the signers had seen.
fn names_what_existed(kind: Kind) -> bool {
    !matches!(
        kind,
        Kind::Genesis
            | Kind::RegisterUnit
            | Kind::AddOperator
            | Kind::Issue
            | Kind::Commitment
            | Kind::ApplyAdmission
            | Kind::GrantEnrolment
            | Kind::ReplaceAuthority
            | Kind::RotateKey
            | Kind::IssueCertificate
    )
}

/// Refuses if what stands under `key` was changed after the record that the signers had seen.
pub(crate) fn check_seen(view: &View<'_>, head: &Head, key: &[u8]) -> Result<(), Stop> {
    let Some(seen) = head.expected_seq else { return Ok(()) };
    let changed = value::get_seq(view.kv, &keys::changed(key))?;
    check_seen_seq(Some(seen), changed.unwrap_or_default())
}

/// The same for a licence, whose state says itself which record changed it last.
pub(crate) fn check_seen_seq(seen: Option<u64>, changed: u64) -> Result<(), Stop> {
    match seen {
        Some(seen) if changed > seen => refuse(Reason::Stale, "it was changed after the record that was seen"),
        _ => Ok(()),
    }
}

/// Checks the signers and the acting unit, and returns the unit.
pub(crate) fn check_signers<'a>(view: &View<'a>, checked: &Checked, head: &Head, kind: Kind) -> Result<&'a Unit, Stop> {
    let has_authority = view.directory.has_authority();
    let mut persons = BTreeSet::new();
    let mut posts = Vec::with_capacity(head.signers.len());
    let mut lines = Vec::with_capacity(head.signers.len());
    for signer in &head.signers {
        let person = check_signer(view, checked, head, signer)?;
        lines.push((signer, person));
        if has_authority && custody::is_second(signer) {
            continue;
        }
        if !persons.insert(person) {
            return refuse(Reason::SamePerson, "two signers are one person");
        }
        posts.push(signer.post.as_str());
    }
    if has_authority {
        custody::check_signers(&lines)?;
    }
    if !view.policy.posts(kind).is_some_and(|rule| rule.is_met(&posts)) {
        return refuse(Reason::PostMissing, format!("policy posts.{} is not met", kind.name()));
    }
    acting_unit(view.directory, &head.unit)
}

/// Checks one signer and returns the person's tag.
fn check_signer<'a>(view: &View<'a>, checked: &Checked, head: &Head, signer: &Signer) -> Result<&'a [u8], Stop> {
    match SignerKind::try_from(signer.kind) {
        Ok(SignerKind::Operator) => {}
        Ok(SignerKind::UnitSystem | SignerKind::Seal | SignerKind::Holder | SignerKind::Agent) => {
            return refuse(Reason::NotYetHonoured, "signer.kind");
        }
        Ok(SignerKind::Node | SignerKind::Unspecified) | Err(_) => return refuse(Reason::SignerKind, "signer.kind"),
    }
    if !checked.signer_keys.iter().any(|id| id == signer.key_id.as_slice()) {
        return refuse(Reason::Incomplete, "a signer named has not signed");
    }
    let Some(state) = view.directory.operator(&signer.key_id) else {
        return refuse(Reason::UnknownSigner, "signer.key_id");
    };
    let Some(operator) = &state.operator else {
        return refuse(Reason::UnknownSigner, "signer.key_id");
    };
    if state.revoked {
        return refuse(Reason::SignerRevoked, "signer.key_id");
    }
    if state.suspended {
        return refuse(Reason::CertificateSuspended, "signer.key_id");
    }
    if view.now_ms < operator.from_ms || (operator.until_ms != 0 && view.now_ms >= operator.until_ms) {
        return refuse(Reason::SignerNotInForce, "signer.key_id");
    }
    if signer.unit != head.unit || operator.unit != head.unit {
        return refuse(Reason::WrongUnit, "signer.unit");
    }
    if !view.policy.defined_posts.contains(&signer.post) {
        return refuse(Reason::UnknownPost, "signer.post");
    }
    if !operator.posts.contains(&signer.post) {
        return refuse(Reason::PostNotHeld, "signer.post");
    }
    Ok(&operator.person_tag)
}

/// A unit that is registered and may act. The city's managing unit may always act: nobody could
/// restore it.
fn acting_unit<'a>(directory: &'a Directory, uscc: &str) -> Result<&'a Unit, Stop> {
    let Some(UnitState { unit: Some(unit), suspended, .. }) = directory.unit(uscc) else {
        return refuse(Reason::UnknownUnit, "head.unit");
    };
    if *suspended && !has_role(unit, MANAGING_CITY) {
        return refuse(Reason::UnitSuspended, "head.unit");
    }
    Ok(unit)
}

/// Refuses unless the unit has one of the roles.
pub(crate) fn require_role(unit: &Unit, roles: &[&str]) -> Result<(), Stop> {
    if roles.iter().any(|role| has_role(unit, role)) {
        Ok(())
    } else {
        refuse(Reason::UnitRole, format!("needs one of: {}", roles.join(", ")))
    }
}

/// Refuses, but to the city's managing unit itself, to undo what that one did (002-6): it stands above the districts'.
pub(crate) fn may_undo(view: &View<'_>, acting: &Unit, by: &str) -> Result<(), Stop> {
    if !has_role(acting, MANAGING_CITY) && view.directory.city().is_some_and(|city| city.uscc == by) {
        return refuse(Reason::UnitRole, "the city's managing unit suspended it, and restores it");
    }
    Ok(())
}

/// What a district does not manage, wherever it lies: who manages beside it or above it, and those whose
/// right reaches beyond one district.
const OF_THE_CITY: [&str; 4] = [MANAGING_CITY, MANAGING_DISTRICT, AUDITOR, ASSESSOR];

/// Refuses unless the acting unit manages `of` (002-6): the city's managing unit manages every
/// unit; a district's itself, and those of its own area that are the city's to manage by no role.
pub(crate) fn may_manage(acting: &Unit, of: &Unit) -> Result<(), Stop> {
    if has_role(acting, MANAGING_CITY) {
        return Ok(());
    }
    require_role(acting, &[MANAGING_CITY, MANAGING_DISTRICT])?;
    if of.area != acting.area || of.level != "district" {
        return refuse(Reason::OutsideDistrict, "the unit is not of the acting unit's district");
    }
    match OF_THE_CITY.into_iter().find(|role| has_role(of, role)) {
        Some(role) if of.uscc != acting.uscc || role == AUDITOR || role == ASSESSOR => {
            refuse(Reason::UnitRole, format!("a unit with the role {role} is the city's to manage"))
        }
        _ => Ok(()),
    }
}
