//! How long pictures take from their bytes to a network's input, one core, no decoding:
//! `cargo run --release -p striate-train --example augment -- rrc=0.08,flip,jitter=0.4,lighting=0.1`

use std::error::Error;
use std::time::Instant;

use striate_train::augment::{Augment, Pipeline};
use striate_train::image_file::Fit;
use striate_train::picture::Picture;

const PICTURES: u32 = 400;

fn main() -> Result<(), Box<dyn Error>> {
    let texts: Vec<String> = std::env::args().skip(1).collect();
    let texts = if texts.is_empty() { vec!["rrc=0.08,flip,jitter=0.4,lighting=0.1".into()] } else { texts };
    let [height, width] = [375, 500];
    let pixels: Vec<u8> = (0..height * width * 3).map(|at| (at * at / 97 + at % 251) as u8).collect();
    let picture = Picture { height, width, channels: 3, pixels: &pixels };
    let statistics: [&[f32]; 2] = [&[0.485, 0.456, 0.406], &[0.229, 0.224, 0.225]];
    println!("{height}x{width} to 224x224, µs a picture (median of five runs over {PICTURES} pictures)");
    for text in texts {
        let augment: Augment = text.parse()?;
        let mut pipeline = Pipeline::new(&augment, [3, 224, 224], [224, 224], statistics, Fit::crop(256))?;
        let mut input = vec![0.0; pipeline.len()];
        let mut run = || -> Result<f64, Box<dyn Error>> {
            let start = Instant::now();
            for sample in 0..PICTURES {
                pipeline.apply(picture, 0, 0, sample, &mut input)?;
            }
            Ok(start.elapsed().as_secs_f64() * 1e6 / f64::from(PICTURES))
        };
        run()?;
        let mut times = [run()?, run()?, run()?, run()?, run()?];
        times.sort_by(f64::total_cmp);
        println!("{:>8.0}  {text}", times[2]);
    }
    Ok(())
}
