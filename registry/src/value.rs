//! How values stand in the state: one version byte, then protobuf or a few plain bytes.

use crate::fatal::Fatal;
use crate::keys;
use crate::kv::Kv;
use vermilion_proto::Message;

/// The format version of state values. A reader refuses any other.
pub const VERSION: u8 = 1;

/// A message behind its version byte.
#[must_use]
pub fn encode(message: &impl Message) -> Vec<u8> {
    let mut out = Vec::with_capacity(1 + message.encoded_len());
    out.push(VERSION);
    // Encoding into a Vec fails only beyond its capacity, which has no bound.
    let _ = message.encode(&mut out);
    out
}

/// Plain bytes behind the version byte.
#[must_use]
pub fn plain(bytes: &[u8]) -> Vec<u8> {
    [&[VERSION], bytes].concat()
}

/// The bytes behind the version byte.
pub fn open<'a>(key: &[u8], value: &'a [u8]) -> Result<&'a [u8], Fatal> {
    match value.split_first() {
        Some((&VERSION, rest)) => Ok(rest),
        Some((other, _)) => Err(undecodable(key, format!("format version {other} is not honoured"))),
        None => Err(undecodable(key, "it is empty")),
    }
}

/// The message behind the version byte.
pub fn decode<M: Message + Default>(key: &[u8], value: &[u8]) -> Result<M, Fatal> {
    M::decode(open(key, value)?).map_err(|e| undecodable(key, e.to_string()))
}

/// The message under a key, if there is one.
pub fn get<M: Message + Default>(kv: &dyn Kv, key: &[u8]) -> Result<Option<M>, Fatal> {
    kv.get(key)?.map(|value| decode(key, &value)).transpose()
}

/// The sequence number under a key, if there is one.
pub fn get_seq(kv: &dyn Kv, key: &[u8]) -> Result<Option<u64>, Fatal> {
    let Some(value) = kv.get(key)? else { return Ok(None) };
    let bytes = open(key, &value)?.try_into().map_err(|_| undecodable(key, "it is not eight bytes"))?;
    Ok(Some(u64::from_be_bytes(bytes)))
}

/// Every key and message under a prefix, in order of keys, until `take` answers false.
pub fn scan<M: Message + Default>(kv: &dyn Kv, prefix: &[u8], mut take: impl FnMut(&[u8], M) -> bool) -> Result<(), Fatal> {
    let mut failed = None;
    kv.scan(prefix, &mut |key, value| match decode(key, value) {
        Ok(message) => take(key, message),
        Err(fatal) => {
            failed = Some(fatal);
            false
        }
    })?;
    failed.map_or(Ok(()), Err)
}

pub(crate) fn undecodable(key: &[u8], why: impl Into<String>) -> Fatal {
    Fatal::Undecodable { key: keys::shown(key), why: why.into() }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::kv::Memory;
    use vermilion_proto::UnitState;

    #[test]
    fn other_versions_and_torn_values_stop_the_node() {
        let unit = UnitState { suspended: true, ..Default::default() };
        let good = encode(&unit);
        assert_eq!(decode::<UnitState>(b"u/x", &good).unwrap(), unit);
        for bad in [&b""[..], b"\x02\x10\x01", b"\x01\x10"] {
            let mut kv = Memory::new();
            kv.write(vec![(b"u/x".to_vec(), Some(bad.to_vec()))]);
            assert!(matches!(get::<UnitState>(&kv, b"u/x"), Err(Fatal::Undecodable { .. })));
            assert!(matches!(scan::<UnitState>(&kv, b"u/", |_, _| true), Err(Fatal::Undecodable { .. })));
            assert!(get_seq(&kv, b"u/x").is_err());
        }
    }
}
