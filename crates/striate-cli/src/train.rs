//! `striate train`.

use clap::Args;
use console::{Term, measure_text_width, style};
use serde::Serialize;
use serde_json::Value as Json;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use striate::prelude::*;
use striate::train::run_folder::RunError;
use striate::train::schedule::Schedule;
use striate::train::trainer::TrainError;

use crate::failure::{Failure, Result};
use crate::network::NetworkArgs;
use crate::options::{Format, Machine, Memory, positive, write_json};
use crate::progress::Progress;
use crate::text::{bytes, count, duration, percent, plural, shape, thousands};

/// Train a network on labelled images.
///
/// The run gets a folder with its configuration, log, checkpoints and the finished model. Interrupted at any point, it
/// goes on with --resume and ends with the same bytes as without the interruption.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES, allow_negative_numbers = true)]
pub(crate) struct Train {
    #[command(flatten)]
    network: NetworkArgs,
    #[command(flatten)]
    recipe: Recipe,
    #[command(flatten)]
    machine: Machine,
    #[command(flatten)]
    memory: Memory,
    /// The run's folder [default: runs/NETWORK-DATA-N with the first free number N]
    #[arg(long, value_name = "DIR", help_heading = "Run")]
    run: Option<PathBuf>,
    /// Go on with the run in --run DIR from its last checkpoint; its configuration counts
    #[arg(long, help_heading = "Run")]
    resume: bool,
}

const EXAMPLES: &str = "\
Examples:
  striate train lenet5
  striate train resnet20-cifar --data mnist --epochs 3 --batch 64
  striate train lenet5 --data ~/my-images --schedule warmup:1+cosine --lr 0.1 --run runs/mine
  striate train --notation 'conv5-8 - relu - maxpool - FC-10 - softmax' --epochs 1
  striate train --resume --run runs/mine

Data:
  mnist                     built in
  mnist:DIR                 the files of such a data set in a folder
  fashion-mnist:DIR
  cifar10:DIR, cifar100:DIR the official binary files
  DIR                       any images in four IDX files: train-images-idx3-ubyte,
                            train-labels-idx1-ubyte, t10k-images-idx3-ubyte,
                            t10k-labels-idx1-ubyte, each also with .gz

Schedules (spans: 30ep epochs, 500it iterations):
  constant
  step:30,0.1               times 0.1 after every 30 epochs
  multistep:32000,48000     times 0.1 at these iterations; factor=F
  cosine:min=0.01           down to a hundredth along half a cosine
  onecycle:0.3              up for 0.3 of the run, then down; div=, final_div=, anneal=
  plateau:0.1,patience=3    times 0.1 when the test loss no longer falls, or with
                            goal=max the test accuracy no longer rises
  warmup:5ep+RULE           a linear rise before any of them but onecycle";

/// How it is trained: what a run's result depends on besides network and data.
#[derive(Args, Debug)]
#[command(next_help_heading = "Recipe")]
struct Recipe {
    /// The labelled images: a name or a folder, see below [default: mnist]
    #[arg(long, value_name = "NAME|DIR")]
    data: Option<String>,
    #[arg(long, value_name = "E", value_parser = clap::value_parser!(u64).range(1..))]
    #[arg(help = with_default("Passes over the training images", |c| c.epochs.to_string()))]
    epochs: Option<u64>,
    #[arg(long, value_name = "B", value_parser = positive)]
    #[arg(help = with_default("Images of a step", |c| c.batch.to_string()))]
    batch: Option<usize>,
    #[arg(long, value_parser = at_least_zero::<f64>)]
    #[arg(help = with_default("The base learning rate; of onecycle the highest", |c| c.lr.to_string()))]
    lr: Option<f64>,
    #[arg(long)]
    #[arg(help = with_default("How the learning rate changes, see below", |c| c.schedule.to_string()))]
    schedule: Option<Schedule>,
    #[arg(long, value_parser = below_one)]
    #[arg(help = with_default(
        "The part of the velocity that a step keeps; onecycle moves it itself",
        |c| c.momentum.to_string()
    ))]
    momentum: Option<f32>,
    /// Nesterov's form of momentum
    #[arg(long)]
    nesterov: bool,
    #[arg(long, value_name = "PENALTY", value_parser = at_least_zero::<f32>)]
    #[arg(help = with_default("L2 penalty on every parameter", |c| c.weight_decay.to_string()))]
    weight_decay: Option<f32>,
    #[arg(long, value_name = "PART", value_parser = below_one)]
    #[arg(help = with_default(
        "The part of each target that all classes share",
        |c| c.label_smoothing.to_string()
    ))]
    label_smoothing: Option<f32>,
    /// Random changes of the images: none, digits, shift=2,rotate=10,scale=0.1 or crop=4,flip
    /// [default: digits for mnist, crop=4,flip for cifar]
    #[arg(long, value_name = "CHANGES")]
    augment: Option<Augment>,
    #[arg(long)]
    #[arg(help = with_default("The seed of everything random", |c| c.seed.to_string()))]
    seed: Option<u64>,
}

/// Help that ends in the library's default.
fn with_default(help: &str, field: fn(&TrainConfig) -> String) -> String {
    let config = zoo::build("mlp").ok().and_then(|network| TrainConfig::new(&network, "mnist").ok());
    config.map_or_else(|| help.into(), |config| format!("{help} [default: {}]", field(&config)))
}

impl Recipe {
    /// Puts what was given in place of what `config` says.
    fn apply(&self, config: &mut TrainConfig) {
        fn put<T: Clone>(given: &Option<T>, to: &mut T) {
            if let Some(given) = given {
                to.clone_from(given);
            }
        }
        put(&self.data, &mut config.data);
        put(&self.epochs, &mut config.epochs);
        put(&self.batch, &mut config.batch);
        put(&self.lr, &mut config.lr);
        put(&self.schedule, &mut config.schedule);
        put(&self.momentum, &mut config.momentum);
        put(&self.weight_decay, &mut config.weight_decay);
        put(&self.label_smoothing, &mut config.label_smoothing);
        put(&self.augment, &mut config.augment);
        put(&self.seed, &mut config.seed);
        config.nesterov |= self.nesterov;
    }
}

/// The outcome, as programs read it.
#[derive(Serialize)]
struct Outcome<'a> {
    network: &'a str,
    data: &'a str,
    test_accuracy: f64,
    test_top5: f64,
    test_loss: f64,
    best_accuracy: f64,
    /// Of the whole run, evaluation included.
    seconds: f64,
    images_per_s: f64,
    epochs: u64,
    model: &'a Path,
    run: &'a Path,
}

impl Train {
    pub(crate) fn run(self, format: Format) -> Result<()> {
        let mut trainer = if self.resume { self.resumed()? } else { self.fresh()? };
        let config = trainer.config().clone();
        let path = trainer.folder().path().to_path_buf();
        let place = path.display().to_string();
        let mut heading = heading(&trainer, &self.machine);
        heading
            .push(fact("run", &[place, if self.resume { "taken up again".into() } else { String::new() }]));
        let mut progress = Progress::new(config.epochs);
        for line in heading {
            progress.say(&line);
        }
        let resumed = self.resume;
        let report = trainer.run(&mut |event| {
            if let Event::Start { step, steps, memory } = event {
                let from = match step {
                    0 if resumed => "no checkpoint yet: begins anew".to_string(),
                    0 => String::new(),
                    _ if step == steps => "was at its end already".to_string(),
                    _ => format!("goes on at step {step} of {steps}"),
                };
                progress.say(&fact("memory", &[bytes(memory as u64), from]));
                progress.say("");
            }
            progress.observe(event);
        });
        progress.finish();
        let report = report.map_err(|error| {
            // The same steps again would end the same.
            let diverged = matches!(error, TrainError::Diverged { .. });
            let failure = Failure::from(error);
            let has_checkpoint = path.join("checkpoints/latest.safetensors").exists();
            if diverged {
                failure.advise(format!(
                    "begin a new run with --lr well below {:?}, or with another --schedule",
                    config.lr
                ))
            } else if has_checkpoint && !self.resume {
                let run = path.display();
                failure
                    .advise(format!("`striate train --resume --run {run}` goes on from the last checkpoint"))
            } else {
                failure
            }
        })?;
        let outcome = Outcome {
            network: &config.network,
            data: &config.data,
            test_accuracy: report.last.test_accuracy,
            test_top5: report.last.test_top5,
            test_loss: report.last.test_loss,
            best_accuracy: report.best_accuracy,
            seconds: report.last.seconds,
            images_per_s: report.images_per_s,
            epochs: config.epochs,
            model: &report.model,
            run: &path,
        };
        match format {
            Format::Json => write_json(&outcome),
            Format::Table => outcome.write(),
        }
    }

    /// A new run.
    fn fresh(&self) -> Result<Trainer> {
        if !self.network.is_given() {
            let next = "name one, as in `striate train lenet5`, or go on with a run: --resume --run DIR";
            return Err(Failure::usage("no network is named").advise(next));
        }
        let source = self.recipe.data.as_deref().unwrap_or("mnist");
        let data = open(source)?;
        let [train, _] = &data;
        let network = self.network.build_for(train.shape(), train.classes().len())?;
        let mut config = TrainConfig::new(&network, source)?;
        self.recipe.apply(&mut config);
        self.compute_as_asked(&mut config);
        config.check().map_err(|error| Failure::from(error).of_usage())?;
        let folder = match &self.run {
            Some(path) => RunFolder::create(path, &config).map_err(|error| match error {
                RunError::Exists(_) => {
                    let next = format!(
                        "`striate train --resume --run {}` goes on with it; without --run a new folder is made",
                        path.display()
                    );
                    Failure::from(error).advise(next)
                }
                error => error.into(),
            })?,
            None => numbered(&config, train.name())?,
        };
        let path = folder.path().to_path_buf();
        let trainer = Trainer::new(config, network, data, folder, self.machine.threads());
        Ok(trainer.inspect_err(|_| discard(&path))?)
    }

    /// What the command line says of the machine, in a configuration.
    fn compute_as_asked(&self, config: &mut TrainConfig) {
        let asked = [
            (&mut config.isa, self.machine.isa.map(Isa::name)),
            (&mut config.precision, self.machine.precision.map(Precision::name)),
            (&mut config.algorithm, self.machine.algorithm.map(Algorithm::name)),
            (&mut config.recompute, self.memory.recompute.map(Recompute::name)),
        ];
        for (setting, name) in asked {
            if let Some(name) = name {
                *setting = name.into();
            }
        }
    }

    /// The run in the folder; options that say something else than its configuration are refused.
    fn resumed(&self) -> Result<Trainer> {
        let Some(path) = &self.run else {
            let next = "name the folder of the run: --resume --run runs/lenet5-mnist-1";
            return Err(Failure::usage("--resume needs --run DIR").advise(next));
        };
        let folder = RunFolder::open(path).map_err(|error| match error {
            RunError::NoRun(_) => Failure::from(error).advise("without --resume a new run is made there"),
            error => error.into(),
        })?;
        let trainer = Trainer::resume(folder, self.machine.threads())?;
        let config = trainer.config();
        let mut asked = config.clone();
        self.recipe.apply(&mut asked);
        self.compute_as_asked(&mut asked);
        if self.network.is_given() {
            let [train, _] = trainer.data();
            let named = self.network.build_for(train.shape(), train.classes().len())?;
            asked.notation = notation::print(&named)?;
            if asked.notation != config.notation {
                asked.network = self.network.net.clone().unwrap_or(named.name);
            }
        }
        refuse_changes(config, &asked, path)?;
        Ok(trainer)
    }
}

/// Both parts of a data set.
fn open(source: &str) -> Result<[Arc<Dataset>; 2]> {
    let open = |split| data::open(source, split).map(Arc::new);
    Ok([open(Split::Train)?, open(Split::Test)?])
}

/// Names every option that differs from the run's configuration.
fn refuse_changes(config: &TrainConfig, asked: &TrainConfig, path: &Path) -> Result<()> {
    let (Json::Object(config), Json::Object(asked)) =
        (serde_json::to_value(config)?, serde_json::to_value(asked)?)
    else {
        return Ok(());
    };
    let differing =
        asked.iter().filter(|(key, value)| *key != "notation" && config.get(*key) != Some(*value));
    let mut lines: Vec<String> = differing
        .map(|(key, value)| {
            let was = config.get(key).unwrap_or(&Json::Null);
            let key = if key == "network" { "NET".into() } else { format!("--{}", key.replace('_', "-")) };
            format!("{key} is {value}, the run was begun with {was}")
        })
        .collect();
    if lines.is_empty() && asked["notation"] != config["notation"] {
        lines.push("the network is another than the one the run was begun with".into());
    }
    if lines.is_empty() {
        return Ok(());
    }
    let text = format!("{} cannot be resumed like this\n  {}", path.display(), lines.join("\n  "));
    Err(Failure::usage(text).advise("leave these options out, or begin a new run"))
}

/// A new folder `runs/NETWORK-DATA-N`.
fn numbered(config: &TrainConfig, data: &str) -> Result<RunFolder> {
    let plain = |name: &str| -> String {
        name.chars().map(|c| if c.is_alphanumeric() || "._".contains(c) { c } else { '-' }).collect()
    };
    let base = format!("{}-{}", plain(&config.network), plain(data));
    let mut number = 1u32;
    loop {
        let path = Path::new("runs").join(format!("{base}-{number}"));
        if !path.exists() {
            match RunFolder::create(&path, config) {
                // Another process was faster.
                Err(RunError::Exists(_) | RunError::InUse { .. }) => {}
                made => return Ok(made?),
            }
        }
        number += 1;
    }
}

/// Removes a run that never started: its own files, and the folders where nothing else is in them.
fn discard(path: &Path) {
    for file in ["config.json", "log.jsonl", ".striate-lock"] {
        let _ = fs::remove_file(path.join(file));
    }
    let _ = fs::remove_dir(path.join("checkpoints"));
    let _ = fs::remove_dir(path);
}

/// What is known before the start.
fn heading(trainer: &Trainer, machine: &Machine) -> Vec<String> {
    let (config, network, [train, test]) = (trainer.config(), trainer.network(), trainer.data());
    let macs = analysis::summarise(&network.inference()).total.macs;
    let input = network.image().map_or_else(String::new, |value| shape(&network.ty(value).dims));
    let penalty =
        |name: &str, value: f32| if value > 0.0 { format!("{name} {value}") } else { String::new() };
    let nesterov = if config.nesterov { " (Nesterov)" } else { "" };
    let momentum = match config.schedule.momentum() {
        _ if config.momentum == 0.0 => "no momentum".into(),
        Some([from, peak, to]) => format!("momentum {from} → {peak} → {to}{nesterov}"),
        None => format!("momentum {}{nesterov}", config.momentum),
    };
    let network = [
        config.network.clone(),
        format!("input {input}"),
        format!("{} parameters", thousands(network.parameter_count())),
        format!("{} MACs an image", count(macs)),
    ];
    let data = [
        config.data.clone(),
        format!("{} images to learn from, {} to test on", thousands(train.len()), thousands(test.len())),
        shape(&train.shape()),
        plural(train.classes().len(), "class"),
    ];
    let recipe = [
        format!("{} of batches of {}", plural(config.epochs as usize, "epoch"), config.batch),
        format!("lr {} {}", config.lr, config.schedule),
        momentum,
        penalty("weight decay", config.weight_decay),
        penalty("label smoothing", config.label_smoothing),
        format!("augment {}", config.augment),
        format!("seed {}", config.seed),
    ];
    let machine = [plural(machine.threads(), "thread"), config.isa.clone(), config.precision.clone()];
    vec![fact("network", &network), fact("data", &data), fact("recipe", &recipe), fact("machine", &machine)]
}

/// A line of what is known before the start; parts that do not fit go to the next line.
fn fact(name: &str, parts: &[String]) -> String {
    const MARGIN: usize = 9;
    let width = Term::stderr().size_checked().map_or(usize::MAX, |(_, columns)| columns as usize);
    let mut text = format!("{}  ", style(format!("{name:>7}")).bold().for_stderr());
    let mut column = MARGIN;
    for (index, part) in parts.iter().filter(|part| !part.is_empty()).enumerate() {
        let length = measure_text_width(part);
        if index > 0 && column + 3 + length > width {
            text += &format!("\n{:MARGIN$}", "");
            column = MARGIN;
        } else if index > 0 {
            text += " · ";
            column += 3;
        }
        text += part;
        column += length;
    }
    text
}

impl Outcome<'_> {
    fn write(&self) -> Result<()> {
        let mut out = io::stdout().lock();
        let model = self.model.display();
        let error = percent(1.0 - self.test_accuracy);
        writeln!(out)?;
        let accuracy = style(percent(self.test_accuracy)).green().bold();
        let best = percent(self.best_accuracy);
        writeln!(out, "test accuracy  {accuracy}   error {error}, best epoch {best}")?;
        let time = duration(Duration::from_secs_f64(self.seconds));
        writeln!(
            out,
            "time           {time}   {} images/s in training",
            thousands(self.images_per_s as u64)
        )?;
        writeln!(out, "model          {model}")?;
        writeln!(out)?;
        writeln!(out, "{}", style("Try next").bold())?;
        writeln!(out, "  striate predict {model} PICTURE.png")?;
        let data = if self.data == "mnist" { String::new() } else { format!(" --data {}", self.data) };
        Ok(writeln!(out, "  striate eval {model}{data}")?)
    }
}

fn at_least_zero<T: std::str::FromStr + PartialOrd + Default + Into<f64> + Copy>(
    text: &str,
) -> std::result::Result<T, String> {
    let number: T = text.parse().map_err(|_| "it is no number")?;
    if number >= T::default() && number.into().is_finite() {
        Ok(number)
    } else {
        Err("it must be at least 0".into())
    }
}

fn below_one(text: &str) -> std::result::Result<f32, String> {
    let number: f32 = text.parse().map_err(|_| "it is no number")?;
    if (0.0..1.0).contains(&number) { Ok(number) } else { Err("it must lie from 0 to below 1".into()) }
}
