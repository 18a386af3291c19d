//! Something to be evaluated in slices, beside other things: what a machine does for one of many.

use super::{Depth, Machine, Progress, Root};

/// An evaluation. When others take their turn on the machine, it is paused, which makes a value of it.
#[derive(Debug)]
pub struct Task {
    /// What is to be evaluated, while the machine does not do it.
    root: Option<Root>,
    depth: Depth,
    steps: u64,
}

impl Task {
    /// To evaluate what a root holds, which is the task's from now on.
    #[must_use]
    pub fn new(root: Root, depth: Depth) -> Self {
        Self { root: Some(root), depth, steps: 0 }
    }

    /// How many steps it has taken.
    #[must_use]
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// Goes on for so many steps. Any other task must have been paused. Once it has ended, it holds nothing.
    pub fn advance(&mut self, machine: &mut Machine, steps: u64) -> Progress {
        if let Some(root) = self.root.take() {
            machine.start(root, self.depth);
            machine.release(root);
        }
        let before = machine.usage().steps;
        let progress = machine.run(steps);
        self.steps = self.steps.saturating_add(machine.usage().steps.wrapping_sub(before));
        progress
    }

    /// Leaves the machine to others.
    pub fn pause(&mut self, machine: &mut Machine) {
        if self.root.is_none() {
            self.root = machine.pause();
            // What it has become normalises what is to be normal.
            self.depth = Depth::Head;
        }
    }

    /// Gives it up.
    pub fn end(mut self, machine: &mut Machine) {
        self.pause(machine);
        if let Some(root) = self.root {
            machine.release(root);
        }
    }
}
