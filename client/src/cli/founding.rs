//! `vermilion founding …`: a new ledger, made at one table.

use super::Context;
use super::output::table;
use crate::clock::now_ms;
use crate::config::KeySource;
use crate::error::{ClientError, Exit};
use crate::files::write_file;
use crate::founding::{Plan, found};
use crate::keyring::{HeldKey, Passphrase, write_secret};
use clap::Subcommand;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use vermilion_crypto::SigningKey;
use vermilion_identity::founding::Founder;
use vermilion_proto::FoundingOperator;
use vermilion_registry::codes::uscc;
use vermilion_registry::policy;
use vermilion_registry::posts::is_post_name;

#[derive(Subcommand, Debug)]
pub enum FoundingVerb {
    /// Ask to be one of the first operators: the key is made here if it is not there yet, and stays here
    #[command(after_help = "Example:\n  \
        vermilion founding operator --unit 11440300MB0X010112 --posts approve \\\n      \
        --key approve.pem --out approve.request\n\n\
        An administrator's second key asks for itself, in the post second-key; the plan\n\
        names the same person. Compare the fingerprint that it prints with the one that\n\
        the table shows.")]
    Operator {
        /// USCC of the city's managing unit
        #[arg(long, value_name = "USCC")]
        unit: String,
        /// The posts
        #[arg(long, required = true, value_delimiter = ',')]
        posts: Vec<String>,
        /// The key: its file, or the URI of a key that is on a PKCS#11 token (pkcs11:token=…;object=…)
        #[arg(long, value_name = "FILE|URI")]
        key: KeySource,
        /// A file whose first line is the key's passphrase
        #[arg(long, value_name = "FILE")]
        passphrase_file: Option<PathBuf>,
        /// The file to write
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
    },
    /// Show what requests say, and whether their keys signed them
    #[command(after_help = "Example:\n  vermilion founding show city.request futian.request approve.request")]
    Show {
        /// Requests of nodes and operators
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
    },
    /// Make the ledger by a plan, on a machine without a network 创立账本
    #[command(after_help = "Example:\n  \
        vermilion founding make --plan plan.toml --out ledger\n\n\
        Writes into the new folder: genesis.bin, trust.json and client.toml for\n\
        everybody; nodes/NAME.package, which that node alone can open (`vermiliond\n\
        receive`); operators/NAME.cert.pem; and safe/, the ledger's own keys under a\n\
        passphrase of their own.\n\
        Read the ledger id out at the table: whoever writes it down has agreed to this\n\
        ledger. Take safe/ to a safe, on paper or a disk, and off this machine: with\n\
        its last copy of the ledger key a ledger loses its name.\n\
        The plan's form: docs/formats.md §33.")]
    Make {
        /// The plan, in TOML
        #[arg(long, value_name = "FILE")]
        plan: PathBuf,
        /// The folder to make
        #[arg(long, value_name = "DIR")]
        out: PathBuf,
        /// A file whose first line is the issuing key's passphrase
        #[arg(long, value_name = "FILE")]
        passphrase_file: Option<PathBuf>,
        /// A file whose first line is the passphrase of the copies for the safe
        #[arg(long, value_name = "FILE")]
        safe_passphrase_file: Option<PathBuf>,
    },
}

pub fn run(context: &Context, verb: FoundingVerb) -> Result<Exit, ClientError> {
    match verb {
        FoundingVerb::Operator { unit, posts, key, passphrase_file, out } => {
            check(context, &unit, &posts)?;
            let passphrase = Passphrase::new(passphrase_file);
            if let KeySource::File(path) = &key
                && !path.exists()
            {
                write_secret(path, &SigningKey::generate()?.seed(), Some(passphrase.get_new("--passphrase-file")?.as_slice()))?;
            }
            let key = HeldKey::open(&key, &passphrase)?;
            let request = FoundingOperator { unit, posts, ..FoundingOperator::default() };
            let made = Founder::operator(request, &*key.signer).map_err(|e| ClientError::Usage(e.to_string()))?;
            write_file(&out, &made)?;
            show(context, &[out])
        }
        FoundingVerb::Show { files } => show(context, &files),
        FoundingVerb::Make { plan, out, passphrase_file, safe_passphrase_file } => {
            make(context, &Plan::load(&plan)?, &out, &Passphrase::new(passphrase_file), &Passphrase::new(safe_passphrase_file))
        }
    }
}

/// What the table would refuse, before a key is made. Posts that the plan's policy defines are known there alone.
fn check(context: &Context, unit: &str, posts: &[String]) -> Result<(), ClientError> {
    if !uscc::is_valid(unit) {
        return Err(ClientError::Usage(format!("--unit: {unit} is no USCC (GB 32100): its form or its check character is wrong")));
    }
    if let Some(post) = posts.iter().find(|post| !is_post_name(post)) {
        return Err(ClientError::Usage(format!("--posts: {post:?} is no post's name: lower-case letters, digits and hyphens")));
    }
    let defined =
        policy::defaults(true).into_iter().find(|entry| entry.key == "posts.defined").map(|entry| entry.value).unwrap_or_default();
    if let Some(post) = posts.iter().find(|post| !defined.split(' ').any(|known| known == post.as_str())) {
        context.out.note(&format!("{post} is no post unless the plan's policy posts.defined names it; there are: {defined}"));
    }
    Ok(())
}

fn show(context: &Context, files: &[PathBuf]) -> Result<Exit, ClientError> {
    let mut values = Vec::new();
    let mut rows = Vec::new();
    for file in files {
        let bytes = std::fs::read(file).map_err(|e| ClientError::file(file, e))?;
        let founder = Founder::read(&bytes).map_err(|e| ClientError::config(file.display().to_string(), e.to_string()))?;
        let (file, fingerprint) = (file.display().to_string(), founder.fingerprint());
        let (kind, who, what) = match founder {
            Founder::Node(node) => {
                let addresses: Vec<String> =
                    [node.peer_address, node.rest_address, node.enrolment_address].into_iter().filter(|a| !a.is_empty()).collect();
                ("节点 node", format!("{} {}", node.name, node.district), addresses.join(" "))
            }
            Founder::Operator(operator) => ("操作人员 operator", operator.unit, operator.posts.join(",")),
        };
        values.push(json!({ "file": file, "of": kind.rsplit(' ').next(), "who": who, "what": what, "fingerprint": fingerprint }));
        rows.push(vec![file, kind.to_owned(), who, what, fingerprint]);
    }
    context.out.answer(&Value::Array(values), || table(&["文件 file", "类别 of", "谁 who", "地址或岗位 what", "指纹 fingerprint"], &rows));
    Ok(Exit::Yes)
}

fn make(context: &Context, plan: &Plan, out: &Path, passphrase: &Passphrase, safe: &Passphrase) -> Result<Exit, ClientError> {
    let founded = found(plan, passphrase, now_ms())?;
    founded.write(out, safe)?;
    let (id, folder) = (hex::encode(founded.ledger_id), out.display().to_string());
    let founders: Vec<Value> =
        founded.founders.iter().map(|(name, fingerprint)| json!({ "name": name, "fingerprint": fingerprint })).collect();
    let answer = json!({
        "ledger_id": id, "folder": folder, "nodes": founded.genesis.nodes.len(), "operators": founded.genesis.operators.len(),
        "founders": founders,
    });
    context.out.answer(&answer, || {
        let rows: Vec<Vec<String>> = founded.founders.iter().map(|(name, fingerprint)| vec![name.clone(), fingerprint.clone()]).collect();
        format!(
            "{folder}\n  账本标识 ledger id   {id}\n{}\n  下一步 next          vermiliond receive --config node.toml --package {folder}/nodes/NAME.package --ledger {id}\n  \
             保险柜 safe          take {folder}/safe away from this machine",
            table(&["创立者 founder", "指纹 fingerprint"], &rows)
        )
    });
    Ok(Exit::Yes)
}
