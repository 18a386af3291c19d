//! Where lines break: the one layout of a text, whatever layout it had.
//!
//! What fits on the line stays on the line. Of a list that does not, the head and the form after it stay with the bracket, and of
//! some kinds one more; the rest goes below, two places in: definitions keep their names and parameters, `let` its bindings,
//! `case` what it looks at. Bindings, cases and tables go by pairs; rows, sets and the like stand below their first element,
//! and if they have nothing but atoms in them fill their lines. A comment keeps its place, after a form or on lines of its own.

use super::error::TextError;
use super::forms::{FormId, Forms, Kind};
use super::read::read_all;

/// How wide a line may be.
pub const WIDTH: usize = 100;

/// No line begins further to the right than this, so that depth does not cost its square.
const INDENT_MAX: usize = 60;

/// Lays out a text.
pub fn format(source: &str, width: usize) -> Result<String, TextError> {
    let forms = read_all(source)?;
    let mut layout =
        Layout { widths: widths(&forms), forms: &forms, width, out: String::with_capacity(source.len()), column: 0 };
    for (index, id) in forms.top().iter().enumerate() {
        let form = forms.get(*id);
        match form.kind {
            // Not after another comment, whose line has no end but its own.
            Kind::Comment { is_trailing: true } if index > 0 && !is_comment(&forms, forms.top()[index - 1]) => {
                layout.text("  ");
            }
            _ if index > 0 => {
                layout.new_line(0);
                if form.is_apart {
                    layout.new_line(0);
                }
            }
            _ => {}
        }
        layout.form(*id);
    }
    if !layout.out.is_empty() {
        layout.out.push('\n');
    }
    Ok(layout.out)
}

/// Of each form, how wide it is on one line; nothing that contains a comment fits on one.
fn widths(forms: &Forms) -> Vec<usize> {
    let mut widths: Vec<usize> = Vec::with_capacity(forms.forms.len());
    // What is in a form comes before it.
    for index in 0..forms.forms.len() {
        let form = forms.forms[index];
        let width = match form.kind {
            Kind::Comment { .. } => usize::MAX,
            kind if kind.is_atom() => form.span.of(&forms.source).chars().count(),
            kind => {
                let kids = &forms.kids[form.kids.0 as usize..form.kids.1 as usize];
                let marks = kind.marks().0.len() + kind.marks().1.len();
                let inner = kids.iter().fold(0usize, |sum, kid| sum.saturating_add(widths[kid.0 as usize]));
                inner.saturating_add(marks + kids.len().saturating_sub(1))
            }
        };
        widths.push(width);
    }
    widths
}

/// How the forms in a form that is too wide follow one another.
#[derive(Clone, Copy)]
struct Style {
    /// How many stay on the first line.
    first: usize,
    /// From which on they go by pairs, if they do.
    pairs_from: Option<usize>,
    /// Whether those on later lines stand two places in from the bracket, or below the first form.
    is_body: bool,
    /// Whether lines are filled.
    is_filled: bool,
}

/// What is left to write.
enum Task {
    Form {
        id: FormId,
        closing: usize,
        style: Option<Style>,
    },
    Text(&'static str),
    /// The rest of the forms in one.
    Rest(Rest),
}

struct Rest {
    of: FormId,
    style: Style,
    indent: usize,
    /// The next one, and how many before it are no comments.
    next: usize,
    counted: usize,
    /// How many brackets close after the last one.
    closing: usize,
}

struct Layout<'a> {
    forms: &'a Forms,
    widths: Vec<usize>,
    width: usize,
    out: String,
    column: usize,
}

impl Layout<'_> {
    fn text(&mut self, text: &str) {
        self.out.push_str(text);
        self.column += text.chars().count();
    }

    fn new_line(&mut self, indent: usize) {
        let indent = indent.min(INDENT_MAX);
        self.out.push('\n');
        self.out.extend(std::iter::repeat_n(' ', indent));
        self.column = indent;
    }

    fn form(&mut self, id: FormId) {
        let mut tasks = vec![Task::Form { id, closing: 0, style: None }];
        while let Some(task) = tasks.pop() {
            match task {
                Task::Text(text) => self.text(text),
                Task::Form { id, closing, style } => self.begin(id, closing, style, &mut tasks),
                Task::Rest(rest) => self.go_on(rest, &mut tasks),
            }
        }
    }

    fn begin(&mut self, id: FormId, closing: usize, style: Option<Style>, tasks: &mut Vec<Task>) {
        let form = self.forms.get(id);
        let width = self.widths[id.0 as usize];
        match form.kind {
            Kind::Comment { .. } => self.text(form.span.of(&self.forms.source).trim_end()),
            kind if kind.is_atom() => {
                self.out.push_str(form.span.of(&self.forms.source));
                self.column += width;
            }
            Kind::Quote | Kind::Discard => {
                self.text(form.kind.marks().0);
                tasks.extend(self.forms.kids(id).iter().map(|id| Task::Form { id: *id, closing, style: None }));
            }
            kind if self.column.saturating_add(width).saturating_add(closing) <= self.width => {
                let kids = self.forms.kids(id);
                self.text(kind.marks().0);
                tasks.push(Task::Text(kind.marks().1));
                for (index, kid) in kids.iter().enumerate().rev() {
                    tasks.push(Task::Form { id: *kid, closing: 0, style: None });
                    tasks.extend((index > 0).then_some(Task::Text(" ")));
                }
            }
            kind => {
                let style = style.unwrap_or_else(|| self.style(id));
                let indent = self.column.min(INDENT_MAX) + if style.is_body { 2 } else { kind.marks().0.len() };
                self.text(kind.marks().0);
                tasks.push(Task::Rest(Rest { of: id, style, indent, next: 0, counted: 0, closing }));
            }
        }
    }

    /// Writes the next form of a form that is too wide.
    fn go_on(&mut self, rest: Rest, tasks: &mut Vec<Task>) {
        let kids = self.forms.kids(rest.of);
        let close = self.forms.kind(rest.of).marks().1;
        let was_comment = rest.next > 0 && is_comment(self.forms, kids[rest.next - 1]);
        let Some(id) = kids.get(rest.next).copied() else {
            if was_comment {
                self.new_line(rest.indent);
            }
            return self.text(close);
        };
        let is_last = rest.next + 1 == kids.len();
        let closing = if is_last { rest.closing + 1 } else { 0 };
        let mut counted = rest.counted + 1;
        if let Kind::Comment { is_trailing } = self.forms.kind(id) {
            counted = rest.counted;
            match is_trailing && !was_comment {
                true if rest.next > 0 => self.text("  "),
                true => {}
                false => self.new_line(rest.indent),
            }
        } else if was_comment {
            self.new_line(rest.indent);
        } else if rest.next > 0 {
            let style = rest.style;
            let is_value = style.pairs_from.is_some_and(|from| rest.counted > from && (rest.counted - from) % 2 == 1);
            let fits = style.is_filled && self.column + 1 + self.widths[id.0 as usize] + closing <= self.width;
            if rest.counted < style.first || is_value || fits {
                self.text(" ");
            } else {
                self.new_line(rest.indent);
            }
        }
        let is_bindings = rest.counted == 1 && self.head(rest.of) == Some("let") && self.forms.kind(id) == Kind::List;
        let style = is_bindings.then_some(Style { first: 1, pairs_from: Some(0), is_body: false, is_filled: false });
        tasks.push(Task::Rest(Rest { next: rest.next + 1, counted, ..rest }));
        tasks.push(Task::Form { id, closing, style });
    }

    fn head(&self, id: FormId) -> Option<&str> {
        let first = self.forms.kids(id).first()?;
        self.forms.as_name(*first).filter(|_| self.forms.kind(id) == Kind::List)
    }

    fn style(&self, id: FormId) -> Style {
        let kids = self.forms.kids(id);
        let body = |first| Style { first, pairs_from: None, is_body: true, is_filled: false };
        match (self.forms.kind(id), self.head(id)) {
            (_, Some("law")) => body(3),
            (_, Some("do")) => body(1),
            // A function may have a name before its parameters.
            (_, Some("fn")) => {
                body(if kids.get(1).is_some_and(|id| self.forms.kind(*id) == Kind::Name) { 3 } else { 2 })
            }
            (_, Some("case")) => Style { pairs_from: Some(2), ..body(2) },
            (_, Some(_)) => body(2),
            (Kind::Table, _) => Style { first: 1, pairs_from: Some(0), is_body: false, is_filled: false },
            _ => {
                let is_filled = kids.iter().all(|id| self.forms.kind(*id).is_atom());
                Style { first: 1, pairs_from: None, is_body: false, is_filled }
            }
        }
    }
}

fn is_comment(forms: &Forms, id: FormId) -> bool {
    matches!(forms.kind(id), Kind::Comment { .. })
}
