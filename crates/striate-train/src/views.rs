//! How a picture is looked at when it is answered: once in its middle, or several times, the answers averaged.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::image_file::Fit;
use crate::text;

/// The parts of a picture that are looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Crops {
    /// The middle.
    #[default]
    Center,
    /// The middle, and mirrored.
    Flip,
    /// The four corners and the middle of the picture's central square, and all of them mirrored (Krizhevsky et al. 2012,
    /// section 4.1).
    TenCrop,
}

impl Crops {
    const ALL: [(&str, Self); 3] =
        [("center", Self::Center), ("flip", Self::Flip), ("ten-crop", Self::TenCrop)];
}

impl fmt::Display for Crops {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = Self::ALL.iter().find(|(_, crops)| crops == self).map_or("", |(name, _)| name);
        f.pad(name)
    }
}

impl FromStr for Crops {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some((_, crops)) = Self::ALL.iter().find(|(name, _)| *name == text) {
            return Ok(*crops);
        }
        Err(match text::nearest(text, Self::ALL.map(|(name, _)| name)) {
            Some(name) => format!("'{text}' is unknown, did you mean {name}?"),
            None => format!("'{text}' is unknown; there are center, flip and ten-crop"),
        })
    }
}

/// All that is looked at of each picture.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Views {
    /// The parts.
    pub crops: Crops,
    /// Pixels of the shorter side that pictures are resized to, each with all the parts (Simonyan and Zisserman 2014,
    /// section 3.2); what the model says where there are none.
    pub scales: Vec<usize>,
}

/// One look at a picture.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct View {
    /// Pixels of the shorter side, where it is not the model's.
    pub(crate) short_side: Option<usize>,
    /// Bottom and right as parts of the central square; `None` is the middle.
    pub(crate) corner: Option<[bool; 2]>,
    /// Left and right exchanged.
    pub(crate) mirrored: bool,
}

impl View {
    /// The middle, as the model wants it.
    pub const CENTER: Self = Self { short_side: None, corner: None, mirrored: false };
}

/// Views that there cannot be.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ViewsError {
    /// Corners that would all be the middle.
    #[error(
        "ten-crop takes corners, but pictures are resized to a shorter side of {short_side}, which leaves nothing around \
         images of {}x{} (height x width); resize to more, such as {}", image[0], image[1], longer(*image) + longer(*image) / 7
    )]
    NoCorners {
        /// Pixels of the shorter side.
        short_side: usize,
        /// Height and width of the images.
        image: [usize; 2],
    },
    /// A scale smaller than the images.
    #[error("a shorter side of {short_side} is less than images of {}x{} (height x width) need; it is {} at least", image[0], image[1], longer(*image))]
    Scale {
        /// Pixels of the shorter side.
        short_side: usize,
        /// Height and width of the images.
        image: [usize; 2],
    },
    /// Pictures that are not resized and cropped.
    #[error("pictures are prepared as drawings of digits, which leaves one view; take center without scales")]
    Digit,
}

fn longer([height, width]: [usize; 2]) -> usize {
    height.max(width)
}

impl Views {
    /// Whether it is the plain middle only.
    pub fn is_center(&self) -> bool {
        *self == Self::default()
    }

    /// Each look at a picture that `fit` brings to images of height and width `image`.
    ///
    /// # Errors
    /// When there are no such views of such pictures.
    pub fn list(&self, fit: Fit, image: [usize; 2]) -> Result<Vec<View>, ViewsError> {
        let Fit::Crop { short_side: own, .. } = fit else {
            return if self.is_center() { Ok(vec![View::CENTER]) } else { Err(ViewsError::Digit) };
        };
        let scales: Vec<Option<usize>> =
            if self.scales.is_empty() { vec![None] } else { self.scales.iter().copied().map(Some).collect() };
        let mut views = Vec::new();
        for short_side in scales {
            let pixels = short_side.unwrap_or(own);
            if pixels < longer(image) {
                return Err(ViewsError::Scale { short_side: pixels, image });
            }
            if self.crops == Crops::TenCrop && [pixels; 2] == image {
                return Err(ViewsError::NoCorners { short_side: pixels, image });
            }
            let corners: &[Option<[bool; 2]>] = match self.crops {
                Crops::TenCrop => &[
                    Some([false, false]),
                    Some([false, true]),
                    Some([true, false]),
                    Some([true, true]),
                    None,
                ],
                Crops::Center | Crops::Flip => &[None],
            };
            let sides: &[bool] = if self.crops == Crops::Center { &[false] } else { &[false, true] };
            for &mirrored in sides {
                views.extend(corners.iter().map(|&corner| View { short_side, corner, mirrored }));
            }
        }
        Ok(views)
    }
}

/// Answers to all views of a picture made one: the logarithm of the mean of their probabilities, which ranks and costs as
/// that mean does. What a batch ends in the middle of is kept for the next.
#[derive(Clone, Debug, Default)]
pub struct Answers {
    /// Views of a picture.
    views: usize,
    classes: usize,
    /// Views in `sums`.
    seen: usize,
    sums: Vec<f64>,
    logits: Vec<f32>,
    labels: Vec<u32>,
    ids: Vec<u32>,
}

impl Answers {
    /// For so many views of each picture and so many classes.
    pub fn new(views: usize, classes: usize) -> Self {
        Self { views: views.max(1), classes, sums: vec![0.0; classes], ..Self::default() }
    }

    /// Takes a batch of logits (batch, classes) with labels and sample numbers, and gives those of the pictures of which it
    /// has the last view. A single view passes as it is.
    pub fn add<'a>(
        &'a mut self,
        logits: &'a [f32],
        labels: &'a [u32],
        ids: &'a [u32],
    ) -> (&'a [f32], &'a [u32], &'a [u32]) {
        if self.views == 1 {
            return (logits, labels, ids);
        }
        self.logits.clear();
        self.labels.clear();
        self.ids.clear();
        for ((row, label), id) in logits.chunks_exact(self.classes).zip(labels).zip(ids) {
            let greatest = f64::from(row.iter().copied().fold(f32::NEG_INFINITY, f32::max));
            let weight = |logit: &f32| (f64::from(*logit) - greatest).exp();
            let whole: f64 = row.iter().map(weight).sum();
            self.sums.iter_mut().zip(row).for_each(|(sum, logit)| *sum += weight(logit) / whole);
            self.seen += 1;
            if self.seen == self.views {
                let views = self.views as f64;
                self.logits.extend(self.sums.iter().map(|sum| (sum / views).ln() as f32));
                self.labels.push(*label);
                self.ids.push(*id);
                self.sums.fill(0.0);
                self.seen = 0;
            }
        }
        (&self.logits, &self.labels, &self.ids)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crops_and_scales_multiply() {
        let list = |crops, scales: &[usize]| {
            Views { crops, scales: scales.to_vec() }.list(Fit::crop(256), [224, 224]).unwrap()
        };
        assert_eq!(list(Crops::Center, &[]), [View::CENTER]);
        assert_eq!(list(Crops::Flip, &[]), [View::CENTER, View { mirrored: true, ..View::CENTER }]);
        let ten = list(Crops::TenCrop, &[]);
        let different: std::collections::HashSet<_> =
            ten.iter().map(|view| (view.corner, view.mirrored)).collect();
        assert_eq!((ten.len(), different.len()), (10, 10));
        let all = list(Crops::TenCrop, &[256, 288, 320]);
        assert_eq!(all.len(), 30);
        assert!(all[20..].iter().all(|view| view.short_side == Some(320)));
    }

    #[test]
    fn what_cannot_be_seen_is_told() {
        let error = |crops, scales: &[usize], fit| {
            Views { crops, scales: scales.to_vec() }.list(fit, [32, 32]).unwrap_err().to_string()
        };
        let text = error(Crops::TenCrop, &[], Fit::crop(32));
        assert!(
            text.contains("leaves nothing around images of 32x32") && text.ends_with("such as 36"),
            "{text}"
        );
        let text = error(Crops::Center, &[40, 31], Fit::crop(32));
        assert!(text.contains("31 is less than images of 32x32"), "{text}");
        assert!(error(Crops::Flip, &[], Fit::Digit { ink: 20 }).contains("digits"));
    }

    #[test]
    fn answers_are_the_mean_of_probabilities_across_batches() {
        let mut answers = Answers::new(3, 2);
        let certain = |p: f64| [p.ln() as f32, (1.0 - p).ln() as f32];
        let batch = [certain(0.9), certain(0.3)].concat();
        let (logits, labels, ids) = answers.add(&batch, &[1, 1], &[7, 7]);
        assert!(logits.is_empty() && labels.is_empty() && ids.is_empty());
        // Shifted logits are the same probabilities.
        let third = certain(0.6).map(|logit| logit + 5.0);
        let batch = [third, certain(0.5), certain(0.5)].concat();
        let (logits, labels, ids) = answers.add(&batch, &[1, 0, 0], &[7, 8, 8]);
        assert_eq!((labels, ids), (&[1][..], &[7][..]));
        assert!((logits[0].exp() - 0.6).abs() < 1e-6 && (logits[1].exp() - 0.4).abs() < 1e-6, "{logits:?}");
        let (logits, labels, _) = answers.add(&[0.0, f32::NAN], &[0], &[8]);
        assert!(logits.iter().any(|logit| logit.is_nan()) && labels == [0], "what is no number stays none");
        assert_eq!(Answers::new(0, 2).add(&[3.0, 4.0], &[1], &[0]), (&[3.0, 4.0][..], &[1][..], &[0][..]));
    }

    #[test]
    fn names() {
        for (name, crops) in Crops::ALL {
            assert_eq!((name.parse(), crops.to_string()), (Ok(crops), name.to_string()));
        }
        assert!("tencrop".parse::<Crops>().unwrap_err().contains("did you mean ten-crop?"));
        assert!("all".parse::<Crops>().unwrap_err().contains("center, flip and ten-crop"));
    }
}
