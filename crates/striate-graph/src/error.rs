//! What can be wrong with a network: each problem with its numbers and a remedy, all of them at once.

use crate::Type;
use std::fmt;
use thiserror::Error;

/// The most elements a single value may have per image: beyond it a shape is a mistake, not a network.
pub const MAX_ELEMENTS: usize = 1 << 36;

/// The most rows or columns a map may have.
pub const MAX_SIDE: usize = 1 << 20;

/// The most dimensions a value may have, apart from the batch.
pub const MAX_RANK: usize = 8;

fn turned(transposed: bool) -> &'static str {
    if transposed { " (transposed)" } else { "" }
}

/// The axes of a type that a message counts: `0 to 2`.
fn axes_of(ty: &Type) -> String {
    match ty.dims.len() {
        0 => "none: it is a scalar".into(),
        1 => "0".into(),
        rank => format!("0 to {}", rank - 1),
    }
}

/// What is wrong with one operation.
#[derive(Clone, Debug, PartialEq, Error)]
#[allow(missing_docs)] // the fields are the numbers of the message
pub enum Problem {
    #[error("takes {expected}, but got {found}")]
    InputCount { expected: String, found: usize },
    #[error("{what} must be {expected}, but is {found}")]
    Kind { what: &'static str, expected: &'static str, found: Type },
    #[error("{what} is 0")]
    Zero { what: &'static str },
    #[error("groups {groups} does not divide {channels} {side} channels")]
    Groups { groups: usize, channels: usize, side: &'static str },
    #[error("a window of {window} {axis}s does not fit an input of {input} {axis}s padded by {padding}")]
    WindowTooLarge { axis: &'static str, window: usize, input: usize, padding: usize },
    #[error("padding {padding} is not less than the window of {window} {axis}s, which could lie on it alone")]
    PaddingTooLarge { axis: &'static str, padding: usize, window: usize },
    #[error("{mode} padding of {padding} {axis}s needs an input of at least {needed}, but it has {input}")]
    PaddingMode { axis: &'static str, mode: &'static str, padding: usize, needed: usize, input: usize },
    #[error("{what} must be {expected}, but is {found}")]
    Shape { what: &'static str, expected: Type, found: Type },
    #[error("shapes {lhs} and {rhs} do not combine")]
    Combine { lhs: Type, rhs: Type },
    #[error("cannot view {from} ({have} elements) as {to} ({want} elements)")]
    Reshape { from: Type, have: usize, to: Type, want: usize },
    #[error("{what} {value} is outside {range}")]
    Range { what: &'static str, value: String, range: &'static str },
    #[error("slice {start}..{end} step {step} does not lie in axis {axis} of {size}")]
    Slice { axis: usize, start: usize, end: usize, step: usize, size: usize },
    #[error("axis {axis} is not one of {found}")]
    Axis { axis: usize, found: Type },
    #[error("{axes:?} are not axes of {found} in ascending order")]
    Axes { axes: Vec<usize>, found: Type },
    #[error("{axes:?} do not name each axis of {found} once")]
    Permutation { axes: Vec<usize>, found: Type },
    #[error("matrices of {lhs}{} and {rhs}{} do not multiply", turned(transposed[0]), turned(transposed[1]))]
    Multiply { lhs: Type, rhs: Type, transposed: [bool; 2] },
    #[error("{of} {what} are not a multiple of {by}")]
    Blocks { what: &'static str, of: usize, by: usize },
    #[error(
        "the result would have more than {MAX_ELEMENTS} elements an image, more than {MAX_SIDE} rows or columns, \
         or more than {MAX_RANK} dimensions"
    )]
    TooLarge,
    #[error("the name '{0}' is taken")]
    NameTaken(String),
    #[error("the name '{0}' is that of an input of training")]
    Reserved(String),
    #[error("no gradient reaches through {op}")]
    NoGradient { op: &'static str },
    #[error("the network has no output")]
    NoOutput,
}

impl Problem {
    /// What to do about it.
    pub fn remedy(&self) -> String {
        match self {
            Problem::InputCount { expected, .. } => format!("give it {expected}"),
            Problem::Kind { expected, .. } => match *expected {
                "a feature vector" => "flatten or pool the feature map first".into(),
                "a feature map" => "place it before the map is flattened".into(),
                other => format!("feed it {other}"),
            },
            Problem::Zero { what } => format!("make {what} at least 1"),
            Problem::Groups { channels, .. } => {
                const LARGEST: usize = 4096;
                let candidates = 1..=LARGEST.min(*channels);
                let divisors: Vec<String> =
                    candidates.filter(|d| channels % d == 0).take(6).map(|d| d.to_string()).collect();
                format!("choose groups that divide {channels}: {} …", divisors.join(", "))
            }
            Problem::WindowTooLarge { axis, .. } => {
                format!("use a smaller window or more padding, or a larger input (fewer strides before it) in {axis}s")
            }
            Problem::PaddingTooLarge { window, .. } => format!("pad by at most {}", window - 1),
            Problem::PaddingMode { needed, .. } => {
                format!("pad less, use zeros, or enlarge the input to {needed}")
            }
            Problem::Shape { expected, .. } => format!("make it {expected}"),
            Problem::Combine { .. } => {
                "make the dimensions equal, or 1 where one side is repeated (a residual shortcut may need a 1×1 convolution)".into()
            }
            Problem::Reshape { have, .. } => format!("choose dimensions whose product is {have}"),
            Problem::Range { what, range, .. } => format!("choose {what} in {range}"),
            Problem::Slice { size, .. } => {
                format!("choose 0 ≤ start < end ≤ {size} and a step of at least 1")
            }
            Problem::Axis { found, .. } | Problem::Axes { found, .. } | Problem::Permutation { found, .. } => {
                format!("its axes, apart from the batch, are {}", axes_of(found))
            }
            Problem::Multiply { .. } => {
                "give the left side as many columns as the right side has rows, and equal stacks (or 1)".into()
            }
            Problem::Blocks { what, by, .. } => format!("choose a block that divides, or give {what} by the {by}"),
            Problem::TooLarge => "reduce the channels, the features or the image size".into(),
            Problem::NameTaken(name) => format!("rename one of the two '{name}'"),
            Problem::Reserved(name) => format!("rename '{name}'"),
            Problem::NoGradient { .. } => "exclude it from what is differentiated".into(),
            Problem::NoOutput => "mark the last value as the output".into(),
        }
    }
}

/// A problem, and the node that has it.
#[derive(Clone, Debug, PartialEq, Error)]
pub struct NodeError {
    /// The node's name.
    pub node: String,
    /// The operation's name, e.g. `conv2d`.
    pub op: &'static str,
    /// The types of its inputs that are not parameters.
    pub inputs: Vec<Type>,
    /// What is wrong.
    pub problem: Problem,
}

impl fmt::Display for NodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let inputs: Vec<String> = self.inputs.iter().map(Type::to_string).collect();
        write!(f, "{} ({}", self.node, self.op)?;
        if !inputs.is_empty() {
            write!(f, " on {}", inputs.join(", "))?;
        }
        write!(f, "): {}; {}", self.problem, self.problem.remedy())
    }
}

/// Everything that is wrong with a network, in the order of its nodes; never empty.
#[derive(Clone, Debug, PartialEq, Error)]
pub struct GraphErrors(pub Vec<NodeError>);

impl fmt::Display for GraphErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, error) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{error}")?;
        }
        Ok(())
    }
}
