//! A tensor outside a session: logical dimensions, row-major floats.

/// Dimensions and elements in row-major order; feature maps are (N, C, H, W).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tensor {
    /// Dimensions, outermost first; empty for a scalar.
    pub dims: Vec<usize>,
    /// `dims.iter().product()` elements.
    pub data: Vec<f32>,
}

impl Tensor {
    /// A tensor of these dimensions and elements.
    ///
    /// # Panics
    /// When the number of elements is not the product of the dimensions.
    pub fn new(dims: impl Into<Vec<usize>>, data: Vec<f32>) -> Self {
        let dims = dims.into();
        assert_eq!(dims.iter().product::<usize>(), data.len(), "dimensions {dims:?}");
        Self { dims, data }
    }

    /// Whether it has as many elements as its dimensions say.
    pub fn is_whole(&self) -> bool {
        self.dims.iter().product::<usize>() == self.data.len()
    }

    /// All elements `value`.
    pub fn full(dims: impl Into<Vec<usize>>, value: f32) -> Self {
        let dims = dims.into();
        let len = dims.iter().product();
        Self { dims, data: vec![value; len] }
    }
}
