//! `ip("…")`: addresses found in text, compared with an address, a network or a range.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use memchr::memchr2;

/// `ip: invalid pattern: "…"`
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("ip: invalid pattern: {}", logstack_go::quote::Quoted(.0))]
pub struct InvalidIpPattern(String);

/// One address, a CIDR or `from-to`; both ends included. IPv4 and IPv6 never match each other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct IpMatcher {
    first: IpAddr,
    last: IpAddr,
}

impl IpMatcher {
    /// Reads `10.1.2.3`, `10.0.0.0/8`, `10.0.0.1-10.0.0.9` and their IPv6 forms.
    ///
    /// # Errors
    /// [`InvalidIpPattern`] for anything else, also for a range that runs backwards.
    pub(crate) fn parse(pattern: &str) -> Result<Self, InvalidIpPattern> {
        let parse_range = || {
            let (first, last) = pattern.split_once('-')?;
            let (first, last): (IpAddr, IpAddr) = (first.parse().ok()?, last.parse().ok()?);
            (first.is_ipv4() == last.is_ipv4() && first <= last).then_some(Self { first, last })
        };
        let parse_net = || {
            let net: IpNet = pattern.parse().ok()?;
            Some(Self { first: net.network(), last: net.broadcast() })
        };
        let parse_address = || {
            let address: IpAddr = pattern.parse().ok()?;
            Some(Self { first: address, last: address })
        };
        parse_address().or_else(parse_net).or_else(parse_range).ok_or_else(|| InvalidIpPattern(pattern.to_owned()))
    }

    fn contains(&self, address: IpAddr) -> bool {
        address.is_ipv4() == self.first.is_ipv4() && self.first <= address && address <= self.last
    }

    /// True when an address in `text` is inside.
    ///
    /// A candidate starts at a digit with a `.` among the next three bytes, or at `::` and a hex digit, or at one to
    /// four hex digits and `:`; it is the whole run of characters that such an address may have. What is no address
    /// as a whole (`1.2.3.4.5`) is passed over.
    pub(crate) fn matches(&self, text: &[u8]) -> bool {
        let mut at = 0;
        // Every candidate has a dot or a colon among its first five bytes, so the search goes from one to the next.
        while let Some(found) = text.get(at..).and_then(|rest| memchr2(b'.', b':', rest)) {
            let mark = at + found;
            let mut start = at.max(mark.saturating_sub(4));
            at = mark + 1;
            while start <= mark {
                let rest = &text[start..];
                let run = if starts_v4(rest) {
                    let run = run_len(rest, |b| b.is_ascii_digit() || b == b'.');
                    if parse_v4(&rest[..run]).is_some_and(|address| self.contains(IpAddr::V4(address))) {
                        return true;
                    }
                    run
                } else if starts_v6(rest) {
                    let run = run_len(rest, |b| b.is_ascii_hexdigit() || b == b':' || b == b'.');
                    if parse_v6(&rest[..run]).is_some_and(|address| self.contains(IpAddr::V6(address))) {
                        return true;
                    }
                    run
                } else {
                    start += 1;
                    continue;
                };
                at = start + run;
                break;
            }
        }
        false
    }
}

fn run_len(text: &[u8], accept: impl Fn(u8) -> bool) -> usize {
    text.iter().position(|&b| !accept(b)).unwrap_or(text.len())
}

fn starts_v4(rest: &[u8]) -> bool {
    rest[0].is_ascii_digit() && rest[1..].iter().take(3).any(|&b| b == b'.')
}

fn starts_v6(rest: &[u8]) -> bool {
    if rest[0] == b':' {
        return rest.len() > 2 && rest[1] == b':' && rest[2].is_ascii_hexdigit();
    }
    let digits = rest.iter().take(4).take_while(|b| b.is_ascii_hexdigit()).count();
    digits > 0 && rest.get(digits) == Some(&b':')
}

fn parse_v4(run: &[u8]) -> Option<Ipv4Addr> {
    std::str::from_utf8(run).ok()?.parse().ok()
}

fn parse_v6(run: &[u8]) -> Option<Ipv6Addr> {
    std::str::from_utf8(run).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn finds_addresses_in_text() {
        #[track_caller]
        fn check(pattern: &str, text: &str, want: bool) {
            let matcher = IpMatcher::parse(pattern).unwrap_or_else(|error| panic!("{error}"));
            assert_eq!(matcher.matches(text.as_bytes()), want, "{pattern} in {text:?}");
        }
        check("192.168.0.0/16", "x192.168.4.5y", true);
        check("192.168.0.0/16", "192.168.4.5:8080", true);
        check("1.2.3.4", "1.2.3.4.5", false);
        check("1.2.3.4", "1.2.3", false);
        check("1.2.3.4", "version 1.2.3.4 of tool", true);
        check("192.168.1.0-192.168.1.10", "client 192.168.1.10 connected", true);
        check("192.168.1.0-192.168.1.10", "client 192.168.1.11 connected", false);
        check("192.168.4.5", "::ffff:192.168.4.5", false);
        check("::ffff:192.168.4.5", "::ffff:192.168.4.5 mapped", true);
        check("0.0.0.0/0", "fe80::1%eth0 link local", false);
        check("fe80::/10", "fe80::1%eth0 link local", true);
        check("2001:db8::/32", "[2001:db8::1]:443 open", true);
        check("::1", "loopback ::1", true); // Loki misses an address in the last five bytes
        check("::/0", "mac aa:bb:cc:dd:ee:ff", false);
        check("::/0", "12:34:56", false);
        check("10.0.0.2", "from 10.0.0.1 to 10.0.0.2 bytes=5", true);
        check("10.0.0.2", "", false);
    }

    /// As the contract tells it: byte after byte.
    fn matches_slowly(matcher: &IpMatcher, text: &[u8]) -> bool {
        let mut at = 0;
        while at < text.len() {
            let rest = &text[at..];
            let run = if starts_v4(rest) {
                run_len(rest, |b| b.is_ascii_digit() || b == b'.')
            } else if starts_v6(rest) {
                run_len(rest, |b| b.is_ascii_hexdigit() || b == b':' || b == b'.')
            } else {
                at += 1;
                continue;
            };
            let address = std::str::from_utf8(&rest[..run]).ok().and_then(|run| run.parse().ok());
            if address.is_some_and(|address| matcher.contains(address)) {
                return true;
            }
            at += run;
        }
        false
    }

    proptest! {
        #[test]
        fn the_search_finds_what_a_scan_finds(text in "[0-9a-f.: x]{0,24}|([0-9]{1,3}[.: ]){0,8}[0-9a-f:]{0,6}") {
            for pattern in ["0.0.0.0/0", "::/0", "0.0.0.0-9.9.9.9", "::1"] {
                let matcher = IpMatcher::parse(pattern).expect(pattern);
                prop_assert_eq!(matcher.matches(text.as_bytes()), matches_slowly(&matcher, text.as_bytes()), "{}", text);
            }
        }
    }

    #[test]
    fn refuses_other_patterns() {
        for pattern in ["", "abc", "1.2.3", "192.168.1.0/33", "10.0.0.9-10.0.0.1", "1.2.3.4 - 1.2.3.5", "1.2.3.4-::1"] {
            assert_eq!(
                IpMatcher::parse(pattern).unwrap_err().to_string(),
                format!("ip: invalid pattern: \"{pattern}\"")
            );
        }
    }
}
