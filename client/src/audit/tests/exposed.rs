//! What one node can do to a watch that follows others too.

use super::following::{grown, kinds, round, serve_tree, watch_for};
use super::sample::{Sample, note};
use super::served::Served;
use crate::audit::{Kind, Watch};
use base64::prelude::{BASE64_STANDARD, Engine as _};
use std::path::Path;
use std::time::{Duration, Instant};

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
    assert_eq!((kinds(&mut together, 1).await, together.size()), (vec![], SIZE));
    // A node that is slow gets there in some rounds.
    let folder = tempfile::tempdir().unwrap();
    let mut rounds = watch_for(&[&b], &sample, folder.path(), Duration::from_secs(2));
    for _ in 0..40 {
        assert_eq!(kinds(&mut rounds, 1).await, []);
        if rounds.size() > 0 {
            break;
        }
    }
    assert_eq!((rounds.size(), roots.len()), (SIZE, 2));
    let first = b.asked.lock().unwrap().iter().filter(|asked| *asked == "tile/0/000").count();
    assert_eq!(first, 1);
}
