//! What a watch raises: an alarm's kinds, its line, its evidence, and the figures for monitoring.

use crate::files::write_file;
use crate::visible::one_line;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// What an alarm is about. The names are stable.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash)]
pub enum Kind {
    /// Two signed checkpoints that cannot both be of one history.
    Fork,
    /// A node shows less than it showed before.
    Rollback,
    /// What a node shows is not what trusted keys signed.
    Divergence,
    /// A node cannot be asked, or what it shows cannot be proved, or it stays behind.
    Stalled,
    /// A node says that it is not ready to serve what would prove its checkpoint, as while it fetches its history.
    NotReady,
    /// A node shows more than the quorum has signed, and the quorum does not go on.
    NoQuorum,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Kind; 6] = [Self::Fork, Self::Rollback, Self::Divergence, Self::Stalled, Self::NotReady, Self::NoQuorum];

    /// The stable name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Fork => "fork",
            Self::Rollback => "rollback",
            Self::Divergence => "divergence",
            Self::Stalled => "stalled",
            Self::NotReady => "not-ready",
            Self::NoQuorum => "no-quorum",
        }
    }

    /// The name in Chinese.
    #[must_use]
    pub fn chinese(self) -> &'static str {
        match self {
            Self::Fork => "分叉",
            Self::Rollback => "回滚",
            Self::Divergence => "偏离",
            Self::Stalled => "停滞",
            Self::NotReady => "未就绪",
            Self::NoQuorum => "无联署",
        }
    }

    /// Whether it says that somebody lied or lost history, and not only that a node or the quorum is slow.
    #[must_use]
    pub fn is_grave(self) -> bool {
        !matches!(self, Self::Stalled | Self::NotReady | Self::NoQuorum)
    }
}

/// One alarm.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Alarm {
    /// What it is about.
    pub kind: Kind,
    /// At which node.
    pub node: String,
    /// When it was raised, Unix milliseconds.
    pub at_ms: u64,
    /// In English.
    pub en: String,
    /// In Chinese.
    pub zh: String,
    /// The two signed notes, if there are two.
    pub evidence: Option<[Vec<u8>; 2]>,
    /// The files in which they were kept.
    pub files: Vec<PathBuf>,
}

impl Alarm {
    /// For scripts and webhooks.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let notes = self.evidence.iter().flatten().map(|note| String::from_utf8_lossy(note).into_owned());
        json!({
            "alarm": self.kind.name(), "grave": self.kind.is_grave(), "node": self.node, "time": crate::clock::show_ms(self.at_ms),
            "message": self.en, "message_zh": self.zh, "notes": notes.collect::<Vec<_>>(), "files": self.files,
        })
    }

    /// For people.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut out = format!(
            "{} ALARM {} {} [{}]\n  {}\n  {}",
            crate::clock::show_ms(self.at_ms),
            self.kind.name(),
            self.kind.chinese(),
            one_line(&self.node),
            one_line(&self.en),
            one_line(&self.zh)
        );
        for file in &self.files {
            // Writing to a String does not fail.
            let _ = write!(out, "\n  evidence: {}", file.display());
        }
        out
    }

    /// Keeps the two notes, each in a file of its own, exactly as they were signed: whoever reads
    /// signed notes can check them. Written once; the same evidence found again gets the same names.
    pub fn keep(&mut self, folder: &Path) -> Result<(), String> {
        let Some(notes) = &self.evidence else { return Ok(()) };
        let name = hex::encode(vermilion_crypto::sha256(&notes.concat()).get(..8).unwrap_or_default());
        for (note, side) in notes.iter().zip(["a", "b"]) {
            let file = folder.join(format!("{}-{name}-{side}.note", self.kind.name()));
            write_whole(&file, note)?;
            self.files.push(file);
        }
        Ok(())
    }
}

/// Writes a file so that it is there whole or not at all.
pub fn write_whole(path: &Path, bytes: &[u8]) -> Result<(), String> {
    write_file(path, bytes).map_err(|e| e.to_string())
}

/// How a node stands, for monitoring.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Standing {
    /// Whether it answered last time.
    pub up: bool,
    /// Records under the newest checkpoint that it showed.
    pub size: u64,
    /// Which alarms stand.
    pub alarms: Vec<Kind>,
}

/// The newest checkpoint with the quorum that was proved, against which all others are.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Base {
    /// Records under it; 0 if there is none.
    pub size: u64,
    /// As of when the quorum signed it, in Unix seconds; 0 if there is none.
    pub as_of_s: u64,
}

/// The figures in Prometheus' text format, for a file that a collector reads.
#[must_use]
pub fn metrics(nodes: &BTreeMap<String, Standing>, base: Base, raised: &BTreeMap<Kind, u64>, now_ms: u64) -> String {
    let mut out = String::new();
    let mut family = |name: &str, kind: &str, help: &str, rows: Vec<(String, u64)>| {
        // Writing to a String does not fail.
        let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}");
        for (labels, value) in rows {
            let _ = writeln!(out, "{name}{labels} {value}");
        }
    };
    // URLs and names of the configuration; quotes and backslashes cannot stand in them unescaped.
    let label = |node: &str| node.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', " ");
    let each = |value: &dyn Fn(&Standing) -> u64| -> Vec<(String, u64)> {
        nodes.iter().map(|(node, standing)| (format!("{{node=\"{}\"}}", label(node)), value(standing))).collect()
    };
    family("vermilion_watch_up", "gauge", "Whether the node answered last time.", each(&|s| u64::from(s.up)));
    family("vermilion_watch_size", "gauge", "Records under the newest checkpoint that the node showed.", each(&|s| s.size));
    let alone = |value: u64| vec![(String::new(), value)];
    family("vermilion_watch_base_size", "gauge", "Records under the newest checkpoint with the quorum that was proved.", alone(base.size));
    family("vermilion_watch_base_timestamp_seconds", "gauge", "As of when the quorum signed that checkpoint.", alone(base.as_of_s));
    let standing = nodes.iter().flat_map(|(node, standing)| {
        Kind::ALL.map(|kind| (format!("{{node=\"{}\",kind=\"{}\"}}", label(node), kind.name()), u64::from(standing.alarms.contains(&kind))))
    });
    family("vermilion_watch_alarm", "gauge", "Whether an alarm stands.", standing.collect());
    let raised = Kind::ALL.map(|kind| (format!("{{kind=\"{}\"}}", kind.name()), raised.get(&kind).copied().unwrap_or_default()));
    family("vermilion_watch_alarms_total", "counter", "Alarms raised since the watch began.", raised.to_vec());
    family("vermilion_watch_round_timestamp_seconds", "gauge", "When the nodes were last asked.", alone(now_ms / 1000));
    out
}
