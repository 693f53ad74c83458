// SPDX-License-Identifier: GPL-2.0

//! A read() of a DAX file into memory whose page fault nobody answers (userfaultfd): it
//! stays in the kernel, inside of dax_read_lock(). An unprivileged process can do that,
//! and must not hold up memory errors with it.

use std::os::fd::FromRawFd;

use super::*;

const ERRORS: usize = 10;
const PAGES: usize = 2 * ERRORS;
/// How much longer so many errors may take.
const LATER: Duration = Duration::from_millis(500);

const UFFDIO_API: libc::c_ulong = 0xc018_aa3f;
const UFFDIO_REGISTER: libc::c_ulong = 0xc020_aa00;
const UFFDIO_ZEROPAGE: libc::c_ulong = 0xc020_aa04;
const UFFD_API: u64 = 0xaa;
const MISSING: u64 = 1;

scene!(PARKED = 164 "parked" play: "errors while a reader waits in a page fault";
    differs("pread", "0 of 20 EIO"));
fn play(_: u64) -> Result<()> {
    let (xfs, path) = Xfs::with_file("file", PAGES)?;
    let other = xfs.file("other", 4)?;
    let elsewhere = Bad::block_of(Pmem(1), 100 * PAGE)?;
    elsewhere.pmem.overwrite_bad()?;
    let [ready] = counters::<1>()?;
    let quiet = QuietConsole::new()?;

    let alone = fail(&path, 0)?;
    ready.store(0, SeqCst);
    let reader = Worker::start(|| {
        let file = File::open(&other)?;
        let mut memory = Unanswered::new()?;
        ready.store(1, SeqCst);
        file.read_at(memory.page(), 0)?;
        Ok(())
    })?;
    expect("reader", "waits in its page fault", waits(&reader)?)?;
    let parked = fail(&path, ERRORS)?;
    drop(quiet);
    note(&format!(
        "{ERRORS} machine checks: {} ms, beside the reader {} ms",
        alone.as_millis(),
        parked.as_millis()
    ))?;
    let later = parked.saturating_sub(alone);
    let told = match later {
        time if time < LATER => "no later".into(),
        time => format!("{} ms later", time.as_millis()),
    };
    expect("errors beside it", "no later", told)?;

    // A page that is cleared on another device is no matter of theirs.
    elsewhere.pmem.list_bad(elsewhere.at)?;
    elsewhere.pmem.overwrite(elsewhere.at)?;
    expect("cleared elsewhere", "none", elsewhere.pmem.badblocks()?)?;
    let file = open(&path, 0)?;
    let bad = || {
        let read = (0..PAGES).map(|page| read_page(&file, page as u64 * PAGE));
        let bad = read.filter(|said| said == "EIO").count();
        format!("{bad} of {PAGES} EIO")
    };
    let all = format!("{PAGES} of {PAGES} EIO");
    expect("pread", &all, bad())?;
    expect("reader", "waits in its page fault", waits(&reader)?)?;
    reader.kill();
    sleep(2 * MOMENT);
    expect("without it: pread", &all, bad())?;
    fill(&file, 0, PAGES)?;
    drop(file);
    expect("written", INTACT, xfs::intact(&path, PAGES))
}

scene!(PARKED_REMOVED = 244 "parked-removed" removed:
    "another device removed while a reader waits in a page fault";
    differs("read: unbind", ""));
/// No device's removal waits for memory that nobody gives to a read() or write() of another's file.
fn removed(_: u64) -> Result<()> {
    let (_, path) = Xfs::with_file("file", 4)?;
    let namespace = Pmem(1).namespace()?;

    for (row, write) in [("read", false), ("write", true)] {
        let parked = Worker::start(|| {
            let file = open(&path, 0)?;
            let mut memory = Unanswered::new()?;
            if write {
                file.write_at(memory.page(), 0)?;
            } else {
                file.read_at(memory.page(), 0)?;
            }
            Ok(())
        })?;
        expect(row, "waits in its page fault", waits(&parked)?)?;
        let unbind = Worker::start(|| unbind::driver("unbind", &namespace))?;
        expect(&format!("{row}: unbind"), "done", unbind.end(patience()))?;
        expect(row, "waits in its page fault", waits(&parked)?)?;
        parked.kill();
        unbind.end(patience());
        unbind::bind(Pmem(1), &namespace)?;
    }
    expect("file", INTACT, xfs::intact(&path, 4))
}

/// Machine checks on some pages of a file; how long they take.
fn fail(path: &Path, first: usize) -> Result<Duration> {
    let start = Instant::now();
    for page in first..first + ERRORS {
        Bad::hit(path, page)?;
    }
    Ok(start.elapsed())
}

/// Whether the process is where it is to be.
pub fn waits(reader: &Worker) -> Result<&'static str> {
    let path = format!("/proc/{}/stack", reader.pid());
    let waits = until(|| {
        let stack = fs::read_to_string(&path).context(path.clone())?;
        Ok(stack.contains(" handle_userfault+"))
    })?;
    Ok(if waits {
        "waits in its page fault"
    } else {
        "does not wait"
    })
}

/// A page of memory that is never there.
pub struct Unanswered {
    page: *mut u8,
    /// Who closes it has the fault answered with a signal.
    faults: File,
}

impl Unanswered {
    pub fn new() -> Result<Self> {
        let failed = |what: &str| format!("{what}: {}", io::Error::last_os_error());
        // SAFETY: a new descriptor, which is nobody else's; a new mapping at a place of
        // the kernel's choice; and arguments as the ioctls expect them.
        unsafe {
            let fd = libc::syscall(libc::SYS_userfaultfd, libc::O_CLOEXEC);
            ensure!(fd >= 0, "{} (CONFIG_USERFAULTFD)", failed("userfaultfd"));
            let faults = File::from_raw_fd(fd as i32);
            let mut api = [UFFD_API, 0, 0];
            let ret = libc::ioctl(faults.as_raw_fd(), UFFDIO_API, api.as_mut_ptr());
            ensure!(ret == 0, failed("UFFDIO_API"));
            let page = libc::mmap(
                std::ptr::null_mut(),
                PAGE_SIZE,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                -1,
                0,
            );
            ensure!(page != libc::MAP_FAILED, failed("mmap"));
            let mut register = [page as u64, PAGE, MISSING, 0];
            let ret = libc::ioctl(faults.as_raw_fd(), UFFDIO_REGISTER, register.as_mut_ptr());
            ensure!(ret == 0, failed("UFFDIO_REGISTER"));
            Ok(Self {
                page: page.cast(),
                faults,
            })
        }
    }

    /// What another thread is to call: then there are zeroes.
    pub fn answer(&self) -> impl FnOnce() -> i32 + Send {
        let (faults, mut zeroes) = (self.faults.as_raw_fd(), [self.page as u64, PAGE, 0, 0]);
        // SAFETY: arguments as the ioctl expects them; an error is one of the caller's test.
        move || unsafe { libc::ioctl(faults, UFFDIO_ZEROPAGE, zeroes.as_mut_ptr()) }
    }

    /// To be read by the kernel only.
    pub fn bytes(&self) -> &[u8] {
        // SAFETY: the mapping, which is this one's alone. Only the kernel touches it.
        unsafe { std::slice::from_raw_parts(self.page, PAGE_SIZE) }
    }

    fn page(&mut self) -> &mut [u8] {
        // SAFETY: the mapping, which is this one's alone. Only the kernel touches it.
        unsafe { std::slice::from_raw_parts_mut(self.page, PAGE_SIZE) }
    }
}
