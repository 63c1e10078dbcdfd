//! Convolution.

mod geometry;

pub use geometry::{Conv2dGeometry, GeometryError, MAX_ELEMENTS, MAX_EXTENT, ParseGeometryError};
