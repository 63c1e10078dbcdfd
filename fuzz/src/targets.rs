//! What is fuzzed: one row for each reader.

use std::io::Cursor;
use striate_graph::notation;
use striate_interop::tensor_file::TensorFile;
use striate_interop::{npy, npz, pth, timm};
use striate_train::data::idx::Source;
use striate_train::image_file::{Fit, Preprocess};
use striate_train::model::Model;

/// A reader that must withstand any bytes.
pub struct Target {
    /// Its name, and that of its folder in `corpus/`.
    pub name: &'static str,
    /// Reads the bytes; whether it succeeds does not matter.
    pub run: fn(&[u8]),
    /// Bytes that it may hold for a file of so many: the bound that its documentation states, with room for its errors.
    pub bound: fn(usize) -> usize,
    /// Pieces of the format, for the mutator.
    pub words: &'static [&'static [u8]],
}

const MIB: usize = 1 << 20;

/// All targets.
pub static TARGETS: [Target; 9] = [
    Target {
        name: "safetensors",
        run: |bytes| {
            let _ = TensorFile::read_from(bytes, bytes.len() as u64);
        },
        // Bytes that become float32, the header's JSON, and a chunk.
        bound: |len| 32 * len + MIB,
        words: &[
            b"\"dtype\":\"F32\"",
            b"\"I64\"",
            b"\"BOOL\"",
            b"\"data_offsets\":[0,4]",
            b"\"shape\":[]",
            b"__metadata__",
            b"{",
            b"}",
        ],
    },
    Target {
        name: "pth",
        run: |bytes| {
            let _ = pth::read_from(Cursor::new(bytes), bytes.len() as u64);
        },
        // Values of the pickle (an instruction of one byte makes one of a hundred), a storage, elements.
        bound: |len| 256 * len + MIB,
        words: &[
            b"PK\x05\x06",
            b"PK\x01\x02",
            b"PK\x03\x04",
            b"ctorch._utils\n_rebuild_tensor_v2\n",
            b"ctorch\nFloatStorage\n",
            b"ccollections\nOrderedDict\n",
            b"q\x00",
            b"h\x00",
            b"(",
            b"t",
            b"R",
            b"Q",
            b"u",
            b"}",
            b"]",
            b"a",
            b"\x85",
            b"\x86",
            b"\x8a\x08",
            b"K\x00",
        ],
    },
    Target {
        name: "pickle",
        run: |bytes| {
            let file = archive(bytes);
            let _ = pth::read_from(Cursor::new(&file), file.len() as u64);
        },
        bound: |len| 256 * len + MIB,
        words: &[
            b"ctorch._utils\n_rebuild_tensor_v2\n",
            b"ctorch._utils\n_rebuild_parameter\n",
            b"ctorch\nFloatStorage\n",
            b"ctorch\nSize\n",
            b"ccollections\nOrderedDict\n",
            b"q\x00",
            b"h\x00",
            b"(",
            b"t",
            b"R",
            b"Q",
            b"u",
            b"}",
            b"]",
            b"a",
            b"e",
            b"s",
            b"b",
            b"0",
            b"1",
            b"\x85",
            b"\x86",
            b"\x87",
            b"\x8a\x08",
            b"K\x00",
            b"\x94",
            b"\x93",
        ],
    },
    Target {
        name: "npy",
        run: |bytes| {
            let _ = npy::read_from(bytes, bytes.len() as u64);
        },
        bound: |len| 16 * len + MIB,
        words: &[
            b"'descr':",
            b"'<f4'",
            b"'|u1'",
            b"'fortran_order': True",
            b"'shape': (",
            b")",
            b",",
            b"99999999999",
        ],
    },
    Target {
        name: "npz",
        run: |bytes| {
            let _ = npz::read_from(Cursor::new(bytes), bytes.len() as u64);
        },
        // Deflate stands for 1032 bytes by one, and a byte becomes a float32.
        bound: |len| 8 * 1032 * len + MIB,
        words: &[
            b"PK\x05\x06",
            b"PK\x06\x06",
            b"PK\x06\x07",
            b"PK\x01\x02",
            b"PK\x03\x04",
            b"x.npy",
            b"'<f4'",
            b"'|b1'",
        ],
    },
    Target {
        name: "idx",
        run: |bytes| {
            for rank in [1, 3] {
                let _ = Source::Bytes("fuzz", bytes).read(rank);
            }
        },
        bound: |len| 4 * 1032 * len + MIB,
        words: &[b"\0\0\x08\x03", b"\0\0\x08\x01", b"\x1f\x8b\x08"],
    },
    Target {
        name: "notation",
        run: |bytes| {
            if let Ok(text) = std::str::from_utf8(bytes)
                && let Ok(graph) = notation::parse(text)
                && let Ok(printed) = notation::print(&graph)
            {
                assert_eq!(notation::parse(&printed).as_ref(), Ok(&graph), "what is printed reads back");
            }
        },
        // At most 20,000 layers, whatever repetition asks for; twice, and printed.
        bound: |len| 4096 * len + 512 * MIB,
        words: &[
            b"conv3-64",
            b"FC-10",
            b"maxpool",
            b"relu",
            b"add(",
            b"concat(",
            b"|",
            b"identity",
            b"[",
            b"]*",
            b"*20000",
            b"input 3x32x32",
            b"@",
            b": [",
            b"groups 2",
            b"nobias",
            b"bn",
            b"softmax",
            b"lrn",
            b"upsample",
            b"/2",
        ],
    },
    Target {
        name: "image",
        run: |bytes| {
            let fit = Fit::crop(32);
            let preprocess =
                Preprocess { shape: [3, 24, 24], image: None, mean: vec![0.5; 3], std: vec![0.5; 3], fit };
            let _ = preprocess.decode(bytes);
        },
        // What decoders may ask for, and the picture in the forms it goes through.
        bound: |len| 16 * len + 2560 * MIB,
        words: &[
            b"IHDR",
            b"IDAT",
            b"IEND",
            b"\xff\xd8",
            b"\xff\xda",
            b"\xff\xc0",
            b"\xff\xc4",
            b"\xff\xe1",
            b"Exif\0\0",
        ],
    },
    Target {
        name: "model",
        run: |bytes| {
            let _ = Model::read_from(bytes, bytes.len() as u64, "fuzz.safetensors");
            let _ = timm::parse(bytes);
        },
        bound: |len| 4096 * len + 512 * MIB,
        words: &[
            b"striate.network",
            b"striate.info",
            b"conv3-8",
            b"FC-3",
            b"\"F32\"",
            b"\\n",
            b"\"crop\"",
            b"]*20000",
        ],
    },
];

/// The bytes as `data.pkl` of an archive with four storages, so that mutation need not get check sums right.
fn archive(pickle: &[u8]) -> Vec<u8> {
    let mut file = Vec::new();
    let mut directory = Vec::new();
    let storage = [0x3f; 64];
    let storages = ["a/data/0", "a/data/1", "a/data/2", "a/data/3"].map(|name| (name, &storage[..]));
    for (name, content) in [("a/data.pkl", pickle)].into_iter().chain(storages) {
        let at = (file.len() as u32).to_le_bytes();
        let len = (content.len() as u32).to_le_bytes();
        let common = [
            &[20, 0, 0, 0, 0, 0, 0, 0, 33, 0][..],
            &crc32(content).to_le_bytes(),
            &len,
            &len,
            &(name.len() as u16).to_le_bytes(),
            &[0, 0],
        ]
        .concat();
        file.extend([b"PK\x03\x04", &common[..], name.as_bytes(), content].concat());
        directory.extend([b"PK\x01\x02\x14\0", &common[..], &[0; 10], &at, name.as_bytes()].concat());
    }
    let begin = (file.len() as u32).to_le_bytes();
    let len = (directory.len() as u32).to_le_bytes();
    file.extend(&directory);
    file.extend([&b"PK\x05\x06\0\0\0\0\x05\0\x05\0"[..], &len, &begin, &[0, 0]].concat());
    file
}

fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0u32, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| crc >> 1 ^ if crc & 1 == 1 { 0xedb8_8320 } else { 0 })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A target that refuses its seeds for what lies around them would never reach what it is for.
    #[test]
    fn pickles_reach_the_machine() {
        let pickle = include_bytes!("../corpus/pickle/state_dict.pkl");
        let file = archive(pickle);
        let error = pth::read_from(Cursor::new(&file), file.len() as u64).map(|tensors| tensors.len());
        assert!(matches!(&error, Ok(1..)), "{error:?}");
    }

    #[test]
    fn names_are_those_of_the_corpus() {
        for target in &TARGETS {
            let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target.name);
            assert!(folder.is_dir(), "{}", folder.display());
        }
    }
}
