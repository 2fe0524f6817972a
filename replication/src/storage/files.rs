//! Small files that are replaced whole, and the fsync of directories.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::Error;

/// What a temporary file's name ends in. Whoever owns a directory removes leftovers when it opens it.
pub(crate) const TEMPORARY: &str = ".tmp";

/// Replaces `path` by `bytes`: after a crash at any moment the file holds either the old bytes or the new ones.
/// On return the change is durable.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    let temporary = temporary_beside(path);
    let write = || -> io::Result<()> {
        let mut file = File::create(&temporary)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&temporary, path)
    };
    write().map_err(Error::machine("write", path))?;
    sync_parent(path)
}

/// `<path>.tmp`, in the same directory so that the rename stays within one file system.
pub(crate) fn temporary_beside(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(TEMPORARY);
    PathBuf::from(name)
}

/// Makes names created, renamed or removed in `dir` durable.
pub(crate) fn sync_dir(dir: &Path) -> Result<(), Error> {
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(Error::machine("sync directory", dir))
}

/// [`sync_dir`] of the directory that holds `path`.
pub(crate) fn sync_parent(path: &Path) -> Result<(), Error> {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => sync_dir(parent),
        _ => sync_dir(Path::new(".")),
    }
}

/// Creates `dir` and its missing parents; the names are durable on return.
pub(crate) fn create_dir(dir: &Path) -> Result<(), Error> {
    let is_missing = |at: &&Path| !at.as_os_str().is_empty() && !at.exists();
    let missing: Vec<&Path> = dir.ancestors().take_while(is_missing).collect();
    fs::create_dir_all(dir).map_err(Error::machine("create directory", dir))?;
    missing.into_iter().try_for_each(sync_parent)
}

/// The names in `dir`, in order. One that is not UTF-8 is none of ours, and shown as well as it can be.
pub(crate) fn names(dir: &Path) -> Result<Vec<String>, Error> {
    let list = || -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(dir)? {
            names.push(entry?.file_name().to_string_lossy().into_owned());
        }
        names.sort();
        Ok(names)
    };
    list().map_err(Error::machine("list", dir))
}

/// Removes a file that may be gone already.
pub(crate) fn remove_file(path: &Path) -> Result<(), Error> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Error::machine("remove", path)(error)),
        _ => Ok(()),
    }
}

/// Removes a directory and all in it; it may be gone already.
pub(crate) fn remove_dir(path: &Path) -> Result<(), Error> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Error::machine("remove", path)(error)),
        _ => Ok(()),
    }
}
