//! The client of one ledger: its configuration, keys and connections together.

use crate::clock::now_ms;
use crate::command::{Draft, Prepared};
use crate::config::Config;
use crate::connection::{Connection, Recorded};
use crate::error::ClientError;
use crate::keyring::{Keyring, OperatorKey};
use crate::signer::{self, Signatory, default_rule};
use crate::tls::Dialer;
use crate::vault::{VaultSession, one_session, vault_keys};
use std::path::Path;
use std::sync::Arc;
use tokio::sync::OnceCell;
use vermilion_crypto::{Digest, PublicKey, SigningKey, VaultPublicKey};
use vermilion_proto::{Genesis, OperatorState, PolicyEntry, body::Of};
use vermilion_registry::authorisation::table::{CONTROL_POSTS, TRAIL_POSTS};
use vermilion_registry::pinned::read_genesis;
use vermilion_registry::posts::PostRule;
use vermilion_registry::submission::MAX_ITEMS;
use vermilion_registry::vault::Session;
use vermilion_registry::{Kind, custody, ledger_id};

struct Inner {
    config: Config,
    keyring: Arc<Keyring>,
    genesis: Genesis,
    policy: OnceCell<Vec<PolicyEntry>>,
    tags: crate::tags::TagCache,
}

/// Whether a key signs now, as the ledger lists operators.
fn is_in_force(states: &[OperatorState], key: &PublicKey, now_ms: u64) -> bool {
    states.iter().any(|state| {
        let of = state.operator.as_ref().filter(|of| of.public_key == key.0);
        let in_dates = of.is_some_and(|of| of.from_ms <= now_ms && (of.until_ms == 0 || now_ms < of.until_ms));
        in_dates && !state.revoked && !state.suspended
    })
}

/// A client of one ledger. Cheap to clone; clones share keys, connections and what was learned.
#[derive(Clone)]
pub struct Client {
    inner: Arc<Inner>,
    /// Its connections; patience is set there.
    pub connection: Connection,
}

impl Client {
    /// Opens a configuration file. Nothing is asked of a node yet; call it within a Tokio runtime.
    pub fn open(path: &Path) -> Result<Self, ClientError> {
        Self::new(Config::load(path)?)
    }

    /// From a configuration whose paths are absolute.
    pub fn new(config: Config) -> Result<Self, ClientError> {
        let payload = std::fs::read(&config.genesis).map_err(|e| ClientError::file(&config.genesis, e))?;
        let genesis = read_genesis(&payload).ok_or_else(|| ClientError::config("genesis", "the file is no genesis payload"))?;
        let id = config.ledger()?;
        if ledger_id(&payload) != id {
            return Err(ClientError::config("ledger_id", "it is not the hash of the genesis that the configuration names"));
        }
        let keyring = Arc::new(Keyring::new(&config));
        let dialer = Dialer::new(&genesis, Some(Arc::clone(&keyring)))?;
        let connection = Connection::new(&config.nodes, id, &genesis, dialer)?;
        let inner = Inner { config, keyring, genesis, policy: OnceCell::new(), tags: crate::tags::TagCache::default() };
        Ok(Self { inner: Arc::new(inner), connection })
    }

    /// The configuration.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.inner.config
    }

    /// The keys that are here.
    #[must_use]
    pub fn keyring(&self) -> &Keyring {
        &self.inner.keyring
    }

    /// The genesis.
    #[must_use]
    pub fn genesis(&self) -> &Genesis {
        &self.inner.genesis
    }

    /// The ledger's id.
    #[must_use]
    pub fn ledger_id(&self) -> &Digest {
        self.connection.ledger_id()
    }

    pub(crate) fn tag_cache(&self) -> &crate::tags::TagCache {
        &self.inner.tags
    }

    /// USCC of the city's managing unit.
    #[must_use]
    pub fn managing_unit(&self) -> &str {
        self.inner.genesis.managing_unit.as_ref().and_then(|r| r.unit.as_ref()).map_or("", |u| u.uscc.as_str())
    }

    /// The key that asks questions for registered operators: one of the unit's if named, else any.
    pub fn asker(&self, unit: Option<&str>) -> Result<SigningKey, ClientError> {
        self.inner.keyring.open(self.first_asker(unit)?)
    }

    /// Whether a key of a unit is here.
    #[must_use]
    pub fn has_key_of(&self, unit: &str) -> bool {
        self.inner.keyring.operators().iter().any(|o| o.unit == unit)
    }

    /// The first that others have not been put before, of those who may ask; else the first of them.
    fn first_of(&self, may: impl Fn(&OperatorKey) -> bool) -> Option<&OperatorKey> {
        let all = || self.inner.keyring.operators().iter().filter(|o| may(o));
        all().find(|o| !o.is_passed_over()).or_else(|| all().next())
    }

    fn first_asker(&self, unit: Option<&str>) -> Result<&OperatorKey, ClientError> {
        self.first_of(|o| unit.is_none_or(|u| o.unit == u)).ok_or_else(|| match unit {
            Some(unit) => ClientError::config("operators", format!("there is no key of unit {unit}")),
            None => ClientError::config("operators", "there is no operator's key, and this question is for registered operators"),
        })
    }

    /// Asks what registered operators may ask, with a key of the unit's if one is named: where the ledger says that a key is
    /// not in force, with the next one. A revoked key that lies here beside a good one is no hindrance.
    pub async fn asking<T, F, Fut>(&self, unit: Option<&str>, question: F) -> Result<T, ClientError>
    where
        F: Fn(SigningKey) -> Fut,
        Fut: Future<Output = Result<T, ClientError>>,
    {
        self.asking_with(|| self.first_asker(unit), question).await
    }

    /// The same of control of the nodes, which is the city's managing unit's, in a post that may.
    pub async fn controlling<T, F, Fut>(&self, question: F) -> Result<T, ClientError>
    where
        F: Fn(SigningKey) -> Fut,
        Fut: Future<Output = Result<T, ClientError>>,
    {
        self.asking_with(|| self.in_post(CONTROL_POSTS), question).await
    }

    /// The same of the nodes' trails.
    pub async fn reading_trails<T, F, Fut>(&self, question: F) -> Result<T, ClientError>
    where
        F: Fn(SigningKey) -> Fut,
        Fut: Future<Output = Result<T, ClientError>>,
    {
        self.asking_with(|| self.in_post(TRAIL_POSTS), question).await
    }

    async fn asking_with<'a, T, F, Fut>(
        &'a self,
        first: impl Fn() -> Result<&'a OperatorKey, ClientError>,
        question: F,
    ) -> Result<T, ClientError>
    where
        F: Fn(SigningKey) -> Fut,
        Fut: Future<Output = Result<T, ClientError>>,
    {
        loop {
            let operator = first()?;
            match question(self.inner.keyring.open(operator)?).await {
                Err(error) if error.is_of_the_key() => {
                    operator.pass_over();
                    // With none left the answer stands, of this file.
                    if first()?.is_passed_over() {
                        return Err(error.about(&operator.file().display().to_string()));
                    }
                }
                answer => return answer,
            }
        }
    }

    /// An error of a question that this key asked: of the key itself with its file's name.
    #[must_use]
    pub fn asked_with(&self, key: &SigningKey, error: ClientError) -> ClientError {
        match self.inner.keyring.holder(&key.public()) {
            Some(operator) if error.is_of_the_key() => error.about(&operator.file().display().to_string()),
            _ => error,
        }
    }

    /// Who signs for a unit by a rule of posts. Where a post has several keys here, only such as the ledger calls in force: it
    /// would refuse what another signed in a record, for ever.
    pub async fn signatories(&self, unit: &str, rule: &str) -> Result<Vec<Signatory>, ClientError> {
        let keyring = &self.inner.keyring;
        if !signer::has_choice(keyring, unit, rule) {
            return signer::signers(keyring, unit, rule);
        }
        let known = self.asking(Some(unit), |key| async move { self.connection.query("operators", unit, Some(&key)).await }).await;
        let states = match known {
            Ok(reply) => reply.operators,
            // Who may not know cannot choose: the ledger decides.
            Err(error) if error.refusal().is_some() => return signer::signers(keyring, unit, rule),
            Err(error) => return Err(error),
        };
        loop {
            let chosen = signer::signers(keyring, unit, rule)?;
            let out = chosen.iter().map(|s| s.key.public()).find(|key| !is_in_force(&states, key, now_ms()));
            match out.and_then(|key| keyring.holder(&key)) {
                Some(operator) => operator.put_out_of_force(),
                None => return Ok(chosen),
            }
        }
    }

    /// The key that controls nodes: of the city's managing unit, in a post that may.
    pub fn controller(&self) -> Result<SigningKey, ClientError> {
        self.inner.keyring.open(self.in_post(CONTROL_POSTS)?)
    }

    /// The key that reads the nodes' trails: of the city's managing unit, in audit administration.
    pub fn trail_reader(&self) -> Result<SigningKey, ClientError> {
        self.inner.keyring.open(self.in_post(TRAIL_POSTS)?)
    }

    fn in_post(&self, posts: &[&str]) -> Result<&OperatorKey, ClientError> {
        let city = self.managing_unit();
        let found = self.first_of(|o| o.unit == city && o.posts.iter().any(|p| posts.contains(&p.as_str())));
        found.ok_or_else(|| {
            ClientError::config("operators", format!("there is no key of unit {city} in one of the posts {}", posts.join(", ")))
        })
    }

    /// The value of a policy that is in force now; none if the ledger has no such entry.
    async fn in_force(&self, key: &str) -> Result<Option<&str>, ClientError> {
        let (policy, now) = (self.inner.policy.get_or_try_init(|| self.policy()).await?, now_ms());
        let entry = policy.iter().filter(|e| e.key == key && e.effective_from_ms <= now).max_by_key(|e| e.effective_from_ms);
        Ok(entry.map(|e| e.value.as_str()))
    }

    /// The rule of posts for a kind of command, as the ledger's policy has it now.
    pub async fn post_rule(&self, kind: Kind) -> Result<String, ClientError> {
        let rule = self.in_force(&format!("posts.{}", kind.name())).await?;
        Ok(rule.unwrap_or_else(|| default_rule(kind)).to_owned())
    }

    /// How many licences an issue may have, as the ledger's policy has it now: one with more is refused, for ever.
    pub async fn most_items(&self) -> Result<usize, ClientError> {
        match self.in_force("issue.items.max").await? {
            None => Ok(MAX_ITEMS),
            Some(value) => value.parse().map_err(|_| ClientError::BadAnswer(format!("policy issue.items.max is {value:?}, no number"))),
        }
    }

    /// Who signs a kind of command for a unit.
    pub async fn signers(&self, unit: &str, kind: Kind) -> Result<Vec<Signatory>, ClientError> {
        self.signers_by(unit, &self.post_rule(kind).await?).await
    }

    /// Who signs for the city's managing unit that content goes at once; nobody if its keys here do not do.
    pub(crate) async fn erasers_at_once(&self) -> Result<Option<Vec<Signatory>>, ClientError> {
        let (erase, at_once) = (self.post_rule(Kind::Erase).await?, self.in_force("posts.erase-at-once").await?.unwrap_or_default());
        let both = PostRule::parse(&erase).zip(PostRule::parse(at_once)).map(|(erase, at_once)| erase.and(&at_once).to_string());
        match both.filter(|rule| signer::can_sign(&self.inner.keyring, self.managing_unit(), rule)) {
            Some(rule) => self.signers_by(self.managing_unit(), &rule).await.map(Some),
            None => Ok(None),
        }
    }

    /// Who signs for a unit by a rule of posts, those in administration with their second keys.
    async fn signers_by(&self, unit: &str, rule: &str) -> Result<Vec<Signatory>, ClientError> {
        let signers = self.signatories(unit, rule).await?;
        // Refused by the ledger it would stand in a record.
        let alone = signers.iter().find(|s| custody::is_admin(&s.post) && s.second.is_none());
        match alone.filter(|_| !self.genesis().root_certificate.is_empty()) {
            None => Ok(signers),
            Some(alone) => {
                let why =
                    format!("the post {} signs only together with the same person's second key: second_key = FILE or URI", alone.post);
                Err(ClientError::config("operators", why))
            }
        }
    }

    /// The vault keys to which a unit's content is wrapped: the city's and its home district's. Of
    /// a unit that the ledger does not know only the city's. Of each the one that serves now.
    pub async fn vault_keys_of(&self, unit: &str) -> Result<Vec<VaultPublicKey>, ClientError> {
        let area = self.unit(unit).await?.and_then(|s| s.unit).map(|u| u.area).unwrap_or_default();
        vault_keys(&self.inner.genesis, &self.serving_vault_keys().await?, &area)
    }

    /// A session for one command of a unit.
    pub async fn session(&self, unit: &str) -> Result<Session, ClientError> {
        one_session(&self.vault_keys_of(unit).await?)
    }

    /// A session that serves many commands of a unit.
    pub async fn vault_session(&self, unit: &str) -> Result<VaultSession, ClientError> {
        Ok(VaultSession::new(self.vault_keys_of(unit).await?))
    }

    /// Signs a draft for its unit by the posts that its kind needs.
    pub async fn prepare(&self, kind: Kind, draft: Draft, body: Of) -> Result<Prepared, ClientError> {
        let signers = self.signers(&draft.unit, kind).await?;
        draft.sign(self.ledger_id(), body, &signers)
    }

    /// Signs a draft, sends it and answers with its record if the rules took it.
    pub async fn carry_out(&self, kind: Kind, draft: Draft, body: Of) -> Result<Recorded, ClientError> {
        self.carry_out_by(&self.post_rule(kind).await?, draft, body).await
    }

    /// The same, signed by a rule of posts: some commands take more than their kind does.
    pub async fn carry_out_by(&self, rule: &str, draft: Draft, body: Of) -> Result<Recorded, ClientError> {
        let signers = self.signers_by(&draft.unit, rule).await?;
        let prepared = draft.sign(self.ledger_id(), body, &signers)?;
        self.connection.submit(&prepared).await?.accepted()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::config::{NodeEntry, OperatorEntry};
    use crate::keyring::write_secret;
    use vermilion_proto::{Body, Command, Message as _, RegisterUnit, Unit};
    use vermilion_registry::authorisation::KEY_NOT_IN_FORCE;
    use vermilion_registry::reason::{Reason, Refusal};

    /// A client with these operators of the city, each with a key of its own: posts in the order of the file.
    fn client(folder: &Path, posts: &[&str]) -> Client {
        let city = Unit { uscc: "CITY".into(), ..Unit::default() };
        let genesis = Genesis { managing_unit: Some(RegisterUnit { unit: Some(city) }), ..Genesis::default() };
        let payload = Command { head: None, body: Some(Body { of: Some(Of::Genesis(genesis)) }) }.encode_to_vec();
        std::fs::write(folder.join("genesis.bin"), &payload).unwrap();
        let operator = |(n, post): (usize, &&str)| {
            let key = folder.join(format!("{n}.pem"));
            write_secret(&key, &[n as u8 + 1; 32], None).unwrap();
            OperatorEntry {
                unit: "CITY".into(),
                name: String::new(),
                posts: vec![(*post).to_owned()],
                key,
                passphrase_file: None,
                certificate: None,
                second_key: None,
            }
        };
        let config = Config {
            ledger_id: hex::encode(ledger_id(&payload)),
            genesis: folder.join("genesis.bin"),
            trust: None,
            state_dir: None,
            passphrase_file: None,
            enrolment: Vec::new(),
            accept_expired_until_ms: 0,
            nodes: vec![NodeEntry { name: "city".into(), grpc: "127.0.0.1:1".into(), http: String::new() }],
            units: Vec::new(),
            operators: posts.iter().enumerate().map(operator).collect(),
        };
        Client::new(config).unwrap()
    }

    #[tokio::test]
    async fn questions_of_control_and_trail_go_on_to_the_next_key_that_may() {
        let folder = tempfile::tempdir().unwrap();
        let (control, trail) = (CONTROL_POSTS[0], TRAIL_POSTS[0]);
        let client = client(folder.path(), &["maker", control, trail, control, trail]);
        let key = |n: u8| SigningKey::from_seed(&[n + 1; 32]).public();
        let not_in_force = || ClientError::from(Refusal::new(Reason::NotAuthorised, KEY_NOT_IN_FORCE));
        let unless =
            |good: u8| move |asker: SigningKey| async move { if asker.public() == key(good) { Ok(good) } else { Err(not_in_force()) } };
        assert_eq!(client.controlling(unless(3)).await.unwrap(), 3);
        assert_eq!(client.reading_trails(unless(4)).await.unwrap(), 4);
        assert_eq!(client.controller().unwrap().public(), key(3), "the other is passed over from then on");
        // With none left the answer is of the last key's file.
        let refused = client.controlling(unless(9)).await.unwrap_err();
        assert!(refused.is_of_the_key() || refused.to_string().contains("3.pem"), "{refused}");
    }
}
