//! Golden vectors as text: written, and read back. `seed` and `boot` include this, each for files of its own.

use std::collections::BTreeMap;

use seed::cbor::Value;

/// A vector: its name, what people read, and its bytes.
pub(crate) struct Vector {
    pub(crate) name: String,
    pub(crate) readable: String,
    pub(crate) bytes: Vec<u8>,
}

/// A vector of an encoded value.
pub(crate) fn vector(name: impl Into<String>, bytes: Vec<u8>) -> Vector {
    let readable = diagnostic(&Value::decode(&bytes).unwrap(), 0);
    Vector { name: name.into(), readable, bytes }
}

/// The same, with what it means.
pub(crate) fn explained(name: impl Into<String>, meaning: &str, bytes: Vec<u8>) -> Vector {
    let Vector { name, readable, bytes } = vector(name, bytes);
    Vector { name, readable: format!("{meaning}\n{readable}"), bytes }
}

/// RFC 8949 diagnostic notation, arrays of arrays on lines of their own.
pub(crate) fn diagnostic(value: &Value, indent: usize) -> String {
    match value {
        Value::Uint(number) => number.to_string(),
        Value::Bytes(bytes) => format!("h'{}'", to_hex(bytes)),
        Value::Text(text) => format!("{text:?}"),
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(|item| diagnostic(item, indent + 2)).collect();
            if items.iter().map(String::len).sum::<usize>() <= 100 {
                return format!("[{}]", items.join(", "));
            }
            let margin = " ".repeat(indent);
            let lines: Vec<String> = items.iter().map(|item| format!("{margin}  {item}")).collect();
            format!("[\n{}\n{margin}]", lines.join(",\n"))
        }
    }
}

/// A file of vectors, which begins with this line.
pub(crate) fn render(first: &str, vectors: &[Vector]) -> String {
    let mut text = format!("# {first}\n");
    for Vector { name, readable, bytes } in vectors {
        text.push_str(&format!("\n## {name}\n{readable}\n"));
        bytes.chunks(64).for_each(|line| text.push_str(&format!("hex {}\n", to_hex(line))));
    }
    text
}

/// The bytes of the vectors in a file, by name.
pub(crate) fn parse(text: &str) -> BTreeMap<String, Vec<u8>> {
    let mut vectors: BTreeMap<String, String> = BTreeMap::new();
    let mut name = "";
    for line in text.lines() {
        if let Some(heading) = line.strip_prefix("## ") {
            name = heading;
            assert!(vectors.insert(name.to_owned(), String::new()).is_none(), "{name} is there twice");
        } else if let Some(digits) = line.strip_prefix("hex ") {
            vectors.get_mut(name).unwrap().push_str(digits);
        }
    }
    vectors.into_iter().map(|(name, digits)| (name, from_hex(&digits))).collect()
}

/// Bytes as hexadecimal digits.
pub(crate) fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Hexadecimal digits as bytes.
pub(crate) fn from_hex(digits: &str) -> Vec<u8> {
    let digits: Vec<u8> = digits.chars().map(|digit| u8::try_from(digit.to_digit(16).unwrap()).unwrap()).collect();
    assert!(digits.len().is_multiple_of(2));
    digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}
