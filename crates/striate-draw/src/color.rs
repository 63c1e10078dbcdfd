//! Colours.

/// Red, green, blue and opacity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Color(pub [u8; 4]);

/// The colours of series, told apart by eyes that do not see all colours: Okabe and Ito's, without black and with a
/// darker yellow, the most distant first.
pub const PALETTE: [Color; 7] = [
    Color::rgb(0x00, 0x72, 0xb2),
    Color::rgb(0xd5, 0x5e, 0x00),
    Color::rgb(0x00, 0x9e, 0x73),
    Color::rgb(0xcc, 0x79, 0xa7),
    Color::rgb(0x56, 0xb4, 0xe9),
    Color::rgb(0xe6, 0x9f, 0x00),
    Color::rgb(0x7a, 0x6a, 0x00),
];

impl Color {
    /// The ground.
    pub const PAPER: Color = Color::rgb(0xff, 0xff, 0xff);
    /// Words that are to be read.
    pub const INK: Color = Color::rgb(0x1f, 0x23, 0x28);
    /// Words that stand back.
    pub const PALE_INK: Color = Color::rgb(0x59, 0x63, 0x6e);
    /// Lines that help the eye.
    pub const GRID: Color = Color::rgb(0xe4, 0xe7, 0xeb);
    /// Axes and frames.
    pub const FRAME: Color = Color::rgb(0xa9, 0xb1, 0xba);

    /// An opaque colour.
    pub const fn rgb(red: u8, green: u8, blue: u8) -> Self {
        Color([red, green, blue, 255])
    }

    /// The same with an opacity from 0 to 1.
    pub fn with_opacity(self, opacity: f32) -> Self {
        let Color([r, g, b, _]) = self;
        Color([r, g, b, (opacity.clamp(0.0, 1.0) * 255.0).round() as u8])
    }

    /// The part `t` (0 to 1) of the way to `other`.
    pub fn mix(self, other: Color, t: f32) -> Self {
        let t = t.clamp(0.0, 1.0);
        Color(std::array::from_fn(|i| (self.0[i] as f32 * (1.0 - t) + other.0[i] as f32 * t).round() as u8))
    }

    /// How bright it looks, from 0 to 1.
    pub fn luminance(self) -> f32 {
        let [r, g, b, _] = self.0.map(|level| level as f32 / 255.0);
        0.2126 * r + 0.7152 * g + 0.0722 * b
    }

    /// As SVG and HTML write it, without the opacity.
    pub fn hex(self) -> String {
        let [r, g, b, _] = self.0;
        format!("#{r:02x}{g:02x}{b:02x}")
    }

    /// From 0 to 1.
    pub fn opacity(self) -> f32 {
        self.0[3] as f32 / 255.0
    }
}
