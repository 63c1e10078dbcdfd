//! Why a network cannot be had.

use crate::names;
use striate_graph::GraphErrors;
use thiserror::Error;

/// Why a network cannot be had.
#[derive(Clone, Debug, PartialEq, Error)]
#[allow(missing_docs)] // the fields are the numbers of the message
pub enum ZooError {
    #[error("no network is called '{name}'; nearest: {}", nearest.join(", "))]
    Unknown { name: String, nearest: Vec<&'static str> },
    #[error("{network} has no dropout, so its probability cannot be set")]
    NoDropout { network: String },
    #[error("{network} has {outputs} outputs by construction; {classes} classes cannot be had")]
    Classes { network: String, outputs: usize, classes: usize },
    #[error("{network} takes {features} features, but an input of {}×{}×{} does not have that many", input[0], input[1], input[2])]
    Features { network: String, features: usize, input: [usize; 3] },
    #[error("{network} cannot be built:\n{errors}")]
    Graph { network: String, errors: GraphErrors },
}

impl ZooError {
    /// With the three names that take the fewest edits.
    pub(crate) fn unknown(name: &str) -> Self {
        let wanted: Vec<char> = name.to_lowercase().chars().collect();
        let mut nearest: Vec<&str> = names().collect();
        nearest.sort_by_key(|candidate| edits(&wanted, candidate));
        nearest.truncate(3);
        ZooError::Unknown { name: name.to_string(), nearest }
    }
}

/// Insertions, deletions and substitutions that lead from one to the other (Levenshtein's distance).
fn edits(from: &[char], to: &str) -> usize {
    let mut row: Vec<usize> = (0..=from.len()).collect();
    for (index, target) in to.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], index + 1);
        for (column, source) in from.iter().enumerate() {
            let substituted = diagonal + (*source != target) as usize;
            diagonal = row[column + 1];
            row[column + 1] = substituted.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[from.len()]
}
