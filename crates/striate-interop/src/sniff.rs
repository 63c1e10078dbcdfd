//! What a file is, told from its first bytes: for messages about the wrong kind of file.

/// First bytes and the kind of file they begin.
const KINDS: [(&[u8], &str); 22] = [
    (b"\x89PNG", "a PNG image"),
    (b"\xff\xd8\xff", "a JPEG image"),
    (b"GIF8", "a GIF image"),
    (b"RIFF", "a RIFF file (WebP, WAV or AVI)"),
    (b"BM", "a BMP image"),
    (b"II*\0", "a TIFF image"),
    (b"MM\0*", "a TIFF image"),
    (b"\0\0\0\x0cjP  ", "a JPEG 2000 image"),
    (b"%PDF", "a PDF document"),
    (b"\x1f\x8b", "a gzip file"),
    (b"BZh", "a bzip2 file"),
    (b"\xfd7zXZ", "an xz file"),
    (b"\x28\xb5\x2f\xfd", "a Zstandard file"),
    (b"PK\x03\x04", "a ZIP archive (as PyTorch's .pt and .npz files are)"),
    (b"\x80\x02", "a Python pickle"),
    (b"\x93NUMPY", "a NumPy array"),
    (b"\x89HDF", "an HDF5 file"),
    (b"GGUF", "a GGUF model"),
    (b"\x7fELF", "a program"),
    (b"version ", "a Git LFS pointer (fetch the file itself with `git lfs pull`)"),
    (b"<!DOC", "HTML (a web page saved in its place?)"),
    (b"<html", "HTML (a web page saved in its place?)"),
];

/// The kind of file that begins with `head`, if it is one that people mistake for another; eight bytes suffice.
pub fn content(head: &[u8]) -> Option<&'static str> {
    let known = KINDS.iter().find(|(magic, _)| head.starts_with(magic)).map(|(_, kind)| *kind);
    let text = |byte: &u8| matches!(byte, b' '..=b'~' | b'\t' | b'\r' | b'\n');
    known.or_else(|| (!head.is_empty() && head.iter().all(text)).then_some("text"))
}
