//! Numbers that do not fit in a word: copied out, computed by num-bigint, and put back.
//!
//! Invariant: no operation gives a number of more than [`LIMBS_MAX`] words, or takes longer than some seconds; it fails instead,
//! and it fails on every host alike.

use num_bigint::BigUint;

use super::code::Op;
use super::heap::Heap;
use super::order::compare;
use super::word::{IMM_MAX, ONE, ZERO, imm, is_imm};

/// Words of the largest number that is computed.
pub(super) const LIMBS_MAX: usize = 1 << 20;
/// Products of words that a multiplication (which needs fewer) and a division (which needs them all) may be made of.
const MUL_MAX: u64 = 1 << 35;
const DIV_MAX: u64 = 1 << 31;
/// Products of words that count as one step.
const PER_STEP: u64 = 64;

/// A number that would be too large, or take too long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TooLarge;

pub(super) fn to_big(heap: &Heap, value: u64) -> BigUint {
    let digits: Vec<u32> = heap.limbs(value).into_iter().flat_map(|limb| [limb as u32, (limb >> 32) as u32]).collect();
    BigUint::new(digits)
}

pub(super) fn from_big(heap: &mut Heap, number: &BigUint) -> u64 {
    let limbs = number.to_u64_digits();
    heap.nat_of(&limbs)
}

/// What an operation on numbers gives, and how many steps it counts for beyond one. What is no number is taken as zero.
pub(super) fn compute(heap: &mut Heap, op: u8, x: u64, y: u64) -> Result<(u64, u64), TooLarge> {
    let (x, y) = (heap.cast(x), heap.cast(y));
    if is_imm(x)
        && is_imm(y)
        && let Some(value) = small(op, x, y)
    {
        return Ok((value, 0));
    }
    match op {
        Op::NAT => return Ok((x, 0)),
        Op::MIN | Op::MAX => {
            let x_is_less = compare(heap, x, y).is_lt();
            return Ok((if x_is_less == (op == Op::MIN) { x } else { y }, 0));
        }
        _ => {}
    }
    let (lx, ly) = (limb_count(heap, x), limb_count(heap, y));
    let work = lx as u64 * ly as u64;
    let cost = match op {
        Op::MUL if work > MUL_MAX => return Err(TooLarge),
        Op::DIV | Op::MOD => {
            let work = lx.saturating_sub(ly) as u64 * ly as u64;
            if work > DIV_MAX {
                return Err(TooLarge);
            }
            work / PER_STEP
        }
        Op::MUL => work / PER_STEP,
        _ => lx.max(ly) as u64 / PER_STEP,
    };
    let (a, b) = (to_big(heap, x), to_big(heap, y));
    let result = match op {
        Op::INC => a + 1u32,
        Op::DEC => {
            if x == ZERO {
                a
            } else {
                a - 1u32
            }
        }
        Op::NOT => BigUint::from(u32::from(x == ZERO)),
        Op::TRUTH => BigUint::from(u32::from(x != ZERO)),
        Op::MET => BigUint::from(a.bits()),
        Op::BEX => shift_left(heap, BigUint::from(1u32), x)?,
        Op::ADD => a + b,
        Op::SUB => {
            if a > b {
                a - b
            } else {
                BigUint::ZERO
            }
        }
        Op::MUL => a * b,
        Op::DIV if y == ZERO => b,
        Op::MOD if y == ZERO => b,
        Op::DIV => a / b,
        Op::MOD => a % b,
        Op::LSH => shift_left(heap, a, y)?,
        Op::RSH => match heap.small(y).and_then(|count| usize::try_from(count).ok()) {
            Some(count) => a >> count,
            None => BigUint::ZERO,
        },
        Op::MIX => a ^ b,
        Op::CON => a | b,
        Op::DIS => a & b,
        Op::POW => return power(heap, &a, y),
        _ => unreachable!("an operation on numbers: {op}"),
    };
    if result.bits() > 64 * LIMBS_MAX as u64 {
        return Err(TooLarge);
    }
    Ok((from_big(heap, &result), cost))
}

fn limb_count(heap: &Heap, value: u64) -> usize {
    if is_imm(value) { 1 } else { heap.fields(value).len() }
}

fn shift_left(heap: &Heap, number: BigUint, by: u64) -> Result<BigUint, TooLarge> {
    if number == BigUint::ZERO {
        return Ok(number);
    }
    let by = heap.small(by).filter(|by| number.bits().saturating_add(*by) <= 64 * LIMBS_MAX as u64).ok_or(TooLarge)?;
    Ok(number << by)
}

fn power(heap: &mut Heap, base: &BigUint, exponent: u64) -> Result<(u64, u64), TooLarge> {
    if exponent == ZERO {
        return Ok((ONE, 0));
    }
    if base.bits() <= 1 {
        return Ok((from_big(heap, base), 0));
    }
    let exponent = heap.small(exponent).and_then(|exponent| u32::try_from(exponent).ok()).ok_or(TooLarge)?;
    let bits = base.bits().saturating_mul(u64::from(exponent));
    let limbs = bits.div_ceil(64);
    if limbs > LIMBS_MAX as u64 || limbs * limbs / 4 > MUL_MAX {
        return Err(TooLarge);
    }
    let result = base.pow(exponent);
    Ok((from_big(heap, &result), limbs * limbs / 4 / PER_STEP))
}

/// What an operation on numbers below 2^63 gives, if that is one and there is nothing to it.
#[inline(always)]
pub(super) fn small(op: u8, x: u64, y: u64) -> Option<u64> {
    let (a, b) = (x >> 1, y >> 1);
    let number = match op {
        Op::INC => a + 1,
        Op::DEC => a.saturating_sub(1),
        Op::NOT => u64::from(a == 0),
        Op::TRUTH => u64::from(a != 0),
        Op::MET => u64::from(64 - a.leading_zeros()),
        Op::NAT => a,
        Op::MIN => a.min(b),
        Op::MAX => a.max(b),
        Op::ADD => a + b,
        Op::SUB => a.saturating_sub(b),
        Op::MUL => a.checked_mul(b)?,
        Op::DIV => a.checked_div(b).unwrap_or(0),
        Op::MOD => a.checked_rem(b).unwrap_or(0),
        Op::RSH => a.checked_shr(u32::try_from(b).unwrap_or(64)).unwrap_or(0),
        Op::LSH if b < 64 && a.leading_zeros() as u64 > b => a << b,
        Op::LSH if a == 0 => 0,
        Op::BEX if b < 63 && a < 63 => 1 << a,
        Op::MIX => a ^ b,
        Op::CON => a | b,
        Op::DIS => a & b,
        Op::EQL | Op::SAME => u64::from(a == b),
        Op::NEQ => u64::from(a != b),
        Op::LTH => u64::from(a < b),
        Op::LTE => u64::from(a <= b),
        Op::GTH => u64::from(a > b),
        Op::GTE => u64::from(a >= b),
        Op::CMP | Op::CMP_NAT => match a.cmp(&b) {
            std::cmp::Ordering::Less => 0,
            std::cmp::Ordering::Equal => 1,
            std::cmp::Ordering::Greater => 2,
        },
        _ => return None,
    };
    (number <= IMM_MAX).then_some(imm(number))
}

/// What an order says, as [`small`] has it.
pub(super) fn verdict(op: u8, order: std::cmp::Ordering) -> u64 {
    let (a, b) = match order {
        std::cmp::Ordering::Less => (ZERO, ONE),
        std::cmp::Ordering::Equal => (ZERO, ZERO),
        std::cmp::Ordering::Greater => (ONE, ZERO),
    };
    small(op, a, b).unwrap_or(ZERO)
}
