// SPDX-License-Identifier: GPL-2.0

//! Errors that XFS makes itself (XFS_DEBUG), one kind at a time, while memory fails: I/O of the
//! log, btrees and buffers that can't be read, transactions that can't be finished. Some shut the
//! filesystem down. The mapper is told all the same, and what holds no data is repaired, after
//! the next mount at the latest.

use crate::scenes::prelude::*;

const TAGS: &str = "/sys/fs/xfs/pmem0/errortag";
const TOLD: &str = "BUS_MCEERR_AO page 1 lsb 12, not mapped";
const HEALED: &str = "zeros, zeros, none; data intact";

/// It is about mounts, and would be met by the one that looks what is left.
const EXCEPT: [&str; 2] = ["noerror", "bad_summary"];

scene!(ERROR_TAGS = 195 "error-tags" play: "errors that XFS makes itself, while memory fails";
    debug, long);
fn play(_: u64) -> Result<()> {
    let xfs = Xfs::new(&Options::default())?;
    let mut tags = Vec::new();
    for entry in fs::read_dir(TAGS).context(TAGS)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        tags.extend((!EXCEPT.contains(&name.as_str())).then_some(name));
    }
    tags.sort();
    let quiet = QuietConsole::new()?;
    let mut shut_down = Vec::new();
    for tag in &tags {
        let (told, was_shut_down, healed) = one(&xfs, tag)?;
        shut_down.extend(was_shut_down.then_some(tag.as_str()));
        if told != TOLD || healed != HEALED {
            expect(&format!("{tag}: mapper"), TOLD, told)?;
            expect(&format!("{tag}: then"), HEALED, healed)?;
        }
    }
    drop(quiet);
    let (all, by) = (tags.len(), shut_down.join(", "));
    note(&format!("{all} kinds of error; shut down by {by}"))?;
    expect_so(
        "shut the filesystem down",
        !shut_down.is_empty(),
        "some",
        "none",
    )
}

/// Three blocks fail: of a file that is mapped, free, and unwritten.
fn one(xfs: &Xfs, tag: &str) -> Result<(String, bool, String)> {
    let file = xfs.file(&format!("data-{tag}"), 4)?;
    let unwritten = place(&xfs.unwritten(&format!("unwritten-{tag}"), 4)?, 1)?;
    let free = ioctl::owned_by(&xfs.root()?, FMR_OWN_FREE)?.physical + 64 * PAGE;
    let mut early = Map::new(&file, 4).early().start()?;
    let bad = Bad::unreported(&file, 1)?;
    // What can't be read is written to find an error.
    let path = format!("{TAGS}/{tag}");
    fs::write(&path, "1").with_context(|| path.clone())?;
    bad.report()?;
    let told = format!("{}, {}", early.seen(), early.mapped(1)?);
    for at in [free, unwritten] {
        Bad::block(at)?.report()?;
    }
    // Transactions, and a log that is written.
    let _ = xfs::try_write(&xfs.path("other"));
    if let Ok(root) = xfs.root() {
        let _ = calls::sync_filesystem(&root);
    }
    worker::settle()?;
    fs::write(&path, "0").with_context(|| path.clone())?;
    drop(early);
    let was_shut_down = xfs::try_write(&xfs.path("probe")) == "EIO";
    xfs.mount_again()?;
    worker::settle()?;
    bad::mend(&file, 1, 2)?;
    let look = || -> Result<String> {
        let blocks = [Pmem(0).read(free)?, Pmem(0).read(unwritten)?].join(", ");
        let data = xfs::intact(&file, 4);
        Ok(format!("{blocks}, {}; {data}", bad.marks()?))
    };
    until(|| Ok(look()? == HEALED))?;
    let healed = look()?;
    remove(xfs, tag)?;
    Ok((told, was_shut_down, healed))
}

fn remove(xfs: &Xfs, tag: &str) -> Result<()> {
    for name in [format!("data-{tag}"), format!("unwritten-{tag}")] {
        let path: PathBuf = xfs.path(&name);
        fs::remove_file(&path).with_context(|| path.display().to_string())?;
    }
    Ok(())
}
