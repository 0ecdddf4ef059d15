//! The states of a licence, the flags beside them, and what they look like to others.
//!
//! A state is changed by a record; that a licence has expired or is not yet effective follows from
//! its dates and is never stored ([`shown`]). Which state may follow which is policy
//! ([`crate::policy`], keys `transition.<from>.<to>`).

use std::fmt;

/// A stored state. Its number stands in records' effects and, as four bits, in the status vector;
/// 0 in the vector means that no licence has the index.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash)]
#[repr(u8)]
pub enum State {
    /// 有效
    Valid = 1,
    /// 冻结: its effect is stayed.
    Frozen = 2,
    /// 暂扣: withheld as a penalty or measure, for a time.
    Withheld = 3,
    /// 挂失: reported lost by its holder.
    Lost = 4,
    /// 吊销: taken away as a penalty.
    Revoked = 5,
    /// 撤销: void from the start.
    Annulled = 6,
    /// 撤回: withdrawn because the law or the facts changed.
    Withdrawn = 7,
    /// 注销: struck off; the end of every licence's life, unless a court or a review quashes it.
    Cancelled = 8,
    /// 作废: declared void, as a misprint or a lost one.
    Void = 9,
    /// A later version has taken its place.
    Superseded = 10,
    /// 转出: another authority has taken it over.
    TransferredOut = 11,
}

impl State {
    /// Every state, by number.
    pub const ALL: [State; 11] = [
        State::Valid,
        State::Frozen,
        State::Withheld,
        State::Lost,
        State::Revoked,
        State::Annulled,
        State::Withdrawn,
        State::Cancelled,
        State::Void,
        State::Superseded,
        State::TransferredOut,
    ];

    /// The number: also the four bits in the status vector.
    #[must_use]
    pub fn number(self) -> u8 {
        self as u8
    }

    /// The state of a number.
    #[must_use]
    pub fn from_number(number: u32) -> Option<Self> {
        let at = usize::try_from(number).ok()?.checked_sub(1)?;
        Self::ALL.get(at).copied()
    }

    /// The stable name, as commands carry it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Valid => "valid",
            Self::Frozen => "frozen",
            Self::Withheld => "withheld",
            Self::Lost => "lost",
            Self::Revoked => "revoked",
            Self::Annulled => "annulled",
            Self::Withdrawn => "withdrawn",
            Self::Cancelled => "cancelled",
            Self::Void => "void",
            Self::Superseded => "superseded",
            Self::TransferredOut => "transferred-out",
        }
    }

    /// The name in Chinese.
    #[must_use]
    pub fn chinese(self) -> &'static str {
        match self {
            Self::Valid => "有效",
            Self::Frozen => "冻结",
            Self::Withheld => "暂扣",
            Self::Lost => "挂失",
            Self::Revoked => "吊销",
            Self::Annulled => "撤销",
            Self::Withdrawn => "撤回",
            Self::Cancelled => "注销",
            Self::Void => "作废",
            Self::Superseded => "已被新版本取代",
            Self::TransferredOut => "转出",
        }
    }

    /// The state of a stable name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|s| s.name() == name)
    }

    /// Whether nothing has ended it: it is valid, or kept from use for a time.
    #[must_use]
    pub fn is_in_force(self) -> bool {
        self == Self::Valid || self.is_suspended()
    }

    /// Whether the licence is in force for a time only kept from use: it may come back.
    #[must_use]
    pub fn is_suspended(self) -> bool {
        matches!(self, Self::Frozen | Self::Withheld | Self::Lost)
    }

    /// The national collection's status code (住建部 01–99). States that it does not know are 99,
    /// 其他, for which [`State::chinese`] is the description that it asks for.
    #[must_use]
    pub fn national_code(self) -> &'static str {
        match self {
            Self::Valid => "01",
            Self::Withheld => "02",
            Self::Annulled => "03",
            Self::Cancelled => "04",
            Self::Void | Self::Superseded => "05",
            Self::TransferredOut => "06",
            Self::Revoked => "07",
            Self::Frozen | Self::Lost | Self::Withdrawn => "99",
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A flag beside the state. A flag warns, and the licence stays in force. A judicial freeze keeps it besides
/// where it is and with whom it is, as the state frozen does (`grounds.rs`); it and an objection keep its
/// content from being erased (`erase.rs`).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash)]
#[repr(u32)]
pub enum Flag {
    /// 异议处理中 (002-18). For units.
    UnderObjection = 1,
    /// 司法冻结: no transfer and no other holder, but by a court's decision. For units.
    JudicialFreeze = 2,
    /// 待年检
    InspectionDue = 4,
    /// 签发系统中断: the issuing unit cannot update in time (002-19)
    IssuerOutage = 8,
}

impl Flag {
    /// Every flag.
    pub const ALL: [Flag; 4] = [Flag::UnderObjection, Flag::JudicialFreeze, Flag::InspectionDue, Flag::IssuerOutage];

    /// The stable name, as commands carry it behind `+` or `-`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::UnderObjection => "under-objection",
            Self::JudicialFreeze => "judicial-freeze",
            Self::InspectionDue => "inspection-due",
            Self::IssuerOutage => "issuer-outage",
        }
    }

    /// The name in Chinese.
    #[must_use]
    pub fn chinese(self) -> &'static str {
        match self {
            Self::UnderObjection => "异议处理中",
            Self::JudicialFreeze => "司法冻结",
            Self::InspectionDue => "待年检",
            Self::IssuerOutage => "签发系统中断",
        }
    }

    /// The flag of a stable name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|f| f.name() == name)
    }

    /// Whether the public is told of it. A dispute about a licence is its parties' and the units' business.
    #[must_use]
    pub fn is_public(self) -> bool {
        !matches!(self, Self::UnderObjection | Self::JudicialFreeze)
    }

    /// Of a stored set what the public is told.
    #[must_use]
    pub fn public(set: u32) -> u32 {
        Self::in_set(set).filter(|flag| flag.is_public()).fold(0, |of, flag| of | flag as u32)
    }

    /// The flags of a stored set.
    pub fn in_set(set: u32) -> impl Iterator<Item = Flag> {
        Self::ALL.into_iter().filter(move |f| set & *f as u32 != 0)
    }
}

/// What a status question answers: the state, with what follows from the dates.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Shown {
    /// The stored state decides.
    State(State),
    /// Its first day has not come.
    NotYetEffective,
    /// Its last day has passed.
    Expired,
}

impl Shown {
    /// The stable name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::State(state) => state.name(),
            Self::NotYetEffective => "not-yet-effective",
            Self::Expired => "expired",
        }
    }

    /// The name in Chinese.
    #[must_use]
    pub fn chinese(self) -> &'static str {
        match self {
            Self::State(state) => state.chinese(),
            Self::NotYetEffective => "尚未生效",
            Self::Expired => "已过期",
        }
    }

    /// What goes by a stable name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        let of_dates = [Self::NotYetEffective, Self::Expired].into_iter().find(|shown| shown.name() == name);
        of_dates.or_else(|| State::from_name(name).map(Self::State))
    }

    /// The verify-information result of GB/T 36906: 0 correct and valid, 1 not activated,
    /// 2 temporarily invalid, 3 no longer valid. (4 to 7 say that there is nothing to answer.)
    #[must_use]
    pub fn verify_code(self) -> u32 {
        match self {
            Self::State(State::Valid) => 0,
            Self::NotYetEffective => 1,
            Self::State(state) if state.is_suspended() => 2,
            Self::State(_) | Self::Expired => 3,
        }
    }

    /// The national collection's status code: 05 失效 when expired, 99 其他 when not yet effective.
    #[must_use]
    pub fn national_code(self) -> &'static str {
        match self {
            Self::State(state) => state.national_code(),
            Self::NotYetEffective => "99",
            Self::Expired => "05",
        }
    }
}

/// Verify-information result: there is no such licence.
pub const VERIFY_NO_RECORD: u32 = 5;
/// Verify-information result: what was asked with is wrong or inconsistent.
pub const VERIFY_WRONG: u32 = 6;

/// The state with what follows from the dates, on a day. Days are as in items; `expires_on` is the
/// last day of the term, 0 without term. A state that ended the licence is shown as it is; of the
/// others, a term that has passed hides a suspension, and a suspension hides that the term has not
/// begun.
#[must_use]
pub fn shown(state: State, effective_from: u32, expires_on: u32, today: u32) -> Shown {
    let expired = expires_on != 0 && today > expires_on;
    match state {
        state if state.is_suspended() => {
            if expired {
                Shown::Expired
            } else {
                Shown::State(state)
            }
        }
        State::Valid if expired => Shown::Expired,
        State::Valid if today < effective_from => Shown::NotYetEffective,
        state => Shown::State(state),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_are_one_to_one() {
        for (n, state) in State::ALL.into_iter().enumerate() {
            assert_eq!(usize::from(state.number()), n + 1);
            assert_eq!(State::from_number(n as u32 + 1), Some(state));
            assert_eq!(State::from_name(state.name()), Some(state));
            assert_eq!(Shown::from_name(state.name()), Some(Shown::State(state)));
        }
        assert_eq!(["expired", "not-yet-effective"].map(Shown::from_name), [Some(Shown::Expired), Some(Shown::NotYetEffective)]);
        assert_eq!(Shown::from_name(""), None);
        assert_eq!((State::from_number(0), State::from_number(12), State::from_number(u32::MAX)), (None, None, None));
        for flag in Flag::ALL {
            assert_eq!(Flag::from_name(flag.name()), Some(flag));
        }
        assert_eq!(Flag::public(u32::MAX), Flag::InspectionDue as u32 | Flag::IssuerOutage as u32);
        assert_eq!(Flag::in_set(5).collect::<Vec<_>>(), [Flag::UnderObjection, Flag::InspectionDue]);
    }

    #[test]
    fn what_has_no_national_code_of_its_own_is_other() {
        let others: Vec<_> = State::ALL.into_iter().filter(|s| s.national_code() == "99").collect();
        assert_eq!(others, [State::Frozen, State::Lost, State::Withdrawn]);
    }

    #[test]
    fn dates_decide_only_while_the_licence_lives() {
        let at = |state, today| shown(state, 10, 20, today);
        assert_eq!([9, 10, 20, 21].map(|d| at(State::Valid, d).verify_code()), [1, 0, 0, 3]);
        assert_eq!([9, 10, 20, 21].map(|d| at(State::Frozen, d).verify_code()), [2, 2, 2, 3]);
        assert_eq!([9, 10, 20, 21].map(|d| at(State::Revoked, d).name()), ["revoked"; 4]);
        assert_eq!(shown(State::Valid, 10, 0, u32::MAX), Shown::State(State::Valid));
    }
}
