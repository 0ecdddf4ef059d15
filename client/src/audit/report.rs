//! What an audit hands back, for programs and for people.

use super::finding::Finding;
use crate::visible::one_line;
use serde_json::{Value, json};
use std::fmt::Write as _;

/// The result of an audit.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Whether nothing was found.
    pub clean: bool,
    /// Records of the longest source.
    pub records: u64,
    /// Signatures checked, over all sources.
    pub signatures: u64,
    /// Licences in the ledger, versions included, by the replay.
    pub licences: u64,
    /// Commitment records.
    pub commitments: u64,
    /// Checkpoints checked, over all sources.
    pub checkpoints: u64,
    /// Records under a checkpoint that carries the quorum.
    pub covered: u64,
    /// Pieces of content that were erased, in the first directory. None if no directory was seen, or nothing replayed.
    pub erased: Option<u64>,
    /// Commands with an erased licence, of whose wrapped keys nothing signed says what is left.
    pub cut_wraps: u64,
    /// What else could not be checked, in English and Chinese.
    pub left_out: Vec<(String, String)>,
    /// The ledger id, in hex.
    pub ledger_id: String,
    /// Whether what is trusted was given, or taken from the ledger's own genesis.
    pub trust_given: bool,
    /// Whether signatures were checked.
    pub with_signatures: bool,
    /// Whether the registry was replayed.
    pub with_replay: bool,
    /// Whether there were only tiles, which hold neither commands nor state.
    pub tiles_alone: bool,
    /// Whether a source was a running node, which shows records and checkpoints and nothing else.
    pub running_nodes: bool,
    /// Each source with its number of records.
    pub sources: Vec<(String, u64)>,
    /// Those listed; of each code and source only the first few.
    pub findings: Vec<Finding>,
    /// How many there are of each code, by its name.
    pub counts: Vec<(&'static str, u64)>,
    /// How long it took.
    pub seconds: f64,
}

impl Report {
    /// Records after the last checkpoint with the quorum.
    #[must_use]
    pub fn not_yet_covered(&self) -> u64 {
        self.records.saturating_sub(self.covered)
    }

    /// What was not checked, in English and Chinese: with tiles or running nodes alone, because it was asked so,
    /// or because it cannot be.
    #[must_use]
    pub fn unchecked(&self) -> Vec<(String, String)> {
        let (signatures, replay) = (!self.with_signatures, !self.with_replay);
        let list = [
            (self.tiles_alone, ("record hashes and chain", "记录哈希与链")),
            (signatures, ("the units' signatures", "各单位的签名")),
            (replay, ("outcomes and effects under the rules, and the state", "按规则重算的结果与变更，以及状态")),
            (signatures && replay, ("envelopes and licence items", "信封与证照条目")),
            (signatures && replay, ("contents in the vault", "保管库内容")),
            (signatures && replay, ("the rest of the database", "数据库其余部分")),
            (
                self.running_nodes,
                (
                    "of running nodes: contents in the vault, state, tiles and the rest of the database, which only a directory shows",
                    "运行中节点的保管库内容、状态、瓦片与数据库其余部分（仅数据目录可见）",
                ),
            ),
        ];
        let list = list.into_iter().filter(|(left_out, _)| *left_out).map(|(_, (en, zh))| (en.to_owned(), zh.to_owned()));
        let cut = (self.cut_wraps > 0).then(|| {
            let count = self.cut_wraps;
            (
                format!("the wrapped keys of commands with an erased licence ({count})"),
                format!("含已删除证照的指令的封装密钥（{count}条指令）"),
            )
        });
        list.chain(cut).chain(self.left_out.iter().cloned()).collect()
    }

    fn rate(&self, count: u64) -> f64 {
        if self.seconds > 0.0 { (count as f64 / self.seconds).round() } else { 0.0 }
    }

    /// Records a second, everything included.
    #[must_use]
    pub fn records_per_second(&self) -> f64 {
        self.rate(self.records)
    }

    /// Signatures a second, everything included.
    #[must_use]
    pub fn signatures_per_second(&self) -> f64 {
        self.rate(self.signatures)
    }

    /// One object for scripts.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let findings: Vec<Value> = self
            .findings
            .iter()
            .map(|f| {
                json!({
                    "severity": f.code.severity().name(), "code": f.code.name(), "source": f.source, "seq": f.seq,
                    "message": f.en, "message_zh": f.zh,
                })
            })
            .collect();
        json!({
            "clean": self.clean,
            "records": self.records,
            "signatures": self.signatures,
            "licences": self.licences,
            "commitments": self.commitments,
            "checkpoints": self.checkpoints,
            "covered": self.covered,
            "not_yet_covered": self.not_yet_covered(),
            "erased": self.erased,
            "ledger_id": self.ledger_id,
            "trust": if self.trust_given { "given" } else { "from-genesis" },
            "with_signatures": self.with_signatures,
            "with_replay": self.with_replay,
            "not_checked": self.unchecked().into_iter().map(|(en, _)| en).collect::<Vec<_>>(),
            "sources": self.sources.iter().map(|(name, size)| json!({"name": name, "records": size})).collect::<Vec<_>>(),
            "findings": findings,
            "counts": self.counts.iter().map(|(code, count)| ((*code).to_owned(), json!(count))).collect::<serde_json::Map<_, _>>(),
            "seconds": (self.seconds * 1000.0).round() / 1000.0,
            "records_per_second": self.records_per_second(),
            "signatures_per_second": self.signatures_per_second(),
        })
    }

    /// A summary for people, in lines. What is audited begins none of them.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut out = String::new();
        // Writing to a String does not fail.
        let mut line = |text: String| {
            let _ = writeln!(out, "{text}");
        };
        line(format!("ledger      {}", self.ledger_id));
        for (name, size) in &self.sources {
            line(format!("source      {}: {size} records", one_line(name)));
        }
        line(format!("records     {}, of them {} commitments; {} licences", self.records, self.commitments, self.licences));
        if self.with_signatures {
            line(format!("signatures  {} checked", self.signatures));
        }
        for (en, zh) in self.unchecked() {
            line(format!("NOT CHECKED {} 未核对：{}", one_line(&en), one_line(&zh)));
        }
        if self.tiles_alone {
            line("tiles       show that the leaves are those of the signed tree, in order, and no more 仅证明树的一致性".into());
        }
        line(format!(
            "checkpoints {}; {} records under the quorum, {} not yet covered by a checkpoint",
            self.checkpoints,
            self.covered,
            self.not_yet_covered()
        ));
        if let Some(erased) = self.erased.filter(|erased| *erased > 0) {
            line(format!("content     {erased} pieces erased by record"));
        }
        if !self.trust_given {
            line("trust       taken from the ledger's own genesis: compare the ledger id with one you know, or give --trust".into());
        }
        line(format!(
            "speed       {:.1} s, {} records/s, {} signatures/s",
            self.seconds,
            self.records_per_second(),
            self.signatures_per_second()
        ));
        for finding in &self.findings {
            let place = finding.seq.map_or(String::new(), |seq| format!(" #{seq}"));
            let source = one_line(&finding.source);
            line(format!("{} {} [{source}{place}]", finding.code.severity().name().to_uppercase(), finding.code.name()));
            line(format!("  {}\n  {}", one_line(&finding.en), one_line(&finding.zh)));
        }
        let total: u64 = self.counts.iter().map(|(_, count)| count).sum();
        let listed = self.findings.len() as u64;
        if total > listed {
            line(format!("… and {} further findings of the same kinds", total - listed));
        }
        line(if self.clean { "CLEAN 无异常".into() } else { format!("NOT CLEAN 有异常: {total} findings") });
        out
    }
}
