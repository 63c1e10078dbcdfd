//! Networks as text.
//!
//! ```text
//! # VGG's column A
//! network vgg11
//! input 3x224x224
//!
//! conv3-64 - relu - maxpool
//! conv3-128 - relu - maxpool
//! [conv3-256 - relu]*2 - maxpool
//! [[conv3-512 - relu]*2 - maxpool]*2
//! [FC-4096 - relu - dropout]*2
//! FC-1000 - softmax
//! ```
//!
//! A residual block is `add( conv3-64 nobias - bn - relu - conv3-64 nobias - bn | identity ) - relu`, an inception
//! module `concat( conv1-64 - relu | conv1-96 - relu - conv3-128 - relu | … )`, and the pattern
//! `[(CONV-RELU)*2-POOL?]*3-(FC-RELU)*1,SOFTMAX` is a network as it stands.
//!
//! # Grammar
//! ```text
//! text      = sequence
//! sequence  = [ item { separator item } ]           separator: "-", ",", "->" or a new line
//! item      = [ name ":" ] ( layer | group )
//!           | "@" name | statement
//! group     = ( "[" sequence "]" | "(" sequence ")" ) [ "*" integer ]
//! layer     = WORD [ size ] [ ("-" | " ") argument ] [ "/" size ] [ "?" ] { ATTRIBUTE [ value ] }
//!           | ( "add" | "multiply" | "concat" ) "(" sequence { "|" sequence } ")"
//! statement = "network" name | "classes" integer | "init" init | "bias-init" init
//!           | "aux" name ( "(" sequence ")" | ":" "[" sequence "]" ) | "output" [ name ]
//! size      = integer [ "x" integer ]                rows x columns
//! name      = letters, digits, "_", segments between "."; or any text in "quotes"
//! ```
//! Words are read in any case; `#` begins a comment. Each layer reads the value before it; the branches of `add` and
//! `concat` all read the value before those. `@name` goes on from the value of that name, looked for in the scope it
//! is written in and then in those around it. A named group is a scope: names in `layer1: [ … ]` begin with
//! `layer1.`; with `*3` there are `layer1.0`, `layer1.1`, `layer1.2`. Layers without a name are numbered by kind.
//! [`reference()`] lists all words and attributes.
//!
//! What is left out: the input is [`Defaults::input`], a bare `conv` is 3×3 with 64 channels doubling after each
//! pooling up to 512, a bare `FC` has 4096 outputs, a convolution with an odd kernel is padded to keep the size at
//! stride 1, weights start He-normal, biases 0. The last value is the network's output.

mod build;
mod error;
mod layer;
mod layout;
mod lexer;
mod parser;
mod print;
mod repeat;
mod words;

pub use error::{NotationError, NotationErrors};
pub use print::{PrintError, print};

use crate::Graph;

/// The most layers a text may grow to.
pub const MAX_LAYERS: usize = 20_000;

/// What a text that does not say is taken to mean.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Defaults {
    /// The network's name; `network` in the text goes first.
    pub name: String,
    /// Dimensions `[C, H, W]` of the input; `input` in the text goes first.
    pub input: Vec<usize>,
    /// The number of classes that a bare `softmax` tells apart; `classes` in the text goes first.
    pub classes: usize,
}

impl Default for Defaults {
    /// `network`, 3×224×224, 1000 classes.
    fn default() -> Self {
        Self { name: "network".into(), input: vec![3, 224, 224], classes: 1000 }
    }
}

/// The network that a text describes.
///
/// ```
/// use striate_graph::notation;
///
/// let lenet5 = notation::parse("
///     network lenet5
///     input 1x32x32
///     conv5-6 valid - relu - maxpool
///     conv5-16 valid - relu - maxpool
///     conv5-120 valid - relu
///     FC-84 - relu
///     FC-10 - softmax
/// ").unwrap();
/// assert_eq!(lenet5.parameter_count(), 61_706);
/// assert_eq!(notation::parse(&notation::print(&lenet5).unwrap()).unwrap(), lenet5);
/// ```
///
/// # Errors
/// Everything that is wrong with the text and with the network, each with its place.
pub fn parse(text: &str) -> Result<Graph, NotationErrors> {
    parse_with(text, &Defaults::default())
}

/// The network that a text describes, with what it leaves out taken from `defaults`.
///
/// # Errors
/// As for [`parse`].
pub fn parse_with(text: &str, defaults: &Defaults) -> Result<Graph, NotationErrors> {
    let mut report = error::Report::new(text);
    let tokens = lexer::lex(text, &mut report);
    let tree = parser::parse(text, &tokens, &mut report);
    build::build(&tree, defaults, report)
}

/// All words and attributes with examples, as text for a terminal.
pub fn reference() -> String {
    build::reference()
}

/// The rules, before the tables of [`reference`].
const RULES: &str = "\
Layers follow one another, separated by -, commas or new lines; # begins a comment.
  [ … ]*3                              repetition, also ( … )*3
  name: conv3-64                       a name; parameters are name.weight and name.bias
  name: [ … ]                          a scope: names inside begin with name.
  name: [ … ]*2                        scopes name.0 and name.1
  @name                                goes on from the value of that name
  [(CONV-RELU)*2-POOL?]*3-(FC-RELU)*1,SOFTMAX
                                       the pattern of most networks, with any numbers

Words, in any case
";
