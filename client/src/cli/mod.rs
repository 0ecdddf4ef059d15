//! The command `vermilion`: arguments, output and exit codes over the library.
//!
//! | exit code | means |
//! |---|---|
//! | 0 | done, and the answer is yes |
//! | 1 | done, and the answer is no: rows rejected, licence not valid, receipt or audit with findings |
//! | 2 | usage or configuration |
//! | 3 | no node could be reached, the outcome is not known yet, or the quorum has not cosigned yet |
//! | 4 | the ledger refused the whole |
//! | 5 | a receipt or QR code holds, and is older than `--max-age` |
//! | 6 | a receipt or QR code holds, and the licence is not valid, or not shown to be where that is needed |
//! | 130 | interrupted by Ctrl-C: an import, or an audit with `--state`, that the same command carries on |
//!
//! With `--json` standard output is JSON alone; errors are one JSON object on standard error.

mod admission;
mod authority;
mod catalogue;
mod certificates;
mod challenge;
mod cluster;
mod enrol;
#[cfg(test)]
mod examples;
mod founding;
mod issue;
mod issuers;
mod key;
mod licence;
mod operators;
mod output;
mod qr;
mod receipt_check;
mod receipts;
mod report;
mod trust;
mod units;
mod uses;
mod why;

use crate::audit::{self, AuditArgs};
use crate::client::Client;
use crate::clock::LONGEST_WAIT_S;
use crate::config::Config;
use crate::error::{ClientError, Exit};
use crate::keyring::OperatorKey;
use clap::error::ErrorKind;
use clap::{Parser, Subcommand};
use output::Out;
use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

const AFTER: &str = "\
Examples:
  vermilion --config client.toml licence issue --file rows.jsonl
  vermilion --config client.toml licence status 1.2.156.3005.2.…
  vermilion --config client.toml use ID --item ITEM --case 2026-17 \\
      --purpose 开户
  vermilion receipt check receipt.vmr --trust trust.json

Exit codes: 0 yes, 1 no, 2 usage or configuration, 3 no node, outcome unknown
or not cosigned yet, 4 refused; for receipts and QR codes 5 too old, 6 not
valid; 130 interrupted.";

/// Issue, use, verify and audit e-licences on a Vermilion ledger (朱印).
#[derive(Parser, Debug)]
#[command(name = "vermilion", version, after_help = AFTER, arg_required_else_help = true)]
pub struct Cli {
    /// The client's configuration
    #[arg(long, global = true, env = "VERMILION_CONFIG", value_name = "PATH")]
    config: Option<PathBuf>,
    /// Print JSON for scripts
    #[arg(long, global = true)]
    json: bool,
    /// Show no progress
    #[arg(long, global = true)]
    quiet: bool,
    /// How long to ask again before giving up, at most a year
    #[arg(long, global = true, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(..=LONGEST_WAIT_S))]
    patience: Option<u64>,
    #[command(subcommand)]
    noun: Noun,
}

#[derive(Subcommand, Debug)]
enum Noun {
    /// Units 单位: register, suspend, restore, show, list
    #[command(subcommand)]
    Unit(units::UnitVerb),
    /// Operators 操作人员: keys, add, revoke, list
    #[command(subcommand)]
    Operator(operators::OperatorVerb),
    /// Certificates 数字证书: list, show, revoke, suspend, restore
    #[command(subcommand)]
    Certificate(certificates::CertificateVerb),
    /// Enrolment 注册授权: whom the next certificate is for
    #[command(subcommand)]
    Enrolment(certificates::EnrolmentVerb),
    /// Enrol 领取证书: get a certificate with a token
    Enrol(enrol::EnrolArgs),
    /// Admission of nodes and systems 接入: apply, test, approve, connect, notify, ban, remedy, retire, show, list
    #[command(subcommand)]
    Admission(admission::AdmissionVerb),
    /// Figures 统计
    #[command(subcommand)]
    Report(report::ReportVerb),
    /// The ledger's own authority 证书机构: make a root, make an issuing certificate
    #[command(subcommand)]
    Authority(authority::AuthorityVerb),
    /// Found a ledger 创立账本: requests, and the table at which it is made
    #[command(subcommand)]
    Founding(founding::FoundingVerb),
    /// The ledger's own keys 账本密钥: make, endorse, list
    #[command(subcommand)]
    Key(key::KeyVerb),
    /// Licence types 证照类型: publish, show, list
    #[command(subcommand)]
    Type(catalogue::TypeVerb),
    /// Policy of the ledger 策略: list, set
    #[command(subcommand)]
    Policy(catalogue::PolicyVerb),
    /// Licences 证照: issue, show, status, change, supersede, erase
    #[command(subcommand)]
    Licence(licence::LicenceVerb),
    /// Use licences 用证: recorded first, then the granted fields are shown
    Use(uses::UseArgs),
    /// Verify a licence 核验: exit 0 if it is valid, 1 if not
    Verify(uses::VerifyArgs),
    /// Receipts 存证凭证: get one, add fields to it, check some without a network
    #[command(subcommand)]
    Receipt(receipts::ReceiptVerb),
    /// QR codes 二维码 of a licence's status: make one, check one without a network
    #[command(subcommand)]
    Qr(qr::QrVerb),
    /// What receipts and audits are checked against
    #[command(subcommand)]
    Trust(trust::TrustVerb),
    /// The nodes
    #[command(subcommand)]
    Cluster(cluster::ClusterVerb),
    /// Commands that were sent
    #[command(subcommand)]
    Command(cluster::CommandVerb),
    /// Recompute everything 审计: exit 0 if nothing is off, 1 with findings
    #[command(after_help = "Examples:\n  \
        vermilion --config client.toml audit --node\n  \
        vermilion audit --data-dir /var/backups/vermilion/city --trust trust.json \\\n      \
        --state audit.state\n  \
        vermilion --config client.toml audit --watch --metrics vermilion.prom\n\n\
        Exit code 3 if something cannot be read, so that nothing is said of the ledger,\n\
        and 130 if Ctrl-C broke it off: with --state the same call goes on.")]
    Audit(AuditArgs),
}

/// What every verb is given.
struct Context {
    config: Option<PathBuf>,
    out: Out,
    patience: Option<Duration>,
    opened: OnceLock<Client>,
}

impl Context {
    fn config_path(&self) -> Result<&PathBuf, ClientError> {
        self.config.as_ref().ok_or_else(|| ClientError::Usage("name the client's configuration: --config PATH, or VERMILION_CONFIG".into()))
    }

    fn client(&self) -> Result<Client, ClientError> {
        let mut client = Client::open(self.config_path()?)?;
        if let Some(patience) = self.patience {
            client.connection.ask_patience = patience;
            client.connection.submit_patience = patience;
        }
        Ok(self.opened.get_or_init(|| client).clone())
    }

    /// Renews the certificates that were shown, if their time is two thirds over. What it fails at is said
    /// and changes nothing else: there is time until the end.
    async fn renew(&self) {
        let Some(client) = self.opened.get() else { return };
        for (holder, renewed) in client.renew_due(false).await.unwrap_or_default() {
            match renewed {
                Ok(until) => self.out.note(&format!("the certificate of {holder} was renewed until {}", crate::clock::show_ms(until))),
                Err(error) => self.out.note(&format!("the certificate of {holder} is due and was not renewed: {error}")),
            }
        }
    }
}

/// Arguments that are no call: help and version as they are printed, an error for scripts where they ask for JSON.
fn unparsed(error: &clap::Error, arguments: &[OsString]) -> Exit {
    let json = arguments.iter().take_while(|argument| *argument != "--").any(|argument| argument == "--json");
    if json && error.use_stderr() {
        Out { json, quiet: false }.error(&ClientError::Usage(usage_of(error)));
    } else {
        // Nobody need be there to read it.
        let _ = error.print();
    }
    if error.use_stderr() { Exit::Usage } else { Exit::Yes }
}

/// What is wrong with the arguments, without the usage that is printed below it.
fn usage_of(error: &clap::Error) -> String {
    if error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        return "the command is not complete: --help says what there is".into();
    }
    let text = error.to_string();
    let first = text.trim_start_matches("error: ").split("\n\n").next().unwrap_or_default();
    first.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Runs the command with the process's arguments; within a Tokio runtime.
pub async fn main() -> Exit {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    let cli = match Cli::try_parse_from(&arguments) {
        Ok(cli) => cli,
        Err(error) => return unparsed(&error, &arguments),
    };
    let out = Out { json: cli.json, quiet: cli.quiet };
    let context = Context { config: cli.config, out, patience: cli.patience.map(Duration::from_secs), opened: OnceLock::new() };
    let result = match cli.noun {
        Noun::Unit(verb) => units::run(&context, verb).await,
        Noun::Operator(verb) => operators::run(&context, verb).await,
        Noun::Certificate(verb) => certificates::run(&context, verb).await,
        Noun::Enrolment(verb) => certificates::run_enrolment(&context, verb).await,
        Noun::Enrol(args) => enrol::run(&context, args).await,
        Noun::Admission(verb) => admission::run(&context, verb).await,
        Noun::Report(verb) => report::run(&context, verb).await,
        Noun::Authority(verb) => authority::run(&context, verb),
        Noun::Founding(verb) => founding::run(&context, verb),
        Noun::Key(verb) => key::run(&context, verb).await,
        Noun::Type(verb) => catalogue::run_type(&context, verb).await,
        Noun::Policy(verb) => catalogue::run_policy(&context, verb).await,
        Noun::Licence(verb) => licence::run(&context, verb).await,
        Noun::Use(args) => uses::run_use(&context, args).await,
        Noun::Verify(args) => uses::run_verify(&context, args).await,
        Noun::Receipt(verb) => receipts::run_receipt(&context, verb).await,
        Noun::Qr(verb) => qr::run(&context, verb).await,
        Noun::Trust(verb) => trust::run(&context, verb).await,
        Noun::Cluster(verb) => cluster::run_cluster(&context, verb).await,
        Noun::Command(verb) => cluster::run_command(&context, verb).await,
        Noun::Audit(args) => return run_audit(&context, args).await,
    };
    // Who interrupts does not wait for certificates.
    if !matches!(result, Err(ClientError::Interrupted)) {
        context.renew().await;
    }
    let told = result.and_then(|exit| if Out::was_lost() { Err(ClientError::Unwritten) } else { Ok(exit) });
    told.unwrap_or_else(|error| {
        context.out.error(&error);
        error.exit()
    })
}

async fn run_audit(context: &Context, args: AuditArgs) -> Exit {
    let access = match audit_access(context, &args) {
        Ok(access) => access,
        Err(error) => {
            context.out.error(&error);
            return error.exit();
        }
    };
    match audit::run(args, context.out.json, access).await {
        audit::CLEAN => Exit::Yes,
        audit::FOUND => Exit::No,
        audit::CANNOT_READ => Exit::Unreachable,
        audit::INTERRUPTED => Exit::Interrupted,
        _ => Exit::Usage,
    }
}

/// What an audit is given, looked at as far as no node is needed for it.
fn audit_access(context: &Context, args: &AuditArgs) -> Result<Option<audit::Access>, ClientError> {
    let access = context.config.as_ref().map(|path| access(path)).transpose()?;
    // A watch asks as the public does; records are for those who show a certificate.
    let Some(asked) = args.nodes.as_deref().filter(|_| !args.watch.watch) else { return Ok(access) };
    let is_known = |name: &str| name.contains(':') || access.iter().any(|a| a.nodes.iter().any(|(known, _)| known == name));
    if let Some(name) = asked.iter().find(|name| !is_known(name)) {
        return Err(ClientError::Usage(format!("the configuration has no node {name}, and it is no address (host:port)")));
    }
    if let Some(dialer) = access.as_ref().and_then(|a| a.dialer.as_ref()) {
        dialer.ready()?;
    }
    Ok(access)
}

/// What the configuration gives an audit. Without an operator's key nodes give no records, and say so.
fn access(path: &std::path::Path) -> Result<audit::Access, ClientError> {
    let config = Config::load(path)?;
    let nodes = config.nodes.iter().map(|n| (n.name.clone(), n.grpc.clone())).collect();
    let http = config.nodes.iter().filter(|n| !n.http.is_empty()).map(|n| (n.name.clone(), n.http.clone())).collect();
    let (genesis, trust, state_dir) = (Some(config.genesis.clone()), config.trust.clone(), config.state_dir.clone());
    let keyring = Arc::new(crate::keyring::Keyring::new(&config));
    let payload = std::fs::read(&config.genesis).map_err(|e| ClientError::file(&config.genesis, e))?;
    let read = vermilion_registry::pinned::read_genesis(&payload);
    let read = read.ok_or_else(|| ClientError::config("genesis", "the file is no genesis payload"))?;
    let dialer = Some(crate::tls::Dialer::new(&read, Some(Arc::clone(&keyring)))?);
    let managing = read.managing_unit.as_ref().and_then(|r| r.unit.as_ref()).map(|u| u.uscc.clone()).unwrap_or_default();
    let make: audit::MakeToken = Box::new(move |ledger_id, what, at| {
        // Records are for who manages the city, or audits it: of this keyring's, whoever is likeliest to be.
        let operators = || keyring.operators().iter();
        let of_city = |operator: &&OperatorKey| operator.unit == managing;
        let key = keyring.open(operators().filter(of_city).chain(operators().filter(|o| !of_city(o))).nth(at)?).ok()?;
        Some(vermilion_identity::RequestToken::make(&key, ledger_id, what, crate::clock::now_ms()))
    });
    Ok(audit::Access { nodes, http, trust, state_dir, genesis, token: Some(Arc::new(make)), dialer })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;
    use vermilion_registry::codes::holder_code::{self, HolderAnswer};

    #[test]
    fn the_arguments_hold_together() {
        Cli::command().debug_assert();
    }

    #[test]
    fn both_readmes_show_the_same_commands_and_paths() {
        let said = |name: &str| -> Vec<String> {
            let page = std::fs::read_to_string(format!("../{name}")).unwrap();
            let calls = page.lines().filter(|line| ["vermilion", "make "].iter().any(|program| line.starts_with(program)));
            let calls = calls.map(|line| line.split(" # ").next().unwrap_or_default().trim_end().to_owned());
            let paths = page.split('`').filter(|code| code.starts_with('/')).map(str::to_owned);
            calls.chain(paths).collect()
        };
        assert!(said("README.md").len() > 80);
        assert_eq!(said("README.md"), said("README.zh-CN.md"));
    }

    #[test]
    fn codes_of_units_in_help_and_readmes_hold() {
        fn help(of: &mut clap::Command, out: &mut String) {
            *out += &of.render_long_help().to_string();
            of.get_subcommands_mut().for_each(|below| help(below, out));
        }
        let mut said = ["README.md", "README.zh-CN.md"].map(|name| std::fs::read_to_string(format!("../{name}")).unwrap()).concat();
        help(&mut Cli::command(), &mut said);
        let is_code = |word: &&str| word.len() == 18 && word.starts_with("1144");
        let codes: Vec<&str> = said.split(|c: char| !c.is_ascii_alphanumeric()).filter(is_code).collect();
        let wrong = codes.iter().filter(|code| holder_code::check("001", code) != HolderAnswer::Valid);
        assert!(codes.len() > 10);
        assert_eq!(wrong.collect::<Vec<_>>(), [&""; 0]);
    }

    #[test]
    fn an_error_of_usage_is_one_sentence() {
        for (line, word) in [
            ("vermilion licence issue --json", "--file <FILE>"),
            ("vermilion --json licence isue", "'isue'"),
            ("vermilion --json", "subcommand"),
            ("vermilion --json licence", "--help"),
            ("vermilion licence show ID --nope --json", "'--nope'"),
            ("vermilion use --case 1 --purpose P --item I", "--holder <FILE>"),
            ("vermilion use ID --holder F --case 1 --purpose P --item I", "--holder"),
        ] {
            let said = usage_of(&Cli::try_parse_from(line.split(' ')).err().unwrap());
            assert!(said.contains(word) && !said.contains('\n') && !said.contains("Usage:"), "{line}: {said}");
        }
        let help = Cli::try_parse_from(["vermilion", "--json", "--help"]).err().unwrap();
        assert_eq!(unparsed(&help, &[]), Exit::Yes);
    }

    #[test]
    fn nobody_waits_longer_than_a_year() {
        for option in ["--patience", "audit --watch --interval", "audit --watch --stall"] {
            let parsed = |seconds: u64| Cli::try_parse_from(format!("vermilion {option} {seconds} {}", verb(option)).split_whitespace());
            assert!(parsed(LONGEST_WAIT_S).is_ok(), "{option}");
            for seconds in [LONGEST_WAIT_S + 1, u64::MAX] {
                let error = parsed(seconds).err().unwrap();
                assert!(error.use_stderr() && usage_of(&error).contains(&seconds.to_string()), "{option}");
            }
        }
    }

    /// What the options of all verbs go with.
    fn verb(option: &str) -> &'static str {
        if option.starts_with("audit") { "" } else { "cluster status" }
    }

    #[test]
    fn the_documented_lines_parse() {
        for line in [
            "vermilion --config c licence issue --file f --json",
            "vermilion --config c --json licence show ID",
            "vermilion licence change ID --to revoked --reason R --basis B --config c",
            "vermilion licence supersede --file ROW --because renewal",
            "vermilion licence erase ID --reason R --basis B --evidence F",
            "vermilion use A B --case N --purpose P --item S --fields a,b",
            "vermilion verify ID --case N --purpose P --item S",
            "vermilion verify ID --case N --purpose P --item S --at 2025-11-03 --known 2025-11-04T09:00:00+08:00",
            "vermilion licence status ID --challenge certificateHolder=N --at 2025-11-03",
            "vermilion licence status ID --challenge-file -",
            "vermilion unit register --uscc U --name N --area A --level city --role using-unit --leader-file name.txt",
            "vermilion qr make ID --challenge-file c.txt",
            "vermilion receipt get ID --out r.vmr --challenge-file c.txt",
            "vermilion receipt get ID --out r.vmr",
            "vermilion --patience 30 receipt get ID --fresh --out r.vmr",
            "vermilion receipt get ID --out r.json --form json --use ab --disclosures d.txt --fresh",
            "vermilion receipt disclose r.vmr --from d.json --fields a,b --out s.vmr",
            "vermilion receipt check r.vmr --trust t.json",
            "vermilion receipt check r.vmr s.vmr --trust t.json --max-age 24h --need-status",
            "vermilion qr make ID --out q.svg",
            "vermilion qr check q.png --trust t.json --max-age 1h",
            "vermilion trust pin --genesis g --quorum 3",
            "vermilion trust update --trust t.json --out n.json",
            "vermilion trust update --receipt r.vmr",
            "vermilion trust units U V --trust t.json --out n.json",
            "vermilion receipt check r.vmr --trust t.json --licence ID",
            "vermilion founding operator --unit U --posts approve --key k --out r",
            "vermilion founding show r s --json",
            "vermilion founding make --plan p --out d --safe-passphrase-file f",
            "vermilion key make ledger --out ledger-2.pem",
            "vermilion key make vault --out vault-2.pem --plain",
            "vermilion key endorse ledger --public ab",
            "vermilion key endorse vault --area 440300 --public ab",
            "vermilion key list --json",
            "vermilion cluster status --json",
            "vermilion cluster transfer --to city",
            "vermilion command status ab",
            "vermilion operator keygen --out k --plain",
            "vermilion operator add --unit U --public ab --posts maker,checker --person-tag cd",
            "vermilion unit register --uscc U --name N --area 440304 --level district --role issuing-unit",
            "vermilion type publish --file catalogue.json",
            "vermilion type publish --file catalogue.json --only-these",
            "vermilion type issuers T --remove U",
            "vermilion policy set issue.items.max 500 --citation 002-10",
            "vermilion audit --data-dir d",
            "vermilion certificate list --unit U --json",
            "vermilion certificate revoke 4f --reason keyCompromise",
            "vermilion certificate suspend 4f --reason R --basis B --by U",
            "vermilion unit restore U --reason R --basis B --evidence F",
            "vermilion operator revoke 9f --posts maker --reason R --basis B",
            "vermilion enrolment grant operator/9f --posts maker,checker --hours 4",
            "vermilion admission apply unit-system/U/desk --unit U --third-party --plan p --capability c",
            "vermilion admission apply node/n --unit U --id 4 --node-key ab --cosigning-key cd --district 440305 --address a:1",
            "vermilion admission test node/n --report r --assessor U --on 2026-11-02",
            "vermilion admission approve node/n",
            "vermilion admission connect node/n",
            "vermilion admission notify node/n --change f",
            "vermilion admission ban node/n --grade critical",
            "vermilion admission remedy unit-system/U/desk --report r",
            "vermilion admission retire node/n",
            "vermilion admission show node/n",
            "vermilion report certificates --month 2026-10 --json",
            "vermilion audit --tiles http://127.0.0.1:7101 --trust t.json",
            "vermilion audit --watch --config c --node --webhook http://127.0.0.1:1/alarm --metrics m.prom",
        ] {
            assert!(Cli::try_parse_from(line.split(' ')).is_ok(), "{line}");
        }
    }
}
