//! Which state may follow which. The table is policy in the ledger, a key `transition.<from>.<to>`
//! for each pair; what stands here are its defaults, each with its article, and what a value means.

use crate::posts::PostRule;
use crate::status::State;

/// What policy says of one pair of states.
///
/// As text: `refused`, or `allowed` followed by conditions, each behind a space: `posts=` and a
/// [`PostRule`] that the posts of those who sign must fill as well as what every change of status needs (one signature may
/// count for both); `reasons=` and, joined by commas, the reason codes of which one must be given.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Transition {
    /// Whether the change is allowed at all.
    pub allowed: bool,
    /// Posts that must be among those who sign.
    pub posts: Option<PostRule>,
    /// The reasons of which one must be given; empty: any.
    pub reasons: Vec<String>,
}

impl Transition {
    /// Reads a value.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        if text == "refused" {
            return Some(Self::default());
        }
        let mut words = text.split(' ');
        if words.next() != Some("allowed") {
            return None;
        }
        let mut out = Self { allowed: true, ..Self::default() };
        for word in words {
            match word.split_once('=') {
                Some(("posts", rule)) if out.posts.is_none() => out.posts = Some(PostRule::parse(rule)?),
                Some(("reasons", list)) if out.reasons.is_empty() => {
                    out.reasons = list.split(',').map(str::to_owned).collect();
                    if !out.reasons.iter().all(|r| crate::posts::is_post_name(r)) {
                        return None;
                    }
                }
                _ => return None,
            }
        }
        Some(out)
    }
}

/// The policy key of a pair.
#[must_use]
pub fn key(from: State, to: State) -> String {
    format!("transition.{from}.{to}")
}

/// The pair of a policy key.
#[must_use]
pub fn pair(key: &str) -> Option<(State, State)> {
    let (from, to) = key.strip_prefix("transition.")?.split_once('.')?;
    let (from, to) = (State::from_name(from)?, State::from_name(to)?);
    (from != to).then_some((from, to))
}

const REINSTATED: &str = "allowed reasons=court-decision,administrative-review";
/// What is frozen is thawed before it goes, or goes by a court's decision (`grounds.rs` asks it too).
const THAWED: &str = "allowed reasons=court-decision";
const REVIEW: &str = "行政诉讼法第七十条;行政复议法第六十四条";
const UPDATE: &str = "002-7 (深府办函〔2018〕77号第七条)";
const REVOKE: &str = "行政处罚法第九条第三项";
const ANNUL: &str = "行政许可法第六十九条";
const WITHDRAW: &str = "行政许可法第八条第二款";
const CANCEL: &str = "行政许可法第七十条;002-7";
/// No regulation that we know names 冻结 for licences; courts and authorities order it all the same.
const STAY: &str = crate::policy::DESIGN;

/// The pairs that are allowed by default, with value and article. Every other pair is refused.
///
/// Superseded is the end. A licence transferred out comes back only when the transfer is cancelled;
/// one revoked, annulled, withdrawn, struck off (注销) or void (作废) only when a court or a review
/// quashes that. That a licence is over spares nobody its annulment: what was had by fraud shall be annulled
/// (应当予以撤销), and only so does it say of the time before that it was void. Superseding goes through its own command.
pub const DEFAULTS: &[(State, State, &str, &str)] = {
    use State::*;
    &[
        (Valid, Frozen, "allowed", STAY),
        (Valid, Withheld, "allowed", REVOKE),
        (Valid, Lost, "allowed", UPDATE),
        (Frozen, Valid, "allowed", STAY),
        (Withheld, Valid, "allowed", REVOKE),
        (Lost, Valid, "allowed", UPDATE),
        (Valid, Revoked, "allowed", REVOKE),
        (Frozen, Revoked, "allowed", REVOKE),
        (Withheld, Revoked, "allowed", REVOKE),
        (Lost, Revoked, "allowed", REVOKE),
        (Valid, Annulled, "allowed", ANNUL),
        (Frozen, Annulled, "allowed", ANNUL),
        (Withheld, Annulled, "allowed", ANNUL),
        (Lost, Annulled, "allowed", ANNUL),
        (Revoked, Annulled, "allowed", ANNUL),
        (Withdrawn, Annulled, "allowed", ANNUL),
        (Cancelled, Annulled, "allowed", ANNUL),
        (Void, Annulled, "allowed", ANNUL),
        (Valid, Withdrawn, "allowed", WITHDRAW),
        (Frozen, Withdrawn, THAWED, WITHDRAW),
        (Withheld, Withdrawn, "allowed", WITHDRAW),
        (Lost, Withdrawn, "allowed", WITHDRAW),
        (Valid, Cancelled, "allowed", CANCEL),
        (Frozen, Cancelled, THAWED, CANCEL),
        (Withheld, Cancelled, "allowed", CANCEL),
        (Lost, Cancelled, "allowed", CANCEL),
        (Revoked, Cancelled, "allowed", CANCEL),
        (Annulled, Cancelled, "allowed", CANCEL),
        (Withdrawn, Cancelled, "allowed", CANCEL),
        (Valid, Void, "allowed", UPDATE),
        (Frozen, Void, THAWED, UPDATE),
        (Withheld, Void, "allowed", UPDATE),
        (Lost, Void, "allowed", UPDATE),
        (Valid, TransferredOut, "allowed", UPDATE),
        (Frozen, TransferredOut, THAWED, UPDATE),
        (Withheld, TransferredOut, "allowed", UPDATE),
        (Lost, TransferredOut, "allowed", UPDATE),
        (TransferredOut, Valid, "allowed reasons=transfer-cancelled", UPDATE),
        (Revoked, Valid, REINSTATED, REVIEW),
        (Annulled, Valid, REINSTATED, REVIEW),
        (Withdrawn, Valid, REINSTATED, REVIEW),
        (Cancelled, Valid, REINSTATED, REVIEW),
        (Void, Valid, REINSTATED, REVIEW),
        (Valid, Superseded, "allowed", UPDATE),
        (Frozen, Superseded, "allowed", UPDATE),
        (Withheld, Superseded, "allowed", UPDATE),
        (Lost, Superseded, "allowed", UPDATE),
    ]
};

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn values_are_read_whole_or_not_at_all() {
        let full = Transition::parse("allowed posts=maker+checker reasons=court-decision,administrative-review").unwrap();
        assert_eq!(full.reasons, ["court-decision", "administrative-review"]);
        assert_eq!(full.posts.unwrap().to_string(), "maker+checker");
        assert!(!Transition::parse("refused").unwrap().allowed);
        for bad in
            ["", "allow", "refused posts=maker", "allowed posts=", "allowed reasons=", "allowed ", "allowed posts=a posts=b", "allowed x=y"]
        {
            assert_eq!(Transition::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn defaults_name_each_pair_once_and_parse() {
        let mut keys = std::collections::BTreeSet::new();
        for (from, to, value, citation) in DEFAULTS {
            assert!(keys.insert(key(*from, *to)));
            assert_eq!(pair(&key(*from, *to)), Some((*from, *to)));
            assert!(Transition::parse(value).is_some_and(|t| t.allowed) && !citation.is_empty());
            assert!(*from != State::Superseded);
        }
        assert_eq!(pair("transition.valid.valid"), None);
        assert_eq!(pair("transition.valid"), None);
    }
}
