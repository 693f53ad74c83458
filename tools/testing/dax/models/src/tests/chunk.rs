// SPDX-License-Identifier: GPL-2.0

//! Records that are collected in chunks: where each ends, and where the next
//! goes on.

use super::tree::Tree;
use super::{blocks, MANY};
use crate::chunk::{Chunk, Rest};
use crate::rmap::Record;
use crate::units::GroupBlocks;

/// Data of inode `owner` at blocks `start..end`.
fn data(owner: u64, start: u32, end: u32) -> Record {
    Record {
        start,
        count: end - start,
        owner,
        ..Record::default()
    }
}

/// Of each chunk, whose blocks were found.
fn chunks(recs: &[Record], range: GroupBlocks, size: usize) -> Vec<Vec<(u64, GroupBlocks)>> {
    let tree = Tree::new(recs.iter().copied());
    let mut rest = Some(Rest::new(range));
    let mut found = Vec::new();

    while let Some(todo) = rest {
        let mut buf = vec![Record::default(); size];
        let mut chunk = Chunk::new(&mut buf, todo);

        tree.query(chunk.query(), |rec| chunk.offer(rec));
        let owned = chunk.records().map(|(rec, blocks)| (rec.owner, blocks));
        let mut owned: Vec<_> = owned.collect();
        owned.sort_by_key(|&(owner, blocks)| (blocks.start, owner));
        found.push(owned);
        rest = chunk.rest();
        assert!(found.len() < MANY, "no end");
    }
    found
}

/// Inodes 1, 2, ... that share block 5.
fn sharers(count: u64) -> Vec<Record> {
    (1..=count).map(|owner| data(owner, 5, 6)).collect()
}

#[test]
fn no_records() {
    assert_eq!(chunks(&[], blocks(5, 6), 2), [[]]);
}

#[test]
fn buffer_that_is_just_large_enough() {
    let found = chunks(&sharers(3), blocks(5, 6), 3);

    assert_eq!(found.iter().map(Vec::len).collect::<Vec<_>>(), [3]);
}

#[test]
fn long_record_is_told_in_parts() {
    let recs = [data(1, 0, 9), data(2, 1, 2), data(3, 4, 5)];

    assert_eq!(
        chunks(&recs, blocks(0, 9), 2),
        [
            vec![(1, blocks(0, 4)), (2, blocks(1, 2))],
            vec![(1, blocks(4, 9)), (3, blocks(4, 5))]
        ]
    );
}

#[test]
fn records_that_start_before_the_range() {
    let recs = [data(1, 0, 9), data(2, 1, 9), data(3, 2, 9)];

    // Three owners of block 4 are too many; those of block 5 as well.
    assert_eq!(
        chunks(&recs, blocks(4, 6), 2).concat(),
        [1, 2, 3, 1, 2, 3]
            .into_iter()
            .zip([4, 4, 4, 5, 5, 5])
            .map(|(owner, block)| (owner, blocks(block, block + 1)))
            .collect::<Vec<_>>()
    );
}

#[test]
fn crowd_is_counted_in_one_chunk() {
    let tree = Tree::new(sharers(50));
    let mut buf = [Record::default(); 8];
    let mut full = Chunk::new(&mut buf, Rest::new(blocks(5, 6)));
    tree.query(full.query(), |rec| full.offer(rec));
    assert_eq!(full.crowd(), 0);
    let rest = full.rest().unwrap();

    let mut buf = [Record::default(); 8];
    let mut first = Chunk::new(&mut buf, rest);
    tree.query(first.query(), |rec| first.offer(rec));
    assert_eq!(first.crowd(), 50);
    let found = first.records().count();
    let rest = first.rest().unwrap();

    let mut buf = [Record::default(); 50];
    let mut last = Chunk::new(&mut buf, rest);
    tree.query(last.query(), |rec| last.offer(rec));
    assert_eq!(last.crowd(), 50 - found);
    assert_eq!(last.records().count(), 50 - found);
    assert_eq!(last.rest(), None);
}

#[test]
fn many_owners_of_one_block() {
    for size in 2..9 {
        let found = chunks(&sharers(50), blocks(5, 6), size).concat();
        let want = (1..=50).map(|owner| (owner, blocks(5, 6)));

        assert!(found.into_iter().eq(want));
    }
}

#[test]
fn many_owners_of_one_block_among_others() {
    let recs = [vec![data(91, 0, 5)], sharers(20), vec![data(92, 6, 9)]].concat();
    let found = chunks(&recs, blocks(0, 9), 4).concat();

    assert_eq!(found.len(), 22);
    assert_eq!(found.first(), Some(&(91, blocks(0, 5))));
    assert_eq!(found.last(), Some(&(92, blocks(6, 9))));
}

#[test]
fn one_file_that_shares_a_block_with_itself() {
    let recs: Vec<_> = (0..50)
        .map(|offset| Record {
            offset,
            ..data(7, 5, 6)
        })
        .collect();

    assert_eq!(chunks(&recs, blocks(5, 6), 3).concat().len(), 50);
}

#[test]
fn a_chunk_of_a_crowd_is_at_least_half_full() {
    for size in 2..9 {
        let found = chunks(&sharers(50), blocks(5, 6), size);
        // The first finds out that there is a crowd, and the last takes what is left.
        let (_, found) = found.split_first().unwrap();
        let (_, full) = found.split_last().unwrap();

        assert!(full.iter().all(|owners| owners.len() >= size / 2));
    }
}

#[test]
fn all_of_a_crowd_is_unread() {
    let tree = Tree::new([vec![data(1, 0, 9)], sharers(5)].concat());
    let mut buf = [Record::default(); 3];
    let mut full = Chunk::new(&mut buf, Rest::new(blocks(3, 9)));
    tree.query(full.query(), |rec| full.offer(rec));
    let mut buf = [Record::default(); 3];
    let mut next = Chunk::new(&mut buf, full.rest().unwrap());
    tree.query(next.query(), |rec| next.offer(rec));
    let rest = next.rest().unwrap();

    assert_eq!(rest.blocks(), blocks(5, 9));
    let mut buf = [Record::default(); 3];
    let mut crowd = Chunk::new(&mut buf, rest);
    assert_eq!(crowd.unread(), blocks(5, 9));
    crowd.offer(&data(7, 5, 9));
    assert_eq!(crowd.unread(), blocks(5, 9));
}
