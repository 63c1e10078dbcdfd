//! Trains LeNet-5 on MNIST, then reads a digit: `cargo run --release --example digits -- [picture.png]`

use std::sync::Arc;
use striate::prelude::*;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let network = zoo::build("lenet5")?;
    let data = [Split::Train, Split::Test].map(|split| data::open("mnist", split).map(Arc::new));
    let [train, test] = data;
    let config = TrainConfig { epochs: 3, ..TrainConfig::new(&network, "mnist")? };
    let folder =
        RunFolder::create(std::env::temp_dir().join(format!("digits-{}", std::process::id())), &config)?;
    let mut trainer = Trainer::new(config, network, [train?, test?], folder, available_threads())?;
    let report = trainer.run(&mut |event| {
        if let Event::Epoch(epoch) = event {
            println!("epoch {}: {:.2} % of the test digits", epoch.epoch, 100.0 * epoch.test_accuracy);
        }
    })?;
    if let Some(picture) = std::env::args().nth(1) {
        let model = Model::open(report.model)?;
        let input = model.info.preprocess.read(picture)?;
        println!("{:?}", Predictor::new(&model, PlanOptions::new(1))?.predict(&input)?[0]);
    }
    Ok(())
}
