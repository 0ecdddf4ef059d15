//! `vermilion receipt check`: what a receipt says and whether it holds, with no network.

use super::Context;
use super::trust::load_trust;
use crate::clock::{now_ms, read_length, show_day, show_length, show_ms};
use crate::error::{ClientError, Exit};
use crate::receipt::{Document, Freshness, ReceiptCheck, Registered, RestsOn, StatusVerdict, Verdict};
use crate::visible::one_line;
use clap::Args;
use serde_json::{Value, json};
use std::path::PathBuf;
use vermilion_ledger::Trust;

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

/// Checks them all.
pub fn check(context: &Context, args: Check) -> Result<Exit, ClientError> {
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
                texts += &format!("存证凭证 receipt {}\n  ✗ 无法读取 unreadable  {}\n", one_line(&name), one_line(&why));
                (Exit::No, json!({ "holds": false, "unreadable": why }))
            }
            // The answers about the others are answers all the same.
            Err(error) => {
                texts +=
                    &format!("存证凭证 receipt {}\n  ✗ 无法打开 cannot be opened  {}\n", one_line(&name), one_line(&error.to_string()));
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
        Ok(()) => format!("  ✓ {label}  {}\n", one_line(&more)),
        Err(why) => format!("  ✗ {label}  {} {}\n", one_line(why), one_line(&more)),
    };
    let record = checked.record.map(|(seq, time)| format!("记录 record {seq}, {}", show_ms(time))).unwrap_or_default();
    let mut out = format!("存证凭证 receipt {}\n", one_line(name));
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
        out += &format!("      {} = {}\n", one_line(&field.name), field.value);
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
    let signers = by.signers.iter().map(|(post, key)| format!("      {} {}\n", one_line(post), hex::encode(key)));
    format!("{head}, 由 by {} ({whose}):\n{}", one_line(&by.unit), signers.collect::<String>())
}

fn status_line(checked: &ReceiptCheck, now: u64) -> String {
    match (&checked.status, checked.shown(now), checked.out_of_term(now)) {
        (StatusVerdict::Refused(why), ..) => format!("  ✗ 状态 status      {}\n", one_line(why)),
        (StatusVerdict::Proven(status), Some(shown), _) => {
            let mark = if shown.verify_code() == 0 { '✓' } else { '✗' };
            let (zh, en) = (shown.chinese(), shown.name());
            format!(
                "  {mark} 状态 status      {zh} / {en}, 截至记录 as of record {}, {}; 标记未说明 flags not said\n",
                status.seq,
                show_ms(status.time_ms)
            )
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
        Freshness::Ahead => "  ✗ 时效 age         联署时间晚于本机时钟 the witnesses' time lies ahead of the clock here\n".into(),
        Freshness::Unknown => "  ✗ 时效 age         no quorum says when\n".into(),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::receipt::Form;
    use crate::receipt::tests::{LEDGER, receipt, registered::licence, taken, trust};
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
        assert_eq!(judge(&whole, NOW - 400_000, &asked(false, None)), Exit::TooOld, "a time that lies ahead is none");
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
