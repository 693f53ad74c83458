// SPDX-License-Identifier: GPL-2.0

//! Metadata whose memory fails: written anew from memory, or marked as sick. No file loses
//! anything, and the filesystem goes on.

use super::prelude::*;
use crate::ioctl::XFS_FMR_OWN_INODES;
use place::Tree;

mod place;

/// A kind of metadata.
struct Case {
    name: &'static str,
    /// The first byte of the sector, or of the page.
    place: fn(&Tree) -> Result<u64>,
}

const AGF: u64 = 1;
const AGI: u64 = 2;

const CASES: [Case; 19] = [
    Case {
        name: "superblock",
        place: |_| Ok(0),
    },
    Case {
        name: "second superblock",
        place: |tree| tree.group(1),
    },
    Case {
        name: "bnobt",
        place: |tree| tree.btree(AGF, 16),
    },
    Case {
        name: "cntbt",
        place: |tree| tree.btree(AGF, 20),
    },
    Case {
        name: "rmapbt",
        place: |tree| tree.btree(AGF, 24),
    },
    Case {
        name: "refcountbt",
        place: |tree| tree.btree(AGF, 88),
    },
    Case {
        name: "inobt",
        place: |tree| tree.btree(AGI, 20),
    },
    Case {
        name: "finobt",
        place: |tree| tree.btree(AGI, 328),
    },
    Case {
        name: "inodes",
        place: |tree| Ok(ioctl::owned_by(tree.root(), XFS_FMR_OWN_INODES)?.physical),
    },
    Case {
        name: "block map",
        place: Tree::block_map,
    },
    Case {
        name: "names",
        place: Tree::names,
    },
    Case {
        name: "second block of names",
        place: |tree| Ok(tree.names()? + PAGE),
    },
    Case {
        name: "leaf",
        place: Tree::leaf,
    },
    Case {
        name: "free",
        place: Tree::free,
    },
    Case {
        name: "attribute",
        place: |tree| tree.attribute(false),
    },
    Case {
        name: "value",
        place: |tree| tree.attribute(true),
    },
    Case {
        name: "link",
        place: Tree::link,
    },
    Case {
        name: "quota",
        place: Tree::quota,
    },
    Case {
        name: "unused log",
        place: |tree| {
            let log = ioctl::owned_by(tree.root(), XFS_FMR_OWN_LOG)?;
            Ok(log.physical + log.length / PAGE / 3 * 2 * PAGE)
        },
    },
];

/// A machine check there; what is counted.
fn hit(name: &str, at: u64) -> Result<String> {
    let counts = Counts::now();
    let outcome = mce::deliver(Pmem(0).address(at)?)?;
    expect(&format!("{name}: machine check"), "Recovered", outcome)?;
    worker::settle()?;
    Ok(format!("{} healed", counts.more("healed")))
}

scene!(HEALED_CLEAN = 247 "healed-clean" clean: "metadata that is in memory, and clean";
    differs("superblock: machine check", "Failed"));
/// Metadata that is in memory as it is on the device.
fn clean(_: u64) -> Result<()> {
    let tree = Tree::new()?;
    for Case { name, place } in &CASES {
        let at = place(&tree)?;
        tree.read()?;
        tree.clean()?;
        let healed = hit(name, at)?;
        expect(&format!("{name}: counted"), "1 healed", healed)?;
        let bad = Pmem(0).badblocks()?;
        expect(&format!("{name}: bad sectors"), "none", bad)?;
        let wrote = xfs::try_write(&tree.xfs.path("new"));
        expect(&format!("{name}: writer"), "0", wrote)?;
    }
    expect("sick", "none", ioctl::ag_sick(tree.root(), 0)?)?;
    let tree = tree.mount_again()?;
    tree.read()?;
    expect("mounted again", INTACT, xfs::intact(&tree.file, 4))
}
