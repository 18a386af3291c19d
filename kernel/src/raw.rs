//! The module's two exports: all of the crate's unsafe code.
//!
//! The host asks for room with `abide_alloc`, writes an input there, and calls `abide_step` with it; what that returns stays where
//! it is until the next call of `abide_alloc`. There is one thread.

#![allow(unsafe_code)]

use std::cell::RefCell;

use crate::Kernel;

/// Larger buffers are given back: one large input would otherwise take its room for good.
const KEPT_BYTES_MAX: usize = 1 << 16;

#[derive(Default)]
struct Module {
    kernel: Kernel,
    input: Vec<u8>,
    output: Vec<u8>,
}

thread_local! {
    static MODULE: RefCell<Module> = RefCell::default();
}

/// Room for an input of so many bytes.
// SAFETY: nothing else in the module has this name.
#[unsafe(no_mangle)]
extern "C" fn abide_alloc(len: u32) -> *mut u8 {
    MODULE.with_borrow_mut(|module| {
        module.output = Vec::new();
        if module.input.capacity() > KEPT_BYTES_MAX {
            module.input = Vec::new();
        }
        module.input.resize(len as usize, 0);
        module.input.as_mut_ptr()
    })
}

/// Takes the input that was written to what `abide_alloc` gave. Returns place and length of the output.
// SAFETY: nothing else in the module has this name.
#[unsafe(no_mangle)]
extern "C" fn abide_step(_place: u32, len: u32) -> u64 {
    MODULE.with_borrow_mut(|module| {
        let Module { kernel, input, output } = module;
        *output = kernel.input(input.get(..len as usize).unwrap_or_default());
        (output.as_ptr().addr() as u64) << 32 | output.len() as u64
    })
}
