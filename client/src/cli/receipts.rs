//! `vermilion receipt`

use super::Context;
use super::challenge::Challenge;
use super::operators::unhex;
use super::receipt_check::{Check, check};
use super::uses::using_unit;
use crate::client::Client;
use crate::clock::{now_ms, until};
use crate::error::{ClientError, Exit};
use crate::files::{read_at_most, write_file};
use crate::receipt::{AHEAD_MS, Document, Form, ReceiptCheck, disclose};
use clap::{Args, Subcommand};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use vermilion_crypto::{SigningKey, sha256};
use vermilion_ledger::Trust;
use vermilion_proto::{LicenceItem, ReceiptRequest};
use vermilion_registry::Kind;
use vermilion_registry::codes::identifier::Identifier;
use vermilion_registry::reason::Reason;

/// The pause between two looks at whether the missing cosignatures have come.
const PAUSE: Duration = Duration::from_millis(250);

#[derive(Subcommand, Debug)]
pub enum ReceiptVerb {
    /// Get the receipt of a licence with its status, or of a command's record
    #[command(after_help = "Examples:\n  \
        vermilion receipt get ID --out licence.vmr\n  \
        vermilion receipt get ID --use 5f…a0 --disclosures use.json \\\n      \
        --out licence.vmr\n  \
        vermilion receipt get --command 5f…a0 --out record.vmr --form tlog-proof\n\n\
        The status is in it for whoever may ask for it: for an open type anybody (over\n\
        TLS with some unit's certificate), else the issuing unit, who answers a\n\
        challenge, or who has just recorded a use of the licence (--use, for ten\n\
        minutes).\n\n\
        With --registrations it shows by which records of the ledger the keys that\n\
        signed were registered for the unit, where its check rests on the nodes' word\n\
        else. Without them it has at most 4 KB, in a ledger of ten million records too;\n\
        with them about twice that, and the whole genesis where a founder signed. They\n\
        show people's posts, under tags, to whoever is shown the receipt.\n\n\
        What comes is held against what is trusted: exit 0 if as many have cosigned as\n\
        that asks for. If they have not within --patience, it is written as it is and\n\
        exit 3 says so: it does not hold, and is to be got again. With --fresh nothing\n\
        is written then. Exit 1 if it does not hold for another reason.")]
    Get(Get),
    /// Add fields that you hold to a receipt: each is checked against what was signed
    #[command(after_help = "Example:\n  \
        vermilion --json use ID --case 2026-17 --purpose 开立账户 --item 00044A \\\n      \
        > use.json\n  \
        vermilion receipt disclose licence.vmr --from use.json --fields address \\\n      \
        --out shown.vmr")]
    Disclose(Disclose),
    /// Check receipts without any network: exit 0 if everything holds, 1 if not, 2 a file that cannot be opened, 5 too old, 6 not valid
    #[command(after_help = "Example:\n  \
        vermilion receipt check licence.vmr --trust trust.json --max-age 24h\n\n\
        Says by itself each: genuine (the record is in the ledger), issued by (the unit\n\
        signed it, by keys that are its own as they are pinned, as records register\n\
        them, or as the nodes say), unaltered, the status as of when, cosigned by which\n\
        nodes, how old.\n\
        It knows every form by its beginning. Of several receipts the worst decides: 1,\n\
        then 2, then 5, then 6. A receipt without a status says so; with --need-status\n\
        it counts as not valid. A licence out of its term is not valid in any case.")]
    Check(Check),
}

#[derive(Args, Debug)]
pub struct Get {
    /// The licence's identifier
    #[arg(value_name = "ID", required_unless_present = "command")]
    identifier: Option<String>,
    /// The id of a command, in hex, instead
    #[arg(long, value_name = "HEX", conflicts_with_all = ["identifier", "challenge", "challenge_file"])]
    command: Option<String>,
    /// The file to write
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// How it is written
    #[arg(long, value_enum, default_value = "binary")]
    form: Form,
    /// The id of your recorded use of the licence, in hex: it opens the status to you
    #[arg(long = "use", value_name = "HEX", conflicts_with = "command")]
    use_command: Option<String>,
    /// The unit that asks; with --use the first with a user's key here, else the issuing one if its key is here, else the first with a key
    #[arg(long, value_name = "USCC")]
    unit: Option<String>,
    #[command(flatten)]
    challenge: Challenge,
    /// Fields that you hold: a file of disclosures, or an answer of `vermilion use --json`
    #[arg(long, value_name = "FILE", conflicts_with = "command")]
    disclosures: Option<PathBuf>,
    /// Have the leader commit first, so that the status is of this moment; no older one is taken in its place
    #[arg(long)]
    fresh: bool,
    /// Carry the records that registered the keys that signed: 2 to 4 KB more for a unit's licence
    #[arg(long)]
    registrations: bool,
}

#[derive(Args, Debug)]
pub struct Disclose {
    /// The receipt's file
    file: PathBuf,
    /// A file of disclosures, one a line, or an answer of `vermilion use --json`
    #[arg(long, value_name = "FILE")]
    from: PathBuf,
    /// Only these fields; all that are of this licence if not given
    #[arg(long, value_delimiter = ',')]
    fields: Vec<String>,
    /// The file to write
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// How it is written; as it was if not given
    #[arg(long, value_enum)]
    form: Option<Form>,
}

pub async fn run_receipt(context: &Context, verb: ReceiptVerb) -> Result<Exit, ClientError> {
    match verb {
        ReceiptVerb::Get(args) => get(context, args).await,
        ReceiptVerb::Disclose(args) => add_fields(context, args),
        ReceiptVerb::Check(args) => check(context, args),
    }
}

async fn get(context: &Context, args: Get) -> Result<Exit, ClientError> {
    let client = context.client()?;
    let bytes_of =
        |hex: Option<&String>, what| hex.map(|c| unhex::<32>(c, what)).transpose().map(|c| c.map(|c| c.to_vec()).unwrap_or_default());
    let (challenge_field, challenge_value) = args.challenge.read()?.unwrap_or_default();
    // What comes is judged by it: that it cannot be read is said before anybody is asked.
    let trust = client.trusted()?;
    let fields = match &args.disclosures {
        Some(_) if args.form == Form::Cose => return Err(ClientError::Usage("to a COSE receipt no fields are added here".into())),
        Some(file) => Some(disclosures(file)?),
        None => None,
    };
    let request = ReceiptRequest {
        command_id: bytes_of(args.command.as_ref(), "the command's id")?,
        identifier: args.identifier.unwrap_or_default(),
        use_command: bytes_of(args.use_command.as_ref(), "the use's id")?,
        challenge_field,
        challenge_value: challenge_value.to_string(),
        registrations: args.registrations,
        ..Default::default()
    };
    let asked_ms = now_ms();
    let put = |asker: Option<SigningKey>| {
        let (client, trust, mut request, fresh, form) = (&client, &trust, request.clone(), args.fresh, args.form);
        async move {
            if let (true, Some(asker)) = (fresh, &asker) {
                request.at_least_size = client.connection.commit_at_leader(asker).await?;
            }
            ask(client, request, asker.as_ref(), form, trust).await
        }
    };
    let got = match (request.identifier.is_empty(), args.unit) {
        (true, _) if !args.fresh && !args.registrations => put(None).await?,
        (_, unit) => {
            let unit = match unit {
                // A use opens the licence to the unit that used it.
                None if !request.use_command.is_empty() => using_unit(&client, &client.post_rule(Kind::Use).await?),
                unit => unit,
            };
            let unit = unit.or_else(|| issuing_unit_here(&client, &request.identifier));
            client.asking(unit.as_deref(), |key| put(Some(key))).await?
        }
    };
    // How large the ledger was one node alone has said.
    if args.fresh && got.checked.as_of_ms().is_none_or(|at| at.saturating_add(AHEAD_MS) < asked_ms) {
        return Err(ClientError::BadAnswer("the receipt is older than the question".into()));
    }
    let (bytes, document) = match fields {
        None => (got.bytes, got.document),
        Some(fields) => {
            let mut document = got.document;
            disclose::add(&mut document.receipt, &fields, &[]).map_err(ClientError::Usage)?;
            (document.encode(args.form).map_err(ClientError::BadAnswer)?, document)
        }
    };
    written(context, &args.out, &bytes, &document, Some(&got.checked))
}

/// A receipt as a node gave it.
struct Got {
    bytes: Vec<u8>,
    document: Document,
    checked: ReceiptCheck,
}

/// Asks until as many have cosigned as is trusted, or patience ends: then it is what there is. A node waits by
/// itself, for what it counts as enough.
async fn ask(
    client: &Client,
    mut request: ReceiptRequest,
    asker: Option<&SigningKey>,
    form: Form,
    trust: &Trust,
) -> Result<Got, ClientError> {
    let until = until(client.connection.ask_patience);
    let left = || until.saturating_duration_since(Instant::now());
    loop {
        // Not 0: that stands for all of patience.
        request.wait_ms = u32::try_from(left().as_millis()).unwrap_or(u32::MAX).max(1);
        let bytes = match form {
            Form::Cose => client.connection.cose_receipt(&request, asker).await?,
            form => Document::new(client.connection.receipt(&request, asker).await?).encode(form).map_err(ClientError::BadAnswer)?,
        };
        let document = Document::parse(&bytes).map_err(ClientError::BadAnswer)?;
        if document.receipt.tree_size < request.at_least_size {
            return Err(ClientError::BadAnswer("the receipt is older than what was asked for".into()));
        }
        let checked = document.check(trust);
        is_asked(&request, &document, &checked).map_err(|why| ClientError::BadAnswer(why.into()))?;
        if checked.lacks().is_none() {
            return Ok(Got { bytes, document, checked });
        }
        if left() <= PAUSE {
            // The nodes may be content with fewer than are pinned here. Of now there is no receipt with fewer either.
            let now = request.at_least_size > 0;
            return if now { Err(Reason::NotCosigned.into()) } else { Ok(Got { bytes, document, checked }) };
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Whether a receipt is of what was asked for. A personal identifier does not stand in it, but the licence's type and version do.
fn is_asked(request: &ReceiptRequest, document: &Document, checked: &ReceiptCheck) -> Result<(), &'static str> {
    let command = checked.command.is_some_and(|id| id.as_slice() == request.command_id);
    let item = |item: &LicenceItem| match Identifier::parse(&request.identifier) {
        Ok(asked) if item.identifier.is_empty() => item.type_code == asked.type_code() && item.version == u32::from(asked.version()),
        Ok(asked) => item.identifier == asked.as_str(),
        Err(_) => item.identifier == request.identifier,
    };
    if (!request.command_id.is_empty() && !command) || (!request.identifier.is_empty() && !checked.item.as_ref().is_some_and(item)) {
        return Err("the receipt is of something else");
    }
    if request.registrations && document.receipt.registrations.is_empty() {
        return Err("the registrations that were asked for are not in the receipt");
    }
    Ok(())
}

/// The issuing unit, which may ask for the status, if a key of it is here.
fn issuing_unit_here(client: &Client, identifier: &str) -> Option<String> {
    let unit = Identifier::parse(identifier).ok()?.authority().to_owned();
    client.has_key_of(&unit).then_some(unit)
}

fn add_fields(context: &Context, args: Disclose) -> Result<Exit, ClientError> {
    let mut document = Document::read(&args.file)?;
    disclose::add(&mut document.receipt, &disclosures(&args.from)?, &args.fields).map_err(ClientError::Usage)?;
    let bytes = document.encode(args.form.unwrap_or(document.form)).map_err(ClientError::Usage)?;
    written(context, &args.out, &bytes, &document, None)
}

fn disclosures(file: &Path) -> Result<Vec<String>, ClientError> {
    let say = |why: &str| ClientError::Usage(format!("{}: {why}", file.display()));
    let bytes = read_at_most(file, disclose::MAX_DISCLOSURES)?.ok_or_else(|| say("it is larger than a file of disclosures can be"))?;
    let text = String::from_utf8(bytes).map_err(|_| say("it is no text"))?;
    disclose::read(&text).map_err(|why| say(&why))
}

/// Writes a receipt and says what it is; of one that a node just gave, how it stands with its cosignatures.
fn written(context: &Context, out: &Path, bytes: &[u8], document: &Document, checked: Option<&ReceiptCheck>) -> Result<Exit, ClientError> {
    write_file(out, bytes)?;
    let (file, digest) = (out.display().to_string(), hex::encode(sha256(bytes)));
    let (size, status) = (document.receipt.tree_size, !document.receipt.status_proof.is_empty());
    let registrations = document.receipt.registrations.len();
    let mut answer = json!({
        "file": file, "size": size, "sha256": digest, "bytes": bytes.len(), "status": status, "registrations": registrations,
    });
    let (exit, more, cosigned) = checked.map_or((Exit::Yes, json!({}), String::new()), coverage);
    if let (Some(answer), Value::Object(more)) = (answer.as_object_mut(), more) {
        answer.extend(more);
    }
    context.out.answer(&answer, || {
        let status = if status || document.receipt.item.is_empty() {
            ""
        } else {
            "\n  不含状态 without a status: it is not yours to ask for (see --use)"
        };
        format!("{file}\n  截至 as of checkpoint {size}\n  sha256 {digest}{status}{cosigned}")
    });
    Ok(exit)
}

/// How many of those that are wanted have cosigned a receipt, for scripts and for people, and the exit code: 3 where
/// it is their cosignatures alone that it lacks.
fn coverage(checked: &ReceiptCheck) -> (Exit, Value, String) {
    let ((nodes, outside), policy) = (checked.cosigned(), checked.trust.policy());
    let covered = checked.genuine.is_ok();
    // A receipt of a refusal holds for what it is: nothing was issued.
    let wrong = checked.item.is_some().then(|| checked.failure()).flatten();
    let value = json!({
        "covered": covered,
        "cosigned": nodes,
        "needed": checked.quorum,
        "cosigned_outside": outside,
        "needed_outside": policy.outside_need,
        "why": checked.genuine.as_ref().err().map(String::as_str).or(wrong),
    });
    let mut text = format!("\n  见证 cosigned by {nodes} of the {} witnesses needed", checked.quorum);
    if policy.outside_need > 0 {
        text += &format!(", and {outside} of the {} outside", policy.outside_need);
    }
    let why = checked.genuine.as_ref().err().map(String::as_str).unwrap_or_default();
    let exit = match (covered, checked.lacks()) {
        (true, _) => match wrong {
            None => Exit::Yes,
            Some(wrong) => {
                text += &format!("\n  ✗ 凭证不成立 It is written, and does not hold: {wrong}");
                Exit::No
            }
        },
        (false, Some(_)) => {
            text += &format!(
                "\n  ✗ 见证不足,凭证尚不成立 It is written, and does not hold yet: {why}\n    \
                 请待足数后重新获取 Get it again once they have: `vermilion cluster status` says which node is away; --patience waits longer"
            );
            Exit::Unreachable
        }
        (false, None) => {
            text += &format!("\n  ✗ 凭证不成立 It is written, and does not hold: {why}");
            Exit::No
        }
    };
    (exit, value, text)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::receipt::tests::{LEDGER, receipt, taken, trust};
    use vermilion_ledger::SignedNote;
    use vermilion_proto::Receipt;

    #[test]
    fn a_receipt_that_lacks_cosignatures_says_how_many_and_is_no_success() {
        let whole = receipt(taken(), LEDGER);
        let of = |receipt: &Receipt| coverage(&crate::receipt::check(receipt, &trust()));
        let (exit, said, text) = of(&whole);
        assert_eq!((exit, &said["covered"], &said["cosigned"], &said["needed"]), (Exit::Yes, &json!(true), &json!(3), &json!(3)));
        assert!(text.contains("by 3 of the 3") && !text.contains('✗'), "{text}");
        // The ledger key's line, and two witnesses'.
        let note = SignedNote::parse(&whole.checkpoint).unwrap();
        let checkpoint = SignedNote::new(note.body(), note.lines()[..3].to_vec()).unwrap().to_bytes();
        let (exit, said, text) = of(&Receipt { checkpoint, ..whole.clone() });
        assert_eq!((exit, &said["covered"], &said["cosigned"], &said["needed"]), (Exit::Unreachable, &json!(false), &json!(2), &json!(3)));
        assert!(text.contains("by 2 of the 3") && text.contains("--patience"), "{text}");
        // This more cosignatures would not mend.
        let (exit, said, text) = of(&Receipt { chain_before: vec![7; 32], ..whole });
        assert_eq!((exit, &said["covered"], &said["cosigned"]), (Exit::No, &json!(false), &json!(3)));
        assert!(text.contains('✗') && !text.contains("--patience") && said["why"].is_string(), "{text}");
    }
}
