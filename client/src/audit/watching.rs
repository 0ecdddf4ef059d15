//! `vermilion audit --watch`: from arguments to rounds, alarms told everywhere, and an exit code.

use super::alarm::{Alarm, Kind, metrics, write_whole};
use super::cli::{Vouched, complain, fail, line, said_twice, trusted, unwritten, vouched};
use super::watch::{Patience, Watch};
use super::web::{Believed, Web};
use super::{Access, AuditArgs, CANNOT_READ, CLEAN, FOUND, USAGE};
use crate::clock::{LONGEST_WAIT_S, now_ms};
use crate::visible::json_line;
use clap::Args;
use std::collections::BTreeMap;
use std::io::{ErrorKind, Write};
use std::path::PathBuf;
use std::pin::pin;
use std::time::Duration;
use tokio::task::JoinSet;

/// What a watch is told.
#[derive(Args, Clone, Debug, Default)]
pub struct WatchArgs {
    /// Stay, follow the nodes' checkpoints, and raise an alarm on a fork, a rollback, a divergence, a stalled node, a quorum that does not come
    #[arg(long)]
    pub watch: bool,
    /// Seconds between two rounds, at most a year
    #[arg(long, value_name = "SECONDS", default_value_t = 10, requires = "watch", value_parser = clap::value_parser!(u64).range(..=LONGEST_WAIT_S))]
    pub interval: u64,
    /// Seconds after which a node that stays behind, or cannot be asked, is stalled, and one is told of that is not ready or shows what no quorum has signed, at most a year
    #[arg(long, value_name = "SECONDS", default_value_t = 300, requires = "watch", value_parser = clap::value_parser!(u64).range(..=LONGEST_WAIT_S))]
    pub stall: u64,
    /// End after so many rounds
    #[arg(long, value_name = "N", requires = "watch")]
    pub rounds: Option<u64>,
    /// Go on after a grave alarm (fork, rollback, divergence), which else ends the watch
    #[arg(long, requires = "watch")]
    pub keep_watching: bool,
    /// Where to keep what was seen, and the evidence; else in the configuration's state folder
    #[arg(long, value_name = "DIR", requires = "watch")]
    pub keep: Option<PathBuf>,
    /// Where to post every alarm as JSON; over https under the authorities that --ca names
    #[arg(long, value_name = "URL", requires = "watch")]
    pub webhook: Option<String>,
    /// A file of figures in Prometheus' text format, written anew each round
    #[arg(long, value_name = "FILE", requires = "watch")]
    pub metrics: Option<PathBuf>,
}

/// The least that a node is given for one look, its checkpoint and all that proves it.
const LOOK: Duration = Duration::from_secs(30);

/// Runs the watch until it is stopped, has done its rounds, nobody reads what it writes to `out` any longer,
/// or a grave alarm ends it, with the round in which it was raised. Exit code 1 if any alarm was raised.
pub async fn run(args: &AuditArgs, json: bool, access: &Access, out: &mut (dyn Write + Send)) -> u8 {
    let (watch, webhook) = match prepare(args, access) {
        Ok(prepared) => prepared,
        Err(why) => return fail(json, USAGE, &why),
    };
    let mut posts = JoinSet::new();
    let code = follow(watch, webhook, &mut posts, &args.watch, json, out).await;
    // However it ended: what was raised is posted.
    while posts.join_next().await.is_some() {}
    code
}

async fn follow(
    mut watch: Watch,
    webhook: Option<Web>,
    posts: &mut JoinSet<()>,
    asked: &WatchArgs,
    json: bool,
    out: &mut (dyn Write + Send),
) -> u8 {
    let mut raised: BTreeMap<Kind, u64> = BTreeMap::new();
    let mut interrupted = pin!(tokio::signal::ctrl_c());
    let figures = |watch: &Watch, raised: &BTreeMap<Kind, u64>| {
        asked
            .metrics
            .as_ref()
            .map_or(Ok(()), |file| write_whole(file, metrics(&watch.standing(), watch.base(), raised, now_ms()).as_bytes()))
    };
    let mut grave = false;
    'rounds: for round in 1u64.. {
        let mut looks = watch.look();
        loop {
            let look = tokio::select! {
                look = looks.next() => look,
                _ = &mut interrupted => break 'rounds,
            };
            let Some(look) = look else { break };
            let alarms = match watch.judge(look, now_ms()) {
                Ok(alarms) => alarms,
                Err(why) => return fail(json, CANNOT_READ, &why),
            };
            if alarms.is_empty() {
                continue;
            }
            for alarm in &alarms {
                *raised.entry(alarm.kind).or_default() += 1;
                grave |= alarm.kind.is_grave();
                if let Some(webhook) = webhook.clone() {
                    posts.spawn(post(alarm.to_json().to_string(), json, webhook));
                }
            }
            // Standard output comes last, and what cannot be written keeps nobody else from being told.
            let figures = figures(&watch, &raised);
            let said = |alarm: &Alarm| match json {
                true => json_line(&alarm.to_json()),
                false => alarm.to_text(),
            };
            let told = alarms.iter().try_for_each(|alarm| line(out, &said(alarm)));
            if let Err(why) = figures {
                return fail(json, CANNOT_READ, &why);
            }
            match told {
                Err(error) if error.kind() == ErrorKind::BrokenPipe => break 'rounds,
                Err(error) => return unwritten(json, &error),
                Ok(()) => {}
            }
        }
        while posts.try_join_next().is_some() {}
        if let Err(why) = figures(&watch, &raised) {
            return fail(json, CANNOT_READ, &why);
        }
        if grave && !asked.keep_watching || asked.rounds.is_some_and(|rounds| round >= rounds) {
            break;
        }
        tokio::select! {
            () = tokio::time::sleep(Duration::from_secs(asked.interval.max(1))) => {}
            _ = &mut interrupted => break,
        }
    }
    if raised.is_empty() { CLEAN } else { FOUND }
}

/// The alarm is kept already and told here too: a webhook that is away does not end the watch.
async fn post(alarm: String, json: bool, webhook: Web) {
    if let Err(why) = webhook.post_json(alarm).await {
        complain(json, "webhook", &format!("the webhook did not take the alarm: {why}"));
    }
}

fn prepare(args: &AuditArgs, access: &Access) -> Result<(Watch, Option<Web>), String> {
    if !args.data_dirs.is_empty() {
        return Err("a watch follows running nodes: leave --data-dir out".into());
    }
    let trust = trusted(args, access)?.ok_or("a watch must know whom to trust: give --trust, or a configuration that names one")?;
    let folder = match (&args.watch.keep, &access.state_dir) {
        (Some(folder), _) => folder.clone(),
        (None, Some(state)) => state.join("watch"),
        (None, None) => return Err("name a folder for what was seen (--keep), or a configuration".into()),
    };
    let vouched = vouched(args, access)?;
    let webhook = args.watch.webhook.as_deref().map(|url| Web::over(url, vouched.named.clone())).transpose()?;
    let patience = Patience { stall: Duration::from_secs(args.watch.stall), look: Duration::from_secs(args.watch.interval).max(LOOK) };
    let watch = Watch::open(places(args, access, &vouched)?, trust, &folder, patience, now_ms())?;
    Ok((watch, webhook))
}

/// The places that are followed: those of tiles, and of nodes by name; given neither, all nodes of the
/// configuration. These are asked over TLS where the ledger connects so.
fn places(args: &AuditArgs, access: &Access, vouched: &Vouched) -> Result<Vec<(String, Web)>, String> {
    let url = |scheme: &str, address: &str| if address.contains("://") { address.to_owned() } else { format!("{scheme}://{address}") };
    let scheme = if vouched.ledger.is_some() { "https" } else { "http" };
    let place = |name: &str, address: &str| {
        let config = access.dialer.as_ref().map(|dialer| dialer.public_config(Some(name))).transpose().map_err(|e| e.to_string())?;
        Web::over(&url(scheme, address), config.flatten().map(Believed::of_nodes))
    };
    let mut out = Vec::new();
    for tiles in &args.tiles {
        out.push((tiles.clone(), Web::over(&url("http", tiles), vouched.for_tiles())?));
    }
    let named = args.nodes.as_deref().unwrap_or_default();
    for name in named {
        let (name, http) =
            access.http.iter().find(|(known, _)| known == name).ok_or(format!("the configuration has no REST address of {name}"))?;
        out.push((name.clone(), place(name, http)?));
    }
    if named.is_empty() && (args.nodes.is_some() || args.tiles.is_empty()) {
        for (name, http) in &access.http {
            out.push((name.clone(), place(name, http)?));
        }
    }
    let bases: Vec<String> = out.iter().map(|(_, web)| web.base().to_owned()).collect();
    if let Some(base) = said_twice(&bases) {
        return Err(format!("{base}: this place is named twice: it would be two that agree"));
    }
    if out.is_empty() {
        return Err("name places of tiles (--tiles), or a configuration whose nodes have REST addresses".into());
    }
    Ok(out)
}
