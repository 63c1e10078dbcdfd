//! How parameters start.

/// Which side's number of connections a scaled initialisation keeps the variance for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fan {
    /// Inputs of a unit: keeps activations' variance going forward.
    In,
    /// Outputs a unit feeds: keeps gradients' variance going backward.
    Out,
}

/// The distribution a parameter is drawn from before training.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Init {
    /// All elements the same.
    Constant(f32),
    /// Normal with mean 0 and the given standard deviation (AlexNet: 0.01).
    Normal {
        /// Standard deviation.
        std: f32,
    },
    /// Normal with standard deviation √(2 / fan): for layers followed by ReLU (He et al. 2015, section 2.2).
    HeNormal(Fan),
    /// Uniform in ±√(6 / (fan_in + fan_out)) (Glorot and Bengio 2010, equation 16).
    XavierUniform,
    /// Uniform in ±1/√fan_in: LeCun's rule, and what PyTorch gives a layer by default.
    LecunUniform,
}

impl Init {
    /// All zeros.
    pub const ZEROS: Init = Init::Constant(0.0);
    /// All ones.
    pub const ONES: Init = Init::Constant(1.0);
}

/// `(fan_in, fan_out)` of a weight tensor: (out, in, kh, kw), (out, in), or locally connected (positions, out, in, kh, kw).
///
/// As PyTorch counts them: of a transposed convolution's (in, out/groups, kh, kw) the second dimension is the fan in, and
/// groups do not lessen the fan out.
pub fn fans(dims: &[usize]) -> (usize, usize) {
    match dims {
        [] => (1, 1),
        [n] => (*n, *n),
        [_positions, out, input, window @ ..] if window.len() == 2 => {
            let window: usize = window.iter().product();
            (input * window, out * window)
        }
        [out, input, window @ ..] => {
            let window: usize = window.iter().product();
            (input * window, out * window)
        }
    }
}
