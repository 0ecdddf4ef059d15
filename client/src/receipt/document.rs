//! The forms of one receipt: binary, JSON, C2SP tlog-proof, RFC 9942 COSE receipt. All four carry the
//! same proof and are recognised by their beginnings.

use super::ReceiptCheck;
use crate::error::ClientError;
use crate::files::{read_at_most, without_mark};
use base64::prelude::{BASE64_STANDARD, Engine as _};
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::marker::PhantomData;
use std::path::Path;
use vermilion_crypto::{Digest, sha256};
use vermilion_ledger::{Checkpoint, CoseReceipt, SignedNote, TlogProof, Trust, digests};
use vermilion_proto::{Message as _, Receipt, Registration, StatusEvidence, canonical};
use vermilion_registry::stored::{read_message, read_receipt, receipt_file, receipt_index};

/// The largest file that is read: a record, an item and proofs, in the longest form.
pub const MAX_FILE: usize = 8 << 20;
/// What is said of a larger one.
const TOO_LARGE: &str = "it is larger than a receipt can be";
/// What the JSON form says it is.
const JSON_FORMAT: &str = "vermilion-receipt";
/// The first bytes of a tagged COSE_Sign1.
const COSE_BEGINS: [u8; 2] = [0xd2, 0x84];

/// How a receipt is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub enum Form {
    /// Magic, checksum, protobuf: the shortest.
    Binary,
    /// JSON, bytes in base64.
    Json,
    /// C2SP tlog-proof; what else a receipt has stands in its extra line.
    TlogProof,
    /// RFC 9942, signed by the node that gave it.
    Cose,
}

/// A receipt in one of its forms.
#[derive(Clone, Debug)]
pub struct Document {
    /// The form that it was read from.
    pub form: Form,
    /// The receipt itself.
    pub receipt: Receipt,
    cose: Option<CoseReceipt>,
}

impl Document {
    /// Of a receipt as a node gives it.
    #[must_use]
    pub fn new(receipt: Receipt) -> Self {
        Self { form: Form::Binary, receipt, cose: None }
    }

    /// Reads a file of any form. That it reads says nothing of its truth.
    pub fn read(path: &Path) -> Result<Self, ClientError> {
        Self::load(path)?.map_err(|why| ClientError::Usage(format!("{}: {why}", path.display())))
    }

    /// The same, where it is an answer that the file holds no receipt. That it cannot be read is none.
    pub fn load(path: &Path) -> Result<Result<Self, String>, ClientError> {
        let bytes = read_at_most(path, MAX_FILE as u64)?;
        Ok(bytes.ok_or_else(|| TOO_LARGE.to_owned()).and_then(|bytes| Self::parse(&bytes)))
    }

    /// Reads the bytes of any form.
    pub fn parse(bytes: &[u8]) -> Result<Self, String> {
        if bytes.len() > MAX_FILE {
            return Err(TOO_LARGE.into());
        }
        let (form, receipt, cose) = if TlogProof::begins(bytes) {
            (Form::TlogProof, of_tlog_proof(bytes)?, None)
        } else if bytes.starts_with(&COSE_BEGINS) {
            let (receipt, cose) = of_cose(bytes)?;
            (Form::Cose, receipt, Some(cose))
        } else if let Some(json) = json_of(bytes) {
            let json: Json = serde_json::from_slice(json).map_err(|e| e.to_string())?;
            (Form::Json, json.receipt()?, None)
        } else {
            (Form::Binary, read_receipt(bytes).map_err(|e| e.0)?, None)
        };
        if receipt.format_version != 1 {
            return Err(format!("format version {} is not read by this version", receipt.format_version));
        }
        if receipt.packed_checkpoint.is_some() {
            return Err("packed_checkpoint is not honoured here by this version".into());
        }
        Ok(Self { form, receipt, cose })
    }

    /// The bytes of a form. A COSE receipt is a node's to sign: it comes from there alone.
    pub fn encode(&self, form: Form) -> Result<Vec<u8>, String> {
        match form {
            Form::Binary => Ok(receipt_file(&self.receipt)),
            Form::Json => {
                let json = serde_json::to_string_pretty(&Json::of(&self.receipt)?).map_err(|e| e.to_string())?;
                Ok((json + "\n").into_bytes())
            }
            Form::TlogProof => {
                let bare = Receipt { tree_size: 0, inclusion: Vec::new(), checkpoint: Vec::new(), ..self.receipt.clone() };
                let proof = TlogProof {
                    extra: bare.encode_to_vec(),
                    index: receipt_index(&self.receipt).ok_or("its record does not read")?,
                    hashes: digests(&self.receipt.inclusion).map_err(|e| e.to_string())?,
                    checkpoint: self.receipt.checkpoint.clone(),
                };
                Ok(proof.encode())
            }
            Form::Cose => Err("a COSE receipt is signed by a node: get it in that form".into()),
        }
    }

    /// The SHA-256 of a form's bytes, by which a document may cite the file.
    pub fn digest(&self, form: Form) -> Result<Digest, String> {
        self.encode(form).map(|bytes| sha256(&bytes))
    }

    /// Checks the receipt, and of a COSE receipt its own signature too. Needs no network and no clock.
    #[must_use]
    pub fn check(&self, trust: &Trust) -> ReceiptCheck {
        let mut checked = super::check(&self.receipt, trust);
        if let (Some(cose), Ok(())) = (&self.cose, &checked.genuine) {
            checked.genuine = signed_as_cose(cose, &checked);
        }
        checked
    }
}

/// Whether a key that is trusted has signed the same root as the checkpoint.
fn signed_as_cose(cose: &CoseReceipt, checked: &ReceiptCheck) -> Result<(), String> {
    let (_, key) = checked.trust.key_of(&cose.key_id, cose.size).ok_or("No key that you trust has signed the COSE receipt.")?;
    let leaf = checked.leaf.as_ref().ok_or("The record cannot be read.")?;
    let root = cose.check(&leaf.encode(), key).map_err(|_| "The signature of the COSE receipt does not hold.")?;
    let same = checked.checkpoint.as_ref().is_some_and(|checkpoint| checkpoint.root == root);
    if same { Ok(()) } else { Err("The COSE receipt is of another tree than the checkpoint.".into()) }
}

/// The receipt's part that another form does not carry by itself: what it does carry must be empty.
fn bare(bytes: &[u8], checkpoint: bool) -> Result<Receipt, String> {
    let receipt = read_message(bytes).map_err(|e| e.0)?;
    if receipt.tree_size != 0 || !receipt.inclusion.is_empty() || (!checkpoint && !receipt.checkpoint.is_empty()) {
        return Err("what the form carries stands in the receipt's own part again".into());
    }
    Ok(receipt)
}

fn same_index(receipt: &Receipt, index: u64) -> Result<(), String> {
    if receipt_index(receipt) == Some(index) { Ok(()) } else { Err("its index is not that of its record".into()) }
}

fn of_tlog_proof(bytes: &[u8]) -> Result<Receipt, String> {
    let proof = TlogProof::parse(bytes).map_err(|e| e.to_string())?;
    let receipt = bare(&proof.extra, false)?;
    same_index(&receipt, proof.index)?;
    let note = SignedNote::parse(&proof.checkpoint).map_err(|e| e.to_string())?;
    let checkpoint = Checkpoint::parse(note.body()).map_err(|e| e.to_string())?;
    let inclusion = proof.hashes.iter().map(|hash| hash.to_vec()).collect();
    Ok(Receipt { tree_size: checkpoint.size, inclusion, checkpoint: proof.checkpoint, ..receipt })
}

fn of_cose(bytes: &[u8]) -> Result<(Receipt, CoseReceipt), String> {
    let cose = CoseReceipt::parse(bytes).map_err(|e| e.to_string())?;
    let receipt = bare(&cose.rest, true)?;
    same_index(&receipt, cose.index)?;
    let inclusion = cose.path.iter().map(|hash| hash.to_vec()).collect();
    Ok((Receipt { tree_size: cose.size, inclusion, ..receipt }, cose))
}

/// The JSON form: the message's fields by name, bytes in base64, the checkpoint as its text.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Json {
    format: String,
    version: u32,
    record: String,
    chain_before: String,
    tree_size: u64,
    inclusion: Vec<String>,
    checkpoint: String,
    #[serde(default, deserialize_with = "object", skip_serializing_if = "Option::is_none")]
    licence: Option<JsonLicence>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    endorsements: Vec<String>,
    #[serde(default, deserialize_with = "objects", skip_serializing_if = "Vec::is_empty")]
    registrations: Vec<JsonRegistration>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct JsonRegistration {
    record: String,
    chain_before: String,
    inclusion: Vec<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct JsonLicence {
    item: String,
    position: u32,
    path: Vec<String>,
    disclosures: Vec<String>,
    #[serde(default, deserialize_with = "object", skip_serializing_if = "Option::is_none")]
    status: Option<JsonStatus>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct JsonStatus {
    version: u32,
    leaf: String,
    inclusion: String,
    licences: u64,
    proof: String,
}

/// What is written as an object, and nothing else. By itself serde takes a list of the members for it too, and `null` for one
/// that is not there: the same receipt would have other forms that nobody documented.
struct Object<T>(T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Members<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Members<T> {
            type Value = T;
            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, members: A) -> Result<T, A::Error> {
                T::deserialize(MapAccessDeserializer::new(members))
            }
        }
        from.deserialize_map(Members(PhantomData)).map(Self)
    }
}

/// A member that need not be there, and is an object if it is.
fn object<'de, D: Deserializer<'de>, T: Deserialize<'de>>(from: D) -> Result<Option<T>, D::Error> {
    Object::deserialize(from).map(|Object(of)| Some(of))
}

/// A list of objects.
fn objects<'de, D: Deserializer<'de>, T: Deserialize<'de>>(from: D) -> Result<Vec<T>, D::Error> {
    Vec::deserialize(from).map(|all: Vec<Object<T>>| all.into_iter().map(|Object(of)| of).collect())
}

/// The bytes that begin as the JSON form does. White space is free there, and some editors put a byte order
/// mark in front.
fn json_of(bytes: &[u8]) -> Option<&[u8]> {
    let json = without_mark(bytes);
    json.trim_ascii_start().starts_with(b"{").then_some(json)
}

fn text(bytes: &[u8]) -> String {
    BASE64_STANDARD.encode(bytes)
}

fn texts(list: &[Vec<u8>]) -> Vec<String> {
    list.iter().map(|bytes| text(bytes)).collect()
}

fn bytes(text: &str) -> Result<Vec<u8>, String> {
    BASE64_STANDARD.decode(text).map_err(|_| "a member is not base64".to_owned())
}

fn all_bytes(list: &[String]) -> Result<Vec<Vec<u8>>, String> {
    list.iter().map(|text| bytes(text)).collect()
}

impl JsonRegistration {
    fn of(registration: &Registration) -> Self {
        Self {
            record: text(&registration.record),
            chain_before: text(&registration.chain_before),
            inclusion: texts(&registration.inclusion),
        }
    }

    fn registration(&self) -> Result<Registration, String> {
        Ok(Registration { record: bytes(&self.record)?, chain_before: bytes(&self.chain_before)?, inclusion: all_bytes(&self.inclusion)? })
    }
}

impl Json {
    fn of(receipt: &Receipt) -> Result<Self, String> {
        let status = match receipt.status_proof.as_slice() {
            [] => None,
            encoded => {
                let of: StatusEvidence = canonical(encoded).map_err(|e| e.to_string())?;
                Some(JsonStatus {
                    version: of.format_version,
                    leaf: text(&of.leaf),
                    inclusion: text(&of.inclusion),
                    licences: of.licence_count,
                    proof: text(&of.proof),
                })
            }
        };
        let licence = (!receipt.item.is_empty()).then(|| JsonLicence {
            item: text(&receipt.item),
            position: receipt.item_position,
            path: texts(&receipt.item_path),
            disclosures: receipt.disclosures.clone(),
            status,
        });
        Ok(Self {
            format: JSON_FORMAT.into(),
            version: receipt.format_version,
            record: text(&receipt.record),
            chain_before: text(&receipt.chain_before),
            tree_size: receipt.tree_size,
            inclusion: texts(&receipt.inclusion),
            checkpoint: String::from_utf8(receipt.checkpoint.clone()).map_err(|_| "its checkpoint is no text")?,
            licence,
            endorsements: texts(&receipt.endorsements),
            registrations: receipt.registrations.iter().map(JsonRegistration::of).collect(),
        })
    }

    fn receipt(self) -> Result<Receipt, String> {
        if self.format != JSON_FORMAT {
            return Err("it is no receipt of this version".into());
        }
        let mut receipt = Receipt {
            format_version: self.version,
            record: bytes(&self.record)?,
            chain_before: bytes(&self.chain_before)?,
            tree_size: self.tree_size,
            inclusion: all_bytes(&self.inclusion)?,
            checkpoint: self.checkpoint.into_bytes(),
            endorsements: all_bytes(&self.endorsements)?,
            registrations: self.registrations.iter().map(JsonRegistration::registration).collect::<Result<_, _>>()?,
            ..Receipt::default()
        };
        if let Some(licence) = self.licence {
            receipt.item = bytes(&licence.item)?;
            if receipt.item.is_empty() {
                return Err("its licence has no item".into());
            }
            receipt.item_position = licence.position;
            receipt.item_path = all_bytes(&licence.path)?;
            receipt.disclosures = licence.disclosures;
            if let Some(status) = licence.status {
                // With every member empty it would be encoded as none.
                if status.version != 1 {
                    return Err("its status is none of this version".into());
                }
                let evidence = StatusEvidence {
                    format_version: status.version,
                    leaf: bytes(&status.leaf)?,
                    inclusion: bytes(&status.inclusion)?,
                    licence_count: status.licences,
                    proof: bytes(&status.proof)?,
                };
                receipt.status_proof = evidence.encode_to_vec();
            }
        }
        Ok(receipt)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_file_without_end_is_no_receipt() {
        assert_eq!(Document::load(Path::new("/dev/zero")).unwrap().unwrap_err(), TOO_LARGE);
    }
}
