//! Values as people and programs read them: one line of text, or versioned JSON.

use kernel::Command;
use std::fmt::Write as _;

use persist::branch::Branch;
use seed::cbor::Value;
use seed::image::{FUNCREF_NULL, Global, Grant, Image, Memory, Process, Program, Table};
use seed::message::Input;
use seed::record::{Batch, Record};
use seed::{Id, Seq};
use serde::Serialize;
use serde_json::{Value as Json, json};
use vm::prepare::{MemoryState, StateMap, TableState};
use vm::step_loop::AskerNews;

/// The version of every JSON object that commands print.
pub(crate) const JSON_VERSION: u32 = 1;

/// An answer as JSON.
#[derive(Serialize)]
pub(crate) struct Answer {
    v: u32,
    ok: bool,
    parts: Vec<Json>,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<String>,
}

impl Answer {
    /// What came back for a message.
    pub(crate) fn of(news: &[AskerNews]) -> Self {
        let mut answer = Self { v: JSON_VERSION, ok: true, parts: Vec::new(), code: None, text: None };
        for one in news {
            match one {
                AskerNews::Answer { payload, .. } => answer.parts.push(payload_json(payload)),
                AskerNews::Refused { code, text } => {
                    answer.ok = false;
                    answer.code = Some(code.0);
                    answer.text = Some(text.clone());
                }
                AskerNews::Accepted => {}
            }
        }
        answer
    }
}

/// A payload as JSON: text if it is text, else CBOR if it is that, else hexadecimal.
pub(crate) fn payload_json(payload: &[u8]) -> Json {
    match std::str::from_utf8(payload) {
        Ok(text) if is_plain(text) => json!({ "text": text }),
        _ => match Value::decode(payload) {
            Ok(value) => json!({ "cbor": value_json(&value) }),
            Err(_) => json!({ "hex": hex(payload) }),
        },
    }
}

fn value_json(value: &Value) -> Json {
    match value {
        Value::Uint(number) => json!(number),
        Value::Text(text) => json!({ "text": text }),
        Value::Bytes(bytes) => payload_json(bytes),
        Value::Array(items) => items.iter().map(value_json).collect(),
    }
}

/// A payload on one line.
pub(crate) fn payload_line(payload: &[u8]) -> String {
    if let Some(Ok(command)) = payload.strip_prefix(&[0]).map(Command::decode) {
        return shorten(&command_line(&command));
    }
    match std::str::from_utf8(payload) {
        Ok(text) if is_plain(text) => shorten(&format!("{text:?}")),
        _ => match Value::decode(payload) {
            Ok(value) => shorten(&value_line(&value)),
            Err(_) => shorten(&format!("h'{}'", hex(payload))),
        },
    }
}

/// What an owner says to the kernel.
fn command_line(command: &Command) -> String {
    match command {
        Command::Eval { text, .. } => format!("evaluate {text:?}"),
        Command::Load { files } => format!("load {}", files.first().map_or("", |(name, _)| name)),
        Command::Names => "names?".to_owned(),
        Command::Source { name } => format!("source of {name}?"),
        Command::Show { .. } => "show".to_owned(),
        Command::State { .. } => "self?".to_owned(),
        Command::Jobs => "jobs?".to_owned(),
    }
}

fn value_line(value: &Value) -> String {
    match value {
        Value::Uint(number) => number.to_string(),
        Value::Text(text) => format!("{text:?}"),
        Value::Bytes(bytes) => payload_line(bytes),
        Value::Array(items) => format!("[{}]", items.iter().map(value_line).collect::<Vec<_>>().join(", ")),
    }
}

fn is_plain(text: &str) -> bool {
    text.chars().all(|character| !character.is_control() || matches!(character, '\n' | '\t' | '\r'))
}

const LINE_CHARS_MAX: usize = 160;

pub(crate) fn shorten(text: &str) -> String {
    match text.char_indices().nth(LINE_CHARS_MAX) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}... ({} bytes)", &text[..end], text.len()),
    }
}

/// Bytes as hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// An input on one line.
pub(crate) fn input_line(input: &Input) -> String {
    match input {
        Input::Boot { genesis, handover, .. } => {
            let with = if genesis.is_empty() { String::new() } else { format!(" with {}", payload_line(genesis)) };
            let after =
                handover.as_ref().map_or_else(String::new, |handover| format!(" after {}", payload_line(handover)));
            format!("boot{with}{after}")
        }
        Input::Message { port, from, reply, payload } => {
            let from = if from.is_empty() { String::new() } else { format!(" from {}", payload_line(from)) };
            let wants = if reply.0 == 0 { String::new() } else { format!(" (reply {reply})") };
            format!("message on port {port}{from}{wants}: {}", payload_line(payload))
        }
        Input::Answer { request, more, payload } => {
            let part = if *more { " (more to come)" } else { "" };
            format!("answer to request {request}{part}: {}", payload_line(payload))
        }
        Input::Broken { request, code, text } => format!("request {request} broken: {} ({text})", code.word()),
        Input::Again { budget } => format!("again, for {}", duration(budget.0)),
        Input::Gone { reply } => format!("the asker of reply {reply} has gone"),
        Input::Grants { grants } => format!("grants: {}", grants_line(grants)),
        Input::Query { port, payload } => format!("query on port {port}: {}", payload_line(payload)),
    }
}

/// An input as JSON.
fn input_json(bytes: &[u8]) -> Json {
    match Input::decode(bytes) {
        Err(_) => json!({ "hex": hex(bytes) }),
        Ok(Input::Boot { genesis, grants, .. }) => {
            json!({ "kind": "boot", "genesis": payload_json(&genesis), "grants": grants_json(&grants) })
        }
        Ok(Input::Message { port, from, reply, payload }) => json!({
            "kind": "message", "port": port.0, "from": payload_json(&from), "reply": reply.0,
            "payload": payload_json(&payload),
        }),
        Ok(Input::Answer { request, more, payload }) => {
            json!({ "kind": "answer", "request": request.0, "more": more, "payload": payload_json(&payload) })
        }
        Ok(Input::Broken { request, code, text }) => {
            json!({ "kind": "broken", "request": request.0, "code": code.0, "text": text })
        }
        Ok(Input::Again { budget }) => json!({ "kind": "again", "budget_ns": budget.0 }),
        Ok(Input::Gone { reply }) => json!({ "kind": "gone", "reply": reply.0 }),
        Ok(Input::Grants { grants }) => json!({ "kind": "grants", "grants": grants_json(&grants) }),
        Ok(Input::Query { port, payload }) => {
            json!({ "kind": "query", "port": port.0, "payload": payload_json(&payload) })
        }
    }
}

/// Grants on one line, each with its number.
pub(crate) fn grants_line(grants: &[Grant]) -> String {
    grants.iter().map(|grant| format!("{}={}", grant.port, grant.name)).collect::<Vec<_>>().join(" ")
}

/// Grants as JSON.
pub(crate) fn grants_json(grants: &[Grant]) -> Json {
    grants.iter().map(|grant| json!({ "port": grant.port.0, "name": grant.name })).collect()
}

/// A record on one line.
pub(crate) fn record_line(record: &Record) -> String {
    let shown = |input: &[u8]| Input::decode(input).map_or_else(|_| hex(input), |input| input_line(&input));
    match record {
        Record::Step { input, cost, key } => format!("step    {}{}  {}", shown(input), keyed(key), cost_text(cost.0)),
        Record::Abort { input, cost, key, reason } => {
            format!("abort   {}{}  {}: {reason}", shown(input), keyed(key), cost_text(cost.0))
        }
        Record::Settle { effects } if effects.is_empty() => "settle  nothing (a clean stop)".to_owned(),
        Record::Settle { effects } => {
            let numbers: Vec<String> = effects.iter().map(|effect| effect.0.to_string()).collect();
            format!("settle  effects {}", shorten(&numbers.join(" ")))
        }
        Record::Grant { grants, .. } => format!("grant   {}", grants_line(grants)),
        Record::Become { code, .. } => format!("become  code {code}"),
        Record::Epoch(epoch) => format!(
            "epoch   {} of machine {}, incarnation {}, {}, preparation {}",
            epoch.number,
            &hex(&epoch.machine)[..8],
            &hex(&epoch.incarnation)[..8],
            epoch.engine,
            epoch.preparation
        ),
    }
}

fn keyed(key: &[u8]) -> String {
    if key.is_empty() { String::new() } else { format!(" key {}", payload_line(key)) }
}

fn cost_text(nanos: u64) -> String {
    format!("[{}]", duration(nanos))
}

/// A span of time for people.
pub(crate) fn duration(nanos: u64) -> String {
    match nanos {
        0..10_000 => format!("{nanos} ns"),
        10_000..10_000_000 => format!("{} us", nanos / 1000),
        10_000_000..10_000_000_000 => format!("{} ms", nanos / 1_000_000),
        _ => format!("{} s", nanos / 1_000_000_000),
    }
}

/// A record as JSON.
pub(crate) fn record_json(seq: Seq, batch: &Batch, record: &Record) -> Json {
    let mut object = match record {
        Record::Step { input, cost, key } => {
            json!({ "kind": "step", "input": input_json(input), "cost_ns": cost.0, "key": payload_json(key) })
        }
        Record::Abort { input, cost, key, reason } => json!({
            "kind": "abort", "input": input_json(input), "cost_ns": cost.0, "key": payload_json(key), "reason": reason,
        }),
        Record::Settle { effects } => {
            json!({ "kind": "settle", "effects": effects.iter().map(|effect| effect.0).collect::<Vec<_>>() })
        }
        Record::Grant { grants, next_port } => {
            json!({ "kind": "grant", "grants": grants_json(grants), "next_port": next_port.0 })
        }
        Record::Become { code, genesis } => {
            json!({ "kind": "become", "code": format!("{code:x}"), "genesis": format!("{genesis:x}") })
        }
        Record::Epoch(epoch) => json!({
            "kind": "epoch", "number": epoch.number, "machine": hex(&epoch.machine),
            "incarnation": hex(&epoch.incarnation), "engine": epoch.engine, "preparation": epoch.preparation,
            "image": format!("{:x}", epoch.image),
        }),
    };
    if let Some(fields) = object.as_object_mut() {
        fields.insert("v".to_owned(), json!(JSON_VERSION));
        fields.insert("seq".to_owned(), json!(seq.0));
        fields.insert("time_ns".to_owned(), json!(batch.time.0));
        if seq.next() == batch.end() {
            fields.insert("root".to_owned(), json!(format!("{:x}", batch.root)));
        }
    }
    object
}

/// An image as lines of text.
pub(crate) fn image_text(image: &Image) -> String {
    let mut text = String::new();
    let _ = writeln!(text, "image {:x}", image.root());
    let _ = writeln!(text, "  interface {}", image.interface);
    let _ = writeln!(text, "  code      {:x}", image.code);
    let _ = writeln!(text, "  genesis   {:x}", image.genesis);
    let _ = writeln!(text, "  limits    {}", limits_line(&image.limits));
    let _ = writeln!(text, "  grants    {} (next port {})", grants_line(&image.grants), image.next_port);
    for (number, process) in image.processes.iter().enumerate() {
        let _ = writeln!(text, "  process {number}");
        match &process.state {
            None => drop(writeln!(text, "    not booted yet")),
            Some(state) => {
                for (index, memory) in state.memories.iter().enumerate() {
                    let root = memory.root.map_or_else(|| "all zero".to_owned(), |root| format!("{root:x}"));
                    let _ = writeln!(text, "    memory {index}  {}  {root}", bytes(memory.pages * 4096));
                }
                for (index, global) in state.globals.iter().enumerate() {
                    let _ = writeln!(text, "    global {index}  {}", global_line(global));
                }
                for (index, table) in state.tables.iter().enumerate() {
                    let _ = writeln!(text, "    table {index}   {} elements  {:x}", table.elements, table.content);
                }
            }
        }
        let ledger = &process.ledger;
        let tries = [
            ("requests", ledger.requests),
            ("replies", ledger.replies),
            ("effects", ledger.effects),
            ("outcomes", ledger.outcomes),
        ];
        for (name, root) in tries {
            let root = root.map_or_else(|| "none".to_owned(), |root| format!("{root:x}"));
            let _ = writeln!(text, "    {name:<9} {root}");
        }
        let calls = match ledger.last_call.0 {
            0 => String::new(),
            last => format!(", last call {last}"),
        };
        let again = if ledger.again { ", wants to go on" } else { "" };
        let _ =
            writeln!(text, "    next reply {}, next effect {}{calls}{again}", ledger.next_reply, ledger.next_effect);
    }
    text
}

fn global_line(global: &Global) -> String {
    match global {
        Global::I32(bits) => format!("i32 {}", bits.cast_signed()),
        Global::I64(bits) => format!("i64 {}", bits.cast_signed()),
        Global::F32(bits) => format!("f32 {}", f32::from_bits(*bits)),
        Global::F64(bits) => format!("f64 {}", f64::from_bits(*bits)),
        Global::V128(bits) => format!("v128 {bits:#034x}"),
        Global::Funcref(FUNCREF_NULL) => "funcref null".to_owned(),
        Global::Funcref(index) => format!("funcref to function {index}"),
    }
}

/// An image as JSON.
pub(crate) fn image_json(image: &Image) -> Json {
    json!({
        "interface": image.interface, "code": format!("{:x}", image.code), "genesis": format!("{:x}", image.genesis),
        "limits": limits_json(&image.limits), "grants": grants_json(&image.grants), "next_port": image.next_port.0,
        "processes": image.processes.iter().map(process_json).collect::<Vec<_>>(),
    })
}

fn process_json(process: &Process) -> Json {
    let state = process.state.as_ref();
    let (memories, globals, tables) = (
        state.map_or(&[][..], |state| &state.memories),
        state.map_or(&[][..], |state| &state.globals),
        state.map_or(&[][..], |state| &state.tables),
    );
    let hex = |id: Option<Id>| id.map(|id| format!("{id:x}"));
    let memory = |memory: &Memory| json!({ "bytes": memory.pages * 4096, "root": hex(memory.root) });
    let table = |table: &Table| json!({ "elements": table.elements, "content": hex(Some(table.content)) });
    let ledger = &process.ledger;
    json!({
        "booted": state.is_some(), "handover": hex(process.handover),
        "memories": memories.iter().map(memory).collect::<Vec<_>>(),
        "globals": globals.iter().map(global_json).collect::<Vec<_>>(),
        "tables": tables.iter().map(table).collect::<Vec<_>>(),
        "requests": hex(ledger.requests), "replies": hex(ledger.replies), "effects": hex(ledger.effects),
        "outcomes": hex(ledger.outcomes), "next_reply": ledger.next_reply.0, "next_effect": ledger.next_effect.0,
        "first_outcome": ledger.first_outcome, "next_outcome": ledger.next_outcome, "again": ledger.again,
        "last_call": ledger.last_call.0,
    })
}

/// Bits as hexadecimal digits: not every number in JSON is read as it was written.
fn global_json(global: &Global) -> Json {
    let (ty, bits) = match global {
        Global::I32(bits) => ("i32", format!("{bits:08x}")),
        Global::I64(bits) => ("i64", format!("{bits:016x}")),
        Global::F32(bits) => ("f32", format!("{bits:08x}")),
        Global::F64(bits) => ("f64", format!("{bits:016x}")),
        Global::V128(bits) => ("v128", format!("{bits:032x}")),
        Global::Funcref(FUNCREF_NULL) => return json!({ "type": "funcref", "function": null }),
        Global::Funcref(index) => return json!({ "type": "funcref", "function": index }),
    };
    json!({ "type": ty, "bits": bits })
}

/// A program as JSON.
pub(crate) fn program_json(program: &Program) -> Json {
    json!({
        "interface": program.interface, "code": format!("{:x}", program.code),
        "genesis": format!("{:x}", program.genesis), "limits": limits_json(&program.limits), "asks": program.asks,
    })
}

/// What a module's state is made of, as lines of text.
pub(crate) fn state_text(state: &StateMap) -> String {
    let mut text = String::new();
    for memory in &state.memories {
        let max = memory.pages_max.map_or_else(String::new, |pages| format!(" to {}", bytes(u64::from(pages) << 16)));
        let _ = writeln!(text, "  memory {}  {}{max}", memory.index, bytes(u64::from(memory.pages_min) << 16));
    }
    for table in &state.tables {
        let max = table.elements_max.map_or_else(String::new, |elements| format!(" to {elements}"));
        let _ = writeln!(text, "  table {}   {}{max} elements", table.index, table.elements_min);
    }
    let _ = writeln!(text, "  globals   {} that can change", state.globals.len());
    text
}

/// What a module's state is made of, as JSON.
pub(crate) fn state_json(state: &StateMap) -> Json {
    let memory = |memory: &MemoryState| {
        let max = memory.pages_max.map(|pages| u64::from(pages) << 16);
        json!({ "index": memory.index, "bytes_min": u64::from(memory.pages_min) << 16, "bytes_max": max })
    };
    let table = |table: &TableState| json!({ "index": table.index, "elements_min": table.elements_min, "elements_max": table.elements_max });
    json!({
        "memories": state.memories.iter().map(memory).collect::<Vec<_>>(),
        "tables": state.tables.iter().map(table).collect::<Vec<_>>(), "globals": state.globals.len(),
    })
}

/// Where a machine that was made stands.
pub(crate) fn standing_json(branch: &Branch) -> Json {
    json!({
        "v": JSON_VERSION, "machine": hex(&branch.epoch.machine), "end": branch.end.0,
        "root": format!("{:x}", branch.root),
    })
}

/// So many of something.
pub(crate) fn count(number: u64, noun: &str) -> String {
    let end = match (number, noun.strip_suffix('y')) {
        (1, _) => return format!("1 {noun}"),
        (_, Some(stem)) => return format!("{number} {stem}ies"),
        _ => "s",
    };
    format!("{number} {noun}{end}")
}

/// A number of bytes for people.
pub(crate) fn bytes(number: u64) -> String {
    const MIB: u64 = 1 << 20;
    match number {
        0..MIB => format!("{} KiB", number >> 10),
        _ if number < 100 * MIB && !number.is_multiple_of(MIB) => {
            format!("{}.{} MiB", number / MIB, number % MIB * 10 / MIB)
        }
        _ => format!("{} MiB", number / MIB),
    }
}

/// A program as lines of text.
pub(crate) fn program_text(program: &Program) -> String {
    let asks = if program.asks.is_empty() { "no further ports".to_owned() } else { program.asks.join(" ") };
    format!(
        "program\n  interface {}\n  code      {:x}\n  genesis   {:x}\n  limits    {}\n  asks for  {asks}\n",
        program.interface,
        program.code,
        program.genesis,
        limits_line(&program.limits)
    )
}

fn limits_line(limits: &seed::image::Limits) -> String {
    let ranges = seed::image::Limits::RANGES.iter().zip(limits.values());
    ranges.map(|(range, value)| format!("{}={value}", range.name)).collect::<Vec<_>>().join(" ")
}

/// Limits as JSON.
pub(crate) fn limits_json(limits: &seed::image::Limits) -> Json {
    let ranges = seed::image::Limits::RANGES.iter().zip(limits.values());
    Json::Object(ranges.map(|(range, value)| (range.name.to_owned(), json!(value))).collect())
}

/// A time as RFC 3339, in UTC, to the millisecond.
pub(crate) fn time(nanos: u64) -> String {
    let (seconds, millis) = (nanos / 1_000_000_000, nanos / 1_000_000 % 1000);
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = civil(days);
    format!(
        "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}.{millis:03}Z",
        second / 3600,
        second / 60 % 60,
        second % 60
    )
}

/// The Gregorian date of a day counted from 1970-01-01: eras of 400 years, years that begin in March.
fn civil(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    (year_of_era + era * 400 + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_read_as_dates() {
        assert_eq!(time(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(time(951_782_400_000_000_000), "2000-02-29T00:00:00.000Z");
        assert_eq!(time(1_795_219_200_123_000_000), "2026-11-21T00:00:00.123Z");
    }

    #[test]
    fn numbers_read_as_so_many_of_something() {
        assert_eq!([0, 1, 2].map(|number| count(number, "reply")), ["0 replies", "1 reply", "2 replies"]);
        assert_eq!([1, 21].map(|number| count(number, "record")), ["1 record", "21 records"]);
        let shown = [0, 65_536, 1 << 20, 3 << 19, (200 << 20) + 5, 4 << 30].map(bytes);
        assert_eq!(shown, ["0 KiB", "64 KiB", "1 MiB", "1.5 MiB", "200 MiB", "4096 MiB"]);
    }

    #[test]
    fn payloads_read_as_what_they_are() {
        assert_eq!(payload_line(b"put a \"first\""), r#""put a \"first\"""#);
        assert_eq!(payload_line(&[0x82, 0x01, 0x18, 0xff]), "[1, 255]");
        assert_eq!(payload_line(&[0xff, 0x00]), "h'ff00'");
    }
}
