//! Receipts (存证凭证): their check without any network, their forms as files ([`document`]), the fields that
//! are disclosed with them ([`disclose`]), and the records that registered the keys that signed ([`registration`]).

pub mod disclose;
pub mod document;
pub mod registration;

pub use document::{Document, Form};
pub use registration::Registered;

use crate::clock::{show_day, show_ms};
use crate::use_licence::{Field, check_fields};
use serde_json::{Value, json};
use vermilion_crypto::Digest;
use vermilion_ledger::{
    ItemParts, Leaf, LedgerError, StatusParts, Trust, Verified, check_item, check_receipt, check_receipt_status, digests,
};
use vermilion_proto::{Command, LicenceItem, Receipt, Record, StatusEvidence, body::Of, canonical};
use vermilion_registry::codes::division;
use vermilion_registry::ledger_id;
use vermilion_registry::reason::Reason;
use vermilion_registry::status::{Shown, State, shown};
use vermilion_registry::stored::{open_behind, record_parts, status_index};
use vermilion_registry::submission::{ITEM_FORMAT, MAX_ITEM};
use vermilion_registry::{days, endorsement};

/// How far a time may lie ahead of the clock here, in milliseconds: clocks differ.
pub(crate) const AHEAD_MS: u64 = 300_000;
/// What is said of a command that is for another ledger than the one that is pinned.
const OTHER_LEDGER: &str = "The command is for another ledger.";

/// One of the questions that a receipt answers: the answer, or why it is no.
pub type Verdict = Result<(), String>;

/// The status of a licence that a receipt proves.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ProvenStatus {
    /// As it stands in the ledger.
    pub state: State,
    /// The commitment record as of which.
    pub seq: u64,
    /// Its time, Unix milliseconds.
    pub time_ms: u64,
}

/// What a receipt says of its licence's status.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum StatusVerdict {
    /// Nothing: it is of a record, or older than status proofs, or was not given the status.
    Absent,
    /// A status that does not hold.
    Refused(String),
    /// A status that holds as of the checkpoint.
    Proven(ProvenStatus),
}

/// How old the answer is, against what was asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Freshness {
    /// Young enough, or no age was asked for.
    Fresh,
    /// Older than asked.
    TooOld,
    /// The quorum's time lies ahead of the clock here: one of the two is wrong.
    Ahead,
    /// No quorum says when.
    Unknown,
}

/// On what it rests that the keys that signed are the unit's.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RestsOn {
    /// Each is pinned for the unit: on nobody else's word.
    Pinned,
    /// The ledger has a record that registered each, under the same checkpoint: on who signed those, and on the
    /// quorum for what came between.
    Registered,
    /// The nodes took them for the unit's: on the quorum's word.
    Nodes,
}

impl RestsOn {
    /// The name for scripts.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Pinned => "pinned",
            Self::Registered => "registered",
            Self::Nodes => "nodes",
        }
    }
}

/// What a receipt says, each question by itself.
#[derive(Clone, Debug)]
pub struct ReceiptCheck {
    /// Whether the record is in the ledger that is pinned: under a checkpoint with the quorum, and of a command for it.
    pub genuine: Verdict,
    /// Whether the unit that it names signed it, and the ledger took it.
    pub issued: Verdict,
    /// Whether licence and disclosed fields are as they were signed.
    pub unaltered: Verdict,
    /// The unit that signed.
    pub issuer: String,
    /// The posts that signed.
    pub posts: Vec<String>,
    /// The keys that signed, in the order of the posts.
    pub signers: Vec<[u8; 32]>,
    /// Whether these are keys that are pinned for the unit.
    pub unit_pinned: bool,
    /// The records that registered these keys, the oldest first, if the receipt carries them and they hold.
    pub registered: Vec<Registered>,
    /// The command's id.
    pub command: Option<Digest>,
    /// The record's number and time.
    pub record: Option<(u64, u64)>,
    /// The licence.
    pub item: Option<LicenceItem>,
    /// Fields that were disclosed with it and hold.
    pub fields: Vec<Field>,
    /// The licence's status.
    pub status: StatusVerdict,
    /// The record's leaf in the tree: what other tools check a proof for.
    pub leaf: Option<Leaf>,
    /// The checkpoint, if it holds.
    pub checkpoint: Option<Verified>,
    /// How many witnesses are wanted.
    pub quorum: usize,
    /// What was trusted, with the ledger keys that the receipt's endorsements add.
    pub trust: Trust,
}

impl ReceiptCheck {
    /// Whether every answer is yes.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.genuine.is_ok() && self.issued.is_ok() && self.unaltered.is_ok() && !matches!(self.status, StatusVerdict::Refused(_))
    }

    /// The first answer that is no, in words.
    #[must_use]
    pub fn failure(&self) -> Option<&str> {
        let status = match &self.status {
            StatusVerdict::Refused(why) => Some(why.as_str()),
            _ => None,
        };
        let answers = [&self.genuine, &self.issued, &self.unaltered].into_iter();
        answers.filter_map(|answer| answer.as_ref().err()).map(String::as_str).next().or(status)
    }

    /// What the checkpoint lacks of what is trusted to be enough, where all that is there holds: it may come yet.
    #[must_use]
    pub fn lacks(&self) -> Option<LedgerError> {
        self.checkpoint.as_ref()?.check_quorum(&self.trust).err()
    }

    /// How many of the nodes that are trusted have cosigned, and how many of the outside witnesses.
    #[must_use]
    pub fn cosigned(&self) -> (usize, usize) {
        self.checkpoint.as_ref().map_or((0, 0), |checkpoint| (checkpoint.cosigners.len(), checkpoint.outside.len()))
    }

    /// On what it rests that the keys that signed are the unit's.
    #[must_use]
    pub fn rests_on(&self) -> RestsOn {
        match (self.unit_pinned, self.registered.is_empty()) {
            (true, _) => RestsOn::Pinned,
            (false, false) => RestsOn::Registered,
            (false, true) => RestsOn::Nodes,
        }
    }

    /// Whether it is of the licence of this identifier: which stands in it, or was disclosed with it and signed.
    #[must_use]
    pub fn is_of(&self, identifier: &str) -> bool {
        let disclosed = |field: &Field| field.name == "certificateIdentifier" && field.value == identifier;
        self.item.as_ref().is_some_and(|item| item.identifier == identifier) || self.fields.iter().any(disclosed)
    }

    /// How old the answer is at `now_ms`, in milliseconds; 0 for one that lies ahead.
    #[must_use]
    pub fn age_ms(&self, now_ms: u64) -> Option<u64> {
        self.as_of_ms().map(|as_of| now_ms.saturating_sub(as_of))
    }

    /// Whether the answer is at most `max_age_ms` old at `now_ms`. With no age asked for everything is fresh but what lies
    /// ahead: a time that is wrong is none, and would stay young for ever.
    #[must_use]
    pub fn freshness(&self, now_ms: u64, max_age_ms: Option<u64>) -> Freshness {
        match (self.as_of_ms(), max_age_ms) {
            (Some(as_of), _) if as_of > now_ms.saturating_add(AHEAD_MS) => Freshness::Ahead,
            (_, None) => Freshness::Fresh,
            (None, Some(_)) => Freshness::Unknown,
            (Some(as_of), Some(max_age)) if now_ms.saturating_sub(as_of) > max_age => Freshness::TooOld,
            (Some(_), Some(_)) => Freshness::Fresh,
        }
    }

    /// The proven status with what follows from the licence's dates: on the commitment's day, or today
    /// where that is later.
    #[must_use]
    pub fn shown(&self, now_ms: u64) -> Option<Shown> {
        let (StatusVerdict::Proven(status), Some((from, to))) = (&self.status, self.term()) else { return None };
        Some(shown(status.state, from, to, days::of(status.time_ms.max(now_ms))))
    }

    /// First and last day of the licence's term, as items carry days; the last is 0 without term.
    #[must_use]
    pub fn term(&self) -> Option<(u32, u32)> {
        self.item.as_ref().map(term)
    }

    /// What the licence's own dates say against it, on the checkpoint's day, or today where that is later: that
    /// its term is over, or has not begun. They are signed with it, and so count without a proof of its status too.
    #[must_use]
    pub fn out_of_term(&self, now_ms: u64) -> Option<Shown> {
        let (from, to) = self.term()?;
        let today = days::of(self.as_of_ms().unwrap_or_default().max(now_ms));
        Some(shown(State::Valid, from, to, today)).filter(|shown| shown.verify_code() != 0)
    }

    /// The moment as of which those vouch whom the trust asks for, outside witnesses among them, in Unix milliseconds.
    #[must_use]
    pub fn as_of_ms(&self) -> Option<u64> {
        self.checkpoint.as_ref()?.as_of(&self.trust).map(|s| s.saturating_mul(1000))
    }

    fn status_json(&self, now_ms: u64) -> Value {
        match (&self.status, self.shown(now_ms), self.out_of_term(now_ms)) {
            (StatusVerdict::Refused(why), ..) => json!({ "ok": false, "proven": false, "why": why }),
            (StatusVerdict::Proven(status), Some(shown), _) => json!({
                "ok": true,
                "proven": true,
                "valid": shown.verify_code() == 0,
                "state": status.state.name(),
                "shown": shown.name(),
                "shown_zh": shown.chinese(),
                "verify_code": shown.verify_code(),
                "as_of_seq": status.seq,
                "as_of": show_ms(status.time_ms),
            }),
            (_, _, Some(shown)) => json!({
                "ok": true,
                "proven": false,
                "valid": false,
                "shown": shown.name(),
                "shown_zh": shown.chinese(),
                "verify_code": shown.verify_code(),
            }),
            _ => json!({ "ok": true, "proven": false }),
        }
    }

    /// For scripts. Dates of the licence are judged at `now_ms`.
    #[must_use]
    pub fn json(&self, now_ms: u64) -> Value {
        let verdict = |v: &Verdict| json!({ "ok": v.is_ok(), "why": v.as_ref().err() });
        let cosigned = self.checkpoint.iter().flat_map(|c| c.cosigners.iter().chain(&c.outside));
        let cosigned: Vec<Value> = cosigned.map(|c| json!({ "name": c.name, "time": show_ms(c.time_s.saturating_mul(1000)) })).collect();
        let fields: serde_json::Map<String, Value> = self.fields.iter().map(|f| (f.name.clone(), f.value.clone())).collect();
        json!({
            "ok": self.holds(),
            "genuine": verdict(&self.genuine),
            "issued_by": { "ok": self.issued.is_ok(), "why": self.issued.as_ref().err(), "unit": self.issuer, "posts": self.posts,
                "keys": self.signers.iter().map(hex::encode).collect::<Vec<_>>(), "pinned": self.unit_pinned,
                "rests_on": self.rests_on().name(),
                "registrations": self.registered.iter().map(Registered::json).collect::<Vec<_>>() },
            "unaltered": verdict(&self.unaltered),
            "status": self.status_json(now_ms),
            "age_s": self.age_ms(now_ms).map(|age| age / 1000),
            "as_of": {
                "size": self.checkpoint.as_ref().map(|c| c.size),
                "time": self.as_of_ms().map(show_ms),
                "ledger_key": self.checkpoint.as_ref().map(|c| c.signed_by_ledger),
            },
            "cosigned_by": cosigned,
            "command": self.command.map(hex::encode),
            "seq": self.record.map(|(seq, _)| seq),
            "time": self.record.map(|(_, time)| show_ms(time)),
            "leaf": self.leaf.as_ref().map(|leaf| hex::encode(leaf.encode())),
            "licence": self.item.as_ref().map(item_json),
            "fields": fields,
        })
    }
}

/// First and last day of an item's term: one that names no first day begins on the day of its issue.
fn term(item: &LicenceItem) -> (u32, u32) {
    (if item.effective_from == 0 { item.issued_on } else { item.effective_from }, item.expires_on)
}

fn item_json(item: &LicenceItem) -> Value {
    let tag = (!item.identifier_tag.is_empty()).then(|| hex::encode(&item.identifier_tag));
    let (from, to) = term(item);
    json!({
        "identifier": (!item.identifier.is_empty()).then_some(&item.identifier),
        "identifier_tag": tag,
        "type": item.type_code,
        "issuing_authority": item.issuing_authority,
        "version": item.version,
        "effective_from": show_day(from),
        "expires_on": (to != 0).then(|| show_day(to)),
    })
}

/// Whether a command is for this ledger: it says so, or is the genesis, whose hash is the ledger's id.
fn is_for(command: &Command, ledger: &Digest) -> bool {
    match command.body.as_ref().and_then(|body| body.of.as_ref()) {
        // It was read as canonical: it has these bytes alone.
        Some(Of::Genesis(_)) => ledger_id(&vermilion_proto::Message::encode_to_vec(command)) == *ledger,
        _ => command.head.as_ref().is_some_and(|head| head.ledger_id == *ledger),
    }
}

/// Checks a receipt against what is trusted. Needs no network and no clock.
#[must_use]
pub fn check(receipt: &Receipt, trust: &Trust) -> ReceiptCheck {
    let mut out = ReceiptCheck {
        genuine: Err("The record cannot be read.".into()),
        issued: Err("The record cannot be read.".into()),
        unaltered: Err("The record cannot be read.".into()),
        issuer: String::new(),
        posts: Vec::new(),
        signers: Vec::new(),
        unit_pinned: false,
        registered: Vec::new(),
        command: None,
        record: None,
        item: None,
        fields: Vec::new(),
        status: StatusVerdict::Absent,
        leaf: None,
        checkpoint: None,
        quorum: trust.settings().quorum,
        trust: trust.clone(),
    };
    let Ok(chain_before) = Digest::try_from(receipt.chain_before.as_slice()) else { return out };
    let open = match open_behind(&receipt.record, &chain_before) {
        Ok(open) => open,
        Err(why) => {
            out.genuine = Err(why.to_string());
            return out;
        }
    };
    out.record = Some((open.record.seq, open.record.time_ms));
    out.leaf = Some(open.leaf.clone());
    let claim = open.claim();
    let opened = vermilion_identity::open(&open.record.envelope);
    let signed = opened.as_ref().ok().and_then(|o| signed_items(&o.command));
    let elsewhere = opened.as_ref().is_ok_and(|o| !is_for(&o.command, &trust.settings().ledger_id));
    let item = (!receipt.item.is_empty()).then_some(());
    let parts = record_parts(receipt);
    let endorsed = endorsement::extend(trust, &receipt.endorsements);
    if let Ok(extended) = &endorsed {
        out.trust = extended.clone();
    }
    out.genuine = match (check_receipt(&parts, &claim, &out.trust), endorsed) {
        (Ok(checked), Ok(_)) => {
            out.checkpoint = Some(checked.checkpoint);
            // Under the pinned keys, and of a ledger whose id is not the one that is pinned with them.
            if elsewhere { Err(OTHER_LEDGER.into()) } else { Ok(()) }
        }
        (failed, endorsed) => {
            // Who did cosign is worth saying, where the quorum alone is missing.
            out.checkpoint = vermilion_ledger::verify(&receipt.checkpoint, &out.trust).ok();
            Err(match (endorsed, failed) {
                (Err(error), _) => format!("The endorsement of a later ledger key does not hold ({}): {error}", error.code()),
                (Ok(_), failed) => failed.err().map(|error| error.to_string()).unwrap_or_default(),
            })
        }
    };
    out.unaltered = unaltered(receipt, item.and(signed.as_ref()), &mut out.item, &mut out.fields);
    out.issued = match opened {
        Ok(opened) => {
            let head = opened.command.head.clone().unwrap_or_default();
            out.command = Some(opened.id);
            out.issuer = head.unit.clone();
            out.posts = head.signers.iter().map(|s| s.post.clone()).collect();
            out.signers = opened.signed.keys.iter().map(|key| key.0).collect();
            let pinned = trust.policy().units.get(&head.unit);
            let foreign = pinned.and_then(|pinned| out.signers.iter().find(|key| !pinned.iter().any(|one| one.0 == **key))).copied();
            out.unit_pinned = pinned.is_some() && foreign.is_none() && !out.signers.is_empty();
            let registered = match &out.checkpoint {
                _ if receipt.registrations.is_empty() => Ok(Vec::new()),
                Some(checkpoint) if out.genuine.is_ok() => {
                    registration::check(&receipt.registrations, &open.record, &opened, checkpoint, &out.trust)
                        .map_err(|e| format!("The registrations of its keys do not hold ({}): {e}", e.code()))
                }
                _ => Err("The record is not proved, and so neither are the registrations of its keys.".to_owned()),
            };
            match (opened.signed.verify(), registered) {
                (Err(error), _) => Err(error.to_string()),
                (Ok(()), _) if elsewhere => Err(OTHER_LEDGER.into()),
                (Ok(()), _) if out.signers.is_empty() => Err("Nobody signed it: it is the genesis.".into()),
                (Ok(()), _) if foreign.is_some() => {
                    Err(format!("The key {} is none that is pinned for this unit.", foreign.map(hex::encode).unwrap_or_default()))
                }
                (Ok(()), Err(why)) => Err(why),
                (Ok(()), Ok(registered)) => {
                    out.registered = registered;
                    taken(&open.record, receipt, out.item.as_ref(), &head.unit)
                }
            }
        }
        Err(error) => Err(error.to_string()),
    };
    out.status = match &out.checkpoint {
        _ if receipt.status_proof.is_empty() => StatusVerdict::Absent,
        Some(checkpoint) if out.genuine.is_ok() => match status(receipt, &open.record, checkpoint) {
            Ok(status) => StatusVerdict::Proven(status),
            Err(why) => StatusVerdict::Refused(why),
        },
        _ => StatusVerdict::Refused("The record that gives the licence its place is not proved.".into()),
    };
    out
}

/// The status that a receipt proves: of the licence at its position in the record, as of the checkpoint.
fn status(receipt: &Receipt, record: &Record, checkpoint: &Verified) -> Result<ProvenStatus, String> {
    let evidence: StatusEvidence = canonical(&receipt.status_proof).map_err(|e| e.to_string())?;
    if evidence.format_version != 1 {
        return Err(format!("status evidence of version {} is not read by this version", evidence.format_version));
    }
    let place = || status_index(record.outcome.as_ref()?, receipt.item_position).filter(|_| !receipt.item.is_empty());
    let parts = StatusParts {
        leaf: &evidence.leaf,
        inclusion: &evidence.inclusion,
        count: evidence.licence_count,
        index: place().ok_or("The record gives the licence no place among the statuses.")?,
        proof: &evidence.proof,
    };
    let found = check_receipt_status(&parts, checkpoint).map_err(|e| e.to_string())?;
    let state = State::from_number(u32::from(found.state)).ok_or("The status is none of this version.")?;
    Ok(ProvenStatus { state, seq: found.seq, time_ms: found.time_ms })
}

/// Root and count of the items that a command signs.
fn signed_items(command: &Command) -> Option<(Vec<u8>, u32)> {
    match command.body.as_ref()?.of.as_ref()? {
        Of::IssueLicences(of) => Some((of.items_root.clone(), of.items_count)),
        Of::SupersedeLicence(of) => Some((of.items_root.clone(), of.items_count)),
        _ => None,
    }
}

/// Whether the item is in what was signed, and each disclosed field in the item.
fn unaltered(receipt: &Receipt, signed: Option<&(Vec<u8>, u32)>, item: &mut Option<LicenceItem>, fields: &mut Vec<Field>) -> Verdict {
    if receipt.item.is_empty() {
        // A record's receipt: the record's own hash is what "genuine" checks.
        let bare = receipt.item_position == 0 && receipt.item_path.is_empty() && receipt.disclosures.is_empty();
        return if bare { Ok(()) } else { Err("There are a place or fields without the licence that they are of.".into()) };
    }
    let (root, count) = signed.ok_or("The record is of no command that issues licences.")?;
    let parts = ItemParts {
        item: &receipt.item,
        position: u64::from(receipt.item_position),
        count: u64::from(*count),
        path: &receipt.item_path,
        root,
    };
    let altered = |_| "The licence is not the one in the record: it was altered, or the proof is not its own.".to_owned();
    let root = Digest::try_from(parts.root).map_err(|_| "The command signs no root of its licences.".to_owned())?;
    let path = digests(parts.path).map_err(altered)?;
    check_item(&root, parts.count, parts.position, parts.item, &path).map_err(altered)?;
    let decoded: LicenceItem = canonical(&receipt.item).map_err(|e| e.to_string())?;
    if decoded.format_version != ITEM_FORMAT {
        return Err(format!("a licence of format version {} is not read by this version", decoded.format_version));
    }
    // What an item signs is searched for each field that is disclosed.
    if receipt.item.len() > MAX_ITEM || receipt.disclosures.len() > decoded.field_digests.len() / size_of::<Digest>() {
        return Err("There are more fields than a licence has.".into());
    }
    *fields = check_fields(&decoded, &receipt.disclosures).map_err(|_| "A disclosed field is not the one that was signed.".to_owned())?;
    *item = Some(decoded);
    Ok(())
}

/// Whether the ledger took the command, and of its licences this one.
fn taken(record: &Record, receipt: &Receipt, item: Option<&LicenceItem>, unit: &str) -> Verdict {
    let outcome = record.outcome.clone().unwrap_or_default();
    let refused = |code: u32| {
        let reason = Reason::from_number(code);
        Err(format!("The ledger refused it: {} {}", reason.map_or("?", Reason::name), reason.map_or("", Reason::chinese)))
    };
    if outcome.code != 0 {
        return refused(outcome.code);
    }
    if receipt.item.is_empty() {
        return Ok(());
    }
    if let Some(at) = outcome.refused.iter().find(|r| r.position == receipt.item_position) {
        return refused(at.code);
    }
    match item {
        // Where the authority is a division, the rules asked that the unit issues for it.
        Some(item) if item.issuing_authority != unit && !division::is_historic(&item.issuing_authority) => {
            Err("The licence names another authority than the unit that signed.".into())
        }
        Some(_) => Ok(()),
        None => Err("The licence is not the one that was signed.".into()),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
pub(crate) mod tests;
