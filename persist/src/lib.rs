//! A machine at rest.

pub mod folder;
pub mod head;
pub mod store;
mod sys;
