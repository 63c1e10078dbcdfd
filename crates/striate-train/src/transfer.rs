//! Starting from what another run has learnt: parameters from a file, another head, layers that stay as they are.

use crate::image_file::Preprocess;
use crate::model::{Model, ModelError, to_file};
use crate::onnx::{self, OnnxModelError};
use crate::text::nearest;
use crate::weights::{self, Report};
use indexmap::IndexMap;
use regex_lite::Regex;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use striate_engine::Parameters;
use striate_graph::ops::{Linear, Op, Parameter};
use striate_graph::{Graph, Value};
use striate_interop::tensor_file::TensorFileError;

/// A file to start from.
#[derive(Clone, Debug)]
pub struct Source {
    /// The file.
    pub path: PathBuf,
    /// The network, where the file has it.
    pub graph: Option<Graph>,
    /// How pictures were prepared for it, where the file says so.
    pub preprocess: Option<Preprocess>,
    tensors: IndexMap<String, striate_interop::Tensor>,
}

/// Why a run cannot start from another's parameters.
#[derive(Debug, thiserror::Error)]
pub enum TransferError {
    /// The file is no model and no file of parameters.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The file is no ONNX model.
    #[error(transparent)]
    Onnx(#[from] OnnxModelError),
    /// None of the file's tensors is one of the network's.
    #[error(
        "{}: none of its {count} tensors fits the network: it has {theirs}, the network needs {ours}; name the network \
         that they belong to", path.display()
    )]
    Nothing {
        /// The file.
        path: PathBuf,
        /// How many it has.
        count: usize,
        /// One of them.
        theirs: String,
        /// One of the network's.
        ours: String,
    },
    /// A network whose head cannot be replaced.
    #[error(
        "{network} tells {found} classes apart, the data set has {classes}, and its head {head} cannot be replaced by \
         itself (only fully connected layers can): name the network too, so that it is built for {classes}"
    )]
    Head {
        /// The network.
        network: String,
        /// Its last layer.
        head: String,
        /// The classes it knows.
        found: usize,
        /// The classes that are wanted.
        classes: usize,
    },
    /// A text that is no regular expression.
    #[error("--freeze '{pattern}' is no regular expression: {problem}")]
    Pattern {
        /// The text.
        pattern: String,
        /// What is wrong.
        problem: String,
    },
    /// A pattern for nothing.
    #[error("--freeze '{pattern}' matches no layer and no parameter of {network}; {hint}")]
    NoMatch {
        /// The pattern.
        pattern: String,
        /// The network.
        network: String,
        /// Names that are near.
        hint: String,
    },
    /// Nothing is left to learn.
    #[error(
        "--freeze leaves no parameter of {network} to be trained; keep the head at least, as in --freeze '{example}'"
    )]
    AllFrozen {
        /// The network.
        network: String,
        /// What would leave something.
        example: String,
    },
}

impl Source {
    /// Reads a model (`.safetensors`, `.onnx`) or a file of parameters alone (`.safetensors`, `.pth`). Where an ONNX file
    /// leaves its input's dimensions open they are `image`'s.
    ///
    /// # Errors
    /// When the file is none of these, with what is wrong.
    pub fn open(path: impl AsRef<Path>, image: Option<[usize; 3]>) -> Result<Self, TransferError> {
        let path = path.as_ref();
        if path.extension().is_some_and(|extension| extension == "onnx") {
            let open = |dims: Option<&[usize]>| onnx::read(path, dims);
            let model = open(None).or_else(|error| match &image {
                Some(image) => open(Some(image)).map_err(|_| error),
                None => Err(error),
            })?;
            return Ok(Self::of_model(path, model));
        }
        match Model::open(path) {
            Ok(model) => Ok(Self::of_model(path, model)),
            // Tensors without a network, or another kind of file.
            Err(ModelError::Metadata { .. } | ModelError::File(TensorFileError { .. })) => {
                let tensors = striate_interop::weights::read(path)
                    .map_err(|error| ModelError::from(Box::new(error)))?;
                let tensors = weights::unwrapped(tensors).into_iter().collect();
                Ok(Self { path: path.into(), graph: None, preprocess: None, tensors })
            }
            Err(error) => Err(error.into()),
        }
    }

    fn of_model(path: &Path, model: Model) -> Self {
        let Model { graph, parameters, info } = model;
        let tensors = parameters.0.iter().map(|(name, tensor)| (name.clone(), to_file(tensor))).collect();
        Self { path: path.into(), graph: Some(graph), preprocess: Some(info.preprocess), tensors }
    }

    /// What of the file's parameters `network` takes, and what becomes of the others.
    ///
    /// # Errors
    /// When it takes none.
    pub fn fit(&self, network: &Graph) -> Result<(Parameters, Report), TransferError> {
        let (mut parameters, report) =
            weights::adopt(network, self.tensors.clone(), |name| Some(name.to_string()));
        if report.matched.is_empty() {
            let ours = network.parameters().next().map(|(node, ..)| node.name.clone());
            return Err(TransferError::Nothing {
                path: self.path.clone(),
                count: self.tensors.len(),
                theirs: self.tensors.keys().next().cloned().unwrap_or_default(),
                ours: ours.unwrap_or_default(),
            });
        }
        // What does not match starts as in any new network.
        let matched: BTreeSet<&String> = report.matched.iter().collect();
        parameters.0.retain(|name, _| matched.contains(name));
        Ok((parameters, report))
    }
}

/// The network with a head for so many classes: the last layer of each output as wide.
///
/// # Errors
/// When that layer is not fully connected.
pub fn with_classes(network: &Graph, classes: usize) -> Result<Graph, TransferError> {
    let mut widened: BTreeSet<Value> = BTreeSet::new();
    let mut heads = BTreeSet::new();
    for output in network.outputs() {
        let value = network.before_softmax(output.value);
        let id = network.producer(value);
        let node = network.node(id);
        let found = network.ty(value).elements();
        match node.op {
            _ if found == classes => {}
            Op::Linear(_) => {
                widened.extend(&node.inputs[1..]);
                heads.insert(node.name.clone());
            }
            _ => {
                let (network, head) = (network.name.clone(), node.name.clone());
                return Err(TransferError::Head { network, head, found, classes });
            }
        }
    }
    Ok(network.rewrite(|new, node, inputs| {
        let op: Op = match &node.op {
            Op::Parameter(parameter) if widened.contains(&node.outputs[0]) => {
                let mut dims = parameter.dims.clone();
                dims[0] = classes;
                Parameter { dims, ..parameter.clone() }.into()
            }
            Op::Linear(linear) if heads.contains(&node.name) => Linear { out: classes, ..*linear }.into(),
            other => other.clone(),
        };
        new.push(node.name.clone(), op, inputs).expect("a head is as wide as it is made")
    }))
}

/// The parameters of `network`, by name, that `patterns` say stay as they are: regular expressions of whole names, of
/// parameters (`layer1.0.conv1.weight`) or of the layers that read them (`layer1.0.conv1`).
///
/// # Errors
/// A pattern that is none or matches nothing; when nothing is left to learn.
pub fn frozen(network: &Graph, patterns: &[String]) -> Result<BTreeSet<String>, TransferError> {
    let mut frozen = BTreeSet::new();
    for pattern in patterns {
        let problem = |error: regex_lite::Error| TransferError::Pattern {
            pattern: pattern.clone(),
            problem: error.to_string(),
        };
        let regex = Regex::new(&format!("^(?:{pattern})$")).map_err(problem)?;
        let matched = matching(network, &regex);
        if matched.is_empty() {
            let (pattern, hint) = (pattern.clone(), near(network, pattern));
            return Err(TransferError::NoMatch { pattern, network: network.name.clone(), hint });
        }
        frozen.extend(matched);
    }
    let mut trained = network.parameters().filter(|(_, parameter, _)| parameter.role.is_trained());
    if !patterns.is_empty() && trained.all(|(node, ..)| frozen.contains(&node.name)) {
        let example = layers(network).next().unwrap_or_default().to_string();
        return Err(TransferError::AllFrozen { network: network.name.clone(), example });
    }
    Ok(frozen)
}

fn matching(network: &Graph, regex: &Regex) -> BTreeSet<String> {
    let of_layers = network.nodes().filter(|(_, node)| regex.is_match(&node.name)).flat_map(|(id, _)| {
        network.parameters_of(id).map(|(node, ..)| node.name.clone()).collect::<Vec<_>>()
    });
    let own = network.parameters().map(|(node, ..)| node.name.clone()).filter(|name| regex.is_match(name));
    of_layers.chain(own).collect()
}

/// The layers that have parameters.
fn layers(network: &Graph) -> impl Iterator<Item = &str> {
    let with = network.nodes().filter(|(id, _)| network.parameters_of(*id).next().is_some());
    with.map(|(_, node)| node.name.as_str())
}

/// What the writer of a pattern may have meant.
fn near(network: &Graph, pattern: &str) -> String {
    let names = network.parameters().map(|(node, ..)| node.name.as_str());
    let plain: String = pattern.trim_end_matches(".*").chars().filter(|c| !"^$\\()".contains(*c)).collect();
    if let Some(name) = nearest(&plain, layers(network).chain(names)) {
        return format!("did you mean '{name}'?");
    }
    let groups: IndexMap<&str, ()> =
        layers(network).map(|name| (name.split('.').next().unwrap_or(name), ())).collect();
    if let Some(name) = nearest(&plain, groups.keys().copied()) {
        return format!("did you mean '{name}.*'?");
    }
    const SHOWN: usize = 12;
    let shown: Vec<&str> = groups.keys().copied().take(SHOWN).collect();
    let more = if groups.len() > SHOWN { ", …" } else { "" };
    format!("its layers begin with {}{more}", shown.join(", "))
}
