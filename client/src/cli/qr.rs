//! `vermilion qr`

use super::Context;
use super::challenge::Challenge;
use super::trust::load_trust;
use crate::clock::{now_ms, read_length, show_length, show_ms};
use crate::error::{ClientError, Exit};
use crate::files::{read_at_most, write_file};
use crate::qr::{self, QrCheck, image};
use crate::receipt::Freshness;
use clap::{Args, Subcommand};
use serde_json::json;
use std::path::{Path, PathBuf};

/// The largest file that is read: a picture, or a text.
const MAX_FILE: u64 = 64 << 20;

#[derive(Subcommand, Debug)]
pub enum QrVerb {
    /// Make the QR code of a licence's status, signed by the node that answers
    #[command(after_help = "Examples:\n  \
        vermilion qr make ID --out licence.png\n  \
        vermilion qr make ID\n\n\
        The status is given to whoever may ask for it, as by `licence status`. Without\n\
        --out the code is drawn in the terminal.")]
    Make(Make),
    /// Check a QR code without any network: exit 0 if it holds and the licence is valid, 1 if not, 5 too old, 6 not valid
    #[command(after_help = "Example:\n  \
        vermilion qr check licence.png --trust trust.json --max-age 1h\n\n\
        Takes a PNG, a file with the text, or the text itself; an SVG is not read.\n\
        It is one node's word; a receipt has the quorum's. Exit 2 if it is neither a\n\
        file that can be read nor a text that begins with VMQR.")]
    Check(Check),
}

#[derive(Args, Debug)]
pub struct Make {
    /// The licence's identifier
    #[arg(value_name = "ID")]
    identifier: String,
    /// The file to write: .png, .svg, or .txt for the text alone; `terminal` draws it here
    #[arg(long, value_name = "FILE", default_value = "terminal")]
    out: PathBuf,
    #[command(flatten)]
    challenge: Challenge,
}

#[derive(Args, Debug)]
pub struct Check {
    /// A PNG, a file with the text, or the text
    #[arg(value_name = "FILE|TEXT")]
    code: String,
    /// What is trusted; the configuration's if not given
    #[arg(long, value_name = "FILE")]
    trust: Option<PathBuf>,
    /// The oldest that is good enough: 90s, 15m, 24h, 7d
    #[arg(long, value_name = "LENGTH", value_parser = read_length)]
    max_age: Option<u64>,
}

pub async fn run(context: &Context, verb: QrVerb) -> Result<Exit, ClientError> {
    match verb {
        QrVerb::Make(args) => make(context, args).await,
        QrVerb::Check(args) => check(context, &args),
    }
}

async fn make(context: &Context, args: Make) -> Result<Exit, ClientError> {
    let challenge = args.challenge.read()?;
    let challenge = challenge.as_ref().map(|(field, value)| (field.as_str(), value.as_str()));
    let signed = context.client()?.signed_status(&args.identifier, challenge).await?;
    let text = qr::text(&signed).map_err(ClientError::BadAnswer)?;
    let kind = args.out.extension().and_then(|e| e.to_str()).unwrap_or_default().to_ascii_lowercase();
    let bytes = match kind.as_str() {
        "png" => image::png(&text),
        "svg" => image::svg(&text).map(String::into_bytes),
        "txt" => Ok(format!("{text}\n").into_bytes()),
        _ if args.out == Path::new("terminal") => {
            let drawn = image::terminal(&text).map_err(ClientError::Usage)?;
            context.out.answer(&json!({ "text": text, "bytes": text.len() }), || drawn);
            return Ok(Exit::Yes);
        }
        _ => return Err(ClientError::Usage("a QR code is written as .png, .svg or .txt, or drawn in the terminal".into())),
    };
    write_file(&args.out, &bytes.map_err(ClientError::Usage)?)?;
    let file = args.out.display().to_string();
    context.out.answer(&json!({ "file": file, "text": text, "bytes": text.len() }), || format!("{file}\n{text}"));
    Ok(Exit::Yes)
}

/// The text that is meant: of a picture, of a file, or the argument itself.
fn read(code: &str) -> Result<Result<String, String>, ClientError> {
    let path = Path::new(code);
    match std::fs::metadata(path) {
        Ok(_) => {}
        Err(_) if qr::begins(code) => return Ok(Ok(code.to_owned())),
        Err(error) => {
            let why = format!("{code} is no file that can be read ({error}), and no QR code's text, which begins with VMQR");
            return Err(ClientError::Usage(why));
        }
    }
    let Some(bytes) = read_at_most(path, MAX_FILE)? else {
        return Ok(Err("it is larger than a picture of a QR code can be".into()));
    };
    if image::is_png(&bytes) {
        return Ok(image::read_png(&bytes));
    }
    if image::is_svg(&bytes) {
        return Err(ClientError::Usage(format!("{code} is an SVG, which is drawn but not read here: give the PNG or the text")));
    }
    Ok(String::from_utf8(bytes).map_err(|_| "it is neither a PNG nor a text".into()))
}

fn check(context: &Context, args: &Check) -> Result<Exit, ClientError> {
    let trust = load_trust(context, args.trust.clone())?;
    let now = now_ms();
    match read(&args.code)?.and_then(|text| qr::check(&text, &trust)) {
        Err(why) => {
            context
                .out
                .answer(&json!({ "ok": false, "holds": false, "exit": Exit::No as u8, "why": why }), || format!("✗ 二维码 QR code  {why}"));
            Ok(Exit::No)
        }
        Ok(checked) => {
            let fresh = checked.freshness(now, args.max_age);
            let exit = match (fresh, checked.shown(now).verify_code()) {
                (Freshness::Fresh, 0) => Exit::Yes,
                (Freshness::Fresh, _) => Exit::NotValid,
                _ => Exit::TooOld,
            };
            let mut value = checked.json(now);
            if let Some(of) = value.as_object_mut() {
                of.insert("ok".into(), json!(exit == Exit::Yes));
                of.insert("holds".into(), json!(true));
                of.insert("fresh".into(), json!(fresh == Freshness::Fresh));
                of.insert("exit".into(), json!(exit as u8));
            }
            context.out.answer(&value, || text(&checked, now, fresh));
            Ok(exit)
        }
    }
}

fn text(checked: &QrCheck, now: u64, fresh: Freshness) -> String {
    let (of, shown) = (&checked.statement, checked.shown(now));
    let mark = |yes: bool| if yes { '✓' } else { '✗' };
    let flags: Vec<String> = checked.flags().map(|f| format!("{} / {}", f.chinese(), f.name())).collect();
    let flags = if flags.is_empty() { String::new() } else { format!("  标记 flags        {}\n", flags.join(", ")) };
    let (zh, en, signed) = (shown.chinese(), shown.name(), show_ms(of.signed_ms));
    let age = match fresh {
        Freshness::Ahead => "签名时间晚于本机时钟 signed ahead of the clock here".to_owned(),
        _ => show_length(checked.age_ms(now)),
    };
    format!(
        "{}\n{} 状态 status      {zh} / {en}\n{flags}  截至 as of       record {}, {}\n✓ 签名 signed by   {}, {signed} (一个节点之言 one node's word)\n{} 时效 age         {age}\n",
        of.identifier,
        mark(shown.verify_code() == 0),
        of.as_of_seq,
        show_ms(of.as_of_ms),
        checked.signer,
        mark(fresh == Freshness::Fresh),
    )
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn what_is_neither_a_file_nor_a_code_is_no_question() {
        for code in ["VMQR1:AAAA", " VMQR2:AAAA\n"] {
            assert_eq!(read(code).unwrap().unwrap(), code, "whether it is a good one is the check's to say");
        }
        for missing in ["licence.png", "", "QR1:AAAA"] {
            let error = read(missing).unwrap_err();
            assert_eq!(error.exit(), Exit::Usage);
            assert!(error.to_string().starts_with(missing) && error.to_string().contains("VMQR"), "{error}");
        }
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(read(&folder.path().display().to_string()).unwrap_err().exit(), Exit::Usage);
        let file = folder.path().join("code.txt");
        std::fs::write(&file, "VMQR1:AAAA\n").unwrap();
        assert_eq!(read(&file.display().to_string()).unwrap().unwrap(), "VMQR1:AAAA\n");
        assert!(read("/dev/zero").unwrap().unwrap_err().contains("larger"));
    }
}
