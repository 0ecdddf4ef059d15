//! A command as it comes from the gate, and the kinds of command there are.

use vermilion_crypto::KeyId;
use vermilion_proto::{Bytes, Command, LicenceItem, body::Of};

/// A command that passed the gate. Whoever makes one has checked, as a pure function of the bytes:
/// envelope, payload and items are canonical; every signature holds; every signer that the head
/// names has signed, and nobody else; the items' root and count are what the payload signs.
#[derive(Clone, Debug)]
pub struct Checked {
    /// The command's id: BLAKE3 over the payload, under its context.
    pub id: [u8; 32],
    /// The exact bytes of the envelope; the record keeps them.
    pub envelope: Bytes,
    /// The decoded payload.
    pub command: Command,
    /// Ids of the keys that signed, in the order of `Head.signers`.
    pub signer_keys: Vec<KeyId>,
    /// The items that travelled beside, each with its exact bytes.
    pub items: Vec<(Bytes, LicenceItem)>,
    /// Digest of what travelled beside; empty when nothing did.
    pub beside_digest: Vec<u8>,
    /// Whether ciphertexts travelled beside. It decides nothing: a replay without the vault gives
    /// the same records.
    pub has_vault: bool,
}

/// The kinds of command. The name stands in policy keys: `posts.<name>`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash)]
pub enum Kind {
    /// The first record.
    Genesis,
    /// Admits a unit (002-6).
    RegisterUnit,
    /// Suspends or restores a unit (002-6).
    ChangeUnit,
    /// Registers an operator's key with its posts (002-21, 002-25).
    AddOperator,
    /// Takes a key or posts back (002-21).
    RevokeOperator,
    /// Publishes a licence type's next version (002-9).
    PublishType,
    /// Says which units issue a type (002-9).
    PublishImplementation,
    /// Issues licences (002-7, 002-10).
    Issue,
    /// Changes a licence's state or flags (002-7).
    ChangeStatus,
    /// Issues a licence's next version (002-7).
    Supersede,
    /// Uses, consults or verifies licences (002-15).
    Use,
    /// Erases content from the vault (002-12, 002-21).
    Erase,
    /// Sets policy (002-6).
    SetPolicy,
    /// The leader's empty command.
    Commitment,
}

impl Kind {
    /// Every kind that posts of operators sign.
    pub const SIGNED_BY_POSTS: [Kind; 12] = [
        Kind::RegisterUnit,
        Kind::ChangeUnit,
        Kind::AddOperator,
        Kind::RevokeOperator,
        Kind::PublishType,
        Kind::PublishImplementation,
        Kind::Issue,
        Kind::ChangeStatus,
        Kind::Supersede,
        Kind::Use,
        Kind::Erase,
        Kind::SetPolicy,
    ];

    /// The kind of a body.
    #[must_use]
    pub fn of(body: &Of) -> Self {
        match body {
            Of::Genesis(_) => Self::Genesis,
            Of::RegisterUnit(_) => Self::RegisterUnit,
            Of::ChangeUnit(_) => Self::ChangeUnit,
            Of::AddOperator(_) => Self::AddOperator,
            Of::RevokeOperator(_) => Self::RevokeOperator,
            Of::PublishType(_) => Self::PublishType,
            Of::PublishImplementation(_) => Self::PublishImplementation,
            Of::IssueLicences(_) => Self::Issue,
            Of::ChangeStatus(_) => Self::ChangeStatus,
            Of::SupersedeLicence(_) => Self::Supersede,
            Of::Use(_) => Self::Use,
            Of::EraseContent(_) => Self::Erase,
            Of::SetPolicy(_) => Self::SetPolicy,
            Of::Commitment(_) => Self::Commitment,
        }
    }

    /// The stable name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Genesis => "genesis",
            Self::RegisterUnit => "register-unit",
            Self::ChangeUnit => "change-unit",
            Self::AddOperator => "add-operator",
            Self::RevokeOperator => "revoke-operator",
            Self::PublishType => "publish-type",
            Self::PublishImplementation => "publish-implementation",
            Self::Issue => "issue",
            Self::ChangeStatus => "change-status",
            Self::Supersede => "supersede",
            Self::Use => "use",
            Self::Erase => "erase",
            Self::SetPolicy => "set-policy",
            Self::Commitment => "commitment",
        }
    }
}
