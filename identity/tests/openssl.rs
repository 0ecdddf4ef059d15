//! The openssl program judges what the authority makes.

#![allow(clippy::unwrap_used)]

use std::{
    path::{Path, PathBuf},
    process::{Command, Output},
};
use vermilion_crypto::{SigningKey, decode_secret, encode_secret};
use vermilion_identity::{
    AuthorityCertificate, AuthorityName, Certificate, CertificateRequest, Kind, Serial, Subject, Validity, authority,
    ocsp::{self, AnswerTimes, CertificateStatus},
    revocation::{RevocationReason, Revoked, revocation_list},
};

/// 2026-11-21, and a day.
const NOW: u64 = 1_795_219_200_000;
const DAY: u64 = 86_400_000;
const UNIT: &str = "11440300MB0X00019K";

struct Bench {
    dir: tempfile::TempDir,
    issuing_key: SigningKey,
    issuing: AuthorityCertificate,
}

fn days(to: u64) -> Validity {
    Validity { not_before_ms: NOW, not_after_ms: NOW + to * DAY }
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

impl Bench {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (root_key, issuing_key) = (SigningKey::from_seed(&[1; 32]), SigningKey::from_seed(&[2; 32]));
        let name = |name: &str| AuthorityName { trust_domain: "vermilion.example".into(), unit: UNIT.into(), name: name.into() };
        let serial = |n| Serial::new(&[n]).unwrap();
        let root = authority::make_root(&root_key, &name("朱印根"), &serial(1), days(3650)).unwrap();
        let issuing = authority::make_issuing(&root_key, &root, issuing_key.public(), &name("朱印签发"), &serial(2), days(1825)).unwrap();
        let bench = Self { dir, issuing_key, issuing };
        bench.pem("root", "x509", root.der());
        bench.pem("issuing", "x509", bench.issuing.der());
        bench
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Runs openssl in the bench's directory at the test's time of day.
    fn openssl(&self, arguments: &str) -> Output {
        Command::new("openssl").args(arguments.split(' ')).current_dir(self.dir.path()).output().unwrap()
    }

    fn pem(&self, name: &str, kind: &str, der: &[u8]) {
        std::fs::write(self.path(&format!("{name}.der")), der).unwrap();
        let made = self.openssl(&format!("{kind} -inform DER -in {name}.der -out {name}.pem"));
        assert!(made.status.success(), "{}", text(&made));
    }

    fn issue(&self, name: &str, kind: Kind, number: u8) -> Certificate {
        let key = SigningKey::from_seed(&[number; 32]);
        let subject = Subject {
            kind,
            trust_domain: "vermilion.example".into(),
            unit: UNIT.into(),
            district: "440305".into(),
            posts: if kind.is_person() { vec!["checker".into(), "maker".into()] } else { Vec::new() },
            name: if kind.is_person() { hex::encode(key.public().id()) } else { "nanshan".into() },
        };
        let serial = Serial::new(&[0xf0, number]).unwrap();
        let (der, made) = authority::issue(&self.issuing_key, &self.issuing, &subject, key.public(), &serial, days(365)).unwrap();
        self.pem(name, "x509", &der);
        made
    }

    fn verify(&self, more: &str, name: &str) -> Output {
        let at = NOW / 1000 + 60;
        self.openssl(&format!("verify -x509_strict -attime {at} -CAfile root.pem -untrusted issuing.pem {more}{name}.pem"))
    }

    fn revoke(&self, number: u64, revoked: &[Revoked]) {
        let list = revocation_list(&self.issuing_key, &self.issuing, number, NOW, NOW + DAY, revoked).unwrap();
        self.pem("list", "crl", &list);
    }
}

#[test]
fn chains_hold_and_say_what_they_should() {
    let bench = Bench::new();
    for (n, (name, kind)) in
        [("node", Kind::Node { raft_id: 3 }), ("system", Kind::UnitSystem), ("operator", Kind::Operator), ("auditor", Kind::Auditor)]
            .into_iter()
            .enumerate()
    {
        bench.issue(name, kind, 10 + n as u8);
        let purpose = if n == 0 { "-purpose sslserver " } else { "-purpose sslclient " };
        let checked = bench.verify(purpose, name);
        assert!(checked.status.success(), "{name}: {}", text(&checked));
    }
    let refused = bench.verify("-purpose sslserver ", "operator");
    assert!(text(&refused).contains("unsuitable certificate purpose"), "{}", text(&refused));
    let shown = text(&bench.openssl("x509 -in operator.pem -noout -text -nameopt RFC2253,-esc_msb,sname"));
    for part in ["ED25519", "title=checker", "title=maker", "organizationIdentifier=NTRCN-11440300MB0X00019K", "L=440305", "C=CN"] {
        assert!(shown.contains(part), "{part} is not in {shown}");
    }
    let shown = text(&bench.openssl("x509 -in node.pem -noout -text"));
    for part in ["URI:spiffe://vermilion.example/node/3", "DNS:nanshan.vermilion.example", "Digital Signature"] {
        assert!(shown.contains(part), "{part} is not in {shown}");
    }
}

#[test]
fn lists_of_revoked_certificates_are_believed() {
    let bench = Bench::new();
    let one = bench.issue("one", Kind::UnitSystem, 10);
    let two = bench.issue("two", Kind::UnitSystem, 11);
    bench.revoke(7, &[]);
    for name in ["one", "two"] {
        let checked = bench.verify("-crl_check -CRLfile list.pem ", name);
        assert!(checked.status.success(), "{}", text(&checked));
    }
    bench.revoke(
        8,
        &[
            Revoked { serial: one.serial, at_ms: NOW + 1234, reason: RevocationReason::KeyCompromise },
            Revoked { serial: two.serial, at_ms: NOW, reason: RevocationReason::Hold },
        ],
    );
    for name in ["one", "two"] {
        let checked = bench.verify("-crl_check -CRLfile list.pem ", name);
        assert!(text(&checked).contains("certificate revoked"), "{}", text(&checked));
    }
    let shown = text(&bench.openssl("crl -in list.pem -noout -text"));
    for part in ["F00A", "Key Compromise", "Certificate Hold", "X509v3 CRL Number", "X509v3 Authority Key Identifier"] {
        assert!(shown.contains(part), "{part} is not in {shown}");
    }
}

/// Asks by openssl's request, answers, and lets openssl read the answer.
fn asked(bench: &Bench, name: &str, options: &str, status: CertificateStatus) -> String {
    let made = bench.openssl(&format!("ocsp {options}-issuer issuing.pem -cert {name}.pem -reqout request.der -no_cert_verify"));
    assert!(bench.path("request.der").exists(), "{}", text(&made));
    let request = std::fs::read(bench.path("request.der")).unwrap();
    // openssl compares the answer's times with its own clock, which a test cannot set.
    let now = std::time::UNIX_EPOCH.elapsed().unwrap().as_millis() as u64;
    let times = AnswerTimes { produced_ms: now, next_update_ms: now + DAY };
    let answer = ocsp::answer(&request, &bench.issuing_key, &bench.issuing, times, &|_| status).unwrap();
    std::fs::write(bench.path("answer.der"), answer).unwrap();
    // Once as the answer to this very request, nonce and all; once for what it says of the certificate.
    let verify = "-issuer issuing.pem -CAfile root.pem -respin answer.der";
    let whole = text(&bench.openssl(&format!("ocsp {verify} -reqin request.der")));
    assert!(whole.contains("Response verify OK") && !whole.contains("Nonce") && !whole.contains("WARNING"), "{whole}");
    let hash = options.trim();
    let read = bench.openssl(format!("ocsp {verify} -no_nonce {hash} -cert {name}.pem -text").replace("  ", " ").as_str());
    std::fs::remove_file(Path::new(&bench.path("request.der"))).unwrap();
    text(&read)
}

#[test]
fn answers_about_one_certificate_are_believed() {
    let bench = Bench::new();
    bench.issue("one", Kind::UnitSystem, 10);
    let revoked = CertificateStatus::Revoked { at_ms: NOW, reason: RevocationReason::PrivilegeWithdrawn };
    for (status, word) in [(CertificateStatus::Good, ": good"), (revoked, ": revoked"), (CertificateStatus::Unknown, ": unknown")] {
        let read = asked(&bench, "one", "", status);
        assert!(read.contains("Response verify OK") && read.contains(word), "{word}: {read}");
        assert!(read.contains("OCSP Nonce"), "{read}");
    }
    let read = asked(&bench, "one", "-sha256 ", CertificateStatus::Good);
    assert!(read.contains("Response verify OK") && read.contains(": good"), "{read}");
}

#[test]
fn openssl_reads_our_requests() {
    let bench = Bench::new();
    let key = SigningKey::from_seed(&[9; 32]);
    let subject = Subject {
        kind: Kind::Node { raft_id: 4 },
        trust_domain: "vermilion.example".into(),
        unit: UNIT.into(),
        district: "440305".into(),
        posts: Vec::new(),
        name: "nanshan".into(),
    };
    std::fs::write(bench.path("request.der"), CertificateRequest::make(&key, &subject).unwrap()).unwrap();
    let shown = bench.openssl("req -inform DER -in request.der -noout -verify -text");
    let shown = text(&shown);
    assert!(shown.contains("verify OK") && shown.contains("URI:spiffe://vermilion.example/node/4"), "{shown}");
}

#[test]
fn a_key_file_that_openssl_put_under_another_passphrase_opens() {
    let bench = Bench::new();
    std::fs::write(bench.path("ours.pem"), &*encode_secret(&[7; 32], Some(b"first")).unwrap()).unwrap();
    let made = bench.openssl("pkcs8 -topk8 -scrypt -in ours.pem -out theirs.pem -passin pass:first -passout pass:second");
    assert!(made.status.success(), "{}", text(&made));
    let theirs = std::fs::read_to_string(bench.path("theirs.pem")).unwrap();
    assert_eq!(*decode_secret(&theirs, Some(b"second")).unwrap(), [7; 32]);
}
