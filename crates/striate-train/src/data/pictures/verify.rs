//! Every picture read and decoded once before it is used, by all processors.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::sync_channel;
use std::thread;

use image::DynamicImage;
use striate_engine::available_threads;

use super::catalog::{Catalogue, Entry};
use super::index::{self, Facts, Index};
use crate::data::Opening;
use crate::data::dataset::hash_bytes;
use crate::image_file::{self, Problem};

/// A picture that is not what it was, or not even a picture.
pub(crate) struct Verified {
    /// What is known of it; `None` where its file cannot be read.
    pub(crate) facts: Option<Facts>,
    /// Why it cannot be used.
    pub(crate) problem: Option<String>,
}

/// Looks into all pictures that the index does not know, and writes what it found to the index.
pub(crate) fn verify(catalogue: &Catalogue, opening: &mut Opening) -> Vec<Verified> {
    let index = Index::open(catalogue, opening.cache_folder.as_deref());
    let known: Vec<Option<Facts>> = catalogue.entries.iter().map(|entry| index.of(entry).cloned()).collect();
    let unknown: Vec<usize> = (0..known.len()).filter(|at| known[*at].is_none()).collect();
    let mut all: Vec<Verified> = known
        .into_iter()
        .map(|facts| Verified { problem: facts.as_ref().and_then(|facts| facts.problem.clone()), facts })
        .collect();
    if unknown.is_empty() {
        return all;
    }
    let next = AtomicUsize::new(0);
    let workers = available_threads().clamp(1, 64).min(unknown.len());
    thread::scope(|scope| {
        let (found, verified) = sync_channel(64);
        for _ in 0..workers {
            let (found, next, unknown) = (found.clone(), &next, &unknown);
            scope.spawn(move || {
                while let Some(at) = unknown.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let entry = &catalogue.entries[*at];
                    let looked = catch_unwind(AssertUnwindSafe(|| look(entry)));
                    let looked = looked.unwrap_or_else(|_| Verified {
                        facts: None,
                        problem: Some("damaged: its decoder broke down".into()),
                    });
                    if found.send((*at, looked)).is_err() {
                        return;
                    }
                }
            });
        }
        drop(found);
        let of = unknown.len() as u64;
        for (done, (at, looked)) in (1..).zip(verified) {
            all[at] = looked;
            (opening.progress)(done, of);
        }
    });
    let facts: Vec<Option<Facts>> = all.iter().map(|verified| verified.facts.clone()).collect();
    index::save(catalogue, &facts, opening.cache_folder.as_deref());
    all
}

fn look(entry: &Entry) -> Verified {
    let bytes = match entry.read() {
        Ok(bytes) => bytes,
        Err(problem) => return Verified { facts: None, problem: Some(problem.to_string()) },
    };
    let format = image_file::kind(&bytes).unwrap_or("other").to_string();
    let nothing = Facts {
        hash: hash_bytes(&bytes),
        size: [0, 0],
        format,
        grey: false,
        moments: Vec::new(),
        problem: None,
    };
    let facts = match image_file::decode(&bytes) {
        Ok(picture) if picture.width() == 0 || picture.height() == 0 => {
            Facts { problem: Some("has no pixels".into()), ..nothing }
        }
        Ok(picture) => describe(picture, nothing),
        // What depends on the machine's state may be another time.
        Err(problem @ Problem::Read(_)) => {
            return Verified { facts: None, problem: Some(problem.to_string()) };
        }
        Err(problem) => Facts { problem: Some(problem.to_string()), ..nothing },
    };
    Verified { problem: facts.problem.clone(), facts: Some(facts) }
}

fn describe(picture: DynamicImage, nothing: Facts) -> Facts {
    let size = [picture.height(), picture.width()];
    let (grey, moments) = match picture {
        DynamicImage::ImageLuma8(picture) => (true, moments::<1>(picture.as_raw())),
        picture => {
            let pixels = picture.into_rgb8().into_raw();
            let grey = pixels.as_chunks::<3>().0.iter().all(|[r, g, b]| r == g && g == b);
            (grey, moments::<3>(&pixels))
        }
    };
    Facts { size, grey, moments, ..nothing }
}

/// The mean of each channel and of its square, on a scale from 0 to 1.
fn moments<const CHANNELS: usize>(pixels: &[u8]) -> Vec<[f64; 2]> {
    let mut sums = [[0u64; 2]; CHANNELS];
    for pixel in pixels.as_chunks::<CHANNELS>().0 {
        for (sum, level) in sums.iter_mut().zip(pixel) {
            let level = u64::from(*level);
            sum[0] += level;
            sum[1] += level * level;
        }
    }
    let count = (pixels.len() / CHANNELS).max(1) as f64;
    sums.map(|[sum, squares]| [sum as f64 / count / 255.0, squares as f64 / count / (255.0 * 255.0)]).to_vec()
}
