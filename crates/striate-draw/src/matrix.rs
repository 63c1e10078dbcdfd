//! Confusion matrices as pictures.

use crate::color::{Color, PALETTE};
use crate::error::DrawError;
use crate::font::{Weight, shortened, text_width};
use crate::image::Image;
use crate::scene::{Anchor, Item, Scene, Text};

/// The most classes of a matrix.
pub const MAX_CLASSES: usize = 4096;

/// So many classes have their counts written in.
const WRITTEN: usize = 20;
/// So many classes have their names at the sides.
const NAMED: usize = 128;
const MARGIN: f32 = 24.0;
/// Room for a name.
const NAME: f32 = 110.0;

/// How often each class (row) was taken for each (column).
#[derive(Clone, Debug, PartialEq)]
pub struct Matrix<'a> {
    /// Over all.
    pub title: String,
    /// Under the title.
    pub subtitle: String,
    /// The names of the classes.
    pub classes: &'a [String],
    /// How many of one class were taken for another; no entry stands for none.
    pub entries: &'a [(usize, usize, u64)],
}

impl Matrix<'_> {
    /// The matrix as a scene: what was right in blue, what was wrong in orange, the more of a row the darker.
    ///
    /// # Errors
    /// When there are no classes, more than [`MAX_CLASSES`], or entries of others.
    pub fn draw(&self) -> Result<Scene, DrawError> {
        let n = self.classes.len();
        let outside = self.entries.iter().any(|(row, column, _)| *row.max(column) >= n);
        if n == 0 || n > MAX_CLASSES || outside {
            let most = self.entries.iter().map(|(row, column, _)| row.max(column) + 1).max().unwrap_or(0);
            return Err(DrawError::Classes { classes: n, needed: most, max: MAX_CLASSES });
        }
        let cell = (640.0 / n as f32).clamp(1.0, 44.0);
        let cell = if n <= NAMED { cell.max(10.0) } else { cell.max(1.0).round() };
        let side = cell * n as f32;
        let size = if n <= NAMED { (cell - 2.0).clamp(7.0, 11.0) } else { 0.0 };
        let widest =
            self.classes.iter().map(|name| text_width(name, size, Weight::Regular)).fold(0.0, f32::max);
        let names = if n <= NAMED { widest.min(NAME) + 8.0 } else { 0.0 };
        let (left, top) = (MARGIN + 20.0 + names, MARGIN + 58.0);
        let width = (left + side + MARGIN).max(360.0);
        let mut scene = Scene::new(width, top + side + names + 20.0 + MARGIN, self.title.clone());
        let fitted = |text: &str, size, weight| shortened(text, width - 2.0 * MARGIN, size, weight);
        let title = fitted(&self.title, 17.0, Weight::SemiBold);
        scene.text(Text::new([MARGIN, MARGIN + 14.0], title, 17.0).semi_bold());
        let subtitle = fitted(&self.subtitle, 12.0, Weight::Regular);
        scene.text(Text::new([MARGIN, MARGIN + 36.0], subtitle, 12.0).color(Color::PALE_INK));
        let colors = self.colors();
        let pixels: Vec<u8> = colors.iter().flat_map(|Color([r, g, b, _])| [*r, *g, *b]).collect();
        let image = Image::from_channels(&pixels, [3, n, n])?;
        scene.add(Item::Image { at: [left, top, side, side], image });
        if n <= WRITTEN {
            self.counts(&mut scene, &colors, [left, top], cell);
        }
        if n <= NAMED {
            self.names(&mut scene, [left, top], cell, size);
        }
        let middle = [MARGIN + 10.0, top + side / 2.0];
        let label = |at, text: &str| Text::new(at, text, 12.0).anchor(Anchor::Middle).color(Color::PALE_INK);
        scene.text(label(middle, "is").upwards());
        scene.text(label([left + side / 2.0, top + side + names + 16.0], "was taken for"));
        Ok(scene)
    }

    /// The colour of each cell, row by row.
    fn colors(&self) -> Vec<Color> {
        let n = self.classes.len();
        let mut sums = vec![0u64; n];
        for (row, _, count) in self.entries {
            sums[*row] += count;
        }
        let mut colors = vec![Color::rgb(0xf6, 0xf7, 0xf9); n * n];
        for &(row, column, count) in self.entries.iter().filter(|entry| entry.2 > 0) {
            let share = count as f32 / sums[row] as f32;
            let color = if row == column { PALETTE[0] } else { PALETTE[1] };
            // The root shows what is rare, and what was wrong at all is seen.
            colors[row * n + column] = Color::PAPER.mix(color, 0.12 + 0.88 * share.sqrt());
        }
        colors
    }

    fn counts(&self, scene: &mut Scene, colors: &[Color], [left, top]: [f32; 2], cell: f32) {
        let n = self.classes.len();
        for &(row, column, count) in self.entries.iter().filter(|entry| entry.2 > 0) {
            let dark = colors[row * n + column].luminance() < 0.55;
            let text = count.to_string();
            let size = (11.0 * (cell - 4.0) / text_width(&text, 11.0, Weight::Regular)).clamp(6.0, 11.0);
            let at = [left + (column as f32 + 0.5) * cell, top + (row as f32 + 0.5) * cell + 0.36 * size];
            let color = if dark { Color::PAPER } else { Color::INK };
            scene.text(Text::new(at, text, size).anchor(Anchor::Middle).color(color));
        }
        for at in 1..n {
            let at = at as f32 * cell;
            let side = n as f32 * cell;
            scene.line([left + at, top], [left + at, top + side], 1.0, Color::PAPER);
            scene.line([left, top + at], [left + side, top + at], 1.0, Color::PAPER);
        }
    }

    fn names(&self, scene: &mut Scene, [left, top]: [f32; 2], cell: f32, size: f32) {
        let side = cell * self.classes.len() as f32;
        let widest =
            self.classes.iter().map(|name| text_width(name, size, Weight::Regular)).fold(0.0, f32::max);
        for (index, name) in self.classes.iter().enumerate() {
            let name = shortened(name, NAME, size, Weight::Regular);
            let middle = (index as f32 + 0.5) * cell + 0.36 * size;
            let row = Text::new([left - 7.0, top + middle], name.clone(), size).anchor(Anchor::End);
            scene.text(row);
            scene.text(if widest + 4.0 <= cell {
                let at = [left + (index as f32 + 0.5) * cell, top + side + 6.0 + size];
                Text::new(at, name, size).anchor(Anchor::Middle)
            } else {
                Text::new([left + middle, top + side + 7.0], name, size).anchor(Anchor::End).upwards()
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(count: usize) -> Vec<String> {
        (0..count).map(|index| format!("class {index}")).collect()
    }

    fn drawn(classes: &[String], entries: &[(usize, usize, u64)]) -> Result<Scene, DrawError> {
        Matrix { title: "m".into(), subtitle: String::new(), classes, entries }.draw()
    }

    fn words(scene: &Scene) -> Vec<&str> {
        let text = |item: &'_ Item| matches!(item, Item::Text(_));
        scene
            .items
            .iter()
            .filter(|item| text(item))
            .map(|item| match item {
                Item::Text(text) => text.text.as_str(),
                _ => unreachable!("only texts are left"),
            })
            .collect()
    }

    #[test]
    fn counts_and_names_stand_where_there_is_room() {
        let scene = drawn(&names(3), &[(0, 0, 7), (0, 2, 41), (1, 1, 0)]).unwrap();
        let words = words(&scene);
        assert!(words.contains(&"7") && words.contains(&"41") && !words.contains(&"0"), "{words:?}");
        assert_eq!(words.iter().filter(|word| **word == "class 1").count(), 2);
        let many = drawn(&names(1000), &[(999, 0, 1)]).unwrap();
        assert!(self::words(&many).len() == 4 && many.png(1.0).unwrap().len() < 1 << 20);
    }

    #[test]
    fn right_is_blue_wrong_is_orange() {
        let classes = names(2);
        let matrix = Matrix {
            title: String::new(),
            subtitle: String::new(),
            classes: &classes,
            entries: &[(0, 0, 3), (0, 1, 1)],
        };
        let [right, wrong, none, _] = matrix.colors()[..] else { panic!() };
        assert!(right.0[2] > right.0[0] && wrong.0[0] > wrong.0[2] && none.luminance() > 0.95);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        for (classes, entries) in [(0, vec![]), (2, vec![(0, 2, 1)]), (4097, vec![])] {
            assert!(matches!(drawn(&names(classes), &entries), Err(DrawError::Classes { .. })));
        }
    }
}
