//! What founders say of themselves before there is a ledger: a statement of each node and each first
//! operator, signed by every key in it, so that nobody founds with a key that somebody else holds.
//!
//! Who they are is not known here: they sit at one table, and compare what was printed
//! ([`Founder::fingerprint`]).

use crate::signer::{Signer, SignerError};
use vermilion_crypto::{PublicKey, check_registrable, dsse, sha256};
use vermilion_proto::founding_statement::Of;
use vermilion_proto::{FOUNDING_TYPE, FoundingNode, FoundingOperator, FoundingRequest, FoundingStatement, Message as _, canonical};

/// The largest request, in bytes.
pub const MAX_FOUNDING_REQUEST: usize = 16 << 10;
/// The version of requests and packages.
pub const FOUNDING_VERSION: u32 = 1;

/// Why a file is no request to found with.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FoundingError {
    /// It does not decode, is too large, or is not in the one encoding.
    #[error("the file is no founding request: {0}")]
    Malformed(String),
    /// It is of a version that this program does not know.
    #[error("founding request of version {0}: this program knows version {FOUNDING_VERSION}")]
    Version(u32),
    /// A key is malformed, or stands there twice.
    #[error("a key of the founding request is malformed, or serves twice")]
    Key,
    /// A signature does not hold: the file was changed, or the applicant does not hold the key.
    #[error("a signature of the founding request does not hold: it was changed, or made without the key")]
    Signature,
    /// A key did not sign.
    #[error(transparent)]
    Signer(#[from] SignerError),
}

/// Who is to stand in the genesis.
#[derive(Debug, Clone, PartialEq)]
pub enum Founder {
    /// A node.
    Node(FoundingNode),
    /// One of the managing unit's first operators.
    Operator(FoundingOperator),
}

impl Founder {
    /// Makes a node's request, signed by the three keys that it names.
    pub fn node(node: FoundingNode, [signs, cosigns, tls]: [&dyn Signer; 3]) -> Result<Vec<u8>, FoundingError> {
        let key = |of: &dyn Signer| of.public().0.to_vec();
        let node = FoundingNode { node_key: key(signs), cosigning_key: key(cosigns), tls_key: key(tls), ..node };
        sign(Of::Node(node), &[signs, cosigns, tls])
    }

    /// Makes an operator's request, signed by the key that it names.
    pub fn operator(operator: FoundingOperator, key: &dyn Signer) -> Result<Vec<u8>, FoundingError> {
        sign(Of::Operator(FoundingOperator { key: key.public().0.to_vec(), ..operator }), &[key])
    }

    /// Reads a request and checks every signature.
    pub fn read(bytes: &[u8]) -> Result<Self, FoundingError> {
        let malformed = |why: &dyn std::fmt::Display| FoundingError::Malformed(why.to_string());
        if bytes.len() > MAX_FOUNDING_REQUEST {
            return Err(malformed(&"it is too large"));
        }
        let request: FoundingRequest = canonical(bytes).map_err(|e| malformed(&e))?;
        let statement: FoundingStatement = canonical(&request.statement).map_err(|e| malformed(&e))?;
        if statement.format_version != FOUNDING_VERSION {
            return Err(FoundingError::Version(statement.format_version));
        }
        let founder = match statement.of {
            Some(Of::Node(node)) => Self::Node(node),
            Some(Of::Operator(operator)) => Self::Operator(operator),
            None => return Err(malformed(&"it is of nobody")),
        };
        let keys = founder.keys()?;
        if keys.len() != request.signatures.len() {
            return Err(FoundingError::Signature);
        }
        let signed = dsse::pae(FOUNDING_TYPE, &request.statement);
        for (key, signature) in keys.iter().zip(&request.signatures) {
            key.verify(&signed, signature).map_err(|_| FoundingError::Signature)?;
        }
        Ok(founder)
    }

    /// SHA-256 of the founder's keys, in the order of the fields: what its owner compares with what was printed where the
    /// request was made.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        let keys = match self {
            Self::Node(node) => [&*node.node_key, &node.cosigning_key, &node.tls_key, &node.recipient].concat(),
            Self::Operator(operator) => operator.key.clone(),
        };
        hex::encode(sha256(&keys))
    }

    /// The keys that must have signed: each of use, and for one thing alone.
    fn keys(&self) -> Result<Vec<PublicKey>, FoundingError> {
        let keys = match self {
            Self::Node(node) => vec![&node.node_key, &node.cosigning_key, &node.tls_key],
            Self::Operator(operator) => vec![&operator.key],
        };
        let keys: Vec<PublicKey> =
            keys.into_iter().map(|key| check_registrable(key)).collect::<Result<_, _>>().map_err(|_| FoundingError::Key)?;
        let twice = keys.iter().enumerate().any(|(n, key)| keys[..n].contains(key));
        if twice { Err(FoundingError::Key) } else { Ok(keys) }
    }
}

fn sign(of: Of, keys: &[&dyn Signer]) -> Result<Vec<u8>, FoundingError> {
    let statement = FoundingStatement { format_version: FOUNDING_VERSION, of: Some(of) }.encode_to_vec();
    let signed = dsse::pae(FOUNDING_TYPE, &statement);
    let signatures = keys.iter().map(|key| Ok(key.sign(&signed)?.to_vec())).collect::<Result<_, SignerError>>()?;
    let made = FoundingRequest { statement, signatures }.encode_to_vec();
    // So none leaves that the table would refuse.
    Founder::read(&made).map(|_| made)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use vermilion_crypto::SigningKey;

    fn key(n: u8) -> SigningKey {
        SigningKey::from_seed(&[n; 32])
    }

    fn node() -> Vec<u8> {
        let node = FoundingNode { name: "futian".into(), district: "440304".into(), recipient: vec![7; 32], ..Default::default() };
        Founder::node(node, [&key(1), &key(2), &key(3)]).unwrap()
    }

    #[test]
    fn says_who_it_is_and_proves_each_key() {
        let Founder::Node(read) = Founder::read(&node()).unwrap() else { panic!("no node") };
        assert_eq!((read.name.as_str(), &read.tls_key[..]), ("futian", &key(3).public().0[..]));
        let operator = FoundingOperator { unit: "u".into(), posts: vec!["approve".into()], ..Default::default() };
        let read = Founder::read(&Founder::operator(operator, &key(4)).unwrap()).unwrap();
        assert_eq!(read.fingerprint(), hex::encode(sha256(&key(4).public().0)));
        assert_ne!(read.fingerprint(), Founder::read(&node()).unwrap().fingerprint());
    }

    #[test]
    fn a_key_has_one_use_and_its_holder_signs() {
        let made = Founder::node(FoundingNode::default(), [&key(1), &key(1), &key(3)]);
        assert_eq!(made, Err(FoundingError::Key));
        let mut request: FoundingRequest = canonical(&node()).unwrap();
        request.signatures.swap(0, 1);
        assert_eq!(Founder::read(&request.encode_to_vec()), Err(FoundingError::Signature));
        request.signatures.truncate(2);
        assert_eq!(Founder::read(&request.encode_to_vec()), Err(FoundingError::Signature));
        let statement = FoundingStatement { format_version: 2, of: Some(Of::Node(FoundingNode::default())) };
        let later = FoundingRequest { statement: statement.encode_to_vec(), signatures: Vec::new() };
        assert_eq!(Founder::read(&later.encode_to_vec()), Err(FoundingError::Version(2)));
    }

    proptest! {
        #[test]
        fn every_changed_bit_is_noticed(at in any::<prop::sample::Index>(), bit in 0u8..8) {
            let mut bytes = node();
            let at = at.index(bytes.len());
            bytes[at] ^= 1 << bit;
            prop_assert!(Founder::read(&bytes).is_err());
        }

        #[test]
        fn any_bytes_read_or_fail_clearly(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(Founder::read(&bytes).is_err());
        }
    }
}
