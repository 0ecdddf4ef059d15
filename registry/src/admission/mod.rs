//! Admission (接入) of nodes and of units' systems: one state machine, each step a record (004-17 to
//! 004-21; 002-6; 003-20).
//!
//! ```text
//! applied ─▶ tested ─▶ approved ─▶ connected ─▶ change-notified ─▶ retested ─▶ reapproved ─▶ connected
//!                                      │  by the risk's grade         ▲
//!                                      └─▶ disconnected | banned ─▶ remedied
//!                                                    any ─▶ retired
//! ```
//!
//! Which state may follow which is policy, a key `admission.<from>.<to>` for each pair, in the
//! language of [`crate::transition::Transition`]; [`DEFAULTS`] has the articles. Who signs a step is
//! policy too (`posts.<command>`); for which unit, is in [`crate::authorisation`].
//!
//! **Access** stands beside the state: connecting gives it; a ban, a disconnection and retiring take
//! it. A notified change takes it from a unit's system, which must be tested and approved before it
//! connects again (004-19). A node keeps it meanwhile, because taking a voter out weakens what the
//! rest can bear; but it gets no certificate and is not promoted.
//!
//! A node that lost access is never the same node again: its Raft id, its node key and its
//! cosigning key are spent, its certificates revoked. It comes back with new ones.
//!
//! Nodes of the genesis are connected without a record, until one says otherwise.

pub mod group;
pub mod membership;
mod nodes;
mod steps;

pub use nodes::subject_of as node_subject;
pub(crate) use steps::*;

/// Where an admission stands.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash)]
pub enum State {
    /// Applied for; nothing is given.
    Applied = 1,
    /// A security test was passed.
    Tested = 2,
    /// Approved by three people; it may get its certificate.
    Approved = 3,
    /// Connected.
    Connected = 4,
    /// A major change was notified.
    ChangeNotified = 5,
    /// Tested again, after a change or a remedy.
    Retested = 6,
    /// Approved again.
    Reapproved = 7,
    /// Cut off; the risk is of a lower grade.
    Disconnected = 8,
    /// Cut off; the risk is of a grade for which policy bans.
    Banned = 9,
    /// The problem is remedied, it says.
    Remedied = 10,
    /// Ended for good.
    Retired = 11,
}

impl State {
    /// Every state.
    pub const ALL: [State; 11] = [
        Self::Applied,
        Self::Tested,
        Self::Approved,
        Self::Connected,
        Self::ChangeNotified,
        Self::Retested,
        Self::Reapproved,
        Self::Disconnected,
        Self::Banned,
        Self::Remedied,
        Self::Retired,
    ];

    /// The number that the state of the ledger carries.
    #[must_use]
    pub fn number(self) -> u32 {
        self as u32
    }

    /// The state of a number.
    #[must_use]
    pub fn from_number(number: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|s| s.number() == number)
    }

    /// The name in policy keys and scripts.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Applied => "applied",
            Self::Tested => "tested",
            Self::Approved => "approved",
            Self::Connected => "connected",
            Self::ChangeNotified => "change-notified",
            Self::Retested => "retested",
            Self::Reapproved => "reapproved",
            Self::Disconnected => "disconnected",
            Self::Banned => "banned",
            Self::Remedied => "remedied",
            Self::Retired => "retired",
        }
    }

    /// The name in Chinese.
    #[must_use]
    pub fn chinese(self) -> &'static str {
        match self {
            Self::Applied => "已申请",
            Self::Tested => "已检测",
            Self::Approved => "已批准",
            Self::Connected => "已接入",
            Self::ChangeNotified => "重大变更",
            Self::Retested => "已重新检测",
            Self::Reapproved => "已重新批准",
            Self::Disconnected => "已断开",
            Self::Banned => "已封禁",
            Self::Remedied => "已整改",
            Self::Retired => "已退出",
        }
    }

    /// The state of a name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|s| s.name() == name)
    }

    /// Whether a certificate may be issued.
    #[must_use]
    pub fn may_be_certified(self) -> bool {
        matches!(self, Self::Approved | Self::Connected | Self::Reapproved)
    }
}

/// The grades of risk, ascending. Policy `admission.ban.grades` says for which of them a system is
/// banned; for the others it is disconnected (004-20).
pub const GRADES: [&str; 4] = ["low", "medium", "high", "critical"];

/// The policy key of a pair.
#[must_use]
pub fn key(from: State, to: State) -> String {
    format!("admission.{}.{}", from.name(), to.name())
}

/// The pair of a policy key.
#[must_use]
pub fn pair(key: &str) -> Option<(State, State)> {
    let (from, to) = key.strip_prefix("admission.")?.split_once('.')?;
    let (from, to) = (State::from_name(from)?, State::from_name(to)?);
    // What was cut off comes back through a remedy, a node with another id: no policy shortens that.
    let is_cut = |s| matches!(s, State::Disconnected | State::Banned);
    let leads_back = is_cut(from) && !is_cut(to) && !matches!(to, State::Remedied | State::Retired);
    (from != to && from != State::Retired && to != State::Applied && !leads_back).then_some((from, to))
}

const TEST: &str = "004-17";
const CHANGE: &str = "004-19";
const RISK: &str = "004-20";
const AGAIN: &str = "004-19;004-20";
const END: &str = "004-6;004-22";

/// The pairs that are allowed by default, with value and article. Every other pair is refused.
pub const DEFAULTS: &[(State, State, &str, &str)] = {
    use State::*;
    &[
        (Applied, Tested, "allowed", TEST),
        (Tested, Approved, "allowed", TEST),
        (Approved, Connected, "allowed", TEST),
        (Connected, ChangeNotified, "allowed", CHANGE),
        (ChangeNotified, Retested, "allowed", CHANGE),
        (Retested, Reapproved, "allowed", AGAIN),
        (Reapproved, Connected, "allowed", AGAIN),
        (Approved, Disconnected, "allowed", RISK),
        (Connected, Disconnected, "allowed", RISK),
        (ChangeNotified, Disconnected, "allowed", RISK),
        (Retested, Disconnected, "allowed", RISK),
        (Reapproved, Disconnected, "allowed", RISK),
        (Approved, Banned, "allowed", RISK),
        (Connected, Banned, "allowed", RISK),
        (ChangeNotified, Banned, "allowed", RISK),
        (Retested, Banned, "allowed", RISK),
        (Reapproved, Banned, "allowed", RISK),
        (Disconnected, Banned, "allowed", RISK),
        (Disconnected, Remedied, "allowed", RISK),
        (Banned, Remedied, "allowed", RISK),
        (Remedied, Retested, "allowed", RISK),
        (Applied, Retired, "allowed", END),
        (Tested, Retired, "allowed", END),
        (Approved, Retired, "allowed", END),
        (Connected, Retired, "allowed", END),
        (ChangeNotified, Retired, "allowed", END),
        (Retested, Retired, "allowed", END),
        (Reapproved, Retired, "allowed", END),
        (Disconnected, Retired, "allowed", END),
        (Banned, Retired, "allowed", END),
        (Remedied, Retired, "allowed", END),
    ]
};

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::transition::Transition;

    #[test]
    fn defaults_name_each_pair_once_and_parse() {
        let mut keys = std::collections::BTreeSet::new();
        for (from, to, value, citation) in DEFAULTS {
            assert!(keys.insert(key(*from, *to)));
            assert_eq!(pair(&key(*from, *to)), Some((*from, *to)));
            assert!(Transition::parse(value).unwrap().allowed && citation.starts_with("004-"));
        }
        assert_eq!(pair("admission.retired.applied"), None, "what is retired stays so");
        assert_eq!((pair("admission.banned.connected"), pair("admission.disconnected.reapproved")), (None, None));
        assert_eq!(pair("admission.ban.grades"), None);
        for state in State::ALL {
            assert_eq!((State::from_number(state.number()), State::from_name(state.name())), (Some(state), Some(state)));
        }
    }

    #[test]
    fn nobody_connects_without_a_test_and_an_approval() {
        let before = |to: State| DEFAULTS.iter().filter(move |(_, t, ..)| *t == to).map(|(f, ..)| *f).collect::<Vec<_>>();
        assert_eq!(before(State::Connected), [State::Approved, State::Reapproved]);
        assert_eq!(before(State::Approved), [State::Tested]);
        assert_eq!(before(State::Reapproved), [State::Retested]);
        assert_eq!(before(State::Retested), [State::ChangeNotified, State::Remedied]);
    }
}
