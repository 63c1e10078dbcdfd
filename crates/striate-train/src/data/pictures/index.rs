//! What has been found out about each picture, kept beside the pictures so that it is found out once.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use striate_interop::atomic::write_atomic;

use super::catalog::{Catalogue, Entry};

/// The name of an index; lists and shards add theirs.
pub(crate) const NAME: &str = ".striate-index";
/// The first line of an index. Another version begins anew.
const HEAD: &str = "{\"striate-index\":1}";
/// The most bytes of an index that are read.
const MAX_INDEX: u64 = 4 << 30;

/// What is known of a picture that has been read and decoded once.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Facts {
    /// A hash of its file's bytes.
    pub(crate) hash: u64,
    /// Height and width; 0 of what is no picture.
    pub(crate) size: [u32; 2],
    /// What kind of file it is.
    pub(crate) format: String,
    /// Whether red, green and blue are the same everywhere.
    pub(crate) grey: bool,
    /// The mean of each channel (or of the one) on a scale from 0 to 1, and that of its square.
    pub(crate) moments: Vec<[f64; 2]>,
    /// Why it cannot be used.
    pub(crate) problem: Option<String>,
}

/// A line of an index.
#[derive(Serialize, Deserialize)]
struct Line<N> {
    name: N,
    len: u64,
    changed: u64,
    #[serde(flatten)]
    facts: Facts,
}

/// What is known of a data set's pictures.
#[derive(Debug, Default)]
pub(crate) struct Index {
    known: HashMap<String, (u64, u64, Facts)>,
}

impl Index {
    /// Reads the index of a catalogue; lines that cannot be read are as if they were not there.
    pub(crate) fn open(catalogue: &Catalogue, cache: Option<&Path>) -> Self {
        let places = places(catalogue, cache);
        let texts = places.iter().filter_map(|path| read(path).ok());
        let known = texts.filter(|text| text.lines().next() == Some(HEAD)).flat_map(|text| {
            let lines = text.lines().filter_map(|line| serde_json::from_str::<Line<String>>(line).ok());
            lines.map(|line| (line.name, (line.len, line.changed, line.facts))).collect::<Vec<_>>()
        });
        Self { known: known.collect() }
    }

    /// What is known of the picture, if it is still the same file.
    pub(crate) fn of(&self, entry: &Entry) -> Option<&Facts> {
        let (len, changed, facts) = self.known.get(&entry.name)?;
        (*len == entry.len && *changed == entry.changed).then_some(facts)
    }
}

/// Writes the index beside the pictures, or into the cache where that cannot be; nowhere where neither can. What could not
/// even be read is looked at again next time.
pub(crate) fn save(catalogue: &Catalogue, facts: &[Option<Facts>], cache: Option<&Path>) {
    for path in places(catalogue, cache) {
        if let (Some(cache), Some(folder)) = (cache, path.parent())
            && folder.starts_with(cache)
            && fs::create_dir_all(folder).is_err()
        {
            continue;
        }
        let write = |out: &mut dyn Write| -> io::Result<()> {
            writeln!(out, "{HEAD}")?;
            for (entry, facts) in catalogue.entries.iter().zip(facts) {
                if let Some(facts) = facts {
                    let facts = facts.clone();
                    let line = Line { name: &entry.name, len: entry.len, changed: entry.changed, facts };
                    serde_json::to_writer(&mut *out, &line)?;
                    out.write_all(b"\n")?;
                }
            }
            Ok(())
        };
        if write_atomic(&path, write).is_ok() {
            return;
        }
    }
}

/// Where an index may lie: beside the pictures, and in the cache under the hash of that place.
fn places(catalogue: &Catalogue, cache: Option<&Path>) -> Vec<PathBuf> {
    let beside = catalogue.folder.join(&catalogue.index);
    let whole =
        fs::canonicalize(&catalogue.folder).unwrap_or(catalogue.folder.clone()).join(&catalogue.index);
    let hash = super::super::dataset::hash_bytes(whole.as_os_str().as_encoded_bytes());
    let elsewhere = cache.map(|cache| cache.join(format!("{hash:016x}.index")));
    [beside].into_iter().chain(elsewhere).collect()
}

fn read(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    let file = File::open(path)?;
    if file.metadata()?.is_file() {
        file.take(MAX_INDEX).read_to_string(&mut text)?;
    }
    Ok(text)
}
