//! Backwards over the instructions: which slots are still asked for at each point, and how much is made from there on.

use crate::eval::Limit;
use crate::eval::code::{CONST, FIELD_MAX, Op, a, b, c, lead, list, listed, op, word};

/// Slots from here on are taken to be asked for, always.
pub(in crate::eval) const TRACKED: usize = 64;

fn bit(slot: usize) -> u64 {
    if slot < TRACKED { 1 << slot } else { 0 }
}

fn used(operand: usize) -> u64 {
    if operand & CONST == 0 { bit(operand) } else { 0 }
}

/// Fills in entries and points. `starts` are where instructions start, in order.
pub(super) fn settle(code: &mut [u64], starts: &[usize]) -> Result<(), Limit> {
    // What is asked for, and made, from an instruction on.
    let mut live = vec![0u64; code.len() + 1];
    let mut need = vec![0usize; code.len() + 1];
    for at in starts.iter().rev().copied() {
        let first = code[at];
        let op = op(first);
        let count = listed(first);
        let next = at + lead(first) + list(count);
        let mut uses = 0;
        for index in 0..count {
            let packed = code[at + lead(first) + index / 3];
            uses |= used([a(packed), b(packed), c(packed)][index % 3]);
        }
        let (mut asked, mut made) = (live[next], need[next]);
        let jump = |distance: usize, asked: &mut u64, made: &mut usize| {
            *asked |= live[at + distance];
            *made = (*made).max(need[at + distance]);
        };
        match op {
            Op::ENTRY | Op::PIECE | Op::POINT => {
                if op == Op::POINT {
                    asked &= !bit(a(first));
                }
                if made > FIELD_MAX {
                    return Err(Limit::Law);
                }
                code[at] |= word(0, 0, made, 0);
                // Slot 0 keeps the code that is running.
                code[at + 1] = !(asked | 1);
            }
            Op::MOVE => asked = asked & !bit(a(first)) | used(b(first)),
            Op::THUNK => (asked, made) = (asked & !bit(a(first)), made + 2 + count),
            Op::APTHUNK | Op::APP | Op::ROW => (asked, made) = (asked & !bit(a(first)), made + 1 + count),
            Op::PARTIAL => asked &= !bit(a(first)),
            Op::PATCH => uses |= used(a(first)) | used(c(first)),
            Op::EVAL => asked |= used(b(first)),
            Op::RETURN | Op::RETURN_EVAL => (asked, made) = (used(b(first)), 0),
            Op::CALL | Op::SELF_CALL => made = 0,
            Op::TAIL_CALL | Op::SELF_TAIL_CALL => (asked, made) = (0, 0),
            Op::JUMP => {
                (asked, made) = (0, 0);
                jump(a(first), &mut asked, &mut made);
            }
            Op::JUMP_ZERO => {
                jump(a(first), &mut asked, &mut made);
                uses |= used(b(first));
            }
            Op::SWITCH => {
                (asked, made) = (0, 0);
                jump(a(first), &mut asked, &mut made);
                for index in 1..=c(first) {
                    jump(a(code[at + index]), &mut asked, &mut made);
                }
                uses |= used(b(first));
            }
            op if Op::is_try(op) => {
                let second = code[at + 1];
                (asked, made) = (0, 0);
                jump(a(second), &mut asked, &mut made);
                asked &= !bit(a(first));
                jump(b(second), &mut asked, &mut made);
                uses |= used(b(first));
                if Op::is_binary(op - Op::TRY) || Op::is_order(op - Op::TRY) {
                    uses |= used(c(first));
                }
            }
            op if Op::is_branch(op) => {
                let second = code[at + 1];
                jump(a(second), &mut asked, &mut made);
                jump(b(second), &mut asked, &mut made);
                uses |= used(b(first)) | used(c(first));
            }
            op if Op::is_unary(op) => {
                asked = asked & !bit(a(first)) | used(b(first));
                made += 2;
            }
            op => {
                debug_assert!(Op::is_binary(op) || Op::is_order(op));
                asked = asked & !bit(a(first)) | used(b(first)) | used(c(first));
                made += 3;
            }
        }
        live[at] = asked | uses;
        need[at] = made;
    }
    Ok(())
}
