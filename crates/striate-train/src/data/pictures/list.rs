//! Lists of pictures: a CSV or TSV file with a path, a label and perhaps a part in each row.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use super::catalog::{self, Catalogue, Choice, Found, Part};
use super::folder::MAX_PICTURES;
use super::{PicturesError, index};
use crate::data::Split;

/// The most bytes that a list may have.
const MAX_LIST: u64 = 1 << 30;

/// What the columns may be called.
const COLUMNS: [(&str, &[&str]); 3] = [
    ("path", &["path", "file", "filename", "file_name", "image", "image_path", "image_id", "img"]),
    ("label", &["label", "class", "category", "target", "class_name", "species", "y"]),
    ("split", &["split", "part", "subset", "set", "fold"]),
];

/// A row of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Which line it begins at, from 1.
    pub line: u64,
    /// The picture, relative to the list.
    pub path: String,
    /// The name or number of its class.
    pub label: String,
    /// The part it belongs to, as it is written; empty where it says nothing.
    pub split: String,
}

/// The rows of a list; columns are found by their names where the first row has them, else they are path, label and part
/// in this order.
///
/// # Errors
/// The line that is wrong, and how.
pub fn rows(bytes: &[u8], tabs: bool) -> Result<Vec<Row>, (u64, String)> {
    let delimiter = if tabs { b'\t' } else { b',' };
    let mut reader = csv::ReaderBuilder::new();
    let reader = reader.has_headers(false).flexible(true).delimiter(delimiter).trim(csv::Trim::All);
    let mut columns: Option<[Option<usize>; 3]> = None;
    let mut rows = Vec::new();
    let mut lines = Lines { bytes, counted: 0, line: 1 };
    for record in reader.from_reader(bytes).into_records() {
        let record = match record {
            Ok(record) => record,
            Err(error) => return Err((lines.at(error.position()), error.to_string())),
        };
        let line = lines.at(record.position());
        let [path, label, split] = match columns {
            Some(columns) => columns,
            None => {
                let (found, heads) = find_columns(&record).map_err(|what| (line, what))?;
                columns = Some(found);
                if heads {
                    continue;
                }
                found
            }
        };
        let cell = |at: Option<usize>| at.and_then(|at| record.get(at)).unwrap_or_default().to_string();
        let row = Row { line, path: cell(path), label: cell(label), split: cell(split) };
        if row.path.is_empty() || row.label.is_empty() {
            let what = if row.path.is_empty() { "path" } else { "label" };
            return Err((line, format!("no {what}; a row is path{0}label", char::from(delimiter))));
        }
        if rows.len() == MAX_PICTURES {
            return Err((line, format!("more than {MAX_PICTURES} rows")));
        }
        rows.push(row);
    }
    Ok(rows)
}

/// Which line a byte lies in.
struct Lines<'a> {
    bytes: &'a [u8],
    counted: usize,
    line: u64,
}

impl Lines<'_> {
    /// The line of the first character at `position` that ends none; positions come in ascending order.
    fn at(&mut self, position: Option<&csv::Position>) -> u64 {
        let mut end =
            position.map_or(0, |position| position.byte() as usize).clamp(self.counted, self.bytes.len());
        while matches!(self.bytes.get(end), Some(b'\n' | b'\r')) {
            end += 1;
        }
        let ends = self.bytes[self.counted..end].iter().filter(|byte| **byte == b'\n').count();
        (self.counted, self.line) = (end, self.line + ends as u64);
        self.line
    }
}

/// Where path, label and part stand, and whether the record is a row of heads.
fn find_columns(record: &csv::StringRecord) -> Result<([Option<usize>; 3], bool), String> {
    let at = |names: &[&str]| {
        record.iter().position(|cell| names.iter().any(|name| cell.eq_ignore_ascii_case(name)))
    };
    let [path, label, split] = COLUMNS.map(|(_, names)| at(names));
    match (path, label) {
        (Some(_), Some(_)) => Ok(([path, label, split], true)),
        (None, None) if record.len() >= 2 => Ok(([Some(0), Some(1), Some(2)], false)),
        (None, None) => Err("one column alone; a row is a path and a label".into()),
        (found, _) => {
            let missing = if found.is_some() { COLUMNS[1] } else { COLUMNS[0] };
            Err(format!("a head without a {} column; it may be called {}", missing.0, missing.1.join(", ")))
        }
    }
}

/// The pictures of the list `path`.
pub(crate) fn scan(path: &Path, choice: &Choice) -> Result<Catalogue, PicturesError> {
    let fail = |source| PicturesError::Read { path: path.into(), source };
    let mut bytes = Vec::new();
    File::open(path).and_then(|file| file.take(MAX_LIST + 1).read_to_end(&mut bytes)).map_err(fail)?;
    let wrong = |(line, problem)| PicturesError::List { path: path.into(), line, problem };
    if bytes.len() as u64 > MAX_LIST {
        return Err(wrong((0, format!("longer than {} MiB", MAX_LIST >> 20))));
    }
    let tabs = path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("tsv"));
    let rows = rows(&bytes, tabs).map_err(wrong)?;
    let classes = catalog::numbered(rows.iter().map(|row| &*row.label))
        .map_err(|what| PicturesError::Classes { path: path.into(), what })?;
    let base = path.parent().unwrap_or(Path::new(""));
    let parts = Parts::of(&rows, choice).map_err(wrong)?;
    let mut found = Found::default();
    let mut seen = std::collections::HashMap::new();
    for row in rows {
        let Some(split) = parts.split(&row) else {
            found.ignored += 1;
            continue;
        };
        let file = base.join(&row.path);
        if let Some(before) = seen.insert(row.path.clone(), row.line) {
            found.leave_out(file.display(), format!("line {} names it again, after line {before}", row.line));
            continue;
        }
        found.file(row.path, file, &row.label, split);
    }
    let name = path.file_name().unwrap_or_default();
    found.finish(path, format!("{}-{}", index::NAME, catalog::text(name)), choice, classes)
}

/// What the words of the column of parts mean.
struct Parts {
    /// The word for what is measured on; `None` where no row says a part.
    test: Option<String>,
}

impl Parts {
    fn of(rows: &[Row], choice: &Choice) -> Result<Self, (u64, String)> {
        let mut test = choice.test.clone();
        let mut parts = rows.iter().filter(|row| !row.split.is_empty()).peekable();
        if parts.peek().is_none() {
            return Ok(Self { test: None });
        }
        for row in parts {
            match catalog::part(&row.split) {
                _ if choice.test.as_ref() == Some(&row.split) => {}
                Some(Part::Train) => {}
                Some(Part::Val) if choice.test.is_none() => test = Some(row.split.clone()),
                Some(Part::Test) if choice.test.is_none() => _ = test.get_or_insert(row.split.clone()),
                Some(_) => {}
                None => {
                    let what = format!("'{}' is no part; write train, val or test", row.split);
                    return Err((row.line, what));
                }
            }
        }
        // Without a part to test on, the others are held out as if no row said one.
        Ok(Self { test })
    }

    /// The part of a row: `None` is one that is not used, `Some(None)` one that the hash of its name decides.
    fn split(&self, row: &Row) -> Option<Option<Split>> {
        match &self.test {
            None => Some(None),
            Some(test) if same_part(test, &row.split) => Some(Some(Split::Test)),
            Some(_) if row.split.is_empty() || catalog::part(&row.split) == Some(Part::Train) => {
                Some(Some(Split::Train))
            }
            Some(_) => None,
        }
    }
}

fn same_part(a: &str, b: &str) -> bool {
    a == b || catalog::part(a).is_some() && catalog::part(a) == catalog::part(b)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(line: u64, path: &str, label: &str, split: &str) -> Row {
        Row { line, path: path.into(), label: label.into(), split: split.into() }
    }

    #[test]
    fn columns_are_found_by_name_or_by_place() {
        let named = b"\xef\xbb\xbfid,Label,filename\r\n7,cat,\"a, b.png\"\r\n8, dog ,c.png\r\n";
        assert_eq!(rows(named, false).unwrap(), [row(2, "a, b.png", "cat", ""), row(3, "c.png", "dog", "")]);
        assert_eq!(rows(b"a.png,3\nb.png,4,val\n", false).unwrap()[1], row(2, "b.png", "4", "val"));
        assert_eq!(rows(b"a b.png\tx y\n", true).unwrap(), [row(1, "a b.png", "x y", "")]);
        assert_eq!(rows(b"", false).unwrap(), []);
    }

    #[test]
    fn what_is_wrong_is_told_with_its_line() {
        for (bytes, line, expected) in [
            (&b"path,colour\n"[..], 1, "a head without a label column; it may be called label, class"),
            (b"a.png\n", 1, "one column alone"),
            (b"a.png,1\nb.png\n", 2, "no label"),
            (b"a.png,1\n,2\n", 2, "no path"),
            (b"a.png,1\nb\xff.png,2\n", 2, "invalid UTF-8"),
        ] {
            let (at, what) = rows(bytes, false).unwrap_err();
            assert!(at == line && what.contains(expected), "{at}: {what}");
        }
    }

    #[test]
    fn parts_are_words_and_validation_comes_before_test() {
        let list = [row(1, "a", "0", "train"), row(2, "b", "0", "test"), row(3, "c", "0", "val")];
        let splits = |list: &[Row], choice: Choice| {
            let parts = Parts::of(list, &choice).map_err(|(line, what)| format!("{line}: {what}"))?;
            Ok::<_, String>(list.iter().map(|row| parts.split(row)).collect::<Vec<_>>())
        };
        let (train, test) = (Some(Some(Split::Train)), Some(Some(Split::Test)));
        assert_eq!(splits(&list, Choice::default()).unwrap(), [train, None, test]);
        let choice = Choice { test: Some("test".into()), ..Choice::default() };
        assert_eq!(splits(&list, choice).unwrap(), [train, test, None]);
        assert_eq!(splits(&list[..2], Choice::default()).unwrap(), [train, test]);
        assert_eq!(splits(&list[..1], Choice::default()).unwrap(), [Some(None)]);
        let odd = [row(4, "a", "0", "tarin")];
        assert_eq!(
            splits(&odd, Choice::default()).unwrap_err(),
            "4: 'tarin' is no part; write train, val or test"
        );
    }
}
