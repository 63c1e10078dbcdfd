//! Weights that torchvision and timm publish for networks of the zoo.

use std::path::{Path, PathBuf};
use striate::interop::{TimmConfig, timm, weights};
use striate::prelude::*;
use striate::train::image_file::{Fit, Preprocess};
use striate::train::model::ModelInfo;
use striate::train::resample::Filter;
use striate::train::weights::{adopt, unwrapped};
use striate::zoo::{Options, Published, published};

use super::{Import, Imported};
use crate::failure::{Failure, Result, note};

/// What timm calls the two files of a model.
const CONFIG: &str = "config.json";
const WEIGHTS: [&str; 2] = ["model.safetensors", "pytorch_model.bin"];

pub(super) fn import(args: &Import) -> Result<Imported> {
    let (source, name) = args.source.split_once(':').unwrap_or((&args.source, ""));
    if !published().any(|row| row.source == source) {
        let text = format!("nobody called '{source}' publishes weights that are known here");
        return Err(Failure::usage(text).advise("name a network as torchvision:resnet50 or timm:resnet50"));
    }
    let Some(path) = &args.weights else {
        let next =
            format!("name the file behind it: striate import {} FILE -o MODEL.safetensors", args.source);
        return Err(Failure::usage("no weights are named").advise(next));
    };
    let (path, config) = if source == "timm" { timm_files(path)? } else { (path.clone(), None) };
    let name = match (&config, name) {
        (Some(config), "") => config.architecture.as_str(),
        (None, "") => {
            let text = format!("{source} has many networks, and none is named");
            return Err(Failure::usage(text).advise("name one: torchvision:resnet50, timm:resnet50"));
        }
        (_, name) => name,
    };
    let row = Published::find(source, name).ok_or_else(|| unknown(source, name))?;

    let tensors = unwrapped(weights::read(&path)?);
    let head = tensors.get(&format!("{}.bias", row.head));
    let outputs = head.map(|bias| bias.data.len()).filter(|outputs| *outputs > 0);
    let given = args.class_names()?;
    let described = config.as_ref().and_then(TimmConfig::classes);
    let described = described.filter(|names| outputs.is_none_or(|outputs| names.len() == outputs));
    let classes = given.as_ref().map(Vec::len).or(outputs).or(described.as_ref().map(Vec::len));
    let input = config.as_ref().map(|config| config.pretrained_cfg.input_size);
    let options = Options { input, classes, auxiliary: false, ..Options::default() };
    let graph = zoo::build_with(row.network, &options)?;
    let preprocess = match &config {
        Some(config) => of_timm(config)?,
        None => of_row(row, &graph),
    };
    let (parameters, report) = adopt(&graph, tensors, |name| row.ours(name));
    let outputs = graph.output().map_or(0, |output| graph.ty(output).elements());
    let numbers = || (0..outputs).map(|class| class.to_string()).collect();
    let classes = given.or(described).unwrap_or_else(numbers);
    let model = Model { graph, parameters, info: ModelInfo { classes, preprocess } };
    Ok(Imported { source: format!("{source}:{name}"), model, report })
}

fn unknown(source: &str, name: &str) -> Failure {
    let names: Vec<&str> = published().filter(|row| row.source == source).map(|row| row.name).collect();
    let text = format!("no weights of {source}'s '{name}' are known here");
    Failure::usage(text).advise(format!("choose one of {}", names.join(", ")))
}

/// The weights and the configuration beside them.
fn timm_files(path: &Path) -> Result<(PathBuf, Option<TimmConfig>)> {
    let weights = if path.is_dir() {
        let file = WEIGHTS.iter().map(|name| path.join(name)).find(|file| file.exists());
        file.ok_or_else(|| {
            let text =
                format!("{}: the folder holds neither {} nor {}", path.display(), WEIGHTS[0], WEIGHTS[1]);
            Failure::new(text).advise("name the file with the weights")
        })?
    } else {
        path.to_path_buf()
    };
    let config = weights.with_file_name(CONFIG);
    if config.exists() {
        return Ok((weights, Some(timm::read(&config)?)));
    }
    note(&format!("no {CONFIG} beside the weights: pictures are prepared as ImageNet's usually are"));
    Ok((weights, None))
}

fn of_timm(config: &TimmConfig) -> Result<Preprocess> {
    let timm = &config.pretrained_cfg;
    let filter = match timm.interpolation.as_str() {
        "bilinear" => Filter::Bilinear,
        "bicubic" => Filter::Bicubic,
        other => {
            let text = format!("{CONFIG}: interpolation '{other}'; bilinear and bicubic are known");
            return Err(Failure::new(text));
        }
    };
    Ok(Preprocess {
        shape: timm.input_size,
        image: None,
        mean: timm.mean.to_vec(),
        std: timm.std.to_vec(),
        fit: Fit::Crop { short_side: config.short_side(), filter },
    })
}

fn of_row(row: &Published, graph: &Graph) -> Preprocess {
    let shape = graph.image().and_then(|image| graph.ty(image).chw()).unwrap_or([3, 224, 224]);
    let fit = Fit::crop(row.short_side);
    Preprocess { shape, image: None, mean: row.mean.to_vec(), std: row.std.to_vec(), fit }
}
