use super::*;
use vermilion_crypto::SigningKey;
use vermilion_ledger::{Checkpoint, cosign};

/// The example of C2SP tlog-witness.
const CHECKPOINT: &str = "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n";
const LOG_LINES: &str = "— example.com/behind-the-sofa Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=\n\
    — example.com/behind-the-sofa opLqBQsREYCgu6xQkYQwJr9fo45a62DN9EdmHXnZdXNqlcVGlCum2Wks+49/V6267UEjw6QUXTS5Rovnzv++qbSzm9Q=\n";
const PROOF: [&str; 4] = [
    "PlRNCrwHpqhGrupue0L7gxbjbMiKA9temvuZZDDpkaw=",
    "jrJZDmY8Y7SyJE0MWLpLozkIVMSMZcD5kvuKxPC3swk=",
    "5+pKlUdi2LeF/BcMHBn+Ku6yhPGNCswZZD1X/6QgPd8=",
    "/6WVhPs2CwSsb5rYBH5cjHV/wSmA79abXAwhXw3Kj/0=",
];
const EXAMPLE_ANSWER: &str = "— witness.example/w1 CMp+6LWBU0anHGH5aNDTJkH/gj79sG+T6+iP2ThYN5krrDJbR1HDnucjL39QsZTSvVjyQLrdk3DXDqI5G2HgLatVs0pWh6Up69HVOw==\n\
    — witness.example/w1 I7rEps0pvK2UqkS2gSpVUDhrhVtQV9lgF6pRrWAvjJHjyWpW7VcE3SiOlVlbQNt64vWhO+DlkL0+UfzuOBMh9ChdMkP1vi/lCAsmlw==\n\
    — witness.example/w2 AWui8Sk55XjYLOijihBjhqEH6nS1ndDymE0a+6idX7pLcnoB+dhnz0854aLZgrrKbYKA7nC3HNJhm/kWl7oJlqU3rXXvpysAdyP3wQ==\n";
const NOW: u64 = 1_790_000_000;

fn witness(n: u8) -> (Witness, SigningKey) {
    let key = SigningKey::from_seed(&[n; 32]);
    (Witness { name: format!("witness.example/w{n}"), key: key.public() }, key)
}

fn line(body: &str, n: u8, time: u64) -> Vec<u8> {
    let (witness, key) = witness(n);
    cosign(body, &witness.name, &key, time).unwrap().to_bytes()
}

fn read(status: u16, content_type: &str, body: &[u8]) -> Result<Answer, AskError> {
    response(status, content_type, body, CHECKPOINT, &witness(1).0, NOW)
}

#[test]
fn the_specifications_request_is_written() {
    let proof: Vec<Digest> = PROOF.iter().map(|hash| BASE64_STANDARD.decode(hash).unwrap().try_into().unwrap()).collect();
    let note = format!("{CHECKPOINT}\n{LOG_LINES}");
    let expected = format!("old 20852014\n{}\n\n{note}", PROOF.join("\n"));
    assert_eq!(String::from_utf8(request(20_852_014, &proof, note.as_bytes())).unwrap(), expected);
    assert_eq!(request(0, &[], b"note"), b"old 0\n\nnote");
}

/// The specification's keys are not published, so its answer can be read and not verified: its keys
/// are unknown to us, and lines of unknown keys are passed over.
#[test]
fn the_specifications_answer_reads_and_our_line_is_found_beside_it() {
    assert_eq!(read(200, "", EXAMPLE_ANSWER.as_bytes()), Err(AskError::NoCosignature));
    let ours = line(CHECKPOINT, 1, NOW);
    let beside = [EXAMPLE_ANSWER.as_bytes(), &ours].concat();
    let Ok(Answer::Cosigned(found, time)) = read(200, "", &beside) else { panic!("not found") };
    assert_eq!((found.to_bytes(), time), (ours, NOW));
}

#[test]
fn what_a_witness_may_answer() {
    assert_eq!(read(409, "text/x.tlog.size", b"20852163\n"), Ok(Answer::At(20_852_163)));
    assert_eq!(read(409, "text/x.tlog.size", b"0\n"), Ok(Answer::At(0)));
    for media in ["text/x.tlog.size; charset=utf-8", "Text/X.TLog.Size ;charset=utf-8", " text/x.tlog.size"] {
        assert_eq!(read(409, media, b"7\n"), Ok(Answer::At(7)), "{media:?}");
    }
    for media in ["text/x.tlog.sizes", "text/plain; text/x.tlog.size", "", ";"] {
        assert_eq!(read(409, media, b"7\n"), Err(AskError::BadProof), "{media:?}");
    }
    for bad in ["", "\n", "1", "01\n", "+1\n", "-1\n", "1\n\n", "18446744073709551616\n", "x\n"] {
        assert_eq!(read(409, "text/x.tlog.size", bad.as_bytes()), Err(AskError::Malformed("409 without a size")), "{bad:?}");
    }
    for (status, code) in [(400, "bad-request"), (403, "untrusted-key"), (404, "unknown-log"), (409, "bad-proof"), (422, "bad-proof")] {
        let error = read(status, "text/plain", b"").unwrap_err();
        assert_eq!((error.code(), error.may_pass()), (code, false));
    }
    // A proxy's page in the witness' place, and lines of others.
    for page in ["<html>", EXAMPLE_ANSWER] {
        assert!(!read(200, "text/html", page.as_bytes()).unwrap_err().may_pass());
    }
    for status in [201, 204, 301, 307, 429, 500, 503] {
        let error = read(status, "", &line(CHECKPOINT, 1, NOW)).unwrap_err();
        assert_eq!((error.clone(), error.may_pass()), (AskError::Status(status), true));
    }
}

#[test]
fn a_cosignature_that_is_not_the_witness_own_over_this_checkpoint_is_refused() {
    let other = Checkpoint { origin: "example.com/behind-the-sofa".into(), size: 20_852_163, root: [1; 32] }.body();
    let cases: [(&str, Vec<u8>, AskError); 9] = [
        ("nothing", vec![], AskError::Malformed("not signature lines")),
        ("not a line", b"hello\n".to_vec(), AskError::Malformed("not signature lines")),
        ("another witness", line(CHECKPOINT, 2, NOW), AskError::NoCosignature),
        ("another root", line(&other, 1, NOW), AskError::BadCosignature),
        ("the far future", line(CHECKPOINT, 1, NOW + MAX_AHEAD_S + 1), AskError::BadTime(NOW + MAX_AHEAD_S + 1)),
        ("no time", line(CHECKPOINT, 1, 0), AskError::BadTime(0)),
        (
            "a whole note",
            [CHECKPOINT.as_bytes(), b"\n", &line(CHECKPOINT, 1, NOW)].concat(),
            AskError::Malformed("not signature lines alone"),
        ),
        ("without its end", line(CHECKPOINT, 1, NOW).split_last().unwrap().1.to_vec(), AskError::Malformed("not signature lines")),
        ("a good one and a bad one", [line(CHECKPOINT, 1, NOW), line(&other, 1, NOW)].concat(), AskError::BadCosignature),
    ];
    for (what, body, error) in cases {
        assert_eq!(read(200, "", &body), Err(error), "{what}");
    }
    // Of two that hold the later counts.
    let two = [line(CHECKPOINT, 1, NOW), line(CHECKPOINT, 1, NOW - 9)].concat();
    assert!(matches!(read(200, "", &two), Ok(Answer::Cosigned(_, NOW))));
}

proptest::proptest! {
    #[test]
    fn any_answer_is_read_or_refused(status in 0u16..600, size in proptest::bool::ANY, body in proptest::collection::vec(proptest::num::u8::ANY, 0..300)) {
        let content_type = if size { "text/x.tlog.size" } else { "text/plain" };
        if let Ok(answer) = read(status, content_type, &body) {
            proptest::prop_assert!(matches!((status, answer), (409, Answer::At(_))));
        }
    }
}
