//! Tar archives: where each file lies in one, and how one is written (POSIX.1-1988 `ustar` with the long names of GNU and of
//! POSIX.1-2001).
//!
//! Blocks of 512 bytes: a header, then the file's bytes filled up to whole blocks. Numbers are octal digits, or big-endian
//! behind a set high bit.

use std::io::{self, Read, Seek, SeekFrom, Write};

use thiserror::Error;

const BLOCK: u64 = 512;
/// The most bytes of a name.
const MAX_NAME: u64 = 1 << 16;
/// The most files that an archive is read for.
pub const MAX_FILES: usize = 1 << 24;

/// What can be wrong with a tar archive.
#[derive(Debug, Error)]
pub enum TarError {
    /// It cannot be read.
    #[error("cannot read: {0}")]
    Read(#[from] io::Error),
    /// A block that is no header.
    #[error("no tar archive, or damaged: what should be a header at byte {at} is none")]
    Header {
        /// Where it begins.
        at: u64,
    },
    /// A file that goes on behind the archive's end.
    #[error("cut off: '{name}' at byte {at} has {len} bytes, the archive ends at byte {end}")]
    Cut {
        /// The file.
        name: String,
        /// Where its bytes begin.
        at: u64,
        /// Its bytes.
        len: u64,
        /// The size of the archive.
        end: u64,
    },
    /// An archive without its end.
    #[error("cut off: the archive's end is missing behind byte {at}")]
    NoEnd {
        /// Where it ought to be.
        at: u64,
    },
    /// A name as long as nobody gives one.
    #[error("damaged: a name of {len} bytes at byte {at}, where {MAX_NAME} are the most")]
    Name {
        /// Where its header begins.
        at: u64,
        /// Its bytes.
        len: u64,
    },
    /// More files than are read.
    #[error("more than {MAX_FILES} files")]
    TooMany,
    /// A compressed archive, in which nothing can be looked up.
    #[error("compressed with gzip: pictures cannot be looked up in it, unpack it once with `gunzip`")]
    Gzip,
}

/// A file in an archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TarFile {
    /// Its path; what is not UTF-8 in it as U+FFFD.
    pub name: String,
    /// Where its bytes begin.
    pub offset: u64,
    /// How many there are.
    pub len: u64,
}

/// The regular files of an archive, in their order. Folders, links and the like are passed over. Memory is what the names
/// take.
///
/// # Errors
/// At the first block that is no header, and where the archive is cut off.
pub fn files(mut archive: impl Read + Seek) -> Result<Vec<TarFile>, TarError> {
    let end = archive.seek(SeekFrom::End(0))?;
    let mut files = Vec::new();
    let mut at = 0;
    // A name that the header before gave to the next file.
    let mut long: Option<Vec<u8>> = None;
    while at < end {
        archive.seek(SeekFrom::Start(at))?;
        let mut header = [0; BLOCK as usize];
        match archive.read_exact(&mut header) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                return Err(TarError::Header { at });
            }
            read => read?,
        }
        if header == [0; BLOCK as usize] {
            return Ok(files);
        }
        if at == 0 && header.starts_with(&[0x1f, 0x8b]) {
            return Err(TarError::Gzip);
        }
        let len = number(&header[124..136]).filter(|_| is_header(&header)).ok_or(TarError::Header { at })?;
        let kind = header[156];
        let name = || String::from_utf8_lossy(&header_name(&header)).into_owned();
        let begin = at + BLOCK;
        if len > end.saturating_sub(begin) {
            return Err(TarError::Cut { name: name(), at: begin, len, end });
        }
        let named = |archive: &mut dyn Read| -> Result<Vec<u8>, TarError> {
            if len > MAX_NAME {
                return Err(TarError::Name { at, len });
            }
            let mut bytes = Vec::with_capacity(len as usize);
            archive.take(len).read_to_end(&mut bytes)?;
            Ok(bytes)
        };
        match kind {
            b'L' => {
                let mut bytes = named(&mut archive)?;
                bytes.truncate(bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len()));
                long = Some(bytes);
            }
            b'x' => long = pax_path(&named(&mut archive)?).or(long.take()),
            b'g' | b'K' => {}
            b'0' | 0 | b'7' => {
                if files.len() == MAX_FILES {
                    return Err(TarError::TooMany);
                }
                let name = long.take().map_or_else(name, |name| String::from_utf8_lossy(&name).into_owned());
                files.push(TarFile { name, offset: begin, len });
            }
            _ => long = None,
        }
        at = begin + len.div_ceil(BLOCK) * BLOCK;
    }
    Err(TarError::NoEnd { at })
}

/// Whether the sum of a header's bytes is the one it notes.
fn is_header(header: &[u8; BLOCK as usize]) -> bool {
    number(&header[148..156]) == Some(sum(header))
}

/// The sum of a header's bytes, those of the sum itself taken as blanks.
fn sum(header: &[u8; BLOCK as usize]) -> u64 {
    let all: u64 = header.iter().map(|byte| u64::from(*byte)).sum();
    let own: u64 = header[148..156].iter().map(|byte| u64::from(*byte)).sum();
    all - own + 8 * u64::from(b' ')
}

fn number(field: &[u8]) -> Option<u64> {
    if field[0] & 0x80 != 0 {
        let bytes = field.iter().enumerate().map(|(at, byte)| if at == 0 { byte & 0x7f } else { *byte });
        return bytes
            .into_iter()
            .try_fold(0u64, |value, byte| value.checked_mul(256).map(|value| value | u64::from(byte)));
    }
    let text = field.iter().copied().skip_while(|byte| *byte == b' ');
    let mut digits = text.take_while(|byte| !matches!(byte, 0 | b' '));
    digits.try_fold(0u64, |value, digit| match digit {
        b'0'..=b'7' => value.checked_mul(8).map(|value| value + u64::from(digit - b'0')),
        _ => None,
    })
}

fn header_name(header: &[u8; BLOCK as usize]) -> Vec<u8> {
    let field = |range: std::ops::Range<usize>| {
        let bytes = &header[range];
        bytes[..bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len())].to_vec()
    };
    let (name, prefix) = (field(0..100), field(345..500));
    let ustar = &header[257..262] == b"ustar" && header[262] == 0;
    if ustar && !prefix.is_empty() { [prefix, name].join(&b'/') } else { name }
}

/// The value of `path` in records `LENGTH KEY=VALUE\n`.
fn pax_path(mut records: &[u8]) -> Option<Vec<u8>> {
    while !records.is_empty() {
        let space = records.iter().position(|byte| *byte == b' ')?;
        let length: usize = std::str::from_utf8(&records[..space]).ok()?.parse().ok()?;
        let record = records.get(space + 1..length)?;
        if let Some(path) = record.strip_prefix(b"path=") {
            return Some(path.strip_suffix(b"\n").unwrap_or(path).to_vec());
        }
        records = &records[length..];
    }
    None
}

/// Writes an archive, file by file.
#[derive(Debug)]
pub struct TarWriter<W> {
    out: W,
    written: u64,
}

impl<W: Write> TarWriter<W> {
    /// An archive into `out`.
    pub fn new(out: W) -> Self {
        Self { out, written: 0 }
    }

    /// The bytes so far.
    pub fn written(&self) -> u64 {
        self.written
    }

    /// Appends a file. The same files give the same bytes: owner and time are 0.
    ///
    /// # Errors
    /// Where `out` does not take them.
    pub fn append(&mut self, name: &str, bytes: &[u8]) -> io::Result<()> {
        if name.len() > 100 {
            // The record counts itself.
            let body = format!(" path={name}\n");
            let digits = |length: usize| length.to_string().len();
            let mut length = body.len() + digits(body.len());
            length = body.len() + digits(length);
            self.member("PaxHeader", b'x', format!("{length}{body}").as_bytes())?;
        }
        let short = name.len().min(100);
        let short = (0..=short).rev().find(|end| name.is_char_boundary(*end)).unwrap_or(0);
        self.member(&name[..short], b'0', bytes)
    }

    fn member(&mut self, name: &str, kind: u8, bytes: &[u8]) -> io::Result<()> {
        let mut header = [0; BLOCK as usize];
        header[..name.len()].copy_from_slice(name.as_bytes());
        let mut put = |at: usize, text: String| header[at..at + text.len()].copy_from_slice(text.as_bytes());
        put(100, "0000644\0".into());
        put(108, "0000000\0".into());
        put(116, "0000000\0".into());
        put(124, format!("{:011o}\0", bytes.len()));
        put(136, "00000000000\0".into());
        put(257, "ustar\x0000".into());
        header[156] = kind;
        let sum = format!("{:06o}\0 ", sum(&header));
        header[148..156].copy_from_slice(sum.as_bytes());
        let rest = bytes.len().next_multiple_of(BLOCK as usize) - bytes.len();
        self.out.write_all(&header)?;
        self.out.write_all(bytes)?;
        self.out.write_all(&[0; BLOCK as usize][..rest])?;
        self.written += BLOCK + (bytes.len() + rest) as u64;
        Ok(())
    }

    /// Ends the archive.
    ///
    /// # Errors
    /// Where `out` does not take its end.
    pub fn finish(mut self) -> io::Result<W> {
        self.out.write_all(&[0; 2 * BLOCK as usize])?;
        self.out.flush()?;
        Ok(self.out)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use proptest::prelude::*;

    use super::*;

    fn written(files: &[(&str, &[u8])]) -> Vec<u8> {
        let mut tar = TarWriter::new(Vec::new());
        for (name, bytes) in files {
            tar.append(name, bytes).unwrap();
        }
        tar.finish().unwrap()
    }

    fn archive() -> Vec<u8> {
        let long = "folder/".repeat(30) + "picture.jpg";
        written(&[("a.txt", b"hello"), (&long, &[7; 1000]), ("ä.cls", b"")])
    }

    #[test]
    fn what_is_written_is_found_again() {
        let bytes = archive();
        let found = files(Cursor::new(&bytes)).unwrap();
        assert_eq!(found.len(), 3);
        assert_eq!((found[0].name.as_str(), found[0].len), ("a.txt", 5));
        assert_eq!(&bytes[found[0].offset as usize..][..5], b"hello");
        assert_eq!(found[1].name, "folder/".repeat(30) + "picture.jpg");
        assert_eq!(bytes[found[1].offset as usize..][..1000], [7; 1000]);
        assert_eq!(found[2].name, "ä.cls");
        assert_eq!(bytes.len() as u64, 512 * (1 + 1 + 2 + 1 + 2 + 1 + 2));
        assert!(files(Cursor::new(&[0u8; 1024][..])).unwrap().is_empty());
    }

    /// The system's tar, where there is one, reads and writes the same.
    #[test]
    fn other_programs_understand_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.tar");
        std::fs::write(&path, archive()).unwrap();
        let tar =
            |args: &[&str]| std::process::Command::new("tar").current_dir(dir.path()).args(args).output();
        let Ok(listed) = tar(&["tf", "a.tar"]) else { return };
        let text = String::from_utf8_lossy(&listed.stdout).into_owned();
        assert!(
            listed.status.success() && text.contains("folder/picture.jpg") && text.starts_with("a.txt"),
            "{text}"
        );
        let inner = dir.path().join("x".repeat(120));
        std::fs::create_dir(&inner).unwrap();
        std::fs::write(inner.join("1.png"), b"png").unwrap();
        for format in ["gnu", "pax", "ustar"] {
            let made = tar(&[&format!("--format={format}"), "-cf", "b.tar", &"x".repeat(120)]).unwrap();
            if made.status.success() {
                let bytes = std::fs::read(dir.path().join("b.tar")).unwrap();
                let found = files(Cursor::new(&bytes)).unwrap();
                assert_eq!(found.len(), 1, "{format}");
                assert_eq!(found[0].name, format!("{}/1.png", "x".repeat(120)), "{format}");
                assert_eq!(&bytes[found[0].offset as usize..][..3], b"png");
            }
        }
    }

    #[test]
    fn damage_is_told_with_its_place() {
        let bytes = archive();
        let text = |bytes: &[u8]| files(Cursor::new(bytes)).unwrap_err().to_string();
        assert!(text(&bytes[..515]).contains("cut off: 'a.txt' at byte 512 has 5 bytes"));
        for cut in (512..bytes.len() - 1024).step_by(100) {
            assert!(files(Cursor::new(&bytes[..cut])).is_err(), "cut at {cut}");
        }
        let mut broken = bytes.clone();
        broken[1024] ^= 1;
        assert!(text(&broken).contains("header at byte 1024"), "{}", text(&broken));
        assert!(text(b"\x1f\x8b\x08").contains("header at byte 0"));
        assert!(text(&[&b"\x1f\x8b\x08"[..], &[1; 600]].concat()).contains("gunzip"));
        assert!(text(&[b'x'; 2000]).contains("no tar archive"));
    }

    proptest! {
        #[test]
        fn broken_archives_never_panic(edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8), cut: prop::sample::Index) {
            let mut bytes = archive();
            for (at, value) in edits {
                let at = at.index(bytes.len());
                bytes[at] = value;
            }
            bytes.truncate(cut.index(bytes.len()));
            if let Ok(files) = files(Cursor::new(&bytes)) {
                for file in files {
                    prop_assert!(file.offset + file.len <= bytes.len() as u64);
                }
            }
        }
    }
}
