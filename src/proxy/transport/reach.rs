//! Which addresses are connected to: an operator's slip, or an operator who isn't one, must not
//! have the gateway ask a cloud's metadata service for credentials.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// How far connections reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// To private addresses too, as local models need it.
    Private,
    /// To public addresses alone.
    Public,
}

/// Why an address isn't connected to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OutOfReach {
    /// No provider can be there: link-local addresses, those of metadata services, and those that
    /// name no one host.
    Never,
    /// It is private, and only public ones are allowed.
    Private,
}

impl Reach {
    /// Whether an address may be connected to, whatever form of IPv6 it hides in.
    pub fn check(self, address: IpAddr) -> Result<(), OutOfReach> {
        let address = embedded_ipv4(address).map_or(address, IpAddr::V4);
        let (is_never, is_private) = match address {
            IpAddr::V4(ip) => (is_never_v4(ip), is_private_v4(ip)),
            IpAddr::V6(ip) => (is_never_v6(ip), is_private_v6(ip)),
        };
        match self {
            _ if is_never => Err(OutOfReach::Never),
            Self::Public if is_private => Err(OutOfReach::Private),
            _ => Ok(()),
        }
    }
}

/// The IPv4 address that an IPv6 address stands for.
fn embedded_ipv4(address: IpAddr) -> Option<Ipv4Addr> {
    let IpAddr::V6(ip) = address else { return None };
    let ipv4 = |high: u16, low: u16| {
        let [a, b] = high.to_be_bytes();
        let [c, d] = low.to_be_bytes();
        Some(Ipv4Addr::new(a, b, c, d))
    };
    match ip.segments() {
        // `::` and `::1` are addresses of their own.
        [0, 0, 0, 0, 0, 0, 0, 0 | 1] => None,
        // Mapped (RFC 4291), compatible (its predecessor), and translated (RFC 6052, RFC 8215).
        [0, 0, 0, 0, 0, 0xffff | 0, high, low]
        | [0, 0, 0, 0, 0xffff, 0, high, low]
        | [0x64, 0xff9b, 0, 0, 0, 0, high, low]
        | [0x64, 0xff9b, 1, _, _, _, high, low] => ipv4(high, low),
        // 6to4 (RFC 3056).
        [0x2002, high, low, ..] => ipv4(high, low),
        _ => None,
    }
}

fn is_never_v4(ip: Ipv4Addr) -> bool {
    match ip.octets() {
        // "This network": Linux takes 0.0.0.0 for itself.
        [0, ..] => true,
        // Link-local, where AWS, Azure, Google and most others answer for metadata.
        [169, 254, ..] => true,
        // Metadata of Alibaba Cloud, of Oracle Cloud, and Azure's WireServer.
        [100, 100, 100, 200] | [192, 0, 0, 192] | [168, 63, 129, 16] => true,
        // Multicast, reserved, broadcast.
        [224..=255, ..] => true,
        _ => false,
    }
}

fn is_private_v4(ip: Ipv4Addr) -> bool {
    match ip.octets() {
        [10 | 127, ..] | [192, 168, ..] | [172, 16..=31, ..] => true,
        // Shared by the customers of a carrier (RFC 6598), IETF protocols, benchmarks.
        [100, 64..=127, ..] | [192, 0, 0, _] | [198, 18..=19, ..] => true,
        _ => false,
    }
}

fn is_never_v6(ip: Ipv6Addr) -> bool {
    match ip.segments() {
        [0, 0, 0, 0, 0, 0, 0, 0] => true,
        // Link-local, multicast.
        [0xfe80..=0xfebf, ..] | [0xff00..=0xffff, ..] => true,
        // Metadata of AWS and of Google Cloud.
        [0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254] | [0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254] => true,
        _ => false,
    }
}

fn is_private_v6(ip: Ipv6Addr) -> bool {
    match ip.segments() {
        [0, 0, 0, 0, 0, 0, 0, 1] => true,
        // Unique local, and site-local, its predecessor.
        [0xfc00..=0xfdff, ..] | [0xfec0..=0xfeff, ..] => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(reach: Reach, address: &str) -> Result<(), OutOfReach> {
        reach.check(address.parse().unwrap())
    }

    #[test]
    fn no_provider_is_at_a_metadata_service_or_nowhere() {
        for address in [
            "169.254.169.254",
            "169.254.0.1",
            "169.254.255.255",
            "100.100.100.200",
            "192.0.0.192",
            "168.63.129.16",
            "0.0.0.0",
            "0.1.2.3",
            "224.0.0.1",
            "255.255.255.255",
            "::",
            "fe80::1",
            "febf::1",
            "ff02::1",
            "fd00:ec2::254",
            "fd20:ce::254",
            "::ffff:169.254.169.254",
            "::ffff:0.0.0.0",
            "::169.254.169.254",
            "::ffff:0:a9fe:a9fe",
            "64:ff9b::169.254.169.254",
            "64:ff9b:1::169.254.169.254",
            "2002:a9fe:a9fe::1",
        ] {
            for reach in [Reach::Private, Reach::Public] {
                assert_eq!(check(reach, address), Err(OutOfReach::Never), "{address}");
            }
        }
    }

    #[test]
    fn private_addresses_are_reached_where_that_is_allowed() {
        for address in [
            "127.0.0.1",
            "127.255.255.255",
            "10.0.0.1",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.1.1",
            "100.64.0.1",
            "100.127.255.255",
            "198.18.0.1",
            "::1",
            "fc00::1",
            "fd12:3456::1",
            "fec0::1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "2002:a00:1::1",
        ] {
            assert_eq!(check(Reach::Private, address), Ok(()), "{address}");
            let refused = check(Reach::Public, address);
            assert_eq!(refused, Err(OutOfReach::Private), "{address}");
        }
    }

    #[test]
    fn public_addresses_are_always_reached() {
        for address in [
            "1.1.1.1",
            "9.255.255.255",
            "11.0.0.0",
            "100.63.255.255",
            "100.128.0.0",
            "169.253.0.1",
            "172.15.0.1",
            "172.32.0.1",
            "192.167.0.1",
            "223.255.255.255",
            "2606:4700::1111",
            "::ffff:1.1.1.1",
            "64:ff9b::1.1.1.1",
        ] {
            for reach in [Reach::Private, Reach::Public] {
                assert_eq!(check(reach, address), Ok(()), "{address}");
            }
        }
    }
}
