//! What viewers are told: a snapshot, then what changes. Each event is made once, for all of them.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use persist::branch::MAIN;
use seed::RequestId;
use seed::image::Grant;
use serde_json::{Value as Json, json};
use tokio::sync::broadcast::{Receiver, Sender, channel};

use super::figures::Second;
use super::rows::port_name;
use super::watch::{Head, Opened, RECORDS_MAX, Watch};
use crate::shown;

/// Events that a viewer may be behind. One that is further behind is cut.
const BEHIND_MAX: usize = 16;
/// Rows of the log in one event; where there are more, the last.
const ROWS_A_CHANGE: usize = 60;

/// Makes events of what is known.
pub(super) struct Teller {
    watch: Arc<Watch>,
    name: String,
    rows: VecDeque<Json>,
    /// The machine's end as it was told last.
    told: Option<u64>,
    second: u64,
    viewers: Sender<Bytes>,
}

impl Teller {
    pub(super) fn of(name: &str, watch: Arc<Watch>) -> Self {
        let (name, rows, viewers) = (name.to_owned(), VecDeque::new(), channel(BEHIND_MAX).0);
        Self { watch, name, rows, told: None, second: 0, viewers }
    }

    /// Tells all viewers what is new; says nothing where there is nothing and the second is the same.
    pub(super) fn tell(&mut self) {
        if let Some(change) = self.change() {
            // Those that have gone meanwhile need nothing.
            let _ = self.viewers.send(event("change", &change));
        }
    }

    /// Whether anybody looks.
    pub(super) fn has_viewers(&self) -> bool {
        self.viewers.receiver_count() > 0
    }

    /// A new viewer: the snapshot it begins with, and where the changes to it come.
    pub(super) fn welcome(&mut self) -> (Bytes, Receiver<Bytes>) {
        // What the others have not been told yet is in the snapshot.
        self.tell();
        let (whole, now) = (self.watch.whole(), self.watch.millis());
        let grants = whole.head.as_ref().map_or(&[][..], |head| &head.grants);
        let snapshot = json!({
            "v": shown::JSON_VERSION, "name": self.name, "now_ms": now,
            "head": whole.head.as_ref().map(head_json),
            "log": self.rows, "log_max": RECORDS_MAX,
            "requests": requests_json(&whole.requests, grants),
            "maps": whole.maps.iter().map(|map| map.json(now)).collect::<Vec<_>>(),
            "seconds": seconds_json(&whole.figures.since(0)), "recent": whole.figures.recent(now / 1000).json(),
        });
        (event("snapshot", &snapshot), self.viewers.subscribe())
    }

    fn change(&mut self) -> Option<Json> {
        let second = self.watch.second();
        let news = self.watch.take_news(self.second);
        let head = news.head.as_ref();
        let end = head.map(|head| head.end.0);
        if end == self.told && second == self.second && news.maps.is_none() && news.kept.is_empty() {
            return None;
        }
        let grants = head.map_or(&[][..], |head| &head.grants);
        let mut rows: VecDeque<Json> = VecDeque::new();
        for kept in news.kept.iter().rev() {
            let most = RECORDS_MAX.saturating_sub(rows.len());
            kept.rows(most, grants).into_iter().rev().for_each(|row| rows.push_front(row));
            if rows.len() >= RECORDS_MAX {
                break;
            }
        }
        self.rows.extend(rows.iter().cloned());
        self.rows.drain(..self.rows.len().saturating_sub(RECORDS_MAX));
        rows.drain(..rows.len().saturating_sub(ROWS_A_CHANGE));
        let mut change = json!({
            "v": shown::JSON_VERSION, "now_ms": self.watch.millis(), "head": head.map(head_json), "log": rows,
            "seconds": seconds_json(&news.seconds), "recent": news.recent.json(),
        });
        if let Some(requests) = news.requests {
            change["requests"] = requests_json(&requests, grants);
        }
        match news.maps {
            Some(maps) => {
                let now = self.watch.millis();
                change["maps"] = maps.iter().map(|map| map.json(now)).collect();
            }
            None => change["cells"] = json!(news.cells),
        }
        (self.told, self.second) = (end, second);
        Some(change)
    }
}

fn seconds_json(seconds: &[Second]) -> Json {
    seconds.iter().map(Second::json).collect()
}

fn event(name: &str, data: &Json) -> Bytes {
    Bytes::from(format!("event: {name}\ndata: {data}\n\n"))
}

/// The names are those of `abide status --json`, where it has the same.
fn head_json(head: &Head) -> Json {
    json!({
        "machine": shown::hex(&head.epoch.machine), "incarnation": shown::hex(&head.epoch.incarnation),
        "epoch": head.epoch.number, "engine": head.epoch.engine, "branch": MAIN,
        "end": head.end.0, "root": format!("{:x}", head.root), "root_short": head.root.to_string(),
        "batch": format!("{:x}", head.batch), "time_ns": head.time.0,
        "checkpoint": {
            "end": head.checkpoint.end.0, "root": format!("{:x}", head.checkpoint.root),
            "root_short": head.checkpoint.root.to_string(), "time_ns": head.checkpoint_time.map(|time| time.0),
        },
        "code": format!("{:x}", head.code), "code_short": head.code.to_string(),
        "open_requests": head.open.requests, "owed_replies": head.open.replies,
        "undelivered_effects": head.open.effects,
        "memory_bytes": head.pages * 4096, "used_pages": head.used_pages,
        "grants": shown::grants_json(&head.grants),
    })
}

fn requests_json(requests: &[(RequestId, Opened)], grants: &[Grant]) -> Json {
    // Numbers of requests are the machine's own, and may be more than a browser's numbers are exact for.
    let row = |(number, opened): &(RequestId, Opened)| {
        let asked = &opened.asked;
        let text = match (asked.payload.as_slice(), asked.bytes) {
            ([], bytes @ 1..) => format!("{bytes} bytes"),
            (payload, bytes) if payload.len() == bytes => shown::payload_line(payload),
            (payload, bytes) => format!("{} of {bytes} bytes", shown::payload_line(payload)),
        };
        json!({
            "request": number.to_string(), "port": port_name(asked.port, grants), "since_ns": opened.since.map(|since| since.0),
            "text": text,
        })
    };
    requests.iter().map(row).collect()
}

#[cfg(test)]
mod tests {
    use tokio::sync::broadcast::error::{RecvError, TryRecvError};

    use super::*;

    #[test]
    fn nothing_is_said_where_nothing_is_new() {
        let mut teller = Teller::of("m", Arc::default());
        let (snapshot, mut changes) = teller.welcome();
        let text = String::from_utf8(snapshot.to_vec()).unwrap();
        assert!(text.starts_with("event: snapshot\ndata: {") && text.ends_with("}\n\n"), "{text}");
        let begun = teller.second;
        teller.tell();
        if teller.second == begun {
            assert_eq!(changes.try_recv(), Err(TryRecvError::Empty));
        }
    }

    /// What one viewer does not take is neither kept for it nor kept from the others.
    #[test]
    fn whoever_is_too_far_behind_is_cut() {
        let mut teller = Teller::of("m", Arc::default());
        let (_, mut slow) = teller.welcome();
        let (_, mut quick) = teller.welcome();
        for _ in 0..2 * BEHIND_MAX {
            teller.second = u64::MAX;
            teller.tell();
            assert!(quick.try_recv().is_ok());
        }
        assert_eq!(teller.viewers.len(), BEHIND_MAX);
        assert!(matches!(slow.blocking_recv(), Err(RecvError::Lagged(_))));
    }
}
