//! Parameters that another program wrote, brought into a network, with a report of what fits and what does not.

use indexmap::IndexMap;
use std::fmt;
use striate_engine::{Parameters, Tensor};
use striate_graph::Graph;

/// What PyTorch counts beside a batch norm's statistics; nothing is computed with it.
const COUNTER: &str = "num_batches_tracked";
/// What programs put before every name of a model they wrap: `DataParallel`, `torch.compile`, training scripts.
const WRAPPERS: [&str; 3] = ["module.", "_orig_mod.", "model."];

/// How a file's tensors and a network's parameters go together; all names are listed.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Report {
    /// Parameters of the network that the file has.
    pub matched: Vec<String>,
    /// Parameters of the network that the file lacks: they stay as a new network's.
    pub missing: Vec<String>,
    /// Parameters that the file has with other dimensions; they stay as a new network's as well.
    pub mismatched: Vec<Mismatch>,
    /// Tensors of the file, by its own names, that the network has no place for.
    pub unexpected: Vec<String>,
    /// Tensors of the file that a network for inference never needs: batch counters, heads for training.
    pub unused: Vec<String>,
}

/// A parameter that has other dimensions in the file.
#[derive(Clone, Debug, PartialEq)]
pub struct Mismatch {
    /// The network's name for it.
    pub name: String,
    /// The network's dimensions.
    pub expected: Vec<usize>,
    /// The file's.
    pub found: Vec<usize>,
}

impl Report {
    /// Whether the file has each parameter as the network wants it, and nothing else.
    pub fn is_complete(&self) -> bool {
        self.missing.is_empty() && self.mismatched.is_empty() && self.unexpected.is_empty()
    }
}

impl fmt::Display for Report {
    /// What does not fit, a line each; at most eight of a kind.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 8;
        let Self { matched, missing, mismatched, unexpected, .. } = self;
        let all = matched.len() + missing.len() + mismatched.len();
        write!(f, "{} of {all} parameters match", matched.len())?;
        let mut list = |count: usize, lines: &mut dyn Iterator<Item = String>| {
            lines.take(SHOWN).try_for_each(|line| write!(f, "\n  {line}"))?;
            if count > SHOWN { write!(f, "\n  and {} more", count - SHOWN) } else { Ok(()) }
        };
        list(
            mismatched.len(),
            &mut mismatched.iter().map(|Mismatch { name, expected, found }| {
                format!("{name}: has dimensions {found:?}, the network needs {expected:?}")
            }),
        )?;
        list(missing.len(), &mut missing.iter().map(|name| format!("{name}: missing in the file")))?;
        list(unexpected.len(), &mut unexpected.iter().map(|name| format!("{name}: not in the network")))
    }
}

/// The parameters of `graph` from a file's tensors, which `ours` calls as the network does, or `None` where the network
/// leaves them out on purpose. A parameter that the file does not have starts as in a new network.
///
/// A prefix that every name has because the model was wrapped when it was saved (`module.`, `_orig_mod.`, `model.`) is
/// left out. A convolution over a whole map, (out, in, h, w), goes into a fully connected layer, (out, in·h·w), which is
/// the same.
pub fn adopt(
    graph: &Graph,
    tensors: IndexMap<String, striate_interop::Tensor>,
    ours: impl Fn(&str) -> Option<String>,
) -> (Parameters, Report) {
    let mut report = Report::default();
    let mut given: IndexMap<String, striate_interop::Tensor> = IndexMap::with_capacity(tensors.len());
    for (theirs, tensor) in unwrapped(tensors) {
        match ours(&theirs) {
            Some(name) if !is_counter(&theirs) && !given.contains_key(&name) => {
                given.insert(name, tensor);
            }
            Some(_) if !is_counter(&theirs) => report.unexpected.push(theirs),
            _ => report.unused.push(theirs),
        }
    }
    let mut parameters = Parameters::default();
    for (node, parameter, _) in graph.parameters() {
        let Some(tensor) = given.shift_remove(&node.name) else {
            report.missing.push(node.name.clone());
            continue;
        };
        if tensor.shape == parameter.dims || flattens(&tensor.shape, &parameter.dims) {
            parameters.0.insert(node.name.clone(), Tensor::new(parameter.dims.clone(), tensor.data));
            report.matched.push(node.name.clone());
        } else {
            let (expected, found) = (parameter.dims.clone(), tensor.shape);
            report.mismatched.push(Mismatch { name: node.name.clone(), expected, found });
        }
    }
    parameters.complete(graph, 0);
    report.unexpected.extend(given.into_keys());
    (parameters, report)
}

fn is_counter(name: &str) -> bool {
    name.rsplit('.').next() == Some(COUNTER)
}

/// The tensors without what was put before every name.
pub fn unwrapped(
    tensors: IndexMap<String, striate_interop::Tensor>,
) -> IndexMap<String, striate_interop::Tensor> {
    let wrapped = |tensors: &IndexMap<String, _>| {
        let of_all = |prefix: &&&str| tensors.keys().all(|name| name.starts_with(**prefix));
        WRAPPERS.iter().find(of_all).map(|prefix| prefix.len()).filter(|_| !tensors.is_empty())
    };
    let mut tensors = tensors;
    while let Some(len) = wrapped(&tensors) {
        tensors = tensors.into_iter().map(|(name, tensor)| (name[len..].to_string(), tensor)).collect();
    }
    tensors
}

/// Whether weights of a convolution over a whole map are those of a fully connected layer.
fn flattens(found: &[usize], expected: &[usize]) -> bool {
    match (found, expected) {
        ([out, rest @ ..], [o, i]) if rest.len() == 3 => {
            out == o && rest.iter().try_fold(1usize, |product, size| product.checked_mul(*size)) == Some(*i)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use striate_graph::Builder;
    use striate_graph::ops::Linear;

    fn network() -> Graph {
        let mut net = Builder::new("two");
        let image = net.input("image", [2, 1, 1]);
        let x = net.linear("fc1", image, Linear::new(3));
        let x = net.linear("fc2", x, Linear::new(2));
        net.output(x);
        net.finish().unwrap()
    }

    fn file(tensors: &[(&str, &[usize])]) -> IndexMap<String, striate_interop::Tensor> {
        let tensor = |(name, shape): &(&str, &[usize])| {
            let len = shape.iter().product();
            (name.to_string(), striate_interop::Tensor::new(*shape, vec![0.5; len]))
        };
        tensors.iter().map(tensor).collect()
    }

    const WHOLE: [(&str, &[usize]); 4] =
        [("fc1.weight", &[3, 2]), ("fc1.bias", &[3]), ("fc2.weight", &[2, 3]), ("fc2.bias", &[2])];

    #[test]
    fn everything_is_accounted_for() {
        let graph = network();
        let keep = |name: &str| Some(name.to_string());
        let (parameters, report) = adopt(&graph, file(&WHOLE), keep);
        assert!(report.is_complete());
        assert_eq!(report.matched.len(), 4);
        assert!(parameters.0.values().all(|tensor| tensor.data.iter().all(|x| *x == 0.5)));

        let tensors = file(&[
            ("fc1.weight", &[3, 2]),
            ("fc1.bias", &[3]),
            ("fc2.weight", &[5, 3]),
            ("bn.num_batches_tracked", &[]),
            ("head.x", &[1]),
            ("extra", &[1]),
        ]);
        let ours = |name: &str| (!name.starts_with("head.")).then(|| name.to_string());
        let (parameters, report) = adopt(&graph, tensors, ours);
        let mismatch = Mismatch { name: "fc2.weight".into(), expected: vec![2, 3], found: vec![5, 3] };
        let expected = Report {
            matched: vec!["fc1.weight".into(), "fc1.bias".into()],
            missing: vec!["fc2.bias".into()],
            mismatched: vec![mismatch],
            unexpected: vec!["extra".into()],
            unused: vec!["bn.num_batches_tracked".into(), "head.x".into()],
        };
        assert_eq!(report, expected);
        assert!(!report.is_complete());
        assert_eq!(
            report.to_string(),
            "2 of 4 parameters match\n  fc2.weight: has dimensions [5, 3], the network needs [2, 3]\n  \
             fc2.bias: missing in the file\n  extra: not in the network"
        );
        parameters.check(&graph).unwrap();
    }

    #[test]
    fn names_are_translated_unwrapped_and_taken_once() {
        let graph = network();
        let wrapped: Vec<(String, &[usize])> =
            WHOLE.iter().map(|(name, shape)| (format!("_orig_mod.module.{name}"), *shape)).collect();
        let wrapped: Vec<_> = wrapped.iter().map(|(name, shape)| (name.as_str(), *shape)).collect();
        assert!(adopt(&graph, file(&wrapped), |name| Some(name.into())).1.is_complete());

        // One name without the prefix: nothing is left out.
        let some = [&wrapped[..3], &[("fc2.bias", &[2])]].concat();
        assert_eq!(adopt(&graph, file(&some), |name| Some(name.into())).1.missing.len(), 3);

        let twice = [&WHOLE[..], &[("other.bias", &[2])]].concat();
        let ours = |name: &str| Some(name.replace("other", "fc2"));
        assert_eq!(adopt(&graph, file(&twice), ours).1.unexpected, ["other.bias"]);
    }

    #[test]
    fn a_convolution_over_the_whole_map_is_fully_connected() {
        let graph = network();
        let tensors = [&[("fc1.weight", &[3, 2, 1, 1][..])], &WHOLE[1..]].concat();
        assert!(adopt(&graph, file(&tensors), |name| Some(name.into())).1.is_complete());
        assert!(!flattens(&[3, 2, 1], &[3, 2]) && !flattens(&[2, 3, 1, 1], &[3, 2]));
        assert!(!flattens(&[3, usize::MAX, 2, 1], &[3, 2]));
    }
}
