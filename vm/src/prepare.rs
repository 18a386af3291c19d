//! Makes a machine of a module: a deterministic rewrite, versioned, a pure function of the module's bytes.
//!
//! ```wat
//! (module                                           (module
//!   (memory (export "memory") 1)                      (memory (export "memory") (export "abide:m0") 1)
//!   (global $n (mut i32) (i32.const 0))               (global $n (export "abide:g0") (mut i32) (i32.const 0))
//!   (table $const 1 funcref)                          (table $const 1 funcref)
//!   (elem (table $const) (i32.const 0) $f)            (elem (table $const) (i32.const 0) $f)
//!   (table $t 2 funcref)                              (table $t (export "abide:t1") 2 funcref)
//!   (elem (table $t) (i32.const 0) func $f)           (elem $1 func $f)
//!   (data (i32.const 8) "abc")                        (data $0 "abc")
//!   (start $main)                                     (func (export "abide:init") ...)
//!   (func $f ...)                                     (func (export "abide:redrop") ...)
//!   ...                                               (func $f (export "abide:f0") ...)
//!                                                     (memory (export "abide:stop") 16 16)
//! ```
//!
//! # State
//!
//! Everything an instance can come to differ in from another is exported, and listed in [`StateMap`]. Indices stay as they are:
//! whatever is added comes last. A table that no instruction writes is filled by instantiation, as ever, and is not state. All
//! else that instantiation would write (memories, the other tables, what the start function does) is written by [`INIT`] instead, called
//! once in a machine's life; a restored instance skips it. Whether a segment is dropped is state if some instruction can tell: a global
//! says so, and [`REDROP`] drops again what was dropped. Functions are exported if captured references can be to them.
//!
//! # Stopping
//!
//! Loops and functions that call read a memory that is added for nothing else, and is no state, so that the host can stop them by taking it away:
//! see `polls.rs`; `cargo bench -- guests` has what it costs.
//!
//! # NaNs
//!
//! The specification leaves open which NaN an arithmetic operation makes: processors differ in its sign, and in whose payload
//! it has. On the other hand it promises that moves (loads, stores, locals, calls, `select`, `neg`, `abs`, `copysign`,
//! reinterpretation) keep every bit: programs copy arbitrary bytes through floats. So neither every operation (4 to 8 times slower on number
//! crunching) nor every store (wrong for moves) settles NaNs here. Instead, within each function:
//!
//! * A graph has a node for each float or vector that an instruction leaves on the stack, each local and each value a label
//!   receives, and an edge wherever bits are moved from one to the other (`nan/flow.rs`).
//! * A set for each node says which NaNs it can hold (`nan/graph.rs`): *determined* ones (loaded, passed in, returned, constant), and those an operation
//!   made, as singles or doubles, as made or negated. Zero-initialised locals, conversions of integers and constants hold none.
//! * A node is observed if its bits may show: stored, set in a global, reinterpreted, passed to or returned from a
//!   function, operand of `copysign` or of a vector instruction that is not of the same shape. Arithmetic, comparison and conversion observe nothing.
//! * An observed node all of whose NaNs some operation made is replaced by the canonical NaN if it is one. If it can hold determined
//!   ones as well, the nodes that flow into it are taken in its place, back to where operations made them.
//!
//! Replacing late is as if the operation had made the canonical NaN in the first place, which the specification allows: all copies
//! of the value are replaced alike, and where it was negated on the way, by the negated canonical one. Values that cross functions are settled,
//! so functions are looked at one by one. Dead code is left alone. A function whose graph would be too large to bound is settled at every operation.
//!
//! Measured on kernels compiled by clang: nbody 1.35, sums of products stored one by one 1.23, vectors of the same 1.4, FFT 1.04, matrix
//! product 1.01, Mandelbrot and everything with integers 1.00 times the time of the plain module; the engine's own option costs
//! 7.1, 3.1, 2.4, 1.7, 8, 5 on those.
//!
//! # Refused
//!
//! Whatever cannot be captured or differs between hosts, and whatever is not the machine interface's: see [`Refusal`]. Nothing that was
//! not refused fails to compile, save by a limit of the engine that is not WebAssembly's. No input panics or takes time or memory out of
//! proportion to its size.

mod boot;
mod drops;
mod edits;
mod emit;
mod interface;
mod memo;
mod names;
mod nan;
mod plan;
mod polls;
mod refusal;
mod state;
mod survey;
#[cfg(test)]
mod tests;

pub use self::memo::Memo;
pub use self::names::Shown;
pub use self::refusal::{Construct, FunctionPlace, Mistaken, Place, Refusal, Signature};
pub use self::state::{
    FunctionState, GlobalRole, GlobalState, INIT, MemoryState, REDROP, RESERVED, STOP, STOP_PAGES, StateMap,
    TableState, ValueType,
};

use std::sync::Arc;

use self::edits::Edits;
use self::plan::Plan;
use self::survey::{Body, BodyFacts};

/// The number of this rewrite. Whatever changes the bytes it makes raises it: machines record it with every epoch.
pub const PREPARATION_VERSION: u32 = 2;

/// A module ready to be a machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prepared {
    /// The rewritten module.
    pub module: Vec<u8>,
    /// Where its state is.
    pub state: Arc<StateMap>,
}

/// Rewrites a module, or says why it cannot be a machine. The same bytes give the same bytes.
pub fn prepare(wasm: &[u8]) -> Result<Prepared, Refusal> {
    let survey = survey::survey(wasm)?;
    let plan = plan::plan(&survey).map_err(|error| Refusal::of_validation(wasm, error))?;
    let module = emit::emit(&survey, &plan)?;
    // What was inserted may have pushed a function over a limit; nothing else can be wrong.
    survey::validate(&module).map_err(|error| Refusal::of_prepared(&module, error))?;
    let state = Arc::new(plan.state);
    Ok(Prepared { module, state })
}

/// A rewrite of function bodies.
struct Pass {
    /// Whether there is anything for it in a body.
    applies: fn(BodyFacts) -> bool,
    /// Asks for its edits.
    run: fn(&Plan, &Body<'_>, &mut Edits) -> wasmparser::Result<()>,
}

/// In order. Edits of an earlier pass come first where two edit the same place.
const PASSES: &[Pass] = &[
    Pass { applies: nan::applies, run: nan::run },
    Pass { applies: drops::applies, run: drops::run },
    Pass { applies: polls::applies, run: polls::run },
];
