//! `striate train`.

mod find_lr;
mod settings;

use clap::Args;
use console::{Term, measure_text_width, style};
use serde::Serialize;
use serde_json::Value as Json;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;
use striate::prelude::*;
use striate::train::optimizer::{Decay, Optimizer};
use striate::train::recipe::{self, Recipe};
use striate::train::recorder::{RecordError, Recorder};
use striate::train::run_folder::RunError;
#[cfg(feature = "ui")]
use striate::train::runs::Run;
use striate::train::trainer::{Normalization, TrainError};
use striate::train::transfer::{self, Source};
use striate::train::weights::Report;

use crate::failure::{Failure, Result, note};
use crate::network::NetworkArgs;
use crate::options::{Format, Machine, Memory, chw, write_json};
use crate::progress::Progress;
use crate::signals;
use crate::sources::{self, Reading};
use crate::text::{bytes, count, duration, percent, plural, shape, thousands};
#[cfg(feature = "ui")]
use crate::ui::Screen;
use crate::view::View;
use settings::Settings;

/// Train a network on labelled images.
///
/// The run gets a folder with its configuration, log, checkpoints and the finished model. Interrupted at any point, it
/// goes on with --resume and ends with the same bytes as without the interruption. Its curves are drawn into the folder.
#[derive(Args, Debug)]
#[command(after_help = after_help(), allow_negative_numbers = true)]
pub(crate) struct Train {
    #[command(flatten)]
    network: NetworkArgs,
    #[command(flatten)]
    settings: Settings,
    #[command(flatten)]
    machine: Machine,
    #[command(flatten)]
    memory: Memory,
    #[command(flatten)]
    reading: Reading,
    /// Dimensions of the network's input, such as 3x64x64 [default: the network's own, or those of the images]
    #[arg(long, value_name = "CxHxW", value_parser = chw, help_heading = "Pictures")]
    input: Option<[usize; 3]>,
    /// The run's folder [default: runs/NETWORK-DATA-N with the first free number N]
    #[arg(long, value_name = "DIR", help_heading = "Run")]
    run: Option<PathBuf>,
    /// Go on with the run in --run DIR from its last checkpoint; its configuration counts
    #[arg(long, help_heading = "Run")]
    resume: bool,
    /// Train for some steps at rising learning rates, keep nothing of it, and say which rate fits; the curve goes to
    /// lr-finder.json in --run DIR, where that is given
    #[arg(long, conflicts_with = "resume", help_heading = "Run")]
    find_lr: bool,
    /// Write events for TensorBoard: losses, accuracies, rates, parameters, images, the network [default folder: the
    /// run's]
    #[arg(long, value_name = "DIR", num_args = 0..=1, help_heading = "Run")]
    tensorboard: Option<Option<PathBuf>>,
    /// Watch on the whole screen: curves, rates, time left; q stops and saves, p pauses, tab turns to other charts
    #[cfg(feature = "ui")]
    #[arg(long, help_heading = "Run")]
    ui: bool,
}

/// A run to be begun.
struct Begun {
    config: TrainConfig,
    network: Graph,
    data: [Arc<Dataset>; 2],
    /// What its data set is called.
    name: String,
    /// Parameters to start from, and how they fit.
    init: Option<(Parameters, Report)>,
}

const EXAMPLES: &str = "\
Examples:
  striate train lenet5
  striate train resnet20-cifar --data mnist --epochs 3 --batch 64
  striate train resnet18 --data photos --augment flip,rrc=0.3 --batch 32 --lr 0.02
  striate train lenet5 --data ~/my-images --schedule warmup:1+cosine --lr 0.1 --run runs/mine
  striate train --notation 'conv5-8 - relu - maxpool - FC-10 - softmax' --epochs 1
  striate train --recipe lenet5
  striate train resnet56-cifar --recipe resnet-cifar --data cifar10:DIR --precision bf16
  striate train lenet5 --find-lr
  striate train lenet5 --optimizer adamw --decay weights --ema 0.999 --patience 3
  striate train --init resnet18.safetensors --freeze 'layer[1-3].*' --data DIR
  striate train --resume --run runs/mine
  striate train lenet5 --ui                  on the whole screen
  striate train lenet5 --tensorboard         then: tensorboard --logdir runs

Ctrl-C finishes the step under way, saves and says how to go on; a second one ends at once.

Schedules (spans: 30ep epochs, 500it iterations):
  constant
  step:30,0.1               times 0.1 after every 30 epochs
  multistep:32000,48000     times 0.1 at these iterations; factor=F
  cosine:min=0.01           down to a hundredth along half a cosine
  onecycle:0.3              up for 0.3 of the run, then down; div=, final_div=, anneal=
  plateau:0.1,patience=3    times 0.1 when the test loss no longer falls, or with
                            goal=max the test accuracy no longer rises
  warmup:5ep+RULE           a linear rise before any of them but onecycle";

/// Examples, schedules, every change of images, and what can be learned from.
fn after_help() -> String {
    let mut text = format!("{EXAMPLES}\n\nChanges of images (--augment), a list such as crop=4,flip:");
    for (word, help) in Augment::vocabulary() {
        text.push_str(&format!("\n  {word:<24}  {help}"));
    }
    format!("{text}\n\n{}", sources::help())
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
    /// For want of progress.
    stopped_early: bool,
    model: &'a Path,
    run: &'a Path,
}

impl Train {
    pub(crate) fn run(self, format: Format) -> Result<()> {
        if self.find_lr {
            let Begun { config, network, data, init, .. } = self.begun()?;
            let given = init.map(|(parameters, _)| parameters).unwrap_or_default();
            let run = self.run.as_deref();
            return find_lr::run(&config, &network, data, given, self.machine.threads(), run, format);
        }
        let mut trainer = if self.resume { self.resumed()? } else { self.fresh()? };
        let config = trainer.config().clone();
        let path = trainer.folder().path().to_path_buf();
        let place = path.display().to_string();
        let mut heading = heading(&trainer, &self.machine);
        heading
            .push(fact("run", &[place, if self.resume { "taken up again".into() } else { String::new() }]));
        let whole_screen = self.whole_screen();
        let stop = signals::stop_flag(move || {
            if !whole_screen {
                note("stopping after this step; once more ends at once");
            }
        })?;
        trainer.stop_when(stop.clone());
        let mut view = self.view(whole_screen, &trainer, stop)?;
        if !whole_screen {
            heading.iter().for_each(|line| view.say(line));
        }
        let resumed = self.resume;
        let mut recorder = self.recorder(&trainer, &path);
        let report = trainer.run(&mut |event| {
            if let Event::Start { step, steps, memory } = event {
                let from = match step {
                    0 if resumed => "no checkpoint yet: begins anew".to_string(),
                    0 => String::new(),
                    _ if step == steps => "was at its end already".to_string(),
                    _ => format!("goes on at step {step} of {steps}"),
                };
                view.say(&fact("memory", &[bytes(memory as u64), from]));
                view.say("");
            }
            keep(&mut recorder, &view, |recorder| recorder.observe(&event));
            view.observe(event);
        });
        keep(&mut recorder, &view, Recorder::finish);
        view.finish();
        let report = report.map_err(|error| {
            if let TrainError::Stopped { .. } = error {
                let advice = format!("`striate train --resume --run {}` goes on", path.display());
                return Failure::Stopped { text: error.to_string(), advice };
            }
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
            epochs: report.last.epoch,
            stopped_early: report.stopped,
            model: &report.model,
            run: &path,
        };
        match format {
            Format::Json => write_json(&outcome),
            Format::Table => outcome.write(),
        }
    }

    /// Whether the run is watched on the whole screen.
    #[cfg(feature = "ui")]
    fn whole_screen(&self) -> bool {
        let term = Term::stdout().is_term() && std::io::IsTerminal::is_terminal(&io::stdin());
        if self.ui && !term {
            note("--ui needs a terminal for input and output and has none: a line for each epoch instead");
        }
        self.ui && term
    }

    #[cfg(not(feature = "ui"))]
    fn whole_screen(&self) -> bool {
        false
    }

    /// What the run is watched with.
    #[cfg_attr(not(feature = "ui"), allow(unused_variables))]
    fn view(&self, whole_screen: bool, trainer: &Trainer, stop: Arc<AtomicBool>) -> Result<View> {
        let config = trainer.config();
        #[cfg(feature = "ui")]
        if whole_screen {
            let path = trainer.folder().path();
            let title = format!("{} on {}", config.network, config.data);
            let mut facts = vec![("run".to_string(), path.display().to_string())];
            let told = |(name, _): &(String, String)| name != "network" && name != "data";
            facts.extend(Run::open(path)?.settings().into_iter().filter(told));
            return Ok(View::Screen(Screen::take(title, trainer.epochs(), facts, stop)?));
        }
        Ok(View::Lines(Progress::new(trainer.epochs())))
    }

    /// What is kept of the run for those who look at it.
    fn recorder(&self, trainer: &Trainer, run: &Path) -> Option<Recorder> {
        let recorder = Recorder::new(trainer);
        Some(match &self.tensorboard {
            Some(folder) => recorder.tensorboard(trainer, folder.as_deref().unwrap_or(run)),
            None => recorder,
        })
    }

    /// What a new run begins with.
    fn begun(&self) -> Result<Begun> {
        let wanted = self.settings.wanted()?;
        let source = self.data_of(&wanted)?;
        let data = self.reading.both(&source)?;
        let [train, _] = &data;
        let init = match &wanted.init {
            Some(path) => Some(Source::open(path, train.shape())?),
            None => None,
        };
        let network = self.network_of(&wanted, init.as_ref(), train)?;
        let mut config = TrainConfig::new(&network, &source)?;
        wanted.apply(&mut config).map_err(Failure::usage)?;
        self.compute_as_asked(&mut config);
        let preprocess = init.as_ref().and_then(|source| source.preprocess.as_ref());
        if let Some(known) = preprocess.filter(|known| known.mean.len() == train.channels()) {
            let (mean, std) = (known.mean.clone(), known.std.clone());
            config.normalization = Some(Normalization { mean, std });
        }
        config.check().map_err(|error| Failure::from(error).of_usage())?;
        transfer::frozen(&network, &config.freeze).map_err(|error| Failure::from(error).of_usage())?;
        let init = init.map(|source| source.fit(&network)).transpose()?;
        let name = train.name().to_string();
        Ok(Begun { config, network, data, name, init })
    }

    /// The data set: a recipe that names none is of one that has to be brought.
    fn data_of(&self, wanted: &Recipe) -> Result<String> {
        match (&wanted.data, &self.settings.recipe) {
            (Some(data), _) => Ok(data.clone()),
            (None, Some(recipe)) => {
                let text = format!("recipe {recipe} does not bring its images along");
                Err(Failure::usage(text)
                    .advise("say where they are: --data NAME|DIR, `striate train --help` has the kinds"))
            }
            (None, None) => Ok("mnist".into()),
        }
    }

    /// The network: the one that is named, else the recipe's, else that of the model it starts from.
    fn network_of(&self, wanted: &Recipe, init: Option<&Source>, train: &Dataset) -> Result<Graph> {
        let classes = train.classes().len();
        if self.network.is_given() {
            return self.network.build_for(train, self.input);
        }
        if let Some(name) = &wanted.network {
            return NetworkArgs::named(name).build_for(train, self.input);
        }
        if let Some(graph) = init.and_then(|source| source.graph.as_ref()) {
            return Ok(transfer::with_classes(graph, classes)?);
        }
        let recipes = recipe::names().collect::<Vec<_>>().join(", ");
        let next = match init {
            Some(_) => "the file has parameters alone: name the network they belong to, as in `striate train resnet18 --init …`".into(),
            None => format!(
                "name one, as in `striate train lenet5`, take a recipe's (--recipe {recipes}), or go on with a run: --resume --run DIR"
            ),
        };
        Err(Failure::usage("no network is named").advise(next))
    }

    /// A new run.
    fn fresh(&self) -> Result<Trainer> {
        let Begun { config, network, data, name, init } = self.begun()?;
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
            None => numbered(&config, &name)?,
        };
        let path = folder.path().to_path_buf();
        let trainer = Trainer::new(config, network, data, folder, self.machine.threads());
        let mut trainer = trainer.inspect_err(|_| discard(&path))?;
        if let Some((parameters, report)) = init {
            let file = trainer.config().init.clone().unwrap_or_default();
            write_line(&fact("init", &[file, report.to_string().replace("\n  ", "\n         ")]));
            trainer.start_from(parameters);
        }
        Ok(trainer)
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
        let trainer =
            Trainer::resume_with(folder, self.machine.threads(), |source| self.reading.again(source))?;
        let config = trainer.config();
        let mut asked = config.clone();
        let wanted = self.settings.wanted()?;
        wanted.apply(&mut asked).map_err(Failure::usage)?;
        asked.data.clone_from(wanted.data.as_ref().unwrap_or(&config.data));
        self.compute_as_asked(&mut asked);
        if self.network.is_given() {
            let [train, _] = trainer.data();
            let named = self.network.build_for(train, self.input)?;
            asked.notation = notation::print(&named)?;
            if asked.notation != config.notation {
                asked.network = self.network.net.clone().unwrap_or(named.name);
            }
        }
        refuse_changes(config, &asked, path)?;
        Ok(trainer)
    }
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

/// Has the recorder do something; when it cannot, that is told, and the run goes on without it.
fn keep(
    recorder: &mut Option<Recorder>,
    view: &View,
    act: impl FnOnce(&mut Recorder) -> std::result::Result<(), RecordError>,
) {
    if let Some(Err(error)) = recorder.as_mut().map(act) {
        view.say(&format!("curves and events are no longer written: {error}"));
        *recorder = None;
    }
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
        train.shape().map_or_else(|| kind_of(train), |dims| shape(&dims)),
        plural(train.classes().len(), "class"),
    ];
    let length = match config.iterations {
        Some(steps) => format!("{} steps", thousands(steps as usize)),
        None => plural(config.epochs as usize, "epoch"),
    };
    let is_weights = config.decay == Decay::Weights && config.weight_decay > 0.0;
    let some =
        |name: &str, value: Option<String>| value.map(|value| format!("{name} {value}")).unwrap_or_default();
    let recipe = [
        format!("{length} of batches of {}", config.batch),
        if config.accumulate > 1 { format!("in {} parts", config.accumulate) } else { String::new() },
        format!("lr {} {}", config.lr, config.schedule),
        if config.optimizer == Optimizer::Sgd { momentum } else { config.optimizer.to_string() },
        penalty("weight decay", config.weight_decay) + if is_weights { " of weights" } else { "" },
        some("clip", config.clip.map(|norm| norm.to_string())),
        some("average", config.ema.map(|decay| decay.to_string())),
        penalty("label smoothing", config.label_smoothing),
        some("patience", config.patience.map(|patience| patience.to_string())),
        if config.freeze.is_empty() { String::new() } else { format!("frozen {}", config.freeze.join(" ")) },
        format!("augment {}", config.augment),
        format!("seed {}", config.seed),
    ];
    let machine = [plural(machine.threads(), "thread"), config.isa.clone(), config.precision.clone()];
    vec![fact("network", &network), fact("data", &data), fact("recipe", &recipe), fact("machine", &machine)]
}

/// What pictures of no size of their own are.
fn kind_of(data: &Dataset) -> String {
    format!("{} of any size", if data.channels() == 1 { "grey pictures" } else { "pictures" })
}

fn write_line(line: &str) {
    let _ = writeln!(io::stderr().lock(), "{line}");
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
        if self.stopped_early {
            let best = self.run.join("checkpoints/best.safetensors");
            writeln!(
                out,
                "stopped        after epoch {}, without progress; the best is {}",
                self.epochs,
                best.display()
            )?;
        }
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
