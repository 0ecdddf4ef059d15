//! Posts (岗位) and which of them must sign (002-25: responsibility goes down to the post).

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use vermilion_proto::Head;

/// Which posts must sign: one of the alternatives, all of its posts.
///
/// As text: posts joined by `+`, alternatives by `|`, such as `maker+checker|approve+operate+verify`.
/// A post named twice must sign twice, by two people.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PostRule {
    alternatives: Vec<Vec<String>>,
}

impl PostRule {
    /// Reads a rule. `None` unless every post is a name of 1 to 32 lower-case letters, digits and
    /// hyphens, with at most 8 posts in each of at most 16 alternatives.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let alternatives: Vec<Vec<String>> = text.split('|').map(|a| a.split('+').map(str::to_owned).collect()).collect();
        let fits = alternatives.len() <= 16 && alternatives.iter().all(|a| a.len() <= 8 && a.iter().all(|p| is_post_name(p)));
        fits.then_some(Self { alternatives })
    }

    /// Every post that the rule names.
    pub fn posts(&self) -> impl Iterator<Item = &str> {
        self.alternatives.iter().flatten().map(String::as_str)
    }

    /// How many alternatives there are.
    pub(crate) fn alternatives(&self) -> usize {
        self.alternatives.len()
    }

    /// How many signatures its longest alternative takes, if in some posts two keys sign.
    pub(crate) fn most_signatures(&self, signs_twice: impl Fn(&str) -> bool) -> usize {
        let signatures = |posts: &Vec<String>| posts.len() + posts.iter().filter(|p| signs_twice(p)).count();
        self.alternatives.iter().map(signatures).max().unwrap_or_default()
    }

    /// Whether these people, each in one of the posts that he holds, can fill an alternative.
    #[must_use]
    pub fn can_be_filled(&self, people: &[BTreeSet<&str>]) -> bool {
        self.alternatives.iter().any(|wanted| {
            let mut seats = BTreeMap::new();
            (0..wanted.len()).all(|post| seat(post, wanted, people, &mut seats, &mut BTreeSet::new()))
        })
    }

    /// The rule of whoever must satisfy both: each alternative of one with each of the other, the shortest first.
    #[must_use]
    pub fn and(&self, other: &Self) -> Self {
        let joined = |a: &Vec<String>, b: &Vec<String>| {
            let mut rest = a.clone();
            let mut out = a.clone();
            for post in b {
                match rest.iter().position(|p| p == post) {
                    Some(at) => _ = rest.swap_remove(at),
                    None => out.push(post.clone()),
                }
            }
            out
        };
        let mut alternatives: Vec<Vec<String>> =
            self.alternatives.iter().flat_map(|a| other.alternatives.iter().map(move |b| joined(a, b))).collect();
        alternatives.sort_by_key(Vec::len);
        Self { alternatives }
    }

    /// Whether the posts that signed, each by another person, fill an alternative.
    #[must_use]
    pub fn is_met(&self, signed: &[&str]) -> bool {
        let count = |of: &mut dyn Iterator<Item = &str>, post: &str| of.filter(|p| *p == post).count();
        self.alternatives.iter().any(|wanted| {
            wanted.iter().all(|post| count(&mut signed.iter().copied(), post) >= count(&mut wanted.iter().map(String::as_str), post))
        })
    }
}

/// The posts in which a command is signed.
pub(crate) fn signed(head: &Head) -> Vec<&str> {
    head.signers.iter().map(|s| s.post.as_str()).collect()
}

/// Gives a wanted post to a person who holds it. Who has another post already gives it up if somebody
/// else can take that one; `tried` are those who were asked. At most as deep as there are posts.
fn seat(
    post: usize,
    wanted: &[String],
    people: &[BTreeSet<&str>],
    seats: &mut BTreeMap<usize, usize>,
    tried: &mut BTreeSet<usize>,
) -> bool {
    let Some(name) = wanted.get(post) else { return false };
    for (person, _) in people.iter().enumerate().filter(|(_, held)| held.contains(name.as_str())) {
        if !tried.insert(person) {
            continue;
        }
        let before = seats.get(&person).copied();
        if before.is_none_or(|other| seat(other, wanted, people, seats, tried)) {
            seats.insert(person, post);
            return true;
        }
    }
    false
}

impl fmt::Display for PostRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let alternatives: Vec<String> = self.alternatives.iter().map(|a| a.join("+")).collect();
        f.write_str(&alternatives.join("|"))
    }
}

/// Whether this is a name that a post may have.
#[must_use]
pub fn is_post_name(name: &str) -> bool {
    (1..=32).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

/// Reads a list of posts, separated by single spaces.
#[must_use]
pub fn parse_list(text: &str) -> Option<BTreeSet<String>> {
    let posts: Vec<&str> = text.split(' ').collect();
    let set: BTreeSet<String> = posts.iter().map(|p| (*p).to_owned()).collect();
    (set.len() == posts.len() && set.len() <= 64 && set.iter().all(|p| is_post_name(p))).then_some(set)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn an_alternative_must_be_filled_whole() {
        let rule = PostRule::parse("maker+checker|approve+operate+verify").unwrap();
        assert!(rule.is_met(&["checker", "maker"]));
        assert!(rule.is_met(&["maker", "checker", "issuer"]), "more may sign");
        assert!(rule.is_met(&["verify", "operate", "approve"]));
        assert!(!rule.is_met(&["maker", "operate", "approve"]));
        assert!(!rule.is_met(&[]));
        assert_eq!(rule.to_string(), "maker+checker|approve+operate+verify");
    }

    #[test]
    fn a_post_named_twice_signs_twice() {
        let rule = PostRule::parse("checker+checker").unwrap();
        assert!(!rule.is_met(&["checker"]));
        assert!(rule.is_met(&["checker", "checker"]));
    }

    #[test]
    fn who_satisfies_both_rules_fills_both() {
        let and = |a: &str, b: &str| PostRule::parse(a).unwrap().and(&PostRule::parse(b).unwrap()).to_string();
        let three = "approve+operate+verify";
        assert_eq!(and("maker+checker|approve+operate+verify", three), "approve+operate+verify|maker+checker+approve+operate+verify");
        assert_eq!(and("approve+approve", "approve|auditor"), "approve+approve|approve+approve+auditor");
    }

    #[test]
    fn people_fill_a_rule_each_in_one_post() {
        let filled = |rule: &str, people: &[&[&str]]| {
            let people: Vec<BTreeSet<&str>> = people.iter().map(|posts| posts.iter().copied().collect()).collect();
            PostRule::parse(rule).unwrap().can_be_filled(&people)
        };
        let three = "approve+operate+verify";
        assert!(filled(three, &[&["approve"], &["operate"], &["verify"]]));
        assert!(!filled(three, &[&["approve", "operate"], &["user"], &["verify"]]), "one person fills one post");
        // The first must give way twice before everyone has a post.
        assert!(filled(three, &[&["approve", "operate", "verify"], &["approve", "operate"], &["approve"]]));
        assert!(!filled(three, &[&["approve", "operate"], &["approve", "operate"], &["approve", "operate"]]));
        assert!(filled("checker+checker", &[&["checker"], &["checker"]]) && !filled("checker+checker", &[&["checker"]]));
        assert!(filled("emperor|maker", &[&["maker"]]) && !filled("maker", &[]));
    }

    #[test]
    fn what_is_no_rule_is_none() {
        for text in ["", "maker+", "|maker", "Maker", "maker checker", "a+a+a+a+a+a+a+a+a"] {
            assert_eq!(PostRule::parse(text), None, "{text}");
        }
        assert_eq!(parse_list("maker maker"), None);
        assert_eq!(parse_list(""), None);
        assert_eq!(parse_list("maker checker").unwrap().len(), 2);
    }
}
