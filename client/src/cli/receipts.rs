//! `vermilion receipt`

use super::Context;
use super::operators::unhex;
use super::trust::load_trust;
use crate::client::Client;
use crate::clock::{now_ms, read_length, show_day, show_length, show_ms};
use crate::error::{ClientError, Exit};
use crate::files::read_at_most;
use crate::receipt::document::write_file;
use crate::receipt::{AHEAD_MS, Document, Form, Freshness, ReceiptCheck, Registered, RestsOn, StatusVerdict, Verdict, disclose};
use clap::{Args, Subcommand};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use vermilion_crypto::{SigningKey, sha256};
use vermilion_ledger::Trust;
use vermilion_proto::{LicenceItem, ReceiptRequest};
use vermilion_registry::codes::identifier::Identifier;
use vermilion_registry::reason::Reason;

/// The pause between two looks at whether the missing cosignatures have come.
const PAUSE: Duration = Duration::from_millis(250);

#[derive(Subcommand, Debug)]
pub enum ReceiptVerb {
    /// Get the receipt of a licence with its status, or of a command's record
    #[command(
        after_help = "Example:\n  vermilion receipt get ID --out licence.vmr\n  vermilion receipt get ID --use 5f…a0 --disclosures use.json --out licence.vmr\n\
        \x20 vermilion receipt get --command 5f…a0 --out record.vmr --form tlog-proof\n\n\
        The status is in it for whoever may ask for it: for an open type anybody, else the issuing unit, who answers a challenge,\n\
        or who has just recorded a use of the licence (--use, for ten minutes).\n\n\
        With --registrations it shows by which records of the ledger the keys that signed were registered for the unit, where its\n\
        check rests on the nodes' word else. Without them it has at most 4 KB, in a ledger of ten million records too; with them about\n\
        twice that, and the whole genesis where a founder signed. They show people's posts, under tags, to whoever is shown the receipt.\n\n\
        What comes is held against what is trusted: exit 0 if as many have cosigned as that asks for. If they have not within --patience,\n\
        it is written as it is and exit 3 says so: it does not hold, and is to be got again. With --fresh nothing is written then.\n\
        Exit 1 if it does not hold for another reason."
    )]
    Get(Get),
    /// Add fields that you hold to a receipt: each is checked against what was signed
    #[command(
        after_help = "Example:\n  vermilion use ID … --json > use.json\n  vermilion receipt disclose licence.vmr --from use.json --fields address --out shown.vmr"
    )]
    Disclose(Disclose),
    /// Check receipts without any network: exit 0 if everything holds, 1 if not, 2 a file that cannot be opened, 5 too old, 6 not valid
    #[command(after_help = "Example:\n  vermilion receipt check licence.vmr --trust trust.json --max-age 24h\n\n\
        Says by itself each: genuine (the record is in the ledger), issued by (the unit signed it, by keys that are its own as they are\n\
        pinned, as records register them, or as the nodes say), unaltered, the status as of when, cosigned by which nodes, how old.\n\
        It knows every form by its beginning. Of several receipts the worst decides: 1, then 2, then 5, then 6.\n\
        A receipt without a status says so; with --need-status it counts as not valid. A licence out of its term is not valid in any case.")]
    Check(Check),
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
    /// How it is written
    #[arg(long, value_enum, default_value = "binary")]
    form: Form,
    /// The id of your recorded use of the licence, in hex: it opens the status to you
    #[arg(long = "use", value_name = "HEX", conflicts_with = "command")]
    use_command: Option<String>,
    /// The unit that asks; the issuing one if its key is here, else the first with a key
    #[arg(long, value_name = "USCC")]
    unit: Option<String>,
    /// A field that you know, NAME=VALUE, for types whose status is a challenge
    #[arg(long, value_name = "NAME=VALUE", conflicts_with = "command")]
    challenge: Option<String>,
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

#[derive(Args, Debug)]
pub struct Check {
    /// The receipts' files
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// What is trusted; the configuration's if not given
    #[arg(long, value_name = "FILE")]
    trust: Option<PathBuf>,
    /// The oldest that is good enough: 90s, 15m, 24h, 7d
    #[arg(long, value_name = "LENGTH", value_parser = read_length)]
    max_age: Option<u64>,
    /// Count a receipt without a status, such as one of a record alone, as not valid
    #[arg(long)]
    need_status: bool,
    /// What the receipts must be of: an identifier, which a personal type's receipt must disclose
    #[arg(long, value_name = "ID")]
    licence: Option<String>,
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
    let (challenge_field, challenge_value) = match args.challenge.as_deref().map(|c| c.split_once('=')) {
        None => Default::default(),
        Some(Some((field, value))) => (field.to_owned(), value.to_owned()),
        Some(None) => return Err(ClientError::Usage("a challenge is NAME=VALUE".into())),
    };
    // What comes is judged by it: that it cannot be read is said before anybody is asked.
    let trust = client.trusted()?;
    let fields = match &args.disclosures {
        Some(_) if args.form == Form::Cose => return Err(ClientError::Usage("to a COSE receipt no fields are added here".into())),
        Some(file) => Some(disclosures(file)?),
        None => None,
    };
    let mut request = ReceiptRequest {
        command_id: bytes_of(args.command.as_ref(), "the command's id")?,
        identifier: args.identifier.unwrap_or_default(),
        use_command: bytes_of(args.use_command.as_ref(), "the use's id")?,
        challenge_field,
        challenge_value,
        registrations: args.registrations,
        ..Default::default()
    };
    let asker = match (request.identifier.is_empty(), args.unit.as_deref()) {
        (true, _) if !args.fresh && !args.registrations => None,
        (_, Some(unit)) => Some(client.asker(Some(unit))?),
        _ => Some(asker_for(&client, &request.identifier)?),
    };
    let asked_ms = now_ms();
    if let (true, Some(asker)) = (args.fresh, &asker) {
        request.at_least_size = client.connection.commit_at_leader(asker).await?;
    }
    let got = ask(&client, request, asker.as_ref(), args.form, &trust).await?;
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
    let until = Instant::now() + client.connection.ask_patience;
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

/// Whether a receipt is of what was asked for. A personal identifier does not stand in it.
fn is_asked(request: &ReceiptRequest, document: &Document, checked: &ReceiptCheck) -> Result<(), &'static str> {
    let command = checked.command.is_some_and(|id| id.as_slice() == request.command_id);
    let asked = Identifier::parse(&request.identifier).ok();
    let asked = asked.as_ref().map_or(request.identifier.as_str(), Identifier::as_str);
    let item = |item: &LicenceItem| item.identifier.is_empty() || item.identifier == asked;
    if (!request.command_id.is_empty() && !command) || (!request.identifier.is_empty() && !checked.item.as_ref().is_some_and(item)) {
        return Err("the receipt is of something else");
    }
    if request.registrations && document.receipt.registrations.is_empty() {
        return Err("the registrations that were asked for are not in the receipt");
    }
    Ok(())
}

/// The key of the issuing unit, which may ask for the status, or else any.
fn asker_for(client: &Client, identifier: &str) -> Result<SigningKey, ClientError> {
    let own = Identifier::parse(identifier).ok().and_then(|id| client.asker(Some(id.authority())).ok());
    own.map_or_else(|| client.asker(None), Ok)
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

fn check(context: &Context, args: Check) -> Result<Exit, ClientError> {
    let trust = load_trust(context, args.trust.clone())?;
    let (exit, answer, text) = check_all(&args, &trust, now_ms());
    context.out.answer(&answer, || text);
    Ok(exit)
}

/// Checks every file, each by itself: the worst exit code, what is said to scripts, and to people.
fn check_all(args: &Check, trust: &Trust, now: u64) -> (Exit, Value, String) {
    let (mut exits, mut values, mut texts) = (Vec::new(), Vec::new(), String::new());
    for file in &args.files {
        let name = file.display().to_string();
        let (exit, mut value) = match Document::load(file) {
            Ok(Ok(document)) => {
                let checked = document.check(trust);
                let mut value = checked.json(now);
                if let Some(of) = value.as_object_mut() {
                    of.insert("holds".into(), json!(checked.holds()));
                    if let Some(id) = &args.licence {
                        of.insert("of_licence".into(), json!(checked.is_of(id)));
                    }
                    of.insert("fresh".into(), json!(checked.freshness(now, args.max_age) == Freshness::Fresh));
                }
                texts += &text(&name, &checked, now, args.max_age);
                if args.licence.as_ref().is_some_and(|id| !checked.is_of(id)) {
                    texts += "  ✗ 证照 licence     不是所问的证照 it is not shown to be of the licence that was asked for\n";
                }
                (judge(&checked, now, args), value)
            }
            Ok(Err(why)) => {
                texts += &format!("存证凭证 receipt {name}\n  ✗ 无法读取 unreadable  {why}\n");
                (Exit::No, json!({ "holds": false, "unreadable": why }))
            }
            // The answers about the others are answers all the same.
            Err(error) => {
                texts += &format!("存证凭证 receipt {name}\n  ✗ 无法打开 cannot be opened  {error}\n");
                (error.exit(), json!({ "holds": false, "error": error.code(), "message": error.to_string() }))
            }
        };
        if let Some(of) = value.as_object_mut() {
            of.insert("file".into(), json!(name));
            // Whatever else was asked for: whether the answer is yes.
            of.insert("ok".into(), json!(exit == Exit::Yes));
            of.insert("exit".into(), json!(exit as u8));
        }
        exits.push(exit);
        values.push(value);
    }
    // What does not hold is worse than what was not looked at, and that than what holds.
    let by_weight = [Exit::No, Exit::Usage, Exit::TooOld, Exit::NotValid];
    let worst = by_weight.into_iter().find(|exit| exits.contains(exit)).unwrap_or(Exit::Yes);
    let answer = match values.len() {
        1 => values.remove(0),
        _ => json!({ "ok": worst == Exit::Yes, "exit": worst as u8, "receipts": Value::Array(values) }),
    };
    (worst, answer, texts)
}

fn judge(checked: &ReceiptCheck, now: u64, args: &Check) -> Exit {
    if !checked.holds() || args.licence.as_ref().is_some_and(|id| !checked.is_of(id)) {
        return Exit::No;
    }
    if checked.freshness(now, args.max_age) != Freshness::Fresh {
        return Exit::TooOld;
    }
    match checked.shown(now) {
        Some(shown) if shown.verify_code() != 0 => Exit::NotValid,
        // What was taken out of it must not make good what its own dates say.
        None if args.need_status || checked.out_of_term(now).is_some() => Exit::NotValid,
        _ => Exit::Yes,
    }
}

fn text(name: &str, checked: &ReceiptCheck, now: u64, max_age: Option<u64>) -> String {
    let line = |label: &str, verdict: &Verdict, more: String| match verdict {
        Ok(()) => format!("  ✓ {label}  {more}\n"),
        Err(why) => format!("  ✗ {label}  {why} {more}\n"),
    };
    let record = checked.record.map(|(seq, time)| format!("记录 record {seq}, {}", show_ms(time))).unwrap_or_default();
    let mut out = format!("存证凭证 receipt {name}\n");
    out += &line("真实 genuine    ", &checked.genuine, record);
    if checked.genuine.is_err() {
        // What it says besides is anybody's word.
        return out + "  – 其余未证明 nothing else of it is proved\n";
    }
    let rests_on = if checked.issued.is_ok() { rests_on(checked) } else { String::new() };
    out += &line("签发 issued by  ", &checked.issued, format!("{} ({}){rests_on}", checked.issuer, checked.posts.join("+")));
    for key in &checked.signers {
        let whose = match checked.registered.iter().find(|of| of.keys.contains(key)) {
            _ if checked.unit_pinned => "已固定 pinned".to_owned(),
            Some(of) => format!("记录 {0} 登记 registered by record {0}", of.seq),
            None => "节点所证 on the nodes' word".to_owned(),
        };
        out += &format!("    签名密钥 key      {} ({whose})\n", hex::encode(key));
    }
    checked.registered.iter().for_each(|of| out += &registration_lines(of));
    let licence = checked
        .item
        .as_ref()
        .map(|i| if i.identifier.is_empty() { format!("{} (个人标识 personal)", i.type_code) } else { i.identifier.clone() });
    out += &line("未改 unaltered  ", &checked.unaltered, licence.unwrap_or_default());
    if let Some((from, to)) = checked.term() {
        let to = if to == 0 { "长期 no term".to_owned() } else { show_day(to) };
        out += &format!("    期限 term        {} – {to}\n", show_day(from));
    }
    for field in &checked.fields {
        out += &format!("      {} = {}\n", field.name, field.value);
    }
    out += &status_line(checked, now);
    if let Some(checkpoint) = &checked.checkpoint {
        let time = checked.as_of_ms().map(show_ms).unwrap_or_else(|| "—".into());
        out += &format!("    截至 as of       checkpoint {}, {time}\n", checkpoint.size);
        for cosigner in checkpoint.cosigners.iter().chain(&checkpoint.outside) {
            out += &format!("    见证 cosigned by {}, {}\n", cosigner.name, show_ms(cosigner.time_s.saturating_mul(1000)));
        }
    }
    out + &age_line(checked, now, max_age)
}

/// On what it rests that the unit issued it.
fn rests_on(checked: &ReceiptCheck) -> String {
    match checked.rests_on() {
        RestsOn::Pinned => ", 凭已固定的密钥 by keys that are pinned".to_owned(),
        RestsOn::Registered => {
            let records: Vec<String> = checked.registered.iter().map(|of| of.seq.to_string()).collect();
            let records = records.join(", ");
            format!(", 凭账本登记 by keys registered on the ledger, record {records}, under the quorum's checkpoint")
        }
        RestsOn::Nodes => ", 凭节点所证 by keys that are the unit's on the nodes' word".to_owned(),
    }
}

/// A record that registered keys, and who signed it.
fn registration_lines(of: &Registered) -> String {
    let head = format!("    登记 registered  记录 record {}, {}", of.seq, show_ms(of.time_ms));
    let Some(by) = &of.by else { return head + ", 创世记录 the genesis, whose hash is the ledger id that is pinned\n" };
    let whose = if by.pinned { "已固定 pinned" } else { "节点所证 on the nodes' word" };
    let signers = by.signers.iter().map(|(post, key)| format!("      {post} {}\n", hex::encode(key)));
    format!("{head}, 由 by {} ({whose}):\n{}", by.unit, signers.collect::<String>())
}

fn status_line(checked: &ReceiptCheck, now: u64) -> String {
    match (&checked.status, checked.shown(now), checked.out_of_term(now)) {
        (StatusVerdict::Refused(why), ..) => format!("  ✗ 状态 status      {why}\n"),
        (StatusVerdict::Proven(status), Some(shown), _) => {
            let mark = if shown.verify_code() == 0 { '✓' } else { '✗' };
            let (zh, en) = (shown.chinese(), shown.name());
            format!("  {mark} 状态 status      {zh} / {en}, 截至记录 as of record {}, {}\n", status.seq, show_ms(status.time_ms))
        }
        (_, _, Some(shown)) => {
            let (zh, en) = (shown.chinese(), shown.name());
            format!("  ✗ 状态 status      {zh} / {en}, 依证照所载日期 by its own dates; 其余未说明 the receipt does not say the rest\n")
        }
        _ if checked.item.is_some() => {
            "  – 状态 status      未说明 the receipt does not say: it is older than status proofs, or was given without\n".into()
        }
        _ => String::new(),
    }
}

fn age_line(checked: &ReceiptCheck, now: u64, max_age: Option<u64>) -> String {
    let age = checked.age_ms(now).map_or_else(|| "—".into(), show_length);
    let most = max_age.map(|most| format!(" (最长 at most {})", show_length(most))).unwrap_or_default();
    match checked.freshness(now, max_age) {
        Freshness::Fresh => format!("  ✓ 时效 age         {age}{most}\n"),
        Freshness::TooOld => format!("  ✗ 时效 age         {age}: 已过时 too old{most}\n"),
        Freshness::Ahead => "  ✗ 时效 age         the witnesses' time lies ahead of the clock here\n".into(),
        Freshness::Unknown => "  ✗ 时效 age         no quorum says when\n".into(),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::receipt::tests::{LEDGER, receipt, registered::licence, taken, trust};
    use vermilion_ledger::SignedNote;
    use vermilion_proto::Receipt;

    const NOW: u64 = 1_800_000_062_000;

    fn asked(need_status: bool, licence: Option<&str>) -> Check {
        Check { files: Vec::new(), trust: None, max_age: None, need_status, licence: licence.map(str::to_owned) }
    }

    #[test]
    fn what_was_taken_out_of_a_receipt_does_not_pass_for_valid() {
        let whole = crate::receipt::check(&receipt(taken(), LEDGER), &trust());
        let identifier = whole.item.as_ref().map(|item| item.identifier.clone()).unwrap_or_default();
        assert_eq!(judge(&whole, NOW, &asked(true, Some(&identifier))), Exit::Yes);
        assert_eq!(judge(&whole, NOW, &asked(true, Some("1.2.156.3005.2.x"))), Exit::No);
        let mut stripped = receipt(taken(), LEDGER);
        (stripped.item, stripped.item_path, stripped.disclosures, stripped.status_proof) = Default::default();
        stripped.item_position = 0;
        let record = crate::receipt::check(&stripped, &trust());
        assert!(record.holds());
        assert_eq!(judge(&record, NOW, &asked(false, None)), Exit::Yes);
        assert_eq!(judge(&record, NOW, &asked(true, None)), Exit::NotValid);
        assert_eq!(judge(&record, NOW, &asked(false, Some(&identifier))), Exit::No);
    }

    #[test]
    fn every_file_has_its_answer_and_ok_is_what_the_exit_code_says() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, bytes: &[u8]| {
            let path = folder.path().join(name);
            std::fs::write(&path, bytes).unwrap();
            path
        };
        let good = file("good", &Document::new(receipt(taken(), LEDGER)).encode(Form::Binary).unwrap());
        let (broken, missing) = (file("broken", b"VMRCPT3\n"), folder.path().join("missing"));
        let checked = |files: &[&PathBuf], licence: Option<&str>, max_age: Option<u64>| {
            let files = files.iter().map(|file| (*file).clone()).collect();
            check_all(&Check { files, max_age, ..asked(false, licence) }, &trust(), NOW)
        };
        // Of one: what holds need not be what was asked for.
        for (files, licence, max_age, exit, holds) in [
            ([&good], None, None, Exit::Yes, true),
            ([&good], Some("1.2.156.3005.2.x"), None, Exit::No, true),
            ([&good], None, Some(1), Exit::TooOld, true),
            ([&broken], None, None, Exit::No, false),
            ([&missing], None, None, Exit::Usage, false),
        ] {
            let (found, said, _) = checked(&files, licence, max_age);
            assert_eq!(found, exit, "{said:#}");
            assert_eq!((&said["ok"], &said["exit"], &said["holds"]), (&json!(exit == Exit::Yes), &json!(exit as u8), &json!(holds)));
            assert_eq!(said["file"], files[0].display().to_string());
        }
        // Of several: one that is not there takes nothing from the others' answers.
        let (exit, said, text) = checked(&[&good, &missing, &good], None, None);
        assert_eq!((exit, &said["ok"], &said["exit"]), (Exit::Usage, &json!(false), &json!(2)));
        let exits: Vec<&Value> = said["receipts"].as_array().unwrap().iter().map(|of| &of["exit"]).collect();
        assert_eq!((exits, &said["receipts"][1]["error"]), (vec![&json!(0), &json!(2), &json!(0)], &json!("file")));
        assert!(text.matches("✓ 真实").count() == 2 && text.contains("cannot be opened"), "{text}");
        assert_eq!(checked(&[&missing, &broken, &good], None, None).0, Exit::No, "what does not hold is worse");
        assert_eq!(checked(&[&good, &good], None, Some(1)).0, Exit::TooOld);
    }

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

    #[test]
    fn without_a_status_the_licences_own_dates_count_all_the_same() {
        // 60,000 days from 1900 on: in 2064.
        let after = 3_000_000_000_000;
        let mut stripped = receipt(taken(), LEDGER);
        stripped.status_proof.clear();
        let checked = crate::receipt::check(&stripped, &trust());
        assert_eq!((judge(&checked, NOW, &asked(false, None)), judge(&checked, after, &asked(false, None))), (Exit::Yes, Exit::NotValid));
        assert_eq!((&checked.json(NOW)["status"]["valid"], &checked.json(after)["status"]["shown"]), (&Value::Null, &json!("expired")));
        assert_eq!(checked.json(NOW)["licence"]["expires_on"], "2064-04-09");
        let shown = |now| text("licence.vmr", &checked, now, None);
        assert!(shown(NOW).contains("– 2064-04-09") && shown(NOW).contains("– 状态") && shown(after).contains("✗ 状态 status      已过期"));
        // One that names no first day begins on the day of its issue.
        for (effective_from, issued_on) in [(59_000, 0), (0, 59_000)] {
            for status in [checked.status.clone(), crate::receipt::check(&receipt(taken(), LEDGER), &trust()).status] {
                let mut early = checked.clone();
                early.status = status;
                early.item = early.item.map(|item| vermilion_proto::LicenceItem { effective_from, issued_on, expires_on: 0, ..item });
                assert_eq!(judge(&early, NOW, &asked(false, None)), Exit::NotValid);
                assert_eq!(judge(&early, after, &asked(false, None)), Exit::Yes);
                assert!(text("licence.vmr", &early, NOW, None).contains("尚未生效"));
            }
        }
    }

    #[test]
    fn it_is_said_on_what_the_issuer_rests() {
        let shown = |of: &Receipt| text("licence.vmr", &crate::receipt::check(of, &trust()), NOW, None);
        let without = shown(&receipt(taken(), LEDGER));
        assert!(without.contains("凭节点所证") && !without.contains("registered"), "{without}");
        let with = shown(&licence());
        assert!(with.contains("record 0, 1, under the quorum's checkpoint") && with.contains("registered by record 1"), "{with}");
        assert_eq!(with.matches("由 by 11440300MB0X00019K (节点所证 on the nodes' word)").count(), 2, "{with}");
        let mut wrong = licence();
        wrong.registrations.pop();
        let wrong = shown(&wrong);
        assert!(wrong.contains("✓ 真实") && wrong.contains("✗ 签发") && wrong.contains("registration.missing"), "{wrong}");
    }

    #[test]
    fn of_what_is_not_proved_nothing_is_shown() {
        let mut forged = receipt(taken(), LEDGER);
        forged.tree_size += 1;
        let shown = text("forged.vmr", &crate::receipt::check(&forged, &trust()), NOW, None);
        assert!(!shown.contains('✓') && !shown.contains("11440305MB0X01046W"), "{shown}");
    }
}
