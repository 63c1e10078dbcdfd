//! Shards as WebDataset writes them: tar archives in which files of one name with several endings make a sample, the picture
//! (`.jpg`, `.png` …) and its class (`.cls` or `.json`).

use std::fs::{self, File};
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::Value as Json;

use super::catalog::{self, Catalogue, Choice, ENDINGS, Found, FoundPicture, Part, Place};
use super::tar::{self, TarFile};
use super::{PicturesError, index};
use crate::data::Split;

/// The most shards of a pattern.
const MAX_SHARDS: usize = 100_000;
/// The most bytes of a label's file.
const MAX_LABEL: u64 = 1 << 16;
/// The file beside the shards that names the classes, one a line.
pub const CLASSES: &str = "classes.txt";
/// What a JSON label calls its class.
const KEYS: [&str; 5] = ["label", "class", "cls", "class_name", "category"];

/// The names that a pattern such as `train-{000..146}.tar` or `{a,b}.tar` stands for, in its order.
///
/// # Errors
/// What is wrong with it.
pub fn expand(pattern: &str) -> Result<Vec<String>, String> {
    let Some((head, rest)) = pattern.split_once('{') else {
        return Ok(vec![pattern.into()]);
    };
    let Some((inner, tail)) = rest.split_once('}') else {
        return Err("a brace is not closed".into());
    };
    let middles: Vec<String> = match inner.split_once("..") {
        Some((from, to)) => {
            let number = |text: &str| text.parse::<u32>().map_err(|_| format!("'{text}' is no number"));
            let (first, last) = (number(from)?, number(to)?);
            if first > last || (last - first) as usize >= MAX_SHARDS {
                return Err(format!(
                    "{inner} is no range from a number up to another, of {MAX_SHARDS} at most"
                ));
            }
            (first..=last).map(|at| format!("{at:0width$}", width = from.len())).collect()
        }
        None => inner.split(',').map(String::from).collect(),
    };
    let mut names = Vec::new();
    let tails = expand(tail)?;
    if middles.len().saturating_mul(tails.len()) > MAX_SHARDS {
        return Err(format!("more than {MAX_SHARDS} names"));
    }
    for middle in &middles {
        names.extend(tails.iter().map(|tail| format!("{head}{middle}{tail}")));
    }
    Ok(names)
}

/// The pictures in the shards of `source`: a folder of `.tar` files, one of them, or a pattern.
///
/// Shards whose names begin with `train` are learned from, those with `val` (else `test`) measured on; where none does, a
/// part of the samples is held out by the hash of their names.
pub(crate) fn scan(source: &str, choice: &Choice) -> Result<Catalogue, PicturesError> {
    let root = Path::new(source);
    let mut shards: Vec<(PathBuf, Option<Split>)> = if root.is_dir() {
        let all = in_folder(root)?;
        let words: Vec<Option<Part>> = all.iter().map(|path| part_of(path)).collect();
        let test = [Part::Val, Part::Test].into_iter().find(|part| words.contains(&Some(*part)));
        let known = choice.test.is_none() && words.contains(&Some(Part::Train)) && test.is_some();
        let split = |word: Option<Part>| match word {
            _ if !known => Some(None),
            Some(Part::Train) => Some(Some(Split::Train)),
            word if word == test => Some(Some(Split::Test)),
            _ => None,
        };
        all.into_iter().zip(words).filter_map(|(path, word)| Some((path, split(word)?))).collect()
    } else {
        pattern(source)?.into_iter().map(|path| (path, None)).collect()
    };
    let folder =
        if root.is_dir() { root } else { shards[0].0.parent().unwrap_or(Path::new("")) }.to_path_buf();
    if let Some(test) = &choice.test {
        let beside = folder.join(test).to_string_lossy().into_owned();
        let tests = pattern(if test.contains('/') { test } else { &beside })?;
        shards.retain(|(path, _)| !tests.contains(path));
        shards.iter_mut().for_each(|(_, split)| *split = Some(Split::Train));
        shards.extend(tests.into_iter().map(|path| (path, Some(Split::Test))));
    }
    let mut found = Found::default();
    for (path, split) in &shards {
        shard(&mut found, path, *split)?;
    }
    let classes = class_names(&folder, &mut found)?;
    let index = match root.is_dir() {
        true => index::NAME.to_string(),
        false => format!("{}-{}", index::NAME, catalog::text(root.file_name().unwrap_or_default())),
    };
    let mut catalogue = found.finish(root, index, choice, classes)?;
    catalogue.folder = folder;
    Ok(catalogue)
}

fn in_folder(root: &Path) -> Result<Vec<PathBuf>, PicturesError> {
    let fail = |source| PicturesError::Read { path: root.into(), source };
    let entries = fs::read_dir(root).map_err(fail)?;
    let paths: Result<Vec<PathBuf>, _> = entries.map(|entry| entry.map(|entry| entry.path())).collect();
    let mut paths = paths.map_err(fail)?;
    paths.retain(|path| is_shard(path));
    paths.sort();
    Ok(paths)
}

/// Whether a file is called like a shard.
pub(crate) fn is_shard(path: &Path) -> bool {
    path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("tar"))
}

fn pattern(pattern: &str) -> Result<Vec<PathBuf>, PicturesError> {
    let names = expand(pattern).map_err(|what| PicturesError::Pattern { pattern: pattern.into(), what })?;
    Ok(names.into_iter().map(PathBuf::from).collect())
}

/// The part that a shard's name begins with.
fn part_of(path: &Path) -> Option<Part> {
    let name = path.file_stem()?.to_str()?;
    catalog::part(name.split(|c: char| !c.is_ascii_alphabetic()).next()?)
}

/// Appends the samples of a shard; the class of a picture stands beside it.
fn shard(found: &mut Found, path: &Path, split: Option<Split>) -> Result<(), PicturesError> {
    let fail = |source| PicturesError::Read { path: path.into(), source };
    let file = File::open(path).map_err(fail)?;
    let changed = catalog::changed(&file.metadata().map_err(fail)?);
    let mut archive = BufReader::with_capacity(4096, file);
    let files =
        tar::files(&mut archive).map_err(|problem| PicturesError::Tar { path: path.into(), problem })?;
    let (shard, shared): (_, Arc<Path>) = (catalog::text(path.file_name().unwrap_or_default()), path.into());
    let mut at = 0;
    while at < files.len() {
        let (key, _) = split_name(&files[at].name);
        let end = at + files[at..].iter().take_while(|file| split_name(&file.name).0 == key).count();
        let sample = &files[at..end];
        at = end;
        let ending = |file: &TarFile| split_name(&file.name).1.to_ascii_lowercase();
        let is_picture = |file: &&TarFile| {
            let ending = ending(file);
            ENDINGS.contains(&ending.rsplit('.').next().unwrap_or_default())
        };
        let Some(picture) = sample.iter().find(is_picture) else {
            found.ignored += sample.len() as u64;
            continue;
        };
        let title = format!("{}:{}", path.display(), picture.name);
        let mut read = |file: &TarFile| -> Option<Vec<u8>> {
            let mut bytes = Vec::new();
            archive.seek(SeekFrom::Start(file.offset)).ok()?;
            (&mut archive).take(file.len.min(MAX_LABEL)).read_to_end(&mut bytes).ok()?;
            Some(bytes)
        };
        let of = |wanted: &str| sample.iter().find(|file| ending(file) == wanted);
        let class = of("cls").and_then(&mut read).and_then(|bytes| cls(&bytes));
        let class = class.or_else(|| of("json").and_then(&mut read).and_then(|bytes| json_class(&bytes)));
        let Some(class) = class else {
            found.leave_out(title, "has no class: no .cls beside it, and no .json that names one");
            continue;
        };
        let place = Place::Within(shared.clone(), picture.offset);
        let name = format!("{shard}:{}", picture.name);
        found.pictures.push(FoundPicture { name, place, len: picture.len, changed, class, split });
    }
    Ok(())
}

/// A name up to the first point of its last part, and what follows.
fn split_name(name: &str) -> (&str, &str) {
    let last = name.rfind('/').map_or(0, |at| at + 1);
    match name[last..].find('.') {
        Some(point) => (&name[..last + point], &name[last + point + 1..]),
        None => (name, ""),
    }
}

fn cls(bytes: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(bytes).ok()?.trim();
    (!text.is_empty()).then(|| text.into())
}

fn json_class(bytes: &[u8]) -> Option<String> {
    let value: Json = serde_json::from_slice(bytes).ok()?;
    let named = KEYS.iter().find_map(|key| value.get(key));
    match named.unwrap_or(&value) {
        Json::String(name) => Some(name.clone()),
        Json::Number(number) if number.is_u64() => Some(number.to_string()),
        _ => None,
    }
}

/// The classes in the file beside the shards, in whose order numbers count; else those that the numbers make.
fn class_names(folder: &Path, found: &mut Found) -> Result<Option<Vec<String>>, PicturesError> {
    let wrong = |what| PicturesError::Classes { path: folder.join(CLASSES), what };
    let numbers = catalog::numbered(found.pictures.iter().map(|picture| &*picture.class)).map_err(wrong)?;
    let Ok(text) = fs::read_to_string(folder.join(CLASSES)) else {
        return Ok(numbers);
    };
    let names: Vec<String> = text.lines().map(|line| line.trim_end().to_string()).collect();
    if numbers.is_some() {
        for picture in &mut found.pictures {
            let number: usize = picture.class.parse().unwrap_or(usize::MAX);
            let Some(name) = names.get(number) else {
                return Err(wrong(format!("names {} classes, but there is class {number}", names.len())));
            };
            picture.class.clone_from(name);
        }
    }
    Ok(Some(names))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_expand() {
        assert_eq!(expand("a-{08..11}.tar").unwrap(), ["a-08.tar", "a-09.tar", "a-10.tar", "a-11.tar"]);
        assert_eq!(expand("{x,y}/{1..2}").unwrap(), ["x/1", "x/2", "y/1", "y/2"]);
        assert_eq!(expand("plain.tar").unwrap(), ["plain.tar"]);
        for (text, expected) in [
            ("a{1..", "not closed"),
            ("{a..b}", "'a' is no number"),
            ("{5..1}", "no range"),
            ("{0..4000000000}", "no range"),
        ] {
            assert!(expand(text).unwrap_err().contains(expected), "{text}");
        }
        assert!(expand("{0..999}{0..999}").unwrap_err().contains("more than 100000"));
    }

    #[test]
    fn names_are_cut_at_their_first_point() {
        assert_eq!(split_name("a.b/0001.seg.png"), ("a.b/0001", "seg.png"));
        assert_eq!(split_name("x/y"), ("x/y", ""));
    }

    #[test]
    fn classes_are_numbers_or_names_in_text_or_json() {
        assert_eq!(cls(b" 7\n").unwrap(), "7");
        assert_eq!(json_class(b"{\"label\": \"cat\", \"w\": 3}").unwrap(), "cat");
        assert_eq!(json_class(b"{\"cls\": 3}").unwrap(), "3");
        assert_eq!(json_class(b"5").unwrap(), "5");
        assert_eq!((json_class(b"{\"x\": 1}"), json_class(b"{"), cls(b" ")), (None, None, None));
    }
}
