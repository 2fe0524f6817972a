//! The suite every store passes. Each case looks at the open store, and again after it was closed and reopened.
#![allow(clippy::unwrap_used)]

use std::sync::atomic::{AtomicBool, Ordering};

use super::*;
use crate::storage::testing::{Change, Model, document};
use crate::storage::{memory, sled};

/// A store, what it must hold, and the disk it is on.
struct Case<B: Backend> {
    backend: B,
    dir: tempfile::TempDir,
    store: Option<B::Store>,
    model: Model,
}

impl<B: Backend> Case<B> {
    fn new(backend: B) -> Case<B> {
        let dir = tempfile::tempdir().unwrap();
        let (store, state) = backend.open(dir.path()).unwrap();
        assert_eq!(state, SmallState::default());
        Case { backend, dir, store: Some(store), model: Model::default() }
    }

    fn store(&self) -> &B::Store {
        self.store.as_ref().unwrap()
    }

    fn apply(&mut self, change: Change<'_>) {
        let batch = self.model.change(change);
        self.store().apply(batch).unwrap();
        self.model.assert_documents(self.store());
    }

    /// Checkpoints, closes, opens, and expects everything to be there.
    #[track_caller]
    fn reopen(&mut self) {
        let position = self.store().checkpoint().unwrap();
        assert_eq!(position, (self.model.index > 0).then(|| self.model.position()));
        self.store = None;
        let (store, state) = self.backend.open(self.dir.path()).unwrap();
        assert_eq!(state, self.model.state());
        self.model.assert_documents(&store);
        self.store = Some(store);
    }

    #[track_caller]
    fn assert_documents(&self, expected: u64) {
        let stats = self.store().stats().unwrap();
        let bytes: usize = self.model.documents.values().map(Bytes::len).sum();
        assert_eq!((stats.documents, stats.document_bytes, stats.blob_files), (expected, bytes as u64, 0));
    }
}

fn a_new_store_is_empty<B: Backend>(backend: B) {
    let mut case = Case::new(backend);
    assert_eq!(case.store().checkpoint().unwrap(), None);
    assert_eq!(case.store().document(&[1; 32]).unwrap(), None);
    case.reopen();
}

fn rows_are_put_overwritten_and_deleted<B: Backend>(backend: B) {
    let mut case = Case::new(backend);
    case.apply(Change { puts: &[("b", "1"), ("a", "2"), ("", "empty key")], ..Change::default() });
    case.reopen();
    case.apply(Change {
        puts: &[("a", "3"), ("c", "")],
        deletes: &["b", "never there"],
        ..Change::default()
    });
    case.apply(Change::default());
    case.reopen();
    let largest = "x".repeat(MAX_ROW_BYTES - 3);
    case.apply(Change { puts: &[("big", &largest)], deletes: &["a", "", "c"], ..Change::default() });
    case.reopen();
}

fn documents_of_all_sizes_come_back<B: Backend>(backend: B) {
    let mut case = Case::new(backend);
    let sizes = [0, 1, MAX_ROW_BYTES - 65, MAX_ROW_BYTES - 64, MAX_ROW_BYTES - 63, 200_000, 5 << 20];
    let documents: Vec<_> = sizes.iter().map(|&bytes| document(bytes as u64, bytes)).collect();
    case.apply(Change { new: &documents, ..Change::default() });
    case.assert_documents(sizes.len() as u64);
    case.reopen();
    case.assert_documents(sizes.len() as u64);

    let dropped: Vec<_> = documents.iter().skip(2).map(|(digest, _)| *digest).collect();
    case.apply(Change { dropped: &dropped, ..Change::default() });
    assert!(dropped.iter().all(|digest| case.store().document(digest).unwrap().is_none()));
    case.assert_documents(2);
    case.reopen();
    assert!(dropped.iter().all(|digest| case.store().document(digest).unwrap().is_none()));
}

fn a_document_is_overwritten_whole<B: Backend>(backend: B) {
    let mut case = Case::new(backend);
    let (digest, long) = document(1, 300_000);
    let (_, short) = document(2, 60_000);
    for stored in [&long, &short, &long, &short] {
        case.apply(Change { new: &[(digest, stored.clone())], ..Change::default() });
        case.assert_documents(1);
        case.reopen();
    }
    case.apply(Change { dropped: &[digest, [9; 32]], ..Change::default() });
    case.assert_documents(0);
    case.reopen();
}

fn a_held_document_outlives_its_drop<B: Backend>(backend: B) {
    let mut case = Case::new(backend);
    let (digest, stored) = document(1, 100_000);
    case.apply(Change { new: &[(digest, stored.clone())], ..Change::default() });

    let hold = case.store().hold();
    let second = hold.clone();
    case.apply(Change { dropped: &[digest], ..Change::default() });
    case.assert_documents(0);
    drop(hold);
    case.apply(Change::default());
    assert_eq!(case.store().document(&digest).unwrap(), Some(stored), "one hold is left");

    drop(second);
    assert_eq!(case.store().stats().unwrap().dropped_documents, 1);
    case.apply(Change::default());
    assert_eq!(case.store().document(&digest).unwrap(), None);
    assert_eq!(case.store().stats().unwrap().dropped_documents, 0);
    case.reopen();
}

fn a_hold_ends_with_the_process<B: Backend>(backend: B) {
    let mut case = Case::new(backend);
    let documents: Vec<_> = (0..100).map(|seed| document(seed, 1_000)).collect();
    let digests: Vec<_> = documents.iter().map(|(digest, _)| *digest).collect();
    case.apply(Change { new: &documents, ..Change::default() });
    let hold = case.store().hold();
    case.apply(Change { dropped: &digests, ..Change::default() });
    std::mem::forget(hold);
    case.reopen();
    assert_eq!(case.store().stats().unwrap().dropped_documents, 100);
    assert_eq!(case.store().document(&digests[0]).unwrap(), None);
    case.apply(Change::default());
    case.apply(Change::default());
    assert_eq!(case.store().stats().unwrap().dropped_documents, 0);
    case.reopen();
}

fn a_dropped_document_may_return_while_held<B: Backend>(backend: B) {
    let mut case = Case::new(backend);
    let (digest, stored) = document(1, 100_000);
    let (_, encoded_otherwise) = document(2, 50_000);
    case.apply(Change { new: &[(digest, stored)], ..Change::default() });
    let hold = case.store().hold();
    case.apply(Change { dropped: &[digest], ..Change::default() });
    case.apply(Change { new: &[(digest, encoded_otherwise)], ..Change::default() });
    drop(hold);
    case.apply(Change::default());
    case.assert_documents(1);
    case.reopen();
    case.assert_documents(1);
}

fn a_refused_batch_changes_nothing<B: Backend>(backend: B) {
    let mut case = Case::new(backend);
    let (digest, stored) = document(1, 10);
    case.apply(Change { puts: &[("a", "1")], new: &[(digest, stored.clone())], ..Change::default() });

    let too_long = "x".repeat(MAX_ROW_BYTES);
    let too_large = (digest, Bytes::from(vec![0; MAX_DOCUMENT_BYTES + 1]));
    let refused = [
        Change { puts: &[("k", &too_long)], ..Change::default() },
        Change { puts: &[("k", "1"), ("k", "2")], ..Change::default() },
        Change { puts: &[("a", "2")], deletes: &["a"], ..Change::default() },
        Change { deletes: &["a", "a"], ..Change::default() },
        Change { new: &[too_large], ..Change::default() },
        Change { new: &[(digest, stored.clone()), (digest, stored.clone())], ..Change::default() },
        Change { new: &[(digest, stored)], dropped: &[digest], ..Change::default() },
        Change { dropped: &[digest, digest], ..Change::default() },
    ];
    for (number, change) in refused.into_iter().enumerate() {
        let batch = case.model.clone().change(change);
        let error = case.store().apply(batch).unwrap_err();
        assert!(matches!(error, Error::Refused { .. }), "{number}: {error}");
    }
    let mut large_membership = case.model.clone().change(Change::default());
    large_membership.applied.membership = vec![0; MAX_MEMBERSHIP_BYTES + 1].into();
    case.store().apply(large_membership).unwrap_err();
    case.reopen();
    case.apply(Change { puts: &[("a", "goes on")], ..Change::default() });
    let mut largest_membership = case.model.change(Change::default());
    largest_membership.applied.membership = vec![0; MAX_MEMBERSHIP_BYTES].into();
    case.store().apply(largest_membership).unwrap();
}

fn a_reader_sees_a_document_before_or_after_a_write<B: Backend>(backend: B) {
    let mut case = Case::new(backend);
    let (digest, one) = document(1, 400_000);
    let (_, two) = document(2, 300_000);
    case.apply(Change { new: &[(digest, one.clone())], ..Change::default() });

    let batches: Vec<_> = [&two, &one]
        .map(|stored| case.model.change(Change { new: &[(digest, stored.clone())], ..Change::default() }))
        .into();
    let done = AtomicBool::new(false);
    let store = case.store();
    std::thread::scope(|threads| {
        let reader = threads.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                let found = store.document(&digest).unwrap().unwrap();
                assert!(found == one || found == two);
            }
        });
        for _ in 0..20 {
            batches.iter().for_each(|batch| store.apply(batch.clone()).unwrap());
        }
        done.store(true, Ordering::Relaxed);
        reader.join().unwrap();
    });
    case.reopen();
}

macro_rules! suite {
    ($($case:ident)*) => {
        mod on_sled {
            $(#[test] fn $case() { super::$case(super::sled::Backend) })*
        }
        mod on_memory {
            $(#[test] fn $case() { super::$case(super::memory::Backend::default()) })*
        }
    };
}

suite! {
    a_new_store_is_empty
    rows_are_put_overwritten_and_deleted
    documents_of_all_sizes_come_back
    a_document_is_overwritten_whole
    a_held_document_outlives_its_drop
    a_hold_ends_with_the_process
    a_dropped_document_may_return_while_held
    a_refused_batch_changes_nothing
    a_reader_sees_a_document_before_or_after_a_write
}
