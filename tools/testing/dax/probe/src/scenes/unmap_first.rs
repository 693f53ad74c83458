// SPDX-License-Identifier: GPL-2.0

//! System calls that give a file other blocks, while it is mapped: of what is mapped there
//! must be an entry at any time, which the kernel itself watches.

use crate::scenes::prelude::*;

const PAGES: usize = 512;

/// A call, by name; its outcome.
type Call = (&'static str, fn(&File) -> String);

/// A call on page 1, none of which changes the first byte of a page.
const CALLS: [Call; 5] = [
    ("pwrite", |file| match fill(file, 1, 2) {
        Ok(()) => "0".into(),
        Err(e) => e.to_string(),
    }),
    ("pwrite, a part", |file| {
        calls::pwrite(file, PAGE + 512, 512)
    }),
    ("unshare", |file| {
        calls::fallocate(file, libc::FALLOC_FL_UNSHARE_RANGE, PAGE, PAGE)
    }),
    ("zero range, a part", |file| {
        let mode = libc::FALLOC_FL_ZERO_RANGE | libc::FALLOC_FL_KEEP_SIZE;
        calls::fallocate(file, mode, PAGE + 512, 512)
    }),
    ("truncate, a part", |file| {
        calls::truncate(file, (PAGES as u64 - 1) * PAGE + 512)
    }),
];

scene!(UNMAP_FIRST = 111 "unmap-first" play: "calls that give a mapped file other blocks";
    crashes("dax_disassociate_entry"));
fn play(_: u64) -> Result<()> {
    let xfs = Xfs::new(&Options::striped())?;
    for leaf in [Leaf::Huge, Leaf::Small] {
        for (name, call) in CALLS {
            for stored in [false, true] {
                let a = xfs.file("a", PAGES)?;
                let file = open(&a, 0)?;
                let area = Area::with_leaf(&a, PAGES, leaf, false)?;
                let other = Area::with_leaf(&a, PAGES, Leaf::Split, false)?;
                let b = xfs.clone_of(&a, "b")?;
                let mut got = vec![area.load_all_but(&[]), other.load(1)];
                // Dirty, and shared again.
                if stored {
                    got.push(area.store(1));
                    got.push(area.store(2));
                    fs::remove_file(&b)?;
                    xfs.clone_of(&a, "b")?;
                }
                let said = call(&file);
                got.push(said.replace("512 bytes", "0"));
                got.extend([area.load_all_but(&[]), other.load_all_but(&[])]);
                // Both map the blocks that the file has by now.
                got.push(calls::pwrite(&file, PAGE, 1));
                got.extend([area.load(1), other.load(1)]);
                got.extend([area.store(1), other.load(1), calls::fsync(&file)]);
                let before = match stored {
                    true => "reads, reads, stored, stored",
                    false => "reads, reads",
                };
                let new = "other data (0xa5)";
                let after = format!("reads, reads, 1 bytes, {new}, {new}, stored, reads, 0");
                let want = format!("{before}, 0, {after}");
                let stored = if stored { "dirty" } else { "clean" };
                let row = format!("{name}, {}, {stored}", leaf.name());
                expect(&row, &want, got.join(", "))?;
                drop((area, other, file));
                fs::remove_file(&a)?;
                fs::remove_file(&b)?;
            }
        }
    }
    Ok(())
}
