//! A leader that was stolen: it seals a block with a signature that does not hold, and the operators cut it off, or ban it.

use crate::connections::{channel, key_of, nodes};
use vermilion_client::clock::now_ms;
use vermilion_client::command::Draft;
use vermilion_consensus::{Entry, Message, MessageType};
use vermilion_crypto::{dsse, hash};
use vermilion_proto::body::Of;
use vermilion_proto::peer_client::PeerClient;
use vermilion_proto::{BLOCK_TYPE, Block, BlockBody, Bytes, ChangeUnit, Envelope, Message as _, RaftFrame, Submission};
use vermilion_registry::Kind;
use vermilion_tests::{Ledger, inspection, until};

/// A block of one command, as the leader would sign it.
fn block(ledger: &Ledger, leader: (&str, u64), command: Vec<u8>) -> Vec<u8> {
    let key = key_of(&ledger.node_dir(leader.0).join("node.pem"));
    let body =
        BlockBody { format_version: 1, previous: vec![7; 32], proposer: leader.1, time_ms: now_ms(), submissions: vec![command.into()] };
    let body = body.encode_to_vec();
    let signature = key.sign(&dsse::pae(BLOCK_TYPE, &hash::derive(&hash::CTX_BLOCK, &[&body]))).to_vec();
    Block { body: body.into(), public_key: key.public().0.to_vec(), signature }.encode_to_vec()
}

/// The message with which it would come.
fn append(from: u64, to: u64, (term, index): (u64, u64), block: &[u8]) -> Bytes {
    let entry = Entry { index: index + 1, term, data: block.to_vec(), ..Entry::default() };
    let mut message = Message { from, to, term, index, log_term: term, entries: vec![entry], ..Message::default() };
    message.set_msg_type(MessageType::MsgAppend);
    vermilion_consensus::encode(&message)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_block_with_one_forged_signature_costs_its_leader_the_lead() {
    let mut ledger = Ledger::start().await;
    let size = ledger.settled().await;
    let leader = ledger.leader().await;
    let at = ledger.status_of(&leader).await.unwrap();
    let city = ledger.client.managing_unit().to_owned();
    let unit = ledger.sample.unit_with_role("using-unit").unwrap().uscc.clone();
    let of = Of::ChangeUnit(ChangeUnit { uscc: unit.clone(), action: "suspend".into() });
    let prepared = ledger.client.prepare(Kind::ChangeUnit, Draft::new(&city, now_ms()).unwrap(), of).await.unwrap();
    // One bit of the third signature.
    let mut submission = Submission::decode(prepared.submission.clone()).unwrap();
    let mut envelope = Envelope::decode(submission.envelope.clone()).unwrap();
    envelope.signatures[2].signature[40] ^= 1;
    submission.envelope = envelope.encode_to_vec().into();
    let forged = block(&ledger, (&leader, at.id), submission.encode_to_vec());
    for name in ledger.names().into_iter().filter(|name| *name != leader) {
        let to = ledger.status_of(&name).await.unwrap().id;
        let node = ledger.names().iter().position(|n| *n == name).unwrap();
        let mut peer = PeerClient::new(channel(&ledger, node, Some(nodes(&ledger, &leader))));
        let messages = vec![append(at.id, to, (at.term, at.applied), &forged)];
        let frame = RaftFrame { from: at.id, ledger_id: ledger.client.ledger_id().to_vec(), messages, ..Default::default() };
        let _acks = peer.appends(tokio_stream::once(frame)).await.unwrap();
        let said = "the gate refused a leader's message";
        until(said, async || ledger.log(&name).contains(said).then_some(())).await;
        assert!(ledger.log(&name).contains("a signature in the block does not hold"));
    }
    // In its term nobody follows it any more; the ledger goes on in a later one, and the same command, whole, is taken.
    until("a later term", async || ledger.statuses().await?.iter().all(|s| s.term > at.term && s.leader != 0).then_some(())).await;
    ledger.client.change_unit(&city, &unit, true, &inspection()).await.unwrap();
    assert!(ledger.settled().await > size);
    ledger.stop_all();
    ledger.audit(&ledger.data_dirs()).assert_clean();
}

#[tokio::test(flavor = "multi_thread")]
async fn operators_cut_a_leader_off() {
    let mut ledger = Ledger::start().await;
    let leader = ledger.leader().await;
    let config = ledger.dir().join("client.toml").display().to_string();
    let (code, out, error) = ledger.vermilion(&["--config", &config, "cluster", "distrust", &leader]);
    assert_eq!(code, 0, "{out} {error}");
    until("another leader", async || (ledger.leader().await != leader).then_some(())).await;
    // It is no leader's voice that it lost, only the lead: it follows, and holds what the others hold.
    let city = ledger.client.managing_unit().to_owned();
    let unit = ledger.sample.unit_with_role("using-unit").unwrap().uscc.clone();
    ledger.client.change_unit(&city, &unit, true, &inspection()).await.unwrap();
    ledger.settled().await;
    let asker = ledger.client.controller().unwrap();
    let id = ledger.status_of(&leader).await.unwrap().id;
    for _ in 0..5 {
        let _ = ledger.client.connection.control(&asker, "transfer", id).await;
        tokio::time::sleep(std::time::Duration::from_millis(300)).await;
        assert_ne!(ledger.leader().await, leader);
    }
    let (code, out, error) = ledger.vermilion(&["--config", &config, "cluster", "trust", &leader]);
    assert_eq!(code, 0, "{out} {error}");
    until("its lead", async || {
        let _ = ledger.client.connection.control(&asker, "transfer", id).await;
        (ledger.leader().await == leader).then_some(())
    })
    .await;
    ledger.client.change_unit(&city, &unit, false, &inspection()).await.unwrap();
    ledger.settled().await;
    ledger.stop_all();
    ledger.audit(&ledger.data_dirs()).assert_clean();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_right_after_its_leader_was_banned_is_taken_by_the_next() {
    let ledger = Ledger::start().await;
    let banned = ledger.names().swap_remove(2);
    let asker = ledger.client.controller().unwrap();
    let id = ledger.status_of(&banned).await.unwrap().id;
    until("its lead", async || {
        let _ = ledger.client.connection.control(&asker, "transfer", id).await;
        (ledger.leader().await == banned).then_some(())
    })
    .await;
    let (city, unit) = (ledger.client.managing_unit().to_owned(), ledger.sample.unit_with_role("using-unit").unwrap().uscc.clone());
    // So that the client knows who leads.
    ledger.client.change_unit(&city, &unit, true, &inspection()).await.unwrap();
    let config = ledger.dir().join("client.toml").display().to_string();
    let (code, out, error) = ledger.vermilion(&["--config", &config, "admission", "ban", &format!("node/{banned}"), "--grade", "critical"]);
    assert_eq!(code, 0, "{out} {error}");
    ledger.client.change_unit(&city, &unit, false, &inspection()).await.unwrap();
}
