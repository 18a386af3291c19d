//! The base library: its files. The evaluator does some of its functions itself: those that have a jet of their name.

/// The files, each after those that it imports.
pub const FILES: [(&str, &str); 18] = [
    ("core", include_str!("../base/core.abide")),
    ("numbers", include_str!("../base/numbers.abide")),
    ("order", include_str!("../base/order.abide")),
    ("rows", include_str!("../base/rows.abide")),
    ("lists", include_str!("../base/lists.abide")),
    ("bytes", include_str!("../base/bytes.abide")),
    ("options", include_str!("../base/options.abide")),
    ("text", include_str!("../base/text.abide")),
    ("sets", include_str!("../base/sets.abide")),
    ("tables", include_str!("../base/tables.abide")),
    ("parsing", include_str!("../base/parsing.abide")),
    ("json", include_str!("../base/json.abide")),
    ("cbor", include_str!("../base/cbor.abide")),
    ("machine", include_str!("../base/machine.abide")),
    ("http", include_str!("../base/http.abide")),
    ("tcp", include_str!("../base/tcp.abide")),
    ("files", include_str!("../base/files.abide")),
    ("threads", include_str!("../base/threads.abide")),
];
