//! The import itself: a reader, several chunks under way at once, reports in the file's order.

use crate::client::Client;
use crate::clock::now_ms;
use crate::command::Prepared;
use crate::connection::{Answer, Recorded, refusal_of_number};
use crate::error::ClientError;
use crate::issue::again::{self, Before};
use crate::issue::chunk::{Chunk, Chunker, Member, cost};
use crate::issue::journal::{Generation, Journal};
use crate::issue::prepare::{IssuingUnit, Maker, Ready, Sound, check_chunk};
use crate::issue::read::{FileFacts, Line, Lines, examine};
use crate::issue::report::{InOrder, RowReport, Summary};
use crate::questions::CommandKnown;
use crate::signer;
use crate::types::Types;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use vermilion_crypto::{Digest, Tag};
use vermilion_proto::{ItemRefusal, Outcome};
use vermilion_registry::Kind;
use vermilion_registry::content::parse_row;
use vermilion_registry::reason::{Reason, Refusal};

/// Rows whose reports may be outstanding; the reader waits beyond.
const MAX_OUTSTANDING: usize = 32 * 1024;
/// Lines read ahead.
const READ_AHEAD: usize = 1024;

/// How an import is run.
#[derive(Clone, Copy, Debug)]
pub struct IssueOptions {
    /// Commands under way at once.
    pub at_once: usize,
    /// How long a command is sent again before its outcome counts as unknown and the import stops.
    pub patience: Duration,
}

impl Default for IssueOptions {
    fn default() -> Self {
        Self { at_once: 8, patience: Duration::from_secs(300) }
    }
}

/// What the chunks of one import share.
struct Import {
    client: Client,
    facts: FileFacts,
    types: Types,
    generations: Vec<Generation>,
    journal: Mutex<Journal>,
    /// Licences that an issue may have at most, by the policy in force.
    most: usize,
    units: tokio::sync::Mutex<HashMap<String, Option<Arc<IssuingUnit>>>>,
    rule: String,
    patience: Duration,
}

enum Event {
    /// A line whose report is here, or will come with its chunk.
    Line(Option<Option<RowReport>>),
    Chunk(Chunk),
    End(Result<FileFacts, ClientError>),
}

/// Issues every row of a file. `report` is called for each row, in the file's order; rows of an
/// import that ended in an error were not all reported, and the same call carries on.
pub async fn issue_file(
    client: &Client,
    path: &Path,
    options: &IssueOptions,
    report: &mut (dyn FnMut(&RowReport, u64) -> Result<(), ClientError> + Send),
) -> Result<Summary, ClientError> {
    let owned: PathBuf = path.into();
    let facts = tokio::task::spawn_blocking(move || examine(&owned)).await.map_err(broken)??;
    let current = client.types().await?;
    let states: Vec<_> = current.states().cloned().collect();
    let most = client.most_items().await?;
    let journal = Journal::open(client.config().state_dir(), client.ledger_id(), &facts.digest, now_ms(), &states, most)?;
    let items_max = journal.items_max();
    let import = Arc::new(Import {
        facts,
        types: Types::new(journal.types()?),
        generations: journal.generations().to_vec(),
        journal: Mutex::new(journal),
        most,
        units: tokio::sync::Mutex::default(),
        rule: client.post_rule(Kind::Issue).await?,
        patience: options.patience,
        client: client.clone(),
    });

    let (sender, mut events) = mpsc::channel(READ_AHEAD);
    let owned: PathBuf = path.into();
    tokio::task::spawn_blocking(move || read(&owned, items_max, &sender));
    let (mut order, mut summary) = (InOrder::default(), Summary::default());
    let mut waiting: VecDeque<Chunk> = VecDeque::new();
    let mut under_way: JoinSet<Result<(u64, Vec<RowReport>), ClientError>> = JoinSet::new();
    let mut series: BTreeMap<u64, foldhash::HashSet<String>> = BTreeMap::new();
    let mut ended = false;
    loop {
        while under_way.len() < options.at_once.max(1)
            && let Some(next) = waiting.front().map(Chunk::series).filter(|next| series.values().all(|other| other.is_disjoint(next)))
            && let Some(chunk) = waiting.pop_front()
        {
            series.insert(chunk.first(), next);
            under_way.spawn(carry(Arc::clone(&import), chunk));
        }
        while let Some(next) = order.take() {
            summary.count(&next);
            report(&next, facts.lines)?;
        }
        if ended && waiting.is_empty() && under_way.is_empty() {
            return Ok(summary);
        }
        tokio::select! {
            Some(done) = under_way.join_next(), if !under_way.is_empty() => {
                let (first, reports) = done.map_err(broken)??;
                series.remove(&first);
                reports.into_iter().for_each(|r| order.put(r));
            }
            event = events.recv(), if !ended && waiting.is_empty() && order.len() < MAX_OUTSTANDING => match event {
                Some(Event::Line(None)) => order.skip(),
                Some(Event::Line(Some(fate))) => {
                    order.expect();
                    if let Some(fate) = fate {
                        order.put(fate);
                    }
                }
                Some(Event::Chunk(chunk)) => waiting.push_back(chunk),
                Some(Event::End(read)) => {
                    ended = true;
                    if read? != facts {
                        let why = "changed while it was read: what was accepted counts, so send only the other rows, in a file of their own";
                        return Err(ClientError::Usage(format!("{} {why}", path.display())));
                    }
                }
                None => return Err(ClientError::Usage("the reader of the file stopped".into())),
            }
        }
    }
}

impl Import {
    /// Why a command is not sent, if the ledger would refuse it for ever: it was cut when policy allowed more, and was not taken
    /// then. Its rows are answered like others that are refused, and the import goes on.
    async fn outgrown(&self, prepared: &Prepared, items: usize) -> Result<Option<Refusal>, ClientError> {
        if items <= self.most {
            return Ok(None);
        }
        let known = self.client.connection.command_status(&prepared.id, prepared.not_after_ms).await?;
        if !matches!(known, CommandKnown::Unknown) {
            return Ok(None);
        }
        let why = "and was more when this file's rows were put together: send these in a file of their own";
        Ok(Some(Refusal::new(Reason::TooLarge, format!("policy issue.items.max is {} now, {why}", self.most))))
    }
}

/// A task that panicked or was cancelled.
fn broken(error: tokio::task::JoinError) -> ClientError {
    ClientError::BadAnswer(format!("a task of the import stopped: {error}"))
}

/// Reads the file to its end, unless nobody listens any more.
fn read(path: &Path, items_max: usize, events: &mpsc::Sender<Event>) {
    let run = || -> Result<Option<FileFacts>, ClientError> {
        let mut lines = Lines::open(path)?;
        let mut chunker = Chunker::new(items_max);
        let mut number = 0;
        while let Some(line) = lines.next_line()? {
            number += 1;
            let mut chunks = chunker.pass(number);
            let event = match line {
                Line::Empty => Event::Line(None),
                Line::Unreadable(why) => Event::Line(Some(Some(rejected(number, None, Refusal::new(Reason::Schema, why))))),
                Line::Text(text) => match parse_row(&text) {
                    Err(refusal) => Event::Line(Some(Some(rejected(number, identifier_of(&text), refusal)))),
                    Ok(row) => {
                        chunks.extend(chunker.add(Member { number, row }, cost(&text)));
                        Event::Line(Some(None))
                    }
                },
            };
            // The line before its chunk: a report must find its place.
            if events.blocking_send(event).is_err() || chunks.into_iter().any(|c| events.blocking_send(Event::Chunk(c)).is_err()) {
                return Ok(None);
            }
        }
        for chunk in chunker.finish() {
            if events.blocking_send(Event::Chunk(chunk)).is_err() {
                return Ok(None);
            }
        }
        Ok(Some(lines.facts()))
    };
    match run() {
        Ok(None) => {}
        Ok(Some(facts)) => _ = events.blocking_send(Event::End(Ok(facts))),
        Err(error) => _ = events.blocking_send(Event::End(Err(error))),
    }
}

/// The identifier of a line that is no row, as well as it can be told.
fn identifier_of(line: &str) -> Option<String> {
    let value: serde_json::Value = serde_json::from_str(line).ok()?;
    value.get("certificateIdentifier")?.as_str().map(str::to_owned)
}

fn rejected(row: u64, identifier: Option<String>, refusal: Refusal) -> RowReport {
    RowReport { row, identifier, accepted: false, reason: Some(refusal.reason), detail: refusal.detail, seq: None }
}

/// Takes one chunk from its rows to its reports.
async fn carry(import: Arc<Import>, chunk: Chunk) -> Result<(u64, Vec<RowReport>), ClientError> {
    let (at, first) = (Arc::clone(&import), chunk.first());
    let (chunk, checked) = tokio::task::spawn_blocking(move || {
        let checked = check_chunk(&chunk, &at.types);
        (chunk, checked)
    })
    .await
    .map_err(broken)?;
    let chunk = Arc::new(chunk);
    let mut reports: Vec<Option<RowReport>> = chunk.members.iter().map(|_| None).collect();
    let mut sound = Vec::with_capacity(checked.len());
    for (at, answer) in checked.into_iter().enumerate() {
        match answer {
            Ok(row) => sound.push(row),
            Err(refusal) => put(&mut reports, &chunk, at, refusal, None),
        }
    }
    match import.unit(&chunk.unit).await? {
        Some(unit) => send(&import, &unit, &chunk, sound, &mut reports).await?,
        None => {
            // Without its keys the row cannot be sent; what the catalogue says of it is known all the same.
            for row in sound {
                let code = chunk.members.get(row.at).map_or("", |m| m.row.type_code.as_str());
                let reason = if import.types.issues(code, &chunk.unit) { Reason::UnknownSigner } else { Reason::IssuerNotAuthorised };
                let detail = "no keys of the unit's maker and checker are configured here";
                put(&mut reports, &chunk, row.at, Refusal::new(reason, detail), None);
            }
        }
    }
    Ok((first, reports.into_iter().flatten().collect()))
}

fn put(reports: &mut [Option<RowReport>], chunk: &Chunk, at: usize, refusal: Refusal, seq: Option<u64>) {
    if let (Some(slot), Some(member)) = (reports.get_mut(at), chunk.members.get(at)) {
        *slot = Some(RowReport { seq, ..rejected(member.number, Some(member.row.identifier.clone()), refusal) });
    }
}

/// Reports that a row's licence stands in the ledger, by this record.
fn accept(reports: &mut [Option<RowReport>], chunk: &Chunk, at: usize, warning: Option<Reason>, seq: u64) {
    if let (Some(slot), Some(member)) = (reports.get_mut(at), chunk.members.get(at)) {
        *slot = Some(RowReport {
            row: member.number,
            identifier: Some(member.row.identifier.clone()),
            accepted: true,
            reason: warning,
            detail: String::new(),
            seq: Some(seq),
        });
    }
}

/// Sends a chunk's sound rows until each has its answer.
async fn send(
    import: &Arc<Import>,
    unit: &Arc<IssuingUnit>,
    chunk: &Arc<Chunk>,
    mut sound: Vec<Sound>,
    reports: &mut [Option<RowReport>],
) -> Result<(), ClientError> {
    sound.retain(|row| match chunk.members.get(row.at).and_then(|m| import.refused_before(m.number)) {
        Some(refusal) => {
            put(reports, chunk, row.at, refusal, None);
            false
        }
        None => true,
    });
    let counts: Vec<usize> = sound.iter().map(|row| row.inputs.len()).collect();
    let inputs = sound.iter_mut().flat_map(|row| std::mem::take(&mut row.inputs)).collect();
    let asker = unit.signers.first().map(|s| s.key.clone()).ok_or_else(|| ClientError::config("operators", "nobody signs an issue"))?;
    let tags = import.client.tags(&asker, inputs).await.map_err(|error| import.client.asked_with(&asker, error))?;
    let mut tags = VecDeque::from(tags);
    let mut rows: Vec<(Sound, Vec<Tag>)> = Vec::with_capacity(sound.len());
    for (row, count) in sound.into_iter().zip(counts) {
        let own = tags.drain(..count.min(tags.len())).collect();
        rows.push((row, own));
    }
    let mut rows = Arc::new(rows);
    let mut generation = 0;
    loop {
        let (refused, kept, prepared) = build(import, unit, chunk, &rows, generation).await?;
        refused.into_iter().for_each(|(at, refusal)| put(reports, chunk, at, refusal, None));
        let Some(prepared) = prepared else { return Ok(()) };
        if let Some(refusal) = import.outgrown(&prepared, kept.len()).await? {
            kept.iter().for_each(|at| put(reports, chunk, *at, refusal.clone(), None));
            return Ok(());
        }
        let mut answer = import.client.connection.submit_within(&prepared, import.patience).await?;
        if answer == Answer::Invalid
            && let Some(recorded) = import.client.is_really_invalid(&prepared).await?
        {
            answer = recorded;
        }
        match answer {
            Answer::Recorded(recorded) => {
                settle(&recorded, chunk, &kept, reports);
                let refused = again::duplicates(&prepared, &recorded, chunk, &kept);
                for Before { at, seq, warning } in again::issued_before(&import.client, &asker, refused).await? {
                    accept(reports, chunk, at, warning, seq);
                }
                return Ok(());
            }
            // Sent before this call it may lie in some node's log, whatever a door says now.
            Answer::RefusedAtDoor { refusal, items } if items.is_empty() && import.sent_before(generation) => {
                return Err(ClientError::Unknown { id: prepared.id, why: refusal.to_string() });
            }
            Answer::RefusedAtDoor { refusal, items } if items.is_empty() => return Err(refusal.into()),
            Answer::RefusedAtDoor { refusal, items } => {
                let refused = refused_rows(&refusal, &items, &kept);
                if refused.is_empty() {
                    return Err(refusal.into());
                }
                import.note_refused(chunk, &refused)?;
                for (at, (code, detail)) in &refused {
                    put(reports, chunk, *at, refusal_of_number(*code, detail.clone()), None);
                }
                rows = Arc::new(rows.iter().filter(|(row, _)| !refused.contains_key(&row.at)).cloned().collect());
            }
            // Never recorded in this generation: the next may.
            Answer::Invalid if generation + 1 < import.generations.len() => generation += 1,
            Answer::Invalid => return Err(Reason::Expired.into()),
        }
    }
}

/// Builds the command of these rows on a thread of its own: the rows that turn out not to build,
/// the places in the chunk of those that did, by position, and the command if there is any.
#[allow(clippy::type_complexity)]
async fn build(
    import: &Arc<Import>,
    unit: &Arc<IssuingUnit>,
    chunk: &Arc<Chunk>,
    rows: &Arc<Vec<(Sound, Vec<Tag>)>>,
    generation: usize,
) -> Result<(Vec<(usize, Refusal)>, Vec<usize>, Option<crate::command::Prepared>), ClientError> {
    let (import, unit, chunk, rows) = (Arc::clone(import), Arc::clone(unit), Arc::clone(chunk), Arc::clone(rows));
    let work = move || {
        let maker = Maker { ledger_id: import.client.ledger_id(), file: &import.facts.digest, unit: &unit, types: &import.types };
        let (mut refused, mut kept, mut items) = (Vec::new(), Vec::with_capacity(rows.len()), Vec::with_capacity(rows.len()));
        for (row, tags) in rows.iter() {
            let Some(member) = chunk.members.get(row.at) else { continue };
            match maker.item(&Ready { member, checked: &row.checked, tags }) {
                Ok(item) => {
                    items.push(item);
                    kept.push(row.at);
                }
                Err(refusal) => refused.push((row.at, refusal)),
            }
        }
        if items.is_empty() {
            return Ok((refused, kept, None));
        }
        let not_after_ms = import.generations.get(generation).map_or(0, |g| g.not_after_ms);
        let prepared = maker.issue(chunk.first(), not_after_ms, items)?;
        Ok((refused, kept, Some(prepared)))
    };
    tokio::task::spawn_blocking(work).await.map_err(broken)?
}

/// Which rows of the chunk the door refused, by their place in it: the reasons' numbers, and what exactly, which it says of one alone.
fn refused_rows(refusal: &Refusal, items: &[ItemRefusal], kept: &[usize]) -> BTreeMap<usize, (u32, String)> {
    let detail = |position: u32| refusal.detail.strip_prefix(format!("item {position}: ").as_str()).unwrap_or_default().to_owned();
    items.iter().filter_map(|i| Some((*kept.get(i.position as usize)?, (i.code, detail(i.position))))).collect()
}

/// Reports what the record says of each row.
fn settle(recorded: &Recorded, chunk: &Chunk, kept: &[usize], reports: &mut [Option<RowReport>]) {
    let Outcome { code, refused, warnings, .. } = &recorded.outcome;
    let refused: HashMap<u32, u32> = refused.iter().map(|r| (r.position, r.code)).collect();
    let warned: HashMap<u32, u32> = warnings.iter().map(|w| (w.position, w.code)).collect();
    for (position, at) in (0u32..).zip(kept) {
        let why = if *code == 0 { refused.get(&position).copied() } else { Some(*code) };
        match why {
            Some(code) => put(reports, chunk, *at, refusal_of_number(code, String::new()), Some(recorded.seq)),
            None => accept(reports, chunk, *at, warned.get(&position).and_then(|code| Reason::from_number(*code)), recorded.seq),
        }
    }
}

impl Import {
    /// What a unit needs to issue; none if its keys are not here.
    async fn unit(&self, uscc: &str) -> Result<Option<Arc<IssuingUnit>>, ClientError> {
        let mut units = self.units.lock().await;
        if let Some(known) = units.get(uscc) {
            return Ok(known.clone());
        }
        let found = issuing_unit(&self.client, uscc, &self.rule).await?.map(Arc::new);
        units.insert(uscc.to_owned(), found.clone());
        Ok(found)
    }

    fn sent_before(&self, generation: usize) -> bool {
        self.journal.lock().unwrap_or_else(PoisonError::into_inner).sent_before(generation)
    }

    fn refused_before(&self, row: u64) -> Option<Refusal> {
        let journal = self.journal.lock().unwrap_or_else(PoisonError::into_inner);
        let (code, detail) = journal.refused_at_door(row)?;
        Some(refusal_of_number(code, detail.to_owned()))
    }

    fn note_refused(&self, chunk: &Chunk, rows: &BTreeMap<usize, (u32, String)>) -> Result<(), ClientError> {
        let numbered = rows.iter().filter_map(|(at, (code, detail))| Some((chunk.members.get(*at)?.number, *code, detail.clone())));
        self.journal.lock().unwrap_or_else(PoisonError::into_inner).note_refused(numbered)
    }
}

/// Signers, secret and vault keys of a unit; none if nobody here signs for it. A unit with signers
/// and no secret is an error of the configuration.
pub async fn issuing_unit(client: &Client, uscc: &str, rule: &str) -> Result<Option<IssuingUnit>, ClientError> {
    if !signer::can_sign(client.keyring(), uscc, rule) {
        return Ok(None);
    }
    Ok(Some(IssuingUnit {
        uscc: uscc.to_owned(),
        signers: client.signatories(uscc, rule).await?,
        secret: client.keyring().unit_secret(uscc)?,
        vault_keys: client.vault_keys_of(uscc).await?,
    }))
}

/// The digest of a file, by which its commands are named.
pub fn file_digest(path: &Path) -> Result<Digest, ClientError> {
    examine(path).map(|facts| facts.digest)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::issue::chunk::tests::{ROWS, chunks};
    use vermilion_proto::ItemWarning;

    #[test]
    fn a_record_answers_each_row() {
        let mut chunk = chunks(ROWS).remove(0);
        chunk.members.truncate(4);
        let mut reports = vec![None; 4];
        let outcome = Outcome {
            refused: vec![ItemRefusal { position: 1, code: Reason::DuplicateIdentifier.number() }],
            warnings: vec![ItemWarning { position: 2, code: Reason::HolderCodeUnusual.number() }],
            ..Default::default()
        };
        let recorded = Recorded { id: [1; 32], seq: 12, time_ms: 0, record_hash: Vec::new(), outcome, detail: String::new() };
        // The chunk's second row never went into the command.
        settle(&recorded, &chunk, &[0, 2, 3], &mut reports);
        let brief: Vec<_> = reports.iter().map(|r| r.as_ref().map(|r| (r.accepted, r.reason, r.seq))).collect();
        assert_eq!(
            brief,
            [
                Some((true, None, Some(12))),
                None,
                Some((false, Some(Reason::DuplicateIdentifier), Some(12))),
                Some((true, Some(Reason::HolderCodeUnusual), Some(12)))
            ]
        );
        let whole = Recorded { outcome: Outcome { code: Reason::UnitSuspended.number(), ..Default::default() }, ..recorded };
        settle(&whole, &chunk, &[0, 1, 2, 3], &mut reports);
        assert!(reports.iter().flatten().all(|r| r.reason == Some(Reason::UnitSuspended)));
        assert_eq!(
            refused_rows(
                &Refusal::new(Reason::ContentDigest, "item 2: a field stands twice"),
                &[ItemRefusal { position: 2, code: 45 }, ItemRefusal { position: 0, code: 45 }, ItemRefusal { position: 9, code: 45 }],
                &[0, 2, 3]
            ),
            BTreeMap::from([(3, (45, "a field stands twice".to_owned())), (0, (45, String::new()))])
        );
    }

    #[test]
    fn the_reader_announces_each_line_before_its_chunk() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rows");
        let good: Vec<&str> = ROWS.lines().take(3).collect();
        std::fs::write(&path, format!("{}\n\n{{\"certificateIdentifier\":\"x\"}}\n{}\n{}\n", good[0], good[1], good[2])).unwrap();
        let (sender, mut events) = mpsc::channel(100);
        read(&path, 1000, &sender);
        drop(sender);
        let (mut lines, mut rows, mut ended) = (0, 0, false);
        while let Some(event) = events.blocking_recv() {
            match event {
                Event::Line(None) => lines += 1,
                Event::Line(Some(None)) => lines += 1,
                Event::Line(Some(Some(report))) => {
                    lines += 1;
                    assert_eq!((report.row, report.identifier.as_deref(), report.reason), (3, Some("x"), Some(Reason::Schema)));
                }
                Event::Chunk(chunk) => {
                    rows += chunk.members.len();
                    assert!(chunk.members.iter().all(|m| m.number <= lines));
                }
                Event::End(facts) => {
                    ended = true;
                    assert_eq!(facts.unwrap(), examine(&path).unwrap());
                }
            }
        }
        assert!(ended);
        assert_eq!((lines, rows), (5, 3));
    }
}
