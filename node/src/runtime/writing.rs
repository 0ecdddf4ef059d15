//! The thread that writes the log, and sends what had to wait for that.

use crate::runtime::applying::ApplierTask;
use crate::runtime::{Event, FatalStop};
use raft::eraftpb::{Message, MessageType};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel};
use vermilion_consensus::{LogWriter as _, Transport, Write};
use vermilion_storage::LogHandle;

/// Sends messages, those for one node together.
pub(super) fn send<T: Transport>(transport: &mut T, messages: Vec<Message>) {
    let mut by_peer: Vec<(u64, Vec<Message>)> = Vec::new();
    for message in messages {
        match by_peer.iter_mut().find(|(to, _)| *to == message.to) {
            Some((_, list)) => list.push(message),
            None => by_peer.push((message.to, vec![message])),
        }
    }
    for (to, messages) in by_peer {
        transport.send(to, messages);
    }
}

/// The thread that writes the log: what waits for a write to be durable leaves behind it.
pub(super) fn writer<T: Transport>(
    mut log: LogHandle,
    queue: Receiver<Write>,
    events: SyncSender<Event>,
    mut transport: T,
    applier: Sender<ApplierTask>,
    fatal: tokio::sync::mpsc::UnboundedSender<FatalStop>,
) {
    let fail = |why: String| {
        let _ = fatal.send(FatalStop(why));
    };
    for write in queue {
        let mut installed = None;
        if let Some(snapshot) = &write.batch.snapshot {
            // State first, then the log: a crash in between is seen at start and finished.
            let (done, wait) = channel();
            if applier.send(ApplierTask::Install(snapshot.clone(), done)).is_err() {
                return;
            }
            match wait.recv() {
                Ok(Ok(applied)) => installed = Some(applied),
                Ok(Err(error)) => return fail(error.to_string()),
                Err(_) => return,
            }
        }
        if let Err(error) = log.write(write.batch) {
            return fail(format!("the Raft log could not be written, so what it holds is unknown: {error}"));
        }
        send(&mut transport, write.after);
        if events.send(Event::Persisted(write.number)).is_err() {
            return;
        }
        if let Some((applied, roster)) = installed
            && events.send(Event::Applied { applied, changes: Vec::new(), roster: Some(roster) }).is_err()
        {
            return;
        }
    }
}

/// Whether a message carries a snapshot, whose delivery must be reported.
#[must_use]
pub fn is_snapshot(message: &Message) -> bool {
    message.msg_type == MessageType::MsgSnapshot as i32
}
