//! Pictures that Striate makes: charts, contact sheets of images, matrices.
//!
//! What is drawn is a [`Scene`]: rectangles, lines, words and images with their places. It becomes an SVG
//! ([`Scene::svg`]) or a PNG ([`Scene::png`]), which look the same: the letters' widths are those of the font inside
//! the program in both.
//!
//! ```
//! use striate_draw::{Cell, Image, Sheet};
//!
//! let grey = Image::from_channels(&[0, 80, 160, 240], [1, 2, 2])?;
//! let sheet = Sheet::new("Two by two").columns(1);
//! let png = sheet.draw(&[Cell::new(grey, ["the only one"])])?.png(2.0)?;
//! assert_eq!(&png[1..4], b"PNG");
//! # Ok::<(), striate_draw::DrawError>(())
//! ```
#![forbid(unsafe_code)]

mod axis;
mod canvas;
mod chart;
mod color;
mod error;
mod font;
mod image;
mod matrix;
mod scene;
mod sheet;
mod svg;

pub use axis::{Axis, Unit};
pub use chart::{Chart, Figure, Series, Stroke};
pub use color::{Color, PALETTE};
pub use error::DrawError;
pub use font::{Weight, shortened, text_width};
pub use image::Image;
pub use matrix::{MAX_CLASSES, Matrix};
pub use scene::{Anchor, Item, Scene, Text};
pub use sheet::{Cell, MAX_CELLS, Sheet};
