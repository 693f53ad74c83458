// SPDX-License-Identifier: GPL-2.0

//! Files in the page cache: what it has up to date is not lost when the device fails.

use crate::scenes::prelude::*;

const LOST: &str = "lost 4096 bytes";

scene!(CACHED = 154 "cached" play: "blocks that the page cache has up to date"; crashes(STORE));
fn play(_: u64) -> Result<()> {
    let xfs = Xfs::new(&Options::no_dax())?;
    let file = xfs.file("file", 4)?;
    let (dirty, clean) = (Bad::unreported(&file, 1)?, Bad::unreported(&file, 2)?);
    calls::open(&file, 0)?.write_all_at(&vec![pattern(1); PAGE as usize], PAGE)?;

    let mut log = kmsg::Log::new()?;
    let mut lost = || -> Result<String> {
        worker::settle()?;
        Ok(log.count(LOST)?.to_string())
    };
    expect("dirty: machine check", "Recovered", dirty.report()?)?;
    expect("dirty: losses", "0", lost()?)?;
    sync_and_settle(&xfs)?;
    expect("dirty, written: marks", "none", dirty.marks()?)?;
    expect("clean: machine check", "Recovered", clean.report()?)?;
    expect("clean: losses", "0", lost()?)?;
    expect("reader", INTACT, xfs::intact(&file, 4))?;

    // Not in the page cache any more.
    bad::mend(&file, 2, 3)?;
    expect("clean, written: marks", "none", clean.marks()?)?;
    xfs.mount_again()?;
    expect("absent: machine check", "Recovered", clean.report()?)?;
    expect("absent: losses", "1", lost()?)?;
    let mut page = [0; PAGE as usize];
    let read = File::open(&file)?.read_at(&mut page, 2 * PAGE);
    expect("absent: read", "EIO", calls::outcome(read))?;
    bad::mend(&file, 2, 3)?;
    expect("absent, written: marks", "none", clean.marks()?)
}
