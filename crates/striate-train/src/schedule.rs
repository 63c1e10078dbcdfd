//! Learning rates over the course of training, as data with a text form.

use std::f64::consts::PI;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::text::{self, Args};

/// A stretch of training, or a moment counted from its beginning.
///
/// In text `30ep` is epochs and `500it` iterations (steps). A bare number below 1000 is epochs, from 1000 on
/// iterations, so that `step:30` and `multistep:32000,48000` mean what papers mean by them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Span {
    /// Passes over the training samples.
    Epochs(u64),
    /// Updates of the parameters.
    Steps(u64),
}

impl Span {
    /// The number of steps.
    pub fn steps(self, steps_per_epoch: u64) -> u64 {
        match self {
            Span::Epochs(epochs) => epochs.saturating_mul(steps_per_epoch),
            Span::Steps(steps) => steps,
        }
    }
}

impl FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let unit = text.trim_start_matches(|c: char| c.is_ascii_digit());
        let number = &text[..text.len() - unit.len()];
        let number = number.parse().map_err(|_| format!("'{text}' is no number of epochs or iterations"))?;
        match unit {
            "ep" => Ok(Span::Epochs(number)),
            "it" => Ok(Span::Steps(number)),
            "" if number < 1000 => Ok(Span::Epochs(number)),
            "" => Ok(Span::Steps(number)),
            _ => Err(format!("'{unit}' is no unit; ep is epochs, it is iterations")),
        }
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Span::Epochs(epochs) => write!(f, "{epochs}ep"),
            Span::Steps(steps) => write!(f, "{steps}it"),
        }
    }
}

/// How the learning rate moves between two values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Anneal {
    /// Along half a cosine.
    Cosine,
    /// Along a straight line.
    Linear,
}

impl Anneal {
    const NAMES: [(&str, Self); 2] = [("cos", Self::Cosine), ("linear", Self::Linear)];

    /// The value at `part` of the way, from 0 to 1.
    fn between(self, from: f64, to: f64, part: f64) -> f64 {
        match self {
            Anneal::Cosine => to + (from - to) / 2.0 * (1.0 + (PI * part).cos()),
            Anneal::Linear => from + (to - from) * part,
        }
    }
}

/// Which way a measure gets better.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Goal {
    /// Less is better, as for a loss.
    Min,
    /// More is better, as for an accuracy.
    Max,
}

impl Goal {
    const NAMES: [(&str, Self); 2] = [("min", Self::Min), ("max", Self::Max)];
}

macro_rules! by_name {
    ($kind:ty) => {
        impl FromStr for $kind {
            type Err = ();

            fn from_str(text: &str) -> Result<Self, ()> {
                Self::NAMES.iter().find(|(name, _)| *name == text).map(|(_, value)| *value).ok_or(())
            }
        }

        impl fmt::Display for $kind {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let name = Self::NAMES.iter().find(|(_, value)| value == self);
                f.write_str(name.map_or("", |(name, _)| name))
            }
        }
    };
}
by_name!(Anneal);
by_name!(Goal);

/// How the learning rate changes; factors are on the base learning rate.
#[derive(Clone, Debug, PartialEq)]
pub enum Rule {
    /// `constant`: it does not.
    Constant,
    /// `step:EVERY,FACTOR`: multiplied again and again, as PyTorch's `StepLR`.
    Step {
        /// From one change to the next.
        every: Span,
        /// By what it is multiplied, 0.1 unless given.
        factor: f64,
    },
    /// `multistep:AT,AT,…,factor=FACTOR`: multiplied at given moments, as PyTorch's `MultiStepLR`.
    MultiStep {
        /// When, in ascending order.
        milestones: Vec<Span>,
        /// By what it is multiplied, 0.1 unless given.
        factor: f64,
    },
    /// `cosine:min=FACTOR`: down along half a cosine (Loshchilov and Hutter 2017, SGDR, eq. 5, one period), as
    /// PyTorch's `CosineAnnealingLR` over all steps behind the warm-up.
    Cosine {
        /// Where it ends, as a factor, 0 unless given.
        min: f64,
    },
    /// `onecycle:PCT,div=…,final_div=…,anneal=…`: up and far down again (Smith and Topin 2018), as PyTorch's
    /// `OneCycleLR` of two phases; the base learning rate is its peak. Momentum moves the other way.
    OneCycle {
        /// The part of all steps in which it rises, 0.3 unless given.
        pct: f64,
        /// It begins at the peak divided by this, 25 unless given.
        div: f64,
        /// It ends at the beginning divided by this, 10⁴ unless given.
        final_div: f64,
        /// The shape of both phases, a cosine unless given.
        anneal: Anneal,
    },
    /// `plateau:FACTOR,patience=…`: multiplied when a measure stops getting better, as PyTorch's
    /// `ReduceLROnPlateau` with relative threshold.
    Plateau {
        /// By what it is multiplied, 0.1 unless given.
        factor: f64,
        /// How many measurements without progress are suffered, 10 unless given.
        patience: u64,
        /// The relative progress that counts as such, 10⁻⁴ unless given.
        threshold: f64,
        /// For how many measurements after a change none are counted, 0 unless given.
        cooldown: u64,
        /// The least factor it comes down to, 0 unless given.
        min: f64,
        /// Which way the measure gets better, down unless given.
        goal: Goal,
    },
}

/// A linear rise of the learning rate at the beginning, as PyTorch's `LinearLR`: step t of n has the factor
/// start + (1 − start)·t/n.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Warmup {
    /// How long it takes.
    pub span: Span,
    /// The factor at step 0, 0.01 unless given.
    pub start: f64,
}

/// A rule, perhaps with a warm-up in front of it: `cosine`, `warmup:5+step:30,0.1`.
///
/// Moments (`step`, `multistep`) are counted from the beginning of training, warm-up included; `cosine` begins
/// where the warm-up ends.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Schedule {
    /// The rise at the beginning.
    pub warmup: Option<Warmup>,
    /// What follows.
    pub rule: Rule,
}

/// What is wrong with a schedule.
#[derive(Clone, Debug, PartialEq, Error)]
pub enum ScheduleError {
    /// A text that is no schedule.
    #[error("schedule '{text}': {what}")]
    Text {
        /// The text.
        text: String,
        /// What is wrong with it, and what would be right.
        what: String,
    },
    /// A moment that never comes.
    #[error(
        "schedule '{schedule}': {moment} lies behind the run's end, {total} steps of {steps_per_epoch} an epoch; train longer, or choose an earlier moment"
    )]
    BeyondEnd {
        /// The schedule.
        schedule: String,
        /// The moment.
        moment: Span,
        /// All steps of the run.
        total: u64,
        /// The steps of an epoch.
        steps_per_epoch: u64,
    },
    /// No run at all, or a learning rate that is none.
    #[error(
        "a run of {total} steps, {steps_per_epoch} an epoch, at learning rate {base} cannot be scheduled; it needs a step at least, and a finite rate of 0 or more"
    )]
    Run {
        /// All steps of the run.
        total: u64,
        /// The steps of an epoch.
        steps_per_epoch: u64,
        /// The base learning rate.
        base: f64,
    },
}

/// Each rule's name, with an example that is also how its errors show what is right.
const RULES: [(&str, &str); 6] = [
    ("constant", "constant"),
    ("step", "step:30,0.1"),
    ("multistep", "multistep:32000,48000,factor=0.1"),
    ("cosine", "cosine:min=0.01"),
    ("onecycle", "onecycle:0.3,div=25,final_div=10000,anneal=cos"),
    ("plateau", "plateau:0.1,patience=3,threshold=0.0001,cooldown=0,min=0,goal=min"),
];

impl FromStr for Schedule {
    type Err = ScheduleError;

    fn from_str(text: &str) -> Result<Self, ScheduleError> {
        let fail = |what| ScheduleError::Text { text: text.into(), what };
        let (warmup, rule) = match text.split_once('+') {
            Some((warmup, rule)) => (Some(parse_warmup(warmup).map_err(fail)?), rule),
            None => (None, text),
        };
        let rule = parse_rule(rule).map_err(fail)?;
        if warmup.is_some() && matches!(rule, Rule::OneCycle { .. }) {
            return Err(fail("onecycle rises by itself; leave the warm-up out".into()));
        }
        Ok(Self { warmup, rule })
    }
}

impl Schedule {
    /// The momentum at the beginning, at the peak of the learning rate and at the end, where the schedule prescribes it:
    /// `onecycle` does, with the values of PyTorch's `cycle_momentum`.
    pub fn momentum(&self) -> Option<[f64; 3]> {
        matches!(self.rule, Rule::OneCycle { .. }).then_some([0.95, 0.85, 0.95])
    }
}

fn within(key: &str, value: f64, low: f64, high: f64) -> Result<f64, String> {
    if (low..=high).contains(&value) {
        Ok(value)
    } else {
        Err(format!("{key} is {value}, it goes from {low} to {high}"))
    }
}

fn parse_warmup(text: &str) -> Result<Warmup, String> {
    let mut args = Args::split(text);
    if args.name != "warmup" {
        return Err(format!(
            "'{}' in front of '+', only a warm-up stands there, as in warmup:5+cosine",
            args.name
        ));
    }
    let span = args.take("span")?.ok_or("how long is the warm-up? write warmup:5ep or warmup:500it")?;
    let start = within("start", args.take("start")?.unwrap_or(0.01), 0.0, 1.0)?;
    args.finish()?;
    Ok(Warmup { span, start })
}

fn parse_rule(text: &str) -> Result<Rule, String> {
    let mut args = Args::split(text);
    let name = args.name;
    let Some((_, example)) = RULES.iter().find(|(known, _)| *known == name) else {
        let nearest = text::nearest(name, RULES.map(|(known, _)| known));
        let hint = nearest.map(|name| format!("did you mean {name}? ")).unwrap_or_default();
        return Err(format!(
            "'{name}' is unknown; {hint}there are {}",
            RULES.map(|(known, _)| known).join(", ")
        ));
    };
    let rule = rule_of(&mut args).and_then(|rule| args.finish().map(|()| rule));
    rule.map_err(|what| format!("{what}; for example {example}"))
}

fn rule_of(args: &mut Args) -> Result<Rule, String> {
    let factor = |args: &mut Args, key, default: f64, least| {
        within(key, args.take_key(key)?.unwrap_or(default), least, 1.0)
    };
    Ok(match args.name {
        "step" => {
            let every =
                args.take("every")?.ok_or("how many epochs or iterations from one change to the next?")?;
            if matches!(every, Span::Epochs(0) | Span::Steps(0)) {
                return Err("'every' must be at least 1".into());
            }
            Rule::Step { every, factor: within("factor", args.take("factor")?.unwrap_or(0.1), 0.0, 1.0)? }
        }
        "multistep" => {
            let factor = factor(args, "factor", 0.1, 0.0)?;
            let milestones = args.take_places("milestone")?;
            if milestones.is_empty() {
                return Err("at which epochs or iterations?".into());
            }
            Rule::MultiStep { milestones, factor }
        }
        "cosine" => Rule::Cosine { min: factor(args, "min", 0.0, 0.0)? },
        "onecycle" => Rule::OneCycle {
            pct: within("pct", args.take("pct")?.unwrap_or(0.3), 0.0, 1.0)?,
            div: within("div", args.take_key("div")?.unwrap_or(25.0), 1.0, f64::MAX)?,
            final_div: within("final_div", args.take_key("final_div")?.unwrap_or(1e4), 1.0, f64::MAX)?,
            anneal: args.take_key("anneal")?.unwrap_or(Anneal::Cosine),
        },
        "plateau" => Rule::Plateau {
            factor: within("factor", args.take("factor")?.unwrap_or(0.1), 0.0, 1.0)?,
            patience: args.take_key("patience")?.unwrap_or(10),
            threshold: factor(args, "threshold", 1e-4, 0.0)?,
            cooldown: args.take_key("cooldown")?.unwrap_or(0),
            min: factor(args, "min", 0.0, 0.0)?,
            goal: args.take_key("goal")?.unwrap_or(Goal::Min),
        },
        _ => Rule::Constant,
    })
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(Warmup { span, start }) = self.warmup {
            write!(f, "warmup:{span},{start}+")?;
        }
        match &self.rule {
            Rule::Constant => f.write_str("constant"),
            Rule::Step { every, factor } => write!(f, "step:{every},{factor}"),
            Rule::MultiStep { milestones, factor } => {
                f.write_str("multistep:")?;
                milestones.iter().try_for_each(|milestone| write!(f, "{milestone},"))?;
                write!(f, "factor={factor}")
            }
            Rule::Cosine { min } => write!(f, "cosine:min={min}"),
            Rule::OneCycle { pct, div, final_div, anneal } => {
                write!(f, "onecycle:{pct},div={div},final_div={final_div},anneal={anneal}")
            }
            Rule::Plateau { factor, patience, threshold, cooldown, min, goal } => write!(
                f,
                "plateau:{factor},patience={patience},threshold={threshold},cooldown={cooldown},min={min},goal={goal}"
            ),
        }
    }
}

impl TryFrom<String> for Schedule {
    type Error = ScheduleError;

    fn try_from(text: String) -> Result<Self, ScheduleError> {
        text.parse()
    }
}

impl From<Schedule> for String {
    fn from(schedule: Schedule) -> String {
        schedule.to_string()
    }
}

/// What a plateau schedule remembers from measurement to measurement; every other schedule leaves it alone.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct PlateauState {
    /// The best measurement so far; none before the first.
    pub best: Option<f64>,
    /// Measurements without progress since.
    pub stalled: u64,
    /// Measurements that are still not counted.
    pub cooling: u64,
    /// The factor on the base learning rate.
    pub factor: f64,
}

/// A schedule under way in one run: the learning rate of every step.
#[derive(Clone, Debug, PartialEq)]
pub struct LearningRate {
    schedule: Schedule,
    base: f64,
    total: u64,
    steps_per_epoch: u64,
    plateau: PlateauState,
}

impl LearningRate {
    /// For a run of `total` steps with `steps_per_epoch` to an epoch, at `base` learning rate. Refuses moments
    /// that lie behind the end of the run.
    pub fn new(
        schedule: Schedule,
        base: f64,
        total: u64,
        steps_per_epoch: u64,
    ) -> Result<Self, ScheduleError> {
        if total == 0 || steps_per_epoch == 0 || !(base.is_finite() && base >= 0.0) {
            return Err(ScheduleError::Run { total, steps_per_epoch, base });
        }
        let milestones = match &schedule.rule {
            Rule::MultiStep { milestones, .. } => &milestones[..],
            _ => &[],
        };
        let mut moments = milestones.iter().copied().chain(schedule.warmup.map(|warmup| warmup.span));
        if let Some(moment) = moments.find(|moment| moment.steps(steps_per_epoch) > total) {
            let schedule = schedule.to_string();
            return Err(ScheduleError::BeyondEnd { schedule, moment, total, steps_per_epoch });
        }
        let plateau = PlateauState { best: None, stalled: 0, cooling: 0, factor: 1.0 };
        Ok(Self { schedule, base, total, steps_per_epoch, plateau })
    }

    /// The schedule.
    pub fn schedule(&self) -> &Schedule {
        &self.schedule
    }

    /// Which way the measure gets better that [`Self::observe`] is to be told: a loss, or an accuracy.
    pub fn goal(&self) -> Goal {
        match self.schedule.rule {
            Rule::Plateau { goal, .. } => goal,
            _ => Goal::Min,
        }
    }

    /// The learning rate of step `step`, from 0.
    pub fn at(&self, step: u64) -> f64 {
        let warmup = self.schedule.warmup.map_or((0, 1.0), |Warmup { span, start }| {
            let steps = span.steps(self.steps_per_epoch);
            let factor = if step < steps { start + (1.0 - start) * step as f64 / steps as f64 } else { 1.0 };
            (steps, factor)
        });
        self.base * warmup.1 * self.factor(step, warmup.0)
    }

    fn factor(&self, step: u64, warmup: u64) -> f64 {
        let moment = |span: &Span| span.steps(self.steps_per_epoch);
        match &self.schedule.rule {
            Rule::Constant => 1.0,
            Rule::Step { every, factor } => factor.powf((step / moment(every).max(1)) as f64),
            Rule::MultiStep { milestones, factor } => {
                let passed = milestones.iter().filter(|milestone| moment(milestone) <= step).count();
                factor.powi(passed as i32)
            }
            Rule::Cosine { min } => {
                let done = step.min(self.total).saturating_sub(warmup) as f64;
                let length = (self.total - warmup).max(1) as f64;
                Anneal::Cosine.between(1.0, *min, done / length)
            }
            Rule::OneCycle { div, final_div, .. } => self.cycle(step, 1.0 / div, 1.0, 1.0 / div / final_div),
            Rule::Plateau { .. } => self.plateau.factor,
        }
    }

    /// The momentum of step `step` where the schedule prescribes one.
    pub fn momentum_at(&self, step: u64) -> Option<f64> {
        let [from, peak, to] = self.schedule.momentum()?;
        Some(self.cycle(step, from, peak, to))
    }

    /// From `start` to `peak` and on to `end`; the peak is at step `pct · total − 1`, which need not be whole.
    fn cycle(&self, step: u64, start: f64, peak: f64, end: f64) -> f64 {
        let Rule::OneCycle { pct, anneal, .. } = self.schedule.rule else {
            return 1.0;
        };
        let last = self.total as f64 - 1.0;
        let top = pct * self.total as f64 - 1.0;
        let step = (step as f64).min(last);
        if step <= top && top > 0.0 {
            anneal.between(start, peak, step / top)
        } else if last > top {
            anneal.between(peak, end, (step - top) / (last - top))
        } else {
            peak
        }
    }

    /// Tells a plateau schedule what was measured, usually at the end of an epoch; returns whether the learning
    /// rate has changed. NaN is no progress.
    pub fn observe(&mut self, measured: f64) -> bool {
        let Rule::Plateau { factor, patience, threshold, cooldown, min, goal } = self.schedule.rule else {
            return false;
        };
        let state = &mut self.plateau;
        let better = match (state.best, goal) {
            (None, _) => !measured.is_nan(),
            (Some(best), Goal::Min) => measured < best * (1.0 - threshold),
            (Some(best), Goal::Max) => measured > best * (1.0 + threshold),
        };
        if better {
            state.best = Some(measured);
            state.stalled = 0;
        } else {
            state.stalled += 1;
        }
        if state.cooling > 0 {
            state.cooling -= 1;
            state.stalled = 0;
        }
        if state.stalled <= patience {
            return false;
        }
        state.stalled = 0;
        state.cooling = cooldown;
        let old = state.factor;
        state.factor = (old * factor).max(min);
        old != state.factor
    }

    /// What has to be kept to go on later.
    pub fn state(&self) -> PlateauState {
        self.plateau
    }

    /// Goes on where another run with this schedule stopped.
    pub fn restore(&mut self, state: PlateauState) {
        self.plateau = state;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(text: &str, base: f64, total: u64, steps_per_epoch: u64) -> LearningRate {
        LearningRate::new(text.parse().unwrap(), base, total, steps_per_epoch).unwrap()
    }

    fn assert_rates(text: &str, base: f64, total: u64, steps_per_epoch: u64, expected: &[(u64, f64)]) {
        let run = run(text, base, total, steps_per_epoch);
        for &(step, rate) in expected {
            let got = run.at(step);
            assert!((got - rate).abs() <= 1e-9 * base.max(rate), "{text} at {step}: {got}, expected {rate}");
        }
    }

    #[test]
    fn rates_are_those_of_pytorch() {
        assert_rates("constant", 0.1, 10, 1, &[(0, 0.1), (9, 0.1), (100, 0.1)]);
        // StepLR(step_size=30, gamma=0.1), MultiStepLR([30, 80], 0.1), stepped each epoch.
        assert_rates("step:30,0.1", 0.1, 900, 10, &[(0, 0.1), (299, 0.1), (300, 0.01), (600, 0.001)]);
        let rates = [(0, 0.1), (299, 0.1), (300, 0.01), (799, 0.01), (800, 0.001)];
        assert_rates("multistep:30,80", 0.1, 900, 10, &rates);
        // He et al. (2015) on CIFAR-10.
        let rates = [(31_999, 0.1), (32_000, 0.01), (47_999, 0.01), (48_000, 0.001), (63_999, 0.001)];
        assert_rates("multistep:32000,48000", 0.1, 64_000, 390, &rates);
        // CosineAnnealingLR(T_max=10): 0.05 (1 + cos(pi t / 10)).
        let rates =
            [(0, 0.1), (1, 0.097552825814757), (5, 0.05), (9, 0.002447174185242), (10, 0.0), (50, 0.0)];
        assert_rates("cosine", 0.1, 10, 1, &rates);
        assert_rates("cosine:min=0.1", 0.1, 10, 1, &[(0, 0.1), (5, 0.055), (10, 0.01)]);
        // OneCycleLR(max_lr=0.1, total_steps=10): the peak at step 0.3·10 − 1.
        let rates = [(0, 0.004), (1, 0.052), (2, 0.1), (3, 0.095_048_463_203_4), (9, 4e-7)];
        let run = run("onecycle", 0.1, 10, 1);
        for (step, rate) in rates {
            assert!((run.at(step) - rate).abs() < 1e-8, "onecycle at {step}: {}", run.at(step));
        }
        let momenta = [(0, 0.95), (1, 0.90), (2, 0.85), (9, 0.95)];
        for (step, momentum) in momenta {
            assert!((run.momentum_at(step).unwrap() - momentum).abs() < 1e-12);
        }
        // OneCycleLR(max_lr=1, total_steps=10, anneal_strategy="linear", pct_start=0.5, div_factor=10,
        // final_div_factor=10).
        let rates = [(0, 0.1), (2, 0.55), (4, 1.0), (9, 0.01), (5, 1.0 - 0.99 / 5.0)];
        assert_rates("onecycle:0.5,div=10,final_div=10,anneal=linear", 1.0, 10, 1, &rates);
        assert_eq!(super::tests::run("cosine", 0.1, 10, 1).momentum_at(0), None);
    }

    #[test]
    fn extreme_cycles_stay_finite() {
        for pct in ["0", "0.1", "0.5", "0.999", "1"] {
            for total in 1..12 {
                let run = run(&format!("onecycle:{pct}"), 0.1, total, 1);
                for step in 0..total + 2 {
                    assert!(
                        (0.0..=0.1 + 1e-12).contains(&run.at(step)),
                        "{pct} {total} {step}: {}",
                        run.at(step)
                    );
                }
            }
        }
    }

    #[test]
    fn a_warmup_stands_in_front_of_any_rule() {
        // LinearLR(start_factor=0.01, total_iters=4).
        let rates = [(0, 0.001), (1, 0.02575), (2, 0.0505), (3, 0.07525), (4, 0.1), (5, 0.1)];
        assert_rates("warmup:4it+constant", 0.1, 10, 2, &rates);
        assert_rates("warmup:2ep+constant", 0.1, 10, 2, &rates);
        assert_rates("warmup:2ep,0.5+constant", 0.1, 10, 2, &[(0, 0.05), (2, 0.075), (4, 0.1)]);
        // Moments count from the beginning of training, the cosine from the end of the warm-up.
        assert_rates("warmup:4it+step:4it,0.1", 0.1, 20, 2, &[(4, 0.01), (8, 0.001)]);
        assert_rates("warmup:4it+cosine", 0.1, 14, 2, &[(2, 0.0505), (4, 0.1), (9, 0.05), (14, 0.0)]);
        assert_rates("warmup:10it+cosine", 0.1, 10, 2, &[(0, 0.001), (9, 0.0901)]);
        let mut plateau = run("warmup:4it+plateau:0.5,patience=0", 0.1, 20, 2);
        plateau.observe(1.0);
        assert!(plateau.observe(1.0));
        assert!((plateau.at(2) - 0.02525).abs() < 1e-12 && (plateau.at(4) - 0.05).abs() < 1e-12);
    }

    #[test]
    fn a_plateau_is_left_as_pytorch_leaves_it() {
        // ReduceLROnPlateau(patience=2, cooldown=1, factor=0.1): reduced at the third bad measurement in a row.
        let mut rate = run("plateau:0.1,patience=2,cooldown=1", 1.0, 100, 1);
        let measured = [1.0, 0.9, 0.9, 0.95, 0.9, 0.9, 0.9, 0.9, 0.9, 0.5, 0.49999];
        let reduced: Vec<bool> = measured.into_iter().map(|value| rate.observe(value)).collect();
        let at: Vec<usize> = (0..measured.len()).filter(|at| reduced[*at]).collect();
        assert_eq!(at, [4, 8]);
        assert!((rate.at(0) - 0.01).abs() < 1e-12);
        assert_eq!(rate.state().best, Some(0.5), "less than the threshold is no progress");

        let mut up = run("plateau:patience=0,goal=max,min=0.05", 1.0, 100, 1);
        assert!(!up.observe(0.5) && !up.observe(0.6) && up.observe(0.6) && up.observe(f64::NAN));
        assert_eq!(up.at(0), 0.05);
        assert!(!up.observe(0.0), "it cannot get any lower");
    }

    #[test]
    fn a_plateau_goes_on_from_its_state() {
        let measured = [1.0, 0.9, 0.9, 0.9, 0.9, 0.8, 0.8, 0.8, 0.8, 0.8];
        let mut whole = run("plateau:patience=1", 1.0, 100, 1);
        measured.iter().for_each(|value| _ = whole.observe(*value));
        for cut in 0..measured.len() {
            let mut first = run("plateau:patience=1", 1.0, 100, 1);
            measured[..cut].iter().for_each(|value| _ = first.observe(*value));
            let json = serde_json::to_string(&first.state()).unwrap();
            let mut second = run("plateau:patience=1", 1.0, 100, 1);
            second.restore(serde_json::from_str(&json).unwrap());
            measured[cut..].iter().for_each(|value| _ = second.observe(*value));
            assert_eq!(second, whole, "cut at {cut}");
        }
    }

    #[test]
    fn texts_come_back() {
        for text in [
            "constant",
            "step:30ep,0.1",
            "multistep:32000it,48000it,factor=0.1",
            "cosine:min=0",
            "onecycle:0.3,div=25,final_div=10000,anneal=cos",
            "plateau:0.1,patience=3,threshold=0.0001,cooldown=0,min=0,goal=max",
            "warmup:5ep,0.01+cosine:min=0.001",
        ] {
            let schedule: Schedule = text.parse().unwrap();
            assert_eq!(schedule.to_string(), text);
            let json = serde_json::to_string(&schedule).unwrap();
            assert_eq!(serde_json::from_str::<Schedule>(&json).unwrap(), schedule);
        }
        for (name, example) in RULES {
            assert!(example.starts_with(name));
            example.parse::<Schedule>().unwrap();
        }
        assert_eq!("999".parse(), Ok(Span::Epochs(999)));
        assert_eq!("1000".parse(), Ok(Span::Steps(1000)));
        assert_eq!("5000ep".parse(), Ok(Span::Epochs(5000)));
    }

    #[test]
    fn errors_show_what_would_be_right() {
        for (text, expected) in [
            ("cosin", "did you mean cosine? there are constant, step, multistep"),
            ("", "'' is unknown; there are constant"),
            ("step", "how many epochs or iterations from one change to the next?; for example step:30,0.1"),
            ("step:0", "'every' must be at least 1"),
            ("step:3w", "'3w' does not do as 'every' of 'step'"),
            ("step:30,ten", "'ten' does not do as 'factor' of 'step'"),
            ("step:30,0.1,5", "does not know argument '5'; it takes every, factor"),
            ("step:30,10", "factor is 10, it goes from 0 to 1"),
            ("multistep", "at which epochs or iterations?"),
            ("multistep:30,x", "'x' does not do as 'milestone'"),
            ("cosine:T=10", "does not know 'T'; it takes min; for example cosine:min=0.01"),
            ("constant:3", "'constant' takes no arguments, argument '3' was given"),
            ("onecycle:anneal=exp", "'exp' does not do as 'anneal'"),
            ("onecycle:NaN", "pct is NaN"),
            ("plateau:patience=-1", "'-1' does not do as 'patience'"),
            ("warmup+cosine", "write warmup:5ep"),
            ("cosine+warmup:5", "only a warm-up stands there"),
            ("warmup:5+onecycle", "onecycle rises by itself"),
        ] {
            let error = text.parse::<Schedule>().unwrap_err().to_string();
            assert!(error.contains(expected), "{error:?} lacks {expected:?}");
        }
    }

    #[test]
    fn moments_that_never_come_are_refused() {
        let new = |text: &str, base, total, per| LearningRate::new(text.parse().unwrap(), base, total, per);
        let text = new("multistep:32000,48000", 0.1, 4680, 468).unwrap_err().to_string();
        assert!(text.contains("32000it lies behind the run's end, 4680 steps of 468 an epoch"), "{text}");
        assert!(matches!(new("warmup:5ep+cosine", 0.1, 4, 1), Err(ScheduleError::BeyondEnd { .. })));
        assert!(matches!(
            new("multistep:999999999999999999ep", 0.1, 4, 1 << 20),
            Err(ScheduleError::BeyondEnd { .. })
        ));
        for (base, total, per) in [(f64::NAN, 1, 1), (-0.1, 1, 1), (0.1, 0, 1), (0.1, 1, 0)] {
            assert!(matches!(new("constant", base, total, per), Err(ScheduleError::Run { .. })));
        }
    }
}
