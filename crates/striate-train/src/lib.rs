//! Data sets, augmentation, schedules, metrics and run folders: what the training loop of Striate stands on.
#![forbid(unsafe_code)]

pub mod augment;
pub mod data;
pub mod frame;
pub mod image_file;
pub mod loader;
pub mod metrics;
pub mod run_folder;
pub mod schedule;
mod text;
