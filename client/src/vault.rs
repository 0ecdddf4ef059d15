//! The vault keys to which a unit's content goes, and sessions that wrap one command key for many
//! commands.

use crate::error::ClientError;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use vermilion_crypto::{ContentKey, SeededRng, VaultPublicKey, random};
use vermilion_proto::{Genesis, VaultKey};
use vermilion_registry::vault::Session;

/// Commands under one wrapped key, at most.
const SESSION_COMMANDS: u32 = 1000;
/// How long one wrapped key serves, at most.
const SESSION_LIFE: Duration = Duration::from_secs(600);

/// The keys to which content of a unit of `area` is wrapped, of those that serve: the city's, and its home
/// district's if there is one.
pub fn vault_keys(genesis: &Genesis, serving: &[VaultKey], area: &str) -> Result<Vec<VaultPublicKey>, ClientError> {
    let city = genesis.managing_unit.as_ref().and_then(|r| r.unit.as_ref()).map_or("", |u| u.area.as_str());
    let of = |area: &str| serving.iter().filter(|k| k.area == area).collect::<Vec<_>>();
    let district = if area == city { "" } else { area };
    let keys: Vec<VaultPublicKey> =
        of(city).into_iter().chain(of(district)).map(|k| VaultPublicKey::from_slice(&k.public_key)).collect::<Result<_, _>>()?;
    if of(city).is_empty() {
        return Err(ClientError::config("genesis", "it has no vault key of the city"));
    }
    Ok(keys)
}

struct Current {
    session: Arc<Session>,
    commands: u32,
    since: Instant,
}

/// A wrapped command key, used for up to 1,000 commands or ten minutes and then made anew: wrapping
/// costs more than everything else of a single issue but its signatures. Keys of contents are made
/// afresh for each command all the same ([`Session`]).
pub struct VaultSession {
    keys: Vec<VaultPublicKey>,
    current: Mutex<Option<Current>>,
}

impl VaultSession {
    /// For these vault keys.
    #[must_use]
    pub fn new(keys: Vec<VaultPublicKey>) -> Self {
        Self { keys, current: Mutex::new(None) }
    }

    /// The session for one more command.
    pub fn next(&self) -> Result<Arc<Session>, ClientError> {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(at) = current.as_mut().filter(|c| c.commands < SESSION_COMMANDS && c.since.elapsed() < SESSION_LIFE) {
            at.commands += 1;
            return Ok(Arc::clone(&at.session));
        }
        let session = Arc::new(one_session(&self.keys)?);
        *current = Some(Current { session: Arc::clone(&session), commands: 1, since: Instant::now() });
        Ok(session)
    }
}

/// A session with a fresh key.
pub fn one_session(keys: &[VaultPublicKey]) -> Result<Session, ClientError> {
    Ok(Session::new(ContentKey(random()?), keys, &mut SeededRng::from_system()?)?)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use vermilion_proto::{RegisterUnit, Unit};

    #[test]
    fn city_first_then_the_home_district() {
        let key = |n: u8, area: &str| VaultKey { public_key: vec![n; 32], area: area.into(), ..Default::default() };
        let genesis = Genesis {
            managing_unit: Some(RegisterUnit { unit: Some(Unit { area: "440300".into(), ..Default::default() }) }),
            ..Default::default()
        };
        let serving = [key(1, "440304"), key(2, "440300"), key(3, "440305")];
        let of = |area: &str| vault_keys(&genesis, &serving, area).unwrap().iter().map(|k| k.0[0]).collect::<Vec<_>>();
        assert_eq!((of("440300"), of("440305"), of("440306")), (vec![2], vec![2, 3], vec![2]));
        assert!(vault_keys(&genesis, &[], "").is_err());
    }

    #[test]
    fn a_session_ends_after_a_thousand_commands() {
        let session = VaultSession::new(vec![vermilion_crypto::VaultSecretKey::from_bytes([1; 32]).public()]);
        let first = session.next().unwrap();
        for _ in 1..SESSION_COMMANDS {
            assert!(Arc::ptr_eq(&first, &session.next().unwrap()));
        }
        assert!(!Arc::ptr_eq(&first, &session.next().unwrap()));
    }
}
