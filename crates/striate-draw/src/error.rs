//! What cannot be drawn.

/// Why something cannot be drawn.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum DrawError {
    /// A picture of no size or of more pixels than are made.
    #[error(
        "a picture of {width}x{height} pixels cannot be drawn: each side has from 1 to {max_side} pixels, both together at \
         most {max_pixels}; draw less, or smaller"
    )]
    Size {
        /// Pixels across.
        width: f64,
        /// Pixels down.
        height: f64,
        /// The longest side there may be.
        max_side: u32,
        /// The most pixels there may be.
        max_pixels: u64,
    },
    /// Pixels that are not those of the shape.
    #[error(
        "{found} values are no image of {channels} channels, height {height} and width {width}: it has {expected}"
    )]
    Pixels {
        /// Channels.
        channels: usize,
        /// Height.
        height: usize,
        /// Width.
        width: usize,
        /// Values given.
        found: usize,
        /// Values of such an image.
        expected: usize,
    },
    /// An image that has no colours.
    #[error(
        "an image of {0} channels has no colours to show: it needs 1 (grey), 2 (grey, alpha), 3 (RGB) or 4 (RGBA)"
    )]
    Channels(usize),
    /// More images than a sheet takes.
    #[error("{cells} images are more than a sheet takes ({max}); choose fewer")]
    Cells {
        /// Images given.
        cells: usize,
        /// The most there may be.
        max: usize,
    },
    /// A matrix of no classes, of too many, or with entries of others.
    #[error(
        "a matrix of {classes} classes cannot be drawn: there are from 1 to {max}, and the entries need {needed}"
    )]
    Classes {
        /// Classes that have a name.
        classes: usize,
        /// Classes that entries are of.
        needed: usize,
        /// The most there may be.
        max: usize,
    },
    /// A file that cannot be encoded.
    #[error("the PNG cannot be encoded: {0}")]
    Encode(String),
}
