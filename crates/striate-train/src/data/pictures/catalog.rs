//! Which pictures there are: where each lies, what it shows, which part of the data set it belongs to.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use super::PicturesError;
use crate::data::Split;
use crate::image_file::{self, MAX_BYTES, Problem};

/// Endings of files that are taken for pictures.
pub const ENDINGS: [&str; 5] = ["jpg", "jpeg", "png", "webp", "bmp"];

/// The part of pictures that are held out of those that belong to no part, unless told otherwise.
pub const HELD_OUT: f64 = 0.2;

/// The most classes a data set may have.
pub const MAX_CLASSES: usize = 1 << 16;

/// Where the bytes of a picture are.
#[derive(Clone, Debug)]
pub(crate) enum Place {
    /// A file of its own.
    File(PathBuf),
    /// Part of a file, from this byte on.
    Within(Arc<Path>, u64),
}

/// A picture that nobody has looked into yet.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    /// Its name within the data set; no other has it.
    pub(crate) name: String,
    pub(crate) place: Place,
    /// Its bytes.
    pub(crate) len: u64,
    /// When its file was changed last, in nanoseconds since 1970.
    pub(crate) changed: u64,
    pub(crate) label: u32,
    pub(crate) split: Split,
}

impl Entry {
    /// Its bytes.
    pub(crate) fn read(&self) -> Result<Vec<u8>, Problem> {
        match &self.place {
            Place::File(path) => image_file::read_bounded(path),
            Place::Within(path, offset) => {
                if self.len > MAX_BYTES {
                    return Err(Problem::TooLarge);
                }
                let read = || -> io::Result<Vec<u8>> {
                    let mut file = File::open(path)?;
                    file.seek(SeekFrom::Start(*offset))?;
                    let mut bytes = Vec::with_capacity(self.len as usize);
                    file.take(self.len).read_to_end(&mut bytes)?;
                    Ok(bytes)
                };
                read().map_err(Problem::Read)
            }
        }
    }

    /// What people call it: the path of its file, or its shard and its name there.
    pub(crate) fn title(&self) -> String {
        match &self.place {
            Place::File(path) => path.display().to_string(),
            Place::Within(path, _) => {
                let name = self.name.split_once(':').map_or(&*self.name, |(_, name)| name);
                format!("{}:{name}", path.display())
            }
        }
    }
}

/// A file that is no part of the data set though it should be, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeftOut {
    /// The file, or the shard and the name in it.
    pub file: String,
    /// What is wrong with it.
    pub problem: String,
}

/// All pictures of a data set, of both parts.
#[derive(Debug)]
pub(crate) struct Catalogue {
    /// What the data set is called.
    pub(crate) name: String,
    /// The folder that its index lies in.
    pub(crate) folder: PathBuf,
    /// The name of its index.
    pub(crate) index: String,
    pub(crate) classes: Vec<String>,
    pub(crate) entries: Vec<Entry>,
    /// Files that are no pictures.
    pub(crate) ignored: u64,
    pub(crate) left_out: Vec<LeftOut>,
    /// What a user should know of how it was read.
    pub(crate) notes: Vec<String>,
}

/// The pictures found so far, their classes by name.
#[derive(Debug, Default)]
pub(crate) struct Found {
    pub(crate) pictures: Vec<FoundPicture>,
    pub(crate) ignored: u64,
    pub(crate) left_out: Vec<LeftOut>,
    pub(crate) notes: Vec<String>,
}

/// A picture whose class is a name, and that may belong to no part.
#[derive(Debug)]
pub(crate) struct FoundPicture {
    pub(crate) name: String,
    pub(crate) place: Place,
    pub(crate) len: u64,
    pub(crate) changed: u64,
    pub(crate) class: String,
    pub(crate) split: Option<Split>,
}

/// What a user asks of the way a data set is read.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Choice {
    /// The part held out of pictures that belong to no part, from 0 to 1.
    pub(crate) val: Option<f64>,
    /// What is measured on: a folder's name, the word of a list, or other shards.
    pub(crate) test: Option<String>,
}

impl Found {
    /// Appends the picture in the file `path`, or says why it cannot be one.
    pub(crate) fn file(&mut self, name: String, path: PathBuf, class: &str, split: Option<Split>) {
        match fs::metadata(&path) {
            Ok(meta) if meta.is_file() => {
                let changed = changed(&meta);
                let (place, class, len) = (Place::File(path), class.to_string(), meta.len());
                self.pictures.push(FoundPicture { name, place, len, changed, class, split });
            }
            Ok(_) => self.leave_out(path.display(), Problem::NotAFile),
            Err(error) => self.leave_out(path.display(), Problem::Read(error)),
        }
    }

    pub(crate) fn leave_out(&mut self, file: impl ToString, problem: impl ToString) {
        self.left_out.push(LeftOut { file: file.to_string(), problem: problem.to_string() });
    }

    /// Numbers the classes and decides the part of each picture: of those that belong to none, one is held out where the
    /// hash of its name says so, whatever others there are.
    pub(crate) fn finish(
        mut self,
        root: &Path,
        index: String,
        choice: &Choice,
        names: Option<Vec<String>>,
    ) -> Result<Catalogue, PicturesError> {
        if self.pictures.is_empty() {
            let (ignored, left_out) = (self.ignored, self.left_out);
            return Err(PicturesError::NoPictures { path: root.into(), ignored, left_out });
        }
        let classes = class_names(&self.pictures, names)
            .map_err(|what| PicturesError::Classes { path: root.into(), what })?;
        let numbers: HashMap<&str, u32> = classes.iter().map(String::as_str).zip(0..).collect();
        let fraction = choice.val.unwrap_or(HELD_OUT);
        let whole = self.pictures.iter().all(|picture| picture.split.is_none());
        let pictures = std::mem::take(&mut self.pictures);
        let entry = |picture: FoundPicture| {
            let drawn = || if draw(&picture.name) < fraction { Split::Test } else { Split::Train };
            let split = picture.split.unwrap_or_else(drawn);
            let FoundPicture { name, place, len, changed, class, .. } = picture;
            Entry { name, place, len, changed, label: numbers[&*class], split }
        };
        let mut entries: Vec<Entry> = pictures.into_iter().map(entry).collect();
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        if whole && choice.val.is_none() {
            self.notes.push(format!(
                "no part of the pictures is set apart for testing: {:.0} % are, by the hash of their names",
                100.0 * fraction
            ));
        }
        let (folder, name) = match root.is_dir() {
            true => (root.to_path_buf(), root.file_name()),
            false => (root.parent().unwrap_or(Path::new("")).to_path_buf(), root.file_stem()),
        };
        let name = name.map_or_else(|| whole_name(root), |name| name.to_string_lossy().into_owned());
        let Self { ignored, left_out, notes, .. } = self;
        Ok(Catalogue { name, folder, index, classes, entries, ignored, left_out, notes })
    }
}

/// The name of a folder that is called `.` or `..`.
fn whole_name(root: &Path) -> String {
    let whole = fs::canonicalize(root).ok();
    let name = whole.as_deref().and_then(Path::file_name);
    name.map_or_else(|| root.display().to_string(), |name| name.to_string_lossy().into_owned())
}

/// The names of the classes in order: those given, else `0` up to the greatest where all are numbers, else sorted.
fn class_names(pictures: &[FoundPicture], names: Option<Vec<String>>) -> Result<Vec<String>, String> {
    let mut seen: Vec<&str> = pictures.iter().map(|picture| &*picture.class).collect();
    seen.sort_unstable();
    seen.dedup();
    let too_many = |count: usize| format!("{count} classes, where at most {MAX_CLASSES} can be told apart");
    let classes = match names {
        Some(names) => {
            if let Some(other) = seen.iter().find(|class| !names.iter().any(|name| name == *class)) {
                return Err(format!("class '{other}' is not in the list of classes"));
            }
            names
        }
        None => seen.into_iter().map(String::from).collect(),
    };
    if classes.len() > MAX_CLASSES { Err(too_many(classes.len())) } else { Ok(classes) }
}

/// The names `0` to the greatest of `labels`, where all are numbers as people write them.
pub(crate) fn numbered<'a>(labels: impl Iterator<Item = &'a str>) -> Result<Option<Vec<String>>, String> {
    let mut greatest = 0usize;
    for label in labels {
        let plain =
            label == "0" || !label.starts_with('0') && label.bytes().all(|byte| byte.is_ascii_digit());
        match label.parse::<usize>() {
            Ok(number) if plain && number < MAX_CLASSES => greatest = greatest.max(number),
            Ok(number) if plain => {
                return Err(format!(
                    "class {number}, where classes are numbered from 0 to {}",
                    MAX_CLASSES - 1
                ));
            }
            _ => return Ok(None),
        }
    }
    Ok(Some((0..=greatest).map(|class| class.to_string()).collect()))
}

/// A number from 0 to below 1 that depends on the name alone.
fn draw(name: &str) -> f64 {
    let hash = name
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3));
    // What FNV leaves uneven in its high bits, two multiplications even out (MurmurHash3's finaliser).
    let mixed = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    let mixed = (mixed ^ (mixed >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    ((mixed ^ (mixed >> 33)) >> 11) as f64 / (1u64 << 53) as f64
}

/// When a file was changed last, in nanoseconds since 1970.
pub(crate) fn changed(meta: &fs::Metadata) -> u64 {
    let time = meta.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    time.map_or(0, |time| time.as_nanos() as u64)
}

/// A file's name as text, each name another text: bytes that are not UTF-8 as `\xNN`, a backslash as two.
pub(crate) fn text(name: &std::ffi::OsStr) -> String {
    let mut text = String::new();
    for chunk in name.as_encoded_bytes().utf8_chunks() {
        text += &chunk.valid().replace('\\', "\\\\");
        for byte in chunk.invalid() {
            text += &format!("\\x{byte:02x}");
        }
    }
    text
}

/// The part that a word for one names, if it does: training, validation or test.
pub(crate) fn part(word: &str) -> Option<Part> {
    match word.to_ascii_lowercase().as_str() {
        "train" | "training" => Some(Part::Train),
        "val" | "valid" | "validation" => Some(Part::Val),
        "test" | "testing" => Some(Part::Test),
        _ => None,
    }
}

/// What a part is called; where there are both, validation is what is measured on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    Train,
    Val,
    Test,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_are_even_and_depend_on_the_name_alone() {
        let names = (0..10_000).map(|n| format!("class/{n}.jpg"));
        let held = names.filter(|name| draw(name) < 0.2).count();
        assert!((1850..2150).contains(&held), "{held}");
        assert_eq!(draw("a/1.png"), draw("a/1.png"));
        assert_ne!(draw("a/1.png"), draw("b/1.png"));
    }

    #[test]
    fn labels_that_are_numbers_number_the_classes() {
        let of = |labels: &[&'static str]| numbered(labels.iter().copied());
        assert_eq!(of(&["2", "0"]).unwrap().unwrap(), ["0", "1", "2"]);
        assert_eq!(of(&["2", "cat"]), Ok(None));
        assert_eq!(of(&["01", "1"]), Ok(None));
        assert!(of(&["65536"]).unwrap_err().contains("from 0 to 65535"));
    }

    #[cfg(unix)]
    #[test]
    fn every_name_is_another_text() {
        use std::os::unix::ffi::OsStrExt;
        let names: [&[u8]; 5] = [b"a", b"\xff", b"\\xff", b"\xfe", "ä".as_bytes()];
        let texts: std::collections::HashSet<String> =
            names.iter().map(|name| text(std::ffi::OsStr::from_bytes(name))).collect();
        assert_eq!(texts.len(), 5);
        assert!(texts.contains("\\xff") && texts.contains("\\\\xff") && texts.contains("ä"));
    }
}
