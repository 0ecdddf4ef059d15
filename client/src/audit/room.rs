//! How much memory a replayed state may take, and where the rest of it goes.

use super::Options;
use std::path::PathBuf;

/// As much as a replayed state takes in memory if nothing is said: two to three million licences, issued one by one.
pub const MEMORY: u64 = 2 << 30;

/// How much memory a replayed state may take, and where the rest of it goes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Room {
    /// Bytes.
    pub bytes: usize,
    /// The folder for what does not fit: one beside the audit's state file; else one in the system's temporary folder.
    pub folder: Option<PathBuf>,
}

impl Default for Room {
    fn default() -> Self {
        Self::of(&Options::default())
    }
}

impl Room {
    /// What an audit's options say.
    #[must_use]
    pub fn of(options: &Options) -> Self {
        let bytes = usize::try_from(options.memory).unwrap_or(usize::MAX);
        Self { bytes, folder: options.keep.as_ref().map(super::Keep::scratch) }
    }
}

/// Reads a number of bytes, as `2GiB`, `512MiB`, `64KiB` or plainly.
pub fn parse_bytes(text: &str) -> Result<u64, String> {
    let units = [("GiB", 30), ("MiB", 20), ("KiB", 10), ("", 0)];
    let (number, shift) = units.into_iter().find_map(|(unit, shift)| Some((text.strip_suffix(unit)?, shift))).unwrap_or((text, 0));
    let number = number.trim_end().parse::<u64>().ok().and_then(|number| number.checked_mul(1 << shift));
    number.ok_or_else(|| "a number of bytes is wanted, as 2GiB, 512MiB or 65536".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_bytes_are_read() {
        let read = |text| parse_bytes(text).ok();
        assert_eq!(["2GiB", "512 MiB", "1KiB", "7"].map(read), [Some(2 << 30), Some(512 << 20), Some(1024), Some(7)]);
        assert_eq!(["", "GiB", "2GB", "-1", "1.5GiB", "99999999999999999GiB"].map(read), [None; 6]);
    }
}
