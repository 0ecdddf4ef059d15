//! What is a certificate of ours, and what is not.

use crate::{
    authority,
    authority_certificate::AuthorityCertificate,
    certificate::{Certificate, CertificateError, leaf_extensions},
    fixtures::{DAY, KINDS, NOW, TestAuthority, authority_of, days, leaf, serial, subject},
    signer::Signer,
    subject::{Kind, Subject},
    x509::{self, Draft, Validity},
};
use der::Encode;
use proptest::prelude::*;
use vermilion_crypto::SigningKey;
use x509_cert::{
    ext::{
        Extension, Extensions,
        pkix::{BasicConstraints, ExtendedKeyUsage, KeyUsage, KeyUsages, SubjectAltName, name::GeneralName},
    },
    name::Name,
};

fn key() -> SigningKey {
    SigningKey::from_seed(&[42; 32])
}

/// Signs whatever it is told to.
fn forge(at: &TestAuthority, kind: Kind, change: impl FnOnce(&mut Subject, &mut Extensions, &mut Validity)) -> Vec<u8> {
    let mut of = subject(kind, &key());
    let mut extensions = leaf_extensions(&of, &key().public(), &at.issuing).unwrap();
    let mut validity = days(0, 365);
    change(&mut of, &mut extensions, &mut validity);
    let number = serial(9);
    let draft = Draft {
        serial: &number,
        issuer: at.issuing.distinguished_name().clone(),
        subject: of.distinguished_name().unwrap(),
        validity,
        key: key().public(),
        extensions,
    };
    x509::sign(draft, &at.issuing_key).unwrap()
}

fn replace<T: const_oid::AssociatedOid + Encode>(extensions: &mut Extensions, critical: bool, value: &T) {
    let at = extensions.iter().position(|e| e.extn_id == T::OID).unwrap();
    extensions[at] = x509::extension(critical, value).unwrap();
}

#[test]
fn every_kind_says_what_it_was_told() {
    let at = authority_of(1);
    for kind in KINDS {
        let (der, made) = leaf(&at, kind, &key(), 7);
        assert_eq!(made.subject, subject(kind, &key()));
        assert_eq!((made.serial.as_bytes(), made.key, made.validity), (&[7][..], key().public(), days(0, 365)));
        assert_eq!(made.authority_key, at.issuing.key_identifier());
        assert_eq!(made.fingerprint, vermilion_crypto::sha256(&der));
        assert_eq!(Certificate::parse(&der), Ok(made.clone()));
        assert_eq!(made.verify_issued_by(&at.issuing), Ok(()));
        assert_eq!(made.verify_issued_by(&at.root), Err(CertificateError::CaFlag));
    }
    assert_eq!(subject(KINDS[0], &key()).dns_name().as_deref(), Some("nanshan.vermilion.example"));
}

#[test]
fn another_authority_of_the_same_name_is_another() {
    let (ours, other) = (authority_of(1), authority_of(10));
    let (_, theirs) = leaf(&other, Kind::UnitSystem, &key(), 7);
    assert_eq!(theirs.verify_issued_by(&ours.issuing), Err(CertificateError::OtherAuthority));
    assert_eq!(other.issuing.verify_issued_by(&ours.root), Err(CertificateError::OtherAuthority));
    assert_eq!(ours.issuing.verify_issued_by(&ours.root), Ok(()));
    assert_eq!(ours.root.verify_issued_by(&ours.root), Err(CertificateError::CaFlag));
    // One that names our authority but was signed by another key.
    let draft = Draft {
        serial: &serial(9),
        issuer: ours.issuing.distinguished_name().clone(),
        subject: subject(Kind::UnitSystem, &key()).distinguished_name().unwrap(),
        validity: days(0, 1),
        key: key().public(),
        extensions: leaf_extensions(&subject(Kind::UnitSystem, &key()), &key().public(), &ours.issuing).unwrap(),
    };
    let forged = Certificate::parse(&x509::sign(draft, &other.issuing_key).unwrap()).unwrap();
    assert_eq!(forged.verify_issued_by(&ours.issuing), Err(CertificateError::Signature));
}

#[test]
fn dates_bound_it_to_the_second() {
    let (_, made) = leaf(&authority_of(1), Kind::Operator, &key(), 7);
    assert_eq!(made.check_dates(NOW - 1), Err(CertificateError::NotYetValid));
    assert_eq!(made.check_dates(NOW), Ok(()));
    assert_eq!(made.check_dates(NOW + 365 * DAY + 999), Ok(()));
    assert_eq!(made.check_dates(NOW + 365 * DAY + 1000), Err(CertificateError::Expired));
    let at = authority_of(1);
    let late = authority::issue(&at.issuing_key, &at.issuing, &subject(KINDS[1], &key()), key().public(), &serial(3), days(0, 1826));
    assert_eq!(late.map(|_| ()), Err(CertificateError::OutlivesIssuer));
}

#[test]
fn dates_after_2049_are_written_as_rfc_5280_says() {
    let at = authority_of(1);
    let far = Validity { not_before_ms: NOW, not_after_ms: 2_556_144_000_000 }; // 2051-01-01
    let root = authority::make_root(&at.root_key, &at.root.name, &serial(1), far).unwrap();
    assert_eq!(root.validity, far);
    let odd = Validity { not_after_ms: far.not_after_ms + 1, ..far };
    assert_eq!(authority::make_root(&at.root_key, &at.root.name, &serial(1), odd), Err(CertificateError::Dates));
    let backwards = Validity { not_before_ms: NOW, not_after_ms: NOW };
    assert_eq!(authority::make_root(&at.root_key, &at.root.name, &serial(1), backwards), Err(CertificateError::Dates));
}

#[test]
fn whatever_the_profile_does_not_know_is_refused() {
    let at = authority_of(1);
    let ca = BasicConstraints { ca: true, path_len_constraint: None };
    let unknown = |critical| Extension {
        extn_id: const_oid::ObjectIdentifier::new_unwrap("1.2.3.4"),
        critical,
        extn_value: der::asn1::OctetString::new([5u8, 0]).unwrap(),
    };
    let refused = |kind, change: &dyn Fn(&mut Subject, &mut Extensions, &mut Validity)| {
        Certificate::parse(&forge(&at, kind, |s, e, v| change(s, e, v))).unwrap_err()
    };
    let system = Kind::UnitSystem;
    assert_eq!(refused(system, &|_, e, _| e.push(x509::extension(true, &ca).unwrap())), CertificateError::CaFlag);
    for critical in [false, true] {
        assert_eq!(refused(system, &|_, e, _| e.push(unknown(critical))), CertificateError::Extension("1.2.3.4".into()));
    }
    let keyusage = KeyUsage(KeyUsages::DigitalSignature | KeyUsages::KeyCertSign);
    assert_eq!(refused(system, &|_, e, _| replace(e, true, &keyusage)), CertificateError::KeyUsage);
    let uncritical = KeyUsage(KeyUsages::DigitalSignature.into());
    assert_eq!(refused(system, &|_, e, _| replace(e, false, &uncritical)), CertificateError::Extension("2.5.29.15".into()));
    let server = ExtendedKeyUsage(vec![const_oid::db::rfc5280::ID_KP_SERVER_AUTH]);
    assert_eq!(refused(system, &|_, e, _| replace(e, false, &server)), CertificateError::KeyUsage);
    assert_eq!(refused(system, &|_, e, _| e.truncate(4)), CertificateError::Extension("2.5.29.17".into()));
    assert_eq!(refused(system, &|_, e, _| e.push(e[4].clone())), CertificateError::Extension("2.5.29.17".into()));
    let elsewhere = SubjectAltName(vec![GeneralName::DnsName(der::asn1::Ia5String::new("a.example").unwrap())]);
    assert_eq!(refused(system, &|_, e, _| replace(e, false, &elsewhere)), CertificateError::AlternativeName);
}

#[test]
fn subject_and_alternative_names_say_the_same() {
    let at = authority_of(1);
    let refused = |kind, change: &dyn Fn(&mut Subject)| Certificate::parse(&forge(&at, kind, |s, _, _| change(s))).unwrap_err();
    assert_eq!(refused(Kind::UnitSystem, &|s| s.unit = "11440300MB0X00019L".into()), CertificateError::AlternativeName);
    assert_eq!(refused(Kind::UnitSystem, &|s| s.name = "futian".into()), CertificateError::AlternativeName);
    assert_eq!(refused(KINDS[0], &|s| s.name = "futian".into()), CertificateError::AlternativeName);
    assert_eq!(refused(Kind::UnitSystem, &|s| s.district = String::new()), CertificateError::Subject("district"));
    assert_eq!(refused(Kind::UnitSystem, &|s| s.posts = vec!["maker".into()]), CertificateError::Subject("posts"));
    assert_eq!(refused(Kind::Operator, &|s| s.posts.reverse()), CertificateError::Subject("posts"));
    assert_eq!(refused(Kind::Operator, &|s| s.posts.clear()), CertificateError::Subject("posts"));
    let stranger = SigningKey::from_seed(&[43; 32]);
    let other = subject(Kind::Operator, &stranger);
    let refusal = authority::issue(&at.issuing_key, &at.issuing, &other, key().public(), &serial(3), days(0, 1));
    assert_eq!(refusal.map(|_| ()), Err(CertificateError::Key));
}

#[test]
fn a_subject_with_more_in_it_is_refused() {
    let at = authority_of(1);
    let of = subject(Kind::UnitSystem, &key());
    let mut longer: Name = of.distinguished_name().unwrap();
    longer.0.push(longer.0[1].clone());
    let draft = Draft {
        serial: &serial(9),
        issuer: at.issuing.distinguished_name().clone(),
        subject: longer,
        validity: days(0, 1),
        key: key().public(),
        extensions: leaf_extensions(&of, &key().public(), &at.issuing).unwrap(),
    };
    assert_eq!(Certificate::parse(&x509::sign(draft, &at.issuing_key).unwrap()), Err(CertificateError::Subject("shape")));
}

#[test]
fn bad_names_are_never_signed() {
    let at = authority_of(1);
    let good = subject(Kind::UnitSystem, &key());
    for bad in [
        Subject { name: "Nanshan".into(), ..good.clone() },
        Subject { name: "-a".into(), ..good.clone() },
        Subject { name: "a/b".into(), ..good.clone() },
        Subject { unit: "1".into(), ..good.clone() },
        Subject { trust_domain: "a..b".into(), ..good.clone() },
        Subject { trust_domain: "other.example".into(), ..good.clone() },
        Subject { kind: Kind::Node { raft_id: 0 }, ..good.clone() },
    ] {
        assert!(authority::issue(&at.issuing_key, &at.issuing, &bad, key().public(), &serial(3), days(0, 1)).is_err(), "{bad:?}");
    }
}

#[test]
fn leaves_and_authorities_are_not_mistaken_for_each_other() {
    let at = authority_of(1);
    let (der, _) = leaf(&at, Kind::UnitSystem, &key(), 7);
    assert_eq!(AuthorityCertificate::parse(&der), Err(CertificateError::CaFlag));
    assert_eq!(Certificate::parse(at.issuing.der()), Err(CertificateError::CaFlag));
    assert_eq!(Certificate::parse(&[0; x509::MAX_CERTIFICATE + 1]), Err(CertificateError::TooLarge));
}

#[test]
fn a_key_that_does_not_sign_is_said() {
    #[derive(Debug)]
    struct Away(SigningKey);
    impl Signer for Away {
        fn public(&self) -> vermilion_crypto::PublicKey {
            self.0.public()
        }
        fn sign(&self, _: &[u8]) -> Result<vermilion_crypto::Signature, crate::SignerError> {
            Err(crate::SignerError("no device".into()))
        }
    }
    let at = authority_of(1);
    let made = authority::make_root(&Away(at.root_key.clone()), &at.root.name, &serial(1), days(0, 1));
    assert_eq!(made, Err(CertificateError::Signer(crate::SignerError("no device".into()))));
}

proptest! {
    #[test]
    fn any_bytes_parse_or_fail_clearly(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        prop_assert!(Certificate::parse(&bytes).is_err());
        prop_assert!(AuthorityCertificate::parse(&bytes).is_err());
    }

    #[test]
    fn every_changed_bit_is_noticed(at in any::<prop::sample::Index>(), bit in 0u8..8, kind in 0usize..4) {
        let authority = authority_of(1);
        let (mut der, made) = leaf(&authority, KINDS[kind], &key(), 7);
        let at = at.index(der.len());
        der[at] ^= 1 << bit;
        if let Ok(changed) = Certificate::parse(&der) {
            prop_assert!(changed.fingerprint != made.fingerprint);
            prop_assert!(changed.verify_issued_by(&authority.issuing).is_err());
        }
    }

    #[test]
    fn what_was_cut_short_or_goes_on_is_refused(cut in 1usize..200, tail in 1u8..) {
        let (der, _) = leaf(&authority_of(1), Kind::Operator, &key(), 7);
        prop_assert!(Certificate::parse(&der[..der.len() - cut]).is_err());
        prop_assert!(Certificate::parse(&[&der[..], &[tail]].concat()).is_err());
    }
}

#[test]
fn a_certificate_is_due_after_two_thirds_of_its_time() {
    let validity = Validity { not_before_ms: 1000, not_after_ms: 4000 };
    assert!(!validity.is_due(0) && !validity.is_due(2999));
    assert!(validity.is_due(3000) && validity.is_due(9000));
}

#[test]
fn a_pem_file_of_several_certificates_is_read_in_order() {
    // Not certificates, and not read as such: only the frame is.
    let (one, other) = (x509::to_pem(&[0x30, 0]).unwrap(), x509::to_pem(&[0x30, 1, 5]).unwrap());
    assert_eq!(x509::chain_from_pem(&format!("{one}{other}")), Ok(vec![vec![0x30, 0], vec![0x30, 1, 5]]));
    assert_eq!(x509::chain_from_pem(&one), Ok(vec![vec![0x30, 0]]));
    assert!(x509::chain_from_pem(&format!("{one}rubbish")).is_err());
}
