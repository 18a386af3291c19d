//! Addresses of `http` and `https`, in one form each, so that two can be compared; and what a grant reaches.
//!
//! A path has no `.` and `..` left in it: what a grant is compared with is what is asked for.

use std::fmt;
use std::net::Ipv6Addr;

use hyper::http::uri::PathAndQuery;

const URL_BYTES_MAX: usize = 8192;
const NAME_BYTES_MAX: usize = 253;

/// Where a request goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Url {
    pub(super) origin: Origin,
    /// From its first `/`.
    path: String,
    /// With its `?`, or empty.
    query: String,
}

/// Whom a request goes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Origin {
    pub(super) is_secure: bool,
    /// A name in small letters, or an address; of IPv6 in brackets.
    host: String,
    pub(super) port: u16,
}

/// What a grant lets a machine ask.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Reach {
    /// Whatever there is.
    All,
    /// An origin, under the segments of a path.
    Under(Origin, Vec<String>),
}

impl Url {
    /// An absolute address. What follows `#` is not sent, and so left out.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (scheme, rest) = text.split_once("://")?;
        let is_secure = match scheme.to_ascii_lowercase().as_str() {
            "http" => false,
            "https" => true,
            _ => return None,
        };
        let (authority, rest) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
        let origin = Origin::parse(is_secure, authority)?;
        let rest = rest.split_once('#').map_or(rest, |(before, _)| before);
        let (path, query) = rest.split_at(rest.find('?').unwrap_or(rest.len()));
        let is_sent = |byte: u8| byte.is_ascii_graphic() && byte != b'\\';
        if text.len() > URL_BYTES_MAX || !rest.bytes().all(is_sent) {
            return None;
        }
        let url = Self { origin, path: without_dots(path), query: query.to_owned() };
        PathAndQuery::try_from(url.target()).ok()?;
        Some(url)
    }

    /// The address that a reference at this one leads to.
    pub(super) fn join(&self, reference: &str) -> Option<Self> {
        let scheme = reference.split(['/', '?', '#']).next().and_then(|start| start.split_once(':'));
        if scheme.is_some() {
            return Self::parse(reference);
        }
        let origin = &self.origin;
        let text = match reference.as_bytes() {
            [b'/', b'/', ..] => format!("{}:{reference}", origin.scheme()),
            [b'/', ..] => format!("{origin}{reference}"),
            [b'?', ..] => format!("{origin}{}{reference}", self.path),
            [] | [b'#', ..] => return Some(self.clone()),
            _ => format!("{origin}{}/{reference}", self.path.rsplit_once('/').map_or("", |(folder, _)| folder)),
        };
        Self::parse(&text)
    }

    /// What is asked of the origin.
    pub(super) fn target(&self) -> String {
        format!("{}{}", self.path, self.query)
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}{}", self.origin, self.path, self.query)
    }
}

impl Origin {
    fn parse(is_secure: bool, authority: &str) -> Option<Self> {
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !port.contains(']') => (host, Some(port)),
            _ => (authority, None),
        };
        let port = match port {
            None | Some("") => default_port(is_secure),
            Some(port) if port.bytes().all(|byte| byte.is_ascii_digit()) => {
                port.parse().ok().filter(|port| *port > 0)?
            }
            Some(_) => return None,
        };
        let host = match host.strip_prefix('[') {
            Some(address) => format!("[{}]", address.strip_suffix(']')?.parse::<Ipv6Addr>().ok()?),
            None => {
                let is_named = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
                let is_name = !host.is_empty() && host.len() <= NAME_BYTES_MAX && host.bytes().all(is_named);
                is_name.then(|| host.to_ascii_lowercase())?
            }
        };
        Some(Self { is_secure, host, port })
    }

    pub(super) fn scheme(&self) -> &'static str {
        if self.is_secure { "https" } else { "http" }
    }

    /// What is looked up, and proven by a certificate: an address of IPv6 is without brackets.
    pub(super) fn host(&self) -> &str {
        self.host.trim_start_matches('[').trim_end_matches(']')
    }

    /// As the header `host` has it.
    pub(super) fn authority(&self) -> String {
        if self.port == default_port(self.is_secure) {
            self.host.clone()
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme(), self.authority())
    }
}

fn default_port(is_secure: bool) -> u16 {
    if is_secure { 443 } else { 80 }
}

/// A path without its `.` and `..` (RFC 3986, 5.2.4), escaped ones among them.
fn without_dots(path: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    let mut is_folder = false;
    for segment in path.strip_prefix('/').unwrap_or(path).split('/') {
        is_folder = true;
        match segment.to_ascii_lowercase().replace("%2e", ".").as_str() {
            "." => {}
            ".." => drop(kept.pop()),
            _ => {
                kept.push(segment);
                is_folder = false;
            }
        }
    }
    format!("/{}{}", kept.join("/"), if is_folder && !kept.is_empty() { "/" } else { "" })
}

impl Reach {
    /// What `http-client:REACH` reaches.
    pub(super) fn parse(reach: &str) -> Option<Self> {
        if reach == "*" {
            return Some(Self::All);
        }
        let url = Url::parse(reach).filter(|url| url.query.is_empty() && !reach.contains(['?', '#']))?;
        let segments: Vec<String> = segments(&url.path).map(str::to_owned).collect();
        (!segments.iter().any(|segment| is_ambiguous(segment))).then_some(Self::Under(url.origin, segments))
    }

    /// Whether an address is within reach.
    pub(super) fn has(&self, url: &Url) -> bool {
        match self {
            Self::All => true,
            Self::Under(origin, path) if path.is_empty() => origin == &url.origin,
            Self::Under(origin, path) => {
                let mut asked = segments(&url.path);
                origin == &url.origin
                    && !segments(&url.path).any(is_ambiguous)
                    && path.iter().all(|segment| asked.next() == Some(segment.as_str()))
            }
        }
    }

    /// Whether all that another reaches is within this one's.
    pub(super) fn contains(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::All, _) => true,
            (Self::Under(..), Self::All) => false,
            (Self::Under(origin, path), Self::Under(to, at)) => origin == to && at.starts_with(path),
        }
    }
}

fn segments(path: &str) -> impl Iterator<Item = &str> {
    let path = path.strip_prefix('/').unwrap_or(path);
    path.strip_suffix('/').unwrap_or(path).split('/').filter(move |_| !path.is_empty())
}

/// Whether servers differ about what a segment is: some take an escaped slash for one, or `..;` for `..`.
fn is_ambiguous(segment: &str) -> bool {
    let segment = segment.to_ascii_lowercase();
    let plain = segment.replace("%2e", ".").replace("%3b", ";");
    let name = plain.split(';').next().unwrap_or_default();
    ["%2f", "%5c", "%00", "%25"].iter().any(|escape| segment.contains(escape)) || [".", ".."].contains(&name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> Option<String> {
        Url::parse(text).map(|url| url.to_string())
    }

    #[test]
    fn an_address_has_one_form() {
        for (text, form) in [
            ("http://example.org", "http://example.org/"),
            ("HTTPS://Example.ORG:443/A?b=C#d", "https://example.org/A?b=C"),
            ("http://example.org:8080?x", "http://example.org:8080/?x"),
            ("http://127.0.0.1:80/./a/../b/..", "http://127.0.0.1/"),
            ("http://[0:0::1]:8080/a/b/.", "http://[::1]:8080/a/b/"),
            ("http://a/../../b/%2e%2E/c//d", "http://a/c//d"),
            ("http://a/%41?../x", "http://a/%41?../x"),
            ("http://a:/", "http://a/"),
        ] {
            assert_eq!(url(text).as_deref(), Some(form), "{text}");
        }
        for none in [
            "",
            "a",
            "/a",
            "ftp://a/",
            "http:/a",
            "http:///a",
            "http://a b/",
            "http://a:x/",
            "http://a:0/",
            "http://a:65536/",
            "http://user@a/",
            "http://[::1/",
            "http://[a]/",
            "http://a/ b",
            "http://a/\u{e9}",
            "http://\u{e9}/",
            "http://a/\r\nb: c",
            "http://a\\b/",
            "http://a/\\..\\b",
            "file:///etc/passwd",
            "http://a%2fb/",
        ] {
            assert_eq!(url(none), None, "{none}");
        }
        assert_eq!(url(&format!("http://a/{}", "x".repeat(URL_BYTES_MAX))), None);
    }

    /// From RFC 3986, 5.4, where it is about `http`.
    #[test]
    fn references_lead_to_addresses() {
        let base = Url::parse("http://a/b/c/d;p?q").unwrap();
        for (reference, address) in [
            ("g", "http://a/b/c/g"),
            ("./g", "http://a/b/c/g"),
            ("g/", "http://a/b/c/g/"),
            ("/g", "http://a/g"),
            ("//g", "http://g/"),
            ("?y", "http://a/b/c/d;p?y"),
            ("g?y", "http://a/b/c/g?y"),
            ("#s", "http://a/b/c/d;p?q"),
            ("g#s", "http://a/b/c/g"),
            (";x", "http://a/b/c/;x"),
            ("", "http://a/b/c/d;p?q"),
            (".", "http://a/b/c/"),
            ("..", "http://a/b/"),
            ("../g", "http://a/b/g"),
            ("../..", "http://a/"),
            ("../../../g", "http://a/g"),
            ("/./g", "http://a/g"),
            ("g;x=1/../y", "http://a/b/c/y"),
            ("g?y/./x", "http://a/b/c/g?y/./x"),
            ("https://g/h", "https://g/h"),
        ] {
            assert_eq!(base.join(reference).map(|url| url.to_string()).as_deref(), Some(address), "{reference}");
        }
        for none in ["g:h", "mailto:a@b", "javascript:alert(1)", "//u@g/", "http:g"] {
            assert_eq!(base.join(none), None, "{none}");
        }
    }

    #[test]
    fn a_grant_reaches_what_it_names() {
        let has = |reach: &str, text: &str| Reach::parse(reach).unwrap().has(&Url::parse(text).unwrap());
        for (reach, address) in [
            ("*", "https://anything/at?all"),
            ("https://example.org", "https://EXAMPLE.org:443/a/b?c"),
            ("http://a/", "http://a"),
            ("http://a:81/api", "http://a:81/api"),
            ("http://a/api/", "http://a/api/x?y=/../.."),
            ("http://a/api/v1", "http://a/b/../api/v1/x"),
            ("http://a", "http://a/b%2fc"),
        ] {
            assert!(has(reach, address), "{reach} {address}");
        }
        for (reach, address) in [
            ("https://example.org", "http://example.org"),
            ("https://example.org", "https://example.org.evil.net"),
            ("https://example.org", "https://www.example.org"),
            ("https://example.org", "https://example.org:8443"),
            ("http://a/api", "http://a/apis"),
            ("http://a/api", "http://a/"),
            ("http://a/api", "http://a/api/../secret"),
            ("http://a/api", "http://a/api/%2e%2e/secret"),
            ("http://a/api", "http://a/api/..%2fsecret"),
            ("http://a/api", "http://a/api/..;/secret"),
            ("http://a/api", "http://a/api/%252e%252e/secret"),
            ("http://a/api", "http://a/API"),
            ("http://127.0.0.1", "http://127.1/"),
        ] {
            assert!(!has(reach, address), "{reach} {address}");
        }
        for none in ["", "a", "ftp://a", "http://a?b", "http://a#", "http://u@a", "**", "http://a/b%2fc"] {
            assert_eq!(Reach::parse(none), None, "{none}");
        }
    }

    #[test]
    fn a_grant_is_within_what_was_asked_for() {
        let within =
            |asked: &str, granted: &str| Reach::parse(asked).unwrap().contains(&Reach::parse(granted).unwrap());
        assert!(
            within("*", "*")
                && within("*", "http://a")
                && within("http://a", "http://a:80/")
                && within("http://a", "http://a/b")
        );
        assert!(!within("http://a", "*") && !within("http://a", "http://a:81") && !within("http://a", "https://a"));
        assert!(
            within("http://a/b", "http://a/b/c")
                && !within("http://a/b", "http://a")
                && !within("http://a/b", "http://a/bc")
        );
    }
}
