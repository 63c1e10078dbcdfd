//! Pictures as people have them: three shapes on noisy grounds, of many sizes and kinds of files, some of them broken.

use image::codecs::jpeg::JpegEncoder;
use image::{ImageFormat, Rgb, RgbImage};
use std::fs;
use std::io::Cursor;
use std::path::Path;

pub(crate) const CLASSES: [&str; 3] = ["circle", "square", "triangle"];
/// Files that are no pictures that can be used, though they are called like some.
pub(crate) const BROKEN: [&str; 5] = ["cut.jpg", "empty.png", "page.jpg", "bomb.png", "half.webp"];

/// Numbers that look random: splitmix64.
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn from(&mut self, low: f32, high: f32) -> f32 {
        low + (high - low) * (self.next() >> 40) as f32 / (1u64 << 24) as f32
    }
}

/// A bright shape of class `class` somewhere on a dark ground.
fn draw(class: usize, noise: &mut Noise) -> RgbImage {
    let side = noise.from(40.0, 90.0).floor();
    let (width, height) = (side, (side * noise.from(0.85, 1.18)).floor());
    let radius = 0.5 * side.min(height) * noise.from(0.5, 0.75);
    let centre =
        [noise.from(radius + 1.0, width - radius - 1.0), noise.from(radius + 1.0, height - radius - 1.0)];
    let ink = [noise.from(150.0, 255.0), noise.from(150.0, 255.0), noise.from(150.0, 255.0)];
    let ground = [noise.from(10.0, 70.0), noise.from(10.0, 70.0), noise.from(10.0, 70.0)];
    RgbImage::from_fn(width as u32, height as u32, |x, y| {
        let [x, y] = [(x as f32 - centre[0]) / radius, (y as f32 - centre[1]) / radius];
        let inside = match class {
            0 => x * x + y * y < 1.0,
            1 => x.abs().max(y.abs()) < 0.85,
            _ => y < 0.8 && y > -0.9 + 1.9 * x.abs(),
        };
        let colour = if inside { ink } else { ground };
        Rgb(colour.map(|level| (level + noise.from(-25.0, 25.0)).clamp(0.0, 255.0) as u8))
    })
}

/// Writes 300 pictures into a folder for each class of `root`, PNG, JPEG, WebP and BMP in turn, and the broken ones among
/// them.
pub(crate) fn write(root: &Path) {
    let mut noise = Noise(7);
    for number in 0..300 {
        let class = number % 3;
        let folder = root.join(CLASSES[class]);
        fs::create_dir_all(&folder).unwrap();
        let picture = draw(class, &mut noise);
        let mut bytes = Cursor::new(Vec::new());
        let ending = ["png", "jpg", "webp", "bmp"][number / 3 % 4];
        match ending {
            "jpg" => picture.write_with_encoder(JpegEncoder::new_with_quality(&mut bytes, 90)).unwrap(),
            ending => picture.write_to(&mut bytes, ImageFormat::from_extension(ending).unwrap()).unwrap(),
        }
        fs::write(folder.join(format!("{number:03}.{ending}")), bytes.into_inner()).unwrap();
    }
    let read = |name: &str| fs::read(root.join(name)).unwrap();
    let [jpeg, webp, mut bomb] = ["circle/003.jpg", "circle/006.webp", "circle/000.png"].map(read);
    bomb[16..20].copy_from_slice(&[0x7f, 0xff, 0xff, 0xff]);
    let broken: [&[u8]; 5] =
        [&jpeg[..jpeg.len() / 2], b"", b"<!DOCTYPE html><html>", &bomb, &webp[..webp.len() / 2]];
    for (number, (name, bytes)) in BROKEN.into_iter().zip(broken).enumerate() {
        fs::write(root.join(CLASSES[number % 3]).join(name), bytes).unwrap();
    }
    fs::write(root.join("circle/notes.txt"), "not a picture").unwrap();
}
