//! Quoted forms: names are symbols, lists are rows, and everything else is what it is.

use super::environment::Environment;
use crate::text::{FormId, Forms, Kind, Problem, TextError};
use crate::value::Value;

/// The value of a quoted form.
pub(super) fn quote(forms: &Forms, id: FormId, environment: &Environment) -> Result<Value, TextError> {
    let mut done: Vec<Value> = Vec::new();
    let mut left = vec![(id, false)];
    while let Some((id, is_taken_apart)) = left.pop() {
        let kids = forms.kids(id);
        if !is_taken_apart && !kids.is_empty() {
            left.push((id, true));
            left.extend(kids.iter().rev().map(|id| (*id, false)));
            continue;
        }
        let parts = done.split_off(done.len() - kids.len());
        done.push(made(forms, id, parts, environment).map_err(|problem| TextError { span: forms.span(id), problem })?);
    }
    Ok(done.pop().unwrap_or_default())
}

fn made(forms: &Forms, id: FormId, mut parts: Vec<Value>, environment: &Environment) -> Result<Value, Problem> {
    Ok(match forms.kind(id) {
        Kind::Nat => forms.as_nat(id).map(Value::Nat).ok_or(Problem::Number)?,
        Kind::Text | Kind::Bytes => Value::bar(&forms.as_bytes(id).ok_or(Problem::Bytes)?),
        Kind::Name => Value::symbol(forms.text(id)),
        Kind::Pin => {
            let pin = forms.as_pin(id).and_then(|hash| environment.pin(hash));
            pin.cloned().ok_or(Problem::UnknownPin)?
        }
        Kind::Quote => {
            parts.insert(0, Value::symbol("quote"));
            Value::row(parts)
        }
        Kind::Table => table(parts)?,
        Kind::Set => Value::set(parts).map_err(|_| Problem::DuplicateKey("an element is"))?,
        Kind::Frozen => frozen(parts)?,
        Kind::List | Kind::Row | Kind::Discard | Kind::Comment { .. } => Value::row(parts),
    })
}

/// The table of keys and values in turn.
pub(super) fn table(parts: Vec<Value>) -> Result<Value, Problem> {
    let (pairs, odd) = parts.as_chunks::<2>();
    if !odd.is_empty() {
        return Err(Problem::OddTable);
    }
    let pairs = pairs.iter().map(|[key, value]| (key.clone(), value.clone())).collect();
    Value::tab(pairs).map_err(|_| Problem::DuplicateKey("a key is"))
}

/// The application of the first to the others, as it is.
pub(super) fn frozen(mut parts: Vec<Value>) -> Result<Value, Problem> {
    // Making one application of two takes the arguments of the inner one again: in a text of many that would be its square.
    if parts.len() < 2 || matches!(parts[0], Value::App(_)) {
        return Err(Problem::Shape {
            form: "#(",
            shape: "#(function argument ..), the function being no application itself",
        });
    }
    let args = parts.split_off(1);
    let value = Value::app(parts.pop().unwrap_or_default(), args);
    if value.arity().is_zero() { Err(Problem::NotNormal) } else { Ok(value) }
}
