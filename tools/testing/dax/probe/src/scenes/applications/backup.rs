// SPDX-License-Identifier: GPL-2.0

//! Tools that copy files: what they do about a page that can't be read.

use super::{tool, Said, Victim};
use crate::scenes::prelude::*;

const PAGES: usize = 16;
const HIT: usize = 5;
/// rsync's exit status: some files were not transferred.
const PARTIAL: &str = "exit 23";

/// Bytes that are the same in both, up to the first that is not.
fn alike(copy: &[u8], original: &[u8]) -> usize {
    let pairs = copy.iter().zip(original);
    pairs
        .take_while(|(copy, original)| copy == original)
        .count()
}

scene!(BACKUP = 271 "backup" play: "copies of a file with a bad page: dd, rsync, xfs_io";
    fast, differs("cp", "Bad address"));
fn play(_: u64) -> Result<()> {
    let xfs = Xfs::new(&Options::default())?;
    let from = xfs.path("from");
    fs::create_dir(&from)?;
    let file = xfs.file("from/file", PAGES)?;
    let other = xfs.file("from/other", PAGES)?;
    let kept = Path::new("/tmp/kept");
    fs::copy(&file, kept)?;
    let victim = Victim::hit(&file, HIT)?;
    let original = &victim.bytes;

    // It goes on, with zeros for what it can't read.
    let copy = Path::new("/tmp/copy");
    let mut dd = tool("dd", "coreutils")?;
    dd.arg(format!("if={}", file.display()));
    dd.arg(format!("of={}", copy.display()));
    let said = Said::of(dd.args(["bs=4096", "conv=noerror,sync"]))?;
    expect("dd", "Input/output error", said.with("Input/output error"))?;
    expect("dd", "exit 0", said.ended())?;
    let lost = HIT * PAGE_SIZE..(HIT + 1) * PAGE_SIZE;
    let mut with_zeros = original.clone();
    with_zeros[lost.clone()].fill(0);
    let same = fs::read(copy)? == with_zeros;
    expect_so("dd: copy", same, "one page of zeros", "other")?;

    // It leaves the file out, and copies the others.
    let to = Path::new("/tmp/to");
    let mut rsync = tool("rsync", "rsync")?;
    let said = Said::of(rsync.arg("-r").arg(&from).arg(to))?;
    expect("rsync", PARTIAL, said.ended())?;
    let named = said.with(&format!("\"{}\"", file.display()));
    expect("rsync: names", &format!("\"{}\"", file.display()), named)?;
    let there = |name: &str| yes_no(to.join("from").join(name).exists());
    expect("rsync: bad file copied", "no", there("file"))?;
    let copied = xfs::intact(&to.join("from/other"), PAGES);
    expect("rsync: other file", INTACT, copied)?;
    ensure!(other.exists(), "{}", other.display());

    let mut cp = tool("cp", "coreutils")?;
    let part = Path::new("/tmp/part");
    let said = Said::of(cp.arg("--reflink=never").arg(&file).arg(part))?;
    expect("cp", "Input/output error", said.with("Input/output error"))?;
    let good = alike(&fs::read(part)?, original);
    note(&format!("cp: {good} bytes of {}", original.len()))?;

    let io = |words: &str| -> Result<Said> {
        let mut xfs_io = tool("xfs_io", "xfsprogs")?;
        Said::of(xfs_io.args(["-r", "-c", words]).arg(&file))
    };
    let bad = format!("pread -b 4096 {} 4096", lost.start);
    expect(
        "xfs_io: the page",
        "Input/output error",
        io(&bad)?.with("Input/output error"),
    )?;
    let next = format!("pread -b 4096 {} 4096", lost.end);
    expect(
        "xfs_io: the next",
        "read 4096/4096",
        io(&next)?.with("read 4096/4096"),
    )?;

    victim.restore_from(kept)?;
    victim.expect_restored()
}
