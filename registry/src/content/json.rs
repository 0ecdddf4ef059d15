//! Strict JSON for rows: one member of a name, bounded depth, and no number that would change.

use crate::reason::{Reason, Refusal};
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// How deep a row may nest: the row, its data, and eight levels below.
const MAX_DEPTH: usize = 10;
/// Decimal digits that a binary64 number always keeps.
const EXACT_DIGITS: usize = 15;
/// The longest number that is taken, in characters.
const MAX_NUMBER: usize = 64;
/// The power of ten up to which a number of 15 digits is one exact operation on binary64, so that
/// every reader gets the same bits, however it reads.
const MAX_EXPONENT: i32 = 22;

/// Reads one JSON value. Two members of one name, nesting beyond ten levels and numbers that
/// lose digits are refused: what is signed must be what was handed in.
pub fn parse(text: &str) -> Result<Value, Refusal> {
    if !numbers_are_exact(text.as_bytes()) {
        return Err(Refusal::new(Reason::Schema, "a number has more digits than can be kept: write it as text"));
    }
    // The library's messages and ours name a place, never a value.
    let refuse = |e: serde_json::Error| Refusal::new(Reason::Schema, format!("not strict JSON: {e}"));
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let value = Strict { depth: 0 }.deserialize(&mut deserializer).map_err(refuse)?;
    deserializer.end().map_err(refuse)?;
    Ok(value)
}

/// Whether every number outside strings keeps its value in an integer of 64 bits or in binary64.
fn numbers_are_exact(mut text: &[u8]) -> bool {
    loop {
        match text.iter().position(|b| matches!(b, b'"' | b'-' | b'0'..=b'9')) {
            None => return true,
            Some(at) if text[at] == b'"' => text = behind_string(&text[at + 1..]),
            Some(at) => {
                let number = &text[at..];
                let length = number.iter().take_while(|b| matches!(b, b'0'..=b'9' | b'+' | b'-' | b'.' | b'e' | b'E')).count();
                if !number_is_exact(&number[..length]) {
                    return false;
                }
                text = &number[length..];
            }
        }
    }
}

/// What follows a string whose quotation mark was passed; nothing if it does not end.
fn behind_string(mut text: &[u8]) -> &[u8] {
    while let Some(at) = text.iter().position(|b| matches!(b, b'"' | b'\\')) {
        if text[at] == b'"' {
            return &text[at + 1..];
        }
        text = text.get(at + 2..).unwrap_or_default();
    }
    &[]
}

fn number_is_exact(number: &[u8]) -> bool {
    let Ok(number) = std::str::from_utf8(number) else { return false };
    if number.len() > MAX_NUMBER {
        return false;
    }
    if number.parse::<i64>().is_ok() || number.parse::<u64>().is_ok() {
        return true;
    }
    let (mantissa, exponent) = number.split_once(['e', 'E']).unwrap_or((number, "0"));
    let digits = mantissa.bytes().filter(u8::is_ascii_digit).skip_while(|d| *d == b'0').count();
    let fraction = mantissa.split_once('.').map_or(0, |(_, fraction)| fraction.len());
    let (Ok(exponent), Ok(fraction)) = (exponent.parse::<i16>(), i16::try_from(fraction)) else { return false };
    digits <= EXACT_DIGITS && (i32::from(exponent) - i32::from(fraction)).abs() <= MAX_EXPONENT
}

/// Builds a [`Value`] and refuses what [`Value`]'s own reading would let pass.
struct Strict {
    depth: usize,
}

impl Strict {
    fn below<E: Error>(&self) -> Result<usize, E> {
        if self.depth == MAX_DEPTH { Err(E::custom("nested too deep")) } else { Ok(self.depth + 1) }
    }
}

impl<'de> DeserializeSeed<'de> for Strict {
    type Value = Value;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict {
    type Value = Value;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a JSON value")
    }
    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }
    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }
    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::from(value))
    }
    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::from(value))
    }
    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value).map(Value::Number).ok_or_else(|| E::custom("a number is not finite"))
    }
    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }
    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let depth = self.below()?;
        let mut list = Vec::new();
        while let Some(value) = seq.next_element_seed(Strict { depth })? {
            list.push(value);
        }
        Ok(Value::Array(list))
    }
    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let depth = self.below()?;
        // A row has 14 members; what is in it may be many, and empty.
        let mut map = Map::with_capacity(if depth == 1 { 16 } else { 0 });
        while let Some(name) = access.next_key::<String>()? {
            let value = access.next_value_seed(Strict { depth })?;
            if map.insert(name, value).is_some() {
                return Err(A::Error::custom("a member stands twice"));
            }
        }
        Ok(Value::Object(map))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_would_change_is_refused() {
        for text in [
            "",
            "{",
            "{} {}",
            r#"{"a":1,"a":1}"#,
            r#"{"a":{"b":[{"c":1,"c":2}]}}"#,
            "12345678901234567890123",
            "0.1234567890123456789",
            "1e400",
            "1e23",
            "0.00000000000000000000001",
            "1e-400",
            "1e999999999999",
            "[[[[[[[[[[[1]]]]]]]]]]]",
            r#"{"a":NaN}"#,
            r#""\ud800""#,
        ] {
            assert_eq!(parse(text).unwrap_err().reason, Reason::Schema, "{text}");
        }
    }

    #[test]
    fn what_keeps_its_value_is_taken() {
        for text in [
            "18446744073709551615",
            "-9223372036854775808",
            "262.02",
            "0.1",
            "1e5",
            "1e22",
            "1.5E-21",
            "-0.000001",
            r#""12345678901234567890123""#,
            r#""\"1e999""#,
        ] {
            assert!(parse(text).is_ok(), "{text}");
        }
        assert_eq!(parse(r#"{"面积":[262.02,null,true]}"#).unwrap().to_string(), r#"{"面积":[262.02,null,true]}"#);
    }

    #[test]
    fn refusals_echo_nothing() {
        let refusal = parse(r#"{"440303188001010011":1,"440303188001010011":2}"#).unwrap_err();
        assert!(!refusal.to_string().contains("4403"));
    }

    proptest! {
        #[test]
        fn fifteen_digits_come_back(whole in 0u64..1_000_000_000, cents in 0u32..100) {
            let text = format!("{whole}.{cents:02}");
            let value = parse(&text).unwrap().to_string();
            prop_assert_eq!(value.trim_end_matches('0').trim_end_matches('.'), text.trim_end_matches('0').trim_end_matches('.'));
        }

        #[test]
        fn never_panics(text in "[\\[\\]{}\",:0-9eE+.\\-a\\\\]{0,40}|\\PC{0,40}") {
            let _ = parse(&text);
        }
    }
}
