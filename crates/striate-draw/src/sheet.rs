//! Contact sheets: images in rows, with words under them.

use crate::color::Color;
use crate::error::DrawError;
use crate::font::{Weight, shortened};
use crate::image::Image;
use crate::scene::{Item, Scene, Text};

/// The most images of a sheet.
pub const MAX_CELLS: usize = 1024;

/// Pixels of a line under an image.
const LINE: f32 = 15.0;
const SIZE: f32 = 11.0;
const MARGIN: f32 = 20.0;
const GAP: f32 = 12.0;

/// An image and what is said of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Cell {
    /// The image, of any size.
    pub image: Image,
    /// The lines under it.
    pub caption: Vec<String>,
}

impl Cell {
    /// An image with lines under it.
    pub fn new<T: Into<String>>(image: Image, caption: impl IntoIterator<Item = T>) -> Self {
        Self { image, caption: caption.into_iter().map(Into::into).collect() }
    }
}

/// How a sheet looks.
#[derive(Clone, Debug, PartialEq)]
pub struct Sheet {
    title: String,
    subtitle: String,
    columns: Option<usize>,
    side: f32,
}

impl Sheet {
    /// A sheet with a title, its images in squares of 96 pixels.
    pub fn new(title: impl Into<String>) -> Self {
        Self { title: title.into(), subtitle: String::new(), columns: None, side: 96.0 }
    }

    /// The same with a line under the title.
    pub fn subtitle(self, subtitle: impl Into<String>) -> Self {
        Self { subtitle: subtitle.into(), ..self }
    }

    /// The same with as many images in a row; otherwise as many as make it a little wider than high.
    pub fn columns(self, columns: usize) -> Self {
        Self { columns: Some(columns.max(1)), ..self }
    }

    /// The same with images in squares of `side` pixels, from 16 to 1024.
    pub fn side(self, side: f32) -> Self {
        Self { side: side.clamp(16.0, 1024.0), ..self }
    }

    /// The sheet of these images, each as large as its square lets it be: enlarged by whole factors, so that pixels
    /// stay squares, or made smaller by averaging.
    ///
    /// # Errors
    /// When there are more than [`MAX_CELLS`] images. That the sheet is too large to draw, drawing says.
    pub fn draw(&self, cells: &[Cell]) -> Result<Scene, DrawError> {
        if cells.len() > MAX_CELLS {
            return Err(DrawError::Cells { cells: cells.len(), max: MAX_CELLS });
        }
        let lines = cells.iter().map(|cell| cell.caption.len()).max().unwrap_or(0);
        let room = [self.side, self.side + if lines > 0 { 4.0 + lines as f32 * LINE } else { 0.0 }];
        let columns = self.columns.unwrap_or_else(|| {
            let wide = (cells.len() as f32 * 1.4 * room[1] / room[0]).sqrt().round() as usize;
            wide.clamp(1, 32)
        });
        let columns = columns.clamp(1, cells.len().max(1));
        let rows = cells.len().div_ceil(columns);
        let along = |count: usize, size: f32| count as f32 * (size + GAP) - if count > 0 { GAP } else { 0.0 };
        let head = [&self.title, &self.subtitle].map(|text| if text.is_empty() { 0.0 } else { 22.0 });
        let head = head[0] + head[1] + if head[0] + head[1] > 0.0 { 8.0 } else { 0.0 };
        let width = (along(columns, room[0]) + 2.0 * MARGIN).max(240.0);
        let height = head + along(rows, room[1]) + 2.0 * MARGIN;
        let mut scene = Scene::new(width, height, self.title.clone());
        let mut baseline = MARGIN + 15.0;
        let fitted = |text: &str, size, weight| shortened(text, width - 2.0 * MARGIN, size, weight);
        if !self.title.is_empty() {
            let title = fitted(&self.title, 17.0, Weight::SemiBold);
            scene.text(Text::new([MARGIN, baseline], title, 17.0).semi_bold());
            baseline += 21.0;
        }
        if !self.subtitle.is_empty() {
            let subtitle = fitted(&self.subtitle, 12.0, Weight::Regular);
            scene.text(Text::new([MARGIN, baseline], subtitle, 12.0).color(Color::PALE_INK));
        }
        for (index, cell) in cells.iter().enumerate() {
            let left = MARGIN + (index % columns) as f32 * (room[0] + GAP);
            let top = MARGIN + head + (index / columns) as f32 * (room[1] + GAP);
            self.cell(&mut scene, cell, [left, top]);
        }
        Ok(scene)
    }

    fn cell(&self, scene: &mut Scene, cell: &Cell, [left, top]: [f32; 2]) {
        let size = [cell.image.width() as f32, cell.image.height() as f32];
        let fit = self.side / size[0].max(size[1]);
        let fit = if fit >= 1.0 { fit.floor() } else { fit };
        let [width, height] = size.map(|size| (size * fit).round().max(1.0));
        let at = [left + ((self.side - width) / 2.0).floor(), top + ((self.side - height) / 2.0).floor()];
        let ground = Item::Rect {
            at: [left, top, self.side, self.side],
            radius: 0.0,
            fill: Color::rgb(0xf3, 0xf4, 0xf6),
        };
        scene.add(ground);
        scene.add(Item::Image { at: [at[0], at[1], width, height], image: cell.image.clone() });
        for (line, text) in cell.caption.iter().enumerate() {
            let text = shortened(text, self.side, SIZE, Weight::Regular);
            let color = if line == 0 { Color::INK } else { Color::PALE_INK };
            let baseline = top + self.side + 4.0 + (line as f32 + 0.8) * LINE;
            scene.text(Text::new([left, baseline], text, SIZE).color(color));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cells(count: usize, [width, height]: [usize; 2]) -> Vec<Cell> {
        let image = Image::from_channels(&vec![200; width * height], [1, height, width]).unwrap();
        (0..count)
            .map(|index| Cell::new(image.clone(), [format!("image {index}"), "of grey".into()]))
            .collect()
    }

    fn places(scene: &Scene) -> Vec<[f32; 4]> {
        let place = |item: &Item| match item {
            Item::Image { at, .. } => Some(*at),
            _ => None,
        };
        scene.items.iter().filter_map(place).collect()
    }

    #[test]
    fn images_stand_in_rows_as_large_as_they_may() {
        let scene = Sheet::new("t").columns(2).draw(&cells(3, [28, 14])).unwrap();
        let places = places(&scene);
        assert_eq!(places.len(), 3);
        assert_eq!(places[0][2..], [84.0, 42.0], "three times as large, not 96/28 times");
        assert_eq!((places[1][0] - places[0][0], places[1][1]), (108.0, places[0][1]));
        assert_eq!((places[2][0], places[2][1] - places[0][1]), (places[0][0], 96.0 + 4.0 + 30.0 + 12.0));
        let scene = Sheet::new("t").side(50.0).draw(&cells(1, [500, 100])).unwrap();
        assert_eq!(self::places(&scene)[0][2..], [50.0, 10.0]);
    }

    #[test]
    fn a_sheet_is_bounded() {
        assert_eq!(
            Sheet::new("t").draw(&cells(1025, [1, 1])),
            Err(DrawError::Cells { cells: 1025, max: 1024 })
        );
        let empty = Sheet::new("nothing to see").draw(&[]).unwrap();
        assert!(empty.png(1.0).unwrap().len() > 100);
        let all = Sheet::new("t").draw(&cells(1024, [1, 1])).unwrap();
        assert!(all.width < 4000.0 && all.height < 6000.0, "{}x{}", all.width, all.height);
        let long = Sheet::new("t").columns(1).side(1024.0).draw(&cells(20, [1, 1])).unwrap();
        assert!(matches!(long.png(1.0), Err(DrawError::Size { .. })));
    }
}
