//! Who signs: for a unit and a rule of posts, a different key for each post.

use crate::error::ClientError;
use crate::keyring::{HeldKey, KEY_FILE, Keyring, OperatorKey};
use vermilion_crypto::{PublicKey, SigningKey};
use vermilion_identity as identity;
use vermilion_proto::{Authentication, Signer, SignerKind};
use vermilion_registry::posts::PostRule;
use vermilion_registry::{Kind, custody, policy};

/// A key that signs in a post.
#[derive(Clone, Debug)]
pub struct Signatory {
    /// USCC of the unit for which it signs.
    pub unit: String,
    /// The post in which it signs.
    pub post: String,
    /// The key.
    pub key: SigningKey,
    /// The same person's second key, if it signs too.
    pub second: Option<HeldKey>,
}

impl Signatory {
    /// Who signs with this key alone.
    #[must_use]
    pub fn new(unit: &str, post: &str, key: SigningKey) -> Self {
        Self { unit: unit.to_owned(), post: post.to_owned(), key, second: None }
    }

    /// The lines in the command's head: the key's, and after it the second key's.
    pub fn head_lines(&self) -> impl Iterator<Item = Signer> {
        let line = |key: PublicKey, post: &str, authentication| Signer {
            key_id: key.id().to_vec(),
            unit: self.unit.clone(),
            post: post.to_owned(),
            kind: SignerKind::Operator.into(),
            authentication: Some(authentication),
        };
        let second_factor = if self.second.is_some() { custody::BY_SECOND_KEY } else { 0 };
        let first = line(self.key.public(), &self.post, Authentication { factor: KEY_FILE, second_factor, ..Authentication::default() });
        let by_second = |second: &HeldKey| {
            let authentication = Authentication { factor: second.factor, ..Authentication::default() };
            line(second.signer.public(), custody::SECOND_KEY, authentication)
        };
        std::iter::once(first).chain(self.second.as_ref().map(by_second))
    }

    /// The keys that sign, in the order of the lines.
    pub fn keys(&self) -> impl Iterator<Item = &dyn identity::Signer> {
        let first: &dyn identity::Signer = &self.key;
        std::iter::once(first).chain(self.second.as_ref().map(|second| &*second.signer))
    }
}

/// The rule of posts for a kind of command, as the defaults have it.
#[must_use]
pub fn default_rule(kind: Kind) -> &'static str {
    let key = format!("posts.{}", kind.name());
    policy::rows().find(|row| row.key == key).map_or("", |row| row.default)
}

/// Who signs a command of `unit` under a rule such as `maker+checker|approve+operate+verify`: the
/// first alternative that the keys here can fill, each post by another key.
pub fn signers(keyring: &Keyring, unit: &str, rule: &str) -> Result<Vec<Signatory>, ClientError> {
    let missing = || {
        let out = keyring.operators().iter().filter(|o| o.unit == unit && !o.is_in_force()).map(|o| o.file().display().to_string());
        let out = out.reduce(|list, file| format!("{list}, {file}")).map(|files| format!("; not in force: {files}")).unwrap_or_default();
        ClientError::config("operators", format!("the keys of unit {unit} that are here cannot fill the posts {rule}{out}"))
    };
    let sign = |(post, operator): (&str, &OperatorKey)| {
        let second = if custody::is_admin(post) { keyring.open_second(operator)? } else { None };
        Ok(Signatory { second, ..Signatory::new(unit, post, keyring.open(operator)?) })
    };
    choose(keyring, unit, rule).ok_or_else(missing)?.into_iter().map(sign).collect()
}

/// Whether [`signers`] would find them. Opens no key.
#[must_use]
pub fn can_sign(keyring: &Keyring, unit: &str, rule: &str) -> bool {
    choose(keyring, unit, rule).is_some()
}

/// The rule that is met where both are ([`PostRule::and`]); the first alone where one of them is no rule, so that a node
/// refuses what lacks a signature and nobody signs by a guess.
#[must_use]
pub fn joined(one: &str, other: &str) -> String {
    match (PostRule::parse(one), PostRule::parse(other)) {
        (Some(a), Some(b)) => a.and(&b).to_string(),
        _ => one.to_owned(),
    }
}

/// Whether a post of the rule has more than one key here.
#[must_use]
pub fn has_choice(keyring: &Keyring, unit: &str, rule: &str) -> bool {
    let holders = |post: &str| keyring.operators().iter().filter(|o| o.unit == unit && o.posts.iter().any(|p| p == post)).count();
    rule.split(['|', '+']).any(|post| holders(post) > 1)
}

fn choose<'a>(keyring: &'a Keyring, unit: &str, rule: &'a str) -> Option<Vec<(&'a str, &'a OperatorKey)>> {
    let of_unit: Vec<&OperatorKey> = keyring.operators().iter().filter(|o| o.unit == unit && o.is_in_force()).collect();
    rule.split('|').find_map(|alternative| {
        let posts: Vec<&str> = alternative.split('+').filter(|p| !p.is_empty()).collect();
        let mut chosen = Vec::with_capacity(posts.len());
        if posts.is_empty() || !fill(&posts, &of_unit, &mut chosen) {
            return None;
        }
        posts.into_iter().zip(chosen).map(|(post, at)| of_unit.get(at).map(|key| (post, *key))).collect()
    })
}

/// Whether the posts can be filled, each by another key; `chosen` says by which.
fn fill(posts: &[&str], keys: &[&OperatorKey], chosen: &mut Vec<usize>) -> bool {
    let Some(post) = posts.get(chosen.len()) else { return true };
    for (n, key) in keys.iter().enumerate() {
        if !chosen.contains(&n) && key.posts.iter().any(|p| p == post) {
            chosen.push(n);
            if fill(posts, keys, chosen) {
                return true;
            }
            chosen.pop();
        }
    }
    false
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::config::{Config, OperatorEntry};
    use crate::keyring::write_secret;

    #[test]
    fn two_rules_are_met_as_one() {
        assert_eq!(
            joined("approve+operate+verify|system-admin", "approve+operate+verify"),
            "approve+operate+verify|system-admin+approve+operate+verify"
        );
        assert_eq!(joined("security-admin", "approve+operate"), "security-admin+approve+operate");
        assert_eq!(joined("maker+maker", "maker|checker"), "maker+maker|maker+maker+checker");
        assert_eq!(joined("maker", "maker+maker"), "maker+maker");
    }

    fn keyring(folder: &std::path::Path, operators: &[(&str, &[&str])]) -> Keyring {
        let operators = operators.iter().enumerate().map(|(n, (unit, posts))| {
            let key = folder.join(n.to_string());
            write_secret(&key, &[n as u8 + 1; 32], None).unwrap();
            OperatorEntry {
                unit: (*unit).into(),
                name: String::new(),
                posts: posts.iter().map(|p| (*p).into()).collect(),
                key,
                passphrase_file: None,
                second_key: None,
                certificate: None,
            }
        });
        Keyring::new(&Config {
            ledger_id: String::new(),
            genesis: "g".into(),
            trust: None,
            state_dir: None,
            passphrase_file: None,
            enrolment: Vec::new(),
            accept_expired_until_ms: 0,
            nodes: Vec::new(),
            units: Vec::new(),
            operators: operators.collect(),
        })
    }

    #[test]
    fn each_post_has_another_key() {
        let folder = tempfile::tempdir().unwrap();
        let ring = keyring(folder.path(), &[("u", &["maker", "checker"]), ("u", &["maker"]), ("v", &["checker"])]);
        let chosen = signers(&ring, "u", "maker+checker").unwrap();
        assert_eq!(chosen.iter().map(|s| s.post.as_str()).collect::<Vec<_>>(), ["maker", "checker"]);
        assert_ne!(chosen[0].key.public(), chosen[1].key.public());
        assert!(signers(&ring, "v", "maker+checker").is_err());
        assert!(signers(&ring, "u", "maker+maker+maker").is_err());
        assert_eq!(signers(&ring, "v", "approve|checker").unwrap().len(), 1);
        assert!(signers(&ring, "w", "").is_err());
    }

    #[test]
    fn a_key_that_is_not_in_force_leaves_its_post_to_the_next() {
        let folder = tempfile::tempdir().unwrap();
        let ring = keyring(folder.path(), &[("u", &["maker"]), ("u", &["checker"]), ("u", &["maker"]), ("v", &["maker"])]);
        assert!(has_choice(&ring, "u", "maker+checker") && has_choice(&ring, "u", "issuer|maker"));
        assert!(!has_choice(&ring, "u", "checker") && !has_choice(&ring, "v", "maker+checker"));
        let maker = || signers(&ring, "u", "maker+checker").unwrap()[0].key.public();
        let first = maker();
        // What asks nothing signs all the same.
        ring.holder(&first).unwrap().pass_over();
        assert_eq!(maker(), first);
        ring.holder(&first).unwrap().put_out_of_force();
        let second = maker();
        assert_ne!(first, second);
        // With none left it is said whose files they are.
        ring.holder(&second).unwrap().put_out_of_force();
        let why = signers(&ring, "u", "maker+checker").unwrap_err().to_string();
        let names = |n: usize| why.contains(&folder.path().join(n.to_string()).display().to_string());
        assert!(why.contains("not in force") && names(0) && names(2) && !names(1), "{why}");
    }

    #[test]
    fn defaults_are_those_of_the_policy() {
        assert_eq!(default_rule(Kind::Issue), "maker+checker");
        assert_eq!(default_rule(Kind::PublishType), "approve+operate+verify");
        assert_eq!(default_rule(Kind::Use), "user");
    }
}
