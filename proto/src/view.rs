//! Readers of the three wrappers that every record is read through (`StoredRecord`, `Record`,
//! `Envelope`) that copy nothing. What an audit or a gate does a hundred thousand times a second
//! should not allocate a dozen pieces of memory to look at one of them.
//!
//! They take exactly the bytes that [`crate::canonical`] takes of the same message: fields in
//! ascending order, each as short as it can be, none that holds its default, none that is unknown.
//! Property tests hold both against each other.

use crate::{CanonicalError, CommitmentData, Message, Outcome, canonical};

/// A `StoredRecord`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoredView<'a> {
    /// The format version.
    pub format_version: u32,
    /// Exact bytes of the record.
    pub record: &'a [u8],
    /// The items beside it, in order.
    pub items: Repeated<'a>,
    /// The chain hash after it.
    pub chain: &'a [u8],
}

/// A `Record`.
#[derive(Clone, Debug, PartialEq)]
pub struct RecordView<'a> {
    /// The format version.
    pub format_version: u32,
    /// The sequence number.
    pub seq: u64,
    /// The epoch.
    pub epoch: u64,
    /// The block's time, Unix milliseconds.
    pub time_ms: u64,
    /// The version of the rules.
    pub rules_version: u32,
    /// Exact bytes of the envelope.
    pub envelope: &'a [u8],
    /// Digest of what travelled beside it.
    pub beside_digest: &'a [u8],
    /// The outcome.
    pub outcome: Option<Outcome>,
    /// Digest of the effects.
    pub effects_digest: &'a [u8],
    /// What a commitment record holds beyond.
    pub commitment: Option<CommitmentData>,
}

/// An `Envelope`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EnvelopeView<'a> {
    /// The payload's type.
    pub payload_type: &'a str,
    /// Exact bytes of the command.
    pub payload: &'a [u8],
    /// The signatures, each to be read as a [`SignatureView`].
    pub signatures: Repeated<'a>,
}

/// A `Signature`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SignatureView<'a> {
    /// The suite.
    pub suite: u32,
    /// The key's id.
    pub key_id: &'a [u8],
    /// The public key.
    pub public_key: &'a [u8],
    /// The signature.
    pub signature: &'a [u8],
}

impl<'a> StoredView<'a> {
    /// Reads one.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, CanonicalError> {
        let mut fields = Fields(bytes);
        let parsed = (|| {
            let out =
                Self { format_version: fields.number32(1)?, record: fields.bytes(2)?, items: fields.repeated(3)?, chain: fields.bytes(4)? };
            fields.end(out)
        })();
        parsed.ok_or_else(|| why::<crate::StoredRecord>(bytes))
    }
}

impl<'a> RecordView<'a> {
    /// Reads one.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, CanonicalError> {
        let mut fields = Fields(bytes);
        let parsed = (|| {
            let out = Self {
                format_version: fields.number32(1)?,
                seq: fields.number(2)?,
                epoch: fields.number(3)?,
                time_ms: fields.number(4)?,
                rules_version: fields.number32(5)?,
                envelope: fields.bytes(6)?,
                beside_digest: fields.bytes(7)?,
                outcome: fields.message(8)?,
                effects_digest: fields.bytes(9)?,
                commitment: fields.message(10)?,
            };
            fields.end(out)
        })();
        parsed.ok_or_else(|| why::<crate::Record>(bytes))
    }
}

impl<'a> EnvelopeView<'a> {
    /// Reads one, its signatures included.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, CanonicalError> {
        let mut fields = Fields(bytes);
        let parsed = (|| {
            let out = Self {
                payload_type: std::str::from_utf8(fields.bytes(1)?).ok()?,
                payload: fields.bytes(2)?,
                signatures: fields.repeated(3)?,
            };
            let whole = out.signatures.iter().all(|signature| SignatureView::parse(signature).is_ok());
            fields.end(out).filter(|_| whole)
        })();
        parsed.ok_or_else(|| why::<crate::Envelope>(bytes))
    }
}

impl<'a> SignatureView<'a> {
    /// Reads one.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, CanonicalError> {
        let mut fields = Fields(bytes);
        let parsed = (|| {
            let out =
                Self { suite: fields.number32(1)?, key_id: fields.bytes(2)?, public_key: fields.bytes(3)?, signature: fields.bytes(4)? };
            fields.end(out)
        })();
        parsed.ok_or_else(|| why::<crate::Signature>(bytes))
    }
}

/// Why bytes that a reader refuses are not canonical: the whole decoder says it better.
fn why<M: Message + Default>(bytes: &[u8]) -> CanonicalError {
    canonical::<M>(bytes).err().unwrap_or(CanonicalError::NotCanonical)
}

/// A repeated field's elements, one after the other as they stand in the message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Repeated<'a> {
    /// The elements with their tags and lengths.
    span: &'a [u8],
    field: u8,
    count: usize,
}

impl<'a> Repeated<'a> {
    /// How many elements there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The elements, in order.
    pub fn iter(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let (mut fields, field) = (Fields(self.span), self.field);
        std::iter::from_fn(move || fields.delimited(field).flatten())
    }
}

/// Shows the fields of a message in the order in which they stand in it, each with its number and, if it is one with a length, with
/// what it holds. Nothing is decoded and nothing kept: to count what a decoder would make room for. Refuses what holds no
/// fields, numbers that are not in their shortest form, and groups, which no message here has.
pub fn walk<'a>(bytes: &'a [u8], mut see: impl FnMut(u64, Option<&'a [u8]>)) -> Result<(), CanonicalError> {
    let mut fields = Fields(bytes);
    while !fields.0.is_empty() {
        let (number, value) = fields.any().ok_or_else(|| CanonicalError::Malformed("its fields cannot be told apart".into()))?;
        see(number, value);
    }
    Ok(())
}

/// What is left of a message. A field is asked for in the order of numbers; one that is not there has
/// its default. `None` means that the message is not canonical.
pub(crate) struct Fields<'a>(&'a [u8]);

const VARINT: u8 = 0;
const DELIMITED: u8 = 2;

impl<'a> Fields<'a> {
    /// A message of exactly these bytes.
    #[inline]
    pub(crate) fn whole<M>(bytes: &'a [u8], read: impl Fn(&mut Self) -> Option<M>) -> Option<M> {
        let mut fields = Self(bytes);
        let message = read(&mut fields)?;
        fields.end(message)
    }

    /// Takes the field's tag if it comes next. Numbers up to 15 have tags of one byte, others of two.
    #[inline]
    fn tag(&mut self, field: u8, wire: u8) -> bool {
        let tag = u16::from(field) << 3 | u16::from(wire);
        let [low, high] = [(tag & 0x7f) as u8, (tag >> 7) as u8];
        let rest = if high == 0 { self.0.strip_prefix(&[low]) } else { self.0.strip_prefix(&[low | 0x80, high]) };
        self.0 = rest.unwrap_or(self.0);
        rest.is_some()
    }

    /// A varint in its shortest form. Nearly all have one byte.
    #[inline]
    fn varint(&mut self) -> Option<u64> {
        match self.0.split_first() {
            Some((byte, rest)) if byte & 0x80 == 0 => {
                self.0 = rest;
                Some(u64::from(*byte))
            }
            _ => self.long_varint(),
        }
    }

    fn long_varint(&mut self) -> Option<u64> {
        let mut value = 0u64;
        for (n, byte) in self.0.iter().enumerate().take(10) {
            let part = u64::from(byte & 0x7f);
            // The tenth byte holds one bit.
            if n == 9 && part > 1 {
                return None;
            }
            value |= part << (7 * n);
            if byte & 0x80 == 0 {
                self.0 = self.0.get(n + 1..)?;
                return (n == 0 || part != 0).then_some(value);
            }
        }
        None
    }

    /// The next field, whichever it is.
    fn any(&mut self) -> Option<(u64, Option<&'a [u8]>)> {
        let tag = self.varint()?;
        let length = match tag & 7 {
            0 => {
                self.varint()?;
                return Some((tag >> 3, None));
            }
            1 => 8,
            2 => usize::try_from(self.varint()?).ok()?,
            5 => 4,
            _ => return None,
        };
        let (value, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some((tag >> 3, (tag & 7 == u64::from(DELIMITED)).then_some(value)))
    }

    #[inline]
    pub(crate) fn number(&mut self, field: u8) -> Option<u64> {
        if self.tag(field, VARINT) { self.varint().filter(|value| *value != 0) } else { Some(0) }
    }

    #[inline]
    pub(crate) fn number32(&mut self, field: u8) -> Option<u32> {
        u32::try_from(self.number(field)?).ok()
    }

    /// A number that may be there and 0.
    #[inline]
    pub(crate) fn optional(&mut self, field: u8) -> Option<Option<u64>> {
        if self.tag(field, VARINT) { self.varint().map(Some) } else { Some(None) }
    }

    /// A number with a name, but for those below 0.
    #[inline]
    pub(crate) fn enumeration(&mut self, field: u8) -> Option<i32> {
        i32::try_from(self.number(field)?).ok()
    }

    #[inline]
    pub(crate) fn flag(&mut self, field: u8) -> Option<bool> {
        match self.number(field)? {
            0 => Some(false),
            1 => Some(true),
            _ => None,
        }
    }

    /// The next element of a field, if one comes next.
    #[inline]
    fn delimited(&mut self, field: u8) -> Option<Option<&'a [u8]>> {
        if !self.tag(field, DELIMITED) {
            return Some(None);
        }
        let len = usize::try_from(self.varint()?).ok()?;
        let (value, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(Some(value))
    }

    #[inline]
    pub(crate) fn bytes(&mut self, field: u8) -> Option<&'a [u8]> {
        match self.delimited(field)? {
            Some([]) => None,
            value => Some(value.unwrap_or_default()),
        }
    }

    #[inline]
    pub(crate) fn text(&mut self, field: u8) -> Option<String> {
        std::str::from_utf8(self.bytes(field)?).ok().map(str::to_owned)
    }

    pub(crate) fn repeated(&mut self, field: u8) -> Option<Repeated<'a>> {
        let before = self.0;
        let mut count = 0;
        while self.delimited(field)?.is_some() {
            count += 1;
        }
        Some(Repeated { span: before.get(..before.len() - self.0.len())?, field, count })
    }

    /// A message that may be there.
    #[inline]
    pub(crate) fn one<M>(&mut self, field: u8, read: impl Fn(&mut Self) -> Option<M>) -> Option<Option<M>> {
        match self.delimited(field)? {
            Some(bytes) => Self::whole(bytes, read).map(Some),
            None => Some(None),
        }
    }

    /// As many messages as there are.
    #[inline]
    pub(crate) fn many<M>(&mut self, field: u8, read: impl Fn(&mut Self) -> Option<M>) -> Option<Vec<M>> {
        let mut messages = Vec::new();
        while let Some(message) = self.one(field, &read)? {
            messages.push(message);
        }
        Some(messages)
    }

    fn message<M: Message + Default>(&mut self, field: u8) -> Option<Option<M>> {
        self.delimited(field)?.map(|bytes| canonical(bytes).ok()).map_or(Some(None), |message| message.map(Some))
    }

    fn end<T>(&self, out: T) -> Option<T> {
        self.0.is_empty().then_some(out)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::changed::changed;
    use crate::{Envelope, ItemRefusal, Record, Signature, StoredRecord};
    use proptest::collection::vec;
    use proptest::prelude::*;

    fn some() -> impl Strategy<Value = Vec<u8>> {
        vec(any::<u8>(), 0..40)
    }

    fn number() -> impl Strategy<Value = u64> {
        prop_oneof![Just(0), 1..300u64, any::<u64>()]
    }

    fn record() -> impl Strategy<Value = Record> {
        let outcome = prop::option::of((any::<u32>(), vec(any::<u32>(), 0..3), prop::option::of(number())));
        let commitment = prop::option::of((some(), number()));
        ((0..3u32, number(), number(), number(), any::<u32>()), some(), some(), outcome, some(), commitment).prop_map(
            |((format_version, seq, epoch, time_ms, rules_version), envelope, beside_digest, outcome, effects_digest, commitment)| Record {
                format_version,
                seq,
                epoch,
                time_ms,
                rules_version,
                envelope: envelope.into(),
                beside_digest,
                outcome: outcome.map(|(code, refused, first_status_index)| Outcome {
                    code,
                    refused: refused.into_iter().map(|position| ItemRefusal { position, code }).collect(),
                    first_status_index,
                    ..Default::default()
                }),
                effects_digest,
                commitment: commitment.map(|(status_root, licence_count)| CommitmentData {
                    status_root,
                    licence_count,
                    ..Default::default()
                }),
            },
        )
    }

    fn envelope() -> impl Strategy<Value = Envelope> {
        let signature = (any::<u32>(), some(), some(), some()).prop_map(|(suite, key_id, public_key, signature)| Signature {
            suite,
            key_id,
            public_key,
            signature,
        });
        ("[a-z朱]{0,6}", some(), vec(signature, 0..4)).prop_map(|(payload_type, payload, signatures)| Envelope {
            payload_type,
            payload,
            signatures,
        })
    }

    fn stored() -> impl Strategy<Value = StoredRecord> {
        (0..3u32, some(), vec(some(), 0..4), some()).prop_map(|(format_version, record, items, chain)| StoredRecord {
            format_version,
            record: record.into(),
            items: items.into_iter().map(Into::into).collect(),
            chain,
        })
    }

    fn agree(bytes: &[u8]) -> Result<(), TestCaseError> {
        let mut items = 0;
        let walked = walk(bytes, |number, _| items += usize::from(number == 3));
        if let Ok(message) = StoredRecord::decode(bytes) {
            prop_assert!(walked.is_err() || items == message.items.len());
            prop_assert!(walked.is_ok() || canonical::<StoredRecord>(bytes).is_err());
        }
        match (StoredView::parse(bytes), canonical::<StoredRecord>(bytes)) {
            (Ok(view), Ok(message)) => {
                prop_assert_eq!(
                    (view.format_version, view.record, view.chain),
                    (message.format_version, &*message.record, &*message.chain)
                );
                prop_assert_eq!(
                    view.items.iter().map(<[u8]>::to_vec).collect::<Vec<_>>(),
                    message.items.iter().map(|item| item.to_vec()).collect::<Vec<_>>()
                );
                prop_assert_eq!((view.items.len(), view.items.is_empty()), (message.items.len(), message.items.is_empty()));
            }
            (view, message) => prop_assert_eq!(view.err(), message.err()),
        }
        match (RecordView::parse(bytes), canonical::<Record>(bytes)) {
            (Ok(view), Ok(message)) => {
                let again = Record {
                    format_version: view.format_version,
                    seq: view.seq,
                    epoch: view.epoch,
                    time_ms: view.time_ms,
                    rules_version: view.rules_version,
                    envelope: view.envelope.to_vec().into(),
                    beside_digest: view.beside_digest.to_vec(),
                    outcome: view.outcome,
                    effects_digest: view.effects_digest.to_vec(),
                    commitment: view.commitment,
                };
                prop_assert_eq!(again, message);
            }
            (view, message) => prop_assert_eq!(view.err(), message.err()),
        }
        match (EnvelopeView::parse(bytes), canonical::<Envelope>(bytes)) {
            (Ok(view), Ok(message)) => {
                prop_assert_eq!((view.payload_type, view.payload), (&*message.payload_type, &*message.payload));
                prop_assert_eq!(view.signatures.len(), message.signatures.len());
                for (bytes, message) in view.signatures.iter().zip(&message.signatures) {
                    let SignatureView { suite, key_id, public_key, signature } = SignatureView::parse(bytes).unwrap();
                    prop_assert_eq!(
                        (suite, key_id, public_key, signature),
                        (message.suite, &*message.key_id, &*message.public_key, &*message.signature)
                    );
                }
            }
            (view, message) => prop_assert_eq!(view.err(), message.err()),
        }
        Ok(())
    }

    proptest! {
        #[test]
        fn messages_read_alike(record in record(), envelope in envelope(), stored in stored()) {
            for bytes in [record.encode_to_vec(), envelope.encode_to_vec(), stored.encode_to_vec()] {
                agree(&bytes)?;
            }
            prop_assert!(RecordView::parse(&record.encode_to_vec()).is_ok());
            prop_assert!(EnvelopeView::parse(&envelope.encode_to_vec()).is_ok());
            prop_assert!(StoredView::parse(&stored.encode_to_vec()).is_ok());
        }

        #[test]
        fn changed_messages_are_taken_and_refused_alike(
            record in record(), envelope in envelope(), stored in stored(), at: prop::sample::Index, byte: u8, cut: prop::sample::Index, extra in vec(any::<u8>(), 0..4),
        ) {
            for bytes in [record.encode_to_vec(), envelope.encode_to_vec(), stored.encode_to_vec()] {
                changed(&bytes, at, byte, cut, &extra).iter().try_for_each(|bytes| agree(bytes))?;
            }
        }

        #[test]
        fn any_bytes_are_taken_and_refused_alike(bytes in vec(prop_oneof![0u8..100, any::<u8>()], 0..60)) {
            agree(&bytes)?;
        }
    }

    #[test]
    fn a_walk_sees_every_field_and_decodes_none() {
        let bytes =
            [&[0x08, 7][..], &[0x12, 2, 0xff, 0xff], &[0x12, 0], &[0x1d, 1, 2, 3, 4], &[0x21, 1, 2, 3, 4, 5, 6, 7, 8], &[0x88, 1, 0]]
                .concat();
        let mut seen = Vec::new();
        walk(&bytes, |number, value| seen.push((number, value))).unwrap();
        assert_eq!(seen, [(1, None), (2, Some(&[0xff, 0xff][..])), (2, Some(&[])), (3, None), (4, None), (17, None)]);
        for broken in [&[0x12, 3, 1, 2][..], &[0x12], &[0x0b], &[0x8a, 0x80, 0x00, 0], &[0x0f]] {
            assert!(walk(broken, |_, _| {}).is_err(), "{broken:?}");
        }
    }

    #[test]
    fn numbers_have_one_encoding() {
        let long = [&[0x08, 0x81, 0x80, 0x00][..], &[0x08, 0x00], &[0x08, 0x81, 0x80, 0x80, 0x80, 0x10]];
        for bytes in long {
            assert_eq!(RecordView::parse(bytes).unwrap_err(), canonical::<Record>(bytes).unwrap_err());
        }
        let most = [&[0x10][..], &[0xff; 9], &[1]].concat();
        assert_eq!(RecordView::parse(&most).unwrap().seq, u64::MAX);
        let beyond = [&[0x10][..], &[0xff; 9], &[2]].concat();
        assert!(RecordView::parse(&beyond).is_err() && canonical::<Record>(&beyond).is_err());
    }
}
