//! `vermilion authority …`: the ledger's own authority, made offline.

use super::Context;
use crate::clock::{DAY_MS, now_ms, show_ms};
use crate::error::{ClientError, Exit};
use crate::founding::certificate;
use crate::keyring::{Passphrase, read_secret, write_secret};
use clap::{Args, Subcommand};
use serde_json::json;
use std::path::{Path, PathBuf};
use vermilion_crypto::SigningKey;
use vermilion_identity::{AuthorityCertificate, AuthorityName, CertificateError, Serial, Validity, authority, x509};

/// Days of a year, for lifetimes.
const YEAR: u64 = 365;

#[derive(Subcommand, Debug)]
pub enum AuthorityVerb {
    /// Make a root: do it on a machine without a network, and keep the key away from nodes
    #[command(after_help = "Example:\n  \
        vermilion authority root --trust-domain ledger.example \\\n      \
        --unit 11440300MB0X010112 --name \"City Root\" --out root\n\n\
        writes root/root-key.pem, encrypted under a passphrase, and root/root.pem.")]
    Root {
        /// The ledger's domain of trust: a DNS name in lower case
        #[arg(long, value_name = "NAME")]
        trust_domain: String,
        /// USCC of the unit that runs the authority
        #[arg(long, value_name = "USCC")]
        unit: String,
        #[command(flatten)]
        made: Made,
    },
    /// Make an issuing certificate under a root, with a key of its own
    #[command(after_help = "Example:\n  \
        vermilion authority issuing --root root --name \"City Issuing\" --years 5 \\\n      \
        --out issuing\n\n\
        writes issuing/issuing-key.pem, encrypted under a passphrase of its own, and\n\
        issuing/issuing.pem. The root's passphrase opens the root alone.")]
    Issuing {
        /// The root's folder, with its key
        #[arg(long, value_name = "DIR")]
        root: PathBuf,
        /// A file whose first line is the passphrase of the root's key, where that is another
        #[arg(long, value_name = "FILE")]
        root_passphrase_file: Option<PathBuf>,
        #[command(flatten)]
        made: Made,
    },
}

/// What both are told.
#[derive(Args, Debug)]
pub struct Made {
    /// The authority's name
    #[arg(long, value_name = "NAME")]
    name: String,
    /// For how long, and not beyond the root's end
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=50))]
    years: u64,
    /// The folder for key and certificate; nothing in it is overwritten
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// A file whose first line is the passphrase of the keys
    #[arg(long, value_name = "FILE")]
    passphrase_file: Option<PathBuf>,
}

impl Made {
    fn validity(&self) -> Validity {
        let from = now_ms() / 1000 * 1000;
        Validity { not_before_ms: from, not_after_ms: from + self.years * YEAR * DAY_MS }
    }

    /// Writes the new key, encrypted.
    fn keep(&self, file: &str, key: &SigningKey, passphrase: &Passphrase) -> Result<(), ClientError> {
        let phrase = passphrase.get_new("--passphrase-file")?;
        std::fs::create_dir_all(&self.out).map_err(|e| ClientError::file(&self.out, e))?;
        write_secret(&self.out.join(file), &key.seed(), Some(phrase.as_slice()))
    }
}

fn until_at_most(of: Validity, above: &Validity) -> Validity {
    Validity { not_after_ms: of.not_after_ms.min(above.not_after_ms), ..of }
}

fn refused(error: CertificateError) -> ClientError {
    ClientError::Usage(error.to_string())
}

pub fn run(context: &Context, verb: AuthorityVerb) -> Result<Exit, ClientError> {
    let (path, made) = make(verb, &Passphrase::default())?;
    tell(context, &path, &made)
}

/// Makes the key and the certificate, and says where that goes.
fn make(verb: AuthorityVerb, passphrase: &Passphrase) -> Result<(PathBuf, AuthorityCertificate), ClientError> {
    let key = SigningKey::generate()?;
    let serial = Serial::random()?;
    match verb {
        AuthorityVerb::Root { trust_domain, unit, made } => {
            let name = AuthorityName { trust_domain, unit, name: made.name.clone() };
            let root = authority::make_root(&key, &name, &serial, made.validity()).map_err(refused)?;
            made.keep("root-key.pem", &key, &passphrase.or_file(made.passphrase_file.clone()))?;
            Ok((made.out.join("root.pem"), root))
        }
        AuthorityVerb::Issuing { root, root_passphrase_file, made } => {
            let own = passphrase.or_file(made.passphrase_file.clone());
            let of_root = own.or_file(root_passphrase_file);
            let above = certificate(&root.join("root.pem"))?;
            let root_key = SigningKey::from_seed(&*read_secret(&root.join("root-key.pem"), &of_root)?);
            let name = AuthorityName { name: made.name.clone(), ..above.name.clone() };
            // The root was made before, for as long unless somebody said otherwise: nothing under it is good for longer.
            let validity = until_at_most(made.validity(), &above.validity);
            let issuing = authority::make_issuing(&root_key, &above, key.public(), &name, &serial, validity).map_err(refused)?;
            made.keep("issuing-key.pem", &key, &own)?;
            Ok((made.out.join("issuing.pem"), issuing))
        }
    }
}

/// Writes the certificate and says what it is.
fn tell(context: &Context, path: &Path, made: &AuthorityCertificate) -> Result<Exit, ClientError> {
    let pem = x509::to_pem(made.der()).map_err(refused)?;
    let mut options = std::fs::OpenOptions::new();
    let written = options.write(true).create_new(true).open(path).and_then(|mut file| std::io::Write::write_all(&mut file, pem.as_bytes()));
    written.map_err(|e| ClientError::file(path, e))?;
    let (fingerprint, until) = (hex::encode(made.fingerprint), show_ms(made.validity.not_after_ms));
    let value = json!({
        "file": path.display().to_string(), "serial": made.serial.to_string(), "fingerprint": fingerprint, "until": until,
    });
    context.out.answer(&value, || {
        format!(
            "{}\n  序列号 serial       {}\n  指纹 fingerprint    {fingerprint}\n  有效至 until        {until}",
            path.display(),
            made.serial
        )
    });
    Ok(Exit::Yes)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::keyring::{Ask, terminal};

    #[test]
    fn the_issuing_key_does_not_open_with_the_roots_passphrase() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let made = |out: &str, file: Option<&str>| Made { name: "Sample".into(), years: 1, out: at(out), passphrase_file: file.map(at) };
        let root =
            AuthorityVerb::Root { trust_domain: "ledger.example".into(), unit: "11440300MB0X010112".into(), made: made("root", None) };
        let issuing = |out: &str, of_root: Option<&str>, own: Option<&str>| AuthorityVerb::Issuing {
            root: at("root"),
            root_passphrase_file: of_root.map(at),
            made: made(out, own),
        };
        let opens = |path: &str, word: &str| {
            read_secret(&at(path), &Passphrase::asking(None, Some(word.as_bytes().to_vec().into()), Box::new(|_| None))).is_ok()
        };
        let asking = |ask: Ask| Passphrase::asking(None, None, ask);
        let (path, made_root) = make(root, &asking(terminal(&["root's", "root's"]).0)).unwrap();
        std::fs::write(path, x509::to_pem(made_root.der()).unwrap()).unwrap();
        let (ask, asked) = terminal(&["root's", "own", "own"]);
        make(issuing("issuing", None, None), &asking(ask)).unwrap();
        assert_eq!(asked.lock().unwrap().len(), 3);
        assert!(opens("issuing/issuing-key.pem", "own") && !opens("issuing/issuing-key.pem", "root's"));

        // From files each has its own; one file for both is what somebody said.
        std::fs::write(at("root-word"), "root's\n").unwrap();
        std::fs::write(at("own-word"), "own\n").unwrap();
        let nobody = || asking(Box::new(|_| None));
        make(issuing("two", Some("root-word"), Some("own-word")), &nobody()).unwrap();
        assert!(opens("two/issuing-key.pem", "own") && !opens("two/issuing-key.pem", "root's"));
        make(issuing("one", None, Some("root-word")), &nobody()).unwrap();
        assert!(opens("one/issuing-key.pem", "root's"));
    }

    #[test]
    fn what_is_made_later_under_a_root_ends_with_it() {
        let root = Validity { not_before_ms: 1_000, not_after_ms: 9_000 };
        let until = |not_after_ms| until_at_most(Validity { not_before_ms: 2_000, not_after_ms }, &root).not_after_ms;
        assert_eq!((until(10_000), until(5_000)), (9_000, 5_000));
    }
}
