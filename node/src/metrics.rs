//! Counts for Prometheus. Labels are fixed words: nothing of a command's content gets here.

use prometheus::{Encoder as _, Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry, TextEncoder};
use std::time::Duration;
use vermilion_proto::CommandState;

/// The node's metrics.
pub struct Metrics {
    registry: Registry,
    submitted: IntCounterVec,
    submit_seconds: Histogram,
    apply_seconds: Histogram,
    records: IntCounter,
    size: IntGauge,
    /// Requests turned away because a queue was full.
    pub busy: IntCounter,
    /// Messages that the gate refused.
    pub gate_refused: IntCounter,
    /// Uses whose content was disclosed.
    pub disclosed: IntCounter,
    published: IntGauge,
    outside_size: IntGaugeVec,
    outside_failed: IntCounterVec,
    /// Connections refused at the handshake.
    pub connections_refused: IntCounter,
    /// Open connections cut because their credential no longer stands.
    pub connections_cut: IntCounter,
    /// Public questions over REST turned away because their address asked too many.
    pub rate_limited: IntCounter,
    /// Seconds until the node's certificate expires; 0 without one.
    pub certificate_seconds: IntGauge,
    /// Older records that a node which took a state from another has still to fetch.
    pub history_missing: IntGauge,
    term: IntGauge,
    leader: IntGauge,
    commit: IntGauge,
    applied: IntGauge,
    write_ms: IntGauge,
    pending_commands: IntGauge,
    pending_bytes: IntGauge,
    pending_reads: IntGauge,
}

impl Metrics {
    /// Registers them.
    pub fn new() -> Result<Self, prometheus::Error> {
        let registry = Registry::new();
        let seconds = |name: &str, help: &str| {
            Histogram::with_opts(
                HistogramOpts::new(name, help).buckets(vec![0.000_5, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0]),
            )
        };
        let metrics = Self {
            submitted: IntCounterVec::new(Opts::new("vermilion_submissions_total", "submissions answered, by state"), &["state"])?,
            submit_seconds: seconds("vermilion_submit_seconds", "from a submission to its answer")?,
            apply_seconds: seconds("vermilion_apply_seconds", "applying committed entries")?,
            records: IntCounter::new("vermilion_records_applied_total", "records applied since the start")?,
            size: IntGauge::new("vermilion_ledger_records", "records in the ledger")?,
            busy: IntCounter::new("vermilion_busy_total", "requests turned away because a queue was full")?,
            gate_refused: IntCounter::new("vermilion_gate_refused_total", "peer messages refused by the gate")?,
            disclosed: IntCounter::new("vermilion_disclosures_total", "uses whose content was disclosed")?,
            published: IntGauge::new("vermilion_published_records", "records under the newest published checkpoint")?,
            outside_size: IntGaugeVec::new(
                Opts::new("vermilion_outside_witness_records", "records under the checkpoint that an outside witness cosigned last"),
                &["witness"],
            )?,
            outside_failed: IntCounterVec::new(
                Opts::new("vermilion_outside_witness_failures_total", "checkpoints that an outside witness did not cosign, by reason"),
                &["witness", "reason"],
            )?,
            connections_refused: IntCounter::new("vermilion_connections_refused_total", "peers refused at the handshake")?,
            connections_cut: IntCounter::new("vermilion_connections_cut_total", "connections cut after their credential fell")?,
            rate_limited: IntCounter::new("vermilion_rest_rate_limited_total", "public questions turned away")?,
            certificate_seconds: IntGauge::new("vermilion_certificate_expires_seconds", "until the node's certificate expires")?,
            history_missing: IntGauge::new("vermilion_history_missing_records", "older records still to be fetched")?,
            term: IntGauge::new("vermilion_raft_term", "Raft term")?,
            leader: IntGauge::new("vermilion_raft_leader", "Raft id of the leader, 0 when there is none")?,
            commit: IntGauge::new("vermilion_raft_commit_index", "committed through")?,
            applied: IntGauge::new("vermilion_raft_applied_index", "applied through")?,
            write_ms: IntGauge::new("vermilion_raft_write_milliseconds", "for how long the oldest write of the log has been under way")?,
            pending_commands: IntGauge::new("vermilion_raft_pending_commands", "commands that wait for a block")?,
            pending_bytes: IntGauge::new("vermilion_raft_pending_bytes", "bytes of the commands that wait for a block")?,
            pending_reads: IntGauge::new("vermilion_raft_pending_reads", "reads that wait for an index")?,
            registry,
        };
        let r = &metrics.registry;
        r.register(Box::new(metrics.submitted.clone()))?;
        r.register(Box::new(metrics.submit_seconds.clone()))?;
        r.register(Box::new(metrics.apply_seconds.clone()))?;
        r.register(Box::new(metrics.outside_size.clone()))?;
        r.register(Box::new(metrics.outside_failed.clone()))?;
        for counter in [
            &metrics.records,
            &metrics.busy,
            &metrics.gate_refused,
            &metrics.disclosed,
            &metrics.connections_refused,
            &metrics.connections_cut,
            &metrics.rate_limited,
        ] {
            r.register(Box::new(counter.clone()))?;
        }
        for gauge in [
            &metrics.certificate_seconds,
            &metrics.history_missing,
            &metrics.size,
            &metrics.published,
            &metrics.term,
            &metrics.leader,
            &metrics.commit,
            &metrics.applied,
            &metrics.write_ms,
            &metrics.pending_commands,
            &metrics.pending_bytes,
            &metrics.pending_reads,
        ] {
            r.register(Box::new(gauge.clone()))?;
        }
        r.register(Box::new(prometheus::process_collector::ProcessCollector::for_self()))?;
        Ok(metrics)
    }

    /// A submission was answered.
    pub fn submitted(&self, state: i32, took: Duration) {
        let state = CommandState::try_from(state).map_or("unknown", |s| match s {
            CommandState::Unknown => "unknown",
            CommandState::Pending => "pending",
            CommandState::Committed => "committed",
            CommandState::Invalid => "invalid",
            CommandState::RefusedAtDoor => "refused-at-door",
            CommandState::Busy => "busy",
        });
        self.submitted.with_label_values(&[state]).inc();
        self.submit_seconds.observe(took.as_secs_f64());
    }

    /// Entries were applied.
    pub fn applied(&self, records: u64, took: Duration, size: u64) {
        self.apply_seconds.observe(took.as_secs_f64());
        self.records.inc_by(records);
        self.size.set(i64::try_from(size).unwrap_or(i64::MAX));
    }

    /// An outside witness, of the configuration, cosigned a checkpoint of this size.
    pub fn outside_cosigned(&self, witness: &str, size: u64) {
        self.outside_size.with_label_values(&[witness]).set(i64::try_from(size).unwrap_or(i64::MAX));
    }

    /// An outside witness did not cosign, for a reason of [`crate::outside::protocol::AskError::code`].
    pub fn outside_failed(&self, witness: &str, reason: &'static str) {
        self.outside_failed.with_label_values(&[witness, reason]).inc();
    }

    /// The text that Prometheus reads. `published`: records under the newest published checkpoint.
    pub fn render(&self, status: &vermilion_consensus::Status, published: u64) -> Result<String, prometheus::Error> {
        let number = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
        self.published.set(number(published));
        self.term.set(number(status.term));
        self.leader.set(number(status.leader.unwrap_or(0)));
        self.commit.set(number(status.commit));
        self.applied.set(number(status.applied));
        self.write_ms.set(number(status.write_ms));
        for (gauge, waiting) in [
            (&self.pending_commands, status.pending_commands),
            (&self.pending_bytes, status.pending_bytes),
            (&self.pending_reads, status.pending_reads),
        ] {
            gauge.set(i64::try_from(waiting).unwrap_or(i64::MAX));
        }
        let mut out = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut out)?;
        String::from_utf8(out).map_err(|e| prometheus::Error::Msg(e.to_string()))
    }
}
