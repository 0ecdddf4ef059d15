//! A receipt's file: magic, the first eight bytes of the rest's SHA-256, and the rest: the message,
//! deflated (RFC 1951). The checksum is for accidents; no truth rests on it. In the message the checkpoint
//! stands packed: without base64, and without the origin in front of every name.

use crate::stored::BadRecord;
use flate2::Compression;
use flate2::bufread::DeflateDecoder;
use flate2::write::DeflateEncoder;
use std::io::{Read as _, Write as _};
use vermilion_crypto::sha256;
use vermilion_ledger::{Checkpoint, MAX_NOTE_SIGNATURES, SignatureLine, SignedNote};
use vermilion_proto::view::walk;
use vermilion_proto::{Message as _, PackedNote, PackedSignature, Receipt, canonical};

/// The first bytes of a receipt's file.
const MAGIC: &[u8; 8] = b"VMRCPT3\n";
/// The first bytes of a file before messages were deflated.
const MAGIC_2: &[u8; 8] = b"VMRCPT2\n";
/// The first bytes of a file before there were checksum and packed checkpoint: the message follows.
const MAGIC_1: &[u8; 8] = b"VMRCPT1\n";
/// The longest message that is read, in bytes: a record, as many that registered its signers, and the proofs are less.
const MAX_MESSAGE: u64 = 4 << 20;
/// The most fields that a message has, those of its registrations and of its packed checkpoint counted in: eight registrations,
/// paths of 64 hashes, as many disclosures as an item has digests, a hundred signatures.
const MAX_FIELDS: usize = 4096;
/// The longest origin and name in a packed checkpoint, in bytes.
const MAX_NAME: usize = 255;
/// Bytes of the checksum behind the magic.
const CHECKSUM: usize = 8;
/// Fields of the message in which others stand.
const PACKED_CHECKPOINT: u64 = 13;
const REGISTRATIONS: u64 = 14;
/// Bytes of the key id before a signature.
const KEY_ID: usize = 4;

/// A receipt's file.
#[must_use]
pub fn receipt_file(receipt: &Receipt) -> Vec<u8> {
    let message = message(receipt);
    match deflate(&message) {
        Some(deflated) => [MAGIC.as_slice(), &checksum(&deflated), &deflated].concat(),
        None => [MAGIC_2.as_slice(), &checksum(&message), &message].concat(),
    }
}

/// The message in a file.
fn message(receipt: &Receipt) -> Vec<u8> {
    match pack(receipt) {
        Some(packed) => Receipt { checkpoint: Vec::new(), packed_checkpoint: Some(packed), ..receipt.clone() }.encode_to_vec(),
        None => receipt.encode_to_vec(),
    }
}

/// Writing into memory does not fail.
fn deflate(message: &[u8]) -> Option<Vec<u8>> {
    let mut out = DeflateEncoder::new(Vec::new(), Compression::best());
    out.write_all(message).ok()?;
    out.finish().ok()
}

/// What was deflated, if it is that and nothing behind it, and not too long.
fn inflate(deflated: &[u8]) -> Option<Vec<u8>> {
    let (mut decoder, mut out) = (DeflateDecoder::new(deflated), Vec::new());
    let length = decoder.by_ref().take(MAX_MESSAGE + 1).read_to_end(&mut out).ok()? as u64;
    (length <= MAX_MESSAGE && decoder.into_inner().is_empty()).then_some(out)
}

/// Reads the message of a receipt, in whichever form it came. What is not of one receipt's measure is refused before it is
/// decoded: a few kilobytes, deflated, can say millions of empty fields.
pub fn read_message(message: &[u8]) -> Result<Receipt, BadRecord> {
    let too_much = || BadRecord("it has more in it than a receipt can have".into());
    if message.len() as u64 > MAX_MESSAGE {
        return Err(too_much());
    }
    // What cannot be counted is not decoded either.
    let (mut fields, mut within) = (0, Ok(()));
    let walked = walk(message, |number, value| {
        fields += 1;
        if let (PACKED_CHECKPOINT | REGISTRATIONS, Some(value), Ok(())) = (number, value, &within) {
            within = walk(value, |_, _| fields += 1);
        }
    });
    walked.and(within).map_err(|e| BadRecord(e.to_string()))?;
    if fields > MAX_FIELDS {
        return Err(too_much());
    }
    canonical(message).map_err(|e| BadRecord(e.to_string()))
}

/// Reads a file of any magic. Of one message there is one form; how it is deflated may differ. That it
/// reads says nothing of its truth.
pub fn read_receipt(file: &[u8]) -> Result<Receipt, BadRecord> {
    let bad = |why: &str| BadRecord(why.to_owned());
    if let Some(message) = file.strip_prefix(MAGIC_1) {
        return read_message(message);
    }
    let deflated = file.strip_prefix(MAGIC);
    let rest = deflated.or_else(|| file.strip_prefix(MAGIC_2)).ok_or_else(|| bad("it is no receipt of this version"))?;
    let (sum, rest) = rest.split_first_chunk::<CHECKSUM>().ok_or_else(|| bad("it ends early"))?;
    if *sum != checksum(rest) {
        return Err(bad("its checksum does not hold"));
    }
    let found = match deflated {
        Some(_) => inflate(rest).ok_or_else(|| bad("it is not deflated as RFC 1951 says, or too long"))?,
        None => rest.to_vec(),
    };
    let mut receipt = read_message(&found)?;
    if let Some(packed) = receipt.packed_checkpoint.take() {
        receipt.checkpoint = unpack(&packed, receipt.tree_size).ok_or_else(|| bad("its checkpoint does not unpack"))?;
    }
    if message(&receipt) == found { Ok(receipt) } else { Err(bad("it is not written as this version writes it")) }
}

fn checksum(rest: &[u8]) -> [u8; CHECKSUM] {
    let mut sum = [0; CHECKSUM];
    sum.copy_from_slice(&sha256(rest)[..CHECKSUM]);
    sum
}

/// The checkpoint packed, if it comes back the same.
fn pack(receipt: &Receipt) -> Option<PackedNote> {
    let note = SignedNote::parse(&receipt.checkpoint).ok()?;
    let checkpoint = Checkpoint::parse(note.body()).ok()?;
    let short = |name: &str| {
        let rest = name.strip_prefix(&checkpoint.origin).filter(|rest| rest.is_empty() || rest.starts_with('/'));
        rest.unwrap_or(name).to_owned()
    };
    let signature = |line: &SignatureLine| PackedSignature {
        name: short(line.name()),
        signature: [&line.id().to_be_bytes(), line.signature()].concat(),
    };
    let signatures = note.lines().iter().map(signature).collect();
    let packed = PackedNote { origin: checkpoint.origin.clone(), root: checkpoint.root.to_vec(), signatures };
    (unpack(&packed, receipt.tree_size)? == receipt.checkpoint).then_some(packed)
}

fn unpack(packed: &PackedNote, size: u64) -> Option<Vec<u8>> {
    let origin = packed.origin.as_str();
    // Each name has the origin in front of it: a bound for both, before any is made.
    if packed.signatures.len() > MAX_NOTE_SIGNATURES || origin.len() > MAX_NAME || packed.signatures.iter().any(|s| s.name.len() > MAX_NAME)
    {
        return None;
    }
    let checkpoint = Checkpoint { origin: origin.to_owned(), size, root: packed.root.as_slice().try_into().ok()? };
    let line = |of: &PackedSignature| {
        let (id, signature) = of.signature.split_first_chunk::<KEY_ID>()?;
        // The origin's own name, and names below it, stand without it.
        let name = if of.name.is_empty() || of.name.starts_with('/') { format!("{origin}{}", of.name) } else { of.name.clone() };
        SignatureLine::new(name, u32::from_be_bytes(*id), signature.to_vec()).ok()
    };
    let lines = packed.signatures.iter().map(line).collect::<Option<Vec<_>>>()?;
    Some(SignedNote::new(&checkpoint.body(), lines).ok()?.to_bytes())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use vermilion_crypto::SigningKey;
    use vermilion_ledger::{cosign, make_checkpoint};
    use vermilion_proto::Registration;

    fn receipt(names: &[&str]) -> Receipt {
        let key = SigningKey::from_seed(&[1; 32]);
        let checkpoint = Checkpoint { origin: "city.example/ledger".into(), size: 9, root: [7; 32] };
        let mut note = make_checkpoint(&checkpoint, &key).unwrap();
        for name in names {
            note.add(cosign(&checkpoint.body(), name, &key, 5).unwrap()).unwrap();
        }
        Receipt { format_version: 1, record: vec![7; 40], tree_size: 9, checkpoint: note.to_bytes(), ..Receipt::default() }
    }

    #[test]
    fn files_come_back_packed_and_no_byte_may_change() {
        let receipt = receipt(&["city.example/ledger/n1", "city.example/ledgerx", "witness.example"]);
        let file = receipt_file(&receipt);
        assert!(file.len() + 100 < receipt.encoded_len());
        assert_eq!(read_receipt(&file), Ok(receipt));
        for at in 0..file.len() {
            for bit in 0..8 {
                let mut changed = file.clone();
                changed[at] ^= 1 << bit;
                assert!(read_receipt(&changed).is_err(), "bit {bit} of byte {at}");
            }
            assert!(read_receipt(&file[..at]).is_err());
        }
    }

    #[test]
    fn what_does_not_pack_stays_as_it_is_and_nothing_has_two_forms() {
        let good = receipt(&[]);
        for odd in
            [Receipt { tree_size: 8, ..good.clone() }, Receipt { checkpoint: b"no note".to_vec(), ..good.clone() }, Receipt::default()]
        {
            assert_eq!(read_receipt(&receipt_file(&odd)), Ok(odd));
        }
        let plain = good.encode_to_vec();
        let first = [MAGIC_1.as_slice(), &plain].concat();
        assert_eq!(read_receipt(&first), Ok(good));
        let unpacked = [MAGIC_2.as_slice(), &checksum(&plain), &plain].concat();
        assert!(read_receipt(&unpacked).is_err(), "the same receipt, not packed");
    }

    #[test]
    fn a_file_from_before_is_read_and_one_that_swells_is_not() {
        let good = receipt(&["city.example/ledger/n1"]);
        let packed = message(&good);
        let second = [MAGIC_2.as_slice(), &checksum(&packed), &packed].concat();
        assert_eq!(read_receipt(&second), Ok(good.clone()));
        let file = |deflated: &[u8]| [MAGIC.as_slice(), &checksum(deflated), deflated].concat();
        let deflated = deflate(&packed).unwrap();
        assert_eq!(read_receipt(&file(&deflated)), Ok(good.clone()));
        assert!(read_receipt(&file(&[&deflated[..], &[0]].concat())).is_err(), "more behind it");
        for many in [
            Receipt { registrations: vec![Registration::default(); 5000], ..good.clone() },
            Receipt { registrations: vec![Registration { inclusion: vec![vec![]; 2500], ..Registration::default() }; 2], ..good.clone() },
            Receipt { inclusion: vec![vec![]; 5000], ..good.clone() },
        ] {
            assert_eq!(read_receipt(&receipt_file(&many)), Err(BadRecord("it has more in it than a receipt can have".into())));
        }
        // Nor is anything decoded that cannot be counted: a number that is not in its shortest form ends no count.
        for bytes in
            [[&[8, 0x81, 0][..], &[0x72, 0].repeat(5000)].concat(), [&[0x72, 3, 0x80, 0x80, 0][..], &[0x72, 0].repeat(5000)].concat()]
        {
            let said = read_message(&bytes).unwrap_err().0;
            assert!(said.contains("cannot be told apart"), "{said}");
        }
        // A name for each of a hundred lines, and an origin that goes in front of each.
        let note = |origin: usize, lines: usize| {
            let signature = PackedSignature { name: String::new(), signature: vec![1; 68] };
            let packed = PackedNote { origin: "o".repeat(origin), root: vec![7; 32], signatures: vec![signature; lines] };
            unpack(&packed, 9).map(|note| note.len())
        };
        assert!(note(MAX_NAME, MAX_NOTE_SIGNATURES).is_some());
        assert_eq!((note(MAX_NAME + 1, 1), note(1, MAX_NOTE_SIGNATURES + 1)), (None, None));
        let swollen = deflate(&vec![0; MAX_MESSAGE as usize + 1]).unwrap();
        assert!(swollen.len() < 1 << 15);
        assert!(read_receipt(&file(&swollen)).is_err());
    }
}
