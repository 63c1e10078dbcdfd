//! A scene in pixels.

use crate::color::Color;
use crate::error::DrawError;
use crate::font::rasterise;
use crate::image::Image;
use crate::scene::{Item, Scene, Text};

/// The longest side of a picture in pixels.
pub(crate) const MAX_SIDE: u32 = 16_384;
/// The most pixels of a picture: 192 MB while it is made.
pub(crate) const MAX_PIXELS: u64 = 1 << 26;

/// Draws the scene.
pub(crate) fn draw(scene: &Scene, scale: f32) -> Result<Image, DrawError> {
    let (width, height) = ((scene.width * scale).round(), (scene.height * scale).round());
    let side = 1.0..=MAX_SIDE as f32;
    let pixels = width as f64 * height as f64;
    if !side.contains(&width) || !side.contains(&height) || pixels > MAX_PIXELS as f64 {
        let (width, height) = (width as f64, height as f64);
        return Err(DrawError::Size { width, height, max_side: MAX_SIDE, max_pixels: MAX_PIXELS });
    }
    let mut canvas = Canvas::new(width as usize, height as usize);
    for item in &scene.items {
        canvas.item(item, scale);
    }
    let Canvas { width, height, rgb } = canvas;
    Image::from_channels(&rgb, [3, height, width])
}

impl Image {
    /// The image as a PNG file.
    ///
    /// # Errors
    /// When the encoder fails.
    pub fn png(&self) -> Result<Vec<u8>, DrawError> {
        let encode = |error: png::EncodingError| DrawError::Encode(error.to_string());
        let mut file = Vec::new();
        let mut encoder = png::Encoder::new(&mut file, self.width() as u32, self.height() as u32);
        encoder.set_color(png::ColorType::Rgb);
        encoder.set_depth(png::BitDepth::Eight);
        let mut writer = encoder.write_header().map_err(encode)?;
        writer.write_image_data(self.rgb()).map_err(encode)?;
        writer.finish().map_err(encode)?;
        Ok(file)
    }
}

struct Canvas {
    width: usize,
    height: usize,
    rgb: Vec<u8>,
}

/// The first and the end of the pixels that a span from `low` to `high` touches.
fn touched(low: f32, high: f32, size: usize) -> std::ops::Range<usize> {
    // A float becomes the nearest number that there is: below the picture 0, NaN too.
    (low.floor() as usize).min(size)..(high.ceil() as usize).min(size)
}

impl Canvas {
    fn new(width: usize, height: usize) -> Self {
        Self { width, height, rgb: vec![255; 3 * width * height] }
    }

    fn item(&mut self, item: &Item, scale: f32) {
        match item {
            Item::Rect { at, radius, fill } => self.rect(at.map(|x| x * scale), radius * scale, *fill),
            Item::Line { points, width, color, dash } => {
                let points: Vec<[f32; 2]> = points.iter().map(|point| point.map(|x| x * scale)).collect();
                let pieces = match dash {
                    Some(dash) => dashes(&points, dash.map(|x| x * scale)),
                    None => vec![points],
                };
                self.stroke(&pieces, width * scale / 2.0, *color);
            }
            Item::Dot { at, radius, fill } => {
                let at = at.map(|x| x * scale);
                self.stroke(&[vec![at, at]], radius * scale, *fill);
            }
            Item::Text(text) => self.text(text, scale),
            Item::Image { at, image } => self.image(at.map(|x| x * scale), image),
        }
    }

    fn blend(&mut self, x: usize, y: usize, color: Color, coverage: f32) {
        let alpha = coverage * color.opacity();
        if x >= self.width || y >= self.height || alpha <= 0.0 {
            return;
        }
        let at = 3 * (y * self.width + x);
        for (level, new) in self.rgb[at..at + 3].iter_mut().zip(color.0) {
            *level = (*level as f32 + (new as f32 - *level as f32) * alpha).round() as u8;
        }
    }

    fn rect(&mut self, [left, top, width, height]: [f32; 4], radius: f32, fill: Color) {
        let (right, bottom) = (left + width, top + height);
        let radius = radius.min(width / 2.0).min(height / 2.0);
        let (middle, half) = ([left + width / 2.0, top + height / 2.0], [width / 2.0, height / 2.0]);
        let share =
            |low: f32, high: f32, at: usize| (high.min(at as f32 + 1.0) - low.max(at as f32)).clamp(0.0, 1.0);
        for y in touched(top, bottom, self.height) {
            for x in touched(left, right, self.width) {
                let coverage = share(left, right, x) * share(top, bottom, y);
                let dx = ((x as f32 + 0.5 - middle[0]).abs() - half[0] + radius).max(0.0);
                let dy = ((y as f32 + 0.5 - middle[1]).abs() - half[1] + radius).max(0.0);
                let corner =
                    if dx > 0.0 && dy > 0.0 { (radius + 0.5 - dx.hypot(dy)).clamp(0.0, 1.0) } else { 1.0 };
                self.blend(x, y, fill, coverage.min(corner));
            }
        }
    }

    /// Lines of half the thickness `half`: every pixel as much as its distance from the nearest of them says, so that
    /// nothing is drawn twice where they meet.
    fn stroke(&mut self, pieces: &[Vec<[f32; 2]>], half: f32, color: Color) {
        let reach = half + 1.0;
        let points = || pieces.iter().flatten().filter(|[x, y]| x.is_finite() && y.is_finite());
        let bound =
            |axis: usize, pick: fn(f32, f32) -> f32, start| points().map(|p| p[axis]).fold(start, pick);
        let columns =
            touched(bound(0, f32::min, f32::MAX) - reach, bound(0, f32::max, 0.0) + reach, self.width);
        let rows =
            touched(bound(1, f32::min, f32::MAX) - reach, bound(1, f32::max, 0.0) + reach, self.height);
        if columns.is_empty() || rows.is_empty() {
            return;
        }
        let mut coverage = vec![0.0f32; columns.len() * rows.len()];
        for [from, to] in pieces.iter().flat_map(|piece| piece.windows(2)).map(|pair| [pair[0], pair[1]]) {
            let span = |axis: usize, size: usize| {
                touched(from[axis].min(to[axis]) - reach, from[axis].max(to[axis]) + reach, size)
            };
            for y in span(1, self.height) {
                for x in span(0, self.width) {
                    let distance = distance([x as f32 + 0.5, y as f32 + 0.5], from, to);
                    // A line thinner than a pixel is as wide as one and paler.
                    let inside = (half.max(0.5) + 0.5 - distance).clamp(0.0, 1.0) * (2.0 * half).min(1.0);
                    let at = (y - rows.start) * columns.len() + x - columns.start;
                    coverage[at] = coverage[at].max(inside);
                }
            }
        }
        for (row, y) in coverage.chunks(columns.len()).zip(rows) {
            for (coverage, x) in row.iter().zip(columns.clone()) {
                self.blend(x, y, color, *coverage);
            }
        }
    }

    fn text(&mut self, text: &Text, scale: f32) {
        let shift = text.shift();
        let [x, y] = text.at;
        let start = if text.upwards { [x, y + shift] } else { [x - shift, y] };
        let [left, top] = start.map(|x| (x * scale).round() as i32);
        rasterise(&text.text, text.size * scale, text.weight, |column, row, coverage| {
            let (x, y) = if text.upwards { (left + row, top - column) } else { (left + column, top + row) };
            if x >= 0 && y >= 0 {
                self.blend(x as usize, y as usize, text.color, coverage);
            }
        });
    }

    fn image(&mut self, at: [f32; 4], image: &Image) {
        let [left, top, width, height] = at.map(|x| x.round().max(0.0) as usize);
        if width == 0 || height == 0 || left >= self.width || top >= self.height {
            return;
        }
        let shown = image.resized(width.min(MAX_SIDE as usize), height.min(MAX_SIDE as usize));
        let columns = shown.width().min(self.width - left);
        for y in 0..shown.height().min(self.height - top) {
            let from = &shown.rgb()[3 * y * shown.width()..][..3 * columns];
            self.rgb[3 * ((top + y) * self.width + left)..][..3 * columns].copy_from_slice(from);
        }
    }
}

/// The distance of a point from the line between two others.
fn distance(point: [f32; 2], from: [f32; 2], to: [f32; 2]) -> f32 {
    let [dx, dy] = [to[0] - from[0], to[1] - from[1]];
    let [px, py] = [point[0] - from[0], point[1] - from[1]];
    let length = dx * dx + dy * dy;
    let t = if length > 0.0 { ((px * dx + py * dy) / length).clamp(0.0, 1.0) } else { 0.0 };
    (px - t * dx).hypot(py - t * dy)
}

/// A line cut into dashes of the first length with gaps of the second.
fn dashes(points: &[[f32; 2]], [on, off]: [f32; 2]) -> Vec<Vec<[f32; 2]>> {
    let (on, off) = (on.max(1.0), off.max(1.0));
    let mut pieces = Vec::new();
    let mut piece: Vec<[f32; 2]> = points.first().copied().into_iter().collect();
    let (mut drawing, mut left) = (true, on);
    for pair in points.windows(2) {
        let ([mut x, mut y], [to_x, to_y]) = (pair[0], pair[1]);
        loop {
            let length = (to_x - x).hypot(to_y - y);
            if length.is_nan() || length < left {
                left -= if length.is_nan() { 0.0 } else { length };
                if drawing {
                    piece.push([to_x, to_y]);
                }
                break;
            }
            (x, y) = (x + (to_x - x) * left / length, y + (to_y - y) * left / length);
            if drawing {
                piece.push([x, y]);
                pieces.push(std::mem::take(&mut piece));
            } else {
                piece = vec![[x, y]];
            }
            drawing = !drawing;
            left = if drawing { on } else { off };
        }
    }
    pieces.push(piece);
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drawn(item: Item) -> Image {
        let mut scene = Scene::new(10.0, 10.0, "");
        scene.add(item);
        scene.image(1.0).unwrap()
    }

    fn level(image: &Image, x: usize, y: usize) -> u8 {
        image.rgb()[3 * (y * image.width() + x)]
    }

    const BLACK: Color = Color::rgb(0, 0, 0);

    #[test]
    fn edges_are_as_dark_as_they_are_covered() {
        let image = drawn(Item::Rect { at: [2.5, 2.0, 4.0, 3.0], radius: 0.0, fill: BLACK });
        assert_eq!([1, 2, 3, 6, 7].map(|x| level(&image, x, 2)), [255, 128, 0, 128, 255]);
        assert_eq!((level(&image, 4, 4), level(&image, 4, 5)), (0, 255));
        let round = drawn(Item::Rect { at: [0.0, 0.0, 10.0, 10.0], radius: 5.0, fill: BLACK });
        assert_eq!((level(&round, 0, 0), level(&round, 5, 5), level(&round, 9, 9)), (255, 0, 255));
    }

    #[test]
    fn lines_do_not_darken_where_they_meet() {
        let points = vec![[0.0, 5.0], [5.0, 5.0], [5.0, 5.0], [10.0, 5.0]];
        let image = drawn(Item::Line { points, width: 1.0, color: BLACK, dash: None });
        assert!((0..10).all(|x| level(&image, x, 4) == level(&image, 2, 4)));
        assert_eq!((level(&image, 3, 2), level(&image, 3, 7)), (255, 255));
        let dashed = vec![[0.0, 5.5], [10.0, 5.5]];
        let image = drawn(Item::Line { points: dashed, width: 1.0, color: BLACK, dash: Some([2.0, 4.0]) });
        assert!(level(&image, 1, 5) < 50 && level(&image, 4, 5) == 255 && level(&image, 7, 5) < 50);
    }

    #[test]
    fn what_lies_outside_is_left_out() {
        let far = f32::INFINITY;
        for points in
            [vec![[-50.0, -50.0], [-40.0, -40.0]], vec![[far, 0.0], [far, far]], vec![[f32::NAN; 2]; 3]]
        {
            let image = drawn(Item::Line { points, width: 2.0, color: BLACK, dash: Some([3.0, 3.0]) });
            assert!(image.rgb().iter().all(|level| *level == 255));
        }
        let image = Image::from_channels(&[9; 4], [1, 2, 2]).unwrap();
        let corner = drawn(Item::Image { at: [8.0, 8.0, 4.0, 4.0], image });
        assert_eq!((level(&corner, 9, 9), level(&corner, 7, 9)), (9, 255));
        drawn(Item::Text(Text::new([-5.0, 300.0], "away", 12.0)));
    }

    #[test]
    fn too_large_a_picture_is_refused() {
        for (width, height, scale) in
            [(20_000.0, 1.0, 1.0), (9000.0, 9000.0, 1.0), (10.0, 10.0, 0.0), (5.0, 5.0, f32::NAN)]
        {
            let error = Scene::new(width, height, "").png(scale).unwrap_err();
            assert!(matches!(error, DrawError::Size { .. }), "{error}");
        }
    }
}
