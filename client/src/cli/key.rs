//! `vermilion key …`: the ledger's own keys, made and put in others' places.

use super::Context;
use super::operators::{NewKeyFile, unhex};
use super::output::table;
use crate::clock::show_ms;
use crate::error::{ClientError, Exit};
use clap::{Subcommand, ValueEnum};
use serde_json::{Value, json};
use vermilion_crypto::{SigningKey, VaultSecretKey};
use vermilion_proto::KeyState;
use vermilion_registry::endorsement;
use vermilion_registry::pinned;

/// What a key is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum Use {
    /// Signs checkpoints 签署检查点.
    Ledger,
    /// Content is sealed to it 加密证照内容.
    Vault,
}

impl Use {
    fn name(self) -> &'static str {
        match self {
            Self::Ledger => endorsement::LEDGER,
            Self::Vault => endorsement::VAULT,
        }
    }
}

#[derive(Subcommand, Debug)]
pub enum KeyVerb {
    /// Make a key file 生成密钥
    #[command(after_help = "Examples:\n  \
        vermilion key make ledger --out ledger-2.pem\n  \
        vermilion key make vault --out vault-2.pem\n\n\
        The file is encrypted under a passphrase: from VERMILION_PASSPHRASE, a file, or\n\
        a prompt. Put it, under the node's own, on every node that is to hold it, name\n\
        it in node.toml, beside the old one unless that lies in keys.received, start\n\
        the node again, and only then endorse the key.")]
    Make {
        /// What the key is for
        #[arg(value_enum, value_name = "USE")]
        of: Use,
        #[command(flatten)]
        file: NewKeyFile,
    },
    /// Endorse a key in the place of the one that serves now 背书新密钥
    #[command(after_help = "Examples:\n  \
        vermilion key endorse ledger --public 9f…e1\n  \
        vermilion key endorse vault --area 440300 --public 07…3c\n\n\
        Signed by the posts of policy posts.rotate-key. The ledger key signs every\n\
        checkpoint over this record and after it; new content is sealed to the vault\n\
        key as soon as a checkpoint with the quorum proves the record.")]
    Endorse {
        /// What the key is for
        #[arg(value_enum, value_name = "USE")]
        of: Use,
        /// The public key, in hex, as `key make` said it
        #[arg(long, value_name = "HEX")]
        public: String,
        /// Of a vault key: the area whose content is sealed to it
        #[arg(long, default_value = "", required_if_eq("of", "vault"))]
        area: String,
        /// The unit that acts; the city's managing unit if not given
        #[arg(long, value_name = "USCC")]
        by: Option<String>,
    },
    /// List the keys that serve or served, each checked under what is trusted
    #[command(after_help = "Example:\n  vermilion key list --json")]
    List,
}

pub async fn run(context: &Context, verb: KeyVerb) -> Result<Exit, ClientError> {
    match verb {
        KeyVerb::Make { of, file } => make(context, of, file),
        KeyVerb::Endorse { of, public, area, by } => {
            let client = context.client()?;
            let key = unhex::<32>(&public, "the public key")?;
            let recorded = client.endorse_key(by.as_deref(), of.name(), &area, &key).await?;
            Ok(context.out.recorded("已背书 endorsed", &recorded))
        }
        KeyVerb::List => list(context).await,
    }
}

fn make(context: &Context, of: Use, file: NewKeyFile) -> Result<Exit, ClientError> {
    match of {
        Use::Ledger => {
            let key = SigningKey::generate()?;
            file.write(context, Some(of.name()), &key.seed(), (&key.public().id(), &key.public().0))
        }
        Use::Vault => {
            let key = VaultSecretKey::generate()?;
            file.write(context, Some(of.name()), key.bytes(), (&key.public().id(), &key.public().0))
        }
    }
}

/// One line of the list.
struct Line {
    of: &'static str,
    area: String,
    public: String,
    from: Option<(u64, u64)>,
    state: &'static str,
}

impl Line {
    fn json(&self) -> Value {
        let (seq, time) = self.from.unzip();
        json!({ "use": self.of, "area": self.area, "public": self.public, "from": seq, "time": time.map(show_ms), "state": self.state })
    }

    fn row(&self) -> Vec<String> {
        let from = self.from.map_or_else(|| "创世 genesis".into(), |(seq, time)| format!("{seq}, {}", show_ms(time)));
        let state = match self.state {
            "serves" => "使用中 serves",
            "served" => "已更换 served",
            _ => "待见证 not proved yet",
        };
        vec![self.of.into(), self.area.clone(), self.public.clone(), from, state.into()]
    }
}

async fn list(context: &Context) -> Result<Exit, ClientError> {
    let client = context.client()?;
    let endorsed = client.endorsed_keys(&client.trusted()?).await?;
    let genesis = client.genesis();
    let vault = pinned::vault_keys(genesis, &endorsed.proved);
    let ledger = endorsed.trust.ledger_key_at(u64::MAX);
    let serves = |of: Use, public: &[u8]| match of {
        Use::Ledger if ledger.0[..] == *public => "serves",
        Use::Vault if vault.iter().any(|key| key.public_key == public) => "serves",
        _ => "served",
    };
    let line = |of: Use, area: &str, public: &[u8], from, state| Line {
        of: of.name(),
        area: area.into(),
        public: hex::encode(public),
        from,
        state,
    };
    let mut lines = vec![line(Use::Ledger, "", &genesis.ledger_key, None, serves(Use::Ledger, &genesis.ledger_key))];
    for key in &genesis.vault_keys {
        lines.push(line(Use::Vault, &key.area, &key.public_key, None, serves(Use::Vault, &key.public_key)));
    }
    let of_record = |state: &KeyState, proved: bool| {
        let key = state.key.clone().unwrap_or_default();
        let of = if key.r#use == endorsement::LEDGER { Use::Ledger } else { Use::Vault };
        let stands = if proved { serves(of, &key.public_key) } else { "not-proved" };
        line(of, &key.area, &key.public_key, Some((state.from_seq, state.from_ms)), stands)
    };
    lines.extend(endorsed.proved.iter().map(|state| of_record(state, true)));
    lines.extend(endorsed.unproved.iter().map(|state| of_record(state, false)));
    context.out.answer(&Value::Array(lines.iter().map(Line::json).collect()), || {
        table(&["用途 use", "区域 area", "公钥 public", "自 from record", "状态 state"], &lines.iter().map(Line::row).collect::<Vec<_>>())
    });
    Ok(Exit::Yes)
}
