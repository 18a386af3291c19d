//! Values in the words of a failed assertion: the beginning of a value, as it is, whatever its size.

use std::fmt;

use super::Value;

/// How many parts are shown.
const PARTS_MAX: usize = 200;

enum Piece<'a> {
    Part(&'a Value),
    Mark(&'static str),
}

/// `12`, `<hash>`, `{name arity body}`, `(f x y)`.
impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut left = vec![Piece::Part(self)];
        let mut parts = 0;
        while let Some(piece) = left.pop() {
            let part = match piece {
                Piece::Mark(mark) => {
                    f.write_str(mark)?;
                    continue;
                }
                Piece::Part(part) => part,
            };
            parts += 1;
            if parts > PARTS_MAX {
                return f.write_str("…");
            }
            match part {
                Value::Nat(nat) => fmt::Debug::fmt(nat, f)?,
                Value::Pin(pin) => write!(f, "<{}>", pin.hash())?,
                Value::Law(law) => {
                    write!(f, "{{{:?} {:?} ", law.name(), law.arity())?;
                    left.extend([Piece::Mark("}"), Piece::Part(law.body())]);
                }
                Value::App(app) => {
                    f.write_str("(")?;
                    left.push(Piece::Mark(")"));
                    // No more than can be shown.
                    for arg in app.args().iter().take(PARTS_MAX).rev() {
                        left.extend([Piece::Part(arg), Piece::Mark(" ")]);
                    }
                    left.push(Piece::Part(app.head()));
                }
            }
        }
        Ok(())
    }
}
