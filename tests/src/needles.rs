//! A search for very many values at once, in the clear and as hashes that anybody could compute.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use std::collections::{BTreeSet, HashMap};
use vermilion_crypto::sha256;

/// Values shorter than this, in bytes, are looked for as hashes alone: in the clear they would be
/// found by chance.
const SHORTEST: usize = 8;
/// Buckets of the filter before the table.
const FILTER: usize = 1 << 24;

/// How a value may show.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Form {
    /// As it is.
    Clear,
    /// As the bytes of an unsalted hash.
    Raw,
    /// As an unsalted hash in hexadecimal digits.
    Hex,
    /// As an unsalted hash in base64, of either alphabet.
    Base64,
}

struct Needle {
    value: usize,
    form: Form,
    bytes: Vec<u8>,
}

/// A value that was found.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Found {
    /// The value.
    pub value: String,
    /// How it shows.
    pub form: Form,
    /// Where: a name that the searcher gave.
    pub place: String,
}

/// The values, in every form.
pub struct Needles {
    values: Vec<String>,
    needles: Vec<Needle>,
    /// By their last eight bytes: values begin alike more often than they end alike.
    table: HashMap<u64, Vec<usize>>,
    filter: Vec<bool>,
}

fn bucket(end: u64) -> usize {
    (end.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40) as usize % FILTER
}

fn hashes(value: &str) -> Vec<[u8; 32]> {
    let quoted = format!("\"{value}\"");
    [value, &quoted].into_iter().flat_map(|text| [sha256(text.as_bytes()), *blake3::hash(text.as_bytes()).as_bytes()]).collect()
}

impl Needles {
    /// Of these values.
    #[must_use]
    pub fn new(values: impl IntoIterator<Item = String>) -> Self {
        let values: Vec<String> = values.into_iter().collect::<BTreeSet<_>>().into_iter().filter(|v| !v.is_empty()).collect();
        let mut needles = Vec::new();
        for (value, text) in values.iter().enumerate() {
            let mut add = |form, bytes| needles.push(Needle { value, form, bytes });
            if text.len() >= SHORTEST {
                add(Form::Clear, text.clone().into_bytes());
            }
            for hash in hashes(text) {
                let hex = hex::encode(hash);
                add(Form::Hex, hex.to_uppercase().into_bytes());
                add(Form::Hex, hex.into_bytes());
                let (standard, url_safe) = (STANDARD_NO_PAD.encode(hash), URL_SAFE_NO_PAD.encode(hash));
                if standard != url_safe {
                    add(Form::Base64, url_safe.into_bytes());
                }
                add(Form::Base64, standard.into_bytes());
                add(Form::Raw, hash.to_vec());
            }
        }
        let (mut table, mut filter) = (HashMap::<u64, Vec<usize>>::new(), vec![false; FILTER]);
        for (n, needle) in needles.iter().enumerate() {
            let end = u64::from_le_bytes(*needle.bytes.last_chunk().unwrap());
            filter[bucket(end)] = true;
            table.entry(end).or_default().push(n);
        }
        Self { values, needles, table, filter }
    }

    /// The values.
    #[must_use]
    pub fn values(&self) -> &[String] {
        &self.values
    }

    /// What shows in some bytes.
    #[must_use]
    pub fn find(&self, place: &str, haystack: &[u8]) -> BTreeSet<Found> {
        let mut out = BTreeSet::new();
        for (at, window) in haystack.windows(8).enumerate() {
            let Ok(window) = window.try_into() else { continue };
            let end = u64::from_le_bytes(window);
            if !self.filter[bucket(end)] {
                continue;
            }
            for n in self.table.get(&end).into_iter().flatten() {
                let needle = &self.needles[*n];
                if haystack[..at + 8].ends_with(&needle.bytes) {
                    out.insert(Found { value: self.values[needle.value].clone(), form: needle.form, place: place.to_owned() });
                }
            }
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_is_found_and_nothing_else() {
        let needles = Needles::new(["样例人00001".to_owned(), "男".to_owned(), "another value".to_owned()]);
        let found = |bytes: &[u8]| needles.find("here", bytes).into_iter().map(|f| (f.value, f.form)).collect::<Vec<_>>();
        let one = |form| vec![("样例人00001".to_owned(), form)];
        let around = |middle: &[u8]| [b"before".as_slice(), middle, b"after"].concat();
        assert_eq!(found(&around("样例人00001".as_bytes())), one(Form::Clear));
        for hash in
            [sha256("样例人00001".as_bytes()), *blake3::hash("样例人00001".as_bytes()).as_bytes(), sha256("\"样例人00001\"".as_bytes())]
        {
            assert_eq!(found(&around(&hash)), one(Form::Raw));
            assert_eq!(found(&around(hex::encode(hash).as_bytes())), one(Form::Hex));
            assert_eq!(found(&around(hex::encode_upper(hash).as_bytes())), one(Form::Hex));
            assert_eq!(found(&around(URL_SAFE_NO_PAD.encode(hash).as_bytes())), one(Form::Base64));
            assert_eq!(found(&around(STANDARD_NO_PAD.encode(hash).as_bytes())), one(Form::Base64));
        }
        assert_eq!(found("男".as_bytes()), []);
        assert_eq!(found(&around(&sha256("男".as_bytes()))), [("男".to_owned(), Form::Raw)]);
        assert_eq!(found("样例人00002, another valu".as_bytes()), []);
        let twice = around(&around(b"another value"));
        assert_eq!(needles.find("x", &[&twice[..], "样例人00001".as_bytes()].concat()).len(), 2);
    }
}
