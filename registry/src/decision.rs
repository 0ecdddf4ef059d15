//! What deciding a command yields. Deciding only reads; whatever the command does to the state is
//! in the decision's changes, so a refusal cannot have an effect.

use crate::block::Erase;
use crate::certificates::{self, Standing};
use crate::directory::{self, Directory};
use crate::fatal::Fatal;
use crate::keys;
use crate::kv::{Kv, Write};
use crate::licence::{self, Named, Series};
use crate::policy::Policy;
use crate::status::State;
use crate::value;
use vermilion_crypto::Tag;
use vermilion_proto::{
    AdmissionState, AuthorityState, CertificateFigures, CertificateState, EnrolmentState, GenesisNode, KeyState, LicenceState,
    OperatorState, Outcome, PolicyEntry, StatusChange, TypeState, UnitState,
};

/// What a command is decided on: the state after the record before it.
pub(crate) struct View<'a> {
    pub kv: &'a dyn Kv,
    pub directory: &'a Directory,
    pub policy: &'a Policy,
    /// Time of the block.
    pub now_ms: u64,
    /// The city's day at that time.
    pub today: u32,
    /// The number that the command's record will have.
    pub seq: u64,
    /// The first status index not given out.
    pub next_index: u64,
}

/// One change of the state. What is large and rare is boxed: a bulk issue makes thousands of the others.
pub(crate) enum Change {
    Genesis(Vec<u8>),
    Node(GenesisNode),
    /// The authority's root.
    Root(AuthorityState),
    Issuing(AuthorityState),
    Admission(Box<AdmissionState>),
    Enrolment(EnrolmentState),
    Certificate(Box<CertificateState>),
    Figures(CertificateFigures),
    Key(KeyState),
    Unit(Box<UnitState>),
    Operator(Box<OperatorState>),
    Type(Box<TypeState>),
    Policy(PolicyEntry),
    /// A licence's current version.
    Licence(Series, LicenceState),
    /// An earlier version.
    Earlier(Named, LicenceState),
    History(Named, StatusChange),
    Tag(Tag, Named),
    Held(Vec<u8>, Series),
    NoLongerHeld(Vec<u8>, Series),
    /// The state in the status vector; at the next index, it gives the index out.
    Status(u64, State),
}

/// What became of a command that the rules took.
#[derive(Default)]
pub(crate) struct Decision {
    pub changes: Vec<Change>,
    pub outcome: Outcome,
    pub erase: Vec<Erase>,
    /// Positions of the items accepted.
    pub kept: Vec<u32>,
    /// The time-stamp token of a commitment: the record carries its data.
    pub commitment: Option<Vec<u8>>,
}

impl Decision {
    pub fn of(changes: Vec<Change>) -> Self {
        Self { changes, ..Self::default() }
    }
}

/// Turns a change into its state writes. What the directory holds of it is brought up to date.
pub(crate) fn write(change: Change, seq: u64, directory: &mut Directory, writes: &mut Vec<Write>) -> Result<(), Fatal> {
    let mut put = |key: Vec<u8>, value: Vec<u8>| writes.push((key, Some(value)));
    let changed = |key: &[u8]| (keys::changed(key), value::plain(&seq.to_be_bytes()));
    match change {
        Change::Licence(series, state) => put(keys::licence(&series), value::encode(&state)),
        Change::Held(tag, series) => put(keys::held(&tag, &series), vec![value::VERSION]),
        Change::Tag(tag, named) => put(keys::identifier_tag(&tag), licence::tag_value(&named)),
        Change::Earlier(named, state) => put(keys::earlier_version(&named.series, named.version), value::encode(&state)),
        Change::History(named, entry) => put(keys::history_entry(&named.series, named.version, entry.seq), value::encode(&entry)),
        Change::NoLongerHeld(tag, series) => writes.push((keys::held(&tag, &series), None)),
        Change::Genesis(payload) => put(keys::GENESIS.to_vec(), value::plain(&payload)),
        Change::Node(node) => {
            put(keys::node(node.raft_id), value::encode(&node));
            directory.nodes.insert(node.raft_id, node);
        }
        Change::Root(state) => {
            put(keys::root(), value::encode(&state));
            directory.root = Some(state);
        }
        Change::Issuing(state) => {
            put(keys::issuing(state.from_seq), value::encode(&state));
            directory.issuing.push(state);
        }
        Change::Admission(state) => {
            let key = keys::admission(&state.subject);
            let (changed_key, number) = changed(&key);
            put(key, value::encode(&*state));
            put(changed_key, number);
            directory.admissions.insert(state.subject.clone(), *state);
        }
        Change::Enrolment(state) => {
            let hash = state.grant.as_ref().map(|g| g.token_hash.as_slice()).unwrap_or_default();
            put(keys::enrolment(hash), value::encode(&state));
        }
        Change::Key(state) => {
            let of = state.key.clone().unwrap_or_default();
            put(keys::rotated(&of.r#use, &of.area, state.from_seq), value::encode(&state));
        }
        Change::Figures(state) => put(keys::figures(state.month, &state.authority, &state.unit), value::encode(&state)),
        Change::Certificate(state) => {
            let key = keys::certificate(&state.serial);
            let (changed_key, number) = changed(&key);
            put(changed_key, number);
            let holder = state.holder.as_ref().map(certificates::holder).unwrap_or_default();
            put(keys::certificate_of(&holder, &state.serial), vec![value::VERSION]);
            let mark = (state.standing != Standing::Good.number()).then(|| vec![value::VERSION]);
            put(key, value::encode(&state));
            writes.push((keys::revoked(&state.serial), mark));
        }
        Change::Unit(state) => {
            let uscc = directory::unit_of(&state);
            let key = keys::unit(&uscc);
            let (changed_key, number) = changed(&key);
            put(key, value::encode(&state));
            put(changed_key, number);
            directory.units.insert(uscc, *state);
        }
        Change::Operator(state) => {
            let id = directory::key_id(&state).ok_or_else(|| Fatal::Broken("an operator without a key id was accepted".into()))?;
            let key = keys::operator(&id);
            let (changed_key, number) = changed(&key);
            put(key, value::encode(&state));
            put(changed_key, number);
            directory.operators.insert(id, *state);
        }
        Change::Type(state) => {
            let code = directory::code_of(&state);
            let version = state.r#type.as_ref().map(|t| t.version).unwrap_or_default();
            let key = keys::licence_type(&code);
            let (changed_key, number) = changed(&key);
            let encoded = value::encode(&state);
            put(keys::type_version(&code, version), encoded.clone());
            put(key, encoded);
            put(changed_key, number);
            directory.types.insert(code, *state);
        }
        Change::Policy(entry) => {
            let (changed_key, number) = changed(&keys::policy_entries(&entry.key));
            put(keys::policy(&entry.key, entry.effective_from_ms), value::encode(&entry));
            put(changed_key, number);
            directory.policy.insert(entry);
        }
        // The status vector lives in the registry, which writes its chunks.
        Change::Status(..) => return Err(Fatal::Broken("a status change has no write of its own".into())),
    }
    Ok(())
}
