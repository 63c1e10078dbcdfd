//! A network's parameters outside a session, by their published names.

use crate::Tensor;
use std::collections::BTreeMap;
use striate_graph::{Fan, Graph, Init, fans};
use striate_kernels::rng::{Purpose, Rng};

/// Tensors by name: weights, biases, running statistics, and in a checkpoint the optimiser's state.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Parameters(pub BTreeMap<String, Tensor>);

/// How parameters do not fit a network: everything that is wrong, by name.
#[derive(Clone, Debug, Default, PartialEq, thiserror::Error)]
pub struct ParameterMismatch {
    /// Parameters that the network has and these lack.
    pub missing: Vec<String>,
    /// Parameters with other dimensions: name, the network's, these.
    pub shapes: Vec<(String, Vec<usize>, Vec<usize>)>,
}

impl std::fmt::Display for ParameterMismatch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        const SHOWN: usize = 8;
        let count = self.missing.len() + self.shapes.len();
        write!(f, "{count} parameters do not fit the network:")?;
        for (name, expected, found) in self.shapes.iter().take(SHOWN) {
            write!(f, "\n  {name}: has dimensions {found:?}, the network needs {expected:?}")?;
        }
        for name in self.missing.iter().take(SHOWN) {
            write!(f, "\n  {name}: missing")?;
        }
        let hidden = self.missing.len().saturating_sub(SHOWN) + self.shapes.len().saturating_sub(SHOWN);
        if hidden > 0 {
            write!(f, "\n  and {hidden} more")?;
        }
        Ok(())
    }
}

impl Parameters {
    /// What a graph's parameters start as. Each is drawn from a stream of its own, keyed by the seed and its
    /// name, so that adding a layer leaves the others' values alone.
    pub fn init(graph: &Graph, seed: u64) -> Self {
        let mut parameters = Self::default();
        parameters.complete(graph, seed);
        parameters
    }

    /// Adds what the graph has and these lack, as [`Parameters::init`] would.
    pub fn complete(&mut self, graph: &Graph, seed: u64) {
        for (node, parameter, _) in graph.parameters() {
            self.0.entry(node.name.clone()).or_insert_with(|| {
                let mut rng = Rng::new(seed, Purpose::Init, fnv1a(&node.name), 0);
                sample(parameter.init, &parameter.dims, &mut rng)
            });
        }
    }

    /// A tensor by name.
    pub fn get(&self, name: &str) -> Option<&Tensor> {
        self.0.get(name)
    }

    /// Checks that each parameter of the graph is here with its dimensions; further ones are ignored.
    ///
    /// # Errors
    /// All that are missing or shaped differently.
    pub fn check(&self, graph: &Graph) -> Result<(), ParameterMismatch> {
        let mut mismatch = ParameterMismatch::default();
        for (node, parameter, _) in graph.parameters() {
            match self.get(&node.name) {
                None => mismatch.missing.push(node.name.clone()),
                Some(tensor) if tensor.dims != parameter.dims || !tensor.is_whole() => {
                    mismatch.shapes.push((node.name.clone(), parameter.dims.clone(), tensor.dims.clone()));
                }
                Some(_) => {}
            }
        }
        if mismatch == ParameterMismatch::default() { Ok(()) } else { Err(mismatch) }
    }
}

/// A stable 64-bit hash of a name (FNV-1a).
fn fnv1a(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ byte as u64).wrapping_mul(0x100_0000_01b3))
}

fn sample(init: Init, dims: &[usize], rng: &mut Rng) -> Tensor {
    let (fan_in, fan_out) = fans(dims);
    let len: usize = dims.iter().product();
    let mut normal = |std: f64| (0..len).map(|_| (rng.normal() as f64 * std) as f32).collect::<Vec<f32>>();
    let data = match init {
        Init::Constant(value) => vec![value; len],
        Init::Normal { std } => normal(std as f64),
        Init::HeNormal(fan) => {
            let fan = if fan == Fan::In { fan_in } else { fan_out };
            normal((2.0 / fan as f64).sqrt())
        }
        Init::XavierUniform | Init::LecunUniform => {
            let bound = match init {
                Init::XavierUniform => (6.0 / (fan_in + fan_out) as f64).sqrt(),
                _ => 1.0 / (fan_in as f64).sqrt(),
            };
            (0..len).map(|_| ((2.0 * rng.uniform() as f64 - 1.0) * bound) as f32).collect()
        }
    };
    Tensor::new(dims, data)
}
