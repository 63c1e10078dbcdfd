//! A scene as SVG.

use crate::color::Color;
use crate::error::DrawError;
use crate::font::Weight;
use crate::scene::{Anchor, Item, Scene, Text};
use std::fmt::Write;

/// Where there is no Inter, what is like it.
const FAMILY: &str = "Inter, 'Helvetica Neue', Arial, sans-serif";

/// The scene as a file.
pub(crate) fn write(scene: &Scene) -> Result<String, DrawError> {
    let (width, height) = (number(scene.width), number(scene.height));
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" \
         viewBox=\"0 0 {width} {height}\" role=\"img\" font-family=\"{FAMILY}\">\n<title>{}</title>\n",
        escaped(&scene.description)
    );
    for item in &scene.items {
        out += &element(item)?;
        out.push('\n');
    }
    out += "</svg>\n";
    Ok(out)
}

fn element(item: &Item) -> Result<String, DrawError> {
    Ok(match item {
        Item::Rect { at, radius, fill } => {
            let round = if *radius > 0.0 { format!(" rx=\"{}\"", number(*radius)) } else { String::new() };
            format!("<rect {}{round}{}/>", place(at), paint("fill", *fill))
        }
        Item::Line { points, width, color, dash } => {
            let mut list = String::new();
            for [x, y] in points.iter().filter(|[x, y]| x.is_finite() && y.is_finite()) {
                let _ = write!(list, "{},{} ", number(*x), number(*y));
            }
            let dash = dash.map_or(String::new(), |[on, off]| {
                format!(" stroke-dasharray=\"{} {}\"", number(on), number(off))
            });
            format!(
                "<polyline points=\"{}\" fill=\"none\"{} stroke-width=\"{}\" stroke-linecap=\"round\" \
                 stroke-linejoin=\"round\"{dash}/>",
                list.trim_end(),
                paint("stroke", *color),
                number(*width)
            )
        }
        Item::Dot { at: [x, y], radius, fill } => {
            let (x, y, radius) = (number(*x), number(*y), number(*radius));
            format!("<circle cx=\"{x}\" cy=\"{y}\" r=\"{radius}\"{}/>", paint("fill", *fill))
        }
        Item::Text(text) => words(text),
        Item::Image { at, image } => {
            let data = base64(&image.png()?);
            format!(
                "<image {} preserveAspectRatio=\"none\" style=\"image-rendering:pixelated\" \
                 href=\"data:image/png;base64,{data}\"/>",
                place(at)
            )
        }
    })
}

fn words(text: &Text) -> String {
    let [x, y] = text.at.map(number);
    let turned = if text.upwards { format!(" transform=\"rotate(-90 {x} {y})\"") } else { String::new() };
    let weight = match text.weight {
        Weight::Regular => "",
        Weight::SemiBold => " font-weight=\"600\"",
    };
    let anchor = match text.anchor {
        Anchor::Start => "",
        Anchor::Middle => " text-anchor=\"middle\"",
        Anchor::End => " text-anchor=\"end\"",
    };
    format!(
        "<text x=\"{x}\" y=\"{y}\" font-size=\"{}\"{weight}{anchor}{}{turned}>{}</text>",
        number(text.size),
        paint("fill", text.color),
        escaped(&text.text)
    )
}

fn place(at: &[f32; 4]) -> String {
    let [x, y, width, height] = at.map(number);
    format!("x=\"{x}\" y=\"{y}\" width=\"{width}\" height=\"{height}\"")
}

fn paint(what: &str, color: Color) -> String {
    let opacity = if color.opacity() < 1.0 {
        format!(" {what}-opacity=\"{}\"", number(color.opacity()))
    } else {
        String::new()
    };
    format!(" {what}=\"{}\"{opacity}", color.hex())
}

/// With at most two digits behind the point, and none that say nothing.
fn number(value: f32) -> String {
    let text = format!("{:.2}", if value.is_finite() { value } else { 0.0 });
    let text = text.trim_end_matches('0').trim_end_matches('.');
    if text == "-0" { "0".into() } else { text.into() }
}

/// Text in which nothing is markup; what XML has no sign for is left out.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '<' => out += "&lt;",
            '>' => out += "&gt;",
            '&' => out += "&amp;",
            '"' => out += "&quot;",
            '\u{fffe}' | '\u{ffff}' => {}
            c if c.is_control() => {}
            c => out.push(c),
        }
    }
    out
}

fn base64(bytes: &[u8]) -> String {
    const SIGNS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let word = (0..3).fold(0u32, |word, at| word << 8 | u32::from(chunk.get(at).copied().unwrap_or(0)));
        for at in 0..4 {
            let sign = SIGNS[(word >> (18 - 6 * at)) as usize & 63];
            out.push(if at <= chunk.len() { sign as char } else { '=' });
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::Image;

    #[test]
    fn base64_is_that_of_rfc_4648() {
        let words = ["", "f", "fo", "foo", "foob", "fooba", "foobar"].map(|text| base64(text.as_bytes()));
        assert_eq!(words, ["", "Zg==", "Zm8=", "Zm9v", "Zm9vYg==", "Zm9vYmE=", "Zm9vYmFy"]);
    }

    #[test]
    fn every_shape_has_its_element_and_nothing_is_markup() {
        let mut scene = Scene::new(40.0, 30.5, "a < b & c\u{0}");
        scene.line([0.0, 1.0], [2.345, f32::NAN], 1.5, Color::GRID);
        scene.add(Item::Dot { at: [1.0, 2.0], radius: 3.0, fill: Color::INK.with_opacity(0.5) });
        scene.text(Text::new([5.0, 6.0], "\"<script>", 11.0).anchor(Anchor::End).semi_bold().upwards());
        let image = Image::from_channels(&[1], [1, 1, 1]).unwrap();
        scene.add(Item::Image { at: [0.0, 0.0, 2.0, 2.0], image });
        let svg = scene.svg().unwrap();
        assert!(
            svg.contains("viewBox=\"0 0 40 30.5\"") && svg.contains("<title>a &lt; b &amp; c</title>"),
            "{svg}"
        );
        assert!(
            svg.contains("<polyline points=\"0,1\" fill=\"none\" stroke=\"#e4e7eb\" stroke-width=\"1.5\""),
            "{svg}"
        );
        assert!(svg.contains("fill=\"#1f2328\" fill-opacity=\"0.5\""), "{svg}");
        assert!(svg.contains("rotate(-90 5 6)\">&quot;&lt;script&gt;</text>"), "{svg}");
        assert!(svg.contains("href=\"data:image/png;base64,iVBORw0KGgo"), "{svg}");
    }
}
