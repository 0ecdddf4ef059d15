//! What an asker knows of a licence, where its type's status is told to none but those who know it.

use crate::error::ClientError;
use crate::files::first_line;
use clap::Args;
use std::path::PathBuf;
use zeroize::Zeroizing;

#[derive(Args, Debug, Default)]
pub struct Challenge {
    /// For types with a challenge: a field that you know and no identifier or catalogue says, as certificateHolder (a holder's name
    /// or code) or one that is neither public nor shared in government
    #[arg(long, value_name = "FIELD=VALUE")]
    challenge: Option<String>,
    /// A file whose first line is the same (`-`: standard input): a command line can be seen by others, and is kept by shells
    #[arg(long, value_name = "FILE", conflicts_with = "challenge")]
    challenge_file: Option<PathBuf>,
}

impl Challenge {
    /// The field and its value.
    pub fn read(self) -> Result<Option<(String, Zeroizing<String>)>, ClientError> {
        let said = match (self.challenge, self.challenge_file) {
            (Some(said), _) => Zeroizing::new(said),
            (None, Some(file)) => first_line(&file)?,
            (None, None) => return Ok(None),
        };
        let (field, value) = said.split_once('=').ok_or_else(|| ClientError::Usage("write the challenge as FIELD=VALUE".into()))?;
        Ok(Some((field.to_owned(), Zeroizing::new(value.to_owned()))))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_challenge_is_said_or_lies_in_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("challenge");
        std::fs::write(&file, "certificateHolder=样例=某\nanother=line\n").unwrap();
        let challenge_file = Some(file.clone());
        let read = |challenge: Challenge| challenge.read().map(|read| read.map(|(field, value)| (field, value.to_string())));
        let known = Some(("certificateHolder".to_owned(), "样例=某".to_owned()));
        assert_eq!(read(Challenge { challenge_file, challenge: None }).unwrap(), known);
        assert_eq!(read(Challenge { challenge: Some("certificateHolder=样例=某".into()), challenge_file: None }).unwrap(), known);
        assert_eq!(read(Challenge::default()).unwrap(), None);
        // What was meant to stay off the screen is not said again.
        std::fs::write(&file, "样例某\n").unwrap();
        let said = read(Challenge { challenge_file: Some(file), challenge: None }).unwrap_err().to_string();
        assert!(said.contains("FIELD=VALUE") && !said.contains("样例某"), "{said}");
    }
}
