// SPDX-License-Identifier: GPL-2.0

//! Metadata whose memory fails: written anew from memory, or marked as sick. No file loses
//! anything, and the filesystem goes on.

use super::prelude::*;
use crate::scenes::platform;
use crate::torture::meta::restore;
use crate::torture::slice::Slice;
use place::{Tree, Whose};

pub mod healer;
mod place;

/// A kind of metadata.
struct Case {
    name: &'static str,
    /// The first byte of the page.
    place: fn(&Tree) -> Result<u64>,
    /// What is marked as sick if it is not in memory.
    sick: (Whose, &'static str),
}

const fn case(
    name: &'static str,
    place: fn(&Tree) -> Result<u64>,
    sick: (Whose, &'static str),
) -> Case {
    Case { name, place, sick }
}

/// More than an AGI has lists of deleted inodes.
const UNLINKED: usize = 150;
/// It can't be lost.
const NOTHING: &str = "nothing";
const AGF: u64 = 1;
const AGI: u64 = 2;

#[rustfmt::skip]
const CASES: [Case; 22] = [
    case("superblock", |_| Ok(0), (Whose::Group(0), "EIO")),
    case("second superblock", |tree| tree.group(1), (Whose::Group(1), "EIO")),
    case("bnobt", |tree| tree.btree(AGF, 16), (Whose::Group(0), "bnobt")),
    case("cntbt", |tree| tree.btree(AGF, 20), (Whose::Group(0), "cntbt")),
    case("rmapbt", |tree| tree.btree(AGF, 24), (Whose::Group(0), "rmapbt")),
    case("bnobt, leaf", |tree| tree.leaf_of(AGF, 16, 8), (Whose::Group(0), "bnobt")),
    case("rmapbt, leaf", |tree| tree.leaf_of(AGF, 24, 40), (Whose::Group(0), "rmapbt")),
    case("refcountbt", |tree| tree.btree(AGF, 88), (Whose::Group(0), "refcountbt")),
    case("inobt", |tree| tree.btree(AGI, 20), (Whose::Group(0), "inobt")),
    case("finobt", |tree| tree.btree(AGI, 328), (Whose::Group(0), "finobt")),
    case("inodes", Tree::inodes, (Whose::Group(0), "inodes")),
    case("block map", Tree::block_map, (Whose::Inode("pieces"), "block map")),
    case("names", Tree::names, (Whose::Inode("dir"), "directory")),
    case("names, 2nd block", |tree| Ok(tree.names()? + PAGE), (Whose::Inode("dir"), "directory")),
    case("leaf", Tree::leaf, (Whose::Inode("dir"), "directory")),
    case("free", Tree::free, (Whose::Inode("dir"), "directory")),
    case("attribute", |tree| tree.attribute(false), (Whose::Inode("attribute"), "attributes")),
    case("value", |tree| tree.attribute(true), (Whose::Inode("attribute"), "attributes")),
    case("link", Tree::link, (Whose::Inode("link"), "link")),
    case("quota", Tree::quota, (Whose::All, "user quota")),
    case("log", Tree::log, (Whose::All, NOTHING)),
    case("log in use", Tree::log_in_use, (Whose::All, NOTHING)),
];

/// How an error gets to the kernel; what is counted then.
pub type Hit = fn(&str, u64) -> Result<String>;

/// A machine check.
fn hit(name: &str, at: u64) -> Result<String> {
    let counts = Counts::now();
    let outcome = mce::deliver(Pmem(0).address(at)?)?;
    expect(&format!("{name}: machine check"), "Recovered", outcome)?;
    worker::settle()?;
    Ok(counts.since())
}

/// A scrub.
fn find(_: &str, at: u64) -> Result<String> {
    let counts = Counts::now();
    firmware::inject(firmware::Error::new(Pmem(0).address(at)?, PAGE))?;
    platform::scrub()?;
    until(|| Ok(counts.since() != "nothing"))?;
    worker::settle()?;
    Ok(counts.since())
}

/// One that is healed.
pub fn heal(hit: Hit, name: &str, at: u64) -> Result<()> {
    let counted = hit(name, at)?;
    expect(&format!("{name}: counted"), "1 poisoned, 1 healed", counted)?;
    let bad = Pmem(0).badblocks()?;
    expect(&format!("{name}: bad sectors"), "none", bad)
}

scene!(HEALED = 247 "healed" healed: "metadata that is in memory, as it is on the device";
    differs("superblock: machine check", "Failed"));
fn healed(_: u64) -> Result<()> {
    all_healed(hit)
}

scene!(FOUND_HEALED = 255 "found-healed" found_healed:
    "metadata in which a scrub finds an error, and that is in memory";
    nfit, long, differs("superblock: counted", worker::NO_COUNTERS));
fn found_healed(_: u64) -> Result<()> {
    all_healed(find)
}

fn all_healed(hit: Hit) -> Result<()> {
    let tree = Tree::new()?;
    for Case { name, place, .. } in &CASES {
        let at = place(&tree)?;
        tree.read()?;
        tree.clean()?;
        heal(hit, name, at)?;
        let wrote = xfs::try_write(&tree.xfs.path("new"));
        expect(&format!("{name}: writer"), "0", wrote)?;
    }
    // The list of deleted inodes goes from one to the other.
    let open: Vec<_> = (0..UNLINKED)
        .map(|n| {
            let path = tree.xfs.path(&format!("unlinked-{n}"));
            let file = File::create(&path)?;
            fs::remove_file(path)?;
            Ok(file)
        })
        .collect::<Result<_>>()?;
    tree.clean()?;
    for file in &open[UNLINKED - 3..] {
        let at = tree.block_of(file.metadata()?.st_ino())?;
        heal(hit, "deleted inodes", at)?;
    }
    drop(open);
    for group in 0..4 {
        expect("sick", "none", tree.sick(Whose::Group(group)))?;
    }
    let tree = tree.mount_again()?;
    expect("mounted again, reader", "0", tree.try_read())?;
    expect("mounted again", INTACT, xfs::intact(&tree.file, 4))
}

scene!(HEALED_REALTIME = 250 "healed-realtime" realtime:
    "metadata of a realtime device that is in memory";
    differs("superblock: machine check", "Failed"));
/// The superblock of the realtime device, and all inodes that have the metadata of its groups.
fn realtime(_: u64) -> Result<()> {
    let rt = Pmem(1);
    let xfs = Xfs::new(&Options::realtime(rt))?;
    let file = xfs.file("file", 4)?;
    let root = xfs.root()?;
    ioctl::freeze(&root)?;
    ioctl::thaw(&root)?;

    let outcome = mce::deliver(rt.address(0)?)?;
    expect("superblock: machine check", "Recovered", outcome)?;
    worker::settle()?;
    expect("superblock: bad sectors", "none", rt.badblocks()?)?;
    // The only file's data is on the other device.
    let inodes = ioctl::all_of_inodes(&root, root.metadata()?.st_dev())?;
    expect_so("inodes", inodes.len() >= 2, "bitmap, summary", "fewer")?;
    for extent in inodes {
        heal(hit, &format!("inode {}", extent.owner), extent.physical)?;
    }
    expect("sick", "none", sick::realtime_group(&root, 0)?)?;
    drop(root);
    xfs.mount_again()?;
    expect("mounted again", INTACT, xfs::intact(&file, 4))
}

scene!(HEALED_DIRTY = 248 "healed-dirty" dirty: "metadata that is in memory, and was changed";
    ends("xfs_dax_repair/enable"));
/// Metadata that the device does not have as it is in memory: XFS writes it back.
fn dirty(_: u64) -> Result<()> {
    let tree = Tree::new()?;
    let trace = Trace::new("xfs/xfs_dax_repair")?;
    for Case { name, place, .. } in &CASES {
        let at = place(&tree)?;
        tree.read()?;
        tree.change()?;
        heal(hit, name, at)?;
    }
    let retries = trace
        .events()?
        .iter()
        .filter(|line| line.contains("retry"))
        .count();
    expect_so("written back first", retries >= 5, "some", "none")?;
    drop(trace);
    let tree = tree.mount_again()?;
    expect("mounted again, reader", "0", tree.try_read())
}

scene!(METADATA_LOST = 249 "metadata-lost" lost: "metadata that is not in memory"; long,
    differs("superblock: machine check", "Failed"));
/// Metadata that is not in memory is sick, whether or not it is read. A filesystem that comes to
/// need it may shut down by itself, and no file has lost anything.
fn lost(_: u64) -> Result<()> {
    all_lost(hit)
}

scene!(FOUND_LOST = 256 "found-lost" found_lost:
    "metadata in which a scrub finds an error, and that is not in memory";
    nfit, long, differs("superblock: counted", worker::NO_COUNTERS));
fn found_lost(_: u64) -> Result<()> {
    all_lost(find)
}

fn all_lost(hit: Hit) -> Result<()> {
    let can_be_lost = |case: &&Case| case.sick.1 != NOTHING;
    let device = Slice::whole(Pmem(0))?;
    let mut tree = Tree::new()?;
    for Case { name, place, sick } in CASES.iter().filter(can_be_lost) {
        let at = place(&tree)?;
        tree = tree.mount_again()?;
        let mut copy = Page([0; PAGE_SIZE]);
        device.read(&mut copy.0, at)??;
        let counted = hit(name, at)?;
        let expected = "1 poisoned, 1 stuck";
        expect(&format!("{name}: counted"), expected, counted)?;
        // Of the headers of a group, the superblock is there, and nothing is behind the others.
        let (first, count) = match sick.1 {
            "EIO" => (at / SECTOR + 1, 3),
            _ => (at / SECTOR, PAGE / SECTOR),
        };
        let left = format!("{first}+{count}");
        expect(&format!("{name}: bad sectors"), &left, Pmem(0).badblocks()?)?;
        let (whose, what) = sick;
        expect(&format!("{name}: sick"), what, tree.sick(*whose))?;
        expect(&format!("{name}: file"), INTACT, xfs::intact(&tree.file, 4))?;
        tree = tree.mount_after(|| restore(device, at, &copy))?;
    }
    expect("put back: reader", "0", tree.try_read())
}

scene!(FREE_LIST = 251 "free-list" free_list: "a block on the free list of a group";
    differs("free list: machine check", "Failed"));
/// It belongs to the btrees of the group, and holds nothing.
fn free_list(_: u64) -> Result<()> {
    let tree = Tree::new()?;
    let at = tree.free_list()?;

    expect("counted", "1 poisoned, 1 repaired", hit("free list", at)?)?;
    expect("bad sectors", "none", Pmem(0).badblocks()?)?;
    expect("sick", "none", tree.sick(Whose::Group(0)))?;
    expect("writer", "0", xfs::try_write(&tree.xfs.path("new")))
}

scene!(HEAL_REFUSED = 253 "heal-refused" refused: "metadata that the device refuses to clear";
    nfit, differs("refused: machine check", "Failed"));
/// It stays in memory, and a check of the media has it tried again.
fn refused(_: u64) -> Result<()> {
    let tree = Tree::new()?;
    let at = tree.inodes()?;
    tree.read()?;
    tree.clean()?;
    let refusing = Refusing::new()?;
    firmware::inject(firmware::Error::new(Pmem(0).address(at)?, PAGE))?;
    hit("refused", at)?;
    expect_so(
        "refused: bad sectors",
        Pmem(0).badblocks()? != "none",
        "some",
        "none",
    )?;
    expect(
        "refused: writer",
        "0",
        xfs::try_write(&tree.xfs.path("new")),
    )?;
    drop(refusing);

    let counts = Counts::now();
    let root = tree.xfs.root()?;
    ioctl::verify_media(&root, at / SECTOR, (at + PAGE) / SECTOR)?;
    worker::settle()?;
    let healed = format!("{} healed", counts.more("healed"));
    expect("checked: counted", "1 healed", healed)?;
    expect("checked: bad sectors", "none", Pmem(0).badblocks()?)?;
    expect(
        "checked: writer",
        "0",
        xfs::try_write(&tree.xfs.path("other")),
    )
}

scene!(HEAL_READDIR = 254 "heal-readdir" readdir:
    "directories are read into mapped files while they are healed, and all is frozen";
    long, differs("marks", "HardwareCorrupted +32 kB"));
/// readdir() holds the lock of a block while it faults in what it writes to. The fault waits for a
/// thaw, a freeze for the worker: that must not wait for the lock.
fn readdir(_: u64) -> Result<()> {
    const ROUNDS: usize = 8;
    let tree = Tree::new()?;
    let at = tree.names()?;
    let dir = File::open(tree.xfs.path("dir"))?;
    let target = tree.xfs.file("target", 1)?;
    let [reads, stop] = counters::<2>()?;
    let reader = Worker::start(|| {
        let target = Area::shared(&target, 1)?;
        while stop.load(SeqCst) == 0 {
            let forgotten = target.advise(0, libc::MADV_DONTNEED);
            ensure!(forgotten == "0", "MADV_DONTNEED: {forgotten}");
            target.read_dir(&dir, 0)?;
            reads.fetch_add(1, SeqCst);
        }
        Ok(())
    })?;

    let mut recovered = 0;
    for _ in 0..ROUNDS {
        let outcome = mce::deliver(Pmem(0).address(at)?)?;
        recovered += usize::from(outcome == "Recovered");
        tree.clean()?;
    }
    stop.store(1, SeqCst);
    expect("reader", "done", reader.end(patience()))?;
    expect_so("it has read", reads.load(SeqCst) > 0, "often", "never")?;
    let expected = format!("{ROUNDS} Recovered");
    expect(
        "machine checks",
        &expected,
        format!("{recovered} Recovered"),
    )?;
    worker::settle()?;
    expect("bad sectors", "none", Pmem(0).badblocks()?)
}
