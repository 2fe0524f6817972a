//! The control: shows that a cut loses what was not synced, and only that. Without it a run that loses nothing proves
//! nothing.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Write as _};

use anyhow::{Context as _, ensure};
use serde::Serialize;

use super::disk::Disk;

const RECORDS: usize = 500;
const RECORD: &[u8] = b"acknowledged\n";

/// What the cut left, in records.
#[derive(Debug, Serialize)]
pub(super) struct Control {
    written: usize,
    kept_without_sync: usize,
    kept_with_sync: usize,
}

/// Writes, cuts, mounts again and counts. Fails if what was never synced is still there, or what was synced is not.
pub(super) async fn run(mut disk: Disk) -> anyhow::Result<Control> {
    let synced = disk.mount_point().join("synced");
    let unsynced = disk.mount_point().join("unsynced");
    write(&synced, File::sync_all).context("cannot write")?;
    File::open(disk.mount_point())?.sync_all()?;
    write(&unsynced, |_| Ok(())).context("cannot write")?;

    Disk::cut_all(std::slice::from_mut(&mut disk))?;
    disk.unmount().await?;
    disk.mount().await?;
    let control =
        Control { written: RECORDS, kept_without_sync: count(&unsynced)?, kept_with_sync: count(&synced)? };
    disk.unmount().await?;
    ensure!(control.kept_without_sync < RECORDS, "a cut loses nothing: {control}");
    ensure!(control.kept_with_sync == RECORDS, "a cut loses what was synced: {control}");
    Ok(control)
}

fn write(path: &std::path::Path, sync: fn(&File) -> io::Result<()>) -> io::Result<()> {
    let mut file = File::create(path)?;
    for _ in 0..RECORDS {
        file.write_all(RECORD)?;
        sync(&file)?;
    }
    Ok(())
}

fn count(path: &std::path::Path) -> io::Result<usize> {
    match fs::read(path) {
        Ok(bytes) => Ok(bytes.chunks_exact(RECORD.len()).take_while(|record| *record == RECORD).count()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
        Err(error) => Err(error),
    }
}

impl fmt::Display for Control {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "of {} records, {} are left without fsync and {} with it",
            self.written, self.kept_without_sync, self.kept_with_sync
        )
    }
}
