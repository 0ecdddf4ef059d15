//! Three stages: one thread reads, every core examines chunks by themselves, and whoever examined a
//! chunk takes it when its turn has come: what was made of it is still in that core's cache, and goes
//! back to where it was allocated. The number of chunks between reading and taking is bounded, and so is
//! their size. Chunks come back to the reader when they were taken, so that their memory is used again.

use std::any::Any;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{channel, sync_channel};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use vermilion_proto::Bytes;

/// Records in a chunk at most: few enough to stay in a core's own cache from examining to taking, with all
/// that is made of them.
pub const CHUNK_RECORDS: usize = 128;
/// As many where nothing is made of a record but its hashes.
pub const CHUNK_HASHED: usize = 2048;
/// Bytes of records in a chunk at most, but for a single larger record.
const CHUNK_BYTES: usize = 1 << 20;
/// Chunks under way for each core.
const CHUNKS_A_CORE: usize = 4;

/// Records with their places, as they are stored.
#[derive(Default, Debug)]
pub struct Chunk {
    /// The place after the chunk before: what lies from here on to the last row is the chunk's.
    pub from: u64,
    /// Whether it is the last one, to which everything beyond it belongs.
    pub last: bool,
    rows: Vec<(u64, Range<usize>)>,
    /// Its rows' bytes while they are read.
    filling: Vec<u8>,
    /// The same once they all are: commands are opened from slices of them.
    bytes: Bytes,
}

impl Chunk {
    /// Adds a row; answers whether the chunk is full.
    fn push(&mut self, place: u64, row: &[u8], most: usize) -> bool {
        let start = self.filling.len();
        self.filling.extend_from_slice(row);
        self.rows.push((place, start..self.filling.len()));
        self.rows.len() >= most || self.filling.len() >= CHUNK_BYTES
    }

    /// Nothing is added any more.
    fn seal(mut self) -> Self {
        self.bytes = std::mem::take(&mut self.filling).into();
        self
    }

    /// Empties it for what comes from a place on.
    fn clear(&mut self, from: u64) {
        let bytes = std::mem::take(&mut self.bytes);
        if bytes.is_unique() {
            self.filling = bytes.into();
        }
        self.rows.clear();
        self.filling.clear();
        (self.from, self.last) = (from, false);
    }

    /// A part of one of its rows, not copied.
    #[must_use]
    pub fn slice(&self, part: &[u8]) -> Bytes {
        if part.is_empty() { Bytes::new() } else { self.bytes.slice_ref(part) }
    }

    /// How many rows it has.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Its rows: place, and encoded `StoredRecord`.
    pub fn rows(&self) -> impl Iterator<Item = (u64, &[u8])> {
        self.rows.iter().map(|(place, range)| (*place, self.bytes.get(range.clone()).unwrap_or_default()))
    }

    /// One of its rows.
    #[must_use]
    pub fn row(&self, at: usize) -> &[u8] {
        self.rows.get(at).and_then(|(_, range)| self.bytes.get(range.clone())).unwrap_or_default()
    }
}

/// How many cores there are to use.
#[must_use]
pub fn cores() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}

/// What becomes of a chunk that was taken.
pub struct Taken<J> {
    /// Whether to go on.
    pub go_on: bool,
    /// Work that need not be done in turn: it is done by whoever took the chunk, while others take theirs.
    pub beside: Option<J>,
}

/// The chunks' turns: one is taken after the other, by whoever examined it.
struct Turns<F> {
    line: Mutex<Line<F>>,
    moved: Condvar,
    /// Tells the reader.
    stopped: AtomicBool,
}

struct Line<F> {
    /// The chunk whose turn it is.
    next: u64,
    /// None once told to stop.
    take: Option<F>,
    panic: Option<Box<dyn Any + Send>>,
}

impl<F> Turns<F> {
    fn line(&self) -> MutexGuard<'_, Line<F>> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for a chunk's turn and takes it, unless told to stop before.
    fn take<T, J>(&self, number: u64, chunk: &Chunk, examined: thread::Result<T>) -> Option<J>
    where
        F: FnMut(&Chunk, T) -> Taken<J>,
    {
        let mut line = self.line();
        while line.next != number {
            line = self.moved.wait(line).unwrap_or_else(PoisonError::into_inner);
        }
        line.next += 1;
        let mut beside = None;
        if let Some(take) = &mut line.take {
            // A panic is carried to the caller: the other chunks would wait for this one's turn for ever.
            match examined.and_then(|examined| catch_unwind(AssertUnwindSafe(|| take(chunk, examined)))) {
                Ok(taken) => {
                    beside = taken.beside;
                    if !taken.go_on {
                        line.take = None;
                    }
                }
                Err(panic) => line.end_with(panic),
            }
        }
        self.stopped.fetch_or(line.take.is_none(), Ordering::Relaxed);
        drop(line);
        self.moved.notify_all();
        beside
    }
}

impl<F> Line<F> {
    fn end_with(&mut self, panic: Box<dyn Any + Send>) {
        (self.take, self.panic) = (None, Some(panic));
    }
}

/// Runs the stages, chunks of at most `most` records, from the place `from` on until `read` returns, and returns what it returned. `read`
/// hands over one row after the other, in the order of places, and stops when told so. `take` gets
/// each chunk back with what was made of it, and answers whether to go on; `beside` does the work that
/// it leaves. `worker` makes what a thread keeps from one chunk to the next.
pub fn run<W, T, J, R: Send>(
    from: u64,
    most: usize,
    read: impl FnOnce(&mut dyn FnMut(u64, &[u8]) -> bool) -> R + Send,
    worker: impl Fn() -> W + Sync,
    examine: impl Fn(&mut W, &Chunk) -> T + Sync,
    take: impl FnMut(&Chunk, T) -> Taken<J> + Send,
    beside: impl Fn(J) + Sync,
) -> R {
    let cores = cores();
    let (permits, permitted) = channel();
    for _ in 0..cores * CHUNKS_A_CORE {
        // The receiver lives in the reader, which has not begun.
        let _ = permits.send(Chunk::default());
    }
    let (jobs, queue) = sync_channel::<(u64, Chunk)>(cores * CHUNKS_A_CORE);
    let queue = Mutex::new(queue);
    let line = Mutex::new(Line { next: 0, take: Some(take), panic: None });
    let turns = Turns { line, moved: Condvar::new(), stopped: AtomicBool::new(false) };
    let answer = thread::scope(|scope| {
        let (queue, worker, examine, beside, turns) = (&queue, &worker, &examine, &beside, &turns);
        // One more than there are cores: one waits for its turn.
        for _ in 0..=cores {
            let permits = permits.clone();
            scope.spawn(move || {
                let mut kept = worker();
                loop {
                    let job = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
                    let Ok((number, chunk)) = job else { return };
                    let examined = catch_unwind(AssertUnwindSafe(|| examine(&mut kept, &chunk)));
                    let left = turns.take(number, &chunk, examined);
                    // The reader may have ended.
                    let _ = permits.send(chunk);
                    if let Some(Err(panic)) = left.map(|left| catch_unwind(AssertUnwindSafe(|| beside(left)))) {
                        turns.line().end_with(panic);
                    }
                }
            });
        }
        drop(permits);
        let reader = scope.spawn(move || {
            let mut number = 0;
            let mut current: Option<Chunk> = None;
            let mut next = from;
            let mut give = |place: u64, row: &[u8]| {
                let mut chunk = match current.take() {
                    Some(chunk) => chunk,
                    // A chunk comes back for each that was taken: this is where a slow audit slows reading.
                    None => match permitted.recv() {
                        Ok(mut chunk) if !turns.stopped.load(Ordering::Relaxed) => {
                            chunk.clear(next);
                            chunk
                        }
                        _ => return false,
                    },
                };
                next = place.saturating_add(1);
                if !chunk.push(place, row, most) {
                    current = Some(chunk);
                    return true;
                }
                number += 1;
                jobs.send((number - 1, chunk.seal())).is_ok()
            };
            let answer = read(&mut give);
            // There is always a last chunk, if only an empty one.
            let rest = current.take().or_else(|| {
                let mut chunk: Chunk = permitted.recv().ok()?;
                chunk.clear(next);
                Some(chunk)
            });
            if let Some(mut chunk) = rest {
                chunk.last = true;
                let _ = jobs.send((number, chunk.seal()));
            }
            answer
        });
        reader.join()
    });
    let line = turns.line.into_inner().unwrap_or_else(PoisonError::into_inner);
    line.panic.map_or(answer, Err).unwrap_or_else(|panic| resume_unwind(panic))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicU64;

    #[allow(clippy::type_complexity)] // A reader of records is what the pipeline takes.
    fn read(count: u64) -> impl FnOnce(&mut dyn FnMut(u64, &[u8]) -> bool) -> u64 + Send {
        move |give| (0..count).take_while(|n| give(*n, &vec![0; (*n % 999) as usize])).count() as u64
    }

    #[test]
    fn everything_comes_once_and_in_order() {
        for count in [0, 1, 127, 128, 129, 20_000] {
            let (mut seen, mut last, beside) = (0, 0, AtomicU64::new(0));
            let given = run(
                0,
                CHUNK_RECORDS,
                read(count),
                || (),
                |(), chunk| chunk.rows().map(|(n, row)| (n, row.len())).collect::<Vec<_>>(),
                |chunk, rows| {
                    assert_eq!(chunk.from, seen);
                    last += u64::from(chunk.last);
                    let first = seen;
                    for (n, len) in rows {
                        assert_eq!((n, len as u64), (seen, seen % 999));
                        seen += 1;
                    }
                    Taken { go_on: true, beside: Some(seen - first) }
                },
                |some| {
                    beside.fetch_add(some, Ordering::Relaxed);
                },
            );
            assert_eq!((given, seen, last), (count, count, 1));
            assert_eq!(beside.into_inner(), count);
        }
    }

    #[test]
    fn the_reader_stops_when_told() {
        let mut chunks = 0;
        let given = run(
            0,
            CHUNK_HASHED,
            read(1_000_000),
            || (),
            |(), chunk| chunk.len(),
            |_, _| {
                chunks += 1;
                Taken { go_on: chunks < 3, beside: None }
            },
            |()| {},
        );
        assert_eq!(chunks, 3);
        assert!(given < 1_000_000 / 2);
    }

    #[test]
    #[allow(clippy::panic)]
    fn a_panic_anywhere_is_carried_to_the_caller() {
        for at in ["read", "examine", "take", "beside"] {
            let meet = |here: &str| {
                if here == at {
                    panic!("{here}")
                }
            };
            let caught = catch_unwind(AssertUnwindSafe(|| {
                run(
                    0,
                    CHUNK_RECORDS,
                    |give| {
                        let count = read(20_000)(give);
                        meet("read");
                        count
                    },
                    || (),
                    |(), chunk| {
                        if chunk.from > 5000 {
                            meet("examine");
                        }
                    },
                    |_, ()| {
                        meet("take");
                        Taken { go_on: true, beside: Some(()) }
                    },
                    |()| meet("beside"),
                )
            }));
            assert!(caught.is_err(), "{at}");
        }
    }
}
