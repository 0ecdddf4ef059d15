//! Rotation of keys: a record endorses a new one, and its receipt checks under the quorum that there
//! was, so that nobody needs to take the old key's word alone (004-14).
//!
//! The ledger's signing key and the vault keys are honoured. What the state keeps is the list, each key
//! with the record from which it serves; who signs checkpoints reads it there, and who seals content has it
//! proved ([`crate::endorsement`]). A node's keys change with its id ([`crate::admission`]); changing them under one id is refused by name.

use crate::codes::division;
use crate::decision::{Change, Decision, View};
use crate::endorsement::{LEDGER, VAULT};
use crate::fatal::{Stop, refuse};
use crate::pinned;
use crate::query;
use crate::reason::Reason;
use crate::taken;
use vermilion_crypto::{SUITE_1, VaultPublicKey, check_registrable};
use vermilion_ledger::MAX_NEWER_KEYS;
use vermilion_proto::{KeyState, RotateKey};

/// Endorses a key. One that was ever anybody's is refused.
pub(crate) fn rotate(view: &View<'_>, body: &RotateKey) -> Result<Decision, Stop> {
    if body.suite != SUITE_1 {
        return refuse(Reason::Suite, "suite");
    }
    match body.r#use.as_str() {
        LEDGER => {
            if !body.area.is_empty() {
                return refuse(Reason::FieldForm, "area");
            }
            if check_registrable(&body.public_key).is_err() {
                return refuse(Reason::BadKey, "public_key");
            }
        }
        VAULT => {
            if division::area(&body.area).is_none() {
                return refuse(Reason::Area, "area");
            }
            if VaultPublicKey::from_slice(&body.public_key).is_err() || body.public_key.iter().all(|b| *b == 0) {
                return refuse(Reason::BadKey, "public_key");
            }
        }
        "node" | "cosigning" => return refuse(Reason::NotYetHonoured, "use"),
        _ => return refuse(Reason::FieldForm, "use"),
    }
    // Nobody who checks endorsements reads a longer chain.
    if body.r#use == LEDGER && pinned::newer_keys(&query::rotated_keys(view.kv)?).len() >= MAX_NEWER_KEYS {
        return refuse(Reason::TooLarge, "use");
    }
    if let Some(whose) = taken::whose(view, &body.public_key)? {
        return refuse(Reason::AlreadyExists, format!("public_key is {whose}"));
    }
    Ok(Decision::of(vec![Change::Key(KeyState { key: Some(body.clone()), from_seq: view.seq, from_ms: view.now_ms })]))
}
