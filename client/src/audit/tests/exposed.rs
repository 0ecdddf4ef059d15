//! What one node can do to a watch that follows others too.

use super::following::{grown, kinds, round, serve_tree, watch_for};
use super::sample::{Sample, note};
use super::served::Served;
use crate::audit::{Kind, Watch, metrics};
use base64::prelude::{BASE64_STANDARD, Engine as _};
use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};
use vermilion_ledger::verify;

fn watch(served: &[&Served], sample: &Sample, folder: &Path) -> Watch {
    watch_for(served, sample, folder, Duration::from_secs(60))
}

/// A note with lines of keys that nobody knows, as many and as long as an answer takes.
fn padded(mut note: Vec<u8>) -> Vec<u8> {
    for n in 0..90u8 {
        note.extend_from_slice(format!("\u{2014} other.example/{n} {}\n", BASE64_STANDARD.encode([n; 1900])).as_bytes());
    }
    note
}

#[tokio::test(flavor = "multi_thread")]
async fn lines_of_keys_that_nobody_trusts_are_not_kept_and_no_start_fails_of_them() {
    let (sample, served) = (grown(), Served::start().await);
    let folder = tempfile::tempdir().unwrap();
    let (before, after) = (sample.checkpoints[&10].clone(), sample.checkpoints[&303].clone());
    served.publish(&sample, 303);
    served.put("checkpoint", padded(after.clone()));
    assert_eq!(kinds(&mut watch(&[&served], &sample, folder.path()), 1).await, []);
    let files = || std::fs::read_dir(folder.path()).unwrap().map(|file| file.unwrap().path());
    assert_eq!(files().map(|file| std::fs::read(file).unwrap()).collect::<Vec<_>>(), [after.clone(), after.clone()]);
    // Nor of what an earlier version kept; and evidence carries none.
    files().for_each(|file| std::fs::write(file, padded(after.clone())).unwrap());
    served.put("checkpoint", padded(before.clone()));
    let alarms = round(&mut watch(&[&served], &sample, folder.path()), 2_000).await;
    assert_eq!(alarms.into_iter().map(|alarm| (alarm.kind, alarm.evidence)).collect::<Vec<_>>(), [(Kind::Rollback, Some([after, before]))]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_node_holds_up_no_alarm_and_a_round_no_longer_than_its_time() {
    let (sample, a, slow, forker) = (grown(), Served::start().await, Served::start().await, Served::start().await);
    let folder = tempfile::tempdir().unwrap();
    for served in [&a, &slow, &forker] {
        served.publish(&sample, 303);
    }
    let mut watch = watch_for(&[&a, &slow, &forker], &sample, folder.path(), Duration::from_secs(4));
    assert_eq!(kinds(&mut watch, 1).await, []);
    slow.slow.lock().unwrap().insert("checkpoint".into(), Duration::from_secs(60));
    forker.put("checkpoint", note(303, [9; 32], &[2, 3]));
    let (begun, mut looks, mut told) = (Instant::now(), watch.look(), Vec::new());
    while let Some(look) = looks.next().await {
        told.extend(watch.judge(look, 61_000).unwrap().into_iter().map(|alarm| (alarm.kind, alarm.node, begun.elapsed())));
    }
    let [(Kind::Fork, _, fork), (Kind::Stalled, node, stalled)] = told.as_slice() else { panic!("{told:?}") };
    assert!(node == "node-1" && *fork < Duration::from_secs(3), "{told:?}");
    assert!(*stalled >= Duration::from_secs(4) && *stalled < Duration::from_secs(20), "{told:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_no_quorum_vouches_for_is_told_of_while_the_base_does_not_move() {
    let (sample, a, b) = (grown(), Served::start().await, Served::start().await);
    let folder = tempfile::tempdir().unwrap();
    a.publish(&sample, 7);
    b.publish(&sample, 7);
    let mut watch = watch(&[&a, &b], &sample, folder.path());
    assert_eq!(kinds(&mut watch, 1).await, []);
    // Two of three sign: nodes go on, and show it.
    let shows = |served: &Served, size: u64| {
        served.publish(&sample, size);
        served.put("checkpoint", note(size, verify(&sample.checkpoints[&size], &sample.trust).unwrap().root, &[1, 2]));
    };
    shows(&a, 10);
    assert_eq!((kinds(&mut watch, 2).await, kinds(&mut watch, 60).await), (vec![], vec![]));
    shows(&a, 303);
    assert_eq!(kinds(&mut watch, 61).await, [], "it is a minute since it was shown first");
    assert_eq!(kinds(&mut watch, 62).await, [(Kind::NoQuorum, "node-0".to_owned())]);
    assert!(!Kind::NoQuorum.is_grave() && watch.base().size == 7 && watch.standing()["node-0"].size == 303);
    let figures = metrics(&watch.standing(), watch.base(), &BTreeMap::new(), 0);
    let signed = verify(&sample.checkpoints[&7], &sample.trust).unwrap().as_of(&sample.trust).unwrap();
    for line in [
        "vermilion_watch_base_size 7".to_owned(),
        format!("vermilion_watch_base_timestamp_seconds {signed}"),
        "vermilion_watch_alarm{node=\"node-0\",kind=\"no-quorum\"} 1".to_owned(),
    ] {
        assert!(figures.lines().any(|l| l == line), "{line} in {figures}");
    }
    a.publish(&sample, 303);
    assert_eq!((kinds(&mut watch, 63).await, watch.base().size), (vec![], 303));
    // So where there has never been a base.
    let fresh = tempfile::tempdir().unwrap();
    shows(&a, 303);
    let mut fresh = super::following::watch_for(&[&a], &sample, fresh.path(), Duration::from_secs(60));
    assert_eq!((kinds(&mut fresh, 1).await, kinds(&mut fresh, 61).await), (vec![], vec![(Kind::NoQuorum, "node-0".to_owned())]));
}

#[tokio::test(flavor = "multi_thread")]
async fn tiles_are_asked_for_together_and_those_that_came_in_time_are_not_asked_for_again() {
    // 254 full tiles, of which the root is made.
    const SIZE: u64 = 65_200;
    let (sample, a, b) = (Sample::busy(), Served::start().await, Served::start().await);
    let mut roots = Vec::new();
    for served in [&a, &b] {
        roots = serve_tree(served, &[10, SIZE]);
        served.put("checkpoint", note(SIZE, roots[1], &[1, 2, 3]));
        let tiles: Vec<String> = served.files.lock().unwrap().keys().filter(|path| path.starts_with("tile/0/")).cloned().collect();
        served.slow.lock().unwrap().extend(tiles.into_iter().map(|path| (path, Duration::from_millis(200))));
    }
    let folder = tempfile::tempdir().unwrap();
    let mut together = watch_for(&[&a], &sample, folder.path(), Duration::from_secs(25));
    // One after the other they take 50 s.
    assert_eq!((kinds(&mut together, 1).await, together.base().size), (vec![], SIZE));
    // A node that is slow gets there in some rounds.
    let folder = tempfile::tempdir().unwrap();
    let mut rounds = watch_for(&[&b], &sample, folder.path(), Duration::from_secs(2));
    for _ in 0..40 {
        assert_eq!(kinds(&mut rounds, 1).await, []);
        if rounds.base().size > 0 {
            break;
        }
    }
    assert_eq!((rounds.base().size, roots.len()), (SIZE, 2));
    let first = b.asked.lock().unwrap().iter().filter(|asked| *asked == "tile/0/000").count();
    assert_eq!(first, 1);
}
