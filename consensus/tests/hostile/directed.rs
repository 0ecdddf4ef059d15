//! Situations that chance seldom meets, each with what raft 0.7 would do in it.

use std::collections::BTreeMap;

use raft::eraftpb::MessageType as T;
use raft::storage::MemStorage;
use slog::{Discard, Logger, o};
use vermilion_consensus::{
    Applied, Change, ChangeRefusal, ConfChangeError, ConfState, Driver, DriverConfig, Entry, Fault, HardState, Message, Millis, Role,
    Standing, StepError, SubmitError, Tip, TransferError,
};

use crate::{Node, Plain};

fn message(kind: T, from: u64, term: u64) -> Message {
    let mut message = Message { from, to: 1, term, ..Message::default() };
    message.set_msg_type(kind);
    message
}

fn append(from: u64, term: u64, index: u64, log_term: u64, entries: &[u64]) -> Message {
    let entries = entries.iter().zip(index + 1..).map(|(term, index)| Entry { index, term: *term, ..Entry::default() }).collect();
    Message { index, log_term, entries, ..message(T::MsgAppend, from, term) }
}

fn role(node: &Node) -> Role {
    node.driver.status().role
}

/// Node 1 of three, whose log of three entries ends in term 2, at the head of term 6.
fn leader() -> Node {
    let mut node = Node::new(3, 0);
    node.driver.campaign();
    node.poll();
    node.driver.step(message(T::MsgRequestPreVoteResponse, 2, 6)).unwrap();
    node.poll();
    node.write();
    node.driver.step(message(T::MsgRequestVoteResponse, 2, 6)).unwrap();
    node.poll();
    node.write();
    assert_eq!(role(&node), Role::Leader);
    node
}

fn acknowledge(node: &mut Node) {
    let index = node.driver.status().last_index;
    node.driver.step(Message { index, ..message(T::MsgAppendResponse, 2, 6) }).unwrap();
    node.poll();
}

#[test]
fn a_log_that_lacks_what_was_acknowledged_is_told_of() {
    let mut node = Node::new(3, 0);
    assert_eq!(node.driver.status().lost, None);
    let beat = |commit, term| Message { commit, ..message(T::MsgHeartbeat, 2, term) };
    // A leader of before, however much it says, and one that says what is there.
    assert_eq!(node.driver.step(beat(9, 4)), Ok(()));
    assert_eq!(node.driver.step(beat(3, 5)), Ok(()));
    assert_eq!(node.driver.status().lost, None);
    assert!(node.driver.step(beat(9, 5)).is_err());
    assert_eq!(node.driver.status().lost, Some(9));
    // Another leader sends what is missing.
    node.driver.step(append(3, 6, 3, 2, &[6; 6])).unwrap();
    node.poll();
    assert_eq!(node.driver.status().lost, None);
}

#[test]
fn a_vote_nobody_asked_for_makes_no_leader() {
    let mut node = Node::new(3, 0);
    node.driver.step(append(2, 5, 3, 2, &[5, 5])).unwrap();
    node.poll();
    // The write is still running when the leader falls silent.
    (0..40).for_each(|_| node.driver.tick());
    node.poll();
    assert_eq!(role(&node), Role::PreCandidate);
    let vote = node.driver.step(message(T::MsgRequestPreVoteResponse, 2, 6));
    assert!(matches!(vote, Err(StepError::NotNow(_))), "{vote:?}");
    // Once it is durable, the same vote counts.
    while !node.writes.is_empty() {
        node.write();
    }
    node.driver.step(message(T::MsgRequestPreVoteResponse, 2, 6)).unwrap();
    assert_eq!(role(&node), Role::Candidate);
}

/// A leader of three that has applied everything.
fn settled_leader() -> Node {
    let mut node = leader();
    acknowledge(&mut node);
    while !node.apply.is_empty() {
        node.apply();
    }
    node
}

/// Proposes a change, has node 2 acknowledge it, and applies it.
fn change(node: &mut Node, change: Change) {
    node.driver.propose_change(change).unwrap();
    node.poll();
    node.write();
    acknowledge(node);
    while !node.apply.is_empty() {
        node.apply();
    }
}

#[test]
fn a_leader_that_removed_itself_steps_down() {
    let mut node = settled_leader();
    node.driver.propose_change(Change::Remove(1)).unwrap();
    let second = node.driver.propose_change(Change::Remove(3));
    assert!(matches!(second, Err(ConfChangeError::Pending)), "one at a time: {second:?}");
    node.poll();
    node.write();
    acknowledge(&mut node);
    node.apply();
    assert_eq!(role(&node), Role::Follower);
    assert_eq!(node.driver.status().voters, [2, 3]);
    let late = Message { index: 5, ..message(T::MsgAppendResponse, 3, 6) };
    let _ = node.driver.step(late);
    node.poll();
}

#[test]
fn a_learner_has_no_vote_and_no_lead() {
    let mut node = settled_leader();
    change(&mut node, Change::AddLearner(4));
    let status = node.driver.status();
    assert_eq!((status.voters, status.learners), (vec![1, 2, 3], vec![4]));
    assert_eq!(node.driver.transfer_leader(4), Err(TransferError::NoVoter { node: 4 }));
    assert_eq!(node.driver.transfer_leader(9), Err(TransferError::NoVoter { node: 9 }));
    // Its acknowledgement makes no majority.
    node.driver.submit(1, "x".into()).unwrap();
    node.poll();
    node.write();
    let (last, commit) = (node.driver.status().last_index, node.driver.status().commit);
    node.driver.step(Message { index: last, ..message(T::MsgAppendResponse, 4, 6) }).unwrap();
    node.poll();
    assert_eq!(node.driver.status().commit, commit);
    assert!(commit < last);
    // A leader without news of its followers stands again, and a learner's vote is not one.
    (0..40).for_each(|_| node.driver.tick());
    node.poll();
    assert_eq!(role(&node), Role::PreCandidate);
    for kind in [T::MsgRequestPreVoteResponse, T::MsgRequestVoteResponse] {
        let vote = node.driver.step(message(kind, 4, 7));
        assert_eq!(vote, Err(StepError::Impossible("a vote of a node without one")));
    }
    assert_eq!(role(&node), Role::PreCandidate);
    node.driver.step(message(T::MsgRequestPreVoteResponse, 3, 7)).unwrap();
    assert_eq!(role(&node), Role::Candidate);
}

#[test]
fn a_learner_never_stands() {
    let mut node = settled_leader();
    change(&mut node, Change::AddLearner(4));
    // Its own log says so; here it is seen from a node that is no member at all, as one that joins is at first.
    let store = MemStorage::new();
    store.wl().set_conf_state(ConfState { voters: vec![1, 2, 3], learners: vec![4], ..ConfState::default() });
    let logger = Logger::root(Discard, o!());
    for id in [4, 5] {
        let mut driver = Driver::new(DriverConfig::new(id, 7), store.clone(), Plain, Applied::default(), &logger).unwrap();
        driver.step(Message { to: id, ..message(T::MsgHeartbeat, 1, 3) }).unwrap();
        driver.step(Message { to: id, ..message(T::MsgTimeoutNow, 1, 3) }).unwrap();
        driver.campaign();
        (0..100).for_each(|_| driver.tick());
        assert_eq!(driver.poll(Millis(0)).unwrap().role.map(|r| r.role), Some(Role::Follower));
    }
}

#[test]
fn a_change_that_does_not_fit_is_not_proposed() {
    let mut node = settled_leader();
    for (change, refusal) in [
        (Change::AddLearner(2), ChangeRefusal::AlreadyIn(2)),
        (Change::Promote(2), ChangeRefusal::NoLearner(2)),
        (Change::Remove(7), ChangeRefusal::NotIn(7)),
    ] {
        let proposed = node.driver.propose_change(change);
        assert!(matches!(proposed, Err(ConfChangeError::Refused(r)) if r == refusal), "{proposed:?}");
    }
}

#[test]
fn an_older_change_than_a_snapshots_is_in_it_already() {
    let mut node = Node::new(3, 6);
    let mut message = message(T::MsgSnapshot, 2, 8);
    let mut snapshot = vermilion_consensus::Snapshot::default();
    let meta = snapshot.mut_metadata();
    (meta.index, meta.term) = (20, 7);
    meta.conf_state = Some(ConfState { voters: vec![1, 2, 3], learners: vec![5], ..ConfState::default() });
    message.snapshot = Some(snapshot);
    node.driver.step(message).unwrap();
    // The state machine reports what it applied before it heard of the snapshot.
    node.driver.apply_change(8, Change::AddLearner(5)).unwrap();
    node.driver.apply_change(9, Change::AddLearner(6)).unwrap();
    assert_eq!(node.driver.status().learners, [5]);
}

#[test]
fn a_change_behind_which_the_log_was_cut_counts_all_the_same() {
    let mut node = settled_leader();
    let index = node.driver.propose_change(Change::AddLearner(4)).unwrap();
    node.driver.submit(1, "x".into()).unwrap();
    node.poll();
    node.write();
    acknowledge(&mut node);
    assert!(node.driver.cuttable() < index, "raft has not heard of what the state machine may have applied");
    // It was cut all the same, and no snapshot came.
    node.store.wl().compact(index + 1).unwrap();
    while !node.apply.is_empty() {
        node.apply();
    }
    assert_eq!(node.driver.status().learners, [4]);
    assert!(node.driver.cuttable() > index);
}

#[test]
fn what_raft_and_the_state_machine_see_differently_stops_the_node() {
    let mut node = settled_leader();
    let index = node.driver.status().last_index;
    assert!(matches!(node.driver.apply_change(index, Change::Promote(9)), Err(Fault::Membership(_))));
}

#[test]
fn a_leader_that_must_leave_hands_over() {
    let mut node = settled_leader();
    // Node 2 answered, node 3 did not: it would not take over.
    node.driver.set_standings(BTreeMap::from([(1, Standing::Out), (2, Standing::Voter), (3, Standing::Voter)]));
    node.driver.tick();
    let out = node.driver.poll(Millis(0)).unwrap();
    let told: Vec<u64> = out.messages.iter().filter(|m| m.get_msg_type() == T::MsgTimeoutNow).map(|m| m.to).collect();
    assert_eq!(told, [2]);
    let proposed = node.driver.propose_change(Change::Remove(1));
    assert!(matches!(proposed, Err(ConfChangeError::Pending)), "not while leadership is moving");
    assert_eq!(node.driver.transfer_leader(1), Err(TransferError::NoVoter { node: 1 }));
}

#[test]
fn a_write_that_was_replaced_proves_nothing() {
    let mut node = Node::new(3, 0);
    // Entry 4 is written for a leader of term 5, for one of term 6, and for that of term 5 again, come back in term 7.
    for (from, term, entry) in [(2, 5, 5), (3, 6, 6), (2, 7, 5)] {
        node.driver.step(append(from, term, 3, 2, &[entry])).unwrap();
        node.poll();
    }
    assert_eq!(node.writes.len(), 3);
    for persisted in [3, 3, 4] {
        node.write();
        assert_eq!(node.driver.status().persisted, persisted);
    }
}

#[test]
fn nothing_of_a_term_is_sent_before_the_term_is_durable() {
    let store = MemStorage::new();
    store.wl().set_conf_state(ConfState { voters: vec![1], learners: vec![2], ..ConfState::default() });
    let logger = Logger::root(Discard, o!());
    let mut driver = Driver::new(DriverConfig::new(1, 7), store.clone(), Plain, Applied::default(), &logger).unwrap();
    driver.campaign();
    let out = driver.poll(Millis(0)).unwrap();
    assert!(out.messages.is_empty());
    let write = out.write.unwrap();
    assert!(!write.after.is_empty());
    // Nor by a later poll.
    driver.tick();
    assert!(driver.poll(Millis(0)).unwrap().messages.is_empty());
    store.wl().append(&write.batch.entries).unwrap();
    driver.persisted(write.number);
    assert!(!driver.poll(Millis(0)).unwrap().messages.is_empty());
}

#[test]
fn a_refused_leader_is_forgotten() {
    let mut node = Node::new(3, 0);
    node.driver.step(append(2, 5, 3, 2, &[])).unwrap();
    node.poll();
    assert_eq!(node.driver.status().leader, Some(2));
    assert_eq!(node.driver.submit(1, "x".into()), Err(SubmitError::NotLeader { leader: Some(2) }));
    node.driver.refuse(2, 5);
    assert_eq!(node.driver.status().leader, None);
    let again = node.driver.step(message(T::MsgHeartbeat, 2, 5));
    assert_eq!(again, Err(StepError::Refused { from: 2, term: 5 }));
    // Another may be elected at once, and the refused one in a later term.
    node.driver.step(Message { index: 9, log_term: 5, ..message(T::MsgRequestVote, 3, 6) }).unwrap();
    assert_eq!(node.driver.status().term, 6);
    node.driver.step(append(2, 7, 3, 2, &[])).unwrap();
    assert_eq!(node.driver.status().leader, Some(2));
}

#[test]
fn what_does_not_fit_together_does_not_start() {
    let start = |applied: u64, hard_state: HardState| {
        let store = MemStorage::new();
        store.wl().set_conf_state(ConfState { voters: vec![1], ..ConfState::default() });
        store.wl().append(&[Entry { index: 1, term: 2, ..Entry::default() }, Entry { index: 2, term: 2, ..Entry::default() }]).unwrap();
        store.wl().set_hardstate(hard_state);
        let applied = Applied { index: applied, tip: Tip::default() };
        Driver::new(DriverConfig::new(1, 7), store, Plain, applied, &Logger::root(Discard, o!())).map(|d| d.status().commit)
    };
    let hs = |term, commit| HardState { term, commit, vote: 0 };
    // The stored commit index may lag behind what was applied.
    assert_eq!(start(2, hs(2, 0)).unwrap(), 2);
    assert_eq!(start(0, hs(2, 1)).unwrap(), 1);
    assert!(matches!(start(3, hs(2, 0)), Err(Fault::Damaged(_))));
    assert!(matches!(start(0, hs(2, 3)), Err(Fault::Damaged(_))));
    assert!(matches!(start(0, hs(1, 0)), Err(Fault::Damaged(_))));
}

#[test]
fn what_waited_comes_back_when_leadership_is_lost() {
    let mut node = leader();
    // Three blocks' worth, of which two go into the log.
    node.driver.submit(1, "a".into()).unwrap();
    node.poll();
    node.driver.submit(2, "b".into()).unwrap();
    node.poll();
    node.driver.submit(3, "c".into()).unwrap();
    node.poll();
    assert_eq!(node.driver.status().pending_commands, 1);
    node.driver.step(append(3, 7, 3, 2, &[])).unwrap();
    let out = node.driver.poll(Millis(0)).unwrap();
    assert_eq!(out.rejected, [(3, SubmitError::NotLeader { leader: Some(3) })]);
}

#[test]
fn a_banned_leader_that_stays_is_followed_no_more() {
    let mut node = Node::new(3, 0);
    let beat = |node: &mut Node, term| {
        let stepped = node.driver.step(message(T::MsgHeartbeat, 2, term));
        node.poll();
        stepped
    };
    beat(&mut node, 5).unwrap();
    node.driver.set_standings(BTreeMap::from([(1, Standing::Voter), (2, Standing::Out), (3, Standing::Voter)]));
    // It has time to hand over.
    for _ in 0..40 {
        node.driver.tick();
        beat(&mut node, 5).unwrap();
    }
    assert_eq!(node.driver.status().leader, Some(2));
    for _ in 0..20 {
        node.driver.tick();
        let _ = beat(&mut node, 5);
    }
    assert_eq!(node.driver.status().leader, None);
    assert_eq!(beat(&mut node, 5), Err(StepError::Refused { from: 2, term: 5 }));
    // And this node stands.
    (0..40).for_each(|_| node.driver.tick());
    node.poll();
    assert_eq!(role(&node), Role::PreCandidate);
}

#[test]
fn a_banned_leader_stays_while_nobody_else_may_lead() {
    let mut node = Node::new(3, 0);
    node.driver.set_standings(BTreeMap::from([(1, Standing::Out), (2, Standing::Out), (3, Standing::Out)]));
    for _ in 0..200 {
        node.driver.step(message(T::MsgHeartbeat, 2, 5)).unwrap();
        node.poll();
        node.driver.tick();
    }
    assert_eq!(node.driver.status().leader, Some(2));
}
