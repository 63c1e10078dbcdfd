//! What is drawn, whatever it becomes.

use crate::canvas;
use crate::color::Color;
use crate::error::DrawError;
use crate::font::{Weight, text_width};
use crate::image::Image;
use crate::svg;

/// Shapes with their places, in pixels from the upper left corner; later ones lie on earlier ones.
#[derive(Clone, Debug, PartialEq)]
pub struct Scene {
    /// Pixels across.
    pub width: f32,
    /// Pixels down.
    pub height: f32,
    /// What it shows, in words for those who cannot see it.
    pub description: String,
    /// The shapes.
    pub items: Vec<Item>,
}

/// A shape.
#[derive(Clone, Debug, PartialEq)]
pub enum Item {
    /// A filled rectangle: left, top, width, height.
    Rect {
        /// Left, top, width, height.
        at: [f32; 4],
        /// Of its corners.
        radius: f32,
        /// Its colour.
        fill: Color,
    },
    /// A line through points, with round ends and joins.
    Line {
        /// x and y of each.
        points: Vec<[f32; 2]>,
        /// How thick it is.
        width: f32,
        /// Its colour.
        color: Color,
        /// The length of its dashes and of the gaps between them.
        dash: Option<[f32; 2]>,
    },
    /// A filled circle.
    Dot {
        /// Its middle.
        at: [f32; 2],
        /// Its radius.
        radius: f32,
        /// Its colour.
        fill: Color,
    },
    /// Words.
    Text(Text),
    /// An image in a rectangle: left, top, width, height.
    Image {
        /// Left, top, width, height.
        at: [f32; 4],
        /// What is shown there.
        image: Image,
    },
}

/// A line of words.
#[derive(Clone, Debug, PartialEq)]
pub struct Text {
    /// Where its anchor lies on the baseline.
    pub at: [f32; 2],
    /// The words.
    pub text: String,
    /// Pixels of the em.
    pub size: f32,
    /// How heavy it is.
    pub weight: Weight,
    /// Which part of it lies at `at`.
    pub anchor: Anchor,
    /// Its colour.
    pub color: Color,
    /// Whether it runs upwards.
    pub upwards: bool,
}

/// Which part of a text lies at its place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Anchor {
    /// Its beginning.
    #[default]
    Start,
    /// Its middle.
    Middle,
    /// Its end.
    End,
}

impl Text {
    /// Words of `size` pixels beginning at `at`, in ink.
    pub fn new(at: [f32; 2], text: impl Into<String>, size: f32) -> Self {
        let text = text.into();
        let (weight, anchor) = Default::default();
        Self { at, text, size, weight, anchor, color: Color::INK, upwards: false }
    }

    /// The same in another colour.
    pub fn color(self, color: Color) -> Self {
        Self { color, ..self }
    }

    /// The same with another part at its place.
    pub fn anchor(self, anchor: Anchor) -> Self {
        Self { anchor, ..self }
    }

    /// The same, heavier.
    pub fn semi_bold(self) -> Self {
        Self { weight: Weight::SemiBold, ..self }
    }

    /// The same, running upwards.
    pub fn upwards(self) -> Self {
        Self { upwards: true, ..self }
    }

    /// How far before its place it begins.
    pub(crate) fn shift(&self) -> f32 {
        let width = text_width(&self.text, self.size, self.weight);
        match self.anchor {
            Anchor::Start => 0.0,
            Anchor::Middle => width / 2.0,
            Anchor::End => width,
        }
    }
}

impl Scene {
    /// An empty scene on paper.
    pub fn new(width: f32, height: f32, description: impl Into<String>) -> Self {
        let paper = Item::Rect { at: [0.0, 0.0, width, height], radius: 0.0, fill: Color::PAPER };
        Self { width, height, description: description.into(), items: vec![paper] }
    }

    /// Puts a shape on top.
    pub fn add(&mut self, item: Item) {
        self.items.push(item);
    }

    /// Puts words on top.
    pub fn text(&mut self, text: Text) {
        self.items.push(Item::Text(text));
    }

    /// A straight line on top.
    pub fn line(&mut self, from: [f32; 2], to: [f32; 2], width: f32, color: Color) {
        self.items.push(Item::Line { points: vec![from, to], width, color, dash: None });
    }

    /// The scene as an SVG file, whose words are set in Inter or what is like it.
    ///
    /// # Errors
    /// When an image in it cannot be encoded.
    pub fn svg(&self) -> Result<String, DrawError> {
        svg::write(self)
    }

    /// The scene as a PNG file of `scale` pixels for each of its own.
    ///
    /// # Errors
    /// When it would be larger than is drawn.
    pub fn png(&self, scale: f32) -> Result<Vec<u8>, DrawError> {
        canvas::draw(self, scale)?.png()
    }

    /// The scene as an image of `scale` pixels for each of its own.
    ///
    /// # Errors
    /// When it would be larger than is drawn.
    pub fn image(&self, scale: f32) -> Result<Image, DrawError> {
        canvas::draw(self, scale)
    }
}
