// SPDX-License-Identifier: GPL-2.0

//! Records that are collected in chunks, against the whole of them.

use proptest::prelude::*;

use super::tree::{changes, disk_key, small_range, small_record, Tree};
use super::{blocks, cases};
use crate::chunk::{Chunk, Next};
use crate::rmap::Record;
use crate::units::GroupBlocks;

/// All chunks, with buffers of the given sizes in turn. Between two of them,
/// `unlocked` has the tree.
fn chunks(
    tree: &mut Tree,
    range: GroupBlocks,
    sizes: &[usize],
    mut unlocked: impl FnMut(&mut Tree),
) -> Vec<Vec<Record>> {
    let mut after = None;
    let mut found = Vec::new();

    for &size in sizes.iter().cycle() {
        let mut buf = vec![Record::default(); size];
        let mut chunk = Chunk::new(&mut buf, after);

        tree.query(range, |rec| chunk.offer(rec));
        assert!(chunk.records().iter().all(|rec| tree.contains(rec)));
        found.push(chunk.records().to_vec());
        after = chunk.resume();
        if after.is_none() {
            break;
        }
        unlocked(tree);
    }
    found
}

fn records(max: usize) -> impl Strategy<Value = Vec<Record>> {
    prop::collection::vec(small_record(), 0..max)
}

proptest! {
    #![proptest_config(cases(10000))]

    #[test]
    fn all_chunks_are_all_records(recs in records(30), range in small_range(), size in 1..9usize) {
        let mut tree = Tree::new(recs);
        let want = tree.in_range(range);
        let got = chunks(&mut tree, range, &[size], |_| ());

        prop_assert_eq!(got.len(), want.len().div_ceil(size).max(1));
        prop_assert!(got.iter().rev().skip(1).all(|chunk| chunk.len() == size));
        prop_assert_eq!(got.concat(), want);
    }

    #[test]
    fn buffers_of_changing_size(
        recs in records(30),
        range in small_range(),
        sizes in prop::collection::vec(1..9usize, 1..5),
    ) {
        let mut tree = Tree::new(recs);
        let want = tree.in_range(range);

        prop_assert_eq!(chunks(&mut tree, range, &sizes, |_| ()).concat(), want);
    }

    /// Records come and go while the lock is dropped: those that stay are all
    /// found, and none is found twice.
    #[test]
    fn records_that_stay_are_found_once(
        recs in records(30),
        range in small_range(),
        size in 1..5usize,
        changes in changes(),
    ) {
        let mut tree = Tree::new(recs);
        let mut stay = tree.in_range(range);
        let mut changes = changes.iter().flatten();
        let got = chunks(&mut tree, range, &[size], |tree| {
            for change in changes.by_ref().take(2) {
                change.apply(tree);
                stay.retain(|rec| tree.contains(rec));
            }
        })
        .concat();

        for rec in &stay {
            prop_assert_eq!(got.iter().filter(|found| *found == rec).count(), 1);
        }
        for pair in got.windows(2) {
            prop_assert!(disk_key(&pair[0], false) < disk_key(&pair[1], false));
        }
    }
}

/// Owners 1, 2, … of one block.
fn owners(count: u64) -> Vec<Record> {
    (1..=count)
        .map(|owner| Record {
            start: 5,
            count: 1,
            owner,
            ..Record::default()
        })
        .collect()
}

fn chunk_lengths(count: u64, size: usize) -> Vec<usize> {
    chunks(&mut Tree::new(owners(count)), blocks(5, 6), &[size], |_| ())
        .iter()
        .map(Vec::len)
        .collect()
}

#[test]
fn no_records() {
    assert_eq!(chunk_lengths(0, 3), [0]);
}

#[test]
fn buffer_that_is_just_large_enough() {
    assert_eq!(chunk_lengths(3, 3), [3]);
    assert_eq!(chunk_lengths(6, 3), [3, 3]);
}

#[test]
fn buffer_that_is_one_too_small() {
    assert_eq!(chunk_lengths(4, 3), [3, 1]);
}

#[test]
fn buffer_of_one() {
    assert_eq!(chunk_lengths(4, 1), [1, 1, 1, 1]);
}

#[test]
fn full_buffer_ends_the_query() {
    let recs = owners(3);
    let mut buf = [Record::default(); 2];
    let mut chunk = Chunk::new(&mut buf, None);

    assert_eq!(chunk.offer(&recs[0]), Next::Continue);
    assert_eq!(chunk.offer(&recs[1]), Next::Continue);
    assert_eq!(chunk.resume(), None);
    assert_eq!(chunk.offer(&recs[2]), Next::Full);
    assert_eq!(chunk.resume(), Some(recs[1].key()));
    assert_eq!(chunk.records(), &recs[..2]);
}

#[test]
fn record_that_was_the_last_is_passed_over() {
    let recs = owners(3);
    let mut buf = [Record::default(); 2];
    let mut chunk = Chunk::new(&mut buf, Some(recs[1].key()));

    assert!(recs.iter().all(|rec| chunk.offer(rec) == Next::Continue));
    assert_eq!(chunk.records(), &recs[2..]);
    assert_eq!(chunk.resume(), None);
}

#[test]
fn last_record_of_a_chunk_goes_away() {
    let mut tree = Tree::new(owners(5));
    let mut first = true;
    let got = chunks(&mut tree, blocks(5, 6), &[2], |tree| {
        if std::mem::take(&mut first) {
            tree.remove_nth(1);
        }
    });

    assert_eq!(got.concat(), owners(5));
}

#[test]
fn all_other_records_go_away() {
    let mut tree = Tree::new(owners(5));
    let got = chunks(&mut tree, blocks(5, 6), &[2], |tree| {
        *tree = Tree::default();
    });

    assert_eq!(got, [owners(2), vec![]]);
}
