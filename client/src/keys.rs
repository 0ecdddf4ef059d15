//! The ledger's keys: the one that signs checkpoints and those to which content is sealed, each with the
//! endorsement by which it took another's place. A key on a node's word alone is never used.

use crate::audit::TrustFile;
use crate::client::Client;
use crate::clock::now_ms;
use crate::command::Draft;
use crate::connection::Recorded;
use crate::error::ClientError;
use vermilion_crypto::SUITE_1;
use vermilion_ledger::Trust;
use vermilion_proto::{KeyState, RotateKey, VaultKey, body::Of};
use vermilion_registry::endorsement::{self, LEDGER};
use vermilion_registry::{Kind, pinned};

/// The keys that records endorsed, as far as that is proved.
#[derive(Clone, Debug)]
pub struct EndorsedKeys {
    /// What was trusted, with the later ledger keys.
    pub trust: Trust,
    /// Those whose endorsement holds.
    pub proved: Vec<KeyState>,
    /// Those that a node names and cannot prove yet: no checkpoint over their records has the quorum.
    pub unproved: Vec<KeyState>,
}

/// Checks what a node says of the keys: for each its endorsement, or nothing.
fn checked(trust: &Trust, keys: Vec<KeyState>, endorsements: &[Vec<u8>]) -> Result<EndorsedKeys, ClientError> {
    if keys.len() != endorsements.len() {
        return Err(ClientError::BadAnswer("the node names other keys than it endorses".into()));
    }
    let refused = |error: endorsement::EndorsementError| {
        ClientError::BadAnswer(format!("a key's endorsement does not hold ({}): {error}", error.code()))
    };
    let is_ledgers = |state: &KeyState| state.key.as_ref().is_some_and(|key| key.r#use == LEDGER);
    // First, since the checkpoints that prove the others may be under them.
    let of_ledger = keys.iter().zip(endorsements).filter(|(state, proof)| is_ledgers(state) && !proof.is_empty());
    let of_ledger: Vec<Vec<u8>> = of_ledger.map(|(_, proof)| proof.clone()).collect();
    let trust = endorsement::extend(trust, &of_ledger).map_err(refused)?;
    let mut out = EndorsedKeys { trust, proved: Vec::new(), unproved: Vec::new() };
    for (said, proof) in keys.into_iter().zip(endorsements) {
        if proof.is_empty() {
            out.unproved.push(said);
            continue;
        }
        let proved = if is_ledgers(&said) {
            // Judged above.
            endorsement::said(proof, &out.trust.settings().ledger_id).map_err(refused)?
        } else if let Ok(proved) = endorsement::check(proof, &out.trust) {
            proved
        } else {
            // Not enough for this trust: nothing is sealed to it.
            out.unproved.push(said);
            continue;
        };
        if proved != said {
            return Err(ClientError::BadAnswer("the node names another key than it endorses".into()));
        }
        out.proved.push(proved);
    }
    Ok(out)
}

impl Client {
    /// What is trusted: the configuration's file, else what the pinned genesis gives rise to.
    pub fn trusted(&self) -> Result<Trust, ClientError> {
        match &self.config().trust {
            Some(file) => TrustFile::load(file).map_err(|why| ClientError::config("trust", why)),
            None => {
                pinned::trust_of(self.genesis(), *self.ledger_id(), None, true).map_err(|e| ClientError::config("genesis", e.to_string()))
            }
        }
    }

    /// The keys that took others' places, each checked under `trust`.
    pub async fn endorsed_keys(&self, trust: &Trust) -> Result<EndorsedKeys, ClientError> {
        if trust.settings().ledger_id != *self.ledger_id() {
            return Err(ClientError::config("trust", "it is of another ledger"));
        }
        let reply = self.connection.query("keys", "", None).await?;
        checked(trust, reply.keys, &reply.endorsements)
    }

    /// The vault keys that serve now.
    pub async fn serving_vault_keys(&self) -> Result<Vec<VaultKey>, ClientError> {
        let reply = self.connection.query("keys", "", None).await?;
        if reply.keys.is_empty() {
            // The pinned genesis's, for which nothing else needs to be trusted.
            return Ok(self.genesis().vault_keys.clone());
        }
        let endorsed = checked(&self.trusted()?, reply.keys, &reply.endorsements)?;
        Ok(pinned::vault_keys(self.genesis(), &endorsed.proved))
    }

    /// Endorses a key of the ledger, or of the vault for an area, signed by the posts that the policy wants.
    pub async fn endorse_key(&self, by: Option<&str>, of: &str, area: &str, public_key: &[u8; 32]) -> Result<Recorded, ClientError> {
        let by = by.unwrap_or(self.managing_unit()).to_owned();
        let body = RotateKey { r#use: of.to_owned(), area: area.to_owned(), suite: SUITE_1, public_key: public_key.to_vec() };
        self.carry_out(Kind::RotateKey, Draft::new(&by, now_ms())?, Of::RotateKey(body)).await
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::receipt::tests::rotated::{NEW, rotated};
    use crate::receipt::tests::{key, trust};

    /// What an honest node says: the later ledger key, with its endorsement.
    fn said() -> (Vec<KeyState>, Vec<Vec<u8>>) {
        let endorsements = rotated(&[NEW], (&[1], 3)).endorsements;
        (vec![endorsement::check(&endorsements[0], &trust()).unwrap()], endorsements)
    }

    #[test]
    fn a_key_counts_with_its_endorsement_alone() {
        let (keys, proofs) = said();
        let found = checked(&trust(), keys.clone(), &proofs).unwrap();
        assert_eq!((*found.trust.ledger_key_at(u64::MAX), found.proved, found.unproved.len()), (key(NEW).public(), keys.clone(), 0));
        // Again, by whoever knows it already.
        assert_eq!(checked(&found.trust, keys.clone(), &proofs).unwrap().trust, found.trust);
        let found = checked(&trust(), keys.clone(), &[Vec::new()]).unwrap();
        assert_eq!((found.trust, found.proved.len(), found.unproved), (trust(), 0, keys));
    }

    #[test]
    fn another_key_than_the_endorsed_one_is_refused() {
        let (keys, proofs) = said();
        let with = |change: &dyn Fn(&mut RotateKey)| {
            let mut keys = keys.clone();
            change(keys[0].key.as_mut().unwrap());
            checked(&trust(), keys, &proofs)
        };
        assert!(with(&|key| key.public_key[0] ^= 1).is_err());
        assert!(with(&|key| (key.r#use, key.area) = ("vault".into(), "440300".into())).is_err());
        assert!(checked(&trust(), keys, &[]).is_err());
        assert!(checked(&trust(), Vec::new(), &proofs).is_err());
    }
}
