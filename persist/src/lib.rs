//! A machine at rest: the store, the folder it lives in, and what proves that neither is older or other than it should be.

pub mod folder;
pub mod head;
pub mod scrub;
pub mod store;
mod sys;

pub mod branch;
pub mod journal;
pub mod machine;
pub mod objects;
pub mod part;
pub mod planted;
pub mod salvage;
pub mod verify;
