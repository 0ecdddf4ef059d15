//! DSSE pre-authentication encoding: what a signature of ours is over.

/// `DSSEv1 <length> <type> <length> <payload>`, lengths in decimal, single spaces.
#[must_use]
pub fn pae(payload_type: &str, payload: &[u8]) -> Vec<u8> {
    // Room for two numbers and what stands between.
    let mut out = Vec::with_capacity(payload_type.len() + payload.len() + 50);
    out.extend_from_slice(b"DSSEv1 ");
    for part in [payload_type.as_bytes(), payload] {
        decimal(part.len(), &mut out);
        out.push(b' ');
        out.extend_from_slice(part);
        out.push(b' ');
    }
    out.pop();
    out
}

/// A number in decimal. The standard library's formatting took longer than the payload's copy.
fn decimal(mut number: usize, out: &mut Vec<u8>) {
    let at = out.len();
    loop {
        out.insert(at, b'0' + (number % 10) as u8);
        number /= 10;
        if number == 0 {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_specifications_example() {
        assert_eq!(super::pae("http://example.com/HelloWorld", b"hello world"), b"DSSEv1 29 http://example.com/HelloWorld 11 hello world");
    }
}
