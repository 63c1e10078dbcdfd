//! Resizing along one axis: each element of the result is a weighted sum of a few of the source's.

use crate::axes::{Array, ArrayMut, Axes, Walk};
use crate::exec::{Context, SharedMut, for_each_piece};
use crate::pixelwise::GRAIN;
use crate::simd::{Kernel, Simd, dispatch};

/// Which of the two elements around a position is nearest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rounding {
    /// Half-way, the lesser.
    HalfDown,
    /// Half-way, the greater.
    HalfUp,
    /// Always the lesser.
    Down,
    /// Always the greater.
    Up,
}

/// How the source is read between its elements.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Interpolation {
    /// The nearest element.
    Nearest(Rounding),
    /// The two around, weighted by nearness.
    Linear,
    /// The four around, weighted by the kernel of Keys (1981).
    Cubic {
        /// Its constant.
        a: f32,
        /// Leave out what lies beyond the ends, and weight the others more; else the ends are repeated.
        exclude_outside: bool,
    },
}

/// Where element o of n lies in a source of m, scaled by s.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coordinates {
    /// (o + ½)/s − ½
    HalfPixel,
    /// The same, but 0 where n = 1.
    PytorchHalfPixel,
    /// m/2·(1 − n/(s·m)) more than half pixel.
    HalfPixelSymmetric,
    /// o·(m − 1)/(s·m − 1); 0 where s·m = 1
    AlignCorners,
    /// o/s
    Asymmetric,
}

/// A resizing of `input` elements to `output`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Resize {
    /// Elements of the source.
    pub input: usize,
    /// Elements of the result.
    pub output: usize,
    /// The factor s; `output`/`input` without it.
    pub scale: Option<f32>,
    /// How the source is read.
    pub interpolation: Interpolation,
    /// Where elements lie.
    pub coordinates: Coordinates,
}

impl Resize {
    /// Where element `at` of the result lies in the source.
    pub fn position(&self, at: usize) -> f64 {
        let (m, n, o) = (self.input as f64, self.output as f64, at as f64);
        // o/s, exactly where s is a quotient.
        let over_scale = |o: f64| self.scale.map_or(o * m / n, |scale| o / f64::from(scale));
        let stretched = self.scale.map_or(n, |scale| f64::from(scale) * m);
        match self.coordinates {
            Coordinates::PytorchHalfPixel if self.output == 1 => 0.0,
            Coordinates::HalfPixel | Coordinates::PytorchHalfPixel => over_scale(o + 0.5) - 0.5,
            Coordinates::HalfPixelSymmetric => m / 2.0 * (1.0 - n / stretched) + over_scale(o + 0.5) - 0.5,
            Coordinates::AlignCorners if stretched == 1.0 => 0.0,
            Coordinates::AlignCorners => o * (m - 1.0) / (stretched - 1.0),
            Coordinates::Asymmetric => over_scale(o),
        }
    }

    /// The elements of the source that make element `at`, each with its weight.
    fn taps(&self, at: usize) -> Vec<(usize, f32)> {
        let position = self.position(at);
        let (low, rest) = (position.floor(), position - position.floor());
        let last = self.input as f64 - 1.0;
        let mut taps: Vec<(usize, f64)> = Vec::new();
        let mut add = |at: f64, weight: f64| {
            let at = at.clamp(0.0, last) as usize;
            match taps.last_mut() {
                Some((before, sum)) if *before == at => *sum += weight,
                _ => taps.push((at, weight)),
            }
        };
        match self.interpolation {
            Interpolation::Nearest(rounding) => {
                let up = match rounding {
                    Rounding::HalfDown => rest > 0.5,
                    Rounding::HalfUp => rest >= 0.5,
                    Rounding::Down => false,
                    Rounding::Up => rest > 0.0,
                };
                add(low + f64::from(u8::from(up)), 1.0);
            }
            Interpolation::Linear => {
                add(low, 1.0 - rest);
                add(low + 1.0, rest);
            }
            Interpolation::Cubic { a, exclude_outside } => {
                let places = [-1.0, 0.0, 1.0, 2.0].map(|step| low + step);
                let mut weights = places.map(|place| keys(a.into(), (position - place).abs()));
                if exclude_outside {
                    for (weight, place) in weights.iter_mut().zip(places) {
                        *weight = if (0.0..=last).contains(&place) { *weight } else { 0.0 };
                    }
                    let sum: f64 = weights.iter().sum();
                    weights = weights.map(|weight| weight / sum);
                }
                places.into_iter().zip(weights).for_each(|(place, weight)| add(place, weight));
            }
        }
        taps.retain(|(_, weight)| *weight != 0.0);
        taps.into_iter().map(|(at, weight)| (at, weight as f32)).collect()
    }

    /// The weights of all elements of the result.
    pub fn table(&self) -> Table {
        Table::new(self.input, (0..self.output).map(|at| self.taps(at)))
    }
}

/// The kernel of Keys (1981) at distance t.
fn keys(a: f64, t: f64) -> f64 {
    if t <= 1.0 {
        ((a + 2.0) * t - (a + 3.0)) * t * t + 1.0
    } else if t < 2.0 {
        ((a * t - 5.0 * a) * t + 8.0 * a) * t - 4.0 * a
    } else {
        0.0
    }
}

/// Which elements of an axis make each element of another, with what weight: a sparse matrix.
#[derive(Clone, Debug, PartialEq)]
pub struct Table {
    input: usize,
    /// The first tap of each element, and behind them their number.
    starts: Vec<usize>,
    taps: Vec<(usize, f32)>,
}

impl Table {
    fn new(input: usize, rows: impl Iterator<Item = Vec<(usize, f32)>>) -> Self {
        let mut table = Self { input, starts: vec![0], taps: Vec::new() };
        for row in rows {
            table.taps.extend(row);
            table.starts.push(table.taps.len());
        }
        table
    }

    /// Elements of the result.
    fn output(&self) -> usize {
        self.starts.len() - 1
    }

    fn row(&self, at: usize) -> &[(usize, f32)] {
        &self.taps[self.starts[at]..self.starts[at + 1]]
    }

    /// The transposed matrix: the gradient's.
    pub fn transposed(&self) -> Self {
        let mut rows = vec![Vec::new(); self.input];
        for at in 0..self.output() {
            for (from, weight) in self.row(at) {
                rows[*from].push((at, *weight));
            }
        }
        Self::new(self.output(), rows.into_iter())
    }

    /// `dst` = along `axis`, the weighted sums of `src`.
    pub fn apply(&self, cx: &Context, axis: usize, src: Array, dst: ArrayMut) {
        assert_eq!(src.axes.extents()[axis], self.input, "elements of the source");
        assert_eq!(dst.axes.extents()[axis], self.output(), "elements of the result");
        if src.axes.elements() == 0 || dst.axes.elements() == 0 {
            return;
        }
        let others = |axes: Axes| axes.sliced(axis, 0, 1, 1);
        let walk = Walk::new(&[others(dst.axes), others(src.axes)]);
        let (inner, [to, from, ..]) = walk.inner();
        let steps = [dst.axes.stride(axis), src.axes.stride(axis)];
        let is_vector = to == 1 && from == 1;
        let rows = self.output();
        let dst = SharedMut::new(dst.data);
        let mix = Mix { table: self, walk: &walk, steps, src: src.data, dst };
        let (units, work) =
            if is_vector { (walk.lines() * rows, inner) } else { (walk.lines() * inner, rows) };
        for_each_piece(cx.exec, units, (GRAIN / work).max(1), |start, len, _| {
            if is_vector {
                dispatch(cx.isa, Vectors { mix: &mix, start, len });
            } else {
                (start..start + len).for_each(|unit| mix.elements(unit / inner, unit % inner));
            }
        });
    }
}

struct Mix<'a> {
    table: &'a Table,
    /// The other axes; arrays are the result and the source.
    walk: &'a Walk,
    /// Along the axis.
    steps: [isize; 2],
    src: &'a [f32],
    dst: SharedMut<'a, f32>,
}

impl Mix<'_> {
    /// The result along the axis, at element `at` of a line of the others.
    fn elements(&self, line: usize, at: usize) {
        let (_, [to, from, ..]) = self.walk.inner();
        let [to_line, from_line, ..] = self.walk.cursor(self.walk.rank - 1, line).offsets;
        let (to, from) = (to_line + at as isize * to, from_line + at as isize * from);
        for row in 0..self.table.output() {
            let mut sum = 0.0;
            for (tap, weight) in self.table.row(row) {
                // SAFETY: taps are elements of the source's axis, and the array lies in its slice.
                sum += weight * unsafe { *self.src.as_ptr().offset(from + *tap as isize * self.steps[1]) };
            }
            // SAFETY: so does the result, whose elements here are this task's own.
            unsafe { *self.dst.ptr_at(0).offset(to + row as isize * self.steps[0]) = sum };
        }
    }
}

/// Some of the (line of the other axes, element of the axis).
struct Vectors<'a> {
    mix: &'a Mix<'a>,
    start: usize,
    len: usize,
}

impl Kernel for Vectors<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Mix { table, walk, steps, src, dst } = *self.mix;
        let (inner, _) = walk.inner();
        for unit in self.start..self.start + self.len {
            let (line, row) = (unit / table.output(), unit % table.output());
            let [to, from, ..] = walk.cursor(walk.rank - 1, line).offsets;
            let taps = table.row(row);
            let mut at = 0;
            while at < inner {
                let lanes = S::LANES.min(inner - at);
                let mut sum = s.zero();
                // SAFETY: as in `elements`.
                unsafe {
                    for (tap, weight) in taps {
                        let x = src.as_ptr().offset(from + *tap as isize * steps[1]).add(at);
                        sum = s.mul_add(s.load_up_to(x, lanes), s.splat(*weight), sum);
                    }
                    s.store_up_to(dst.ptr_at(0).offset(to + row as isize * steps[0]).add(at), sum, lanes);
                }
                at += lanes;
            }
        }
    }
}
