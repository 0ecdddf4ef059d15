//! The watch.

use super::sample::{Sample, note, note_by};
use super::served::Served;
use crate::audit::cli::{complaint, run_to};
use crate::audit::{
    Access, Alarm, AuditArgs, CANNOT_READ, CLEAN, FOUND, Kind, Patience, TrustFile, USAGE, Watch, WatchArgs, Web, metrics, run,
};
use std::io::{self, ErrorKind, Write};
use std::path::Path;
use std::time::Duration;
use vermilion_ledger::{Conflict, Tree, leaf_hash, tile_path, verify};

/// With two checkpoints: after 10 records, and after 303.
pub fn grown() -> Sample {
    let mut sample = Sample::busy();
    for n in 0..292 {
        sample.issue(&[&format!("N{n}")]);
    }
    sample.commit();
    assert_eq!(sample.checkpoints.keys().copied().collect::<Vec<_>>(), [7, 10, 303]);
    sample
}

fn watch(served: &[&Served], sample: &Sample, folder: &Path) -> Watch {
    watch_for(served, sample, folder, Duration::from_secs(60))
}

/// One that gives a look at a node so long.
pub fn watch_for(served: &[&Served], sample: &Sample, folder: &Path, look: Duration) -> Watch {
    let nodes = served.iter().enumerate().map(|(n, served)| (format!("node-{n}"), Web::new(&served.base).unwrap())).collect();
    let patience = Patience { stall: Duration::from_secs(60), look };
    Watch::open(nodes, sample.trust.clone(), folder, patience, 0).unwrap()
}

/// What a whole round raises, by the nodes' names.
pub async fn round(watch: &mut Watch, now_ms: u64) -> Vec<Alarm> {
    let (mut looks, mut alarms) = (watch.look(), Vec::new());
    while let Some(look) = looks.next().await {
        alarms.extend(watch.judge(look, now_ms).unwrap());
    }
    alarms.sort_by(|a, b| a.node.cmp(&b.node));
    alarms
}

pub async fn kinds(watch: &mut Watch, now_s: u64) -> Vec<(Kind, String)> {
    round(watch, now_s * 1000).await.into_iter().map(|alarm| (alarm.kind, alarm.node)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ledger_that_grows_raises_nothing() {
    let (sample, a, b) = (grown(), Served::start().await, Served::start().await);
    let folder = tempfile::tempdir().unwrap();
    let mut watch = watch(&[&a, &b], &sample, folder.path());
    for (size, other) in [(7, 7), (10, 7), (303, 10), (303, 303)] {
        a.publish(&sample, size);
        b.publish(&sample, other);
        assert_eq!(kinds(&mut watch, 1).await, []);
        assert_eq!((watch.base().size, watch.standing()["node-1"].size), (size, other));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_is_noticed_even_over_a_restart() {
    let (sample, served) = (grown(), Served::start().await);
    let folder = tempfile::tempdir().unwrap();
    served.publish(&sample, 303);
    assert_eq!(kinds(&mut watch(&[&served], &sample, folder.path()), 1).await, []);
    served.publish(&sample, 10);
    let mut watch = watch(&[&served], &sample, folder.path());
    let alarms = round(&mut watch, 2_000).await;
    assert_eq!(alarms.iter().map(|a| a.kind).collect::<Vec<_>>(), [Kind::Rollback]);
    let sizes = alarms[0].files.iter().map(|file| verify(&std::fs::read(file).unwrap(), &sample.trust).unwrap().size);
    assert_eq!(sizes.collect::<Vec<_>>(), [303, 10]);
    assert_eq!(kinds(&mut watch, 3).await, [], "an alarm that stands is raised once");
    served.publish(&sample, 303);
    assert_eq!(kinds(&mut watch, 4).await, []);
    served.publish(&sample, 10);
    assert_eq!(kinds(&mut watch, 5).await.len(), 1, "and again after it was gone");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_roots_for_one_size_are_a_fork_that_anyone_can_check() {
    let (sample, a, b) = (grown(), Served::start().await, Served::start().await);
    let folder = tempfile::tempdir().unwrap();
    a.publish(&sample, 303);
    b.publish(&sample, 303);
    let mut watch = watch(&[&a, &b], &sample, folder.path());
    assert_eq!(kinds(&mut watch, 1).await, []);
    b.put("checkpoint", note(303, [9; 32], &[2, 3]));
    let alarms = round(&mut watch, 1_000).await;
    assert_eq!(alarms.iter().map(|a| (a.kind, a.node.as_str())).collect::<Vec<_>>(), [(Kind::Fork, "node-1")]);
    let notes: Vec<Vec<u8>> = alarms[0].files.iter().map(|file| std::fs::read(file).unwrap()).collect();
    let conflict = Conflict::detect(&notes[0], &notes[1], &sample.trust).unwrap().unwrap();
    assert_eq!(conflict.signed_both.len(), 3, "the ledger key and two nodes");
    assert!(alarms[0].to_json()["notes"].as_array().unwrap().len() == 2 && alarms[0].to_text().contains("evidence:"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_longer_history_that_does_not_continue_is_a_fork() {
    let (sample, served) = (grown(), Served::start().await);
    let folder = tempfile::tempdir().unwrap();
    served.publish(&sample, 10);
    let mut watch = watch(&[&served], &sample, folder.path());
    assert_eq!(kinds(&mut watch, 1).await, []);
    let mut other = Sample::new();
    for n in 0..20 {
        other.issue(&[&format!("X{n}")]);
    }
    other.commit();
    served.publish(&other, 26);
    assert_eq!(kinds(&mut watch, 2).await, [(Kind::Fork, "node-0".to_owned())]);
    assert_eq!(watch.base().size, 10, "what was not proved is not kept");
}

/// A size that no node will ever reach, cosigned by one node and nobody else.
pub fn huge() -> Vec<u8> {
    note_by(&[], 1 << 40, [9; 32], &[3])
}

fn newest(folder: &Path, sample: &Sample) -> u64 {
    verify(&std::fs::read(folder.join("newest.note")).unwrap(), &sample.trust).unwrap().size
}

#[tokio::test(flavor = "multi_thread")]
async fn one_stolen_key_does_not_silence_the_watch() {
    let (sample, thief, a, b) = (grown(), Served::start().await, Served::start().await, Served::start().await);
    let folder = tempfile::tempdir().unwrap();
    thief.put("checkpoint", huge());
    for served in [&a, &b] {
        served.publish(&sample, 10);
    }
    // The thief is asked first, before there is anything to compare with.
    assert_eq!(kinds(&mut watch(&[&thief, &a, &b], &sample, folder.path()), 1).await, []);
    assert_eq!(newest(folder.path(), &sample), 10);
    // Nor is it taken for the newest after a restart, from a folder of an earlier version.
    std::fs::write(folder.path().join("newest.note"), huge()).unwrap();
    let mut watch = watch(&[&thief, &a, &b], &sample, folder.path());
    assert_eq!((watch.base().size, kinds(&mut watch, 2).await), (0, vec![]));
    for served in [&a, &b] {
        served.publish(&sample, 303);
    }
    assert_eq!(kinds(&mut watch, 3).await, []);
    assert_eq!((watch.base().size, newest(folder.path(), &sample), watch.standing()["node-2"].size), (303, 303, 303));
    // What the others show is compared as ever.
    b.put("checkpoint", note(303, [8; 32], &[2]));
    assert_eq!(kinds(&mut watch, 4).await, [(Kind::Fork, "node-2".to_owned())]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_size_to_which_the_quorum_does_not_come_diverges_in_time() {
    let (sample, a, thief) = (grown(), Served::start().await, Served::start().await);
    let folder = tempfile::tempdir().unwrap();
    a.publish(&sample, 7);
    thief.put("checkpoint", huge());
    let mut watch = watch(&[&a, &thief], &sample, folder.path());
    assert_eq!(kinds(&mut watch, 1).await, []);
    a.publish(&sample, 10);
    assert_eq!(kinds(&mut watch, 30).await, [], "the quorum has a minute to come there");
    assert_eq!(kinds(&mut watch, 62).await, [(Kind::Stalled, "node-1".to_owned())], "while nothing moves it may still come");
    a.publish(&sample, 303);
    // In the next round, if it answered before the other.
    let mut told = kinds(&mut watch, 63).await;
    told.extend(kinds(&mut watch, 64).await);
    assert_eq!(told, [(Kind::Divergence, "node-1".to_owned())]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_checkpoint_below_the_quorum_is_compared_and_is_no_base() {
    let (sample, served) = (grown(), Served::start().await);
    let folder = tempfile::tempdir().unwrap();
    served.publish(&sample, 10);
    let mut watch = watch(&[&served], &sample, folder.path());
    assert_eq!(kinds(&mut watch, 1).await, []);
    let root = verify(&sample.checkpoints[&303], &sample.trust).unwrap().root;
    served.publish(&sample, 303);
    served.put("checkpoint", note(303, root, &[1]));
    assert_eq!(kinds(&mut watch, 2).await, []);
    assert_eq!((watch.base().size, newest(folder.path(), &sample), watch.standing()["node-0"].size), (10, 10, 303));
    // A larger tree that does not continue it is a fork, and a smaller one a rollback, whoever signed.
    served.put("checkpoint", note(303, [8; 32], &[1]));
    assert_eq!(kinds(&mut watch, 3).await, [(Kind::Fork, "node-0".to_owned())]);
    served.put("checkpoint", sample.checkpoints[&10].clone());
    assert_eq!(kinds(&mut watch, 4).await, [(Kind::Rollback, "node-0".to_owned())]);
    served.put("checkpoint", sample.checkpoints[&303].clone());
    assert_eq!(kinds(&mut watch, 5).await, []);
    assert_eq!((watch.base().size, newest(folder.path(), &sample)), (303, 303));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_quorum_signed_stands_against_what_one_node_signed_before() {
    let (sample, thief, a) = (grown(), Served::start().await, Served::start().await);
    let folder = tempfile::tempdir().unwrap();
    thief.put("checkpoint", note(10, [9; 32], &[3]));
    a.publish(&sample, 10);
    let mut watch = watch(&[&thief, &a], &sample, folder.path());
    // Told of the node whose answer came second; then of the one that goes on showing it.
    let mut forks = kinds(&mut watch, 1).await;
    assert_eq!((watch.base().size, forks.len()), (10, 1));
    forks.extend(kinds(&mut watch, 2).await);
    assert!(forks.iter().all(|(kind, _)| *kind == Kind::Fork) && forks.last().is_some_and(|(_, node)| node == "node-0"), "{forks:?}");
    assert!(watch.standing()["node-1"].alarms.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_signed_or_no_tiles_give_diverges() {
    let (sample, served) = (grown(), Served::start().await);
    let folder = tempfile::tempdir().unwrap();
    served.publish(&sample, 10);
    let mut watch = watch(&[&served], &sample, folder.path());
    assert_eq!(kinds(&mut watch, 1).await, []);
    served.put("checkpoint", b"vermilion.example/audit\n11\nAAAA\n\n".to_vec());
    assert_eq!(kinds(&mut watch, 2).await, [(Kind::Divergence, "node-0".to_owned())]);
    served.publish(&sample, 10);
    assert_eq!(kinds(&mut watch, 3).await, []);
    served.publish(&sample, 303);
    let tail = served.files.lock().unwrap()["tile/0/001.p/47"].iter().map(|byte| byte ^ 1).collect();
    served.put("tile/0/001.p/47", tail);
    assert_eq!(kinds(&mut watch, 4).await, [(Kind::Divergence, "node-0".to_owned())]);
}

/// Serves the tiles of a tree at some sizes, the last one the largest; answers the roots.
pub fn serve_tree(served: &Served, sizes: &[u64]) -> Vec<[u8; 32]> {
    serve_other_tree(served, sizes, u64::MAX)
}

/// The same of a tree that is another from a leaf on.
fn serve_other_tree(served: &Served, sizes: &[u64], from: u64) -> Vec<[u8; 32]> {
    let (mut tree, mut roots) = (Tree::new(), Vec::new());
    for n in 0..*sizes.last().unwrap() {
        for tile in tree.append(leaf_hash(&if n < from { n } else { !n }.to_be_bytes())) {
            served.put(&tile_path(tile.level, tile.index, 256), tile.bytes);
        }
        if sizes.contains(&tree.size()) {
            roots.push(tree.root());
            for level in 0..3 {
                if let Some((index, bytes)) = tree.partial_tile(level) {
                    served.put(&tile_path(level, index, bytes.len() / 32), bytes);
                }
            }
        }
    }
    roots
}

#[tokio::test(flavor = "multi_thread")]
async fn tiles_that_spoil_a_proof_speak_against_who_serves_them() {
    // So large that its root is made of a tile above the lowest ones.
    const NEW: u64 = 65_836;
    let (sample, a, b, c) = (Sample::busy(), Served::start().await, Served::start().await, Served::start().await);
    let folder = tempfile::tempdir().unwrap();
    let roots = serve_tree(&a, &[10, 200, NEW]);
    serve_tree(&b, &[10, 200]);
    let right = a.files.lock().unwrap()["tile/0/000"].clone();
    let mut wrong = right.clone();
    wrong[5] ^= 1;
    for served in [&a, &b] {
        served.put("checkpoint", note(10, roots[0], &[1, 2, 3]));
    }
    let mut watch = watch(&[&a, &b, &c], &sample, folder.path());
    assert_eq!(kinds(&mut watch, 1).await, []);
    a.put("checkpoint", note(NEW, roots[2], &[1, 2, 3]));
    a.put("tile/0/000", wrong.clone());
    assert_eq!(kinds(&mut watch, 2).await, [(Kind::Divergence, "node-0".to_owned())], "its own signed trees are of one history");
    a.put("tile/0/000", right.clone());
    assert_eq!((kinds(&mut watch, 3).await, watch.base().size), (vec![], NEW));
    // Nor are they held against another, whose checkpoint is proved by them.
    a.put("tile/0/000", wrong);
    b.put("checkpoint", note(200, roots[1], &[1, 2, 3]));
    assert_eq!((kinds(&mut watch, 4).await, watch.standing()["node-1"].size), (vec![], 10));
    a.put("tile/0/000", right);
    assert_eq!((kinds(&mut watch, 5).await, watch.standing()["node-1"].size), (vec![], 200));
    // A perfect tree's root stands for itself in a proof: another one is a fork all the same.
    c.put("checkpoint", note(64, [7; 32], &[1, 2, 3]));
    assert_eq!(kinds(&mut watch, 6).await, [(Kind::Fork, "node-2".to_owned())]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_tile_that_was_proved_is_not_asked_for_again() {
    let (sample, a) = (Sample::busy(), Served::start().await);
    let folder = tempfile::tempdir().unwrap();
    let sizes = [300, 400, 700, 800];
    let roots = serve_tree(&a, &sizes);
    let mut watch = watch(&[&a], &sample, folder.path());
    let show = |at: usize| a.put("checkpoint", note(sizes[at], roots[at], &[1, 2, 3]));
    for at in [0, 1, 2] {
        show(at);
        assert_eq!((kinds(&mut watch, at as u64).await, watch.base().size), (vec![], sizes[at]));
    }
    let asked = |path: &str| a.asked.lock().unwrap().iter().filter(|asked| *asked == path).count();
    assert_eq!((asked("tile/0/000"), asked("tile/0/001")), (1, 1));
    // One that was proved under a root of which a stolen key alone says that it is the ledger's, speaks against nobody.
    let forged = serve_other_tree(&a, &[750, 790], 710)[0];
    a.put("checkpoint", note(750, forged, &[1]));
    assert_eq!((kinds(&mut watch, 3).await, watch.base().size), (vec![], 700));
    let forged = serve_other_tree(&a, &[790], 710)[0];
    a.put("checkpoint", note(790, forged, &[1]));
    assert_eq!((kinds(&mut watch, 4).await, watch.base().size), (vec![], 700));
    serve_tree(&a, &sizes);
    show(3);
    assert_eq!((kinds(&mut watch, 5).await, watch.base().size), (vec![], 800));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_says_that_it_is_not_ready_is_not_stalled_and_is_told_of_in_time() {
    let (sample, a, newcomer) = (grown(), Served::start().await, Served::start().await);
    let folder = tempfile::tempdir().unwrap();
    a.publish(&sample, 303);
    newcomer.publish(&sample, 303);
    let not_yet = || newcomer.not_yet.lock().unwrap();
    not_yet().insert("tile/0/000".into());
    let mut watch = watch(&[&a, &newcomer], &sample, folder.path());
    assert_eq!((kinds(&mut watch, 1).await, kinds(&mut watch, 59).await), (vec![], vec![]));
    assert_eq!(kinds(&mut watch, 60).await, [(Kind::NotReady, "node-1".to_owned())]);
    assert!(watch.standing()["node-1"].up && !Kind::NotReady.is_grave());
    // That it has no checkpoint to show yet, either, is another matter.
    not_yet().insert("checkpoint".into());
    assert_eq!(kinds(&mut watch, 61).await, [(Kind::Stalled, "node-1".to_owned())]);
    not_yet().clear();
    assert_eq!((kinds(&mut watch, 62).await, watch.standing()["node-1"].alarms.len()), (vec![], 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn every_nodes_own_tiles_must_prove_what_it_shows_whoever_is_asked_first() {
    let sample = grown();
    let another_tree = |served: &Served| {
        let tail = served.files.lock().unwrap()["tile/0/001.p/47"].iter().map(|byte| byte ^ 1).collect();
        served.put("tile/0/001.p/47", tail);
    };
    let none = |served: &Served| served.files.lock().unwrap().retain(|path, _| !path.starts_with("tile/"));
    for liar in 0..3 {
        let three = [Served::start().await, Served::start().await, Served::start().await];
        let [a, b, c] = &three;
        let (folder, fresh) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let mut following = watch(&[a, b, c], &sample, folder.path());
        three.iter().for_each(|served| served.publish(&sample, 10));
        assert_eq!(kinds(&mut following, 1).await, []);
        // All show the same good checkpoint.
        three.iter().for_each(|served| served.publish(&sample, 303));
        another_tree(&three[liar]);
        let name = format!("node-{liar}");
        assert_eq!((kinds(&mut following, 2).await, following.base().size), (vec![(Kind::Divergence, name.clone())], 303));
        // So at first sight too.
        let mut first = watch(&[a, b, c], &sample, fresh.path());
        assert_eq!((kinds(&mut first, 1).await, first.base().size), (vec![(Kind::Divergence, name.clone())], 303));
        none(&three[liar]);
        assert_eq!((kinds(&mut following, 3).await, kinds(&mut following, 62).await), (vec![], vec![(Kind::Stalled, name.clone())]));
        three[liar].publish(&sample, 303);
        assert_eq!((kinds(&mut following, 63).await, following.standing()[&name].size), (vec![], 303));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_stays_behind_or_away_is_stalled_in_time() {
    let (sample, a, b, away) = (grown(), Served::start().await, Served::start().await, Served::start().await);
    let folder = tempfile::tempdir().unwrap();
    a.publish(&sample, 303);
    b.publish(&sample, 10);
    let mut watch = watch(&[&a, &b, &away], &sample, folder.path());
    assert_eq!(kinds(&mut watch, 1).await, []);
    assert_eq!(kinds(&mut watch, 59).await, []);
    let stalled = |node: &str| (Kind::Stalled, node.to_owned());
    assert_eq!(kinds(&mut watch, 61).await, [stalled("node-1"), stalled("node-2")]);
    let figures = metrics(&watch.standing(), watch.base(), &[(Kind::Stalled, 2)].into(), 60_000);
    for line in [
        "vermilion_watch_up{node=\"node-2\"} 0",
        "vermilion_watch_size{node=\"node-0\"} 303",
        "vermilion_watch_alarm{node=\"node-1\",kind=\"stalled\"} 1",
        "vermilion_watch_alarm{node=\"node-1\",kind=\"fork\"} 0",
        "vermilion_watch_alarms_total{kind=\"stalled\"} 2",
        "vermilion_watch_base_size 303",
        "vermilion_watch_round_timestamp_seconds 60",
    ] {
        assert!(figures.lines().any(|l| l == line), "{line} in {figures}");
    }
    b.publish(&sample, 303);
    assert_eq!(kinds(&mut watch, 62).await, []);
    assert!(watch.standing()["node-1"].alarms.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_memory_is_refused() {
    let (sample, served) = (grown(), Served::start().await);
    let folder = tempfile::tempdir().unwrap();
    served.publish(&sample, 303);
    assert_eq!(kinds(&mut watch(&[&served], &sample, folder.path()), 1).await, []);
    let file = folder.path().join("newest.note");
    let mut note = std::fs::read(&file).unwrap();
    note[30] ^= 1;
    std::fs::write(&file, note).unwrap();
    let nodes = vec![("node-0".to_owned(), Web::new(&served.base).unwrap())];
    let patience = Patience { stall: Duration::from_secs(1), look: Duration::from_secs(1) };
    assert!(Watch::open(nodes, sample.trust.clone(), folder.path(), patience, 0).is_err());
}

fn trust_file(sample: &Sample, folder: &Path) -> std::path::PathBuf {
    let file = folder.join("trust.json");
    std::fs::write(&file, serde_json::to_vec(&TrustFile::of(&sample.trust)).unwrap()).unwrap();
    file
}

/// A watch that saw 303 records, and the arguments with which it sees 10 next.
async fn before_a_rollback(sample: &Sample, served: &Served, hook: &Served, folder: &Path) -> AuditArgs {
    let watch = WatchArgs {
        watch: true,
        interval: 1,
        stall: 60,
        rounds: Some(2),
        keep: Some(folder.join("kept")),
        webhook: Some(format!("{}/alarm", hook.base)),
        metrics: Some(folder.join("watch.prom")),
        ..WatchArgs::default()
    };
    let args = AuditArgs { tiles: vec![served.base.clone()], trust: Some(trust_file(sample, folder)), watch, ..AuditArgs::default() };
    served.publish(sample, 303);
    assert_eq!(run(AuditArgs { watch: WatchArgs { rounds: Some(1), ..args.watch.clone() }, ..args.clone() }, true, None).await, CLEAN);
    served.publish(sample, 10);
    args
}

/// Standard output that takes nothing.
struct Closed(ErrorKind);

impl Write for Closed {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(self.0.into())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_alarm_that_standard_output_does_not_take_is_posted_and_counted() {
    for (kind, code) in [(ErrorKind::BrokenPipe, FOUND), (ErrorKind::StorageFull, CANNOT_READ)] {
        let (sample, served, hook) = (grown(), Served::start().await, Served::start().await);
        let folder = tempfile::tempdir().unwrap();
        let args = before_a_rollback(&sample, &served, &hook, folder.path()).await;
        assert_eq!(run_to(args, kind == ErrorKind::BrokenPipe, None, &mut Closed(kind)).await, code);
        assert_eq!(hook.posted.lock().unwrap().len(), 1);
        let figures = std::fs::read_to_string(folder.path().join("watch.prom")).unwrap();
        assert!(figures.contains("vermilion_watch_alarms_total{kind=\"rollback\"} 1"), "{figures}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_report_that_standard_output_does_not_take_is_none() {
    let (sample, served) = (grown(), Served::start().await);
    let folder = tempfile::tempdir().unwrap();
    served.publish(&sample, 303);
    let args = AuditArgs { tiles: vec![served.base.clone()], trust: Some(trust_file(&sample, folder.path())), ..AuditArgs::default() };
    for json in [true, false] {
        assert_eq!(run_to(args.clone(), json, None, &mut Closed(ErrorKind::BrokenPipe)).await, CANNOT_READ);
    }
    let mut out = Vec::new();
    assert_eq!(run_to(args, true, None, &mut out).await, CLEAN);
    let report: serde_json::Value = serde_json::from_slice(&out).unwrap();
    assert_eq!((report["clean"].as_bool(), report["records"].as_u64()), (Some(true), Some(303)));
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_for_scripts_are_objects_and_leave_standard_output_alone() {
    let mut out = Vec::new();
    let folder = tempfile::tempdir().unwrap();
    let (dir, link) = (folder.path().join("data"), folder.path().join("link"));
    std::fs::create_dir(&dir).unwrap();
    std::os::unix::fs::symlink(&dir, &link).unwrap();
    for again in [&dir, &folder.path().join("./data/"), &link] {
        let twice = AuditArgs { data_dirs: vec![dir.clone(), again.clone()], ..AuditArgs::default() };
        assert_eq!(run_to(twice, true, None, &mut out).await, USAGE, "one directory would be two sources that agree");
    }
    let access = Access { nodes: vec![("city".into(), "127.0.0.1:1".into())], ..Access::default() };
    for again in ["city", "127.0.0.1:1"] {
        let twice = AuditArgs { nodes: Some(vec!["127.0.0.1:1".into(), again.into()]), ..AuditArgs::default() };
        assert_eq!(run_to(twice, true, Some(access.clone()), &mut out).await, USAGE, "one node would be two that agree");
    }
    let missing = AuditArgs { data_dirs: vec!["/nonexistent".into()], ..AuditArgs::default() };
    assert_eq!(run_to(missing, true, None, &mut out).await, CANNOT_READ);
    assert_eq!(run_to(AuditArgs::default(), true, None, &mut out).await, USAGE);
    assert_eq!(out, b"");
    let object: serde_json::Value = serde_json::from_str(&complaint(true, "usage", "a \"b\"")).unwrap();
    assert_eq!(object, serde_json::json!({"error": "usage", "message": "a \"b\""}));
    assert_eq!(complaint(false, "usage", "why"), "audit: why");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_ends_with_the_alarm_and_posts_it() {
    let (sample, served, hook) = (grown(), Served::start().await, Served::start().await);
    let folder = tempfile::tempdir().unwrap();
    let args = before_a_rollback(&sample, &served, &hook, folder.path()).await;
    assert_eq!(run(args.clone(), true, None).await, FOUND);
    let posted = hook.posted.lock().unwrap().clone();
    assert_eq!(posted.len(), 1);
    let alarm: serde_json::Value = serde_json::from_str(&posted[0]).unwrap();
    assert_eq!((alarm["alarm"].as_str(), alarm["grave"].as_bool()), (Some("rollback"), Some(true)));
    let figures = folder.path().join("watch.prom");
    assert!(std::fs::read_to_string(figures).unwrap().contains("vermilion_watch_alarms_total{kind=\"rollback\"} 1"));
    assert_eq!(run(AuditArgs { trust: None, ..args.clone() }, true, None).await, USAGE);
    let tiles = vec![served.base.clone(), format!("{}/", served.base)];
    assert_eq!(run(AuditArgs { tiles, ..args }, true, None).await, USAGE, "one place would be two that agree");
}
