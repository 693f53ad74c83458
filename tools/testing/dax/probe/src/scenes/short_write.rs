// SPDX-License-Identifier: GPL-2.0

//! Writes whose buffer can't be read to its end.

use std::io::{ErrorKind, Write};

use super::repair;
use crate::calls::pwrite_short;
use crate::scenes::prelude::*;

const PAGES: usize = 4;
const NEW: u8 = 0xa5;

/// Offset and length of a write, the bytes of its buffer that can be read, and what it
/// returns where the file's blocks are replaced.
const WRITES: [(usize, usize, usize, &str); 9] = [
    (0, 8292, 5000, "4096 bytes"),
    (0, 8292, 8192, "8192 bytes"),
    (0, 8292, 8292, "8292 bytes"),
    (100, 8000, 5000, "3996 bytes"),
    (100, 3000, 50, "EFAULT"),
    (4096, 4096, 4095, "EFAULT"),
    (4096, 8192, 4097, "4096 bytes"),
    (8191, 2, 1, "1 bytes"),
    (0, 16384, 0, "EFAULT"),
];

/// Fills all free blocks with what no file will hold.
fn leave_stale(xfs: &Xfs) -> Result<()> {
    let path = xfs.path("stale");
    let mut file = File::create(&path)?;
    let full = loop {
        if let Err(e) = file.write_all(&[b'S'; 1 << 20]) {
            break e;
        }
    };
    ensure!(full.kind() == ErrorKind::StorageFull, "{full}");
    file.sync_all()?;
    drop(file);
    fs::remove_file(&path)?;
    repair::sync_and_settle(xfs)
}

scene!(SHORT_WRITE = 110 "short-write" play:
    "a write whose buffer ends early, to blocks that are shared or bad";
    differs("5000 of 8292 bytes at 0", "5000 bytes"));
fn play(_: u64) -> Result<()> {
    let xfs = Xfs::new(&Options::default())?;
    leave_stale(&xfs)?;
    for (at, len, good, said) in WRITES {
        let a = xfs.file("a", PAGES)?;
        let b = xfs.clone_of(&a, "b")?;
        let done = pwrite_short(&open(&a, 0)?, at as u64, len, good, NEW);
        let written = *done.as_ref().unwrap_or(&0);
        let name = format!("{good} of {len} bytes at {at}");
        expect(&name, said, outcome(done))?;
        let data = fs::read(&a)?;
        let wrong = data.iter().enumerate().filter(|&(n, &byte)| {
            let new = (at..at + written).contains(&n);
            byte != if new { NEW } else { pattern(n / PAGE_SIZE) }
        });
        expect("bytes that are wrong", "0", wrong.count().to_string())?;
        expect("the clone", INTACT, crate::xfs::intact(&b, PAGES))?;
        // What their blocks hold would hide it if one comes back as it is.
        for path in [&a, &b] {
            let size = [b'S'; PAGES * PAGE_SIZE];
            open(path, 0)?.write_all(&size)?;
            fs::remove_file(path)?;
        }
    }

    // A page with an error is good again when it was written whole.
    let path = xfs.file("bad", PAGES)?;
    let bad = Bad::hit(&path, 1)?;
    let file = open(&path, 0)?;
    let page = PAGE_SIZE as u64;
    let part = outcome(pwrite_short(&file, page, PAGE_SIZE, 1000, NEW));
    expect("bad page, 1000 of 4096", "EFAULT", part)?;
    expect("pread", "EIO", read_page(&file, page))?;
    let part = outcome(pwrite_short(&file, 0, 3 * PAGE_SIZE, PAGE_SIZE + 1000, NEW));
    expect("bad page, and one before", "4096 bytes", part)?;
    expect("pread", "EIO", read_page(&file, page))?;
    expect("pread, the next page", "ok", read_page(&file, 2 * page))?;
    fill(&File::options().write(true).open(&path)?, 0, PAGES)?;
    expect("written whole", "ok", read_page(&file, page))?;
    expect("marks", "none", bad.marks()?)?;
    expect("fsync", "0", calls::fsync(&file))
}

scene!(SHORT_COPY = 246 "short-copy" short_copy:
    "reads and writes whose buffer ends at any byte, or is not there yet"; ends("Bad address"));
/// What is there is copied, and a page that is not there yet is fetched.
fn short_copy(_: u64) -> Result<()> {
    const LONG: usize = 2048;

    let xfs = Xfs::new(&Options::default())?;
    let path = xfs.file("file", PAGES)?;
    let file = open(&path, 0)?;
    let mut wrong = Vec::new();
    for good in (1..200).chain([1769, 4095, 4096, 4097, 8191]) {
        for at in [0, 1, 4090] {
            let done = pwrite_short(&file, at, 2 * PAGE_SIZE, good, NEW)?;
            let data = fs::read(&path)?;
            let right = data.iter().enumerate().all(|(n, &byte)| {
                let new = (at as usize..at as usize + done).contains(&n);
                byte == if new { NEW } else { pattern(n / PAGE_SIZE) }
            });
            // The end of what can be read need not be met to the byte.
            if !right || done > good || good - done > 64 {
                wrong.push(format!("{good} at {at}: {done}"));
            }
            fill(&file, 0, PAGES)?;
        }
    }
    expect("writes that are wrong", "", wrong.join(", "))?;

    let long = xfs.file("long", LONG)?;
    // Memory that no process has touched.
    let area = Area::reserve(LONG, crate::area::Fit::Any)?;
    let size = LONG * PAGE_SIZE;
    // SAFETY: memory of this process, all of it, and of nothing else.
    let memory = unsafe {
        libc::mprotect(
            area.addr(0).cast(),
            size,
            libc::PROT_READ | libc::PROT_WRITE,
        );
        std::slice::from_raw_parts_mut(area.addr(0), size)
    };
    let read = open(&long, 0)?.read_at(memory, 0)?;
    expect("read", &size.to_string(), read.to_string())?;
    let right = (0..LONG).all(|page| memory[page * PAGE_SIZE] == pattern(page));
    expect_so("what was read", right, "as it was written", "other data")?;
    expect("file", INTACT, xfs::intact(&long, LONG))
}
