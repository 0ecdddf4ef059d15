//! An audit that is broken off and goes on.

use super::sample::{Memoried, Sample, found, open};
use crate::audit::pipeline::CHUNK_RECORDS;
use crate::audit::resume::Bound;
use crate::audit::room::Room;
use crate::audit::{Keep, Options, Report, Source, Stage, Unopened, audit};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::atomic::Ordering;
use vermilion_storage::{Commit, Mode, Store};

/// More records than one chunk holds, one of them wrong near the start and one near the end.
fn long() -> Memoried {
    let mut sample = Sample::new();
    sample.commands_a_second = 64;
    for n in 0..700 {
        sample.issue(&[&format!("N{n}")]);
        if n == 150 {
            sample.erase("N7");
        }
        if n % 250 == 249 {
            sample.commit();
        }
    }
    let mut source = sample.source("a");
    for seq in [100, 650] {
        source.rewrite(seq, |record| record.outcome.as_mut().unwrap().code = 999);
    }
    source
}

fn keep(path: &Path, stop: bool) -> Options {
    let keep = Keep::new(path);
    keep.stop().store(stop, Ordering::Relaxed);
    Options { keep: Some(keep), ..Options::default() }
}

#[test]
fn it_finds_what_an_audit_in_one_go_finds() {
    let source = long();
    let sources: [&dyn Source; 1] = [&source];
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.state");
    let (whole, codes) = found(&sources, &Options::default());
    assert!(codes.contains(&("outcome-wrong", Some(100))) && codes.contains(&("outcome-wrong", Some(650))), "{codes:?}");
    let mut rounds = 0;
    loop {
        let broken = audit(&sources, &keep(&path, true), &|_, _, _, _| {}).unwrap_err();
        if !broken.why.contains("goes on from there") {
            // Behind the last record nothing more is kept.
            assert!(broken.why.contains(&format!("goes on from record {}", rounds * CHUNK_RECORDS)), "{broken}");
            break;
        }
        rounds += 1;
    }
    audit(&sources, &keep(&path, false), &|_, _, _, _| {}).unwrap();
    assert_eq!(rounds, source.records.len().div_ceil(CHUNK_RECORDS) - 1, "one for each chunk but the last");
    assert!(!path.exists(), "an audit that came to its end leaves nothing to go on from");
    assert!(audit(&sources, &keep(&path, true), &|_, _, _, _| {}).is_err());
    let (resumed, again) = found(&sources, &keep(&path, false));
    assert_eq!(again, codes);
    assert_eq!(
        (resumed.records, resumed.signatures, resumed.licences, resumed.commitments, resumed.covered),
        (whole.records, whole.signatures, whole.licences, whole.commitments, whole.covered)
    );

    // Damaged or of another audit: refused.
    assert!(audit(&sources, &keep(&path, true), &|_, _, _, _| {}).is_err());
    let kept = std::fs::read(&path).unwrap();
    let refused = |bytes: &[u8], options: Options, sources: &[&dyn Source]| {
        std::fs::write(&path, bytes).unwrap();
        audit(sources, &options, &|_, _, _, _| {}).unwrap_err().why
    };
    for at in [0, 9, 40, kept.len() / 2, kept.len() - 1] {
        let mut bytes = kept.clone();
        bytes[at] ^= 1;
        assert!(refused(&bytes, keep(&path, false), &sources).contains("damaged"));
    }
    for cut in [0, 7, 8, 16, 47, kept.len() - 1] {
        assert!(refused(&kept[..cut], keep(&path, false), &sources).contains("damaged"));
    }
    let other = Options { signatures: false, ..keep(&path, false) };
    assert!(refused(&kept, other, &sources).contains("another"));
    let renamed = Memoried { name: "b".into(), ..source.clone() };
    assert!(refused(&kept, keep(&path, false), &[&renamed]).contains("another"));
}

/// Names of what lies in a folder.
fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn it_goes_on_with_more_memory_or_with_less() {
    let source = long();
    let sources: [&dyn Source; 1] = [&source];
    let (whole, _) = found(&sources, &Options::default());
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.state");
    // What an audit that was killed left behind goes with the next one.
    std::fs::create_dir_all(folder.path().join("audit.state.scratch/rows")).unwrap();
    for file in ["lock", "rows/000009.sst"] {
        std::fs::write(folder.path().join("audit.state.scratch").join(file), b"old").unwrap();
    }
    let (mut round, most) = (0, [0, 1 << 20, u64::MAX]);
    let report = loop {
        let seen = std::sync::Mutex::new(Vec::new());
        let options = Options { memory: most[round % 3], ..keep(&path, true) };
        let audited = audit(&sources, &options, &|_, _, _, _| *seen.lock().unwrap() = names(folder.path()));
        let scratch = seen.into_inner().unwrap().contains(&"audit.state.scratch".to_owned());
        assert!(scratch || options.memory > 0, "round {round}");
        let broken = audited.unwrap_err();
        assert_eq!(names(folder.path()), ["audit.state"], "round {round}");
        if !broken.why.contains("goes on from there") {
            break audit(&sources, &Options { memory: options.memory, ..keep(&path, false) }, &|_, _, _, _| {}).unwrap();
        }
        round += 1;
    };
    assert!(round > 3 && names(folder.path()).is_empty());
    let told = |report: &Report| Report { seconds: 0.0, ..report.clone() }.to_json();
    assert_eq!(told(&report), told(&whole));
}

#[test]
fn a_disk_that_does_not_take_what_does_not_fit_ends_the_audit_and_says_nothing_of_the_ledger() {
    let source = long();
    let sources: [&dyn Source; 1] = [&source];
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.state");
    assert!(audit(&sources, &keep(&path, true), &|_, _, _, _| {}).is_err());
    let kept = std::fs::read(&path).unwrap();
    let own = folder.path().join("audit.state.scratch/letter");
    std::fs::create_dir(folder.path().join("audit.state.scratch")).unwrap();
    std::fs::write(&own, b"somebody's").unwrap();
    let fits = |memory| audit(&sources, &Options { memory, ..keep(&path, false) }, &|_, _, _, _| {});
    let refused = fits(0).unwrap_err();
    assert!(refused.why.contains("the scratch space in") && refused.why.contains("audit.state.scratch"), "{refused}");
    // From there it still goes on, and with more memory comes to its end.
    assert_eq!(std::fs::read(&path).unwrap(), kept);
    assert!(own.exists() && !fits(u64::MAX).unwrap().clean);
    std::fs::remove_file(&path).unwrap_or_default();
    let refused = fits(64 << 10).unwrap_err();
    assert!(refused.why.contains("the scratch space in"), "in the middle too: {refused}");
}

#[test]
fn it_is_known_at_the_start_whether_progress_can_be_kept() {
    let source = Sample::busy().source("a");
    let sources: [&dyn Source; 1] = [&source];
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.state");
    let written = std::sync::Mutex::new(Vec::new());
    audit(&sources, &keep(&path, false), &|_, _, _, _| written.lock().unwrap().push(path.exists())).unwrap();
    assert_eq!(written.lock().unwrap().first(), Some(&true), "before the first record counts");
    assert!(!path.exists());

    // Where nothing can be written the audit does not begin.
    let nowhere = folder.path().join("none/audit.state");
    let refused = audit(&sources, &keep(&nowhere, false), &|_, _, _, _| {}).unwrap_err();
    assert!(refused.why.contains("none") && refused.why.contains("No such file"), "{refused}");
    std::fs::create_dir(&path).unwrap();
    assert!(audit(&sources, &keep(&path, false), &|_, _, _, _| panic!("it was read")).is_err());
    std::fs::remove_dir(&path).unwrap();

    // A file of before the first record is of any audit: nothing in it is gone on from.
    let begun = Keep::new(&path);
    assert!(begun.begin(&Bound::default(), &Room::default()).unwrap().is_none() && path.exists());
    let other = Options { signatures: false, ..keep(&path, false) };
    assert!(audit(&sources, &other, &|_, _, _, _| {}).is_ok());
}

#[test]
fn it_is_broken_off_wherever_it_is() {
    let (one, other) = (long(), Memoried { name: "b".into(), ..long() });
    let sources: [&dyn Source; 2] = [&one, &other];
    let (whole, _) = found(&sources, &Options::default());
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.state");
    let first = audit(&sources, &keep(&path, true), &|_, _, _, _| {}).unwrap_err();
    assert!(first.interrupted && first.why.contains("同一命令"), "{first}");
    let kept = std::fs::read(&path).unwrap();
    for at in [Stage::Comparing, Stage::Checkpoints] {
        let options = keep(&path, false);
        let stop = options.keep.as_ref().unwrap().stop();
        let seen = std::sync::Mutex::new(0);
        let broken = audit(&sources, &options, &|stage, _, _, _| {
            if stage == at {
                stop.store(true, Ordering::Relaxed);
                *seen.lock().unwrap() += 1;
            }
        });
        let broken = broken.unwrap_err();
        assert!(broken.interrupted && broken.why.contains(&format!("goes on from record {CHUNK_RECORDS}")), "{broken}");
        assert!(seen.into_inner().unwrap() == 1 && std::fs::read(&path).unwrap() == kept);
    }
    let report = audit(&sources, &keep(&path, false), &|_, _, _, _| {}).unwrap();
    let told = |report: &Report| Report { seconds: 0.0, ..report.clone() }.to_json();
    assert_eq!(told(&report), told(&whole));
    assert!(!path.exists());
}

/// Of nodes that run now the one and now the other is a record longer.
#[test]
fn it_goes_on_with_the_source_that_it_walked_whichever_is_the_longest() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.state");
    let mut sample = Sample::new();
    sample.commands_a_second = 64;
    for n in 0..2 * CHUNK_RECORDS {
        sample.issue(&[&format!("N{n}")]);
    }
    let (a, b) = (sample.source("a"), sample.source("b"));
    sample.issue(&["LATER"]);
    let longer = sample.source("b");
    let rounds = |sources: [&dyn Source; 2], stop| audit(&sources, &keep(&path, stop), &|_, _, _, _| {});
    for (sources, ahead) in [([&b, &a], 0), ([&longer, &a], 1), ([&a, &longer], 1)] {
        assert!(rounds([&a, &b], true).is_err());
        let report = rounds([sources[0], sources[1]], false).unwrap();
        assert!(report.clean && report.records == a.size, "{report:?}");
        let left_out: Vec<_> = report.unchecked().into_iter().filter(|(en, _)| en.starts_with("records from number")).collect();
        assert_eq!(left_out.len(), ahead);
        assert!(left_out.iter().all(|(en, _)| en.contains(&format!("number {} on of b", a.size)) && en.contains("with a")));
    }
    // What is compared of the longer one is compared all the same.
    assert!(rounds([&a, &b], true).is_err());
    let mut forged = longer.clone();
    forged.rewrite(7, |record| record.time_ms += 1);
    let report = rounds([&forged, &a], false).unwrap();
    assert!(report.findings.iter().any(|found| (found.code.name(), found.source.as_str()) == ("sources-differ", "b")));

    // Others, or two of one name, are refused.
    assert!(rounds([&a, &b], true).is_err());
    let c = Memoried { name: "c".into(), ..a.clone() };
    assert!(rounds([&b, &c], false).unwrap_err().why.contains("another"));
    assert!(rounds([&a, &a.clone()], false).unwrap_err().why.contains("two sources"));
    rounds([&b, &a], false).unwrap();
}

/// A directory whose node ran meanwhile is audited to its end.
#[test]
fn a_directory_that_became_longer_is_audited_by_itself() {
    let mut sample = Sample::new();
    sample.commands_a_second = 64;
    let (first, short, long) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    for n in 0..CHUNK_RECORDS {
        sample.issue(&[&format!("N{n}")]);
    }
    sample.write(first.path());
    sample.write(short.path());
    sample.issue(&["LATER"]);
    sample.write(long.path());
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.state");
    let audited = |stop: bool| {
        let (first, second) = (open(first.path()), open(short.path()));
        audit(&[&first as &dyn Source, &second], &keep(&path, stop), &|_, _, _, _| {})
    };
    assert!(audited(true).is_err());
    let kept = std::fs::read(&path).unwrap();
    std::fs::remove_dir_all(short.path().join("db")).unwrap();
    std::fs::rename(long.path().join("db"), short.path().join("db")).unwrap();
    let report = audited(false).unwrap();
    assert_eq!(
        (report.findings.as_slice(), report.sources.iter().map(|(_, size)| *size).max()),
        (&[][..], Some(sample.records.len() as u64))
    );

    std::fs::write(&path, kept).unwrap();
    let forged = Commit { state: vec![(b"l/iforged.forged.forged".to_vec(), Some(vec![1]))], ..Commit::default() };
    {
        let store = Store::open(short.path(), Mode::Node).unwrap();
        store.commit(&forged).unwrap();
        store.flush().unwrap();
    }
    assert!(!audited(false).unwrap().clean, "its state is compared where it ends");
}

#[test]
fn what_is_kept_is_nobody_elses_to_read() {
    let source = long();
    let sources: [&dyn Source; 1] = [&source];
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.state");
    for _ in 0..2 {
        let mode = || std::fs::metadata(&path).unwrap().permissions().mode() & 0o777;
        let modes = std::sync::Mutex::new(Vec::new());
        assert!(audit(&sources, &keep(&path, true), &|_, _, _, _| modes.lock().unwrap().push(mode())).is_err());
        assert_eq!((modes.into_inner().unwrap().first(), mode()), (Some(&0o600), 0o600));
        assert_eq!(names(folder.path()), ["audit.state"]);
    }
}

#[test]
fn two_audits_do_not_share_one_file() {
    let source = Sample::busy().source("a");
    let sources: [&dyn Source; 1] = [&source];
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.state");
    let first = Keep::new(&path).lock().unwrap();
    let refused = audit(&sources, &keep(&path, false), &|_, _, _, _| panic!("it was read")).unwrap_err();
    assert!(
        !refused.interrupted && refused.to_string().contains("audit.state: another audit") && refused.why.contains("--state"),
        "{refused}"
    );
    assert!(!path.exists(), "the second leaves the first's file alone");
    drop(first);
    audit(&sources, &keep(&path, false), &|_, _, _, _| {}).unwrap();
    // What a kill left of a lock holds nobody back.
    std::fs::write(folder.path().join("audit.state.lock"), b"").unwrap();
    audit(&sources, &keep(&path, false), &|_, _, _, _| {}).unwrap();
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn where_no_source_can_be_read_the_file_stays_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.state");
    std::fs::write(&path, b"somebody's only copy").unwrap();
    let damaged = Unopened::new("a".into(), "CURRENT is damaged".into());
    let (_, codes) = found(&[&damaged], &keep(&path, false));
    assert_eq!(codes, [("storage-damaged", None)]);
    assert_eq!(std::fs::read(&path).unwrap(), b"somebody's only copy");
}

/// A directory that went on while the audit was broken off ends elsewhere than where its state was compared.
#[test]
fn a_state_that_changed_behind_where_the_audit_goes_on_is_told_to_be_unchecked() {
    let mut sample = Sample::new();
    sample.commands_a_second = 64;
    let (short, later, long) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    // The break comes after the first chunk.
    for (dir, size) in [(&short, CHUNK_RECORDS - 20), (&later, CHUNK_RECORDS - 5), (&long, 2 * CHUNK_RECORDS)] {
        for n in sample.records.len()..size {
            sample.issue(&[&format!("N{n}")]);
        }
        sample.write(dir.path());
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.state");
    let audited = |stop: bool| {
        let (long, short) = (open(long.path()), open(short.path()));
        audit(&[&long as &dyn Source, &short], &keep(&path, stop), &|_, _, _, _| {})
    };
    let states = |report: &Report| report.unchecked().iter().filter(|(en, _)| en.starts_with("the state of")).count();
    assert!(audited(true).is_err());
    let kept = std::fs::read(&path).unwrap();
    let report = audited(false).unwrap();
    assert_eq!((report.findings.as_slice(), states(&report)), (&[][..], 0), "it was compared before the break");

    std::fs::write(&path, kept).unwrap();
    std::fs::remove_dir_all(short.path().join("db")).unwrap();
    std::fs::rename(later.path().join("db"), short.path().join("db")).unwrap();
    let forged = Commit { state: vec![(b"l/iforged.forged.forged".to_vec(), Some(vec![1]))], ..Commit::default() };
    {
        let store = Store::open(short.path(), Mode::Node).unwrap();
        store.commit(&forged).unwrap();
        store.flush().unwrap();
    }
    let report = audited(false).unwrap();
    assert_eq!((report.findings.as_slice(), states(&report)), (&[][..], 1));
    // From the first record on it is compared.
    assert!(!audited(false).unwrap().clean);
}
