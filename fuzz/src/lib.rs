//! Fuzzing of Striate's readers: targets, a mutator that needs no more than stable Rust, and an allocator that counts.

pub mod allocation;
pub mod mutate;
pub mod targets;
