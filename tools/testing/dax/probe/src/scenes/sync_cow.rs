// SPDX-License-Identifier: GPL-2.0

//! Stores through MAP_SYNC to blocks that files share: that the file has another block by then is
//! on the device before the program can store there.

use crate::scenes::prelude::*;

const PAGES: usize = 16;

scene!(SYNC_COW = 129 "sync-cow" play: "MAP_SYNC stores to blocks that files share";
    differs("shared, metadata clean", "stored, not synchronous"));
fn play(_: u64) -> Result<()> {
    let (xfs, path) = Xfs::with_file("file", PAGES)?;
    let clone = xfs.clone_of(&path, "clone")?;
    let file = open(&path, 0)?;
    let area = Area::synchronous(&path, PAGES)?;
    // Of what a fault that calls fsync() does after it.
    let trace = Trace::new("fs_dax/dax_insert_pfn_mkwrite")?;

    for (name, page, fsync) in [
        ("shared", 1, true),
        ("shared, metadata clean", 2, true),
        ("shared, and again", 3, false),
        ("copied already", 3, false),
    ] {
        trace.clear()?;
        let stored = area.store(page);
        let synchronous = match trace.events()?.len() {
            0 => "not synchronous".into(),
            1 => "synchronous".to_string(),
            n => format!("synchronous {n} times"),
        };
        let want = match name {
            "copied already" => "stored, not synchronous",
            _ => "stored, synchronous",
        };
        expect(name, want, format!("{stored}, {synchronous}"))?;
        if fsync {
            expect("fsync", "0", calls::fsync(&file))?;
        }
    }
    drop((trace, area, file));
    for path in [&path, &clone] {
        File::open(path)?.sync_all()?;
        expect("data", INTACT, xfs::intact(path, PAGES))?;
    }
    Ok(())
}
