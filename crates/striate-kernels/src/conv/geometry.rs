//! The geometry of a two-dimensional convolution, and the problem string that names it.

use std::fmt;
use std::str::FromStr;

/// The greatest value any field of a geometry may have.
pub const MAX_EXTENT: usize = 1 << 24;
/// The greatest number of elements the source, the weights or the destination may have.
pub const MAX_ELEMENTS: u64 = 1 << 31;

/// The most phases that the gradient of a strided convolution's source is computed in.
pub const MAX_PHASES: usize = 1 << 14;

/// A two-dimensional convolution: what is convolved with what, in numbers.
///
/// # Shapes
/// source (n, ic, ih, iw), weights (oc, ic / groups, kh, kw), destination (n, oc, oh, ow).
///
/// A fully connected layer is the case ih = iw = kh = kw = 1.
///
/// Its string form, the problem string, is what tests, benchmarks, logs and the command line accept:
/// `n16 ic64 ih56 iw56 oc64 kh3 kw3 sh1 sw1 ph1 pw1`. Fields may come in any order. `g` are the groups; `pt`,
/// `pb`, `pl`, `pr` take the place of `ph`, `pw` where padding is asymmetric. Absent fields default to one
/// image, one group, stride 1, dilation 1, no padding; a height alone stands for its width as well.
/// Printing leaves out all that the defaults restore.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Conv2dGeometry {
    /// Images in the batch.
    pub n: usize,
    /// Groups: source and destination channels fall into this many, convolved each with its own.
    pub groups: usize,
    /// Source channels, of all groups.
    pub ic: usize,
    /// Source height.
    pub ih: usize,
    /// Source width.
    pub iw: usize,
    /// Destination channels, of all groups.
    pub oc: usize,
    /// Kernel height, in taps.
    pub kh: usize,
    /// Kernel width, in taps.
    pub kw: usize,
    /// Vertical stride.
    pub sh: usize,
    /// Horizontal stride.
    pub sw: usize,
    /// Vertical distance of taps; 1 is none skipped.
    pub dh: usize,
    /// Horizontal distance of taps; 1 is none skipped.
    pub dw: usize,
    /// Rows of zeros above the source.
    pub pt: usize,
    /// Rows of zeros below the source.
    pub pb: usize,
    /// Columns of zeros left of the source.
    pub pl: usize,
    /// Columns of zeros right of the source.
    pub pr: usize,
}

/// Why a geometry is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GeometryError {
    /// A field that must be at least 1 is 0.
    #[error("{field} is 0: it must be at least 1")]
    Zero {
        /// The field, as in the problem string.
        field: &'static str,
    },
    /// A field is beyond [`MAX_EXTENT`].
    #[error("{field} is {value}: it must not exceed {MAX_EXTENT}")]
    Extent {
        /// The field, as in the problem string.
        field: &'static str,
        /// Its value.
        value: usize,
    },
    /// A tensor is beyond [`MAX_ELEMENTS`].
    #[error(
        "the {tensor} would have {elements} elements, of at most {MAX_ELEMENTS}: reduce the batch, the channels or the extent"
    )]
    Elements {
        /// Which tensor.
        tensor: &'static str,
        /// How many elements it would have.
        elements: u128,
    },
    /// A gradient of the source in more phases than [`MAX_PHASES`]: source lines apart in their place within a stride.
    #[error(
        "strides of {sh}x{sw} cut the gradient of the source into {phases} phases, of at most {MAX_PHASES}: reduce the stride"
    )]
    Phases {
        /// Vertical stride.
        sh: usize,
        /// Horizontal stride.
        sw: usize,
        /// How many there would be.
        phases: usize,
    },
    /// The groups do not divide the channels.
    #[error(
        "groups {groups} does not divide {channels} {side} channels: choose a common divisor of ic and oc"
    )]
    Groups {
        /// The number of groups.
        groups: usize,
        /// The number of channels.
        channels: usize,
        /// `source` or `destination`.
        side: &'static str,
    },
    /// The dilated kernel is larger than the padded source.
    #[error("the kernel spans {span} {lines}, the padded source has only {padded}: pad by {} more", span - padded)]
    KernelTooLarge {
        /// `rows` or `columns`.
        lines: &'static str,
        /// Rows or columns under the dilated kernel.
        span: u64,
        /// Rows or columns of the padded source.
        padded: u64,
    },
    /// Pixels would overlap.
    #[error(
        "{view} pixels lie {ld} elements apart, but each has {channels} channels: the distance must not be less"
    )]
    PixelDistance {
        /// `source` or `destination`.
        view: &'static str,
        /// The distance.
        ld: usize,
        /// The number of channels.
        channels: usize,
    },
}

/// Why a text is no problem string.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseGeometryError {
    /// A word is not a known field with a number.
    #[error("'{word}' is not a field with a number: write for example n16 ic64 ih56 oc64 kh3 sh1 ph1")]
    Word {
        /// The word.
        word: String,
    },
    /// A field is given twice, or padding both per axis and per side.
    #[error("'{word}' sets {field} a second time")]
    Twice {
        /// The word.
        word: String,
        /// The field that has a value already.
        field: &'static str,
    },
    /// A field without default is absent.
    #[error("{field} is missing: ic, ih, oc and kh have no default")]
    Missing {
        /// The field.
        field: &'static str,
    },
    /// The numbers do not make a convolution.
    #[error(transparent)]
    Geometry(#[from] GeometryError),
}

/// Destination lines along one axis, 0 where the kernel does not fit.
fn destination_lines(lines: usize, padding: usize, kernel: usize, stride: usize, dilation: usize) -> usize {
    let span = dilation.saturating_mul(kernel.saturating_sub(1)).saturating_add(1);
    match lines.saturating_add(padding).checked_sub(span) {
        Some(room) => room / stride.max(1) + 1,
        None => 0,
    }
}

impl Conv2dGeometry {
    /// Destination height, ⌊(ih + pt + pb − dh·(kh − 1) − 1) / sh⌋ + 1; 0 where the kernel does not fit.
    pub fn oh(&self) -> usize {
        destination_lines(self.ih, self.pt.saturating_add(self.pb), self.kh, self.sh, self.dh)
    }

    /// Destination width; see [`oh`](Self::oh).
    pub fn ow(&self) -> usize {
        destination_lines(self.iw, self.pl.saturating_add(self.pr), self.kw, self.sw, self.dw)
    }

    /// Multiply-accumulates of one pass over the batch, those on padding included.
    pub fn macs(&self) -> u64 {
        let per_element = [self.ic / self.groups.max(1), self.kh, self.kw];
        [self.n, self.oc, self.oh(), self.ow()]
            .into_iter()
            .chain(per_element)
            .fold(1, |product, factor| product.saturating_mul(factor as u64))
    }

    /// Source channels of a group.
    pub fn group_ic(&self) -> usize {
        self.ic / self.groups
    }

    /// Destination channels of a group.
    pub fn group_oc(&self) -> usize {
        self.oc / self.groups
    }

    /// Elements of the weights, oc · ic / groups · kh · kw.
    pub fn weights_len(&self) -> usize {
        self.oc * self.group_ic() * self.kh * self.kw
    }

    /// Whether the numbers make a convolution, of a size that can be computed with.
    pub fn validate(&self) -> Result<(), GeometryError> {
        let fields = FIELDS.iter().map(|field| (field.name, (field.get)(self), field.least));
        for (field, value, least) in fields {
            if value < least {
                return Err(GeometryError::Zero { field });
            }
            if value > MAX_EXTENT {
                return Err(GeometryError::Extent { field, value });
            }
        }
        for (side, channels) in [("source", self.ic), ("destination", self.oc)] {
            if channels % self.groups != 0 {
                return Err(GeometryError::Groups { groups: self.groups, channels, side });
            }
        }
        let axes = [
            ("rows", self.ih + self.pt + self.pb, self.kh, self.dh),
            ("columns", self.iw + self.pl + self.pr, self.kw, self.dw),
        ];
        for (lines, padded, kernel, dilation) in axes {
            let (span, padded) = (dilation as u64 * (kernel as u64 - 1) + 1, padded as u64);
            if span > padded {
                return Err(GeometryError::KernelTooLarge { lines, span, padded });
            }
        }
        let tensors = [
            ("source", [self.n, self.ic, self.ih, self.iw]),
            (
                "padded source of an image",
                [1, self.ic, self.ih + self.pt + self.pb, self.iw + self.pl + self.pr],
            ),
            ("weights", [self.oc, self.group_ic(), self.kh, self.kw]),
            ("destination", [self.n, self.oc, self.oh(), self.ow()]),
        ];
        for (tensor, shape) in tensors {
            let elements = shape.iter().map(|extent| *extent as u128).product();
            if elements > MAX_ELEMENTS as u128 {
                return Err(GeometryError::Elements { tensor, elements });
            }
        }
        Ok(())
    }

    /// [`validate`](Self::validate), and whether views with these pixel distances can hold the channels.
    pub(crate) fn validate_views(&self, src_ld: usize, dst_ld: usize) -> Result<(), GeometryError> {
        self.validate()?;
        for (view, ld, channels, pixels) in [
            ("source", src_ld, self.ic, self.n * self.ih * self.iw),
            ("destination", dst_ld, self.oc, self.n * self.oh() * self.ow()),
        ] {
            if ld < channels {
                return Err(GeometryError::PixelDistance { view, ld, channels });
            }
            let elements = pixels as u128 * ld as u128;
            if elements > MAX_ELEMENTS as u128 {
                return Err(GeometryError::Elements { tensor: view, elements });
            }
        }
        Ok(())
    }
}

/// A field of the geometry: its name in the problem string, where it lives, the least it may be.
struct Field {
    name: &'static str,
    get: fn(&Conv2dGeometry) -> usize,
    least: usize,
}

macro_rules! fields {
    ($($name:literal $field:ident >= $least:literal,)*) => {
        [$(Field { name: $name, get: |g| g.$field, least: $least }),*]
    };
}

/// In the order in which the problem string prints them.
const FIELDS: [Field; 16] = fields![
    "n" n >= 1, "g" groups >= 1, "ic" ic >= 1, "ih" ih >= 1, "iw" iw >= 1, "oc" oc >= 1,
    "kh" kh >= 1, "kw" kw >= 1, "sh" sh >= 1, "sw" sw >= 1, "dh" dh >= 1, "dw" dw >= 1,
    "pt" pt >= 0, "pb" pb >= 0, "pl" pl >= 0, "pr" pr >= 0,
];

impl fmt::Display for Conv2dGeometry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut words = Vec::new();
        let mut put = |name: &str, value: usize, default: usize| {
            if value != default {
                words.push(format!("{name}{value}"));
            }
        };
        // No value is beyond `MAX_EXTENT`, so that as a default it always prints.
        const ALWAYS: usize = usize::MAX;
        put("n", self.n, 1);
        put("g", self.groups, 1);
        put("ic", self.ic, ALWAYS);
        put("ih", self.ih, ALWAYS);
        put("iw", self.iw, self.ih);
        put("oc", self.oc, ALWAYS);
        put("kh", self.kh, ALWAYS);
        put("kw", self.kw, self.kh);
        put("sh", self.sh, 1);
        put("sw", self.sw, self.sh);
        put("dh", self.dh, 1);
        put("dw", self.dw, self.dh);
        let vertical = (self.pt == self.pb).then_some(self.pt);
        match vertical {
            Some(ph) => put("ph", ph, 0),
            None => {
                put("pt", self.pt, 0);
                put("pb", self.pb, 0);
            }
        }
        if self.pl == self.pr {
            put("pw", self.pl, vertical.unwrap_or(0));
        } else {
            // `ph` would imply a `pw`; naming a side at 0 too keeps it from doing so.
            let default = if vertical.unwrap_or(0) == 0 { 0 } else { ALWAYS };
            put("pl", self.pl, default);
            put("pr", self.pr, default);
        }
        f.pad(&words.join(" "))
    }
}

impl FromStr for Conv2dGeometry {
    type Err = ParseGeometryError;

    fn from_str(text: &str) -> Result<Self, ParseGeometryError> {
        let mut values = [None; FIELDS.len()];
        let index = |name: &str| FIELDS.iter().position(|field| field.name == name);
        let (mut ph, mut pw) = (None, None);
        for word in text.split_whitespace() {
            let unknown = || ParseGeometryError::Word { word: word.to_owned() };
            let digits = word.find(|c: char| c.is_ascii_digit()).ok_or_else(unknown)?;
            let (name, number) = word.split_at(digits);
            let number: usize = number.parse().map_err(|_| unknown())?;
            let sides: &[&str] = match name {
                "ph" => &["pt", "pb"],
                "pw" => &["pl", "pr"],
                _ => &[name],
            };
            for side in sides {
                let field = index(side).ok_or_else(unknown)?;
                if values[field].replace(number).is_some() {
                    return Err(ParseGeometryError::Twice {
                        word: word.to_owned(),
                        field: FIELDS[field].name,
                    });
                }
            }
            match name {
                "ph" => ph = Some(number),
                "pw" => pw = Some(number),
                _ => {}
            }
        }
        let given = |name: &str| index(name).and_then(|field| values[field]);
        let required = |name: &'static str| given(name).ok_or(ParseGeometryError::Missing { field: name });
        let (ih, kh) = (required("ih")?, required("kh")?);
        let (sh, dh) = (given("sh").unwrap_or(1), given("dh").unwrap_or(1));
        let implied_pw =
            if pw.is_none() && given("pl").is_none() && given("pr").is_none() { ph } else { None };
        let g = Self {
            n: given("n").unwrap_or(1),
            groups: given("g").unwrap_or(1),
            ic: required("ic")?,
            ih,
            iw: given("iw").unwrap_or(ih),
            oc: required("oc")?,
            kh,
            kw: given("kw").unwrap_or(kh),
            sh,
            sw: given("sw").unwrap_or(sh),
            dh,
            dw: given("dw").unwrap_or(dh),
            pt: given("pt").unwrap_or(0),
            pb: given("pb").unwrap_or(0),
            pl: given("pl").or(implied_pw).unwrap_or(0),
            pr: given("pr").or(implied_pw).unwrap_or(0),
        };
        g.validate()?;
        Ok(g)
    }
}
