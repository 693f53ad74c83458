// SPDX-License-Identifier: GPL-2.0

//! Revokes DAX memory that failed from all its owners, and signals the processes that mapped it.
//!
//! A page can have any number of owners, and each of them can be mapped by any number of
//! processes. The caller passes the owners one after the other. The mappings of each are taken
//! away at once, and the address spaces that had them are noted, each once; in the end one walk of
//! the processes sends all signals. Cost: owners, plus mapped areas, plus processes, and not their
//! products.
//!
//! C header: [`include/linux/dax_owners.h`](srctree/include/linux/dax_owners.h)

#[path = "dax_owners/door.rs"]
mod door;
#[path = "dax_owners/list.rs"]
mod list;
#[path = "dax_owners/signal.rs"]
mod signal;
#[path = "dax_owners/targets.rs"]
mod targets;

use door::{
    Entry,
    Mapping,
    Processes,
    SpaceRef,
    Thread,
    ThreadRef, //
};
use kernel::{
    bindings,
    error::from_result,
    prelude::*,
    sync::rcu, //
};
use list::{
    Places,
    Store, //
};
use signal::{
    signal,
    Cause,
    Process,
    Signal, //
};
use targets::Target;

const __LOG_PREFIX: &[u8] = b"dax_owners\0";

/// Signals that are sent together.
const BATCH: usize = 32;
/// Processes that are looked at in one RCU section.
const LOOK: usize = 16384;

type List = KVVec<Target<SpaceRef>>;

impl Store for List {
    type Mm = SpaceRef;

    fn targets(&mut self) -> &mut [Target<SpaceRef>] {
        self
    }

    fn room(&self) -> usize {
        self.capacity() - self.len()
    }

    fn reserve(&mut self, more: usize) {
        // Failure is no error.
        let _ = self.reserve(more, GFP_KERNEL | __GFP_NOWARN);
    }

    fn push(&mut self, target: Target<SpaceRef>) -> Result<(), Target<SpaceRef>> {
        self.push_within_capacity(target).map_err(|e| e.0)
    }

    fn truncate(&mut self, len: usize) {
        self.truncate(len);
    }
}

/// A failure, and the processes that are still to be signalled for it.
struct Notice {
    targets: List,
    cause: Cause,
}

impl Notice {
    fn new(mf_flags: u32) -> Self {
        let cause = if mf_flags & bindings::mf_flags_MF_MEM_PRE_REMOVE != 0 {
            Cause::Removal
        } else if mf_flags & bindings::mf_flags_MF_ACTION_REQUIRED != 0 {
            Cause::Consumed
        } else {
            Cause::Found
        };

        Self {
            targets: KVVec::new(),
            cause,
        }
    }

    /// Borrows a notice from its C pointer.
    ///
    /// # Safety
    ///
    /// `dax_notice_begin()` must have set up `ptr`, and `dax_notice_end()` not have ended it. It
    /// must not be accessed in any other way for `'a`.
    unsafe fn from_raw<'a>(ptr: *mut bindings::dax_notice) -> &'a mut Self {
        // CAST: `dax_notice_begin()` put a `Self` there.
        // SAFETY: As the caller guarantees, a valid `Self` is there, and this is the only access.
        unsafe { &mut *ptr.cast() }
    }

    /// Takes pages `index..index + count` of a file away from all processes, where they are page
    /// frames `pfn..` or this is `None`, and notes the address spaces that had them.
    fn owner(
        &mut self,
        mapping: &Mapping,
        index: usize,
        count: usize,
        pfn: Option<usize>,
    ) -> Result {
        if !mapping.is_mapped() {
            return Ok(());
        }
        for n in 0..count {
            self.one(mapping, index + n, pfn.map(|pfn| pfn + n))?;
        }
        Ok(())
    }

    /// Takes one page of a file away, if it is page frame `pfn` or this is `None`.
    fn one(&mut self, mapping: &Mapping, index: usize, pfn: Option<usize>) -> Result {
        let cause = self.cause;
        // The page is locked: what is printed would keep others waiting.
        let mut tell = |targets: &[_]| tell(cause, targets, false);

        list::add_page(&mut self.targets, &mut tell, |places| {
            let Some(entry) = mapping.lock(index)? else {
                return Ok(());
            };
            // The file may have been truncated or remapped since its owner was looked up.
            if pfn.is_none_or(|pfn| entry.pfn() == pfn) {
                take_away(&entry, places);
            }
            Ok(())
        })
    }

    fn end(mut self) {
        tell(self.cause, list::settled(&mut self.targets), true);
    }
}

/// Takes a page away from all processes, if all places where it is mapped can be noted.
fn take_away(entry: &Entry<'_>, places: &mut Places<'_, List>) {
    let mut covered = false;

    entry.for_each_area(|area| {
        covered = true;
        if let Some(place) = area.place() {
            places.add(Target {
                mm: area.space(),
                pfn: entry.pfn(),
                address: place.address,
                shift: place.shift,
            });
        }
    });
    // Also if no area maps the page at the moment: `mremap()` may be moving it.
    if covered && places.are_complete() {
        entry.unmap();
    }
}

/// A signal that is to be sent.
struct ToKill<'a> {
    thread: ThreadRef,
    target: &'a Target<SpaceRef>,
    signal: Signal,
}

impl ToKill<'_> {
    fn address(&self) -> Option<usize> {
        self.target.address.filter(|_| self.signal != Signal::Kill)
    }

    fn send(&self) -> c_int {
        self.thread.signal(
            self.address(),
            self.target.shift,
            self.signal == Signal::ActionRequired,
        )
    }

    fn print(&self, ret: c_int) {
        self.thread
            .print_signal(self.target.pfn, self.address(), ret);
    }
}

/// Signals that are to be sent, as many as fit on the stack.
struct Batch<'a> {
    list: [Option<ToKill<'a>>; BATCH],
    len: usize,
}

impl<'a> Batch<'a> {
    fn new() -> Self {
        Self {
            list: [const { None }; BATCH],
            len: 0,
        }
    }

    fn is_full(&self) -> bool {
        self.len == BATCH
    }

    fn clear(&mut self) {
        self.list.iter_mut().for_each(|slot| *slot = None);
        self.len = 0;
    }

    /// Adds the signal that `thread` gets, if any. The caller has seen that there is room.
    fn add(
        &mut self,
        cause: Cause,
        process: Process,
        thread: &Thread<'_>,
        targets: &'a [Target<SpaceRef>],
    ) {
        let Some(target) = targets::of(targets, thread.space_id()) else {
            return;
        };
        let Some(signal) = signal(cause, process, target.address.is_some()) else {
            return;
        };
        if let Some(slot) = self.list.get_mut(self.len) {
            *slot = Some(ToKill {
                thread: thread.get(),
                target,
                signal,
            });
            self.len += 1;
        }
    }

    /// Sends all signals, then prints, and is empty again.
    fn send(&mut self, print: bool) {
        let mut rets = [0; BATCH];

        for (to_kill, ret) in self.list.iter().flatten().zip(&mut rets) {
            *ret = to_kill.send();
        }
        for (to_kill, ret) in self.list.iter_mut().map_while(Option::take).zip(rets) {
            if print {
                to_kill.print(ret);
            }
        }
        self.len = 0;
    }
}

/// Signals `targets`, which are settled.
///
/// In an RCU section, threads are only looked for. If one section is not enough for all, signals
/// are sent, and the walk goes on where it stood.
fn tell(cause: Cause, targets: &[Target<SpaceRef>], print: bool) {
    if targets.is_empty() {
        return;
    }
    let mut batch = Batch::new();
    let all = {
        let rcu = rcu::read_lock();

        add_consumer(&mut batch, cause, targets, &rcu);
        collect(&mut batch, cause, targets, &rcu, Thread::leaders(&rcu))
    };
    if all {
        batch.send(print);
        return;
    }

    let mut processes = Processes::all();
    batch.clear();
    add_consumer(&mut batch, cause, targets, &rcu::read_lock());
    loop {
        let all = {
            let rcu = rcu::read_lock();

            collect(&mut batch, cause, targets, &rcu, processes.rest(&rcu))
        };
        batch.send(print);
        if all {
            break;
        }
    }
}

/// Adds the current thread, if it has consumed the poison.
fn add_consumer<'a>(
    batch: &mut Batch<'a>,
    cause: Cause,
    targets: &'a [Target<SpaceRef>],
    rcu: &rcu::Guard,
) {
    if cause == Cause::Consumed {
        if let Some(current) = Thread::current(rcu) {
            batch.add(cause, Process::Current, &current, targets);
        }
    }
}

/// Looks for threads to signal, in as many processes as one RCU section may take. Returns whether
/// these were all.
fn collect<'a, 'r>(
    batch: &mut Batch<'a>,
    cause: Cause,
    targets: &'a [Target<SpaceRef>],
    rcu: &'r rcu::Guard,
    mut leaders: impl Iterator<Item = Thread<'r>>,
) -> bool {
    let consumer = Thread::current(rcu).filter(|_| cause == Cause::Consumed);

    for _ in 0..LOOK {
        if batch.is_full() {
            return false;
        }
        let Some(leader) = leaders.next() else {
            return true;
        };
        let id = leader.space_id();
        // A leader that has exited may have left threads behind.
        if (id != 0 && targets::of(targets, id).is_none()) || leader.is_kernel() {
            continue;
        }
        // It has a signal for what it consumed.
        if consumer.as_ref().is_some_and(|t| t.same_process(&leader)) {
            continue;
        }
        if let Some(thread) = leader.to_tell(true) {
            batch.add(cause, Process::Early, &thread, targets);
        } else if let Some(thread) = leader.to_tell(false) {
            batch.add(cause, Process::Late, &thread, targets);
        }
    }
    false
}

// A `Notice` is kept in the caller's `dax_notice`.
static_assert!(size_of::<Notice>() <= size_of::<bindings::dax_notice>());
static_assert!(align_of::<Notice>() <= align_of::<bindings::dax_notice>());

/// Begins to handle a failure (`enum mf_flags`).
///
/// # Safety
///
/// `notice` must be valid for writes and aligned.
#[export]
pub unsafe extern "C" fn dax_notice_begin(notice: *mut bindings::dax_notice, mf_flags: c_int) {
    // CAST: The flags are bits. A `dax_notice` has the size and alignment of a `Notice` at least,
    // as is asserted above.
    // SAFETY: As the caller guarantees, `notice` is valid for writes and aligned.
    unsafe { notice.cast::<Notice>().write(Notice::new(mf_flags as u32)) };
}

/// Takes memory that failed away from those who map it through one of its owners.
///
/// The memory is pages `index..index + count` of a file, where these are page frames `pfn..`; or
/// whatever they are if `pfn` is `DAX_NOTICE_ANY_PFN`. Waits for faults on them: the caller must
/// not hold a lock that a page fault takes. Returns 0, or `-EBUSY` if the file is not, or no
/// longer, on DAX memory.
///
/// # Safety
///
/// [`dax_notice_begin()`] must have set up `notice`, [`dax_notice_end()`] not have ended it, and no
/// other task may use it meanwhile. `mapping` must be the `i_mapping` of an inode that the caller
/// holds a reference to.
#[export]
pub unsafe extern "C" fn dax_notice_owner(
    notice: *mut bindings::dax_notice,
    mapping: *mut bindings::address_space,
    index: usize,
    count: usize,
    pfn: usize,
) -> c_int {
    // SAFETY: As the caller guarantees, the notice is set up and used by this function only, and
    // the inode of `mapping` stays until it returns.
    let (notice, mapping) = unsafe { (Notice::from_raw(notice), Mapping::from_raw(mapping)) };
    let pfn = (pfn != bindings::DAX_NOTICE_ANY_PFN as usize).then_some(pfn);

    from_result(|| notice.owner(mapping, index, count, pfn).map(|()| 0))
}

/// Signals the processes that mapped the memory: each once, for the first of its pages. The notice
/// can't be used after that.
///
/// # Safety
///
/// [`dax_notice_begin()`] must have set up `notice`, no other task may use it meanwhile, and it
/// must not be used after this, but for another [`dax_notice_begin()`].
#[export]
pub unsafe extern "C" fn dax_notice_end(notice: *mut bindings::dax_notice) {
    // CAST: `dax_notice_begin()` put a `Notice` there.
    // SAFETY: As the caller guarantees, a valid `Notice` is there. It is moved out, and not used
    // there any more.
    unsafe { notice.cast::<Notice>().read() }.end();
}
