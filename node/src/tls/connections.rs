//! The open connections, so that those of a credential that no longer stands can be cut.

use crate::rate::network;
use crate::runtime::now_ms;
use crate::tls::StateStanding;
use crate::trail::{Trail, What, Whom};
use std::{
    collections::BTreeMap,
    net::{IpAddr, Shutdown, TcpStream},
    os::fd::AsFd,
    sync::{Arc, Mutex, PoisonError},
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use vermilion_identity::tls::{Standing as _, in_time};
use vermilion_identity::{Certificate, Kind, Subject};

/// Connections at once at one listener, handshakes counted in: beyond, a new one is closed at once.
pub const MAX_CONNECTIONS: usize = 2048;
/// Of those, the connections of one address that show no certificate, or none yet.
pub const MAX_STRANGERS: usize = 64;
/// Places that are kept for addresses with few connections without a certificate: what others leave once they have the rest.
const KEPT: usize = 512;
/// So many are few.
const FEW: usize = 4;
/// The connections of one unit's operators and systems on one side of a node: none keeps the nodes and the others out.
pub const MAX_OF_UNIT: usize = 256;
/// The connections with one node, made here or there: it needs a few, and one that was stolen gets no more.
pub const MAX_OF_NODE: usize = 32;

/// Which listener a connection came by. They are counted apart: what a unit's systems leave open on one must not keep its
/// operators from another.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Side {
    /// Nodes and clients, and what is dialled here.
    Grpc,
    /// The public's.
    Rest,
    /// Applicants'.
    Enrolment,
}

struct Open {
    side: Side,
    certificate: Arc<Certificate>,
    socket: TcpStream,
}

/// The table.
pub struct Connections {
    open: Mutex<(u64, BTreeMap<u64, Open>)>,
    trail: Arc<Trail>,
}

impl std::fmt::Debug for Connections {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Connections({} open)", self.count())
    }
}

/// A listener's room, so that none takes another's.
#[derive(Clone)]
pub(super) struct Room {
    places: Arc<Semaphore>,
    strangers: Arc<Mutex<BTreeMap<IpAddr, usize>>>,
}

/// A place for one connection; given back when dropped.
pub struct Place {
    #[allow(dead_code, reason = "held, not read")]
    permit: OwnedSemaphorePermit,
    stranger: Option<(Room, IpAddr)>,
}

impl Room {
    pub(super) fn new() -> Self {
        Self { places: Arc::new(Semaphore::new(MAX_CONNECTIONS)), strangers: Arc::default() }
    }

    /// A place for one more connection from an address, if there is any. Who connects is a stranger first.
    ///
    /// The last places go to addresses that have few: so nodes and applicants find one, whoever holds the others.
    pub(super) fn place(&self, address: IpAddr) -> Option<Place> {
        let address = network(address);
        let permit = Arc::clone(&self.places).try_acquire_owned().ok()?;
        let most = if self.places.available_permits() < KEPT { FEW } else { MAX_STRANGERS };
        let mut strangers = self.strangers.lock().unwrap_or_else(PoisonError::into_inner);
        if strangers.get(&address).is_some_and(|count| *count >= most) {
            return None;
        }
        *strangers.entry(address).or_default() += 1;
        drop(strangers);
        Some(Place { permit, stranger: Some((self.clone(), address)) })
    }
}

impl Place {
    /// Who has the place has shown a certificate.
    pub(super) fn is_known(&mut self) {
        if let Some((room, address)) = self.stranger.take() {
            let mut strangers = room.strangers.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(count) = strangers.get_mut(&address) {
                *count -= 1;
                if *count == 0 {
                    strangers.remove(&address);
                }
            }
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.is_known();
    }
}

/// Takes a connection out of the table when it ends.
pub struct Entry {
    table: Arc<Connections>,
    id: u64,
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.table.open.lock().unwrap_or_else(PoisonError::into_inner).1.remove(&self.id);
    }
}

/// Whose connections are counted together.
#[derive(PartialEq, Eq)]
enum Holder<'a> {
    Node(u64),
    /// Its operators and systems.
    Unit(&'a str),
}

fn holder(subject: &Subject) -> Holder<'_> {
    match subject.kind {
        Kind::Node { raft_id } => Holder::Node(raft_id),
        Kind::UnitSystem | Kind::Operator | Kind::Auditor => Holder::Unit(&subject.unit),
    }
}

/// Whether a holder has as many connections on this side as one may have.
fn has_all<'a>(side: Side, subject: &Subject, open: impl Iterator<Item = (Side, &'a Subject)>) -> bool {
    let of = holder(subject);
    let most = if matches!(of, Holder::Node(_)) { MAX_OF_NODE } else { MAX_OF_UNIT };
    open.filter(|(on, other)| *on == side && holder(other) == of).count() >= most
}

impl Connections {
    /// An empty table, which notes logins and cuts in the trail.
    #[must_use]
    pub fn new(trail: Arc<Trail>) -> Arc<Self> {
        Arc::new(Self { open: Mutex::default(), trail })
    }

    /// Enters a connection whose handshake is done, with the certificate (DER) that the other end showed.
    pub(super) fn enter(
        self: &Arc<Self>,
        side: Side,
        leaf: &[u8],
        stream: &tokio::net::TcpStream,
    ) -> std::io::Result<(Arc<Certificate>, Entry)> {
        let certificate = Arc::new(Certificate::parse(leaf).map_err(std::io::Error::other)?);
        // A second handle on the same socket: shutting it down ends the first.
        let socket = TcpStream::from(stream.as_fd().try_clone_to_owned()?);
        let address = stream.peer_addr().map(|a| a.ip().to_string()).unwrap_or_default();
        self.trail.note(now_ms(), What::Connected, &Whom::certificate(&certificate), &address);
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if has_all(side, &certificate.subject, open.1.values().map(|open| (open.side, &open.certificate.subject))) {
            return Err(std::io::Error::other("the node or unit has as many connections as one may have"));
        }
        let id = open.0;
        open.0 += 1;
        open.1.insert(id, Open { side, certificate: Arc::clone(&certificate), socket });
        Ok((certificate, Entry { table: Arc::clone(self), id }))
    }

    /// How many are open with a certificate.
    #[must_use]
    pub fn count(&self) -> usize {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).1.len()
    }

    /// Judges every open connection as of now (Unix milliseconds) and cuts those that no longer stand.
    /// Returns how many were cut.
    pub fn judge_all(&self, standing: &StateStanding, now_ms: u64) -> usize {
        let certificates: BTreeMap<_, _> = {
            let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
            open.1.values().map(|o| (o.certificate.serial.clone(), Arc::clone(&o.certificate))).collect()
        };
        // The state is read without the lock: handshakes need not wait for it.
        let fallen: BTreeMap<_, _> = certificates
            .into_iter()
            .filter_map(|(serial, certificate)| {
                let dates = certificate.check_dates(in_time(standing, certificate.validity, now_ms)).map_err(Into::into);
                dates.and_then(|()| standing.check(&certificate)).err().map(|refusal| (serial, refusal))
            })
            .collect();
        if fallen.is_empty() {
            return 0;
        }
        let mut cut = 0;
        for open in self.open.lock().unwrap_or_else(PoisonError::into_inner).1.values() {
            if let Some(refusal) = fallen.get(&open.certificate.serial) {
                tracing::warn!(serial = %open.certificate.serial, %refusal, "an open connection is cut");
                self.trail.note(now_ms, What::Cut, &Whom::certificate(&open.certificate), &refusal.to_string());
                // It may have ended by itself meanwhile.
                let _ = open.socket.shutdown(Shutdown::Both);
                cut += 1;
            }
        }
        cut
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_addresses_leave_room_for_those_that_have_few_connections() {
        let room = Room::new();
        let address = |n: usize| IpAddr::from([10, 0, u8::try_from(n >> 8).unwrap_or(0), u8::try_from(n & 255).unwrap_or(0)]);
        let mut held = Vec::new();
        for n in 0..MAX_CONNECTIONS / MAX_STRANGERS {
            held.extend(std::iter::from_fn(|| room.place(address(n))));
        }
        assert!(held.len() <= MAX_CONNECTIONS - KEPT + FEW * MAX_CONNECTIONS / MAX_STRANGERS, "{}", held.len());
        let other: Vec<_> = std::iter::from_fn(|| room.place(address(1000))).collect();
        assert_eq!(other.len(), FEW);
        // Who shows a certificate is no stranger any more, and leaves its place among the few.
        let mut known = other;
        known.iter_mut().for_each(Place::is_known);
        assert!(room.place(address(1000)).is_some());
        drop(held);
        let all: Vec<_> = std::iter::from_fn(|| room.place(address(1))).collect();
        assert_eq!(all.len(), MAX_STRANGERS);
    }

    #[test]
    fn neither_a_node_nor_a_unit_takes_all_connections() {
        let subject = |kind, unit: &str| Subject {
            kind,
            trust_domain: "ledger.example".into(),
            unit: unit.into(),
            district: "440300".into(),
            posts: Vec::new(),
            name: "x".into(),
        };
        let has_all = |subject: Subject, open: &[Subject]| has_all(Side::Grpc, &subject, open.iter().map(|open| (Side::Grpc, open)));
        let node = |raft_id| subject(Kind::Node { raft_id }, "one");
        let open: Vec<_> = (0..MAX_OF_NODE).map(|_| node(1)).collect();
        assert!(has_all(node(1), &open) && !has_all(node(1), &open[1..]));
        // Another node of the same unit, and the unit's people, have their own.
        assert!(!has_all(node(2), &open) && !has_all(subject(Kind::Operator, "one"), &open));
        let kinds = [Kind::Operator, Kind::UnitSystem].into_iter().cycle();
        let open: Vec<_> = kinds.take(MAX_OF_UNIT).map(|kind| subject(kind, "one")).collect();
        assert!(has_all(subject(Kind::Auditor, "one"), &open) && !has_all(subject(Kind::Operator, "two"), &open));
        assert!(!has_all(node(1), &open));
        // What hangs on another listener takes nothing here.
        let elsewhere = |side| open.iter().map(move |open| (side, open));
        assert!(!super::has_all(Side::Grpc, &open[0], elsewhere(Side::Rest).chain(elsewhere(Side::Enrolment))));
        assert!(super::has_all(Side::Rest, &open[0], elsewhere(Side::Rest)));
    }
}
