//! `vermilion enrol …`: a first certificate for a key that is made, or lies, here.

use super::Context;
use crate::clock::show_ms;
use crate::enrol::Enroller;
use crate::error::{ClientError, Exit};
use crate::keyring::{Passphrase, read_secret, write_secret};
use clap::{Args, ValueEnum};
use serde_json::json;
use std::path::PathBuf;
use vermilion_crypto::SigningKey;
use vermilion_identity::enrolment::EnrolmentToken;
use vermilion_identity::{Kind, Subject};

/// Whom the certificate is for.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Of {
    /// A unit's system: its key is made here if it is not there yet.
    UnitSystem,
    /// A registered operator.
    Operator,
    /// A registered operator of an auditing unit, who reads and never signs.
    Auditor,
}

/// What the command is told.
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  \
    vermilion --config client.toml enrol unit-system --name desk \\\n      \
    --unit 11440304MB0X010624 --district 440304 \\\n      \
    --token-file token --key desk.pem --out desk.cert.pem\n  \
    vermilion --config client.toml enrol operator --posts maker \\\n      \
    --unit 11440304MB0X010624 --district 440304 \\\n      \
    --token-file token --key maker.pem --out maker.cert.pem\n\n\
    The token comes from `vermilion enrolment grant`. It serves once; asked again\n\
    with the same key, the same certificate is given. Then name the certificate in\n\
    the client's configuration: [[operators]] certificate = \"maker.cert.pem\".")]
pub struct EnrolArgs {
    /// Whom the certificate is for
    #[arg(value_enum)]
    of: Of,
    /// USCC of the holder's unit
    #[arg(long, value_name = "USCC")]
    unit: String,
    /// The unit's area, as registered
    #[arg(long, value_name = "CODE")]
    district: String,
    /// A system's name, as it was admitted
    #[arg(long, value_name = "NAME", required_if_eq("of", "unit-system"))]
    name: Option<String>,
    /// A person's posts, as they were granted
    #[arg(long, value_delimiter = ',')]
    posts: Vec<String>,
    /// A file with the token
    #[arg(long, value_name = "FILE")]
    token_file: PathBuf,
    /// The key's file
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// A file whose first line is the key's passphrase; the configuration's passphrase_file if not given
    #[arg(long, value_name = "FILE")]
    passphrase_file: Option<PathBuf>,
    /// The certificate's file
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

pub async fn run(context: &Context, args: EnrolArgs) -> Result<Exit, ClientError> {
    let client = context.client()?;
    let text = std::fs::read_to_string(&args.token_file).map_err(|e| ClientError::file(&args.token_file, e))?;
    let token = EnrolmentToken::parse(&text).map_err(|e| ClientError::Usage(e.to_string()))?;
    let passphrase = Passphrase::new(args.passphrase_file.or_else(|| client.config().passphrase_file.clone()));
    if !args.key.exists() && matches!(args.of, Of::UnitSystem) {
        write_secret(&args.key, &SigningKey::generate()?.seed(), Some(passphrase.get_new("--passphrase-file")?.as_slice()))?;
    }
    let key = SigningKey::from_seed(&*read_secret(&args.key, &passphrase)?);
    let kind = match args.of {
        Of::UnitSystem => Kind::UnitSystem,
        Of::Operator => Kind::Operator,
        Of::Auditor => Kind::Auditor,
    };
    let enroller = Enroller::new(client.genesis(), client.ledger_id(), &client.config().enrolment)?;
    let enroller = enroller.accepting_expired_until(client.config().accept_expired_until_ms);
    let mut posts = args.posts;
    posts.sort();
    let subject = Subject {
        kind,
        trust_domain: enroller.trust_domain().to_owned(),
        unit: args.unit,
        district: args.district,
        posts,
        name: args.name.filter(|_| !kind.is_person()).unwrap_or_else(|| hex::encode(key.public().id())),
    };
    let given = enroller.enrol(&token, &subject, &key).await?;
    given.keep(&args.out)?;
    let (serial, until) = (given.certificate.serial.to_string(), show_ms(given.certificate.validity.not_after_ms));
    let answer = json!({ "certificate": args.out.display().to_string(), "holder": subject.uri(), "serial": serial, "until": until });
    context.out.answer(&answer, || {
        format!("{}\n  持有人 holder   {}\n  序列号 serial   {serial}\n  有效至 until    {until}", args.out.display(), subject.uri())
    });
    Ok(Exit::Yes)
}
