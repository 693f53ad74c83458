// SPDX-License-Identifier: GPL-2.0

//! Two filesystems on partitions of one device: each is asked for what is its own.

use crate::scenes::prelude::*;

/// Where the partitions begin, and their length.
const PARTS: [(u64, u64); 2] = [(2 * MIB, 400 * MIB), (500 * MIB, 400 * MIB)];

/// A mounted partition; number 1 or 2.
struct Part(usize);

impl Part {
    fn new(number: usize, mkfs: &[&str]) -> Result<Self> {
        let device = format!("/dev/pmem0p{number}");
        let (program, words) = (mkfs[0], &mkfs[1..]);
        run(Command::new(program).args(words).arg(&device))?;
        let part = Self(number);
        fs::create_dir_all(part.dir())?;
        run(Command::new("mount")
            .args(["-o", "dax"])
            .arg(&device)
            .arg(part.dir()))?;
        Ok(part)
    }

    fn dir(&self) -> PathBuf {
        format!("/mnt/part-{}", self.0).into()
    }

    fn file(&self) -> Result<PathBuf> {
        let path = self.dir().join("file");
        fill(&File::create(&path)?, 0, 4)?;
        Ok(path)
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        // Best effort.
        let _ = Command::new("umount").arg(self.dir()).status();
    }
}

/// The partitions of pmem0.
struct Table(File);

impl Table {
    fn new() -> Result<Self> {
        let pmem = Pmem(0);
        pmem.overwrite_bad()?;
        let device = File::options().read(true).write(true).open(pmem.path())?;
        for (number, (start, length)) in (1..).zip(PARTS) {
            ioctl::partition(&device, number, start, length)?;
        }
        Ok(Self(device))
    }
}

impl Drop for Table {
    fn drop(&mut self) {
        for number in [1, 2] {
            let _ = ioctl::partition(&self.0, number, 0, 0);
        }
    }
}

/// A machine check in page 1 of a file: who is told, and whether the page is listed, as it is if a
/// holder takes it.
fn hit(name: &str, file: &Path, held: bool) -> Result<()> {
    let mut early = Map::new(file, 4).early().start()?;
    let mut late = Map::new(file, 4).start()?;
    let outcome = mce::deliver(early.pfn(1)? * PAGE)?;
    let row = |what: &str| format!("{name}: {what}");

    expect(&row("machine check"), "Recovered", outcome)?;
    let listed = Pmem(0).badblocks()? != "none";
    expect(&row("listed"), &held.to_string(), listed.to_string())?;
    let told = "page 1 lsb 12";
    expect(
        &row("early kill"),
        &format!("BUS_MCEERR_AO {told}"),
        early.seen(),
    )?;
    let touch = early.touch(1);
    expect(&row("touches it"), &format!("BUS_MCEERR_AR {told}"), touch)?;
    let touch = late.touch(1);
    expect(
        &row("late, touches it"),
        &format!("BUS_MCEERR_AR {told}"),
        touch,
    )?;
    expect(&row("the next page"), "reads", early.touch(2))?;
    let page = vec![pattern(1); PAGE as usize];
    File::options()
        .write(true)
        .open(file)?
        .write_all_at(&page, PAGE)?;
    expect(&row("written: touches it"), "reads", late.touch(1))
}

scene!(PARTITIONS = 153 "partitions" play: "XFS and ext4 on partitions of one device";
    differs("p2, ext4: touches it", "reads"));
fn play(_: u64) -> Result<()> {
    let table = Table::new()?;
    // Reflink would refuse DAX on a partition.
    let mkfs = ["mkfs.xfs", "-q", "-f", "-m", "reflink=0,rmapbt=1"];
    let xfs = Part::new(1, &mkfs)?;
    let ext4 = Part::new(2, &["mkfs.ext4", "-q", "-F", "-b", "4096"])?;

    hit("p2, ext4", &ext4.file()?, false)?;
    hit("p1, XFS", &xfs.file()?, true)?;
    let bad = Pmem(0).badblocks()?;
    expect("bad sectors", "none", bad)?;
    drop((xfs, ext4));
    drop(table);
    ensure!(!Path::new("/dev/pmem0p1").exists(), "the partitions stay");
    Ok(())
}
