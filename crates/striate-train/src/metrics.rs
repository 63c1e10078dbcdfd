//! How good predictions are: top-1, top-k and mean loss, summed over any number of batches.

use serde::{Deserialize, Serialize};

/// Whether class `label` is among the `k` greatest of `logits`.
///
/// A tie goes to the class with the lower number. NaN counts as greater than every number, and a NaN at
/// `label` is never right: a network that has diverged does not look accurate.
pub fn in_top(logits: &[f32], label: u32, k: usize) -> bool {
    let label = label as usize;
    let Some(&own) = logits.get(label) else {
        return false;
    };
    let ahead =
        |(class, logit): (usize, &f32)| logit.is_nan() || *logit > own || *logit == own && class < label;
    !own.is_nan() && logits.iter().enumerate().filter(|entry| ahead(*entry)).count() < k
}

/// The class with the greatest of `logits`, by the rules of [`in_top`]; `None` where there is NaN or nothing.
pub fn argmax(logits: &[f32]) -> Option<u32> {
    (0..logits.len() as u32).find(|class| in_top(logits, *class, 1))
}

/// Right answers and loss so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Tally {
    /// Samples seen.
    pub samples: u64,
    /// Samples whose class came first.
    pub top1: u64,
    /// Samples whose class was among the first [`Tally::K`].
    pub top5: u64,
    /// The sum of the samples' losses.
    pub loss: f64,
}

impl Tally {
    /// How many guesses the lenient measure allows.
    pub const K: usize = 5;

    /// Counts a batch: `logits` (batch, classes) and as many `labels` as there are samples, which may be fewer
    /// than the rows of `logits`; `mean_loss` is the mean over these samples.
    pub fn add(&mut self, logits: &[f32], classes: usize, labels: &[u32], mean_loss: f64) {
        for (row, label) in logits.chunks_exact(classes.max(1)).zip(labels) {
            self.top1 += u64::from(in_top(row, *label, 1));
            self.top5 += u64::from(in_top(row, *label, Self::K));
        }
        self.samples += labels.len() as u64;
        self.loss += mean_loss * labels.len() as f64;
    }

    /// Counts what another tally has counted.
    pub fn merge(&mut self, other: &Self) {
        self.samples += other.samples;
        self.top1 += other.top1;
        self.top5 += other.top5;
        self.loss += other.loss;
    }

    /// The part of the samples whose class came first, from 0 to 1; 0 before the first sample.
    pub fn accuracy(&self) -> f64 {
        self.part(self.top1)
    }

    /// The part of the samples whose class was among the first [`Tally::K`].
    pub fn top5_accuracy(&self) -> f64 {
        self.part(self.top5)
    }

    /// The mean loss of a sample; 0 before the first.
    pub fn mean_loss(&self) -> f64 {
        self.loss / self.samples.max(1) as f64
    }

    fn part(&self, count: u64) -> f64 {
        count as f64 / self.samples.max(1) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_and_ties() {
        let logits = [0.1, 0.9, 0.5, 0.5, f32::NEG_INFINITY];
        let ranks = [3, 0, 1, 2, 4];
        for (label, rank) in ranks.into_iter().enumerate() {
            for k in 0..=6 {
                assert_eq!(in_top(&logits, label as u32, k), rank < k, "label {label}, top {k}");
            }
        }
        assert!(!in_top(&logits, 5, 10), "a class that does not exist");
        assert_eq!(argmax(&logits), Some(1));
        assert_eq!(argmax(&[0.0; 4]), Some(0));
        assert_eq!(argmax(&[]), None);
    }

    #[test]
    fn nan_is_never_right() {
        let nan = f32::NAN;
        for label in 0..3 {
            assert!(!in_top(&[nan; 3], label, 3));
        }
        assert!(!in_top(&[nan, 1.0, 0.0], 1, 1), "nor does it help another class");
        assert!(in_top(&[nan, 1.0, 0.0], 1, 2));
        assert_eq!(argmax(&[nan, 1.0]), None);
        assert!(in_top(&[f32::INFINITY, 1.0], 0, 1));
    }

    #[test]
    fn a_tally_weighs_batches_by_their_samples() {
        let mut tally = Tally::default();
        assert_eq!((tally.accuracy(), tally.mean_loss()), (0.0, 0.0));
        let logits: Vec<f32> = [6.0, 5.0, 4.0, 3.0, 2.0, 1.0].repeat(3);
        tally.add(&logits, 6, &[0, 4, 5], 2.0);
        let mut other = Tally::default();
        other.add(&logits, 6, &[0], 6.0);
        tally.merge(&other);
        assert_eq!((tally.samples, tally.top1, tally.top5), (4, 2, 3));
        assert_eq!((tally.accuracy(), tally.top5_accuracy(), tally.mean_loss()), (0.5, 0.75, 3.0));
    }
}
