// SPDX-License-Identifier: GPL-2.0

//! dm-writecache keeps the address of its pmem for life, and stores through it without
//! any provision for a fault.

use std::fs::OpenOptions;

use super::*;
use crate::dm::Writecache;

scene!(WRITECACHE = 161 "writecache" play: "the pmem of a dm-writecache fails";
    passes(AS_GOOD));
/// The page with its superblock fails, and one with its metadata. It has no filesystem to
/// be told by, so all goes on.
fn play(_: u64) -> Result<()> {
    for pmem in [Pmem(0), Pmem(1)] {
        pmem.overwrite_bad()?;
    }
    let cache = Writecache::new(Pmem(0), Pmem(1))?;
    let mut options = OpenOptions::new();
    let device = options.read(true).write(true).open(cache.path())?;
    let write = |byte: u8| -> Result<String> {
        for page in 0..64 {
            let written = device.write_at(&[byte; PAGE_SIZE], page * PAGE);
            if !matches!(written, Ok(PAGE_SIZE)) {
                return Ok(outcome(written));
            }
        }
        // Has it store its superblock anew.
        Ok(fsync(&device))
    };
    let read = |byte: u8| {
        let mut page = Page([0; PAGE_SIZE]);
        let read = (0..64).all(|n| {
            device.read_exact_at(&mut page.0, n * PAGE).is_ok() && page.0 == [byte; PAGE_SIZE]
        });
        if read {
            INTACT
        } else {
            "data differ"
        }
    };
    expect("written", "0", write(1)?)?;
    let superblock = Bad::block(0)?;
    for bad in [&superblock, &Bad::block(PAGE)?] {
        let said = bad.report()?;
        note(&format!("machine check at {:#x}: {said}", bad.at))?;
        sleep(MOMENT);
        expect("written after that", "0", write(2)?)?;
        expect("read", INTACT, read(2))?;
    }
    // No holder has taken them, so they are not marked.
    expect("bad sectors", "none", Pmem(0).badblocks()?)?;
    note(&format!("marks: {}", superblock.marks()?))?;
    drop((device, cache));
    super::super::repair::until(|| Ok(Pmem(0).open_alone().is_ok()))?;
    expect("superblock, read", "other data", Pmem(0).read(0)?)?;
    // What the removal has stored is no matter of the scenes that follow.
    for at in [0, PAGE] {
        Pmem(0).overwrite(at)?;
    }
    expect("bad sectors", "none", Pmem(0).badblocks()?)
}
