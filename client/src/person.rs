//! Codes of persons and other holders, in the one form in which each is tagged. An operator's keys are tied together by the tag
//! of the person's number: however it is written, the same person has to get the same tag, or one could hold two posts.

use crate::error::ClientError;
use crate::files::trimmed;
use vermilion_registry::codes::holder_code::{self, CITIZEN_ID, HolderAnswer};
use zeroize::Zeroizing;

/// An identity number in the one form in which it is tagged: small letters are written large, and what its type has no place for
/// (wide forms; in a passport's number anything but letters and digits) is refused, as in a licence's holder. A citizen's (type 111)
/// must hold by GB 11643.
pub fn person_code(code_type: &str, text: &str) -> Result<Zeroizing<String>, ClientError> {
    let mut code = Zeroizing::new(trimmed(text).to_owned());
    if code.is_empty() {
        return Err(ClientError::Usage("the person's identity number is empty".into()));
    }
    if !holder_code::find(code_type).is_some_and(|of| of.natural_person) {
        return Err(ClientError::Usage(format!("{code_type} is no code type of a natural person (GB/T 36903 annex A)")));
    }
    code.make_ascii_uppercase();
    if holder_code::check(code_type, &code) == HolderAnswer::Valid {
        return Ok(code);
    }
    let why = match code_type {
        CITIZEN_ID => {
            "the person's identity number does not hold (GB 11643: 17 digits and a check character): correct it, or name the code type of the document that it is of"
        }
        _ => "the person's identity number is not of its code type's form: write it as the document has it, without blanks and wide forms",
    };
    Err(ClientError::Usage(why.into()))
}

/// A holder's code in the form in which issuers write it and in which it is tagged: of a type of the annex, and passing the check of
/// its type, in capitals where only these pass. What no licence can have is not searched for: a search is on record.
pub fn holder_code(code_type: &str, text: &str) -> Result<Zeroizing<String>, ClientError> {
    let mut code = Zeroizing::new(trimmed(text).to_owned());
    if holder_code::check(code_type, &code) == HolderAnswer::Invalid {
        code.make_ascii_uppercase();
    }
    match holder_code::check(code_type, &code) {
        HolderAnswer::Valid | HolderAnswer::Unusual => Ok(code),
        HolderAnswer::Invalid => {
            Err(ClientError::Usage("the holder's code does not pass the check of its type: correct it, or name its type (--holder-code-type; 001 is a unified social credit code)".into()))
        }
        HolderAnswer::UnknownType => Err(ClientError::Usage(format!("{code_type} is no type of holders' codes (GB/T 36903 annex A)"))),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn one_person_has_one_number_however_it_is_written() {
        for text in ["34052419800101001X", "34052419800101001x", "\u{feff}34052419800101001X", " 34052419800101001x\r\n"] {
            assert_eq!(*person_code("111", text).unwrap(), "34052419800101001X", "{text:?}");
        }
        for text in ["", "\u{feff}", "hello", "340524198001010013", "34052419800101001"] {
            let error = person_code("111", text).unwrap_err().to_string();
            assert!(text.is_empty() || !error.contains(text), "{error}");
        }
        for text in ["E12345678", "e12345678", " e12345678\n"] {
            assert_eq!(*person_code("414", text).unwrap(), "E12345678", "{text:?}");
        }
        for text in ["\u{ff25}12345678", "E1234 5678", "护照", ""] {
            assert!(person_code("414", text).is_err(), "{text:?}");
        }
        assert_eq!(*person_code("999", " word ").unwrap(), "WORD");
        assert!(person_code("999", " ").is_err());
        // An organisation's code is no person's, and an unknown type's nobody's.
        assert!(person_code("001", "91350100M000100Y43").is_err() && person_code("998", "word").is_err());
    }

    #[test]
    fn a_holder_is_searched_for_by_what_a_licence_can_have() {
        for (code_type, text, code) in [
            ("111", " 34052419800101001x", Some("34052419800101001X")),
            ("001", "91350100m000100y43\n", Some("91350100M000100Y43")),
            ("001", "91350100M0001TGQXM", Some("91350100M0001TGQXM")),
            ("114", "军字第0000001号", Some("军字第0000001号")),
            ("111", "340524198001010013", None),
            ("001", "11440300007542785T", None),
            ("11", "34052419800101001X", None),
            ("111", "", None),
        ] {
            assert_eq!(holder_code(code_type, text).ok().as_deref().map(String::as_str), code, "{code_type} {text:?}");
        }
    }
}
