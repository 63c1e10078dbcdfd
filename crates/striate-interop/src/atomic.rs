//! Files that are either the old one or the new one, never half of each.

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use thiserror::Error;

/// Ends the name of every file that [`write_atomic`] has not finished.
pub const TEMP_SUFFIX: &str = ".striate-tmp";

/// A file that could not be written; what stood there before is untouched.
#[derive(Debug, Error)]
#[error("{}: cannot {step}: {source}{}", path.display(), remedy(source))]
pub struct WriteError {
    /// The file that was to be written.
    pub path: PathBuf,
    /// What failed, such as "write" or "rename into place".
    pub step: &'static str,
    /// The system's reason.
    pub source: io::Error,
}

/// What a user can do about `error`, as the tail of a message; empty where nothing general can be said.
pub fn remedy(error: &io::Error) -> &'static str {
    match error.kind() {
        ErrorKind::StorageFull => "; free some space or choose a folder on another disk",
        ErrorKind::QuotaExceeded => "; remove some of your files or choose a folder on another disk",
        ErrorKind::ReadOnlyFilesystem => "; choose a folder on a disk that can be written",
        ErrorKind::PermissionDenied => "; check who owns the folder and its permissions, or choose another",
        ErrorKind::NotFound => "; the folder does not exist, create it first",
        ErrorKind::NotADirectory => "; a part of the path is a file, choose another folder",
        ErrorKind::IsADirectory => "; a folder has this name, choose another",
        _ => "",
    }
}

/// Writes `path` through `write`: into a new file beside it, which is synced and then renamed.
///
/// On any error, and when the process is killed at any point, `path` holds what it held before. The new file
/// is named `.NAME.PID-COUNT.striate-tmp`; one that a killed process left behind is removed by the next write
/// of the same `path`. A symbolic link is followed, and permissions are kept. A target that is no regular file
/// (a pipe, a device) is written directly.
pub fn write_atomic(
    path: impl AsRef<Path>,
    write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> Result<(), WriteError> {
    let path = path.as_ref();
    let fail = |step| move |source| WriteError { path: path.to_path_buf(), step, source };
    let target = fs::canonicalize(path).unwrap_or_else(|_| path.to_path_buf());
    let Some(name) = target.file_name() else {
        return Err(fail("write")(ErrorKind::IsADirectory.into()));
    };
    let old = fs::metadata(&target).ok();
    match &old {
        Some(old) if old.is_dir() => return Err(fail("write")(ErrorKind::IsADirectory.into())),
        Some(old) if !old.is_file() => {
            let mut stream = OpenOptions::new().write(true).open(&target).map_err(fail("open"))?;
            return buffered(&mut stream, write).map_err(fail("write"));
        }
        _ => {}
    }
    let folder = match target.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    remove_stale(folder, name);
    let mut temp = Temp::create(folder, name).map_err(fail("create a file beside it"))?;
    if let Some(old) = old {
        temp.file.set_permissions(old.permissions()).map_err(fail("keep the permissions"))?;
    }
    buffered(&mut temp.file, write).map_err(fail("write"))?;
    temp.file.sync_all().map_err(fail("sync"))?;
    fs::rename(&temp.path, &target).map_err(fail("rename into place"))?;
    temp.renamed = true;
    // The rename itself survives a power failure only when the folder is synced. Not every system can sync
    // a folder, and the file is complete by now, so a refusal is no failure of the write.
    if let Ok(folder) = File::open(folder) {
        let _ = folder.sync_all();
    }
    Ok(())
}

fn buffered(file: &mut File, write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> io::Result<()> {
    let mut writer = BufWriter::with_capacity(1 << 18, file);
    let written = write(&mut writer).and_then(|()| writer.flush());
    // A writer dropped with its buffer full would try once more to write what has failed already.
    let _ = writer.into_parts();
    written
}

/// A file under way: removed when dropped unless it was renamed, locked as long as its writer lives.
struct Temp {
    path: PathBuf,
    file: File,
    renamed: bool,
}

impl Temp {
    fn create(folder: &Path, name: &OsStr) -> io::Result<Self> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        loop {
            let count = COUNT.fetch_add(1, Ordering::Relaxed);
            let mut temp_name = temp_prefix(name);
            temp_name.push(format!("{}-{count}{TEMP_SUFFIX}", std::process::id()));
            let path = folder.join(temp_name);
            let file = match OpenOptions::new().write(true).create_new(true).open(&path) {
                Ok(file) => file,
                Err(error) if error.kind() == ErrorKind::AlreadyExists => continue,
                Err(error) => return Err(error),
            };
            // Until the lock is held, another process may take the file for a stale one and remove it.
            let locked = file.try_lock();
            let temp = Self { path, file, renamed: false };
            match locked {
                Err(fs::TryLockError::WouldBlock) => continue,
                _ if !temp.path.exists() => continue,
                _ => return Ok(temp),
            }
        }
    }
}

impl Drop for Temp {
    fn drop(&mut self) {
        if !self.renamed {
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn temp_prefix(name: &OsStr) -> std::ffi::OsString {
    let mut prefix = std::ffi::OsString::from(".");
    prefix.push(name);
    prefix.push(".");
    prefix
}

/// Removes unfinished files of `name` whose writer no longer lives (nobody holds their lock).
fn remove_stale(folder: &Path, name: &OsStr) {
    let prefix = temp_prefix(name);
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let found = entry.file_name();
        let found = found.as_encoded_bytes();
        let is_temp = found.strip_prefix(prefix.as_encoded_bytes()).is_some_and(|rest| {
            let middle = rest.strip_suffix(TEMP_SUFFIX.as_bytes());
            middle.is_some_and(|ids| ids.iter().all(|byte| byte.is_ascii_digit() || *byte == b'-'))
        });
        if is_temp
            && let Ok(file) = File::open(entry.path())
            && file.try_lock().is_ok()
        {
            let _ = fs::remove_file(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<_> =
            fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn replaces_and_leaves_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model");
        for text in ["first, and longer", "second"] {
            write_atomic(&path, |file| file.write_all(text.as_bytes())).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
            assert_eq!(names(folder.path()), ["model"]);
        }
    }

    #[test]
    fn a_failing_writer_leaves_the_old_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model");
        fs::write(&path, "old").unwrap();
        let error = write_atomic(&path, |file| {
            file.write_all(&[0; 1 << 20])?;
            Err(ErrorKind::StorageFull.into())
        })
        .unwrap_err();
        assert_eq!(fs::read_to_string(&path).unwrap(), "old");
        assert_eq!(names(folder.path()), ["model"]);
        let text = error.to_string();
        assert!(text.contains("model") && text.contains("free some space"), "{text}");
    }

    #[test]
    fn a_panicking_writer_leaves_the_old_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model");
        fs::write(&path, "old").unwrap();
        let caught = std::panic::catch_unwind(|| write_atomic(&path, |_| panic!("on purpose")));
        assert!(caught.is_err());
        assert_eq!(fs::read_to_string(&path).unwrap(), "old");
        assert_eq!(names(folder.path()), ["model"]);
    }

    #[test]
    fn removes_what_the_dead_left_and_spares_the_living() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model");
        let dead = folder.path().join(format!(".model.4000000000-7{TEMP_SUFFIX}"));
        let living = folder.path().join(format!(".model.4000000001-0{TEMP_SUFFIX}"));
        let other = folder.path().join(format!(".model.bak.1-0{TEMP_SUFFIX}"));
        for file in [&dead, &living, &other] {
            fs::write(file, "half").unwrap();
        }
        let holder = File::open(&living).unwrap();
        holder.try_lock().unwrap();
        write_atomic(&path, |file| file.write_all(b"new")).unwrap();
        assert!(!dead.exists() && living.exists() && other.exists());
    }

    #[test]
    fn refuses_a_folder_and_a_missing_folder() {
        let folder = tempfile::tempdir().unwrap();
        let error = write_atomic(folder.path(), |_| Ok(())).unwrap_err().to_string();
        assert!(error.contains("a folder has this name"), "{error}");
        let error = write_atomic(folder.path().join("no/model"), |_| Ok(())).unwrap_err().to_string();
        assert!(error.contains("does not exist"), "{error}");
    }

    #[cfg(unix)]
    #[test]
    fn follows_links_and_keeps_permissions() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let (path, link) = (folder.path().join("model"), folder.path().join("link"));
        fs::write(&path, "old").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        std::os::unix::fs::symlink(&path, &link).unwrap();
        write_atomic(&link, |file| file.write_all(b"new")).unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::read_to_string(&path).unwrap(), "new");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o640);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_full_device_is_an_error_with_a_remedy() {
        let error = write_atomic("/dev/full", |file| file.write_all(&[0; 1 << 20])).unwrap_err();
        assert_eq!(error.source.kind(), ErrorKind::StorageFull);
        assert!(error.to_string().contains("free some space"), "{error}");
        assert!(!fs::metadata("/dev/full").unwrap().is_file());
    }
}
