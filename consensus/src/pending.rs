//! Commands that wait for a block.

use std::collections::VecDeque;

use bytes::Bytes;

use crate::{DriverConfig, SubmitError};

/// A bounded queue. Full means "busy", never growth.
///
/// Invariant: `bytes` is the sum of the waiting commands' lengths.
#[derive(Debug)]
pub(crate) struct Pending {
    queue: VecDeque<(u64, Bytes)>,
    bytes: usize,
    max_commands: usize,
    max_bytes: usize,
    max_command: usize,
    block_commands: usize,
    block_bytes: usize,
}

impl Pending {
    pub fn new(config: &DriverConfig) -> Self {
        Self {
            queue: VecDeque::new(),
            bytes: 0,
            max_commands: config.max_pending_commands,
            max_bytes: config.max_pending_bytes,
            max_command: config.max_command_bytes,
            block_commands: config.max_block_commands,
            block_bytes: config.max_block_bytes,
        }
    }

    pub fn len(&self) -> usize {
        self.queue.len()
    }

    pub fn bytes(&self) -> usize {
        self.bytes
    }

    pub fn push(&mut self, token: u64, command: Bytes) -> Result<(), SubmitError> {
        let size = command.len();
        if size > self.max_command {
            return Err(SubmitError::TooLarge { size, limit: self.max_command });
        }
        if self.queue.len() >= self.max_commands || self.bytes + size > self.max_bytes {
            return Err(SubmitError::Busy);
        }
        self.bytes += size;
        self.queue.push_back((token, command));
        Ok(())
    }

    /// The commands that the next block holds, in order, without taking them. The handles are cheap: the bytes are shared.
    /// The first one stands in any case, so that a large command gets through.
    pub fn block(&self) -> Vec<Bytes> {
        let mut bytes = 0usize;
        let fits = |(_, command): &&(u64, Bytes)| {
            let first = bytes == 0;
            bytes = bytes.saturating_add(command.len().max(1));
            first || bytes <= self.block_bytes
        };
        self.queue.iter().take(self.block_commands).take_while(fits).map(|(_, command)| command.clone()).collect()
    }

    /// Takes the first `count` commands out: they are in the log, and only the state machine can tell what becomes of them.
    pub fn taken(&mut self, count: usize) {
        for (_, command) in self.queue.drain(..count.min(self.queue.len())) {
            self.bytes -= command.len();
        }
    }

    /// Takes everything out, for these tokens to be told.
    pub fn flush(&mut self) -> Vec<u64> {
        self.bytes = 0;
        self.queue.drain(..).map(|(token, _)| token).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pending() -> Pending {
        let mut config = DriverConfig::new(1, 0);
        config.max_pending_commands = 4;
        config.max_pending_bytes = 100;
        config.max_command_bytes = 60;
        config.max_block_bytes = 30;
        config.max_block_commands = 3;
        Pending::new(&config)
    }

    fn sizes(pending: &Pending) -> Vec<usize> {
        pending.block().iter().map(Bytes::len).collect()
    }

    #[test]
    fn bounds() {
        let mut p = pending();
        assert_eq!(p.push(1, vec![0; 61].into()), Err(SubmitError::TooLarge { size: 61, limit: 60 }));
        assert_eq!(p.push(1, vec![0; 60].into()), Ok(()));
        assert_eq!(p.push(2, vec![0; 41].into()), Err(SubmitError::Busy));
        for token in 2..5 {
            assert_eq!(p.push(token, Bytes::new()), Ok(()));
        }
        assert_eq!(p.push(5, Bytes::new()), Err(SubmitError::Busy));
        assert_eq!(p.flush(), [1, 2, 3, 4]);
        assert_eq!((p.len(), p.bytes()), (0, 0));
    }

    #[test]
    fn blocks() {
        let mut p = pending();
        for (token, size) in [(1, 40), (2, 20), (3, 10), (4, 1)] {
            assert_eq!(p.push(token, vec![0; size].into()), Ok(()));
        }
        assert_eq!(sizes(&p), [40]);
        p.taken(1);
        assert_eq!(sizes(&p), [20, 10]);
        p.taken(2);
        assert_eq!((sizes(&p), p.bytes()), (vec![1], 1));
    }
}
