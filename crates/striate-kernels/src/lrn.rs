//! Local response normalisation.
