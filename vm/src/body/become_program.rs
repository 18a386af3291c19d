//! A machine becomes another program, which its output brings along as a seed.

use std::collections::HashMap;
use std::sync::Arc;

use seed::image::Program;
use seed::object::{Link, decode_blob};
use seed::{Domain, Id, pack};

use super::{Body, BodyError};
use crate::engine::{Code, CodeError, Mode};

/// The most that a program which a machine becomes may hold, unpacked, in bytes.
const BECOME_BYTES_MAX: u64 = 256 << 20;

/// Why a machine cannot become a program.
pub(super) enum Unfit {
    /// The program's fault, which is an abort.
    Program(String),
    /// The host's, with which no step has happened.
    Host(BodyError),
}

/// A program that a machine is about to become.
pub(super) struct Next {
    code: Code,
    program: Program,
    blobs: Vec<(Link, Vec<u8>)>,
}

impl Body {
    /// A program out of the seed that a machine wants to become, proven to be one that can run.
    pub(super) fn read_program(&self, seed: &[u8]) -> Result<Next, Unfit> {
        let mut objects: HashMap<Link, Vec<u8>> = HashMap::new();
        let (_, root) = pack::read(seed, BECOME_BYTES_MAX, &|_| false, &mut |link, bytes| {
            objects.insert(link, bytes);
            Ok(())
        })
        .map_err(|error| Unfit::Program(error.to_string()))?;
        let program = objects.get(&(Domain::Object, root)).map(|bytes| Program::decode(bytes));
        let Some(Ok(program)) = program else { return Err(Unfit::Program("the seed is not a program".to_owned())) };
        if program.interface != seed::image::INTERFACE {
            return Err(Unfit::Program(format!("the program is for machine interface {}", program.interface)));
        }
        let lacking = || Unfit::Program("the seed lacks a blob".to_owned());
        let blob = |id: Id| objects.get(&(Domain::Object, id)).cloned().ok_or_else(lacking);
        let (code_blob, genesis_blob) = (blob(program.code)?, blob(program.genesis)?);
        let wasm = decode_blob(&code_blob).map_err(|error| Unfit::Program(error.to_string()))?;
        let code = self.engine.load(&program.code, wasm).map_err(|error| match error {
            CodeError::Refused(refusal) => Unfit::Program(refusal.to_string()),
            // As with a step's CPU time: whether it was too much is decided once, by a live machine.
            CodeError::Compile(why) if self.engine.mode == Mode::Live => {
                Unfit::Program(format!("compiling it failed: {why}"))
            }
            other => Unfit::Host(other.into()),
        })?;
        let blobs =
            vec![((Domain::Object, program.code), code_blob), ((Domain::Object, program.genesis), genesis_blob)];
        Ok(Next { code, program, blobs })
    }

    /// Puts another program in the place of this one. What was asked and is owed stays, as do grants and limits.
    pub(super) fn become_program(&mut self, next: Next, handover: Vec<u8>) {
        self.image.code = next.program.code;
        self.image.genesis = next.program.genesis;
        self.image.processes[0].state = None;
        self.code = next.code;
        self.guest = None;
        self.trees.clear();
        self.tables = Arc::default();
        self.durable.clear();
        self.captured.forget_fresh();
        self.blobs = next.blobs;
        self.handover = Some(handover);
    }
}
