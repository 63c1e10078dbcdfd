//! Training image classifiers: data sets, augmentation, schedules, metrics, the loop, run folders, and the models that
//! come out of it.
#![forbid(unsafe_code)]

pub mod augment;
pub mod config;
pub mod confusion;
pub mod curves;
pub mod data;
pub mod evaluate;
pub mod finder;
pub mod frame;
pub mod image_file;
pub mod loader;
pub mod metrics;
pub mod model;
pub mod onnx;
pub mod optimizer;
pub mod picture;
pub mod pictures;
pub mod recipe;
pub mod recorder;
pub mod resample;
pub mod run_folder;
pub mod runs;
pub mod schedule;
mod text;
pub mod trainer;
pub mod transfer;
pub mod views;
pub mod weights;
