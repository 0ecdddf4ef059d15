//! Who may connect, and for how long: each refusal over real sockets, with its reason.

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;
use tokio_stream::StreamExt as _;
use tonic::client::GrpcService;
use tonic::transport::{Channel, Endpoint};
use vermilion_client::config::OperatorEntry;
use vermilion_client::keyring::{Passphrase, read_secret, write_secret};
use vermilion_client::tls::Dialer;
use vermilion_consensus::{ConfState, Message, MessageType};
use vermilion_crypto::SigningKey;
use vermilion_identity::tls::{Credential, CredentialSlot};
use vermilion_identity::x509::{chain_from_pem, from_pem};
use vermilion_identity::{AuthorityCertificate, AuthorityName, Certificate, Kind, Serial, Subject, Validity, authority};
use vermilion_proto::ledger_client::LedgerClient;
use vermilion_proto::peer_client::PeerClient;
use vermilion_proto::{
    Bytes, CatchUpRequest, ClusterRequest, CommandState, CosignRequest, DiscloseRequest, EndorsementRequest, LedgerHead, Message as _,
    PlaceRequest, RaftFrame, RecordHashesRequest, StateRequest, SubmitRequest,
};
use vermilion_registry::reason::Reason;
use vermilion_tests::{Ledger, http, inspection, run, until};

const DAY_MS: u64 = 86_400_000;

/// The key of a file.
pub fn key_of(path: &Path) -> SigningKey {
    SigningKey::from_seed(&read_secret(path, &Passphrase::default()).unwrap())
}

fn der_of(path: &Path) -> Vec<u8> {
    from_pem(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn issuing(ledger: &Ledger) -> AuthorityCertificate {
    AuthorityCertificate::parse(&der_of(&ledger.dir().join("authority/issuing.pem"))).unwrap()
}

/// A way to one node with this credential, or with none.
pub fn channel(ledger: &Ledger, node: usize, credential: Option<Credential>) -> Channel {
    let genesis = ledger.client.genesis();
    let dialer = match credential {
        None => Dialer::new(genesis, None),
        Some(credential) => Dialer::showing(genesis, CredentialSlot::new(credential)),
    };
    let endpoint = Endpoint::from_shared(format!("http://{}", ledger.nodes()[node].grpc)).unwrap();
    dialer.unwrap().channel(&endpoint, None, None).unwrap()
}

/// What an operator of the sample city shows.
pub fn operators(ledger: &Ledger, unit: &str, post: &str) -> (Credential, Certificate) {
    let keys = ledger.dir().join("keys");
    let der = der_of(&keys.join(format!("{unit}-{post}.cert.pem")));
    let key = key_of(&keys.join(format!("{unit}-{post}.pem")));
    (Credential::new(&der, &issuing(ledger), Arc::new(key)).unwrap(), Certificate::parse(&der).unwrap())
}

/// What these files hold.
pub fn credential(ledger: &Ledger, certificate: &Path, key: &Path) -> Credential {
    let chain = chain_from_pem(&std::fs::read_to_string(certificate).unwrap()).unwrap();
    Credential::new(&chain[0], &issuing(ledger), Arc::new(key_of(key))).unwrap()
}

/// What a node shows.
pub fn nodes(ledger: &Ledger, name: &str) -> Credential {
    let home = ledger.node_dir(name);
    credential(ledger, &home.join("tls.pem"), &home.join("tls-key.pem"))
}

/// Whether a question over a channel is answered, else everything that the error says.
pub async fn answered(channel: Channel) -> Result<(), String> {
    let mut client = LedgerClient::new(channel);
    let asked = tokio::time::timeout(Duration::from_secs(10), client.cluster(ClusterRequest { only_this: true })).await;
    match asked.expect("the node neither answers nor refuses") {
        Ok(_) => Ok(()),
        Err(status) => {
            let mut said = status.to_string();
            let mut source = std::error::Error::source(&status);
            while let Some(error) = source {
                said = format!("{said}: {error}");
                source = error.source();
            }
            Err(said)
        }
    }
}

/// A certificate as the ledger's authority would issue it, of this key, for this time.
fn issued(ledger: &Ledger, like: &Certificate, key: &SigningKey, validity: Validity) -> Credential {
    let issuing_key = key_of(&ledger.dir().join("authority/issuing-key.pem"));
    let subject = Subject { name: hex::encode(key.public().id()), ..like.subject.clone() };
    let serial = Serial::random().unwrap();
    let (der, _) = authority::issue(&issuing_key, &issuing(ledger), &subject, key.public(), &serial, validity).unwrap();
    Credential::new(&der, &issuing(ledger), Arc::new(key.clone())).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn who_shows_no_certificate_that_stands_is_refused() {
    let ledger = Ledger::start().await;
    let city = ledger.client.managing_unit().to_owned();
    let (good, certificate) = operators(&ledger, &city, "approve");
    let (issuing, key) = (issuing(&ledger), key_of(&ledger.dir().join(format!("keys/{city}-approve.pem"))));
    let from = issuing.validity.not_before_ms;
    // A whole authority of the same names, with other keys.
    let (root_key, foreign_key) = (SigningKey::generate().unwrap(), SigningKey::generate().unwrap());
    let root_name = AuthorityName { name: "Sample City Root".into(), ..issuing.name.clone() };
    let serial = || Serial::random().unwrap();
    let root = authority::make_root(&root_key, &root_name, &serial(), issuing.validity).unwrap();
    let foreign = authority::make_issuing(&root_key, &root, foreign_key.public(), &issuing.name, &serial(), issuing.validity).unwrap();
    let (der, _) = authority::issue(&foreign_key, &foreign, &certificate.subject, key.public(), &serial(), certificate.validity).unwrap();
    let foreign = Credential::new(&der, &foreign, Arc::new(key.clone())).unwrap();
    let expired = issued(&ledger, &certificate, &key, Validity { not_before_ms: from, not_after_ms: from + 1000 });
    let early = Validity { not_before_ms: from + DAY_MS, not_after_ms: from + 2 * DAY_MS };
    let early = issued(&ledger, &certificate, &key, early);
    let unknown = issued(&ledger, &certificate, &key, certificate.validity);
    for node in 0..3 {
        assert_eq!(answered(channel(&ledger, node, Some(good.clone()))).await, Ok(()));
        let cases = [
            ("none", None, "CertificateRequired"),
            ("foreign", Some(foreign.clone()), "UnknownCA"),
            ("expired", Some(expired.clone()), "CertificateExpired"),
            ("early", Some(early.clone()), "CertificateExpired"),
            ("unknown", Some(unknown.clone()), "CertificateUnknown"),
        ];
        for (what, credential, alert) in cases {
            let said = answered(channel(&ledger, node, credential)).await.expect_err(what);
            assert!(said.contains(alert), "{what}: {said}");
        }
    }
    // Those of the ledger's own authority stand on the trail.
    for name in ledger.names() {
        let refused = |line: &&str| line.contains("\"refused\"") && line.contains(&certificate.subject.uri());
        assert!(ledger.trail(&name).lines().filter(refused).count() >= 3, "{}", ledger.trail(&name));
    }
    let metrics = http::get(&ledger.nodes()[0].http, "/metrics").await.text();
    let counted = |name: &str| metrics.lines().find_map(|l| l.strip_prefix(name)?.trim().parse::<u64>().ok()).unwrap();
    assert!(counted("vermilion_connections_refused_total") >= 4, "{metrics}");
    assert!(counted("vermilion_certificate_expires_seconds") > 86_400, "{metrics}");
    let shown = ledger.client.connection.cluster().await.unwrap().nodes;
    assert!(shown.iter().all(|n| n.certificate_not_after_ms == certificate.validity.not_after_ms), "{shown:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_tls_and_plain_text_are_refused() {
    let ledger = Ledger::start().await;
    for node in ledger.nodes() {
        for address in [&node.grpc, &node.http] {
            let tried = |version: &str| {
                let mut command = Command::new("openssl");
                command.args(["s_client", "-connect", address, version, "-brief"]).stdin(Stdio::null());
                let output = command.output().unwrap();
                (output.status.success(), format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr)))
            };
            let (_, said) = tried("-tls1_2");
            assert!(said.contains("protocol version"), "{said}");
            let (_, said) = tried("-tls1_3");
            assert!(said.contains("Protocol version: TLSv1.3") && said.contains("Signature type: ed25519"), "{said}");
        }
        let plain = LedgerClient::connect(format!("http://{}", node.grpc)).await;
        let refused = match plain {
            Err(_) => true,
            Ok(mut client) => client.cluster(ClusterRequest { only_this: true }).await.is_err(),
        };
        assert!(refused, "a plain connection was served");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_is_good_for_its_own_unit_and_service() {
    let ledger = Ledger::start().await;
    let city = ledger.client.managing_unit().to_owned();
    let unit = ledger.sample.unit_with_role("issuing-unit").unwrap().uscc.clone();
    let issuer = vermilion_client::SingleIssuer::new(&ledger.client, &unit).await.unwrap();
    let row = vermilion_tests::Rows::fresh(ledger.dir(), &ledger.sample, 400).of_unit(&unit).remove(0);
    let tags = issuer.tags(&ledger.client, &row).await.unwrap();
    let prepared = issuer.prepare(&row, &tags).unwrap();
    let request = SubmitRequest { tag: 1, submission: prepared.submission.clone() };
    let size = ledger.settled().await;
    // Another unit's certificate, and a node's: refused at the door, and nothing is recorded.
    let (others, _) = operators(&ledger, &city, "approve");
    let names = ledger.names();
    for (credential, reason) in [(others.clone(), Reason::WrongUnit), (nodes(&ledger, &names[1]), Reason::NotAuthorised)] {
        for node in 0..3 {
            let reply =
                LedgerClient::new(channel(&ledger, node, Some(credential.clone()))).submit(request.clone()).await.unwrap().into_inner();
            assert_eq!((reply.state(), Reason::from_number(reply.code)), (CommandState::RefusedAtDoor, Some(reason)), "{}", reply.detail);
        }
    }
    assert_eq!(ledger.settled().await, size);
    // The nodes' service is for nodes.
    let mut peer = PeerClient::new(channel(&ledger, 0, Some(others)));
    let status = peer.catch_up(CatchUpRequest { from: 0, to: 1 }).await.unwrap_err();
    assert_eq!(status.code(), tonic::Code::PermissionDenied, "{status}");
    // A node speaks for itself alone.
    let mut peer = PeerClient::new(channel(&ledger, 0, Some(nodes(&ledger, &names[1]))));
    let frame = |from| RaftFrame { from, ledger_id: ledger.client.ledger_id().to_vec(), ..Default::default() };
    assert!(peer.raft(tokio_stream::once(frame(2))).await.is_ok());
    let status = peer.raft(tokio_stream::once(frame(3))).await.unwrap_err();
    assert_eq!(status.code(), tonic::Code::PermissionDenied, "{status}");
    let status = peer.cosign(CosignRequest { from: 3, note: Vec::new() }).await.unwrap_err();
    assert_eq!(status.code(), tonic::Code::PermissionDenied, "{status}");
    // Known credentials' refusals stand on the node's trail, and audit administration alone reads it.
    let lines = ledger.client.connection.trail(&ledger.client.trail_reader().unwrap(), 0, 0).await.unwrap();
    for what in ["peer: not-authorised", "the message says node 3", "command: wrong-unit", "command: not-authorised"] {
        assert!(lines.iter().any(|line| line.contains("\"denied\"") && line.contains(what)), "{what}: {lines:?}");
    }
    let denied = ledger.client.connection.trail(&ledger.client.controller().unwrap(), 0, 0).await.unwrap_err();
    assert!(denied.to_string().contains("post-not-held"), "{denied}");
    let config = ledger.dir().join("client.toml").display().to_string();
    let (code, shown, error) = ledger.vermilion(&["--config", &config, "cluster", "trail", "city"]);
    assert!(code == 0 && shown.lines().count() > lines.len() && shown.contains("audit-trail: post-not-held"), "{error}{shown}");
    keys_that_the_ledger_does_not_know_are_no_hindrance(&ledger);
    // The command itself was in order.
    assert!(ledger.client.connection.submit(&prepared).await.unwrap().accepted().is_ok());
    assert!(matches!(nodes(&ledger, &names[0]).certificate().subject.kind, Kind::Node { raft_id: 1 }));
}

/// Begins a request: says how long its message is, sends so many bytes of it, and never ends it. What the node says to that.
async fn half_sent(mut channel: Channel, method: &str, announced: u32, sent: usize) -> Option<String> {
    let prefix = Bytes::from([&[0][..], &announced.to_be_bytes()].concat());
    let parts = std::iter::once(prefix).chain(std::iter::repeat_n(Bytes::from_static(&[0; 1 << 14]), sent >> 14));
    let body = axum::body::Body::from_stream(tokio_stream::iter(parts.map(Ok::<_, std::io::Error>)).chain(tokio_stream::pending()));
    let request = axum::http::Request::post(format!("/vermilion.v1.{method}")).header("content-type", "application/grpc");
    let request = request.header("te", "trailers").body(tonic::body::Body::new(body)).unwrap();
    std::future::poll_fn(|cx| GrpcService::<tonic::body::Body>::poll_ready(&mut channel, cx)).await.unwrap();
    let response = GrpcService::call(&mut channel, request).await.unwrap();
    response.headers().get("grpc-status").map(|status| status.to_str().unwrap().to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_begun_and_not_ended_takes_no_memory() {
    let ledger = Ledger::start().await;
    let unit = ledger.sample.unit_with_role("using-unit").unwrap().uscc.clone();
    let (credential, _) = operators(&ledger, &unit, "user");
    // Who is no node is refused before anything of its message is read.
    let way = channel(&ledger, 0, Some(credential.clone()));
    let refused = tokio::time::timeout(Duration::from_secs(10), half_sent(way, "Peer/CheckContent", 33_000_000, 0)).await;
    assert_eq!(refused.expect("the node waits for a message that it will refuse").as_deref(), Some("7"));

    // Who may hand in commands begins three of the largest at once, and no more.
    let memory = || {
        let status = std::fs::read_to_string(format!("/proc/{}/status", ledger.nodes()[0].pid)).unwrap();
        status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB")?.parse::<usize>().ok()).unwrap() << 10
    };
    let (before, way) = (memory(), channel(&ledger, 0, Some(credential)));
    let begun: Vec<_> = (0..60).map(|_| tokio::spawn(half_sent(way.clone(), "Ledger/Use", 9_000_000, 8_000_000))).collect();
    until("a busy node", async || (begun.iter().filter(|request| request.is_finished()).count() >= 57).then_some(())).await;
    let more = memory().saturating_sub(before);
    assert!(more < 150 << 20, "{more} bytes more");
    // And keeps nobody else from anything.
    let issuing = ledger.sample.unit_with_role("issuing-unit").unwrap().uscc.clone();
    let issuer = vermilion_client::SingleIssuer::new(&ledger.client, &issuing).await.unwrap();
    let row = vermilion_tests::Rows::fresh(ledger.dir(), &ledger.sample, 400).of_unit(&issuing).remove(0);
    let tags = issuer.tags(&ledger.client, &row).await.unwrap();
    assert!(ledger.client.connection.submit(&issuer.prepare(&row, &tags).unwrap()).await.unwrap().accepted().is_ok());
    let (ended, open): (Vec<_>, Vec<_>) = begun.into_iter().partition(|request| request.is_finished());
    open.iter().for_each(|request| request.abort());
    let mut busy = 0;
    for request in ended {
        busy += usize::from(request.await.is_ok_and(|status| status.as_deref() == Some("14")));
    }
    assert!(busy >= 57, "{busy} were told that the node is busy");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revocation_cuts_open_connections() {
    let ledger = Ledger::start().await;
    let city = ledger.client.managing_unit().to_owned();
    let unit = ledger.sample.unit_with_role("using-unit").unwrap().uscc.clone();
    let (credential, certificate) = operators(&ledger, &unit, "user");
    // Streams that wait for nothing: they end only when they are cut.
    let mut open = Vec::new();
    for node in 0..3 {
        let mut client = LedgerClient::new(channel(&ledger, node, Some(credential.clone())));
        let (keep, requests) = tokio::sync::mpsc::channel(1);
        let replies = client.submit_stream(tokio_stream::wrappers::ReceiverStream::new(requests)).await.unwrap().into_inner();
        open.push((keep, replies));
    }
    let record = ledger.client.revoke_operator(&city, &certificate.key.id(), Vec::new(), &inspection()).await.unwrap();
    for (node, (_keep, mut replies)) in open.into_iter().enumerate() {
        // From when this node has applied the record.
        let mut asked = ledger.client.connection.client_of(node).unwrap();
        until("the record", async || {
            let nodes = asked.cluster(ClusterRequest { only_this: true }).await.unwrap().into_inner().nodes;
            (nodes[0].size > record.seq).then_some(())
        })
        .await;
        let ended = tokio::time::timeout(Duration::from_secs(10), replies.message()).await.expect("the connection is still open");
        assert!(!matches!(ended, Ok(Some(_))), "{ended:?}");
        let said = answered(channel(&ledger, node, Some(credential.clone()))).await.unwrap_err();
        assert!(said.contains("AccessDenied") || said.contains("CertificateRevoked"), "{said}");
        let (name, serial) = (&ledger.names()[node], certificate.serial.to_string());
        assert!(ledger.log(name).contains("revoked") && ledger.log(name).contains(&serial));
        for what in ["cut", "refused"] {
            let told = |line: &str| line.contains(&format!("\"{what}\"")) && line.contains(&serial);
            until(what, async || ledger.trail(name).lines().any(told).then_some(())).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_behind_hears_a_certificate_that_it_does_not_know_and_gives_it_nothing() {
    let mut ledger = Ledger::start().await;
    let names = ledger.names();
    // A node's, made with the ledger's own issuing key, and in no record.
    let like = nodes(&ledger, &names[1]).certificate().clone();
    let unknown = issued(&ledger, &like, &SigningKey::generate().unwrap(), like.validity);
    let way = |ledger: &Ledger| channel(ledger, 0, Some(unknown.clone()));
    let refused = |said: &String| said.contains("CertificateUnknown");
    until("its refusal", async || answered(way(&ledger)).await.err().filter(refused)).await;
    // Alone it cannot find out whether it is up to date.
    for name in &names[1..] {
        ledger.kill(name);
    }
    let frame = || tokio_stream::once(RaftFrame { from: 2, ledger_id: ledger.client.ledger_id().to_vec(), ..Default::default() });
    until("an ear for Raft's messages", async || PeerClient::new(way(&ledger)).raft(frame()).await.ok()).await;
    let mut peer = PeerClient::new(way(&ledger));
    let asked = [
        ("records", peer.catch_up(CatchUpRequest { from: 0, to: 1 }).await.err()),
        ("hashes", peer.record_hashes(RecordHashesRequest { from: 0, to: 1 }).await.err()),
        ("a state", peer.state(StateRequest { at_least: 1 }).await.err()),
        ("a place", peer.place(PlaceRequest::default()).await.err()),
        ("an endorsement", peer.endorsement(EndorsementRequest::default()).await.err()),
        ("content", peer.disclose(DiscloseRequest::default()).await.err()),
        ("a check", peer.check_content(SubmitRequest::default()).await.err()),
        ("a command", peer.forward(tokio_stream::once(SubmitRequest::default())).await.err()),
    ];
    for (what, status) in asked {
        let status = status.expect(what);
        assert!(status.message().contains("does not know the certificate"), "{what}: {status}");
    }
    let said = answered(way(&ledger)).await.unwrap_err();
    assert!(said.contains("unknown-certificate"), "{said}");
    assert!(ledger.trail(&names[0]).contains("peer: not recorded here"));
    // With the others it is up to date, and hears it no more.
    for name in &names[1..] {
        ledger.launch(name);
    }
    until("the end of it", async || answered(way(&ledger)).await.err().filter(refused)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_public_may_ask_so_often_and_no_more() {
    let mut ledger = Ledger::start().await;
    ledger.stop_all();
    let path = ledger.node_dir(&ledger.names()[0]).join("node.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, text.replace("rest_rate = 1000", "rest_rate = 2")).unwrap();
    ledger.start_all().await;
    let address = &ledger.nodes()[0].http;
    let mut codes = Vec::new();
    for _ in 0..80 {
        codes.push(http::get(address, "/v1/health").await.code);
    }
    let refused = codes.iter().filter(|code| **code == 429).count();
    assert!(refused > 0 && codes.iter().all(|code| [200, 429].contains(code)), "{codes:?}");
    until("an answer again", async || (http::get(address, "/v1/health").await.code == 200).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_authority_tells_openssl_what_no_longer_stands() {
    let ledger = Ledger::start().await;
    let city = ledger.client.managing_unit().to_owned();
    let unit = ledger.sample.unit_with_role("using-unit").unwrap().uscc.clone();
    let authority = ledger.dir().join("authority");
    let certificate = ledger.dir().join(format!("keys/{unit}-user.cert.pem"));
    let address = &ledger.nodes()[0].http;
    let openssl = |arguments: Vec<&std::ffi::OsStr>| {
        let output = Command::new("openssl").args(arguments).output().unwrap();
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
    };
    let (root, issuing) = (authority.join("root.pem"), authority.join("issuing.pem"));
    let (list, pem, request, answer) =
        (authority.join("list.der"), authority.join("list.pem"), authority.join("request.der"), authority.join("answer.der"));
    let word = std::ffi::OsStr::new;
    let ask = async || {
        std::fs::write(&list, http::get(address, "/v1/authority/revoked.crl").await.body).unwrap();
        openssl(vec![word("crl"), word("-inform"), word("DER"), word("-in"), list.as_os_str(), word("-out"), pem.as_os_str()]);
        let by_list = openssl(vec![
            word("verify"),
            word("-crl_check"),
            word("-CAfile"),
            root.as_os_str(),
            word("-untrusted"),
            issuing.as_os_str(),
            word("-CRLfile"),
            pem.as_os_str(),
            certificate.as_os_str(),
        ]);
        openssl(vec![
            word("ocsp"),
            word("-issuer"),
            issuing.as_os_str(),
            word("-cert"),
            certificate.as_os_str(),
            word("-no_nonce"),
            word("-reqout"),
            request.as_os_str(),
        ]);
        std::fs::write(&answer, http::post(address, "/v1/authority/ocsp", &std::fs::read(&request).unwrap()).await.body).unwrap();
        let by_answer = openssl(vec![
            word("ocsp"),
            word("-issuer"),
            issuing.as_os_str(),
            word("-cert"),
            certificate.as_os_str(),
            word("-no_nonce"),
            word("-CAfile"),
            root.as_os_str(),
            word("-respin"),
            answer.as_os_str(),
        ]);
        (by_list, by_answer)
    };
    let (by_list, by_answer) = ask().await;
    assert!(by_list.contains(": OK"), "{by_list}");
    assert!(by_answer.contains("Response verify OK") && by_answer.contains(": good"), "{by_answer}");
    let serial = Certificate::parse(&der_of(&certificate)).unwrap().serial;
    let retired = vermilion_client::identity::Standing::Revoked(5);
    ledger.client.change_certificate(Some(&city), serial.as_bytes(), retired, &inspection()).await.unwrap();
    ledger.settled().await;
    let (by_list, by_answer) = ask().await;
    assert!(by_list.contains("certificate revoked"), "{by_list}");
    assert!(by_answer.contains("Response verify OK") && by_answer.contains(": revoked"), "{by_answer}");
    let (credential, _) = operators(&ledger, &unit, "user");
    let said = answered(channel(&ledger, 1, Some(credential))).await.unwrap_err();
    assert!(said.contains("CertificateRevoked"), "{said}");
    // A district's node holds no issuing key and says so.
    assert_eq!(http::get(&ledger.nodes()[1].http, "/v1/authority/revoked.crl").await.code, 404);
}

/// What a leader would send to a node that its log no longer reaches.
fn snapshot(from: u64, to: u64, term: u64, index: u64, head: &LedgerHead) -> Bytes {
    let mut message = Message { from, to, term: term + 1, ..Message::default() };
    message.set_msg_type(MessageType::MsgSnapshot);
    let snapshot = message.mut_snapshot();
    snapshot.data = head.encode_to_vec();
    let place = snapshot.mut_metadata();
    (place.index, place.term) = (index, term);
    place.set_conf_state(ConfState { voters: vec![1, 2, 3], ..ConfState::default() });
    vermilion_consensus::encode(&message)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stolen_node_strands_nobody_with_a_snapshot() {
    let mut ledger = Ledger::start().await;
    let size = ledger.settled().await;
    let leader = ledger.leader().await;
    let followers: Vec<String> = ledger.names().into_iter().filter(|name| *name != leader).collect();
    let (thief, victim) = (&followers[0], &followers[1]);
    let from = ledger.status_of(thief).await.unwrap().id;
    let at = ledger.status_of(victim).await.unwrap();
    let node = ledger.names().iter().position(|name| name == victim).unwrap();
    let mut peer = PeerClient::new(channel(&ledger, node, Some(nodes(&ledger, thief))));
    let head =
        |size, chain: &[u8]| LedgerHead { size, chain: chain.to_vec(), block: vec![7; 32], time_ms: at.time_ms, ..LedgerHead::default() };
    // Records that nobody has; a block that is not the ledger's, at a place where it is; another ledger.
    let beyond = snapshot(from, at.id, at.term, at.applied + 1000, &head(size + 1000, &[9; 32]));
    let other_block = snapshot(from, at.id, at.term, at.applied, &head(size, &at.chain));
    let inflated = snapshot(from, at.id, at.term, at.applied, &head(size + 1000, &[9; 32]));
    let other_ledger = snapshot(from, at.id, at.term, at.applied + 1, &head(size, &[9; 32]));
    for (message, why) in [
        (beyond, "which no majority has in its log"),
        (other_block, "contradict"),
        (inflated, "contradict"),
        (other_ledger, "a snapshot of another ledger"),
    ] {
        let said = || ledger.log(victim).matches(why).count();
        let before = said();
        let frame = RaftFrame { from, ledger_id: ledger.client.ledger_id().to_vec(), messages: vec![message], ..Default::default() };
        let _acks = peer.appends(tokio_stream::once(frame)).await.unwrap();
        until(why, async || (said() > before).then_some(())).await;
    }
    // Nobody is stranded, now or after a start.
    let unit = ledger.sample.unit_with_role("using-unit").unwrap().uscc.clone();
    let victim = victim.clone();
    for suspended in [true, false] {
        ledger.client.change_unit(ledger.client.managing_unit(), &unit, suspended, &inspection()).await.unwrap();
        assert!(ledger.settled().await > size);
        ledger.kill(&victim);
        ledger.launch(&victim);
    }
    until("the victim as new as the others", async || (ledger.statuses().await?.iter().all(|s| s.size > size + 1)).then_some(())).await;
    ledger.settled().await;
    ledger.stop_all();
    ledger.audit(&ledger.data_dirs()).assert_clean();
}

/// One in the place of each good key of the city: the next is asked with.
fn keys_that_the_ledger_does_not_know_are_no_hindrance(ledger: &Ledger) {
    let mut config = ledger.client.config().clone();
    let city = ledger.client.managing_unit();
    let strange = |(n, of): (u8, &OperatorEntry)| {
        let key = ledger.dir().join(format!("strange-{n}.pem"));
        write_secret(&key, &[100 + n; 32], None).unwrap();
        OperatorEntry { key, certificate: None, second_key: None, ..of.clone() }
    };
    let before: Vec<OperatorEntry> = (0..).zip(config.operators.iter().filter(|of| of.unit == city)).map(strange).collect();
    config.operators.splice(0..0, before);
    std::fs::write(ledger.dir().join("strange.toml"), config.to_toml().unwrap()).unwrap();
    for line in ["cluster trail city", "cluster backup city", "cluster trust city", "audit --node city"] {
        let (code, out, err) = run(ledger.dir(), &format!("vermilion --config strange.toml {line}"));
        assert_eq!(code, 0, "{line}: {out}{err}");
    }
}
