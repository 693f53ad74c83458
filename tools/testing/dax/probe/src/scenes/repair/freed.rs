// SPDX-License-Identifier: GPL-2.0

//! Bad blocks whose owners give them away, before and after the error.

use super::{expect_counts, expect_repaired};
use crate::scenes::prelude::*;

/// Pages of each file; one unit of a copy-on-write, so that one write reserves them all.
const PAGES: usize = 16;
const LEN: u64 = PAGES as u64 * PAGE;
/// More than the worker waits before it begins.
const MOMENT: Duration = Duration::from_millis(500);

/// A way to give page 1 of a file away, which may share it with others.
struct Way {
    name: &'static str,
    prepare: fn(&Xfs, &Path) -> Result<()>,
    act: fn(&Xfs, &Path) -> Result<()>,
}

impl Way {
    /// Of a file that has it alone.
    const fn alone(name: &'static str, act: fn(&Xfs, &Path) -> Result<()>) -> Self {
        let prepare: fn(&Xfs, &Path) -> Result<()> = |_, _| Ok(());
        Self { name, prepare, act }
    }
}

const ZERO: i32 = libc::FALLOC_FL_ZERO_RANGE;
const COLLAPSE: i32 = libc::FALLOC_FL_COLLAPSE_RANGE;

const WAYS: &[Way] = &[
    Way::alone("unlink", |_, path| Ok(fs::remove_file(path)?)),
    Way::alone("rename over it", |xfs, path| {
        Ok(fs::rename(xfs.file("other", PAGES)?, path)?)
    }),
    Way::alone("truncate", |_, path| Ok(open(path, 0)?.set_len(PAGE)?)),
    Way::alone("punch", |_, path| change(path, PUNCH, PAGE, PAGE)),
    Way::alone("zero range", |_, path| change(path, ZERO, 0, LEN)),
    Way::alone("collapse range", |_, path| {
        change(path, COLLAPSE, PAGE, PAGE)
    }),
    // The last owner of a block writes in place, if it has nothing else.
    Way {
        name: "2 of 3 write, unlink",
        prepare: |xfs, path| {
            xfs.clone_of(path, "b")?;
            xfs.clone_of(path, "c").map(drop)
        },
        act: |xfs, path| {
            write(&xfs.path("b"))?;
            write(&xfs.path("c"))?;
            Ok(fs::remove_file(path)?)
        },
    },
    // It has what the write to another page of the then shared file has reserved.
    Way {
        name: "the last of 2 writes",
        prepare: |xfs, path| {
            let clone = xfs.clone_of(path, "d")?;
            let file = open(path, 0)?;
            ioctl::set_cow_extent_size(&file, LEN as u32)?;
            file.write_all_at(&[pattern(0); PAGE_SIZE], 0)?;
            Ok(fs::remove_file(clone)?)
        },
        act: |_, path| write(path),
    },
];

fn change(path: &Path, mode: i32, at: u64, len: u64) -> Result<()> {
    allocate(&open(path, 0)?, mode, at, len)
}

fn write(path: &Path) -> Result<()> {
    Ok(open(path, 0)?.write_all_at(&[pattern(1); PAGE_SIZE], PAGE)?)
}

scene!(FREED = 53 "freed" after: "a bad block that its file gives away, in each way";
    both, differs("unlink: block", "EIO"));
/// A block that failed while it was owned, and then is not any more. Nobody has to be
/// given it to have it made good.
fn after(_: u64) -> Result<()> {
    let xfs = Xfs::new(&Options::default())?;
    let root = xfs.root()?;
    for way in WAYS {
        let name = way.name;
        let file = xfs.file(&name.replace([',', ' '], "-"), PAGES)?;
        (way.prepare)(&xfs, &file)?;
        let bad = hit_mapped(name, &file)?;
        let counts = Counts::now();
        (way.act)(&xfs, &file)?;
        wait_free(&root, bad.at)?;
        sync_and_settle(&xfs)?;
        expect_repaired(name, &bad)?;
        expect_counts(name, "1 repaired", &counts)?;
    }

    // All is done when the filesystem stands still, and what comes then waits.
    let file = xfs.file("frozen", PAGES)?;
    let bad = hit_mapped("freeze", &file)?;
    // The report of the loss keeps the inode for a while.
    sleep(MOMENT);
    fs::remove_file(&file)?;
    ioctl::freeze(&root)?;
    let repaired = expect_repaired("freeze", &bad);
    let while_frozen = bad.report().and_then(|_| {
        sleep(MOMENT);
        bad.marks()
    });
    ioctl::thaw(&root)?;
    repaired?;
    expect("frozen: marks", MARKED, while_frozen?)?;
    worker::settle()?;
    expect_repaired("thawed", &bad)?;

    for (options, counted) in [
        ("ro", "1 poisoned, 1 stuck"),
        // What was stuck is looked at again, and it fails once more.
        ("rw", "1 poisoned, 2 repaired"),
    ] {
        let counts = Counts::now();
        xfs::run(Command::new("mount").args(["-o", &format!("remount,{options}"), MOUNT_POINT]))?;
        worker::settle()?;
        bad.report()?;
        worker::settle()?;
        expect_counts(options, counted, &counts)?;
    }
    expect_repaired("rw", &bad)
}

/// An error in page 1 of a file that is mapped.
fn hit_mapped(name: &str, file: &Path) -> Result<Bad> {
    let mut mapper = Map::new(file, PAGES).early().start()?;
    let bad = Bad::hit(file, 1)?;
    worker::settle()?;
    expect(&format!("{name}: mapper"), AO, mapper.seen())?;
    expect(&format!("{name}: owned, marks"), MARKED, bad.marks()?)?;
    Ok(bad)
}

scene!(FREED_AT_ONCE = 54 "freed-at-once" at_once:
    "a block that fails before the log knows that it is free"; both, crashes(STORE));
/// A block that is given away and fails at once, when the log does not know yet. After a
/// crash it would have its owner back, who must not find zeros there.
fn at_once(_: u64) -> Result<()> {
    const ROUNDS: usize = 8;
    type Act = fn(&Path) -> Result<()>;
    let xfs = Xfs::new(&Options::default())?;
    let root = xfs.root()?;
    let counts = Counts::now();
    let all = format!("{ROUNDS} of {ROUNDS}");
    let acts: [(&str, Act); 2] = [
        ("truncated", |path| Ok(open(path, 0)?.set_len(0)?)),
        ("deleted", |path| Ok(fs::remove_file(path)?)),
    ];
    for (name, act) in acts {
        let (mut early, mut clean) = (0, 0);
        for round in 0..ROUNDS {
            let file = xfs.file(&format!("{name}-{round}"), PAGES)?;
            let bad = Bad::unreported(&file, 1 + round)?;
            act(&file)?;
            bad.report()?;
            worker::settle()?;
            early += usize::from(good(&bad)?);
            // Deleted, it may have been owned still.
            wait_free(&root, bad.at)?;
            sync_and_settle(&xfs)?;
            clean += usize::from(good(&bad)?);
        }
        let early = format!("{early} of {ROUNDS}");
        if name == "truncated" {
            expect("truncated: made good", &all, early)?;
        } else {
            crate::report::note(&format!("deleted: {early} without syncfs()"))?;
        }
        let clean = format!("{clean} of {ROUNDS}");
        expect(&format!("{name}, syncfs: good"), &all, clean)?;
    }
    let total = format!("{0} poisoned, {0} repaired", 2 * ROUNDS);
    expect_counts("all", &total, &counts)?;
    drop(root);
    let after = xfs.file("after", 4)?;
    expect("another file", INTACT, xfs::intact(&after, 4))
}

/// Whether a block is as good as new.
fn good(bad: &Bad) -> Result<bool> {
    Ok(bad.marks()? == "none" && bad.pmem.read(bad.at)? == "zeros")
}
