//! A model in one file: the network, its parameters, its classes, and how pictures are prepared for it.

use crate::image_file::Preprocess;
use crate::weights;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};
use striate_engine::{ParameterMismatch, Parameters, Tensor};
use striate_graph::Graph;
use striate_graph::notation::{self, NotationErrors};
use striate_graph::ops::Role;
use striate_interop::WeightsError;
use striate_interop::tensor_file::{TensorFile, TensorFileError};

const NOTATION: &str = "striate.network";
const INFO: &str = "striate.info";

/// What a model knows beside its parameters.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ModelInfo {
    /// The names of the classes, in the order of the outputs.
    pub classes: Vec<String>,
    /// How a picture becomes an input.
    pub preprocess: Preprocess,
}

/// A trained network, ready to be used.
#[derive(Clone, Debug)]
pub struct Model {
    /// The network.
    pub graph: Graph,
    /// Its parameters and running statistics.
    pub parameters: Parameters,
    /// Classes and preparation.
    pub info: ModelInfo,
}

/// Why a file is no model.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// The file cannot be read or written as safetensors.
    #[error(transparent)]
    File(#[from] TensorFileError),
    /// The file cannot be read as one of parameters.
    #[error(transparent)]
    Weights(#[from] Box<WeightsError>),
    /// A safetensors file that does not say what network it belongs to.
    #[error("{}: holds tensors but no {what}; it was not saved by Striate", path.display())]
    Metadata {
        /// The file.
        path: PathBuf,
        /// What is missing or broken.
        what: String,
    },
    /// The network in it is broken.
    #[error("{}: its network cannot be read\n{errors}", path.display())]
    Notation {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        errors: NotationErrors,
    },
    /// The network cannot be written down.
    #[error("the network cannot be written as text: {0}")]
    Print(String),
    /// The tensors are not the network's.
    #[error("{}: {source}\na model has all parameters of the network it describes: take those it was trained with", path.display())]
    Parameters {
        /// The file.
        path: PathBuf,
        /// What differs.
        source: ParameterMismatch,
    },
}

impl Model {
    /// Writes the model; the same model gives the same bytes, and a failed write leaves the old file.
    ///
    /// # Errors
    /// Where parameters are missing or of other shapes than the network's, or the file cannot be written.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<(), ModelError> {
        let path = path.as_ref();
        let unfit = |source| ModelError::Parameters { path: path.into(), source };
        self.parameters.check(&self.graph).map_err(unfit)?;
        let mut file = TensorFile::default();
        let text = notation::print(&self.graph).map_err(|error| ModelError::Print(error.to_string()))?;
        file.metadata.insert(NOTATION.into(), text);
        let info = serde_json::to_string(&self.info).map_err(|error| ModelError::Print(error.to_string()))?;
        file.metadata.insert(INFO.into(), info);
        for (node, _, _) in self.graph.parameters() {
            if let Some(tensor) = self.parameters.get(&node.name) {
                file.tensors.insert(node.name.clone(), to_file(tensor));
            }
        }
        Ok(file.write(path)?)
    }

    /// Reads a model.
    ///
    /// # Errors
    /// When the file is none, with what is missing or wrong.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, ModelError> {
        let path = path.as_ref();
        Self::from_file(TensorFile::read(path)?, path)
    }

    /// Reads a model of `size` bytes from `source`, which errors call `name`.
    ///
    /// # Errors
    /// When it is none, with what is missing or wrong.
    pub fn read_from(source: impl Read, size: u64, name: impl AsRef<Path>) -> Result<Self, ModelError> {
        let path = name.as_ref();
        let file = TensorFile::read_from(source, size);
        Self::from_file(file.map_err(|problem| TensorFileError { path: path.into(), problem })?, path)
    }

    fn from_file(file: TensorFile, path: &Path) -> Result<Self, ModelError> {
        let metadata = |key: &str, what: &str| {
            let missing = || ModelError::Metadata { path: path.into(), what: what.into() };
            file.metadata.get(key).ok_or_else(missing)
        };
        let text = metadata(NOTATION, "network")?;
        let graph =
            notation::parse(text).map_err(|errors| ModelError::Notation { path: path.into(), errors })?;
        let info = serde_json::from_str(metadata(INFO, "classes and preprocessing")?).map_err(|error| {
            ModelError::Metadata { path: path.into(), what: format!("readable classes ({error})") }
        })?;
        let parameters = from_file(file.tensors);
        parameters.check(&graph).map_err(|source| ModelError::Parameters { path: path.into(), source })?;
        Ok(Self { graph, parameters, info })
    }
}

/// The parameters of `graph` in a file of safetensors or one that `torch.save` wrote; further tensors are ignored.
///
/// # Errors
/// When the file is none, or lacks parameters or has them in other shapes: all of them.
pub fn read_parameters(path: impl AsRef<Path>, graph: &Graph) -> Result<Parameters, ModelError> {
    let path = path.as_ref();
    let parameters = from_file(weights::unwrapped(striate_interop::weights::read(path).map_err(Box::new)?));
    parameters.check(graph).map_err(|source| ModelError::Parameters { path: path.into(), source })?;
    Ok(parameters)
}

/// A tensor as files hold it.
pub(crate) fn to_file(tensor: &Tensor) -> striate_interop::Tensor {
    striate_interop::Tensor::new(tensor.dims.clone(), tensor.data.clone())
}

/// Parameters from a file's tensors.
pub(crate) fn from_file(tensors: impl IntoIterator<Item = (String, striate_interop::Tensor)>) -> Parameters {
    let tensors = tensors.into_iter().map(|(name, tensor)| (name, Tensor::new(tensor.shape, tensor.data)));
    Parameters(tensors.collect::<BTreeMap<_, _>>())
}

/// The parameters of a network without the optimiser's memory.
pub(crate) fn without_optimiser_state(graph: &Graph, parameters: &Parameters) -> Parameters {
    let of_model = graph.parameters().filter(|(_, parameter, _)| parameter.role != Role::OptimiserState);
    let tensors =
        of_model.filter_map(|(node, ..)| Some((node.name.clone(), parameters.get(&node.name)?.clone())));
    Parameters(tensors.collect())
}
