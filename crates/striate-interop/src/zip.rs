//! ZIP archives ([APPNOTE 6.3.10](https://pkware.cachefly.net/webdocs/casestudies/APPNOTE.TXT)), as far as PyTorch and
//! NumPy write them: entries stored or deflated, sizes of 64 bits where need be, no encryption.
//!
//! Every entry is read whole, and its check sum compared. An entry takes as much memory as it declares, which is at most
//! the length of the file where it is stored and 1032 times what it takes in the file where it is deflated.

use std::io::{self, BufReader, Read, Seek, SeekFrom, Write};

use flate2::Crc;
use flate2::bufread::DeflateDecoder;
use indexmap::IndexMap;
use thiserror::Error;

/// The longest directory that is read, in bytes.
const MAX_DIRECTORY: u64 = 64 << 20;
/// Deflate stands for at most 258 bytes by two bits.
const MAX_EXPANSION: u64 = 1032;
/// Lengths of the records without their variable parts.
const LOCAL: usize = 30;
const CENTRAL: usize = 46;
const END: usize = 22;
const END_64: usize = 56;
const LOCATOR_64: usize = 20;
/// The longest comment behind the end record.
const MAX_COMMENT: usize = 0xffff;

/// What can be wrong with an archive; lengths and offsets in bytes.
#[derive(Debug, Error)]
pub enum ZipProblem {
    /// The file cannot be read.
    #[error("cannot read: {0}")]
    Read(#[from] io::Error),
    /// The directory at the end of the file is missing.
    #[error("the archive has no directory at its end: the file is cut off or not a ZIP archive")]
    NoDirectory,
    /// The directory is not what it should be.
    #[error("the archive's directory is damaged: {what} at byte {at}")]
    Directory {
        /// What is wrong.
        what: &'static str,
        /// Where, from the begin of the file.
        at: u64,
    },
    /// The directory is longer than any that is read.
    #[error("an archive's directory of {length} bytes; at most {MAX_DIRECTORY} are read")]
    DirectoryTooLong {
        /// Its length.
        length: u64,
    },
    /// An entry that cannot be read.
    #[error("{entry}: {what}")]
    Entry {
        /// The entry's name.
        entry: String,
        /// Why not.
        what: &'static str,
    },
    /// An entry that declares more than its data can hold.
    #[error("{entry}: {size} bytes are declared, but {packed} in the archive cannot hold as many")]
    Bomb {
        /// The entry's name.
        entry: String,
        /// The bytes it declares.
        size: u64,
        /// The bytes it takes.
        packed: u64,
    },
    /// The content is not what was written.
    #[error("{entry}: damaged, its check sum is {found:08x} and should be {expected:08x}")]
    CheckSum {
        /// The entry's name.
        entry: String,
        /// The sum of what was read.
        found: u32,
        /// The sum in the directory.
        expected: u32,
    },
}

/// An entry as the directory describes it.
struct Entry {
    deflated: bool,
    crc: u32,
    packed: u64,
    size: u64,
    /// Where its local header begins.
    at: u64,
}

/// An archive and what lies in it.
pub(crate) struct Archive<R> {
    source: R,
    entries: IndexMap<String, Entry>,
}

/// A little-endian number in a record.
fn number<const N: usize>(record: &[u8], at: usize) -> u64 {
    let mut bytes = [0; 8];
    if let Some(field) = record.get(at..at + N) {
        bytes[..N].copy_from_slice(field);
    }
    u64::from_le_bytes(bytes)
}

impl<R: Read + Seek> Archive<R> {
    /// Reads the directory of an archive of `size` bytes.
    pub(crate) fn open(mut source: R, size: u64) -> Result<Self, ZipProblem> {
        let (begin, length, count) = find_directory(&mut source, size)?;
        if length > MAX_DIRECTORY {
            return Err(ZipProblem::DirectoryTooLong { length });
        }
        source.seek(SeekFrom::Start(begin))?;
        let mut directory = vec![0; length as usize];
        source.read_exact(&mut directory)?;
        let mut entries = IndexMap::new();
        let mut at = 0;
        for _ in 0..count {
            let damaged = |what| ZipProblem::Directory { what, at: begin + at as u64 };
            let (name, entry, taken) = parse_entry(&directory[at..]).map_err(damaged)?;
            if entry.deflated && entry.size > entry.packed.saturating_mul(MAX_EXPANSION)
                || !entry.deflated && entry.size != entry.packed
            {
                return Err(ZipProblem::Bomb { entry: name, size: entry.size, packed: entry.packed });
            }
            if entries.insert(name, entry).is_some() {
                return Err(damaged("a name for the second time"));
            }
            at += taken;
        }
        // Entries that share bytes would let a small file stand for a huge content.
        let mut places: Vec<(u64, u64)> = entries.values().map(|entry| (entry.at, entry.packed)).collect();
        places.sort_unstable();
        let ends = places.iter().skip(1).map(|place| place.0).chain([begin]);
        for ((at, packed), end) in places.iter().zip(ends) {
            if packed
                .checked_add(LOCAL as u64)
                .and_then(|taken| taken.checked_add(*at))
                .is_none_or(|to| to > end)
            {
                return Err(ZipProblem::Directory { what: "entries overlap", at: *at });
            }
        }
        Ok(Self { source, entries })
    }

    /// The entries' names in the order of the directory.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.entries.keys().map(String::as_str)
    }

    /// The bytes of an entry, if it exists.
    pub(crate) fn size(&self, name: &str) -> Option<u64> {
        self.entries.get(name).map(|entry| entry.size)
    }

    /// Whether an entry is compressed.
    pub(crate) fn is_deflated(&self, name: &str) -> bool {
        self.entries.get(name).is_some_and(|entry| entry.deflated)
    }

    /// The content of an entry.
    pub(crate) fn read(&mut self, name: &str) -> Result<Vec<u8>, ZipProblem> {
        let fail = |what| ZipProblem::Entry { entry: name.into(), what };
        let entry = self.entries.get(name).ok_or_else(|| fail("is not in the archive"))?;
        self.source.seek(SeekFrom::Start(entry.at))?;
        let mut local = [0; LOCAL];
        self.source.read_exact(&mut local)?;
        if !local.starts_with(b"PK\x03\x04") {
            return Err(fail("its header is damaged"));
        }
        let skipped = number::<2>(&local, 26) + number::<2>(&local, 28);
        self.source.seek(SeekFrom::Current(skipped as i64))?;
        let packed = self.source.by_ref().take(entry.packed);
        let mut content = Vec::new();
        if entry.deflated {
            DeflateDecoder::new(BufReader::new(packed)).take(entry.size + 1).read_to_end(&mut content)?;
        } else {
            content.reserve_exact(entry.size as usize);
            { packed }.read_to_end(&mut content)?;
        }
        if content.len() as u64 != entry.size {
            return Err(fail("does not hold as many bytes as it declares"));
        }
        let mut crc = Crc::new();
        crc.update(&content);
        if crc.sum() != entry.crc {
            return Err(ZipProblem::CheckSum { entry: name.into(), found: crc.sum(), expected: entry.crc });
        }
        Ok(content)
    }
}

/// Where the directory begins, how long it is, and how many entries it has.
fn find_directory(source: &mut (impl Read + Seek), size: u64) -> Result<(u64, u64, u64), ZipProblem> {
    let tail_len = size.min((END + MAX_COMMENT) as u64);
    let tail_begin = size - tail_len;
    source.seek(SeekFrom::Start(tail_begin))?;
    let mut tail = vec![0; tail_len as usize];
    source.read_exact(&mut tail)?;
    let is_end = |at: &usize| {
        tail[*at..].starts_with(b"PK\x05\x06")
            && number::<2>(&tail, at + 20) == (tail.len() - at - END) as u64
    };
    let end = (0..(tail.len() + 1).saturating_sub(END)).rev().find(is_end).ok_or(ZipProblem::NoDirectory)?;
    let end_at = tail_begin + end as u64;
    let (mut count, mut length, mut begin) =
        (number::<2>(&tail, end + 10), number::<4>(&tail, end + 12), number::<4>(&tail, end + 16));
    let mut behind = end_at;
    if count == 0xffff || length == 0xffff_ffff || begin == 0xffff_ffff {
        let damaged = |what| ZipProblem::Directory { what, at: end_at };
        let locator = end.checked_sub(LOCATOR_64).filter(|at| tail[*at..].starts_with(b"PK\x06\x07"));
        let at = number::<8>(&tail, locator.ok_or_else(|| damaged("no 64-bit end record"))? + 8);
        if at.checked_add(END_64 as u64).is_none_or(|to| to > end_at) {
            return Err(damaged("a 64-bit end record outside the file"));
        }
        source.seek(SeekFrom::Start(at))?;
        let mut record = [0; END_64];
        source.read_exact(&mut record)?;
        if !record.starts_with(b"PK\x06\x06") {
            return Err(damaged("no 64-bit end record where it should be"));
        }
        (count, length, begin) =
            (number::<8>(&record, 32), number::<8>(&record, 40), number::<8>(&record, 48));
        behind = at;
    }
    if begin.checked_add(length).is_none_or(|to| to > behind) {
        return Err(ZipProblem::Directory { what: "it lies outside the file", at: end_at });
    }
    Ok((begin, length, count))
}

/// The first entry of what is left of a directory, and how many bytes it takes there.
fn parse_entry(record: &[u8]) -> Result<(String, Entry, usize), &'static str> {
    if record.len() < CENTRAL || !record.starts_with(b"PK\x01\x02") {
        return Err("no entry");
    }
    if number::<2>(record, 8) & 1 != 0 {
        return Err("an encrypted entry");
    }
    let deflated = match number::<2>(record, 10) {
        0 => false,
        8 => true,
        _ => return Err("an entry compressed in a way other than deflate"),
    };
    let [name_len, extra_len, comment_len] = [28, 30, 32].map(|at| number::<2>(record, at) as usize);
    let taken = CENTRAL + name_len + extra_len + comment_len;
    if record.len() < taken {
        return Err("an entry that ends outside it");
    }
    let name = String::from_utf8_lossy(&record[CENTRAL..][..name_len]).into_owned();
    let mut fields = [24, 20, 42].map(|at| number::<4>(record, at));
    // The 64-bit field holds those of size, packed size and offset that have no place in 32 bits.
    let mut extra = &record[CENTRAL + name_len..][..extra_len];
    while extra.len() >= 4 {
        let (id, len) = (number::<2>(extra, 0), number::<2>(extra, 2) as usize);
        let Some(body) = extra.get(4..4 + len) else { break };
        if id == 1 {
            let wide = body.as_chunks::<8>().0.iter().map(|field| u64::from_le_bytes(*field));
            fields
                .iter_mut()
                .filter(|field| **field == 0xffff_ffff)
                .zip(wide)
                .for_each(|(to, from)| *to = from);
        }
        extra = &extra[4 + len..];
    }
    let [size, packed, at] = fields;
    Ok((name, Entry { deflated, crc: number::<4>(record, 16) as u32, packed, size, at }, taken))
}

/// Writes an archive of stored entries, with 64-bit sizes throughout as `numpy.savez` does.
pub(crate) struct Writer<'a> {
    target: &'a mut dyn Write,
    written: u64,
    directory: Vec<u8>,
    count: u64,
}

impl<'a> Writer<'a> {
    pub(crate) fn new(target: &'a mut dyn Write) -> Self {
        Self { target, written: 0, directory: Vec::new(), count: 0 }
    }

    /// Appends an entry; `write` is called twice and must write the same both times: the check sum stands first.
    pub(crate) fn entry(
        &mut self,
        name: &str,
        write: impl Fn(&mut dyn Write) -> io::Result<()>,
    ) -> io::Result<()> {
        let mut sum = Sum { crc: Crc::new(), len: 0 };
        write(&mut sum)?;
        let name_len = u16::try_from(name.len()).map_err(|_| io::Error::other("a name of 64 KiB or more"))?;
        // Version 4.5 (64-bit sizes), UTF-8 names, stored, 1 January 1980.
        let common =
            [&[45, 0, 0, 8, 0, 0, 0, 0, 33, 0][..], &sum.crc.sum().to_le_bytes(), &[0xff; 8]].concat();
        let wide = [sum.len.to_le_bytes(), sum.len.to_le_bytes()].concat();
        let extra = |more: &[u8]| [&[1, 0, 16 + more.len() as u8, 0][..], &wide, more].concat();
        let local =
            [&b"PK\x03\x04"[..], &common, &name_len.to_le_bytes(), &[20, 0], name.as_bytes(), &extra(&[])]
                .concat();
        let at = self.written;
        let central = [
            &b"PK\x01\x02\x2d\0"[..],
            &common,
            &name_len.to_le_bytes(),
            &[28, 0],
            &[0; 10],
            &[0xff; 4],
            name.as_bytes(),
            &extra(&at.to_le_bytes()),
        ]
        .concat();
        self.directory.extend(central);
        self.count += 1;
        self.target.write_all(&local)?;
        write(self.target)?;
        self.written += local.len() as u64 + sum.len;
        Ok(())
    }

    /// Ends the archive with its directory.
    pub(crate) fn finish(self) -> io::Result<()> {
        let [count, length, begin, end] = [
            self.count,
            self.directory.len() as u64,
            self.written,
            self.written + self.directory.len() as u64,
        ]
        .map(u64::to_le_bytes);
        self.target.write_all(&self.directory)?;
        let end_64 =
            [&b"PK\x06\x06\x2c\0\0\0\0\0\0\0\x2d\0\x2d\0"[..], &[0; 8], &count, &count, &length, &begin]
                .concat();
        let locator = [&b"PK\x06\x07\0\0\0\0"[..], &end, &[1, 0, 0, 0]].concat();
        let end = [&b"PK\x05\x06\0\0\0\0"[..], &[0xff; 12], &[0, 0]].concat();
        self.target.write_all(&[end_64, locator, end].concat())
    }
}

/// Counts and sums what is written to it.
struct Sum {
    crc: Crc,
    len: u64,
}

impl Write for Sum {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.crc.update(bytes);
        self.len += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::io::Cursor;

    use super::*;

    /// An archive of these entries, stored.
    pub(crate) fn archive(entries: &[(&str, &[u8])]) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut writer = Writer::new(&mut bytes);
        for (name, content) in entries {
            writer.entry(name, |target| target.write_all(content)).unwrap();
        }
        writer.finish().unwrap();
        bytes
    }

    fn open(bytes: &[u8]) -> Result<Archive<Cursor<&[u8]>>, ZipProblem> {
        Archive::open(Cursor::new(bytes), bytes.len() as u64)
    }

    #[test]
    fn reads_what_it_writes() {
        let bytes = archive(&[("a/b.txt", b"hello"), ("ä", b""), ("c", &[7; 1000])]);
        let mut archive = open(&bytes).unwrap();
        assert_eq!(archive.names().collect::<Vec<_>>(), ["a/b.txt", "ä", "c"]);
        assert_eq!(archive.read("a/b.txt").unwrap(), b"hello");
        assert_eq!(archive.read("ä").unwrap(), b"");
        assert_eq!(archive.read("c").unwrap(), [7; 1000]);
        assert_eq!(
            (archive.size("c"), archive.size("d"), archive.is_deflated("c")),
            (Some(1000), None, false)
        );
        assert!(matches!(archive.read("d"), Err(ZipProblem::Entry { .. })));
    }

    #[test]
    fn reads_deflated_entries_of_32_bit_sizes() {
        let mut crc = Crc::new();
        crc.update(&[b'a'; 40]);
        let deflated = {
            use flate2::{Compression, write::DeflateEncoder};
            let mut encoder = DeflateEncoder::new(Vec::new(), Compression::default());
            encoder.write_all(&[b'a'; 40]).unwrap();
            encoder.finish().unwrap()
        };
        let fields = |size: u32| {
            [
                &[20, 0, 0, 0, 8, 0, 0, 0, 33, 0][..],
                &crc.sum().to_le_bytes(),
                &(deflated.len() as u32).to_le_bytes(),
                &size.to_le_bytes(),
                &[1, 0, 0, 0],
            ]
            .concat()
        };
        let file = |size: u32| {
            let local = [b"PK\x03\x04", &fields(size)[..], b"x", &deflated].concat();
            let central = [b"PK\x01\x02\x14\0", &fields(size)[..], &[0; 14], b"x"].concat();
            let end = [
                &b"PK\x05\x06\0\0\0\0\x01\0\x01\0"[..],
                &(central.len() as u32).to_le_bytes(),
                &(local.len() as u32).to_le_bytes(),
                &[0, 0],
            ]
            .concat();
            [local, central, end].concat()
        };
        assert_eq!(open(&file(40)).unwrap().read("x").unwrap(), [b'a'; 40]);
        for wrong in [39, 41] {
            let text = open(&file(wrong)).unwrap().read("x").unwrap_err().to_string();
            assert!(text.contains("as many bytes as it declares"), "{text}");
        }
        let text = open(&file(1 << 30)).err().unwrap().to_string();
        assert!(text.contains("1073741824 bytes are declared"), "{text}");
    }

    #[test]
    fn damage_is_told() {
        let whole = archive(&[("one", b"first"), ("two", b"second")]);
        for cut in 0..whole.len() {
            assert!(open(&whole[..cut]).is_err(), "{cut}");
        }
        let mut changed = whole.clone();
        let at = changed.windows(5).position(|window| window == b"first").unwrap();
        changed[at] ^= 1;
        let text = open(&changed).unwrap().read("one").unwrap_err().to_string();
        assert!(text.contains("one: damaged, its check sum"), "{text}");

        // Both entries at the same place.
        let mut shared = whole.clone();
        let second = shared.windows(3).rposition(|window| window == b"two").unwrap();
        shared[second + 3 + 20..][..8].fill(0);
        let text = open(&shared).err().unwrap().to_string();
        assert!(text.contains("overlap"), "{text}");
        let twice = archive(&[("one", b"1"), ("one", b"2")]);
        assert!(open(&twice).err().unwrap().to_string().contains("second time"));
    }
}
