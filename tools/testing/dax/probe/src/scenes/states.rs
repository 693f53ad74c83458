// SPDX-License-Identifier: GPL-2.0

//! Filesystems that are shut down, frozen or read-only: who maps what failed is told all the same.

use crate::scenes::prelude::*;

/// Two files that share their blocks, and processes that map them.
struct Mapped {
    a: PathBuf,
    b: PathBuf,
    early: Probe,
    late: Probe,
}

impl Mapped {
    fn start(a: &Path, b: &Path, extra: &[&str]) -> Result<Self> {
        let mapped = Self {
            a: a.into(),
            b: b.into(),
            early: Map::new(a, 4).early().extra(extra).start()?,
            late: Map::new(b, 4).extra(extra).start()?,
        };
        Ok(mapped)
    }

    fn new(xfs: &Xfs) -> Result<Self> {
        let a = xfs.file("a", 4)?;
        let b = xfs.clone_of(&a, "b")?;
        Self::start(&a, &b, &[])
    }

    /// Both lose the page when it fails, the one with a signal, and can't touch it.
    fn expect_told(&mut self, name: &str, bad: &Bad, touch: &str) -> Result<()> {
        let row = |what: &str| format!("{name}: {what}");

        expect(&row("machine check"), "Recovered", bad.report()?)?;
        expect(&row("a, early kill"), AO, self.early.seen())?;
        expect(&row("b, late kill"), "no signal", self.late.seen())?;
        for (name, probe) in [("a", &mut self.early), ("b", &mut self.late)] {
            let what = row(&format!("{name}, page 1"));
            expect(&what, "not mapped", probe.mapped(1)?)?;
            let what = row(&format!("{name}, touches it"));
            expect(&what, touch, probe.touch(1))?;
            let what = row(&format!("{name}, page 2"));
            expect(&what, "mapped", probe.mapped(2)?)?;
        }
        Ok(())
    }
}

/// What a page is worth that is not mapped, after a shutdown.
const GONE: &str = "BUS_ADRERR page 1";

/// Repairs both files after a remount, and looks.
fn end(xfs: &Xfs, mapped: Mapped, bad: &Bad) -> Result<()> {
    let Mapped { a, b, early, late } = mapped;
    drop((early, late));
    xfs.mount_again()?;
    for file in [&a, &b] {
        bad::mend(file, 1, 2)?;
        expect("mounted again", INTACT, xfs::intact(file, 4))?;
    }
    bad::end(xfs, &[bad])
}

scene!(SHUT_DOWN = 155 "shut-down" shut_down: "a filesystem that is shut down";
    differs("shut down: a, touches it", "reads"));
/// A shutdown that a user asked for.
fn shut_down(_: u64) -> Result<()> {
    let xfs = Xfs::new(&Options::default())?;
    let mut mapped = Mapped::new(&xfs)?;
    let bad = Bad::unreported(&mapped.a, 1)?;

    ioctl::shut_down(&xfs.root()?)?;
    let mut log = kmsg::Log::new()?;
    mapped.expect_told("shut down", &bad, GONE)?;
    worker::settle()?;
    let losses = log.count("lost 4096 bytes at 4096")?;
    expect("losses in the log", "2", losses.to_string())?;
    end(&xfs, mapped, &bad)
}

scene!(SHUT_DOWN_HUGE = 126 "shut-down-huge" huge:
    "a 2 MiB mapping of a filesystem that is shut down"; differs("2 MiB, touches it", "reads"));
/// A page inside of a 2 MiB mapping, after a shutdown.
fn huge(_: u64) -> Result<()> {
    const PAGES: usize = 1024;
    const PAGE: usize = 515;
    let (xfs, file) = Xfs::with_huge_file("file", PAGES)?;
    let huge = ["--huge"];
    let mut early = Map::new(&file, PAGES).early().extra(&huge).start()?;
    let mut small = Map::new(&file, PAGES).early().extra(&["--split"]).start()?;
    let bad = Bad::unreported(&file, PAGE)?;

    ioctl::shut_down(&xfs.root()?)?;
    expect("machine check", "Recovered", bad.report()?)?;
    for (name, probe, lsb) in [("2 MiB", &mut early, 21), ("4 KiB", &mut small, 12)] {
        let told = format!("BUS_MCEERR_AO page {PAGE} lsb {lsb}");
        expect(&format!("{name}, early kill"), &told, probe.seen())?;
        let gone = format!("BUS_ADRERR page {PAGE}");
        expect(&format!("{name}, touches it"), &gone, probe.touch(PAGE))?;
    }
    drop((early, small));
    xfs.mount_again()?;
    bad::mend(&file, PAGE, PAGE + 1)?;
    expect("mounted again", INTACT, xfs::intact(&file, PAGES))?;
    bad::end(&xfs, &[&bad])
}

scene!(SHUT_DOWN_REMOVED = 119 "shut-down-removed" removed:
    "the driver unbound under a filesystem that is shut down";
    differs("a, touches it", "reads"), crashes("__zap_vma_range"));
/// The driver goes away under a filesystem that is shut down.
fn removed(_: u64) -> Result<()> {
    let xfs = Xfs::new(&Options::default())?;
    let mut mapped = Mapped::new(&xfs)?;
    let namespace = Pmem(0).namespace()?;

    ioctl::shut_down(&xfs.root()?)?;
    let outcome = Worker::start(|| unbind::driver("unbind", &namespace))?.end(unbind::patience());
    expect("unbind", "done", &outcome)?;
    ensure!(outcome == "done", "nothing to be seen after that");
    for (name, probe) in [("a", &mut mapped.early), ("b", &mut mapped.late)] {
        expect(&format!("{name}, mapper"), "BUS_MCEERR_AO", probe.kinds())?;
        let touch = probe.touch(1);
        expect(&format!("{name}, touches it"), GONE, touch)?;
    }
    let Mapped { a, early, late, .. } = mapped;
    drop((early, late));
    unbind::back(&xfs, Pmem(0), &namespace)?;
    expect("reader, bound again", INTACT, xfs::intact(&a, 4))
}

scene!(READ_ONLY = 157 "read-only" read_only:
    "a filesystem that is mounted read-only, and without recovery";
    differs("ro: b, touches it", "reads"));
/// Mounts that are not written to: what failed is told, and refused.
fn read_only(_: u64) -> Result<()> {
    for (name, more) in [("ro", ""), ("norecovery", ",norecovery")] {
        let (xfs, a, b) = Xfs::with_pair(4)?;
        let bad = Bad::unreported(&a, 1)?;
        xfs::umount()?;
        if name == "norecovery" {
            // With something in the log.
            xfs.mount()?;
            expect("norecovery: writer", "0", xfs::try_write(&xfs.path("new")))?;
            ioctl::shut_down(&xfs.root()?)?;
            xfs::umount()?;
        }
        xfs.mount_with(libc::MS_RDONLY, more)?;
        let mut mapped = Mapped::start(&a, &b, &["--read-only"])?;
        mapped.expect_told(name, &bad, &refused(1))?;
        end(&xfs, mapped, &bad)?;
        ended(xfs)?;
    }
    Ok(())
}

scene!(FROZEN = 118 "frozen" frozen: "a filesystem that is frozen";
    differs("frozen: b, touches it", "reads"));
/// A filesystem that is frozen.
fn frozen(_: u64) -> Result<()> {
    let xfs = Xfs::new(&Options::default())?;
    let mut mapped = Mapped::new(&xfs)?;
    let bad = Bad::unreported(&mapped.a, 1)?;

    let root = xfs.root()?;
    ioctl::freeze(&root)?;
    let told = mapped.expect_told("frozen", &bad, &refused(1));
    ioctl::thaw(&root)?;
    told?;
    drop(root);
    end(&xfs, mapped, &bad)
}
