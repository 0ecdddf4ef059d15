//! `vermilion trust`

use super::Context;
use crate::audit::{TrustFile, read_genesis_file};
use crate::config::Config;
use crate::error::{ClientError, Exit};
use clap::Subcommand;
use serde_json::json;
use std::path::PathBuf;
use vermilion_ledger::Trust;
use vermilion_registry::{ledger_id, pinned};

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

/// What is trusted: the file named, else the configuration's.
pub fn load_trust(context: &Context, file: Option<PathBuf>) -> Result<Trust, ClientError> {
    let file = match (file, &context.config) {
        (Some(file), _) => file,
        (None, Some(path)) => Config::load(path)?.trust.ok_or_else(|| ClientError::config("trust", "the configuration names none"))?,
        (None, None) => return Err(ClientError::Usage("say what is trusted: --trust FILE, or a configuration that names it".into())),
    };
    TrustFile::load(&file).map_err(|why| ClientError::config("trust", why))
}

pub fn run(context: &Context, verb: TrustVerb) -> Result<Exit, ClientError> {
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
