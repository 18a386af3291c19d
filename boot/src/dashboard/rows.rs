//! Records of the log as rows of a table.

use seed::image::Grant;
use seed::message::Input;
use seed::record::{Batch, Record};
use seed::{PortId, RequestId};
use serde_json::{Value as Json, json};

use crate::shown;

/// A batch of which rows can be made.
pub(super) struct Kept {
    pub(super) batch: Source,
    /// The ports of the requests that it closed.
    pub(super) ports: Vec<(RequestId, PortId)>,
    pub(super) is_checkpoint: bool,
}

/// Where a batch came from.
pub(super) enum Source {
    Committed(seed::record::Sealed),
    Read(Batch),
}

impl Source {
    pub(super) fn get(&self) -> &Batch {
        match self {
            Self::Committed(sealed) => sealed,
            Self::Read(batch) => batch,
        }
    }
}

impl Kept {
    pub(super) fn records(&self) -> usize {
        self.batch.get().records.len()
    }

    /// What is held for it, in bytes, to an order of magnitude.
    pub(super) fn bytes(&self) -> usize {
        match &self.batch {
            Source::Committed(sealed) => 2 * sealed.encoding().len(),
            Source::Read(batch) => batch.records.iter().map(size).sum(),
        }
    }

    /// The rows of its last records, so many at most.
    pub(super) fn rows(&self, most: usize, grants: &[Grant]) -> Vec<Json> {
        let batch = self.batch.get();
        let skipped = batch.records.len().saturating_sub(most);
        let rows = batch.records.iter().enumerate().skip(skipped).map(|(position, record)| {
            let mut row = self.row(record, grants);
            row["seq"] = json!(batch.first.0 + position as u64);
            row["time_ns"] = json!(batch.time.0);
            if position + 1 == batch.records.len() {
                row["root"] = json!(format!("{:x}", batch.root));
                row["checkpoint"] = json!(self.is_checkpoint);
            }
            row
        });
        rows.collect()
    }

    fn row(&self, record: &Record, grants: &[Grant]) -> Json {
        match record {
            Record::Step { input, cost, .. } => {
                let mut row = self.input(input, grants);
                row["kind"] = json!("step");
                row["cost_ns"] = json!(cost.0);
                row
            }
            Record::Abort { input, cost, reason, .. } => {
                let mut row = self.input(input, grants);
                row["kind"] = json!("abort");
                row["cost_ns"] = json!(cost.0);
                row["reason"] = json!(shown::shorten(reason));
                row
            }
            record => {
                let line = shown::record_line(record);
                let (kind, text) = line.split_once(' ').unwrap_or((&line, ""));
                json!({ "kind": kind, "text": text.trim_start() })
            }
        }
    }

    fn input(&self, bytes: &[u8], grants: &[Grant]) -> Json {
        match Input::decode(bytes) {
            Ok(Input::Message { port, from, reply, payload }) => json!({
                "what": "message", "port": port_name(port, grants), "reply": reply.0,
                "from": shown::shorten(&String::from_utf8_lossy(&from)),
                "text": shown::payload_line(&payload),
            }),
            Ok(Input::Answer { request, more, payload }) => {
                let port = self.ports.iter().find(|(closed, _)| *closed == request);
                json!({
                    "what": "answer", "request": request.to_string(), "more": more, "text": shown::payload_line(&payload),
                    "port": port.map(|(_, port)| port_name(*port, grants)),
                })
            }
            Ok(Input::Broken { request, code, text }) => {
                json!({ "what": "broken", "request": request.to_string(), "text": shown::shorten(&format!("{}: {text}", code.word())) })
            }
            Ok(input) => {
                let line = shown::input_line(&input);
                let what = match input {
                    Input::Boot { .. } => "boot",
                    Input::Again { .. } => "again",
                    Input::Gone { .. } => "gone",
                    _ => "grants",
                };
                json!({ "what": what, "text": line })
            }
            Err(_) => json!({ "what": "unknown", "text": shown::hex(bytes.get(..64).unwrap_or(bytes)) }),
        }
    }
}

fn size(record: &Record) -> usize {
    match record {
        Record::Step { input, .. } | Record::Abort { input, .. } => input.len(),
        _ => 64,
    }
}

/// A port by the name of its grant.
pub(super) fn port_name(port: PortId, grants: &[Grant]) -> String {
    grants.iter().find(|grant| grant.port == port).map_or_else(|| format!("port {port}"), |grant| grant.name.clone())
}
