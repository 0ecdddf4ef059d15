//! What managing units do: units, operators, the catalogue, policy.

use crate::change::Grounds;
use crate::client::Client;
use crate::clock::now_ms;
use crate::command::Draft;
use crate::connection::Recorded;
use crate::error::ClientError;
use crate::signer;
use vermilion_crypto::{KeyId, PublicKey, SUITE_1, Tag};
use vermilion_proto::{
    AddOperator, ChangeUnit, Implementation, LicenceType, Operator, PolicyEntry, PublishImplementation, PublishType, RegisterUnit,
    RevokeOperator, SetPolicy, Unit, body::Of,
};
use vermilion_registry::Kind;
use vermilion_registry::content::{CatalogueEntry, TypeRules};
use vermilion_registry::reason::Reason;

/// An operator to be registered.
#[derive(Clone, Debug)]
pub struct NewOperator {
    /// USCC of the unit.
    pub unit: String,
    /// The public key.
    pub key: PublicKey,
    /// The posts.
    pub posts: Vec<String>,
    /// The person's tag ([`Client::person_tag`]).
    pub person: Tag,
    /// The person's name: it goes sealed into the vault.
    pub name: Option<String>,
    /// In force from, in Unix milliseconds; 0: now.
    pub from_ms: u64,
    /// In force until; 0: without end.
    pub until_ms: u64,
}

/// What became of a type that was to be published.
#[derive(Clone, Debug, PartialEq)]
pub enum Published {
    /// It stands in the ledger in this version, by this record.
    Now(u32, Box<Recorded>),
    /// It stood there already, unchanged, in this version.
    Before(u32),
}

/// What becomes of a type's issuers that a catalogue file does not name: a district may have added them (002-6 ¶2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unlisted {
    /// They go on issuing.
    Stay,
    /// They issue the type no more.
    Go,
}

impl Client {
    /// The unit that manages by the keys that are here: the city's, else the first with keys in the
    /// posts that managing takes.
    pub async fn manager(&self) -> Result<String, ClientError> {
        let rule = self.post_rule(Kind::RegisterUnit).await?;
        let city = std::iter::once(self.managing_unit());
        let found = city
            .chain(self.keyring().operators().iter().map(|o| o.unit.as_str()))
            .find(|unit| signer::can_sign(self.keyring(), unit, &rule));
        let missing = || ClientError::config("operators", format!("no unit's keys here fill the posts {rule} of a managing unit"));
        found.map(str::to_owned).ok_or_else(missing)
    }

    /// Registers a unit. The leader's name goes sealed into the vault.
    pub async fn register_unit(&self, by: &str, mut unit: Unit, leader: Option<&str>) -> Result<Recorded, ClientError> {
        let mut draft = Draft::new(by, now_ms())?;
        if let Some(name) = leader {
            draft.seal_texts(&self.session(by).await?, &[("responsibleLeader", name)])?;
            unit.responsible_leader_digest = first_digest(&draft);
        }
        self.carry_out(Kind::RegisterUnit, draft, Of::RegisterUnit(RegisterUnit { unit: Some(unit) })).await
    }

    /// Suspends a unit, or restores it.
    pub async fn change_unit(&self, by: &str, uscc: &str, suspend: bool, grounds: &Grounds) -> Result<Recorded, ClientError> {
        let action = if suspend { "suspend" } else { "restore" };
        let body = Of::ChangeUnit(ChangeUnit { uscc: uscc.to_owned(), action: action.to_owned() });
        self.carry_out(Kind::ChangeUnit, grounds.draft(by)?, body).await
    }

    /// Registers an operator's key with its posts.
    pub async fn add_operator(&self, by: &str, new: &NewOperator) -> Result<Recorded, ClientError> {
        let now = now_ms();
        let mut draft = Draft::new(by, now)?;
        let mut operator = operator_of(new);
        if let Some(name) = &new.name {
            draft.seal_texts(&self.session(by).await?, &[("operatorName", name)])?;
            operator.name_digest = first_digest(&draft);
        }
        self.carry_out(Kind::AddOperator, draft, Of::AddOperator(AddOperator { operator: Some(operator) })).await
    }

    /// Takes posts back, or with none named the key.
    pub async fn revoke_operator(&self, by: &str, key: &KeyId, posts: Vec<String>, grounds: &Grounds) -> Result<Recorded, ClientError> {
        let body = Of::RevokeOperator(RevokeOperator { key_id: key.to_vec(), posts });
        self.carry_out(Kind::RevokeOperator, grounds.draft(by)?, body).await
    }

    /// Publishes a type of a catalogue file: as the next version, or not at all if it stands in the
    /// ledger unchanged, so that publishing a catalogue again does no harm.
    pub async fn publish(&self, by: &str, entry: &CatalogueEntry, unlisted: Unlisted) -> Result<Published, ClientError> {
        let mut of = entry.licence_type.clone();
        let mut implementations = entry.issuers.clone();
        if let Some(state) = self.licence_type(&of.code).await?
            && let Some(current) = state.r#type
        {
            complete(&mut implementations, &state.implementations);
            if unlisted == Unlisted::Stay {
                keep(&mut implementations, &state.implementations);
            }
            of.version = current.version;
            if of == current && by_unit(implementations.clone()) == by_unit(state.implementations) {
                return Ok(Published::Before(current.version));
            }
            of.version = current.version.saturating_add(1);
        }
        let version = of.version;
        self.publish_type(by, of, implementations).await.map(|recorded| Published::Now(version, Box::new(recorded)))
    }

    /// Publishes a type as it stands.
    pub async fn publish_type(&self, by: &str, of: LicenceType, implementations: Vec<Implementation>) -> Result<Recorded, ClientError> {
        // A type that nobody's client can compile would close the door to its licences.
        TypeRules::new(&of)?;
        let body = Of::PublishType(PublishType { r#type: Some(of), implementations });
        self.carry_out(Kind::PublishType, Draft::new(by, now_ms())?, body).await
    }

    /// Says which units issue a type from now on, besides or instead of others. What is not said of one that goes on,
    /// stays as the ledger has it; if that is all, there is nothing to record.
    pub async fn publish_implementation(
        &self,
        by: &str,
        code: &str,
        mut add: Vec<Implementation>,
        remove: Vec<String>,
    ) -> Result<Published, ClientError> {
        let state = self.licence_type(code).await?.ok_or(Reason::UnknownType)?;
        let version = state.r#type.map_or(0, |of| of.version);
        complete(&mut add, &state.implementations);
        if remove.is_empty() && add.iter().all(|of| state.implementations.contains(of)) {
            return Ok(Published::Before(version));
        }
        let body = Of::PublishImplementation(PublishImplementation { type_code: code.to_owned(), add, remove_units: remove });
        let recorded = self.carry_out(Kind::PublishImplementation, Draft::new(by, now_ms())?, body).await?;
        Ok(Published::Now(version, Box::new(recorded)))
    }

    /// Sets policy.
    pub async fn set_policy(&self, by: &str, entries: Vec<PolicyEntry>) -> Result<Recorded, ClientError> {
        self.carry_out(Kind::SetPolicy, Draft::new(by, now_ms())?, Of::SetPolicy(SetPolicy { entries })).await
    }
}

/// The message of a new operator, without a name.
#[must_use]
pub fn operator_of(new: &NewOperator) -> Operator {
    Operator {
        key_id: new.key.id().to_vec(),
        suite: SUITE_1,
        public_key: new.key.0.to_vec(),
        person_tag: new.person.to_vec(),
        unit: new.unit.clone(),
        posts: new.posts.clone(),
        from_ms: new.from_ms,
        until_ms: new.until_ms,
        ..Operator::default()
    }
}

/// What a file does not say of an issuer that goes on, stays as the ledger has it.
fn complete(wanted: &mut [Implementation], known: &[Implementation]) {
    for wanted in wanted {
        let Some(known) = known.iter().find(|known| known.unit == wanted.unit) else { continue };
        let of_both = [(&mut wanted.area, &known.area), (&mut wanted.own_code, &known.own_code), (&mut wanted.seal_id, &known.seal_id)];
        for (wanted, known) in of_both.into_iter().filter(|(wanted, _)| wanted.is_empty()) {
            wanted.clone_from(known);
        }
    }
}

/// Issuers that a file does not name go on.
fn keep(wanted: &mut Vec<Implementation>, known: &[Implementation]) {
    let unlisted: Vec<_> = known.iter().filter(|known| wanted.iter().all(|wanted| wanted.unit != known.unit)).cloned().collect();
    wanted.extend(unlisted);
}

fn by_unit(mut implementations: Vec<Implementation>) -> Vec<Implementation> {
    implementations.sort_by(|a, b| a.unit.cmp(&b.unit));
    implementations
}

fn first_digest(draft: &Draft) -> Vec<u8> {
    draft.text_digests.first().map(|d| d.to_vec()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_file_leaves_out_of_an_issuer_stays_and_what_it_says_holds() {
        let of = |unit: &str, area: &str, seal: &str| Implementation {
            unit: unit.into(),
            area: area.into(),
            seal_id: seal.into(),
            ..Implementation::default()
        };
        let mut wanted = vec![of("b", "", ""), of("a", "440305", ""), of("c", "", "")];
        complete(&mut wanted, &[of("a", "440304", "S1"), of("b", "DPXQ", "")]);
        assert_eq!(wanted, [of("b", "DPXQ", ""), of("a", "440305", "S1"), of("c", "", "")]);
        assert_eq!(by_unit(wanted.clone())[0], wanted[1]);
        // One that the city's file does not name, a district has added.
        keep(&mut wanted, &[of("a", "440304", "S1"), of("d", "440306", "")]);
        assert_eq!(wanted[1..], [of("a", "440305", "S1"), of("c", "", ""), of("d", "440306", "")]);
    }
}
