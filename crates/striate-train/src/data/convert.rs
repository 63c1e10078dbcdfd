//! Data sets written down in another form.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{self, BufWriter, Cursor};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use image::{ExtendedColorType, ImageEncoder, codecs};
use thiserror::Error;

use super::pictures::shards::CLASSES;
use super::pictures::tar::TarWriter;
use super::{DataError, Dataset, Samples, Scale, Split, cifar};
use crate::image_file::kind;
use crate::picture::Picture;
use crate::resample::{self, Filter};
use crate::text;

/// What a data set is written as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// A folder for each class, below `train` and `test`.
    Folder,
    /// Tar archives as WebDataset reads them.
    Shards,
    /// The official binary files of CIFAR-10.
    Cifar10,
    /// Four files as MNIST's.
    Idx,
}

const FORMS: [(&str, Form); 4] =
    [("folder", Form::Folder), ("shards", Form::Shards), ("cifar10", Form::Cifar10), ("idx", Form::Idx)];

/// A form and the folder it is written to; the text is `shards:DIR`, and a folder alone is one of pictures.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// What it is written as.
    pub form: Form,
    /// A folder that does not exist or is empty.
    pub dir: PathBuf,
}

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once(':') {
            Some((name, dir)) if !dir.is_empty() => match FORMS.iter().find(|(form, _)| *form == name) {
                Some((_, form)) => Ok(Self { form: *form, dir: dir.into() }),
                None => {
                    let near = text::nearest(name, FORMS.map(|(form, _)| form));
                    let near = near.map_or_else(
                        || format!("there are {}", FORMS.map(|(form, _)| form).join(", ")),
                        |near| format!("did you mean {near}?"),
                    );
                    Err(format!("'{name}' is no form of a data set; {near}"))
                }
            },
            _ if text.is_empty() => Err("it names no folder".into()),
            _ => Ok(Self { form: Form::Folder, dir: text.into() }),
        }
    }
}

/// How a data set is written.
#[derive(Clone, Debug)]
pub struct Conversion {
    /// Where, and as what.
    pub target: Target,
    /// Pixels that the shorter side of larger pictures is resized to.
    pub short_side: Option<usize>,
    /// Bytes of a shard, about.
    pub shard_bytes: u64,
}

/// What has been written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Converted {
    /// Pictures.
    pub pictures: u64,
    /// Files.
    pub files: u64,
    /// Bytes.
    pub bytes: u64,
}

/// Why a data set cannot be written.
#[derive(Debug, Error)]
pub enum ConvertError {
    /// A picture cannot be read.
    #[error(transparent)]
    Data(#[from] DataError),
    /// A file cannot be written.
    #[error("{}: cannot write: {source}{}", path.display(), striate_interop::atomic::remedy(source))]
    Write {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A folder that is in use.
    #[error("{} exists and is not empty; name another folder, or remove it", .0.display())]
    Exists(PathBuf),
    /// Images that the form does not hold.
    #[error("{form} holds {wanted}; this data set has {found}")]
    Unfit {
        /// The form.
        form: &'static str,
        /// What it holds.
        wanted: String,
        /// What there is.
        found: String,
    },
    /// A picture that cannot be encoded.
    #[error("{title}: cannot be encoded: {source}")]
    Encode {
        /// Which.
        title: String,
        /// Why.
        source: image::ImageError,
    },
}

/// Writes both parts of a data set; `progress` hears how many pictures are done and how many there are. Pictures keep the
/// bytes of their files unless they are resized; then what was JPEG is JPEG of quality 95, all else PNG.
///
/// # Errors
/// When the form does not hold such images, or a file cannot be read or written; what has been written stays.
pub fn convert(
    parts: [&Dataset; 2],
    conversion: &Conversion,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Converted, ConvertError> {
    let dir = &conversion.target.dir;
    if fs::read_dir(dir).is_ok_and(|mut entries| entries.next().is_some()) {
        return Err(ConvertError::Exists(dir.clone()));
    }
    let mut writer = Writer {
        conversion,
        done: Converted::default(),
        of: parts.iter().map(|part| part.len() as u64).sum(),
        progress,
    };
    match conversion.target.form {
        Form::Folder => writer.folder(parts)?,
        Form::Shards => writer.shards(parts)?,
        Form::Cifar10 => writer.cifar(parts)?,
        Form::Idx => writer.idx(parts)?,
    }
    Ok(writer.done)
}

struct Writer<'a> {
    conversion: &'a Conversion,
    done: Converted,
    of: u64,
    progress: &'a mut dyn FnMut(u64, u64),
}

fn failed(path: &Path) -> impl Fn(io::Error) -> ConvertError {
    move |source| ConvertError::Write { path: path.into(), source }
}

fn part_name(split: Split) -> &'static str {
    if split == Split::Train { "train" } else { "test" }
}

impl Writer<'_> {
    fn create_dir(&self, path: &Path) -> Result<(), ConvertError> {
        fs::create_dir_all(path).map_err(failed(path))
    }

    fn write(&mut self, path: &Path, bytes: &[u8]) -> Result<(), ConvertError> {
        fs::write(path, bytes).map_err(failed(path))?;
        self.done.files += 1;
        self.done.bytes += bytes.len() as u64;
        Ok(())
    }

    fn picture_done(&mut self) {
        self.done.pictures += 1;
        (self.progress)(self.done.pictures, self.of);
    }

    fn folder(&mut self, parts: [&Dataset; 2]) -> Result<(), ConvertError> {
        for part in parts {
            let mut taken = HashSet::new();
            let classes = plain_names(part.classes());
            for id in 0..part.len() {
                let class = &classes[part.label(id) as usize];
                let folder = self.conversion.target.dir.join(part_name(part.split())).join(class);
                if taken.insert((class.clone(), String::new())) {
                    self.create_dir(&folder)?;
                }
                let (bytes, ending) = self.encoded(part, id)?;
                let stem = stem(part, id);
                let stems = (1..).map(|n| if n == 1 { stem.clone() } else { format!("{stem}-{n}") });
                let mut names = stems.map(|stem| format!("{stem}.{ending}"));
                let name = names.find(|name| taken.insert((class.clone(), name.to_lowercase())));
                self.write(&folder.join(name.unwrap_or_default()), &bytes)?;
                self.picture_done();
            }
        }
        Ok(())
    }

    fn shards(&mut self, parts: [&Dataset; 2]) -> Result<(), ConvertError> {
        let dir = self.conversion.target.dir.clone();
        self.create_dir(&dir)?;
        let classes: Vec<String> =
            parts[0].classes().iter().map(|name| name.replace(['\n', '\r'], " ")).collect();
        self.write(&dir.join(CLASSES), (classes.join("\n") + "\n").as_bytes())?;
        for part in parts {
            let (mut id, mut number) = (0, 0);
            while id < part.len() {
                let path = dir.join(format!("{}-{number:06}.tar", part_name(part.split())));
                let file = File::create(&path).map_err(failed(&path))?;
                let mut tar = TarWriter::new(BufWriter::with_capacity(1 << 18, file));
                while id < part.len() && tar.written() < self.conversion.shard_bytes {
                    let (bytes, ending) = self.encoded(part, id)?;
                    let key = format!("{id:08}");
                    let label = part.label(id).to_string();
                    tar.append(&format!("{key}.{ending}"), &bytes).map_err(failed(&path))?;
                    tar.append(&format!("{key}.cls"), label.as_bytes()).map_err(failed(&path))?;
                    id += 1;
                    self.picture_done();
                }
                self.done.bytes += tar.written();
                self.done.files += 1;
                tar.finish().map_err(failed(&path))?;
                number += 1;
            }
        }
        Ok(())
    }

    fn cifar(&mut self, parts: [&Dataset; 2]) -> Result<(), ConvertError> {
        let family = &cifar::CIFAR10;
        for part in parts {
            if part.shape() != Some([3, 32, 32]) || part.classes() != family.classes {
                let wanted = format!("images of 3×32×32 of the classes {}", family.classes.join(", "));
                return Err(ConvertError::Unfit { form: "cifar10", wanted, found: described(part) });
            }
        }
        let dir = self.conversion.target.dir.clone();
        self.create_dir(&dir)?;
        for part in parts {
            let files = if part.split() == Split::Train { family.train } else { &[family.test] };
            let each = part.len().div_ceil(files.len()).max(1);
            for (at, file) in files.iter().enumerate() {
                let mut records = Vec::new();
                for id in (at * each).min(part.len())..((at + 1) * each).min(part.len()) {
                    let image = part.images().map_or(&[][..], |images| images.image(id));
                    records.extend(family.record(part.label(id) as u8, image));
                    self.picture_done();
                }
                self.write(&dir.join(file), &records)?;
            }
        }
        let names = family.classes.join("\n") + "\n\n";
        self.write(&dir.join("batches.meta.txt"), names.as_bytes())
    }

    fn idx(&mut self, parts: [&Dataset; 2]) -> Result<(), ConvertError> {
        for part in parts {
            if part.shape().is_none_or(|shape| shape[0] != 1) || part.classes().len() > 256 {
                let wanted = "grey images of one size, of 256 classes at most".into();
                return Err(ConvertError::Unfit { form: "idx", wanted, found: described(part) });
            }
        }
        let dir = self.conversion.target.dir.clone();
        self.create_dir(&dir)?;
        for part in parts {
            let Some(images) = part.images() else { continue };
            let [_, height, width] = images.shape();
            let stem = if part.split() == Split::Train { "train" } else { "t10k" };
            let header = |dims: &[usize]| -> Vec<u8> {
                let sizes = dims.iter().flat_map(|size| (*size as u32).to_be_bytes());
                [0, 0, 8, dims.len() as u8].into_iter().chain(sizes).collect()
            };
            let pixels = [&header(&[part.len(), height, width]), images.pixels()].concat();
            self.write(&dir.join(format!("{stem}-images-idx3-ubyte")), &pixels)?;
            let labels = part.labels().iter().map(|label| *label as u8).collect();
            self.write(
                &dir.join(format!("{stem}-labels-idx1-ubyte")),
                &[header(&[part.len()]), labels].concat(),
            )?;
            (0..part.len()).for_each(|_| self.picture_done());
        }
        Ok(())
    }

    /// The bytes of a picture's file, and how its name ends.
    fn encoded(&self, part: &Dataset, id: usize) -> Result<(Vec<u8>, &'static str), ConvertError> {
        let own = part.file(id)?;
        let format = own.as_deref().and_then(kind);
        let mut scratch = Vec::new();
        let small = match (self.conversion.short_side, own) {
            (None, Some(bytes)) => return Ok((bytes, ending(format))),
            (Some(side), Some(bytes)) => {
                let picture = part.picture(id, Scale::Full, &mut scratch)?;
                if picture.height.min(picture.width) <= side {
                    return Ok((bytes, ending(format)));
                }
                shrunk(picture, side)
            }
            (side, None) => {
                let picture = part.picture(id, Scale::Full, &mut scratch)?;
                match side {
                    Some(side) if picture.height.min(picture.width) > side => shrunk(picture, side),
                    _ => (picture.pixels.to_vec(), [picture.height, picture.width]),
                }
            }
        };
        let encode = |source| ConvertError::Encode { title: part.title(id), source };
        let bytes = encode_as(format, small, part.channels()).map_err(encode)?;
        Ok((bytes, if format == Some("JPEG") { "jpg" } else { "png" }))
    }
}

fn ending(format: Option<&str>) -> &'static str {
    match format {
        Some("JPEG") => "jpg",
        Some("WebP") => "webp",
        Some("BMP") => "bmp",
        _ => "png",
    }
}

/// The picture with a shorter side of `side`, as Pillow makes it.
fn shrunk(picture: Picture, side: usize) -> (Vec<u8>, [usize; 2]) {
    let Picture { height, width, channels, pixels } = picture;
    let short = height.min(width);
    let to = [height, width].map(|length| (length * side / short).max(1));
    (resample::resize(pixels.to_vec(), channels, [height, width], to, Filter::Bilinear), to)
}

fn encode_as(
    format: Option<&str>,
    (pixels, [height, width]): (Vec<u8>, [usize; 2]),
    channels: usize,
) -> Result<Vec<u8>, image::ImageError> {
    let color = if channels == 1 { ExtendedColorType::L8 } else { ExtendedColorType::Rgb8 };
    let mut bytes = Cursor::new(Vec::new());
    let (width, height) = (width as u32, height as u32);
    match format {
        Some("JPEG") => codecs::jpeg::JpegEncoder::new_with_quality(&mut bytes, 95)
            .write_image(&pixels, width, height, color)?,
        _ => codecs::png::PngEncoder::new(&mut bytes).write_image(&pixels, width, height, color)?,
    }
    Ok(bytes.into_inner())
}

/// Names of classes as names of folders, each another.
fn plain_names(classes: &[String]) -> Vec<String> {
    let mut taken = HashSet::new();
    let mut plain = |name: &String| {
        let name: String =
            name.chars().map(|c| if c.is_control() || "/\\:*?\"<>|".contains(c) { '-' } else { c }).collect();
        let name = name.trim().trim_matches('.').to_string();
        let name = if name.is_empty() { "class".into() } else { name };
        let mut names = (1..).map(|n| if n == 1 { name.clone() } else { format!("{name}-{n}") });
        names.find(|name| taken.insert(name.to_lowercase())).unwrap_or_default()
    };
    classes.iter().map(&mut plain).collect()
}

/// What a picture's file is called, without its ending: its name, or its number.
fn stem(part: &Dataset, id: usize) -> String {
    let title = part.title(id);
    let name = Path::new(title.rsplit(':').next().unwrap_or(&title)).file_stem();
    let name = name.and_then(|name| name.to_str()).unwrap_or_default();
    let number = || format!("{id:06}");
    match part.images() {
        Some(_) => number(),
        None if name.is_empty() || name.contains(['\\', '\u{fffd}']) => number(),
        None => name.into(),
    }
}

fn described(data: &Dataset) -> String {
    let shape = data.shape().map_or_else(
        || "pictures of any size".to_string(),
        |[channels, height, width]| format!("images of {channels}×{height}×{width}"),
    );
    format!("{shape} of {} classes", data.classes().len())
}
