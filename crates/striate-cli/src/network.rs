//! The network that a command line names: one of the zoo, a text in the notation, a saved model, or an ONNX file.

use clap::Args;
use std::fs::File;
use std::io::Read;
use std::path::Path;
use striate::graph::notation::Defaults;
use striate::prelude::*;
use striate::train::{model, onnx};
use striate::zoo::{Options, ZooError};

use crate::failure::{Failure, Result, note};
use crate::text::shape;

/// The longest text a `.net` file may hold, in bytes.
const MAX_NOTATION: u64 = 16 << 20;

/// A network on the command line.
#[derive(Args, Debug)]
pub(crate) struct NetworkArgs {
    /// The network: a name of the zoo (`striate summary --list`), a .net file, a .safetensors model, or an .onnx file
    #[arg(value_name = "NET", conflicts_with = "notation")]
    pub(crate) net: Option<String>,
    /// The network as text, in place of NET: 'conv5-6 - relu - maxpool - FC-10 - softmax'
    #[arg(long, value_name = "TEXT")]
    pub(crate) notation: Option<String>,
}

/// What a network is to fit.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Wish {
    /// Dimensions `[C, H, W]` of the input, where they are not the network's own.
    pub(crate) input: Option<[usize; 3]>,
    /// The number of classes, where it is not the network's own.
    pub(crate) classes: Option<usize>,
    /// Whether heads that exist in training only are wanted.
    pub(crate) auxiliary: bool,
}

/// Where a network comes from.
enum Source<'a> {
    Zoo(&'a str),
    Text { name: String, origin: &'a str, text: String },
    Model(&'a Path),
    Onnx(&'a Path),
}

impl NetworkArgs {
    /// The network of this name or file.
    pub(crate) fn named(name: &str) -> Self {
        Self { net: Some(name.into()), notation: None }
    }

    /// Whether a network is named at all.
    pub(crate) fn is_given(&self) -> bool {
        self.net.is_some() || self.notation.is_some()
    }

    /// The network.
    pub(crate) fn build(&self, wish: Wish) -> Result<Graph> {
        match self.source()? {
            Source::Zoo(name) => from_zoo(name, wish),
            Source::Text { name, origin, text } => from_text(name, origin, &text, wish),
            Source::Model(path) => Ok(Model::open(path)?.graph),
            Source::Onnx(path) => Ok(onnx::read(path, wish.input.as_ref().map(|input| &input[..]))?.graph),
        }
    }

    /// The model, where that is what is named; `input` fixes the dimensions that an ONNX file leaves open.
    pub(crate) fn model(&self, input: Option<[usize; 3]>) -> Result<Option<Model>> {
        match self.source()? {
            Source::Model(path) => Ok(Some(Model::open(path)?)),
            Source::Onnx(path) => Ok(Some(onnx::read(path, input.as_ref().map(|input| &input[..]))?)),
            _ => Ok(None),
        }
    }

    /// The network with its parameters: a model's own, or those in the file `weights`. An ONNX file that leaves its
    /// input open takes one of the dimensions `images`, with or without a batch.
    pub(crate) fn build_with_parameters(
        &self,
        weights: Option<&Path>,
        images: &[usize],
    ) -> Result<(Graph, Parameters)> {
        if let (Source::Onnx(path), None) = (self.source()?, weights) {
            let model = onnx::read(path, None).or_else(|error| {
                let fitting = [images.get(1..).unwrap_or_default(), images];
                fitting.into_iter().find_map(|dims| onnx::read(path, Some(dims)).ok()).ok_or(error)
            })?;
            return Ok((model.graph, model.parameters));
        }
        if let Some(weights) = weights {
            let network = self.build(Wish::default())?;
            let parameters = model::read_parameters(weights, &network)?;
            return Ok((network, parameters));
        }
        match self.model(None)? {
            Some(model) => Ok((model.graph, model.parameters)),
            None => Err(Failure::usage("the network has no parameters")
                .advise("give --weights FILE.safetensors or FILE.pth, or a model that `striate train` made")),
        }
    }

    /// The network for the images of a data set. A network of the zoo keeps its own height and width where the images fit
    /// inside (they get a margin) or have no size of their own (they are brought to it), and otherwise takes theirs;
    /// unless `input` says which it shall have.
    pub(crate) fn build_for(&self, data: &Dataset, input: Option<[usize; 3]>) -> Result<Graph> {
        let channels = data.channels();
        let mut wish =
            Wish { input: input.or(data.shape()), classes: Some(data.classes().len()), auxiliary: true };
        if let Source::Zoo(name) = self.source()?
            && let Some(entry) = zoo::find(name)
            && input.is_none()
        {
            let own @ [own_channels, h, w] = entry.input;
            match data.size() {
                Some([height, width]) if own_channels != channels || h < height || w < width => {}
                _ => wish.input = Some([channels, own[1], own[2]]),
            }
        }
        let network = self.build(wish)?;
        let input = network.image().and_then(|value| network.ty(value).chw());
        let fits = |input: [usize; 3]| {
            let room = data.size().is_none_or(|[height, width]| input[1] >= height && input[2] >= width);
            input[0] == channels && room
        };
        match input {
            Some(input) if !fits(input) => {
                let input = shape(&input);
                let images =
                    data.shape().map_or_else(|| format!("{channels} channels"), |image| shape(&image));
                let text = format!("{} takes images of {input}, the data set has {images}", network.name);
                Err(Failure::new(text).advise("choose a network for such images, or change its input"))
            }
            _ => Ok(network),
        }
    }

    fn source(&self) -> Result<Source<'_>> {
        if let Some(text) = &self.notation {
            return Ok(Source::Text { name: "network".into(), origin: "--notation", text: text.clone() });
        }
        let Some(net) = self.net.as_deref() else {
            let next =
                "name one, as in `striate summary lenet5`; `striate summary --list` shows all of the zoo";
            return Err(Failure::usage("no network is named").advise(next));
        };
        let path = Path::new(net);
        let extension = path.extension().and_then(|extension| extension.to_str());
        match extension {
            Some("safetensors") => Ok(Source::Model(path)),
            Some("onnx") => Ok(Source::Onnx(path)),
            Some("net") => {
                let name = path.file_stem().map_or("network".into(), |stem| stem.to_string_lossy().into());
                Ok(Source::Text { name, origin: net, text: read_text(path)? })
            }
            _ => Ok(Source::Zoo(net)),
        }
    }
}

/// The model in a file, whatever of the two kinds that is.
pub(crate) fn open_model(path: &Path) -> Result<Model> {
    match path.extension().is_some_and(|extension| extension == "onnx") {
        true => Ok(onnx::read(path, None)?),
        false => Ok(Model::open(path)?),
    }
}

fn from_zoo(name: &str, wish: Wish) -> Result<Graph> {
    let options =
        Options { input: wish.input, classes: wish.classes, auxiliary: wish.auxiliary, ..Options::default() };
    let built = zoo::build_with(name, &options).or_else(|error| {
        // Heads for training sit deep in a network: a small image may reach its end but not theirs.
        let without = Options { auxiliary: false, ..options };
        match zoo::build_with(name, &without) {
            Ok(network) if wish.auxiliary && wish.input.is_some() => {
                note("the input is too small for the network's auxiliary heads; they are left out");
                Ok(network)
            }
            _ => Err(error),
        }
    });
    built.map_err(|error| match &error {
        ZooError::Unknown { .. } if Path::new(name).exists() => {
            let text = format!("{name} is no network");
            Failure::usage(text).advise("networks as text end in .net, models in .safetensors or .onnx")
        }
        ZooError::Unknown { .. } => {
            Failure::from(error).of_usage().advise("`striate summary --list` shows all networks")
        }
        ZooError::Graph { .. } if wish.input.is_some() => {
            let input = shape(&wish.input.unwrap_or_default());
            Failure::from(error)
                .advise(format!("{name} may be too deep for an input of {input}; choose another"))
        }
        _ => error.into(),
    })
}

fn from_text(name: String, origin: &str, text: &str, wish: Wish) -> Result<Graph> {
    let mut defaults = Defaults { name, ..Defaults::default() };
    if let Some(input) = wish.input {
        defaults.input = input.to_vec();
    }
    if let Some(classes) = wish.classes {
        defaults.classes = classes;
    }
    notation::parse_with(text, &defaults).map_err(|errors| {
        let failure = Failure::new(errors.render(origin, text));
        if origin == "--notation" { failure.of_usage() } else { failure }
    })
}

fn read_text(path: &Path) -> Result<String> {
    let fail = |problem: &dyn std::fmt::Display| Failure::new(format!("{}: {problem}", path.display()));
    let file = File::open(path).map_err(|error| fail(&error))?;
    let mut bytes = Vec::new();
    file.take(MAX_NOTATION + 1).read_to_end(&mut bytes).map_err(|error| fail(&error))?;
    if bytes.len() as u64 > MAX_NOTATION {
        return Err(fail(&format!("longer than {} MiB, no network is", MAX_NOTATION >> 20)));
    }
    String::from_utf8(bytes).map_err(|_| fail(&"not a text (UTF-8); a .net file holds a network as text"))
}
