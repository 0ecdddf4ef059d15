//! Salted disclosures in the manner of RFC 9901 (SD-JWT), section 4.2.1: the base64url text of a
//! JSON array `[salt, name, value]`, and the SHA-256 of that text's ASCII.
//!
//! The text is made once, by the issuing unit's client, and kept: a digest never depends on how
//! somebody prints a number again. Readers here are stricter than the RFC: one value has one text
//! (compact JSON, no blanks, shortest escapes), so that no two readers see different content.
//!
//! Texts and buffers are wiped from memory when dropped; parsed values are not.

use crate::reason::{Reason, Refusal};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::borrow::Cow;
use vermilion_crypto::{Digest, sha256};
use zeroize::Zeroizing;

/// Bytes of a salt: 128 bits, as RFC 9901 section 9.3 recommends.
pub const SALT_LEN: usize = 16;
/// The same in base64url.
const SALT_TEXT: usize = 22;
/// A salt. Secret until the field is disclosed.
pub type Salt = [u8; SALT_LEN];

/// The longest name, in bytes.
const MAX_NAME: usize = 64;
/// The longest disclosure's JSON, in bytes: the longest row as one value, and its frame.
const MAX_JSON: usize = 65 * 1024;
/// Room for the plaintext of most licences, in bytes.
const FIRST_ROOM: usize = 1536;
/// Room for the text of most disclosures.
const FIRST_TEXT: usize = 256;

/// A disclosure: its text, what it says, and its digest.
#[derive(Clone, PartialEq)]
pub struct Disclosure {
    encoded: Zeroizing<String>,
    name: String,
    value: Value,
    digest: Digest,
}

/// The digest alone: a disclosure is content and does not reach logs.
impl std::fmt::Debug for Disclosure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Disclosure({})", hex::encode(self.digest))
    }
}

impl Disclosure {
    /// Makes the disclosure of a field.
    pub fn new(salt: &Salt, name: &str, value: Value) -> Result<Self, Refusal> {
        let mut writer = Writer::default();
        let digest = writer.write(salt, name, &value)?;
        Ok(Self { encoded: text_of(&writer.encoded)?, name: name.to_owned(), value, digest })
    }

    /// Reads a disclosure's text, strictly. What is not one is [`Reason::ContentDigest`]: no
    /// digest of a well-made item is over it.
    pub fn parse(encoded: &str) -> Result<Self, Refusal> {
        if encoded.len() > MAX_JSON / 3 * 4 + 4 {
            return Err(malformed("a disclosure is too long"));
        }
        let mut json = Zeroizing::new(Vec::with_capacity(encoded.len()));
        URL_SAFE_NO_PAD.decode_vec(encoded, &mut json).map_err(|_| malformed("a disclosure is not base64url"))?;
        let (name, value) = read_json(&json, &mut Zeroizing::default())?;
        Ok(Self { digest: sha256(encoded.as_bytes()), encoded: Zeroizing::new(encoded.to_owned()), name: name.into_owned(), value })
    }

    /// Reads a disclosure and checks that its digest is among `digests`.
    pub fn verify(encoded: &str, digests: &[Digest]) -> Result<Self, Refusal> {
        let disclosure = Self::parse(encoded)?;
        if digests.contains(&disclosure.digest) { Ok(disclosure) } else { Err(malformed("no digest is of this disclosure")) }
    }

    /// The text, as it is given to whoever may see the field.
    #[must_use]
    pub fn encoded(&self) -> &str {
        &self.encoded
    }

    /// The field's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The digest that stands in the item.
    #[must_use]
    pub fn digest(&self) -> &Digest {
        &self.digest
    }

    /// The field's value.
    #[must_use]
    pub fn value(&self) -> &Value {
        &self.value
    }
}

/// RFC 9901 reserves `_sd` and `...`; control characters have no place in a name.
fn check_name(name: &str) -> Result<(), Refusal> {
    if name.is_empty() || name.len() > MAX_NAME || name.starts_with("_sd") || name == "..." || name.chars().any(char::is_control) {
        return Err(malformed("a disclosure's name is empty, too long or reserved"));
    }
    Ok(())
}

fn write_json(into: &mut Vec<u8>, salt: &str, name: &str, value: &impl Serialize) -> Result<(), Refusal> {
    (salt, name, value).serialize(&mut serde_json::Serializer::new(into)).map_err(|_| malformed("a disclosure cannot be written"))
}

/// Text that is borrowed where nothing in it is escaped.
#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

/// Name and value of a disclosure's JSON, if it is written as we write it. `again` is a buffer.
fn read_json<'a>(json: &'a [u8], again: &mut Zeroizing<Vec<u8>>) -> Result<(Cow<'a, str>, Value), Refusal> {
    let (Text(salt), Text(name), value): (Text<'a>, Text<'a>, Value) =
        serde_json::from_slice(json).map_err(|_| malformed("a disclosure is not an array of salt, name and value"))?;
    check_name(&name)?;
    let mut bytes = [0; SALT_LEN + 2];
    if URL_SAFE_NO_PAD.decode_slice(salt.as_bytes(), &mut bytes).ok() != Some(SALT_LEN) {
        return Err(malformed("a disclosure's salt is not of 128 bits"));
    }
    // One member too many makes it longer, by no more than is read here; mostly it is as long.
    empty(again, json.len());
    write_json(again, &salt, &name, &value)?;
    if **again != *json {
        return Err(malformed("a disclosure's JSON is not compact, or a member stands twice"));
    }
    Ok((name, value))
}

/// Empties a buffer and sees to it that so much fits: one that grows by itself leaves what it held behind.
fn empty(buffer: &mut Zeroizing<Vec<u8>>, room: usize) {
    buffer.clear();
    if room > buffer.capacity() {
        *buffer = Zeroizing::new(Vec::with_capacity(room.max(FIRST_TEXT)));
    }
}

/// Writes the base64url of a disclosure's JSON into a buffer, and gives its digest.
fn encode(json: &[u8], encoded: &mut Zeroizing<Vec<u8>>) -> Result<Digest, Refusal> {
    let room = json.len().div_ceil(3) * 4;
    empty(encoded, room);
    encoded.resize(room, 0);
    let length = URL_SAFE_NO_PAD.encode_slice(json, &mut encoded[..]).map_err(|_| malformed("a disclosure cannot be written"))?;
    encoded.truncate(length);
    Ok(sha256(encoded))
}

fn text_of(encoded: &[u8]) -> Result<Zeroizing<String>, Refusal> {
    let text = std::str::from_utf8(encoded).map_err(|_| malformed("a disclosure cannot be written"))?;
    Ok(Zeroizing::new(text.to_owned()))
}

/// Writes a plaintext: the JSON of each disclosure on a line of its own. Not their base64url, which is a third longer and
/// follows from it: one value has one text. Compact JSON has no line end.
#[derive(Default)]
pub(super) struct Writer {
    plaintext: Zeroizing<Vec<u8>>,
    json: Zeroizing<Vec<u8>>,
    encoded: Zeroizing<Vec<u8>>,
}

impl Writer {
    /// Adds a field's disclosure, and gives its digest.
    pub fn write(&mut self, salt: &Salt, name: &str, value: &impl Serialize) -> Result<Digest, Refusal> {
        check_name(name)?;
        let mut text = Zeroizing::new([0; SALT_TEXT]);
        let written = URL_SAFE_NO_PAD.encode_slice(salt, &mut text[..]).map_err(|_| malformed("a salt cannot be written"))?;
        let salt = std::str::from_utf8(&text[..written]).map_err(|_| malformed("a salt cannot be written"))?;
        empty(&mut self.json, FIRST_TEXT);
        write_json(&mut self.json, salt, name, value)?;
        if self.json.len() > MAX_JSON {
            return Err(malformed("a disclosure is too long"));
        }
        let digest = encode(&self.json, &mut self.encoded)?;
        self.add_line();
        Ok(digest)
    }

    fn add_line(&mut self) {
        let room = self.plaintext.len() + self.json.len() + 1;
        if room > self.plaintext.capacity() {
            // One that grows by itself leaves what it held behind.
            let mut larger = Zeroizing::new(Vec::with_capacity((2 * room).max(FIRST_ROOM)));
            larger.extend_from_slice(&self.plaintext);
            self.plaintext = larger;
        }
        if !self.plaintext.is_empty() {
            self.plaintext.push(b'\n');
        }
        self.plaintext.extend_from_slice(&self.json);
    }

    /// The plaintext.
    pub fn finish(self) -> Zeroizing<Vec<u8>> {
        self.plaintext
    }
}

/// One line of a plaintext.
pub(super) struct Field<'a> {
    pub name: Cow<'a, str>,
    pub value: Value,
    pub digest: Digest,
}

/// Reads a plaintext that [`Writer`] wrote: at most `max` disclosures, each handed on with its text in base64url.
fn read<'a>(plaintext: &'a [u8], max: usize, mut each: impl FnMut(Field<'a>, &[u8]) -> Result<(), Refusal>) -> Result<(), Refusal> {
    let (mut again, mut encoded) = (Zeroizing::default(), Zeroizing::default());
    for (n, line) in plaintext.split(|byte| *byte == b'\n').enumerate() {
        if n == max {
            return Err(malformed("the content has too many fields"));
        }
        if line.len() > MAX_JSON {
            return Err(malformed("a disclosure is too long"));
        }
        let (name, value) = read_json(line, &mut again)?;
        let digest = encode(line, &mut encoded)?;
        each(Field { name, value, digest }, &encoded)?;
    }
    Ok(())
}

/// What a plaintext says, without the disclosures' texts.
pub(super) fn fields(plaintext: &[u8], max: usize) -> Result<Vec<Field<'_>>, Refusal> {
    let mut out = Vec::with_capacity(24);
    read(plaintext, max, |field, _| {
        out.push(field);
        Ok(())
    })?;
    Ok(out)
}

/// The disclosures of a plaintext: at most `max`.
pub(super) fn split(plaintext: &[u8], max: usize) -> Result<Vec<Disclosure>, Refusal> {
    let mut out = Vec::with_capacity(24);
    read(plaintext, max, |Field { name, value, digest }, encoded| {
        out.push(Disclosure { encoded: text_of(encoded)?, name: name.into_owned(), value, digest });
        Ok(())
    })?;
    Ok(out)
}

/// The disclosures of a licence's opened content, for whoever serves a use. That they match the
/// item's digests was checked at the door; whoever receives them checks it again.
pub fn disclosures(plaintext: &[u8]) -> Result<Vec<Disclosure>, Refusal> {
    split(plaintext, usize::MAX)
}

fn malformed(detail: &str) -> Refusal {
    Refusal::new(Reason::ContentDigest, detail)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    const SALT: Salt = [7; SALT_LEN];

    fn encode(json: &str) -> String {
        URL_SAFE_NO_PAD.encode(json)
    }

    #[test]
    fn is_an_rfc_9901_disclosure() {
        let made = Disclosure::new(&SALT, "面积", json!(262.02)).unwrap();
        let json = String::from_utf8(URL_SAFE_NO_PAD.decode(made.encoded()).unwrap()).unwrap();
        assert_eq!(json, r#"["BwcHBwcHBwcHBwcHBwcHBw","面积",262.02]"#);
        assert_eq!(made.digest(), &sha256(made.encoded().as_bytes()));
        assert_eq!(Disclosure::parse(made.encoded()).unwrap(), made);
        assert_eq!((made.name(), made.value()), ("面积", &json!(262.02)));
        assert!(Disclosure::verify(made.encoded(), &[[0; 32], *made.digest()]).is_ok());
        assert!(Disclosure::verify(made.encoded(), &[[0; 32]]).is_err());
        assert!(!format!("{made:?}").contains("262"));
    }

    #[test]
    fn rfc_9901_example_digest() {
        // RFC 9901 section 4.2.3: the digest is over the text, whatever its blanks.
        let text = "WyJfMjZiYzRMVC1hYzZxMktJNmNCVzVlcyIsICJmYW1pbHlfbmFtZSIsICJNw7ZiaXVzIl0";
        assert_eq!(URL_SAFE_NO_PAD.encode(sha256(text.as_bytes())), "X9yH0Ajrdm1Oij4tWso9UzzKJvPoDxwmuEcO3XAdRC0");
        assert!(Disclosure::parse(text).is_err(), "blanks are not ours");
    }

    #[test]
    fn readers_are_strict() {
        let salt = "BwcHBwcHBwcHBwcHBwcHBw";
        assert!(Disclosure::parse(&encode(&format!(r#"["{salt}","a",1]"#))).is_ok());
        for json in [
            format!(r#"["{salt}", "a",1]"#),
            format!(r#"["{salt}","a",1,2]"#),
            format!(r#"["{salt}","a"]"#),
            format!(r#"["{salt}","a",1]x"#),
            format!(r#"["{salt}","a",1.0e1]"#),
            format!(r#"["{salt}","a",12345678901234567890123]"#),
            format!(r#"["{salt}","a","\u0061"]"#),
            format!(r#"["{salt}","a",{{"b":1,"b":1}}]"#),
            format!(r#"["{salt}","_sd",1]"#),
            format!(r#"["{salt}","...",1]"#),
            format!(r#"["{salt}","",1]"#),
            format!(r#"["{salt}=","a",1]"#),
            format!(r#"["{salt}AA","a",1]"#),
            r#"["BwcHBwcHBwcHBwcHBwcHBx","a",1]"#.to_owned(),
            r#"["","a",1]"#.to_owned(),
            r#"{"a":1}"#.to_owned(),
        ] {
            assert_eq!(Disclosure::parse(&encode(&json)).err().map(|r| r.reason), Some(Reason::ContentDigest), "{json}");
        }
        let good = encode(&format!(r#"["{salt}","a",1]"#));
        for text in [format!("{good}="), format!(" {good}"), format!("{good}\n"), String::new(), "A".repeat(100_000)] {
            assert!(Disclosure::parse(&text).is_err());
        }
    }

    proptest! {
        #[test]
        fn comes_back(salt in any::<Salt>(), name in "[a-zA-Z面积]{1,16}", value in "\\PC{0,60}", number in any::<i64>()) {
            for value in [Value::from(value), Value::from(number), json!([number, {"x": null}])] {
                let made = Disclosure::new(&salt, &name, value).unwrap();
                prop_assert_eq!(Disclosure::parse(made.encoded()).unwrap(), made);
            }
        }

        #[test]
        fn finite_numbers_come_back(number in any::<f64>().prop_filter("finite", |n| n.is_finite())) {
            let made = Disclosure::new(&SALT, "n", json!(number)).unwrap();
            prop_assert_eq!(Disclosure::parse(made.encoded()).unwrap(), made);
        }

        #[test]
        fn never_panics(text in "\\PC{0,60}|[A-Za-z0-9_-]{0,60}", json in "\\PC{0,60}") {
            let _ = (Disclosure::parse(&text), Disclosure::parse(&encode(&json)));
        }
    }
}
