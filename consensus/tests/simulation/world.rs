//! Nodes, network and time: the queue of events, and what each does.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use vermilion_consensus::{Applied, Change, Entry, Fault, Gate, LogWriter, Message, MessageType, Millis, NodeId, Output, Refusal, Role};
use vermilion_consensus::{StateMachine, decode, encode, reachable};

use crate::blocks::Blocks;
use crate::clients::Clients;
use crate::node::{Bug, Node};
use crate::oracle::Oracle;
use crate::rng::{Rng, fnv};

pub const TICK: u64 = 20;

#[derive(Debug)]
pub enum Event {
    Tick {
        node: usize,
        life: u64,
    },
    Deliver {
        to: usize,
        bytes: Bytes,
    },
    /// A snapshot's outcome, as the sender's transport sees it.
    Sent {
        node: usize,
        life: u64,
        to: NodeId,
        ok: bool,
    },
    Written {
        node: usize,
        life: u64,
    },
    Applied {
        node: usize,
        life: u64,
    },
    Save {
        node: usize,
        life: u64,
    },
    Client {
        client: usize,
        turn: u64,
    },
    Acknowledge {
        client: usize,
        id: u64,
        position: usize,
        index: u64,
    },
    /// A node's transport finds another out of reach: a connection broke, or what was sent had to be dropped.
    Unreachable {
        node: usize,
        life: u64,
        to: NodeId,
    },
    Chaos,
    Start {
        node: usize,
    },
}

pub struct World {
    pub seed: u64,
    pub bug: Bug,
    pub now: u64,
    pub rng: Rng,
    pub nodes: Vec<Node>,
    pub clients: Clients,
    pub oracle: Oracle,
    /// One-way links that carry nothing: (from, to).
    pub blocked: BTreeSet<(NodeId, NodeId)>,
    /// How many nodes there were at first.
    pub founders: u64,
    /// Nodes hear nothing from those that they know to be banned.
    pub cuts: bool,
    /// Faults happen.
    pub chaos: bool,
    /// Snapshots to this node that are still to be lost without a word, and how many.
    pub unsaid: (NodeId, u64),
    pub trace: u64,
    queue: BTreeMap<(u64, u64), Event>,
    queued: u64,
    started: u64,
}

impl World {
    pub fn new(seed: u64, count: u64, cuts: bool, bug: Bug) -> Self {
        let voters: Vec<NodeId> = (1..=count).collect();
        let mut oracle = Oracle::default();
        oracle.founded(&voters);
        Self {
            founders: count,
            cuts,
            seed,
            bug,
            now: 1_000_000,
            rng: Rng::new(seed),
            nodes: voters.iter().map(|id| Node::new(*id, &voters, bug)).collect(),
            clients: Clients::new(),
            oracle,
            blocked: BTreeSet::new(),
            chaos: true,
            unsaid: (0, 0),
            trace: seed,
            queue: BTreeMap::new(),
            queued: 0,
            started: 0,
        }
    }

    pub fn after(&mut self, delay: u64, event: Event) {
        self.queued += 1;
        self.queue.insert((self.now + delay, self.queued), event);
    }

    pub fn note(&mut self, what: &[u8]) {
        self.trace = fnv(self.trace, what);
    }

    /// Runs what happens next.
    pub fn next(&mut self) -> Result<(), String> {
        let Some(((time, _), event)) = self.queue.pop_first() else { return Err("nothing happens any more".into()) };
        self.now = time;
        self.note(&time.to_be_bytes());
        match event {
            Event::Tick { node, life } => {
                if self.alive(node, life) {
                    self.after(TICK, Event::Tick { node, life });
                    self.drive(node, |n| {
                        if let Some(d) = &mut n.driver {
                            d.tick()
                        }
                    })?;
                }
            }
            Event::Deliver { to, bytes } => self.deliver(to, &bytes)?,
            Event::Sent { node, life, to, ok } => {
                if self.alive(node, life) {
                    self.drive(node, |n| {
                        if let Some(d) = &mut n.driver {
                            d.snapshot_sent(to, ok)
                        }
                    })?;
                }
            }
            Event::Written { node, life } => {
                if self.alive(node, life) {
                    self.written(node)?;
                }
            }
            Event::Applied { node, life } => {
                if self.alive(node, life) {
                    self.apply(node)?;
                }
            }
            Event::Save { node, life } => {
                if self.alive(node, life) {
                    let (compact, tail) = (self.rng.chance(5_000), self.rng.range(0, 20));
                    self.nodes[node].save(compact, tail);
                    let delay = self.rng.range(20, 400);
                    self.after(delay, Event::Save { node, life });
                }
            }
            Event::Client { client, turn } => self.client(client, turn)?,
            Event::Acknowledge { client, id, position, index } => self.acknowledged(client, id, position, index)?,
            Event::Unreachable { node, life, to } => {
                if self.alive(node, life) {
                    self.unreachable(node, to)?;
                }
            }
            Event::Chaos => self.wreak()?,
            Event::Start { node } => self.start(node)?,
        }
        Ok(())
    }

    /// A node's transport tells its driver that another is out of reach.
    pub fn unreachable(&mut self, node: usize, to: NodeId) -> Result<(), String> {
        self.oracle.unreachable += 1;
        self.drive(node, |n| {
            if let Some(d) = &mut n.driver {
                d.unreachable(to)
            }
        })
    }

    /// The connection from a node to another breaks. Within so many milliseconds its transport finds out, if the node is up
    /// by then.
    pub fn broken(&mut self, node: usize, to: NodeId, within: u64) {
        let life = self.nodes[node].life;
        let delay = self.rng.range(1, within);
        self.after(delay, Event::Unreachable { node, life, to });
    }

    fn alive(&self, node: usize, life: u64) -> bool {
        self.nodes[node].driver.is_some() && self.nodes[node].life == life
    }

    pub fn start(&mut self, node: usize) -> Result<(), String> {
        if self.nodes[node].driver.is_some() {
            return Ok(());
        }
        self.started += 1;
        self.nodes[node].start(self.seed.wrapping_mul(1_000).wrapping_add(self.started))?;
        let life = self.nodes[node].life;
        self.after(1, Event::Tick { node, life });
        self.after(50, Event::Save { node, life });
        self.pump(node)
    }

    /// Does something with a node's driver, then what the driver asks for.
    pub fn drive<T>(&mut self, node: usize, act: impl FnOnce(&mut Node) -> T) -> Result<T, String> {
        let result = act(&mut self.nodes[node]);
        self.pump(node)?;
        Ok(result)
    }

    fn pump(&mut self, node: usize) -> Result<(), String> {
        for _ in 0..10_000 {
            let now = Millis(self.now);
            let Some(driver) = &mut self.nodes[node].driver else { return Ok(()) };
            let out = driver.poll(now).map_err(|e| format!("node {}: {e}", node + 1))?;
            // What the planted bug reported at once is seen at the next poll.
            let more = out.more || self.bug == Bug::EarlyAcknowledge && out.write.is_some();
            self.carry_out(node, out)?;
            if !more {
                return Ok(());
            }
        }
        Err(format!("node {} never comes to rest", node + 1))
    }

    fn carry_out(&mut self, node: usize, out: Output) -> Result<(), String> {
        let life = self.nodes[node].life;
        if let Some(change) = out.role {
            self.note(format!("{node} {change:?}").as_bytes());
            if change.role == Role::Leader && self.oracle.leads(change.term, node)? {
                self.oracle.elections += 1;
            }
        }
        for message in out.messages {
            self.send(node, message);
        }
        let mut apply = out.apply;
        if let Some(mut write) = out.write {
            match self.bug {
                Bug::None | Bug::Unapproved | Bug::LearnerCounted => {}
                Bug::EarlyAcknowledge => {
                    self.nodes[node].disk.show(&write.batch)?;
                    for message in std::mem::take(&mut write.after) {
                        self.send(node, message);
                    }
                    // A snapshot is left to the right path: the bug is about the log.
                    if let (None, Some(driver)) = (&write.batch.snapshot, &mut self.nodes[node].driver) {
                        driver.persisted(write.number);
                    }
                }
                Bug::EarlyApply => apply = write.batch.entries.clone(),
            }
            self.nodes[node].writing.push_back(write);
            if self.nodes[node].writing.len() == 1 {
                self.schedule_write(node);
            }
        } else if self.bug == Bug::EarlyApply {
            apply.clear();
        }
        if !apply.is_empty() {
            let delay = self.rng.range(0, 12);
            self.nodes[node].applying.push_back(apply);
            self.after(delay, Event::Applied { node, life });
        }
        for (token, index) in out.reads {
            if let Some(read) = self.nodes[node].reads.iter_mut().find(|r| r.token == token) {
                read.index = Some(index);
            }
        }
        self.answer_reads(node)?;
        for (token, _) in out.rejected {
            self.nodes[node].waiters.retain(|id, _| *id != token);
        }
        Ok(())
    }

    fn schedule_write(&mut self, node: usize) {
        let delay = self.rng.range(1, self.nodes[node].slowness).max(self.nodes[node].hangs_until.saturating_sub(self.now));
        let life = self.nodes[node].life;
        self.after(delay, Event::Written { node, life });
    }

    fn written(&mut self, node: usize) -> Result<(), String> {
        let Some(write) = self.nodes[node].writing.pop_front() else { return Ok(()) };
        let n = &mut self.nodes[node];
        if self.bug == Bug::EarlyAcknowledge {
            n.disk.sync(&write.batch)?;
        } else {
            n.disk.write(write.batch.clone()).map_err(|e| e.to_string())?;
        }
        let installed = match &write.batch.snapshot {
            Some(snapshot) => {
                let n = &self.nodes[node];
                let machine = n.machine.of(snapshot)?;
                let reached = reachable(&n.machine.conf, &machine.conf, &machine).map_err(|e| e.to_string())?;
                reached.map_err(|e| format!("node {}: a snapshot's configuration cannot be: {e}", node + 1))?;
                self.oracle.snapshot(&machine)?;
                let n = &mut self.nodes[node];
                n.machine = machine;
                n.saved = n.machine.save();
                n.applying.clear();
                Some(n.machine.applied)
            }
            None => None,
        };
        for message in write.after {
            self.send(node, message);
        }
        if !self.nodes[node].writing.is_empty() {
            self.schedule_write(node);
        }
        // The order of the two reports must not matter.
        let first = self.rng.chance(5_000);
        self.drive(node, |n| {
            let Some(driver) = &mut n.driver else { return };
            if installed.is_some() {
                driver.set_standings(n.machine.standings.clone());
            }
            if let (true, Some(applied)) = (first, installed) {
                driver.applied(applied);
            }
            driver.persisted(write.number);
            if let (false, Some(applied)) = (first, installed) {
                driver.applied(applied);
            }
        })
    }

    fn apply(&mut self, node: usize) -> Result<(), String> {
        let Some(mut entries) = self.nodes[node].applying.pop_front() else { return Ok(()) };
        let n = &mut self.nodes[node];
        if self.bug == Bug::EarlyApply {
            entries.retain(|e| e.index > n.machine.applied.index);
        }
        for entry in entries {
            self.apply_one(node, entry)?;
        }
        let applied: Applied = self.nodes[node].machine.applied;
        self.answer_reads(node)?;
        let bug = self.bug;
        self.drive(node, |n| {
            let Some(driver) = &mut n.driver else { return Ok(()) };
            for judged in n.machine.judged.drain(..).filter(|j| j.conf.is_some()) {
                driver.apply_change(judged.index, judged.change)?;
                if let (Bug::LearnerCounted, Change::AddLearner(learner)) = (bug, judged.change) {
                    driver.apply_change(judged.index, Change::Promote(learner))?;
                }
            }
            driver.set_standings(n.machine.standings.clone());
            driver.applied(applied);
            Ok(())
        })?
        .map_err(|e: Fault| format!("node {}: {e}", node + 1))?;
        // A snapshot on its way is in raft's configuration before it is in the machine.
        match self.nodes[node].writing.iter().any(|w| w.batch.snapshot.is_some()) {
            true => Ok(()),
            false => self.counted(node, &self.nodes[node].machine),
        }
    }

    fn apply_one(&mut self, node: usize, entry: Entry) -> Result<(), String> {
        self.note(&[node as u8, 1]);
        self.note(&encode(&Message { entries: vec![entry.clone()], ..Message::default() }));
        let n = &self.nodes[node];
        let before = n.machine.records.len();
        let holds = |id: NodeId| self.nodes.get(id as usize - 1).is_some_and(|n| n.disk.holds(entry.index, entry.term));
        self.oracle.entry(&entry, node, holds)?;
        let n = &mut self.nodes[node];
        n.machine.apply(vec![entry.clone()]).map_err(|e| format!("node {}: {e}", node + 1))?;
        self.oracle.records(&n.machine.records, before, node)?;
        if let Some(judged) = n.machine.judged.last().filter(|j| j.index == entry.index) {
            self.oracle.change(judged, &n.machine.records, node)?;
        }
        // Whoever waits here for one of the block's commands hears of it.
        let n = &mut self.nodes[node];
        let done: Vec<(u64, usize, usize)> =
            n.waiters.iter().filter_map(|(id, client)| n.machine.position(*id).map(|position| (*id, *client, position))).collect();
        for (id, client, position) in done {
            self.nodes[node].waiters.remove(&id);
            self.acknowledge(client, id, position, entry.index);
        }
        Ok(())
    }

    /// Answers a client, unless the answer is lost.
    pub fn acknowledge(&mut self, client: usize, id: u64, position: usize, index: u64) {
        if !(self.chaos && self.rng.chance(1_000)) {
            let delay = self.rng.range(0, 10);
            self.after(delay, Event::Acknowledge { client, id, position, index });
        }
    }

    fn send(&mut self, node: usize, message: Message) {
        let snapshot = message.get_msg_type() == MessageType::MsgSnapshot;
        let (from, to) = (message.from, message.to);
        let bytes = encode(&message);
        self.note(&bytes);
        let blocked = self.blocked.contains(&(from, to));
        let lost = blocked || self.chaos && self.rng.chance(300);
        // What an outbox has no room for is told; what is lost on the way is not, until the connection is given up.
        if lost && to != 0 && (blocked || self.rng.chance(5_000)) {
            self.broken(node, to, if blocked { 200 } else { 2 });
        }
        if snapshot && self.unsaid.0 == to && self.unsaid.1 > 0 {
            self.unsaid.1 -= 1;
            return;
        }
        // Now and then nobody says what came of one.
        if snapshot && !(self.chaos && self.rng.chance(3_000)) {
            let life = self.nodes[node].life;
            self.after(60, Event::Sent { node, life, to, ok: !lost });
        }
        if lost || to == 0 || to as usize > self.nodes.len() {
            return;
        }
        let to = to as usize - 1;
        let copies = if self.chaos && self.rng.chance(200) { 2 } else { 1 };
        for _ in 0..copies {
            let slow = self.chaos && self.rng.chance(200);
            let delay = self.rng.range(1, if slow { 400 } else { 15 });
            self.after(delay, Event::Deliver { to, bytes: bytes.clone() });
        }
    }

    fn deliver(&mut self, to: usize, bytes: &Bytes) -> Result<(), String> {
        let mut message = decode(bytes).map_err(|e| e.to_string())?;
        if self.nodes[to].driver.is_none() || self.cut(to, message.from) {
            // Nobody takes the connection.
            self.broken(message.from as usize - 1, message.to, 30);
            return Ok(());
        }
        // A leader that is no longer its owner's: one byte of a block is not what was signed.
        let forged = self.chaos && message.get_msg_type() == MessageType::MsgAppend && self.rng.chance(10);
        if let (true, Some(entry)) = (forged, message.entries.iter_mut().find(|e| !e.data.is_empty())) {
            let at = self.rng.range(0, entry.data.len() as u64) as usize;
            entry.data[at] ^= 0x40;
        }
        let (from, term, now) = (message.from, message.term, Millis(self.now));
        match Blocks(0).admit(&message, now) {
            Ok(()) => {
                let step = |n: &mut Node| n.driver.as_mut().map(|d| d.step(message));
                match self.drive(to, step)? {
                    Some(Err(vermilion_consensus::StepError::Malformed(what))) => Err(format!("an honest message is malformed: {what}")),
                    Some(Err(error)) => {
                        self.oracle.dropped += 1;
                        self.oracle.impossible += u64::from(matches!(error, vermilion_consensus::StepError::Impossible(_)));
                        Ok(())
                    }
                    _ => Ok(()),
                }
            }
            Err(Refusal::Early(_)) => Ok(()),
            Err(Refusal::Forged(_)) => {
                self.oracle.refusals += 1;
                self.drive(to, |n| {
                    if let Some(d) = &mut n.driver {
                        d.refuse(from, term)
                    }
                })
            }
        }
    }

    fn answer_reads(&mut self, node: usize) -> Result<(), String> {
        let applied = self.nodes[node].machine.applied.index;
        let (done, waiting) = std::mem::take(&mut self.nodes[node].reads).into_iter().partition(|r| r.index.is_some_and(|i| i <= applied));
        self.nodes[node].reads = waiting;
        let done: Vec<crate::node::Read> = done;
        for read in done {
            if read.index.is_none_or(|index| index < read.floor) {
                return Err(format!("a read at {:?} misses what was acknowledged at {}", read.index, read.floor));
            }
            self.read_answered(read.client, read.token);
        }
        Ok(())
    }
}
