//! Files that somebody names: read up to a bound, whatever length they are said to have.

use crate::error::ClientError;
use std::io::Read as _;
use std::path::Path;

/// The bytes of a file; `None` if there are more than `most`. A device or a pipe is said to have none: what
/// counts is what comes.
pub fn read_at_most(path: &Path, most: u64) -> Result<Option<Vec<u8>>, ClientError> {
    let read = || -> std::io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        std::fs::File::open(path)?.take(most.saturating_add(1)).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    let bytes = read().map_err(|e| ClientError::file(path, e))?;
    Ok((bytes.len() as u64 <= most).then_some(bytes))
}

/// A text without the byte order mark with which some editors begin a file.
#[must_use]
pub fn without_mark(bytes: &[u8]) -> &[u8] {
    bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn no_more_is_read_than_the_bound() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("four");
        std::fs::write(&file, b"four").unwrap();
        assert_eq!(read_at_most(&file, 4).unwrap().as_deref(), Some(b"four".as_slice()));
        assert_eq!(read_at_most(&file, 3).unwrap(), None);
        // It has no end, and says that it has no length.
        assert_eq!(read_at_most(Path::new("/dev/zero"), 1000).unwrap(), None);
        for none in [folder.path().join("none"), folder.path().into()] {
            assert_eq!(read_at_most(&none, 4).unwrap_err().code(), "file");
        }
    }

    #[test]
    fn one_mark_is_passed_over() {
        assert_eq!(without_mark("\u{feff}{}".as_bytes()), b"{}");
        assert_eq!((without_mark(b"{}"), without_mark(b"")), (b"{}".as_slice(), b"".as_slice()));
    }
}
