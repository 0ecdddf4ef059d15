//! `vermilion admission …`

use super::Context;
use super::operators::unhex;
use super::output::table;
use crate::clock::show_ms;
use crate::error::{ClientError, Exit};
use crate::identity::Step;
use clap::{Args, Subcommand};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use vermilion_crypto::sha256;
use vermilion_proto::{AdmissionState, ApplyAdmission, GenesisNode, TestReport};
use vermilion_registry::address;
use vermilion_registry::admission::{GRADES, State};
use vermilion_registry::codes::dates;
use vermilion_registry::reason::Reason;

const SUBJECT: &str = "node/NAME or unit-system/USCC/NAME";

#[derive(Subcommand, Debug)]
pub enum AdmissionVerb {
    /// Apply for a connection 申请接入
    #[command(after_help = "Examples:\n  \
        vermilion admission apply unit-system/11440304MB0X010624/desk \\\n      \
        --unit 11440304MB0X010624\n  \
        vermilion admission apply node/nanshan --unit 11440305MB0X030256 --id 4 \\\n      \
        --node-key 9f…e1 --cosigning-key 07…3c \\\n      \
        --district 440305 --address nanshan.example:7001\n\n\
        A node's two keys are made where it is to run: vermilion operator keygen --out\n\
        node.pem, and --out cosigning.pem.")]
    Apply(Apply),
    /// File the report of a security test 安全检测
    #[command(after_help = "Example:\n  \
        vermilion admission test node/nanshan --report report.pdf \\\n      \
        --assessor 11440300MB0X020570 --on 2026-11-02")]
    Test {
        #[arg(help = SUBJECT)]
        subject: String,
        /// The report: its digest is recorded
        #[arg(long, value_name = "FILE")]
        report: PathBuf,
        /// USCC of the unit that tested
        #[arg(long, value_name = "USCC")]
        assessor: String,
        /// The day of the test
        #[arg(long, value_name = "DATE")]
        on: String,
        #[command(flatten)]
        by: By,
    },
    /// Approve 审批: three people of the city
    #[command(after_help = "Example:\n  vermilion admission approve node/nanshan")]
    Approve(Plain),
    /// Connect what is approved 接入: system administration
    #[command(after_help = "Example:\n  vermilion admission connect node/nanshan")]
    Connect(Plain),
    /// Notify of a major change 重大变更
    #[command(after_help = "Example:\n  vermilion admission notify node/nanshan --change new-cloud.pdf")]
    Notify {
        #[arg(help = SUBJECT)]
        subject: String,
        /// What describes the change: its digest is recorded
        #[arg(long, value_name = "FILE")]
        change: PathBuf,
        #[command(flatten)]
        by: By,
    },
    /// Ban or disconnect, by the grade of the risk 封禁、断开: security administration
    #[command(after_help = "Examples:\n  vermilion admission ban node/nanshan --grade critical\n  \
        vermilion admission ban node/futian --grade critical --with-approval\n\n\
        One person bans nodes only while more than half of them stay connected.")]
    Ban {
        #[arg(help = SUBJECT)]
        subject: String,
        /// The grade of the risk
        #[arg(long, value_parser = GRADES)]
        grade: String,
        /// Those who approve admissions sign too 会签: for more than one person may ban alone
        #[arg(long)]
        with_approval: bool,
        #[command(flatten)]
        by: By,
    },
    /// Say that the problem is remedied 整改; a node names the id and the keys with which it comes back
    #[command(after_help = "Example:\n  \
        vermilion admission remedy node/nanshan --report remedy.pdf --id 5 \\\n      \
        --node-key 11…aa --cosigning-key 22…bb \\\n      \
        --district 440305 --address nanshan.example:7001")]
    Remedy {
        #[arg(help = SUBJECT)]
        subject: String,
        /// What describes the remedy: its digest is recorded
        #[arg(long, value_name = "FILE")]
        report: PathBuf,
        #[command(flatten)]
        node: Node,
        #[command(flatten)]
        by: By,
    },
    /// End a connection for good 退出: a node's, or another unit's, by three people; its own system's by one
    #[command(after_help = "Example:\n  vermilion admission retire unit-system/11440304MB0X010624/desk")]
    Retire(Plain),
    /// Show where an admission stands; exit 0 if it has access, 1 if not
    #[command(after_help = "Example:\n  vermilion admission show node/nanshan --json")]
    Show {
        #[arg(help = SUBJECT)]
        subject: String,
    },
    /// List admissions
    #[command(after_help = "Example:\n  vermilion admission list --unit 11440304MB0X010624")]
    List {
        /// For which this unit answers
        #[arg(long, value_name = "USCC", default_value = "")]
        unit: String,
    },
}

#[derive(Args, Debug)]
pub struct By {
    /// The unit that acts; the first whose keys are here if not given
    #[arg(long, value_name = "USCC")]
    by: Option<String>,
}

#[derive(Args, Debug)]
pub struct Plain {
    #[arg(help = SUBJECT)]
    subject: String,
    #[command(flatten)]
    by: By,
}

#[derive(Args, Debug)]
pub struct Node {
    /// Of a node: its Raft id, never used before
    #[arg(long, requires_all = ["node_key", "cosigning_key", "district", "address"])]
    id: Option<u64>,
    /// Of a node: the public key that signs blocks, in hex
    #[arg(long, value_name = "HEX", requires = "id")]
    node_key: Option<String>,
    /// Of a node: the public key that cosigns checkpoints, in hex
    #[arg(long, value_name = "HEX", requires = "id")]
    cosigning_key: Option<String>,
    /// Of a node: its district
    #[arg(long, requires = "id")]
    district: Option<String>,
    /// Of a node: host and port at which its peers reach it
    #[arg(long, requires = "id")]
    address: Option<String>,
    /// Of a node: it is the city's
    #[arg(long, requires = "id")]
    city: bool,
}

#[derive(Args, Debug)]
pub struct Apply {
    #[arg(help = SUBJECT)]
    subject: String,
    /// USCC of the unit that runs it and answers for it
    #[arg(long, value_name = "USCC")]
    unit: String,
    #[command(flatten)]
    node: Node,
    /// Of a system: a third party runs it
    #[arg(long, requires_all = ["plan", "capability"])]
    third_party: bool,
    /// The access plan: its digest is recorded
    #[arg(long, value_name = "FILE")]
    plan: Option<PathBuf>,
    /// The capability report of an authority: its digest is recorded
    #[arg(long, value_name = "FILE")]
    capability: Option<PathBuf>,
    #[command(flatten)]
    by: By,
}

fn digest(path: &Path) -> Result<[u8; 32], ClientError> {
    Ok(sha256(&std::fs::read(path).map_err(|e| ClientError::file(path, e))?))
}

fn optional(path: Option<&PathBuf>) -> Result<Vec<u8>, ClientError> {
    path.map_or(Ok(Vec::new()), |p| digest(p).map(|d| d.to_vec()))
}

impl Node {
    fn of(self, subject: &str) -> Result<Option<GenesisNode>, ClientError> {
        let Some(raft_id) = self.id else { return Ok(None) };
        let key = |text: Option<String>, what: &str| unhex::<32>(&text.unwrap_or_default(), what).map(|k| k.to_vec());
        let mut node = GenesisNode {
            raft_id,
            name: subject.strip_prefix("node/").unwrap_or_default().to_owned(),
            node_key: key(self.node_key, "the node key")?,
            cosigning_key: key(self.cosigning_key, "the cosigning key")?,
            district: self.district.unwrap_or_default(),
            city: self.city,
            ..GenesisNode::default()
        };
        node.peer_address = self.address.unwrap_or_default();
        // Refused by the ledger it would stand in a record.
        let said = &node.peer_address;
        address::check(said).map_err(|unfit| ClientError::Usage(format!("--address: {said:?} {unfit}")))?;
        Ok(Some(node))
    }
}

pub async fn run(context: &Context, verb: AdmissionVerb) -> Result<Exit, ClientError> {
    let (subject, by, step, told) = match verb {
        AdmissionVerb::Show { subject } => return show(context, &subject).await,
        AdmissionVerb::List { unit } => {
            let states = context.client()?.admissions(&unit).await?;
            context.out.answer(&Value::Array(states.iter().map(admission_json).collect()), || admissions_table(&states));
            return Ok(Exit::Yes);
        }
        AdmissionVerb::Apply(args) => {
            let body = ApplyAdmission {
                unit: args.unit,
                node: args.node.of(&args.subject)?,
                third_party: args.third_party,
                plan_digest: optional(args.plan.as_ref())?,
                capability_digest: optional(args.capability.as_ref())?,
                ..ApplyAdmission::default()
            };
            (args.subject, args.by, Step::Apply(body), "已申请 applied")
        }
        AdmissionVerb::Test { subject, report, assessor, on, by } => {
            let day = dates::parse(&on).and_then(dates::to_day);
            let tested_on = day.ok_or_else(|| ClientError::Usage(format!("{on} is no date: write 2026-11-02")))?;
            let report = TestReport { digest: digest(&report)?.to_vec(), assessor, tested_on, passed: true };
            (subject, by, Step::Test(report), "已检测 tested")
        }
        AdmissionVerb::Approve(args) => (args.subject, args.by, Step::Approve, "已批准 approved"),
        AdmissionVerb::Connect(args) => (args.subject, args.by, Step::Connect, "已接入 connected"),
        AdmissionVerb::Notify { subject, change, by } => (subject, by, Step::Notify(digest(&change)?), "已通知变更 change notified"),
        AdmissionVerb::Ban { subject, grade, with_approval, by } => {
            (subject, by, Step::Ban { grade, approved: with_approval }, "已封禁或断开 banned or disconnected")
        }
        AdmissionVerb::Remedy { subject, report, node, by } => {
            let node = node.of(&subject)?;
            (subject, by, Step::Remedy(digest(&report)?, node), "已整改 remedied")
        }
        AdmissionVerb::Retire(args) => (args.subject, args.by, Step::Retire, "已退出 retired"),
    };
    let recorded = context.client()?.admit(by.by.as_deref(), &subject, step).await?;
    Ok(context.out.recorded(told, &recorded))
}

async fn show(context: &Context, subject: &str) -> Result<Exit, ClientError> {
    let state = context.client()?.admission(subject).await?.ok_or(Reason::UnknownSystem)?;
    context.out.answer(&admission_json(&state), || admissions_table(std::slice::from_ref(&state)));
    Ok(if state.access { Exit::Yes } else { Exit::No })
}

fn admission_json(state: &AdmissionState) -> Value {
    let report = state.report.as_ref().map(|r| {
        let on = dates::from_day(r.tested_on).map(dates::format);
        json!({ "digest": hex::encode(&r.digest), "assessor": r.assessor, "tested_on": on })
    });
    let node = state.node.as_ref().map(|n| {
        json!({ "id": n.raft_id, "district": n.district, "city": n.city, "address": n.peer_address, "node_key": hex::encode(&n.node_key),
                "cosigning_key": hex::encode(&n.cosigning_key) })
    });
    json!({
        "subject": state.subject, "state": State::from_number(state.state).map(State::name), "access": state.access, "unit": state.unit,
        "node": node, "former_ids": state.former_ids, "third_party": state.third_party, "report": report, "risk_grade": state.risk_grade,
        "applied_seq": state.applied_seq, "changed_seq": state.changed_seq, "changed": show_ms(state.changed_ms),
    })
}

fn admissions_table(states: &[AdmissionState]) -> String {
    let row = |s: &AdmissionState| {
        let state = State::from_number(s.state).map_or_else(|| s.state.to_string(), |at| format!("{} {}", at.chinese(), at.name()));
        let id = s.node.as_ref().map(|n| n.raft_id.to_string()).unwrap_or_default();
        let access = if s.access { "是 yes" } else { "否 no" };
        vec![s.subject.clone(), s.unit.clone(), id, state, access.to_owned(), show_ms(s.changed_ms)]
    };
    table(
        &["节点或系统 subject", "单位 unit", "编号 id", "状态 state", "接入 access", "时间 time"],
        &states.iter().map(row).collect::<Vec<_>>(),
    )
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn an_address_at_which_nobody_is_reached_is_refused_before_anything_is_sent() {
        let of = |address: &str| {
            let key = Some("11".repeat(32));
            let node = Node {
                id: Some(4),
                node_key: key.clone(),
                cosigning_key: key,
                district: Some("440305".into()),
                address: Some(address.into()),
                city: false,
            };
            node.of("node/nanshan").map(|node| node.unwrap().peer_address)
        };
        assert_eq!(of("nanshan.example:7001").unwrap(), "nanshan.example:7001");
        for bad in ["0.0.0.0:7001", "[::]:7001", "nanshan.example", "10.1.0.300:7001"] {
            let refused = of(bad).unwrap_err();
            assert_eq!(refused.exit(), Exit::Usage);
            assert!(refused.to_string().contains("--address"), "{refused}");
        }
    }
}
