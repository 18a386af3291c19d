//! What the fuzz target of a machine's calls does with its input. `boot` runs the same.

use super::call::Call;
use super::url::{Reach, Url};

/// The longest address that is taken.
const URL_BYTES_MAX: usize = 8192;

/// A call; or an address and a reference to be followed from there, and the names of two grants, with a line's end between.
pub fn http_call(data: &[u8]) {
    if let Ok(call) = Call::decode(data) {
        check(&call.url);
        assert!(call.body.len() <= 8 << 20 && call.bytes_max <= 8 << 20);
        assert!(!call.headers.contains_key("host") && !call.headers.contains_key("content-length"));
    }
    let Ok(text) = std::str::from_utf8(data) else { return };
    let (first, second) = text.split_once('\n').unwrap_or((text, ""));
    let url = Url::parse(first);
    if let Some(url) = &url {
        check(url);
        url.join(second).iter().for_each(check);
    }
    if let (Some(larger), Some(smaller)) = (Reach::parse(first), Reach::parse(second)) {
        assert!(larger.contains(&larger));
        // What the smaller reaches the larger does.
        let reached = Url::parse(second).filter(|url| smaller.has(url));
        assert!(!larger.contains(&smaller) || reached.is_none_or(|url| larger.has(&url)));
    }
}

/// An address has one form, in which nothing leads upwards.
fn check(url: &Url) {
    let shown = url.to_string();
    assert!(shown.len() > URL_BYTES_MAX || Url::parse(&shown).as_ref() == Some(url), "{shown}");
    let path = url.target();
    let path = path.split('?').next().unwrap_or_default();
    assert!(path.starts_with('/') && path.split('/').all(|segment| !matches!(segment, "." | "..")), "{shown}");
    assert!(Reach::All.has(url));
}
