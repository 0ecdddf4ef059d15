//! `vermilion trust`

use super::Context;
use crate::audit::{TrustFile, read_genesis_file};
use crate::config::Config;
use crate::error::{ClientError, Exit};
use crate::files::write_file;
use crate::receipt::Document;
use clap::{Args, Subcommand};
use serde_json::json;
use std::path::PathBuf;
use vermilion_ledger::{KeyKind, Trust, VerifierKey};
use vermilion_registry::{endorsement, ledger_id, pinned};

#[derive(Subcommand, Debug)]
pub enum TrustVerb {
    /// Write what a genesis gives rise to: its ledger key, its nodes' cosigning keys, and a quorum
    #[command(after_help = "Example:\n  \
        vermilion trust pin --genesis genesis.bin --quorum 3 --out trust.json\n\n\
        Compare the ledger id that it prints with one that you have from elsewhere:\n\
        whoever pins it agrees to this ledger.")]
    Pin(Pin),
    /// Take in the ledger keys that took the place of the one that is pinned, each with its endorsement
    #[command(after_help = "Examples:\n  \
        vermilion --config client.toml trust update --out trust-2.json\n  \
        vermilion trust update --trust trust.json --receipt licence.vmr \\\n      \
        --out trust-2.json\n\n\
        A later key is taken only if the record that endorses it is proved under a key\n\
        that is trusted already and by the quorum that is pinned. The nodes are asked,\n\
        or with --receipt a receipt that carries the endorsements, without a network.")]
    Update {
        /// What is trusted so far; the configuration's if not given
        #[arg(long, value_name = "FILE")]
        trust: Option<PathBuf>,
        /// A receipt whose endorsements are taken, instead of asking the nodes
        #[arg(long, value_name = "FILE")]
        receipt: Option<PathBuf>,
        /// The file to write; the one that was read if not given
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
    /// Pin the keys with which units sign: receipts of theirs are held against these, and not only against the nodes' word
    #[command(after_help = "Example:\n  \
        vermilion --config client.toml trust units 11440304MB0X010624 \\\n      \
        --out trust-2.json\n\n\
        Takes every key that the ledger ever registered for the unit. Compare what it\n\
        prints with what the unit says: from then on nobody who holds the nodes' keys\n\
        can make a receipt of this unit. Pin them again when the unit's people change.")]
    Units {
        /// USCCs
        #[arg(required = true, value_name = "USCC")]
        units: Vec<String>,
        /// What is trusted so far; the configuration's if not given
        #[arg(long, value_name = "FILE")]
        trust: Option<PathBuf>,
        /// The file to write; the one that was read if not given
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
}

#[derive(Args, Debug)]
pub struct Pin {
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
    /// Do without the ledger key's own signature, but where it endorses another key
    #[arg(long)]
    without_ledger_key: bool,
}

fn trust_file(context: &Context, file: Option<PathBuf>) -> Result<PathBuf, ClientError> {
    match (file, &context.config) {
        (Some(file), _) => Ok(file),
        (None, Some(path)) => Config::load(path)?.trust.ok_or_else(|| ClientError::config("trust", "the configuration names none")),
        (None, None) => Err(ClientError::Usage("say what is trusted: --trust FILE, or a configuration that names it".into())),
    }
}

/// What is trusted: the file named, else the configuration's.
pub fn load_trust(context: &Context, file: Option<PathBuf>) -> Result<Trust, ClientError> {
    TrustFile::load(&trust_file(context, file)?).map_err(|why| ClientError::config("trust", why))
}

async fn update(context: &Context, trust: Option<PathBuf>, receipt: Option<PathBuf>, out: Option<PathBuf>) -> Result<Exit, ClientError> {
    let file = trust_file(context, trust)?;
    let before = TrustFile::load(&file).map_err(|why| ClientError::config("trust", why))?;
    let after = match receipt {
        Some(path) => {
            let endorsements = Document::read(&path)?.receipt.endorsements;
            endorsement::extend(&before, &endorsements)
                .map_err(|e| ClientError::Usage(format!("{}: {} ({e})", path.display(), e.code())))?
        }
        None => context.client()?.endorsed_keys(&before).await?.trust,
    };
    let out = out.unwrap_or(file);
    let text = serde_json::to_string_pretty(&TrustFile::of(&after)).map_err(|e| ClientError::Usage(e.to_string()))?;
    write_file(&out, (text + "\n").as_bytes())?;
    let added = after.newer_keys().len().saturating_sub(before.newer_keys().len());
    let key = after.ledger_key_at(u64::MAX);
    let key = VerifierKey { name: after.settings().origin.clone(), kind: KeyKind::Note, key: *key }.to_string();
    context.out.answer(&json!({ "file": out.display().to_string(), "added": added, "ledger_key": key }), || {
        format!("{}\n  {added} 个新账本密钥 ledger keys added\n  现行 serves now  {key}", out.display())
    });
    Ok(Exit::Yes)
}

async fn pin_units(context: &Context, units: &[String], trust: Option<PathBuf>, out: Option<PathBuf>) -> Result<Exit, ClientError> {
    let path = trust_file(context, trust)?;
    let mut file = TrustFile::of(&TrustFile::load(&path).map_err(|why| ClientError::config("trust", why))?);
    let client = context.client()?;
    let (mut added, mut lines) = (serde_json::Map::new(), String::new());
    for unit in units {
        let keys: Vec<String> =
            client.operators(unit).await?.into_iter().filter_map(|s| s.operator).map(|o| hex::encode(o.public_key)).collect();
        if keys.is_empty() {
            return Err(ClientError::Usage(format!("the ledger knows no operator of {unit}")));
        }
        keys.iter().for_each(|key| lines += &format!("\n  {unit}  {key}"));
        added.insert(unit.clone(), json!(keys));
        file.units.insert(unit.clone(), keys);
    }
    // Whatever a node answered: what is written is read again.
    file.trust().map_err(ClientError::Usage)?;
    let out = out.unwrap_or(path);
    let text = serde_json::to_string_pretty(&file).map_err(|e| ClientError::Usage(e.to_string()))?;
    write_file(&out, (text + "\n").as_bytes())?;
    context.out.answer(&json!({ "file": out.display().to_string(), "units": added }), || format!("{}{lines}", out.display()));
    Ok(Exit::Yes)
}

pub async fn run(context: &Context, verb: TrustVerb) -> Result<Exit, ClientError> {
    match verb {
        TrustVerb::Update { trust, receipt, out } => update(context, trust, receipt, out).await,
        TrustVerb::Units { units, trust, out } => pin_units(context, &units, trust, out).await,
        TrustVerb::Pin(pin) => write_pinned(context, pin),
    }
}

fn write_pinned(context: &Context, pin: Pin) -> Result<Exit, ClientError> {
    let Pin { genesis, quorum, out, one_of_city, outside, outside_need, without_ledger_key } = pin;
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
        Some(path) => write_file(path, (text + "\n").as_bytes())?,
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
