// SPDX-License-Identifier: GPL-2.0

//! What is done to blocks that files share, or could share, without an error: the files must keep
//! their data.

use std::fs::OpenOptions;

use crate::scenes::prelude::*;

/// A file.
const LEN: u64 = 16 * PAGE;

fn open(path: &Path) -> Result<File> {
    let mut options = OpenOptions::new();
    Ok(options.read(true).write(true).create(true).open(path)?)
}

/// Whether all bytes of a file are `byte`.
fn all(path: &Path, byte: u8) -> Result<&'static str> {
    let data = fs::read(path)?;
    let same = data.len() as u64 == LEN && data.iter().all(|&b| b == byte);
    Ok(yes_no(same))
}

scene!(DEDUPE_UNWRITTEN = 183 "dedupe-unwritten" dedupe:
    "unwritten blocks that hold what another file has"; differs("data: 41", "no"), harmless);
/// Unwritten blocks that hold on the media what another file has.
fn dedupe(_: u64) -> Result<()> {
    let xfs = Xfs::new(&Options::default())?;
    let (unwritten, path) = (xfs.path("unwritten"), xfs.path("data"));
    let data = vec![0x41; LEN as usize];
    fs::write(&unwritten, &data)?;
    fs::write(&path, &data)?;
    let (from, to) = (open(&unwritten)?, open(&path)?);
    to.sync_all()?;
    from.sync_all()?;
    // It gets the same blocks again.
    let before = ioctl::physical(&from, 0)?;
    from.set_len(0)?;
    from.sync_all()?;
    expect("fallocate", "0", calls::fallocate(&from, 0, 0, LEN))?;
    let same = ioctl::physical(&from, 0)? == before;
    expect_so("blocks", same, "the same", "others")?;
    let deduped = match ioctl::dedupe(&from, 0, LEN, &to) {
        Ok(bytes) => format!("{bytes} bytes"),
        Err(e) => e.to_string(),
    };
    expect("dedupe", "the data differ", deduped)?;
    expect("data: 41", "yes", all(&path, 0x41)?)?;
    expect("unwritten: 00", "yes", all(&unwritten, 0)?)
}

scene!(UNSHARE_BEHIND = 184 "unshare-behind" unshare: "a shared block behind unwritten ones";
    differs("the block is", "shared"), harmless);
/// A shared block behind unwritten ones, which are next to it on the device.
fn unshare(_: u64) -> Result<()> {
    const AT: u64 = 10 * PAGE;
    let xfs = Xfs::new(&Options::default())?;
    let path = xfs.path("file");
    let (file, clone) = (open(&path)?, open(&xfs.path("clone"))?);
    expect("fallocate", "0", calls::fallocate(&file, 0, 0, LEN))?;
    file.write_all_at(&[0x41; PAGE as usize], AT)?;
    file.sync_all()?;
    ioctl::clone_range(&file, AT, PAGE, &clone, 0)?;
    let mode = libc::FALLOC_FL_UNSHARE_RANGE;
    let answer = calls::fallocate(&file, mode, AT - 3 * PAGE, 4 * PAGE);
    expect("unshare", "0", answer)?;
    file.sync_all()?;
    let shared = ioctl::physical(&file, AT)? == ioctl::physical(&clone, 0)?;
    expect_so("the block is", !shared, "its own", "shared")?;
    let mut data = [0; PAGE as usize];
    file.read_exact_at(&mut data, AT)?;
    let good = data.iter().all(|&byte| byte == 0x41);
    expect_so("its data", good, "intact", "differ")
}
