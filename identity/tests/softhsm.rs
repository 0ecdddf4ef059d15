//! A node's key in SoftHSM2.
//!
//! SoftHSM finds its tokens by an environment variable, which a process had better not change in
//! itself: each test makes a token and runs itself once more, inside. Without SoftHSM they fail.

#![allow(clippy::unwrap_used, clippy::panic)]

use cryptoki::{
    context::{CInitializeArgs, CInitializeFlags, Pkcs11},
    mechanism::Mechanism,
    object::{Attribute, AttributeInfo, AttributeType, ObjectHandle},
    session::{Session, UserType},
    types::AuthPin,
};
use rustls::{
    ClientConnection, ServerConnection,
    pki_types::{ServerName, UnixTime},
    time_provider::TimeProvider,
};
use std::{
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
    time::Duration,
};
use vermilion_crypto::SigningKey;
use vermilion_identity::{
    AuthorityCertificate, AuthorityName, Certificate, CertificateError, CertificateRequest, Kind, Serial, Signer, Subject, Validity,
    authority,
    pkcs11::{PIN_VARIABLE, Pin, Pkcs11Error, Pkcs11Signer, Pkcs11Uri},
    tls::{ClientAuth, Credential, CredentialSlot, Expected, Pinned, Refusal, Standing, client_config, server_config},
};

/// Where Debian has it.
const MODULE: &str = "/usr/lib/softhsm/libsofthsm2.so";
/// Names a module that lies elsewhere.
const MODULE_VARIABLE: &str = "SOFTHSM2_MODULE";
/// Set in a test that runs inside, to its directory.
const INSIDE: &str = "VERMILION_TEST_SOFTHSM";
const PIN: &str = "7394-2851";
const TOKEN: &str = "朱印 node";
const LABEL: &str = "node/3";
/// CKA_EC_PARAMS.
const ED25519: [u8; 5] = [0x06, 0x03, 0x2b, 0x65, 0x70];
const P256: [u8; 10] = [0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
/// 2026-11-21, and a day.
const NOW: u64 = 1_795_219_200_000;
const DAY: u64 = 86_400_000;

fn module() -> PathBuf {
    std::env::var_os(MODULE_VARIABLE).map_or_else(|| MODULE.into(), PathBuf::from)
}

/// A directory with a token in it.
struct Bench {
    dir: PathBuf,
}

/// Runs `body` in a process of its own that sees one new token and nothing else.
fn in_token(test: &str, body: fn(&Bench)) {
    if let Some(dir) = std::env::var_os(INSIDE) {
        return body(&Bench { dir: dir.into() });
    }
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    std::fs::create_dir(path("tokens")).unwrap();
    std::fs::write(path("pin"), format!("{PIN}\nwhat follows is not the PIN\n")).unwrap();
    std::fs::write(path("conf"), format!("directories.tokendir = {}\nlog.level = ERROR\n", path("tokens").display())).unwrap();
    let run = |command: &mut Command| {
        let ran = command.env("SOFTHSM2_CONF", path("conf")).env_remove(PIN_VARIABLE).env(INSIDE, dir.path()).output();
        let ran = ran.unwrap_or_else(|e| panic!("{command:?}: {e}; is Debian's softhsm2 installed?"));
        let text = format!("{}{}", String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
        assert!(ran.status.success(), "{command:?}: {}\n{text}", ran.status);
        text
    };
    let made = ["--init-token", "--free", "--label", TOKEN, "--so-pin", "so-pin", "--pin", PIN, "--module"];
    run(Command::new("softhsm2-util").args(made).arg(module()));
    let text = run(Command::new(std::env::current_exe().unwrap()).args([test, "--exact", "--nocapture"]));
    assert!(text.contains("1 passed"), "{test} is not the name of this test: {text}");
    assert!(!text.contains(PIN), "the PIN was shown: {text}");
}

impl Bench {
    fn uri_of(&self, token: &str, key: &str) -> Pkcs11Uri {
        let text = format!("pkcs11:{token};{key}?module-path={}&pin-source=file:{}", module().display(), self.dir.join("pin").display());
        text.parse().unwrap()
    }

    fn uri(&self, key: &str) -> Pkcs11Uri {
        self.uri_of("token=%E6%9C%B1%E5%8D%B0%20node", key)
    }

    fn open(&self, key: &str) -> Result<Pkcs11Signer, Pkcs11Error> {
        Pkcs11Signer::open(&self.uri(key))
    }

    /// A session that may write. While it is open, the process is logged in.
    fn session(&self) -> Session {
        let pkcs11 = Pkcs11::new(module()).unwrap();
        // Refused where the signer's own code did it before.
        let _ = pkcs11.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK));
        let slot = pkcs11.get_slots_with_initialized_token().unwrap()[0];
        let session = pkcs11.open_rw_session(slot).unwrap();
        session.login(UserType::User, Some(&AuthPin::new(PIN.into()))).unwrap();
        session
    }

    fn generate(&self, label: &str, id: &[u8]) {
        generate(&self.session(), label, id);
    }
}

/// A key pair as `pkcs11-tool --keypairgen` would leave it: the secret never leaves the token.
fn generate_of(session: &Session, mechanism: &Mechanism<'_>, params: &[u8], label: &str, id: &[u8]) -> (ObjectHandle, ObjectHandle) {
    let names = [Attribute::Token(true), Attribute::Label(label.into()), Attribute::Id(id.to_vec())];
    let public = [&names[..], &[Attribute::EcParams(params.to_vec()), Attribute::Verify(true)]].concat();
    let private =
        [&names[..], &[Attribute::Private(true), Attribute::Sensitive(true), Attribute::Extractable(false), Attribute::Sign(true)]];
    session.generate_key_pair(mechanism, &public, &private.concat()).unwrap()
}

fn generate(session: &Session, label: &str, id: &[u8]) -> (ObjectHandle, ObjectHandle) {
    generate_of(session, &Mechanism::EccEdwardsKeyPairGen, &ED25519, label, id)
}

#[test]
fn a_key_in_a_token_signs() {
    in_token("a_key_in_a_token_signs", |bench| {
        bench.generate(LABEL, &[3]);
        let signer = bench.open("object=node%2F3;type=private").unwrap();
        let public = ed25519_dalek::VerifyingKey::from_bytes(&signer.public().0).unwrap();
        for message in [&b""[..], b"a", &[7; 100_000]] {
            let signature = signer.sign(message).unwrap();
            public.verify_strict(message, &signature.into()).unwrap();
            assert!(public.verify_strict(b"another", &signature.into()).is_err());
            // RFC 8032 is deterministic; so is the device.
            assert_eq!(signer.sign(message).unwrap(), signature);
        }
        // By id, by both, and again by label: one key.
        for key in ["id=%03", "object=node%2F3;id=%03", "object=node%2F3"] {
            assert_eq!(bench.open(key).unwrap().public(), signer.public(), "{key}");
        }
        // Many at once.
        std::thread::scope(|scope| {
            for n in 0..4u8 {
                let (signer, public) = (&signer, &public);
                scope.spawn(move || {
                    for m in 0..20 {
                        let signature = signer.sign(&[n, m]).unwrap();
                        public.verify_strict(&[n, m], &signature.into()).unwrap();
                    }
                });
            }
        });
        let shown = format!("{signer:?}");
        assert!(shown.contains(&hex::encode(signer.public().0)) && shown.contains("object=node%2F3"), "{shown}");
    });
}

#[test]
fn the_secret_stays_where_it_is() {
    in_token("the_secret_stays_where_it_is", |bench| {
        let session = bench.session();
        let (_, private) = generate(&session, LABEL, &[3]);
        // The premise of all this: what the token is asked for it does not give.
        let of = |wanted| session.get_attribute_info(private, &[wanted]).unwrap();
        assert!(matches!(of(AttributeType::Value)[..], [AttributeInfo::Sensitive]), "{:?}", of(AttributeType::Value));
        assert!(session.get_attributes(private, &[AttributeType::Value]).unwrap().is_empty());
        // The same question about what is no secret.
        assert!(matches!(of(AttributeType::Id)[..], [AttributeInfo::Available(1)]), "{:?}", of(AttributeType::Id));
    });
}

#[test]
fn what_is_wrong_is_said() {
    in_token("what_is_wrong_is_said", |bench| {
        {
            let session = bench.session();
            generate(&session, LABEL, &[3]);
            generate(&session, "twin", &[4]);
            generate(&session, "twin", &[5]);
            let (alone, _) = generate(&session, "alone", &[6]);
            session.destroy_object(alone).unwrap();
            generate_of(&session, &Mechanism::EccKeyPairGen, &P256, "p256", &[7]);
            // A private key with another's public key beside it.
            let (public, _) = generate(&session, "false", &[8]);
            session.destroy_object(public).unwrap();
            let (other, _) = generate(&session, "other", &[9]);
            session.update_attributes(other, &[Attribute::Id(vec![8])]).unwrap();
        }
        // First, while no session is open: a process that is logged in is not asked again.
        for wrong in ["7394-2852", "7", &"7".repeat(400), "朱"] {
            let refused = Pkcs11Signer::open_with(&bench.uri("object=node%2F3"), &Pin::new(wrong).unwrap());
            assert_eq!(refused.unwrap_err(), Pkcs11Error::WrongPin, "{wrong}");
        }
        let cases = [
            (bench.uri("object=node%2F4"), Pkcs11Error::NoKey("object=node%2F4".into())),
            (bench.uri("object=node"), Pkcs11Error::NoKey("object=node".into())),
            (bench.uri("object=node%2F3;id=%04"), Pkcs11Error::NoKey("object=node%2F3;id=%04".into())),
            (bench.uri("object=twin"), Pkcs11Error::ManyKeys { wanted: "object=twin".into(), count: 2 }),
            (bench.uri("object=alone"), Pkcs11Error::PublicKeys(0)),
            (bench.uri("object=false"), Pkcs11Error::BadSignature),
            (bench.uri_of("token=another", "id=%03"), Pkcs11Error::NoToken("token=another".into())),
            (bench.uri_of("serial=0", "id=%03"), Pkcs11Error::NoToken("serial=0".into())),
            (
                bench.uri_of("token=%E6%9C%B1%E5%8D%B0%20node;manufacturer=Nobody", "id=%03"),
                Pkcs11Error::NoToken("token=%E6%9C%B1%E5%8D%B0%20node;manufacturer=Nobody".into()),
            ),
        ];
        for (uri, error) in cases {
            assert_eq!(Pkcs11Signer::open(&uri).unwrap_err(), error, "{uri}");
        }
        let p256 = bench.open("object=p256").unwrap_err();
        assert!(matches!(p256, Pkcs11Error::NotEd25519(_)), "{p256:?}");
        let of_module = |path: &Path| -> Pkcs11Uri {
            format!("pkcs11:token=t;object=k?module-path={}&pin-source=file:{}", path.display(), bench.dir.join("pin").display())
                .parse()
                .unwrap()
        };
        let path = bench.dir.join("absent.so");
        assert_eq!(Pkcs11Signer::open(&of_module(&path)).unwrap_err(), Pkcs11Error::NoModule(path));
        let no_library = Pkcs11Signer::open(&of_module(&bench.dir.join("pin"))).unwrap_err();
        assert!(matches!(no_library, Pkcs11Error::Module { .. }), "{no_library:?}");
        // None of it left anything behind that would be in the way.
        assert!(bench.open("object=twin;id=%05").is_ok());
        assert!(bench.open("object=node%2F3").is_ok());
    });
}

#[test]
fn the_pin_comes_from_its_file_or_the_environment() {
    in_token("the_pin_comes_from_its_file_or_the_environment", |bench| {
        if std::env::var_os(PIN_VARIABLE).is_none() {
            bench.generate(LABEL, &[3]);
        }
        let text = bench.uri("id=%03").to_string();
        let bare: Pkcs11Uri = text.split("&pin-source").next().unwrap().parse().unwrap();
        if std::env::var_os(PIN_VARIABLE).is_some() {
            assert!(Pkcs11Signer::open(&bare).is_ok());
            return;
        }
        assert_eq!(Pkcs11Signer::open(&bare).unwrap_err(), Pkcs11Error::NoPin);
        // Once more, with the variable.
        let this = std::env::current_exe().unwrap();
        let arguments = ["the_pin_comes_from_its_file_or_the_environment", "--exact"];
        let ran = Command::new(this).args(arguments).env(PIN_VARIABLE, PIN).output().unwrap();
        assert!(ran.status.success() && String::from_utf8_lossy(&ran.stdout).contains("1 passed"), "{ran:?}");
        for (content, error) in [("", Pkcs11Error::EmptyPin), ("\n7394-2851", Pkcs11Error::EmptyPin), (" 7394-2851", Pkcs11Error::WrongPin)]
        {
            std::fs::write(bench.dir.join("pin"), content).unwrap();
            assert_eq!(bench.open("id=%03").unwrap_err(), error, "{content:?}");
        }
        std::fs::remove_file(bench.dir.join("pin")).unwrap();
        let absent = bench.open("id=%03").unwrap_err();
        assert!(matches!(absent, Pkcs11Error::PinFile { .. }), "{absent:?}");
        assert_eq!(format!("{:?}", Pin::new(PIN).unwrap()), "Pin(…)");
    });
}

#[test]
fn a_key_that_was_taken_away_does_not_sign() {
    in_token("a_key_that_was_taken_away_does_not_sign", |bench| {
        bench.generate(LABEL, &[3]);
        let signer = bench.open("id=%03").unwrap();
        assert!(signer.sign(b"now").is_ok());
        let pkcs11 = Pkcs11::new(module()).unwrap();
        let slot = pkcs11.get_slots_with_initialized_token().unwrap()[0];
        // Logged in with the signer's session.
        let session = pkcs11.open_rw_session(slot).unwrap();
        for object in session.find_objects(&[Attribute::Id(vec![3])]).unwrap() {
            session.destroy_object(object).unwrap();
        }
        let refused = signer.sign(b"later").unwrap_err().to_string();
        assert!(refused.starts_with("the key did not sign: the device failed to sign: "), "{refused}");
    });
}

#[derive(Debug)]
struct Clock;

impl TimeProvider for Clock {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(Duration::from_millis(NOW + DAY)))
    }
}

/// A ledger's state in which everything that it issued stands.
#[derive(Debug)]
struct AllStand(AuthorityCertificate);

impl Standing for AllStand {
    fn issuing(&self, leaf: &Certificate, _: Option<&AuthorityCertificate>) -> Option<AuthorityCertificate> {
        (leaf.authority_key == self.0.key_identifier()).then(|| self.0.clone())
    }

    fn check(&self, _: &Certificate) -> Result<(), Refusal> {
        Ok(())
    }

    fn refused(&self, _: Option<&Certificate>, refusal: &Refusal) {
        panic!("{refusal}");
    }
}

/// Moves bytes one way. A macro, since the two kinds of connections share no trait.
macro_rules! carry {
    ($from:ident, $to:ident) => {
        let mut wire = Vec::new();
        while $from.wants_write() {
            $from.write_tls(&mut wire).unwrap();
        }
        let mut rest = &wire[..];
        while !rest.is_empty() {
            $to.read_tls(&mut rest).unwrap();
            $to.process_new_packets().unwrap();
        }
    };
}

struct Authority {
    root: AuthorityCertificate,
    issuing: AuthorityCertificate,
    issuing_key: SigningKey,
}

impl Authority {
    fn new() -> Self {
        let (root_key, issuing_key) = (SigningKey::from_seed(&[1; 32]), SigningKey::from_seed(&[2; 32]));
        let name =
            |name: &str| AuthorityName { trust_domain: "vermilion.example".into(), unit: "11440300MB0X00019K".into(), name: name.into() };
        let serial = |n| Serial::new(&[n]).unwrap();
        let validity = Validity { not_before_ms: NOW, not_after_ms: NOW + 365 * DAY };
        let root = authority::make_root(&root_key, &name("朱印根"), &serial(1), validity).unwrap();
        let issuing = authority::make_issuing(&root_key, &root, issuing_key.public(), &name("朱印签发"), &serial(2), validity).unwrap();
        Self { root, issuing, issuing_key }
    }

    /// A certificate for who asks with this key, by a request that the key signed.
    fn certify(&self, kind: Kind, number: u8, key: &dyn Signer) -> Vec<u8> {
        let subject = Subject {
            kind,
            trust_domain: "vermilion.example".into(),
            unit: "11440300MB0X00019K".into(),
            district: "440305".into(),
            posts: Vec::new(),
            name: "nanshan".into(),
        };
        let request = CertificateRequest::parse(&CertificateRequest::make(key, &subject).unwrap()).unwrap();
        let validity = Validity { not_before_ms: NOW, not_after_ms: NOW + 30 * DAY };
        let serial = Serial::new(&[number]).unwrap();
        authority::issue(&self.issuing_key, &self.issuing, &request.subject, request.key, &serial, validity).unwrap().0
    }

    fn slot(&self, kind: Kind, number: u8, key: Arc<dyn Signer>) -> Arc<CredentialSlot> {
        let leaf = self.certify(kind, number, key.as_ref());
        CredentialSlot::new(Credential::new(&leaf, &self.issuing, key).unwrap())
    }

    /// A whole handshake with certificates on both sides, and a word from the client.
    fn meet(&self, client: Arc<CredentialSlot>, server: Arc<CredentialSlot>, node: u64) -> (ClientConnection, ServerConnection) {
        let standing = Arc::new(AllStand(self.issuing.clone()));
        let server = server_config(server, ClientAuth::Required(standing), &[b"h2"], Arc::new(Clock)).unwrap();
        let pins = Arc::new(Pinned { root: self.root.clone(), accepts_expired_until_ms: 0 });
        let client = client_config(Some(client), pins, Expected::ThisNode(node), &[b"h2"], Arc::new(Clock)).unwrap();
        let mut client = ClientConnection::new(Arc::new(client), ServerName::try_from("127.0.0.1").unwrap()).unwrap();
        let mut server = ServerConnection::new(Arc::new(server)).unwrap();
        std::io::Write::write_all(&mut client.writer(), "可".as_bytes()).unwrap();
        while client.wants_write() || server.wants_write() {
            carry!(client, server);
            carry!(server, client);
        }
        assert!(!client.is_handshaking() && !server.is_handshaking());
        let mut heard = [0; 3];
        std::io::Read::read_exact(&mut server.reader(), &mut heard).unwrap();
        assert_eq!(heard, "可".as_bytes());
        (client, server)
    }
}

#[test]
fn a_node_with_its_key_in_a_token_speaks_tls() {
    in_token("a_node_with_its_key_in_a_token_speaks_tls", |bench| {
        bench.generate(LABEL, &[3]);
        bench.generate("other", &[4]);
        let authority = Authority::new();
        let key: Arc<dyn Signer> = Arc::new(bench.open("object=node%2F3").unwrap());
        let node = authority.slot(Kind::Node { raft_id: 3 }, 30, key.clone());
        // Another key of the same token does not fit the certificate.
        let leaf = authority.certify(Kind::Node { raft_id: 3 }, 31, key.as_ref());
        let stranger = Credential::new(&leaf, &authority.issuing, Arc::new(bench.open("object=other").unwrap()));
        assert_eq!(stranger.map(|_| ()).unwrap_err(), CertificateError::Key);
        // As a server, before a unit's system.
        let system = authority.slot(Kind::UnitSystem, 20, Arc::new(SigningKey::from_seed(&[20; 32])));
        let (client, server) = authority.meet(system, node.clone(), 3);
        assert_eq!(server.protocol_version(), Some(rustls::ProtocolVersion::TLSv1_3));
        let seen = Certificate::parse(&client.peer_certificates().unwrap()[0]).unwrap();
        assert_eq!((seen.subject.kind, seen.key), (Kind::Node { raft_id: 3 }, key.public()));
        // As a client, before another node.
        let other = authority.slot(Kind::Node { raft_id: 4 }, 40, Arc::new(SigningKey::from_seed(&[40; 32])));
        let (_, server) = authority.meet(node, other, 4);
        let seen = Certificate::parse(&server.peer_certificates().unwrap()[0]).unwrap();
        assert_eq!((seen.subject.kind, seen.key), (Kind::Node { raft_id: 3 }, key.public()));
    });
}
