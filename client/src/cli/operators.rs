//! `vermilion operator …`

use super::Context;
use super::output::table;
use super::why::Why;
use crate::clock::{is_before_1970, read_ms, show_ms};
use crate::config::KeySource;
use crate::error::{ClientError, Exit};
use crate::files::first_line;
use crate::keyring::{HeldKey, Passphrase, write_secret};
use crate::manage::NewOperator;
use clap::{Args, Subcommand};
use serde_json::{Value, json};
use std::path::PathBuf;
use vermilion_crypto::{PublicKey, SigningKey, Tag};
use vermilion_proto::OperatorState;

#[derive(Subcommand, Debug)]
pub enum OperatorVerb {
    /// Make a key file (or a unit's secret: any 32 bytes)
    #[command(after_help = "Example:\n  \
        vermilion operator keygen --out maker.pem\n\n\
        The file is encrypted under a passphrase: from VERMILION_PASSPHRASE, a file, or\n\
        a prompt.")]
    Keygen(NewKeyFile),
    /// Show a key's id and public half, as `operator add` wants it
    #[command(after_help = "Examples:\n  \
        vermilion operator public maker.pem\n  \
        vermilion operator public \\\n      \
        'pkcs11:token=desk;object=2?module-path=/usr/lib/softhsm/libsofthsm2.so'\n\n\
        A token's PIN comes from the URI's pin-source, VERMILION_PIN, or a prompt.")]
    Public {
        /// The key's file, or the URI of a key on a PKCS#11 token
        #[arg(value_name = "FILE|URI")]
        key: KeySource,
        /// A file whose first line is the passphrase
        #[arg(long, value_name = "FILE")]
        passphrase_file: Option<PathBuf>,
    },
    /// Register an operator's key, signed by a managing unit
    #[command(after_help = "Example:\n  \
        vermilion operator add --unit 11440304MB0X010624 --public 9f…e1 \\\n      \
        --posts maker --person person.txt\n\n\
        person.txt holds the person's identity number in its first line, checked by GB\n\
        11643 for code type 111 and by its form for others; small letters count as\n\
        capitals. A node makes a keyed tag of it, and only the tag is\n\
        recorded.\n\
        An administrator needs a second key: register it for the same person, with\n\
        --posts second-key.")]
    Add(Add),
    /// Take posts back, or with none named the key itself
    #[command(after_help = "Examples:\n  \
        vermilion operator revoke 9f…e1 --reason left --basis 002-21\n  \
        vermilion operator revoke 9f…e1 --posts maker --reason moved --basis 002-25\n\n\
        The key's id is that of `operator list`.")]
    Revoke {
        /// The key's id, in hex
        key_id: String,
        /// Only these posts
        #[arg(long, value_delimiter = ',')]
        posts: Vec<String>,
        #[command(flatten)]
        why: Why,
        /// The managing unit that acts; the first whose keys are here if not given
        #[arg(long, value_name = "USCC")]
        by: Option<String>,
    },
    /// List operators
    #[command(after_help = "Example:\n  vermilion operator list --unit 11440304MB0X010624")]
    List {
        /// Of this unit alone
        #[arg(long, value_name = "USCC", default_value = "")]
        unit: String,
    },
}

/// Where a new key goes, and how it is kept.
#[derive(Args, Debug)]
pub struct NewKeyFile {
    /// The file; one that is there is not overwritten
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Do not encrypt the file
    #[arg(long)]
    plain: bool,
    /// A file whose first line is the passphrase
    #[arg(long, value_name = "FILE", conflicts_with = "plain")]
    passphrase_file: Option<PathBuf>,
}

impl NewKeyFile {
    /// Writes the secret, and says what others may know of it: `of`, if it is for one thing alone, id and public key.
    pub fn write(self, context: &Context, of: Option<&str>, secret: &[u8; 32], (id, public): (&[u8], &[u8])) -> Result<Exit, ClientError> {
        let passphrase = Passphrase::new(self.passphrase_file);
        let phrase = if self.plain { None } else { Some(passphrase.get_new("--passphrase-file")?) };
        write_secret(&self.out, secret, phrase.as_ref().map(|p| p.as_slice()))?;
        let (file, id, public) = (self.out.display().to_string(), hex::encode(id), hex::encode(public));
        let mut value = json!({ "file": file, "key_id": id, "public": public, "encrypted": !self.plain });
        if let Some(of) = of {
            value["use"] = of.into();
        }
        context.out.answer(&value, || format!("{file}\n  key id  {id}\n  public  {public}"));
        Ok(Exit::Yes)
    }
}

#[derive(Args, Debug)]
pub struct Add {
    /// The operator's unit
    #[arg(long, value_name = "USCC")]
    unit: String,
    /// The public key, in hex
    #[arg(long, value_name = "HEX")]
    public: String,
    /// The posts
    #[arg(long, required = true, value_delimiter = ',')]
    posts: Vec<String>,
    /// A file with the person's identity number; - reads standard input
    #[arg(long, value_name = "FILE", required_unless_present = "person_tag")]
    person: Option<PathBuf>,
    /// The identity number's code type (GB/T 36903 annex A)
    #[arg(long, default_value = "111")]
    person_code_type: String,
    /// The person's tag, in hex, instead
    #[arg(long, value_name = "HEX", conflicts_with = "person")]
    person_tag: Option<String>,
    /// A file with the person's name: it goes sealed into the vault
    #[arg(long, value_name = "FILE")]
    name: Option<PathBuf>,
    /// In force from
    #[arg(long, value_name = "TIME")]
    from: Option<String>,
    /// In force until
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// The managing unit that acts; the first whose keys are here if not given
    #[arg(long, value_name = "USCC")]
    by: Option<String>,
}

pub async fn run(context: &Context, verb: OperatorVerb) -> Result<Exit, ClientError> {
    match verb {
        OperatorVerb::Keygen(file) => {
            let key = SigningKey::generate()?;
            file.write(context, None, &key.seed(), (&key.public().id(), &key.public().0))
        }
        OperatorVerb::Public { key, passphrase_file } => {
            let key = HeldKey::open(&key, &Passphrase::new(passphrase_file))?.signer.public();
            let (id, public) = (hex::encode(key.id()), hex::encode(key.0));
            context.out.answer(&json!({ "key_id": id, "public": public }), || format!("key id  {id}\npublic  {public}"));
            Ok(Exit::Yes)
        }
        OperatorVerb::Add(args) => add(context, args).await,
        OperatorVerb::Revoke { key_id, posts, why, by } => {
            let client = context.client()?;
            let id = unhex::<16>(&key_id, "the key's id")?;
            let by = match by {
                Some(by) => by,
                None => client.manager().await?,
            };
            let recorded = client.revoke_operator(&by, &id, posts, &why.grounds()?).await?;
            Ok(context.out.recorded("已撤销 revoked", &recorded))
        }
        OperatorVerb::List { unit } => {
            let operators = context.client()?.operators(&unit).await?;
            context.out.answer(&Value::Array(operators.iter().map(operator_json).collect()), || operators_table(&operators));
            Ok(Exit::Yes)
        }
    }
}

async fn add(context: &Context, args: Add) -> Result<Exit, ClientError> {
    let client = context.client()?;
    let by = match args.by {
        Some(by) => by,
        None => client.manager().await?,
    };
    let person: Tag = match (&args.person_tag, &args.person) {
        (Some(tag), _) => unhex::<32>(tag, "the person's tag")?,
        (None, Some(file)) => {
            let (client, of, number) = (&client, &args.person_code_type, &first_line(file)?);
            client.asking(Some(&by), |key| async move { client.person_tag(&key, of, number).await }).await?
        }
        (None, None) => return Err(ClientError::Usage("say who the person is: --person FILE or --person-tag HEX".into())),
    };
    let name = args.name.as_deref().map(first_line).transpose()?;
    let new = NewOperator {
        unit: args.unit,
        key: PublicKey(unhex::<32>(&args.public, "the public key")?),
        posts: args.posts,
        person,
        name: name.map(|n| n.to_string()),
        from_ms: moment(args.from.as_deref())?,
        until_ms: moment(args.until.as_deref())?,
    };
    let recorded = client.add_operator(&by, &new).await?;
    Ok(context.out.recorded("已登记 registered", &recorded))
}

/// A moment from the command line; 0 if there is none.
pub fn moment(text: Option<&str>) -> Result<u64, ClientError> {
    let bad = |t: &str| match is_before_1970(t) {
        true => ClientError::Usage(format!("{t} lies before 1970, and cannot be written")),
        false => ClientError::Usage(format!("{t} is no time: write 2026-03-01 or 2026-03-01T09:00:00+08:00")),
    };
    text.map_or(Ok(0), |t| read_ms(t).ok_or_else(|| bad(t)))
}

/// `N` bytes in hex from the command line.
pub fn unhex<const N: usize>(text: &str, what: &str) -> Result<[u8; N], ClientError> {
    let mut out = [0; N];
    hex::decode_to_slice(text, &mut out).map_err(|_| ClientError::Usage(format!("{what} is not {} hex digits", 2 * N)))?;
    Ok(out)
}

fn operator_json(state: &OperatorState) -> Value {
    let of = state.operator.clone().unwrap_or_default();
    json!({
        "key_id": hex::encode(of.key_id), "public": hex::encode(of.public_key), "unit": of.unit, "posts": of.posts,
        "person_tag": hex::encode(of.person_tag), "from": show_ms(of.from_ms), "until": show_ms(of.until_ms), "revoked": state.revoked, "suspended": state.suspended,
        "added_seq": state.added_seq,
    })
}

fn operators_table(states: &[OperatorState]) -> String {
    let row = |s: &OperatorState| {
        let of = s.operator.clone().unwrap_or_default();
        let state = match (s.revoked, s.suspended) {
            (true, _) => "已撤销 revoked",
            (false, true) => "已暂停 suspended",
            (false, false) => "有效 in force",
        };
        vec![hex::encode(of.key_id), of.unit, of.posts.join(","), show_ms(of.until_ms), state.to_owned()]
    };
    table(&["密钥 key id", "单位 unit", "岗位 posts", "至 until", "状态 state"], &states.iter().map(row).collect::<Vec<_>>())
}
