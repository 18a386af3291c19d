//! The pass that settles NaNs.

mod canonical;
mod flow;
mod graph;
mod operations;

use wasmparser::Operator;

use self::canonical::Sign;
use self::operations::{Effect, effect};
use super::edits::Edits;
use super::plan::Plan;
use super::survey::{Body, BodyFacts};

/// Whether the bits of NaNs among an instruction's results are left open by the specification.
pub(super) fn is_unsettled(operator: &Operator<'_>) -> bool {
    matches!(effect(operator), Effect::Computes { .. })
}

/// Whether there is anything to do in a body.
pub(super) fn applies(facts: BodyFacts) -> bool {
    facts.unsettled_nans
}

/// Settles the NaNs of a body.
pub(super) fn run(_: &Plan, body: &Body<'_>, edits: &mut Edits) -> wasmparser::Result<()> {
    let Some(graph) = flow::graph(body)? else {
        return eager(body, edits);
    };
    for (after, (kind, sign)) in graph.solve() {
        canonical::insert(edits, after, kind, sign);
    }
    Ok(())
}

/// Settles every NaN where it is made.
fn eager(body: &Body<'_>, edits: &mut Edits) -> wasmparser::Result<()> {
    let mut operators = body.function.get_operators_reader()?;
    while !operators.eof() {
        let operator = operators.read()?;
        if let Effect::Computes { to, .. } = effect(&operator) {
            let kind = canonical::Kind::new(to, canonical::yields_vector(&operator));
            canonical::insert(edits, operators.original_position(), kind, Sign::Positive);
        }
    }
    Ok(())
}
