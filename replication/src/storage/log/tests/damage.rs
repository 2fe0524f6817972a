//! Damaged files: an error, or a shorter tail. Never other bytes, never a hole.

use super::*;

/// A log over several chunks with every kind of record in it; closed, so that all of it was acknowledged.
async fn several_chunks(dir: &Path) -> Vec<Entry> {
    let mut store = open(dir);
    for first in (0..60).step_by(3) {
        store.save_vote(&vote(first, 1, true)).await.unwrap();
        append(&mut store, entries(first, first..=first + 2, 250)).await.unwrap();
        store.save_committed(Some(id(first, first))).await.unwrap();
    }
    store.truncate_after(Some(id(57, 58))).await.unwrap();
    store.purge(id(3, 4)).await.unwrap();
    append(&mut store, entries(60, 59..=70, 250)).await.unwrap();
    all(&store).await
}

fn flip(path: &Path, at: usize, mask: u8) -> Vec<u8> {
    let good = fs::read(path).unwrap();
    let mut bad = good.clone();
    bad[at] ^= mask;
    fs::write(path, bad).unwrap();
    good
}

fn assert_damaged(dir: &Path, what: &str) {
    match LogStore::open_with(dir, no_floor(), SMALL) {
        Err(Error::LogDamaged { .. }) => {}
        other => panic!("{what}: {other:?}"),
    }
}

#[tokio::test]
async fn a_flipped_byte_is_noticed_wherever_it_is() {
    let dir = tempfile::tempdir().unwrap();
    several_chunks(dir.path()).await;
    let files = chunks(dir.path());
    assert!(files.len() >= 4, "{files:?}");
    for path in files {
        let length = fs::metadata(&path).unwrap().len() as usize;
        for at in (0..length).step_by(length / 40) {
            let good = flip(&path, at, 0x10);
            assert_damaged(dir.path(), &format!("byte {at} of {}", path.display()));
            fs::write(&path, good).unwrap();
        }
    }
}

/// Every byte of a log that holds one record of each kind, lengths and option tags included: a decoder that believes a
/// damaged length runs off the end of the file, and raft-log would take that for a torn tail and cut it.
#[tokio::test]
async fn no_byte_of_any_record_can_cut_the_log_short() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path());
    store.save_vote(&vote(1, 1, true)).await.unwrap();
    append(&mut store, entries(1, 0..=3, 20)).await.unwrap();
    store.save_committed(Some(id(1, 1))).await.unwrap();
    store.truncate_after(Some(id(1, 2))).await.unwrap();
    store.purge(id(1, 0)).await.unwrap();
    append(&mut store, entries(1, 3..=3, 20)).await.unwrap();
    drop(store);
    let [path] = &chunks(dir.path())[..] else { panic!("more than one file") };
    for at in 0..fs::metadata(path).unwrap().len() as usize {
        for mask in [0x01, 0x80, 0xff] {
            let good = flip(path, at, mask);
            assert_damaged(dir.path(), &format!("byte {at} xor {mask:#x}"));
            fs::write(path, good).unwrap();
        }
    }
}

#[tokio::test]
async fn a_torn_tail_goes_and_nothing_before_it() {
    // The last cut takes the whole newest file.
    for cut in [1, 7, 64, 251, 700, 4096] {
        let dir = tempfile::tempdir().unwrap();
        let written = several_chunks(dir.path()).await;
        let newest = chunks(dir.path()).pop().unwrap();
        let length = fs::metadata(&newest).unwrap().len();
        let file = fs::OpenOptions::new().write(true).open(&newest).unwrap();
        file.set_len(length.saturating_sub(cut)).unwrap();

        let mut store = open(dir.path());
        let mut kept = all(&store).await;
        assert_eq!(kept, written[..kept.len()], "cut {cut}");
        let lost = written.len() - kept.len();
        assert!((1..=cut as usize / 250 + 1).contains(&lost), "cut {cut}, lost {lost}");
        assert_eq!(store.read_vote().await.unwrap(), Some(vote(57, 1, true)), "cut {cut}");

        let next = next_index(first_and_last(&store).await.1);
        append(&mut store, entries(61, next..=next, 250)).await.unwrap();
        drop(store);
        kept.extend(entries(61, next..=next, 250));
        assert_eq!(all(&open(dir.path())).await, kept, "cut {cut}, written again");
    }
}

#[tokio::test]
async fn zeros_after_the_last_record_go_but_zeros_within_one_are_damage() {
    let dir = tempfile::tempdir().unwrap();
    let written = several_chunks(dir.path()).await;
    let last = chunks(dir.path()).pop().unwrap();
    let good = fs::read(&last).unwrap();

    fs::write(&last, [&good[..], &[0; 5000]].concat()).unwrap();
    assert_eq!(all(&open(dir.path())).await, written);
    assert_eq!(all(&open(dir.path())).await, written, "opened again");

    let copy = tempfile::tempdir().unwrap();
    several_chunks(copy.path()).await;
    let last = chunks(copy.path()).pop().unwrap();
    let mut bad = fs::read(&last).unwrap();
    let half = bad.len() - 100;
    bad[half..].fill(0);
    fs::write(&last, bad).unwrap();
    assert_damaged(copy.path(), "half a record zeroed");
}

#[tokio::test]
async fn a_missing_or_short_file_is_noticed() {
    for which in [0, 1] {
        let dir = tempfile::tempdir().unwrap();
        several_chunks(dir.path()).await;
        fs::remove_file(&chunks(dir.path())[which]).unwrap();
        assert_damaged(dir.path(), &format!("file {which} is gone"));

        let dir = tempfile::tempdir().unwrap();
        several_chunks(dir.path()).await;
        let path = &chunks(dir.path())[which];
        let bytes = fs::read(path).unwrap();
        fs::write(path, &bytes[..bytes.len() - 10]).unwrap();
        assert_damaged(dir.path(), &format!("file {which} is short"));
    }
}

#[tokio::test]
async fn a_file_damaged_while_open_is_a_read_error() {
    let dir = tempfile::tempdir().unwrap();
    several_chunks(dir.path()).await;
    let store = open(dir.path());
    let path = &chunks(dir.path())[0];
    let good = fs::read(path).unwrap();
    fs::write(path, vec![0xa5; good.len()]).unwrap();
    let read = store.clone().try_get_log_entries(..).await;
    assert!(read.is_err(), "read from a damaged file: {read:?}");
}
