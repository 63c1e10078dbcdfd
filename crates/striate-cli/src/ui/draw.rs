//! The screen, whatever its size.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::symbols::Marker;
use ratatui::text::{Line, Span};
use ratatui::widgets::{Axis, Block, BorderType, Chart, Dataset, Gauge, GraphType, Paragraph};

use striate::prelude::available_threads;

use super::state::{Shown, State};
use crate::text::{bytes, duration, percent, thousands};

const TRAIN: Color = Color::Indexed(39);
const TEST: Color = Color::Indexed(208);
const DIM: Color = Color::Indexed(244);
const FRAME: Color = Color::Indexed(239);
const GOOD: Color = Color::Indexed(42);

/// Columns of the facts beside the charts.
const SIDE: u16 = 34;

/// Draws all there is room for.
pub(super) fn draw(frame: &mut Frame, state: &State) {
    let area = frame.area();
    let gauge = if area.height >= 14 { 3 } else { 1 };
    let [head, progress, body, foot] = Layout::vertical([
        Constraint::Length(1),
        Constraint::Length(gauge),
        Constraint::Min(0),
        Constraint::Length(1),
    ])
    .areas(area);
    header(frame, head, state);
    bar(frame, progress, state);
    footer(frame, foot, state);
    let rows = numbers(state).len() as u16;
    if body.width >= 72 && body.height >= 8 {
        let [left, right] = Layout::horizontal([Constraint::Min(0), Constraint::Length(SIDE)]).areas(body);
        let [figures, settings] =
            Layout::vertical([Constraint::Length(rows + 2), Constraint::Min(0)]).areas(right);
        panel(frame, figures, "now", numbers(state));
        if settings.height >= 4 {
            panel(frame, settings, "settings", state.facts.clone());
        }
        let talk = (body.height / 4).clamp(3, 9);
        let [top, bottom] = Layout::vertical([Constraint::Min(0), Constraint::Length(talk)]).areas(left);
        charts(frame, top, state);
        messages(frame, bottom, state);
    } else if body.height >= rows + 8 {
        let [top, bottom] = Layout::vertical([Constraint::Min(0), Constraint::Length(rows)]).areas(body);
        charts(frame, top, state);
        lines(frame, bottom, numbers(state));
    } else {
        lines(frame, body, numbers(state));
    }
}

fn header(frame: &mut Frame, area: Rect, state: &State) {
    let (word, color) = match state {
        State { stopping: true, .. } => ("stopping", TEST),
        State { paused: true, .. } => ("paused", Color::Yellow),
        State { evaluating: Some(_), .. } => ("testing", GOOD),
        State { step: None, .. } => ("preparing", DIM),
        _ => ("training", GOOD),
    };
    let line = Line::from(vec![
        Span::styled(" striate ", Style::new().fg(Color::Black).bg(TRAIN).bold()),
        Span::raw(" "),
        Span::styled(state.title.clone(), Style::new().bold()),
        Span::raw("  "),
        Span::styled(format!("● {word}"), Style::new().fg(color)),
    ]);
    frame.render_widget(Paragraph::new(line), area);
}

/// How far the run is, and how long it will take.
fn bar(frame: &mut Frame, area: Rect, state: &State) {
    let step = state.step.as_ref();
    let done = step.map_or(0.0, |step| step.step as f64 / state.steps.max(1) as f64).clamp(0.0, 1.0);
    let epoch = step.map_or(0, |step| step.epoch);
    let now = match state.evaluating {
        Some((done, of)) => format!("testing {} of {}", thousands(done), thousands(of)),
        None => step.map_or_else(String::new, |step| format!("step {} of {}", step.batch, step.batches)),
    };
    let mut label = format!("epoch {epoch}/{} · {now} · {:.0} %", state.epochs, 100.0 * done);
    if step.is_some() && done < 1.0 {
        label += &format!(" · {} left", duration(state.left));
    }
    if label.chars().count() + 4 > area.width as usize {
        label = format!("epoch {epoch}/{} · {} left", state.epochs, duration(state.left));
    }
    let gauge = Gauge::default()
        .gauge_style(Style::new().fg(Color::Indexed(31)).bg(Color::Indexed(236)))
        .label(Span::styled(label, Style::new().fg(Color::Indexed(255)).bold()))
        .use_unicode(true)
        .ratio(done);
    let gauge = if area.height >= 3 { gauge.block(block("")) } else { gauge };
    frame.render_widget(gauge, area);
}

fn footer(frame: &mut Frame, area: Rect, state: &State) {
    let keys = [
        ("q", if state.stopping { "end at once" } else { "stop and save" }),
        ("p", if state.paused { "go on" } else { "pause" }),
        ("tab", "other charts"),
    ];
    let key = |(key, what): (&'static str, &'static str)| {
        [
            Span::styled(format!(" {key} "), Style::new().fg(Color::Indexed(252)).bg(FRAME)),
            Span::styled(format!(" {what}   "), Style::new().fg(DIM)),
        ]
    };
    let mut room = area.width as usize;
    let fits = |(key, what): &(&str, &str)| {
        let wanted = key.len() + what.len() + 3;
        let fits = wanted <= room;
        room = room.saturating_sub(wanted + 3);
        fits
    };
    let keys = keys.into_iter().take_while(fits);
    frame.render_widget(Paragraph::new(Line::from_iter(keys.flat_map(key))), area);
}

/// The numbers of the moment.
fn numbers(state: &State) -> Vec<(String, String)> {
    let mut rows: Vec<(&str, String)> = Vec::new();
    if let Some(step) = &state.step {
        rows.push(("training loss", format!("{:.4}", step.loss)));
        rows.push(("accuracy", percent(step.accuracy)));
    }
    if let Some(last) = state.log.last() {
        rows.push(("test loss", format!("{:.4}", last.test_loss)));
        rows.push(("test accuracy", percent(last.test_accuracy)));
    }
    if let Some((epoch, accuracy)) = state.best {
        rows.push(("best", format!("{} in epoch {epoch}", percent(accuracy))));
    }
    if let Some(step) = &state.step {
        rows.push(("learning rate", format!("{:.3e}", step.lr)));
        rows.push(("images/s", thousands(step.images_per_s as u64)));
        rows.push(("waits for images", percent(step.input_share)));
    }
    if let Some(cpu) = state.cpu {
        rows.push(("processors busy", format!("{cpu:.1} of {}", available_threads())));
    }
    if let Some(memory) = state.memory {
        rows.push(("memory", bytes(memory)));
    }
    rows.push(("time", duration(state.start.elapsed())));
    rows.into_iter().map(|(name, value)| (name.to_string(), value)).collect()
}

fn block(title: &str) -> Block<'_> {
    let block = Block::bordered().border_type(BorderType::Rounded).border_style(Style::new().fg(FRAME));
    match title {
        "" => block,
        title => block.title(Span::styled(format!(" {title} "), Style::new().fg(DIM))),
    }
}

fn panel(frame: &mut Frame, area: Rect, title: &str, rows: Vec<(String, String)>) {
    let block = block(title);
    let inner = block.inner(area);
    frame.render_widget(block, area);
    lines(frame, inner, rows);
}

/// Names on the left, values on the right; what does not fit below is left out.
fn lines(frame: &mut Frame, area: Rect, rows: Vec<(String, String)>) {
    let width = area.width as usize;
    let line = |(name, value): (String, String)| {
        let room = width.saturating_sub(name.chars().count() + 1);
        let value: String = match value.chars().count() > room {
            true => value.chars().take(room.saturating_sub(1)).chain(['…']).collect(),
            false => value,
        };
        let gap = width.saturating_sub(name.chars().count() + value.chars().count());
        Line::from(vec![
            Span::styled(name, Style::new().fg(DIM)),
            Span::raw(" ".repeat(gap)),
            Span::raw(value),
        ])
    };
    frame.render_widget(Paragraph::new(rows.into_iter().map(line).collect::<Vec<_>>()), area);
}

fn messages(frame: &mut Frame, area: Rect, state: &State) {
    let block = block("messages");
    let inner = block.inner(area);
    let first = state.messages.len().saturating_sub(inner.height as usize);
    let line = |(at, text): &(std::time::Duration, String)| {
        let time = format!("{:>8}  ", duration(*at));
        Line::from(vec![Span::styled(time, Style::new().fg(DIM)), Span::raw(text.clone())])
    };
    let shown: Vec<Line> = state.messages.iter().skip(first).map(line).collect();
    frame.render_widget(Paragraph::new(shown).block(block), area);
}

/// As many charts as there is room for, beginning with the chosen one.
fn charts(frame: &mut Frame, area: Rect, state: &State) {
    let across = if area.width >= 76 { 2 } else { 1 };
    let down = if area.height >= 32 { 2 } else { 1 };
    let rows = Layout::vertical(vec![Constraint::Fill(1); down]).split(area);
    let mut next = state.first;
    for row in rows.iter() {
        for cell in Layout::horizontal(vec![Constraint::Fill(1); across]).split(*row).iter() {
            chart(frame, *cell, state, Shown::ALL[next % Shown::ALL.len()]);
            next += 1;
        }
    }
}

fn chart(frame: &mut Frame, area: Rect, state: &State, shown: Shown) {
    let of = |y: fn(&striate::train::trainer::EpochRecord) -> f64| -> Vec<(f64, f64)> {
        state.log.iter().map(|epoch| (epoch.epoch as f64, y(epoch))).collect()
    };
    let (steps, tested) = match shown {
        Shown::Loss => (&state.step_loss.points, of(|epoch| epoch.test_loss)),
        Shown::Error => (&state.step_error.points, of(|epoch| 1.0 - epoch.test_accuracy)),
        Shown::Rate => (&state.rate.points, vec![]),
        Shown::Speed => (&state.speed.points, vec![]),
    };
    let steps = &smooth(steps, area.width as usize);
    let mut title = vec![Span::styled(format!(" {} ", shown.title()), Style::new().bold())];
    if matches!(shown, Shown::Loss | Shown::Error) {
        title.push(Span::styled("━ training ", Style::new().fg(TRAIN)));
        title.push(Span::styled("━ test ", Style::new().fg(TEST)));
    }
    let all = || steps.iter().chain(&tested).map(|point| point.1).filter(|y| y.is_finite());
    let (mut low, mut high) = (all().fold(f64::INFINITY, f64::min), all().fold(f64::NEG_INFINITY, f64::max));
    if low > high {
        (low, high) = (0.0, 1.0);
    }
    // A beginning far above the rest would press the rest flat.
    let mut sorted: Vec<f64> = all().collect();
    sorted.sort_by(f64::total_cmp);
    let peaked = matches!(shown, Shown::Loss | Shown::Error) && sorted.len() > 20;
    if let Some(most) = sorted.get(sorted.len() * 96 / 100).filter(|_| peaked) {
        high = *most;
    }
    if low > 0.0 && low < 0.5 * high {
        low = 0.0;
    }
    if high - low < 1e-9 * high.abs().max(1e-9) {
        (low, high) = (low - 0.1 * low.abs().max(1e-9), high + 0.1 * high.abs().max(1e-9));
    }
    let (from, to) =
        (steps.first().map_or(0.0, |point| point.0).floor(), steps.last().map_or(1.0, |point| point.0));
    let to = to.max(tested.last().map_or(0.0, |point| point.0)).max(from + 1e-3);
    let number = |value: f64| match shown {
        Shown::Error => percent(value),
        Shown::Speed => thousands(value.max(0.0) as u64),
        Shown::Rate if value != 0.0 => format!("{value:.1e}"),
        Shown::Rate => "0".into(),
        Shown::Loss => format!("{value:.3}"),
    };
    let labels = |low: f64, high: f64, count: usize, text: &dyn Fn(f64) -> String| -> Vec<Span<'static>> {
        let at = |index: usize| low + (high - low) * index as f64 / (count - 1) as f64;
        (0..count).map(|index| Span::styled(text(at(index)), Style::new().fg(DIM))).collect()
    };
    let epoch = |value: f64| if to - from < 5.0 { format!("{value:.1}") } else { format!("{value:.0}") };
    let axis = || Axis::default().style(Style::new().fg(FRAME));
    let ticks = if area.height >= 12 { 5 } else { 3 };
    let mut sets = vec![line(steps, TRAIN, Modifier::empty())];
    if !tested.is_empty() {
        sets.push(line(&tested, TEST, Modifier::BOLD));
    }
    let chart = Chart::new(sets)
        .block(block("").title(Line::from(title)))
        .legend_position(None)
        .x_axis(axis().bounds([from, to]).labels(labels(from, to, 3, &epoch)))
        .y_axis(axis().bounds([low, high]).labels(labels(low, high, ticks, &number)));
    frame.render_widget(chart, area);
}

/// At most as many points as there is room for, each the mean of its neighbours: batches differ, what is learned does not.
fn smooth(points: &[(f64, f64)], room: usize) -> Vec<(f64, f64)> {
    let mean = |points: &[(f64, f64)]| {
        let count = points.len() as f64;
        let sum = points.iter().fold((0.0, 0.0), |sum, point| (sum.0 + point.0, sum.1 + point.1));
        (sum.0 / count, sum.1 / count)
    };
    points.chunks(points.len().div_ceil(room.max(1)).max(1)).map(mean).collect()
}

fn line(points: &[(f64, f64)], color: Color, modifier: Modifier) -> Dataset<'_> {
    let kind = if points.len() > 1 { GraphType::Line } else { GraphType::Scatter };
    Dataset::default()
        .marker(Marker::Braille)
        .graph_type(kind)
        .style(Style::new().fg(color).add_modifier(modifier))
        .data(points)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;
    use striate::prelude::Event;
    use striate::train::trainer::{EpochRecord, StepRecord};

    fn state(epochs: u64) -> State {
        let facts = vec![("data".into(), "mnist".into()), ("batch".into(), "128".into())];
        let mut state = State::new("lenet5 on mnist".into(), 5, facts);
        state.observe(Event::Start { step: 0, steps: 500, memory: 1 << 20 });
        for step in 1..=100 * epochs {
            let loss = 2.0 / step as f64;
            let record = StepRecord {
                step,
                epoch: (step - 1) / 100 + 1,
                batch: (step - 1) % 100 + 1,
                batches: 100,
                loss,
                accuracy: 1.0 - loss / 2.0,
                images_per_s: 1234.0,
                input_share: 0.01,
                step_loss: loss,
                lr: 0.1,
            };
            state.observe(Event::Step(record));
            if step % 100 == 0 {
                state.observe(Event::Epoch(&EpochRecord {
                    step,
                    epoch: step / 100,
                    lr: 0.1,
                    train_loss: loss,
                    train_accuracy: 0.9,
                    test_loss: 0.25,
                    test_accuracy: 0.9375,
                    test_top5: 1.0,
                    images_per_s: 1234.0,
                    input_share: 0.01,
                    seconds: 1.0,
                }));
            }
        }
        state
    }

    fn screen(width: u16, height: u16, state: &State) -> String {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        terminal.draw(|frame| draw(frame, state)).unwrap();
        terminal.backend().to_string()
    }

    #[test]
    fn what_there_is_room_for_is_shown() {
        let two = state(2);
        for (width, height, words) in [
            (
                120,
                35,
                &[
                    "lenet5 on mnist",
                    "epoch 2/5",
                    "93.75 % in epoch 1",
                    "settings",
                    "messages",
                    "training",
                    "error",
                ][..],
            ),
            (80, 24, &["epoch 2/5", "test accuracy", "images/s", "1,234", "stop and save"]),
            (40, 10, &["epoch 2/5", "test loss", "0.2500"]),
        ] {
            let text = screen(width, height, &two);
            for word in words {
                assert!(text.contains(word), "no '{word}' at {width}x{height}:\n{text}");
            }
        }
    }

    #[test]
    fn every_size_and_moment_can_be_drawn() {
        let mut states = [State::new(String::new(), 1, vec![]), state(0), state(1), state(5)];
        states[3].turn(2);
        for state in &states {
            for width in [1, 2, 5, 20, 40, 71, 72, 100, 250] {
                for height in [1, 2, 3, 4, 9, 14, 24, 60] {
                    screen(width, height, state);
                }
            }
        }
    }
}
