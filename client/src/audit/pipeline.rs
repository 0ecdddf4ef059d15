//! Three stages: one thread reads, every core examines chunks by themselves, and the caller takes
//! them in order. The number of chunks between reading and taking is bounded, and so is their size.
//! Chunks come back to the reader when they were taken, so that their memory is used again.

use std::collections::BTreeMap;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::mpsc::{channel, sync_channel};
use std::sync::{Mutex, PoisonError};
use std::thread;

/// Records in a chunk at most: with two signatures each, a batch of 4,096.
pub const CHUNK_RECORDS: usize = 2048;
/// Bytes of records in a chunk at most, but for a single larger record.
const CHUNK_BYTES: usize = 4 << 20;
/// Chunks under way for each core, 12 MiB of records. Examined, they take about three times that.
const CHUNKS_A_CORE: usize = 3;

/// Records with their places, as they are stored.
#[derive(Default, Debug)]
pub struct Chunk {
    /// The place after the chunk before: what lies from here on to the last row is the chunk's.
    pub from: u64,
    /// Whether it is the last one, to which everything beyond it belongs.
    pub last: bool,
    rows: Vec<(u64, Range<usize>)>,
    bytes: Vec<u8>,
}

impl Chunk {
    /// Adds a row; answers whether the chunk is full.
    fn push(&mut self, place: u64, row: &[u8]) -> bool {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(row);
        self.rows.push((place, start..self.bytes.len()));
        self.rows.len() >= CHUNK_RECORDS || self.bytes.len() >= CHUNK_BYTES
    }

    /// Empties it for what comes from a place on.
    fn clear(&mut self, from: u64) {
        self.rows.clear();
        self.bytes.clear();
        // Once and for all, and not by doubling.
        self.rows.reserve(CHUNK_RECORDS);
        self.bytes.reserve(CHUNK_BYTES);
        (self.from, self.last) = (from, false);
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

/// Runs the stages from the place `from` on until `read` returns, and returns what it returned. `read`
/// hands over one row after the other, in the order of places, and stops when told so. `take` gets
/// each chunk back with what was made of it, and answers whether to go on. `worker` makes what a core
/// keeps from one chunk to the next.
pub fn run<W, T: Send, R: Send>(
    from: u64,
    read: impl FnOnce(&mut dyn FnMut(u64, &[u8]) -> bool) -> R + Send,
    worker: impl Fn() -> W + Sync,
    examine: impl Fn(&mut W, &Chunk) -> T + Sync,
    mut take: impl FnMut(&Chunk, T) -> bool,
) -> R {
    let cores = cores();
    let (permits, permitted) = channel();
    for _ in 0..cores * CHUNKS_A_CORE {
        // The receiver lives in the reader, which has not begun.
        let _ = permits.send(Chunk::default());
    }
    let (jobs, queue) = sync_channel::<(u64, Chunk)>(cores * CHUNKS_A_CORE);
    let queue = Mutex::new(queue);
    let (done, results) = channel();
    thread::scope(|scope| {
        let (queue, worker, examine) = (&queue, &worker, &examine);
        for _ in 0..cores {
            let done = done.clone();
            scope.spawn(move || {
                let mut kept = worker();
                loop {
                    let job = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
                    let Ok((number, chunk)) = job else { return };
                    // A panic is carried to the caller, who would wait for this chunk for ever.
                    let result = catch_unwind(AssertUnwindSafe(|| examine(&mut kept, &chunk)));
                    if done.send((number, chunk, result)).is_err() {
                        return;
                    }
                }
            });
        }
        drop(done);
        let reader = scope.spawn(move || {
            let mut number = 0;
            let mut current: Option<Chunk> = None;
            let mut next = from;
            let mut give = |place: u64, row: &[u8]| {
                let mut chunk = match current.take() {
                    Some(chunk) => chunk,
                    // A chunk comes back for each that was taken: this is where a slow audit slows reading.
                    None => match permitted.recv() {
                        Ok(mut chunk) => {
                            chunk.clear(next);
                            chunk
                        }
                        Err(_) => return false,
                    },
                };
                next = place.saturating_add(1);
                if !chunk.push(place, row) {
                    current = Some(chunk);
                    return true;
                }
                number += 1;
                jobs.send((number - 1, chunk)).is_ok()
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
                let _ = jobs.send((number, chunk));
            }
            answer
        });
        let mut early = BTreeMap::new();
        let mut next = 0;
        // Dropping the permits stops the reader; the rest then drains.
        let mut permits = Some(permits);
        for (number, chunk, result) in results {
            early.insert(number, (chunk, result.unwrap_or_else(|panic| resume_unwind(panic))));
            while let Some((chunk, result)) = early.remove(&next) {
                next += 1;
                if permits.is_some() && !take(&chunk, result) {
                    permits = None;
                }
                if let Some(permits) = &permits {
                    let _ = permits.send(chunk);
                }
            }
        }
        reader.join().unwrap_or_else(|panic| resume_unwind(panic))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[allow(clippy::type_complexity)] // A reader of records is what the pipeline takes.
    fn read(count: u64) -> impl FnOnce(&mut dyn FnMut(u64, &[u8]) -> bool) -> u64 + Send {
        move |give| (0..count).take_while(|n| give(*n, &vec![0; (*n % 999) as usize])).count() as u64
    }

    #[test]
    fn everything_comes_once_and_in_order() {
        for count in [0, 1, 2047, 2048, 2049, 20_000] {
            let (mut seen, mut last) = (0, 0);
            let given = run(
                0,
                read(count),
                || (),
                |(), chunk| chunk.rows().map(|(n, row)| (n, row.len())).collect::<Vec<_>>(),
                |chunk, rows| {
                    assert_eq!(chunk.from, seen);
                    last += u64::from(chunk.last);
                    for (n, len) in rows {
                        assert_eq!((n, len as u64), (seen, seen % 999));
                        seen += 1;
                    }
                    true
                },
            );
            assert_eq!((given, seen, last), (count, count, 1));
        }
    }

    #[test]
    fn the_reader_stops_when_told() {
        let mut chunks = 0;
        let given = run(
            0,
            read(1_000_000),
            || (),
            |(), chunk| chunk.len(),
            |_, _| {
                chunks += 1;
                chunks < 3
            },
        );
        assert_eq!(chunks, 3);
        assert!(given < 1_000_000 / 2);
    }
}
