// SPDX-License-Identifier: GPL-2.0

//! What files and processes do between the query of owners and what is done to them, and
//! while their page is locked.

use super::{during, place, real, simulated, ACT, AO, PATIENCE, UNMAP};
use crate::scenes::prelude::*;

/// Nothing happens to a process that has other memory there by now.
const KEPT: &str = "done, done; no signal, mapped";

/// A file that a process maps.
struct Mapped {
    file: PathBuf,
    early: Probe,
    bad: Bad,
}

impl Mapped {
    fn new(xfs: &Xfs, name: &str) -> Result<Self> {
        let file = xfs.file(name, 4)?;
        let early = Map::new(&file, 4).early().start()?;
        let bad = Bad::unreported(&file, 1)?;
        Ok(Self { file, early, bad })
    }

    /// Has the page fail, with `change` between query and act.
    fn change(&mut self, change: impl FnOnce(&mut Self) -> Result<()>) -> Result<String> {
        let pfn = Bad::unreported(&self.file, 1)?;
        let ends = during(
            ACT,
            || simulated(&pfn),
            || {
                change(self)?;
                Ok("done".into())
            },
        )?;
        Ok(format!(
            "{ends}; {}, {}",
            self.early.seen(),
            self.early.mapped(1)?
        ))
    }

    /// Whether the block is not the one that failed. The process maps it.
    fn remapped(&mut self) -> Result<()> {
        ensure!(!self.bad.is_page(&self.file, 1), "it is the same block");
        let touch = self.early.touch(1);
        ensure!(touch == "reads", "touched: {touch}");
        Ok(())
    }
}

scene!(WINDOW_REMAPPED = 200 "window-remapped" remapped:
    "a file changes between query and act"; debug, long);
/// The page of the file is another one by now.
fn remapped(_: u64) -> Result<()> {
    let (xfs, other) = Xfs::with_file("other", 4)?;

    let mut file = Mapped::new(&xfs, "truncated")?;
    let got = file.change(|this| {
        let file = calls::open(&this.file, 0)?;
        file.set_len(PAGE)?;
        fill(&file, 1, 4)?;
        this.remapped()
    })?;
    expect("truncated, written", KEPT, got)?;

    file = Mapped::new(&xfs, "cloned-over")?;
    let got = file.change(|this| {
        let to = calls::open(&this.file, 0)?;
        ioctl::clone_range(&File::open(&other)?, PAGE, PAGE, &to, PAGE)?;
        this.remapped()
    })?;
    expect("another block cloned", KEPT, got)?;

    file = Mapped::new(&xfs, "copied")?;
    xfs.clone_of(&file.file, "copy")?;
    let got = file.change(|this| {
        this.early.rewrite(1)?;
        this.remapped()
    })?;
    expect("copied on write", KEPT, got)?;

    file = Mapped::new(&xfs, "exchanged")?;
    let two = xfs.file("two", 4)?;
    let got = file.change(|this| {
        let (one, two) = (calls::open(&this.file, 0)?, calls::open(&two, 0)?);
        ioctl::exchange_range(&one, PAGE, PAGE, &two, PAGE)?;
        this.remapped()
    })?;
    expect("exchanged", KEPT, got)?;

    drop(file);
    worker::settle()?;
    Ok(())
}

scene!(WINDOW_OWNERS = 201 "window-owners" owners: "owners come and go between query and act";
    debug, long);
/// The page is the same, but not what owns or maps it.
fn owners(_: u64) -> Result<()> {
    let xfs = Xfs::new(&Options::default())?;
    let told = format!("done, done; {AO}");

    let mut file = Mapped::new(&xfs, "deleted")?;
    let bad = Bad::unreported(&file.file, 1)?;
    let path = file.file.clone();
    let unlink = || -> Result<String> {
        fs::remove_file(&path)?;
        Ok("done".into())
    };
    let got = during(ACT, || simulated(&bad), unlink)?;
    let got = format!("{got}; {}", file.early.seen());
    expect("deleted", &told, got)?;
    drop(file);

    let file = Mapped::new(&xfs, "closed")?;
    let Mapped { file, early, bad } = file;
    let close = || -> Result<String> {
        drop(early);
        fs::remove_file(&file)?;
        fs::write("/proc/sys/vm/drop_caches", "3")?;
        Ok("done".into())
    };
    let got = during(ACT, || simulated(&bad), close)?;
    expect("deleted, and mapper killed", "done, done", got)?;

    let Mapped { file, early, bad } = Mapped::new(&xfs, "unmapped")?;
    let exit = || -> Result<String> {
        drop(early);
        Ok("done".into())
    };
    let got = during(ACT, || simulated(&bad), exit)?;
    expect("mapper killed", "done, done", got)?;
    expect("its file", INTACT, xfs::intact(&file, 4))?;

    // Sharing takes the page from those who map it: no memory is there when it comes to them.
    let mut one = Mapped::new(&xfs, "one")?;
    let clone = xfs.path("clone");
    let early = &mut one.early;
    let share = || -> Result<String> {
        ioctl::clone_file(&File::open(&one.file)?, &File::create(&clone)?)?;
        let touch = Area::shared(&clone, 4)?.load(1);
        Ok([early.mapped(1)?, &touch].join(", "))
    };
    let got = during(ACT, || real(&one.bad), share)?;
    let refusal = refused(1);
    let expected = format!("not mapped, {refusal}, done");
    expect("shared: mapper, touch, error", &expected, got)?;
    expect("shared: mapper, touches it", &refusal, one.early.touch(1))?;
    drop(one.early);
    for file in [&one.file, &clone] {
        bad::mend(file, 1, 2)?;
        expect("shared, written", INTACT, xfs::intact(file, 4))?;
    }

    // It moves with its error.
    let moved = Mapped::new(&xfs, "moved")?;
    let bad = moved.bad;
    drop(moved.early);
    let area = Area::shared(&moved.file, 4)?;
    let collapse = || -> Result<String> {
        let file = calls::open(&moved.file, 0)?;
        let mode = libc::FALLOC_FL_COLLAPSE_RANGE;
        Ok(calls::fallocate(&file, mode, 0, PAGE))
    };
    let got = during(ACT, || real(&bad), collapse)?;
    expect("collapsed: fallocate, error", "0, done", got)?;
    ensure!(place(&moved.file, 0)? == bad.at, "it has not moved");
    expect("collapsed: touched", &refused(0), area.load(0))?;
    drop(area);
    super::super::repair::sync_and_settle(&xfs)?;
    fs::remove_file(&moved.file)?;
    super::super::repair::sync_and_settle(&xfs)?;
    let gone = worker::settle().map(|()| "done")?;
    expect("settled", "done", gone)?;
    bad::end(&xfs, &[&bad])
}

scene!(WINDOW_LOCKED = 202 "window-locked" locked: "what comes while the page is being taken away";
    debug, long);
/// What comes while the page is locked waits for it.
fn locked(_: u64) -> Result<()> {
    let xfs = Xfs::new(&Options::default())?;

    let mut file = Mapped::new(&xfs, "touched")?;
    let path = file.file.clone();
    let got = super::beside(
        UNMAP,
        || simulated(&file.bad),
        || {
            let outcome = Area::shared(&path, 4)?.load(1);
            ensure!(outcome == "reads", "touched: {outcome}");
            Ok(())
        },
    )?;
    expect("error, touch", "done, done", got)?;
    expect("mapper", AO, file.early.seen())?;

    file = Mapped::new(&xfs, "twice")?;
    let pfn = file.bad.pmem.pfn(file.bad.at)?;
    let got = super::beside(
        UNMAP,
        || simulated(&file.bad),
        || {
            simulate(pfn)?;
            Ok(())
        },
    )?;
    expect("error, same error", "done, done", got)?;
    // They are two errors. The second signal is lost if the first one is still pending.
    let seen = file.early.seen();
    let both = [AO, AO].join("; ");
    expect("mapper", AO, if seen == both { AO } else { &seen })?;
    drop(file);

    for (name, touch) in [("load", false), ("store", true)] {
        let file = Mapped::new(&xfs, name)?;
        drop(file.early);
        let area = Area::shared(&file.file, 4)?;
        ensure!(area.load_all_but(&[]) == "reads", "not mapped");
        let mut moved = None;
        let got = during(
            UNMAP,
            || real(&file.bad),
            || {
                moved = Some(area.moved()?);
                Ok("moved".into())
            },
        )?;
        expect(&format!("{name}: mremap, error"), "moved, done", got)?;
        let area = moved.expect("it was moved");
        let outcome = if touch { area.store(1) } else { area.load(1) };
        expect(&format!("{name}: then"), &refused(1), outcome)?;
        drop(area);
        bad::mend(&file.file, 1, 2)?;
        expect(name, INTACT, xfs::intact(&file.file, 4))?;
    }

    // The process that has the error injected is killed: all are told nevertheless.
    for function in [ACT, UNMAP] {
        let mut file = Mapped::new(&xfs, &format!("killed-{function}"))?;
        let window = crate::window::Window::at(function)?;
        let worker = simulated(&file.bad)?;
        window.wait()?;
        // SAFETY: A child of this process.
        unsafe { libc::kill(worker.pid(), libc::SIGKILL) };
        sleep(Duration::from_millis(100));
        window.go()?;
        let end = worker.end(PATIENCE);
        expect("killed meanwhile", "failed (status 0x9)", end)?;
        expect("mapper", AO, file.early.seen())?;
    }
    worker::settle()?;
    Ok(())
}
