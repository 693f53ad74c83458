// SPDX-License-Identifier: GPL-2.0

//! What could not be repaired, looked at again when it may succeed; and filesystems for
//! which nobody looks.

use super::expect_counts;
use crate::scenes::prelude::*;

fn mount(options: &str) -> Result<()> {
    let mut mount = Command::new("mount");
    xfs::run(mount.args(["-t", "xfs", "-o", options, "/dev/pmem0", MOUNT_POINT]))
}

scene!(REMOUNT_RW = 65 "remount-rw" remount:
    "errors from before a mount that is read-only at first"; differs("rw: free block", "EIO"));
/// A root filesystem: mounted read-only at first, with errors that were there before.
fn remount(_: u64) -> Result<()> {
    let (xfs, file) = Xfs::with_file("file", 4)?;
    let ino = inode(&file)?;
    let free = ioctl::owned_by(&xfs.root()?, FMR_OWN_FREE)?.physical + PAGE;
    let (owned, free) = (Bad::unreported(&file, 1)?, Bad::block(free)?);
    xfs::umount()?;
    Pmem(0).write(free.at, 0xa5)?;
    free.pmem.list_bad(free.at)?;
    owned.pmem.list_bad(owned.at)?;

    let mut log = kmsg::Log::new()?;
    let lost = format!("XFS (pmem0): inode {ino} lost 4096 bytes at 4096");
    mount("ro,dax=always")?;
    worker::settle()?;
    let counts = Counts::now();
    let told = log.count(&lost)?.to_string();
    expect("ro: owner told", "1", told)?;
    expect("ro: free block", "EIO", Pmem(0).read(free.at)?)?;

    for options in ["remount,rw", "remount,ro", "remount,rw"] {
        mount(options)?;
        worker::settle()?;
    }
    expect("rw: free block", "zeros", Pmem(0).read(free.at)?)?;
    expect_counts("rw", "1 repaired", &counts)?;
    let told = log.count(&lost)?.to_string();
    expect("rw: owner told again", "0", told)?;
    let left = Pmem(0).badblocks()?;
    expect("rw: the file's block", &owned.sectors(), left)?;
    bad::mend(&file, 1, 2)?;
    Ok(())
}

scene!(GROW_KNOWN = 66 "grow-known" grow: "errors behind the end of a filesystem that grows";
    differs("block", "EIO"));
/// Bad pages behind the end of a filesystem that grows.
fn grow(_: u64) -> Result<()> {
    const SIZE: u64 = 400 << 20;
    let xfs = Xfs::new(&Options::default())?;
    xfs::umount()?;
    let mut mkfs = Command::new("mkfs.xfs");
    mkfs.args(["-q", "-f", "-m", "reflink=1,rmapbt=1", "-d"]);
    xfs::run(mkfs.args([&format!("size={SIZE}"), "/dev/pmem0"]))?;
    xfs.mount()?;
    let mut all = Vec::new();
    for at in [SIZE + (20 << 20), SIZE + (60 << 20)] {
        Pmem(0).write(at, 0xa5)?;
        all.push(Bad::block(at)?);
    }
    for bad in &all {
        bad.pmem.list_bad(bad.at)?;
    }
    worker::settle()?;

    let counts = Counts::now();
    xfs::run(Command::new("xfs_growfs").args(["-d", MOUNT_POINT]))?;
    worker::settle()?;
    ensure!(
        ioctl::is_free(&xfs.root()?, all[1].at)?,
        "it has not grown that far"
    );
    for bad in &all {
        expect("block", "zeros", bad.pmem.read(bad.at)?)?;
    }
    expect("bad sectors", "none", Pmem(0).badblocks()?)?;
    expect_counts("grown", "2 poisoned, 2 repaired", &counts)
}

scene!(NO_DAX = 67 "no-dax" elsewhere: "XFS on a device without DAX: nobody waits for errors";
    passes(NOTHING));
/// An XFS on a device that does no DAX has nothing that waits for errors.
fn elsewhere(_: u64) -> Result<()> {
    Xfs::new(&Options::default())?;
    let there = |path: &str| {
        let there = Path::new(path).exists();
        yes_no(there).to_string()
    };
    let pending = match there("/sys/fs/xfs/pmem0/dax/pending").as_str() {
        "yes" => "yes",
        _ => worker::NO_COUNTERS,
    };
    expect("pmem", "yes", pending)?;

    // A mapped device over a file would do; a loop device is at hand.
    fs::create_dir_all("/tmp/elsewhere")?;
    xfs::run(Command::new("mount").args(["-t", "tmpfs", "none", "/tmp/elsewhere"]))?;
    let image = "/tmp/elsewhere/image";
    fs::File::create(image)?.set_len(400 << 20)?;
    let seen = (|| -> Result<(String, String)> {
        xfs::run(Command::new("mkfs.xfs").args(["-q", "-f", image]))?;
        let at = "/tmp/elsewhere/mnt";
        fs::create_dir_all(at)?;
        xfs::run(Command::new("mount").args(["-o", "loop", image, at]))?;
        let dir = fs::read_dir("/sys/fs/xfs")?
            .filter_map(|entry| Some(entry.ok()?.path()))
            .find(|path| path.to_string_lossy().contains("loop"));
        let dir = dir.map(|dir| dir.to_string_lossy().into_owned());
        let dir = dir.unwrap_or_default();
        let seen = (there(&format!("{dir}/log")), there(&format!("{dir}/dax")));
        xfs::run(Command::new("umount").arg(at))?;
        Ok(seen)
    })();
    xfs::run(Command::new("umount").arg("/tmp/elsewhere"))?;
    let (log, dax) = seen?;
    expect("loop device: log", "yes", log)?;
    expect("loop device: dax", "no", dax)
}
