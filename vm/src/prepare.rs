//! Makes a machine of a module: a deterministic rewrite, a pure function of bytes.
//!
//! (header to come)

mod boot;
mod drops;
mod edits;
mod emit;
mod interface;
mod names;
mod nan;
mod plan;
mod refusal;
mod state;
mod survey;
#[cfg(test)]
mod tests;

pub use self::names::Shown;
pub use self::refusal::{Construct, FunctionPlace, Mistaken, Place, Refusal, Signature};
pub use self::state::{
    FunctionState, GlobalRole, GlobalState, INIT, MemoryState, REDROP, RESERVED, StateMap, TableState, ValueType,
};

use self::edits::Edits;
use self::plan::Plan;
use self::survey::{Body, BodyFacts};

/// The number of this rewrite. Whatever changes the bytes it makes raises it: machines record it with every epoch.
pub const PREPARATION_VERSION: u32 = 1;

/// A module ready to be a machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prepared {
    /// The rewritten module.
    pub module: Vec<u8>,
    /// Where its state is.
    pub state: StateMap,
}

/// Rewrites a module, or says why it cannot be a machine. The same bytes give the same bytes.
pub fn prepare(wasm: &[u8]) -> Result<Prepared, Refusal> {
    let survey = survey::survey(wasm)?;
    let plan = plan::plan(&survey).map_err(|error| Refusal::of_validation(wasm, error))?;
    let module = emit::emit(&survey, &plan)?;
    // What was inserted may have pushed a function over a limit; nothing else can be wrong.
    survey::validate(&module).map_err(|error| Refusal::of_prepared(&module, error))?;
    let state = plan.state;
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
const PASSES: &[Pass] =
    &[Pass { applies: nan::applies, run: nan::run }, Pass { applies: drops::applies, run: drops::run }];
