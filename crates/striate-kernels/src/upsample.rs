//! Upsampling.
