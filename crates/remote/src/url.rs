use std::fmt;

/// The longest address, in bytes. Content networks sign theirs and make them long.
pub const URL_BYTES_MAX: usize = 8192;

/// `http` or `https`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    /// Without encryption.
    Http,
    /// Over TLS.
    Https,
}

impl Scheme {
    /// As in an address.
    pub fn name(self) -> &'static str {
        match self {
            Scheme::Http => "http",
            Scheme::Https => "https",
        }
    }

    /// The port where an address names none.
    pub fn default_port(self) -> u16 {
        match self {
            Scheme::Http => 80,
            Scheme::Https => 443,
        }
    }
}

/// Why a text is no address that can be asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    /// Neither `http://` nor `https://`.
    #[error("it does not begin with `https://` or `http://`")]
    Scheme,
    /// Too long.
    #[error("it has more than {URL_BYTES_MAX} bytes")]
    TooLong,
    /// A user name or a password in front of the host.
    #[error("it holds a user name or a password, which would stand in the composition for all")]
    Credentials,
    /// No usable host.
    #[error("its host is none: a name, an IPv4 address or an IPv6 address in brackets is needed")]
    Host,
    /// No usable port.
    #[error("its port is not a number from 1 to 65535")]
    Port,
    /// Control characters, which would end the line of a request.
    #[error("it holds control characters")]
    Control,
}

/// The address of a file: scheme, host, port, path and query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Url {
    scheme: Scheme,
    /// Lower case; an IPv6 address in its brackets.
    host: String,
    /// Where it is not the scheme's own.
    port: Option<u16>,
    /// Begins with `/`; the query behind `?` belongs to it.
    path_and_query: String,
}

impl Url {
    /// Takes an address apart (RFC 3986). A fragment is left out; spaces and what is not ASCII are
    /// percent-encoded.
    ///
    /// # Errors
    /// [`UrlError`]
    pub fn parse(text: &str) -> Result<Url, UrlError> {
        if text.len() > URL_BYTES_MAX {
            return Err(UrlError::TooLong);
        }
        if text.chars().any(char::is_control) {
            return Err(UrlError::Control);
        }
        let (scheme, rest) = text.split_once("://").ok_or(UrlError::Scheme)?;
        let scheme = match scheme.to_ascii_lowercase().as_str() {
            "http" => Scheme::Http,
            "https" => Scheme::Https,
            _ => return Err(UrlError::Scheme),
        };
        let rest = rest.split('#').next().unwrap_or_default();
        let (authority, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        if authority.contains('@') {
            return Err(UrlError::Credentials);
        }
        let (host, port) = split_port(authority)?;
        let port = port.filter(|port| *port != scheme.default_port());
        let mut path_and_query = encoded(path);
        if !path_and_query.starts_with('/') {
            path_and_query.insert(0, '/');
        }
        Ok(Url { scheme, host: host.to_ascii_lowercase(), port, path_and_query })
    }

    /// The address that a redirect from this one names (RFC 3986, section 5.2).
    ///
    /// # Errors
    /// [`UrlError`]
    pub fn join(&self, location: &str) -> Result<Url, UrlError> {
        let location = location.split('#').next().unwrap_or_default();
        let base = format!("{}://{}", self.scheme.name(), self.authority());
        if let Some(rest) = location.strip_prefix("//") {
            return Url::parse(&format!("{}://{rest}", self.scheme.name()));
        }
        let end_of_scheme = location.find("://");
        if end_of_scheme.is_some_and(|at| !location[..at].contains(['/', '?'])) {
            return Url::parse(location);
        }
        let path = self.path_and_query.split('?').next().unwrap_or_default();
        let target = match location.chars().next() {
            None => self.path_and_query.clone(),
            Some('/') => location.to_owned(),
            Some('?') => format!("{path}{location}"),
            Some(_) => {
                let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
                format!("{folder}/{location}")
            }
        };
        Url::parse(&format!("{base}{}", without_dots(&target)))
    }

    /// `http` or `https`.
    pub fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// The host, in lower case; an IPv6 address in its brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port, where it is not the scheme's own.
    pub fn port(&self) -> Option<u16> {
        self.port
    }

    /// Host, and port where it is not the scheme's own: what a request and a grant name.
    pub fn authority(&self) -> String {
        match self.port {
            Some(port) => format!("{}:{port}", self.host),
            None => self.host.clone(),
        }
    }

    /// Path and query, as a request names them.
    pub fn path_and_query(&self) -> &str {
        &self.path_and_query
    }

    /// The last segment of the path; empty where there is none.
    pub fn file_name(&self) -> &str {
        let path = self.path_and_query.split('?').next().unwrap_or_default();
        path.rsplit('/').next().unwrap_or_default()
    }

    /// Whether the host is this machine itself, where nobody listens in between.
    pub fn is_loopback(&self) -> bool {
        let is_ipv4 = self.host.parse().is_ok_and(|it: std::net::Ipv4Addr| it.is_loopback());
        is_ipv4 || self.host == "localhost" || self.host == "[::1]"
    }

    /// The address without its query, which may hold a signature: for messages.
    pub fn shown(&self) -> String {
        let path = self.path_and_query.split('?').next().unwrap_or_default();
        format!("{}://{}{path}", self.scheme.name(), self.authority())
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}{}", self.scheme.name(), self.authority(), self.path_and_query)
    }
}

fn split_port(authority: &str) -> Result<(&str, Option<u16>), UrlError> {
    let end = match authority.strip_prefix('[') {
        Some(rest) => rest.find(']').ok_or(UrlError::Host)? + 2,
        None => authority.find(':').unwrap_or(authority.len()),
    };
    let (host, port) = authority.split_at(end);
    let is_name = |host: &str| {
        !host.is_empty()
            && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte))
    };
    let is_host = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => is_name(host),
    };
    if !is_host {
        return Err(UrlError::Host);
    }
    let port = match port.strip_prefix(':') {
        None if port.is_empty() => None,
        Some("") => None,
        Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
            Some(digits.parse().ok().filter(|port| *port != 0).ok_or(UrlError::Port)?)
        }
        _ => return Err(UrlError::Port),
    };
    Ok((host, port))
}

fn encoded(path: &str) -> String {
    path.bytes().fold(String::with_capacity(path.len()), |mut text, byte| {
        match byte {
            b'!'..=b'~' => text.push(char::from(byte)),
            other => text.push_str(&format!("%{other:02X}")),
        }
        text
    })
}

/// Takes `.` and `..` out of the path (RFC 3986, section 5.2.4).
fn without_dots(target: &str) -> String {
    let (path, query) = target.split_at(target.find('?').unwrap_or(target.len()));
    let mut segments: Vec<&str> = Vec::new();
    let parts: Vec<&str> = path.split('/').skip(1).collect();
    for (index, segment) in parts.iter().enumerate() {
        let is_last = index + 1 == parts.len();
        match *segment {
            "." => {}
            ".." => {
                segments.pop();
            }
            other => segments.push(other),
        }
        if is_last && matches!(*segment, "." | "..") {
            segments.push("");
        }
    }
    format!("/{}{query}", segments.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> Url {
        Url::parse(text).expect("is an address")
    }

    #[test]
    fn an_address_has_its_pieces() {
        let it = url("HTTPS://Example.org:8443/a b/ü.gguf?download=true#x");
        assert_eq!(it.to_string(), "https://example.org:8443/a%20b/%C3%BC.gguf?download=true");
        assert_eq!((it.host(), it.port()), ("example.org", Some(8443)));
        assert_eq!(it.file_name(), "%C3%BC.gguf");
        assert_eq!(it.shown(), "https://example.org:8443/a%20b/%C3%BC.gguf");
        assert_eq!(url("http://h").to_string(), "http://h/");
        assert_eq!(url("http://h?q").to_string(), "http://h/?q");
        assert_eq!(url("https://h:443/x").authority(), "h");
        assert_eq!(url("http://[::1]:80/x").authority(), "[::1]");
    }

    #[test]
    fn what_is_no_address_is_refused() {
        let cases = [
            ("ftp://h/x", UrlError::Scheme),
            ("h/x", UrlError::Scheme),
            ("https://", UrlError::Host),
            ("https:///x", UrlError::Host),
            ("https://a b/x", UrlError::Host),
            ("https://[::1/x", UrlError::Host),
            ("https://[x]/x", UrlError::Host),
            ("https://h:0/x", UrlError::Port),
            ("https://h:65536/x", UrlError::Port),
            ("https://h:+1/x", UrlError::Port),
            ("https://[::1]x/", UrlError::Port),
            ("https://me:secret@h/x", UrlError::Credentials),
            ("https://h/x\r\nHost: y", UrlError::Control),
        ];
        for (text, error) in cases {
            assert_eq!(Url::parse(text), Err(error), "{text:?}");
        }
        let long = format!("https://h/{}", "x".repeat(URL_BYTES_MAX));
        assert_eq!(Url::parse(&long), Err(UrlError::TooLong));
    }

    #[test]
    fn redirects_are_relative_to_where_they_come_from() {
        let base = url("https://h:1/a/b/c?q=1");
        let cases = [
            ("http://x/y", "http://x/y"),
            ("//x/y", "https://x/y"),
            ("/y?z=http://w/", "https://h:1/y?z=http://w/"),
            ("d", "https://h:1/a/b/d"),
            ("d?u=http://w/", "https://h:1/a/b/d?u=http://w/"),
            ("../d/./e", "https://h:1/a/d/e"),
            ("../../../d", "https://h:1/d"),
            ("..", "https://h:1/a/"),
            ("?r", "https://h:1/a/b/c?r"),
            ("", "https://h:1/a/b/c?q=1"),
        ];
        for (location, target) in cases {
            assert_eq!(base.join(location).expect("joins").to_string(), target, "{location:?}");
        }
    }

    #[test]
    fn loopback_is_this_machine_alone() {
        for text in
            ["http://localhost", "http://127.0.0.1:8000", "http://127.9.9.9", "http://[::1]"]
        {
            assert!(url(text).is_loopback(), "{text}");
        }
        for text in ["http://127.0.0.1.example.org", "http://10.0.0.1", "http://localhost.org"] {
            assert!(!url(text).is_loopback(), "{text}");
        }
    }
}
