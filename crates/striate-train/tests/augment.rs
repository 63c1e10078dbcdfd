//! From pictures of any size to inputs: the same for whoever makes them, as a twin in float64 has it, never a panic.

use std::io::Cursor;

use image::{DynamicImage, ImageFormat, RgbImage};
use proptest::prelude::*;
use striate_train::augment::{Augment, Pipeline, PipelineError};
use striate_train::frame::Frame;
use striate_train::image_file::{Fit, Preprocess};
use striate_train::picture::Picture;
use striate_train::resample::Filter;
use striate_train::views::{Crops, Views};

/// Levels that look random and are the same every time.
fn levels(len: usize, seed: u32) -> Vec<u8> {
    let mut state = seed.wrapping_mul(2_654_435_761) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        (state >> 11) as u8
    };
    (0..len).map(|_| next()).collect()
}

fn picture(pixels: &[u8], [channels, height, width]: [usize; 3]) -> Picture<'_> {
    Picture { height, width, channels, pixels }
}

/// Inputs hold the bytes' values.
fn plain(augment: &Augment, image: [usize; 3], fit: Fit) -> Pipeline {
    let (mean, std) = (vec![0.0; image[0]], vec![1.0 / 255.0; image[0]]);
    Pipeline::new(augment, image, [image[1], image[2]], [&mean, &std], fit).unwrap()
}

fn apply(pipeline: &mut Pipeline, picture: Picture<'_>, sample: u32) -> Vec<f32> {
    let mut dst = vec![f32::NAN; pipeline.len()];
    pipeline.apply(picture, 1, 2, sample, &mut dst).unwrap();
    dst
}

#[test]
fn images_of_the_right_size_are_moved_as_ever() {
    let image = [1, 28, 28];
    let pixels = levels(784, 3);
    let mut pipeline =
        Pipeline::new(&Augment::DIGITS, image, [32, 32], [&[0.13], &[0.31]], Fit::Digit { ink: 20 }).unwrap();
    let mut frame = Frame::new(image, [32, 32], &[0.13], &[0.31]).unwrap();
    let mut expected = vec![0.0; frame.len()];
    for sample in 0..20 {
        frame.put(&pixels, Augment::DIGITS.draw(1, 2, sample).as_ref(), &mut expected);
        assert_eq!(apply(&mut pipeline, picture(&pixels, image), sample), expected);
    }
    let mut pipeline =
        Pipeline::new(&Augment::NONE, image, [32, 32], [&[0.13], &[0.31]], Fit::Digit { ink: 20 }).unwrap();
    frame.put(&pixels, None, &mut expected);
    assert_eq!(apply(&mut pipeline, picture(&pixels, image), 0), expected);
}

#[test]
fn without_changes_pictures_are_what_a_prediction_sees() {
    for ([height, width], short_side) in [([50, 70], 40), ([90, 33], 33), ([24, 24], 24), ([17, 13], 30)] {
        let pixels = levels(height * width * 3, 9);
        let file = RgbImage::from_raw(width as u32, height as u32, pixels.clone()).unwrap();
        let mut bytes = Cursor::new(Vec::new());
        DynamicImage::from(file).write_to(&mut bytes, ImageFormat::Png).unwrap();
        for (channels, filter) in [(3, Filter::Bilinear), (1, Filter::Bilinear), (3, Filter::Bicubic)] {
            let (shape, fit) = ([channels, 24, 20], Fit::Crop { short_side, filter });
            let (mean, std) = (vec![0.4; channels], vec![0.3; channels]);
            let mut pipeline = Pipeline::new(&Augment::NONE, shape, [24, 20], [&mean, &std], fit).unwrap();
            let seen = apply(&mut pipeline, picture(&pixels, [3, height, width]), 0);
            let predicted =
                Preprocess { shape, image: None, mean, std, fit }.decode(bytes.get_ref()).unwrap();
            assert_eq!(seen, predicted, "{height}x{width} {channels} {filter:?}");
        }
    }
}

#[test]
fn whoever_makes_a_sample_makes_the_same() {
    let all = "rrc=0.2,flip,rotate=5,jitter=0.4,hue=0.1,lighting=0.1,cutout=5,erase=0.5,randaugment=2/9";
    let augment: Augment = all.parse().unwrap();
    let pictures: Vec<(Vec<u8>, [usize; 3])> = [[3, 40, 50], [3, 16, 16], [1, 33, 20], [3, 7, 90]]
        .map(|shape| (levels(shape.iter().product(), 5), shape))
        .into();
    let fresh = plain(&augment, [3, 16, 16], Fit::crop(20));
    let mut used = fresh.clone();
    let order: Vec<u32> = (0..40).rev().chain(0..40).collect();
    for sample in order {
        let (pixels, shape) = &pictures[sample as usize % pictures.len()];
        let made = apply(&mut used, picture(pixels, *shape), sample);
        assert_eq!(made, apply(&mut fresh.clone(), picture(pixels, *shape), sample), "sample {sample}");
        let mut other = vec![0.0; used.len()];
        used.apply(picture(pixels, *shape), 1, 3, sample, &mut other).unwrap();
        assert_ne!(made, other, "another epoch");
    }
}

/// The mean of a triangle of pixels around the place of `at`, in float64, without any rounding.
fn twin(pixels: &[u8], [height, width]: [usize; 2], to: [usize; 2], [y, x]: [usize; 2]) -> f64 {
    let weights = |from: usize, to: usize, at: usize| -> Vec<f64> {
        let scale = from as f64 / to as f64;
        let (centre, reach) = ((at as f64 + 0.5) * scale, scale.max(1.0));
        let weight = |pixel: usize| (1.0 - ((pixel as f64 + 0.5 - centre) / reach).abs()).max(0.0);
        let weights: Vec<f64> = (0..from).map(weight).collect();
        let sum: f64 = weights.iter().sum();
        weights.into_iter().map(|weight| weight / sum).collect()
    };
    let (rows, columns) = (weights(height, to[0], y), weights(width, to[1], x));
    let row =
        |y: usize| -> f64 { columns.iter().zip(&pixels[y * width..]).map(|(w, p)| w * f64::from(*p)).sum() };
    rows.iter().enumerate().map(|(y, weight)| weight * row(y)).sum()
}

#[test]
fn resizing_is_antialiased_as_the_twin_has_it() {
    let augment: Augment = "resize=12".parse().unwrap();
    let [height, width] = [47, 61];
    let pixels = levels(height * width, 8);
    let mut pipeline = plain(&augment, [1, 12, 12], Fit::crop(12));
    let to = [12, 12 * width / height];
    let mut places = [0; 4];
    for sample in 0..60 {
        let made = apply(&mut pipeline, picture(&pixels, [1, height, width]), sample);
        let matches = |left: usize| {
            (0..144).all(|at| {
                let wanted = twin(&pixels, [height, width], to, [at / 12, at % 12 + left]);
                (f64::from(made[at]) - wanted).abs() <= 1.01
            })
        };
        let left = (0..=to[1] - 12).find(|left| matches(*left));
        places[left.unwrap_or_else(|| panic!("sample {sample} lies nowhere"))] += 1;
    }
    assert!(places.iter().all(|count| *count > 5), "each place is drawn: {places:?}");
}

#[test]
fn lighting_adds_the_same_to_all_pixels_and_blanks_are_the_mean() {
    let shape = [3, 20, 20];
    let pixels = levels(1200, 2);
    let make = |text: &str, sample: u32| {
        let augment = text.parse().unwrap();
        let (mean, std) = ([0.5, 0.4, 0.3], [0.2, 0.3, 0.4]);
        let mut pipeline = Pipeline::new(&augment, shape, [20, 20], [&mean, &std], Fit::crop(20)).unwrap();
        apply(&mut pipeline, picture(&pixels, shape), sample)
    };
    let (lit, dark) = (make("crop=2,lighting=0.5", 4), make("crop=2", 4));
    let by: Vec<f32> = lit.iter().zip(&dark).map(|(a, b)| a - b).collect();
    assert!(by[0].abs() > 1e-4, "{by:?}");
    assert!(by.chunks(3).all(|pixel| pixel.iter().zip(&by).all(|(a, b)| (a - b).abs() < 1e-5)));
    let cut = make("cutout=6", 1);
    let blank = cut.chunks(3).filter(|pixel| pixel.iter().all(|value| *value == 0.0)).count();
    assert!((9..=36).contains(&blank), "{blank}");
}

#[test]
fn ten_crops_are_the_corners_of_the_middle_square() {
    // Each pixel of a picture of 10×14 knows where it is; the square in the middle begins at column 2.
    let place = |y: usize, x: usize| (y * 14 + x) as u8;
    let pixels: Vec<u8> = (0..140).map(|at| place(at / 14, at % 14)).collect();
    let (image, fit) = ([6, 4], Fit::crop(10));
    let mut pipeline = plain(&Augment::NONE, [1, 6, 4], fit);
    let views = Views { crops: Crops::TenCrop, scales: vec![] }.list(fit, image).unwrap();
    let corners = views.iter().map(|view| {
        let mut dst = vec![0.0; 24];
        pipeline.view(picture(&pixels, [1, 10, 14]), *view, &mut dst).unwrap();
        [dst[0], dst[3], dst[23]].map(|level| level.round() as u8)
    });
    let expected = [[0, 2], [0, 8], [4, 2], [4, 8], [2, 5]];
    let straight = expected.map(|[y, x]| [place(y, x), place(y, x + 3), place(y + 5, x + 3)]);
    let mirrored = expected.map(|[y, x]| [place(y, x + 3), place(y, x), place(y + 5, x)]);
    assert_eq!(corners.collect::<Vec<_>>(), [straight, mirrored].concat());
}

#[test]
fn what_does_not_go_together_is_told() {
    let new = |text: &str, channels: usize, fit: Fit| {
        let augment = text.parse().unwrap();
        let (mean, std) = (vec![0.0; channels], vec![1.0; channels]);
        Pipeline::new(&augment, [channels, 24, 32], [24, 32], [&mean, &std], fit)
            .map(|_| ())
            .unwrap_err()
            .to_string()
    };
    for (text, channels, fit, expected) in [
        ("none", 3, Fit::crop(31), "shorter side of 31, images of 24x32 (height x width) need 32 at least"),
        ("resize=30-40", 3, Fit::crop(32), "shorter side of 30"),
        ("none", 3, Fit::Digit { ink: 20 }, "with 3 channels"),
        ("none", 1, Fit::Digit { ink: 25 }, "25 pixels do not go into images of 24x32"),
        ("hue=0.1,lighting=0.1", 1, Fit::crop(32), "hue and lighting cannot change images of 1 channels"),
        ("jitter=0.1", 2, Fit::crop(32), "jitter cannot change images of 2 channels"),
    ] {
        let error = new(text, channels, fit);
        assert!(error.contains(expected), "{error:?} lacks {expected:?}");
    }
    let mut pipeline = plain(&Augment::NONE, [2, 4, 4], Fit::crop(4));
    let mut dst = vec![0.0; 32];
    let channels = pipeline.apply(picture(&[0; 48], [3, 4, 4]), 0, 0, 0, &mut dst);
    assert_eq!(channels, Err(PipelineError::Channels { picture: 3, image: 2 }));
    for (shape, len) in [([2, 4, 4], 31), ([2, 0, 4], 0), ([2, usize::MAX, 4], 32)] {
        let broken = pipeline.apply(picture(&vec![0; len], shape), 0, 0, 0, &mut dst);
        assert!(matches!(broken, Err(PipelineError::Picture { .. })), "{broken:?}");
    }
}

/// A text with some of all words, each with a value from its range.
fn augmentation() -> impl Strategy<Value = Augment> {
    let words = (
        prop::array::uniform12(0.0f32..=1.0),
        prop::array::uniform12(prop::bool::weighted(0.4)),
        (1u32..=8, 0u32..=30),
        (12u32..60, 0u32..60),
    );
    words.prop_map(|(amounts, given, (count, magnitude), (side, more))| {
        let amount = |at: usize, most: f32| if given[at] { amounts[at] * most } else { 0.0 };
        Augment {
            shift: amount(0, 1000.0),
            rotate: amount(1, 180.0),
            scale: amount(2, 0.9),
            crop: amount(3, 1000.0) as u32,
            flip: given[4],
            rrc: amount(5, 1.0),
            resize: if given[6] && !given[5] { [side, side + more] } else { [0, 0] },
            jitter: amount(7, 1.0),
            hue: amount(8, 0.5),
            lighting: amount(9, 10.0),
            cutout: amount(10, 1000.0) as u32,
            erase: amount(11, 1.0),
            randaugment: if given[10] { [count, magnitude] } else { [0, 0] },
            ..Augment::NONE
        }
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    #[test]
    fn nothing_panics_and_everything_is_finite(
        augment in augmentation(),
        height in 1usize..70, width in 1usize..70, grey: bool,
        image in (1usize..=12, 1usize..=12), margin in (0usize..4, 0usize..4),
        sample: u32,
    ) {
        let (channels, size) = (if grey { 1 } else { 3 }, [image.0, image.1]);
        let input = [size[0] + margin.0, size[1] + margin.1];
        let mut pipeline =
            Pipeline::new(&augment, [3, size[0], size[1]], input, [&[0.5; 3], &[0.2; 3]], Fit::crop(12)).unwrap();
        let pixels = levels(height * width * channels, sample);
        let made = apply(&mut pipeline, picture(&pixels, [channels, height, width]), sample);
        prop_assert!(made.iter().all(|value| value.is_finite()));
        let pixels = levels(size[0] * size[1] * 3, sample);
        let made = apply(&mut pipeline, picture(&pixels, [3, size[0], size[1]]), sample);
        prop_assert!(made.iter().all(|value| value.is_finite()));
    }
}
