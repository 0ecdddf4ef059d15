//! Commands and licence items, read in one pass. [`crate::canonical`] decodes, encodes again and compares, which
//! for what every record holds is most of the work of looking at it.
//!
//! A reader takes bytes that [`crate::canonical`] takes and gives the same message; property tests hold both
//! against each other. What it does not take, be it a fault or what it does not know, is left to
//! [`crate::canonical`]: a field that is added to a message here is read more slowly until it is added here.

use crate::view::Fields;
use crate::{
    Authentication, Body, CanonicalError, Command, Evidence, Head, HolderTag, IssueLicences, LicenceFile, LicenceItem, LicenceSeal,
    Message, Provenance, Signer, body::Of, canonical,
};

/// Reads a command, as [`crate::canonical`] does.
pub fn command(bytes: &[u8]) -> Result<Command, CanonicalError> {
    read(bytes, of_command)
}

/// Reads a licence item, as [`crate::canonical`] does.
pub fn item(bytes: &[u8]) -> Result<LicenceItem, CanonicalError> {
    read(bytes, of_item)
}

/// Reads a message from its fields. They are taken in the order of their numbers, as they are named.
type Read<M> = fn(&mut Fields<'_>) -> Option<M>;

fn read<M: Message + Default>(bytes: &[u8], read: Read<M>) -> Result<M, CanonicalError> {
    Fields::whole(bytes, read).map_or_else(|| canonical(bytes), Ok)
}

fn of_command(fields: &mut Fields<'_>) -> Option<Command> {
    Some(Command { head: fields.one(1, head)?, body: fields.one(2, body)? })
}

fn head(fields: &mut Fields<'_>) -> Option<Head> {
    Some(Head {
        format_version: fields.number32(1)?,
        suite: fields.number32(2)?,
        ledger_id: fields.bytes(3)?.to_vec(),
        nonce: fields.bytes(4)?.to_vec(),
        signers: fields.many(5, signer)?,
        not_after_ms: fields.number(6)?,
        unit: fields.text(7)?,
        on_behalf_of: fields.text(8)?,
        relates_to: fields.repeated(9)?.iter().map(<[u8]>::to_vec).collect(),
        evidence: fields.many(10, evidence)?,
        legal_basis: fields.repeated(11)?.iter().map(text).collect::<Option<_>>()?,
        reason: fields.text(12)?,
        text_digests: fields.repeated(13)?.iter().map(<[u8]>::to_vec).collect(),
        expected_seq: fields.optional(14)?,
        text_ciphertext_digest: fields.bytes(15)?.to_vec(),
        wraps_digest: fields.bytes(16)?.to_vec(),
    })
}

fn signer(fields: &mut Fields<'_>) -> Option<Signer> {
    Some(Signer {
        key_id: fields.bytes(1)?.to_vec(),
        unit: fields.text(2)?,
        post: fields.text(3)?,
        kind: fields.enumeration(4)?,
        authentication: fields.one(5, authentication)?,
    })
}

fn authentication(fields: &mut Fields<'_>) -> Option<Authentication> {
    Some(Authentication {
        factor: fields.number32(1)?,
        second_factor: fields.number32(2)?,
        source: fields.text(3)?,
        account_level: fields.number32(4)?,
        caller_system: fields.text(5)?,
        clerk: fields.text(6)?,
    })
}

fn evidence(fields: &mut Fields<'_>) -> Option<Evidence> {
    Some(Evidence { kind: fields.text(1)?, media_type: fields.text(2)?, digest: fields.bytes(3)?.to_vec() })
}

/// Nearly all commands issue. Other bodies are left to the whole decoder.
fn body(fields: &mut Fields<'_>) -> Option<Body> {
    Some(Body { of: Some(Of::IssueLicences(fields.one(7, issue)??)) })
}

fn issue(fields: &mut Fields<'_>) -> Option<IssueLicences> {
    Some(IssueLicences { items_root: fields.bytes(1)?.to_vec(), items_count: fields.number32(2)? })
}

fn of_item(fields: &mut Fields<'_>) -> Option<LicenceItem> {
    Some(LicenceItem {
        format_version: fields.number32(1)?,
        identifier: fields.text(2)?,
        identifier_tag: fields.bytes(3)?.to_vec(),
        identifier_digest: fields.bytes(4)?.to_vec(),
        series_tag: fields.bytes(5)?.to_vec(),
        type_code: fields.text(6)?,
        type_version: fields.number32(7)?,
        issuing_authority: fields.text(8)?,
        area: fields.text(9)?,
        version: fields.number32(10)?,
        previous: fields.text(11)?,
        superseded_because: fields.text(12)?,
        objection: fields.bytes(13)?.to_vec(),
        decided_on: fields.number32(14)?,
        issued_on: fields.number32(15)?,
        effective_from: fields.number32(16)?,
        expires_on: fields.number32(17)?,
        no_term: fields.flag(18)?,
        holders: fields.many(19, holder)?,
        schema_version: fields.number32(20)?,
        field_digests: fields.bytes(21)?.to_vec(),
        field_classes: fields.bytes(22)?.to_vec(),
        files: fields.many(23, file)?,
        seals: fields.many(24, seal)?,
        provenance: fields.one(25, provenance)?,
        ciphertext_digest: fields.bytes(26)?.to_vec(),
        holder_code_unusual: fields.flag(27)?,
    })
}

fn holder(fields: &mut Fields<'_>) -> Option<HolderTag> {
    Some(HolderTag { tag: fields.bytes(1)?.to_vec(), code_type: fields.text(2)? })
}

fn file(fields: &mut Fields<'_>) -> Option<LicenceFile> {
    Some(LicenceFile {
        role: fields.text(1)?,
        media_type: fields.text(2)?,
        size: fields.number(3)?,
        digest: fields.bytes(4)?.to_vec(),
        face_template: fields.text(5)?,
    })
}

fn seal(fields: &mut Fields<'_>) -> Option<LicenceSeal> {
    Some(LicenceSeal {
        seal_id: fields.text(1)?,
        certificate_digest: fields.bytes(2)?.to_vec(),
        signature_digest: fields.bytes(3)?.to_vec(),
        time_ms: fields.number(4)?,
        timestamp_token_digest: fields.bytes(5)?.to_vec(),
    })
}

fn provenance(fields: &mut Fields<'_>) -> Option<Provenance> {
    Some(Provenance {
        origin: fields.enumeration(1)?,
        source_system: fields.text(2)?,
        source_row_digest: fields.bytes(3)?.to_vec(),
        trust_grade: fields.text(4)?,
        service_item: fields.text(5)?,
        physical_serial: fields.text(6)?,
        physical_issued_on: fields.text(7)?,
        legacy_code: fields.text(8)?,
    })
}

fn text(bytes: &[u8]) -> Option<String> {
    std::str::from_utf8(bytes).ok().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SetPolicy;
    use crate::changed::changed;
    use proptest::collection::vec;
    use proptest::prelude::*;

    fn some() -> impl Strategy<Value = Vec<u8>> {
        vec(any::<u8>(), 0..4)
    }

    fn word() -> impl Strategy<Value = String> {
        "[a-z朱]{0,3}"
    }

    fn number() -> impl Strategy<Value = u32> {
        prop_oneof![Just(0), 1..300u32, any::<u32>()]
    }

    fn kind() -> impl Strategy<Value = i32> {
        prop_oneof![Just(0), 1..9i32, any::<i32>()]
    }

    fn any_signer() -> impl Strategy<Value = Signer> {
        let how = (number(), number(), word(), number(), word(), word());
        let authentication = how.prop_map(|(factor, second_factor, source, account_level, caller_system, clerk)| Authentication {
            factor,
            second_factor,
            source,
            account_level,
            caller_system,
            clerk,
        });
        (some(), word(), word(), kind(), prop::option::of(authentication)).prop_map(|(key_id, unit, post, kind, authentication)| Signer {
            key_id,
            unit,
            post,
            kind,
            authentication,
        })
    }

    fn any_head() -> impl Strategy<Value = Head> {
        let evidence = (word(), word(), some()).prop_map(|(kind, media_type, digest)| Evidence { kind, media_type, digest });
        let lists = (vec(any_signer(), 0..3), vec(some(), 0..3), vec(evidence, 0..3), vec(word(), 0..3), vec(some(), 0..3));
        let words = (word(), word(), word());
        let digests = (some(), some(), some(), some());
        (number(), number(), any::<u64>(), prop::option::of(0..300u64), lists, words, digests).prop_map(
            |(format_version, suite, not_after_ms, expected_seq, lists, words, digests)| {
                let (signers, relates_to, evidence, legal_basis, text_digests) = lists;
                let (unit, on_behalf_of, reason) = words;
                let (ledger_id, nonce, text_ciphertext_digest, wraps_digest) = digests;
                Head {
                    format_version,
                    suite,
                    ledger_id,
                    nonce,
                    signers,
                    not_after_ms,
                    unit,
                    on_behalf_of,
                    relates_to,
                    evidence,
                    legal_basis,
                    reason,
                    text_digests,
                    expected_seq,
                    text_ciphertext_digest,
                    wraps_digest,
                }
            },
        )
    }

    fn any_command() -> impl Strategy<Value = Command> {
        let issue = (some(), number()).prop_map(|(items_root, items_count)| Of::IssueLicences(IssueLicences { items_root, items_count }));
        let of = prop_oneof![4 => issue.prop_map(Some), 1 => Just(Some(Of::SetPolicy(SetPolicy::default()))), 1 => Just(None)];
        let body = prop::option::of(of.prop_map(|of| Body { of }));
        (prop::option::of(any_head()), body).prop_map(|(head, body)| Command { head, body })
    }

    fn any_item() -> impl Strategy<Value = LicenceItem> {
        let holder = (some(), word()).prop_map(|(tag, code_type)| HolderTag { tag, code_type });
        let file = (word(), word(), any::<u64>(), some(), word()).prop_map(|(role, media_type, size, digest, face_template)| LicenceFile {
            role,
            media_type,
            size,
            digest,
            face_template,
        });
        let seal = (word(), some(), some(), any::<u64>(), some()).prop_map(
            |(seal_id, certificate_digest, signature_digest, time_ms, timestamp_token_digest)| LicenceSeal {
                seal_id,
                certificate_digest,
                signature_digest,
                time_ms,
                timestamp_token_digest,
            },
        );
        let provenance = (kind(), some(), vec(word(), 6)).prop_map(|(origin, source_row_digest, words)| {
            let word = |at: usize| words[at].clone();
            Provenance {
                origin,
                source_system: word(0),
                source_row_digest,
                trust_grade: word(1),
                service_item: word(2),
                physical_serial: word(3),
                physical_issued_on: word(4),
                legacy_code: word(5),
            }
        });
        let parts = (vec(holder, 0..3), vec(file, 0..3), vec(seal, 0..3), prop::option::of(provenance));
        (vec(word(), 7), vec(some(), 7), vec(number(), 8), any::<[bool; 2]>(), parts).prop_map(|(words, bytes, numbers, flags, parts)| {
            let (word, bytes, number) = (|at: usize| words[at].clone(), |at: usize| bytes[at].clone(), |at: usize| numbers[at]);
            let (holders, files, seals, provenance) = parts;
            LicenceItem {
                format_version: number(0),
                identifier: word(0),
                identifier_tag: bytes(0),
                identifier_digest: bytes(1),
                series_tag: bytes(2),
                type_code: word(1),
                type_version: number(1),
                issuing_authority: word(2),
                area: word(3),
                version: number(2),
                previous: word(4),
                superseded_because: word(5),
                objection: bytes(3),
                decided_on: number(3),
                issued_on: number(4),
                effective_from: number(5),
                expires_on: number(6),
                no_term: flags[0],
                holders,
                schema_version: number(7),
                field_digests: bytes(4),
                field_classes: bytes(5),
                files,
                seals,
                provenance,
                ciphertext_digest: bytes(6),
                holder_code_unusual: flags[1],
            }
        })
    }

    /// Whatever a reader takes is canonical and the same message.
    fn agree(bytes: &[u8]) -> Result<(), TestCaseError> {
        if let Some(command) = Fields::whole(bytes, of_command) {
            prop_assert_eq!(canonical(bytes), Ok(command));
        }
        if let Some(item) = Fields::whole(bytes, of_item) {
            prop_assert_eq!(canonical(bytes), Ok(item));
        }
        prop_assert_eq!(command(bytes), canonical(bytes));
        prop_assert_eq!(item(bytes), canonical(bytes));
        Ok(())
    }

    proptest! {
        #[test]
        fn messages_read_alike(mut any in any_command(), item in any_item()) {
            for bytes in [any.encode_to_vec(), item.encode_to_vec()] {
                agree(&bytes)?;
            }
            // None of what is usual is left to the other.
            any.body = Some(Body { of: Some(Of::IssueLicences(IssueLicences::default())) });
            for signer in any.head.iter_mut().flat_map(|head| &mut head.signers) {
                signer.kind = signer.kind.max(0);
            }
            prop_assert_eq!(Fields::whole(&any.encode_to_vec(), of_command), Some(any));
            let positive = item.provenance.as_ref().is_none_or(|p| p.origin >= 0);
            prop_assert_eq!(Fields::whole(&item.encode_to_vec(), of_item), positive.then_some(item));
        }

        #[test]
        fn changed_messages_are_taken_and_refused_alike(
            command in any_command(), item in any_item(), at: prop::sample::Index, byte: u8, cut: prop::sample::Index, extra in vec(any::<u8>(), 0..4),
        ) {
            for bytes in [command.encode_to_vec(), item.encode_to_vec()] {
                changed(&bytes, at, byte, cut, &extra).iter().try_for_each(|bytes| agree(bytes))?;
            }
        }

        #[test]
        fn any_bytes_are_taken_and_refused_alike(bytes in vec(prop_oneof![0u8..100, any::<u8>()], 0..60)) {
            agree(&bytes)?;
        }
    }
}
