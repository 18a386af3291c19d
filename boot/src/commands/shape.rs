//! What kind of value something is, and of what parts, in a line.

use lang::Value;
use lang::text::symbol_of;
use lang::value::Shape;

/// How many parts are told of.
const PARTS_MAX: usize = 6;

/// In words, looking so deep.
pub(super) fn shape(value: &Value, depth: usize) -> String {
    let parts = |parts: &mut dyn Iterator<Item = &Value>, count: usize| -> String {
        if depth <= 1 || count == 0 {
            return String::new();
        }
        let told: Vec<String> = parts.take(PARTS_MAX).map(|part| shape(part, depth - 1)).collect();
        let is_alike = told.iter().all(|one| *one == told[0]);
        match (is_alike && count > 1 && count <= PARTS_MAX, count > PARTS_MAX) {
            (true, _) => format!(": each {}", told[0]),
            (false, true) => format!(": {}, ...", told.join(", ")),
            (false, false) => format!(": {}", told.join(", ")),
        }
    };
    match value.shape() {
        Some(Shape::Bar(bytes)) => match std::str::from_utf8(&bytes) {
            Ok(text) => format!("text of {}", counted(text.chars().count(), "character")),
            Err(_) => format!("bytes, {} of them", bytes.len()),
        },
        Some(Shape::Cow(_)) => "a maker of rows".to_owned(),
        Some(Shape::Row(row)) => format!("a row of {}{}", row.len(), parts(&mut row.iter(), row.len())),
        Some(Shape::Set(keys)) => format!("a set of {}{}", keys.len(), parts(&mut keys.iter(), keys.len())),
        Some(Shape::Tab(keys, values)) => {
            let entries = if keys.len() == 1 { "entry" } else { "entries" };
            format!("a table of {} {entries}{}", keys.len(), parts(&mut values.iter(), keys.len()))
        }
        None => other(value),
    }
}

fn other(value: &Value) -> String {
    let function = |name: Option<String>, arity: String| {
        let name = name.filter(|name| !name.is_empty()).map_or(String::new(), |name| format!(" {name}"));
        format!(
            "a function{name} of {}",
            if arity == "1" { "1 argument".to_owned() } else { format!("{arity} arguments") }
        )
    };
    match value {
        Value::Nat(nat) => {
            format!("a number of {}", counted(usize::try_from(nat.bit_count()).unwrap_or(usize::MAX), "bit"))
        }
        Value::Law(law) => function(symbol_of(law.name()), law.arity().to_string()),
        Value::Pin(pin) => match pin.content() {
            Value::Law(_) if pin.content().shape().is_none() => other(pin.content()),
            content => format!("a pin of {}", shape(content, 1)),
        },
        Value::App(app) => {
            format!("{} that has {} of them", shape(app.head(), 1), app.args().len())
        }
    }
}

fn counted(count: usize, what: &str) -> String {
    if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") }
}
