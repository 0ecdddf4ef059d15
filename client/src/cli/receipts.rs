//! `vermilion receipt …` and `vermilion trust …`

use super::Context;
use super::operators::unhex;
use crate::audit::{TrustFile, read_genesis_file};
use crate::clock::show_ms;
use crate::config::Config;
use crate::error::{ClientError, Exit};
use crate::receipt::{self, ReceiptCheck, Verdict};
use clap::{Args, Subcommand};
use serde_json::json;
use std::path::PathBuf;
use vermilion_ledger::Trust;
use vermilion_proto::ReceiptRequest;
use vermilion_registry::{ledger_id, pinned};

#[derive(Subcommand, Debug)]
pub enum ReceiptVerb {
    /// Get the receipt of a licence, or of a command's record
    #[command(
        after_help = "Example:\n  vermilion receipt get ID --out licence.vmr\n  vermilion receipt get --command 5f…a0 --out record.vmr"
    )]
    Get(Get),
    /// Check a receipt without any network: exit 0 if everything holds, 1 if not
    #[command(after_help = "Example:\n  vermilion receipt check licence.vmr --trust trust.json\n\n\
        Says by itself each: genuine (the record is in the ledger), issued by (the unit signed it), unaltered, as of when,\n\
        cosigned by which nodes. It does not say today's status: ask `licence status` or make a `verify`.")]
    Check {
        /// The receipt's file
        file: PathBuf,
        /// What is trusted; the configuration's if not given
        #[arg(long, value_name = "FILE")]
        trust: Option<PathBuf>,
    },
}

#[derive(Args, Debug)]
pub struct Get {
    /// The licence's identifier
    #[arg(value_name = "ID", required_unless_present = "command")]
    identifier: Option<String>,
    /// The id of a command, in hex, instead
    #[arg(long, value_name = "HEX", conflicts_with = "identifier")]
    command: Option<String>,
    /// The file to write
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

#[derive(Subcommand, Debug)]
pub enum TrustVerb {
    /// Write what a genesis gives rise to: its ledger key, its nodes' cosigning keys, and a quorum
    #[command(after_help = "Example:\n  vermilion trust pin --genesis genesis.bin --quorum 3 --out trust.json\n\n\
        Compare the ledger id that it prints with one that you have from elsewhere: whoever pins it agrees to this ledger.")]
    Pin {
        /// The genesis payload
        #[arg(long, value_name = "FILE")]
        genesis: PathBuf,
        /// How many nodes must have cosigned; if not given, as many as keep one stolen node from showing two histories
        #[arg(long)]
        quorum: Option<usize>,
        /// The file to write; standard output if not given
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
        /// Let the quorum be one of the city's nodes and the others of districts'
        #[arg(long)]
        one_of_city: bool,
        /// The verifier key of a witness outside the ledger's nodes; may be given more than once
        #[arg(long, value_name = "KEY")]
        outside: Vec<String>,
        /// How many of those must have cosigned too
        #[arg(long, value_name = "COUNT", default_value_t = 0)]
        outside_need: usize,
        /// Do without the ledger key's own signature
        #[arg(long)]
        without_ledger_key: bool,
    },
}

pub async fn run_receipt(context: &Context, verb: ReceiptVerb) -> Result<Exit, ClientError> {
    match verb {
        ReceiptVerb::Get(args) => get(context, args).await,
        ReceiptVerb::Check { file, trust } => {
            let trust = load_trust(context, trust)?;
            let checked = receipt::check(&receipt::read_file(&file)?, &trust);
            context.out.answer(&checked.json(), || text(&checked));
            Ok(if checked.holds() { Exit::Yes } else { Exit::No })
        }
    }
}

async fn get(context: &Context, args: Get) -> Result<Exit, ClientError> {
    let client = context.client()?;
    let command_id = args.command.map(|c| unhex::<32>(&c, "the command's id")).transpose()?;
    let request =
        ReceiptRequest { command_id: command_id.map(|c| c.to_vec()).unwrap_or_default(), identifier: args.identifier.unwrap_or_default() };
    let asker = if request.identifier.is_empty() { None } else { Some(client.asker(None)?) };
    let receipt = client.connection.receipt(&request, asker.as_ref()).await?;
    receipt::write_file(&args.out, &receipt)?;
    let digest = hex::encode(receipt::digest(&receipt));
    let file = args.out.display().to_string();
    context.out.answer(&json!({ "file": file, "size": receipt.tree_size, "sha256": digest }), || {
        format!("{file}\n  截至 as of checkpoint {}\n  sha256 {digest}", receipt.tree_size)
    });
    Ok(Exit::Yes)
}

fn load_trust(context: &Context, file: Option<PathBuf>) -> Result<Trust, ClientError> {
    let file = match (file, &context.config) {
        (Some(file), _) => file,
        (None, Some(path)) => Config::load(path)?.trust.ok_or_else(|| ClientError::config("trust", "the configuration names none"))?,
        (None, None) => return Err(ClientError::Usage("say what is trusted: --trust FILE, or a configuration that names it".into())),
    };
    TrustFile::load(&file).map_err(|why| ClientError::config("trust", why))
}

fn text(checked: &ReceiptCheck) -> String {
    let line = |label: &str, verdict: &Verdict, more: String| match verdict {
        Ok(()) => format!("  ✓ {label}  {more}\n"),
        Err(why) => format!("  ✗ {label}  {why} {more}\n"),
    };
    let record = checked.record.map(|(seq, time)| format!("记录 record {seq}, {}", show_ms(time))).unwrap_or_default();
    let mut out = String::from("存证凭证 receipt\n");
    out += &line("真实 genuine    ", &checked.genuine, record);
    out += &line("签发 issued by  ", &checked.issued, format!("{} ({})", checked.issuer, checked.posts.join("+")));
    let licence = checked
        .item
        .as_ref()
        .map(|i| if i.identifier.is_empty() { format!("{} (个人标识 personal)", i.type_code) } else { i.identifier.clone() });
    out += &line("未改 unaltered  ", &checked.unaltered, licence.unwrap_or_default());
    for field in &checked.fields {
        out += &format!("      {} = {}\n", field.name, field.value);
    }
    if let Some(checkpoint) = &checked.checkpoint {
        let time = checked.as_of_ms().map(show_ms).unwrap_or_else(|| "—".into());
        out += &format!("  截至 as of        checkpoint {}, {time}\n", checkpoint.size);
        for cosigner in &checkpoint.cosigners {
            out += &format!("  见证 cosigned by  {}, {}\n", cosigner.name, show_ms(cosigner.time_s.saturating_mul(1000)));
        }
    }
    out + "  未说明现时状态 Today's status is not part of a receipt.\n"
}

pub fn run_trust(context: &Context, verb: TrustVerb) -> Result<Exit, ClientError> {
    let TrustVerb::Pin { genesis, quorum, out, one_of_city, outside, outside_need, without_ledger_key } = verb;
    let payload = read_genesis_file(&genesis).map_err(|why| ClientError::config("genesis", why))?;
    let read = pinned::read_genesis(&payload).ok_or_else(|| ClientError::config("genesis", "the file is no genesis payload"))?;
    let trust = pinned::trust_of(&read, ledger_id(&payload), quorum, !without_ledger_key).map_err(|e| ClientError::Usage(e.to_string()))?;
    let city = if one_of_city { pinned::city_witnesses(&read) } else { Vec::new() };
    if one_of_city && city.is_empty() {
        return Err(ClientError::Usage("the genesis names no node of the city".into()));
    }
    let file = TrustFile { city, outside, outside_need, ..TrustFile::of(&trust) };
    let trust = file.trust().map_err(ClientError::Usage)?;
    let text = serde_json::to_string_pretty(&file).map_err(|e| ClientError::Usage(e.to_string()))?;
    match &out {
        Some(path) => std::fs::write(path, text + "\n").map_err(|e| ClientError::file(path, e))?,
        None => context.out.line(&text),
    }
    if let Some(path) = &out {
        let settings = trust.settings();
        let (id, n, k) = (hex::encode(settings.ledger_id), settings.witnesses.len(), settings.quorum);
        let stolen = trust.holds_against();
        context.out.answer(
            &json!({ "file": path.display().to_string(), "ledger_id": id, "witnesses": n, "quorum": k, "holds_against": stolen }),
            || {
                let holds = match stolen {
                    Some(f) => format!("{f} stolen nodes cannot show two histories"),
                    None => "too few to keep stolen nodes from showing two histories; it only lets others detect it".to_owned(),
                };
                format!("{}\n  ledger id {id}\n  quorum {k} of {n}: {holds}", path.display())
            },
        );
    }
    Ok(Exit::Yes)
}
