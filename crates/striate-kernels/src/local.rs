//! Locally connected layers.
