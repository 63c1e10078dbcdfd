//! The words of the notation in one table: what the parser knows, the printer writes and the reference lists.

use crate::ops::{ActivationKind, BinaryKind, Coordinates, FoldKind, PadMode, Padding, Role, Rounding};
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
    Relu6,
    Clip,
    Leaky,
    Elu,
    Selu,
    Celu,
    Thresholded,
    Sigmoid,
    HardSigmoid,
    Tanh,
    Swish,
    HardSwish,
    Mish,
    Gelu,
    GeluTanh,
    Softplus,
    Softsign,
    Exp,
    Log,
    Sqrt,
    Reciprocal,
    Abs,
    Erf,
    Sign,
    Floor,
    Ceil,
    Round,
    Softmax,
    LogSoftmax,
    Dropout,
    Flatten,
    Reshape,
    Add,
    Multiply,
    Subtract,
    Divide,
    Power,
    Minimum,
    Maximum,
    Equal,
    Less,
    Greater,
    Prelu,
    Where,
    MatMul,
    Concat,
    Identity,
    Scale,
    Slice,
    Flip,
    Permute,
    Tile,
    Pad,
    PadAxis,
    Upsample,
    Resize,
    DepthToSpace,
    SpaceToDepth,
    Sum,
    Mean,
    Max,
    Min,
    Product,
    ArgMax,
    ArgMin,
    Expand,
    Standardize,
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
    Alpha "alpha" Number "α: of lrn divided by the size, else the function's constant";
    Beta "beta" Number "β: of lrn the exponent, else the function's constant";
    Factor "gamma" Number "γ, the function's factor";
    Least "min" Number "the least result; without it unbounded";
    Greatest "max" Number "the greatest result; without it unbounded";
    K "k" Number "k, added to the sum";
    Eps "eps" Number "ε, added to the variance";
    Momentum "momentum" Number "how far the running statistics move at each step";
    Alone "alone" Nothing "without a fully connected layer of its own";
    Rows "rows" Nothing "of rows instead of channels";
    Columns "columns" Nothing "of columns instead of channels";
    Axis "axis" Integer "of any axis (0 = channels)";
    Axes "axes" Dims "of these axes together: 1x2 is rows and columns";
    Last "last" Nothing "the last of equals instead of the first";
    Value "value" Number "what the padding holds instead of zeros";
    Crd "crd" Nothing "the pixels of a channel side by side, else the channels of a pixel";
    LeftTransposed "left-transposed" Nothing "the left side's matrices are given transposed";
    RightTransposed "right-transposed" Nothing "the right side's matrices are given transposed";
    Step "step" Integer "distance between elements taken";
    Channels "channels" Counts "channels of zeros before and behind";
    Bilinear "bilinear" Nothing "weight the four nearest pixels instead of repeating one";
    AlignCorners "align-corners" Nothing "the outermost pixels keep their places; of upsample: bilinear";
    By "by" Number "the factor that positions are divided by, instead of the quotient of sizes";
    Linear "linear" Nothing "weight the two nearest instead of repeating one";
    Cubic "cubic" Number "weight the four nearest by Keys' kernel with this constant: -0.75";
    ExcludeOutside "exclude-outside" Nothing "cubic, without what lies beyond the ends";
    HalfUp "half-up" Nothing "of two equally near the greater instead of the lesser";
    Down "down" Nothing "always the lesser of the two around";
    Up "up" Nothing "always the greater of the two around";
    Pytorch "pytorch" Nothing "positions as by default, but 0 of a single element";
    Symmetric "symmetric" Nothing "positions about the middle";
    Asymmetric "asymmetric" Nothing "positions counted from the first element's";
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

/// The functions of one element that have no constants, and their words.
pub(super) const FUNCTIONS: &[(Kind, ActivationKind)] = &[
    (Kind::Relu, ActivationKind::Relu),
    (Kind::Relu6, ActivationKind::Clip { min: 0.0, max: 6.0 }),
    (Kind::Sigmoid, ActivationKind::Sigmoid),
    (Kind::Tanh, ActivationKind::Tanh),
    (Kind::HardSwish, ActivationKind::HardSwish),
    (Kind::Mish, ActivationKind::Mish),
    (Kind::Gelu, ActivationKind::Gelu),
    (Kind::GeluTanh, ActivationKind::GeluTanh),
    (Kind::Softplus, ActivationKind::Softplus),
    (Kind::Softsign, ActivationKind::Softsign),
    (Kind::Exp, ActivationKind::Exp),
    (Kind::Log, ActivationKind::Log),
    (Kind::Sqrt, ActivationKind::Sqrt),
    (Kind::Reciprocal, ActivationKind::Reciprocal),
    (Kind::Abs, ActivationKind::Abs),
    (Kind::Erf, ActivationKind::Erf),
    (Kind::Sign, ActivationKind::Sign),
    (Kind::Floor, ActivationKind::Floor),
    (Kind::Ceil, ActivationKind::Ceil),
    (Kind::Round, ActivationKind::Round),
];

/// The functions of two elements and their words.
pub(super) const BINARIES: [(Kind, BinaryKind); BinaryKind::ALL.len()] = [
    (Kind::Add, BinaryKind::Add),
    (Kind::Multiply, BinaryKind::Multiply),
    (Kind::Subtract, BinaryKind::Subtract),
    (Kind::Divide, BinaryKind::Divide),
    (Kind::Power, BinaryKind::Power),
    (Kind::Minimum, BinaryKind::Minimum),
    (Kind::Maximum, BinaryKind::Maximum),
    (Kind::Equal, BinaryKind::Equal),
    (Kind::Less, BinaryKind::Less),
    (Kind::Greater, BinaryKind::Greater),
    (Kind::Prelu, BinaryKind::Prelu),
];

/// What combines elements along axes, and its word.
pub(super) const FOLDS: [(Kind, FoldKind); FoldKind::ALL.len()] =
    [(Kind::Max, FoldKind::Max), (Kind::Min, FoldKind::Min), (Kind::Product, FoldKind::Product)];

/// The ways to round a position, but the usual one, and their words.
pub(super) const ROUNDINGS: [(Attribute, Rounding); 3] =
    [(Attribute::HalfUp, Rounding::HalfUp), (Attribute::Down, Rounding::Down), (Attribute::Up, Rounding::Up)];

/// The coordinates of a resizing, but the usual ones, and their words.
pub(super) const COORDINATES: [(Attribute, Coordinates); 4] = [
    (Attribute::Pytorch, Coordinates::PytorchHalfPixel),
    (Attribute::Symmetric, Coordinates::HalfPixelSymmetric),
    (Attribute::AlignCorners, Coordinates::AlignCorners),
    (Attribute::Asymmetric, Coordinates::Asymmetric),
];

/// Attributes of which a layer has at most one.
pub(super) const EXCLUSIVE: &[&[Attribute]] = {
    use Attribute::*;
    &[
        &[Pad, Same, Valid],
        &[Reflect, Replicate, Circular],
        &[Rows, Columns, Axis],
        &[Linear, Cubic, HalfUp, Down, Up],
        &[Linear, ExcludeOutside],
        &[AlignCorners, Pytorch, Symmetric, Asymmetric],
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
        let others = matches!(self.kind, Kind::Concat | Kind::Where | Kind::MatMul);
        others || BINARIES.iter().any(|(kind, _)| *kind == self.kind)
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
        Word::new(Kind::Relu6, &["relu6"], "relu6", "x between 0 and 6"),
        Word::new(Kind::Clip, &["clip", "clamp"], "clip min -1 max 1", "x within bounds").attributes(&[Least, Greatest]),
        Word::new(Kind::Elu, &["elu"], "elu 0.5", "x, or α·(e^x − 1) where negative; bare: 1").takes(Takes::Number),
        Word::new(Kind::Selu, &["selu"], "selu alpha 2 gamma 3", "γ·ELU; bare: 1.67326 and 1.0507, which keep mean and variance")
            .attributes(&[Alpha, Factor]),
        Word::new(Kind::Celu, &["celu"], "celu 0.5", "x, or α·(e^(x/α) − 1) where negative; bare: 1").takes(Takes::Number),
        Word::new(Kind::Thresholded, &["thresholdedrelu"], "thresholdedrelu 0.5", "x where greater than this, else 0; bare: 1")
            .takes(Takes::Number),
        Word::new(Kind::Sigmoid, &["sigmoid"], "sigmoid", "1/(1 + e^−x)"),
        Word::new(Kind::HardSigmoid, &["hardsigmoid"], "hardsigmoid alpha 0.25 beta 0.5", "α·x + β between 0 and 1; bare: 1/6 and 0.5")
            .attributes(&[Alpha, Beta]),
        Word::new(Kind::Tanh, &["tanh"], "tanh", "hyperbolic tangent"),
        Word::new(Kind::Swish, &["silu", "swish"], "silu", "x·sigmoid(α·x); bare: 1").attributes(&[Alpha]),
        Word::new(Kind::HardSwish, &["hardswish", "hswish"], "hardswish", "x·(x/6 + ½ between 0 and 1)"),
        Word::new(Kind::Mish, &["mish"], "mish", "x·tanh(softplus x)"),
        Word::new(Kind::Gelu, &["gelu"], "gelu", "x·Φ(x), with the normal distribution's Φ"),
        Word::new(Kind::GeluTanh, &["gelu-tanh"], "gelu-tanh", "gelu, approximated by tanh"),
        Word::new(Kind::Softplus, &["softplus"], "softplus", "ln(1 + e^x)"),
        Word::new(Kind::Softsign, &["softsign"], "softsign", "x/(1 + |x|)"),
        Word::new(Kind::Exp, &["exp"], "exp", "e^x"),
        Word::new(Kind::Log, &["log", "ln"], "log", "natural logarithm"),
        Word::new(Kind::Sqrt, &["sqrt"], "sqrt", "square root"),
        Word::new(Kind::Reciprocal, &["reciprocal"], "reciprocal", "1/x"),
        Word::new(Kind::Abs, &["abs"], "abs", "|x|"),
        Word::new(Kind::Erf, &["erf"], "erf", "error function"),
        Word::new(Kind::Sign, &["sign"], "sign", "-1, 0 or 1"),
        Word::new(Kind::Floor, &["floor"], "floor", "greatest integer that is not greater"),
        Word::new(Kind::Ceil, &["ceil"], "ceil", "least integer that is not less"),
        Word::new(Kind::Round, &["round"], "round", "nearest integer, the even one of two"),
        Word::new(Kind::Softmax, &["softmax", "soft-max"], "softmax", "class probabilities; behind a feature map, an activation or dropout it brings its own FC to the number of classes")
            .attributes(&[Alone, Rows, Columns, Axis]),
        Word::new(Kind::LogSoftmax, &["logsoftmax", "log-softmax"], "logsoftmax", "logarithm of softmax")
            .attributes(&[Alone, Rows, Columns, Axis]),
        Word::new(Kind::Dropout, &["dropout", "drop"], "dropout 0.5", "dropout with this probability; bare: 0.5")
            .takes(Takes::Number),
        Word::new(Kind::Flatten, &["flatten"], "flatten", "all elements in one dimension"),
        Word::new(Kind::Reshape, &["reshape"], "reshape 64x7x7", "other dimensions").needs(Takes::Dims),
        Word::new(Kind::Add, &["add"], "add( conv3-64 - bn | identity )", "sum of two branches (residual)"),
        Word::new(Kind::Multiply, &["multiply", "mul"], "multiply( sigmoid | identity )", "product of two branches"),
        Word::new(Kind::Subtract, &["subtract", "sub"], "subtract( identity | gap )", "difference of two branches"),
        Word::new(Kind::Divide, &["divide", "div"], "divide( identity | gmp )", "quotient of two branches"),
        Word::new(Kind::Power, &["power", "pow"], "power( identity | constant 3 )", "the first branch to the power of the second"),
        Word::new(Kind::Minimum, &["minimum"], "minimum( identity | constant 1 )", "the lesser of two branches"),
        Word::new(Kind::Maximum, &["maximum"], "maximum( conv3-64 | conv5-64 )", "the greater of two branches"),
        Word::new(Kind::Equal, &["equal"], "equal( identity | gmp )", "1 where two branches are equal, else 0"),
        Word::new(Kind::Less, &["less"], "less( identity | gap )", "1 where the first branch is less, else 0"),
        Word::new(Kind::Greater, &["greater"], "greater( identity | gap )", "1 where the first branch is greater, else 0"),
        Word::new(Kind::Prelu, &["prelu"], "prelu( identity | param 64x1x1 init 0.25 )", "the first branch, times the second where negative"),
        Word::new(Kind::Where, &["where"], "where( greater( identity | gap ) | identity | gap )", "the second branch where the first is not 0, else the third"),
        Word::new(Kind::MatMul, &["matmul"], "matmul( reshape 64x49 | reshape 64x49 ) right-transposed", "product of matrices, the last two axes of two branches")
            .attributes(&[LeftTransposed, RightTransposed]),
        Word::new(Kind::Concat, &["concat"], "concat( conv1-64 | conv3-64 | conv5-32 )", "channels of the branches side by side (inception)")
            .attributes(&[Rows, Columns, Axis]),
        Word::new(Kind::Identity, &["identity"], "identity", "nothing: the value as it is; an empty branch"),
        Word::new(Kind::Scale, &["scale"], "scale 0.5", "multiplication by a constant").needs(Takes::Number),
        Word::new(Kind::Slice, &["slice"], "slice 0..32 rows step 2", "a part of the channels, rows or columns")
            .needs(Takes::Range)
            .attributes(&[Rows, Columns, Axis, Step]),
        Word::new(Kind::Flip, &["flip"], "flip columns", "channels, rows or columns in reverse").attributes(&[Rows, Columns, Axis]),
        Word::new(Kind::Permute, &["permute", "transpose"], "permute 1x2x0", "the axes in another order").needs(Takes::Dims),
        Word::new(Kind::Tile, &["tile"], "tile-2 rows", "channels, rows or columns several times over")
            .needs(Takes::Integer)
            .attributes(&[Rows, Columns, Axis]),
        Word::new(Kind::PadAxis, &["pad-axis"], "pad-axis 0+3 axis 1 value 1", "padding of one axis of any value")
            .needs(Takes::Counts)
            .attributes(&[Rows, Columns, Axis, Reflect, Replicate, Circular, Value]),
        Word::new(Kind::Pad, &["pad"], "pad 1 channels 8+8", "padding as a layer, of channels too")
            .takes(Takes::Pads)
            .attributes(&[Reflect, Replicate, Circular, Channels]),
        Word::new(Kind::Upsample, &["upsample"], "upsample 64x64 bilinear", "a larger map by repetition; bare: twice the size")
            .takes(Takes::Pair)
            .attributes(&[Bilinear, AlignCorners]),
        Word::new(Kind::Resize, &["resize"], "resize-13 rows cubic -0.75", "any number of channels, rows or columns; bare: the nearest repeated")
            .needs(Takes::Integer)
            .attributes(&[
                Rows, Columns, Axis, By, Linear, Cubic, ExcludeOutside, HalfUp, Down, Up, AlignCorners, Pytorch, Symmetric,
                Asymmetric,
            ]),
        Word::new(Kind::DepthToSpace, &["depthtospace"], "depthtospace-2 crd", "channels to blocks of pixels (pixel shuffle)")
            .needs(Takes::Integer)
            .attributes(&[Crd]),
        Word::new(Kind::SpaceToDepth, &["spacetodepth"], "spacetodepth-2", "blocks of pixels to channels")
            .needs(Takes::Integer)
            .attributes(&[Crd]),
        Word::new(Kind::Sum, &["sum"], "sum 64x1x1", "sum over the dimensions that the result lacks")
            .needs(Takes::Dims)
            .attributes(&[Times, Single, U32, U8]),
        Word::new(Kind::Mean, &["mean"], "mean 64x1x1", "mean over them").needs(Takes::Dims).attributes(&[Times, Single, U32, U8]),
        Word::new(Kind::Max, &["max"], "max axes 1x2", "greatest element along axes; bare: along all").attributes(&[Axes]),
        Word::new(Kind::Min, &["min"], "min axes 0", "least element along axes; bare: along all").attributes(&[Axes]),
        Word::new(Kind::Product, &["product", "prod"], "product axes 0", "product of elements along axes; bare: along all").attributes(&[Axes]),
        Word::new(Kind::ArgMax, &["argmax"], "argmax", "index of the greatest channel, row or column").attributes(&[Rows, Columns, Axis, Last]),
        Word::new(Kind::ArgMin, &["argmin"], "argmin rows", "index of the least").attributes(&[Rows, Columns, Axis, Last]),
        Word::new(Kind::Standardize, &["standardize"], "standardize axes 1x2 eps 1e-5", "mean 0 and variance 1 along axes; bare: rows and columns (instance norm), eps 1e-5")
            .attributes(&[Axes, Eps]),
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
