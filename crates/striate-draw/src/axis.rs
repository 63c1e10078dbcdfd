//! Axes: which part of the numbers is shown, and which of them are written.

/// How numbers on an axis are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Unit {
    /// As they are.
    #[default]
    Plain,
    /// Fractions as per cent.
    Percent,
}

/// An axis.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Axis {
    /// What the numbers are.
    pub label: String,
    /// Whether equal ratios take equal room. What is not above 0 is then left out.
    pub log: bool,
    /// How numbers are written.
    pub unit: Unit,
    /// Whether there is nothing between whole numbers.
    pub whole: bool,
    /// The least and the greatest number shown; where there is none, what the series need.
    pub range: Option<[f64; 2]>,
}

impl Axis {
    /// An axis of numbers as they are.
    pub fn new(label: impl Into<String>) -> Self {
        Self { label: label.into(), ..Self::default() }
    }

    /// The same with fractions written as per cent.
    pub fn percent(self) -> Self {
        Self { unit: Unit::Percent, ..self }
    }

    /// The same with equal ratios of equal length.
    pub fn log(self, log: bool) -> Self {
        Self { log, ..self }
    }

    /// The same, only whole numbers written.
    pub fn whole(self) -> Self {
        Self { whole: true, ..self }
    }

    /// The same, showing the numbers from one to another.
    pub fn range(self, range: Option<[f64; 2]>) -> Self {
        Self { range, ..self }
    }

    /// The scale for `values` with about `count` written numbers. With `closed`, it ends at written numbers.
    pub(crate) fn scale(&self, values: impl Iterator<Item = f64>, count: usize, closed: bool) -> Scale {
        let shown = |value: &f64| value.is_finite() && (!self.log || *value > 0.0);
        let extent = |[low, high]: [f64; 2], value: f64| [low.min(value), high.max(value)];
        let found = values.filter(shown).fold([f64::INFINITY, f64::NEG_INFINITY], extent);
        let given = self.range.filter(|[low, high]| shown(low) && shown(high) && low < high);
        let [low, high] = given.unwrap_or(if found[0] <= found[1] { found } else { [1.0, 10.0] });
        // Far from where their differences and ratios end.
        let bound =
            |value: f64| if self.log { value.clamp(1e-100, 1e100) } else { value.clamp(-1e200, 1e200) };
        let [low, high] = [bound(low), bound(high)];
        match self.log {
            true => Scale::log([low, high], given.is_some()),
            false => {
                let least = if self.whole { 1.0 } else { 0.0 };
                Scale::linear([low, high], count, self.unit, closed && given.is_none(), least)
            }
        }
    }
}

/// A part of the numbers as a line, and those that are written at it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Scale {
    low: f64,
    high: f64,
    log: bool,
    pub(crate) ticks: Vec<(f64, String)>,
}

impl Scale {
    /// Where a number lies: 0 at the low end, 1 at the high one. NaN where it has no place.
    pub(crate) fn place(&self, value: f64) -> f64 {
        match self.log {
            true if value > 0.0 => (value / self.low).ln() / (self.high / self.low).ln(),
            true => f64::NAN,
            false => (value - self.low) / (self.high - self.low),
        }
    }

    fn linear([mut low, mut high]: [f64; 2], count: usize, unit: Unit, closed: bool, least: f64) -> Self {
        if closed && low > 0.0 && low < 0.4 * high {
            low = 0.0;
        }
        // Numbers that are all the same get room around them.
        if high - low <= 1e-9 * high.abs().max(low.abs()) {
            let around = if high == 0.0 { 1.0 } else { 0.1 * high.abs() };
            (low, high) = (low - around, high + around);
        }
        let step = nice((high - low) / count.max(1) as f64).max(least);
        let step = if least == 1.0 && step == 2.5 { 5.0 } else { step };
        if closed {
            (low, high) = ((low / step + 1e-6).floor() * step, (high / step - 1e-6).ceil() * step);
        }
        let first = (low / step - 1e-6).ceil();
        let numbers = (0..).map(|index| (first + index as f64) * step);
        let shown: Vec<f64> = numbers.take_while(|value| *value <= high + 1e-6 * step).take(64).collect();
        let ticks = shown.into_iter().map(|value| (value, written(value, step, unit))).collect();
        Self { low, high, log: false, ticks }
    }

    fn log([mut low, mut high]: [f64; 2], given: bool) -> Self {
        if high <= low * 1.0001 {
            (low, high) = (low / 2.0, high * 2.0);
        } else if !given {
            (low, high) = (low / 1.1, high * 1.1);
        }
        let decades = (high / low).log10();
        let among: &[f64] = match decades {
            ..0.7 => &[1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0],
            ..2.5 => &[1.0, 2.0, 5.0],
            _ => &[1.0],
        };
        let every = (decades / 6.0).ceil().max(1.0) as i32;
        let exponents = low.log10().floor() as i32..=high.log10().ceil() as i32;
        let numbers = exponents
            .filter(|exponent| exponent.rem_euclid(every) == 0)
            .flat_map(|exponent| among.iter().map(move |factor| factor * 10f64.powi(exponent)));
        let shown = numbers.filter(|value| (low * 0.999..=high * 1.001).contains(value));
        Self { low, high, log: true, ticks: shown.map(|value| (value, brief(value))).collect() }
    }
}

/// The least of 1, 2, 2.5 and 5 times a power of ten that is not below `step`.
fn nice(step: f64) -> f64 {
    let power = 10f64.powf(step.log10().floor());
    let factor = [1.0, 2.0, 2.5, 5.0].into_iter().find(|factor| factor * power >= step * (1.0 - 1e-9));
    factor.unwrap_or(10.0) * power
}

/// A number among others `step` apart.
fn written(value: f64, step: f64, unit: Unit) -> String {
    let (value, step) = match unit {
        Unit::Plain => (value, step),
        Unit::Percent => (100.0 * value, 100.0 * step),
    };
    let sign = if unit == Unit::Percent { " %" } else { "" };
    let value = if value.abs() < 1e-9 * step { 0.0 } else { value };
    if value == 0.0 {
        return format!("0{sign}");
    }
    if step < 1e-4 || value.abs() >= 1e9 {
        return format!("{value:.1e}{sign}").replace(".0e", "e");
    }
    if step >= 1000.0 {
        let thousands = value / 1000.0;
        return match thousands.abs() >= 1000.0 {
            true => format!("{}M{sign}", trimmed(thousands / 1000.0, step / 1e6)),
            false => format!("{}k{sign}", trimmed(thousands, step / 1e3)),
        };
    }
    format!("{}{sign}", trimmed(value, step))
}

/// With as many digits behind the point as numbers `step` apart need.
fn trimmed(value: f64, step: f64) -> String {
    let whole = |digits: usize| {
        let scaled = step * 10f64.powi(digits as i32);
        (scaled - scaled.round()).abs() < 1e-6 * scaled
    };
    let digits = (0..8).find(|digits| whole(*digits)).unwrap_or(8);
    format!("{value:.digits$}").replace('-', "−")
}

/// A number by itself.
fn brief(value: f64) -> String {
    match value {
        _ if !(1e-3..1e5).contains(&value) => format!("{value:.1e}").replace(".0e", "e"),
        1e3.. => format!("{}k", trimmed(value / 1e3, value / 1e3)),
        _ => trimmed(value, value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ticks(axis: Axis, values: &[f64]) -> Vec<String> {
        axis.scale(values.iter().copied(), 5, true).ticks.into_iter().map(|(_, text)| text).collect()
    }

    #[test]
    fn written_numbers_are_round_ones() {
        let plain = Axis::new("");
        assert_eq!(ticks(plain.clone(), &[0.02, 2.3]), ["0", "0.5", "1.0", "1.5", "2.0", "2.5"]);
        assert_eq!(ticks(plain.clone(), &[0.0, 64_000.0]), ["0", "20k", "40k", "60k", "80k"]);
        assert_eq!(ticks(plain.clone(), &[-1.0, 1.0]), ["−1.0", "−0.5", "0", "0.5", "1.0"]);
        assert_eq!(ticks(plain.clone().percent(), &[0.05, 0.2]), ["0 %", "5 %", "10 %", "15 %", "20 %"]);
        assert_eq!(ticks(plain.clone().percent(), &[0.9912, 0.9934])[..2], ["99.10 %", "99.15 %"]);
        assert_eq!(ticks(plain.clone(), &[0.0, 4e-5])[..3], ["0", "1e-5", "2e-5"]);
        assert_eq!(ticks(plain.clone().whole(), &[1.0, 3.0]), ["0", "1", "2", "3"]);
        assert_eq!(ticks(plain.clone().whole(), &[0.0, 12.0]), ["0", "5", "10", "15"]);
        let log = plain.log(true);
        assert_eq!(
            ticks(log.clone(), &[1e-3, 0.1, 0.0, -4.0]),
            ["0.001", "0.002", "0.005", "0.01", "0.02", "0.05", "0.1"]
        );
        assert_eq!(ticks(log, &[1e-5, 2e4]), ["1e-4", "0.01", "1", "100", "10k"]);
    }

    #[test]
    fn numbers_have_their_places() {
        let scale = Axis::new("").scale([0.0, 10.0].into_iter(), 5, true);
        assert_eq!([0.0, 5.0, 10.0].map(|value| scale.place(value)), [0.0, 0.5, 1.0]);
        let scale = Axis::new("").log(true).range(Some([1.0, 100.0])).scale([].into_iter(), 5, true);
        assert!((scale.place(10.0) - 0.5).abs() < 1e-12 && scale.place(0.0).is_nan());
    }

    #[test]
    fn any_numbers_give_a_scale() {
        let odd = [f64::NAN, f64::INFINITY, 0.0, -0.0, 1e300, -1e300, 5e-324, f64::MAX, f64::MIN, 7.0];
        for log in [false, true] {
            for a in odd {
                for b in odd {
                    let scale = Axis::new("").log(log).scale([a, b].into_iter(), 5, true);
                    assert!(scale.ticks.len() <= 64, "{a} {b}: {}", scale.ticks.len());
                }
            }
            for range in [[1.0, 1.0], [2.0, 1.0], [f64::NAN, 1.0], [-1.0, 5.0]] {
                Axis::new("").log(log).range(Some(range)).scale([3.0].into_iter(), 5, true);
            }
        }
    }
}
