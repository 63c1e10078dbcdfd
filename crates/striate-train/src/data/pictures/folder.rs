//! Folders of pictures: a folder for each class, perhaps below one for each part.

use std::fs;
use std::path::{Path, PathBuf};

use super::catalog::{self, Catalogue, Choice, ENDINGS, Found, Part};
use super::{PicturesError, index};
use crate::data::Split;

/// How deep folders may lie in the folder of a class.
const MAX_DEPTH: usize = 16;
/// The most pictures of a data set.
pub(crate) const MAX_PICTURES: usize = 1 << 28;

/// The pictures below `root`.
///
/// Where it has folders `train` and `val` (or `valid`, `validation`, `test`), each of them holds a folder for each class;
/// else the folders in it are the classes, and a part of the pictures is held out by the hash of their names.
pub(crate) fn scan(root: &Path, choice: &Choice) -> Result<Catalogue, PicturesError> {
    let folders = folders(root)?;
    let find = |wanted: Part| {
        folders.iter().find(|(name, _)| catalog::part(name) == Some(wanted)).map(|(name, _)| name.clone())
    };
    let train = find(Part::Train);
    let test = match &choice.test {
        Some(name) if !folders.iter().any(|(folder, _)| folder == name) => {
            let found = folders.into_iter().map(|(name, _)| name).collect();
            return Err(PicturesError::NoPart { path: root.into(), name: name.clone(), found });
        }
        Some(name) => Some(name.clone()),
        None => find(Part::Val).or_else(|| find(Part::Test)),
    };
    let mut found = Found::default();
    let mut walk = Walk { root, found: &mut found, above: Vec::new() };
    match (&train, &test) {
        (None, None) => {
            for (class, path) in &folders {
                walk.class(class, path, None);
            }
        }
        (train, test) => {
            for (name, path) in &folders {
                let split = match name {
                    name if Some(name) == test.as_ref() => Split::Test,
                    name if Some(name) == train.as_ref() => Split::Train,
                    _ => continue,
                };
                // Without a part to test on, some of what is to learn from is held out.
                let split = test.is_some().then_some(split);
                for (class, path) in self::folders(path)? {
                    walk.class(&class, &path, split);
                }
            }
        }
    }
    if found.pictures.is_empty() {
        let loose = found.ignored + loose_pictures(root);
        if loose > 0 && folders.is_empty() {
            return Err(PicturesError::NoClasses { path: root.into(), pictures: loose });
        }
    }
    found.finish(root, index::NAME.into(), choice, None)
}

/// Pictures that lie in `root` itself.
fn loose_pictures(root: &Path) -> u64 {
    let entries = fs::read_dir(root).into_iter().flatten().flatten();
    entries.filter(|entry| is_picture(&catalog::text(&entry.file_name()))).count() as u64
}

/// Whether the name of a file is that of a picture.
pub(crate) fn is_picture(name: &str) -> bool {
    let ending = name.rsplit_once('.').map(|(_, ending)| ending);
    let known = |ending: &str| ENDINGS.iter().any(|known| ending.eq_ignore_ascii_case(known));
    !name.starts_with('.') && ending.is_some_and(known)
}

/// Name and path of each folder in `root` that is not hidden, by name.
fn folders(root: &Path) -> Result<Vec<(String, PathBuf)>, PicturesError> {
    let fail = |source| PicturesError::Read { path: root.into(), source };
    let mut folders = Vec::new();
    for entry in fs::read_dir(root).map_err(fail)? {
        let entry = entry.map_err(fail)?;
        let (name, path) = (catalog::text(&entry.file_name()), entry.path());
        if !name.starts_with('.') && name != "__MACOSX" && path.is_dir() {
            folders.push((name, path));
        }
    }
    folders.sort();
    Ok(folders)
}

struct Walk<'a> {
    root: &'a Path,
    found: &'a mut Found,
    /// The folders above, without their links: one that is met again is a circle.
    above: Vec<PathBuf>,
}

impl Walk<'_> {
    fn class(&mut self, class: &str, path: &Path, split: Option<Split>) {
        let before = self.found.pictures.len();
        self.folder(class, path, split);
        if self.found.pictures.len() == before {
            self.found.notes.push(format!("{} holds no pictures: it is no class", path.display()));
        }
    }

    fn folder(&mut self, class: &str, path: &Path, split: Option<Split>) {
        let entries = fs::canonicalize(path).and_then(|plain| Ok((plain, fs::read_dir(path)?)));
        let (plain, entries) = match entries {
            Ok(entries) => entries,
            Err(error) => return self.found.leave_out(path.display(), format!("cannot read: {error}")),
        };
        if self.above.contains(&plain) || self.above.len() == MAX_DEPTH {
            let problem = format!("a folder in itself, or more than {MAX_DEPTH} deep");
            return self.found.leave_out(path.display(), problem);
        }
        self.above.push(plain);
        for entry in entries {
            let entry = match entry {
                Ok(entry) => entry,
                Err(error) => {
                    self.found.leave_out(path.display(), format!("cannot read on: {error}"));
                    break;
                }
            };
            let (name, path) = (catalog::text(&entry.file_name()), entry.path());
            if is_picture(&name) && !path.is_dir() {
                if self.found.pictures.len() == MAX_PICTURES {
                    self.found.leave_out(path.display(), "more pictures than a data set may have");
                    break;
                }
                let name = catalog::text(path.strip_prefix(self.root).unwrap_or(&path).as_os_str());
                self.found.file(name, path, class, split);
            } else if path.is_dir() && !name.starts_with('.') {
                self.folder(class, &path, split);
            } else {
                self.found.ignored += 1;
            }
        }
        self.above.pop();
    }
}
