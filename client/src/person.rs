//! Identity numbers of operators. A person's keys are tied together by the tag of this number: however it is written, the same
//! person has to get the same tag, or one could hold two posts.

use crate::error::ClientError;
use std::path::Path;
use vermilion_registry::codes::citizen_id;
use vermilion_registry::codes::holder_code::CITIZEN_ID;
use zeroize::Zeroizing;

/// The first line of a file, or of standard input for `-`: what should not stand on a command line. Without a byte order mark and
/// outer white space, and never empty.
pub fn first_line(file: &Path) -> Result<Zeroizing<String>, ClientError> {
    let text = if file == Path::new("-") { std::io::read_to_string(std::io::stdin().lock()) } else { std::fs::read_to_string(file) };
    let text = Zeroizing::new(text.map_err(|e| ClientError::file(file, e))?);
    let line = trimmed(text.trim_start_matches('\u{feff}').lines().next().unwrap_or_default());
    if line.is_empty() {
        return Err(ClientError::config(file.display().to_string(), "the first line is empty: write there what is asked for"));
    }
    Ok(Zeroizing::new(line.to_owned()))
}

/// An identity number in the one form in which it is tagged. A citizen's (type 111) must hold by GB 11643; of other types nothing is
/// published that could be checked.
pub fn person_code(code_type: &str, text: &str) -> Result<Zeroizing<String>, ClientError> {
    let mut code = Zeroizing::new(trimmed(text).to_owned());
    if code.is_empty() {
        return Err(ClientError::Usage("the person's identity number is empty".into()));
    }
    if code_type == CITIZEN_ID {
        code.make_ascii_uppercase();
        if !citizen_id::is_valid(&code) {
            let why = "the person's identity number does not hold (GB 11643: 17 digits and a check character): correct it, or name the code type of the document that it is of";
            return Err(ClientError::Usage(why.into()));
        }
    }
    Ok(code)
}

fn trimmed(text: &str) -> &str {
    text.trim_matches(|c: char| c.is_whitespace() || c == '\u{feff}')
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
        assert_eq!(*person_code("999", " word ").unwrap(), "word");
        assert!(person_code("999", " ").is_err());
    }

    #[test]
    fn a_first_line_is_not_empty() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("person.txt");
        for (text, line) in [("\u{feff}word \r\nnot this\n", Some("word")), ("", None), ("\nsecond\n", None), ("\u{feff}\n", None)] {
            std::fs::write(&path, text).unwrap();
            assert_eq!(first_line(&path).ok().as_deref().map(String::as_str), line, "{text:?}");
        }
    }
}
