//! What the operator writes to say how the node is reached.
//!
//! ```text
//!   none | off | (empty)          nothing is asked of anybody; the default
//!   any | auto | on               whichever of PCP, NAT-PMP and UPnP answers first
//!   extip:IP | ip:IP              the address is known, ports are mapped by hand
//!   upnp                          UPnP (in builds with the feature `upnp`)
//!   pmp[:GATEWAY]                 NAT-PMP; also natpmp, nat-pmp
//!   pcp[:GATEWAY]                 PCP
//!   stun[:HOST[:PORT]]            a STUN server tells the address; ports are mapped by hand
//! ```
//! (go-ethereum p2p/nat/nat.go, `Parse`; `pcp` is ours)

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// The port of STUN servers (RFC 5389).
pub const STUN_PORT: u16 = 3478;

/// How the node is reached.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum NatSpec {
    /// As it is.
    #[default]
    None,
    /// Through whatever router answers.
    Any,
    /// At this address.
    ExtIp(IpAddr),
    /// Through a UPnP router.
    Upnp,
    /// Through a NAT-PMP router.
    Pmp {
        /// The router; guessed when not given.
        gateway: Option<IpAddr>,
    },
    /// Through a PCP router.
    Pcp {
        /// The router; guessed when not given.
        gateway: Option<IpAddr>,
    },
    /// At the address a STUN server sees.
    Stun {
        /// Host and port; some of the well-known ones when not given.
        server: Option<(String, u16)>,
    },
}

/// Why a text is no specification. The text says what to write.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SpecError {
    /// No such mechanism.
    #[error(
        "unknown NAT mechanism {0:?}: expected none, any, extip:IP, upnp, pmp[:GATEWAY], pcp[:GATEWAY] or stun[:HOST[:PORT]]"
    )]
    Unknown(String),
    /// The address is missing.
    #[error("extip needs the address: extip:203.0.113.7")]
    NoIp,
    /// Not an address.
    #[error("{0:?} is not an IP address")]
    Ip(String),
    /// Something stands after a mechanism that takes nothing.
    #[error("{0} takes nothing after it")]
    Extra(&'static str),
    /// Not host and port.
    #[error("{0:?} is not a STUN server: expected HOST or HOST:PORT")]
    Server(String),
}

fn ip(text: &str) -> Result<IpAddr, SpecError> {
    text.trim_matches(['[', ']']).parse().map_err(|_| SpecError::Ip(text.to_owned()))
}

fn server(text: &str) -> Result<(String, u16), SpecError> {
    let bad = || SpecError::Server(text.to_owned());
    // A bare IPv6 address has colons of its own.
    if let Ok(ip) = ip(text) {
        return Ok((ip.to_string(), STUN_PORT));
    }
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) => (host, port.parse().ok().filter(|port| *port != 0).ok_or_else(bad)?),
        None => (text, STUN_PORT),
    };
    if host.starts_with('[') {
        return Ok((ip(host).map_err(|_| bad())?.to_string(), port));
    }
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_');
    if host.is_empty() || host.len() > 253 || !host.bytes().all(plain) {
        return Err(bad());
    }
    Ok((host.to_owned(), port))
}

impl NatSpec {
    /// Reads a specification.
    ///
    /// # Errors
    /// [`SpecError`].
    pub fn parse(text: &str) -> Result<Self, SpecError> {
        let text = text.trim();
        let (name, rest) = match text.split_once(':') {
            Some((name, rest)) => (name, Some(rest)),
            None => (text, None),
        };
        let lower = name.to_ascii_lowercase();
        let alone = |spec: Self, name| if rest.is_some() { Err(SpecError::Extra(name)) } else { Ok(spec) };
        match lower.as_str() {
            "" | "none" | "off" => alone(Self::None, "none"),
            "any" | "auto" | "on" => alone(Self::Any, "any"),
            "upnp" => alone(Self::Upnp, "upnp"),
            "extip" | "ip" => {
                Ok(Self::ExtIp(ip(rest.filter(|rest| !rest.is_empty()).ok_or(SpecError::NoIp)?)?))
            }
            "pmp" | "natpmp" | "nat-pmp" => Ok(Self::Pmp { gateway: rest.map(ip).transpose()? }),
            "pcp" => Ok(Self::Pcp { gateway: rest.map(ip).transpose()? }),
            "stun" => Ok(Self::Stun { server: rest.map(server).transpose()? }),
            _ => Err(SpecError::Unknown(name.chars().take(40).collect())),
        }
    }
}

impl FromStr for NatSpec {
    type Err = SpecError;

    fn from_str(text: &str) -> Result<Self, SpecError> {
        Self::parse(text)
    }
}

impl fmt::Display for NatSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let gateway = |f: &mut fmt::Formatter<'_>, name, gateway: &Option<IpAddr>| match gateway {
            Some(ip) => write!(f, "{name}:{ip}"),
            None => f.write_str(name),
        };
        match self {
            Self::None => f.write_str("none"),
            Self::Any => f.write_str("any"),
            Self::ExtIp(ip) => write!(f, "extip:{ip}"),
            Self::Upnp => f.write_str("upnp"),
            Self::Pmp { gateway: ip } => gateway(f, "pmp", ip),
            Self::Pcp { gateway: ip } => gateway(f, "pcp", ip),
            Self::Stun { server: None } => f.write_str("stun"),
            Self::Stun { server: Some((host, port)) } if host.contains(':') => {
                write!(f, "stun:[{host}]:{port}")
            }
            Self::Stun { server: Some((host, port)) } => write!(f, "stun:{host}:{port}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_is_read_and_written() {
        let cases = [
            ("", "none"),
            ("none", "none"),
            ("off", "none"),
            ("Any", "any"),
            ("auto", "any"),
            ("on", "any"),
            ("extip:203.0.113.7", "extip:203.0.113.7"),
            ("ip:2001:db8::1", "extip:2001:db8::1"),
            ("UPnP", "upnp"),
            ("pmp", "pmp"),
            ("natpmp:192.168.0.1", "pmp:192.168.0.1"),
            ("nat-pmp", "pmp"),
            ("pcp:10.0.0.1", "pcp:10.0.0.1"),
            ("stun", "stun"),
            ("stun:stun.example.org", "stun:stun.example.org:3478"),
            ("stun:127.0.0.1:19302", "stun:127.0.0.1:19302"),
            ("stun:2001:db8::1", "stun:[2001:db8::1]:3478"),
            ("stun:[2001:db8::1]:99", "stun:[2001:db8::1]:99"),
        ];
        for (text, written) in cases {
            let spec: NatSpec = text.parse().unwrap();
            assert_eq!(spec.to_string(), written, "{text}");
            assert_eq!(NatSpec::parse(written).unwrap(), spec);
        }
    }

    #[test]
    fn errors_say_what_to_write() {
        for (text, part) in [
            ("router", "expected none, any"),
            ("extip", "extip:203"),
            ("extip:", "extip:203"),
            ("extip:host", "not an IP address"),
            ("any:1", "takes nothing"),
            ("none:x", "takes nothing"),
            ("upnp:1", "takes nothing"),
            ("pmp:gateway", "not an IP address"),
            ("pcp:", "not an IP address"),
            ("stun:", "HOST:PORT"),
            ("stun:host:0", "HOST:PORT"),
            ("stun:host:99999", "HOST:PORT"),
            ("stun:a b", "HOST:PORT"),
        ] {
            let error = NatSpec::parse(text).unwrap_err().to_string();
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
