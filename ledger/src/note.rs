//! Signed notes and their keys, as C2SP signed-note has them. Syntax is the `signed_note` crate's;
//! every signature is made and checked by `vermilion-crypto`.

use crate::LedgerError;
use base64::prelude::{BASE64_STANDARD, Engine as _};
use vermilion_crypto::{PublicKey, hash::sha256_parts};

/// The most bytes that a note may have; longer ones are refused unread.
pub const MAX_NOTE_LEN: usize = 1_000_000;
/// The most signatures that a note may have.
pub const MAX_NOTE_SIGNATURES: usize = 100;

/// One signature line of a note: name, key id, signature bytes.
pub type SignatureLine = signed_note::Signature;

/// What a note key signs; the signature type byte of C2SP signed-note.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum KeyKind {
    /// 0x01: Ed25519 over the note's body. The ledger key.
    Note = 1,
    /// 0x04: Ed25519 over time and body, C2SP tlog-cosignature `cosignature/v1`. A witness's key.
    Cosignature = 4,
}

/// The key id that a signature line carries: the first four bytes, as a big-endian number, of
/// SHA-256 over name, newline, kind and public key. Short on purpose: it names a key and proves
/// nothing.
#[must_use]
pub fn key_id(name: &str, kind: KeyKind, key: &PublicKey) -> u32 {
    let [a, b, c, d, ..] = sha256_parts(&[name.as_bytes(), b"\n", &[kind as u8], &key.0]);
    u32::from_be_bytes([a, b, c, d])
}

/// Whether a name may stand in a signature line: not empty, without Unicode space, plus or control
/// character.
pub(crate) fn check_name(name: &str) -> Result<(), LedgerError> {
    if signed_note::is_key_name_valid(name) && !name.chars().any(char::is_control) { Ok(()) } else { Err(LedgerError::BadKeyName) }
}

/// A signature line over these signature bytes.
pub(crate) fn line(name: &str, kind: KeyKind, key: &PublicKey, signature: Vec<u8>) -> Result<SignatureLine, LedgerError> {
    check_name(name)?;
    SignatureLine::new(name.to_owned(), key_id(name, kind, key), signature).map_err(|_| LedgerError::BadKeyName)
}

/// A note key as text, what people pin: `<name>+<key id in hex>+<base64 of kind and public key>`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct VerifierKey {
    /// The key's name: the origin for the ledger key, the witness's name for a witness.
    pub name: String,
    /// What it signs.
    pub kind: KeyKind,
    /// The public key.
    pub key: PublicKey,
}

impl VerifierKey {
    /// Reads the text form. Refuses other kinds, a key id that does not fit, and every text that
    /// [`std::fmt::Display`] would not write. Whether the key is a sound one, [`crate::Trust`]
    /// checks.
    pub fn parse(text: &str) -> Result<Self, LedgerError> {
        let parse = || {
            let (name, rest) = text.split_once('+')?;
            let (_, encoded) = rest.split_once('+')?;
            let decoded = BASE64_STANDARD.decode(encoded).ok()?;
            let (kind, key) = decoded.split_first()?;
            let kind = match kind {
                1 => KeyKind::Note,
                4 => KeyKind::Cosignature,
                _ => return None,
            };
            check_name(name).ok()?;
            Some(Self { name: name.to_owned(), kind, key: PublicKey::from_slice(key).ok()? })
        };
        parse().filter(|key| key.to_string() == text).ok_or(LedgerError::BadVerifierKey)
    }
}

impl std::fmt::Display for VerifierKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let id = key_id(&self.name, self.kind, &self.key);
        let encoded = BASE64_STANDARD.encode([&[self.kind as u8], self.key.0.as_slice()].concat());
        write!(f, "{}+{id:08x}+{encoded}", self.name)
    }
}

/// A note: a body and its signature lines, none of them checked yet.
///
/// The text is the body (UTF-8, ending in a newline, without other control characters), an empty
/// line, and one line `— <name> <base64 of key id and signature>` for each signature. Each note has
/// exactly one text, and each text that [`SignedNote::parse`] takes comes back from
/// [`SignedNote::to_bytes`].
#[derive(Clone, PartialEq, Debug)]
pub struct SignedNote {
    body: String,
    lines: Vec<SignatureLine>,
}

impl SignedNote {
    /// A note of this body and these signatures; at least one.
    pub fn new(body: &str, lines: Vec<SignatureLine>) -> Result<Self, LedgerError> {
        let note = Self { body: body.to_owned(), lines };
        // Reading it back is the one check of all the rules.
        if Self::parse(&note.to_bytes())? == note { Ok(note) } else { Err(LedgerError::BadNote) }
    }

    /// Reads a note, at most [`MAX_NOTE_LEN`] bytes and [`MAX_NOTE_SIGNATURES`] signatures.
    pub fn parse(bytes: &[u8]) -> Result<Self, LedgerError> {
        if bytes.len() > MAX_NOTE_LEN {
            return Err(LedgerError::BadNote);
        }
        // `signed_note` checks the syntax but keeps the lines to itself until they verify.
        signed_note::Note::from_bytes(bytes).map_err(|_| LedgerError::BadNote)?;
        let text = std::str::from_utf8(bytes).map_err(|_| LedgerError::BadNote)?;
        let (body, lines) = text.rsplit_once("\n\n").ok_or(LedgerError::BadNote)?;
        let lines: Result<Vec<_>, _> = lines.lines().map(|line| SignatureLine::from_bytes(line.as_bytes())).collect();
        let lines = lines.map_err(|_| LedgerError::BadNote)?;
        if lines.len() > MAX_NOTE_SIGNATURES {
            return Err(LedgerError::BadNote);
        }
        Ok(Self { body: format!("{body}\n"), lines })
    }

    /// The note's text.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.body.len() + 200 * self.lines.len());
        out.extend_from_slice(self.body.as_bytes());
        out.push(b'\n');
        for line in &self.lines {
            out.extend_from_slice(&line.to_bytes());
        }
        out
    }

    /// The body, with its final newline: what is signed.
    #[must_use]
    pub fn body(&self) -> &str {
        &self.body
    }

    /// The signature lines, in their order, unchecked.
    #[must_use]
    pub fn lines(&self) -> &[SignatureLine] {
        &self.lines
    }

    /// Adds a signature line, in place of one with the same name and key id.
    pub fn add(&mut self, line: SignatureLine) -> Result<(), LedgerError> {
        let mut lines = self.lines.clone();
        lines.retain(|old| old.name() != line.name() || old.id() != line.id());
        lines.push(line);
        *self = Self::new(&self.body, lines)?;
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SPEC_KEY: &str = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k";
    const SPEC_NOTE: &str = "This is an example message.\n\n\
        — example.com/foo Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=\n";

    #[test]
    fn the_example_of_c2sp_signed_note_verifies() {
        let key = VerifierKey::parse(SPEC_KEY).unwrap();
        assert_eq!((key.name.as_str(), key.kind), ("example.com/foo", KeyKind::Note));
        assert_eq!(key.to_string(), SPEC_KEY);
        let note = SignedNote::parse(SPEC_NOTE.as_bytes()).unwrap();
        assert_eq!(note.body(), "This is an example message.\n");
        assert_eq!(note.lines()[0].id(), 0x530d_903a);
        key.key.verify(note.body().as_bytes(), note.lines()[0].signature()).unwrap();
        assert!(key.key.verify(b"This is an example message", note.lines()[0].signature()).is_err());
        assert_eq!(note.to_bytes(), SPEC_NOTE.as_bytes());
    }

    #[test]
    fn verifier_keys_have_one_text() {
        for bad in [
            "",
            "example.com/foo",
            "example.com/foo+530d903a",
            "+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k",
            "example.com/foo+530D903A+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k",
            "example.com/foo+530d903b+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k",
            "example.com/fop+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k",
            "example.com/foo+530d903a+AukyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k",
            "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2",
            "exam ple.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k",
        ] {
            assert_eq!(VerifierKey::parse(bad), Err(LedgerError::BadVerifierKey), "{bad}");
        }
    }

    #[test]
    fn malformed_notes_are_refused() {
        let line = SPEC_NOTE.split_once("\n\n").unwrap().1;
        for bad in [
            String::new(),
            "body\n".to_owned(),
            "body\n\n".to_owned(),
            line.to_owned(),
            format!("body\n{line}"),
            format!("body\n\n{}", line.trim_end()),
            format!("body\n\n{line}\n"),
            format!("body\n\n{line}x\n"),
            format!("bo\u{7}dy\n\n{line}"),
            format!("body\r\n\n{line}"),
            format!("body\n\n{}", line.replace("= ", "")).replace("aQM=", "aQM"),
            format!("body\n\n{}", line.replace("aQM=", "aQN=")),
            format!("body\n\n{}", line.replace('—', "-")),
            format!("body\n\n{}", line.replace("example.com/foo", "example com")),
            format!("body\n\n{}", line.repeat(101)),
            format!("{}\n\n{line}", "x".repeat(MAX_NOTE_LEN)),
        ] {
            assert_eq!(SignedNote::parse(bad.as_bytes()), Err(LedgerError::BadNote), "{}", &bad[..bad.len().min(200)]);
        }
        SignedNote::parse(format!("body\n\n{}", line.repeat(100)).as_bytes()).unwrap();
        let lines = SignedNote::parse(SPEC_NOTE.as_bytes()).unwrap().lines;
        for body in ["", "no newline", "a\n\u{1}\n"] {
            assert_eq!(SignedNote::new(body, lines.clone()), Err(LedgerError::BadNote));
        }
        assert_eq!(SignedNote::new("body\n", Vec::new()), Err(LedgerError::BadNote));
        assert!(check_name("a\u{3000}b").is_err() && check_name("a\u{1}").is_err() && check_name("城市/节点1").is_ok());
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            if let Ok(note) = SignedNote::parse(&bytes) {
                prop_assert_eq!(note.to_bytes(), bytes);
            }
        }

        #[test]
        fn mangled_notes_have_one_text(at: prop::sample::Index, insert in "[\\x00-\u{ff}\\n—= +]{0,3}", cut in 0usize..4) {
            let mut chars: Vec<char> = SPEC_NOTE.chars().collect();
            let at = at.index(chars.len());
            let end = (at + cut).min(chars.len());
            chars.splice(at..end, insert.chars());
            let text: String = chars.into_iter().collect();
            if let Ok(note) = SignedNote::parse(text.as_bytes()) {
                prop_assert_eq!(note.to_bytes(), text.as_bytes());
            }
            let _ = VerifierKey::parse(&text);
        }
    }
}
