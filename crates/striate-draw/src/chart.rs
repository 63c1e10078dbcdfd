//! Curves in a frame with axes, and several such frames in a figure.

use crate::axis::{Axis, Scale};
use crate::color::Color;
use crate::font::{Weight, shortened, text_width};
use crate::scene::{Anchor, Item, Scene, Text};

/// How a curve is drawn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Stroke {
    /// The one to look at.
    #[default]
    Bold,
    /// One beside it.
    Thin,
    /// A help.
    Dashed,
}

impl Stroke {
    fn width(self) -> f32 {
        match self {
            Stroke::Bold => 2.2,
            Stroke::Thin => 1.1,
            Stroke::Dashed => 1.4,
        }
    }

    fn dash(self) -> Option<[f32; 2]> {
        (self == Stroke::Dashed).then_some([5.0, 4.0])
    }
}

/// A curve.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    /// What the legend calls it; where it is empty, the legend is silent.
    pub name: String,
    /// x and y of its points, by growing x. Where one is no number, the curve has a gap.
    pub points: Vec<[f64; 2]>,
    /// Its colour.
    pub color: Color,
    /// How it is drawn.
    pub stroke: Stroke,
}

/// Curves in a frame with axes.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Chart {
    /// What it shows.
    pub title: String,
    /// Across.
    pub x: Axis,
    /// Up.
    pub y: Axis,
    /// The curves, the last on top.
    pub series: Vec<Series>,
}

/// Charts in rows under a title.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Figure {
    /// Over all.
    pub title: String,
    /// Under the title.
    pub subtitle: String,
    /// The height of each row, and its charts from left to right.
    pub rows: Vec<(f32, Vec<Chart>)>,
}

/// Pixels across of a figure.
const WIDTH: f32 = 960.0;
const MARGIN: f32 = 24.0;
const GAP: f32 = 28.0;
/// Letters at axes and in legends.
const SIZE: f32 = 11.0;
/// Curves of so few points show them.
const DOTS: usize = 30;
/// The most points of a curve that are drawn; of more, evenly chosen ones.
const MAX_POINTS: usize = 4000;

impl Figure {
    /// The figure as a scene.
    pub fn draw(&self) -> Scene {
        let head = [(&self.title, 24.0), (&self.subtitle, 20.0)];
        let head: f32 = head.map(|(text, height)| if text.is_empty() { 0.0 } else { height }).iter().sum();
        let head = if head > 0.0 { head + 10.0 } else { 0.0 };
        let rows: f32 = self.rows.iter().map(|(height, _)| height + GAP).sum();
        let height = 2.0 * MARGIN + head + rows - if self.rows.is_empty() { 0.0 } else { GAP };
        let mut scene = Scene::new(WIDTH, height, self.title.clone());
        let room = WIDTH - 2.0 * MARGIN;
        let mut top = MARGIN;
        if !self.title.is_empty() {
            let title = shortened(&self.title, room, 18.0, Weight::SemiBold);
            scene.text(Text::new([MARGIN, top + 15.0], title, 18.0).semi_bold());
            top += 24.0;
        }
        if !self.subtitle.is_empty() {
            let subtitle = shortened(&self.subtitle, room, 12.0, Weight::Regular);
            scene.text(Text::new([MARGIN, top + 11.0], subtitle, 12.0).color(Color::PALE_INK));
        }
        top = MARGIN + head;
        for (height, charts) in &self.rows {
            let count = charts.len().max(1) as f32;
            let width = (room - (count - 1.0) * GAP) / count;
            for (index, chart) in charts.iter().enumerate() {
                chart.draw(&mut scene, [MARGIN + index as f32 * (width + GAP), top, width, *height]);
            }
            top += height + GAP;
        }
        scene
    }
}

impl Chart {
    /// Draws the chart in a rectangle: left, top, width, height.
    pub fn draw(&self, scene: &mut Scene, [left, top, width, height]: [f32; 4]) {
        let mut head = top;
        if !self.title.is_empty() {
            let title = shortened(&self.title, width, 13.0, Weight::SemiBold);
            scene.text(Text::new([left, head + 11.0], title, 13.0).semi_bold());
            head += 20.0;
        }
        head = self.legend(scene, [left, head, width]);
        let foot = 18.0 + if self.x.label.is_empty() { 0.0 } else { 18.0 };
        let inside = (top + height - head - foot - 4.0).max(20.0);
        let values = |axis: usize| {
            self.series.iter().flat_map(move |series| series.points.iter().map(move |point| point[axis]))
        };
        let y = self.y.scale(values(1), (inside / 38.0) as usize, true);
        let numbers = y.ticks.iter().map(|(_, text)| text_width(text, SIZE, Weight::Regular));
        let side = if self.y.label.is_empty() { 0.0 } else { 18.0 } + numbers.fold(0.0, f32::max) + 8.0;
        let plot = Plot {
            left: left + side,
            top: head + 4.0,
            width: (width - side - 6.0).max(20.0),
            height: inside,
        };
        let x = self.x.scale(values(0), (plot.width / 80.0) as usize, false);
        self.axes(scene, &plot, &x, &y);
        if !self.y.label.is_empty() {
            let middle = [left + 10.0, plot.top + plot.height / 2.0];
            let text = Text::new(middle, self.y.label.clone(), SIZE).color(Color::PALE_INK);
            scene.text(text.anchor(Anchor::Middle).upwards());
        }
        if !self.x.label.is_empty() {
            let middle = [plot.left + plot.width / 2.0, top + height - 3.0];
            let text = Text::new(middle, self.x.label.clone(), SIZE).color(Color::PALE_INK);
            scene.text(text.anchor(Anchor::Middle));
        }
        for series in &self.series {
            plot.curve(scene, series, &x, &y);
        }
    }

    /// The names of the curves in as many lines as they need; where these end.
    fn legend(&self, scene: &mut Scene, [left, top, width]: [f32; 3]) -> f32 {
        const SAMPLE: f32 = 20.0;
        let named: Vec<&Series> = self.series.iter().filter(|series| !series.name.is_empty()).collect();
        let (mut x, mut y) = (left, top + 6.0);
        for series in &named {
            let name = shortened(&series.name, width - SAMPLE - 6.0, SIZE, Weight::Regular);
            let room = SAMPLE + 6.0 + text_width(&name, SIZE, Weight::Regular);
            if x > left && x + room > left + width {
                (x, y) = (left, y + 16.0);
            }
            let points = vec![[x + 1.0, y], [x + SAMPLE - 1.0, y]];
            let (color, dash) = (series.color, series.stroke.dash());
            scene.add(Item::Line { points, width: series.stroke.width(), color, dash });
            scene.text(Text::new([x + SAMPLE + 6.0, y + 4.0], name, SIZE).color(Color::PALE_INK));
            x += room + 16.0;
        }
        if named.is_empty() { top } else { y + 14.0 }
    }

    fn axes(&self, scene: &mut Scene, plot: &Plot, x: &Scale, y: &Scale) {
        let (right, bottom) = (plot.left + plot.width, plot.top + plot.height);
        for (value, text) in &y.ticks {
            let at = plot.y(y.place(*value));
            scene.line([plot.left, at], [right, at], 1.0, Color::GRID);
            let text = Text::new([plot.left - 7.0, at + 4.0], text.clone(), SIZE).color(Color::PALE_INK);
            scene.text(text.anchor(Anchor::End));
        }
        for (value, text) in &x.ticks {
            let at = plot.x(x.place(*value));
            scene.line([at, plot.top], [at, bottom], 1.0, Color::GRID);
            let text = Text::new([at, bottom + 16.0], text.clone(), SIZE).color(Color::PALE_INK);
            scene.text(text.anchor(Anchor::Middle));
        }
        scene.line([plot.left, bottom], [right, bottom], 1.0, Color::FRAME);
    }
}

/// Where curves are.
struct Plot {
    left: f32,
    top: f32,
    width: f32,
    height: f32,
}

impl Plot {
    fn x(&self, place: f64) -> f32 {
        self.left + place as f32 * self.width
    }

    fn y(&self, place: f64) -> f32 {
        self.top + (1.0 - place as f32) * self.height
    }

    fn curve(&self, scene: &mut Scene, series: &Series, x: &Scale, y: &Scale) {
        let every = series.points.len().div_ceil(MAX_POINTS).max(1);
        let last = series.points.len().saturating_sub(1);
        let chosen = series.points.iter().enumerate().filter(|(at, _)| at % every == 0 || *at == last);
        let places: Vec<[f64; 2]> = chosen.map(|(_, [px, py])| [x.place(*px), y.place(*py)]).collect();
        let (width, color, dash) = (series.stroke.width(), series.color, series.stroke.dash());
        let on_paper = |[px, py]: [f64; 2]| [self.x(px), self.y(py)];
        let mut points: Vec<[f32; 2]> = Vec::new();
        let mut end = |points: &mut Vec<[f32; 2]>| {
            if points.len() > 1 {
                scene.add(Item::Line { points: std::mem::take(points), width, color, dash });
            }
            points.clear();
        };
        for pair in places.windows(2) {
            match clipped(pair[0], pair[1]) {
                Some([from, to]) => {
                    let (from, to) = (on_paper(from), on_paper(to));
                    if points.last() != Some(&from) {
                        end(&mut points);
                        points.push(from);
                    }
                    points.push(to);
                }
                None => end(&mut points),
            }
        }
        end(&mut points);
        if places.len() <= DOTS {
            let inside = |place: &&[f64; 2]| place.iter().all(|part| (0.0..=1.0).contains(part));
            for place in places.iter().filter(inside) {
                scene.add(Item::Dot { at: on_paper(*place), radius: width + 0.4, fill: color });
            }
        }
    }
}

/// The part of a line between two points that lies in the unit square (Liang and Barsky).
fn clipped(from: [f64; 2], to: [f64; 2]) -> Option<[[f64; 2]; 2]> {
    let mut span = [0.0f64, 1.0];
    for axis in 0..2 {
        let (start, step) = (from[axis], to[axis] - from[axis]);
        if !start.is_finite() || !step.is_finite() {
            return None;
        }
        if step == 0.0 {
            if !(0.0..=1.0).contains(&start) {
                return None;
            }
            continue;
        }
        let (a, b) = (-start / step, (1.0 - start) / step);
        span = [span[0].max(a.min(b)), span[1].min(a.max(b))];
    }
    let at = |t: f64| [from[0] + t * (to[0] - from[0]), from[1] + t * (to[1] - from[1])];
    // Whole ends stay what they are, so that the next line begins where this one ends.
    let [start, end] =
        [if span[0] == 0.0 { from } else { at(span[0]) }, if span[1] == 1.0 { to } else { at(span[1]) }];
    (span[0] <= span[1]).then_some([start, end])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(scene: &Scene, color: Color) -> Vec<Vec<[f32; 2]>> {
        let line = |item: &Item| match item {
            Item::Line { points, color: found, .. } if *found == color => Some(points.clone()),
            _ => None,
        };
        scene.items.iter().filter_map(line).collect()
    }

    const RED: Color = Color::rgb(200, 0, 0);

    fn chart(points: &[[f64; 2]]) -> Chart {
        let series =
            Series { name: String::new(), points: points.to_vec(), color: RED, stroke: Stroke::Bold };
        Chart { series: vec![series], ..Chart::default() }
    }

    #[test]
    fn curves_stay_in_their_frame() {
        let mut chart = chart(&[[0.0, 0.0], [1.0, 50.0], [2.0, 0.5], [3.0, 1.0]]);
        chart.y.range = Some([0.0, 1.0]);
        let mut scene = Scene::new(300.0, 200.0, "");
        chart.draw(&mut scene, [10.0, 10.0, 280.0, 180.0]);
        let lines = lines(&scene, RED);
        assert_eq!(lines.len(), 2, "cut where it leaves the frame");
        for [x, y] in lines.concat() {
            assert!((10.0..=290.0).contains(&x) && (10.0..=190.0).contains(&y), "{x} {y}");
        }
        assert_eq!(clipped([-1.0, 0.5], [2.0, 0.5]), Some([[0.0, 0.5], [1.0, 0.5]]));
        assert_eq!(clipped([-1.0, 2.0], [2.0, 2.0]), None);
        assert_eq!(clipped([-1.0, 0.9], [0.1, 2.0]), None);
    }

    #[test]
    fn what_is_no_number_is_a_gap() {
        let mut scene = Scene::new(300.0, 200.0, "");
        let points = [[0.0, 1.0], [1.0, 2.0], [2.0, f64::NAN], [3.0, 2.0], [4.0, 1.0], [5.0, 1.5]];
        chart(&points).draw(&mut scene, [0.0, 0.0, 300.0, 200.0]);
        let lines = lines(&scene, RED);
        assert_eq!(lines.iter().map(Vec::len).collect::<Vec<_>>(), [2, 3]);
    }

    #[test]
    fn empty_and_long_curves_are_drawn() {
        for points in
            [vec![], vec![[1.0, 1.0]], (0..100_000).map(|at| [at as f64, (at % 7) as f64]).collect()]
        {
            let figure =
                Figure { title: "t".into(), rows: vec![(200.0, vec![chart(&points)])], ..Figure::default() };
            let scene = figure.draw();
            let drawn: usize = lines(&scene, RED).iter().map(Vec::len).sum();
            assert!(drawn <= MAX_POINTS + 1);
            assert!(scene.svg().unwrap().len() < 100_000);
        }
    }
}
