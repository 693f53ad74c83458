// SPDX-License-Identifier: GPL-2.0

//! Metadata that is lost, and that xfs_healer rebuilds while the filesystem is mounted.

use std::process::{Child, Stdio};

use super::place::Tree;
use super::{hit, Case, CASES};
use crate::scenes::prelude::*;

const PROGRAM: &str = "/usr/libexec/xfsprogs/xfs_healer";
/// What the kernel's online repair can make anew, by the names of [`CASES`].
const REBUILT: [&str; 11] = [
    "bnobt",
    "cntbt",
    "rmapbt",
    "refcountbt",
    "inobt",
    "finobt",
    "block map",
    "names",
    "leaf",
    "free",
    "link",
];

const WELL: &str = "sick: none, bad: none";

/// xfs_healer, while it lives. It ends with the mount.
pub struct Healer(pub Child);

impl Healer {
    pub fn start(words: &[&str], out: Stdio) -> Result<Self> {
        ensure!(
            Path::new(PROGRAM).exists(),
            "{PROGRAM} is missing: xfsprogs 7.2 has it"
        );
        let mut healer = Command::new(PROGRAM);
        healer.args(words).arg(MOUNT_POINT);
        let child = healer.stdout(out).spawn().context(PROGRAM)?;
        let healer = Self(child);
        // It has the only health monitor of the mount then.
        let taken = until(
            || match ioctl::health_monitor(&File::open(MOUNT_POINT)?, 0) {
                Ok(_) => Ok(false),
                Err(e) if e.raw_os_error() == Some(libc::EEXIST) => Ok(true),
                Err(e) => Err(e.into()),
            },
        )?;
        ensure!(taken, "{PROGRAM} does not listen");
        Ok(healer)
    }
}

impl Drop for Healer {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

scene!(HEALER = 252 "healer" play: "lost metadata, rebuilt by xfs_healer"; scrub, long);
fn play(_: u64) -> Result<()> {
    let rebuilt = |case: &&Case| REBUILT.contains(&case.name);
    for Case { name, place, sick } in CASES.iter().filter(rebuilt) {
        let tree = Tree::new()?;
        let at = place(&tree)?;
        let tree = tree.mount_again()?;
        let healer = Healer::start(&["--repair", "--quiet"], Stdio::null())?;
        let (whose, what) = *sick;
        let counted = hit(name, at)?;
        let lost = counted.contains("1 stuck");
        expect_so(&format!("{name}: is {what}"), lost, "lost", "not lost")?;
        // The old block is free, and cleared once the log on the device says so.
        let state = || -> Result<String> {
            let bad = Pmem(0).badblocks()?;
            Ok(format!("sick: {}, bad: {bad}", tree.sick(whose)))
        };
        let well = until(|| {
            calls::sync_filesystem(&tree.xfs.root()?)?;
            Ok(state()? == WELL)
        })?;
        expect(&format!("{name}: rebuilt"), WELL, state()?)?;
        let wrote = xfs::try_write(&tree.xfs.path("new"));
        expect(&format!("{name}: writer"), "0", wrote)?;
        expect(&format!("{name}: reader"), "0", tree.try_read())?;
        drop(healer);
        if !well {
            Pmem(0).overwrite_bad()?;
        }
        let xfs = tree.xfs.clone();
        drop(tree);
        expect(&format!("{name}: filesystem"), CLEAN, xfs.end())?;
    }
    Ok(())
}
