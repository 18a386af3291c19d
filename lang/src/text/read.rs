//! From tokens to forms: which bracket closes which.

use super::error::{Problem, Span, TextError};
use super::forms::{Form, FormId, Forms, Kind};
use super::token::{Fault, Token, token};

/// Reads a text. Comments and what `#_` leaves out are left out.
pub fn read(source: &str) -> Result<Forms, TextError> {
    Reader::new(source, false).read()
}

/// Reads a text with its comments and all that is left out.
pub(super) fn read_all(source: &str) -> Result<Forms, TextError> {
    Reader::new(source, true).read()
}

/// A form that is begun.
struct Begun {
    kind: Kind,
    span: Span,
    is_apart: bool,
    /// How many forms were waiting when it began: those after them are its own.
    outside: usize,
}

struct Reader<'a> {
    source: &'a str,
    forms: Forms,
    keeps_all: bool,
    begun: Vec<Begun>,
    waiting: Vec<FormId>,
    /// Line ends since the last token.
    lines: usize,
}

impl<'a> Reader<'a> {
    fn new(source: &'a str, keeps_all: bool) -> Self {
        let forms = Forms { source: source.to_owned(), forms: Vec::new(), kids: Vec::new(), top: Vec::new() };
        // Nothing is before the first token: it begins a line.
        Self { source, forms, keeps_all, begun: Vec::new(), waiting: Vec::new(), lines: 1 }
    }

    fn read(mut self) -> Result<Forms, TextError> {
        let source = self.source;
        if u32::try_from(source.len()).is_err() {
            return Err(TextError { span: Span::default(), problem: Problem::SourceTooLarge });
        }
        let mut rest = source;
        while !rest.is_empty() {
            let (after, token) = token(rest).map_err(|error| fault(source, error))?;
            let span = span(source, rest.len(), after.len());
            self.take(token, span)?;
            self.lines = if let Token::Space { lines } = token { self.lines + lines } else { 0 };
            rest = after;
        }
        if let Some(begun) = self.begun.last() {
            let open = begun.kind.marks().0;
            let problem = if is_prefix(begun.kind) { Problem::NothingFollows(open) } else { Problem::Unclosed(open) };
            return Err(TextError { span: begun.span, problem });
        }
        self.forms.top = self.waiting;
        Ok(self.forms)
    }

    fn take(&mut self, token: Token, span: Span) -> Result<(), TextError> {
        let is_apart = self.lines > 1;
        match token {
            Token::Space { .. } => {}
            Token::Comment if self.keeps_all => self.comment(span),
            Token::Comment => {}
            Token::Open(kind) | Token::Prefix(kind) => {
                self.begun.push(Begun { kind, span, is_apart, outside: self.waiting.len() });
            }
            Token::Close(close) => self.close(close, span)?,
            Token::Atom(kind) => {
                let id = self.add(Form { kind, span, is_apart, kids: (0, 0) });
                self.done(id);
            }
        }
        Ok(())
    }

    fn comment(&mut self, span: Span) {
        let kind = Kind::Comment { is_trailing: self.lines == 0 };
        let id = self.add(Form { kind, span, is_apart: self.lines > 1, kids: (0, 0) });
        self.aside(id);
    }

    /// What is not read stands where it stands, but not between a mark and its form: there, before the mark.
    fn aside(&mut self, id: FormId) {
        let mut at = self.waiting.len();
        for begun in self.begun.iter_mut().rev().take_while(|begun| is_prefix(begun.kind)) {
            at = begun.outside;
            begun.outside += 1;
        }
        self.waiting.insert(at, id);
    }

    fn close(&mut self, found: char, span: Span) -> Result<(), TextError> {
        let Some(begun) = self.begun.pop() else {
            return Err(TextError { span, problem: Problem::Unopened(found) });
        };
        let (open, close) = begun.kind.marks();
        match close.chars().next() {
            Some(close) if close == found => {
                let id = self.wrap(&begun, span.end);
                self.done(id);
                Ok(())
            }
            Some(close) => Err(TextError { span, problem: Problem::Mismatched { found, open, close } }),
            None => Err(TextError { span: begun.span, problem: Problem::NothingFollows(open) }),
        }
    }

    /// A form is complete, and with it the marks before it.
    fn done(&mut self, mut id: FormId) {
        loop {
            match self.begun.pop_if(|begun| is_prefix(begun.kind)) {
                None => return self.waiting.push(id),
                Some(begun) if begun.kind == Kind::Discard && !self.keeps_all => return,
                Some(begun) => {
                    self.waiting.push(id);
                    id = self.wrap(&begun, self.forms.span(id).end);
                    if begun.kind == Kind::Discard {
                        return self.aside(id);
                    }
                }
            }
        }
    }

    /// The form that was begun, with what has come since.
    fn wrap(&mut self, begun: &Begun, end: u32) -> FormId {
        let start = self.forms.kids.len();
        self.forms.kids.extend(self.waiting.drain(begun.outside..));
        let kids = (index(start), index(self.forms.kids.len()));
        let span = Span { start: begun.span.start, end };
        self.add(Form { kind: begun.kind, span, is_apart: begun.is_apart, kids })
    }

    fn add(&mut self, form: Form) -> FormId {
        self.forms.forms.push(form);
        FormId(index(self.forms.forms.len() - 1))
    }
}

/// There are no more forms than bytes, and bytes are counted in 32 bits.
fn index(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

fn is_prefix(kind: Kind) -> bool {
    matches!(kind, Kind::Quote | Kind::Discard)
}

fn span(source: &str, left_before: usize, left_after: usize) -> Span {
    Span { start: index(source.len() - left_before), end: index(source.len() - left_after) }
}

fn fault(source: &str, error: nom::Err<Fault>) -> TextError {
    match error {
        nom::Err::Error(fault) | nom::Err::Failure(fault) => {
            let start = source.len() - fault.left;
            // What is marked ends where a character does.
            let end = source.ceil_char_boundary((start + fault.length).min(source.len()));
            TextError { span: Span { start: index(start), end: index(end) }, problem: fault.problem }
        }
        nom::Err::Incomplete(_) => TextError { span: Span::default(), problem: Problem::Unclosed("(") },
    }
}
