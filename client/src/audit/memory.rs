//! The state of a replay: the registry's own in-memory state, but for the entries of command ids.
//! They are as many as the records, lie at random places of the order, and are only ever looked up
//! by themselves; so they stand in a hash map.

use std::collections::HashMap;
use vermilion_registry::kv::{Memory, Write};
use vermilion_registry::{Kv, KvError};

/// Before the ids of commands ([`vermilion_registry::keys::command`]).
const COMMANDS: &[u8] = b"d/";

/// The id of a command.
pub type CommandId = [u8; 32];

/// A state in memory.
#[derive(Default)]
pub struct ReplayState {
    ordered: Memory,
    commands: HashMap<CommandId, Vec<u8>>,
}

/// Which command's entry stands under a key, if one does.
pub fn command_id(key: &[u8]) -> Option<CommandId> {
    key.strip_prefix(COMMANDS)?.try_into().ok()
}

impl ReplayState {
    /// Takes a block's writes.
    pub fn write(&mut self, mut writes: Vec<Write>) {
        let commands = &mut self.commands;
        writes.retain_mut(|(key, value)| {
            let Some(id) = command_id(key) else { return true };
            match value.take() {
                Some(value) => commands.insert(id, value),
                None => commands.remove(&id),
            };
            false
        });
        self.ordered.write(writes);
    }

    /// The entries of commands.
    pub fn commands(&self) -> &HashMap<CommandId, Vec<u8>> {
        &self.commands
    }

    /// All others, in order.
    pub fn ordered(&self) -> &Memory {
        &self.ordered
    }

    /// Visits every entry in order of keys.
    fn visit(&self, visit: &mut dyn FnMut(&[u8], &[u8])) {
        let mut commands: Vec<_> = self.commands.iter().collect();
        commands.sort_unstable_by_key(|(id, _)| *id);
        let mut commands = commands.into_iter().map(|(id, value)| ([COMMANDS, id].concat(), value)).peekable();
        for (key, value) in self.ordered.iter() {
            while let Some((command, seq)) = commands.next_if(|(command, _)| command < key) {
                visit(&command, seq);
            }
            visit(key, value);
        }
        commands.for_each(|(command, seq)| visit(&command, seq));
    }
}

impl Kv for ReplayState {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, KvError> {
        match command_id(key) {
            Some(id) => Ok(self.commands.get(&id).cloned()),
            None => self.ordered.get(key),
        }
    }

    fn scan(&self, prefix: &[u8], visit: &mut dyn FnMut(&[u8], &[u8]) -> bool) -> Result<(), KvError> {
        // No rule scans command ids; one that did would have to see them all.
        if !prefix.starts_with(COMMANDS) && !COMMANDS.starts_with(prefix) {
            return self.ordered.scan(prefix, visit);
        }
        let mut go_on = true;
        self.visit(&mut |key, value| {
            if go_on && key.starts_with(prefix) {
                go_on = visit(key, value);
            }
        });
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn it_reads_like_the_registrys_own() {
        let mut writes: Vec<Write> = (0..50u8).map(|n| ([b"d/", &[n.wrapping_mul(77); 32][..]].concat(), Some(vec![n]))).collect();
        for key in ["a", "d", "d/short", "e", "l/x", "h"] {
            writes.push((key.into(), Some(key.into())));
        }
        writes.push(([&b"d/"[..], &[77; 32]].concat(), None));
        let (mut ours, mut theirs) = (ReplayState::default(), Memory::new());
        ours.write(writes.clone());
        theirs.write(writes.clone());
        for (key, _) in &writes {
            assert_eq!(ours.get(key).unwrap(), theirs.get(key).unwrap());
        }
        for prefix in ["", "d", "d/", "l/", "d/short", "x"] {
            let all = |kv: &dyn Kv| {
                let mut out = Vec::new();
                kv.scan(prefix.as_bytes(), &mut |k, v| {
                    out.push((k.to_vec(), v.to_vec()));
                    out.len() < 40
                })
                .unwrap();
                out
            };
            assert_eq!(all(&ours), all(&theirs), "{prefix}");
        }
    }
}
