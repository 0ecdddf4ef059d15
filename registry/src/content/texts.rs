//! Texts that a command speaks of and the vault keeps: case number, purpose, reasons. In the
//! command stand only their salted digests (`Head.text_digests`, `Use.case_digest`, …).

use super::disclosure::{self, Disclosure, Salt, Writer};
use crate::reason::{Reason, Refusal};
use serde_json::Value;
use vermilion_crypto::Digest;
use zeroize::Zeroizing;

/// The most texts of one command.
const MAX_TEXTS: usize = 32;
/// The longest text, in bytes.
const MAX_TEXT: usize = 16 * 1024;
/// The longest plaintext of all texts, in bytes.
const MAX_PLAINTEXT: usize = 256 * 1024;

/// Texts that were checked against their digests.
#[derive(Debug)]
pub struct Texts {
    texts: Vec<Disclosure>,
}

impl Texts {
    /// The text of this name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.disclosure(name).and_then(|d| d.value().as_str())
    }

    /// The disclosure of this name.
    #[must_use]
    pub fn disclosure(&self, name: &str) -> Option<&Disclosure> {
        self.texts.iter().find(|d| d.name() == name)
    }

    /// The names, in the order in which the texts stand.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.texts.iter().map(Disclosure::name)
    }
}

/// Makes the disclosures of named texts: their digests, in the order given, and the plaintext to
/// be sealed. `salt` gives each name its salt, fresh for every command.
pub fn build_texts(texts: &[(&str, &str)], mut salt: impl FnMut(&str) -> Salt) -> Result<(Vec<Digest>, Zeroizing<Vec<u8>>), Refusal> {
    if texts.len() > MAX_TEXTS {
        return Err(too_large());
    }
    let (mut digests, mut writer) = (Vec::with_capacity(texts.len()), Writer::default());
    for (n, (name, text)) in texts.iter().enumerate() {
        if text.len() > MAX_TEXT {
            return Err(too_large());
        }
        if texts[..n].iter().any(|(other, _)| other == name) {
            return Err(Refusal::new(Reason::ContentDigest, "two texts have one name"));
        }
        digests.push(writer.write(&salt(name), name, text)?);
    }
    Ok((digests, writer.finish()))
}

/// Checks a plaintext against the digests that are signed: each text has its digest and each
/// digest its text, in whatever order.
pub fn check_texts(plaintext: &[u8], digests: &[Digest]) -> Result<Texts, Refusal> {
    if plaintext.len() > MAX_PLAINTEXT || digests.len() > MAX_TEXTS {
        return Err(too_large());
    }
    let texts = if plaintext.is_empty() { Vec::new() } else { disclosure::split(plaintext, MAX_TEXTS)? };
    let (mut signed, mut found) = (digests.to_vec(), texts.iter().map(|d| *d.digest()).collect::<Vec<_>>());
    signed.sort_unstable();
    found.sort_unstable();
    if signed != found {
        return Err(Refusal::new(Reason::ContentDigest, "the texts are not those of the digests"));
    }
    for (n, text) in texts.iter().enumerate() {
        match text.value() {
            Value::String(text) if text.len() <= MAX_TEXT => {}
            Value::String(_) => return Err(too_large()),
            _ => return Err(Refusal::new(Reason::ContentDigest, "a text is not text")),
        }
        if texts[..n].iter().any(|d| d.name() == text.name()) {
            return Err(Refusal::new(Reason::ContentDigest, "two texts have one name"));
        }
    }
    Ok(Texts { texts })
}

fn too_large() -> Refusal {
    Refusal::new(Reason::TooLarge, "there are too many texts, or one is too long")
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn texts_come_back() {
        let given = [("case", "深市监案〔2026〕1号"), ("purpose", "办理\n变更登记"), ("reason", "")];
        let (mut digests, plaintext) = build_texts(&given, |name| [name.len() as u8; 16]).unwrap();
        digests.reverse();
        let texts = check_texts(&plaintext, &digests).unwrap();
        for (name, text) in given {
            assert_eq!(texts.get(name), Some(text));
            assert!(digests.contains(texts.disclosure(name).unwrap().digest()));
        }
        assert_eq!(texts.names().collect::<Vec<_>>(), ["case", "purpose", "reason"]);
        assert_eq!(texts.get("other"), None);
        assert!(!format!("{texts:?}").contains("深市监案"));

        let reason = |plaintext: &[u8], digests: &[Digest]| check_texts(plaintext, digests).unwrap_err().reason;
        assert_eq!(reason(&plaintext, &digests[1..]), Reason::ContentDigest);
        assert_eq!(reason(&plaintext, &[digests[0], digests[0], digests[1]]), Reason::ContentDigest);
        assert_eq!(reason(b"", &digests), Reason::ContentDigest);
        assert_eq!(reason(&plaintext[1..], &digests), Reason::ContentDigest);
        let twice = [&plaintext[..], b"\n", &plaintext[..]].concat();
        assert_eq!(reason(&twice, &[&digests[..], &digests[..]].concat()), Reason::ContentDigest);
    }

    #[test]
    fn none_is_none() {
        let (digests, plaintext) = build_texts(&[], |_| [0; 16]).unwrap();
        assert!(digests.is_empty() && plaintext.is_empty());
        assert!(check_texts(&plaintext, &digests).is_ok());
    }

    #[test]
    fn sizes_and_names_are_bounded() {
        let reason = |texts: &[(&str, &str)]| build_texts(texts, |_| [0; 16]).unwrap_err().reason;
        assert_eq!(reason(&[("a", &"x".repeat(MAX_TEXT + 1))]), Reason::TooLarge);
        assert_eq!(reason(&[("a", "x"); MAX_TEXTS + 1]), Reason::TooLarge);
        assert_eq!(reason(&[("a", "x"), ("a", "y")]), Reason::ContentDigest);
        assert_eq!(reason(&[("", "x")]), Reason::ContentDigest);
    }

    proptest! {
        #[test]
        fn never_panics(plaintext in prop::collection::vec(any::<u8>(), 0..80), digests in prop::collection::vec(any::<Digest>(), 0..3)) {
            let _ = check_texts(&plaintext, &digests);
        }
    }
}
