//! Follows the floats and vectors of one function over the stack, through locals and labels, and builds their [`Graph`].

use wasmparser::{
    BlockType, BrTable, FrameKind, FuncValidator, ModuleArity, Operator, OperatorsReader, ValType, ValidatorResources,
};

use super::canonical::Sign;
use super::graph::{Graph, NONE, Nans, Node, Via};
use super::operations::{Effect, effect};
use crate::prepare::survey::{Body, FEATURES};

/// Builds the graph of a body; `None` if it would be too large.
pub(super) fn graph(body: &Body<'_>) -> wasmparser::Result<Option<Graph>> {
    let mut reader = body.function.get_binary_reader();
    let mut validator = body.validator();
    let parameters = validator.len_locals();
    validator.read_locals(&mut reader)?;
    reader.set_features(FEATURES);
    let mut flow = Flow::new(validator, parameters);
    let mut operators = OperatorsReader::new(reader);
    while !operators.eof() {
        let (operator, offset) = operators.read_with_offset()?;
        flow.step(&operator, offset, operators.original_position())?;
        if flow.graph.is_too_large() {
            return Ok(None);
        }
    }
    Ok(Some(flow.graph))
}

struct Flow {
    validator: FuncValidator<ValidatorResources>,
    graph: Graph,
    locals: Vec<Node>,
    /// The operand stack: as high as the validator's at every instruction.
    stack: Vec<Node>,
    frames: Vec<Frame>,
}

/// A block that is open.
struct Frame {
    kind: FrameKind,
    height: usize,
    /// What an `if` hands to both its arms.
    handed: Vec<Node>,
    /// What arrives at its label.
    label: Vec<Node>,
}

impl Flow {
    fn new(validator: FuncValidator<ValidatorResources>, parameters: u32) -> Self {
        let mut graph = Graph::default();
        let types = (0..validator.len_locals()).map(|index| (index, validator.get_local_type(index)));
        let locals = types.map(|(index, ty)| {
            // What callers hand over is settled; other locals begin as zero.
            let own = if index < parameters { Nans::DETERMINED } else { Nans::NEVER };
            value(&mut graph, ty, own, Via::Same, None)
        });
        let locals = locals.collect();
        let function = Frame { kind: FrameKind::Block, height: 0, handed: Vec::new(), label: Vec::new() };
        Self { validator, graph, locals, stack: Vec::new(), frames: vec![function] }
    }

    fn step(&mut self, operator: &Operator<'_>, offset: usize, end: usize) -> wasmparser::Result<()> {
        let dead = self.validator.get_control_frame(0).is_none_or(|frame| frame.unreachable);
        let (pops, pushes) = operator.operator_arity(&self.validator).unwrap_or_default();
        let (pops, pushes) = (pops as usize, pushes as usize);
        self.validator.op(offset, operator)?;
        match operator {
            Operator::Block { blockty } => self.open(FrameKind::Block, *blockty, dead),
            Operator::Loop { blockty } => self.open(FrameKind::Loop, *blockty, dead),
            Operator::If { blockty } => {
                if !dead {
                    self.pop(1);
                }
                self.open(FrameKind::If, *blockty, dead);
            }
            Operator::Else => self.switch(dead),
            Operator::End => self.close(dead, pushes, end),
            // Never executed: only the height matters, and it is set below.
            _ if dead => {}
            Operator::Br { relative_depth } => self.branch(*relative_depth, pops),
            Operator::BrIf { relative_depth } => {
                self.pop(1);
                self.branch(*relative_depth, pops - 1);
            }
            Operator::BrTable { targets } => {
                self.pop(1);
                self.branch_table(targets, pops - 1)?;
            }
            Operator::LocalGet { local_index } => {
                let copy = self.copy_of_local(*local_index, end);
                self.graph.flow(self.local(*local_index), copy);
                self.stack.push(copy);
            }
            Operator::LocalSet { local_index } => {
                let value = self.stack.pop().unwrap_or(NONE);
                self.graph.flow(value, self.local(*local_index));
            }
            Operator::LocalTee { local_index } => {
                let value = self.stack.pop().unwrap_or(NONE);
                self.graph.flow(value, self.local(*local_index));
                let copy = self.copy_of_local(*local_index, end);
                self.graph.flow(value, copy);
                self.stack.push(copy);
            }
            Operator::Drop => {
                self.pop(1);
            }
            _ => self.compute(effect(operator), pops, pushes, end),
        }
        // Heights agree, save where code cannot be reached.
        self.stack.resize(self.validator.operand_stack_height() as usize, NONE);
        Ok(())
    }

    fn compute(&mut self, effect: Effect, pops: usize, pushes: usize, end: usize) {
        let operands = self.pop(pops);
        let (own, via, but) = match effect {
            Effect::Observes => (Nans::DETERMINED, Via::Same, None),
            Effect::Tests(shape) => (Nans::DETERMINED, Via::Same, Some(shape)),
            Effect::Computes { from, to } => (Nans::unsettled(to, Sign::Positive), Via::Same, Some(from)),
            Effect::NeverNan => (Nans::NEVER, Via::Same, None),
            Effect::Moves(shape) => (Nans::NEVER, Via::As(shape), Some(shape)),
            Effect::Negates(shape) => (Nans::NEVER, Via::Negated(shape), Some(shape)),
            Effect::Abs(shape) => (Nans::NEVER, Via::Abs(shape), Some(shape)),
            Effect::Selects => (Nans::NEVER, Via::Same, None),
        };
        if effect != Effect::Selects {
            for operand in &operands {
                self.graph.observe(*operand, but);
            }
        }
        let flows = matches!(effect, Effect::Moves(_) | Effect::Negates(_) | Effect::Abs(_) | Effect::Selects);
        for depth in (0..pushes).rev() {
            let ty = self.validator.get_operand_type(depth).flatten();
            let after = (depth == 0).then_some(end);
            let result = value(&mut self.graph, ty, own, via, after);
            for operand in operands.iter().filter(|_| flows) {
                self.graph.flow(*operand, result);
            }
            self.stack.push(result);
        }
    }

    /// Opens a block, whose parameters are on the stack and stay there.
    fn open(&mut self, kind: FrameKind, ty: BlockType, dead: bool) {
        let (parameters, results) = self.block_types(ty);
        if dead {
            self.stack.resize(self.validator.operand_stack_height() as usize, NONE);
        }
        let height = self.stack.len().saturating_sub(parameters.len());
        let handed = self.stack.get(height..).unwrap_or_default().to_vec();
        let arriving = if kind == FrameKind::Loop { parameters } else { results };
        let label: Vec<Node> =
            arriving.into_iter().map(|ty| value(&mut self.graph, Some(ty), Nans::NEVER, Via::Same, None)).collect();
        if kind == FrameKind::Loop {
            for (from, to) in handed.iter().zip(&label) {
                self.graph.flow(*from, *to);
            }
            self.stack.truncate(height);
            self.stack.extend_from_slice(&label);
        }
        self.frames.push(Frame { kind, height, handed, label });
    }

    fn block_types(&self, ty: BlockType) -> (Vec<ValType>, Vec<ValType>) {
        match ty {
            BlockType::Empty => (Vec::new(), Vec::new()),
            BlockType::Type(ty) => (Vec::new(), vec![ty]),
            BlockType::FuncType(index) => self.validator.sub_type_at(index).map_or_else(Default::default, |ty| {
                let ty = ty.unwrap_func();
                (ty.params().to_vec(), ty.results().to_vec())
            }),
        }
    }

    /// From the first arm of an `if` to the second.
    fn switch(&mut self, dead: bool) {
        let Some(frame) = self.frames.last_mut() else { return };
        frame.kind = FrameKind::Else;
        arrive(&mut self.graph, &self.stack, &frame.label, dead);
        self.stack.truncate(frame.height);
        self.stack.extend_from_slice(&frame.handed);
    }

    fn close(&mut self, dead: bool, results: usize, end: usize) {
        let Some(frame) = self.frames.pop() else { return };
        if self.frames.is_empty() {
            // The end of the function: its results go to a caller.
            for operand in self.pop(results).into_iter().filter(|_| !dead) {
                self.graph.observe(operand, None);
            }
            return;
        }
        if frame.kind == FrameKind::Loop {
            // Nothing arrives at the end of a loop but what falls through.
            if dead {
                self.stack.truncate(frame.height);
            }
            return;
        }
        arrive(&mut self.graph, &self.stack, &frame.label, dead);
        if frame.kind == FrameKind::If {
            arrive(&mut self.graph, &frame.handed, &frame.label, false);
        }
        self.stack.truncate(frame.height);
        self.stack.extend_from_slice(&frame.label);
        if let Some(top) = frame.label.last() {
            self.graph.left_on_top(*top, end);
        }
    }

    /// A branch that is or may be taken, with so many values from the top of the stack, which stay on it.
    fn branch(&mut self, depth: u32, count: usize) {
        let carried = self.stack.len().saturating_sub(count);
        let carried = self.stack.get(carried..).unwrap_or_default();
        match self.frames.len().checked_sub(depth as usize + 1) {
            Some(index) if index > 0 => {
                arrive(&mut self.graph, carried, &self.frames[index].label, false);
            }
            // The function itself, whose results go to a caller.
            _ => {
                for operand in carried {
                    self.graph.observe(*operand, None);
                }
            }
        }
    }

    fn branch_table(&mut self, targets: &BrTable<'_>, count: usize) -> wasmparser::Result<()> {
        let mut depths = vec![targets.default()];
        for depth in targets.targets() {
            depths.push(depth?);
        }
        depths.sort_unstable();
        depths.dedup();
        for depth in depths.into_iter().filter(|_| count > 0) {
            self.branch(depth, count);
        }
        Ok(())
    }

    fn local(&self, index: u32) -> Node {
        self.locals.get(index as usize).copied().unwrap_or(NONE)
    }

    fn copy_of_local(&mut self, index: u32, end: usize) -> Node {
        let ty = self.validator.get_local_type(index);
        value(&mut self.graph, ty, Nans::NEVER, Via::Same, Some(end))
    }

    fn pop(&mut self, count: usize) -> Vec<Node> {
        self.stack.split_off(self.stack.len().saturating_sub(count))
    }
}

/// A node for a value that can hold a NaN.
fn value(graph: &mut Graph, ty: Option<ValType>, own: Nans, via: Via, after: Option<usize>) -> Node {
    graph.work();
    match ty {
        Some(ValType::F32 | ValType::F64) => graph.node(false, own, via, after),
        Some(ValType::V128) => graph.node(true, own, via, after),
        _ => NONE,
    }
}

/// The topmost values of the stack become those of a label, unless the code that does it is dead.
fn arrive(graph: &mut Graph, stack: &[Node], label: &[Node], dead: bool) {
    let carried = stack.len().saturating_sub(label.len());
    for (from, to) in stack.iter().skip(carried).zip(label).filter(|_| !dead) {
        graph.flow(*from, *to);
    }
}
