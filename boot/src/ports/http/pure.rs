//! Routes that a machine has marked as pure: `[0, [route, ...]]`. Requests to read them are queries.
//!
//! A route is an absolute path: `/api/notes` is that one, `/api/notes/*` is everything below it, segment by segment, and not itself. Paths are
//! compared as they come: nothing in them is decoded. They are pure for as long as the request that marked them is open.

use std::collections::{BTreeMap, HashSet};
use std::sync::{PoisonError, RwLock};

use seed::RequestId;
use seed::cbor::{CborError, Fault, Reader};
use seed::message::Code;

/// Routes of one port.
const ROUTES_MAX: usize = 1024;
const ROUTE_BYTES_MAX: usize = 1024;

/// The pure routes of a port, as all of its connections see them.
#[derive(Default)]
pub(super) struct Routes(RwLock<Marked>);

#[derive(Default)]
struct Marked {
    by_request: BTreeMap<RequestId, Vec<Vec<u8>>>,
    /// The paths themselves, and those below which everything is pure, with the slash that ends them.
    exact: HashSet<Vec<u8>>,
    below: HashSet<Vec<u8>>,
}

impl Routes {
    /// Whether reading this path is a query.
    pub(super) fn has(&self, path: &str) -> bool {
        let marked = self.0.read().unwrap_or_else(PoisonError::into_inner);
        if marked.by_request.is_empty() {
            return false;
        }
        let path = path.as_bytes();
        let slashes = path.iter().enumerate().filter(|(_, byte)| **byte == b'/');
        let mut above = slashes.filter_map(|(position, _)| path.get(..=position));
        marked.exact.contains(path) || !marked.below.is_empty() && above.any(|above| marked.below.contains(above))
    }

    /// Marks what a request asks for.
    ///
    /// # Errors
    /// Why it is broken.
    pub(super) fn mark(&self, request: RequestId, payload: &[u8]) -> Result<(), (Code, String)> {
        let routes = read(payload).map_err(|error| (Code::MALFORMED, error.to_string()))?;
        let mut marked = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let count = marked.by_request.values().map(Vec::len).sum::<usize>() + routes.len();
        if count > ROUTES_MAX {
            let text = format!("a port has at most {ROUTES_MAX} pure routes, and these make {count} or more");
            return Err((Code::LIMIT, text));
        }
        marked.by_request.insert(request, routes);
        marked.sort();
        Ok(())
    }

    /// A request is no longer open.
    pub(super) fn unmark(&self, request: RequestId) {
        let mut marked = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if marked.by_request.remove(&request).is_some() {
            marked.sort();
        }
    }
}

impl Marked {
    fn sort(&mut self) {
        let below = |route: &Vec<u8>| route.strip_suffix(b"*").map(<[u8]>::to_vec);
        let routes = || self.by_request.values().flatten();
        self.below = routes().filter_map(below).collect();
        self.exact = routes().filter(|route| below(route).is_none()).cloned().collect();
    }
}

/// One more than there may be is enough to know that they are too many.
fn read(payload: &[u8]) -> Result<Vec<Vec<u8>>, CborError> {
    let mut reader = Reader::new(payload);
    reader.array_of(2)?;
    reader.uint_max(0, "what is asked of an HTTP server")?;
    let count = reader.array()?;
    let mut routes = Vec::new();
    for _ in 0..count {
        if routes.len() > ROUTES_MAX {
            return Ok(routes);
        }
        let route = reader.bytes()?;
        if !is_route(route) {
            return Err(reader.fault(Fault::Rule("a route is a path, or one with /* at its end")));
        }
        routes.push(route.to_vec());
    }
    reader.end()?;
    Ok(routes)
}

/// Whether a path can be this: of visible ASCII, without a query.
fn is_route(route: &[u8]) -> bool {
    let path = route.strip_suffix(b"/*").map_or(route, |_| &route[..route.len() - 1]);
    let is_fine = |byte: &u8| byte.is_ascii_graphic() && !b"?#*".contains(byte);
    path.first() == Some(&b'/') && path.iter().all(is_fine) && route.len() <= ROUTE_BYTES_MAX
}

#[cfg(test)]
mod tests {
    use seed::cbor::Writer;

    use super::*;
    use crate::ports::golden::bytes;

    fn asked(routes: &[&str]) -> Vec<u8> {
        let mut writer = Writer::new();
        writer.array(2).uint(0).array(routes.len());
        routes.iter().fold(&mut writer, |writer, route| writer.bytes(route.as_bytes()));
        writer.finish()
    }

    #[test]
    fn a_request_in_bytes() {
        assert_eq!(asked(&["/a", "/b/*"]), bytes("http pure"));
        assert_eq!(read(&bytes("http pure")).unwrap(), [b"/a".to_vec(), b"/b/*".to_vec()]);
    }

    #[test]
    fn paths_are_exact_or_below() {
        let routes = Routes::default();
        assert!(!routes.has("/"));
        routes.mark(RequestId(1), &asked(&["/api/notes", "/static/*"])).unwrap();
        for pure in ["/api/notes", "/static/", "/static/a", "/static/a/b", "/static//"] {
            assert!(routes.has(pure), "{pure}");
        }
        for other in ["/api/notes/", "/api/notes/1", "/api/note", "/static", "/statics/a", "/", "*", "", "/api%2Fnotes"]
        {
            assert!(!routes.has(other), "{other}");
        }
        routes.mark(RequestId(2), &asked(&["/*"])).unwrap();
        assert!(routes.has("/") && routes.has("/api/notes/1") && !routes.has("*"));
        routes.unmark(RequestId(2));
        assert!(!routes.has("/api/notes/1") && routes.has("/api/notes"));
        routes.unmark(RequestId(1));
        routes.unmark(RequestId(1));
        assert!(!routes.has("/api/notes"));
    }

    #[test]
    fn what_is_no_route_breaks_the_request() {
        let routes = Routes::default();
        for bad in ["", "a", "*", "a/*", "/a*", "/*/a", "/a?b", "/a#b", "/a b", "/\u{e9}", "/**", "/a/*/*"] {
            assert_eq!(routes.mark(RequestId(1), &asked(&["/fine", bad])).unwrap_err().0, Code::MALFORMED, "{bad}");
        }
        let long = "/".repeat(ROUTE_BYTES_MAX);
        routes.mark(RequestId(1), &asked(&[&long])).unwrap();
        assert_eq!(routes.mark(RequestId(1), &asked(&[&(long + "a")])).unwrap_err().0, Code::MALFORMED);
        let many = vec!["/a"; ROUTES_MAX];
        assert_eq!(routes.mark(RequestId(2), &asked(&many)).unwrap_err().0, Code::LIMIT);
        let whole = asked(&["/a", "/b/*"]);
        for cut in 0..whole.len() {
            assert_eq!(routes.mark(RequestId(2), &whole[..cut]).unwrap_err().0, Code::MALFORMED);
        }
        // A count that no payload could hold is nothing to make room for.
        let endless = [&[0x82, 0x00, 0x9b][..], &u64::MAX.to_be_bytes()].concat();
        assert_eq!(routes.mark(RequestId(2), &endless).unwrap_err().0, Code::MALFORMED);
        assert!(!routes.has("/a") && !routes.has("/fine"));
    }
}
