//! The one system call that stops a file system as a power cut would. The only unsafe code of the crate: no safe
//! wrapper of it exists.

use std::fs::File;
use std::io;

use rustix::ioctl::{Opcode, Setter, ioctl, opcode};

/// `EXT4_IOC_SHUTDOWN`, which other file systems have under the same number.
const SHUTDOWN: Opcode = opcode::read::<u32>(b'X', 125);

/// `EXT4_GOING_FLAGS_NOLOGFLUSH`: the journal is not flushed before.
const NO_LOG_FLUSH: u32 = 2;

/// From now on every operation on the file system of this file fails with EIO, and nothing more reaches its device,
/// neither data nor journal. Whoever calls this has made sure that it is the right one.
pub(super) fn without_flush(root: &File) -> io::Result<()> {
    #[allow(unsafe_code)]
    // SAFETY: the kernel reads one u32 through the pointer and writes nothing to it (fs/ext4/ioctl.c,
    // ext4_ioctl_shutdown), though its number is declared as a read. `Setter` passes a pointer to its u32, which lives
    // until the call returns.
    unsafe {
        ioctl(root, Setter::<SHUTDOWN, u32>::new(NO_LOG_FLUSH))?;
    }
    Ok(())
}
