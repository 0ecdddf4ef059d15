//! Files that somebody names: read up to a bound, whatever length they are said to have; written whole or not at all, or into
//! what is no file.

use crate::error::ClientError;
use std::fs::{File, Metadata, Permissions};
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, fchown};
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// Links from one to the next that are followed, as the kernel follows.
const MOST_LINKS: usize = 40;
/// The mode of a file that is its owner's alone.
const PRIVATE: u32 = 0o600;
/// The mode of another, as far as the process' mask lets it.
const PUBLIC: u32 = 0o666;

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

/// Writes a file whole or not at all.
pub fn write_file(path: &Path, bytes: &[u8]) -> Result<(), ClientError> {
    write_file_by(path, |file| file.write_all(bytes))
}

/// The same of what `fill` writes, piece by piece. A file that is there keeps its mode. A device, a pipe or a terminal is written
/// into: put in its place, a file would be in everybody's way.
pub fn write_file_by(path: &Path, fill: impl FnOnce(&mut File) -> io::Result<()>) -> Result<(), ClientError> {
    let write = || match target(path)? {
        Some((path, there)) => replace(&path, there.as_ref(), PUBLIC, fill),
        // Behind what is there already, if it is a file after all: a shell's `>>`.
        None => fill(&mut File::options().append(true).open(path)?),
    };
    write().map_err(|e| ClientError::file(path, e))
}

/// Puts a file in a place, whole or not at all, that is its owner's alone to read, whatever was there.
pub(crate) fn write_private_by(path: &Path, fill: impl FnOnce(&mut File) -> io::Result<()>) -> Result<(), ClientError> {
    replace(path, None, PRIVATE, fill).map_err(|e| ClientError::file(path, e))
}

/// The file that a path names, through links, and what is there; none if it is to be written into.
fn target(path: &Path) -> io::Result<Option<(PathBuf, Option<Metadata>)>> {
    let there = match std::fs::metadata(path) {
        Ok(there) if !there.is_file() => return Ok(None),
        Ok(there) => Some(there),
        Err(error) if error.kind() == ErrorKind::NotFound => None,
        Err(error) => return Err(error),
    };
    let mut at = path.to_owned();
    for _ in 0..MOST_LINKS {
        if !std::fs::symlink_metadata(&at).is_ok_and(|there| there.is_symlink()) {
            return Ok(Some((at, there)));
        }
        // `/dev/stdout` and its like lead over the kernel's folder of open files to one of them, whatever name that has.
        if folder(&at).canonicalize()?.starts_with("/proc") {
            return Ok(None);
        }
        at = folder(&at).join(std::fs::read_link(&at)?);
    }
    Err(io::Error::other("too many links"))
}

/// Puts a new file where one is, whose mode it keeps, or none, of this mode.
fn replace(path: &Path, there: Option<&Metadata>, mode: u32, fill: impl FnOnce(&mut File) -> io::Result<()>) -> io::Result<()> {
    let name = path.file_name().ok_or(ErrorKind::IsADirectory)?;
    let mut new = name.to_owned();
    new.push(format!(".{}.new", std::process::id()));
    let new = path.with_file_name(new);
    // One that a kill left behind, of a process of this number. What is a link goes, and not what it leads to.
    let _ = std::fs::remove_file(&new);
    let mode = if there.is_some() { PRIVATE } else { mode };
    let mut file = File::options().write(true).create_new(true).mode(mode).open(&new)?;
    let write = || {
        if let Some(there) = there {
            // Only root can give files away; whose mode it was else would be nobody's to read. A group of one's own anybody can.
            let owner = fchown(&file, Some(there.uid()), None).is_ok();
            let group = fchown(&file, None, Some(there.gid())).is_ok();
            file.set_permissions(Permissions::from_mode(kept(there.mode(), owner, group)))?;
        }
        fill(&mut file)?;
        file.sync_all()?;
        std::fs::rename(&new, path)
    };
    write().inspect_err(|_| {
        let _ = std::fs::remove_file(&new);
    })?;
    // So that it is there after a power cut too. A folder that may not be read, or of a system that does not know this, is as it is.
    match File::open(folder(path)).and_then(|folder| folder.sync_all()) {
        Err(error) if [ErrorKind::PermissionDenied, ErrorKind::InvalidInput, ErrorKind::Unsupported].contains(&error.kind()) => Ok(()),
        synced => synced,
    }
}

/// What is kept of a file's mode when its owner or its group are others: this group's members may what everybody may, and nothing
/// runs as anybody else.
fn kept(mode: u32, owner: bool, group: bool) -> u32 {
    let mode = if owner { mode & 0o7777 } else { mode & 0o3777 };
    if group { mode } else { (mode & 0o5707) | ((mode & 0o007) << 3) }
}

/// The folder that a file is in: of a bare name the current one.
fn folder(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

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

/// A text without a byte order mark and outer white space.
#[must_use]
pub fn trimmed(text: &str) -> &str {
    text.trim_matches(|c: char| c.is_whitespace() || c == '\u{feff}')
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
    fn a_file_is_replaced_with_its_mode_and_through_links() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let mode = |name: &str| std::fs::symlink_metadata(at(name)).unwrap().mode() & 0o7777;
        write_file(&at("usual"), b"new").unwrap();
        std::fs::write(at("plain"), b"").unwrap();
        assert_eq!((mode("usual"), std::fs::read(at("usual")).unwrap()), (mode("plain"), b"new".to_vec()));
        for bits in [0o600, 0o664, 0o640] {
            std::fs::set_permissions(at("usual"), Permissions::from_mode(bits)).unwrap();
            write_file(&at("usual"), b"newer").unwrap();
            assert_eq!(mode("usual"), bits);
        }
        // A link stays one, to a file that is there and to none yet.
        std::fs::create_dir(at("deeper")).unwrap();
        for (link, to) in [("link", "usual"), ("again", "link"), ("deep", "deeper/none yet")] {
            std::os::unix::fs::symlink(to, at(link)).unwrap();
            write_file(&at(link), link.as_bytes()).unwrap();
            assert!(std::fs::symlink_metadata(at(link)).unwrap().is_symlink());
        }
        assert_eq!((std::fs::read(at("usual")).unwrap(), mode("usual")), (b"again".to_vec(), 0o640));
        assert_eq!(std::fs::read(at("deeper/none yet")).unwrap(), b"deep");
        std::os::unix::fs::symlink("round", at("round")).unwrap();
        assert!(write_file(&at("round"), b"x").is_err());
        assert!(write_file(&folder.path().join(".."), b"x").is_err());
    }

    #[test]
    fn a_mode_that_was_meant_for_another_group_is_not_this_ones() {
        for (mode, owner, group, left) in [
            (0o100_640, true, true, 0o640),
            (0o100_640, false, true, 0o640),
            (0o100_640, false, false, 0o600),
            (0o664, true, false, 0o644),
            (0o604, true, false, 0o644),
            (0o6750, false, true, 0o2750),
            (0o6750, true, false, 0o4700),
            (0o7777, false, false, 0o1777),
        ] {
            assert_eq!(kept(mode, owner, group), left, "{mode:o} {owner} {group}");
        }
    }

    #[test]
    fn a_link_in_a_folder_of_devices_is_a_link() {
        let Ok(folder) = tempfile::tempdir_in("/dev/shm") else { return };
        let at = |name: &str| folder.path().join(name);
        std::os::unix::fs::symlink("first", at("latest")).unwrap();
        for text in ["long", "new"] {
            write_file(&at("latest"), text.as_bytes()).unwrap();
            assert_eq!(std::fs::read_to_string(at("first")).unwrap(), text);
        }
        assert!(std::fs::symlink_metadata(at("latest")).unwrap().is_symlink());
    }

    #[test]
    fn what_is_no_file_is_written_into_and_stays() {
        use std::os::unix::fs::FileTypeExt as _;
        let null = Path::new("/dev/null");
        write_file(null, b"gone").unwrap();
        assert!(std::fs::metadata(null).unwrap().file_type().is_char_device());
        // A pipe, by the name that the kernel has for it, and a file that is open, by its.
        let (mut reader, writer) = std::io::pipe().unwrap();
        let name = |fd: std::os::fd::RawFd| PathBuf::from(format!("/proc/self/fd/{fd}"));
        write_file(&name(std::os::fd::AsRawFd::as_raw_fd(&writer)), b"through").unwrap();
        drop(writer);
        let mut read = Vec::new();
        reader.read_to_end(&mut read).unwrap();
        assert_eq!(read, b"through");
        let mut open = tempfile::tempfile().unwrap();
        let name = name(std::os::fd::AsRawFd::as_raw_fd(&open));
        write_file(&name, b"in").unwrap();
        let folder = tempfile::tempdir().unwrap();
        // By links to the link, and to its folder.
        std::os::unix::fs::symlink(&name, folder.path().join("link")).unwrap();
        std::os::unix::fs::symlink("/dev/fd", folder.path().join("open")).unwrap();
        write_file(&folder.path().join("link"), b"t").unwrap();
        write_file(&folder.path().join("open").join(name.file_name().unwrap()), b"o").unwrap();
        let mut read = Vec::new();
        open.read_to_end(&mut read).unwrap();
        assert_eq!(read, b"into");
    }

    #[test]
    fn what_lies_in_the_way_of_the_new_file_is_not_followed() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        std::fs::write(at("precious"), b"as it was").unwrap();
        std::os::unix::fs::symlink("precious", at(&format!("out.txt.{}.new", std::process::id()))).unwrap();
        write_file(&at("out.txt"), b"new").unwrap();
        assert_eq!(std::fs::read(at("precious")).unwrap(), b"as it was");
        assert!(std::fs::symlink_metadata(at("out.txt")).unwrap().is_file());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2);
    }

    #[test]
    fn what_cannot_be_written_leaves_nothing_behind() {
        let folder = tempfile::tempdir().unwrap();
        let (taken, file) = (folder.path().join("taken"), folder.path().join("file"));
        std::fs::create_dir(&taken).unwrap();
        assert!(write_file(&taken, b"x").is_err());
        std::fs::write(&file, b"as it was").unwrap();
        assert!(write_file_by(&file, |file| file.write_all(b"half").and(Err(ErrorKind::StorageFull.into()))).is_err());
        assert_eq!((std::fs::read_dir(folder.path()).unwrap().count(), std::fs::read(&file).unwrap()), (2, b"as it was".to_vec()));
    }

    #[test]
    fn one_mark_is_passed_over() {
        assert_eq!(without_mark("\u{feff}{}".as_bytes()), b"{}");
        assert_eq!((without_mark(b"{}"), without_mark(b"")), (b"{}".as_slice(), b"".as_slice()));
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
