//! Every figure of docs/bench.md: `cargo bench`, or `cargo bench -p bench -- WORD...` for those sections whose name has a word in it.

fn main() {
    bench::main();
}
