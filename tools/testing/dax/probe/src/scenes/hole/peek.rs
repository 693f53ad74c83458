// SPDX-License-Identifier: GPL-2.0

//! The kernel copies from one process's mappings for another: through GUP, which succeeds
//! for as long as the page is mapped. With hundreds of owners it takes a while until the
//! last mapping is revoked.

use super::*;

const OWNERS: usize = 400;
const PAGES: usize = 32;

/// Counters: processes that are ready, reads of each kind, and whether to stop.
struct Shared {
    ready: &'static AtomicU64,
    read: &'static AtomicU64,
    mem: &'static AtomicU64,
    peek: &'static AtomicU64,
    stop: &'static AtomicU64,
}

impl Shared {
    /// Calls again and again; a call that is refused counts as well.
    fn until_stop(&self, counter: &AtomicU64, mut call: impl FnMut(usize) -> bool) -> Result<()> {
        self.ready.fetch_add(1, SeqCst);
        for n in 0.. {
            if self.stop.load(SeqCst) != 0 {
                break;
            }
            if !call(n) && !is_refusal(last_errno()) {
                bail!("{}", io::Error::last_os_error());
            }
            counter.fetch_add(1, SeqCst);
        }
        Ok(())
    }
}

scene!(PEEK = 162 "peek" play: "a process whose memory others read fails with 400 owners";
    long, hangs(GROUP));
fn play(_: u64) -> Result<()> {
    let (xfs, first) = Xfs::with_file("a", PAGES)?;
    let mut areas = vec![Area::shared(&first, PAGES)?];
    for n in 1..OWNERS {
        let clone = xfs.clone_of(&first, &format!("clone-{n}"))?;
        areas.push(Area::shared(&clone, PAGES)?);
    }
    let [ready, read, mem, peek, stop] = counters::<5>()?;
    let shared = Shared {
        ready,
        read,
        mem,
        peek,
        stop,
    };
    let _quiet = QuietConsole::new()?;
    // Processes whose memory is read: one that waits, and one that is traced.
    let owner = || {
        Worker::start(|| {
            for area in &areas {
                area.load_all_but(&[]);
            }
            shared.ready.fetch_add(1, SeqCst);
            loop {
                // SAFETY: waits for a signal.
                unsafe { libc::pause() };
            }
        })
    };
    let owners = [owner()?, owner()?];
    wait_for(&shared, 2)?;
    let pid = owners[0].pid();
    let readers = [
        (
            "process_vm_readv",
            Worker::start(|| readv(&shared, pid, &areas))?,
        ),
        (
            "/proc/PID/mem",
            Worker::start(|| proc_mem(&shared, pid, &areas))?,
        ),
        (
            "PTRACE_PEEKDATA",
            Worker::start(|| trace(&shared, owners[1].pid(), &areas))?,
        ),
    ];
    wait_for(&shared, 5)?;

    let mut bad = Vec::new();
    for page in 0..PAGES {
        bad.push(Bad::hit(&first, page)?);
    }
    shared.stop.store(1, SeqCst);
    for (name, reader) in &readers {
        expect(name, "done", reader.end(patience()))?;
    }
    let counts = [read, mem, peek].map(|counter| counter.load(SeqCst).to_string());
    note(&format!(
        "{PAGES} machine checks, {} calls",
        counts.join(" + ")
    ))?;
    let all = bad.len().to_string();
    let refused = (0..PAGES).filter(|&page| areas[0].load(page) == bad::refused(page));
    expect("pages that are refused", &all, refused.count().to_string())?;
    for owner in &owners {
        owner.kill();
    }
    drop(areas);
    let bad: Vec<_> = bad.iter().collect();
    bad::end(&xfs, &bad)
}

fn wait_for(shared: &Shared, count: u64) -> Result<()> {
    // They fault in thousands of pages.
    let end = Instant::now() + kernel::limit(60);
    while shared.ready.load(SeqCst) < count {
        ensure!(Instant::now() < end, "not all processes are ready");
        sleep(Duration::from_millis(10));
    }
    Ok(())
}

/// One page of every file at a time.
fn readv(shared: &Shared, pid: i32, areas: &[Area]) -> Result<()> {
    let mut data = vec![0u8; areas.len() * PAGE_SIZE];
    let local = libc::iovec {
        iov_base: data.as_mut_ptr().cast(),
        iov_len: data.len(),
    };
    shared.until_stop(shared.read, |n| {
        let piece = |area: &Area| libc::iovec {
            iov_base: area.addr(n % PAGES).cast(),
            iov_len: PAGE_SIZE,
        };
        let remote: Vec<_> = areas.iter().map(piece).collect();
        let count = remote.len() as libc::c_ulong;
        // SAFETY: room for all pieces.
        unsafe { libc::process_vm_readv(pid, &local, 1, remote.as_ptr(), count, 0) >= 0 }
    })
}

fn proc_mem(shared: &Shared, pid: i32, areas: &[Area]) -> Result<()> {
    let file = File::open(format!("/proc/{pid}/mem"))?;
    let mut page = [0; PAGE_SIZE];
    shared.until_stop(shared.mem, |n| {
        let area = &areas[n % areas.len()];
        let at = area.addr(n / areas.len() % PAGES) as u64;
        file.read_at(&mut page, at).is_ok()
    })
}

fn trace(shared: &Shared, pid: i32, areas: &[Area]) -> Result<()> {
    let call = |request, addr: *mut u8| {
        // SAFETY: a process of this scene, whose memory is only read.
        let ret = unsafe {
            *libc::__errno_location() = 0;
            libc::ptrace(request, pid, addr.cast::<libc::c_void>(), 0)
        };
        ret != -1 || last_errno() == 0
    };
    let null = std::ptr::null_mut();
    let seized = call(libc::PTRACE_SEIZE, null) && call(libc::PTRACE_INTERRUPT, null);
    ensure!(seized, "ptrace: {}", io::Error::last_os_error());
    // SAFETY: waits for it to stop.
    unsafe { libc::waitpid(pid, std::ptr::null_mut(), libc::__WALL) };
    shared.until_stop(shared.peek, |n| {
        let area = &areas[n % areas.len()];
        call(libc::PTRACE_PEEKDATA, area.addr(n / areas.len() % PAGES))
    })
}
