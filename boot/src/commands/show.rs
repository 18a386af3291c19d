//! `abide show`: seeds, images, objects and log records as text.

use std::io::{self, Write};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use persist::journal::{Start, each_batch};
use persist::machine::Reading;
use persist::objects::{domain_of, load};
use persist::store::{Reader, Table};
use seed::image::{Image, Program};
use seed::object::{self, decode_blob, links};
use seed::record::Record;
use seed::{Domain, Id, Seq, pack};
use serde_json::{Value as Json, json};

use crate::cli::Show;
use crate::report::Failure;
use crate::seeds::SEED_BYTES_MAX;
use crate::shown;

pub(crate) fn run(args: &Show) -> Result<ExitCode, Failure> {
    let (text, json) = match split_point(&args.thing) {
        (path, Some(seq)) => show_record(&path, seq)?,
        (path, None) if path.is_dir() => match &args.object {
            Some(id) => show_object(&path, id)?,
            None => show_machine(&path)?,
        },
        (path, None) => show_seed(&path)?,
    };
    let mut out = io::stdout().lock();
    if args.json {
        writeln!(out, "{json}")?;
    } else {
        write!(out, "{text}")?;
    }
    Ok(ExitCode::SUCCESS)
}

/// A point `MACHINE@SEQ`, unless a path of the whole name exists.
fn split_point(thing: &Path) -> (PathBuf, Option<Seq>) {
    let whole = (thing.to_owned(), None);
    if thing.exists() {
        return whole;
    }
    let Some((machine, seq)) = thing.to_str().and_then(|text| text.rsplit_once('@')) else { return whole };
    seq.parse().map_or(whole, |seq| (PathBuf::from(machine), Some(Seq(seq))))
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
        what: format!("{} has no record with seq {seq}; it ends before seq {}", path.display(), reading.branch().end),
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
    let note = match behind {
        0 => format!("{} at seq {}\n", path.display(), checkpoint.end),
        _ => format!("{} at its checkpoint before seq {}, {behind} records ago\n", path.display(), checkpoint.end),
    };
    Ok((note + &text, json))
}

fn show_seed(path: &Path) -> Result<(String, Json), Failure> {
    let bytes = std::fs::read(path).map_err(|source| Failure::Read { path: path.to_owned(), source })?;
    if !pack::is_pack(&bytes) {
        return Err(Failure::NotASeed { path: path.to_owned() });
    }
    let mut count = 0_u64;
    let mut total = 0_u64;
    let mut last = Vec::new();
    let root = pack::read(&bytes, SEED_BYTES_MAX, &|_| false, &mut |_, object| {
        count += 1;
        total += object.len() as u64;
        last = object;
        Ok(())
    });
    let (domain, id) = root.map_err(|source| Failure::Unpack { path: path.to_owned(), source })?;
    let (text, json) = describe(domain, &id, &last);
    Ok((format!("seed {}: {count} objects, {total} bytes, {} packed\n{text}", path.display(), bytes.len()), json))
}

/// An object whose id starts with some digits.
fn show_object(path: &Path, start: &str) -> Result<(String, Json), Failure> {
    let start = start.trim_end_matches('.').to_ascii_lowercase();
    let reading = Reading::open(path)?;
    let mut found: Vec<(Id, Domain)> = Vec::new();
    reading
        .store()
        .scan(Table::Objects, &[], &mut |key, frame| {
            if let (Some(id), Some(domain)) = (Id::from_bytes(key), domain_of(frame)) {
                let whole = format!("{id:x}");
                if whole.starts_with(&start) || shown::hex(id.digest()).starts_with(&start) {
                    found.push((id, domain));
                }
            }
            if found.len() > 1 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })
        .map_err(persist::machine::MachineError::from)?;
    match found.as_slice() {
        [(id, domain)] => {
            let bytes = load(reading.store(), *domain, id)?;
            Ok(describe(*domain, id, &bytes))
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
        return (shown::image_text(&image), with(json, "image", image_json(&image)));
    }
    if let Ok(program) = Program::decode(bytes) {
        return (shown::program_text(&program), json);
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

fn image_json(image: &Image) -> Json {
    let processes: Vec<Json> = image
        .processes
        .iter()
        .map(|process| {
            let memories = process.state.iter().flat_map(|state| &state.memories);
            json!({
                "booted": process.state.is_some(),
                "memories": memories.map(|memory| json!({
                    "bytes": memory.pages * 4096, "root": memory.root.map(|root| format!("{root:x}")),
                })).collect::<Vec<_>>(),
                "next_reply": process.ledger.next_reply.0,
                "next_effect": process.ledger.next_effect.0,
                "again": process.ledger.again,
            })
        })
        .collect();
    json!({
        "interface": image.interface, "code": format!("{:x}", image.code), "genesis": format!("{:x}", image.genesis),
        "limits": shown::limits_json(&image.limits),
        "grants": image.grants.iter().map(|grant| json!({ "port": grant.port.0, "name": grant.name })).collect::<Vec<_>>(),
        "processes": processes,
    })
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
