//! What can be said of a record by itself: its form, its hash and leaf, its envelope, items and
//! signatures, and the content that a directory keeps for it. Runs on every core, in any order.

use super::content::{Lacking, VaultReader};
use super::finding::{Code, Findings};
use super::pipeline::Chunk;
use super::signatures::Signatures;
use vermilion_crypto::Digest;
use vermilion_identity::{EnvelopeError, Opened, open_each};
use vermilion_ledger::{Commitment, Leaf, UNKNOWN_STATE, chain_next, record_hashes};
use vermilion_proto::view::{RecordView, StoredView};
use vermilion_registry::submission::recorded;
use vermilion_registry::{Checked, Reason};
use vermilion_storage::Store;

/// Records hashed side by side: some times as many as a processor's registers hold, and few enough to
/// lie in its cache when their commands are opened.
const SIDE_BY_SIDE: usize = 64;

/// What to examine.
pub struct Examiner<'a> {
    /// The source's name.
    pub source: &'a str,
    /// Whether to check signatures.
    pub signatures: bool,
    /// Whether to open commands: envelopes, items, and what travelled beside. If not, records are
    /// hashed and nothing else.
    pub commands: bool,
    /// Whether to link the records; else a replay that gives the same bytes does.
    pub links: bool,
    /// The directory whose vault is to be checked.
    pub store: Option<&'a Store>,
}

/// A chunk's records, examined.
pub struct Examined {
    /// In the order of their places.
    pub places: Vec<Place>,
    /// The commands of those that have one, in the same order.
    pub commands: Vec<Checked>,
    /// Their signatures, to be checked with those of other chunks.
    pub signatures: Signatures,
    /// What the vault lacks.
    pub lacking: Lacking,
    /// What was found.
    pub findings: Findings,
}

/// What stands at one place.
pub struct Place {
    /// The place.
    pub seq: u64,
    /// The record, if it can be read.
    pub record: Option<Readable>,
}

/// A record that can be read.
#[derive(Clone, Debug)]
pub struct Readable {
    /// Which row of the chunk.
    row: usize,
    /// The number that it bears.
    pub number: u64,
    /// Its time.
    pub time_ms: u64,
    /// The version of the rules under which it was decided.
    pub rules: u32,
    /// What it commits to, if it is a commitment record.
    pub commitment: Option<Commitment>,
    /// Its hash.
    pub hash: Digest,
    /// The chain after it, as stored.
    pub chain: Digest,
    /// How it hangs on the one before, if that was to be looked at here.
    pub link: Option<Link>,
    /// Whether envelope and items open, so that its command stands among the chunk's.
    pub has_command: bool,
}

/// What follows from a record and the chain that is stored with it.
#[derive(Clone, Copy, Debug)]
pub struct Link {
    /// Hash of the leaf that it leaves, under the chain as stored.
    pub leaf_hash: Digest,
    /// Whether its stored chain follows from the one that is stored with the record before it in the
    /// same chunk.
    pub follows: bool,
}

/// What stands at a place, its wrappers read.
struct Row<'a> {
    stored: StoredView<'a>,
    record: RecordView<'a>,
}

impl<'a> Row<'a> {
    fn read(row: &'a [u8]) -> Result<Self, String> {
        let stored = StoredView::parse(row).map_err(|error| error.to_string())?;
        let record = RecordView::parse(stored.record).map_err(|error| error.to_string())?;
        if (stored.format_version, record.format_version) != (1, 1) {
            return Err("its format version is not 1".into());
        }
        Ok(Self { stored, record })
    }
}

impl Readable {
    /// Its exact bytes, in its chunk.
    pub fn bytes<'a>(&self, chunk: &'a Chunk) -> &'a [u8] {
        StoredView::parse(chunk.row(self.row)).map_or(&[], |stored| stored.record)
    }

    /// The hash of the leaf that it leaves under a chain.
    pub fn leaf_hash(&self, chain: Digest) -> Digest {
        self.leaf(chain).hash()
    }

    /// The leaf that it leaves under a chain.
    pub fn leaf(&self, chain: Digest) -> Leaf {
        Leaf { seq: self.number, time_ms: self.time_ms, record_hash: self.hash, chain_hash: chain, commitment: self.commitment }
    }
}

impl<'a> Examiner<'a> {
    /// What a core keeps from one chunk to the next: where it reads in the vault.
    pub fn worker(&self) -> Option<VaultReader<'a>> {
        self.store.filter(|_| self.commands).map(VaultReader::new)
    }

    /// Examines a chunk.
    pub fn chunk(&self, mut vault: Option<&mut VaultReader<'a>>, chunk: &Chunk) -> Examined {
        let commands = if self.commands { chunk.len() } else { 0 };
        let mut out = Examined {
            places: Vec::with_capacity(chunk.len()),
            commands: Vec::with_capacity(commands),
            signatures: Signatures::default(),
            lacking: Lacking::default(),
            findings: Findings::of(self.source),
        };
        if let Some(vault) = &mut vault {
            vault.begin(chunk.from, &mut out.findings);
        }
        let mut before: Option<(u64, Digest)> = None;
        let rows: Vec<(u64, &[u8])> = chunk.rows().collect();
        for group in rows.chunks(SIDE_BY_SIDE) {
            let read: Vec<_> = group.iter().map(|(_, row)| Row::read(row)).collect();
            let part = |part: for<'r> fn(&Row<'r>) -> &'r [u8]| -> Vec<&[u8]> {
                read.iter().map(|row| row.as_ref().map_or(&[][..], part)).collect()
            };
            let hashes = record_hashes(&part(|row| row.stored.record));
            let mut opened = if self.commands { open_each(&part(|row| row.record.envelope)) } else { Vec::new() }.into_iter();
            for (((seq, _), row), hash) in group.iter().zip(&read).zip(hashes) {
                let opened = opened.next();
                let row = row.as_ref().map_err(Clone::clone);
                let record = row.and_then(|row| self.record(chunk, *seq, row, hash, before, opened, vault.as_deref_mut(), &mut out));
                let record = match record {
                    Ok(record) => Some(record),
                    Err(why) => {
                        unreadable(&mut out.findings, *seq, &why);
                        None
                    }
                };
                before = record.as_ref().map(|record| (*seq, record.chain));
                out.places.push(Place { seq: *seq, record });
            }
        }
        if let Some(vault) = &mut vault
            && chunk.last
        {
            vault.end(&mut out.findings);
        }
        out
    }

    #[allow(clippy::too_many_arguments, reason = "what a chunk's records share, each used once")]
    fn record(
        &self,
        chunk: &Chunk,
        seq: u64,
        row: &Row<'_>,
        hash: Digest,
        before: Option<(u64, Digest)>,
        opened: Option<Result<Opened, EnvelopeError>>,
        vault: Option<&mut VaultReader<'_>>,
        out: &mut Examined,
    ) -> Result<Readable, String> {
        let Row { stored, record } = row;
        let mut readable = Readable {
            row: out.places.len(),
            number: record.seq,
            time_ms: record.time_ms,
            rules: record.rules_version,
            commitment: commitment(record)?,
            hash,
            chain: stored.chain.try_into().map_err(|_| "the chain hash is not 32 bytes")?,
            link: None,
            has_command: false,
        };
        if self.links {
            let follows =
                before.is_some_and(|(place, chain)| place.checked_add(1) == Some(seq) && chain_next(&chain, &hash) == readable.chain);
            readable.link = Some(Link { leaf_hash: readable.leaf_hash(readable.chain), follows });
        }
        if let Some(opened) = opened
            && let Some(command) = self.command(chunk, seq, row, opened, &mut out.signatures, &mut out.findings)
        {
            self.beside(seq, record, &command, &mut out.findings);
            if let Some(vault) = vault {
                vault.compare(seq, record, &command, &mut out.lacking, &mut out.findings);
            }
            out.commands.push(command);
            readable.has_command = true;
        }
        Ok(readable)
    }

    fn command(
        &self,
        chunk: &Chunk,
        seq: u64,
        row: &Row<'_>,
        opened: Result<Opened, EnvelopeError>,
        signatures: &mut Signatures,
        findings: &mut Findings,
    ) -> Option<Checked> {
        let opened = match opened {
            Ok(opened) => opened,
            Err(error) => {
                envelope_finding(findings, seq, &error);
                return None;
            }
        };
        if self.signatures {
            signatures.queue(seq, &opened.signed);
        }
        let items = row.stored.items.iter().map(|item| chunk.slice(item)).collect();
        match recorded(opened, chunk.slice(row.record.envelope), items) {
            Ok((_, command)) => Some(command),
            Err(refusal) => {
                findings.add(
                    Code::ItemsDiffer,
                    Some(seq),
                    format!("The licence items stored with record {seq} are not those that were signed: {refusal}."),
                    format!("第{seq}号记录所附的证照条目与签名内容不符。"),
                );
                None
            }
        }
    }

    /// What must hold between a record and its command, without any state.
    fn beside(&self, seq: u64, record: &RecordView<'_>, command: &Checked, findings: &mut Findings) {
        if seq > 0 && command.signer_keys.is_empty() {
            findings.add(
                Code::SignerMissing,
                Some(seq),
                format!("Record {seq} holds a command that nobody has signed."),
                format!("第{seq}号记录中的指令没有任何签名。"),
            );
        }
        if record.beside_digest != command.beside_digest {
            findings.add(
                Code::BesideDiffers,
                Some(seq),
                format!("Record {seq} states another digest of what travelled with its command than was signed."),
                format!("第{seq}号记录所载的随附内容摘要与签名内容不符。"),
            );
        }
    }
}

/// What a commitment record's leaf holds beyond a record's.
fn commitment(record: &RecordView<'_>) -> Result<Option<Commitment>, String> {
    let Some(data) = &record.commitment else { return Ok(None) };
    let digest = |bytes: &[u8], what: &str| Digest::try_from(bytes).map_err(|_| format!("{what} is not 32 bytes"));
    let state_digest = if data.state_digest.is_empty() { UNKNOWN_STATE } else { digest(&data.state_digest, "the state digest")? };
    Ok(Some(Commitment { status_root: digest(&data.status_root, "the status root")?, state_digest }))
}

/// Notes a record that cannot be read.
pub fn unreadable(findings: &mut Findings, seq: u64, why: &str) {
    findings.add(
        Code::RecordUnreadable,
        Some(seq),
        format!("What stands at place {seq} is not a record of this format: {why}."),
        format!("第{seq}号位置上的内容不是本格式的记录。"),
    );
}

/// Notes what is wrong with an envelope.
pub fn envelope_finding(findings: &mut Findings, seq: u64, error: &EnvelopeError) {
    match error {
        EnvelopeError::BadSignature(n) => findings.add(
            Code::SignatureBad,
            Some(seq),
            format!("In record {seq} the signature of signer {} does not hold.", n + 1),
            format!("第{seq}号记录中第{}位签署人的签名无效。", n + 1),
        ),
        EnvelopeError::Incomplete(n) => findings.add(
            Code::SignerMissing,
            Some(seq),
            format!("In record {seq} signer {} is named but has not signed.", n + 1),
            format!("第{seq}号记录中列名的第{}位签署人没有签名。", n + 1),
        ),
        other => findings.add(
            Code::EnvelopeBroken,
            Some(seq),
            format!("The envelope in record {seq} does not open: {other}."),
            format!("第{seq}号记录中的信封无法打开。"),
        ),
    }
}

/// What a reason number of an outcome is called.
pub fn reason_name(code: u32) -> &'static str {
    if code == 0 { "accepted" } else { Reason::from_number(code).map_or("unknown", Reason::name) }
}
