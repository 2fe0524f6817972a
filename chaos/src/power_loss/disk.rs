//! An ext4 in a file, mounted through a loop device, whose power can be cut.

use std::fs::File;
use std::io::Write as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use rustix::io::Errno;
use tokio::time::{Instant, sleep};

use super::shutdown;

/// Sparse: what is not written takes no room. More than any run writes.
const IMAGE_BYTES: u64 = 8 << 30;

/// A killed process lets go of its files when the kernel gets to it.
const UNMOUNT_TIMEOUT: Duration = Duration::from_secs(10);

/// A disk of one node.
pub(super) struct Disk {
    image: PathBuf,
    mount_point: PathBuf,
    is_mounted: bool,
}

impl Disk {
    /// Makes the file system, and mounts it.
    pub(super) fn create(image: &Path, mount_point: &Path) -> anyhow::Result<Self> {
        let file = File::create(image).with_context(|| format!("cannot make {}", image.display()))?;
        file.set_len(IMAGE_BYTES)?;
        drop(file);
        command("mkfs.ext4", |mkfs| mkfs.args(["-q", "-F"]).arg(image))?;
        let mut disk =
            Self { image: image.to_owned(), mount_point: mount_point.to_owned(), is_mounted: false };
        disk.mount_now()?;
        Ok(disk)
    }

    pub(super) fn mount_point(&self) -> &Path {
        &self.mount_point
    }

    /// Mounts it again; ext4 replays its journal.
    pub(super) async fn mount(&mut self) -> anyhow::Result<()> {
        self.mount_now()
    }

    fn mount_now(&mut self) -> anyhow::Result<()> {
        command("mount", |mount| {
            mount.args(["-t", "ext4", "-o", "loop"]).args([&self.image, &self.mount_point])
        })?;
        self.is_mounted = true;
        Ok(())
    }

    /// Unmounts it, as soon as no process uses it any more.
    pub(super) async fn unmount(&mut self) -> anyhow::Result<()> {
        let deadline = Instant::now() + UNMOUNT_TIMEOUT;
        while let Err(error) = command("umount", |umount| umount.arg(&self.mount_point)) {
            if Instant::now() > deadline {
                return Err(error);
            }
            sleep(Duration::from_millis(50)).await;
        }
        self.is_mounted = false;
        Ok(())
    }

    /// Cuts all of them within microseconds, and proves of each that nothing can be written any more.
    pub(super) fn cut_all(disks: &mut [Self]) -> anyhow::Result<()> {
        let roots = disks.iter().map(Self::root).collect::<Result<Vec<_>, _>>()?;
        for root in &roots {
            shutdown::without_flush(root).context("cannot shut a file system down")?;
        }
        disks.iter().try_for_each(Self::prove_cut)
    }

    /// The root of the file system. What is done to it must never hit the disk of the machine: so it has to be another
    /// file system than the one below it.
    fn root(&self) -> anyhow::Result<File> {
        let root = File::open(&self.mount_point)?;
        let above = self.mount_point.parent().context("a mount point has a parent")?.metadata()?;
        ensure!(
            self.is_mounted && root.metadata()?.dev() != above.dev(),
            "{} is not mounted: a cut would hit the disk of this machine",
            self.mount_point.display()
        );
        Ok(root)
    }

    fn prove_cut(&self) -> anyhow::Result<()> {
        let path = self.mount_point.join("after-the-cut");
        match File::create(&path).and_then(|mut file| file.write_all(b"x").and_then(|()| file.sync_all())) {
            Err(error) if error.raw_os_error() == Some(Errno::IO.raw_os_error()) => Ok(()),
            other => {
                bail!("the cut of {} cannot be proved: writing gave {other:?}", self.mount_point.display())
            }
        }
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        if self.is_mounted {
            // After an error: lazily, because a process that was just killed may still hold it.
            let _ = Command::new("umount").arg("--lazy").arg(&self.mount_point).status();
        }
    }
}

/// Runs a tool; what it says on stderr is the error.
fn command(name: &str, with: impl FnOnce(&mut Command) -> &mut Command) -> anyhow::Result<()> {
    let output = with(&mut Command::new(name)).output().with_context(|| format!("cannot run {name}"))?;
    ensure!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr).trim());
    Ok(())
}
