//! Rows that the ledger refuses as duplicates because this very file issued them before, under a journal that is not here: sent
//! from another state folder, after the journal was lost, or before a vault key was rotated. The commands are others then. The
//! items are not: salts, keys of contents, and so ciphertexts and digests, are functions of the unit's secret, the file's digest,
//! the row's number and the row itself ([`super::prepare`]). So the record that issued the licence tells: if the item in it is the
//! one that this row makes, the row's answer is that record's. No other row makes it, nor anybody else: its digests are over salts
//! that take the unit's secret.
//!
//! Each record is asked for once for all rows of a chunk: it holds the items of up to a thousand. One is held at a time.

use crate::client::Client;
use crate::command::Prepared;
use crate::connection::{Connection, Recorded};
use crate::error::ClientError;
use crate::issue::chunk::Chunk;
use std::collections::{HashMap, HashSet};
use tonic::{Response, Status};
use vermilion_crypto::SigningKey;
use vermilion_proto::{LicenceItem, Message as _, RecordsRequest, StoredRecord, Submission, canonical, whole};
use vermilion_registry::reason::Reason;
use vermilion_registry::stored::open_record;

/// A row that a record refused as a duplicate of a licence that it did not issue itself.
pub struct Duplicate {
    /// Its place in the chunk.
    pub at: usize,
    /// The licence's identifier.
    pub identifier: String,
    /// The item that the row makes.
    pub item: LicenceItem,
}

/// What an earlier record says of a row that it issued.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Before {
    /// The row's place in the chunk.
    pub at: usize,
    /// The record's number.
    pub seq: u64,
    /// With what warning it was taken.
    pub warning: Option<Reason>,
}

/// By what a licence's version is known in items: identifier, or tag.
type Name = (String, Vec<u8>);

fn name(item: &LicenceItem) -> Name {
    (item.identifier.clone(), item.identifier_tag.clone())
}

/// The rows of a command that its record refused as duplicates. `kept`: the place in the chunk of each of its items. Of two equal
/// rows of one command the record itself has the first.
pub fn duplicates(prepared: &Prepared, recorded: &Recorded, chunk: &Chunk, kept: &[usize]) -> Vec<Duplicate> {
    let refused: HashMap<usize, u32> = recorded.outcome.refused.iter().map(|r| (r.position as usize, r.code)).collect();
    let duplicate = Reason::DuplicateIdentifier.number();
    if recorded.outcome.code != 0 || !refused.values().any(|code| *code == duplicate) {
        return Vec::new();
    }
    // What was made and sent here reads.
    let beside = whole::<Submission>(&prepared.submission).ok().and_then(|submission| submission.beside).unwrap_or_default();
    let items: Vec<LicenceItem> = beside.items.iter().filter_map(|item| LicenceItem::decode(&item[..]).ok()).collect();
    let issued: HashSet<Name> = items.iter().enumerate().filter(|(n, _)| !refused.contains_key(n)).map(|(_, item)| name(item)).collect();
    let one = |(position, item): (usize, LicenceItem)| {
        let at = *kept.get(position)?;
        let identifier = chunk.members.get(at)?.row.identifier.clone();
        (refused.get(&position) == Some(&duplicate) && !issued.contains(&name(&item))).then_some(Duplicate { at, identifier, item })
    };
    items.into_iter().enumerate().filter_map(one).collect()
}

/// Finds the rows that were issued before, asked by the holder of `asker`, of the unit that issues.
pub async fn issued_before(client: &Client, asker: &SigningKey, mut rows: Vec<Duplicate>) -> Result<Vec<Before>, ClientError> {
    let mut out = Vec::new();
    while let Some(asked) = rows.pop() {
        let reply = known(client.connection.query("licence", &asked.identifier, Some(asker)).await)?;
        let Some(seq) = reply.and_then(|reply| reply.licences.first().map(|licence| licence.seq)) else { continue };
        let Some(record) = known(record(&client.connection, seq, asker).await)? else { continue };
        let issued = Issued::read(seq, &record)?;
        let at = asked.at;
        rows.push(asked);
        out.extend(issued.decide(&mut rows));
        // Of the row that was asked about there is no more to find out.
        rows.retain(|row| row.at != at);
    }
    Ok(out)
}

/// An answer, if there is one to be had: a refusal for good, as of a licence that is another unit's, says nothing of the row.
fn known<T>(answer: Result<T, ClientError>) -> Result<Option<T>, ClientError> {
    match answer {
        Ok(answer) => Ok(Some(answer)),
        Err(ClientError::Refused(refusal)) if !refusal.reason.is_passing() => Ok(None),
        Err(error) => Err(error),
    }
}

/// One record, of a command of the asker's unit.
async fn record(connection: &Connection, seq: u64, asker: &SigningKey) -> Result<StoredRecord, ClientError> {
    connection
        .ask(|mut node| {
            let request = connection.signed(asker, "records", RecordsRequest { from: seq, to: seq.saturating_add(1) });
            async move {
                let request = request.map_err(|e| Status::invalid_argument(e.to_string()))?;
                let found = node.records(request).await?.into_inner().message().await?;
                found.map(Response::new).ok_or_else(|| Status::unavailable("the node has not come to this record yet"))
            }
        })
        .await
}

/// The licences that a record issued.
struct Issued {
    seq: u64,
    items: HashMap<Name, (LicenceItem, Option<Reason>)>,
}

impl Issued {
    fn read(seq: u64, stored: &StoredRecord) -> Result<Self, ClientError> {
        let bad = |why: String| ClientError::BadAnswer(format!("record {seq}: {why}"));
        let record = open_record(stored).map_err(|e| bad(e.to_string()))?.record;
        if record.seq != seq {
            return Err(bad(format!("it is number {}", record.seq)));
        }
        let outcome = record.outcome.unwrap_or_default();
        let refused: HashSet<u32> = outcome.refused.iter().map(|r| r.position).collect();
        let warned: HashMap<u32, u32> = outcome.warnings.iter().map(|w| (w.position, w.code)).collect();
        let mut items = HashMap::new();
        for (position, bytes) in (0u32..).zip(&stored.items).filter(|(n, _)| outcome.code == 0 && !refused.contains(n)) {
            let item: LicenceItem = canonical(bytes).map_err(|e| bad(e.to_string()))?;
            let warning = warned.get(&position).and_then(|code| Reason::from_number(*code));
            items.insert(name(&item), (item, warning));
        }
        Ok(Self { seq, items })
    }

    /// Takes out the rows whose licences this record issued, and says which of them issued them.
    fn decide(&self, rows: &mut Vec<Duplicate>) -> Vec<Before> {
        let mut out = Vec::new();
        rows.retain(|row| {
            let Some((item, warning)) = self.items.get(&name(&row.item)) else { return true };
            if is_of(&row.item, item) {
                out.push(Before { at: row.at, seq: self.seq, warning: *warning });
            }
            false
        });
        out
    }
}

/// Whether a recorded item is the one that a row makes. Only what follows from the type's version may differ: the type may have
/// been published anew since, and the earlier journal knew the version of then.
fn is_of(made: &LicenceItem, recorded: &LicenceItem) -> bool {
    let as_then = LicenceItem {
        type_version: recorded.type_version,
        schema_version: recorded.schema_version,
        field_classes: recorded.field_classes.clone(),
        ..made.clone()
    };
    as_then == *recorded
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::issue::chunk::tests::{ROWS, chunks};
    use crate::issue::prepare::tests::{command, types};
    use vermilion_proto::{ItemRefusal, ItemWarning, Outcome, Record};

    const ROWS_SENT: usize = 4;

    fn chunk() -> Chunk {
        let mut chunk = chunks(ROWS).remove(0);
        chunk.members.truncate(ROWS_SENT);
        chunk
    }

    fn recorded(prepared: &Prepared, seq: u64, refused: &[u32]) -> Recorded {
        let refused = refused.iter().map(|n| ItemRefusal { position: *n, code: Reason::DuplicateIdentifier.number() }).collect();
        let warnings = vec![ItemWarning { position: 1, code: Reason::HolderCodeUnusual.number() }];
        let outcome = Outcome { refused, warnings, ..Outcome::default() };
        Recorded { id: prepared.id, seq, time_ms: 0, record_hash: Vec::new(), outcome, detail: String::new() }
    }

    fn stored(prepared: &Prepared, recorded: &Recorded) -> StoredRecord {
        let submission: Submission = whole(&prepared.submission).unwrap();
        let record = Record { format_version: 1, seq: recorded.seq, outcome: Some(recorded.outcome.clone()), ..Record::default() };
        let items = submission.beside.unwrap().items;
        StoredRecord { format_version: 1, record: record.encode_to_vec().into(), items, chain: vec![0; 32] }
    }

    #[test]
    fn another_journals_commands_make_the_same_items() {
        let (types, chunk) = (types(), chunk());
        let first = command(&chunk, &types, 1_000, 0);
        let second = command(&chunk, &types, 2_000, 0);
        assert_ne!(first.id, second.id);
        let before = recorded(&first, 12, &[]);
        let mut rows = duplicates(&second, &recorded(&second, 20, &[0, 1, 2, 3]), &chunk, &[0, 1, 2, 3]);
        assert_eq!(rows.iter().map(|row| row.at).collect::<Vec<_>>(), [0, 1, 2, 3]);
        assert_eq!(rows[2].identifier, chunk.members[2].row.identifier);
        let found = Issued::read(12, &stored(&first, &before)).unwrap().decide(&mut rows);
        assert_eq!(
            found.iter().map(|b| (b.at, b.seq, b.warning.is_some())).collect::<Vec<_>>(),
            [(0, 12, false), (1, 12, true), (2, 12, false), (3, 12, false)]
        );
        assert!(rows.is_empty());
        assert!(Issued::read(13, &stored(&first, &before)).is_err(), "another record than was asked for");
    }

    #[test]
    fn what_another_row_or_file_issued_stays_a_duplicate() {
        let (types, chunk) = (types(), chunk());
        let first = command(&chunk, &types, 1_000, 0);
        // The same licences on other lines: as in another file, no salt is the same.
        let mut moved = chunk.clone();
        moved.members.iter_mut().for_each(|member| member.number += 1);
        let second = command(&moved, &types, 1_000, 0);
        let mut rows = duplicates(&second, &recorded(&second, 20, &[0, 1, 2, 3]), &moved, &[0, 1, 2, 3]);
        // The first record refused one of them: whoever issued that stands in another one.
        let issued = Issued::read(12, &stored(&first, &recorded(&first, 12, &[3]))).unwrap();
        assert_eq!(issued.decide(&mut rows), []);
        assert_eq!(rows.iter().map(|row| row.at).collect::<Vec<_>>(), [3]);
    }

    #[test]
    fn only_what_the_types_version_brings_may_differ() {
        let (types, chunk) = (types(), chunk());
        let sent = command(&chunk, &types, 1_000, 0);
        let made = duplicates(&sent, &recorded(&sent, 20, &[0, 1, 2, 3]), &chunk, &[0, 1, 2, 3]).remove(0).item;
        let of_then = LicenceItem { type_version: 7, schema_version: 7, field_classes: vec![1; made.field_classes.len()], ..made.clone() };
        assert!(is_of(&made, &made) && is_of(&made, &of_then));
        assert!(!is_of(&made, &LicenceItem { expires_on: made.expires_on + 1, ..made.clone() }));
        assert!(!is_of(&made, &LicenceItem { field_digests: vec![0; made.field_digests.len()], ..made.clone() }));
        assert!(!is_of(&made, &LicenceItem { ciphertext_digest: vec![0; 32], ..made.clone() }));
    }

    #[test]
    fn the_first_of_two_equal_rows_is_not_asked_for() {
        let (types, mut chunk) = (types(), chunk());
        let again = chunk.members[0].row.clone();
        chunk.members[3].row = again;
        let sent = command(&chunk, &types, 1_000, 0);
        assert!(duplicates(&sent, &recorded(&sent, 20, &[3]), &chunk, &[0, 1, 2, 3]).is_empty());
        let both = duplicates(&sent, &recorded(&sent, 20, &[0, 3]), &chunk, &[0, 1, 2, 3]);
        assert_eq!(both.iter().map(|row| row.at).collect::<Vec<_>>(), [0, 3]);
        let whole =
            Recorded { outcome: Outcome { code: Reason::UnitSuspended.number(), ..Outcome::default() }, ..recorded(&sent, 20, &[3]) };
        assert!(duplicates(&sent, &whole, &chunk, &[0, 1, 2, 3]).is_empty());
    }
}
