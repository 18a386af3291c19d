//! Tests of preparation, by what they would break.

#![expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a test's own numbers are small")]

mod corpus;
mod hostile;
mod nans;
mod random;
mod refusals;
mod same;
mod shape;
mod smith;
mod support;
