//! How a licence is named, and reading it from the state.

use crate::codes::identifier::{Identifier, ROOT};
use crate::fatal::{Fatal, Stop, refuse};
use crate::keys;
use crate::kv::Kv;
use crate::reason::Reason;
use crate::value;
use vermilion_crypto::Tag;
use vermilion_proto::LicenceState;

const PUBLIC: u8 = b'i';
const PERSONAL: u8 = b't';

/// What all versions of one licence share. Under a public identifier: the identifier less root,
/// version and check. Under a personal one: the keyed tag of the same.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Hash)]
pub struct Series(Vec<u8>);

impl Series {
    /// The series of a public identifier.
    #[must_use]
    pub fn of(identifier: &Identifier) -> Self {
        let text = identifier.series();
        let text = text.strip_prefix(ROOT).unwrap_or(text);
        Self([&[PUBLIC], text.as_bytes()].concat())
    }

    /// The series of a personal identifier.
    #[must_use]
    pub fn of_tag(tag: &Tag) -> Self {
        Self([&[PERSONAL], tag.as_slice()].concat())
    }

    /// From the bytes that stand in keys.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        match bytes.split_first()? {
            (&PERSONAL, tag) if tag.len() == 32 => {}
            (&PUBLIC, text) if std::str::from_utf8(text).is_ok_and(|t| t.split('.').count() == 3) => {}
            _ => return None,
        }
        Some(Self(bytes.to_vec()))
    }

    /// The bytes that stand in keys.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The identifier of a version, if the identifier is public.
    #[must_use]
    pub fn identifier(&self, version: u16) -> Option<Identifier> {
        let mut parts = std::str::from_utf8(self.0.strip_prefix(&[PUBLIC])?).ok()?.split('.');
        Identifier::build(parts.next()?, parts.next()?, parts.next()?, version).ok()
    }
}

impl std::fmt::Display for Series {
    /// The public identifier less root, version and check; or the tag in hex.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0.split_first() {
            Some((&PUBLIC, text)) => f.write_str(&String::from_utf8_lossy(text)),
            Some((_, tag)) => f.write_str(&hex::encode(tag)),
            None => Ok(()),
        }
    }
}

/// One version of one licence.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Named {
    /// The licence.
    pub series: Series,
    /// Its version.
    pub version: u16,
}

/// The current version of a licence, if there is one.
pub fn current(kv: &dyn Kv, series: &Series) -> Result<Option<LicenceState>, Fatal> {
    value::get(kv, &keys::licence(series))
}

/// A licence's state at a version, current or earlier.
pub fn at_version(kv: &dyn Kv, named: &Named) -> Result<Option<LicenceState>, Fatal> {
    match current(kv, &named.series)? {
        Some(state) if state.version == u32::from(named.version) => Ok(Some(state)),
        Some(_) => value::get(kv, &keys::earlier_version(&named.series, named.version)),
        None => Ok(None),
    }
}

/// Which version an identifier tag names.
pub fn of_tag(kv: &dyn Kv, tag: &Tag) -> Result<Option<Named>, Fatal> {
    let key = keys::identifier_tag(tag);
    let Some(value) = kv.get(&key)? else { return Ok(None) };
    let broken = || value::undecodable(&key, "it is not a version and a series");
    let (version, series) = value::open(&key, &value)?.split_first_chunk::<2>().ok_or_else(broken)?;
    let series = Series::from_bytes(series).ok_or_else(broken)?;
    Ok(Some(Named { series, version: u16::from_be_bytes(*version) }))
}

/// The value under an identifier tag, as [`of_tag`] reads it.
pub(crate) fn tag_value(named: &Named) -> Vec<u8> {
    value::plain(&[&named.version.to_be_bytes()[..], named.series.as_bytes()].concat())
}

/// A licence that a command names.
pub(crate) struct Found {
    pub named: Named,
    pub state: LicenceState,
    /// Whether the version named is the current one.
    pub is_current: bool,
}

/// The licence that a command names by identifier or by identifier tag, one of the two.
pub(crate) fn find(kv: &dyn Kv, identifier: &str, tag: &[u8]) -> Result<Found, Stop> {
    let named = match (identifier.is_empty(), tag.is_empty()) {
        (true, true) => return refuse(Reason::NothingNamed, "neither identifier nor tag"),
        (false, false) => return refuse(Reason::FieldForm, "both identifier and tag"),
        (false, true) => {
            let identifier = Identifier::parse(identifier)?;
            Named { series: Series::of(&identifier), version: identifier.version() }
        }
        (true, false) => {
            let Ok(tag) = Tag::try_from(tag) else { return refuse(Reason::FieldForm, "the licence's tag") };
            match of_tag(kv, &tag)? {
                Some(named) => named,
                None => return refuse(Reason::UnknownLicence, "no licence has this tag"),
            }
        }
    };
    let Some(state) = current(kv, &named.series)? else {
        return refuse(Reason::UnknownLicence, "no licence of this series");
    };
    if state.version == u32::from(named.version) {
        return Ok(Found { named, state, is_current: true });
    }
    match value::get(kv, &keys::earlier_version(&named.series, named.version))? {
        Some(state) => Ok(Found { named, state, is_current: false }),
        None => refuse(Reason::UnknownLicence, "no such version of this licence"),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_series_gives_its_identifiers_back() {
        let id = Identifier::build("11440300MB0X00019K001", "11440300MB0X00019K", "2026000001", 7).unwrap();
        let series = Series::of(&id);
        assert_eq!(series.to_string(), "11440300MB0X00019K001.11440300MB0X00019K.2026000001");
        assert_eq!(series.identifier(7).unwrap(), id);
        assert_eq!(Series::from_bytes(series.as_bytes()), Some(series));
        let tagged = Series::of_tag(&[b'/'; 32]);
        assert_eq!(Series::from_bytes(tagged.as_bytes()), Some(tagged.clone()));
        assert_eq!(tagged.identifier(1), None);
        assert_eq!(Series::from_bytes(b"t/"), None);
        assert_eq!(Series::from_bytes(b""), None);
    }
}
