//! Messages that no correct peer sends: none may make a node panic, or give up an invariant of its log.
//!
//! Nodes in all roles, with writes in flight or not, with a log that begins at 1 or later, take arbitrary messages whose
//! numbers lie around the interesting ones, between reports and ticks.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod directed;

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use proptest::collection::vec;
use proptest::prelude::*;
use raft::storage::MemStorage;
use slog::{Discard, Logger, o};
use vermilion_consensus::{
    Applied, BoxError, Change, ConfState, Driver, DriverConfig, Entry, HardState, Message, Millis, Packer, Snapshot, Standing, Tip, Write,
    change_of,
};

struct Plain;

impl Packer for Plain {
    fn tip(&self, _: &[u8]) -> Result<Tip, BoxError> {
        Ok(Tip::default())
    }

    fn pack(&mut self, _: Tip, _: Millis, commands: &[Bytes]) -> Result<(Vec<u8>, Tip), BoxError> {
        Ok((commands.concat(), Tip::default()))
    }

    fn seal(&mut self, _: Change, _: u64, _: u64) -> Result<Vec<u8>, BoxError> {
        Ok(b"seal".to_vec())
    }
}

/// What happens to the node.
#[derive(Clone, Debug)]
enum Act {
    Step(Box<Message>),
    Tick(u8),
    Poll,
    /// Carries out the oldest writes.
    Write(u8),
    /// Applies the oldest entries.
    Apply(u8),
    Submit,
    Read,
    Campaign,
    Transfer(u64),
    Unreachable(u64),
    Sent(u64, bool),
    Refuse(u64, u64),
    Distrust(u64, bool),
    Change(Change),
    /// What the state machine says of a node.
    Standing(u64, Standing),
}

/// A small number, mostly; sometimes a very large one.
fn number() -> impl Strategy<Value = u64> {
    prop_oneof![8 => 0..14u64, 1 => Just(1 << 62), 1 => Just(u64::MAX), 1 => Just(1 << 33)]
}

fn id() -> impl Strategy<Value = u64> {
    prop_oneof![1 => Just(0), 12 => 1..5u64]
}

fn ids() -> impl Strategy<Value = Vec<u64>> {
    vec(id(), 0..4)
}

prop_compose! {
    fn entry()(entry_type in prop_oneof![8 => Just(0), 3 => 1..5i32], term in number(), index in number(), data in vec(any::<u8>(), 0..6)) -> Entry {
        Entry { entry_type, term, index, data, ..Entry::default() }
    }
}

prop_compose! {
    /// An entry that carries a sound change.
    fn changing()(term in number(), index in number(), change in change()) -> Entry {
        let kind = match change { Change::Promote(_) => 0, Change::Remove(_) => 1, Change::AddLearner(_) => 2 };
        // changes: {type, node}, context: one byte.
        let mut single = if kind == 0 { Vec::new() } else { vec![0x08, kind] };
        single.extend([0x10, change.node() as u8]);
        let mut data = vec![0x12, single.len() as u8];
        data.extend(single);
        data.extend([0x1a, 1, 7]);
        Entry { entry_type: 2, term, index, data, ..Entry::default() }
    }
}

prop_compose! {
    fn snapshot()(index in number(), term in number(), full in any::<bool>(), has in any::<bool>(), voters in ids(), learners in ids(), outgoing in ids()) -> Snapshot {
        let mut snapshot = Snapshot::default();
        let sound = ConfState { voters: vec![1, 2, 3], ..ConfState::default() };
        let wild = ConfState { voters, learners, voters_outgoing: outgoing, ..ConfState::default() };
        if has {
            let meta = snapshot.mut_metadata();
            (meta.index, meta.term) = (index, term);
            meta.conf_state = Some(if full { sound } else { wild });
        }
        snapshot
    }
}

prop_compose! {
    /// Half of the messages have entries that fit their anchor, so that the checks of form let more through.
    fn message()(
        msg_type in prop_oneof![20 => 2..19i32, 1 => -1..25i32],
        addresses in (prop_oneof![20 => Just(1u64), 1 => id()], id()),
        numbers in [number(), number(), number(), number(), number(), number()],
        mut entries in vec(prop_oneof![4 => entry(), 1 => changing()], 0..4),
        snap in proptest::option::of(snapshot()),
        reject in any::<bool>(),
        request in prop_oneof![20 => Just(0u64), 1 => number()],
        fits in any::<bool>(),
        context in vec(any::<u8>(), 0..3),
    ) -> Message {
        let [term, log_term, index, commit, commit_term, reject_hint] = numbers;
        let append = msg_type == 3;
        if fits {
            for (i, e) in entries.iter_mut().enumerate() {
                e.index = index.wrapping_add(1 + i as u64);
                e.term = if append && (e.data.len() < 5 || e.entry_type == 2) { log_term.max(1) } else { e.term };
            }
            match msg_type {
                15 | 16 => entries = vec![Entry { data: vec![1], ..Entry::default() }],
                3 => {}
                _ => entries.clear(),
            }
        }
        let term = if fits && msg_type == 15 { 0 } else if fits { term.max(log_term).max(1) } else { term };
        let snapshot = if fits && msg_type != 7 { None } else { snap };
        Message {
            msg_type, to: addresses.0, from: addresses.1, term, log_term, index, entries, commit, commit_term, snapshot,
            request_snapshot: request, reject, reject_hint, context, ..Message::default()
        }
    }
}

/// A change that somebody sealed: what an entry of a liar may hold, beside nonsense.
fn change() -> impl Strategy<Value = Change> {
    prop_oneof![id().prop_map(Change::AddLearner), id().prop_map(Change::Promote), id().prop_map(Change::Remove)]
}

fn standing() -> impl Strategy<Value = Standing> {
    prop_oneof![Just(Standing::Unknown), Just(Standing::Voter), Just(Standing::Kept), Just(Standing::Out)]
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        24 => message().prop_map(|m| Act::Step(Box::new(m))),
        6 => (0..25u8).prop_map(Act::Tick),
        6 => Just(Act::Poll),
        6 => (0..4u8).prop_map(Act::Write),
        4 => (0..4u8).prop_map(Act::Apply),
        2 => Just(Act::Submit),
        2 => Just(Act::Read),
        3 => Just(Act::Campaign),
        1 => id().prop_map(Act::Transfer),
        1 => id().prop_map(Act::Unreachable),
        1 => (id(), any::<bool>()).prop_map(|(id, ok)| Act::Sent(id, ok)),
        1 => (id(), number()).prop_map(|(id, term)| Act::Refuse(id, term)),
        1 => (id(), any::<bool>()).prop_map(|(id, on)| Act::Distrust(id, on)),
        2 => change().prop_map(Act::Change),
        2 => (id(), standing()).prop_map(|(id, standing)| Act::Standing(id, standing)),
    ]
}

struct Node {
    driver: Driver<MemStorage, Plain>,
    store: MemStorage,
    writes: VecDeque<Write>,
    apply: VecDeque<Entry>,
    applied: u64,
    /// The configuration as of `applied`.
    conf: ConfState,
    standings: BTreeMap<u64, Standing>,
}

impl Node {
    fn new(voters: u64, base: u64) -> Self {
        let store = MemStorage::new();
        let state = ConfState { voters: (1..=voters).collect(), ..ConfState::default() };
        let mut log = store.wl();
        if base > 0 {
            let mut snapshot = Snapshot::default();
            let meta = snapshot.mut_metadata();
            (meta.index, meta.term) = (base, 2);
            meta.conf_state = Some(state.clone());
            log.apply_snapshot(snapshot).unwrap();
        } else {
            log.set_conf_state(state.clone());
        }
        let entries: Vec<Entry> = (base + 1..base + 4).map(|index| Entry { index, term: 2 + index / 4, ..Entry::default() }).collect();
        log.append(&entries).unwrap();
        log.set_hardstate(HardState { term: 5, vote: 0, commit: base });
        drop(log);
        let applied = Applied { index: base, ..Applied::default() };
        let logger = Logger::root(Discard, o!());
        let driver = Driver::new(DriverConfig::new(1, 7), store.clone(), Plain, applied, &logger).unwrap();
        Self { driver, store, writes: VecDeque::new(), apply: VecDeque::new(), applied: base, conf: state, standings: BTreeMap::new() }
    }

    fn poll(&mut self) {
        for _ in 0..100 {
            let out = self.driver.poll(Millis(0)).expect("no fault without a failing disk");
            self.writes.extend(out.write);
            for entry in out.apply {
                let last = self.apply.back().map_or(self.applied, |e| e.index);
                assert_eq!(entry.index, last + 1, "entries are handed out one by one");
                self.apply.push_back(entry);
            }
            if !out.more {
                return;
            }
        }
        panic!("never comes to rest");
    }

    fn write(&mut self) {
        let Some(write) = self.writes.pop_front() else { return };
        let mut snapshot = None;
        {
            let mut log = self.store.wl();
            if let Some(s) = write.batch.snapshot {
                snapshot = Some((s.get_metadata().index, s.get_metadata().get_conf_state().clone()));
                log.apply_snapshot(s).unwrap();
            }
            log.append(&write.batch.entries).unwrap();
            if let Some(hs) = write.batch.hard_state {
                log.set_hardstate(hs);
            }
        }
        self.driver.persisted(write.number);
        if let Some((index, conf)) = snapshot {
            self.conf = conf;
            self.apply.clear();
            self.applied = index;
            self.driver.applied(Applied { index, ..Applied::default() });
        }
    }

    fn apply(&mut self) {
        let Some(entry) = self.apply.pop_front() else { return };
        if let Some((change, seal)) = change_of(&entry).expect("checked when it came in") {
            assert!(!seal.is_empty() || entry.data.len() < 7);
            // Approved, whatever it is, unless it does not fit.
            let standing = match change {
                Change::Remove(_) => Standing::Out,
                Change::AddLearner(_) | Change::Promote(_) => Standing::Voter,
            };
            if let Ok(conf) = change.judge(standing, &self.conf) {
                self.driver.apply_change(entry.index, change).expect("what was judged can be applied");
                self.conf = conf;
            }
        }
        self.applied = entry.index;
        self.driver.applied(Applied { index: entry.index, ..Applied::default() });
    }

    fn act(&mut self, act: Act) {
        match act {
            Act::Step(message) => drop(self.driver.step(*message)),
            Act::Tick(n) => (0..n).for_each(|_| self.driver.tick()),
            Act::Poll => self.poll(),
            Act::Write(n) => (0..n).for_each(|_| self.write()),
            Act::Apply(n) => (0..n).for_each(|_| self.apply()),
            Act::Submit => drop(self.driver.submit(1, Bytes::from_static(b"x"))),
            Act::Read => drop(self.driver.read(1)),
            Act::Campaign => self.driver.campaign(),
            Act::Transfer(id) => drop(self.driver.transfer_leader(id)),
            Act::Unreachable(id) => self.driver.unreachable(id),
            Act::Sent(id, ok) => self.driver.snapshot_sent(id, ok),
            Act::Refuse(id, term) => self.driver.refuse(id, term),
            Act::Distrust(id, on) => self.driver.distrust(id, on),
            Act::Change(change) => drop(self.driver.propose_change(change)),
            Act::Standing(id, standing) => {
                self.standings.insert(id, standing);
                self.driver.set_standings(self.standings.clone());
            }
        }
        let status = self.driver.status();
        assert!(status.applied <= status.commit && status.commit <= status.last_index, "{status:?}");
        assert!(status.persisted <= status.last_index, "{status:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn nothing_makes_a_node_panic(voters in 1..4u64, base in prop_oneof![Just(0u64), Just(6)], acts in vec(act(), 1..80)) {
        let mut node = Node::new(voters, base);
        for act in acts {
            node.act(act);
        }
        node.poll();
    }
}
