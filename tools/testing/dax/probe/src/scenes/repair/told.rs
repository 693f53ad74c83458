// SPDX-License-Identifier: GPL-2.0

//! What is told, to which reader, and in which order.

use std::io::Read;
use std::process::Stdio;

use super::freed_file;
use crate::scenes::prelude::*;

/// Owners of one block: to report them takes longer than what is done meanwhile, and to find
/// more of them takes longer than the worker waits.
const MANY: u64 = 4000;
/// How often it is tried to be faster than the worker.
const TRIES: usize = 25;
const MANY_OWNERS: u64 = 20_000;

/// Time for a program to read what the kernel has told.
const MOMENT: Duration = Duration::from_secs(1);

/// A file that has a block `count` times.
fn many(xfs: &Xfs, from: &Path, page: u64, count: u64) -> Result<()> {
    let path = xfs.path("many");
    let (from, to) = (File::open(from)?, File::create(&path)?);
    for n in 0..count {
        ioctl::clone_range(&from, page * PAGE, PAGE, &to, n * PAGE)?;
    }
    Ok(to.sync_all()?)
}

/// The readers that xfsprogs has, neither of which knows of the event.
const OLD_READERS: [(&str, &[&str]); 2] = [
    ("xfs_io", &["xfs_io", "-c", "healthmon", MOUNT_POINT]),
    (
        "xfs_healer",
        &[
            "/usr/libexec/xfsprogs/xfs_healer",
            "--everything",
            MOUNT_POINT,
        ],
    ),
];

scene!(OLD_READER = 69 "old-reader" old_reader:
    "a health monitor that does not know of cleared errors";
    differs("marks", "HardwareCorrupted +4 kB"));
/// A reader that does not know of the event takes it for one more error.
fn old_reader(_: u64) -> Result<()> {
    let xfs = Xfs::new(&Options::default())?;
    let at = freed_file(&xfs, &xfs.file("gone", 4)?)? + PAGE;
    let bad = Bad::block(at)?;

    for (name, command) in OLD_READERS {
        let said = said_of(command, &bad)?;
        let errors = said.matches("media error").count().to_string();
        expect(&format!("{name}: media errors"), "1", errors)?;
    }

    let mut monitor = Monitor::of_cleared(&xfs)?;
    expect("machine check", "Recovered", bad.report()?)?;
    let sectors = bad.sectors();
    let both = format!("{sectors} bad, {sectors} cleared");
    expect("who asks for it", &both, monitor.media(2)?.join(", "))?;
    worker::settle()?;
    drop(monitor);
    let mut monitor = Monitor::new(&xfs)?;
    expect("machine check", "Recovered", bad.report()?)?;
    worker::settle()?;
    let one = format!("{sectors} bad");
    expect("who does not", &one, monitor.media(2)?.join(", "))
}

/// What a reader of the health monitor prints of an error that is repaired.
fn said_of(command: &[&str], bad: &Bad) -> Result<String> {
    // What it prints would be lost with it.
    let mut reader = Command::new("stdbuf")
        .arg("-oL")
        .args(command)
        .stdout(Stdio::piped())
        .spawn()
        .context("stdbuf")?;
    let files = format!("/proc/{}/fd", reader.id());
    let listens = super::until(|| {
        let mut files =
            fs::read_dir(&files)?.filter_map(|file| fs::read_link(file.ok()?.path()).ok());
        Ok(files.any(|file| file.to_string_lossy().contains("healthmon")))
    })?;
    ensure!(listens, "{} does not listen", command[0]);
    expect("machine check", "Recovered", bad.report()?)?;
    worker::settle()?;
    expect("marks", "none", bad.marks()?)?;
    sleep(MOMENT);
    reader.kill()?;
    let mut said = String::new();
    let stdout = reader.stdout.take();
    stdout.context("stdout")?.read_to_string(&mut said)?;
    reader.wait()?;
    Ok(said)
}

scene!(ORDER = 88 "order" order: "an error is told before a part of it is cleared";
    fast, differs("free, and owned", ""));
/// Blocks of one page, of which the first is free. The others keep the kernel busy for a while,
/// until all of their owners are known.
fn order(_: u64) -> Result<()> {
    const BLOCK: u64 = 1024;
    let xfs = Xfs::new(&Options::no_dax())?;
    xfs::umount()?;
    let mut mkfs = Command::new("mkfs.xfs");
    mkfs.args(["-q", "-f", "-m", "reflink=1,rmapbt=1"]);
    xfs::run(mkfs.args(["-b", &format!("size={BLOCK}"), "/dev/pmem0"]))?;
    xfs.mount()?;
    let path = xfs.path("file");
    fs::write(&path, vec![0xa5; 16 * PAGE as usize])?;
    let file = open(&path, 0)?;
    file.sync_all()?;
    let aligned = |n: &u64| matches!(ioctl::physical(&file, n * BLOCK), Ok(at) if at % PAGE == 0);
    let first = (1..32)
        .find(aligned)
        .context("no block at a page's start")?;
    let at = ioctl::physical(&file, first * BLOCK)?;

    for block in 1..PAGE / BLOCK {
        let many = File::create(xfs.path(&format!("many-{block}")))?;
        for n in 0..MANY_OWNERS {
            ioctl::clone_range(&file, (first + block) * BLOCK, BLOCK, &many, n * BLOCK)?;
        }
        many.sync_all()?;
    }
    let mode = libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE;
    allocate(&file, mode, first * BLOCK, BLOCK)?;
    wait_free(&xfs.root()?, at)?;
    sync_and_settle(&xfs)?;

    let mut monitor = Monitor::of_cleared(&xfs)?;
    let bad = Bad::block(at)?;
    expect("machine check", "Recovered", bad.report()?)?;
    let (sector, sectors) = (at / 512, BLOCK / 512);
    let both = format!("{} bad, {sector}+{sectors} cleared", bad.sectors());
    expect("free, and owned", &both, monitor.media(2)?.join(", "))?;
    worker::settle()?;
    drop((monitor, file));
    bad::end(&xfs, &[&bad])
}

scene!(FROZEN_INODE = 89 "frozen-inode" frozen:
    "losses of a file that can't be read before the thaw";
    differs("frozen: another file", "nothing"));
/// Files that can't be read while the filesystem is frozen: they have to give back what a copy on
/// write has reserved before they are out of memory. No other error waits for that.
fn frozen(_: u64) -> Result<()> {
    /// More than there was room for reports of.
    const ERRORS: usize = 40;
    const PAGES: usize = 64;
    let (xfs, other) = Xfs::with_file("other", 4)?;
    let a = xfs.file("a", PAGES)?;
    let b = xfs.clone_of(&a, "b")?;
    fs::remove_file(&a)?;
    let ino = |file: &Path| fs::metadata(file).map(|data| data.st_ino());
    let (ino_b, ino_other) = (ino(&b)?, ino(&other)?);
    let all = (0..ERRORS)
        .map(|page| Bad::unreported(&b, 1 + page))
        .collect::<Result<Vec<_>>>()?;
    let bad = Bad::unreported(&other, 1)?;
    let clone = xfs.clone_of(&b, "clone")?;
    sync_and_settle(&xfs)?;
    let file = open(&b, 0)?;
    ioctl::set_cow_extent_size(&file, (PAGES as u64 * PAGE) as u32)?;
    bad::mend(&b, 0, 1)?;
    drop(file);
    let reserved = ioctl::all_owned_by(&xfs.root()?, ioctl::XFS_FMR_OWN_COW)?.len();
    ensure!(reserved > 0, "nothing is reserved");

    let root = xfs.root()?;
    let mut monitor = Monitor::new(&xfs)?;
    ioctl::freeze(&root)?;
    let hit = || -> Result<usize> {
        fs::write("/proc/sys/vm/drop_caches", "2")?;
        let mut recovered = 0;
        for bad in all.iter().chain([&bad]) {
            recovered += usize::from(bad.report()? == "Recovered");
        }
        Ok(recovered)
    };
    let recovered = hit();
    let told = monitor.losses_of(ino_other);
    ioctl::thaw(&root)?;
    let every = format!("{} of {}", ERRORS + 1, ERRORS + 1);
    let recovered = format!("{} of {}", recovered?, ERRORS + 1);
    expect("frozen: errors taken", &every, recovered)?;
    let losses = told?;
    let of_other = healthmon::of(&losses, ino_other);
    expect("frozen: another file", "4096 bytes at 4096", of_other)?;
    expect("frozen: b", "nothing", healthmon::of(&losses, ino_b))?;
    worker::settle()?;
    let losses = monitor.losses_of(ino_b)?;
    let of_b = healthmon::of(&losses, ino_b);
    expect(
        "thawed: b",
        "told",
        if of_b == "nothing" { &of_b } else { "told" },
    )?;
    drop((monitor, root));
    for file in [&b, &clone, &other] {
        fs::remove_file(file)?;
    }
    for bad in all.iter().chain([&bad]) {
        wait_free(&xfs.root()?, bad.at)?;
    }
    sync_and_settle(&xfs)?;
    Ok(())
}

scene!(MEANWHILE = 68 "meanwhile" meanwhile:
    "owners that are rid of a bad block before they are told";
    long, fast, ends("written anew: Input/output error"));
/// Owners that have written the page anew, or given it away, before it is their turn to be told.
fn meanwhile(_: u64) -> Result<()> {
    for (name, real) in [("machine check", true), ("simulated", false)] {
        // The worker may have told of a file before it is changed here. Where it does not look
        // again, it has told of all each time.
        for attempt in 1.. {
            let told = changed_meanwhile(name, real)?;
            let lost = "4096 bytes at 4096";
            let wanted = [lost, "nothing", "nothing", "nothing", lost];

            if told == wanted || attempt == TRIES {
                let files = ["file", "written", "cut", "gone, or new", "last"];
                for ((file, wanted), told) in files.into_iter().zip(wanted).zip(told) {
                    expect(&format!("{name}: {file}"), wanted, told)?;
                }
                note(&format!("{name}: {attempt} tries"))?;
                break;
            }
        }
    }
    Ok(())
}

/// What is told of five files that share a bad block, three of which are changed meanwhile.
fn changed_meanwhile(name: &str, real: bool) -> Result<[String; 5]> {
    let (xfs, file) = Xfs::with_file("file", 4)?;
    many(&xfs, &file, 1, MANY)?;
    let clone = |name| xfs.clone_of(&file, name);
    let (written, gone) = (clone("written")?, clone("gone")?);
    let (cut, last) = (clone("cut")?, clone("last")?);
    let ino = |file: &Path| fs::metadata(file).map(|data| data.st_ino());
    let ino_gone = ino(&gone)?;
    let mut monitor = Monitor::new(&xfs)?;
    let bad = Bad::unreported(&file, 1)?;

    let answer = if real {
        bad.report()?
    } else {
        pmem::corrupt(Pmem(0).pfn(bad.at)?)?
    };
    bad::mend(&written, 1, 2).context("written anew")?;
    open(&cut, 0)?.set_len(PAGE)?;
    fs::remove_file(&gone)?;
    ensure!(
        ["Recovered", "0"].contains(&answer.as_str()),
        "{name}: {answer}"
    );
    // Sooner or later one of these has the inode number.
    let new = (0..64)
        .map(|n| xfs.file(&format!("new-{n}"), 4))
        .collect::<Result<Vec<_>>>()?;
    worker::settle()?;

    let losses = monitor.losses(3)?;
    let of = |ino| healthmon::of(&losses, ino);
    let told = [
        ino(&file)?,
        ino(&written)?,
        ino(&cut)?,
        ino_gone,
        ino(&last)?,
    ]
    .map(of);
    for file in &new {
        ensure!(xfs::intact(file, 4) == INTACT, "a new file differs");
    }
    drop(monitor);
    for file in fs::read_dir(MOUNT_POINT)? {
        fs::remove_file(file?.path())?;
    }
    wait_free(&xfs.root()?, bad.at)?;
    sync_and_settle(&xfs)?;
    let marks = bad.marks()?;
    ensure!(marks == "none", "{name}: marks: {marks}");
    let again = xfs.file("again", 4)?;
    let area = Area::shared(&again, 4)?;
    let outcome = area.load_all_but(&[]);
    ensure!(outcome == "reads", "{name}: another file: {outcome}");
    drop(area);
    xfs::umount()?;
    xfs.check()?;
    Ok(told)
}
