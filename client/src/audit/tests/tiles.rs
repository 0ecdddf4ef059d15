//! Tiles alone.

use super::following::{grown, huge};
use super::sample::Sample;
use super::served::Served;
use crate::audit::{CannotRead, Report, Web, audit_tiles};
use std::future::pending;
use std::time::Duration;

async fn audited(served: &Served, sample: &Sample, stop: impl Future<Output = ()>) -> Result<Report, CannotRead> {
    audit_tiles(&Web::new(&served.base).unwrap(), &sample.trust, stop, &|_, _, _, _| {}).await
}

async fn codes(served: &Served, sample: &Sample) -> Vec<&'static str> {
    let report = audited(served, sample, pending()).await.unwrap();
    report.findings.iter().map(|f| f.code.name()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn tiles_alone_show_the_tree_and_no_more() {
    let (sample, served) = (grown(), Served::start().await);
    served.publish(&sample, 303);
    let report = audited(&served, &sample, pending()).await.unwrap();
    assert!(report.clean, "{}", report.to_text());
    assert_eq!((report.records, report.covered, report.commitments, report.checkpoints), (303, 303, 3, 1));
    assert!(report.unchecked().len() > 4 && report.to_text().contains("NOT CHECKED the units' signatures"));
    assert_eq!(report.to_json()["not_checked"].as_array().unwrap().len(), report.unchecked().len());
}

#[tokio::test(flavor = "multi_thread")]
async fn tiles_that_do_not_fit_are_found() {
    let sample = grown();
    let change = async |path: &str, change: &dyn Fn(&mut Vec<u8>)| {
        let served = Served::start().await;
        served.publish(&sample, 303);
        let mut bytes = served.files.lock().unwrap()[path].clone();
        change(&mut bytes);
        served.put(path, bytes);
        codes(&served, &sample).await
    };
    let flip = |at: usize| move |bytes: &mut Vec<u8>| bytes[at] ^= 1;
    assert_eq!(change("tile/0/000", &flip(77)).await, ["tile-differs"]);
    assert_eq!(change("tile/1/000.p/1", &flip(0)).await, ["tile-differs"]);
    // Behind the length, the version, kind, suite, number and time: the record's hash.
    let hash = change("tile/entries/001.p/47", &flip(2 + 25)).await;
    assert!(hash.contains(&"checkpoint-root") && hash.contains(&"tile-differs"), "{hash:?}");
    assert!(change("tile/entries/000", &flip(2)).await.contains(&"record-unreadable"));
    assert!(change("tile/entries/000", &flip(2 + 11)).await.contains(&"record-misplaced"));
    assert_eq!(change("tile/entries/000", &|bytes| bytes.truncate(100)).await, ["record-unreadable"]);
    assert_eq!(change("checkpoint", &flip(40)).await, ["checkpoint-invalid"]);
    // More than the path says.
    assert_eq!(change("tile/1/000.p/1", &|bytes| bytes.extend([7; 32])).await, ["tile-missing"]);
    assert_eq!(change("tile/0/001.p/47", &|bytes| bytes.push(7)).await, ["tile-missing"]);
    let padded = |bytes: &mut Vec<u8>| (0..209).for_each(|_| bytes.extend([0, 1, 7]));
    assert_eq!(change("tile/entries/001.p/47", &padded).await, ["record-unreadable"]);
    let served = Served::start().await;
    served.publish(&sample, 303);
    served.files.lock().unwrap().remove("tile/entries/001.p/47");
    assert_eq!(codes(&served, &sample).await, ["record-missing"]);
    assert!(audited(&Served::start().await, &sample, pending()).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn below_the_quorum_no_tile_is_read() {
    let (sample, served) = (grown(), Served::start().await);
    served.publish(&sample, 303);
    served.put("checkpoint", huge());
    assert_eq!(codes(&served, &sample).await, ["quorum-missing"]);
    assert_eq!(*served.asked.lock().unwrap(), ["checkpoint"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_audit_of_tiles_that_is_broken_off_tells_what_it_found() {
    let (sample, served) = (grown(), Served::start().await);
    served.publish(&sample, 303);
    served.slow.lock().unwrap().insert("tile/entries/001.p/47".into(), Duration::from_secs(600));
    let soon = || tokio::time::sleep(Duration::from_secs(2));
    let nothing = audited(&served, &sample, soon()).await.unwrap_err();
    assert!(nothing.interrupted && nothing.why.contains("broken off after 256 of 303"), "{nothing}");
    served.files.lock().unwrap().get_mut("tile/0/000").unwrap()[77] ^= 1;
    let report = audited(&served, &sample, soon()).await.unwrap();
    assert_eq!((report.clean, report.records, report.covered), (false, 256, 0));
    assert_eq!(report.findings.iter().map(|f| f.code.name()).collect::<Vec<_>>(), ["tile-differs"]);
    assert!(report.to_text().contains("broken off"), "{}", report.to_text());
}
