//! The words of the notation in one table: what the parser knows, the printer writes and the reference lists.

use crate::ops::{PadMode, Padding, Role};
use crate::{DType, Fan, Init};
use std::fmt;

/// What a word stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Conv,
    Deconv,
    Local,
    Fc,
    MaxPool,
    AvgPool,
    GlobalAvg,
    GlobalMax,
    Lrn,
    Bn,
    Relu,
    Leaky,
    Sigmoid,
    Tanh,
    Softmax,
    LogSoftmax,
    Dropout,
    Flatten,
    Reshape,
    Add,
    Multiply,
    Concat,
    Identity,
    Scale,
    Slice,
    Pad,
    Upsample,
    Sum,
    Mean,
    Expand,
    Input,
    Param,
    Constant,
    Network,
    Classes,
    Init,
    BiasInit,
    Aux,
    Output,
}

/// What follows a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Takes {
    Nothing,
    Integer,
    Pair,
    Number,
    Dims,
    Pads,
    Counts,
    Range,
    Init,
    References,
    Name,
}

impl Takes {
    /// Its description in messages and the reference.
    pub(super) fn describe(self) -> &'static str {
        match self {
            Takes::Nothing => "nothing",
            Takes::Integer => "a whole number",
            Takes::Pair => "a size like 2 or 2x3 (rows x columns)",
            Takes::Number => "a number",
            Takes::Dims => "dimensions like 3x224x224, 4096 or scalar",
            Takes::Pads => "a padding like 1, 1x2 (rows x columns) or 0+1x2+3 (top+bottom x left+right)",
            Takes::Counts => "two counts like 8+8 (before + behind)",
            Takes::Range => "a range like 0..32",
            Takes::Init => "he, he-out, xavier, lecun, normal 0.01 or a constant",
            Takes::References => "values like @conv1.weight @conv1.bias",
            Takes::Name => "a name",
        }
    }
}

impl Takes {
    /// An example, for messages.
    pub(super) fn example(self) -> &'static str {
        match self {
            Takes::Nothing => "",
            Takes::Integer => "64",
            Takes::Pair => "3 or 3x5",
            Takes::Number => "0.5 or 1e-3",
            Takes::Dims => "3x224x224",
            Takes::Pads => "1 or 0+1",
            Takes::Counts => "8+8",
            Takes::Range => "0..32",
            Takes::Init => "he-out, normal 0.01 or 0",
            Takes::References => "@conv1.weight @conv1.bias",
            Takes::Name => "resnet18",
        }
    }
}

/// What was written behind a word.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Argument {
    Flag,
    Integer(usize),
    Pair([usize; 2]),
    Number(f32),
    Dims(Vec<usize>),
    Pads(Padding),
    Counts([usize; 2]),
    Range([usize; 2]),
    Init(Init),
    References(Vec<Name>),
}

/// A name as written; a quoted one may hold any characters, and as a reference it starts from the root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Name {
    pub(super) text: String,
    pub(super) quoted: bool,
}

impl Name {
    /// `text`, quoted where the lexer would not read it as one name.
    pub(super) fn of(text: impl Into<String>) -> Self {
        let text = text.into();
        Self { quoted: !is_bare(&text), text }
    }
}

/// Whether a name needs no quotes: letters, digits and underscores, in segments between dots.
pub(super) fn is_bare(name: &str) -> bool {
    name.split('.')
        .all(|segment| !segment.is_empty() && segment.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_'))
}

/// A name in quotes, with escapes.
pub(super) fn quote(name: &str) -> String {
    let mut text = String::from("\"");
    for c in name.chars() {
        match c {
            '"' | '\\' => text.extend(['\\', c]),
            c if c.is_control() => text += &c.escape_unicode().to_string(),
            c => text.push(c),
        }
    }
    text + "\""
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.quoted { f.write_str(&quote(&self.text)) } else { f.write_str(&self.text) }
    }
}

/// `2`, or `2x3` where the axes differ.
pub(super) struct Pair(pub(super) [usize; 2]);

impl fmt::Display for Pair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [rows, columns] = self.0;
        if rows == columns { write!(f, "{rows}") } else { write!(f, "{rows}x{columns}") }
    }
}

/// The shortest decimal that reads back as the same float.
fn number(value: f32) -> String {
    let text = format!("{value:?}");
    text.strip_suffix(".0").map_or(text.clone(), str::to_string)
}

impl fmt::Display for Argument {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sides = |[a, b]: [usize; 2]| if a == b { a.to_string() } else { format!("{a}+{b}") };
        let joined = |dims: &[usize]| dims.iter().map(usize::to_string).collect::<Vec<_>>().join("x");
        match self {
            Argument::Flag => Ok(()),
            Argument::Integer(value) => write!(f, "{value}"),
            Argument::Pair(pair) => write!(f, "{}", Pair(*pair)),
            Argument::Number(value) => f.write_str(&number(*value)),
            Argument::Dims(dims) if dims.is_empty() => f.write_str("scalar"),
            Argument::Dims(dims) => f.write_str(&joined(dims)),
            Argument::Pads(pads) => {
                let [rows, columns] = [0, 1].map(|axis| sides(pads.axis(axis)));
                if rows == columns { f.write_str(&rows) } else { write!(f, "{rows}x{columns}") }
            }
            Argument::Counts([before, behind]) => write!(f, "{before}+{behind}"),
            Argument::Range([start, end]) => write!(f, "{start}..{end}"),
            Argument::Init(init) => match init {
                Init::Constant(value) => f.write_str(&number(*value)),
                Init::Normal { std } => write!(f, "normal {}", number(*std)),
                Init::HeNormal(Fan::In) => f.write_str("he"),
                Init::HeNormal(Fan::Out) => f.write_str("he-out"),
                Init::XavierUniform => f.write_str("xavier"),
                Init::LecunUniform => f.write_str("lecun"),
            },
            Argument::References(names) => {
                let names: Vec<String> = names.iter().map(|name| format!("@{name}")).collect();
                f.write_str(&names.join(" "))
            }
        }
    }
}

macro_rules! attributes {
    ($($variant:ident $name:literal $takes:ident $meaning:literal;)*) => {
        /// A property of a layer, written behind it.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(super) enum Attribute { $($variant),* }

        impl Attribute {
            /// All of them.
            pub(super) const ALL: &'static [Attribute] = &[$(Attribute::$variant),*];

            /// The word, what follows it, and what it means.
            pub(super) fn row(self) -> (&'static str, Takes, &'static str) {
                match self { $(Attribute::$variant => ($name, Takes::$takes, $meaning)),* }
            }
        }
    };
}

attributes! {
    Pad "pad" Pads "padding; without it a convolution with an odd kernel keeps the size, an even one is not padded";
    Same "same" Nothing "padding that keeps the size at stride 1 (odd kernels)";
    Valid "valid" Nothing "no padding";
    Reflect "reflect" Nothing "padding mirrors the image";
    Replicate "replicate" Nothing "padding repeats the edge pixels";
    Circular "circular" Nothing "padding continues at the opposite side";
    Dilation "dilation" Pair "distance between the kernel's taps";
    Groups "groups" Integer "channel groups that do not see one another";
    NoBias "nobias" Nothing "no bias";
    OutputPad "output-pad" Pair "rows and columns added at the bottom and the right";
    Init "init" Init "how the weights (of bn: γ) start";
    BiasInit "bias-init" Init "how the biases (of bn: β) start";
    With "with" References "values in place of parameters of its own";
    Ceil "ceil" Nothing "round the output size up";
    ExcludePad "exclude-pad" Nothing "the padding does not count in the mean";
    Size "size" Integer "channels in a window";
    Alpha "alpha" Number "α, divided by the size";
    Beta "beta" Number "β, the exponent";
    K "k" Number "k, added to the sum";
    Eps "eps" Number "ε, added to the variance";
    Momentum "momentum" Number "how far the running statistics move at each step";
    Alone "alone" Nothing "without a fully connected layer of its own";
    Rows "rows" Nothing "of rows instead of channels";
    Columns "columns" Nothing "of columns instead of channels";
    Axis "axis" Integer "of any axis (0 = channels)";
    Step "step" Integer "distance between elements taken";
    Channels "channels" Counts "channels of zeros before and behind";
    Bilinear "bilinear" Nothing "weight the four nearest pixels instead of repeating one";
    AlignCorners "align-corners" Nothing "bilinear, corner pixels keep their values";
    Times "times" Number "factor on each element";
    Shared "shared" Nothing "divide by the number of copies";
    Single "single" Nothing "one for the whole batch instead of one an image";
    U32 "u32" Nothing "32-bit unsigned integers";
    U8 "u8" Nothing "8-bit unsigned integers";
    Weight "weight" Nothing "its role: weights (the default)";
    Bias "bias" Nothing "its role: a bias";
    Gamma "scale" Nothing "its role: a normalisation's γ";
    Shift "shift" Nothing "its role: a normalisation's β";
    Statistic "statistic" Nothing "its role: a running statistic";
    State "state" Nothing "its role: an optimiser's memory";
}

/// The roles of a parameter and their words.
pub(super) const ROLES: [(Attribute, Role); 6] = [
    (Attribute::Weight, Role::Weight),
    (Attribute::Bias, Role::Bias),
    (Attribute::Gamma, Role::Scale),
    (Attribute::Shift, Role::Shift),
    (Attribute::Statistic, Role::Statistic),
    (Attribute::State, Role::OptimiserState),
];

/// The padding modes that have a word.
pub(super) const MODES: [(Attribute, PadMode); 3] = [
    (Attribute::Reflect, PadMode::Reflect),
    (Attribute::Replicate, PadMode::Replicate),
    (Attribute::Circular, PadMode::Circular),
];

/// The element types that have a word.
pub(super) const DTYPES: [(Attribute, DType); 2] = [(Attribute::U32, DType::U32), (Attribute::U8, DType::U8)];

/// Attributes of which a layer has at most one.
pub(super) const EXCLUSIVE: &[&[Attribute]] = {
    use Attribute::*;
    &[
        &[Pad, Same, Valid],
        &[Reflect, Replicate, Circular],
        &[Rows, Columns, Axis],
        &[Weight, Bias, Gamma, Shift, Statistic, State],
        &[U32, U8],
    ]
};

/// A row of the table: a word, its spellings, and what may follow.
pub(super) struct Word {
    pub(super) kind: Kind,
    /// The first is printed.
    pub(super) names: &'static [&'static str],
    /// A kernel size may be joined to it: `conv3`.
    pub(super) sized: bool,
    /// A stride may follow after a slash: `/2`.
    pub(super) strided: bool,
    /// Its argument, joined by a dash or behind a space.
    pub(super) takes: Takes,
    /// Whether the argument must be there.
    pub(super) needs: bool,
    pub(super) attributes: &'static [Attribute],
    pub(super) example: &'static str,
    pub(super) meaning: &'static str,
}

impl Word {
    const fn new(
        kind: Kind,
        names: &'static [&'static str],
        example: &'static str,
        meaning: &'static str,
    ) -> Self {
        let (takes, attributes) = (Takes::Nothing, &[]);
        Self { kind, names, sized: false, strided: false, takes, needs: false, attributes, example, meaning }
    }
    /// With a window: a kernel size and a stride.
    const fn window(self) -> Self {
        Self { sized: true, strided: true, ..self }
    }
    const fn takes(self, takes: Takes) -> Self {
        Self { takes, ..self }
    }
    const fn needs(self, takes: Takes) -> Self {
        Self { takes, needs: true, ..self }
    }
    const fn attributes(self, attributes: &'static [Attribute]) -> Self {
        Self { attributes, ..self }
    }
    /// Whether branches in parentheses follow.
    pub(super) fn is_join(&self) -> bool {
        matches!(self.kind, Kind::Add | Kind::Multiply | Kind::Concat)
    }
}

pub(super) const WORDS: &[Word] = {
    use Attribute::*;
    &[
        Word::new(
            Kind::Conv,
            &["conv", "conv2d"],
            "conv7-64/2",
            "convolution: kernel 7×7, 64 channels, stride 2; bare: 3×3, 64 channels doubling with each pooling up to 512",
        )
        .window()
        .takes(Takes::Integer)
        .attributes(&[Pad, Same, Valid, Reflect, Replicate, Circular, Dilation, Groups, NoBias, Init, BiasInit, With]),
        Word::new(Kind::Deconv, &["deconv", "convtranspose"], "deconv4-64/2 pad 1", "transposed convolution")
            .window()
            .takes(Takes::Integer)
            .attributes(&[Pad, Same, Valid, OutputPad, Dilation, Groups, NoBias, Init, BiasInit, With]),
        Word::new(Kind::Local, &["local"], "local3-32", "locally connected: as conv, but own weights at each position")
            .window()
            .takes(Takes::Integer)
            .attributes(&[Pad, Same, Valid, Reflect, Replicate, Circular, Dilation, Groups, NoBias, Init, BiasInit, With]),
        Word::new(Kind::Fc, &["FC", "linear", "dense"], "FC-4096", "fully connected layer; a feature map is flattened first; bare: 4096")
            .takes(Takes::Integer)
            .attributes(&[NoBias, Init, BiasInit, With]),
        Word::new(Kind::MaxPool, &["maxpool", "pool", "max-pool"], "maxpool3/2", "maximum over windows of 3×3, 2 apart; bare: 2×2, 2 apart; pool? where it fits")
            .window()
            .attributes(&[Pad, Valid, Ceil]),
        Word::new(Kind::AvgPool, &["avgpool", "avg-pool"], "avgpool7/1", "mean over windows")
            .window()
            .attributes(&[Pad, Valid, Ceil, ExcludePad]),
        Word::new(Kind::GlobalAvg, &["gap", "globalavgpool"], "gap", "mean of each channel, as a 1×1 map"),
        Word::new(Kind::GlobalMax, &["gmp", "globalmaxpool"], "gmp", "greatest value of each channel, as a 1×1 map"),
        Word::new(Kind::Lrn, &["lrn", "norm"], "lrn size 5 alpha 5e-4 beta 0.75 k 2", "local response normalisation; bare: AlexNet's constants")
            .attributes(&[Size, Alpha, Beta, K]),
        Word::new(Kind::Bn, &["bn", "batchnorm", "batch-norm"], "bn eps 1e-3", "batch normalisation; bare: eps 1e-5, momentum 0.1")
            .attributes(&[Eps, Momentum, Init, BiasInit, With]),
        Word::new(Kind::Relu, &["relu"], "relu", "max(x, 0)"),
        Word::new(Kind::Leaky, &["leaky", "leakyrelu"], "leaky 0.1", "leaky ReLU with this slope; bare: 0.01")
            .takes(Takes::Number),
        Word::new(Kind::Sigmoid, &["sigmoid"], "sigmoid", "1/(1 + e^−x)"),
        Word::new(Kind::Tanh, &["tanh"], "tanh", "hyperbolic tangent"),
        Word::new(Kind::Softmax, &["softmax", "soft-max"], "softmax", "class probabilities; behind a feature map, an activation or dropout it brings its own FC to the number of classes")
            .attributes(&[Alone]),
        Word::new(Kind::LogSoftmax, &["logsoftmax", "log-softmax"], "logsoftmax", "logarithm of softmax")
            .attributes(&[Alone]),
        Word::new(Kind::Dropout, &["dropout", "drop"], "dropout 0.5", "dropout with this probability; bare: 0.5")
            .takes(Takes::Number),
        Word::new(Kind::Flatten, &["flatten"], "flatten", "all elements in one dimension"),
        Word::new(Kind::Reshape, &["reshape"], "reshape 64x7x7", "other dimensions").needs(Takes::Dims),
        Word::new(Kind::Add, &["add"], "add( conv3-64 - bn | identity )", "sum of two branches (residual)"),
        Word::new(Kind::Multiply, &["multiply", "mul"], "multiply( sigmoid | identity )", "product of two branches"),
        Word::new(Kind::Concat, &["concat"], "concat( conv1-64 | conv3-64 | conv5-32 )", "channels of the branches side by side (inception)"),
        Word::new(Kind::Identity, &["identity"], "identity", "nothing: the value as it is; an empty branch"),
        Word::new(Kind::Scale, &["scale"], "scale 0.5", "multiplication by a constant").needs(Takes::Number),
        Word::new(Kind::Slice, &["slice"], "slice 0..32 rows step 2", "a part of the channels, rows or columns")
            .needs(Takes::Range)
            .attributes(&[Rows, Columns, Axis, Step]),
        Word::new(Kind::Pad, &["pad"], "pad 1 channels 8+8", "padding as a layer, of channels too")
            .takes(Takes::Pads)
            .attributes(&[Reflect, Replicate, Circular, Channels]),
        Word::new(Kind::Upsample, &["upsample"], "upsample 64x64 bilinear", "a larger map by repetition; bare: twice the size")
            .takes(Takes::Pair)
            .attributes(&[Bilinear, AlignCorners]),
        Word::new(Kind::Sum, &["sum"], "sum 64x1x1", "sum over the dimensions that the result lacks")
            .needs(Takes::Dims)
            .attributes(&[Times, Single, U32, U8]),
        Word::new(Kind::Mean, &["mean"], "mean 64x1x1", "mean over them").needs(Takes::Dims).attributes(&[Times, Single, U32, U8]),
        Word::new(Kind::Expand, &["expand"], "expand 64x7x7", "repetition to larger dimensions")
            .needs(Takes::Dims)
            .attributes(&[Times, Shared, Single, U32, U8]),
        Word::new(Kind::Input, &["input"], "input 3x224x224", "what flows in, channels x rows x columns; named image unless told otherwise")
            .takes(Takes::Dims)
            .attributes(&[Single, U32, U8]),
        Word::new(Kind::Param, &["param"], "param 1x19x19 bias", "a parameter of its own; bare: zeros")
            .needs(Takes::Dims)
            .attributes(&[Weight, Bias, Gamma, Shift, Statistic, State, Init]),
        Word::new(Kind::Constant, &["constant"], "constant 0.5", "a constant scalar").needs(Takes::Number),
        Word::new(Kind::Network, &["network"], "network resnet18", "the network's name").needs(Takes::Name),
        Word::new(Kind::Classes, &["classes"], "classes 10", "how many classes a bare softmax tells apart; without it 1000")
            .needs(Takes::Integer),
        Word::new(Kind::Init, &["init"], "init he-out", "how weights start from here on; without it he").needs(Takes::Init),
        Word::new(Kind::BiasInit, &["bias-init"], "bias-init 0.1", "how biases start from here on; without it 0")
            .needs(Takes::Init),
        Word::new(Kind::Aux, &["aux"], "aux aux1( gap - FC-10 - softmax )", "a head for training only, beside the main path")
            .needs(Takes::Name),
        Word::new(Kind::Output, &["output"], "output main", "declares an output here; without any, the last value is the output")
            .takes(Takes::Name),
    ]
};

/// The row of a spelling, in lower case.
pub(super) fn find(name: &str) -> Option<&'static Word> {
    WORDS.iter().find(|word| word.names.iter().any(|n| n.eq_ignore_ascii_case(name)))
}

impl Kind {
    pub(super) fn word(self) -> &'static Word {
        WORDS.iter().find(|word| word.kind == self).expect("every kind has a row")
    }
}

/// The words with a dash in them, which the lexer keeps whole.
pub(super) fn hyphenated() -> impl Iterator<Item = &'static str> {
    let layers = WORDS.iter().flat_map(|word| word.names).copied();
    let attributes = Attribute::ALL.iter().map(|attribute| attribute.row().0);
    layers.chain(attributes).chain(["he-in", "he-out"]).filter(|name| name.contains('-'))
}

/// The candidate nearest to a misspelt `word`, where one is near.
pub(super) fn nearest<'a>(word: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    const LONGEST: usize = 40;
    let word: Vec<char> = word.to_lowercase().chars().collect();
    if word.len() > LONGEST {
        return None;
    }
    let within = 1 + word.len() / 4;
    candidates
        .filter(|candidate| candidate.len() <= LONGEST)
        .map(|candidate| (distance(&word, &candidate.to_lowercase().chars().collect::<Vec<_>>()), candidate))
        .filter(|(distance, candidate)| *distance <= within && *distance < candidate.len())
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Insertions, deletions, substitutions and swaps of neighbours from `a` to `b`.
fn distance(a: &[char], b: &[char]) -> usize {
    let mut rows = vec![vec![0; b.len() + 1]; a.len() + 1];
    for i in 0..=a.len() {
        for j in 0..=b.len() {
            rows[i][j] = if i == 0 || j == 0 {
                i + j
            } else {
                let substituted = rows[i - 1][j - 1] + (a[i - 1] != b[j - 1]) as usize;
                let best = substituted.min(rows[i - 1][j] + 1).min(rows[i][j - 1] + 1);
                if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                    best.min(rows[i - 2][j - 2] + 1)
                } else {
                    best
                }
            };
        }
    }
    rows[a.len()][b.len()]
}
