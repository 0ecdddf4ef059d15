//! The transcripts under `scripts/`: what people do, in their words, and what the ledger answers.
//! They are meant to be read by those who know the regulations. `UPDATE_GOLDENFILES=1` rewrites
//! the answers.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod common;

use common::script::Script;
use std::collections::BTreeSet;
use vermilion_registry::Reason;

const SCRIPTS: [&str; 15] = [
    "catalogue",
    "erase",
    "head",
    "issue",
    "no-authority",
    "operators",
    "past",
    "personal",
    "policy",
    "signers",
    "status",
    "supersede",
    "type-bounds",
    "units",
    "use",
];

/// Over a ledger with an authority of its own.
const IDENTITY: [&str; 7] = ["admission", "admission-nodes", "certificates", "custody", "enrolment", "keys", "suspensions"];

#[test]
fn transcripts_of_identity_hold() {
    for name in IDENTITY {
        let mut script = Script::with_authority();
        goldenscript::run(&mut script, format!("tests/scripts/{name}")).unwrap();
        // What a transcript did, any node does again.
        let (kv, records) = common::replay(&script.world, 7);
        assert!(kv == script.world.kv, "{name}: another state");
        assert!(records.iter().eq(script.world.records.iter().map(|r| &r.bytes)), "{name}: other records");
    }
}

#[test]
fn transcripts_hold() {
    for name in SCRIPTS {
        goldenscript::run(&mut Script::new(), format!("tests/scripts/{name}")).unwrap();
    }
}

/// Reasons that are the gate's or the door's to give, or the auditor's to find: apply never does.
const ELSEWHERE: &[Reason] = &[
    Reason::Malformed,
    Reason::NotCanonical,
    Reason::Incomplete,
    Reason::BadSignature,
    Reason::PayloadType,
    Reason::Schema,
    Reason::StateSecret,
    Reason::ContentDoesNotOpen,
    Reason::ContentDigest,
    Reason::NoVaultKey,
    Reason::Busy,
    Reason::NoLeader,
    Reason::Unknown,
    Reason::NotAuthorised,
    Reason::StatusClosed,
    Reason::ChallengeFailed,
    Reason::WrapMissing,
    Reason::VaultKeyReplaced,
    Reason::NotHereYet,
    Reason::NotCosigned,
    Reason::Internal,
];

#[test]
fn every_reason_of_the_rules_stands_in_a_transcript() {
    let all: String = SCRIPTS.iter().chain(&IDENTITY).map(|n| std::fs::read_to_string(format!("tests/scripts/{n}")).unwrap()).collect();
    let missing: BTreeSet<&str> = Reason::ALL
        .iter()
        .filter(|r| !ELSEWHERE.contains(r))
        .map(|r| r.name())
        .filter(|name| {
            !all.contains(&format!("refused {name}:"))
                && !all.contains(&format!("warning {name}:"))
                && !all.contains(&format!("withheld {name}:"))
                && !all.contains(&format!("no record: {name}"))
                && !all.contains(&format!("no: {name}:"))
        })
        .collect();
    assert!(missing.is_empty(), "no transcript shows {missing:?}");
}

/// The page that others read says of every reason what the program says.
#[test]
fn the_page_of_reasons_says_what_the_program_says() {
    let page = std::fs::read_to_string("../docs/formats.md").unwrap();
    let row = |r: Reason| format!("| {} | `{}` | {} | {} |", r.number(), r.name(), r.chinese(), r.english());
    let missing: Vec<String> = (1..1000).filter_map(Reason::from_number).map(row).filter(|row| !page.contains(row)).collect();
    assert!(missing.is_empty(), "docs/formats.md lacks:\n{}", missing.join("\n"));
}
