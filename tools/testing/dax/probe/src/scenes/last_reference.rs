// SPDX-License-Identifier: GPL-2.0

//! A deleted file whose last reference is that of a notification, while a page of it lies in a
//! pipe that nothing reads. To evict the inode means to wait for the pipe: memory errors must not.

use std::fs::OpenOptions;

use super::hole::pipe::{leave, put};
use crate::scenes::prelude::*;

/// How often the deleted file has the block that fails: a notification takes a reference to it,
/// and puts it, so many times.
const COPIES: usize = 8192;
/// How often it is tried to stop the notification while it has one.
const TRIES: u32 = 20;
/// The longest time for which the notification is stopped. Less than what the scheduler leaves
/// to real-time processes.
const STOPPED: Duration = Duration::from_millis(400);
fn patience() -> Duration {
    kernel::limit(10)
}
/// For a step that is only to be waited for.
const LONG: Duration = Duration::from_secs(60);

/// A step that a process has come to.
type Step = AtomicU64;

#[derive(Clone, Copy)]
struct Steps {
    /// The file is mapped, and its last page in the pipe.
    mapped: &'static Step,
    /// The mapping is to go; it is gone.
    go: &'static Step,
    gone: &'static Step,
    /// Errors that are to come, are there, and were handled; and how long the last one took, in
    /// microseconds.
    start: &'static Step,
    begun: &'static Step,
    done: &'static Step,
    took: &'static Step,
}

fn wait(step: &Step, number: u64) -> Result<()> {
    let end = Instant::now() + LONG;
    while step.load(SeqCst) < number {
        ensure!(Instant::now() < end, "a process does not answer");
        sleep(Duration::from_micros(200));
    }
    Ok(())
}

/// One try, and its processes.
struct Try {
    pipe: (File, File),
    mapper: Worker,
    error: Worker,
    /// Whether the notification has the last reference.
    hit: bool,
}

scene!(LAST_REFERENCE = 180 "last-reference" play:
    "a deleted file, a page of which is in a pipe, that only a notification refers to";
    long, fast, differs("umount", ""), differs("the error", ""));
fn play(_: u64) -> Result<()> {
    let (xfs, kept) = Xfs::with_file("kept", 1)?;
    let other = xfs.file("other", 1)?;

    for n in 1..=TRIES {
        let path = xfs.path("deleted");
        many(&kept, &path)?;
        let Try {
            pipe,
            mapper,
            error,
            hit,
        } = stop(&path, &kept)?;
        if !hit {
            drop(pipe);
            for process in [mapper, error] {
                let outcome = process.end(LONG);
                ensure!(outcome == "done", "try {n}: {outcome}");
            }
            worker::settle()?;
            continue;
        }

        note(&format!("stopped in the right moment: try {n}"))?;
        let outcome = error.end(patience());
        expect("the error", "done", &outcome)?;
        let another = Worker::start(|| {
            leave(&pipe);
            simulate(&other)
        })?;
        let another = another.end(patience());
        expect("another one", "done", &another)?;
        if [&*outcome, &*another] == ["done"; 2] {
            worker::settle()?;
            // The inode keeps the filesystem, and is no reason to wait.
            let umount = Worker::start(|| {
                leave(&pipe);
                xfs::umount()
            })?;
            let umount = umount.end(patience());
            expect("umount", "done", umount)?;
            let alone = || Pmem(0).open_alone().is_ok();
            expect_so("device still in use", !alone(), "yes", "no")?;
            drop(pipe);
            // Thousands of shared blocks are given back.
            let free = kernel::until(LONG, Duration::from_millis(20), || Ok(alone()))?;
            expect_so("pipe emptied: in use", free, "no", "yes")?;
            xfs.mount()?;
        } else {
            drop(pipe);
            let outcome = error.end(patience());
            expect("pipe emptied: the error", "done", outcome)?;
        }
        return expect("files", INTACT, xfs::intact(&kept, 1));
    }
    expect("tries", "one that hits", format!("{TRIES} in vain"))
}

/// A file that has a block over and over, and one of its own at the end.
fn many(from: &Path, path: &Path) -> Result<()> {
    let mut options = OpenOptions::new();
    let file = options.read(true).write(true).create(true).open(path)?;
    ioctl::clone_range(&File::open(from)?, 0, PAGE, &file, 0)?;
    let mut pages = 1;
    while pages < COPIES {
        let len = pages as u64 * PAGE;
        ioctl::clone_range(&file, 0, len, &file, len)?;
        pages *= 2;
    }
    xfs::fill(&file, COPIES, COPIES + 1)
}

/// Deletes the file, and has its last mapping go while a notification about its block is stopped.
fn stop(path: &Path, kept: &Path) -> Result<Try> {
    let [mapped, go, gone, start, begun, done, took] = counters::<7>()?;
    let steps = Steps {
        mapped,
        go,
        gone,
        start,
        begun,
        done,
        took,
    };
    // It is not to have the pipe as well.
    let error = Worker::start(|| simulate_twice(kept, steps))?;
    let pipe = calls::pipe()?;
    let mapper = Worker::start(|| map(path, &pipe, steps))?;
    wait(mapped, 1)?;
    fs::remove_file(path)?;

    // How long it takes, and once more.
    start.store(1, SeqCst);
    wait(done, 1)?;
    worker::settle()?;
    let half = Duration::from_micros(took.load(SeqCst) / 2);
    let priority = Priority::new()?;
    start.store(2, SeqCst);
    wait(begun, 2)?;
    sleep(half);
    let busy = done.load(SeqCst) < 2;
    go.store(1, SeqCst);
    let end = Instant::now() + STOPPED;
    while gone.load(SeqCst) == 0 && Instant::now() < end {
        std::hint::spin_loop();
    }
    let hit = busy && gone.load(SeqCst) == 1;
    drop(priority);
    Ok(Try {
        pipe,
        mapper,
        error,
        hit,
    })
}

/// Maps the file, and puts its last page into the pipe, which then is the parent's alone.
fn map(path: &Path, pipe: &(File, File), steps: Steps) -> Result<()> {
    pin(1)?;
    let area = Area::shared(path, COPIES + 1)?;
    put(&area, COPIES, &pipe.1)?;
    leave(pipe);
    steps.mapped.store(1, SeqCst);
    wait(steps.go, 1)?;
    drop(area);
    steps.gone.store(1, SeqCst);
    Ok(())
}

/// Two errors in the block, each when it is time.
fn simulate_twice(kept: &Path, steps: Steps) -> Result<()> {
    pin(0)?;
    for n in 1..=2 {
        wait(steps.start, n)?;
        steps.begun.store(n, SeqCst);
        let begin = Instant::now();
        simulate(kept)?;
        let took = begin.elapsed().as_micros() as u64;
        steps.took.store(took, SeqCst);
        steps.done.store(n, SeqCst);
    }
    Ok(())
}

/// An error in the first page of a file.
fn simulate(file: &Path) -> Result<()> {
    let area = Area::shared(file, 1)?;
    // The signal of the one before.
    fault::take();
    let said = [area.load(0), area.advise(0, libc::MADV_HWPOISON)];
    ensure!(said == ["reads", "0"], "{}", said.join(", "));
    Ok(())
}

/// Has this process stop all others on CPU 0 when it runs there.
struct Priority;

impl Priority {
    fn new() -> Result<Self> {
        pin(0)?;
        set_scheduler(libc::SCHED_FIFO, 1)?;
        Ok(Self)
    }
}

impl Drop for Priority {
    fn drop(&mut self) {
        let _ = set_scheduler(libc::SCHED_OTHER, 0);
    }
}

fn set_scheduler(policy: i32, sched_priority: i32) -> Result<()> {
    let param = libc::sched_param { sched_priority };
    // SAFETY: a valid parameter.
    let ret = unsafe { libc::sched_setscheduler(0, policy, &param) };
    ensure!(
        ret == 0,
        "sched_setscheduler: {}",
        io::Error::last_os_error()
    );
    Ok(())
}
