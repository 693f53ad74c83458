// SPDX-License-Identifier: GPL-2.0

//! More single errors than the driver's list has room for, all found by one scrub.

use super::super::bad::mend;
use super::super::platform::scrub;
use crate::scenes::prelude::*;

const BAD: usize = MAX_BADBLOCKS + 88;
const PAGES: usize = 2 * BAD;

scene!(SCRUB_FLOOD = 168 "scrub-flood" play:
    "600 errors that a scrub finds: more than the list of bad blocks holds";
    nfit, long, differs("mapper, refused", "0"));
/// Each is told and marked, and none is forgotten when room comes.
fn play(_: u64) -> Result<()> {
    Device::new(0)?;
    let (_, path) = Xfs::with_file("file", PAGES)?;
    let mut mapper = Map::new(&path, PAGES).start()?;
    let file = File::open(&path)?;
    let before = Bad::unreported(&path, 1)?;
    for n in 0..BAD as u64 {
        firmware::inject(firmware::Error {
            address: Pmem(0).address(ioctl::physical(&file, 2 * n * PAGE)?)?,
            length: PAGE,
        })?;
    }
    let known = firmware::errors()?.len();
    expect("firmware", &BAD.to_string(), known.to_string())?;
    scrub()?;
    let reads = |first: usize| {
        let pages = (first..PAGES).step_by(2);
        let read = pages.map(|page| read_page(&file, page as u64 * PAGE));
        read.filter(|said| said == "EIO").count().to_string()
    };
    let all = BAD.to_string();
    until(|| Ok(reads(0) == all))?;
    expect("bad pages, EIO", &all, reads(0))?;
    expect("the others, EIO", "0", reads(1))?;
    let marks = format!("bad sectors, HardwareCorrupted +{} kB", 4 * BAD);
    expect("marks", &marks, before.marks()?)?;
    let bad = (0..PAGES).step_by(2);
    let told = bad.filter(|&page| mapper.touch(page) == refused(page));
    expect("mapper, refused", &all, told.count().to_string())?;
    expect("mapper, another page", "reads", mapper.touch(1))?;
    expect("mapper, the last", "reads", mapper.touch(PAGES - 1))?;

    // With half of them written, a scrub finds the others, and tells nothing new.
    mend(&path, 0, BAD)?;
    let half = (BAD / 2).to_string();
    expect("half of them written, EIO", &half, reads(0))?;
    scrub()?;
    expect("scrubbed again, EIO", &half, reads(0))?;
    mend(&path, BAD, PAGES)?;
    expect("all written", INTACT, xfs::intact(&path, PAGES))
}
