//! One suite over both trackers; tests that need write protection say so where it is not to be had.

mod chunks;
mod guest;
mod lazy;
mod model;
mod sizes;
mod tracking;
