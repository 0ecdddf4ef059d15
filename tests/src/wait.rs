//! Waiting for conditions.

use std::time::{Duration, Instant};

/// How long a condition may take that must come: far longer than it does, for slow machines.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
/// The pause between two looks.
const PAUSE: Duration = Duration::from_millis(20);

/// Looks again and again until `look` finds it. Panics, naming `what`, if it does not come.
pub async fn until<T>(what: &str, look: impl AsyncFnMut() -> Option<T>) -> T {
    match within(PATIENCE, look).await {
        Some(found) => found,
        None => panic!("{what} did not come within {PATIENCE:?}"),
    }
}

/// Looks again and again until `look` finds it, or for as long as `patience`. Panics over a look that does not end: whoever is
/// asked may accept and stay silent.
pub async fn within<T>(patience: Duration, mut look: impl AsyncFnMut() -> Option<T>) -> Option<T> {
    let end = Instant::now() + patience;
    loop {
        match tokio::time::timeout(patience.max(PATIENCE), look()).await {
            Ok(Some(found)) => return Some(found),
            Ok(None) => {}
            Err(_) => panic!("one look took more than {:?}", patience.max(PATIENCE)),
        }
        if Instant::now() > end {
            return None;
        }
        tokio::time::sleep(PAUSE).await;
    }
}
