// SPDX-License-Identifier: GPL-2.0

use super::*;
use crate::torture::gen::Generator;
use crate::torture::op::{Op, Part};

fn data(model: &Model, ino: Ino, page: usize) -> Vec<u8> {
    let bytes = model.inodes[&ino].pages[page].content.bytes();
    bytes.map_or(Vec::new(), |bytes| bytes.to_vec())
}

fn two_files() -> (Model, Ino, Ino) {
    let mut model = Model::default();
    let (a, b) = (model.create(0, true), model.create(1, true));
    model.write(a, 0, &pattern(7, 0, 4 * PAGE));
    model.share(a, 0, 4 * PAGE, b, 0);
    (model, a, b)
}

#[test]
fn what_is_lost_is_lost_to_all_who_share_it() {
    let (mut model, a, b) = two_files();
    let block = model.inodes[&a].pages[1].block;
    let pages = model.sharers(block);
    assert_eq!(pages, [(a, 1), (b, 1)].into());
    model.lose(&pages);
    assert!(model.inodes[&a].is_lost(1) && model.inodes[&b].is_lost(1));
    assert_eq!(model.lost(), 1);
    // Part of the page can't be written, all of it can.
    let inode = &model.inodes[&a];
    assert_eq!(inode.blocked(PAGE + 1, 10), Some(PAGE));
    assert_eq!(inode.blocked(100, 2 * PAGE - 100), None);
    assert_eq!(inode.blocked(100, PAGE), Some(PAGE));
    model.write(a, PAGE, &pattern(8, PAGE, PAGE));
    assert!(!model.inodes[&a].is_lost(1) && model.inodes[&b].is_lost(1));
    model.zero(b, 0, 4 * PAGE);
    assert_eq!(model.lost(), 0);
}

#[test]
fn a_write_is_for_one_file() {
    let (mut model, a, b) = two_files();
    let before = data(&model, b, 1);
    model.write(a, PAGE + 5, &[1, 2, 3]);
    assert_eq!(data(&model, b, 1), before);
    assert_eq!(data(&model, a, 1)[5..8], [1, 2, 3]);
    assert!(!model.is_shared(a, 1) && model.is_shared(a, 0));
    // The rest of the last page is zeroed.
    model.resize(b, PAGE + 1);
    assert!(!model.is_shared(b, 1));
    assert!(data(&model, b, 1)[1..].iter().all(|b| *b == 0));
    assert_eq!(data(&model, a, 0), data(&model, b, 0));
}

#[test]
fn pages_move() {
    let (mut model, a, b) = two_files();
    let page = |n| pattern(7, n * PAGE, PAGE);
    model.insert(a, PAGE, 2 * PAGE);
    assert_eq!(model.inodes[&a].size, 6 * PAGE);
    assert_eq!(data(&model, a, 3), page(1));
    assert_eq!(model.inodes[&a].pages[2], Page::ZERO);
    model.collapse(a, 0, 3 * PAGE);
    assert_eq!(data(&model, a, 0), page(1));
    model.exchange(a, 0, PAGE, b, 3 * PAGE);
    assert_eq!(data(&model, a, 0), page(3));
    assert_eq!(data(&model, b, 3), page(1));
}

const AREA: AreaId = AreaId { mapper: 0, area: 0 };

#[test]
fn a_private_copy_stays_until_the_file_ends_before_it() {
    let (mut model, a, _) = two_files();
    model.processes.insert(0, Process::default());
    let area = Area {
        ino: a,
        first: 1,
        pages: 3,
        kind: Kind(1),
        writable: true,
        copies: BTreeMap::new(),
    };
    let process = model.processes.get_mut(&0).unwrap();
    process.areas.insert(0, area);
    assert!(matches!(model.store(AREA.page(1), 9, 0xff), Touch::Data(_)));
    model.lose(&[(a, 2), (a, 1)].into());
    let touch = |model: &Model, page| model.touch(model.area(AREA).unwrap(), page);
    assert!(matches!(touch(&model, 1), Touch::Data(bytes) if bytes[9] == 0xff));
    assert_eq!(touch(&model, 0), Touch::Lost);
    model.resize(a, 2 * PAGE);
    assert_eq!(touch(&model, 1), Touch::Beyond);
}

/// A model that has but the bytes of each file.
type Naive = BTreeMap<Ino, Vec<u8>>;

/// Puts bytes at a place, up to which a file grows if it must.
fn put(files: &mut Naive, ino: Ino, at: u64, bytes: &[u8]) {
    let file = files.entry(ino).or_default();
    let (start, end) = (at as usize, at as usize + bytes.len());
    file.resize(file.len().max(end), 0);
    file[start..end].copy_from_slice(bytes);
}

/// The same steps on both: all bytes are the same, and what shares a block is the same.
#[test]
fn it_agrees_with_a_naive_one() {
    for seed in 0..20 {
        let mut generator = Generator::new(seed);
        let (mut model, mut files) = (Model::default(), Naive::new());
        for _ in 0..400 {
            let op = generator.next(&model);
            let ino = |slot| model.ino(slot);
            let size = |slot| model.inode(slot).map(|inode| inode.size);
            match op {
                Op::Create(slot) => {
                    files.insert(model.create(slot, true), Vec::new());
                    continue;
                }
                Op::Write(part, tag) | Op::Direct(part, tag) => {
                    let (ino, data) = (ino(part.slot).unwrap(), pattern(tag, part.at, part.len));
                    put(&mut files, ino, part.at, &data);
                    model.write(ino, part.at, &data);
                }
                Op::Truncate(slot, size) => {
                    let ino = ino(slot).unwrap();
                    files.entry(ino).or_default().resize(size as usize, 0);
                    model.resize(ino, size);
                }
                Op::Punch(Part { slot, at, len }) => {
                    let ino = ino(slot).unwrap();
                    let file = files.entry(ino).or_default();
                    let end = ((at + len) as usize).min(file.len());
                    if (at as usize) < end {
                        file[at as usize..end].fill(0);
                    }
                    model.zero(ino, at, len);
                }
                Op::CloneRange(Part { slot, at, len }, to, to_at)
                    if slot != to && size(to).is_some() && size(slot) >= Some(at + len) =>
                {
                    let (from, into) = (ino(slot).unwrap(), ino(to).unwrap());
                    let piece = files[&from][at as usize..(at + len) as usize].to_vec();
                    put(&mut files, into, to_at, &piece);
                    model.share(from, at, len, into, to_at);
                }
                _ => continue,
            }
            assert_eq!(op.to_string().parse::<Op>().unwrap(), op);
        }
        for (ino, file) in &files {
            let inode = &model.inodes[ino];
            assert_eq!(inode.size, file.len() as u64);
            let all: Vec<u8> = (0..inode.pages.len())
                .flat_map(|n| data(&model, *ino, n))
                .collect();
            assert_eq!(all[..file.len()], file[..], "seed {seed}");
            assert!(all[file.len()..].iter().all(|b| *b == 0));
        }
        let pages = model.inodes.values().flat_map(|inode| &inode.pages);
        let mut blocks = BTreeMap::new();
        for page in pages.filter(|page| page.block != 0) {
            let other = blocks.entry(page.block).or_insert(&page.content);
            assert_eq!(**other, page.content);
        }
    }
}
