use crate::kv::KvError;
use crate::reason::{Reason, Refusal};

/// Why a node must stop: anything in apply that is not a deterministic refusal. After one of these
/// the [`crate::Registry`] is of no more use; nothing of the block may be written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fatal {
    /// The state store failed.
    #[error(transparent)]
    Kv(#[from] KvError),
    /// There is no genesis in the state.
    #[error("the state has no genesis: it was never begun, or the wrong directory is open")]
    NoGenesis,
    /// A genesis that the rules refuse, or one over a state that has one.
    #[error("the genesis is refused: {0}")]
    Genesis(String),
    /// A value in the state does not decode.
    #[error("the state value under {key} does not decode: {why}")]
    Undecodable {
        /// The key, in hex.
        key: String,
        /// What is wrong with its value.
        why: String,
    },
    /// What must hold of the state does not hold.
    #[error("the state does not hold together: {0}")]
    Broken(String),
    /// Rules of a version that this build does not have.
    #[error("rules of version {0} are not in this build")]
    Rules(u32),
}

/// Why deciding a command ended early: the rules refuse it, or the node must stop.
#[derive(Debug)]
pub(crate) enum Stop {
    Refused(Refusal),
    Fatal(Fatal),
}

impl From<Refusal> for Stop {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<Fatal> for Stop {
    fn from(fatal: Fatal) -> Self {
        Self::Fatal(fatal)
    }
}

impl From<KvError> for Stop {
    fn from(error: KvError) -> Self {
        Self::Fatal(error.into())
    }
}

/// A refusal as an early end.
pub(crate) fn refuse<T>(reason: Reason, detail: impl Into<String>) -> Result<T, Stop> {
    Err(Stop::Refused(Refusal::new(reason, detail)))
}
