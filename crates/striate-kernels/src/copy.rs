//! Strided copies: slices and concatenation.
