//! Where a node is reached. What stands in the genesis or in an admission stays there, so it must at least have the form of
//! an address; whether somebody answers there, nobody can tell beforehand. Whoever takes one from a person asks here too, before
//! anything is sent.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The longest address, in bytes.
const MAX_ADDRESS: usize = 256;
/// The longest part of a name between dots, in bytes (RFC 1035).
const MAX_LABEL: usize = 63;

/// Why others cannot reach a node at what was said.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Unfit {
    /// It has not the form.
    #[error("is no address: write host:port")]
    Form,
    /// It is every address of whoever hears it: good to listen at, and for nobody else.
    #[error("is where a node listens, and nobody reaches it there: say the address at which others reach it")]
    Unspecified,
}

/// Checks that this is `host:port` at which others may reach a node: a name or an IPv4 address, or an IPv6 address in brackets,
/// that is not the unspecified one (`0.0.0.0`, `[::]`), and a port from 1 to 65535.
pub fn check(text: &str) -> Result<(), Unfit> {
    let (host, port) = text.rsplit_once(':').filter(|_| text.len() <= MAX_ADDRESS).ok_or(Unfit::Form)?;
    let is_port = (1..=5).contains(&port.len()) && port.bytes().all(|b| b.is_ascii_digit()) && port.parse::<u16>().is_ok_and(|p| p > 0);
    let numeric: Option<IpAddr> = match host.strip_prefix('[').map(|rest| rest.strip_suffix(']')) {
        Some(inside) => Some(inside.and_then(|inside| inside.parse::<Ipv6Addr>().ok()).ok_or(Unfit::Form)?.to_canonical()),
        None if !host.split('.').all(is_host_part) => return Err(Unfit::Form),
        // What ends in a number is no name; systems read `0` and `0x0` as addresses, too.
        None if host.rsplit('.').next().is_some_and(is_number) => Some(host.parse::<Ipv4Addr>().map_err(|_| Unfit::Form)?.into()),
        None => None,
    };
    match numeric {
        _ if !is_port => Err(Unfit::Form),
        Some(address) if address.is_unspecified() => Err(Unfit::Unspecified),
        _ => Ok(()),
    }
}

fn is_number(label: &str) -> bool {
    let hex = label.strip_prefix("0x").or_else(|| label.strip_prefix("0X"));
    hex.map_or(label.bytes().all(|b| b.is_ascii_digit()), |hex| hex.bytes().all(|b| b.is_ascii_hexdigit()))
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
        for good in [
            "127.0.0.1:7100",
            "node.futian.example:7100",
            "city:1",
            "node_1:65535",
            "[::1]:7100",
            "[fe80::127.0.0.1]:7",
            "N-1.a:80",
            "a.1b:1",
        ] {
            assert_eq!(check(good), Ok(()), "{good}");
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
            "256.0.0.1:1",
            "1.2.3:1",
            "0:1",
            "0x0:1",
            "[1.2.3.4]:1",
            "[::1]x:1",
            &long,
        ] {
            assert_eq!(check(bad), Err(Unfit::Form), "{bad}");
        }
        for nobodys in ["0.0.0.0:7100", "[::]:7100", "[0:0::0]:1", "[::ffff:0.0.0.0]:1"] {
            assert_eq!(check(nobodys), Err(Unfit::Unspecified), "{nobodys}");
        }
    }
}
