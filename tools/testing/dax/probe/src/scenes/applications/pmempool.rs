// SPDX-License-Identifier: GPL-2.0

//! PMDK: a pool with a replica, of which pmempool takes what one part has lost.
//!
//! libpmem2 finds bad blocks of a file in the list of its block device, and clears them by
//! fallocate(): the blocks are freed, and others allocated.

use super::{good, tool, Said, Victim};
use crate::scenes::prelude::*;

const MADE_OF: &str = "PMEMPOOLSET
16M /mnt/scene/part
REPLICA
16M /mnt/scene/replica
";
/// What the header of the pool's heap begins with.
const HEAP: &[u8] = b"MEMORY_HEAP_HDR";

fn pmempool(words: &[&str]) -> Result<Command> {
    let mut pmempool = tool("pmempool", "pmdk-tools")?;
    // It writes down there what it has found.
    pmempool
        .current_dir(MOUNT_POINT)
        .args(words)
        .arg("pool.set");
    Ok(pmempool)
}

scene!(PMEMPOOL = 273 "pmempool" play: "PMDK: a pool with a bad page, and what its replica has";
    both, fast, differs("sync", ""));
fn play(_: u64) -> Result<()> {
    let xfs = Xfs::new(&Options::default())?;
    fs::write(xfs.path("pool.set"), MADE_OF)?;
    good(&mut pmempool(&["create", "--layout=lab", "obj"])?)?;
    let query = pmempool(&["feature", "--query", "CHECK_BAD_BLOCKS"])?;
    // As it is made.
    expect("CHECK_BAD_BLOCKS", "1", good(&mut { query })?)?;
    let check = || -> Result<String> { Ok(Said::of(&mut pmempool(&["check"])?)?.ended()) };
    expect("check", "exit 0", check()?)?;

    let part = xfs.path("part");
    let at = fs::read(&part)?
        .windows(HEAP.len())
        .position(|bytes| bytes == HEAP);
    let victim = Victim::hit(&part, at.context("no heap in the pool")? / PAGE_SIZE)?;
    expect("check, bad", "exit 1", check()?)?;
    let sync =
        |words: &[&str]| -> Result<Said> { Said::of(&mut pmempool(&[&["sync"], words].concat())?) };
    let told = sync(&[])?.with("bad blocks found");
    expect("sync", "bad blocks found", told)?;
    expect(
        "sync --bad-blocks",
        "exit 0",
        sync(&["--bad-blocks"])?.ended(),
    )?;
    sync_and_settle(&xfs)?;
    // Headers are not as they were.
    victim.expect_page_restored()?;
    expect("check", "exit 0", check()?)
}
