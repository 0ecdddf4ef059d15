//! QR codes (二维码): a licence's status in a short form, under one node's signature.
//!
//! The text is `VMQR1:` and base64url of the encoded `SignedQr`, at most [`MAX_TEXT`] bytes. It is one
//! node's word: it says who says so, and when. What a quorum vouches for stands in a receipt.

pub mod image;

use crate::receipt::Freshness;
use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine as _};
use serde_json::{Value, json};
use vermilion_crypto::KeyId;
use vermilion_crypto::dsse::pae;
use vermilion_ledger::Trust;
use vermilion_proto::{Message as _, QR_TYPE, QrStatement, SignedQr, canonical};
use vermilion_registry::codes::identifier::Identifier;
use vermilion_registry::days;
use vermilion_registry::status::{Flag, Shown, State, shown};

/// What the text of any version begins with.
const BEGINS_ANY: &str = "VMQR";
/// What the text begins with.
const BEGINS: &str = "VMQR1:";
/// The longest text, in bytes: a QR code of medium density that a phone still reads from paper.
pub const MAX_TEXT: usize = 1200;
/// How far a node's clock may be ahead of the one here, in milliseconds.
const AHEAD_MS: u64 = 300_000;

/// The text of a signed status.
pub fn text(signed: &SignedQr) -> Result<String, String> {
    let text = format!("{BEGINS}{}", BASE64_URL_SAFE_NO_PAD.encode(signed.encode_to_vec()));
    if text.len() > MAX_TEXT { Err(format!("the text has {} bytes, more than {MAX_TEXT}", text.len())) } else { Ok(text) }
}

/// Whether a text begins as a QR code's does, of this version or another.
#[must_use]
pub fn begins(text: &str) -> bool {
    text.trim_start().starts_with(BEGINS_ANY)
}

/// A signed status that holds.
#[derive(Clone, PartialEq, Debug)]
pub struct QrCheck {
    /// The name under which the node cosigns.
    pub signer: String,
    /// What it says.
    pub statement: QrStatement,
    /// The state.
    pub state: State,
}

/// Reads a text and checks it against what is trusted: exactly one encoding, of the pinned ledger, under
/// the cosigning key of a pinned node. Needs no network and no clock.
pub fn check(text: &str, trust: &Trust) -> Result<QrCheck, String> {
    let text = text.trim();
    if text.len() > MAX_TEXT {
        return Err("it is longer than a QR code's text can be".into());
    }
    let encoded = text.strip_prefix(BEGINS).ok_or("it is no QR code of this version")?;
    let bytes = BASE64_URL_SAFE_NO_PAD.decode(encoded).map_err(|_| "it is not base64url")?;
    let signed: SignedQr = canonical(&bytes).map_err(|e| e.to_string())?;
    let statement: QrStatement = canonical(&signed.statement).map_err(|e| e.to_string())?;
    if statement.format_version != 1 || statement.suite != vermilion_crypto::SUITE_1 {
        return Err("its version or suite is not read by this version".into());
    }
    if !statement.certificate_digest.is_empty() {
        return Err("certificate_digest is not honoured by this version".into());
    }
    if statement.ledger_id != trust.settings().ledger_id {
        return Err("It is of another ledger.".into());
    }
    let id = KeyId::try_from(statement.key_id.as_slice()).map_err(|_| "the key's fingerprint does not have 16 bytes")?;
    // The ledger key vouches for trees alone.
    let known = trust.key_of(&id, statement.as_of_seq).filter(|(name, _)| *name != trust.settings().origin);
    let (signer, key) = known.ok_or("No node that you trust has signed it.")?;
    key.verify(&pae(QR_TYPE, &signed.statement), &signed.signature).map_err(|_| format!("The signature of {signer} does not hold."))?;
    let state = State::from_number(statement.state).ok_or("The status is none of this version.")?;
    if Flag::in_set(statement.flags).fold(0, |known, flag| known | flag as u32) != statement.flags {
        return Err("It has a flag that this version does not know.".into());
    }
    // One node's word: it stands on a line of its own before those who read it, and must not say more than which licence it is.
    if !Identifier::parse(&statement.identifier).is_ok_and(|identifier| identifier.as_str() == statement.identifier) {
        return Err("It names no licence's identifier.".into());
    }
    Ok(QrCheck { signer: signer.to_owned(), statement, state })
}

impl QrCheck {
    /// The status with what follows from the licence's dates: on the day of the answer, or today where
    /// that is later.
    #[must_use]
    pub fn shown(&self, now_ms: u64) -> Shown {
        let of = &self.statement;
        shown(self.state, of.effective_from, of.expires_on, days::of(of.as_of_ms.max(now_ms)))
    }

    /// Since when the node has said so, in milliseconds; 0 for a time that lies ahead.
    #[must_use]
    pub fn age_ms(&self, now_ms: u64) -> u64 {
        now_ms.saturating_sub(self.statement.signed_ms)
    }

    /// Whether it is at most `max_age_ms` old at `now_ms`. With no age asked for everything is fresh but what lies ahead.
    #[must_use]
    pub fn freshness(&self, now_ms: u64, max_age_ms: Option<u64>) -> Freshness {
        match max_age_ms {
            _ if self.statement.signed_ms.max(self.statement.as_of_ms) > now_ms.saturating_add(AHEAD_MS) => Freshness::Ahead,
            Some(max_age) if self.age_ms(now_ms) > max_age => Freshness::TooOld,
            _ => Freshness::Fresh,
        }
    }

    /// The flags beside the state.
    pub fn flags(&self) -> impl Iterator<Item = Flag> {
        Flag::in_set(self.statement.flags)
    }

    /// For scripts.
    #[must_use]
    pub fn json(&self, now_ms: u64) -> Value {
        let (of, shown) = (&self.statement, self.shown(now_ms));
        json!({
            "ok": true,
            "identifier": of.identifier,
            "valid": shown.verify_code() == 0,
            "state": self.state.name(),
            "shown": shown.name(),
            "shown_zh": shown.chinese(),
            "verify_code": shown.verify_code(),
            "flags": self.flags().map(Flag::name).collect::<Vec<_>>(),
            "as_of_seq": of.as_of_seq,
            "as_of": crate::clock::show_ms(of.as_of_ms),
            "signed": crate::clock::show_ms(of.signed_ms),
            "signed_by": self.signer,
            "key": hex::encode(&of.key_id),
            "age_s": self.age_ms(now_ms) / 1000,
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::receipt::tests::{LEDGER, key, trust};

    fn statement() -> QrStatement {
        QrStatement {
            format_version: 1,
            suite: 1,
            ledger_id: LEDGER.to_vec(),
            identifier: Identifier::build("11440300MB0X00019K001", "11440300MB0X00019K", "2026000001", 1).unwrap().as_str().to_owned(),
            state: 1,
            flags: 2,
            effective_from: 100,
            expires_on: 0,
            as_of_seq: 70,
            as_of_ms: 1_800_000_000_000,
            signed_ms: 1_800_000_001_000,
            key_id: key(2).public().id().to_vec(),
            certificate_digest: Vec::new(),
        }
    }

    fn signed_by(statement: &QrStatement, n: u8) -> SignedQr {
        let statement = statement.encode_to_vec();
        let signature = key(n).sign(&pae(QR_TYPE, &statement)).to_vec();
        SignedQr { statement, signature }
    }

    #[test]
    fn a_code_says_who_says_what_and_no_byte_of_it_may_change() {
        let text = text(&signed_by(&statement(), 2)).unwrap();
        assert!(text.len() < 400, "{} bytes", text.len());
        let found = check(&text, &trust()).unwrap();
        assert_eq!((found.signer.as_str(), found.state), ("city.example/ledger/n2", State::Valid));
        assert_eq!(found.flags().collect::<Vec<_>>(), [Flag::JudicialFreeze]);
        let now = 1_800_000_061_000;
        assert_eq!((found.age_ms(now), found.shown(now).verify_code()), (60_000, 0));
        assert_eq!(found.json(now)["shown_zh"], "有效");
        let fresh = |now, most| found.freshness(now, most);
        assert_eq!(fresh(now, None), Freshness::Fresh);
        assert_eq!(fresh(now, Some(60_000)), Freshness::Fresh);
        assert_eq!(fresh(now, Some(59_999)), Freshness::TooOld);
        for most in [Some(1), None] {
            assert_eq!(fresh(1_800_000_001_000 - AHEAD_MS, most), Freshness::Fresh);
            assert_eq!(fresh(1_800_000_001_000 - AHEAD_MS - 1, most), Freshness::Ahead);
        }
        let of_later = QrCheck { statement: QrStatement { as_of_ms: now + AHEAD_MS + 1, ..found.statement.clone() }, ..found.clone() };
        assert_eq!(of_later.freshness(now, None), Freshness::Ahead);
        for at in 0..text.len() {
            let mut bytes = text.clone().into_bytes();
            bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
            assert!(check(&String::from_utf8(bytes).unwrap(), &trust()).is_err(), "byte {at}");
            assert!(check(&text[..at], &trust()).is_err());
        }
        assert!(check(&format!("{text}A"), &trust()).is_err());
    }

    #[test]
    fn every_field_is_what_was_signed_and_by_whom() {
        let good = statement();
        let changes: [fn(&mut QrStatement); 13] = [
            |s| s.format_version = 2,
            |s| s.suite = 2,
            |s| s.ledger_id = vec![6; 32],
            |s| s.identifier.push('1'),
            |s| s.state = 5,
            |s| s.flags = 0,
            |s| s.effective_from = 1,
            |s| s.expires_on = 1,
            |s| s.as_of_seq += 1,
            |s| s.as_of_ms += 1,
            |s| s.signed_ms += 1,
            |s| s.key_id = key(3).public().id().to_vec(),
            |s| s.certificate_digest = vec![1; 32],
        ];
        for (n, change) in changes.into_iter().enumerate() {
            let mut changed = good.clone();
            change(&mut changed);
            let kept = SignedQr { statement: changed.encode_to_vec(), ..signed_by(&good, 2) };
            assert!(check(&text(&kept).unwrap(), &trust()).is_err(), "change {n} under the old signature");
        }
        // Signed anew by whoever cannot vouch for it.
        for n in [1, 3, 9] {
            let own = QrStatement { key_id: key(n).public().id().to_vec(), ..good.clone() };
            assert_eq!(check(&text(&signed_by(&own, n)).unwrap(), &trust()).is_ok(), n == 3, "key {n}");
            assert!(check(&text(&signed_by(&good, n)).unwrap(), &trust()).is_err());
        }
        for refused in [
            QrStatement { suite: 2, ..good.clone() },
            QrStatement { state: 12, ..good.clone() },
            QrStatement { flags: 2 | 1 << 31, ..good.clone() },
            QrStatement { certificate_digest: vec![1], ..good.clone() },
            QrStatement { identifier: String::new(), ..good.clone() },
            QrStatement { identifier: format!("{}\n✓ 见证 cosigned by 3 of 3", good.identifier), ..good.clone() },
        ] {
            assert!(check(&text(&signed_by(&refused, 2)).unwrap(), &trust()).is_err());
        }
        let revoked = check(&text(&signed_by(&QrStatement { state: 5, ..good.clone() }, 2)).unwrap(), &trust()).unwrap();
        assert_eq!(revoked.shown(0).name(), "revoked");
        let expired = check(&text(&signed_by(&QrStatement { expires_on: 101, ..good }, 2)).unwrap(), &trust()).unwrap();
        assert_eq!(expired.shown(0).name(), "expired");
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_refused(text in "(VMQR1:)?[A-Za-z0-9_-]{0,300}") {
            proptest::prop_assert!(check(&text, &trust()).is_err());
        }
    }
}
