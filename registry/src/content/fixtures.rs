//! Tests over the sample data of `testnet/fixtures`.

use super::*;
use crate::reason::Reason;
use serde_json::Value;
use std::collections::HashMap;
use vermilion_crypto::LookupKey;
use vermilion_proto::{FieldClass, LicenceItem, LicenceType, Provenance};

pub const CATALOGUE: &str = include_str!("../../../testnet/fixtures/catalogue.json");
const GOOD: &str = include_str!("../../../testnet/fixtures/licences.jsonl");
const BAD: &str = include_str!("../../../testnet/fixtures/licences-bad.jsonl");

pub fn lines() -> impl Iterator<Item = &'static str> {
    GOOD.lines()
}

pub fn types() -> Vec<LicenceType> {
    types_from_catalogue(CATALOGUE).unwrap().into_iter().map(|e| e.licence_type).collect()
}

fn all_rules() -> HashMap<String, TypeRules> {
    types().iter().map(|t| (t.code.clone(), TypeRules::new(t).unwrap())).collect()
}

fn lookup() -> LookupKey {
    LookupKey::from_bytes([9; 32])
}

fn tags(row: &Row, rules: &TypeRules, lookup: &LookupKey) -> RowTags {
    let answers: Vec<[u8; 32]> = tag_inputs(row, rules).unwrap().iter().map(|i| lookup.tag(i.kind, &i.code_type, &i.value)).collect();
    RowTags::from_answers(row, rules, &answers).unwrap()
}

fn build(row: &Row, rules: &TypeRules) -> (LicenceItem, Vec<u8>) {
    let secrets = RowSecrets { unit_secret: &[5; 32], file_digest: &[6; 32], row_number: 7 };
    let checked = check_row(row, Some(rules)).unwrap();
    let (item, plaintext) = build_item(row, &checked, rules, &tags(row, rules, &lookup()), &secrets).unwrap();
    (item, plaintext.to_vec())
}

/// The fixtures, and whatever other files of that form `VERMILION_ROWS` names (a folder).
fn good_and_bad() -> (String, String) {
    match std::env::var("VERMILION_ROWS") {
        Ok(folder) => (
            std::fs::read_to_string(format!("{folder}/licences.jsonl")).unwrap(),
            std::fs::read_to_string(format!("{folder}/licences-bad.jsonl")).unwrap(),
        ),
        Err(_) => (GOOD.to_owned(), BAD.to_owned()),
    }
}

#[test]
fn every_good_row_passes_and_comes_back_through_the_door() {
    let (rules, lookup) = (all_rules(), lookup());
    let (good, _) = good_and_bad();
    for line in good.lines() {
        let row = parse_row(line).unwrap();
        let rules = &rules[&row.type_code];
        assert_eq!(check_row(&row, Some(rules)).unwrap().warnings, [], "{line}");
        assert_eq!(check_row(&row, None).unwrap().warnings, [], "{line}");
        let (item, plaintext) = build(&row, rules);
        let content = check_content(&item, &plaintext, Some(rules), &lookup).unwrap();
        assert_eq!(content.row, row);
        let disclosed = disclosures(&plaintext).unwrap();
        assert_eq!(disclosed.len(), BASE_FIELDS.len() + row.data.as_object().unwrap().len());
        let number = disclosed.iter().find(|disclosure| disclosure.name() == base::NUMBER).unwrap();
        assert_eq!(number.value(), row.number.as_str());
        let debug = format!("{content:?} {row:?}");
        assert!(row.holders.iter().all(|h| !debug.contains(&h.code) && !debug.contains(&h.name)), "{debug}");
        assert!(content.warnings.is_empty());
        check_content(&item, &plaintext, None, &lookup).unwrap();
        assert_eq!(item.identifier.is_empty(), rules.personal_identifier());
        assert_eq!(build(&row, rules), (item, plaintext), "a build is repeatable");
    }
}

#[test]
fn every_bad_row_answers_as_expected() {
    let rules = all_rules();
    let (_, bad) = good_and_bad();
    // What only the state can tell; here such rows pass.
    let of_the_state = ["duplicate-identifier", "version-gap", "unknown-type", "issuer-not-authorised"];
    let mut seen = 0;
    for line in bad.lines() {
        let case: Value = serde_json::from_str(line).unwrap();
        let expected = case["expect"]["reason"].as_str().unwrap();
        // Not `Value::to_string`, which would keep the row as it is, but the very text.
        let row = line.split_once("\"row\":").unwrap().1.strip_suffix('}').unwrap();
        let answer = parse_row(row).and_then(|row| check_row(&row, rules.get(&row.type_code)).map(|checked| checked.warnings));
        match answer {
            Err(refusal) => {
                assert_eq!((refusal.reason.name(), "rejected"), (expected, case["expect"]["outcome"].as_str().unwrap()), "{refusal}")
            }
            Ok(warnings) if warnings.is_empty() => assert!(of_the_state.contains(&expected), "{expected} passed"),
            Ok(warnings) => {
                assert_eq!((warnings[0].name(), "accepted"), (expected, case["expect"]["outcome"].as_str().unwrap()));
                let row = parse_row(row).unwrap();
                let (mut item, plaintext) = build(&row, &rules[&row.type_code]);
                assert!(item.holder_code_unusual);
                let rules = &rules[&row.type_code];
                assert_eq!(check_content(&item, &plaintext, Some(rules), &lookup()).unwrap().warnings, [Reason::HolderCodeUnusual]);
                item.holder_code_unusual = false;
                let refusal = check_content(&item, &plaintext, Some(rules), &lookup()).unwrap_err();
                assert_eq!(refusal.reason, Reason::HolderCodeUnusual);
            }
        }
        seen += 1;
    }
    assert_eq!(seen, 26);
}

/// A row of the type whose code ends so.
fn row_of(no: &str) -> Row {
    lines().map(|l| parse_row(l).unwrap()).find(|r| r.type_code.ends_with(no)).unwrap()
}

#[test]
fn order_of_the_reasons() {
    let rules = all_rules();
    let good = row_of("K003");
    let reason = |row: &Row| check_row(row, Some(&rules[&row.type_code])).unwrap_err().reason;
    let mut bad = good.clone();
    bad.data = serde_json::json!({});
    assert_eq!(reason(&bad), Reason::Schema);
    bad.area = "0".into();
    assert_eq!(reason(&bad), Reason::Schema);
    bad.holders[0].code = "91".into();
    assert_eq!(reason(&bad), Reason::HolderCode);
    bad.holders[0].code = "440303188001010011".into();
    bad.holders[0].code_type = "111".into();
    assert_eq!(reason(&bad), Reason::HolderType);
    bad.effective = "2025-02-30".into();
    assert_eq!(reason(&bad), Reason::Validity);
    bad.authority_code = "11440300MB0X00019K".into();
    assert_eq!(reason(&bad), Reason::IdentifierMismatch);
    bad.identifier.push('0');
    assert_eq!(reason(&bad), Reason::IdentifierFormat);
    bad.name.clear();
    assert_eq!(reason(&bad), Reason::Schema);
}

#[test]
fn terms_and_bounds() {
    let rules = all_rules();
    let good = row_of("K003"); // at most four years
    let reason = |change: &dyn Fn(&mut Row)| {
        let mut row = good.clone();
        change(&mut row);
        check_row(&row, Some(&rules[&row.type_code])).err().map(|r| r.reason)
    };
    let term = |from: &'static str, to: &'static str| {
        reason(&move |r: &mut Row| {
            r.effective = from.into();
            r.expiring = to.into();
        })
    };
    assert_eq!(term("2024-02-29", "2028-02-29"), None);
    assert_eq!(term("2024-02-29", "2028-03-01"), Some(Reason::Validity));
    assert_eq!(term("2024-03-01", "2024-02-29"), Some(Reason::Validity));
    assert_eq!(term("2024-03-01", "2024-03-01"), None, "a permit for one day");
    assert_eq!(term("2024-03-01", "长期"), Some(Reason::Validity));
    assert_eq!(term("1899-12-31", "1901-01-01"), Some(Reason::Validity));
    assert_eq!(reason(&|r| r.issued = "2025-02-30".into()), Some(Reason::Validity));
    let over = |origin| {
        reason(&move |r: &mut Row| {
            (r.issued, r.effective, r.expiring) = ("2025-06-01".into(), "2021-01-01".into(), "2024-12-31".into());
            r.origin = origin;
        })
    };
    assert_eq!(over(RowOrigin::New), Some(Reason::Validity), "over before it was issued");
    assert_eq!(over(RowOrigin::Stock), None);
    assert_eq!(over(RowOrigin::Paper), None);
    assert_eq!(reason(&|r| r.holders[0].name = "名".repeat(100)), None);
    assert_eq!(reason(&|r| r.holders[0].name = "名".repeat(101)), Some(Reason::Schema));
    assert_eq!(reason(&|r| r.name = "名".repeat(101)), Some(Reason::Schema));
    assert_eq!(reason(&|r| r.holders[0].name = "a\nb".into()), Some(Reason::Schema));
    for blank in [" ", "\u{3000}", "\u{3000}\u{a0} "] {
        let texts: [fn(&mut Row) -> &mut String; 4] =
            [|r| &mut r.name, |r| &mut r.number, |r| &mut r.authority_name, |r| &mut r.holders[0].name];
        for text in texts {
            assert_eq!(reason(&|r| *text(r) = blank.into()), Some(Reason::Schema), "{}", blank.escape_unicode());
        }
    }
    assert_eq!(reason(&|r| r.holders[0].name = "阿依古丽\u{3000}买买提".into()), None);
    assert_eq!(reason(&|r| r.holders = vec![r.holders[0].clone(); 2]), Some(Reason::Schema));
    assert_eq!(reason(&|r| r.area = "DPXQ".into()), None);
    assert_eq!(reason(&|r| r.data = Value::Null), Some(Reason::Schema));
    assert_eq!(reason(&|r| r.data["origin"] = Value::Null), Some(Reason::Schema));
    assert_eq!(reason(&|r| r.type_code = "11440300MB0X00019K004".into()), Some(Reason::IdentifierMismatch));
    let refusal = {
        let mut row = good.clone();
        row.data["project"] = Value::from(440_303_188_001_010_011u64);
        check_row(&row, Some(&rules[&row.type_code])).unwrap_err()
    };
    assert!(!refusal.to_string().contains("4403031880"), "{refusal}");
}

#[test]
fn a_licence_is_called_as_its_type_is() {
    let rules = all_rules();
    let mut row = row_of("K001");
    let answer = |row: &Row, rules| check_row(row, rules).map(|checked| checked.warnings).map_err(|r| r.to_string());
    assert!(answer(&row, Some(&rules[&row.type_code])).is_ok());
    row.name = "结婚证".into();
    let refusal = answer(&row, Some(&rules[&row.type_code])).unwrap_err();
    assert_eq!(refusal, "schema: certificateName is not the name of the type");
    // What an unknown type is called nobody knows.
    assert!(answer(&row, None).is_ok());
}

#[test]
fn no_character_hides_or_turns_what_stands_around_it() {
    let rules = all_rules();
    let good = row_of("K002");
    for c in ["\u{202e}", "\u{2066}", "\u{200f}", "\u{200b}", "\u{feff}", "\0", "\u{8}", "\u{1b}[31m", "\u{7f}", "\u{85}"] {
        let changes: [&dyn Fn(&mut Row); 6] = [
            &|r| r.name += c,
            &|r| r.number += c,
            &|r| r.authority_name += c,
            &|r| r.holders[0].name += c,
            &|r| r.data["premises"] = Value::from(format!("南山{c}区")),
            &|r| r.data["items"] = serde_json::json!(["散装食品销售", c]),
        ];
        for (n, change) in changes.into_iter().enumerate() {
            let mut row = good.clone();
            change(&mut row);
            for rules in [None, Some(&rules[&row.type_code])] {
                let reason = check_row(&row, rules).err().map(|r| r.reason);
                assert_eq!(reason, Some(Reason::Schema), "{} in text {n}", c.escape_unicode());
            }
        }
    }
    let mut row = good;
    row.data["premises"] = Value::from("一层\r\n\t二层");
    assert!(check_row(&row, Some(&rules[&row.type_code])).is_ok(), "lines may end within data");
}

#[test]
fn nobody_holds_a_licence_before_being_born() {
    use crate::codes::citizen_id;
    let rules = all_rules();
    let mut row = row_of("K005");
    let mut reason = |birth: &str, issued: &str| {
        row.holders[0].code = citizen_id::build("440303", birth, 0).unwrap();
        (row.issued, row.effective) = (issued.into(), issued.into());
        row.expiring = issued.into();
        check_row(&row, Some(&rules[&row.type_code])).err().map(|r| r.reason)
    };
    assert_eq!(reason("21990101", "2025-06-01"), Some(Reason::HolderCode));
    assert_eq!(reason("20250602", "2025-06-01"), Some(Reason::HolderCode));
    assert_eq!(reason("20250601", "2025-06-01"), None, "on the first day of life");
    assert_eq!(reason("18010101", "2025-06-01"), None);
}

#[test]
fn no_holders_number_stands_in_the_clear() {
    use crate::codes::identifier::Identifier;
    let mut types = types();
    for of in &mut types {
        of.holder_code_types = ["001", "111", "414", "118"].map(str::to_owned).to_vec();
    }
    let rules: HashMap<_, _> = types.iter().map(|t| (t.code.clone(), TypeRules::new(t).unwrap())).collect();
    let answer = |no: &str, code_type: &str, code: &str, serial: &str| {
        let mut row = row_of(no);
        (row.holders[0].code_type, row.holders[0].code) = (code_type.into(), code.into());
        let version = Identifier::parse(&row.identifier).unwrap().version();
        row.identifier = Identifier::build(&row.type_code, &row.authority_code, serial, version).unwrap().as_str().to_owned();
        check_row(&row, Some(&rules[&row.type_code])).map(|checked| checked.warnings).map_err(|r| {
            assert!(!r.to_string().contains(code), "{r}");
            r.reason
        })
    };
    let (citizen, other) = ("440303188001010011", "34052419800101001X");
    for serial in [citizen, "A440303188001010011", "440303188001010011001"] {
        assert_eq!(answer("K005", "111", citizen, serial), Err(Reason::PersonalIdentifier), "{serial}");
        // Of a type whose identifiers are personal it is a tag.
        assert_eq!(answer("K009", "111", citizen, serial), Ok(vec![]), "{serial}");
    }
    assert_eq!(answer("K005", "111", citizen, other), Ok(vec![]), "another's number is a number");
    assert_eq!(answer("K005", "414", "E12345678", "E12345678001"), Err(Reason::PersonalIdentifier));
    assert_eq!(answer("K005", "118", "1234567", "1234567"), Err(Reason::PersonalIdentifier));
    assert_eq!(answer("K005", "118", "1234567", "12345678"), Ok(vec![]), "so short a code may stand there by chance");
    assert_eq!(answer("K001", "001", "91440300192448589C", "91440300192448589C"), Ok(vec![]), "a company's is public");

    // The item's other numbers the door alone sees.
    let row = row_of("K005");
    let rules = &all_rules()[&row.type_code];
    let (item, plaintext) = build(&row, rules);
    let numbered: [fn(&mut Provenance, String); 2] = [|p, n| p.legacy_code = n, |p, n| p.physical_serial = n];
    for numbered in numbered {
        let mut item = item.clone();
        numbered(item.provenance.as_mut().unwrap(), format!("粤{}", row.holders[0].code));
        assert_eq!(check_content(&item, &plaintext, Some(rules), &lookup()).unwrap_err().reason, Reason::PersonalIdentifier);
        numbered(item.provenance.as_mut().unwrap(), "粤2019-0042".into());
        check_content(&item, &plaintext, Some(rules), &lookup()).unwrap();
    }
}

/// Everything of an item that the content speaks of is checked: each change is refused.
#[test]
fn the_door_refuses_each_altered_field() {
    let (rules, lookup) = (all_rules(), lookup());
    type Change = fn(&mut LicenceItem);
    let changes: [(Change, Reason); 21] = [
        (|i| i.format_version = 2, Reason::FormatVersion),
        (|i| i.type_code.push('0'), Reason::UnknownType),
        (|i| i.type_version = 2, Reason::TypeVersion),
        (|i| i.schema_version = 2, Reason::TypeVersion),
        (|i| i.issuing_authority = "11440300MB0X00019K".into(), Reason::ContentDigest),
        (|i| i.area = "440300".into(), Reason::ContentDigest),
        (|i| i.version += 1, Reason::ContentDigest),
        (|i| i.issued_on += 1, Reason::ContentDigest),
        (|i| i.effective_from += 1, Reason::ContentDigest),
        (|i| i.expires_on += 1, Reason::ContentDigest),
        (|i| i.no_term = !i.no_term, Reason::ContentDigest),
        (|i| i.holders[0].tag[0] ^= 1, Reason::ContentDigest),
        (|i| i.holders[0].code_type = "999".into(), Reason::ContentDigest),
        (|i| i.holders.clear(), Reason::ContentDigest),
        (|i| i.field_digests[3] ^= 1, Reason::ContentDigest),
        (|i| i.field_digests.truncate(31), Reason::FieldDigests),
        (|i| i.field_digests.rotate_left(32), Reason::FieldDigests),
        (|i| i.field_classes.truncate(1), Reason::FieldDigests),
        (|i| i.field_classes[0] ^= 1, Reason::FieldDigests),
        (|i| i.provenance = None, Reason::ContentDigest),
        (|i| i.holder_code_unusual = true, Reason::ContentDigest),
    ];
    let personal: [(Change, Reason); 4] = [
        (|i| i.identifier = "x".into(), Reason::PersonalIdentifier),
        (|i| i.identifier_tag[0] ^= 1, Reason::ContentDigest),
        (|i| i.series_tag.clear(), Reason::ContentDigest),
        (|i| i.identifier_digest[0] ^= 1, Reason::ContentDigest),
    ];
    let public: [(Change, Reason); 4] = [
        (|i| i.identifier.clear(), Reason::ContentDigest),
        (|i| i.identifier_tag = vec![0; 32], Reason::ContentDigest),
        (|i| i.series_tag = vec![0; 32], Reason::ContentDigest),
        (|i| i.identifier_digest = vec![0; 32], Reason::ContentDigest),
    ];
    for (no, more) in [("K009", &personal), ("K001", &public)] {
        let row = row_of(no);
        let rules = &rules[&row.type_code];
        let (item, plaintext) = build(&row, rules);
        for (n, (change, expected)) in changes.iter().chain(more).enumerate() {
            let mut altered = item.clone();
            change(&mut altered);
            let reason = check_content(&altered, &plaintext, Some(rules), &lookup).err().map(|r| r.reason);
            assert_eq!(reason, Some(*expected), "{no}, change {n}");
        }
        assert!(check_content(&item, &plaintext, Some(rules), &LookupKey::from_bytes([1; 32])).is_err());
    }
}

/// The disclosure on a line of a plaintext.
fn read(line: &str) -> Disclosure {
    super::disclosures(line.as_bytes()).unwrap().remove(0)
}

/// The line of a disclosure: its JSON.
fn line(disclosure: &Disclosure) -> String {
    use base64::Engine as _;
    String::from_utf8(base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(disclosure.encoded()).unwrap()).unwrap()
}

/// Whoever makes an item around other disclosures is held to the same rules.
#[test]
fn the_door_refuses_altered_content() {
    let (rules, lookup) = (all_rules(), lookup());
    let row = row_of("K002");
    let rules = &rules[&row.type_code];
    let (item, plaintext) = build(&row, rules);
    let reason =
        |item: &LicenceItem, lines: &[&str]| check_content(item, lines.join("\n").as_bytes(), Some(rules), &lookup).err().map(|r| r.reason);
    let text = String::from_utf8(plaintext.clone()).unwrap();
    let lines: Vec<&str> = text.split('\n').collect();
    assert_eq!(reason(&item, &lines), None);
    let mut reversed = lines.clone();
    reversed.reverse();
    assert_eq!(reason(&item, &reversed), None, "order says nothing");
    assert_eq!(reason(&item, &lines[1..]), Some(Reason::ContentDigest));
    assert_eq!(reason(&item, &[&lines[..], &lines[..1]].concat()), Some(Reason::ContentDigest));
    assert_eq!(reason(&item, &[&lines[1..], &lines[1..2]].concat()), Some(Reason::ContentDigest));
    for n in 0..plaintext.len() {
        let mut altered = plaintext.clone();
        altered[n] ^= 1;
        assert!(check_content(&item, &altered, Some(rules), &lookup).is_err());
    }

    // Re-digested: a consistent lie about the item still meets check_row.
    let redigest = |lines: &[String]| {
        let mut fields: Vec<([u8; 32], u8)> = lines
            .iter()
            .map(|l| {
                let d = read(l);
                (*d.digest(), rules.class(d.name()).unwrap_or(FieldClass::Public) as u8)
            })
            .collect();
        fields.sort_unstable();
        let mut item = item.clone();
        item.field_digests = fields.iter().flat_map(|f| f.0).collect();
        item.field_classes = fields.iter().map(|f| f.1).collect();
        item
    };
    let with = |name: &str, value: Value| -> Vec<String> {
        let mut out: Vec<String> = lines.iter().filter(|l| read(l).name() != name).map(|l| (*l).to_owned()).collect();
        out.push(line(&Disclosure::new(&[1; SALT_LEN], name, value).unwrap()));
        out
    };
    for (name, value, expected) in [
        (base::NAME, Value::from("别的"), Some(Reason::Schema)),
        (base::AUTHORITY_NAME, Value::from("别的"), None),
        (base::AUTHORITY_NAME, Value::from("别\u{202e}的"), Some(Reason::Schema)),
        (base::NAME, Value::from(1), Some(Reason::Schema)),
        (base::NAME, Value::from(""), Some(Reason::Schema)),
        (base::AREA, Value::from("440399"), Some(Reason::Schema)),
        (base::ISSUED, Value::from("2020-01-01"), Some(Reason::ContentDigest)),
        (base::IDENTIFIER, Value::from(""), Some(Reason::IdentifierFormat)),
        (base::HOLDER, serde_json::json!([]), Some(Reason::Schema)),
        ("permitNumber", Value::from("x"), Some(Reason::Schema)),
        ("unknown", Value::from("x"), Some(Reason::Schema)),
        ("classification", Value::from("国家秘密"), Some(Reason::Schema)),
        ("data", serde_json::json!({}), Some(Reason::Schema)),
    ] {
        let lines = with(name, value);
        let item = redigest(&lines);
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        assert_eq!(reason(&item, &lines), expected, "{name}");
    }
    // The same field twice, with two values and both digests.
    let mut twice: Vec<String> = lines.iter().map(|l| (*l).to_owned()).collect();
    twice.push(line(&Disclosure::new(&[1; SALT_LEN], base::NAME, Value::from("别的")).unwrap()));
    let item = redigest(&twice);
    assert_eq!(reason(&item, &twice.iter().map(String::as_str).collect::<Vec<_>>()), Some(Reason::ContentDigest));
}

#[test]
fn an_item_is_made_of_a_row_as_it_was_checked() {
    let rules = all_rules();
    let rows: Vec<Row> = lines().take(20).map(|line| parse_row(line).unwrap()).collect();
    let secrets = RowSecrets { unit_secret: &[5; 32], file_digest: &[6; 32], row_number: 7 };
    let built = |row: &Row, checked: &CheckedRow| {
        let rules = &rules[&row.type_code];
        build_item(row, checked, rules, &tags(row, rules, &lookup()), &secrets).map(drop).map_err(|refusal| refusal.reason)
    };
    for (row, other) in rows.iter().zip(&rows[1..]) {
        let checked = |row: &Row| check_row(row, Some(&rules[&row.type_code])).unwrap();
        assert_eq!(built(row, &checked(row)), Ok(()));
        assert_eq!(built(row, &checked(other)), Err(Reason::Internal));
        assert_eq!(built(row, &check_row(row, None).unwrap()), Err(Reason::Internal), "without rules");
        for rules in rules.values().filter(|rules| rules.code() != row.type_code) {
            let refusal = build_item(row, &checked(row), rules, &RowTags::default(), &secrets).unwrap_err();
            assert_eq!((refusal.reason, &*refusal.detail), (Reason::Internal, "the row was not checked by these rules"));
        }
    }
}

#[test]
fn salts_depend_on_everything() {
    let salt = |secret: u8, file: u8, row_number, field: &str| {
        RowSecrets { unit_secret: &[secret; 32], file_digest: &[file; 32], row_number }.salt(field)
    };
    let mut salts = vec![salt(1, 1, 1, "a"), salt(2, 1, 1, "a"), salt(1, 2, 1, "a"), salt(1, 1, 2, "a"), salt(1, 1, 1, "b")];
    salts.sort_unstable();
    salts.dedup();
    assert_eq!(salts.len(), 5);
}

/// `cargo test --release -- --ignored --nocapture microseconds`: what a licence costs.
#[test]
#[ignore = "a measurement"]
fn microseconds_per_licence() {
    let (rules, lookup) = (all_rules(), lookup());
    let rows: Vec<Row> = lines().map(|l| parse_row(l).unwrap()).collect();
    let tags: Vec<RowTags> = rows.iter().map(|r| tags(r, &rules[&r.type_code], &lookup)).collect();
    let secrets = RowSecrets { unit_secret: &[5; 32], file_digest: &[6; 32], row_number: 7 };
    let mut built = Vec::new();
    for round in 0..5 {
        built.clear();
        measure("parse_row", round, || lines().for_each(|l| drop(parse_row(l).unwrap())));
        let mut checked = Vec::new();
        measure("check_row", round, || {
            checked.extend(rows.iter().map(|row| check_row(row, Some(&rules[&row.type_code])).unwrap()));
        });
        measure("build_item", round, || {
            for ((row, tags), checked) in rows.iter().zip(&tags).zip(&checked) {
                built.push(build_item(row, checked, &rules[&row.type_code], tags, &secrets).unwrap());
            }
        });
        measure("check_content", round, || {
            for (item, plaintext) in &built {
                check_content(item, plaintext, Some(&rules[&item.type_code]), &lookup).unwrap();
            }
        });
    }
}

#[allow(clippy::disallowed_methods)]
fn measure(what: &str, round: u32, work: impl FnOnce()) {
    let start = std::time::Instant::now();
    work();
    println!("{round} {what}: {:.2} µs", start.elapsed().as_secs_f64() * 1e6 / lines().count() as f64);
}
