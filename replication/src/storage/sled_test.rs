//! What only sled can get wrong. That it passes the suite of all stores is shown there.
#![allow(clippy::unwrap_used)]

use std::os::unix::fs::PermissionsExt;

use super::open::open;
use super::*;
use crate::storage::store::{Backend as _, Store as _};
use crate::storage::testing::{Change, Model, document};

/// A closed store with three rows and two documents.
fn closed(dir: &Path) -> Model {
    let (store, _) = Backend.open(dir).unwrap();
    let mut model = Model::default();
    let puts = &[("a", "1"), ("b", "2"), ("c", "3")];
    let new = &[document(1, 200_000), document(2, 10)];
    store.apply(model.change(Change { puts, new, ..Change::default() })).unwrap();
    store.checkpoint().unwrap();
    model
}

#[track_caller]
fn check_damage(spoil: impl FnOnce(&::sled::Db), expected: &str) {
    let temp = tempfile::tempdir().unwrap();
    closed(temp.path());
    spoil(&open(temp.path()).unwrap());
    let Err(error) = Backend.open(temp.path()) else { panic!("opened") };
    assert!(matches!(&error, Error::Damaged { why, .. } if why.contains(expected)), "{error}");
}

#[test]
fn rows_that_went_missing_are_damage() {
    let (long, _) = document(1, 0);
    check_damage(
        |db| drop(db.remove(key(Kind::Small, b"b")).unwrap().unwrap()),
        "3 rows were written, 2 are left",
    );
    check_damage(|db| drop(db.remove(key(Kind::Head, &long)).unwrap().unwrap()), "2 documents were written");
    check_damage(|db| drop(db.remove(key(Kind::Applied, &[])).unwrap().unwrap()), "no applied position");
    check_damage(|db| drop(db.insert(key(Kind::Head, &long), b"short").unwrap()), "unreadable head");
    check_damage(|db| drop(db.insert(key(Kind::Head, b"no digest"), b"").unwrap()), "no digest");
    check_damage(|db| drop(db.insert(key(Kind::Dropped, b"no digest"), b"").unwrap()), "no digest");
    check_damage(|db| drop(db.insert(key(Kind::Applied, &[]), b"x").unwrap()), "does not match its checksum");
    let other = Head::of(b"another").row(b"another");
    check_damage(|db| drop(db.insert(key(Kind::Head, &long), other).unwrap()), "2 documents were written");
}

#[test]
fn a_spoilt_document_is_noticed_and_not_opened_again() {
    let (long, _) = document(1, 0);
    let remove = |db: &::sled::Db| drop(db.remove(chunk_key(&long, 2)).unwrap().unwrap());
    let change = |db: &::sled::Db| {
        let mut chunk = db.get(chunk_key(&long, 2)).unwrap().unwrap().to_vec();
        chunk[7] ^= 1;
        drop(db.insert(chunk_key(&long, 2), chunk).unwrap());
    };
    for spoil in [&remove as &dyn Fn(&::sled::Db), &change] {
        let temp = tempfile::tempdir().unwrap();
        let model = closed(temp.path());
        spoil(&open(temp.path()).unwrap());

        let (store, state) = Backend.open(temp.path()).unwrap();
        assert_eq!(state, model.state(), "chunks are not read by open");
        let error = store.document(&long).unwrap_err();
        assert!(matches!(&error, Error::Damaged { why, .. } if why.contains(&hex::encode(long))), "{error}");
        let (short, stored) = document(2, 10);
        assert_eq!(store.document(&short).unwrap(), Some(stored), "the others go on");
        drop(store);
        assert!(matches!(Backend.open(temp.path()), Err(Error::Damaged { .. })));
    }
}

#[test]
fn blob_files_and_other_formats_are_damage() {
    let temp = tempfile::tempdir().unwrap();
    closed(temp.path());
    fs::write(temp.path().join("blobs/1"), b"").unwrap();
    assert!(matches!(Backend.open(temp.path()), Err(Error::Damaged { .. })));

    let temp = tempfile::tempdir().unwrap();
    drop(::sled::Config::new().path(temp.path()).segment_size(1 << 20).open().unwrap());
    assert!(matches!(Backend.open(temp.path()), Err(Error::Damaged { .. })));
}

#[test]
fn a_directory_that_is_open_is_locked_not_damaged() {
    let temp = tempfile::tempdir().unwrap();
    let (_store, _) = Backend.open(temp.path()).unwrap();
    assert!(matches!(Backend.open(temp.path()), Err(Error::Locked { .. })));
}

#[test]
fn a_file_that_may_not_be_read_is_the_machines_fault() {
    let temp = tempfile::tempdir().unwrap();
    closed(temp.path());
    let data = temp.path().join("db");
    fs::set_permissions(&data, fs::Permissions::from_mode(0o000)).unwrap();
    let result = Backend.open(temp.path());
    // Root reads everything.
    if !rustix::process::geteuid().is_root() {
        assert!(matches!(result, Err(Error::Machine { .. })));
    }
}

/// Two databases in one process were said to deadlock. A process of ours opens one, but its tests do not.
#[test]
fn stores_in_one_process_do_not_stop_each_other() {
    let work = |seed: u64| {
        let temp = tempfile::tempdir().unwrap();
        let mut model = Model::default();
        for round in 0..3 {
            let (store, state) = Backend.open(temp.path()).unwrap();
            assert_eq!(state, model.state());
            for number in 0..30 {
                let new = &[document(seed * 1_000 + round * 100 + number, 60_000)];
                store.apply(model.change(Change { new, ..Change::default() })).unwrap();
                if number % 10 == 9 {
                    store.checkpoint().unwrap();
                }
            }
            store.checkpoint().unwrap();
            model.assert_documents(&store);
        }
    };
    std::thread::scope(|threads| {
        for seed in 0..6 {
            threads.spawn(move || work(seed));
        }
    });
}

/// A write that fails ends the store; data that is good must not be condemned for it.
#[test]
fn after_a_failed_write_the_store_stops() {
    let temp = tempfile::tempdir().unwrap();
    let (store, _) = Backend.open(temp.path()).unwrap();
    let mut model = Model::default();
    store.apply(model.put("a", "1")).unwrap();
    let full = || Error::machine("write", temp.path())(io::Error::from_raw_os_error(28));
    assert!(matches!(store.stop(full()), Error::Machine { .. }));
    assert!(matches!(store.apply(model.clone().put("b", "2")), Err(Error::Stopped { .. })));
    assert!(matches!(store.checkpoint(), Err(Error::Stopped { .. })));
    drop(store);
    let (_, state) = Backend.open(temp.path()).unwrap();
    assert_eq!(state, model.state());
}
