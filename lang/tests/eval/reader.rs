//! A few lines of notation for tests and measurements, so that programs can be read: no part of the language.
//!
//! `name a b = body`, one definition a line. A body is a slot's name, a number, an application `(f x y)`, a row `[x y]`, text
//! `"abc"` without spaces, the name of what is defined (its pinned law), or `(let x e body)`, at the top only.

use std::collections::HashMap;

use lang::{Nat, Value};

/// What has been defined.
#[derive(Default)]
pub(crate) struct Library {
    /// Pinned laws, by name.
    pub(crate) defined: HashMap<String, Value>,
}

enum Form {
    Name(String),
    List(Vec<Form>),
    Row(Vec<Form>),
}

fn tokens(text: &str) -> Vec<String> {
    let spaced: String =
        text.chars().flat_map(|c| if "()[]".contains(c) { vec![' ', c, ' '] } else { vec![c] }).collect();
    spaced.split_whitespace().rev().map(str::to_owned).collect()
}

fn form(tokens: &mut Vec<String>) -> Form {
    let token = tokens.pop().expect("a form");
    let (list, end) = match token.as_str() {
        "(" => (true, ")"),
        "[" => (false, "]"),
        _ => return Form::Name(token),
    };
    let mut found = Vec::new();
    while tokens.last().expect("it ends") != end {
        found.push(form(tokens));
    }
    tokens.pop();
    if list { Form::List(found) } else { Form::Row(found) }
}

fn apply(function: Value, argument: Value) -> Value {
    Value::app(Value::word(0), vec![function, argument])
}

/// A constant in the body of a law.
pub(crate) fn constant(value: Value) -> Value {
    Value::app(Value::word(2), vec![value])
}

impl Library {
    /// Defines laws, each pinned.
    pub(crate) fn define(&mut self, text: &str) -> &mut Self {
        for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with(';')) {
            let (head, body) = line.split_once('=').expect("name arguments = body");
            let names: Vec<String> = head.split_whitespace().map(str::to_owned).collect();
            let law = self.law(&names, &form(&mut tokens(body)));
            self.defined.insert(names[0].clone(), Value::pin(law).expect("small"));
        }
        self
    }

    /// What a name was defined as.
    pub(crate) fn get(&self, name: &str) -> Value {
        self.defined.get(name).unwrap_or_else(|| panic!("{name} is not defined")).clone()
    }

    /// A law; the first name is its own.
    fn law(&self, names: &[String], body: &Form) -> Value {
        let arity = names.len() - 1;
        let (mut scope, mut lets, mut body) = (names.to_vec(), Vec::new(), body);
        while let Form::List(parts) = body
            && let [Form::Name(first), Form::Name(name), value, rest] = parts.as_slice()
            && first == "let"
        {
            scope.push(name.clone());
            lets.push(value);
            body = rest;
        }
        let mut value = self.expr(&scope, body);
        for bound in lets.into_iter().rev() {
            value = Value::app(Value::word(1), vec![self.expr(&scope, bound), value]);
        }
        Value::law(Nat::symbol(&names[0]), Nat::word(arity as u64), value).expect("it has arguments")
    }

    fn expr(&self, scope: &[String], body: &Form) -> Value {
        match body {
            Form::Name(name) => {
                if let Some(slot) = scope.iter().rposition(|other| other == name) {
                    Value::word(slot as u64)
                } else if let Ok(number) = name.parse() {
                    constant(Value::word(number))
                } else if let Some(text) = name.strip_prefix('"') {
                    constant(Value::bar(text.trim_end_matches('"').as_bytes()))
                } else {
                    constant(self.get(name))
                }
            }
            Form::List(parts) => {
                let mut parts = parts.iter().map(|part| self.expr(scope, part));
                let function = parts.next().expect("a function");
                parts.fold(function, apply)
            }
            Form::Row(parts) => {
                let cow = constant(Value::cow(parts.len() as u64));
                parts.iter().rev().map(|part| self.expr(scope, part)).fold(cow, apply)
            }
        }
    }
}

/// Laws of jets, in primitives alone. Slow, and right.
pub(crate) const LAWS: &str = "
    id x = x
    k1 x y = x
    k2 x y z = x
    inc n = (3 n)
    dec n = (2 0 id n)
    nat n = (2 0 3 n)
    if c a b = (2 b (k1 a) c)
    ifz c a b = (2 a (k1 b) c)
    not n = (if n 0 1)
    bool n = (if n 1 0)
    and a b = (if a (bool b) 0)
    or a b = (if a 1 (bool b))
    k3 w x y z = w
    seq a b = (1 (k1 b) (k3 b) (k2 b) (k1 b) a)
    addp f b k = (3 (f k b))
    add a b = (2 (nat b) (addp add b) a)
    subp f a k = (f (dec a) k)
    sub a b = (seq a (2 (nat a) (subp sub a) b))
    mulp f b k = (add b (f k b))
    mul a b = (seq a (seq b (2 0 (mulp mul b) a)))
    lthq f j k = (f k j)
    lthp f a j = (2 1 (lthq f j) a)
    nlth a b = (2 0 (lthp nlth a) b)
    ncmp a b = (if (nlth a b) 0 (if (nlth b a) 2 1))
    kind x = (1 (k1 1) (k3 2) (k2 3) (k1 0) x)
    unpin x = (1 id (k3 0) (k2 0) (k1 0) x)
    nargsp f g y = (inc (f g))
    nargs x = (1 (k1 0) (k3 0) (nargsp nargs) (k1 0) x)
    thenp k c m = (2 k (k1 c) m)
    then c k = (2 0 (thenp k c) c)
    lawq f n a y m b z = (then (ncmp n m) (then (ncmp a b) (f y z)))
    lawp f b n a y = (1 (k1 1) (lawq f n a y) (k2 1) (k1 1) b)
    appq f s g y h z = (then (s f g h) (f y z))
    appp f s b g y = (1 (k1 1) (k3 1) (appq f s g y) (k1 1) b)
    spine f a b = (1 (k1 (f a b)) (k3 (f a b)) (appp f spine b) (k1 (f a b)) a)
    bykind3 f a b k = (then (ncmp (nargs a) (nargs b)) (spine f a b))
    bykind2 f a b k = (2 (1 (k1 1) (lawp f b) (k2 1) (k1 1) a) (bykind3 f a b) k)
    bykind1 f a b k = (2 (f (unpin a) (unpin b)) (bykind2 f a b) k)
    bykind f k a b = (2 (ncmp a b) (bykind1 f a b) k)
    compare a b = (then (ncmp (kind a) (kind b)) (bykind compare (kind a) a b))
    cmp a b = (seq a (seq b (seq (4 a) (seq (4 b) (compare a b)))))
    con a b = (if a 1 (bool b))
    isn a b = (not (con (nlth a b) (nlth b a)))
    lth a b = (isn 0 (cmp a b))
    eql a b = (isn 1 (cmp a b))
    gth a b = (isn 2 (cmp a b))
    lte a b = (not (gth a b))
    gte a b = (not (lth a b))
    neq a b = (not (eql a b))
    isnat x = (isn 0 (kind x))
    ispin x = (isn 1 (kind x))
    islaw x = (isn 2 (kind x))
    isapp x = (isn 3 (kind x))
    cow n = (0 0 (3 n) 0)
    len r = (nargs r)
    idxb f g k = (f k g)
    idxa f i g y = (2 y (idxb f g) i)
    idx i r = (seq i (1 (k1 0) (k3 0) (idxa idx i) (k1 0) r))
    get r i = (seq r (idx i r))
    putb f v g y k = (f k v g y)
    puta f i v g y = (2 (g v) (putb f v g y) i)
    put1 i v r = (1 (k1 r) (k3 r) (puta put1 i v) (k1 r) r)
    put i v r = (seq i (if (nlth i (len r)) (put1 i v r) r))
    ontop f c g y = (f c g y)
    onto c r = (1 (k1 c) (k3 c) (ontop onto c) (k1 c) r)
    weld a b = (onto (onto (cow (add (len a) (len b))) b) a)
    mapp m f g y = (m f g (f y))
    map f r = (1 (k1 r) (k3 r) (mapp map f) (k1 r) r)
    switch i e r = (seq i (seq r (if (nlth i (len r)) (idx i r) e)))
    divp f a b = (if (nlth a b) 0 (inc (f (sub a b) b)))
    div a b = (seq a (ifz b 0 (divp div a b)))
    mod a b = (seq a (ifz b 0 (sub a (mul b (div a b)))))
";
