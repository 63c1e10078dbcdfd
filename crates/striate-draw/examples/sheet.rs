//! A sheet of made-up images, to look at: `cargo run -p striate-draw --example sheet -- OUT.png`.

use striate_draw::{Cell, Image, Sheet};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let path = std::env::args().nth(1).ok_or("give the file to write")?;
    let cell = |index: usize| {
        let side = [8, 28, 32, 200][index % 4];
        let pixel = |at: usize| {
            let (x, y) = (at % side * 255 / side, at / side * 255 / side);
            [x as u8, y as u8, (index * 16) as u8]
        };
        let pixels: Vec<u8> = (0..side * side / 2).flat_map(pixel).collect();
        let image = Image::from_channels(&pixels, [3, side / 2, side])?;
        Ok(Cell::new(image, [format!("number {index} of many"), "cat → dog 99.7 %".into()]))
    };
    let cells = (0..14).map(cell).collect::<Result<Vec<_>, striate_draw::DrawError>>()?;
    let sheet = Sheet::new("Made-up images").subtitle("14 of four sizes, each in a square of 96 pixels");
    std::fs::write(path, sheet.draw(&cells)?.png(2.0)?)?;
    Ok(())
}
