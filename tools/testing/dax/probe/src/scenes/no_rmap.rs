// SPDX-License-Identifier: GPL-2.0

//! Filesystems that can't look owners up: the files that are mapped are searched.

use crate::scenes::prelude::*;
use crate::scenes::repair::scrub::wait_told;

/// A mounted filesystem with two files; where blocks can't be shared they are one.
struct Mounted {
    files: [PathBuf; 2],
    /// erofs.
    read_only: bool,
}

impl Mounted {
    fn ext4() -> Result<Self> {
        make_ext4("4096", "dax=always")?;
        let file = Path::new(MOUNT_POINT).join("file");
        fill(&File::create(&file)?, 0, 4)?;
        Ok(Self {
            files: [file.clone(), file],
            read_only: false,
        })
    }

    fn erofs() -> Result<Self> {
        let (path, dir) = (Pmem(0).path(), Path::new("/tmp/erofs"));
        Pmem(0).overwrite_bad()?;
        fs::create_dir_all(dir)?;
        fill(&File::create(dir.join("file"))?, 0, 4)?;
        run(Command::new("mkfs.erofs").args(["--quiet", &path]).arg(dir))?;
        mount("erofs", "dax=always")?;
        let file = Path::new(MOUNT_POINT).join("file");
        Ok(Self {
            files: [file.clone(), file],
            read_only: true,
        })
    }

    /// With reflink, as mkfs.xfs made it for years.
    fn xfs() -> Result<Self> {
        let xfs = Xfs::new(&Options::no_rmapbt())?;
        let file = xfs.file("file", 4)?;
        let clone = xfs.clone_of(&file, "clone")?;
        Ok(Self {
            files: [file, clone],
            read_only: false,
        })
    }

    /// One that asked for early kill, and one that did not.
    fn mappers(&self) -> Result<[Probe; 2]> {
        let [file, clone] = &self.files;
        let how: &[&str] = if self.read_only {
            &["--read-only"]
        } else {
            &[]
        };
        Ok([
            Map::new(file, 4).extra(how).early().start()?,
            Map::new(clone, 4).extra(how).start()?,
        ])
    }

    fn mend(&self) -> Result<()> {
        (self.files.iter()).try_for_each(|file| bad::mend(file, 1, 2))
    }

    /// What the mappers see once the error is handled, and after the page is written, if it can be.
    fn rows(&self, [early, late]: &mut [Probe; 2]) -> Result<()> {
        expect("late kill", "no signal", late.seen())?;
        expect("late, touches it", &refused(1), late.touch(1))?;
        expect("early, touches it", &refused(1), early.touch(1))?;
        expect("the next page", "reads", late.touch(2))?;
        for (name, file) in ["file", "clone"].iter().zip(&self.files) {
            let read = read_page(&File::open(file)?, PAGE);
            expect(&format!("{name}, pread"), "EIO", read)?;
        }
        if self.read_only {
            return Ok(());
        }
        self.mend()?;
        for (name, mapper) in [("early", early), ("late", late)] {
            expect(&format!("written: {name}"), "reads", mapper.touch(1))?;
        }
        expect("written: bad sectors", "none", Pmem(0).badblocks()?)
    }

    /// Machine checks: in a mapped file, in one that no process maps, and in a free block.
    fn checks(&self) -> Result<()> {
        let mut mappers = self.mappers()?;
        let outcome = mce::deliver(mappers[0].pfn(1)? * PAGE)?;

        expect("machine check", "Recovered", outcome)?;
        expect("early kill", AO, mappers[0].seen())?;
        self.rows(&mut mappers)?;

        let at = mappers[0].pfn(1)? * PAGE - Pmem(0).address(0)?;
        drop(mappers);
        strike(at)?;
        let read = read_page(&File::open(&self.files[0])?, PAGE);
        expect("not mapped: pread", "EIO", read)?;
        self.mend()?;
        expect("not mapped: bad sectors", "none", Pmem(0).badblocks()?)?;

        let free = 800 * MIB;
        strike(free)?;
        expect("free: read", "EIO", Pmem(0).read(free)?)?;
        Pmem(0).overwrite(free)?;
        expect("free: bad sectors", "none", Pmem(0).badblocks()?)?;
        for file in &self.files {
            expect("files", INTACT, xfs::intact(file, 4))?;
        }
        Ok(())
    }

    /// fanotify tells of the file, if a process maps it.
    fn reports(&self) -> Result<()> {
        let mut listener = Listener::new(MOUNT_POINT)?;
        let file = &self.files[0];
        let mut mapper = Map::new(file, 4).start()?;
        let ino = inode(file)?;

        strike(mapper.pfn(1)? * PAGE - Pmem(0).address(0)?)?;
        let mut errors = Vec::new();
        until(|| {
            errors.extend(listener.errors()?);
            Ok(!errors.is_empty())
        })?;
        let told = errors.iter().map(|e| (e.error, e.count, e.ino));
        let told: Vec<_> = told.collect();
        let wanted = vec![(libc::EIO, 1, ino)];
        expect("fanotify", &format!("{wanted:?}"), format!("{told:?}"))?;
        drop(mapper);
        self.mend()
    }

    fn scrub(&self) -> Result<()> {
        let device = Device::new(0)?;
        let mut mappers = self.mappers()?;
        let at = mappers[0].pfn(1)? * PAGE - Pmem(0).address(0)?;

        device.inject(at / PAGE, 8, &["--saturate"])?;
        expect("early kill", AO, wait_told(&mut mappers[0])?)?;
        self.rows(&mut mappers)
    }

    fn removed(&self) -> Result<()> {
        let mut mappers = self.mappers()?;
        let namespace = Pmem(0).namespace()?;

        let unbind = Worker::start(|| unbind::driver("unbind", &namespace))?;
        let outcome = unbind.end(unbind::patience());
        expect("unbind", "done", &outcome)?;
        ensure!(outcome == "done", "nothing to be seen after that");
        for (name, mapper) in ["early", "late"].iter().zip(&mut mappers) {
            expect(name, "BUS_MCEERR_AO", mapper.kinds())?;
            let touch = mapper.touch(1);
            expect(&format!("{name}, touches it"), "BUS_ADRERR page 1", touch)?;
        }
        drop(mappers);
        let umount = Worker::start(xfs::umount)?;
        expect("umount", "done", umount.end(unbind::patience()))?;
        unbind::bind(Pmem(0), &namespace)
    }
}

fn make_ext4(block: &str, options: &str) -> Result<()> {
    let path = Pmem(0).path();
    Pmem(0).overwrite_bad()?;
    run(Command::new("mkfs.ext4").args(["-q", "-F", "-b", block, &path]))?;
    mount("ext4", options)
}

fn mount(kind: &str, options: &str) -> Result<()> {
    let path = Pmem(0).path();
    fs::create_dir_all(MOUNT_POINT)?;
    run(Command::new("mount").args(["-t", kind, "-o", options, &path, MOUNT_POINT]))
}

fn check_ext4() -> Result<()> {
    xfs::umount()?;
    let check = run(Command::new("e2fsck").args(["-fn", &Pmem(0).path()]));
    expect_so(
        "filesystem",
        check.is_ok(),
        "umount, e2fsck clean",
        "e2fsck fails",
    )
}

scene!(EXT4 = 224 "ext4" ext4: "a block of a file on ext4"; differs("late, touches it", "reads"));
fn ext4(_: u64) -> Result<()> {
    let ext4 = Mounted::ext4()?;
    ext4.checks()?;
    ext4.reports()?;
    check_ext4()
}

scene!(EXT4_SMALL = 232 "ext4-small" ext4_small:
    "a page of ext4 whose blocks are smaller than it"; passes(UNCHANGED));
/// There is no DAX: what the hardware did not name stays readable.
fn ext4_small(_: u64) -> Result<()> {
    make_ext4("1024", "defaults")?;
    let outcome = mce::deliver(Pmem(0).address(800 * MIB)?)?;
    expect("machine check", "Failed", outcome)?;
    expect("bad sectors", "none", Pmem(0).badblocks()?)?;
    check_ext4()
}

scene!(EXT4_SCRUB = 225 "ext4-scrub" ext4_scrub: "a block of a file on ext4, injected by ndctl";
    nfit, differs("early kill", "no signal"));
fn ext4_scrub(_: u64) -> Result<()> {
    Mounted::ext4()?.scrub()?;
    check_ext4()
}

scene!(EXT4_REMOVED = 226 "ext4-removed" ext4_removed: "the driver unbound under ext4";
    crashes("__zap_vma_range"), crashes("dax_layout_busy_page_range"));
fn ext4_removed(_: u64) -> Result<()> {
    Mounted::ext4()?.removed()?;
    mount("ext4", "defaults")?;
    let file = Path::new(MOUNT_POINT).join("file");
    expect("bound again", INTACT, xfs::intact(&file, 4))?;
    check_ext4()
}

scene!(EROFS = 231 "erofs" erofs: "a block of a file on erofs";
    differs("late, touches it", "reads"));
/// It can't be written, so the page stays bad.
fn erofs(_: u64) -> Result<()> {
    let erofs = Mounted::erofs()?;
    let mut mappers = erofs.mappers()?;

    strike(mappers[0].pfn(1)? * PAGE - Pmem(0).address(0)?)?;
    expect("early kill", AO, mappers[0].seen())?;
    erofs.rows(&mut mappers)?;
    drop(mappers);
    end_erofs()
}

fn end_erofs() -> Result<()> {
    xfs::umount()?;
    Pmem(0).overwrite_bad()
}

scene!(EROFS_SCRUB = 233 "erofs-scrub" erofs_scrub:
    "a block of a file on erofs, injected by ndctl"; nfit, differs("early kill", "no signal"));
fn erofs_scrub(_: u64) -> Result<()> {
    Mounted::erofs()?.scrub()?;
    end_erofs()
}

scene!(EROFS_REMOVED = 234 "erofs-removed" erofs_removed: "the driver unbound under erofs";
    crashes("__zap_vma_range"), crashes("dax_layout_busy_page_range"));
fn erofs_removed(_: u64) -> Result<()> {
    Mounted::erofs()?.removed()?;
    mount("erofs", "dax=always")?;
    let file = Path::new(MOUNT_POINT).join("file");
    expect("bound again", INTACT, xfs::intact(&file, 4))?;
    end_erofs()
}

scene!(NO_RMAP_SHARED = 227 "no-rmapbt-shared" shared:
    "a block that files share, on XFS without rmapbt"; differs("early kill", "no signal"));
fn shared(_: u64) -> Result<()> {
    Mounted::xfs()?.checks()
}

scene!(NO_RMAP_SCRUB = 228 "no-rmapbt-scrub" scrub:
    "a block that files share, on XFS without rmapbt, injected by ndctl";
    nfit, differs("early kill", "no signal"));
fn scrub(_: u64) -> Result<()> {
    Mounted::xfs()?.scrub()
}

scene!(NO_RMAP_REMOVED = 229 "no-rmapbt-removed" removed:
    "the driver unbound under XFS without rmapbt";
    crashes("__zap_vma_range"), crashes("dax_layout_busy_page_range"));
fn removed(_: u64) -> Result<()> {
    Mounted::xfs()?.removed()
}
