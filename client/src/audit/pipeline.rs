//! Three stages: one thread reads, every core examines chunks by themselves, and the caller takes
//! them in order. The number of chunks between reading and taking is bounded, and so is their size.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::mpsc::{channel, sync_channel};
use std::sync::{Mutex, PoisonError};
use std::thread;
use vermilion_proto::StoredRecord;

/// Records in a chunk at most: with two signatures each, a batch of 1,536.
pub const CHUNK_RECORDS: usize = 768;
/// Bytes of records in a chunk at most, but for a single larger record.
const CHUNK_BYTES: usize = 4 << 20;
/// Chunks under way for each core: several thousand records, at most some 32 MiB.
const CHUNKS_A_CORE: usize = 4;

/// Records with their places.
pub type Chunk = Vec<(u64, StoredRecord)>;

/// How many cores there are to use.
#[must_use]
pub fn cores() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}

fn size(record: &StoredRecord) -> usize {
    record.record.len() + record.items.iter().map(|item| item.len()).sum::<usize>()
}

/// Runs the stages until `read` returns, and returns what it returned. `read` hands over one record
/// after the other and stops when told so. `take` answers whether to go on.
pub fn run<T: Send, R: Send>(
    read: impl FnOnce(&mut dyn FnMut(u64, StoredRecord) -> bool) -> R + Send,
    examine: impl Fn(Chunk) -> T + Sync,
    mut take: impl FnMut(T) -> bool,
) -> R {
    let cores = cores();
    let (permits, permitted) = channel();
    for _ in 0..cores * CHUNKS_A_CORE {
        // The receiver lives in the reader, which has not begun.
        let _ = permits.send(());
    }
    let (jobs, queue) = sync_channel::<(u64, Chunk)>(cores * CHUNKS_A_CORE);
    let queue = Mutex::new(queue);
    let (done, results) = channel();
    thread::scope(|scope| {
        let (queue, examine) = (&queue, &examine);
        for _ in 0..cores {
            let done = done.clone();
            scope.spawn(move || {
                loop {
                    let job = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
                    let Ok((number, chunk)) = job else { return };
                    // A panic is carried to the caller, who would wait for this chunk for ever.
                    let result = catch_unwind(AssertUnwindSafe(|| examine(chunk)));
                    if done.send((number, result)).is_err() {
                        return;
                    }
                }
            });
        }
        drop(done);
        let reader = scope.spawn(move || {
            let mut pending = Pending::default();
            let mut number = 0;
            let mut hand_over = |chunk: Chunk| {
                // A permit comes back for each chunk taken: this is where a slow audit slows reading.
                let sent = permitted.recv().is_ok() && jobs.send((number, chunk)).is_ok();
                number += 1;
                sent
            };
            let answer = read(&mut |seq, record| pending.push(seq, record).is_none_or(&mut hand_over));
            if !pending.chunk.is_empty() {
                hand_over(pending.chunk);
            }
            answer
        });
        let mut early = BTreeMap::new();
        let mut next = 0;
        // Dropping the permits stops the reader; the rest then drains.
        let mut permits = Some(permits);
        for (number, result) in results {
            early.insert(number, result.unwrap_or_else(|panic| resume_unwind(panic)));
            while let Some(result) = early.remove(&next) {
                next += 1;
                if permits.is_some() && !take(result) {
                    permits = None;
                }
                if let Some(permits) = &permits {
                    let _ = permits.send(());
                }
            }
        }
        reader.join().unwrap_or_else(|panic| resume_unwind(panic))
    })
}

#[derive(Default)]
struct Pending {
    chunk: Chunk,
    bytes: usize,
}

impl Pending {
    /// Adds a record; gives the chunk out once it is full.
    fn push(&mut self, seq: u64, record: StoredRecord) -> Option<Chunk> {
        self.bytes += size(&record);
        self.chunk.push((seq, record));
        if self.chunk.len() < CHUNK_RECORDS && self.bytes < CHUNK_BYTES {
            return None;
        }
        self.bytes = 0;
        Some(std::mem::replace(&mut self.chunk, Vec::with_capacity(CHUNK_RECORDS)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(count: u64) -> impl FnOnce(&mut dyn FnMut(u64, StoredRecord) -> bool) -> u64 + Send {
        move |give| {
            (0..count).take_while(|n| give(*n, StoredRecord { record: vec![0; (*n % 999) as usize].into(), ..Default::default() })).count()
                as u64
        }
    }

    #[test]
    fn everything_comes_once_and_in_order() {
        for count in [0, 1, 767, 768, 769, 20_000] {
            let mut seen = 0;
            let given = run(
                read(count),
                |chunk| chunk.iter().map(|(n, _)| *n).collect::<Vec<_>>(),
                |numbers| {
                    for n in numbers {
                        assert_eq!(n, seen);
                        seen += 1;
                    }
                    true
                },
            );
            assert_eq!((given, seen), (count, count));
        }
    }

    #[test]
    fn the_reader_stops_when_told() {
        let mut chunks = 0;
        let given = run(
            read(1_000_000),
            |chunk| chunk.len(),
            |_| {
                chunks += 1;
                chunks < 3
            },
        );
        assert_eq!(chunks, 3);
        assert!(given < 1_000_000 / 2);
    }
}
