//! Closed loops: each client does one thing after the other, as fast as it is answered.

use std::time::{Duration, Instant};

/// What a loop measured.
#[derive(Clone, Debug, Default)]
pub struct Measured {
    /// What was done.
    pub count: u64,
    /// What failed.
    pub errors: u64,
    /// How long it took.
    pub took: Duration,
    latencies_us: Vec<u32>,
}

impl Measured {
    /// Done in one go: nobody saw how long each took.
    #[must_use]
    pub fn of(count: u64, errors: u64, took: Duration) -> Self {
        Self { count, errors, took, latencies_us: Vec::new() }
    }

    /// Takes another run's in, as if both were one.
    pub fn join(&mut self, other: Self) {
        self.count += other.count;
        self.errors += other.errors;
        self.took += other.took;
        self.latencies_us.extend(other.latencies_us);
        self.latencies_us.sort_unstable();
    }

    /// Takes another run's place if it was slower. What failed in either stays.
    pub fn keep_faster(&mut self, mut other: Self) {
        let errors = self.errors + other.errors;
        if other.rate() > self.rate() {
            std::mem::swap(self, &mut other);
        }
        self.errors = errors;
    }

    /// A second.
    #[must_use]
    pub fn rate(&self) -> f64 {
        self.count as f64 / self.took.as_secs_f64().max(1e-9)
    }

    /// Latency in microseconds below which this share of all lies; none if none was measured.
    #[must_use]
    pub fn percentile(&self, percent: f64) -> Option<u32> {
        let at = (self.latencies_us.len() as f64 * percent / 100.0) as usize;
        self.latencies_us.get(at.min(self.latencies_us.len().saturating_sub(1))).copied()
    }
}

/// Runs `clients` loops for `length`; `make` gives each client what it does.
pub async fn closed_loop<F, Fut, E>(clients: usize, length: Duration, make: impl Fn(usize) -> F) -> Measured
where
    F: FnMut() -> Fut + Send + 'static,
    Fut: Future<Output = Result<(), E>> + Send,
    E: std::fmt::Display + Send,
{
    let begun = Instant::now();
    let mut tasks = Vec::with_capacity(clients);
    for n in 0..clients {
        let mut act = make(n);
        tasks.push(tokio::spawn(async move {
            let (mut latencies, mut errors) = (Vec::new(), 0u64);
            while begun.elapsed() < length {
                let start = Instant::now();
                match act().await {
                    Ok(()) => latencies.push(u32::try_from(start.elapsed().as_micros()).unwrap_or(u32::MAX)),
                    Err(error) => {
                        if errors == 0 {
                            crate::say::aside(&format!("a client failed: {error}"));
                        }
                        errors += 1;
                        tokio::time::sleep(Duration::from_millis(10)).await;
                    }
                }
            }
            (latencies, errors)
        }));
    }
    let mut measured = Measured::default();
    for task in tasks {
        match task.await {
            Ok((latencies, errors)) => {
                measured.latencies_us.extend(latencies);
                measured.errors += errors;
            }
            // A panic, which said so itself; what it did until then is not known.
            Err(_) => measured.errors += 1,
        }
    }
    measured.took = begun.elapsed();
    measured.count = measured.latencies_us.len() as u64;
    measured.latencies_us.sort_unstable();
    measured
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::convert::Infallible;

    #[test]
    fn the_faster_run_stays_with_the_errors_of_both() {
        let run = |count, errors| Measured::of(count, errors, Duration::from_secs(1));
        let mut kept = Measured::default();
        for (count, errors) in [(2, 1), (3, 0), (1, 2)] {
            kept.keep_faster(run(count, errors));
        }
        assert_eq!((kept.count, kept.errors, kept.rate()), (3, 3, 3.0));
    }

    #[tokio::test]
    async fn a_client_that_panics_is_an_error() {
        // The other has a turn in that time on a busy machine too.
        let measured = closed_loop(2, Duration::from_millis(500), |n| {
            move || async move {
                tokio::time::sleep(Duration::from_millis(1)).await;
                assert!(n == 0, "meant to be");
                Ok::<_, Infallible>(())
            }
        })
        .await;
        assert!(measured.errors == 1 && measured.count > 0, "{measured:?}");
    }
}
