//! Which classes are taken for which, and what follows from it for each class.

use std::collections::BTreeMap;

/// How often each class was taken for each. Only what occurs is kept: at most an entry a sample.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Confusion {
    classes: usize,
    counts: BTreeMap<(u32, u32), u64>,
    /// Samples of each class that got no answer, their scores being no numbers.
    unanswered: Vec<u64>,
}

/// How well a class is told from the others.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ClassScore {
    /// Samples of it.
    pub support: u64,
    /// Samples taken for it.
    pub predicted: u64,
    /// Samples of it that were taken for it.
    pub right: u64,
}

impl ClassScore {
    /// Of the samples taken for it, the part that are of it; 0 where there are none.
    pub fn precision(&self) -> f64 {
        self.right as f64 / self.predicted.max(1) as f64
    }

    /// Of the samples of it, the part that were taken for it; 0 where there are none.
    pub fn recall(&self) -> f64 {
        self.right as f64 / self.support.max(1) as f64
    }

    /// The harmonic mean of precision and recall; 0 where one of them is.
    pub fn f1(&self) -> f64 {
        2.0 * self.right as f64 / (self.support + self.predicted).max(1) as f64
    }
}

/// Samples of a class that were taken for another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// The class.
    pub class: u32,
    /// What they were taken for.
    pub taken_for: u32,
    /// How many.
    pub count: u64,
}

impl Confusion {
    /// Of `classes` classes, nothing counted yet.
    pub fn new(classes: usize) -> Self {
        Self { classes, counts: BTreeMap::new(), unanswered: vec![0; classes] }
    }

    /// Counts a sample of class `label < classes` and what it was taken for, where there was an answer.
    pub fn add(&mut self, label: u32, answer: Option<u32>) {
        match answer {
            Some(answer) => *self.counts.entry((label, answer)).or_default() += 1,
            None => self.unanswered[label as usize] += 1,
        }
    }

    /// The number of classes.
    pub fn classes(&self) -> usize {
        self.classes
    }

    /// Samples that got no answer.
    pub fn unanswered(&self) -> u64 {
        self.unanswered.iter().sum()
    }

    /// Class, what it was taken for, how often: by classes, what never occurred left out.
    pub fn entries(&self) -> impl Iterator<Item = (u32, u32, u64)> {
        self.counts.iter().map(|((class, taken_for), count)| (*class, *taken_for, *count))
    }

    /// Each class's score.
    pub fn scores(&self) -> Vec<ClassScore> {
        let support = |unanswered: &u64| ClassScore { support: *unanswered, ..ClassScore::default() };
        let mut scores: Vec<ClassScore> = self.unanswered.iter().map(support).collect();
        for (class, taken_for, count) in self.entries() {
            scores[class as usize].support += count;
            scores[taken_for as usize].predicted += count;
            if class == taken_for {
                scores[class as usize].right += count;
            }
        }
        scores
    }

    /// Precision, recall and F1, each the mean over the classes that there are samples of.
    pub fn means(&self) -> [f64; 3] {
        let scores = self.scores();
        let present = || scores.iter().filter(|score| score.support > 0);
        let count = present().count().max(1) as f64;
        [ClassScore::precision, ClassScore::recall, ClassScore::f1]
            .map(|of| present().map(of).sum::<f64>() / count)
    }

    /// What is mistaken for what, the most frequent first; equally frequent ones by classes.
    pub fn mistakes(&self) -> Vec<Mistake> {
        let wrong = self.entries().filter(|(class, taken_for, _)| class != taken_for);
        let mut mistakes: Vec<Mistake> =
            wrong.map(|(class, taken_for, count)| Mistake { class, taken_for, count }).collect();
        mistakes.sort_by_key(|mistake| std::cmp::Reverse(mistake.count));
        mistakes
    }

    /// A row for each class, in it how often it was taken for each.
    pub fn matrix(&self) -> Vec<Vec<u64>> {
        let mut matrix = vec![vec![0; self.classes]; self.classes];
        for (class, taken_for, count) in self.entries() {
            matrix[class as usize][taken_for as usize] = count;
        }
        matrix
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 3 classes; rows are what samples are: [5 1 0], [2 3 0] and one of class 1 without an answer, [0 0 0].
    fn counted() -> Confusion {
        let mut confusion = Confusion::new(3);
        for (class, answer, count) in [(0, 0, 5), (0, 1, 1), (1, 0, 2), (1, 1, 3)] {
            (0..count).for_each(|_| confusion.add(class, Some(answer)));
        }
        confusion.add(1, None);
        confusion
    }

    #[test]
    fn scores_are_those_worked_out_by_hand() {
        let scores = counted().scores();
        assert_eq!(scores[0], ClassScore { support: 6, predicted: 7, right: 5 });
        assert_eq!(scores[1], ClassScore { support: 6, predicted: 4, right: 3 });
        assert_eq!(scores[2], ClassScore::default());
        let close = |a: f64, b: f64| assert!((a - b).abs() < 1e-15, "{a} is not {b}");
        // Class 0: precision 5/7, recall 5/6, F1 = 2 · (5/7 · 5/6) / (5/7 + 5/6) = 10/13.
        close(scores[0].precision(), 5.0 / 7.0);
        close(scores[0].recall(), 5.0 / 6.0);
        close(scores[0].f1(), 10.0 / 13.0);
        // Class 1: precision 3/4, recall 3/6, F1 = 3/5.
        close(scores[1].f1(), 0.6);
        assert_eq!([scores[2].precision(), scores[2].recall(), scores[2].f1()], [0.0; 3]);
        // Class 2 has no samples and counts for nothing.
        let [precision, recall, f1] = counted().means();
        close(precision, (5.0 / 7.0 + 0.75) / 2.0);
        close(recall, (5.0 / 6.0 + 0.5) / 2.0);
        close(f1, (10.0 / 13.0 + 0.6) / 2.0);
    }

    #[test]
    fn mistakes_are_told_by_their_number() {
        let confusion = counted();
        let mistake = |class, taken_for, count| Mistake { class, taken_for, count };
        assert_eq!(confusion.mistakes(), [mistake(1, 0, 2), mistake(0, 1, 1)]);
        assert_eq!(confusion.matrix(), [[5, 1, 0], [2, 3, 0], [0, 0, 0]]);
        assert_eq!(confusion.unanswered(), 1);
        assert_eq!(Confusion::new(0).means(), [0.0; 3]);
    }
}
