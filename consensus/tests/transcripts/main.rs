//! Three drivers in memory, told step by step: scripts and their output are in `scripts`.
//!
//! `UPDATE_GOLDENFILES=1 cargo test --test transcripts` writes the outputs anew; read them before you keep them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::{BTreeMap, VecDeque};
use std::error::Error;
use std::fmt::Write as _;

use bytes::Bytes;
use raft::storage::MemStorage;
use slog::{Discard, Logger, o};
use vermilion_consensus::{
    Applied, BoxError, Change, ConfState, Driver, DriverConfig, Entry, Message, MessageType, Millis, NodeId, Output, Packer, Standing, Tip,
    Write, change_of, decode, encode,
};

/// Blocks that can be read in a transcript: "predecessor|commands". The link is the block's first byte of commands.
struct Readable;

impl Packer for Readable {
    fn tip(&self, block: &[u8]) -> Result<Tip, BoxError> {
        let mut link = [b'-'; 32];
        link[0] = *block.last().ok_or("an empty block")?;
        Ok(Tip { link, time: Millis(0) })
    }

    fn pack(&mut self, prev: Tip, _: Millis, commands: &[Bytes]) -> Result<(Vec<u8>, Tip), BoxError> {
        let mut block = vec![if prev.link[0] == 0 { b'0' } else { prev.link[0] }, b'|'];
        block.extend(commands.concat());
        let tip = self.tip(&block)?;
        Ok((block, tip))
    }

    fn seal(&mut self, _: Change, term: u64, index: u64) -> Result<Vec<u8>, BoxError> {
        Ok(format!("{term}:{index}").into_bytes())
    }
}

struct Node {
    id: NodeId,
    driver: Driver<MemStorage, Readable>,
    store: MemStorage,
    writes: VecDeque<Write>,
    apply: Vec<Entry>,
    conf: ConfState,
}

#[derive(goldenscript::Command)]
enum Command {
    /// Makes a node stand for election.
    Campaign(NodeId),
    /// Ticks a node's clock.
    Tick(NodeId, usize),
    /// Delivers what is on its way now.
    Deliver {
        /// Only to this node.
        #[arg(key)]
        to: Option<NodeId>,
    },
    /// Loses what is on its way to a node.
    Lose(NodeId),
    /// Completes the oldest write of a node.
    Persist(NodeId),
    /// Applies what a node was handed.
    Apply(NodeId),
    Submit(NodeId, u64, String),
    Read(NodeId, u64),
    Refuse(NodeId, NodeId, u64),
    Transfer(NodeId, NodeId),
    /// Hands over to whoever follows best, but not to this one.
    HandOver {
        id: NodeId,
        #[arg(key)]
        but: Option<NodeId>,
    },
    /// What every state machine says of a node from here on: learner, voter or out.
    Standing(NodeId, String),
    /// A leader proposes a change whether it is approved of or not: add, promote or remove.
    Propose(NodeId, String, NodeId),
    Status,
    /// Lets ticks pass for all, with every disk at work but this node's, and says who leads and who is asked to.
    Pass {
        ticks: usize,
        hung: NodeId,
        /// Messages of this kind are lost.
        #[arg(key)]
        lost: Option<String>,
    },
    /// Delivers, persists and applies until nothing moves, without a word.
    Settle,
}

struct Group {
    nodes: Vec<Node>,
    standings: BTreeMap<NodeId, Standing>,
    wire: VecDeque<Bytes>,
}

fn text(entry: &Entry) -> String {
    if let Ok(Some((change, seal))) = change_of(entry) {
        return format!("{}/{}={change:?} sealed {}", entry.index, entry.term, String::from_utf8_lossy(&seal));
    }
    let data = String::from_utf8_lossy(&entry.data);
    format!("{}/{}{}{data}", entry.index, entry.term, if data.is_empty() { "" } else { "=" })
}

fn describe(m: &Message) -> String {
    let mut s = format!("{}→{} {:?} term={}", m.from, m.to, m.get_msg_type(), m.term);
    if m.index > 0 || m.log_term > 0 {
        write!(s, " at={}/{}", m.index, m.log_term).unwrap();
    }
    if m.get_msg_type() == MessageType::MsgAppend && !m.entries.is_empty() {
        write!(s, " [{}]", m.entries.iter().map(text).collect::<Vec<_>>().join(" ")).unwrap();
    }
    if m.commit > 0 {
        write!(s, " commit={}", m.commit).unwrap();
    }
    if m.reject {
        s += " reject";
    }
    s
}

impl Group {
    /// Three founders; further nodes wait until the group lets them in.
    fn new(nodes: NodeId) -> Self {
        let conf = ConfState { voters: vec![1, 2, 3], ..ConfState::default() };
        let node = |id: NodeId| {
            let store = MemStorage::new();
            store.wl().set_conf_state(conf.clone());
            let logger = Logger::root(Discard, o!());
            let driver = Driver::new(DriverConfig::new(id, 1), store.clone(), Readable, Applied::default(), &logger).unwrap();
            Node { id, driver, store, writes: VecDeque::new(), apply: Vec::new(), conf: conf.clone() }
        };
        Self { nodes: (1..=nodes).map(node).collect(), standings: BTreeMap::new(), wire: VecDeque::new() }
    }

    fn node(&mut self, id: NodeId) -> Result<&mut Node, Box<dyn Error>> {
        self.nodes.get_mut((id as usize).wrapping_sub(1)).ok_or_else(|| "no such node".into())
    }

    fn poll(&mut self, id: NodeId) -> Result<String, Box<dyn Error>> {
        let mut said = String::new();
        loop {
            let Output { messages, write, apply, reads, rejected, role, more } = self.node(id)?.driver.poll(Millis(0))?;
            if let Some(r) = role {
                writeln!(said, "{id}: {:?} in term {}, leader {:?}", r.role, r.term, r.leader)?;
            }
            for m in messages {
                writeln!(said, "{id}: send {}", describe(&m))?;
                self.wire.push_back(encode(&m));
            }
            if let Some(w) = write {
                let entries: Vec<_> = w.batch.entries.iter().map(text).collect();
                write!(said, "{id}: write {} [{}]", w.number, entries.join(" "))?;
                if let Some(hs) = &w.batch.hard_state {
                    write!(said, " term={} vote={} commit={}", hs.term, hs.vote, hs.commit)?;
                }
                writeln!(said, "{}", if w.after.is_empty() { "" } else { ", then" })?;
                for m in &w.after {
                    writeln!(said, "{id}:   send {}", describe(m))?;
                }
                self.node(id)?.writes.push_back(w);
            }
            if !apply.is_empty() {
                writeln!(said, "{id}: may apply {}", apply.iter().map(text).collect::<Vec<_>>().join(" "))?;
                self.node(id)?.apply.extend(apply);
            }
            for (token, index) in reads {
                writeln!(said, "{id}: read {token} at {index}")?;
            }
            for (token, error) in rejected {
                writeln!(said, "{id}: command {token} rejected: {error:?}")?;
            }
            if !more {
                return Ok(said);
            }
        }
    }

    fn persist(&mut self, id: NodeId) -> Result<String, Box<dyn Error>> {
        let node = self.node(id)?;
        let write = node.writes.pop_front().ok_or("no write is running")?;
        node.store.wl().append(&write.batch.entries)?;
        if let Some(hs) = write.batch.hard_state {
            node.store.wl().set_hardstate(hs);
        }
        node.driver.persisted(write.number);
        self.wire.extend(write.after.iter().map(encode));
        self.poll(id)
    }

    fn apply(&mut self, id: NodeId) -> Result<String, Box<dyn Error>> {
        let standings = self.standings.clone();
        let node = self.node(id)?;
        let entries = std::mem::take(&mut node.apply);
        let (mut said, mut tip) = (String::new(), Tip::default());
        for entry in &entries {
            if let Some((change, _)) = change_of(entry)? {
                match change.judge(standings.get(&change.node()).copied().unwrap_or_default(), &node.conf) {
                    Ok(conf) => {
                        writeln!(said, "{id}: {change:?} gives voters {:?}, learners {:?}", conf.voters, conf.learners)?;
                        node.driver.apply_change(entry.index, change)?;
                        node.conf = conf;
                    }
                    Err(refusal) => writeln!(said, "{id}: {change:?} refused: {refusal}")?,
                }
            } else if !entry.data.is_empty() {
                tip = Readable.tip(&entry.data).map_err(|e| e.to_string())?;
            }
        }
        if let Some(last) = entries.last() {
            node.driver.applied(Applied { index: last.index, tip });
        }
        Ok(said + &self.poll(id)?)
    }

    fn deliver(&mut self, to: Option<NodeId>) -> Result<String, Box<dyn Error>> {
        let mut said = String::new();
        let (now, later) = std::mem::take(&mut self.wire)
            .into_iter()
            .partition::<VecDeque<Bytes>, _>(|m| to.is_none_or(|to| decode(m).is_ok_and(|m| m.to == to)));
        self.wire = later;
        for bytes in now {
            let message = decode(&bytes)?;
            let (id, what) = (message.to, describe(&message));
            if let Err(error) = self.node(id)?.driver.step(message) {
                writeln!(said, "{id}: drops {what}: {error}")?;
            }
            said += &self.poll(id)?;
        }
        Ok(said)
    }

    fn stand(&mut self, id: NodeId, standing: Standing) {
        self.standings.insert(id, standing);
        self.nodes.iter_mut().for_each(|n| n.driver.set_standings(self.standings.clone()));
    }

    fn settle(&mut self) -> Result<(), Box<dyn Error>> {
        for _ in 0..100 {
            for id in 1..=self.nodes.len() as NodeId {
                while !self.node(id)?.writes.is_empty() {
                    self.persist(id)?;
                }
                self.apply(id)?;
            }
            self.deliver(None)?;
        }
        Ok(())
    }

    fn pass(&mut self, ticks: usize, hung: NodeId, lost: Option<&str>) -> Result<String, Box<dyn Error>> {
        let ids = 1..=self.nodes.len() as NodeId;
        let mut said = String::new();
        for tick in 1..=ticks {
            let mut all = String::new();
            for id in ids.clone() {
                self.node(id)?.driver.tick();
                all += &self.poll(id)?;
            }
            for _ in 0..4 {
                for id in ids.clone() {
                    while id != hung && !self.node(id)?.writes.is_empty() {
                        all += &self.persist(id)?;
                    }
                    all += &self.apply(id)?;
                }
                self.wire.retain(|m| decode(m).is_ok_and(|m| lost != Some(&format!("{:?}", m.get_msg_type()))));
                all += &self.deliver(None)?;
            }
            let told = |line: &&str| line.contains(" in term ") || line.contains("MsgTimeoutNow");
            all.lines().filter(told).for_each(|line| said += &format!("tick {tick}: {line}\n"));
        }
        Ok(said)
    }

    fn status(&self) -> String {
        let mut said = String::new();
        for node in &self.nodes {
            let s = node.driver.status();
            writeln!(
                said,
                "{}: {:?} term={} leader={:?} last={} persisted={} commit={} applied={} waiting={}",
                node.id, s.role, s.term, s.leader, s.last_index, s.persisted, s.commit, s.applied, s.pending_commands
            )
            .unwrap();
            if self.nodes.len() > 3 {
                writeln!(said, "   voters={:?} learners={:?}", s.voters, s.learners).unwrap();
            }
        }
        said
    }
}

impl goldenscript::Runner for Group {
    type Command = Command;

    fn run(&mut self, command: &Command, _: &goldenscript::Context) -> Result<String, Box<dyn Error>> {
        match command {
            Command::Campaign(id) => self.node(*id)?.driver.campaign(),
            Command::Tick(id, times) => {
                for _ in 0..*times {
                    self.node(*id)?.driver.tick();
                }
            }
            Command::Deliver { to } => return self.deliver(*to),
            Command::Lose(id) => self.wire.retain(|m| decode(m).is_ok_and(|m| m.to != *id)),
            Command::Persist(id) => return self.persist(*id),
            Command::Apply(id) => return self.apply(*id),
            Command::Submit(id, token, text) => {
                let submitted = self.node(*id)?.driver.submit(*token, Bytes::from(text.clone()));
                if let Err(error) = submitted {
                    return Ok(format!("{id}: {error:?}\n"));
                }
            }
            Command::Read(id, token) => self.node(*id)?.driver.read(*token)?,
            Command::Refuse(id, from, term) => self.node(*id)?.driver.refuse(*from, *term),
            Command::Transfer(id, to) => {
                if let Err(error) = self.node(*id)?.driver.transfer_leader(*to) {
                    return Ok(format!("{id}: {error}\n"));
                }
            }
            Command::HandOver { id, but } => {
                let to = self.node(*id)?.driver.hand_over(|heir| Some(heir) != *but);
                return Ok(format!("{id}: hands over to {to:?}\n{}", self.poll(*id)?));
            }
            Command::Standing(id, word) => {
                let standing = match word.as_str() {
                    "voter" => Standing::Voter,
                    "out" => Standing::Out,
                    other => return Err(format!("there is no standing {other}").into()),
                };
                self.stand(*id, standing);
            }
            Command::Propose(id, word, node) => {
                let change = match word.as_str() {
                    "add" => Change::AddLearner(*node),
                    "promote" => Change::Promote(*node),
                    "remove" => Change::Remove(*node),
                    other => return Err(format!("there is no change {other}").into()),
                };
                if let Err(error) = self.node(*id)?.driver.propose_change(change) {
                    return Ok(format!("{id}: not proposed: {error}\n"));
                }
            }
            Command::Status => return Ok(self.status()),
            Command::Pass { ticks, hung, lost } => return self.pass(*ticks, *hung, lost.as_deref()),
            Command::Settle => self.settle()?,
        }
        let mut said = String::new();
        for id in 1..=self.nodes.len() as NodeId {
            said += &self.poll(id)?;
        }
        Ok(said)
    }
}

fn script(name: &str, nodes: NodeId) {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/transcripts/scripts").join(name);
    goldenscript::run(&mut Group::new(nodes), path).unwrap();
}

#[test]
fn a_block_from_election_to_apply() {
    script("block", 3);
}

#[test]
fn a_refused_leader() {
    script("refusal", 3);
}

#[test]
fn reads_and_transfer() {
    script("reads", 3);
}

#[test]
fn a_node_joins_and_another_leaves() {
    script("membership", 4);
}

#[test]
fn a_leader_hands_over_to_whom_it_is_told_to_choose_from() {
    script("handover", 3);
}

#[test]
fn a_leader_whose_disk_hangs_gives_way() {
    script("stall", 3);
}

/// Without a script: it is about what comes in the end.
#[test]
fn a_learner_that_was_out_of_reach_gets_its_vote_though_nothing_new_is_written() {
    let mut group = Group::new(4);
    group.node(1).unwrap().driver.campaign();
    group.settle().unwrap();
    group.stand(4, Standing::Voter);
    group.node(1).unwrap().driver.tick();
    group.settle().unwrap();
    let (leader, learner) = (group.node(1).unwrap().driver.status(), group.node(4).unwrap().driver.status());
    assert_eq!((leader.learners, leader.last_index), (vec![4], learner.last_index));

    // It has everything, and is killed before the leader looks again. Nobody promotes it as it is.
    group.node(1).unwrap().driver.unreachable(4);
    for _ in 0..2 {
        group.node(1).unwrap().driver.tick();
        group.poll(1).unwrap();
        group.wire.retain(|m| decode(m).is_ok_and(|m| m.to != 4));
    }
    group.settle().unwrap();
    assert_eq!(group.node(1).unwrap().driver.status().last_index, leader.last_index);
    // Back again, it answers a heartbeat; there is nothing else that it could be sent.
    for _ in 0..2 {
        group.node(1).unwrap().driver.tick();
        group.settle().unwrap();
    }
    assert_eq!(group.node(1).unwrap().driver.status().voters, [1, 2, 3, 4]);
}

/// Without a script, for the same reason.
#[test]
fn a_leader_that_stands_aside_gives_way_to_those_without_its_block() {
    let mut group = Group::new(3);
    group.node(1).unwrap().driver.campaign();
    group.settle().unwrap();
    assert_eq!(group.node(1).unwrap().driver.uncommitted_time(), None);
    // A block that the others' gates drop, however often it is sent.
    group.node(1).unwrap().driver.submit(1, Bytes::from("early")).unwrap();
    group.poll(1).unwrap();
    group.persist(1).unwrap();
    group.wire.clear();
    assert_eq!(group.node(1).unwrap().driver.uncommitted_time(), Some(Millis(0)));
    let early = group.node(1).unwrap().driver.status();
    assert_eq!(group.node(1).unwrap().driver.transfer_leader(2), Ok(()), "which comes to nothing: node 2 lacks the block");
    let mut ticks = 0;
    let leader = loop {
        ticks += 1;
        assert!(ticks < 50, "nobody else leads");
        group.node(1).unwrap().driver.stand_aside();
        for id in 1..=3 {
            group.node(id).unwrap().driver.tick();
            group.poll(id).unwrap();
        }
        group.settle().unwrap();
        if let Some(leader) = group.node(2).unwrap().driver.status().leader.filter(|leader| *leader != 1) {
            break leader;
        }
    };
    group.node(leader).unwrap().driver.submit(2, Bytes::from("good")).unwrap();
    group.poll(leader).unwrap();
    group.settle().unwrap();
    let (one, other) = (group.node(1).unwrap().driver.status(), group.node(leader).unwrap().driver.status());
    assert_eq!((one.leader, one.commit, one.last_index), (Some(leader), other.commit, other.last_index));
    assert!(one.term > early.term && one.commit == early.last_index + 1);
    let kept = raft::Storage::entries(
        &group.node(1).unwrap().store,
        early.last_index,
        one.last_index + 1,
        None,
        raft::GetEntriesContext::empty(false),
    );
    assert_eq!(kept.unwrap().iter().map(|e| String::from_utf8_lossy(&e.data).into_owned()).collect::<Vec<_>>(), ["", "0|good"]);
}
