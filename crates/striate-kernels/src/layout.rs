//! Conversions between NCHW and NHWC.
