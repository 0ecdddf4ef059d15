//! Handshakes in memory.

use super::*;
use crate::{
    authority,
    authority_certificate::AuthorityCertificate,
    certificate::{Certificate, CertificateError},
    fixtures::{DAY, NOW, TestAuthority, authority_of, leaf, subject},
    serial::Serial,
    subject::Kind,
    x509::{self, Validity},
};
use rustls::{
    AlertDescription, ClientConnection, Error, ServerConnection,
    pki_types::{ServerName, UnixTime},
    time_provider::TimeProvider,
};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};
use vermilion_crypto::SigningKey;

#[derive(Debug)]
struct Clock(u64);

impl TimeProvider for Clock {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(Duration::from_millis(self.0)))
    }
}

/// A ledger's state in small: its issuing certificate, what stands, and what was refused.
#[derive(Debug)]
struct State {
    issuing: AuthorityCertificate,
    known: BTreeMap<Serial, Result<(), Refusal>>,
    broken_glass: u64,
    refused: Mutex<Vec<(bool, Refusal)>>,
}

impl Standing for State {
    fn issuing(&self, leaf: &Certificate, _: Option<&AuthorityCertificate>) -> Option<AuthorityCertificate> {
        (leaf.authority_key == self.issuing.key_identifier()).then(|| self.issuing.clone())
    }

    fn check(&self, leaf: &Certificate) -> Result<(), Refusal> {
        self.known.get(&leaf.serial).cloned().unwrap_or_else(|| Err(Refusal::UnknownSerial(leaf.serial.to_string())))
    }

    fn accepts_expired_until(&self) -> u64 {
        self.broken_glass
    }

    fn refused(&self, leaf: Option<&Certificate>, refusal: &Refusal) {
        self.refused.lock().unwrap().push((leaf.is_some(), refusal.clone()));
    }
}

fn state(authority: &TestAuthority, known: &[(u8, Result<(), Refusal>)]) -> Arc<State> {
    let known = known.iter().map(|(n, answer)| (Serial::new(&[*n]).unwrap(), answer.clone())).collect();
    Arc::new(State { issuing: authority.issuing.clone(), known, broken_glass: 0, refused: Mutex::default() })
}

fn slot(authority: &TestAuthority, kind: Kind, serial: u8) -> Arc<CredentialSlot> {
    let key = SigningKey::from_seed(&[serial; 32]);
    let (der, _) = leaf(authority, kind, &key, serial);
    CredentialSlot::new(Credential::new(&der, &authority.issuing, Arc::new(key)).unwrap())
}

/// Moves bytes both ways until both are content, or one is not. Whoever fails first is named.
fn shake(client: &mut ClientConnection, server: &mut ServerConnection) -> Result<(), (&'static str, Error)> {
    for _ in 0..8 {
        let mut wire = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut wire).unwrap();
        }
        let mut read = &wire[..];
        while !read.is_empty() {
            server.read_tls(&mut read).unwrap();
            if let Err(error) = server.process_new_packets() {
                // The alert goes out, so that the client learns why.
                let mut alert = Vec::new();
                server.write_tls(&mut alert).unwrap();
                client.read_tls(&mut &alert[..]).unwrap();
                let heard = client.process_new_packets().map(|_| ());
                assert!(matches!(heard, Err(Error::AlertReceived(_))), "{heard:?}");
                return Err(("server", error));
            }
        }
        let mut wire = Vec::new();
        while server.wants_write() {
            server.write_tls(&mut wire).unwrap();
        }
        let mut read = &wire[..];
        while !read.is_empty() {
            client.read_tls(&mut read).unwrap();
            client.process_new_packets().map_err(|error| ("client", error))?;
        }
    }
    assert!(!client.is_handshaking() && !server.is_handshaking());
    Ok(())
}

struct Meeting {
    authority: TestAuthority,
    client: Option<Arc<CredentialSlot>>,
    standing: Arc<State>,
    now: u64,
    required: bool,
    expected: Expected,
    server: Arc<CredentialSlot>,
}

fn meeting(kind: Kind, answer: Option<Result<(), Refusal>>) -> Meeting {
    let authority = authority_of(1);
    let standing = state(&authority, &answer.map(|a| (20u8, a)).into_iter().collect::<Vec<_>>());
    let client = Some(slot(&authority, kind, 20));
    let server = slot(&authority, Kind::Node { raft_id: 3 }, 30);
    Meeting { authority, client, standing, now: NOW + DAY, required: true, expected: Expected::Node, server }
}

impl Meeting {
    fn hold(self) -> Result<(ClientConnection, ServerConnection), (&'static str, Error)> {
        let clients = match self.required {
            true => ClientAuth::Required(self.standing.clone()),
            false => ClientAuth::Optional(self.standing.clone()),
        };
        let server = server_config(self.server, clients, &[b"h2"], Arc::new(Clock(self.now))).unwrap();
        let pins = Arc::new(Pinned { root: self.authority.root.clone(), accepts_expired_until_ms: 0 });
        let client = client_config(self.client, pins, self.expected, &[b"h2"], Arc::new(Clock(self.now))).unwrap();
        let mut server = ServerConnection::new(Arc::new(server)).unwrap();
        let mut client = ClientConnection::new(Arc::new(client), ServerName::try_from("127.0.0.1").unwrap()).unwrap();
        shake(&mut client, &mut server)?;
        Ok((client, server))
    }
}

const SYSTEM: Kind = Kind::UnitSystem;

#[test]
fn a_certificate_that_stands_is_let_in_and_named() {
    let (client, server) = meeting(SYSTEM, Some(Ok(()))).hold().unwrap();
    assert_eq!(server.protocol_version(), Some(rustls::ProtocolVersion::TLSv1_3));
    let seen = Certificate::parse(&server.peer_certificates().unwrap()[0]).unwrap();
    assert_eq!(seen.subject, subject(SYSTEM, &SigningKey::from_seed(&[20; 32])));
    let node = Certificate::parse(&client.peer_certificates().unwrap()[0]).unwrap();
    assert_eq!(node.subject.kind, Kind::Node { raft_id: 3 });
    assert_eq!(client.alpn_protocol(), Some(&b"h2"[..]));
}

#[test]
fn without_a_certificate_only_where_it_is_optional() {
    let mut without = meeting(SYSTEM, None);
    without.client = None;
    assert!(matches!(without.hold().unwrap_err(), ("server", Error::NoCertificatesPresented)));
    let mut without = meeting(SYSTEM, None);
    (without.client, without.required) = (None, false);
    assert!(without.hold().unwrap().1.peer_certificates().is_none());
    // One that is shown must stand, even where none is needed.
    let mut revoked = meeting(SYSTEM, Some(Err(Refusal::Revoked("14".into()))));
    revoked.required = false;
    assert!(revoked.hold().is_err());
}

#[test]
fn each_refusal_has_its_alert_and_is_told() {
    use rustls::CertificateError as Rustls;
    let serial = || "14".to_owned();
    let cases = [
        (Some(Err(Refusal::Revoked(serial()))), Rustls::Revoked, AlertDescription::CertificateRevoked),
        (Some(Err(Refusal::Suspended(serial()))), Rustls::Revoked, AlertDescription::CertificateRevoked),
        (
            Some(Err(Refusal::MayNotConnect(serial(), "banned".into()))),
            Rustls::ApplicationVerificationFailure,
            AlertDescription::AccessDenied,
        ),
    ];
    for (answer, told, alert) in cases {
        let met = meeting(SYSTEM, answer.clone());
        let standing = met.standing.clone();
        let (who, error) = met.hold().unwrap_err();
        assert_eq!((who, &error), ("server", &Error::InvalidCertificate(told.clone())));
        assert_eq!(AlertDescription::from(told), alert);
        assert_eq!(*standing.refused.lock().unwrap(), [(true, answer.unwrap().unwrap_err())]);
    }
    let met = meeting(SYSTEM, None);
    let standing = met.standing.clone();
    assert!(met.hold().is_err());
    assert_eq!(*standing.refused.lock().unwrap(), [(true, Refusal::UnknownSerial(serial()))]);
}

#[test]
fn expired_and_early_ones_are_refused() {
    for (now, reason) in [(NOW + 366 * DAY, CertificateError::Expired), (NOW - 1000, CertificateError::NotYetValid)] {
        let ours = authority_of(1);
        let standing = state(&ours, &[(20, Ok(()))]);
        let (der, _) = leaf(&ours, SYSTEM, &SigningKey::from_seed(&[20; 32]), 20);
        assert_eq!(judge(&[&der], standing.as_ref(), Expected::Anyone, now), Err(Refusal::Certificate(reason)));
    }
}

#[test]
fn behind_broken_glass_only_the_end_of_its_time_is_forgiven() {
    let ours = authority_of(1);
    let (der, _) = leaf(&ours, SYSTEM, &SigningKey::from_seed(&[20; 32]), 20);
    let judged = |broken_glass, known: &[(u8, Result<(), Refusal>)], now| {
        let standing = State { broken_glass, ..Arc::into_inner(state(&ours, known)).unwrap() };
        judge(&[&der], &standing, Expected::Anyone, now).map(|_| ())
    };
    let (good, late) = ([(20, Ok(()))], NOW + 366 * DAY);
    assert_eq!(judged(late + 1, &good, late), Ok(()));
    assert_eq!(judged(late, &good, late), Err(Refusal::Certificate(CertificateError::Expired)));
    assert_eq!(judged(late, &good, NOW - 1000), Err(Refusal::Certificate(CertificateError::NotYetValid)));
    let revoked = Refusal::Revoked("14".into());
    assert_eq!(judged(late + 1, &[(20, Err(revoked.clone()))], late), Err(revoked));
}

#[test]
fn a_foreign_authority_is_refused_on_either_side() {
    let mut stranger = meeting(SYSTEM, Some(Ok(())));
    stranger.client = Some(slot(&authority_of(10), SYSTEM, 20));
    let standing = stranger.standing.clone();
    let error = stranger.hold().unwrap_err();
    assert_eq!(error, ("server", Error::InvalidCertificate(rustls::CertificateError::UnknownIssuer)));
    // Not genuine, so no certificate is named in the record.
    assert_eq!(*standing.refused.lock().unwrap(), [(false, Refusal::ForeignAuthority)]);
    let mut impostor = meeting(SYSTEM, Some(Ok(())));
    impostor.server = slot(&authority_of(10), Kind::Node { raft_id: 3 }, 30);
    assert_eq!(impostor.hold().unwrap_err(), ("client", Error::InvalidCertificate(rustls::CertificateError::UnknownIssuer)));
}

#[test]
fn outside_the_ledger_an_authority_that_is_named_vouches_for_the_hosts_name() {
    use rustls::CertificateError as Rustls;
    let (ours, other) = (authority_of(1), authority_of(10));
    let asked = |authority: &TestAuthority, name: &'static str, now: u64| {
        let (pem, clock) = (x509::to_pem(authority.root.der()).unwrap(), Arc::new(Clock(now)));
        let server = server_config(slot(&ours, Kind::Node { raft_id: 3 }, 30), ClientAuth::None, &[b"http/1.1"], clock.clone()).unwrap();
        let client = outside_config(pem.as_bytes(), &[b"http/1.1"], clock).unwrap();
        let mut client = ClientConnection::new(Arc::new(client), ServerName::try_from(name).unwrap()).unwrap();
        shake(&mut client, &mut ServerConnection::new(Arc::new(server)).unwrap())
    };
    let name = "nanshan.vermilion.example";
    assert!(asked(&ours, name, NOW + DAY).is_ok());
    assert!(matches!(asked(&other, name, NOW + DAY), Err(("client", Error::InvalidCertificate(_)))));
    for host in ["futian.vermilion.example", "vermilion.example", "127.0.0.1"] {
        let refused = asked(&ours, host, NOW + DAY);
        assert!(matches!(refused, Err(("client", Error::InvalidCertificate(Rustls::NotValidForNameContext { .. })))), "{refused:?}");
    }
    let late = asked(&ours, name, NOW + 366 * DAY);
    assert!(matches!(late, Err(("client", Error::InvalidCertificate(Rustls::ExpiredContext { .. })))), "{late:?}");
}

#[test]
fn who_names_authorities_names_some() {
    let clock = || Arc::new(Clock(NOW));
    let named = |pem: &[u8]| outside_config(pem, &[b"http/1.1"], clock()).map(|_| ());
    let root = x509::to_pem(authority_of(1).root.der()).unwrap();
    let unread = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    assert_eq!(named(root.as_bytes()), Ok(()));
    // A bundle may hold some that are not read here.
    assert_eq!(named(format!("{unread}{root}").as_bytes()), Ok(()));
    for bad in ["", "no certificate", unread] {
        assert_eq!(named(bad.as_bytes()), Err(TlsError::NoAuthority), "{bad}");
    }
    assert!(matches!(named(b"-----BEGIN CERTIFICATE-----\nAAAA\n"), Err(TlsError::NoPem(_))));
}

#[test]
fn a_client_speaks_to_the_node_that_it_meant() {
    let mut right = meeting(SYSTEM, Some(Ok(())));
    right.expected = Expected::ThisNode(3);
    assert!(right.hold().is_ok());
    let refused = Error::InvalidCertificate(rustls::CertificateError::ApplicationVerificationFailure);
    let mut wrong = meeting(SYSTEM, Some(Ok(())));
    wrong.expected = Expected::ThisNode(4);
    assert_eq!(wrong.hold().unwrap_err(), ("client", refused.clone()));
    let mut no_node = meeting(SYSTEM, Some(Ok(())));
    no_node.server = slot(&no_node.authority, SYSTEM, 30);
    assert_eq!(no_node.hold().unwrap_err(), ("client", refused));
}

#[test]
fn a_stolen_certificate_is_nothing_without_its_key() {
    let authority = authority_of(1);
    let (der, _) = leaf(&authority, SYSTEM, &SigningKey::from_seed(&[20; 32]), 20);
    let thief = Credential::new(&der, &authority.issuing, Arc::new(SigningKey::from_seed(&[21; 32])));
    assert_eq!(thief.map(|_| ()).unwrap_err(), CertificateError::Key);
}

#[test]
fn a_renewed_certificate_is_shown_at_once() {
    let authority = authority_of(1);
    let key = SigningKey::from_seed(&[20; 32]);
    let slot = slot(&authority, SYSTEM, 20);
    let validity = Validity { not_before_ms: NOW, not_after_ms: NOW + 30 * DAY };
    let of = subject(SYSTEM, &key);
    let serial = Serial::new(&[21]).unwrap();
    let (der, _) = authority::issue(&authority.issuing_key, &authority.issuing, &of, key.public(), &serial, validity).unwrap();
    slot.replace(Credential::new(&der, &authority.issuing, Arc::new(key)).unwrap());
    assert_eq!(slot.certificate().serial, serial);
    let mut met = meeting(SYSTEM, None);
    met.standing = state(&met.authority, &[(21, Ok(()))]);
    met.client = Some(slot);
    assert!(met.hold().is_ok());
}

#[test]
fn chains_of_another_length_are_refused() {
    let authority = authority_of(1);
    let standing = state(&authority, &[(20, Ok(()))]);
    let (der, _) = leaf(&authority, SYSTEM, &SigningKey::from_seed(&[20; 32]), 20);
    let above = authority.issuing.der();
    assert_eq!(judge(&[], standing.as_ref(), Expected::Anyone, NOW), Err(Refusal::ChainLength(0)));
    assert_eq!(judge(&[&der, above, above], standing.as_ref(), Expected::Anyone, NOW), Err(Refusal::ChainLength(3)));
    assert!(judge(&[&der, above], standing.as_ref(), Expected::Anyone, NOW).is_ok());
    assert!(judge(&[&der, &der], standing.as_ref(), Expected::Anyone, NOW).is_err());
}
