#![allow(clippy::unwrap_used)]

use super::*;

fn open(path: &Path) -> Result<DataDir, Error> {
    DataDir::open(path, "prod", 3)
}

#[test]
fn a_directory_keeps_its_identity() {
    let temp = tempfile::tempdir().unwrap();
    let path = temp.path().join("new/data");
    let mut first = open(&path).unwrap();
    let (incarnation, dirs) = (first.incarnation(), first.dirs());
    assert_eq!(
        (&*first.identity.cluster_id, first.identity.node_id, first.initialized()),
        ("prod", 3, false)
    );
    assert!(dirs.log.is_dir() && dirs.catalog.is_dir() && dirs.snapshots.is_dir());
    fs::write(dirs.log.join("chunk"), b"vote").unwrap();
    first.mark_initialized().unwrap();
    drop(first);

    let again = open(&path).unwrap();
    assert_eq!((again.incarnation(), again.initialized(), again.path()), (incarnation, true, &*path));
    let other = open(&temp.path().join("other")).unwrap();
    assert_ne!(other.incarnation(), incarnation);
}

#[test]
fn an_interrupted_first_start_and_a_fresh_file_system_count_as_empty() {
    let temp = tempfile::tempdir().unwrap();
    fs::write(temp.path().join("lock"), b"").unwrap();
    fs::write(temp.path().join("identity.tmp"), b"meridian da").unwrap();
    fs::create_dir(temp.path().join("lost+found")).unwrap();
    open(temp.path()).unwrap();
}

/// Opens a directory as node 3 of `prod` after `prepare`, and expects a refusal which tells `expected`.
#[track_caller]
fn check_refused(prepare: impl FnOnce(&Path), expected: &str) {
    let temp = tempfile::tempdir().unwrap();
    let path = temp.path().join("data");
    prepare(&path);
    let before = path.is_dir().then(|| files::names(&path).unwrap());
    let told = open(&path).unwrap_err().to_string();
    assert!(told.contains(expected), "{told:?} does not tell {expected:?}");
    assert!(told.contains(path.to_str().unwrap()), "{told:?} does not name the directory");
    assert_eq!(path.is_dir().then(|| files::names(&path).unwrap()), before, "something was left behind");
}

fn rewrite(path: &Path, change: impl FnOnce(String) -> String) {
    drop(open(path).unwrap());
    let identity = path.join("identity");
    let text = fs::read_to_string(&identity).unwrap();
    fs::write(&identity, change(text)).unwrap();
}

#[test]
fn what_is_not_this_nodes_directory_is_refused() {
    check_refused(|path| fs::write(path, b"").unwrap(), "is not a directory");
    check_refused(
        |path| {
            fs::create_dir(path).unwrap();
            fs::write(path.join("thesis.tex"), b"").unwrap();
        },
        "no identity file but holds \"thesis.tex\"",
    );
    check_refused(|path| drop(DataDir::open(path, "staging", 3).unwrap()), "belongs to cluster \"staging\"");
    check_refused(|path| drop(DataDir::open(path, "prod", 4).unwrap()), "belongs to node 4, not 3");
}

#[test]
fn a_malformed_identity_is_refused() {
    let cut = |at: usize| {
        move |mut text: String| {
            text.truncate(at);
            text
        }
    };
    check_refused(|path| rewrite(path, cut(0)), "cut short");
    check_refused(|path| rewrite(path, cut(60)), "malformed");
    check_refused(|path| rewrite(path, |text| text.replace("node = 3", "node = 13")), "checksum");
    check_refused(|path| rewrite(path, |text| text.replace("node = 3", "node = x")), "not a number");
    check_refused(|path| rewrite(path, |text| text + "more\n"), "checksum");
    check_refused(
        |path| rewrite(path, |text| text.replace("directory 1", "directory 2")),
        "format version 2",
    );
    check_refused(|path| rewrite(path, |text| text.replace("meridian", "mallard")), "first line");
    check_refused(|path| rewrite(path, |_| "\u{0}\n".to_owned()), "first line");
}

#[test]
fn any_changed_byte_of_the_identity_is_refused() {
    let temp = tempfile::tempdir().unwrap();
    drop(open(temp.path()).unwrap());
    let identity = temp.path().join("identity");
    let good = fs::read(&identity).unwrap();
    for at in 0..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 1;
        fs::write(&identity, bad).unwrap();
        open(temp.path()).unwrap_err();
    }
    fs::write(&identity, good).unwrap();
    open(temp.path()).unwrap();
}

#[test]
fn a_directory_in_use_is_refused() {
    let temp = tempfile::tempdir().unwrap();
    let first = open(temp.path()).unwrap();
    let refused = open(temp.path()).unwrap_err();
    assert!(matches!(&refused, Error::Locked { path } if path == temp.path()), "{refused}");
    drop(first);
    open(temp.path()).unwrap();
}

#[test]
fn a_node_that_voted_does_not_start_without_its_log() {
    for remove_whole_directory in [true, false] {
        let temp = tempfile::tempdir().unwrap();
        let mut first = open(temp.path()).unwrap();
        let log = first.dirs().log;
        fs::write(log.join("LOCK"), b"").unwrap();
        fs::write(log.join("chunk"), b"vote").unwrap();
        first.mark_initialized().unwrap();
        drop(first);
        drop(open(temp.path()).unwrap());

        fs::remove_file(log.join("chunk")).unwrap();
        if remove_whole_directory {
            fs::remove_dir_all(&log).unwrap();
        }
        let refused = open(temp.path()).unwrap_err();
        assert!(matches!(refused, Error::LogLost { .. }), "{refused}");
    }
}

#[test]
fn a_cluster_id_that_would_break_the_file_is_refused() {
    let temp = tempfile::tempdir().unwrap();
    for bad in ["", "a b", "a\nnode = 9", "é", &"x".repeat(65)] {
        let refused = DataDir::open(temp.path(), bad, 1).unwrap_err();
        assert!(matches!(refused, Error::Refused { .. }), "{bad:?}: {refused}");
    }
}

#[test]
fn an_unreadable_directory_is_the_machines_fault() {
    use std::os::unix::fs::PermissionsExt;
    let temp = tempfile::tempdir().unwrap();
    let path = temp.path().join("data");
    drop(open(&path).unwrap());
    fs::set_permissions(&path, fs::Permissions::from_mode(0o000)).unwrap();
    let result = open(&path);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).unwrap();
    // Root reads everything.
    if !rustix::process::geteuid().is_root() {
        assert!(matches!(result, Err(Error::Machine { .. })));
    }
}

#[test]
fn what_is_being_filled_is_opened_by_nobody_and_filled_again() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path().join("data");
    let fill = |done: bool| {
        DataDir::fill(&dir, "prod", 3, |dirs, _| {
            fs::write(dirs.log.join("vote"), "mine").unwrap();
            done.then_some(()).ok_or_else(|| Error::refused("the rest", "the test ends here"))
        })
    };
    assert!(fill(false).is_err());
    assert!(matches!(DataDir::open(&dir, "prod", 3), Err(Error::Foreign { .. })));
    assert!(matches!(DataDir::open_existing(&dir), Err(Error::Foreign { .. })));

    fill(true).unwrap();
    assert!(matches!(fill(true), Err(Error::Foreign { .. })), "a node's data is there now");
    let opened = DataDir::open_existing(&dir).unwrap();
    assert_eq!((opened.cluster_id(), opened.node_id(), opened.initialized()), ("prod", 3, true));
    assert!(matches!(DataDir::open_existing(&dir), Err(Error::Locked { .. })));
}

#[test]
fn a_renewed_incarnation_is_another_one_from_then_on() {
    let temp = tempfile::tempdir().unwrap();
    let mut data_dir = DataDir::open(temp.path(), "prod", 3).unwrap();
    let before = data_dir.incarnation();
    let renewed = data_dir.renew_incarnation().unwrap();
    assert_ne!(renewed, before);
    assert_eq!(data_dir.incarnation(), renewed);
    drop(data_dir);
    assert_eq!(DataDir::open(temp.path(), "prod", 3).unwrap().incarnation(), renewed);
}
