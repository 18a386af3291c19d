//! `abide show`: seeds, images, objects and log records as text.

use std::io::{self, Write};
use std::ops::ControlFlow;
use std::path::Path;
use std::process::ExitCode;

use lang::text::{Names, WIDTH, show};
use persist::journal::{Start, each_batch};
use persist::machine::Reading;
use persist::objects::{domain_of, load};
use persist::store::{Reader, Table};
use seed::image::{Image, Program};
use seed::object::{self, decode_blob, links};
use seed::record::Record;
use seed::{Domain, Id, Seq, cbor, pack};
use serde_json::{Value as Json, json};
use vm::body::BodyError;
use vm::prepare::prepare;

use super::hosted::last;
use super::{past, send};
use crate::cli::Show;
use crate::programs;
use crate::report::Failure;
use crate::seeds::{self, SEED_BYTES_MAX, Terms};
use crate::shown;

pub(crate) fn run(args: &Show) -> Result<ExitCode, Failure> {
    let (text, json) = match args.point() {
        (path, Some(seq)) => show_record(path, seq)?,
        (path, None) if path.is_dir() => match &args.object {
            Some(id) => show_object(path, id)?,
            None if !args.image && programs::of_machine(path)?.is_some() => show_state(path)?,
            None => show_machine(path)?,
        },
        (path, None) => show_file(path)?,
    };
    let mut out = io::stdout().lock();
    if args.json {
        writeln!(out, "{json}")?;
    } else {
        write!(out, "{text}")?;
    }
    Ok(ExitCode::SUCCESS)
}

fn show_record(path: &Path, seq: Seq) -> Result<(String, Json), Failure> {
    let reading = Reading::open(path)?;
    let mut shown = None;
    each_batch(reading.store(), reading.branch(), Start::At(seq), &mut |batch, id| {
        let position = usize::try_from(seq.0.saturating_sub(batch.first.0)).unwrap_or(usize::MAX);
        if let Some(record) = batch.records.get(position) {
            let header = format!(
                "seq {seq} in batch {id:x}\n  batch     seq {} to {}, closed {}\n  root      {:x}\n",
                batch.first,
                batch.end().0 - 1,
                shown::time(batch.time.0),
                batch.root
            );
            let text = format!("{header}  {}\n{}", shown::record_line(record), input_bytes(record));
            shown = Some((text, shown::record_json(seq, &batch, record)));
        }
        ControlFlow::Break(())
    })?;
    shown.ok_or_else(|| Failure::NotFound {
        what: format!("{} has no record with seq {seq}; its last is {}", path.display(), last(reading.branch().end)),
    })
}

fn input_bytes(record: &Record) -> String {
    match record {
        Record::Step { input, .. } | Record::Abort { input, .. } => format!("  input     h'{}'\n", shown::hex(input)),
        _ => String::new(),
    }
}

fn show_machine(path: &Path) -> Result<(String, Json), Failure> {
    let reading = Reading::open(path)?;
    let checkpoint = reading.branch().checkpoint;
    let bytes = load(reading.store(), Domain::Object, &checkpoint.root)?;
    let (text, json) = describe(Domain::Object, &checkpoint.root, &bytes);
    let behind = reading.branch().end.0 - checkpoint.end.0;
    let seq = last(checkpoint.end);
    let note = match behind {
        0 => format!("{} at seq {seq}\n", path.display()),
        _ => format!("{} at its checkpoint of seq {seq}, {} ago\n", path.display(), shown::count(behind, "record")),
    };
    Ok((note + &text, json))
}

/// What a machine whose program is a text says of itself, as text that reads back.
fn show_state(path: &Path) -> Result<(String, Json), Failure> {
    let command = kernel::Command::Show { depth: 0 };
    let (answer, seq) = past::with(path, None, |past| {
        let answer = past.query(command.encode());
        Ok((answer.map_err(|source| Failure::Ask { path: path.to_owned(), source })?, past.end()))
    })?;
    let answer = answer.map_err(|(code, text)| send::refused(code, &text))?;
    let text = cbor::Reader::new(&answer).text().map_err(|_| Failure::NoKernel { path: path.to_owned() })?.to_owned();
    let json = json!({ "v": shown::JSON_VERSION, "seq": seq.0.saturating_sub(1), "text": text });
    Ok((format!("; {} at seq {}\n{text}", path.display(), last(seq)), json))
}

/// A text of the language, and what a machine of it would begin with.
fn show_program(path: &Path) -> Result<(String, Json), Failure> {
    let program = programs::Program::read(path)?;
    program.check(path)?;
    let names: Vec<&str> = program.definitions.iter().map(|(name, _)| name.as_str()).collect();
    let files: Vec<&str> = program.files.iter().map(|(name, _)| name.as_str()).collect();
    let start = program.value("start").map(|start| show(start, &program.names(), WIDTH)).unwrap_or_default();
    let shown = path.display();
    let text = format!(
        "{shown}: a text of the language that can be a machine; {} hold\n  files     {}\n  defines   {}\n  start     {}\nnext: abide boot MACHINE {shown}\n",
        shown::count(program.assertions as u64, "assertion"),
        files.join(" "),
        names.join(" "),
        start.trim_end().replace('\n', "\n            "),
    );
    let json = json!({
        "v": shown::JSON_VERSION, "files": files, "defined": names, "assertions": program.assertions, "start": start.trim_end(),
    });
    Ok((text, json))
}

fn show_file(path: &Path) -> Result<(String, Json), Failure> {
    if programs::is_text(path) {
        return show_program(path);
    }
    let bytes = seeds::read_file(path)?;
    if pack::is_pack(&bytes) {
        return show_pack(path, &format!("seed {}", path.display()), &bytes);
    }
    if let Some(value) = programs::plan(path, &bytes) {
        let text = show(&value, &Names::default(), WIDTH);
        return Ok((text.clone(), json!({ "v": shown::JSON_VERSION, "text": text })));
    }
    let wasm = seeds::module(path, bytes)?;
    let state = prepare(&wasm).map_err(|refusal| BodyError::Code(refusal.into()))?.state;
    let (text, json) = show_pack(path, "as a seed", &seeds::program_pack(&wasm, &Terms::default())?)?;
    let shown = path.display();
    let header = format!("{shown}: {} bytes of WebAssembly that can be a machine\n", wasm.len());
    let next = format!("next: abide boot MACHINE {shown}\n");
    Ok((header + &shown::state_text(&state) + &text + &next, with(json, "state", shown::state_json(&state))))
}

fn show_pack(path: &Path, what: &str, bytes: &[u8]) -> Result<(String, Json), Failure> {
    let mut count = 0_u64;
    let mut total = 0_u64;
    let mut last = Vec::new();
    let root = pack::read(bytes, SEED_BYTES_MAX, &|_| false, &mut |_, object| {
        count += 1;
        total += object.len() as u64;
        last = object;
        Ok(())
    });
    let (domain, id) = root.map_err(|source| Failure::Unpack { path: path.to_owned(), source })?;
    let (text, json) = describe(domain, &id, &last);
    Ok((format!("{what}: {count} objects, {total} bytes, {} packed\n{text}", bytes.len()), json))
}

/// An object whose id starts with some digits.
fn show_object(path: &Path, start: &str) -> Result<(String, Json), Failure> {
    let start = start.trim_end_matches('.').to_ascii_lowercase();
    let reading = Reading::open(path)?;
    // Whole, or without what says how it was hashed: as it is shown where it is short.
    let is_start = |id: &Id| [format!("{id:x}"), shown::hex(id.digest())].iter().any(|id| id.starts_with(&start));
    let mut found: Vec<(Id, Domain)> = Vec::new();
    reading
        .store()
        .scan(Table::Objects, &[], &mut |key, frame| {
            if let (Some(id), Some(domain)) = (Id::from_bytes(key), domain_of(frame))
                && is_start(&id)
            {
                found.push((id, domain));
            }
            if found.len() > 1 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })
        .map_err(persist::machine::MachineError::from)?;
    match found.as_slice() {
        [(id, domain)] => {
            let bytes = load(reading.store(), *domain, id)?;
            Ok(describe(*domain, id, &bytes))
        }
        [] if is_start(&reading.branch().root) => {
            Err(Failure::Unsaved { path: path.to_owned(), root: reading.branch().root })
        }
        [] => Err(Failure::NotFound { what: format!("{} has no object {start}", path.display()) }),
        _ => Err(Failure::NotFound { what: format!("{start} is the start of more than one object; give more digits") }),
    }
}

/// An object of any kind, for people and for programs.
fn describe(domain: Domain, id: &Id, bytes: &[u8]) -> (String, Json) {
    let linked = links(domain, bytes).unwrap_or_default();
    let json = json!({
        "v": shown::JSON_VERSION, "id": format!("{id:x}"), "domain": format!("{domain:?}").to_lowercase(),
        "bytes": bytes.len(),
        "links": linked.iter().map(|(_, id)| format!("{id:x}")).collect::<Vec<_>>(),
    });
    if let Ok(image) = Image::decode(bytes) {
        return (shown::image_text(&image), with(json, "image", shown::image_json(&image)));
    }
    if let Ok(program) = Program::decode(bytes) {
        return (shown::program_text(&program), with(json, "program", shown::program_json(&program)));
    }
    let mut text = format!("{} {id:x}, {} bytes\n", format!("{domain:?}").to_lowercase(), bytes.len());
    if domain == Domain::Object
        && let Ok(blob) = decode_blob(bytes)
    {
        text += &dump(blob);
    } else if domain == Domain::Page {
        text += &dump(bytes);
    } else {
        let kind = object::kind(bytes).map_or_else(|_| "?".to_owned(), |kind| kind.to_string());
        text += &format!("  kind {kind}, {} links\n", linked.len());
        for (domain, id) in &linked {
            text += &format!("  {} {id:x}\n", format!("{domain:?}").to_lowercase());
        }
    }
    (text, json)
}

fn with(mut json: Json, name: &str, value: Json) -> Json {
    if let Some(fields) = json.as_object_mut() {
        fields.insert(name.to_owned(), value);
    }
    json
}

const DUMP_BYTES_MAX: usize = 4096;

/// Bytes as offset, hexadecimal digits and characters; runs of zero lines are left out.
fn dump(bytes: &[u8]) -> String {
    let mut text = String::new();
    for (line, chunk) in bytes.chunks(16).take(DUMP_BYTES_MAX / 16).enumerate() {
        if chunk.iter().all(|byte| *byte == 0) {
            continue;
        }
        let digits = chunk.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(" ");
        let shown: String = chunk
            .iter()
            .map(|byte| if byte.is_ascii_graphic() || *byte == b' ' { char::from(*byte) } else { '.' })
            .collect();
        text += &format!("  {:06x}  {digits:<47}  {shown}\n", line * 16);
    }
    if bytes.len() > DUMP_BYTES_MAX {
        text += &format!("  ... {} bytes more\n", bytes.len() - DUMP_BYTES_MAX);
    }
    text
}
