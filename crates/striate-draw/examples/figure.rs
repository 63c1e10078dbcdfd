//! Made-up curves and a made-up matrix, to look at: `cargo run -p striate-draw --example figure -- FOLDER`.

use std::path::Path;
use striate_draw::{Axis, Chart, Figure, Matrix, PALETTE, Series, Stroke};

fn curve(name: &str, color: usize, stroke: Stroke, y: impl Fn(f64) -> f64) -> Series {
    let points = (1..=164).map(|epoch| [epoch as f64, y(epoch as f64)]).collect();
    Series { name: name.into(), points, color: PALETTE[color], stroke }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = std::env::args().nth(1).ok_or("give the folder to write to")?;
    let noise = |epoch: f64| (epoch * 12.9898).sin() * 43758.547 % 1.0;
    let level = |epoch: f64| {
        if epoch < 82.0 {
            0.12
        } else if epoch < 123.0 {
            0.04
        } else {
            0.025
        }
    };
    let error = move |epoch: f64| level(epoch) + 0.6 / epoch + 0.01 * noise(epoch);
    let epochs = || Axis::new("epoch");
    let loss = Chart {
        title: "Loss".into(),
        x: epochs(),
        y: Axis::new("").log(true),
        series: vec![
            curve("training", 0, Stroke::Thin, move |epoch| 2.5 * error(epoch)),
            curve("test", 1, Stroke::Bold, move |epoch| 2.7 * error(epoch) + 0.03),
        ],
    };
    let wrong = Chart {
        title: "Error".into(),
        x: epochs(),
        y: Axis::new("").percent(),
        series: vec![
            curve("training", 0, Stroke::Thin, error),
            curve("test (best 8.75 %, last 8.91 %)", 1, Stroke::Bold, move |epoch| error(epoch) + 0.05),
        ],
    };
    let rate = Chart {
        title: "Learning rate".into(),
        x: epochs(),
        y: Axis::new("").log(true),
        series: vec![curve("", 2, Stroke::Bold, |epoch| {
            if epoch < 82.0 {
                0.1
            } else if epoch < 123.0 {
                0.01
            } else {
                1e-3
            }
        })],
    };
    let rows = vec![(280.0, vec![loss, wrong]), (160.0, vec![rate])];
    let subtitle = "cifar10 · 164 of 164 epochs · batch 128 · made up".into();
    let scene = Figure { title: "resnet20-cifar".into(), subtitle, rows }.draw();
    let folder = Path::new(&folder);
    std::fs::write(folder.join("figure.svg"), scene.svg()?)?;
    std::fs::write(folder.join("figure.png"), scene.png(2.0)?)?;
    let classes = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"];
    let classes = classes.map(String::from);
    let mut entries: Vec<(usize, usize, u64)> =
        (0..10).map(|class| (class, class, 950 - 13 * class as u64)).collect();
    entries.extend(
        (0..10).map(|class| (class, (class * 3 + 1) % 10, 1 + 17 * class as u64)).filter(|e| e.0 != e.1),
    );
    let matrix = Matrix {
        title: "Confusion".into(),
        subtitle: "made up".into(),
        classes: &classes,
        entries: &entries,
    };
    let scene = matrix.draw()?;
    std::fs::write(folder.join("matrix.svg"), scene.svg()?)?;
    Ok(std::fs::write(folder.join("matrix.png"), scene.png(2.0)?)?)
}
