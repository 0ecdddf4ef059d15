//! Using licences: the use is recorded first, then what it was granted comes back, sealed to a key
//! that was made for this use alone.
//!
//! What comes back is checked against the digests in the licence's item. That the item is the one in
//! the ledger is the node's word until a receipt proves it.

use crate::answer::{Answer, Hearing, Recorded, Settled, Turn, refusal_of_number};
use crate::client::Client;
use crate::clock::{now_ms, until};
use crate::command::{Draft, Prepared};
use crate::error::ClientError;
use crate::person::holder_code;
use crate::signer::Signatory;
use crate::vault::VaultSession;
use serde_json::Value;
use std::time::{Duration, Instant};
use vermilion_crypto::{Digest, SigningKey, VaultSecretKey, open_sealed};
use vermilion_proto::{
    Act, Authority, CommandState, Delivery, DisclosedContent, LicenceItem, LicenceRef, Mode, SealedContent, StatusAnswer, SubmitReply,
    SubmitRequest, Use, UseReply, body::Of, canonical,
};
use vermilion_registry::content::{Disclosure, TagInput};
use vermilion_registry::reason::{Reason, Refusal};
use vermilion_registry::text::is_blank;
use vermilion_registry::{Kind, check_words};

/// Binds sealed content to its use.
const SEAL_INFO: &[u8] = b"vermilion use v1 ";

/// What is to be used, for what, on what authority.
#[derive(Clone, Debug)]
pub struct UseRequest {
    /// Use, consult or verify.
    pub act: Act,
    /// By hand or by a system.
    pub mode: Mode,
    /// By function, in the holder's presence, or entrusted.
    pub authority: Authority,
    /// The licences.
    pub licences: Vec<LicenceRef>,
    /// Or whose licences are searched for: the holder's keyed tag.
    pub holder_tag: Vec<u8>,
    /// The service item.
    pub service_item: String,
    /// The case number: it goes sealed into the vault.
    pub case: String,
    /// The purpose: it goes sealed into the vault.
    pub purpose: String,
    /// Consent or use code (用证码).
    pub consent_id: String,
    /// Fields wanted; none: the type's default disclosure.
    pub fields: Vec<String>,
    /// As data or as a view.
    pub delivery: Delivery,
    /// Years for which the result is kept.
    pub retention_years: u32,
}

impl Default for UseRequest {
    fn default() -> Self {
        Self {
            act: Act::Use,
            mode: Mode::Manual,
            authority: Authority::ByFunction,
            licences: Vec::new(),
            holder_tag: Vec::new(),
            service_item: String::new(),
            case: String::new(),
            purpose: String::new(),
            consent_id: String::new(),
            fields: Vec::new(),
            delivery: Delivery::Data,
            retention_years: 0,
        }
    }
}

/// A field that was disclosed and checked.
#[derive(Clone, Debug, PartialEq)]
pub struct Field {
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: Value,
    /// The disclosure, which proves the value to whoever has the item.
    pub disclosure: String,
}

/// One licence of a use.
#[derive(Clone, Debug, PartialEq)]
pub struct UsedLicence {
    /// Its identifier, where it is public.
    pub identifier: String,
    /// Its status.
    pub status: StatusAnswer,
    /// The fields granted.
    pub fields: Vec<Field>,
    /// The item, as the node gave it.
    pub item: Vec<u8>,
}

/// What a use came to.
#[derive(Clone, Debug, PartialEq)]
pub struct UseAnswer {
    /// Its record.
    pub recorded: Recorded,
    /// The licences, as far as they are there.
    pub licences: Vec<UsedLicence>,
    /// Of a search: the holder has more than one search may list.
    pub more: bool,
}

impl UseAnswer {
    /// The fields withheld, each with its reason.
    pub fn withheld(&self) -> impl Iterator<Item = (&str, Option<Reason>)> {
        self.recorded.outcome.withheld.iter().map(|w| (w.field.as_str(), Reason::from_number(w.code)))
    }
}

/// A signed use and the secret that opens what it is granted.
pub struct PreparedUse {
    /// The command.
    pub prepared: Prepared,
    recipient: VaultSecretKey,
    licences: Vec<LicenceRef>,
    holder_tag: Vec<u8>,
}

/// Makes and signs uses for one unit. Shared by many tasks.
pub struct UseDesk {
    ledger_id: Digest,
    unit: String,
    signers: Vec<Signatory>,
    session: VaultSession,
}

impl UseDesk {
    /// For a unit whose users' keys are in the configuration.
    pub async fn new(client: &Client, unit: &str) -> Result<Self, ClientError> {
        Ok(Self {
            ledger_id: *client.ledger_id(),
            unit: unit.to_owned(),
            signers: client.signers(unit, Kind::Use).await?,
            session: client.vault_session(unit).await?,
        })
    }

    /// The unit.
    #[must_use]
    pub fn unit(&self) -> &str {
        &self.unit
    }

    /// The key that asks for tags of personal identifiers.
    pub fn asker(&self) -> Result<&SigningKey, ClientError> {
        self.signers.first().map(|s| &s.key).ok_or_else(|| ClientError::config("operators", "nobody signs a use"))
    }

    /// Seals case number and purpose, makes a recipient key and signs.
    pub fn prepare(&self, request: &UseRequest) -> Result<PreparedUse, ClientError> {
        // Refused by the ledger it would stand in a record.
        if [&request.service_item, &request.case, &request.purpose].iter().any(|text| is_blank(text)) {
            return Err(Refusal::new(Reason::PurposeMissing, "service item, case number and purpose must say something").into());
        }
        let mut draft = Draft::new(&self.unit, now_ms())?;
        draft.seal_texts(&*self.session.next()?, &[("case", &request.case), ("purpose", &request.purpose)])?;
        let [case, purpose] = draft.text_digests[..] else { return Err(Reason::Internal.into()) };
        let recipient = VaultSecretKey::generate()?;
        let body = Use {
            act: request.act.into(),
            mode: request.mode.into(),
            authority: request.authority.into(),
            licences: request.licences.clone(),
            holder_tag: request.holder_tag.clone(),
            service_item: request.service_item.clone(),
            case_digest: case.to_vec(),
            purpose_digest: purpose.to_vec(),
            consent_id: request.consent_id.clone(),
            fields: request.fields.clone(),
            recipient_key: recipient.public().0.to_vec(),
            delivery: request.delivery.into(),
            result_retention_years: request.retention_years,
            ..Use::default()
        };
        check_words(&body)?;
        let prepared = draft.sign(&self.ledger_id, Of::Use(body), &self.signers)?;
        Ok(PreparedUse { prepared, recipient, licences: request.licences.clone(), holder_tag: request.holder_tag.clone() })
    }

    /// Sends a use until it is answered, and opens what it was granted. A use that the rules refuse
    /// is an error with its reason; the record stands all the same, and so if what comes back does not hold.
    pub async fn send(&self, client: &Client, prepared: &PreparedUse) -> Result<UseAnswer, ClientError> {
        let connection = &client.connection;
        let id = prepared.prepared.id;
        let until = until(connection.submit_patience);
        let request = SubmitRequest { tag: 0, submission: prepared.prepared.submission.clone() };
        let mut hearing = Hearing::default();
        let mut stands = None;
        loop {
            let asked = connection
                .ask_with(&prepared.prepared, &mut hearing, |mut node| {
                    let request = request.clone();
                    async move { node.r#use(request).await }
                })
                .await;
            let why = match asked {
                Ok(UseReply { reply: Some(reply), contents, more }) => match outcome(id, reply, &mut hearing) {
                    Outcome::Recorded(recorded) => {
                        let recorded = recorded.accepted()?;
                        let opened = contents.iter().map(|c| open(&id, prepared, c)).collect::<Result<Vec<_>, _>>();
                        let licences = opened.and_then(|licences| each_once(prepared, &licences).map(|()| licences));
                        let licences = licences.map_err(|error| error.on_record(id, recorded.seq))?;
                        return Ok(UseAnswer { recorded, licences, more });
                    }
                    Outcome::Refused(error) => return Err(error),
                    Outcome::Unserved { seq, why } => {
                        stands = Some(seq);
                        why
                    }
                    Outcome::Again(why) => why,
                    Outcome::Elsewhere(why) => {
                        connection.ask_elsewhere();
                        why
                    }
                },
                Ok(UseReply { reply: None, .. }) => return Err(ClientError::BadAnswer("a use without its reply".into())),
                // It may have been sent before the connection broke, or be known to be on record.
                Err(error) => {
                    return Err(match (stands, error) {
                        (Some(seq), error) => error.on_record(id, seq),
                        (None, ClientError::Unreachable(why)) => ClientError::Unknown { id, why },
                        (None, error) if hearing.is_open() => ClientError::Unknown { id, why: error.to_string() },
                        (None, error) => error,
                    });
                }
            };
            if Instant::now() > until {
                return Err(match stands {
                    Some(seq) => ClientError::Unreachable(why).on_record(id, seq),
                    None => ClientError::Unknown { id, why },
                });
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }
}

impl Client {
    /// Searches for a holder's licences, for a unit: those of types whose sharing opens them to this use (002-13), each
    /// with its status and no field. A search is itself a use, and stands in its record under the holder's keyed tag.
    pub async fn search_holder(&self, unit: &str, code_type: &str, code: &str, mut request: UseRequest) -> Result<UseAnswer, ClientError> {
        let input = TagInput { kind: "holder", code_type: code_type.to_owned(), value: holder_code(code_type, code)?.to_string() };
        let desk = UseDesk::new(self, unit).await?;
        let tags = self.tags(desk.asker()?, vec![input]).await?;
        request.holder_tag = tags.first().map(|tag| tag.to_vec()).unwrap_or_default();
        desk.send(self, &desk.prepare(&request)?).await
    }

    /// Uses licences for a unit: names them, signs, sends, opens.
    pub async fn use_licences(&self, unit: &str, identifiers: &[String], mut request: UseRequest) -> Result<UseAnswer, ClientError> {
        let desk = UseDesk::new(self, unit).await?;
        for identifier in identifiers {
            request.licences.push(self.name_licence(desk.asker()?, identifier).await?);
        }
        let prepared = desk.prepare(&request)?;
        let mut answer = desk.send(self, &prepared).await?;
        // A licence that went by its tag is shown by the name by which it was asked for.
        for (named, identifier) in prepared.licences.iter().zip(identifiers).filter(|(named, _)| !named.tag.is_empty()) {
            let found = answer.licences.iter_mut().find(|l| canonical::<LicenceItem>(&l.item).is_ok_and(|i| i.identifier_tag == named.tag));
            if let Some(found) = found {
                found.identifier.clone_from(identifier);
            }
        }
        Ok(answer)
    }
}

#[derive(Debug)]
enum Outcome {
    Recorded(Recorded),
    Refused(ClientError),
    /// It is recorded, and whoever was asked cannot serve it now.
    Unserved {
        seq: u64,
        why: String,
    },
    Again(String),
    Elsewhere(String),
}

/// What a use's answer means, after those that were heard before it.
fn outcome(id: Digest, reply: SubmitReply, hearing: &mut Hearing) -> Outcome {
    if reply.state() == CommandState::Committed && reply.code != 0 {
        // Whatever keeps this node from serving it, it is recorded.
        hearing.lost();
        return match Reason::from_number(reply.code) {
            Some(Reason::NoVaultKey | Reason::Internal | Reason::Unknown) => Outcome::Unserved { seq: reply.seq, why: reply.detail },
            _ => Outcome::Refused(ClientError::from(refusal_of_number(reply.code, reply.detail)).on_record(id, reply.seq)),
        };
    }
    match hearing.settle(id, Ok(reply)) {
        Settled::Done(Answer::Recorded(recorded)) => Outcome::Recorded(recorded),
        Settled::Done(Answer::RefusedAtDoor { refusal, .. }) => Outcome::Refused(refusal.into()),
        Settled::Done(Answer::Invalid) => Outcome::Refused(Reason::Expired.into()),
        Settled::Again { why, turn: Turn::Stay, .. } => Outcome::Again(why),
        Settled::Again { why, .. } => Outcome::Elsewhere(why),
    }
}

/// Opens one licence's content and checks each field against the digests that its issuer signed.
fn open(id: &Digest, prepared: &PreparedUse, sealed: &SealedContent) -> Result<UsedLicence, ClientError> {
    let info = [SEAL_INFO, id].concat();
    let plain = open_sealed(&prepared.recipient, &info, &sealed.encapsulated, &sealed.ciphertext)?;
    let bad = |why: &str| ClientError::BadAnswer(why.to_owned());
    let content: DisclosedContent = canonical(&plain).map_err(|_| bad("the content of a licence does not read"))?;
    let item: LicenceItem = canonical(&content.item).map_err(|_| bad("the item of a licence does not read"))?;
    let is_asked = |l: &LicenceRef| if l.tag.is_empty() { l.identifier == item.identifier } else { l.tag == item.identifier_tag };
    let is_holders = prepared.holder_tag.is_empty() || item.holders.iter().any(|holder| holder.tag == prepared.holder_tag);
    if !is_holders || (!prepared.licences.is_empty() && !prepared.licences.iter().any(is_asked)) {
        return Err(bad("the content is of a licence that was not asked for"));
    }
    // Which licence it is, its item says, if its identifier is no tag.
    let named = item.identifier.is_empty() || content.identifier == item.identifier;
    if !named {
        return Err(bad("the content of a licence goes by another's name"));
    }
    Ok(UsedLicence {
        identifier: content.identifier,
        status: content.status.unwrap_or_default(),
        fields: check_fields(&item, &content.disclosures)?,
        item: content.item,
    })
}

/// Refuses an answer that gives a licence twice, or one of those that were asked for and not another. None at all is given of a
/// use that is closed.
fn each_once(prepared: &PreparedUse, licences: &[UsedLicence]) -> Result<(), ClientError> {
    let mut items: Vec<&[u8]> = licences.iter().map(|licence| licence.item.as_slice()).collect();
    items.sort_unstable();
    let twice = items.windows(2).any(|pair| pair[0] == pair[1]);
    let asked = prepared.licences.len();
    if twice || (asked != 0 && !licences.is_empty() && licences.len() != asked) {
        return Err(ClientError::BadAnswer("the node does not give each licence that was asked for, once".into()));
    }
    Ok(())
}

/// Checks disclosures against an item's digests.
pub fn check_fields(item: &LicenceItem, disclosures: &[String]) -> Result<Vec<Field>, ClientError> {
    let (digests, _) = item.field_digests.as_chunks::<32>();
    let check = |text: &String| {
        let disclosure = Disclosure::verify(text, digests).map_err(|r| ClientError::BadAnswer(r.detail))?;
        Ok(Field { name: disclosure.name().to_owned(), value: disclosure.value().clone(), disclosure: text.clone() })
    };
    disclosures.iter().map(check).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests {
    use super::*;
    use vermilion_crypto::{SeededRng, seal_to};
    use vermilion_proto::Message as _;
    use vermilion_registry::submission::open_submission;

    fn desk() -> UseDesk {
        UseDesk {
            ledger_id: [1; 32],
            unit: "u".into(),
            signers: vec![Signatory::new("u", "user", SigningKey::from_seed(&[1; 32]))],
            session: VaultSession::new(vec![VaultSecretKey::from_bytes([2; 32]).public()]),
        }
    }

    fn request() -> UseRequest {
        let licences = vec![LicenceRef { identifier: "a".into(), tag: Vec::new() }];
        UseRequest { licences, case: "一号案".into(), purpose: "开户".into(), service_item: "s".into(), ..UseRequest::default() }
    }

    #[test]
    fn a_use_names_its_texts_by_digest_alone() {
        let prepared = desk().prepare(&request()).unwrap();
        let bytes = prepared.prepared.submission;
        assert!(!bytes.windows("一号案".len()).any(|w| w == "一号案".as_bytes()));
        let command = open_submission(&bytes).unwrap().checked.command;
        let head = command.head.unwrap();
        let Some(Of::Use(of)) = command.body.unwrap().of else { panic!() };
        assert_eq!(head.text_digests, [of.case_digest, of.purpose_digest]);
        assert_eq!(of.recipient_key, prepared.recipient.public().0);
        let missing = [
            UseRequest { case: " ".into(), ..request() },
            UseRequest { purpose: "\u{3000}".into(), ..request() },
            UseRequest { service_item: String::new(), ..request() },
        ];
        for request in missing {
            let error = desk().prepare(&request).err().unwrap();
            assert_eq!(error.refusal().map(|r| r.reason), Some(Reason::PurposeMissing));
        }
        let number = "440303188001010011";
        let personal = [
            UseRequest { service_item: format!("为{number}开户"), ..request() },
            UseRequest { consent_id: number.into(), ..request() },
            UseRequest { fields: vec!["张三".into()], ..request() },
        ];
        for request in personal {
            let error = desk().prepare(&request).err().unwrap();
            assert_eq!(error.refusal().map(|r| r.reason), Some(Reason::FieldForm));
        }
    }

    #[test]
    fn a_use_that_may_have_come_through_is_not_refused_at_a_door() {
        let refused =
            || SubmitReply { state: CommandState::RefusedAtDoor.into(), code: Reason::UnknownSigner.number(), ..Default::default() };
        let mut hearing = Hearing::default();
        assert!(matches!(outcome([1; 32], refused(), &mut hearing), Outcome::Refused(_)));
        let without =
            |code: Reason| SubmitReply { state: CommandState::Committed.into(), code: code.number(), seq: 7, ..Default::default() };
        for open in [SubmitReply::default(), without(Reason::NoVaultKey)] {
            let mut hearing = Hearing::default();
            assert!(matches!(outcome([1; 32], open, &mut hearing), Outcome::Elsewhere(_) | Outcome::Unserved { seq: 7, .. }));
            assert!(matches!(outcome([1; 32], refused(), &mut hearing), Outcome::Elsewhere(_)) && hearing.is_open());
            let recorded = SubmitReply { state: CommandState::Committed.into(), seq: 7, ..Default::default() };
            assert!(matches!(outcome([1; 32], recorded, &mut hearing), Outcome::Recorded(Recorded { seq: 7, .. })));
        }
    }

    #[test]
    fn what_keeps_a_recorded_use_from_being_served_is_said_with_its_record() {
        let reply =
            SubmitReply { state: CommandState::Committed.into(), code: Reason::ContentErased.number(), seq: 7, ..Default::default() };
        let Outcome::Refused(error) = outcome([1; 32], reply, &mut Hearing::default()) else { panic!() };
        assert_eq!((error.command(), error.seq(), error.code()), (Some(&[1; 32]), Some(7), Reason::ContentErased.name()));
    }

    #[test]
    fn content_opens_for_its_use_and_is_checked() {
        let prepared = desk().prepare(&request()).unwrap();
        let field = Disclosure::new(&[3; 16], "area", Value::from("12")).unwrap();
        let other = Disclosure::new(&[4; 16], "area", Value::from("13")).unwrap();
        let seal = |identifier: &str, disclosure: &Disclosure, id: &Digest| {
            let item = LicenceItem { identifier: identifier.into(), field_digests: field.digest().to_vec(), ..Default::default() };
            let content = DisclosedContent {
                identifier: identifier.into(),
                disclosures: vec![disclosure.encoded().to_owned()],
                status: Some(StatusAnswer::default()),
                item: item.encode_to_vec(),
            };
            let info = [SEAL_INFO, id].concat();
            let sealed = seal_to(&prepared.recipient.public(), &info, &content.encode_to_vec(), &mut SeededRng::new(&[5; 32])).unwrap();
            SealedContent { identifier: identifier.into(), encapsulated: sealed.encapsulated, ciphertext: sealed.ciphertext }
        };
        let id = prepared.prepared.id;
        let used = open(&id, &prepared, &seal("a", &field, &id)).unwrap();
        assert_eq!((used.fields[0].name.as_str(), &used.fields[0].value), ("area", &Value::from("12")));
        assert!(open(&id, &prepared, &seal("a", &other, &id)).is_err(), "a value that its issuer did not sign");
        assert!(open(&id, &prepared, &seal("b", &field, &id)).is_err(), "another licence");
        assert!(open(&id, &prepared, &seal("a", &field, &[9; 32])).is_err(), "another use's content");
    }
}
