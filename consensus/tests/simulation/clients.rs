//! Clients: each has one request open, and repeats it with the same id until it is answered. The last of them is the
//! clerk, who admits and bans nodes.

use std::collections::BTreeSet;

use vermilion_consensus::SubmitError;

use crate::blocks::command;
use crate::node::Read;
use crate::world::{Event, World};

const TIMEOUT: u64 = 500;
/// How many there are, and which of them is the clerk.
const CLIENTS: usize = 25;
const CLERK: usize = CLIENTS - 1;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Open {
    Nothing,
    Command(u64),
    Read(u64),
}

struct Client {
    open: Open,
    /// Node to try next, if one was named.
    hint: Option<usize>,
    /// Counts turns: an event for an earlier one is void.
    turn: u64,
}

pub struct Clients {
    clients: Vec<Client>,
    next_id: u64,
    /// No new requests.
    pub resting: bool,
}

impl Clients {
    pub fn new() -> Self {
        let clients = (0..CLIENTS).map(|_| Client { open: Open::Nothing, hint: None, turn: 0 }).collect();
        Self { clients, next_id: 0, resting: false }
    }

    pub fn len(&self) -> usize {
        self.clients.len()
    }

    /// True if nobody waits.
    pub fn content(&self) -> bool {
        self.clients.iter().all(|c| c.open == Open::Nothing)
    }
}

impl World {
    /// Gives a client its next turn after a while, and voids the one it waited for.
    pub fn turn(&mut self, client: usize, delay: u64) {
        self.clients.clients[client].turn += 1;
        let turn = self.clients.clients[client].turn;
        self.after(delay, Event::Client { client, turn });
    }

    /// The clerk asks for one command more, though the clients rest.
    pub fn admit(&mut self, id: u64) {
        self.clients.clients[CLERK].open = Open::Command(id);
        self.turn(CLERK, 1);
    }

    /// A client's turn: begins a request, or repeats one that wasn't answered in time.
    pub fn client(&mut self, client: usize, turn: u64) -> Result<(), String> {
        if self.clients.clients[client].turn != turn {
            return Ok(());
        }
        let mut again = TIMEOUT;
        if self.clients.clients[client].open == Open::Nothing && !self.clients.resting {
            self.clients.clients[client].open = if client == CLERK {
                self.admission().map_or(Open::Nothing, Open::Command)
            } else {
                self.clients.next_id += 1;
                let id = self.clients.next_id;
                if self.rng.chance(2_500) { Open::Read(id) } else { Open::Command(id) }
            };
        }
        let all: Vec<usize> = (0..self.nodes.len()).collect();
        let hint = self.clients.clients[client].hint.take();
        let node = hint.or_else(|| self.rng.pick(&all)).unwrap_or(0);
        let up = self.nodes[node].driver.is_some();
        match self.clients.clients[client].open {
            Open::Nothing => {}
            Open::Command(id) if up => {
                if let Some(position) = self.nodes[node].machine.position(id) {
                    let index = self.nodes[node].machine.applied.index;
                    self.acknowledge(client, id, position, index);
                } else {
                    let padding = self.rng.range(0, 200) as usize;
                    self.nodes[node].waiters.insert(id, client);
                    let submit = |n: &mut crate::node::Node| n.driver.as_mut().map(|d| d.submit(id, command(id, padding)));
                    let answer = self.drive(node, submit)?;
                    if let Some(Err(error)) = answer {
                        self.nodes[node].waiters.remove(&id);
                        again = self.rng.range(5, 60);
                        if let SubmitError::NotLeader { leader: Some(leader) } = error {
                            self.clients.clients[client].hint = Some(leader as usize - 1);
                        }
                    }
                }
            }
            Open::Read(token) if up => {
                let floor = self.oracle.floor;
                // An earlier attempt was given up: a new one may begin with a higher floor.
                for n in &mut self.nodes {
                    if let (true, Some(d)) = (n.reads.iter().any(|r| r.token == token), &mut n.driver) {
                        d.reads_expired(&BTreeSet::from([token]));
                    }
                    n.reads.retain(|r| r.token != token);
                }
                self.nodes[node].reads.push(Read { client, token, floor, index: None });
                let read = |n: &mut crate::node::Node| n.driver.as_mut().map(|d| d.read(token));
                self.drive(node, read)?;
            }
            _ => again = self.rng.range(20, 100),
        }
        self.turn(client, again);
        Ok(())
    }

    pub fn acknowledged(&mut self, client: usize, id: u64, position: usize, index: u64) -> Result<(), String> {
        self.oracle.acknowledge(id, position, index)?;
        if self.clients.clients[client].open == Open::Command(id) {
            self.clients.clients[client].open = Open::Nothing;
            let pause = if client == CLERK { self.rng.range(100, 1_000) } else { self.rng.range(0, 60) };
            self.turn(client, pause);
        }
        Ok(())
    }

    pub fn read_answered(&mut self, client: usize, token: u64) {
        if self.clients.clients[client].open == Open::Read(token) {
            self.oracle.reads += 1;
            self.clients.clients[client].open = Open::Nothing;
            let pause = self.rng.range(0, 60);
            self.turn(client, pause);
        }
    }
}
