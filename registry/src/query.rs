//! Typed reads of the state, for nodes and clients. Each reads what it is given, as of the last
//! block that was written there; which callers may ask is not asked here.

use crate::days;
use crate::fatal::Fatal;
use crate::history;
use crate::item;
use crate::keys;
use crate::kv::Kv;
use crate::licence::{self, Named, Series};
use crate::policy::Entries;
use crate::sharing;
use crate::status::{Flag, State, VERIFY_NO_RECORD, shown};
use crate::value;
use vermilion_crypto::Tag;
use vermilion_proto::{
    AdmissionState, AuthorityState, CertificateFigures, CertificateState, Command, EnrolmentState, Genesis, GenesisNode, KeyState,
    LedgerHead, LicenceItem, LicenceState, LicenceType, Message, OperatorState, PolicyEntry, StatusAnswer, StatusChange, TypeState, Unit,
    UnitState, Use, body::Of,
};

/// The head; none before the genesis.
pub fn head(kv: &dyn Kv) -> Result<Option<LedgerHead>, Fatal> {
    value::get(kv, keys::HEAD)
}

/// The genesis payload's exact bytes.
pub fn genesis_payload(kv: &dyn Kv) -> Result<Option<Vec<u8>>, Fatal> {
    let Some(stored) = kv.get(keys::GENESIS)? else { return Ok(None) };
    Ok(Some(value::open(keys::GENESIS, &stored)?.to_vec()))
}

/// The genesis.
pub fn genesis(kv: &dyn Kv) -> Result<Option<Genesis>, Fatal> {
    let Some(payload) = genesis_payload(kv)? else { return Ok(None) };
    let command = Command::decode(payload.as_slice()).map_err(|e| value::undecodable(keys::GENESIS, e.to_string()))?;
    match command.body.and_then(|b| b.of) {
        Some(Of::Genesis(genesis)) => Ok(Some(genesis)),
        _ => Err(value::undecodable(keys::GENESIS, "it is no genesis")),
    }
}

/// Every node of the genesis or connected since, by Raft id, also those that are no longer connected:
/// [`crate::Directory::active_nodes`] says which are.
pub fn nodes(kv: &dyn Kv) -> Result<Vec<GenesisNode>, Fatal> {
    all(kv, keys::NODES)
}

/// The sequence number of a command's record.
pub fn command(kv: &dyn Kv, id: &[u8; 32]) -> Result<Option<u64>, Fatal> {
    value::get_seq(kv, &keys::command(id))
}

/// The licence that came of a record's item, at its version.
pub fn of_item(kv: &dyn Kv, item: &LicenceItem) -> Result<Option<LicenceState>, Fatal> {
    item::named(item).map_or(Ok(None), |named| licence::at_version(kv, &named))
}

/// A unit, by USCC.
pub fn unit(kv: &dyn Kv, uscc: &str) -> Result<Option<UnitState>, Fatal> {
    value::get(kv, &keys::unit(uscc))
}

/// Every unit, by USCC.
pub fn units(kv: &dyn Kv) -> Result<Vec<UnitState>, Fatal> {
    all(kv, keys::UNITS)
}

/// An operator, by key id.
pub fn operator(kv: &dyn Kv, key_id: &[u8]) -> Result<Option<OperatorState>, Fatal> {
    value::get(kv, &keys::operator(key_id))
}

/// Every operator, by key id.
pub fn operators(kv: &dyn Kv) -> Result<Vec<OperatorState>, Fatal> {
    all(kv, keys::OPERATORS)
}

/// A type: its current version, or the one named.
pub fn licence_type(kv: &dyn Kv, code: &str, version: Option<u32>) -> Result<Option<TypeState>, Fatal> {
    let key = version.map_or_else(|| keys::licence_type(code), |v| keys::type_version(code, v));
    value::get(kv, &key)
}

/// The current version of every type, by code (002-14 ¶2: the catalogue is public).
pub fn types(kv: &dyn Kv) -> Result<Vec<TypeState>, Fatal> {
    let mut out = Vec::new();
    value::scan(kv, keys::TYPES, |key, state: TypeState| {
        if state.r#type.as_ref().is_some_and(|t| key == keys::licence_type(&t.code)) {
            out.push(state);
        }
        true
    })?;
    Ok(out)
}

/// Every policy entry, past and to come, by key and beginning.
pub fn policy(kv: &dyn Kv) -> Result<Entries, Fatal> {
    let mut out = Entries::default();
    value::scan(kv, keys::POLICY, |_, entry: PolicyEntry| {
        out.insert(entry);
        true
    })?;
    Ok(out)
}

/// The authority's certificates: the root first, then the issuing ones by age. Empty if the ledger
/// has no authority.
pub fn authority(kv: &dyn Kv) -> Result<Vec<AuthorityState>, Fatal> {
    let mut out: Vec<AuthorityState> = all(kv, keys::AUTHORITY)?;
    // The root's key sorts behind the issuing ones.
    let root = usize::from(!out.is_empty());
    out.rotate_right(root);
    Ok(out)
}

/// A certificate, by serial number.
pub fn certificate(kv: &dyn Kv, serial: &[u8]) -> Result<Option<CertificateState>, Fatal> {
    value::get(kv, &keys::certificate(serial))
}

/// Every certificate, by serial number.
pub fn certificates(kv: &dyn Kv) -> Result<Vec<CertificateState>, Fatal> {
    all(kv, keys::CERTIFICATES)
}

/// The certificates of a holder ([`crate::certificates::holder`]), by serial number.
pub fn certificates_of(kv: &dyn Kv, holder: &str) -> Result<Vec<CertificateState>, Fatal> {
    marked(kv, &keys::certificates_of(holder))
}

/// Every certificate that is revoked or suspended, by serial number: what a revocation list holds.
/// Those whose time is over are among them.
pub fn revoked_certificates(kv: &dyn Kv) -> Result<Vec<CertificateState>, Fatal> {
    marked(kv, keys::REVOKED)
}

fn marked(kv: &dyn Kv, prefix: &[u8]) -> Result<Vec<CertificateState>, Fatal> {
    let mut serials = Vec::new();
    kv.scan(prefix, &mut |key, _| {
        serials.push(key.get(prefix.len()..).unwrap_or_default().to_vec());
        true
    })?;
    let found = serials.iter().map(|s| certificate(kv, s)?.ok_or_else(|| Fatal::Broken("a certificate that is marked is missing".into())));
    found.collect()
}

/// Every key that took another's place, by use, area and age: the last one of a use and area serves, from
/// its record on; before the first, the genesis's does.
pub fn rotated_keys(kv: &dyn Kv) -> Result<Vec<KeyState>, Fatal> {
    all(kv, keys::ROTATED)
}

/// The figures of a month ([`crate::certificates::figures::parse_month`]), by authority and unit.
pub fn certificate_figures(kv: &dyn Kv, month: u32) -> Result<Vec<CertificateFigures>, Fatal> {
    all(kv, &keys::figures_of(month))
}

/// A grant of enrolment, by the hash of its token.
pub fn enrolment(kv: &dyn Kv, token_hash: &[u8]) -> Result<Option<EnrolmentState>, Fatal> {
    value::get(kv, &keys::enrolment(token_hash))
}

/// The admission of one subject, if a record speaks of it; nodes of the genesis have none before that.
pub fn admission(kv: &dyn Kv, subject: &str) -> Result<Option<AdmissionState>, Fatal> {
    value::get(kv, &keys::admission(subject))
}

/// Every admission that a record began or changed, by subject.
pub fn admissions(kv: &dyn Kv) -> Result<Vec<AdmissionState>, Fatal> {
    all(kv, keys::ADMISSIONS)
}

/// The entry of a policy key that holds at a moment.
pub fn policy_at(kv: &dyn Kv, key: &str, time_ms: u64) -> Result<Option<PolicyEntry>, Fatal> {
    let mut out = None;
    value::scan(kv, &keys::policy_entries(key), |_, entry: PolicyEntry| {
        let holds = entry.effective_from_ms <= time_ms;
        if holds {
            out = Some(entry);
        }
        holds
    })?;
    Ok(out)
}

/// The sequence number of the record that last changed what stands under a key of a unit, operator,
/// type, admission, certificate or policy ([`keys`]).
pub fn changed_seq(kv: &dyn Kv, key: &[u8]) -> Result<Option<u64>, Fatal> {
    value::get_seq(kv, &keys::changed(key))
}

/// Which licence and version an identifier tag names.
pub fn of_tag(kv: &dyn Kv, tag: &Tag) -> Result<Option<Named>, Fatal> {
    licence::of_tag(kv, tag)
}

/// A version of a licence.
pub fn licence(kv: &dyn Kv, named: &Named) -> Result<Option<LicenceState>, Fatal> {
    licence::at_version(kv, named)
}

/// The current version of a licence.
pub fn current(kv: &dyn Kv, series: &Series) -> Result<Option<LicenceState>, Fatal> {
    licence::current(kv, series)
}

/// A version's changes of status in the order recorded; empty if there is no such version.
pub fn history(kv: &dyn Kv, named: &Named) -> Result<Vec<StatusChange>, Fatal> {
    match licence::at_version(kv, named)? {
        Some(state) => history::of(kv, named, &state),
        None => Ok(Vec::new()),
    }
}

/// What a search by holder lists.
#[derive(Debug, Default)]
pub struct Found {
    /// Licences in order of series, each at its current version.
    pub licences: Vec<(Series, LicenceState)>,
    /// Whether there are more than the search may list.
    pub more: bool,
}

/// What a search by holder lists to a unit: the current versions of the holder's licences of types
/// whose sharing decision opens them to this use (002-13), at most `limit`, of those that record
/// `by_seq` or one before it made. Those whose content is erased, or is to be once its retention has
/// passed, are left out. No more is read than is needed to say so.
pub fn search(kv: &dyn Kv, unit: &Unit, body: &Use, by_seq: u64, limit: usize) -> Result<Found, Fatal> {
    let Ok(tag) = Tag::try_from(body.holder_tag.as_slice()) else { return Ok(Found::default()) };
    let prefix = keys::holder(&tag);
    let opened = |key: &[u8]| -> Result<Option<(Series, LicenceState)>, Fatal> {
        let series = key.get(prefix.len()..).and_then(Series::from_bytes);
        let series = series.ok_or_else(|| value::undecodable(key, "the key ends in no series"))?;
        let is_listed = |s: &LicenceState| s.seq <= by_seq && !s.erased && s.erasure_waits_seq == 0;
        let Some(state) = licence::current(kv, &series)?.filter(is_listed) else { return Ok(None) };
        let definition: Option<LicenceType> = licence_type(kv, &state.type_code, None)?.and_then(|t| t.r#type);
        let is_open = definition.is_some_and(|d| sharing::closed(unit, body, &d, &state.unit).is_none());
        Ok(is_open.then_some((series, state)))
    };
    let mut found = Found::default();
    let mut bad = None;
    kv.scan(&prefix, &mut |key, _| {
        match opened(key) {
            Ok(Some(_)) if found.licences.len() == limit => found.more = true,
            Ok(one) => found.licences.extend(one),
            Err(fatal) => bad = Some(fatal),
        }
        bad.is_none() && !found.more
    })?;
    bad.map_or(Ok(found), Err)
}

/// The answer to a status question about a version, as of the head; its term is judged today by the asked node's clock, since
/// a term ends without a record.
pub fn status(kv: &dyn Kv, named: &Named, now_ms: u64) -> Result<StatusAnswer, Fatal> {
    status_at(kv, named, 0, 0, now_ms)
}

/// The answer to a status question about another moment: what a version was at `at_ms`, as far as the ledger knew
/// at `known_ms` (002-17: was it valid when the case was decided?). 0 is now. It speaks of the version named: one that a
/// later version had replaced by then is answered as superseded, as it is today. Before its record there was none.
pub fn status_at(kv: &dyn Kv, named: &Named, at_ms: u64, known_ms: u64, now_ms: u64) -> Result<StatusAnswer, Fatal> {
    let head = head(kv)?.ok_or(Fatal::NoGenesis)?;
    let (as_of_seq, as_of_ms) = (head.size.saturating_sub(1), head.time_ms);
    let none = StatusAnswer { verify_code: VERIFY_NO_RECORD, as_of_seq, as_of_ms, at_ms, known_ms, ..StatusAnswer::default() };
    let Some(licence) = licence::at_version(kv, named)? else { return Ok(none) };
    let at = if at_ms == 0 { as_of_ms.max(now_ms) } else { at_ms };
    let (state, flags, changed_seq) = if (at_ms, known_ms) == (0, 0) {
        (licence.state, licence.flags, licence.changed_seq)
    } else {
        let known = if known_ms == 0 { u64::MAX } else { known_ms };
        let changes = history::of(kv, named, &licence)?;
        let Some(change) = history::deciding(&changes, at, known) else { return Ok(none) };
        (change.state, history::flags_at(&changes, at, known), change.seq)
    };
    let Some(state) = State::from_number(state) else {
        return Err(Fatal::Broken(format!("licence state {state} is unknown")));
    };
    let shown = shown(state, licence.effective_from, licence.expires_on, days::of(at));
    let superseded_by = match state {
        State::Superseded => named.series.identifier(named.version + 1).map(|id| id.as_str().to_owned()),
        _ => None,
    };
    Ok(StatusAnswer {
        verify_code: shown.verify_code(),
        state: state.name().to_owned(),
        shown: shown.name().to_owned(),
        flags: Flag::in_set(flags).map(|f| f.name().to_owned()).collect(),
        changed_seq,
        type_code: licence.type_code,
        unit: licence.unit,
        version: licence.version,
        issued_seq: licence.seq,
        position: licence.position,
        superseded_by: superseded_by.unwrap_or_default(),
        ..none
    })
}

/// What the public is told of an answer: nothing of disputes ([`Flag::is_public`]).
#[must_use]
pub fn public(mut answer: StatusAnswer) -> StatusAnswer {
    answer.flags.retain(|name| Flag::from_name(name).is_some_and(Flag::is_public));
    // A flag moves it too.
    answer.changed_seq = 0;
    answer
}

fn all<M: Message + Default>(kv: &dyn Kv, prefix: &[u8]) -> Result<Vec<M>, Fatal> {
    let mut out = Vec::new();
    value::scan(kv, prefix, |_, message: M| {
        out.push(message);
        true
    })?;
    Ok(out)
}
