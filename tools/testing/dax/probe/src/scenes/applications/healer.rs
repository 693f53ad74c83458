// SPDX-License-Identifier: GPL-2.0

//! xfs_healer tells its user which file has lost data.

use std::process::Stdio;
use std::sync::mpsc;

use super::Victim;
use crate::scenes::metadata::healer::Healer;
use crate::scenes::prelude::*;
use crate::supervise::follow;

const PAGES: usize = 16;
const HIT: usize = 5;

scene!(HEALER_NAMES = 277 "healer-names" play: "xfs_healer names the file that lost data";
    fast, differs("kernel's log", "does not"));
fn play(_: u64) -> Result<()> {
    let (xfs, file) = Xfs::with_file("file", PAGES)?;
    let other = xfs.clone_of(&file, "clone")?;
    let kept = Path::new("/tmp/kept");
    fs::copy(&file, kept)?;
    let mut healer = Healer::start(&["--everything"], Stdio::piped())?;
    let (sender, lines) = mpsc::channel();
    follow(healer.0.stdout.take().context("no stdout")?, sender);
    let victim = Victim::hit(&file, HIT)?;
    let words = |path: &Path| {
        let (path, at) = (path.display(), victim.at());
        format!("{path} pos {at} len {PAGE}: media failed")
    };
    let wanted = [words(&file), words(&other)];
    let mut said = Vec::new();
    until(|| {
        said.extend(lines.try_iter());
        Ok(wanted.iter().all(|words| said.contains(words)))
    })?;
    for (name, words) in ["file", "clone"].into_iter().zip(&wanted) {
        let got = if said.contains(words) {
            words.clone()
        } else {
            said.join(" / ")
        };
        expect(name, words, got)?;
    }
    drop(healer);
    // Its blocks are given away before this returns: the other file is written in place.
    calls::open(&other, 0)?.set_len(0)?;
    victim.restore_from(kept)?;
    victim.expect_restored()
}
