//! Three stages: one thread reads, every core examines chunks by themselves, and chunks are taken one
//! after the other, in their order. Nobody waits for a turn: who has examined a chunk takes the one whose
//! turn it is, if nobody else is at that, and else examines the next. So it is mostly the core that examined a
//! chunk that takes it, with what was made of it still in its cache. Where reading is much of the work, who reads does
//! the same as soon as the others have enough before them: then there are no more threads than cores. The number of
//! chunks between reading and taking is bounded, and so is their size. Chunks come back to the reader when they were taken, so that
//! their memory is used again.

use std::any::Any;
use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use vermilion_proto::Bytes;

/// Records in a chunk at most whose commands are opened: few enough to stay in a core's own cache from examining to taking, with
/// all that is made of them.
pub const CHUNK_RECORDS: usize = 128;
/// As many where nothing is made of a record but its hashes.
const CHUNK_HASHED: usize = 2048;

/// What is made of records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// Their hashes and nothing else.
    Hashed,
    /// Commands, and whatever follows from them.
    Opened,
}

impl Depth {
    /// Records in a chunk at most.
    const fn records(self) -> usize {
        match self {
            Self::Hashed => CHUNK_HASHED,
            Self::Opened => CHUNK_RECORDS,
        }
    }

    /// Whether who reads does the others' work too. Not where work is left beside: a batch of signatures would keep it from reading
    /// until the others have nothing before them.
    const fn reader_works(self) -> bool {
        matches!(self, Self::Hashed)
    }
}

/// Bytes of records in a chunk at most, but for a single larger record.
const CHUNK_BYTES: usize = 1 << 20;
/// Chunks under way for each core.
const CHUNKS_A_CORE: usize = 4;
/// Chunks read and not begun that are enough for each of the others: the reader then does what they do.
const AHEAD: usize = 2;

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

/// The chunks under way, and who may do what.
struct Line<T, F> {
    /// Chunks that the reader may fill.
    free: Vec<Chunk>,
    /// Those that are read, with their numbers, in order.
    read: VecDeque<(u64, Chunk)>,
    /// Those that are examined and wait for their turn.
    examined: BTreeMap<u64, (Chunk, thread::Result<T>)>,
    /// How many are neither free nor with the reader.
    under_way: usize,
    /// Whether the reader has ended.
    ended: bool,
    /// The number of the chunk whose turn it is.
    next: u64,
    /// None while somebody takes a chunk.
    take: Option<F>,
    /// Whether no chunk is to be taken any more.
    stopped: bool,
    panic: Option<Box<dyn Any + Send>>,
}

/// What there is to do.
enum Work<T, F> {
    Take(F, Chunk, thread::Result<T>),
    Examine(u64, Chunk),
}

/// What the reader is to do.
enum Next<T, F> {
    Fill(Chunk),
    Work(Work<T, F>),
}

impl<T, F> Line<T, F> {
    /// What to do first: a chunk whose turn it is keeps others waiting.
    fn work(&mut self) -> Option<Work<T, F>> {
        self.turn().or_else(|| self.read.pop_front().map(|(number, chunk)| Work::Examine(number, chunk)))
    }

    /// The chunk whose turn it is, if it is examined and nobody takes another.
    fn turn(&mut self) -> Option<Work<T, F>> {
        let take = self.take.take_if(|_| self.examined.contains_key(&self.next))?;
        self.examined.remove(&self.next).map(|(chunk, examined)| Work::Take(take, chunk, examined))
    }

    fn is_done(&self) -> bool {
        self.stopped || (self.ended && self.under_way == 0)
    }

    fn end_with(&mut self, panic: Box<dyn Any + Send>) {
        self.stopped = true;
        self.panic.get_or_insert(panic);
    }
}

/// The line, and those who wait at it.
struct Shared<T, F> {
    line: Mutex<Line<T, F>>,
    /// There is something to do, or nothing any more.
    work: Condvar,
    /// A chunk is free, or no more are wanted.
    freed: Condvar,
}

impl<T, F> Shared<T, F> {
    fn line(&self) -> MutexGuard<'_, Line<T, F>> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for something to do; none when all is done.
    fn work(&self) -> Option<Work<T, F>> {
        let mut line = self.line();
        loop {
            if line.is_done() {
                return None;
            }
            if let Some(work) = line.work() {
                return Some(work);
            }
            line = self.work.wait(line).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// What the reader is to do, and waits for it; none if no more is wanted. This is where a slow audit slows reading. `enough` is
    /// how many chunks that nobody has begun let it do the others' work, if it may.
    fn next(&self, from: u64, enough: Option<usize>) -> Option<Next<T, F>> {
        let mut line = self.line();
        loop {
            if line.stopped {
                return None;
            }
            if enough.is_some()
                && let Some(work) = line.turn()
            {
                return Some(Next::Work(work));
            }
            if enough.is_none_or(|enough| line.read.len() < enough)
                && let Some(mut chunk) = line.free.pop()
            {
                chunk.clear(from);
                return Some(Next::Fill(chunk));
            }
            // What was read last still lies in this core's cache.
            if enough.is_some()
                && let Some((number, chunk)) = line.read.pop_back()
            {
                return Some(Next::Work(Work::Examine(number, chunk)));
            }
            line = self.freed.wait(line).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// The reader has filled a chunk.
    fn filled(&self, number: u64, chunk: Chunk) {
        let chunk = chunk.seal();
        let mut line = self.line();
        line.under_way += 1;
        line.read.push_back((number, chunk));
        drop(line);
        self.work.notify_one();
    }

    /// Takes a chunk, and answers what it leaves to do.
    fn take<J>(&self, mut take: F, chunk: Chunk, examined: thread::Result<T>) -> Option<J>
    where
        F: FnMut(&Chunk, T) -> Taken<J>,
    {
        // A panic is carried to the caller: the other chunks would wait for this one's turn for ever.
        let taken = examined.and_then(|examined| catch_unwind(AssertUnwindSafe(|| take(&chunk, examined))));
        let mut line = self.line();
        line.next += 1;
        line.under_way -= 1;
        line.free.push(chunk);
        line.take = Some(take);
        let beside = match taken {
            Ok(Taken { go_on, beside }) => {
                line.stopped |= !go_on;
                beside
            }
            Err(panic) => {
                line.end_with(panic);
                None
            }
        };
        let all = line.is_done();
        drop(line);
        // Another may take the next chunk while this one does what is left; at the end all are to go.
        if all {
            self.work.notify_all();
        } else if beside.is_some() {
            self.work.notify_one();
        }
        self.freed.notify_one();
        beside
    }

    fn end_with(&self, panic: Box<dyn Any + Send>) {
        self.line().end_with(panic);
        self.work.notify_all();
        self.freed.notify_one();
    }
}

/// However the reader ends, the others do not wait for more.
struct Reading<'a, T, F>(&'a Shared<T, F>);

impl<T, F> Drop for Reading<'_, T, F> {
    fn drop(&mut self) {
        self.0.line().ended = true;
        self.0.work.notify_all();
    }
}

/// Runs the stages from the place `from` on until `read` returns, and returns what it returned. `read`
/// hands over one row after the other, in the order of places, and stops when told so. `take` gets
/// each chunk back with what was made of it, and answers whether to go on; `beside` does the work that
/// it leaves. `worker` makes what a thread keeps from one chunk to the next.
pub fn run<W, T: Send, J, R: Send>(
    from: u64,
    depth: Depth,
    read: impl FnOnce(&mut dyn FnMut(u64, &[u8]) -> bool) -> R + Send,
    worker: impl Fn() -> W + Sync,
    examine: impl Fn(&mut W, &Chunk) -> T + Sync,
    take: impl FnMut(&Chunk, T) -> Taken<J> + Send,
    beside: impl Fn(J) + Sync,
) -> R {
    let cores = cores();
    let enough = depth.reader_works().then_some((cores * AHEAD).saturating_sub(AHEAD).max(1));
    let others = if enough.is_some() { cores - 1 } else { cores };
    let line = Line {
        free: (0..cores * CHUNKS_A_CORE).map(|_| Chunk::default()).collect(),
        read: VecDeque::new(),
        examined: BTreeMap::new(),
        under_way: 0,
        ended: false,
        next: 0,
        take: Some(take),
        stopped: false,
        panic: None,
    };
    let shared = Shared { line: Mutex::new(line), work: Condvar::new(), freed: Condvar::new() };
    let step = |kept: &mut W, work| match work {
        Work::Examine(number, chunk) => {
            let examined = catch_unwind(AssertUnwindSafe(|| examine(kept, &chunk)));
            shared.line().examined.insert(number, (chunk, examined));
        }
        Work::Take(take, chunk, examined) => {
            if let Some(left) = shared.take(take, chunk, examined) {
                catch_unwind(AssertUnwindSafe(|| beside(left))).unwrap_or_else(|panic| shared.end_with(panic));
            }
        }
    };
    let work = |kept: &mut W| {
        while let Some(work) = shared.work() {
            step(kept, work);
        }
    };
    let answer = thread::scope(|scope| {
        let (shared, worker, step, work) = (&shared, &worker, &step, &work);
        // Before the others: where a thread cannot be made, those that were are to end too.
        let reading = Reading(shared);
        for _ in 0..others {
            scope.spawn(move || catch_unwind(AssertUnwindSafe(|| work(&mut worker()))).unwrap_or_else(|panic| shared.end_with(panic)));
        }
        let reader = scope.spawn(move || {
            // Only who works keeps anything.
            let mut kept = enough.map(|_| worker());
            let mut number = 0;
            let mut current: Option<Chunk> = None;
            let mut next = from;
            let mut free = |next| loop {
                match shared.next(next, enough) {
                    Some(Next::Fill(chunk)) => return Some(chunk),
                    Some(Next::Work(work)) => step(kept.get_or_insert_with(worker), work),
                    None => return None,
                }
            };
            let mut give = |place: u64, row: &[u8]| {
                // The chunk stays where it is from row to row: to move it is to wait until the row just copied is in the cache.
                let chunk = match &mut current {
                    Some(chunk) => chunk,
                    None => match free(next) {
                        Some(chunk) => current.insert(chunk),
                        None => return false,
                    },
                };
                next = place.saturating_add(1);
                if chunk.push(place, row, depth.records())
                    && let Some(chunk) = current.take()
                {
                    shared.filled(number, chunk);
                    number += 1;
                }
                true
            };
            let answer = read(&mut give);
            // There is always a last chunk, if only an empty one.
            if let Some(mut chunk) = current.take().or_else(|| free(next)) {
                chunk.last = true;
                shared.filled(number, chunk);
            }
            drop(reading);
            if let Some(kept) = &mut kept {
                work(kept);
            }
            answer
        });
        reader.join()
    });
    let line = shared.line.into_inner().unwrap_or_else(PoisonError::into_inner);
    line.panic.map_or(answer, Err).unwrap_or_else(|panic| resume_unwind(panic))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU64, Ordering};

    #[allow(clippy::type_complexity)] // A reader of records is what the pipeline takes.
    fn read(count: u64) -> impl FnOnce(&mut dyn FnMut(u64, &[u8]) -> bool) -> u64 + Send {
        move |give| (0..count).take_while(|n| give(*n, &vec![0; (*n % 999) as usize])).count() as u64
    }

    #[test]
    fn everything_comes_once_and_in_order() {
        let counts = [0, 1, 127, 128, 129, 2048, 20_000];
        for (depth, count) in [Depth::Opened, Depth::Hashed].into_iter().flat_map(|depth| counts.map(|count| (depth, count))) {
            let (mut seen, mut last, beside) = (0, 0, AtomicU64::new(0));
            let given = run(
                0,
                depth,
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
            Depth::Hashed,
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
        let places = ["read", "examine", "take", "beside"];
        for (depth, at) in [Depth::Opened, Depth::Hashed].into_iter().flat_map(|depth| places.map(|at| (depth, at))) {
            let meet = |here: &str| {
                if here == at {
                    panic!("{here}")
                }
            };
            let caught = catch_unwind(AssertUnwindSafe(|| {
                run(
                    0,
                    depth,
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
