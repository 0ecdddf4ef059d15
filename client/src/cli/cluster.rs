//! `vermilion cluster …` and `vermilion command …`

use super::Context;
use super::operators::unhex;
use super::output::{recorded_json, table};
use crate::client::Client;
use crate::clock::show_ms;
use crate::error::{ClientError, Exit};
use crate::questions::CommandKnown;
use crate::visible::one_line;
use clap::Subcommand;
use serde_json::{Value, json};
use vermilion_proto::{ClusterReply, NodeStatus};
use vermilion_registry::reason::Reason;

#[derive(Subcommand, Debug)]
pub enum ClusterVerb {
    /// Who leads, and how far each node is
    #[command(after_help = "Example:\n  vermilion cluster status --json")]
    Status,
    /// Hand leadership over to a node; for the city's managing unit
    #[command(after_help = "Example:\n  vermilion cluster transfer --to city")]
    Transfer {
        /// The node's name
        #[arg(long, value_name = "NAME")]
        to: String,
    },
    /// Cut a node off that leads badly: the nodes of this configuration follow it no more, until `trust`
    #[command(after_help = "Example:\n  \
        vermilion cluster distrust nanshan\n\n\
        For a leader that keeps its own ban out of the ledger. It lasts until `cluster\n\
        trust`.")]
    Distrust {
        /// The node's name
        node: String,
    },
    /// Take a distrust back
    #[command(after_help = "Example:\n  vermilion cluster trust nanshan")]
    Trust {
        /// The node's name
        node: String,
    },
    /// Have a node copy its data directory, for auditors, while it runs 备份
    #[command(after_help = "Example:\n  \
        vermilion cluster backup city\n  \
        vermilion audit \\\n      \
        --data-dir /var/backups/vermilion/city-0000001207-1795300000000\n\n\
        The copy lies at the node, in the folder that its configuration names (backups\n\
        = DIR): on the same disk it is made in moments and costs room only as the\n\
        ledger goes on; take it elsewhere. No node runs on a copy.")]
    Backup {
        /// The node's name
        node: String,
    },
    /// Who connected to a node, and who was refused what; for audit administration
    #[command(after_help = "Examples:\n  \
        vermilion cluster trail city\n  \
        vermilion cluster trail city --from 1200 --json\n\n\
        With --json the lines as they are kept, each chained to the one before. Exit\n\
        code 1: the chain of what was read does not hold. Of a long trail the oldest\n\
        lines go: then it begins with the first that is kept.")]
    Trail {
        /// The node's name
        node: String,
        /// Number of the first line
        #[arg(long, default_value_t = 0)]
        from: u64,
    },
}

#[derive(Subcommand, Debug)]
pub enum CommandVerb {
    /// What is known of a command
    #[command(after_help = "Example:\n  \
        vermilion command status 5f…a0\n\n\
        The id is what every command prints that is recorded. Exit code 0 if it was\n\
        accepted, 1 if it was refused or never will be recorded, 3 if that is not known\n\
        yet.")]
    Status {
        /// Its id, in hex
        id: String,
        /// Its not-after in Unix milliseconds, so that "never" can be told from "not yet"
        #[arg(long, value_name = "MS", default_value_t = 0)]
        not_after: u64,
    },
}

pub async fn run_cluster(context: &Context, verb: ClusterVerb) -> Result<Exit, ClientError> {
    let client = context.client()?;
    match verb {
        ClusterVerb::Status => {
            let reply = client.connection.cluster().await?;
            context.out.answer(&cluster_json(&reply), || cluster_text(&reply));
            Ok(Exit::Yes)
        }
        ClusterVerb::Transfer { to } => {
            let node = id_of(&client, &to).await?;
            let connection = &client.connection;
            client.controlling(|asker| async move { connection.control(&asker, "transfer", node).await }).await?;
            for _ in 0..50 {
                if client.connection.cluster().await.is_ok_and(|c| c.leader == to) {
                    context.out.answer(&json!({ "leader": to }), || format!("主节点 leader: {to}"));
                    return Ok(Exit::Yes);
                }
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            }
            context.out.answer(&json!({ "leader": Value::Null }), || format!("{to} did not take over within five seconds"));
            Ok(Exit::No)
        }
        ClusterVerb::Distrust { node } => distrust(context, &client, &node, true).await,
        ClusterVerb::Backup { node } => backup(context, &client, &node).await,
        ClusterVerb::Trust { node } => distrust(context, &client, &node, false).await,
        ClusterVerb::Trail { node, from } => trail(context, &client, &node, from).await,
    }
}

/// A node's Raft id: also of one that joined after the genesis.
async fn id_of(client: &Client, name: &str) -> Result<u64, ClientError> {
    let nodes = client.connection.cluster().await?.nodes;
    let node = nodes.iter().find(|n| n.name == name);
    Ok(node.ok_or_else(|| ClientError::Usage(format!("the ledger has no node {name}")))?.id)
}

async fn distrust(context: &Context, client: &Client, name: &str, distrusted: bool) -> Result<Exit, ClientError> {
    let node = id_of(client, name).await?;
    let connection = &client.connection;
    let heard = client.controlling(|asker| async move { connection.distrust(&asker, node, distrusted).await }).await?;
    let word = if distrusted { "不信任 distrusted" } else { "恢复信任 trusted" };
    context.out.answer(&json!({ "node": name, "distrusted": distrusted, "by": heard }), || format!("{name} {word}: {}", heard.join(", ")));
    Ok(if heard.is_empty() { Exit::Unreachable } else { Exit::Yes })
}

/// Where the configuration has a node; one that joined is not in it by itself.
fn place_of(client: &Client, name: &str) -> Result<usize, ClientError> {
    let at = client.connection.names().position(|n| n == name);
    at.ok_or_else(|| ClientError::Usage(format!("the configuration has no node {name}: add its [[nodes]]")))
}

async fn backup(context: &Context, client: &Client, name: &str) -> Result<Exit, ClientError> {
    let at = place_of(client, name)?;
    let raft_id = id_of(client, name).await?;
    let connection = &client.connection;
    let folder = client.controlling(|asker| async move { connection.backup(&asker, at, raft_id).await }).await?;
    context.out.answer(&json!({ "node": name, "folder": folder }), || format!("{name} 已备份 backed up: {}", one_line(&folder)));
    Ok(Exit::Yes)
}

/// Reads a node's trail from a line on, to its end, and checks that each line is chained to the one before.
async fn trail(context: &Context, client: &Client, name: &str, from: u64) -> Result<Exit, ClientError> {
    let node = place_of(client, name)?;
    let connection = &client.connection;
    let lines = |from| client.reading_trails(move |asker| async move { connection.trail(&asker, node, from).await });
    let mut reading = Reading::from(from);
    loop {
        let page = lines(reading.next).await?;
        let Some(first) = page.first() else { return Ok(Exit::Yes) };
        // What went by rotation is nowhere: then the trail begins with the line that came.
        if number_of(first).is_some_and(|n| n > reading.next) && lines(0).await?.first() == Some(first) {
            let begins = reading.begin_with(first);
            if begins > from {
                context.out.note(&format!("lines before {begins} are not kept: the oldest go"));
            }
        }
        for line in &page {
            let Some(n) = reading.take(line) else {
                context.out.line(&one_line(line));
                let why = format!("the trail does not hold at line {}: something was changed or taken out", reading.next);
                context.out.error(&ClientError::BadAnswer(why));
                return Ok(Exit::No);
            };
            if n >= from && context.out.json {
                context.out.line(line);
            } else if n >= from {
                context.out.line(&one_line(&trail_text(line)));
            }
        }
    }
}

/// How far a trail was read.
struct Reading {
    /// The number of the line that is due.
    next: u64,
    /// The chain of the one before; none where that was not read, and the line's own is taken as it is.
    chain: Option<[u8; 32]>,
}

impl Reading {
    /// From a line on. The one before it is read for its chain alone.
    fn from(line: u64) -> Self {
        Self { next: line.saturating_sub(1), chain: (line == 0).then_some([0; 32]) }
    }

    /// Goes on with a line before which nothing is kept; answers its number.
    fn begin_with(&mut self, line: &str) -> u64 {
        (self.next, self.chain) = (number_of(line).unwrap_or(self.next), None);
        self.next
    }

    /// Takes the line that is due, and answers its number; none if it is another, or not chained to the one before.
    fn take(&mut self, line: &str) -> Option<u64> {
        let (n, sealed) = chained(line, self.chain).filter(|(n, _)| *n == self.next)?;
        (self.next, self.chain) = (n.checked_add(1)?, Some(sealed));
        Some(n)
    }
}

/// A line of a trail for people; one that does not read, as it is.
fn trail_text(line: &str) -> String {
    let Ok(value) = serde_json::from_str::<Value>(line) else { return line.to_owned() };
    let text = |name: &str| value.get(name).and_then(Value::as_str).unwrap_or_default();
    let number = |name: &str| value.get(name).and_then(Value::as_u64).unwrap_or_default();
    let what = match text("what") {
        "connected" => "已连接 connected",
        "refused" => "被拒绝 refused",
        "cut" => "已切断 cut",
        "denied" => "被否决 denied",
        "left-out" => "略去 left out",
        other => other,
    };
    let mut out = format!("{:>6}  {}  {what}", number("n"), show_ms(number("time_ms")));
    for (word, name) in [("", "holder"), ("密钥 key ", "key"), ("证书 certificate ", "serial"), ("", "why")] {
        if !text(name).is_empty() {
            out += &format!("  {word}{}", text(name));
        }
    }
    if number("lines") > 0 {
        out += &format!("  {} lines", number("lines"));
    }
    out
}

/// A line's number.
fn number_of(line: &str) -> Option<u64> {
    serde_json::from_str::<Value>(line).ok()?.get("n")?.as_u64()
}

/// A line's number and its chain, if it follows: `SHA-256(previous ‖ everything before ,"chain":)`.
/// Without a previous chain the line's own is taken as it is.
fn chained(line: &str, previous: Option<[u8; 32]>) -> Option<(u64, [u8; 32])> {
    // What is no line could bring others with it.
    let (content, rest) = line.rsplit_once(",\"chain\":\"").filter(|_| !line.contains(['\n', '\r']))?;
    let mut said = [0; 32];
    hex::decode_to_slice(rest.strip_suffix("\"}")?, &mut said).ok()?;
    let number = number_of(line)?;
    let follows = previous.is_none_or(|chain| vermilion_crypto::sha256(&[&chain, content.as_bytes()].concat()) == said);
    follows.then_some((number, said))
}

/// Until when the certificate is valid that a node shows; none without TLS.
fn until(node: &NodeStatus) -> Option<String> {
    (node.certificate_not_after_ms > 0).then(|| show_ms(node.certificate_not_after_ms))
}

/// The leader, if it answers as such: for a moment the others may still name one that is gone.
fn leading(reply: &ClusterReply) -> Option<&str> {
    reply.nodes.iter().find(|node| node.name == reply.leader && node.role == "leader").map(|node| node.name.as_str())
}

fn cluster_json(reply: &ClusterReply) -> Value {
    let node = |n: &NodeStatus| {
        json!({
            "name": n.name, "role": n.role, "applied": n.applied, "size": n.size, "commit": n.commit, "term": n.term,
            "checkpoint_size": n.checkpoint_size, "chain": hex::encode(&n.chain), "pending": n.pending, "time": show_ms(n.time_ms),
            "grpc": n.grpc, "version": n.version, "certificate_until": until(n), "lacks": n.lacks,
        })
    };
    let leader = leading(reply);
    json!({ "leader": leader, "nodes": reply.nodes.iter().map(node).collect::<Vec<_>>() })
}

fn cluster_text(reply: &ClusterReply) -> String {
    let row = |n: &NodeStatus| {
        vec![
            n.name.clone(),
            n.role.clone(),
            n.term.to_string(),
            n.applied.to_string(),
            n.size.to_string(),
            n.checkpoint_size.to_string(),
            show_ms(n.time_ms),
            until(n).unwrap_or_else(|| "无 none".into()),
        ]
    };
    let leader = one_line(leading(reply).unwrap_or("无 none"));
    let nodes = table(
        &["节点 node", "角色 role", "term", "applied", "记录 records", "checkpoint", "时间 time", "证书至 certificate until"],
        &reply.nodes.iter().map(row).collect::<Vec<_>>(),
    );
    let mut text = format!("账本 ledger {}\n主节点 leader {leader}\n{nodes}", hex::encode(&reply.ledger_id));
    for node in reply.nodes.iter().filter(|n| !n.lacks.is_empty()) {
        text += &format!("\n{} 缺少密钥 lacks keys that serve: {}", one_line(&node.name), one_line(&node.lacks.join(", ")));
    }
    text
}

pub async fn run_command(context: &Context, verb: CommandVerb) -> Result<Exit, ClientError> {
    let CommandVerb::Status { id, not_after } = verb;
    let id = unhex::<32>(&id, "the command's id")?;
    let known = context.client()?.connection.command_status(&id, not_after).await?;
    let (state, zh) = match &known {
        CommandKnown::Recorded(r) if r.outcome.code == 0 => ("accepted", "已入账"),
        CommandKnown::Recorded(_) => ("refused", "已入账,被拒绝"),
        CommandKnown::Pending => ("pending", "处理中"),
        CommandKnown::Unknown => ("unknown", "未知"),
        CommandKnown::Invalid => ("invalid", "已失效,永不入账"),
    };
    let mut value = json!({ "command": hex::encode(id), "state": state });
    let mut text = format!("{} {zh} / {state}", hex::encode(id));
    if let CommandKnown::Recorded(recorded) = &known {
        let outcome = &recorded.outcome;
        let name = |code: u32| Reason::from_number(code).map(Reason::name);
        if let Some(members) = value.as_object_mut() {
            members.insert("record".into(), recorded_json(recorded));
            members.insert("reason".into(), json!(name(outcome.code)));
            let refused: Vec<Value> = outcome.refused.iter().map(|r| json!({ "position": r.position, "reason": name(r.code) })).collect();
            members.insert("refused_items".into(), Value::Array(refused));
        }
        text += &format!("\n  记录 record {}, {}", recorded.seq, show_ms(recorded.time_ms));
        if let Some(reason) = Reason::from_number(outcome.code) {
            text += &format!("\n  {} {} / {}", reason.name(), reason.chinese(), reason.english());
        }
        if !outcome.refused.is_empty() {
            text += &format!("\n  {} 项被退回 items refused", outcome.refused.len());
        }
    }
    context.out.answer(&value, || text);
    Ok(match known {
        CommandKnown::Recorded(recorded) if recorded.outcome.code == 0 => Exit::Yes,
        CommandKnown::Recorded(_) | CommandKnown::Invalid => Exit::No,
        CommandKnown::Pending | CommandKnown::Unknown => Exit::Unreachable,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_leader_that_does_not_answer_is_none() {
        let node = |name: &str, role: &str| NodeStatus { name: name.into(), role: role.into(), ..NodeStatus::default() };
        let reply = |role: &str| ClusterReply {
            leader: "futian".into(),
            nodes: vec![node("city", "follower"), node("futian", role)],
            ..ClusterReply::default()
        };
        assert_eq!((leading(&reply("leader")), leading(&reply("unreachable"))), (Some("futian"), None));
        assert_eq!(cluster_json(&reply("unreachable"))["leader"], Value::Null);
    }

    #[test]
    fn a_line_of_a_trail_reads() {
        let line = r#"{"n":12,"serial":"4f","time_ms":1000,"what":"denied","why":"records: not-authorised","chain":"00"}"#;
        assert_eq!(trail_text(line), "    12  1970-01-01T00:00:01Z  被否决 denied  证书 certificate 4f  records: not-authorised");
        assert_eq!(trail_text("no line"), "no line");
        let sealed = |content: &str| {
            let chain = hex::encode(vermilion_crypto::sha256(&[&[0; 32][..], content.as_bytes()].concat()));
            format!("{content},\"chain\":\"{chain}\"}}")
        };
        assert!(chained(&sealed(r#"{"n":0"#), Some([0; 32])).is_some());
        assert!(chained(&sealed("{\"n\":0,\"x\":[\n{\"n\":1}\n]"), Some([0; 32])).is_none(), "a line within a line");
    }

    #[test]
    fn a_trail_is_read_line_by_line_from_the_first_that_is_kept() {
        let mut chain = [0; 32];
        let mut line = |n: u64| {
            let content = format!("{{\"n\":{n}");
            chain = vermilion_crypto::sha256(&[&chain[..], content.as_bytes()].concat());
            format!("{content},\"chain\":\"{}\"}}", hex::encode(chain))
        };
        let lines: Vec<String> = (0..6).map(&mut line).collect();
        let last = line(u64::MAX);
        let read = |mut reading: Reading, lines: &[String]| lines.iter().map(|line| reading.take(line)).collect::<Vec<_>>();
        assert_eq!(read(Reading::from(0), &lines[..3]), [Some(0), Some(1), Some(2)]);
        assert_eq!(read(Reading::from(3), &lines[2..4]), [Some(2), Some(3)]);
        // Another than was asked for, or one taken out, does not hold; nor does the same one twice.
        assert_eq!(read(Reading::from(0), &lines[1..2]), [None]);
        assert_eq!(read(Reading::from(3), &lines[..1]), [None]);
        assert_eq!(read(Reading::from(0), &[lines[0].clone(), lines[2].clone(), lines[0].clone()]), [Some(0), None, None]);
        // Where the oldest went its chain is taken as it is, and nobody counts beyond the last number there is.
        let mut rotated = Reading::from(0);
        assert_eq!((rotated.begin_with(&lines[4]), rotated.take(&lines[4]), rotated.take(&lines[5])), (4, Some(4), Some(5)));
        assert_eq!((rotated.begin_with(&last), rotated.take(&last)), (u64::MAX, None));
    }
}
