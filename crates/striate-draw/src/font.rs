//! The letters, and how much room they take.

use ab_glyph::{Font, FontRef, Glyph, PxScale, ScaleFont, point};
use std::sync::LazyLock;

/// How heavy letters are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Weight {
    /// For most words.
    #[default]
    Regular,
    /// For titles.
    SemiBold,
}

static REGULAR: LazyLock<FontRef<'static>> =
    LazyLock::new(|| face(include_bytes!("../assets/inter/Inter-Regular.ttf")));
static SEMI_BOLD: LazyLock<FontRef<'static>> =
    LazyLock::new(|| face(include_bytes!("../assets/inter/Inter-SemiBold.ttf")));

fn face(bytes: &'static [u8]) -> FontRef<'static> {
    FontRef::try_from_slice(bytes).expect("the font inside the program")
}

fn font(weight: Weight) -> &'static FontRef<'static> {
    match weight {
        Weight::Regular => &REGULAR,
        Weight::SemiBold => &SEMI_BOLD,
    }
}

/// The scale at which the em is `size` pixels.
fn scale(font: &FontRef, size: f32) -> PxScale {
    PxScale::from(size * font.height_unscaled() / font.units_per_em().unwrap_or(1000.0))
}

/// Pixels across of `text` in letters of `size` pixels (the em).
pub fn text_width(text: &str, size: f32, weight: Weight) -> f32 {
    let font = font(weight);
    let scaled = font.as_scaled(scale(font, size));
    text.chars().map(|c| scaled.h_advance(font.glyph_id(c))).sum()
}

/// As much of `text` as is `width` pixels wide, with an ellipsis where it does not fit.
pub fn shortened(text: &str, width: f32, size: f32, weight: Weight) -> String {
    if text_width(text, size, weight) <= width {
        return text.into();
    }
    let font = font(weight);
    let scaled = font.as_scaled(scale(font, size));
    let mut room = width - scaled.h_advance(font.glyph_id('…'));
    let mut kept = String::new();
    for c in text.chars() {
        room -= scaled.h_advance(font.glyph_id(c));
        if room < 0.0 {
            break;
        }
        kept.push(c);
    }
    kept.truncate(kept.trim_end().len());
    kept.push('…');
    kept
}

/// Calls `ink` with column, row and coverage (0 to 1) of every pixel that `text` touches, its baseline beginning at
/// the origin.
pub(crate) fn rasterise(text: &str, size: f32, weight: Weight, mut ink: impl FnMut(i32, i32, f32)) {
    let font = font(weight);
    let scale = scale(font, size);
    let scaled = font.as_scaled(scale);
    let mut x = 0.0;
    for c in text.chars() {
        let id = font.glyph_id(c);
        let glyph = Glyph { id, scale, position: point(x, 0.0) };
        x += scaled.h_advance(id);
        if let Some(outline) = font.outline_glyph(glyph) {
            let bounds = outline.px_bounds();
            let (left, top) = (bounds.min.x as i32, bounds.min.y as i32);
            outline.draw(|x, y, coverage| ink(left + x as i32, top + y as i32, coverage.min(1.0)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn widths_grow_with_size_and_letters() {
        let width = text_width("accuracy", 10.0, Weight::Regular);
        assert!((text_width("accuracy", 20.0, Weight::Regular) - 2.0 * width).abs() < 1e-3);
        assert!(text_width("accuracy", 10.0, Weight::SemiBold) > width);
        assert!(width > 30.0 && width < 60.0, "{width}");
        assert_eq!(text_width("", 10.0, Weight::Regular), 0.0);
    }

    #[test]
    fn what_does_not_fit_ends_in_an_ellipsis() {
        let fits = |width| shortened("golden retriever", width, 11.0, Weight::Regular);
        assert_eq!(fits(200.0), "golden retriever");
        let short = fits(50.0);
        assert!(
            short.ends_with('…') && "golden retriever".starts_with(short.trim_end_matches('…')),
            "{short}"
        );
        assert!(text_width(&short, 11.0, Weight::Regular) <= 50.0);
        assert_eq!(fits(0.0), "…");
    }

    #[test]
    fn signs_that_charts_need_are_there() {
        for weight in [Weight::Regular, Weight::SemiBold] {
            for c in "→×−…≤·≥äöüéß%10".chars() {
                assert_ne!(font(weight).glyph_id(c).0, 0, "{c}");
            }
        }
        let mut ink = 0.0;
        rasterise("loss", 20.0, Weight::Regular, |_, y, coverage| {
            assert!((0.0..=1.0).contains(&coverage) && (-20..=6).contains(&y));
            ink += coverage;
        });
        assert!(ink > 40.0, "{ink}");
    }
}
