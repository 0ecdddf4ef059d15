//! Where what stands in the state. Numbers in keys are big-endian, so that keys sort by them.
//!
//! | key | value, behind one version byte |
//! |---|---|
//! | `h` | `LedgerHead` |
//! | `g` | the genesis payload, exact bytes |
//! | `n/` raft id (8) | `GenesisNode`: of the genesis, or connected since, whether or not it still is |
//! | `m/` subject | `AdmissionState` |
//! | `a/r` | `AuthorityState` of the root |
//! | `a/i` sequence number (8) | `AuthorityState` of an issuing certificate, by the record that brought it |
//! | `e/` token hash (32) | `EnrolmentState` |
//! | `x/` serial number | `CertificateState` |
//! | `xh/` holder `/` serial number | nothing; the holder is a certificate's SPIFFE path |
//! | `f/` month (4) issuing certificate's SHA-256 (32) USCC | `CertificateFigures` |
//! | `k/` use `/` area `/` sequence number (8) | `KeyState`, by the record that endorsed it |
//! | `xr/` serial number | nothing; there while the certificate is revoked or suspended |
//! | `u/` USCC | `UnitState` |
//! | `o/` key id (16) | `OperatorState` |
//! | `t/` type code | `TypeState`, the current version |
//! | `t/` type code `/` version (4) | `TypeState` of that version, with its implementations when it was current |
//! | `p/` policy key `/` in force from (8, ms) | `PolicyEntry` |
//! | `c/` key of a unit, operator, type, admission, certificate or policy (without time) | sequence number (8) of the last record that changed it |
//! | `d/` command id (32) | sequence number (8) of its record |
//! | `l/` series | `LicenceState`, the current version |
//! | `lv/` series `/` version (2) | `LicenceState`, an earlier version |
//! | `lh/` series `/` version (2) sequence number (8) | `StatusChange` |
//! | `i/` identifier tag (32) | version (2), series |
//! | `w/` holder tag (32) series | nothing |
//! | `y` | the sum over all rows but this one and `h` ([`crate::state_sum`]) |
//! | `s/` chunk (8) | 256 bytes: the states of 512 licences, four bits each |
//!
//! A series ([`crate::Series`]) is `i` and text without `/`, or `t` and 32 bytes, so no key is
//! another's prefix by accident. A licence's history is empty until its first change of status;
//! then its issue is written into it too ([`crate::history`]).

use crate::licence::Series;
use vermilion_crypto::Tag;

/// The ledger's head.
pub const HEAD: &[u8] = b"h";
/// The sum over the state's rows.
pub const SUM: &[u8] = b"y";
/// The genesis payload.
pub const GENESIS: &[u8] = b"g";
/// Prefix of the nodes.
pub const NODES: &[u8] = b"n/";
/// Prefix of the units.
pub const UNITS: &[u8] = b"u/";
/// Prefix of the operators.
pub const OPERATORS: &[u8] = b"o/";
/// Prefix of the types, current and earlier.
pub const TYPES: &[u8] = b"t/";
/// Prefix of policy.
pub const POLICY: &[u8] = b"p/";
/// Prefix of the status chunks.
pub const CHUNKS: &[u8] = b"s/";

/// Prefix of what applied for admission.
pub const ADMISSIONS: &[u8] = b"m/";
/// Prefix of the authority's certificates.
pub const AUTHORITY: &[u8] = b"a/";
/// Prefix of the certificates.
pub const CERTIFICATES: &[u8] = b"x/";
/// Prefix of the numbers of certificates that are revoked or suspended.
pub const REVOKED: &[u8] = b"xr/";

/// Key of a node.
#[must_use]
pub fn node(raft_id: u64) -> Vec<u8> {
    [NODES, &raft_id.to_be_bytes()].concat()
}

/// Key of a unit.
#[must_use]
pub fn unit(uscc: &str) -> Vec<u8> {
    [UNITS, uscc.as_bytes()].concat()
}

/// Key of an operator.
#[must_use]
pub fn operator(key_id: &[u8]) -> Vec<u8> {
    [OPERATORS, key_id].concat()
}

/// Key of a type's current version.
#[must_use]
pub fn licence_type(code: &str) -> Vec<u8> {
    [TYPES, code.as_bytes()].concat()
}

/// Key of a type's version.
#[must_use]
pub fn type_version(code: &str, version: u32) -> Vec<u8> {
    [TYPES, code.as_bytes(), b"/", &version.to_be_bytes()].concat()
}

/// Key of a policy entry.
#[must_use]
pub fn policy(key: &str, in_force_from_ms: u64) -> Vec<u8> {
    [&policy_entries(key), &in_force_from_ms.to_be_bytes()[..]].concat()
}

/// Prefix of all entries of one policy key.
#[must_use]
pub fn policy_entries(key: &str) -> Vec<u8> {
    [POLICY, key.as_bytes(), b"/"].concat()
}

/// Key of the number of the record that last changed what stands under `key`.
#[must_use]
pub fn changed(key: &[u8]) -> Vec<u8> {
    [b"c/", key].concat()
}

/// Key of a command's record.
#[must_use]
pub fn command(id: &[u8; 32]) -> Vec<u8> {
    [&b"d/"[..], id].concat()
}

/// Key of a licence's current version.
#[must_use]
pub fn licence(series: &Series) -> Vec<u8> {
    [b"l/", series.as_bytes()].concat()
}

/// Prefix of a licence's earlier versions.
#[must_use]
pub fn earlier_versions(series: &Series) -> Vec<u8> {
    [b"lv/", series.as_bytes(), b"/"].concat()
}

/// Key of an earlier version.
#[must_use]
pub fn earlier_version(series: &Series, version: u16) -> Vec<u8> {
    [b"lv/", series.as_bytes(), b"/", &version.to_be_bytes()].concat()
}

/// Prefix of one version's history.
#[must_use]
pub fn history(series: &Series, version: u16) -> Vec<u8> {
    [b"lh/", series.as_bytes(), b"/", &version.to_be_bytes()].concat()
}

/// Key of one change in a version's history.
#[must_use]
pub fn history_entry(series: &Series, version: u16, seq: u64) -> Vec<u8> {
    [&history(series, version), &seq.to_be_bytes()[..]].concat()
}

/// Key of an identifier tag.
#[must_use]
pub fn identifier_tag(tag: &Tag) -> Vec<u8> {
    [&b"i/"[..], tag].concat()
}

/// Prefix of what a holder holds.
#[must_use]
pub fn holder(tag: &[u8]) -> Vec<u8> {
    [b"w/", tag].concat()
}

/// Key of one licence that a holder holds.
#[must_use]
pub fn held(tag: &[u8], series: &Series) -> Vec<u8> {
    [b"w/", tag, series.as_bytes()].concat()
}

/// Key of a status chunk.
#[must_use]
pub fn chunk(number: u64) -> Vec<u8> {
    [CHUNKS, &number.to_be_bytes()].concat()
}

/// Key of what applied for admission.
#[must_use]
pub fn admission(subject: &str) -> Vec<u8> {
    [ADMISSIONS, subject.as_bytes()].concat()
}

/// Key of the root certificate.
#[must_use]
pub fn root() -> Vec<u8> {
    [AUTHORITY, b"r"].concat()
}

/// Key of an issuing certificate.
#[must_use]
pub fn issuing(seq: u64) -> Vec<u8> {
    [AUTHORITY, b"i", &seq.to_be_bytes()[..]].concat()
}

/// Prefix of the figures of a month.
#[must_use]
pub fn figures_of(month: u32) -> Vec<u8> {
    [&b"f/"[..], &month.to_be_bytes()].concat()
}

/// Key of the figures of a month, an authority and a unit.
#[must_use]
pub fn figures(month: u32, authority: &[u8], unit: &str) -> Vec<u8> {
    [&figures_of(month), authority, unit.as_bytes()].concat()
}

/// Prefix of the keys that took another's place, of every use.
pub const ROTATED: &[u8] = b"k/";

/// Key of a key that took another's place.
#[must_use]
pub fn rotated(of: &str, area: &str, seq: u64) -> Vec<u8> {
    [ROTATED, of.as_bytes(), b"/", area.as_bytes(), b"/", &seq.to_be_bytes()[..]].concat()
}

/// Key of a grant of enrolment.
#[must_use]
pub fn enrolment(token_hash: &[u8]) -> Vec<u8> {
    [&b"e/"[..], token_hash].concat()
}

/// Key of a certificate.
#[must_use]
pub fn certificate(serial: &[u8]) -> Vec<u8> {
    [CERTIFICATES, serial].concat()
}

/// Prefix of the certificates of a holder.
#[must_use]
pub fn certificates_of(holder: &str) -> Vec<u8> {
    [b"xh/", holder.as_bytes(), b"/"].concat()
}

/// Key of one certificate of a holder.
#[must_use]
pub fn certificate_of(holder: &str, serial: &[u8]) -> Vec<u8> {
    [&certificates_of(holder), serial].concat()
}

/// Key of the mark of a certificate that is revoked or suspended.
#[must_use]
pub fn revoked(serial: &[u8]) -> Vec<u8> {
    [REVOKED, serial].concat()
}

/// What a scan found under a prefix, for messages: the key in hex.
pub(crate) fn shown(key: &[u8]) -> String {
    hex::encode(key)
}
