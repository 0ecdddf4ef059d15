//! What an audit keeps beside itself, so that one that was broken off goes on where it was.
//!
//! The file holds how far the walk through the first source came and all that it found and computed,
//! the replayed state included: with a replay it is about as large as the ledger's state. It is bound
//! to ledger, source and options, and ends in a hash over all of it; one that is damaged or of another
//! audit is refused, never passed over. What was checked before is not read again, so the file must
//! lie where whoever is audited cannot write: the hash keeps nobody from making another.
//!
//! It is written once before anything is read: who cannot write it learns so then, and not when the work of hours is to be kept.
//! One that says that nothing was read yet is of any audit. While an audit uses it, a lock on the file beside it
//! (`<FILE>.lock`) keeps a second one away: they would write over each other's progress.
//!
//! | bytes | what |
//! |---|---|
//! | 8 | `VMAUDIT1` |
//! | 8 | length of the head, big-endian |
//! | | the head: [`Saved`] in protobuf |
//! | | state entries, each: length of key (4), of value (4), key, value |
//! | 32 | BLAKE3 over all before, under a context of its own |

use super::memory::ReplayState;
use super::replay::Replay;
use super::room::Room;
use super::saved::{DAMAGED, Progress, Saved};
use super::{Options, TrustFile};
use crate::files::write_private_by;
use std::fs::{File, TryLockError};
use std::io::{self, BufReader, BufWriter, Read, Seek as _, Write};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use vermilion_crypto::Digest;
use vermilion_crypto::hash::{Context, Hasher};

const MAGIC: &[u8; 8] = b"VMAUDIT1";
/// Context of the hash that ends the file.
static CTX_FILE: Context = Context::new("vermilion 2026-11 audit state v1");
/// Context of what the file is bound to.
static CTX_BOUND: Context = Context::new("vermilion 2026-11 audit binding v1");
/// As many bytes are read and written at once.
const PIECE: usize = 1 << 20;
/// Entries that the state takes at once.
const ENTRIES: usize = 1024;
/// The least time between two writes; and no more than a twentieth of the time goes into writing.
const EVERY: Duration = Duration::from_secs(60);

/// Where an audit keeps how far it is, and how it is told to break off.
#[derive(Clone, Debug)]
pub struct Keep {
    path: PathBuf,
    stop: Arc<AtomicBool>,
    kept: Arc<Mutex<Kept>>,
}

/// What was kept last.
#[derive(Clone, Copy, Debug)]
struct Kept {
    /// When.
    at: Instant,
    /// How long writing it took.
    took: Duration,
    /// The place from which it goes on.
    next: u64,
}

impl Keep {
    /// In this file.
    #[must_use]
    pub fn new(path: &Path) -> Self {
        let kept = Kept { at: Instant::now(), took: Duration::ZERO, next: 0 };
        Self { path: path.to_owned(), stop: Arc::default(), kept: Arc::new(Mutex::new(kept)) }
    }

    /// The file's name, for messages.
    #[must_use]
    pub fn name(&self) -> String {
        self.path.display().to_string()
    }

    /// What tells the audit to keep how far it is, and to break off.
    #[must_use]
    pub fn stop(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.stop)
    }

    /// Whether it is to break off.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Whether it is time to write.
    pub fn is_due(&self) -> bool {
        let Kept { at, took, .. } = *self.kept();
        self.is_stopped() || at.elapsed() >= EVERY.max(took * 20)
    }

    /// What is said where the audit ends before its end.
    #[must_use]
    pub fn broken_off(&self) -> String {
        format!("broken off; the same call goes on from record {} 已中断，重新执行同一命令即可继续", self.kept().next)
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps others from the file until the lock is dropped.
    pub fn lock(&self) -> Result<Lock, String> {
        let path = beside(&self.path, ".lock");
        let failed = |error: std::io::Error| format!("{}: {error}", path.display());
        loop {
            let file = File::options().write(true).create(true).truncate(false).open(&path).map_err(failed)?;
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => {
                    return Err("another audit keeps here how far it is: wait until it ends, or name another file with --state".into());
                }
                Err(TryLockError::Error(error)) => return Err(failed(error)),
            }
            // Whoever had it before may have taken the file away after it was opened here: then this lock holds nobody back.
            let held = file.metadata().map_err(failed)?;
            if std::fs::metadata(&path).is_ok_and(|there| (there.dev(), there.ino()) == (held.dev(), held.ino())) {
                return Ok(Lock { path, _file: file });
            }
        }
    }

    /// The folder beside the file for what does not fit in memory.
    #[must_use]
    pub fn scratch(&self) -> PathBuf {
        beside(&self.path, ".scratch")
    }

    /// The name of the source whose walk the file holds, by its own word: that it is whole and of this audit is for
    /// [`Keep::begin`] to see.
    pub fn walked(&self) -> Option<String> {
        let mut file = File::open(&self.path).ok()?;
        let left = file.metadata().ok()?.len();
        Saved::walked(&Rest { from: BufReader::new(&mut file), left }.head().ok()?)
    }

    /// Reads the file: whether there is something to go on from. If not, it is written, so that it is known that it can be;
    /// a file with something in it could be.
    pub fn begin(&self, bound: &Bound, room: &Room) -> Result<Option<(Progress, Option<Replay>)>, String> {
        let say = |why: String| format!("{}: {why}", self.path.display());
        let found = match File::open(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(say(error.to_string())),
            Ok(mut file) => read(&mut file, bound, room).map_err(say)?,
        };
        self.kept().next = found.as_ref().map_or(0, |(progress, _)| progress.next);
        if found.is_none() {
            self.write(bound, &Progress::default(), None).map_err(|why| format!("how far the audit is cannot be kept: {why}"))?;
        }
        Ok(found)
    }

    /// Writes the file.
    pub fn save(&self, bound: &Bound, progress: &Progress, replay: Option<&Replay>) -> Result<(), String> {
        let begun = Instant::now();
        self.write(bound, progress, replay)?;
        *self.kept() = Kept { at: Instant::now(), took: begun.elapsed(), next: progress.next };
        Ok(())
    }

    /// Entry by entry: with a replay the file may be larger than memory.
    fn write(&self, bound: &Bound, progress: &Progress, replay: Option<&Replay>) -> Result<(), String> {
        let write = |file: &mut File| {
            let mut out = Hashed { out: BufWriter::with_capacity(PIECE, file), hasher: Hasher::new(&CTX_FILE) };
            let head = Saved::encode(bound, progress, replay);
            out.write(MAGIC)?;
            out.write(&(head.len() as u64).to_be_bytes())?;
            out.write(&head)?;
            if let Some(replay) = replay {
                let mut written = Ok(());
                let each = replay.state().for_each(&mut |key, value| {
                    if written.is_ok() {
                        written = out.entry(key, value);
                    }
                });
                each.map_err(io::Error::other)?;
                written?;
            }
            let hash = out.hasher.finish();
            out.out.write_all(&hash)?;
            out.out.flush()
        };
        // What it holds is nobody else's to read: the replayed state.
        write_private_by(&self.path, write).map_err(|error| error.to_string())
    }

    /// Takes the file away once the audit came to its end.
    pub fn done(&self) {
        // One that is left over is of a walk that ended: going on from it reads nothing again.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// What keeps other audits from the file. The file of the lock goes with it; one that a kill left behind is nobody's.
#[derive(Debug)]
pub struct Lock {
    path: PathBuf,
    _file: File,
}

impl Drop for Lock {
    fn drop(&mut self) {
        // While it is still held: whoever opens it meanwhile finds it gone and tries again.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// The path of a file beside another, its name with more behind it.
fn beside(path: &Path, more: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(more);
    name.into()
}

/// What a file is bound to.
#[derive(Clone, Debug, Default)]
pub struct Bound {
    /// The name of the source that is walked.
    pub walked: String,
    /// The ledger, the sources, that one first, and what is checked against what.
    pub digest: Digest,
}

/// What a file is bound to, of sources by name behind the one that is walked.
#[must_use]
pub fn bound(ledger_id: &str, sources: &[String], options: &Options) -> Bound {
    let trust = options.trust.as_ref().and_then(|trust| serde_json::to_vec(&TrustFile::of(trust)).ok()).unwrap_or_default();
    let mut hasher = Hasher::new(&CTX_BOUND);
    hasher.field(ledger_id.as_bytes()).update(&[u8::from(options.signatures), u8::from(options.replay)]);
    hasher.update(&(sources.len() as u64).to_be_bytes());
    for source in sources {
        hasher.field(source.as_bytes());
    }
    hasher.field(&trust).field(options.genesis.as_deref().unwrap_or_default());
    Bound { walked: sources.first().cloned().unwrap_or_default(), digest: hasher.finish() }
}

/// What is written, hashed on its way.
struct Hashed<W> {
    out: W,
    hasher: Hasher,
}

impl<W: Write> Hashed<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.hasher.update(bytes);
        self.out.write_all(bytes)
    }

    fn entry(&mut self, key: &[u8], value: &[u8]) -> io::Result<()> {
        for len in [key.len(), value.len()] {
            // Keys and values of the state are far below 4 GiB.
            self.write(&(len as u32).to_be_bytes())?;
        }
        self.write(key)?;
        self.write(value)
    }
}

/// What a file holds; nothing of one that was written before anything was read. It is read twice: nothing of it counts before
/// its hash does.
fn read(file: &mut File, bound: &Bound, room: &Room) -> Result<Option<(Progress, Option<Replay>)>, String> {
    let damaged = || DAMAGED.to_owned();
    let len = file.metadata().map_err(told)?.len().checked_sub(32).ok_or_else(damaged)?;
    if !is_whole(file, len).map_err(told)? {
        return Err(damaged());
    }
    file.rewind().map_err(told)?;
    let mut rest = Rest { from: BufReader::with_capacity(PIECE, file), left: len };
    let Some(mut saved) = Saved::read(&rest.head()?, bound)? else { return Ok(None) };
    let replay = match saved.replay() {
        None => None,
        Some((rules, erased)) => Some(Replay::restore(rest.state(room)?, rules, erased)?),
    };
    Ok(Some((saved.progress()?, replay)))
}

fn told(error: io::Error) -> String {
    error.to_string()
}

/// Whether the hash at the end is that of the bytes before it.
fn is_whole(file: &mut File, len: u64) -> io::Result<bool> {
    let mut hasher = Hasher::new(&CTX_FILE);
    let (mut piece, mut left) = (vec![0; PIECE], len);
    while left > 0 {
        let some = usize::try_from(left).unwrap_or(PIECE).min(PIECE);
        let piece = piece.get_mut(..some).unwrap_or_default();
        file.read_exact(piece)?;
        hasher.update(piece);
        left -= some as u64;
    }
    let mut hash = [0; 32];
    file.read_exact(&mut hash)?;
    Ok(hash == hasher.finish())
}

/// What is left of a file.
struct Rest<'a> {
    from: BufReader<&'a mut File>,
    left: u64,
}

impl Rest<'_> {
    fn take(&mut self, len: u64) -> Result<Vec<u8>, String> {
        // Nothing is asked of memory that the file does not have.
        self.left = self.left.checked_sub(len).ok_or(DAMAGED)?;
        let mut bytes = vec![0; usize::try_from(len).map_err(|_| DAMAGED)?];
        self.from.read_exact(&mut bytes).map_err(told)?;
        Ok(bytes)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], String> {
        self.take(N as u64)?.try_into().map_err(|_| DAMAGED.to_owned())
    }

    /// What stands before the entries.
    fn head(&mut self) -> Result<Vec<u8>, String> {
        if self.take(MAGIC.len() as u64)? != MAGIC {
            return Err(DAMAGED.to_owned());
        }
        let len = u64::from_be_bytes(self.array()?);
        self.take(len)
    }

    /// The entries of a state.
    fn state(&mut self, room: &Room) -> Result<ReplayState, String> {
        let mut state = ReplayState::new(room);
        let mut entries = Vec::with_capacity(ENTRIES);
        while self.left > 0 {
            let (key, value) = (u32::from_be_bytes(self.array()?), u32::from_be_bytes(self.array()?));
            entries.push((self.take(key.into())?, Some(self.take(value.into())?)));
            if entries.len() == ENTRIES || self.left == 0 {
                state.write(std::mem::replace(&mut entries, Vec::with_capacity(ENTRIES))).map_err(|error| error.to_string())?;
            }
        }
        Ok(state)
    }
}
