//! `vermilion licence issue`

use super::Context;
use super::output::Out;
use crate::client::Client;
use crate::error::{ClientError, Exit};
use crate::issue::{IssueOptions, RowReport, Summary, issue_file};
use crate::visible::json_line;
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use std::io::{BufWriter, IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;
use vermilion_registry::reason::Reason;

#[derive(Args, Debug)]
pub struct IssueArgs {
    /// The rows: JSON Lines, with the element names of GB/T 36903
    #[arg(long, value_name = "FILE")]
    file: PathBuf,
    /// Commands under way at once
    #[arg(long, default_value_t = 4, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=64))]
    at_once: u16,
    /// Show accepted rows too (people; --json shows every row anyway)
    #[arg(long)]
    all: bool,
}

pub async fn issue(context: &Context, args: IssueArgs) -> Result<Exit, ClientError> {
    if args.file == Path::new("-") {
        return Err(ClientError::Usage("rows are read twice, once for the file's digest: write them into a file and name it".into()));
    }
    let client = context.client()?;
    let mut options = IssueOptions { at_once: usize::from(args.at_once), ..IssueOptions::default() };
    options.patience = context.patience.unwrap_or(Duration::from_secs(300));
    let out = context.out;
    let show_progress = !out.json && !out.quiet && std::io::stderr().is_terminal();
    let progress = if show_progress { bar() } else { ProgressBar::hidden() };
    let mut lines = BufWriter::new(std::io::stdout());
    let (mut silent, mut lost) = (false, false);
    // Each line is written out at once: whoever follows the output sees what is done. When nobody does any more, the rows are
    // issued all the same: half an import helps nobody.
    let mut report = |row: &RowReport, of: u64| -> Result<(), ClientError> {
        progress.set_length(of);
        progress.set_position(row.row);
        let line = match out.json {
            true => Some(json_line(&row.json())),
            false => (args.all || row.reason.is_some()).then(|| row.text()),
        };
        if let Some(line) = line.filter(|_| !silent)
            && let Err(error) = progress.suspend(|| writeln!(lines, "{line}").and_then(|()| lines.flush()))
        {
            // A reader that went away is no error of ours.
            (silent, lost) = (true, error.kind() != std::io::ErrorKind::BrokenPipe);
        }
        Ok(())
    };
    let result = tokio::select! {
        result = issue_file(&client, &args.file, &options, &mut report) => result,
        () = interruption(&client) => Err(ClientError::Interrupted),
    };
    progress.finish_and_clear();
    if lost {
        Out::lose();
    }
    let summary = result.inspect_err(|error| {
        // Of what makes no sense the same again makes none either, and an interruption says so itself.
        if !out.json && client.connection.has_sent() && !matches!(error, ClientError::Usage(_) | ClientError::Interrupted) {
            let said = "The import is not complete. The same command carries on where it stopped. 导入未完成,重新执行同一命令即可继续。";
            let _ = writeln!(std::io::stderr(), "{said}");
        }
    })?;
    if !out.json {
        out.line(&text(&summary));
    }
    Ok(if summary.rejected == 0 { Exit::Yes } else { Exit::No })
}

/// Ctrl-C, once something was sent. Before that there is nothing to say, and it ends a prompt as everywhere.
async fn interruption(client: &Client) {
    while !client.connection.has_sent() {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    if tokio::signal::ctrl_c().await.is_err() {
        // It cannot be heard: then it ends the program as everywhere.
        std::future::pending::<()>().await;
    }
}

fn bar() -> ProgressBar {
    let bar = ProgressBar::new(0);
    let style = ProgressStyle::with_template("签发 issuing {bar:40} {pos}/{len} {per_sec} 余 {eta}");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar
}

fn text(summary: &Summary) -> String {
    let mut out = format!(
        "{} rows 行: {} accepted 已签发, {} rejected 退回, {} with a warning 提示",
        summary.rows, summary.accepted, summary.rejected, summary.warned
    );
    for (name, count) in &summary.reasons {
        let reason = crate::error::reason_of_name(name);
        out += &format!("\n  {count:>8}  {name}  {}", reason.map_or("", Reason::chinese));
    }
    out
}
