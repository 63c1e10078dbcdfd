//! Numbers as people read them.

use std::time::Duration;

/// `61,706`.
pub(crate) fn thousands(number: impl TryInto<u128>) -> String {
    let digits = number.try_into().unwrap_or(u128::MAX).to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `416,520`, `1.58 G`: exact up to a million, then three digits.
pub(crate) fn count(number: u64) -> String {
    let units = [(1e12, "T"), (1e9, "G"), (1e6, "M")];
    match units.into_iter().find(|(unit, _)| number as f64 >= *unit) {
        Some((unit, name)) => format!("{} {name}", three_digits(number as f64 / unit)),
        None => thousands(number),
    }
}

/// `3.2 MiB`.
pub(crate) fn bytes(number: u64) -> String {
    let units = [(1u64 << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    match units.into_iter().find(|(unit, _)| number >= *unit) {
        Some((unit, name)) => format!("{} {name}", three_digits(number as f64 / unit as f64)),
        None => format!("{number} B"),
    }
}

/// A number of at least 1 with three digits, fewer behind the point the larger it is.
fn three_digits(number: f64) -> String {
    match number {
        n if n < 10.0 => format!("{n:.2}"),
        n if n < 100.0 => format!("{n:.1}"),
        n => format!("{n:.0}"),
    }
}

/// `99.21 %`.
pub(crate) fn percent(fraction: f64) -> String {
    format!("{:.2} %", 100.0 * fraction)
}

/// `13 ms`, `4.2 s`, `3:05`, `1:02:03`.
pub(crate) fn duration(time: Duration) -> String {
    let seconds = time.as_secs_f64();
    let whole = seconds.round() as u64;
    match whole {
        0 if seconds < 0.1 => format!("{:.0} ms", seconds * 1e3),
        0..60 => format!("{seconds:.1} s"),
        60..3600 => format!("{}:{:02}", whole / 60, whole % 60),
        _ => format!("{}:{:02}:{:02}", whole / 3600, whole / 60 % 60, whole % 60),
    }
}

/// `1 epoch`, `2 epochs`, `10 classes`.
pub(crate) fn plural(number: usize, thing: &str) -> String {
    let ending = match thing {
        _ if number == 1 => "",
        thing if thing.ends_with('s') => "es",
        _ => "s",
    };
    format!("{} {thing}{ending}", thousands(number))
}

/// `3×224×224`.
pub(crate) fn shape(dims: &[usize]) -> String {
    let dims: Vec<String> = dims.iter().map(usize::to_string).collect();
    dims.join("×")
}

/// A bar of `part` of `width` characters, in eighths of one.
pub(crate) fn bar(part: f32, width: usize) -> String {
    const EIGHTHS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];
    let eighths = (part.clamp(0.0, 1.0) * 8.0 * width as f32).round() as usize;
    "█".repeat(eighths / 8) + EIGHTHS[eighths % 8]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_well() {
        assert_eq!([0usize, 999, 1000, 61_706].map(thousands), ["0", "999", "1,000", "61,706"]);
        assert_eq!([999_999, 1_582_671_872].map(count), ["999,999", "1.58 G"]);
        assert_eq!([1023, 3_355_443].map(bytes), ["1023 B", "3.20 MiB"]);
        assert_eq!(
            [0.0134, 4.24, 185.0, 3723.0].map(Duration::from_secs_f64).map(duration),
            ["13 ms", "4.2 s", "3:05", "1:02:03"]
        );
        assert_eq!(plural(1, "epoch") + &plural(10, "class"), "1 epoch10 classes");
        assert_eq!((percent(0.99214), shape(&[3, 224, 224])), ("99.21 %".into(), "3×224×224".into()));
    }

    #[test]
    fn bars_are_as_long_as_they_mean() {
        assert_eq!(bar(1.0, 4), "████");
        assert_eq!(bar(0.0, 4), "");
        assert_eq!(bar(0.53, 4), "██▏");
        assert_eq!(bar(f32::NAN, 4), "");
    }
}
