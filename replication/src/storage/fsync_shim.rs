//! Makes the catalog engine's flush an fsync.
//!
//! On Linux sled 0.34 ends a flush with `sync_file_range(2)`, which waits for the pages but writes neither the file's
//! size and extents nor the disk's cache: after a power cut, whole databases were gone. Nothing in sled's settings
//! changes that, so the symbol is defined here, as `fdatasync(2)`, and the linker takes it before libc's.
//!
//! A linker is a weak place for a promise, therefore [`calls`] counts: the catalog flushes once when it opens, and
//! refuses to start if the count stood still.
//!
//! Elsewhere than on Linux sled calls `fsync` itself, and there is nothing to replace or to prove.

use std::sync::atomic::{AtomicU64, Ordering};

static CALLS: AtomicU64 = AtomicU64::new(0);

/// How often the engine asked for a sync, over all catalogs of this process.
pub(crate) fn calls() -> u64 {
    CALLS.load(Ordering::Relaxed)
}

/// # Safety of what is in here
///
/// `fdatasync` takes any integer as a descriptor and touches no memory of ours: calling it is sound. Defining
/// `sync_file_range` replaces it for the whole process: that is sound because the signature is that of the manual
/// page, and correct because everything a caller may expect of `sync_file_range` holds after `fdatasync`. It sets
/// `errno` as the original does, since libc's own function runs last.
#[cfg(target_os = "linux")]
#[allow(unsafe_code, reason = "replacing a C function takes a C symbol")]
mod symbol {
    use std::ffi::{c_int, c_uint};
    use std::sync::atomic::Ordering;

    unsafe extern "C" {
        safe fn fdatasync(fd: c_int) -> c_int;
    }

    /// The range is ignored on purpose: the metadata that makes it reachable is what was missing.
    #[unsafe(no_mangle)]
    extern "C" fn sync_file_range(fd: c_int, _offset: i64, _length: i64, _flags: c_uint) -> c_int {
        super::CALLS.fetch_add(1, Ordering::Relaxed);
        fdatasync(fd)
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::process::Command;

    use super::*;
    use crate::storage::sled::Backend;
    use crate::storage::store::{Backend as _, Store as _};
    use crate::storage::testing::Model;

    /// Alone in its process, where nobody else moves the count.
    #[test]
    #[ignore = "run by each_checkpoint_calls_the_shim"]
    fn alone() {
        let temp = tempfile::tempdir().unwrap();
        let (store, _) = Backend.open(temp.path()).unwrap();
        let mut model = Model::default();
        for _ in 0..5 {
            store.apply(model.put("key", "value")).unwrap();
            let before = calls();
            store.checkpoint().unwrap();
            assert!(calls() > before);
        }
    }

    #[test]
    fn each_checkpoint_calls_the_shim() {
        let test = concat!(module_path!(), "::alone");
        let test = test.split_once("::").unwrap().1;
        let mut child = Command::new(std::env::current_exe().unwrap());
        let output = child.args(["--ignored", "--exact", test]).output().unwrap();
        let told = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && told.contains("1 passed"), "{told}");
    }
}
