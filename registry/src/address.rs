//! Where a node is reached. What stands in the genesis or in an admission stays there, so it must at least have the form of
//! an address; whether somebody answers there, nobody can tell beforehand.

/// The longest address, in bytes.
const MAX_ADDRESS: usize = 256;
/// The longest part of a name between dots, in bytes (RFC 1035).
const MAX_LABEL: usize = 63;

/// Whether this is `host:port`: a name or an IPv4 address, or an IPv6 address in brackets, and a port from 1 to 65535.
#[must_use]
pub fn is_host_port(text: &str) -> bool {
    let Some((host, port)) = text.rsplit_once(':').filter(|_| text.len() <= MAX_ADDRESS) else { return false };
    let is_port = (1..=5).contains(&port.len()) && port.bytes().all(|b| b.is_ascii_digit()) && port.parse::<u16>().is_ok_and(|p| p > 0);
    let is_host = match host.strip_prefix('[').map(|rest| rest.strip_suffix(']')) {
        Some(Some(inside)) => inside.contains(':') && inside.bytes().all(|b| b.is_ascii_hexdigit() || matches!(b, b':' | b'.')),
        Some(None) => false,
        None => host.split('.').all(is_host_part),
    };
    is_port && is_host
}

/// A part of a name. Underscores are in names that networks of containers give.
fn is_host_part(label: &str) -> bool {
    (1..=MAX_LABEL).contains(&label.len())
        && label.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
        && !label.starts_with('-')
        && !label.ends_with('-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_address_is_told_from_what_may_be_one() {
        for good in
            ["127.0.0.1:7100", "node.futian.example:7100", "city:1", "node_1:65535", "[::1]:7100", "[fe80::127.0.0.1]:7", "N-1.a:80"]
        {
            assert!(is_host_port(good), "{good}");
        }
        let long = format!("{}:1", "a.".repeat(200));
        for bad in [
            "",
            ":",
            "nonsense",
            "foo bar",
            "foo bar:1",
            "a:",
            ":1",
            "a:0",
            "a:65536",
            "a:+1",
            "a:http",
            "http://a:1",
            "a:1/x",
            "::1:7100",
            "[::1]",
            "[]:1",
            "[a]:1",
            "[::1:1",
            "a..b:1",
            ".a:1",
            "-a:1",
            "a-:1",
            "节点:1",
            "a:1 ",
            &long,
        ] {
            assert!(!is_host_port(bad), "{bad}");
        }
    }
}
