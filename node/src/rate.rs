//! How often the public may ask: a bucket for each address.

use crate::node::Node;
use crate::tls::Caller;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

/// Addresses that are remembered: beyond, those that have been quiet are forgotten, and if none has,
/// a new address is turned away.
const ADDRESSES: usize = 4096;
/// Seconds' worth of questions that may come at once.
const BURST_SECONDS: u64 = 2;

/// What is left for an address: thousandths of a question, and when that was counted.
struct Bucket {
    left: u64,
    at_ms: u64,
}

/// Counts the public's questions, by address.
#[derive(Clone)]
pub struct RateLimit {
    per_second: u64,
    buckets: Arc<Mutex<BTreeMap<IpAddr, Bucket>>>,
    node: Arc<Node>,
    since: Instant,
}

impl RateLimit {
    /// For so many questions a second.
    #[must_use]
    pub fn new(per_second: u32, node: Arc<Node>) -> Self {
        Self { per_second: u64::from(per_second), buckets: Arc::default(), node, since: Instant::now() }
    }

    /// Takes a question of an address; false if it has asked too often.
    #[must_use]
    pub fn take(&self, address: IpAddr) -> bool {
        // Since the start, by a clock that is never set.
        let now_ms = u64::try_from(self.since.elapsed().as_millis()).unwrap_or(u64::MAX);
        let taken = take(&mut self.buckets.lock().unwrap_or_else(PoisonError::into_inner), network(address), self.per_second, now_ms);
        if !taken {
            self.node.metrics.rate_limited.inc();
        }
        taken
    }
}

/// Whom an address counts for: with IPv6 its /64, which is one subscriber's.
pub(crate) fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() & (u128::MAX << 64)).into(),
        v4 @ IpAddr::V4(_) => v4,
    }
}

/// Takes one question out of an address' bucket at a time in milliseconds; false if it is empty.
fn take(buckets: &mut BTreeMap<IpAddr, Bucket>, address: IpAddr, per_second: u64, now_ms: u64) -> bool {
    let full = per_second * 1000 * BURST_SECONDS;
    let filled = |bucket: &Bucket| bucket.left.saturating_add(now_ms.saturating_sub(bucket.at_ms).saturating_mul(per_second)).min(full);
    if !buckets.contains_key(&address) && buckets.len() >= ADDRESSES {
        // Whose bucket is full again is as good as new.
        buckets.retain(|_, bucket| filled(bucket) < full);
        if buckets.len() >= ADDRESSES {
            return false;
        }
    }
    let bucket = buckets.entry(address).or_insert(Bucket { left: full, at_ms: now_ms });
    (bucket.left, bucket.at_ms) = (filled(bucket), now_ms.max(bucket.at_ms));
    match bucket.left.checked_sub(1000) {
        None => false,
        Some(left) => {
            bucket.left = left;
            true
        }
    }
}

/// Lets whoever showed a certificate pass, and of the public as many as the rate allows.
pub async fn limit(State(of): State<RateLimit>, ConnectInfo(caller): ConnectInfo<Caller>, request: Request, next: Next) -> Response {
    if caller.certificate.is_none() && !of.take(caller.address.ip()) {
        return (StatusCode::TOO_MANY_REQUESTS, [(header::RETRY_AFTER, "1")], "too many questions from this address").into_response();
    }
    next.run(request).await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(n: u32) -> IpAddr {
        IpAddr::from(n.to_be_bytes())
    }

    #[test]
    fn a_burst_and_then_the_rate() {
        let mut buckets = BTreeMap::new();
        let asked = |buckets: &mut _, at| (0..100).filter(|_| take(buckets, address(1), 20, at)).count();
        assert_eq!(asked(&mut buckets, 5000), 40);
        assert_eq!(asked(&mut buckets, 5100), 2);
        assert_eq!(asked(&mut buckets, 6100), 20);
        // A clock that goes back gives nothing.
        assert_eq!(asked(&mut buckets, 1000), 0);
        assert!(take(&mut buckets, address(2), 20, 1000));
    }

    #[test]
    fn the_table_is_bounded() {
        let mut buckets = BTreeMap::new();
        for n in 0..ADDRESSES as u32 {
            assert!(take(&mut buckets, address(n), 20, 5000));
        }
        assert!(!take(&mut buckets, address(u32::MAX), 20, 5000));
        assert!(take(&mut buckets, address(u32::MAX), 20, 6000));
        assert_eq!(buckets.len(), 1);
    }
}
