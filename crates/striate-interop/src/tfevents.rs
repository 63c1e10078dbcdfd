//! Event files that TensorBoard reads: scalars, histograms, images and the network's graph.
//!
//! A file is a sequence of records (TensorFlow's `TFRecord`), each an `Event` in Protocol Buffers' wire format:
//!
//! | bytes | content |
//! |---|---|
//! | 8 | the length of the event, little-endian |
//! | 4 | the masked CRC-32C of these 8 bytes |
//! | length | the event |
//! | 4 | the masked CRC-32C of the event |
//!
//! The fields are those of `tensorflow/core/util/event.proto` and `tensorflow/core/framework/summary.proto`.

use crate::atomic::WriteError;
use crate::protobuf::Writer;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};
use striate_graph::Graph;

/// What the names of event files begin with.
pub const PREFIX: &str = "events.out.tfevents.";

/// Buckets of a histogram.
const BUCKETS: usize = 60;

/// CRC-32C (Castagnoli) by bytes: the table of RFC 3720's polynomial, reflected.
const TABLE: [u32; 256] = {
    let mut table = [0; 256];
    let mut index = 0;
    while index < 256 {
        let mut value = index as u32;
        let mut bit = 0;
        while bit < 8 {
            value = if value & 1 == 1 { value >> 1 ^ 0x82f6_3b78 } else { value >> 1 };
            bit += 1;
        }
        table[index] = value;
        index += 1;
    }
    table
};

fn crc32c(bytes: &[u8]) -> u32 {
    let step = |crc: u32, byte: &u8| crc >> 8 ^ TABLE[(crc as u8 ^ byte) as usize];
    !bytes.iter().fold(!0, step)
}

/// The check of a record: turned and moved, so that a record that holds records does not check itself.
fn masked(bytes: &[u8]) -> u32 {
    crc32c(bytes).rotate_right(15).wrapping_add(0xa282_ead8)
}

fn record(event: &[u8]) -> Vec<u8> {
    let length = (event.len() as u64).to_le_bytes();
    let parts = [&length[..], &masked(&length).to_le_bytes(), event, &masked(event).to_le_bytes()];
    parts.concat()
}

/// An event file being written.
#[derive(Debug)]
pub struct EventWriter {
    path: PathBuf,
    file: BufWriter<File>,
}

impl EventWriter {
    /// Begins a new file in `folder`, which is made where it is missing. TensorBoard reads the files of a folder one
    /// after the other; where there are others already, it is told to forget what they say of steps from `from_step`.
    ///
    /// # Errors
    /// When the file cannot be made or written.
    pub fn create(folder: &Path, from_step: u64) -> Result<Self, WriteError> {
        let fail = |path: &Path, step| {
            let path = path.to_path_buf();
            move |source| WriteError { path, step, source }
        };
        fs::create_dir_all(folder).map_err(fail(folder, "create the folder"))?;
        let earlier = existing(folder).map_err(fail(folder, "list"))?;
        // Names are read in their order, whatever the clock says.
        let latest = earlier.iter().map(|(seconds, _)| *seconds).max().unwrap_or(0);
        let seconds = latest.max(wall_time() as u64);
        let (path, file) = new_file(folder, seconds, earlier.len())?;
        let mut writer = Self { path, file: BufWriter::new(file) };
        writer.event(0, |event| event.text(3, "brain.Event:2"))?;
        if !earlier.is_empty() {
            // A session log that says START.
            writer.event(from_step, |event| event.message(7, |log| log.int(1, 1)))?;
        }
        writer.flush()?;
        Ok(writer)
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Numbers of a step, each with its tag.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn scalars(&mut self, step: u64, values: &[(&str, f64)]) -> Result<(), WriteError> {
        self.summary(step, |summary| {
            for (tag, value) in values {
                summary.message(1, |entry| {
                    entry.text(1, tag);
                    entry.float(2, *value as f32);
                });
            }
        })
    }

    /// How the values of a tensor are spread; what is no finite number is left out.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn histogram(&mut self, step: u64, tag: &str, values: &[f32]) -> Result<(), WriteError> {
        let Some(histogram) = Histogram::of(values) else { return Ok(()) };
        self.summary(step, |summary| {
            summary.message(1, |entry| {
                entry.text(1, tag);
                entry.message(5, |message| histogram.write(message));
            });
        })
    }

    /// A picture: its size and a PNG file.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn image(
        &mut self,
        step: u64,
        tag: &str,
        [width, height]: [usize; 2],
        png: &[u8],
    ) -> Result<(), WriteError> {
        self.summary(step, |summary| {
            summary.message(1, |entry| {
                entry.text(1, tag);
                entry.message(4, |image| {
                    image.int(1, height as i64);
                    image.int(2, width as i64);
                    image.int(3, 3);
                    image.bytes(4, png);
                });
            });
        })
    }

    /// The network: a node for each of its own, grouped by the dots of their names.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn graph(&mut self, graph: &Graph) -> Result<(), WriteError> {
        let mut definition = Writer::default();
        for (_, node) in graph.nodes() {
            definition.message(1, |message| {
                message.text(1, &scoped(&node.name));
                message.text(2, node.op.variant());
                for input in &node.inputs {
                    let producer = graph.node(graph.producer(*input));
                    let port = producer.outputs.iter().position(|output| output == input).unwrap_or(0);
                    let name = scoped(&producer.name);
                    message.text(3, &if port == 0 { name } else { format!("{name}:{port}") });
                }
                message.message(5, |attribute| {
                    attribute.text(1, "_output_shapes");
                    attribute.message(2, |value| value.message(1, |list| shapes(graph, &node.outputs, list)));
                });
            });
        }
        definition.message(4, |versions| versions.int(1, 22));
        self.event(0, |event| event.bytes(4, &definition.0))
    }

    /// Hands over to the system what was written.
    ///
    /// # Errors
    /// When it does not take it.
    pub fn flush(&mut self) -> Result<(), WriteError> {
        let flushed = self.file.flush();
        self.done(flushed)
    }

    fn summary(&mut self, step: u64, write: impl FnOnce(&mut Writer)) -> Result<(), WriteError> {
        self.event(step, |event| event.message(5, write))
    }

    fn event(&mut self, step: u64, write: impl FnOnce(&mut Writer)) -> Result<(), WriteError> {
        let mut event = Writer::default();
        event.double(1, wall_time());
        event.int(2, step as i64);
        write(&mut event);
        let written = self.file.write_all(&record(&event.0));
        self.done(written)
    }

    fn done(&self, result: io::Result<()>) -> Result<(), WriteError> {
        result.map_err(|source| WriteError { path: self.path.clone(), step: "write", source })
    }
}

/// The time of day in seconds since 1970.
fn wall_time() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |time| time.as_secs_f64())
}

/// The event files in `folder`: the time in their names, and the names.
fn existing(folder: &Path) -> io::Result<Vec<(u64, String)>> {
    let names = fs::read_dir(folder)?.flatten().filter_map(|entry| entry.file_name().into_string().ok());
    let event_file = |name: String| {
        let rest = name.strip_prefix(PREFIX)?;
        let seconds = rest.split('.').next().and_then(|seconds| seconds.parse().ok()).unwrap_or(0);
        Some((seconds, name))
    };
    Ok(names.filter_map(event_file).collect())
}

/// A new file whose name is the last in their order.
fn new_file(folder: &Path, seconds: u64, first: usize) -> Result<(PathBuf, File), WriteError> {
    let mut number = first;
    loop {
        let path = folder.join(format!("{PREFIX}{seconds:010}.striate.{number:06}"));
        match OpenOptions::new().write(true).create_new(true).open(&path) {
            Ok(file) => return Ok((path, file)),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => number += 1,
            Err(source) => return Err(WriteError { path, step: "create", source }),
        }
    }
}

/// A node's name as TensorBoard groups names: `layer1.0.conv1` lies in `layer1/0`.
fn scoped(name: &str) -> String {
    name.chars().map(|c| if c == '.' { '/' } else { c }).collect()
}

/// A list of shapes (`TensorShapeProto`); the batch is unknown, -1.
fn shapes(graph: &Graph, values: &[striate_graph::Value], list: &mut Writer) {
    for value in values {
        let ty = graph.ty(*value);
        let batch = ty.batched.then_some(-1);
        list.message(7, |shape| {
            for size in batch.into_iter().chain(ty.dims.iter().map(|size| *size as i64)) {
                shape.message(2, |dim| dim.int(1, size));
            }
        });
    }
}

/// Counts of values in even buckets between the least and the greatest.
struct Histogram {
    min: f64,
    max: f64,
    count: f64,
    sum: f64,
    squares: f64,
    buckets: Vec<f64>,
}

impl Histogram {
    fn of(values: &[f32]) -> Option<Self> {
        let finite = || values.iter().filter(|value| value.is_finite()).map(|value| *value as f64);
        let (min, max) = (finite().fold(f64::INFINITY, f64::min), finite().fold(f64::NEG_INFINITY, f64::max));
        if min > max {
            return None;
        }
        let mut histogram = Self {
            min,
            max,
            count: 0.0,
            sum: 0.0,
            squares: 0.0,
            buckets: vec![0.0; if min < max { BUCKETS } else { 1 }],
        };
        let last = histogram.buckets.len() - 1;
        let each = BUCKETS as f64 / (max - min);
        for value in finite() {
            let at = if min < max { ((value - min) * each) as usize } else { 0 };
            histogram.buckets[at.min(last)] += 1.0;
            histogram.count += 1.0;
            histogram.sum += value;
            histogram.squares += value * value;
        }
        Some(histogram)
    }

    fn write(&self, to: &mut Writer) {
        let width = (self.max - self.min) / self.buckets.len() as f64;
        let limits: Vec<f64> = (1..=self.buckets.len())
            .map(|at| if at == self.buckets.len() { self.max } else { self.min + at as f64 * width })
            .collect();
        for (field, value) in (1..).zip([self.min, self.max, self.count, self.sum, self.squares]) {
            to.double(field, value);
        }
        to.doubles(6, &limits);
        to.doubles(7, &self.buckets);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protobuf::Fields;

    #[test]
    fn checks_are_those_of_rfc_3720() {
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
        assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa);
        assert_eq!(crc32c(&[0xff; 32]), 0x62a8_ab43);
        let rising: Vec<u8> = (0..32).collect();
        assert_eq!(crc32c(&rising), 0x46dd_794e);
        // TensorFlow's crc32c_test: the mask of the check of "foo" can be taken off again, and differs.
        let crc = crc32c(b"foo");
        assert_eq!(masked(b"foo").wrapping_sub(0xa282_ead8).rotate_left(15), crc);
        assert_ne!(masked(b"foo"), crc);
    }

    /// The events of a file, their checks checked.
    fn events(bytes: &[u8]) -> Vec<Vec<u8>> {
        let mut events = Vec::new();
        let mut rest = bytes;
        while !rest.is_empty() {
            let (length, after) = rest.split_at(8);
            let size = u64::from_le_bytes(length.try_into().unwrap()) as usize;
            assert_eq!(after[..4], masked(length).to_le_bytes());
            let event = &after[4..4 + size];
            assert_eq!(after[4 + size..8 + size], masked(event).to_le_bytes());
            events.push(event.to_vec());
            rest = &after[8 + size..];
        }
        events
    }

    fn field(event: &[u8], number: u32) -> Option<Vec<u8>> {
        let mut fields = Fields::new("an event", event);
        while let Some(field) = fields.next().unwrap() {
            if field.number == number {
                return Some(
                    field
                        .bytes()
                        .map_or_else(|_| field.int().unwrap().to_le_bytes().to_vec(), <[u8]>::to_vec),
                );
            }
        }
        None
    }

    #[test]
    fn a_file_begins_with_its_version_and_a_second_one_says_from_where() {
        let folder = tempfile::tempdir().unwrap();
        let mut first = EventWriter::create(&folder.path().join("deep"), 1).unwrap();
        first.scalars(3, &[("loss", 0.5), ("lr", 0.1)]).unwrap();
        first.flush().unwrap();
        let written = events(&fs::read(first.path()).unwrap());
        assert_eq!(written.len(), 2);
        assert_eq!(field(&written[0], 3).unwrap(), b"brain.Event:2");
        let summary = field(&written[1], 5).unwrap();
        assert_eq!(field(&field(&summary, 1).unwrap(), 1).unwrap(), b"loss");
        let second = EventWriter::create(&folder.path().join("deep"), 7).unwrap();
        assert!(second.path() > first.path(), "read after it");
        let written = events(&fs::read(second.path()).unwrap());
        assert_eq!(field(&written[1], 2).unwrap(), 7i64.to_le_bytes());
        assert_eq!(field(&field(&written[1], 7).unwrap(), 1).unwrap(), 1i64.to_le_bytes());
    }

    #[test]
    fn histograms_count_what_is_finite() {
        let histogram = Histogram::of(&[0.0, 1.0, 1.0, f32::NAN, 0.5, f32::INFINITY]).unwrap();
        assert_eq!((histogram.min, histogram.max, histogram.count, histogram.sum), (0.0, 1.0, 4.0, 2.5));
        assert_eq!((histogram.buckets[0], histogram.buckets[30], histogram.buckets[59]), (1.0, 1.0, 2.0));
        assert_eq!(Histogram::of(&[3.0; 5]).unwrap().buckets, [5.0]);
        assert!(Histogram::of(&[f32::NAN]).is_none() && Histogram::of(&[]).is_none());
        let wide = Histogram::of(&[f32::MIN, f32::MAX]).unwrap();
        assert_eq!(wide.buckets.iter().sum::<f64>(), 2.0);
    }
}
