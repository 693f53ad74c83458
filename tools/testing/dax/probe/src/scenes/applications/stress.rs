// SPDX-License-Identifier: GPL-2.0

//! stress-ng poisons two pages of what it maps, as it comes: mostly private copies, which are lost
//! for good, and seldom pages of its file.

use super::{cleared, tool, Said};
use crate::scenes::prelude::*;

scene!(STRESS_NG = 279 "stress-ng" play: "stress-ng's madvise with hwpoison, and memthrash";
    fast, passes(UNCHANGED));
fn play(_: u64) -> Result<()> {
    let (xfs, file) = Xfs::with_file("file", 16)?;
    let mut log = kmsg::Log::new()?;
    let mut stress = tool("stress-ng", "stress-ng")?;
    stress.args(["--temp-path", MOUNT_POINT, "--timeout", "10"]);
    stress.args([
        "--madvise",
        "1",
        "--madvise-hwpoison",
        "--memthrash",
        "1",
        "--memthrash-method",
        "memset",
    ]);
    let said = Said::of(&mut stress)?;
    expect("stress-ng", "failed: 0", said.with("failed: 0"))?;
    let (mut dax, mut all) = (0, 0);
    while let Some(line) = log.line()? {
        dax += usize::from(line.contains("recovery action for dax page: Recovered"));
        all += usize::from(line.contains("recovery action for "));
    }
    note(&format!("{all} pages failed, {dax} of DAX files"))?;
    expect_so("pages failed", all > 0, "some", "none")?;
    let bad = cleared(&xfs, || Pmem(0).badblocks())?;
    expect("bad sectors", "none", bad)?;
    expect("a file of others", INTACT, xfs::intact(&file, 16))
}
