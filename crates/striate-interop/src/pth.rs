//! Tensors by name in the files that `torch.save` writes: `.pth`, `.pt`, `.bin`.
//!
//! Such a file is a ZIP archive: `data.pkl` holds the dictionaries and, for each tensor, which storage it views and
//! how; `data/KEY` holds a storage's elements. The pickle is not executed: it may build dictionaries of tensors, numbers
//! and texts, and whatever else it asks for is refused by its name. Files that PyTorch wrote before version 1.6 are pickles without archive, and
//! are refused with how to convert them.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, BufReader, Read, Seek};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use indexmap::IndexMap;
use thiserror::Error;

use crate::elements;
use crate::pickle::{self, PickleProblem, Pickled, TensorRef, Value};
use crate::zip::{Archive, ZipProblem};
use crate::{Tensor, sniff};

/// The longest pickle that is read, in bytes; that of ResNet-152 takes a tenth of a megabyte.
pub const MAX_PICKLE: u64 = 64 << 20;

/// Under what training scripts keep the parameters in a checkpoint, the first that is there counts.
const PARAMETERS: [&str; 6] = ["state_dict", "model_state_dict", "model", "model_state", "net", "network"];

/// What is wrong with a file, and with which.
#[derive(Debug, Error)]
#[error("{}: {problem}", path.display())]
pub struct PthError {
    /// The file.
    pub path: PathBuf,
    /// What is wrong with it.
    pub problem: PthProblem,
}

/// What can be wrong with a file of PyTorch's; counts in elements where nothing else is said.
#[derive(Debug, Error)]
pub enum PthProblem {
    /// The file cannot be opened or read.
    #[error("cannot read: {0}")]
    Read(#[from] io::Error),
    /// A folder, pipe or device.
    #[error("not a regular file; give the .pth file itself")]
    NotAFile,
    /// Another kind of file.
    #[error("not a file that torch.save wrote{}", .found.map_or(String::new(), |kind| format!(" but {kind}")))]
    NotPth {
        /// What it seems to be.
        found: Option<&'static str>,
    },
    /// The format before PyTorch 1.6.
    #[error(
        "in PyTorch's old format, a pickle without archive; PyTorch converts it: \
         torch.save(torch.load('old.pth', weights_only=True), 'new.pth')"
    )]
    Legacy,
    /// A program, not parameters.
    #[error(
        "a TorchScript program; with PyTorch, save its parameters: \
         torch.save(torch.jit.load('program.pt').state_dict(), 'parameters.pth')"
    )]
    TorchScript,
    /// An archive without what `torch.save` puts there.
    #[error("an archive without {entry}; torch.save writes one")]
    NoEntry {
        /// What is missing.
        entry: String,
    },
    /// Written on a machine of the other byte order.
    #[error(
        "elements of the byte order {order}; only little can be read: save the file anew on such a machine"
    )]
    ByteOrder {
        /// What the archive says.
        order: String,
    },
    /// A compressed archive.
    #[error("{entry}: compressed; torch.save compresses nothing: save the file anew")]
    Compressed {
        /// The entry.
        entry: String,
    },
    /// The pickle is longer than any that is read.
    #[error("a pickle of {length} bytes; at most {MAX_PICKLE} are read")]
    PickleTooLong {
        /// Its length.
        length: u64,
    },
    /// The archive is damaged.
    #[error(transparent)]
    Archive(#[from] ZipProblem),
    /// The pickle is damaged, or asks for what is refused.
    #[error(transparent)]
    Pickle(#[from] PickleProblem),
    /// No dictionary of tensors.
    #[error(
        "holds no dictionary of tensors; save a model's parameters: torch.save(model.state_dict(), 'parameters.pth')"
    )]
    NoTensors,
    /// Several dictionaries of tensors, none with a name that says which is the model.
    #[error("holds several dictionaries of tensors, {}; save one of them alone", names.join(", "))]
    Several {
        /// Their names.
        names: Vec<String>,
    },
    /// A name for the second time.
    #[error("{tensor}: appears twice")]
    Twice {
        /// The tensor.
        tensor: String,
    },
    /// A storage that is shorter than it should be.
    #[error("{tensor}: its storage of {len} elements takes {needed} bytes, but its entry has {present}")]
    Storage {
        /// The tensor.
        tensor: String,
        /// The elements of the storage.
        len: usize,
        /// The bytes they take.
        needed: u128,
        /// The bytes of the entry.
        present: u64,
    },
    /// A view that reaches outside its storage.
    #[error(
        "{tensor}: shape {:?} with strides {:?} from {} on leaves its storage of {} elements",
        view.shape, view.strides, view.offset, view.len
    )]
    Outside {
        /// The tensor.
        tensor: String,
        /// What it asks for.
        view: Box<View>,
    },
    /// Views that make far more elements than the file has bytes.
    #[error("the tensors have more elements than the file has bytes ({size}): it was not made to be read")]
    Bomb {
        /// The length of the file in bytes.
        size: u64,
    },
}

/// How a tensor lies in a storage, in elements.
#[derive(Clone, Debug, PartialEq)]
pub struct View {
    /// Its sizes.
    pub shape: Vec<usize>,
    /// Its strides.
    pub strides: Vec<usize>,
    /// Where it begins.
    pub offset: usize,
    /// How many elements the storage has.
    pub len: usize,
}

/// Reads the parameters in the file at `path`, by name and in the order of the file.
///
/// They are the dictionary that the file holds, or in a checkpoint the one under `state_dict`, `model_state_dict`, `model`,
/// `model_state`, `net` or `network`, or the only one with tensors. Elements of any type become float32.
///
/// # Errors
/// What is wrong with the file, or what it asks for that is refused.
pub fn read(path: impl AsRef<Path>) -> Result<IndexMap<String, Tensor>, PthError> {
    let path = path.as_ref();
    let open = || {
        let file = File::open(path)?;
        let meta = file.metadata()?;
        if !meta.is_file() {
            return Err(PthProblem::NotAFile);
        }
        read_from(BufReader::with_capacity(1 << 16, file), meta.len())
    };
    open().map_err(|problem| PthError { path: path.into(), problem })
}

/// Reads a file of `size` bytes from `source`. The tensors have at most as many elements as the file has bytes, and one storage at a time is
/// kept beside them.
///
/// # Errors
/// What is wrong with the file, or what it asks for that is refused.
pub fn read_from(mut source: impl Read + Seek, size: u64) -> Result<IndexMap<String, Tensor>, PthProblem> {
    let mut head = Vec::with_capacity(8);
    source.by_ref().take(8).read_to_end(&mut head)?;
    match head.as_slice() {
        [b'P', b'K', ..] => {}
        [0x80, 2..=5, ..] => return Err(PthProblem::Legacy),
        head => return Err(PthProblem::NotPth { found: sniff::content(head) }),
    }
    let mut archive = Archive::open(source, size)?;
    let prefix = prefix(&archive)?;
    let order = format!("{prefix}byteorder");
    if archive.size(&order).is_some_and(|size| size < 16) {
        let order = String::from_utf8_lossy(&archive.read(&order)?).into_owned();
        if order != "little" {
            return Err(PthProblem::ByteOrder { order });
        }
    }
    let pickle = format!("{prefix}data.pkl");
    let length = archive.size(&pickle).unwrap_or(0);
    if length > MAX_PICKLE {
        return Err(PthProblem::PickleTooLong { length });
    }
    let pickled = pickle::load(&archive.read(&pickle)?)?;
    let found = parameters(&pickled)?;

    let mut left = size;
    for (name, tensor) in &found {
        let elements = check(name, tensor)?;
        left = left.checked_sub(elements).ok_or(PthProblem::Bomb { size })?;
    }
    let mut tensors: IndexMap<String, Tensor> =
        found.keys().map(|name| (name.clone(), Tensor::new([], []))).collect();
    let mut by_storage: IndexMap<&str, Vec<(&String, &TensorRef)>> = IndexMap::new();
    for (name, tensor) in &found {
        by_storage.entry(&tensor.storage.key).or_default().push((name, tensor));
    }
    for (key, views) in by_storage {
        let entry = format!("{prefix}data/{key}");
        let present = archive.size(&entry).ok_or_else(|| PthProblem::NoEntry { entry: entry.clone() })?;
        if archive.is_deflated(&entry) {
            return Err(PthProblem::Compressed { entry });
        }
        let bytes = archive.read(&entry)?;
        for (name, view) in views {
            let len = view.storage.len;
            let needed = len as u128 * view.storage.dtype.size() as u128;
            if needed > u128::from(present) {
                return Err(PthProblem::Storage { tensor: name.clone(), len, needed, present });
            }
            tensors[name] = Tensor::new(view.shape.clone(), gather(view, &bytes));
        }
    }
    Ok(tensors)
}

/// What stands before the names of the archive's entries.
fn prefix<R: Read + Seek>(archive: &Archive<R>) -> Result<String, PthProblem> {
    let folder = |name: &str| {
        let folder = name.strip_suffix("data.pkl")?;
        (folder.is_empty() || folder.find('/') == Some(folder.len() - 1)).then(|| folder.to_string())
    };
    let prefix = archive.names().find_map(folder);
    let prefix = prefix.ok_or_else(|| PthProblem::NoEntry { entry: "data.pkl".into() })?;
    let code = format!("{prefix}code/");
    if archive.names().any(|name| name.starts_with(&code)) {
        return Err(PthProblem::TorchScript);
    }
    Ok(prefix)
}

type Tensors = IndexMap<String, Rc<TensorRef>>;

/// The dictionary that holds a model's parameters.
fn parameters(pickled: &Pickled) -> Result<Tensors, PthProblem> {
    let root = pickled.dict(&pickled.root).ok_or(PthProblem::NoTensors)?;
    let mut seen = HashSet::new();
    let mut nested = Vec::new();
    for (key, value) in root {
        if let (Value::Text(key), Value::Container(id)) = (key, value)
            && pickled.dict(value).is_some_and(has_tensors)
            && seen.insert(*id)
        {
            nested.push((&**key, value));
        }
    }
    let named = PARAMETERS.iter().find_map(|name| nested.iter().find(|(key, _)| key == name));
    let chosen = match (named, nested.as_slice()) {
        (Some((_, dict)), _) => dict,
        _ if has_tensors(root) => &pickled.root,
        (None, [(_, dict)]) => dict,
        (None, []) => return Err(PthProblem::NoTensors),
        (None, several) => {
            let names = several.iter().take(8).map(|(key, _)| (*key).into()).collect();
            return Err(PthProblem::Several { names });
        }
    };
    let mut tensors = Tensors::new();
    for (key, value) in pickled.dict(chosen).unwrap_or_default() {
        if let (Value::Text(key), Value::Tensor(tensor)) = (key, value)
            && tensors.insert(key.to_string(), tensor.clone()).is_some()
        {
            return Err(PthProblem::Twice { tensor: key.to_string() });
        }
    }
    Ok(tensors)
}

fn has_tensors(dict: &[(Value, Value)]) -> bool {
    dict.iter().any(|entry| matches!(entry, (Value::Text(_), Value::Tensor(_))))
}

/// The number of elements of a tensor that lies inside its storage.
fn check(name: &str, view: &TensorRef) -> Result<u64, PthProblem> {
    let outside = || {
        let (shape, strides) = (view.shape.clone(), view.strides.clone());
        let view = View { shape, strides, offset: view.offset, len: view.storage.len };
        PthProblem::Outside { tensor: name.into(), view: Box::new(view) }
    };
    let count = elements::count(&view.shape).ok_or_else(outside)?;
    if count > 0 {
        let mut steps = view.shape.iter().zip(&view.strides);
        let last = steps.try_fold(view.offset, |sum, (size, stride)| {
            (size - 1).checked_mul(*stride).and_then(|step| sum.checked_add(step))
        });
        if last.is_none_or(|last| last >= view.storage.len) {
            return Err(outside());
        }
    }
    Ok(count)
}

/// The elements of a view, row-major. It lies inside the storage, and the storage inside `bytes`.
fn gather(view: &TensorRef, bytes: &[u8]) -> Vec<f32> {
    let (dtype, size) = (view.storage.dtype, view.storage.dtype.size());
    let count: usize = view.shape.iter().product();
    let mut data = Vec::with_capacity(count);
    if count == 0 {
        return data;
    }
    // The innermost dimensions that lie end to end are read at once.
    let mut run = 1;
    let mut outer = view.shape.len();
    while outer > 0 && (view.shape[outer - 1] == 1 || view.strides[outer - 1] == run) {
        run *= view.shape[outer - 1];
        outer -= 1;
    }
    let mut index = vec![0; outer];
    let mut at = view.offset;
    loop {
        dtype.decode(&bytes[at * size..][..run * size], &mut data);
        let mut axis = outer;
        loop {
            if axis == 0 {
                return data;
            }
            axis -= 1;
            index[axis] += 1;
            at += view.strides[axis];
            if index[axis] < view.shape[axis] {
                break;
            }
            at -= index[axis] * view.strides[axis];
            index[axis] = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use proptest::prelude::*;

    use super::*;
    use crate::elements::Dtype;
    use crate::pickle::Storage;
    use crate::zip::tests::archive;

    fn parse(bytes: &[u8]) -> Result<IndexMap<String, Tensor>, PthProblem> {
        read_from(Cursor::new(bytes), bytes.len() as u64)
    }

    fn open(name: &str) -> Result<IndexMap<String, Tensor>, PthError> {
        read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/pth").join(name))
    }

    /// What `tests/pth/generate.py` puts into every file.
    fn expected() -> Vec<(&'static str, Tensor)> {
        let matrix = Tensor::new([2, 3], [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]);
        let transposed = Tensor::new([3, 2], [0.0, 3.0, 1.0, 4.0, 2.0, 5.0]);
        let halves = || Tensor::new([2], [0.5, -1.25]);
        vec![
            ("weight", matrix.clone()),
            ("tied", matrix),
            ("transposed", transposed),
            ("column", Tensor::new([2], [1.0, 4.0])),
            ("expanded", Tensor::new([2, 2], [7.0; 4])),
            ("scalar", Tensor::new([], [-3.0])),
            ("empty", Tensor::new([0, 4], [])),
            ("float16", halves()),
            ("bfloat16", halves()),
            ("float64", halves()),
            ("int64", Tensor::new([2], [-1.0, 2.0])),
            ("int32", Tensor::new([2], [-1.0, 2.0])),
            ("int16", Tensor::new([2], [-1.0, 2.0])),
            ("int8", Tensor::new([2], [-1.0, 2.0])),
            ("uint8", Tensor::new([2], [255.0, 2.0])),
            ("bool", Tensor::new([2], [1.0, 0.0])),
            ("parameter", Tensor::new([1], [9.0])),
        ]
    }

    #[test]
    fn reads_what_pytorch_writes() {
        for name in ["state_dict.pth", "protocol4.pth", "checkpoint.pth"] {
            let found = open(name).unwrap();
            assert_eq!(found.into_iter().collect::<Vec<_>>().len(), expected().len(), "{name}");
            let found = open(name).unwrap();
            for ((name, tensor), (wanted, value)) in found.iter().zip(expected()) {
                assert_eq!((name.as_str(), tensor), (wanted, &value));
            }
        }
    }

    #[test]
    fn what_pytorch_writes_otherwise_is_refused_with_what_to_do() {
        for (name, what) in [
            ("legacy.pth", "old format, a pickle without archive; PyTorch converts it"),
            ("module.pth", "asks for torch.nn.modules.linear.Linear, which is refused"),
            ("evil.pth", "asks for posix.system, which is refused"),
            ("list.pth", "holds no dictionary of tensors"),
            ("several.pth", "several dictionaries of tensors, ema, student; save one"),
        ] {
            let error = open(name).unwrap_err().to_string();
            assert!(error.contains(name) && error.contains(what), "{error}");
        }
    }

    #[test]
    fn other_files_are_named() {
        for (bytes, what) in [
            (b"\x93NUMPY\x01\0".to_vec(), "not a file that torch.save wrote but a NumPy array"),
            (b"".to_vec(), "not a file that torch.save wrote"),
            (archive(&[("x.npy", b"text")]), "an archive without data.pkl"),
            (archive(&[("a/data.pkl", b"}."), ("a/byteorder", b"big")]), "byte order big"),
            (archive(&[("a/data.pkl", b"}."), ("a/code/x.py", b"")]), "TorchScript"),
            (archive(&[("a/data.pkl", b"}.")]), "holds no dictionary of tensors"),
            (archive(&[("a/data.pkl", b"N.")]), "holds no dictionary of tensors"),
        ] {
            let error = parse(&bytes).unwrap_err().to_string();
            assert!(error.contains(what), "{what}: {error}");
        }
    }

    /// A pickle of one tensor `w` of a storage of `len` floats.
    fn one(len: u8, offset: u8, shape: &[u8], strides: &[u8]) -> Vec<u8> {
        let tuple = |items: &[u8]| {
            let items: Vec<u8> = items.iter().flat_map(|item| [b'K', *item]).collect();
            [b"(", &items[..], b"t"].concat()
        };
        [
            &b"}X\x01\0\0\0wctorch._utils\n_rebuild_tensor_v2\n((X\x07\0\0\0storagectorch\nFloatStorage\n\
              X\x01\0\0\x000X\x03\0\0\0cpuK"[..],
            &[len],
            b"tQK",
            &[offset],
            &tuple(shape),
            &tuple(strides),
            b"\x89NtRs.",
        ]
        .concat()
    }

    #[test]
    fn views_stay_inside_their_storage_and_the_file() {
        let file = |pickle: &[u8], storage: &[u8]| archive(&[("a/data.pkl", pickle), ("a/data/0", storage)]);
        let tensor = &parse(&file(&one(4, 1, &[3], &[1]), &[0; 16])).unwrap()["w"];
        assert_eq!(*tensor, Tensor::new([3], [0.0; 3]));
        for (pickle, storage, what) in [
            (one(4, 2, &[3], &[1]), 16, "shape [3] with strides [1] from 2 on leaves its storage of 4"),
            (one(4, 0, &[2, 2], &[3, 1]), 16, "leaves its storage"),
            (one(4, 4, &[1], &[1]), 16, "leaves its storage"),
            (one(5, 0, &[5], &[1]), 16, "storage of 5 elements takes 20 bytes, but its entry has 16"),
            (one(4, 0, &[255, 255], &[0, 0]), 16, "more elements than the file has bytes"),
            (one(4, 0, &[255; 12], &[0; 12]), 16, "leaves its storage"),
            (one(4, 0, &[1; 17], &[0; 17]), 16, "more dimensions than any has"),
            (one(4, 0, &[1], &[0, 0]), 16, "do not go together"),
        ] {
            let error = parse(&file(&pickle, &vec![0; storage])).unwrap_err().to_string();
            assert!(error.contains(what), "{what}: {error}");
        }
        let error = parse(&archive(&[("a/data.pkl", &one(4, 0, &[4], &[1]))])).unwrap_err().to_string();
        assert!(error.contains("an archive without a/data/0"), "{error}");
    }

    #[test]
    fn every_truncation_is_an_error() {
        let whole = archive(&[("a/data.pkl", &one(4, 0, &[4], &[1])), ("a/data/0", &[0; 16])]);
        assert!(parse(&whole).is_ok());
        for cut in 0..whole.len() {
            assert!(parse(&whole[..cut]).is_err(), "{cut}");
        }
    }

    proptest! {
        #[test]
        fn strides_are_honoured(
            shape in prop::collection::vec(1usize..5, 0..4),
            strides in prop::collection::vec(0usize..9, 4),
            offset in 0usize..5,
        ) {
            let strides = strides[..shape.len()].to_vec();
            let len = 256;
            let storage = Rc::new(Storage { key: "0".into(), dtype: Dtype::U8, len });
            let bytes: Vec<u8> = (0..=255).collect();
            let view = TensorRef { storage, offset, shape: shape.clone(), strides: strides.clone() };
            let count = check("x", &view).unwrap() as usize;
            let data = gather(&view, &bytes);
            prop_assert_eq!(data.len(), count);
            for (number, element) in data.into_iter().enumerate() {
                let (mut rest, mut at) = (number, offset);
                for (size, stride) in shape.iter().zip(&strides).rev() {
                    at += rest % size * stride;
                    rest /= size;
                }
                prop_assert_eq!(element, at as f32);
            }
        }

        #[test]
        fn mutated_files_never_panic(edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..5)) {
            let mut pickle = one(4, 0, &[2, 2], &[2, 1]);
            for (index, value) in edits {
                let at = index.index(pickle.len());
                pickle[at] = value;
            }
            let bytes = archive(&[("a/data.pkl", &pickle), ("a/data/0", &[0; 16])]);
            if let Ok(tensors) = parse(&bytes) {
                prop_assert!(tensors.values().all(|t| elements::count(&t.shape) == Some(t.data.len() as u64)));
            }
        }
    }
}
