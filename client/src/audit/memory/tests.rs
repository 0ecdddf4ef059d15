#![allow(clippy::unwrap_used)]

use super::*;
use crate::audit::group::MANY;
use proptest::prelude::*;
use std::collections::BTreeSet;

fn rooms() -> [Room; 3] {
    // Everything in memory, everything put aside, and now and then some.
    [usize::MAX, 0, 24 << 10].map(|bytes| Room { bytes, folder: None })
}

fn all(kv: &dyn Kv, prefix: &[u8], limit: usize) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut out = Vec::new();
    kv.scan(prefix, &mut |k, v| {
        out.push((k.to_vec(), v.to_vec()));
        out.len() < limit
    })
    .unwrap();
    out
}

/// Holds a state against the registry's own, in all that may be asked of it.
fn compare(ours: &mut ReplayState, theirs: &Memory, keys: &BTreeSet<Vec<u8>>, limit: usize) {
    let everything = all(theirs, b"", usize::MAX);
    for key in keys {
        assert_eq!(ours.get(key).unwrap(), theirs.get(key).unwrap(), "{key:?}");
        if !ours.has_aside() {
            assert_eq!(ours.unordered(key).is_some(), !ours.is_listed(key) && theirs.get(key).unwrap().is_some());
        }
    }
    for prefix in keys.iter().flat_map(|key| [2, 3, 34, 35].map(|len| key.get(..len).unwrap_or(key))).collect::<BTreeSet<_>>() {
        assert_eq!(all(ours, prefix, limit), all(theirs, prefix, limit), "{prefix:?}");
    }
    let visited = |ours: &ReplayState| {
        let mut out = Vec::new();
        ours.for_each(&mut |key, value| out.push((key.to_vec(), value.to_vec()))).unwrap();
        out.sort();
        out
    };
    assert_eq!(visited(ours), everything);
    if !ours.has_aside() {
        assert_eq!(ours.unordered_count() + ours.ordered.iter().count(), everything.len());
    }
    ours.settle().unwrap();
    assert_eq!(visited(ours), everything);
    for from in [&b""[..], b"d/\x80", b"l/", b"m"] {
        let mut listed = ours.listed(from);
        for (key, value) in everything.iter().filter(|(key, _)| key.as_slice() >= from && ours.is_listed(key)) {
            assert_eq!(listed.current().unwrap(), Some((key.as_slice(), value.as_slice())));
            listed.advance().unwrap();
        }
        assert_eq!(listed.current().unwrap(), None);
    }
}

#[test]
fn it_reads_like_the_registrys_own() {
    let mut writes: Vec<Write> = (0..50u8).map(|n| ([b"d/", &[n.wrapping_mul(77); 32][..]].concat(), Some(vec![n]))).collect();
    for key in ["a", "d", "d/short", "e", "l/x", "h", "w/short", "w", "x", "i/tag", "lh/x"] {
        writes.push((key.into(), Some(key.into())));
    }
    for (holder, series) in [(1, "a"), (1, "b"), (2, "a"), (1, "ab")] {
        writes.push(([b"w/", &[holder; 32][..], series.as_bytes()].concat(), Some(vec![1])));
    }
    for n in 0..MANY as u8 + 3 {
        writes.push(([b"w/", &[3; 32][..], &[n.wrapping_mul(91)]].concat(), Some(vec![n])));
    }
    writes.push(([b"w/", &[3; 32][..], &[91]].concat(), None));
    writes.push(([b"w/", &[3; 32][..], &[0]].concat(), Some(vec![7])));
    writes.push(([b"w/", &[1; 32][..], b"ab"].concat(), Some(vec![2])));
    writes.push(([&b"d/"[..], &[77; 32]].concat(), None));
    for (id, size) in [(200, 9), (201, 8), (202, 9), (203, 8), (204, 9), (205, 9), (204, 1), (205, 0)] {
        writes.push(([&b"d/"[..], &[id; 32]].concat(), Some(vec![id; size]).filter(|value| !value.is_empty())));
    }
    for id in [202, 203] {
        writes.push(([&b"d/"[..], &[id; 32]].concat(), Some(vec![7; 211 - usize::from(id)])));
    }
    writes.push(([b"w/", &[2; 32][..], b"a"].concat(), None));
    writes.push(([b"w/", &[2; 32][..], b"b"].concat(), None));
    let (held, many) = ([b"w/", &[1; 32][..]].concat(), [b"w/", &[3; 32][..]].concat());
    let prefixes: [&[u8]; 12] = [&many, b"", b"d", b"d/", b"l/", b"d/short", b"x", b"w", b"w/", &held, &[&held[..], b"a"].concat(), b"lh/"];
    for room in rooms() {
        let (mut ours, mut theirs) = (ReplayState::new(&room), Memory::new());
        // In blocks, so that what is put aside is written over and deleted.
        for block in writes.chunks(7) {
            ours.write(block.to_vec()).unwrap();
            theirs.write(block.to_vec());
        }
        assert_eq!(ours.has_aside(), room.bytes != usize::MAX);
        for prefix in prefixes {
            assert_eq!(all(&ours, prefix, 60), all(&theirs, prefix, 60), "{prefix:?}");
        }
        let keys = writes.iter().map(|(key, _)| key.clone()).collect();
        compare(&mut ours, &theirs, &keys, 60);
        let ordered: Vec<_> = all(&theirs, b"", usize::MAX).into_iter().filter(|(key, _)| matches!(place(key), Place::Ordered)).collect();
        ours.release();
        assert!(ordered.iter().all(|(key, value)| ours.get(key).unwrap().as_ref() == Some(value)));
        assert_eq!(ours.bytes(), 0);
    }
}

/// Few keys of each kind, so that they are often written again.
fn key() -> impl Strategy<Value = Vec<u8>> {
    (0..9u8, 0..4u8, prop_oneof![Just(1usize), Just(80)]).prop_map(|(kind, n, long)| {
        let text = vec![b'a' + n; long];
        match kind {
            0 => [&b"d/"[..], &[n.wrapping_mul(77); 32]].concat(),
            1 => [&b"l/i"[..], &text].concat(),
            2 => [&b"i/"[..], &[n; 32]].concat(),
            3 | 4 => [&b"w/"[..], &[kind; 32], &text].concat(),
            5 => [&b"lh/"[..], &text, b"/", &[n]].concat(),
            6 => [&b"lv/"[..], &text, b"/", &[n]].concat(),
            7 => vec![b"hyuz"[usize::from(n)]],
            _ => [&b"u/"[..], &text].concat(),
        }
    })
}

fn blocks() -> impl Strategy<Value = Vec<Vec<Write>>> {
    let value = prop_oneof![Just(9usize), Just(1), Just(40)].prop_flat_map(|len| prop::collection::vec(any::<u8>(), len));
    prop::collection::vec(prop::collection::vec((key(), prop::option::weighted(0.7, value)), 0..12), 1..12)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn what_is_put_aside_reads_as_if_it_was_not(blocks in blocks(), limit in 1usize..9) {
        let mut theirs = Memory::new();
        let mut ours = rooms().map(|room| ReplayState::new(&room));
        let keys: BTreeSet<_> = blocks.iter().flatten().map(|(key, _)| key.clone()).collect();
        for block in &blocks {
            theirs.write(block.clone());
            for ours in &mut ours {
                ours.write(block.clone()).unwrap();
            }
        }
        for mut ours in ours {
            // Kept over a break, and taken up where there is more room, or less.
            let mut entries = Vec::new();
            ours.for_each(&mut |key, value| entries.push((key.to_vec(), Some(value.to_vec())))).unwrap();
            for room in rooms() {
                let mut again = ReplayState::new(&room);
                entries.chunks(5).for_each(|some| again.write(some.to_vec()).unwrap());
                compare(&mut again, &theirs, &keys, limit);
            }
            compare(&mut ours, &theirs, &keys, limit);
        }
    }
}

#[test]
fn it_takes_no_more_than_its_room() {
    let folder = tempfile::tempdir().unwrap();
    let room = Room { bytes: 2 << 20, folder: Some(folder.path().join("scratch")) };
    let mut ours = ReplayState::new(&room);
    let mut most = 0;
    for block in 0..400u32 {
        let entry = |n: u32| {
            let id = vermilion_crypto::sha256(&n.to_be_bytes());
            let command = ([COMMAND, &id].concat(), Some(vec![1; NUMBER]));
            [command, ([b"l/i", &id[..]].concat(), Some(vec![2; 150])), ([HELD, &id[..], b"i1"].concat(), Some(vec![1]))]
        };
        ours.write((block * 64..(block + 1) * 64).flat_map(entry).collect()).unwrap();
        most = most.max(ours.bytes());
    }
    assert!(most <= room.bytes && most > room.bytes / 4, "{most}");
    assert!(folder.path().join("scratch").exists());
    drop(ours);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn without_a_place_for_what_does_not_fit_nothing_is_taken() {
    let folder = tempfile::tempdir().unwrap();
    let room = Room { bytes: 0, folder: Some(folder.path().join("none/scratch")) };
    let error = ReplayState::new(&room).write(vec![(b"l/x".to_vec(), Some(vec![1]))]).unwrap_err();
    assert!(error.to_string().contains("none/scratch") && error.to_string().contains("No such file"), "{error}");
}
