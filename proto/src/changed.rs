//! What becomes of a message on its way, for the tests of those who read one.

use proptest::sample::Index;

/// Bytes with one of them another, cut off somewhere, and with more behind or in front.
pub fn changed(bytes: &[u8], at: Index, byte: u8, cut: Index, extra: &[u8]) -> Vec<Vec<u8>> {
    if bytes.is_empty() {
        return Vec::new();
    }
    let mut other = bytes.to_vec();
    if let Some(one) = other.get_mut(at.index(bytes.len())) {
        *one = byte;
    }
    vec![other, bytes[..cut.index(bytes.len())].to_vec(), [bytes, extra].concat(), [extra, bytes].concat()]
}
