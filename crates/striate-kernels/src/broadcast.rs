//! Elementwise addition and multiplication with broadcasting.
