//! Whom a leaf certificate names, and where in it each fact stands.

use crate::certificate::CertificateError;
use const_oid::{ObjectIdentifier, db::rfc4519};
use der::asn1::{Any, Ia5String, PrintableStringRef, SetOfVec, Utf8StringRef};
use x509_cert::{
    attr::AttributeTypeAndValue,
    ext::pkix::{SubjectAltName, name::GeneralName},
    name::{Name, RdnSequence, RelativeDistinguishedName},
};

/// X.520 organizationIdentifier.
const ORGANIZATION_IDENTIFIER: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.97");
/// ETSI EN 319 412-1 §5.1.4: national trade register, China. The USCC follows.
const UNIT_PREFIX: &str = "NTRCN-";
/// The most posts in one certificate.
pub const MAX_POSTS: usize = 16;
const MAX_TRUST_DOMAIN: usize = 128;
const MAX_LABEL: usize = 63;
const MAX_POST: usize = 32;
const MAX_DISTRICT: usize = 16;

/// What a certificate's holder is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// A node of the ledger, under this Raft id.
    Node {
        /// The id; never 0.
        raft_id: u64,
    },
    /// A unit's system.
    UnitSystem,
    /// A person who acts for a unit.
    Operator,
    /// A person or system of an auditing unit, which reads and never acts.
    Auditor,
}

impl Kind {
    /// The word for it: `node`, `unit-system`, `operator`, `auditor`.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::Node { .. } => "node",
            Self::UnitSystem => "unit-system",
            Self::Operator => "operator",
            Self::Auditor => "auditor",
        }
    }

    /// Whether it stands for a person, whose certificate is of the key by which that person signs.
    #[must_use]
    pub fn is_person(&self) -> bool {
        matches!(self, Self::Operator | Self::Auditor)
    }
}

/// Whom a certificate names. No name of a person stands in it: a person is known by a key id.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Subject {
    /// What the holder is.
    pub kind: Kind,
    /// The ledger's domain of trust, a DNS name in lower case; the authority's own.
    pub trust_domain: String,
    /// USCC of the unit that runs the node or the system, or for which the person acts.
    pub unit: String,
    /// The unit's or node's area: GB/T 2260, or a functional area's own code.
    pub district: String,
    /// Posts that a person may hold, ascending; empty for nodes and systems. An upper bound: which
    /// posts are held now, the ledger's state says.
    pub posts: Vec<String>,
    /// Node or system: its name, one DNS label. Person: the id of the certificate's key, 32 hexadecimal digits.
    pub name: String,
}

fn is_label(text: &str) -> bool {
    (1..=MAX_LABEL).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        && !text.starts_with('-')
        && !text.ends_with('-')
}

pub(crate) fn is_trust_domain(text: &str) -> bool {
    text.len() <= MAX_TRUST_DOMAIN && text.split('.').all(is_label)
}

pub(crate) fn is_unit(text: &str) -> bool {
    text.len() == 18 && text.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit())
}

fn is_post(text: &str) -> bool {
    (1..=MAX_POST).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

fn is_district(text: &str) -> bool {
    (1..=MAX_DISTRICT).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
}

impl Subject {
    /// Whether every part has its form. Names the first that has not.
    pub fn check(&self) -> Result<(), CertificateError> {
        let wrong = |part| Err(CertificateError::Subject(part));
        if !is_trust_domain(&self.trust_domain) {
            return wrong("trust domain");
        }
        if !is_unit(&self.unit) {
            return wrong("unit");
        }
        if !is_district(&self.district) {
            return wrong("district");
        }
        let named = if self.kind.is_person() {
            self.name.len() == 32 && self.name.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
        } else {
            is_label(&self.name)
        };
        if !named || self.kind == (Kind::Node { raft_id: 0 }) {
            return wrong("name");
        }
        let sorted = self.posts.windows(2).all(|pair| pair[0] < pair[1]);
        let few = if self.kind.is_person() { self.posts.len() <= MAX_POSTS } else { self.posts.is_empty() };
        if !sorted || !few || !self.posts.iter().all(|p| is_post(p)) || (self.kind == Kind::Operator && self.posts.is_empty()) {
            return wrong("posts");
        }
        Ok(())
    }

    /// The SPIFFE id: `spiffe://<trust domain>/node/<raft id>`, or `/<kind>/<unit>/<name>`.
    #[must_use]
    pub fn uri(&self) -> String {
        match self.kind {
            Kind::Node { raft_id } => format!("spiffe://{}/node/{raft_id}", self.trust_domain),
            kind => format!("spiffe://{}/{}/{}/{}", self.trust_domain, kind.word(), self.unit, self.name),
        }
    }

    /// A node's DNS name: its name under the trust domain. It need not resolve.
    #[must_use]
    pub fn dns_name(&self) -> Option<String> {
        matches!(self.kind, Kind::Node { .. }).then(|| format!("{}.{}", self.name, self.trust_domain))
    }

    /// The subject's distinguished name.
    pub(crate) fn distinguished_name(&self) -> Result<Name, CertificateError> {
        let posts = self.posts.iter().map(|post| (rfc4519::TITLE, post.as_str()));
        let unit = format!("{UNIT_PREFIX}{}", self.unit);
        let parts = [(rfc4519::LOCALITY_NAME, self.district.as_str()), (ORGANIZATION_IDENTIFIER, unit.as_str())];
        name_of(parts.into_iter().chain(posts).chain([(rfc4519::COMMON_NAME, self.name.as_str())]))
    }

    /// The subject's alternative names: the SPIFFE id and, for a node, its DNS name.
    pub(crate) fn alternative_names(&self) -> Result<SubjectAltName, CertificateError> {
        let mut names = vec![uri_name(&self.uri())?];
        if let Some(dns) = self.dns_name() {
            names.push(GeneralName::DnsName(Ia5String::new(&dns)?));
        }
        Ok(SubjectAltName(names))
    }

    /// Reads a subject. Whatever is not exactly as [`Subject::distinguished_name`] and
    /// [`Subject::alternative_names`] would write it is refused.
    pub(crate) fn read(name: &Name, alternative: &SubjectAltName) -> Result<Self, CertificateError> {
        let uri = first_uri(alternative)?;
        let wrong = CertificateError::AlternativeName;
        let (trust_domain, path) = uri.strip_prefix("spiffe://").and_then(|rest| rest.split_once('/')).ok_or(wrong.clone())?;
        let (word, rest) = path.split_once('/').ok_or(wrong.clone())?;
        let kind = match word {
            "node" => Kind::Node { raft_id: rest.parse().map_err(|_| wrong.clone())? },
            "unit-system" => Kind::UnitSystem,
            "operator" => Kind::Operator,
            "auditor" => Kind::Auditor,
            _ => return Err(wrong),
        };
        let subject = Self {
            kind,
            trust_domain: trust_domain.to_owned(),
            unit: unit_of(name)?,
            district: values(name, rfc4519::LOCALITY_NAME).next().unwrap_or_default(),
            posts: values(name, rfc4519::TITLE).take(MAX_POSTS + 1).collect(),
            name: values(name, rfc4519::COMMON_NAME).next().unwrap_or_default(),
        };
        subject.check()?;
        if subject.distinguished_name()? != *name {
            return Err(CertificateError::Subject("shape"));
        }
        if subject.alternative_names()? != *alternative {
            return Err(wrong);
        }
        Ok(subject)
    }
}

/// `C=CN` and then these, each a relative name of its own, as UTF8String.
pub(crate) fn name_of<'a>(parts: impl Iterator<Item = (ObjectIdentifier, &'a str)>) -> Result<Name, CertificateError> {
    let country = AttributeTypeAndValue { oid: rfc4519::COUNTRY_NAME, value: Any::from(PrintableStringRef::new("CN")?) };
    let mut rdns = vec![RelativeDistinguishedName(SetOfVec::try_from(vec![country])?)];
    for (oid, text) in parts {
        let value = Any::from(Utf8StringRef::new(text)?);
        rdns.push(RelativeDistinguishedName(SetOfVec::try_from(vec![AttributeTypeAndValue { oid, value }])?));
    }
    Ok(RdnSequence(rdns))
}

/// The name of an authority: `C=CN`, its unit, its name.
pub(crate) fn authority_name(unit: &str, name: &str) -> Result<Name, CertificateError> {
    let unit = format!("{UNIT_PREFIX}{unit}");
    name_of([(ORGANIZATION_IDENTIFIER, unit.as_str()), (rfc4519::COMMON_NAME, name)].into_iter())
}

/// The values of an attribute, in order, of those that are UTF8String.
pub(crate) fn values(name: &Name, oid: ObjectIdentifier) -> impl Iterator<Item = String> + '_ {
    name.0
        .iter()
        .flat_map(|rdn| rdn.0.iter())
        .filter(move |attribute| attribute.oid == oid)
        .filter_map(|attribute| attribute.value.decode_as::<Utf8StringRef<'_>>().ok().map(|text| text.as_str().to_owned()))
}

/// The USCC in a name.
pub(crate) fn unit_of(name: &Name) -> Result<String, CertificateError> {
    let unit = values(name, ORGANIZATION_IDENTIFIER).next().unwrap_or_default();
    unit.strip_prefix(UNIT_PREFIX).map(str::to_owned).ok_or(CertificateError::Subject("unit"))
}

pub(crate) fn uri_name(uri: &str) -> Result<GeneralName, CertificateError> {
    Ok(GeneralName::UniformResourceIdentifier(Ia5String::new(uri)?))
}

/// The URI that must stand first.
pub(crate) fn first_uri(names: &SubjectAltName) -> Result<&str, CertificateError> {
    match names.0.first() {
        Some(GeneralName::UniformResourceIdentifier(uri)) => Ok(uri.as_str()),
        _ => Err(CertificateError::AlternativeName),
    }
}
