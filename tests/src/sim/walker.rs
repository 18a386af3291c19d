//! What `../../guests/walker.wat` does, in Rust: the model that its steps are compared with, output for output.

use std::collections::BTreeMap;

use seed::image::{Grant, Limits};
use seed::message::{Code, Input, Output};
use seed::{PortId, ReplyId, RequestId};

const REGION: u64 = 131_072;
const PAGE: u64 = 4096;
const WASM_PAGE: u64 = 65_536;
const PHRASE: &[u8; 16] = b"a phrase to drop";

/// The model's state: everything that the guest remembers.
#[derive(Debug, Clone, PartialEq)]
pub struct Walker {
    limits: Limits,
    acc: u64,
    nonce: u64,
    open: u32,
    held: Vec<u64>,
    slices: u32,
    fuse: bool,
    /// The numbers that console, clock and random had last.
    ports: [u64; 3],
    float: f64,
    function: Option<u64>,
    table: Vec<Option<u64>>,
    phrase: bool,
    spare: bool,
    wasm_pages: u64,
    region: BTreeMap<u64, u64>,
    side: BTreeMap<u64, u64>,
}

/// Why the guest aborts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Aborts;

/// A step in the making.
struct Step {
    outputs: Vec<Output>,
    reply: u64,
    spoiled: bool,
}

impl Walker {
    /// A guest that has not been booted.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            acc: 1,
            nonce: 1,
            open: 0,
            held: Vec::new(),
            slices: 0,
            fuse: false,
            ports: [1, 2, 3],
            float: 1.0,
            function: None,
            table: vec![Some(3), Some(14), None, None],
            phrase: true,
            spare: true,
            wasm_pages: 3,
            region: BTreeMap::new(),
            side: BTreeMap::new(),
        }
    }

    /// One step: what it puts out, or that it aborts and has changed nothing.
    ///
    /// # Errors
    /// If it aborts.
    pub fn step(&mut self, input: &Input) -> Result<Vec<Output>, Aborts> {
        let mut next = self.clone();
        let outputs = next.try_step(input)?;
        *self = next;
        Ok(outputs)
    }

    /// Whether its memory is larger than at first.
    #[must_use]
    pub fn has_grown(&self) -> bool {
        self.wasm_pages > 3
    }

    fn try_step(&mut self, input: &Input) -> Result<Vec<Output>, Aborts> {
        let mut step = Step { outputs: Vec::new(), reply: 0, spoiled: false };
        input.encode().iter().for_each(|byte| self.mix(u64::from(*byte)));
        match input {
            Input::Boot { .. } => self.mix(u64::from_le_bytes(*b"walkers!")),
            Input::Message { reply, payload, .. } => {
                step.reply = reply.0;
                self.operations(&mut step, payload.get(8..).unwrap_or_default())?;
            }
            Input::Answer { request, more, payload } => {
                if !more {
                    self.close(request.0);
                }
                self.operations(&mut step, payload.get(10..).unwrap_or_default())?;
            }
            Input::Broken { request, code, text } => {
                self.close(request.0);
                if *code == Code::FAILED {
                    self.operations(&mut step, text.as_bytes().get(16..).unwrap_or_default())?;
                }
            }
            Input::Again { .. } => {
                if self.fuse {
                    return Err(Aborts);
                }
                self.slices = self.slices.wrapping_sub(1);
                self.write_cell(u64::from(self.slices));
            }
            Input::Gone { reply } => self.held.retain(|held| *held != reply.0),
            Input::Grants { grants } => {
                for Grant { port, name } in grants {
                    if let Some(known) = ["console", "clock", "random"].iter().position(|known| known == name) {
                        self.ports[known] = port.0;
                    }
                }
                if self.acc & 7 == 0 {
                    return Err(Aborts);
                }
                self.ask_free(&mut step, self.ports[1], 0);
            }
            Input::Query { .. } => {}
        }
        if step.reply != 0 {
            self.held.push(step.reply);
        }
        if self.slices != 0 || self.fuse {
            step.outputs.push(Output::Again);
        }
        let bytes = Output::encode_list(&step.outputs).len() as u64;
        if step.spoiled || bytes > self.limits.output_bytes { Err(Aborts) } else { Ok(step.outputs) }
    }

    fn operations(&mut self, step: &mut Step, operations: &[u8]) -> Result<(), Aborts> {
        operations.chunks_exact(2).try_for_each(|pair| self.operation(step, pair[0], u64::from(pair[1])))
    }

    fn operation(&mut self, step: &mut Step, letter: u8, n: u64) -> Result<(), Aborts> {
        match letter {
            b'w' => self.write_cell(n),
            b'W' => drop(self.region.insert(REGION + (n & 15) * PAGE, n >> 4)),
            b'y' => {
                let at = self.acc.wrapping_add(n) & 0xfff8;
                self.mix(self.side.get(&at).copied().unwrap_or(0));
                self.side.insert(at, self.acc);
            }
            b'z' => {
                let page = REGION + self.acc.wrapping_add(n) % (self.region_bytes() / PAGE) * PAGE;
                self.region.retain(|at, _| !(page..page + PAGE).contains(at));
            }
            b'g' => {
                // The second memory has one page.
                let fits = (self.wasm_pages + 2) * WASM_PAGE <= self.limits.memory_bytes;
                let before = if fits { self.wasm_pages } else { 0xffff_ffff };
                self.wasm_pages += u64::from(fits);
                self.mix(before);
            }
            b't' => {
                let slot = self.slot(n);
                self.table[slot] = [None, Some(3), Some(14), Some(25)][(self.acc & 3) as usize];
            }
            b'T' => {
                let elements = self.table.len() as u64;
                let fits = elements < self.limits.table_elements;
                if fits {
                    self.table.push(None);
                }
                self.mix(if fits { elements } else { 0xffff_ffff });
            }
            b'c' => self.mix(self.table[self.slot(n)].unwrap_or(7)),
            b'f' => self.function = self.table[self.slot(n)],
            b'F' => {
                let slot = self.slot(n);
                self.table[slot] = self.function;
            }
            b'm' if self.phrase => {
                let mut bytes = [0; 8];
                bytes.copy_from_slice(&PHRASE[4..12]);
                self.region.insert(REGION + n * 8, u64::from_le_bytes(bytes));
                self.mix(u64::from_le_bytes(bytes));
            }
            b'd' => self.phrase = false,
            b'i' if self.spare => {
                self.table[1] = Some(25);
                self.table[2] = Some(3);
            }
            b'I' => self.spare = false,
            b'u' => {
                let low = u16::try_from(self.acc.wrapping_add(n) & 0xffff).unwrap_or(0);
                self.float = self.float / 3.0 + f64::from(low);
                self.mix(self.float.to_bits());
            }
            b'n' => (1..=(n * 8).max(1)).rev().for_each(|k| self.mix(if n == 0 { 0 } else { k })),
            b'v' => {
                let letter = char::from(b'a' + u8::try_from(self.acc % 26).unwrap_or(0));
                step.outputs.push(Output::Trace { text: letter.to_string() });
            }
            b'a' => self.slices = u32::try_from(n & 3).unwrap_or(0) + 1,
            b'A' => self.fuse = true,
            b'M' | b'O' | b'o' => step.spoiled = true,
            b'e' | b'E' | b'q' | b'Q' | b'x' | b'X' | b'b' => self.request(step, letter, n),
            b'r' | b'p' | b'J' | b'l' | b'L' | b'j' | b'k' => self.reply(step, letter, n),
            _ => return Err(Aborts),
        }
        Ok(())
    }

    fn request(&mut self, step: &mut Step, letter: u8, n: u64) {
        let lowest = u64::from(self.open.trailing_zeros());
        match letter {
            b'e' => self.ask(step, 0, self.ports[0], self.acc, n),
            b'E' => self.ask(step, 0, 1000, self.acc, n),
            b'q' => self.ask_free(step, self.ports[if n & 1 == 0 { 1 } else { 2 }], n),
            b'Q' => self.ask_free(step, 1000, n),
            _ if self.open == 0 => {}
            b'b' => self.ask_number(step, lowest, self.ports[1], n),
            _ => {
                self.close(lowest);
                step.outputs.push(Output::Cancel { request: RequestId(lowest) });
                if letter == b'X' {
                    self.ask_number(step, lowest, self.ports[1], n);
                }
            }
        }
    }

    fn reply(&mut self, step: &mut Step, letter: u8, n: u64) {
        let (reply, is_held) = match (letter, self.held.first()) {
            (b'r' | b'p' | b'J', _) => (step.reply, false),
            (b'k', _) => (1_000_000, false),
            (_, Some(reply)) => (*reply, true),
            (_, None) => (0, true),
        };
        if reply == 0 {
            return;
        }
        let more = matches!(letter, b'p' | b'L');
        step.outputs.push(match letter {
            b'J' | b'j' => Output::Refuse { reply: ReplyId(reply), code: Code(64 + n), text: "no".to_owned() },
            _ => Output::Answer { reply: ReplyId(reply), more, payload: payload(self.acc, n) },
        });
        if more || letter == b'k' {
            return;
        }
        if is_held {
            self.held.retain(|held| *held != reply);
        } else {
            step.reply = 0;
        }
    }

    fn ask_free(&mut self, step: &mut Step, port: u64, n: u64) {
        let free = u64::from((!(self.open | 1)).trailing_zeros());
        if free > 6 {
            return self.mix(1);
        }
        self.ask_number(step, free, port, n);
    }

    fn ask_number(&mut self, step: &mut Step, request: u64, port: u64, n: u64) {
        self.open |= 1 << request;
        self.ask(step, request, port, self.nonce, n);
        self.nonce += 1;
        self.mix(request);
    }

    fn ask(&self, step: &mut Step, request: u64, port: u64, number: u64, n: u64) {
        let (request, port) = (RequestId(request), PortId(port));
        step.outputs.push(Output::Ask { request, port, payload: payload(number, n) });
    }

    fn close(&mut self, request: u64) {
        self.open &= !(1 << (request & 31));
    }

    fn mix(&mut self, x: u64) {
        self.acc = (self.acc ^ x).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29);
    }

    fn write_cell(&mut self, n: u64) {
        let at = REGION + (self.acc.wrapping_add(n.wrapping_mul(0x9e37_79b9)) % self.region_bytes()) / 8 * 8;
        self.mix(self.region.get(&at).copied().unwrap_or(0));
        self.region.insert(at, self.acc.wrapping_add(n));
    }

    fn region_bytes(&self) -> u64 {
        self.wasm_pages * WASM_PAGE - REGION
    }

    fn slot(&self, n: u64) -> usize {
        usize::try_from(n).unwrap_or(0) % self.table.len()
    }
}

fn payload(number: u64, n: u64) -> Vec<u8> {
    let mut payload = number.to_le_bytes().to_vec();
    payload.resize(8 + 8 * usize::try_from(n).unwrap_or(0), 0x5a);
    payload
}
