//! Prints what applying costs, in microseconds: `cargo run --release -p vermilion-registry --example apply_speed`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]
#![allow(clippy::disallowed_methods, reason = "it measures, or waits for processes")]

#[path = "../tests/common/mod.rs"]
mod common;

use common::licences::{issue_body, item, with_health};
use common::{checked, node_key};
use std::time::Instant;
use vermilion_proto::{LicenceRef, Use, body::Of};
use vermilion_registry::{BlockInput, Checked};

fn main() {
    let (mut world, health) = with_health();
    let mut serial = 0;
    let mut issue = |world: &mut common::World, licences: usize| {
        let items: Vec<_> = (0..licences)
            .map(|_| {
                serial += 1;
                item(1, &health, &format!("{serial}"), 1)
            })
            .collect();
        checked(world.head(&health, &["mia", "carl"]), issue_body(&items), items)
    };
    for (name, blocks, commands, licences) in
        [("bulk issue, 1,000 a command", 100, 1, 1_000), ("single issue, 64 a block", 500, 64, 1), ("single issue, 1 a block", 2_000, 1, 1)]
    {
        let prepared: Vec<Vec<Checked>> = (0..blocks).map(|_| (0..commands).map(|_| issue(&mut world, licences)).collect()).collect();
        measure(&mut world, name, &prepared, commands * licences);
    }
    let prepared: Vec<Vec<Checked>> = (0..500)
        .map(|n| {
            (0..64)
                .map(|m| {
                    let serial = format!("{}", n * 64 + m + 1);
                    let body = Use {
                        act: 1,
                        mode: 1,
                        authority: 2,
                        licences: vec![LicenceRef { identifier: item(1, &health, &serial, 1).identifier, tag: vec![] }],
                        service_item: "s".into(),
                        case_digest: vec![1; 32],
                        purpose_digest: vec![1; 32],
                        recipient_key: vec![1; 32],
                        ..Default::default()
                    };
                    let bank = world.units["bank"].clone();
                    checked(world.head(&bank, &["una"]), Of::Use(body), vec![])
                })
                .collect()
        })
        .collect();
    measure(&mut world, "use, 64 a block", &prepared, 64);
}

fn measure(world: &mut common::World, name: &str, blocks: &[Vec<Checked>], each: usize) {
    let mut spent = std::time::Duration::ZERO;
    for (n, commands) in blocks.iter().enumerate() {
        let previous: [u8; 32] = world.registry.head().block.as_slice().try_into().unwrap();
        let mut hash = previous;
        hash[..8].copy_from_slice(&(n as u64 + world.now).to_be_bytes());
        let input =
            BlockInput { hash, previous, proposer_key: node_key(1).public().0, proposer: 1, time_ms: world.now, commands, expected: &[] };
        let began = Instant::now();
        let effects = world.registry.apply_block(&world.kv, &input).unwrap();
        spent += began.elapsed();
        assert!(effects.records.iter().all(|r| r.outcome.code == 0 && r.outcome.refused.is_empty()), "{:?}", effects.records[0].refusal);
        world.kv.write(effects.writes);
    }
    println!("{name:30} {:8.2} µs each", spent.as_secs_f64() * 1e6 / (blocks.len() * each) as f64);
}
