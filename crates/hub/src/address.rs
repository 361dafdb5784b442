//! Web addresses, as far as downloads need them.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use ureq::http::Uri;
use ureq::http::uri::Scheme;

/// Longest address, in bytes: signed ones have about 2,000.
pub(crate) const ADDRESS_BYTES_MAX: usize = 16 << 10;

/// Longest host, in bytes. DNS has 253 at most; in the cache a port is part of the same name, of
/// which file systems take 255.
const HOST_BYTES_MAX: usize = 255 - "_65535".len();

/// An address with the scheme `http` or `https`, a host, and no user name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address(Arc<Uri>);

impl Address {
    /// Takes an absolute address; otherwise says what is wrong with it.
    ///
    /// # Errors
    /// A text for people.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.len() > ADDRESS_BYTES_MAX {
            return Err(format!("it is longer than {ADDRESS_BYTES_MAX} bytes"));
        }
        if text.contains(char::is_control) {
            return Err("it contains a control character".into());
        }
        // What follows `#` is never sent.
        let text = text.split('#').next().unwrap_or_default();
        // `https:x` could be a host and its port.
        let scheme = text.split_once("://").map(|(scheme, _)| scheme.to_ascii_lowercase());
        match scheme.as_deref() {
            Some("http" | "https") => {}
            _ => return Err("it does not begin with `https://`".into()),
        }
        let uri: Uri = text.parse().map_err(|error| format!("{error}"))?;
        let authority = uri.authority().map(|it| it.as_str()).unwrap_or_default();
        if authority.contains('@') {
            return Err("it contains a user name or password; leave them out".into());
        }
        let host = uri.host().unwrap_or_default();
        if !is_host(host) {
            return Err("it names no host".into());
        }
        let port = authority.strip_prefix(host).and_then(|rest| rest.strip_prefix(':'));
        if port.is_some_and(|port| !is_port(port)) {
            return Err("its port is no number up to 65535".into());
        }
        Ok(Address(Arc::new(uri)))
    }

    /// The address that a `Location` header stands for, seen from here (RFC 3986, section 5.2,
    /// without dot segments).
    pub(crate) fn join(&self, location: &str) -> Result<Self, String> {
        let scheme = self.0.scheme_str().unwrap_or_default();
        let authority = self.0.authority().map(|it| it.as_str()).unwrap_or_default();
        let end_of_scheme = location.find(':').unwrap_or(0);
        let is_absolute = end_of_scheme > 0
            && location[..end_of_scheme]
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte));
        if is_absolute {
            Address::parse(location)
        } else if location.starts_with("//") {
            Address::parse(&format!("{scheme}:{location}"))
        } else if location.starts_with('/') {
            Address::parse(&format!("{scheme}://{authority}{location}"))
        } else {
            let folder = self.0.path().rsplit_once('/').map_or("", |(folder, _)| folder);
            Address::parse(&format!("{scheme}://{authority}{folder}/{location}"))
        }
    }

    /// The address with more of a path; `path` begins with `/` and is encoded.
    pub(crate) fn at(&self, path: &str) -> Result<Self, String> {
        let base = self.0.to_string();
        Address::parse(&format!("{}{path}", base.trim_end_matches('/')))
    }

    /// The address with another end of its path, query kept; `end` and `other` are encoded.
    pub(crate) fn with_end(&self, end: &str, other: &str) -> Option<Self> {
        let start = self.to_string().strip_suffix(end)?.to_owned();
        let query = self.0.query().map(|query| format!("?{query}")).unwrap_or_default();
        Address::parse(&format!("{start}{other}{query}")).ok()
    }

    /// The host, without a port.
    pub fn host(&self) -> &str {
        self.0.host().unwrap_or_default()
    }

    /// The port, if one is written out.
    pub(crate) fn port(&self) -> Option<u16> {
        self.0.port_u16()
    }

    /// The path, encoded.
    pub(crate) fn path(&self) -> &str {
        self.0.path()
    }

    pub(crate) fn is_https(&self) -> bool {
        self.0.scheme() == Some(&Scheme::HTTPS)
    }

    /// Whether the host is this machine.
    pub(crate) fn is_loopback(&self) -> bool {
        is_loopback(self.host())
    }

    /// Whether credentials for one address may be sent to the other.
    pub(crate) fn has_origin_of(&self, other: &Address) -> bool {
        let port = |it: &Address| it.port().unwrap_or(if it.is_https() { 443 } else { 80 });
        self.is_https() == other.is_https()
            && self.host().eq_ignore_ascii_case(other.host())
            && port(self) == port(other)
    }

    /// All of it, with the query, which may hold a signature: to be sent, not shown.
    pub(crate) fn full(&self) -> String {
        self.0.to_string()
    }
}

/// Without the query, which may hold a signature.
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = self.0.scheme_str().unwrap_or_default();
        let authority = self.0.authority().map(|it| it.as_str()).unwrap_or_default();
        write!(f, "{scheme}://{authority}{}", self.0.path())
    }
}

/// Whether a text is a host, that can also be a folder in the cache: a name or an IPv4 address, or
/// an IPv6 address in brackets.
pub(crate) fn is_host(text: &str) -> bool {
    if let Some(address) = text.strip_prefix('[') {
        return address.strip_suffix(']').is_some_and(|it| it.parse::<Ipv6Addr>().is_ok());
    }
    !text.is_empty()
        && text.len() <= HOST_BYTES_MAX
        && !text.starts_with('.')
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte))
}

/// Whether a text is a port, as one writes it.
pub(crate) fn is_port(text: &str) -> bool {
    text.len() <= "65535".len()
        && text.bytes().all(|byte| byte.is_ascii_digit())
        && text.parse::<u16>().is_ok()
}

/// Whether a host is this machine.
pub(crate) fn is_loopback(host: &str) -> bool {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost")
        || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// Encodes a piece of a path (RFC 3986, section 2.3: all but the unreserved characters), slashes
/// kept.
pub(crate) fn encode_path(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => {
                out.push(byte.into());
            }
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

/// The reverse; `None` for what is no encoding of text.
pub(crate) fn decode_path(text: &str) -> Option<String> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            out.push(byte);
            continue;
        }
        let digit = |byte: Option<u8>| char::from(byte?).to_digit(16);
        let (high, low) = (digit(bytes.next())?, digit(bytes.next())?);
        out.push((high * 16 + low) as u8);
    }
    String::from_utf8(out).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> Address {
        Address::parse(text).expect("valid")
    }

    #[test]
    fn addresses_that_cannot_be_used_are_refused() {
        for text in [
            "",
            "x",
            "/x",
            "ftp://h/x",
            "file:///etc/passwd",
            "https://",
            "https:///x",
            "https://me:secret@h/x",
            "https://h/ x",
            "https://h/x?a\u{8b}b",
            "https://h\r\nX: y/",
            "https:x",
            "https:8443",
            "https://h:x/",
            "https://h:65536/",
            "https://h:/x",
            "https://../x",
            "https://[::1/x",
            "https://[h]/x",
            &format!("https://{}/x", "h".repeat(HOST_BYTES_MAX + 1)),
            &format!("https://h/{}", "x".repeat(ADDRESS_BYTES_MAX)),
        ] {
            assert!(Address::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn locations_are_joined() {
        let base = address("https://h.example:8443/a/b?x=1");
        for (location, joined) in [
            ("https://o.example/c?d", "https://o.example/c?d"),
            ("HTTPS://o.example/c", "https://o.example/c"),
            ("//o.example/c", "https://o.example/c"),
            ("/c:d?e", "https://h.example:8443/c:d?e"),
            ("c", "https://h.example:8443/a/c"),
        ] {
            assert_eq!(base.join(location).expect(location).full(), joined);
        }
        for location in ["file:///x", "javascript:1", "https://a:b@h/"] {
            assert!(base.join(location).is_err(), "{location}");
        }
    }

    #[test]
    fn origins_are_scheme_host_and_port() {
        let base = address("https://h/x");
        assert!(base.has_origin_of(&address("https://H:443/y")));
        for other in ["http://h/x", "https://h.evil/x", "https://h:444/x"] {
            assert!(!base.has_origin_of(&address(other)), "{other}");
        }
    }

    #[test]
    fn only_this_machine_is_loopback() {
        for host in ["localhost", "127.0.0.1", "127.9.9.9", "[::1]"] {
            assert!(is_loopback(host), "{host}");
        }
        for host in ["localhost.evil", "128.0.0.1", "127.0.0.1.evil", "[::2]", "0.0.0.0"] {
            assert!(!is_loopback(host), "{host}");
        }
    }

    #[test]
    fn a_query_is_sent_but_not_shown() {
        let address = address("https://h/x?signature=s");
        assert_eq!(address.to_string(), "https://h/x");
        assert_eq!(address.full(), "https://h/x?signature=s");
    }

    #[test]
    fn paths_are_encoded_and_decoded() {
        assert_eq!(encode_path("a b/ä?#%"), "a%20b/%C3%A4%3F%23%25");
        assert_eq!(decode_path("a%20b/%C3%A4%3F").as_deref(), Some("a b/ä?"));
        for text in ["%", "%2", "%zz", "%ff"] {
            assert_eq!(decode_path(text), None, "{text}");
        }
    }
}
